"""Runs of each training stage in tiny size: killed at random, cut off at every write, their checkpoints damaged.

    python -m tests.kills --out reports/kills.json

writes what was done and found (and kills.md beside it); `tests/test_kills.py` runs it with smaller counts. Every run,
whatever befell it, must end with the weights, history and metrics of an undisturbed one, bit for bit, and leave one
checkpoint and nothing half-written. Runs are forks of this process, which has everything imported; where one was when
it was struck is known from memory that the two share, read while the run is stopped.
"""

import argparse
import builtins
import io
import json
import mmap
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from langpose import LangPose, LangPoseConfig, checkpoints, training
from langpose.checkpoints import CheckpointWarning
from langpose.model.pose_encoder import PoseEncoder
from langpose.model.text_encoder import TextConfig
from langpose.skeleton import flip
from langpose.tasks import (
    BaseConfig,
    CorruptedClips,
    LossWeights,
    PretrainConfig,
    PretrainTask,
    ReconstructionTask,
    ResampledClips,
)
from langpose.training import PREEMPTED, Preempted, Task, TrainingConfig, train
from pipeline.training_cell import final_metrics
from tests.mutated_files import flipped
from tests.test_tasks import BERT, LABELS, PAPER_MASKS, POSE, Motions

Rng = np.random.Generator
ONE_LAYER = replace(POSE, depth=1)
Findings = tuple[dict[str, Any], list[str]]  # what was done, in numbers, and what went wrong
FAULT, INTERRUPTED = 5, 130  # exit codes of a run whose write failed, and of one that died of KeyboardInterrupt
SIGNALS = {"SIGKILL": 0.6, "SIGTERM": 0.2, "SIGINT": 0.2}
AIMS = ("", "save", "", "", "validation", "", "save", "", "", "")  # what a kill waits for in turn; "": falls anywhere
AIMED = ("save", "validation")
MOMENTS = ("start", "load", "between steps", "step", "validation", "save", "end")
UNGUARDED = ("start", "load", "end")  # the loop does not hold signals there: nothing is under way


# ---- the runs -------------------------------------------------------------------------------------------------------


class Lifted:
    """Pairs of x and y, mirrored by (epoch, item): as langpose.lifting_sets.LiftingClips gives them."""

    def __init__(self, clips: int, augment: bool) -> None:
        self.motion, self.augment, self.epoch = Motions(clips).motion, augment, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.motion)

    def __getitem__(self, item: int) -> dict[str, Any]:
        mirrored = self.augment and np.random.default_rng([self.epoch, item]).random() < 0.5
        motion = flip(self.motion[item]) if mirrored else self.motion[item]
        x = np.concatenate([motion[..., :2], np.ones_like(motion[..., :1])], -1)
        return {"x": torch.from_numpy(x), "y": torch.from_numpy(motion - motion[:, :1]), "item": item}


def base(training: TrainingConfig) -> Task:
    config = BaseConfig()
    clips, held = Motions(24), Motions(10)
    return ReconstructionTask(
        PoseEncoder(ONE_LAYER, seed=1), CorruptedClips(clips, config.corruption, 0, config.flip_probability),
        CorruptedClips(held, config.corruption, 0), config.losses, 1000.0, 8,
    )  # fmt: skip


def pretrain(training: TrainingConfig) -> Task:
    average = training.ema_decay is not None
    config = PretrainConfig(training=training, memory=12, soft_targets=0.2 if average else 0.0)
    model_config = LangPoseConfig(ONE_LAYER, TextConfig("minilm", layers=1), embed_dim=6, bert=BERT)
    clips: Any = ResampledClips(Motions(24), Motions(24).label, 0) if average else Motions(24)
    return PretrainTask(
        LangPose(model_config, seed=2, pretrained_text=False), CorruptedClips(clips, PAPER_MASKS, 0),
        CorruptedClips(Motions(20), PAPER_MASKS, 0), config, "focal_kl", LABELS,
    )  # fmt: skip


def finetune(training: TrainingConfig) -> Task:
    return ReconstructionTask(
        PoseEncoder(ONE_LAYER, seed=1), Lifted(24, augment=True), Lifted(8, augment=False), LossWeights(), 1000.0, 8
    )


