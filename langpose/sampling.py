"""Which clips make a batch, and how they are put together: a function of (seed, epoch) alone."""

import signal
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

_AHEAD = 2
"""Batches that are made while the last one is computed on, where no worker processes do it."""


class Clips(Protocol):
    """A data set whose items are dicts of arrays and numbers, redrawn each epoch."""

    def set_epoch(self, epoch: int) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, item: int) -> dict[str, Any]: ...


def batch_order(clips: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """(steps, batch) items of an epoch: a permutation drawn from (seed, epoch); what does not fill a batch waits.

    Every batch is full: in a smaller one the alignment would have fewer negatives.
    """
    steps = clips // batch_size
    if steps == 0:
        raise ValueError(f"{clips} clips do not fill a batch of {batch_size}; use a smaller batch_size or more data")
    order = np.random.default_rng([seed, epoch]).permutation(clips)[: steps * batch_size]
    return order.reshape(steps, batch_size)


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Items to a batch, a key at a time."""
    return {key: torch.from_numpy(np.stack([np.asarray(item[key]) for item in items])) for key in items[0]}


def batches(clips: Clips, order: np.ndarray, workers: int) -> Generator[dict[str, Tensor], None, None]:
    """Batches in the given order; the number of workers changes nothing but the speed. 0: a thread of this process."""
    if workers == 0:
        ahead: deque[Future[dict[str, Tensor]]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="clips") as thread:
            for items in order:
                ahead.append(thread.submit(lambda items: collate([clips[int(item)] for item in items]), items))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
    else:
        loader = iter(
            torch.utils.data.DataLoader(
                clips,  # type: ignore[arg-type]
                batch_sampler=[row.tolist() for row in order],
                num_workers=workers,
                collate_fn=collate,
                worker_init_fn=_outlive_signals,
                generator=torch.Generator(),  # the loader draws a number of its own; not from the global generator
            )
        )
        try:
            yield from loader
        finally:
            # An error's traceback keeps the loader alive, and workers that outlive SIGTERM would hold up the exit.
            loader._shutdown_workers()  # type: ignore[attr-defined]


def _outlive_signals(_worker: int) -> None:
    """Schedulers and terminals signal a whole process group. The trainer decides when to stop: a worker that died
    first would fail it before its state is saved. Workers end with the trainer in any case."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
