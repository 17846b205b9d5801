"""Readers of what detectors write: json of AlphaPose, OpenPose, MMPose, COCO tools and Ultralytics, and its txt."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langpose.keypoint_files.rows import NOBODY, Rows

COCO_TOOLS = ("AlphaPose", "COCO results", "COCO annotations", "MMPose", "Ultralytics")
"""Formats whose 17 joints are COCO's."""


def json_file(path: Path) -> Rows:
    """A json file of whichever of these tools."""
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
            return Rows("a list of detections", [], [], [])
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


def folder_of_frames(folder: Path) -> Rows:
    """A file a frame: OpenPose's json, or Ultralytics' txt."""
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


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: is no json: {error}") from error


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


def _coco_results(content: Sequence[Mapping[str, Any]]) -> Rows:
    """AlphaPose (``image_id`` is a name, ``idx`` a track) and COCO results, as Detectron2 writes them."""
    by_name = isinstance(content[0]["image_id"], str)
    rows = Rows("AlphaPose" if by_name else "COCO results", [], [], [])
    images = [item["image_id"] for item in content]
    rows.frames = _numbers(images) if by_name else [int(image) for image in images]
    for item in content:
        rows.persons.append(_person(item.get("idx", item.get("track_id"))))
        rows.keypoints.append(_triples(item["keypoints"]))
    return rows


def _coco_annotations(content: Mapping[str, Any]) -> Rows:
    """A COCO data set with images: sizes are in it, and frames are the numbers in the file names, else the ids."""
    images = {image["id"]: image for image in content["images"]}
    sizes = {(int(image["width"]), int(image["height"])) for image in images.values() if "width" in image}
    rows = Rows("COCO annotations", [], [], [], image_size=sizes.pop() if len(sizes) == 1 else None)
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


def _mmpose(content: Sequence[Mapping[str, Any]]) -> Rows:
    """MMPose's ``instance_info``: a list of frames, each with its instances."""
    rows = Rows("MMPose", [], [], [])
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


def _frames_of_people(content: Sequence[Sequence[Mapping[str, Any]]]) -> Rows:
    """A list a frame: MMPose's predictions, and Ultralytics' ``to_json`` of every frame."""
    first = next(people[0] for people in content if people)
    ultralytics = isinstance(first["keypoints"], Mapping)
    rows = Rows("Ultralytics" if ultralytics else "MMPose", [], [], [])
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


def _openpose(frames: Sequence[tuple[int, Mapping[str, Any]]]) -> Rows:
    """OpenPose's ``--write_json``: a file a frame, with its people."""
    rows = Rows("OpenPose", [], [], [])
    for number, content in frames:
        for person in content["people"]:
            values = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
            if not values:
                continue
            rows.frames.append(number)
            rows.persons.append(_person(person.get("person_id", NOBODY)))
            rows.keypoints.append(_triples(values))
    return rows


def _labels(files: Sequence[Path]) -> Rows:
    """Ultralytics' ``save_txt``: a line a person: class, box, x, y, confidence of each joint as shares, a track."""
    rows = Rows("Ultralytics", [], [], [], shares=True)
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
