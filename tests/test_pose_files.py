"""Lifted poses are kept with what their numbers mean, and come back as they were."""

import csv
import json

import numpy as np
import pytest

from langpose import pose_files
from langpose.lifting import Poses
from tests.pages import walking


def poses(person=0, frames=12, starts=(0, 7)):
    joints = (walking(frames, 25.0) / 1000).astype(np.float32)
    numbers = np.arange(frames)
    for start in starts[1:]:
        numbers[start:] += 20
    two_d = np.ones((frames, 17, 3), np.float32)
    return Poses(joints, numbers, "m", two_d, numbers == 3, starts, person)


def test_two_people_come_back(tmp_path):
    pose_files.save(tmp_path, [poses(1), poses(4, 5, (0,))], 25.0, {"model": "m", "notes": ["a"]})
    people, facts = pose_files.load(tmp_path / "poses.npz")
    assert [p.person for p in people] == [1, 4] and people[0].starts == (0, 7) and people[1].starts == (0,)
    for found, given in zip(people, [poses(1), poses(4, 5, (0,))], strict=True):
        for name in ("joints", "frames", "keypoints", "filled"):
            np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
    assert (
        facts["unit"] == "m" and facts["fps"] == 25.0 and facts["skeleton"] == "h36m17" and "z away" in facts["frame"]
    )
    assert facts["people"][0] == {"person": 1, "frames": 12, "step": 1, "filled": 1, "stretches": [[0, 6], [27, 31]]}


def test_csv_has_a_line_a_joint(tmp_path):
    pose_files.save_csv(tmp_path / "poses.csv", [poses()])
    rows = list(csv.DictReader((tmp_path / "poses.csv").read_text().splitlines()))
    assert len(rows) == 12 * 17 and rows[17 * 7]["frame"] == "27" and rows[17 * 3]["filled"] == "1"
    assert float(rows[10]["y"]) == pytest.approx(float(poses().joints[0, 10, 1]), rel=1e-5)


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"poses.npz: missing; expected a folder that `langpose lift` wrote"):
        pose_files.load(tmp_path)
    pose_files.save(tmp_path, [poses()], 25.0, {})
    content = (tmp_path / "poses.npz").read_bytes()
    (tmp_path / "poses.npz").write_bytes(content[:-200])
    with pytest.raises(ValueError, match="not a readable npz file"):
        pose_files.load(tmp_path)
    (tmp_path / "poses.npz").write_bytes(content)
    facts = json.loads((tmp_path / "poses.json").read_text())
    del facts["unit"]
    (tmp_path / "poses.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="not as `langpose lift` writes it"):
        pose_files.load(tmp_path)
    (tmp_path / "poses.json").write_text("{")
    with pytest.raises(ValueError, match="not as `langpose lift` writes it"):
        pose_files.load(tmp_path)
