"""Stage `check` (paper profile): is the licensed data all there? Writes its manifest, or says what is missing."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from langpose.storage import replacing
from pipeline import layout, manifest, params

PROFILE = "paper"


@dataclass(frozen=True)
class Needed:
    """A data set that the user places: the files it must have (glob patterns below raw/; "a|b" is either), its source
    and licence."""

    name: str
    patterns: tuple[str, ...]
    source: str
    licence: str


NEEDED = (
    Needed(
        "AMASS motion sequences (SMPL-H G)",
        ("amass/**/*.npz",),
        "https://amass.is.tue.mpg.de (register, 'SMPL+H G' of each subset; unpack below data/paper/raw/amass/)",
        "AMASS dataset licence: non-commercial research, no redistribution",
    ),
    Needed(
        "SMPL-H body models",
        tuple(
            f"body_models/smplh/{gender}/model.npz|body_models/smplh/SMPLH_{gender.upper()}.npz"
            for gender in ("female", "male", "neutral")
        ),
        "https://mano.is.tue.mpg.de (Extended SMPL+H model for AMASS)",
        "SMPL body model licence: non-commercial research, no redistribution",
    ),
    Needed(
        "Human3.6M joint regressor",
        ("body_models/J_regressor_h36m_correct.npy",),
        "the repository of Pose2Mesh (hongsukchoi/Pose2Mesh_RELEASE), data/Human36M/",
        "MIT; derived from Human3.6M and SMPL",
    ),
    Needed(
        "BABEL labels v1.0",
        tuple(f"babel/{split}.json" for split in ("train", "val", "test", "extra_train", "extra_val")),
        "https://babel.is.tue.mpg.de (register, babel_v1.0_release)",
        "BABEL licence: non-commercial research, no redistribution",
    ),
    Needed(
        "Human3.6M, MotionBERT's pickle (stacked hourglass detections)",
        ("human36m/h36m_sh_conf_cam_source_final.pkl",),
        "docs/pose3d.md of Walter0807/MotionBERT links it; the data's own licence is at http://vision.imar.ro/human3.6m",
        "Human3.6M licence: academic use, no redistribution",
    ),
    Needed(
        "MPI-INF-3DHP, P-STMO's npz files",
        ("mpi_inf_3dhp/data_train_3dhp.npz", "mpi_inf_3dhp/data_test_3dhp.npz"),
        "README of paTRICK-swk/P-STMO links both; the data's own site is https://vcai.mpi-inf.mpg.de/3dhp-dataset",
        "MPI-INF-3DHP licence: non-commercial research, no redistribution",
    ),
)


@dataclass(frozen=True)
class CheckConfig:
    """Parameters of the stage."""

    hash_files: bool = True
    """Hash every file (minutes, then remembered by size and time); False trusts size and time alone."""


def missing(raw: Path) -> list[str]:
    """One entry a data set of which something is missing: which files, where to get them, under which licence."""
    entries = []
    for need in NEEDED:
        absent = [p for p in need.patterns if not any(True for either in p.split("|") for _ in raw.glob(either))]
        if absent:
            files = "\n".join("      " + " or ".join(str(raw / either) for either in p.split("|")) for p in absent)
            entries.append(f"  {need.name}\n{files}\n    from: {need.source}\n    licence: {need.licence}")
    return entries


def main() -> None:
    config = params.section(PROFILE, "check", CheckConfig)
    raw = layout.data(PROFILE) / "raw"
    entries = missing(raw)
    if entries:
        sys.exit(
            f"The paper profile needs data that only you can get; {len(entries)} of {len(NEEDED)} sets are incomplete:"
            "\n\n" + "\n\n".join(entries) + "\n\nPlace the files and run the command again. Without the licences: "
            "`make repro PROFILE=cmu` runs the same pipeline on real, freely licensed motion capture."
        )
    known = _remembered(raw, config.hash_files)
    path = layout.data(PROFILE) / layout.MANIFEST
    manifest.write(raw, path, known)
    _remember(raw, path)


MEMORY = layout.work(PROFILE, "raw-hashes.json")


def _stamp(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _remembered(raw: Path, hash_files: bool) -> dict[str, dict]:
    """Manifest entries of files whose size and time are as when they were last hashed."""
    if not hash_files:
        files = (p for p in raw.rglob("*") if p.is_file())
        return {p.relative_to(raw).as_posix(): {"bytes": _stamp(p)[0], "modified_ns": _stamp(p)[1]} for p in files}
    old = _memory()
    fresh = {name: entry for name, entry in old.items() if (raw / name).is_file()}
    return {name: entry["entry"] for name, entry in fresh.items() if entry["stamp"] == _stamp(raw / name)}


def _memory() -> dict[str, dict]:
    """What earlier runs hashed; nothing where the file is absent or damaged: files are then hashed again."""
    try:
        return json.loads(MEMORY.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _remember(raw: Path, path: Path) -> None:
    entries = json.loads(path.read_text(encoding="utf-8"))["files"]
    stamped = {
        name: {"entry": entry, "stamp": _stamp(raw / name)} for name, entry in entries.items() if "sha256" in entry
    }
    with replacing(MEMORY) as temporary:
        temporary.write_text(json.dumps(_memory() | stamped), encoding="utf-8")


if __name__ == "__main__":
    main()
