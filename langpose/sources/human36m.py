"""Reader of Human3.6M in MotionBERT's pickle, ``h36m_sh_conf_cam_source_final.pkl`` (stacked-hourglass detections).

A dictionary of ``train`` (subjects 1, 5, 6, 7, 8) and ``test`` (9, 11), 50 frames per second, four cameras. Per frame:
``joint_2d`` (17, 2) px, ``confidence`` (17,), ``joint3d_image`` (17, 3): u, v in px and depth in px from the root
(LCN's camera-to-image conversion), ``camera_name``, ``source`` ('s_09_act_05_subact_02_ca_01'); the test part also
``joints_2.5d_image`` (17, 3) mm, ``2.5d_factor`` mm per px and ``action``. Field names and meaning: MotionBERT dccfe7b.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from langpose.sources.lifting_checks import (
    require_agreement,
    require_extent,
    require_finite,
    require_handedness,
    require_pixels,
)
from langpose.sources.unpickling import restricted_load

FILE_NAME = "h36m_sh_conf_cam_source_final.pkl"
RATE_HZ = 50.0
CAMERA_SIZES = {
    "54138969": (1000, 1002),
    "60457274": (1000, 1002),
    "55011271": (1000, 1000),
    "58860488": (1000, 1000),
}
"""Image (width, height) in px by camera name, as MotionBERT's reader has them."""
PUBLISHED_FRAMES = {"train": 1_559_752, "test": 566_920}

_SOURCE = re.compile(r"s_(\d+)_act_(\d+)_subact_(\d+)_ca_(\d+)")


@dataclass(frozen=True)
class Human36MPart:
    """The ``train`` or ``test`` half, F frames in file order, Human3.6M-17 joints.

    Joints and confidence are as stored, float32 or float64 (other numbers become float32), read-only, and views of the
    mapped file where it can be mapped: together they may be larger than the memory.
    """

    split: str
    joint_2d: np.ndarray
    """(F, 17, 2) px, detected."""
    confidence: np.ndarray
    """(F, 17), ones where the file has none."""
    joint3d_image: np.ndarray
    """(F, 17, 3) px: u, v in the image, depth relative to the root."""
    camera: np.ndarray
    """(F,) str objects."""
    source: np.ndarray
    """(F,) str objects."""
    joints_mm: np.ndarray | None = None
    """(F, 17, 3) mm, ``joints_2.5d_image``; test only."""
    factor_mm_px: np.ndarray | None = None
    """(F,) float64 mm per px, ``2.5d_factor``; test only."""
    action: np.ndarray | None = None
    """(F,) str objects; test only."""

    def sequences(self) -> pd.DataFrame:
        """One row per run of frames of one source: sequence, subject, act, subact, ca, camera, start, frames, width,
        height (px), action ("" in train)."""
        starts = np.flatnonzero(np.concatenate([[True], self.source[1:] != self.source[:-1]]))
        stops = np.append(starts[1:], len(self.source))
        rows = []
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            source, camera = str(self.source[start]), str(self.camera[start])
            subject, act, subact, ca = parse_source(source)
            width, height = CAMERA_SIZES[camera]
            action = "" if self.action is None else str(self.action[start])
            rows.append((source, subject, act, subact, ca, camera, start, stop - start, width, height, action))
        columns = (
            "sequence",
            "subject",
            "act",
            "subact",
            "ca",
            "camera",
            "start",
            "frames",
            "width",
            "height",
            "action",
        )
        return pd.DataFrame(rows, columns=list(columns))


@dataclass(frozen=True)
class Human36M:
    """Both halves of the file; ``notes`` says what is unusual but no error."""

    train: Human36MPart
    test: Human36MPart
    notes: list[str] = field(default_factory=list)

    def counts(self) -> pd.DataFrame:
        """Frames per split, subject and camera: columns split, subject, camera, frames."""
        tables = []
        for part in (self.train, self.test):
            table = part.sequences().groupby(["subject", "camera"], as_index=False)["frames"].sum()
            tables.append(table.assign(split=part.split)[["split", "subject", "camera", "frames"]])
        return pd.concat(tables, ignore_index=True)


