import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langpose import metrics
from langpose.skeleton import H36M_FROM_MPI
from tests.lifting_files import arrays, numbers

FRAME_METRICS = [metrics.mpjpe, metrics.p_mpjpe, metrics.n_mpjpe, metrics.velocity_error, metrics.acceleration_error]


def poses(seed, frames=6):
    random = np.random.default_rng(seed)
    gt = random.normal(0, 400, (frames, 17, 3))
    return gt + random.normal(0, 60, gt.shape), gt


def rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def slow_p_mpjpe(pred, gt):
    """One frame, with the textbook's steps."""
    a, b = pred - pred.mean(0), gt - gt.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    d = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    aligned = np.trace(d @ np.diag(s)) / (a**2).sum() * a @ u @ d @ vt + gt.mean(0)
    return np.linalg.norm(aligned - gt, axis=-1).mean()


def test_frame_metrics_equal_the_reference_implementations():
    fixture = arrays("metrics_h36m")
    pred, gt = fixture["pred"], fixture["gt"]
    np.testing.assert_allclose(metrics.mpjpe(pred, gt), fixture["mpjpe_per_frame"], rtol=1e-12)
    np.testing.assert_allclose(metrics.p_mpjpe(pred, gt), fixture["p_mpjpe_per_frame"], rtol=1e-9)
    np.testing.assert_allclose(metrics.n_mpjpe(pred, gt).mean(), fixture["n_mpjpe_vp3d"], rtol=1e-9)
    np.testing.assert_allclose(metrics.velocity_error(pred, gt).mean(), fixture["mean_velocity_error_vp3d"], rtol=1e-9)
    np.testing.assert_allclose(metrics.acceleration_error(pred, gt), fixture["acc_error_per_frame_magf"], rtol=1e-9)


def test_p_mpjpe_does_not_mirror():
    fixture = arrays("metrics_h36m")
    pred, gt = fixture["pred"][10:13], fixture["gt"][10:13]  # the frames whose best orthogonal map is a reflection
    covariance = (pred - pred.mean(1, keepdims=True)).swapaxes(1, 2) @ (gt - gt.mean(1, keepdims=True))
    assert (np.linalg.det(covariance) < 0).any()
    slow = [slow_p_mpjpe(p, g) for p, g in zip(pred, gt, strict=True)]
    np.testing.assert_allclose(metrics.p_mpjpe(pred, gt), slow, rtol=1e-9)
    mirrored = gt * [-1, 1, 1]
    assert (metrics.p_mpjpe(mirrored, gt) > 10).all()


def degenerate(kind):
    """(prediction, truth) that leave a rotation's axis, sign or angle nearly or quite undetermined."""
    pred, gt = poses(7, 40)
    flat, straight = np.array([1, 1, 0]), np.array([1, 0, 0])
    if kind.startswith("thickness"):
        thin = np.array([1, 1, 0.6]) * [1, *2 * [float(kind.split()[1])]]
        return pred * thin, gt * thin
    return {
        "equal": (gt, gt),
        "mirrored": (gt * [-1, 1, 1], gt),
        "truth in a plane": (pred, gt * flat),
        "both in a plane": (pred * flat, gt * flat),
        "mirrored in a plane": (gt * flat * [-1, 1, 1], gt * flat),
        "prediction on a line": (pred * straight, gt),
        "both on a line": (pred * straight, gt * straight),
        "unrelated": (pred[::-1].copy(), gt),
        "in metres": (pred / 1000, gt / 1000),
        "far away": (pred + 1e5, gt - 1e5),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["equal", "mirrored", "truth in a plane", "both in a plane", "mirrored in a plane", "prediction on a line",
     "both on a line", "unrelated", "in metres", "far away", *(f"thickness {10.0**-n}" for n in range(1, 9))],
)  # fmt: skip
def test_p_mpjpe_equals_the_svds_for_poses_that_hardly_fix_a_rotation(kind):
    pred, gt = degenerate(kind)
    slow = [slow_p_mpjpe(p, g) for p, g in zip(pred, gt, strict=True)]
    np.testing.assert_allclose(metrics.p_mpjpe(pred, gt), slow, rtol=0, atol=1e-6)
    np.testing.assert_allclose(metrics.p_mpjpe(torch.from_numpy(pred), torch.from_numpy(gt)), slow, rtol=0, atol=1e-6)
    assert metrics.p_mpjpe(pred[3], gt[3]) == pytest.approx(slow[3], abs=1e-6)
    if kind != "far away":
        rounded = metrics.p_mpjpe(pred.astype(np.float32), gt.astype(np.float32))
        np.testing.assert_allclose(rounded, slow, rtol=0, atol=2e-3)


