"""What an evaluation hides from the input: exactly what it says, the same way every time."""

import numpy as np
import pytest

from langpose.robustness import occluded
from langpose.skeleton import BODY_PARTS


def clips():
    return np.random.default_rng(0).uniform(0.1, 1, (40, 20, 17, 3)).astype(np.float32)


def test_occlusion_hides_what_it_says_the_same_way_every_time():
    x = clips()
    before = x.copy()
    part = occluded(x, "body_part:arms")
    hidden = (part == 0).all((1, 3))
    assert [j for j in range(17) if hidden[:, j].all()] == list(BODY_PARTS["arms"])
    assert not (part == 0).any((1, 3))[:, :11].any()
    for kind in ("window", "frames"):
        result = occluded(x, f"{kind}:0.25", seed=1)
        gone = (result == 0).all((2, 3))
        np.testing.assert_array_equal(gone, (result == 0).any((2, 3)))
        assert (gone.sum(1) == 5).all()
        runs = (np.diff(gone.astype(int), axis=1, prepend=0) == 1).sum(1)
        assert (runs == 1).all() if kind == "window" else runs.max() > 1
        assert len(np.unique(gone, axis=0)) > 1
    np.testing.assert_array_equal(occluded(x), x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("kind", ["window:0.25", "frames:0.25", "joints:0.25", "noise:2"])
def test_what_is_drawn_depends_on_the_seed_and_the_clip_alone(kind):
    x = clips()
    whole = occluded(x, kind, seed=1)
    np.testing.assert_array_equal(whole, occluded(x, kind, seed=1))
    np.testing.assert_array_equal(whole[:7], occluded(x[:7], kind, seed=1))
    assert (whole != occluded(x, kind, seed=2)).any()


def test_joints_are_hidden_one_by_one_and_in_the_stated_share():
    gone = occluded(clips(), "joints:0.3") == 0
    np.testing.assert_array_equal(gone.any(-1), gone.all(-1))
    assert (gone.all(-1).sum((1, 2)) == round(0.3 * 20 * 17)).all()
    assert gone.all((2, 3)).mean() < 0.05  # whole frames: hardly ever


def test_noise_moves_visible_joints_in_proportion_and_leaves_confidence_alone():
    x = clips()
    x[:, 3, 5] = 0
    one, three = occluded(x, "noise:1") - x, occluded(x, "noise:3") - x
    assert (one[:, 3, 5] == 0).all()
    assert (one[..., 2] == 0).all()
    np.testing.assert_allclose(three, 3 * one, atol=1e-6)
    assert 0.005 < np.abs(one[..., :2]).mean() < 0.1


def test_self_occlusion_hides_the_joints_that_are_not_seen():
    x = clips()
    seen = np.random.default_rng(1).random(x.shape[:3])
    result = occluded(x, "self:0.4", seen=seen)
    np.testing.assert_array_equal((result == 0).all(-1), seen < 0.4)
    with pytest.raises(ValueError, match="needs the visibility of each joint"):
        occluded(x, "self:0.4")


@pytest.mark.parametrize(
    "wrong", ["body_part:tail", "window:1.5", "window", "fog:0.5", "noise:0", "noise:nan", "self:1"]
)
def test_unknown_kinds_are_refused_with_those_there_are(wrong):
    with pytest.raises(ValueError, match=r"unknown occlusion .* expected 'none', 'body_part:NAME'"):
        occluded(clips()[:1], wrong)
