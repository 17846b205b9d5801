"""The loop: resumable bit for bit, a pure function of its seed, honest about divergence and preemption."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from langpose import checkpoints, training
from langpose.checkpoints import CheckpointWarning
from langpose.sampling import batch_order, batches
from langpose.training import PREEMPTED, Preempted, Task, TrainingConfig, TrainingDivergedError, train
from tests.power_cut import power_cut

ROOT = Path(__file__).parent.parent
CONFIG = TrainingConfig(epochs=3, batch_size=4, learning_rate=1e-2, checkpoint_every=2, validate_every=2)


MADE_OF = {"mark": "f"}


class Numbers:
    """Items drawn anew each epoch from (epoch, item)."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 22

    def __getitem__(self, item):
        rng = np.random.default_rng([self.epoch, item])
        x = rng.normal(size=5).astype(np.float32)
        return {"x": x, "y": np.float32(x @ np.arange(5))}


class Toy(Task):
    """Linear regression; ``act`` is called before each step's loss."""

    def __init__(self, act=lambda step: None):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
        self.clips, self.act, self.steps = Numbers(), act, 0

    def loss(self, batch):
        self.act(self.steps)
        self.steps += 1
        error = (self.model(batch["x"]).squeeze(-1) - batch["y"]).abs().mean()
        return error, {"error": error}

    def validate(self):
        x = torch.linspace(-1, 1, 20).reshape(4, 5)
        return {"val_mpjpe": float((self.model(x).squeeze(-1) - x @ torch.arange(5.0)).abs().mean())}


def run(folder, act=lambda step: None, config=CONFIG, seed=1, mark="f"):
    task = Toy(act)
    history = train(task, config, seed, folder, {"mark": mark}, progress=False)
    return {name: value.clone() for name, value in task.model.state_dict().items()}, history


def assert_same(a, b):
    for name in a[0]:
        assert torch.equal(a[0][name], b[0][name]), name
    pd.testing.assert_frame_equal(a[1], b[1], check_exact=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed"))


def test_the_same_seed_gives_the_same_run_and_another_seed_another(undisturbed, tmp_path):
    assert_same(run(tmp_path / "a"), undisturbed)
    assert not torch.equal(run(tmp_path / "b", seed=2)[0]["0.weight"], undisturbed[0]["0.weight"])


@pytest.mark.parametrize("stop", range(15))
def test_stopping_at_any_step_and_starting_again_changes_nothing(undisturbed, tmp_path, stop):
    class Killed(Exception):
        pass

    def kill(step):
        if step == stop:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, kill)
    assert_same(run(tmp_path), undisturbed)


FORKS = """
import json, os, signal, sys, time
import numpy as np
sys.path.insert(0, {tests!r})
import test_training
from pathlib import Path

test_training.run(Path({folder!r}) / "first")  # torch imports parts of itself in its first step
rng, report = np.random.default_rng(0), []
for number in range({folders}):
    for _ in range(2):
        inward, outward = os.pipe()
        victim = os.fork()
        if victim == 0:
            os.close(inward)
            test_training.run(Path({folder!r}) / str(number), lambda step: (os.write(outward, b"."), time.sleep(0.002)))
            os._exit(0)
        os.close(outward)
        for _ in range(rng.integers(1, 8)):  # so many steps, then at any moment of what follows, writing included
            os.read(inward, 1)
        time.sleep(rng.uniform(0, 0.015))
        os.kill(victim, signal.SIGKILL)
        os.close(inward)
        report.append(os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]))
print(json.dumps(report))
"""