COMMON = TrainingConfig(batch_size=8, learning_rate=1e-2, threads=1, device="cpu", validate_every=2)
STAGES: dict[str, tuple[Callable[[TrainingConfig], Task], TrainingConfig, dict[str, Any]]] = {
    "base": (base, replace(COMMON, epochs=3, checkpoint_every=1), {"keep": "last", "warmup_steps": 3}),
    "pretrain": (pretrain, replace(COMMON, epochs=3, checkpoint_every=2, keep="last"), {"accumulate": 2}),
    "finetune": (finetune, replace(COMMON, epochs=3, checkpoint_every=1), {"grad_clip": 1.0, "checkpoint_every": 2}),
}
"""Of each stage: its task, its training, and what its second kind of run, which averages its weights, has besides."""


@dataclass
class Run:
    """A kind of run: what it trains, and what it gives undisturbed."""

    name: str
    make: Callable[[TrainingConfig], Task]
    config: TrainingConfig
    expected: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    takes: dict[str, float] = field(default_factory=dict)  # seconds of a save, of a validation


def runs(stage: str) -> list[Run]:
    make, config, besides = STAGES[stage]
    return [
        Run(stage, make, config),
        Run(f"{stage}, average", make, replace(config, ema_decay=0.8, **besides)),
    ]


def short(run: Run) -> Run:
    """The same with four steps and a validation after each second one, for what is done at each of its writes."""
    few = replace(run.config, epochs=2, steps_per_epoch=2, checkpoint_every=1, validate_every=1)
    return Run(f"{run.name}, short", run.make, few)


def outcome(model: torch.nn.Module, history: Any, keep: str) -> dict[str, Any]:
    """Weights and history by their bits, and the metrics of the stage."""
    weights, table = sha256(), sha256()
    for name, value in sorted(model.state_dict().items()):
        weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes())
    for name, column in history.items():
        table.update(f"{name} {column.dtype} {len(column)}".encode() + column.to_numpy().tobytes())
    return {"weights": weights.hexdigest(), "history": table.hexdigest(), "metrics": final_metrics(history, keep)}


# ---- a run as a process ---------------------------------------------------------------------------------------------


