import math
from pathlib import Path

import numpy as np
import pytest
import torch

from langpose import losses

FIXTURE = Path(__file__).parent / "fixtures" / "losses.npz"


def units(rows, width=8, seed=0):
    h = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(h, dim=1)


def slow_focal_kl(h_pose, h_text, y, gamma, temperature):
    """Eq. 1 and 2 word for word."""
    total = 0.0
    for i in range(len(h_pose)):
        e = [math.exp(float(h_pose[i] @ h_text[k]) / temperature) for k in range(len(h_text))]
        for j in range(len(h_text)):
            s, y_ij = e[j] / sum(e), float(y[i, j])
            total += (1 - s) ** gamma * y_ij * math.log(y_ij / s) if y_ij else 0.0
    return total / len(h_pose)


@pytest.mark.parametrize(
    "ours, theirs",
    [(losses.mpjpe_loss, "loss_mpjpe"), (losses.n_mpjpe_loss, "n_mpjpe"), (losses.velocity_loss, "loss_velocity")],
)
def test_pose_losses_equal_motionberts(ours, theirs):
    data = np.load(FIXTURE)
    pred, gt = torch.from_numpy(data["pred"]), torch.from_numpy(data["gt"])
    assert abs(float(ours(pred, gt)) - float(data[theirs])) < 1e-12


def test_motionberts_total_is_the_weighted_sum_of_ours():
    data = np.load(FIXTURE)
    pred, gt = torch.from_numpy(data["pred"]), torch.from_numpy(data["gt"])
    total = losses.reconstruction_loss(pred, gt) + 0.5 * losses.n_mpjpe_loss(pred, gt)
    assert abs(float(total) - float(data["total_mb"])) < 1e-5


@pytest.mark.parametrize("symmetric", [False, True])
def test_focal_kl_without_focus_on_distinct_labels_is_cross_entropy(symmetric):
    h_pose, h_text = units(6, seed=1), units(6, seed=2)
    expected = losses.infonce(h_pose, h_text, 0.1, symmetric)
    found = losses.focal_kl(h_pose, h_text, torch.arange(6), gamma=0.0, temperature=0.1, symmetric=symmetric)
    assert torch.allclose(found, expected, atol=1e-6)


def test_infonce_is_cross_entropy_of_the_diagonal_and_counts_equal_texts_as_negatives():
    h_pose = units(4)
    h_text = units(4, seed=3)
    h_text[1] = h_text[0]
    expected = slow_focal_kl(h_pose, h_text, torch.eye(4), 0.0, 0.2)
    assert abs(float(losses.infonce(h_pose, h_text, 0.2)) - expected) < 1e-5
    assert losses.infonce(h_text[:2], h_text[:2], 0.01) > 0.69  # log 2 stays: one of two equal texts is "wrong"


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_kl_equals_the_equation_written_out(gamma):
    h_pose, h_text, labels = units(5, seed=4), units(5, seed=5), torch.tensor([3, 1, 3, 0, 3])
    y = losses.uniform_targets(labels)
    expected = slow_focal_kl(h_pose, h_text, y, gamma, 0.3)
    assert abs(float(losses.focal_kl(h_pose, h_text, labels, gamma, 0.3)) - expected) < 1e-5
    assert abs(float(losses.focal_kl(h_pose, h_text, None, gamma, 0.3, targets=y)) - expected) < 1e-5


def test_targets_are_uniform_over_equal_labels():
    y = losses.uniform_targets(torch.tensor([7, 7, 2, 7]))
    assert torch.equal(y[2], torch.tensor([0.0, 0, 1, 0]))
    assert torch.allclose(y[0], torch.tensor([1 / 3, 1 / 3, 0, 1 / 3]))


def test_equal_texts_are_no_error_of_focal_kl():
    h = units(2)[[0, 0, 1]]
    labels = torch.tensor([0, 0, 1])
    assert losses.focal_kl(h, h, labels, gamma=0.0, temperature=0.01) < 1e-6


