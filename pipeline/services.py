"""Everything that a grid needs on one machine: ``make services``, ``make services-down``, ``make worker``.

    python -m pipeline.services up [--workers N] [--host ADDRESS]
    python -m pipeline.services status
    python -m pipeline.services down
    python -m pipeline.services worker              one more worker, in this checkout, in the foreground

``up`` starts Prefect's server, MLflow's, one worker that begins grids (pool ``submit``) and one a GPU that runs cells
(pool ``gpu``; without a GPU one for the CPU). Workers share this checkout; where a DVC remote is configured, those that
run cells have clones of their own (work/workers/) and share through it. Processes and logs: work/services/.
"""

import argparse
import contextlib
import ipaddress
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from langpose.storage import replacing
from pipeline import dvc_commands, rescue

HOME = Path("work") / "services"
RECORD = HOME / "services.json"
POOLS = ("submit", "gpu")
READY_S = 120.0
"""How long a service may take to answer."""

QUIET = {
    "DO_NOT_TRACK": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "true", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}  # fmt: skip
"""No program that we start reports home; MLflow loads no pickles."""
WORKER = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(rescue.HEARTBEAT_S), "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}  # fmt: skip
"""What a worker is started with: runs send heartbeats, and new ones are seen within two seconds."""


@dataclass(frozen=True)
class Service:
    """A process that `up` started."""

    name: str
    pid: int
    began: float
    """When, by the system: a process of that id which began at another time is not ours."""
    address: str = ""

    def process(self) -> psutil.Process | None:
        """The process, if it is still there."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.began) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def read() -> list[Service]:
    """The services that were started here."""
    return [Service(**entry) for entry in json.loads(RECORD.read_text())] if RECORD.exists() else []


def start(name: str, command: Sequence[str], environment: Mapping[str, str], address: str = "") -> Service:
    """Start a service in the background; its output goes to work/services/NAME.log."""
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **environment},
            start_new_session=True,
        )  # fmt: skip
    service = Service(name, process.pid, psutil.Process(process.pid).create_time(), address)
    with replacing(RECORD) as temporary:
        temporary.write_text(json.dumps([asdict(one) for one in [*read(), service]], indent=1) + "\n")
    return service


def wait_for(service: Service, url: str) -> None:
    """Until ``url`` answers. Ends the program where the service ends, or takes too long."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if service.process() is None:
            sys.exit(f"{service.name} ended; the end of {HOME / service.name}.log:\n{_tail(service.name)}")
        if answers(url):
            return
        time.sleep(0.3)
    sys.exit(f"{service.name} does not answer at {url} after {READY_S:.0f} s; see {HOME / service.name}.log")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _tail(name: str) -> str:
    return "\n".join((HOME / f"{name}.log").read_text(errors="replace").splitlines()[-15:])


def program(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).parent / name)


