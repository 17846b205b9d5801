"""Checkpoints: whole or absent, checked by content, valid for one set of parameters, inputs and code."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from langpose import checkpoints
from langpose.checkpoints import CheckpointWarning
from tests.power_cut import power_cut

TENSORS = {
    "model.a": torch.arange(6.0).reshape(2, 3),
    "model.half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "optimizer.0.step": torch.tensor(7.0),
    "model.transposed": torch.arange(6).reshape(2, 3).T,
}
RECORD = {"fingerprint": "f", "history": [{"loss": 0.1 + 0.2, "val": float("nan")}], "best": None}


def save(folder, step, **options):
    checkpoints.save(folder, step, {**TENSORS, "step": torch.tensor(step)}, {**RECORD, "step": step}, **options)


def step_of(folder):
    found = checkpoints.load(folder)
    return None if found is None else (int(found[0]["step"]), found[1]["step"])


def test_what_is_loaded_is_what_was_saved_bit_for_bit(tmp_path):
    save(tmp_path, 3)
    tensors, record = checkpoints.load(tmp_path)
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype, name
    assert record["history"][0]["loss"] == 0.1 + 0.2 and np.isnan(record["history"][0]["val"])
    assert checkpoints.load(tmp_path / "nothing") is None


def test_the_last_two_are_kept_and_the_pointer_names_them_newest_first(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    names = ["step-000000003.safetensors", "step-000000002.safetensors"]
    assert [entry["file"] for entry in json.loads((tmp_path / "latest.json").read_text())] == names
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", *sorted(names)]
    assert checkpoints.newest(tmp_path) == names[0] and checkpoints.newest(tmp_path / "nothing") is None
    save(tmp_path, 4, keep_previous=False)
    assert [p.name for p in tmp_path.glob("step-*")] == ["step-000000004.safetensors"]


def test_a_flipped_bit_anywhere_in_the_newest_is_found_and_the_one_before_is_used(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    newest = tmp_path / "step-000000002.safetensors"
    content = newest.read_bytes()
    for place in [0, len(content) - 1, *np.random.default_rng(0).integers(len(content), size=40).tolist()]:
        newest.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.warns(CheckpointWarning, match=r"step-000000002.*not what was written.*using the one before it"):
            assert step_of(tmp_path) == (1, 1)


@pytest.mark.parametrize("size", [0, 5, 200, -1])
def test_a_truncated_newest_is_named_and_the_one_before_is_used(tmp_path, size):
    save(tmp_path, 1)
    save(tmp_path, 2)
    newest = tmp_path / "step-000000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:size])
    with pytest.warns(CheckpointWarning, match="step-000000002"):
        assert step_of(tmp_path) == (1, 1)
    newest.unlink()
    with pytest.warns(CheckpointWarning, match="step-000000002"):
        assert step_of(tmp_path) == (1, 1)


def test_where_nothing_is_whole_the_warning_says_that_the_run_starts_anew(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "step-000000001.safetensors").write_bytes(b"")
    with pytest.warns(CheckpointWarning, match="there is no other: starting from the beginning"):
        assert checkpoints.load(tmp_path) is None
    (tmp_path / "latest.json").write_text('[{"file": 3')
    with pytest.warns(CheckpointWarning, match=r"latest.json is damaged"):
        assert checkpoints.load(tmp_path) is None


@pytest.mark.parametrize("second", [2, 1])
@pytest.mark.parametrize("fail_at", [1, 2])
def test_a_power_cut_at_any_rename_leaves_the_checkpoint_before_in_force(tmp_path, fail_at, second):
    """Also where the same step is saved twice: the file in force is not written over."""
    save(tmp_path, 1)
    with power_cut(at=fail_at):
        save(tmp_path, second)
    assert step_of(tmp_path) == (1, 1)  # no warning either: warnings are errors here
    save(tmp_path, second)
    assert step_of(tmp_path) == (second, second)


def test_what_killed_writers_left_half_written_is_cleared_away(tmp_path):
    left = tmp_path / ".step-000000001.safetensors.4242.tmp"
    left.write_bytes(b"half")
    save(tmp_path, 2)
    assert not left.exists()


def test_nothing_that_is_written_is_a_pickle(tmp_path):
    save(tmp_path, 1)
    content = (tmp_path / "step-000000001.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert set(header) == {*TENSORS, "step", "__metadata__"}
    assert json.loads(header["__metadata__"]["record"])["step"] == 1


def test_an_optimisers_state_survives_also_where_parameters_had_no_gradient():
    def adam(weights):
        return torch.optim.AdamW(weights, lr=0.1, fused=True)

    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
    optimizer = adam(weights)
    for _ in range(3):
        weights[0].grad, weights[2].grad = torch.tensor([1.0, 2.0, 3.0]), torch.full((3,), -1.0)
        optimizer.step()
    tensors = checkpoints.optimizer_tensors(optimizer)
    assert {name.split(".")[0] for name in tensors} == {"0", "2"}
    copies = [torch.nn.Parameter(w.detach().clone()) for w in weights]
    other = adam(copies)
    checkpoints.load_optimizer(other, {name: value.clone() for name, value in tensors.items()})
    for optim, group in ((optimizer, weights), (other, copies)):
        for weight in group:
            weight.grad = torch.tensor([0.5, -0.5, 4.0])
        optim.step()
    for ours, theirs in zip(weights, copies, strict=True):
        assert torch.equal(ours, theirs)


def test_part_takes_a_prefix_off():
    assert set(checkpoints.part(TENSORS, "model.")) == {"a", "half", "transposed"}


def test_what_a_run_is_made_of_follows_parameters_and_content_but_not_the_place(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "x").write_text("1")

    def mark(parameters, name):
        return checkpoints.fingerprint(checkpoints.made_of(parameters, [tmp_path / name]))

    first = mark({"lr": 1, "b": {"c": 2}}, "a")
    assert mark({"b": {"c": 2}, "lr": 1}, "b") == first
    assert mark({"lr": 2, "b": {"c": 2}}, "a") != first
    assert mark({"lr": 1, "b": {"c": "2"}}, "a") != first
    (tmp_path / "b" / "inner" / "x").rename(tmp_path / "b" / "inner" / "y")
    assert mark({"lr": 1, "b": {"c": 2}}, "b") != first
    (tmp_path / "a" / "inner" / "x").write_text("2")
    assert mark({"lr": 1, "b": {"c": 2}}, "a") != first
    with pytest.raises(FileNotFoundError, match="missing or empty"):
        checkpoints.made_of({}, [tmp_path / "nothing"])


def test_what_differs_is_told_by_name(tmp_path):
    (tmp_path / "pairs.parquet").write_text("1")
    before = checkpoints.made_of(
        {"pretrain": {"lambda_con": 0.5, "masks": {}}, "seed": 0}, [tmp_path / "pairs.parquet"]
    )
    (tmp_path / "pairs.parquet").write_text("2")
    now = checkpoints.made_of({"pretrain": {"lambda_con": 0.3, "memory": 8}, "seed": 0}, [tmp_path / "pairs.parquet"])
    assert checkpoints.differences(before, now | {"code losses.py": "other"}) == (
        "code losses.py, input 1 pairs.parquet, pretrain.lambda_con (0.5, now 0.3), pretrain.masks ({}, now absent), "
        "pretrain.memory (absent, now 8)"
    )
    many = {f"p{i:02d}": "1" for i in range(14)}
    assert checkpoints.differences({}, many).endswith("p09 (absent, now 1) and 4 more")
    assert checkpoints.differences(before, before) == ""


@pytest.mark.parametrize("file", ["losses.py", "model/deep/new.py", "detector_noise.npz"])
def test_the_code_is_every_file_that_decides_what_is_learnt(tmp_path, file):
    """After a correction of the code, weights that the faulty code finished must not pass for the run's."""
    for part in checkpoints.CODE:
        path = tmp_path / part
        if "." in part:
            path.write_text("1")
        else:
            path.mkdir()
    before = checkpoints.code_files(tmp_path)
    (tmp_path / "figures.py").write_text("drawing does not matter")
    assert checkpoints.code_files(tmp_path) == before
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("2")
    changed = checkpoints.code_files(tmp_path)
    assert {name for name in changed if changed[name] != before.get(name)} == {file}
    assert "code losses.py" in checkpoints.made_of({})


def test_all_code_that_training_loads_is_in_the_fingerprint():
    """A module that training newly imports must be added to CODE, or be one whose results are hashed themselves."""
    code = """
import sys
import langpose.training, langpose.tasks, langpose.clips, langpose.lifting_sets
import langpose.model.langpose, langpose.model.motionbert
print("\\n".join(m.__file__ for n, m in sys.modules.items() if n.startswith("langpose") and m.__file__))
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    package = Path(checkpoints.__file__).parent
    loaded = {Path(line).relative_to(package).parts[0] for line in out.split()}
    assert loaded - set(checkpoints.CODE) == {"__init__.py", "config.py", "storage.py", "sources"}
    assert all((package / part).exists() for part in checkpoints.CODE)