def remembered(rows=9, seed=20):
    labels = torch.tensor([0, 3, 5, 3, 1, 8, 0, 9, 9])[:rows]
    return losses.Pairs(units(rows, seed=seed), units(rows, seed=seed + 1), labels)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_remembered_pairs_are_positives_of_their_label_and_negatives_of_others(gamma):
    h_pose, h_text, labels, memory = units(4, seed=4), units(4, seed=5), torch.tensor([3, 1, 7, 3]), remembered()
    everything = torch.cat([labels, memory.label])
    y = torch.stack([(everything == label) / (everything == label).sum() for label in labels])
    to_text = slow_focal_kl(h_pose, torch.cat([h_text, memory.text]), y, gamma, 0.3)
    to_pose = slow_focal_kl(h_text, torch.cat([h_pose, memory.pose]), y, gamma, 0.3)
    assert torch.allclose(losses.uniform_targets(labels, memory), y)
    assert losses.focal_kl(h_pose, h_text, labels, gamma, 0.3, memory=memory) == pytest.approx(to_text, abs=1e-5)
    both = losses.focal_kl(h_pose, h_text, labels, gamma, 0.3, symmetric=True, memory=memory)
    assert both == pytest.approx((to_text + to_pose) / 2, abs=1e-5)


def test_remembered_pairs_are_all_negatives_of_infonce():
    h_pose, h_text, memory = units(4, seed=4), units(4, seed=5), remembered()
    own = torch.eye(4, 13)
    to_text = slow_focal_kl(h_pose, torch.cat([h_text, memory.text]), own, 0.0, 0.3)
    to_pose = slow_focal_kl(h_text, torch.cat([h_pose, memory.pose]), own, 0.0, 0.3)
    assert losses.infonce(h_pose, h_text, 0.3, memory=memory) == pytest.approx(to_text, abs=1e-5)
    assert losses.infonce(h_pose, h_text, 0.3, True, memory) == pytest.approx((to_text + to_pose) / 2, abs=1e-5)
    assert losses.infonce(h_pose, h_text, 0.3, memory=remembered(0)) == losses.infonce(h_pose, h_text, 0.3)