def start(code, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip


def test_processes_killed_at_random_moments_continue_to_the_same_result(undisturbed, tmp_path):
    folders = 8  # two kills each
    process = start(FORKS.format(tests=str(Path(__file__).parent), folder=str(tmp_path), folders=folders))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    codes, reached = json.loads(out), []
    assert codes.count(-signal.SIGKILL) >= 5, "the runs ended before they could be killed"
    for number in range(folders):
        found = checkpoints.load(tmp_path / str(number))
        reached.append(0 if found is None else found[1]["step"])
        assert_same(run(tmp_path / str(number)), undisturbed)
    assert len({step for step in reached if 0 < step < 15}) >= 3, f"kills were to hit many steps, hit {reached}"


GROUP = """
import sys, time
sys.path.insert(0, {tests!r})
import test_training
from dataclasses import replace
from pathlib import Path
config = replace(test_training.CONFIG, workers=1, checkpoint_every=1000, epochs=50, validate_every=50)

def act(step):
    time.sleep(0.02)
    if step == 7:
        print("go", flush=True)

test_training.run(Path({folder!r}), act, config)
"""


def test_sigterm_to_a_whole_process_group_with_loader_workers_saves_and_exits_with_75(tmp_path):
    """Schedulers signal the workers too; a worker that dies first must not take the state with it."""
    process = start(GROUP.format(tests=str(Path(__file__).parent), folder=str(tmp_path)), start_new_session=True)
    assert process.stdout.readline() == "go\n"
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == PREEMPTED == 75, err
    assert 8 <= checkpoints.load(tmp_path)[1]["step"] < 100


def test_sigterm_saves_and_raises_preempted(undisturbed, tmp_path):
    def terminate(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted) as caught:
        run(tmp_path, terminate)
    assert caught.value.code == PREEMPTED
    assert checkpoints.load(tmp_path)[1]["step"] == 4
    assert_same(run(tmp_path), undisturbed)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_during_validation_saves_the_epoch_and_stops(undisturbed, tmp_path):
    class Terminated(Toy):
        def validate(self):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().validate()

    with pytest.raises(Preempted):
        train(Terminated(), CONFIG, 1, tmp_path, MADE_OF)
    assert checkpoints.load(tmp_path)[1]["step"] == 10  # the end of the second epoch, the first that is validated
    assert_same(run(tmp_path), undisturbed)


def test_ctrl_c_saves_and_a_second_one_does_not_wait(undisturbed, tmp_path):
    def interrupt(times):
        def act(step):
            for _ in range(times if step == 3 else 0):
                os.kill(os.getpid(), signal.SIGINT)

        return act

    for times, saved in ((1, 4), (2, 2)):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / str(times), interrupt(times))
        assert checkpoints.load(tmp_path / str(times))[1]["step"] == saved
        assert_same(run(tmp_path / str(times)), undisturbed)


def test_a_truncated_checkpoint_is_named_and_the_one_before_leads_to_the_same_result(undisturbed, tmp_path):
    class Killed(Exception):
        pass

    def kill(step):
        if step == 9:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, kill)
    newest = tmp_path / checkpoints.newest(tmp_path)
    newest.write_bytes(newest.read_bytes()[:500])
    with pytest.warns(CheckpointWarning, match=newest.name):
        result = run(tmp_path)
    assert_same(result, undisturbed)


def test_an_error_at_any_write_of_a_checkpoint_leaves_the_one_before(undisturbed, tmp_path):
    for fail_at in range(1, 5):
        folder = tmp_path / str(fail_at)
        with power_cut(at=fail_at):
            run(folder)
        assert_same(run(folder), undisturbed)


def test_a_changed_configuration_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoints of another run; it differs in: mark \(f, now other\)"):
        run(tmp_path, mark="other")


def test_a_finished_run_is_not_trained_again(undisturbed, tmp_path):
    run(tmp_path)
    assert len(list(tmp_path.glob("step-*"))) == 1  # and keeps its weights alone
    assert {name.split(".")[0] for name in checkpoints.load(tmp_path)[0]} == {"model"}

    def never(step):
        raise AssertionError("trained again")

    assert_same(run(tmp_path, never), undisturbed)


def test_a_loss_that_is_not_a_number_stops_with_where_and_what(tmp_path):
    class Broken(Toy):
        def loss(self, batch):
            loss, terms = super().loss(batch)
            return (loss * float("nan"), terms) if self.steps == 7 else (loss, terms)

    message = r"not finite at step 7 \(epoch 1, seed 1\): .*step-000000006.safetensors.*Lower the learning rate"
    with pytest.raises(TrainingDivergedError, match=message) as caught:
        train(Broken(), CONFIG, 1, tmp_path, MADE_OF)
    assert caught.value.step == 7 and np.isnan(caught.value.terms["loss"]) and np.isfinite(caught.value.terms["error"])
    assert caught.value.checkpoint == "step-000000006.safetensors"
    assert checkpoints.load(tmp_path)[1]["step"] == 6


def test_a_loss_that_explodes_stops_with_what_it_was(undisturbed, tmp_path):
    class Exploding(Toy):
        def loss(self, batch):
            loss, terms = super().loss(batch)
            return (loss * 1e4, terms) if self.steps == 8 else (loss, terms)

    with pytest.raises(TrainingDivergedError, match=r"the loss has exploded at step 8 \(epoch 1") as caught:
        train(Exploding(), CONFIG, 1, tmp_path, MADE_OF)
    assert caught.value.terms["loss"] > 100 and caught.value.checkpoint == "step-000000006.safetensors"
    assert_same(run(tmp_path), undisturbed)


