"""The templates that put workers on other machines are valid, and start what the documentation says."""

import json
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
POOL = ROOT / "deploy" / "kubernetes-pool.json"


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


def test_the_kubernetes_pool_makes_valid_jobs_that_find_what_the_pods_find():
    """Prefect's own rendering; prefect-kubernetes 0.8 takes the template too, and asks for the three oddities."""
    validate = pytest.importorskip("kubernetes_validate")
    templating = pytest.importorskip("prefect.utilities.templating")
    template = json.loads(POOL.read_text())
    variables = template["variables"]["properties"]
    assert set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"]))) == set(variables)
    values = {name: one["default"] for name, one in variables.items() if "default" in one}
    values |= {"name": "pretrain-demo-0", "labels": {}, "env": {}, "command": ["prefect", "flow-run", "execute"]}
    job = templating.apply_values(template["job_configuration"], values)["job_manifest"]
    pod = job["spec"]["template"]["spec"]
    assert (pod.pop("completions"), pod.pop("parallelism"), pod["containers"][0]["name"]) == (1, 1, "prefect-job")
    validate.validate(job, "1.30", strict=True)
    stays = next(one for one in yaml.safe_load_all(PODS.read_text()) if one["kind"] == "Deployment")
    stays = stays["spec"]["template"]["spec"]
    assert sorted(map(str, pod["volumes"])) == sorted(map(str, stays["volumes"]))
    (container,), (other,) = pod["containers"], stays["containers"]
    for name in ("image", "envFrom", "workingDir"):
        assert container[name] == other[name]
    assert container["resources"]["limits"] == other["resources"]["limits"]
    assert pod["terminationGracePeriodSeconds"] == stays["terminationGracePeriodSeconds"]
    set_there = {one["name"]: one["value"] for one in container["env"]}
    assert set_there["LANGPOSE_CHECKOUT"] == set_there["PYTHONPATH"] == container["workingDir"]
    assert set_there["PREFECT_CLIENT_MAX_RETRIES"] == services.WORKER["PREFECT_CLIENT_MAX_RETRIES"]


def test_cells_have_time_to_save_when_they_are_told_to_end():
    from pipeline.dvc_commands import GRACE_S

    stop = int(re.search(r"TimeoutStopSec=(\d+)", UNIT.read_text())[1])
    grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", PODS.read_text())[1])
    assert min(stop, grace) > GRACE_S
