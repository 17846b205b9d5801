"""DVC's failures are told apart, and ended with whoever called it."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("dvc")

from pipeline import dvc_commands
from pipeline.dvc_commands import AwayError, DvcError, PreemptedError, RefusedError, TroubleError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A DVC repository, with a stage that runs what stage.py says."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(dvc_commands.command("init", "-q"), check=True, env=os.environ | {"DVC_NO_ANALYTICS": "true"})
    Path("dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: python stage.py\n    deps: [stage.py]\n    outs: [out.txt]\n"
        "  two:\n    cmd: cp out.txt two.txt\n    deps: [out.txt]\n    outs: [two.txt]\n"
    )
    Path("stage.py").write_text("open('out.txt', 'w').write('made')\n")
    return tmp_path


def test_lines_come_as_they_are_printed_and_the_lock_is_read(place):
    lines = []
    dvc_commands.run(["repro"], lines.append)
    assert "Running stage 'one':" in lines and Path("two.txt").read_text() == "made"
    entries = dvc_commands.lock()
    assert set(entries) == {"one", "two"}
    assert dvc_commands.inputs(entries["two"]) == dvc_commands.outputs(entries["one"])


@pytest.mark.parametrize(
    ("stage", "kind", "words"),
    [
        ("raise SystemExit(75)", PreemptedError, "a stage was told to end"),
        ("import os; os.kill(os.getpid(), 15)", PreemptedError, "a stage was told to end"),
        ("raise SystemExit(78)", RefusedError, "a result that should be in the cache is not"),
        ("raise SystemExit(65)", dvc_commands.ChangedError, "inputs of a stage are not what was made for it"),
        ("import os; os.kill(os.getpid(), 9)", TroubleError, "killed from outside; was the machine out of memory"),
        ("raise SystemExit(1)", DvcError, "failed to run: python stage.py"),
        ("raise OSError(28, 'No space left on device')", TroubleError, "the disk is full; free some space"),
    ],
)
def test_a_failing_stage_says_why(place, stage, kind, words):
    Path("stage.py").write_text(stage + "\n")
    with pytest.raises(DvcError, match=words) as caught:
        dvc_commands.run(["repro"], lambda line: None)
    assert type(caught.value) is kind


@pytest.mark.parametrize(("number", "kind"), [(15, PreemptedError), (9, TroubleError), (11, TroubleError)])
def test_dvc_that_is_killed_is_no_preemption(place, monkeypatch, number, kind):
    program = f"import os; os.kill(os.getpid(), {number})"
    monkeypatch.setattr(dvc_commands, "command", lambda *arguments: [sys.executable, "-c", program])
    with pytest.raises(DvcError) as caught:
        dvc_commands.run(["repro"], lambda line: None)
    assert type(caught.value) is kind


def test_a_failing_stage_that_speaks_of_the_network_is_no_trouble_of_the_remote(place):
    Path("stage.py").write_text("raise SystemExit('Connection refused')\n")
    with pytest.raises(DvcError) as caught:
        dvc_commands.run(["repro"], lambda line: None)
    assert type(caught.value) is DvcError


def test_a_missing_remote_and_one_out_of_reach_say_what_to_do(place):
    dvc_commands.run(["repro"], lambda line: None)
    assert not dvc_commands.has_remote()
    with pytest.raises(TroubleError, match="there is no DVC remote .* `dvc remote add -d NAME URL`"):
        dvc_commands.run(["push"], lambda line: None)
    dvc_commands.run(["remote", "add", "-d", "far", "http://127.0.0.1:9/nothing"], lambda line: None)
    assert dvc_commands.has_remote()
    with pytest.raises(AwayError, match="remote"):
        dvc_commands.run(["push"], lambda line: None)


def test_a_remote_that_is_away_is_tried_again_after_growing_waits_and_a_failure_is_not(place, monkeypatch):
    dvc_commands.run(["repro"], lambda line: None)
    dvc_commands.run(["remote", "add", "-d", "far", "http://127.0.0.1:9/nothing"], lambda line: None)
    waits, said = [], []
    monkeypatch.setattr(dvc_commands.time, "sleep", waits.append)
    with pytest.raises(AwayError):
        dvc_commands.patiently(["push"], said.append, attempts=3, delay_s=5.0)
    assert waits == [5.0, 10.0]
    assert sum("trying again in" in line for line in said) == 2
    for stage in ("raise SystemExit(1)", "raise OSError(28, 'No space left on device')"):
        Path("stage.py").write_text(stage + "\n")
        waits.clear()
        with pytest.raises(DvcError):
            dvc_commands.patiently(["repro"], said.append)
        assert waits == []


def test_what_differs_from_the_lock_is_named(place):
    assert dvc_commands.differing(["one", "two"], print) == {"one", "two"}
    dvc_commands.run(["repro"], lambda line: None)
    assert dvc_commands.differing(["one", "two"], print) == set()
    Path("two.txt").chmod(0o644)
    Path("two.txt").write_text("changed")
    assert dvc_commands.differing(["one", "two"], print) == {"two"}


def test_the_lock_is_read_between_two_dvc_commands_never_while_one_writes(place):
    dvc_commands.run(["repro"], lambda line: None)
    whole = Path("dvc.lock").read_text()
    with open(".dvc/tmp/lock", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as a DVC command does, which then writes in place
        Path("dvc.lock").write_text(whole[: len(whole) // 2])
        found = []
        reader = threading.Thread(target=lambda: found.append(dvc_commands.lock()))
        reader.start()
        time.sleep(0.3)
        assert not found
        Path("dvc.lock").write_text(whole)
    reader.join(10)
    assert set(found[0]) == {"one", "two"}


@pytest.mark.parametrize("content", ["", '{"read": {"out.txt": [{"pid'])
def test_what_a_killed_dvc_left_of_its_table_is_dropped_and_the_command_made_again(place, monkeypatch, content):
    monkeypatch.setattr(dvc_commands.time, "sleep", lambda seconds: None)
    dvc_commands.run(["repro"], lambda line: None)
    Path(".dvc/tmp/rwlock").write_text(content)
    said = []
    dvc_commands.patiently(["repro", "--force"], said.append)
    assert "was cut off, and is dropped" in next(line for line in said if "trying again" in line)


@pytest.mark.parametrize(
    ("part", "committed"), [(0.0, True), (0.3, True), (0.5, True), ("stages:\n  one:\n", True), (0.3, False)]
)
def test_a_lock_that_a_killed_dvc_left_cut_off_is_taken_from_the_commit(place, monkeypatch, part, committed):
    monkeypatch.setattr(dvc_commands.time, "sleep", lambda seconds: None)
    dvc_commands.run(["repro"], lambda line: None)
    whole = Path("dvc.lock").read_text()
    if committed:
        for arguments in (["add", "dvc.lock"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "1"]):
            subprocess.run(["git", *arguments], check=True)
    cut = part if isinstance(part, str) else whole[: int(part * len(whole))]
    Path("dvc.lock").write_text(cut)
    Path("out.txt").unlink()
    said = []
    dvc_commands.patiently(["repro"], said.append)
    assert Path("dvc.lock").read_text() == whole and Path("out.txt").exists()
    assert not any(line.startswith("> ") for line in said)  # restored from the cache: nothing ran
    if Path(".dvc/tmp/damaged-dvc.lock").exists():
        assert Path(".dvc/tmp/damaged-dvc.lock").read_text() == cut


def test_what_is_whole_is_not_mended(place):
    dvc_commands.run(["repro"], lambda line: None)
    before = {path: path.read_bytes() for path in (Path("dvc.lock"), Path(".dvc/tmp/rwlock"))}
    assert dvc_commands.mend() == [] and all(path.read_bytes() == data for path, data in before.items())


def test_dvc_itself_takes_that_lock(place):
    with open(".dvc/tmp/lock", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AwayError, match="another DVC command works in this checkout"):
            dvc_commands.run(["repro"], lambda line: None)


def test_entries_of_elsewhere_let_dvc_pull_what_they_made(place, tmp_path):
    dvc_commands.run(["repro"], lambda line: None)
    entries = dvc_commands.lock()
    Path("dvc.lock").unlink()
    dvc_commands.add_to_lock({"one": entries["one"]})
    dvc_commands.add_to_lock({"two": entries["two"]})
    assert dvc_commands.lock() == entries and dvc_commands.differing(["one", "two"], print) == set()
    with pytest.raises(ValueError, match="stages of other folders"):
        dvc_commands.add_to_lock({"data/demo/dvc.yaml:synthesize": {}})


def test_another_command_in_the_same_checkout_is_waited_for(place):
    Path("stage.py").write_text("import time; time.sleep(4); open('out.txt', 'w').write('made')\n")
    first = subprocess.Popen(
        dvc_commands.command("repro", "-s", "one"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not Path(".dvc/tmp/rwlock").exists() or "out.txt" not in Path(".dvc/tmp/rwlock").read_text():
        time.sleep(0.1)
    said = []
    dvc_commands.patiently(["repro", "-s", "one"], said.append, attempts=5, delay_s=1.0)
    assert first.wait() == 0 and Path("out.txt").read_text() == "made"
    assert any("another DVC command works in this checkout" in line for line in said)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_stage_ends_with_whoever_called(place, how):
    """By SIGTERM, so that it saves: at once where the caller can still pass it on, else by the guard's watch."""
    Path("stage.py").write_text(
        "import signal, sys, time\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import pipeline.stages\n"
        "signal.signal(signal.SIGTERM, lambda *_: (Path('saved').touch(), sys.exit(75)))\n"
        "Path('began').touch()\ntime.sleep(60)\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c",
         "import signal, sys\nfrom pipeline import dvc_commands\n"
         "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
         "with dvc_commands.guarded(['python stage.py']) as environment:\n"
         "    dvc_commands.run(['repro', '-s', 'one'], print, environment)\n"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not Path("began").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    caller.send_signal(how)
    caller.wait(30)
    deadline = time.monotonic() + 15
    while not Path("saved").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert Path("saved").exists()
