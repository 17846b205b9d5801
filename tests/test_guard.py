"""A stage runs only where it may, on the inputs that were made for it, and not longer than its owner."""

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import md5
from pathlib import Path

import pytest
import yaml

from pipeline import guard

ROOT = Path(__file__).parents[1]
STAGE = "import sys, time; import pipeline.stages; print('began', flush=True); time.sleep(float(sys.argv[1]))"


def stage(tmp_path, only, expected=None, owner=None, seconds="0"):
    rules = tmp_path / "guard.json"
    rules.write_text(guard.rules(only, expected, owner))
    environment = os.environ | {guard.VARIABLE: str(rules), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, seconds],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def this(seconds="0"):
    return f"python -c {json.dumps(STAGE)} {seconds}"


def test_a_named_command_runs(tmp_path):
    process = stage(tmp_path, ["python -m something.else", this()])
    assert process.communicate()[0] == "began\n" and process.returncode == 0


def test_any_other_is_refused_and_says_so(tmp_path):
    process = stage(tmp_path, [this("1")])
    out, err = process.communicate()
    assert process.returncode == guard.REFUSED and out == ""
    assert "not run here: -c" in err and "its result is not in the cache" in err


def test_without_rules_everything_runs(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != guard.VARIABLE}
    done = subprocess.run([sys.executable, "-c", STAGE, "0"], env=environment | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0


def test_changed_inputs_are_named_before_anything_is_done(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("1")
    (tmp_path / "file").write_text("2")
    right = {"folder": guard.hash_of(tmp_path / "folder"), "file": guard.hash_of(tmp_path / "file")}
    process = stage(tmp_path, [this()], right)
    assert process.communicate()[0] == "began\n" and process.returncode == 0
    (tmp_path / "folder" / "a").write_text("3")
    process = stage(tmp_path, [this()], right | {"gone": "0" * 32})
    out, err = process.communicate()
    assert process.returncode == guard.CHANGED and out == ""
    assert f"folder is {guard.hash_of(tmp_path / 'folder')}, expected {right['folder']}" in err
    assert "gone is absent" in err and "file is" not in err


def test_a_stage_ends_by_sigterm_once_its_owner_is_gone(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = stage(tmp_path, [this("60")], owner=owner.pid, seconds="60")
    assert process.stdout.readline() == "began\n"
    time.sleep(1.5)
    assert process.poll() is None
    owner.kill()
    owner.communicate()
    assert process.wait(10) == -signal.SIGTERM
    process.communicate()


def test_hashes_are_those_that_dvc_knows_files_and_folders_by(tmp_path):
    pytest.importorskip("dvc")
    folder = tmp_path / "folder"
    for name in ("b/inner", "a", "b.txt", "ä/ö"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "file").write_bytes(b"x" * (3 << 20))
    for arguments in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"],
                      [sys.executable, "-m", "dvc", "add", "-q", "folder", "file"]):  # fmt: skip
        subprocess.run(arguments, cwd=tmp_path, check=True, env=os.environ | {"DVC_NO_ANALYTICS": "true"})
    for name in ("folder", "file"):
        known = yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"][0]["md5"]
        assert guard.hash_of(tmp_path / name) == known
    assert guard.hash_of(tmp_path / "file") == md5(b"x" * (3 << 20)).hexdigest()
