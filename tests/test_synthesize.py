"""The demo's raw data as a whole: the same bytes on every run, readable by the real readers, left on the left."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from langpose.demo.choreography import ACTIONS
from langpose.demo.synthesize import HUMAN36M_ACTIONS, HUMAN36M_TEST, HUMAN36M_TRAIN, SynthesizeConfig, synthesize
from langpose.filming import FilmConfig
from langpose.skeleton import H36M_FROM_MPI, LEFT, RIGHT, handedness
from langpose.sources import amass, babel, human36m, mpi_inf_3dhp
from langpose.storage import sha256

TINY = SynthesizeConfig(
    subjects=10, sequences=2, actions=(2, 3), action_seconds=(1.2, 1.4), takes=1, take_seconds=0.1, mpi_seconds=0.1,
    film=FilmConfig(cameras=1, mpi_cameras=1, mpi_invalid=0.2),
)  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "raw"
    synthesize(folder, TINY)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def require_left_on_the_left(joints: np.ndarray, true_x: np.ndarray, x_px: np.ndarray, apart_px: float) -> None:
    """``joints`` (F, 17, 3): x right, y down, z away; ``true_x`` (F, 17) the same in the image, ``x_px`` as written."""
    assert (handedness(joints, (0, -1, 0)) > 0).mean() > 0.95
    written = x_px[:, LEFT] - x_px[:, RIGHT]
    apart = np.abs(written) > apart_px
    assert apart.sum() > 50
    assert (np.sign(written) == np.sign(true_x[:, LEFT] - true_x[:, RIGHT]))[apart].mean() > 0.97


def test_a_second_run_gives_the_same_bytes_in_every_file(raw: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "raw", TINY)
    assert files(raw) == files(tmp_path / "raw")


def test_every_amass_sequence_is_read_back_but_the_smplx_one(raw: Path) -> None:
    paths = amass.find(raw / "amass")
    models = amass.BodyModels(raw / "body_models")
    assert len([path for path in paths if path.name.endswith("_poses.npz")]) == TINY.subjects * TINY.sequences
    for path in paths:
        if path.name.endswith("_stageii.npz"):
            with pytest.raises(ValueError, match="SMPL-X|smplx"):
                amass.read(path, models, root=raw / "amass")
        elif path.name.endswith("_poses.npz"):
            motion = amass.read(path, models, root=raw / "amass")
            assert motion.artefacts == [], path
            assert (handedness(motion.joints, (0, 0, 1)) > 0).mean() > 0.9, path


def test_walk_and_transition_dominate_the_labels(raw: Path) -> None:
    labels = babel.read(raw / "babel")
    frame = labels[labels["level"] == "frame"]
    counts = Counter(frame["proc_label"])
    assert {name for name, _ in counts.most_common(2)} == {"walk", "transition"}
    assert len(counts) > 8
    # every labelled motion is there, but the one that is absent on purpose
    present = {amass.sequence_id(p.relative_to(raw / "amass").as_posix()) for p in amass.find(raw / "amass")}
    assert {name.split("/")[1] for name in set(labels["sequence"]) - present} == {"demo_absent"}


def test_human36m_has_its_actions_and_subjects_with_left_on_the_left(raw: Path) -> None:
    data = human36m.read(raw / "human36m" / human36m.FILE_NAME)
    assert set(data.train.sequences()["subject"]) == set(HUMAN36M_TRAIN) == {1, 5, 6, 7, 8}
    test = data.test.sequences()
    assert set(test["subject"]) == set(HUMAN36M_TEST) == {9, 11}
    assert set(test["action"]) == set(HUMAN36M_ACTIONS)
    assert len(HUMAN36M_ACTIONS) == 15
    assert set().union(*HUMAN36M_ACTIONS.values()) <= set(ACTIONS)
    for part in (data.train, data.test):
        subjects = np.array([source[:4] for source in part.source])
        for subject in np.unique(subjects):
            rows = subjects == subject
            image = part.joint3d_image[rows]
            require_left_on_the_left(image, image[..., 0], part.joint_2d[rows, :, 0], apart_px=40)  # beyond the noise


def test_mpi_inf_3dhp_has_its_sequences_with_left_on_the_left(raw: Path) -> None:
    data = mpi_inf_3dhp.read(raw / "mpi_inf_3dhp")
    assert {take.sequence for take in data.train} == {f"S{s} Seq{q}" for s in range(1, 9) for q in (1, 2)}
    assert [take.sequence for take in data.test] == [f"TS{n}" for n in range(1, 7)]
    order = list(H36M_FROM_MPI)
    for take in (*data.train, *data.test):
        joints, px = take.joints_mm[:, order], take.joints_px[:, order]
        require_left_on_the_left(joints, joints[..., 0] / joints[..., 2], px[..., 0], apart_px=2)  # there is no noise


def test_mpi_inf_3dhp_mixes_rates_and_has_frames_that_do_not_count(raw: Path) -> None:
    data = mpi_inf_3dhp.read(raw / "mpi_inf_3dhp")
    assert {take.rate_hz for take in data.train} == {25.0, 50.0}
    for take in data.test:
        assert (~take.valid).mean() == pytest.approx(0.2, abs=0.01)
        assert np.count_nonzero(np.diff(take.valid.astype(int))) <= 2  # one stretch
    assert len({int(np.argmin(take.valid)) for take in data.test}) > 1
