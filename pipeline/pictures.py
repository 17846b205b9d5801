"""The report's pictures, charts and clips, from the cells' outputs."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from langpose import figures
from langpose.lifting_sets import LiftingSplit, model_inputs, open_split
from langpose.listings import NAMES
from langpose.metrics import mpjpe
from langpose.player import Clip
from langpose.report import Chart, Figure, Line
from langpose.storage import replacing
from langpose.tables import CONFIGURATIONS
from pipeline import layout
from pipeline.axes import Axes

OURS, BASELINE = "mmm_map", "baseline"
CLIP_SECONDS = 4.0
CLIP_RATE_HZ = 25.0
"""Of the player's clips: the middle of a sequence, thinned to about this rate, so that the page stays small."""
CURVES = {"joints": "joints hidden, %", "window": "one window hidden, % of the clip", "frames": "frames hidden, %",
          "noise": "detector noise, times MotionBERT's"}  # fmt: skip


def figure4(
    folder: Path, profile: str, axes: Axes, verbs: Sequence[str], min_clips: int, min_subjects: int
) -> Figure | None:
    """t-SNE of held-out labelled clips: the baseline's average pooling against LangPose's global representation."""
    if not {OURS, BASELINE} <= set(axes.variants):
        return None
    seed = axes.seeds[0]
    ours = np.load(layout.embedded(profile, OURS, seed) / "embeddings.npz", allow_pickle=False)
    base = np.load(layout.embedded(profile, BASELINE, seed) / "embeddings.npz", allow_pickle=False)
    _, first = np.unique(ours["pair"], return_index=True)  # one clip a labelled stretch
    shown = pd.DataFrame({"verb": ours["verb"][first], "subject": ours["subject"][first]}).groupby("verb")["subject"]
    counts = shown.agg(["size", "nunique"])
    enough = counts[(counts["size"] >= min_clips) & (counts["nunique"] >= min_subjects)].index
    kept = [verb for verb in verbs if verb in enough]
    if len(kept) < 2 or counts.loc[kept, "size"].sum() < 4:
        return None
    chosen = first[np.isin(ours["verb"][first], kept)]
    groups = [
        ("(a) baseline, average pooling", base["average"][chosen]),
        ("(b) LangPose, <POSE> token", ours["pose"][chosen]),
    ]
    numbers = figures.tsne_figure(
        folder / "figure4.png", groups, ours["verb"][chosen].tolist(), ours["recording"][chosen], seed=0
    )
    with replacing(folder / "figure4.json") as temporary:
        temporary.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    caption = (
        f"t-SNE of global pose embeddings of {len(chosen)} labelled clips of subjects outside pretraining, seed "
        f"{seed}; verbs of section 4.3 that at least {min_clips} such clips and {min_subjects} such subjects show. "
        "The numbers are computed on the full embeddings, not on the picture; purity is of neighbours from other "
        "recordings."
    )
    return Figure("figure4.png", "Figure 4. Global representations by verb", caption)


class LiftedTest:
    """Human3.6M's test set with the predictions of LangPose and of the baseline, one seed of both."""

    def __init__(self, profile: str, seed: int, input_2d: str) -> None:
        self.input_2d = input_2d
        self.data: LiftingSplit = open_split(layout.lifting(profile, "human36m"), "test")
        assert self.data.joints_mm is not None
        self.truth = np.asarray(self.data.joints_mm, dtype=np.float64)

        def poses(variant: str) -> np.ndarray:
            file = layout.evaluated(profile, "human36m", variant, seed) / "predictions.npz"
            return np.load(file, allow_pickle=False)["joints_mm"].astype(np.float64)

        self.ours, self.baseline = poses(OURS), poses(BASELINE)
        both = np.isfinite(self.ours).all((1, 2)) & np.isfinite(self.baseline).all((1, 2))
        self.scored = np.flatnonzero(both)
        self.row = np.repeat(np.arange(len(self.data.sequences)), self.data.sequences["frames"])

    @classmethod
    def of(cls, profile: str, axes: Axes, input_2d: str) -> "LiftedTest | None":
        """None where the grid lacks the data set or one of the two."""
        if not {OURS, BASELINE} <= set(axes.variants) or "human36m" not in axes.datasets:
            return None
        return cls(profile, axes.seeds[0], input_2d)

    def seen(self, frames: np.ndarray) -> np.ndarray:
        """What the models saw: ``frames`` (n,) → (n, 17, 3) x, y, confidence."""
        return model_inputs(self.data, frames, self.input_2d)


def figure5(folder: Path, poses: LiftedTest, seed: int) -> Figure:
    """The same frames from LangPose, the baseline and the 2D input, chosen by a rule."""
    scored, data = poses.scored, poses.data
    errors = [mpjpe(p[scored], poses.truth[scored]) for p in (poses.ours, poses.baseline)]
    rows = []
    for name, index in figures.choose_frames(errors[0], errors[1], poses.row[scored]):
        frame, row = scored[index], data.sequences.iloc[poses.row[scored[index]]]
        rows.append(
            {
                "name": f"{name}\n{row.action}, S{row.subject}",
                "ours": poses.ours[frame], "baseline": poses.baseline[frame], "truth": poses.truth[frame],
                "input": poses.seen(frame[None])[0, :, :2],
                "confidence": poses.seen(frame[None])[0, :, 2],
            }
        )  # fmt: skip
    figures.qualitative_figure(folder / "figure5.png", rows)
    caption = (
        f"Frames of the test set by rule: of every sequence the frame of median difference, of these the one where "
        f"LangPose gains most on the baseline, the median one, and the one where it loses most (seed {seed}). Under "
        "each pose its MPJPE."
    )
    return Figure("figure5.png", "Figure 5. The same frames, LangPose and baseline", caption)


