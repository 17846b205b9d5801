"""CMU's ASF and AMC files: geometry by hand, errors by line, and what the real archive is known to hold."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from langpose.skeleton import FLIP, JOINTS, LIMBS, handedness
from langpose.sources import acclaim, cmu, cmu_index
from langpose.sources.motion import bad_frames
from tests.cmu_files import BONES, DOFS, MIDDLE_BONES, amc_text, asf_text, moving

UNIT_M = 0.0254 / 0.45


@pytest.fixture
def place(tmp_path: Path):
    """Write one trial as CMU lays it out; returns the AMC's path."""

    def write(
        amc: str, asf: str | None = None, index: str | None = "subject,trial,description,fps\n7,1,walk,60\n"
    ) -> Path:
        folder = tmp_path / "cmu" / "subjects" / "07"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "07.asf").write_text(asf_text() if asf is None else asf)
        (folder / "07_01.amc").write_text(amc)
        if index is not None:
            (tmp_path / "cmu" / "index.csv").write_text(index)
        return folder / "07_01.amc"

    return write


def slow_fk(frame: dict[str, list[float]], order: str = "XYZ") -> np.ndarray:
    """Obvious reference: one frame, one bone after the other, scipy-free rotation matrices by Rodrigues."""

    def about(axis: int, degrees: float) -> np.ndarray:
        k = np.zeros((3, 3))
        i, j = (axis + 1) % 3, (axis + 2) % 3
        k[j, i], k[i, j] = 1, -1
        angle = np.deg2rad(degrees)
        return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k

    def euler(angles: list[float], order: str) -> np.ndarray:
        first, second, third = ("XYZ".index(letter) for letter in order)
        return about(third, angles[third]) @ about(second, angles[second]) @ about(first, angles[first])

    root = frame.get("root", [0.0] * 6)
    ends, worlds = {"root": np.array(root[:3], float)}, {"root": euler(root[3:], "XYZ")}
    for name, (direction, length, axis, dofs, parent) in BONES.items():
        angles = [0.0, 0.0, 0.0]
        for dof, value in zip(dofs.split(), frame.get(name, [0.0] * 3), strict=False):
            angles["xyz".index(dof[1])] = value
        c = euler(list(axis), order)
        worlds[name] = worlds[parent] @ (c @ euler(angles, order) @ np.linalg.inv(c))
        ends[name] = ends[parent] + worlds[name] @ np.array(direction) * length
    y_up = np.array([ends[name] for name in cmu.JOINT_BONES]) / 0.45 * 0.0254
    return np.stack([y_up[:, 0], -y_up[:, 2], y_up[:, 1]], axis=-1)


# --------------------------------------------------------------------------------------------------------- geometry


def test_rest_pose_is_hand_computed_metres_with_z_up(place):
    joints = cmu.read(place(amc_text([{"root": [1.0, 16.0, 3.0, 0, 0, 0]}]))).joints[0]
    assert joints.dtype == np.float32
    root = np.array([1.0, -3.0, 16.0]) * UNIT_M  # (x, y, z) y-up -> (x, -z, y)
    named = dict(zip(JOINTS, joints, strict=True))
    expected = {
        "root": (0, 0, 0), "left_hip": (1.2, 0, -1.6), "left_knee": (1.2, 0, -8.6), "left_ankle": (1.2, 0, -16.1),
        "right_hip": (-1.2, 0, -1.6), "spine": (0, 0, 4), "thorax": (0, 0, 7.5), "neck": (0, 0, 9),
        "head": (0, 0, 10.5), "left_shoulder": (2.4, 0, 7.8), "left_elbow": (7.4, 0, 7.8), "left_wrist": (11.9, 0, 7.8),
        "right_wrist": (-11.9, 0, 7.8),
    }  # fmt: skip
    for name, offset in expected.items():
        np.testing.assert_allclose(named[name], root + np.array(offset) * UNIT_M, atol=1e-6, err_msg=name)


