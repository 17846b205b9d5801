"""Losses of pretraining and fine-tuning (sections 3.2 and 3.3).

    s_ij   = exp(h_P^i · h_W^j / τ) / Σ_k exp(h_P^i · h_W^k / τ)              Eq. 1
    L_con  = Σ_ij (1 - s_ij)^γ  y_ij log(y_ij / s_ij)                          Eq. 2
    L_3D   = Σ ‖X̂ - X‖₂,   L_v = Σ ‖(X̂_t - X̂_{t-1}) - (X_t - X_{t-1})‖₂      Eq. 3, 4
    L      = λ_con L_con + λ_3D L_3D + λ_v L_v                                 Eq. 5

h_P, h_W (B, D) unit embeddings of clips and of their texts; X, X̂ (B, T, J, 3) joints, X̂ the truth. The negatives of a
clip are the other texts of the batch (K = B - 1; not in the paper, which draws unmatched texts at random) and, as an
option, M pairs of earlier batches (K = B - 1 + M).

Deviation: sums are means here. The paper prints sums, but builds on MotionBERT, whose losses are means; with sums over
T·J = 4131 joints the published λ_con = 0.5 would weigh the alignment 4131 times less.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

TO_TEXTS = ("focal_kl", "infonce")
"""Alignments with texts, not with classes, by a variant's names for them."""

_SMALLEST_MISS = 1e-6
"""1 - s is kept above this: its power has an infinite slope at 0 where γ < 1."""


class Pairs(NamedTuple):
    """Embeddings of clips and of their texts, and labels: (M, D), (M, D), (M,); equal labels for equal texts."""

    pose: Tensor
    text: Tensor
    label: Tensor


def similarity(h_pose: Tensor, h_text: Tensor, temperature: float) -> Tensor:
    """Logits of Eq. 1: h_P^i · h_W^j / τ, (B, D) and (N, D) -> (B, N), in float32. A row's softmax is s_ij."""
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, found {temperature}")
    with torch.autocast(h_pose.device.type, enabled=False):
        return h_pose.float() @ h_text.float().T / temperature


def _both_ways(h_pose: Tensor, h_text: Tensor, temperature: float, memory: Pairs | None) -> tuple[Tensor, Tensor]:
    """Logits pose → text and text → pose, each (B, B + M): of the batch with itself, then with the memory."""
    texts, poses = (h_text, h_pose) if memory is None else (_join(h_text, memory.text), _join(h_pose, memory.pose))
    return similarity(h_pose, texts, temperature), similarity(h_text, poses, temperature)


def _join(batch: Tensor, remembered: Tensor) -> Tensor:
    return torch.cat([batch, remembered.to(batch.device, batch.dtype)])


def infonce(
    h_pose: Tensor, h_text: Tensor, temperature: float, symmetric: bool = False, memory: Pairs | None = None
) -> Tensor:
    """Plain InfoNCE: L = -mean_i log s_ii. One positive a row; equal texts elsewhere are negatives.

    ``h_pose``, ``h_text`` (B, D); ``memory``: M further pairs, all negatives; ``symmetric`` averages with text → pose,
    as CLIP does.
    """
    to_text, to_pose = _both_ways(h_pose, h_text, temperature, memory)
    own = torch.arange(len(to_text), device=to_text.device)
    loss = F.cross_entropy(to_text, own)
    return (loss + F.cross_entropy(to_pose, own)) / 2 if symmetric else loss


def uniform_targets(labels: Tensor, memory: Pairs | None = None) -> Tensor:
    """y_ij of Eq. 2 from ``labels`` (B,): uniform over the entries with the same label, of the batch and of the
    ``memory``. (B, B + M), rows sum to 1.

    Not in the paper, which only calls y_j the ground-truth similarity score. Where all labels differ this is one-hot.
    """
    others = labels if memory is None else _join(labels, memory.label)
    same = (labels[:, None] == others[None]).float()
    return same / same.sum(1, keepdim=True)


