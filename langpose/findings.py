"""The report's first lines: does language help, where, by how much, how sure. Worded from the numbers alone."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from langpose.listings import NAMES, occlusion_name

BASELINES = {"base_more": "a baseline trained for as many steps, without text", "baseline": "the paper's baseline"}
"""In the order of fairness."""


def answer(differences: pd.DataFrame, variant: str, occlusions: Sequence[str]) -> list[str]:
    """Sentences on ``variant`` (LangPose) less the baselines; the first one answers the question.

    It does so by the baseline that was trained for as many steps, where there is one: the paper's own has neither those
    steps nor the masks, so that it cannot tell language from more training. ``differences`` as
    `pipeline.results.differences` makes it; ``occlusions`` are the kinds declared beforehand.
    """
    ours = differences[differences.variant == variant]
    p1 = ours[ours.measure == "P1_mm"]
    known = [name for name in BASELINES if (p1.against == name).any()]
    if not known:
        return []
    fair, seeds = known[0], int(p1["seeds"].max())
    primary = p1[p1.against == fair]
    sentences = [
        f"Does language help? {_whole(primary)}, against {BASELINES[fair]}: {'; '.join(map(_verdict, _rows(primary)))}."
    ]
    if fair == "baseline":
        sentences.append(
            "This baseline saw fewer steps and no body parts or windows masked: what more training does, this grid "
            "cannot tell (variant base_more can)."
        )
    elif "baseline" in known:
        other = p1[p1.against == "baseline"]
        sentences.append(f"Against {BASELINES['baseline']}: {'; '.join(map(_verdict, _rows(other)))}.")
    hidden = ours[ours.measure.isin([f"occlusion:{name}" for name in occlusions]) & (ours.against == fair)]
    if len(hidden):
        sure = hidden[hidden.certain]
        named = "; ".join(
            f"{NAMES[row.dataset]}, {occlusion_name(row.measure.removeprefix('occlusion:'))}: {_number(row)}"
            for row in _rows(sure)
        )
        by = "by more than the choice of recordings explains" if seeds == 1 else "beyond recordings and seeds"
        text = f"Where input is hidden, {len(sure)} of {len(hidden)} declared measures differ {by}"
        sentences.append(f"{text}: {named}." if len(sure) else f"{text}.")
    low, high = int(p1["recordings"].min()), int(p1["recordings"].max())
    recordings = f"{low} to {high}" if low != high else f"{low}"
    interval = "test recordings and seeds" if seeds > 1 else "test recordings, one seed: a check of the pipeline only"
    sentences.append(
        f"How sure: brackets are 95 % intervals over {interval} ({recordings} recordings a data set, {seeds} "
        f"seed{'s' if seeds > 1 else ''}), paired; a difference counts where its interval excludes zero. They say "
        "nothing of other people than the test subjects."
    )
    return sentences


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples())


def _number(row: Any) -> str:
    low, high = (row.low, row.high) if row.seeds == 1 else (row.low_seeds, row.high_seeds)
    interval = f" [{low:+.1f}, {high:+.1f}]" if low == low else ""  # NaN of a single recording
    return f"{row.value:+.1f} mm ({row.relative:+.1f} %){interval}{' of one seed' if row.seeds == 1 else ''}"


def _verdict(row: Any) -> str:
    return f"{NAMES[row.dataset]} P1 {_number(row)}"


def _whole(rows: pd.DataFrame) -> str:
    rows = rows[rows.seeds > 1]
    if not len(rows):
        return "One seed cannot tell"
    better, worse = (rows.certain & (rows.value < 0)).sum(), (rows.certain & (rows.value > 0)).sum()
    if better and not worse:
        return "Yes, on every set" if better == len(rows) else f"On {better} of {len(rows)} sets"
    if worse and not better:
        return "No, it is worse" if worse == len(rows) else f"No, and it is worse on {worse} of {len(rows)} sets"
    if better and worse:
        return f"Better on {better}, worse on {worse} of {len(rows)} sets"
    return "Not measurably"
