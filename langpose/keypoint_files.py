"""Readers of the 2D keypoints that detectors write: AlphaPose, OpenPose, MMPose, COCO results, Ultralytics, npz, csv.

`read` looks at what a file holds, not at its name, and gives every detection its frame's true number: a frame without
a detection is missing, and never shifts the ones after it. Coordinates are pixels, confidences 0 to 1. Formats:
docs/keypoints.md.
"""

import csv
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langpose import spool
from langpose.joint_maps import SKELETONS, Skeleton, named, of_count

NOBODY = -1
"""Person of detections without a track."""
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
        found = _tried(place, _folder, place, image_size)
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
        kinds: dict[str, Callable[[Path], _Rows]] = {
            ".npz": _npz, ".csv": lambda path: _csv(path, skeleton), ".json": _json_file
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


@dataclass
class _Rows:
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


def _tried(place: Path, read_it: Callable[..., _Rows], *arguments: Any) -> _Rows:
    """What a reader makes of ``place``; its errors say where."""
    try:
        return read_it(*arguments)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{place}: is laid out as no format that is read ({error!r}); see docs/keypoints.md"
        ) from error
    except ValueError as error:
        raise ValueError(f"{place}: {error}" if str(place) not in str(error) else str(error)) from error


def _checked(rows: _Rows, place: Path, skeleton: str | None, image_size: tuple[int, int] | None) -> Detections:
    if not len(rows.keypoints):
        raise ValueError(f"{place}: {rows.format}, and not one person in it")
    counts = sorted({len(points) for points in rows.keypoints})
    if len(counts) > 1:
        raise ValueError(f"{place}: detections of {' and '.join(map(str, counts))} joints; expected one skeleton")
    try:
        if skeleton or rows.skeleton:
            chosen = named(skeleton or str(rows.skeleton))
        elif counts[0] == 17 and rows.format in _COCO_TOOLS:
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


_COCO_TOOLS = ("AlphaPose", "COCO results", "COCO annotations", "MMPose", "Ultralytics")


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: is no json: {error}") from error


def _json_file(path: Path) -> _Rows:
    content = _load(path)
    if isinstance(content, Mapping):
        if "instance_info" in content:
            return _mmpose(content["instance_info"])
        if "annotations" in content and "images" in content:
            return _coco_annotations(content)
        if "people" in content:
            return _openpose([(_numbers([path.name])[0], content)])
    elif isinstance(content, list):
        if any(isinstance(item, str) for item in content):  # Ultralytics' to_json() gives texts
            content = [json.loads(item) if isinstance(item, str) else item for item in content]
        first = next((item for item in content if item), None)
        if first is None:
            return _Rows("a list of detections", [], [], [])
        if isinstance(first, Mapping) and "image_id" in first:
            return _coco_results(content)
        if isinstance(first, Mapping) and "instances" in first:
            return _mmpose(content)
        if isinstance(first, list) and first and isinstance(first[0], Mapping):
            return _frames_of_people(content)
    raise ValueError(
        f"{path}: json of another layout than AlphaPose, OpenPose, MMPose, COCO and Ultralytics write; see "
        "docs/keypoints.md"
    )


def _triples(values: Any) -> np.ndarray:
    """Flat x, y, confidence, … → (J, 3)."""
    flat = np.asarray(values, np.float64)
    if flat.ndim != 1 or len(flat) % 3:
        raise ValueError(f"keypoints are {flat.size} numbers; expected x, y, confidence of each joint")
    return flat.reshape(-1, 3)


