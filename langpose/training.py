"""The training loop of `base`, `pretrain` and `finetune`: read it from top to bottom.

What is learnt is a `Task` (langpose/tasks.py). Everything random is a function of (seed, epoch, item), no layer has
dropout, and a checkpoint holds all the rest, so a run that is killed at any step and started again ends with the same
weights and history, bit for bit on a CPU. Sums over many numbers depend on how many threads share them: the bits are
the same from machine to machine only where `TrainingConfig.threads` is set.

Device, precision and several processes (DDP) are accelerate's: a thin layer over torch's own, from the makers of
transformers, which leaves the loop to us, as Lightning Fabric would, and is what a bare GPU machine has beside them.
"""

import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from langpose import checkpoints
from langpose.devices import pick_device
from langpose.distributed import largest, mean, rank_and_size
from langpose.model.pose_encoder import PoseEncoder
from langpose.sampling import Clips, batch_order, batches

PREEMPTED = 75
"""Exit code after SIGTERM, once the state is saved (EX_TEMPFAIL: try again); tells preemption from failure."""

READ_EVERY = {"cpu": 1}
"""Steps between readings of the losses, by device; others: 20. Reading makes the program wait for a GPU."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a task is trained."""

    epochs: int = 300
    """Passes over the clips (paper 4.1: 300 in pretraining)."""
    steps_per_epoch: int | None = None
    """Steps after which an epoch ends; null: all clips once. Not in the paper: small runs on large data."""
    max_steps: int | None = None
    """Steps after which the run ends, if its epochs have more; null: all. Not in the paper: trial runs."""
    batch_size: int = 16
    """Clips a step (paper 4.1)."""
    accumulate: int = 1
    """Parts a batch is computed in, to save memory. The alignment's negatives are then the part's (and a memory's)."""
    processes: int = 1
    """Processes that share each part, one a GPU, started by torch's own launcher. They change rounding alone."""
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
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of forward and backward passes; weights, coordinates in and out, and losses stay float32. fp16, on a
    GPU alone, scales the loss, and skips the steps at which that overflows."""
    compile: bool = False
    """Compile the pose encoder's blocks (torch.compile): a minute at the start, other last bits; needs a compiler."""
    checkpoint_layers: bool = False
    """Keep the layers' inputs alone for the backward pass, compute the rest again: less memory, a third more time."""
    ema_decay: float | None = None
    """Average the weights over steps with this decay, and validate and return the average. null: off, as the paper."""
    validate_every: int = 1
    """Epochs between validations."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; one is also written at each validation and on SIGTERM or Ctrl-C. Not in the paper: at
    full size one is 1.4 GB, seconds to write and hash, so a few minutes of steps between them cost little."""
    keep: Literal["best", "last"] = "best"
    """Which weights the run returns: those of the best validation, or the last (also where nothing validates)."""
    patience: int | None = None
    """Validations without a new best after which the run ends; null: never. Not in the paper."""
    max_loss_growth: float = 100.0
    """A step's loss above so many times the lowest epoch's mean ends the run as diverged. Not in the paper."""
    workers: int = 0
    """Processes that load clips; 0: the training process itself."""
    threads: int | None = None
    """CPU threads of the arithmetic; null: torch's choice, one a core. Results on a CPU differ in their last bits with
    the number, and so may whole runs: set it where they must not depend on the machine."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one (CUDA_VISIBLE_DEVICES says which)."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "validate_every", "checkpoint_every", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("steps_per_epoch", "max_steps", "threads", "patience"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1, or null")
        if self.batch_size % (self.accumulate * self.processes):
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of accumulate {self.accumulate} times processes "
                f"{self.processes}"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must be between 0 and 1, or null")
        if not self.max_loss_growth > 1:
            raise ValueError(f"max_loss_growth is {self.max_loss_growth}; it must be above 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0")


class Task(Protocol):
    """What is learnt. Tasks inherit from it."""

    model: nn.Module
    clips: Clips

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise and its terms, by name, of a batch on the model's device."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must keep beside weights and optimiser."""
        return {}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
        return

    def validate(self) -> dict[str, float]:
        """Scores on the validation split, the one to choose by (lower is better) first; empty where there is none."""
        ...


class TrainingDivergedError(ValueError):
    """The loss or a weight is not a finite number any more, or the loss has exploded.

    ``step`` of the run where it was seen, the loss ``terms`` of that step, and the newest ``checkpoint`` before it, the
    file's name, or None.
    """

    def __init__(self, message: str, step: int, terms: dict[str, float], checkpoint: str | None) -> None:
        super().__init__(message)
        self.step, self.terms, self.checkpoint = step, terms, checkpoint


