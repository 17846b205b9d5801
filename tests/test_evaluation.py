"""Cutting clips, the converted data sets, and the two evaluations against the reference implementations' numbers."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import torch

from langpose import metrics
from langpose.evaluation import evaluate_human36m, evaluate_mpi_inf_3dhp, predict
from langpose.lifting_sets import (
    NOMINAL_MM_PER_PX,
    LiftingClips,
    clip_frames,
    convert_human36m,
    convert_mpi_inf_3dhp,
    model_inputs,
    open_split,
)
from langpose.skeleton import BODY_PARTS, H36M_FROM_MPI, JOINTS, MPI_FROM_H36M, flip
from langpose.visibility import seen
from langpose.windows import centred_windows, covering_windows, split_clips, tail_stretched_windows
from tests.lifting_files import (
    arrays,
    human36m_content,
    mpi_inf_3dhp_content,
    numbers,
    write_human36m,
    write_mpi_inf_3dhp,
)


@pytest.fixture(scope="module")
def human36m(tmp_path_factory):
    folder = tmp_path_factory.mktemp("human36m")
    convert_human36m(write_human36m(human36m_content(), folder / "h36m.pkl"), folder / "all")
    convert_human36m(folder / "h36m.pkl", folder / "held", validation_subjects=[1])
    return folder


@pytest.fixture(scope="module")
def mpi(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mpi_inf_3dhp")
    raw = write_mpi_inf_3dhp(*mpi_inf_3dhp_content(), folder / "raw")
    convert_mpi_inf_3dhp(raw, folder / "all")
    convert_mpi_inf_3dhp(raw, folder / "held", validation_subjects=[2])
    return folder


def toy(name, order=None):
    """The fixtures' model, y = x W + b relative to the root, with the bias in Human3.6M order."""
    fixture = arrays(name)
    weight, bias = torch.from_numpy(fixture["W1"]), torch.from_numpy(fixture["bias"])
    bias = bias if order is None else bias[list(order)]

    def model(x):
        y = x @ weight + bias
        return y - y[:, :, :1]

    return model


# ---------------------------------------------------------------- clips


@pytest.mark.parametrize("case", sorted(numbers("split_clips_cases")))
def test_split_clips_equals_the_reference(case):
    given = numbers("split_clips_cases")[case]
    ids = np.repeat([f"video {i}" for i in range(len(given["lens"]))], given["lens"])
    np.testing.assert_array_equal(split_clips(ids, given["n_frames"], given["stride"]), given["clips"])


def slow_split_clips(ids, n_frames, stride):
    """Full windows only, by the reference's running pointer."""
    clips, start = [], 0
    for i in range(1, len(ids) + 1):
        if i - start == n_frames:
            clips.append(list(range(start, i)))
            start += stride
        if i < len(ids) and ids[i] != ids[i - 1]:
            start = i
    return clips


@pytest.mark.parametrize("stride", [1, 3, 7, 20])
def test_split_clips_equals_a_running_pointer(stride):
    ids = np.repeat(["a", "b", "c"], [7, 23, 50])
    assert split_clips(ids, 7, stride).tolist() == slow_split_clips(ids, 7, stride)


def test_split_clips_leaves_the_global_generator_alone():
    np.random.seed(5)
    expected = np.random.RandomState(5).random()
    split_clips(np.repeat(["a", "b"], [5, 30]), 10, 10)
    assert np.random.random() == expected


@pytest.mark.parametrize("cut", [covering_windows, tail_stretched_windows])
def test_windows_stay_within_one_video_and_leave_no_frame_out(cut):
    lengths = [5, 9, 10, 31, 1]
    clips = cut(lengths, 9, 4)
    video = np.repeat(np.arange(5), lengths)[clips]
    assert (video == video[:, :1]).all()
    assert (np.diff(clips) >= 0).all()
    if cut is covering_windows:  # the stretched tails may jump over frames, but full windows cover all but the last
        assert set(clips.ravel()) == set(range(sum(lengths)))
        assert clips[-2].tolist() == list(range(46, 55))  # aligned with the fourth video's end


