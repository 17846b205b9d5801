"""What the training stages share: a run's checkpoints by the hash of what made it, and its outputs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from langpose import checkpoints
from langpose.distributed import rank_and_size
from langpose.model.langpose import LangPose
from langpose.storage import replacing_folder, sha256
from langpose.training import PREEMPTED, Task, TrainingConfig, TrainingDivergedError, train
from pipeline import layout

INDIFFERENT = ("workers", "checkpoint_every", "device", "processes", "checkpoint_layers")
"""Parameters of a training that change its result by rounding at most: a run continues when they change."""


DATA = {
    "demo": "procedural motion in the licensed sets' file formats: a check of the pipeline, of no further worth",
    "cmu": "CMU motion capture (mocap.cs.cmu.edu, created with funding from NSF EIA-0196217), through virtual cameras",
    "paper": "AMASS and BABEL; after fine-tuning Human3.6M or MPI-INF-3DHP: non-commercial research",
}
"""What a profile's models are made from, for their cards."""


START = "start"
"""The fact that is handed on from a model to those that are trained from it: the very first weights."""


def file_fact(path: Path) -> str:
    """A file by its name and content, wherever it lies."""
    return f"{path.name} (sha256 {sha256(path)})"


def shared_out(config: TrainingConfig) -> bool:
    """Run this stage in ``config.processes`` processes under torch's launcher; whether that was done.

    False in each of them, and where one process is wanted: the caller then is to train. SIGTERM and Ctrl-C are handed
    on, and the program ends as a single process would: with `PREEMPTED` after the one, 130 after the other.
    """
    if config.processes == 1 or "LOCAL_RANK" in os.environ:
        return False
    spec = sys.modules["__main__"].__spec__
    assert spec is not None
    launch = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={config.processes}", "-m", spec.name)
    launcher = subprocess.Popen([sys.executable, *launch, *sys.argv[1:]])
    received: list[int] = []

    def hand_on(number: int, _frame: Any) -> None:
        received.append(number)
        launcher.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    code = launcher.wait()
    if received:
        sys.exit(PREEMPTED if signal.SIGTERM in received else 130)
    if code:
        sys.exit(code)
    return True


def run(
    out: Path,
    task: Task,
    config: TrainingConfig,
    seed: int,
    parameters: Mapping[str, Any],
    inputs: Sequence[Path],
    code: Sequence[Path] = (),
) -> pd.DataFrame:
    """Train, continuing what an earlier start of the same run left below work/; a divergence ends the program.

    ``parameters`` decide the result together with ``inputs`` and the code, of which the stage's own file is a part, and
    ``code``, further files of stages.
    """
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
    decisive = {section: _decisive(values) for section, values in parameters.items()}
    stage = sys.modules["__main__"].__file__
    assert stage is not None
    made = checkpoints.made_of({**decisive, "seed": seed}, [*inputs, *code, Path(stage), Path(__file__)])
    folder = layout.work(*out.parts[1:]) / checkpoints.fingerprint(made)[:16]
    try:
        history = train(task, config, seed, folder, made)
    except TrainingDivergedError as error:
        sys.exit(f"{out}: {error}")
    rank, size = rank_and_size()
    if size > 1:
        torch.distributed.destroy_process_group()
    if rank:
        sys.exit()  # the first process writes the outputs
    return history


def _decisive(section: Any) -> Any:
    """A section without the parameters of its training that are `INDIFFERENT`."""
    if not isinstance(section, Mapping) or "training" not in section:
        return section
    return {**section, "training": {k: v for k, v in section["training"].items() if k not in INDIFFERENT}}


def write(
    out: Path, model: LangPose, history: pd.DataFrame, metrics: Mapping[str, float], facts: Mapping[str, Any]
) -> None:
    """A model's folder: weights, config, model card, history.csv and metrics.json, whole or not at all.

    ``facts`` stand in the card beside the profile and its data: what the stage was told, and what the weights that it
    began with were said to start from.
    """
    profile, stage, cell = out.parts[1:]
    start = {name: value for name, value in model.provenance.get("facts", {}).items() if name == START}
    card = {
        "title": f"{stage} {cell}, profile {profile}",
        "facts": {"profile": profile, "data": DATA.get(profile, "the profile's own"), "stage": stage, **start, **facts},
        "metrics": dict(metrics),
    }
    with replacing_folder(out) as temporary:
        model.save_pretrained(temporary, model_card_kwargs=card)
        history.to_csv(temporary / "history.csv", index=False, lineterminator="\n")
        (temporary / "metrics.json").write_text(json.dumps(dict(metrics), indent=2) + "\n", encoding="utf-8")


def final_metrics(history: pd.DataFrame, keep: str) -> dict[str, float]:
    """Number of steps of a history, and the validation score of the weights that were kept (`TrainingConfig.keep`)."""
    metrics: dict[str, float] = {"steps": int(history["step"].iloc[-1])}
    if "val_mpjpe" in history:
        scores = history["val_mpjpe"].dropna()
        metrics["val_mpjpe_mm"] = float(scores.min() if keep == "best" else scores.iloc[-1])
    return metrics
