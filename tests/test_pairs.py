"""Labels to pairs: seconds to frames at the true rate, and transitions by the stated rule."""

import pandas as pd
import pytest

from langpose.pairs import PairConfig, label_counts, make_pairs

CONFIG = PairConfig(min_seconds=0.2)


def sequences(*pieces):
    """(recording, frames, rate_hz, offset_s)"""
    rows, start = [], 0
    for number, (recording, frames, rate, offset) in enumerate(pieces):
        rows.append((f"{recording}#{number}" if offset else recording, recording, start, frames, rate, offset, "train"))
        start += frames
    return pd.DataFrame(rows, columns=["sequence", "recording", "start", "frames", "rate_hz", "offset_s", "split"])


def labels(*rows, recording="r"):
    """(label, start_s, stop_s)"""
    return pd.DataFrame(
        [(recording, a, b, text, [text.split()[0]]) for text, a, b in rows],
        columns=["sequence", "start_s", "stop_s", "label", "categories"],
    )


def pairs(*rows, config=CONFIG, at=None):
    made, report = make_pairs(labels(*rows), sequences(("r", 600, 60.0, 0.0)) if at is None else at, config)
    return made, report


def test_seconds_become_frames_at_each_sequences_own_rate():
    for rate in (60.0, 59.94, 75.0, 30.0):
        made, _ = pairs(("walk", 1, 2.5), at=sequences(("r", 600, rate, 0.0)))
        assert (made["start"][0], made["stop"][0]) == (round(rate), round(2.5 * rate))


def test_labels_at_the_same_time_each_make_a_pair():
    made, _ = pairs(("walk", 0, 4), ("wave", 1, 2))
    assert set(made["label"]) == {"walk", "wave"}


def test_a_transition_is_named_by_its_neighbours_and_straddles_itself():
    made, _ = pairs(("sit down", 5, 7), ("transition", 4, 5), ("walk", 0, 4))  # unsorted on purpose
    row = made[made["kind"] == "transition"].iloc[0]
    assert row["label"] == "transit from walk to sit down"
    assert list(row["categories"]) == ["transition"]
    assert (row["start"], row["stop"]) == (2 * 60, 6 * 60)  # 2 s of walk, the second half of sit down's 2 s


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("transition", 0, 1), ("walk", 1, 4)], None),  # first
        ([("walk", 0, 4), ("transition", 4, 5)], None),  # last
        ([("walk", 0, 3), ("transition", 3, 4), ("walk", 4, 8)], None),  # no change to name
        ([("walk", 0, 3), ("transition", 3, 4), ("transition", 4, 5), ("run", 5, 8)], "transit from walk to run"),
        ([("walk", 0, 3), ("wave", 1, 2), ("transition", 3, 4), ("run", 4, 8)], "transit from walk to run"),  # nearest
        ([("walk", 0, 3), ("wave", 2, 3), ("transition", 3, 4), ("run", 4, 8)], "transit from walk to run"),  # longer
        ([("walk", 0, 3), ("carry", 0, 3), ("transition", 3, 4), ("run", 4, 8)], "transit from carry to run"),  # text
        ([("walk", 0, 3.4), ("transition", 3, 4), ("run", 3.7, 8)], "transit from walk to run"),  # overlapping
        ([("talk", 0, 9), ("walk", 0, 3), ("transition", 3, 4), ("run", 4, 8)], "transit from walk to run"),  # spans it
    ],
)
def test_transitions_in_edge_cases(rows, expected):
    made, report = pairs(*rows)
    found = list(made.loc[made["kind"] == "transition", "label"])
    if expected is None:
        assert found == []
        assert report["dropped"]["transition without neighbour"] + report["dropped"]["transition to itself"] == 1
    else:
        assert set(found) == {expected}


def test_a_recording_cut_at_bad_frames_keeps_its_labels_in_place():
    made, report = pairs(
        ("walk", 1, 3), ("run", 4, 6), ("jump", 3.1, 3.2), at=sequences(("r", 120, 60.0, 0.0), ("r", 300, 60.0, 2.5))
    )
    walk = made[made["label"] == "walk"]
    assert list(zip(walk["sequence"], walk["start"], walk["stop"], strict=True)) == [("r", 60, 120), ("r#1", 0, 30)]
    run = made[made["label"] == "run"]
    assert list(zip(run["sequence"], run["start"], run["stop"], strict=True)) == [("r#1", 90, 210)]
    assert report["dropped"]["too short or in bad frames"] == 1


