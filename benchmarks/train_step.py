"""Training steps: langpose's own loop against MotionBERT's model, losses and optimiser, from the same weights.

    .venv/bin/python benchmarks/train_step.py --reference PATH [--device cpu|cuda] [--batch 1 4] [--frames 243]
        [--precision bf16] [--threads N] [--repeats 5] [--json FILE]      about 12 minutes on 2 cores
    .venv/bin/python benchmarks/train_step.py --reference PATH --width 64 --frames 27 --batch 16      a small model

A step is forward, loss, backward and update. Ours is `langpose.training.train` itself, with the task, losses and
precision of the stage `base` and clips that lie in memory; whenever its loop starts an epoch, the others take their
turn, outside its time. Theirs is what MotionBERT's train.py does with a batch: all seven losses, of which four weigh
nothing, each read as a number; AdamW as torch makes it. It runs in its own default (fp32: no TF32 in matrix products
on a GPU, unless asked for) and in ours. The <POSE> token is off, or there would be no equal outputs: they must agree
to 1e-4 in float32 before anything is timed.

Before that, each side takes two steps alone in a process of its own. From there is its peak memory, of weights,
gradients, optimiser and activations: resident memory's over what the imports hold, on a GPU torch's. Where a GPU is too
small for a batch, theirs is halved until it fits, ours computed in parts (`accumulate`), as in the profile `paper`.

Utilisation is the reference's FLOPs, by torch's counter, at the measured speed over the ceiling of matrix products in
that precision (machine.py); "at the ceiling" is the ratio if the whole of our step ran at it, the most that this
machine's arithmetic allows. The ratio is ours over theirs' default, the smallest of the batches.
"""

import argparse
import contextlib
import copy
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import (
    Target,
    check_device,
    forget_peak,
    machine,
    matmul_ceiling,
    open_reference,
    own_memory,
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
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from langpose.clips import ClipsConfig
from langpose.model.motionbert import load_checkpoint
from langpose.model.pose_encoder import NORM_EPS, PoseEncoder, PoseEncoderConfig
from langpose.tasks import LossWeights, ReconstructionTask
from langpose.training import TrainingConfig, train

PERSON_MM = 500.0
"""Root mean square distance of a standing person's 17 joints from the pelvis, arms hanging."""
TOLERANCE = 1e-4
"""Of outputs in float32, in the model's units: 0.3 mm."""


def model_config(options: argparse.Namespace) -> PoseEncoderConfig:
    """Sizes of both models: MotionBERT's base model, unless told otherwise."""
    return PoseEncoderConfig(
        dim_feat=options.width, dim_rep=options.width, depth=options.depth, num_heads=options.heads,
        maxlen=max(243, options.frames), pose_token=False,
    )  # fmt: skip


def random_clips(count: int, frames: int) -> tuple[Tensor, Tensor]:
    """x (count, frames, 17, 3) with confidence 1, and y; in the model's units."""
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(0, 0.3, (count, frames, 17, 3)).astype(np.float32)) for _ in range(2))
    x[..., 2] = 1
    return x, y


def their_model(config: PoseEncoderConfig, seed: int = 0) -> nn.Module:
    """MotionBERT's network with its initial weights, biases and fusion moved off their zeros, so that they count."""
    network = importlib.import_module("lib.model.DSTformer").DSTformer
    torch.manual_seed(seed)
    model: nn.Module = network(
        dim_in=3, dim_out=3, dim_feat=config.dim_feat, dim_rep=config.dim_rep, depth=config.depth,
        num_heads=config.num_heads, mlp_ratio=config.mlp_ratio, num_joints=config.num_joints, maxlen=config.maxlen,
        norm_layer=partial(nn.LayerNorm, eps=NORM_EPS), att_fuse=True,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=config.init_std / 2)
    return model


