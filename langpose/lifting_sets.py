"""The two lifting data sets as memory-mapped arrays, and the clips that fine-tuning trains on.

`convert_human36m` and `convert_mpi_inf_3dhp` read other people's files once and write, for each of train, val and test:

- ``joints_2d.npy`` (F, 17, 3) float32: x, y normalised to [-1, 1] by the image width, confidence. Detections in
  Human3.6M, ground truth in MPI-INF-3DHP.
- ``target.npy`` (F, 17, 3) float32, the 3D joints in the model's units. Human3.6M: ``joint3d_image`` normalised, where
  it is in the image (so x, y are the ground-truth 2D). MPI-INF-3DHP: mm / 1024, relative to the root.
- Human3.6M val and test: ``joints_mm.npy`` (F, 17, 3) relative to the root, ``factor_mm_px.npy`` (F,).
- MPI-INF-3DHP: ``valid.npy`` (F,) bool.
- ``sequences.parquet`` (`SEQUENCE_COLUMNS`), one row a sequence and camera; ``meta.json`` beside the folders.

Everything is in Human3.6M-17 order. Val is held out of train by subject; the files hold no validation set of their own.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
import torch

from langpose.skeleton import H36M_FROM_MPI, flip
from langpose.sources import human36m, mpi_inf_3dhp
from langpose.sources.lifting_checks import blocks
from langpose.storage import replacing_folder, sha256
from langpose.windows import covering_windows, split_clips, tail_stretched_windows

__all__ = [
    "LiftingClips", "LiftingSplit", "clip_frames", "convert_human36m", "convert_mpi_inf_3dhp", "model_inputs",
    "open_split", "split_clips",
]  # fmt: skip

Protocol = Literal["reference", "exact"]

SEQUENCE_COLUMNS = ["sequence", "subject", "camera", "action", "start", "frames", "width", "height", "rate_hz"]

MPI_MM_PER_UNIT = 1024.0
"""MotionAGFormer's targets: mm / w * 2 with every training image 2048 wide."""

NOMINAL_MM_PER_PX = 4.0
"""Human3.6M's train half lacks ``2.5d_factor``. A validation split made of it is scored with this one factor (published
values run from 2.1 to 4.5), against ``joint3d_image`` times the same factor: good for choosing, not a result in mm."""


def convert_human36m(
    pickle: str | os.PathLike[str], folder: str | os.PathLike[str], validation_subjects: Sequence[int] = ()
) -> None:
    """MotionBERT's pickle -> ``folder``/{train,val,test}, checked by `sources.human36m.read`.

    It is read as a mapped file and written a block of frames at a time: memory is needed for its texts alone.
    Source of the normalisation: MotionBERT's reader, xy / w * 2 - [1, h / w], z / w * 2.
    """
    path = Path(pickle)
    path = path / human36m.FILE_NAME if path.is_dir() else path
    data = human36m.read(path)
    tables = {part.split: part.sequences().assign(rate_hz=human36m.RATE_HZ) for part in (data.train, data.test)}
    # The train half has no action names: act_05 is called what the test half calls it.
    names = dict(zip(tables["test"]["act"], tables["test"]["action"], strict=True))
    for table in tables.values():
        table["action"] = [
            name or names.get(act, f"act_{act:02d}") for act, name in zip(table["act"], table["action"], strict=True)
        ]
    splits = _hold_out(tables["train"], validation_subjects, path)
    splits["test"] = tables["test"]
    meta: dict[str, Any] = {
        "dataset": "human36m",
        "unit": "image-normalised: px / width * 2, root-relative depth",
        "source": {path.name: sha256(path)},
        "validation_subjects": sorted(int(subject) for subject in validation_subjects),
        "nominal_mm_per_px": NOMINAL_MM_PER_PX,
        # The reference cuts train before test with one generator: its test clips depend on these lengths.
        "file_train_frames": tables["train"]["frames"].tolist(),
        "notes": data.notes,
    }
    with replacing_folder(folder) as temporary:
        for split, table in splits.items():
            part = data.test if split == "test" else data.train
            _write_split(temporary / split, _human36m_blocks(part, table, scored=split != "train"), table)
        _write_meta(temporary, meta)


