"""What `base`, `pretrain` and `finetune` learn: tasks for langpose.training's loop.

base      3D poses from noisy 2D poses with hidden joints and frames (MotionBERT's pretraining; section 4.1)
pretrain  the same from the paper's three kinds of corruption, and agreement with the label's text (Eq. 5)
finetune  3D poses from a data set's 2D poses, pose encoder alone (section 3.3)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from langpose import losses
from langpose.corruption import CorruptionConfig, corrupt
from langpose.distributed import gathered
from langpose.losses import TO_TEXTS, Pairs
from langpose.memory import EmbeddingMemory
from langpose.model.langpose import LangPose
from langpose.sampling import Clips, collate
from langpose.skeleton import flip
from langpose.training import Task, TrainingConfig

_CORRUPTION, _FLIP = 1, 2  # streams of an item's generator


class CorruptedClips(torch.utils.data.Dataset[dict[str, Any]]):
    """Clips of motion as training pairs: x, the corrupted 2D input, and y, the root-relative 3D target.

    ``clips`` gives ``motion`` (T, 17, 3) float32 in model units, whose x and y are the orthographic 2D projection. The
    target is taken root-relative after the 2D, which keeps its place in the image (MotionBERT). Everything is drawn
    from (seed, epoch, item).
    """

    def __init__(self, clips: Any, corruption: CorruptionConfig, seed: int, flip_probability: float = 0.0) -> None:
        self.clips, self.corruption, self.seed, self.flip_probability = clips, corruption, seed, flip_probability
        self.epoch = 0
        self.labels: list[str] = list(getattr(clips, "labels", []))  # the texts that ``label`` points into, if any

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.clips.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int) -> dict[str, Any]:
        clip = self.clips[item]
        motion = np.asarray(clip["motion"], dtype=np.float32)
        if self.flip_probability:
            coin = np.random.default_rng([self.seed, self.epoch, item, _FLIP]).random()
            motion = flip(motion) if coin < self.flip_probability else motion
        rng = np.random.default_rng([self.seed, self.epoch, item, _CORRUPTION])
        x = corrupt(motion[..., :2], self.corruption, rng)
        y = motion - motion[:, :1]
        return {"x": x.astype(np.float32), "y": y, "label": np.int64(clip.get("label_index", -1))}


@dataclass(frozen=True)
class LossWeights:
    """Weights of the reconstruction losses."""

    lambda_3d: float = 1.0
    """Of the joint positions (paper 4.1)."""
    lambda_v: float = 20.0
    """Of the joint velocities (paper 4.1)."""
    lambda_scale: float = 0.0
    """Of MotionBERT's scale-free position loss, 0.5 there; the paper has none."""

    def loss(self, predicted: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum and its terms, in float32."""
        predicted, y = predicted.float(), y.float()
        terms = {"position": losses.mpjpe_loss(predicted, y), "velocity": losses.velocity_loss(predicted, y)}
        total = self.lambda_3d * terms["position"] + self.lambda_v * terms["velocity"]
        if self.lambda_scale:
            terms["scale"] = losses.n_mpjpe_loss(predicted, y)
            total = total + self.lambda_scale * terms["scale"]
        return total, terms


def validation_batches(clips: Clips, batch_size: int, limit: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Up to ``limit`` clips spread evenly over ``clips``, as epoch 0 draws them: the same in every validation."""
    clips.set_epoch(0)
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(limit, len(clips))).round().astype(int))
    for start in range(0, len(chosen), batch_size):
        batch = collate([clips[int(item)] for item in chosen[start : start + batch_size]])
        yield {key: value.to(device) for key, value in batch.items()}


def error_sum(predicted: Tensor, y: Tensor) -> float:
    """Each clip's MPJPE, root-relative, summed over the clips (B, T, J, 3); in the unit of ``y``."""
    predicted = predicted.float()
    return float((predicted - predicted[:, :, :1] - y).norm(dim=-1).mean((1, 2)).sum())