def person_sized(model: nn.Module, x: Tensor) -> None:
    """Scale the regression head so that outputs for ``x`` have a person's size."""
    head: Any = model.head
    with torch.inference_mode():
        size = float(model(x).square().sum(-1).mean().sqrt()) * ClipsConfig().mm_per_unit
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(PERSON_MM / size)


def both_models(config: PoseEncoderConfig, x: Tensor, device: str) -> tuple[PoseEncoder, nn.Module, float]:
    """Ours with theirs' weights, theirs, and how far their outputs for ``x`` differ; too far ends the program."""
    theirs = their_model(config)
    person_sized(theirs, x)
    ours = load_checkpoint(theirs.state_dict(), config)
    ours.to(device).eval()
    theirs.to(device).eval()
    with torch.inference_mode():
        difference = float((ours(x.to(device)) - theirs(x.to(device))).abs().max())
    if not difference <= TOLERANCE:
        sys.exit(f"void: outputs differ by {difference:.2g} in float32; expected at most {TOLERANCE:g}")
    return ours, theirs, difference


def flops_per_clip(model: nn.Module, frames: int, backward: bool = True) -> int:
    """Of matrix products, forward and backward; torch's counter on tensors without content. The model is on the CPU."""
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        joints = copy.deepcopy(model)(torch.zeros(1, frames, 17, 3))
        if backward:
            joints.sum().backward()
    return int(counter.get_total_flops())


class Enough(Exception):
    """Ends our loop."""


class MemoryClips:
    """``count`` clips for our loop. ``between`` is called with each epoch's number before it starts, outside
    ``seconds``, which has one entry an epoch; it raises `Enough` to end the loop."""

    def __init__(self, x: Tensor, y: Tensor, count: int, between: Callable[[int], None]) -> None:
        self.items = [{"x": a, "y": b} for a, b in zip(x.numpy(), y.numpy(), strict=True)]
        self.count, self.between = count, between
        self.seconds: list[float] = []
        self.started = 0.0

    def set_epoch(self, epoch: int) -> None:
        if epoch:
            self.seconds.append(time.perf_counter() - self.started)
        self.between(epoch)
        self.started = time.perf_counter()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.items[item % len(self.items)]


def run_ours(
    model: PoseEncoder,
    data: tuple[Tensor, Tensor],
    options: argparse.Namespace,
    parts: int,
    steps: int,
    between: Callable[[int], None],
) -> list[float]:
    """Our training loop until ``between`` ends it; seconds of each epoch of ``steps`` batches."""
    batch = len(data[0])
    clips = MemoryClips(*data, batch * steps, between)
    task = ReconstructionTask(model, clips, None, LossWeights(lambda_scale=0.5), 1.0, 0)
    config = TrainingConfig(
        epochs=10**6, batch_size=batch, accumulate=parts, precision=options.precision, device=options.device,
        validate_every=10**6, checkpoint_every=10**9, compile=options.compile,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="train_step_") as folder, contextlib.suppress(Enough):
        train(task, config, 0, Path(folder), {}, progress=False)
    return clips.seconds


class TheirStep:
    """One update as MotionBERT's train.py makes it of a batch with 3D truth, its released configuration."""

    def __init__(self, model: nn.Module, data: tuple[Tensor, Tensor], device: str) -> None:
        self.model, self.data, self.device = model.to(device).train(), data, device
        self.losses: Any = importlib.import_module("lib.model.loss")
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-4, weight_decay=0.01)

    def __call__(self, name: str, batch: int) -> None:
        x, y = (tensor[:batch].to(self.device) for tensor in self.data)
        with precision(name, self.device):
            predicted = self.model(x).float()  # float32 losses in either precision, as ours
        with precision("tf32" if name == "tf32" else "fp32", self.device):
            self.optimizer.zero_grad()
            of = self.losses
            terms = {
                1.0: [of.loss_mpjpe(predicted, y)],
                0.5: [of.n_mpjpe(predicted, y)],
                20.0: [of.loss_velocity(predicted, y)],
                0.0: [
                    of.loss_limb_var(predicted),
                    of.loss_limb_gt(predicted, y),
                    of.loss_angle(predicted, y),
                    of.loss_angle_velocity(predicted, y),
                ],
            }
            total = sum((weight * value for weight, values in terms.items() for value in values), torch.zeros(()))
            for value in (*(value for values in terms.values() for value in values), total):
                value.item()
            total.backward()
            self.optimizer.step()


