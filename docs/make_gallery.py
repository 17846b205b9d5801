"""Render docs/gallery/: profile cmu's test motion, its 2D input, ours, the baseline and the truth.

    make repro PROFILE=cmu      then
    .venv/bin/python docs/make_gallery.py [--root .]

Frames by rule, as in Figure 5: of all test recordings the one of largest gain of LangPose (mmm_map, seed 0) over the
baseline, of median gain and of largest loss; then that of median gain with the legs hidden from both. Three seconds
each, at half the data's rate.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from langpose import LangPose, rendering
from langpose.cameras import normalised_to_pixel
from langpose.evaluation import evaluate_human36m
from langpose.lifting import Poses
from langpose.lifting_sets import model_inputs, open_split
from langpose.robustness import occluded

OUT = Path("docs/gallery")
SECONDS = 3
TITLES = ("2D input", "LangPose", "baseline", "truth")


def scored(root: Path, variant: str, occlude: str):
    model = LangPose.from_pretrained(root / f"models/cmu/finetune/human36m-{variant}-0", text=False)
    return evaluate_human36m(
        model.pose_encoder, root / "data/cmu/lifting/human36m", clip_len=27, blocked=False, hard_actions=[],
        batch_size=64, occlude=occlude,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout that has models/cmu and data/cmu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = open_split(options.root / "data/cmu/lifting/human36m", "test")
    OUT.mkdir(exist_ok=True)
    lines = []
    for occlude in ("none", "body_part:legs"):
        ours, baseline = (scored(options.root, variant, occlude) for variant in ("mmm_map", "baseline"))
        both = ours.sequences.merge(baseline.sequences, on="sequence", suffixes=("", "_baseline"))
        both["gain"] = both["p1_baseline"] - both["p1"]
        both = both.sort_values("gain", ascending=False, kind="stable").reset_index(drop=True)
        rules = (
            {"gain": 0, "median": len(both) // 2, "loss": len(both) - 1}
            if occlude == "none"
            else {"legs": len(both) // 2}
        )
        for rule, place in rules.items():
            row = both.iloc[place]
            name = OUT / f"{rule}.gif"
            clip(name, data, row["sequence"], ours.predictions, baseline.predictions, occlude)
            lines.append(
                {"picture": name.name, "action": row["action"], "ours": row["p1"], "baseline": row["p1_baseline"]}
            )
    print(pd.DataFrame(lines).round(1).to_string(index=False))


def clip(path: Path, data, sequence: str, ours: np.ndarray, baseline: np.ndarray, occlude: str) -> None:
    """Render the first seconds of a recording that both models have predicted."""
    (row,) = data.sequences[data.sequences["sequence"] == sequence].itertuples()
    frames = np.arange(row.start, row.start + row.frames)
    frames = frames[np.isfinite(ours[frames]).all((1, 2))][: SECONDS * round(row.rate_hz)]
    x = occluded(model_inputs(data, frames[None]), occlude, 0)[0][::2]
    two_d = x.copy()
    two_d[..., :2] = normalised_to_pixel(x[..., :2], row.width, row.height)
    two_d[x[..., 2] <= 0] = 0
    shown = [
        Poses(np.asarray(joints[frames][::2]), np.arange(len(two_d)), "mm", two_d, np.zeros(len(two_d), bool))
        for joints in (ours, baseline, data.joints_mm)
    ]
    rendering.save(path, shown, row.rate_hz / 2, titles=TITLES)


if __name__ == "__main__":
    main()
