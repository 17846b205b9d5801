import os

import numpy as np
import pytest

from langpose.skeleton import H36M_FROM_MPI, MPI_FLIP, MPI_FROM_H36M
from langpose.sources import mpi_inf_3dhp
from tests.lifting_files import arrays, mpi_inf_3dhp_content, write_mpi_inf_3dhp


@pytest.fixture
def read(tmp_path):
    return lambda train, test: mpi_inf_3dhp.read(write_mpi_inf_3dhp(train, test, tmp_path / "3dhp"))


def test_both_files_are_read_unchanged(read):
    fixture = arrays("mpi3dhp_synth_input")
    data = read(*mpi_inf_3dhp_content())
    assert [(take.sequence, take.subject, take.camera) for take in data.train] == [
        ("S1 Seq1", 1, "0"), ("S1 Seq1", 1, "4"), ("S2 Seq2", 2, "0"), ("S2 Seq2", 2, "4"),
    ]  # fmt: skip
    for take in data.train:
        key = f"train/{take.sequence}/{take.camera}"
        np.testing.assert_array_equal(take.joints_px, fixture[f"{key}/data_2d"].astype(np.float32))
        np.testing.assert_array_equal(take.joints_mm, fixture[f"{key}/data_3d"].astype(np.float32))
        assert take.rate_hz == 25
        assert take.valid.all()
    for take in data.test:
        np.testing.assert_array_equal(take.joints_mm, fixture[f"test/{take.sequence}/data_3d"].astype(np.float32))
        np.testing.assert_array_equal(take.valid, fixture[f"test/{take.sequence}/valid"] == 1)


def test_the_two_outdoor_sequences_are_1920_by_1080(read):
    sizes = {take.sequence: (take.width, take.height) for take in read(*mpi_inf_3dhp_content()).test}
    assert sizes["TS5"] == sizes["TS6"] == (1920, 1080)
    assert {sizes[f"TS{i}"] for i in range(1, 5)} == {(2048, 2048)}


def test_joint_orders_are_inverse_and_the_root_is_the_pelvis():
    assert [MPI_FROM_H36M[joint] for joint in H36M_FROM_MPI] == list(range(17))
    assert H36M_FROM_MPI[0] == 14


def test_subjects_may_have_three_digits(read):
    train, test = mpi_inf_3dhp_content()
    assert read({"S135 Seq1": train["S1 Seq1"]}, test).train[0].subject == 135


def every(container, key, change):
    for arrays_of in container:
        arrays_of[key] = change(arrays_of[key])


def cameras(train):
    return [arrays_of for cams, _ in train.values() for arrays_of in cams.values()]


FAULTS = {
    "metres": (lambda a, b: every(cameras(a), "data_3d", lambda x: x / 1000), r"S1 Seq1'\] camera 0 data_3d.*in mm"),
    "micrometres": (lambda a, b: every(b.values(), "data_3d", lambda x: x * 1000), r"TS1'\] data_3d.*in mm"),
    "px x 1000": (lambda a, b: every(cameras(a), "data_2d", lambda x: x * 1000), "data_2d.*expected pixels"),
    "normalised": (lambda a, b: every(b.values(), "data_2d", lambda x: x / 1024 - 1), "data_2d.*in px"),
    "nan": (lambda a, b: b["TS3"]["data_2d"].__setitem__((4, 0, 0), np.nan), r"TS3'\] data_2d: 1 of 25 .*frame 4"),
    "swapped": (lambda a, b: every(b.values(), "data_3d", lambda x: x[:, list(MPI_FLIP)]), "and right are swapped"),
    "y up": (lambda a, b: every(cameras(a), "data_3d", lambda x: x * [1, -1, 1]), "y axis"),
    "joints": (lambda a, b: every(cameras(a), "data_2d", lambda x: x[:, :16]), r"shape \(40, 16, 2\)"),
    "frames": (lambda a, b: every(cameras(a), "data_3d", lambda x: x[:-1]), r"shape \(39, 17, 3\)"),
    "no 3D": (lambda a, b: b["TS1"].pop("data_3d"), "expected data_2d, data_3d, valid; found"),
    "valid": (lambda a, b: every(b.values(), "valid", lambda x: x[:-1]), "valid: expected 30 flags"),
    "flags": (lambda a, b: every(b.values(), "valid", lambda x: x + 1), "flags of 0 or 1"),
    "nothing valid": (lambda a, b: every(b.values(), "valid", lambda x: x * 0), "no frame is marked valid"),
    "name": (lambda a, b: a.update(walk=a.pop("S1 Seq1")), "names like 'S1 Seq1'"),
    "test name": (lambda a, b: b.update(walk=b.pop("TS1")), "names like 'TS1'"),
    "rate": (lambda a, b: a["S1 Seq1"].__setitem__(1, "fast"), "frames per second is 'fast'"),
    "layout": (lambda a, b: a.update({"S1 Seq1": a["S1 Seq1"][0]}), "expected .cameras, frames per second."),
    "objects": (lambda a, b: b["TS1"].update(data_2d=np.array([{}], dtype=object)), "object of shape"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found_and_named(read, fault):
    change, message = FAULTS[fault]
    train, test = mpi_inf_3dhp_content()
    change(train, test)
    with pytest.raises(ValueError, match=message) as caught:
        read(train, test)
    assert "data_" in str(caught.value)


def test_mirrored_bodies_are_found_by_the_knees(read):
    train, test = mpi_inf_3dhp_content()
    for content in cameras(train):
        content["data_3d"][:, [9, 12], 2] -= 250  # they face the camera
    read(train, test)
    for content in cameras(train):
        for key in content:
            content[key] = content[key][:, list(MPI_FLIP)]
    with pytest.raises(ValueError, match="subject 1: left and right are swapped, or the body is mirrored"):
        read(train, test)


def test_a_hostile_file_is_refused_and_does_nothing(read, tmp_path):
    victim = tmp_path / "written"

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {victim}",)

    _, test = mpi_inf_3dhp_content()
    with pytest.raises(ValueError, match=r"data_train_3dhp\.npz.*refuses to load `(posix|nt)\.system`"):
        read({"S1 Seq1": Hostile()}, test)
    assert not victim.exists()


def test_truncated_and_absent_files_are_clear_errors(tmp_path):
    folder = write_mpi_inf_3dhp(*mpi_inf_3dhp_content(), tmp_path / "3dhp")
    path = folder / "data_test_3dhp.npz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"data_test_3dhp\.npz: not a complete"):
        mpi_inf_3dhp.read(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"data_test_3dhp\.npz"):
        mpi_inf_3dhp.read(folder)
