"""Section `evaluate`: how the test sets are scored, one entry a data set."""

from dataclasses import dataclass, field
from typing import Literal

from langpose.robustness import parse


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
