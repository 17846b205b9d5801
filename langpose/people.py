"""Who is who in detections: tracks, linked from frame to frame where the file names none, cut and filled at gaps.

A track's frames keep their numbers. Gaps of a few frames are filled by straight lines and marked; longer ones split the
track into stretches, which are lifted apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from langpose import spool
from langpose.keypoint_files import NOBODY, Detections

NEAR = 0.5
"""A detection continues a track whose joints lie, on average, within this share of the body's size. Ours."""


@dataclass(frozen=True)
class Track:
    """One person's F frames, in order, no frame twice."""

    person: int
    frames: np.ndarray
    """(F,) int64, as the file counts."""
    keypoints: np.ndarray
    """(F, J, 3) x, y in pixels, confidence; 0 where a joint is not seen."""
    filled: np.ndarray
    """(F,) bool: not in the file, a straight line between its neighbours; or there, with no joint that was seen."""
    starts: tuple[int, ...]
    """Rows at which a stretch without longer gaps begins; the first is 0."""
    step: int = 1
    """Frame numbers from one row to the next within a stretch."""

    @property
    def lengths(self) -> list[int]:
        """Rows of each stretch."""
        return [rows.stop - rows.start for rows in stretches(self.starts, len(self.frames))]


def stretches(starts: Sequence[int], length: int) -> list[slice]:
    """The rows of each stretch, of ``length`` rows in all."""
    return [slice(start, end) for start, end in pairwise([*starts, length])]


def tracks(found: Detections, max_gap: int = 10) -> list[Track]:
    """Each person's track, in the order of their numbers; people without one are linked by where they are.

    ``max_gap``: missing frames that are still filled. Raises ``ValueError`` for a negative one.
    """
    if max_gap < 0:
        raise ValueError(f"max_gap is {max_gap}; expected 0 frames or more")
    persons = found.persons.copy()
    unnamed = persons == NOBODY
    if unnamed.any():
        first = int(persons.max()) + 1 if not unnamed.all() else 0
        rows = np.flatnonzero(unnamed)
        persons[unnamed] = first + linked(found.frames[unnamed], spool.take(found.keypoints, rows), max_gap)
    step = step_of(found.frames, max_gap)
    result = []
    for person in np.unique(persons):
        rows = np.flatnonzero(persons == person)
        rows = rows[np.argsort(found.frames[rows], kind="stable")]
        result.append(_track(int(person), found, rows, max_gap, step))
    return result


def step_of(frames: np.ndarray, max_gap: int) -> int:
    """Frame numbers from one frame that was looked at to the next, in all of a file: every second one, say."""
    steps, counts = np.unique(np.diff(np.unique(frames)), return_counts=True)
    if not len(steps):
        return 1
    step = int(steps[counts.argmax()])
    return 1 if np.any(steps[steps <= (max_gap + 1) * step] % step) else step


def _track(person: int, found: Detections, rows: np.ndarray, max_gap: int, step: int) -> Track:
    """The track of the detections ``rows``, which are in the order of their frames."""
    numbers = found.frames[rows]
    ends = np.flatnonzero(np.diff(numbers) > (max_gap + 1) * step) + 1
    every = [np.arange(part[0], part[-1] + 1, step) for part in np.split(numbers, ends)]
    frames, starts = np.concatenate(every), np.cumsum([0, *map(len, every)])[:-1]
    at = np.searchsorted(frames, numbers)  # where the detections belong
    keypoints, filled = spool.zeros((len(frames), *found.keypoints.shape[1:]), np.float64), np.ones(len(frames), bool)
    for part in spool.pieces(len(rows)):
        few = found.keypoints[rows[part]]
        keypoints[at[part]] = few
        filled[at[part]] = ~(few[..., 2] > 0).any(1)
    for rows_given in np.split(at, ends):
        fill(keypoints, rows_given)
    return Track(person, frames, keypoints, filled, tuple(starts.tolist()), step)


