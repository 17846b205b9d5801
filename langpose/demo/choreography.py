"""Performances: sequences of actions by one body, joined by labelled transitions, as AMASS and BABEL have them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from langpose.demo.anatomy import rest_joints
from langpose.demo.controls import COUNT, HANDS, Controls
from langpose.demo.footsteps import LEFT, Placement, Step, walk_plan
from langpose.demo.kinematics import bump, gaussian_smooth, minimum_jerk, rotation_vectors
from langpose.demo.programs import PROGRAMS
from langpose.demo.puppet import Build, pose_body
from langpose.demo.scene import Ground, Label, Program, Scene

ACTIONS: tuple[str, ...] = tuple(PROGRAMS)
"""Names of all programs."""

_Y_UP_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # (x, y, z) -> (x, -z, y)
_CLOSE_M = 0.04  # feet this close to where an action wants them stay
SHORTEST_S = 1.2  # a kick or a lunge takes this long to come back to the floor
_MARGIN_S = 1.3  # actions are computed this far beyond their ends, for the transitions


@dataclass(frozen=True)
class Segment:
    """A labelled interval of a performance, in BABEL's terms, seconds from its start."""

    raw_label: str
    proc_label: str
    act_cat: tuple[str, ...]
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Performance:
    """Motion of one body in AMASS's z-up world (floor at z = 0) and its labels.

    ``poses`` (T, 156) float64 axis-angle, ``trans`` (T, 3) metres, ``segments`` without gaps from 0 to T / rate_hz,
    ``contacts`` (T, 2) bool: the ball of the left, right foot is planted.
    """

    poses: np.ndarray
    trans: np.ndarray
    rate_hz: float
    segments: tuple[Segment, ...]
    contacts: np.ndarray


@dataclass(frozen=True)
class _Played:
    """One performed action; its controls start at frame ``first``."""

    program: Program
    label: Label
    begin_s: float
    end_s: float
    first: int
    controls: Controls


def perform(
    actions: Sequence[str],
    betas: np.ndarray,
    gender: str,
    rate_hz: float,
    rng: np.random.Generator,
    action_seconds: tuple[float, float] = (2.0, 4.0),
) -> Performance:
    """Perform ``actions`` one after the other with transitions of 0.45 to 1.0 s between them.

    ``betas`` (16,) and ``gender`` give the body (see `anatomy`); how long each action takes (within
    ``action_seconds``), its style, side and wording are drawn from ``rng``: the same state gives the same bytes, at
    another rate the same motion. Raises ValueError for no or unknown actions, or a rate or durations without sense.
    """
    if not actions:
        raise ValueError("no actions; name at least one of " + ", ".join(ACTIONS))
    if unknown := [name for name in actions if name not in PROGRAMS]:
        raise ValueError(f"unknown actions {', '.join(unknown)}; expected some of {', '.join(ACTIONS)}")
    if not 10 <= rate_hz <= 1000:
        raise ValueError(f"rate_hz is {rate_hz}; expected frames per second between 10 and 1000")
    if not SHORTEST_S <= action_seconds[0] <= action_seconds[1]:
        raise ValueError(f"action_seconds is {action_seconds}; expected (shortest, longest) of at least {SHORTEST_S} s")
    rest = rest_joints(betas, gender)
    stage = _Stage(Build(rest), rate_hz, rng)
    lengths = rng.uniform(*action_seconds, len(actions))
    for name, length_s in zip(actions, lengths, strict=True):
        stage.play(PROGRAMS[name], float(length_s))
    controls, segments = stage.finish()
    t = np.arange(len(controls.values)) / rate_hz
    feet = walk_plan(stage.start, stage.steps, t)
    local, pelvis = pose_body(controls, feet, rest, rate_hz)
    local[:, 0] = _Y_UP_TO_Z_UP @ local[:, 0]
    poses = rotation_vectors(local).reshape(len(t), 156)
    trans = pelvis @ _Y_UP_TO_Z_UP.T - rest[0]
    return Performance(poses, trans, float(rate_hz), segments, feet.contact)


