"""`langpose lift` from file to file: frames a second, and how memory grows with the length of the input.

    .venv/bin/python benchmarks/lift.py [--frames 10000 100000] [--repeats 3] [--json FILE]

The sample's first person (docs/samples), to and fro to the length wanted, as npz of Halpe-26 keypoints; the model that
comes with the package, on the CPU. Each run is a process of its own; that of one frame is what Python, torch and the
model take. Rendering: the same poses as pictures, drawn and encoded as mp4. There is no other side.
"""

import argparse
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from machine import machine, run_measured, save

from langpose import keypoint_files, people, pose_files, rendering

ROOT = Path(__file__).parents[1]
PICTURES = 600


def made(path: Path, frames: int) -> None:
    found = keypoint_files.read(ROOT / "docs" / "samples" / "two_people.json")
    (track,) = people.chosen(people.tracks(found), "1")
    there_and_back = np.concatenate([track.keypoints, track.keypoints[::-1]])
    points = there_and_back[np.arange(frames) % len(there_and_back)]
    np.savez(path, keypoints=points, skeleton="halpe26", rate_hz=50.0)


def lift(path: Path, out: Path):
    command = [".venv/bin/langpose", "lift", str(path), "-o", str(out)]
    return run_measured([str(ROOT / command[0]), *command[1:]], cwd=ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    where = machine(None, "fp32")
    print(where)
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for frames in (1, *options.frames):
            path, out = Path(folder) / f"{frames}.npz", Path(folder) / f"out{frames}"
            made(path, frames)
            runs = [lift(path, out) for _ in range(options.repeats)]
            seconds = statistics.median(run.seconds for run in runs)
            memory = max(run.anonymous_together for run in runs) / 2**20
            result[str(frames)] = {"seconds": seconds, "frames_a_second": frames / seconds, "memory_mib": memory}
            print(f"{frames:7,} frames: {seconds:6.1f} s, {frames / seconds:7,.0f} frames a second, {memory:,.0f} MiB "
                  "without mapped files")  # fmt: skip
        poses, _ = pose_files.load(Path(folder) / f"out{options.frames[0]}")
        began = time.perf_counter()
        rendering.save_mp4(Path(folder) / "a.mp4", islice(rendering.frames(poses), PICTURES), 50.0)
        result["rendering"] = {"frames_a_second": PICTURES / (time.perf_counter() - began)}
        print(f"rendering: {result['rendering']['frames_a_second']:.0f} pictures a second")
    save(options.json, {"machine": where, **result})


if __name__ == "__main__":
    main()
