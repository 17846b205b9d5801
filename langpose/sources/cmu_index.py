"""CMU's list of trials: what each shows and how many frames a second it has. Neither is in the motion files.

Two forms are in circulation: ``cmu-mocap-index.csv`` (subject, trial, description, fps) and the tab-separated
``cmu-mocap-index-text.txt`` (B. Hahne's compilation, in una-dinosauria/cmu-mocap on GitHub), which has no rates.
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

INDEX_NAMES = ("index.csv", "cmu-mocap-index.csv", "cmu-mocap-index-text.txt")
COLUMNS = ("subject", "trial", "description", "fps")

RECORDED_AT_60_HZ = frozenset({33, 34, 42, 60, 61, 62, 74, 75, 77, 79, 80, 87, 88, 89})
"""Subjects recorded at 60 Hz; all other trials are at 120 Hz, but for 136_19 (60). From the fps column of the csv
form (2109 trials at 120 Hz, 326 at 60); used for the text form alone."""


class Entry(NamedTuple):
    """One trial of the index. ``rate_hz`` is None where the index leaves it out."""

    description: str
    rate_hz: float | None


def trial_name(subject: int, trial: int) -> str:
    """CMU's name of a trial: 2, 1 -> "02_01"."""
    return f"{subject:02d}_{trial:02d}"


def read(path: str | Path) -> dict[str, Entry]:
    """Read either form: trial name -> description and rate. Raises ``ValueError`` naming file and line."""
    path = Path(path)
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    first = text.lstrip().partition("\n")[0].strip()
    entries = _read_csv(path, text) if "," in first and "subject" in first.lower() else _read_text(text)
    if not entries:
        raise ValueError(
            f"{path}: no trials found; expected a csv with the columns {', '.join(COLUMNS)}, "
            "or lines like '02_01<tab>walk'"
        )
    return entries


def _read_csv(path: Path, text: str) -> dict[str, Entry]:
    reader = csv.DictReader(text.splitlines())
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise ValueError(f"{path}: expected columns {', '.join(COLUMNS)}, found {', '.join(reader.fieldnames or ())}")
    entries = {}
    for row in reader:
        try:
            name = trial_name(int(row["subject"]), int(row["trial"]))
            rate = float(row["fps"]) if row["fps"] else None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}") from error
        entries[name] = Entry((row["description"] or "").strip(), rate)
    return entries


def _read_text(text: str) -> dict[str, Entry]:
    entries = {}
    for match in re.finditer(r"^(\d+)_(\d+)\t(.*)$", text, re.MULTILINE):
        subject, trial, description = int(match[1]), int(match[2]), match[3].strip()
        slow = subject in RECORDED_AT_60_HZ or (subject, trial) == (136, 19)
        description = "" if description.lower() == "unknown" else description
        entries[trial_name(subject, trial)] = Entry(description, 60.0 if slow else 120.0)
    return entries


def write(path: str | Path, entries: dict[str, Entry]) -> None:
    """Write the csv form, sorted by subject and trial."""
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for (subject, trial), entry in sorted((tuple(map(int, k.split("_"))), v) for k, v in entries.items()):
            rate = "" if entry.rate_hz is None else f"{entry.rate_hz:g}"
            writer.writerow([subject, trial, entry.description, rate])
