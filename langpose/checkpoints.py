"""Checkpoints of a running training: whole or absent, checked by hash, without pickles.

A checkpoint is one safetensors file (tensors, and a json record in its header). ``latest.json`` points at the last two,
newest first, each with its SHA-256, and is written after the file it names: a power cut between any two writes leaves
the previous checkpoint in force.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from langpose.storage import replacing, sha256

POINTER = "latest.json"
KEPT = 2


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged and was passed over."""


def fingerprint(parameters: Mapping[str, Any], inputs: Sequence[Path] = ()) -> str:
    """Hash of a training's parameters and of its input files' content: what its checkpoints are valid for.

    Folders among ``inputs`` count with all their files. Names are hashed relative to the input they belong to.
    """
    digest = new_sha256(json.dumps(parameters, sort_keys=True, default=str).encode())
    for path in inputs:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        if not files or not path.exists():
            raise FileNotFoundError(f"{path}: an input of the training is missing or empty")
        for file in files:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            digest.update(f"{name} {sha256(file)}\n".encode())
    return digest.hexdigest()


def save(folder: Path, step: int, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """Write a checkpoint of ``step`` and make it the latest; the one before stays, older ones go."""
    name = f"step-{step:09d}.safetensors"
    with replacing(folder / name) as temporary:
        flat = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(flat, temporary, metadata={"record": json.dumps(record)})
    known = [entry for entry in _pointer(folder) if entry["file"] != name]
    entries = [{"file": name, "sha256": sha256(folder / name)}, *known][:KEPT]
    with replacing(folder / POINTER) as temporary:
        temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    kept = {entry["file"] for entry in entries}
    for file in folder.glob("step-*.safetensors"):
        if file.name not in kept:
            file.unlink()


def load(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, as (tensors, record), or None where there is none.

    A checkpoint that is missing, truncated or changed is named in a `CheckpointWarning` and the one before is taken.
    """
    for entry in _pointer(folder):
        path = folder / entry["file"]
        try:
            if sha256(path) != entry["sha256"]:
                raise ValueError("its content is not what was written")
            with safe_open(path, framework="pt") as handle:
                tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
                return tensors, json.loads(handle.metadata()["record"])
        except (OSError, ValueError, SafetensorError) as error:
            warnings.warn(
                f"checkpoint {path} is damaged ({error}); using the one before it", CheckpointWarning, stacklevel=2
            )
    return None


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
