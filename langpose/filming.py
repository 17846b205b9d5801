"""Filming motion with virtual cameras and a detector's errors, into Human3.6M's and MPI-INF-3DHP's file layouts.

The demo and cmu profiles are made here by the same code; sources.human36m and sources.mpi_inf_3dhp read the files back
as they read the real ones.
"""

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from langpose.cameras import Pinhole, camera_to_image, two_and_half_d_factor
from langpose.detector import detect
from langpose.occlusion import visibility
from langpose.skeleton import MPI_FROM_H36M
from langpose.storage import replacing

HUMAN36M_CAMERAS = {
    "54138969": (1145.05, 1143.78, 512.54, 515.45, 1000, 1002),
    "55011271": (1149.68, 1147.59, 508.85, 508.06, 1000, 1000),
    "58860488": (1149.14, 1148.80, 519.82, 501.40, 1000, 1000),
    "60457274": (1145.51, 1144.77, 514.97, 501.88, 1000, 1002),
}
"""Name → fx, fy, cx, cy (px), width, height: Human3.6M's four cameras."""

HUMAN36M_ACTS = {
    "Direction": 2, "Discuss": 3, "Eating": 4, "Greet": 5, "Phone": 6, "Photo": 7, "Pose": 8, "Purchase": 9,
    "Sitting": 10, "SittingDown": 11, "Smoke": 12, "Wait": 13, "WalkDog": 14, "Walk": 15, "WalkTwo": 16,
}  # fmt: skip
"""Action → its number in Human3.6M's file names. Other actions are numbered from 2 in alphabetical order."""

MPI_TRAIN_CAMERAS = ("0", "1", "2", "4", "5", "6", "7", "8")


@dataclass(frozen=True)
class Take:
    """One continuous motion to film."""

    joints: np.ndarray
    """(F, 17, 3) world, metres, z up."""
    rate_hz: float
    subject: int
    action: str
    subaction: int


@dataclass(frozen=True)
class FilmConfig:
    """How takes are filmed. None of it is in the paper: Human3.6M's studio is the pattern."""

    cameras: int = 4
    """Of Human3.6M's four cameras, how many film (more data from the same motion)."""
    mpi_cameras: int = 2
    """Of MPI-INF-3DHP's eight training cameras, how many film."""
    distance_m: float = 5.0
    """From the cameras to the middle of a take; more where the take needs room."""
    noise: float = 1.0
    """The detector's errors, times those of MotionBERT's noise model."""
    mpi_invalid: float = 0.0
    """MPI-INF-3DHP's test: share of each sequence's frames that do not count, in one stretch; the real set has such."""

    def __post_init__(self) -> None:
        if not 1 <= self.cameras <= 4:
            raise ValueError(f"cameras is {self.cameras}; expected 1 to 4")
        if not 1 <= self.mpi_cameras <= len(MPI_TRAIN_CAMERAS):
            raise ValueError(f"mpi_cameras is {self.mpi_cameras}; expected 1 to {len(MPI_TRAIN_CAMERAS)}")
        if not 0 <= self.mpi_invalid <= 0.5:
            raise ValueError(f"mpi_invalid is {self.mpi_invalid}; expected a share of frames, 0 to 0.5")


def camera_for(
    take: Take, index: int, count: int, intrinsics: Sequence[float], config: FilmConfig, rng: Any
) -> Pinhole:
    """Camera ``index`` of ``count`` round a take: level, 1.2 to 1.8 m up, far enough that everybody stays in view."""
    fx, fy, cx, cy, width, height = intrinsics
    low, high = take.joints.min((0, 1)), take.joints.max((0, 1))
    target = (low + high) / 2
    reach = np.linalg.norm(high - low) / 2 + 0.25
    # the sphere round the take fits the shorter side of the image
    needed = reach * max(fx, fy) / (min(width, height) / 2 * 0.95) + 0.2
    distance = max(config.distance_m * rng.uniform(0.9, 1.1), needed)
    angle = 2 * np.pi * (index + 0.5) / count + rng.uniform(-0.2, 0.2)
    height_m = target[2] + rng.uniform(0.2, 0.8)
    position = np.array([target[0] + distance * np.cos(angle), target[1] + distance * np.sin(angle), height_m])
    return Pinhole.look_at(position, target, fx, fy, cx, cy, int(width), int(height))


