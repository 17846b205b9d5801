"""What every reader gives: rows of frame, person and keypoints, not yet checked."""

from dataclasses import dataclass

import numpy as np

NOBODY = -1
"""Person of detections without a track."""


@dataclass
class Rows:
    """What a reader found: as many frames and persons as keypoints; lists, or arrays of the same content."""

    format: str
    frames: list[int]
    persons: list[int]
    keypoints: list[np.ndarray]
    """Of each detection (J, 3), or (J, 2): what is a number is then sure."""
    skeleton: str | None = None
    image_size: tuple[int, int] | None = None
    rate_hz: float | None = None
    shares: bool = False
    """Coordinates are shares of the image's width and height."""
