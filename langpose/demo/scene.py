"""What an action program is given and what it gives back.

A program is a function of a `Scene`: it turns the scene's controls, adds footsteps, and returns the label of the take
that it drew. Its time runs from 0 to ``duration_s``; the scene's time axis reaches further on both sides, because
neighbouring actions are mixed while one ends and the other begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from langpose.demo.controls import HANDS, POLES, Controls
from langpose.demo.footsteps import LEFT, Placement, Step
from langpose.demo.kinematics import minimum_jerk
from langpose.demo.puppet import Build


@dataclass(frozen=True)
class Label:
    """BABEL's three: free wording, its normalised form, action categories."""

    raw: str
    proc: str
    categories: tuple[str, ...]


@dataclass(frozen=True)
class Ground:
    """A point on the floor (metres) and a heading (radians): where a body stands."""

    x: float
    z: float
    yaw: float

    def moved(self, left: float = 0.0, forward: float = 0.0, turn: float = 0.0) -> "Ground":
        sine, cosine = np.sin(self.yaw), np.cos(self.yaw)
        x = self.x + forward * sine + left * cosine
        return Ground(float(x), float(self.z + forward * cosine - left * sine), self.yaw + turn)

    def foot(self, foot: int, half_width: float, toe_out: float = 0.06, forward: float = 0.0) -> Placement:
        sign = 1 if foot == LEFT else -1
        there = self.moved(sign * half_width, forward)
        return Placement(there.x, there.z, self.yaw + sign * toe_out)

    @classmethod
    def between(cls, feet: Sequence[Placement]) -> "Ground":
        left, right = feet
        return cls((left.x + right.x) / 2, (left.z + right.z) / 2, (left.yaw + right.yaw) / 2)


