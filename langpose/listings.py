"""Tables beyond the paper's four: differences with intervals, occlusion, joints, visibility, labels, retrieval."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from langpose.figures import imbalance
from langpose.skeleton import JOINTS
from langpose.tables import CONFIGURATIONS, Block, Table, cell

NAMES = {
    "human36m": "Human3.6M", "mpi_inf_3dhp": "MPI-INF-3DHP", "human36m_few": "Human3.6M, few data",
    "mpi_inf_3dhp_few": "MPI-INF-3DHP, few data",
}  # fmt: skip
"""Data sets as readers know them."""


def occlusion_name(kind: str) -> str:
    """`langpose.robustness`'s kinds in words: "legs hidden", "30 % of the frames hidden", …"""
    name, _, value = kind.partition(":")
    if name == "body_part":
        return f"{value.replace('_', ' ')} hidden"
    if name == "noise":
        return f"detector noise × {float(value):g}"
    if name == "self":
        return "self-occluded joints hidden"
    things = {"joints": "of the joints hidden", "window": "in one window hidden", "frames": "of the frames hidden"}
    return f"{100 * float(value):g} % {things[name]}" if name in things else "nothing hidden"


def by_variant(
    scores: pd.DataFrame, name: str, title: str, variants: Sequence[str], dataset: str, metrics: Sequence[str],
    label: Callable[[str], str] = str, notes: Sequence[str] = (), digits: int = 1,
) -> Table:  # fmt: skip
    """A row a variant, a column a metric of one data set, in the order of ``metrics``."""
    rows = [[CONFIGURATIONS.get(v, v), *(cell(scores, dataset, v, m, digits) for m in metrics)] for v in variants]
    return Table(name, title, ["Configuration", *map(label, metrics)], [Block("", rows)], list(notes))


def by_metric(
    scores: pd.DataFrame, name: str, title: str, head: str, variants: Sequence[str], dataset: str,
    metrics: Sequence[str], label: Callable[[str], str] = str, notes: Sequence[str] = (),
) -> Table:  # fmt: skip
    """The same with a row a metric and a column a variant, for many metrics."""
    rows = [[label(m), *(cell(scores, dataset, v, m) for v in variants)] for m in metrics]
    return Table(name, title, [head, *(CONFIGURATIONS.get(v, v) for v in variants)], [Block("", rows)], list(notes))


def occlusion_tables(scores: pd.DataFrame, variants: Sequence[str]) -> list[Table]:
    """P1 under each kind of hidden input: a table a data set, ``occlusion_<data set>``."""
    tables = []
    for dataset in scores["dataset"].unique():
        metrics = scores.metric[(scores.dataset == dataset) & scores.metric.str.startswith("occlusion:")].unique()
        tables.append(by_metric(
            scores, f"occlusion_{dataset}", f"P1 under occlusion, mm: {NAMES[dataset]}", "Input", variants, dataset,
            list(metrics), lambda m: occlusion_name(m.removeprefix("occlusion:")),
            ["Hidden joints are (0, 0, 0), the same ones for every variant and seed; nothing was trained for it in "
             "fine-tuning."],
        ))  # fmt: skip
    return tables


def differences_table(differences: pd.DataFrame, variant: str, primary: Sequence[str]) -> Table:
    """One variant less the baselines on the ``primary`` measures: value, %, seeds, both intervals."""
    rows = []
    chosen = differences[(differences.variant == variant) & differences.measure.isin(list(primary))]
    for r in chosen.itertuples():
        measure = str(r.measure)
        shown = occlusion_name(measure.removeprefix("occlusion:")) if ":" in measure else measure.removesuffix("_mm")
        deviation = "—" if np.isnan(r.seed_std) else f"{r.seed_std:.1f}"
        both, alone = (
            "—" if np.isnan(low) else f"[{low:+.1f}, {high:+.1f}]"
            for low, high in ((r.low_seeds, r.high_seeds), (r.low, r.high))
        )  # fmt: skip
        rows.append([
            f"{NAMES[r.dataset]}: {shown}", CONFIGURATIONS.get(r.against, r.against), f"{r.value:+.1f}",
            f"{r.relative:+.1f}", deviation, alone, both, "yes" if r.certain else "no",
        ])  # fmt: skip
    whole = chosen.loc[chosen.measure == "P1_mm", "recordings"]
    count = f"{whole.min()} to {whole.max()}" if len(whole) else "no"
    return Table(
        "differences", f"{CONFIGURATIONS.get(variant, variant)} less the baselines",
        ["Measure", "Less", "Difference, mm", "%", "Std. over seeds, mm", "95 % over recordings",
         "95 % over recordings and seeds", "Excludes 0"],
        [Block("", rows)],
        [f"Negative is better for {CONFIGURATIONS.get(variant, variant)}. Paired bootstrap, {count} test recordings a "
         "data set, 10,000 draws; over seeds besides, by Student's t. The last column goes by the wider one. Neither "
         "speaks of other people. No correction for the number of rows: of 20 true zeros one is expected to stand out. "
         "All differences: differences.csv."],
    )  # fmt: skip


