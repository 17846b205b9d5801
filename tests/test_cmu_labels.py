"""CMU's descriptions and frame labels become texts, verbs, groups and seconds; no subject serves two purposes."""

from pathlib import Path

import pytest

from langpose.sources import cmu, cmu_archive, cmu_filming, cmu_labels
from langpose.sources.cmu_labels import SPLITS, action_group, categories, clean
from pipeline.stages.project import cmu_jobs
from tests.cmu_files import moving, write_archive

PINNED = [pinned for pinned in cmu_archive.read_manifest().values() if pinned.frames is not None]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Trials of 30 frames: 3 s at 10 Hz (the labels' own rate), or 0.25 s at 120 Hz."""
    return write_archive(
        tmp_path / "raw" / "cmu",
        {
            "02_01": ("walk", 120.0, moving(30)),
            "05_02": ("dance - expressive arms, pirouette", 60.0, moving(30)),
            "14_06": ("exercises", 10.0, moving(30)),
            "16_10": ("", 120.0, moving(30)),
            "17_01": ("Motorcycle", 120.0, moving(30)),
            "127_03": ("Run/Jog, sudden stop", 120.0, moving(30)),
        },
    )


# ------------------------------------------------------------------------------------------------------ descriptions


@pytest.mark.parametrize(
    ("description", "text", "verbs", "group"),
    [
        ("run/jog, sudden stop", "run, sudden stop", ["run", "stop"], "Run"),
        ("  Run_Dive Over  Roll Run", "run dive over roll run", ["run", "dive", "roll"], "Obstacle"),
        ("walk/hobble", "hobble", ["walk"], "Walk"),
        ("walk/sneak", "walk or sneak", ["walk"], "Walk"),
        ("Mawashigeri", "roundhouse kick (karate)", ["kick", "karate"], "Karate"),
        ("dance - attitude/arabesque", "dance, arabesque", ["dance"], "Dance"),
        ('nursery rhyme - "I\'m a little teapot..."', "act out the nursery rhyme i'm a little teapot",
         ["act out rhyme"], "Rhyme"),
        ("elephant (human subject)", "imitate an elephant", ["imitate animal"], "Animal"),
        ("Bear (human subject)", "imitate a bear", ["imitate animal"], "Animal"),
        ("Alaskan vacation", "mime an alaskan vacation", ["mime"], "Vacation"),
        ("Motorcycle", "motorcycle pose", ["pose"], "Motorcycle"),
        ("jumping jacks, jog", "jumping jacks, jog", ["exercise", "run"], "Exercise"),
        ("bend over, scoop up, rise, lift arm", "bend over, scoop up, rise, lift arm",
         ["bend", "scoop", "rise", "lift"], "Bend"),
        ("juggle", "juggle", ["other"], "Other"),
    ],
)  # fmt: skip
def test_a_description_becomes_a_text_its_verbs_and_a_group(description, text, verbs, group):
    assert clean(description) == text
    assert categories(text) == verbs
    assert action_group(text) == group


def test_every_pinned_description_has_a_group_and_a_verb_of_its_own():
    for pinned in PINNED:
        text = clean(pinned.description)
        group = action_group(text)
        assert group != "Other" and group.isalpha(), pinned
        assert categories(text) and "/" not in text and text == text.lower().strip(), pinned


def test_the_test_subject_shows_seven_actions():
    groups = [action_group(clean(pinned.description)) for pinned in PINNED if pinned.trial.startswith("02_")]
    assert len(groups) == 10 and len(set(groups)) == 7


# --------------------------------------------------------------------------------------------------- trials, segments


def test_trials_are_listed_by_number_with_frames_rate_text_and_group(archive):
    table = cmu_labels.trials(archive)
    assert table["sequence"].tolist() == ["02_01", "05_02", "14_06", "16_10", "17_01", "127_03"]
    row = table.iloc[-1]
    assert (row["subject"], row["trial"], row["frames"], row["rate_hz"]) == (127, 3, 30, 120.0)
    assert (row["description"], row["text"], row["group"]) == ("Run/Jog, sudden stop", "run, sudden stop", "Run")
    assert Path(row["path"]).is_file()


def test_a_description_labels_its_whole_trial_and_an_empty_one_nothing(archive):
    table = cmu_labels.labels(archive).set_index("sequence")
    assert "16_10" not in table.index
    assert table.loc["05_02"].tolist() == [0.0, 0.5, "dance, expressive arms, pirouette", ["dance", "turn"], "action"]
    assert table.loc["02_01", "stop_s"] == 0.25


def test_frame_labels_become_seconds_and_their_gaps_transitions(archive):
    # 0.1 s each: nothing at first, 0.5 s jumping jacks, a gap, 1 s squat, boxing at once, and on past the trial's end
    numbers = [0] * 2 + [1] * 5 + [0] * 3 + [3] * 10 + [8] * 15
    (archive / "frame_labels" / "14_06.txt").write_text(" ".join(map(str, numbers)) + "\n")
    table = cmu_labels.labels(archive)
    rows = table[table["sequence"] == "14_06"].drop(columns="sequence").to_numpy().tolist()
    assert rows == [
        [0.2, 0.7, "jumping jacks", ["exercise"], "action"],
        [0.7, 1.0, "transition", ["transition"], "transition"],
        [1.0, 2.0, "squat", ["squat"], "action"],
        [2.0, 3.0, "boxing", ["box"], "action"],  # the trial has 30 frames at 10 Hz
    ]


def test_nothing_before_the_first_and_after_the_last_class_is_no_transition(archive):
    (archive / "frame_labels" / "14_06.txt").write_text("0 0 2 2 0 0")
    table = cmu_labels.labels(archive)
    assert table[table["sequence"] == "14_06"]["label"].tolist() == ["jog"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 1 13", "class 13; expected 1 to 12"), ("1 -2 12", "class -2; expected"), ("1 jog", "expected class numbers")],
)
def test_a_frame_label_that_is_no_class_is_refused(archive, text, message):
    (archive / "frame_labels" / "14_06.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"14_06\.txt: {message}"):
        cmu_labels.labels(archive)


def test_the_committed_frame_labels_are_classes_without_gaps():
    for path in cmu_archive.FRAME_LABELS.glob("*_*.txt"):
        segments = cmu_labels._frame_segments(path, 1e9)
        assert {segment[2] for segment in segments} <= set(cmu_labels.FRAME_LABEL_CLASSES), path
        assert all(start < stop for start, stop, *_ in segments)


def test_a_trial_without_a_rate_an_index_or_frames_is_refused(archive, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"index\.csv: not found; fill the folder with .*fetch"):
        cmu_labels.trials(tmp_path)
    (archive / "subjects/02/02_09.amc").write_text("not listed")
    with pytest.raises(ValueError, match=r"no entry with a frame rate for 02_09"):
        cmu_labels.trials(archive)
    (archive / "subjects/02/02_09.amc").unlink()
    (archive / "subjects/02/02_01.amc").write_text("<html>")
    with pytest.raises(ValueError, match=r"02_01\.amc: no frame number in its last 16 KiB"):
        cmu_labels.trials(archive)


# ------------------------------------------------------------------------------------------------------------- splits


def test_the_splits_are_disjoint_and_hold_every_pinned_subject():
    subjects = [subject for group in SPLITS.values() for subject in group]
    assert len(set(subjects)) == len(subjects)
    assert set(subjects) == {int(pinned.trial.split("_")[0]) for pinned in PINNED}


def test_jobs_split_by_subject_and_name_all_that_a_trial_is_read_from(archive):
    jobs = {job.recording: job for job in cmu_jobs(archive.parent)}
    assert {name: job.split for name, job in jobs.items()} == {
        "02_01": "test", "05_02": "train", "14_06": "test", "16_10": "train", "17_01": "val", "127_03": "test",
    }  # fmt: skip
    assert jobs["127_03"].inputs == (archive / "subjects/127/127.asf", archive / "index.csv")
    assert all(path.is_file() for job in jobs.values() for path in (job.path, *job.inputs))
    assert jobs["05_02"].read is cmu.read


def test_no_subject_that_pretraining_trains_on_is_filmed():
    config = cmu_filming.LiftingConfig()
    assert not {*config.finetune, *config.val, *config.test} & set(SPLITS["pretrain"])
    assert not set(config.test) & {*SPLITS["pretrain"], *SPLITS["finetune"], *SPLITS["val"]}
