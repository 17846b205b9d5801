"""Cells without DVC: each once, what they need first, stopped in time, continued, never mixed."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from langpose.training import PREEMPTED
from pipeline import bare, layout
from pipeline.axes import Axes, Repeat

ROOT = Path(__file__).parents[1]
REPEAT = Repeat([1], ["mmm_map"], ["human36m"], ["human36m"])
AXES = Axes(["human36m", "mpi_inf_3dhp"], ["baseline", "mmm_map"], [0], ["human36m"], REPEAT)

CELL = """
import signal, sys, time
from pathlib import Path
done, seconds, *needs = sys.argv[1:]
assert all(Path(need).exists() for need in needs), needs
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
time.sleep(float(seconds))
Path(done).parent.mkdir(parents=True, exist_ok=True)
Path(done).touch()
with open("order.txt", "a") as file:
    print(done, file=file)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout with data, whose cells are small programs: they check what they need, wait, and touch a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    axes = {"datasets": AXES.datasets, "variants": AXES.variants, "seeds": AXES.seeds, "few": AXES.few,
            "repeat": asdict(REPEAT)}  # fmt: skip
    (tmp_path / "profiles" / "p.yaml").write_text(yaml.safe_dump({"axes": axes}))
    (tmp_path / "langpose").mkdir()
    (tmp_path / "langpose" / "code.py").write_text("one = 1\n")
    for name in ("motions", "views", "pairs.parquet", *(f"lifting/{dataset}" for dataset in AXES.datasets)):
        (layout.data("p") / name).mkdir(parents=True)
    seconds = {}

    def command(cell):
        return [sys.executable, "-c", CELL, str(cell.done), str(seconds.get(cell.stage, 0)), *map(str, cell.needs)]

    monkeypatch.setattr(bare, "command", command)
    return seconds


def order():
    return Path("order.txt").read_text().splitlines()


def test_the_cells_are_those_of_the_pipeline():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    item = {"profile": "P", "dataset": "human36m", "variant": "mmm_map", "seed": "1"}
    found = {cell.stage: cell for cell in bare.cells("P", AXES) if set(cell.arguments) <= set(item.values())}
    stages = {name: entry for name, entry in stages.items() if not name.endswith("_repeat")}
    assert set(found) == set(stages) - {"project", "pair", "convert", "report"}
    for stage, cell in found.items():
        words = stages[stage]["cmd"]
        for name, value in item.items():
            words = words.replace(f"${{item.{name}}}", value)
        assert bare.command(cell) == [sys.executable, *words.split()[1:]]
        outputs = [next(iter(o)) if isinstance(o, dict) else o
                   for o in stages[stage].get("outs", []) + stages[stage].get("metrics", [])]  # fmt: skip
        for name, value in item.items():
            outputs = [output.replace(f"${{item.{name}}}", value) for output in outputs]
        assert cell.done.as_posix() in outputs
        made = {c.done for c in bare.cells("P", AXES)}
        assert set(cell.needs) <= made


def test_every_cell_is_run_once_after_what_it_needs_and_not_again(place):
    assert bare.main(["p", "--jobs", "3"]) == 0
    expected = [cell.done.as_posix() for cell in bare.cells("p", AXES)]
    assert sorted(order()) == sorted(expected)
    assert bare.main(["p"]) == 0
    assert len(order()) == len(expected)


def test_a_run_stops_in_time_and_the_next_goes_on(place, capsys):
    place["pretrain"] = 30
    began = time.monotonic()
    assert bare.main(["p", "--jobs", "2", "--minutes", "0.05"]) == PREEMPTED
    assert time.monotonic() - began < 15
    assert "pretrain-baseline-0: saved after" in capsys.readouterr().out
    assert not layout.pretrained("p", "baseline", 0).exists()
    place["pretrain"] = 0
    assert bare.main(["p", "--jobs", "4"]) == 0
    assert len(order()) == len(set(order())) == len(list(bare.cells("p", AXES)))


def test_a_cell_that_fails_is_named_and_only_what_needs_it_is_left_out(place, monkeypatch, capsys):
    whole = bare.command
    monkeypatch.setattr(
        bare, "command", lambda c: [sys.executable, "-c", "raise SystemExit(3)"] if c.stage == "embed" else whole(c)
    )
    assert bare.main(["p", "--jobs", "4"]) == 1
    assert "embed-mmm_map-1: failed (3), see work/bare/embed-mmm_map-1.log" in capsys.readouterr().err
    assert len(order()) == len([cell for cell in bare.cells("p", AXES) if cell.stage != "embed"])


def test_cells_of_other_parameters_or_code_are_refused_unless_kept(place):
    assert bare.main(["p", "--jobs", "4"]) == 0
    Path("langpose/code.py").write_text("two = 2\n")
    with pytest.raises(SystemExit, match="were made by other parameters or code"):
        bare.main(["p"])
    assert bare.main(["p", "--keep"]) == 0
    assert bare.main(["p"]) == 0


def test_absent_data_is_named(place):
    (layout.data("p") / "views").rmdir()
    with pytest.raises(SystemExit, match=r"data of 'p' is not there: data/p/views"):
        bare.main(["p"])
