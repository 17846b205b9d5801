"""From controls and footsteps to SMPL-H joint rotations: the pelvis rides over the feet, legs and arms are solved by
inverse kinematics.

World here: y up, floor at y = 0 (the choreography turns the result into AMASS's z-up world). Planted feet never move:
the pelvis sinks as far as needed for both legs to reach them, which gives walking its rise and fall.
"""

from dataclasses import dataclass

import numpy as np

from langpose.demo import anatomy
from langpose.demo.controls import HANDS, POLES, Controls
from langpose.demo.footsteps import Feet, forward_of, left_of
from langpose.demo.kinematics import (
    about_x,
    about_y,
    about_z,
    bone_frame,
    from_pitch_yaw_roll,
    gaussian_smooth,
    soft_minimum,
    two_bone,
    unit,
)

_JOINT = {name: joint for joint, name in enumerate(anatomy.NAMES)}
_SIDES = (("left", 1.0), ("right", -1.0))
_FOLLOW_S = 0.15  # how smoothly the pelvis follows the feet
_SHIFT = 0.45  # share of the way to the standing leg that the pelvis moves sideways
_AHEAD = unit(np.array([0.35, -0.15, 0.92]))  # (out, up, forward): where a hand works; none goes straight behind that
_ELBOW = unit(np.array([0.66, -0.5, -0.33]))  # where the elbow then points, at right angles to _AHEAD
_ELBOW_LEAST = 0.25  # the pole turns the elbow by less than a right angle, as far as this leaves
_CLEARANCE = 0.3  # arm lengths: a hand that would pass through the shoulder passes in front of it
_FINGER_CURL = (1.15, 1.45, 0.85)  # radians of a fist, by finger joint


@dataclass(frozen=True)
class Build:
    """Measures of a body that programs need, metres, from its rest joints (52, 3)."""

    rest: np.ndarray

    def bone(self, joint: str, parent: str) -> np.ndarray:
        """Rest vector (3,) from ``parent`` to ``joint``."""
        return self.rest[_JOINT[joint]] - self.rest[_JOINT[parent]]

    def length(self, joint: str, parent: str) -> float:
        return float(np.linalg.norm(self.bone(joint, parent)))

    @property
    def thigh_m(self) -> float:
        return self.length("left_knee", "left_hip")

    @property
    def leg_m(self) -> float:
        return self.thigh_m + self.length("left_ankle", "left_knee")

    @property
    def arm_m(self) -> float:
        return self.length("left_elbow", "left_shoulder") + self.length("left_wrist", "left_elbow")

    @property
    def pelvis_height_m(self) -> float:
        """Of the standing body, knees not quite locked."""
        return float(self.rest[0, 1]) - anatomy.sole_height(self.rest) - 0.012 * self.leg_m

    @property
    def hip_height_m(self) -> float:
        """Height of the hip joints of the standing body."""
        return self.pelvis_height_m + float(self.bone("left_hip", "pelvis")[1])


