"""Make langpose/models/: the small models that come with the package, of profile cmu's own cells.

    make repro PROFILE=cmu      then
    .venv/bin/python docs/make_models.py [--root .] [--variant mmm]

``cmu``: a variant's seed 0, fine-tuned on Human3.6M's layout: the one of least validation error unless named.
``cmu-pretrained``: LangPose (mmm_map), seed 0, as pretraining left it, without its text stream, whose embeddings of the
training labels are kept in its place. Both are what reports/cmu measured; cards say so.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
import torch

from langpose import LangPose, spotting
from langpose.lifting import RATE

OUT = Path("langpose/models")
SCORES = {"P1_mm": "test P1, mm (reports/cmu)", "P2_mm": "test P2, mm", "P3_mm": "test P3, mm"}


def least(root: Path) -> str:
    """The variant whose fine-tuned model has the least validation error."""
    errors = {
        folder.name.split("-")[1]: json.loads((folder / "metrics.json").read_text())["val_mpjpe_mm"]
        for folder in (root / "models/cmu/finetune").glob("human36m-*-0")
    }
    print("validation MPJPE, mm:", errors)
    return min(errors, key=lambda variant: errors[variant])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout that has models/cmu and data/cmu")
    parser.add_argument("--variant")
    options = parser.parse_args()
    variant = options.variant or least(options.root)
    model = LangPose.from_pretrained(options.root / f"models/cmu/finetune/human36m-{variant}-0", text=False)
    scores = pd.read_csv("reports/cmu/scores.csv")
    own = scores[(scores["dataset"] == "human36m") & (scores["variant"] == variant) & (scores["seed"] == 0)]
    measured = dict(zip(own["metric"], own["value"], strict=True))
    model.provenance["metrics"] |= {called: f"{measured[name]:.1f}" for name, called in SCORES.items()}
    model.provenance["facts"][RATE] = "50"  # profiles/cmu.yaml, film.motion.rate_hz
    model.save_pretrained(OUT / "cmu")

    whole = LangPose.from_pretrained(options.root / "models/cmu/pretrain/mmm_map-0")
    pairs = pd.read_parquet(options.root / "data/cmu/pairs.parquet")
    labels = sorted(set(pairs[(pairs["split"] == "train") & (pairs["kind"] == "action")]["label"]))
    with torch.inference_mode():
        texts = whole.encode_text(labels).numpy()
    pose = LangPose.from_pretrained(options.root / "models/cmu/pretrain/mmm_map-0", text=False)
    pose.provenance["facts"][RATE] = "30"  # project.target_rate_hz
    pose.save_pretrained(OUT / "cmu-pretrained")
    spotting.save_labels(OUT / "cmu-pretrained", labels, texts)
    print(f"{variant}; {len(labels)} labels")


if __name__ == "__main__":
    main()
