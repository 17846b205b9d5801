"""The loop: resumable bit for bit, a pure function of its seed, honest about divergence and preemption."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from langpose import checkpoints
from langpose.checkpoints import CheckpointWarning
from langpose.training import PREEMPTED, Preempted, TrainingConfig, TrainingDivergedError, batch_order, batches, train

CONFIG = TrainingConfig(epochs=3, batch_size=4, learning_rate=1e-2, checkpoint_every=2, validate_every=2)


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


class Toy:
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
    history = train(task, config, seed, folder, mark)
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


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_training import run
from pathlib import Path
print("go", flush=True)
run(Path({folder!r}), lambda step: time.sleep(0.02))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_continues_to_the_same_result(undisturbed, tmp_path, number):
    rng = np.random.default_rng(int(number))
    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    for _ in range(2):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   env=environment)  # fmt: skip
        process.stdout.readline()
        time.sleep(rng.uniform(0.05, 0.3))
        process.send_signal(number)
        process.communicate()
        if number == signal.SIGTERM and process.returncode not in (0, -signal.SIGTERM):
            assert process.returncode == PREEMPTED
    assert_same(run(tmp_path), undisturbed)


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


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(undisturbed, tmp_path, damage):
    class Killed(Exception):
        pass

    def kill(step):
        if step == 9:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, kill)
    newest = max(tmp_path.glob("step-*.safetensors"))
    content = newest.read_bytes()
    if damage == "truncate":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        newest.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    else:
        newest.unlink()
    with pytest.warns(CheckpointWarning, match=newest.name):
        result = run(tmp_path)
    assert_same(result, undisturbed)


def test_an_error_at_any_write_of_a_checkpoint_leaves_the_one_before(undisturbed, tmp_path, monkeypatch):
    real = os.replace
    for fail_at in range(1, 5):
        folder, calls = tmp_path / str(fail_at), []

        def failing(a, b, calls=calls, fail_at=fail_at):
            calls.append(b)
            if len(calls) == fail_at:
                raise OSError(5, "power cut")
            real(a, b)

        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="power cut"):
            run(folder)
        monkeypatch.setattr(os, "replace", real)
        assert_same(run(folder), undisturbed)


def test_a_changed_configuration_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match="checkpoints of another run"):
        run(tmp_path, mark="other")


def test_a_finished_run_is_not_trained_again(undisturbed, tmp_path):
    run(tmp_path)

    def never(step):
        raise AssertionError("trained again")

    assert_same(run(tmp_path, never), undisturbed)


def test_a_loss_that_is_not_a_number_stops_with_where_and_what(tmp_path):
    class Broken(Toy):
        def loss(self, batch):
            loss, terms = super().loss(batch)
            return (loss * float("nan"), terms) if self.steps == 7 else (loss, terms)

    with pytest.raises(
        TrainingDivergedError, match=r"not finite at step 7 \(epoch 1, seed 1\).*Lower the learning rate"
    ):
        train(Broken(), CONFIG, 1, tmp_path, "f")
    assert checkpoints.load(tmp_path)[1]["step"] <= 6


def test_accumulation_equals_the_whole_batch(tmp_path):
    config = replace(CONFIG, batch_size=16)
    whole = run(tmp_path / "a", config=config)
    parts = run(tmp_path / "b", config=replace(config, accumulate=4))
    for name in whole[0]:
        torch.testing.assert_close(parts[0][name], whole[0][name], rtol=1e-4, atol=1e-5)


def test_workers_change_nothing(tmp_path):
    order = batch_order(22, CONFIG, 0, 0)
    clips = Numbers()
    for a, b in zip(batches(clips, order, 0), batches(clips, order, 1), strict=True):
        assert torch.equal(a["x"], b["x"]) and torch.equal(a["y"], b["y"])


def test_every_epoch_has_its_own_order_of_the_same_items():
    first, second = (batch_order(20, CONFIG, 0, epoch) for epoch in (0, 1))
    assert sorted(first.ravel()) == sorted(second.ravel()) == list(range(20))
    assert (first != second).any()
    with pytest.raises(ValueError, match="3 clips do not fill a batch of 4"):
        batch_order(3, CONFIG, 0, 0)


def test_the_best_weights_are_kept_and_history_has_no_clock(tmp_path):
    config = replace(CONFIG, epochs=6, validate_every=1, learning_rate=0.3)  # overshoots: the last is not the best
    _, history = run(tmp_path / "best", config=config)
    _, last = run(tmp_path / "last", config=replace(config, keep="last"))
    assert history["val_mpjpe"].idxmin() != len(history) - 1
    task = Toy()
    train(task, config, 1, tmp_path / "best", "f")
    task.model.eval()
    with torch.inference_mode():
        assert task.validate()["val_mpjpe"] == history["val_mpjpe"].min()
    assert list(last.columns) == ["epoch", "step", "learning_rate", "loss", "error", "val_mpjpe"]
    assert (tmp_path / "best" / "timings.csv").exists()


def test_the_fingerprint_follows_parameters_and_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = checkpoints.fingerprint({"lr": 1}, [tmp_path / "a"])
    assert checkpoints.fingerprint({"lr": 1}, [tmp_path / "a"]) == first
    assert checkpoints.fingerprint({"lr": 2}, [tmp_path / "a"]) != first
    (tmp_path / "a" / "x").write_text("2")
    assert checkpoints.fingerprint({"lr": 1}, [tmp_path / "a"]) != first
    with pytest.raises(FileNotFoundError, match="missing or empty"):
        checkpoints.fingerprint({}, [tmp_path / "nothing"])
