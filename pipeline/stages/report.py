"""Stage `report`: one page of Tables 1-4, Figures 4 and 5 and label counts, of all cells that params.yaml lists."""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from langpose import figures, tables
from langpose.lifting_sets import open_split
from langpose.metrics import mpjpe
from langpose.report import Figure, write_page, write_tables
from langpose.storage import replacing, replacing_folder
from langpose.tables import Block, Table
from pipeline import layout, manifest, params

OURS, BASELINE = "mmm_map", "baseline"


@dataclass(frozen=True)
class ReportConfig:
    """Parameters of the stage."""

    title: str
    """The page's title."""
    data: str
    """One sentence: what the numbers were measured on."""
    warning: str = ""
    """How far the numbers carry; stands above the tables."""
    verbs: list[str] = field(default_factory=list)
    """Verbs of Figure 4; those that too few clips show are left out."""
    min_clips: int = 5
    """A verb is drawn if at least this many clips show it."""


def collect(profile: str, axes: dict[str, Any]) -> pd.DataFrame:
    """All cells' scores as rows of dataset, variant, seed, metric, value."""
    rows: list[tuple] = []
    for dataset in axes["datasets"]:
        for variant in axes["variants"]:
            for seed in axes["seeds"]:
                folder = layout.evaluated(profile, dataset, variant, seed)
                metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
                rows += [(dataset, variant, seed, name, float(value)) for name, value in metrics.items()]
                occlusion = pd.read_csv(folder / "occlusion.csv")
                rows += [(dataset, variant, seed, f"occlusion:{r.occlusion}", r.P1_mm) for r in occlusion.itertuples()]
                if dataset == "human36m":
                    actions = pd.read_csv(folder / "actions.csv")
                    rows += [(dataset, variant, seed, f"action:{r.action}", r.p1) for r in actions.itertuples()]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "metric", "value"])


def spread(scores: pd.DataFrame, axes: dict[str, Any]) -> str:
    """One sentence on how far seeds and variants lie apart: what a difference in the tables is worth."""
    p1 = scores[scores.metric == "P1_mm"]
    parts = []
    for dataset in axes["datasets"]:
        means = p1[p1.dataset == dataset].groupby("variant")["value"].mean()
        text = f"{dataset}: variants lie {means.max() - means.min():.1f} mm apart"
        if len(axes["seeds"]) > 1:
            deviation = p1[p1.dataset == dataset].groupby("variant")["value"].std().mean()
            text += f", seeds of one variant deviate by {deviation:.1f} mm"
        parts.append(text)
    seeds = len(axes["seeds"])
    return f"{seeds} seed{'s' if seeds > 1 else ''}. P1, {'; '.join(parts)}."


def steps(profile: str, axes: dict[str, Any]) -> str:
    """One sentence on how long the cells were trained."""

    def last(folder: Path) -> int:
        return int(pd.read_csv(folder / "history.csv")["step"].iloc[-1])

    seed, parts = axes["seeds"][0], []
    parts.append(f"base {last(layout.base(profile, seed))}")
    if OURS in axes["variants"]:
        parts.append(f"pretraining {last(layout.pretrained(profile, OURS, seed))}")
    for dataset in axes["datasets"]:
        parts.append(f"fine-tuning on {dataset} {last(layout.finetuned(profile, dataset, axes['variants'][0], seed))}")
    return f"Steps trained: {', '.join(parts)}."


def protocols(profile: str, axes: dict[str, Any]) -> str:
    """One sentence on which protocol the scores follow: published numbers come from `reference`."""
    sections = params.load(profile)["evaluate"]
    named = ", ".join(f"{dataset} {sections[dataset].get('protocol', 'reference')}" for dataset in axes["datasets"])
    text = f"Protocol: {named} (reference: the published evaluation, its quirks included; exact: without them)."
    return text + (" Scores under exact do not compare with quoted ones." if "exact" in named else "")


def listing(
    scores: pd.DataFrame, axes: dict[str, Any], name: str, title: str, prefix: str, datasets: list[str]
) -> Table:
    """A table of every metric that starts with ``prefix``: a row a variant, a column a data set and metric."""
    chosen = scores[scores.metric.str.startswith(prefix) & scores.dataset.isin(datasets)]
    keys = list(dict.fromkeys(zip(chosen.dataset, chosen.metric, strict=True)))
    labels = [f"{d}: {m.removeprefix(prefix)}" if len(datasets) > 1 else m.removeprefix(prefix) for d, m in keys]
    rows = [
        [tables.CONFIGURATIONS.get(v, v), *(tables.cell(scores, d, v, m) for d, m in keys)] for v in axes["variants"]
    ]  # fmt: skip
    return Table(name, title, ["Configuration", *labels], [Block("", rows)], [])


