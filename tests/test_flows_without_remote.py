"""What a newcomer has: two workers in one checkout, without a DVC remote."""

import pytest

pytest.importorskip("prefect")
pytest.importorskip("mlflow")
pytest.importorskip("dvc")

from tests.grid_services import Services, alone

pytestmark = [pytest.mark.grid, pytest.mark.filterwarnings("ignore")]
AXES = {"variants": ["baseline", "mmm_map"], "datasets": ["human36m"], "seeds": [0]}


def test_two_workers_share_a_checkout_and_its_tables_are_those_of_dvc_alone(tmp_path):
    services = Services(tmp_path / "grid", AXES, mlflow=False, shared=False)
    try:
        services.start_all()
        run = services.begin()
        assert services.wait(run) == "COMPLETED 11 cells, 11 of them run"
        assert sorted(services.begun()) == sorted(set(services.begun())) == sorted(services.ended())
        again = services.begin()
        assert services.wait(again) == "COMPLETED 11 cells, 0 of them run"
        assert not services.remote.exists()
        single = alone(tmp_path / "alone", services.origin)
        tables = [folder / "reports/demo/table1.md" for folder in (services.submitter, single)]
        assert tables[0].read_bytes() == tables[1].read_bytes()
    finally:
        services.close()
