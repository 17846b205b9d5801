"""Stage `report`: one page of Tables 1-4, Figures 4 and 5 and all else measured, of the cells in params.yaml."""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from langpose import findings, listings, tables
from langpose.cost import cost_table
from langpose.figures import charts_figure
from langpose.model.langpose import LangPoseConfig
from langpose.report import Page, write_page, write_tables
from langpose.storage import replacing_folder
from pipeline import layout, manifest, params, pictures, results
from pipeline.axes import Axes, read
from pipeline.pictures import OURS
from pipeline.scoring import CONFIGS, EvaluateHuman36M


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
    min_subjects: int = 2
    """… and at least this many subjects: of one alone, a verb cannot be told from a person."""
    declared: list[str] = field(default_factory=list)
    """Occlusions of `evaluate` named before anything was trained: those that the first lines speak of."""


def spread(scores: pd.DataFrame, axes: Axes) -> str:
    """One sentence on how far seeds and variants lie apart: what a difference in the tables is worth."""
    p1 = scores[scores.metric == "P1_mm"]
    parts = []
    for dataset in axes.datasets:
        means = p1[p1.dataset == dataset].groupby("variant")["value"].mean()
        text = f"{dataset}: variants lie {means.max() - means.min():.1f} mm apart"
        if axes.repeat.seeds or len(axes.seeds) > 1:
            deviation = p1[p1.dataset == dataset].groupby("variant")["value"].std().mean()
            text += f", seeds of one variant deviate by {deviation:.1f} mm"
        parts.append(text)
    return f"{seeds(axes)}. P1, {'; '.join(parts)}."


def seeds(axes: Axes) -> str:
    """How often cells were measured: "3 seeds of … , 1 of the rest"."""
    own = f"{len(axes.seeds)} seed{'s' if len(axes.seeds) > 1 else ''}"
    if not axes.repeat.seeds:
        return own
    names = ", ".join(axes.repeat.variants)
    return f"{len(axes.all_seeds)} seeds of {names} on {', '.join(axes.repeat.datasets)}; {own} of all else"


def steps(profile: str, axes: Axes) -> str:
    """One sentence on how long the cells were trained."""

    def last(folder: Path) -> int:
        return int(pd.read_csv(folder / "history.csv")["step"].iloc[-1])

    seed, parts = axes.seeds[0], []
    parts.append(f"base {last(layout.base(profile, seed))}")
    if OURS in axes.variants:
        parts.append(f"pretraining {last(layout.pretrained(profile, OURS, seed))}")
    for dataset in axes.datasets:
        parts.append(f"fine-tuning on {dataset} {last(layout.finetuned(profile, dataset, axes.variants[0], seed))}")
    return f"Steps trained: {', '.join(parts)}."


def protocols(profile: str, axes: Axes) -> str:
    """One sentence on which protocol the scores follow: published numbers come from `reference`."""
    sections = params.load(profile)["evaluate"]
    named = ", ".join(f"{dataset} {sections[dataset].get('protocol', 'reference')}" for dataset in axes.datasets)
    text = f"Protocol: {named} (reference: the published evaluation, its quirks included; exact: without them)."
    return text + (" Scores under exact do not compare with quoted ones." if "exact" in named else "")


def read_labels(path: Path) -> pd.DataFrame:
    """Stage `pair`'s table of counts; a label may read "none" or "null"."""
    return pd.read_csv(path, dtype={"label": "str", "kind": "str"}, keep_default_na=False)


def further_tables(
    profile: str,
    axes: Axes,
    scores: pd.DataFrame,
    differences: pd.DataFrame,
    pretrained: pd.DataFrame,
    labels: pd.DataFrame,
    hard: list[str],
    declared: list[str],
) -> list[tables.Table]:
    """Everything beyond the paper's tables, in the page's order."""
    variants, found = axes.variants, []
    if OURS in variants:
        primary = ["P1_mm", "P2_mm", "P3_mm", *(f"occlusion:{name}" for name in declared)]
        found.append(listings.differences_table(differences, OURS, primary))
    found += listings.occlusion_tables(scores, variants)
    if "human36m" in axes.datasets:
        visibility = pd.read_csv(
            layout.visible(profile, "human36m"),
            dtype={"action": "str"},
            keep_default_na=False,
            na_values={"confidence": [""]},
        )
        found += [listings.visibility_table(visibility, scores, hard), listings.joints_table(scores, variants)]
    for dataset in axes.datasets:
        found.append(listings.motion_table(scores, variants, dataset))
    found += [listings.embedding_table(pretrained, variants), listings.completion_table(pretrained, variants)]
    return [*found, listings.labels_table(labels, profile), *costs(profile, axes)]


