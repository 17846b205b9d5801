"""Filmed files: read back by the real readers, left is left, the 2.5D fields agree, the same bytes every time."""

import numpy as np
import pytest

from langpose import filming
from langpose.detector import NOISE, detect
from langpose.filming import FilmConfig, Take
from langpose.occlusion import RADII_M, SOFT_M, visibility
from langpose.skeleton import H36M_FROM_MPI, LIMBS
from langpose.sources import human36m, mpi_inf_3dhp
from langpose.storage import sha256

REST = np.array(
    [[0, 0, 0.95], [-0.12, 0, 0.93], [-0.13, -0.1, 0.5], [-0.13, 0, 0.08], [0.12, 0, 0.93], [0.13, -0.1, 0.5],
     [0.13, 0, 0.08], [0, 0, 1.17], [0, 0, 1.42], [0, -0.04, 1.5], [0, -0.02, 1.68], [0.17, 0, 1.4], [0.24, 0.03, 1.12],
     [0.25, -0.1, 0.88], [-0.17, 0, 1.4], [-0.24, 0.03, 1.12], [-0.25, -0.1, 0.88]]
)  # fmt: skip


def take(subject=1, action="Walk", subaction=1, frames=60, rate=50.0, seed=0):
    """A person who walks off along x, swings the arms and bends the knees; faces -y."""
    phase = np.arange(frames) / rate * 2 * np.pi + seed
    joints = np.tile(REST, (frames, 1, 1))
    joints[..., 0] += 0.5 * np.arange(frames)[:, None] / rate
    for side, knee, wrist in ((1, 5, 13), (-1, 2, 16)):
        joints[:, knee, 1] -= 0.08 * (1 + side * np.sin(phase))
        joints[:, wrist, 1] -= 0.2 * side * np.sin(phase)
    return Take(joints.astype(np.float32), rate, subject, action, subaction)


def slow_visibility(joints):
    """One frame, a joint and a limb at a time, by sampling both segments."""
    seen = np.ones(17)
    for j in range(17):
        near = {j} | {b for a, b in LIMBS if a == j} | {a for a, b in LIMBS if b == j}
        for parent, child in LIMBS:
            if parent in near or child in near:
                continue
            ray = joints[j] * np.linspace(0, 1, 1501)[:, None]
            limb = joints[parent] + (joints[child] - joints[parent]) * np.linspace(0, 1, 81)[:, None]
            distance = np.linalg.norm(ray[:, None] - limb[None], axis=-1)
            at = np.unravel_index(distance.argmin(), distance.shape)[0]
            ahead = np.linalg.norm(joints[j] - ray[at])
            radius = RADII_M[parent, child]
            if ahead > radius + SOFT_M:
                seen[j] = min(seen[j], 1 - np.clip((radius + SOFT_M - distance.min()) / (2 * SOFT_M), 0, 1))
    return seen


def test_visibility_equals_a_slow_reference():
    rng = np.random.default_rng(0)
    poses = (REST - REST[0]) * [1, 1, -1] + rng.normal(0, 0.12, (3, 17, 3)) + [0, 0, 5]
    poses = poses[..., [0, 2, 1]] - [0, 5, -5]  # z up to y down, five metres away
    poses = np.stack([poses[..., 0], poses[..., 1], 5 + rng.normal(0, 0.25, (3, 17))], -1)
    fast = visibility(poses)
    for frame in range(3):
        np.testing.assert_allclose(fast[frame], slow_visibility(poses[frame]), atol=0.06)
    assert (fast < 0.5).any() and (fast > 0.99).any()


def test_an_arm_behind_the_trunk_is_hidden_and_one_in_front_is_not():
    body = np.stack([REST[:, 0], 1.0 - REST[:, 2], 5 + REST[:, 1]], -1)[None]
    behind, front = body.copy(), body.copy()
    behind[0, 16], front[0, 16] = (0.0, -0.3, 5.35), (0.0, -0.3, 4.65)
    assert visibility(behind)[0, 16] == 0
    assert visibility(front)[0, 16] == 1


def test_detections_of_hidden_joints_are_worse_and_less_confident():
    points = np.zeros((400, 17, 2))
    size = np.full(400, 400.0)
    seen, confidence = detect(points, np.ones((400, 17)), size, np.random.default_rng(0))
    hidden, doubt = detect(points, np.zeros((400, 17)), size, np.random.default_rng(0))
    assert np.linalg.norm(hidden, axis=-1).mean() > 2 * np.linalg.norm(seen, axis=-1).mean()
    assert doubt.mean() < 0.2 * confidence.mean()
    assert confidence.min() >= 0 and confidence.max() <= 1
    # the error of a visible joint has the noise model's size: a person is 2 wide there, 400 px here
    spread = np.sqrt((NOISE.weight[:, None] * NOISE.std**2).mean()) * 200
    assert 0.4 * spread < seen.std() < 1.6 * spread


@pytest.fixture(scope="module")
def pickle_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / human36m.FILE_NAME
    train = [take(s, a, 1, seed=s) for s in (1, 5) for a in ("Walk", "Photo")]
    test = [take(9, "Walk", 1), take(11, "Photo", 2)]
    filming.write_human36m(train, test, path, seed=3)
    return path, train, test


