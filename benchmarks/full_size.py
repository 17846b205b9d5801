"""The raw data at full size, with made-up motion: do `project`, `pair` and `convert` get through, and in what memory?

    .venv/bin/python benchmarks/full_size.py [--only amass|human36m] [--hours 40] [--scratch FOLDER] [--json FILE]

amass: an AMASS of ``--hours`` at 120 Hz (seven subsets, 295 subjects, files of 10 to 60 s, (F, 156) float64 poses with
soft tissue, compressed as AMASS's are) and a BABEL that labels all of it; then the stages `project` (2 workers) and
`pair` themselves, with the profile `paper`. Only ``--distinct`` of the files differ; the others are hard links to them
under names of their own. So every file is opened, unpacked and computed as a real one is, but comes from the page
cache: the time to fetch the true bytes from a disk (printed) is not measured.

human36m: MotionBERT's pickle with 1,559,752 and 566,920 frames, then `convert_human36m`, which maps the file and holds
its texts. Its stored types are not published: ``--dtype float64`` (twice the size) is the worse case, and so is a text
object a frame.

Memory is looked at ten times a second over the process and its children together ("all": with pages of mapped files,
which the system drops when it needs them; "w/o files": what the program holds); Linux only. There is no other side: the
last line is 2 GB over the peak (amass) or the pickle's size over what the program holds (human36m).
Needs about 8 GB of disk at 40 hours (results and work files; links take none), deleted afterwards.
"""

import argparse
import os
import pickle
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import Used, machine, run_measured, save

from langpose.body import ReducedBody
from langpose.cameras import camera_to_image, two_and_half_d_factor
from langpose.demo.babel_files import LabelledSequence, Split, write_babel
from langpose.demo.choreography import Segment
from langpose.demo.standin_body import write_standin_body
from langpose.filming import HUMAN36M_ACTS, HUMAN36M_CAMERAS, FilmConfig, Take, camera_for
from langpose.sources.human36m import FILE_NAME, PUBLISHED_FRAMES

SUBJECTS = {"CMU": 100, "BMLrub": 111, "KIT": 55, "ACCAD": 20, "HDM05": 5, "SSM": 3, "Transitions": 1}
SHARES = {"CMU": 0.28, "BMLrub": 0.25, "KIT": 0.32, "ACCAD": 0.04, "HDM05": 0.08, "SSM": 0.01, "Transitions": 0.02}
RATE_HZ = 120.0
LIMIT_BYTES = 2 * 10**9
VERBS = ("walk", "run", "jump", "sit", "stand", "wave", "kick", "throw", "turn", "bend", "reach", "dance", "step")
SIDES = (
    "",
    " forward",
    " backwards",
    " left",
    " right",
    " slowly",
    " in place",
    " with the right hand",
    " in a circle",
)


