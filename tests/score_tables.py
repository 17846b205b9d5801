"""Scores of a made-up grid, as `langpose.tables` takes them."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def scores(actions: Iterable[str], variants: Iterable[str]) -> pd.DataFrame:
    """Both data sets, two seeds, and the error of each of ``actions``."""
    rng = np.random.default_rng(0)
    rows = []
    for variant in variants:
        for seed in (0, 1):
            rows += [("human36m", variant, seed, m, rng.uniform(30, 60)) for m in ("P1_mm", "P2_mm", "P3_mm")]
            rows += [("human36m", variant, seed, f"action:{a}", rng.uniform(30, 60)) for a in actions]
            rows += [("mpi_inf_3dhp", variant, seed, m, rng.uniform(10, 90)) for m in ("P1_mm", "PCK", "AUC")]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "metric", "value"])