def test_a_knee_turns_about_its_own_axis(place):
    # About the world's x axis 90 degrees would carry -y to -z. The bone's axis is turned 20 degrees about z:
    # its x axis is (cos 20, sin 20, 0), and Rodrigues' formula about it gives the shin's direction by hand.
    joints = cmu.read(place(amc_text([{"root": [0, 16, 0, 0, 0, 0], "ltibia": [90.0]}]))).joints[0]
    k, v = np.array([np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20)), 0]), np.array([0.0, -1.0, 0.0])
    turned = np.cross(k, v) + k * (k @ v)  # y-up
    expected = np.array([turned[0], -turned[2], turned[1]]) * 7.5 * UNIT_M
    np.testing.assert_allclose(joints[6] - joints[5], expected, atol=1e-6)


def test_root_turns_about_x_then_y_then_z(place):
    # X takes the spine's +y to +z, Y takes +z to +x, Z takes +x to +y: the spine points up again, the hips have turned.
    joints = cmu.read(place(amc_text([{"root": [0, 16, 0, 90, 90, 90]}]))).joints[0]
    np.testing.assert_allclose(joints[7] - joints[0], np.array([0, 0, 4]) * UNIT_M, atol=1e-6)
    # the hips' +x: X keeps it, Y takes it to -z, Z keeps it; -z in CMU's world is +y in ours
    np.testing.assert_allclose((joints[4] - joints[1]) / (2.4 * UNIT_M), [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize("order", ["XYZ", "ZYX", "YZX"])
def test_fast_kinematics_equal_the_obvious_ones(place, order):
    motion = moving(12)
    joints = cmu.read(place(amc_text(motion), asf_text(order=order))).joints
    np.testing.assert_allclose(joints, np.stack([slow_fk(f, order) for f in motion]), atol=2e-6)


def test_limb_lengths_are_constant_over_time(place):
    joints = cmu.read(place(amc_text(moving(50)))).joints
    for a, b in LIMBS:
        length = np.linalg.norm(joints[:, b] - joints[:, a], axis=-1)
        bone = cmu.JOINT_BONES[b]
        if bone not in ("upperback", "lowerneck", "lclavicle", "rclavicle", "lwrist", "rwrist"):  # one bone, one length
            assert length.std() < 1e-6
            np.testing.assert_allclose(length, BONES[bone][1] * UNIT_M, atol=1e-6)


def test_left_is_left_and_a_mirrored_motion_is_the_mirror_image(place):
    motion = moving(20)
    joints = cmu.read(place(amc_text(motion))).joints
    assert (handedness(joints, (0, 0, 1)) > 0).all()

    def mirror(frame: dict[str, list[float]]) -> dict[str, list[float]]:
        other = {}
        for name, values in frame.items():
            signs = {"tx": -1, "ry": -1, "rz": -1}
            twin = name if name in MIDDLE_BONES or name == "root" else ("r" if name[0] == "l" else "l") + name[1:]
            other[twin] = [signs.get(dof, 1) * value for dof, value in zip(DOFS[name], values, strict=True)]
        return other

    mirrored = cmu.read(place(amc_text([mirror(frame) for frame in motion]))).joints
    np.testing.assert_allclose(mirrored, joints[:, FLIP] * np.array([-1, 1, 1], np.float32), atol=2e-6)


# ------------------------------------------------------------------------------------------------- files and errors


def test_line_reader_and_table_reader_agree(place):
    path = place(amc_text(moving(7)))
    skeleton = acclaim.read_asf(path.with_name("07.asf"))
    body, line = acclaim._header(path, path.read_bytes())
    regular = acclaim._read_regular(body, skeleton)
    assert regular is not None
    careful = acclaim._read_lines(path, body, line, skeleton)
    for fast, slow in zip(regular, careful, strict=True):
        np.testing.assert_array_equal(fast, slow)


def test_bones_in_another_order_and_windows_line_ends_read_the_same(place):
    text = amc_text(moving(4))
    expected = cmu.read(place(text)).joints
    frames = text.split("\n")
    frames[4], frames[5] = frames[5], frames[4]  # two bones of the first frame only
    np.testing.assert_array_equal(cmu.read(place("\n".join(frames))).joints, expected)
    np.testing.assert_array_equal(cmu.read(place(text.replace("\n", "\r\n"))).joints, expected)


def test_rate_comes_from_the_index_or_the_caller(place):
    path = place(amc_text(moving(3)))
    motion = cmu.read(path)
    assert (motion.rate_hz, motion.subject, motion.source) == (60.0, "07", "subjects/07/07_01.amc")
    assert cmu.read(path, rate_hz=120).rate_hz == 120.0


def test_missing_rate_says_where_rates_come_from(place):
    path = place(amc_text(moving(3)), index=None)
    with pytest.raises(ValueError, match=r"07_01\.amc.*not in AMC files.*rate_hz=.*index\.csv"):
        cmu.read(path)
    path = place(amc_text(moving(3)), index="subject,trial,description,fps\n7,2,walk,60\n")
    with pytest.raises(ValueError, match=r"index\.csv gives no frame rate for this trial"):
        cmu.read(path)


@pytest.mark.parametrize("rate_hz", [0.0, -120.0, float("nan")])
def test_an_impossible_rate_is_refused(place, rate_hz):
    with pytest.raises(ValueError, match="rate_hz"):
        cmu.read(place(amc_text(moving(3))), rate_hz=rate_hz)


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


FRAME_LINES = 1 + len(DOFS)
"""Lines of a frame; the header has three, so frame f starts on line 4 + f * FRAME_LINES."""


@pytest.mark.parametrize("kept", [1, 2, 9, FRAME_LINES - 1])
def test_a_truncated_file_is_refused_with_its_line(place, kept):
    lines = _lines(amc_text(moving(3)))[: 3 + 2 * FRAME_LINES + kept]
    with pytest.raises(ValueError, match=rf"07_01\.amc:{len(lines)}: frame 3 lacks .* truncated"):
        cmu.read(place("\n".join(lines) + "\n"))


def test_a_line_cut_in_its_middle_is_refused(place):
    lines = _lines(amc_text(moving(3)))
    lines[-1] = lines[-1].split()[0]
    with pytest.raises(ValueError, match=rf"07_01\.amc:{len(lines)}: bone '\w+' has 0 values, expected 1.*truncated"):
        cmu.read(place("\n".join(lines)))


def test_a_file_without_a_last_line_end_is_read_and_reported(place):
    text = amc_text(moving(3))
    motion = cmu.read(place(text.rstrip("\n")))
    assert len(motion.joints) == 3 and "no line end" in motion.artefacts[0]
    assert not cmu.read(place(text)).artefacts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f[0].update(ltibia=[float("nan")]),
            r"07_01\.amc:{line}: bone 'ltibia' in frame 1: 'nan' is not a fin",
        ),
        (
            lambda f: f[0].update(ltibia=[float("inf")]),
            r"07_01\.amc:{line}: bone 'ltibia' in frame 1: 'inf' is not a fin",
        ),
        (lambda f: f[0].update(ltibia=[1.0, 2.0]), r"07_01\.amc:{line}: bone 'ltibia' has 2 values, expected 1 \(rx\)"),
        (lambda f: f[0].update(ltibia=[]), r"07_01\.amc:{line}: bone 'ltibia' has 0 values, expected 1 \(rx\)"),
    ],
)
def test_bad_values_are_refused_with_their_line(place, change, message):
    frames = moving(3)
    change(frames)
    line = 4 + 1 + list(DOFS).index("ltibia")
    with pytest.raises(ValueError, match=message.format(line=line)):
        cmu.read(place(amc_text(frames)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nltibia ", "\nltail ", r":\d+: unknown bone 'ltail' in frame 1"),
        ("\nltibia ", "\nlhipjoint ", r":\d+: unknown bone 'lhipjoint' in frame 1: it has no degrees of freedom"),
        ("\nltibia ", "\nrtibia ", r":\d+: bone 'rtibia' is given twice in frame 1"),
        ("\n2\n", "\n3\n", r":\d+: frame 3 follows frame 1; expected consecutive"),
        (":DEGREES\n", "", r"':DEGREES' is missing"),
        (":DEGREES", ":RADIANS", r"':DEGREES' is missing"),
        ("ltibia 4", "ltibia 4x", r":\d+: bone 'ltibia' in frame 1: '4x[\d.]*' is not a number"),
        (":DEGREES\n1\n", ":DEGREES\n", r":4: expected a frame number, found 'root"),
    ],
)
def test_a_malformed_motion_is_refused(place, old, new, message):
    text = amc_text(moving(3))
    assert old in text
    with pytest.raises(ValueError, match=message):
        cmu.read(place(text.replace(old, new)))


