"""The stage `project` on a small AMASS: subsets by name, and every file in the manifest."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from langpose.demo.amass_files import write_sequence, write_shape
from langpose.demo.babel_files import LabelledSequence, write_babel
from langpose.demo.standin_body import write_standin_body
from langpose.projection import ProjectConfig, project
from pipeline.stages.project import amass_jobs
from tests.test_amass import crouch


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_standin_body(folder / "body_models")
    for subset, subject in (("CMU", "07"), ("KIT", "3"), ("BioMotionLab_NTroje", "rub001")):
        write_sequence(folder / "amass", replace(crouch(), subset=subset, subject=subject), seed=0)
    write_shape(folder / "amass", "CMU", "07", "male", crouch().betas)
    write_babel(folder / "babel", [LabelledSequence("CMU/07/07_01_poses.npz", 0.3, [], "train")], 0)
    return folder


def test_only_the_subsets_named_are_read_and_the_others_are_listed(raw, tmp_path):
    jobs, left_out = amass_jobs(raw, ["CMU", "BMLrub"])
    assert [job.recording for job in jobs] == ["BMLrub/rub001/07_01", "CMU/07/07_01", "CMU/07/shape"]
    config = ProjectConfig(min_seconds=0.1, workers=1)
    project(jobs, tmp_path / "motions", tmp_path / "views", config, tmp_path / "work", left_out)
    manifest = pd.read_csv(tmp_path / "motions/manifest.csv").set_index("recording")
    assert dict(manifest["status"]) == {
        "KIT/3/07_01": "skipped", "BMLrub/rub001/07_01": "used", "CMU/07/07_01": "used", "CMU/07/shape": "skipped",
    }  # fmt: skip
    assert manifest.loc["KIT/3/07_01", "note"] == "its subset is not in project.subsets"
    assert "a body without motion" in manifest.loc["CMU/07/shape", "note"]
    assert len(amass_jobs(raw, [])[0]) == 4


def test_a_subset_that_is_not_there_or_has_no_such_name_is_an_error(raw):
    with pytest.raises(ValueError, match=r"holds nothing of the subsets SFU \(project\.subsets\)"):
        amass_jobs(raw, ["SFU"])
    with pytest.raises(ValueError, match="no subset of AMASS; did you mean CMU"):
        amass_jobs(raw, ["CMUU"])
