"""Performed motion moves like people: no limb jumps, planted feet stay, bones keep their length, left is left."""

import numpy as np
import pytest

from langpose.body import ReducedBody
from langpose.demo.anatomy import NAMES, PARENTS, rest_joints
from langpose.demo.choreography import ACTIONS, Performance, perform
from langpose.demo.kinematics import forward_kinematics, unit
from langpose.demo.puppet import _elbow_to
from langpose.demo.standin_body import write_standin_body
from langpose.skeleton import handedness

SEEDS = (0, 1, 2)
LIMBS_ONLY = 22  # SMPL-H's joints without the fingers
JUMP_M = 0.05  # at 60 Hz; a blow's knee comes within a few mm of it, elbows that flipped made 0.3
SLIDE_M = (
    0.0025  # a planted ball's horizontal step at 60 Hz: a leg at full stretch gives way a little as a run pushes off
)
# Sequences in which elbows flipped as the hand passed the direction that the elbow was told to point in.
FLIPPED = (
    ("stretch", "pose"), ("stretch", "discuss"), ("walk", "bend"), ("look_around", "pose"), ("raise_arms", "throw"),
    ("pose", "squat"), ("walk_backwards", "stretch"), ("eat", "arm_circles"), ("photo", "bend"), ("pose", "stretch"),
)  # fmt: skip


def body(seed: int) -> np.ndarray:
    return np.clip(np.random.default_rng([9, seed]).normal(0, 1, 16), -2, 2)


def play(actions: tuple[str, ...], seed: int, rate_hz: float = 60.0) -> tuple[Performance, np.ndarray]:
    """A performance and its joints (T, 22, 3) metres, z up."""
    show = perform(actions, body(seed), "female", rate_hz, np.random.default_rng([seed, len(actions)]))
    return show, forward_kinematics(show.poses, show.trans, body(seed), "female")[:, :LIMBS_ONLY]


@pytest.fixture(scope="module")
def shows() -> dict[tuple[str, int], tuple[Performance, np.ndarray]]:
    return {(action, seed): play((action,), seed) for action in ACTIONS for seed in SEEDS}


def jump_m(joints: np.ndarray) -> tuple[float, str, int]:
    """The most by which a joint's step from one frame to the next exceeds the median of the nine around it."""
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    padded = np.pad(steps, ((4, 4), (0, 0)), mode="edge")
    excess = steps - np.median(np.lib.stride_tricks.sliding_window_view(padded, 9, axis=0), -1)
    frame, joint = np.unravel_index(excess.argmax(), excess.shape)
    return float(excess[frame, joint]), NAMES[joint], int(frame)


def test_there_are_at_least_twenty_programs() -> None:
    assert len(set(ACTIONS)) >= 20
    assert {"walk", "run", "jump", "kick", "wave", "throw", "pick_up", "bend", "raise_arms", "sit_down", "sitting",
            "squat", "turn", "punch", "drink", "phone", "photo", "stand"} <= set(ACTIONS)  # fmt: skip


def test_no_joint_jumps_in_any_program(shows: dict[tuple[str, int], tuple[Performance, np.ndarray]]) -> None:
    for key, (_, joints) in shows.items():
        assert jump_m(joints)[0] < JUMP_M, (key, jump_m(joints))


@pytest.mark.parametrize("actions", FLIPPED, ids="-".join)
def test_no_joint_jumps_from_one_action_to_the_next(actions: tuple[str, str]) -> None:
    for seed in (0, 1, 2, 3):
        assert jump_m(play(actions, seed)[1])[0] < JUMP_M, (seed, jump_m(play(actions, seed)[1]))


def test_a_jump_of_one_frame_would_be_seen() -> None:
    joints = play(("walk",), 0)[1]
    joints[50:, 18] += (0.0, 0.0, 0.08)
    assert jump_m(joints)[1:] == ("left_elbow", 49)


@pytest.mark.parametrize("pole", [(0.9, -0.1, 0.1), (0.35, -0.45, -0.85), (0.6, -0.8, -0.35), (0.8, -0.85, 0.0)])
def test_an_elbow_does_not_flip_as_the_hand_passes_where_it_points(pole: tuple[float, float, float]) -> None:
    at = unit(np.array(pole))
    across = unit(np.cross(at, (0.0, 0.0, 1.0)))
    angle = np.linspace(-1, 1, 401)[:, None]
    hands = np.cos(angle) * at + np.sin(angle) * across
    bend = _elbow_to(hands, np.tile(pole, (len(hands), 1)), np.ones(3))
    bend = unit(bend - (bend * hands).sum(-1, keepdims=True) * hands)
    assert np.linalg.norm(np.diff(bend, axis=0), axis=-1).max() < 0.04  # the hand turns by 0.005


