"""What a reader of motion returns, and what is wrong with it: missing frames, jumps, swapped sides, wrong units.

A reader repairs nothing. It raises where a file cannot be meant (NaN, millimetres, left and right exchanged) and lists
the rest as artefacts; `good_pieces` then says which stretches of a recording are fit to train and test on.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from langpose.skeleton import JOINTS, LIMBS, handedness

MAX_SPEED_M_S = 30.0
"""A joint faster than this has jumped. Not in the paper: three times a fast punch or a throwing wrist; the known
artefacts of CMU's recordings lie at 35 to 130 m/s."""

MIN_GOOD_S = 0.1
"""A good run shorter than this between bad frames is bad too (a limb that jumps away and back). Not in the paper."""

STATURE_M = (0.5, 2.5)
"""Bone-chain height (ankle to head along the bones) that a person can have, toddlers and giants included."""

UP = {
    "x": ((2, 1, 0), (-1, 1, 1)), "y": ((0, 2, 1), (1, -1, 1)), "z": ((0, 1, 2), (1, 1, 1)),
    "-x": ((2, 1, 0), (1, 1, -1)), "-y": ((0, 2, 1), (1, 1, -1)), "-z": ((0, 1, 2), (1, -1, -1)),
}  # fmt: skip
"""Which axis is up in a world → the rotation that makes it z: the coordinates' new order, then their signs."""

_FLOOR_M = 0.3
"""Feet on a floor at 0 stay within this of it: an ankle's height, and shoes."""

MAX_LIMB_M = 0.9
"""No limb between two of the 17 joints is longer: the longest, a thigh or a shin, stays below 0.65 m."""


@dataclass(frozen=True)
class Motion:
    """One recording: Human3.6M-17 joints in the world, and what its reader noticed."""

    joints: np.ndarray
    """(F, 17, 3) float32, world frame, metres, right-handed, z up."""
    rate_hz: float
    """True rate of these frames."""
    subject: str
    """Who moves: the unit of the train / validation / test split."""
    source: str
    """The file, relative to its data set's folder."""
    artefacts: list[str] = field(default_factory=list)
    """What looks wrong, for people: what and at which frames. Nothing is repaired."""


def up_axis(joints: np.ndarray) -> tuple[str, str]:
    """Which axis of the world (F, 17, 3), metres, is up (a key of `UP`), and what to tell about it, if anything.

    z, unless hardly a frame (5 %) stands along z and half of them stand along another axis, torso and legs, with the
    feet at 0 of that axis. Someone who lies on the floor of a z-up world near its origin looks the same: there, and
    where feet are not at 0, the axis is z and the remark says what was seen.
    """
    torso, legs = joints[:, 8] - joints[:, 0], joints[:, [1, 4]].mean(1) - joints[:, [3, 6]].mean(1)
    vectors = np.stack([torso, legs], 1)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    upright = (np.concatenate([vectors, -vectors], -1) > 0.8).all(1).mean(0)  # (6,): x, y, z, -x, -y, -z
    stands = dict(zip(("x", "y", "z", "-x", "-y", "-z"), upright.tolist(), strict=True))
    axis = max(stands, key=stands.__getitem__)
    if stands["z"] >= 0.05 or stands[axis] < 0.5:
        return "z", ""

    def on_floor(up: str) -> bool:
        return abs(float(np.median(turn_up(joints, up)[..., 2].min(1)))) < _FLOOR_M

    seen = f"the body stands along {axis} in {stands[axis]:.0%} of the frames"
    lies = on_floor("z") and np.ptp(joints[..., 2], axis=1).max() < 2 * _FLOOR_M
    if on_floor(axis) and not lies:
        return axis, f"{seen}, its feet at 0: the world has {axis} up, and was turned to z up"
    doubt = "or lies on the floor of a world with z up" if lies else "but its feet are not at 0"
    return "z", f"{seen}, {doubt}: taken as z up (if it is not, read it with up='{axis}')"


def turn_up(joints: np.ndarray, up: str) -> np.ndarray:
    """Points (..., 3) of a world whose axis ``up`` (a key of `UP`) is up, turned so that it is z; no mirroring."""
    order, signs = UP[up]
    return joints[..., list(order)] * np.array(signs, joints.dtype)


