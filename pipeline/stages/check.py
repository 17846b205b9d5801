"""Stage `check` (paper profile): is the licensed data all there? Writes its manifest, or says what is missing."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from langpose.data_sets import NEEDED, missing
from langpose.storage import below, replacing
from pipeline import layout, manifest, params

PROFILE = "paper"


@dataclass(frozen=True)
class CheckConfig:
    """Parameters of the stage."""

    hash_files: bool = True
    """Hash every file (minutes, then remembered by size and time); False trusts size and time alone."""


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
        return {p.relative_to(raw).as_posix(): {"bytes": _stamp(p)[0], "modified_ns": _stamp(p)[1]} for p in below(raw)}
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