class _Stage:
    """Collects controls, steps and labels, action after action."""

    def __init__(self, build: Build, rate_hz: float, rng: np.random.Generator) -> None:
        self.build, self.rate_hz, self.rng = build, rate_hz, rng
        self.ground = Ground(0.0, 0.0, float(rng.uniform(-np.pi, np.pi)))
        self.start: tuple[Placement, Placement] = (Placement(0, 0, 0), Placement(0, 0, 0))
        self.feet = self.start
        self.steps: list[Step] = []
        self.played: list[_Played] = []

    def play(self, program: Program, length_s: float) -> None:
        """Perform one action after a transition from the one before."""
        rng = np.random.default_rng(int(self.rng.integers(2**63)))
        side = int(rng.integers(2))
        wish = self._stance(program, side, rng)
        begin_s = 0.0
        if not self.played:
            self.start = self.feet = wish
        else:
            before = self.played[-1]
            low = before.program.ends_low or program.starts_low
            moved = [bool(_distance(a, b) > _CLOSE_M) for a, b in zip(self.feet, wish, strict=True)]
            shortest, longest = (0.85, 1.0) if low else (0.7, 0.95) if any(moved) else (0.45, 0.75)
            pause_s = float(rng.uniform(shortest, longest))
            begin_s = before.end_s + pause_s
            if not before.program.ends_low:  # from a seat the feet stay where they are
                self._change_stance(wish, moved, before.end_s, pause_s)
        end_s = begin_s + length_s
        first = max(0, int((begin_s - _MARGIN_S) * self.rate_hz))
        last = int((end_s + _MARGIN_S) * self.rate_hz) + 2
        t = np.arange(first, last) / self.rate_hz - begin_s
        scene = Scene(t, length_s, rng, self.build, self.feet, Controls.relaxed(len(t)), side)
        label = program.run(scene)
        self.steps += [replace(s, lift_s=s.lift_s + begin_s, land_s=s.land_s + begin_s) for s in scene.steps]
        self.feet = scene.feet
        self.played.append(_Played(program, label, begin_s, end_s, first, scene.controls))

    def _stance(self, program: Program, side: int, rng: np.random.Generator) -> tuple[Placement, Placement]:
        half_width, ahead = float(rng.uniform(*program.half_width)), float(rng.uniform(*program.stagger))
        toe_out = float(rng.uniform(0.0, 0.14))
        ground = Ground.between(self.feet) if self.played else self.ground
        sign = 1 if side == LEFT else -1
        left = ground.foot(0, half_width, toe_out, -sign * ahead / 2)
        right = ground.foot(1, half_width, toe_out, sign * ahead / 2)
        return left, right

    def _change_stance(
        self, wish: tuple[Placement, Placement], moved: list[bool], begin_s: float, pause_s: float
    ) -> None:
        feet = list(self.feet)
        order = [foot for foot in (0, 1) if moved[foot]]
        for turn, foot in enumerate(order):
            lift = begin_s + pause_s * (0.05 + 0.45 * turn if len(order) == 2 else 0.2)
            far = _distance(feet[foot], wish[foot])
            height = 0.03 + 0.08 * min(far, 0.5)
            self.steps.append(Step(foot, lift, lift + 0.43 * pause_s, wish[foot], height, 0.25, 0.1, 0.05))
            feet[foot] = wish[foot]
        self.feet = (feet[0], feet[1])

    def finish(self) -> tuple[Controls, tuple[Segment, ...]]:
        """All controls (T, COUNT), mixed over the transitions, and the labels of the whole performance."""
        frames = round(self.played[-1].end_s * self.rate_hz)
        t = np.arange(frames) / self.rate_hz
        values = np.zeros((frames, COUNT))
        arrival = np.ones(frames)
        segments: list[Segment] = []
        lean = np.zeros(frames)
        for index, act in enumerate(self.played):
            last = index + 1 == len(self.played)
            leaving = np.zeros(frames)
            if not last:
                u = (t - act.end_s) / (self.played[index + 1].begin_s - act.end_s)
                leaving = minimum_jerk(u)
                if act.program.ends_low != self.played[index + 1].program.starts_low:
                    lean += bump(u)
            weight = (arrival - leaving)[:, None]
            rows = slice(act.first, min(frames, act.first + len(act.controls.values)))
            values[rows] += weight[rows] * act.controls.values[: rows.stop - rows.start]
            arrival = leaving
            end_s = frames / self.rate_hz if last else act.end_s
            label = act.label
            segments.append(Segment(label.raw, label.proc, label.categories, act.begin_s, end_s))
            if not last:
                begin_s = self.played[index + 1].begin_s
                segments.append(Segment("transition", "transition", ("transition",), act.end_s, begin_s))
        controls = Controls(gaussian_smooth(values, 0.03, self.rate_hz))
        controls["hips"][:, 0] += 0.35 * lean
        controls["spine"][:, 0] += 0.4 * lean
        self._enliven(controls, t)
        return controls, tuple(segments)

    def _enliven(self, controls: Controls, t: np.ndarray) -> None:
        """Nobody stands still: sway, breathing, a wandering look."""
        rng = np.random.default_rng(int(self.rng.integers(2**63)))

        def wander(size: float, rate_hz: float) -> np.ndarray:
            total = np.zeros_like(t)
            for k in range(3):
                rate = rate_hz * rng.uniform(0.6, 1.4) * (1 + 0.7 * k)
                total += np.sin(2 * np.pi * rate * t + rng.uniform(0, 2 * np.pi)) / (1 + k)
            return size * total / 1.3

        controls["pelvis"][:, 0] += wander(0.012, 0.25)
        controls["pelvis"][:, 2] += wander(0.010, 0.25)
        breath = np.sin(2 * np.pi * rng.uniform(0.22, 0.32) * t + rng.uniform(0, 2 * np.pi))
        controls["spine"][:, 0] += 0.012 * breath + rng.normal(0, 0.03) + wander(0.015, 0.2)
        controls["spine"][:, 1] += rng.normal(0, 0.03) + wander(0.02, 0.2)
        controls["spine"][:, 2] += rng.normal(0, 0.02) + wander(0.012, 0.2)
        controls["head"] += np.stack([wander(size, 0.3) for size in (0.06, 0.14, 0.04)], -1)
        for hand in HANDS:
            controls[hand] += np.stack([wander(0.012, 0.4) for _ in range(3)], -1) + rng.normal(0, 0.015, 3)


def _distance(a: Placement, b: Placement) -> float:
    return float(np.hypot(a.x - b.x, a.z - b.z) + 0.2 * abs(a.yaw - b.yaw))
