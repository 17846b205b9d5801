"""Prefect's flows: `ablations` hands the grid's cells to GPU workers, `cell` runs one, `reproduce` a whole profile.

DVC owns what has been computed, Prefect where and when it is computed. A cell is done when its DVC stage is, so nothing
is cached here: a flow that is begun again asks DVC's cache what is missing, and goes on from there.
"""

import asyncio
import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from prefect import flow, get_client, get_run_logger
from prefect.artifacts import (
    acreate_link_artifact,
    acreate_markdown_artifact,
    acreate_table_artifact,
)
from prefect.client.schemas.objects import State as PrefectState
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from pipeline import dvc_commands, graph, layout, prefect_cells, scheduler, worker, workspace
from pipeline.dvc_commands import ChangedError, Log, PreemptedError, RefusedError
from pipeline.graph import Graph
from pipeline.grid import Grid
from pipeline.live_table import LiveTable, artifact_key
from pipeline.prefect_cells import FAILED, PREEMPTED, TROUBLE, PrefectCells, to_rows, until_answered
from pipeline.scheduler import Progress, State, UnreachableError

HOLD_S = 20.0
"""How long a worker that is in trouble waits before it takes another cell, so that it does not take them all."""
T = TypeVar("T")
PATIENCE = 60
"""Tries of the submitter's own DVC commands, a minute apart at most: a remote may be away for an hour."""


@flow(name="cell", flow_run_name="{job[cell]}", validate_parameters=False)
def cell(job: dict[str, Any]) -> PrefectState[Any]:
    """Run one cell of a grid on this worker, or restore it from the cache, and share its result."""
    log, here = get_run_logger().info, worker.machine()
    with prefect_cells.signs_of_life(flow_run.id, here):
        try:
            one = worker.Job.from_json(job)
            said = _run(one, log)
            if said["end"] == worker.DONE:
                told = {name: said[name] for name in ("machine", "seconds", "ran", "scores", "run", "entry")}
                rows, title = to_rows(told), f"What became of {one.cell}"
                _until_answered(lambda: acreate_table_artifact(rows, artifact_key("cell", one.cell), title))
        except workspace.UnfitError as error:
            said = {"end": worker.TROUBLE, "message": str(error)}
        except (OSError, RuntimeError, UnreachableError) as error:  # Prefect's too: done or not, it can be restored
            said = {"end": worker.TROUBLE, "message": repr(error)}
        except Exception as error:
            said = {"end": worker.FAILED, "message": repr(error)}
        if said["end"] == worker.TROUBLE:
            log(f"{said['message']}; this worker waits {HOLD_S:.0f} s")
            time.sleep(HOLD_S)
    if said["end"] == worker.DONE:
        how = "ran" if said["ran"] else "restored from the cache"
        return Completed(message=f"{how} on {here} in {said['seconds'] / 60:.1f} minutes")
    message = f"{here}: {said['message']}"
    if said["end"] == worker.PREEMPTED:
        return PrefectState(type=StateType.CRASHED, name=PREEMPTED, message=message)
    return Failed(name=TROUBLE if said["end"] == worker.TROUBLE else FAILED, message=message)


def _until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """`prefect_cells.until_answered`, for those who can wait."""
    return asyncio.run(prefect_cells.until_answered(call))


def _run(job: worker.Job, log: Log) -> dict[str, Any]:
    """Prepare the checkout and run the worker's program there, by the code of the job's commit; what it said."""
    if job.checkout is not None:
        if job.host != platform.node() or not Path(job.checkout).is_dir():
            raise workspace.UnfitError(
                f"the grid was begun in {job.checkout} on {job.host}, without a DVC remote: only workers of that "
                "machine can take part. `dvc remote add -d NAME URL` lets others"
            )
        os.chdir(job.checkout)
    with contextlib.ExitStack() as opened:
        if job.checkout is None:
            keep = [opened.enter_context(workspace.held(log))]
            workspace.prepare(job.commit, job.grid)
        else:
            keep = [opened.enter_context(workspace.at_work())]
            if (workspace.commit(), job.grid.found_here()) != (job.commit, job.grid_id):
                raise workspace.UnfitError(
                    f"{job.checkout} is at another commit, or has other parameters, than its grid was begun with; "
                    "begin it again"
                )
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="langpose-cell-")))
        (folder / "job.json").write_text(json.dumps(job.to_json()), encoding="utf-8")
        command = [sys.executable, "-m", "pipeline.worker", str(folder / "job.json"), str(folder / "result.json")]
        environment = {"PYTHONPATH": str(Path.cwd()), "LANGPOSE_OWNER": str(os.getpid())}
        code = dvc_commands.stream(command, log, environment, keep)
        if job.checkout is None:
            workspace.leave(log)
        if (folder / "result.json").exists():
            said: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            return said
        ends = {-signal.SIGTERM: worker.PREEMPTED, 143: worker.PREEMPTED}
        end = ends.get(code, worker.TROUBLE if code < 0 or code == 137 else worker.FAILED)
        return {"end": end, "message": f"the worker's program ended with code {code}"}


