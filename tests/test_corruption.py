"""Masks and noise: pure functions of the generator, in the paper's shares, with MotionBERT's statistics."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langpose.corruption import KINDS, CorruptionConfig, corrupt, detection_noise, draw_kind, draw_mask
from langpose.detector import NOISE
from langpose.skeleton import BODY_PARTS

PAPER = CorruptionConfig(masks={"joint_frame": 0.5, "body_part": 0.25, "time_window": 0.25})
XY = np.random.default_rng(0).uniform(-0.5, 0.5, (27, 17, 2)).astype(np.float32)


def test_corruption_is_a_function_of_seed_epoch_and_item():
    for item in range(8):
        a, b, other = (
            corrupt(XY, PAPER, np.random.default_rng(key)) for key in ([1, 2, item], [1, 2, item], [1, 3, item])
        )
        np.testing.assert_array_equal(a, b)
        assert (a != other).any()


def test_kinds_come_in_the_papers_shares():
    rng = np.random.default_rng(0)
    drawn = [draw_kind(PAPER, rng) for _ in range(8000)]
    for kind, share in PAPER.masks.items():
        assert drawn.count(kind) / 8000 == pytest.approx(share, abs=0.02)
    half = CorruptionConfig(masks={"body_part": 0.5})
    assert [draw_kind(half, rng) for _ in range(4000)].count(None) / 4000 == pytest.approx(0.5, abs=0.03)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.integers(2, 60), st.integers(0, 10**6))
def test_a_mask_never_hides_everything_nor_nothing(kind, frames, seed):
    hidden = draw_mask(kind, frames, PAPER, np.random.default_rng(seed))
    assert hidden.any() and not hidden.all()


def test_a_body_part_is_hidden_whole_and_in_every_frame():
    seen = set()
    for seed in range(100):
        hidden = draw_mask("body_part", 9, PAPER, np.random.default_rng(seed))
        assert (hidden == hidden[0]).all()
        part = next(name for name, joints in BODY_PARTS.items() if set(joints) == set(np.flatnonzero(hidden[0])))
        seen.add(part)
    assert seen == set(BODY_PARTS)


def test_a_window_is_one_run_of_frames_within_its_bounds_and_starts_anywhere():
    starts = set()
    for seed in range(400):
        rows = draw_mask("time_window", 20, PAPER, np.random.default_rng(seed))
        assert (rows.all(1) == rows.any(1)).all()
        where = np.flatnonzero(rows.any(1))
        assert 2 <= len(where) <= 8 and (np.diff(where) == 1).all()
        starts.add(int(where[0]))
    assert {0, 10} <= starts and max(starts) >= 16


def test_what_is_hidden_is_zero_and_the_rest_is_kept():
    config = CorruptionConfig(masks={"time_window": 1.0}, noise=False)
    x = corrupt(XY, config, np.random.default_rng(0))
    hidden = x[..., 2] == 0
    assert hidden.any()
    assert (x[hidden] == 0).all()
    np.testing.assert_array_equal(x[~hidden][:, :2], XY[~hidden])
    assert (x[~hidden][:, 2] == 1).all()


def test_joint_and_frame_ratios_hold_over_many_clips():
    rng = np.random.default_rng(0)
    masks = np.stack([draw_mask("joint_frame", 50, PAPER, rng) for _ in range(300)])
    assert masks.mean() == pytest.approx(1 - 0.95 * 0.9, abs=0.01)


def test_noise_has_motionberts_long_run_statistics():
    reference = np.load(Path(__file__).parent / "fixtures" / "mb_utils.npz", allow_pickle=False)
    rng = np.random.default_rng(0)
    draws = [detection_noise(np.zeros((243, 17, 2)), rng) for _ in range(150)]
    error = np.concatenate([d[0] for d in draws])
    confidence = np.concatenate([d[1] for d in draws])
    np.testing.assert_allclose(error.mean(0), reference["stat_noise_mean_per_joint"], atol=0.003)
    np.testing.assert_allclose(error.std(0), reference["stat_noise_std_per_joint"], rtol=0.08, atol=0.002)
    np.testing.assert_allclose(confidence.mean(0), reference["stat_conf_mean_per_joint"], atol=0.03)


def test_interpolation_between_key_frames_equals_numpys():
    from langpose.corruption import _interpolation

    values = np.random.default_rng(0).normal(size=27)
    for frames in (1, 5, 27, 81, 243):
        expected = np.interp(np.linspace(0, 26, frames), np.arange(27), values)
        np.testing.assert_allclose(_interpolation(27, frames) @ values, expected, atol=1e-12)


def test_the_noise_models_parameters_are_motionberts():
    reference = np.load(Path(__file__).parent / "fixtures" / "mb_utils.npz", allow_pickle=False)
    np.testing.assert_array_equal(NOISE.mean, reference["noise_mean"])
    np.testing.assert_array_equal(NOISE.std, reference["noise_std"])
    np.testing.assert_array_equal(NOISE.weight, reference["noise_weight"])
    assert (NOISE.a, NOISE.b, NOISE.m, NOISE.s) == tuple(reference["d2c"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"masks": {"bodypart": 1.0}}, "kinds of mask are joint_frame, body_part, time_window"),
        ({"masks": {"body_part": 0.7, "time_window": 0.7}}, "nor sum to more than 1"),
        ({"window_min": 0.5, "window_max": 0.2}, "expected 0 < T1 <= T2 < 1"),
        ({"joint_ratio": 1.5}, "joint_ratio is 1.5"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        CorruptionConfig(**values)
