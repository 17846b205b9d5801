"""Latency of one clip and clips a second of a batch: our pose encoder against MotionBERT's, the same weights in both.

    .venv/bin/python benchmarks/inference.py --reference PATH [--device cpu|cuda] [--frames 27 81 243] [--batch 4]
        [--precision bf16] [--threads N] [--repeats 7] [--json FILE]      about 10 minutes on 2 cores

From a clip in memory to joints in memory: ours by `langpose.evaluation.predict`, theirs as its train.py evaluates,
both without the mirrored copy. Theirs runs in its default (fp32: no TF32 on a GPU, unless asked for) and in our
precision. The <POSE> token is off; outputs must agree to 1e-4 in float32 before anything is timed. A call is repeated
within a turn until it fills ``--turn-s`` seconds, the sides taking turns. "of ceiling" is the FLOPs of the reference's
matrix products, by torch's counter, over the ceiling of the side's precision (machine.py).

The last table is what our precision does to a pose: millimetres between a joint in it and in float32. Weights are
random, their head scaled so that a pose has a person's size (500 mm from the pelvis, root mean square); give
``--weights FILE``, a MotionBERT checkpoint of these sizes, for those of a trained model. Its targets are on the mean.
The ratio is ours over theirs' default, the smallest of all rows.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import (
    Target,
    check_device,
    interleaved,
    machine,
    matmul_ceiling,
    open_reference,
    pin,
    precision,
    rates,
    save,
    show,
    show_ratio,
    show_targets,
    wait,
)
from torch import Tensor, nn
from train_step import both_models, flops_per_clip, model_config, person_sized, random_clips, their_model

from langpose.clips import ClipsConfig
from langpose.evaluation import predict
from langpose.model.motionbert import load_checkpoint
from langpose.model.pose_encoder import PoseEncoder

Call = Callable[[np.ndarray], np.ndarray]


def our_call(model: PoseEncoder, name: str, device: str) -> Call:
    """Clips (N, T, 17, 3) to joints, one batch."""

    def network(x: Tensor) -> Tensor:
        with precision(name, device):
            return model(x)

    return lambda x: predict(network, x, batch_size=len(x), flip=False, device=device)


def their_call(model: nn.Module, name: str, device: str) -> Call:
    """The same by MotionBERT's own means."""

    def call(x: np.ndarray) -> np.ndarray:
        with torch.no_grad(), precision(name, device):
            return model(torch.from_numpy(x).to(device)).float().cpu().numpy()

    return call


def timed(calls: dict[str, Call], x: np.ndarray, repeats: int, turn_s: float, device: str) -> dict[str, list[float]]:
    """Seconds of a call, each side's, by turns."""
    once = {side: min(times) for side, times in interleaved({s: _bound(c, x) for s, c in calls.items()}, 1).items()}
    count = {side: max(1, min(1000, round(turn_s / seconds))) for side, seconds in once.items()}

    def turn(side: str) -> Callable[[], None]:
        def call() -> None:
            for _ in range(count[side]):
                calls[side](x)
            wait(device)

        return call

    seconds = interleaved({side: turn(side) for side in calls}, repeats)
    return {side: [one / count[side] for one in times] for side, times in seconds.items()}