def _human36m_blocks(part: human36m.Human36MPart, table: pd.DataFrame, scored: bool) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of a split, the frames of ``table`` in its order, a block of them at a time."""
    frames = _frames_of(table)
    widths, heights = (np.repeat(table[name].to_numpy(np.float32), table["frames"]) for name in ("width", "height"))
    for block in blocks(len(frames)):
        rows, width, height = frames[block], widths[block], heights[block]
        image = part.joint3d_image[rows].astype(np.float32)
        detected = np.concatenate([part.joint_2d[rows], part.confidence[rows][..., None]], -1).astype(np.float32)
        arrays = {"joints_2d": _normalise(detected, width, height), "target": _normalise(image, width, height)}
        arrays["target"][..., 2] = image[..., 2] / width[:, None] * 2
        if scored:
            if part.joints_mm is None or part.factor_mm_px is None:
                joints = image * np.float32(NOMINAL_MM_PER_PX)
                factor = np.full(len(rows), NOMINAL_MM_PER_PX)
            else:
                joints, factor = part.joints_mm[rows].astype(np.float32), part.factor_mm_px[rows]
            arrays |= {"joints_mm": joints - joints[:, :1], "factor_mm_px": factor}
        yield arrays


def convert_mpi_inf_3dhp(
    raw_folder: str | os.PathLike[str], folder: str | os.PathLike[str], validation_subjects: Sequence[int] = ()
) -> None:
    """P-STMO's two npz files -> ``folder``/{train,val,test}, joints reordered to Human3.6M-17."""
    raw = Path(raw_folder)
    data = mpi_inf_3dhp.read(raw)
    tables = []
    for takes in (data.train, data.test):
        rows = [
            (f"{t.sequence} camera {t.camera}" if t.camera else t.sequence, t.subject, t.camera, "", len(t.valid),
             t.width, t.height, t.rate_hz)
            for t in takes
        ]  # fmt: skip
        columns = [name for name in SEQUENCE_COLUMNS if name != "start"]
        tables.append(pd.DataFrame(rows, columns=columns).assign(take=range(len(takes))))
    splits = _hold_out(tables[0], validation_subjects, raw / mpi_inf_3dhp.TRAIN_FILE)
    splits["test"] = tables[1]
    meta = {
        "dataset": "mpi_inf_3dhp",
        "unit": "mm / 1024, root-relative",
        "source": {name: sha256(raw / name) for name in (mpi_inf_3dhp.TRAIN_FILE, mpi_inf_3dhp.TEST_FILE)},
        "validation_subjects": sorted(int(subject) for subject in validation_subjects),
    }
    order = list(H36M_FROM_MPI)
    with replacing_folder(folder) as temporary:
        for split, table in splits.items():
            takes = [(data.test if split == "test" else data.train)[i] for i in table["take"]]
            total = int(table["frames"].sum())
            arrays = {
                "joints_2d": np.ones((total, 17, 3), np.float32),
                "target": np.empty((total, 17, 3), np.float32),
                "valid": np.concatenate([take.valid for take in takes]),
            }
            start = 0
            for take in takes:
                part = slice(start, start := start + len(take.valid))
                size = (np.full(len(take.valid), length, np.float32) for length in (take.width, take.height))
                arrays["joints_2d"][part, :, :2] = _normalise(take.joints_px, *size)[:, order]
                joints = take.joints_mm[:, order]
                arrays["target"][part] = (joints - joints[:, :1]) / MPI_MM_PER_UNIT
            _write_split(temporary / split, [arrays], table.drop(columns="take"))
        _write_meta(temporary, meta)


def _hold_out(table: pd.DataFrame, validation_subjects: Sequence[int], path: Path) -> dict[str, pd.DataFrame]:
    """The training table as {"train", "val"}; no "val" where no subject is held out."""
    present, held = set(table["subject"]), set(validation_subjects)
    if absent := held - present:
        raise ValueError(
            f"{path}: validation subjects {sorted(absent)} are not in the training data, whose subjects are "
            f"{sorted(map(int, present))}"
        )
    if held == present:
        raise ValueError(f"{path}: every subject {sorted(held)} is held out for validation; none is left to train on")
    validation = table["subject"].isin(list(held))
    splits = {"train": table[~validation]}
    return {**splits, "val": table[validation]} if held else splits


def _frames_of(table: pd.DataFrame) -> np.ndarray:
    """Row numbers in the file of a table's frames, in the table's order."""
    return np.concatenate([np.arange(s, s + n) for s, n in zip(table["start"], table["frames"], strict=True)])


