"""Write action labels as BABEL's json files, in their true layout and with the habits of their annotators.

``{train,val,test}.json`` map a sequence number to its annotations, ``extra_{train,val}.json`` hold sequences that
several people labelled. Labels are unsorted, overlap where one action runs into the next, two may name the same
moment, times are seconds as int or float, and "transition" is a label like any other. In ``test`` the labels
themselves are null. ``feat_p`` names the motion file with the folder names of AMASS's first release.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from langpose.demo.choreography import Segment
from langpose.storage import replacing

Split = Literal["train", "val", "test", "extra_train", "extra_val"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "extra_train", "extra_val")

OLD_FOLDERS = {
    "ACCAD": "ACCAD/ACCAD",
    "BMLrub": "BMLrub/BioMotionLab_NTroje",
    "CMU": "CMU/CMU",
    "HDM05": "MPIHDM05/MPI_HDM05",
    "KIT": "KIT/KIT",
    "SSM": "SSMsynced/SSM_synced",
    "Transitions": "Transitionsmocap/Transitions_mocap",
}
"""Today's AMASS subset folder -> how BABEL's ``feat_p`` begins: download name, then the old folder."""

_OVERLAP_S = (0.1, 0.4)  # how far a label may run into the next one
_OVERLAP_RATE = 0.35
_WHOLE_SECONDS_RATE = 0.2  # annotators who mark whole seconds only
_TWICE_RATE = 0.15  # labels given twice, in other words
_NO_FRAMES_EVERY = 12  # sequences without dense labels: frame_ann is null
_NO_SEQUENCE_EVERY = 23  # sequences without a label for the whole: seq_ann is null


@dataclass(frozen=True)
class LabelledSequence:
    """A motion file and what happens in it."""

    amass_file: str  # below amass/: "CMU/07/07_01_poses.npz"
    duration_s: float
    segments: Sequence[Segment]
    split: Split


def write_babel(folder: Path, sequences: Sequence[LabelledSequence], seed: int) -> None:
    """Write the five json files into ``folder``; sequence numbers are positions in ``sequences``.

    All five are written, empty if no sequence belongs there. Raises ValueError for an unknown split or subset.
    """
    files: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for number, sequence in enumerate(sequences):
        if sequence.split not in files:
            raise ValueError(f"{sequence.amass_file}: split {sequence.split!r}; expected one of {', '.join(SPLITS)}")
        files[sequence.split][str(number)] = _entry(sequence, number, seed)
    for split, entries in files.items():
        with replacing(folder / f"{split}.json") as temporary:
            temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def feat_p(amass_file: str) -> str:
    """BABEL's name of a motion file: "BMLrub/rub001/x_poses.npz" -> "BMLrub/BioMotionLab_NTroje/rub001/x_poses.npz"."""
    subset, _, rest = amass_file.partition("/")
    if subset not in OLD_FOLDERS:
        raise ValueError(f"{amass_file}: subset {subset!r} has no BABEL name here; known: {', '.join(OLD_FOLDERS)}")
    return f"{OLD_FOLDERS[subset]}/{rest}"


def _entry(sequence: LabelledSequence, number: int, seed: int) -> dict[str, Any]:
    hidden = sequence.split == "test"
    dense = number % _NO_FRAMES_EVERY != _NO_FRAMES_EVERY - 1
    whole = number % _NO_SEQUENCE_EVERY != _NO_SEQUENCE_EVERY - 1
    entry: dict[str, Any] = {
        "babel_sid": number,
        "url": "",  # the true files link to a rendered video
        "feat_p": feat_p(sequence.amass_file),
        "dur": round(sequence.duration_s, 2),
    }
    if sequence.split.startswith("extra"):
        annotators = range(2 + number % 2)
        entry["seq_anns"] = [_sequence_labels(sequence, number, who, hidden) for who in annotators] if whole else None
        entry["frame_anns"] = (
            [_frame_labels(sequence, number, who, hidden, seed) for who in annotators] if dense else None
        )
    else:
        entry["seq_ann"] = _sequence_labels(sequence, number, 0, hidden) if whole else None
        entry["frame_ann"] = _frame_labels(sequence, number, 0, hidden, seed) if dense else None
    return entry


def _sequence_labels(sequence: LabelledSequence, number: int, annotator: int, hidden: bool) -> dict[str, Any]:
    """One label for the whole: the actions in order, without the transitions between them."""
    actions = [segment for segment in sequence.segments if "transition" not in segment.act_cat] or list(
        sequence.segments
    )
    label = _label(
        " then ".join(dict.fromkeys(segment.raw_label for segment in actions)),
        " then ".join(dict.fromkeys(segment.proc_label for segment in actions)),
        list(dict.fromkeys(category for segment in actions for category in segment.act_cat)),
        f"{number} seq {annotator}",
        hidden,
    )
    return _annotation([label], number, f"seq {annotator}", len(actions) > 1)


def _frame_labels(sequence: LabelledSequence, number: int, annotator: int, hidden: bool, seed: int) -> dict[str, Any]:
    """Labels with their seconds, as one annotator gave them."""
    rng = np.random.default_rng([seed, number, annotator])
    whole_seconds = rng.random() < _WHOLE_SECONDS_RATE
    labels = []
    for index, segment in enumerate(sequence.segments):
        start_s, end_s, proc, categories = segment.start_s, segment.end_s, segment.proc_label, list(segment.act_cat)
        if annotator:  # the second pair of eyes sees the borders elsewhere
            start_s, end_s = start_s + rng.uniform(-0.1, 0.1), end_s + rng.uniform(-0.1, 0.1)
        if rng.random() < _OVERLAP_RATE:
            end_s += rng.uniform(*_OVERLAP_S)
        times = _times(start_s, end_s, sequence.duration_s, whole_seconds)
        words = [segment.raw_label]
        if rng.random() < _TWICE_RATE and "transition" not in categories:
            words.append(f"to {proc}")
        for wording in words:
            label = _label(wording, proc, categories, f"{number} frame {annotator} {index} {wording}", hidden)
            labels.append({**label, "start_t": times[0], "end_t": times[1]})
    order = rng.permutation(len(labels))
    return _annotation([labels[i] for i in order], number, f"frame {annotator}", len(sequence.segments) > 1)


def _times(start_s: float, end_s: float, duration_s: float, whole_seconds: bool) -> tuple[float, float]:
    """Clipped to the sequence; whole seconds only where a second or more is left of the label."""
    start_s, end_s = max(start_s, 0.0), min(end_s, duration_s)
    if whole_seconds and round(start_s) < min(round(end_s), int(duration_s)):
        return round(start_s), min(round(end_s), int(duration_s))
    return (0 if start_s < 0.005 else round(start_s, 3)), round(end_s, 3)


def _label(raw: str, proc: str, categories: list[str], key: str, hidden: bool) -> dict[str, Any]:
    names: dict[str, Any] = {"raw_label": raw, "proc_label": proc, "seg_id": _id(f"label {key}"), "act_cat": categories}
    return {name: None if hidden and name != "seg_id" else value for name, value in names.items()}


def _annotation(labels: list[dict[str, Any]], number: int, key: str, several: bool) -> dict[str, Any]:
    who = _id(f"annotator {number % 7} {key}")
    return {"babel_lid": _id(f"annotation {number} {key}"), "anntr_id": who, "mul_act": several, "labels": labels}


def _id(key: str) -> str:
    """A UUID that depends on ``key`` alone."""
    return str(uuid.UUID(bytes=hashlib.sha256(key.encode()).digest()[:16], version=4))
