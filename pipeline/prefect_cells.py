"""Cells as flow runs of the deployment `cell/cell`: a `scheduler.Backend` on Prefect's API.

A cell's attempt has one key, and Prefect makes one flow run of a key: whoever hands the same attempt out again is given
the run that is there. So a scheduler that died is simply begun again, and two of the same grid share their runs.

A run that is at work gives a sign of life, a label that counts up. Prefect leaves a run whose machine is gone in state
Running for ever; here, a run whose sign has not changed for `SILENCE_S`, while the server answered, counts as lost. A
run that was given up so and is alive nevertheless sees it by its next sign, and ends.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Crashed, Scheduled

from pipeline.graph import Stage
from pipeline.scheduler import Report, State, UnreachableError
from pipeline.worker import Job

DEPLOYMENT = "cell/cell"
TROUBLE, PREEMPTED, FAILED = "Trouble", "Preempted", "Cell failed"
"""Names of the states that a worker ends a cell in: nothing is wrong with the cell, nothing is, the cell is at fault.

A run that Prefect calls Failed by itself could not tell how its cell ended, and counts as one in trouble.
"""
ALIVE, MACHINE = "langpose.alive", "langpose.machine"
"""Labels of a run: a number that counts up, and where it runs."""
GIVEN_UP = "langpose.given_up"
"""Label of a run that was handed out again; Prefect may call it Running once more, when its worker hears of it."""
PLACE, GRID = "langpose.begun_at", "langpose.grid"
"""Labels of a run that hands a grid out: machine and checkout; the grid's key."""
SIGN_EVERY_S = 15.0
SILENCE_S = 90.0
"""A run at work that gives no sign for so long is lost; one that is only claimed by a worker, likewise."""
PATIENCE_S = 3600.0
"""How long a server that is away is waited for."""
PAGE = 200
"""Most runs that the API gives at once."""

TERMINATED = "aborted by a termination signal"
"""What Prefect says of a run whose process got SIGTERM."""
STATES = {
    StateType.SCHEDULED: State.QUEUED, StateType.PENDING: State.QUEUED, StateType.PAUSED: State.QUEUED,
    StateType.RUNNING: State.RUNNING, StateType.COMPLETED: State.DONE, StateType.FAILED: State.FAILED,
    StateType.CRASHED: State.LOST, StateType.CANCELLED: State.FAILED, StateType.CANCELLING: State.RUNNING,
}  # fmt: skip


def report(run: FlowRun, facts: Mapping[str, Any]) -> Report:
    """What a flow run's state says of its cell."""
    if run.state is None:
        return Report(State.QUEUED)
    state, message = STATES[run.state.type], run.state.message or ""
    if run.state.type is StateType.FAILED and run.state.name != FAILED:
        state = State.TROUBLE
    if run.state.type is StateType.CRASHED and (run.state.name == PREEMPTED or TERMINATED in message):
        state = State.PREEMPTED
    if run.state.type is StateType.CANCELLED:
        message = "cancelled by hand"
    return Report(state, message, facts)


@contextmanager
def signs_of_life(run: UUID, machine: str) -> Any:
    """Count the label `ALIVE` of ``run`` up while inside. A server that is away is tried again; life goes on.

    Where the run was given up meanwhile, or deleted, this process is told to end: somebody else runs the cell.
    """
    over = Event()

    def given_up(client: SyncPrefectClient) -> bool:
        try:
            found = client.read_flow_run(run)
        except ObjectNotFound:
            return True
        return GIVEN_UP in found.labels or (found.state is not None and found.state.is_crashed())

    def give() -> None:
        number = 0
        while True:
            try:
                with at_once(), get_client(sync_client=True) as client:
                    if given_up(client):
                        if not over.is_set():
                            os.kill(os.getpid(), signal.SIGTERM)
                        return
                    client.update_flow_run_labels(run, {ALIVE: number, MACHINE: machine})
            except (httpx.HTTPError, PrefectHTTPStatusError):
                pass
            number += 1
            if over.wait(SIGN_EVERY_S):
                return

    thread = Thread(target=give, name="sign of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Turns "no answer" into `UnreachableError`."""
    try:
        yield
    except httpx.TransportError as error:
        raise UnreachableError(f"Prefect's server does not answer: {error!r}") from error
    except PrefectHTTPStatusError as error:
        if error.response.status_code < 500:
            raise
        raise UnreachableError(f"Prefect's server answers {error.response.status_code}") from error


def at_once() -> AbstractContextManager[Any]:
    """Inside, Prefect's client does not repeat requests: who waits by themselves sees at once when it is back."""
    return temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})