def gpus() -> list[str]:
    """The GPUs that this program may use."""
    if named := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return named.split(",")
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def check_host(host: str) -> None:
    """Ends the program where other machines could reach the services and nothing asks who they are."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        return
    missing = [
        name for name in ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING") if not os.environ.get(name)
    ]
    if missing:
        sys.exit(
            f"--host {host} lets other machines in: set {' and '.join(missing)} to user:password, here and "
            "(the second) where workers run. MLflow stays on this machine; docs/cluster.md says how to open it"
        )


def up(options: argparse.Namespace) -> None:
    """Start what is not running, wait until it answers, and say where it is."""
    check_host(options.host)
    running = {service.name for service in read() if service.process()}
    if running:
        sys.exit(f"already running: {', '.join(sorted(running))}; `make services-down` stops them")
    RECORD.unlink(missing_ok=True)
    reach = "127.0.0.1" if options.host == "0.0.0.0" else options.host
    api, ui = f"http://{reach}:{options.port}/api", f"http://127.0.0.1:{options.mlflow_port}"
    for port in (options.port, options.mlflow_port):
        if _taken(port):
            sys.exit(f"port {port} is in use by another program; name a free one (--port, --mlflow-port)")
    environment = {**QUIET, "PREFECT_API_URL": api, "PREFECT_HOME": str((HOME / "prefect").resolve())}
    server = start("prefect-server", server_command(options.host, options.port), environment, api.removesuffix("/api"))
    mlflow = start("mlflow", mlflow_command(options.mlflow_port, Path("mlflow.db"), Path("mlartifacts")), QUIET, ui)
    wait_for(server, f"{api}/health")
    environment |= {**WORKER, "MLFLOW_TRACKING_URI": ui, **of_checkout(Path.cwd())}
    for pool in POOLS:
        prefect(environment, "work-pool", "create", "--type", "process", "--overwrite", pool)
    prefect(environment, "--no-prompt", "deploy", "--all")
    start("worker-submit", worker_command("submit", "submit", 10), environment)
    devices, shared = gpus(), dvc_commands.has_remote()
    number = options.workers or max(1, len(devices))
    for index in range(number):
        device = {"CUDA_VISIBLE_DEVICES": devices[index % len(devices)]} if devices else {}
        checkout = of_checkout(own_clone(index)) if shared else {}
        start(f"worker-{index}", worker_command("gpu", worker_name(index), 1), {**environment, **device, **checkout})
    wait_for(mlflow, f"{ui}/health")
    print(
        f"Prefect  {server.address}\nMLflow   {ui}\nworkers  {number} on "
        f"{', '.join(f'GPU {name}' for name in devices) if devices else 'the CPU'}, logs in {HOME}/\n\n"
        f"begin the demo's grid:  {'' if options.port == 4200 else f'PREFECT_API_URL={api} '}"
        f"{Path(program('prefect'))} deployment run ablations\nstop everything:        make services-down"
    )


def of_checkout(folder: Path) -> dict[str, str]:
    """What tells a worker which checkout is its own: where its flows go, and whose code they import."""
    return {"LANGPOSE_CHECKOUT": str(folder), "PYTHONPATH": str(folder)}


def own_clone(index: int) -> Path:
    """A clone of this checkout for a worker, with its DVC settings: work/workers/INDEX."""
    folder = (Path("work") / "workers" / str(index)).resolve()
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(folder)], check=True)
    settings = Path(".dvc") / "config.local"
    if settings.exists():
        shutil.copyfile(settings, folder / settings)
    return folder


def _taken(port: int) -> bool:
    import socket

    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


def prefect(environment: Mapping[str, str], *arguments: str) -> None:
    """Run ``prefect ARGUMENTS``; ends the program with its words where it fails."""
    done = subprocess.run(
        [program("prefect"), *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"prefect {' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def server_command(host: str, port: int) -> list[str]:
    return [program("prefect"), "server", "start", "--host", host, "--port", str(port)]


def mlflow_command(port: int, database: Path, artifacts: Path) -> list[str]:
    """MLflow's server on this machine alone; it hands artifacts through, so that workers need no way to them."""
    return [
        program("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(artifacts.resolve()),
    ]  # fmt: skip


def worker_command(pool: str, name: str, limit: int) -> list[str]:
    return [
        program("prefect"),
        "worker",
        "start",
        "--pool",
        pool,
        "--name",
        name,
        "--limit",
        str(limit),
        "--type",
        "process",
    ]


def worker_name(index: int = 0) -> str:
    device = os.environ.get("CUDA_VISIBLE_DEVICES", str(index)).replace(",", "-")
    return f"{platform.node()}-{device}"


def worker(options: argparse.Namespace) -> None:
    """Become a worker of pool ``gpu`` (or ``submit``), whose checkout is this folder."""
    if not (os.environ.get("PREFECT_API_URL") or Path("prefect.toml").exists()):
        sys.exit("which server? set PREFECT_API_URL=http://HOST:4200/api")
    os.environ.update({**QUIET, **{name: os.environ.get(name, value) for name, value in WORKER.items()}})
    os.environ.update(of_checkout(Path.cwd()))
    name = options.name or worker_name()
    command = worker_command(options.pool, name, 10 if options.pool == "submit" else 1)
    os.execv(command[0], command)


def status(options: argparse.Namespace) -> int:
    """Say which services run; 1 where one that was started does not."""
    services = read()
    for service in services:
        print(f"{service.name:16} {'running' if service.process() else 'ended':8} {service.pid:8} {service.address}")
    if not services:
        print("nothing was started here; `make services` does it")
    return int(any(service.process() is None for service in services))


def down(options: argparse.Namespace) -> None:
    """Stop what `up` started, workers first: cells save and end. Nothing else is touched."""
    for service in sorted(read(), key=lambda one: not one.name.startswith("worker")):
        process = service.process()
        if process is None:
            continue
        family = [process, *process.children(recursive=True)]
        for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGTERM, options.grace), (signal.SIGKILL, 5.0)):
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if member.is_running():
                        member.send_signal(number)
            _, left = psutil.wait_procs(family, timeout=patience)
            if not left:
                break
        print(f"{service.name} stopped")
    RECORD.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for function in (up, down, status, worker):
        commands.add_parser(function.__name__, help=str(function.__doc__).splitlines()[0]).set_defaults(call=function)
    for name, kind, value, text in (
        ("--workers", int, 0, "workers of pool gpu; 0: one a GPU, or one"),
        ("--host", str, "127.0.0.1", "address that Prefect's server listens at"),
        ("--port", int, 4200, "Prefect's port"),
        ("--mlflow-port", int, 5000, "MLflow's port"),
    ):
        commands.choices["up"].add_argument(name, type=kind, default=value, help=text)
    commands.choices["down"].add_argument("--grace", type=float, default=60.0, help="seconds that cells have to save")
    commands.choices["worker"].add_argument("--pool", choices=POOLS, default="gpu")
    commands.choices["worker"].add_argument("--name")
    options = parser.parse_args(arguments)
    return options.call(options) or 0


if __name__ == "__main__":
    sys.exit(main())
