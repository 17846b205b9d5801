"""``python -m pipeline.bare PROFILE``: a profile's cells without DVC, several at a time, on a machine that has none.

    python -m pipeline.bare cmu --jobs 2               what lies between the data and the report, each cell once
    python -m pipeline.bare cmu --minutes 9            stops by then and saves; the same command goes on (exit code 75)

Its data must lie there (data/<profile>: motions, views, pairs.parquet, lifting), its axes are the profile's own. A cell
is done when its last file is there. Where DVC is, ``dvc commit -f dvc.yaml`` then makes models/ and results/ outputs
of the cells that params.yaml lists (and takes the report that lies there for theirs: ``dvc repro -s -f report@PROFILE``
writes it anew). work/bare/<profile>.json keeps which machine ran what, and for how long.

Finished cells know nothing of parameters that changed since; so those of other parameters or code are refused, until
they are removed or ``--keep`` says that they hold nevertheless.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langpose import checkpoints
from langpose.storage import replacing
from langpose.training import PREEMPTED
from pipeline import layout, params
from pipeline.axes import Axes

LOGS = Path("work") / "bare"


@dataclass(frozen=True)
class Cell:
    """One stage of one combination of the axes."""

    stage: str
    arguments: tuple[str, ...]
    done: Path
    """The last file, or the folder, that it writes."""
    needs: tuple[Path, ...] = ()
    """What earlier cells write for it."""

    @property
    def name(self) -> str:
        return "-".join((self.stage, *self.arguments[1:]))


def cells(profile: str, axes: Axes) -> Iterator[Cell]:
    """Every cell in an order that can be run: bases first, as all waits for them; a seed before the next one's."""
    for dataset in axes.datasets:
        yield Cell("visibility", (profile, dataset), layout.visible(profile, dataset))
    for seed in axes.all_seeds:
        yield Cell("base", (profile, str(seed)), layout.base(profile, seed))
    for seed in axes.all_seeds:
        base = layout.base(profile, seed)
        for variant in (name for name in axes.variants if seed in axes.pretrained(name)):
            start = layout.pretrained(profile, variant, seed)
            yield Cell("pretrain", (profile, variant, str(seed)), start, (base,))
            for few, datasets in ((False, axes.datasets), (True, axes.few)):
                for dataset in (name for name in datasets if seed in axes.finetuned(name, variant, few)):
                    own, suffix = (profile, dataset, variant, str(seed)), "_few" if few else ""
                    tuned = layout.finetuned(profile, dataset, variant, seed, few)
                    scored = layout.evaluated(profile, dataset, variant, seed, few)
                    yield Cell(f"finetune{suffix}", own, tuned, (start,))
                    yield Cell(f"evaluate{suffix}", own, scored / "metrics.json", (tuned,))
            for stage, place in (("embed", layout.embedded), ("complete", layout.completed)):
                folder = place(profile, variant, seed)
                yield Cell(stage, (profile, variant, str(seed)), folder / "metrics.json", (start,))


def made_of(profile: str) -> str:
    """The hash of the profile's parameters and of all code that a cell may run."""
    code = [file for package in ("langpose", "pipeline") for file in sorted(Path(package).rglob("*.py"))]
    return checkpoints.fingerprint(checkpoints.made_of(params.load(profile), code))


def command(cell: Cell) -> list[str]:
    """How a cell is run."""
    return [sys.executable, "-m", f"pipeline.stages.{cell.stage}", *cell.arguments]