def check_motion(joints: np.ndarray, rate_hz: float, source: str = "motion") -> list[str]:
    """Refuse what cannot be a person's motion in metres; return what merely looks wrong.

    ``joints`` (F, 17, 3) world frame, metres, z up; ``source`` names the file in messages. Raises ``ValueError`` for a
    wrong shape, no frames, a rate that is not positive, values that are not finite, a body of impossible size (with the
    unit it looks like), and left and right exchanged (all, or legs against arms). Returns artefacts: frames without
    data, jumps above `MAX_SPEED_M_S`, limbs of impossible length.
    """
    if joints.ndim != 3 or joints.shape[1:] != (len(JOINTS), 3):
        raise ValueError(f"{source}: joints are {joints.shape}, expected (frames, {len(JOINTS)}, 3)")
    if len(joints) == 0:
        raise ValueError(f"{source}: holds no frames")
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"{source}: frame rate is {rate_hz!r}; expected a positive number of frames per second")
    finite = np.isfinite(joints).all(axis=(1, 2))
    if not finite.all():
        first = int(np.argmin(finite))
        joint = int(np.argmin(np.isfinite(joints[first]).all(-1)))
        raise ValueError(
            f"{source}: NaN or infinite position at frame {first} ({JOINTS[joint]}), {int((~finite).sum())} of "
            f"{len(joints)} frames; leave the file out or get it again"
        )
    joints = np.asarray(joints, dtype=np.float64)
    lengths = np.stack([np.linalg.norm(joints[:, b] - joints[:, a], axis=-1) for a, b in LIMBS], axis=-1)  # (F, 16)
    empty = _without_data(joints)
    present = lengths[~empty]
    artefacts = []
    if len(present):
        median = dict(zip(LIMBS, np.median(present, axis=0), strict=True))
        _check_size(median, source)
        _check_sides(joints[~empty], source)
        artefacts += [
            f"{JOINTS[b]} lies {length:.2f} m from {JOINTS[a]} (median): no limb is longer than {MAX_LIMB_M} m"
            for (a, b), length in median.items()
            if length > MAX_LIMB_M
        ]
    else:
        raise ValueError(f"{source}: no frame holds a body (all {len(joints)} are empty)")
    if empty.any():
        artefacts.insert(0, f"{int(empty.sum())} frames without data: {spans(np.flatnonzero(empty))}")
    speed = _speed(joints, rate_hz)
    jumps = np.flatnonzero(speed.max(axis=1, initial=0.0) > MAX_SPEED_M_S)
    if len(jumps):
        step = int(jumps[np.argmax(speed[jumps].max(axis=1))])
        joint = int(np.argmax(speed[step]))
        artefacts.append(
            f"{len(jumps)} jumps faster than {MAX_SPEED_M_S:g} m/s after frames {spans(jumps)}; "
            f"fastest {JOINTS[joint]} at {speed[step, joint]:.0f} m/s after frame {step}"
        )
    return artefacts


def bad_frames(
    joints: np.ndarray, rate_hz: float, max_speed_m_s: float = MAX_SPEED_M_S, min_good_s: float = MIN_GOOD_S
) -> np.ndarray:
    """Which frames no one should train or test on: (F,) bool, True where bad.

    Bad are frames without data (all joints in one point, or the root at exactly the origin in a motion where it does
    not always lie there), both sides of a step in which a joint moves faster than ``max_speed_m_s``, and good runs
    shorter than ``min_good_s`` beside bad frames. Cut there: never close the gap, or time is silently shifted.
    """
    bad = _without_data(joints)
    jump = _speed(np.asarray(joints, dtype=np.float64), rate_hz).max(axis=1, initial=0.0) > max_speed_m_s
    bad[:-1] |= jump
    bad[1:] |= jump
    if bad.any():
        for start, stop in _runs(~bad):
            if stop - start < min_good_s * rate_hz:
                bad[start:stop] = True
    return bad


def good_pieces(joints: np.ndarray, rate_hz: float) -> list[tuple[int, int]]:
    """The runs [start, stop) of frames that `bad_frames` leaves, in order; [(0, F)] for a clean recording."""
    return _runs(~bad_frames(joints, rate_hz))


