"""What a stage is held to while a worker runs it: which command may run, what its inputs must be, who owns it.

DVC runs whatever it cannot restore. A worker wants one cell of it, on the inputs that the others made; and whoever
looks for missing results wants nothing run at all. So the environment variable `VARIABLE` may name a file that says
what holds, and every stage looks there before it does anything (pipeline/stages/__init__.py):

    {"only": ["python -m pipeline.stages.evaluate demo human36m mmm 0"],   may run here; whatever else DVC starts, not
     "expected": {"models/demo/finetune/human36m-mmm-0": "<md5>.dir"},     inputs, by the hash that DVC knows them by
     "owner": 1234}                                                        ends with that process: SIGTERM
"""

import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from hashlib import file_digest, md5
from pathlib import Path

VARIABLE = "LANGPOSE_GUARD"
REFUSED = 78
"""Exit code of a stage that may not run (EX_CONFIG)."""
CHANGED = 65
"""Exit code of a stage whose inputs are not what they should be (EX_DATAERR)."""


def check() -> None:
    """Hold the stage that this process is to what `VARIABLE`'s file says; ends the process where it does not hold."""
    if VARIABLE not in os.environ or "LOCAL_RANK" in os.environ:  # launched by a stage that was checked
        return
    rules = json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8"))
    if rules.get("owner"):
        follow(int(rules["owner"]))
    this = sys.orig_argv[1:]
    if all(shlex.split(command)[1:] != this for command in rules["only"]):
        print(f"not run here: {shlex.join(this)}; its result is not in the cache", file=sys.stderr)
        sys.exit(REFUSED)
    if changed := differing(rules.get("expected", {})):
        print("\n".join(changed), file=sys.stderr)
        sys.exit(CHANGED)


def differing(expected: Mapping[str, str]) -> list[str]:
    """A line for each path whose content has another hash than is expected."""
    found = {path: hash_of(Path(path)) for path in expected}
    return [f"{path} is {found[path]}, expected {expected[path]}" for path in expected if found[path] != expected[path]]


def hash_of(path: Path) -> str:
    """DVC's hash of a file (md5 of its bytes) or a folder (md5 of its listing, with ``.dir``); "absent"."""
    if path.is_dir():
        files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        listing = [{"md5": _md5(file), "relpath": name} for name, file in files]
        return md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"
    return _md5(path) if path.exists() else "absent"


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "md5").hexdigest()


def follow(owner: int, every_s: float = 1.0) -> None:
    """End this process by SIGTERM, as a preempted one (it saves), once the process ``owner`` is gone."""

    def watch() -> None:
        while _alive(owner):
            time.sleep(every_s)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="owner", daemon=True).start()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def rules(only: Sequence[str], expected: Mapping[str, str] | None = None, owner: int | None = None) -> str:
    """The content of such a file."""
    return json.dumps({"only": list(only), "expected": dict(expected or {}), "owner": owner}, indent=1) + "\n"
