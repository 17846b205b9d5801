"""Motion to orthographic 2D (section 4.1): each recording read, cut at bad frames, resampled, seen from two sides.

Writes ``motions/`` (joints.npy, sequences.parquet, manifest.csv) and ``views/`` (front.npy, side.npy). Each recording's
result is kept in a work folder, named by all that decides it (the file, what it is read with, settings, this code), so
an interrupted run continues, one more recording does not redo the others, and nothing outdated is ever taken up.
"""

import functools
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from threadpoolctl import threadpool_limits

from langpose.cameras import front_view, side_view
from langpose.sources.motion import Motion, good_pieces, resample
from langpose.storage import replacing, replacing_folder

SEQUENCE_COLUMNS = ["sequence", "recording", "source", "subject", "split", "start", "frames", "rate_hz", "offset_s"]
_BLOCK = 65536  # frames written at a time


@dataclass(frozen=True)
class ProjectConfig:
    """Section `project`."""

    target_rate_hz: float = 60.0
    """Rate of the stored motion, Hz; slower recordings keep theirs. Not in the paper: MotionBERT's 60."""
    subsets: list[str] = field(default_factory=list)
    """AMASS's subsets to use, by today's names (CMU, KIT, BMLrub, ...); none: all that are there."""
    workers: int = 0
    """Processes that read recordings; 0: one a core."""
    min_seconds: float = 0.3
    """Pieces between bad frames that are shorter are dropped. Not in the paper: nothing can be learnt from them."""


@dataclass(frozen=True)
class Job:
    """One recording to read."""

    recording: str
    """Its name; labels speak of it."""
    split: str
    """train, val or test: its subject's."""
    path: Path
    read: Callable[[Path], Motion]
    """Picklable; raises ``ValueError`` for a file that cannot be used."""
    inputs: tuple[Path, ...] = ()
    """Other files that decide the result: body models, a skeleton."""


@dataclass(frozen=True)
class Outcome:
    """What became of a recording."""

    status: str
    """used or skipped"""
    note: str
    pieces: tuple[tuple[np.ndarray, float, float], ...] = ()
    """(joints (F, 17, 3) float32, rate_hz, offset_s) of each good stretch."""
    subject: str = ""
    source: str = ""


def _process(job: Job, config: ProjectConfig) -> Outcome:
    try:
        motion = job.read(job.path)
    except ValueError as error:
        return Outcome("skipped", str(error))
    pieces = []
    for start, stop in good_pieces(motion.joints, motion.rate_hz):
        if stop - start >= config.min_seconds * motion.rate_hz:
            joints, rate_hz = resample(motion.joints[start:stop], motion.rate_hz, config.target_rate_hz)
            pieces.append((np.ascontiguousarray(joints, dtype=np.float32), rate_hz, start / motion.rate_hz))
    status = "used" if pieces else "skipped"
    return Outcome(status, "; ".join(motion.artefacts), tuple(pieces), motion.subject, motion.source)


def _part(job: Job, config: ProjectConfig, work: Path) -> Path:
    """The work file of a recording: named by what decides its content."""
    files = [(path.stat().st_size, path.stat().st_mtime_ns) for path in (job.path, *job.inputs)]
    key = f"{job.recording} {files} {config.target_rate_hz} {config.min_seconds} {_code()}"
    return work / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"


