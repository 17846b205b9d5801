"""The report of grids of every shape, from cells' files written by the evaluation itself on small data."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from langpose.evaluation import evaluate_human36m, evaluate_mpi_inf_3dhp
from langpose.lifting_sets import convert_human36m, convert_mpi_inf_3dhp
from langpose.visibility import by_action, seen
from pipeline import layout, results
from pipeline.axes import Axes, Repeat
from pipeline.stages import report
from pipeline.stages.evaluate import write
from tests.lifting_files import human36m_content, mpi_inf_3dhp_content, write_human36m, write_mpi_inf_3dhp

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[1]
REPEAT = {"seeds": [1, 2], "variants": ["base_more", "mmm_map"], "datasets": ["human36m"], "few": []}
OCCLUSIONS = ("none", "body_part:legs", "frames:0.2", "frames:0.4")


@pytest.fixture(scope="module")
def lifting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lifting")
    convert_human36m(write_human36m(human36m_content(), folder / "h36m.pkl"), folder / "human36m")
    raw = write_mpi_inf_3dhp(*mpi_inf_3dhp_content(), folder / "raw")
    convert_mpi_inf_3dhp(raw, folder / "mpi_inf_3dhp")
    return folder


def model(variant: str, seed: int):
    """A lifter of its own for every variant and seed: x, y as they are, depth from them."""
    weight = torch.from_numpy(np.random.default_rng([len(variant), seed]).normal(0, 0.2, (3, 3)).astype(np.float32))
    return lambda x: x @ (torch.eye(3) + weight)


def grid(folder: Path, lifting: Path, monkeypatch, **changes) -> Axes:
    """All files that the stage reads, for the axes given; the working directory is ``folder`` from here on."""
    axes = {"datasets": ["human36m", "mpi_inf_3dhp"], "variants": ["baseline", "base_more", "mmm_map"],
            "seeds": [0, 1], "few": [], "repeat": asdict(Repeat()), **changes}  # fmt: skip
    cells = Axes(**{**axes, "repeat": Repeat(**axes["repeat"])})
    monkeypatch.chdir(folder)
    values = yaml.safe_load((ROOT / "profiles" / "demo.yaml").read_text())
    actions = pd.read_parquet(lifting / "human36m" / "test" / "sequences.parquet")["action"].unique().tolist()
    for name, entry in values["evaluate"].items():
        entry |= {"occlusions": list(OCCLUSIONS[1:]), "clip_len": 27 if name == "human36m" else 9}
    values["evaluate"]["human36m"]["hard_actions"] = actions[:1]
    values["report"] |= {"declared": ["body_part:legs", "frames:0.4"], "min_clips": 2, "min_subjects": 1}
    Path("profiles").mkdir()
    Path("profiles/demo.yaml").write_text(yaml.safe_dump(values))
    Path("params.yaml").write_text(yaml.safe_dump({"profiles": ["demo"], **axes}))
    Path("reports").mkdir()
    (folder / "reports" / "cost.json").write_bytes((ROOT / "reports" / "cost.json").read_bytes())
    data = layout.data("demo")
    (data / "pairs").mkdir(parents=True)
    (data / "lifting").symlink_to(lifting)
    (data / "manifest.json").write_text('{"files": {}}')
    pd.DataFrame({"label": ["walk", "none"], "kind": "action", "pairs": [3, 1], "share": [0.75, 0.25]}).to_csv(
        data / "pairs" / "labels.csv", index=False
    )
    for dataset in ("human36m", "mpi_inf_3dhp"):
        table = by_action(*(lambda d: (d, seen(d)))(results_split(lifting / dataset)))
        layout.visible("demo", dataset).parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(layout.visible("demo", dataset), index=False)
    history = pd.DataFrame({"step": [5, 10], "val_mpjpe": [100.0, 90.0]})
    for seed in cells.all_seeds:
        places = [layout.base("demo", seed)]
        for variant in (v for v in cells.variants if seed in cells.pretrained(v)):
            places.append(layout.pretrained("demo", variant, seed))
            pretrained(variant, seed)
            both = [*((d, False) for d in cells.datasets), *((d, True) for d in cells.few)]
            for dataset, few in [(d, few) for d, few in both if seed in cells.finetuned(d, variant, few)]:
                places.append(layout.finetuned("demo", dataset, variant, seed, few))
                occlusions = OCCLUSIONS[:2] if few else OCCLUSIONS
                write(layout.evaluated("demo", dataset, variant, seed, few),
                      [(o, scores(lifting, dataset, variant, seed, o)) for o in occlusions])  # fmt: skip
        for place in places:
            place.mkdir(parents=True)
            history.to_csv(place / "history.csv", index=False)
    return cells


def results_split(folder: Path):
    from langpose.lifting_sets import open_split

    return open_split(folder, "test")


def scores(lifting: Path, dataset: str, variant: str, seed: int, occlude: str):
    call = {"human36m": evaluate_human36m, "mpi_inf_3dhp": evaluate_mpi_inf_3dhp}[dataset]
    options = {"blocked": False, "hard_actions": []} if dataset == "human36m" else {}
    clip_len = 27 if dataset == "human36m" else 9
    return call(model(variant, seed), lifting / dataset, clip_len=clip_len, occlude=occlude, **options)


def pretrained(variant: str, seed: int) -> None:
    """What stages embed and complete leave."""
    rng = np.random.default_rng([len(variant), seed])
    clips = 12
    embedded, completed = layout.embedded("demo", variant, seed), layout.completed("demo", variant, seed)
    for folder, metrics in (
        (embedded, {"knn5/top1": 50.0}),
        (completed, {"completion/0.2/model_mm": 30.0, "clips": 4}),
    ):
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
    np.savez(
        embedded / "embeddings.npz", average=rng.normal(size=(clips, 4)).astype(np.float32),
        pose=rng.normal(size=(clips, 5)).astype(np.float32), verb=np.array(["walk", "run"] * 6),
        subject=np.array(["a", "b", "c"] * 4), recording=np.array([f"r{i}" for i in range(clips)]),
        pair=np.arange(clips),
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seeds": [0], "variants": ["baseline", "mmm_map"]},
        {"few": ["human36m"]},
        {"seeds": [0], "few": ["human36m"], "repeat": REPEAT},
        {"datasets": ["mpi_inf_3dhp"]},
        {"datasets": ["human36m"], "variants": ["mmm", "map"], "seeds": [0]},
    ],
    ids=["three variants", "one seed", "few data", "repeated cells", "one data set", "neither baseline nor ours"],
)
def test_a_grid_of_any_shape_has_a_report(tmp_path, lifting, monkeypatch, changes):
    axes = grid(tmp_path, lifting, monkeypatch, **changes)
    report.main("demo")
    folder = layout.report("demo")
    found = {path.name for path in folder.iterdir()}
    assert {"index.html", "table1.csv", "table3.md", "table4.tex", "scores.csv", "differences.csv", "curves.csv",
            "occlusion.png", "labels.png", "cost.csv"} <= found  # fmt: skip
    both = {"baseline", "mmm_map"} <= set(axes.variants)
    assert ("figure5.png" in found) == (both and "human36m" in axes.datasets)
    assert ("figure4.png" in found) == both
    page = (folder / "index.html").read_text()
    assert ("Does language help?" in page) == both
    assert ("Human3.6M, few data" in page) == bool(axes.few)
    assert len(pd.read_csv(folder / "scores.csv")["variant"].unique()) == len(axes.variants)


def test_cells_and_differences_equal_what_the_evaluation_gives(tmp_path, lifting, monkeypatch):
    axes = grid(tmp_path, lifting, monkeypatch, few=["human36m"])
    sequences = results.read_sequences("demo", axes)
    collected = results.collect("demo", sequences).set_index(["dataset", "variant", "seed", "metric"])["value"]
    for dataset in ("human36m", "mpi_inf_3dhp"):
        for occlusion in OCCLUSIONS:
            given = scores(lifting, dataset, "mmm_map", 1, occlusion)
            assert collected[dataset, "mmm_map", 1, f"occlusion:{occlusion}"] == pytest.approx(given.p1_mm)
    assert collected["human36m", "base_more", 0, "P1_mm"] == collected["human36m", "base_more", 0, "occlusion:none"]
    found = results.differences(sequences, []).set_index(["dataset", "variant", "against", "measure"])
    expected = np.mean([collected["human36m", "mmm_map", s, "P1_mm"] - collected["human36m", "base_more", s, "P1_mm"]
                        for s in (0, 1)])  # fmt: skip
    assert found.loc[("human36m", "mmm_map", "base_more", "P1_mm"), "value"] == pytest.approx(expected)
    assert ("human36m_few", "mmm_map", "baseline", "occlusion:body_part:legs") in found.index
    assert ("human36m_few", "mmm_map", "baseline", "occlusion:frames:0.2") not in found.index
    assert ("human36m", "baseline", "base_more", "P1_mm") in found.index
    assert ("human36m", "baseline", "baseline", "P1_mm") not in found.index


def test_repeated_cells_are_compared_by_the_seeds_that_both_have(tmp_path, lifting, monkeypatch):
    axes = grid(tmp_path, lifting, monkeypatch, seeds=[0], few=["human36m"], repeat=REPEAT)
    found = results.differences(results.read_sequences("demo", axes), [])
    seeds = found[found.measure == "P1_mm"].set_index(["dataset", "variant", "against"])["seeds"]
    assert seeds["human36m", "mmm_map", "base_more"] == 3
    assert seeds["human36m", "mmm_map", "baseline"] == 1
    assert seeds["mpi_inf_3dhp", "mmm_map", "base_more"] == 1
    assert seeds["human36m_few", "mmm_map", "base_more"] == 1


def test_a_declared_occlusion_that_nothing_evaluates_is_refused(tmp_path, lifting, monkeypatch):
    grid(tmp_path, lifting, monkeypatch, seeds=[0], datasets=["human36m"])
    path = Path("profiles/demo.yaml")
    values = yaml.safe_load(path.read_text())
    values["report"]["declared"] = ["frames:0.41"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(SystemExit, match=r"report.declared names \['frames:0.41'\], which no data set evaluates"):
        report.main("demo")