@dataclass(frozen=True)
class BaseConfig:
    """Section `base`: MotionBERT-style pretraining of the pose encoder."""

    checkpoint: str | None = None
    """A released MotionBERT checkpoint to start from instead; its training is then skipped."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    losses: LossWeights = field(default_factory=lambda: LossWeights(lambda_scale=0.5))
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    flip_probability: float = 0.5
    """Chance that a clip is mirrored (MotionBERT)."""
    stride: int = 81
    """Frames between the starts of clips (MotionBERT: 81)."""
    validation_clips: int = 512
    """How many validation clips to score. Not in the paper."""


class ReconstructionTask(Task):
    """Reconstruction alone: `base`, and `finetune` on clips that come with x and y."""

    def __init__(
        self, model: Any, clips: Clips, validation: Clips | None, weights: LossWeights, mm_per_unit: float, limit: int
    ) -> None:
        self.model, self.clips, self.validation = model, clips, validation
        self.weights, self.mm_per_unit, self.limit = weights, mm_per_unit, limit

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.weights.loss(self.model(batch["x"]), batch["y"])

    def validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        total, clips = 0.0, 0
        for batch in validation_batches(self.validation, 64, self.limit, next(self.model.parameters()).device):
            total += error_sum(self.model(batch["x"]), batch["y"])
            clips += len(batch["x"])
        return {"val_mpjpe": total / clips * self.mm_per_unit}


PAPER_MASKS = {"joint_frame": 0.5, "body_part": 0.25, "time_window": 0.25}
"""Section 3.2, "Objective function"."""


@dataclass(frozen=True)
class Variant:
    """A row of the grid (design of Tables 3 and 4): what pretraining adds to the base weights."""

    pretraining: bool = True
    """False: no LangPose pretraining, the base weights are handed on."""
    masks: dict[str, float] = field(default_factory=dict)
    """Kind of mask → its share of the clips: joint_frame, body_part, time_window (paper 3.2: 50/25/25)."""
    noise: bool = True
    """Detection noise on the 2D input."""
    alignment: Literal["none", "focal_kl", "infonce", "one_hot"] = "none"
    """Loss between pose and text: the paper's (Eq. 2), the plain InfoNCE, an action head, or none."""


@dataclass(frozen=True)
class PretrainConfig:
    """Section `pretrain`: masked motion modelling and alignment (section 3.2), common to all variants."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    corruption: CorruptionConfig = field(default_factory=lambda: CorruptionConfig(masks=dict(PAPER_MASKS)))
    """Sizes of the masks; which kinds are drawn, and noise, are the variant's: ``masks`` and ``noise`` here are those
    that every variant is validated with, so that their scores can be compared. Paper 3.2: 50/25/25, noise."""
    lambda_con: float = 0.5
    """Weight of the alignment loss (paper 4.1)."""
    gamma: float = 2.0
    """Focal exponent of Eq. 2. Not in the paper: the focal loss's own default [22]."""
    temperature: float = 0.07
    """τ of Eq. 1. Not in the paper: that of CLIP and MoCo."""
    symmetric: bool = False
    """Also align text → pose. Eq. 1 is pose → text alone."""
    memory: int = 0
    """Earlier pairs, of batches or of their parts, to compare with too; 0: K is the batch's rest. Not in the paper."""
    soft_targets: float = 0.0
    """Share of y_j by the texts' similarity (focal_kl); 0: clips with the same label alone. Not in the paper."""
    sampling: Literal["uniform", "inverse_sqrt"] = "uniform"
    """inverse_sqrt draws clips by 1/√(their label's count). Not in the paper, which leaves imbalance to the loss."""
    validation_clips: int = 256
    """How many validation clips to score. Not in the paper."""

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise ValueError(f"memory is {self.memory}; expected at least 0 pairs")
        if not 0 <= self.soft_targets < 1:
            raise ValueError(f"soft_targets is {self.soft_targets}; expected at least 0 and below 1")


class ResampledClips(torch.utils.data.Dataset[dict[str, Any]]):
    """Clips drawn with replacement by 1/√(count of their label), anew each epoch, from (seed, epoch).

    A clip that is drawn twice in an epoch shows the same window, under another corruption.
    """

    def __init__(self, clips: Any, label_index: np.ndarray, seed: int) -> None:
        self.clips, self.seed = clips, seed
        labels = np.asarray(label_index)
        weight = 1 / np.sqrt(np.bincount(labels)[labels])
        self.share = weight / weight.sum()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.drawn = np.random.default_rng([self.seed, epoch, 3]).choice(len(self.share), len(self.share), p=self.share)
        self.clips.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.clips[int(self.drawn[item])]


