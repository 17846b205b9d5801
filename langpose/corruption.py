"""Corrupted 2D input (section 3.2): detection noise, then one kind of mask a clip.

    joint_frame  joints and whole frames at random (MotionBERT's), "50% of the time"
    body_part    one of the six parts of Fig. 2, in every frame, "25% of the time"
    time_window  all joints during T_w frames, T_w in [T1, T2], from any start, "25% of the time"

A masked joint is (0, 0, 0): x, y and confidence. Never is everything masked, and never nothing where a kind was drawn.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from langpose.detector import NOISE
from langpose.skeleton import BODY_PARTS

KINDS = ("joint_frame", "body_part", "time_window")


@dataclass(frozen=True)
class CorruptionConfig:
    """How 2D input is corrupted."""

    masks: dict[str, float] = field(default_factory=lambda: {"joint_frame": 1.0})
    """Kind of mask → its share of the clips; what is left to 1 stays unmasked. The paper: 0.5 / 0.25 / 0.25."""
    joint_ratio: float = 0.05
    """Chance that a joint is hidden in a frame. Not in the paper: MotionBERT's."""
    frame_ratio: float = 0.1
    """Chance that a whole frame is hidden. Not in the paper: MotionBERT's."""
    window_min: float = 0.1
    """T1, as a share of the clip. Not in the paper: long enough that neighbouring frames do not give it away."""
    window_max: float = 0.4
    """T2, as a share of the clip. Not in the paper: more than half of the clip stays visible."""
    noise: bool = True
    """Add detection noise (section 3.2: "we introduce noises"), MotionBERT's model."""

    def __post_init__(self) -> None:
        unknown = set(self.masks) - set(KINDS)
        if unknown:
            raise ValueError(f"masks names {sorted(unknown)}; kinds of mask are {', '.join(KINDS)}")
        if any(share < 0 for share in self.masks.values()) or sum(self.masks.values()) > 1 + 1e-9:
            raise ValueError(f"masks are {self.masks}; shares must not be negative, nor sum to more than 1")
        if not 0 < self.window_min <= self.window_max < 1:
            raise ValueError(f"window is [{self.window_min}, {self.window_max}]; expected 0 < T1 <= T2 < 1 of the clip")
        for name in ("joint_ratio", "frame_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 0 and below 1")


def corrupt(xy: np.ndarray, config: CorruptionConfig, rng: np.random.Generator) -> np.ndarray:
    """A clip's model input: ``xy`` (T, 17, 2) true 2D in model units → (T, 17, 3) float32, x, y, confidence."""
    result = np.ones((*xy.shape[:2], 3), np.float32)
    if config.noise:
        result[..., :2], result[..., 2] = detection_noise(xy, rng)
    else:
        result[..., :2] = xy
    hidden = draw_mask(draw_kind(config, rng), len(xy), config, rng)
    result[hidden] = 0
    return result


def draw_kind(config: CorruptionConfig, rng: np.random.Generator) -> str | None:
    """One kind of mask for a clip, by the shares of ``config.masks``, or None."""
    coin = rng.random()
    for kind in KINDS:
        coin -= config.masks.get(kind, 0.0)
        if coin < 0:
            return kind
    return None


def draw_mask(kind: str | None, frames: int, config: CorruptionConfig, rng: np.random.Generator) -> np.ndarray:
    """Which joints are hidden: (T, 17) bool."""
    hidden = np.zeros((frames, 17), bool)
    if kind == "body_part":
        parts = list(BODY_PARTS.values())
        hidden[:, list(parts[rng.integers(len(parts))])] = True
    elif kind == "time_window":
        low = max(1, round(config.window_min * frames))
        high = max(low, min(round(config.window_max * frames), frames - 1))
        length = int(rng.integers(low, high + 1))
        start = int(rng.integers(frames - length + 1))
        hidden[start : start + length] = frames > 1
    elif kind == "joint_frame":
        hidden = rng.random((frames, 17)) < config.joint_ratio
        hidden |= rng.random((frames, 1)) < config.frame_ratio
        if not hidden.any():
            hidden[rng.integers(frames), rng.integers(17)] = True
        if hidden.all():
            hidden[rng.integers(frames), rng.integers(17)] = False
    return hidden


def detection_noise(xy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``xy`` (T, 17, 2) as MotionBERT's noise model would detect it, and its confidence (T, 17), both float32.

    At 27 key frames each joint's error is normal with probability ``weight``, else uniform; between them it is
    interpolated over time, and a small error is added to each frame. Source: MotionBERT, Augmenter2D.add_noise, whose
    last error is one for the whole batch; here it is each clip's own, as everything is drawn an item.
    """
    frames, keys = len(xy), NOISE.key_frames
    normal = rng.normal(NOISE.mean, NOISE.std, (keys, 17, 2))
    half = NOISE.uniform_range / 2
    uniform = rng.uniform(-half, half, (keys, 17, 2))
    at_keys = np.where(rng.random((keys, 17, 1)) < NOISE.weight[:, None], normal, uniform)
    error = (_interpolation(keys, frames) @ at_keys.reshape(keys, -1)).reshape(frames, 17, 2)
    error += rng.normal(0.0, NOISE.jitter, error.shape)
    # written out: numpy's sum is slow over an axis of two
    confidence = NOISE.confidence(np.sqrt(error[..., 0] ** 2 + error[..., 1] ** 2), rng)
    return (xy + error).astype(np.float32), confidence.astype(np.float32)


@lru_cache(maxsize=16)
def _interpolation(keys: int, frames: int) -> np.ndarray:
    """(frames, keys) weights of linear interpolation with the first and last key frame on the first and last frame."""
    place = np.linspace(0, keys - 1, frames)
    left = np.minimum(place.astype(np.int64), keys - 2)
    weights = np.zeros((frames, keys))
    rows = np.arange(frames)
    weights[rows, left] = 1 - (place - left)
    weights[rows, left + 1] = place - left
    return weights
