"""CMU's held-out subjects as lifting data: which motion, at which rate, unmirrored for the real readers."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from langpose.filming import FilmConfig
from langpose.skeleton import H36M_FROM_MPI, handedness
from langpose.sources import cmu, human36m, mpi_inf_3dhp
from langpose.sources.cmu_filming import LiftingConfig, film_cmu, lifting_pieces, lifting_takes
from langpose.sources.cmu_labels import SPLITS
from pipeline.stages.project import cmu_jobs
from tests.cmu_files import moving, write_archive

CAMERAS = FilmConfig(cameras=4, mpi_cameras=2)


def trial(text: str, seed: int, frames: int = 150, rate_hz: float = 120.0) -> tuple:
    return text, rate_hz, moving(frames, seed)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    texts = {"01": "walk", "03": "run/jog", "04": "jump", "05": "punch/strike", "06": "bend over", "10": "wash self"}
    trials = {f"02_{number}": trial(text, 20 + i) for i, (number, text) in enumerate(texts.items())}
    trials |= {
        "03_01": trial("walk", 1),
        "05_01": trial("dance", 2),
        "14_01": trial("boxing", 3),
        "14_02": trial("boxing", 4, frames=90, rate_hz=60.0),
        "17_01": trial("walk", 5),
        "127_01": trial("run", 6, frames=400),
    }
    trials["14_01"][2][60] |= {"root": [40.0, 16.0, 5.0, 0, 0, 0]}  # two metres off for one frame
    return write_archive(tmp_path_factory.mktemp("cmu") / "cmu", trials)


@pytest.fixture(scope="module")
def config() -> LiftingConfig:
    order = ("02_10", "02_01", "02_05", "02_04", "02_03", "02_06")  # not sorted: TS1 to TS6 are in the user's order
    return LiftingConfig(piece_seconds=1.0, min_seconds=0.4, max_seconds_per_trial=2.5, test_sequences=order)


@pytest.fixture(scope="module")
def pieces(archive, config):
    return lifting_pieces(archive, config)


@pytest.fixture(scope="module")
def filmed(archive, config, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("filmed")
    film_cmu(archive, folder, config, CAMERAS, seed=0)
    return folder


# ------------------------------------------------------------------------------------------------------------- pieces


def test_pieces_are_cut_at_a_jump_and_never_closed_over_it(pieces):
    found = [(round(p.start_s * 120), round(p.stop_s * 120)) for p in pieces if p.sequence == "14_01"]
    assert found == [(0, 59), (62, 150)]  # frame 60 is off: so are both steps to it


def test_a_piece_shows_its_trial_at_50_hz_and_at_true_speed(archive, pieces):
    for piece in pieces:
        assert piece.take.rate_hz == 50.0
        motion = cmu.read(archive / "subjects" / piece.sequence.split("_")[0] / f"{piece.sequence}.amc")
        stop = round(piece.stop_s * motion.rate_hz)
        frames_s = np.arange(len(motion.joints)) / motion.rate_hz
        for n, joints in enumerate(piece.take.joints):
            at_s = piece.start_s + n / 50
            assert at_s <= (stop - 1) / motion.rate_hz + 1e-6
            expected = [[np.interp(at_s, frames_s, motion.joints[:, j, c]) for c in range(3)] for j in range(17)]
            np.testing.assert_allclose(joints, expected, atol=1e-5)
        assert piece.stop_s - piece.start_s - len(piece.take.joints) / 50 < 1 / 50
    assert {p.sequence for p in pieces} >= {"14_02"}  # the one recorded at 60 Hz


def test_long_trials_are_cut_short_and_into_equal_pieces_but_the_test_ones_are_whole(archive, pieces):
    found = [(p.start_s, p.stop_s) for p in pieces if p.sequence == "127_01"]
    np.testing.assert_allclose(found, [(0, 100 / 120), (100 / 120, 200 / 120), (200 / 120, 2.5)])  # of 3.3 s
    short = LiftingConfig(piece_seconds=2.0, min_seconds=0.4, max_seconds_per_trial=0.5)
    test = [p for p in lifting_pieces(archive, short) if p.split == "test"]
    assert [p.stop_s - p.start_s for p in test] == [150 / 120] * 6


def test_takes_count_each_subjects_pieces_of_an_action_from_one(archive, config, pieces):
    takes = lifting_takes(archive, config)
    assert [(t.subject, t.action, t.subaction) for t in takes if t.subject == 14] == [
        (14, "Box", 1), (14, "Box", 2), (14, "Box", 3), (14, "Box", 4)
    ]  # fmt: skip
    assert [(t.subject, t.action) for t in takes if t.subject == 2][::2] == [
        (2, "Walk"), (2, "Run"), (2, "Jump"), (2, "Punch"), (2, "Bend"), (2, "Wash")
    ]  # fmt: skip
    assert [p.split for p in pieces] == sorted((p.split for p in pieces), key=["finetune", "val", "test"].index)


def test_subjects_without_motion_are_named(archive, tmp_path):
    shutil.copytree(archive, tmp_path / "cmu")
    shutil.rmtree(tmp_path / "cmu" / "subjects" / "14")
    with pytest.raises(ValueError, match=r"no trials of finetune subjects \[14\]; there are \[2, 3, 5, 17, 127\]"):
        lifting_pieces(tmp_path / "cmu", LiftingConfig())


def test_a_subject_beyond_the_pinned_nine_is_pretrainings_and_cannot_be_filmed(tmp_path):
    trial = tmp_path / "cmu" / "subjects" / "99" / "99_01.amc"
    trial.parent.mkdir(parents=True)
    trial.touch()
    assert [job.split for job in cmu_jobs(tmp_path)] == ["train"]
    with pytest.raises(ValueError, match=r"pretraining sees subjects \[99\]"):
        LiftingConfig(test=(99,))


# -------------------------------------------------------------------------------------------------------------- files


def test_no_pretraining_subject_is_filmed(filmed):
    for folder, trials in (("human36m", 11), ("mpi_inf_3dhp", 11)):
        names = pd.read_csv(filmed / folder / "cmu.csv")["trial"]
        assert names.nunique() == trials and not {int(n.split("_")[0]) for n in names} & set(SPLITS["pretrain"])


def test_human36m_is_read_back_with_cmus_subjects_and_actions(filmed, pieces):
    data = human36m.read(filmed / "human36m")
    train, test = data.train.sequences(), data.test.sequences()
    assert set(train["subject"]) == {3, 14, 17, 127} and set(test["subject"]) == {2}
    assert set(test["action"]) == {"Walk", "Run", "Jump", "Punch", "Bend", "Wash"}
    assert len(train) + len(test) == 4 * len(pieces) and set(test["camera"]) == set(human36m.CAMERA_SIZES)
    frames = sum(len(p.take.joints) for p in pieces if p.split == "test")
    assert len(data.test.source) == 4 * frames


def test_mpi_inf_3dhp_has_the_training_subjects_as_s1_on_and_the_named_trials_as_ts1_on(filmed, pieces, config):
    data = mpi_inf_3dhp.read(filmed / "mpi_inf_3dhp")
    assert {t.subject for t in data.train} == {1, 2, 3, 4} and {t.rate_hz for t in data.train} == {50.0}
    for number, subject in enumerate((3, 14, 17, 127), 1):
        own = [p.take.joints for p in pieces if p.take.subject == subject]
        shots = [t for t in data.train if t.subject == number and t.camera == "0"]
        assert sum(len(t.joints_mm) for t in shots) == sum(map(len, own))
        same_pose(shots[0].joints_mm[: len(own[0])], own[0])
    assert [t.sequence for t in data.test] == [f"TS{i}" for i in range(1, 7)]
    for shot, name in zip(data.test, config.test_sequences, strict=True):
        first = next(p.take for p in pieces if p.sequence == name)
        same_pose(shot.joints_mm, first.joints)


def same_pose(filmed_mm: np.ndarray, joints_m: np.ndarray) -> None:
    """A camera turns and moves a body and does no more: all distances stay, and so do signed volumes (no mirror)."""
    filmed_mm = filmed_mm[:, list(H36M_FROM_MPI)].astype(np.float64)
    assert len(filmed_mm) == len(joints_m)

    def distances(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)

    np.testing.assert_allclose(distances(filmed_mm), distances(joints_m) * 1000, atol=0.1)
    np.testing.assert_allclose(volume(filmed_mm), volume(joints_m * 1000.0), rtol=1e-3, atol=1e3)


def volume(joints: np.ndarray) -> np.ndarray:
    """(F,) signed volume spanned by left wrist, right knee and head from the root: a mirror changes its sign."""
    return np.linalg.det(joints[:, [13, 2, 10]] - joints[:, :1])


def test_left_of_the_files_is_cmus_left(filmed, pieces):
    data = human36m.read(filmed / "human36m")
    for part in (data.train, data.test):
        takes = [p.take.joints for p in pieces if (p.split == "test") == (part.split == "test")]
        world = np.concatenate([np.tile(joints, (4, 1, 1)) for joints in takes])  # four cameras, one after the other
        image = part.joint3d_image.astype(np.float64)
        assert (handedness(world, (0, 0, 1)) > 0).all() and (handedness(image, (0, -1, 0)) > 0).mean() > 0.99
        higher_m = world[:, 13, 2] - world[:, 16, 2]  # left wrist over the right: exchanged sides change its sign
        clear = np.abs(higher_m) > 0.2
        for points in (image, part.joint_2d):
            agrees = (points[:, 16, 1] > points[:, 13, 1]) == (higher_m > 0)  # px, y down
            assert agrees[clear].mean() > 0.98 and clear.sum() > 100
        clear = np.abs(volume(world)) > 0.02  # m^3: far from flat, so that perspective cannot change its sign
        assert (np.sign(volume(image)) == np.sign(volume(world)))[clear].all() and clear.sum() > 100


def test_the_keys_say_which_trial_became_what(filmed, pieces):
    table = pd.read_csv(filmed / "human36m" / "cmu.csv")
    assert table["trial"].tolist() == [p.sequence for p in pieces]
    assert table["name"][0] == "s_14 Box 01" and table["split"][0] == "finetune"
    table = pd.read_csv(filmed / "mpi_inf_3dhp" / "cmu.csv").set_index("name")
    assert table.loc["S4", "trial"].unique().tolist() == ["127_01"] and table.loc["TS1", "trial"] == "02_10"


@pytest.mark.parametrize("last", ["02_09", "14_01"])
def test_a_test_sequence_without_test_motion_is_refused_before_anything_is_written(archive, tmp_path, last):
    config = LiftingConfig(test_sequences=("02_01", "02_03", "02_04", "02_05", "02_06", last))
    with pytest.raises(ValueError, match=rf"no usable motion of test sequence {last}; the test subjects are \(2,\)"):
        film_cmu(archive, tmp_path, config, CAMERAS, seed=0)
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("field", ["finetune", "val", "test"])
@pytest.mark.parametrize("subject", SPLITS["pretrain"])
def test_a_subject_that_pretraining_trains_on_is_refused(field, subject):
    with pytest.raises(ValueError, match=rf"pretraining sees subjects \[{subject}\].*choose other subjects"):
        LiftingConfig(**{field: (subject,)})


def test_a_test_subject_that_pretraining_validates_on_is_refused():
    with pytest.raises(ValueError, match=r"pretraining sees subjects \[17\].*validates on \(3, 17\)"):
        LiftingConfig(val=(3,), test=(17,))


def test_a_subject_of_two_parts_and_impossible_lengths_are_refused():
    with pytest.raises(ValueError, match=r"share a subject: .*expected disjoint"):
        LiftingConfig(finetune=(14, 2))
    with pytest.raises(ValueError, match=r"expected six trials, for TS1 to TS6"):
        LiftingConfig(test_sequences=("02_01",))
    for wrong in ({"rate_hz": 0.0}, {"piece_seconds": 0.5}):
        with pytest.raises(ValueError, match=r"min_seconds <= piece_seconds, found"):
            LiftingConfig(**wrong)
    for field in ("max_seconds_per_trial", "max_seconds_per_test_trial"):
        with pytest.raises(ValueError, match=rf"{field} is -1\.0; expected more than 0 s"):
            LiftingConfig(**{field: -1.0})