def _numbers(names: Sequence[str]) -> list[int]:
    """Frames of images by their names: the last number that is not the same in all of them."""
    groups = []
    for name in names:
        stem = re.sub(r"\.(jpe?g|png|bmp|webp|tiff?|json|txt)$", "", str(name), flags=re.IGNORECASE)
        found = re.findall(r"\d+", stem.removesuffix("_keypoints"))
        if not found:
            raise ValueError(f"no frame number in the name '{name}'")
        groups.append([int(digits) for digits in found])
    shortest = min(map(len, groups))
    for place in range(1, shortest + 1):
        if len({group[-place] for group in groups}) > 1:
            return [group[-place] for group in groups]
    if len(set(names)) > 1:
        raise ValueError(f"the names '{names[0]}', '{names[1]}', … have no number that tells frames apart")
    return [group[-1] for group in groups]


def _person(value: Any) -> int:
    """A track's number; AlphaPose and OpenPose put it into lists."""
    while isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else NOBODY
    return NOBODY if value is None else int(value)


def _coco_results(content: Sequence[Mapping[str, Any]]) -> _Rows:
    """AlphaPose (``image_id`` is a name, ``idx`` a track) and COCO results, as Detectron2 writes them."""
    by_name = isinstance(content[0]["image_id"], str)
    rows = _Rows("AlphaPose" if by_name else "COCO results", [], [], [])
    images = [item["image_id"] for item in content]
    rows.frames = _numbers(images) if by_name else [int(image) for image in images]
    for item in content:
        rows.persons.append(_person(item.get("idx", item.get("track_id"))))
        rows.keypoints.append(_triples(item["keypoints"]))
    return rows


def _coco_annotations(content: Mapping[str, Any]) -> _Rows:
    """A COCO data set with images: sizes are in it, and frames are the numbers in the file names, else the ids."""
    images = {image["id"]: image for image in content["images"]}
    sizes = {(int(image["width"]), int(image["height"])) for image in images.values() if "width" in image}
    rows = _Rows("COCO annotations", [], [], [], image_size=sizes.pop() if len(sizes) == 1 else None)
    names = [str(image.get("file_name", "")) for image in images.values()]
    if all("frame_id" in image for image in images.values()):
        frame_of = {key: int(image["frame_id"]) for key, image in images.items()}
    elif all(re.search(r"\d", Path(name).stem) for name in names):
        frame_of = dict(zip(images, _numbers(names), strict=True))
    else:
        frame_of = {key: int(key) for key in images}
    for item in content["annotations"]:
        rows.frames.append(frame_of[item["image_id"]])
        rows.persons.append(_person(item.get("track_id")))
        points = _triples(item["keypoints"])
        points[:, 2] = np.minimum(points[:, 2], 1)  # 1 hidden, 2 visible: both were placed
        rows.keypoints.append(points)
    return rows  # fmt: skip


def _mmpose(content: Sequence[Mapping[str, Any]]) -> _Rows:
    """MMPose's ``instance_info``: a list of frames, each with its instances."""
    rows = _Rows("MMPose", [], [], [])
    for place, frame in enumerate(content):
        for person in frame["instances"]:
            rows.frames.append(int(frame.get("frame_id", place)))
            rows.persons.append(_person(person.get("track_id", person.get("instance_id"))))
            rows.keypoints.append(_scored(person["keypoints"], person.get("keypoint_scores")))
    return rows


def _scored(points: Any, scores: Any) -> np.ndarray:
    xy = np.asarray(points, np.float64)
    if xy.ndim == 3 and len(xy) == 1:  # a batch of one
        xy, scores = xy[0], np.asarray(scores, np.float64).reshape(-1)
    if xy.ndim != 2 or xy.shape[1] not in (2, 3):
        raise ValueError(f"keypoints of shape {xy.shape}; expected (joints, 2) or (joints, 3)")
    if xy.shape[1] == 3:
        return xy
    confidence = np.ones(len(xy)) if scores is None else np.asarray(scores, np.float64).reshape(-1)
    if len(confidence) != len(xy):
        raise ValueError(f"{len(xy)} keypoints and {len(confidence)} scores; expected as many")
    return np.concatenate([xy, confidence[:, None]], 1)


