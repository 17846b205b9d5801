"""Scoring a lifting model on Human3.6M (MotionBERT's protocol) and MPI-INF-3DHP (MotionAGFormer's), section 4.2.

``protocol="reference"`` equals the reference code's numbers, its quirks included; ``"exact"`` scores every frame once
and converts units without the quirks. What differs is said at each function. Everything is vectorised over frames; the
data stay memory-mapped until a batch needs them.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from langpose import metrics
from langpose.lifting_sets import MPI_MM_PER_UNIT, LiftingSplit, Protocol, clip_frames, model_inputs, open_split
from langpose.metrics import HARD_ACTIONS
from langpose.robustness import occluded
from langpose.skeleton import JOINTS, flip
from langpose.sources.human36m import recording
from langpose.visibility import seen
from langpose.windows import centred_windows, covering_windows

ModelFn = Callable[[torch.Tensor], torch.Tensor]

BLOCKED_RECORDINGS = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")
"""Recordings of S9 whose ground truth is off; MotionBERT's evaluation leaves them out."""

_METRIC_CHUNK = 8_192  # frames: the float64 temporaries stay in a cache


@dataclass(frozen=True)
class Scores:
    """Result of an evaluation. mm and percentages; NaN where a measure does not belong to the data set."""

    dataset: str
    split: str
    p1_mm: float
    """MPJPE. Human3.6M: unweighted mean over actions; MPI-INF-3DHP: mean over valid frames, 17 joints."""
    p2_mm: float
    """P-MPJPE, averaged alike."""
    p3_mm: float
    """Mean P1 of the hard actions (H-MPJPE); Human3.6M only."""
    pck: float
    """PCK at 150 mm, 14 joints; MPI-INF-3DHP only."""
    auc: float
    """Mean PCK over 0, 5, ..., 150 mm; MPI-INF-3DHP only."""
    actions: pd.DataFrame
    """action, p1, p2, frames; no rows on MPI-INF-3DHP, whose files name no activities."""
    sequences: pd.DataFrame
    """sequence, recording, subject, action, p1, p2, frames, velocity, acceleration (MPJVE, and the same of second
    differences, mm a frame and mm a frame², of neighbouring predicted frames); on MPI-INF-3DHP also pck, auc."""
    joints: pd.DataFrame
    """action ("" on MPI-INF-3DHP), joint (its name), p1: mean over frames of that joint's error."""
    predictions: np.ndarray
    """(F, 17, 3) float32 mm, root-relative, Human3.6M-17 order, frames as in the split; NaN where not predicted."""
    frames: int
    """How many frames were scored."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The options of the call; ``nominal_mm`` True: mm by `lifting_sets.NOMINAL_MM_PER_PX`, for choosing only."""

    def summary(self) -> dict[str, float]:
        """The measures that apply, by name."""
        names = ("p1_mm", "p2_mm", "p3_mm", "pck", "auc")
        return {name: getattr(self, name) for name in names if not np.isnan(getattr(self, name))}


def predict(
    model_fn: ModelFn,
    x: np.ndarray,
    batch_size: int = 32,
    flip: bool = True,
    device: str | torch.device = "cpu",
    progress: str = "",
) -> np.ndarray:
    """Run a model over clips: ``x`` (N, T, 17, 3) float32 -> (N, T, 17, 3) float32.

    ``model_fn`` takes and gives (B, T, 17, 3) tensors on ``device``; an ``nn.Module`` is put in evaluation mode
    meanwhile. ``flip`` averages the predictions for the clip and its mirror image (flipped back), as the reference
    protocols do. ``progress`` names a progress bar on standard error; none when empty.
    """
    results = np.empty(x.shape, np.float32)
    was_training = isinstance(model_fn, torch.nn.Module) and model_fn.training
    if isinstance(model_fn, torch.nn.Module):
        model_fn.eval()
    starts: Any = range(0, len(x), batch_size)
    if progress:
        starts = track(starts, progress, console=Console(stderr=True), transient=True)
    try:
        with torch.inference_mode():
            for start in starts:
                batch = torch.from_numpy(np.ascontiguousarray(x[start : start + batch_size], dtype=np.float32)).to(
                    device
                )
                out = _checked(model_fn(batch), batch)
                if flip:
                    out = (out + _mirror(_checked(model_fn(_mirror(batch)), batch))) / 2
                results[start : start + batch_size] = out.float().cpu().numpy()
    finally:
        if was_training and isinstance(model_fn, torch.nn.Module):
            model_fn.train()
    return results


