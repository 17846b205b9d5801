"""ReducedBody against the smplx library, against a slow obvious skinning, and against files that are wrong."""

from pathlib import Path

import numpy as np
import pytest

from langpose.body import (
    ReducedBody,
    check_left_right,
    read_model,
    read_regressor,
    rotations,
    smplx_joints,
)
from langpose.demo.standin_body import write_standin_body

GENDERS = ("female", "male", "neutral")
Model = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodies")
    write_standin_body(folder)
    return folder


@pytest.fixture(scope="module")
def random_model() -> tuple[Model, np.ndarray]:
    """A model of true size with dense random arrays: nothing about it is special, so nothing can cancel."""
    rng = np.random.default_rng(0)
    parents = np.array([-1, *(int(rng.integers(max(0, bone - 4), bone)) for bone in range(1, 52))])
    weights = np.zeros((6890, 52))
    for row in weights:
        row[rng.choice(52, 4, replace=False)] = rng.dirichlet(np.ones(4))
    joints, regressor = np.zeros((52, 6890)), np.zeros((17, 6890))
    for rows in (joints, regressor):
        for row in rows:
            row[rng.choice(6890, 7, replace=False)] = rng.dirichlet(np.ones(7)) * 1.4 - 0.4 / 7
    model = {
        "v_template": rng.normal(0, 0.3, (6890, 3)),
        "shapedirs": rng.normal(0, 0.02, (6890, 3, 16)),
        "posedirs": rng.standard_normal((6890, 3, 459), np.float32) * np.float32(0.003),
        "J_regressor": joints,
        "weights": weights,
        "parents": parents,
    }
    return model, regressor


