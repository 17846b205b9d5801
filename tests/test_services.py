"""Services bind to this machine unless asked, and only what was started here is ever stopped."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("prefect")
pytest.importorskip("psutil")
pytest.importorskip("dvc")

import psutil
from dvc.config import Config

from pipeline import services

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's, at import


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_password(host):
    services.check_host(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "gpu1.example.org"])
def test_any_other_address_asks_for_one_and_says_how(host, monkeypatch):
    with pytest.raises(SystemExit, match="lets other machines in: set PREFECT_SERVER_API_AUTH_STRING and"):
        services.check_host(host)
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:secret")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:secret")
    services.check_host(host)


def test_down_stops_what_was_started_here_with_its_children_and_nothing_else(capsys):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    service = services.start("worker-0", [sys.executable, "-c", program], {})
    log = services.HOME / "worker-0.log"
    deadline = time.monotonic() + 20
    while not log.read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.1)
    child = int(log.read_text())
    # a record of a process of that id, from before it began: not ours
    known = json.loads(services.RECORD.read_text())
    known.append({"name": "stranger", "pid": other.pid, "began": known[0]["began"] - 1000, "address": ""})
    services.RECORD.write_text(json.dumps(known))
    assert services.main(["status"]) == 1
    assert "stranger         ended" in capsys.readouterr().out
    assert services.main(["down", "--grace", "5"]) == 0
    assert service.process() is None
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert other.poll() is None
    other.kill()
    other.wait()
    assert services.main(["status"]) == 0 and "nothing was started here" in capsys.readouterr().out


def test_a_service_that_ends_at_once_is_shown_with_its_words():
    service = services.start("mlflow", [sys.executable, "-c", "print('port is taken'); raise SystemExit(3)"], {})
    with pytest.raises(SystemExit, match="(?s)mlflow ended.*port is taken"):
        time.sleep(1)
        services.wait_for(service, "http://127.0.0.1:9/health")


def test_a_port_in_use_is_refused():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit, match="is in use by another program; name a free one"):
            services.main(["up", "--port", str(taken.getsockname()[1])])
    assert services.read() == []


def test_a_worker_of_this_machine_has_a_clone_with_the_same_remote(tmp_path, monkeypatch):
    source = tmp_path / "source"
    (source / ".dvc").mkdir(parents=True)
    (source / ".dvc" / "config").touch()
    me = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-f", "."], [*me, "commit", "-qm", "1"]):
        subprocess.run(["git", *command], cwd=source, check=True)
    settings = "[core]\n    remote = r\n['remote \"r\"']\n    url = ../../shared\n"
    (source / ".dvc" / "config.local").write_text(settings)
    monkeypatch.chdir(source)
    folder = services.own_clone(3)
    assert folder == source / "work" / "workers" / "3"
    written = folder / ".dvc" / "config.local"
    url = Config(str(folder / ".dvc"), validate=False)["remote"]["r"]["url"]
    assert os.path.abspath(url) == str(tmp_path / "shared") and written.stat().st_mode & 0o077 == 0


def test_a_remote_in_the_committed_settings_is_the_same_place_for_a_worker(tmp_path, monkeypatch):
    source = tmp_path / "source"
    (source / ".dvc").mkdir(parents=True)
    (source / ".dvc" / "config").write_text("[core]\n    remote = r\n['remote \"r\"']\n    url = ../../shared\n")
    (source / ".dvc" / "config.local").write_text(
        "['remote \"far\"']\n    url = s3://bucket/langpose\n    secret_access_key = a%b\n"
    )
    me = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-f", ".dvc/config"], [*me, "commit", "-qm", "1"]):
        subprocess.run(["git", *command], cwd=source, check=True)
    monkeypatch.chdir(source)
    for _ in range(2):
        folder = services.own_clone(3)
    said = Config(str(folder / ".dvc"), validate=False)
    assert os.path.abspath(said["remote"]["r"]["url"]) == str(tmp_path / "shared")
    far = {"url": "s3://bucket/langpose", "secret_access_key": "a%b"}
    assert said["remote"]["far"] == far and said["core"]["remote"] == "r"


def test_short_names_of_deployments():
    from pipeline.deployment_names import full

    assert full("ablations") == "ablations/ablations"
    assert full("cell/cell") == "cell/cell" and full("") == ""


def test_deployments_name_flows_that_exist():
    from pipeline import flows

    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {entry["name"] for entry in declared} == {"ablations", "reproduce", "cell"}
    for entry in declared:
        file, _, name = entry["entrypoint"].partition(":")
        assert file == "pipeline/flows.py" and getattr(flows, name).name == entry["name"]
        assert entry["work_pool"]["name"] in services.POOLS


def test_no_program_that_is_started_reports_home():
    assert services.QUIET["DO_NOT_TRACK"] == services.QUIET["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ.get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false") == "false"
