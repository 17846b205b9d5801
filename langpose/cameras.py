"""Views and cameras: orthographic front and side (section 4.1), pinhole cameras, LCN's camera → image conversion [7].

Frames: the world has z up (AMASS's), a camera x right, y down, z away from it; both are right-handed and in metres
unless a name says millimetres or pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

BOX_HALF_MM = 1000.0
"""LCN's box reaches this far from the root to either side, at the root's depth."""


def front_view(world: np.ndarray) -> np.ndarray:
    """World (..., 3), z up → front camera (..., 3): (x, -z, y). A person who faces -y looks into this camera.

    Source: MotionBERT's convert_amass.py, whose fixed view this is.
    """
    return np.stack([world[..., 0], -world[..., 2], world[..., 1]], -1)


def side_view(world: np.ndarray) -> np.ndarray:
    """World (..., 3), z up → side camera (..., 3): (y, -z, -x), the front camera a quarter turn about the vertical."""
    return np.stack([world[..., 1], -world[..., 2], -world[..., 0]], -1)


def turned(view: np.ndarray, radians: float) -> np.ndarray:
    """A view (..., 3), y down, of the person turned about the vertical, counter-clockwise seen from above.

    Any view is a front view turned; a quarter turn clockwise makes it the side view.
    """
    cos, sin = np.cos(radians), np.sin(radians)
    x, depth = view[..., 0], view[..., 2]
    return np.stack([x * cos - depth * sin, view[..., 1], x * sin + depth * cos], -1).astype(view.dtype)


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera without distortion."""

    rotation: np.ndarray
    """(3, 3) world → camera axes; rows are the camera's right, down and forward in the world."""
    position: np.ndarray
    """(3,) the camera's centre in the world, metres."""
    fx: float
    fy: float
    cx: float
    cy: float
    """Focal lengths and principal point, px."""
    width: int
    height: int
    """Image size, px."""

    @classmethod
    def look_at(
        cls,
        position: np.ndarray,
        target: np.ndarray,
        fx: float,
        fy: float,
        cx: float,
        cy: float,
        width: int,
        height: int,
    ) -> "Pinhole":
        """A level camera at ``position`` that looks at ``target`` (3,), both in the world."""
        forward = np.asarray(target, dtype=np.float64) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        if np.linalg.norm(right) < 1e-6:
            raise ValueError(f"a level camera cannot look straight up or down: from {position} to {target}")
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        return cls(rotation, np.asarray(position, dtype=np.float64), fx, fy, cx, cy, width, height)

    def to_camera(self, world: np.ndarray) -> np.ndarray:
        """World (..., 3) → camera (..., 3), metres."""
        return (np.asarray(world, dtype=np.float64) - self.position) @ self.rotation.T

    def project(self, camera: np.ndarray) -> np.ndarray:
        """Camera (..., 3) → image (..., 2) px. Raises ``ValueError`` for points that are not in front of the camera."""
        depth = camera[..., 2]
        if not (depth > 0).all():
            raise ValueError(f"a point lies behind the camera (depth {depth.min():.3f}); expected depths above 0")
        return np.stack([self.fx * camera[..., 0] / depth + self.cx, self.fy * camera[..., 1] / depth + self.cy], -1)