def machine() -> dict[str, str]:
    """What the figures of this run were computed with."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"device": device, "torch": torch.__version__, "python": platform.python_version(),
            "system": platform.system(), "command": " ".join(["python -m pipeline.bare", *sys.argv[1:]])}  # fmt: skip


class Runner:
    """Runs cells as soon as what they need is there, at most ``jobs`` at a time, and remembers it in a file."""

    def __init__(self, profile: str, jobs: int, stop_at: float) -> None:
        self.jobs, self.stop_at = jobs, stop_at
        self.record = LOGS / f"{profile}.json"
        self.known: dict[str, Any] = json.loads(self.record.read_text()) if self.record.exists() else {}
        self.running: dict[subprocess.Popen[bytes], tuple[Cell, float]] = {}
        self.failed: list[Cell] = []
        threads = max(1, (os.cpu_count() or 1) // jobs)
        self.environment = {"OMP_NUM_THREADS": str(threads), **os.environ}

    def same_as_before(self, profile: str, keep: bool) -> None:
        """End the program where finished cells were made of something else."""
        made = made_of(profile)
        if not keep and self.known.get("made_of", made) != made:
            sys.exit(
                f"{self.record}: cells of '{profile}' that lie here were made by other parameters or code. Remove "
                f"models/{profile} and results/{profile}, or pass --keep if what changed does not concern them"
            )
        self.known["made_of"] = made
        self.known.setdefault("machines", [])
        if (here := machine()) not in self.known["machines"]:
            self.known["machines"].append(here)
        self._save()

    def run(self, todo: Sequence[Cell]) -> int:
        """The exit code: 0 all done, 75 stopped in time, 1 where a cell failed."""
        waiting, total = [cell for cell in todo if not cell.done.exists()], len(todo)
        print(f"{total - len(waiting)} of {total} cells are there", flush=True)
        try:
            while (waiting or self.running) and time.monotonic() < self.stop_at:
                ready = [cell for cell in waiting if all(place.exists() for place in cell.needs)]
                if not ready and not self.running:
                    break  # what is left needs a cell that failed
                for cell in ready[: self.jobs - len(self.running)]:
                    waiting.remove(cell)
                    self._start(cell)
                time.sleep(0.1)
                self._collect(total - len(waiting) - len(self.running), total)
        finally:
            unfinished = bool(self.running)
            for process in self.running:
                process.send_signal(signal.SIGTERM)
            for process in list(self.running):
                process.wait()
            self._collect(total - len(waiting), total)
        if self.failed:
            print(f"{len(self.failed)} failed, {len(waiting)} were not begun", file=sys.stderr)
            return 1
        return PREEMPTED if waiting or unfinished else 0

    def _start(self, cell: Cell) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        with open(LOGS / f"{cell.name}.log", "ab") as log:
            process = subprocess.Popen(command(cell), stdout=log, stderr=log, env=self.environment)
        self.running[process] = cell, time.monotonic()

    def _collect(self, done: int, total: int) -> None:
        for process in [p for p in self.running if p.poll() is not None]:
            cell, began = self.running.pop(process)
            seconds = round(time.monotonic() - began, 1)
            took = self.known.setdefault("seconds", {})
            took[cell.name] = round(took.get(cell.name, 0) + seconds, 1)
            self._save()
            if process.returncode in (PREEMPTED, -signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGINT):
                print(f"{cell.name}: saved after {seconds} s", flush=True)
            elif process.returncode or not cell.done.exists():
                self.failed.append(cell)
                print(f"{cell.name}: failed ({process.returncode}), see {LOGS / f'{cell.name}.log'}", file=sys.stderr)
            else:
                print(f"[{done}/{total}] {cell.name}: {seconds} s", flush=True)

    def _save(self) -> None:
        with replacing(self.record) as temporary:
            temporary.write_text(json.dumps(self.known, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("profile")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time; each has its share of the cores")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop by then; trainings save and go on later"
    )
    parser.add_argument("--keep", action="store_true", help="finished cells hold although parameters or code changed")
    options = parser.parse_args(arguments)
    if options.jobs < 1 or not options.minutes > 0:
        parser.error(f"--jobs {options.jobs} --minutes {options.minutes}; expected at least 1, and more than 0")
    axes = params.section(options.profile, "axes", Axes)
    needed = [layout.data(options.profile) / name for name in ("motions", "views", "pairs.parquet")]
    needed += [layout.lifting(options.profile, dataset) for dataset in axes.datasets]
    if absent := [str(place) for place in needed if not place.exists()]:
        sys.exit(f"the data of '{options.profile}' is not there: {', '.join(absent)}; run its data stages where DVC is")
    runner = Runner(options.profile, options.jobs, time.monotonic() + 60 * options.minutes)
    runner.same_as_before(options.profile, options.keep)
    try:
        return runner.run(list(cells(options.profile, axes)))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
