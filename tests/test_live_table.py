"""The grid's table on Prefect's page says where each cell stands; that it cannot be written costs nothing."""

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("prefect")

from pipeline import live_table
from pipeline.graph import Stage
from pipeline.live_table import TABLE_EVERY_S, LiveTable
from pipeline.scheduler import Progress, State

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's, at import
CELLS = {name: Stage(name, "", (), (), {"seed": "0"}) for name in ("base@demo-0", "evaluate@demo-mmm-0")}


@pytest.fixture
def page(monkeypatch):
    """What was written: tables, shares; ``page.broken``: nothing can be; ``page.now``: the clock."""
    page = SimpleNamespace(tables=[], shares=[], told=[], broken=False, now=100.0, warned=0)

    async def table(rows, key, told):
        if page.broken:
            raise OSError("Prefect is away")
        page.tables.append([dict(row) for row in rows])
        page.told.append((key, told))

    async def begin(share, key, title):
        page.shares.append(share)
        return "id"

    async def update(progress, share):
        page.shares.append(share)

    def warning(*_):
        page.warned += 1

    monkeypatch.setattr(live_table, "acreate_table_artifact", table)
    monkeypatch.setattr(live_table, "acreate_progress_artifact", begin)
    monkeypatch.setattr(live_table, "aupdate_progress_artifact", update)
    monkeypatch.setattr(live_table, "get_run_logger", lambda: SimpleNamespace(warning=warning))
    monkeypatch.setattr(live_table, "time", SimpleNamespace(monotonic=lambda: page.now))
    return page


def made(missing):
    return LiveTable(SimpleNamespace(profile="demo", id="0a1b"), CELLS, {name: CELLS[name] for name in missing})


def done(name, **facts):
    return Progress(CELLS[name], State.DONE, facts=facts)


def test_it_says_state_machine_minutes_and_score_of_each_cell(page):
    table = made(["evaluate@demo-mmm-0"])
    asyncio.run(table.write())
    facts = {"machine": "a GPU 1", "seconds": 90.0, "scores": {"P1_mm": 51.26}, "run": "http://mlflow/1"}
    table.changed(done("evaluate@demo-mmm-0", **facts))
    asyncio.run(table.write(now=True))
    before, after = page.tables
    assert [row["state"] for row in before] == ["restored", "waiting"]
    assert after[1] == {"cell": "evaluate@demo-mmm-0", "state": "done", "machine": "a GPU 1", "minutes": 1.5,
                        "P1 (mm)": "51.3", "run": "http://mlflow/1", "message": ""}  # fmt: skip
    assert page.shares == [50.0, 100.0]
    assert page.told[1] == ("ablations-demo-0a1b", "Grid 0a1b of profile demo: 1 restored, 1 done")


def test_it_is_written_where_something_changed_and_not_too_often(page):
    table = made(list(CELLS))
    for _ in range(3):
        asyncio.run(table.write())
    assert len(page.tables) == 1
    table.changed(done("base@demo-0"))
    asyncio.run(table.write())
    assert len(page.tables) == 1
    page.now += TABLE_EVERY_S + 1
    asyncio.run(table.write())
    assert len(page.tables) == 2


def test_what_could_not_be_written_is_written_later(page):
    table = made(list(CELLS))
    page.broken = True
    asyncio.run(table.write())
    assert (page.tables, page.warned) == ([], 1)
    page.broken = False
    page.now += TABLE_EVERY_S + 1
    asyncio.run(table.write())
    assert len(page.tables) == 1


def test_a_key_is_what_prefect_takes():
    assert (
        live_table.artifact_key("cell", "finetune@demo-human36m-mmm_map-0") == "cell-finetune-demo-human36m-mmm-map-0"
    )
