"""The manifest of a profile's raw data: every file's path, size and SHA-256. Later stages depend on it alone."""

import json
from pathlib import Path

from rich.console import Console
from rich.progress import track

from langpose.storage import below, replacing, sha256


def write(folder: Path, path: Path, known: dict[str, dict] | None = None) -> None:
    """List every file below ``folder`` in ``path`` (json), sorted; ``known`` gives entries that need no hashing."""
    files = sorted(p for p in below(folder) if not p.name.startswith("."))
    entries = {}
    for file in track(files, description="hashing raw files", transient=True, console=Console(stderr=True)):
        name = file.relative_to(folder).as_posix()
        entry = (known or {}).get(name)
        entries[name] = entry or {"bytes": file.stat().st_size, "sha256": sha256(file)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"files": entries}, indent=0) + "\n", encoding="utf-8")


def digest(path: Path) -> str:
    """A short name of the raw data: the first 12 characters of the manifest's SHA-256."""
    return sha256(path)[:12]
