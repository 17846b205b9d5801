"""BABEL's labels: nothing is lost without being counted, and what is malformed is named by sequence and field."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from langpose.demo.babel_files import LabelledSequence, feat_p, write_babel
from langpose.demo.choreography import Segment
from langpose.sources import amass, babel


def label(raw: str | None, start: Any = None, end: Any = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"raw_label": raw, "proc_label": raw, "seg_id": "x", "act_cat": raw and [raw.split()[0]]}
    if start is not None:
        made |= {"start_t": start, "end_t": end}
    return made | more


def entry(sid: int, file: str = "CMU/CMU/05/05_01_poses.npz", **fields: Any) -> dict[str, Any]:
    return {"babel_sid": sid, "url": "", "feat_p": file, "dur": 9.0, **fields}


DENSE = entry(
    1,
    seq_ann={"labels": [label("dance")]},
    frame_ann={"labels": [label("spin", 4, 6.5), label("transition", 3.5, 4), label("walk", 0, 4.2, proc_label=None)]},
)
HIDDEN = entry(2, "KIT/KIT/3/a_poses.npz", seq_ann={"labels": [label(None)]},
               frame_ann={"labels": [label(None, 0, 2), label(None, 2, 4)]})  # fmt: skip
EXTRA = entry(
    3,
    "BMLrub/BioMotionLab_NTroje/rub001/b_poses.npz",
    seq_anns=[{"labels": [label("jump")]}, {"labels": [label("hop")]}],
    frame_anns=[{"labels": [label("hop", -0.1, 2)]}, None, {"labels": [label("leap", 1, 2), label("nod", 5, 5)]}],
)
FILES = {"train": {"1": DENSE}, "test": {"2": HIDDEN}, "extra_val": {"3": EXTRA}}


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_labels_are_read_sorted_with_seconds_split_and_level(tmp_path):
    labels = babel.read(write(tmp_path / "b", **FILES))
    assert list(labels.columns) == list(babel.COLUMNS)
    dense = labels[labels["sequence"] == "CMU/05/05_01"]
    assert list(zip(dense["level"], dense["label"], dense["start_s"], dense["stop_s"], strict=True)) == [
        ("frame", "walk", 0.0, 4.2), ("frame", "transition", 3.5, 4.0), ("frame", "spin", 4.0, 6.5),
        ("sequence", "dance", 0.0, 9.0),
    ]  # fmt: skip
    assert set(dense["split"]) == {"train"} and dense["dense"].all() and set(dense["babel_sid"]) == {1}
    assert dense["start_s"].dtype == dense["stop_s"].dtype == "float64"
    assert dense["categories"].iloc[0] == ["walk"]


def test_extra_files_keep_their_annotators_apart(tmp_path):
    labels = babel.read(write(tmp_path / "b", **FILES))
    extra = labels[labels["sequence"] == "BMLrub/rub001/b"]
    assert not extra["dense"].any() and set(extra["split"]) == {"val"}
    assert set(extra.loc[extra["level"] == "sequence", "label"]) == {"jump", "hop"}
    frames = extra[extra["level"] == "frame"].set_index("label")
    assert frames.loc["hop", "annotation"] != frames.loc["leap", "annotation"]
    assert frames.loc["hop", "start_s"] == 0.0  # a label cannot begin before the recording


def test_what_is_left_out_is_counted(tmp_path):
    labels = babel.read(write(tmp_path / "b", **FILES))
    report = labels.attrs["report"]
    assert report["sequences"] == {"train": 1, "test": 1, "extra_val": 1}
    assert report["labels"] == {"train": 4, "test": 0, "extra_val": 4}
    assert report["without_text"] == {"train": 0, "test": 3, "extra_val": 0}
    assert report["no_duration"] == {"train": 0, "test": 0, "extra_val": 1}
    assert len(labels) == sum(report["labels"].values())
    assert "test" not in set(labels["split"])


def test_either_text_can_be_the_label_and_each_stands_in_for_the_other(tmp_path):
    walk = label("walks  to the\ttable", 0, 1, proc_label="walk")
    bare = label("stumbles", 1, 2, proc_label=None, act_cat=None)
    folder = write(tmp_path / "b", train={"1": entry(1, frame_ann={"labels": [walk, bare]})})
    assert list(babel.read(folder)["label"]) == ["walk", "stumbles"]
    raw = babel.read(folder, text="raw_label")
    assert list(raw["label"]) == ["walks to the table", "stumbles"]
    assert raw["categories"].iloc[1] == []


def test_null_annotations_are_no_labels(tmp_path):
    nothing = entry(1, seq_ann=None, frame_ann=None)
    labels = babel.read(write(tmp_path / "b", train={"1": nothing}, val={}))
    assert labels.empty and list(labels.columns) == list(babel.COLUMNS)
    assert labels.attrs["report"]["sequences"] == {"train": 1, "val": 0}


def broken(change: Any) -> dict[str, Any]:
    made = copy.deepcopy(DENSE)
    change(made)
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("feat_p"), r"train\.json: sequence 1: field 'feat_p' is missing"),
        (lambda e: e.update(feat_p=7), r"sequence 1: field 'feat_p' is 7; expected str"),
        (lambda e: e.update(dur="9"), r"sequence 1: field 'dur' is '9'; expected a number of seconds"),
        (lambda e: e.update(dur=None), r"sequence 1: field 'dur' is None"),
        (lambda e: e.update(babel_sid="1"), r"sequence 1: field 'babel_sid' is '1'; expected int"),
        (lambda e: e.update(frame_ann=[]), r"sequence 1: field 'frame_ann' is \[\]; expected dict"),
        (lambda e: e["frame_ann"].pop("labels"), r"sequence 1, frame annotation 0: field 'labels' is missing"),
        (lambda e: e["frame_ann"]["labels"].append("walk"), r"frame annotation 0: field 'labels' holds 'walk'"),
        (lambda e: e["frame_ann"]["labels"][1].pop("end_t"), r"annotation 0, label 1: field 'end_t' is missing"),
        (lambda e: e["frame_ann"]["labels"][2].update(start_t=None), r"label 2: field 'start_t' is None"),
        (lambda e: e["frame_ann"]["labels"][0].update(start_t=True), r"label 0: field 'start_t' is True"),
        (lambda e: e["frame_ann"]["labels"][0].update(raw_label=3), r"label 0: field 'raw_label' is 3"),
        (lambda e: e["frame_ann"]["labels"][0].update(act_cat="walk"), r"label 0: field 'act_cat' is 'walk'"),
        (lambda e: e["frame_ann"]["labels"][0].update(act_cat=[None]), r"label 0: field 'act_cat' is \[None\]"),
    ],
)
def test_a_malformed_entry_is_named_by_sequence_and_field(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        babel.read(write(tmp_path / "b", train={"1": broken(change)}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"1": {"babel_sid": 1, ', r"train\.json: not valid JSON"),
        ("[]", r"train\.json: holds a list; expected an object"),
        ('{"1": null}', r"train\.json: sequence 1 is None; expected an object"),
    ],
)
def test_a_malformed_file_is_named(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        babel.read(write(tmp_path / "b", train=content))


def test_an_absent_release_says_what_to_place_where(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of train\.json, .*place BABEL v1\.0 there"):
        babel.read(tmp_path)


def test_the_writer_of_the_demo_is_read_back_whole(tmp_path):
    segments = [Segment("walks", "walk", ("walk",), 0.0, 3.0), Segment("sits", "sit", ("sit",), 3.0, 6.0)]
    files = [f"BMLrub/rub{n:03d}/x_poses.npz" for n in range(30)]
    splits = ("train", "val", "test", "extra_train", "extra_val")
    write_babel(tmp_path, [LabelledSequence(f, 6.0, segments, splits[n % 5]) for n, f in enumerate(files)], 0)
    labels = babel.read(tmp_path)
    assert set(labels["sequence"]) <= {amass.sequence_id(file) for file in files}
    assert (labels["stop_s"] <= 6.0).all() and (labels["start_s"] < labels["stop_s"]).all()
    assert {"walk", "sit"} <= set(labels["label"])
    found = babel.splits(tmp_path)
    assert len(found) == 30 and found["BMLrub/rub004/x"] == "val" and found["BMLrub/rub002/x"] == "test"
    assert feat_p(files[0]) != files[0]  # the old folders' names were in the way


# ---- split by subject -----------------------------------------------------------------------------------------------


def test_no_subject_is_in_two_splits_and_clear_ones_stay_where_babel_has_them():
    sequences = [f"CMU/{subject:02d}/{n}" for subject in range(20) for n in range(6)]
    known = {name: ("train", "val", "test")[int(name[4:6]) % 3] for name in sequences}
    chosen = babel.subject_splits(sequences, known)
    assert chosen == {f"CMU/{subject:02d}": ("train", "val", "test")[subject % 3] for subject in range(20)}
    assert babel.subject_splits(["KIT/3/a"], {}) == {"KIT/3": "train"}  # nobody labelled it


def test_subjects_that_babel_splits_are_drawn_once_and_most_stay_for_training():
    sequences = [f"KIT/{subject}/{n}" for subject in range(400) for n in range(5)]
    mixed = {name: ("train", "train", "train", "val", "test")[i % 5] for i, name in enumerate(sequences)}
    chosen = babel.subject_splits(sequences, mixed)
    shares = {split: list(chosen.values()).count(split) / 400 for split in ("train", "val", "test")}
    assert shares["val"] == pytest.approx(0.1, abs=0.05) and shares["test"] == pytest.approx(0.1, abs=0.05)
    assert chosen == babel.subject_splits(reversed(sequences), dict(reversed(mixed.items())))
    fewer = babel.subject_splits(sequences[: 5 * 100], mixed)
    assert all(chosen[subject] == split for subject, split in fewer.items())  # more data moves nobody


def test_a_sequence_in_two_files_keeps_the_dense_ones_split(tmp_path):
    folder = write(tmp_path / "b", val={"1": DENSE}, extra_train={"1": EXTRA | {"feat_p": DENSE["feat_p"]}})
    assert babel.splits(folder) == {"CMU/05/05_01": "val"}


def test_annotators_of_a_recording_in_a_dense_and_an_extra_file_stay_apart(tmp_path):
    extra = entry(9, DENSE["feat_p"], seq_anns=[], frame_anns=[{"labels": [label("stroll", 0, 3)]}])
    for name, content in {"train": {"1": DENSE}, "extra_train": {"9": extra}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    read = babel.read(tmp_path).set_index("label")["annotation"]
    assert read["spin"] == read["transition"] == 0
    assert read["stroll"] == 1
