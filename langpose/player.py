"""Clips for the report's player: 2D input, two predictions and the truth, packed into a page small enough to send.

Millimetres become int16 (rounded to 1 mm), image coordinates int16 ten-thousandths, confidences uint8; each array is
base64 of its little-endian bytes. `player.js` reads this format.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from langpose.skeleton import JOINTS, LEFT, LIMBS, RIGHT

IMAGE_UNITS = 10000
"""Steps of a packed image coordinate in one normalised unit. int16 reaches ±3.2767: what lies farther is far outside
the image and is packed as lying there."""
UNSURE = 0.3
"""Joints with less confidence are drawn hollow and their limbs dotted (as in Figure 5)."""


@dataclass(frozen=True)
class Clip:
    """One stretch of F frames, seen by both models. Every pose is in Human3.6M-17 order.

    3D poses are (F, 17, 3) mm, root-relative, in the camera's frame: x right, y down, z depth away from the camera.
    """

    name: str
    """Recording, as the data set calls it."""
    action: str
    subject: str
    rate_hz: float
    """Frames a second of the arrays below (after any decimation, which is the caller's)."""
    gain_mm: float
    """MPJPE of the baseline minus ours over the clip: positive where LangPose is better."""
    input_2d: np.ndarray
    """(F, 17, 3): x, y normalised to the image (y down), confidence 0 to 1."""
    ours_mm: np.ndarray
    baseline_mm: np.ndarray
    truth_mm: np.ndarray


def to_json(clips: Sequence[Clip]) -> str:
    """All clips, and the skeleton they are drawn with, as JSON. Raises ValueError for arrays that cannot be played."""
    skeleton = {"limbs": LIMBS, "left": LEFT, "right": RIGHT, "joints": JOINTS}
    content = {
        "skeleton": skeleton,
        "image_units": IMAGE_UNITS,
        "unsure": UNSURE,
        "clips": [_packed(clip) for clip in clips],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _packed(clip: Clip) -> dict[str, Any]:
    what = f"clip {clip.name!r}"
    if not (np.isfinite(clip.rate_hz) and clip.rate_hz > 0):
        raise ValueError(f"{what}: rate_hz is {clip.rate_hz}; expected frames a second, above 0")
    if not np.isfinite(clip.gain_mm):
        raise ValueError(f"{what}: gain_mm is {clip.gain_mm}; expected a finite number of mm")
    frames = len(clip.truth_mm)
    if not frames:
        raise ValueError(f"{what} has no frames")
    arrays = {}
    for name in ("input_2d", "ours_mm", "baseline_mm", "truth_mm"):
        values = np.asarray(getattr(clip, name), dtype=np.float64)
        if values.shape != (frames, len(JOINTS), 3):
            raise ValueError(f"{what}: {name} has shape {values.shape}; expected ({frames}, {len(JOINTS)}, 3)")
        bad = np.flatnonzero(~np.isfinite(values).all((1, 2)))
        if len(bad):
            raise ValueError(
                f"{what}: {name} has {len(bad)} of {frames} frames that are not finite, the first is {bad[0]}; "
                "leave out frames that were not predicted"
            )
        arrays[name] = values
    confidence = arrays["input_2d"][..., 2]
    if confidence.min() < 0 or confidence.max() > 1:
        raise ValueError(f"{what}: confidences run from {confidence.min():g} to {confidence.max():g}; expected 0 to 1")
    return {
        "name": clip.name,
        "action": clip.action,
        "subject": clip.subject,
        "rate_hz": float(clip.rate_hz),
        "gain_mm": float(clip.gain_mm),
        "frames": frames,
        "image": _int16((arrays["input_2d"][..., :2] * IMAGE_UNITS).clip(-32767, 32767), f"{what}: input_2d"),
        # rounded up to 1 at least: 0 says that a joint was hidden, which a tiny confidence does not
        "confidence": _base64(np.ceil(confidence * 255).astype(np.uint8)),
        "ours": _int16(arrays["ours_mm"], f"{what}: ours_mm"),
        "baseline": _int16(arrays["baseline_mm"], f"{what}: baseline_mm"),
        "truth": _int16(arrays["truth_mm"], f"{what}: truth_mm"),
    }


def _int16(values: np.ndarray, what: str) -> str:
    rounded = np.rint(values)
    if np.abs(rounded).max() > 32767:
        raise ValueError(f"{what} reaches {np.abs(values).max():.0f} mm; at most 32767 mm can be shown")
    return _base64(rounded.astype("<i2"))


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
