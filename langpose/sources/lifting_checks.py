"""What every data set of 2D-3D pose pairs must satisfy, whoever wrote it: finite, in its unit, left where left is.

Both readers (human36m, mpi_inf_3dhp) call these on Human3.6M-17 order. A wrong unit or a swapped side trains without
complaint and ruins the scores, so each is an error that says what was found.
"""

from collections.abc import Iterator

import numpy as np

from langpose.skeleton import LEFT, RIGHT, handedness

BLOCK_FRAMES = 2**14
"""Frames looked at, or written, at once: a mapped file's arrays may not fit into memory."""
_SAMPLE = 20_000  # frames looked at for medians; the checks for NaN and pixels look at all


def blocks(frames: int) -> Iterator[slice]:
    """All frames, `BLOCK_FRAMES` at a time."""
    return (slice(start, start + BLOCK_FRAMES) for start in range(0, frames, BLOCK_FRAMES))


def _sample(frames: int) -> slice:
    return slice(None, None, max(1, frames // _SAMPLE))


def require_finite(values: np.ndarray, where: str) -> None:
    """Raise ``ValueError`` naming the count and the first frame when ``values`` (F, ...) holds NaN or infinity.

    Numbers are looked at as float32, as which they are kept: what overflows it is infinite.
    """
    bad = np.zeros(len(values), dtype=bool)
    for block in blocks(len(values)):
        with np.errstate(over="ignore"):
            part = values[block].astype(np.float32)
        bad[block] = ~np.isfinite(part).reshape(len(part), -1).all(1)
    if bad.any():
        raise ValueError(
            f"{where}: {bad.sum()} of {len(bad)} frames hold NaN or infinity, first at frame {int(bad.argmax())}; "
            "repair or remove those frames"
        )


def require_extent(joints: np.ndarray, low: float, high: float, unit: str, where: str) -> None:
    """Raise ``ValueError`` unless a body (the diagonal of its box, median over frames) measures low..high ``unit``.

    ``joints`` is (F, J, C). Factors of 1000 (metres for millimetres) and normalised coordinates are found so.
    """
    part = joints[_sample(len(joints))]
    size = float(np.median(np.linalg.norm(part.max(1) - part.min(1), axis=-1)))
    if not low <= size <= high:
        raise ValueError(
            f"{where}: a body measures {size:.4g} (median of its box's diagonal); in {unit} it should measure "
            f"{low:g} to {high:g}. Convert it to {unit}"
        )


def require_pixels(joints_px: np.ndarray, width: np.ndarray, height: np.ndarray, where: str) -> None:
    """Raise ``ValueError`` unless nearly all joints (F, J, 2) lie within one image size of an image (F,) x (F,)."""
    outside, largest = 0, 0.0
    for block in blocks(len(joints_px)):
        part = joints_px[block]
        size = np.stack([width[block], height[block]], -1)[:, None, :].astype(np.float32)
        outside += int(((part < -size) | (part > 2 * size)).any(-1).sum())
        largest = max(largest, float(np.abs(part).max()))
    far = outside / (joints_px.shape[0] * joints_px.shape[1])
    if far > 0.05:
        raise ValueError(
            f"{where}: {far:.0%} of the joints lie more than an image's size outside the image "
            f"({int(width[0])} x {int(height[0])} px, coordinates up to {largest:.4g}); expected pixels"
        )


def require_agreement(joints_px: np.ndarray, joints: np.ndarray, where: str) -> None:
    """Raise ``ValueError`` when 2D (F, 17, 2) and 3D (F, 17, 3; x right, y down) contradict each other.

    Left-minus-right vectors must point the same way in both, and so must each axis relative to the root.
    """
    step = _sample(len(joints))
    flat = joints_px[step].astype(np.float64)
    deep = joints[step][..., :2].astype(np.float64)
    sides = [part[:, list(LEFT)] - part[:, list(RIGHT)] for part in (flat, deep)]
    if _correlation(*sides) < -0.2:
        raise ValueError(
            f"{where}: left and right are swapped between the 2D and the 3D joints (their left-right vectors "
            f"correlate {_correlation(*sides):+.2f}); exchange the left and right joints of one of them"
        )
    for axis, name in enumerate("xy"):
        agreement = _correlation(*(part[:, 1:, axis] - part[:, :1, axis] for part in (flat, deep)))
        if agreement < -0.2:
            raise ValueError(
                f"{where}: the {name} axis of 2D and 3D point in opposite directions (correlation {agreement:+.2f}); "
                "both must be x right, y down"
            )


def require_handedness(joints: np.ndarray, where: str) -> None:
    """Raise ``ValueError`` when left and right are swapped in 3D (F, 17, 3), camera frame (y down), any unit.

    Judged from bent legs alone (knees bend forwards): frames whose knees lie off the hip-ankle line by a tenth of a
    leg. Fewer than 30 such frames decide nothing.
    """
    part = joints[_sample(len(joints))].astype(np.float64)
    legs = np.linalg.norm(part[:, [1, 4]] - part[:, [3, 6]], axis=-1).mean(1)
    bend = part[:, [2, 5]].mean(1) - part[:, [1, 4, 3, 6]].mean(1)
    bent = np.linalg.norm(bend[:, [0, 2]], axis=-1) > 0.1 * legs
    if bent.sum() < 30:
        return
    part = part[bent]
    side = handedness(part, up=(0.0, -1.0, 0.0)) / np.maximum(np.linalg.norm(part[:, 4] - part[:, 1], axis=-1), 1e-9)
    if np.median(side) < -0.3:
        raise ValueError(
            f"{where}: left and right are swapped, or the body is mirrored: where knees bend, the left hip lies on the "
            f"right ({(side < 0).mean():.0%} of {len(side)} frames). Human3.6M order has the right leg first (1-3)"
        )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine between two arrays as vectors; 0 when either is zero."""
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / norm) if norm > 0 else 0.0
