"""Stage `evaluate`: P1, P2, P3, PCK, AUC of one fine-tuned cell on the test split, per action and under occlusion."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from langpose.devices import pick_device
from langpose.evaluation import Scores, evaluate_human36m, evaluate_mpi_inf_3dhp
from langpose.intervals import measure
from langpose.model.langpose import LangPose
from langpose.robustness import parse
from langpose.storage import replacing
from pipeline import layout, params
from pipeline.few import FewConfig

NAMES = {"p1_mm": "P1_mm", "p2_mm": "P2_mm", "p3_mm": "P3_mm", "pck": "PCK", "auc": "AUC"}


@dataclass(frozen=True)
class EvaluateConfig:
    """Parameters common to both data sets."""

    clip_len: int
    """T, frames a clip."""
    protocol: Literal["reference", "exact"] = "reference"
    """`reference` reproduces what published numbers come from, quirks included; `exact` does it right."""
    flip: bool = True
    """Average the prediction with that of the mirrored clip."""
    batch_size: int = 64
    """Clips at a time."""
    occlusions: list[str] = field(default_factory=list)
    """What else to hide from the input, each scored (langpose.robustness.occluded names the kinds)."""

    def __post_init__(self) -> None:
        for occlusion in self.occlusions:
            parse(occlusion)


@dataclass(frozen=True)
class EvaluateHuman36M(EvaluateConfig):
    """Human3.6M's further parameters."""

    input_2d: Literal["detected", "ground_truth"] = "detected"
    """Which 2D the model sees."""
    blocked: bool = True
    """Leave out the three recordings of S9 with broken ground truth (they exist in the paper's data alone)."""
    hard_actions: list[str] = field(default_factory=lambda: ["Photo", "Sitting", "SittingDown"])
    """The three actions that P3 averages."""


CONFIGS: dict[str, type[EvaluateConfig]] = {"human36m": EvaluateHuman36M, "mpi_inf_3dhp": EvaluateConfig}


def _same_input(profile: str, dataset: str) -> None:
    """A model is tested on what it was fine-tuned for: the same clips' length and the same kind of 2D."""
    tuned, tested = (params.load(profile)[section][dataset] for section in ("finetune", "evaluate"))
    for name in ("clip_len", "input_2d"):
        if name in tested and tested[name] != tuned.get(name):
            sys.exit(
                f"profiles/{profile}.yaml: evaluate.{dataset}.{name} is {tested[name]}, but finetune.{dataset}.{name} "
                f"is {tuned.get(name)}; expected the same"
            )


def evaluate(model: LangPose, profile: str, dataset: str, config: EvaluateConfig, occlude: str = "none") -> Scores:
    """Scores of a model on the data set's test split."""
    options: dict[str, Any] = {k: v for k, v in asdict(config).items() if k != "occlusions"}
    call: Any = {"human36m": evaluate_human36m, "mpi_inf_3dhp": evaluate_mpi_inf_3dhp}[dataset]
    device = next(model.parameters()).device
    return call(
        model.pose_encoder, layout.lifting(profile, dataset), occlude=occlude, device=device, progress=True, **options
    )


def write(folder: Path, scored: Sequence[tuple[str, Scores]]) -> None:
    """A cell's files from its scores under each occlusion, of which the first is none.

    ``metrics.json``, and ``actions.csv`` and ``joints.csv`` of the clean input; ``sequences.csv``, a row a sequence and
    occlusion, from which intervals are made; ``predictions.npz``: ``joints_mm`` (F, 17, 3) of the clean input.
    """
    clean = scored[0][1]
    by_action = clean.dataset == "human36m"
    # float16 keeps 0.5 mm at 1 m and a fifth of the size; the tables come from the full precision above
    with replacing(folder / "predictions.npz") as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, joints_mm=clean.predictions.astype(np.float16))
    sequences = pd.concat([scores.sequences.assign(occlusion=name) for name, scores in scored])
    sequences.insert(0, "occlusion", sequences.pop("occlusion"))
    table = clean.actions if len(clean.actions) else clean.sequences
    for name, frame in (("actions", table), ("sequences", sequences), ("joints", clean.joints)):
        with replacing(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
    metrics = {NAMES[name]: value for name, value in clean.summary().items()}
    for name in ("velocity", "acceleration"):
        known = clean.sequences.dropna(subset=[name])
        if len(known):
            metrics[f"{name}_mm"] = measure(known, name, by_action)
    with replacing(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics | {"frames": clean.frames}, indent=2) + "\n", encoding="utf-8")


def evaluate_cell(profile: str, dataset: str, variant: str, seed: int, few: FewConfig | None) -> None:
    """Score a fine-tuned cell, of stage `finetune_few` where ``few`` is given, and write its files."""
    config = params.section(profile, "evaluate", CONFIGS[dataset], dataset)
    _same_input(profile, dataset)
    cell = (profile, dataset, variant, seed, few is not None)
    model = LangPose.from_pretrained(layout.finetuned(*cell)).to(pick_device("auto"))
    occlusions = config.occlusions if few is None else few.occlusions
    write(layout.evaluated(*cell), [(o, evaluate(model, profile, dataset, config, o)) for o in ("none", *occlusions)])


def main(profile: str, dataset: str, variant: str, seed: str) -> None:
    evaluate_cell(profile, dataset, variant, int(seed), None)


if __name__ == "__main__":
    main(*sys.argv[1:])
