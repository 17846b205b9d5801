"""Short trainings of every kind of task, saved to a folder: alone, or under torch's launcher.

python -m tests.distributed_runs FOLDER PROCESSES
"""

import sys
from pathlib import Path

import numpy as np
import torch

from langpose import LangPose, LangPoseConfig
from langpose.distributed import rank_and_size
from langpose.model.text_encoder import TextConfig
from langpose.tasks import CorruptedClips, LossWeights, PretrainConfig, PretrainTask, ReconstructionTask
from langpose.training import TrainingConfig, train
from tests.test_tasks import BERT, LABELS, PAPER_MASKS, POSE, Motions, pose_encoder

CLASSES = [0, -1, 1, 0]
"""Of `LABELS`; one has none, so that parts of a batch count differently many clips."""


def outputs(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a model makes of eight clips and all texts: weights that no output depends on may differ."""
    x = torch.from_numpy(np.stack([CorruptedClips(Motions(8), PAPER_MASKS, 2)[i]["x"] for i in range(8)]))
    with torch.inference_mode():
        if not isinstance(model, LangPose):
            return {"joints": model(x)}
        joints, h_pose = model(x)
        return {"joints": joints, "pose": h_pose, "text": model.encode_text(LABELS)}


def run(folder: Path, processes: int, name: str, accumulate: int = 1, **changes: object) -> None:
    training = TrainingConfig(
        epochs=3, batch_size=8, accumulate=accumulate, processes=processes, learning_rate=1e-3, keep="last", threads=1,
        grad_clip=0.5, device="cpu", validate_every=2,
    )  # fmt: skip
    clips, held = CorruptedClips(Motions(32), PAPER_MASKS, 0), CorruptedClips(Motions(8), PAPER_MASKS, 1)
    if name == "reconstruction":
        task = ReconstructionTask(pose_encoder(), clips, held, LossWeights(), 1.0, 8)
    else:
        config = LangPoseConfig(POSE, TextConfig("minilm", layers=1), embed_dim=6, action_classes=["a", "b"], bert=BERT)
        model = LangPose(config, seed=2, pretrained_text=False)
        with torch.no_grad():  # far apart: where all texts are one, gradients are rounding alone
            model.text_encoder.bert.embeddings.word_embeddings.weight.mul_(50)
            for part in (model.text_encoder.bert.encoder, model.text_pool, model.pose_pool):
                for weight in part.parameters():
                    weight.mul_(5 if weight.ndim > 1 else 1)
        pretrain = PretrainConfig(training=training, **changes)
        task = PretrainTask(model, clips, held, pretrain, name, LABELS, CLASSES)
    place = folder / f"{name}-{accumulate}{'-memory' if changes else ''}"
    history = train(task, training, 0, place, {"name": name}, progress=False)
    if rank_and_size()[0] == 0:
        torch.save(outputs(task.model), place / "outputs.pt")
        history.to_csv(place / "history.csv", index=False)


def main(folder: str, processes: str) -> None:
    for name in ("reconstruction", "none", "focal_kl", "infonce", "one_hot"):
        run(Path(folder), int(processes), name)
    run(Path(folder), int(processes), "focal_kl", accumulate=2)
    run(Path(folder), int(processes), "focal_kl", memory=12)


if __name__ == "__main__":
    main(*sys.argv[1:])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