def test_centred_windows_repeat_the_edges():
    chosen = np.zeros(9, bool)
    chosen[[0, 3, 8]] = True
    assert centred_windows([4, 5], chosen, 5).tolist() == [[0, 0, 0, 1, 2], [1, 2, 3, 3, 3], [6, 7, 8, 8, 8]]


def test_impossible_windows_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        split_clips(["a", "a"], 0, 1)


# ---------------------------------------------------------------- conversion and clips for training


def test_human36m_clips_equal_the_reference_reader(human36m):
    expected = arrays("h36m_synth_expected")
    for split, stride in (("train", 9), ("test", 27)):
        data = open_split(human36m / "all", split)
        clips = clip_frames(data, 27, stride, "reference")
        np.testing.assert_array_equal(clips, expected[f"split_{split}"])
        x, y = model_inputs(data, clips), data.target[clips]
        np.testing.assert_allclose(x.sum((1, 2)), expected[f"{split}_data_sum"], atol=1e-3)
        np.testing.assert_allclose(y.sum((1, 2)), expected[f"{split}_label_sum"], atol=1e-3)
    np.testing.assert_allclose(y[:2], expected["test_label_first2"], atol=1e-6)
    np.testing.assert_allclose(
        model_inputs(open_split(human36m / "all", "train"), expected["split_train"][:2]),
        expected["train_data_first2"],
        atol=1e-6,
    )


def test_mpi_inf_3dhp_clips_equal_the_reference_reader(mpi):
    expected = arrays("mpi3dhp_synth_expected")
    order = list(H36M_FROM_MPI)
    clips = LiftingClips(mpi / "all", "train", 9, 3, augment=False)
    assert len(clips) == 50
    for i in range(50):
        np.testing.assert_allclose(clips[i]["x"], expected["train_2d"][i][:, order], atol=1e-6)
        np.testing.assert_allclose(clips[i]["y"], expected["train_3d_norm"][i][:, order], atol=1e-6)
    test = open_split(mpi / "all", "test")
    windows = centred_windows(test.sequences["frames"].tolist(), np.asarray(test.valid), 9)
    assert len(windows) == int(expected["n_test_windows"])
    x = model_inputs(test, windows)
    for row, name in ((0, "win0_2d"), (-1, "winlast_2d")):
        np.testing.assert_allclose(x[row], expected[name][0][:, order], atol=1e-6)
        np.testing.assert_allclose(flip(x[row]), expected[name][1][:, order], atol=1e-6)


def test_conversion_loses_nothing_but_float_precision(human36m):
    content = human36m_content()["test"]
    data = open_split(human36m / "all", "test")
    width = np.repeat(data.sequences["width"], data.sequences["frames"]).to_numpy()[:, None]
    height = np.repeat(data.sequences["height"], data.sequences["frames"]).to_numpy()[:, None]
    for normalised, px in ((data.joints_2d, content["joint_2d"]), (data.target, content["joint3d_image"])):
        np.testing.assert_allclose((normalised[..., 0] + 1) * width / 2, px[..., 0], atol=1e-3)
        np.testing.assert_allclose((normalised[..., 1] + height / width) * width / 2, px[..., 1], atol=1e-3)
    np.testing.assert_allclose(data.target[..., 2] * width / 2, content["joint3d_image"][..., 2], atol=1e-3)
    np.testing.assert_array_equal(data.joints_2d[..., 2], content["confidence"])


def test_validation_subjects_leave_train_and_test_unchanged(human36m, mpi):
    for folder, held in ((human36m, 1), (mpi, 2)):
        whole, train, val = (
            open_split(folder / place, split)
            for place, split in (("all", "train"), ("held", "train"), ("held", "val"))
        )  # fmt: skip
        assert set(val.sequences["subject"]) == {held}
        assert held not in set(train.sequences["subject"])
        rows = np.repeat(whole.sequences["subject"] == held, whole.sequences["frames"])
        np.testing.assert_array_equal(val.target, whole.target[rows])
        np.testing.assert_array_equal(train.target, whole.target[~rows])
        np.testing.assert_array_equal(
            open_split(folder / "all", "test").target, open_split(folder / "held", "test").target
        )
    # the reference cuts the whole train half first: what is held out of it must not change the test clips
    tests = [clip_frames(open_split(human36m / place, "test"), 27, 27, "reference") for place in ("all", "held")]
    np.testing.assert_array_equal(*tests)


