"""DVC as the pipeline calls it: its output line by line, its errors told apart, ended when we are."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import guard

Log = Callable[[str], None]

GRACE_S = 120.0
"""How long a stage has to save itself once it is told to end."""


class DvcError(Exception):
    """DVC did not do what it was asked to; ``lines`` are the last that it printed."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = list(lines)


class TroubleError(DvcError):
    """Nothing is wrong with the work: it was the machine, the remote or the network, and another time may do."""


class PreemptedError(DvcError):
    """The stage was told to end, and saved itself."""


class ChangedError(TroubleError):
    """A stage's inputs are not what they should be."""


class RefusedError(DvcError):
    """A stage would have had to run that may not run here: its result is not in the cache."""


TROUBLES = {
    "No space left on device": "the disk is full; free some space (`dvc gc -w` drops what no checkout needs)",
    "Disk quota exceeded": "the disk quota is used up; free some space (`dvc gc -w` drops what no checkout needs)",
    "is busy": "another DVC command works in this checkout; it is waited for, else see .dvc/tmp/rwlock",
    "Unable to acquire lock": "another DVC command works in this checkout; it is waited for, else see .dvc/tmp/lock",
    "no remote specified": "there is no DVC remote to share results through: `dvc remote add -d NAME URL`",
    "config file error": "DVC's configuration is not valid; see .dvc/config and .dvc/config.local",
    "failed to connect": "the DVC remote does not answer",
    "Could not connect": "the DVC remote does not answer",
    "Cannot connect": "the DVC remote does not answer",
    "Connection refused": "the DVC remote does not answer",
    "Connection lost": "the connection to the DVC remote broke",
    "Connection reset": "the connection to the DVC remote broke",
    "timed out": "the DVC remote does not answer in time",
    "Permission denied": "the DVC remote, or a folder here, may not be written to",
    "does not exist": "a folder of the DVC remote is not there",
    "failed to pull": "the DVC remote did not give what was asked for",
    "failed to push": "the DVC remote did not take what it was given",
    "failed to transfer": "the DVC remote did not take, or give, what it should have",
}
"""What DVC prints where its surroundings are in trouble → what to say about it."""


def command(*arguments: str) -> list[str]:
    """``dvc ...`` of this environment."""
    return [sys.executable, "-m", "dvc", *arguments]


def run(
    arguments: Sequence[str], log: Log, environment: Mapping[str, str] | None = None, grace_s: float = GRACE_S
) -> list[str]:
    """Run ``dvc ARGUMENTS`` and return its lines; ``log`` gets each as it comes. Raises a `DvcError` that fits.

    Whatever ends this call ends DVC and its stage, by SIGTERM first.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        errors="replace", start_new_session=True,
        env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "true", **(environment or {})},
    )  # fmt: skip
    lines: deque[str] = deque(maxlen=500)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if text := line.rstrip():
                lines.append(text)
                log(text)
        code = process.wait()
    except BaseException:
        _end(process, grace_s)
        raise
    finally:
        process.stdout.close()
    if code:
        raise _error(f"dvc {' '.join(arguments)}", code, list(lines))
    return list(lines)


def _end(process: subprocess.Popen[str], grace_s: float) -> None:
    """DVC and its stage by SIGTERM, then, if the stage has not saved itself in time, by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + grace_s
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)  # raises once all of them are gone
                time.sleep(0.1)


def _error(what: str, code: int, lines: list[str]) -> DvcError:
    text = "\n".join(lines)
    for number, kind, words in (
        (75, PreemptedError, "a stage was told to end, and saved itself"),
        (guard.REFUSED, RefusedError, "a result that should be in the cache is not"),
        (guard.CHANGED, ChangedError, "inputs of a stage are not what was made for it"),
    ):
        if f"exited with {number}" in text:
            return kind(f"{what}: {words}", lines)
    if re.search(r"exited with (-9|137)\b", text):
        return TroubleError(f"{what}: a stage was killed from outside; was the machine out of memory?", lines)
    if "Can't remove the following unsaved files" in text:
        return ChangedError(f"{what}: files in this checkout are not what DVC made there", lines)
    errors = [line for line in lines if line.startswith(("ERROR", "CRITICAL")) or "Errno" in line] or lines[-3:]
    if "exited with" not in text or "No space left" in text:
        for sign, advice in TROUBLES.items():
            if sign.lower() in text.lower():
                return TroubleError(f"{what}: {advice} ({'; '.join(errors)[:500]})", lines)
    return DvcError(f"{what} ended with code {code}: {'; '.join(errors)[:1000]}", lines)


def patiently(
    arguments: Sequence[str], log: Log, environment: Mapping[str, str] | None = None, attempts: int = 5,
    delay_s: float = 5.0,
) -> list[str]:  # fmt: skip
    """`run`, again after a `TroubleError`, with twice the delay each time."""
    for attempt in range(1, attempts + 1):
        try:
            return run(arguments, log, environment)
        except ChangedError:
            raise
        except TroubleError as error:
            if attempt == attempts:
                raise
            wait_s = delay_s * 2 ** (attempt - 1)
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


def lock(root: Path = Path()) -> dict[str, dict[str, Any]]:
    """The stages of every dvc.lock, by DVC's address."""
    found: dict[str, dict[str, Any]] = {}
    for path in [root / "dvc.lock", *sorted((root / "data").glob("*/dvc.lock"))]:
        if path.exists():
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            stages = yaml.load(path.read_text(encoding="utf-8"), loader)["stages"]
            relative = path.relative_to(root)
            prefix = "" if relative.parent == Path() else f"{relative.parent.as_posix()}/dvc.yaml:"
            found |= {prefix + name: entry for name, entry in stages.items()}
    return found


def outputs(entry: Mapping[str, Any]) -> dict[str, str]:
    """Path → hash of a lock entry's outputs."""
    return {out["path"]: out["md5"] for out in entry.get("outs", [])}


def inputs(entry: Mapping[str, Any]) -> dict[str, str]:
    """Path → hash of a lock entry's dependencies."""
    return {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
