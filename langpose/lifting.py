"""2D keypoints of anyone → 3D joints: a trained model, with its normalisation undone (design: inference).

    lifter = Lifter(LangPose.from_pretrained("models/cmu"))
    poses = lifter(keypoints, skeleton="coco17")        # (T, J, 2 or 3) pixels, confidence
    poses.joints                                        # (T, 17, 3) in poses.unit, relative to the root

A model sees clips of T frames. Longer input is cut into windows that overlap by half, and a frame's pose is the mean of
its windows' poses, weighted by sin² (0 at a window's ends): poses change no faster at a join than elsewhere. Shorter
input repeats its last frame. Windows of several people go through the model together. Where both are known, motion is
brought to the frames a second that the model was trained on, by straight lines, and its poses back: to a model of 50 Hz
10 frames a second look five times as fast (on profile cmu's test recordings, P1 at 25, 10 and 2 frames a second: 65.3,
77.2 and 121.5 mm as they are, 64.4, 64.4 and 65.6 so; 64.4 at 50).

Frames: the camera's, x right, y down, z away from it. Units: a model fine-tuned on Human3.6M predicts in image units,
depth too: pixels of the input image at the root's distance (what MotionBERT calls the 2.5D factor is the mm a pixel
there, which one image cannot tell). One fine-tuned on MPI-INF-3DHP predicts millimetres of an average body. Given the
person's height, both become metres.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track as progress_bar

from langpose import spool
from langpose.devices import pick_device
from langpose.evaluation import predict
from langpose.joint_maps import Skeleton, named
from langpose.keypoint_files import Detections, check_size
from langpose.lifting_sets import MPI_MM_PER_UNIT
from langpose.people import Track, extent, stretches, tracks
from langpose.skeleton import JOINTS
from langpose.windows import covering_windows

Framing = Literal["person", "image"]
RATE = "frames a second"
"""A model card's fact: of the motion that it was trained on."""
SAME_RATE = 0.05
"""Rates that differ by less count as the same."""
SLOWEST = 50
"""Most frames of the model from one row of the input to the next."""
PERSON_SIZE = "person size"
"""A model card's fact: as `PERSON`, of its own training images."""

PERSON: dict[str, float] = {"human36m": 0.7, "mpi_inf_3dhp": 0.7, "": 0.46}
"""A standing person's size (the longer side of the box round the joints) in model units, by what a model was
fine-tuned on; "": pretrained alone. Measured on profile cmu: 0.65 in the middle of its 288 fine-tuning recordings
(0.39 to 0.86), 0.46 of its pretraining motion (0.42 to 0.51); Human3.6M's cameras, 4.5 m away, give 0.79."""
STANDING = 90
"""The percentile of a stretch's sizes that counts as its person's: people bend and crouch, none grows."""
TORSOS, SHOULDERS = 3.3, 5.0
"""A standing person's size in lengths of the torso (pelvis to thorax), in widths of the shoulders (Winter, as below):
where legs are not seen, the box round the rest says little."""
SAMPLED = 10_000
"""Frames of a stretch, evenly spread, that say how large its person is and where: all, up to so many."""
SELDOM = 0.1
"""Legs that are seen in fewer of the frames count as not seen."""
FEET = 0.039
"""Height of the ankles above the floor, of the body's height (Winter, Biomechanics, fig. 4.1)."""


@dataclass(frozen=True)
class Poses:
    """F poses of one person."""

    joints: np.ndarray
    """(F, 17, 3) float32, Human3.6M-17, relative to the root: x right, y down, z away from the camera."""
    frames: np.ndarray
    """(F,) int64 frame numbers, as the input counts."""
    unit: Literal["px", "mm", "m"]
    keypoints: np.ndarray
    """(F, 17, 3) float32: the 2D that was lifted, in pixels, with confidence."""
    filled: np.ndarray
    """(F,) bool: the frame had no detection; its 2D was interpolated."""
    starts: tuple[int, ...] = (0,)
    """Rows at which a stretch begins; between stretches frames are missing."""
    person: int = 0
    step: int = 1
    """Frame numbers from a row to the next."""

    def stretches(self) -> list[np.ndarray]:
        """The joints of each stretch."""
        return [self.joints[rows] for rows in stretches(self.starts, len(self.joints))]

    def in_metres(self, height_m: float) -> "Poses":
        """Scaled so that the body is ``height_m`` high, by the median lengths of its bones. Raises ``ValueError``."""
        if not 0.3 <= height_m <= 2.8:
            raise ValueError(f"a body height of {height_m:g} m; expected metres, 0.3 to 2.8")
        size = stature(self.joints, self.keypoints[..., 2] > 0)
        joints = spool.zeros(self.joints.shape)
        np.multiply(self.joints, height_m / size, out=joints)
        return replace(self, joints=joints, unit="m")


