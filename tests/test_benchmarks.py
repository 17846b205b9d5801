"""The benchmarks run at a tiny size, alone and against a stand-in with the file and function names of MotionBERT."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
TINY = ["--width", "16", "--depth", "1", "--heads", "2", "--repeats", "2"]

NETWORK = """
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig

class DSTformer(PoseEncoder):
    def __init__(self, norm_layer, **sizes):
        super().__init__(PoseEncoderConfig(**sizes, pose_token=False), 0)
"""

LOSSES = """
from langpose import losses, metrics

loss_mpjpe, n_mpjpe, loss_velocity = losses.mpjpe_loss, losses.n_mpjpe_loss, losses.velocity_loss
mpjpe, p_mpjpe = metrics.mpjpe, metrics.p_mpjpe

def loss_limb_var(x):
    return x.var()

def loss_limb_gt(x, y):
    return (x - y).mean()

loss_angle = loss_angle_velocity = loss_limb_gt
"""


@pytest.fixture
def benchmark(monkeypatch):
    """A benchmark by its name; in one thread, as tests share the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def load(name):
        module = __import__(name)
        monkeypatch.setattr(module, "pin", lambda threads: None)
        if hasattr(module, "matmul_ceiling"):
            monkeypatch.setattr(module, "matmul_ceiling", lambda device, precision: 1e12)
        return module

    yield load
    torch.set_num_threads(threads)
    for name in [name for name in sys.modules if name == "lib" or name.startswith("lib.")]:
        del sys.modules[name]


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """Something with MotionBERT's file and function names, of our own making."""
    folder = tmp_path / "reference"
    (folder / "lib/model").mkdir(parents=True)
    (folder / "lib/model/DSTformer.py").write_text(NETWORK)
    (folder / "lib/model/loss.py").write_text(LOSSES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return folder


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
def test_a_training_step_is_timed_without_a_reference(benchmark, tmp_path, capsys):
    arguments = [*TINY, "--frames", "5", "--batch", "2", "--turn-s", "0.01", "--threads", "1"]
    benchmark("train_step").main([*arguments, "--json", str(tmp_path / "figures.json")])
    printed = capsys.readouterr().out
    assert "git clone https://github.com/Walter0807/MotionBERT" in printed and "ours bf16" in printed
    assert printed.splitlines()[-1] == "ratio: not measured, there is no other side"
    ours = json.loads((tmp_path / "figures.json").read_text())["batches"]["2"]["sides"]["ours"]
    assert ours["turns"] == 2 and ours["clips_per_second"]["median"] > 0 and 0 < ours["utilisation"] < 1
    assert ours["peak_bytes"] > 0 or sys.platform != "linux"


@pytest.mark.slow
def test_training_steps_are_compared_with_a_reference_of_equal_outputs(benchmark, reference, tmp_path, capsys):
    arguments = [*TINY, "--frames", "5", "--batch", "2", "--turn-s", "0.01", "--threads", "1", "--precision", "fp32"]
    arguments += ["--reference", str(reference), "--json", str(tmp_path / "figures.json")]
    benchmark("train_step").main(arguments)
    figures = json.loads((tmp_path / "figures.json").read_text())
    batch = figures["batches"]["2"]
    assert set(batch["sides"]) == {"ours", "fp32"} and batch["difference"] == 0
    assert last_line(capsys) == f"ratio: {figures['ratio']:.1f}" and figures["ratio"] > 0


def test_where_a_gpu_is_too_small_theirs_is_halved_and_ours_is_cut_into_parts(benchmark, monkeypatch):
    train_step, asked = benchmark("train_step"), []

    def run(command, **_):
        batch, parts = int(command[command.index("--batch") + 1]), int(command[command.index("--accumulate") + 1])
        asked.append((batch, parts))
        answer = json.dumps({"fits": batch // parts <= 16})
        return subprocess.CompletedProcess(command, 0, stdout=answer)

    monkeypatch.setattr(train_step.subprocess, "run", run)
    assert train_step.measured_alone([], "bf16", 64, 1) == {"fits": True, "batch": 16, "accumulate": 1}
    assert train_step.measured_alone([], "ours", 64, 1) == {"fits": True, "batch": 64, "accumulate": 4}
    assert asked == [(64, 1), (32, 1), (16, 1), (64, 1), (64, 2), (64, 4)]


def test_inference_is_timed_and_its_rounding_measured(benchmark, reference, tmp_path, capsys):
    arguments = [*TINY, "--frames", "3", "5", "--batch", "2", "--turn-s", "0.001"]
    arguments += ["--reference", str(reference), "--json", str(tmp_path / "figures.json")]
    benchmark("inference").main(arguments)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["rows"]) == {f"{t} frames, {n}" for t in (3, 5) for n in ("one clip", "batch 2")}
    assert figures["difference_mm"]["5"]["pose_size"] == pytest.approx(500, rel=0.3)
    assert 0 < figures["difference_mm"]["5"]["mean"] < 50
    assert last_line(capsys) == f"ratio: {figures['ratio']:.1f}"


def test_inference_runs_without_a_reference(benchmark, capsys):
    benchmark("inference").main([*TINY, "--frames", "3", "--batch", "1", "--turn-s", "0.001"])
    assert last_line(capsys) == "ratio: not measured, there is no other side"


def test_a_reference_of_other_outputs_makes_the_timing_void(benchmark, reference):
    network = reference / "lib/model/DSTformer.py"
    network.write_text(NETWORK + "    def forward(self, x):\n        return super().forward(x) + 1e-3\n")
    with pytest.raises(SystemExit, match=r"void: outputs differ by 0.001"):
        benchmark("inference").main([*TINY, "--frames", "3", "--batch", "1", "--reference", str(reference)])


def test_the_metrics_are_timed_on_both_sides_and_agree(benchmark, reference, tmp_path, capsys):
    arguments = ["--frames", "100", "--clip-len", "9", "--repeats", "2", "--reference", str(reference)]
    benchmark("metrics").main([*arguments, "--json", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["frames"] == 99 and figures["difference_mm"] < 1e-6
    assert last_line(capsys) == f"ratio: {figures['ratio']:.1f}"


def test_a_folder_that_is_no_clone_is_named(benchmark, tmp_path):
    with pytest.raises(SystemExit, match=r"no lib/model/DSTformer.py there"):
        benchmark("metrics").main(["--frames", "9", "--clip-len", "9", "--reference", str(tmp_path)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_gpu_measurements_are_listed_and_refused(tmp_path):
    def call(*arguments):
        environment = {**os.environ, "PYTHON": sys.executable}
        return subprocess.run([ROOT / "benchmarks/gpu.sh", *arguments], capture_output=True, text=True, env=environment)

    listed = call("--list", tmp_path)
    assert listed.returncode == 0 and "train_64       to do" in listed.stdout
    refused = call(tmp_path)
    assert refused.returncode == 2 and "no GPU" in refused.stderr


def test_gpu_measurements_resume_and_keep_what_is_done(tmp_path, reference):
    stub = tmp_path / "python"
    stub.write_text(
        '#!/bin/bash\n[ "$1" = -c ] && exit 0\necho "$@"\n'
        '[[ "$*" == *--batch\\ 16* && ! -e "$FIXED" ]] && exit 5\n'
        'while [ "$1" != --json ]; do shift; done\necho "{}" >"$2"\necho "ratio: 2.0"\n'
    )
    stub.chmod(0o755)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHON": str(stub), "OUT": str(out), "FIXED": str(tmp_path / "fixed")}
    environment["CARRY"] = str(tmp_path / "carry")
    environment.pop("REFERENCE", None)

    def call(**more):
        command = [ROOT / "benchmarks/gpu.sh"]
        done = subprocess.run(command, capture_output=True, text=True, env={**environment, **more})
        return done.returncode, done.stdout

    status, printed = call()
    assert status == 3 and "set REFERENCE" in printed
    assert {file.stem for file in out.glob("*.json")} == {"matmul", "reduced_body", "waiting"}
    status, printed = call(REFERENCE=str(reference), LIMIT_S="300")
    assert status == 1 and "train_16       FAILED   exit 5" in printed and "train_64       left" in printed
    assert "matmul         done" in printed and not (out / "train_16.json").exists()
    (tmp_path / "fixed").touch()
    (tmp_path / "carry").mkdir()
    status, printed = call(REFERENCE=str(reference))
    assert status == 0 and len(list(out.glob("*.json"))) == 8 and not list(out.glob("*.part"))
    assert f"--reference {reference}" in (out / "train_64.log").read_text()
    assert call(OUT=str(tmp_path / "empty"), DONE=str(out))[0] == 0
