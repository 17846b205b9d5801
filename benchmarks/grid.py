"""What handing a grid out costs: one worker beside two, the scheduler's own time, and a cell's way there and back.

    .venv/bin/python benchmarks/grid.py [--only scaling|scheduler|overhead] [--seconds 120] [--json FILE]

scaling: the demo's grid with cells that sleep (the true dvc.yaml, two seeds of a variant: 12 cells), on two workers and
then on one, each in a clone of its own, through Prefect's server and a DVC remote; ratio: one worker's time over two's.
A cell's start and end are work of processors, so each grid has the machine to itself (41 minutes in all).
scheduler: CPU time a cell of the scheduler with 64 simulated workers, for grids of 50 to 500 cells.
overhead: of cells that do nothing, from handing out to the stage's beginning, and from its end to "done" in the table
(which is written every ten seconds at most).
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine, save

from pipeline.graph import Stage
from pipeline.scheduler import Patience, Report, State, run
from tests.grid_services import Services

NARROW = {"variants": ["baseline", "mmm_map"], "datasets": ["human36m"], "seeds": [0]}
SEEDS = {"variants": ["mmm_map"], "datasets": ["human36m"], "seeds": [0, 1]}


def grid_seconds(base: Path, workers: int, sleep_s: float) -> float:
    """Wall time of the grid on so many workers, from the command to its end; its services are closed then."""
    services = Services(base, SEEDS, sleep_s=sleep_s, mlflow=False)
    try:
        services.start_all(workers)
        began = time.monotonic()
        state = services.wait(services.begin(), seconds=100 * sleep_s + 3600)
        assert state.startswith("COMPLETED"), state
        return time.monotonic() - began
    finally:
        services.close()


def scaling(sleep_s: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        two, one = (grid_seconds(Path(folder) / str(number), number, sleep_s) for number in (2, 1))
    print(f"12 cells that sleep {sleep_s:.0f} s: one worker {one:.0f} s, two {two:.0f} s")
    print(f"ratio: {one / two:.2f}")
    return {"one_s": one, "two_s": two, "ratio": one / two}


def scheduler() -> dict[str, float]:
    """CPU milliseconds a cell."""

    class Workers:
        """Each cell takes a few looks; 64 at a time."""

        def __init__(self) -> None:
            self.looks: dict[str, int] = {}

        async def submit(self, cell: Stage, attempt: int, delay_s: float) -> str:
            self.looks[cell.name] = 0
            return cell.name

        async def look(self, handles: Any) -> dict[str, Report]:
            found = {}
            for handle in list(handles)[:64]:
                self.looks[handle] += 1
                found[handle] = Report(State.DONE if self.looks[handle] > 3 else State.RUNNING)
            return found

    results = {}
    for number in (50, 100, 200, 500):
        cells = {}
        for variant in range(number // 5):
            before: tuple[str, ...] = ()
            for kind in ("pretrain", "finetune", "evaluate", "embed", "complete"):
                name = f"{kind}{variant}"
                cells[name] = Stage(name, "", before, (), {"seed": "0"})
                before = (f"pretrain{variant}",) if kind != "finetune" else (f"finetune{variant}",)
        times = []
        for _ in range(5):
            began = time.process_time()
            asyncio.run(run(cells, Workers(), patience=Patience(poll_s=0.0)))
            times.append(1000 * (time.process_time() - began) / len(cells))
        results[str(number)] = statistics.median(times)
        print(f"{number:4} cells, 64 workers: {results[str(number)]:.3f} ms a cell")
    return results


def overhead() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        services = Services(Path(folder) / "base", NARROW, sleep_s=0.0, mlflow=True)
        try:
            services.start_all(workers=1)
            grid = services.begin()
            assert services.wait(grid).startswith("COMPLETED")
            runs = services.ask("flow_runs", limit=200)
            tables = services.ask("artifacts", artifacts={"flow_run_id": {"any_": [grid]}, "type": {"any_": ["table"]}})
            shown: dict[str, float] = {}  # cell -> when the live table first said "done" of it
            for table in sorted(tables, key=lambda one: one["created"]):
                for row in json.loads(table["data"]):
                    if row["state"] == "done":
                        shown.setdefault(row["cell"], _seconds(table["created"]))
            stamps = {}
            for line in services.runs.read_text().splitlines():
                word, *name, _pid, stamp = line.split()
                stamps[word, " ".join(name)] = float(stamp)
            parts: dict[str, list[float]] = {
                "to_the_run_s": [], "to_the_stage_s": [], "from_the_stage_s": [], "to_the_table_s": [],
            }  # fmt: skip
            for one in runs:
                kind, _, rest = one["name"].partition("@")
                cell = f"{kind} {rest.replace('-', ' ')}"
                if ("begin", cell) in stamps:
                    created, start, end = (_seconds(one[key]) for key in ("created", "start_time", "end_time"))
                    parts["to_the_run_s"].append(start - created)
                    parts["to_the_stage_s"].append(stamps["begin", cell] - start)
                    parts["from_the_stage_s"].append(end - stamps["end", cell])
                    parts["to_the_table_s"].append(shown[one["name"]] - end)
        finally:
            services.close()
    found = {name: statistics.median(values) for name, values in parts.items()}
    found["to_the_run_s"] = min(parts["to_the_run_s"])  # by a worker that is free: the others wait for it
    print(
        f"of {len(parts['to_the_run_s'])} cells: {found['to_the_run_s']:.1f} s from handing out to the run's start "
        f"where the worker is free; medians: {found['to_the_stage_s']:.1f} s on to the stage's, "
        f"{found['from_the_stage_s']:.1f} s from the stage's end to the run's, "
        f"{found['to_the_table_s']:.1f} s until the table says so"
    )
    return found


def _seconds(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", choices=("scaling", "scheduler", "overhead"))
    parser.add_argument("--seconds", type=float, default=120.0, help="that a cell sleeps")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(machine(None, "no arithmetic"))
    parts = {"scheduler": scheduler, "overhead": overhead, "scaling": lambda: scaling(options.seconds)}
    found = {name: part() for name, part in parts.items() if options.only in (None, name)}
    save(options.json, found)


if __name__ == "__main__":
    main()
