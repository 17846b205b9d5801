"""Prefect's flows: `ablations` hands the grid's cells to GPU workers, `cell` runs one, `reproduce` a whole profile.

DVC owns what has been computed, Prefect where and when it is computed. A cell is done when its DVC stage is, so nothing
is cached here: a flow that is begun again asks DVC's cache what is missing, and goes on from there.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from prefect import flow, get_client, get_run_logger
from prefect.artifacts import (
    acreate_table_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.schemas.objects import State as PrefectState
from prefect.client.schemas.objects import StateType
from prefect.states import Completed, Failed

from pipeline import dvc_commands, graph, layout, prefect_cells, rescue, scheduler, tracking, worker, workspace
from pipeline.dvc_commands import DvcError, Log, PreemptedError, RefusedError, TroubleError
from pipeline.graph import Graph
from pipeline.grid import Grid
from pipeline.prefect_cells import PREEMPTED, TROUBLE, PrefectCells, facts_key, facts_to_rows
from pipeline.scheduler import Progress, State

TABLE_EVERY_S = 10.0
"""How often the live table is written at most."""


@flow(name="cell", flow_run_name="{job[cell]}", validate_parameters=False)
def cell(job: dict[str, Any]) -> PrefectState[Any]:
    """Run one cell of a grid on this worker, or restore it from the cache, and share its result."""
    log = get_run_logger().info
    parsed = worker.Job.from_json(job)
    if parsed.checkout is not None:
        os.chdir(parsed.checkout)
    try:
        with tracking.watch(parsed, log):
            result = worker.run(parsed, log)
            run = tracking.log_cell(parsed, result, log)
    except PreemptedError as error:
        return PrefectState(type=StateType.CRASHED, name=PREEMPTED, message=str(error))
    except (TroubleError, workspace.UnfitError) as error:
        return Failed(name=TROUBLE, message=f"{worker.machine()}: {error}")
    except (DvcError, ValueError) as error:
        return Failed(message=f"{worker.machine()}: {error}")
    facts = {"machine": result.machine, "minutes": round(result.seconds / 60, 2), "ran": result.ran, "run": run,
             "scores": result.scores, "outputs": result.outputs}  # fmt: skip
    create_table_artifact(facts_to_rows(facts), facts_key(parsed.cell), f"What became of {parsed.cell}")
    how = "ran" if result.ran else "restored from the cache"
    return Completed(message=f"{how} on {result.machine} in {result.seconds / 60:.1f} minutes")


@flow(name="ablations", flow_run_name="{profile}")
def ablations(
    profile: str = "demo",
    variants: list[str] | None = None,
    datasets: list[str] | None = None,
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
) -> PrefectState[Any]:
    """Compute a grid on whatever workers are up, and write its tables.

    Args:
        profile: whose axes and parameters hold where nothing else is said.
        variants: in place of the profile's.
        datasets: in place of the profile's.
        seeds: in place of the profile's; all cells then have these.
        overrides: parameters in place of the profile's, as "pretrain.training.epochs=10".
    """
    log = get_run_logger().info
    grid = Grid.of(profile, variants, datasets, seeds, overrides or [])
    shared = dvc_commands.has_remote()
    commit = workspace.offer(grid, shared)
    key = sha256(f"{grid.id} {commit}".encode()).hexdigest()[:16]
    log(f"grid {grid.id} at commit {commit[:12]}, {'shared through the DVC remote' if shared else 'in this checkout'}")
    if not shared:
        log("no DVC remote is configured: cells run in this checkout, on this machine's workers alone")
    stages = graph.read()
    cells = graph.cells(stages, profile)
    prepare(stages, profile, shared, log)
    ended: dict[str, Progress] = {}
    tracking.begin(grid, commit, log)
    for again in (False, True):
        began = datetime.now(UTC)
        missing = restore(cells, stages, shared, log)
        log(f"{len(cells) - len(missing)} of {len(cells)} cells are in the cache")
        if not missing:
            break
        if again:
            log(f"cells were done, yet their results are not in the cache; once more: {', '.join(missing)}")
        ended |= asyncio.run(hand_out(missing, cells, grid, commit, key, shared, began))
        if wrong := {name: one for name, one in ended.items() if one.state is not State.DONE}:
            told = "; ".join(f"{name} {one.state}: {one.message}" for name, one in wrong.items())
            return Failed(
                message=f"{len(wrong)} of {len(cells)} cells are not done; the others are kept. {told}"[:4000]
            )
    finish(stages, cells, profile, shared, log)
    show_report(grid, log)
    if address := tracking.sync_grid(grid, commit, log):
        create_link_artifact(address, "the grid in MLflow", f"mlflow-{profile}".replace("_", "-").lower())
    return Completed(
        message=f"{len(cells)} cells, {sum(bool(one.facts.get('ran')) for one in ended.values())} of them run"
    )


@flow(name="reproduce", flow_run_name="{profile}")
def reproduce(profile: str = "demo") -> PrefectState[Any]:
    """All stages of a profile one after another, on one worker."""
    log = get_run_logger().info
    grid = Grid.of(profile)
    shared = dvc_commands.has_remote()
    commit = workspace.offer(grid, shared)
    try:
        dvc_commands.patiently(["repro", *(["--pull"] if shared else [])], log)
        if shared:
            dvc_commands.patiently(["push", "--run-cache"], log)
    except PreemptedError as error:
        return PrefectState(type=StateType.CRASHED, name=PREEMPTED, message=str(error))
    show_report(grid, log)
    tracking.sync_grid(grid, commit, log)
    return Completed(message=f"report: {layout.report(profile) / 'index.html'}")


def prepare(stages: Graph, profile: str, shared: bool, log: Log) -> None:
    """Make what all cells need, once, and share it before any cell is handed out."""
    names = list(graph.shared(stages, profile))
    if not names:
        return
    dvc_commands.patiently(["repro", *(["--pull"] if shared else []), *names], log)
    if shared:
        dvc_commands.patiently(["push", "--run-cache", *names], log)


def restore(cells: Graph, stages: Graph, shared: bool, log: Log) -> Graph:
    """Bring what the cache has of ``cells`` into this checkout, run nothing, and return the cells that it lacks."""
    there: set[str] = set()

    def read(line: str) -> None:
        for sign in ("' didn't change, skipping", "' is cached - skipping run"):
            if line.startswith("Stage '") and sign in line:
                there.add(line.removeprefix("Stage '").split(sign)[0])

    allowed = [stage.command for stage in stages.values() if not stage.is_cell]
    with dvc_commands.guarded(allowed) as environment:
        try:
            arguments = ["repro", *(["--pull"] if shared else []), "--keep-going", *cells]
            dvc_commands.patiently(arguments, read, environment)
        except RefusedError:
            pass  # that is what it is asked for
    return {name: cell for name, cell in cells.items() if name not in there}


async def hand_out(
    missing: Graph, cells: Graph, grid: Grid, commit: str, key: str, shared: bool, began: datetime
) -> dict[str, Progress]:
    """See ``missing`` through on the work pool; the live table shows all ``cells``."""
    made: dict[str, str] = {}
    for name, entry in dvc_commands.lock().items():
        if name not in missing:
            made |= dvc_commands.outputs(entry)
    table = LiveTable(grid, cells, missing)
    checkout = None if shared else str(Path.cwd())
    async with get_client() as client:
        await rescue.ensure(client)
        backend = PrefectCells(
            client, await prefect_cells.deployment_id(client), key,
            lambda cell: worker.job(cell, commit, grid, made, checkout), [f"profile:{grid.profile}"],
        )  # fmt: skip

        class Watched:
            """The backend, with what a cell made known to those after it, and the table written now and then."""

            submit = backend.submit

            @staticmethod
            async def look(handles: Any) -> Mapping[str, scheduler.Report]:
                reports = await backend.look(handles)
                await table.write()
                return reports

        def changed(progress: Progress) -> None:
            made.update(progress.facts.get("outputs", {}))
            table.changed(progress)

        try:
            return await scheduler.run(missing, Watched(), await backend.earlier(began), changed)
        finally:
            await table.write(now=True)


class LiveTable:
    """The grid as a table artifact: cell, state, machine, minutes, P1."""

    def __init__(self, grid: Grid, cells: Graph, missing: Graph) -> None:
        self.key = f"ablations-{grid.profile}-{grid.id}".replace("_", "-").lower()
        self.title = f"Grid {grid.id} of profile {grid.profile}"
        self.rows: dict[str, dict[str, Any]] = {
            name: {"cell": name, "state": "waiting" if name in missing else "restored", "machine": "", "minutes": "",
                   "P1 (mm)": "", "run": "", "message": ""}
            for name in cells
        }  # fmt: skip
        self.written, self.stale = 0.0, True

    def changed(self, progress: Progress) -> None:
        facts = progress.facts
        score = facts.get("scores", {}).get("P1_mm")
        self.rows[progress.cell.name] |= {
            "state": str(progress.state), "machine": facts.get("machine", ""), "minutes": facts.get("minutes", ""),
            "P1 (mm)": "" if score is None else f"{score:.1f}", "run": facts.get("run", ""),
            "message": progress.message[:200],
        }  # fmt: skip
        self.stale = True

    async def write(self, now: bool = False) -> None:
        if self.stale and (now or time.monotonic() - self.written > TABLE_EVERY_S):
            counts: dict[str, int] = {}
            for row in self.rows.values():
                counts[row["state"]] = counts.get(row["state"], 0) + 1
            told = ", ".join(f"{number} {state}" for state, number in counts.items())
            try:
                await acreate_table_artifact(list(self.rows.values()), self.key, f"{self.title}: {told}")
            except Exception as error:  # whatever ails the table, cells go on
                get_run_logger().warning("the live table was not written: %r", error)
            self.written, self.stale = time.monotonic(), False


def finish(stages: Graph, cells: Graph, profile: str, shared: bool, log: Log) -> None:
    """Make what comes after the cells: the report."""
    final = [name for name, stage in stages.items() if not stage.is_cell and graph.before(stages, [name]) & set(cells)]
    allowed = [stage.command for stage in stages.values() if not stage.is_cell]
    with dvc_commands.guarded(allowed) as environment:
        dvc_commands.patiently(["repro", *(["--pull"] if shared else []), *final], log, environment)


def show_report(grid: Grid, log: Log) -> None:
    """The profile's tables as a markdown artifact."""
    folder = layout.report(grid.profile)
    texts = [
        path.read_text(encoding="utf-8") for number in (1, 2, 3, 4) if (path := folder / f"table{number}.md").exists()
    ]
    create_markdown_artifact(
        "\n\n".join(texts), f"tables-{grid.profile}".replace("_", "-"), f"Tables of grid {grid.id}"
    )
    log(f"report: {(folder / 'index.html').resolve()}")
