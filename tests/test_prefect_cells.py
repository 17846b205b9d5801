"""What becomes of a cell is read from Prefect's runs; a server that is away is waited for, and costs no cell."""

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

pytest.importorskip("prefect")

import httpx
from prefect.client.schemas.objects import State as PrefectState
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError, TerminationSignal
from prefect.states import Completed, Crashed, Failed, Pending, Running, Scheduled, exception_to_crashed_state

from pipeline import prefect_cells
from pipeline.prefect_cells import ALIVE, FAILED, GIVEN_UP, GRID, PREEMPTED, SILENCE_S, TROUBLE, PrefectCells
from pipeline.scheduler import State, UnreachableError

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's, at import


def flow_run(state, number=None, **more):
    labels = {} if number is None else {ALIVE: number}
    return SimpleNamespace(id=uuid4(), state=state, labels=labels | more, tags=[], end_time=None)


class Server:
    """Prefect's API over a list of runs; ``errors`` are raised by the next calls, one each (None: no error)."""

    def __init__(self, *runs):
        self.runs, self.errors = {run.id: run for run in runs}, []

    def _answer(self):
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error

    async def read_flow_runs(self, flow_run_filter, limit, flow_filter=None, offset=0):
        self._answer()
        assert limit <= 200
        chosen = self.runs.values()
        if flow_run_filter.id and flow_run_filter.id.any_ is not None:
            chosen = [run for run in chosen if run.id in flow_run_filter.id.any_]
        if flow_run_filter.id and flow_run_filter.id.not_any_ is not None:
            chosen = [run for run in chosen if run.id not in flow_run_filter.id.not_any_]
        if flow_run_filter.state:
            chosen = [run for run in chosen if run.state.type in flow_run_filter.state.type.any_]
        if flow_run_filter.tags:
            chosen = [run for run in chosen if set(flow_run_filter.tags.all_) <= set(run.tags)]
        if flow_filter:
            chosen = [run for run in chosen if "flow:" + flow_filter.name.any_[0] in run.tags]
        return list(chosen)[offset : offset + limit]

    async def read_flow_run(self, run):
        return self.runs[run]

    async def update_flow_run_labels(self, run, labels):
        self.runs[run].labels |= labels

    async def set_flow_run_state(self, run, state, force):
        self._answer()
        self.runs[run].state = state

    async def read_artifacts(self, artifact_filter):
        self._answer()
        return []


def away():
    return httpx.ConnectError("refused")