@dataclass
class Scene:
    """One take of one action. ``t`` (T,) seconds from its start; ``side`` the arm or leg drawn, 0 left, 1 right."""

    t: np.ndarray
    duration_s: float
    rng: np.random.Generator
    build: Build
    feet: tuple[Placement, Placement]
    controls: Controls
    side: int
    steps: list[Step] = field(default_factory=list)

    @property
    def side_name(self) -> str:
        return ("left", "right")[self.side]

    @property
    def sign(self) -> float:
        """+1 towards the drawn side's left, -1 for the right: for yaw and roll that follow the side."""
        return 1.0 if self.side == LEFT else -1.0

    @property
    def ground(self) -> Ground:
        return Ground.between(self.feet)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def choose(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def step(self, foot: int, lift_s: float, land_s: float, to: Placement, **how: object) -> None:
        """Plan a step (see `Step`); later steps and actions start from where it lands."""
        self.steps.append(Step(foot, lift_s, land_s, to, **how))  # type: ignore[arg-type]
        feet = list(self.feet)
        feet[foot] = to
        self.feet = (feet[0], feet[1])

    def held(self, in_s: float = 0.5, out_s: float = 0.5) -> np.ndarray:
        """(T,): 0 to 1 to 0 over the action; each end stays at 1 (the transition does it) in half of the cases."""
        rise = minimum_jerk(self.t / in_s) if self.chance(0.5) else np.ones_like(self.t)
        fall = minimum_jerk((self.duration_s - self.t) / out_s) if self.chance(0.5) else np.ones_like(self.t)
        return rise * fall

    def keys(self, times: Sequence[float], values: Sequence[object]) -> np.ndarray:
        """(T, ...) through ``values`` at ``times`` seconds without overshoot; held before the first, after the last."""
        at, knots = np.asarray(times, float), np.asarray(values, float)
        index = np.clip(np.searchsorted(at, self.t, "right") - 1, 0, len(at) - 2)
        shape = (-1,) + (1,) * (knots.ndim - 1)
        width = np.diff(at).reshape(shape)
        slopes = np.diff(knots, axis=0) / width
        # harmonic mean of the neighbouring slopes, 0 at extrema (Fritsch and Butland 1984)
        tangents = np.zeros_like(knots)
        product = slopes[:-1] * slopes[1:]
        total = slopes[:-1] + slopes[1:]
        tangents[1:-1] = np.where(product > 0, 2 * product / np.where(total == 0, 1, total), 0)
        u = np.clip((self.t - at[index]) / np.diff(at)[index], 0, 1).reshape(shape)
        width = width[index]
        return (
            (1 + 2 * u) * (1 - u) ** 2 * knots[index]
            + u**2 * (3 - 2 * u) * knots[index + 1]
            + u * (1 - u) * width * ((1 - u) * tangents[index] - u * tangents[index + 1])
        )

    def repeats(self, period_s: float, rest_s: float = 0.0) -> list[float]:
        """Start times of as many strokes of about ``period_s`` as fit into the action, evenly spread, at least one."""
        count = max(1, int((self.duration_s + rest_s) // (period_s + rest_s)))
        return [float(start) for start in np.arange(count) * (self.duration_s / count)]

    def wave(self, rate_hz: float, phase: float | None = None) -> np.ndarray:
        """(T,): a sine of a slightly unsteady rhythm, its phase drawn unless given (radians)."""
        start = self.uniform(0, 2 * np.pi) if phase is None else phase
        drift = 0.25 * np.sin(2 * np.pi * 0.3 * self.t + self.uniform(0, 6.28))
        return np.sin(2 * np.pi * rate_hz * self.t + start + drift)

    def wander(self, size: float, rate_hz: float = 0.35) -> np.ndarray:
        """(T,): slow irregular motion of about ``size``."""
        total = np.zeros_like(self.t)
        for k in range(3):
            rate = rate_hz * self.uniform(0.6, 1.4) * (1 + 0.7 * k)
            total += np.sin(2 * np.pi * rate * self.t + self.uniform(0, 2 * np.pi)) / (1 + k)
        return size * total / 1.3

    def arm(
        self,
        side: int,
        weight: np.ndarray,
        hand: np.ndarray | Sequence[float],
        pole: Sequence[float] | np.ndarray | None = None,
        *,
        twist: float | np.ndarray = 0.0,
        flex: float | np.ndarray = 0.0,
        curl: float = 0.4,
    ) -> None:
        """Bring a hand to (out, up, forward) of the shoulder in arm lengths, elbow to ``pole``, by ``weight`` (T,).

        ``hand`` and ``pole`` are (3,) or (T, 3). A controlled arm no longer swings or drifts with the legs.
        """
        share = weight[:, None]
        self.controls[HANDS[side]] += share * (np.asarray(hand, float) - self.controls[HANDS[side]])
        if pole is not None:
            self.controls[POLES[side]] += share * (np.asarray(pole, float) - self.controls[POLES[side]])
        for name, value in (("twist", twist), ("flex", flex), ("curl", curl)):
            self.controls[name][:, side] += weight * (np.asarray(value, float) - self.controls[name][:, side])


@dataclass(frozen=True)
class Program:
    """An action: its name, the function that performs it, and how the feet should stand before it (metres).

    ``half_width``: range of half the distance between the feet; ``stagger``: range of how far the foot opposite to the
    drawn side stands ahead; ``starts_low``, ``ends_low``: whether the body is on a seat at its ends.
    """

    name: str
    run: Callable[[Scene], Label]
    half_width: tuple[float, float]
    stagger: tuple[float, float]
    starts_low: bool
    ends_low: bool


def program(
    into: dict[str, Program],
    name: str,
    half_width: tuple[float, float] = (0.09, 0.13),
    stagger: tuple[float, float] = (0.0, 0.0),
    starts_low: bool = False,
    ends_low: bool = False,
) -> Callable[[Callable[[Scene], Label]], Callable[[Scene], Label]]:
    """Decorator: enter the function as the program ``name``."""

    def enter(run: Callable[[Scene], Label]) -> Callable[[Scene], Label]:
        into[name] = Program(name, run, half_width, stagger, starts_low, ends_low)
        return run

    return enter
