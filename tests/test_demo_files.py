"""The stand-in files have the layout of the licensed ones, oddities included, and the same bytes on every run."""

import itertools
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose.demo import anatomy
from langpose.demo.amass_files import AmassSequence, Style, write_sequence, write_shape
from langpose.demo.babel_files import SPLITS, LabelledSequence, feat_p, write_babel
from langpose.demo.choreography import Segment
from langpose.demo.standin_body import NOTE, standin_model, standin_regressor
from langpose.storage import sha256


def hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


# ---- body -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gender", anatomy.GENDERS)
def test_joint_regressor_gives_the_anatomy_for_every_shape(gender: str) -> None:
    model = standin_model(gender)
    for betas in np.random.default_rng(0).normal(0, 1.5, (3, 16)):
        vertices = model["v_template"] + model["shapedirs"] @ betas
        np.testing.assert_allclose(model["J_regressor"] @ vertices, anatomy.rest_joints(betas, gender), atol=1e-7)
    assert str(model["note"]) == NOTE


def test_standin_model_has_the_true_shapes_and_sound_weights() -> None:
    model = standin_model("neutral")
    shapes = {key: model[key].shape for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table")}
    assert shapes == {
        "v_template": (6890, 3), "shapedirs": (6890, 3, 16), "posedirs": (6890, 3, 459),
        "J_regressor": (52, 6890), "kintree_table": (2, 52),
    }  # fmt: skip
    assert model["weights"].shape == (6890, 52)
    assert model["weights"].min() >= 0
    np.testing.assert_allclose(model["weights"].sum(1), 1, atol=1e-6)
    assert model["kintree_table"][0, 0] == 2**32 - 1
    assert np.unique(model["f"]).size == 6890  # every vertex is on a face
    bulge = np.abs(model["posedirs"]).max((0, 1)).reshape(51, 9)
    assert (bulge > 0).all()
    assert bulge.max() < 0.01


def test_standin_regressor_rows_sum_to_one_over_four_to_nine_vertices() -> None:
    regressor = standin_regressor()
    assert regressor.dtype == np.float64
    np.testing.assert_allclose(regressor.sum(1), 1, atol=1e-12)
    counts = (regressor != 0).sum(1)
    assert counts.min() >= 4
    assert counts.max() <= 9


def test_regressed_joints_follow_the_shape() -> None:
    betas = np.zeros(16)
    betas[[0, 2, 3]] = 2, -1, 1.5
    model, rest = standin_model("female"), anatomy.rest_joints(betas, "female")
    joints = standin_regressor() @ (model["v_template"] + model["shapedirs"] @ betas)
    names = dict(enumerate(["right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"], 1))
    for joint, name in names.items():
        np.testing.assert_allclose(joints[joint], rest[anatomy.NAMES.index(name)], atol=1e-6)
    np.testing.assert_allclose(joints[0], rest[1:3].mean(0), atol=1e-6)
    assert joints[10, 1] - anatomy.sole_height(rest) == pytest.approx(anatomy.stature_m(rest), abs=1e-6)
    assert joints[9, 2] > joints[8, 2] + 0.03  # neck / nose lies towards the face


# ---- AMASS ----------------------------------------------------------------------------------------------------------


def sequence(style: Style, rate_hz: float = 120.0, frames: int = 30) -> AmassSequence:
    rng = np.random.default_rng(1)
    poses, trans = rng.normal(0, 0.3, (frames, 156)), rng.normal(0, 1, (frames, 3))
    return AmassSequence("CMU", "07", "07_01", "female", rate_hz, poses, trans, rng.normal(0, 1, 16), style)


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def test_amass_sequence_has_the_true_layout(tmp_path: Path) -> None:
    written = sequence("amass", rate_hz=59.94)
    path = write_sequence(tmp_path, written, seed=0)
    assert path == tmp_path / "CMU/07/07_01_poses.npz"
    arrays = load(path)
    assert {key: (value.shape, value.dtype.kind) for key, value in arrays.items()} == {
        "poses": ((30, 156), "f"), "trans": ((30, 3), "f"), "betas": ((16,), "f"), "dmpls": ((30, 8), "f"),
        "mocap_framerate": ((), "f"), "gender": ((), "U"),
    }  # fmt: skip
    assert arrays["poses"].dtype == np.float64
    assert float(arrays["mocap_framerate"]) == 59.94
    np.testing.assert_allclose(arrays["poses"], written.poses, atol=1e-5)
    np.testing.assert_allclose(arrays["trans"], written.trans, atol=1e-5)


def test_amass_oddities_are_those_of_the_releases(tmp_path: Path) -> None:
    assert load(write_sequence(tmp_path, sequence("bytes_gender"), seed=0))["gender"].item() == b"female"
    bare = load(write_sequence(tmp_path, sequence("no_dmpls"), seed=0))
    assert "dmpls" not in bare
    assert "mocap_framerate" not in bare
    assert float(bare["mocap_frame_rate"]) == 120
    newer = load(write_sequence(tmp_path, sequence("smplh_keys"), seed=0))
    joined = np.concatenate([newer["root_orient"], newer["pose_body"], newer["pose_hand"]], axis=1)
    np.testing.assert_array_equal(joined, bare["poses"])
    assert "poses" not in newer
    path = write_sequence(tmp_path, sequence("smplx"), seed=0)
    assert path.name == "07_01_stageii.npz"
    assert load(path)["poses"].shape == (30, 165)
    assert str(load(path)["surface_model_type"]) == "smplx"
    shape = load(write_shape(tmp_path, "CMU", "07", "female", np.zeros(16)))
    assert set(shape) == {"gender", "betas"}


def test_amass_writer_refuses_arrays_that_do_not_fit(tmp_path: Path) -> None:
    wrong = AmassSequence("CMU", "07", "x", "female", 60.0, np.zeros((5, 156)), np.zeros((4, 3)), np.zeros(16))
    with pytest.raises(ValueError, match=r"CMU/07/x_poses\.npz: poses \(5, 156\), trans \(4, 3\)"):
        write_sequence(tmp_path, wrong, seed=0)
    assert not list(tmp_path.rglob("*.npz"))


# ---- BABEL ----------------------------------------------------------------------------------------------------------

SEGMENTS = [
    Segment("walks forward", "walk", ("walk",), 0.0, 3.1),
    Segment("transition", "transition", ("transition",), 3.1, 3.7),
    Segment("sits down", "sit down", ("sit", "lower body part"), 3.7, 6.2),
    Segment("sitting", "sit", ("sit",), 6.2, 9.0),
]


@pytest.fixture(scope="module")
def babel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("babel")
    write_babel(
        folder, [LabelledSequence(f"CMU/07/07_{n:02d}_poses.npz", 9.0, SEGMENTS, SPLITS[n % 5]) for n in range(60)], 0
    )
    return {split: json.loads((folder / f"{split}.json").read_text()) for split in SPLITS}


def frame_labels(entries: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [entry["frame_ann"]["labels"] for entry in entries.values() if entry["frame_ann"]]


def test_babel_entries_have_the_true_keys(babel: dict[str, Any]) -> None:
    for split in ("train", "val", "test"):
        for sid, entry in babel[split].items():
            assert set(entry) == {"babel_sid", "url", "feat_p", "dur", "seq_ann", "frame_ann"}
            assert entry["babel_sid"] == int(sid)
            assert entry["feat_p"].startswith("CMU/CMU/07/07_")
            for annotation in (entry["seq_ann"], entry["frame_ann"]):
                if annotation:
                    assert set(annotation) == {"babel_lid", "anntr_id", "mul_act", "labels"}
        for label in frame_labels(babel[split])[0]:
            assert set(label) == {"raw_label", "proc_label", "seg_id", "act_cat", "start_t", "end_t"}
            uuid.UUID(label["seg_id"])


def test_babel_extra_files_hold_lists_of_annotations(babel: dict[str, Any]) -> None:
    for split in ("extra_train", "extra_val"):
        entries = [entry for entry in babel[split].values() if entry["frame_anns"]]
        assert entries
        assert all(len(entry["frame_anns"]) in (2, 3) for entry in entries)
        assert "frame_ann" not in entries[0]
        times = [sorted(label["start_t"] for label in a["labels"]) for a in entries[0]["frame_anns"]]
        assert times[0] != times[1]  # two people, two opinions


def test_babel_test_labels_are_null_but_timed(babel: dict[str, Any]) -> None:
    for labels in frame_labels(babel["test"]):
        for label in labels:
            assert label["raw_label"] is label["proc_label"] is label["act_cat"] is None
            assert label["end_t"] > label["start_t"]


def test_babel_has_nulls_overlaps_disorder_and_both_number_types(babel: dict[str, Any]) -> None:
    everything = [entry for split in ("train", "val", "test") for entry in babel[split].values()]
    assert any(entry["frame_ann"] is None for entry in everything)
    assert any(entry["seq_ann"] is None for entry in everything)
    sequences = frame_labels(babel["train"])
    assert any([x["start_t"] for x in labels] != sorted(x["start_t"] for x in labels) for labels in sequences)
    ordered = [sorted(labels, key=lambda x: x["start_t"]) for labels in sequences]
    assert any(a["end_t"] > b["start_t"] for labels in ordered for a, b in itertools.pairwise(labels))
    assert {type(label[key]) for labels in sequences for label in labels for key in ("start_t", "end_t")} == {
        int,
        float,
    }
    assert any(len(labels) > len(SEGMENTS) for labels in sequences)  # one moment named twice
    assert all("transition" in [label["proc_label"] for label in labels] for labels in sequences)


def test_babel_times_stay_inside_the_sequence_and_near_the_truth(babel: dict[str, Any]) -> None:
    truth = {segment.proc_label: (segment.start_s, segment.end_s) for segment in SEGMENTS}
    for labels in frame_labels(babel["train"]) + frame_labels(babel["val"]):
        for label in labels:
            start, end = truth[label["proc_label"]]
            assert 0 <= label["start_t"] < label["end_t"] <= 9.0
            assert abs(label["start_t"] - start) <= 0.5
            assert -0.5 <= label["end_t"] - end <= 0.9


def test_babel_names_files_by_the_old_folders() -> None:
    assert feat_p("BMLrub/rub001/0001_walk_poses.npz") == "BMLrub/BioMotionLab_NTroje/rub001/0001_walk_poses.npz"
    assert feat_p("CMU/141/141_05_poses.npz") == "CMU/CMU/141/141_05_poses.npz"
    with pytest.raises(ValueError, match="'Nowhere' has no BABEL name"):
        feat_p("Nowhere/1/x_poses.npz")
