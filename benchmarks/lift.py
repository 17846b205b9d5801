"""`langpose lift` from file to file: frames a second, and how memory grows with the length of the input.

    .venv/bin/python benchmarks/lift.py [--frames 10000 100000] [--repeats 3] [--joins data/cmu | --rates data/cmu]
        [--json FILE]

The sample's first person (docs/samples), to and fro to the length wanted, as npz of Halpe-26 keypoints; the model that
comes with the package, on the CPU. Each run is a process of its own; that of one frame is what Python, torch and the
model take. Rendering: the same poses as pictures, drawn and encoded as mp4. There is no other side.

``--joins`` looks at jumps instead, on profile cmu's test recordings of 100 frames or more: P1, and the joints' mean
speed where windows begin or end over that elsewhere, of blended windows and of windows laid end to end, as protocols
have them. ``--rates`` looks at P1 of the same recordings where every second, fifth, … frame alone is given: told that
the rate is so much lower, and untold.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from machine import machine, run_measured, save

from langpose import LangPose, keypoint_files, people, pose_files, rendering
from langpose.cameras import normalised_to_pixel
from langpose.commands.info import shipped
from langpose.evaluation import predict
from langpose.lifting import Lifter
from langpose.lifting_sets import open_split
from langpose.metrics import mpjpe

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


def recordings(data: Path) -> Iterator[tuple[np.ndarray, tuple[int, int], np.ndarray, np.ndarray]]:
    """Keypoints (F, 17, 3), the image's size, mm a pixel (F, 1, 1), true joints (F, 17, 3) in mm."""
    split = open_split(data / "lifting" / "human36m", "test")
    for row in split.sequences[split.sequences["frames"] >= 100].itertuples():
        frames = slice(row.start, row.start + row.frames)
        points = np.array(split.joints_2d[frames], np.float64)
        points[..., :2] = normalised_to_pixel(points[..., :2], row.width, row.height)
        mm_per_px = np.asarray(split.factor_mm_px[frames])[:, None, None]
        yield points, (row.width, row.height), mm_per_px, np.asarray(split.joints_mm[frames])


def rates(data: Path) -> dict[str, float]:
    lifter, result = Lifter(LangPose.from_pretrained(shipped()), framing="image"), {}
    for every in (1, 2, 5, 10, 25):
        found: dict[str, list[float]] = {"told": [], "untold": []}
        for points, size, mm_per_px, truth in recordings(data):
            for name, rate_hz in (("told", lifter.rate_hz / every), ("untold", None)):
                poses = lifter(points[::every], image_size=size, rate_hz=rate_hz)
                found[name].append(float(mpjpe(poses.joints * mm_per_px[::every], truth[::every]).mean()))
        told, untold = (statistics.mean(found[name]) for name in ("told", "untold"))
        result |= {f"every {every}: told": told, f"every {every}: untold": untold}
        print(f"{lifter.rate_hz / every:5.1f} frames a second: P1 {told:.1f} mm, untold {untold:.1f} mm")
    return result


def joins(data: Path) -> dict[str, float]:
    lifter = Lifter(LangPose.from_pretrained(shipped()), framing="image")
    length, found = lifter.clip_len, {"blended": [], "end to end": []}
    for points, size, mm_per_px, truth in recordings(data):
        count = len(points)
        poses = lifter(points, image_size=size)
        x, units = lifter.framed(poses.keypoints, [count], size)
        whole = count // length * length
        apart = predict(lifter.encoder, x[:whole].reshape(-1, length, 17, 3)).reshape(-1, 17, 3)
        apart = (apart - apart[:, :1]) * units[:whole, None, None]
        starts = np.arange(length // 2, count - length, length // 2)
        places = {"blended": np.r_[starts - 1, starts + length - 1], "end to end": np.arange(length, whole, length) - 1}
        for name, joints in (("blended", poses.joints), ("end to end", apart)):
            mm = joints * mm_per_px[: len(joints)]
            speed = np.linalg.norm(np.diff(mm, axis=0), axis=-1).mean(-1)
            at = np.zeros(len(speed), bool)
            at[places[name]] = True
            error = mpjpe(mm, truth[: len(mm)]).mean()
            found[name].append((error, speed[at], speed[~at]))
    result = {}
    for name, rows in found.items():
        error, at, off = np.mean([r[0] for r in rows]), *(np.concatenate([r[i] for r in rows]).mean() for i in (1, 2))
        result |= {f"{name}: P1_mm": float(error), f"{name}: speed at joins over elsewhere": float(at / off)}
        print(f"{name}: P1 {error:.1f} mm; speed at joins {at:.2f} mm a frame, elsewhere {off:.2f}: {at / off:.2f}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--joins", type=Path, metavar="DATA", help="look at jumps on a profile's data")
    parser.add_argument("--rates", type=Path, metavar="DATA", help="look at frame rates on a profile's data")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    where = machine(None, "fp32")
    print(where)
    if options.joins or options.rates:
        found = joins(options.joins) if options.joins else rates(options.rates)
        save(options.json, {"machine": where, **found})
        return
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
