"""Your own 3D data as a data set to fine-tune on: 2D keypoints and 3D joints of recordings, written as `lifting_sets`.

own_data.write("data/mine", train=[...], val=[...])
clips = LiftingClips("data/mine", "train", clip_len=27, stride=9)
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from langpose.lifting import PERSON_SIZE, STANDING
from langpose.lifting_sets import MPI_MM_PER_UNIT, _normalise, _write_meta, _write_split
from langpose.people import extent
from langpose.storage import replacing_folder

SOURCE = "own data"


@dataclass(frozen=True)
class Recording:
    """F frames of one person, seen by one camera. Joints in Human3.6M-17 order (`joint_maps` converts others)."""

    name: str
    keypoints: np.ndarray
    """(F, 17, 3): x, y in pixels, confidence; confidence 0: not seen."""
    joints_mm: np.ndarray
    """(F, 17, 3) in the camera's frame: x right, y down, z away, mm. Where the camera stands does not matter."""
    image_size: tuple[int, int]
    """Width, height, pixels."""
    rate_hz: float
    subject: str = ""
    action: str = ""

    def check(self) -> None:
        """Raise ``ValueError`` for what cannot be trained on."""
        for what, array in (("keypoints", self.keypoints), ("joints_mm", self.joints_mm)):
            if array.ndim != 3 or array.shape[1:] != (17, 3) or len(array) != len(self.joints_mm) or not len(array):
                raise ValueError(f"{self.name}: {what} of shape {array.shape}; expected (frames, 17, 3), both alike")
            if not np.isfinite(array).all():
                bad = int(np.flatnonzero(~np.isfinite(array).all((1, 2)))[0])
                raise ValueError(f"{self.name}: {what} are not finite in frame {bad}; cut such frames out")
        thigh = float(np.median(np.linalg.norm(self.joints_mm[:, 1] - self.joints_mm[:, 2], axis=-1)))
        if not 100 < thigh < 800:
            raise ValueError(f"{self.name}: the right thigh is {thigh:.3g} mm long; are the joints in millimetres?")
        seen = self.keypoints[self.keypoints[..., 2] > 0]
        if len(seen) and np.abs(seen[:, :2]).max() <= 2:
            raise ValueError(f"{self.name}: keypoints up to {np.abs(seen[:, :2]).max():.2f}; expected pixels")


def write(folder: str | os.PathLike[str], train: Sequence[Recording], val: Sequence[Recording] = ()) -> Path:
    """Write recordings as a data set; its unit is mm / 1024, as MPI-INF-3DHP's, so that lifted poses come in mm.

    Hold whole subjects out for ``val``. Raises ``ValueError`` for a recording that cannot be used; nothing is then
    written.
    """
    splits = {"train": list(train)} | ({"val": list(val)} if val else {})
    for recordings in splits.values():
        for recording in recordings:
            recording.check()
    if not splits["train"]:
        raise ValueError("no recording to train on")
    place = Path(folder)
    if place.exists() and any(place.iterdir()) and _meta(place).get("source") != SOURCE:
        raise ValueError(f"{place}: holds something else than a data set that was written so; name a new folder")
    sizes = [np.percentile(own, STANDING) / r.image_size[0] * 2 for r in train if len(own := _sizes(r))]
    with replacing_folder(folder) as temporary:
        for split, recordings in splits.items():
            rows = [
                (r.name, r.subject, "", r.action, len(r.joints_mm), *r.image_size, r.rate_hz) for r in recordings
            ]  # fmt: skip
            columns = ["sequence", "subject", "camera", "action", "frames", "width", "height", "rate_hz"]
            _write_split(temporary / split, [_arrays(r) for r in recordings], pd.DataFrame(rows, columns=columns))
        meta = {"dataset": "mpi_inf_3dhp", "unit": "mm / 1024, root-relative", "source": SOURCE}
        _write_meta(temporary, {**meta, "person_size": float(np.median(sizes)) if sizes else None})
    return place


def facts(folder: str | os.PathLike[str]) -> dict[str, str]:
    """What a model's card must say of the data set, for `Lifter` to show people to it as they were in training."""
    size = _meta(Path(folder)).get("person_size")
    return {"fine-tuned on": "mpi_inf_3dhp", "data": "own data"} | (
        {} if size is None else {PERSON_SIZE: f"{size:.3f}"}
    )


def _meta(folder: Path) -> dict[str, Any]:
    file = folder / "meta.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _sizes(recording: Recording) -> np.ndarray:
    sizes = extent(recording.keypoints)
    return sizes[sizes > 0]


def _arrays(recording: Recording) -> dict[str, np.ndarray]:
    frames = len(recording.joints_mm)
    width, height = (np.full(frames, length, np.float32) for length in recording.image_size)
    two_d = _normalise(recording.keypoints, width, height)
    two_d[recording.keypoints[..., 2] <= 0] = 0
    joints = np.asarray(recording.joints_mm, np.float32)
    target = (joints - joints[:, :1]) / np.float32(MPI_MM_PER_UNIT)
    return {"joints_2d": two_d, "target": target, "valid": np.ones(frames, bool)}
