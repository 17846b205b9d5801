"""Lifted poses as files: poses.npz with poses.json, which says what the numbers mean; csv for everything else.

    poses.npz    joints (N, 17, 3) float32, frames (N,), persons (N,), keypoints (N, 17, 3) float32, filled (N,) bool
    poses.json   frame, unit, skeleton, fps, model, and a line a person: which frames, how many were filled in
    poses.csv    person, frame, joint, x, y, z, filled

Nothing is pickled. A folder is written file by file, each whole or not at all.
"""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langpose import spool
from langpose.lifting import Poses
from langpose.people import stretches
from langpose.skeleton import JOINTS, PARENTS
from langpose.sources.plain_arrays import read_npz
from langpose.storage import replacing

FRAME = "camera: x right, y down, z away from the camera; relative to joint 0, the root"
ARRAYS, FACTS, TABLE = "poses.npz", "poses.json", "poses.csv"
NAMES = ("joints", "frames", "persons", "keypoints", "filled")


def save(
    folder: str | os.PathLike[str], people: Sequence[Poses], rate_hz: float | None, facts: Mapping[str, Any]
) -> None:
    """Write ``people`` to ``folder``; ``facts`` (the model, the input, …) go into poses.json as they are."""
    place = Path(folder)
    arrays = {
        "joints": spool.joined([poses.joints for poses in people]),
        "frames": np.concatenate([poses.frames for poses in people]).astype(np.int64),
        "persons": np.concatenate([np.full(len(poses.frames), poses.person, np.int64) for poses in people]),
        "keypoints": spool.joined([poses.keypoints for poses in people]),
        "filled": np.concatenate([poses.filled for poses in people]).astype(bool),
    }
    with replacing(place / ARRAYS) as temporary, open(temporary, "wb") as file:
        spool.write_npz(file, arrays)
    told = {
        "frame": FRAME, "unit": people[0].unit, "fps": rate_hz, "skeleton": "h36m17", "joints": list(JOINTS),
        "parents": list(PARENTS), **facts, "people": [_told(poses) for poses in people],
    }  # fmt: skip
    with replacing(place / FACTS) as temporary:
        temporary.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _told(poses: Poses) -> dict[str, Any]:
    return {
        "person": poses.person,
        "frames": len(poses.frames),
        "step": poses.step,
        "filled": int(poses.filled.sum()),
        "stretches": [
            [int(poses.frames[rows][0]), int(poses.frames[rows][-1])]
            for rows in stretches(poses.starts, len(poses.frames))
        ],
    }


def load(path: str | os.PathLike[str]) -> tuple[list[Poses], dict[str, Any]]:
    """What `save` wrote, from its folder or its poses.npz: people, and poses.json. Raises ``ValueError``."""
    place = Path(path)
    folder = place if place.is_dir() else place.parent
    for name in (ARRAYS, FACTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: missing; expected a folder that `langpose lift` wrote")
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        arrays, _ = read_npz(folder / ARRAYS, NAMES, "run `langpose lift` again")
        people = []
        for told in facts["people"]:
            rows = np.flatnonzero(arrays["persons"] == told["person"])
            frames = arrays["frames"][rows]
            firsts = {first for first, _ in told["stretches"]}
            starts = tuple(int(row) for row, frame in enumerate(frames.tolist()) if frame in firsts)
            people.append(
                Poses(arrays["joints"][rows], frames, facts["unit"], arrays["keypoints"][rows], arrays["filled"][rows],
                      starts, told["person"], told["step"])
            )  # fmt: skip
    except (KeyError, TypeError, IndexError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}: not as `langpose lift` writes it ({error!r})") from error
    return people, facts


def save_csv(path: str | os.PathLike[str], people: Sequence[Poses]) -> None:
    """A line a joint."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["person", "frame", "joint", "x", "y", "z", "filled"])
    for poses in people:
        for frame, pose, filled in zip(
            poses.frames.tolist(), poses.joints.tolist(), poses.filled.tolist(), strict=True
        ):
            for name, values in zip(JOINTS, pose, strict=True):
                lines.writerow([poses.person, frame, name, *(f"{value:.6g}" for value in values), int(filled)])
    with replacing(Path(path)) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
