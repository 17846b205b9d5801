"""Lifting data from CMU: motion of the held-out subjects, filmed by virtual cameras, in the licensed sets' formats.

Training data are the finetune and val subjects (val is held out again downstream, by subject, as for the licensed
sets), test data the test subject. So from these files on, the cmu profile runs the same code as the paper's.
"""

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from langpose.sources import cmu, cmu_labels, human36m
from langpose.sources.motion import good_pieces, resample
from langpose.storage import replacing_folder

if TYPE_CHECKING:
    from langpose.filming import FilmConfig, Take


@dataclass(frozen=True)
class LiftingConfig:
    """Which CMU motion becomes lifting data, and how much. Not in the paper, which has no cmu."""

    finetune: tuple[int, ...] = cmu_labels.SPLITS["finetune"]
    """CMU's subjects to fine-tune on. None of the three lists may hold one that pretraining trains on."""
    val: tuple[int, ...] = cmu_labels.SPLITS["val"]
    """Subjects filmed with the training part, held out of it by ``convert.*.validation_subjects``."""
    test: tuple[int, ...] = cmu_labels.SPLITS["test"]
    """Subjects of the test part; pretraining must not have validated on them either."""
    rate_hz: float = 50.0
    """Human3.6M's rate."""
    max_seconds_per_trial: float = 12.0
    """Of each training trial, from its start: 44 s of boxing say little more than 12 s of it."""
    max_seconds_per_test_trial: float = 24.0
    """Of each test trial: all of subject 02's, the longest of which has 22 s."""
    piece_seconds: float = 12.0
    """Longer takes are cut into equal pieces below this."""
    min_seconds: float = 1.0
    """What is left shorter than this after bad frames are cut out is dropped: too little for a clip to learn from."""
    test_sequences: tuple[str, ...] = ("02_01", "02_03", "02_04", "02_05", "02_06", "02_10")
    """MPI-INF-3DHP's TS1 to TS6: one trial each of six different actions. Human3.6M's test part has all ten trials."""

    def __post_init__(self) -> None:
        groups = (self.finetune, self.val, self.test)
        everyone = [subject for group in groups for subject in group]
        if len(set(everyone)) != len(everyone):
            raise ValueError(f"finetune, val and test share a subject: {groups}; expected disjoint ones")
        held = {subject for name in ("finetune", "val", "test") for subject in cmu_labels.SPLITS[name]}
        used = set(everyone) - held | set(self.test) & set(cmu_labels.SPLITS["val"])
        if used:
            raise ValueError(
                f"finetune, val and test are {groups}, but pretraining sees subjects {sorted(used)}: it trains on all "
                f"but {tuple(sorted(held))} and validates on {cmu_labels.SPLITS['val']}, which test must not hold; "
                "choose other subjects"
            )
        if len(self.test_sequences) != 6:
            raise ValueError(f"test_sequences is {self.test_sequences}; expected six trials, for TS1 to TS6")
        if not (self.rate_hz > 0 and self.piece_seconds > 0 and self.min_seconds <= self.piece_seconds):
            raise ValueError(
                f"expected rate_hz > 0 and 0 < min_seconds <= piece_seconds, found {self.rate_hz}, {self.min_seconds}, "
                f"{self.piece_seconds}"
            )
        for name in ("max_seconds_per_trial", "max_seconds_per_test_trial"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0 s")


@dataclass(frozen=True)
class Piece:
    """A take and where it comes from: trial, and seconds from the trial's first frame."""

    take: "Take"
    sequence: str
    start_s: float
    stop_s: float
    split: str


def lifting_takes(raw: str | Path, config: LiftingConfig | None = None) -> "list[Take]":
    """Takes (`langpose.filming.Take`) of the finetune, val and test subjects under ``raw``; see `lifting_pieces`."""
    return [piece.take for piece in lifting_pieces(raw, config)]


def lifting_pieces(raw: str | Path, config: LiftingConfig | None = None) -> list[Piece]:
    """Pieces of the finetune, val and test subjects' trials: good frames only, at ``config.rate_hz``.

    ``raw`` is what `cmu_archive.fetch` filled. A take's subject is CMU's number, its action the trial's group
    (`cmu_labels.ACTION_GROUPS`), its subaction counts the pieces of that subject and action from 1. Takes are sorted by
    split, subject and trial. Raises ``ValueError`` if a split's subjects have no motion.
    """
    from langpose.filming import Take

    config = config or LiftingConfig()
    table = cmu_labels.trials(raw)
    pieces, counts = [], defaultdict[tuple[int, str], int](int)
    for split in ("finetune", "val", "test"):
        subjects = getattr(config, split)
        chosen = table[table["subject"].isin(list(subjects))]
        missing = sorted(set(subjects) - set(chosen["subject"]))
        if missing or not subjects:
            raise ValueError(
                f"{raw}: no trials of {split} subjects {missing}; there are {sorted(set(table['subject']))}"
            )
        most = config.max_seconds_per_test_trial if split == "test" else config.max_seconds_per_trial
        for trial in chosen.itertuples():
            motion = cmu.read(trial.path)
            for start, stop in _cut(motion.joints[: math.ceil(most * motion.rate_hz)], motion.rate_hz, config):
                joints, rate_hz = resample(motion.joints[start:stop], motion.rate_hz, config.rate_hz)
                counts[trial.subject, trial.group] += 1
                take = Take(
                    joints=np.ascontiguousarray(joints), rate_hz=rate_hz, subject=int(trial.subject),
                    action=str(trial.group), subaction=counts[trial.subject, trial.group],
                )  # fmt: skip
                pieces.append(Piece(take, str(trial.sequence), start / motion.rate_hz, stop / motion.rate_hz, split))
    return pieces


def _cut(joints: np.ndarray, rate_hz: float, config: LiftingConfig) -> list[tuple[int, int]]:
    """Runs [start, stop) of good frames, those longer than a piece in equal parts, without those too short."""
    runs = []
    for start, stop in good_pieces(joints, rate_hz):
        parts = math.ceil((stop - start) / (config.piece_seconds * rate_hz))
        edges = np.linspace(start, stop, parts + 1).round().astype(int).tolist()
        runs += list(itertools.pairwise(edges))
    return [(start, stop) for start, stop in runs if stop - start >= config.min_seconds * rate_hz]


def film_cmu(raw: str | Path, folder: str | Path, config: LiftingConfig, film: "FilmConfig", seed: int) -> None:
    """Film the held-out subjects' motion into ``folder``/human36m and ``folder``/mpi_inf_3dhp, the licensed layouts.

    Human3.6M: train is all pieces of the finetune and val subjects, test all pieces of the test subjects.
    MPI-INF-3DHP: "S1", "S2", … are those training subjects in numeric order; TS1 … TS6 are the first pieces of
    ``config.test_sequences``. ``cmu.csv`` beside each says which trial became what. Raises ``ValueError``, before
    anything is written, for subjects and test sequences without motion.
    """
    from langpose import filming

    pieces = lifting_pieces(raw, config)
    train = [piece for piece in pieces if piece.split != "test"]
    test = [piece for piece in pieces if piece.split == "test"]
    subjects = sorted({piece.take.subject for piece in train})
    chosen = []
    for sequence in config.test_sequences:
        found = [piece for piece in test if piece.sequence == sequence]
        if not found:
            raise ValueError(
                f"{raw}: no usable motion of test sequence {sequence}; the test subjects are {config.test}"
            )
        chosen.append(found[0])
    folder = Path(folder)
    with replacing_folder(folder / "human36m") as new:
        filming.write_human36m([p.take for p in train], [p.take for p in test], new / human36m.FILE_NAME, seed, film)
        _key(pieces, [f"s_{p.take.subject:02d} {p.take.action} {p.take.subaction:02d}" for p in pieces], new)
    with replacing_folder(folder / "mpi_inf_3dhp") as new:
        by_subject = [[piece.take for piece in train if piece.take.subject == subject] for subject in subjects]
        filming.write_mpi_inf_3dhp(by_subject, [piece.take for piece in chosen], new, seed, film)
        names = [f"S{subjects.index(piece.take.subject) + 1}" for piece in train] + [f"TS{i + 1}" for i in range(6)]
        _key([*train, *chosen], names, new)


def _key(pieces: list[Piece], names: list[str], folder: Path) -> None:
    rows = [
        (name, p.sequence, p.take.action, round(p.start_s, 3), round(p.stop_s, 3), p.split)
        for name, p in zip(names, pieces, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["name", "trial", "action", "start_s", "stop_s", "split"])
    table.to_csv(folder / "cmu.csv", index=False, lineterminator="\n")
