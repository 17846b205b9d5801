"""What the cells of a grid measured, read from their folders: scores, differences between variants, curves."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from langpose.intervals import measure, paired_difference
from pipeline import layout
from pipeline.axes import Axes

FEW = "_few"
"""What a data set's name ends in where a small share of it was trained on."""
AGAINST = ("baseline", "base_more")
"""What variants are compared with: the paper's baseline, and the one that was trained for as long."""

Sequences = dict[tuple[str, str], dict[int, pd.DataFrame]]
"""(data set, variant) → seed → the cell's sequences.csv."""


def by_action(dataset: str) -> bool:
    """Whether a data set's P1 is the mean over actions (Human3.6M), or over frames."""
    return dataset.removesuffix(FEW) == "human36m"


def cells(axes: Axes) -> list[tuple[str, str, list[int]]]:
    """All (data set, variant, seeds), those of the axis `few` last, under names that end in `FEW`."""
    return [
        (dataset + (FEW if few else ""), variant, axes.finetuned(dataset, variant, few))
        for few, datasets in ((False, axes.datasets), (True, axes.few))
        for dataset in datasets
        for variant in axes.variants
    ]


def folder(profile: str, dataset: str, variant: str, seed: int) -> Path:
    """The evaluation's folder of a cell by the name that `cells` gives its data set."""
    return layout.evaluated(profile, dataset.removesuffix(FEW), variant, seed, few=dataset.endswith(FEW))


def read_sequences(profile: str, axes: Axes) -> Sequences:
    """Every evaluated cell's errors a sequence and occlusion."""
    text = {"sequence": "str", "recording": "str", "action": "str", "occlusion": "str"}
    missing = {name: [""] for name in ("velocity", "acceleration")}

    def read(dataset: str, variant: str, seed: int) -> pd.DataFrame:
        path = folder(profile, dataset, variant, seed) / "sequences.csv"
        return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=missing)

    return {(d, variant): {seed: read(d, variant, seed) for seed in seeds} for d, variant, seeds in cells(axes)}


def collect(profile: str, sequences: Sequences) -> pd.DataFrame:
    """All evaluated cells' scores as rows of dataset, variant, seed, metric, value.

    Metrics: those of metrics.json; ``occlusion:KIND``, P1 in mm (``occlusion:none`` is the clean input);
    ``action:NAME``, ``joint:NAME``, P1 of an action or a joint.
    """
    rows: list[tuple] = []
    for (dataset, variant), tables in sequences.items():
        for seed, table in tables.items():
            place, cell = folder(profile, dataset, variant, seed), (dataset, variant, seed)
            metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
            rows += [(*cell, name, float(value)) for name, value in metrics.items()]
            for name, part in table.groupby("occlusion", sort=False):
                rows.append((*cell, f"occlusion:{name}", measure(part, "p1", by_action(dataset))))
            joints = pd.read_csv(place / "joints.csv", keep_default_na=False)
            rows += [(*cell, f"joint:{name}", part["p1"].mean()) for name, part in joints.groupby("joint", sort=False)]
            if by_action(dataset):
                actions = pd.read_csv(place / "actions.csv", keep_default_na=False)
                rows += [(*cell, f"action:{r.action}", r.p1) for r in actions.itertuples()]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "metric", "value"])


def action_columns(scores: pd.DataFrame) -> pd.DataFrame:
    """P1 of every action of Human3.6M, mean over seeds: a row an action, a column a variant (`dvc plots show`)."""
    chosen = scores[(scores.dataset == "human36m") & scores.metric.str.startswith("action:")]
    chosen = chosen.assign(action=chosen["metric"].str.removeprefix("action:"))
    return chosen.pivot_table("value", "action", "variant", sort=False).reset_index()


def pretraining_columns(curves: pd.DataFrame) -> pd.DataFrame:
    """Validation MPJPE in pretraining, mean over seeds: a row a step, a column a variant (`dvc plots show`)."""
    chosen = curves[curves.stage == "pretrain"]
    return chosen.pivot_table("val_mpjpe", "step", "variant", sort=False).sort_index().reset_index()


def differences(sequences: Sequences, hard_actions: list[str]) -> pd.DataFrame:
    """Each variant less each of `AGAINST`: dataset, variant, against, measure and `intervals.Difference`'s fields.

    Measures: ``P1_mm``, ``P2_mm``, ``P3_mm`` where there are actions, and ``occlusion:KIND``, P1 in mm.
    """
    rows = []
    for (dataset, variant), ours in sequences.items():
        for against in AGAINST:
            if variant == against or (dataset, against) not in sequences:
                continue
            theirs, actions = sequences[dataset, against], by_action(dataset)
            seeds = [seed for seed in ours if seed in theirs]
            for occlusion in ours[seeds[0]]["occlusion"].unique():
                pair = [[t[s][t[s]["occlusion"] == occlusion] for s in seeds] for t in (ours, theirs)]
                measures: list[tuple[str, str, list[str] | None]] = [(f"occlusion:{occlusion}", "p1", None)]
                if occlusion == "none":
                    measures = [("P1_mm", "p1", None), ("P2_mm", "p2", None)]
                    measures += [("P3_mm", "p1", hard_actions)] if actions and hard_actions else []
                for name, column, only in measures:
                    found = paired_difference(pair[0], pair[1], column, actions, only)
                    rows.append({"dataset": dataset, "variant": variant, "against": against, "measure": name,
                                 **asdict(found), "certain": found.certain})  # fmt: skip
    columns = ["dataset", "variant", "against", "measure", "value", "relative", "seed_std", "low", "high", "low_seeds",
               "high_seeds", "recordings", "seeds", "certain"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def pretrained_scores(profile: str, axes: Axes) -> pd.DataFrame:
    """Scores of all pretrained cells, in `collect`'s form: data sets ``embed`` and ``complete``."""
    rows = []
    for variant in axes.variants:
        for seed in axes.pretrained(variant):
            for name, place in (("embed", layout.embedded), ("complete", layout.completed)):
                metrics = json.loads((place(profile, variant, seed) / "metrics.json").read_text(encoding="utf-8"))
                rows += [(name, variant, seed, metric, float(value)) for metric, value in metrics.items()]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "metric", "value"])


def curves(profile: str, axes: Axes) -> pd.DataFrame:
    """Validation error over training: stage, dataset ("" in pretraining), variant, seed, step, val_mpjpe (mm)."""
    places = [("base", "", "base", seed, layout.base(profile, seed)) for seed in axes.all_seeds]
    for variant in axes.variants:
        if variant != "baseline":  # whose history is the base's
            places += [
                ("pretrain", "", variant, s, layout.pretrained(profile, variant, s)) for s in axes.pretrained(variant)
            ]
        places += [
            ("finetune", dataset, variant, seed, layout.finetuned(profile, dataset, variant, seed))
            for dataset in axes.datasets
            for seed in axes.finetuned(dataset, variant)
        ]
    parts = []
    for stage, dataset, variant, seed, place in places:
        history = pd.read_csv(place / "history.csv")
        if "val_mpjpe" in history:
            known = history.dropna(subset=["val_mpjpe"])[["step", "val_mpjpe"]]
            parts.append(known.assign(stage=stage, dataset=dataset, variant=variant, seed=seed))
    columns = ["stage", "dataset", "variant", "seed", "step", "val_mpjpe"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
