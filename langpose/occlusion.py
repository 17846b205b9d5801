"""Which joints a camera sees: a body of capsules round the limbs, and rays from the camera to each joint."""

import numpy as np

from langpose.skeleton import LIMBS

RADII_M: dict[tuple[int, int], float] = {
    (0, 1): 0.09, (1, 2): 0.075, (2, 3): 0.05, (0, 4): 0.09, (4, 5): 0.075, (5, 6): 0.05,
    (0, 7): 0.12, (7, 8): 0.13, (8, 9): 0.06, (9, 10): 0.09,
    (8, 11): 0.06, (11, 12): 0.045, (12, 13): 0.035, (8, 14): 0.06, (14, 15): 0.045, (15, 16): 0.035,
}  # fmt: skip
"""Radius of each limb's capsule. Not in the paper: an adult's limbs, rounded."""
SOFT_M = 0.02
"""A ray that passes within this of a capsule's edge is partly blocked."""


def visibility(camera_m: np.ndarray) -> np.ndarray:
    """How well each joint is seen, by self-occlusion alone: camera (F, 17, 3) metres → (F, 17) in [0, 1].

    A joint is hidden where the segment from the camera's centre to it passes through another limb's capsule. Limbs
    that end at the joint, or begin at one that the joint's own limbs reach, never hide it: a joint lies inside them.
    """
    joints = np.asarray(camera_m, dtype=np.float64)
    seen = np.ones(joints.shape[:2])
    neighbours = [{j} | {b for a, b in LIMBS if a == j} | {a for a, b in LIMBS if b == j} for j in range(17)]
    for parent, child in LIMBS:
        others = [j for j in range(17) if parent not in neighbours[j] and child not in neighbours[j]]
        distance, along = _segment_distance(joints[:, others], joints[:, [parent]], joints[:, [child]])
        radius = RADII_M[parent, child]
        blocked = np.clip((radius + SOFT_M - distance) / (2 * SOFT_M), 0, 1)
        # only what lies clearly in front of the joint hides it
        depth = np.linalg.norm(joints[:, others], axis=-1)
        blocked *= (1 - along) * depth > radius + SOFT_M
        seen[:, others] = np.minimum(seen[:, others], 1 - blocked)
    return seen


def _segment_distance(ray_end: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least distance between the segments 0 → ray_end and a → b, (..., 3) each, and where on the ray, in [0, 1].

    Source: the closed form for two segments (Ericson, Real-Time Collision Detection, 5.1.9).
    """
    u, v, w = ray_end, b - a, -a
    uu, vv, uv = (u * u).sum(-1), (v * v).sum(-1), (u * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    determinant = np.maximum(uu * vv - uv**2, 1e-12)
    s = np.clip((uv * vw - vv * uw) / determinant, 0, 1)
    t = np.clip((uv * s + vw) / np.maximum(vv, 1e-12), 0, 1)
    s = np.clip((uv * t - uw) / np.maximum(uu, 1e-12), 0, 1)
    return np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1), s
