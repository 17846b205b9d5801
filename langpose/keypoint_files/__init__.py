"""Readers of the 2D keypoints that detectors write: AlphaPose, OpenPose, MMPose, COCO results, Ultralytics, npz, csv.

`read` looks at what a file holds, not at its name, and gives every detection its frame's true number: a frame without
a detection is missing, and never shifts the ones after it. Coordinates are pixels, confidences 0 to 1. Formats:
docs/keypoints.md.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langpose import spool
from langpose.joint_maps import Skeleton, named, of_count
from langpose.keypoint_files.detectors import COCO_TOOLS, folder_of_frames, json_file
from langpose.keypoint_files.rows import NOBODY, Rows
from langpose.keypoint_files.tables import csv_file, npz

__all__ = ["NOBODY", "Detections", "check_size", "read"]
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".jpg", ".png")
LARGEST = 2 << 30
"""Bytes of a file that is read at most."""


@dataclass(frozen=True)
class Detections:
    """N detections of people in a video, in no order that counts."""

    frames: np.ndarray
    """(N,) int64, number of the frame, as the file counts."""
    persons: np.ndarray
    """(N,) int64, track, or `NOBODY`."""
    keypoints: np.ndarray
    """(N, J, 3) float64: x, y in pixels, confidence 0 to 1."""
    skeleton: Skeleton
    format: str
    image_size: tuple[int, int] | None = None
    """Width, height in pixels, where the file says so."""
    rate_hz: float | None = None
    notes: tuple[str, ...] = ()


def read(
    path: str | os.PathLike[str], skeleton: str | None = None, image_size: tuple[int, int] | None = None
) -> Detections:
    """The detections in a file, or in a folder with a file a frame.

    ``skeleton`` names the joints where their number does not (17 may be COCO's or Human3.6M's; read as COCO's from
    tools that write those). ``image_size`` (width, height) is needed where coordinates are shares of the image. Raises
    ``ValueError``, with what was found and what to do, for anything that cannot be used, ``FileNotFoundError`` where
    there is nothing.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such file or folder")
    check_size(image_size)
    if place.is_dir():
        found = _tried(place, folder_of_frames, place)
    elif place.suffix.lower() in VIDEOS:
        raise ValueError(
            f"{place}: is a video or picture; expected 2D keypoints. Run a 2D detector on it first (RTMPose, "
            "AlphaPose, OpenPose, YOLO pose), and give what it wrote"
        )
    elif place.stat().st_size > LARGEST:
        raise ValueError(f"{place}: {place.stat().st_size:,} bytes; files of more than {LARGEST:,} are not read whole")
    elif place.stat().st_size == 0:
        raise ValueError(f"{place}: is empty")
    else:
        kinds: dict[str, Callable[[Path], Rows]] = {
            ".npz": npz, ".csv": lambda path: csv_file(path, skeleton), ".json": json_file
        }  # fmt: skip
        kind = kinds.get(place.suffix.lower())
        if kind is None:
            raise ValueError(f"{place}: expected {', '.join(kinds)} or a folder with a file a frame")
        found = _tried(place, kind, place)
    return _checked(found, place, skeleton, image_size)


def check_size(image_size: tuple[int, int] | None) -> None:
    """Raises ``ValueError`` for what can be no width and height in pixels."""
    if image_size is not None and min(image_size) < 1:
        raise ValueError(f"image size {image_size[0]} x {image_size[1]}; expected width and height in pixels")


def _tried(place: Path, read_it: Callable[..., Rows], *arguments: Any) -> Rows:
    """What a reader makes of ``place``; its errors say where."""
    try:
        return read_it(*arguments)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{place}: is laid out as no format that is read ({error!r}); see docs/keypoints.md"
        ) from error
    except ValueError as error:
        raise ValueError(f"{place}: {error}" if str(place) not in str(error) else str(error)) from error


def _checked(rows: Rows, place: Path, skeleton: str | None, image_size: tuple[int, int] | None) -> Detections:
    if not len(rows.keypoints):
        raise ValueError(f"{place}: {rows.format}, and not one person in it")
    counts = sorted({len(points) for points in rows.keypoints})
    if len(counts) > 1:
        raise ValueError(f"{place}: detections of {' and '.join(map(str, counts))} joints; expected one skeleton")
    try:
        if skeleton or rows.skeleton:
            chosen = named(skeleton or str(rows.skeleton))
        elif counts[0] == 17 and rows.format in COCO_TOOLS:
            chosen = named("coco17")
        else:
            chosen = of_count(counts[0])
        if chosen.number != counts[0]:
            raise ValueError(f"{counts[0]} joints; skeleton {chosen.name} has {chosen.number}")
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    size = image_size or rows.image_size
    if rows.shares and size is None:
        raise ValueError(
            f"{place}: coordinates are shares of the image, whose size is not in the file; say it: "
            "--image-size WIDTH HEIGHT"
        )
    points = spool.zeros((len(rows.keypoints), counts[0], 3), np.float64)
    there = np.zeros(len(points), bool)
    bad, lowest, highest, largest = 0, 0.0, 0.0, 0.0
    for part in spool.pieces(len(points)):
        few = np.asarray(rows.keypoints[part], np.float64)
        if few.shape[-1] == 2:
            few = np.concatenate([few, np.ones((*few.shape[:-1], 1))], -1)
        if rows.shares and size is not None:
            few = few * [*size, 1]
        numbers = np.asarray(np.isfinite(few).all(-1))
        few = np.where(numbers[..., None], few, 0)
        bad += int((~numbers).sum())
        lowest, highest = min(lowest, float(few[..., 2].min())), max(highest, float(few[..., 2].max()))
        few[..., 2] = np.minimum(few[..., 2], 1)
        seen = few[..., 2] > 0
        largest = max(largest, float(np.abs(few[seen][:, :2]).max(initial=0)))
        points[part], there[part] = few, seen.any(1)
    notes = []
    if bad:
        notes.append(f"{bad} keypoints that are no numbers count as not seen")
    if lowest < 0:
        raise ValueError(f"{place}: a confidence of {lowest:g}; expected 0 to 1")
    if highest > 1:
        notes.append(f"confidences up to {highest:g} are cut at 1")
    if not there.any():
        raise ValueError(f"{place}: every confidence is 0; nothing was detected, or the confidences are missing")
    if largest <= 2 and not rows.shares:
        raise ValueError(
            f"{place}: coordinates up to {largest:.2f}; expected pixels. Write them as pixels (times the image's size)"
        )
    try:
        frames, persons = np.asarray(rows.frames, np.int64), np.asarray(rows.persons, np.int64)
    except OverflowError:
        raise ValueError(f"{place}: frame or person numbers beyond 64 bits; is a time stamp in the names?") from None
    if not there.all():
        notes.append(f"{int((~there).sum())} detections without a joint that was seen are left out")
        frames, persons, points = frames[there], persons[there], spool.take(points, np.flatnonzero(there))
    if rows.format == "AlphaPose" and (persons == 0).all() and len(np.unique(frames)) < len(frames):
        persons[:] = NOBODY  # what it writes for everybody where it does not track
    tracked = persons != NOBODY
    pairs = np.stack([frames[tracked], persons[tracked]])
    if pairs.shape[1] and len(np.unique(pairs, axis=1).T) < pairs.shape[1]:
        values, number = np.unique(pairs, axis=1, return_counts=True)
        frame, person = values[:, number.argmax()]
        raise ValueError(f"{place}: person {person} is in frame {frame} {number.max()} times; expected once")
    return Detections(frames, persons, points, chosen, rows.format, size, rows.rate_hz, tuple(notes))
