"""Cells as flow runs of the deployment `cell/cell`: a `scheduler.Backend` on Prefect's API.

A cell's attempt has one key, and Prefect makes one flow run of a key: whoever hands the same attempt out again is given
the run that is there. So a scheduler that died is simply begun again, and two of the same grid share their runs.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Scheduled

from pipeline.graph import Stage
from pipeline.scheduler import Report, State, UnreachableError
from pipeline.worker import Job

DEPLOYMENT = "cell/cell"
TROUBLE, PREEMPTED = "Trouble", "Preempted"
"""Names of the states that a worker ends a cell in where nothing is wrong with the cell."""
PAGE = 200
"""Most runs that the API gives at once."""

STATES = {
    StateType.SCHEDULED: State.QUEUED, StateType.PENDING: State.QUEUED, StateType.PAUSED: State.QUEUED,
    StateType.RUNNING: State.RUNNING, StateType.COMPLETED: State.DONE, StateType.FAILED: State.FAILED,
    StateType.CRASHED: State.LOST, StateType.CANCELLED: State.FAILED, StateType.CANCELLING: State.RUNNING,
}  # fmt: skip


def facts_key(cell: str) -> str:
    """Key of the artifact in which a worker tells of a cell (lower-case letters, digits, dashes)."""
    return "cell-" + "".join(c if c.isalnum() else "-" for c in cell.lower())


def report(run: FlowRun, facts: Mapping[str, Any] | None = None) -> Report:
    """What a flow run's state says of its cell."""
    if run.state is None:
        return Report(State.QUEUED)
    state, message = STATES[run.state.type], run.state.message or ""
    if run.state.type is StateType.FAILED and run.state.name == TROUBLE:
        state = State.TROUBLE
    if run.state.type is StateType.CANCELLED:
        message = "cancelled by hand"
    return Report(state, message, facts or {})


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


class PrefectCells:
    """The backend for one grid at one commit; ``made`` grows with what cells are done."""

    def __init__(self, client: PrefectClient, deployment: UUID, key: str, job: Any, tags: Iterable[str]) -> None:
        self.client, self.deployment, self.key = client, deployment, key
        self.job = job
        """Cell → its `worker.Job`."""
        self.tags = [f"grid:{key}", *tags]

    async def submit(self, cell: Stage, attempt: int, delay_s: float) -> str:
        job: Job = self.job(cell)
        when = datetime.now(UTC) + timedelta(seconds=delay_s)
        async with _answering():
            run = await self.client.create_flow_run_from_deployment(
                self.deployment,
                name=f"{cell.name} ({attempt + 1})" if attempt else cell.name,
                parameters={"job": job.to_json()},
                idempotency_key=f"{self.key}:{cell.name}:{attempt}",
                tags=[*self.tags, f"cell:{cell.name}", f"attempt:{attempt}"],
                state=Scheduled(scheduled_time=when),
            )
        return str(run.id)

    async def look(self, handles: Iterable[str]) -> Mapping[str, Report]:
        found: dict[str, Report] = {}
        waiting = [UUID(handle) for handle in handles]
        for start in range(0, len(waiting), PAGE):
            ids = FlowRunFilter(id=FlowRunFilterId(any_=waiting[start : start + PAGE]))
            async with _answering():
                for run in await self.client.read_flow_runs(flow_run_filter=ids, limit=PAGE):
                    done = run.state is not None and run.state.type is StateType.COMPLETED
                    found[str(run.id)] = report(run, await self._facts(run) if done else None)
        return found

    async def _facts(self, run: FlowRun) -> dict[str, Any]:
        """What the worker told of a cell that is done, in an artifact of its run."""
        cell = next(tag.removeprefix("cell:") for tag in run.tags if tag.startswith("cell:"))
        key = ArtifactFilterKey(any_=[facts_key(cell)])
        of_run = ArtifactFilter(key=key, flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        artifacts = await self.client.read_artifacts(artifact_filter=of_run, limit=1)
        return rows_to_facts(artifacts[0].data) if artifacts else {}

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


def facts_to_rows(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A worker's facts as a table artifact; an output a row."""
    outputs = facts.get("outputs", {})
    rows = [{"fact": name, "value": value} for name, value in facts.items() if name not in ("outputs", "scores")]
    rows += [{"fact": f"score {name}", "value": value} for name, value in facts.get("scores", {}).items()]
    return rows + [{"fact": f"output {path}", "value": value} for path, value in outputs.items()]


def rows_to_facts(data: Any) -> dict[str, Any]:
    """Inverse of `facts_to_rows`, of an artifact's data as the API gives it."""
    rows = json.loads(data) if isinstance(data, str) else data
    facts: dict[str, Any] = {"outputs": {}, "scores": {}}
    for row in rows:
        name, value = row["fact"], row["value"]
        kind, _, rest = name.partition(" ")
        if kind in ("output", "score") and rest:
            facts[f"{kind}s"][rest] = value
        else:
            facts[name] = value
    return facts


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