def test_wrong_validation_subjects_are_named(human36m, tmp_path):
    with pytest.raises(ValueError, match=r"\[9\] are not in the training data, whose subjects are \[1, 5, 6, 8\]"):
        convert_human36m(human36m / "h36m.pkl", tmp_path / "x", [9])
    with pytest.raises(ValueError, match="none is left"):
        convert_human36m(human36m / "h36m.pkl", tmp_path / "x", [1, 5, 6, 8])
    assert not (tmp_path / "x").exists()
    with pytest.raises(FileNotFoundError, match="no validation subjects were held out"):
        open_split(human36m / "all", "val")
    with pytest.raises(FileNotFoundError, match="convert the raw files first"):
        open_split(tmp_path, "test")


def test_conversion_is_byte_identical_on_every_run(human36m, tmp_path):
    convert_human36m(human36m / "h36m.pkl", tmp_path / "again", validation_subjects=[1])
    digests = [
        {str(p.relative_to(f)): hashlib.sha256(p.read_bytes()).hexdigest() for p in f.rglob("*") if p.is_file()}
        for f in (human36m / "held", tmp_path / "again")
    ]
    assert len(digests[0]) > 8
    assert digests[0] == digests[1]


def test_train_frames_carry_the_action_names_of_the_test_half(human36m):
    actions = open_split(human36m / "all", "train").sequences["action"].tolist()
    assert actions == ["Direction", "Direction", "act_03", "act_04", "act_04"]


def test_training_clips_are_root_relative_and_flipped_by_seed_epoch_and_item(human36m):
    plain = LiftingClips(human36m / "all", "train", 27, 9, augment=False)
    clips = LiftingClips(human36m / "all", "train", 27, 9, seed=3)

    def flipped(dataset, epoch):
        dataset.set_epoch(epoch)
        result = []
        for i in range(len(dataset)):
            same = torch.equal(dataset[i]["x"], plain[i]["x"])
            mirrored = torch.equal(dataset[i]["x"], flip(plain[i]["x"]))
            assert same != mirrored
            assert torch.equal(dataset[i]["y"], plain[i]["y"] if same else flip(plain[i]["y"]))
            result.append(mirrored)
        return result

    assert (plain[0]["y"][:, 0] == 0).all()
    assert plain[0]["x"].shape == plain[0]["y"].shape == (27, 17, 3)
    assert plain[0]["x"].dtype == plain[0]["y"].dtype == torch.float32
    first = flipped(clips, 0)
    assert 0 < sum(first) < len(first)
    assert flipped(clips, 1) != first
    assert flipped(LiftingClips(human36m / "all", "train", 27, 9, seed=3), 0) == first
    assert flipped(LiftingClips(human36m / "all", "train", 27, 9, seed=4), 0) != first


def test_clips_survive_a_trip_to_a_worker(human36m):
    clips = LiftingClips(human36m / "all", "train", 27, 9, seed=3)
    clips.set_epoch(2)
    content = pickle.dumps(clips)
    assert len(content) < 10_000  # the arrays stay on disk
    assert torch.equal(pickle.loads(content)[4]["x"], clips[4]["x"])
    batch = next(iter(torch.utils.data.DataLoader(clips, batch_size=4)))
    assert batch["x"].shape == (4, 27, 17, 3)
    with pytest.raises(IndexError):
        clips[len(clips)]


def test_ground_truth_input_is_the_targets_image_position(human36m, mpi):
    clips = LiftingClips(human36m / "all", "test", 27, 27, input_2d="ground_truth")
    target = clips.data.target[clips.clips[0]]
    np.testing.assert_array_equal(clips[0]["x"][..., :2], target[..., :2])
    assert (clips[0]["x"][..., 2] == 1).all()
    without = LiftingClips(human36m / "all", "test", 27, 27, confidence=False)
    assert (without[0]["x"][..., 2] == 1).all()
    assert (LiftingClips(human36m / "all", "test", 27, 27)[0]["x"][..., 2] != 1).any()
    with pytest.raises(ValueError, match="no detected 2D"):
        LiftingClips(mpi / "all", "train", 9, 3, input_2d="detected")
    with pytest.raises(ValueError, match="unknown input_2d"):
        LiftingClips(mpi / "all", "train", 9, 3, input_2d="gt")


