"""Cells are handed out once, when what they need is done, and again only where that is sensible."""

import asyncio
import random
import time

import pytest

from pipeline.graph import Stage
from pipeline.scheduler import Patience, Report, State, UnreachableError, run

QUICK = Patience(poll_s=0.0, trouble_delay_s=30.0, unreachable_s=0.2)


def cell(name, *needs):
    return Stage(name, f"python -m pipeline.stages.{name}", needs, (), {"seed": "0", "profile": "p"})


def grid(variants=3):
    """base -> pretrain -> finetune -> evaluate of some variants; the data that base needs is not part of it."""
    cells = [cell("base", "data")]
    for v in range(variants):
        cells += [cell(f"pretrain{v}", "base", "data"), cell(f"finetune{v}", f"pretrain{v}", "data"),
                  cell(f"evaluate{v}", f"finetune{v}")]  # fmt: skip
    return {one.name: one for one in cells}


class Workers:
    """Runs cells in no time, a few at once, as its script says."""

    def __init__(self, number=2, script=None, unreachable=()):
        self.number, self.script = number, script or {}
        self.calls, self.unreachable = 0, set(unreachable)
        self.submitted, self.delays, self.ended, self.begun = [], {}, {}, []
        self.done = set()

    def _answer(self):
        self.calls += 1
        if self.calls in self.unreachable:
            raise UnreachableError(f"call {self.calls}")

    async def submit(self, cell, attempt, delay_s):
        self._answer()
        handle = f"{cell.name}/{attempt}"
        if handle not in self.submitted:
            self.submitted.append(handle)
        self.delays[handle] = delay_s
        assert all(need in self.done for need in cell.needs if need != "data"), f"{cell.name} was handed out too early"
        return handle

    async def look(self, handles):
        self._answer()
        handles = list(handles)
        reports = {handle: Report(State.RUNNING) for handle in handles[: self.number]}
        for handle in handles[: self.number]:
            if handle not in self.begun:
                self.begun.append(handle)
                continue
            name, attempt = handle.split("/")
            state = self.script.get(handle, State.DONE)
            if state is State.DONE:
                self.done.add(name)
            reports[handle] = Report(state, f"{handle} ended", {"attempt": int(attempt)})
        return reports


def ends(progress):
    return {name: one.state for name, one in progress.items()}


def test_every_cell_is_run_once_and_after_what_it_needs():
    workers, seen = Workers(), []
    progress = asyncio.run(
        run(grid(), workers, changed=lambda one: seen.append((one.cell.name, one.state)), patience=QUICK)
    )
    assert set(ends(progress).values()) == {State.DONE}
    assert sorted(workers.submitted) == sorted(f"{name}/0" for name in grid())
    for name in grid():
        assert [state for one, state in seen if one == name] == [State.QUEUED, State.RUNNING, State.DONE]


def test_finetuning_does_not_wait_for_another_variants_pretraining():
    class Slow(Workers):
        async def look(self, handles):
            held = {handle for handle in handles if handle == "pretrain0/0" and len(self.done) < 7}
            return {h: r for h, r in (await super().look(handles)).items() if h not in held or r.state is State.RUNNING}

    workers = Slow(number=4)
    asyncio.run(run(grid(), workers, patience=QUICK))
    assert workers.submitted.index("evaluate1/0") < workers.submitted.index("finetune0/0")


def test_a_failed_cell_is_not_run_again_and_what_needs_it_is_given_up_while_the_rest_goes_on():
    workers = Workers(script={"pretrain1/0": State.FAILED})
    progress = asyncio.run(run(grid(), workers, patience=QUICK))
    assert progress["pretrain1"].state is State.FAILED and progress["pretrain1"].message == "pretrain1/0 ended"
    assert [progress[f"{stage}1"].state for stage in ("finetune", "evaluate")] == [State.BLOCKED] * 2
    assert all(state is State.DONE for name, state in ends(progress).items() if "1" not in name)
    assert "pretrain1/1" not in workers.submitted