def write_human36m(
    train: Sequence[Take], test: Sequence[Take], path: str | Path, seed: int, config: FilmConfig | None = None
) -> None:
    """Film takes into MotionBERT's Human3.6M pickle: plain dicts, lists, strings and numpy arrays, 50 Hz.

    Sources are named ``s_09_act_05_subact_02_ca_01`` as there. Test gets joints_2.5d_image (mm), 2.5d_factor (mm/px)
    and action. The same takes and seed give the same bytes.
    """
    config = config or FilmConfig()
    for take in (*train, *test):
        if abs(take.rate_hz - 50) > 0.1:
            raise ValueError(f"{_name(take)} runs at {take.rate_hz} Hz; Human3.6M is 50 Hz: resample it first")
    names = sorted({take.action for take in (*train, *test)})
    acts = HUMAN36M_ACTS if set(names) <= set(HUMAN36M_ACTS) else {name: i + 2 for i, name in enumerate(names)}
    content = {split: _film_human36m(takes, acts, split, seed, config) for split, takes in
               (("train", train), ("test", test))}  # fmt: skip
    with replacing(path) as temporary, open(temporary, "wb") as handle:
        pickler = pickle.Pickler(handle, protocol=4)
        pickler.fast = True  # no memo: the bytes depend on the values alone, not on which strings are one object
        pickler.dump(content)


def _film_human36m(
    takes: Sequence[Take], acts: dict[str, int], split: str, seed: int, config: FilmConfig
) -> dict[str, Any]:
    parts: dict[str, list[Any]] = {key: [] for key in ("joint_2d", "confidence", "joint3d_image", "factor")}
    texts: dict[str, list[str]] = {key: [] for key in ("camera_name", "source", "action")}
    for number, take in enumerate(track(takes, description=f"filming Human3.6M {split}", transient=True)):
        for index, (camera_name, intrinsics) in enumerate(list(HUMAN36M_CAMERAS.items())[: config.cameras]):
            rng = np.random.default_rng([seed, split == "test", number, index])
            camera = camera_for(take, index, 4, intrinsics, config, rng)
            joints = camera.to_camera(take.joints)
            image, _ = camera_to_image(joints * 1000, camera.fx, camera.fy, camera.cx, camera.cy)
            size = np.ptp(image[..., :2], axis=1).max(-1)
            points, confidence = detect(image[..., :2], visibility(joints), size, rng, config.noise)
            parts["joint_2d"].append(points.astype(np.float32))
            parts["confidence"].append(confidence.astype(np.float32))
            parts["joint3d_image"].append(image.astype(np.float32))
            parts["factor"].append(two_and_half_d_factor(image, joints * 1000).astype(np.float32))
            source = f"s_{take.subject:02d}_act_{acts[take.action]:02d}_subact_{take.subaction:02d}_ca_{index + 1:02d}"
            for key, text in (("camera_name", camera_name), ("source", source), ("action", take.action)):
                texts[key] += [text] * len(joints)
    if not takes:
        raise ValueError(f"no takes for Human3.6M's {split} part; expected at least one")
    arrays = {key: np.concatenate(values) for key, values in parts.items()}
    result: dict[str, Any] = {key: arrays[key] for key in ("joint_2d", "confidence", "joint3d_image")}
    if split == "test":
        result["joints_2.5d_image"] = arrays["factor"][:, None, None] * arrays["joint3d_image"]
        result["2.5d_factor"] = arrays["factor"]
        result["action"] = texts["action"]
    return result | {"camera_name": texts["camera_name"], "source": texts["source"]}


