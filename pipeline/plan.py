"""``python -m pipeline.plan PROFILE``: what the trainings of a profile take, before hours are spent. A dry run.

For every training: how often it runs, steps, parameters, FLOPs, memory, size of a checkpoint, hours; a warning where
the machine has too little memory. Nothing is trained, written or downloaded, and no data is needed: where data/PROFILE/
holds none yet, and the profile sets no steps, hours are those of 1,000 steps. What is counted, and what is left out,
stands in langpose/plan.py.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from langpose.clips import ClipsConfig, MotionClips, PretrainClips
from langpose.lifting_sets import LiftingClips
from langpose.model.langpose import LangPoseConfig
from langpose.plan import (
    ALLOCATED,
    PROGRAM_BYTES,
    UTILISATION,
    Measured,
    Plan,
    machine_memory,
    matmul_speed,
    measure,
    model_without_weights,
)
from langpose.tasks import BaseConfig, FinetuneConfig, PretrainConfig, Variant
from langpose.training import TrainingConfig
from pipeline import layout, params
from pipeline.axes import Axes
from pipeline.few import FewConfig

PER = 1000
"""Steps that hours are given for where it is not known how many there are."""
ADVICE = (
    "for less memory: a larger training.accumulate (the alignment's negatives are then the part's), "
    "training.checkpoint_layers (a third more time), or a smaller training.batch_size"
)


@dataclass(frozen=True)
class Machine:
    """What is planned for."""

    device: str
    memory_bytes: float | None
    tflops: float | None
    """Sustained speed, as the user gives it; None: measured here."""

    def flops(self, precision: str) -> float:
        """Sustained FLOP/s."""
        return self.tflops * 1e12 if self.tflops is not None else _measured_speed(precision, self.device) * UTILISATION


@cache
def _measured_speed(precision: str, device: str) -> float:
    return matmul_speed(precision, device)


@dataclass(frozen=True)
class Training:
    """A training of the profile, as often as it runs."""

    name: str
    cells: int
    clips: int | None
    """Of an epoch, from the data; None: it is not there."""
    config: TrainingConfig
    plan: Plan
    machine: Machine

    @property
    def steps(self) -> int | None:
        """Of a cell; None where that depends on data that is not there."""
        c, each = self.config, self.config.steps_per_epoch
        if self.clips is not None:
            each = min(self.clips // c.batch_size, each or sys.maxsize)
        if each is None:
            return None
        return min(c.epochs * each, c.max_steps or sys.maxsize)

    @property
    def hours(self) -> float:
        """Of a cell; of `PER` steps where their number is not known."""
        steps = PER if self.steps is None else self.steps
        return self.plan.seconds(steps, self.machine.flops(self.config.precision)) / 3600

    @property
    def warning(self) -> str | None:
        """That memory does not suffice, where it does not."""
        limit, needed = self.machine.memory_bytes, self.plan.peak_bytes
        excess = ALLOCATED[self.machine.device]
        if limit is None or needed * excess <= limit:
            return None
        parts = self.plan.fitting(limit / excess)
        more = f"accumulate {parts} would fit" if parts else "it would not even fit a clip at a time"
        told = "" if excess == 1 else f", up to {needed * excess / 1e9:.1f} GB as allocated"
        return f"{self.name} needs {needed / 1e9:.1f} GB{told}; the machine has {limit / 1e9:.1f} GB; {more}"

    def row(self) -> dict[str, Any]:
        """Figures, for `--json`."""
        model = self.plan.model
        return {
            "training": self.name, "cells": self.cells, "clips_per_epoch": self.clips, "steps": self.steps,
            "parameters": model.parameters, "trained_parameters": model.trained,
            "flops_per_clip": model.flops, "pose_flops_per_clip": model.pose_flops, "text_flops": model.text_flops,
            "flops_per_step": self.plan.step_flops, "precision": self.config.precision,
            "clips_at_a_time": self.plan.clips_at_a_time, "memory_bytes": self.plan.memory,
            "kept_per_clip_bytes": model.kept_per_clip, "peak_bytes": self.plan.peak_bytes,
            "checkpoint_bytes": self.plan.checkpoint_bytes,
            "hours_per_cell" if self.steps is not None else f"hours_per_{PER}_steps_of_a_cell": self.hours,
            "hours": None if self.steps is None else self.hours * self.cells,
        }  # fmt: skip


def trainings(profile: str, machine: Machine) -> tuple[list[Training], list[str]]:
    """All trainings of a profile, and remarks on what could not be counted as it will be."""
    axes = params.section(profile, "axes", Axes)
    clips_config = params.section(profile, "clips", ClipsConfig)
    base = params.section(profile, "base", BaseConfig)
    pretrain = params.section(profile, "pretrain", PretrainConfig)
    model, remarks = model_without_weights(params.section(profile, "model", LangPoseConfig))
    folder = layout.data(profile)
    measured = cache(measure)

    def counted(what: str, count: Callable[[], int], *needed: Path) -> int | None:
        if all(path.exists() for path in needed):
            try:
                return count()
            except (OSError, ValueError) as error:
                remarks.append(f"{what}: {error}")
        return None

    def of(
        name: str, cells: int, clips: int | None, config: TrainingConfig, clip_len: int, alignment: str, whole: bool
    ) -> Training:
        other = config.device == "cpu" and machine.device != "cpu"
        where = Machine("cpu", machine_memory("cpu"), None) if other else machine
        if clips is not None and clips < config.batch_size:
            remarks.append(f"{name}: {clips} clips do not fill a batch of {config.batch_size}")
        load: Measured = measured(
            model if whole else model.pose_encoder, clip_len, config.precision, where.device == "cuda", alignment,
            config.checkpoint_layers,
        )  # fmt: skip
        plan = Plan(
            load, config.batch_size, config.accumulate, config.processes, config.ema_decay is not None,
            config.keep == "best",
        )  # fmt: skip
        return Training(name, cells, clips, config, plan, where)

    found: list[Training] = []
    moving = [folder / "motions" / "sequences.parquet", folder / "views"]
    if base.checkpoint is None:
        clips = counted("base", lambda: len(MotionClips(folder, clips_config, ["train"], base.stride)), *moving)
        found.append(of("base", len(axes.all_seeds), clips, base.training, clips_config.clip_len, "none", whole=False))
    else:
        remarks.append(f"base is not trained: it is {base.checkpoint}")
    pairs = counted(
        "pretrain", lambda: len(PretrainClips(folder, clips_config, ["train"])), *moving, folder / "pairs.parquet"
    )
    for name in axes.variants:
        variant = params.section(profile, "variants", Variant, name)
        if not variant.pretraining:
            continue
        if variant.alignment == "one_hot":
            remarks.append(f"pretrain {name}: the action head is not counted, its classes come from the data")
        length = clips_config.clip_len
        cells = len(axes.pretrained(name))
        found.append(of(f"pretrain {name}", cells, pairs, pretrain.training, length, variant.alignment, whole=True))
    for dataset in axes.datasets:
        config = params.section(profile, "finetune", FinetuneConfig, dataset)
        place = layout.lifting(profile, dataset)
        clips = counted(dataset, partial(_lifting_clips, config, place, axes.seeds[0]), place / "meta.json")
        cells = sum(len(axes.finetuned(dataset, variant)) for variant in axes.variants)
        found.append(of(f"finetune {dataset}", cells, clips, config.training, config.clip_len, "none", whole=False))
        if dataset in axes.few:
            config = replace(config, fraction=params.section(profile, "few", FewConfig).fraction)
            name, count = f"finetune {dataset}, few data", partial(_lifting_clips, config, place, axes.seeds[0])
            clips = counted(name, count, place / "meta.json")
            cells = sum(len(axes.finetuned(dataset, variant, few=True)) for variant in axes.variants)
            found.append(of(name, cells, clips, config.training, config.clip_len, "none", whole=False))
    return found, remarks


def _lifting_clips(config: FinetuneConfig, folder: Path, seed: int) -> int:
    common: dict[str, Any] = {"protocol": config.protocol, "input_2d": config.input_2d, "fraction": config.fraction}
    return len(LiftingClips(folder, "train", config.clip_len, config.stride, seed, **common))


def assumptions(machine: Machine, rows: Sequence[Training]) -> list[str]:
    """What the figures rest on, a line each."""
    memory = "memory not known" if machine.memory_bytes is None else f"{machine.memory_bytes / 1e9:.1f} GB of memory"
    lines = [f"planned for {'a GPU' if machine.device == 'cuda' else 'this CPU'}, {memory}"]
    for where, precision in dict.fromkeys((row.machine, row.config.precision) for row in rows):
        speed = where.flops(precision) / 1e12
        lines.append(
            f"{speed:.3g} TFLOP/s sustained in {precision}, as given by --tflops"
            if where.tflops is not None
            else f"{speed:.3g} TFLOP/s sustained in {precision}: matrix products measured just now on this "
            f"{'GPU' if where.device == 'cuda' else 'CPU'}, {speed / UTILISATION:.3g} TFLOP/s, times a utilisation "
            f"of {UTILISATION}, which is assumed (langpose/plan.py: 0.2 to 0.8 on a CPU, by the model's width; "
            "benchmarks/train_step.py measures it)"
        )
    return [
        *lines,
        "hours leave out validation, checkpoints, waiting for clips, and the other stages",
        "GB are 10^9 bytes; held: weights, gradients, moments; kept: for the backward pass, of the clips computed at a "
        "time; file: a checkpoint, of which two stay while a cell runs. Left out: what the allocator takes in excess "
        f"(on a CPU up to {ALLOCATED['cpu']} times as much in all), and the program itself "
        f"({PROGRAM_BYTES / 1e9:.1f} GB on a CPU)",
    ]


def table(rows: Sequence[Training]) -> str:
    """The figures for people."""
    head = ["training", "cells", "clips/epoch", "steps", "M params", "GFLOP/clip", "GB held", "GB kept", "GB peak",
            "GB file", "h/cell", "h all"]  # fmt: skip
    lines = [head]
    for row in rows:
        plan, memory = row.plan, row.plan.memory
        known = row.steps is not None
        lines.append([
            row.name, f"{row.cells}", "no data" if row.clips is None else f"{row.clips:,}",
            f"{row.steps:,}" if known else "not known", f"{sum(plan.model.parameters.values()) / 1e6:.2f}",
            f"{plan.model.flops / 1e9:.3g}", _gb(plan.peak_bytes - memory["kept"]), _gb(memory["kept"]),
            _gb(plan.peak_bytes), _gb(plan.checkpoint_bytes),
            _hours(row.hours) + (" " if known else "*"), _hours(row.hours * row.cells) if known else "?",
        ])  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f}" if count < 10e9 else f"{count / 1e9:.1f}"


def _hours(hours: float) -> str:
    return f"{hours:.4f}" if hours < 0.1 else f"{hours:.2f}" if hours < 100 else f"{hours:,.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.plan", description=str(__doc__).splitlines()[0])
    parser.add_argument("profile")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU where there is one")
    parser.add_argument("--tflops", type=float, help="sustained speed of the machine you plan for, TFLOP/s, used as it "
                        f"is; default: matrix products here, times {UTILISATION}")  # fmt: skip
    parser.add_argument(
        "--memory-gb", type=float, help="memory of its GPU, or of the machine if it has none, 10^9 bytes"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    for name, value in (("--tflops", options.tflops), ("--memory-gb", options.memory_gb)):
        if value is not None and not value > 0:
            parser.error(f"{name} is {value}; it must be above 0")
    here = "cuda" if torch.cuda.is_available() else "cpu"
    device = options.device or here
    if device == "cuda" != here and (options.tflops is None or options.memory_gb is None):
        parser.error("--device cuda: torch sees no GPU here to measure; give its --tflops and --memory-gb too")
    memory = options.memory_gb * 1e9 if options.memory_gb else machine_memory(device)
    machine = Machine(device, memory, options.tflops)
    try:
        rows, remarks = trainings(options.profile, machine)
    except ValueError as error:
        sys.exit(f"profiles/{options.profile}.yaml: {error}")
    told, warnings = assumptions(machine, rows), [row.warning for row in rows if row.warning]
    known = [row for row in rows if row.steps is not None]
    hours = sum(row.hours * row.cells for row in known)
    if options.json:
        figures = {
            "profile": options.profile, "device": device, "memory_bytes": memory, "assumptions": told,
            "remarks": remarks, "warnings": warnings + [ADVICE] * bool(warnings),
            "trainings": [row.row() for row in rows], "hours": hours if len(known) == len(rows) else None,
        }  # fmt: skip
        print(json.dumps(figures, indent=2))
        return
    print(f"profile {options.profile}: a dry run, nothing is trained or written\n\n{table(rows)}\n")
    unknown = [row.name for row in rows if row.steps is None]
    if known:
        print(f"hours in all: {_hours(hours)}{', without those of which the steps are not known' if unknown else ''}")
    if unknown:
        print(
            f"steps not known: {', '.join(unknown)}: data/{options.profile}/ does not hold their clips yet\n"
            f"* of {PER:,} steps"
        )
    for line in [*told, *remarks]:
        print(f"- {line}")
    for warning in warnings:
        print(f"WARNING {warning}")
    if warnings:
        print(f"  {ADVICE}")


if __name__ == "__main__":
    main()
