"""Stage `pretrain`: masked motion modelling and alignment (section 3.2), from the base weights, a variant at a time."""

import sys
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from langpose.clips import ClipsConfig, PretrainClips
from langpose.model.langpose import LangPose
from langpose.tasks import CorruptedClips, PretrainConfig, PretrainTask, ResampledClips, Variant
from pipeline import layout, params, training_cell


def main(profile: str, variant_name: str, seed_text: str) -> None:
    seed, out = int(seed_text), layout.pretrained(profile, variant_name, int(seed_text))
    variant = params.section(profile, "variants", Variant, variant_name)
    base = layout.base(profile, seed)
    masks = ", ".join(f"{kind} {share:g}" for kind, share in variant.masks.items()) or "none"
    facts = {"variant": variant_name, "alignment": variant.alignment, "masks": masks, "seed": seed}
    if not variant.pretraining:  # the baseline: the base weights, handed on
        model = LangPose.from_pretrained(base)
        training_cell.write(out, model, pd.read_csv(base / "history.csv"), {"steps": 0}, facts)
        return

    clips_config = params.section(profile, "clips", ClipsConfig)
    config = params.section(profile, "pretrain", PretrainConfig)
    if training_cell.shared_out(config.training):
        return
    model = LangPose.from_pretrained(base)
    folder = layout.data(profile)
    corruption = replace(config.corruption, masks=variant.masks, noise=variant.noise)
    clips = PretrainClips(folder, clips_config, ["train"], seed)
    classes: list[int] = []
    if variant.alignment == "one_hot":
        model, classes = with_action_head(model, clips, seed)
    drawn = ResampledClips(clips, clips.label_index, seed) if config.sampling == "inverse_sqrt" else clips
    task = PretrainTask(
        model,
        CorruptedClips(drawn, corruption, seed),
        CorruptedClips(PretrainClips(folder, clips_config, ["val"], 0, fixed=True), config.corruption, 0),
        config,
        variant.alignment,
        clips.labels,
        classes,
        clips_config.mm_per_unit,
    )
    inputs = [folder / "pairs.parquet", folder / "motions" / "sequences.parquet", folder / "views", base]
    parameters = {"pretrain": asdict(config), "clips": asdict(clips_config), "variant": asdict(variant)}
    history = training_cell.run(out, task, config.training, seed, parameters, inputs)
    training_cell.write(out, model, history, training_cell.final_metrics(history, config.training.keep), facts)


def with_action_head(model: LangPose, clips: PretrainClips, seed: int) -> tuple[LangPose, list[int]]:
    """The model with a one-hot head over the training pairs' categories, and each label's class (its first one)."""
    first = clips.pairs.groupby("label")["categories"].first().map(lambda names: names[0] if len(names) else "")
    names = sorted(set(first) - {""})
    headed = LangPose(replace(model.config, action_classes=names), seed)
    headed.load_state_dict(model.state_dict(), strict=False)
    headed.provenance = model.provenance
    return headed, [names.index(c) if c else -1 for c in np.asarray(first[clips.labels])]


if __name__ == "__main__":
    main(*sys.argv[1:])