@functools.cache
def _code() -> str:
    """Hash of the code that reads and cuts: a reader that was changed reads again."""
    here = Path(__file__).parent
    files = [Path(__file__), here / "body.py", here / "skeleton.py", *sorted((here / "sources").glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _run(arguments: tuple[Job, ProjectConfig, Path]) -> Path:
    job, config, work = arguments
    path = _part(job, config, work)
    if not path.exists():
        outcome = _process(job, config)
        arrays = {f"joints{i}": piece[0] for i, piece in enumerate(outcome.pieces)}
        times = np.array([piece[1:] for piece in outcome.pieces], dtype=np.float64).reshape(-1, 2)
        texts = np.array([outcome.status, outcome.note, outcome.subject, outcome.source])
        with replacing(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, times=times, texts=texts, **arrays)  # type: ignore[arg-type]
    return path


def _outcomes(jobs: Sequence[Job], config: ProjectConfig, work: Path) -> Iterable[tuple[Job, Outcome]]:
    tasks = [(job, config, work) for job in jobs]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = config.workers or cores or 1
    show = {"total": len(tasks), "description": "reading motion", "console": Console(stderr=True), "transient": True}
    if workers == 1 or len(tasks) < 4:
        paths = list(track(map(_run, tasks), **show))  # type: ignore[arg-type]
    else:
        # one thread of BLAS each: one a core in each of them made it three times slower
        with ProcessPoolExecutor(workers, initializer=threadpool_limits, initargs=(1,)) as pool:
            paths = list(track(pool.map(_run, tasks, chunksize=1), **show))  # type: ignore[arg-type]
    for job, path in zip(jobs, paths, strict=True):
        with np.load(path, allow_pickle=False) as part:
            times, (status, note, subject, source) = part["times"], part["texts"].tolist()
            pieces = tuple((part[f"joints{i}"], float(rate), float(at)) for i, (rate, at) in enumerate(times))
        yield job, Outcome(status, note, pieces, subject, source)


def project(
    jobs: Sequence[Job],
    motions: Path,
    views: Path,
    config: ProjectConfig,
    work: Path,
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Read all ``jobs`` and write ``motions`` and ``views``, whole or not at all; the order of jobs is kept.

    Files that cannot be used are skipped and listed with the reason in ``motions/manifest.csv``; so is a recording
    that is there twice (AMASS unpacked in two layouts): its name must lead to one motion. So are those ``left_out``,
    recording → reason, which are not read. Raises ``ValueError`` where none could be used.
    """
    if not jobs:
        raise ValueError("no recordings to project; is the raw data in its place?")
    work.mkdir(parents=True, exist_ok=True)
    rows, total = [], 0
    listed = [(recording, "skipped", 0, reason) for recording, reason in (left_out or {}).items()]
    taken: dict[str, Path] = {}
    with replacing_folder(motions) as new_motions:
        joints_path = new_motions / "joints.npy"
        with open(joints_path, "wb") as handle:
            handle.write(_npy_header(0))
            for job, outcome in _outcomes(jobs, config, work):
                if outcome.status == "used" and taken.setdefault(job.recording, job.path) != job.path:
                    outcome = Outcome("skipped", f"{job.path.name}: the same recording as {taken[job.recording]}")
                frames = sum(len(joints) for joints, _, _ in outcome.pieces)
                listed.append((job.recording, outcome.status, frames, outcome.note))
                for number, (joints, rate_hz, offset_s) in enumerate(outcome.pieces):
                    name = job.recording if len(outcome.pieces) == 1 else f"{job.recording}#{number + 1}"
                    rows.append((name, job.recording, outcome.source, outcome.subject, job.split, total, len(joints),
                                 rate_hz, offset_s))  # fmt: skip
                    handle.write(joints.tobytes())
                    total += len(joints)
            handle.seek(0)
            handle.write(_npy_header(total))
        if not rows:
            first = listed[-len(jobs)]
            raise ValueError(f"none of {len(jobs)} recordings could be used; the first: {first[0]}: {first[3]}")
        table = pd.DataFrame(rows, columns=SEQUENCE_COLUMNS)
        table.to_parquet(new_motions / "sequences.parquet")
        manifest = pd.DataFrame(listed, columns=["recording", "status", "frames", "note"])
        manifest.to_csv(new_motions / "manifest.csv", index=False, lineterminator="\n")
        with replacing_folder(views) as new_views:
            for name, view in (("front", front_view), ("side", side_view)):
                with open(new_views / f"{name}.npy", "wb") as handle, open(joints_path, "rb") as stored:
                    handle.write(stored.read(len(_npy_header(total))))
                    while len(block := np.frombuffer(stored.read(_BLOCK * 17 * 3 * 4), "<f4")):
                        handle.write(view(block.reshape(-1, 17, 3)).astype(np.float32).tobytes())


def _npy_header(frames: int) -> bytes:
    """Head of an npy file of (frames, 17, 3) float32, of one length for all numbers of frames (numpy pads for growth).

    Files are written, not mapped: a full disk is then an error to report, where a mapped page would kill the process.
    """
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (frames, 17, 3)})
    return head.getvalue()
