"""Which share of a training step is spent waiting for clips: a small data set, and one of full size.

    .venv/bin/python benchmarks/waiting.py [--hours 40] [--steps 60] [--model demo|paper] [--workers 0 1] [--json FILE]

Runs `langpose.training.train` itself, task `base` (noise, masks, mirrored clips), batches of 16, with the model of a
profile, on made-up views: "small" as the demo's (a quarter of an hour, T = 27) and "full size" (--hours, T = 243), both
from a warm page cache. The loop times itself: ``timings.csv``, seconds of an epoch, of which waited. A small model is
the hard case: the larger the model, the more time there is to cut the next clips in. The other side trains as long on
clips that lie in memory, made beforehand. The ratio is its time over ours, full size, first of --workers; 1: nothing is
lost.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from clips import warm, write_views
from machine import machine, pin, save

from langpose.clips import ClipsConfig, MotionClips
from langpose.devices import pick_device
from langpose.model.langpose import LangPoseConfig
from langpose.model.pose_encoder import PoseEncoder
from langpose.tasks import BaseConfig, CorruptedClips, LossWeights, ReconstructionTask
from langpose.training import TrainingConfig, train
from pipeline import params

BATCH = 16


class Held:
    """Clips made once and kept."""

    def __init__(self, clips: Any, count: int) -> None:
        self.items = [clips[item] for item in range(min(count, len(clips)))]

    def set_epoch(self, epoch: int) -> None:
        """The same in every epoch."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.items[item]


def timed(clips: Any, model: PoseEncoder, config: TrainingConfig) -> pd.DataFrame:
    """timings.csv of a training, without its first epoch: what is warm from the second on."""
    task = ReconstructionTask(model, clips, None, LossWeights(lambda_scale=0.5), 1000.0, 0)
    with tempfile.TemporaryDirectory(prefix="waiting_") as work:
        train(task, config, 0, Path(work), {}, progress=False)
        return pd.read_csv(Path(work) / "timings.csv").iloc[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--hours", type=float, default=40.0, help="of the full-size set")
    parser.add_argument("--steps", type=int, default=20, help="an epoch")
    parser.add_argument("--epochs", type=int, default=6, help="the first is not counted")
    parser.add_argument("--model", choices=("demo", "paper"), default="demo")
    parser.add_argument("--workers", type=int, nargs="+", default=[0], help="training.workers to try")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--scratch", type=Path, help="folder to work in; default: the system's temporary one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pin(options.threads)
    device = pick_device("auto")
    where = machine(options.threads, options.precision, device.type)
    corruption = params.section("paper", "base", BaseConfig).corruption
    model = params.section(options.model, "model", LangPoseConfig).pose
    config = TrainingConfig(
        epochs=options.epochs, steps_per_epoch=options.steps, batch_size=BATCH, validate_every=10**6,
        precision=options.precision, threads=options.threads,
    )  # fmt: skip
    print(f"{where}\nmodel of profile {options.model}, {options.steps} steps an epoch, {options.epochs - 1} epochs\n")
    print(f"{'clips':12}{'T':>5}{'workers':>9}{'ms a step':>11}{'waited':>9}{'in memory':>12}{'ratio':>8}")
    rows = []
    for name, hours, length in (("small", 0.25, 27), ("full size", options.hours, 243)):
        with tempfile.TemporaryDirectory(prefix="waiting_", dir=options.scratch) as folder:
            total = write_views(Path(folder), hours, np.random.default_rng(0))
            plain = MotionClips(Path(folder), ClipsConfig(clip_len=length), ["train"], stride=81)
            warm(plain)
            clips = CorruptedClips(plain, corruption, 0, 0.5)
            encoder = PoseEncoder(replace(model, maxlen=length), seed=0)
            for workers in options.workers:
                held = timed(Held(clips, BATCH * options.steps), encoder, config)
                ours = timed(clips, encoder, replace(config, workers=workers))
                step = statistics.median(ours["seconds"]) / options.steps
                memory = statistics.median(held["seconds"]) / options.steps
                row = {
                    "clips": name, "frames": total, "clip_len": length, "workers": workers, "step_ms": 1000 * step,
                    "waited": float((ours["waited"] / ours["seconds"]).median()), "in_memory_ms": 1000 * memory,
                    "ratio": memory / step,
                }  # fmt: skip
                rows.append(row)
                print(
                    f"{name:12}{length:>5}{workers:>9}{1000 * step:>11.1f}{row['waited']:>9.2%}{1000 * memory:>9.1f} ms"
                    f"{row['ratio']:>8.2f}",
                    flush=True,
                )
    ratio = next(row["ratio"] for row in rows if row["clips"] == "full size")
    save(options.json, {"machine": where, "model": options.model, "rows": rows, "ratio": ratio})
    print(f"\nratio: {ratio:.2f}")


if __name__ == "__main__":
    main()
