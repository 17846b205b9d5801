"""What the training stages share: a run's checkpoints by the hash of what made it, and its outputs."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from langpose import checkpoints
from langpose.model.langpose import LangPose
from langpose.storage import replacing_folder
from langpose.training import Task, TrainingConfig, TrainingDivergedError, train


def run(
    name: Path, task: Task, config: TrainingConfig, seed: int, parameters: Mapping[str, Any], inputs: Sequence[Path]
) -> pd.DataFrame:
    """Train, continuing what an earlier start of the same run left below work/; a divergence ends the program."""
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
    mark = checkpoints.fingerprint({**parameters, "seed": seed}, inputs)
    folder = Path("work") / "-".join(name.parts[1:]) / mark[:16]
    try:
        return train(task, config, seed, folder, mark)
    except TrainingDivergedError as error:
        sys.exit(f"{name}: {error}")


def write(folder: Path, model: LangPose, history: pd.DataFrame, metrics: Mapping[str, float]) -> None:
    """A model's folder: weights, config, history.csv and metrics.json, whole or not at all."""
    with replacing_folder(folder) as temporary:
        model.save_pretrained(temporary)
        history.to_csv(temporary / "history.csv", index=False, lineterminator="\n")
        (temporary / "metrics.json").write_text(json.dumps(dict(metrics), indent=2) + "\n", encoding="utf-8")


def final_metrics(history: pd.DataFrame) -> dict[str, float]:
    """Best validation score and number of steps of a history."""
    metrics: dict[str, float] = {"steps": int(history["step"].iloc[-1])}
    if "val_mpjpe" in history:
        metrics["val_mpjpe_mm"] = float(history["val_mpjpe"].min())
    return metrics