class Preempted(SystemExit):
    """SIGTERM came; the state is saved. The process ends with `PREEMPTED`."""


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGTERM and Ctrl-C instead of dying of them (not outside the main thread); a second Ctrl-C is obeyed."""
    caught: list[int] = []

    def catch(number: int, _frame: Any) -> None:
        if number == signal.SIGINT and signal.SIGINT in caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        old = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread
        old = {}
    try:
        yield caught
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Objective(nn.Module):
    """A task's loss as a module, for accelerate and DDP to wrap."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model, self.task = task.model, task

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.task.loss(batch)


def _accelerator(config: TrainingConfig) -> Accelerator:
    on_cpu = pick_device(config.device).type == "cpu"
    if on_cpu and config.precision == "fp16":
        raise ValueError("precision fp16 needs a GPU; on a CPU use bf16 or fp32")
    AcceleratorState._reset_state(reset_partial_state=True)  # it outlives its owner, and holds a precision
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # the text stream, where nothing aligns
    precision = "no" if config.precision == "fp32" else config.precision
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=precision, kwargs_handlers=[unused])
    if accelerator.num_processes != config.processes:
        raise ValueError(
            f"processes is {config.processes}, but {accelerator.num_processes} were started; start as many with "
            f"torchrun --nproc-per-node {config.processes}"
        )
    return accelerator


