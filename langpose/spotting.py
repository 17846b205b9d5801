"""What is happening when: windows of motion beside words, in the space that pretraining made (section 3.1).

    search   a text → the windows of many motions, nearest first
    label    a motion → the nearest texts of each window, over time

Windows have the model's length, and overlap. Motion is a detector's keypoints, a folder that `langpose lift` wrote, or
a profile's data (data/cmu: its stored motion, seen from the front). Scores are cosines, -1 to 1.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from langpose import pose_files
from langpose.clips import ClipsConfig
from langpose.keypoint_files import read
from langpose.lifting import Lifter, between, in_h36m, rate_of, same_rate
from langpose.people import stretches, tracks
from langpose.storage import replacing
from langpose.windows import covering_windows

LABELS = "labels.safetensors"
"""Beside a model: embeddings (L, D) of its training labels, for models that are kept without their text stream."""
KEYPOINT_FILES = (".json", ".npz", ".csv")
OURS = (pose_files.FACTS, pose_files.TABLE)
"""What `langpose lift` writes beside poses.npz, which is no input."""


@dataclass(frozen=True)
class Motion:
    """One person's stretch as model input."""

    name: str
    person: int
    frames: np.ndarray
    """(F,) numbers."""
    x: np.ndarray
    """(F, 17, 3) float32 x, y, confidence in the model's units."""
    rate_hz: float | None = None


def of_keypoints(
    path: str | os.PathLike[str], lifter: Lifter, rate_hz: float | None = None, **options: Any
) -> Iterator[Motion]:
    """Stretches in a keypoint file or in what `langpose lift` wrote, at ``rate_hz`` where they do not say.

    ``options`` are `keypoint_files.read`'s.
    """
    place = Path(path)
    if place.is_dir() and (place / pose_files.ARRAYS).exists():
        people, facts = pose_files.load(place)
        for poses in people:
            lengths = [rows.stop - rows.start for rows in stretches(poses.starts, len(poses.frames))]
            x, _ = lifter.framed(poses.keypoints, lengths, None)
            yield from _stretches(
                str(place), poses.person, poses.frames, x, poses.starts, _rate(rate_hz or facts.get("fps"), poses.step)
            )
        return
    found = read(place, **options)
    for track in tracks(found, lifter.max_gap):
        x, _ = lifter.framed(in_h36m(found.skeleton, track.keypoints), track.lengths, found.image_size)
        yield from _stretches(
            str(place), track.person, track.frames, x, track.starts, _rate(rate_hz or found.rate_hz, track.step)
        )


def _rate(rate_hz: float | None, step: int) -> float | None:
    """Rows a second."""
    return None if rate_hz is None else rate_hz / step


def _stretches(
    name: str, person: int, frames: np.ndarray, x: np.ndarray, starts: Sequence[int], rate_hz: float | None
) -> Iterator[Motion]:
    for rows in stretches(starts, len(frames)):
        yield Motion(name, person, frames[rows], x[rows], rate_hz)


def of_profile(folder: str | os.PathLike[str], config: ClipsConfig) -> Iterator[Motion]:
    """The stored sequences of a profile's data (motions/, views/), seen from the front, without detection errors."""
    place = Path(folder)
    table = pd.read_parquet(place / "motions" / "sequences.parquet")
    front = np.load(place / "views" / "front.npy", mmap_mode="r", allow_pickle=False)
    for row in table.itertuples():
        motion = np.array(front[row.start : row.start + row.frames], np.float32)
        x = np.ones_like(motion)
        x[..., :2] = (motion[..., :2] - motion[:, :1, :2].mean(0)) * np.float32(config.scale)
        yield Motion(str(row.sequence), 0, np.arange(row.frames), x, float(row.rate_hz))


def motions(path: str | os.PathLike[str], lifter: Lifter) -> Iterator[Motion]:
    """All motion in or below ``path``, of whichever kind. Raises ``ValueError`` where there is none."""
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such file or folder")
    if (place / "motions" / "sequences.parquet").exists() and (place / "views" / "front.npy").exists():
        yield from of_profile(place, ClipsConfig())
        return
    if place.is_file() or (place / pose_files.ARRAYS).exists() or _has_a_file_a_frame(place):
        yield from of_keypoints(place, lifter)
        return
    some = False
    for file in sorted(path for path in place.rglob("*") if not any(part.startswith(".") for part in path.parts)):
        if file.is_dir() and _has_a_file_a_frame(file):
            yield from of_keypoints(file, lifter)
        elif file.name == pose_files.ARRAYS:
            yield from of_keypoints(file.parent, lifter)
        elif file.suffix in KEYPOINT_FILES and file.name not in OURS and not _has_a_file_a_frame(file.parent):
            yield from of_keypoints(file, lifter)
        else:
            continue
        some = True
    if not some:
        raise ValueError(
            f"{place}: no motion below it; expected a profile's data (motions/ and views/), folders that "
            f"`langpose lift` wrote, or keypoint files ({', '.join(KEYPOINT_FILES)})"
        )


def resampled(motion: Motion, rate_hz: float | None) -> Motion:
    """A motion at ``rate_hz`` by straight lines, where both rates are known and differ; frames are the nearest ones."""
    if not rate_hz or not motion.rate_hz or same_rate(motion.rate_hz, rate_hz):
        return motion
    places = np.arange(0, len(motion.x) - 0.5, motion.rate_hz / rate_hz)
    nearest = np.round(places).astype(int)
    return replace(motion, frames=motion.frames[nearest], x=between(motion.x, places, hide=True))


