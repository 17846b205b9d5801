"""AMASS motion: SMPL-H parameters of one recording become Human3.6M-17 joints in the world, in metres.

A recording is ``<Subset>/<subject>/<name>_poses.npz``: ``poses`` (F, 156) axis-angle, ``trans`` (F, 3), ``betas``,
``dmpls`` (F, 8), the true rate and the gender. Releases differ (``mocap_framerate`` or ``mocap_frame_rate``, gender as
bytes, no ``dmpls``, poses split into ``root_orient``, ``pose_body``, ``pose_hand``) and so do folder names: `SUBSETS`.

MotionBERT reads the same files, drops without a word those that lack ``dmpls`` or name their rate differently, and
takes the female body for every gender but male; here a file is read, or refused with the reason.
"""

import difflib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from langpose.body import POSE_SIZE, ReducedBody
from langpose.sources.motion import UP, Motion, check_motion, resample, turn_up, up_axis
from langpose.sources.plain_arrays import read_npz
from langpose.storage import below

REGRESSOR = "J_regressor_h36m_correct.npy"

SUBSETS: dict[str, tuple[str, ...]] = {
    "ACCAD": (),
    "BMLhandball": (),
    "BMLmovi": (),
    "BMLrub": ("BioMotionLab_NTroje",),
    "CMU": (),
    "CNRS": (),
    "DFaust": ("DFaust_67",),
    "DanceDB": (),
    "EKUT": (),
    "Eyes_Japan_Dataset": (),
    "GRAB": (),
    "HDM05": ("MPI_HDM05",),
    "HUMAN4D": (),
    "HumanEva": (),
    "KIT": (),
    "MoSh": ("MPI_mosh",),
    "PosePrior": ("MPI_Limits",),
    "SFU": (),
    "SOMA": (),
    "SSM": ("SSM_synced",),
    "TCDHands": ("TCD_handMocap",),
    "TotalCapture": (),
    "Transitions": ("Transitions_mocap",),
    "WEIZMANN": (),
}
"""Subsets by today's folder names, with those of the first release. Underscores do not count: archives were named
without (``Transitionsmocap``), and BABEL's paths start with archive and folder (``BMLrub/BioMotionLab_NTroje/...``)."""

_RATE_KEYS = ("mocap_framerate", "mocap_frame_rate")
_SPLIT_POSES = ("root_orient", "pose_body", "pose_hand")


class NoMotionError(ValueError):
    """The file is readable and holds no motion (``shape.npz``: a subject's body alone). To be skipped, and said so."""


@dataclass(frozen=True)
class BodyModels:
    """Where the body models lie; each is loaded once a process.

    ``folder`` holds ``smplh/{male,female,neutral}/model.npz`` (or ``smplh/SMPLH_MALE.npz``, ...) and
    `REGRESSOR`; ``dmpls/{male,female,neutral}/model.npz`` (soft tissue) is used where it is there.
    """

    folder: Path

    def path(self, gender: str) -> Path | None:
        """The model file of a gender, None if it is not there."""
        for name in (f"smplh/{gender}/model.npz", f"smplh/SMPLH_{gender.upper()}.npz"):
            if (self.folder / name).is_file():
                return self.folder / name
        return None

    def choose(self, gender: str) -> tuple[str, str | None]:
        """The gender whose body to use, and what to tell if it is not the one asked for.

        An unknown gender gets the neutral body; where there is no neutral one, the female, as in MotionBERT.
        """
        wanted = gender if gender in ("male", "female", "neutral") else "neutral"
        note = None if wanted == gender else f"gender is '{gender}': neutral body used"
        if self.path(wanted) is None and wanted == "neutral" and self.path("female") is not None:
            return "female", f"gender is '{gender}' and there is no neutral model: female body used, as MotionBERT does"
        return wanted, note

    def load(self, gender: str) -> ReducedBody:
        """The body of ``gender``; FileNotFoundError where it or the joint regressor is missing."""
        path = self.path(gender)
        if path is None:
            raise FileNotFoundError(
                f"{self.folder}: no SMPL-H model for gender '{gender}'; place the extended SMPL+H model "
                f"(AMASS page of mano.is.tue.mpg.de) as smplh/{gender}/model.npz"
            )
        soft = self.folder / "dmpls" / gender / "model.npz"
        return _load(path, self.folder / REGRESSOR, soft if soft.is_file() else None)


