"""Keypoints of any length, with gaps and drop-outs, become poses: windows blended, units told, nothing assumed."""

import numpy as np
import pytest
import torch

from langpose import LangPose, LangPoseConfig
from langpose.joint_maps import SKELETONS
from langpose.keypoint_files import NOBODY, Detections
from langpose.lifting import RATE, Lifter, stature
from langpose.model.pose_encoder import PoseEncoderConfig
from langpose.people import chosen, fill, linked, tracks
from tests.pages import walking

T = 9


def small(tuned_on="human36m", rate_hz=None):
    pose = PoseEncoderConfig(dim_feat=16, dim_rep=16, depth=1, num_heads=2, maxlen=T, init_std=0.2)
    model = LangPose(LangPoseConfig(pose=pose, text=None))
    facts = ({"fine-tuned on": tuned_on} if tuned_on else {}) | ({RATE: str(rate_hz)} if rate_hz else {})
    model.provenance = {"title": "", "facts": facts, "metrics": {}}
    return model


class Upright(torch.nn.Module):
    """A model that knows one thing: the depth of a joint is its height in the input."""

    def forward(self, x):
        return torch.stack([x[..., 0], x[..., 1], x[..., 1]], -1)


def upright():
    model = small()
    model.pose_encoder = Upright()
    return model


def seen(frames, size=400.0, centre=(500.0, 400.0)):
    """A walker as (F, 17, 3) pixels."""
    mm = walking(frames, 25.0)[..., :2]
    points = np.ones((frames, 17, 3))
    points[..., :2] = mm / 1600 * size + centre
    return points


@pytest.mark.parametrize("length", [1, 2, T - 1, T, T + 1, 3 * T + 2, 100])
def test_any_length_gives_a_pose_a_frame_relative_to_the_root(length):
    poses = Lifter(small())(seen(length))
    assert poses.joints.shape == (length, 17, 3) and poses.unit == "px" and (poses.joints[:, 0] == 0).all()
    assert np.isfinite(poses.joints).all() and poses.frames.tolist() == list(range(length))


def test_the_input_comes_back_through_a_model_that_keeps_it():
    """Normalisation is undone exactly: a model that gives back x and y gives back root-relative pixels."""
    points = seen(40)
    poses = Lifter(upright(), flip=False)(points)
    expected = points[..., :2] - points[:, :1, :2]
    np.testing.assert_allclose(poses.joints[..., :2], expected, atol=1e-2)
    np.testing.assert_allclose(poses.joints[..., 2], expected[..., 1], atol=1e-2)


@pytest.mark.parametrize(("size", "centre"), [(80.0, (2000.0, 90.0)), (1900.0, (0.0, 0.0))])
def test_a_person_anywhere_in_the_image_is_lifted_alike(size, centre):
    lifter = Lifter(small())
    usual, other = lifter(seen(30)), lifter(seen(30, size, centre))
    np.testing.assert_allclose(other.joints / size, usual.joints / 400, atol=1e-4)


def test_the_images_framing_divides_by_its_width():
    lifter = Lifter(upright(), flip=False, framing="image")
    points = seen(12)
    np.testing.assert_allclose(
        lifter(points, image_size=(1000, 800)).joints[..., :2], points[..., :2] - points[:, :1, :2], atol=1e-2
    )
    with pytest.raises(ValueError, match="framing 'image' needs the image's size"):
        lifter(points)


def test_blending_equals_a_slow_mean_of_windows():
    lifter, points = Lifter(small(), flip=False), seen(25).astype(np.float32)
    x, units = lifter.framed(points, [25], None)
    hop, total, weight = T // 2, np.zeros((25, 17, 3)), np.zeros(25)
    for start in [*range(0, 25 - T + 1, hop), 25 - T]:
        if start == 25 - T and (25 - T) % hop == 0 and weight[24]:
            continue
        with torch.inference_mode():
            out = lifter.encoder(torch.from_numpy(x[None, start : start + T]))[0].numpy()
        for t in range(T):
            inside = np.sin(np.pi * (t + 0.5) / T) ** 2
            total[start + t] += inside * (out[t] - out[t, 0])
            weight[start + t] += inside
    np.testing.assert_allclose(lifter(points).joints, total / weight[:, None, None] * units[0], atol=1e-3)


