"""The fault campaign of tests/faults.py, in full; its committed result is docs/reliability.md."""

import pytest

pytest.importorskip("prefect")
pytest.importorskip("mlflow")
pytest.importorskip("dvc")

from tests import faults

pytestmark = [pytest.mark.campaign, pytest.mark.filterwarnings("ignore")]


def test_no_cell_is_lost_none_doubled_and_no_table_wrong(tmp_path):
    found = faults.campaign(tmp_path, grids=12, faults=3, seed=0)
    assert found["faults"] >= 30
    assert (found["lost"], found["duplicated"], found["wrong"]) == (0, 0, 0)