@pytest.mark.parametrize("gap", [0, *(10.0**-n for n in range(1, 12))])
def test_rotations_are_proper_and_the_svds_down_to_where_they_are_not_unique(gap):
    turns = np.stack([rotation(seed) for seed in range(60)]).reshape(2, 30, 3, 3)
    for scales in ([1, 0.5, gap - 0.5], [1, gap, 0], [1, gap, gap / 2], [1, 1, gap - 1]):
        covariance = 1e6 * turns[0] * np.array(scales) @ turns[1]
        found, trace = metrics._rotation(covariance, np)
        by_svd, expected = metrics._rotation_by_svd(covariance, np)
        np.testing.assert_allclose(trace, expected, rtol=1e-12)
        np.testing.assert_allclose(found @ found.swapaxes(1, 2), np.tile(np.eye(3), (30, 1, 1)), atol=1e-9)
        assert (np.linalg.det(found) > 0).all()
        if gap > 1e-6:
            np.testing.assert_allclose(found, by_svd, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_p_mpjpe_ignores_similarity_transforms_of_the_prediction(seed, scale, shift):
    pred, gt = poses(seed, 2)
    moved = scale * pred @ rotation(seed) + np.array([shift, -shift, 3.0])
    np.testing.assert_allclose(metrics.p_mpjpe(moved, gt), metrics.p_mpjpe(pred, gt), rtol=1e-6)
    np.testing.assert_allclose(metrics.p_mpjpe(scale * gt @ rotation(seed) + shift, gt), 0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_each_alignment_can_only_help(seed):
    pred, gt = poses(seed, 3)
    pred, gt = pred - pred[:, :1], gt - gt[:, :1]
    squared = [
        ((aligned - gt) ** 2).sum((1, 2))
        for aligned in (pred, metrics.similarity_aligned(pred, gt))
    ]  # fmt: skip
    assert (squared[1] <= squared[0] + 1e-6).all()
    np.testing.assert_allclose(metrics.n_mpjpe(3.5 * gt, gt), 0, atol=1e-9)


def shifted(gt, x, y, z):
    return gt + np.array([x, y, z])


def test_only_the_p_and_n_forms_align():
    _, gt = poses(0)
    np.testing.assert_allclose(metrics.mpjpe(shifted(gt, 0, 0, 7), gt), 7)
    np.testing.assert_allclose(metrics.velocity_error(gt + 50, gt), 0, atol=1e-9)
    assert (metrics.n_mpjpe(shifted(gt, 0, 0, 700), gt) > 100).all()
    assert metrics.pck(shifted(gt, 200, 0, 0), gt) == 0


@pytest.mark.parametrize("metric", FRAME_METRICS)
@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_metrics_keep_leading_axes_and_array_type(metric, leading):
    random = np.random.default_rng(1)
    pred, gt = random.normal(size=(2, *leading, 5, 17, 3)) * 300
    lost = FRAME_METRICS.index(metric) - 2 if metric in FRAME_METRICS[3:] else 0
    result = metric(pred, gt)
    assert isinstance(result, np.ndarray)
    assert result.shape == (*leading, 5 - lost)
    tensor = metric(torch.from_numpy(pred), torch.from_numpy(gt))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), result, rtol=1e-7)
    single = metric(pred.astype(np.float32), gt.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, result, rtol=1e-3)


