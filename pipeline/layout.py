"""Where each cell of the pipeline reads and writes, relative to the repository's root (DVC runs stages there).

dvc.yaml names the same paths; tests/test_pipeline.py holds the two together.
"""

import os
from pathlib import Path

MANIFEST = "manifest.json"


def data(profile: str) -> Path:
    """The profile's data: ``raw/``, ``manifest.json``, ``motions/``, ``views/``, ``pairs.parquet``, ``lifting/``."""
    return Path("data") / profile


def lifting(profile: str, dataset: str) -> Path:
    """Memory-mapped Human3.6M or MPI-INF-3DHP."""
    return data(profile) / "lifting" / dataset


def base(profile: str, seed: int) -> Path:
    """The starting weights."""
    return Path("models") / profile / "base" / str(seed)


def pretrained(profile: str, variant: str, seed: int) -> Path:
    """A variant's weights after LangPose pretraining (for `baseline`: the base weights)."""
    return Path("models") / profile / "pretrain" / f"{variant}-{seed}"


def finetuned(profile: str, dataset: str, variant: str, seed: int, few: bool = False) -> Path:
    """A variant's weights after fine-tuning; ``few``: on the small share of the data that section `few` says."""
    return Path("models") / profile / ("finetune_few" if few else "finetune") / f"{dataset}-{variant}-{seed}"


def visible(profile: str, dataset: str) -> Path:
    """How visible the test set's joints are, an action a row."""
    return Path("results") / profile / "visibility" / f"{dataset}.csv"


def evaluated(profile: str, dataset: str, variant: str, seed: int, few: bool = False) -> Path:
    """Scores and predictions of a fine-tuned variant."""
    return Path("results") / profile / ("evaluate_few" if few else "evaluate") / f"{dataset}-{variant}-{seed}"


def embedded(profile: str, variant: str, seed: int) -> Path:
    """Global pose embeddings of a pretrained variant on held-out labelled clips."""
    return Path("results") / profile / "embed" / f"{variant}-{seed}"


def completed(profile: str, variant: str, seed: int) -> Path:
    """Errors of a pretrained variant where a window of motion is hidden."""
    return Path("results") / profile / "complete" / f"{variant}-{seed}"


def report(profile: str) -> Path:
    """Tables, figures and the page."""
    return Path("reports") / profile


def work(*cell: str | int) -> Path:
    """Checkpoints of a running cell: outside DVC's outputs, which DVC deletes before a stage runs.

    Below work/, or below LANGPOSE_WORK: a folder that several machines see, so that one goes on where another died.
    """
    return Path(os.environ.get("LANGPOSE_WORK") or "work") / "-".join(str(part) for part in cell)
