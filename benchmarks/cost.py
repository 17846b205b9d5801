"""Time of a pass over a clip: each profile's model with the <POSE> token (ours) and without it (the baseline).

    .venv/bin/python benchmarks/cost.py [--profiles demo cmu paper] [--precision fp32|bf16] [--threads N] [--batch N]
        [--repeats 9] [--device cpu|cuda] [--json FILE] [--page FILE]      about 3 minutes on 2 cores

Both sides run in this process by turns (`langpose.evaluation.predict`, from a clip in memory to joints in memory,
without the mirrored copy), with random weights, on which time does not depend. A call is repeated within a turn until
it fills ``--turn-s`` seconds. Latency is a call with one clip; clips a second are those of a batch. Profiles of the
same sizes are measured once. The paper's sizes (243 frames, 512 features) take fewer turns and a small batch on a CPU.

``--json`` keeps the figures, which `langpose.cost.cost_table` reads; ``--page`` writes them, the counted MACs and the
arithmetic of the diffusion methods as Markdown. The ratio is the baseline's latency over ours, of the last profile
named: below 1, as the token is one more step than T.
"""

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference import our_call, timed
from machine import check_device, machine, pin, rates, save, show
from train_step import random_clips

from langpose.cost import DIFFUSION, NOT_STATED, PAPER_FRAMES, Diffusion, baseline, cost_of, cost_table, sizes
from langpose.model.langpose import LangPoseConfig
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig
from pipeline import params

LARGE_MACS = 10**10
"""From here on a pass takes a second or so on a CPU: fewer turns, and a batch of `LARGE_BATCH`."""
LARGE_REPEATS, LARGE_BATCH = 5, 2


def model_of(profile: str) -> tuple[LangPoseConfig, int, bool]:
    """A profile's model, the frames of a clip and whether it is mirrored, as Human3.6M's layout is evaluated."""
    evaluated = params.load(profile)["evaluate"]["human36m"]
    return params.section(profile, "model", LangPoseConfig), int(evaluated["clip_len"]), bool(evaluated["flip"])


def measure(config: PoseEncoderConfig, frames: int, options: argparse.Namespace) -> dict[str, Any]:
    """A row of the figures: both sides' latency and throughput at these sizes."""
    device, name = options.device, options.precision
    large = cost_of(config, frames).macs >= LARGE_MACS
    batch = options.batch or (LARGE_BATCH if large and device == "cpu" else 64)
    repeats = min(options.repeats, LARGE_REPEATS) if large and device == "cpu" else options.repeats
    models = {"ours": PoseEncoder(config, 0), "baseline": PoseEncoder(baseline(config), 0)}
    calls = {side: our_call(model.to(device).eval(), name, device) for side, model in models.items()}
    clips = random_clips(batch, frames)[0].numpy()
    one, many = (
        timed(calls, np.ascontiguousarray(clips[:count]), repeats, options.turn_s, device) for count in (1, batch)
    )
    latency = {side: [1000 * seconds for seconds in times] for side, times in one.items()}
    return {
        "sizes": sizes(config, frames), "batch": batch, "repeats": repeats,
        "latency_ms": {side: spread(times) for side, times in latency.items()},
        "clips_per_second": {side: rates(batch, times) for side, times in many.items()},
        "ratio": statistics.median(latency["baseline"]) / statistics.median(latency["ours"]),
    }  # fmt: skip


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def page(figures: Mapping[str, Any]) -> str:
    """reports/cost.md: a pure function of the figures and the profiles' models."""
    ours = cost_of(PoseEncoderConfig(), PAPER_FRAMES)
    lines = [
        "# What a clip costs at inference",
        "",
        f"`{figures['command']}`; {figures['machine']}. Times are medians (least to most), both sides in one process "
        "by turns. MACs are multiply-adds of matrix products; a pass is one clip through the network once.",
        "",
    ]
    for row in figures["rows"]:
        config, frames, flip = model_of(row["profiles"][-1])
        table = cost_table(config, frames, flip, figures)
        title = f"Profile {' and '.join(row['profiles'])}, {frames} frames"
        lines.append(replace(table, title=title, blocks=table.blocks[:1], notes=[]).to_markdown())
    lines += [
        'The paper calls LangPose "more efficient during inference" than diffusion methods, without a figure (4.2). An '
        f"evaluated clip of {PAPER_FRAMES} frames takes before + mirrored · H · W · denoiser, ours 2 · "
        f"{ours.macs / 1e9:.2f} = {ours.total / 1e9:.1f} GMAC. H (hypotheses) and W (iterations) are from the authors' "
        "repositories; MACs are stated in none and are counted from the code there (`langpose/cost.py`). Their papers' "
        "text was not at hand, and none of these methods was run here.",
        "",
    ]
    for method in DIFFUSION:
        lines += [f"- {method.method}, {method.setting}: {arithmetic(method, ours.total)}"]
        lines += [f"  - {source}" for source in method.sources]
    lines += [
        "",
        "So ours takes a small part of what D3DP takes, each of whose passes costs 0.8 of one of ours, but more than "
        "DiffPose as its repository runs it: one iteration of a small network, after two passes of MixSTE. The "
        "`<POSE>` token costs one step more than T in every layer.",
    ]
    return "\n".join([*lines, ""])