class Drifting(torch.nn.Module):
    """A model whose poses lean away over a clip: windows disagree where they meet."""

    def forward(self, x):
        lean = torch.linspace(-0.2, 0.2, x.shape[1])[None, :, None].expand(x.shape[:3])
        joint = torch.arange(17.0)[None, None] / 16
        return torch.stack([x[..., 0], x[..., 1], lean * joint], -1)


def test_poses_do_not_jump_where_windows_join():
    """Speed where a window begins or ends is that of the other frames; of windows laid end to end it is not."""
    length, hop, model = 600, T // 2, small()
    model.pose_encoder = Drifting()
    lifter, points = Lifter(model, flip=False), seen(length)
    joins = np.zeros(length - 1, bool)
    for start in range(hop, length - T, hop):
        joins[[start - 1, start + T - 1]] = True

    def share(joints, at):
        speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1).mean(-1)[T:-T]
        return speed[at[T:-T]].mean() / speed[~at[T:-T]].mean()

    assert joins.mean() < 0.6 and 0.9 < share(lifter(points).joints, joins) < 1.1
    x, units = lifter.framed(points.astype(np.float32), [length], None)
    apart = lifter.encoder(torch.from_numpy(x[: length // T * T].reshape(-1, T, 17, 3))).numpy().reshape(-1, 17, 3)
    assert share((apart - apart[:, :1]) * units[0], np.arange(len(apart) - 1) % T == T - 1) > 3


def test_what_is_not_seen_is_zero_to_the_model_as_in_training():
    points = seen(T)
    points[3, 5] = np.nan
    points[4, 6, 2] = 0
    lifter = Lifter(small())
    x, _ = lifter.framed(lifter(points).keypoints, [T], None)
    assert (x[3, 5] == 0).all() and (x[4, 6] == 0).all() and (x[5, 5] != 0).any()
    points[:] = 0
    assert np.isfinite(lifter(points).joints).all()


def test_a_body_height_makes_metres():
    poses = Lifter(upright(), flip=False)(seen(20), height_m=1.8)
    assert poses.unit == "m" and stature(poses.joints) == pytest.approx(1.8, rel=1e-5)
    with pytest.raises(ValueError, match=r"a body height of 180 m; expected metres"):
        poses.in_metres(180)


def test_a_model_of_mpi_predicts_millimetres_and_an_unknown_one_is_refused():
    assert Lifter(small("mpi_inf_3dhp"))(seen(5)).unit == "mm"
    assert Lifter(small(""))(seen(5)).unit == "px"
    with pytest.raises(ValueError, match="fine-tuned on 'humaneva'; known: human36m, mpi_inf_3dhp"):
        Lifter(small("humaneva"))


@pytest.mark.parametrize("skeleton", ["coco17", "halpe26", "body25", "mediapipe33", "mpi17", "coco133"])
def test_other_skeletons_are_lifted_by_name(skeleton):
    number = SKELETONS[skeleton].number
    points = np.random.default_rng(0).uniform(100, 500, (12, number, 2))
    assert Lifter(small())(points, skeleton=skeleton).joints.shape == (12, 17, 3)


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.zeros((0, 17, 2)), {}, "at least one frame"),
        (np.zeros((5, 17, 4)), {}, "expected (frames, joints, 2 or 3)"),
        (np.ones((5, 16, 2)), {}, "16 joints; skeleton h36m17 has 17"),
        (np.ones((5, 17, 2)), {"skeleton": "coco"}, None),
        (np.ones((5, 17, 2)), {"frames": [1, 2]}, "2 frame numbers for 5 frames"),
        (np.ones((5, 17, 2)), {"frames": [1, 2, 2, 3, 4]}, "none twice"),
    ],
)
def test_what_cannot_be_lifted_says_why(points, options, message):
    if message is None:
        Lifter(small())(points, **options)
        return
    with pytest.raises(ValueError) as told:
        Lifter(small())(points, **options)
    assert message in str(told.value)


def test_frame_numbers_count_gaps_are_filled_or_split():
    frames = [0, 1, 2, 5, 6, 30, 31]
    poses = Lifter(small(), max_gap=3)(seen(7), frames=frames)
    assert poses.frames.tolist() == [0, 1, 2, 3, 4, 5, 6, 30, 31]
    assert poses.filled.tolist() == [False, False, False, True, True, False, False, False, False]
    assert poses.starts == (0, 7) and [len(part) for part in poses.stretches()] == [7, 2]
    alone = Lifter(small(), max_gap=3)(seen(7)[5:], frames=[30, 31])
    np.testing.assert_allclose(poses.joints[7:], alone.joints, atol=1e-3)


