"""Projection and clips: nothing lost, nothing redone, left is left, windows equal slow slicing."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from langpose.clips import ClipsConfig, MotionClips, PretrainClips
from langpose.projection import Job, ProjectConfig, project
from langpose.sources.amass import NoMotionError
from langpose.sources.motion import Motion
from langpose.storage import sha256
from tests.test_filming import take

CONFIG = ProjectConfig(target_rate_hz=50.0, workers=1)


def read(path: Path, log: Path | None = None) -> Motion:
    """A reader of files that hold 'frames rate seed'."""
    if log is not None:
        with open(log, "a") as handle:
            handle.write(path.name + "\n")
    words = path.read_text().split()
    if words[0] == "broken":
        raise ValueError(f"{path.name}: NaN at frame 3")
    if words[0] == "empty":
        raise NoMotionError(f"{path.name}: holds no motion")
    motion = np.array(take(frames=int(words[0]), rate=float(words[1]), seed=int(words[2])).joints)
    if len(words) > 3:
        motion[int(words[3])] += 5.0  # a jump
    return Motion(motion, float(words[1]), path.stem[0], path.name, [])


def jobs(folder: Path, log: Path | None = None, **content: str) -> list[Job]:
    folder.mkdir(exist_ok=True)
    made = []
    for name, text in content.items():
        (folder / name).write_text(text)
        made.append(Job(name, "val" if name.startswith("v") else "train", folder / name, partial(read, log=log)))
    return made


def run(root: Path, made: list[Job], config: ProjectConfig = CONFIG) -> dict[str, str]:
    project(made, root / "motions", root / "views", config, root / "work")
    return {p.relative_to(root).as_posix(): sha256(p) for name in ("motions", "views") for p in (root / name).iterdir()}


FILES = {"a1": "200 100 0", "b1": "90 50 1", "v1": "120 60 2", "x1": "broken", "y1": "empty", "c1": "150 50 3 70"}


def test_views_and_motions_hold_the_same_frames(tmp_path):
    run(tmp_path, jobs(tmp_path / "raw", **FILES))
    table = pd.read_parquet(tmp_path / "motions" / "sequences.parquet")
    world, front, side = (
        np.load(tmp_path / name) for name in ("motions/joints.npy", "views/front.npy", "views/side.npy")
    )
    assert len(world) == len(front) == len(side) == table["frames"].sum()
    np.testing.assert_array_equal(front, np.stack([world[..., 0], -world[..., 2], world[..., 1]], -1))
    np.testing.assert_array_equal(side, np.stack([world[..., 1], -world[..., 2], -world[..., 0]], -1))
    rows = table.set_index("sequence")
    assert rows.loc["a1", "frames"] == 100 and rows.loc["a1", "rate_hz"] == 50
    assert rows.loc["v1", "rate_hz"] == 50 and rows.loc["v1", "split"] == "val"
    # everybody faces -y: in the front view their left hip is on the right of the image
    assert (front[:, 4, 0] > front[:, 1, 0]).all()


def test_a_recording_is_cut_at_its_bad_frames_and_says_where(tmp_path):
    run(tmp_path, jobs(tmp_path / "raw", **FILES))
    table = pd.read_parquet(tmp_path / "motions" / "sequences.parquet")
    pieces = table[table["recording"] == "c1"]
    assert list(pieces["sequence"]) == ["c1#1", "c1#2"]
    assert pieces["offset_s"].iloc[0] == 0 and pieces["offset_s"].iloc[1] == pytest.approx(72 / 50)
    joints = np.load(tmp_path / "motions" / "joints.npy")
    speed = np.linalg.norm(np.diff(joints[pieces["start"].iloc[0] :][: pieces["frames"].iloc[0]], axis=0), axis=-1) * 50
    assert speed.max() < 30


def test_files_that_cannot_be_used_are_listed_with_the_reason(tmp_path):
    run(tmp_path, jobs(tmp_path / "raw", **FILES))
    manifest = pd.read_csv(tmp_path / "motions" / "manifest.csv").set_index("recording")
    assert manifest.loc["x1", "status"] == "skipped" and "NaN at frame 3" in manifest.loc["x1", "note"]
    assert manifest.loc["y1", "status"] == "skipped" and "holds no motion" in manifest.loc["y1", "note"]
    with pytest.raises(ValueError, match=r"none of 1 recordings could be used; the first: x1: .*NaN"):
        run(tmp_path / "none", jobs(tmp_path / "raw", x1="broken"))
    assert not (tmp_path / "none" / "motions").exists()


def test_an_interrupted_run_continues_and_gives_the_same_bytes(tmp_path):
    whole = run(tmp_path / "whole", jobs(tmp_path / "raw", **FILES))

    log = tmp_path / "log"
    made = jobs(tmp_path / "raw2", log=log, **FILES)

    def interrupt(path: Path) -> Motion:
        raise KeyboardInterrupt

    stopped = [replace(job, read=interrupt) if job.recording == "v1" else job for job in made]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stopped)
    assert not (tmp_path / "cut" / "motions").exists()
    assert run(tmp_path / "cut", made) == whole
    assert sorted(log.read_text().split()) == sorted(FILES)  # each file was read once in all


def test_one_more_recording_does_not_redo_the_others(tmp_path):
    log = tmp_path / "log"
    made = jobs(tmp_path / "raw", log=log, a1="100 50 0", b1="100 50 1", c1="100 50 2")
    run(tmp_path, made[:2])
    run(tmp_path, made)
    assert log.read_text().split() == ["a1", "b1", "c1"]


def test_what_a_recording_is_read_with_decides_too(tmp_path, monkeypatch):
    log, body = tmp_path / "log", tmp_path / "body"
    body.write_text("one")
    made = [replace(job, inputs=(body,)) for job in jobs(tmp_path / "raw", log=log, a1="100 50 0")]
    run(tmp_path, made)
    run(tmp_path, made)
    assert log.read_text().split() == ["a1"]
    body.write_text("another")
    run(tmp_path, made)
    assert log.read_text().split() == ["a1"] * 2  # another body model: read again
    monkeypatch.setattr("langpose.projection._code", lambda: "changed")
    run(tmp_path, made)
    assert log.read_text().split() == ["a1"] * 3  # a mended reader: read again


def test_a_recording_that_is_there_twice_is_used_once(tmp_path):
    first, second = jobs(tmp_path / "raw", a1="100 50 0", a2="100 50 0")
    run(tmp_path, [first, replace(second, recording="a1")])
    table = pd.read_parquet(tmp_path / "motions" / "sequences.parquet")
    assert list(table["sequence"]) == ["a1"]
    manifest = pd.read_csv(tmp_path / "motions" / "manifest.csv")
    assert list(manifest["status"]) == ["used", "skipped"]
    assert manifest["note"].iloc[1].startswith("a2: the same recording as ")


def test_workers_change_nothing(tmp_path):
    made = jobs(tmp_path / "raw", **FILES)
    assert run(tmp_path / "one", made) == run(tmp_path / "two", made, replace(CONFIG, workers=2))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    run(root, jobs(root / "raw", a1="200 100 0", b1="16 50 1", v1="120 60 2"))
    columns = ["pair", "sequence", "start", "stop", "label", "kind", "categories", "split"]
    rows = [
        (0, "a1", 10, 70, "walk", "action", ["walk"], "train"),
        (1, "a1", 95, 99, "wave", "action", ["wave"], "train"),
        (2, "b1", 2, 9, "run", "action", ["run"], "train"),
        (3, "v1", 0, 60, "walk", "action", ["walk"], "val"),
    ]
    pairs = pd.DataFrame(rows, columns=columns)
    pairs.assign(core_start=pairs["start"], core_stop=pairs["stop"]).to_parquet(root / "pairs.parquet")
    return root


def slow_clip(root: Path, sequence: str, start: int, length: int, view: str) -> np.ndarray:
    table = pd.read_parquet(root / "motions" / "sequences.parquet").set_index("sequence")
    frames = np.load(root / "views" / f"{view}.npy")[table.loc[sequence, "start"] :][: table.loc[sequence, "frames"]]
    rows = [frames[min(max(t, 0), len(frames) - 1)] for t in range(start, start + length)]
    clip = np.array(rows) - np.mean([row[0] for row in rows], axis=0)
    return clip * 0.298


def test_windows_equal_slow_slicing(data):
    clips = PretrainClips(data, ClipsConfig(clip_len=20), ["train"], seed=5)
    starts = set()
    for epoch in range(30):
        clips.set_epoch(epoch)
        rng = np.random.default_rng([5, epoch, 0])
        start, view = 10 + int(rng.integers(41)), int(rng.integers(2))
        starts.add(start)
        np.testing.assert_allclose(
            clips[0]["motion"], slow_clip(data, "a1", start, 20, ("front", "side")[view]), atol=1e-6
        )
    assert min(starts) >= 10 and max(starts) <= 50 and len(starts) > 10
    # a short segment at the end of a recording shows the frames before it; a short recording repeats its edges
    fixed = PretrainClips(data, ClipsConfig(clip_len=20, views=["front"]), ["train"], fixed=True)
    np.testing.assert_allclose(fixed[1]["motion"], slow_clip(data, "a1", 80, 20, "front"), atol=1e-6)
    np.testing.assert_allclose(fixed[2]["motion"], slow_clip(data, "b1", 2 - 7, 20, "front"), atol=1e-6)


def test_clips_are_a_function_of_seed_epoch_and_item(data):
    a, b = (PretrainClips(data, ClipsConfig(clip_len=20), ["train"], seed=1) for _ in range(2))
    b.set_epoch(3)
    assert any((a[i]["motion"] != b[i]["motion"]).any() for i in range(3))
    a.set_epoch(3)
    for i in range(3):
        np.testing.assert_array_equal(a[i]["motion"], b[i]["motion"])


def test_labels_index_a_sorted_list_and_splits_are_apart(data):
    train = PretrainClips(data, ClipsConfig(clip_len=20), ["train"])
    assert train.labels == ["run", "walk", "wave"]
    assert [train.labels[train[i]["label_index"]] for i in range(3)] == ["walk", "wave", "run"]
    assert [c["pair"] for c in (PretrainClips(data, ClipsConfig(clip_len=20), ["val"])[0],)] == [3]
    with pytest.raises(ValueError, match="no pair of test"):
        PretrainClips(data, ClipsConfig(clip_len=20), ["test"])


def test_base_clips_cover_every_sequence_of_their_split(data):
    clips = MotionClips(data, ClipsConfig(clip_len=20, views=["front"]), ["train"], stride=15)
    assert len(clips) == len(range(0, 81, 15)) + 1
    np.testing.assert_allclose(clips[1]["motion"], slow_clip(data, "a1", 15, 20, "front"), atol=1e-6)
    with pytest.raises(ValueError, match="no sequence of test"):
        MotionClips(data, ClipsConfig(clip_len=20), ["test"], stride=5)


def test_left_stays_left_in_a_clip(data):
    clip = PretrainClips(data, ClipsConfig(clip_len=20, views=["front"]), ["train"])[0]["motion"]
    assert (clip[:, 4, 0] > clip[:, 1, 0]).all()