def test_soft_targets_give_related_texts_a_share_and_no_gradient():
    h_text, labels = units(4, seed=5).requires_grad_(), torch.tensor([3, 1, 7, 3])
    for memory in (None, remembered()):
        hard = losses.uniform_targets(labels, memory)
        assert torch.equal(losses.similarity_targets(h_text, labels, 0.1, 0.0, memory), hard)
        soft = losses.similarity_targets(h_text, labels, 0.1, 0.4, memory)
        assert not soft.requires_grad
        assert torch.allclose(soft.sum(1), torch.ones(4))
        texts = h_text.detach() if memory is None else torch.cat([h_text.detach(), memory.text])
        similar = torch.exp(h_text.detach() @ texts.T / 0.1).float()
        assert torch.allclose(soft, 0.6 * hard + 0.4 * similar / similar.sum(1, keepdim=True), atol=1e-6)
    with pytest.raises(ValueError, match="below 1, found 1"):
        losses.similarity_targets(h_text, labels, 0.1, 1.0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_alignment_losses_do_not_depend_on_batch_order(symmetric):
    h_pose, h_text, labels = units(7, seed=6), units(7, seed=7), torch.tensor([0, 1, 0, 2, 2, 0, 3])
    order = torch.tensor([4, 0, 6, 2, 1, 5, 3])
    memory = remembered()
    for loss in (
        lambda p, w, n: losses.focal_kl(p, w, n, 2.0, 0.1, symmetric),
        lambda p, w, n: losses.infonce(p, w, 0.1, symmetric),
        lambda p, w, n: losses.focal_kl(p, w, n, 2.0, 0.1, symmetric, memory=memory),
        lambda p, w, n: losses.infonce(p, w, 0.1, symmetric, memory),
    ):
        there, here = loss(h_pose[order], h_text[order], labels[order]), loss(h_pose, h_text, labels)
        assert torch.allclose(there, here, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("temperature", [1e-4, 1e-2, 10.0])
@pytest.mark.parametrize("match", [1.0, -1.0])
def test_gradients_are_finite_where_similarity_is_0_or_1(gamma, temperature, match):
    h_text = torch.eye(3)
    h_pose = (match * torch.eye(3)).requires_grad_()
    loss = losses.focal_kl(h_pose, h_text, torch.tensor([0, 1, 1]), gamma, temperature)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(h_pose.grad).all()


def test_wrong_pairs_still_pull_when_similarity_vanishes():
    h_pose = torch.eye(2)[[1, 0]].requires_grad_()
    losses.focal_kl(h_pose, torch.eye(2), torch.arange(2), 2.0, 0.01).backward()
    assert (h_pose.grad.diagonal() < -10).all()  # descending raises the similarity to the own text


def test_focus_lowers_the_weight_of_easy_pairs_more_than_that_of_hard_ones():
    easy, hard = torch.eye(2), torch.eye(2)[[1, 0]]

    def ratio(h_pose):
        args = (h_pose, torch.eye(2), torch.arange(2))
        return losses.focal_kl(*args, 2.0, 0.5) / losses.focal_kl(*args, 0.0, 0.5)

    assert ratio(easy) < 0.05 < 0.7 < ratio(hard)


def test_focal_kl_refuses_ambiguous_or_misshapen_targets():
    h = units(3)
    with pytest.raises(ValueError, match="either labels"):
        losses.focal_kl(h, h, None, 1.0, 0.1)
    with pytest.raises(ValueError, match="either labels"):
        losses.focal_kl(h, h, torch.arange(3), 1.0, 0.1, targets=torch.eye(3))
    with pytest.raises(ValueError, match=r"\(3, 3\), found \(2, 2\)"):
        losses.focal_kl(h, h, torch.arange(2), 1.0, 0.1)
    with pytest.raises(ValueError, match="gamma"):
        losses.focal_kl(h, h, torch.arange(3), -1.0, 0.1)
    with pytest.raises(ValueError, match="temperature"):
        losses.infonce(h, h, 0.0)


def test_pose_losses_are_means_with_finite_gradients_at_a_perfect_prediction():
    gt = torch.randn(2, 5, 17, 3, generator=torch.Generator().manual_seed(0))
    pred = gt.clone().requires_grad_()
    loss = losses.reconstruction_loss(pred, gt) + losses.n_mpjpe_loss(pred, gt)
    loss.backward()
    assert loss < 1e-5
    assert torch.isfinite(pred.grad).all()
    shifted = gt + torch.tensor([3.0, 0, 4.0])
    assert torch.allclose(losses.mpjpe_loss(shifted, gt), torch.tensor(5.0), atol=1e-5)
    assert losses.velocity_loss(shifted, gt) < 1e-5
    with pytest.raises(ValueError, match="one shape"):
        losses.mpjpe_loss(gt[:, :1], gt)


def test_velocity_of_a_single_frame_is_zero_with_a_gradient():
    pred = torch.ones(2, 1, 17, 3, requires_grad=True)
    losses.velocity_loss(pred, torch.zeros(2, 1, 17, 3)).backward()
    assert torch.equal(pred.grad, torch.zeros_like(pred))


def test_n_mpjpe_ignores_a_frames_scale():
    gt = torch.randn(1, 4, 17, 3, generator=torch.Generator().manual_seed(1))
    assert losses.n_mpjpe_loss(gt * torch.tensor([0.5, 2, 3, 7]).view(1, 4, 1, 1), gt) < 1e-5
    zero = torch.zeros_like(gt).requires_grad_()
    losses.n_mpjpe_loss(zero, gt).backward()
    assert torch.isfinite(zero.grad).all()


def test_action_loss_skips_clips_without_an_action():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    classes = torch.tensor([0, -1, 2, -1])
    expected = torch.nn.functional.cross_entropy(logits[[0, 2]], classes[[0, 2]])
    assert torch.allclose(losses.action_loss(logits, classes), expected)
    assert losses.action_loss(logits, torch.full((4,), -1)) == 0