def _frames_of_people(content: Sequence[Sequence[Mapping[str, Any]]]) -> _Rows:
    """A list a frame: MMPose's predictions, and Ultralytics' ``to_json`` of every frame."""
    first = next(people[0] for people in content if people)
    ultralytics = isinstance(first["keypoints"], Mapping)
    rows = _Rows("Ultralytics" if ultralytics else "MMPose", [], [], [])
    for frame, people in enumerate(content):
        for person in people:
            points = person["keypoints"]
            rows.frames.append(int(person.get("frame_id", frame)))
            rows.persons.append(_person(person.get("track_id")))
            if ultralytics:
                shown = points.get("visible", points.get("confidence", np.ones(len(points["x"]))))
                rows.keypoints.append(
                    np.stack([np.asarray(v, np.float64) for v in (points["x"], points["y"], shown)], 1)
                )
            else:
                rows.keypoints.append(_scored(points, person.get("keypoint_scores")))
    return rows


def _openpose(frames: Sequence[tuple[int, Mapping[str, Any]]]) -> _Rows:
    """OpenPose's ``--write_json``: a file a frame, with its people."""
    rows = _Rows("OpenPose", [], [], [])
    for number, content in frames:
        for person in content["people"]:
            values = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
            if not values:
                continue
            rows.frames.append(number)
            rows.persons.append(_person(person.get("person_id", NOBODY)))
            rows.keypoints.append(_triples(values))
    return rows


def _folder(folder: Path, image_size: tuple[int, int] | None) -> _Rows:
    files = {kind: sorted(folder.glob(f"*.{kind}")) for kind in ("json", "txt")}
    if files["json"]:
        numbers = _numbers([path.name for path in files["json"]])
        contents = [(number, _load(path)) for number, path in zip(numbers, files["json"], strict=True)]
        if all(isinstance(content, Mapping) and "people" in content for _, content in contents):
            return _openpose(contents)
        raise ValueError(f"{folder}: json files of which not all are OpenPose's (with `people`)")
    if files["txt"]:
        return _labels(files["txt"])
    raise ValueError(f"{folder}: no .json (OpenPose) and no .txt (Ultralytics) in it; expected a file a frame")


def _labels(files: Sequence[Path]) -> _Rows:
    """Ultralytics' ``save_txt``: a line a person: class, box, x, y, confidence of each joint as shares, a track."""
    rows = _Rows("Ultralytics", [], [], [], shares=True)
    frame_of = dict(zip(files, _numbers([file.name for file in files]), strict=True))
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                values = [float(word) for word in line.split()]
            except ValueError as error:
                raise ValueError(f"{file}, line {number}: {error}") from error
            if not values:
                continue
            points, rest = divmod(len(values) - 5, 3)
            if points < 1 or rest > 2:
                raise ValueError(f"{file}, line {number}: {len(values)} numbers; expected class, box, keypoints")
            # what follows the keypoints is the box's confidence, the track, or both
            rows.persons.append(int(values[-1]) if rest and values[-1] >= 1 else NOBODY)
            rows.frames.append(frame_of[file])
            rows.keypoints.append(np.asarray(values[5 : 5 + 3 * points]).reshape(-1, 3))
    return rows


