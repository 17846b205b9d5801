"""Poses as BVH: a skeleton with the median length of each bone, and a rotation of each joint in each frame.

A limb's direction is the lifted one exactly; its length is the person's median, as BVH has one skeleton for all frames.
Joints alone do not tell how a limb turns about itself: a limb turns as little as it can from its parent (no twist), the
pelvis as its hips and spine do, the thorax as its shoulders and neck do. BVH's frame has y up and z towards the viewer.
"""

import os
from pathlib import Path

import numpy as np

from langpose.skeleton import JOINTS, PARENTS
from langpose.storage import replacing

CHILDREN = tuple(tuple(child for child, parent in enumerate(PARENTS) if parent == joint) for joint in range(17))
REST = {
    "right_hip": (-1, 0, 0), "left_hip": (1, 0, 0), "right_knee": (0, -1, 0), "left_knee": (0, -1, 0),
    "right_ankle": (0, -1, 0), "left_ankle": (0, -1, 0), "spine": (0, 1, 0), "thorax": (0, 1, 0), "neck": (0, 1, 0),
    "head": (0, 1, 0), "left_shoulder": (1, 0, 0), "left_elbow": (1, 0, 0), "left_wrist": (1, 0, 0),
    "right_shoulder": (-1, 0, 0), "right_elbow": (-1, 0, 0), "right_wrist": (-1, 0, 0),
}  # fmt: skip
"""Directions of the bones at rest, by the joint at their end: a T-pose."""
FRAMED = {0: (4, 1, 7), 8: (11, 14, 9)}
"""Joints turned by a whole frame: (left, right, up)."""


def save(path: str | os.PathLike[str], joints: np.ndarray, rate_hz: float) -> None:
    """Write poses (F, 17, 3), root-relative, camera frame, in any unit, as BVH. Raises ``ValueError`` for no frames."""
    if joints.ndim != 3 or joints.shape[1:] != (17, 3) or not len(joints) or not np.isfinite(joints).all():
        raise ValueError(f"joints of shape {joints.shape}; expected (frames, 17, 3) finite numbers, at least one frame")
    if not rate_hz > 0:
        raise ValueError(f"{rate_hz} frames a second; expected more than 0")
    offsets, angles = solve(joints)
    lines = [
        "HIERARCHY",
        *_hierarchy(0, offsets, 0),
        "MOTION",
        f"Frames: {len(joints)}",
        f"Frame Time: {1 / rate_hz:.7f}",
    ]
    order = _order(0)
    for frame in range(len(joints)):
        numbers = [0.0, 0.0, 0.0, *np.concatenate([angles[frame, joint] for joint in order]).tolist()]
        lines.append(" ".join(f"{number:.4f}" for number in numbers))
    with replacing(Path(path)) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def solve(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F, 17, 3) → bones at rest (17, 3), and each joint's angles (F, 17, 3), degrees about z, x, y in that order."""
    poses = np.asarray(joints, np.float64) * (1, -1, -1)
    bones = np.zeros_like(poses)
    bones[:, 1:] = poses[:, 1:] - poses[:, list(PARENTS[1:])]
    lengths = np.median(np.linalg.norm(bones, axis=-1), axis=0)
    rest = np.zeros((17, 3))
    for joint in range(1, 17):
        rest[joint] = np.array(REST[JOINTS[joint]]) * lengths[joint]
    for joint, (left, right, up) in FRAMED.items():  # where several bones begin: where they lie in the body, on average
        frame = _frame(poses[:, left] - poses[:, right], poses[:, up] - poses[:, joint])
        for child in CHILDREN[joint]:
            local = np.einsum("fji,fj->fi", frame, bones[:, child]).mean(0)
            rest[child] = _unit(local) * lengths[child]
    world = np.broadcast_to(np.eye(3), (len(poses), 17, 3, 3)).copy()
    angles = np.zeros_like(poses)
    for joint in _order(0):
        parent = PARENTS[joint]
        above = world[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (len(poses), 3, 3))
        own = _turn(joint, poses, bones, rest, above)
        world[:, joint] = above @ own
        angles[:, joint] = _zxy(own)
    return rest, angles


def _turn(joint: int, poses: np.ndarray, bones: np.ndarray, rest: np.ndarray, above: np.ndarray) -> np.ndarray:
    """A joint's rotation (F, 3, 3) in its parent's frame ``above``, such that its children lie where they do."""
    if joint in FRAMED:
        left, right, up = FRAMED[joint]
        found = _frame(poses[:, left] - poses[:, right], poses[:, up] - poses[:, joint])
        return np.swapaxes(above, 1, 2) @ found
    if not CHILDREN[joint]:
        return np.broadcast_to(np.eye(3), above.shape)
    child = CHILDREN[joint][0]
    direction = np.einsum("fji,fj->fi", above, bones[:, child])
    return _least(rest[child], direction)


def _frame(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Rotation (F, 3, 3) whose x is along ``across`` and whose y lies as near ``along`` as it can."""
    x = _unit(across)
    y = _unit(along - (along * x).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], -1)


def _least(rest: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The smallest rotation (F, 3, 3) that takes ``rest`` (3,) to ``direction`` (F, 3): Rodrigues' formula."""
    a, b = _unit(np.broadcast_to(rest, direction.shape)), _unit(direction)
    axis, cosine = np.cross(a, b), (a * b).sum(-1)
    k = np.zeros((len(b), 3, 3))
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    k -= np.swapaxes(k, 1, 2).copy()
    scale = 1 / np.maximum(1 + cosine, 1e-9)
    turned = np.eye(3) + k + k @ k * scale[:, None, None]
    opposite = cosine < -1 + 1e-7  # half a turn, about any axis across
    if opposite.any():
        across = _unit(np.cross(a[opposite], np.where(np.abs(a[opposite, :1]) < 0.9, (1.0, 0, 0), (0, 1.0, 0))))
        turned[opposite] = 2 * across[:, :, None] * across[:, None] - np.eye(3)
    return turned


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _zxy(rotation: np.ndarray) -> np.ndarray:
    """Angles (F, 3), degrees, of R = Rz Rx Ry, from (F, 3, 3)."""
    x = np.arcsin(np.clip(rotation[:, 2, 1], -1, 1))
    z = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    y = np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
    return np.degrees(np.stack([z, x, y], -1))


def _order(joint: int) -> list[int]:
    """Joints depth first: the order of BVH's columns."""
    return [joint, *(below for child in CHILDREN[joint] for below in _order(child))]


def _hierarchy(joint: int, offsets: np.ndarray, depth: int) -> list[str]:
    pad = "  " * depth
    offset = " ".join(f"{value:.6f}" for value in offsets[joint])
    channels = "3 Zrotation Xrotation Yrotation"
    if joint == 0:
        channels = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    lines = [f"{pad}{'ROOT' if joint == 0 else 'JOINT'} {JOINTS[joint]}", f"{pad}{{", f"{pad}  OFFSET {offset}",
             f"{pad}  CHANNELS {channels}"]  # fmt: skip
    for child in CHILDREN[joint]:
        lines += _hierarchy(child, offsets, depth + 1)
    if not CHILDREN[joint]:
        lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0.000000 0.000000 0.000000", f"{pad}  }}"]
    return [*lines, f"{pad}}}"]
