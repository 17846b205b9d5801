"""P1, P2 and per-action errors of Human3.6M's test set: our evaluation's scoring against MotionBERT's, frame for frame.

    .venv/bin/python benchmarks/metrics.py --reference PATH [--frames 566920] [--clip-len 243] [--threads 1]
        [--repeats 5] [--json FILE]      about 2 minutes

Poses are random, as many as the test set has frames (those of the last, not full, clip are left out, as there); their
clips follow each other, 15 actions in turn. Predictions are float32, the truth float64, in mm and root-relative.

ours    what `langpose.evaluation.evaluate_human36m` does once it has predictions: errors in chunks, means per action.
theirs  what MotionBERT's train.py does: `mpjpe` and `p_mpjpe` once a clip, sums per frame, then a loop over the frames
        that sorts them by action. "calls alone" is without the sums and the loop.

Both must give the same P1 and P2 to 1e-6 mm. The ratio is ours over theirs with sums and loop.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import interleaved, machine, open_reference, pin, rates, save, show, show_ratio

from langpose import evaluation

TEST_FRAMES = 566_920
ACTIONS = 15
TOLERANCE_MM = 1e-6


def poses(frames: int, clip_len: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions float32 and truth float64 (N, T, 17, 3) mm, root-relative, and the action of each frame."""
    rng = np.random.default_rng(0)
    clips = frames // clip_len
    truth = rng.normal(0, 300, (clips, clip_len, 17, 3))
    predicted = (truth + rng.normal(0, 40, truth.shape)).astype(np.float32)
    actions = np.array([f"action {number:02d}" for number in range(ACTIONS)])[np.arange(clips) % ACTIONS]
    return predicted - predicted[:, :, :1], truth - truth[:, :, :1], np.repeat(actions, clip_len)


def ours(predicted: np.ndarray, truth: np.ndarray, actions: np.ndarray) -> tuple[float, float]:
    """P1 and P2 by the steps of `evaluate_human36m`."""
    frames = np.arange(len(actions))
    p1, p2 = evaluation._errors(predicted.reshape(-1, 17, 3), truth.reshape(-1, 17, 3), frames)
    table = evaluation._means(pd.DataFrame({"p1": p1, "p2": p2, "action": actions}), "action")
    return float(table["p1"].mean()), float(table["p2"].mean())


def theirs(predicted: np.ndarray, truth: np.ndarray, actions: np.ndarray, by_action: bool) -> tuple[float, float]:
    """P1 and P2 by MotionBERT's metrics, called as it calls them."""
    of: Any = importlib.import_module("lib.model.loss")
    clip_len = predicted.shape[1]
    errors = np.zeros((2, len(actions)))
    count = np.zeros(len(actions))
    for clip, (a, b) in enumerate(zip(predicted, truth, strict=True)):
        one, two = of.mpjpe(a, b), of.p_mpjpe(a, b)
        if by_action:
            frames = np.arange(clip * clip_len, (clip + 1) * clip_len)
            errors[0][frames] += one
            errors[1][frames] += two
            count[frames] += 1
    if not by_action:
        return 0.0, 0.0
    found: list[dict[str, list[float]]] = [{name: [] for name in sorted(set(actions))} for _ in range(2)]
    for frame in range(len(actions)):
        if errors[0][frame] > 0:
            for measure in range(2):
                found[measure][actions[frame]].append(errors[measure][frame] / count[frame])
    p1, p2 = (float(np.mean([np.mean(values) for values in table.values()])) for table in found)
    return p1, p2


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--reference", type=Path, help="the user's clone of Walter0807/MotionBERT")
    parser.add_argument("--frames", type=int, default=TEST_FRAMES)
    parser.add_argument("--clip-len", type=int, default=243)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    pin(options.threads)
    where = machine(options.threads, "float64")
    print(where)
    other = open_reference(options.reference)
    data = poses(options.frames, options.clip_len)
    count = len(data[2])
    sides = {"ours": lambda: ours(*data)}
    difference = None
    if other:
        difference = max(abs(a - b) for a, b in zip(ours(*data), theirs(*data, by_action=True), strict=True))
        if not difference <= TOLERANCE_MM:
            sys.exit(f"void: the sides differ by {difference:.2g} mm; expected at most {TOLERANCE_MM:g} mm")
        sides["theirs"] = lambda: theirs(*data, by_action=True)
        sides["theirs, calls alone"] = lambda: theirs(*data, by_action=False)
    clock = time.process_time if options.threads == 1 else time.perf_counter  # of the processor, whoever else uses it
    seconds = interleaved(sides, options.repeats, clock)
    rate = {side: rates(count, times) for side, times in seconds.items()}
    agreement = "" if difference is None else f", P1 and P2 agree to {difference:.0e} mm"
    print(
        f"{count:,} frames in {len(data[0]):,} clips of {options.clip_len}, {ACTIONS} actions{agreement}; medians of "
        f"{options.repeats} turns, the sides in turns\n\n{'':22}{'seconds':>8}  frames/s (spread)"
    )
    for side, times in seconds.items():
        print(f"{side:22}{statistics.median(times):8.2f}  {show(rate[side])}")
    ratio = rate["ours"]["median"] / rate["theirs"]["median"] if other else None
    save(
        options.json,
        {"machine": where, "frames": count, "clip_len": options.clip_len, "repeats": options.repeats,
         "seconds": seconds, "frames_per_second": rate, "difference_mm": difference, "ratio": ratio},
    )  # fmt: skip
    show_ratio(ratio)


if __name__ == "__main__":
    main(sys.argv[1:])
