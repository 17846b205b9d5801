"""AMASS files of every release read as the same motion; what cannot be read is refused with file, frame and reason."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from langpose.body import ReducedBody
from langpose.demo.amass_files import AmassSequence, Style, write_sequence, write_shape
from langpose.demo.standin_body import write_standin_body
from langpose.skeleton import handedness
from langpose.sources import amass
from langpose.sources.amass import BodyModels, NoMotionError

FRAMES = 40
LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE = 1, 2, 4, 5  # SMPL's bones


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("body_models")
    write_standin_body(folder)
    return folder


def crouch(gender: str = "female", style: Style = "amass", rate_hz: float = 120.0) -> AmassSequence:
    """Stands upright in the z-up world, bends both knees deeper and deeper, lifts the left arm."""
    poses = np.zeros((FRAMES, 52, 3))
    poses[:, 0, 0] = np.pi / 2  # SMPL's y up becomes z up; the body then faces -y
    bend = np.linspace(0.3, 1.0, FRAMES)
    poses[:, [LEFT_HIP, RIGHT_HIP], 0] = -bend[:, None]
    poses[:, [LEFT_KNEE, RIGHT_KNEE], 0] = 2 * bend[:, None]
    poses[:, 16, 2] = 0.8  # left shoulder
    trans = np.stack([np.linspace(0, 0.3, FRAMES), np.full(FRAMES, 1.0), np.full(FRAMES, 1.2)], -1)
    betas = np.linspace(-1, 1, 16)
    return AmassSequence("CMU", "07", "07_01", gender, rate_hz, poses.reshape(FRAMES, 156), trans, betas, style)


def rewrite(path: Path, **changes: object) -> Path:
    """The file again with some arrays changed, added, or (None) removed."""
    with np.load(path) as archive:
        arrays = dict(archive)
    for key, value in changes.items():
        arrays.pop(key, None)
        if value is not None:
            arrays[key] = value
    np.savez(path, **arrays)
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write_sequence(tmp_path / "amass", crouch(), seed=0)


def test_a_sequence_reads_as_the_body_model_says(written, models):
    motion = amass.read(written, models)
    body = ReducedBody.load(models / "smplh/female/model.npz", models / "J_regressor_h36m_correct.npy")
    with np.load(written) as arrays:
        expected = body(arrays["poses"], arrays["trans"], arrays["betas"])
    np.testing.assert_array_equal(motion.joints, expected)
    assert motion.joints.dtype == np.float32
    assert (motion.rate_hz, motion.subject, motion.source) == (120.0, "CMU/07", "CMU/07/07_01_poses.npz")
    assert motion.artefacts == []
    assert amass.read(written, BodyModels(models), root=written.parents[2]).source == motion.source


def test_left_is_left_in_the_world(written, models):
    joints = amass.read(written, models).joints
    assert (joints[:, 10, 2] > joints[:, 0, 2]).all()  # upright, z up
    assert (handedness(joints, (0, 0, 1)) > 0).all()
    assert (joints[:, 4, 0] > joints[:, 1, 0]).all()  # facing -y, the left side is on +x
    assert (joints[:, 13, 2] > joints[:, 16, 2]).all()  # it is the left arm that was lifted


@pytest.mark.parametrize("style", ["bytes_gender", "no_dmpls", "smplh_keys"])
def test_every_release_reads_as_the_same_motion(style, written, models, tmp_path):
    other = write_sequence(tmp_path / "other", crouch(style=style), seed=0)
    a, b = amass.read(written, models), amass.read(other, models)
    np.testing.assert_array_equal(a.joints, b.joints)
    assert (a.rate_hz, a.subject, a.artefacts) == (b.rate_hz, b.subject, b.artefacts)


@pytest.mark.parametrize(
    "gender", ["male", np.array(["male"]), np.array(b"male"), np.array("b'male'"), np.array("M"), np.array("Male ")]
)
def test_gender_is_understood_however_it_is_written(gender, written, models):
    motion = amass.read(rewrite(written, gender=np.asarray(gender)), models)
    body = ReducedBody.load(models / "smplh/male/model.npz", models / "J_regressor_h36m_correct.npy")
    with np.load(written) as arrays:
        np.testing.assert_array_equal(motion.joints, body(arrays["poses"], arrays["trans"], arrays["betas"]))
    assert motion.artefacts == []


@pytest.mark.parametrize("gender", [np.array("unknown"), None])
def test_an_unknown_gender_gets_the_neutral_body_or_the_female_and_says_so(gender, written, models, tmp_path):
    rewrite(written, gender=gender)
    (told,) = amass.read(written, models).artefacts
    assert "neutral body used" in told
    few = tmp_path / "few"
    for name in ("smplh/female/model.npz", "J_regressor_h36m_correct.npy"):
        (few / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(models / name, few / name)
    motion = amass.read(written, few)
    assert "female body used" in motion.artefacts[0]
    female = amass.read(rewrite(written, gender=np.array("female")), few)
    np.testing.assert_array_equal(motion.joints, female.joints)
    with pytest.raises(FileNotFoundError, match=r"no SMPL-H model for gender 'male'.*smplh/male/model\.npz"):
        amass.read(rewrite(written, gender=np.array("male")), few)


def standing() -> AmassSequence:
    """Upright, the legs almost straight, feet on the floor, beside the origin."""
    sequence = crouch()
    poses = sequence.poses.reshape(FRAMES, 52, 3).copy()
    poses[:, [LEFT_HIP, RIGHT_HIP], 0] = -0.25
    poses[:, [LEFT_KNEE, RIGHT_KNEE], 0] = 0.5
    return replace(sequence, poses=poses.reshape(FRAMES, 156), trans=sequence.trans + np.array([3.0, 0, 0]))


def test_a_world_with_y_up_is_turned_and_said_so(models, tmp_path):
    upright = write_sequence(tmp_path / "z", standing(), seed=0)
    lift = np.array([0, 0, 0.08 - amass.read(upright, models).joints[:, [3, 6], 2].min()])
    rewrite(upright, trans=standing().trans + lift)
    expected = amass.read(upright, models)
    assert expected.artefacts == []
    poses, trans = standing().poses.copy(), standing().trans + lift
    poses[:, 0] -= np.pi / 2  # the root turned about x alone: SMPL's own y up again
    turned = replace(standing(), poses=poses, trans=np.stack([trans[:, 0], trans[:, 2], -trans[:, 1]], -1))
    y_up = write_sequence(tmp_path / "y", turned, seed=0)
    motion = amass.read(y_up, models)
    (told,) = motion.artefacts
    assert "the world has y up, and was turned to z up" in told
    relative, wanted = (joints - joints[:, :1] for joints in (motion.joints, expected.joints))
    np.testing.assert_allclose(relative, wanted, atol=1e-5)
    np.testing.assert_allclose(amass.read(y_up, models, up="z").joints[..., 1], motion.joints[..., 2], atol=1e-6)
    with pytest.raises(ValueError, match="up is 'w'; expected 'auto' or one of x, y, z"):
        amass.read(y_up, models, up="w")


def test_subsets_are_chosen_by_todays_names():
    amass.require_subsets(["CMU", "KIT"])
    with pytest.raises(ValueError, match="'BioMotionLab_NTroje' is no subset of AMASS; did you mean BMLrub"):
        amass.require_subsets(["CMU", "BioMotionLab_NTroje"])
    with pytest.raises(ValueError, match="'CMUU' is no subset of AMASS; did you mean CMU"):
        amass.require_subsets(["CMUU"])
    with pytest.raises(ValueError, match="'xyz' is no subset of AMASS; there are ACCAD, "):
        amass.require_subsets(["xyz"])


def test_shape_repeated_for_every_frame_is_one_shape(written, models):
    once = amass.read(written, models).joints
    np.testing.assert_array_equal(
        amass.read(rewrite(written, betas=np.tile(crouch().betas, (FRAMES, 1))), models).joints,
        amass.read(rewrite(written, betas=crouch().betas), models).joints,
    )
    assert once.shape == (FRAMES, 17, 3)


def test_resampling_is_by_time_at_the_true_rate(written, models):
    every = amass.read(written, models).joints
    half = amass.read(written, models, target_rate_hz=60.0)
    assert half.rate_hz == 60.0
    np.testing.assert_array_equal(half.joints, every[::2])
    slow = amass.read(rewrite(written, mocap_framerate=np.array(100.0)), models, target_rate_hz=60.0)
    assert slow.rate_hz == 60.0 and len(slow.joints) == 24  # 0.39 s of 100 Hz: frames at 0 ... 23/60 s
    np.testing.assert_allclose(slow.joints[3], every[5], atol=1e-6)  # 3/60 s is frame 5 of 100 Hz


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_a_truncated_file_is_refused_by_name(written, models):
    whole = written.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        written.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"07_01_poses\.npz: .*get the file again"):
            amass.read(written, models)


def test_a_damaged_byte_is_noticed(written, models):
    content = bytearray(written.read_bytes())
    content[len(content) // 2] ^= 0xFF
    written.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"07_01_poses\.npz"):
        amass.read(written, models)


@pytest.mark.parametrize("key", ["poses", "trans"])
def test_nan_is_refused_with_file_key_and_frame(key, written, models):
    with np.load(written) as arrays:
        values = arrays[key].copy()
    values[17, 2] = np.nan
    with pytest.raises(ValueError, match=rf"07_01_poses\.npz: '{key}' holds NaN .* first at frame 17 \(1 values\)"):
        amass.read(rewrite(written, **{key: values}), models)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mocap_framerate": None}, r"no frame rate \(mocap_framerate or mocap_frame_rate\).*none is assumed"),
        ({"mocap_framerate": np.array(0.0)}, r"'mocap_framerate' is 0\.0; expected frames per second"),
        ({"mocap_framerate": np.array(np.nan)}, r"'mocap_framerate' is nan"),
        ({"mocap_framerate": np.array("fast")}, r"'mocap_framerate' is .*fast.*; expected one number"),
        ({"mocap_framerate": np.array([60.0, 120.0])}, r"'mocap_framerate' is .*; expected one number"),
        ({"poses": np.zeros((FRAMES, 72))}, r"'poses' is \(40, 72\): SMPL; expected \(frames, 156\)"),
        ({"poses": np.zeros((FRAMES, 165))}, r"an SMPL-X sequence \(55 joints\)"),
        ({"poses": np.zeros((FRAMES, 52, 3))}, r"'poses' is \(40, 52, 3\)"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3)), "dmpls": None}, r"holds no frames"),
        ({"trans": np.zeros((FRAMES - 1, 3))}, r"'trans' is \(39, 3\); expected \(40, 3\)"),
        ({"trans": None}, r"'trans' is missing"),
        ({"betas": None}, r"'betas' is missing"),
        ({"betas": np.array([np.nan] * 16)}, r"'betas' holds NaN or infinite values, first at entry 0"),
        ({"poses": np.array(["a"])}, r"'poses' holds <U1, expected numbers"),
        ({"dmpls": np.zeros((3, 8))}, r"'dmpls' is \(3, 8\)"),
    ],
)
def test_a_malformed_file_is_refused_with_what_was_found(changes, message, written, models):
    with pytest.raises(ValueError, match=message):
        amass.read(rewrite(written, **changes), models)


def test_pickled_objects_are_never_loaded(written, models):
    with pytest.raises(ValueError, match=r"holds pickled objects, which are not read"):
        amass.read(rewrite(written, poses=np.array([{"a": 1}], dtype=object)), models)


def test_files_without_motion_and_smplx_files_say_why(models, tmp_path):
    shape = write_shape(tmp_path, "CMU", "07", "female", np.zeros(16))
    with pytest.raises(NoMotionError, match=r"shape\.npz: holds no poses \(only betas, gender\)"):
        amass.read(shape, models)
    with pytest.raises(ValueError, match=r"07_01_stageii\.npz: an SMPL-X sequence.*SMPL\+H G release"):
        amass.read(write_sequence(tmp_path, crouch(style="smplx"), seed=0), models)
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz: no such motion file"):
        amass.read(tmp_path / "nothing.npz", models)


def test_what_looks_wrong_but_can_be_read_is_told(written, models):
    sequence = crouch()
    trans = np.array(sequence.trans)
    trans[20:, 0] += 5.0
    path = write_sequence(written.parents[2], replace(sequence, trans=trans), seed=0)
    (told,) = amass.read(path, models).artefacts
    assert told.startswith("1 jumps faster than 30 m/s after frames 19")


# ---- names ----------------------------------------------------------------------------------------------------------


def test_find_lists_every_file_sorted(written):
    root = written.parents[2]
    write_sequence(root, replace(crouch(), subset="ACCAD", name="a"), seed=0)
    write_shape(root, "CMU", "07", "female", np.zeros(16))
    names = [path.relative_to(root).as_posix() for path in amass.find(root)]
    assert names == ["ACCAD/07/a_poses.npz", "CMU/07/07_01_poses.npz", "CMU/07/shape.npz"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        amass.find(root / "absent")
    (root / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no \.npz file"):
        amass.find(root / "empty")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("CMU/CMU/141/141_05_poses.npz", "CMU/141/141_05"),
        ("CMU/141/141_05_poses.npz", "CMU/141/141_05"),
        ("BMLrub/BioMotionLab_NTroje/rub001/0000_treadmill_norm_poses.npz", "BMLrub/rub001/0000_treadmill_norm"),
        ("BioMotionLab_NTroje/rub001/0000_treadmill_norm_poses.npz", "BMLrub/rub001/0000_treadmill_norm"),
        ("MPIHDM05/MPI_HDM05/dg/HDM_dg_03-11_03_120_poses.npz", "HDM05/dg/HDM_dg_03-11_03_120"),
        ("HDM05/dg/HDM_dg_03-11_03_120_stageii.npz", "HDM05/dg/HDM_dg_03-11_03_120"),
        ("DFaust67/DFaust_67/50002/50002_chicken_wings_poses.npz", "DFaust/50002/50002_chicken_wings"),
        ("EyesJapanDataset/Eyes_Japan_Dataset/aita/walk-01 a_poses.npz", "Eyes_Japan_Dataset/aita/walk-01_a"),
        ("MPILimits/MPI_Limits/03099/lar1_poses.npz", "PosePrior/03099/lar1"),
        ("MPImosh/MPI_mosh/00008/misc_poses.npz", "MoSh/00008/misc"),
        ("SSMsynced/SSM_synced/20160930_50032/punch_kick_sync_poses.npz", "SSM/20160930_50032/punch_kick_sync"),
        ("TCDhandMocap/TCD_handMocap/ExperimentDatabase/typing_2_poses.npz", "TCDHands/ExperimentDatabase/typing_2"),
        ("Transitionsmocap/Transitions_mocap/mazen_c3d/jump_turn_poses.npz", "Transitions/mazen_c3d/jump_turn"),
        ("amass/KIT/KIT/3/kick_high_left02_poses.npz", "KIT/3/kick_high_left02"),
        ("mine/anna/dance_poses.npz", "mine/anna/dance"),
    ],
)
def test_one_recording_has_one_name_in_every_release(path, expected):
    assert amass.sequence_id(path) == expected
    assert amass.sequence_id(path.replace("/", "\\")) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ACCAD/Female1Running_c3d/C2", "ACCAD/Female1Walking_c3d/B3"),
        ("ACCAD/Male2MartialArtsKicks_c3d/G1", "ACCAD/Male2General_c3d/A1"),
        ("DanceDB/20120731_StefanosTheodorou/x", "DanceDB/20120801_StefanosTheodorou/y"),
        ("DFaust/50020/a", "MoSh/50020/b"),
        ("SSM/20160930_50032/a", "DFaust/50032/b"),
    ],
)
def test_a_person_with_several_folders_is_one_subject(one, other):
    assert amass.subject_of(one) == amass.subject_of(other)


def test_different_people_are_different_subjects():
    names = [
        "ACCAD/Female1Running_c3d/a", "ACCAD/Male1Running_c3d/a", "ACCAD/Male2Running_c3d/a", "ACCAD/s007/a",
        "CMU/05/05_01", "CMU/50/50_01", "KIT/3/a", "EKUT/3/a", "DFaust/50002/a", "DFaust/50004/a", "mine/anna/b",
    ]  # fmt: skip
    assert len({amass.subject_of(name) for name in names}) == len(names)


def test_a_single_array_under_the_name_of_an_npz_is_refused_by_name(models, tmp_path):
    path = tmp_path / "single_poses.npz"
    with open(path, "wb") as handle:
        np.save(handle, np.zeros((3, 156)))
    with pytest.raises(ValueError, match=r"single_poses\.npz: not a readable npz file \(it holds a single array"):
        amass.read(path, models)


def test_two_genders_in_one_file_are_refused_by_name(models, tmp_path):
    path = rewrite(write_sequence(tmp_path, crouch(), 0), gender=np.array(["female", "male"]))
    with pytest.raises(ValueError, match=r"\.npz: 'gender' has 2 values; expected one"):
        amass.read(path, models)
