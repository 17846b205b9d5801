"""Own recordings become a data set that fine-tuning takes, or an error that says what is wrong with them."""

from dataclasses import replace

import numpy as np
import pytest

from langpose import own_data
from langpose.lifting_sets import LiftingClips, open_split
from tests.pages import walking


def recording(name="a", frames=40):
    joints = walking(frames, 25.0) + np.array([0, 0, 4000.0])
    keypoints = np.ones((frames, 17, 3))
    keypoints[..., :2] = 1000 * joints[..., :2] / joints[..., 2:] + (640, 360)
    keypoints[3, 5, 2] = 0
    return own_data.Recording(name, keypoints, joints, (1280, 720), 25.0)


def test_recordings_are_clips_to_train_on(tmp_path):
    own_data.write(tmp_path / "mine", [recording(), recording("b", 30)], [recording("c")])
    data = open_split(tmp_path / "mine", "train")
    given = recording()
    x, y, _ = given.keypoints[0, 2]
    np.testing.assert_allclose(data.joints_2d[0, 2, :2], [x / 640 - 1, (y - 360) / 640], atol=1e-6)
    assert (data.joints_2d[3, 5] == 0).all()
    np.testing.assert_allclose(data.target[7] * 1024, given.joints_mm[7] - given.joints_mm[7, 0], atol=1e-2)
    clips = LiftingClips(tmp_path / "mine", "train", 27, 9, protocol="exact")
    assert len(clips) == 5 and clips[0]["x"].shape == (27, 17, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints_mm": walking(40, 25.0) / 1000}, "the right thigh is 0.43 mm long; are the joints in millimetres?"),
        ({"keypoints": np.ones((39, 17, 3))}, "expected (frames, 17, 3), both alike"),
        ({"keypoints": np.ones((40, 16, 3))}, "keypoints of shape (40, 16, 3)"),
        ({"keypoints": np.full((40, 17, 3), np.nan)}, "keypoints are not finite in frame 0"),
        ({"keypoints": np.full((40, 17, 3), 0.5)}, "keypoints up to 0.50; expected pixels"),
    ],
)
def test_a_recording_that_cannot_be_used_says_why_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError) as told:
        own_data.write(tmp_path / "mine", [recording(), replace(recording("bad"), **changes)])
    assert "bad: " in str(told.value) and message in str(told.value) and not (tmp_path / "mine").exists()


def test_a_folder_of_other_things_is_not_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "raw.bin").write_text("precious")
    with pytest.raises(ValueError, match="holds something else than a data set that was written so"):
        own_data.write(tmp_path / "mine", [recording()])
    assert (tmp_path / "mine" / "raw.bin").read_text() == "precious"
    own_data.write(tmp_path / "other", [recording()])
    own_data.write(tmp_path / "other", [recording()])
    size = float(own_data.facts(tmp_path / "other")["person size"])
    assert size == pytest.approx(np.ptp(recording().keypoints[..., 1], axis=1).mean() / 640, rel=0.1)
