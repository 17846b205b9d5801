"""Completion and prediction: what is hidden, what is scored, and the fills, against slow references; then the stage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from langpose.clips import ClipsConfig
from langpose.completion import FILLS, UnpaddedClips, fill, frame_errors, hidden_window, hide, score
from langpose.model.langpose import LangPose, LangPoseConfig
from langpose.model.pose_encoder import PoseEncoderConfig
from pipeline import layout
from pipeline.stages import complete

SHARES = {"completion": [0.2, 0.4], "prediction": [0.2, 0.4]}


def drawn(clips=3, frames=20, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(clips, frames, 17, 3)).cumsum(1).astype(np.float32))


class Oracle:
    """Knows the clips: gives a frame's true joints wherever it recognises its 2D, or by its place in a whole clip."""

    def __init__(self, motion):
        self.motion, self.inputs = motion, []

    def __call__(self, x):
        self.inputs.append(x)
        result = torch.empty_like(x)
        for i, clip in enumerate(x):
            for t, frame in enumerate(clip):
                seen = (self.motion[i, ..., :2] == frame[..., :2]).all(-1).all(-1)
                result[i, t] = self.motion[i, int(seen.nonzero()[0]) if seen.any() else t]
        return result


def slow_fill(kind, visible, t_before, t_after, t):
    """visible: frame → (17, 3)."""
    if kind == "hold":
        return visible[t_before]
    if kind == "velocity":
        return visible[t_before] + (visible[t_before] - visible[t_before - 1]) * (t - t_before)
    weight = (t - t_before) / (t_after - t_before)
    return (1 - weight) * visible[t_before] + weight * visible[t_after]


def slow_mpjpe(guess, truth):
    distances = [np.linalg.norm((guess[j] - guess[0]) - (truth[j] - truth[0])) for j in range(17)]
    return sum(distances) / 17


def slow_errors(encode, motion, task, start, stop):
    """name → (B, L) of errors, a frame at a time."""
    frames = motion.shape[1]
    x = torch.cat([motion[..., :2], torch.ones(*motion.shape[:3], 1)], -1)
    masked = x.clone()
    for t in range(start, stop):
        masked[:, t] = 0
    outputs = {"model": encode(masked).numpy(), "visible": encode(x).numpy()}
    parts = [(t, encode(x[:, a:b]).numpy()) for a, b in ((0, start), (stop, frames)) if a < b for t in [a]]
    truth, names = motion.numpy(), ["model", "visible", *FILLS[task]]
    errors = {name: np.zeros((len(motion), stop - start)) for name in names}
    for i in range(len(motion)):
        visible = {first + t: pose for first, part in parts for t, pose in enumerate(part[i])}
        for t in range(start, stop):
            for name in names:
                guess = outputs[name][i, t] if name in outputs else slow_fill(name, visible, start - 1, stop, t)
                errors[name][i, t - start] = slow_mpjpe(guess, truth[i, t])
    return errors


def linear_encoder(x):
    """Mixes coordinates and frames, so that nothing comes out as it went in; any number of frames."""
    weights = torch.tensor([[0.9, 0.1, 0.4], [-0.2, 1.1, 0.3], [0.0, 0.2, 0.5]])
    return x @ weights + 0.1 * x.mean(1, keepdim=True)


# Windows and masks


@pytest.mark.parametrize(
    ("task", "share", "frames", "window"),
    [
        ("completion", 0.2, 10, (4, 6)),
        ("completion", 0.2, 27, (11, 16)),
        ("completion", 0.4, 243, (73, 170)),
        ("completion", 0.001, 9, (4, 5)),
        ("prediction", 0.2, 10, (8, 10)),
        ("prediction", 0.4, 243, (146, 243)),
    ],
)
def test_the_window_is_the_clips_middle_or_its_end(task, share, frames, window):
    assert hidden_window(task, share, frames) == window


@pytest.mark.parametrize(
    ("task", "share", "frames"),
    [("completion", 0.9, 5), ("completion", 0.4, 1), ("prediction", 0.9, 10), ("prediction", 1.5, 10),
     ("completion", 0.0, 9), ("inpainting", 0.2, 10)],
)  # fmt: skip
def test_a_window_that_leaves_nothing_to_start_from_is_refused(task, share, frames):
    with pytest.raises(ValueError, match="expected"):
        hidden_window(task, share, frames)


def test_hidden_frames_are_zero_in_x_y_and_confidence_and_no_other_is_touched():
    x = drawn() + 5
    hidden = hide(x, 4, 9)
    assert (hidden[:, 4:9] == 0).all()
    assert torch.equal(hidden[:, :4], x[:, :4]) and torch.equal(hidden[:, 9:], x[:, 9:])
    assert (x != 0).all()  # a copy


