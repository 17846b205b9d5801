"""MLflow shows each result once, whoever logs it, however often, and whatever MLflow was doing meanwhile."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("mlflow")
pytest.importorskip("dvc")

from safetensors.numpy import save_file

from pipeline import dvc_commands, graph, params, registry, selection, tracking
from pipeline.axes import Axes
from pipeline.graph import Stage
from pipeline.grid import Grid
from pipeline.tracking import Tracker
from pipeline.worker import Job, Result

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's of SQLAlchemy
ROOT = Path(__file__).parents[1]
GRID = Grid("demo", Axes(["human36m"], ["baseline", "mmm_map"], [0]))


def cell(kind, *values):
    names = ["profile", *(["dataset"] if len(values) == 4 else []), *(["variant"] if len(values) > 2 else []), "seed"]
    chosen = dict(zip(names, values, strict=True))
    before = {"pretrain": ["base@demo-0"], "embed": [f"pretrain@demo-{chosen.get('variant')}-0"],
              "finetune": [f"pretrain@demo-{chosen.get('variant')}-0"],
              "evaluate": [f"finetune@demo-human36m-{chosen.get('variant')}-0"]}.get(kind, [])  # fmt: skip
    name = f"{kind}@{'-'.join(values)}"
    return Stage(name, f"python -m pipeline.stages.{kind} {' '.join(values)}", tuple(before), (), chosen)


STAGES = {
    stage.name: stage
    for stage in (
        cell("base", "demo", "0"),
        *(cell(kind, "demo", v, "0") for kind in ("pretrain", "embed") for v in ("baseline", "mmm_map")),
        *(cell(kind, "demo", "human36m", v, "0") for kind in ("finetune", "evaluate") for v in ("baseline", "mmm_map")),
    )
}


def make(stage, score=50.0, made="1"):
    """A cell's files here, and its lock entry."""
    folder = Path("models" if stage.kind in ("base", "pretrain", "finetune") else "results") / "demo" / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    variant = stage.axes.get("variant")
    if stage.kind in ("base", "pretrain", "finetune"):
        (folder / "history.csv").write_text("epoch,step,loss,val_mpjpe\n0,10,3.0,\n1,20,2.0,70\n2,30,1.0,60\n")
        (folder / "metrics.json").write_text(json.dumps({"steps": 30, "val_mpjpe_mm": score}))
        (folder / "config.json").write_text(json.dumps({"pose": {"depth": 3}}))
        (folder / "model.safetensors").write_bytes(b"weights" + made.encode())
        (folder / "README.md").write_text("a card")
        outs = [folder.as_posix()]
    else:
        (folder / "metrics.json").write_text(json.dumps({"P1_mm": score, "P3_mm": score + 9, "knn5/top1": 40}))
        for name in ("actions", "joints", "sequences"):
            (folder / f"{name}.csv").write_text(f"action,joint,p1\nWalk,nose,{score}\nSit,neck,{score + 1}\n")
        with (folder / "predictions.npz").open("wb") as file:
            np.savez(file, joints=np.zeros(3))
        outs = [(folder / "metrics.json").as_posix()]
    sections = {
        "base": {"model": {"pose": {"depth": 3}}},
        "pretrain": {"pretrain": {"gamma": 2.0}, f"variants.{variant}": {"alignment": "focal_kl"}},
        "finetune": {"finetune.human36m": {"training": {"epochs": 4}}},
    }
    return {
        "cmd": stage.command,
        "deps": [
            {"path": "data/demo/lifting/human36m", "md5": "a" * 32 + ".dir"},
            {"path": "langpose/x.py", "md5": "b"},
        ],
        "params": {"profiles/demo.yaml": sections.get(stage.kind, {})},
        "outs": [{"path": path, "md5": made * 32} for path in outs],
    }


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder with the repository's profiles, and MLflow's database in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def log_all(tracker, entries, **more):
    return sum(tracker.log(STAGES[name], entry, entries, STAGES, **more) for name, entry in entries.items())


def runs(tracker):
    found = tracker.client.search_runs([tracker.experiment])
    return {run.info.run_name: run for run in found}, len(found)