def train(
    task: Task, config: TrainingConfig, seed: int, folder: Path, made_of: Mapping[str, str], progress: bool = True
) -> pd.DataFrame:
    """Train ``task.model`` in place; returns the history, one row an epoch.

    Checkpoints go to ``folder`` and are valid for ``made_of`` (`checkpoints.made_of`): a run continues from them, and
    those of anything else are refused with ``ValueError``, which names what differs. A loss or weight that is not
    finite, or a loss beyond `TrainingConfig.max_loss_growth`, raises `TrainingDivergedError`; SIGTERM saves and raises
    `Preempted`, Ctrl-C saves and raises ``KeyboardInterrupt``. Both are seen after a step or a validation; a run that
    has ended by then is not interrupted any more. ``folder``/timings.csv has the wall clock of every epoch (seconds, of
    which waited for clips); the history has none.

    Under torch's launcher every process calls this; the first one validates, writes and shows progress.
    """
    accelerator = _accelerator(config)
    device, first = accelerator.device, accelerator.is_main_process
    folder.mkdir(parents=True, exist_ok=True)
    model = task.model
    model.to(device).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    # fused: one pass over the weights. With a text stream, torch's plain loop is a third of a step on a CPU.
    optimizer = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True)
    for encoder in (m for m in model.modules() if isinstance(m, PoseEncoder)):
        encoder.checkpoint_layers = config.checkpoint_layers
        for block in (*encoder.blocks_st, *encoder.blocks_ts) if config.compile else ():
            block.compile()  # all alike: compiled once, whichever way the encoder is called
    objective, stepper = accelerator.prepare(_Objective(task), optimizer)

    step = epoch = done = 0  # steps in all, the epoch under way, steps done of it
    history: list[dict[str, float]] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    average = None if config.ema_decay is None else _copy(model)
    sums: dict[str, float] = {}  # of each loss term, over the epoch so far
    finished = False

    found = checkpoints.load(folder)
    if found is not None:
        tensors, record = found
        before = record.get("made_of", {})
        if before != dict(made_of):
            raise ValueError(
                f"{folder} holds checkpoints of another run; it differs in: "
                f"{checkpoints.differences(before, made_of)}. Use another folder, or remove this one"
            )
        model.load_state_dict(checkpoints.part(tensors, "model."))
        step, epoch, done, finished = record["step"], record["epoch"], record["done"], record["finished"]
        history, sums = record["history"], record["sums"]
        if not finished:
            checkpoints.load_optimizer(optimizer, checkpoints.part(tensors, "optimizer."))
            task.load_state(checkpoints.part(tensors, "task."))
            if average is not None:
                average = {name: value.to(device) for name, value in checkpoints.part(tensors, "average.").items()}
            if accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(record["scaler"])
        if record["best"] is not None:
            best = record["best"], checkpoints.part(tensors, "best.")
    if first:
        checkpoints.tidy(folder)

    def save() -> None:
        state = model.state_dict()
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise _diverged("a weight is not finite", step, epoch, seed, {}, config, folder)  # nor was the gradient
        if not first:
            return
        tensors = {f"model.{name}": value for name, value in state.items()}
        if not finished:  # a finished run is its weights and history
            tensors |= {f"optimizer.{name}": value for name, value in checkpoints.optimizer_tensors(optimizer).items()}
            tensors |= {f"task.{name}": value for name, value in task.state().items()}
            tensors |= {f"average.{name}": value for name, value in (average or {}).items()}
            if best is not None:
                tensors |= {f"best.{name}": value for name, value in best[1].items()}
        record = {
            "made_of": dict(made_of), "step": step, "epoch": epoch, "done": done, "finished": finished,
            "history": history, "sums": sums, "best": None if best is None or finished else best[0],
            "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
        }  # fmt: skip
        checkpoints.save(folder, step, tensors, record, keep_previous=not finished)

    def interrupted() -> int:
        """The signal that came, if any; of several processes, to any of them."""
        return largest(max(caught, default=0), device)

    def stop(signal_number: int, saved: bool = False) -> NoReturn:
        if not saved:
            save()
        accelerator.wait_for_everyone()
        raise Preempted(PREEMPTED) if signal_number == signal.SIGTERM else KeyboardInterrupt

    steps_per_epoch = len(batch_order(len(task.clips), config.batch_size, seed, 0)[: config.steps_per_epoch])
    total = min(config.epochs * steps_per_epoch, config.max_steps or sys.maxsize)
    epochs = math.ceil(total / steps_per_epoch)
    read_every = READ_EVERY.get(device.type, 20)
    with (
        _threads(config.threads), _signals() as caught, _progress(total, step, progress and first) as show,
        ExitStack() as opened,
    ):  # fmt: skip
        while not finished:
            task.clips.set_epoch(epoch)
            order = batch_order(len(task.clips), config.batch_size, seed, epoch)
            order = order[: min(steps_per_epoch, total - (step - done))]
            highest = config.max_loss_growth * min((row["loss"] for row in history), default=math.inf)
            started, begun = time.monotonic(), done
            unread: list[dict[str, Tensor]] = []
            made = batches(task.clips, _share(order[done:], config), config.workers)
            waiting = _Waiting(opened.enter_context(closing(made)))
            for batch in waiting:
                rate = config.learning_rate * config.lr_decay**epoch * min(1, (step + 1) / max(1, config.warmup_steps))
                unread.append(_step(objective, stepper, accelerator, parameters, batch, config, rate))
                if average is not None:
                    _move(average, model, config.ema_decay or 0.0)
                step, done = step + 1, done + 1
                due = step % config.checkpoint_every == 0 and done < len(order)  # else at the epoch's end
                alone = config.processes == 1  # several agree on when they look
                if len(unread) < read_every and done < len(order) and not due and not (alone and caught):
                    continue
                for number, terms in enumerate(_read(unread), step - len(unread) + 1):
                    if not all(map(math.isfinite, terms.values())):
                        raise _diverged("the loss is not finite", number, epoch, seed, terms, config, folder)
                    if terms["loss"] > highest > 0:
                        raise _diverged("the loss has exploded", number, epoch, seed, terms, config, folder)
                    for name, value in terms.items():
                        sums[name] = sums.get(name, 0.0) + value
                    show(number, terms, (done - begun) * config.batch_size / max(1e-9, time.monotonic() - started))
                unread = []
                if signal_number := interrupted():
                    stop(signal_number)
                if due:
                    save()
            seconds = time.monotonic() - started
            row = {"epoch": epoch, "step": step, "learning_rate": config.learning_rate * config.lr_decay**epoch}
            row |= {name: value / max(1, done) for name, value in sums.items()}
            finished = epoch + 1 == epochs
            validated = (epoch + 1) % config.validate_every == 0 or finished
            if validated:
                weights = model.state_dict() if average is None else average
                with _holding(model, average):
                    scores = _validate(task) if first else {}
                [scores] = broadcast_object_list([scores])
                row |= scores
                if scores:
                    name, score = next(iter(scores.items()))
                    if config.keep == "best" and math.isfinite(score) and (best is None or score < best[0]):
                        best = score, {name: value.detach().cpu().clone() for name, value in weights.items()}
                    finished = finished or _out_of_patience([*history, row], name, config.patience)
            history.append(row)
            if first:
                _log_time(folder, epoch, seconds, waiting.seconds, (done - begun) * config.batch_size)
            epoch, done, sums = epoch + 1, 0, {}
            if finished and config.keep == "best" and best is not None:
                model.load_state_dict(best[1])
            elif finished and average is not None:
                model.load_state_dict(average)
            if saved := validated or step % config.checkpoint_every == 0:
                save()
            if (signal_number := interrupted()) and not finished:
                stop(signal_number, saved)
    accelerator.wait_for_everyone()
    model.eval()
    return pd.DataFrame(history)