def _cancel_waiting(flow: Any, flow_run: Any, state: Any) -> None:
    """Of a grid that is cancelled by hand, cells that nobody has begun are not begun any more."""

    async def cancel() -> None:
        async with get_client() as client:
            await prefect_cells.cancel_waiting(client, flow_run.id, flow.name)

    asyncio.run(cancel())


@flow(name="ablations", flow_run_name="{profile}", on_cancellation=[_cancel_waiting])
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

    def asked() -> tuple[Grid, str]:
        grid = Grid.of(profile, variants, datasets, seeds, overrides or [])
        return grid, _grid_key(grid, workspace.commit())

    place = f"{platform.node()}:{Path.cwd()}"

    def alone() -> None:
        if gone := prefect_cells.bury(place, flow_run.id, "ablations"):
            log(f"{len(gone)} runs that were begun here are gone; what they handed out is taken up")

    with workspace.begun(lambda: asked()[1], alone):
        grid, key = asked()
        prefect_cells.mark(flow_run.id, place, key)
        return _ablations(grid, key, log)


def _grid_key(grid: Grid, commit: str) -> str:
    """The same for those who ask for the same; overrides count as such, since they stand in the profile meanwhile."""
    return sha256(f"{grid.id} {list(grid.overrides)} {commit}".encode()).hexdigest()[:16]


def _ablations(grid: Grid, key: str, log: Log) -> PrefectState[Any]:
    from pipeline import tracking

    shared = dvc_commands.has_remote()
    commit = workspace.offer(grid, shared)
    log(f"grid {grid.id} at commit {commit[:12]}, {'shared through the DVC remote' if shared else 'in this checkout'}")
    if not shared:
        log("no DVC remote is configured: cells run in this checkout, on this machine's workers alone")
    stages = graph.read()
    cells = graph.cells(stages, grid.profile)
    prepare(stages, grid.profile, shared, log)
    ended: dict[str, Progress] = {}
    tracking.begin(grid, log)
    for times in range(3):
        began = datetime.now(UTC)
        missing = restore(cells, stages, shared, log)
        log(f"{len(cells) - len(missing)} of {len(cells)} cells are in the cache")
        if not missing:
            break
        absent = f"done, yet their results are not in the cache: {', '.join(missing)}"
        if times == 2:
            return Failed(message=f"cells were twice {absent}; do all workers push to the same DVC remote?")
        if times == 1:
            log(f"cells were {absent}; once more")
        with prefect_cells.at_once():
            ended |= asyncio.run(hand_out(missing, cells, grid, commit, key, shared, began))
        if wrong := {name: one for name, one in ended.items() if one.state is not State.DONE}:
            told = "; ".join(f"{name} {one.state}: {one.message}" for name, one in wrong.items())
            message = f"{len(wrong)} of {len(cells)} cells are not done; the others are kept. {told}"
            return Failed(message=message[:4000])
    finish(stages, cells, grid.profile, shared, log)
    show_report(grid, log)
    machines = {name: one.facts["machine"] for name, one in ended.items() if one.facts.get("ran")}
    if address := tracking.sync_grid(grid, log, machines):
        title, place = "the grid's models side by side in MLflow", artifact_key("mlflow", grid.profile)
        _until_answered(lambda: acreate_link_artifact(address, title, place))
    ran = sum(bool(one.facts.get("ran")) for one in ended.values())
    return Completed(message=f"{len(cells)} cells, {ran} of them run")


@flow(name="reproduce", flow_run_name="{profile}")
def reproduce(profile: str = "demo") -> PrefectState[Any]:
    """All stages of a profile one after another, where grids are begun."""
    from pipeline import tracking

    log = get_run_logger().info
    with workspace.begun(lambda: _grid_key(Grid.of(profile), workspace.commit())):
        grid = Grid.of(profile)
        shared = dvc_commands.has_remote()
        workspace.offer(grid, shared)
        every = [stage.command for stage in graph.read().values()]
        try:
            with dvc_commands.guarded(every) as environment:
                _dvc(["repro", *_pull(shared)], log, environment)
            if shared:
                _dvc(["push", "--run-cache"], log)
        except PreemptedError as error:
            return PrefectState(type=StateType.CRASHED, name=PREEMPTED, message=str(error))
        show_report(grid, log)
        tracking.sync_grid(grid, log)
    return Completed(message=f"report: {layout.report(profile) / 'index.html'}")


