"""What handing a grid out costs: one worker beside two, the scheduler's own time, and a cell's way there and back.

    .venv/bin/python benchmarks/grid.py [--only scaling|scheduler|overhead] [--seconds 60] [--json FILE]

scaling: the demo's grid with cells that sleep (the true dvc.yaml, two seeds and two variants: 22 cells), on one worker
and on two, each in a clone of its own, through Prefect's server and a DVC remote; ratio: one worker's time over two's.
scheduler: CPU time a cell of the scheduler with 64 simulated workers, for grids of 50 to 500 cells.
overhead: of cells that do nothing, from handing out to the stage's beginning, and from its end to "done" in the table.
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

WIDE = {"variants": ["baseline", "mmm_map"], "datasets": ["human36m"], "seeds": [0, 1]}


def grid_seconds(base: Path, workers: int, sleep_s: float) -> tuple[float, Services]:
    """Wall time of the grid on so many workers, from the command to its end; the services are closed."""
    services = Services(base, WIDE, sleep_s=sleep_s, mlflow=False)
    try:
        services.start_all(workers)
        began = time.monotonic()
        state = services.wait(services.begin(), seconds=100 * sleep_s + 3600)
        assert state.startswith("COMPLETED"), state
        return time.monotonic() - began, services
    finally:
        services.close()


def scaling(sleep_s: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        seconds = {number: grid_seconds(Path(folder) / str(number), number, sleep_s)[0] for number in (1, 2)}
    print(f"22 cells that sleep {sleep_s:.0f} s: one worker {seconds[1]:.0f} s, two {seconds[2]:.0f} s")
    print(f"ratio: {seconds[1] / seconds[2]:.2f}")
    return {"one_s": seconds[1], "two_s": seconds[2], "ratio": seconds[1] / seconds[2]}


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
        services = Services(Path(folder) / "base", WIDE, sleep_s=0.0, mlflow=True)
        try:
            services.start_all(workers=1)
            assert services.wait(services.begin()).startswith("COMPLETED")
            log = services.prefect("flow-run", "ls", "--limit", "100", "-o", "json")
            stamps = {}
            for line in services.runs.read_text().splitlines():
                word, *name, _pid, stamp = line.split()
                stamps[word, " ".join(name)] = float(stamp)
            before, after = [], []
            for one in json.loads(log):
                if one["name"].startswith(("base@", "pretrain@", "finetune@", "evaluate@", "embed@", "complete@")):
                    kind, _, rest = one["name"].partition("@")
                    cell = f"{kind} {rest.replace('-', ' ')}"
                    start, end = (_seconds(one[key]) for key in ("start_time", "end_time"))
                    before.append(stamps["begin", cell] - start)
                    after.append(end - stamps["end", cell])
        finally:
            services.close()
    found = {"to_the_stage_s": statistics.median(before), "from_the_stage_s": statistics.median(after)}
    print(f"of {len(before)} cells, medians: {found['to_the_stage_s']:.1f} s from the run's start to the stage's, "
          f"{found['from_the_stage_s']:.1f} s from the stage's end to the run's")  # fmt: skip
    return found


def _seconds(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", choices=("scaling", "scheduler", "overhead"))
    parser.add_argument("--seconds", type=float, default=60.0, help="that a cell sleeps")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(machine(None, "no arithmetic"))
    parts = {"scheduler": scheduler, "overhead": overhead, "scaling": lambda: scaling(options.seconds)}
    found = {name: part() for name, part in parts.items() if options.only in (None, name)}
    save(options.json, found)


if __name__ == "__main__":
    main()
