"""The API reference builds from the docstrings, without a warning."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pdoc")
ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_reference_builds_and_has_every_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "docs/api.py", str(tmp_path / "api")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "api/langpose/lifting.html").read_text(encoding="utf-8")
    assert "A model that lifts keypoints." in page and (tmp_path / "api/langpose/model/pose_encoder.html").exists()