def embedding_scores(profile: str, axes: dict[str, Any]) -> pd.DataFrame:
    """Retrieval and recognition scores of all pretrained cells, in `collect`'s form (dataset ``embeddings``)."""
    rows = []
    for variant in axes["variants"]:
        for seed in axes["seeds"]:
            metrics = json.loads((layout.embedded(profile, variant, seed) / "metrics.json").read_text(encoding="utf-8"))
            rows += [("embeddings", variant, seed, f"embed:{name}", float(value)) for name, value in metrics.items()]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "metric", "value"])


def read_labels(path: Path) -> pd.DataFrame:
    """Stage `pair`'s table of counts; a label may read "none" or "null"."""
    return pd.read_csv(path, dtype={"label": "str", "kind": "str"}, keep_default_na=False)


def labels_table(labels: pd.DataFrame, profile: str) -> Table:
    """How unevenly the pairs are spread over the labels: a row for all, one for each kind."""
    columns = ["Labels", "Pairs", "Different labels", "Most frequent label, %", "Ten most frequent, %",
               "Labels that have half of the pairs", "Labels that occur once"]  # fmt: skip
    rows = [
        [kind, *(f"{n[name]:.1f}" if name.startswith("top") else str(n[name])
                 for name in ("pairs", "labels", "top1", "top10", "half", "once"))]
        for kind, n in figures.imbalance(labels).items()
    ]  # fmt: skip
    notes = [f"Pairs of all splits; % of the row's pairs. Every label's count: data/{profile}/pairs/labels.csv."]
    return Table("labels", "How unbalanced the labels are.", columns, [Block("", rows)], notes)


def labels_picture(folder: Path, labels: pd.DataFrame, profile: str) -> Figure:
    """The same as a picture."""
    numbers = figures.labels_figure(folder / "labels.png", labels)
    caption = (
        f"{numbers}. Pairs of all splits. Left: every label by its rank, both axes logarithmic; right: the most "
        f"frequent actions by name. Every label's count: data/{profile}/pairs/labels.csv."
    )
    return Figure("labels.png", "How often each label occurs", caption)


def figure4(folder: Path, profile: str, axes: dict[str, Any], config: ReportConfig) -> Figure | None:
    """t-SNE of held-out labelled clips: the baseline's average pooling against LangPose's global representation."""
    if not {OURS, BASELINE} <= set(axes["variants"]):
        return None
    seed = axes["seeds"][0]
    ours = np.load(layout.embedded(profile, OURS, seed) / "embeddings.npz", allow_pickle=False)
    base = np.load(layout.embedded(profile, BASELINE, seed) / "embeddings.npz", allow_pickle=False)
    _, first = np.unique(ours["pair"], return_index=True)  # one clip a labelled stretch
    names, counts = np.unique(ours["verb"][first], return_counts=True)
    kept = [n for n, c in zip(names, counts, strict=True) if n in config.verbs and c >= config.min_clips]
    if len(kept) < 2:
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
        f"{seed}; verbs of section 4.3 that at least {config.min_clips} such clips show. The numbers are computed on "
        "the full embeddings, not on the picture; purity is of neighbours from other recordings."
    )
    return Figure("figure4.png", "Figure 4. Global representations by verb", caption)


def figure5(folder: Path, profile: str, axes: dict[str, Any]) -> Figure | None:
    """The same frames from LangPose, the baseline and the 2D input, chosen by a rule."""
    if not {OURS, BASELINE} <= set(axes["variants"]) or "human36m" not in axes["datasets"]:
        return None
    seed = axes["seeds"][0]
    data = open_split(layout.lifting(profile, "human36m"), "test")
    assert data.joints_mm is not None
    truth = np.asarray(data.joints_mm, dtype=np.float64)

    def poses(variant: str) -> np.ndarray:
        file = layout.evaluated(profile, "human36m", variant, seed) / "predictions.npz"
        return np.load(file, allow_pickle=False)["joints_mm"].astype(np.float64)

    ours, baseline = poses(OURS), poses(BASELINE)
    scored = np.flatnonzero(np.isfinite(ours).all((1, 2)) & np.isfinite(baseline).all((1, 2)))
    sequence = np.repeat(np.arange(len(data.sequences)), data.sequences["frames"])[scored]
    errors = [mpjpe(p[scored], truth[scored]) for p in (ours, baseline)]
    rows = []
    for name, index in figures.choose_frames(errors[0], errors[1], sequence):
        frame, row = scored[index], data.sequences.iloc[sequence[index]]
        rows.append(
            {
                "name": f"{name}\n{row.action}, S{row.subject}",
                "ours": ours[frame], "baseline": baseline[frame], "truth": truth[frame],
                "input": np.asarray(data.joints_2d[frame, :, :2]),
                "confidence": np.asarray(data.joints_2d[frame, :, 2]),
            }
        )  # fmt: skip
    figures.qualitative_figure(folder / "figure5.png", rows)
    caption = (
        f"Frames of the test set by rule: of every sequence the frame of median difference, of these the one where "
        f"LangPose gains most on the baseline, the median one, and the one where it loses most (seed {seed}). Under "
        "each pose its MPJPE."
    )
    return Figure("figure5.png", "Figure 5. The same frames, LangPose and baseline", caption)