class Shared:
    """Memory that a run writes to and its parent reads: where it is, and what it came to."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 2**16)
        self.numbers = np.frombuffer(self.memory, np.int64, 3)  # moment, steps of the run done, step that was loaded
        self.begun = np.frombuffer(self.memory, np.int64, len(MOMENTS), 64)  # how often each moment began

    def clear(self) -> None:
        self.memory[:] = bytes(len(self.memory))

    def enter(self, moment: str) -> int:
        before, self.numbers[0] = int(self.numbers[0]), MOMENTS.index(moment)
        self.begun[self.numbers[0]] += 1
        return before

    @contextmanager
    def within(self, moment: str) -> Iterator[None]:
        before = self.enter(moment)
        yield
        self.numbers[0] = before

    @property
    def moment(self) -> str:
        return MOMENTS[int(self.numbers[0])]

    @property
    def steps(self) -> int:
        return int(self.numbers[1])

    @property
    def loaded(self) -> int:
        return int(self.numbers[2])

    def times(self, moment: str) -> int:
        return int(self.begun[MOMENTS.index(moment)])

    def tell(self, **result: Any) -> None:
        text = json.dumps(result).encode()
        self.memory[256 : 256 + len(text)] = text

    def told(self) -> dict[str, Any]:
        text = self.memory[256:].rstrip(b"\0")
        return json.loads(text) if text else {}


def watch(shared: Shared, stop_before: int | None = None) -> dict[str, list[float]]:
    """Make this process note where it is, and die before step ``stop_before``; the answer fills with what took long."""
    load, save, step = checkpoints.load, checkpoints.save, training._step
    validate, signals = training._validate, training._signals
    seconds: dict[str, list[float]] = {moment: [] for moment in AIMED}

    def timed(moment: str, act: Callable[[], Any]) -> Any:
        began = time.monotonic()
        with shared.within(moment):
            result = act()
        seconds[moment].append(time.monotonic() - began)
        return result

    def watched_load(folder: Path) -> Any:
        with shared.within("load"):
            found = load(folder)
        shared.numbers[1] = shared.numbers[2] = 0 if found is None else found[1]["step"]
        return found

    def watched_save(*args: Any, **options: Any) -> None:
        timed("save", partial(save, *args, **options))

    def watched_step(*args: Any) -> Any:
        if shared.steps + 1 == stop_before:
            os.kill(os.getpid(), signal.SIGKILL)
        with shared.within("step"):
            terms = step(*args)
        shared.numbers[1] += 1
        return terms

    def watched_validate(*args: Any) -> Any:
        return timed("validation", partial(validate, *args))

    @contextmanager
    def watched_signals() -> Iterator[list[int]]:
        with signals() as caught:
            shared.enter("between steps")
            try:
                yield caught
            finally:
                shared.enter("end")

    checkpoints.load, checkpoints.save = watched_load, watched_save
    training._step, training._validate, training._signals = watched_step, watched_validate, watched_signals  # type: ignore[assignment]
    return seconds


def forked(act: Callable[[], None]) -> int:
    """Process number of a fork that does ``act`` and exits as a program would."""
    held = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)  # an early Ctrl-C must not let the fork go on as its parent
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
        return child
    code = 1
    try:
        signal.alarm(120)  # a run that hangs dies of it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
        act()
        code = 0
        signal.pthread_sigmask(signal.SIG_BLOCK, held)
    except Preempted as error:
        code = int(error.code or 0)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        code = FAULT if "power cut" in str(error) else code
        if code != FAULT:
            traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def live(run: Run, folder: Path, shared: Shared, prepare: Callable[[], None], stop_before: int | None) -> None:
    """What a fork does: start, or continue, the run in ``folder``, and tell what came out."""
    seconds = watch(shared, stop_before)
    prepare()
    task = run.make(run.config)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = train(task, run.config, 0, folder, {"run": run.name}, progress=False)
    told = [str(warning.message) for warning in caught if issubclass(warning.category, CheckpointWarning)]
    shared.tell(**outcome(task.model, history, run.config.keep), warnings=told, seconds=seconds)


def start(
    run: Run, folder: Path, shared: Shared, prepare: Callable[[], None] = lambda: None, stop_before: int | None = None
) -> int:
    shared.clear()
    return forked(partial(live, run, folder, shared, prepare, stop_before))


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def problems(run: Run, folder: Path, shared: Shared, warned: bool = False) -> list[str]:
    """What is wrong with a run that has just ended, and with its folder."""
    if not (told := shared.told()):
        return ["it failed"]
    files = sorted(path.name for path in folder.iterdir())
    found = [f"other {part}" for part, value in run.expected.items() if told[part] != value]
    found += [f"a warning: {text}" for text in told["warnings"] if not warned]
    if set(files) != {"timings.csv", checkpoints.POINTER, checkpoints.newest(folder)}:
        found.append(f"the folder holds {', '.join(files)}")
    return found


def again(run: Run, folder: Path, shared: Shared) -> list[str]:
    """What is wrong if a finished run is started once more: it must give the same, without a step."""
    code = ended(start(run, folder, shared))
    if code or shared.steps != shared.loaded or shared.times("save"):
        return [f"finished, and started again, it ended with {code} after step {shared.steps}, or saved"]
    return [f"finished, and started again: {problem}" for problem in problems(run, folder, shared)]


def undisturbed(run: Run, folder: Path, shared: Shared, prepare: Callable[[], None] = lambda: None) -> None:
    """Let the run through, and keep what it gives and takes."""
    place, began = folder / f"{run.name} undisturbed", time.monotonic()
    code = ended(start(run, place, shared, prepare))
    run.seconds, told = time.monotonic() - began, shared.told()
    assert code == 0, f"{run.name}: undisturbed, it ended with {code}"
    run.takes = {moment: float(np.mean(told["seconds"][moment])) for moment in AIMED}
    run.expected = {part: told[part] for part in ("weights", "history", "metrics")}
    if found := problems(run, place, shared) + again(run, place, shared):
        raise AssertionError(f"{run.name}: undisturbed: {found}")


# ---- kills ----------------------------------------------------------------------------------------------------------


@dataclass
class Kill:
    """A kill, and where the run was when it came."""

    name: str
    code: int
    moment: str
    steps: int
    half_a_file: bool
    aim: str

    def mid_epoch(self, per_epoch: int) -> bool:
        return self.moment not in UNGUARDED and self.steps % per_epoch != 0


def strike(child: int, name: str, shared: Shared, folder: Path, aim: str) -> Kill | int:
    """Stop the run, look where it is, send the signal; or the exit code of a run that had ended already."""
    os.kill(child, signal.SIGSTOP)
    _, status = os.waitpid(child, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        return os.waitstatus_to_exitcode(status)
    moment, steps, half = shared.moment, shared.steps, any(folder.glob(".*"))
    os.kill(child, getattr(signal, name))
    os.kill(child, signal.SIGCONT)
    return Kill(name, ended(child), moment, steps, half, aim)


def wait_for(moment: str, number: int, child: int, shared: Shared) -> None:
    """Until the run begins its ``number``-th save or validation, or ends."""
    while shared.times(moment) < number and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0002)


def after(kill: Kill, run: Run, folder: Path) -> list[str]:
    """What is wrong with how a killed run ended, and with the state that it left."""
    allowed = {"SIGKILL": {-signal.SIGKILL}, "SIGTERM": {PREEMPTED, 0}, "SIGINT": {INTERRUPTED, 0}}[kill.name]
    if kill.name == "SIGTERM" and kill.moment in UNGUARDED:
        allowed = allowed | {-signal.SIGTERM}
    found = [] if kill.code in allowed else [f"{kill.name} in {kill.moment}: it ended with {kill.code}"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            left = checkpoints.load(folder)
        except CheckpointWarning as warning:
            return [*found, f"{kill.name} in {kill.moment} left a damaged checkpoint: {warning}"]
    lost = kill.steps - (0 if left is None else left[1]["step"])
    most = run.config.checkpoint_every if kill.name == "SIGKILL" else 0
    if lost > most and kill.moment not in ("start", "load"):
        found.append(f"{kill.name} in {kill.moment} lost {lost} steps of {kill.steps}, {most} at most are to be lost")
    return found


def killed(run: Run, folder: Path, shared: Shared, rng: Rng, before: int) -> tuple[list[Kill], list[str]]:
    """Kill a run, again and again until it is through: its kills, after ``before`` others, and problems."""
    kills: list[Kill] = []
    found: list[str] = []
    for _ in range(100):
        name = str(rng.choice(list(SIGNALS), p=list(SIGNALS.values())))
        aim = AIMS[(before + len(kills)) % len(AIMS)]
        nth, part = int(rng.integers(1, 4)) if aim == "save" else 1, float(rng.uniform(0, 0.8))
        child = start(run, folder, shared)
        if aim:
            wait_for(aim, nth, child, shared)
        time.sleep(part * (run.takes[aim] if aim else run.seconds))
        result = strike(child, name, shared, folder, aim)
        if isinstance(result, Kill):
            kills.append(result)
            found += after(result, run, folder)
        code = result.code if isinstance(result, Kill) else result
        if code == 0 or found or isinstance(result, int):
            return kills, found or problems(run, folder, shared) or again(run, folder, shared)
    return kills, ["it is not through after 100 starts"]


def kill_campaign(both: list[Run], wanted: int, seed: int, folder: Path, shared: Shared) -> Findings:
    """Kill runs of both kinds in turn, until ``wanted`` kills have been made and each run is through."""
    kills: list[Kill] = []
    failed: list[str] = []
    number = 0
    per_epoch = len(both[0].make(both[0].config).clips) // both[0].config.batch_size
    while len(kills) < wanted:
        run, place = both[number % 2], folder / f"killed {number}"
        rng = np.random.default_rng([seed, *both[0].name.encode(), number])
        of_run, found = killed(run, place, shared, rng, len(kills))
        kills += of_run
        path = ", ".join(f"{kill.name} in {kill.moment} after step {kill.steps}" for kill in of_run)
        failed += [f"{run.name}, run {number} ({path}): {problem}" for problem in found]
        number += 1
    by = Counter((kill.name, kill.moment) for kill in kills)
    return {
        "kills": len(kills),
        "runs": number,
        "in a save": sum(kill.moment == "save" for kill in kills),
        "in a save, not aimed there": sum(kill.moment == "save" and not kill.aim for kill in kills),
        "beside half a file": sum(kill.half_a_file for kill in kills),
        "within an epoch": sum(kill.mid_epoch(per_epoch) for kill in kills),
        "by signal and moment": {
            name: {moment: by[name, moment] for moment in MOMENTS if by[name, moment]} for name in SIGNALS
        },
        "signals that the run outlived": sum(kill.code == 0 for kill in kills),
    }, failed


# ---- power cuts -----------------------------------------------------------------------------------------------------


def cutting(folder: Path, log: Path, at: int, how: str) -> None:
    """Make what this process changes in ``folder`` fail at its change number ``at``, counted from 1 (0: never).

    ``error``: that call alone raises; ``cut``: the process ends before it; ``torn``: after half of it. Each change's
    kind is a line of ``log``.
    """
    real_open, calls = builtins.open, []

    def change(kind: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        calls.append(kind)
        with real_open(log, "a", encoding="utf-8") as handle:
            handle.write(f"{kind}\n")
        if len(calls) == at:
            if how == "error":
                raise OSError(5, "power cut")
            if how == "torn":
                assert half is not None
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        return act()

    def inside(path: Any) -> bool:
        return not isinstance(path, int) and folder in Path(path).parents

    def opening(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        act = partial(real_open, path, mode, *args, **options)
        writes = inside(path) and bool(set(mode) & set("wax+"))
        return change("opened to write", act, half=lambda: act().close()) if writes else act()

    def removing(path: Any, *args: Any, **options: Any) -> Any:
        act = partial(unlink, path, *args, **options)
        return change("removal", act) if inside(path) and os.path.exists(path) else act()

    def writing(tensors: Any, path: Any, **options: Any) -> None:
        def half() -> None:
            write(tensors, path, **options)
            os.truncate(path, os.path.getsize(path) // 2)
            rename(path, Path(path).with_name(".tmpAbCdEf"))  # safetensors writes under such a name itself

        change("tensors written", partial(write, tensors, path, **options), half)

    rename, fsync, unlink, write = os.replace, os.fsync, os.unlink, checkpoints.save_file
    os.replace = lambda *paths: change("rename", partial(rename, *paths))  # type: ignore[assignment]
    os.fsync = lambda number: change("fsync", partial(fsync, number))  # type: ignore[assignment]
    os.unlink, checkpoints.save_file = removing, writing  # type: ignore[assignment]
    builtins.open = io.open = opening  # type: ignore[assignment]


def cut_campaign(both: list[Run], cuts: int | None, seed: int, folder: Path, shared: Shared) -> Findings:
    """Cut short runs off at each of their changes to the folder (at ``cuts`` of each kind of run), and resume them."""
    failed: list[str] = []
    changes: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    rng = np.random.default_rng([seed, *both[0].name.encode()])
    for run in map(short, both):
        log = folder / f"{run.name}.log"
        undisturbed(run, folder, shared, partial(cutting, folder, log, 0, ""))
        kinds = log.read_text(encoding="utf-8").splitlines()
        assert {"rename", "fsync", "opened to write", "tensors written", "removal"} == set(kinds)
        changes.update(kinds)
        todo = [
            (at, how) for at, kind in enumerate(kinds, 1) for how in ("error", "cut", "torn")
            if how != "torn" or kind in ("opened to write", "tensors written")
        ]  # fmt: skip
        for at, how in (todo[i] for i in rng.permutation(len(todo))[:cuts]):
            place = folder / f"{run.name} {at} {how}"
            code = ended(start(run, place, shared, partial(cutting, folder, log, at, how)))
            found = [] if code == (FAULT if how == "error" else -signal.SIGKILL) else [f"cut off, it ended with {code}"]
            code = ended(start(run, place, shared))
            found += problems(run, place, shared)
            failed += [f"{run.name}, {how} at change {at} ({kinds[at - 1]}): {problem}" for problem in found]
            cases[how] += 1
    return {"changes of two short runs": dict(changes), "cases": dict(cases)}, failed


# ---- damage ---------------------------------------------------------------------------------------------------------


def damage(path: Path, rng: Rng) -> None:
    """Cut a file off at a random place, or turn one of its bits over."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))] if rng.random() < 0.5 else flipped(content, rng, 1, 1))