def test_every_second_frame_is_no_gap():
    poses = Lifter(small())(seen(6), frames=[0, 2, 4, 6, 8, 10])
    assert poses.frames.tolist() == [0, 2, 4, 6, 8, 10] and not poses.filled.any()
    poses = Lifter(small())(seen(5), frames=[0, 2, 4, 8, 10])
    assert poses.frames.tolist() == [0, 2, 4, 6, 8, 10] and poses.filled.tolist() == [False] * 3 + [True] + [False] * 2


def test_a_filled_joint_lies_on_the_line_between_and_an_unseen_one_stays_unseen():
    points = seen(2)
    points[1, 4, 2] = 0.25
    points[0, 7] = 0
    found = np.zeros((5, 17, 3))
    found[[0, 4]] = points
    fill(found, np.array([0, 4]))
    np.testing.assert_allclose(found[1, 3], points[0, 3] * 0.75 + points[1, 3] * 0.25)
    assert found[2, 4, 2] == 0.25 and (found[1:4, 7] == 0).all()


def two_people(named):
    """Two walkers who pass each other; detections in random order."""
    left, right = seen(30, 300), seen(30, 300)
    left[..., 0] += np.linspace(-300, 300, 30)[:, None]
    right[..., 0] -= np.linspace(-300, 300, 30)[:, None]
    right[..., 1] += 120
    frames = np.tile(np.arange(30), 2)
    order = np.random.default_rng(1).permutation(60)
    persons = np.repeat([4, 2], 30) if named else np.full(60, NOBODY)
    points = np.concatenate([left, right])
    return Detections(frames[order], persons[order], points[order], SKELETONS["h36m17"], "array"), left, right


@pytest.mark.parametrize("named", [True, False])
def test_several_people_by_track_or_by_where_they_are(named):
    found, left, right = two_people(named)
    people = tracks(found)
    assert [track.person for track in people] == ([2, 4] if named else [0, 1])
    numbers = {track.person: track.keypoints for track in people}
    first = numbers[4] if named else numbers[0] if np.allclose(numbers[0], left) else numbers[1]
    np.testing.assert_allclose(first, left)
    lifted = Lifter(small()).people(people, found)
    apart = Lifter(small())(right)
    together = next(p for p, t in zip(lifted, people, strict=True) if np.allclose(t.keypoints, right))
    np.testing.assert_allclose(together.joints, apart.joints, atol=1e-3)


def test_somebody_new_is_no_continuation():
    frames, points = np.array([0, 1, 2]), seen(3, 200)
    points[2, :, 0] += 900
    assert linked(frames, points, 5).tolist() == [0, 0, 1]
    assert linked(np.array([0, 1, 20]), seen(3), 5).tolist() == [0, 0, 1]


def test_a_person_is_chosen_by_number_size_or_length():
    found, *_ = two_people(True)
    found.keypoints[found.persons == 2, :, :2] *= 2
    people = tracks(found)
    assert [t.person for t in chosen(people, "all")] == [2, 4]
    assert [t.person for t in chosen(people, "largest")] == [2]
    assert [t.person for t in chosen(people, "4")] == [4]
    with pytest.raises(ValueError, match="no person '9'; there are 2, 4. Or: all, largest, longest"):
        chosen(people, "9")


def test_a_stream_gives_what_was_seen_so_far_and_never_looks_ahead():
    lifter, points = Lifter(small()), seen(3 * T)
    stream, other = lifter.stream(), lifter.stream()
    given = [stream.push(pose) for pose in points]
    changed = points.copy()
    changed[20:] += 50
    again = [other.push(pose) for pose in changed]
    np.testing.assert_array_equal(given[:20], again[:20])
    assert not np.array_equal(given[20], again[20])
    found = Detections(np.arange(3 * T), np.zeros(3 * T, int), points, SKELETONS["h36m17"], "array")
    poses, seconds = lifter.causal(tracks(found), found)
    np.testing.assert_allclose(poses[0].joints, given, atol=1e-4)
    assert len(seconds) == 3 * T
    with pytest.raises(ValueError, match="expected \\(17, 3\\)"):
        stream.push(points[0, :5])


