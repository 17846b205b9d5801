"""``langpose data check [FOLDER]``: of each licensed data set, is it found, missing or broken.

The pipeline's own readers open the files. Exit code 0: all is found; 1: something is not.
"""

import argparse
import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track

from langpose.body import read_model, read_regressor
from langpose.data_sets import NEEDED, Needed
from langpose.sources import amass, babel, human36m, mpi_inf_3dhp

RAW = Path("data/paper/raw")
PER_SUBSET = 3
"""Recordings of each AMASS subset that are opened (the first, the last, those between evenly), unless all are."""
GENDERS = ("female", "male", "neutral")
SHOWN = 5
"""Broken files of one data set that are named; the others are counted."""


@dataclass(frozen=True)
class Finding:
    """What is known of one data set. ``lines`` is for people: what is there, what is missing, or what is wrong."""

    need: Needed
    status: Literal["found", "missing", "broken"]
    lines: list[str]

    def __str__(self) -> str:
        return "\n".join([f"{self.status:<8} {self.need.name}", *(f"         {line}" for line in self.lines)])


@dataclass
class _Opened:
    """What a reader met: ``lines`` of what is there, ``errors`` of what is not as it should be."""

    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def attempt(self, read: Callable[..., object], *arguments: Any) -> None:
        """Call ``read`` and keep its error. Readers raise OSError or ValueError; whatever else comes, no traceback."""
        try:
            read(*arguments)
        except Exception as error:
            kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
            self.errors.append(kind + " ".join(str(error).split()))


def check(need: Needed, raw: Path, quick: bool = False, every: bool = False) -> Finding:
    """Is this data set below ``raw`` found, missing or broken?

    ``quick`` looks at presence, size and signature alone; otherwise the data set's reader opens it, of AMASS
    `PER_SUBSET` recordings a subset or, with ``every``, all. Raises nothing for a file, whatever is in it.
    """
    files, absent = need.files(raw), need.absent(raw)
    if absent:
        return Finding(need, "missing", [*absent, f"from: {need.source}", f"licence: {need.licence}"])
    opened = _Opened()
    for file in _show(files, f"looking at {need.name}"):
        opened.attempt(_signature, file)
    if not opened.errors:
        size = sum(file.stat().st_size for file in files)
        opened.lines.append(f"{len(files):,} file{'s' * (len(files) > 1)}, {_bytes(size)}")
        if quick:
            opened.lines[0] += "; not opened (--quick)"
        else:
            _READERS[need.key](raw, files, every, opened)
    if opened.errors:
        more = len(opened.errors) - SHOWN
        told = opened.errors[:SHOWN] + ([f"and {more:,} more"] if more > 0 else [])
        return Finding(
            need, "broken", [*opened.lines, *told, f"fix: put a good copy in its place, from: {need.source}"]
        )
    return Finding(need, "found", opened.lines)


def check_all(raw: Path, quick: bool = False, every: bool = False) -> Iterator[Finding]:
    """`check` for every data set; AMASS last: its motion is read with the body models."""
    for need in sorted(NEEDED, key=lambda need: need.key == "amass"):
        yield check(need, raw, quick, every)


def _signature(file: Path) -> None:
    """Raise unless the file is one, has content, and begins and ends as its kind does. Reads next to nothing."""
    if not file.is_file():
        raise ValueError(f"{file}: is a folder; expected a file")
    size = file.stat().st_size
    with file.open("rb") as handle:
        head = handle.read(64)
        handle.seek(max(0, size - 64))
        tail = handle.read().rstrip()
    starts, stop = {
        ".npz": ((b"PK",), b""),
        ".npy": ((b"\x93NUMPY",), b""),
        ".json": ((b"{",), b"}"),
        ".pkl": ((b"\x80", b"(", b"}"), b"."),
    }[file.suffix]
    if not size:
        raise ValueError(f"{file}: is empty; get it again")
    if not head.lstrip().startswith(starts):
        raise ValueError(
            f"{file}: begins with {head[:20]!r}, which no {file.suffix} file does; a web page or a pointer to the file "
            "may have been saved in its place. Get it again"
        )
    if not tail.endswith(stop) or (file.suffix == ".npz" and not zipfile.is_zipfile(file)):
        raise ValueError(f"{file}: has no end of a {file.suffix} file; it is cut off. Get it again")


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


# ---- one reader a data set: (raw folder, files found, open every one, what to fill) --------------------------------


def _body_models(raw: Path, files: list[Path], every: bool, opened: _Opened) -> None:
    models = amass.BodyModels(raw / "body_models")

    def read(file: Path, gender: str) -> None:
        try:
            models.load(gender)  # remembered, for AMASS
        except (OSError, ValueError) as error:
            if str(models.folder / amass.REGRESSOR) not in str(error):
                raise
            read_model(file)  # the regressor is told as a data set of its own

    for file, gender in zip(_show(files, "opening body models"), GENDERS, strict=True):
        opened.attempt(read, file, gender)


def _regressor(raw: Path, files: list[Path], every: bool, opened: _Opened) -> None:
    def read() -> None:
        read_regressor(files[0])
        try:
            amass.BodyModels(raw / "body_models").load("female")  # left and right, on its rest pose
        except (OSError, ValueError) as error:
            if str(files[0]) in str(error):
                raise
            opened.lines.append("left and right were not checked: that takes the female body model")

    opened.attempt(read)