def resample(
    joints: np.ndarray, rate_hz: float, target_rate_hz: float, upsample: bool = False
) -> tuple[np.ndarray, float]:
    """Frames at ``target_rate_hz`` by time: frame n shows the instant n / target_rate_hz of the recording.

    Exact frames are picked where ``rate_hz`` is a whole multiple of the target, others are linearly interpolated
    between their two neighbours. A recording slower than the target keeps its own rate unless ``upsample``. Returns
    the frames (F', 17, 3), in the input's type, and their true rate. The first frame is kept, nothing is extrapolated.

    Deviation from MotionBERT: it takes every round(rate / 60)-th frame and calls the result 60 Hz (150 Hz became 75,
    100 became 50, 250 became 62.5), so its motion runs at the wrong speed for these recordings.
    """
    for name, value in (("rate_hz", rate_hz), ("target_rate_hz", target_rate_hz)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value!r}; expected a positive number of frames per second")
    if target_rate_hz > rate_hz and not upsample:
        return joints, rate_hz
    ratio = rate_hz / target_rate_hz
    stride = round(ratio)
    if stride >= 1 and abs(ratio - stride) < 1e-6:
        return joints[::stride], rate_hz / stride
    count = math.floor((len(joints) - 1) / ratio + 1e-9) + 1
    places = np.arange(count) * ratio  # in frames of the recording
    left = np.minimum(places.astype(np.int64), max(len(joints) - 2, 0))
    right = np.minimum(left + 1, len(joints) - 1)
    weight = np.minimum(places - left, 1.0)[:, None, None]
    return ((1 - weight) * joints[left] + weight * joints[right]).astype(joints.dtype), float(target_rate_hz)


def spans(frames: np.ndarray, limit: int = 6) -> str:
    """Frame numbers for people: "0-3, 17, 40-41", the first ``limit`` runs, then how many more."""
    frames = np.asarray(frames)
    breaks = np.flatnonzero(np.diff(frames) > 1)
    firsts, lasts = frames[np.r_[0, breaks + 1]], frames[np.r_[breaks, len(frames) - 1]]
    runs = [f"{a}" if a == b else f"{a}-{b}" for a, b in zip(firsts[:limit], lasts[:limit], strict=True)]
    return ", ".join(runs) + (f" and {len(firsts) - limit} more" if len(firsts) > limit else "")


def _speed(joints: np.ndarray, rate_hz: float) -> np.ndarray:
    """(F-1, 17) metres per second from each frame to the next."""
    return np.linalg.norm(np.diff(joints, axis=0), axis=-1) * rate_hz


def _without_data(joints: np.ndarray) -> np.ndarray:
    """(F,) bool: a body collapsed into a point, or one whose root alone sits exactly at the origin (CMU's 09_10)."""
    empty = np.ptp(joints, axis=1).max(axis=-1) < 1e-3
    origin = ~np.any(joints[:, 0], axis=-1)
    return empty if origin.all() else empty | origin


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _check_size(median: dict[tuple[int, int], float], source: str) -> None:
    """The chain ankle-knee-hip, root-spine-thorax-neck-head: bones do not shorten when a person sits down."""
    legs = sum(median[limb] for limb in ((1, 2), (2, 3), (4, 5), (5, 6))) / 2
    stature = legs + sum(median[limb] for limb in ((0, 7), (7, 8), (8, 9), (9, 10)))
    low, high = STATURE_M
    if low <= stature <= high:
        return
    units = {"millimetres": 1000, "centimetres": 100, "inches": 39.37, "normalised by 0.298": 0.298}
    looks = [name for name, per_m in units.items() if 1.2 * per_m <= stature <= 2.1 * per_m]
    guess = f", which looks like {looks[0]}" if looks else ""
    raise ValueError(
        f"{source}: the body is {stature:.4g} high along its bones{guess}; expected metres, between {low} and {high}"
    )


def _check_sides(joints: np.ndarray, source: str) -> None:
    """Left and right by majority: facing from bent knees of upright frames; arms against legs in the upright ones."""
    torso = joints[:, 8] - joints[:, 0]
    upright = torso[:, 2] > 0.7 * np.linalg.norm(torso, axis=-1)
    knees = joints[:, [2, 5]].mean(1) - (joints[:, [1, 4]].mean(1) + joints[:, [3, 6]].mean(1)) / 2
    bent = upright & (np.linalg.norm(knees[:, :2], axis=-1) > 0.05)  # straight legs face nowhere
    advice = "expected Human3.6M-17 order: right leg 1-3, left leg 4-6, left arm 11-13, right arm 14-16"
    if bent.sum() >= 5:
        swapped = float((handedness(joints[bent], (0.0, 0.0, 1.0)) < 0).mean())
        if swapped > 0.8:
            raise ValueError(
                f"{source}: left and right are swapped in {swapped:.0%} of the {int(bent.sum())} frames that show it "
                f"(knees bend backwards for the hips as named), or the body is mirrored; {advice}"
            )
    if upright.sum() >= 5:
        against = float((((joints[:, 11] - joints[:, 14]) * (joints[:, 4] - joints[:, 1])).sum(-1) < 0)[upright].mean())
        if against > 0.8:
            raise ValueError(
                f"{source}: left and right of the arms are swapped against those of the legs in {against:.0%} of "
                f"the upright frames; {advice}"
            )
