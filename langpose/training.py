"""The training loop of `base`, `pretrain` and `finetune`: read it from top to bottom.

What is learnt is a `Task` (langpose/tasks.py). Everything random is a function of (seed, epoch, item), no layer has
dropout, and a checkpoint holds all the rest, so a run that is killed at any step and started again ends with the same
weights and history, bit for bit on a CPU.
"""

import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from langpose import checkpoints

PREEMPTED = 75
"""Exit code after SIGTERM, once the state is saved (EX_TEMPFAIL: try again); tells preemption from failure."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a task is trained."""

    epochs: int = 300
    """Passes over the clips (paper 4.1: 300 in pretraining)."""
    steps_per_epoch: int | None = None
    """Steps after which an epoch ends; null: all clips once. Not in the paper: small runs on large data."""
    batch_size: int = 16
    """Clips a step (paper 4.1)."""
    accumulate: int = 1
    """Parts that a batch is computed in, to save memory. The alignment's negatives are then the part's."""
    learning_rate: float = 2e-4
    """AdamW's. Not in the paper: MotionBERT fine-tunes with it."""
    weight_decay: float = 0.01
    """AdamW's. Not in the paper: MotionBERT's."""
    lr_decay: float = 0.99
    """Learning rate's factor an epoch. Not in the paper: MotionBERT's."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0. Not in the paper: MotionBERT has none."""
    grad_clip: float | None = None
    """Largest norm of the gradient; null: unbounded, as MotionBERT."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of forward and backward passes; weights and losses stay float32."""
    validate_every: int = 1
    """Epochs between validations."""
    checkpoint_every: int = 200
    """Steps between checkpoints; one is also written at each validation and on SIGTERM or Ctrl-C."""
    keep: Literal["best", "last"] = "best"
    """Which weights the run returns: those of the best validation, or the last (also where nothing validates)."""
    workers: int = 0
    """Processes that load clips; 0: the training process itself."""
    device: str = "auto"
    """auto: a GPU where there is one."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of accumulate {self.accumulate}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0")


class Clips(Protocol):
    """A data set whose items are dicts of arrays and numbers, redrawn each epoch."""

    def set_epoch(self, epoch: int) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, item: int) -> dict[str, Any]: ...


class Task(Protocol):
    """What is learnt."""

    model: nn.Module
    clips: Clips

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise and its terms, by name, of a batch on the model's device."""
        ...

    def validate(self) -> dict[str, float]:
        """Scores on the validation split, the one to choose by (lower is better) first; empty where there is none."""
        ...


class TrainingDivergedError(ValueError):
    """The loss is not a number any more."""


class Preempted(SystemExit):
    """SIGTERM came; the state is saved. The process ends with `PREEMPTED`."""


