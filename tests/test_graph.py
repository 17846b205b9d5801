"""The grid that is scheduled is the one that dvc.yaml says."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("dvc")

from pipeline import graph, params, selection
from pipeline.axes import Axes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cmu(tmp_path_factory):
    """The graph of profile cmu, read in a checkout without results."""
    place = tmp_path_factory.mktemp("checkout")
    for name in (
        "dvc.yaml",
        "params.yaml",
        "profiles",
        "data/cmu/dvc.yaml",
        "data/demo/dvc.yaml",
        "data/paper/dvc.yaml",
    ):
        source, target = ROOT / name, place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    subprocess.run(["git", "init", "-q"], cwd=place, check=True)
    (place / ".dvc").mkdir()
    (place / ".dvc" / "config").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        selection.list_alone("cmu", params.section("cmu", "axes", Axes))
    return graph.read(place)


def test_cells_are_the_stages_of_a_seed(cmu):
    chosen = params.section("cmu", "axes", Axes)
    cells = graph.cells(cmu, "cmu")
    pretrained = [(v, s) for v in chosen.variants for s in chosen.pretrained(v)]
    tuned = [(d, v, s) for d in chosen.datasets for v in chosen.variants for s in chosen.finetuned(d, v)]
    few = [(d, v, s) for d in chosen.few for v in chosen.variants for s in chosen.finetuned(d, v, few=True)]
    kinds = [cell.kind for cell in cells.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "base": len(chosen.all_seeds), "pretrain": len(pretrained), "embed": len(pretrained),
        "complete": len(pretrained), "finetune": len(tuned), "evaluate": len(tuned),
        "finetune_few": len(few), "evaluate_few": len(few),
    }  # fmt: skip
    assert cells["finetune@cmu-human36m-mmm_map-0"].axes == {
        "profile": "cmu", "dataset": "human36m", "variant": "mmm_map", "seed": "0",
    }  # fmt: skip


def test_a_cell_needs_what_its_stage_depends_on(cmu):
    assert set(cmu["pretrain_repeat@cmu-mmm-1"].needs) == {"project@cmu", "pair@cmu", "base_repeat@cmu-1"}
    assert set(cmu["evaluate@cmu-mpi_inf_3dhp-mtl-0"].needs) == {
        "convert@cmu-mpi_inf_3dhp", "finetune@cmu-mpi_inf_3dhp-mtl-0"
    }  # fmt: skip
    assert "models/cmu/finetune/mpi_inf_3dhp-mtl-0" in cmu["evaluate@cmu-mpi_inf_3dhp-mtl-0"].reads
    assert cmu["pretrain@cmu-mmm-0"].command == "python -m pipeline.stages.pretrain cmu mmm 0"


def test_shared_stages_are_those_that_need_no_cell(cmu):
    shared = graph.shared(cmu, "cmu")
    assert list(shared)[:2] == ["data/cmu/dvc.yaml:download", "data/cmu/dvc.yaml:film"]
    assert {stage.kind for stage in shared.values()} == {
        "data/cmu/dvc.yaml:download", "data/cmu/dvc.yaml:film", "project", "pair", "convert", "visibility"
    }  # fmt: skip
    assert "report@cmu" not in shared and not any("demo" in name for name in shared)


def test_stages_come_after_what_they_need(cmu):
    seen = set()
    for name, stage in cmu.items():
        assert set(stage.needs) <= seen
        seen.add(name)


def test_every_stage_of_dvc_yaml_is_there(cmu):
    """But those whose axes the profile leaves empty."""
    named = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    found = {name.split("@")[0] for name in cmu if ":" not in name}
    assert found <= named and named - found == {"finetune_few_repeat", "evaluate_few_repeat"}