def test_a_lost_cell_is_run_again_at_once_and_one_in_trouble_after_a_while_that_grows():
    lost = Workers(script={"base/0": State.LOST, "base/1": State.LOST})
    assert set(ends(asyncio.run(run(grid(), lost, patience=QUICK))).values()) == {State.DONE}
    assert [lost.delays[f"base/{n}"] for n in range(3)] == [0.0, 0.0, 15.0]
    trouble = Workers(script={f"base/{n}": State.TROUBLE for n in range(3)})
    assert set(ends(asyncio.run(run(grid(), trouble, patience=QUICK))).values()) == {State.DONE}
    assert [trouble.delays[f"base/{n}"] for n in range(4)] == [0.0, 30.0, 60.0, 120.0]


def test_a_preempted_cell_goes_on_for_as_long_as_it_is_preempted():
    workers = Workers(script={f"base/{n}": State.PREEMPTED for n in range(100)})
    assert set(ends(asyncio.run(run(grid(), workers, patience=QUICK))).values()) == {State.DONE}
    assert [workers.delays[f"base/{n}"] for n in (0, 1, 2, 3, 100)] == [0.0, 0.0, 15.0, 15.0, 15.0]


@pytest.mark.parametrize(("state", "times"), [(State.LOST, 20), (State.TROUBLE, 20)])
def test_patience_ends(state, times):
    workers = Workers(script={f"base/{n}": state for n in range(100)})
    progress = asyncio.run(run(grid(), workers, patience=QUICK))
    assert progress["base"].state is State.FAILED
    assert len(workers.submitted) == times + 1
    assert max(workers.delays.values()) == 600.0
    assert {one for name, one in ends(progress).items() if name != "base"} == {State.BLOCKED}


def test_an_attempt_that_an_earlier_scheduler_made_is_taken_up():
    workers = Workers()
    workers.submitted = ["base/3"]  # as if another one had handed it out
    progress = asyncio.run(run(grid(), workers, first_attempt={"base": 3}, patience=QUICK))
    assert workers.submitted.count("base/3") == 1 and "base/0" not in workers.submitted
    assert progress["base"].state is State.DONE


def test_a_backend_that_is_away_for_a_while_costs_nothing():
    workers = Workers(unreachable=(1, 2, 5, 6, 7, 11))
    progress = asyncio.run(run(grid(), workers, patience=QUICK))
    assert set(ends(progress).values()) == {State.DONE}
    assert len(workers.submitted) == len(grid())


def test_a_backend_that_is_away_at_first_is_not_asked_without_end():
    workers = Workers(unreachable=range(1, 10**6))
    with pytest.raises(UnreachableError):
        asyncio.run(run(grid(), workers, patience=Patience(poll_s=0.02, unreachable_s=0.2)))
    assert workers.calls < 20


def test_a_backend_that_stays_away_is_given_up():
    workers = Workers(unreachable=range(3, 10**6))
    with pytest.raises(UnreachableError):
        asyncio.run(run(grid(), workers, patience=Patience(poll_s=0.001, unreachable_s=0.1)))


def test_random_grids_with_random_losses_end_with_every_cell_done_once():
    for seed in range(20):
        chance = random.Random(seed)
        names = [f"c{n}" for n in range(40)]
        cells = {
            name: cell(name, *chance.sample(names[:n], k=min(n, chance.randrange(4)))) for n, name in enumerate(names)
        }
        script = {f"{name}/{n}": State.LOST for name in names for n in range(chance.randrange(4))}
        workers = Workers(number=chance.randrange(1, 6), script=script)
        progress = asyncio.run(run(cells, workers, patience=QUICK))
        assert set(ends(progress).values()) == {State.DONE}
        assert len(workers.submitted) == len(names) + len(script)


@pytest.mark.parametrize("cells", [100, 500])
def test_its_own_time_a_cell_is_small(cells):
    """A bound that only something quadratic would break; benchmarks/grid.py measures it."""
    graph = grid(cells // 3)
    began = time.process_time()
    asyncio.run(run(graph, Workers(number=64), patience=QUICK))
    assert (time.process_time() - began) / len(graph) < 0.02
