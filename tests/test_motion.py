"""What cannot be a motion is refused, what looks wrong is told, and time stays true when frames are resampled."""

import numpy as np
import pytest

from langpose.skeleton import FLIP, flip
from langpose.sources.motion import (
    UP,
    Motion,
    bad_frames,
    check_motion,
    good_pieces,
    resample,
    spans,
    turn_up,
    up_axis,
)
from tests.test_filming import take

RATE_HZ = 60.0
LEGS_ONLY = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)


def person(frames: int = 60, rate_hz: float = RATE_HZ) -> np.ndarray:
    """(F, 17, 3) float32, z up: walks along x, knees bent, faces -y, two metres from the origin."""
    return np.array(take(frames=frames, rate=rate_hz).joints) + np.float32([2, 0, 0])


def test_a_sound_motion_passes_without_remarks():
    assert check_motion(person(), RATE_HZ, "walk.amc") == []
    assert good_pieces(person(), RATE_HZ) == [(0, 60)]
    assert Motion(person(), RATE_HZ, "02", "walk.amc").artefacts == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :16], r"walk\.amc: joints are \(60, 16, 3\), expected \(frames, 17, 3\)"),
        (lambda x: x[..., :2], r"joints are \(60, 17, 2\)"),
        (lambda x: x[:0], r"walk\.amc: holds no frames"),
        (lambda x: np.zeros_like(x), r"no frame holds a body \(all 60 are empty\)"),
        (lambda x: x * 1000, r"high along its bones, which looks like millimetres; expected metres"),
        (lambda x: x * 100, r"which looks like centimetres"),
        (lambda x: x * 39.37, r"which looks like inches"),
        (lambda x: x * 0.298, r"which looks like normalised by 0\.298"),
        (lambda x: x * 0.01, r"walk\.amc: the body is 0\.01\d* high along its bones; expected metres"),
        (lambda x: x[:, list(FLIP)], r"left and right are swapped in 100% of the 60 frames that show it"),
        (lambda x: x * np.float32([-1, 1, 1]), r"left and right are swapped"),  # a mirrored world
        (lambda x: x[:, list(LEGS_ONLY)], r"left and right are swapped"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        check_motion(change(person()), RATE_HZ, "walk.amc")


def test_arms_swapped_against_legs_are_refused_with_straight_legs_too():
    joints = person()
    for knee, hip, ankle in ((2, 1, 3), (5, 4, 6)):
        joints[:, knee] = (joints[:, hip] + joints[:, ankle]) / 2  # nothing tells where this body faces
    assert check_motion(joints, RATE_HZ) == []
    joints[:, [11, 12, 13, 14, 15, 16]] = joints[:, [14, 15, 16, 11, 12, 13]]
    with pytest.raises(ValueError, match=r"arms are swapped against those of the legs in 100%"):
        check_motion(joints, RATE_HZ)


def test_a_properly_flipped_motion_is_sound():
    assert check_motion(flip(person()), RATE_HZ) == []


def test_sides_are_judged_by_majority_and_never_from_bodies_upside_down():
    joints = person()
    joints[:10] = joints[:10, list(FLIP)]  # a spin that the rule misreads for ten frames
    check_motion(joints, RATE_HZ)
    check_motion(person() * np.float32([1, -1, -1]), RATE_HZ)  # a handstand, turned about x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_is_refused_with_its_frame_and_joint(value):
    joints = person()
    joints[7, 13, 2] = value
    joints[9] = value
    with pytest.raises(ValueError, match=r"m\.npz: NaN or infinite position at frame 7 \(left_wrist\), 2 of 60 frames"):
        check_motion(joints, RATE_HZ, "m.npz")


@pytest.mark.parametrize("rate_hz", [0.0, -60.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(rate_hz):
    with pytest.raises(ValueError, match="frame rate is"):
        check_motion(person(), rate_hz)
    with pytest.raises(ValueError, match="rate_hz is"):
        resample(person(), rate_hz, 30.0)
    with pytest.raises(ValueError, match="target_rate_hz is"):
        resample(person(), 30.0, rate_hz)


def test_frames_without_data_are_told_and_cut():
    joints = person()
    joints[:4] = 0
    joints[30] = joints[30, :1]  # collapsed onto the root
    artefacts = check_motion(joints, RATE_HZ)
    assert artefacts[0] == "5 frames without data: 0-3, 30"
    assert good_pieces(joints, RATE_HZ)[0][0] >= 4
    bad = bad_frames(joints, RATE_HZ)
    assert bad[:4].all() and bad[30] and not bad[10:25].any() and not bad[40:].any()


def test_a_rest_pose_at_the_origin_is_no_data_but_a_body_always_there_is():
    joints = person()
    still = joints - joints[:, :1]
    assert check_motion(still, RATE_HZ) == []  # root-relative motion: its root never leaves the origin
    joints[:4] -= joints[:4, :1]  # as a recording of zeros comes out of forward kinematics
    assert bad_frames(joints, RATE_HZ)[:4].all()


def test_jumps_are_told_with_frame_and_joint_and_cut_on_both_sides():
    joints = person()
    joints[20:, :] += np.float32([1, 0, 0])  # the whole body, for good: 60 m/s
    joints[45, 16] += np.float32([0, 0, 2])  # one wrist, away and back: 120 m/s
    (told,) = check_motion(joints, RATE_HZ)
    assert told.startswith("3 jumps faster than 30 m/s after frames 19, 44-45; fastest right_wrist at 120 m/s")
    assert good_pieces(joints, RATE_HZ) == [(0, 19), (21, 44), (47, 60)]


def test_fast_but_human_motion_is_kept():
    joints = person()
    joints[:, 16, 2] += 0.4 * np.sin(np.arange(60) / RATE_HZ * 2 * np.pi * 5).astype(np.float32)  # 12.6 m/s
    assert not bad_frames(joints, RATE_HZ).any()


def test_short_good_runs_between_jumps_are_bad_too():
    joints = person()
    joints[30:33, 13] += np.float32([0, 3, 0])  # 3 frames = 0.05 s elsewhere
    assert good_pieces(joints, RATE_HZ) == [(0, 29), (34, 60)]


def test_an_impossible_limb_is_told():
    joints = person()
    joints[:, 13] += np.float32([0, -1.2, 0])
    assert any(told.startswith("left_wrist lies") for told in check_motion(joints, RATE_HZ))


# ---- resampling -----------------------------------------------------------------------------------------------------


def sine(frames: int, rate_hz: float, frequency_hz: float = 0.5) -> np.ndarray:
    """(F, 17, 3): every coordinate a sine of its own phase."""
    phase = np.arange(51).reshape(17, 3)
    time_s = np.arange(frames)[:, None, None] / rate_hz
    return np.sin(2 * np.pi * frequency_hz * time_s + phase)


@pytest.mark.parametrize("rate_hz", [100.0, 150.0, 250.0, 59.94, 119.88, 72.0, 60.5])
@pytest.mark.parametrize("target_hz", [30.0, 50.0])
def test_resampling_shows_the_motion_at_true_times(rate_hz, target_hz):
    frames, rate = resample(sine(int(8 * rate_hz), rate_hz), rate_hz, target_hz)
    expected = sine(len(frames), rate)
    # error of linear interpolation: (omega dt)^2 / 8; a rounded stride would be wrong by whole radians
    assert np.abs(frames - expected).max() < (np.pi / rate_hz) ** 2 / 8 + 1e-9
    assert abs(len(frames) / rate - 8) < 2 / rate


@pytest.mark.parametrize(("rate_hz", "target_hz", "stride"), [(120.0, 60.0, 2), (240.0, 60.0, 4), (60.0, 60.0, 1)])
def test_whole_ratios_pick_frames_exactly(rate_hz, target_hz, stride):
    motion = np.random.default_rng(0).normal(size=(31, 17, 3)).astype(np.float32)
    frames, rate = resample(motion, rate_hz, target_hz)
    assert rate == target_hz
    np.testing.assert_array_equal(frames, motion[::stride])


def test_interpolation_equals_a_slow_loop_over_times():
    motion = np.random.default_rng(0).normal(size=(40, 17, 3))
    frames, rate = resample(motion, 100.0, 60.0)
    slow = []
    for n in range(1000):
        place = n / 60.0 * 100.0
        if place > 39 + 1e-9:
            break
        before = min(int(place), 38)
        slow.append(motion[before] + (place - before) * (motion[before + 1] - motion[before]))
    assert rate == 60.0 and len(frames) == len(slow)
    np.testing.assert_allclose(frames, slow, atol=1e-9)


def test_a_slower_recording_keeps_its_rate_unless_asked():
    motion = sine(31, 30.0)
    frames, rate = resample(motion, 30.0, 60.0)
    assert rate == 30.0 and frames is motion
    frames, rate = resample(motion, 30.0, 60.0, upsample=True)
    assert rate == 60.0 and len(frames) == 61
    np.testing.assert_allclose(frames[::2], motion, atol=1e-12)
    np.testing.assert_allclose(frames[1], (motion[0] + motion[1]) / 2, atol=1e-12)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_motions_resample_without_inventing_frames(frames):
    out, _ = resample(np.ones((frames, 17, 3), np.float32), 100.0, 60.0)
    assert len(out) == (frames - 1) * 60 // 100 + 1 and out.dtype == np.float32
    np.testing.assert_array_equal(out, 1)


def test_frame_numbers_are_told_as_runs():
    assert spans(np.array([0, 1, 2, 3, 17, 40, 41])) == "0-3, 17, 40-41"
    assert spans(np.arange(0, 20, 2)) == "0, 2, 4, 6, 8, 10 and 4 more"


def on_the_floor(joints: np.ndarray) -> np.ndarray:
    """Straight-legged, the lower ankle at 8 cm."""
    for knee, hip, ankle in ((2, 1, 3), (5, 4, 6)):
        joints[:, ankle] = joints[:, hip] - np.float32([0, 0, 0.85])
        joints[:, knee] = (joints[:, hip] + joints[:, ankle]) / 2
    joints[..., 2] += 0.08 - joints[:, [3, 6], 2].min(1)[:, None]
    return joints


def in_a_world_with(up: str, joints: np.ndarray) -> np.ndarray:
    """The same person in a world whose axis ``up`` is up, by the inverse of the rotation that `turn_up` makes."""
    order, signs = UP[up]
    return (joints * np.array(signs, joints.dtype))[..., np.argsort(order)]


@pytest.mark.parametrize("up", list(UP))
def test_a_world_with_another_axis_up_is_seen_and_turned_without_mirroring(up):
    order, signs = UP[up]
    assert np.linalg.det(np.eye(3)[list(order)] * np.array(signs)[:, None]) == pytest.approx(1)
    joints = on_the_floor(person()) + np.float32([0, 0.9, 0])
    found, told = up_axis(in_a_world_with(up, joints))
    assert found == up
    assert (told == "") if up == "z" else (f"the world has {up} up" in told and "100% of the frames" in told)
    np.testing.assert_array_equal(turn_up(in_a_world_with(up, joints), up), joints)


def test_who_lies_down_does_not_turn_the_world():
    lying = in_a_world_with("y", on_the_floor(person() - np.float32([2, 0, 0])))  # along y, from the origin
    lying[..., 2] += 0.15 - lying[..., 2].min()
    axis, told = up_axis(lying)
    assert axis == "z" and "or lies on the floor of a world with z up" in told and "up='y'" in told
    lying[:20] = on_the_floor(person())[:20]  # stands first
    assert up_axis(lying) == ("z", "")


def test_who_stands_on_nothing_does_not_turn_the_world():
    hanging = in_a_world_with("-z", on_the_floor(person()))
    hanging[..., 2] += 2.4  # head down from a bar
    axis, told = up_axis(hanging)
    assert axis == "z" and "its feet are not at 0" in told
    sitting = person()
    sitting[:, [2, 3, 5, 6]] = sitting[:, [1, 1, 4, 4]] + np.float32([0, -0.4, 0])
    assert up_axis(sitting)[0] == "z"
