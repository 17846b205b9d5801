"""Clips of transitions lie across the transition, and a data set travels to worker processes without its motion."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from langpose.cameras import VirtualCamera, front_view, side_view
from langpose.clips import ClipsConfig, MotionClips, PretrainClips

FRAMES = 400
PAIRS = [
    # start, stop, kind, core_start, core_stop
    (100, 250, "transition", 160, 180),  # A and B longer than a clip
    (155, 250, "transition", 160, 180),  # little of A
    (160, 200, "transition", 161, 199),  # longer than a clip of 27
    (150, 190, "transition", 160, 186),  # leaves one frame of 27
    (170, 190, "transition", 175, 182),  # all of it is shorter than a clip
    (5, 40, "transition", 8, 20),  # beside the recording's start
    (360, 400, "transition", 380, 392),  # beside its end
    (50, 150, "action", 50, 150),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording whose every coordinate is its frame's number, after another of 50 frames."""
    root = tmp_path_factory.mktemp("clips")
    (root / "motions").mkdir()
    (root / "views").mkdir()
    frames = np.concatenate([np.full(50, -1000.0), np.arange(FRAMES)])
    for name in ("front", "side"):
        np.save(root / "views" / f"{name}.npy", np.tile(frames[:, None, None], (1, 17, 3)).astype(np.float32))
    table = pd.DataFrame([("other", 0, 50, "train"), ("r", 50, FRAMES, "train")],
                         columns=["sequence", "start", "frames", "split"])  # fmt: skip
    table.to_parquet(root / "motions" / "sequences.parquet")
    rows = [(i, "r", a, b, f"label {i}", kind, [kind], "train", c, d) for i, (a, b, kind, c, d) in enumerate(PAIRS)]
    columns = ["pair", "sequence", "start", "stop", "label", "kind", "categories", "split", "core_start", "core_stop"]
    pd.DataFrame(rows, columns=columns).to_parquet(root / "pairs.parquet")
    return root


def frames_of(clip: np.ndarray) -> list[int]:
    assert (clip == clip[:, :1, :1]).all()
    return clip[:, 0, 0].astype(int).tolist()


def config(clip_len: int) -> ClipsConfig:
    return ClipsConfig(clip_len=clip_len, scale=1.0, center="none")


def drawn(data: Path, clip_len: int, item: int, epochs: int = 60) -> list[list[int]]:
    clips = PretrainClips(data, config(clip_len), ["train"], seed=1)
    windows = []
    for epoch in range(epochs):
        clips.set_epoch(epoch)
        windows.append(frames_of(clips[item]["motion"]))
    return windows


@pytest.mark.parametrize("item", [0, 1, 4, 5, 6])
@pytest.mark.parametrize("clip_len", [27, 81, 243])
def test_a_transitions_clip_shows_both_neighbours_and_all_of_it(data, clip_len, item):
    _, _, _, core_start, core_stop = PAIRS[item]
    for window in drawn(data, clip_len, item):
        assert window == list(range(window[0], window[0] + clip_len))
        assert window[0] < core_start and core_stop <= window[-1]  # a frame of A, the transition, a frame of B


def test_both_neighbours_get_a_quarter_of_what_the_transition_leaves(data):
    windows = drawn(data, 60, 0)
    assert min(160 - w[0] for w in windows) >= 10 and min(w[-1] + 1 - 180 for w in windows) >= 10
    assert len({w[0] for w in windows}) > 10  # drawn, not fixed
    assert min(w[0] for w in windows) >= 100 and max(w[-1] for w in windows) < 250


@pytest.mark.parametrize("item", [2, 3])
def test_a_transition_too_long_for_the_clip_is_seen_at_its_middle(data, item):
    _, _, _, core_start, core_stop = PAIRS[item]
    first = core_start + (core_stop - core_start - 27) // 2
    assert {w[0] for w in drawn(data, 27, item, epochs=5)} == {first}


def test_fixed_clips_stand_on_the_middle_of_what_the_label_names(data):
    clips = PretrainClips(data, config(27), ["train"], fixed=True)
    for item, (_, _, _, core_start, core_stop) in enumerate(PAIRS):
        window = frames_of(clips[item]["motion"])
        middle = core_start + (core_stop - core_start - 27) // 2
        assert window[0] == min(max(middle, 0), FRAMES - 27)


