"""DVC as the pipeline calls it: its output line by line, its errors told apart, ended when we are."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from langpose.storage import replacing
from pipeline import guard

Log = Callable[[str], None]

GRACE_S = 20.0
"""How long a stage that is told to end is waited for: less than Prefect gives us. It saves on without us if need be."""
LONGEST_WAIT_S = 60.0
"""Between two tries of `patiently`, at most."""


class DvcError(Exception):
    """DVC did not do what it was asked to; ``lines`` are what it printed."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = list(lines)


class TroubleError(DvcError):
    """Nothing is wrong with the work: it was this machine, and another time or another machine may do."""


class AwayError(TroubleError):
    """The remote does not answer, or another DVC command works here: worth waiting for on the spot."""


class PreemptedError(DvcError):
    """The stage was told to end, and saved itself; or DVC was ended from outside."""


class ChangedError(TroubleError):
    """Data here is not what was made."""


class RefusedError(DvcError):
    """A stage would have had to run that may not run here: its result is not in the cache."""


HERE = {
    "No space left on device": "the disk is full; free some space (`dvc gc -w` drops what no checkout needs)",
    "Disk quota exceeded": "the disk quota is used up; free some space (`dvc gc -w` drops what no checkout needs)",
    "Can't remove the following unsaved files": "files in this checkout are not what DVC made there",
    "no remote specified": "there is no DVC remote to share results through: `dvc remote add -d NAME URL`",
    "config file error": "DVC's configuration is not valid; see .dvc/config and .dvc/config.local",
}
"""What DVC prints where this machine is in trouble → what to say about it."""
AWAY = {
    "is busy": "another DVC command works in this checkout; see .dvc/tmp/rwlock",
    "Unable to acquire lock": "another DVC command works in this checkout; see .dvc/tmp/lock",
    "failed to connect": "the DVC remote does not answer",
    "Could not connect": "the DVC remote does not answer",
    "Cannot connect": "the DVC remote does not answer",
    "Connection refused": "the DVC remote does not answer",
    "Connection lost": "the connection to the DVC remote broke",
    "Connection reset": "the connection to the DVC remote broke",
    "timed out": "the DVC remote does not answer in time",
    "Permission denied": "the DVC remote, or a folder here, may not be written to",
    "Not a directory": "the DVC remote's folder is not there",
    "failed to pull": "the DVC remote did not give what was asked for",
    "failed to push": "the DVC remote did not take what it was given",
    "failed to transfer": "the DVC remote did not take, or give, what it should have",
    "missing-files": "the DVC remote does not have what was asked for",
}
"""… where waiting may help."""


def command(*arguments: str) -> list[str]:
    """``dvc ...`` of this environment."""
    return [sys.executable, "-m", "dvc", *arguments]


def stream(arguments: Sequence[str], log: Log, environment: Mapping[str, str], keep: Sequence[int] = ()) -> int:
    """Run a program in a session of its own, hand its lines to ``log``, and return its exit code.

    Whatever ends this call tells the program, and all that it has started, to end. ``keep``: file descriptors for it.
    """
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        errors="replace", start_new_session=True, env={**os.environ, **environment}, pass_fds=tuple(keep),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if text := line.rstrip():
                log(text)
        return process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE_S
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)  # raises once all of them are gone
                time.sleep(0.1)
        raise
    finally:
        process.stdout.close()