def test_a_bone_missing_from_one_frame_is_refused(place):
    lines = _lines(amc_text(moving(3)))
    lacking = [line for i, line in enumerate(lines) if not (i < 3 + FRAME_LINES and line.startswith("head "))]
    with pytest.raises(ValueError, match=r":\d+: frame 1 lacks 1 of \d+ bones \(head\)$"):
        cmu.read(place("\n".join(lacking) + "\n"))


def test_a_motion_without_frames_is_refused(place):
    with pytest.raises(ValueError, match="no frames"):
        cmu.read(place(":FULLY-SPECIFIED\n:DEGREES\n"))


@pytest.mark.parametrize(
    ("asf", "message"),
    [
        (asf_text(length="1.0"), r"units length is '1\.0'; expected 0\.45"),
        (asf_text(angle="rad"), r"units angle is 'rad'; expected deg"),
        (asf_text({n: b for n, b in BONES.items() if n != "head"}), r"07\.asf: no bone head; is this"),
        (asf_text().replace("root lhipjoint", "root tail"), r"07\.asf:\d+: unknown bone 'tail' in the hierarchy"),
        (asf_text().replace("    root lhipjoint\n", ""), r"bone 'lhipjoint' does not hang on the root"),
        (asf_text().replace("dof rx ry rz", "dof rx ry tz"), r"07\.asf:\d+: bone '\w+' has dof rx ry tz"),
        (asf_text().replace("length 7.5", "length nan"), r"07\.asf:\d+: bone '\w+'.*'nan' is not a finite"),
        (asf_text().replace("direction 0.6", "direction 6.0"), r"has a direction of length 6"),
        (asf_text()[:900], r"truncated"),
        (asf_text().replace("axis XYZ\n   position", "axis XYX\n   position"), r"expected a root with order"),
        (asf_text().replace("position 0 0 0", "position 0 1 0"), r"root position is 0 1 0"),
    ],
)
def test_a_skeleton_that_is_not_cmus_is_refused(place, asf, message):
    with pytest.raises(ValueError, match=message):
        cmu.read(place(amc_text(moving(2)), asf))


