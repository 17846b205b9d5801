"""Differences between two variants with bootstrap intervals: over test recordings, and over recordings and seeds.

Both variants are scored on the same recordings with the same seeds, so differences are paired. What is drawn anew is
whole recordings, all cameras of one together: their frames are anything but independent. Percentile intervals (Efron &
Tibshirani 1993, 13.3); of few recordings they run narrow (6: 12 % of true zeros fall outside instead of 5).

Drawing two to five seeds anew says too little of other seeds (3 of them: up to 25 % of true zeros outside). Over both,
the bootstrap's variance of the recordings and the seeds' own are added, and Student's t says how well so few can know
them (Satterthwaite 1946). None of this speaks of other test subjects. The paper gives no intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Ours − baseline of one measure, mean over seeds. Same unit as the measure."""

    value: float
    relative: float
    """% of the baseline's mean."""
    seed_std: float
    """Standard deviation of the seeds' differences; NaN of a single one."""
    low: float
    high: float
    """95 % interval over test recordings, of the mean over these seeds; NaN of a single recording."""
    low_seeds: float
    high_seeds: float
    """95 % interval over test recordings and seeds; NaN of a single seed or recording."""
    recordings: int
    seeds: int

    @property
    def certain(self) -> bool:
        """Whether the widest interval there is excludes zero."""
        low, high = (self.low, self.high) if self.seeds == 1 else (self.low_seeds, self.high_seeds)
        return low > 0 or high < 0


def measure(table: pd.DataFrame, column: str = "p1", by_action: bool = True) -> float:
    """A measure from its sequences: ``table`` has action, frames and ``column``, a mean over each sequence's frames.

    ``by_action``: mean over the frames of each action, then over actions without weights (Human3.6M); else mean over
    all frames (MPI-INF-3DHP).
    """
    recordings = _Recordings([table], column, by_action)
    return float(recordings.statistic(np.ones((1, recordings.count)), recordings.errors)[0])


def paired_difference(
    ours: Sequence[pd.DataFrame],
    baseline: Sequence[pd.DataFrame],
    column: str = "p1",
    by_action: bool = True,
    actions: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Ours − baseline, each a table a seed (the same seeds in the same order): sequence, recording, action, frames and
    ``column``, as `evaluation.Scores.sequences`. ``actions``: of these alone (P3).

    A recording drawn k times counts k times: in its action's mean, and its action as often as its recordings were
    drawn, so that data with one recording an action can be resampled too. Raises ``ValueError`` where the tables are
    not of the same sequences.
    """
    if len(ours) != len(baseline) or not ours:
        raise ValueError(f"{len(ours)} and {len(baseline)} seeds; expected as many of both, at least one")
    tables = [*ours, *baseline]
    if actions is not None:
        tables = [table[table["action"].isin(list(actions))] for table in tables]
    recordings, seeds = _Recordings(tables, column, by_action), len(ours)
    difference = recordings.errors[:seeds] - recordings.errors[seeds:]
    once = np.ones((seeds, recordings.count))
    by_seed, base = (recordings.statistic(once, e) for e in (difference, recordings.errors[seeds:]))

    random = np.random.default_rng(seed)
    drawn = random.multinomial(recordings.count, np.full(recordings.count, 1 / recordings.count), resamples)
    draws = recordings.statistic(drawn, difference.mean(0))
    low = high = low_seeds = high_seeds = float("nan")
    if recordings.count > 1:
        low, high = np.percentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]).tolist()
    if recordings.count > 1 and seeds > 1:
        half = _half_width(draws.var() * recordings.count / (recordings.count - 1), recordings.count, by_seed)
        low_seeds, high_seeds = float(by_seed.mean() - half), float(by_seed.mean() + half)
    return Difference(
        value=float(by_seed.mean()), relative=float(100 * by_seed.mean() / base.mean()),
        seed_std=float(by_seed.std(ddof=1)) if seeds > 1 else float("nan"),
        low=low, high=high, low_seeds=low_seeds, high_seeds=high_seeds, recordings=recordings.count, seeds=seeds,
    )  # fmt: skip


class _Recordings:
    """The errors of K tables of the same sequences by recording, and the measure of any multiplicity of these."""

    def __init__(self, tables: Sequence[pd.DataFrame], column: str, by_action: bool) -> None:
        first = tables[0].reset_index(drop=True)
        for table in tables[1:]:
            if table["sequence"].tolist() != first["sequence"].tolist():
                raise ValueError("the two variants were not scored on the same sequences; evaluate both again")
        key = first["recording"]
        names = sorted(key.unique())
        if not names:
            raise ValueError("there is no sequence to compare")
        place = np.searchsorted(names, key)
        frames = first["frames"].to_numpy(np.float64)
        self.frames = np.bincount(place, frames)  # (R,)
        self.errors = np.stack(
            [np.bincount(place, frames * table[column].to_numpy(np.float64)) / self.frames for table in tables]
        )  # (K, R)
        actions = first.groupby("recording", sort=True)["action"].first() if by_action else pd.Series("", index=names)
        self.member = pd.get_dummies(actions).to_numpy(np.float64)  # (R, A): one-hot
        self.count = len(names)

    def statistic(self, times: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """The measure where recording r counts ``times`` (n, R), its error being ``errors`` (R,) or (n, R): (n,)."""
        weight = times * self.frames
        frames = weight @ self.member  # (n, A)
        means = (weight * errors) @ self.member / np.maximum(frames, 1)
        share = times @ self.member / self.member.sum(0)
        return (share * means).sum(1) / share.sum(1)


def _half_width(variance: float, recordings: int, by_seed: np.ndarray) -> float:
    """Half of the interval of a mean over ``by_seed`` (S,) that has ``variance`` over test recordings besides."""
    from scipy.stats import t

    parts = np.array([variance, by_seed.var(ddof=1) / len(by_seed)])
    spread = (parts**2 / [recordings - 1, len(by_seed) - 1]).sum()
    if spread == 0:
        return 0.0
    return float(np.sqrt(parts.sum()) * t.ppf((1 + LEVEL) / 2, parts.sum() ** 2 / spread))
