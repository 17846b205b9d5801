"""What grows with a recording's length lies on disk, and changes no number by it."""

import errno
import json
import tempfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from langpose import keypoint_files, people, pose_files, spool
from langpose.lifting import Lifter
from tests.test_lifting import seen, small, upright


def lift(source, out, model, height_m=None):
    """From file to file, as the command does it."""
    found = keypoint_files.read(source)
    poses = Lifter(model, max_gap=3).people(people.tracks(found, 3), found)
    pose_files.save(out, [one.in_metres(height_m) if height_m else one for one in poses], 25.0, {})
    return out


def source(path, frames, gaps=()):
    numbers = np.array([number for number in range(frames) if number not in gaps])
    points = np.stack([seen(frames)[numbers], seen(frames, centre=(900.0, 300.0))[numbers]], 1)
    points[5:9, 0, 13] = np.nan
    points[7, 1] = 0
    np.savez_compressed(path, keypoints=points, frames=numbers, skeleton="h36m17", rate_hz=30.0)
    return path


@pytest.mark.parametrize(("height_m", "known_hz"), [(None, None), (1.8, 50)])
def test_arrays_on_disk_give_the_same_bytes(tmp_path, monkeypatch, height_m, known_hz):
    given = source(tmp_path / "a.npz", 60, gaps={20, 21, 40, 41, 42, 43, 44, 45})
    plain = lift(given, tmp_path / "plain", small(rate_hz=known_hz), height_m)
    monkeypatch.setattr(spool, "FROM_BYTES", 64)
    monkeypatch.setattr(spool, "ROWS", 7)
    mapped = lift(given, tmp_path / "mapped", small(rate_hz=known_hz), height_m)
    for name in ("poses.npz", "poses.json"):
        assert (plain / name).read_bytes() == (mapped / name).read_bytes()
    told = json.loads((plain / "poses.json").read_text())
    assert [len(person["stretches"]) for person in told["people"]] == [2, 2] and told["people"][0]["filled"] == 2


def test_a_recording_ten_times_as_long_takes_hardly_more_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "FROM_BYTES", 1 << 17)
    peaks = {}
    for frames in (3000, 30_000):
        points = np.tile(seen(100), (frames // 100, 1, 1))
        np.savez(tmp_path / f"{frames}.npz", keypoints=points, skeleton="h36m17")
        del points
        tracemalloc.start()
        lift(tmp_path / f"{frames}.npz", tmp_path / str(frames), upright())
        peaks[frames] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peaks[30_000] - peaks[3000]) / 27_000 < 150, peaks  # bytes a frame; one frame's 2D alone is 408


def test_a_large_array_is_a_file_that_nobody_sees(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small_one, large = spool.zeros((4, 3)), spool.zeros((spool.FROM_BYTES // 4 + 1, 1))
    assert small_one.base is None and isinstance(large.base, np.memmap) and not list(tmp_path.iterdir())
    large[-1] = 2
    assert large.sum() == 2 and type(large) is np.ndarray


def test_a_disk_without_room_is_told_before_anything_is_computed(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="no room for 40 MiB of intermediate results .*set TMPDIR"):
        spool.zeros((10 << 20,))


@pytest.mark.parametrize("from_bytes", [0, 1 << 20])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_members_of_an_npz_are_what_numpy_reads(tmp_path, monkeypatch, save, from_bytes):
    monkeypatch.setattr(spool, "FROM_BYTES", max(from_bytes, 1 << 10))
    rng = np.random.default_rng(0)
    given = {
        "a": rng.normal(0, 1, (500, 17, 3)), "b": np.asfortranarray(rng.normal(0, 1, (40, 30)).astype("f4")),
        "c": np.array("coco17"), "d": np.arange(7), "e": np.zeros((0, 3)),
    }  # fmt: skip
    save(tmp_path / "a.npz", **given)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        for info in archive.infolist():
            found = spool.read_member(archive, info)
            expected = given[info.filename.removesuffix(".npy")]
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_what_is_written_is_numpys_file(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "ROWS", 7)
    arrays = {"a": np.random.default_rng(0).normal(0, 1, (50, 17, 3)), "b": np.arange(50) > 3}
    np.savez_compressed(tmp_path / "numpy.npz", **arrays)
    with open(tmp_path / "ours.npz", "wb") as file:
        spool.write_npz(file, arrays)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def test_objects_and_headers_that_lie_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)})
    for name, message in (("a", "pickled objects"), ("b", "announces float64 of shape")):
        with zipfile.ZipFile(tmp_path / f"{name}.npz") as archive, pytest.raises(ValueError, match=message):
            spool.read_member(archive, archive.infolist()[0])