@pytest.mark.parametrize("task", FILLS)
def test_the_model_never_sees_what_is_hidden_but_for_the_visible_score(task):
    motion = drawn() + 5
    oracle = Oracle(motion)
    frame_errors(oracle, motion, task, 0.4)
    start, stop = hidden_window(task, 0.4, 20)
    whole = [x for x in oracle.inputs if x.shape[1] == 20]
    assert sum(bool((x[:, start:stop] == 0).all()) for x in whole) == 1 and len(whole) == 2
    parts = [x for x in oracle.inputs if x.shape[1] < 20]
    assert [x.shape[1] for x in parts] == [start, 20 - stop][: 2 if task == "completion" else 1]
    assert torch.equal(parts[0][..., :2], motion[:, :start, :, :2]) and (parts[0][..., 2] == 1).all()


# Errors and fills


@pytest.mark.parametrize("task", FILLS)
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_errors_equal_a_slow_reference(task, share):
    motion = drawn(frames=13)
    found = frame_errors(linear_encoder, motion, task, share)
    expected = slow_errors(linear_encoder, motion, task, *hidden_window(task, share, 13))
    assert found.keys() == expected.keys() == {"model", "visible", *FILLS[task]}
    for name, errors in expected.items():
        np.testing.assert_allclose(found[name].numpy(), errors, rtol=1e-4, atol=1e-5)


def test_a_perfect_model_has_no_error_wherever_the_root_is_and_its_fills_have():
    motion = drawn()
    oracle = Oracle(motion)
    for task in FILLS:
        errors = frame_errors(lambda x: oracle(x) + torch.tensor([3.0, -2, 7]), motion, task, 0.2)
        assert max(float(errors["model"].max()), float(errors["visible"].max())) < 1e-5
        assert all(float(errors[kind].min()) > 0.1 for kind in FILLS[task])


def test_a_motion_of_constant_velocity_is_filled_exactly_and_a_still_one_is_held_exactly():
    still = drawn(frames=1).expand(-1, 20, -1, -1).contiguous()
    step = drawn(frames=1, seed=1)
    moving = still + step * torch.arange(20)[:, None, None]
    oracle = Oracle(moving)
    assert float(frame_errors(oracle, moving, "completion", 0.4)["linear"].max()) < 1e-4
    prediction = frame_errors(oracle, moving, "prediction", 0.4)
    assert float(prediction["velocity"].max()) < 1e-4
    speed = slow_mpjpe(step[0, 0].numpy(), np.zeros((17, 3)))
    np.testing.assert_allclose(prediction["hold"][0].numpy(), speed * np.arange(1, 9), rtol=1e-4)
    assert float(frame_errors(Oracle(still), still, "prediction", 0.4)["hold"].max()) == 0


def test_a_constant_answer_costs_the_poses_distance_to_it():
    motion, answer = drawn(), drawn(1, 1, seed=3)[0, 0]
    metrics, _ = score(lambda x: answer.expand(x.shape), [motion], SHARES, mm_per_unit=1000.0, rate_hz=30)
    for task in FILLS:
        for share in (0.2, 0.4):
            start, stop = hidden_window(task, share, 20)
            expected = np.mean([[slow_mpjpe(answer.numpy(), p.numpy()) for p in c[start:stop]] for c in motion])
            for name in ("model", "visible", *FILLS[task]):
                assert metrics[f"{task}/{share}/{name}_mm"] == pytest.approx(1000 * expected, rel=1e-5)


def test_an_unknown_fill_and_one_without_its_frames_are_refused():
    with pytest.raises(ValueError, match="unknown fill 'cubic'; expected one of linear, hold, velocity"):
        fill("cubic", drawn(), drawn(), 3)
    with pytest.raises(ValueError, match="needs the frames after"):
        fill("linear", drawn(), None, 3)


# Means over clips and frames


def test_scores_do_not_depend_on_the_batches_and_are_means_over_clips_and_hidden_frames():
    motion = drawn(clips=7, frames=13)
    metrics, frames = score(linear_encoder, [motion[:4], motion[4:]], SHARES, 1000 / 0.298, rate_hz=25.0)
    at_once, table = score(linear_encoder, [motion], SHARES, 1000 / 0.298, rate_hz=25.0)
    assert metrics == pytest.approx(at_once) and metrics["clips"] == 7
    pd.testing.assert_frame_equal(frames, table)
    for task, fills in FILLS.items():
        for share in SHARES[task]:
            errors = slow_errors(linear_encoder, motion, task, *hidden_window(task, share, 13))
            for name, values in errors.items():
                assert metrics[f"{task}/{share}/{name}_mm"] == pytest.approx(values.mean() * 1000 / 0.298, rel=1e-4)
            for kind in fills:
                rows = frames[(frames.task == task) & (frames.share == share) & (frames.fill == kind)]
                length = errors["model"].shape[1]
                assert rows.offset.tolist() == list(range(1, length + 1))
                np.testing.assert_allclose(rows.ms, np.arange(1, length + 1) * 40)
                for column, name in (("model_mm", "model"), ("visible_mm", "visible"), ("fill_mm", kind)):
                    np.testing.assert_allclose(rows[column], errors[name].mean(0) * 1000 / 0.298, rtol=1e-4)
    with pytest.raises(ValueError, match="no clip"):
        score(linear_encoder, [], SHARES, 1.0, 30.0)


