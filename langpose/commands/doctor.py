"""``langpose doctor``: is this installation well? Versions, GPU, caches, known traps."""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

NEEDED = ("torch", "transformers", "safetensors", "numpy", "pandas", "pyarrow")
OPTIONAL = {
    "av": "mp4 and videos: pip install 'langpose[render]'",
    "rerun-sdk": "rerun recordings: pip install 'langpose[rerun]'",
    "dvc": "the pipeline: pip install 'langpose[pipeline]'",
    "prefect": "grids over several workers: pip install 'langpose[cluster]'",
    "mlflow": "runs to browse: pip install 'langpose[cluster]'",
    "smplx": "body models the long way: pip install 'langpose[pipeline]'",
}


@dataclass(frozen=True)
class Note:
    """One thing that was looked at."""

    about: str
    state: Literal["well", "absent", "trouble"]
    said: str


def add(commands: Any) -> None:
    action = commands.add_parser(
        "doctor",
        help="is this installation well? versions, GPU, caches, traps",
        description="Look at versions, GPU, caches and known traps. Exit code 1 where something is in the way.",
    )
    action.add_argument("--json", action="store_true", help="print it as json")
    action.set_defaults(run=run)


def examine() -> list[Note]:
    """All that is looked at."""
    return [_python(), *_packages(), _torch(), _threads(), *_disk(), _model(), _cmu()]


def _python() -> Note:
    good = sys.version_info >= (3, 11)
    said = f"{platform.python_version()} on {platform.platform()}"
    return Note("Python", "well" if good else "trouble", said if good else f"{said}; 3.11 or newer is needed")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> list[Note]:
    notes = []
    for name in NEEDED:
        version = _version(name)
        notes.append(Note(name, "well" if version else "trouble", version or f"missing: pip install {name}"))
    for name, use in OPTIONAL.items():
        version = _version(name)
        notes.append(Note(name, "well" if version else "absent", version or use))
    prefect, fastapi = _version("prefect"), _version("fastapi")
    if prefect and fastapi and prefect.startswith("3.8") and tuple(map(int, fastapi.split(".")[:2])) >= (0, 151):
        notes.append(Note("fastapi", "trouble", f"{fastapi}: prefect {prefect}'s server needs less than 0.151"))
    return notes


def _torch() -> Note:
    try:
        import torch
    except Exception as error:  # a broken installation raises nearly anything
        return Note("device", "trouble", f"torch cannot be imported: {error}")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Note("device", "well", f"{names}; CUDA {torch.version.cuda}")
    if torch.version.cuda and Path("/proc/driver/nvidia").exists():
        return Note("device", "trouble", "there is a GPU driver, and torch sees no GPU; is the driver older than CUDA "
                                         f"{torch.version.cuda}? (nvidia-smi)")  # fmt: skip
    fast = "bfloat16 in hardware" if "amx" in _flags() or "avx512_bf16" in _flags() else "no bfloat16 in hardware"
    return Note("device", "well", f"CPU, {torch.get_num_threads()} threads, {fast}: use fp32 unless it has")


def _flags() -> str:
    try:
        return next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return ""


def _threads() -> Note:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS")
    if wanted and wanted.isdigit() and int(wanted) > cores:
        return Note("threads", "trouble", f"OMP_NUM_THREADS={wanted} on {cores} cores: threads wait for each other")
    return Note("threads", "well", f"{cores} cores" + (f", OMP_NUM_THREADS={wanted}" if wanted else ""))


def _disk() -> list[Note]:
    notes = []
    for about, place in (("here", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        state: Literal["well", "trouble"] = "well" if free > 2**30 else "trouble"
        notes.append(Note(f"disk, {about}", state, f"{free / 2**30:.0f} GiB free in {place}"))
    return notes


def _model() -> Note:
    from langpose.commands.info import shipped

    try:
        from langpose import LangPose

        model = LangPose.from_pretrained(shipped(), text=False)
    except Exception as error:
        return Note("model", "trouble", f"the one that comes with the package does not load: {error}")
    return Note("model", "well", f"{shipped()}: {sum(p.numel() for p in model.parameters()):,} parameters")


def _cmu() -> Note:
    place = os.environ.get("LANGPOSE_CMU")
    if not place:
        return Note("LANGPOSE_CMU", "absent", "not set: profile cmu downloads from CMU's public address")
    there = Path(place).exists()
    return Note("LANGPOSE_CMU", "well" if there else "trouble", place if there else f"{place}: no such file or folder")


def run(arguments: argparse.Namespace) -> int:
    notes = examine()
    if arguments.json:
        print(json.dumps([asdict(note) for note in notes], indent=1))
    else:
        for note in notes:
            print(f"{note.state:8} {note.about:22} {note.said}")
    return int(any(note.state == "trouble" for note in notes))
