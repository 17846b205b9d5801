import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest

from langpose.skeleton import FLIP
from langpose.sources import human36m, lifting_checks
from tests.lifting_files import human36m_content, write_human36m


@pytest.fixture
def content():
    return human36m_content()


@pytest.fixture
def read(tmp_path):
    return lambda content: human36m.read(write_human36m(content, tmp_path / "h36m.pkl"))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_file_is_read_unchanged(tmp_path, content, protocol):
    data = human36m.read(write_human36m(content, tmp_path / "h36m.pkl", protocol))
    for part in (data.train, data.test):
        given = content[part.split]
        np.testing.assert_array_equal(part.joint_2d, given["joint_2d"])
        np.testing.assert_array_equal(part.confidence, given["confidence"])
        np.testing.assert_array_equal(part.joint3d_image, given["joint3d_image"])
        assert part.source.tolist() == given["source"]
        assert part.joint_2d.dtype == part.joint3d_image.dtype == np.float32
    np.testing.assert_array_equal(data.test.joints_mm, content["test"]["joints_2.5d_image"])
    np.testing.assert_array_equal(data.test.factor_mm_px, content["test"]["2.5d_factor"])
    assert data.train.joints_mm is None
    assert data.train.action is None


def repeated(content, times, dtype=np.float64):
    """Every frame ``times`` times, so that sequences stay whole; arrays of ``dtype``."""
    return {
        split: {key: np.repeat(value, times, axis=0).astype(dtype) if isinstance(value, np.ndarray)
                else [text for text in value for _ in range(times)] for key, value in part.items()}
        for split, part in content.items()
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arrays_stay_as_stored_in_the_mapped_file(read, content, dtype):
    large = repeated(content, 100, dtype)
    data = read(large)
    for part in (data.train, data.test):
        for name in ("joint_2d", "confidence", "joint3d_image"):
            array = getattr(part, name)
            np.testing.assert_array_equal(array, large[part.split][name])
            assert array.dtype == dtype and not array.flags.owndata and not array.flags.writeable
    assert data.test.factor_mm_px.dtype == np.float64
    assert len(set(map(id, data.test.source))) == len(set(content["test"]["source"]))


@pytest.mark.parametrize("dtype", [np.float16, np.int32, ">f4", ">f8"])
def test_other_numbers_are_converted(read, content, dtype):
    changed = {split: dict(part) for split, part in content.items()}
    for part in changed.values():
        for name in ("joint_2d", "joint3d_image"):
            part[name] = part[name].astype(dtype)
    data = read(changed)
    for part in (data.train, data.test):
        np.testing.assert_array_equal(part.joint_2d, changed[part.split]["joint_2d"])
        assert part.joint_2d.dtype == (np.float64 if dtype == ">f8" else np.float32)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux says what memory a process holds")
def test_reading_takes_no_memory_for_the_arrays(tmp_path, content):
    large = repeated(content, 200)  # texts are equal objects here, which a pickle stores once
    path = write_human36m(large, tmp_path / "h36m.pkl")
    assert path.stat().st_size > 110 * 2**20
    del large
    human36m.read(write_human36m(content, tmp_path / "small.pkl"))  # what is imported and kept on first use
    held = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmData")) * 1024  # fmt: skip
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + 64 * 2**20, before[1]))
    try:
        data = human36m.read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert len(data.train.source) == 230 * 200


def test_faults_are_found_in_every_block(read, monkeypatch):
    monkeypatch.setattr(lifting_checks, "BLOCK_FRAMES", 50)
    for fault, place in (("nan", (388, 0, 0)), ("infinite", (388, 16, 1)), ("more than float32 holds", (388, 5, 0))):
        content = human36m_content()
        joints = content["test"]["joint3d_image"] = content["test"]["joint3d_image"].astype(np.float64)
        joints[place] = {"nan": np.nan, "infinite": -np.inf}.get(fault, 1e39)
        with pytest.raises(ValueError, match=r"joint3d_image'\]: 1 of 391 frames hold .*, first at frame 388"):
            read(content)
    content = human36m_content()
    content["train"]["joint_2d"][-20:] += 1e5  # 9 % of the frames
    with pytest.raises(ValueError, match=r"joint_2d'\]: 9% of the joints .*coordinates up to 1.0\d+e\+05"):
        read(content)