def test_missing_files_are_named(place, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"01_01\.amc"):
        cmu.read(tmp_path / "01_01.amc")
    path = place(amc_text(moving(2)))
    (path.parent / "07.asf").unlink()
    with pytest.raises(FileNotFoundError, match=r"07\.asf.*asf="):
        cmu.read(path)


def test_frames_without_data_and_jumps_are_reported_and_cut(place):
    frames = moving(60)
    frames[0] = frames[1] = {}
    frames[30] = frames[30] | {"root": [40.0, 16.0, 5.0, 0, 0, 0]}
    motion = cmu.read(place(amc_text(frames)))
    assert any("every value is 0 in frames 0-1" in text for text in motion.artefacts)
    assert any("faster than 30 m/s" in text for text in motion.artefacts)
    assert np.flatnonzero(bad_frames(motion.joints, motion.rate_hz)).tolist() == [0, 1, 2, 29, 30, 31]


def test_a_trial_that_starts_late_is_reported(place):
    assert "numbered 7" in cmu.read(place(amc_text(moving(3), first=7))).artefacts[0]


# ------------------------------------------------------------------------------------------------------------ index


def test_both_forms_of_the_index_read_the_same(tmp_path):
    (tmp_path / "a.csv").write_text('subject,trial,description,fps\n2,1,walk,120\n60,3,"salsa, fast",60\n74,9,,60\n')
    (tmp_path / "b.txt").write_text(
        "CMU\n  listing\n\nSubject #2 (x)\n\n02_01\twalk\n\n60_03\tsalsa, fast\n74_09\tUnknown\n"
    )
    assert cmu_index.read(tmp_path / "a.csv") == cmu_index.read(tmp_path / "b.txt")
    cmu_index.write(tmp_path / "c.csv", cmu_index.read(tmp_path / "b.txt"))
    assert (tmp_path / "c.csv").read_text() == (tmp_path / "a.csv").read_text()


