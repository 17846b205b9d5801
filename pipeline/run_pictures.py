"""Pictures of one evaluated cell, for its MLflow run: error per action, and frames of one clip."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from langpose.figures import draw_pose
from langpose.lifting_sets import open_split
from langpose.metrics import mpjpe

FRAMES = 8
"""Frames of a filmstrip."""

Picture = tuple[Any, str]
"""A matplotlib figure, and its file's name."""


def actions_picture(folder: Path) -> Picture | None:
    """P1 of each action as bars; None where the data set has none."""
    from matplotlib.figure import Figure

    table = pd.read_csv(folder / "actions.csv", keep_default_na=False)
    if table.empty or "p1" not in table:
        return None
    figure = Figure(figsize=(max(5.0, 0.6 * len(table) + 1.5), 3.2), layout="constrained")
    panel = figure.subplots()
    panel.bar(table["action"].astype(str), table["p1"], color="#4477aa")
    panel.set_ylabel("P1, mm")
    panel.tick_params(axis="x", rotation=40)
    panel.spines[["top", "right"]].set_visible(False)
    return figure, "actions.png"


def filmstrip(lifting: Path, folder: Path) -> Picture | None:
    """Frames of the recording of median error: the prediction over the truth in grey, as the camera sees them."""
    from matplotlib.figure import Figure

    with np.load(folder / "predictions.npz", allow_pickle=False) as file:
        if "joints_mm" not in file:
            return None
        predicted = file["joints_mm"].astype(np.float64)
    data = open_split(lifting, "test")
    if data.joints_mm is None:
        return None
    truth = np.asarray(data.joints_mm, dtype=np.float64)
    if predicted.shape != truth.shape:
        return None
    scored = np.isfinite(predicted).all((1, 2))
    row = np.repeat(np.arange(len(data.sequences)), data.sequences["frames"])
    errors = pd.Series(mpjpe(predicted[scored], truth[scored])).groupby(row[scored]).mean().sort_values(kind="stable")
    if errors.empty:
        return None
    chosen = errors.index[len(errors) // 2]
    frames = np.flatnonzero(scored & (row == chosen))
    frames = frames[np.linspace(0, len(frames) - 1, FRAMES).astype(int)]
    figure = Figure(figsize=(1.5 * FRAMES, 2.4), layout="constrained")
    rate = float(data.sequences["rate_hz"].iloc[chosen])
    for panel, frame in zip(figure.subplots(1, FRAMES), frames, strict=True):
        draw_pose(panel, truth[frame, :, :2], width=3.2)
        for line in panel.lines:
            line.set_color("#c9c9c9")
        draw_pose(panel, predicted[frame, :, :2])
        panel.invert_yaxis()
        panel.set_title(
            f"{(frame - frames[0]) / rate:.1f} s, {mpjpe(predicted[frame], truth[frame]):.0f} mm", fontsize=8
        )
    sequence = data.sequences.iloc[chosen]
    figure.suptitle(f"{sequence.sequence}: the recording of median error ({errors.loc[chosen]:.1f} mm)", fontsize=9)
    return figure, "clip.png"
