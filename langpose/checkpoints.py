"""Checkpoints of a running training: whole or absent, checked by hash, without pickles.

A checkpoint is one safetensors file (tensors, and a json record in its header). ``latest.json`` points at the last two,
newest first, each with its SHA-256, and is written after the file it names: a power cut between any two writes leaves
the previous checkpoint in force.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from langpose.storage import replacing, sha256

POINTER = "latest.json"
KEPT = 2

CODE = (
    "cameras.py", "checkpoints.py", "clips.py", "corruption.py", "detector.py", "detector_noise.npz", "devices.py",
    "distributed.py", "lifting_sets.py", "losses.py", "memory.py", "model", "sampling.py", "skeleton.py", "tasks.py",
    "training.py", "windows.py",
)  # fmt: skip
"""The parts of this package that decide what a training gives, and that `made_of` therefore names. Parts that only
fill parameters, or read and write files, are left out: what they make is hashed itself."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged and was passed over."""


def made_of(parameters: Mapping[str, Any], inputs: Sequence[Path] = ()) -> dict[str, str]:
    """What a training's checkpoints are valid for, by name: its parameters, its inputs' content and the code (`CODE`).

    Folders among ``inputs`` count with all their files, by their names in them, wherever they lie. Without the code, a
    run after a correction of it would be given the weights that the faulty code had finished.
    """
    found = dict(_flat(parameters))
    for number, path in enumerate(inputs, 1):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        if not files or not path.exists():
            raise FileNotFoundError(f"{path}: an input of the training is missing or empty")
        for file in files:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            found[f"input {number} {name}"] = sha256(file)
    return found | {f"code {name}": digest for name, digest in code_files(Path(__file__).parent).items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, sort_keys=True, default=str)


def fingerprint(made: Mapping[str, str]) -> str:
    """Hash of `made_of`'s answer."""
    return new_sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs between two of `made_of`'s answers, for people; the first ten."""
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]

    def told(name: str) -> str:
        if name.startswith(("input ", "code ")):
            return name
        return f"{name} ({before.get(name, 'absent')}, now {now.get(name, 'absent')})"

    return ", ".join(map(told, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def code_files(package: Path) -> dict[str, str]:
    """SHA-256 of each file of ``package`` that `CODE` names; of folders, of their Python files."""
    paths = [package / part for part in CODE]
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return {file.relative_to(package).as_posix(): sha256(file) for file in files}


def save(
    folder: Path, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any], keep_previous: bool = True
) -> None:
    """Write a checkpoint of ``step`` and make it the latest; the one before stays, older ones go.

    ``keep_previous`` False: all others go, once this one is in force (a finished run needs no other).
    """
    known = _pointer(folder)
    taken = {entry["file"] for entry in known}  # a second checkpoint of a step must not replace a file in force
    name = next(n for mark in ("", "b", "c") if (n := f"step-{step:09d}{mark}.safetensors") not in taken)
    with replacing(folder / name) as temporary:
        flat = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(flat, temporary, metadata={"record": json.dumps(record)})
    entries = [{"file": name, "sha256": sha256(folder / name)}, *known][: KEPT if keep_previous else 1]
    with replacing(folder / POINTER) as temporary:
        temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    tidy(folder)


def tidy(folder: Path) -> None:
    """Remove what no checkpoint in force is made of: older ones, and what a run left that was killed while it wrote."""
    kept = {entry["file"] for entry in _pointer(folder)}
    # replacing() writes under .NAME.PID.tmp, and safetensors, to write that, under .tmpXXXXXX
    for file in (*folder.glob("step-*.safetensors"), *folder.glob(".*.tmp"), *folder.glob(".tmp*")):
        if file.name not in kept:
            file.unlink()


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, as (tensors, record), or None where there is none.

    A checkpoint that is missing, truncated or changed is named in a `CheckpointWarning` and the one before is taken.
    """
    entries = _pointer(folder)
    for place, entry in enumerate(entries):
        path = folder / entry["file"]
        try:
            if sha256(path) != entry["sha256"]:
                raise ValueError("its content is not what was written")
            with safe_open(path, framework="pt") as handle:
                tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
                return tensors, json.loads(handle.metadata()["record"])
        except (OSError, ValueError, SafetensorError) as error:
            last = place + 1 == len(entries)
            then = "there is no other: starting from the beginning" if last else "using the one before it"
            warnings.warn(f"checkpoint {path} is damaged ({error}); {then}", CheckpointWarning, stacklevel=2)
    return None


def newest(folder: Path) -> str | None:
    """Name of the newest checkpoint's file, if there is one."""
    entries = _pointer(folder)
    return entries[0]["file"] if entries else None


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with ``prefix``, under the rest of their name."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as tensors, named by the index of the parameter they belong to."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`, into an optimiser over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _pointer(folder: Path) -> list[dict[str, str]]:
    path = folder / POINTER
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [{"file": Path(entry["file"]).name, "sha256": str(entry["sha256"])} for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{path} is damaged ({error}); starting without checkpoints", CheckpointWarning, stacklevel=3)
        return []
