"""A plan of footsteps in the world, and the feet's motion over time that follows from it.

A planted foot's ball does not move at all: only steps move it. World here: y up, floor at y = 0, metres; heading 0
looks along z, with x to its left. A foot is described by its ball (the SMPL "foot" joint): position, yaw and pitch
(positive: heel up).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langpose.demo.kinematics import bump, minimum_jerk

LEFT, RIGHT = 0, 1
_HEEL_M = 0.17  # ball to heel: how far the ball must rise for the toes to come up around the heel


@dataclass(frozen=True)
class Placement:
    """Where a foot stands: ball at (x, z) metres on the floor, yaw in radians."""

    x: float
    z: float
    yaw: float


@dataclass(frozen=True)
class Step:
    """One foot's way from where it stands to ``to``, off the floor from ``lift_s`` to ``land_s``.

    ``height_m``: how high the ball rises; ``roll``: pitch at lift-off, reached over ``roll_s`` before it;
    ``strike``: how far the toes point up at landing (radians). ``excursions``: (centre, half width, (left, up,
    forward) m, pitch) detours from that way, times as fractions of the step, directions in the foot's heading.
    """

    foot: int
    lift_s: float
    land_s: float
    to: Placement
    height_m: float = 0.06
    roll: float = 0.35
    roll_s: float = 0.2
    strike: float = 0.1
    excursions: tuple[tuple[float, float, tuple[float, float, float], float], ...] = ()


@dataclass(frozen=True)
class Feet:
    """Both feet over time, axis 1 is left, right.

    ``ball`` (T, 2, 3) metres; ``yaw``, ``pitch`` (T, 2) radians; ``base`` (T, 2, 3) and ``base_yaw``: the same without
    lift and excursions, for the pelvis to follow; ``support`` (T, 2): 1 planted, smoothly 0 in mid-swing; ``contact``
    (T, 2) bool: the ball is planted.
    """

    ball: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    base: np.ndarray
    support: np.ndarray
    contact: np.ndarray


def forward_of(yaw: np.ndarray | float) -> np.ndarray:
    """Unit vectors (..., 3) of headings ``yaw`` (...)."""
    return np.stack([np.sin(yaw), np.zeros_like(yaw), np.cos(yaw)], -1)


def left_of(yaw: np.ndarray | float) -> np.ndarray:
    """Unit vectors (..., 3) to the left of headings ``yaw`` (...)."""
    return np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], -1)


def _ramp(x: np.ndarray, width: float = 0.06) -> np.ndarray:
    """max(x, 0) with a rounded corner."""
    return np.where(x < width, np.clip(x, 0, None) ** 2 / (2 * width), x - width / 2)


def _foot(start: Placement, steps: Sequence[Step], t: np.ndarray) -> tuple[np.ndarray, ...]:
    count = len(t)
    base = np.tile([start.x, 0.0, start.z], (count, 1))
    yaw = np.full(count, start.yaw)
    extra, pitch, extra_pitch, swing = np.zeros((count, 3)), np.zeros(count), np.zeros(count), np.zeros(count)
    contact = np.ones(count, dtype=bool)
    at, until = start, -np.inf
    for index, step in enumerate(steps):
        if step.lift_s < until - 1e-9:
            raise ValueError(
                f"foot {step.foot} lifts at {step.lift_s:.3f} s but lands at {until:.3f} s; order the steps"
            )
        u = (t - step.lift_s) / (step.land_s - step.lift_s)
        progress = minimum_jerk(u)
        base += progress[:, None] * [step.to.x - at.x, 0.0, step.to.z - at.z]
        yaw += progress * (step.to.yaw - at.yaw)
        extra[:, 1] += step.height_m * bump(u)
        for centre, half, (left, up, forward), turn in step.excursions:
            shape = bump((u - centre + half) / (2 * half))[:, None]
            extra += shape * (left * left_of(yaw) + [0.0, up, 0.0] + forward * forward_of(yaw))
            extra_pitch += turn * shape[:, 0]
        roll_s = min(step.roll_s, 0.9 * (step.lift_s - until))
        settle_s = 0.12
        if index + 1 < len(steps):
            settle_s = min(settle_s, 0.5 * (steps[index + 1].lift_s - step.land_s))
        pitch += step.roll * minimum_jerk((t - step.lift_s) / max(roll_s, 1e-6) + 1)
        pitch -= (step.roll + step.strike) * minimum_jerk(u)
        pitch += step.strike * minimum_jerk((t - step.land_s) / max(settle_s, 1e-6))
        # leaves the floor over the first fifth of the swing, carries weight again over the last
        swing = np.maximum(swing, minimum_jerk(u / 0.25) * minimum_jerk((1 - u) / 0.25))
        contact &= (t <= step.lift_s) | (t >= step.land_s)
        at, until = step.to, step.land_s + settle_s
    pitch = pitch + extra_pitch
    extra[:, 1] += _HEEL_M * np.sin(_ramp(-pitch))
    return base + extra, yaw, pitch, base, 1 - swing, contact


def walk_plan(start: tuple[Placement, Placement], steps: Sequence[Step], t: np.ndarray) -> Feet:
    """The feet at times ``t`` (T,) seconds, from where they stand at first and every step in order of lifting."""
    both = [
        _foot(start[foot], sorted((s for s in steps if s.foot == foot), key=lambda s: s.lift_s), t) for foot in (0, 1)
    ]
    ball, yaw, pitch, base, support, contact = (np.stack(pair, 1) for pair in zip(*both, strict=True))
    return Feet(ball, yaw, pitch, base, support, contact)