def _amass(raw: Path, files: list[Path], every: bool, opened: _Opened) -> None:
    root, models = raw / "amass", amass.BodyModels(raw / "body_models")
    subsets: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        subsets[amass.sequence_id(file.relative_to(root)).partition("/")[0]].append(file)
    opened.lines[0] += f"; subsets: {', '.join(sorted(subsets))}"
    try:
        for gender in GENDERS:
            models.load(gender)
    except (OSError, ValueError):
        opened.lines.append("not opened: that takes the body models and the joint regressor")
        return
    chosen = [file for group in subsets.values() for file in (group if every else _spread(group))]
    still = 0

    def read(file: Path) -> None:
        nonlocal still
        try:
            amass.read(file, models, root)
        except amass.NoMotionError:
            still += 1

    for file in _show(chosen, "opening AMASS"):
        opened.attempt(read, file)
    opened.lines.append(
        f"opened {len(chosen):,} of them{'' if every else f', up to {PER_SUBSET} a subset (--all opens every one)'}"
    )
    if opened.errors:
        opened.lines.append(
            f"{len(opened.errors):,} of these cannot be used: the stage `project` would skip such recordings and list "
            "them in motions/manifest.csv"
        )
    if still:
        opened.lines.append(f"{still:,} of these hold a body without motion: skipped")
    if still == len(chosen):
        opened.errors.append(f"{root}: none of the files opened holds motion; expected <Subset>/<subject>/*_poses.npz")


def _show(files: list[Path], what: str) -> Iterable[Path]:
    """The files, with a progress bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    return track(files, what, console=console, transient=True, disable=not console.is_terminal)


def _spread(files: list[Path]) -> list[Path]:
    """`PER_SUBSET` of the recordings, evenly: the first, the last, those between; bodies without motion if no other."""
    moving = [file for file in files if file.name != "shape.npz"] or files
    return [moving[i] for i in sorted({round(x) for x in np.linspace(0, len(moving) - 1, PER_SUBSET)})]


def _babel(raw: Path, files: list[Path], every: bool, opened: _Opened) -> None:
    def read() -> None:
        report = babel.read(raw / "babel").attrs["report"]
        for name, sequences in report["sequences"].items():
            opened.lines.append(f"{name}.json: {sequences:,} sequences, {report['labels'][name]:,} labels with a text")

    opened.attempt(read)


def _human36m(raw: Path, files: list[Path], every: bool, opened: _Opened) -> None:
    def read() -> None:
        with Console(stderr=True).status("opening Human3.6M; all of it is checked"):
            data = human36m.read(files[0])
        for split, table in data.counts().groupby("split", sort=False):
            subjects = ", ".join(map(str, sorted(set(table["subject"]))))
            opened.lines.append(f"{split}: {table['frames'].sum():,} frames of subjects {subjects}")
        opened.lines.extend(f"note: {note}" for note in data.notes)

    opened.attempt(read)


def _mpi_inf_3dhp(raw: Path, files: list[Path], every: bool, opened: _Opened) -> None:
    def count(file: Path) -> None:
        takes = (mpi_inf_3dhp.read_train if file.name == mpi_inf_3dhp.TRAIN_FILE else mpi_inf_3dhp.read_test)(file)
        names, frames = len({take.sequence for take in takes}), sum(len(take.valid) for take in takes)
        valid = sum(int(take.valid.sum()) for take in takes)
        scored = f", {valid:,} of them valid" if file.name == mpi_inf_3dhp.TEST_FILE else ""
        opened.lines.append(f"{file.name}: {names} sequences, {len(takes)} takes, {frames:,} frames{scored}")

    for file in _show(files, "opening MPI-INF-3DHP"):
        opened.attempt(count, file)


_READERS: dict[str, Callable[[Path, list[Path], bool, _Opened], None]] = {
    "amass": _amass,
    "body_models": _body_models,
    "regressor": _regressor,
    "babel": _babel,
    "human36m": _human36m,
    "mpi_inf_3dhp": _mpi_inf_3dhp,
}


# ---- the command ----------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """``langpose data check``."""
    data = commands.add_parser("data", help="the licensed data sets", description="The licensed data sets.")
    actions = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    action = actions.add_parser(
        "check",
        help="say of each data set: found, missing or broken",
        description="Say of each data set of the paper: found, missing or broken, and what to do. Files are opened "
        f"with the pipeline's readers; of AMASS {PER_SUBSET} recordings a subset. Exit code 0 only if all is found.",
    )
    action.add_argument("folder", type=Path, nargs="?", default=RAW, metavar="FOLDER", help=f"default: {RAW}")
    depth = action.add_mutually_exclusive_group()
    depth.add_argument(
        "--quick", action="store_true", help="open nothing: presence, size, and how each file begins and ends"
    )
    depth.add_argument("--all", action="store_true", help="open every AMASS recording")
    action.add_argument("--json", action="store_true", help="print the findings as json")
    action.set_defaults(run=_data_check)


def _data_check(arguments: argparse.Namespace) -> int:
    found, told = 0, []
    for finding in check_all(arguments.folder, arguments.quick, arguments.all):
        told.append({"data set": finding.need.name, "status": finding.status, "lines": finding.lines})
        if not arguments.json:
            print(finding, flush=True)
        found += finding.status == "found"
    if arguments.json:
        print(json.dumps(told, indent=2))
        return int(found < len(NEEDED))
    print(f"\n{found} of {len(NEEDED)} data sets found below {arguments.folder}; docs/data.md says more of each.")
    if found < len(NEEDED):
        print(
            "Without the licences: `make repro PROFILE=cmu` runs the same pipeline on freely licensed motion capture."
        )
    return int(found < len(NEEDED))
