"""What a worker does with one cell: restore what it needs, run it, share the result. Knows nothing of Prefect.

A worker has a checkout of its own and shares results through the DVC remote; or, on one machine without a remote, works
in the checkout of whoever handed the cell out.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import dvc_commands, workspace
from pipeline.dvc_commands import ChangedError, DvcError, Log, RefusedError, TroubleError
from pipeline.graph import Stage
from pipeline.grid import Grid


@dataclass(frozen=True)
class Job:
    """A cell to run, as it is handed to a worker."""

    cell: str
    """By DVC's name."""
    command: str
    """What DVC would run for it."""
    commit: str
    grid: Grid
    expected: Mapping[str, str]
    """Input → hash, of what other stages made for it."""
    checkout: str | None = None
    """Work here; None: in the worker's own, sharing through the remote."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "grid": self.grid.to_json(), "expected": dict(self.expected)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        return cls(**{**values, "grid": Grid.from_json(values["grid"])})


@dataclass(frozen=True)
class Result:
    """What a worker tells of a cell that is done."""

    outputs: dict[str, str]
    """Path → DVC's hash."""
    ran: bool
    """False: the cache had it."""
    seconds: float
    machine: str
    scores: dict[str, float]
    """The cell's metrics.json, where it has one."""


def machine() -> str:
    """The host, and the GPU that this process may use."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return platform.node() + (f" GPU {devices}" if devices else "")


def run(job: Job, log: Log) -> Result:
    """Have ``job``'s outputs made or restored, and shared. The current folder is the checkout.

    Raises `workspace.UnfitError` (the checkout may not be used), `TroubleError` (worth another time, or another
    machine), `PreemptedError` (the cell saved itself), or `DvcError`: the cell failed.
    """
    began = time.monotonic()
    own = job.checkout is None
    if own:
        workspace.prepare(job.commit, job.grid)
    elif workspace.commit() != job.commit:
        raise workspace.UnfitError(
            f"{Path.cwd()} is at commit {workspace.commit()[:12]}, the grid was begun at {job.commit[:12]}; begin it "
            "again"
        )
    # in a shared checkout the cells' inputs are there already, and other cells run beside this one
    arguments = ["repro", "--pull", job.cell] if own else ["repro", "--single-item", job.cell]
    try:
        with dvc_commands.guarded([job.command], job.expected) as environment:
            lines = dvc_commands.patiently(arguments, log, environment)
    except ChangedError:
        if not own:
            raise
        log(f"dropped from here, to be fetched again: {', '.join(drop_changed(job.expected)) or 'nothing'}")
        raise
    except RefusedError as error:
        raise TroubleError(
            f"{job.cell}: what it needs is not in the DVC remote, where whoever made it should have put it ({error})",
            error.lines,
        ) from error
    entry = dvc_commands.lock().get(job.cell)
    if entry is None:
        raise DvcError(f"{job.cell}: dvc.lock does not have it after `dvc {' '.join(arguments)}`", lines)
    now = dvc_commands.inputs(entry)
    if wrong := {path: now.get(path) for path, value in job.expected.items() if now.get(path) != value}:
        raise TroubleError(f"{job.cell}: made of other inputs than the grid's: {wrong}, expected {dict(job.expected)}")
    if own:
        dvc_commands.patiently(["push", "--run-cache", job.cell], log)
    outputs = dvc_commands.outputs(entry)
    ran = any(line.startswith(f"Running stage '{job.cell}'") for line in lines)
    return Result(outputs, ran, round(time.monotonic() - began, 1), machine(), scores(outputs))


def scores(outputs: Mapping[str, str]) -> dict[str, float]:
    """The numbers in the metrics.json among a cell's outputs."""
    for path in (Path(name) for name in outputs):
        file = path / "metrics.json" if path.is_dir() else path
        if file.name == "metrics.json" and file.exists():
            values = json.loads(file.read_text(encoding="utf-8"))
            return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    return {}


def drop_changed(expected: Mapping[str, str]) -> list[str]:
    """Remove inputs, here and in DVC's cache on this machine, whose content is not what their hash says.

    A file that was changed in the cache would otherwise be taken from there again. The remote's copy stands.
    """
    from dvc.repo import Repo

    from pipeline import guard

    dropped = []
    with Repo() as repo:
        cache = repo.cache.local
        for name, value in expected.items():
            if guard.hash_of(Path(name)) == value:
                continue
            for oid in _objects(cache, value):
                held = Path(cache.oid_to_path(oid))
                if held.exists() and guard.hash_of(held) != oid.removesuffix(".dir"):
                    held.chmod(0o644)
                    held.unlink()
                    dropped.append(f"cache object {oid}")
            path = Path(name)
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
            dropped.append(name)
    return dropped


def _objects(cache: Any, oid: str) -> list[str]:
    """A cached object and, of a folder, its files."""
    if not oid.endswith(".dir"):
        return [oid]
    listing = Path(cache.oid_to_path(oid))
    try:
        return [oid, *(entry["md5"] for entry in json.loads(listing.read_text(encoding="utf-8")))]
    except (OSError, ValueError):
        return [oid]


def job(cell: Stage, commit: str, grid: Grid, made: Mapping[str, str], checkout: str | None) -> Job:
    """The job for ``cell``; ``made``: path → hash of all outputs so far."""
    expected = {path: made[path] for path in cell.reads if path in made}
    return Job(cell.name, cell.command, commit, grid, expected, checkout)
