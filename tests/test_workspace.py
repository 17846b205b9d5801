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


def test_at_a_jobs_end_nothing_is_left_and_what_somebody_does_then_is_theirs(clone):
    commit, said, grid = workspace.commit(), [], Grid.of("demo")
    workspace.prepare(commit, Grid.of("demo", variants=["mmm"], overrides=["pretrain.gamma=1.5"]))
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {a: {}}\n")
    Path("data/demo").mkdir(parents=True)
    Path("data/demo/dvc.lock").write_text("schema: '2.0'\n")  # of no commit
    workspace.leave(said.append)
    assert workspace.changes() == [] and said == []
    Path("profiles/mine.yaml").write_text("mine: 1\n")
    Path("profiles/demo.yaml").write_text("mine: 2\n")
    with pytest.raises(UnfitError, match="profiles/demo.yaml, profiles/mine.yaml"):
        workspace.prepare(commit, grid)
    assert Path("profiles/mine.yaml").exists() and Path("profiles/demo.yaml").read_text() == "mine: 2\n"


def test_a_worker_where_a_grid_was_begun_does_not_undo_what_its_user_changes(clone):
    grid = Grid.of("demo", variants=["mmm"])
    workspace.offer(grid, shared=True)
    Path("profiles/demo.yaml").write_text("mine: 2\n")
    with pytest.raises(UnfitError, match="params.yaml, profiles/demo.yaml"):
        workspace.prepare(workspace.commit(), grid)
    assert Path("profiles/demo.yaml").read_text() == "mine: 2\n"


def test_a_job_that_was_killed_within_a_git_command_is_restored(clone):
    workspace.prepare(workspace.commit(), Grid.of("demo", variants=["mmm"]))
    (clone / ".git" / "index.lock").touch()
    workspace.prepare(workspace.commit(), Grid.of("demo"))
    assert axes.read() == Grid.of("demo").axes


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
    with pytest.raises(UnfitError, match="commit 000000000000 is not in .* push it where this clone"):
        workspace.prepare("0" * 40, Grid.of("demo"))


def test_a_checkout_that_was_killed_between_two_commits_is_made_whole(origin, clone):
    wanted, grid = newer(origin), Grid.of("demo")
    git(clone, "fetch", "-q")
    workspace._say(wanted, grid, switching=True)  # killed in git checkout: a lock, and half of the files
    (clone / ".git" / "index.lock").touch()
    (clone / "code.py").write_text("one = 2\n")
    workspace.prepare(wanted, grid)
    assert workspace.commit() == wanted and Path("code.py").read_text() == "one = 2\n"


def test_one_job_at_a_time_and_the_next_waits(clone):
    said = []
    again = workspace.held(said.append, seconds=0.1)
    with workspace.held(said.append), pytest.raises(UnfitError, match="another job works in"), again:
        pass
    assert len(said) == 1 and "it is waited for" in said[0]


def test_the_same_grid_may_be_begun_twice_from_here_and_another_one_not_meanwhile(clone):
    refused = pytest.raises(UnfitError, match=r"another grid \(one\) is handed out from")
    one, two, alone = (lambda: "one"), (lambda: "two"), []
    first, second = (workspace.begun(one, lambda number=number: alone.append(number)) for number in (1, 2))
    with first, second, refused, workspace.begun(two):
        pass
    assert alone == [1]
    with workspace.begun(two, lambda: alone.append(3)):
        assert alone == [1, 3]


def test_while_cells_of_a_grid_run_here_its_overrides_stay_and_no_other_grid_is_begun(clone):
    profile = Path("profiles/demo.yaml")
    with workspace.begun(lambda: "one"):
        workspace.offer(Grid.of("demo", overrides=["pretrain.gamma=1.5"]), shared=False)
    written, alone = profile.read_text(), []
    with workspace.at_work(), workspace.at_work():  # whoever handed them out is gone
        refused = pytest.raises(UnfitError, match=r"another grid \(one\) has cells at work in")
        with refused, workspace.begun(lambda: "two"):
            pass
        with workspace.begun(lambda: "one", lambda: alone.append(1)):
            assert profile.read_text() == written and alone == [1]
    with workspace.begun(lambda: "two"):
        assert profile.read_text() != written


def test_overrides_are_undone_by_the_next_grid_and_never_written_over_somebodys_changes(clone):
    profile = Path("profiles/demo.yaml")
    before = profile.read_text()
    with workspace.begun(lambda: "one"):
        for _ in range(2):  # begun twice
            workspace.offer(Grid.of("demo", overrides=["pretrain.gamma=1.5"]), shared=True)
        assert params.load("demo")["pretrain"]["gamma"] == 1.5 and workspace.described().endswith(" with changes")
        with workspace.begun(lambda: "one"):
            assert params.load("demo")["pretrain"]["gamma"] == 1.5
    seen = []
    with workspace.begun(lambda: seen.append(profile.read_text()) or "two"):
        workspace.offer(Grid.of("demo"), shared=True)
    assert profile.read_text() == before and seen == [before]
    profile.write_text(before + "# mine\n")
    with pytest.raises(UnfitError, match="profiles/demo.yaml has changes that are in no commit"):
        workspace.offer(Grid.of("demo", overrides=["pretrain.gamma=1.5"]), shared=False)
    with pytest.raises(UnfitError, match="workers would not see them: commit and push them"):
        workspace.offer(Grid.of("demo"), shared=True)
    workspace.offer(Grid.of("demo"), shared=False)
    assert profile.read_text() == before + "# mine\n"


def test_a_commit_is_a_commit(clone):
    with pytest.raises(UnfitError, match="expected 40 hexadecimal digits"):
        workspace.prepare("--upload-pack=/bin/sh", Grid.of("demo"))


def test_no_password_of_an_address_is_said():
    assert workspace.without_password("fetch https://me:token@host/x failed") == "fetch https://host/x failed"
