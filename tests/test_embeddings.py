"""Retrieval and recognition against slow, obvious references."""

import numpy as np
import pytest

from langpose.embeddings import nearest_neighbours, purity, retrieval, verb_of, zero_shot


def unit(rng, *shape):
    x = rng.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def slow_ranks(pose, text, label):
    t2m, m2t = [], []
    for t in sorted(set(label)):
        order = sorted(range(len(pose)), key=lambda i: (-(pose[i] @ text[t]), label[i] == t))
        wrong_before = 0
        for i in order:
            if label[i] == t:
                break
            wrong_before += 1
        t2m.append(wrong_before + 1)
    for i in range(len(pose)):
        m2t.append(1 + sum(pose[i] @ text[t] >= pose[i] @ text[label[i]] for t in set(label) if t != label[i]))
    return np.array(t2m), np.array(m2t)


@pytest.mark.parametrize("seed", range(5))
def test_retrieval_equals_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    pose, text, label = unit(rng, 40, 6), unit(rng, 9, 6), rng.integers(0, 9, 40)
    t2m, m2t = slow_ranks(pose, text, label)
    scores = retrieval(pose, text, label)
    for k in (1, 2, 3, 5, 10):
        assert scores[f"t2m/R{k:02d}"] == pytest.approx(100 * (t2m <= k).mean())
        assert scores[f"m2t/R{k:02d}"] == pytest.approx(100 * (m2t <= k).mean())
    assert scores["t2m/MedR"] == np.median(t2m)
    assert scores["m2t/MedR"] == np.median(m2t)


def test_perfect_embeddings_retrieve_everything_and_collapsed_ones_nothing():
    text = np.eye(4)
    label = np.array([0, 0, 1, 2, 3])
    assert retrieval(text[label], text, label)["m2t/R01"] == 100
    collapsed = np.tile(text[:1], (5, 1))
    assert retrieval(collapsed, np.tile(text[:1], (4, 1)), label)["m2t/R01"] == 0


def test_knn_never_uses_clips_of_the_same_recording():
    features = np.array([[1.0, 0], [1, 0.01], [0, 1], [0.01, 1]])
    truth = np.array(["a", "a", "b", "b"])
    same = nearest_neighbours(features, truth, group=np.array([0, 0, 1, 1]), k=1)
    assert same == {}  # no class is shared by two recordings
    other = nearest_neighbours(features, truth, group=np.array([0, 1, 0, 1]), k=1)
    assert other["knn1/top1"] == 100


def test_zero_shot_and_purity():
    classes = np.eye(3)
    truth = np.array([0, 1, 2, 2])
    assert zero_shot(classes[truth], classes, truth)["zero_shot/top1"] == 100
    assert purity(classes[truth], truth, np.arange(4), k=1) == pytest.approx(50)  # classes 0 and 1 have one clip each


def test_purity_counts_no_clip_of_the_same_recording():
    features = np.array([[0.0, 0], [0, 0.1], [5, 5], [5, 5.1]])
    truth, recording = np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "b"])
    assert purity(features, truth, np.arange(4), k=1) == 100
    assert purity(features, truth, recording, k=3) == 0  # all that is left are the two of the other recording


def test_the_verb_of_a_clip_is_one_or_none():
    assert verb_of("walks slowly", ["walk"]) == "walk"
    assert verb_of("kicking while jumping", ["kick", "jump"]) is None
    assert verb_of("transit from walk to run", []) is None
    assert verb_of("drink", ["drink"]) is None
    assert verb_of("raising right arm", ["raising body part"]) == "raise"
    assert verb_of("waving", [""]) == "wave"


def test_neighbours_equal_a_slow_search_over_several_blocks_of_rows():
    rng = np.random.default_rng(0)
    features, truth, group = unit(rng, 1500, 3), rng.integers(5, size=1500), rng.integers(40, size=1500)
    distance = ((features[:, None] - features[None]) ** 2).sum(-1)
    near = np.argsort(np.where(group[:, None] == group[None], np.inf, distance), axis=1)[:, :7]
    assert purity(features, truth, group, k=7) == pytest.approx(100 * (truth[near] == truth[:, None]).mean())
    votes = (truth[near][..., None] == np.arange(5)).sum(1).argmax(1)
    assert nearest_neighbours(features, truth, group, k=7)["knn7/top1"] == pytest.approx(100 * (votes == truth).mean())