def test_whole_recording_labels_are_used_where_there_are_no_finer_ones():
    both = labels(("exercise", 0, 10), ("squat", 2, 3)).assign(level=["sequence", "frame"])
    other = labels(("dance", 0, 10), recording="s").assign(level="sequence")
    table = sequences(("r", 600, 60.0, 0.0), ("s", 600, 60.0, 0.0))
    made, _ = make_pairs(pd.concat([both, other]), table, CONFIG)
    assert set(made["label"]) == {"squat", "dance"}
    made, _ = make_pairs(pd.concat([both, other]), table, PairConfig(levels="frame"))
    assert set(made["label"]) == {"squat"}


def test_labels_without_motion_are_listed_and_refused_where_none_has_any():
    both = pd.concat([labels(("walk", 0, 1)), labels(("run", 0, 1), recording="absent")])
    _, report = make_pairs(both, sequences(("r", 600, 60.0, 0.0)), CONFIG)
    assert report["without motion"] == ["absent"]
    with pytest.raises(ValueError, match=r"no label's recording is among the 1 with motion.*absent"):
        make_pairs(labels(("run", 0, 1), recording="absent"), sequences(("r", 600, 60.0, 0.0)), CONFIG)
    with pytest.raises(ValueError, match=r"no label gives a pair"):
        pairs(("walk", 0, 0.01))


def test_label_counts_are_sorted_by_frequency():
    made, _ = pairs(("walk", 0, 1), ("run", 1, 2), ("walk", 2, 3))
    counts = label_counts(made)
    assert list(counts["label"]) == ["walk", "run"]
    assert counts["share"].sum() == pytest.approx(1)


def test_a_pair_says_where_in_it_the_transition_lies():
    made, _ = pairs(("walk", 0, 4), ("transition", 4, 5), ("sit down", 5, 7))
    row = made[made["kind"] == "transition"].iloc[0]
    assert (row["core_start"], row["core_stop"]) == (4 * 60, 5 * 60)
    actions = made[made["kind"] == "action"]
    assert (actions["core_start"] == actions["start"]).all() and (actions["core_stop"] == actions["stop"]).all()


@pytest.mark.parametrize("cut_s", [3.0, 4.5, 5.5])
def test_a_transition_that_a_cut_tears_apart_is_no_pair(cut_s):
    rows = (("walk", 0, 4), ("transition", 4, 5), ("sit down", 5, 7))
    frames = round(cut_s * 60)
    made, _ = pairs(*rows, at=sequences(("r", frames, 60.0, 0.0), ("r", 600 - frames, 60.0, cut_s)))
    found = made[made["kind"] == "transition"]
    expected = {3.0: ["r#1"], 4.5: [], 5.5: ["r"]}[cut_s]
    assert list(found["sequence"]) == expected
    offset = frames if expected == ["r#1"] else 0
    assert list(found["core_start"]) == [240 - offset] * len(expected)


def test_neighbours_are_sought_among_one_annotators_labels():
    first = labels(("walk", 0, 4), ("transition", 4, 5), ("sit", 5, 8)).assign(annotation=0)
    second = labels(("stroll", 0, 3.9), ("rest", 5.1, 8)).assign(annotation=1)
    made, _ = make_pairs(pd.concat([first, second]), sequences(("r", 600, 60.0, 0.0)), CONFIG)
    assert list(made.loc[made["kind"] == "transition", "label"]) == ["transit from walk to sit"]
    alone = labels(("transition", 4, 5)).assign(annotation=1)  # this annotator named no action
    _, report = make_pairs(pd.concat([first[first["label"] != "transition"], alone]),
                           sequences(("r", 600, 60.0, 0.0)), CONFIG)  # fmt: skip
    assert report["dropped"]["transition without neighbour"] == 1


def test_the_same_words_for_the_same_frames_are_one_pair():
    both = pd.concat([labels(("walk", 0, 4)).assign(annotation=n) for n in range(2)])
    made, report = make_pairs(both, sequences(("r", 600, 60.0, 0.0)), CONFIG)
    assert len(made) == 1 and report["dropped"]["said twice"] == 1
    assert list(made["pair"]) == [0]