def test_single_poses_and_whole_numbers_are_accepted():
    gt = np.arange(51).reshape(17, 3)
    assert metrics.mpjpe(gt + 2, gt) == pytest.approx(2 * 3**0.5)
    pred, gt = poses(3, 1)
    assert metrics.p_mpjpe(pred[0], gt[0]) == pytest.approx(slow_p_mpjpe(pred[0], gt[0]))


def test_collapsed_poses_give_finite_errors():
    _, gt = poses(0)
    centred = np.linalg.norm(gt - gt.mean(1, keepdims=True), axis=-1).mean(1)
    np.testing.assert_allclose(metrics.p_mpjpe(np.zeros_like(gt), gt), centred)
    np.testing.assert_allclose(metrics.p_mpjpe(gt, np.zeros_like(gt)), 0, atol=1e-9)
    assert np.isfinite(metrics.n_mpjpe(np.zeros_like(gt), gt)).all()
    assert metrics.p_mpjpe(np.zeros((17, 3)), gt[0]) == pytest.approx(centred[0])
    assert metrics.p_mpjpe(np.zeros((0, 17, 3)), np.zeros((0, 17, 3))).shape == (0,)


def sequences_of_mpi():
    fixture = arrays("mpi3dhp_pck_auc")
    pairs = [[fixture[f"{kind}_TS{i}"] for kind in ("pred", "gt")] for i in range(1, 7)]
    return [tuple(joints - joints[:, 14:15] for joints in pair) for pair in pairs]


def test_pck_and_auc_equal_the_matlab_evaluation():
    sequences = sequences_of_mpi()
    pred, gt = (np.concatenate(parts) for parts in zip(*sequences, strict=True))
    assert metrics.mpjpe(pred, gt).mean() == pytest.approx(100.67359005116037, rel=1e-12)
    assert metrics.pck(pred, gt) == pytest.approx(71.875, rel=1e-12)
    assert metrics.auc(pred, gt) == pytest.approx(39.904954, abs=1e-6)
    rows = numbers("mpi3dhp_pck_auc")["sequencewise"]
    heads = [i for i, row in enumerate(rows) if row[0] in ("", "PCK", "AUC")]
    for number, (pred, gt) in enumerate(sequences, 1):
        errors, percent, area = (rows[head + number] for head in heads)
        assert metrics.mpjpe(pred, gt).mean() == pytest.approx(errors[-1], rel=1e-9)
        assert metrics.pck(pred, gt) == pytest.approx(percent[9], rel=1e-9)
        assert metrics.auc(pred, gt) == pytest.approx(area[9], rel=1e-9)


def test_the_table_of_mpi_inf_3dhp_takes_joints_in_any_place_and_weighs_frames():
    pairs = {f"TS{i}": pair for i, pair in enumerate(sequences_of_mpi(), 1)}
    shift = np.array([300.0, -200, 4000])
    pred, gt = ({name: pair[side] + shift for name, pair in pairs.items()} for side in (0, 1))
    table = metrics.mpi_inf_3dhp_table(pred, gt)
    assert list(table) == [*pairs, "All"]
    assert table["All"]["PCK"] == pytest.approx(71.875, rel=1e-9)
    assert table["All"]["AUC"] == pytest.approx(39.904954, abs=1e-6)
    assert table["All"]["MPJPE"] == pytest.approx(100.67359005116037, rel=1e-9)
    assert table["All"]["frames"] == sum(len(p) for p, _ in pairs.values())
    for name, (p, g) in pairs.items():
        assert table[name]["PCK"] == pytest.approx(metrics.pck(p, g), rel=1e-9)
        assert table[name]["MPJPE"] == pytest.approx(metrics.mpjpe(p, g).mean(), rel=1e-9)
    order = list(H36M_FROM_MPI)
    turned = [{name: joints[:, order] for name, joints in side.items()} for side in (pred, gt)]
    assert metrics.mpi_inf_3dhp_table(*turned, skeleton="human36m")["All"] == pytest.approx(table["All"])


