"""`langpose data check`: found, missing or broken, by really opening; never a traceback. docs/data.md names it all."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from langpose import cli
from langpose.commands import data
from langpose.data_sets import NEEDED
from langpose.demo.amass_files import write_sequence, write_shape
from langpose.demo.standin_body import write_standin_body
from tests.lifting_files import human36m_content, mpi_inf_3dhp_content, write_human36m, write_mpi_inf_3dhp
from tests.test_amass import crouch
from tests.test_babel import FILES as BABEL
from tests.test_babel import write as write_babel

DOCUMENT = Path(__file__).parents[1] / "docs" / "data.md"
NEEDS = {need.key: need for need in NEEDED}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("complete") / "raw"
    raw.mkdir()
    write_standin_body(raw / "body_models")
    path = write_sequence(raw / "amass", crouch(), seed=0)
    for number in range(2, 7):
        shutil.copy(path, path.with_name(f"07_0{number}_poses.npz"))
    write_shape(raw / "amass", "CMU", "07", "female", np.zeros(16))
    write_babel(raw / "babel", **{name: BABEL.get(name, {}) for name in ("train", "val", "test", "extra_train")})
    write_babel(raw / "babel", extra_val=BABEL["extra_val"])
    (raw / "human36m").mkdir()
    write_human36m(human36m_content(), raw / "human36m" / "h36m_sh_conf_cam_source_final.pkl")
    write_mpi_inf_3dhp(*mpi_inf_3dhp_content(), raw / "mpi_inf_3dhp")
    return raw


@pytest.fixture
def raw(complete: Path, tmp_path: Path) -> Path:
    """A copy of the complete folder, to be damaged."""
    return shutil.copytree(complete, tmp_path / "raw")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, str], str]:
    """Exit code, what is said of each data set (key -> its lines, status first), and all of stdout."""
    code = cli.main(["data", "check", *map(str, arguments)])
    printed = capsys.readouterr().out
    said = {}
    for key, need in NEEDS.items():
        said[key] = re.search(rf"^(found|missing|broken) +{re.escape(need.name)}\n(?: {{9}}.*\n)*", printed, re.M)[0]
    return code, said, printed


def test_with_everything_missing_every_set_is_named_with_its_files_source_and_licence(tmp_path, capsys):
    code, said, printed = run(capsys, tmp_path / "nowhere")
    assert code == 1
    for need in NEEDED:
        lines = said[need.key]
        assert lines.startswith("missing") and need.source in lines and need.licence in lines
        for pattern in need.patterns:
            assert all(str(tmp_path / "nowhere" / either) in lines for either in pattern.split("|"))
    assert "0 of 6 data sets found" in printed and "make repro PROFILE=cmu" in printed


def test_with_everything_in_place_all_is_found_and_counted(complete, capsys):
    code, said, printed = run(capsys, complete)
    assert code == 0, printed
    assert all(lines.startswith("found") for lines in said.values())
    assert "6 of 6 data sets found" in printed
    assert "7 files" in said["amass"] and "subsets: CMU" in said["amass"] and "opened 3 of them" in said["amass"]
    assert "train.json: 1 sequences, 4 labels with a text" in said["babel"]
    assert re.search(r"test: \d+ frames of subjects 9", said["human36m"])
    assert "the published file has 1,559,752" in said["human36m"]
    assert re.search(r"data_test_3dhp.npz: \d+ sequences, \d+ takes, \d+ frames, \d+ of them valid", printed)


def test_quick_opens_nothing(complete, capsys, monkeypatch):
    monkeypatch.setattr(data, "_READERS", {})
    code, said, _ = run(capsys, complete, "--quick")
    assert code == 0
    assert all("not opened (--quick)" in lines for lines in said.values())


def test_all_opens_every_recording(raw):
    (bad := raw / "amass/CMU/07/07_02_poses.npz").write_bytes((raw / "amass/CMU/07/shape.npz").read_bytes())
    with np.load(raw / "amass/CMU/07/07_04_poses.npz") as arrays:
        np.savez(bad.with_name("07_04_poses.npz"), **{k: v for k, v in arrays.items() if k != "mocap_framerate"})
    assert data.check(NEEDS["amass"], raw).status == "found", "the sample has 01, 03 and 06"
    said = str(data.check(NEEDS["amass"], raw, every=True))
    assert said.startswith("broken") and "opened 7 of them" in said and "1 of these cannot be used" in said
    assert "2 of these hold a body without motion" in said and "07_04_poses.npz: no frame rate" in said


def swap_legs(file: Path) -> None:
    regressor = np.load(file)
    np.save(file, regressor[[0, 4, 5, 6, 1, 2, 3, *range(7, 17)]])


def without(file: Path, key: str) -> None:
    with np.load(file) as arrays:
        kept = {name: value for name, value in arrays.items() if name != key}
    np.savez(file, **kept)


def millimetres_as_metres(file: Path) -> None:
    train, test = mpi_inf_3dhp_content()
    for sequence in test.values():
        sequence["data_3d"] = sequence["data_3d"] / 1000
    write_mpi_inf_3dhp(train, test, file.parent)


def without_action(file: Path) -> None:
    content = human36m_content()
    del content["test"]["action"]
    write_human36m(content, file)


WRONG = {
    "amass": ("amass/CMU/07/07_01_poses.npz", lambda file: without(file, "trans"), "'trans' is missing"),
    "body_models": ("body_models/smplh/male/model.npz", lambda file: without(file, "posedirs"), "posedirs missing"),
    "regressor": ("body_models/J_regressor_h36m_correct.npy", swap_legs, "left and right are swapped for hip"),
    "babel": ("babel/val.json", lambda file: file.write_text('{"9": {"feat_p": 3}}'), "sequence 9: field 'feat_p'"),
    "human36m": ("human36m/h36m_sh_conf_cam_source_final.pkl", without_action, "lacks 'action'"),
    "mpi_inf_3dhp": ("mpi_inf_3dhp/data_test_3dhp.npz", millimetres_as_metres, "in mm it should measure 500 to 5000"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_file_is_broken_with_the_readers_reason_and_the_source(key, raw):
    name, damage, reason = WRONG[key]
    damage(raw / name)
    finding = data.check(NEEDS[key], raw)
    assert finding.status == "broken" and str(finding).startswith("broken")
    assert any(reason in line for line in finding.lines)
    assert finding.lines[-1].endswith(f"from: {NEEDS[key].source}")


@pytest.mark.parametrize("key", ["body_models", "regressor"])
def test_what_needs_a_broken_file_says_so_and_is_not_blamed(key, raw):
    name, damage, _ = WRONG[key]
    damage(raw / name.replace("/male/", "/female/"))
    said = {other: str(data.check(NEEDS[other], raw)) for other in ("body_models", "regressor", "amass")}
    assert [other for other, lines in said.items() if lines.startswith("broken")] == [key]
    assert "not opened: that takes the body models and the joint regressor" in said["amass"]
    assert ("left and right were not checked" in said["regressor"]) == (key == "body_models")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", "half"], ids=["empty", "web_page", "cut_off"])
@pytest.mark.parametrize("name", [name for name, _, _ in WRONG.values()])
def test_a_file_that_is_empty_a_web_page_or_cut_off_is_broken_without_opening(name, content, raw, capsys):
    file = raw / name
    if content == "half":
        if file.suffix == ".npy":
            pytest.skip("its length is in its header: that takes the reader")
        content = file.read_bytes().rstrip()[: -20 if file.suffix == ".json" else -40]
    file.write_bytes(content)
    code, said, printed = run(capsys, raw, "--quick")
    assert code == 1 and f"{name}: " in printed
    assert sum(lines.startswith("broken") for lines in said.values()) == 1


def test_a_folder_in_a_files_place_is_no_traceback(raw):
    (raw / "babel/test.json").unlink()
    (raw / "babel/test.json").mkdir()
    assert "test.json: is a folder" in str(data.check(NEEDS["babel"], raw))


def test_whatever_a_reader_raises_is_a_line(complete, monkeypatch):
    def fail(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(data.babel, "read", fail)
    assert "RecursionError: too deep" in str(data.check(NEEDS["babel"], complete))


def test_a_file_whose_name_is_no_text_is_no_traceback(tmp_path):
    (folder := tmp_path / "raw/amass/CMU/07").mkdir(parents=True)
    (folder / "w\udce4lk_poses.npz").write_bytes(b"<html>")  # a Latin-1 name, as python sees it
    done = subprocess.run(
        [sys.executable, "-m", "langpose.cli", "data", "check", "--quick", tmp_path / "raw"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "w\\udce4lk_poses.npz: begins with b'<html>'" in done.stdout and not done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["data", "--help"], ["data", "check", "--help"]])
def test_help_works(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: langpose")


def test_the_command_runs_as_a_program_and_a_closed_pipe_is_no_traceback(tmp_path):
    done = subprocess.run(
        f"'{sys.executable}' -m langpose.cli data check '{tmp_path}' | head -1",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"missing  {NEEDS['body_models'].name}\n" and not done.stderr


def test_the_document_names_every_file_source_and_licence():
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    for need in NEEDED:
        for pattern in need.patterns:
            for either in pattern.split("|"):
                assert f"`{either}`" in text, f"docs/data.md does not name {either}"
        address = re.search(r"https?://\S+|\w[\w-]+/\w[\w-]+", need.source)[0].rstrip(",)")
        assert address in text and need.licence.split(":")[0].split(";")[0] in text


def test_the_documents_recipe_for_what_is_not_pushed_is_valid():
    import yaml

    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    assert any("push: false" in block for block in blocks)
    assert all(yaml.safe_load(block) for block in blocks)
