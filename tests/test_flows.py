"""A grid over two workers, each in a clone of its own: every cell once, in DVC, in MLflow, and the same tables."""

import json
import subprocess
import sys
import time

import pytest

pytest.importorskip("prefect")
pytest.importorskip("mlflow")
pytest.importorskip("dvc")

from mlflow import MlflowClient

from tests.grid_services import Services, alone, family

pytestmark = [pytest.mark.grid, pytest.mark.filterwarnings("ignore")]
AXES = {"variants": ["baseline", "mmm_map"], "datasets": ["human36m"], "seeds": [0]}
CELLS = 11
"""base, then of two variants pretrain, embed, complete, finetune, evaluate."""


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A grid that two workers have computed; its services, still up."""
    services = Services(tmp_path_factory.mktemp("grid") / "base", AXES, sleep_s=0.5)
    try:
        services.start_all()
        services.first = services.begin()
        assert services.wait(services.first) == f"COMPLETED {CELLS} cells, {CELLS} of them run"
        yield services
    finally:
        services.close()


def test_every_stage_ran_once_and_both_workers_took_part(grid):
    assert sorted(grid.begun()) == sorted(set(grid.begun())) == sorted(grid.ended())
    assert sum(name.split()[-1] == "0" for name in grid.begun()) == CELLS
    logs = [(grid.base / f"worker-{index}.log").read_text() for index in range(2)]
    assert all("Completed" in log for log in logs)


def test_the_tables_are_those_of_one_machine_to_the_byte(grid, tmp_path):
    single = alone(tmp_path / "alone", grid.origin)
    for name in ("table1.md", "index.html"):
        assert (grid.submitter / "reports/demo" / name).read_bytes() == (single / "reports/demo" / name).read_bytes()


def test_prefects_page_of_the_grid_has_its_cells_and_its_tables(grid):
    rows = json.loads(grid.artifact(grid.first, "table"))
    assert len(rows) == CELLS and {row["state"] for row in rows} == {"done"}
    assert all(row["machine"] and float(row["minutes"]) > 0 and row["run"].startswith("http") for row in rows)
    scored = [row for row in rows if row["cell"].startswith("evaluate")]
    assert len(scored) == 2 and all(float(row["P1 (mm)"]) > 0 for row in scored)
    assert grid.artifact(grid.first, "progress") == 100.0
    assert grid.artifact(grid.first, "markdown", "tables") == (grid.submitter / "reports/demo/table1.md").read_text()
    assert "compare-runs" in grid.artifact(grid.first, "markdown", "mlflow")


def test_reproduce_brings_the_whole_profile_and_runs_nothing_that_is_there(grid):
    before, run = grid.begun(), grid.begin("reproduce")
    assert grid.wait(run).startswith("COMPLETED report: ")
    assert grid.begun() == before
    assert grid.artifact(run, "markdown", "tables") == (grid.submitter / "reports/demo/table1.md").read_text()


def test_the_submitter_and_a_colleague_restore_every_cell_and_run_none(grid, tmp_path):
    before = grid.begun()
    said = subprocess.run([sys.executable, "-m", "dvc", "repro", "--pull"], cwd=grid.submitter, capture_output=True,
                          env=grid.environment(grid.submitter), text=True, check=True).stdout  # fmt: skip
    assert "Running stage" not in said and grid.begun() == before


def test_mlflow_has_one_parent_and_a_child_a_model(grid):
    client = MlflowClient(f"http://127.0.0.1:{grid.mlflow_port}")
    experiment = client.get_experiment_by_name("demo")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert len(parents) == 1 and len(runs) == 6 and {run.info.status for run in runs} == {"FINISHED"}
    assert set(children) == {"base 0", "baseline 0", "mmm_map 0", "human36m baseline 0", "human36m mmm_map 0"}
    assert {"P1_mm", "curve/loss"} <= set(children["human36m mmm_map 0"].data.metrics)
    assert {file.path for file in client.list_artifacts(parents[0].info.run_id, "report")} >= {"report/table1.md"}
    assert client.get_model_version_by_alias("langpose-demo-human36m", "best")


def test_the_grid_begun_again_hands_nothing_out(grid):
    before, run = grid.begun(), grid.begin()
    assert grid.wait(run) == f"COMPLETED {CELLS} cells, 0 of them run"
    assert grid.begun() == before


def test_a_mistake_in_a_parameter_is_said_at_once(grid):
    run = grid.begin(variants='["nope"]')
    assert "variants: profile 'demo' has no ['nope']; it has baseline" in grid.wait(run)


def test_a_grid_that_is_cancelled_leaves_no_cell_for_a_worker_that_comes_later(grid):
    for index in range(2):
        grid.kill(f"worker-{index}")
    run = grid.begin(seeds="[7, 8]")
    cells = {"flow_runs": {"name": {"any_": ["base@demo-7", "base@demo-8"]}}}
    deadline = time.monotonic() + 120
    while len(grid.ask("flow_runs", **cells)) < 2 and time.monotonic() < deadline:
        time.sleep(0.5)
    grid.prefect("flow-run", "cancel", run)
    assert grid.wait(run).startswith("CANCELLED")
    while (left := {one["state"]["type"] for one in grid.ask("flow_runs", **cells)}) != {"CANCELLED"}:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    for index in range(2):
        grid.start_worker(index)


@pytest.mark.campaign
def test_a_worker_that_dies_with_its_cell_is_replaced_and_the_result_is_the_same(grid, tmp_path):
    """Its run gives no sign of life; the cell is handed out again, and goes on from its checkpoint."""
    grid.sleep_s = 4.0
    for index in range(2):
        grid.kill(f"worker-{index}")
        grid.start_worker(index)
    run = grid.begin(seeds="[1]")
    victim = worker_at_work(grid, "base demo 1")
    grid.kill(victim)
    assert grid.wait(run).startswith(f"COMPLETED {CELLS} cells")
    assert grid.begun().count("base demo 1") == 2 and grid.ended().count("base demo 1") == 1
    single = alone(tmp_path / "alone", grid.origin, seeds=[1])
    assert (grid.submitter / "reports/demo/table1.md").read_bytes() == (single / "reports/demo/table1.md").read_bytes()


@pytest.mark.campaign
def test_a_submitter_that_dies_is_begun_again_and_its_run_does_not_stay_running(grid):
    grid.sleep_s = 2.0
    first = grid.begin(seeds="[2]")
    worker_at_work(grid, "base demo 2")
    grid.kill("submit")
    grid.start_submitter()
    again = grid.begin(seeds="[2]")
    assert grid.wait(again).startswith(f"COMPLETED {CELLS} cells")
    assert grid.state(first) == "CRASHED its process is gone; the grid was begun again"
    assert grid.begun().count("base demo 2") == grid.ended().count("base demo 2") == 1


@pytest.mark.campaign
def test_a_server_that_is_away_for_two_minutes_costs_no_cell_and_repeats_none(grid):
    """Longer than a run may be silent, and than Prefect's client asks again by itself; a cell ends meanwhile."""
    run = grid.begin(seeds="[3]")
    worker_at_work(grid, "base demo 3")
    grid.kill("server")
    time.sleep(120)
    grid.start_server()
    assert grid.wait(run) == f"COMPLETED {CELLS} cells, {CELLS} of them run"
    begun = [name for name in grid.begun() if name.endswith(" 3")]
    assert len(begun) == len(set(begun)) == CELLS


def worker_at_work(grid, cell: str) -> str:
    """The worker that runs ``cell``, once it has a checkpoint of it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for name in ("worker-0", "worker-1"):
            commands = [" ".join(process.cmdline()) for process in family(grid.processes[name]) if process.is_running()]
            stage, rest = cell.split(" ", 1)
            if any(command.endswith(f"pipeline.stages.{stage} {rest}") for command in commands):
                time.sleep(1.5)
                return name
        time.sleep(0.2)
    raise TimeoutError(cell)
