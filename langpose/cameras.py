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


def yaw(world: np.ndarray, radians: float) -> np.ndarray:
    """Turn world points (..., 3) about the vertical z axis, counter-clockwise seen from above."""
    cos, sin = np.cos(radians), np.sin(radians)
    x, y = world[..., 0], world[..., 1]
    return np.stack([x * cos - y * sin, x * sin + y * cos, world[..., 2]], -1).astype(world.dtype)


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