def costs(profile: str, axes: Axes) -> list[tables.Table]:
    """What a clip costs, with the times of reports/cost.json where it has this profile's sizes."""
    model, name = params.section(profile, "model", LangPoseConfig), axes.datasets[0]
    config = params.section(profile, "evaluate", CONFIGS[name], name)
    figures = json.loads(Path("reports/cost.json").read_text(encoding="utf-8"))
    return [cost_table(model, config.clip_len, config.flip, figures)]


def main(profile: str) -> None:
    config = params.section(profile, "report", ReportConfig)
    axes = read()
    values = params.load(profile)
    tests = {name: params.section(profile, "evaluate", CONFIGS[name], name) for name in axes.datasets}
    lifted = tests.get("human36m")
    hard = list(lifted.hard_actions) if isinstance(lifted, EvaluateHuman36M) else []
    sequences = results.read_sequences(profile, axes)
    scores = results.collect(profile, sequences)
    evaluated = {name for entry in values["evaluate"].values() for name in entry.get("occlusions", [])}
    if unknown := set(config.declared) - evaluated:
        sys.exit(f"profiles/{profile}.yaml: report.declared names {sorted(unknown)}, which no data set evaluates")
    differences = results.differences(sequences, hard)
    pretrained, curves = results.pretrained_scores(profile, axes), results.curves(profile, axes)
    labels = read_labels(layout.data(profile) / "pairs" / "labels.csv")
    inputs = manifest.digest(layout.data(profile) / layout.MANIFEST)
    knobs = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]  # a comment is no parameter
    notes = [steps(profile, axes), spread(scores, axes), protocols(profile, axes)]
    facts = {
        "profile": profile,
        "data": config.data,
        "inputs (sha256 of the manifest)": inputs,
        "parameters (sha256 of the profile's values)": knobs,
        "variants": ", ".join(axes.variants),
        "data sets": ", ".join(axes.datasets),
        "seeds": f"{', '.join(map(str, axes.all_seeds))} ({seeds(axes)})",
        "training": notes[0],
        "protocol": notes[2],
        "made by": f"make repro PROFILE={profile}",
    }
    if config.warning:
        notes.append(config.warning)
    notes.append(f"Profile {profile}, inputs {inputs}, parameters {knobs}.")
    paper_tables = tables.build(scores, profile, axes.variants, notes, hard, differences)
    more = further_tables(profile, axes, scores, differences, pretrained, labels, hard, config.declared)
    occlusion = pictures.occlusion_charts(scores, axes.variants)
    training = pictures.training_charts(curves, axes.variants)
    poses = None
    if isinstance(lifted, EvaluateHuman36M):
        poses = pictures.LiftedTest.of(profile, axes, lifted.input_2d)
    with replacing_folder(layout.report(profile)) as folder:
        write_tables(folder, [*paper_tables, *more])
        for name, frame in (("scores", scores), ("differences", differences), ("pretrained", pretrained),
                            ("curves", curves), ("pretraining", results.pretraining_columns(curves)),
                            ("actions", results.action_columns(scores))):  # fmt: skip
            frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        for name, charts in (("occlusion", occlusion), ("training", training)):
            if charts:
                charts_figure(folder / f"{name}.png", charts)
        drawn = [
            pictures.figure4(folder, profile, axes, config.verbs, config.min_clips, config.min_subjects),
            pictures.figure5(folder, poses, axes.seeds[0]) if poses else None,
            pictures.actions_picture(folder, scores, axes.variants) if "human36m" in axes.datasets else None,
            pictures.labels_picture(folder, labels, profile),
        ]
        write_page(folder, Page(
            title=config.title, lead=config.data, warning=config.warning,
            answer=findings.answer(differences, OURS, config.declared), facts=facts,
            parameters=Path(f"profiles/{profile}.yaml").read_text(encoding="utf-8"), tables=paper_tables,
            figures=[figure for figure in drawn if figure], charts=[*occlusion, *training], listings=more,
            clips=pictures.player_clips(poses) if poses else [],
        ))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