def pick_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def batch_order(clips: int, config: TrainingConfig, seed: int, epoch: int) -> np.ndarray:
    """(steps, batch) items of an epoch: a permutation drawn from (seed, epoch); what does not fill a batch waits."""
    steps = clips // config.batch_size
    if steps == 0:
        raise ValueError(
            f"{clips} clips do not fill a batch of {config.batch_size}; use a smaller batch_size or more data"
        )
    order = np.random.default_rng([seed, epoch]).permutation(clips)[: steps * config.batch_size]
    return order.reshape(steps, config.batch_size)[: config.steps_per_epoch]


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Items to a batch, a key at a time."""
    return {key: torch.from_numpy(np.stack([np.asarray(item[key]) for item in items])) for key in items[0]}


def batches(clips: Clips, order: np.ndarray, workers: int) -> Iterator[dict[str, Tensor]]:
    """Batches in the given order; the number of workers changes nothing but the speed."""
    if workers == 0:
        for items in order:
            yield collate([clips[int(item)] for item in items])
    else:
        yield from torch.utils.data.DataLoader(
            clips, batch_sampler=[row.tolist() for row in order], num_workers=workers, collate_fn=collate  # type: ignore
        )  # fmt: skip


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of dying of them; empty outside the main thread."""
    caught: list[int] = []
    try:
        old = {
            number: signal.signal(number, lambda n, _: caught.append(n)) for number in (signal.SIGTERM, signal.SIGINT)
        }
    except ValueError:  # not the main thread
        old = {}
    try:
        yield caught
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def train(task: Task, config: TrainingConfig, seed: int, folder: Path, fingerprint: str) -> pd.DataFrame:
    """Train ``task.model`` in place; returns the history, one row an epoch.

    Checkpoints go to ``folder`` and belong to ``fingerprint`` (`checkpoints.fingerprint`): a run continues from them,
    and a folder of another fingerprint is refused with ``ValueError``. A loss that is not finite raises
    `TrainingDivergedError`; SIGTERM saves and raises `Preempted`, Ctrl-C saves and raises ``KeyboardInterrupt``.
    ``folder``/timings.csv has the wall clock of every epoch; the history has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, device = task.model, pick_device(config.device)
    model.to(device).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)

    step = epoch = done = 0  # steps in all, the epoch under way, steps done of it
    history: list[dict[str, float]] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    sums: dict[str, float] = {}  # of each loss term, over the epoch so far
    finished = False

    found = checkpoints.load(folder)
    if found is not None:
        tensors, record = found
        if record["fingerprint"] != fingerprint:
            raise ValueError(
                f"{folder} holds checkpoints of another run (fingerprint {record['fingerprint'][:12]}, this run is "
                f"{fingerprint[:12]}): its parameters or inputs differ. Use another folder, or remove this one"
            )
        model.load_state_dict(_part(tensors, "model."))
        _load_optimizer(optimizer, _part(tensors, "optimizer."))
        step, epoch, done, finished = record["step"], record["epoch"], record["done"], record["finished"]
        history, sums = record["history"], record["sums"]
        if record["best"] is not None:
            best = record["best"], _part(tensors, "best.")

    def save() -> None:
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in _optimizer_tensors(optimizer).items()}
        if best is not None:
            tensors |= {f"best.{name}": value for name, value in best[1].items()}
        record = {
            "fingerprint": fingerprint, "step": step, "epoch": epoch, "done": done, "finished": finished,
            "history": history, "sums": sums, "best": None if best is None else best[0],
        }  # fmt: skip
        checkpoints.save(folder, step, tensors, record)

    steps_per_epoch = len(batch_order(len(task.clips), config, seed, 0))
    with _signals() as caught, _progress(config.epochs * steps_per_epoch, step) as show:
        while not finished:
            task.clips.set_epoch(epoch)
            order = batch_order(len(task.clips), config, seed, epoch)
            started, begun = time.monotonic(), done
            for batch in batches(task.clips, order[done:], config.workers):
                rate = config.learning_rate * config.lr_decay**epoch * min(1, (step + 1) / max(1, config.warmup_steps))
                terms = _step(task, optimizer, parameters, batch, config, rate, device)
                step, done = step + 1, done + 1
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value
                if not all(map(math.isfinite, terms.values())):
                    last = history[-1]["step"] if history else 0
                    raise TrainingDivergedError(
                        f"the loss is not finite at step {step} (epoch {epoch}, seed {seed}): {terms}. The last "
                        f"validated state is that of step {int(last)}; checkpoints are in {folder}. Lower the learning "
                        f"rate ({config.learning_rate}) or set grad_clip"
                    )
                show(step, terms, (done - begun) * config.batch_size / max(1e-9, time.monotonic() - started))
                if caught:
                    save()
                    if signal.SIGTERM in caught:
                        raise Preempted(PREEMPTED)
                    raise KeyboardInterrupt
                if step % config.checkpoint_every == 0 and done < len(order):
                    save()
            seconds = time.monotonic() - started
            row = {"epoch": epoch, "step": step, "learning_rate": config.learning_rate * config.lr_decay**epoch}
            row |= {name: value / max(1, done) for name, value in sums.items()}
            last_epoch = epoch + 1 == config.epochs
            if (epoch + 1) % config.validate_every == 0 or last_epoch:
                model.eval()
                with torch.inference_mode():
                    scores = task.validate()
                model.train()
                row |= scores
                if scores:
                    score = next(iter(scores.values()))
                    if math.isfinite(score) and (best is None or score < best[0]):
                        best = score, {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
            history.append(row)
            _log_time(folder, epoch, seconds, (done - begun) * config.batch_size)
            epoch, done, sums, finished = epoch + 1, 0, {}, last_epoch
            save()
    if config.keep == "best" and best is not None:
        model.load_state_dict(best[1])
    model.eval()
    return pd.DataFrame(history)


def _step(
    task: Task,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    batch: dict[str, Tensor],
    config: TrainingConfig,
    rate: float,
    device: torch.device,
) -> dict[str, float]:
    """One update; the loss and its terms, averaged over the parts of the batch."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    sums: dict[str, Tensor] = {}
    size = config.batch_size // config.accumulate
    for part in range(config.accumulate):
        piece = {key: value[part * size : (part + 1) * size].to(device) for key, value in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss, terms = task.loss(piece)
        (loss / config.accumulate).backward()
        for name, value in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach().float() / config.accumulate
    if config.grad_clip is not None:
        nn.utils.clip_grad_norm_(parameters, config.grad_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    values = torch.stack(list(sums.values())).tolist()  # one transfer from the device
    return dict(zip(sums, values, strict=True))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _log_time(folder: Path, epoch: int, seconds: float, clips: int) -> None:
    path = folder / "timings.csv"
    head = "" if path.exists() else "epoch,seconds,clips\n"
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(f"{head}{epoch},{seconds:.3f},{clips}\n")


@contextmanager
def _progress(total: int, start: int) -> Iterator[Any]:
    """A bar with loss terms, clips/s and time left on a terminal; a line now and then elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=console, transient=True) as bar:
            line = bar.add_task("", total=total, completed=start)
            yield lambda step, terms, rate: bar.update(line, completed=step, description=_describe(terms, rate))
    else:
        every = max(1, total // 10)

        def show(step: int, terms: dict[str, float], rate: float) -> None:
            if step % every == 0 or step == total:
                print(f"step {step}/{total}  {_describe(terms, rate)}", file=sys.stderr, flush=True)

        yield show


def _describe(terms: dict[str, float], rate: float) -> str:
    memory = f"  {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else ""
    return "  ".join(f"{name} {value:.4f}" for name, value in terms.items()) + f"  {rate:.0f} clips/s{memory}"
