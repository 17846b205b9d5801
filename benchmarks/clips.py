"""Clips of 243 frames, how many a second from memory-mapped views, against MotionBERT's way: one pickle a clip.

    .venv/bin/python benchmarks/clips.py [--hours 40] [--clips 2000] [--repeats 7] [--scratch FOLDER] [--json FILE]

Views of the full size (40 hours at 60 Hz: two files of 1.8 GB) are made up, and read once so that the page cache is
warm. Then clips are taken in random order, as a loader asks for them: `MotionClips` (`base`) and `PretrainClips`
(labelled), plain, and with the corruption of the profile `paper` as `CorruptedClips` (noise, masks, 3D target).

The other side: MotionBERT's files, a pickle of {"data_input", "data_label"} a clip, opened and unpickled, a warm cache
too. Its clips are cut and scaled beforehand, ours when they are asked for. The ratio is `MotionClips` plain over that.
Seconds are the processor's, not the wall's: what one core gives, whoever else is using the machine.
"""

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import interleaved, machine, pin, rates, save, show

from langpose.clips import ClipsConfig, MotionClips, PretrainClips
from langpose.corruption import CorruptionConfig
from langpose.projection import SEQUENCE_COLUMNS
from langpose.tasks import CorruptedClips

RATE_HZ = 60.0
CORRUPTION = CorruptionConfig(masks={"joint_frame": 0.5, "body_part": 0.25, "time_window": 0.25})


def write_views(folder: Path, hours: float, rng: np.random.Generator) -> int:
    """``folder``/motions, views and pairs.parquet, as the stages write them; the number of frames."""
    lengths = rng.integers(600, 3600, round(hours * 3600 * RATE_HZ / 2100))
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    names = [f"CMU/{number // 40:03d}/{number:05d}" for number in range(len(lengths))]
    (folder / "motions").mkdir(parents=True)
    (folder / "views").mkdir()
    table = pd.DataFrame({"sequence": names, "start": starts, "frames": lengths})
    table = table.assign(recording=names, source=names, subject="CMU", split="train", rate_hz=RATE_HZ, offset_s=0.0)
    table[SEQUENCE_COLUMNS].to_parquet(folder / "motions/sequences.parquet")
    total, block = int(lengths.sum()), rng.normal(0, 0.5, (65536, 17, 3)).astype(np.float32)
    for view in ("front", "side"):
        array = np.lib.format.open_memmap(folder / f"views/{view}.npy", "w+", np.float32, (total, 17, 3))
        for at in range(0, total, len(block)):
            array[at : at + len(block)] = block[: total - at]
        array.flush()
    row = rng.integers(len(lengths), size=9 * len(lengths))  # labels of 1 to 8 s
    span = np.minimum(rng.integers(60, 480, len(row)), lengths[row])
    start = (rng.random(len(row)) * (lengths[row] - span)).astype(np.int64)
    pairs = pd.DataFrame({
        "pair": np.arange(len(row)), "sequence": np.array(names)[row], "start": start, "stop": start + span,
        "label": [f"action {number}" for number in rng.integers(2000, size=len(row))], "kind": "action",
        "split": "train", "core_start": start, "core_stop": start + span,
    })  # fmt: skip
    pairs.to_parquet(folder / "pairs.parquet")
    return total


def warm(clips: MotionClips) -> None:
    """Read all that clips are cut from once, so that the page cache holds it."""
    for view in clips.views:
        for at in range(0, len(view), 65536):
            view[at : at + 65536].max()


def write_pickles(folder: Path, clips: MotionClips, order: np.ndarray) -> list[Path]:
    """MotionBERT's files: 00000000.pkl, ..."""
    folder.mkdir()
    files = [folder / f"{number:08d}.pkl" for number in range(len(order))]
    for file, item in zip(files, order.tolist(), strict=True):
        with file.open("wb") as handle:
            pickle.dump({"data_input": None, "data_label": clips[item]["motion"]}, handle)
    return files


def read_pickle(file: Path) -> np.ndarray:
    """A clip as MotionBERT's reader takes it in: our own file, written a moment ago."""
    with file.open("rb") as handle:
        return pickle.load(handle)["data_label"]


def taking(clips: Any, items: list[int]) -> Callable[[], None]:
    """All ``items``, one by one."""

    def call() -> None:
        for item in items:
            clips[item]

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--hours", type=float, default=40.0)
    parser.add_argument("--clips", type=int, default=2000, help="in each turn")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--scratch", type=Path, help="folder to work in; default: the system's temporary one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pin(1)
    where = machine(1, "float32")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="clips_", dir=options.scratch) as name:
        folder = Path(name)
        total = write_views(folder, options.hours, rng)
        config = ClipsConfig()
        plain = MotionClips(folder, config, ["train"], stride=81)
        labelled = PretrainClips(folder, config, ["train"])
        warm(plain)
        items, pairs = (rng.permutation(len(clips))[: options.clips] for clips in (plain, labelled))
        files = write_pickles(folder / "pickles", plain, items)
        count = len(files)

        def pickles() -> None:
            for file in files:
                read_pickle(file)

        same = min(count, 20)
        if not all(np.array_equal(plain[int(items[i])]["motion"], read_pickle(files[i])) for i in range(same)):
            raise SystemExit("the pickles do not hold the clips")
        if len(pairs) < count:
            raise SystemExit(f"only {len(pairs)} pairs; more --hours are needed for {count} clips")
        sides = {
            "MotionClips": taking(plain, items.tolist()),
            "PretrainClips": taking(labelled, pairs.tolist()[:count]),
            "MotionClips, corrupted": taking(CorruptedClips(plain, CORRUPTION, 0, 0.5), items.tolist()),
            "PretrainClips, corrupted": taking(CorruptedClips(labelled, CORRUPTION, 0), pairs.tolist()[:count]),
            "theirs: a pickle a clip": pickles,
        }
        rate = {
            side: rates(count, seconds)
            for side, seconds in interleaved(sides, options.repeats, time.process_time).items()
        }
    print(
        f"{where}\n{total:,} frames a view, {len(plain):,} windows, {len(labelled):,} pairs; {count} clips of "
        f"{config.clip_len} frames a turn, {options.repeats} turns, warm cache\n"
    )
    print(f"{'':26}clips a second of one core (spread)")
    for side, figures in rate.items():
        print(f"{side:26}{show(figures)}")
    ratio = rate["MotionClips"]["median"] / rate["theirs: a pickle a clip"]["median"]
    save(options.json, {"machine": where, "frames": total, "clips_per_second": rate, "ratio": ratio})
    print(f"\nratio: {ratio:.1f}")


if __name__ == "__main__":
    main()