def stature(joints: np.ndarray, seen: np.ndarray | None = None) -> float:
    """Height of a body (F, 17, 3) when it stands: spine, neck, head and legs, by the medians of their lengths.

    ``seen`` (F, 17): bones are measured where both their ends were; a model makes nothing of others. Raises
    ``ValueError`` where a bone never was (of legs: both sides').
    """

    def bone(*sides: tuple[int, int]) -> float:
        lengths = [np.linalg.norm(joints[:, a] - joints[:, b], axis=-1) for a, b in sides]
        if seen is not None:
            lengths = [length[seen[:, a] & seen[:, b]] for length, (a, b) in zip(lengths, sides, strict=True)]
        known = [float(np.median(length)) for length in lengths if len(length)]
        if not known:
            names = " to ".join(JOINTS[joint].replace("right_", "") for joint in sides[0])
            raise ValueError(f"the body's height takes all of its bones, and {names} was never seen")
        return float(np.mean(known))

    upper = bone((0, 7)) + bone((7, 8)) + bone((8, 9)) + bone((9, 10))
    height = (upper + bone((1, 2), (4, 5)) + bone((2, 3), (5, 6))) / (1 - FEET)
    if not height > 0:
        raise ValueError("the lifted body has no size")
    return height


def rate_of(model: Any) -> float | None:
    """Frames a second of the motion that a model was trained on, where its card says so."""
    told = getattr(model, "provenance", {}).get("facts", {}).get(RATE)
    return None if told is None else float(told)


def same_rate(rate_hz: float, known_hz: float) -> bool:
    """Whether motion at one rate passes for motion at the other."""
    return abs(rate_hz / known_hz - 1) < SAME_RATE