def _bound(call: Call, x: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: call(x)


def difference_mm(rounded: Call, exact: Call, x: np.ndarray) -> dict[str, float]:
    """Millimetres between joints of two calls: mean, the 99th percentile, most; and the size of the pose."""
    unit = ClipsConfig().mm_per_unit
    a, b = rounded(x), exact(x)
    apart = np.linalg.norm(a - b, axis=-1) * unit
    size = float(np.sqrt(np.square(b).sum(-1).mean())) * unit
    return {"mean": float(apart.mean()), "p99": float(np.quantile(apart, 0.99)), "most": float(apart.max()),
            "pose_size": size}  # fmt: skip


def targets(options: argparse.Namespace, rows: dict[str, dict[str, Any]]) -> Iterator[Target]:
    """Those that are set for this device and size."""
    if options.device != "cpu" or options.depth != 5 or (options.precision != "bf16" and options.width == 512):
        return
    for title, row in rows.items():
        found = row["against"].get("theirs fp32")
        if options.width == 512:
            yield Target(f"{title}: clips/s over the reference's default", found, 3)
        elif options.width == 64 and row["frames"] == 27:
            yield Target(f"{title}: a small model's clips/s over the reference's default", found, 1.3)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--reference", type=Path, help="the user's clone of Walter0807/MotionBERT")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="ours")
    parser.add_argument("--theirs", nargs="+", choices=("fp32", "tf32", "bf16"), help="default: fp32, ours, GPU: tf32")
    parser.add_argument("--batch", type=int, help="clips for throughput; default: 4, on a GPU 64")
    parser.add_argument("--frames", type=int, nargs="+", default=[27, 81, 243])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--weights", type=Path, help="for the last table: a checkpoint of these sizes")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each side")
    parser.add_argument("--turn-s", type=float, default=0.5, help="a turn has as many calls as fill these seconds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    options.batch = options.batch or (64 if options.device == "cuda" else 4)
    return options


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    device = options.device
    check_device(device)
    pin(options.threads)
    where = machine(options.threads, f"ours in {options.precision}", device)
    print(where)
    other = open_reference(options.reference)
    config = model_config(argparse.Namespace(**{**vars(options), "frames": max(options.frames)}))
    x = random_clips(options.batch, max(options.frames))[0]
    difference = None
    if other:
        ours, theirs, difference = both_models(config, x[:1], device)
        print(f"outputs agree to {difference:.0e}")
    else:
        ours = PoseEncoder(config, 0)
        person_sized(ours, x[:1])
        ours.to(device).eval()
    calls = {f"ours {name}": our_call(ours, name, device) for name in dict.fromkeys([options.precision, "fp32"])}
    default = "theirs fp32"
    if other:
        names = options.theirs or ["fp32", options.precision, *(["tf32"] if device == "cuda" else [])]
        default = f"theirs {names[0]}"
        calls |= {f"theirs {name}": their_call(theirs, name, device) for name in dict.fromkeys(names)}
    counted = their_model(config) if other else PoseEncoder(config, None)
    ceilings = {name: matmul_ceiling(device, name) for name in dict.fromkeys(side.split()[1] for side in calls)}
    print(
        f"{config.dim_feat} features, {config.depth} layers, {config.num_heads} heads; medians of {options.repeats} "
        f"turns, the sides in turns; ceiling "
        + ", ".join(f"{ceiling / 1e12:.2f} TFLOP/s in {name}" for name, ceiling in ceilings.items())
        + f"\n\n{'':44}{'ms a call':>10}{'clips/s':>12}  {'(spread)':20}of ceiling  over {default}"
    )
    rows: dict[str, dict[str, Any]] = {}
    for frames in options.frames:
        flops = flops_per_clip(counted, frames, backward=False)
        for batch in dict.fromkeys([1, options.batch]):
            clips = np.ascontiguousarray(x[:batch, :frames].numpy())
            title = f"{frames} frames, " + ("one clip" if batch == 1 else f"batch {batch}")
            seconds = timed(calls, clips, options.repeats, options.turn_s, device)
            rate = {side: rates(batch, times) for side, times in seconds.items()}
            used = {side: one["median"] * flops / ceilings[side.split()[1]] for side, one in rate.items()}
            first = rate[f"ours {options.precision}"]["median"]
            against = {side: first / one["median"] for side, one in rate.items() if side.startswith("theirs")}
            rows[title] = {"frames": frames, "batch": batch, "clips_per_second": rate, "against": against,
                           "flops_per_clip": flops, "utilisation": used,
                           "seconds": {side: statistics.median(times) for side, times in seconds.items()}}  # fmt: skip
            for side, times in seconds.items():
                over = f"{rate[side]['median'] / rate[default]['median']:10.2f} ×" if default in rate else ""
                print(
                    f"{title:28}{side:16}{statistics.median(times) * 1000:10,.1f}  {show(rate[side], 1):32}"
                    f"{used[side]:10.1%}{over}",
                    flush=True,
                )
    judged = show_targets(list(targets(options, rows)))

    apart: dict[str, dict[str, float]] = {}
    if options.precision != "fp32":
        model = ours
        if options.weights:
            model = load_checkpoint(options.weights, config).to(device).eval()
        print(f"\n{options.precision} against fp32, mm a joint{'mean':>12}{'99 %':>8}{'most':>8}{'pose size':>12}")
        for frames in options.frames:
            clips = np.ascontiguousarray(x[:, :frames].numpy())
            sides = our_call(model, options.precision, device), our_call(model, "fp32", device)
            found = difference_mm(*sides, clips)
            apart[str(frames)] = found
            print(
                f"{f'{frames} frames':28}{found['mean']:12.2f}{found['p99']:8.2f}{found['most']:8.2f}"
                f"{found['pose_size']:12.0f}"
            )
        worst = max(one["mean"] for one in apart.values())
        judged += show_targets([Target("1 mm over the mean difference", 1 / max(worst, 1e-9), 1)])
    ratio = min((row["against"][default] for row in rows.values()), default=None) if other else None
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "reference", "weights")}
    settings |= {"weights": str(options.weights or "random"), "difference": difference, "difference_mm": apart}
    save(
        options.json,
        {"machine": where, **settings, "ceilings": ceilings, "rows": rows, "targets": judged, "ratio": ratio},
    )
    show_ratio(ratio)


if __name__ == "__main__":
    main(sys.argv[1:])