def damage_campaign(both: list[Run], times: int, seed: int, folder: Path, shared: Shared) -> Findings:
    """Damage the newest checkpoint of runs that end at random steps; of some both, or the pointer; resume them."""
    failed: list[str] = []
    cases: Counter[str] = Counter()
    rng = np.random.default_rng([seed, *both[0].name.encode()])
    for number in range(times):
        place = folder / f"damaged {number}"
        if number % 4 == 0:  # a few runs to damage in turn
            run, cut = both[number // 4 % 2], folder / f"stopped {number}"
            stopped = int(rng.integers(2 * run.config.checkpoint_every + 1, run.expected["metrics"]["steps"] + 1))
            code = ended(start(run, cut, shared, stop_before=stopped))
            assert code == -signal.SIGKILL
            newest, before = (entry["file"] for entry in json.loads((cut / checkpoints.POINTER).read_text()))
        steps = {name: int(name.removeprefix("step-")[:9]) for name in (newest, before)}
        for what, names, loaded in (
            ("the newest", [newest], steps[before]),
            ("both", [newest, before], 0),
            ("the pointer", [checkpoints.POINTER], None),
        ):
            if what != "the newest" and number % 4:
                continue
            shutil.copytree(cut, place)
            for name in names:
                damage(place / name, rng)
            code = ended(start(run, place, shared))
            told, at = shared.told().get("warnings", []), shared.loaded
            found = problems(run, place, shared, warned=True)
            if loaded is not None:
                if at != loaded:
                    found.append(f"it went on from step {at}, not {loaded}")
                if [n for n in names for text in told if f"/{n} is damaged" in text] != names or len(told) > len(names):
                    found.append(f"it warned: {told}")
            failed += [f"{run.name}, {what} damaged before step {stopped}, case {number}: {p}" for p in found]
            cases[what] += 1
            shutil.rmtree(place)
    return {"cases": dict(cases)}, failed


# ---- the campaign ---------------------------------------------------------------------------------------------------


def campaign(kills: int, cuts: int | None, damages: int, seed: int) -> dict[str, Any]:
    """All of it, a stage at a time; ``failed`` has a line for whatever went wrong."""
    torch.use_deterministic_algorithms(True)  # as pipeline.training_cell
    torch.set_num_threads(1)
    stages: dict[str, Any] = {}
    failed: list[str] = []
    shared = Shared()
    for stage in STAGES:
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            here = Path(folder)
            both = runs(stage)
            warm = short(both[1])
            train(warm.make(warm.config), warm.config, 0, here / "warm", {}, progress=False)  # torch imports as it goes
            for run in both:
                undisturbed(run, here, shared)
            done = {}
            for name, part in (
                ("killed", partial(kill_campaign, both, kills, seed)),
                ("cut off", partial(cut_campaign, both, cuts, seed)),
                ("damaged", partial(damage_campaign, both, damages, seed)),
            ):
                (here / name).mkdir()
                done[name], found = part(here / name, shared)
                failed += found
                print(f"{stage}, {name}: {json.dumps(done[name])}, {len(found)} failures", file=sys.stderr, flush=True)
            stages[stage] = done
    code = checkpoints.fingerprint(checkpoints.code_files(Path(checkpoints.__file__).parent))[:16]
    made = {"seed": seed, "torch": torch.__version__, "code": code}
    return {**made, "failures": len(failed), "failed": failed, "stages": stages}


def summary(report: dict[str, Any]) -> str:
    """The report for people."""
    head = ["stage", "runs", "kills", *SIGNALS, "mid-step", "mid-save", "in a validation", "mid-epoch"]
    head += ["cut off at a write", "damaged"]
    rows = []
    for stage, done in report["stages"].items():
        by, cuts, damaged = done["killed"]["by signal and moment"], done["cut off"], done["damaged"]
        at = {moment: sum(of.get(moment, 0) for of in by.values()) for moment in MOMENTS}
        rows.append([
            stage, done["killed"]["runs"], done["killed"]["kills"], *(sum(of.values()) for of in by.values()),
            at["step"], at["save"], at["validation"], done["killed"]["within an epoch"],
            sum(cuts["cases"].values()), sum(damaged["cases"].values()),
        ])  # fmt: skip
    lines = [
        "# Killed, cut off and damaged runs", "",
        f"`{report['command']}` (seed {report['seed']}, torch {report['torch']}); counts in full in `kills.json`.",
        "Tiny runs of each stage, half of them with averaged weights, are killed at random moments (of the kills, a",
        "fifth is aimed at a save, a tenth at a validation) and started again until they are through; cut off before,",
        "amid, and by an error at, each rename, sync, opening, write and removal; given damaged checkpoints.", "",
        f"**{report['failures']} failures**: a run that ended with other weights, history or metrics than the",
        "undisturbed one (bit for bit), was lost, or left more than one checkpoint behind.", "",
        f"| {' | '.join(head)} |", f"|{'---|' * len(head)}",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills")
    parser.add_argument("--out", type=Path, required=True, help="the report's .json; a .md is written beside it")
    parser.add_argument("--kills", type=int, default=60, help="of each stage, at least")
    parser.add_argument("--cuts", type=int, help="changes to cut each kind of run off at; default: all of them")
    parser.add_argument("--damages", type=int, default=20, help="newest checkpoints to damage, of each stage")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report: dict[str, Any] = {"command": f"python -m tests.kills {shlex.join(sys.argv[1:])}"}
    report |= campaign(args.kills, args.cuts, args.damages, args.seed)
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(summary(report), encoding="utf-8")
    for line in report["failed"]:
        print(line, file=sys.stderr)
    return int(report["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main())
