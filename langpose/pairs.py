"""Label ↔ motion pairs (section 4.1): a fine-grained action label and the frames it speaks of.

Transitions. "For sequences labeled as 'transition', we concatenate the motion sequence before and after the
'transition', and use a template 'transit from A to B'". Here, for a transition segment [s, e) of a recording:

- A is the action whose label ends nearest to s among those that lie before e and begin before s;
  B the one that begins nearest to e among those that begin after s and end after e. Other transitions are looked past.
  Ties go to the longer, then the first by text.
- The pair's frames run from the middle of A (or its last ``transition_context_s``) through the transition to the same
  of B: they straddle it, as a recording holds the motion before and after without a gap. ``core_start`` and
  ``core_stop`` say where in them the transition itself lies, so that a short clip can be laid across it; a piece of a
  cut recording that does not hold all of it gives no pair.
- A transition without A or without B (first, last) is dropped and counted, as is one from A to A: "transit from walk
  to walk" names no change.

Where several people annotated a recording, neighbours are looked for among one annotator's labels, and a label that
two of them gave to the same frames makes one pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

TRANSITION = "transition"
COLUMNS = ["pair", "sequence", "start", "stop", "label", "kind", "categories", "split", "core_start", "core_stop"]
"""``core_start``, ``core_stop``: the frames the label itself names; the whole pair but in a transition."""


@dataclass(frozen=True)
class PairConfig:
    """Section `pair`."""

    min_seconds: float = 0.3
    """Shorter segments are dropped. Not in the paper: a label must have something to describe."""
    levels: Literal["frame", "frame_else_sequence"] = "frame_else_sequence"
    """frame: labels of stretches alone (the paper: "fine-grained frame-level action label"); frame_else_sequence: a
    recording without any is described by its whole label."""
    transition_context_s: float = 2.0
    """Most seconds of A and of B that a transition's clip may show. Not in the paper: as long as a common clip."""


