"""Fixed-length windows of motion for pretraining, cut from memory-mapped views when they are asked for.

Items are in model units, camera frame: x right, y down, depth. The 2D input is an item's first two channels. A unit is
metres × 0.298, MotionBERT's constant, or the paper's: pixels of a virtual camera, normalised. Where a window lies, and
which view it is seen from, is a function of (seed, epoch, item).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from langpose.cameras import VirtualCamera, turned

VIEWS = {"front": "front", "side": "side", "yaw": "front"}
"""View → the stored one that it is taken from. ``yaw`` turns it about the vertical by any angle, drawn."""
_GOLDEN_TURN = 2 * np.pi * (np.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class ClipsConfig:
    """Section `clips`."""

    clip_len: int = 243
    """T, frames a clip (paper 4.1)."""
    conversion: Literal["metres", "pixels"] = "metres"
    """metres: orthographic, × ``scale``, as MotionBERT's code. pixels: perspective through ``camera``, the paper's
    conversion (4.1, with [7]); AMASS has no cameras, so the paper's own are not known."""
    scale: float = 0.298
    """Model units a metre (conversion metres). Not in the paper: MotionBERT's; a person is about half a unit high."""
    center: Literal["clip", "none"] = "clip"
    """clip: the root's mean position over the clip is taken off, as a crop round the person would. Not in the paper;
    MotionBERT keeps the absolute position ("none"), which depends on where the capture volume's origin lies."""
    views: list[str] = field(default_factory=lambda: ["front", "side"])
    """Views to draw from (paper 4.1: side and front). ``yaw`` is one from any side; not in the paper."""
    camera: VirtualCamera = field(default_factory=VirtualCamera)
    """Of conversion pixels, which looks at the clip from each view's side, whatever ``center`` is."""

    def __post_init__(self) -> None:
        if self.clip_len < 2:
            raise ValueError(f"clip_len is {self.clip_len}; expected at least 2 frames")
        if not self.views or not set(self.views) <= set(VIEWS):
            raise ValueError(f"views are {self.views}; expected some of {', '.join(VIEWS)}")

    @property
    def mm_per_unit(self) -> float:
        """Millimetres of a model unit; with conversion pixels at the camera's distance, so nominal."""
        return 1000 / self.scale if self.conversion == "metres" else self.camera.mm_per_unit


class _Windows(torch.utils.data.Dataset[dict[str, Any]]):
    """Windows of the views in ``folder``/views; subclasses say where they lie."""

    def __init__(self, folder: Path, config: ClipsConfig, seed: int) -> None:
        self.config, self.seed, self.epoch = config, seed, 0
        self.sequences = pd.read_parquet(folder / "motions" / "sequences.parquet")
        self.folder = folder
        self.views = self._open()
        stored = int((self.sequences["start"] + self.sequences["frames"]).max())
        if len(self.views[0]) != stored:
            raise ValueError(f"{folder}: views have {len(self.views[0])} frames, sequences.parquet says {stored}")

    def _open(self) -> list[np.ndarray]:
        maps = [np.load(self.folder / "views" / f"{VIEWS[view]}.npy", mmap_mode="r") for view in self.config.views]
        return [np.asarray(view) for view in maps]  # plain arrays over the maps: a memmap's slices cost more

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "views": None}  # a memory map would be pickled with all it maps

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.views = self._open()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _cut(self, row: int, frames: int, start: int, view: int, angle: float) -> np.ndarray:
        """Window [start, start + T) of the sequence of ``frames`` rows at ``row``; edges repeat beyond its ends."""
        length, config = self.config.clip_len, self.config
        if start >= 0 and start + length <= frames:
            motion = np.array(self.views[view][row + start : row + start + length])
        else:
            motion = self.views[view][row + np.clip(np.arange(start, start + length), 0, frames - 1)]
        if config.views[view] == "yaw":
            motion = turned(motion, angle)
        if config.conversion == "pixels":
            return config.camera.image(motion)
        if config.center == "clip":
            flat = motion.reshape(length, -1)  # three columns a joint: numpy is slow on rows of three
            flat -= np.tile(motion[:, 0].mean(0), motion.shape[1])
        motion *= config.scale
        return motion

    def _seen_from(self, rng: np.random.Generator) -> tuple[int, float]:
        """A view and, for ``yaw``, an angle."""
        view = int(rng.integers(len(self.views)))
        return view, float(rng.uniform(0, 2 * np.pi)) if self.config.views[view] == "yaw" else 0.0