def sides(options: argparse.Namespace) -> list[str]:
    """Precisions of theirs, its default first."""
    chosen = options.theirs or ["fp32", options.precision, *(["tf32"] if options.device == "cuda" else [])]
    return list(dict.fromkeys(chosen)) if options.reference else []


def alone(options: argparse.Namespace) -> None:
    """In a process of its own: two steps of one side; prints peak bytes and seconds of the second step as JSON."""
    side, batch, device = options.alone, options.batch[0], options.device
    config, data = model_config(options), random_clips(batch, options.frames)
    before = own_memory()["VmRSS"]
    forget_peak()
    model = PoseEncoder(config, 0) if side == "ours" else their_model(config)
    if device == "cuda":  # leave room for the other's weights, gradients and optimiser
        room = 16 * sum(parameter.numel() for parameter in model.parameters()) + 2**30
        torch.cuda.set_per_process_memory_fraction(1 - room / torch.cuda.get_device_properties(0).total_memory)
    found: dict[str, Any] = {"fits": True}

    def look(epoch: int) -> None:
        if epoch == 2:
            found["peak_bytes"] = own_memory()["VmHWM"] - before
            raise Enough

    try:
        if side == "ours":
            found["seconds"] = run_ours(model, data, options, options.accumulate, 1, look)[1]  # type: ignore[arg-type]
        else:
            step, seconds = TheirStep(model, data, device), []
            with contextlib.suppress(Enough):
                for number in range(3):
                    look(number)
                    start = time.perf_counter()
                    step(side, batch)
                    wait(device)
                    seconds.append(time.perf_counter() - start)
            found["seconds"] = seconds[1]
        if device == "cuda":
            found["peak_bytes"] = torch.cuda.max_memory_allocated()
    except torch.cuda.OutOfMemoryError:
        found = {"fits": False}
    print(json.dumps(found))