def _apply(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (rotation @ vector[..., None])[..., 0]


def _aligned(bone: np.ndarray, hinge: np.ndarray, rest_bone: np.ndarray, rest_hinge: np.ndarray) -> np.ndarray:
    """World rotations (T, 3, 3) that carry a rest bone and its hinge axis onto the solved ones."""
    return bone_frame(bone, hinge) @ bone_frame(rest_bone, rest_hinge).T


def _elbow_to(towards: np.ndarray, pole: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Directions (T, 3), all in the chest's frame, in which elbows bend for hands ``towards`` (T, 3, units) and poles.

    A pole alone says nothing where the hand lies along it, and the elbow would flip as the hand passes. So it turns
    the elbow only within a half circle around its natural place: _ELBOW, carried along as the hand turns away from
    _AHEAD by the shortest way, which is smooth for all directions but the opposite of _AHEAD.
    """
    ahead, rest = _AHEAD * side, unit(_ELBOW - (_ELBOW @ _AHEAD) * _AHEAD) * side
    share = (towards @ rest) / np.maximum(1 + towards @ ahead, 1e-6)
    natural = rest - share[:, None] * (ahead + towards)
    along, across = (pole * natural).sum(-1), np.cross(towards, natural)
    along = -soft_minimum(np.stack([-along, np.full_like(along, -_ELBOW_LEAST)]), 0.1)
    return along[:, None] * natural + (pole * across).sum(-1)[:, None] * across


def pose_body(controls: Controls, feet: Feet, rest: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, 52, 3, 3) and pelvis positions (T, 3) metres, y-up world, of a body that follows controls."""
    build = Build(rest)
    frames = len(controls.values)
    local = np.tile(np.eye(3), (frames, 52, 1, 1))

    heading = gaussian_smooth(feet.yaw.mean(1), _FOLLOW_S, rate_hz)
    forward, left = forward_of(heading), left_of(heading)
    stride = ((feet.ball[:, 0] - feet.ball[:, 1]) * forward).sum(-1) / build.leg_m  # left foot ahead: positive
    stride = gaussian_smooth(stride, 0.04, rate_hz) * controls["arm_swing"][:, 0]
    sway = feet.support[:, 0] - feet.support[:, 1]

    hips = controls["hips"].copy()
    hips[:, 1] -= 0.15 * stride
    hips[:, 2] += gaussian_smooth(0.05 * sway, 0.05, rate_hz)
    spine = controls["spine"].copy()
    spine[:, 1] += 0.27 * stride
    spine[:, 2] -= hips[:, 2] - controls["hips"][:, 2]
    head = controls["head"].copy()
    head[:, 1] -= 0.12 * stride
    upright = about_y(heading)
    pelvis_rotation = upright @ from_pitch_yaw_roll(hips)

    pelvis = _pelvis(controls, feet, build, pelvis_rotation, heading, rate_hz)
    local[:, 0] = pelvis_rotation
    _legs(local, feet, build, pelvis, heading, controls, forward, left)

    thirds = from_pitch_yaw_roll(spine / 3)
    chest_rotation, chest = pelvis_rotation, pelvis
    for joint, parent in (("spine1", "pelvis"), ("spine2", "spine1"), ("spine3", "spine2")):
        chest = chest + chest_rotation @ build.bone(joint, parent)
        chest_rotation = chest_rotation @ thirds
        local[:, _JOINT[joint]] = thirds
    local[:, _JOINT["neck"]] = local[:, _JOINT["head"]] = from_pitch_yaw_roll(head / 2)
    _arms(local, controls, build, chest, chest_rotation, upright, stride)
    return local, pelvis


def _pelvis(
    controls: Controls, feet: Feet, build: Build, rotation: np.ndarray, heading: np.ndarray, rate_hz: float
) -> np.ndarray:
    """(T, 3): over the middle of the feet, towards the standing leg, as low as the legs require."""
    forward, left = forward_of(heading), left_of(heading)
    middle = feet.base.mean(1)
    weight = feet.support + 1e-3
    loaded = (feet.base * weight[..., None]).sum(1) / weight.sum(1)[:, None]
    lateral = ((loaded - middle) * left).sum(-1)
    path = gaussian_smooth(np.concatenate([middle, lateral[:, None]], -1), _FOLLOW_S, rate_hz)
    ball = build.rest[[_JOINT["left_foot"], _JOINT["right_foot"]]].mean(0)
    move = controls["pelvis"]
    ahead = move[:, 2] + build.rest[0, 2] - ball[2]
    pelvis = path[:, :3] + (_SHIFT * path[:, 3] + move[:, 0])[:, None] * left + ahead[:, None] * forward

    heights = [build.pelvis_height_m + move[:, 1]]
    for foot, (side, _) in enumerate(_SIDES):
        hip = rotation @ build.bone(f"{side}_hip", "pelvis")
        ankle = _ankle(feet, foot, build, controls)
        across = np.linalg.norm((pelvis + hip - ankle)[:, [0, 2]], axis=-1)
        longest = 0.99 * build.leg_m
        rise = np.sqrt(np.maximum(longest**2 - across**2, (0.3 * longest) ** 2))
        heights.append(ankle[:, 1] + rise - hip[:, 1] + 0.3 * (1 - feet.support[:, foot]))
    pelvis[:, 1] = gaussian_smooth(soft_minimum(np.stack(heights), 0.008), 0.03, rate_hz)
    return pelvis


def _foot_rotation(feet: Feet, foot: int, controls: Controls) -> np.ndarray:
    return about_y(feet.yaw[:, foot]) @ about_x(_pitch(feet, foot, controls))


def _pitch(feet: Feet, foot: int, controls: Controls) -> np.ndarray:
    return feet.pitch[:, foot] + controls["heels"][:, foot] * feet.support[:, foot]


def _ankle(feet: Feet, foot: int, build: Build, controls: Controls) -> np.ndarray:
    side = _SIDES[foot][0]
    sole = np.array([0.0, anatomy.SOLE_BELOW_BALL_M, 0.0])
    return (
        feet.ball[:, foot] + sole - _foot_rotation(feet, foot, controls) @ build.bone(f"{side}_foot", f"{side}_ankle")
    )


def _legs(
    local: np.ndarray,
    feet: Feet,
    build: Build,
    pelvis: np.ndarray,
    heading: np.ndarray,
    controls: Controls,
    forward: np.ndarray,
    left: np.ndarray,
) -> None:
    for foot, (side, sign) in enumerate(_SIDES):
        hip = pelvis + local[:, 0] @ build.bone(f"{side}_hip", "pelvis")
        knee_heading = 0.5 * (heading + feet.yaw[:, foot]) + sign * controls["knees_out"][:, 0]
        pole = forward_of(knee_heading) + np.array([0.0, 0.6, 0.0])  # a leg raised forward bends its knee upwards
        thigh, shank = build.bone(f"{side}_knee", f"{side}_hip"), build.bone(f"{side}_ankle", f"{side}_knee")
        lengths = float(np.linalg.norm(thigh)), float(np.linalg.norm(shank))
        softness_m = 0.01 + 0.03 * (1 - feet.support[:, foot])  # a kick's knee straightens without a snap
        knee, ankle, hinge = two_bone(hip, _ankle(feet, foot, build, controls), pole, *lengths, softness_m)
        rest_hinge = np.array([-1.0, 0.0, 0.0])
        thigh_rotation = _aligned(knee - hip, hinge, thigh, rest_hinge)
        shank_rotation = _aligned(ankle - knee, hinge, shank, rest_hinge)
        foot_rotation = _foot_rotation(feet, foot, controls)
        local[:, _JOINT[f"{side}_hip"]] = np.swapaxes(local[:, 0], 1, 2) @ thigh_rotation
        local[:, _JOINT[f"{side}_knee"]] = np.swapaxes(thigh_rotation, 1, 2) @ shank_rotation
        local[:, _JOINT[f"{side}_ankle"]] = np.swapaxes(shank_rotation, 1, 2) @ foot_rotation
        pitch = _pitch(feet, foot, controls)
        toes = -0.8 * 0.5 * (pitch + np.sqrt(pitch**2 + 0.01)) * feet.support[:, foot]  # stay on the floor, roughly
        local[:, _JOINT[f"{side}_foot"]] = about_x(toes)


def _arms(
    local: np.ndarray,
    controls: Controls,
    build: Build,
    chest: np.ndarray,
    chest_rotation: np.ndarray,
    upright: np.ndarray,
    stride: np.ndarray,
) -> None:
    for arm, (side, sign) in enumerate(_SIDES):
        mirror = np.array([sign, 1.0, 1.0])
        swing = about_x(0.5 * sign * stride)  # against the leg of the same side
        hand, pole = _apply(swing, controls[HANDS[arm]] * mirror), _apply(swing, controls[POLES[arm]] * mirror)
        hand[:, 2] += _CLEARANCE * np.exp(-0.5 * (hand**2).sum(-1) / _CLEARANCE**2)
        size = np.linalg.norm(hand, axis=-1, keepdims=True)
        # the shoulder blade takes part: up for a raised arm, forward for one that reaches ahead
        up, ahead = (hand / np.maximum(size, 0.3))[:, 1], (hand / np.maximum(size, 0.3))[:, 2]
        lift = 0.3 * 0.5 * (up + np.sqrt(up**2 + 0.1)) * size[:, 0]
        collar = about_z(sign * lift) @ about_y(-sign * 0.2 * ahead * size[:, 0])
        local[:, _JOINT[f"{side}_collar"]] = collar
        collar_rotation = chest_rotation @ collar
        shoulder = chest + chest_rotation @ build.bone(f"{side}_collar", "spine3")
        shoulder = shoulder + collar_rotation @ build.bone(f"{side}_shoulder", f"{side}_collar")

        share = controls["upright"][:, arm, None]
        upright_in_chest = np.swapaxes(chest_rotation, 1, 2) @ upright
        towards = unit((1 - share) * hand + share * _apply(upright_in_chest, hand))
        elbow_to = _elbow_to(towards, (1 - share) * pole + share * _apply(upright_in_chest, pole), mirror)
        towards, elbow_to = _apply(chest_rotation, towards), _apply(chest_rotation, elbow_to)
        bones = build.bone(f"{side}_elbow", f"{side}_shoulder"), build.bone(f"{side}_wrist", f"{side}_elbow")
        lengths = float(np.linalg.norm(bones[0])), float(np.linalg.norm(bones[1]))
        target = shoulder + towards * size * sum(lengths)
        elbow, wrist, hinge = two_bone(shoulder, target, elbow_to, *lengths, softness_m=0.006)

        behind = np.array([0.0, 0.0, -1.0])  # at rest the elbow points backwards, the palm down
        upper = _aligned(elbow - shoulder, hinge, bones[0], np.cross(bones[0], behind))
        twist, flex = controls["twist"][:, arm], controls["flex"][:, arm]
        fore = _aligned(wrist - elbow, hinge, bones[1], np.cross(bones[1], behind)) @ about_x(0.5 * twist)
        local[:, _JOINT[f"{side}_shoulder"]] = np.swapaxes(collar_rotation, 1, 2) @ upper
        local[:, _JOINT[f"{side}_elbow"]] = np.swapaxes(upper, 1, 2) @ fore
        local[:, _JOINT[f"{side}_wrist"]] = about_x(0.5 * twist) @ about_z(-sign * flex)

        curl = controls["curl"][:, arm]
        first = 22 + 15 * arm
        for k, most in enumerate(_FINGER_CURL):
            local[:, [first + 3 * finger + k for finger in range(4)]] = about_z(-sign * most * curl)[:, None]
            local[:, first + 12 + k] = about_y(sign * 0.35 * curl)
