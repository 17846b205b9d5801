"""Stage `embed`: global pose embeddings of held-out labelled clips; retrieval and recognition (section 4.3)."""

import json
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from langpose import embeddings
from langpose.clips import ClipsConfig, PretrainClips
from langpose.devices import pick_device
from langpose.losses import TO_TEXTS
from langpose.model.langpose import LangPose
from langpose.model.text_encoder import MINILM, TextConfig, TextEncoder
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
    same_text: float = 0.95
    """Similarity, (1 + cosine) / 2, above which two texts count as the same in retrieval. Not in the paper: TMR's, by
    all-MiniLM-L6-v2 (packaged, whatever the model's own text encoder is) in place of TMR's all-mpnet-base-v2."""


@torch.inference_mode()
def main(profile: str, variant: str, seed_text: str) -> None:
    seed, folder = int(seed_text), layout.data(profile)
    config = params.section(profile, "embed", EmbedConfig)
    alignment = params.load(profile)["variants"][variant].get("alignment", "none")
    model = LangPose.from_pretrained(layout.pretrained(profile, variant, seed)).to(pick_device("auto"))
    passes, k = config.clips_per_pair, config.neighbours
    clips = PretrainClips(folder, params.section(profile, "clips", ClipsConfig), config.splits, 0, fixed=passes == 1)
    average, pose = embed(model, clips, config)
    recordings = clips.sequences.set_index("sequence").loc[clips.pairs["sequence"]]
    rows = zip(clips.pairs["label"], clips.pairs["categories"], clips.pairs["kind"], strict=True)
    facts: dict[str, Any] = {
        "label": clips.label_index,
        "verb": [embeddings.verb_of(t, c) or "" if kind == "action" else "" for t, c, kind in rows],
        "category": [c[0] if len(c) else "" for c in clips.pairs["categories"]],
        "recording": recordings["recording"].to_numpy(dtype=str),
        "subject": recordings["subject"].to_numpy(dtype=str),
        "pair": clips.pairs["pair"].to_numpy(),
    }
    facts = {name: np.tile(values, passes) for name, values in facts.items()}

    known = facts["category"] != ""
    category, recording, subject = (facts[name][known] for name in ("category", "recording", "subject"))
    features = (pose if alignment != "none" else average)[known]
    metrics = embeddings.nearest_neighbours(features, category, recording, k)
    metrics |= embeddings.nearest_neighbours(features, category, subject, k, f"knn{k}_subjects")
    if alignment == "one_hot":
        logits = model.action_logits(torch.from_numpy(features).to(next(model.parameters()).device)).cpu().numpy()
        metrics |= embeddings.recognition_of_known(logits, model.config.action_classes, category, "head")
    if alignment in TO_TEXTS:
        names, trained = np.unique(category), embeddings.trained_classes(pd.read_parquet(folder / "pairs.parquet"))
        text = [model.encode_text(list(texts)).cpu().numpy() for texts in (clips.labels, names.tolist(), trained)]
        encoder = TextEncoder(TextConfig(MINILM, layers=6, max_length=256))
        same = embeddings.near_duplicates(embeddings.sentences(encoder, clips.labels), config.same_text)
        strict = embeddings.retrieval(pose, text[0], facts["label"])
        metrics |= embeddings.zero_shot(features, text[1], np.searchsorted(names, category))
        metrics |= embeddings.recognition_of_known(features @ text[2].T, trained, category, "zero_shot_known")
        metrics |= embeddings.retrieval(pose, text[0], facts["label"], same)
        metrics |= {f"strict/{name}": value for name, value in strict.items() if "/" in name}
    out = layout.embedded(profile, variant, seed)
    with replacing(out / "embeddings.npz") as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, average=average, pose=pose, labels=np.array(clips.labels), **facts)
    with replacing(out / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def embed(model: LangPose, clips: PretrainClips, config: EmbedConfig) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) average features, (N, D) global poses of clean 2D with full confidence; a clip of each pair a pass."""
    averages, poses = [], []
    for epoch in range(config.clips_per_pair):  # passes differ by their epoch
        clips.set_epoch(epoch)
        for start in range(0, len(clips), config.batch_size):
            items = [clips[i] for i in range(start, min(start + config.batch_size, len(clips)))]
            motion = collate(items)["motion"]
            x = torch.cat([motion[..., :2], torch.ones_like(motion[..., :1])], -1)
            x = x.to(next(model.parameters()).device)
            averages.append(model.average_pool(x).cpu())
            poses.append(model.encode_pose(x).cpu())
    return torch.cat(averages).numpy(), torch.cat(poses).numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