def test_frames_are_counted_by_subject_and_camera(read, content):
    counts = read(content).counts()
    assert counts["frames"].sum() == 230 + 391
    row = counts[(counts["subject"] == 11) & (counts["camera"] == "55011271")]
    assert row["frames"].tolist() == [109]
    assert row["split"].tolist() == ["test"]


def test_a_file_that_is_not_the_published_one_is_noted(read, content):
    notes = " / ".join(read(content).notes)
    assert "230 frames; the published file has 1,559,752" in notes
    assert "subject 11 is seen by 2 of 4 cameras" in notes


def test_image_sizes_follow_the_camera(read, content):
    table = read(content).test.sequences().set_index("camera")
    assert set(table.loc["54138969", "height"]) == {1002}
    assert set(table.loc["55011271", "height"]) == {1000}
    assert (table["width"] == 1000).all()


def test_sources_are_parsed_whatever_their_digits():
    assert human36m.parse_source("s_09_act_05_subact_02_ca_01") == (9, 5, 2, 1)
    assert human36m.parse_source("s_135_act_05_subact_102_ca_04") == (135, 5, 102, 4)
    assert human36m.recording("s_135_act_05_subact_102_ca_04") == "s_135_act_05_subact_102"
    with pytest.raises(ValueError, match="not of the form"):
        human36m.parse_source("S9_Directions.55011271")


def test_other_writers_forms_are_accepted(read, content):
    part = content["train"]
    part["confidence"] = part["confidence"][..., None].astype(np.float64)
    part["source"] = np.array(part["source"], dtype=object)
    part["camera_name"] = np.array([name.encode() for name in part["camera_name"]])
    part["joint_2d"] = np.concatenate([part["joint_2d"], part["confidence"]], -1)
    content["test"]["2.5d_factor"] = content["test"]["2.5d_factor"].tolist()
    del content["test"]["confidence"]
    data = read(content)
    assert data.train.joint_2d.shape == (230, 17, 2)
    assert data.train.camera[0] == "54138969"
    assert (data.test.confidence == 1).all()


def test_a_folder_may_be_given(tmp_path, content):
    write_human36m(content, tmp_path / human36m.FILE_NAME)
    assert len(human36m.read(tmp_path).test.source) == 391
    with pytest.raises(FileNotFoundError, match="h36m_sh_conf_cam_source_final"):
        human36m.read(tmp_path / "absent.pkl")


def test_missing_parts_and_fields_are_named(read, content):
    with pytest.raises(ValueError, match=r"h36m\.pkl: expected a dictionary with 'train' and 'test'"):
        read({"train": content["train"]})
    with pytest.raises(ValueError, match=r"\[test\]: expected a dictionary"):
        read({"train": content["train"], "test": []})
    del content["test"]["2.5d_factor"]
    with pytest.raises(ValueError, match=r"\[test\]: lacks '2.5d_factor'"):
        read(content)


def broken(change):
    content = human36m_content()
    change(content["train"], content["test"])
    return content


def swap(part, key):
    part[key] = part[key][:, list(FLIP)]


def bend_knees(part, forwards):
    """Sitting poses, seen from the front, facing the camera (depth grows away from it)."""
    part["joint3d_image"][:, [2, 5], 2] -= 80 * forwards


