"""Completion and short prediction of motion by a pretrained model (the paper's future work): an evaluation, no model.

    completion   frames in the middle of a clip are hidden: x, y and confidence of all joints are 0, as in training
    prediction   frames at its end are

Scored is the MPJPE on the hidden frames alone, root-relative, of what the model gives for them (``model``), beside what
it gives for the same frames when nothing is hidden (``visible``), and beside fills that know nothing of motion. These
start from what the model gives for the clip with the window cut away: the frames before it and those after it, each as
a clip of its own.

    linear    p_a + (p_b - p_a) t / (L + 1)    completion: a, b the frames beside the window, t = 1..L its frames
    hold      p_a                              prediction: the last visible pose
    velocity  p_a + (p_a - p_{a-1}) t          prediction: its velocity, kept
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from langpose.clips import ClipsConfig, MotionClips

Encode = Callable[[Tensor], Tensor]
"""(B, T, 17, 3) of x, y, confidence → (B, T, 17, 3) joints in model units; any T up to the model's longest."""

FILLS: dict[str, tuple[str, ...]] = {"completion": ("linear",), "prediction": ("hold", "velocity")}
"""Task → the fills that it is compared with."""


class UnpaddedClips(MotionClips):
    """`MotionClips` of the sequences that are at least a clip long: a repeated last frame would be no prediction."""

    def __init__(self, folder: Path, config: ClipsConfig, splits: Sequence[str], stride: int, seed: int = 0) -> None:
        super().__init__(folder, config, splits, stride, seed)
        self._windows = self._windows[self._windows[:, 1] >= config.clip_len]
        if not len(self._windows):
            raise ValueError(f"{folder}/motions: no sequence of {', '.join(splits)} has {config.clip_len} frames")


def hidden_window(task: str, share: float, frames: int) -> tuple[int, int]:
    """[start, stop) of the hidden frames of a clip of ``frames``: ``share`` of them, rounded, and at least one.

    Raises ``ValueError`` where the fills lack what they start from: a frame on either side, or two before the end.
    """
    if task not in FILLS:
        raise ValueError(f"unknown task {task!r}; expected one of {', '.join(FILLS)}")
    length = max(1, round(share * frames))
    start = (frames - length) // 2 if task == "completion" else frames - length
    stop = start + length
    if not 0 < share < 1 or start < (1 if task == "completion" else 2) or (task == "completion" and stop == frames):
        raise ValueError(
            f"{task}: a share of {share} hides {length} of {frames} frames; expected a share between 0 and 1 that "
            "leaves a frame on either side (completion) or two (prediction)"
        )
    return start, stop


def hide(x: Tensor, start: int, stop: int) -> Tensor:
    """``x`` (B, T, J, 3) with x, y and confidence of all joints 0 in the frames [start, stop)."""
    x = x.clone()
    x[:, start:stop] = 0
    return x


def fill(kind: str, before: Tensor, after: Tensor | None, length: int) -> Tensor:
    """Poses (B, L, J, 3) of a window of ``length`` L frames, from those ``before`` (B, A, J, 3) and ``after`` it.

    ``kind`` is one of `FILLS`; linear alone looks at ``after``.
    """
    t = torch.arange(1, length + 1, device=before.device, dtype=before.dtype)[:, None, None]  # (L, 1, 1)
    last = before[:, -1:]
    if kind == "linear":
        if after is None:
            raise ValueError("a linear fill needs the frames after the window")
        return last + (after[:, :1] - last) * t / (length + 1)
    if kind == "hold":
        return last + 0 * t
    if kind == "velocity":
        return last + (last - before[:, -2:-1]) * t
    raise ValueError(f"unknown fill {kind!r}; expected one of {', '.join(sum(FILLS.values(), ()))}")


def frame_errors(encode: Encode, motion: Tensor, task: str, share: float) -> dict[str, Tensor]:
    """MPJPE of each hidden frame, (B, L) in the unit of ``motion`` (B, T, J, 3): ``model``, ``visible``, and the fills.

    The input is the motion's x and y with confidence 1, as in stage `embed`.
    """
    start, stop = hidden_window(task, share, motion.shape[1])
    x = torch.cat([motion[..., :2], torch.ones_like(motion[..., :1])], -1)
    truth = _root_relative(motion)[:, start:stop]
    guesses = {
        "model": _root_relative(encode(hide(x, start, stop)))[:, start:stop],
        "visible": _root_relative(encode(x))[:, start:stop],
    }
    before = _root_relative(encode(x[:, :start]))
    after = _root_relative(encode(x[:, stop:])) if stop < x.shape[1] else None
    guesses |= {kind: fill(kind, before, after, stop - start) for kind in FILLS[task]}
    return {name: (guess - truth).norm(dim=-1).mean(-1) for name, guess in guesses.items()}


def _root_relative(joints: Tensor) -> Tensor:
    joints = joints.float()
    return joints - joints[:, :, :1]


def score(
    encode: Encode, motions: Iterable[Tensor], shares: dict[str, Sequence[float]], mm_per_unit: float, rate_hz: float
) -> tuple[dict[str, float], pd.DataFrame]:
    """Errors of ``encode`` on batches of ``motions`` (B, T, 17, 3), in model units, camera frame.

    ``shares``: task → shares of the clip to hide. Returns ``<task>/<share>/<name>_mm``, the mean over clips and hidden
    frames, and ``clips``; and a row for each task, share, fill and frame of the window: ``offset``, frames since the
    last visible one, ``ms`` the same in time, ``model_mm``, ``visible_mm``, ``fill_mm``, means over the clips.
    """
    sums: dict[tuple[str, float], dict[str, Tensor]] = {}
    clips = 0
    for motion in motions:
        clips += len(motion)
        for task, chosen in shares.items():
            for share in chosen:
                total = sums.setdefault((task, share), {})
                for name, errors in frame_errors(encode, motion, task, share).items():
                    total[name] = total.get(name, 0) + errors.double().sum(0).cpu()
    if not clips:
        raise ValueError("there is no clip to complete")
    metrics: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    for (task, share), total in sums.items():
        means = {name: value / clips * mm_per_unit for name, value in total.items()}
        metrics |= {f"{task}/{share:g}/{name}_mm": float(value.mean()) for name, value in means.items()}
        rows += [
            {"task": task, "share": share, "fill": kind, "offset": i + 1, "ms": 1000 * (i + 1) / rate_hz,
             "model_mm": float(means["model"][i]), "visible_mm": float(means["visible"][i]),
             "fill_mm": float(means[kind][i])}
            for kind in FILLS[task] for i in range(len(means[kind]))
        ]  # fmt: skip
    return {**metrics, "clips": float(clips)}, pd.DataFrame(rows)
