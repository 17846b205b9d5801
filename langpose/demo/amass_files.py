"""Write motion as AMASS sequence files, in their true format and with the oddities that real releases have.

A sequence is ``amass/<Subset>/<subject>/<name>_poses.npz``: ``poses`` (T, 156) float64 axis-angle radians, ``trans``
(T, 3) metres, ``betas`` (16,), ``dmpls`` (T, 8), ``mocap_framerate`` () float64, ``gender`` () str. What differs
between releases is a `Style`; a reader that handles one only loses the others, silently in the reference code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from langpose.storage import replacing

Style = Literal["amass", "bytes_gender", "no_dmpls", "smplh_keys", "smplx"]
"""``amass``: as above. ``bytes_gender``: gender is bytes. ``no_dmpls``: ``mocap_frame_rate``, no ``dmpls`` (as GRAB and
SOMA). ``smplh_keys``: the same body under the newer keys (root_orient, pose_body, pose_hand, surface_model_type).
``smplx``: a file of the SMPL-X release, ``<name>_stageii.npz``, with 55 joints: not an SMPL-H sequence."""

_STEP_RAD = 2.0**-16  # stored angles and places are multiples of this: 1 mm over 60 m; halves the compressed size


@dataclass(frozen=True)
class AmassSequence:
    """One sequence to write; z-up world, metres."""

    subset: str  # folder of the release: "CMU", "BMLrub", ...
    subject: str
    name: str  # of the file, less "_poses.npz"
    gender: str  # female | male | neutral
    rate_hz: float
    poses: np.ndarray  # (T, 156)
    trans: np.ndarray  # (T, 3)
    betas: np.ndarray  # (16,)
    style: Style = "amass"

    @property
    def file(self) -> str:
        """Path below ``amass/``."""
        ending = "stageii" if self.style == "smplx" else "poses"
        return f"{self.subset}/{self.subject}/{self.name}_{ending}.npz"


def write_sequence(folder: Path, sequence: AmassSequence, seed: int) -> Path:
    """Write one sequence below ``folder`` (``.../amass``); soft-tissue scores are drawn from ``seed``.

    Raises ValueError if the arrays do not fit each other. Returns the file.
    """
    frames = len(sequence.poses)
    if sequence.poses.shape != (frames, 156) or sequence.trans.shape != (frames, 3) or sequence.betas.shape != (16,):
        raise ValueError(
            f"{sequence.file}: poses {sequence.poses.shape}, trans {sequence.trans.shape}, betas "
            f"{sequence.betas.shape}; an AMASS sequence has (T, 156), (T, 3) and (16,)"
        )
    poses, trans = (_rounded(array) for array in (sequence.poses, sequence.trans))
    gender, rate = np.array(sequence.gender), np.array(float(sequence.rate_hz))
    body = {"trans": trans, "betas": sequence.betas.astype(np.float64)}
    match sequence.style:
        case "amass":
            arrays = {"trans": trans, "gender": gender, "mocap_framerate": rate, "betas": body["betas"],
                      "dmpls": _soft_tissue(frames, sequence.rate_hz, seed), "poses": poses}  # fmt: skip
        case "bytes_gender":
            arrays = {**body, "gender": np.array(sequence.gender.encode()), "mocap_framerate": rate,
                      "dmpls": _soft_tissue(frames, sequence.rate_hz, seed), "poses": poses}  # fmt: skip
        case "no_dmpls":
            arrays = {**body, "gender": gender, "mocap_frame_rate": rate, "poses": poses}
        case "smplh_keys":
            arrays = {**body, "gender": gender, "mocap_frame_rate": rate, "surface_model_type": np.array("smplh"),
                      "root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "pose_hand": poses[:, 66:]}  # fmt: skip
        case "smplx":
            face = np.zeros((frames, 9))  # jaw and eyes stand between body and hands
            arrays = {**body, "gender": gender, "mocap_frame_rate": rate, "surface_model_type": np.array("smplx"),
                      "mocap_time_length": np.array(frames / sequence.rate_hz), "num_betas": np.array(16),
                      "root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "pose_hand": poses[:, 66:],
                      "pose_jaw": face[:, :3], "pose_eye": face[:, 3:],
                      "poses": np.concatenate([poses[:, :66], face, poses[:, 66:]], axis=1)}  # fmt: skip
    path = folder / sequence.file
    _save(path, arrays)
    return path


def write_shape(folder: Path, subset: str, subject: str, gender: str, betas: np.ndarray) -> Path:
    """Write ``<subset>/<subject>/shape.npz``: a subject's body alone, no motion, as several subsets carry it."""
    path = folder / subset / subject / "shape.npz"
    _save(path, {"gender": np.array(gender), "betas": betas.astype(np.float64)})
    return path


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def _rounded(array: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(array, np.float64) / _STEP_RAD) * _STEP_RAD


def _soft_tissue(frames: int, rate_hz: float, seed: int) -> np.ndarray:
    """(T, 8) slow, small wobble in units of DMPL scores; the stand-in body has no soft-tissue model that uses it."""
    rng = np.random.default_rng([seed, 8])
    time_s = np.arange(frames)[:, None] / rate_hz
    frequency_hz, phase = rng.uniform(1, 4, 8), rng.uniform(0, 2 * np.pi, 8)
    return _rounded(0.3 * np.sin(2 * np.pi * frequency_hz * time_s + phase) / np.arange(1, 9))