def pictures(
    folder: Path, profile: str, axes: dict[str, Any], config: ReportConfig, scores: pd.DataFrame, labels: pd.DataFrame
) -> list[Figure]:
    """All figures of the page."""
    found = [figure4(folder, profile, axes, config), figure5(folder, profile, axes)]
    if "human36m" in axes["datasets"]:
        actions = sorted({m for m in scores.metric if m.startswith("action:")})
        chosen = scores[scores.dataset == "human36m"]
        series = []
        for variant in (v for v in (BASELINE, OURS) if v in axes["variants"]):
            mean = chosen[chosen.variant == variant].groupby("metric")["value"].mean()
            series.append((tables.CONFIGURATIONS[variant], mean.reindex(actions).to_numpy()))
        figures.bars_figure(folder / "actions.png", [a.removeprefix("action:") for a in actions], series)
        found.append(Figure("actions.png", "Error per action", "P1 of every action, mean over seeds."))
    curves = []
    for variant in axes["variants"]:
        history = pd.read_csv(layout.pretrained(profile, variant, axes["seeds"][0]) / "history.csv")
        if "val_mpjpe" in history and variant != BASELINE:
            done = history.dropna(subset=["val_mpjpe"])
            curves.append((variant, done["step"].to_numpy(), done["val_mpjpe"].to_numpy()))
    if curves:
        figures.curves_figure(folder / "pretraining.png", curves, "validation MPJPE")
        found.append(
            Figure(
                "pretraining.png",
                "Pretraining",
                "Validation error in pretraining, all variants under the same masks and noise (paper 3.2: 50/25/25).",
            )
        )
    found.append(labels_picture(folder, labels, profile))
    return [figure for figure in found if figure is not None]


def main(profile: str) -> None:
    config = params.section(profile, "report", ReportConfig)
    axes = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    scores = collect(profile, axes)
    embedded = embedding_scores(profile, axes)
    labels = read_labels(layout.data(profile) / "pairs" / "labels.csv")
    hard = params.load(profile)["evaluate"].get("human36m", {}).get("hard_actions", [])
    inputs = manifest.digest(layout.data(profile) / layout.MANIFEST)
    parameters = Path(f"profiles/{profile}.yaml").read_text(encoding="utf-8")
    values = json.dumps(params.load(profile), sort_keys=True)  # a comment is no parameter
    knobs = hashlib.sha256(values.encode()).hexdigest()[:12]
    notes = [steps(profile, axes), spread(scores, axes), protocols(profile, axes)]
    if config.warning:
        notes.append(config.warning)
    notes.append(f"Profile {profile}, inputs {inputs}, parameters {knobs}.")
    built = tables.build(scores, profile, axes["variants"], notes, hard)
    listings = [
        listing(scores, axes, "occlusion", "P1 under occlusion, mm", "occlusion:", axes["datasets"]),
        listing(embedded, axes, "embeddings", "Retrieval and recognition on subjects outside pretraining", "embed:",
                ["embeddings"]),
        labels_table(labels, profile),
    ]  # fmt: skip
    facts = {
        "profile": profile,
        "data": config.data,
        "inputs (sha256 of the manifest)": inputs,
        "parameters (sha256 of the profile's values)": knobs,
        "variants": ", ".join(axes["variants"]),
        "data sets": ", ".join(axes["datasets"]),
        "seeds": ", ".join(map(str, axes["seeds"])),
        "training": notes[0],
        "protocol": notes[2],
        "made by": f"make repro PROFILE={profile}",
    }
    with replacing_folder(layout.report(profile)) as folder:
        write_tables(folder, [*built, *listings])
        scores.to_csv(folder / "scores.csv", index=False, lineterminator="\n")
        drawn = pictures(folder, profile, axes, config, scores, labels)
        write_page(folder, config.title, config.data, config.warning, facts, parameters, built, drawn, listings)


if __name__ == "__main__":
    main(*sys.argv[1:])
