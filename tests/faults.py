"""The fault campaign: grids of sleeping cells on two workers, while whatever can fail does.

    python -m tests.faults --grids 12 --faults 3 --seed 0 [--json FILE]

Every grid has cells of its own (a seed). Afterwards its tables must be those of one undisturbed checkout to the byte,
every cell done, and MLflow must have each result once. Stages that ended twice are told too: whoever is killed between
a stage's end and its push leaves the work to be done again.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from mlflow import MlflowClient

from pipeline import dvc_commands
from tests.grid_services import Services, alone, family

AXES = {"variants": ["baseline", "mmm_map"], "datasets": ["human36m"], "seeds": [0]}
CELLS = 11
CHILDREN = 5


def stages(services: Services, name: str) -> list[psutil.Process]:
    """Stage processes of a worker."""
    found = []
    for process in family(services.processes[name]):
        try:
            if any(part.startswith("pipeline.stages.") for part in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def engines(services: Services, name: str) -> list[psutil.Process]:
    """Flow-run processes of a worker: its children."""
    return [member for member in family(services.processes[name])[1:] if member.ppid() == services.processes[name].pid]


def busy(services: Services, chance: random.Random) -> str:
    """A worker that runs a stage, as soon as there is one; any after half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        at_work = [name for name in ("worker-0", "worker-1") if stages(services, name)]
        if at_work:
            return chance.choice(at_work)
        time.sleep(0.1)
    return chance.choice(["worker-0", "worker-1"])


def machine_gone(services: Services, chance: random.Random) -> None:
    name = busy(services, chance)
    services.kill(name)
    time.sleep(chance.uniform(0, 5))
    services.start_worker(int(name[-1]))


def run_killed(services: Services, chance: random.Random) -> None:
    for process in engines(services, busy(services, chance)):
        process.kill()


def stage_killed(services: Services, chance: random.Random) -> None:
    for process in stages(services, busy(services, chance)):
        process.kill()


def preempted(services: Services, chance: random.Random) -> None:
    name = busy(services, chance)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        services.kill(name, number)
        time.sleep(5)
    services.start_worker(int(name[-1]))


def server_restarted(services: Services, chance: random.Random) -> None:
    services.kill("server")
    time.sleep(chance.choice([chance.uniform(0, 10), chance.uniform(90, 150)]))  # longer than a sign of life may take
    services.start_server()


def submitter_restarted(services: Services, chance: random.Random) -> None:
    """Its runs are gone with it: the grid is begun again, as docs/cluster.md says, and takes up what is under way."""
    services.kill("submit")
    time.sleep(chance.uniform(0, 5))
    services.start_submitter()
    services.waited = [services.begin(seeds=f"[{services.grid}]")]  # type: ignore[attr-defined]


def begun_twice(services: Services, chance: random.Random) -> None:
    services.waited.append(services.begin(seeds=f"[{services.grid}]"))  # type: ignore[attr-defined]


def mlflow_away(services: Services, chance: random.Random) -> None:
    services.kill("mlflow")
    time.sleep(chance.uniform(5, 20))
    services.start_mlflow()


def remote_away(services: Services, chance: random.Random) -> None:
    hidden = services.remote.with_name("remote-away")
    services.remote.rename(hidden)
    services.remote.touch()  # a file where the folder was: nothing can be written there meanwhile
    time.sleep(chance.uniform(5, 20))
    services.remote.unlink()
    hidden.rename(services.remote)


def cache_tampered(services: Services, chance: random.Random) -> None:
    name = busy(services, chance)
    objects = [path for path in (services.base / name / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    for path in chance.sample(objects, min(3, len(objects))):
        path.chmod(0o644)
        path.write_bytes(b"tampered")


FAULTS: dict[str, Callable[[Services, random.Random], None]] = {
    "a worker and all it runs killed (its machine gone)": machine_gone,
    "a flow run's process killed": run_killed,
    "a stage killed": stage_killed,
    "a worker told to end (SIGTERM), as by preemption": preempted,
    "Prefect's server killed and started again": server_restarted,
    "the submitter killed and started again": submitter_restarted,
    "the same grid begun a second time": begun_twice,
    "MLflow killed and started again": mlflow_away,
    "the DVC remote out of reach for a while": remote_away,
    "objects in a worker's cache changed": cache_tampered,
}


def campaign(base: Path, grids: int, faults: int, seed: int, first: int = 1) -> dict:
    """Run it, from grid ``first`` on; what was injected and what became of it."""
    services = Services(base / "services", AXES, sleep_s=3.0)
    kinds, injected = list(FAULTS), []
    lost = duplicated = wrong = 0
    try:
        services.start_all()
        for grid in range(first, grids + 1):
            chance = random.Random(f"{seed} {grid}")
            services.grid, began = grid, time.monotonic()  # type: ignore[attr-defined]
            services.waited = [services.begin(seeds=f"[{grid}]")]  # type: ignore[attr-defined]
            for _ in range(faults):
                time.sleep(chance.uniform(5, 25))
                kind = kinds[((first - 1) * faults + len(injected)) % len(kinds)]
                print(f"grid {grid}, {time.monotonic() - began:.0f} s: {kind}", flush=True)
                FAULTS[kind](services, chance)
                injected.append({"grid": grid, "fault": kind})
            ends = [services.wait(one, 1200) for one in services.waited]  # type: ignore[attr-defined]
            print(f"grid {grid}: {ends} after {time.monotonic() - began:.0f} s", flush=True)
            lost += sum(not end.startswith("COMPLETED") for end in ends)
            single = alone(base / f"alone-{grid}", services.origin, [grid])
            same = (services.submitter / "reports/demo/table1.md").read_bytes() == (
                single / "reports/demo/table1.md"
            ).read_bytes()
            wrong += not same
            ours, theirs = (dvc_commands.lock(folder) for folder in (services.submitter, single))
            lost += sum(name not in ours for name in theirs)
            wrong += sum(dvc_commands.outputs(ours[name]) != dvc_commands.outputs(theirs[name]) for name in theirs
                         if name in ours)  # fmt: skip
            shutil.rmtree(single)
            client = MlflowClient(f"http://127.0.0.1:{services.mlflow_port}")
            experiment = client.get_experiment_by_name("demo").experiment_id
            children = client.search_runs([experiment], f"params.seed = '{grid}'")
            names = [child.info.run_name for child in children]
            duplicated += len(names) - len(set(names))
            lost += CHILDREN - len(set(names))
        twice = sum(number > 1 for number in Counter(services.ended()).values())
    finally:
        services.close()
    number = grids - first + 1
    return {
        "grids": number, "cells": number * CELLS, "faults": len(injected), "lost": lost, "duplicated": duplicated,
        "wrong": wrong, "stages ended twice": twice,
        "kinds": {kind: sum(fault["fault"] == kind for fault in injected) for kind in kinds},
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--grids", type=int, default=12)
    parser.add_argument("--first", type=int, default=1, help="begin with this one of them, as if those before had run")
    parser.add_argument("--faults", type=int, default=3, help="during each grid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="work here, and keep it")
    options = parser.parse_args()
    base = options.keep or Path(tempfile.mkdtemp(prefix="langpose-faults-"))
    found = campaign(base, options.grids, options.faults, options.seed, options.first)
    if not options.keep:
        shutil.rmtree(base)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + os.linesep)
    return int(bool(found["lost"] or found["duplicated"] or found["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
