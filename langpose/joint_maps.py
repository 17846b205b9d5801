"""2D skeletons of other people's detectors, by name, and how each becomes Human3.6M-17.

Every joint of Human3.6M-17 is one joint of the source, or the mean of several (a pelvis between the hips). Where a
source has no top of the head, its eyes stand for it, and its nose for the neck, as in MotionBERT's own conversion of
COCO and Halpe (lib/data/dataset_wild.py), which its models were tried on. A mean is as sure as its least sure joint.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from langpose.skeleton import H36M_FROM_MPI, JOINTS, MPI_JOINTS

COCO_17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
HALPE_26 = (
    *COCO_17, "head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel",
    "right_heel",
)  # fmt: skip
BODY_25 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe",
    "right_heel",
)  # fmt: skip
MEDIAPIPE_33 = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb",
    "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip

_HIPS, _SHOULDERS, _EYES = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder"), ("left_eye", "right_eye")
_LIMBS = {
    joint: (joint,)
    for side in ("left", "right")
    for joint in (f"{side}_{part}" for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"))
}
_FACE = _LIMBS | {
    "root": _HIPS, "spine": (*_HIPS, *_SHOULDERS), "thorax": _SHOULDERS, "neck": ("nose",), "head": _EYES,
}  # fmt: skip
"""From a detector of limbs and a face. The spine is half way from the pelvis to the thorax."""


@dataclass(frozen=True)
class Skeleton:
    """A detector's joints and, by Human3.6M-17's names, which of them make each of its joints."""

    name: str
    joints: tuple[str, ...]
    makes: Mapping[str, tuple[str, ...]]
    body: int | None = None
    """Joints at the beginning that count, where there are more (face, hands)."""

    @property
    def number(self) -> int:
        """Joints of a detection."""
        return self.body or len(self.joints)

    def to_h36m(self, keypoints: np.ndarray) -> np.ndarray:
        """(..., J, C) in this skeleton's order → (..., 17, C). C is 2, or 3 with a confidence last.

        Raises ``ValueError`` for another number of joints.
        """
        if keypoints.shape[-2] != self.number:
            raise ValueError(f"{keypoints.shape[-2]} joints; skeleton {self.name} has {self.number}: {told(self)}")
        index = {joint: number for number, joint in enumerate(self.joints)}
        parts = []
        for joint in JOINTS:
            chosen = keypoints[..., [index[name] for name in self.makes[joint]], :]
            mean = chosen.mean(-2)
            if keypoints.shape[-1] > 2:
                mean[..., 2] = chosen[..., 2].min(-1)
            parts.append(mean)
        return np.stack(parts, -2)


def told(skeleton: Skeleton) -> str:
    """Its joints, for people."""
    return ", ".join(skeleton.joints[:6]) + ", …"


SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (
        Skeleton("h36m17", JOINTS, {joint: (joint,) for joint in JOINTS}),
        Skeleton("coco17", COCO_17, _FACE),
        Skeleton("coco133", COCO_17, _FACE, body=133),
        Skeleton("halpe26", HALPE_26, _FACE | {"root": ("hip",), "spine": ("hip", "neck"), "thorax": ("neck",),
                                               "head": ("head",)}),
        Skeleton("body25", BODY_25, _FACE | {"root": ("mid_hip",), "spine": ("mid_hip", "neck"), "thorax": ("neck",)}),
        Skeleton("mediapipe33", MEDIAPIPE_33, _FACE),
        Skeleton("mpi17", MPI_JOINTS, {joint: (MPI_JOINTS[H36M_FROM_MPI[i]],) for i, joint in enumerate(JOINTS)}),
    )
}  # fmt: skip
"""By name. ``coco133`` is COCO-WholeBody, of which the body counts."""

ALIASES = {
    "h36m": "h36m17", "human36m": "h36m17", "coco": "coco17", "coco_wholebody": "coco133", "wholebody": "coco133",
    "halpe": "halpe26", "body_25": "body25", "openpose": "body25", "mediapipe": "mediapipe33",
    "blazepose": "mediapipe33", "mpi_inf_3dhp": "mpi17", "mpi": "mpi17",
}  # fmt: skip


def named(name: str) -> Skeleton:
    """The skeleton of that name, however it is written. Raises ``ValueError`` with the nearest one."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    plain = ALIASES.get(plain, plain.replace("_", "") if plain.replace("_", "") in SKELETONS else plain)
    if plain not in SKELETONS:
        near = difflib.get_close_matches(plain, [*SKELETONS, *ALIASES], n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"skeletons: {', '.join(SKELETONS)}"
        raise ValueError(f"no skeleton '{name}'; {hint}")
    return SKELETONS[plain]


def of_count(joints: int) -> Skeleton:
    """The skeleton of so many joints. Raises ``ValueError`` where there is none, or several."""
    found = [skeleton for skeleton in SKELETONS.values() if skeleton.number == joints]
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(skeleton.name for skeleton in found)
        raise ValueError(f"{joints} joints may be {names}; name the skeleton")
    nearest = min(SKELETONS.values(), key=lambda skeleton: abs(skeleton.number - joints))
    raise ValueError(
        f"no skeleton has {joints} joints; the nearest is {nearest.name} with {nearest.number}. Known: "
        + ", ".join(f"{skeleton.name} ({skeleton.number})" for skeleton in SKELETONS.values())
    )