class PretrainClips(_Windows):
    """Labelled clips: item → ``motion`` (T, 17, 3) float32, ``label_index`` into `labels`, ``pair``.

    A segment longer than T is seen through a window from a drawn start; a shorter one stands in the middle of its
    window, which shows the recording's neighbouring frames (beyond its ends, the first or last frame again). A
    transition's window is laid across it: it shows the end of A, all of the transition and the start of B, each
    neighbour with at least a quarter of the frames that the transition leaves; where it leaves fewer than two, its
    middle. With ``fixed`` every window is the middle of what its label names and the view goes by the item: for
    embedding and validation.
    """

    def __init__(
        self, folder: Path, config: ClipsConfig, splits: Sequence[str], seed: int = 0, fixed: bool = False
    ) -> None:
        super().__init__(folder, config, seed)
        pairs = pd.read_parquet(folder / "pairs.parquet")
        self.pairs = pairs[pairs["split"].isin(list(splits))].reset_index(drop=True)
        if self.pairs.empty:
            raise ValueError(f"{folder}/pairs.parquet has no pair of {', '.join(splits)}")
        self.fixed = fixed
        place = self.sequences.set_index("sequence").loc[self.pairs["sequence"]]
        self._row, self._frames = place["start"].to_numpy(), place["frames"].to_numpy()
        starts, stops = self.pairs["start"].to_numpy(), self.pairs["stop"].to_numpy()
        core_start, core_stop = self.pairs["core_start"].to_numpy(), self.pairs["core_stop"].to_numpy()
        transition = (self.pairs["kind"] == "transition").to_numpy()
        self._low, self._high = _first_frames(starts, stops, core_start, core_stop, transition, config.clip_len)
        self._middle = core_start + (core_stop - core_start - config.clip_len) // 2
        self.labels: list[str] = sorted(self.pairs["label"].unique())
        index = {label: i for i, label in enumerate(self.labels)}
        self._pair = self.pairs["pair"].to_numpy()
        self.label_index = self.pairs["label"].map(index).to_numpy(dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, item: int) -> dict[str, Any]:
        low, high = int(self._low[item]), int(self._high[item])
        if self.fixed:
            start, view, angle = int(self._middle[item]), item % len(self.views), item * _GOLDEN_TURN
        else:
            rng = np.random.default_rng([self.seed, self.epoch, item])
            start = low + (int(rng.integers(high - low + 1)) if high > low else 0)
            view, angle = self._seen_from(rng)
        frames = int(self._frames[item])
        if frames >= self.config.clip_len:  # stay inside the recording where it is long enough
            start = min(max(start, 0), frames - self.config.clip_len)
        motion = self._cut(int(self._row[item]), frames, start, view, angle)
        return {"motion": motion, "label_index": int(self.label_index[item]), "pair": int(self._pair[item])}


def _first_frames(
    start: np.ndarray, stop: np.ndarray, core_start: np.ndarray, core_stop: np.ndarray, transition: np.ndarray, T: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest first frame of a pair's windows of ``T`` frames, both (pairs,), by `PretrainClips`'s rule."""
    slack = stop - start - T
    low = np.where(slack > 0, start, start + slack // 2)
    high = np.where(slack > 0, stop - T, low)
    spare = T - (core_stop - core_start)
    margin = np.maximum(1, spare // 4)
    across = transition & (slack > 0) & (spare >= 2)
    low = np.where(across, np.maximum(low, core_stop + margin - T), low)
    high = np.where(across, np.minimum(high, core_start - margin), high)
    middle = core_start + (core_stop - core_start - T) // 2
    narrow = (transition & (slack > 0) & (spare < 2)) | (low > high)  # too long to lie across, or at the pair's edge
    return np.where(narrow, middle, low), np.where(narrow, middle, high)


class MotionClips(_Windows):
    """Clips without labels, for `base`: windows every ``stride`` frames of all sequences of ``splits``.

    Each is seen from a drawn view. A sequence shorter than T gives one clip, its edges repeated.
    """

    def __init__(self, folder: Path, config: ClipsConfig, splits: Sequence[str], stride: int, seed: int = 0) -> None:
        super().__init__(folder, config, seed)
        if stride < 1:
            raise ValueError(f"stride is {stride}; expected at least 1 frame")
        chosen = self.sequences[self.sequences["split"].isin(list(splits))]
        if chosen.empty:
            raise ValueError(f"{folder}/motions has no sequence of {', '.join(splits)}")
        windows = []
        for row, frames in zip(chosen["start"], chosen["frames"], strict=True):
            last = frames - config.clip_len
            starts = range(0, last + 1, stride) if last >= 0 else [last // 2]
            windows += [(row, frames, start) for start in starts]
        self._windows = np.array(windows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, item: int) -> dict[str, Any]:
        row, frames, start = (int(value) for value in self._windows[item])
        view, angle = self._seen_from(np.random.default_rng([self.seed, self.epoch, item]))
        return {"motion": self._cut(row, frames, start, view, angle), "label_index": -1}
