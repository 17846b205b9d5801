"""Worse input for an evaluation: joints, frames, windows and body parts hidden, detector noise, self-occlusion.

Not in the paper, whose section 4.3 names occlusion as the reason for its gains but measures none. Hidden joints are
(0, 0, 0), as in `langpose.corruption`. What is drawn is a function of (seed, clip).
"""

import numpy as np

from langpose.corruption import detection_noise
from langpose.skeleton import BODY_PARTS

KINDS = (
    "'none', 'body_part:NAME' with NAME one of " + ", ".join(BODY_PARTS) + ", 'joints:SHARE', 'window:SHARE', "
    "'frames:SHARE' with a share between 0 and 1, 'noise:TIMES' with a positive number, or 'self:VISIBILITY' with a "
    "visibility between 0 and 1"
)


def parse(occlusion: str) -> tuple[str, str | float]:
    """("body_part", name), ("none", "") or (kind, number). Raises ``ValueError`` that lists the kinds."""
    kind, _, value = occlusion.partition(":")
    if occlusion == "none":
        return "none", ""
    if kind == "body_part" and value in BODY_PARTS:
        return kind, value
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if kind in ("joints", "window", "frames", "self") and 0 < number < 1:
        return kind, number
    if kind == "noise" and 0 < number < np.inf:
        return kind, number
    raise ValueError(f"unknown occlusion {occlusion!r}; expected {KINDS}")


def occluded(x: np.ndarray, occlusion: str = "none", seed: int = 0, seen: np.ndarray | None = None) -> np.ndarray:
    """``x`` (N, T, 17, 3), made worse the same way on every call.

    ``occlusion``: "none"; "body_part:NAME", a part of `skeleton.BODY_PARTS` in all frames; "joints:SHARE", that share
    of all joints of the clip, scattered; "window:SHARE", all joints during one run of frames, that share of the clip,
    anywhere in it; "frames:SHARE", all joints in that share of the frames, scattered; "noise:TIMES", MotionBERT's
    detection noise (`corruption.detection_noise`) times a factor on x and y, confidences as they were; "self:LEAST",
    joints whose ``seen`` (N, T, 17) in [0, 1] is below that are hidden.
    """
    kind, value = parse(occlusion)
    if kind == "none":
        return x
    x = x.copy()
    if isinstance(value, str):
        x[:, :, list(BODY_PARTS[value])] = 0
        return x
    if kind == "self":
        if seen is None or seen.shape != x.shape[:3]:
            raise ValueError(f"occlusion {occlusion!r} needs the visibility of each joint, {x.shape[:3]}")
        x[seen < value] = 0
        return x
    frames = x.shape[1]
    hidden = max(1, round(value * frames))
    for item in range(len(x)):
        random = np.random.default_rng([seed, item])
        if kind == "window":
            start = int(random.integers(frames - hidden + 1))
            x[item, start : start + hidden] = 0
        elif kind == "frames":
            x[item, random.permutation(frames)[:hidden]] = 0
        elif kind == "joints":
            places = frames * x.shape[2]
            x[item].reshape(places, 3)[random.permutation(places)[: max(1, round(value * places))]] = 0
        else:
            clean = x[item, ..., :2]
            error = detection_noise(clean, random)[0] - clean
            x[item, ..., :2] += np.float32(value) * error * (x[item, ..., 2:] > 0)
    return x
