"""Section `few`: fine-tuning on a small share of the data, for stages `finetune_few` and `evaluate_few`."""

from dataclasses import dataclass, field

from langpose.robustness import parse


@dataclass(frozen=True)
class FewConfig:
    """Section `few`: what the data sets of the axis `few` are fine-tuned and tested on besides."""

    fraction: float = 0.1
    """Share of the training sequences, drawn by the seed: every variant has the same. Not in the paper."""
    occlusions: list[str] = field(default_factory=list)
    """Hidden input to score besides, as `evaluate`'s. Not in the paper."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(f"fraction is {self.fraction}; expected more than 0 and less than 1")
        for occlusion in self.occlusions:
            parse(occlusion)
