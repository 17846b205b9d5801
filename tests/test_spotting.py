"""Motion is found by words: windows of any source in one space, ranked, merged over time."""

import numpy as np
import pandas as pd
import pytest
import torch

from langpose import LangPose, LangPoseConfig, pose_files, spotting
from langpose.clips import ClipsConfig
from langpose.lifting import RATE, Lifter
from langpose.model.pose_encoder import PoseEncoderConfig
from tests.pages import walking
from tests.test_keypoint_files import openpose, poses
from tests.test_lifting import seen

T = 9


def model():
    pose = PoseEncoderConfig(dim_feat=16, dim_rep=16, depth=2, num_heads=2, maxlen=T, init_std=0.3)
    made = LangPose(LangPoseConfig(pose=pose, text=None, embed_dim=8))
    made.provenance = {"title": "", "facts": {}, "metrics": {}}
    return made.eval()


def test_windows_cover_every_frame_and_are_embedded_as_one_clip_would_be():
    one = model()
    motion = spotting.Motion(
        "a", 0, np.arange(100, 130), np.random.default_rng(0).normal(size=(30, 17, 3)).astype("f4")
    )
    spots = spotting.embed(one, iter([motion]))
    assert spots.table["first"].tolist() == [100, 104, 108, 112, 116, 120, 121] and spots.table["last"].max() == 129
    with torch.inference_mode():
        alone = one.encode_pose(torch.from_numpy(motion.x[None, 8:17]))[0].numpy()
    np.testing.assert_allclose(spots.embeddings[2], alone, atol=1e-5)


def test_motion_is_seen_at_the_rate_that_the_model_knows():
    one = model()
    one.provenance["facts"][RATE] = "25"
    x = np.arange(60, dtype=np.float32)[:, None, None] * np.ones((1, 17, 3), np.float32)
    found = spotting.resampled(spotting.Motion("a", 0, np.arange(60), x, 50.0), 25.0)
    assert found.frames.tolist() == list(range(0, 60, 2)) and found.x[:, 0, 0].tolist() == found.frames.tolist()
    spots = spotting.embed(one, iter([spotting.Motion("a", 0, np.arange(60), x / 60, 50.0)]))
    assert spots.table["last"].max() == 58 and spots.table["first"].tolist()[1] == 8
    kept = spotting.Motion("a", 0, np.arange(9), x[:9], None)
    assert spotting.resampled(kept, 25.0) is kept


def table(scores, hop=5):
    firsts = np.arange(len(scores)) * hop
    rows = pd.DataFrame({"motion": "a", "person": 0, "first": firsts, "last": firsts + 8, "rate_hz": 25.0})
    return spotting.Spots(rows, np.stack([scores, np.sqrt(1 - np.square(scores))], 1))


def test_search_takes_the_best_and_none_that_overlaps_it():
    found = spotting.search(table(np.array([0.1, 0.9, 0.8, 0.2, 0.7])), np.array([1.0, 0.0]), top=3)
    assert found["first"].tolist() == [5, 20] and found["score"].round(3).tolist() == [0.9, 0.7]


def test_labels_are_ranked_and_neighbours_of_one_label_are_merged():
    spots = table(np.array([0.9, 0.8, 0.1, 0.0]), hop=9)
    found = spotting.label(spots, ["walk", "sit"], np.eye(2), top=2)
    assert found[found["rank"] == 1]["label"].tolist() == ["walk", "walk", "sit", "sit"] and len(found) == 8
    runs = spotting.merged(found)
    assert runs[["first", "last", "label"]].values.tolist() == [[0, 17, "walk"], [18, 35, "sit"]]
    assert runs["score"][0] == pytest.approx(0.85)


def test_motion_is_taken_from_files_folders_and_a_profiles_data(tmp_path):
    lifter = Lifter(model())
    np.savez(tmp_path / "k.npz", keypoints=seen(20), skeleton="h36m17")
    pose_files.save(tmp_path / "lifted", [lifter(seen(20))], 25.0, {})
    pose_files.save_csv(tmp_path / "lifted" / "poses.csv", [lifter(seen(20))])  # no input
    found = list(spotting.motions(tmp_path, lifter))
    assert {motion.name for motion in found} == {str(tmp_path / "k.npz"), str(tmp_path / "lifted")}
    np.testing.assert_allclose(found[0].x, found[1].x, atol=1e-5)
    profile = tmp_path / "profile"
    (profile / "motions").mkdir(parents=True)
    (profile / "views").mkdir()
    walk = (walking(20, 25.0) / 1000).astype(np.float32)
    np.save(profile / "views" / "front.npy", walk)
    rows = {"sequence": ["01_01"], "start": [0], "frames": [20], "rate_hz": [25.0]}
    pd.DataFrame(rows).to_parquet(profile / "motions" / "sequences.parquet")
    (motion,) = spotting.motions(profile, lifter)
    assert motion.name == "01_01" and (motion.x[..., 2] == 1).all()
    np.testing.assert_allclose(
        motion.x[..., :2], (walk[..., :2] - walk[:, 0, :2].mean(0)) * ClipsConfig().scale, atol=1e-6
    )
    openpose(tmp_path / "op", poses(25))
    assert {motion.name for motion in spotting.motions(tmp_path / "op", lifter)} == {str(tmp_path / "op")}
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="no motion below it; expected a profile's data"):
        list(spotting.motions(tmp_path / "nothing", lifter))


def test_labels_kept_beside_a_model_stand_in_for_its_text_stream(tmp_path):
    spotting.save_labels(tmp_path, ["walk", "sit down"], np.eye(2, 8))
    names, texts = spotting.labels_of(model(), tmp_path, None)
    assert names == ["sit down", "walk"] and texts[1].tolist() == np.eye(2, 8)[0].tolist()
    assert spotting.labels_of(model(), tmp_path, ["walk"])[0] == ["walk"]
    with pytest.raises(ValueError, match="knows 2 labels, not fly; it knows sit down, walk"):
        spotting.labels_of(model(), tmp_path, ["fly"])
    with pytest.raises(ValueError, match=r"no labels.safetensors beside it and no text stream"):
        spotting.labels_of(model(), tmp_path / "other", None)
    (tmp_path / spotting.LABELS).write_bytes(b"broken")
    with pytest.raises(ValueError, match="is damaged"):
        spotting.labels_of(model(), tmp_path, None)
