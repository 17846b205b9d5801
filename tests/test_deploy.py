"""The templates that put workers on other machines are valid, and start what the documentation says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("psutil")

from pipeline import services

ROOT = Path(__file__).parents[1]
UNIT, PODS = ROOT / "deploy" / "langpose-worker@.service", ROOT / "deploy" / "kubernetes-worker.yaml"


def test_the_systemd_unit_is_one(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = UNIT.read_text()
    program = "%h/langpose-worker-%i/.venv/bin/python"
    assert f"ExecStart={program} -m pipeline.services worker\n" in text
    installed = tmp_path / UNIT.name.replace("@", "@0")
    installed.write_text(text.replace(program, "/usr/bin/env"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(installed)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_kubernetes_objects_are_valid_and_ask_for_one_gpu():
    validate = pytest.importorskip("kubernetes_validate")
    objects = list(yaml.safe_load_all(PODS.read_text()))
    for one in objects:
        validate.validate(one, "1.30", strict=True)
    pod = next(one for one in objects if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert "-m pipeline.services worker" in container["args"][0]


def test_cells_have_time_to_save_when_they_are_told_to_end():
    stop = int(re.search(r"TimeoutStopSec=(\d+)", UNIT.read_text())[1])
    grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", PODS.read_text())[1])
    assert min(stop, grace) > services.SAVE_S + sum(seconds for _, seconds in services.ENDING)