FAULTS = {
    "shape": (lambda a, b: a.update(joint_2d=a["joint_2d"][:, :16]), r"\[train\] \['joint_2d'\]: shape \(230, 16, 2\)"),
    "fewer rows": (lambda a, b: a.update(joint3d_image=a["joint3d_image"][:-1]), r"joint3d_image'\]: shape \(229"),
    "fewer names": (lambda a, b: b.update(action=b["action"][:-1]), "390 entries; expected one for each of the 391"),
    "no numbers": (lambda a, b: a.update(joint_2d=np.full((230, 17, 2), "x")), "expected numbers"),
    "nan": (lambda a, b: b["joint3d_image"].__setitem__((5, 3, 1), np.nan), "1 of 391 frames hold NaN.*frame 5"),
    "infinite confidence": (lambda a, b: a["confidence"].__setitem__((0, 0), np.inf), "confidence.*NaN or infinity"),
    "px x 1000": (lambda a, b: a.update(joint_2d=a["joint_2d"] * 1000), "joint_2d.*expected pixels"),
    "normalised px": (lambda a, b: a.update(joint_2d=a["joint_2d"] / 500 - 1), "joint_2d.*measure 30 to 2000"),
    "depth x 1000": (lambda a, b: a["joint3d_image"].__imul__(np.float32([1, 1, 1000])), "joint3d_image.*px"),
    "metres": (lambda a, b: b["joints_2.5d_image"].__imul__(np.float32(1e-3)), "joints_2.5d_image.*in mm"),
    "micrometres": (lambda a, b: b["joints_2.5d_image"].__imul__(np.float32(1e3)), "joints_2.5d_image.*in mm"),
    "factor x 1000": (lambda a, b: b["2.5d_factor"].__imul__(1e3), "2.5d_factor.*mm per px"),
    "factor x 4": (lambda a, b: b["2.5d_factor"].__imul__(4.0), "one of the three is in the wrong unit"),
    "percent": (lambda a, b: a["confidence"].__imul__(np.float32(100)), "confidence.*expected 0 to 1"),
    "swapped 2D": (lambda a, b: swap(a, "joint_2d"), r"\[train\].*left and right are swapped between"),
    "swapped 3D": (lambda a, b: swap(b, "joint3d_image"), r"\[test\].*left and right are swapped between"),
    "y up": (lambda a, b: a.update(joint_2d=np.float32([0, 1000]) + np.float32([1, -1]) * a["joint_2d"]), "y axis"),
    "camera": (lambda a, b: a["camera_name"].__setitem__(0, "1"), r"unknown cameras \['1'\]"),
    "camera change": (lambda a, b: a["camera_name"].__setitem__(3, "55011271"), "camera changes within .* frame 3"),
    "source": (lambda a, b: a["source"].__setitem__(slice(0, 70), ["walk"] * 70), "'walk' is not of the form"),
    "subject in both": (
        lambda a, b: a.update(source=[s.replace("s_01", "s_09") for s in a["source"]]),
        r"subjects \[9\] are in both train and test",
    ),
    "empty": (lambda a, b: a.update(source=[]), "holds no frames"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found_and_named(read, fault):
    change, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message) as caught:
        read(broken(change))
    assert "h36m.pkl" in str(caught.value)


def test_swapped_sides_in_2d_and_3d_alike_are_found_by_the_knees(read):
    read(broken(lambda a, b: bend_knees(a, +1)))

    def swapped(train, _):
        bend_knees(train, +1)
        swap(train, "joint_2d")
        swap(train, "joint3d_image")

    with pytest.raises(ValueError, match=r"\[train\] subject 1: left and right are swapped, or the body is mirrored"):
        read(broken(swapped))


def test_a_hostile_file_is_refused_and_does_nothing(tmp_path, content):
    victim = tmp_path / "written"

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {victim}",)

    content["test"]["action"] = Hostile()
    with pytest.raises(ValueError, match=r"h36m\.pkl: refuses to load `(posix|nt)\.system`"):
        human36m.read(write_human36m(content, tmp_path / "h36m.pkl"))
    assert not victim.exists()


def test_a_truncated_file_is_a_clear_error(tmp_path, content):
    whole = pickle.dumps(content)
    for share in (0.1, 0.5, 0.999):
        (tmp_path / "h36m.pkl").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"h36m\.pkl: the file ends too early"):
            human36m.read(tmp_path / "h36m.pkl")