def answered(code):
    return PrefectHTTPStatusError("", request=httpx.Request("GET", "http://p"), response=httpx.Response(code))


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; time passes where a test says so, or somebody sleeps."""
    now = [1000.0]
    monkeypatch.setattr(prefect_cells, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(prefect_cells.asyncio, "sleep", sleep)
    return now


def cells(server):
    return PrefectCells(server, uuid4(), "key", lambda stage: None, [])


def look(backend, server):
    return {UUID(name): one.state for name, one in asyncio.run(backend.look([str(run) for run in server.runs])).items()}


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (Scheduled(), State.QUEUED),
        (Pending(), State.QUEUED),
        (Running(), State.RUNNING),
        (Completed(), State.DONE),
        (Failed(name=FAILED), State.FAILED),
        (Failed(name=TROUBLE), State.TROUBLE),
        (Failed(message="Flow run encountered an exception: ConnectError"), State.TROUBLE),  # Prefect's own
        (Crashed(), State.LOST),
        (PrefectState(type=StateType.CRASHED, name=PREEMPTED), State.PREEMPTED),
    ],
)
def test_what_a_runs_state_says_of_its_cell(state, wanted):
    assert prefect_cells.report(flow_run(state), {}).state is wanted


def test_a_run_whose_process_was_told_to_end_is_preempted():
    state = asyncio.run(exception_to_crashed_state(TerminationSignal(signal.SIGTERM)))
    assert prefect_cells.report(flow_run(state), {}).state is State.PREEMPTED


def test_a_run_that_gives_no_sign_is_lost_and_one_that_does_is_not(clock):
    dead, alive, waiting = flow_run(Running(), 3), flow_run(Running(), 3), flow_run(Scheduled())
    server = Server(dead, alive, waiting)
    backend = cells(server)
    for number in range(int(SILENCE_S / 10) + 2):
        alive.labels[ALIVE] = number
        look(backend, server)
        clock[0] += 10
    assert look(backend, server) == {dead.id: State.LOST, alive.id: State.RUNNING, waiting.id: State.QUEUED}
    assert dead.state.message == "no sign of life for 90 s: its worker or machine is gone"
    assert GIVEN_UP in dead.labels and GIVEN_UP not in alive.labels


@pytest.mark.parametrize("error", [away(), None], ids=["said", "hidden by the client's own tries"])
@pytest.mark.parametrize(("state", "wanted"), [(Running(), State.RUNNING), (Pending(), State.QUEUED)])
def test_while_the_server_is_away_nobody_is_silent(clock, error, state, wanted):
    run = flow_run(state, 3)
    server = Server(run)
    backend = cells(server)
    look(backend, server)
    if error:
        server.errors = [error]
        with pytest.raises(UnreachableError):
            look(backend, server)
    clock[0] += 1800
    for _ in range(8):  # its next sign comes a while after the server is back
        assert look(backend, server) == {run.id: wanted}
        clock[0] += 10
    run.labels[ALIVE] = 4
    assert look(backend, server) == {run.id: wanted}


def test_a_run_that_was_deleted_is_lost():
    run = flow_run(Running(), 3)
    server = Server(run)
    del server.runs[run.id]
    found = asyncio.run(cells(server).look([str(run.id)]))
    assert found[str(run.id)].state is State.LOST and "no longer on Prefect's server" in found[str(run.id)].message


def test_a_server_that_is_away_is_waited_for_and_not_for_ever(clock, monkeypatch):
    monkeypatch.setattr(prefect_cells, "PATIENCE_S", 60.0)
    server = Server(flow_run(Running()))
    server.errors = [away(), answered(503), None]
    assert asyncio.run(prefect_cells.until_answered(lambda: cells(server).earlier(datetime.now(UTC)))) == {}
    assert clock[0] == 1010
    server.errors = [away() for _ in range(10**4)]
    with pytest.raises(UnreachableError):
        asyncio.run(prefect_cells.until_answered(lambda: cells(server).earlier(datetime.now(UTC))))
    assert clock[0] == 1075


def test_a_request_that_the_server_refuses_is_no_outage(clock):
    server = Server()
    server.errors = [answered(422)]
    with pytest.raises(PrefectHTTPStatusError):
        asyncio.run(prefect_cells.until_answered(lambda: cells(server).earlier(datetime.now(UTC))))


def grid_runs(number):
    """A run of `ablations` and the cells it handed out."""
    own = flow_run(PrefectState(type=StateType.CANCELLED), **{GRID: "key"})
    handed = [flow_run(Scheduled()) for _ in range(number)]
    for one in handed:
        one.tags.append("grid:key")
    return own, handed


def test_a_grid_that_is_cancelled_leaves_no_cell_to_be_begun():
    own, handed = grid_runs(450)
    other = flow_run(Scheduled())
    other.tags.append("grid:another")
    server = Server(own, *handed, other)
    assert asyncio.run(prefect_cells.cancel_waiting(server, own.id, "ablations")) == 450
    assert {one.state.type for one in handed} == {StateType.CANCELLED} and other.state.type is StateType.SCHEDULED


def test_cells_that_another_run_of_the_same_grid_needs_are_not_cancelled():
    own, handed = grid_runs(3)
    twin = flow_run(Running(), **{GRID: "key"})
    twin.tags.append("flow:ablations")
    assert asyncio.run(prefect_cells.cancel_waiting(Server(own, twin, *handed), own.id, "ablations")) == 0
    assert {one.state.type for one in handed} == {StateType.SCHEDULED}


@pytest.mark.parametrize("fate", ["crashed", "given up and called Running again", "deleted", "alive"])
def test_a_run_that_was_given_up_and_lives_is_told_to_end(monkeypatch, fate):
    said, run = [], uuid4()

    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read_flow_run(self, run):
            if fate == "deleted":
                raise ObjectNotFound(Exception("404"))
            labels = {GIVEN_UP: True} if fate.startswith("given up") else {}
            return SimpleNamespace(state=Crashed() if fate == "crashed" else Running(), labels=labels)

        def update_flow_run_labels(self, run, labels):
            said.append(labels[ALIVE])

    monkeypatch.setattr(prefect_cells, "get_client", lambda sync_client: Client())
    monkeypatch.setattr(prefect_cells, "SIGN_EVERY_S", 0.01)
    monkeypatch.setattr(prefect_cells.os, "kill", lambda process, number: said.append((process, number)))
    with prefect_cells.signs_of_life(run, "here"):
        deadline = time.monotonic() + 10
        while len(said) < (3 if fate == "alive" else 1) and time.monotonic() < deadline:
            time.sleep(0.01)
    if fate == "alive":
        assert said[:3] == [0, 1, 2]
    else:
        assert said == [(os.getpid(), signal.SIGTERM)]
