"""A checkout that belongs to a worker: at the exact commit, with a grid's parameters, and nothing else changed.

A job changes files that git tracks (params.yaml, a profile, dvc.lock), and may be killed at any time. It therefore says
first, in ``.git/``, that it is under way: what it has changed is restored at its end, or by the next one where it was
killed. Any other change is somebody's work, and is refused.
"""

import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langpose.storage import replacing
from pipeline.grid import Grid

GIT = Path(".git")
JOB = GIT / "langpose-job.json"
"""Says which job is under way here, or was killed."""
HELD = GIT / "langpose-held.lock"
BEGUN = GIT / "langpose-grid.lock"
AT_WORK = GIT / "langpose-at-work.lock"
OVERRIDES = GIT / "langpose-overrides.json"
"""Which profile a grid that was begun here has written its overrides into, and what it wrote."""


class UnfitError(Exception):
    """This checkout is not what the job needs; the message says what to do."""


def git(*arguments: str) -> str:
    """What git prints. Raises `UnfitError` with what it complained of."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnfitError(f"git {' '.join(arguments)}: {without_password((done.stderr or done.stdout).strip())}")
    return done.stdout.rstrip("\n")


def without_password(text: str) -> str:
    """``text`` with what may be a password in its addresses left out."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def commit() -> str:
    """The commit that is checked out."""
    return git("rev-parse", "HEAD")


def changes() -> list[str]:
    """Tracked files that differ from the commit, and files that git neither knows nor ignores."""
    return [line[3:] for line in git("status", "--porcelain", "--untracked-files=all").splitlines()]


@contextmanager
def held(log: Callable[[str], None], seconds: float = 600.0) -> Iterator[int]:
    """Have this checkout for oneself; what comes from here may pass the lock's file on to those it starts.

    A run whose process was killed may have left a stage that still saves: it is waited for. Raises `UnfitError`.
    """
    with open(HELD, "w") as file:
        deadline, said = time.monotonic() + seconds, False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UnfitError(
                        f"another job works in {Path.cwd()}; give each worker a clone of its own"
                    ) from None
                if not said:
                    log(f"another job works in {Path.cwd()}; it is waited for")
                said = True
                time.sleep(1.0)
        yield file.fileno()


