"""A made-up body with SMPL-H's 52 joints: rest joint positions that are affine in 16 shape coefficients.

The numbers are ours (rounded human proportions), not those of the licensed model. Body frame: metres, x to the body's
left, y up, z forward; T-pose with palms down and arms along +-x. The pelvis rests at (0, -0.22, 0.02), off the origin
as in SMPL, so that mistakes in the ``trans`` convention show; the soles are at `sole_height`.
"""

from functools import cache

import numpy as np

_BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")

NAMES: tuple[str, ...] = _BODY + tuple(
    f"{side}_{finger}{k}" for side in ("left", "right") for finger in _FINGERS for k in (1, 2, 3)
)
"""The 52 SMPL-H joints in SMPL-H order."""

PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19,
    *(wrist if k == 0 else 22 + 15 * hand + 3 * finger + k - 1
      for hand, wrist in enumerate((20, 21)) for finger in range(5) for k in range(3)),
)  # fmt: skip
"""Parent of each joint; parents come before their children."""

GENDERS = ("female", "male", "neutral")
NUM_BETAS = 16
SOLE_BELOW_BALL_M = 0.025
"""The sole lies this far below the foot (ball) joint in the rest pose, for every shape."""

_PELVIS_M = (0.0, -0.22, 0.02)

# Offset of each joint from its parent, male, left side and midline; the right side mirrors it.
_OFFSETS_M: dict[str, tuple[float, float, float]] = {
    "left_hip": (0.075, -0.085, -0.005),
    "spine1": (0.0, 0.110, -0.025),
    "left_knee": (0.022, -0.405, 0.000),
    "spine2": (0.0, 0.135, 0.005),
    "left_ankle": (-0.008, -0.415, -0.040),
    "spine3": (0.0, 0.060, 0.020),
    "left_foot": (0.022, -0.062, 0.128),
    "neck": (0.0, 0.215, -0.040),
    "left_collar": (0.075, 0.120, -0.030),
    "head": (0.0, 0.085, 0.040),
    "left_shoulder": (0.105, 0.030, -0.010),
    "left_elbow": (0.270, -0.012, -0.015),
    "left_wrist": (0.258, 0.006, 0.000),
    "left_index1": (0.098, -0.010, 0.026),
    "left_middle1": (0.104, -0.005, 0.002),
    "left_pinky1": (0.083, -0.016, -0.040),
    "left_ring1": (0.094, -0.009, -0.021),
    "left_thumb1": (0.032, -0.016, 0.034),
}
_PHALANGES_M = {"index": 0.030, "middle": 0.032, "pinky": 0.020, "ring": 0.029, "thumb": 0.030}

# Whole-body scale, then breadth of shoulders and hips relative to it. Statures: about 1.66, 1.77 and 1.72 m.
_GENDER_SCALE = {"female": (0.93, 0.90, 1.06), "male": (1.0, 1.0, 1.0), "neutral": (0.965, 0.95, 1.03)}

_HEAD_TOP_ABOVE_HEAD_M = 0.175


def _offsets(gender: str) -> np.ndarray:
    """(52, 3) metres from the parent joint; the pelvis from the origin."""
    if gender not in GENDERS:
        raise ValueError(f"gender is {gender!r}; expected one of {', '.join(GENDERS)}")
    scale, shoulders, hips = _GENDER_SCALE[gender]
    offsets = np.zeros((52, 3))
    for joint, name in enumerate(NAMES):
        side, _, part = name.partition("_")
        if name == "pelvis":
            offsets[joint] = _PELVIS_M
            continue
        if part[:-1] in _PHALANGES_M and part[-1] in "23":
            length = _PHALANGES_M[part[:-1]] * (0.75 if part[-1] == "3" else 1.0)
            direction = np.array([0.75, -0.2, 0.63]) if part.startswith("thumb") else np.array([1.0, -0.03, 0.0])
            offset = length * direction / np.linalg.norm(direction)
        else:
            offset = np.array(_OFFSETS_M[f"left_{part}" if side in ("left", "right") else name])
        if part == "hip":
            offset = offset * (hips, 1, 1)
        elif part in ("collar", "shoulder"):
            offset = offset * (shoulders, 1, 1)
        offsets[joint] = scale * offset * ((-1, 1, 1) if side == "right" else (1, 1, 1))
    return offsets


