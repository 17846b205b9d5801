"""Rotations, forward kinematics, two-bone inverse kinematics and timing for the demo's motion, in numpy float64.

Rotations are matrices (..., 3, 3) acting on column vectors. The body frame is x left, y up, z forward; there, a
positive pitch (about x) leans forward, a positive yaw (about y) turns to the left, a positive roll (about z) leans to
the right.
"""

import numpy as np

from langpose.demo.anatomy import PARENTS, rest_joints

_LEVELS: list[tuple[list[int], list[int]]] = []  # joints by depth, with their parents: forward kinematics by level
_depth = [0] * len(PARENTS)
for _joint, _parent in enumerate(PARENTS):
    if _parent >= 0:
        _depth[_joint] = _depth[_parent] + 1
for _level in range(1, max(_depth) + 1):
    _joints = [j for j, depth in enumerate(_depth) if depth == _level]
    _LEVELS.append((_joints, [PARENTS[j] for j in _joints]))


def _about(axis: int, angle: np.ndarray) -> np.ndarray:
    angle = np.asarray(angle, dtype=np.float64)
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.zeros((*angle.shape, 3, 3))
    after, last = (axis + 1) % 3, (axis + 2) % 3
    rotation[..., axis, axis] = 1
    rotation[..., after, after] = rotation[..., last, last] = cosine
    rotation[..., last, after] = sine
    rotation[..., after, last] = -sine
    return rotation


def about_x(angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) about x by ``angle`` (...) radians."""
    return _about(0, angle)


def about_y(angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) about y by ``angle`` (...) radians."""
    return _about(1, angle)


def about_z(angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) about z by ``angle`` (...) radians."""
    return _about(2, angle)


def from_pitch_yaw_roll(angles: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) from angles (..., 3) radians: roll first, then pitch, then yaw, about fixed axes."""
    return about_y(angles[..., 1]) @ about_x(angles[..., 0]) @ about_z(angles[..., 2])


def matrices(rotvec: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) from axis-angle vectors (..., 3) radians (Rodrigues' formula)."""
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(np.asarray(rotvec, dtype=np.float64), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    safe = np.maximum(angle, 1e-12)
    small = angle < 1e-6
    first = np.where(small, 1.0, np.sin(safe) / safe)
    second = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    return np.eye(3) + first * cross + second * (cross @ cross)


def rotation_vectors(rotation: np.ndarray) -> np.ndarray:
    """Axis-angle vectors (T, ..., 3) of matrices (T, ..., 3, 3), continuous along the first axis.

    The first frame has an angle of at most pi; later ones may go beyond, rather than jump to the other side.
    """
    m = rotation
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Four times the outer product of the quaternion (w, x, y, z) with itself: its largest row is well conditioned.
    outer = np.empty((*trace.shape, 4, 4))
    outer[..., 0, 0] = 1 + trace
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        outer[..., i + 1, i + 1] = 1 + 2 * m[..., i, i] - trace
        outer[..., 0, i + 1] = outer[..., i + 1, 0] = m[..., k, j] - m[..., j, k]
        outer[..., i + 1, j + 1] = outer[..., j + 1, i + 1] = m[..., i, j] + m[..., j, i]
    best = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), -1)
    quaternion = np.take_along_axis(outer, best[..., None, None], -2)[..., 0, :]
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    sign = np.where((quaternion[1:] * quaternion[:-1]).sum(-1) < 0, -1.0, 1.0)
    first = np.where(quaternion[:1, ..., 0] < 0, -1.0, 1.0)
    quaternion *= np.cumprod(np.concatenate([first, sign]), 0)[..., None]
    length = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(length, quaternion[..., :1])
    return quaternion[..., 1:] * np.where(length < 1e-9, 2.0, angle / np.maximum(length, 1e-12))