def _diverged(
    what: str, step: int, epoch: int, seed: int, terms: dict[str, float], config: TrainingConfig, folder: Path
) -> TrainingDivergedError:
    newest = checkpoints.newest(folder)
    return TrainingDivergedError(
        f"{what} at step {step} (epoch {epoch}, seed {seed}){f': {terms}' if terms else ''}. The last good checkpoint: "
        f"{folder / newest if newest else 'none yet'}. Lower the learning rate ({config.learning_rate}) or set "
        "grad_clip", step, terms, newest,
    )  # fmt: skip


def _step(
    objective: nn.Module,
    optimizer: Any,
    accelerator: Accelerator,
    parameters: list[nn.Parameter],
    batch: dict[str, Tensor],
    config: TrainingConfig,
    rate: float,
) -> dict[str, Tensor]:
    """One update; the loss and its terms, averaged over the parts of this process's batch, still on the device."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    device = accelerator.device
    sums: dict[str, Tensor] = {}
    size = config.batch_size // config.accumulate // config.processes
    for part in range(config.accumulate):
        piece = {key: value[part * size : (part + 1) * size].to(device) for key, value in batch.items()}
        last = part + 1 == config.accumulate
        with nullcontext() if last else accelerator.no_sync(objective):
            loss, terms = objective(piece)
            accelerator.backward(loss / config.accumulate)
        for name, value in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach().float() / config.accumulate
    if config.grad_clip is not None:
        accelerator.clip_grad_norm_(parameters, config.grad_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return sums


def _read(steps: list[dict[str, Tensor]]) -> list[dict[str, float]]:
    """The loss terms of some steps, over all processes, as numbers, with one transfer from the device."""
    rows = mean(torch.stack([torch.stack(list(terms.values())) for terms in steps])).tolist()
    return [dict(zip(terms, row, strict=True)) for terms, row in zip(steps, rows, strict=True)]


def _share(order: np.ndarray, config: TrainingConfig) -> np.ndarray:
    """(steps, batch) items → those of this process: its share of each part of a batch."""
    rank, _ = rank_and_size()
    size = config.batch_size // config.accumulate // config.processes
    parts = order.reshape(len(order), config.accumulate, config.processes, size)  # -1 fails where no step is left
    return parts[:, :, rank].reshape(len(order), config.accumulate * size)


def _validate(task: Task) -> dict[str, float]:
    task.model.eval()
    try:
        with torch.inference_mode():
            return task.validate()
    finally:
        task.model.train()


def _out_of_patience(history: list[dict[str, float]], name: str, patience: int | None) -> bool:
    """Whether the last ``patience`` validations brought no lower score ``name`` than those before."""
    scores = [row[name] for row in history if name in row]
    return patience is not None and len(scores) > patience and min(scores[:-patience]) <= min(scores[-patience:])


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _move(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """An exponential moving average of the weights takes in the present ones."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.detach(), 1 - decay)
        else:
            average[name].copy_(value)


@contextmanager
def _holding(model: nn.Module, weights: dict[str, Tensor] | None) -> Iterator[None]:
    """The model with other weights for a while; None: with its own."""
    own = None if weights is None else _copy(model)
    if weights is not None:
        model.load_state_dict(weights)
    try:
        yield
    finally:
        if own is not None:
            model.load_state_dict(own)


class _Waiting:
    """Batches, and how many seconds the loop waited for them."""

    def __init__(self, batches: Iterator[dict[str, Tensor]]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self

    def __next__(self) -> dict[str, Tensor]:
        asked = time.monotonic()
        try:
            return next(self.batches)
        finally:
            self.seconds += time.monotonic() - asked


def _log_time(folder: Path, epoch: int, seconds: float, waited: float, clips: int) -> None:
    path = folder / "timings.csv"
    head = "" if path.exists() and path.stat().st_size else "epoch,seconds,waited,clips\n"
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(f"{head}{epoch},{seconds:.3f},{waited:.3f},{clips}\n")


@contextmanager
def _progress(total: int, start: int, wanted: bool) -> Iterator[Any]:
    """A bar with loss terms, clips/s and time left on a terminal; a line now and then elsewhere; or nothing."""
    console = Console(stderr=True)
    if not wanted:
        yield lambda step, terms, rate: None
    elif console.is_terminal:
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