def _has_a_file_a_frame(folder: Path) -> bool:
    """Whether a folder is what OpenPose writes."""
    return next(folder.glob("*_keypoints.json"), None) is not None


@dataclass(frozen=True)
class Spots:
    """Windows of motion and their embeddings: a row each."""

    table: pd.DataFrame
    """motion, person, first, last (frame numbers), rate_hz."""
    embeddings: np.ndarray
    """(N, D), unit length."""


def embed(model: Any, found: Iterator[Motion], hop: int | None = None, batch_size: int = 64) -> Spots:
    """Global pose embeddings of every window of motions; ``hop`` frames apart (default: half a window)."""
    length, rate_hz = model.config.pose.maxlen, rate_of(model)
    rows: list[tuple[Any, ...]] = []
    parts: list[np.ndarray] = []
    device = next(model.parameters()).device
    for motion in (resampled(motion, rate_hz) for motion in found):
        windows = covering_windows([len(motion.x)], length, hop or max(1, length // 2))
        rows += [
            (motion.name, motion.person, int(motion.frames[w[0]]), int(motion.frames[w[-1]]), motion.rate_hz)
            for w in windows
        ]
        with torch.inference_mode():
            for start in range(0, len(windows), batch_size):
                batch = torch.from_numpy(motion.x[windows[start : start + batch_size]]).to(device)
                parts.append(model.encode_pose(batch).float().cpu().numpy())
    if not rows:
        raise ValueError("there is no motion to look at")
    return Spots(pd.DataFrame(rows, columns=["motion", "person", "first", "last", "rate_hz"]), np.concatenate(parts))


def search(spots: Spots, text: np.ndarray, top: int = 10) -> pd.DataFrame:
    """The ``top`` windows nearest to an embedding (D,), one of those that overlap: `Spots.table` with ``score``."""
    table = spots.table.assign(score=spots.embeddings @ text).sort_values("score", ascending=False, kind="stable")
    taken: list[Any] = []
    for row in table.itertuples():
        if all(
            row.motion != t.motion or row.person != t.person or row.first > t.last or row.last < t.first for t in taken
        ):
            taken.append(row)
        if len(taken) == top:
            break
    return table.loc[[row.Index for row in taken]].reset_index(drop=True)


def label(spots: Spots, names: Sequence[str], texts: np.ndarray, top: int = 3) -> pd.DataFrame:
    """Each window's ``top`` labels: `Spots.table` with ``rank``, ``label``, ``score``; ``texts`` are (L, D)."""
    scores = spots.embeddings @ texts.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    rows = np.arange(len(scores))
    parts = [
        spots.table.assign(rank=rank + 1, label=[names[i] for i in best[:, rank]], score=scores[rows, best[:, rank]])
        for rank in range(best.shape[1])
    ]
    return pd.concat(parts).sort_values(["motion", "person", "first", "rank"], kind="stable").reset_index(drop=True)


def merged(labels: pd.DataFrame) -> pd.DataFrame:
    """Of rank 1, neighbouring windows with the same label as one: motion, person, first, last, label, score (mean)."""
    best = labels[labels["rank"] == 1]
    change = (best[["motion", "person", "label"]] != best[["motion", "person", "label"]].shift()).any(axis=1).cumsum()
    keys = best.groupby(change.rename("run"))
    return keys.agg(
        motion=("motion", "first"), person=("person", "first"), first=("first", "min"), last=("last", "max"),
        label=("label", "first"), score=("score", "mean"), rate_hz=("rate_hz", "first"),
    ).reset_index(drop=True)  # fmt: skip


def save_labels(folder: str | os.PathLike[str], names: Sequence[str], embeddings: np.ndarray) -> None:
    """Keep embeddings (L, D) of labels beside a model."""
    with replacing(Path(folder) / LABELS) as temporary:
        save_file({name: row.astype(np.float32) for name, row in zip(names, embeddings, strict=True)}, temporary)


def labels_of(model: Any, folder: str | os.PathLike[str], names: Sequence[str] | None) -> tuple[list[str], np.ndarray]:
    """Labels to choose from and their embeddings: ``names``, by the text stream, or those kept beside the model.

    Raises ``ValueError`` where the model has neither.
    """
    kept = Path(folder) / LABELS
    if names is None or model.text_encoder is None:
        if not kept.exists():
            raise ValueError(
                f"{folder}: {'name the labels (--labels), ' if model.text_encoder is not None else ''}this model "
                f"has no {LABELS} beside it" + ("" if model.text_encoder is not None else " and no text stream")
            )
        try:
            known = load_file(kept)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{kept}: is damaged: {error}") from error
        if names is None:
            names = sorted(known)
        if strange := [name for name in names if name not in known]:
            raise ValueError(
                f"this model is kept without its text stream and knows {len(known)} labels, not "
                f"{', '.join(strange[:3])}; it knows {', '.join(sorted(known)[:12])}, …"
            )
        return list(names), np.stack([known[name] for name in names])
    with torch.inference_mode():
        return list(names), model.encode_text(list(names)).float().cpu().numpy()
