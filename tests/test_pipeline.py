"""dvc.yaml, the layout, the profiles and the stages agree; wrong parameters are refused by name."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import layout, params, reproduce
from pipeline.stages import check

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PROFILES = ("demo", "cmu", "paper")
ITEM = {"profile": "P", "dataset": "D", "variant": "V", "seed": "0"}


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def fill(text: str) -> str:
    return re.sub(r"\$\{item\.(\w+)\}", lambda m: ITEM[m[1]], text)


def outputs(stage: str) -> list[str]:
    entries = PIPELINE[stage].get("outs", []) + PIPELINE[stage].get("metrics", [])
    return [fill(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in entries]


def test_the_layout_names_the_paths_that_dvc_tracks():
    assert outputs("convert") == [layout.lifting("P", "D").as_posix()]
    assert outputs("base") == [layout.base("P", 0).as_posix()]
    assert outputs("pretrain") == [layout.pretrained("P", "V", 0).as_posix()]
    assert outputs("finetune") == [layout.finetuned("P", "D", "V", 0).as_posix()]
    assert outputs("finetune_few") == [layout.finetuned("P", "D", "V", 0, few=True).as_posix()]
    assert outputs("visibility") == [layout.visible("P", "D").as_posix()]
    assert {str(Path(o).parent) for o in outputs("evaluate")} == {str(layout.evaluated("P", "D", "V", 0))}
    assert {str(Path(o).parent) for o in outputs("evaluate_few")} == {str(layout.evaluated("P", "D", "V", 0, few=True))}
    assert {str(Path(o).parent) for o in outputs("complete")} == {str(layout.completed("P", "V", 0))}
    assert {str(Path(o).parent) for o in outputs("embed")} == {str(layout.embedded("P", "V", 0))}
    assert outputs("report") == [layout.report("P").as_posix()]
    assert {str(Path(o).parent) for o in outputs("project") + outputs("pair")} == {str(layout.data("P"))}


def test_repeated_stages_are_the_same_on_the_axes_of_repeat():
    repeated = {name.removesuffix("_repeat"): entry for name, entry in PIPELINE.items() if name.endswith("_repeat")}
    assert set(repeated) == {name for name, entry in PIPELINE.items() if "seed" in entry.get("matrix", {})} - {
        f"{name}_repeat" for name in repeated
    }
    for name, entry in repeated.items():
        assert {**entry, "matrix": None} == {**PIPELINE[name], "matrix": None}
        lists = PIPELINE[name]["matrix"]
        assert entry["matrix"] == {
            axis: value if axis == "profile" else value.replace("${", "${repeat.") for axis, value in lists.items()
        }


@pytest.mark.parametrize("stage", [name for name in PIPELINE if not name.endswith("_repeat")])
def test_a_stage_is_one_file_of_its_name_and_its_dependencies_exist(stage):
    assert f"pipeline.stages.{stage} " in PIPELINE[stage]["cmd"] + " "
    assert (ROOT / "pipeline" / "stages" / f"{stage}.py").exists()
    for dependency in PIPELINE[stage]["deps"]:
        if dependency.startswith(("langpose/", "pipeline/")):
            assert (ROOT / dependency).exists(), dependency


PLUMBING = {f"langpose/{name}.py" for name in ("config", "devices", "storage")} | {
    f"pipeline/{name}.py" for name in ("layout", "params")
}
"""They fill parameters, choose a device and write files: they change no number."""

READERS = {
    f"langpose/sources/{name}.py"
    for name in ("mpi_inf_3dhp", "lifting_checks", "unpickling", "pickle_depth", "plain_arrays")
}

UNUSED = {  # imported on the way, not used by the stage
    "pair": {"langpose/body.py"},
    "finetune": {"langpose/corruption.py", "langpose/detector.py", "langpose/sources/human36m.py", *READERS},
    "visibility": {"langpose/sources/human36m.py", *READERS},
    "evaluate": {*READERS},
    "report": {"langpose/windows.py", "langpose/sources/human36m.py", *READERS},
    "synthesize": {
        f"langpose/sources/{name}.py" for name in ("human36m", "lifting_checks", "unpickling", "pickle_depth")
    },
    "download": {
        "langpose/skeleton.py",
        "langpose/sources/cmu.py",
        "langpose/sources/acclaim.py",
        "langpose/sources/motion.py",
    },
    "film": {
        f"langpose/sources/{name}.py" for name in ("lifting_checks", "unpickling", "pickle_depth", "plain_arrays")
    },
}


UNUSED |= {"finetune_few": UNUSED["finetune"], "evaluate_few": UNUSED["evaluate"]}


def imported_files(path: Path) -> set[Path]:
    """The files of langpose and pipeline that ``path`` imports, and what they import."""
    found, todo = set(), [path]
    while todo:
        file = todo.pop()
        if file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                places = [(ROOT / Path(*name.split("."))).with_suffix(".py") for name in names]
                todo += [place for place in places if place.is_file() and name_of(place).split("/")[0] in PACKAGES]
    return found


PACKAGES = ("langpose", "pipeline")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", ["dvc.yaml", *(f"data/{profile}/dvc.yaml" for profile in PROFILES)])
def test_a_stage_depends_on_the_code_it_runs(file):
    for stage, entry in yaml.safe_load((ROOT / file).read_text())["stages"].items():
        if stage.endswith("_repeat"):
            continue  # the same dependencies
        known = {*PLUMBING, *UNUSED.get(stage, ()), *entry["deps"]}
        code = imported_files(ROOT / "pipeline" / "stages" / f"{stage}.py")
        assert UNUSED.get(stage, set()) <= set(map(name_of, code)), f"{stage}: UNUSED names what it does not import"
        missing = [
            name for path in code
            if not any(name_of(place) in known for place in (path, *path.parents) if place.is_relative_to(ROOT))
            for name in [name_of(path)]
        ]  # fmt: skip
        assert not missing, f"{file}: {stage} does not depend on {sorted(missing)}"


def test_only_the_report_is_kept_out_of_the_cache():
    for name, stage in PIPELINE.items():
        for entry in stage.get("outs", []) + stage.get("metrics", []):
            uncached = isinstance(entry, dict) and next(iter(entry.values())).get("cache") is False
            assert uncached == (name == "report")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_parameter_of_a_profile_is_known_and_typed(profile):
    from pipeline import profiles

    profiles.check(profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_knob_carries_a_comment(profile):
    lines = (ROOT / "profiles" / f"{profile}.yaml").read_text().splitlines()
    bare = [
        line for line in lines
        if re.match(r"\s+\w+: *[^#{\s]", line) and "#" not in line
    ]  # fmt: skip
    assert not bare, f"knobs without a comment: {bare}"


def test_a_misspelt_parameter_is_refused_with_the_nearest_name(tmp_path, monkeypatch):
    text = (ROOT / "profiles" / "demo.yaml").read_text()
    (tmp_path / "profiles").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles" / "demo.yaml").write_text(text.replace("\npretrain:", "\npretain:"))
    with pytest.raises(SystemExit, match=r"unknown section 'pretain'; did you mean 'pretrain'\?"):
        params.load("demo")
    with pytest.raises(SystemExit, match=r"no profile 'dmo'.*profiles: demo"):
        params.load("dmo")


def test_the_paper_profile_without_data_lists_every_missing_set_its_source_and_licence(tmp_path):
    entries = check.missing(tmp_path)
    assert len(entries) == len(check.NEEDED)
    for entry, need in zip(entries, check.NEEDED, strict=True):
        assert need.name in entry and "from: " in entry and "licence: " in entry
    for need in check.NEEDED:
        for pattern in need.patterns:
            file = tmp_path / pattern.split("|")[-1].replace("*", "x")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    assert check.missing(tmp_path) == []


def test_the_paper_profile_without_data_is_one_message_and_no_traceback():
    if (ROOT / "data" / "paper" / "raw").exists():
        pytest.skip("the paper's data is placed here")
    done = subprocess.run([sys.executable, "-m", "pipeline.stages.check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "6 of 6 sets are incomplete" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_memory_of_hashes_is_no_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check.MEMORY.parent.mkdir()
    check.MEMORY.write_text('{"half')
    assert check._remembered(tmp_path, hash_files=True) == {}


def test_a_model_is_tested_on_what_it_was_tuned_for(tmp_path, monkeypatch):
    from pipeline.stages import evaluate

    text = (ROOT / "profiles" / "demo.yaml").read_text()
    (tmp_path / "profiles").mkdir()
    head, tail = text.split("\nevaluate:")
    (tmp_path / "profiles" / "demo.yaml").write_text(
        f"{head}\nevaluate:{tail.replace('input_2d: detected', 'input_2d: ground_truth')}"
    )
    evaluate._same_input("demo", "human36m")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="evaluate.human36m.input_2d is ground_truth, but finetune.*is detected"):
        evaluate._same_input("demo", "human36m")
    # what is left out has the data set's own value, on either side
    left_out = text.replace("    input_2d: detected", "    # input_2d: detected")
    assert left_out.count("# input_2d: detected") == 2
    (tmp_path / "profiles" / "demo.yaml").write_text(left_out)
    evaluate._same_input("demo", "human36m")
    tuned = left_out.replace("    # input_2d: detected", "    input_2d: ground_truth", 1)
    (tmp_path / "profiles" / "demo.yaml").write_text(tuned)
    with pytest.raises(SystemExit, match="evaluate.human36m.input_2d is detected, but finetune.*is ground_truth"):
        evaluate._same_input("demo", "human36m")


def test_a_run_continues_when_only_its_loading_changes_and_not_when_the_result_does():
    from pipeline.training_cell import _decisive

    section = {"training": {"workers": 0, "device": "auto", "checkpoint_every": 1000, "epochs": 3}, "gamma": 2.0}
    assert _decisive(section) == {"training": {"epochs": 3}, "gamma": 2.0}
    assert _decisive("mmm") == "mmm"


def test_selecting_a_profile_writes_its_axes_and_keeps_the_comment(tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "cmu.yaml").write_text(
        "axes:\n  datasets: [human36m]\n  variants: [baseline, mmm_map]\n  seeds: [0, 1]\n"
    )
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    reproduce.select("cmu")
    text = Path("params.yaml").read_text()
    assert text.startswith("# The axes of the grid")
    assert yaml.safe_load(text) == {
        "profiles": ["cmu"], "datasets": ["human36m"], "variants": ["baseline", "mmm_map"], "seeds": [0, 1],
        "few": [], "repeat": {"seeds": [], "variants": [], "datasets": [], "few": []},
    }  # fmt: skip
    with pytest.raises(SystemExit, match=r"no profile 'nope'.*profiles: cmu"):
        reproduce.select("nope")


def test_the_committed_axes_are_the_demos():
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], capture_output=True, text=True, check=False)
    if shown.returncode:
        pytest.skip("not a git checkout")
    committed = yaml.safe_load(shown.stdout)  # the file itself is whatever profile was run last
    axes = yaml.safe_load((ROOT / "profiles" / "demo.yaml").read_text())["axes"]
    more = {"few": [], "repeat": {"seeds": [], "variants": [], "datasets": [], "few": []}}
    assert {**more, **committed} == {"profiles": ["demo"], **axes}


def test_the_manifest_lists_every_raw_file_by_content(tmp_path):
    from pipeline import manifest

    (tmp_path / "raw" / "a").mkdir(parents=True)
    (tmp_path / "raw" / "a" / "x.txt").write_text("one")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.npz").write_bytes(b"b")
    (tmp_path / "raw" / "subset").symlink_to(tmp_path / "elsewhere")
    manifest.write(tmp_path / "raw", tmp_path / "m.json")
    first = manifest.digest(tmp_path / "m.json")
    assert list(json.loads((tmp_path / "m.json").read_text())["files"]) == ["a/x.txt", "subset/linked.npz"]
    (tmp_path / "raw" / "a" / "x.txt").write_text("two")
    manifest.write(tmp_path / "raw", tmp_path / "m.json")
    assert manifest.digest(tmp_path / "m.json") != first
