"""Stage `base`: the weights that LangPose pretraining starts from (sections 4.1, 4.2)."""

import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from langpose.clips import ClipsConfig, MotionClips
from langpose.model.langpose import LangPose, LangPoseConfig
from langpose.model.motionbert import start_from
from langpose.tasks import BaseConfig, CorruptedClips, ReconstructionTask
from pipeline import layout, params, training_cell


def main(profile: str, seed_text: str) -> None:
    seed, out = int(seed_text), layout.base(profile, int(seed_text))
    clips_config = params.section(profile, "clips", ClipsConfig)
    config = params.section(profile, "base", BaseConfig)
    model_config = params.section(profile, "model", LangPoseConfig)
    model = LangPose(model_config, seed)

    facts = {"seed": seed, training_cell.START: "new weights"}
    if config.checkpoint is not None:  # MotionBERT's released weights, as the paper
        new = start_from(model, config.checkpoint)
        facts[training_cell.START] = training_cell.file_fact(Path(config.checkpoint))
        print(f"{config.checkpoint}: loaded; new, and trained from here on: {', '.join(new)}", file=sys.stderr)
        training_cell.write(out, model, pd.DataFrame({"epoch": [0], "step": [0]}), {"steps": 0}, facts)
        return

    if training_cell.shared_out(config.training):
        return
    folder = layout.data(profile)
    clips = MotionClips(folder, clips_config, ["train"], config.stride, seed)
    task = ReconstructionTask(
        model.pose_encoder,
        CorruptedClips(clips, config.corruption, seed, config.flip_probability),
        CorruptedClips(MotionClips(folder, clips_config, ["val"], config.stride, 0), config.corruption, 0),
        config.losses,
        clips_config.mm_per_unit,
        config.validation_clips,
    )
    parameters = {"base": asdict(config), "clips": asdict(clips_config), "model": asdict(model_config)}
    history = training_cell.run(
        out, task, config.training, seed, parameters, [folder / "motions" / "sequences.parquet", folder / "views"]
    )
    training_cell.write(out, model, history, training_cell.final_metrics(history, config.training.keep), facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