def slerp(start: np.ndarray, stop: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) ``fraction`` (...) of the way from ``start`` to ``stop`` along the shortest arc."""
    first = matrices(start)
    step = rotation_vectors((np.swapaxes(first, -1, -2) @ matrices(stop))[None])[0]
    return rotation_vectors((first @ matrices(step * np.asarray(fraction)[..., None]))[None])[0]


def minimum_jerk(u: np.ndarray) -> np.ndarray:
    """0 before u = 0, 1 after u = 1, between them the smoothest reach 10u^3 - 15u^4 + 6u^5 (Flash and Hogan 1985)."""
    u = np.clip(u, 0.0, 1.0)
    return u**3 * (10 + u * (6 * u - 15))


def bump(u: np.ndarray) -> np.ndarray:
    """0 outside (0, 1), 1 at u = 1/2, with two continuous derivatives."""
    u = np.clip(u, 0.0, 1.0)
    return 64 * u**3 * (1 - u) ** 3


def soft_minimum(values: np.ndarray, softness: float | np.ndarray) -> np.ndarray:
    """Smooth lower bound (...) of ``values`` (n, ...); ``softness`` (or one each) in their unit."""
    lowest = values.min(0)
    return lowest - softness * np.log(np.exp(-(values - lowest) / softness).sum(0))


def gaussian_smooth(values: np.ndarray, sigma_s: float, rate_hz: float) -> np.ndarray:
    """(T, ...) convolved along time with a normal density of width ``sigma_s``; the ends are held."""
    reach = int(np.ceil(4 * sigma_s * rate_hz))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma_s * rate_hz)) ** 2)
    kernel /= kernel.sum()
    flat = values.reshape(len(values), -1)
    padded = np.concatenate([np.repeat(flat[:1], reach, 0), flat, np.repeat(flat[-1:], reach, 0)])
    columns = [np.convolve(column, kernel, "valid") for column in padded.T]
    return np.stack(columns, -1).reshape(values.shape)


def unit(vector: np.ndarray) -> np.ndarray:
    """``vector`` (..., 3) scaled to length 1."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)


def bone_frame(bone: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    """Right-handed frames (..., 3, 3): along the bone, the hinge axis made perpendicular to it, and their product."""
    along = unit(bone)
    across = unit(hinge - (hinge * along).sum(-1, keepdims=True) * along)
    return np.stack([along, across, np.cross(along, across)], -1)


def two_bone(
    start: np.ndarray,
    target: np.ndarray,
    pole: np.ndarray,
    upper_m: float,
    lower_m: float,
    softness_m: float | np.ndarray = 0.004,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Analytic inverse kinematics of a limb of two bones (hip-knee-ankle, shoulder-elbow-wrist).

    ``start`` and ``target`` (..., 3) metres, ``pole`` (..., 3): the middle joint bends towards it. The limb never
    stretches past straight: targets out of reach are drawn in, smoothly over ``softness_m``. Returns the middle joint,
    the reached end and the hinge axis (..., 3), a unit vector perpendicular to the limb's plane.
    """
    towards = target - start
    wanted = np.linalg.norm(towards, axis=-1)
    direction = unit(towards)
    longest = np.full_like(wanted, 0.9995 * (upper_m + lower_m))
    # cosine law at a bend of 150 degrees: no joint folds further
    shortest = np.sqrt(upper_m**2 + lower_m**2 - 2 * upper_m * lower_m * np.cos(np.radians(30)))
    reach = soft_minimum(np.stack([wanted, longest]), softness_m)
    reach = -soft_minimum(np.stack([-reach, np.full_like(reach, -shortest)]), softness_m)
    reach = np.minimum(reach, longest)
    along = (upper_m**2 - lower_m**2 + reach**2) / (2 * reach)
    aside = np.sqrt(np.maximum(upper_m**2 - along**2, 0.0))
    bend = unit(pole - (pole * direction).sum(-1, keepdims=True) * direction)
    middle = start + along[..., None] * direction + aside[..., None] * bend
    return middle, start + reach[..., None] * direction, np.cross(direction, bend)


def forward_matrices(local: np.ndarray, rest: np.ndarray, pelvis: np.ndarray) -> np.ndarray:
    """World joints (T, 52, 3) from local rotations (T, 52, 3, 3), rest joints (52, 3) and pelvis (T, 3), metres."""
    offsets = rest - rest[[max(parent, 0) for parent in PARENTS]]
    world = np.empty_like(local)
    joints = np.empty((len(local), len(PARENTS), 3))
    world[:, 0], joints[:, 0] = local[:, 0], pelvis
    for children, parents in _LEVELS:
        world[:, children] = world[:, parents] @ local[:, children]
        joints[:, children] = joints[:, parents] + np.einsum("tjab,jb->tja", world[:, parents], offsets[children])
    return joints


def forward_kinematics(poses: np.ndarray, trans: np.ndarray, betas: np.ndarray, gender: str) -> np.ndarray:
    """World joints (T, 52, 3) metres of SMPL-H poses (T, 156) axis-angle and trans (T, 3) metres.

    SMPL's convention: the root rotation turns the body about its own rest pelvis, so pelvis = rest pelvis + trans.
    """
    rest = rest_joints(betas, gender)
    return forward_matrices(matrices(poses.reshape(len(poses), 52, 3)), rest, rest[0] + trans)