def test_human36m_is_read_back_by_the_real_reader(pickle_file):
    path, train, test = pickle_file
    data = human36m.read(path)
    assert set(data.train.sequences()["subject"]) == {1, 5}
    assert set(data.test.sequences()["action"]) == {"Walk", "Photo"}
    assert len(data.train.sequences()) == 4 * len(train)
    factor, image = data.test.factor_mm_px, data.test.joint3d_image
    np.testing.assert_allclose(data.test.joints_mm, factor[:, None, None] * image, rtol=1e-5, atol=1e-2)
    assert factor.min() > 1.5 and factor.max() < 8
    # millimetres: within the 2.5D approximation the limbs are as long as the person's
    relative = data.test.joints_mm - data.test.joints_mm[:, :1]
    thigh = np.linalg.norm(relative[:, 5] - relative[:, 4], axis=-1)
    true = np.linalg.norm(test[0].joints[:, 5] - test[0].joints[:, 4], axis=-1) * 1000
    assert abs(np.median(thigh[: len(true)]) - np.median(true)) < 0.1 * np.median(true)


def test_the_same_takes_give_the_same_bytes_and_another_seed_others(pickle_file, tmp_path):
    path, train, test = pickle_file
    filming.write_human36m([take(t.subject, t.action, 1, seed=t.subject) for t in train], test, tmp_path / "b", seed=3)
    assert sha256(path) == sha256(tmp_path / "b")
    filming.write_human36m(train, test, tmp_path / "c", seed=4)
    assert sha256(path) != sha256(tmp_path / "c")


def test_left_is_on_the_left_in_both_files(pickle_file, tmp_path):
    path, train, _ = pickle_file
    data = human36m.read(path)
    film = FilmConfig(mpi_cameras=8)
    filming.write_mpi_inf_3dhp([[train[0]]], [take(9, "Walk", i, seed=i) for i in range(6)], tmp_path, 0, film)
    views = [data.train.joint3d_image, data.test.joint3d_image]
    for shot in mpi_inf_3dhp.read_train(tmp_path / mpi_inf_3dhp.TRAIN_FILE):
        views.append(shot.joints_mm[:, list(H36M_FROM_MPI)])
    for joints in views:
        hips = joints[:, 4] - joints[:, 1]  # right to left
        up = joints[:, 8] - joints[:, 0]
        forward = joints[:, [2, 5]].mean(1) - (joints[:, [1, 4]].mean(1) + joints[:, [3, 6]].mean(1)) / 2
        # x right, y down, z away is right-handed: left = up x forward
        assert ((hips * np.cross(up, forward)).sum(-1) > 0).all()


def test_mpi_inf_3dhp_is_read_back_by_the_real_reader(tmp_path):
    subjects = [[take(s, "Walk", 1, seed=s), take(s, "Walk", 2, seed=s + 9)] for s in range(8)]
    test = [take(20, "Walk", i, rate=50.0, seed=i) for i in range(6)]
    filming.write_mpi_inf_3dhp(subjects, test, tmp_path / "a", seed=0)
    data = mpi_inf_3dhp.read(tmp_path / "a")
    assert {t.sequence for t in data.train} == {f"S{s} Seq{q}" for s in range(1, 9) for q in (1, 2)}
    assert [(t.width, t.height) for t in data.test] == [(2048, 2048)] * 4 + [(1920, 1080)] * 2
    for shot in data.test:
        assert (shot.joints_px >= 0).all() and (shot.joints_px < [shot.width, shot.height]).all()
    filming.write_mpi_inf_3dhp(subjects, test, tmp_path / "b", seed=0)
    for name in (mpi_inf_3dhp.TRAIN_FILE, mpi_inf_3dhp.TEST_FILE):
        assert sha256(tmp_path / "a" / name) == sha256(tmp_path / "b" / name)


def test_a_wrong_rate_or_number_of_takes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="runs at 60.0 Hz; Human3.6M is 50 Hz"):
        filming.write_human36m([take(rate=60.0)], [take()], tmp_path / "x", 0)
    with pytest.raises(ValueError, match="no takes for Human3.6M's test part"):
        filming.write_human36m([take()], [], tmp_path / "x", 0)
    with pytest.raises(ValueError, match="has six test sequences"):
        filming.write_mpi_inf_3dhp([[take()]], [take()], tmp_path, 0)
    with pytest.raises(ValueError, match="25 or 50 Hz"):
        filming.write_mpi_inf_3dhp([[take(rate=30.0)]], [take()] * 6, tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_invalid_frames_are_one_stretch_drawn_by_the_seed_and_change_nothing_else(tmp_path):
    test = [take(20, "Walk", i, rate=50.0, seed=i) for i in range(6)]
    for name, share, seed in (("all", 0.0, 0), ("a", 0.25, 0), ("b", 0.25, 0), ("c", 0.25, 1)):
        filming.write_mpi_inf_3dhp([[take()]], test, tmp_path / name, seed, FilmConfig(mpi_invalid=share))
    whole, a, b, c = (
        mpi_inf_3dhp.read_test(tmp_path / name / mpi_inf_3dhp.TEST_FILE) for name in ("all", "a", "b", "c")
    )
    assert all(shot.valid.all() for shot in whole)
    for full, shot in zip(whole, a, strict=True):
        gap = np.flatnonzero(~shot.valid)
        assert len(gap) == 15 and np.ptp(gap) == 14
        np.testing.assert_array_equal(full.joints_px, shot.joints_px)
    masks = [np.stack([shot.valid for shot in shots]) for shots in (a, b, c)]
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()
    with pytest.raises(ValueError, match="mpi_invalid is 0.9; expected a share"):
        FilmConfig(mpi_invalid=0.9)