class Lifter:
    """A model that lifts keypoints. ``model`` is a `LangPose`, or anything with such a ``config`` and ``pose_encoder``.

    ``flip``: average with the mirrored clip, at twice the time. ``framing``: "person" moves and scales each stretch so
    that the person is as large in the middle of the image as in training; "image" divides by the image's width alone,
    as the data sets do, for cameras like theirs. ``max_gap``: missing frames that are filled.
    """

    def __init__(
        self, model: Any, device: str = "auto", flip: bool = True, framing: Framing = "person", batch_size: int = 64,
        max_gap: int = 10,
    ) -> None:  # fmt: skip
        if framing not in ("person", "image"):
            raise ValueError(f"unknown framing {framing!r}; expected 'person' or 'image'")
        try:
            self.device = pick_device(device)
            self.encoder = model.pose_encoder.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:  # torch's, of a device that it does not know or have
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"device '{device}' cannot be used: {first}") from error
        self.clip_len: int = model.config.pose.maxlen
        facts = getattr(model, "provenance", {}).get("facts", {})
        self.tuned_on = str(facts.get("fine-tuned on", ""))
        if self.tuned_on not in PERSON:
            raise ValueError(f"the model was fine-tuned on '{self.tuned_on}'; known: human36m, mpi_inf_3dhp")
        self.rate_hz = rate_of(model)
        self.person = float(facts.get(PERSON_SIZE, PERSON[self.tuned_on]))
        self.flip, self.framing, self.batch_size, self.max_gap = flip, framing, batch_size, max_gap

    @property
    def unit(self) -> Literal["px", "mm"]:
        """Of the joints, before a body height scales them."""
        return "mm" if self.tuned_on == "mpi_inf_3dhp" else "px"

    def __call__(
        self,
        keypoints: np.ndarray,
        skeleton: str = "h36m17",
        image_size: tuple[int, int] | None = None,
        frames: Sequence[int] | np.ndarray | None = None,
        height_m: float | None = None,
        rate_hz: float | None = None,
    ) -> Poses:
        """Lift one person: ``keypoints`` (T, J, 2) or (T, J, 3), pixels and confidence; NaN or confidence 0: not seen.

        ``frames`` (T,): their numbers, where some are missing. ``rate_hz``: frame numbers a second; None: the model's.
        ``height_m`` makes the result metres. Raises ``ValueError`` for input that cannot be lifted.
        """
        points = np.array(keypoints, np.float64)
        if points.ndim != 3 or points.shape[-1] not in (2, 3) or not len(points):
            raise ValueError(
                f"keypoints of shape {points.shape}; expected (frames, joints, 2 or 3), at least one frame"
            )
        if points.shape[-1] == 2:
            points = np.concatenate([points, np.ones((*points.shape[:2], 1))], -1)
        points = _usable(points)
        numbers = np.arange(len(points)) if frames is None else np.asarray(frames, np.int64)
        if numbers.shape != (len(points),) or len(np.unique(numbers)) < len(numbers):
            raise ValueError(f"{len(numbers)} frame numbers for {len(points)} frames; expected one each, none twice")
        if rate_hz is not None and not rate_hz > 0:
            raise ValueError(f"rate_hz is {rate_hz}; expected frames a second, more than 0")
        persons = np.zeros(len(points), np.int64)
        found = Detections(numbers, persons, points, named(skeleton), "array", image_size, rate_hz)
        poses = self.people(tracks(found, self.max_gap), found)[0]
        return poses if height_m is None else poses.in_metres(height_m)

    def people(self, people: Sequence[Track], found: Detections, progress: bool = False) -> list[Poses]:
        """Lift tracks of ``found`` together. ``progress`` shows a bar on standard error."""
        ends = np.cumsum([len(track.frames) for track in people])
        points = spool.zeros((int(ends[-1]), len(JOINTS), 3))
        two_d = np.split(points, ends[:-1])
        for track, own in zip(people, two_d, strict=True):
            for part in spool.pieces(len(own)):
                own[part] = in_h36m(found.skeleton, track.keypoints[part])
        lengths = [length for track in people for length in track.lengths]
        x, units = self.framed(points, lengths, found.image_size)
        ratio = self.rows_a_frame(found.rate_hz, people[0].step)
        if ratio == 1:
            joints = self._lift(x, lengths, progress)
        else:
            counts = [math.ceil((length - 1) / ratio - 1e-9) + 1 for length in lengths]
            joints = self._lift(at_rate(x, lengths, counts, ratio), counts, progress)
            joints = at_rate(joints, counts, lengths, 1 / ratio, hide=False)
        joints *= units[:, None, None]
        return [
            Poses(lifted, track.frames, self.unit, own, track.filled, track.starts, track.person, track.step)
            for lifted, track, own in zip(np.split(joints, ends[:-1]), people, two_d, strict=True)
        ]

    def rows_a_frame(self, rate_hz: float | None, step: int = 1) -> float:
        """Rows of the input, ``step`` frames of ``rate_hz`` apart, from one frame of the model to the next.

        1 where a rate is not known, or both are the same.
        """
        if rate_hz is None or self.rate_hz is None or same_rate(rate_hz / step, self.rate_hz):
            return 1.0
        return max(rate_hz / step / self.rate_hz, 1 / SLOWEST)

    def framed(
        self, points: np.ndarray, lengths: Sequence[int], image_size: tuple[int, int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Model input of (F, 17, 3) pixels in stretches of ``lengths``, and (F,) the unit that its output has."""
        check_size(image_size)
        x, units = spool.zeros(points.shape), np.empty(len(points), np.float32)
        if self.framing == "image" and image_size is None:
            raise ValueError("framing 'image' needs the image's size; give it, or use framing 'person'")
        for start, length in zip(np.cumsum([0, *lengths[:-1]]).tolist(), lengths, strict=True):
            centre, per_unit = self._frame(points[start : start + length], image_size)
            units[start : start + length] = MPI_MM_PER_UNIT if self.tuned_on == "mpi_inf_3dhp" else per_unit
            for part in spool.pieces(length, start):
                few = points[part]
                x[part, :, :2] = (few[..., :2] - centre) / per_unit
                x[part, :, 2] = few[..., 2]
                x[part][few[..., 2] <= 0] = 0  # as masks and drop-outs in training
        return x, units

    def _frame(self, points: np.ndarray, image_size: tuple[int, int] | None) -> tuple[np.ndarray, float]:
        """Which pixel becomes (0, 0), and how many pixels a unit, for one stretch (F, 17, 3)."""
        if self.framing == "image" and image_size is not None:
            return np.array(image_size) / 2, image_size[0] / 2
        points = points[:: -(-len(points) // SAMPLED)]
        seen = points[..., 2] > 0
        if not seen.any():
            return np.zeros(2), 1.0  # nobody is
        where = points[seen][:, :2]
        middle = (np.percentile(where, 5, axis=0) + np.percentile(where, 95, axis=0)) / 2
        sizes = extent(points)
        if seen[:, [2, 3, 5, 6]].any(1).mean() < SELDOM:
            for a, b, times in ((0, 8, TORSOS), (11, 14, SHOULDERS)):
                both = seen[:, a] & seen[:, b]
                if both.any():
                    sizes = np.linalg.norm(points[both, a, :2] - points[both, b, :2], axis=-1) * times
                    middle = np.median(points[both, a, :2], axis=0) if a == 0 else middle
                    break
        if not (sizes > 0).any():
            return middle, 1.0
        return middle, float(np.percentile(sizes[sizes > 0], STANDING)) / self.person

    def _lift(self, x: np.ndarray, lengths: Sequence[int], progress: bool) -> np.ndarray:
        """(F, 17, 3) input → output of the same shape, root-relative, windows blended; a batch at a time."""
        windows = covering_windows(lengths, self.clip_len, max(1, self.clip_len // 2))
        inside = np.sin(np.pi * (np.arange(self.clip_len) + 0.5) / self.clip_len).astype(np.float32) ** 2
        total, weight = spool.zeros(x.shape), np.zeros(len(x), np.float32)
        starts: Any = range(0, len(windows), self.batch_size)
        if progress:
            console = Console(stderr=True)
            starts = progress_bar(starts, "lifting", console=console, transient=True, disable=not console.is_terminal)
        for start in starts:
            rows = windows[start : start + self.batch_size]
            out = predict(self.encoder, x[rows], self.batch_size, self.flip, self.device)
            out -= out[:, :, :1]
            np.add.at(total, rows.reshape(-1), (out * inside[:, None, None]).reshape(-1, *x.shape[1:]))
            np.add.at(weight, rows.reshape(-1), np.tile(inside, len(rows)))
        total /= weight[:, None, None]
        return total

    def causal(self, people: Sequence[Track], found: Detections) -> tuple[list[Poses], list[float]]:
        """Lift tracks frame by frame, as `Stream` would have, and the seconds that each frame took.

        Filled frames are hidden: they were made of later ones.
        """
        result, seconds = [], []
        for track in people:
            rate_hz = None if found.rate_hz is None else found.rate_hz / track.step
            two_d = in_h36m(found.skeleton, track.keypoints)
            two_d[track.filled] = 0
            joints = np.empty_like(two_d)
            for rows in stretches(track.starts, len(two_d)):
                stream = self.stream("h36m17", found.image_size, rate_hz)
                for row in range(rows.start, rows.stop):
                    began = time.perf_counter()
                    joints[row] = stream.push(two_d[row])
                    seconds.append(time.perf_counter() - began)
            result.append(
                Poses(joints, track.frames, self.unit, two_d, track.filled, track.starts, track.person, track.step)
            )
        return result, seconds

    def hidden(self, track: Track, frames: Sequence[int] | None, rate_hz: float | None = None) -> Track:
        """A track whose frames A to B (none: its filled ones alone) are hidden, for the model to complete.

        ``rate_hz``: frame numbers a second. Raises ``ValueError`` where they are not in it, or leave a clip too little
        to see.
        """
        hide = track.filled.copy()
        if frames is not None:
            first, last = frames
            hide |= (track.frames >= first) & (track.frames <= last)
            if first > last or not ((track.frames >= first) & (track.frames <= last)).any():
                raise ValueError(
                    f"frames {first} to {last} to hide; person {track.person} has {track.frames[0]} to "
                    f"{track.frames[-1]}"
                )
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], hide.astype(int), [0]]))))[::2]
        longest = math.floor(self.clip_len // 2 * self.rows_a_frame(rate_hz, track.step))
        if len(runs) and runs.max() > longest:
            raise ValueError(
                f"{runs.max()} frames in a row are hidden; the model sees {self.clip_len} of its own at a time, and "
                f"can fill at most {longest} of these"
            )
        keypoints = track.keypoints.copy()
        keypoints[hide] = 0
        return replace(track, keypoints=keypoints, filled=hide)

    def stream(
        self, skeleton: str = "h36m17", image_size: tuple[int, int] | None = None, rate_hz: float | None = None
    ) -> "Stream":
        """Lift frames as they come, ``rate_hz`` a second (None: the model's); see `Stream`."""
        return Stream(self, skeleton, image_size, self.rows_a_frame(rate_hz))


def at_rate(
    x: np.ndarray, lengths: Sequence[int], counts: Sequence[int], ratio: float, hide: bool = True
) -> np.ndarray:
    """Rows of stretches of ``lengths``, looked at ``ratio`` rows apart: (F, 17, 3) → (sum of ``counts``, 17, 3).

    ``hide``: x is input, and a joint that one of two rows does not see is, between them, as in the nearer one.
    """
    result = spool.zeros((sum(counts), *x.shape[1:]))
    starts, firsts = (np.cumsum([0, *numbers]).tolist() for numbers in (lengths, counts))
    for start, length, first, count in zip(starts, lengths, firsts, counts, strict=False):
        stretch = x[start : start + length]
        for part in spool.pieces(count):
            places = np.arange(part.start, part.stop) * ratio
            result[first + part.start : first + part.stop] = between(stretch, places, hide)
    return result


def between(rows: np.ndarray, places: np.ndarray, hide: bool) -> np.ndarray:
    """Rows (F, 17, 3) at ``places`` from 0 to F - 1, cut there, by straight lines; ``hide`` as in `at_rate`."""
    places = np.round(places, 6).clip(0, len(rows) - 1)
    before = places.astype(np.int64)
    share = (places - before).astype(np.float32)[:, None, None]
    a, b = rows[before], rows[np.minimum(before + 1, len(rows) - 1)]
    line = a + (b - a) * share
    if not hide:
        return line
    both = (a[..., 2:] > 0) & (b[..., 2:] > 0)
    return np.where(both, line, np.where(share > 0.5, b, a))


def in_h36m(skeleton: Skeleton, keypoints: np.ndarray) -> np.ndarray:
    """(F, J, 3) in a detector's order → (F, 17, 3) float32; joints that were not seen are 0."""
    points = skeleton.to_h36m(keypoints).astype(np.float32)
    points[points[..., 2] <= 0] = 0
    return points


def _usable(points: np.ndarray) -> np.ndarray:
    """Keypoints (..., 3) with confidences from 0 to 1, and 0 for what is no number."""
    points = np.where(np.isfinite(points).all(-1, keepdims=True), points, 0)
    points[..., 2] = points[..., 2].clip(0, 1)
    return points


class Stream:
    """Causal lifting of one person: a frame's pose comes from the T frames up to it, as soon as it is there.

    Nothing waits for later frames: the delay is the time of one window. Where fewer than T frames have come, the first
    is repeated before them. The person's size is that of the frames remembered, 10 T at most. ``ratio``: frames of the
    input from one of the model to the next.
    """

    REMEMBERED = 10

    def __init__(self, lifter: Lifter, skeleton: str, image_size: tuple[int, int] | None, ratio: float = 1.0) -> None:
        self.lifter, self.skeleton, self.image_size = lifter, named(skeleton), image_size
        self.ratio, self.most = ratio, math.ceil(self.REMEMBERED * lifter.clip_len * max(1.0, ratio))
        self.past = np.empty((0, 17, 3), np.float32)

    def push(self, keypoints: np.ndarray) -> np.ndarray:
        """(J, 3) pixels and confidence of the next frame → (17, 3), in the lifter's unit. Raises ``ValueError``."""
        points = np.array(keypoints, np.float64)
        if points.shape != (self.skeleton.number, 3):
            raise ValueError(f"keypoints of shape {points.shape}; expected ({self.skeleton.number}, 3)")
        points = _usable(points)
        now = in_h36m(self.skeleton, points[None])
        self.past = np.concatenate([self.past, now])[-self.most :]
        x, units = self.lifter.framed(self.past, [len(self.past)], self.image_size)
        before = np.arange(self.lifter.clip_len)[::-1] * self.ratio
        x = between(x, len(x) - 1 - before, hide=True)
        out = predict(self.lifter.encoder, x[None], 1, self.lifter.flip, self.lifter.device)[0, -1]
        return (out - out[:1]) * units[-1]