def test_planted_feet_do_not_slide(shows: dict[tuple[str, int], tuple[Performance, np.ndarray]]) -> None:
    for key, (show, joints) in shows.items():
        planted = show.contacts[1:] & show.contacts[:-1]
        steps_m = np.linalg.norm(np.diff(joints[:, [10, 11], :2], axis=0), axis=-1)
        assert planted.any(0).all(), key
        assert steps_m[planted].max() < SLIDE_M, key
        assert np.median(steps_m[planted]) < 1e-3, key


def test_bones_keep_their_length() -> None:
    rest = rest_joints(body(0), "female")
    for action in ("walk", "dance", "kick", "throw"):
        joints = play((action,), 0)[1]
        for joint in range(1, LIMBS_ONLY):
            length = np.linalg.norm(joints[:, joint] - joints[:, PARENTS[joint]], axis=-1)
            np.testing.assert_allclose(length, np.linalg.norm(rest[joint] - rest[PARENTS[joint]]), atol=1e-12)


def test_left_is_left_once_regressed_to_seventeen_joints(
    shows: dict[tuple[str, int], tuple[Performance, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("body")
    write_standin_body(folder)
    regressed = ReducedBody.load(folder / "smplh/female/model.npz", folder / "J_regressor_h36m_correct.npy")
    for (action, seed), (show, _) in shows.items():
        joints = regressed(show.poses[::4], show.trans[::4], body(seed), None)
        side = handedness(joints, (0, 0, 1))
        assert (side > 0.05).all(), (action, seed)


@pytest.mark.parametrize("actions", [("dance", "lunge", "jump"), ("walk", "throw"), ("arm_circles", "sit_down")])
def test_another_rate_shows_the_same_motion(actions: tuple[str, ...]) -> None:
    slow, joints = play(actions, 3, 60.0)
    fast, twice = play(actions, 3, 120.0)
    assert fast.segments[:-1] == slow.segments[:-1]
    assert abs(len(twice) - 2 * len(joints)) <= 1
    between = np.linalg.norm(joints - twice[::2][: len(joints)], axis=-1)
    assert between.max() < 0.012  # of the steps' smoothing over time, which is a sum over frames
    assert between.mean() < 0.001


def test_sequences_are_actions_joined_by_labelled_transitions() -> None:
    for seed, actions in enumerate([("walk", "sit_down"), ("wave", "kick", "turn"), ("run", "jump", "bend", "drink")]):
        show, joints = play(actions, seed)
        names = [segment.proc_label for segment in show.segments]
        assert len(names) == 2 * len(actions) - 1
        assert names[1::2] == ["transition"] * (len(actions) - 1)
        assert "transition" not in names[0::2]
        assert show.segments[0].start_s == 0
        assert show.segments[-1].end_s == pytest.approx(len(joints) / show.rate_hz)
        for before, after in zip(show.segments, show.segments[1:], strict=False):
            assert before.end_s == after.start_s
        for segment in show.segments[1::2]:
            assert 0.45 <= segment.end_s - segment.start_s <= 1.0


def test_takes_of_one_action_differ_and_the_same_state_gives_the_same_bytes() -> None:
    first, again, other = play(("wave",), 0)[0], play(("wave",), 0)[0], play(("wave",), 1)[0]
    assert first.poses.tobytes() == again.poses.tobytes()
    assert first.trans.tobytes() == again.trans.tobytes()
    assert first.poses.shape != other.poses.shape or np.abs(first.poses - other.poses).max() > 0.1


def test_every_program_fits_into_the_shortest_action() -> None:
    for action in ACTIONS:
        perform((action, "walk"), body(0), "male", 30.0, np.random.default_rng(4), (1.2, 1.2))


def test_wishes_without_sense_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no actions; name at least one of"):
        perform((), body(0), "male", 60.0, rng)
    with pytest.raises(ValueError, match="unknown actions moonwalk"):
        perform(("moonwalk",), body(0), "male", 60.0, rng)
    with pytest.raises(ValueError, match="rate_hz is 5"):
        perform(("walk",), body(0), "male", 5, rng)
    with pytest.raises(ValueError, match=r"action_seconds is \(0.5, 1.0\)"):
        perform(("walk",), body(0), "male", 60.0, rng, (0.5, 1.0))
