"""Stage `complete`: hidden frames of held-out motion, filled in and predicted by a pretrained model (future work)."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from langpose.clips import ClipsConfig
from langpose.completion import UnpaddedClips, score
from langpose.devices import pick_device
from langpose.model.langpose import LangPose
from langpose.sampling import collate
from langpose.storage import replacing
from pipeline import layout, params


@dataclass(frozen=True)
class CompleteConfig:
    """Parameters of the stage. Not in the paper, which names completion and prediction as future work."""

    splits: list[str] = field(default_factory=lambda: ["val", "test"])
    """Whose motion: subjects outside pretraining's training split."""
    windows: list[float] = field(default_factory=lambda: [0.2, 0.4])
    """Shares of the clip hidden in its middle. Not in the paper: up to pretraining's longest window."""
    horizons: list[float] = field(default_factory=lambda: [0.2, 0.4])
    """Shares of the clip hidden at its end. Not in the paper: as the windows."""
    stride: int = 81
    """Frames between the starts of clips. Not in the paper: stage `base`'s."""
    clips: int = 512
    """Most clips, spread evenly over all. Not in the paper."""
    batch_size: int = 64
    """Clips at a time."""

    def __post_init__(self) -> None:
        for name in ("windows", "horizons"):
            if not all(0 < share < 1 for share in getattr(self, name)):
                raise ValueError(f"{name} are {getattr(self, name)}; expected shares of the clip between 0 and 1")
        for name in ("stride", "clips", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")


def motions(clips: UnpaddedClips, config: CompleteConfig, device: torch.device) -> Iterator[torch.Tensor]:
    """Batches (B, T, 17, 3) of the chosen clips, the same for every model."""
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(config.clips, len(clips))).round().astype(int))
    for start in range(0, len(chosen), config.batch_size):
        batch = collate([clips[int(item)] for item in chosen[start : start + config.batch_size]])
        yield batch["motion"].to(device)


@torch.inference_mode()
def main(profile: str, variant: str, seed: str) -> None:
    config = params.section(profile, "complete", CompleteConfig)
    clips_config = params.section(profile, "clips", ClipsConfig)
    device = pick_device("auto")
    model = LangPose.from_pretrained(layout.pretrained(profile, variant, int(seed)), text=False).to(device)
    clips = UnpaddedClips(layout.data(profile), clips_config, config.splits, config.stride)
    rates = clips.sequences.loc[clips.sequences["split"].isin(config.splits), "rate_hz"].unique()
    metrics, frames = score(
        model.pose_encoder,
        motions(clips, config, device),
        {"completion": config.windows, "prediction": config.horizons},
        clips_config.mm_per_unit,
        float(rates[0]) if len(rates) == 1 else float("nan"),  # frames of different rates have no common time
    )
    folder = layout.completed(profile, variant, int(seed))
    with replacing(folder / "frames.csv") as temporary:
        frames.to_csv(temporary, index=False, lineterminator="\n")
    with replacing(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
