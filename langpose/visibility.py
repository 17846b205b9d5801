"""The rough estimate of the paper's footnote: how visible an action's joints are, by confidence and self-occlusion.

Needs no model, so that hard actions can be chosen before one is trained. A body of capsules (`langpose.occlusion`)
stands where the camera saw it: a lifting set has joints relative to the root, and pixels, but no cameras, so the place
is estimated, from the scale between the two (weak perspective) and a focal length that is the data set's usual one.
"""

import numpy as np
import pandas as pd

from langpose.lifting_sets import MPI_MM_PER_UNIT, LiftingSplit
from langpose.occlusion import visibility

FOCAL_IN_WIDTHS = {"human36m": 1.145, "mpi_inf_3dhp": 0.73}
"""Focal length in image widths. Human3.6M's four cameras: 1143 to 1149 px of 1000; MPI-INF-3DHP's: about 1500 px of
2048. Neither file holds it."""
HIDDEN_BELOW = 0.5
"""A joint less visible than this counts as hidden."""
_CHUNK = 8_192


def camera_joints_m(data: LiftingSplit, frames: np.ndarray) -> np.ndarray:
    """Joints in the camera's frame, estimated: ``frames`` (n,) → (n, 17, 3) m, x right, y down, z away."""
    table = data.sequences
    row = np.repeat(np.arange(len(table)), table["frames"])[frames]
    width = table["width"].to_numpy(np.float64)[row]
    focal = FOCAL_IN_WIDTHS[data.dataset] * width
    if data.dataset == "human36m":
        if data.joints_mm is None:
            raise ValueError("the training split of Human3.6M has no joints in mm; ask for 'val' or 'test'")
        joints, flat = np.asarray(data.joints_mm)[frames], np.asarray(data.target)[frames]
    else:
        joints, flat = np.asarray(data.target)[frames] * MPI_MM_PER_UNIT, np.asarray(data.joints_2d)[frames]
    joints = joints.astype(np.float64) / 1000
    # pixels from the image's middle: normalised xy is px / w · 2 - [1, h / w]
    pixels = flat[..., :2].astype(np.float64) * (width / 2)[:, None, None]
    spread_px = pixels - pixels.mean(1, keepdims=True)
    spread_m = joints[..., :2] - joints[..., :2].mean(1, keepdims=True)
    scale = (spread_m**2).sum((1, 2)) / np.maximum((spread_m * spread_px).sum((1, 2)), 1e-9)  # metres a pixel
    root = np.concatenate([pixels[:, 0] * scale[:, None], (focal * scale)[:, None]], -1)
    return joints - joints[:, :1] + root[:, None]


def seen(data: LiftingSplit, frames: np.ndarray | None = None) -> np.ndarray:
    """How well each joint is seen past the body itself: (n, 17) float32 in [0, 1] of ``frames`` (n,), or of all."""
    if frames is None:
        frames = np.arange(len(data.target))
    result = np.empty((len(frames), 17), np.float32)
    for start in range(0, len(frames), _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part] = visibility(camera_joints_m(data, frames[part]))
    return result


def by_action(data: LiftingSplit, seen_joints: np.ndarray) -> pd.DataFrame:
    """A row an action (a sequence, where the files name no actions), least visible first.

    ``seen_joints`` is `seen` of all frames. Columns: ``action``; ``frames``; ``visibility``, mean over joints and
    frames; ``hidden``, % of joints below `HIDDEN_BELOW`; ``confidence``, the detector's, mean, NaN where the 2D is the
    ground truth's; ``recordings``, sequences that show it.
    """
    table = data.sequences
    names = table["action"].where(table["action"] != "", table["sequence"])
    frames = pd.DataFrame({
        "action": np.repeat(names.to_numpy(), table["frames"]),
        "visibility": seen_joints.mean(1),
        "hidden": 100 * (seen_joints < HIDDEN_BELOW).mean(1),
        "confidence": np.asarray(data.joints_2d[..., 2]).mean(1) if data.dataset == "human36m" else np.nan,
    })  # fmt: skip
    grouped = frames.groupby("action", sort=True)
    result = grouped.mean()
    result.insert(0, "frames", grouped.size())
    result["recordings"] = names.value_counts()
    return result.sort_values(["visibility"], kind="stable").reset_index()
