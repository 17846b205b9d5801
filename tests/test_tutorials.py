"""The tutorials run as they stand: every block of shell or Python in them, in order, in a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(name: str, kinds: tuple[str, ...]) -> list[str]:
    """The code blocks of a page, of the kinds named."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    return [code for kind, code in re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL) if kind in kinds]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_lift_your_detections(tmp_path):
    (tmp_path / "docs").mkdir()
    shutil.copytree(ROOT / "docs" / "samples", tmp_path / "docs" / "samples")
    for code in blocks("lift.md", ("sh",)):
        done = subprocess.run(["bash", "-euc", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    (code,) = blocks("lift.md", ("python",))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.stdout == "(40, 17, 3) px\n", done.stderr
    assert {"poses.npz", "poses.json", "poses.csv", "poses.html", "poses.gif"} <= {
        f.name for f in (tmp_path / "out").iterdir()
    }


@pytest.mark.slow
def test_fine_tune_on_your_own_3d_data(tmp_path):
    code = "\n".join(blocks("fine-tune.md", ("python",)))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("mm [") and (tmp_path / "models/mine/README.md").exists()


@pytest.mark.slow
def test_add_a_variant_to_the_grid(tmp_path):
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("dvc")
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)
    profile = copy / "profiles" / "demo.yaml"
    values = yaml.safe_load(profile.read_text())
    variant, axes = (yaml.safe_load(block) for block in blocks("add-a-variant.md", ("yaml",)))
    values["variants"] |= variant["variants"]
    values["axes"] |= axes["axes"]
    profile.write_text(yaml.safe_dump(values, sort_keys=False))
    (code,) = blocks("add-a-variant.md", ("sh",))
    done = subprocess.run(["bash", "-euc", code], cwd=copy, env={**environment(), "PYTHONPATH": str(copy)},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    new = {"pretrain@demo", "embed@demo", "finetune@demo-human36m", "evaluate@demo-mpi_inf_3dhp"}
    assert {f"{name}-parts_only-0" for name in new} <= set(done.stdout.split())
    assert "parts_only" in done.stdout
