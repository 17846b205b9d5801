"""What the benchmarks print alike: machine and threads, medians of interleaved repeats, peak memory, a JSON file."""

import json
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits


def pin(threads: int) -> None:
    """numpy's BLAS and torch compute with ``threads`` threads from here on."""
    threadpool_limits(threads)
    torch.set_num_threads(threads)


def machine(threads: int, precision: str) -> str:
    """One line about where the figures come from."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return (
        f"{_processor()}, {os.cpu_count()} cores (load {load:.1f} at the start), {threads} thread(s), {precision}, "
        f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def interleaved(
    sides: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every call by ``clock``, the sides taking turns, so that a busy machine is busy for all of them."""
    for call in sides.values():
        call()  # warm
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, call in sides.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return seconds


def rates(units: float, seconds: Sequence[float]) -> dict[str, float]:
    """Units a second: median, least and most."""
    return {
        "median": units / statistics.median(seconds),
        "least": units / max(seconds),
        "most": units / min(seconds),
    }


def show(rate: dict[str, float]) -> str:
    """Median and spread as a table's cell."""
    return f"{rate['median']:>10,.0f}  ({rate['least']:,.0f} to {rate['most']:,.0f})"


def save(path: Path | None, figures: dict[str, Any]) -> None:
    """Keep the figures as JSON, if asked to."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@dataclass
class Used:
    """What a command took. Memory in bytes; "together" is the sum over the process and its children at one moment."""

    seconds: float
    peak_together: int
    """Resident, pages of mapped files included (the system can drop those at any time)."""
    anonymous_together: int
    """Without mapped files: what the program itself holds."""
    peak_one: int
    """Largest VmHWM of a single process."""


def run_measured(command: Sequence[str], cwd: Path | None = None, every_s: float = 0.1) -> Used:
    """Run ``command`` to its end (an error there is raised here), looking at its memory all the while; Linux only."""
    used = Used(0.0, 0, 0, 0)
    start = time.perf_counter()
    process = subprocess.Popen(list(command), cwd=cwd)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every_s):
            table = [_memory(pid) for pid in _family(process.pid)]
            used.peak_together = max(used.peak_together, sum(entry["VmRSS"] for entry in table))
            used.anonymous_together = max(used.anonymous_together, sum(entry["RssAnon"] for entry in table))
            used.peak_one = max([used.peak_one, *(entry["VmHWM"] for entry in table)])

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        code = process.wait()
    finally:
        ended.set()
        watcher.join()
        if process.poll() is None:
            process.terminate()
    used.seconds = time.perf_counter() - start
    if code:
        raise subprocess.CalledProcessError(code, list(command))
    return used


def _family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for parent in found:
        try:
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue  # it has just ended
    return found


def _memory(pid: int) -> dict[str, int]:
    sizes = dict.fromkeys(("VmRSS", "RssAnon", "VmHWM"), 0)
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in sizes:
                sizes[key] = int(value.split()[0]) * 1024
    except OSError:
        pass
    return sizes
