"""Stage `finetune`: the pose encoder alone, on Human3.6M or MPI-INF-3DHP (section 3.3)."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langpose.lifting_sets import MPI_MM_PER_UNIT, NOMINAL_MM_PER_PX, LiftingClips
from langpose.model.langpose import LangPose
from langpose.tasks import FinetuneConfig, ReconstructionTask
from pipeline import layout, params, training_cell

MM_PER_UNIT = {"human36m": 500 * NOMINAL_MM_PER_PX, "mpi_inf_3dhp": MPI_MM_PER_UNIT}
"""For validation scores alone: Human3.6M's images are 1000 px wide, 500 px a unit, at a nominal mm a pixel."""


def finetune(
    profile: str, dataset: str, variant: str, seed: int, config: FinetuneConfig, out: Path, facts: dict[str, Any]
) -> None:
    """Train the pose encoder of a pretrained variant on ``dataset`` and write the model's folder ``out``."""
    if training_cell.shared_out(config.training):
        return
    source = layout.pretrained(profile, variant, seed)
    model = LangPose.from_pretrained(source, text=False)
    folder = layout.lifting(profile, dataset)
    common: dict[str, Any] = {"protocol": config.protocol, "input_2d": config.input_2d}
    clips = LiftingClips(folder, "train", config.clip_len, config.stride, seed, fraction=config.fraction, **common)
    validation = None
    if (folder / "val").is_dir():
        validation = LiftingClips(folder, "val", config.clip_len, config.clip_len, 0, augment=False, **common)
    task = ReconstructionTask(
        model.pose_encoder, clips, validation, config.losses, MM_PER_UNIT[dataset], config.validation_clips
    )
    parameters = {"finetune": asdict(config), "variant": variant}
    code = [Path(__file__)]  # stage `finetune_few` runs it too
    history = training_cell.run(out, task, config.training, seed, parameters, [folder, source], code)
    facts = {"fine-tuned on": dataset, "variant": variant, "seed": seed, **facts}
    training_cell.write(out, model, history, training_cell.final_metrics(history, config.training.keep), facts)


def main(profile: str, dataset: str, variant: str, seed_text: str) -> None:
    config = params.section(profile, "finetune", FinetuneConfig, dataset)
    seed = int(seed_text)
    finetune(profile, dataset, variant, seed, config, layout.finetuned(profile, dataset, variant, seed), {})


if __name__ == "__main__":
    main(*sys.argv[1:])
