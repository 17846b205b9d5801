"""Files are whole or absent."""

import errno
import hashlib
import os
import shutil
import subprocess

import numpy as np
import pytest

from langpose import storage
from langpose.projection import Job, ProjectConfig, project
from langpose.sources.motion import Motion
from tests.test_filming import take


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), storage.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "set"
    with storage.replacing_folder(folder) as temporary:
        (temporary / "one").write_text("1")
    with pytest.raises(RuntimeError), storage.replacing_folder(folder) as temporary:
        (temporary / "two").write_text("2")
        raise RuntimeError
    assert [p.name for p in folder.iterdir()] == ["one"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("make", [storage.replacing, storage.replacing_folder])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, make):
    with pytest.raises(storage.DiskFullError, match=r"disk is full .* Free some space") as caught, make(tmp_path / "x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_write_that_really_meets_a_full_device_is_reported(tmp_path):
    with pytest.raises(storage.DiskFullError), storage.replacing(tmp_path / "x") as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "x").write_bytes(b"langpose")
    assert storage.sha256(tmp_path / "x") == hashlib.sha256(b"langpose").hexdigest()


@pytest.fixture
def tiny_disk(tmp_path):
    """A real file system of 256 KiB; mounting one takes root."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "langpose-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root: a small file system could not be mounted")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_numpys_own_words_for_a_full_disk_are_understood(tiny_disk):
    with pytest.raises(storage.DiskFullError, match="nothing half-written"):  # noqa: SIM117
        with storage.replacing_folder(tiny_disk / "set") as temporary:
            np.save(temporary / "x.npy", np.zeros(1_000_000, np.uint8))
    assert list(tiny_disk.iterdir()) == []


def test_projection_on_a_full_disk_says_so_and_leaves_nothing_half_written(tiny_disk, tmp_path):
    (tmp_path / "a").write_text("a")
    motion = Motion(np.array(take(frames=600).joints), 50.0, "a", "a", [])
    job = Job("a", "train", tmp_path / "a", lambda _: motion)
    with pytest.raises(storage.DiskFullError, match="Free some space"):
        project([job], tiny_disk / "motions", tiny_disk / "views", ProjectConfig(workers=1), tmp_path / "work")
    assert all(not path.name.startswith(".") for path in tiny_disk.iterdir())
    assert not (tiny_disk / "views").exists()