def performance(seconds: float, rate_hz: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A person who stands upright and sways in every joint, knees bent: smooth, cheap, full mantissas; float64."""
    time_s = np.arange(round(seconds * rate_hz))[:, None] / rate_hz

    def waves(count: int, size: float, slowest_hz: float, fastest_hz: float) -> np.ndarray:
        frequency_hz, phase = rng.uniform(slowest_hz, fastest_hz, count), rng.uniform(0, 2 * np.pi, count)
        return size * rng.uniform(0.2, 1, count) * np.sin(2 * np.pi * frequency_hz * time_s + phase)

    poses = np.concatenate([waves(66, 0.15, 0.2, 1.2), np.tile(rng.normal(0, 0.2, 90), (len(time_s), 1))], axis=1)
    poses[:, 0] += np.pi / 2  # y up, as the body model is, to z up
    poses[:, [12, 15]] += 0.5  # knees
    trans = waves(3, 0.5, 0.05, 0.2) + np.array([0.0, 0.0, 1.2])
    return {"poses": poses, "trans": trans, "betas": rng.normal(0, 1, 16), "dmpls": waves(8, 1.0, 1.0, 4.0)}


def write_amass_file(path: Path, motion: dict[str, np.ndarray], gender: str, rate_hz: float = RATE_HZ) -> None:
    """One sequence as AMASS stores it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {**motion, "mocap_framerate": np.array(rate_hz), "gender": np.array(gender)}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def write_amass(raw: Path, hours: float, distinct: int) -> dict[str, float]:
    """``raw``/body_models, amass and babel; counts of what was made."""
    rng = np.random.default_rng(0)
    write_standin_body(raw / "body_models")
    for gender in ("male", "female", "neutral"):
        place = raw / "body_models/dmpls" / gender / "model.npz"
        place.parent.mkdir(parents=True)
        np.savez(place, eigvec=rng.normal(0, 0.002, (6890, 3, 8)))

    frames = rng.integers(round(10 * RATE_HZ), round(60 * RATE_HZ), distinct)
    pool = [raw / f"pool/{number}.npz" for number in range(distinct)]
    for number, file in enumerate(pool):
        motion = performance(frames[number] / RATE_HZ, RATE_HZ, rng)
        write_amass_file(file, motion, ("male", "female")[number % 2])

    labelled: list[LabelledSequence] = []
    total, size, subsets, shares = 0, 0, list(SUBJECTS), list(SHARES.values())
    splits: tuple[Split, ...] = ("train", "val", "test", "extra_train", "extra_val")
    while total < hours * 3600 * RATE_HZ:
        number = int(rng.integers(distinct)) if len(labelled) >= distinct else len(labelled)
        subset = subsets[int(rng.choice(len(subsets), p=shares))]
        subject = f"{int(rng.integers(SUBJECTS[subset])) + 1:03d}"
        name = f"{subset}/{subject}/{subject}_{len(labelled):05d}_poses.npz"
        file = raw / "amass" / name
        if not file.parent.is_dir():  # several subsets carry the subject's body alone
            file.parent.mkdir(parents=True)
            np.savez_compressed(file.parent / "shape.npz", betas=np.zeros(16), gender=np.array("male"))
        os.link(pool[number], file)
        seconds = frames[number] / RATE_HZ
        split = splits[int(rng.choice(5, p=[0.62, 0.2, 0.08, 0.08, 0.02]))]
        labelled.append(LabelledSequence(name, seconds, _segments(seconds, rng), split))
        total, size = total + int(frames[number]), size + file.stat().st_size
    shutil.rmtree(raw / "pool")
    write_babel(raw / "babel", labelled, 0)
    return {"files": len(labelled), "frames": total, "hours": total / RATE_HZ / 3600, "bytes": size}


def _segments(seconds: float, rng: np.random.Generator) -> list[Segment]:
    """Actions of 1.5 to 6 s, transitions of half a second between them."""
    segments, at = [], 0.0
    while at < seconds:
        stop = min(seconds, at + rng.uniform(1.5, 6.0))
        verb = VERBS[int(rng.integers(len(VERBS)))]
        label = verb + SIDES[int(rng.integers(len(SIDES)))]
        segments.append(Segment(label, label, (verb,), at, stop))
        if stop + 0.5 < seconds:
            segments.append(Segment("transition", "transition", ("transition",), stop, stop + 0.5))
        at = stop + 0.5
    return segments


def amass_size(scratch: Path, hours: float, distinct: int) -> dict[str, Any]:
    """Generate, run the stages `project` and `pair` in ``scratch``, report."""
    made = write_amass(scratch / "data/full/raw", hours, distinct)
    print(
        f"AMASS: {made['hours']:.2f} h at 120 Hz in {made['files']:,.0f} files, {made['frames']:,.0f} frames, "
        f"{made['bytes'] / 2**30:.1f} GiB compressed\n{HEAD}",
        flush=True,
    )
    profile = Path(__file__).parent.parent / "profiles/paper.yaml"
    text, count = re.subn(r"(?m)^  workers: 0", "  workers: 2", profile.read_text(encoding="utf-8"), count=1)
    if count != 1:
        raise SystemExit(f"{profile}: no project.workers to set to 2")
    (scratch / "profiles").mkdir()
    (scratch / "profiles/full.yaml").write_text(text, encoding="utf-8")

    result: dict[str, Any] = {"made": made}
    for stage in ("project", "pair"):
        used = run_measured([sys.executable, "-m", f"pipeline.stages.{stage}", "full"], cwd=scratch)
        result[stage] = vars(used)
        print(row(stage, used, made["frames"]), flush=True)
    data = scratch / "data/full"
    sequences = pd.read_parquet(data / "motions/sequences.parquet")
    pairs = pd.read_parquet(data / "pairs.parquet")
    if sequences["recording"].nunique() != made["files"]:
        raise SystemExit(f"{sequences['recording'].nunique()} of {made['files']} recordings were used")
    result["kept"] = {"frames": int(sequences["frames"].sum()), "sequences": len(sequences), "pairs": len(pairs)}
    print(f"kept {result['kept']['frames']:,} frames at 60 Hz in {len(sequences):,} sequences; {len(pairs):,} pairs\n")
    result["ratio"] = LIMIT_BYTES / max(result[stage]["peak_together"] for stage in ("project", "pair"))
    return result


HEAD = f"{'stage':10}{'wall s':>8}{'frames/s':>11}{'peak, all':>12}{'w/o files':>12}{'largest one':>13}"


def row(name: str, used: Used, frames: float) -> str:
    """A line under `HEAD`."""
    sizes = (used.peak_together, used.anonymous_together, used.peak_one)
    cells = "".join(f"{size / 1e9:>{width - 3}.2f} GB" for size, width in zip(sizes, (12, 12, 13), strict=True))
    return f"{name:10}{used.seconds:>8.1f}{frames / used.seconds:>11,.0f}{cells}"


def write_human36m(path: Path, folder: Path, dtype: str, frames: dict[str, int]) -> None:
    """The pickle in its true layout: one performance filmed by the four cameras, each sequence from another moment."""
    rng = np.random.default_rng(0)
    write_standin_body(folder)
    motion = performance(120.0, 50.0, rng)
    body = ReducedBody.load(folder / "smplh/male/model.npz", folder / "J_regressor_h36m_correct.npy")
    take = Take(body(motion["poses"], motion["trans"], motion["betas"]), 50.0, 1, "Walk", 1)
    filmed = []
    for index, intrinsics in enumerate(HUMAN36M_CAMERAS.values()):
        camera = camera_for(take, index, 4, intrinsics, FilmConfig(), rng)
        joints = camera.to_camera(take.joints) * 1000
        image, _ = camera_to_image(joints, camera.fx, camera.fy, camera.cx, camera.cy)
        filmed.append((image.astype(dtype), two_and_half_d_factor(image, joints).astype(dtype)))
    content = {split: _part(split, count, filmed, rng) for split, count in frames.items()}
    with path.open("wb") as handle:
        pickler = pickle.Pickler(handle, protocol=4)
        pickler.fast = True  # every text by itself, as separately read texts are stored
        pickler.dump(content)


def _part(split: str, frames: int, filmed: list[Any], rng: np.random.Generator) -> dict[str, Any]:
    subjects, moments = ((1, 5, 6, 7, 8) if split == "train" else (9, 11)), len(filmed[0][0])
    keys = [(s, act, sub, ca) for s in subjects for act in HUMAN36M_ACTS for sub in (1, 2) for ca in range(4)]
    lengths = np.diff(np.linspace(0, frames, len(keys) + 1).astype(int))
    dtype = filmed[0][0].dtype
    image, factor = np.empty((frames, 17, 3), dtype), np.empty(frames, dtype)
    texts: dict[str, list[str]] = {"camera_name": [], "source": [], "action": []}
    names, start = list(HUMAN36M_CAMERAS), 0
    for (subject, act, subact, ca), length in zip(keys, lengths.tolist(), strict=True):
        there_and_back = (rng.integers(moments) + np.arange(length)) % (2 * moments)
        chosen = np.minimum(there_and_back, 2 * moments - 1 - there_and_back)
        image[start : start + length], factor[start : start + length] = (values[chosen] for values in filmed[ca])
        source = f"s_{subject:02d}_act_{HUMAN36M_ACTS[act]:02d}_subact_{subact:02d}_ca_{ca + 1:02d}"
        for key, text in (("camera_name", names[ca]), ("source", source), ("action", act)):
            texts[key] += [text] * length
        start += length
    part: dict[str, Any] = {
        "joint_2d": image[..., :2] + rng.standard_normal((frames, 17, 2), np.float32).astype(dtype) * 3,
        "confidence": rng.uniform(0.5, 1, (frames, 17)).astype(dtype),
        "joint3d_image": image,
    }
    if split == "test":
        part |= {"joints_2.5d_image": factor[:, None, None] * image, "2.5d_factor": factor, "action": texts["action"]}
    return part | {"camera_name": texts["camera_name"], "source": texts["source"]}


def human36m_size(scratch: Path, dtype: str, share: float) -> dict[str, Any]:
    """Generate, convert in another process, report."""
    file = scratch / FILE_NAME
    frames = {split: round(count * share) for split, count in PUBLISHED_FRAMES.items()}
    # in a child too: what it needs is given back before anything is measured
    if (child := os.fork()) == 0:
        write_human36m(file, scratch / "body", dtype, frames)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the pickle could not be written")
    size = file.stat().st_size
    print(f"Human3.6M: {frames['train']:,} + {frames['test']:,} frames, {dtype}, pickle {size / 1e9:.2f} GB\n{HEAD}")
    code = "import sys; from langpose.lifting_sets import convert_human36m; convert_human36m(*sys.argv[1:])"
    used = run_measured([sys.executable, "-c", code, str(file), str(scratch / "lifting")])
    print(row("convert", used, sum(frames.values())))
    print(f"held, w/o files / pickle: {used.anonymous_together / size:.2f}\n")
    return {"dtype": dtype, "frames": frames, "pickle_bytes": size, "convert": vars(used),
            "ratio": size / used.anonymous_together}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", choices=("amass", "human36m"))
    parser.add_argument("--hours", type=float, default=40.0)
    parser.add_argument("--distinct", type=int, default=64, help="AMASS files that differ")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64", help="of Human3.6M's arrays")
    parser.add_argument("--share", type=float, default=1.0, help="of Human3.6M's frames, for a trial")
    parser.add_argument("--scratch", type=Path, help="folder to work in; default: the system's temporary one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine(2, "float64 files, float32 motion")}
    print(figures["machine"] + "\n")
    for name in ("human36m", "amass"):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="full_size_", dir=options.scratch) as folder:
                if name == "amass":
                    figures[name] = amass_size(Path(folder), options.hours, options.distinct)
                else:
                    figures[name] = human36m_size(Path(folder), options.dtype, options.share)
            save(options.json, figures)
    print(f"ratio: {figures[options.only or 'amass']['ratio']:.2f}")


if __name__ == "__main__":
    main()