def player_clips(poses: LiftedTest, most: int = 24) -> list[Clip]:
    """For the player: of each action the sequence of median gain, and the three of most, median and least gain at all.

    A clip is the middle `CLIP_SECONDS` of a sequence (of one camera), as far as every frame was predicted.
    """
    clips = []
    sequences = poses.data.sequences
    for row in sequences.itertuples():
        frames = poses.scored[poses.row[poses.scored] == row.Index]
        length = min(len(frames), round(CLIP_SECONDS * row.rate_hz))
        if length < 2:
            continue
        start = (len(frames) - length) // 2
        step = max(1, round(row.rate_hz / CLIP_RATE_HZ))
        chosen = frames[start : start + length : step]
        errors = [mpjpe(p[chosen], poses.truth[chosen]).mean() for p in (poses.baseline, poses.ours)]
        clips.append(Clip(
            name=str(row.sequence), action=str(row.action), subject=f"S{row.subject}", rate_hz=row.rate_hz / step,
            gain_mm=float(errors[0] - errors[1]), input_2d=poses.seen(chosen),
            ours_mm=poses.ours[chosen], baseline_mm=poses.baseline[chosen], truth_mm=poses.truth[chosen],
        ))  # fmt: skip
    order = sorted(range(len(clips)), key=lambda i: (-clips[i].gain_mm, i))
    kept = {order[0], order[len(order) // 2], order[-1]} if order else set()
    for action in sorted({clip.action for clip in clips}):
        own = [i for i in order if clips[i].action == action]
        if len(kept) < most:
            kept.add(own[len(own) // 2])
    return [clips[i] for i in sorted(kept, key=lambda i: (clips[i].action, i))]


def occlusion_charts(scores: pd.DataFrame, variants: Sequence[str]) -> list[Chart]:
    """P1 against how much of the input is hidden: a chart a kind and data set, a line a variant, a band its seeds."""
    charts = []
    for dataset in scores["dataset"].unique():
        chosen = scores[(scores.dataset == dataset) & scores.metric.str.startswith("occlusion:")]
        parts = chosen["metric"].str.removeprefix("occlusion:").str.partition(":")
        for kind, xlabel in CURVES.items():
            levels = pd.to_numeric(parts[2].where(parts[0] == kind))
            if levels.nunique() < 2:
                continue
            scale = 1 if kind == "noise" else 100
            level = (scale * levels).where(parts[0] != "none", 0.0)
            table = chosen.assign(level=level).dropna(subset=["level"])
            charts.append(Chart(
                title=f"{NAMES[dataset]}: {xlabel.partition(',')[0]}",
                caption="P1, mean over seeds; the band spans the seeds.",
                xlabel=xlabel, ylabel="P1, mm", lines=_lines(table, variants, "level", "value"),
            ))  # fmt: skip
    return charts


def training_charts(curves: pd.DataFrame, variants: Sequence[str]) -> list[Chart]:
    """Validation error over training: base, pretraining, fine-tuning on each data set."""
    names = {"base": "Base", "pretrain": "Pretraining", "finetune": "Fine-tuning"}
    charts = []
    order = curves.assign(place=curves["stage"].map(list(names).index))
    for (_, stage, dataset), part in order.groupby(["place", "stage", "dataset"], sort=True):
        where = f": {NAMES[dataset]}" if dataset else ""
        lines = _lines(part, ["base", *variants], "step", "val_mpjpe")
        caption = {
            "base": "The weights that all variants start from.",
            "pretrain": "All variants under the same masks and noise (paper 3.2: 50/25/25).",
            "finetune": "By subjects held out of training; on Human3.6M's layout in nominal mm.",
        }[stage]
        charts.append(Chart(f"{names[stage]}{where}", caption, "step", "validation MPJPE, mm", lines))
    return charts


def _lines(table: pd.DataFrame, variants: Sequence[str], x: str, y: str) -> list[Line]:
    """A line a variant that the table has: mean over seeds, and the seeds' range where there are several."""
    lines = []
    for variant in variants:
        own = table[table.variant == variant]
        grouped = own.groupby(x)[y]
        if not len(own):
            continue
        several = own["seed"].nunique() > 1
        low, high = (grouped.min().tolist(), grouped.max().tolist()) if several else (None, None)
        mean = grouped.mean()
        name = CONFIGURATIONS.get(variant, variant)
        lines.append(Line(name, mean.index.astype(float).tolist(), mean.tolist(), low, high))
    return lines


def actions_picture(folder: Path, scores: pd.DataFrame, variants: Sequence[str]) -> Figure | None:
    """P1 of every action, baseline and LangPose; None where the grid has neither, or no actions."""
    chosen = scores[(scores.dataset == "human36m") & scores.metric.str.startswith("action:")]
    actions = sorted(chosen["metric"].unique())
    series = []
    for variant in (v for v in (BASELINE, OURS) if v in variants):
        mean = chosen[chosen.variant == variant].groupby("metric")["value"].mean()
        series.append((CONFIGURATIONS[variant], mean.reindex(actions).to_numpy()))
    if not series or not actions:
        return None
    figures.bars_figure(folder / "actions.png", [a.removeprefix("action:") for a in actions], series)
    return Figure("actions.png", "Error per action", "P1 of every action, mean over seeds.")


def labels_picture(folder: Path, labels: pd.DataFrame, profile: str) -> Figure:
    """How often each label occurs."""
    numbers = figures.labels_figure(folder / "labels.png", labels)
    caption = (
        f"{numbers}. Pairs of all splits. Left: every label by its rank, both axes logarithmic; right: the most "
        f"frequent actions by name. Every label's count: data/{profile}/pairs/labels.csv."
    )
    return Figure("labels.png", "How often each label occurs", caption)