def test_a_grid_is_one_parent_and_a_child_a_model_and_logging_again_adds_nothing(place):
    entries = {name: make(stage, 40.0 + len(name)) for name, stage in STAGES.items()}
    tracker = Tracker.open(GRID, "c" * 40)
    assert log_all(tracker, entries, machine="host GPU 0") == len(entries)
    again = Tracker.open(GRID, "c" * 40)
    assert again.parent == tracker.parent and log_all(again, entries) == 0
    by_name, number = runs(tracker)
    assert number == len(by_name) == 6
    assert set(by_name) == {
        f"demo {GRID.id[:8]}", "base 0", "baseline 0", "mmm_map 0", "human36m baseline 0", "human36m mmm_map 0"
    }  # fmt: skip
    children = [run for run in by_name.values() if run.info.run_id != tracker.parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {tracker.parent}
    assert {run.info.status for run in children} == {"FINISHED"}

    ours = by_name["human36m mmm_map 0"]
    assert ours.data.metrics["P1_mm"] == 40.0 + len("evaluate@demo-human36m-mmm_map-0")
    told = {"variant": "mmm_map", "seed": "0", "variant.alignment": "focal_kl", "pretrain.gamma": "2.0",
            "finetune.training.epochs": "4", "model.pose.depth": "3"}  # fmt: skip
    assert {name: ours.data.params[name] for name in told} == told
    assert ours.data.tags["dvc.evaluate.stage"] == "evaluate@demo-human36m-mmm_map-0"
    assert ours.data.tags["machine.finetune"] == "host GPU 0"
    assert ours.data.tags["mlflow.source.git.commit"] == "c" * 40
    (data,) = ours.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("data/demo/lifting/human36m", "a" * 32 + ".dir")
    curve = tracker.client.get_metric_history(ours.info.run_id, "curve/loss")
    assert [(point.step, point.value) for point in curve] == [(10, 3.0), (20, 2.0), (30, 1.0)]
    assert [p.step for p in tracker.client.get_metric_history(ours.info.run_id, "curve/val_mpjpe")] == [20, 30]
    files = {file.path for file in tracker.client.list_artifacts(ours.info.run_id)}
    assert files == {"actions.csv", "joints.csv", "sequences.csv", "actions.png"}


def test_models_are_weights_and_config_registered_with_the_best_of_validation(place):
    scores = {"finetune@demo-human36m-baseline-0": 61.0, "finetune@demo-human36m-mmm_map-0": 59.0}
    entries = {name: make(STAGES[name], score) for name, score in scores.items()}
    tracker = Tracker.open(GRID, "c" * 40)
    log_all(tracker, entries)
    assert list(registry.choose_best(tracker.client, "demo")) == ["langpose-demo-human36m"]
    best = tracker.client.get_model_version_by_alias("langpose-demo-human36m", "best")
    assert best.tags["langpose.cell"] == "human36m mmm_map 0"
    folder = Path(best.source.removeprefix("file://"))
    assert {"model.safetensors", "config.json"} <= {file.name for file in folder.iterdir()}
    assert len(tracker.client.search_model_versions("name = 'langpose-demo-human36m'")) == 2


def test_a_result_that_was_made_anew_is_a_new_child_and_the_old_one_is_kept_and_marked(place):
    name = "finetune@demo-human36m-mmm_map-0"
    tracker = Tracker.open(GRID, "c" * 40)
    log_all(tracker, {name: make(STAGES[name], 59.0, made="1")})
    log_all(tracker, {name: make(STAGES[name], 58.0, made="2")})
    found = tracker.client.search_runs([tracker.experiment], "tags.`langpose.cell` = 'human36m mmm_map 0'")
    assert sorted(tracking.SUPERSEDED in run.data.tags for run in found) == [False, True]
    assert log_all(tracker, {name: make(STAGES[name], 58.0, made="2")}) == 0


def test_scores_that_were_made_anew_take_their_model_along(place, monkeypatch):
    names = [f"{kind}@demo-human36m-mmm_map-0" for kind in ("finetune", "evaluate")]
    entries = {name: make(STAGES[name], 59.0) for name in names}
    monkeypatch.setattr(graph, "read", lambda: STAGES)
    monkeypatch.setattr(graph, "cells", lambda stages, profile: {name: STAGES[name] for name in names})
    monkeypatch.setattr(dvc_commands, "lock", lambda: entries)
    assert tracking.sync(GRID, "c" * 40) == 2
    entries[names[1]] = make(STAGES[names[1]], 57.0, made="2")
    tracking.sync(GRID, "c" * 40)
    tracker = Tracker.open(GRID, "c" * 40)
    (child,) = tracker._runs({tracking.GRID: GRID.id, tracking.CELL: "human36m mmm_map 0"})
    assert child.data.metrics["P1_mm"] == 57.0 and {"dvc.finetune", "dvc.evaluate"} <= set(child.data.tags)
    # other inputs, a comment in the code say, and the same outputs: the same result
    entries[names[0]]["deps"].append({"path": "langpose/y.py", "md5": "c"})
    assert tracking.sync(GRID, "c" * 40) == 0


def test_several_that_log_the_same_at_once_make_one_run(place):
    Tracker.open(Grid("cmu", GRID.axes), "c" * 40)  # an empty database is first used by one
    program = (
        "import time\n"
        "from pipeline.tracking import Tracker\n"
        "from pipeline.grid import Grid\n"
        "from pipeline.axes import Axes\n"
        f"time.sleep(max(0, {time.time() + 12} - time.time()))\n"
        "t = Tracker.open(Grid('demo', Axes(['human36m'], ['baseline', 'mmm_map'], [0])), 'c' * 40)\n"
        "print(t.parent, t.child('base 0', 'base', None).info.run_id)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    said = {process.communicate()[0].splitlines()[-1] for process in started}
    tracker = Tracker.open(GRID, "c" * 40)
    by_name, number = runs(tracker)
    assert number == len(by_name) == 2 and {tracker.parent} == {line.split()[0] for line in said}


def test_a_worker_goes_on_without_mlflow_and_says_what_then(place, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens at port 9
    said = []
    name = "base@demo-0"
    entry = make(STAGES[name])
    monkeypatch.setattr(graph, "read", lambda: STAGES)
    monkeypatch.setattr(dvc_commands, "lock", lambda: {name: entry})
    job = Job(name, STAGES[name].command, "c" * 40, GRID, {}, {}, STAGES[name].axes)
    began = time.monotonic()
    assert tracking.log_cell(job, Result(entry, True, 1.0, "host"), said.append) == ""
    assert time.monotonic() - began < 30
    assert "MLflow at http://127.0.0.1:9 took nothing" in said[0] and "the next sync adds it" in said[0]
    monkeypatch.setattr(tracking.workspace, "described", lambda: "c" * 40)
    tracking.begin(GRID, said.append)
    assert "cells that finish meanwhile are added by the next sync" in said[1]

    # when it is back, what was missed is added once
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
    monkeypatch.setattr(graph, "cells", lambda stages, profile: {name: STAGES[name]})
    ran_on = {name: "gpu-7"}
    assert [tracking.sync(GRID, "c" * 40, machines=ran_on) for _ in range(2)] == [1, 0]
    tracker = Tracker.open(GRID, "c" * 40)
    assert runs(tracker)[0][tracking.child_name(STAGES[name])].data.tags[f"machine.{STAGES[name].kind}"] == "gpu-7"


def test_a_curve_grows_while_the_cell_trains_and_nothing_is_logged_twice(place, monkeypatch):
    monkeypatch.setattr(tracking, "LOOK_EVERY_S", 0.2)
    name = "pretrain@demo-mmm_map-0"
    history = [
        {"epoch": n, "step": 10 * (n + 1), "loss": 3.0 - n, **({"val_mpjpe": 70} if n % 2 else {})} for n in range(4)
    ]
    work = place / "work" / "demo-pretrain-mmm_map-0" / "abc"
    work.mkdir(parents=True)

    def checkpoint(rows):
        file = work / f"step-{rows}.safetensors"
        save_file({"w": np.zeros(1)}, file, metadata={"record": json.dumps({"history": history[:rows]})})
        (work / "latest.json").write_text(json.dumps([{"file": file.name, "sha256": ""}]))

    job = Job(name, STAGES[name].command, "c" * 40, GRID, {}, {}, STAGES[name].axes)
    said = []
    with tracking.watch(job, said.append):
        time.sleep(0.1)
        checkpoint(2)
        deadline = time.monotonic() + 60
        tracker = Tracker.open(GRID, "c" * 40)
        while time.monotonic() < deadline and not runs(tracker)[0].get("mmm_map 0"):
            time.sleep(0.2)
        checkpoint(4)
    run = runs(tracker)[0]["mmm_map 0"]
    assert run.info.status == "RUNNING" and said == []
    assert [p.step for p in tracker.client.get_metric_history(run.info.run_id, "curve/loss")] == [10, 20, 30, 40]
    entry = make(STAGES[name])
    tracker.log(STAGES[name], entry, {name: entry}, STAGES)
    by_name, _ = runs(tracker)
    assert by_name["mmm_map 0"].info.run_id == run.info.run_id and by_name["mmm_map 0"].info.status == "FINISHED"


def test_names_say_the_cell():
    named = {name: tracking.child_name(stage) for name, stage in STAGES.items()}
    assert named["base@demo-0"] == "base 0" and named["embed@demo-baseline-0"] == "baseline 0"
    assert named["evaluate@demo-human36m-mmm_map-0"] == "human36m mmm_map 0"
    few = cell("evaluate_few", "demo", "human36m", "mmm_map", "0")
    assert tracking.child_name(few) == "human36m few mmm_map 0"


def test_pickled_models_are_off():
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_no_password_is_said(place, monkeypatch):
    said = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setattr(tracking.workspace, "described", lambda: "c" * 40)
    tracking.begin(GRID, said.append)
    assert "MLflow at http://127.0.0.1:9 took nothing" in said[0] and "secret" not in said[0]


def test_addresses_hold_no_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org/mlflow/")
    assert tracking.address("7", "abc") == "https://example.org/mlflow/#/experiments/7/runs/abc"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert tracking.address("7") == ""


def test_the_grids_models_are_compared_in_the_order_of_the_table(place, monkeypatch):
    tracker = Tracker.open(GRID, "c" * 40)
    log_all(tracker, {name: make(stage) for name, stage in STAGES.items()})
    assert tracking.comparison(tracker) == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org/mlflow")
    page = tracking.comparison(tracker)
    ids = [tracker._runs({tracking.CELL: f"human36m {v} 0"})[0].info.run_id for v in ("baseline", "mmm_map")]
    assert page.startswith("https://example.org/mlflow/#/compare-runs?runs=") and 0 < page.find(ids[0]) < page.find(
        ids[1]
    )


def test_a_registered_model_is_fetched_into_a_folder(place, tmp_path):
    tracker = Tracker.open(GRID, "c" * 40)
    log_all(tracker, {name: make(stage) for name, stage in STAGES.items()})
    registry.choose_best(tracker.client, "demo")
    uri = f"sqlite:///{place}/mlflow.db"
    folder = registry.fetch("models:/langpose-demo-human36m@best", tmp_path / "model", uri)
    assert {file.name for file in folder.iterdir()} == set(registry.FILES)
    with pytest.raises(ValueError, match="expected models:/NAME@ALIAS"):
        registry.fetch("runs:/1/model", tmp_path / "other", uri)
    with pytest.raises(ValueError, match="was not to be had from MLflow"):
        registry.fetch("models:/nothing@best", tmp_path / "other", uri)
    assert not (tmp_path / "other").exists()


def test_the_command_syncs_what_params_yaml_lists(place, monkeypatch, capsys):
    listed = {"profiles": ["demo"], "datasets": ["human36m"], "variants": ["baseline"], "seeds": [0]}
    Path("params.yaml").write_text(yaml.safe_dump(listed))
    assert selection.listed() == ["demo"] and params.load("demo")
    monkeypatch.setattr(graph, "read", lambda: STAGES)
    entries = {name: make(STAGES[name]) for name in ("base@demo-0", "pretrain@demo-baseline-0")}
    monkeypatch.setattr(dvc_commands, "lock", lambda: entries)
    monkeypatch.setattr(tracking.workspace, "described", lambda: "c" * 40)
    tracking.main(["sync", "--uri", f"sqlite:///{place}/other.db"])
    assert "2 results added to sqlite:///" in capsys.readouterr().out
