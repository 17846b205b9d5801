"""The report's first lines: does language help, where, by how much, how sure. Worded from the numbers alone."""

from collections.abc import Sequence

import pandas as pd

from langpose.listings import NAMES, occlusion_name

BASELINES = {"baseline": "the baseline", "base_more": "a baseline trained for as many steps"}


def answer(differences: pd.DataFrame, variant: str, occlusions: Sequence[str]) -> list[str]:
    """Sentences on ``variant`` (LangPose) less each baseline; the first one answers the question.

    ``differences`` as `pipeline.results.differences` makes it; ``occlusions`` are the kinds declared beforehand.
    """
    ours = differences[differences.variant == variant]
    if not len(ours):
        return []
    seeds = int(ours["seeds"].max())
    primary = ours[(ours.measure == "P1_mm") & (ours.against == "baseline")]
    verdicts = [_verdict(row) for row in primary.itertuples()]
    sentences = [f"Does language help? {_whole(primary)}: {'; '.join(verdicts)}."]
    more = ours[(ours.measure == "P1_mm") & (ours.against == "base_more")]
    if len(more):
        compared = "; ".join(_verdict(row) for row in more.itertuples())
        sentences.append(f"Against {BASELINES['base_more']}, without text: {compared}.")
    hidden = ours[ours.measure.isin([f"occlusion:{name}" for name in occlusions]) & (ours.against == "baseline")]
    if len(hidden):
        sure = hidden[hidden.certain]
        named = "; ".join(
            f"{NAMES[row.dataset]}, {occlusion_name(row.measure.removeprefix('occlusion:'))}: {_number(row)}"
            for row in sure.itertuples()
        )
        text = f"Where input is hidden, {len(sure)} of {len(hidden)} declared measures differ for certain"
        sentences.append(f"{text}: {named}." if len(sure) else f"{text}.")
    low, high = int(ours["recordings"].min()), int(ours["recordings"].max())
    recordings = f"{low} to {high}" if low != high else f"{low}"
    interval = "test recordings and seeds" if seeds > 1 else "test recordings, one seed: a check of the pipeline only"
    sentences.append(
        f"How sure: brackets are 95 % intervals of a paired bootstrap over {interval} ({recordings} recordings a "
        f"data set, {seeds} seed{'s' if seeds > 1 else ''}); a difference counts as certain where its "
        "interval excludes zero."
    )
    return sentences


def _number(row: object) -> str:
    low, high = (row.low, row.high) if row.seeds == 1 else (row.low_seeds, row.high_seeds)  # type: ignore[attr-defined]
    return f"{row.value:+.1f} mm ({row.relative:+.1f} %) [{low:+.1f}, {high:+.1f}]"  # type: ignore[attr-defined]


def _verdict(row: object) -> str:
    return f"{NAMES[row.dataset]} P1 {_number(row)}"  # type: ignore[attr-defined]


def _whole(rows: pd.DataFrame) -> str:
    if (rows.seeds == 1).any():
        return "One seed cannot tell"
    better, worse = (rows.certain & (rows.value < 0)).sum(), (rows.certain & (rows.value > 0)).sum()
    if better and not worse:
        return "Yes, on every set" if better == len(rows) else f"On {better} of {len(rows)} sets"
    if worse and not better:
        return "No, it is worse" if worse == len(rows) else f"No, and it is worse on {worse} of {len(rows)} sets"
    if better and worse:
        return f"Better on {better}, worse on {worse} of {len(rows)} sets"
    return "Not measurably"