def test_an_average_of_the_weights_is_what_slow_arithmetic_says_and_resumes(tmp_path):
    config = replace(CONFIG, ema_decay=0.8, keep="last", validate_every=1)
    seen = []

    class Watched(Toy):
        def loss(self, batch):
            seen.append({name: value.clone() for name, value in self.model.state_dict().items()})
            return super().loss(batch)

    task = Watched()
    train(task, config, 1, tmp_path / "a", MADE_OF, progress=False)
    plain, _ = run(tmp_path / "plain", config=replace(config, ema_decay=None))
    average = seen[0]
    for weights in [*seen[1:], plain]:
        average = {name: 0.8 * average[name] + 0.2 * weights[name] for name in average}
    for name, value in task.model.state_dict().items():
        torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-6)
    whole = run(tmp_path / "whole", config=config)

    def kill(step):
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", kill, config)
    assert_same(run(tmp_path / "b", config=config), whole)


def test_a_run_ends_when_its_patience_does(tmp_path):
    config = replace(CONFIG, epochs=12, validate_every=1, learning_rate=0.3, keep="last")
    _, endless = run(tmp_path / "a", config=config)
    _, history = run(tmp_path / "b", config=replace(config, patience=2))
    scores = endless["val_mpjpe"].tolist()
    ends = next(n for n in range(3, 13) if min(scores[: n - 2]) <= min(scores[n - 2 : n]))
    assert ends < 12, "the toy must get worse for this to test anything"
    pd.testing.assert_frame_equal(history, endless.head(ends))
    _, again = run(tmp_path / "b", config=replace(config, patience=2))
    pd.testing.assert_frame_equal(again, history)


def test_half_precision_on_a_cpu_is_refused_with_what_to_use(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("a GPU can")
    with pytest.raises(ValueError, match="fp16 needs a GPU; on a CPU use bf16 or fp32"):
        run(tmp_path, config=replace(CONFIG, precision="fp16"))


def test_weights_that_are_not_numbers_are_never_saved(undisturbed, tmp_path):
    class Steep(Toy):
        def loss(self, batch):
            loss, terms = super().loss(batch)
            return (
                (loss + (loss * 0).sqrt(), terms) if self.steps == 8 else (loss, terms)
            )  # finite; its gradient is not

    with pytest.raises(TrainingDivergedError, match="a weight is not finite at step 8") as caught:
        train(Steep(), CONFIG, 1, tmp_path, MADE_OF)
    assert caught.value.checkpoint == "step-000000006.safetensors"
    assert_same(run(tmp_path), undisturbed)  # what is left is good to continue from


@pytest.mark.parametrize("every", [2, 3, 100])
def test_reading_the_losses_seldom_changes_nothing(undisturbed, tmp_path, monkeypatch, every):
    monkeypatch.setitem(training.READ_EVERY, "cpu", every)
    assert_same(run(tmp_path / "a"), undisturbed)

    class Broken(Toy):
        def loss(self, batch):
            loss, terms = super().loss(batch)
            return (loss * float("nan"), terms) if self.steps == 7 else (loss, terms)

    config = replace(CONFIG, checkpoint_every=1000)
    with pytest.raises(TrainingDivergedError, match="not finite at step 7 "):
        train(Broken(), config, 1, tmp_path / "b", MADE_OF)
    assert checkpoints.load(tmp_path / "b") is None


def test_accumulation_equals_the_whole_batch(tmp_path):
    config = replace(CONFIG, batch_size=16)
    whole = run(tmp_path / "a", config=config)
    parts = run(tmp_path / "b", config=replace(config, accumulate=4))
    for name in whole[0]:
        torch.testing.assert_close(parts[0][name], whole[0][name], rtol=1e-4, atol=1e-5)


def test_workers_change_nothing(tmp_path):
    order = batch_order(22, 4, 0, 0)
    clips = Numbers()
    for a, b in zip(batches(clips, order, 0), batches(clips, order, 1), strict=True):
        assert torch.equal(a["x"], b["x"]) and torch.equal(a["y"], b["y"])
    assert_same(run(tmp_path / "a", config=replace(CONFIG, workers=1)), run(tmp_path / "b"))


def test_training_leaves_the_global_generators_alone(tmp_path):
    task = Toy()
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train(task, replace(CONFIG, workers=1), 1, tmp_path, {}, progress=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_threads_hold_during_the_run_alone(tmp_path):
    seen, before = [], torch.get_num_threads()
    run(tmp_path, lambda step: seen.append(torch.get_num_threads()), replace(CONFIG, threads=before + 1))
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_run_ends_after_max_steps_and_is_still_resumable(undisturbed, tmp_path):
    class Killed(Exception):
        pass

    def kill(step):
        if step == 6:
            raise Killed

    config = replace(CONFIG, max_steps=7)
    _, history = run(tmp_path / "a", config=config)
    assert history["step"].tolist() == [5, 7]
    assert history["loss"][0] == undisturbed[1]["loss"][0]
    assert np.isfinite(history["val_mpjpe"].iloc[-1])
    with pytest.raises(Killed):
        run(tmp_path / "b", kill, config)
    assert_same(run(tmp_path / "b", config=config), run(tmp_path / "a", config=config))


def test_bfloat16_resumes_bit_for_bit_and_keeps_its_weights_in_float32(tmp_path):
    class Killed(Exception):
        pass

    def kill(step):
        if step == 6:
            raise Killed

    config = replace(CONFIG, precision="bf16")
    with pytest.raises(Killed):
        run(tmp_path / "a", kill, config)
    resumed, whole = run(tmp_path / "a", config=config), run(tmp_path / "b", config=config)
    assert_same(resumed, whole)
    assert {value.dtype for value in whole[0].values()} == {torch.float32}


def test_progress_is_lines_on_stderr_where_there_is_no_terminal_and_can_be_off(tmp_path, capsys):
    train(Toy(), CONFIG, 1, tmp_path / "a", MADE_OF)
    shown = capsys.readouterr()
    assert "step 15/15" in shown.err and "clips/s" in shown.err and not shown.out
    train(Toy(), CONFIG, 1, tmp_path / "b", {}, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"max_steps": 0}, "max_steps is 0; it must be at least 1, or null"),
        ({"threads": -1}, "threads is -1"),
        ({"accumulate": 3}, "batch_size 16 must be a multiple of accumulate 3 times processes 1"),
        ({"accumulate": 4, "processes": 8}, "batch_size 16 must be a multiple of accumulate 4 times processes 8"),
        ({"processes": 0}, "processes is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"max_loss_growth": 1.0}, "max_loss_growth is 1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
    ],
)
def test_senseless_settings_are_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**values)