def arithmetic(method: Diffusion, ours: int) -> str:
    """A method's total, in figures."""
    if method.total is None or method.denoiser is None:
        known = [f"{name} {value}" for name, value in (("H", method.hypotheses), ("W", method.iterations)) if value]
        return ", ".join([*known, "the rest not stated"]) if known else NOT_STATED
    before = f"{method.before / 1e9:.2f} + " if method.before else ""
    return (
        f"{before}{method.mirrored} · {method.hypotheses} · {method.iterations} · {method.denoiser / 1e9:.2f} = "
        f"{method.total / 1e9:,.0f} GMAC, {method.total / ours:.2f} times ours"
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--profiles", nargs="+", default=["demo", "cmu", "paper"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, help=f"clips for throughput; default 64, at the paper's sizes on a CPU "
                        f"{LARGE_BATCH}")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=9, help="turns of each side")
    parser.add_argument("--turn-s", type=float, default=0.2, help="a turn has as many calls as fill these seconds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    check_device(options.device)
    pin(options.threads)
    where = machine(options.threads, options.precision, options.device)
    print(f"{where}\n\n{'':40}{'ms a pass, one clip (spread)':36}clips/s (spread)")
    rows: list[dict[str, Any]] = []
    for profile in options.profiles:
        config, frames, _ = model_of(profile)
        same = next((row for row in rows if row["sizes"] == sizes(config.pose, frames)), None)
        if same is not None:
            same["profiles"].append(profile)
            print(f"{profile}: the sizes of {same['profiles'][0]}")
            continue
        row = {"profiles": [profile], **measure(config.pose, frames, options)}
        rows.append(row)
        title = f"{profile}, {frames} frames, batch {row['batch']}"
        for side in ("ours", "baseline"):
            times, clips = show(row["latency_ms"][side], 2), show(row["clips_per_second"][side], 1)
            print(f"{title:30}{side:10}{times:36}{clips}", flush=True)
        print(f"{'':28}latency of the baseline over ours: {row['ratio']:.3f}")
    last = next(row for row in rows if options.profiles[-1] in row["profiles"])
    figures = {
        "machine": where, "command": f".venv/bin/python benchmarks/cost.py {shlex.join(arguments)}".strip(),
        "threads": options.threads, "precision": options.precision, "device": options.device, "rows": rows,
        "ratio": last["ratio"],
    }  # fmt: skip
    for row in rows:
        config, frames, flip = model_of(row["profiles"][-1])
        print(f"\n{cost_table(config, frames, flip, figures).to_markdown()}")
    save(options.json, figures)
    if options.page:
        options.page.write_text(page(json.loads(json.dumps(figures))), encoding="utf-8")
    print(f"\nratio: {last['ratio']:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