T = TypeVar("T")


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """What ``call`` returns, made again while Prefect's server is away; `UnreachableError` after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    with at_once():
        while True:
            try:
                async with _answering():
                    return await call()
            except UnreachableError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(5.0)


class PrefectCells:
    """The backend for one grid at one commit."""

    def __init__(
        self, client: PrefectClient, deployment: UUID, key: str, job: Callable[[Stage], Job], tags: Iterable[str]
    ) -> None:
        self.client, self.deployment, self.key, self.job = client, deployment, key, job
        self.tags = [f"grid:{key}", *tags]
        self.signs: dict[UUID, tuple[Any, float]] = {}
        """Run → its last sign of life, and when we first saw that one."""
        self.heard = time.monotonic()
        """When the server last answered."""

    async def submit(self, cell: Stage, attempt: int, delay_s: float) -> str:
        when = datetime.now(UTC) + timedelta(seconds=delay_s)
        async with _answering():
            run = await self.client.create_flow_run_from_deployment(
                self.deployment,
                name=f"{cell.name} ({attempt + 1})" if attempt else cell.name,
                parameters={"job": self.job(cell).to_json()},
                idempotency_key=f"{self.key}:{cell.name}:{attempt}",
                tags=[*self.tags, f"cell:{cell.name}", f"attempt:{attempt}"],
                state=Scheduled(scheduled_time=when),
            )
        return str(run.id)

    async def look(self, handles: Iterable[str]) -> Mapping[str, Report]:
        found: dict[str, Report] = {}
        waiting = [UUID(handle) for handle in handles]
        for start in range(0, len(waiting), PAGE):
            asked = waiting[start : start + PAGE]
            async with _answering():
                runs = await self.client.read_flow_runs(
                    flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=asked)), limit=PAGE
                )
                self._mind_the_gap()
                for run in runs:
                    if self._silent(run):
                        await self._give_up(run)
                        continue  # the next look sees what became of it
                    facts = {"machine": run.labels[MACHINE]} if MACHINE in run.labels else {}
                    if run.state is not None and run.state.type is StateType.COMPLETED:
                        facts |= await self._facts(run)
                    found[str(run.id)] = report(run, facts)
            for run_id in {*asked} - {run.id for run in runs}:
                found[str(run_id)] = Report(State.LOST, "its run is no longer on Prefect's server")
        return found

    def _mind_the_gap(self) -> None:
        """While the server was away nobody could give a sign: that time is nobody's silence."""
        before, self.heard = self.heard, time.monotonic()
        gap = self.heard - before
        if gap > SIGN_EVERY_S:
            self.signs = {run: (sign, since + gap) for run, (sign, since) in self.signs.items()}

    def _silent(self, run: FlowRun) -> bool:
        """Whether a run that a worker has taken has given no sign for too long, by our own clock."""
        if run.state is None or run.state.type not in (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING):
            self.signs.pop(run.id, None)
            return False
        sign, now = (run.state.type, run.labels.get(ALIVE)), time.monotonic()
        if run.id not in self.signs or self.signs[run.id][0] != sign:
            self.signs[run.id] = sign, now
        return now - self.signs[run.id][1] > SILENCE_S

    async def _give_up(self, run: FlowRun) -> None:
        message = f"no sign of life for {SILENCE_S:.0f} s: its worker or machine is gone"
        await self.client.update_flow_run_labels(run.id, {GIVEN_UP: True})
        await self.client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        self.signs.pop(run.id, None)

    async def _facts(self, run: FlowRun) -> dict[str, Any]:
        """What the worker told of a cell that is done, in an artifact of its run."""
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        for artifact in await self.client.read_artifacts(artifact_filter=of_run):
            if artifact.type == "table":
                return from_rows(artifact.data)
        return {}

    async def earlier(self, since: datetime) -> dict[str, int]:
        """Cell → the attempt to begin with: one that is under way, or was done ``since`` then, else the next one."""
        latest: dict[str, tuple[int, FlowRun]] = {}
        tags = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"grid:{self.key}"]))
        offset = 0
        while True:
            async with _answering():
                page = await self.client.read_flow_runs(flow_run_filter=tags, limit=PAGE, offset=offset)
            for run in page:
                said = dict(tag.split(":", 1) for tag in run.tags if ":" in tag)
                cell, attempt = said["cell"], int(said["attempt"])
                if attempt >= latest.get(cell, (-1, run))[0]:
                    latest[cell] = attempt, run
            if len(page) < PAGE:
                break
            offset += PAGE
        return {cell: attempt + _is_over(run, since) for cell, (attempt, run) in latest.items()}


