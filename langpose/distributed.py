"""Several processes that train as one (torch's DDP): each has its share of every batch, one a GPU.

Gradients are averaged by DDP, so a loss that is a mean over clips needs nothing of this. The alignment compares each
clip with the texts of the whole batch (Eq. 1): embeddings are `gathered`, and every process computes the whole loss.
"""

import torch
from torch import Tensor
from torch import distributed as dist


def rank_and_size() -> tuple[int, int]:
    """(number of this process, of how many): (0, 1) where there is one."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def gathered(values: Tensor) -> Tensor:
    """``values`` (B, ...) of all processes, in the processes' order: (processes · B, ...), all of one B.

    Gradients flow back to every process. Each computes the same loss of what it is given, so a value's gradient comes
    back once from every process; DDP's average over them makes it that of one process with the whole batch.
    """
    if rank_and_size()[1] == 1:
        return values
    if values.requires_grad:
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(values))
    parts = [torch.empty_like(values) for _ in range(rank_and_size()[1])]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def largest(number: int, device: torch.device) -> int:
    """The largest of all processes' numbers, known to all."""
    if rank_and_size()[1] == 1:
        return number
    shared = torch.tensor(number, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def mean(values: Tensor) -> Tensor:
    """The mean of all processes' ``values``, on the device and known to all."""
    size = rank_and_size()[1]
    if size > 1:
        dist.all_reduce(values)
        values /= size
    return values
