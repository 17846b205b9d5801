"""Other people's skeletons become Human3.6M-17 by the names of their joints."""

import numpy as np
import pytest

from langpose.joint_maps import SKELETONS, named, of_count
from langpose.skeleton import H36M_FROM_MPI, JOINTS, LEFT, RIGHT


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_every_joint_is_made_and_sides_stay_sides(skeleton):
    assert set(skeleton.makes) == set(JOINTS)
    for number, joint in enumerate(JOINTS):
        for source in skeleton.makes[joint]:
            assert source in skeleton.joints
        if number in (*LEFT, *RIGHT):
            side = "left" if number in LEFT else "right"
            assert len(skeleton.makes[joint]) == 1 and skeleton.makes[joint][0].startswith(side)
    assert len(set(skeleton.joints)) == len(skeleton.joints)


def test_coco_and_halpe_are_motionberts_conversion():
    """lib/data/dataset_wild.py halpe2h36m and lib/utils/utils_data.py, by index."""
    x = np.random.default_rng(0).normal(size=(4, 26, 3))
    ours = named("halpe26").to_h36m(x)[..., :2]
    order = {
        0: 19,
        1: 12,
        2: 14,
        3: 16,
        4: 11,
        5: 13,
        6: 15,
        8: 18,
        9: 0,
        10: 17,
        11: 5,
        12: 7,
        13: 9,
        14: 6,
        15: 8,
        16: 10,
    }
    for joint, source in order.items():
        np.testing.assert_allclose(ours[:, joint], x[:, source, :2])
    np.testing.assert_allclose(ours[:, 7], (x[:, 18, :2] + x[:, 19, :2]) / 2)
    y = x[:, :17]
    coco = named("coco17").to_h36m(y)[..., :2]
    np.testing.assert_allclose(coco[:, 0], (y[:, 11, :2] + y[:, 12, :2]) / 2)
    np.testing.assert_allclose(coco[:, 8], (y[:, 5, :2] + y[:, 6, :2]) / 2)
    np.testing.assert_allclose(coco[:, 7], (coco[:, 0] + coco[:, 8]) / 2)
    np.testing.assert_allclose(coco[:, 10], (y[:, 1, :2] + y[:, 2, :2]) / 2)


def test_mpi_inf_3dhp_and_human36m_are_permutations():
    x = np.random.default_rng(0).normal(size=(2, 17, 2))
    np.testing.assert_array_equal(named("mpi17").to_h36m(x), x[:, list(H36M_FROM_MPI)])
    np.testing.assert_array_equal(named("h36m17").to_h36m(x), x)


def test_a_joint_between_others_is_as_sure_as_the_least_sure_of_them():
    x = np.ones((17, 3))
    x[11, 2] = 0.2
    assert named("coco17").to_h36m(x)[0, 2] == 0.2
    assert named("coco133").to_h36m(np.concatenate([x, np.zeros((116, 3))]))[0, 2] == 0.2


@pytest.mark.parametrize(
    ("name", "found"),
    [("COCO", "coco17"), ("Halpe-26", "halpe26"), ("BODY_25", "body25"), ("MediaPipe", "mediapipe33"),
     ("Human3.6M", None), ("coco-wholebody", "coco133"), ("h36m_17", "h36m17")],
)  # fmt: skip
def test_names_are_read_however_they_are_written(name, found):
    if found is None:
        with pytest.raises(ValueError, match=r"no skeleton 'Human3.6M'; did you mean 'human36m'\?"):
            named(name)
    else:
        assert named(name).name == found


def test_a_wrong_number_of_joints_names_the_nearest_skeleton():
    with pytest.raises(ValueError, match="no skeleton has 27 joints; the nearest is halpe26 with 26"):
        of_count(27)
    with pytest.raises(ValueError, match="17 joints may be h36m17 or coco17 or mpi17; name the skeleton"):
        of_count(17)
    assert of_count(133).name == "coco133"
    with pytest.raises(ValueError, match="18 joints; skeleton coco17 has 17: nose, left_eye"):
        named("coco17").to_h36m(np.zeros((18, 3)))
