"""A worker runs its cell once, on the inputs that were made for it, and shares the result; or says what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

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


def job(made, name, entries=None, commit=None, expected=None):
    submitter, stages = made[2:]
    os.chdir(submitter)
    one = worker.job(stages[name], commit or workspace.commit(), Grid.of("demo"),
                     dvc_commands.lock() if entries is None else entries, None)  # fmt: skip
    return one if expected is None else replace(one, expected=expected)


def runs(tmp_path):
    file = tmp_path / "runs"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.split()[1] for line in lines if line.startswith("begin")]


def in_clone(clone, job, said=None):
    os.chdir(clone)
    workspace.prepare(job.commit, job.grid)
    return worker.run(job, (said if said is not None else []).append)


def test_it_runs_the_cell_alone_and_shares_it(made, clone, tmp_path):
    result = in_clone(clone, job(made, "base@demo-0"))
    assert result.ran and runs(tmp_path) == ["base"]  # what it needs came from the remote
    made_here = dvc_commands.outputs(result.entry)
    assert made_here == {"models/demo/base/0": guard.hash_of(clone / "models/demo/base/0")}
    assert set(result.scores) == {"P1_mm", "val_mpjpe_mm"}
    other = sleeping_grid.clone(made[1], tmp_path / "other", tmp_path / "remote")
    again = in_clone(other, job(made, "base@demo-0"))
    assert not again.ran and again.entry == result.entry and runs(tmp_path) == ["base"]


def test_what_another_cell_should_have_made_is_not_made_again_here(made, clone, tmp_path):
    with pytest.raises(TroubleError, match="the DVC remote d"):
        in_clone(clone, job(made, "pretrain@demo-mmm_map-0"))
    assert runs(tmp_path) == []


def test_inputs_other_than_the_grids_are_refused_before_anything_runs(made, clone, tmp_path):
    wrong = {"data/demo/motions": "0" * 32 + ".dir"}
    with pytest.raises(ChangedError, match="inputs of a stage are not what was made for it"):
        in_clone(clone, job(made, "base@demo-0", expected=wrong))
    assert runs(tmp_path) == []


def test_an_object_that_was_changed_in_the_cache_is_noticed_and_fetched_again(made, clone, tmp_path):
    said = []
    wanted = job(made, "base@demo-0")
    os.chdir(clone)
    workspace.prepare(wanted.commit, wanted.grid)
    dvc_commands.add_to_lock(wanted.needs)
    dvc_commands.run(["pull", "project@demo"], said.append)
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


def test_paths_from_elsewhere_cannot_leave_the_checkout(made, clone, tmp_path):
    (tmp_path / "mine").write_text("precious")
    for name in ("../mine", str(tmp_path / "mine"), ".", "data/../../mine"):
        with pytest.raises(ValueError, match="is not a path within the checkout"):
            worker.drop_changed({name: "0" * 32})
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    ("stage", "end", "words"),
    [
        ("", "done", ""),
        ("raise SystemExit(75)", "preempted", "was told to end"),
        ("raise SystemExit(1)", "failed", "failed to run"),
    ],
)
def test_the_program_says_how_it_ended(made, clone, tmp_path, stage, end, words):
    wanted = job(made, "base@demo-0")
    os.chdir(clone)
    workspace.prepare(wanted.commit, wanted.grid)
    if stage:
        (clone / "pipeline/stages/base.py").write_text(stage + "\n")
    (tmp_path / "job.json").write_text(json.dumps(wanted.to_json()))
    command = [sys.executable, "-m", "pipeline.worker", str(tmp_path / "job.json"), str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = json.loads((tmp_path / "out").read_text())
    assert result["end"] == end and words in result["message"]
    assert "Running stage 'base@demo-0'" in said
    if end == "done":
        assert result["ran"] and result["entry"]["outs"][0]["path"] == "models/demo/base/0"


def test_a_job_survives_the_journey(made):
    one = job(made, "base@demo-0")
    assert worker.Job.from_json(one.to_json()) == one
