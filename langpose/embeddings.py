"""Global pose embeddings (section 4.3, Fig. 4): retrieval, recognition, and numbers beside the t-SNE picture.

Embeddings are unit vectors (N, D) unless said otherwise; a clip's label is an index into a list of distinct texts.
Retrieval metrics carry TMR's names (``t2m/R01`` … ``m2t/MedR``); clips that share a text are never each other's error,
and neither are clips whose texts say nearly the same, where it is said which do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

VERBS = ("throw", "pick", "jump", "run", "kick", "wave", "bend", "raise", "walk")
"""The nine verbs that section 4.3 names."""

RANKS = (1, 2, 3, 5, 10)


def verb_of(label: str, categories: Sequence[str], verbs: Sequence[str] = VERBS) -> str | None:
    """The one of ``verbs`` that a clip shows, by its categories, else by its text; None where none or several fit."""
    stems = {verb: verb.removesuffix("e") for verb in verbs}  # so that "raising" shows raise, and "waving" wave
    for words in (" ".join(categories), label):
        found = [verb for verb in verbs if any(word.startswith(stems[verb]) for word in words.lower().split())]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def sentences(encoder: Any, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
    """Sentence embeddings (L, D) of ``texts``, unit length: the mean over a text's tokens of ``encoder``'s last layer.

    ``encoder`` is a `langpose.model.text_encoder.TextEncoder`. Source of the pooling: all-MiniLM-L6-v2's own
    configuration (``1_Pooling/config.json``, ``modules.json``), [CLS] and [SEP] being tokens as any.
    """
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), batch_size):
            ids, mask = encoder.tokenise(texts[start : start + batch_size])
            tokens = encoder.bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, N, D)
            mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            found.append(torch.nn.functional.normalize(mean.float(), dim=-1).cpu().numpy())
    return np.concatenate(found)


def near_duplicates(sentence: np.ndarray, threshold: float = 0.95) -> np.ndarray:
    """Which texts count as the same: unit sentence embeddings (L, D) → (L, L) bool, True on the diagonal.

    Two do where their similarity, (1 + cosine) / 2 in [0, 1], exceeds ``threshold``; 0.95 is a cosine above 0.9.
    Source: TMR (Petrovich et al., ICCV 2023), evaluation protocol (b) of its code: ``configs/retrieval.yaml``,
    ``src/model/metrics.py``. Its encoder is all-mpnet-base-v2, whose cosines differ from another's.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}; expected a similarity above 0 and at most 1")
    same = sentence @ sentence.T > 2 * threshold - 1
    np.fill_diagonal(same, True)
    return same


def retrieval(
    pose: np.ndarray, text: np.ndarray, label: np.ndarray, same: np.ndarray | None = None
) -> dict[str, float]:
    """Text→motion and motion→text retrieval.

    ``pose`` (N, D), ``text`` (L, D) one row a distinct label, ``label`` (N,) the clip's row of ``text``. ``same``
    (L, L) bool says which texts count as one (`near_duplicates`); without it each is itself alone. A text's rank is
    that of its best clip, of those whose text counts as the same; a clip's rank is that of its best text alike. Ties
    count against us. R@k in %, MedR from 1; ``near_duplicates``, with ``same``, is the share (%) of texts that count as
    another's.

    Source: TMR's metrics, but that here a text which several clips share is one query and one candidate, where TMR
    ranks every clip's text, and that TMR gives ties their mean rank.
    """
    used = np.unique(label)
    similarity = pose @ text[used].T  # (N, L)
    alike = np.eye(len(used), dtype=bool)
    if same is not None:
        alike |= same[np.ix_(used, used)]
    positive = alike[np.searchsorted(used, label)]  # (N, L)
    scores = {}
    for name, sim, pos in (("t2m", similarity.T, positive.T), ("m2t", similarity, positive)):
        best = np.where(pos, sim, -np.inf).max(1, keepdims=True)
        rank = 1 + ((sim >= best) & ~pos).sum(1)
        for k in RANKS:
            scores[f"{name}/R{k:02d}"] = float(100 * (rank <= k).mean())
        scores[f"{name}/MedR"] = float(np.median(rank))
    if same is not None:
        scores["near_duplicates"] = float(100 * (alike.sum(1) > 1).mean())
    scores["texts"], scores["clips"] = float(len(used)), float(len(pose))
    return scores


def _accuracy(rank: np.ndarray, truth: np.ndarray, name: str) -> dict[str, float]:
    """Percentages from the rank (N,) of each clip's own class, from 1: of clips, and of classes' means (balanced)."""
    scores = {}
    for k, balanced in ((1, "balanced"), (5, "balanced5")):
        right = rank <= k
        scores[f"{name}/top{k}"] = float(100 * right.mean())
        scores[f"{name}/{balanced}"] = float(100 * np.mean([right[truth == c].mean() for c in np.unique(truth)]))
    return scores