@contextmanager
def at_work() -> Iterator[int]:
    """Run a cell in the checkout of whoever began its grid, beside others; the lock's file may be passed on."""
    with open(AT_WORK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file.fileno()


def _cells_at_work() -> bool:
    with open(AT_WORK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def begun(key_of: Callable[[], str], alone: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hand out the grid of key ``key_of()`` from this checkout; the same one several times, no other.

    Another is refused too while cells run here (`at_work`): DVC records parameters when a cell ends. Else the overrides
    of an earlier grid are taken out of its profile before ``key_of`` is called. Where nobody else hands a grid out from
    here, ``alone`` is called before anybody else can. Raises `UnfitError`.
    """
    with open(BEGUN, "a+") as file:

        def check(by: str) -> None:
            file.seek(0)
            if (other := file.read()) != key_of():
                raise UnfitError(
                    f"another grid ({other}) {by} {Path.cwd()}, whose parameters it needs; wait for its end, or begin "
                    "this one from another clone"
                )

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(file, fcntl.LOCK_SH)  # whoever begins just now has then said what
            check("is handed out from")
        else:
            if _cells_at_work():
                check("has cells at work in")
            else:
                _undo_overrides()
            key = key_of()
            file.truncate(0)
            file.write(key)
            file.flush()
            alone()
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _written_overrides() -> tuple[str, str]:
    """The profile that overrides were written into, and its content then; empty where none were."""
    if not OVERRIDES.exists():
        return "", ""
    said = json.loads(OVERRIDES.read_text(encoding="utf-8"))
    return said["path"], said["text"]


def _undo_overrides() -> None:
    """Make the profile that an earlier grid has written its overrides into the commit's; not where it changed since."""
    path, text = _written_overrides()
    if path and Path(path).exists() and Path(path).read_text(encoding="utf-8") == text:
        git("checkout", "--quiet", "--", path)
    OVERRIDES.unlink(missing_ok=True)


def _of_a_job(path: str) -> bool:
    return path in ("params.yaml", "dvc.lock") or path.startswith(("profiles/", "reports/")) or (
        path.startswith("data/") and path.endswith("/dvc.lock")
    )  # fmt: skip


def _job() -> dict[str, Any]:
    """What is under way here, or was killed; empty where nothing is."""
    return json.loads(JOB.read_text(encoding="utf-8")) if JOB.exists() else {}


def _say(wanted: str, grid: Grid, switching: bool = False) -> None:
    with replacing(JOB) as temporary:
        said = {"commit": wanted, "switching": switching, **grid.to_json()}
        temporary.write_text(json.dumps(said) + "\n", encoding="utf-8")


def restore() -> None:
    """Undo what a job has changed that was under way here. Raises `UnfitError` where anything else has changed."""
    before = _job()
    if before:  # a job that was killed within a git command left its lock
        (GIT / "index.lock").unlink(missing_ok=True)
    if before.get("switching"):  # killed within git checkout: all that differs is git's own doing
        git("checkout", "--quiet", "--force", "--detach", before["commit"])
    changed = changes()
    mine = [path for path in changed if _of_a_job(path)] if before else []
    if others := [path for path in changed if path not in mine]:
        raise UnfitError(
            f"{Path.cwd()} has changes that are in no commit ({_some(others)}); a worker's checkout must have none: "
            "commit or stash them, or give the worker a clone of its own"
        )
    tracked = [path for path in mine if git("ls-files", "--", path)]
    if tracked:
        git("checkout", "--quiet", "--", *tracked)
    if made := [path for path in mine if path not in tracked]:
        git("clean", "--quiet", "--force", "--", *made)
    JOB.unlink(missing_ok=True)


def leave(log: Callable[[str], None]) -> None:
    """Restore what the job that is over has changed; what is somebody's is told by the next one."""
    try:
        restore()
    except UnfitError as error:
        log(str(error))


def prepare(wanted: str, grid: Grid) -> None:
    """Bring this checkout to commit ``wanted`` with ``grid``'s parameters. Raises `UnfitError`."""
    if not re.fullmatch(r"[0-9a-f]{40}", wanted):
        raise UnfitError(f"commit {wanted!r}: expected 40 hexadecimal digits")
    restore()
    if commit() != wanted:
        known = subprocess.run(["git", "cat-file", "-e", f"{wanted}^{{commit}}"], capture_output=True, check=False)
        if known.returncode:
            git("fetch", "--quiet", "--all")
        try:
            git("cat-file", "-e", f"{wanted}^{{commit}}")
        except UnfitError as error:
            raise UnfitError(
                f"commit {wanted[:12]} is not in {Path.cwd()}; push it where this clone fetches from: {origin()}"
            ) from error
        _say(wanted, grid, switching=True)
        git("checkout", "--quiet", "--detach", wanted)
    _say(wanted, grid)
    grid.write()


def origin() -> str:
    """Where this clone fetches from."""
    lines = git("remote", "-v").splitlines()
    return without_password(lines[0].split()[1]) if lines else "nowhere: no git remote is set"


def offer(grid: Grid, shared: bool) -> str:
    """Make this checkout the one that ``grid`` is begun from (see `begun`): its parameters; returns the commit.

    With ``shared``, workers get the commit alone: what is in none (but results, and what an earlier grid wrote) is
    refused with `UnfitError`. A profile that somebody has changed is never overwritten by overrides.
    """
    profile = f"profiles/{grid.profile}.yaml"
    mine = [path for path in changes() if not _of_a_job(path) or path.startswith("profiles/")]
    if _written_overrides() == (profile, Path(profile).read_text(encoding="utf-8")):
        mine = [path for path in mine if path != profile]  # the same grid is under way from here
    if shared and mine:
        raise UnfitError(
            f"{Path.cwd()} has changes that are in no commit ({_some(mine)}); workers would not see them: commit and "
            "push them"
        )
    if grid.overrides and profile in mine:
        raise UnfitError(f"{profile} has changes that are in no commit; commit them before overrides are written there")
    if grid.overrides:
        with replacing(OVERRIDES) as temporary:
            said = {"path": profile, "text": grid.profile_text()}
            temporary.write_text(json.dumps(said) + "\n", encoding="utf-8")
    grid.write()
    return commit()


def described() -> str:
    """The commit, and whether files differ from it that decide results."""
    dirty = [path for path in changes() if not _of_a_job(path) or path.startswith("profiles/")]
    return commit() + (" with changes" if dirty else "")


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:5]) + (" …" if len(paths) > 5 else "")


def inside(name: str) -> Path:
    """A path from elsewhere, which must lie in this folder. Raises ``ValueError``."""
    path = Path(os.path.normpath(name))
    if path.is_absolute() or path.parts[:1] in ((), ("..",)) or path == Path():
        raise ValueError(f"{name!r} is not a path within the checkout")
    return path