@functools.lru_cache(maxsize=8)
def _load(model: Path, regressor: Path, soft: Path | None) -> ReducedBody:
    return ReducedBody.load(model, regressor, dmpl_npz=soft)


def find(folder: str | Path) -> list[Path]:
    """Every ``.npz`` below ``folder``, sorted: also those without motion, so that their absence is explained later."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; place AMASS's SMPL+H G archives there, unpacked: <Subset>/<subject>/*_poses.npz"
        )
    files = (file for file in below(folder) if file.suffix == ".npz")
    found = sorted(files, key=lambda path: path.relative_to(folder).as_posix())
    if not found:
        raise FileNotFoundError(f"{folder}: holds no .npz file; expected AMASS's <Subset>/<subject>/*_poses.npz")
    return found


def sequence_id(path: str | Path) -> str:
    """One name for a recording, whatever release it comes from: ``<Subset>/<subject>/<name>``.

    Takes a path below AMASS's folder, or BABEL's ``feat_p``: ``BMLrub/BioMotionLab_NTroje/rub001/0000_treadmill_norm_
    poses.npz`` and ``BMLrub/rub001/0000_treadmill_norm_poses.npz`` both give ``BMLrub/rub001/0000_treadmill_norm``.
    Blanks become underscores, as in the later releases. A path without a known subset keeps all its parts.
    """
    pure = PurePosixPath(str(path).replace("\\", "/"))
    parts = list(pure.parts)
    subset = next((i for i, part in enumerate(parts[:-1]) if _subset(part)), None)
    head: list[str] = []
    if subset is not None:
        head = [_subset(parts[subset]) or ""]
        parts = parts[subset + 1 :]
        while len(parts) > 1 and _subset(parts[0]) == head[0]:
            parts = parts[1:]
    stem = re.sub(r"_(poses|stageii)$", "", pure.stem)
    return "/".join([*head, *parts[:-1], stem]).replace(" ", "_")


def require_subsets(names: Iterable[str]) -> None:
    """Raise ``ValueError`` for a name that is not one of `SUBSETS`, with the nearest that is."""
    for name in names:
        if name not in SUBSETS:
            near = _subset(name) or next(iter(difflib.get_close_matches(name, SUBSETS, 1)), None)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(SUBSETS)}"
            raise ValueError(f"'{name}' is no subset of AMASS; {hint}")


def subject_of(sequence: str) -> str:
    """Who moves in a recording named by `sequence_id`: the unit of the split.

    The second part of the name, except where one person has several folders: ACCAD has one per kind of motion
    (``Female1Running_c3d``), DanceDB one per day, and the scan subjects of the four MPI subsets keep their number.
    """
    subset, _, rest = sequence.partition("/")
    folder = rest.rpartition("/")[0].partition("/")[0]
    if not folder:
        return subset if rest else sequence
    if subset == "ACCAD" and (person := re.match(r"(Fem|M)ale\d+", folder)):
        return f"ACCAD/{person[0]}"
    if subset == "DanceDB":
        return f"DanceDB/{re.sub(r'^[0-9]{8}_', '', folder)}"
    if subset in ("DFaust", "MoSh", "PosePrior", "SSM") and (scan := re.search(r"(?:^|_)(\d{5})$", folder)):
        return f"MPI/{scan[1]}"
    return f"{subset}/{folder}"


def read(
    npz: str | Path,
    body_models: BodyModels | str | Path,
    root: str | Path | None = None,
    target_rate_hz: float | None = None,
    up: str = "auto",
) -> Motion:
    """Read one recording: joints (F, 17, 3) float32, world frame, metres, z up, Human3.6M-17 order.

    ``body_models`` is the folder of the models (see `BodyModels`), ``root`` AMASS's folder (default: three levels
    above the file; it decides subject and source), ``target_rate_hz`` resamples by time (default: every frame).
    ``up`` is the axis that is up in the file's world ("z", "y", "-y", ...), turned to z; "auto" tells it by the body
    (`up_axis`): AMASS has z up, files that other tools wrote in its format may not. ``artefacts`` names a turned world,
    a body that is not the recorded gender's, and whatever `check_motion` finds.

    Raises `NoMotionError` for a file without poses; ``ValueError`` (file, found, expected) for a truncated file,
    pickled objects, a missing rate, wrong widths, NaN (with frame), another body model than SMPL-H, or a motion that
    `check_motion` refuses; ``FileNotFoundError`` for a missing file or body model.
    """
    if up != "auto" and up not in UP:
        raise ValueError(f"up is {up!r}; expected 'auto' or one of {', '.join(UP)}")
    npz = Path(npz)
    models = body_models if isinstance(body_models, BodyModels) else BodyModels(Path(body_models))
    source = npz.relative_to(root).as_posix() if root is not None else "/".join(npz.parts[-3:])
    arrays = _arrays(npz)
    rate_hz = _rate(arrays, npz)
    poses = _poses(arrays, npz)
    trans = _frames(arrays, "trans", 3, npz, len(poses))
    betas = np.atleast_1d(_frame_checked(arrays, "betas", npz, len(poses)))
    if betas.ndim == 2:  # some tools repeat the shape for every frame
        betas = betas[0]
    dmpls = _frames(arrays, "dmpls", None, npz, len(poses)) if "dmpls" in arrays else None
    gender, note = models.choose(_gender(arrays, npz))
    body = models.load(gender)
    if dmpls is None and body.pair_soft.shape[2]:
        dmpls = np.zeros((len(poses), body.pair_soft.shape[2]))  # GRAB and SOMA: a body without wobble
    joints = body(poses, trans, betas, dmpls)
    axis, seen = up_axis(joints) if up == "auto" else (up, "")
    if axis != "z":
        joints = turn_up(joints, axis)
    artefacts = [told for told in (note, seen) if told] + check_motion(joints, rate_hz, str(npz))
    if target_rate_hz is not None:
        joints, rate_hz = resample(joints, rate_hz, target_rate_hz)
    return Motion(joints, rate_hz, subject_of(sequence_id(source)), source, artefacts)


def _subset(name: str) -> str | None:
    return _SUBSET_OF.get(name.replace("_", "").lower())


_SUBSET_OF = {
    alias.replace("_", "").lower(): subset for subset, old in SUBSETS.items() for alias in (subset, *old)
}  # fmt: skip


def _arrays(npz: Path) -> dict[str, np.ndarray]:
    """What the file holds of what is needed; nothing is unpickled."""
    wanted = {*_RATE_KEYS, *_SPLIT_POSES, "poses", "trans", "betas", "dmpls", "gender", "surface_model_type"}
    if not npz.is_file():
        raise FileNotFoundError(f"{npz}: no such motion file")
    arrays, keys = read_npz(npz, wanted, "get the file again")
    if "poses" not in arrays and "root_orient" not in arrays:
        raise NoMotionError(f"{npz}: holds no poses (only {', '.join(sorted(keys))}): a body without motion, skipped")
    kind = str(_scalar(arrays, "surface_model_type", npz)) if "surface_model_type" in arrays else "smplh"
    if "smplx" in kind or ("poses" in arrays and arrays["poses"].ndim == 2 and arrays["poses"].shape[1] == 165):
        raise ValueError(
            f"{npz}: an SMPL-X sequence (55 joints), whose shape coefficients mean another body; "
            "get AMASS's SMPL+H G release of this subset"
        )
    return arrays


def _rate(arrays: dict[str, np.ndarray], npz: Path) -> float:
    key = next((key for key in _RATE_KEYS if key in arrays), None)
    if key is None:
        raise ValueError(
            f"{npz}: no frame rate ({' or '.join(_RATE_KEYS)}); rates in AMASS run from 30 to 250, none is assumed"
        )
    try:
        rate_hz = float(_scalar(arrays, key, npz))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{npz}: '{key}' is {arrays[key]!r}; expected one number") from error
    if not 1 <= rate_hz <= 1000:
        raise ValueError(f"{npz}: '{key}' is {rate_hz!r}; expected frames per second, in AMASS 30 to 250")
    return rate_hz


def _poses(arrays: dict[str, np.ndarray], npz: Path) -> np.ndarray:
    """(F, 156): root 3, body 63, hands 90; from ``poses`` or from its parts."""
    if "poses" in arrays:
        poses = _frames(arrays, "poses", POSE_SIZE, npz, None)
    else:
        missing = [key for key in _SPLIT_POSES[:2] if key not in arrays]
        if missing:
            raise ValueError(f"{npz}: '{missing[0]}' is missing beside the other parts of the pose")
        root = _frames(arrays, "root_orient", 3, npz, None)
        body = _frames(arrays, "pose_body", 63, npz, len(root))
        if "pose_hand" in arrays:
            hands = _frames(arrays, "pose_hand", 90, npz, len(root))
        else:
            hands = np.zeros((len(root), 90))  # hands move no joint of Human3.6M-17 but the wrist's own surface
        poses = np.concatenate([root, body, hands], axis=1)
    if len(poses) == 0:
        raise ValueError(f"{npz}: holds no frames")
    return poses


def _frames(arrays: dict[str, np.ndarray], key: str, width: int | None, npz: Path, frames: int | None) -> np.ndarray:
    """An array (F, width), finite, or a ValueError that names key and frame."""
    array = _frame_checked(arrays, key, npz, frames)
    wrong_width = array.ndim != 2 or (width is not None and array.shape[1] != width)
    if wrong_width or (frames is not None and len(array) != frames):
        hint = {72: ": SMPL", 75: ": SMPL", 66: ": SMPL without hands"}.get(array.shape[-1] if array.ndim else 0, "")
        wanted = f"({'frames' if frames is None else frames}, {'any' if width is None else width})"
        raise ValueError(f"{npz}: '{key}' is {array.shape}{hint}; expected {wanted} of an SMPL-H sequence")
    return array


def _frame_checked(arrays: dict[str, np.ndarray], key: str, npz: Path, frames: int | None) -> np.ndarray:
    if key not in arrays:
        raise ValueError(f"{npz}: '{key}' is missing; it holds {', '.join(sorted(arrays))}")
    array = arrays[key]
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{npz}: '{key}' holds {array.dtype}, expected numbers")
    bad = ~np.isfinite(array)
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        where = f"at frame {place[0]}" if array.ndim == 2 else f"at entry {place[0] if place else 0}"
        raise ValueError(f"{npz}: '{key}' holds NaN or infinite values, first {where} ({int(bad.sum())} values)")
    return array


def _gender(arrays: dict[str, np.ndarray], npz: Path) -> str:
    if "gender" not in arrays:
        return "missing"
    gender = _scalar(arrays, "gender", npz)
    text = gender.decode("utf-8", "replace") if isinstance(gender, bytes) else str(gender)
    text = text.strip().lower()
    text = re.sub(r"^b'(.*)'$", r"\1", text)  # bytes that some tool turned into text
    return {"f": "female", "m": "male", "n": "neutral"}.get(text, text)


def _scalar(arrays: dict[str, np.ndarray], key: str, npz: Path) -> Any:
    """The value of a 0-d or one-element array."""
    array = arrays[key]
    if array.size != 1:
        raise ValueError(f"{npz}: '{key}' has {array.size} values; expected one")
    return array.reshape(-1)[0].item()
