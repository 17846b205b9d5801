"""What a 2D detector adds to true keypoints: MotionBERT's noise model, and detections of filmed joints.

Statistics are those of MotionBERT's pretrained noise model (params/synthetic_noise.pth and d2c_params.pkl), per
Human3.6M joint, in units of its normalised crops, in which a person is about 2 wide.
"""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np


@dataclass(frozen=True)
class NoiseModel:
    """Per joint: a normal error (``mean``, ``std``) with probability ``weight``, else a uniform one; a confidence."""

    mean: np.ndarray
    """(17, 2)"""
    std: np.ndarray
    """(17, 2)"""
    weight: np.ndarray
    """(17,)"""
    uniform_range: float
    """Width of the uniform error; MotionBERT's file has no such entry, its code falls back to 0.06."""
    jitter: float
    """Standard deviation of the error drawn anew each frame."""
    key_frames: int
    """Errors are drawn at this many frames and interpolated between."""
    a: float
    b: float
    m: float
    s: float
    """Confidence at error d: a / (d + a) + b d + N(m, s), kept in [0, 1]."""

    def confidence(self, distance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Confidence of a detection ``distance`` away from the truth; any shape."""
        noise = rng.normal(self.m, self.s, distance.shape)
        return np.clip(self.a / (distance + self.a) + self.b * distance + noise, 0.0, 1.0)


def _read() -> NoiseModel:
    with files("langpose").joinpath("detector_noise.npz").open("rb") as handle:
        values = np.load(handle, allow_pickle=False)
        a, b, m, s = (float(value) for value in values["d2c"])
        return NoiseModel(values["mean"], values["std"], values["weight"], 0.06, 0.002, 27, a, b, m, s)


NOISE = _read()
"""MotionBERT's noise model."""

HIDDEN_ERROR = 4.0
"""How many times larger the error of a fully hidden joint is. Not in the paper: detectors place joints they cannot see
by the rest of the body, a few times worse than visible ones."""
CORRELATION_FRAMES = 9
"""Frames between independent errors of a filmed joint: MotionBERT's 27 key frames in 243."""


def detect(
    points: np.ndarray, visibility: np.ndarray, size: np.ndarray, rng: np.random.Generator, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Detections of a filmed sequence: ``points`` (F, 17, 2) px, ``visibility`` (F, 17) in [0, 1] → points, confidence.

    ``size`` (F,) px is the person's extent in the image (longer side of the box of all joints): the noise model speaks
    of crops in which that is 2. ``scale`` multiplies the errors. A hidden joint's error is up to `HIDDEN_ERROR` times
    larger and its confidence falls with its visibility.
    """
    frames = len(points)
    keys = max(2, -(-frames // CORRELATION_FRAMES) + 1)
    normal = rng.normal(NOISE.mean, NOISE.std, (keys, 17, 2))
    uniform = rng.uniform(-NOISE.uniform_range / 2, NOISE.uniform_range / 2, (keys, 17, 2))
    at_keys = np.where(rng.random((keys, 17, 1)) < NOISE.weight[:, None], normal, uniform)
    place = np.linspace(0, keys - 1, frames)
    left = np.minimum(place.astype(np.int64), keys - 2)
    share = (place - left)[:, None, None]
    error = at_keys[left] * (1 - share) + at_keys[left + 1] * share + rng.normal(0, NOISE.jitter, (frames, 17, 2))
    error *= scale * (1 + (HIDDEN_ERROR - 1) * (1 - visibility[..., None]))
    confidence = NOISE.confidence(np.linalg.norm(error, axis=-1), rng)
    confidence *= 0.1 + 0.9 * visibility
    return points + error * (size / 2)[:, None, None], confidence