def run(arguments: Sequence[str], log: Log, environment: Mapping[str, str] | None = None) -> list[str]:
    """Run ``dvc ARGUMENTS`` and return its lines; ``log`` gets each as it comes. Raises a `DvcError` that fits.

    Whatever ends this call ends DVC and its stage.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        log(line)

    code = stream(command(*arguments), take, {"PATH": path, "DVC_NO_ANALYTICS": "true", **(environment or {})})
    if code:
        what = f"dvc {' '.join(arguments[:4])}{' …' if len(arguments) > 4 else ''}"
        if any(sign in line for line in lines for sign in CUT) and (mended := mend()):
            raise AwayError(f"{what}: {'; '.join(mended)}", lines)
        raise _error(what, code, lines)
    return lines


CUT = ("RWLock-file", "dvc.lock' is invalid", "dvc.lock' validation failed")
"""What DVC says where `mend` may help."""


def mend(root: Path = Path()) -> list[str]:
    """Put right what a DVC that was killed left cut off, since it writes in place; what was done.

    Its table of who reads and writes what (.dvc/tmp/rwlock) is dropped, a dvc.lock is taken from the commit: results
    that it had beyond are restored from the run cache. The damaged one is kept in .dvc/tmp.
    """
    temporary, done = root / ".dvc" / "tmp", []
    with _locked(temporary / "rwlock.lock"):
        table = temporary / "rwlock"
        if table.exists() and not _is(json.loads, table):
            table.unlink()
            done.append(f"{table} was cut off, and is dropped")
    with _between_commands(root):
        for path in _lock_files(root):
            if _is(_stages, path):
                continue
            kept = temporary / f"damaged-{'-'.join(path.relative_to(root).parts)}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)
            name = path.relative_to(root).as_posix()
            committed = subprocess.run(["git", "show", f"HEAD:./{name}"], cwd=root, capture_output=True, check=False)
            if committed.returncode:
                path.unlink()
            else:
                with replacing(path) as new:
                    new.write_bytes(committed.stdout)
            done.append(f"{path} was cut off, and is {'dropped' if committed.returncode else 'taken from the commit'}")
    return done


def _is(parse: Callable[[str], object], path: Path) -> bool:
    """Whether ``parse`` takes the file."""
    try:
        parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):
        return False
    return True


def _error(what: str, code: int, lines: list[str]) -> DvcError:
    text = "\n".join(lines)
    ended = {int(number) for number in re.findall(r"exited with (-?\d+)", text)}
    for numbers, kind, words in (
        ({75, -15, 143}, PreemptedError, "a stage was told to end"),
        ({guard.CHANGED}, ChangedError, "inputs of a stage are not what was made for it"),
        ({-9, 137}, TroubleError, "a stage was killed from outside; was the machine out of memory?"),
        ({guard.REFUSED}, RefusedError, "a result that should be in the cache is not"),
    ):
        if ended & numbers:
            return kind(f"{what}: {words}", lines)
    if code == -signal.SIGTERM:
        return PreemptedError(f"{what}: told to end", lines)
    if code < 0:
        return TroubleError(f"{what}: ended by signal {-code}; was the machine out of memory?", lines)
    errors = [line for line in lines if line.startswith(("ERROR", "CRITICAL")) or "Errno" in line] or lines[-3:]
    told = "; ".join(errors)[:1000]
    for signs, kind in ((HERE, TroubleError), (AWAY, AwayError)):
        for sign, advice in signs.items():
            # a stage may speak of connections too: of those that ran, only a full disk is none of their own failures
            if sign.lower() in text.lower() and (not ended or "space" in sign or "quota" in sign):
                changed = sign.startswith("Can't remove")
                return (ChangedError if changed else kind)(f"{what}: {advice} ({told})", lines)
    return DvcError(f"{what} ended with code {code}: {told}", lines)


def patiently(
    arguments: Sequence[str], log: Log, environment: Mapping[str, str] | None = None, attempts: int = 5,
    delay_s: float = 5.0,
) -> list[str]:  # fmt: skip
    """`run`, again after an `AwayError`, with twice the delay each time; returns the lines of all tries."""
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        log(line)

    for attempt in range(1, attempts + 1):
        try:
            run(arguments, take, environment)
            return lines
        except AwayError as error:
            if attempt == attempts:
                raise
            wait_s = min(LONGEST_WAIT_S, delay_s * 2 ** (attempt - 1))
            log(f"{error}; trying again in {wait_s:.0f} s ({attempt} of {attempts - 1})")
            time.sleep(wait_s)
    raise AssertionError("not reached")


@contextlib.contextmanager
def guarded(only: Sequence[str], expected: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """The environment in which stages that DVC runs are held to `guard`'s rules, and to this process's life."""
    with tempfile.NamedTemporaryFile("w", prefix="langpose-guard-", suffix=".json") as file:
        file.write(guard.rules(only, expected, os.getpid()))
        file.flush()
        yield {guard.VARIABLE: file.name}


def has_remote() -> bool:
    """Whether this checkout has a default remote."""
    done = subprocess.run(command("config", "core.remote"), capture_output=True, text=True, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


def differing(names: Sequence[str], log: Log) -> set[str]:
    """Those of ``names`` whose outputs here are not what dvc.yaml, their inputs and the lock say."""
    lines = patiently(["status", "--json", *names], lambda line: None, attempts=20)
    try:
        return set(json.loads(next(line for line in reversed(lines) if line.startswith("{")))) & set(names)
    except (StopIteration, ValueError):
        log(f"dvc status said nothing that can be read: {lines[-3:]}")
        return set(names)


LOCK = Path("dvc.lock")


def lock(root: Path = Path()) -> dict[str, dict[str, Any]]:
    """The stages of every dvc.lock, by DVC's address, as they are between two DVC commands."""
    with _between_commands(root):
        texts = {path.relative_to(root): path.read_text(encoding="utf-8") for path in _lock_files(root)}
    found: dict[str, dict[str, Any]] = {}
    for path, text in texts.items():
        prefix = "" if path.parent == Path() else f"{path.parent.as_posix()}/dvc.yaml:"
        found |= {prefix + name: entry for name, entry in _stages(text).items()}
    return found


