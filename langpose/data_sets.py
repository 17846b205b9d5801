"""The licensed data sets of the paper: which files they need below ``raw/``, where to get them, under which licence.

The stage `check` and the command ``langpose data check`` both read this table; docs/data.md names the same files.
"""

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from langpose.storage import below


@dataclass(frozen=True)
class Needed:
    """A data set that the user places: the files it must have (glob patterns below raw/; "a|b" is either), its source
    and licence."""

    key: str
    name: str
    patterns: tuple[str, ...]
    source: str
    licence: str

    def files(self, raw: Path) -> list[Path]:
        """The files that are there, sorted; of "a|b" the first."""
        found: set[Path] = set()
        for pattern in self.patterns:
            found |= next((files for either in pattern.split("|") if (files := set(_matching(raw, either)))), set())
        return sorted(found)

    def absent(self, raw: Path) -> list[str]:
        """What is not there, one entry a pattern: the path, or "path or path"."""
        gone = [p for p in self.patterns if not any(_matching(raw, either) for either in p.split("|"))]
        return [" or ".join(str(raw / either) for either in p.split("|")) for p in gone]


def _matching(raw: Path, pattern: str) -> list[Path]:
    """Files of a pattern, "FOLDER/**/*.SUFFIX" in linked folders too (pathlib follows none): subsets may be links."""
    top, deep, name = pattern.partition("/**/")
    if not deep:
        return list(raw.glob(pattern))
    return [file for file in below(raw / top) if fnmatch(file.name, name)]


NEEDED = (
    Needed(
        "amass",
        "AMASS motion sequences (SMPL-H G)",
        ("amass/**/*.npz",),
        "https://amass.is.tue.mpg.de (register, 'SMPL+H G' of each subset; unpack below data/paper/raw/amass/)",
        "AMASS dataset licence: non-commercial research, no redistribution",
    ),
    Needed(
        "body_models",
        "SMPL-H body models",
        tuple(
            f"body_models/smplh/{gender}/model.npz|body_models/smplh/SMPLH_{gender.upper()}.npz"
            for gender in ("female", "male", "neutral")
        ),
        "https://mano.is.tue.mpg.de (Extended SMPL+H model for AMASS)",
        "SMPL body model licence: non-commercial research, no redistribution",
    ),
    Needed(
        "regressor",
        "Human3.6M joint regressor",
        ("body_models/J_regressor_h36m_correct.npy",),
        "the repository of Pose2Mesh (hongsukchoi/Pose2Mesh_RELEASE), data/Human36M/",
        "MIT; derived from Human3.6M and SMPL",
    ),
    Needed(
        "babel",
        "BABEL labels v1.0",
        tuple(f"babel/{split}.json" for split in ("train", "val", "test", "extra_train", "extra_val")),
        "https://babel.is.tue.mpg.de (register, babel_v1.0_release)",
        "BABEL licence: non-commercial research, no redistribution",
    ),
    Needed(
        "human36m",
        "Human3.6M, MotionBERT's pickle (stacked hourglass detections)",
        ("human36m/h36m_sh_conf_cam_source_final.pkl",),
        "docs/pose3d.md of Walter0807/MotionBERT links it; the data's own licence is at http://vision.imar.ro/human3.6m",
        "Human3.6M licence: academic use, no redistribution",
    ),
    Needed(
        "mpi_inf_3dhp",
        "MPI-INF-3DHP, P-STMO's npz files",
        ("mpi_inf_3dhp/data_train_3dhp.npz", "mpi_inf_3dhp/data_test_3dhp.npz"),
        "README of paTRICK-swk/P-STMO links both; the data's own site is https://vcai.mpi-inf.mpg.de/3dhp-dataset",
        "MPI-INF-3DHP licence: non-commercial research, no redistribution",
    ),
)


def missing(raw: Path) -> list[str]:
    """One entry a data set of which something is missing: which files, where to get them, under which licence."""
    entries = []
    for need in NEEDED:
        if absent := need.absent(raw):
            files = "\n".join(f"      {line}" for line in absent)
            entries.append(f"  {need.name}\n{files}\n    from: {need.source}\n    licence: {need.licence}")
    return entries