def test_frames_are_hidden_for_a_model_that_fills_them():
    found = Detections(np.arange(30), np.zeros(30, int), seen(30), SKELETONS["h36m17"], "array")
    lifter, (track,) = Lifter(small("")), tracks(found)
    hidden = lifter.hidden(track, (10, 12))
    assert hidden.filled.nonzero()[0].tolist() == [10, 11, 12] and (hidden.keypoints[10:13] == 0).all()
    assert np.isfinite(lifter.people([hidden], found)[0].joints).all()
    with pytest.raises(ValueError, match="frames 40 to 50 to hide; person 0 has 0 to 29"):
        lifter.hidden(track, (40, 50))
    with pytest.raises(
        ValueError, match="10 frames in a row are hidden; the model sees 9 of its own at a time, and can fill at most 4"
    ):
        lifter.hidden(track, (10, 19))
    half = Lifter(small("", rate_hz=50))  # two of its frames for each of these
    assert half.hidden(track, (10, 11), 25.0).filled.sum() == 2
    with pytest.raises(ValueError, match="3 frames in a row are hidden; .* at most 2 of these"):
        half.hidden(track, (10, 12), 25.0)


def test_the_step_is_the_files_and_absence_is_no_step():
    """Somebody who is there in frames 0 and 1000 alone is two stretches; enormous numbers take no memory."""
    frames = np.concatenate([np.arange(50), [0, 45], 10**15 + np.arange(3)])
    persons = np.concatenate([np.zeros(50, int), [1, 1], [2, 2, 2]])
    points = np.concatenate([seen(50), seen(2), seen(3)])
    found = Detections(frames, persons, points, SKELETONS["h36m17"], "array")
    assert [track.starts for track in tracks(found)] == [(0,), (0, 1), (0,)]
    assert [track.step for track in tracks(found)] == [1, 1, 1]


def test_frames_without_a_joint_are_marked():
    points = seen(20)
    points[5:9] = np.nan
    poses = Lifter(small())(points)
    assert len(poses.joints) == 20 and poses.filled.nonzero()[0].tolist() == [5, 6, 7, 8]


def test_confidences_above_one_are_cut():
    points, other = seen(12), seen(12)
    other[..., 2] *= 6
    np.testing.assert_array_equal(Lifter(small())(points).joints, Lifter(small())(other).joints)


def test_the_height_takes_bones_that_were_seen():
    points = seen(20)
    points[:, [2, 3, 5, 6]] = 0
    poses = Lifter(small())(points)
    with pytest.raises(ValueError, match="hip to knee was never seen"):
        poses.in_metres(1.8)
    points = seen(20)
    points[:, [5, 6]] = 0  # one leg is enough
    assert Lifter(small())(points).in_metres(1.8).unit == "m"


def test_without_legs_the_upper_body_is_as_large_as_with_them():
    points, half = seen(30), seen(30)
    half[:, [2, 3, 5, 6], 2] = 0
    lifter = Lifter(small())
    units = [lifter.framed(lifter(p).keypoints, [30], None)[1][0] for p in (points, half)]
    assert 0.85 < units[1] / units[0] < 1.15


def test_causal_lifting_does_not_see_what_gaps_were_filled_with():
    frames = np.r_[0:20, 25:40]
    first, second = seen(40)[frames], seen(40)[frames]
    second[20:, :, :2] += 300
    found = [Detections(frames, np.zeros(35, int), p, SKELETONS["h36m17"], "array") for p in (first, second)]
    lifter = Lifter(small())
    one, two = (lifter.causal(tracks(each), each)[0][0].joints for each in found)
    np.testing.assert_array_equal(one[:25], two[:25])


def test_a_models_own_person_size_frames_people():
    model = small("mpi_inf_3dhp")
    model.provenance["facts"]["person size"] = "0.35"
    x, _ = Lifter(model).framed(seen(5).astype(np.float32), [5], None)
    y, _ = Lifter(small("mpi_inf_3dhp")).framed(seen(5).astype(np.float32), [5], None)
    np.testing.assert_allclose(x[..., :2] * 2, y[..., :2], atol=1e-5)


