"""A worker runs its cell once, on the inputs that were made for it, and shares the result; or says what is wrong."""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("dvc")

from pipeline import dvc_commands, graph, guard, worker, workspace
from pipeline.dvc_commands import ChangedError, TroubleError
from pipeline.grid import Grid
from tests import sleeping_grid

AXES = {"variants": ["baseline", "mmm_map"], "datasets": ["human36m"], "seeds": [0]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An origin, a remote that has the shared stages, the graph, and what the shared stages made."""
    base = tmp_path_factory.mktemp("grid")
    source = sleeping_grid.origin(base / "origin", AXES)
    submitter = sleeping_grid.clone(source, base / "submitter", base / "remote")
    environment = sleeping_grid.environment(submitter, LANGPOSE_RUNS=str(base / "runs"))
    run = [sys.executable, "-m"]
    there = {"cwd": submitter, "env": environment, "check": True, "capture_output": True}
    subprocess.run([*run, "pipeline.reproduce", "demo"], **there)
    stages = graph.read(submitter)
    shared = list(graph.shared(stages, "demo"))
    subprocess.run([*run, "dvc", "push", "-q", "--run-cache", *shared], **there)
    (base / "runs").unlink()
    return base, source, submitter, stages


@pytest.fixture
def clone(made, tmp_path, monkeypatch):
    """A worker's clone, with a copy of the remote of its own; the current folder."""
    base, source, _, _ = made
    shutil.copytree(base / "remote", tmp_path / "remote")
    folder = sleeping_grid.clone(source, tmp_path / "clone", tmp_path / "remote")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("LANGPOSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(dvc_commands.time, "sleep", lambda seconds: None)
    return folder


def job(made, name, expected=None, commit=None):
    submitter, stages = made[2:]
    cell = stages[name]
    found = {}
    for entry in dvc_commands.lock(submitter).values():
        found |= dvc_commands.outputs(entry)
    os.chdir(submitter)
    grid = Grid.of("demo")
    commit = commit or workspace.commit()
    return worker.job(cell, commit, grid, found if expected is None else expected, None)


def runs(tmp_path):
    file = tmp_path / "runs"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.split()[1] for line in lines if line.startswith("begin")]


def in_clone(clone, job, said=None):
    os.chdir(clone)
    return worker.run(job, (said if said is not None else []).append)


def test_it_runs_the_cell_alone_and_shares_it(made, clone, tmp_path):
    result = in_clone(clone, job(made, "base@demo-0"))
    assert result.ran and runs(tmp_path) == ["base"]  # what it needs came from the remote
    assert result.outputs == {"models/demo/base/0": guard.hash_of(clone / "models/demo/base/0")}
    assert set(result.scores) == {"P1_mm", "val_mpjpe_mm"}
    other = sleeping_grid.clone(made[1], tmp_path / "other", tmp_path / "remote")
    again = in_clone(other, job(made, "base@demo-0"))
    assert not again.ran and again.outputs == result.outputs and runs(tmp_path) == ["base"]


def test_what_another_cell_should_have_made_is_not_made_again_here(made, clone, tmp_path):
    with pytest.raises(TroubleError, match="what it needs is not in the DVC remote"):
        in_clone(clone, job(made, "pretrain@demo-mmm_map-0"))
    assert runs(tmp_path) == []


def test_inputs_other_than_the_grids_are_refused_before_anything_runs(made, clone, tmp_path):
    wrong = {"data/demo/motions": "0" * 32 + ".dir"}
    with pytest.raises(ChangedError, match="inputs of a stage are not what was made for it"):
        in_clone(clone, job(made, "base@demo-0", wrong))
    assert runs(tmp_path) == []


def test_an_object_that_was_changed_in_the_cache_is_noticed_and_fetched_again(made, clone, tmp_path):
    said = []
    wanted = job(made, "base@demo-0")
    os.chdir(clone)
    workspace.prepare(wanted.commit, wanted.grid)
    dvc_commands.run(["repro", "--pull", "project@demo"], said.append)
    digest = guard.hash_of(clone / "data/demo/views/metrics.json")
    held = clone / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    for path in (held, clone / "data/demo/views/metrics.json"):
        path.chmod(0o644)
        path.write_text("tampered")
    shutil.rmtree(clone / ".dvc" / "tmp")
    with pytest.raises(ChangedError):
        in_clone(clone, wanted, said)
    assert any("to be fetched again: " in line and "data/demo/views" in line for line in said)
    assert runs(tmp_path) == []
    assert in_clone(clone, wanted).ran
    assert guard.hash_of(clone / "data/demo/views/metrics.json") == digest


def test_an_object_that_was_changed_in_the_remote_is_not_used(made, clone, tmp_path):
    wanted = job(made, "base@demo-0")
    for path in (tmp_path / "remote" / "files" / "md5").rglob("*"):
        if path.is_file() and path.suffix != ".dir" and b"P1_mm" in path.read_bytes():
            path.chmod(0o644)
            path.write_text("tampered")
    with pytest.raises(TroubleError):
        in_clone(clone, wanted)
    assert runs(tmp_path) == []


def test_another_commit_or_somebodys_changes_are_refused(made, clone):
    with pytest.raises(workspace.UnfitError, match="push it where this clone fetches from"):
        in_clone(clone, job(made, "base@demo-0", commit="0" * 40))
    (clone / "langpose" / "losses.py").write_text("mine = True\n")
    with pytest.raises(workspace.UnfitError, match=r"\(langpose/losses.py\)"):
        in_clone(clone, job(made, "base@demo-0"))


def test_a_job_survives_the_journey(made):
    one = job(made, "base@demo-0")
    assert worker.Job.from_json(one.to_json()) == one
