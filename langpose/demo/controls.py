"""The knobs that an action program turns: everything of a pose but the feet, which follow the footstep plan.

Controls of neighbouring actions are mixed linearly in a transition, so every knob is an angle or a position for which
a straight line between two values is a sensible motion.
"""

from dataclasses import dataclass

import numpy as np

_WIDTHS = {
    "pelvis": 3,  # left, up, forward: metres from the standing pelvis, in the heading's frame
    "hips": 3,  # pitch, yaw, roll of the pelvis, radians
    "spine": 3,  # pitch, yaw, roll of the whole back, spread over spine1 to spine3
    "head": 3,  # pitch, yaw, roll of the head against the chest, spread over neck and head
    "knees_out": 1,  # how far the knees point outwards, radians
    "heels": 2,  # left, right: additional pitch of planted feet: tiptoe, radians
    "arm_swing": 1,  # how much the arms and hips answer the legs, 1 = a walk's
    "upright": 2,  # left, right: 0 = the arm moves with the chest, 1 = its target hangs from gravity
    "left_hand": 3,  # (out, up, forward) from the shoulder in arm lengths
    "right_hand": 3,
    "left_pole": 3,  # (out, up, forward): where the elbow points
    "right_pole": 3,
    "twist": 2,  # left, right: pronation of the hand, radians; 0 = palm as with the arm at rest
    "flex": 2,  # left, right: flexion of the wrist towards the palm, radians
    "curl": 2,  # left, right: curl of the fingers, 1 = a fist
}
LAYOUT: dict[str, slice] = {}
for _name, _width in _WIDTHS.items():
    _start = sum(s.stop - s.start for s in LAYOUT.values())
    LAYOUT[_name] = slice(_start, _start + _width)
COUNT = sum(_WIDTHS.values())

HANDS = ("left_hand", "right_hand")
POLES = ("left_pole", "right_pole")
HANGING = np.array([0.16, -0.955, 0.10])  # a relaxed arm, slightly bent
ELBOW_BACK = np.array([0.35, -0.45, -0.85])  # behind a hanging arm, below a raised one


@dataclass
class Controls:
    """All knobs over time, ``values`` (T, COUNT); ``controls["spine"]`` is a view (T, width) of one of them."""

    values: np.ndarray

    @classmethod
    def relaxed(cls, frames: int) -> "Controls":
        """Standing at ease: arms hanging, free to swing."""
        controls = cls(np.zeros((frames, COUNT)))
        for hand, pole in zip(HANDS, POLES, strict=True):
            controls[hand] = HANGING
            controls[pole] = ELBOW_BACK
        controls["arm_swing"] = 1.0
        controls["curl"] = 0.25
        controls["head"][:, 0] = 0.05
        return controls

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[:, LAYOUT[name]]

    def __setitem__(self, name: str, value: np.ndarray | float) -> None:
        self.values[:, LAYOUT[name]] = value
