"""What a worker does with one cell: restore what it needs, run it, share the result. Knows nothing of Prefect.

    python -m pipeline.worker JOB.json RESULT.json      in the checkout, at the job's commit

A worker has a checkout of its own and shares results through the DVC remote; or, on one machine without a remote, works
in the checkout of whoever handed the cell out.
"""

import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langpose.storage import replacing
from pipeline import dvc_commands, guard, workspace
from pipeline.dvc_commands import ChangedError, DvcError, Log, PreemptedError, TroubleError
from pipeline.graph import Stage
from pipeline.grid import Grid

Entry = Mapping[str, Any]
"""A stage's entry in dvc.lock: its command, and the hashes of its inputs, parameters and outputs."""


@dataclass(frozen=True)
class Job:
    """A cell to run, as it is handed to a worker."""

    cell: str
    """By DVC's name."""
    command: str
    """What DVC would run for it."""
    commit: str
    grid: Grid
    needs: Mapping[str, Entry]
    """What the stages that it needs made, by the lock of whoever made it."""
    expected: Mapping[str, str]
    """Input → hash, of those that it reads of this."""
    axes: Mapping[str, str] = field(default_factory=dict)
    """Its combination: axis → value."""
    checkout: str | None = None
    """Work here; None: in the worker's own, sharing through the remote."""
    host: str = ""
    """The machine that has ``checkout``."""
    grid_id: str = ""
    """`Grid.id` where the cell was handed out."""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "grid": self.grid.to_json(), "needs": dict(self.needs), "expected": dict(self.expected),
                "axes": dict(self.axes)}  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        return cls(**{**values, "grid": Grid.from_json(values["grid"])})


@dataclass(frozen=True)
class Result:
    """What a worker tells of a cell that is done."""

    entry: Entry
    ran: bool
    """False: the cache had it."""
    seconds: float
    machine: str
    scores: dict[str, float] = field(default_factory=dict)
    """The cell's metrics.json, where it has one."""
    run: str = ""
    """Address of its MLflow run, if any."""


def machine() -> str:
    """The host, and the GPU that this process may use."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return platform.node() + (f" GPU {devices}" if devices else "")


def run(job: Job, log: Log) -> Result:
    """Have ``job``'s outputs made or restored, and shared. The current folder is the checkout, prepared for it.

    Raises `TroubleError` (worth another time, or another machine), `PreemptedError` (the cell saved itself), or
    `DvcError`: the cell failed.
    """
    began = time.monotonic()
    own = job.checkout is None
    arguments = ["repro", "--single-item", job.cell]
    try:
        if own:
            dvc_commands.add_to_lock(job.needs)
            dvc_commands.patiently(["pull", *job.needs], log)
            arguments.insert(1, "--pull")
        with dvc_commands.guarded([job.command], job.expected) as environment:
            lines = dvc_commands.patiently(arguments, log, environment)
    except ChangedError:
        if own:
            log(f"dropped from here, to be fetched again: {', '.join(drop_changed(job.expected)) or 'nothing'}")
        raise
    entry = dvc_commands.lock().get(job.cell)
    if entry is None:
        raise DvcError(f"{job.cell}: dvc.lock does not have it after `dvc {' '.join(arguments)}`", lines)
    now = dvc_commands.inputs(entry)
    if wrong := {path: now.get(path) for path, value in job.expected.items() if now.get(path) != value}:
        raise TroubleError(f"{job.cell}: made of other inputs than the grid's: {wrong}, expected {dict(job.expected)}")
    if own:
        dvc_commands.patiently(["push", "--run-cache", job.cell], log)
    ran = any(line.startswith(f"Running stage '{job.cell}'") for line in lines)
    return Result(entry, ran, round(time.monotonic() - began, 1), machine(), scores(dvc_commands.outputs(entry)))


def scores(outputs: Mapping[str, str]) -> dict[str, float]:
    """The numbers in the metrics.json among a cell's outputs."""
    for path in (Path(name) for name in outputs):
        file = path / "metrics.json" if path.is_dir() else path
        if file.name == "metrics.json" and file.exists():
            values = json.loads(file.read_text(encoding="utf-8"))
            return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    return {}


def drop_changed(expected: Mapping[str, str]) -> list[str]:
    """Remove data, here and in DVC's cache on this machine, whose content is not what its hash says.

    A file that was changed in the cache would otherwise be taken from there again. The remote's copy stands.
    """
    from dvc.repo import Repo

    dropped = []
    with Repo() as repo:
        cache = repo.cache.local
        for name, value in expected.items():
            path = workspace.inside(name)
            if guard.hash_of(path) == value:
                continue
            for oid in _objects(cache, value):
                held = Path(cache.oid_to_path(oid))
                if held.exists() and guard.hash_of(held) != oid.removesuffix(".dir"):
                    held.chmod(0o644)
                    held.unlink()
                    dropped.append(f"cache object {oid}")
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


def job(cell: Stage, commit: str, grid: Grid, made: Mapping[str, Entry], checkout: str | None, host: str = "") -> Job:
    """The job for ``cell``; ``made``: the lock entries of all stages so far."""
    needs = {name: made[name] for name in cell.needs if name in made}
    outputs = {path: value for entry in needs.values() for path, value in dvc_commands.outputs(entry).items()}
    expected = {path: value for path, value in outputs.items() if path in cell.reads}
    return Job(cell.name, cell.command, commit, grid, needs, expected, cell.axes, checkout, host, grid.id)


DONE, FAILED, TROUBLE, PREEMPTED = "done", "failed", "trouble", "preempted"
"""How a worker's attempt at a cell ends."""


def main(job_file: str, result_file: str) -> None:
    """Run the job of one file and write how it ended into the other: ``end``, ``message`` and, if done, the result."""
    from pipeline import tracking

    if owner := os.environ.get("LANGPOSE_OWNER"):
        guard.follow(int(owner))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def log(line: str) -> None:
        print(line, flush=True)

    one = Job.from_json(json.loads(Path(job_file).read_text(encoding="utf-8")))
    said: dict[str, Any]
    try:
        with tracking.watch(one, log):
            result = run(one, log)
        said = {"end": DONE, **vars(result), "run": tracking.log_cell(one, result, log)}
    except PreemptedError as error:
        said = {"end": PREEMPTED, "message": str(error)}
    except (TroubleError, workspace.UnfitError, OSError) as error:
        said = {"end": TROUBLE, "message": str(error) or repr(error)}
    except (DvcError, ValueError) as error:
        said = {"end": FAILED, "message": str(error)}
    said["message"] = workspace.without_password(said.get("message", ""))
    with replacing(Path(result_file)) as temporary:
        temporary.write_text(json.dumps(said) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
