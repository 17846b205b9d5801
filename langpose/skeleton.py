"""The Human3.6M-17 skeleton: joint names, left and right, body parts, and the MPI-INF-3DHP order.

Everything between the stages is in Human3.6M-17 order. Indices are those of MotionBERT and VideoPose3D.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

JOINTS = (
    "root", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine", "thorax",
    "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
"""Joint names by index. 9 is the neck base (nose in some detectors), 10 the top of the head."""

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
LIMBS = tuple((parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0)
"""The 16 (parent, joint) pairs."""

LEFT = (4, 5, 6, 11, 12, 13)
RIGHT = (1, 2, 3, 14, 15, 16)
FLIP = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)
"""Permutation that exchanges left and right joints (its own inverse)."""

BODY_PARTS: dict[str, tuple[int, ...]] = {
    "upper_body": (7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
    "lower_body": (0, 1, 2, 3, 4, 5, 6),
    "head": (9, 10),
    "arms": (11, 12, 13, 14, 15, 16),
    "legs": (2, 3, 5, 6),
    "hips": (0, 1, 4),
}
"""The six parts of Fig. 2 (section 3.2). The figure is not in the text: which joints each part holds is our reading."""

MPI_JOINTS = (
    "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis", "spine", "head",
)  # fmt: skip
"""MPI-INF-3DHP's 17 joints in the order of P-STMO's npz files; 14 (pelvis) is the root."""

MPI_PARENTS = (1, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, -1, 14, 1)
"""Parents in MPI-INF-3DHP order (the head hangs on the neck; P-STMO's list names the pelvis as its own parent)."""
MPI_LEFT = (5, 6, 7, 11, 12, 13)
MPI_RIGHT = (2, 3, 4, 8, 9, 10)
MPI_FLIP = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 14, 15, 16)
MPI_ROOT = 14
MPI_SCORED = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
"""The 14 joints that PCK and AUC count (P-STMO's Matlab evaluation): pelvis, spine and head are left out."""

MPI_FROM_H36M = (10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6, 0, 7, 9)
"""``x_mpi = x_h36m[..., MPI_FROM_H36M, :]``."""
H36M_FROM_MPI = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
"""``x_h36m = x_mpi[..., H36M_FROM_MPI, :]``."""

Array = TypeVar("Array", bound=Any)  # numpy array or torch tensor


def flip(x: Array, permutation: Sequence[int] = FLIP) -> Array:
    """Mirror poses left to right: negate the first coordinate and exchange left and right joints.

    ``x`` is (..., J, C), numpy or torch, with the horizontal coordinate first; further channels (depth, confidence)
    are kept. Flipping twice gives back the input. Source: MotionBERT, ``flip_data``.
    """
    mirrored: Any = np.take(x, permutation, -2) if isinstance(x, np.ndarray) else x[..., list(permutation), :]
    mirrored[..., 0] *= -1  # either is a copy
    return mirrored


def handedness(joints: np.ndarray, up: Sequence[float]) -> np.ndarray:
    """How far a body's left side lies on its own left: > 0 where left and right are as named, < 0 where swapped.

    ``joints`` is (F, 17, 3) in any right-handed frame, ``up`` a vector of that frame along the standing body. Facing
    is taken from the feet (ankle to nose is unreliable, knees bend backwards): a body whose knees lie in front of the
    hip-ankle line faces that way. Returns (F,): metres (or the input's unit) of left-minus-right hip along the
    body's own left, positive when correct; frames with straight legs return about 0.
    """
    up_vector = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    hips = joints[:, 4] - joints[:, 1]
    knees = joints[:, [2, 5]].mean(1)
    line = (joints[:, [1, 4]].mean(1) + joints[:, [3, 6]].mean(1)) / 2
    forward = knees - line
    forward = forward - (forward @ up_vector)[:, None] * up_vector
    left = np.cross(up_vector, forward)
    return (hips * left).sum(-1) / np.maximum(np.linalg.norm(left, axis=-1), 1e-9)
