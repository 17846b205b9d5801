"""Which frames make a clip: the reference's cutting, faults included, and an exact one that leaves no frame out.

All functions return frame indices (N, T) int64 into the frames given, every row from a single video.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def split_clips(
    video_ids: Sequence[str] | np.ndarray, n_frames: int, stride: int, seed: int | np.random.RandomState = 0
) -> np.ndarray:
    """MotionBERT's ``split_clips``: (F,) ids of consecutive frames -> (N, n_frames) indices.

    Windows start every ``stride`` frames of a video. A video that gives none (shorter than ``n_frames``, id not seen
    before) is stretched to ``n_frames`` by `stretch_randomly`. Three quirks of the reference that published numbers
    depend on are kept: frames after a video's last full window are dropped, in the test too; the last video of the list
    is dropped when it is short; and stretching draws from numpy's legacy generator, here never the global one: ``seed``
    or a generator that goes on from an earlier call. Source: MotionBERT dccfe7b, lib/utils/utils_data.py.
    """
    ids = np.asarray(video_ids)
    _require(n_frames, stride)
    random = seed if isinstance(seed, np.random.RandomState) else np.random.RandomState(seed)
    if len(ids) == 0:
        return np.empty((0, n_frames), np.int64)
    bounds = np.concatenate([[0], np.flatnonzero(ids[1:] != ids[:-1]) + 1, [len(ids)]]).tolist()
    clips, served = [np.empty((0, n_frames), np.int64)], set()
    for start, stop in pairwise(bounds):
        name, length = ids[start], stop - start
        if length >= n_frames:
            clips.append(_windows(start, np.arange(0, length - n_frames + 1, stride), n_frames))
            served.add(name)
        elif name not in served and stop < len(ids):
            clips.append(start + stretch_randomly(length, n_frames, random)[None])
            served.add(name)
    return np.concatenate(clips)


def stretch_randomly(length: int, n_frames: int, random: np.random.RandomState) -> np.ndarray:
    """(n_frames,) indices that stretch ``length`` frames: evenly spaced, each rounded up or down by a coin.

    Source: MotionBERT ``resample`` for videos shorter than a clip.
    """
    even = np.linspace(0, length, num=n_frames, endpoint=False)
    down = random.randint(2, size=even.shape).astype(bool)
    return np.clip(np.sort(np.where(down, np.floor(even), np.ceil(even))), 0, length - 1).astype(np.int64)


def tail_stretched_windows(lengths: Sequence[int], n_frames: int, stride: int) -> np.ndarray:
    """MotionAGFormer's training windows of MPI-INF-3DHP: from every ``stride``-th frame of a video, up to its end.

    Windows that would pass the end take the frames that are left, stretched to ``n_frames`` (floor of an even spacing):
    QUIRK, the last ones repeat a few frames many times. Source: MotionAGFormer 4756fd1, MPI3DHP reader.
    """
    _require(n_frames, stride)
    clips, offset = [np.empty((0, n_frames), np.int64)], 0
    for length in lengths:
        starts = np.arange(0, length, stride)
        full = starts[starts + n_frames <= length]
        clips.append(_windows(offset, full, n_frames))
        for start in starts[len(full) :].tolist():
            clips.append(
                offset + start + np.linspace(0, length - start, n_frames, endpoint=False).astype(np.int64)[None]
            )
        offset += length
    return np.concatenate(clips)


def covering_windows(lengths: Sequence[int], n_frames: int, stride: int) -> np.ndarray:
    """Windows every ``stride`` frames and, where frames are left, one more aligned with the video's end.

    With ``stride <= n_frames`` every frame is in a window. A video shorter than a window is extended by its last frame,
    which keeps the speed of the motion.
    """
    _require(n_frames, stride)
    clips, offset = [np.empty((0, n_frames), np.int64)], 0
    for length in lengths:
        starts = np.arange(0, max(length - n_frames, 0) + 1, stride)
        if length > n_frames and starts[-1] + n_frames < length:
            starts = np.append(starts, length - n_frames)
        clips.append(offset + np.minimum(_windows(0, starts, n_frames), length - 1))
        offset += length
    return np.concatenate(clips)


def centred_windows(lengths: Sequence[int], chosen: np.ndarray, n_frames: int) -> np.ndarray:
    """One window around each chosen frame, edges repeated: ``chosen`` (F,) bool over all videos -> (chosen, n_frames).

    The frame itself is at ``n_frames // 2``. Source: MotionAGFormer's and P-STMO's test of MPI-INF-3DHP.
    """
    _require(n_frames, 1)
    stops = np.cumsum(np.asarray(lengths))
    starts = stops - np.asarray(lengths)
    frames = np.flatnonzero(chosen)
    video = np.searchsorted(starts, frames, side="right") - 1
    first, last = starts[video][:, None], stops[video][:, None] - 1
    return np.clip(frames[:, None] + np.arange(n_frames) - n_frames // 2, first, last)


def _windows(offset: int, starts: np.ndarray, n_frames: int) -> np.ndarray:
    return offset + starts[:, None] + np.arange(n_frames)


def _require(n_frames: int, stride: int) -> None:
    if n_frames < 1 or stride < 1:
        raise ValueError(f"clips of {n_frames} frames every {stride} frames; both must be at least 1")
