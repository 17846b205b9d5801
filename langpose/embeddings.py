"""Global pose embeddings (section 4.3, Fig. 4): retrieval, recognition, and numbers beside the t-SNE picture.

Embeddings are unit vectors (N, D) unless said otherwise; a clip's label is an index into a list of distinct texts.
Retrieval metrics carry TMR's names (``t2m/R01`` … ``m2t/MedR``); clips that share a text are never each other's error.
"""

from collections.abc import Sequence

import numpy as np

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


def retrieval(pose: np.ndarray, text: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Text→motion and motion→text retrieval.

    ``pose`` (N, D), ``text`` (L, D) one row a distinct label, ``label`` (N,) the clip's row of ``text``. A text's rank
    is that of its best clip; a clip's rank is that of its own text. Ties count against us. R@k in %, MedR from 1.
    """
    used = np.unique(label)
    similarity = pose @ text[used].T  # (N, L)
    own = np.searchsorted(used, label)
    positive = own[:, None] == np.arange(len(used))[None]  # (N, L)
    scores = {}
    for name, sim, pos in (("t2m", similarity.T, positive.T), ("m2t", similarity, positive)):
        best = np.where(pos, sim, -np.inf).max(1, keepdims=True)
        rank = 1 + ((sim >= best) & ~pos).sum(1)
        for k in RANKS:
            scores[f"{name}/R{k:02d}"] = float(100 * (rank <= k).mean())
        scores[f"{name}/MedR"] = float(np.median(rank))
    scores["texts"], scores["clips"] = float(len(used)), float(len(pose))
    return scores


def _accuracy(predicted: np.ndarray, truth: np.ndarray, name: str) -> dict[str, float]:
    right = predicted == truth
    per_class = [right[truth == c].mean() for c in np.unique(truth)]
    return {f"{name}/top1": float(100 * right.mean()), f"{name}/balanced": float(100 * np.mean(per_class))}


def zero_shot(pose: np.ndarray, class_text: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Recognition by the nearest class text: ``class_text`` (K, D), ``truth`` (N,) in 0..K-1. Percentages."""
    return _accuracy((pose @ class_text.T).argmax(1), truth, "zero_shot")


def nearest_neighbours(pose: np.ndarray, truth: np.ndarray, group: np.ndarray, k: int = 5) -> dict[str, float]:
    """k-nearest-neighbour recognition, each clip against the clips of other ``group``s (recordings) only.

    Needs no text stream, so every variant can be compared by it. Clips whose class no other group has are left out.
    Features are made unit length first.
    """
    unit = pose / np.maximum(np.linalg.norm(pose, axis=1, keepdims=True), 1e-12)
    classes, index = np.unique(truth, return_inverse=True)
    group = np.unique(group, return_inverse=True)[1]
    shared = np.array([len(np.unique(group[index == c])) > 1 for c in range(len(classes))])[index]
    if not shared.any():
        return {}
    nearest, valid = _nearest(unit, group, k)
    votes = ((index[nearest][..., None] == np.arange(len(classes))) & valid[..., None]).sum(1)
    scores = _accuracy(votes.argmax(1)[shared], index[shared], f"knn{k}")
    chance = np.bincount(index[shared]).max() / shared.sum()
    return {**scores, f"knn{k}/majority": float(100 * chance)}


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
