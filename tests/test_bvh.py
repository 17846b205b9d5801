"""BVH says where every bone points, exactly; lengths are the person's medians."""

import numpy as np
import pytest

from langpose import bvh
from langpose.skeleton import JOINTS, LIMBS, PARENTS
from tests.pages import walking


def played(path):
    """A BVH file's joints (F, 17, 3) by a slow reader of its own, in the camera's frame."""
    offsets, channels, stack, order = {}, {}, [], []
    lines = iter(path.read_text().splitlines())
    for line in lines:
        words = line.split()
        if words[0] in ("ROOT", "JOINT"):
            stack.append(words[1])
            order.append(words[1])
        elif words[0] == "End":
            stack.append(None)
        elif words[0] == "OFFSET" and stack[-1]:
            offsets[stack[-1]] = np.array(words[1:], float)
        elif words[0] == "CHANNELS":
            channels[stack[-1]] = words[2:]
        elif words[0] == "}":
            stack.pop()
        elif words[0] == "MOTION":
            break
    frames, step = int(next(lines).split()[1]), float(next(lines).split()[2])
    result = np.zeros((frames, 17, 3))
    for frame in range(frames):
        numbers = iter(map(float, next(lines).split()))
        world = {}
        for name in order:
            turn, place = np.eye(3), offsets[name].copy()
            for channel in channels[name]:
                value = next(numbers)
                axis = "XYZ".index(channel[0])
                if channel.endswith("position"):
                    place[axis] += value
                    continue
                a, b = [i for i in range(3) if i != axis]
                c, s = np.cos(np.radians(value)), np.sin(np.radians(value)) * (-1 if axis == 1 else 1)
                one = np.eye(3)
                one[a, a], one[a, b], one[b, a], one[b, b] = c, -s, s, c
                turn = turn @ one
            joint = JOINTS.index(name)
            parent = PARENTS[joint]
            above, at = world[parent] if parent >= 0 else (np.eye(3), np.zeros(3))
            world[joint] = above @ turn, at + above @ place
            result[frame, joint] = world[joint][1]
    return result * (1, -1, -1), step


def test_bones_point_where_they_did_and_have_their_lengths(tmp_path):
    poses = walking(25, 25.0) / 1000
    bvh.save(tmp_path / "a.bvh", poses, 25.0)
    found, step = played(tmp_path / "a.bvh")
    assert step == pytest.approx(0.04, abs=1e-6)
    for parent, joint in LIMBS:
        ours, theirs = found[:, joint] - found[:, parent], poses[:, joint] - poses[:, parent]
        length = np.median(np.linalg.norm(theirs, axis=-1))
        np.testing.assert_allclose(np.linalg.norm(ours, axis=-1), length, atol=1e-4)
        if parent in (0, 8):
            continue  # several bones begin there: one frame for all
        np.testing.assert_allclose(ours / length, theirs / np.linalg.norm(theirs, axis=-1, keepdims=True), atol=2e-3)


def test_a_rigid_body_comes_back_whole(tmp_path):
    poses = walking(25, 25.0) / 1000
    bvh.save(tmp_path / "a.bvh", poses, 25.0)
    first, _ = played(tmp_path / "a.bvh")
    bvh.save(tmp_path / "b.bvh", first, 25.0)
    second, _ = played(tmp_path / "b.bvh")
    np.testing.assert_allclose(second, first, atol=2e-3)


def test_a_limb_that_points_the_other_way_is_half_a_turn():
    down = np.tile([[0.0, -1.0, 0.0]], (2, 1))
    turned = bvh._least(np.array([0.0, 1.0, 0.0]), down)
    np.testing.assert_allclose(turned @ [0, 1, 0], down, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turned), 1, atol=1e-9)


@pytest.mark.parametrize("poses", [np.zeros((0, 17, 3)), np.zeros((4, 16, 3)), np.full((4, 17, 3), np.nan)])
def test_what_is_no_motion_is_refused(tmp_path, poses):
    with pytest.raises(ValueError, match="expected \\(frames, 17, 3\\)"):
        bvh.save(tmp_path / "a.bvh", poses, 25.0)
    assert list(tmp_path.iterdir()) == []