def test_a_fraction_keeps_whole_sequences_drawn_by_seed(mpi):
    whole = LiftingClips(mpi / "all", "train", 9, 3)
    part = LiftingClips(mpi / "all", "train", 9, 3, fraction=0.5, seed=1)
    kept = set(part.clips[:, 0])
    assert 0 < len(part) < len(whole)
    for row in whole.data.sequences.itertuples():
        inside = [int(c) in kept for c in whole.clips[:, 0] if row.start <= c < row.start + row.frames]
        assert all(inside) or not any(inside)
    draws = {tuple(LiftingClips(mpi / "all", "train", 9, 3, fraction=0.5, seed=s).clips[:, 0]) for s in range(6)}
    assert len(draws) > 1
    with pytest.raises(ValueError, match="fraction is 0"):
        LiftingClips(mpi / "all", "train", 9, 3, fraction=0)


def test_exact_extends_short_videos_and_unknown_protocols_are_refused(human36m):
    with pytest.raises(ValueError, match="unknown protocol"):
        LiftingClips(human36m / "all", "train", 27, 9, protocol="ours")
    exact = LiftingClips(human36m / "all", "train", 500, 100, protocol="exact")
    assert len(exact) == 5
    np.testing.assert_array_equal(exact.clips[0], np.minimum(np.arange(500), 69))  # the first video has 70 frames


# ---------------------------------------------------------------- evaluation

