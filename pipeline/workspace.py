"""A checkout that belongs to a worker: at the exact commit, with a grid's parameters, and nothing else changed.

A job changes files that git tracks (params.yaml, a profile, dvc.lock), and may be killed at any time. It therefore says
first, in ``.git/``, that it is under way: what it may have changed is then restored by the next one. Any other change
is somebody's work, and is refused.
"""

import json
import re
import subprocess
from pathlib import Path

from langpose.storage import replacing
from pipeline.grid import Grid

JOB = Path(".git") / "langpose-job.json"


class UnfitError(Exception):
    """This checkout is not what the job needs; the message says what to do."""


def git(*arguments: str) -> str:
    """What git prints. Raises `UnfitError` with what it complained of."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnfitError(f"git {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.rstrip("\n")


def commit() -> str:
    """The commit that is checked out."""
    return git("rev-parse", "HEAD")


def changes() -> list[str]:
    """Tracked files that differ from the commit, and files that git neither knows nor ignores."""
    return [line[3:] for line in git("status", "--porcelain", "--untracked-files=all").splitlines()]


def _of_a_job(path: str) -> bool:
    return path in ("params.yaml", "dvc.lock") or path.startswith(("profiles/", "reports/")) or (
        path.startswith("data/") and path.endswith("/dvc.lock")
    )  # fmt: skip


def restore() -> None:
    """Undo what a job has changed that was under way here. Raises `UnfitError` where anything else has changed."""
    changed = changes()
    mine = [path for path in changed if _of_a_job(path)] if JOB.exists() else []
    if others := [path for path in changed if path not in mine]:
        raise UnfitError(
            f"{Path.cwd()} has changes that are in no commit ({', '.join(others[:5])}"
            f"{' …' if len(others) > 5 else ''}); a worker's checkout must have none: commit or stash them, or give "
            "the worker a clone of its own"
        )
    if mine:
        git("checkout", "--quiet", "--", *(path for path in mine if _tracked(path)))
        git("clean", "--quiet", "--force", "--", "reports", "profiles")
    JOB.unlink(missing_ok=True)


def _tracked(path: str) -> bool:
    return bool(git("ls-files", "--", path))


def origin() -> str:
    """Where this clone fetches from, without what may be a password in it."""
    lines = git("remote", "-v").splitlines()
    return re.sub(r"//[^/@\s]*@", "//", lines[0].split()[1]) if lines else "nowhere: no git remote is set"


def prepare(wanted: str, grid: Grid) -> None:
    """Bring this checkout to commit ``wanted`` with ``grid``'s parameters. Raises `UnfitError`."""
    restore()
    if commit() != wanted:
        known = subprocess.run(["git", "cat-file", "-e", f"{wanted}^{{commit}}"], capture_output=True, check=False)
        if known.returncode:
            git("fetch", "--quiet", "--all")
        try:
            git("checkout", "--quiet", "--detach", wanted)
        except UnfitError as error:
            raise UnfitError(
                f"commit {wanted[:12]} cannot be checked out in {Path.cwd()} ({error}); push it where this clone "
                f"fetches from: {origin()}"
            ) from error
    with replacing(JOB) as temporary:
        temporary.write_text(json.dumps({"commit": wanted, **grid.to_json()}) + "\n", encoding="utf-8")
    grid.write()


def offer(grid: Grid, shared: bool) -> str:
    """Make this checkout the one that ``grid`` is begun from: its parameters; returns the commit.

    With ``shared``, workers get the commit alone: what is in none (but results, and what an earlier grid wrote) is
    refused with `UnfitError`.
    """
    if JOB.exists():
        before = json.loads(JOB.read_text(encoding="utf-8"))
        if before["overrides"]:
            git("checkout", "--quiet", "--", f"profiles/{before['profile']}.yaml")
        JOB.unlink()
    mine = [path for path in changes() if not _of_a_job(path) or path.startswith("profiles/")]
    if shared and mine:
        raise UnfitError(
            f"{Path.cwd()} has changes that are in no commit ({', '.join(mine[:5])}{' …' if len(mine) > 5 else ''}); "
            "workers would not see them: commit and push them"
        )
    with replacing(JOB) as temporary:
        temporary.write_text(json.dumps({"commit": commit(), **grid.to_json()}) + "\n", encoding="utf-8")
    grid.write()
    return commit()
