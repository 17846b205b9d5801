"""Stage `evaluate`: P1, P2, P3, PCK, AUC of one fine-tuned cell on the test split, per action and under occlusion."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from langpose.devices import pick_device
from langpose.evaluation import Scores, evaluate_human36m, evaluate_mpi_inf_3dhp
from langpose.intervals import measure
from langpose.model.langpose import LangPose
from langpose.storage import replacing
from pipeline import layout, params
from pipeline.few import FewConfig
from pipeline.scoring import CONFIGS, EvaluateConfig

NAMES = {"p1_mm": "P1_mm", "p2_mm": "P2_mm", "p3_mm": "P3_mm", "pck": "PCK", "auc": "AUC"}


def _same_input(profile: str, dataset: str) -> None:
    """A model is tested on what it was fine-tuned for: the same clips' length and the same kind of 2D."""
    tuned = params.load(profile)["finetune"][dataset]
    tested = params.section(profile, "evaluate", CONFIGS[dataset], dataset)
    own = {"human36m": "detected", "mpi_inf_3dhp": "ground_truth"}[dataset]
    pairs = {
        "clip_len": (tuned.get("clip_len"), tested.clip_len),
        "input_2d": (tuned.get("input_2d") or own, getattr(tested, "input_2d", own)),
    }
    for name, (was, is_now) in pairs.items():
        if was != is_now:
            sys.exit(
                f"profiles/{profile}.yaml: evaluate.{dataset}.{name} is {is_now}, but finetune.{dataset}.{name} "
                f"is {was}; expected the same"
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
    scored: list[tuple[str, Scores]] = []
    for occlusion in ("none", *(config.occlusions if few is None else few.occlusions)):
        scores = evaluate(model, profile, dataset, config, occlusion)
        if scored:  # of worse input only the errors are kept: 20 kinds of it would fill the memory
            scores = replace(scores, predictions=scores.predictions[:0].copy())
        scored.append((occlusion, scores))
    write(layout.evaluated(*cell), scored)


def main(profile: str, dataset: str, variant: str, seed: str) -> None:
    evaluate_cell(profile, dataset, variant, int(seed), None)


if __name__ == "__main__":
    main(*sys.argv[1:])