def _pull(shared: bool) -> list[str]:
    return ["--pull"] if shared else []


def _dvc(arguments: list[str], log: Log, environment: Mapping[str, str] | None = None) -> list[str]:
    return dvc_commands.patiently(arguments, log, environment, attempts=PATIENCE)


def prepare(stages: Graph, profile: str, shared: bool, log: Log) -> None:
    """Make what all cells need, once, and share it before any cell is handed out."""
    names = list(graph.shared(stages, profile))
    if not names:
        return
    if dvc_commands.differing(names, log):
        with dvc_commands.guarded([stages[name].command for name in names]) as environment:
            _dvc(["repro", *_pull(shared), *names], log, environment)
    if shared:
        _dvc(["push", "--run-cache", *names], log)


def restore(cells: Graph, stages: Graph, shared: bool, log: Log) -> Graph:
    """Bring what the cache has of ``cells`` into this checkout, run nothing, and return the cells that it lacks."""
    missing = dvc_commands.differing(list(cells), log)
    if missing and shared:
        with _no_cell_runs(stages) as environment, contextlib.suppress(RefusedError):
            _dvc(["repro", "--pull", "--keep-going", *(name for name in cells if name in missing)], _quiet, environment)
        missing = dvc_commands.differing(list(cells), log)
    # DVC does not call a cell changed whose input is about to be made anew
    for name, cell in cells.items():
        if any(need in missing for need in cell.needs):
            missing.add(name)
    return {name: cell for name, cell in cells.items() if name in missing}


def _quiet(line: str) -> None:
    """What DVC says of cells that are not there is no news."""


def _no_cell_runs(
    stages: Graph, expected: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[dict[str, str]]:
    """The environment in which no cell may run, and other stages on what is ``expected`` alone."""
    return dvc_commands.guarded([stage.command for stage in stages.values() if not stage.is_cell], expected)


async def hand_out(
    missing: Graph, cells: Graph, grid: Grid, commit: str, key: str, shared: bool, began: datetime
) -> dict[str, Progress]:
    """See ``missing`` through on the work pool; the live table shows all ``cells``."""
    made: dict[str, worker.Entry] = {n: entry for n, entry in dvc_commands.lock().items() if n not in missing}
    table = LiveTable(grid, cells, missing)
    checkout = None if shared else str(Path.cwd())
    async with get_client() as client:
        deployment = await until_answered(lambda: prefect_cells.deployment_id(client))
        backend = PrefectCells(
            client, deployment, key,
            lambda cell: worker.job(cell, commit, grid, made, checkout, platform.node()), [f"profile:{grid.profile}"],
        )  # fmt: skip

        class Watched:
            """The backend, with the table written now and then."""

            submit = backend.submit

            @staticmethod
            async def look(handles: Any) -> Mapping[str, scheduler.Report]:
                reports = await backend.look(handles)
                await table.write()
                return reports

        def changed(progress: Progress) -> None:
            if progress.state is State.DONE and "entry" in progress.facts:
                made[progress.cell.name] = progress.facts["entry"]
            table.changed(progress)

        try:
            earlier = await until_answered(lambda: backend.earlier(began))
            return await scheduler.run(missing, Watched(), earlier, changed)
        finally:
            await table.write(now=True)


def finish(stages: Graph, cells: Graph, profile: str, shared: bool, log: Log) -> None:
    """Make what comes after the cells: the report, of results that are what their hashes say."""
    final = [name for name, stage in stages.items() if not stage.is_cell and graph.before(stages, [name]) & set(cells)]
    entries = dvc_commands.lock()
    expected = {path: value for name in cells for path, value in dvc_commands.outputs(entries[name]).items()}
    for again in (False, True):
        try:
            with _no_cell_runs(stages, expected) as environment:
                _dvc(["repro", *_pull(shared), *final], log, environment)
            return
        except ChangedError:
            if again or not shared:
                raise
            log(f"results here are not what was made; fetched again: {', '.join(worker.drop_changed(expected))}")
            _dvc(["pull", *cells], log)


def show_report(grid: Grid, log: Log) -> None:
    """The profile's tables as a markdown artifact."""
    folder = layout.report(grid.profile)
    tables = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("table?.md"))]
    text, title = "\n\n".join(tables), f"Tables of grid {grid.id}"
    _until_answered(lambda: acreate_markdown_artifact(text, artifact_key("tables", grid.profile), title))
    log(f"report: {(folder / 'index.html').resolve()}")
