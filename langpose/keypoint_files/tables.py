"""Readers of plain tables of keypoints: npz and csv, as docs/keypoints.md lays them out."""

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from langpose import spool
from langpose.joint_maps import SKELETONS, named
from langpose.keypoint_files.rows import NOBODY, Rows


def npz(path: Path) -> Rows:
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
    return Rows(
        "npz", each, persons, keypoints, skeleton=str(arrays["skeleton"]) if "skeleton" in arrays else None,
        image_size=None if size is None else (size[0], size[1]), rate_hz=float(rate[0]) if len(rate) else None,
    )  # fmt: skip


def csv_file(path: Path, skeleton: str | None) -> Rows:
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
    rows = Rows("csv", [], [], [], chosen.name)
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