SETTINGS = {
    "flip_rootrel": {},
    "noflip_rootrel": {"flip": False},
    "flip_global": {"root_relative": False},
    "flip_rootrel_gt2d": {"keep_input_xy": True},  # the fixture's input is detected; only the overwriting is tested
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_human36m_scores_equal_the_reference_evaluation(human36m, setting):
    expected = numbers("h36m_synth_expected")["results"][setting]
    scores = evaluate_human36m(toy("h36m_synth_expected"), human36m / "all", clip_len=27, **SETTINGS[setting])
    assert scores.p1_mm == pytest.approx(expected["e1"], rel=1e-6)
    assert scores.p2_mm == pytest.approx(expected["e2"], rel=1e-6)
    assert scores.actions["action"].tolist() == expected["actions"]
    np.testing.assert_allclose(scores.actions["p1"], expected["p1"], rtol=1e-6)
    np.testing.assert_allclose(scores.actions["p2"], expected["p2"], rtol=1e-6)
    if setting == "flip_rootrel":
        assert scores.p3_mm == pytest.approx(numbers("h36m_synth_expected")["h_mpjpe_flip_rootrel"], rel=1e-6)


def test_mpi_inf_3dhp_scores_equal_the_reference_evaluation(mpi):
    expected, fixture = numbers("mpi3dhp_synth_expected")["results"], arrays("mpi3dhp_synth_expected")
    scores = evaluate_mpi_inf_3dhp(toy("mpi3dhp_synth_expected", H36M_FROM_MPI), mpi / "all", clip_len=9)
    assert scores.p1_mm == pytest.approx(expected["mpjpe_python"], rel=1e-6)
    assert scores.pck == pytest.approx(expected["pck"], rel=1e-9)
    assert scores.auc == pytest.approx(expected["auc"], rel=1e-9)
    by_sequence = dict(zip(scores.sequences["sequence"], scores.sequences["p1"], strict=True))
    assert by_sequence == pytest.approx(expected["per_seq"], rel=1e-6)
    for row in open_split(mpi / "all", "test").sequences.itertuples():
        predictions = scores.predictions[row.start : row.start + row.frames]
        predictions = predictions[~np.isnan(predictions[:, 0, 0])][:, list(MPI_FROM_H36M)]
        reference = fixture[f"inference/{row.sequence}"][:, :, 0].transpose(2, 1, 0)
        np.testing.assert_allclose(predictions, reference, atol=2e-3)


def truth_model(folder, split):
    """A model that knows the answer: looks the root-relative target up by its input."""
    data = open_split(folder, split)
    x = np.ascontiguousarray(np.asarray(data.joints_2d).reshape(len(data.target), -1))
    table = {row.tobytes(): i for i, row in enumerate(x)}
    target = data.target - data.target[:, :1]

    def model(batch):
        rows = batch.numpy().reshape(-1, 51)
        return torch.from_numpy(target[[table[row.tobytes()] for row in rows]]).reshape(batch.shape)

    return model


def test_the_reference_scale_of_ts5_and_ts6_is_its_quirk_alone(mpi):
    model = truth_model(mpi / "all", "test")
    exact = evaluate_mpi_inf_3dhp(model, mpi / "all", clip_len=9, protocol="exact", flip=False)
    assert exact.p1_mm == pytest.approx(0, abs=1e-3)
    assert exact.pck == 100
    reference = evaluate_mpi_inf_3dhp(model, mpi / "all", clip_len=9, flip=False)
    data = open_split(mpi / "all", "test")
    for row, scored in zip(data.sequences.itertuples(), reference.sequences.itertuples(), strict=True):
        rows = slice(row.start, row.start + row.frames)
        size = np.linalg.norm(data.target[rows][data.valid[rows]] * 1024, axis=-1).mean()
        shrink = 1 - 0.9375 if row.sequence in ("TS5", "TS6") else 0
        assert scored.p1 == pytest.approx(shrink * size, rel=1e-4, abs=1e-3)
        assert scored.p2 == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("protocol", ["reference", "exact"])
def test_a_perfect_model_scores_the_files_own_consistency(human36m, protocol):
    # joints_2.5d_image = 2.5d_factor * joint3d_image to the file's rounding
    model = truth_model(human36m / "all", "test")
    scores = evaluate_human36m(model, human36m / "all", clip_len=27, protocol=protocol, flip=False)
    assert 0 < scores.p1_mm < 1e-2
    truth = open_split(human36m / "all", "test").joints_mm
    seen = ~np.isnan(scores.predictions[:, 0, 0])
    np.testing.assert_allclose(scores.predictions[seen], truth[seen], atol=1e-2)


def test_exact_scores_every_frame_once_and_reference_drops_the_tails(human36m):
    model = toy("h36m_synth_expected")
    exact = evaluate_human36m(model, human36m / "all", clip_len=27, protocol="exact", blocked=False)
    assert exact.frames == 391
    assert exact.sequences["frames"].sum() == 391
    assert np.isfinite(exact.predictions).all()
    reference = evaluate_human36m(model, human36m / "all", clip_len=27, blocked=False)
    assert reference.frames < 391
    assert np.isnan(reference.predictions[:, 0, 0]).sum() == 391 - reference.frames
    # what exact reports is the error of the predictions it returns
    truth = open_split(human36m / "all", "test").joints_mm
    errors = metrics.mpjpe(exact.predictions, truth)
    sequences = open_split(human36m / "all", "test").sequences
    actions = np.repeat(sequences["action"].to_numpy(), sequences["frames"])
    slow = np.mean([errors[actions == action].mean() for action in np.unique(actions)])
    assert exact.p1_mm == pytest.approx(slow, rel=1e-6)


def test_blocked_recordings_are_left_out_on_request(human36m):
    model = toy("h36m_synth_expected")
    blocked = evaluate_human36m(model, human36m / "all", clip_len=27)
    open_ = evaluate_human36m(model, human36m / "all", clip_len=27, blocked=False)
    assert "s_09_act_05_subact_02_ca_02" not in set(blocked.sequences["sequence"])
    assert "s_11_act_05_subact_02_ca_02" in set(blocked.sequences["sequence"])
    assert "s_09_act_05_subact_02_ca_02" in set(open_.sequences["sequence"])
    assert open_.frames == blocked.frames + 54


def test_validation_is_scored_in_nominal_mm(human36m, mpi):
    model = truth_model(human36m / "held", "val")
    scores = evaluate_human36m(model, human36m / "held", "val", clip_len=27, flip=False, protocol="exact")
    assert scores.p1_mm == pytest.approx(0, abs=1e-2)
    assert scores.settings["nominal_mm"]
    assert np.isnan(scores.p3_mm)
    half = evaluate_human36m(lambda x: model(x) * 0.5, human36m / "held", "val", clip_len=27, flip=False)
    data = open_split(human36m / "held", "val")
    px = np.linalg.norm(data.target - data.target[:, :1], axis=-1)[~np.isnan(half.predictions[:, 0, 0])].mean() * 500
    assert half.p1_mm == pytest.approx(px * NOMINAL_MM_PER_PX / 2, rel=0.02)
    model = truth_model(mpi / "held", "val")
    scores = evaluate_mpi_inf_3dhp(model, mpi / "held", "val", clip_len=9, flip=False)
    assert scores.frames == 66
    assert scores.p1_mm == pytest.approx(0, abs=1e-3)
    assert not scores.settings["nominal_mm"]
    with pytest.raises(ValueError, match="no ground truth in mm"):
        evaluate_human36m(toy("h36m_synth_expected"), human36m / "all", "train", clip_len=27)


def test_hard_actions_must_be_there_on_test(human36m):
    model = toy("h36m_synth_expected")
    with pytest.raises(ValueError, match=r"\['Fall'\]; the actions at hand are \['Direction'"):
        evaluate_human36m(model, human36m / "all", clip_len=27, hard_actions=("Fall",))
    assert np.isnan(evaluate_human36m(model, human36m / "all", clip_len=27, hard_actions=()).p3_mm)
    scores = evaluate_human36m(model, human36m / "all", clip_len=27, hard_actions=("Walk",))
    assert scores.p3_mm == scores.actions.set_index("action").loc["Walk", "p1"]


def test_summary_holds_the_measures_of_the_data_set_as_plain_numbers(human36m, mpi):
    scores = evaluate_human36m(toy("h36m_synth_expected"), human36m / "all", clip_len=27)
    assert list(scores.summary()) == ["p1_mm", "p2_mm", "p3_mm"]
    other = evaluate_mpi_inf_3dhp(toy("mpi3dhp_synth_expected", H36M_FROM_MPI), mpi / "all", clip_len=9)
    assert list(other.summary()) == ["p1_mm", "p2_mm", "pck", "auc"]
    json.dumps([scores.summary(), scores.settings, other.summary(), other.settings])
    assert np.isfinite(scores.predictions[~np.isnan(scores.predictions)].astype(np.float16)).all()


def test_the_wrong_data_set_is_refused(human36m, mpi):
    with pytest.raises(ValueError, match="holds mpi_inf_3dhp; expected human36m"):
        evaluate_human36m(toy("h36m_synth_expected"), mpi / "all")
    with pytest.raises(ValueError, match="holds human36m; expected mpi_inf_3dhp"):
        evaluate_mpi_inf_3dhp(toy("h36m_synth_expected"), human36m / "all")


def test_predict_does_not_depend_on_the_batch_size_and_flips_symmetrically():
    x = np.random.default_rng(0).normal(size=(7, 5, 17, 3)).astype(np.float32)
    model = toy("h36m_synth_expected")
    whole = predict(model, x, batch_size=7)
    np.testing.assert_array_equal(whole, predict(model, x, batch_size=2))
    np.testing.assert_allclose(predict(model, flip(x)), flip(whole), atol=1e-6)
    slow = (model(torch.from_numpy(x)) + flip(model(flip(torch.from_numpy(x))))) / 2
    np.testing.assert_allclose(whole, slow, atol=1e-6)
    assert not np.allclose(whole, predict(model, x, flip=False))


def test_predict_puts_a_module_in_evaluation_mode_and_back():
    module = torch.nn.Dropout(0.9)
    x = np.ones((2, 3, 17, 3), np.float32)
    np.testing.assert_array_equal(predict(module, x, flip=False), x)
    assert module.training
    with pytest.raises(ValueError, match=r"gave \(2, 3, 17, 2\) for input \(2, 3, 17, 3\)"):
        predict(lambda batch: batch[..., :2], x)


def test_occluded_ground_truth_does_not_leak_into_the_prediction(human36m):
    zero = lambda x: torch.zeros_like(x)  # noqa: E731
    options = {"clip_len": 27, "input_2d": "ground_truth", "protocol": "exact", "blocked": False}
    seen = evaluate_human36m(zero, human36m / "all", **options)
    hidden = evaluate_human36m(zero, human36m / "all", **options, occlude="body_part:legs")
    truth = open_split(human36m / "all", "test").joints_mm
    legs, rest = list(BODY_PARTS["legs"]), [j for j in range(17) if j not in BODY_PARTS["legs"]]
    np.testing.assert_allclose(hidden.predictions[:, rest], seen.predictions[:, rest])
    assert np.abs(seen.predictions[:, legs, :2] - truth[:, legs, :2]).max() < 1e-2
    assert np.abs(hidden.predictions[:, legs, :2] - truth[:, legs, :2]).mean() > 100
    assert hidden.p1_mm > seen.p1_mm


def slow_details(scores, data, truth, frames_scored):
    """Per-sequence velocity and acceleration errors and per-joint errors, frame by frame."""
    error = scores.predictions.astype(float) - truth
    wanted = set(frames_scored)
    sequences = []
    joints = {}
    start = 0
    for row in data.sequences.itertuples():
        inside = [f for f in range(start, start + row.frames) if f in wanted]
        velocity, acceleration = [], []
        for f in inside:
            joints.setdefault(row.action, []).append([np.sqrt((error[f, j] ** 2).sum()) for j in range(17)])
            if f - 1 in inside:
                velocity.append(np.mean([np.linalg.norm(error[f, j] - error[f - 1, j]) for j in range(17)]))
            if f - 1 in inside and f - 2 in inside:
                change = error[f] - 2 * error[f - 1] + error[f - 2]
                acceleration.append(np.mean([np.linalg.norm(change[j]) for j in range(17)]))
        if inside:
            sequences.append((row.sequence, np.mean(velocity), np.mean(acceleration)))
        start += row.frames
    return sequences, {action: np.mean(rows, 0) for action, rows in joints.items()}


@pytest.mark.parametrize("protocol", ["reference", "exact"])
def test_velocity_acceleration_and_joints_equal_a_slow_reference(human36m, mpi, protocol):
    wave = lambda x: x * torch.tensor([1.1, 0.9, 0.3]) + 0.05 * torch.sin(40 * x[..., :1])  # noqa: E731
    for scores, folder in (
        (evaluate_human36m(wave, human36m / "all", clip_len=27, protocol=protocol, blocked=False), human36m / "all"),
        (evaluate_mpi_inf_3dhp(wave, mpi / "all", clip_len=9, protocol=protocol), mpi / "all"),
    ):
        data = open_split(folder, "test")
        truth = data.target * 1024.0 if data.joints_mm is None else np.asarray(data.joints_mm)
        frames = np.flatnonzero(np.isfinite(scores.predictions).all((1, 2)))
        assert len(frames) == scores.frames
        sequences, joints = slow_details(scores, data, truth, frames)
        assert scores.sequences["sequence"].tolist() == [name for name, _, _ in sequences]
        for column, place in (("velocity", 1), ("acceleration", 2)):
            np.testing.assert_allclose(scores.sequences[column], [row[place] for row in sequences], rtol=1e-6)
        table = scores.joints.pivot(index="action", columns="joint", values="p1")[list(JOINTS)]
        assert table.index.tolist() == sorted(joints)
        for action, values in joints.items():
            np.testing.assert_allclose(table.loc[action], values, rtol=1e-6)


def test_self_occlusion_hides_what_the_camera_did_not_see(human36m):
    given = []
    evaluate_human36m(
        lambda x: given.append(x.numpy().copy()) or x, human36m / "all", clip_len=27, protocol="exact", flip=False,
        blocked=False, occlude="self:0.5", batch_size=1000,
    )  # fmt: skip
    data = open_split(human36m / "all", "test")
    clips = clip_frames(data, 27, 27, "exact")
    expected = np.where(seen(data)[clips][..., None] < 0.5, 0, model_inputs(data, clips))
    np.testing.assert_array_equal(given[0], expected)
    assert (expected == 0).all(-1).any()