def _bones(*parts: str) -> list[int]:
    """Joints whose name, without its side and finger number, is one of ``parts``."""
    return [j for j, name in enumerate(NAMES) if name.split("_")[-1].rstrip("123") in parts]


@cache
def _shape_directions(gender: str) -> np.ndarray:
    offsets = _offsets(gender)
    change = np.zeros((52, 3, NUM_BETAS))  # of each bone vector, per unit of each coefficient

    def stretch(beta: int, bones: list[int], by: tuple[float, float, float]) -> None:
        change[bones, :, beta] += offsets[bones] * by

    every = list(range(1, 52))
    fingers = _bones(*_FINGERS)
    stretch(0, every, (0.020, 0.020, 0.020))  # stature
    stretch(1, _bones("knee", "ankle"), (0.02, 0.02, 0.02))  # legs
    stretch(2, _bones("elbow", "wrist"), (0.02, 0.02, 0.02))  # arms
    stretch(3, _bones("spine", "neck"), (0.0, 0.022, 0.022))  # trunk
    stretch(4, _bones("collar", "shoulder"), (0.03, 0.0, 0.0))  # breadth of the shoulders
    stretch(5, _bones("hip"), (0.05, 0.0, 0.0))  # breadth of the hips
    stretch(6, _bones("knee"), (0.015, 0.015, 0.015))  # thigh against shank
    stretch(6, _bones("ankle"), (-0.015, -0.015, -0.015))
    stretch(7, _bones("elbow"), (0.015, 0.015, 0.015))  # upper arm against forearm
    stretch(7, _bones("wrist"), (-0.015, -0.015, -0.015))
    stretch(8, _bones("head"), (0.0, 0.05, 0.05))  # neck
    stretch(9, _bones("foot"), (0.0, 0.0, 0.03))  # feet
    stretch(10, fingers, (0.025, 0.025, 0.025))  # hands
    stretch(11, _bones("collar", "shoulder"), (0.0, 0.10, 0.0))  # square or sloping shoulders
    stretch(12, _bones("spine"), (0.0, 0.0, 0.10))  # curve of the back
    stretch(13, _bones("head"), (0.0, 0.0, 0.15))  # head carried forward
    stretch(14, _bones("hip"), (0.0, 0.04, 0.0))  # height of the pelvis
    stretch(15, _bones("thumb"), (0.03, 0.03, 0.03))  # thumbs
    directions = change
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            directions[joint] += directions[parent]
    directions.flags.writeable = False
    return directions


@cache
def _template(gender: str) -> np.ndarray:
    joints = _offsets(gender)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            joints[joint] += joints[parent]
    joints.flags.writeable = False
    return joints


def shape_directions(gender: str) -> np.ndarray:
    """(52, 3, 16): metres that each rest joint moves per unit of each shape coefficient. Not to be written to."""
    _offsets(gender)
    return _shape_directions(gender)


def rest_joints(betas: np.ndarray, gender: str) -> np.ndarray:
    """Joints of the T-pose, (52, 3) metres in the body frame; affine in ``betas`` (16,).

    Coefficients of up to about 2 in size change stature by up to 7 cm and single limbs by 1 to 3 cm.
    Raises ValueError for an unknown gender or another number of coefficients.
    """
    betas = np.asarray(betas, dtype=np.float64)
    if betas.shape != (NUM_BETAS,):
        raise ValueError(f"betas have shape {betas.shape}; expected ({NUM_BETAS},): pad with zeros or cut")
    _offsets(gender)
    return _template(gender) + _shape_directions(gender) @ betas


def sole_height(rest: np.ndarray) -> float:
    """y of the soles in the rest pose, metres in the body frame, from rest joints (52, 3)."""
    return float(rest[[NAMES.index("left_foot"), NAMES.index("right_foot")], 1].min()) - SOLE_BELOW_BALL_M


def stature_m(rest: np.ndarray) -> float:
    """Height of the standing body, metres, from rest joints (52, 3)."""
    return float(rest[NAMES.index("head"), 1]) + _HEAD_TOP_ABOVE_HEAD_M - sole_height(rest)