def test_every_epoch_has_its_own_order_of_the_same_items():
    first, second = (batch_order(20, 4, 0, epoch) for epoch in (0, 1))
    assert sorted(first.ravel()) == sorted(second.ravel()) == list(range(20))
    assert (first != second).any()
    assert (batch_order(20, 4, 0, 0) == first).all() and (batch_order(20, 4, 1, 0) != first).any()
    assert batch_order(22, 4, 0, 0).shape == (5, 4)  # full batches alone
    with pytest.raises(ValueError, match="3 clips do not fill a batch of 4"):
        batch_order(3, 4, 0, 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_cannot_be_read_stops_the_epoch_with_its_own_error(workers):
    class Broken(Numbers):
        def __getitem__(self, item):
            if item == 7:
                raise OSError("views/front.npy: input/output error")
            return super().__getitem__(item)

    order = np.arange(12).reshape(6, 2)
    got = []
    with pytest.raises(OSError, match="front.npy: input/output error"):
        for batch in batches(Broken(), order, workers):
            got.append(batch)
    assert len(got) == 3  # those before it


def test_a_failed_training_ends_at_once_though_its_workers_outlive_sigterm(tmp_path):
    script = f"""
import sys
from pathlib import Path
from tests.test_training import CONFIG, Toy, train
from dataclasses import replace
def act(step):
    if step == 2:
        raise ValueError("seen")
try:
    train(Toy(act), replace(CONFIG, workers=2), 0, Path({str(tmp_path / "run")!r}), {{}}, progress=False)
except ValueError as error:
    kept = error  # its traceback holds the loop's frames
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "seen\n"), done.stderr


def test_the_best_weights_are_kept_and_history_has_no_clock(tmp_path):
    config = replace(CONFIG, epochs=6, validate_every=1, learning_rate=0.3)  # overshoots: the last is not the best
    _, history = run(tmp_path / "best", config=config)
    _, last = run(tmp_path / "last", config=replace(config, keep="last"))
    assert history["val_mpjpe"].idxmin() != len(history) - 1
    task = Toy()
    train(task, config, 1, tmp_path / "best", MADE_OF, progress=False)
    task.model.eval()
    with torch.inference_mode():
        assert task.validate()["val_mpjpe"] == history["val_mpjpe"].min()
    assert list(last.columns) == ["epoch", "step", "learning_rate", "loss", "error", "val_mpjpe"]
    assert (tmp_path / "best" / "timings.csv").exists()