_mirror = flip  # `predict` has an option of that name


def _checked(out: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    if out.shape != batch.shape:
        raise ValueError(f"the model gave {tuple(out.shape)} for input {tuple(batch.shape)}; expected the same shape")
    return out


def evaluate_human36m(
    model_fn: ModelFn,
    folder: str | os.PathLike[str],
    split: str = "test",
    clip_len: int = 243,
    protocol: Protocol = "reference",
    flip: bool = True,
    input_2d: str = "detected",
    blocked: bool = True,
    hard_actions: Sequence[str] = HARD_ACTIONS,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    occlude: str = "none",
    seed: int = 0,
    confidence: bool = True,
    root_relative: bool = True,
    keep_input_xy: bool | None = None,
    progress: bool = False,
) -> Scores:
    """P1, P2, P3 and per-action errors on Human3.6M as `lifting_sets.convert_human36m` wrote it.

    Steps (MotionBERT's train.py): predict; set the root to 0 (``root_relative``); put the input's x, y in place of the
    predicted ones, where they are visible (``keep_input_xy``; None: with ground-truth 2D, as published 16.9 mm of
    ground-truth 2D is obtained); leave out `BLOCKED_RECORDINGS` (``blocked``);
    normalised -> px -> mm by each frame's ``2.5d_factor``; subtract the root; MPJPE and P-MPJPE per frame; mean per
    action; unweighted mean over actions.

    "reference": clips by `windows.split_clips`, so frames after a sequence's last full clip are not scored; in a
    stretched clip a repeated frame counts once, by its last copy; a frame in several clips counts by its mean error;
    frames with an error of exactly 0 are left out. "exact": clips cover every frame, predictions of a frame in two
    clips are averaged before scoring, no frame is left out.

    ``split`` "val" is in nominal mm (`lifting_sets.NOMINAL_MM_PER_PX`), comparable with itself alone; P3 is NaN there
    when a hard action is missing, and NaN when ``hard_actions`` is empty. Raises ``ValueError`` when no frame can be
    scored or, on test, a hard action is missing.
    """
    settings = {
        key: value for key, value in locals().items() if key not in ("model_fn", "folder", "device", "progress")
    }
    data = _open(folder, split, "human36m")
    if data.joints_mm is None or data.factor_mm_px is None:
        raise ValueError(f"{folder}/{split} has no ground truth in mm; score 'val' or 'test'")
    table = data.sequences
    clips = clip_frames(data, clip_len, clip_len, protocol)
    sequence_of = np.repeat(np.arange(len(table)), table["frames"])
    if blocked:
        out = table["sequence"].map(recording).isin(BLOCKED_RECORDINGS).to_numpy()
        clips = clips[~out[sequence_of[clips[:, 0]]]]
    if len(clips) == 0:
        raise ValueError(f"{folder}/{split}: no sequence gives a clip of {clip_len} frames to score; use shorter clips")

    x = occluded(model_inputs(data, clips, input_2d, confidence), occlude, seed, _seen(data, clips, occlude))
    pred = predict(model_fn, x, batch_size, flip, device, f"Human3.6M {split}" if progress else "")
    if root_relative:
        pred[:, :, 0] = 0
    if keep_input_xy if keep_input_xy is not None else input_2d == "ground_truth":
        # With occlusion the hidden joints keep what was predicted: the answer must not leak in.
        pred[..., :2] = np.where(x[..., 2:] > 0, x[..., :2], pred[..., :2])
    # px = (xy + [1, h/w]) * w/2: the offset cancels below, where the root is subtracted.
    scale = table["width"].to_numpy()[sequence_of[clips]] / 2 * data.factor_mm_px[clips]
    pred = (pred - pred[:, :, :1]) * scale[..., None, None].astype(np.float32)

    if protocol == "reference":
        last_copy = np.ones(clips.shape, bool)
        last_copy[:, :-1] = clips[:, :-1] != clips[:, 1:]
        frames, poses = clips[last_copy], pred[last_copy]
        p1, p2 = _errors(poses, data.joints_mm, frames)
        count = np.bincount(frames, minlength=len(data.target))
        p1, p2 = (np.bincount(frames, errors, len(count)) / np.maximum(count, 1) for errors in (p1, p2))
        predictions = _mean_by_frame(poses, frames, len(count))
        scored = np.flatnonzero((count > 0) & (p1 > 0))
        p1, p2 = p1[scored], p2[scored]
    else:
        predictions = _mean_by_frame(pred.reshape(-1, 17, 3), clips.reshape(-1), len(data.target))
        scored = np.unique(clips)
        p1, p2 = _errors(predictions[scored], data.joints_mm, scored)
    frame_scores = pd.DataFrame({"row": sequence_of[scored], "p1": p1, "p2": p2})
    frame_scores["action"] = table["action"].to_numpy()[frame_scores["row"]]
    actions = _means(frame_scores, "action")
    if len(actions) == 0:
        raise ValueError(f"{folder}/{split}: no frame was scored")
    by_action = dict(zip(actions["action"], actions["p1"], strict=True))
    p3_mm = float("nan")
    if hard_actions and (split == "test" or set(hard_actions) <= by_action.keys()):
        p3_mm = metrics.h_mpjpe(by_action, hard_actions)
    return Scores(
        dataset="human36m", split=split,
        p1_mm=float(actions["p1"].mean()), p2_mm=float(actions["p2"].mean()), p3_mm=p3_mm,
        pck=float("nan"), auc=float("nan"), actions=actions,
        **_details(frame_scores, table, predictions, data.joints_mm, scored), predictions=predictions,
        frames=len(scored), settings={**settings, "nominal_mm": data.nominal},
    )  # fmt: skip


def evaluate_mpi_inf_3dhp(
    model_fn: ModelFn,
    folder: str | os.PathLike[str],
    split: str = "test",
    clip_len: int = 81,
    protocol: Protocol = "reference",
    flip: bool = True,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    occlude: str = "none",
    seed: int = 0,
    input_2d: str | None = None,
    progress: bool = False,
) -> Scores:
    """PCK, AUC and MPJPE on MPI-INF-3DHP as `lifting_sets.convert_mpi_inf_3dhp` wrote it.

    Test (MotionAGFormer): one clip around every valid frame, edges repeated, of which the centre frame is scored; the
    root is set to 0; model units -> mm; MPJPE over 17 joints, the zero root among them, as the mean over valid frames;
    PCK and AUC over 14 joints (P-STMO's Matlab).

    "reference" converts by half the image width: QUIRK, the targets are mm / 1024, but TS5 and TS6 are 1920 wide, so
    their predictions come out 0.9375 times too small. "exact" multiplies by 1024 everywhere.

    ``split`` "val" (training subjects, ~1000 times the test) is scored on all frames of clips laid end to end instead.
    """
    settings = {
        key: value for key, value in locals().items() if key not in ("model_fn", "folder", "device", "progress")
    }
    data = _open(folder, split, "mpi_inf_3dhp")
    if protocol not in ("reference", "exact"):
        raise ValueError(f"unknown protocol {protocol!r}; expected 'reference' or 'exact'")
    table = data.sequences
    lengths = table["frames"].tolist()
    valid = np.ones(len(data.target), bool) if data.valid is None else np.asarray(data.valid)
    if split == "test":
        clips = centred_windows(lengths, valid, clip_len)
    else:
        clips = covering_windows(lengths, clip_len, clip_len)
    x = occluded(model_inputs(data, clips, input_2d), occlude, seed, _seen(data, clips, occlude))
    pred = predict(model_fn, x, batch_size, flip, device, f"MPI-INF-3DHP {split}" if progress else "")
    if split == "test":
        clips, pred = clips[:, clip_len // 2], pred[:, clip_len // 2]
    sequence_of = np.repeat(np.arange(len(table)), lengths)
    mm_per_unit = np.full(len(table), MPI_MM_PER_UNIT)
    if protocol == "reference":
        mm_per_unit = table["width"].to_numpy() / 2
    predictions = _mean_by_frame(pred.reshape(-1, 17, 3), clips.reshape(-1), len(data.target))
    predictions[:, 0] = np.where(np.isnan(predictions[:, 0]), np.nan, 0)
    predictions *= mm_per_unit[sequence_of][:, None, None].astype(np.float32)

    scored = np.flatnonzero(valid)
    poses = predictions[scored]
    truth = np.asarray(data.target)[scored] * np.float32(MPI_MM_PER_UNIT)
    p1, p2 = _errors(poses, truth, np.arange(len(scored)))
    frame_scores = pd.DataFrame({"row": sequence_of[scored], "p1": p1, "p2": p2})
    details = _details(frame_scores, table, predictions, np.asarray(data.target) * np.float32(MPI_MM_PER_UNIT), scored)
    sequences = details["sequences"]
    groups = [frame_scores.index[frame_scores["row"] == row].to_numpy() for row in sorted(frame_scores["row"].unique())]
    sequences["pck"] = [metrics.pck(poses[rows], truth[rows], skeleton="human36m") for rows in groups]
    sequences["auc"] = [metrics.auc(poses[rows], truth[rows], skeleton="human36m") for rows in groups]
    return Scores(
        dataset="mpi_inf_3dhp", split=split, p1_mm=float(p1.mean()), p2_mm=float(p2.mean()), p3_mm=float("nan"),
        pck=metrics.pck(poses, truth, skeleton="human36m"), auc=metrics.auc(poses, truth, skeleton="human36m"),
        actions=pd.DataFrame(columns=["action", "p1", "p2", "frames"]), **details, predictions=predictions,
        frames=len(scored), settings={**settings, "nominal_mm": data.nominal},
    )  # fmt: skip


def _open(folder: str | os.PathLike[str], split: str, dataset: str) -> LiftingSplit:
    data = open_split(folder, split)
    if data.dataset != dataset:
        raise ValueError(f"{folder} holds {data.dataset}; expected {dataset}")
    return data


def _errors(poses: np.ndarray, truth: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MPJPE and P-MPJPE (n,) of ``poses`` (n, 17, 3) against ``truth`` at ``frames`` (n,), in chunks."""
    p1, p2 = np.empty(len(poses)), np.empty(len(poses))
    for start in range(0, len(poses), _METRIC_CHUNK):
        rows = slice(start, start + _METRIC_CHUNK)
        pair = poses[rows].astype(np.float64), truth[frames[rows]].astype(np.float64)
        p1[rows], p2[rows] = metrics.mpjpe(*pair), metrics.p_mpjpe(*pair)
    return p1, p2


def _mean_by_frame(poses: np.ndarray, frames: np.ndarray, total: int) -> np.ndarray:
    """(n, 17, 3) at ``frames`` (n,) -> (total, 17, 3) float32: mean where a frame occurs twice, NaN where never."""
    count = np.bincount(frames, minlength=total)
    result = np.full((total, 17, 3), np.nan, np.float32)
    if count.max(initial=0) <= 1:
        result[frames] = poses
        return result
    sums = np.zeros((total, 17, 3), np.float64)
    np.add.at(sums, frames, poses)
    seen = count > 0
    result[seen] = sums[seen] / count[seen][:, None, None]
    return result


def _means(frame_scores: pd.DataFrame, key: str) -> pd.DataFrame:
    grouped = frame_scores.groupby(key, sort=True)
    return grouped.agg(p1=("p1", "mean"), p2=("p2", "mean"), frames=("p1", "size")).reset_index()


def _seen(data: LiftingSplit, clips: np.ndarray, occlude: str) -> np.ndarray | None:
    """The visibility of each joint of each clip, (N, T, 17), where the occlusion asks for it."""
    if not occlude.startswith("self:"):
        return None
    frames, place = np.unique(clips, return_inverse=True)
    return seen(data, frames)[place.reshape(clips.shape)]


def _details(
    frame_scores: pd.DataFrame, table: pd.DataFrame, predictions: np.ndarray, truth: np.ndarray, scored: np.ndarray
) -> dict[str, pd.DataFrame]:
    """`Scores.sequences` and `Scores.joints` from errors a frame and from the scored frames of ``predictions``."""
    row = np.repeat(np.arange(len(table)), table["frames"])
    means = _means(frame_scores, "row")
    names = table.iloc[means["row"]][["sequence", "subject", "action"]].reset_index(drop=True)
    names.insert(1, "recording", names["sequence"].map(recording))
    sequences = pd.concat([names, means[["p1", "p2", "frames"]]], axis=1)

    error = predictions[scored].astype(np.float64) - truth[scored]
    for order, name in ((1, "velocity"), (2, "acceleration")):
        # differences of neighbours: the same recording, and no frame left out between them
        near = (scored[order:] - scored[:-order] == order) & (row[scored[order:]] == row[scored[:-order]])
        change = error[1:] - error[:-1] if order == 1 else error[2:] - 2 * error[1:-1] + error[:-2]
        values = pd.Series(np.linalg.norm(change[near], axis=-1).mean(-1))
        sequences[name] = values.groupby(row[scored[order:]][near]).mean().reindex(means["row"]).to_numpy()
    distances = pd.DataFrame(np.linalg.norm(error, axis=-1), columns=list(JOINTS))
    by_joint = distances.groupby(table["action"].to_numpy()[row[scored]], sort=True).mean().stack()
    joints = by_joint.rename_axis(["action", "joint"]).rename("p1").reset_index()
    return {"sequences": sequences, "joints": joints}
