"""How far <POSE> moves what MotionBERT's weights give, by how it starts: the number in reports/LOG.md.

    make repro && .venv/bin/python benchmarks/token_start.py      about 3 minutes on 2 cores; needs data/demo

Trains the demo's `base` without the token (as MotionBERT is), for longer, then puts the token beside its weights. No
released weights of MotionBERT are needed; with a checkpoint of your own, the same few lines at the end do.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from langpose.clips import ClipsConfig, MotionClips
from langpose.model.langpose import LangPoseConfig
from langpose.model.motionbert import load_checkpoint
from langpose.model.pose_encoder import PoseEncoder
from langpose.tasks import BaseConfig, CorruptedClips, ReconstructionTask, validation_batches
from langpose.training import train
from pipeline import layout, params

PROFILE = "demo"


def main() -> None:
    folder = layout.data(PROFILE)
    if not (folder / "views").is_dir():
        sys.exit(f"{folder}/views is missing; run `make repro` first")
    clips, base = params.section(PROFILE, "clips", ClipsConfig), params.section(PROFILE, "base", BaseConfig)
    config = replace(params.section(PROFILE, "model", LangPoseConfig).pose, pose_token=False)
    mm = clips.mm_per_unit
    trained = PoseEncoder(config, seed=0)
    held = CorruptedClips(MotionClips(folder, clips, ["val"], base.stride), base.corruption, 0)
    drawn = MotionClips(folder, clips, ["train"], base.stride)
    task = ReconstructionTask(
        trained, CorruptedClips(drawn, base.corruption, 0, base.flip_probability), held, base.losses, mm, 512
    )
    training = replace(base.training, epochs=12, steps_per_epoch=60)
    with tempfile.TemporaryDirectory() as work:
        train(task, training, 0, Path(work), {})

    batches = list(validation_batches(held, 64, 512, torch.device("cpu")))
    x, y = (torch.cat([batch[key] for batch in batches]) for key in ("x", "y"))

    def show(name: str, joints: torch.Tensor) -> None:
        moved = float((joints - plain).norm(dim=-1).mean()) * mm
        error = float((joints - joints[:, :, :1] - y).norm(dim=-1).mean()) * mm
        print(f"{name:24} moved by {moved:5.2f} mm   MPJPE {error:7.2f} mm")

    with torch.inference_mode():
        plain = trained(x)
        show("without token", plain)
        encoder = load_checkpoint(trained.state_dict(), replace(config, pose_token=True)).eval()
        show("as a hidden frame (ours)", encoder(x))
        for name in encoder.token_names:
            encoder.state_dict()[name].zero_()
        show("zero", encoder(x))
        for seed in range(3):
            fresh = PoseEncoder(encoder.config, seed).state_dict()
            encoder.load_state_dict({name: fresh[name] for name in encoder.token_names}, strict=False)
            show(f"drawn, seed {seed}", encoder(x))


if __name__ == "__main__":
    main()