def test_many_people_are_linked_in_time_that_grows_with_their_number():
    frames = np.repeat(np.arange(15), 60)
    points = np.concatenate([seen(60) + np.r_[0, 0, 0] for _ in range(15)])
    points[..., 0] += np.tile(np.arange(60) * 900.0, 15)[:, None]
    assert linked(frames, points, 10).reshape(15, 60).tolist() == [list(range(60))] * 15


def slowly_at(points, places):
    """Rows at ``places``, one after the other; a joint that one neighbour does not see is as in the nearer one."""
    rows = []
    for place in places:
        before, share = int(place), place - int(place)
        if share < 1e-9:
            rows.append(points[before])
            continue
        a, b = points[before], points[before + 1]
        row = a * (1 - share) + b * share
        for joint in range(17):
            if a[joint, 2] == 0 or b[joint, 2] == 0:
                row[joint] = b[joint] if share > 0.5 else a[joint]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("rate_hz", "length"), [(25, 21), (20, 21), (100, 41), (125, 41), (50, 21)])
def test_motion_is_looked_at_as_often_as_the_model_knows_it(rate_hz, length):
    """The same as lifting what has been brought to the model's 50 Hz by hand, and bringing its poses back by hand."""
    points = seen(length, centre=(500.0, 400.0))
    points[8, 13] = 0
    points[::2, 3] = 0  # one that flickers
    lifter = Lifter(small(rate_hz=50), framing="image", flip=False)
    size = (1000, 800)
    poses = lifter(points, image_size=size, rate_hz=rate_hz)
    there = slowly_at(points, np.round(np.arange((length - 1) * 50 // rate_hz + 1) * rate_hz / 50, 6))
    known = np.concatenate([lifter(there, image_size=size).joints, np.ones((len(there), 17, 1))], -1)
    back = slowly_at(known, np.round(np.arange(length) * 50 / rate_hz, 6))[..., :3]
    np.testing.assert_allclose(poses.joints, back, atol=2e-3)
    np.testing.assert_array_equal(poses.keypoints, lifter(points, image_size=size).keypoints)


def test_stretches_and_people_keep_apart_at_any_rate():
    frames = np.r_[0:12, 40:55]
    both = Lifter(small(rate_hz=50), framing="image")(seen(27), frames=frames, image_size=(1000, 800), rate_hz=30)
    for rows in (slice(0, 12), slice(12, 27)):
        alone = Lifter(small(rate_hz=50), framing="image")(seen(27)[rows], image_size=(1000, 800), rate_hz=30)
        np.testing.assert_allclose(both.joints[rows], alone.joints, atol=1e-4)


def test_every_second_frame_of_a_video_is_half_its_rate():
    lifter, points = Lifter(small(rate_hz=50)), seen(15)
    every = lifter(points, rate_hz=25)
    second = lifter(points, frames=np.arange(15) * 2, rate_hz=50)
    np.testing.assert_array_equal(every.joints, second.joints)


@pytest.mark.parametrize("rate_hz", [None, 48.0, 52.0])
def test_of_an_unknown_rate_or_nearly_the_models_nothing_is_moved(rate_hz):
    points = seen(20)
    given = Lifter(small(rate_hz=50))(points, rate_hz=rate_hz)
    np.testing.assert_array_equal(given.joints, Lifter(small())(points, rate_hz=rate_hz).joints)


def test_a_stream_looks_at_the_past_as_often_as_the_model_knows_it():
    points = seen(3 * T)
    lifter = Lifter(small(rate_hz=50), framing="image", flip=False)
    stream = lifter.stream(image_size=(1000, 800), rate_hz=25)
    poses = [stream.push(pose) for pose in points]
    known = lifter.stream(image_size=(1000, 800))
    past = slowly_at(points, np.arange(2 * len(points) - 1) / 2)
    expected = [known.push(pose) for pose in past][::2]
    np.testing.assert_allclose(poses, expected, atol=2e-3)


def test_a_size_that_is_none_is_told():
    lifter = Lifter(small())
    for lift in (
        lambda: lifter(seen(5), image_size=(0, 5)),
        lambda: lifter.stream(image_size=(5, -1)).push(seen(1)[0]),
    ):
        with pytest.raises(ValueError, match="expected width and height in pixels"):
            lift()


def test_a_rate_that_is_none_is_told():
    with pytest.raises(ValueError, match="rate_hz is 0; expected frames a second"):
        Lifter(small())(seen(5), rate_hz=0)
