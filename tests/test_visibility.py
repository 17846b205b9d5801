"""Where a lifting set's person stood, and which joints its camera saw."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from langpose.lifting_sets import LiftingSplit
from langpose.occlusion import visibility
from langpose.visibility import FOCAL_IN_WIDTHS, by_action, camera_joints_m, seen

WIDTH, HEIGHT = 1000, 1002


def standing(rng, frames):
    """A person (frames, 17, 3) m in the camera's frame, 4 to 6 m away and anywhere in the image, arms moving."""
    body = np.zeros((17, 3))
    body[[1, 2, 3], 0], body[[4, 5, 6], 0] = -0.12, 0.12
    body[[2, 5], 1], body[[3, 6], 1] = 0.45, 0.9
    body[[7, 8, 9, 10], 1] = -0.25, -0.5, -0.6, -0.75
    body[[11, 12, 13], 0], body[[14, 15, 16], 0] = (0.18, 0.2, 0.2), (-0.18, -0.2, -0.2)
    body[[11, 14], 1], body[[12, 15], 1], body[[13, 16], 1] = -0.48, -0.2, 0.05
    joints = body + rng.normal(0, 0.05, (frames, 17, 3))
    place = [rng.uniform(-1, 1, frames), rng.uniform(-0.3, 0.3, frames), rng.uniform(4, 6, frames)]
    return joints + np.stack(place, 1)[:, None]


def split(camera_m, actions=("a",), dataset="human36m"):
    """The camera's view as a lifting set has it: pixels by the data set's focal length, joints relative to the root."""
    focal = FOCAL_IN_WIDTHS[dataset] * WIDTH
    px = camera_m[..., :2] / camera_m[..., 2:] * focal
    flat = px / WIDTH * 2
    root_mm = (camera_m - camera_m[:, :1]) * 1000
    joints_2d = np.concatenate([flat, np.full((*flat.shape[:2], 1), 0.7)], -1).astype(np.float32)
    frames = len(camera_m) // len(actions)
    rows = [
        (f"{name} {i}", 9, "c", name if dataset == "human36m" else "", i * frames, frames, WIDTH, HEIGHT, 50.0)
        for i, name in enumerate(actions)
    ]
    columns = ["sequence", "subject", "camera", "action", "start", "frames", "width", "height", "rate_hz"]
    mm = dataset == "human36m"
    target = np.concatenate([flat, root_mm[..., 2:] / 1000], -1) if mm else root_mm / 1024
    return LiftingSplit(
        dataset, "test", joints_2d, target.astype(np.float32), root_mm.astype(np.float32) if mm else None,
        None, None, pd.DataFrame(rows, columns=columns), {},
    )  # fmt: skip


@pytest.mark.parametrize("dataset", ["human36m", "mpi_inf_3dhp"])
def test_the_person_is_put_where_the_camera_saw_it(dataset):
    camera_m = standing(np.random.default_rng(0), 50)
    found = camera_joints_m(split(camera_m, dataset=dataset), np.arange(50))
    # weak perspective: a few per cent of the distance
    assert np.abs(found[:, 0] - camera_m[:, 0]).max() < 0.25
    np.testing.assert_allclose(found - found[:, :1], camera_m - camera_m[:, :1], atol=1e-5)


def test_joints_behind_the_body_are_unseen_as_with_the_true_camera():
    rng = np.random.default_rng(1)
    camera_m = standing(rng, 200)
    camera_m[100:, 13] = camera_m[100:, 7] + [0, 0, 0.45]  # the left wrist behind the back
    data = split(camera_m)
    estimated, true = seen(data), visibility(camera_m)
    assert estimated.dtype == np.float32
    assert ((estimated < 0.5) == (true < 0.5)).mean() > 0.97
    assert (estimated[100:, 13] < 0.5).mean() > 0.95
    np.testing.assert_array_equal(seen(data, np.array([150, 3])), estimated[[150, 3]])


def test_the_table_has_the_least_visible_action_first_and_means_of_its_frames():
    rng = np.random.default_rng(2)
    camera_m = standing(rng, 90)
    camera_m[30:60, 13] = camera_m[30:60, 7] + [0, 0, 0.45]
    data = split(camera_m, ("Walk", "Hide", "Walk"))
    values = seen(data)
    table = by_action(data, values)
    assert table["action"].tolist() == ["Hide", "Walk"]
    walk = np.r_[0:30, 60:90]
    expected = [60, values[walk].mean(), 100 * (values[walk] < 0.5).mean(), 0.7, 2]
    got = table.set_index("action").loc["Walk", ["frames", "visibility", "hidden", "confidence", "recordings"]]
    np.testing.assert_allclose(got.to_numpy(dtype=float), expected, rtol=1e-6)
    mpi = by_action(split(camera_m, ("x", "y"), "mpi_inf_3dhp"), values)
    assert set(mpi["action"]) == {"x 0", "y 1"}
    assert mpi["confidence"].isna().all()


def test_a_split_without_millimetres_is_refused():
    data = dataclasses.replace(split(standing(np.random.default_rng(3), 5)), joints_mm=None)
    with pytest.raises(ValueError, match="no joints in mm"):
        seen(data)