def measured_alone(arguments: Sequence[str], side: str, batch: int, parts: int) -> dict[str, Any]:
    """What `alone` found; ours in more parts, theirs with a smaller batch, where the GPU is too small."""
    theirs = side != "ours"
    while True:
        command = [sys.executable, __file__, *arguments, "--alone", side, "--batch", str(batch)]
        done = subprocess.run([*command, "--accumulate", str(parts)], stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        if found["fits"]:
            return {**found, "batch": batch, "accumulate": parts}
        if (batch if theirs else batch // parts) == 1:
            sys.exit(f"{side}: not even one clip fits into the GPU's memory")
        batch, parts = (batch // 2, parts) if theirs else (batch, parts * 2)


def together(
    models: tuple[PoseEncoder, nn.Module | None],
    data: tuple[Tensor, Tensor],
    options: argparse.Namespace,
    found: dict[str, dict[str, Any]],
) -> dict[str, list[float]]:
    """Seconds a step of every side in every turn but the first, which warms up; steps in turns."""
    steps = {side: max(1, min(200, round(options.turn_s / one["seconds"]))) for side, one in found.items()}
    seconds: dict[str, list[float]] = {side: [] for side in found}
    step = TheirStep(models[1], data, options.device) if models[1] is not None else None
    epochs = 2 if options.device == "cuda" else 1  # a turn: on a GPU the first is not counted, memory settles in it

    def theirs(side: str, count: int) -> float:
        assert step is not None
        start = time.perf_counter()
        for _ in range(count):
            step(side, found[side]["batch"])
        wait(options.device)
        return time.perf_counter() - start

    def between(epoch: int) -> None:
        if epoch == epochs * (options.repeats + 1):
            raise Enough
        if epoch % epochs == 0:
            for side in [side for side in found if side != "ours"]:
                if epochs == 2:
                    theirs(side, 1)
                seconds[side].append(theirs(side, steps[side]) / steps[side])

    loop = run_ours(models[0], data, options, found["ours"]["accumulate"], steps["ours"], between)
    seconds["ours"] = [one / steps["ours"] for one in loop[epochs - 1 :: epochs]]
    return {side: times[1:] for side, times in seconds.items()}


def profile(model: PoseEncoder, data: tuple[Tensor, Tensor], options: argparse.Namespace, parts: int) -> str:
    """Table of what two steps of our loop spend their time on, most first, after two that warm up."""
    cuda = options.device == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    profiler = torch.profiler.profile(activities=kinds)

    def between(epoch: int) -> None:
        wait(options.device)
        if epoch == 2:
            profiler.start()
        if epoch == 4:
            profiler.stop()
            raise Enough

    run_ours(model, data, options, parts, 1, between)
    averages = profiler.key_averages()
    by = "self_device_time_total" if cuda else "self_cpu_time_total"
    return str(averages.table(sort_by=by, row_limit=25, max_name_column_width=70))


def row(side: str, one: dict[str, Any], seconds: list[float], flops: int, ceiling: float) -> dict[str, Any]:
    """Figures of a side."""
    rate = rates(one["batch"], seconds)
    return {
        "side": side, "clips_per_second": rate, "step_s": statistics.median(seconds), "turns": len(seconds), **one,
        "utilisation": rate["median"] * flops / ceiling, "ceiling_flops": ceiling,
    }  # fmt: skip


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """Ours over theirs; "ceiling" is the speed if all of our step ran at the ceiling of matrix products."""
    speed = ours["clips_per_second"]["median"] / theirs["clips_per_second"]["median"]
    return {
        "speed": speed,
        "ceiling": speed / ours["utilisation"],
        "memory": theirs["peak_bytes"] / max(1, ours["peak_bytes"]),
    }


def targets(options: argparse.Namespace, batch: int, table: dict[str, dict[str, Any]]) -> Iterator[Target]:
    """Those that are set for this device and size."""
    ratio = {side: compare(table["ours"], one) for side, one in table.items() if side != "ours"}
    speed = {side: one["speed"] for side, one in ratio.items()}
    memory = {side: one["memory"] for side, one in ratio.items() if one["memory"] > 0}  # 0 where there is no /proc
    base = options.width == 512 and options.depth == 5 and options.frames == 243
    if options.device == "cpu" and base and batch == 4:
        yield Target("clips/s over the reference's default", speed.get("fp32"), 6)
        yield Target("peak memory, the reference's default over ours", memory.get("fp32"), 2)
    if options.device == "cpu" and options.width == 64 and options.frames == 27:
        yield Target("clips/s of a small model over the reference's default", speed.get("fp32"), 1.3)
    if options.device == "cuda" and base:
        yield Target("clips/s over the reference's default", speed.get("fp32"), 4)
        yield Target("clips/s over the reference in bf16", speed.get("bf16"), 1.5)
        if batch == 64:
            yield Target("utilisation", table["ours"]["utilisation"], 0.45)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--reference", type=Path, help="the user's clone of Walter0807/MotionBERT")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="ours")
    parser.add_argument("--compile", action="store_true", help="ours: training.compile")
    parser.add_argument("--theirs", nargs="+", choices=("fp32", "tf32", "bf16"), help="default: fp32, ours, GPU: tf32")
    parser.add_argument("--batch", type=int, nargs="+", help="default: 1 4, on a GPU 16 64")
    parser.add_argument("--accumulate", type=int, default=1, help="parts that ours computes a batch in")
    parser.add_argument("--frames", type=int, default=243)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side")
    parser.add_argument("--turn-s", type=float, default=1.0, help="a turn has as many steps as fill these seconds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true", help="show what our step spends its time on")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.batch = options.batch or ([16, 64] if options.device == "cuda" else [1, 4])
    return options


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    check_device(options.device)
    pin(options.threads)
    if options.alone:
        if options.alone != "ours":
            open_reference(options.reference)
        alone(options)
        return
    where = machine(options.threads, f"ours in {options.precision}", options.device)
    print(where)
    other = open_reference(options.reference)
    config = model_config(options)
    flops = flops_per_clip(their_model(config) if other else PoseEncoder(config, None), options.frames)
    names = dict.fromkeys([options.precision, *sides(options)])
    ceilings = {name: matmul_ceiling(options.device, name) for name in names}
    print(
        f"{config.dim_feat} features, {config.depth} layers, {config.num_heads} heads, {options.frames} frames: "
        f"{flops / 1e12:.3f} TFLOP a clip; ceiling "
        + ", ".join(f"{ceiling / 1e12:.2f} TFLOP/s in {name}" for name, ceiling in ceilings.items())
        + f"; medians of {options.repeats} turns, the sides in turns"
    )
    results: dict[str, Any] = {}
    ratios: list[float] = []
    for batch in options.batch:
        found = {side: measured_alone(arguments, side, batch, options.accumulate) for side in ["ours", *sides(options)]}
        data = random_clips(batch, options.frames)
        models: tuple[PoseEncoder, nn.Module | None] = PoseEncoder(config, 0), None
        difference = None
        if other:
            *models, difference = both_models(config, data[0][:1], options.device)  # type: ignore[assignment]
        seconds = together(models, data, options, found)
        table = {
            side: row(side, found[side], seconds[side], flops, ceilings[options.precision if side == "ours" else side])
            for side in found
        }
        agreement = "" if difference is None else f", outputs agree to {difference:.0e}"
        print(
            f"\nbatch {batch}{agreement}\n"
            f"{'':20}{'clips/s':>10}  {'(spread)':22}{'a step':>11}{'peak memory':>14}{'of ceiling':>12}"
        )
        digits = 0 if min(one["clips_per_second"]["median"] for one in table.values()) > 50 else 2
        for side, one in table.items():
            title = f"ours {options.precision}" if side == "ours" else f"theirs {side}"
            title += ", compiled" if side == "ours" and options.compile else ""
            how = f"batch {one['batch']}" if one["batch"] != batch else ""
            how += f"in {one['accumulate']} parts" if one["accumulate"] > 1 and side == "ours" else ""
            print(
                f"{title:20}{show(one['clips_per_second'], digits):34}{one['step_s']:9.3f} s"
                f"{one['peak_bytes'] / 2**30:10.2f} GiB{one['utilisation']:12.1%}  {how}".rstrip()
            )
        against = {side: compare(table["ours"], one) for side, one in table.items() if side != "ours"}
        for side, one in against.items():
            print(
                f"ours over theirs {side}: {one['speed']:.2f} × the clips/s ({one['ceiling']:.2f} × at the ceiling), "
                f"theirs {one['memory']:.2f} × the memory"
            )
        judged = show_targets(list(targets(options, batch, table)))
        results[str(batch)] = {
            "sides": table, "against": against, "targets": judged, "difference": difference,
        }  # fmt: skip
        ratios += [one["speed"] for side, one in against.items() if side == sides(options)[0]]
        sys.stdout.flush()
    ratio = min(ratios) if ratios else None
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "reference", "alone")}
    save(options.json, {"machine": where, **settings, "flops_per_clip": flops, "batches": results, "ratio": ratio})
    if options.profile:  # of the last batch, when all figures are safe
        print(profile(models[0], data, options, found["ours"]["accumulate"]))
    show_ratio(ratio)


if __name__ == "__main__":
    main(sys.argv[1:])
