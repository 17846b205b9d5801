"""A memory of the embeddings of past batches: more negatives than a batch of 16 has (Eq. 1's K; an option)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from langpose.losses import Pairs


class EmbeddingMemory:
    """The last ``size`` pairs of global pose and text, first in first out, without gradient.

    They were made by slightly older weights, as in MoCo's queue. Its content belongs to a training's state: `state` and
    `load_state` carry it through a checkpoint.
    """

    def __init__(self, size: int, dim: int) -> None:
        if size < 1:
            raise ValueError(f"a memory of {size} embeddings; expected at least 1")
        self.size = size
        self.pairs = Pairs(torch.zeros(0, dim), torch.zeros(0, dim), torch.zeros(0, dtype=torch.long))

    def push(self, h_pose: Tensor, h_text: Tensor, labels: Tensor) -> None:
        """Remember a batch: (B, D), (B, D), (B,). What is more than ``size`` pairs old is forgotten."""
        new = (h_pose.detach().float(), h_text.detach().float(), labels)
        self.pairs = Pairs(*(torch.cat([n, o.to(n.device)])[: self.size] for n, o in zip(new, self.pairs, strict=True)))

    def state(self) -> dict[str, Tensor]:
        """Content, for a checkpoint."""
        return self.pairs._asdict()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
        self.pairs = Pairs(**tensors)