def _lock_files(root: Path) -> list[Path]:
    return [path for path in (root / LOCK, *sorted((root / "data").glob("*/dvc.lock"))) if path.exists()]


def _stages(text: str) -> dict[str, Any]:
    """The stages of a dvc.lock. Raises ``ValueError``, or what YAML's reader raises, for one that is cut off."""
    content = _parsed(text)
    stages = content.get("stages", {}) if isinstance(content, dict) and "schema" in content else None
    if not isinstance(stages, dict) or not all(isinstance(entry, dict) and "cmd" in entry for entry in stages.values()):
        raise ValueError("is no dvc.lock")
    return stages


def _between_commands(root: Path) -> contextlib.AbstractContextManager[None]:
    """No DVC command writes dvc.lock meanwhile: it does so in place, under its own lock, which is held here."""
    return _locked(root / ".dvc" / "tmp" / "lock")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock of DVC's; where DVC has not run yet, there is none."""
    with contextlib.ExitStack() as opened:
        if path.parent.is_dir():
            fcntl.flock(opened.enter_context(open(path, "a")), fcntl.LOCK_EX)
        yield


def _parsed(text: str) -> dict[str, Any]:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def add_to_lock(entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Make ``entries`` those of dvc.lock, so that ``dvc pull`` knows what to fetch. Raises ``ValueError``."""
    if elsewhere := [name for name in entries if ":" in name]:
        raise ValueError(f"{elsewhere} are stages of other folders' dvc.yaml; cells need those of this one alone")
    content: dict[str, Any] = {"schema": "2.0"} | (_parsed(LOCK.read_text(encoding="utf-8")) if LOCK.exists() else {})
    content["stages"] = {**(content.get("stages") or {}), **entries}
    with replacing(LOCK) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def outputs(entry: Mapping[str, Any]) -> dict[str, str]:
    """Path → hash of a lock entry's outputs."""
    return {out["path"]: out["md5"] for out in entry.get("outs", [])}


def inputs(entry: Mapping[str, Any]) -> dict[str, str]:
    """Path → hash of a lock entry's dependencies."""
    return {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
