"""Stage `embed`: global pose embeddings of held-out labelled clips; retrieval and recognition (section 4.3)."""

import json
import sys
from dataclasses import dataclass, field

import numpy as np
import torch

from langpose import embeddings
from langpose.clips import ClipsConfig, PretrainClips
from langpose.devices import pick_device
from langpose.losses import TO_TEXTS
from langpose.model.langpose import LangPose
from langpose.sampling import collate
from langpose.storage import replacing
from pipeline import layout, params


@dataclass(frozen=True)
class EmbedConfig:
    """Parameters of the stage."""

    splits: list[str] = field(default_factory=lambda: ["val", "test"])
    """Whose clips to embed: subjects outside pretraining's training split."""
    clips_per_pair: int = 1
    """Clips cut from each label's stretch: its middle if one, else drawn."""
    batch_size: int = 64
    """Clips at a time."""
    neighbours: int = 5
    """k of the nearest-neighbour recognition."""


def main(profile: str, variant: str, seed_text: str) -> None:
    seed = int(seed_text)
    config = params.section(profile, "embed", EmbedConfig)
    clips_config = params.section(profile, "clips", ClipsConfig)
    alignment = params.load(profile)["variants"][variant].get("alignment", "none")
    device = pick_device("auto")
    model = LangPose.from_pretrained(layout.pretrained(profile, variant, seed)).to(device)
    # one drawn clip a pass; passes differ by their epoch
    clips = PretrainClips(layout.data(profile), clips_config, config.splits, seed=0, fixed=config.clips_per_pair == 1)
    averages, poses = [], []
    with torch.inference_mode():
        for epoch in range(config.clips_per_pair):
            clips.set_epoch(epoch)
            for start in range(0, len(clips), config.batch_size):
                items = [clips[i] for i in range(start, min(start + config.batch_size, len(clips)))]
                motion = collate(items)["motion"]
                x = torch.cat([motion[..., :2], torch.ones_like(motion[..., :1])], -1).to(
                    device
                )  # clean 2D, full confidence
                averages.append(model.average_pool(x).cpu())
                poses.append(model.encode_pose(x).cpu())
        names = np.unique([c[0] for c in clips.pairs["categories"] if len(c)])
        texts = [*clips.labels, *names.tolist()]
        text = model.encode_text(texts).cpu().numpy() if alignment in TO_TEXTS else None
    average, pose = torch.cat(averages).numpy(), torch.cat(poses).numpy()
    passes = config.clips_per_pair
    label = np.tile(clips.label_index, passes)
    category = np.tile([c[0] if len(c) else "" for c in clips.pairs["categories"]], passes)
    recordings = clips.sequences.set_index("sequence")["recording"]
    recording = np.tile(recordings.loc[clips.pairs["sequence"]].to_numpy(dtype=str), passes)
    rows = zip(clips.pairs["label"], clips.pairs["categories"], clips.pairs["kind"], strict=True)
    verb = np.tile([embeddings.verb_of(t, c) or "" if kind == "action" else "" for t, c, kind in rows], passes)

    k, known = config.neighbours, category != ""
    features = pose if alignment != "none" else average
    metrics = embeddings.nearest_neighbours(features[known], category[known], recording[known], k)
    if text is not None:
        label_text, class_text = np.split(text, [len(clips.labels)])
        metrics |= embeddings.zero_shot(pose[known], class_text, np.searchsorted(names, category[known]))
        metrics |= embeddings.retrieval(pose, label_text, label)
    folder = layout.embedded(profile, variant, seed)
    with replacing(folder / "embeddings.npz") as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(
            handle,
            average=average,
            pose=pose,
            label=label,
            labels=np.array(clips.labels),
            verb=verb,
            category=category,
            recording=recording,
            pair=np.tile(clips.pairs["pair"].to_numpy(), passes),
        )
    with replacing(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