@pytest.mark.parametrize(
    "text", ["", "nothing here\n", "subject,trial\n1,2\n", "subject,trial,description,fps\n1,x,a,120\n"]
)
def test_a_file_that_is_no_index_is_refused(tmp_path, text):
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(ValueError, match=r"index\.csv"):
        cmu_index.read(tmp_path / "index.csv")


# ------------------------------------------------------------------------------------------------- the real archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    if not os.environ.get("LANGPOSE_CMU"):
        pytest.skip("LANGPOSE_CMU does not name CMU's archive")
    from langpose.sources.cmu_archive import fetch

    return fetch(tmp_path_factory.mktemp("archive") / "cmu")


@pytest.mark.parametrize(
    ("trial", "fastest_m_s"),
    [("03_02", 98), ("16_15", 102), ("05_06", 47), ("05_08", 35), ("05_10", 36), ("05_16", 44)],
)
def test_known_artefacts_of_the_real_archive_are_reported(archive, trial, fastest_m_s):
    motion = cmu.read(archive / "subjects" / trial[:2] / f"{trial}.amc")
    assert any("faster than" in text and f"{fastest_m_s} m/s" in text for text in motion.artefacts)
    assert bad_frames(motion.joints, motion.rate_hz).any()


def test_a_real_walk_is_a_person_on_the_floor(archive):
    motion = cmu.read(archive / "subjects/02/02_01.amc")
    joints = motion.joints
    assert motion.rate_hz == 120 and len(joints) == 343 and not motion.artefacts
    assert not bad_frames(joints, motion.rate_hz).any()
    stature = joints[:, 10, 2] - joints[:, [3, 6], 2].min(axis=1)
    assert 1.4 < np.median(stature) < 1.8  # ankle to the head bone's end
    assert 0.03 < joints[:, [3, 6], 2].min() < 0.15  # ankles pass just above the floor
    forward = (joints[-1, 0] - joints[0, 0])[:2]
    assert 2 < np.linalg.norm(forward) < 6
    assert (handedness(joints, (0, 0, 1)) > 0).mean() > 0.9
    hips = (joints[:, 4] - joints[:, 1])[:, :2].mean(0)  # the left hip is on the left of the way walked
    assert forward[0] * hips[1] - forward[1] * hips[0] > 0


@pytest.mark.slow
def test_every_pinned_trial_reads_as_pinned(archive):
    from langpose.sources.cmu_archive import MANIFEST

    with open(MANIFEST, newline="") as handle:
        pinned = {row["trial"]: row for row in csv.DictReader(handle) if row["frames"]}
    assert len(pinned) == 196
    for trial, row in pinned.items():
        motion = cmu.read(archive / "subjects" / trial.split("_")[0] / f"{trial}.amc")
        assert (len(motion.joints), motion.rate_hz) == (int(row["frames"]), float(row["rate_hz"])), trial