def parse_source(source: str) -> tuple[int, int, int, int]:
    """(subject, action, subaction, camera) of 's_09_act_05_subact_02_ca_01'; any number of digits."""
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise ValueError(f"source {source!r} is not of the form 's_09_act_05_subact_02_ca_01'")
    subject, act, subact, ca = (int(group) for group in match.groups())
    return subject, act, subact, ca


def recording(source: str) -> str:
    """The source without its camera: 's_09_act_05_subact_02'."""
    return source.rsplit("_ca_", 1)[0]


def read(path: str | os.PathLike[str]) -> Human36M:
    """Read and check the pickle, or the folder that holds it under its published name.

    Checked: keys, shapes, equal lengths, known cameras, source names, NaN, units (px, mm per px, mm), agreement of 2D
    with 3D, left and right, one camera and one action a sequence, no subject in both halves. Raises
    ``FileNotFoundError``, or ``ValueError`` naming file, field and what to do. Nothing of the pickle is executed.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; expected MotionBERT's Human3.6M file, {FILE_NAME}")
    content = restricted_load(path, object_arrays=True)
    if not isinstance(content, dict) or not {"train", "test"} <= content.keys():
        found = sorted(map(str, content))[:10] if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected a dictionary with 'train' and 'test', found {found}")
    train, test = (_part(content.pop(split), split, f"{path} [{split}]") for split in ("train", "test"))
    counts = (data := Human36M(train, test)).counts()
    subjects = {split: set(table["subject"]) for split, table in counts.groupby("split")}
    if shared := subjects["train"] & subjects["test"]:
        raise ValueError(f"{path}: subjects {sorted(shared)} are in both train and test; a test subject must be unseen")
    for part in (train, test):
        if len(part.source) != PUBLISHED_FRAMES[part.split]:
            data.notes.append(
                f"{part.split} has {len(part.source):,} frames; the published file has {PUBLISHED_FRAMES[part.split]:,}"
            )
    for (split, subject), group in counts.groupby(["split", "subject"]):
        if len(group) < len(CAMERA_SIZES):
            data.notes.append(f"{split} subject {subject} is seen by {len(group)} of {len(CAMERA_SIZES)} cameras")
    return data


def _part(content: Any, split: str, where: str) -> Human36MPart:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a dictionary, found {type(content).__name__}")
    content = dict(content)  # emptied below: what is converted need not stay in memory as it was stored
    needed = ["joint_2d", "joint3d_image", "camera_name", "source"]
    needed += ["joints_2.5d_image", "2.5d_factor", "action"] if split == "test" else []
    if missing := [key for key in needed if key not in content]:
        raise ValueError(f"{where}: lacks {', '.join(map(repr, missing))}; it holds {sorted(map(str, content))}")
    source = _texts(content.pop("source"), f"{where} ['source']")
    frames = len(source)
    if frames == 0:
        raise ValueError(f"{where}: holds no frames")

    def numbers(key: str, shape: tuple[int, ...]) -> np.ndarray:
        return _numbers(content.pop(key), (frames, *shape), f"{where} ['{key}']")

    joint_2d = numbers("joint_2d", (17, 2))
    image = numbers("joint3d_image", (17, 3))
    confidence = np.broadcast_to(np.float32(1), (frames, 17))
    if "confidence" in content:
        confidence = numbers("confidence", (17, 1))[..., 0]
    camera = _texts(content.pop("camera_name"), f"{where} ['camera_name']", frames)
    part = Human36MPart(split, joint_2d, confidence, image, camera, source)
    if split == "test":
        part = Human36MPart(
            split, joint_2d, confidence, image, camera, source,
            joints_mm=numbers("joints_2.5d_image", (17, 3)),
            factor_mm_px=numbers("2.5d_factor", ()).astype(np.float64),
            action=_texts(content.pop("action"), f"{where} ['action']", frames),
        )  # fmt: skip
    _check(part, where)
    return part


def _check(part: Human36MPart, where: str) -> None:
    if unknown := sorted(set(part.camera) - set(CAMERA_SIZES)):
        raise ValueError(f"{where}: unknown cameras {unknown[:5]}; Human3.6M's are {sorted(CAMERA_SIZES)}")
    same = part.source[1:] == part.source[:-1]
    for name, values in (("camera", part.camera), ("action", part.action)):
        if values is not None and (changed := same & (values[1:] != values[:-1])).any():
            at = int(changed.argmax()) + 1
            raise ValueError(f"{where}: the {name} changes within sequence {part.source[at]!r}, at frame {at}")
    try:
        sequences = part.sequences()
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    low, high = part.confidence.min(), part.confidence.max()
    if low < -0.1 or high > 2.0:  # heat-map peaks may leave [0, 1] slightly
        raise ValueError(f"{where} ['confidence']: values from {low:.3g} to {high:.3g}; expected 0 to 1")
    width, height = (np.repeat(sequences[name].to_numpy(), sequences["frames"]) for name in ("width", "height"))
    require_pixels(part.joint_2d, width, height, f"{where} ['joint_2d']")
    require_extent(part.joint_2d, 30, 2000, "px", f"{where} ['joint_2d']")
    require_pixels(part.joint3d_image[..., :2], width, height, f"{where} ['joint3d_image']")
    require_extent(part.joint3d_image, 30, 2000, "px", f"{where} ['joint3d_image']")
    require_agreement(part.joint_2d, part.joint3d_image, where)
    for subject, rows in sequences.groupby("subject"):
        frames = np.concatenate([np.arange(s, s + n) for s, n in zip(rows["start"], rows["frames"], strict=True)])
        frames = frames[:: max(1, len(frames) // 20_000)]
        require_agreement(part.joint_2d[frames], part.joint3d_image[frames], f"{where} subject {subject}")
        require_handedness(part.joint3d_image[frames], f"{where} subject {subject}")
    if part.joints_mm is not None and part.factor_mm_px is not None:
        require_extent(part.joints_mm, 300, 4000, "mm", f"{where} ['joints_2.5d_image']")
        factor = float(np.median(part.factor_mm_px))
        if not 0.5 <= factor <= 20 or part.factor_mm_px.min() <= 0:
            raise ValueError(
                f"{where} ['2.5d_factor']: median {factor:.4g}, least {part.factor_mm_px.min():.4g}; in mm per px it "
                "should be about 2 to 5"
            )
        # joints_2.5d_image = 2.5d_factor * joint3d_image, both relative to the root: a wrong unit breaks it.
        step = slice(None, None, max(1, len(part.source) // 20_000))
        image, joints = (values[step] - values[step, :1] for values in (part.joint3d_image, part.joints_mm))
        ratio = float(np.median(np.linalg.norm(joints, axis=(1, 2)) / (np.linalg.norm(image, axis=(1, 2)) + 1e-9)))
        if not 0.5 * factor <= ratio <= 2 * factor:
            raise ValueError(
                f"{where}: joints_2.5d_image is {ratio:.4g} times joint3d_image (median), 2.5d_factor says "
                f"{factor:.4g}; one of the three is in the wrong unit"
            )


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """``value`` as an array of ``shape`` (further columns dropped, a last axis of one added or dropped); no copy of it
    where it holds float32 or float64."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{where}: holds {array.dtype}; expected numbers of shape {shape}")
    if array.ndim == len(shape) - 1 and shape[-1] == 1:
        array = array[..., None]
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == len(shape) == 3 and array.shape[-1] > shape[-1] == 2:
        array = array[..., :2]  # some writers keep the detector's score in a third column
    if array.shape != shape:
        raise ValueError(f"{where}: shape {array.shape}; expected {shape}")
    require_finite(array, where)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _texts(value: Any, where: str, frames: int | None = None) -> np.ndarray:
    """(F,) objects: one str for each name, which stands for thousands of frames."""
    items = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str | bytes | int) for item in items):
        raise ValueError(f"{where}: expected one text per frame, found {type(value).__name__}")
    if frames is not None and len(items) != frames:
        raise ValueError(f"{where}: {len(items)} entries; expected one for each of the {frames} frames")
    names: dict[str, str] = {}
    texts = (item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in items)
    return np.array([names.setdefault(text, text) for text in texts], dtype=object)
