"""Prefect's server, MLflow's and workers for tests and campaigns, each with a clone of a sleeping grid, on loopback."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline import services
from tests import sleeping_grid


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def family(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def run_begun(said: str) -> str:
    """The flow run's id in what ``prefect deployment run`` says."""
    return next(line.split("UUID:")[1].strip() for line in said.splitlines() if "UUID:" in line)


def state(api: str, run: str) -> str:
    """The flow run's state: its type, in capitals, and its message; "" while the server is away."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{api}/flow_runs/{run}", timeout=10) as answer:
        found = json.load(answer)["state"]
        return f"{found['type']} {found['message']}"
    return ""


def wait(api: str, run: str, seconds: float, hint: str) -> str:
    """Until the flow run has ended; its state."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = state(api, run)
        if found.startswith(("COMPLETED", "FAILED", "CRASHED", "CANCELLED")):
            return found
        time.sleep(1)
    raise TimeoutError(f"{run} is {found} after {seconds} s; {hint}")


@dataclass
class Services:
    """A server with pools and deployments, a submitter and workers; everything below ``base``."""

    base: Path
    axes: dict
    sleep_s: float = 0.0
    mlflow: bool = True
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base.mkdir(parents=True, exist_ok=True)
        self.runs = self.base / "runs"
        self.remote = self.base / "remote"
        self.origin = sleeping_grid.origin(self.base / "origin", self.axes)
        self.submitter = sleeping_grid.clone(self.origin, self.base / "submitter", self.remote)
        self.port, self.mlflow_port = free_port(), free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"

    def environment(self, folder: Path) -> dict[str, str]:
        more = {
            **services.LIGHT, **services.WORKER, "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(self.base / "prefect"), **services.of_checkout(folder),
            "LANGPOSE_RUNS": str(self.runs), "LANGPOSE_SLEEP": str(self.sleep_s),
            "LANGPOSE_WORK": str(self.base / "work"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        if self.mlflow:
            more["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{self.mlflow_port}"
        return sleeping_grid.environment(folder, **more)

    def start(self, name: str, command: list[str], folder: Path, **more: str) -> None:
        with open(self.base / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=folder, env=self.environment(folder) | more, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def start_all(self, workers: int = 2) -> None:
        """The servers, the deployments, a submitter and so many workers."""
        self.start_server()
        if self.mlflow:
            self.start_mlflow()
        self.deploy()
        self.start_submitter()
        for index in range(workers):
            self.start_worker(index)

    def start_server(self) -> None:
        self.start("server", services.server_command("127.0.0.1", self.port), self.submitter)
        self._wait(f"{self.api}/health")

    def start_mlflow(self) -> None:
        command = services.mlflow_command(self.mlflow_port, self.base / "mlflow.db", self.base / "artifacts")
        self.start("mlflow", command, self.submitter)
        self._wait(f"http://127.0.0.1:{self.mlflow_port}/health")

    def _wait(self, url: str, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=3) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.3)
        raise TimeoutError(url)

    def deploy(self) -> None:
        for pool in services.POOLS:
            self.prefect("work-pool", "create", "--type", "process", "--overwrite", pool)
        self.prefect("--no-prompt", "deploy", "--all")

    def prefect(self, *arguments: str) -> str:
        done = subprocess.run(
            [services.program("prefect"), *arguments], cwd=self.submitter, env=self.environment(self.submitter),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_submitter(self) -> None:
        self.start("submit", services.worker_command("submit", "submit", 10), self.submitter)

    def start_worker(self, index: int) -> None:
        folder = self.base / f"worker-{index}"
        if not folder.exists():
            sleeping_grid.clone(self.origin, folder, self.remote)
        self.start(f"worker-{index}", services.worker_command("gpu", f"worker-{index}", 1), folder)

    def kill(self, name: str, number: int = signal.SIGKILL, children: bool = True) -> None:
        """Kill a process and, unless told otherwise, all that it has started: as if its machine were gone."""
        members = family(self.processes[name]) if children else family(self.processes[name])[:1]
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.processes[name].wait(30)

    def close(self) -> None:
        for name in [*(n for n in self.processes if n not in ("server", "mlflow")), "mlflow", "server"]:
            if name in self.processes and self.processes[name].poll() is None:
                self.kill(name)

    def begin(self, flow: str = "ablations", **parameters: str) -> str:
        """Begin a grid; the flow run's id."""
        given = [part for name, value in parameters.items() for part in ("-p", f"{name}={value}")]
        said = self.prefect("deployment", "run", flow, *given)
        return run_begun(said)

    def ask(self, what: str, **body: object) -> list:
        """What the API finds: ``flow_runs`` or ``artifacts``."""
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{self.api}/{what}/filter", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)

    def artifact(self, run: str, kind: str, key: str = "") -> str:
        """A run's newest artifact of a kind (table, markdown, progress) with ``key`` in its name: its data."""
        found = self.ask("artifacts", artifacts={"flow_run_id": {"any_": [run]}, "type": {"any_": [kind]}})
        return max((one for one in found if key in one["key"]), key=lambda one: one["created"])["data"]

    def state(self, run: str) -> str:
        return state(self.api, run)

    def wait(self, run: str, seconds: float = 600.0) -> str:
        """Until the flow run has ended; its state."""
        return wait(self.api, run, seconds, f"logs in {self.base}")

    def begun(self) -> list[str]:
        """The cells and other stages that have begun so far, in order: ``pretrain demo mmm_map 0``."""
        return [" ".join(line.split()[1:-2]) for line in self._lines("begin")]

    def ended(self) -> list[str]:
        return [" ".join(line.split()[1:-2]) for line in self._lines("end")]

    def _lines(self, word: str) -> list[str]:
        lines = self.runs.read_text().splitlines() if self.runs.exists() else []
        return [line for line in lines if line.startswith(word + " ")]


def alone(folder: Path, origin: Path, seeds: list[int] | None = None) -> Path:
    """The same grid in one checkout by DVC alone, without remote or services; its folder."""
    sleeping_grid.clone(origin, folder, None)
    environment = sleeping_grid.environment(folder, LANGPOSE_RUNS=os.devnull, LANGPOSE_SLEEP="0")
    grid = f"from pipeline.grid import Grid; Grid.of('demo', seeds={seeds}).write()"
    for command in (["-c", grid], ["-m", "pipeline.reproduce"]):
        subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=True, capture_output=True)
    return folder
