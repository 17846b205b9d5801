"""What the benchmarks print alike: machine and threads, medians of interleaved repeats, peak memory, a JSON file.

    .venv/bin/python benchmarks/machine.py [--device cpu|cuda] [--threads N] [--repeats 7] [--json FILE]

prints the device's matrix-multiply ceiling in each precision, against which utilisation is reckoned.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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


def machine(threads: int | None, precision: str, device: str = "cpu") -> str:
    """One line about where the figures come from; ``threads`` None: as many as the program takes."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    gpu = f"{_gpu()}, " if device.startswith("cuda") else ""
    used = "its own threads" if threads is None else f"{threads} thread(s)"
    return (
        f"{gpu}{_processor()}, {_bfloat16()}, {os.cpu_count()} cores (load {load:.1f} at the start), "
        f"{used}, {precision}, "
        f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}"
    )


def _gpu() -> str:
    facts = torch.cuda.get_device_properties(0)
    return f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


def _bfloat16() -> str:
    """What the processor has for bfloat16, on which the ratio to float32 depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "bfloat16 instructions unknown"
    flags = set(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())
    found = [name.upper() for name in ("amx_bf16", "avx512_bf16", "bf16") if name in flags]
    return f"bfloat16 by {' and '.join(found)}" if found else "no bfloat16 instructions"


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


@contextlib.contextmanager
def precision(name: str, device: str) -> Iterator[None]:
    """Arithmetic of matrix products inside: fp32, tf32 (CUDA only) or bf16 (autocast)."""
    before = torch.get_float32_matmul_precision()
    if name == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast(device, torch.bfloat16, enabled=name == "bf16"):
            yield
    finally:
        if name == "tf32":
            torch.set_float32_matmul_precision(before)


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def check_device(device: str) -> None:
    """Ends the program where there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch sees no GPU on this machine")


def matmul_ceiling(device: str, name: str, repeats: int = 5) -> float:
    """FLOP/s of large square matrix products in precision ``name``: the best call of a few sizes.

    Operands are random (zeros are quicker) and already in the precision; nothing is converted.
    """
    best = 0.0
    for size in (4096, 8192, 16384) if device == "cuda" else (1024, 2048):
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        calls = max(1, round(4e13 / (2 * size**3))) if device == "cuda" else 1

        def product(a: torch.Tensor = a, b: torch.Tensor = b, calls: int = calls) -> None:
            for _ in range(calls):
                a @ b
            wait(device)

        with precision("tf32" if name == "tf32" else "fp32", device):
            seconds = interleaved({"product": product}, repeats)["product"]
        best = max(best, calls * 2 * size**3 / min(seconds))
    return best


def open_reference(path: Path | None) -> bool:
    """Let ``lib.model...`` be imported from the user's MotionBERT; False, with a word on how to get it, without."""
    if path is None:
        print(
            "our side alone: the other side is MotionBERT, which is not in this repository. "
            "git clone https://github.com/Walter0807/MotionBERT PATH, then add --reference PATH"
        )
        return False
    if not (path / "lib/model/DSTformer.py").is_file():
        sys.exit(f"--reference {path}: no lib/model/DSTformer.py there; expected a clone of Walter0807/MotionBERT")
    sys.path.insert(0, str(path.resolve()))
    return True


def rates(units: float, seconds: Sequence[float]) -> dict[str, float]:
    """Units a second: median, least and most."""
    return {
        "median": units / statistics.median(seconds),
        "least": units / max(seconds),
        "most": units / min(seconds),
    }


def show(rate: dict[str, float], digits: int = 0) -> str:
    """Median and spread as a table's cell."""
    return f"{rate['median']:>10,.{digits}f}  ({rate['least']:,.{digits}f} to {rate['most']:,.{digits}f})"


@dataclass
class Target:
    """A figure and what it should be at least."""

    text: str
    found: float | None
    """None: not measured here."""
    least: float

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.text}: not measured"
        return f"{self.text}: {self.found:.2f}, target {self.least:g}, {'met' if self.met else 'missed'}"

    @property
    def met(self) -> bool:
        return self.found is not None and self.found >= self.least


def show_targets(targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Print them; what the JSON keeps."""
    for target in targets:
        print(target)
    return [{"target": t.text, "found": t.found, "least": t.least, "met": t.met} for t in targets]


def show_ratio(ratio: float | None) -> None:
    """The last line."""
    print(f"\nratio: {'not measured, there is no other side' if ratio is None else f'{ratio:.1f}'}")


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


def own_memory() -> dict[str, int]:
    """Bytes of this process: VmRSS now, VmHWM the most since the start or `forget_peak`; Linux only, else zeros."""
    return _memory(os.getpid())


def forget_peak() -> None:
    """VmHWM starts anew from what is resident now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    check_device(options.device)
    pin(options.threads)
    where = machine(options.threads, "matrix products", options.device)
    names = ("fp32", "tf32", "bf16") if options.device == "cuda" else ("fp32", "bf16")
    ceilings = {name: matmul_ceiling(options.device, name, options.repeats) for name in names}
    print(where)
    for name, ceiling in ceilings.items():
        print(f"{name}  {ceiling / 1e12:8.2f} TFLOP/s")
    save(options.json, {"machine": where, "flops_per_second": ceilings})


if __name__ == "__main__":
    main()
