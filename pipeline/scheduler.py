"""Hands cells out as soon as what they need is done, and sees each through to its end. Knows nothing of Prefect.

Whoever runs cells is a `Backend`. A cell that was lost with its machine, or preempted, is handed out again; one whose
machine was in trouble too, after a while; one that failed by itself is not, and what needs it is given up. Everything
else goes on. Losses and troubles of one cell are counted, since the cell may be what kills its machines; a preempted
one has saved itself, and may be preempted for ever.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from pipeline.graph import Graph, Stage


class State(StrEnum):
    """Where a cell stands."""

    WAITING = "waiting"
    """For what it needs."""
    QUEUED = "queued"
    """Handed out; no worker has begun."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """By itself: the same again would fail again."""
    LOST = "lost"
    """With its machine."""
    PREEMPTED = "preempted"
    """Told to end, and saved."""
    TROUBLE = "trouble"
    """Its machine could not run it: a full disk, a remote out of reach."""
    BLOCKED = "blocked"
    """Something that it needs has failed."""


ENDED = (State.DONE, State.FAILED, State.LOST, State.PREEMPTED, State.TROUBLE)


@dataclass(frozen=True)
class Report:
    """What a backend says of a cell that it was handed."""

    state: State
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of a cell that is done: whatever its worker tells (machine, minutes, scores, output hashes)."""


class UnreachableError(Exception):
    """The backend does not answer at the moment."""


class Backend(Protocol):
    """Runs cells."""

    async def submit(self, cell: Stage, attempt: int, delay_s: float) -> str:
        """Hand ``cell`` out, to begin after ``delay_s``; its handle. The same attempt of a cell is one run for ever."""
        ...

    async def look(self, handles: Iterable[str]) -> Mapping[str, Report]:
        """What became of ``handles``; those of which there is nothing new may be left out."""
        ...


@dataclass
class Progress:
    """A cell's way so far."""

    cell: Stage
    state: State = State.WAITING
    attempt: int = 0
    """Counts from 0; a cell that an earlier scheduler has tried already may begin with more."""
    handle: str = ""
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Patience:
    """How often a cell is handed out again, and how long the scheduler waits."""

    lost: int = 20
    lost_delay_s: float = 15.0
    """Before the third attempt (the second is made at once), doubled before each further one; not if preempted."""
    trouble: int = 20
    trouble_delay_s: float = 30.0
    """Before the second attempt, doubled before each further one."""
    longest_delay_s: float = 600.0
    poll_s: float = 2.0
    unreachable_s: float = 3600.0
    """How long the backend may be out of reach before it is given up."""

    def delay_s(self, state: State, times: int) -> float:
        """Before a cell is handed out again that has ended in ``state`` so many times."""
        if state is State.LOST and times > 1:
            return min(self.longest_delay_s, self.lost_delay_s * 2 ** (times - 2))
        if state is State.PREEMPTED and times > 1:
            return self.lost_delay_s
        if state is State.TROUBLE:
            return min(self.longest_delay_s, self.trouble_delay_s * 2 ** (times - 1))
        return 0.0


async def run(
    graph: Graph,
    backend: Backend,
    first_attempt: Mapping[str, int] | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
    patience: Patience | None = None,
) -> dict[str, Progress]:
    """See all cells of ``graph`` through; what they need and is not in it counts as done. Returns how each ended.

    ``changed`` is called with every change. Raises `UnreachableError` where the backend stays away too long.
    """
    patience = patience or Patience()
    starts = first_attempt or {}
    all_progress = {name: Progress(cell, attempt=starts.get(name, 0)) for name, cell in graph.items()}
    open_needs = {name: sum(need in graph for need in cell.needs) for name, cell in graph.items()}
    dependents: dict[str, list[str]] = {name: [] for name in graph}
    for name, cell in graph.items():
        for need in cell.needs:
            if need in graph:
                dependents[need].append(name)
    ready = deque(name for name, number in open_needs.items() if not number)
    running: dict[str, Progress] = {}
    again: dict[tuple[str, State], int] = {}
    away_since: float | None = None

    def give_up(name: str) -> None:
        waiting = list(dependents[name])
        while waiting:
            progress = all_progress[waiting.pop()]
            if progress.state is State.WAITING:
                progress.state, progress.message = State.BLOCKED, f"{name} failed"
                changed(progress)
                waiting += dependents[progress.cell.name]

    def take(progress: Progress, report: Report) -> None:
        name = progress.cell.name
        if report.state is progress.state and report.state not in ENDED:
            return
        progress.state, progress.message, progress.facts = report.state, report.message, report.facts
        changed(progress)
        if report.state not in ENDED:
            return
        del running[progress.handle]
        if report.state is State.DONE:
            for other in dependents[name]:
                open_needs[other] -= 1
                if not open_needs[other]:
                    ready.append(other)
            return
        key = (name, report.state)
        again[key] = again.get(key, 0) + 1
        allowed = {State.LOST: patience.lost, State.TROUBLE: patience.trouble}.get(report.state, 0)
        if report.state is State.PREEMPTED or again[key] <= allowed:
            progress.attempt += 1
            ready.append(name)
        else:
            progress.state = State.FAILED
            changed(progress)
            give_up(name)

    while ready or running:
        try:
            while ready:
                progress = all_progress[ready[0]]
                delay_s = patience.delay_s(progress.state, again.get((ready[0], progress.state), 0))
                progress.handle = await backend.submit(progress.cell, progress.attempt, delay_s)
                running[progress.handle] = progress
                ready.popleft()
                progress.state = State.QUEUED
                changed(progress)
            for handle, report in (await backend.look(running)).items():
                take(running[handle], report)
            away_since = None
        except UnreachableError:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > patience.unreachable_s:
                raise
        if running or away_since is not None:
            await asyncio.sleep(patience.poll_s)
    return all_progress