def similarity_targets(
    h_text: Tensor, labels: Tensor, temperature: float, share: float, memory: Pairs | None = None
) -> Tensor:
    """Soft y_ij: (1 - share) `uniform_targets` + share · softmax_j(h_W^i · h_W^j / τ). (B, B + M), rows sum to 1.

    Not in the paper: a "ground-truth similarity score" that gives related descriptions their part. The similarity
    of the texts is taken as it stands, without gradient; a share below 1 leaves each text's label its own part.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share of the texts' similarity must be at least 0 and below 1, found {share}")
    h_text = h_text.detach()
    texts = h_text if memory is None else _join(h_text, memory.text)
    return (1 - share) * uniform_targets(labels, memory) + share * similarity(h_text, texts, temperature).softmax(1)


def _focal_kl(logits: Tensor, y: Tensor, gamma: float) -> Tensor:
    log_s = logits.log_softmax(1)
    miss = (-torch.expm1(log_s)).clamp_min(_SMALLEST_MISS)  # 1 - s, exact also where s is nearly 1
    return (miss**gamma * (torch.xlogy(y, y) - y * log_s)).sum(1).mean()


def focal_kl(
    h_pose: Tensor,
    h_text: Tensor,
    labels: Tensor | None,
    gamma: float,
    temperature: float,
    symmetric: bool = False,
    targets: Tensor | None = None,
    memory: Pairs | None = None,
) -> Tensor:
    """Eq. 2: L = mean_i Σ_j (1 - s_ij)^γ y_ij log(y_ij / s_ij), 0 where y_ij = 0.

    ``h_pose``, ``h_text`` (B, D); ``labels`` (B,) long, equal for equal texts, from which y is made
    (`uniform_targets`); or ``targets`` (B, B + M) ≥ 0, rows summing to 1, in their place. ``memory``: M further pairs,
    positives where their label is the same, negatives elsewhere. γ = 0 and one-hot y is `infonce`. Eq. 1 is pose →
    text; ``symmetric`` averages with text → pose, for which row i of y, how alike pair i and pair j are, is the same.
    Deviation: a mean over the batch instead of a sum. With γ > 0 single terms, and so the loss, can be below 0 where y
    has unequal shares; the printed equation has that.
    """
    if gamma < 0:
        raise ValueError(f"gamma must be at least 0, found {gamma}")
    if (labels is None) == (targets is None):
        raise ValueError("give either labels (B,) or targets (B, B), with a memory (B, B + M)")
    y = uniform_targets(labels, memory) if labels is not None else targets.float()  # type: ignore[union-attr]
    to_text, to_pose = _both_ways(h_pose, h_text, temperature, memory)
    if y.shape != to_text.shape:
        raise ValueError(f"targets for {len(to_text)} clips must be {tuple(to_text.shape)}, found {tuple(y.shape)}")
    loss = _focal_kl(to_text, y, gamma)
    if not symmetric:
        return loss
    return (loss + _focal_kl(to_pose, y, gamma)) / 2


def action_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of one-hot actions: ``logits`` (B, K), ``classes`` (B,) in 0..K-1, or -1 for clips without one.

    The `mtl` variant: the alternative that section 1 argues against. A batch without any action gives 0.
    """
    total = F.cross_entropy(logits.float(), classes, ignore_index=-1, reduction="sum")
    return total / (classes >= 0).sum().clamp_min(1)


def _check(pred: Tensor, gt: Tensor) -> None:
    if pred.shape != gt.shape:
        raise ValueError(f"prediction {tuple(pred.shape)} and ground truth {tuple(gt.shape)} must have one shape")


def mpjpe_loss(pred: Tensor, gt: Tensor) -> Tensor:
    """L_3D = mean over B, T, J of ‖X̂ - X‖₂ (Eq. 3 as a mean); (B, T, J, 3), in the input's unit."""
    _check(pred, gt)
    return torch.linalg.vector_norm(pred - gt, dim=-1).mean()


def velocity_loss(pred: Tensor, gt: Tensor) -> Tensor:
    """L_v = mean over B, T-1, J of ‖V̂ - V‖₂ with V_t = X_t - X_{t-1} (Eq. 4 as a mean); 0 for a single frame."""
    _check(pred, gt)
    if pred.shape[1] < 2:
        return pred.sum() * 0
    return torch.linalg.vector_norm((pred - gt).diff(dim=1), dim=-1).mean()


def n_mpjpe_loss(pred: Tensor, gt: Tensor) -> Tensor:
    """Mean of ‖c X - X̂‖₂ with each frame's best scale c = ⟨X, X̂⟩ / ⟨X, X⟩ of the prediction X.

    MotionBERT's pretraining adds half of it (`base`); the paper's Eq. 5 does not.
    """
    _check(pred, gt)
    norm = pred.square().sum((-2, -1), keepdim=True)
    scale = (pred * gt).sum((-2, -1), keepdim=True) / norm.clamp_min(1e-12)
    return mpjpe_loss(scale * pred, gt)


def reconstruction_loss(pred: Tensor, gt: Tensor, lambda_3d: float = 1.0, lambda_v: float = 20.0) -> Tensor:
    """λ_3D L_3D + λ_v L_v (Eq. 5 without alignment; section 3.3), with the paper's weights. Computed in float32."""
    pred, gt = pred.float(), gt.float()
    return lambda_3d * mpjpe_loss(pred, gt) + lambda_v * velocity_loss(pred, gt)
