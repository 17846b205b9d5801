"""A worker's checkout is at the exact commit with the grid's parameters; nobody's changes are lost in it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("ruamel.yaml")

from pipeline import axes, params, workspace
from pipeline.grid import Grid
from pipeline.workspace import UnfitError

ROOT = Path(__file__).parents[1]
ME = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}


def git(folder, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=os.environ | ME, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def origin(tmp_path):
    folder = tmp_path / "origin"
    folder.mkdir()
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (folder / "code.py").write_text("one = 1\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def clone(origin, tmp_path, monkeypatch):
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(origin), str(folder))
    monkeypatch.chdir(folder)
    return folder


def newer(origin):
    (origin / "code.py").write_text("one = 2\n")
    git(origin, "commit", "-qam", "second")
    return git(origin, "rev-parse", "HEAD")


def test_it_is_brought_to_the_commit_with_the_grids_parameters(origin, clone):
    wanted = newer(origin)
    grid = Grid.of("demo", variants=["baseline"], overrides=["pretrain.gamma=1.5"])
    workspace.prepare(wanted, grid)
    assert workspace.commit() == wanted and Path("code.py").read_text() == "one = 2\n"
    assert axes.read() == grid.axes and params.load("demo")["pretrain"]["gamma"] == 1.5


def test_what_a_killed_job_left_is_restored_by_the_next(clone):
    first = workspace.commit()
    workspace.prepare(first, Grid.of("demo", overrides=["pretrain.gamma=1.5"]))
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {a: {}}\n")
    Path("reports/demo").mkdir(parents=True)
    Path("reports/demo/table1.md").write_text("half a rep")
    other = Grid.of("demo", variants=["mmm"])
    workspace.prepare(first, other)
    assert params.load("demo")["pretrain"]["gamma"] != 1.5 and axes.read() == other.axes
    assert not Path("reports/demo/table1.md").exists() and "a: {}" not in Path("dvc.lock").read_text()


@pytest.mark.parametrize("change", ["tracked", "new", "params"])
def test_a_checkout_with_somebodys_changes_is_refused_and_keeps_them(clone, change):
    path = {"tracked": Path("code.py"), "new": Path("mine.py"), "params": Path("params.yaml")}[change]
    path.write_text("mine = True\n")
    with pytest.raises(UnfitError, match=f"{path}.*commit or stash them, or give the worker a clone of its own"):
        workspace.prepare(workspace.commit(), Grid.of("demo"))
    assert path.read_text() == "mine = True\n"


def test_changes_beside_a_jobs_own_are_refused_too(clone):
    workspace.prepare(workspace.commit(), Grid.of("demo", variants=["mmm"]))
    Path("code.py").write_text("mine = True\n")
    with pytest.raises(UnfitError, match=r"\(code.py\)"):
        workspace.prepare(workspace.commit(), Grid.of("demo"))
    assert Path("code.py").read_text() == "mine = True\n"


def test_a_commit_that_nobody_pushed_is_named(clone):
    with pytest.raises(UnfitError, match="commit 000000000000 cannot be checked out .* push it where this clone"):
        workspace.prepare("0" * 40, Grid.of("demo"))