def make_pairs(
    labels: pd.DataFrame, sequences: pd.DataFrame, config: PairConfig
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Pairs (`COLUMNS`; start and stop are frames of the sequence) and a report of counts and of what was left out.

    ``labels`` has sequence (a recording's name), start_s, stop_s (seconds of the recording), label, categories (list),
    and optionally kind (a "transition" label is one too), level ("sequence" or "frame") and annotation (whose labels
    these are). ``sequences`` is projection's table. Raises ``ValueError`` where no label's recording is among the
    sequences.
    """
    labels = labels.copy()
    if "level" not in labels:
        labels["level"] = "frame"
    if "annotation" not in labels:
        labels["annotation"] = 0
    words = labels["label"].str.strip().str.lower()
    named = words == TRANSITION
    labels["kind"] = np.where(
        named | (labels["kind"] == TRANSITION) if "kind" in labels else named, TRANSITION, "action"
    )
    known = set(sequences["recording"])
    absent = sorted(set(labels["sequence"]) - known)
    report: dict[str, Any] = {"labels": len(labels), "recordings": int(labels["sequence"].nunique()),
                              "recordings without motion": len(absent), "without motion": absent}  # fmt: skip
    labels = labels[labels["sequence"].isin(known)]
    if labels.empty:
        raise ValueError(
            f"no label's recording is among the {len(known)} with motion; labels speak of {absent[:3]}, motion is of "
            f"{sorted(known)[:3]}: are the two data sets of one release?"
        )
    if config.levels == "frame":
        labels = labels[labels["level"] == "frame"]
    else:
        detailed = set(labels.loc[labels["level"] == "frame", "sequence"])
        labels = labels[(labels["level"] == "frame") | ~labels["sequence"].isin(detailed)]
    pieces = dict(iter(sequences.groupby("recording", sort=False)))
    reasons = ("too short or in bad frames", "transition without neighbour", "transition to itself", "said twice")
    dropped = dict.fromkeys(reasons, 0)
    rows: list[tuple[Any, ...]] = []
    for (recording, _), group in labels.groupby(["sequence", "annotation"], sort=True):
        segments = list(group.sort_values(["start_s", "stop_s", "label"], kind="stable").itertuples())
        actions = [segment for segment in segments if segment.kind == "action"]
        for segment in segments:
            start_s, stop_s, label = segment.start_s, segment.stop_s, segment.label
            categories = list(segment.categories)
            if segment.kind == TRANSITION:
                found = _neighbours(segment, actions)
                if found is None:
                    dropped["transition without neighbour"] += 1
                    continue
                before, after = found
                if before.label == after.label:
                    dropped["transition to itself"] += 1
                    continue
                label = f"transit from {before.label} to {after.label}"
                categories = [TRANSITION]
                context = config.transition_context_s
                start_s -= min(context, (segment.start_s - before.start_s) / 2)
                stop_s += min(context, (after.stop_s - segment.stop_s) / 2)
            core = (segment.start_s, segment.stop_s) if segment.kind == TRANSITION else None
            spans = _frames(start_s, stop_s, pieces[recording], config.min_seconds, core)
            dropped["too short or in bad frames"] += not spans
            rows += [
                (name, *at, label, segment.kind, categories, split, *core_at) for name, at, split, core_at in spans
            ]
    pairs = pd.DataFrame(rows, columns=COLUMNS[1:])
    twice = pairs.duplicated(["sequence", "start", "stop", "label", "kind"])
    dropped["said twice"] = int(twice.sum())
    pairs = pairs[~twice].reset_index(drop=True)
    pairs.insert(0, "pair", np.arange(len(pairs)))
    if pairs.empty:
        raise ValueError(f"no label gives a pair of at least {config.min_seconds} s; left out: {dropped}")
    return pairs, {**report, "pairs": len(pairs), "dropped": dropped,
                   "by kind": pairs["kind"].value_counts().sort_index().to_dict(),
                   "by split": pairs["split"].value_counts().sort_index().to_dict()}  # fmt: skip


def _neighbours(segment: Any, actions: Sequence[Any]) -> tuple[Any, Any] | None:
    """The actions before and after a transition, by the module's rule: the nearest, and of these the longest."""
    before = [a for a in actions if a.start_s < segment.start_s and a.stop_s < segment.stop_s]
    after = [a for a in actions if a.stop_s > segment.stop_s and a.start_s > segment.start_s]
    if not before or not after:
        return None
    return (
        min(before, key=lambda a: (abs(a.stop_s - segment.start_s), a.start_s - a.stop_s, a.label)),
        min(after, key=lambda a: (abs(a.start_s - segment.stop_s), a.start_s - a.stop_s, a.label)),
    )


def _frames(
    start_s: float, stop_s: float, pieces: pd.DataFrame, min_s: float, core: tuple[float, float] | None = None
) -> list[tuple[str, tuple[int, int], str, tuple[int, int]]]:
    """(sequence, frames, split, frames of the core) of the seconds [start_s, stop_s) of a recording, a piece each.

    The core is everything unless ``core`` (seconds) is given: then only a piece that holds all of it, and a frame
    before and after, counts.
    """
    found = []
    for piece in pieces.itertuples():

        def at(seconds: float, piece: Any = piece) -> int:
            return round((seconds - piece.offset_s) * piece.rate_hz)

        first, last = max(0, at(start_s)), min(piece.frames, at(stop_s))
        inner = (first, last) if core is None else (at(core[0]), at(core[1]))
        whole = core is None or first < inner[0] < inner[1] < last
        if whole and last - first >= max(1, min_s * piece.rate_hz):
            found.append((piece.sequence, (first, last), piece.split, inner))
    return found


def label_counts(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs per label: label, kind, pairs, share; most frequent first. How unbalanced the labels are."""
    counts = pairs.groupby(["label", "kind"]).size().rename("pairs").reset_index()
    counts["share"] = counts["pairs"] / len(pairs)
    return counts.sort_values(["pairs", "label"], ascending=[False, True], kind="stable").reset_index(drop=True)