def test_an_actions_clip_never_leaves_its_segment_where_that_is_long_enough(data):
    firsts = {w[0] for w in drawn(data, 27, 7, epochs=300)}
    assert min(firsts) == 50 and max(firsts) == 150 - 27


def test_a_data_set_is_pickled_without_its_motion(data):
    for clips in (PretrainClips(data, config(27), ["train"], 3), MotionClips(data, config(27), ["train"], 9, 3)):
        clips.set_epoch(4)
        sent = pickle.dumps(clips)
        assert len(sent) < clips.views[0].nbytes / 2
        again = pickle.loads(sent)
        np.testing.assert_array_equal(again[0]["motion"], clips[0]["motion"])
        assert isinstance(again.views[0].base, np.memmap) and again.epoch == 4


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A recording of 60 frames: a person who stands still and one who bends, front and side."""
    world = np.random.default_rng(0).normal([2.0, -1.0, 1.0], 0.4, (60, 17, 3))
    for folder in ("motions", "views"):
        (tmp_path / folder).mkdir()
    for name, view in (("front", front_view), ("side", side_view)):
        np.save(tmp_path / "views" / f"{name}.npy", view(world).astype(np.float32))
    table = pd.DataFrame([("r", 0, 60, "train")], columns=["sequence", "start", "frames", "split"])
    table.to_parquet(tmp_path / "motions" / "sequences.parquet")
    rows = [(i, "r", i, i + 30, "a", "action", ["a"], "train", i, i + 30) for i in range(20)]
    columns = ["pair", "sequence", "start", "stop", "label", "kind", "categories", "split", "core_start", "core_stop"]
    pd.DataFrame(rows, columns=columns).to_parquet(tmp_path / "pairs.parquet")
    return tmp_path


def test_a_yaw_view_is_drawn_from_all_sides_and_changes_nothing_but_the_side(people):
    front = PretrainClips(people, ClipsConfig(clip_len=30, views=["front"]), ["train"])
    yaw = PretrainClips(people, ClipsConfig(clip_len=30, views=["yaw"]), ["train"])
    angles = []
    for item in range(20):
        straight, turned_ = front[item]["motion"].astype(float), yaw[item]["motion"].astype(float)
        np.testing.assert_allclose(turned_[..., 1], straight[..., 1], atol=1e-6)  # heights stay
        plane = [motion[..., 0] + 1j * motion[..., 2] for motion in (straight, turned_)]
        turn = plane[1] / plane[0]
        np.testing.assert_allclose(turn, turn[0, 0], atol=1e-3)  # one rotation, no mirror, for the whole clip
        angles.append(np.angle(turn[0, 0]))
    assert len(set(np.round(angles, 3))) == 20 and np.ptp(angles) > 4
    yaw.set_epoch(1)
    again = PretrainClips(people, ClipsConfig(clip_len=30, views=["yaw"]), ["train"])
    again.set_epoch(1)
    np.testing.assert_array_equal(again[3]["motion"], yaw[3]["motion"])
    assert not np.allclose(yaw[3]["motion"], front[3]["motion"], atol=1e-3)


def test_fixed_yaw_views_are_spread_round_the_person(people):
    fixed = [
        PretrainClips(people, ClipsConfig(clip_len=30, views=views), ["train"], fixed=True)
        for views in (["front"], ["yaw"])
    ]
    turns = [
        np.angle(np.divide(*(motion[0, 5, 0] + 1j * motion[0, 5, 2] for motion in (b, a))))
        for a, b in ((fixed[0][i]["motion"], fixed[1][i]["motion"]) for i in range(20))
    ]
    gaps = np.diff(np.sort(np.append(turns, min(turns) + 2 * np.pi)))
    assert gaps.max() < 4 * np.pi / 20


def test_both_conversions_show_the_same_person_the_same_way_round(people):
    telephoto = VirtualCamera(focal_px=229_000.0, distance_m=1000.0)  # from afar: orthographic
    for view in ("front", "side"):
        metres, pixels = (
            PretrainClips(people, config, ["train"])[4]["motion"] * config.mm_per_unit
            for config in (
                ClipsConfig(clip_len=30, views=[view]),
                ClipsConfig(clip_len=30, views=[view], conversion="pixels", camera=telephoto),
            )
        )
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels - pixels[:, :1], metres - metres[:, :1], atol=10)


def test_a_clips_config_says_what_it_does_not_know():
    with pytest.raises(ValueError, match="views are .* front, side, yaw"):
        ClipsConfig(views=["top"])