def _normalise(joints: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """px (F, J, C) -> x, y / width * 2 - [1, height / width]; further channels are kept."""
    result = joints.astype(np.float32, copy=True)
    wide = width[:, None].astype(np.float32)
    result[..., 0] = joints[..., 0] / wide * 2 - 1
    result[..., 1] = joints[..., 1] / wide * 2 - height[:, None].astype(np.float32) / wide
    return result


def _write_split(folder: Path, parts: Iterable[dict[str, np.ndarray]], table: pd.DataFrame) -> None:
    """Write ``parts``, the arrays of all frames of ``table`` in one block or more, as an npy file each."""
    folder.mkdir()
    frames, written = int(table["frames"].sum()), 0
    files: dict[str, IO[bytes]] = {}
    with ExitStack() as stack:
        for arrays in parts:
            for name, array in arrays.items():
                if name not in files:
                    # not a memory map: on a full disk, a write is an error, and a store would end the program
                    files[name] = stack.enter_context(open(folder / f"{name}.npy", "wb"))
                    shape, descr = (frames, *array.shape[1:]), np.lib.format.dtype_to_descr(array.dtype)
                    header = {"descr": descr, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(files[name], header)
                files[name].write(np.ascontiguousarray(array).data)
            written += len(array)
    assert written == frames
    table = table.assign(start=(table["frames"].cumsum() - table["frames"]).astype(np.int64))[SEQUENCE_COLUMNS]
    table.reset_index(drop=True).to_parquet(folder / "sequences.parquet")


def _write_meta(folder: Path, meta: dict[str, Any]) -> None:
    (folder / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n")


@dataclass(frozen=True)
class LiftingSplit:
    """One split, memory-mapped; the module says what each array holds. None where the data set has no such array."""

    dataset: str
    split: str
    joints_2d: np.ndarray
    target: np.ndarray
    joints_mm: np.ndarray | None
    factor_mm_px: np.ndarray | None
    valid: np.ndarray | None
    sequences: pd.DataFrame
    meta: dict[str, Any]

    @property
    def nominal(self) -> bool:
        """Whether its millimetres come from `NOMINAL_MM_PER_PX`."""
        return self.dataset == "human36m" and self.split != "test"


def open_split(folder: str | os.PathLike[str], split: str) -> LiftingSplit:
    """Open ``folder``/``split`` as a conversion wrote it. Raises ``FileNotFoundError`` saying what to do."""
    folder = Path(folder)
    if not (folder / "meta.json").is_file():
        raise FileNotFoundError(f"{folder}: no converted data set (no meta.json); convert the raw files first")
    meta = json.loads((folder / "meta.json").read_text())
    place = folder / split
    if not place.is_dir():
        present = sorted(p.name for p in folder.iterdir() if p.is_dir())
        hint = " (no validation subjects were held out)" if split == "val" else ""
        raise FileNotFoundError(f"{place}: no such split{hint}; there are {', '.join(present)}")
    arrays = {
        name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        if (place / f"{name}.npy").is_file()
        else None
        for name in ("joints_2d", "target", "joints_mm", "factor_mm_px", "valid")
    }
    sequences = pd.read_parquet(place / "sequences.parquet")
    frames = int(sequences["frames"].sum())
    for name, array in arrays.items():
        if array is not None and len(array) != frames:
            raise ValueError(f"{place}/{name}.npy: {len(array)} frames, sequences.parquet says {frames}; convert again")
    return LiftingSplit(meta["dataset"], split, sequences=sequences, meta=meta, **arrays)  # type: ignore[arg-type]


def clip_frames(data: LiftingSplit, clip_len: int, stride: int, protocol: Protocol) -> np.ndarray:
    """Which frames make each clip: (N, clip_len) int64.

    "reference" is what published numbers come from, quirks included: MotionBERT's `split_clips` on Human3.6M (seed 0,
    train before test) and MotionAGFormer's `tail_stretched_windows` on MPI-INF-3DHP. "exact": `covering_windows`.
    """
    lengths = data.sequences["frames"].tolist()
    if protocol == "exact":
        return covering_windows(lengths, clip_len, stride)
    if protocol != "reference":
        raise ValueError(f"unknown protocol {protocol!r}; expected 'reference' or 'exact'")
    if data.dataset == "mpi_inf_3dhp":
        return tail_stretched_windows(lengths, clip_len, stride)
    random = np.random.RandomState(0)
    if data.split == "test":  # the draws that cutting the train half takes; its last video, when short, takes none
        for length in data.meta["file_train_frames"][:-1]:
            if length < clip_len:
                random.randint(2, size=clip_len)
    return split_clips(np.repeat(data.sequences["sequence"].to_numpy(dtype=str), lengths), clip_len, stride, random)


def model_inputs(
    data: LiftingSplit, frames: np.ndarray, input_2d: str | None = None, confidence: bool = True
) -> np.ndarray:
    """Model inputs of ``frames`` (any shape): (..., 17, 3) float32, x and y in about [-1, 1], then confidence.

    ``input_2d``: "detected" or "ground_truth" (confidence 1); None is the data set's usual, detected on Human3.6M and
    ground truth on MPI-INF-3DHP, which has no other. ``confidence`` False sets channel 2 to 1.
    """
    own = "detected" if data.dataset == "human36m" else "ground_truth"
    input_2d = input_2d or own
    if input_2d not in ("detected", "ground_truth"):
        raise ValueError(f"unknown input_2d {input_2d!r}; expected 'detected' or 'ground_truth'")
    if input_2d == "detected" and own != "detected":
        raise ValueError(f"{data.dataset} has no detected 2D joints; use input_2d='ground_truth'")
    truth = input_2d == "ground_truth" and own == "detected"
    x = np.array((data.target if truth else data.joints_2d)[frames], dtype=np.float32)
    if truth or not confidence:
        x[..., 2] = 1
    return x


class LiftingClips(torch.utils.data.Dataset[dict[str, Any]]):
    """Clips for fine-tuning. Item i: ``x`` (T, 17, 3) model input, ``y`` (T, 17, 3) root-relative target in the model's
    units, both float32 tensors in Human3.6M-17 order, and ``item``.

    ``augment`` (default: on for train) mirrors a clip with probability one half, drawn from (seed, epoch, item); call
    `set_epoch` before each epoch's loader is iterated (not with persistent workers, which would keep the old epoch).
    ``fraction`` < 1 keeps whole sequences, drawn by ``seed``, up to that share of the frames. Other arguments as in
    `clip_frames` and `model_inputs`. Reference settings: Human3.6M clip_len 243, stride 81; MPI-INF-3DHP 81 and 9.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: str,
        clip_len: int,
        stride: int,
        seed: int = 0,
        protocol: Protocol = "reference",
        input_2d: str | None = None,
        confidence: bool = True,
        augment: bool | None = None,
        fraction: float = 1.0,
    ) -> None:
        self.folder, self.split, self.clip_len, self.seed, self.epoch = Path(folder), split, clip_len, seed, 0
        self.input_2d, self.confidence = input_2d, confidence
        self.augment = split == "train" if augment is None else augment
        self.data = open_split(folder, split)
        self.clips = clip_frames(self.data, clip_len, stride, protocol)
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction is {fraction}; expected more than 0 and at most 1")
        if fraction < 1:
            self.clips = self.clips[np.isin(self.clips[:, 0], self._share(fraction))]
        if len(self.clips) == 0:
            raise ValueError(f"{self.folder / split}: no sequence gives a clip of {clip_len} frames; use shorter clips")
        model_inputs(self.data, self.clips[:1], input_2d)  # a wrong choice is an error now, not in a worker

    def _share(self, fraction: float) -> np.ndarray:
        table = self.data.sequences
        order = np.random.default_rng([self.seed, len(table)]).permutation(len(table))
        counts = table["frames"].to_numpy()
        kept = order[: max(1, int((counts[order].cumsum() <= fraction * counts.sum()).sum()))]
        return _frames_of(table.iloc[np.sort(kept)])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random numbers are drawn."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int) -> dict[str, Any]:
        if not 0 <= item < len(self.clips):
            raise IndexError(f"clip {item} of {len(self.clips)}")
        frames = self.clips[item]
        x = model_inputs(self.data, frames, self.input_2d, self.confidence)
        y = np.array(self.data.target[frames])
        y -= y[:, :1].copy()
        if self.augment and np.random.default_rng([self.seed, self.epoch, item]).random() < 0.5:
            x, y = flip(x), flip(y)
        return {"x": torch.from_numpy(x), "y": torch.from_numpy(y), "item": item}

    def __getstate__(self) -> dict[str, Any]:
        # A memory map pickles as its whole content; a worker opens the files itself.
        return {key: value for key, value in self.__dict__.items() if key != "data"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.data = open_split(self.folder, self.split)