def recognition(scores: np.ndarray, truth: np.ndarray, name: str) -> dict[str, float]:
    """How well ``scores`` (N, K), the higher the likelier, name the class ``truth`` (N,) in 0..K-1. Percentages.

    ``name/top1``, ``name/top5``, and the mean over classes of either: ``name/balanced``, ``name/balanced5``. Ties
    count against us. Of five classes or fewer, top-5 says nothing.
    """
    own = np.take_along_axis(scores, truth[:, None], 1)
    return _accuracy((scores >= own).sum(1), truth, name)


def zero_shot(pose: np.ndarray, class_text: np.ndarray, truth: np.ndarray, name: str = "zero_shot") -> dict[str, float]:
    """Recognition by the nearest class text: ``class_text`` (K, D), ``truth`` (N,) in 0..K-1. See `recognition`."""
    return recognition(pose @ class_text.T, truth, name)


def recognition_of_known(
    scores: np.ndarray, classes: Sequence[str], category: np.ndarray, name: str
) -> dict[str, float]:
    """`recognition` where not every clip's class is one of ``classes`` (K,), the columns of ``scores`` (N, K).

    Scored are the clips (N,) whose ``category`` is among them; ``name/known`` is their share (%), and
    ``name/classes`` is K; these alone where no clip's is.
    """
    place = {c: k for k, c in enumerate(classes)}
    truth = np.array([place.get(str(c), -1) for c in category], dtype=np.int64)
    known = truth >= 0
    share = {f"{name}/known": float(100 * known.mean()), f"{name}/classes": float(len(classes))}
    return recognition(scores[known], truth[known], name) | share if known.any() else share


def trained_classes(pairs: pd.DataFrame) -> list[str]:
    """The classes that pretraining sees, sorted: each training label's first category, as stage `pretrain` has it."""
    first = pairs[pairs["split"] == "train"].groupby("label")["categories"].first()
    return sorted({str(names[0]) for names in first if len(names)})


def nearest_neighbours(
    pose: np.ndarray, truth: np.ndarray, group: np.ndarray, k: int = 5, name: str = ""
) -> dict[str, float]:
    """k-nearest-neighbour recognition, each clip against the clips of other ``group``s (recordings, subjects) only.

    Needs no text stream, so every variant can be compared by it. Classes are ranked by their votes, equal ones by their
    nearest clip; a class without a vote is never right. Clips whose class no other group has are left out: of the rest
    `recognition`'s names, ``name/majority`` (%, always the most frequent class) and ``name/clips``, their number. Empty
    where none is left. ``name`` is knn<k> unless given. Features are made unit length first.
    """
    name = name or f"knn{k}"
    unit = pose / np.maximum(np.linalg.norm(pose, axis=1, keepdims=True), 1e-12)
    classes, index = np.unique(truth, return_inverse=True)
    group = np.unique(group, return_inverse=True)[1]
    shared = np.array([len(np.unique(group[index == c])) > 1 for c in range(len(classes))], dtype=bool)[index]
    if not shared.any():
        return {}
    nearest, exists = _nearest(unit, group, k)
    count, rows = nearest.shape[1], np.arange(len(unit))
    votes = np.zeros((len(unit), len(classes)), dtype=np.int64)
    first = np.full(votes.shape, count)
    for j in reversed(range(count)):  # the nearest last, so that its place stays
        there = exists[:, j]
        votes[rows[there], index[nearest[there, j]]] += 1
        first[rows[there], index[nearest[there, j]]] = j
    order = votes * (count + 1) - first  # no two classes that have votes are equal
    rank = 1 + (order > order[rows, index][:, None]).sum(1)
    rank = np.where(votes[rows, index] > 0, rank, np.iinfo(rank.dtype).max)
    chance = np.bincount(index[shared]).max() / shared.sum()
    return {
        **_accuracy(rank[shared], index[shared], name),
        f"{name}/majority": float(100 * chance),
        f"{name}/clips": float(shared.sum()),
    }


def purity(features: np.ndarray, truth: np.ndarray, group: np.ndarray, k: int = 10) -> float:
    """Mean share (%) of a point's k nearest neighbours that have its class: a t-SNE picture's claim as a number.

    Neighbours are points of other ``group``s (recordings), fewer than k where there are not so many.
    """
    nearest, exists = _nearest(features, np.unique(group, return_inverse=True)[1], k)
    same = (truth[nearest] == truth[:, None]) & exists
    return float(100 * (same.sum(1) / np.maximum(exists.sum(1), 1)).mean())


def _nearest(features: np.ndarray, group: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row's k nearest rows (Euclidean) of other ``group``s, nearest first: (N, k) rows, (N, k) whether it exists.

    A thousand rows at a time: all pairs of a large set would not fit in memory.
    """
    k = min(k, len(features))
    square = (features**2).sum(1)
    rows, exist = [], []
    for start in range(0, len(features), 1024):
        part = slice(start, start + 1024)
        distance = square[part, None] + square[None] - 2 * features[part] @ features.T
        distance[group[part, None] == group[None]] = np.inf
        few = np.sort(np.argpartition(distance, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(distance, few, 1), axis=1, kind="stable")
        rows.append(np.take_along_axis(few, order, 1))
        exist.append(np.isfinite(np.take_along_axis(distance, rows[-1], 1)))
    return np.concatenate(rows), np.concatenate(exist)