def test_the_table_of_mpi_inf_3dhp_names_what_does_not_belong_together():
    pose = np.zeros((3, 17, 3))
    with pytest.raises(ValueError, match=r"predictions of \['TS1'\] and ground truth of \['TS2'\]"):
        metrics.mpi_inf_3dhp_table({"TS1": pose}, {"TS2": pose})
    with pytest.raises(ValueError, match=r"TS1: prediction \(3, 17, 3\) and ground truth \(2, 17, 3\)"):
        metrics.mpi_inf_3dhp_table({"TS1": pose}, {"TS1": pose[:2]})
    with pytest.raises(ValueError, match="named 'All'"):
        metrics.mpi_inf_3dhp_table({"All": pose}, {"All": pose})


def test_thresholds_are_strict():
    gt = np.zeros((1, 17, 3))
    at = shifted(gt, 150, 0, 0)
    assert metrics.pck(at, gt) == 0
    assert metrics.pck(at - [1e-9, 0, 0], gt) == 100
    assert metrics.auc(gt, gt) == pytest.approx(100 * 30 / 31)  # the threshold 0 never counts
    assert metrics.auc(shifted(gt, 145, 0, 0), gt) == pytest.approx(100 / 31)


def test_auc_equals_the_mean_of_pck_over_its_thresholds():
    pred, gt = poses(5, 20)
    slow = np.mean([metrics.pck(pred, gt, threshold) for threshold in range(0, 151, 5)])
    assert metrics.auc(pred, gt) == pytest.approx(slow)
    assert metrics.auc(torch.from_numpy(pred), torch.from_numpy(gt)) == pytest.approx(slow)


def test_pck_and_auc_score_the_same_joints_in_either_order():
    pred, gt = sequences_of_mpi()[2]
    order = list(H36M_FROM_MPI)
    for measure in (metrics.pck, metrics.auc):
        assert measure(pred[:, order], gt[:, order], skeleton="human36m") == measure(pred, gt, skeleton="mpi_inf_3dhp")
    far = gt.copy()
    far[:, [14, 15, 16]] += 1000  # pelvis, spine and head do not count
    assert metrics.pck(far, gt) == 100


def test_h_mpjpe_gives_the_published_row_of_table_1():
    langpose = {"Photo": 45.4, "Sitting": 46.2, "SittingDown": 49.3, "Walk": 24.6}
    assert round(metrics.h_mpjpe(langpose), 1) == 47.0
    with pytest.raises(ValueError, match="Photo"):
        metrics.h_mpjpe({"Walk": 24.6})


@pytest.mark.parametrize("metric", [*FRAME_METRICS, metrics.pck, metrics.auc])
def test_different_shapes_are_refused(metric):
    with pytest.raises(ValueError, match="different shapes"):
        metric(np.zeros((4, 17, 3)), np.zeros((5, 17, 3)))
    with pytest.raises(ValueError, match="expected"):
        metric(np.zeros((4, 17, 2)), np.zeros((4, 17, 2)))


def test_nan_and_unknown_skeletons_are_refused():
    pred, gt = poses(0)
    pred[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match="1 poses hold NaN"):
        metrics.p_mpjpe(pred, gt)
    with pytest.raises(ValueError, match="NaN"):
        metrics.pck(pred, gt)
    assert np.isnan(metrics.mpjpe(pred, gt)).sum() == 1
    with pytest.raises(ValueError, match="mpi_inf_3dhp"):
        metrics.pck(gt, gt, skeleton="coco17")
    with pytest.raises(ValueError, match="too few"):
        metrics.acceleration_error(gt[:2], gt[:2])


def test_metrics_import_nothing_but_numpy():
    code = "import sys, langpose.metrics; print(sorted({'torch', 'pandas', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