def _is_over(run: FlowRun, since: datetime) -> bool:
    return (
        run.state is not None and run.state.is_final()
        and not (run.state.is_completed() and run.end_time is not None and run.end_time >= since)
    )  # fmt: skip


def to_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """A worker's facts as a table artifact."""
    return [{"fact": name, "value": json.dumps(value)} for name, value in facts.items()]


def from_rows(data: Any) -> dict[str, Any]:
    """Inverse of `to_rows`, of an artifact's data as the API gives it."""
    rows = json.loads(data) if isinstance(data, str) else data
    return {row["fact"]: json.loads(row["value"]) for row in rows}


async def cancel_waiting(client: PrefectClient, run: UUID, flow: str) -> int:
    """Cancel what no worker has taken of the grid that ``run`` of ``flow`` handed out; how many cells those were.

    Cells under way end by themselves. Where another run hands the same grid out, none is cancelled: it needs them.
    """
    key = (await client.read_flow_run(run)).labels.get(GRID)
    if key is None or any(one.labels.get(GRID) == key for one in await client.read_flow_runs(**_running(flow, run))):
        return 0
    waiting = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[f"grid:{key}"]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
    )
    number = 0
    while runs := await client.read_flow_runs(flow_run_filter=waiting, limit=PAGE):
        for one in runs:
            await client.set_flow_run_state(one.id, Cancelled(message="its grid was cancelled"), force=True)
        number += len(runs)
    return number


def _running(flow: str, without: UUID) -> dict[str, Any]:
    """What to ask for: runs of ``flow`` in state Running, but one."""
    return {
        "flow_filter": FlowFilter(name=FlowFilterName(any_=[flow])),
        "flow_run_filter": FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])),
            id=FlowRunFilterId(not_any_=[without]),
        ),
        "limit": PAGE,
    }


def mark(run: UUID, place: str, key: str) -> None:
    """Mark ``run`` as begun at ``place``, for the grid of ``key``."""
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run, {PLACE: place, GRID: key})


def bury(place: str, own: UUID, flow: str) -> list[str]:
    """Call runs of ``flow`` Crashed that were begun at ``place``, but ``own``; their names.

    Prefect leaves a run whose process was killed in state Running for ever. For whoever is alone at ``place``.
    """
    with get_client(sync_client=True) as client:
        dead = [run for run in client.read_flow_runs(**_running(flow, own)) if run.labels.get(PLACE) == place]
        for run in dead:
            message = "its process is gone; the grid was begun again"
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return [run.name for run in dead]


async def deployment_id(client: PrefectClient) -> UUID:
    """The deployment that cells are runs of. Raises ``LookupError`` where it is not there."""
    try:
        async with _answering():
            return (await client.read_deployment_by_name(DEPLOYMENT)).id
    except ObjectNotFound as error:
        raise LookupError(
            f"Prefect's server has no deployment '{DEPLOYMENT}'; `prefect --no-prompt deploy --all` makes those of "
            "prefect.yaml"
        ) from error
