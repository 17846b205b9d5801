"""Stage `evaluate`: P1, P2, P3, PCK, AUC of one fine-tuned cell on the test split, per action and under occlusion."""

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from langpose.devices import pick_device
from langpose.evaluation import Scores, evaluate_human36m, evaluate_mpi_inf_3dhp
from langpose.model.langpose import LangPose
from langpose.storage import replacing
from pipeline import layout, params

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
    """What else to hide from the input, each scored by P1 (langpose.evaluation.occluded names the kinds)."""


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


def main(profile: str, dataset: str, variant: str, seed: str) -> None:
    config = params.section(profile, "evaluate", CONFIGS[dataset], dataset)
    _same_input(profile, dataset)
    model = LangPose.from_pretrained(layout.finetuned(profile, dataset, variant, int(seed))).to(pick_device("auto"))
    scores = evaluate(model, profile, dataset, config)
    rows = [("none", scores.p1_mm)]
    rows += [(o, evaluate(model, profile, dataset, config, o).p1_mm) for o in config.occlusions]

    folder = layout.evaluated(profile, dataset, variant, int(seed))
    # float16 keeps 0.5 mm at 1 m and a fifth of the size; the tables come from the full precision above
    with replacing(folder / "predictions.npz") as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, joints_mm=scores.predictions.astype(np.float16))
    table = scores.actions if len(scores.actions) else scores.sequences
    for name, frame in (("actions", table), ("occlusion", pd.DataFrame(rows, columns=["occlusion", "P1_mm"]))):
        with replacing(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
    metrics = {NAMES[name]: value for name, value in scores.summary().items()} | {"frames": scores.frames}
    with replacing(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
