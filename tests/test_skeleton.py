"""Joint orders, the mirror, and the check that left is left."""

import numpy as np
import torch

from langpose import skeleton as s


def test_flip_exchanges_left_and_right_names_and_is_its_own_inverse():
    for joint, name in enumerate(s.JOINTS):
        expected = name.replace("left", "~").replace("right", "left").replace("~", "right")
        assert s.JOINTS[s.FLIP[joint]] == expected
    for joint, name in enumerate(s.MPI_JOINTS):
        expected = name.replace("left", "~").replace("right", "left").replace("~", "right")
        assert s.MPI_JOINTS[s.MPI_FLIP[joint]] == expected
    x = np.random.default_rng(0).normal(size=(4, 17, 3))
    np.testing.assert_array_equal(s.flip(s.flip(x)), x)
    torch.testing.assert_close(s.flip(torch.tensor(x)), torch.tensor(s.flip(x)))
    assert (s.flip(x)[:, 4, 0] == -x[:, 1, 0]).all()


def test_left_and_right_name_the_same_joints_as_the_names_do():
    assert tuple(j for j, n in enumerate(s.JOINTS) if n.startswith("left")) == s.LEFT
    assert tuple(j for j, n in enumerate(s.JOINTS) if n.startswith("right")) == s.RIGHT
    assert tuple(j for j, n in enumerate(s.MPI_JOINTS) if n.startswith("left")) == s.MPI_LEFT
    assert tuple(j for j, n in enumerate(s.MPI_JOINTS) if n.startswith("right")) == s.MPI_RIGHT


def test_the_two_orders_convert_into_each_other_by_name():
    same = {"pelvis": "root", "neck": "thorax", "head": "neck", "head_top": "head"}
    for h36m, mpi in enumerate(s.H36M_FROM_MPI):
        assert same.get(s.MPI_JOINTS[mpi], s.MPI_JOINTS[mpi]) == s.JOINTS[h36m]
        assert s.MPI_FROM_H36M[mpi] == h36m


def test_body_parts_are_symmetric_and_cover_the_body():
    for joints in s.BODY_PARTS.values():
        assert {s.FLIP[j] for j in joints} == set(joints)
    assert set().union(*s.BODY_PARTS.values()) == set(range(17))


def test_handedness_tells_a_person_from_a_mirrored_one():
    pose = np.zeros((1, 17, 3))  # z up, facing -y, left = +x, knees bent forward
    pose[0, 4], pose[0, 5], pose[0, 6] = (0.1, 0, 0.9), (0.1, -0.2, 0.5), (0.1, 0, 0.1)
    pose[0, 1], pose[0, 2], pose[0, 3] = (-0.1, 0, 0.9), (-0.1, -0.2, 0.5), (-0.1, 0, 0.1)
    assert s.handedness(pose, (0, 0, 1))[0] > 0.1
    mirrored = pose * np.array([-1, 1, 1])
    assert s.handedness(mirrored, (0, 0, 1))[0] < -0.1
    turned = pose @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    assert s.handedness(turned, (0, 0, 1))[0] > 0.1