class PretrainTask(Task):
    """Masked motion modelling, and alignment as the variant has it: Eq. 5.

    ``labels`` are the texts that clips' ``label`` points into; ``classes`` (L,) their action class for ``one_hot``
    (-1: none). ``validation`` clips point into texts of their own, `CorruptedClips.labels`; where there are none, and
    for ``one_hot``, whose classes are the training clips', they are scored by reconstruction alone.
    """

    def __init__(
        self,
        model: LangPose,
        clips: Clips,
        validation: Clips | None,
        config: PretrainConfig,
        alignment: str,
        labels: Sequence[str],
        classes: Sequence[int] = (),
        mm_per_unit: float = 1000.0,
    ) -> None:
        self.model: Any = model
        self.clips, self.validation, self.config = clips, validation, config
        self.alignment, self.labels, self.mm_per_unit = alignment, list(labels), mm_per_unit
        self.classes = torch.tensor(classes, dtype=torch.long)
        self.memory: EmbeddingMemory | None = None
        if config.memory and alignment in TO_TEXTS:
            self.memory = EmbeddingMemory(config.memory, model.config.embed_dim)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the weights: the memory of earlier batches."""
        return {} if self.memory is None else self.memory.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        if self.memory is not None:
            self.memory.load_state(tensors)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        joints, h_pose = self.model(batch["x"])
        total, terms = self.config.losses.loss(joints, batch["y"])
        if self.alignment == "none":
            return total, terms
        label = gathered(batch["label"])
        if self.alignment == "one_hot":
            logits = gathered(self.model.action_logits(h_pose))  # clips without a class do not count: no plain mean
            terms["alignment"] = losses.action_loss(logits, self.classes.to(label.device)[label])
        else:
            h_text = gathered(self._texts(batch["label"], self.labels))
            h_pose = gathered(h_pose)
            remembered = None if self.memory is None else self.memory.pairs
            terms["alignment"] = self._align(h_pose, h_text, label, remembered)
            if self.memory is not None:
                self.memory.push(h_pose, h_text, label)
        return total + self.config.lambda_con * terms["alignment"], terms

    def _texts(self, label: Tensor, texts: Sequence[str]) -> Tensor:
        """Embeddings (B, D) of the texts that ``label`` (B,) points to, each text encoded once."""
        used, place = label.unique(return_inverse=True)
        return self.model.encode_text([texts[i] for i in used.tolist()])[place]

    def _align(self, h_pose: Tensor, h_text: Tensor, label: Tensor, memory: Pairs | None = None) -> Tensor:
        """Loss between global poses (B, D) and their texts (B, D), as the variant has it."""
        c = self.config
        if self.alignment == "infonce":
            return losses.infonce(h_pose, h_text, c.temperature, c.symmetric, memory)
        y = losses.similarity_targets(h_text, label, c.temperature, c.soft_targets, memory)
        return losses.focal_kl(h_pose, h_text, None, c.gamma, c.temperature, c.symmetric, y, memory)

    def validate(self) -> dict[str, float]:
        """``val_mpjpe`` in mm and, where there are texts to align with, ``val_alignment``: the loss over batches of the
        training's size, as it depends on the number of negatives; what does not fill one is left out of it."""
        if self.validation is None:
            return {}
        c, total, clips = self.config, 0.0, 0
        texts: list[str] = getattr(self.validation, "labels", [])
        aligned = self.alignment in TO_TEXTS and bool(texts)
        size = c.training.batch_size // c.training.accumulate  # clips that are each other's negatives
        alignment: list[float] = []
        device = next(self.model.parameters()).device
        for batch in validation_batches(self.validation, size * max(1, 64 // size), c.validation_clips, device):
            joints, h_pose = self.model(batch["x"])
            total += error_sum(joints, batch["y"])
            clips += len(joints)
            for at in range(0, len(joints) - size + 1 if aligned else 0, size):
                part = slice(at, at + size)
                h_text = self._texts(batch["label"][part], texts)
                alignment.append(float(self._align(h_pose[part], h_text, batch["label"][part])))
        scores = {"val_mpjpe": total / clips * self.mm_per_unit}
        return scores | ({"val_alignment": float(np.mean(alignment))} if alignment else {})


@dataclass(frozen=True)
class FinetuneConfig:
    """Section `finetune`, one entry a data set (section 3.3)."""

    clip_len: int
    """T, frames a clip (paper: 243 on Human3.6M, 81 on MPI-INF-3DHP)."""
    stride: int
    """Frames between the starts of training clips (81 in MotionBERT, 9 in MotionAGFormer)."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    protocol: Literal["reference", "exact"] = "reference"
    """How sequences are cut into clips."""
    input_2d: Literal["detected", "ground_truth"] | None = None
    """Which 2D the model sees; null: the data set's own (detected on Human3.6M, ground truth on MPI-INF-3DHP)."""
    fraction: float = 1.0
    """Share of the training sequences to use."""
    validation_clips: int = 512
    """How many validation clips to score. Not in the paper."""