def _npz(path: Path) -> _Rows:
    """``keypoints`` (T, J, 2 or 3) or (T, P, J, 2 or 3), and, if wanted, frames, image_size, skeleton, rate_hz."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                info.filename.removesuffix(".npy"): spool.read_member(archive, info) for info in archive.infolist()
            }
    except OSError:  # of the disk
        raise
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(f"{path}: cannot be read as npz ({error}); pickled objects are never opened") from error
    if "keypoints" not in arrays:
        raise ValueError(f"{path}: no array 'keypoints'; it has {', '.join(arrays) or 'none'}")
    points = arrays["keypoints"]
    if points.dtype.kind not in "fiu":
        raise ValueError(f"{path}: keypoints of type {points.dtype}; expected numbers")
    points = points[:, None] if points.ndim == 3 else points
    if points.ndim != 4 or points.shape[-1] not in (2, 3):
        raise ValueError(f"{path}: keypoints of shape {arrays['keypoints'].shape}; expected (frames, joints, 2 or 3)")
    frames = np.asarray(arrays.get("frames", np.arange(len(points)))).astype(np.int64)
    if frames.shape != (len(points),):
        raise ValueError(f"{path}: {frames.shape} frames for {len(points)} poses; expected one each")
    size = tuple(int(v) for v in np.ravel(arrays["image_size"])) if "image_size" in arrays else None
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"{path}: image_size {size}; expected width, height in pixels")
    rate = np.ravel(arrays.get("rate_hz", np.empty(0)))
    if "rate_hz" in arrays and (len(rate) != 1 or not 0 < rate[0] <= 1000):
        raise ValueError(f"{path}: rate_hz {rate.tolist()}; expected one number of frames a second, up to 1000")
    people = points.shape[1]
    each: Any = np.repeat(frames, people)
    persons: Any = np.tile(np.arange(people), len(points))
    keypoints: Any = points.reshape(-1, *points.shape[2:])
    return _Rows(
        "npz", each, persons, keypoints, skeleton=str(arrays["skeleton"]) if "skeleton" in arrays else None,
        image_size=None if size is None else (size[0], size[1]), rate_hz=float(rate[0]) if len(rate) else None,
    )  # fmt: skip


def _csv(path: Path, skeleton: str | None) -> _Rows:
    """A line a joint: frame, joint, x, y and, if wanted, confidence and person; joints by name.

    Without ``skeleton`` it is that whose Human3.6M joints the names make most of.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        needed = {"frame", "joint", "x", "y"}
        if missing := needed - set(lines.fieldnames or []):
            raise ValueError(
                f"{path}: no column {', '.join(sorted(missing))}; it has {', '.join(lines.fieldnames or [])}"
            )
        poses: dict[tuple[int, int], dict[str, tuple[float, float, float]]] = {}
        for number, line in enumerate(lines, 2):
            try:
                key = _whole(line["frame"]), _whole(line.get("person") or str(NOBODY))
                pose, joint = poses.setdefault(key, {}), line["joint"].strip()
                if joint in pose:
                    raise ValueError(f"{joint} is in frame {key[0]} twice; several people need a column 'person'")
                x, y = (float(line[name] or "nan") for name in ("x", "y"))
                pose[joint] = x, y, float(line.get("confidence") or 1)
            except (TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    names = {name for pose in poses.values() for name in pose}
    wanted = [named(skeleton)] if skeleton else SKELETONS.values()
    fitting = [s for s in wanted if names <= set(s.joints) and s.body is None]
    if not fitting and skeleton:
        unknown = sorted(names - set(named(skeleton).joints))
        raise ValueError(f"{path}: joints {', '.join(unknown[:5])} are not in {named(skeleton).name}")
    if not fitting:
        most = max(SKELETONS.values(), key=lambda s: len(names & set(s.joints)))
        unknown = sorted(names - set(most.joints))
        raise ValueError(f"{path}: joints {', '.join(unknown[:5])} are not in {most.name}, the nearest skeleton")
    chosen = max(fitting, key=lambda s: (sum(names >= set(made) for made in s.makes.values()), -s.number))
    rows = _Rows("csv", [], [], [], chosen.name)
    for (frame, person), pose in poses.items():
        rows.frames.append(frame)
        rows.persons.append(person)
        rows.keypoints.append(np.array([pose.get(joint, (0.0, 0.0, 0.0)) for joint in chosen.joints]))
    return rows


def _whole(text: str) -> int:
    """A whole number, as tables write them: 7, 7.0."""
    value = float(text)
    if value != int(value):
        raise ValueError(f"'{text}' is no whole number")
    return int(value)
