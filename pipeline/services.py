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
from pipeline import dvc_commands

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
    "PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_CLIENT_MAX_RETRIES": "8",
}  # fmt: skip
"""What a worker is started with: new runs are seen within two seconds, and a request to a server that is away is made
again for 1 + 2 + … + 256 s. Prefect's worker ends after twelve requests without an answer: after more than an hour."""
LIGHT = {**QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""MLflow's server without its own job queues, which nothing here uses."""
SAVE_S = 60.0
"""How long cells have to save themselves when a worker is told to end."""
ENDING = ((signal.SIGTERM, 3.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
"""What the worker itself then gets, and how many seconds each time. Prefect's takes the second SIGTERM as "now"."""


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
    reach = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)
    api, ui = f"http://{reach}:{options.port}/api", f"http://127.0.0.1:{options.mlflow_port}"
    for port in (options.port, options.mlflow_port):
        if _taken(port):
            sys.exit(f"port {port} is in use by another program; name a free one (--port, --mlflow-port)")
    environment = {**QUIET, "PREFECT_API_URL": api, "PREFECT_HOME": str((HOME / "prefect").resolve())}
    server = start("prefect-server", server_command(options.host, options.port), environment, api.removesuffix("/api"))
    mlflow = start("mlflow", mlflow_command(options.mlflow_port, Path("mlflow.db"), Path("mlartifacts")), LIGHT, ui)
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
        name = f"{platform.node()}-{device.get('CUDA_VISIBLE_DEVICES', index)}"
        checkout = of_checkout(own_clone(index)) if shared else {}
        start(f"worker-{index}", worker_command("gpu", name, 1), {**environment, **device, **checkout})
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
    from dvc.config import Config, merge

    folder = (Path("work") / "workers" / str(index)).resolve()
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(folder)], check=True)
    local = folder / ".dvc" / "config.local"
    local.unlink(missing_ok=True)
    local.touch(mode=0o600)
    ours = Config(".dvc", validate=False)
    with Config(str(folder / ".dvc"), validate=False).edit("local") as theirs:
        for level in ("repo", "local"):  # the committed settings too: their paths are relative to their own folder
            merge(theirs, ours.load_one(level))
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


def worker(options: argparse.Namespace) -> int:
    """One more worker in this checkout, in the foreground; told to end, it lets its cells save first."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        print(
            "MLFLOW_TRACKING_URI is not set: runs of this worker are not shown in MLflow until a sync", file=sys.stderr
        )
    devices = gpus()
    if options.pool == "gpu" and len(devices) > 1:
        sys.exit(f"a worker is one GPU; name it: CUDA_VISIBLE_DEVICES={devices[0]} make worker")
    name = options.name or f"{platform.node()}-{devices[0] if devices else 'cpu'}-{Path.cwd().name}"
    environment = {**os.environ, **QUIET, **WORKER, **of_checkout(Path.cwd())}
    command = worker_command(options.pool, name, 10 if options.pool == "submit" else 1)
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end(psutil.Process(process.pid), SAVE_S))
    return process.wait()


def end(process: psutil.Process, save_s: float) -> None:
    """End a worker: what it runs first, by SIGTERM, so that cells save and Prefect is told; then itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        runs = process.children()
        for run in runs:
            run.send_signal(signal.SIGTERM)
        psutil.wait_procs(runs, timeout=save_s)
        family = [process, *process.children(recursive=True)]
        for number, patience in ENDING:
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.send_signal(number)
            _, family = psutil.wait_procs(family, timeout=patience)
            if not family:
                return


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
        if process := service.process():
            end(process, options.grace if service.name.startswith("worker") else 0.0)
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
    commands.choices["down"].add_argument("--grace", type=float, default=SAVE_S, help="seconds that cells have to save")
    commands.choices["worker"].add_argument("--pool", choices=POOLS, default="gpu")
    commands.choices["worker"].add_argument("--name")
    options = parser.parse_args(arguments)
    return options.call(options) or 0


if __name__ == "__main__":
    sys.exit(main())