def joints_table(scores: pd.DataFrame, variants: Sequence[str], dataset: str = "human36m") -> Table:
    """P1 of each joint."""
    return by_metric(
        scores, "joints", f"Error per joint, mm: {NAMES[dataset]}", "Joint", variants, dataset,
        [f"joint:{name}" for name in JOINTS[1:]], lambda m: m.removeprefix("joint:").replace("_", " "),
        ["Mean over actions; the root is 0 by definition."],
    )  # fmt: skip


def visibility_table(visibility: pd.DataFrame, scores: pd.DataFrame, hard_actions: Sequence[str]) -> Table:
    """Actions by how visible their joints are, beside the baseline's error: is the hardest the most occluded?"""
    rows = []
    for r in visibility.itertuples():
        mark = " (P3)" if r.action in hard_actions else ""
        rows.append([
            f"{r.action}{mark}", str(r.recordings), str(r.frames), f"{r.visibility:.3f}", f"{r.hidden:.1f}",
            "—" if np.isnan(r.confidence) else f"{r.confidence:.3f}",
            cell(scores, "human36m", "baseline", f"action:{r.action}"),
        ])  # fmt: skip
    notes = [
        "Least visible first; estimated before any model was trained. Visibility: of each joint past the body's own "
        "limbs (capsules), seen from where the camera stood, mean over joints and frames; hidden: below 0.5. Nothing "
        "but the body itself hides a joint here. All frames of the test set, those too that no score counts."
    ]
    errors = scores[(scores.dataset == "human36m") & (scores.variant == "baseline")].groupby("metric")["value"].mean()
    error = visibility["action"].map(lambda a: errors.get(f"action:{a}", np.nan)).dropna()
    if min(error.nunique(), visibility["visibility"].nunique()) > 2:
        ranks = np.corrcoef(visibility["visibility"][error.index].rank(), error.rank())[0, 1]
        notes.append(
            f"Rank correlation (Spearman) of visibility with the baseline's P1, {len(error)} actions: {ranks:+.2f}; "
            "-1 would be: the less visible, the harder."
        )
    columns = ["Action", "Sequences", "Frames", "Visibility", "Joints hidden, %", "Confidence", "Baseline's P1, mm"]
    return Table("visibility", "How visible each action's joints are", columns, [Block("", rows)], notes)


def labels_table(labels: pd.DataFrame, profile: str) -> Table:
    """How unevenly the pairs are spread over the labels: a row for all, one for each kind."""
    columns = ["Labels", "Pairs", "Different labels", "Most frequent label, %", "Ten most frequent, %",
               "Labels that have half of the pairs", "Labels that occur once"]  # fmt: skip
    rows = [
        [kind, *(f"{n[name]:.1f}" if name.startswith("top") else str(n[name])
                 for name in ("pairs", "labels", "top1", "top10", "half", "once"))]
        for kind, n in imbalance(labels).items()
    ]  # fmt: skip
    notes = [f"Pairs of all splits; % of the row's pairs. Every label's count: data/{profile}/pairs/labels.csv."]
    return Table("labels", "How unbalanced the labels are", columns, [Block("", rows)], notes)


def motion_table(scores: pd.DataFrame, variants: Sequence[str], dataset: str) -> Table:
    """How much predictions jitter: errors of velocity and acceleration."""
    return by_variant(
        scores, f"motion_{dataset}", f"Jitter: {NAMES[dataset]}", variants, dataset, ["velocity_mm", "acceleration_mm"],
        {"velocity_mm": "Velocity error, mm a frame", "acceleration_mm": "Acceleration error, mm a frame²"}.__getitem__,
        ["Mean per-joint error of first and second differences between neighbouring frames (MPJVE, and acceleration)."],
        digits=2,
    )  # fmt: skip


def embedding_table(scores: pd.DataFrame, variants: Sequence[str]) -> Table:
    """Retrieval (TMR's names) and recognition of the pretrained models; scores that no variant has are left out."""
    measured = scores[scores.dataset == "embed"]
    metrics = list(dict.fromkeys(measured.metric))
    return by_metric(
        measured, "embeddings", "Retrieval and recognition on subjects outside pretraining", "Score", variants,
        "embed", metrics,
        notes=[
            "t2m, m2t: text to motion and motion to text; R in % (higher is better), MedR the median rank; texts that "
            "say nearly the same count as one. zero_shot: the nearest class text; head: the one-hot action head; knn: "
            "k nearest neighbours in the model's own features, from other recordings or other subjects. balanced: mean "
            "over classes. majority: what the most frequent class alone would score.",
        ],
    )  # fmt: skip


def completion_table(scores: pd.DataFrame, variants: Sequence[str]) -> Table:
    """Hidden frames of held-out motion, filled in by the pretrained models and by fills that know nothing of motion."""
    measured = scores[scores.dataset == "complete"]
    metrics = [m for m in dict.fromkeys(measured.metric) if m.endswith("_mm")]

    def label(metric: str) -> str:
        task, share, name = metric.removesuffix("_mm").split("/")
        return f"{task}, {100 * float(share):g} % of the clip: {name}"

    return by_metric(
        measured, "completion", "Completion and short prediction of hidden frames, mm", "Hidden frames", variants,
        "complete", metrics, label,
        ["MPJPE on the hidden frames of subjects outside pretraining, clean 2D. model: what it gives for them; "
         "visible: what it gives when they are not hidden; linear, hold, velocity: what interpolation, the last pose "
         "or its velocity give, from the model's own poses of the frames around them."],
    )  # fmt: skip
