"""Reader of MPI-INF-3DHP in P-STMO's two files, ``data_train_3dhp.npz`` and ``data_test_3dhp.npz``.

Train: ``{"S1 Seq1": [{"0": {"data_2d": (F, 17, 2) px, "data_3d": (F, 17, 3) mm}, ...}, fps], ...}``, 8 of the 14
cameras, 25 or 50 frames per second. Test: ``{"TS1": {"data_2d", "data_3d", "valid": (F,)}, ...}``. 2D is
ground truth; 3D is the height-normalised annotation in the camera's frame. Joints are returned in the files' own order
(`skeleton.MPI_JOINTS`).
Layout: P-STMO aea43d0, as MotionAGFormer and TCPFormer read it.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langpose.skeleton import H36M_FROM_MPI
from langpose.sources.lifting_checks import (
    require_agreement,
    require_extent,
    require_finite,
    require_handedness,
    require_pixels,
)
from langpose.sources.unpickling import load_object_npz

TRAIN_FILE, TEST_FILE = "data_train_3dhp.npz", "data_test_3dhp.npz"
IMAGE_SIZE = (2048, 2048)
TEST_IMAGE_SIZES = {"TS5": (1920, 1080), "TS6": (1920, 1080)}
"""Image (width, height) px of the two outdoor test sequences; all else is `IMAGE_SIZE`."""


@dataclass(frozen=True)
class Take:
    """One recording by one camera, MPI-INF-3DHP joint order."""

    sequence: str
    """'S1 Seq1' or 'TS1'."""
    subject: int
    camera: str
    """'0' ... '8'; '' in the test set."""
    rate_hz: float
    """NaN in the test set, whose file does not say."""
    joints_px: np.ndarray
    """(F, 17, 2) float32."""
    joints_mm: np.ndarray
    """(F, 17, 3) float32, camera frame, not root-relative."""
    valid: np.ndarray
    """(F,) bool: frames that count in the test; all in train."""
    width: int
    height: int


@dataclass(frozen=True)
class MpiInf3dhp:
    """Both files."""

    train: list[Take]
    test: list[Take]


def read(folder: str | os.PathLike[str]) -> MpiInf3dhp:
    """Read and check both files in ``folder``. See `read_train`, `read_test`."""
    folder = Path(folder)
    return MpiInf3dhp(read_train(folder / TRAIN_FILE), read_test(folder / TEST_FILE))


def read_train(path: str | os.PathLike[str]) -> list[Take]:
    """Every (sequence, camera) of the training file, in file order.

    Raises ``FileNotFoundError``, or ``ValueError`` naming file, sequence and camera when the layout, a shape, a unit
    (px, mm), left and right, or a NaN is wrong. Nothing of the file is executed.
    """
    takes = []
    for name, content in _dictionary(path).items():
        where = f"{path} ['{name}']"
        match = re.fullmatch(r"S(\d+) Seq(\d+)", str(name))
        if match is None:
            raise ValueError(f"{where}: expected names like 'S1 Seq1'")
        content = content.tolist() if isinstance(content, np.ndarray) else content
        if not (isinstance(content, list | tuple) and len(content) == 2 and isinstance(content[0], dict)):
            raise ValueError(f"{where}: expected [cameras, frames per second]")
        rate_hz = np.asarray(content[1])
        if rate_hz.dtype.kind not in "fiu" or rate_hz.size != 1 or not 1 <= rate_hz.item() <= 1000:
            raise ValueError(f"{where}: frames per second is {str(content[1])[:40]!r}; expected 25 or 50")
        for camera, arrays in content[0].items():
            takes.append(
                _take(arrays, str(name), int(match[1]), str(camera), float(rate_hz.item()), IMAGE_SIZE,
                      f"{where} camera {camera}")
            )  # fmt: skip
    _check_all(takes, str(path))
    return takes


def read_test(path: str | os.PathLike[str]) -> list[Take]:
    """The test sequences, in file order; ``valid`` marks the frames that count. Errors as in `read_train`."""
    takes = []
    for name, arrays in _dictionary(path).items():
        match = re.fullmatch(r"TS(\d+)", str(name))
        if match is None:
            raise ValueError(f"{path} ['{name}']: expected names like 'TS1'")
        size = TEST_IMAGE_SIZES.get(str(name), IMAGE_SIZE)
        takes.append(_take(arrays, str(name), int(match[1]), "", float("nan"), size, f"{path} ['{name}']", valid=True))
    _check_all(takes, str(path))
    if not any(take.valid.any() for take in takes):
        raise ValueError(f"{path}: no frame is marked valid; there would be nothing to score")
    return takes


def _dictionary(path: str | os.PathLike[str]) -> dict[Any, Any]:
    content = load_object_npz(path, "data")
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected a dictionary of sequences, found {type(content).__name__}")
    return content


def _take(
    arrays: Any, sequence: str, subject: int, camera: str, rate_hz: float, size: tuple[int, int], where: str,
    valid: bool = False,
) -> Take:  # fmt: skip
    needed = ["data_2d", "data_3d", "valid"] if valid else ["data_2d", "data_3d"]
    if not isinstance(arrays, dict) or any(key not in arrays for key in needed):
        found = sorted(map(str, arrays)) if isinstance(arrays, dict) else type(arrays).__name__
        raise ValueError(f"{where}: expected {', '.join(needed)}; found {found}")
    frames = len(arrays["data_2d"]) if isinstance(arrays["data_2d"], np.ndarray | list) else 0
    if frames == 0:
        raise ValueError(f"{where}: holds no frames")
    joints_px = _numbers(arrays["data_2d"], (frames, 17, 2), f"{where} data_2d")
    joints_mm = _numbers(arrays["data_3d"], (frames, 17, 3), f"{where} data_3d")
    counted = np.ones(frames, dtype=bool)
    if valid:
        flags = np.asarray(arrays["valid"])
        if flags.size != frames or flags.dtype.kind not in "fiub" or not np.isin(flags, (0, 1)).all():
            raise ValueError(f"{where} valid: expected {frames} flags of 0 or 1, found shape {flags.shape}")
        counted = flags.reshape(-1).astype(bool)
    require_pixels(joints_px, np.full(frames, size[0]), np.full(frames, size[1]), f"{where} data_2d")
    require_extent(joints_px, 30, 4000, "px", f"{where} data_2d")
    require_extent(joints_mm, 500, 5000, "mm", f"{where} data_3d")
    ordered = list(H36M_FROM_MPI)
    require_agreement(joints_px[:, ordered], joints_mm[:, ordered], where)
    return Take(sequence, subject, camera, rate_hz, joints_px, joints_mm, counted, *size)


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.shape != shape:
        raise ValueError(f"{where}: {array.dtype} of shape {array.shape}; expected numbers of shape {shape}")
    require_finite(array, where)
    return np.ascontiguousarray(array, dtype=np.float32)


def _check_all(takes: Sequence[Take], where: str) -> None:
    """Left and right in 3D, over each subject's takes together: one take may hold no bent leg."""
    for subject in sorted({take.subject for take in takes}):
        joints = [take.joints_mm for take in takes if take.subject == subject]
        step = max(1, sum(map(len, joints)) // 20_000)
        part = np.concatenate([values[::step] for values in joints])[:, list(H36M_FROM_MPI)]
        require_handedness(part, f"{where} subject {subject}")