def fill(keypoints: np.ndarray, rows: np.ndarray) -> None:
    """Between the ``rows`` of (F, J, 3), which are given: straight lines, of joints that are seen at both ends.

    A filled joint is as sure as the less sure of its ends.
    """
    for gap in np.flatnonzero(np.diff(rows) > 1):
        before, after = int(rows[gap]), int(rows[gap + 1])
        a, b = keypoints[before], keypoints[after]
        t = np.arange(1, after - before)[:, None, None] / (after - before)
        line = a + (b - a) * t
        line[..., 2] = np.minimum(a[:, 2], b[:, 2])
        keypoints[before + 1 : after] = np.where(line[..., 2:] > 0, line, 0)


def linked(frames: np.ndarray, keypoints: np.ndarray, max_gap: int) -> np.ndarray:
    """(N,) track numbers from 0, by first appearance, of detections (N, J, 3) in ``frames`` (N,).

    Frame by frame the nearest pairs of track and detection are joined first, within `NEAR` of the body's size.
    """
    numbers = np.full(len(frames), -1, np.int64)
    order = np.argsort(frames, kind="stable")
    of_frame = np.split(order, np.flatnonzero(np.diff(frames[order])) + 1)
    steps = np.diff([int(frames[rows[0]]) for rows in of_frame])
    reach = (max_gap + 1) * (int(steps.min()) if len(steps) else 1)
    last: dict[int, int] = {}  # track → row of its last detection, of tracks that may go on
    begun = 0
    for rows in of_frame:
        frame = frames[rows[0]]
        last = {track: row for track, row in last.items() if frame - frames[row] <= reach}
        distance = _apart(keypoints[list(last.values())], keypoints[rows])
        near = np.argwhere(distance < NEAR)
        near = near[np.argsort(distance[tuple(near.T)], kind="stable")]
        names = list(last)
        pairs = [(names[before], int(rows[after])) for before, after in near]
        taken: set[int] = set()
        for track, row in pairs:
            if track not in taken and numbers[row] < 0:
                taken.add(track)
                numbers[row] = track
                last[track] = row
        for row in rows[numbers[rows] < 0]:
            numbers[row] = begun
            last[begun] = int(row)
            begun += 1
    return numbers


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, J, 3), (B, J, 3) → (A, B): mean distance of the joints that both see, as a share of the larger one's size.

    Infinite where there are none.
    """
    both = (a[:, None, :, 2] > 0) & (b[None, :, :, 2] > 0)
    far = np.linalg.norm(a[:, None, :, :2] - b[None, :, :, :2], axis=-1)
    size = np.maximum(extent(a)[:, None], extent(b)[None]) if len(a) else np.ones((0, len(b)))
    mean = (far * both).sum(-1) / np.maximum(both.sum(-1), 1) / np.maximum(size, 1e-9)
    return np.where(both.any(-1) & (size > 0), mean, np.inf)


def extent(keypoints: np.ndarray) -> np.ndarray:
    """(F, J, 3) → (F,): the longer side of the box round the joints that are seen; 0 where fewer than two are."""
    sizes = np.empty(len(keypoints))
    for part in spool.pieces(len(keypoints)):
        few = keypoints[part]
        seen = few[..., 2:] > 0
        high = np.where(seen, few[..., :2], -np.inf).max(1)
        low = np.where(seen, few[..., :2], np.inf).min(1)
        sizes[part] = np.where(seen.sum((1, 2)) > 1, (high - low).max(-1), 0.0)
    return sizes


def chosen(people: Sequence[Track], which: str) -> list[Track]:
    """``which`` of the people: ``all``, ``largest`` (on average in the image), ``longest``, or a number.

    Raises ``ValueError``, with those that are there, for another.
    """
    if which == "all":
        return list(people)
    if which == "longest":
        return [max(people, key=lambda track: int((~track.filled).sum()))]
    if which == "largest":
        return [max(people, key=lambda track: float(np.median(extent(track.keypoints))))]
    found = [track for track in people if str(track.person) == which]
    if not found:
        there = ", ".join(str(track.person) for track in people[:20])
        raise ValueError(f"no person '{which}'; there are {there}. Or: all, largest, longest")
    return found