def parameters(frames: int, seed: int, betas: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    poses, trans = rng.normal(0, 0.5, (frames, 156)), rng.normal(0, 3, (frames, 3))
    poses[0] = 0  # the rest pose: angle 0 must not divide by 0
    poses[1, :3] = (np.pi, 0, 0)
    return poses, trans, rng.normal(0, 1, betas)


def slow_joints(
    model: Model, regressor: np.ndarray, pose: np.ndarray, trans: np.ndarray, betas: np.ndarray, soft: np.ndarray | int
) -> np.ndarray:
    """One frame, straight from the SMPL paper, all vertices, loops over bones, float64; ``soft`` (V, 3) is added."""
    turns = []
    for vector in pose.reshape(52, 3):
        angle = np.linalg.norm(vector)
        x, y, z = vector / angle if angle else vector
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        turns.append(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
    shaped = model["v_template"] + model["shapedirs"][:, :, : len(betas)] @ betas + soft
    rest = model["J_regressor"] @ shaped
    posed = shaped + model["posedirs"] @ np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    turn_of, place_of = [turns[0]], [rest[0]]
    for bone in range(1, 52):
        parent = model["parents"][bone]
        turn_of.append(turn_of[parent] @ turns[bone])
        place_of.append(place_of[parent] + turn_of[parent] @ (rest[bone] - rest[parent]))
    skinned = np.zeros_like(posed)
    for bone in range(52):
        moved = (posed - rest[bone]) @ turn_of[bone].T + place_of[bone]
        skinned += model["weights"][:, bone, None] * moved
    return regressor @ (skinned + trans)


def test_reduced_body_equals_slow_skinning_on_a_random_model(random_model: tuple[Model, np.ndarray]) -> None:
    model, regressor = random_model
    poses, trans, betas = parameters(6, seed=1)
    joints = ReducedBody.fold(model, regressor, np.zeros((6890, 3, 0)))(poses, trans, betas)
    expected = [slow_joints(model, regressor, *frame, betas, 0) for frame in zip(poses, trans, strict=True)]
    assert joints.dtype == np.float32
    np.testing.assert_allclose(joints, expected, rtol=0, atol=1e-5)


def test_soft_tissue_moves_points_and_joints_as_the_slow_route_says(random_model: tuple[Model, np.ndarray]) -> None:
    model, regressor = random_model
    poses, trans, betas = parameters(4, seed=2)
    rng = np.random.default_rng(3)
    soft, dmpls = rng.normal(0, 0.02, (6890, 3, 8)), rng.normal(0, 1, (4, 8))
    body = ReducedBody.fold(model, regressor, soft)
    frames = zip(poses, trans, dmpls, strict=True)
    expected = [slow_joints(model, regressor, p, t, betas, soft @ d) for p, t, d in frames]
    np.testing.assert_allclose(body(poses, trans, betas, dmpls), expected, rtol=0, atol=1e-5)
    assert np.abs(body(poses, trans, betas, None) - expected).max() > 1e-3


@pytest.mark.parametrize("gender", GENDERS)
def test_reduced_body_equals_smplx(standin: Path, gender: str) -> None:
    model, regressor = standin / f"smplh/{gender}/model.npz", standin / "J_regressor_h36m_correct.npy"
    poses, trans, betas = parameters(9, seed=4)
    ours = ReducedBody.load(model, regressor)(poses, trans, betas)
    theirs = smplx_joints(model, np.load(regressor), poses, trans, betas, batch=5)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_smplx_loads_the_standin_file_unchanged_and_agrees_at_its_ten_betas(standin: Path) -> None:
    import smplx
    import torch

    poses, trans, betas = parameters(3, seed=5, betas=10)
    file = standin / "smplh/female/model.npz"
    body = smplx.SMPLH(str(file), use_pca=False, flat_hand_mean=True, ext="npz", num_betas=16, batch_size=3)
    assert body.num_betas == 10  # smplx's own cap: the file has fewer than 300 shape directions
    pose = torch.tensor(poses, dtype=torch.float32)
    with torch.no_grad():
        vertices = body(
            betas=torch.tensor(betas, dtype=torch.float32).expand(3, -1),
            global_orient=pose[:, :3], body_pose=pose[:, 3:66],
            left_hand_pose=pose[:, 66:111], right_hand_pose=pose[:, 111:],
            transl=torch.tensor(trans, dtype=torch.float32),
        ).vertices.numpy()  # fmt: skip
    regressor = standin / "J_regressor_h36m_correct.npy"
    ours = ReducedBody.load(file, regressor, num_betas=10)(poses, trans, betas)
    np.testing.assert_allclose(ours, np.load(regressor) @ vertices, rtol=0, atol=1e-5)


def test_chunks_do_not_show_and_any_float_type_is_taken(standin: Path) -> None:
    body = ReducedBody.load(standin / "smplh/male/model.npz", standin / "J_regressor_h36m_correct.npy")
    poses, trans, betas = parameters(1100, seed=6)
    whole = body(poses, trans, betas)
    apart = [body(poses[i : i + 1], trans[i : i + 1], betas) for i in (0, 511, 512, 1099)]
    np.testing.assert_allclose(whole[[0, 511, 512, 1099]], np.concatenate(apart), rtol=0, atol=2e-6)
    single = body(poses.astype(np.float32), trans.astype(np.float32), betas.astype(np.float32))
    np.testing.assert_allclose(whole, single, rtol=0, atol=1e-5)
    assert body(poses[:0], trans[:0], betas).shape == (0, 17, 3)


def test_torch_gives_what_numpy_gives(random_model: tuple[Model, np.ndarray]) -> None:
    poses, trans, betas = parameters(40, seed=9)
    dmpls = np.random.default_rng(1).normal(0, 1, (40, 8))
    for size in (0, 8):
        body = ReducedBody.fold(*random_model, np.random.default_rng(0).normal(0, 0.02, (6890, 3, size)))
        expected = body(poses, trans, betas, dmpls)
        np.testing.assert_allclose(body(poses, trans, betas, dmpls, device="cpu"), expected, rtol=0, atol=5e-6)
        for array in (poses, trans, dmpls):
            array.flags.writeable = False  # as a memory-mapped file's
        assert body(poses, trans, betas, dmpls, device="cpu").dtype == np.float32


def test_short_betas_are_padded_and_long_ones_cut(standin: Path) -> None:
    body = ReducedBody.load(standin / "smplh/male/model.npz", standin / "J_regressor_h36m_correct.npy", num_betas=10)
    poses, trans, betas = parameters(2, seed=7)
    np.testing.assert_array_equal(body(poses, trans, betas[:10]), body(poses, trans, betas))
    padded = np.concatenate([betas[:3], np.zeros(7)])
    np.testing.assert_array_equal(body(poses, trans, betas[:3]), body(poses, trans, padded))


def test_hand_bones_that_carry_no_weight_are_not_computed(standin: Path) -> None:
    body = ReducedBody.load(standin / "smplh/neutral/model.npz", standin / "J_regressor_h36m_correct.npy")
    assert len(body.bones) < 52 - 20
    assert set(range(1, 9)) <= set(body.bones.tolist())
    assert body.pair_weight.sum() == pytest.approx(17)


@pytest.mark.parametrize("rows", [(1, 2, 3), (14, 15, 16)])
def test_swapped_regressor_fails_loudly(standin: Path, tmp_path: Path, rows: tuple[int, ...]) -> None:
    regressor = np.load(standin / "J_regressor_h36m_correct.npy")
    right = list(rows)
    left = [row + 3 if row < 4 else row - 3 for row in rows]
    regressor[right + left] = regressor[left + right]
    np.save(tmp_path / "swapped.npy", regressor)
    with pytest.raises(ValueError, match=r"swapped\.npy: left and right are swapped"):
        ReducedBody.load(standin / "smplh/male/model.npz", tmp_path / "swapped.npy")


def test_regressor_in_another_joint_order_fails_loudly(standin: Path) -> None:
    regressor = read_regressor(standin / "J_regressor_h36m_correct.npy")
    joints = regressor @ read_model(standin / "smplh/male/model.npz")["v_template"]
    check_left_right(joints, "as written")
    joints[[8, 10]] = joints[[10, 8]]
    with pytest.raises(ValueError, match=r"not in Human3\.6M-17 order"):
        check_left_right(joints, "head and thorax exchanged")


def test_wrong_files_are_named_with_what_is_wrong(standin: Path, tmp_path: Path) -> None:
    model, regressor = standin / "smplh/male/model.npz", standin / "J_regressor_h36m_correct.npy"
    with pytest.raises(FileNotFoundError, match="no SMPL-H body model at"):
        ReducedBody.load(tmp_path / "absent.npz", regressor)
    with pytest.raises(FileNotFoundError, match=r"no Human3\.6M joint regressor"):
        ReducedBody.load(model, tmp_path / "absent.npy")
    np.savez(tmp_path / "other.npz", v_template=np.zeros((6890, 3)))
    with pytest.raises(ValueError, match=r"other\.npz: is not an SMPL-H model: shapedirs"):
        ReducedBody.load(tmp_path / "other.npz", regressor)
    (tmp_path / "cut.npz").write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.npz: not a readable npz file"):
        ReducedBody.load(tmp_path / "cut.npz", regressor)
    np.save(tmp_path / "half.npy", np.load(regressor) / 2)
    with pytest.raises(ValueError, match="rows of a joint regressor sum to 1"):
        ReducedBody.load(model, tmp_path / "half.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="plain npy"):
        ReducedBody.load(model, tmp_path / "objects.npy")
    with pytest.raises(ValueError, match="16 shape directions, 17 are needed"):
        ReducedBody.load(model, regressor, num_betas=17)
    with pytest.raises(ValueError, match="is not a DMPL model"):
        ReducedBody.load(model, regressor, dmpl_npz=tmp_path / "other.npz")


def test_wrong_parameters_are_refused(standin: Path) -> None:
    body = ReducedBody.load(standin / "smplh/male/model.npz", standin / "J_regressor_h36m_correct.npy")
    poses, trans, betas = parameters(4, seed=8)
    with pytest.raises(ValueError, match=r"poses is \(4, 72\)"):
        body(poses[:, :72], trans, betas)
    with pytest.raises(ValueError, match=r"trans is \(3, 3\)"):
        body(poses, trans[:3], betas)
    poses[2, 5] = np.nan
    with pytest.raises(ValueError, match="first at frame 2"):
        body(poses, trans, betas)


def test_rotations_are_rotations_at_every_angle() -> None:
    vectors = np.zeros((1, 3, 4))
    vectors[0, 1] = (0, 1e-9, np.pi / 2, np.pi)
    turns = rotations(vectors)
    np.testing.assert_allclose(
        np.einsum("kabf,kcbf->kacf", turns, turns)[0], np.eye(3)[..., None].repeat(4, 2), atol=1e-12
    )
    np.testing.assert_allclose(turns[0, :, :, 2] @ [0, 0, 1], [1, 0, 0], atol=1e-12)