def camera_to_image(
    camera_mm: np.ndarray, fx: float, fy: float, cx: float, cy: float, root: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """LCN's conversion of camera coordinates to pixel coordinates.

        (u, v) = (fx X / Z + cx, fy Y / Z + cy),   z_img = ratio (Z - Z_root),   ratio = (2000 fx / Z_root + 1) / 2000

    ``camera_mm`` (..., J, 3) → joint3d_image (..., J, 3) px, depth in px relative to the root, and ratio (...) px/mm: a
    box of 2 m about the root, at its depth, is that wide. Source: LCN [7]; the +1 counts both edge pixels.
    """
    depth = camera_mm[..., 2]
    if not (depth > 0).all():
        raise ValueError(f"a joint lies behind the camera (depth {depth.min():.0f} mm); expected depths above 0")
    root_depth = depth[..., root]
    ratio = (2 * BOX_HALF_MM * fx / root_depth + 1) / (2 * BOX_HALF_MM)
    u = fx * camera_mm[..., 0] / depth + cx
    v = fy * camera_mm[..., 1] / depth + cy
    return np.stack([u, v, ratio[..., None] * (depth - root_depth[..., None])], -1), ratio


@dataclass(frozen=True)
class VirtualCamera:
    """Stands in for the camera that motion capture lacks where it is converted to pixels (section 4.1, with [7]).

    Level, without distortion, its principal point in the image's middle, aimed at the root's mean place in the clip.
    Not in the paper, which names no camera: about one of Human3.6M's.
    """

    focal_px: float = 1145.0
    width_px: int = 1000
    height_px: int = 1000
    distance_m: float = 5.0
    """From the camera to the root's mean place."""
    closest_m: float = 1.0
    """Where a joint would come closer than this, the camera stands further away."""

    def __post_init__(self) -> None:
        for name in ("focal_px", "width_px", "height_px", "distance_m", "closest_m"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")

    @property
    def mm_per_unit(self) -> float:
        """Millimetres of one normalised unit, half an image's width, at `distance_m`."""
        return 1000 * self.distance_m * self.width_px / 2 / self.focal_px

    def image(self, clip: np.ndarray) -> np.ndarray:
        """Clip (T, 17, 3) of a view, metres → (T, 17, 3): x, y in [-1, 1] by the image's width, depth in the same unit.

        `camera_to_image`, normalised as Human3.6M's (`pixel_to_normalised`); depth is relative to each frame's root.
        """
        camera = clip - clip[:, 0].mean(0, dtype=np.float64)
        camera[..., 2] += max(self.distance_m, self.closest_m - float(camera[..., 2].min()))
        centre = (self.width_px / 2, self.height_px / 2)
        image, _ = camera_to_image(camera * 1000, self.focal_px, self.focal_px, *centre)
        return pixel_to_normalised(image, self.width_px, self.height_px).astype(np.float32)


def image_to_camera(
    image: np.ndarray, ratio: np.ndarray, root_depth_mm: np.ndarray, fx: float, fy: float, cx: float, cy: float
) -> np.ndarray:
    """Inverse of `camera_to_image`: image (..., J, 3), ratio and root depth (...) → camera mm (..., J, 3)."""
    depth = image[..., 2] / ratio[..., None] + root_depth_mm[..., None]
    return np.stack([(image[..., 0] - cx) / fx * depth, (image[..., 1] - cy) / fy * depth, depth], -1)


def two_and_half_d_factor(image: np.ndarray, camera_mm: np.ndarray, root: int = 0) -> np.ndarray:
    """λ, mm a pixel: the least-squares scale of root-relative image onto camera joints, ⟨I, C⟩ / ⟨I, I⟩ per frame.

    (..., J, 3) each → (...). Stands in Human3.6M's pickle as ``2.5d_factor``: the minimiser of
    ‖λ P_pixel − P_camera‖² (MotionBERT, issue 152).
    """
    pixels = image - image[..., [root], :]
    joints = camera_mm - camera_mm[..., [root], :]
    return (pixels * joints).sum((-1, -2)) / (pixels * pixels).sum((-1, -2))


def pixel_to_normalised(px: Any, width: float, height: float) -> Any:
    """Image (..., 2 or 3) px → x, y in [-1, 1] × [-h/w, h/w] (xy / w · 2 − [1, h/w]); depth px / w · 2."""
    result = px / width * 2
    result[..., 0] -= 1
    result[..., 1] -= height / width
    return result


def normalised_to_pixel(normalised: Any, width: float, height: float) -> Any:
    """Inverse of `pixel_to_normalised`."""
    result = normalised * 1.0
    result[..., 0] += 1
    result[..., 1] += height / width
    return result * width / 2