# Data and stage


def write_motion(folder: Path, lengths: dict[str, int], rates: dict[str, float]) -> None:
    """Views of drawn motion and their table, as stage `project` leaves them."""
    (folder / "motions").mkdir(parents=True)
    (folder / "views").mkdir()
    motion = drawn(1, sum(lengths.values()))[0].numpy() * 0.05
    np.save(folder / "views" / "front.npy", motion)
    np.save(folder / "views" / "side.npy", motion[..., [2, 1, 0]])
    starts = np.cumsum([0, *lengths.values()])[:-1]
    rows = [
        (name, start, frames, "val", rates[name]) for (name, frames), start in zip(lengths.items(), starts, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["sequence", "start", "frames", "split", "rate_hz"])
    table.to_parquet(folder / "motions" / "sequences.parquet")


def test_sequences_shorter_than_a_clip_are_left_out(tmp_path):
    write_motion(tmp_path, {"short": 8, "long": 27, "whole": 9}, dict.fromkeys(("short", "long", "whole"), 30.0))
    config = ClipsConfig(clip_len=9, scale=1.0, center="none", views=["front"])
    clips = UnpaddedClips(tmp_path, config, ["val"], stride=9)
    stored = np.load(tmp_path / "views" / "front.npy")
    assert len(clips) == 4
    for item, start in enumerate((8, 17, 26, 35)):
        np.testing.assert_array_equal(clips[item]["motion"], stored[start : start + 9])
    with pytest.raises(ValueError, match="no sequence of val has 100 frames"):
        UnpaddedClips(tmp_path, ClipsConfig(clip_len=100), ["val"], stride=9)


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A folder in which the stage can run: a profile, motion and a model that nothing has trained."""
    monkeypatch.chdir(tmp_path)
    values = {"clips": {"clip_len": 9}, "complete": {"splits": ["val"], "stride": 4, "clips": 6, "batch_size": 4}}
    Path("profiles").mkdir()
    Path("profiles/tiny.yaml").write_text(yaml.safe_dump(values))
    write_motion(layout.data("tiny"), {"a": 30, "b": 20}, {"a": 30.0, "b": 30.0})
    sizes = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=2, num_heads=2, maxlen=9)
    model = LangPose(LangPoseConfig(sizes, None, embed_dim=4, action_classes=["walk"]), seed=1)
    model.save_pretrained(layout.pretrained("tiny", "v", 0))
    return "tiny"


def test_the_stage_scores_the_chosen_clips_and_the_same_way_each_time(profile):
    complete.main(profile, "v", "0")
    folder = layout.completed(profile, "v", 0)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    metrics = json.loads(first["metrics.json"])
    assert first.keys() == {"metrics.json", "frames.csv"} and metrics["clips"] == 6
    assert metrics.keys() == {"clips"} | {
        f"{task}/{share}/{name}_mm"
        for task, fills in FILLS.items() for share in (0.2, 0.4) for name in ("model", "visible", *fills)
    }  # fmt: skip
    clips = UnpaddedClips(layout.data(profile), ClipsConfig(clip_len=9), ["val"], stride=4)
    assert len(clips) == 6 + 3
    chosen = torch.stack([torch.from_numpy(clips[item]["motion"]) for item in (0, 2, 3, 5, 6, 8)])
    with torch.inference_mode():
        model = LangPose.from_pretrained(layout.pretrained(profile, "v", 0))
        errors = frame_errors(model.pose_encoder, chosen, "prediction", 0.4)
    for name in ("model", "visible", "hold", "velocity"):
        assert metrics[f"prediction/0.4/{name}_mm"] == pytest.approx(
            float(errors[name].mean()) * 1000 / 0.298, rel=1e-4
        )
    frames = pd.read_csv(folder / "frames.csv")
    assert frames.columns.tolist() == [
        "task", "share", "fill", "offset", "ms", "model_mm", "visible_mm", "fill_mm",
    ]  # fmt: skip
    assert frames["ms"].max() == pytest.approx(4 * 1000 / 30)
    shutil.rmtree(folder)
    complete.main(profile, "v", "0")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_frames_of_different_rates_have_no_time(profile):
    shutil.rmtree(layout.data(profile))
    write_motion(layout.data(profile), {"a": 30, "b": 20}, {"a": 30.0, "b": 25.0})
    complete.main(profile, "v", "0")
    assert pd.read_csv(layout.completed(profile, "v", 0) / "frames.csv")["ms"].isna().all()


@pytest.mark.parametrize("wrong", [{"windows": [0.2, 1.0]}, {"horizons": [0.0]}, {"clips": 0}, {"stride": -1}])
def test_wrong_parameters_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        complete.CompleteConfig(**wrong)
