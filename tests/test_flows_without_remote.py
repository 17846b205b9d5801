"""What a newcomer does: `make services`, `prefect deployment run ablations`, `make services-down`; no DVC remote."""

import subprocess
import sys
import urllib.error
import urllib.request

import pytest

pytest.importorskip("prefect")
pytest.importorskip("mlflow")
pytest.importorskip("dvc")

from pipeline import services
from tests import sleeping_grid
from tests.grid_services import alone, free_port, run_begun, wait

pytestmark = [pytest.mark.grid, pytest.mark.filterwarnings("ignore")]
AXES = {"variants": ["baseline", "mmm_map"], "datasets": ["human36m"], "seeds": [0]}


def test_services_come_up_two_workers_share_the_checkout_and_nothing_stays(tmp_path):
    origin = sleeping_grid.origin(tmp_path / "origin", AXES)
    checkout = sleeping_grid.clone(origin, tmp_path / "checkout", None)
    port, mlflow_port = free_port(), free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = sleeping_grid.environment(
        checkout, LANGPOSE_RUNS=str(tmp_path / "runs"), OMP_NUM_THREADS="1", PREFECT_API_URL=api,
        PREFECT_HOME=str(tmp_path / "prefect"), **services.QUIET,
    )  # fmt: skip

    def call(*command):
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def service(*arguments):
        return call(sys.executable, "-m", "pipeline.services", *arguments)

    def grid():
        """How a grid ends that is begun now."""
        said = call(services.program("prefect"), "deployment", "run", "ablations")
        return wait(api, run_begun(said), 600, f"logs in {checkout / services.HOME}")

    try:
        said = service("up", "--workers", "2", "--port", str(port), "--mlflow-port", str(mlflow_port))
        assert f"Prefect  http://127.0.0.1:{port}\nMLflow   http://127.0.0.1:{mlflow_port}\nworkers  2 on" in said
        assert service("status").count(" running ") == 5
        assert grid() == "COMPLETED 11 cells, 11 of them run"
        logs = [(checkout / services.HOME / f"worker-{index}.log").read_text() for index in range(2)]
        assert all("Finished in state Completed" in log for log in logs)
        assert grid() == "COMPLETED 11 cells, 0 of them run"
    finally:
        stopped = service("down", "--grace", "5")
    assert stopped.count(" stopped") == 5
    for address in (api, f"http://127.0.0.1:{mlflow_port}"):
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{address}/health", timeout=5)
    lines = [line.rsplit(" ", 2)[0] for line in (tmp_path / "runs").read_text().splitlines()]
    assert len(lines) == len(set(lines)) and sum(line.startswith("begin") for line in lines) == len(lines) / 2
    single = alone(tmp_path / "alone", origin)
    tables = [folder / "reports/demo/table1.md" for folder in (checkout, single)]
    assert tables[0].read_bytes() == tables[1].read_bytes()