def write_mpi_inf_3dhp(
    train: Sequence[Sequence[Take]],
    test: Sequence[Take],
    folder: str | Path,
    seed: int,
    config: FilmConfig | None = None,
) -> None:
    """Film takes into P-STMO's two npz files (an object array inside each), ground-truth 2D, 25 or 50 Hz.

    ``train`` is one list of takes a subject: they become "S1 Seq1", "S1 Seq2" (all takes after the first are joined in
    order, a new position each). ``test`` are TS1 … TS6 in order; TS5 and TS6 are 1920 × 1080. data_3d is camera-frame
    mm, data_2d px, both in MPI-INF-3DHP's joint order. ``valid`` (F,) is 0 for ``config.mpi_invalid`` of the frames.
    """
    config = config or FilmConfig()
    if len(test) != 6:
        raise ValueError(f"{len(test)} test takes; MPI-INF-3DHP has six test sequences")
    train_content: dict[str, Any] = {}
    for subject, takes in enumerate(train, start=1):
        if not takes:
            raise ValueError(f"subject {subject} of the training part has no take; expected at least one")
        halves = (takes[: -(-len(takes) // 2)], takes[-(-len(takes) // 2) :])
        for sequence, chosen in enumerate((half for half in halves if half), start=1):
            cameras = {}
            for index, name in enumerate(MPI_TRAIN_CAMERAS[: config.mpi_cameras]):
                shots = [
                    _film_mpi(take, index, len(MPI_TRAIN_CAMERAS), 2048, 2048, config,
                              np.random.default_rng([seed, 2, subject, sequence, index, part]))
                    for part, take in enumerate(chosen)
                ]  # fmt: skip
                cameras[name] = {key: np.concatenate([shot[key] for shot in shots]) for key in ("data_2d", "data_3d")}
            train_content[f"S{subject} Seq{sequence}"] = [cameras, _mpi_rate(chosen)]
    test_content = {}
    for number, take in enumerate(test, start=1):
        _mpi_rate([take])
        width, height = (1920, 1080) if number in (5, 6) else (2048, 2048)
        rng = np.random.default_rng([seed, 3, number])
        shot = _film_mpi(take, number, 6, width, height, config, rng)
        test_content[f"TS{number}"] = {**shot, "valid": _valid(len(take.joints), config, seed, number)}
    for name, content in (("data_train_3dhp", train_content), ("data_test_3dhp", test_content)):
        boxed = np.empty((), dtype=object)
        boxed[()] = content
        with replacing(Path(folder) / f"{name}.npz") as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, data=boxed)


def _film_mpi(
    take: Take, index: int, count: int, width: int, height: int, config: FilmConfig, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    focal = 1500.0 * min(width, height) / 2048  # 2048-px training cameras have about 1500 px
    camera = camera_for(take, index, count, (focal, focal, width / 2, height / 2, width, height), config, rng)
    joints = camera.to_camera(take.joints)[:, list(MPI_FROM_H36M)]
    return {"data_2d": camera.project(joints).astype(np.float32), "data_3d": (joints * 1000).astype(np.float32)}


def _valid(frames: int, config: FilmConfig, seed: int, number: int) -> np.ndarray:
    """(F,) float64: 1, but 0 over one stretch at a drawn place."""
    valid, length = np.ones(frames), round(config.mpi_invalid * frames)
    start = int(np.random.default_rng([seed, 4, number]).integers(frames - length + 1))
    valid[start : start + length] = 0
    return valid


def _mpi_rate(takes: Iterable[Take]) -> int:
    rates = {take.rate_hz for take in takes}
    if not (len(rates) == 1 and rates <= {25.0, 50.0}):
        raise ValueError(
            f"takes run at {sorted(rates)} Hz; MPI-INF-3DHP's sequences are 25 or 50 Hz: resample them first"
        )
    return int(rates.pop())


def _name(take: Take) -> str:
    return f"take of subject {take.subject}, {take.action}, {take.subaction}"
