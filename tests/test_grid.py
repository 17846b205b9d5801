"""A grid is a profile's, restricted and overridden by name, and known by its hash."""

import shutil
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ruamel.yaml")

from pipeline import axes, params
from pipeline.axes import Repeat
from pipeline.grid import Grid

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)


def test_without_wishes_it_is_the_profiles_own():
    grid = Grid.of("cmu")
    assert grid.axes == params.section("cmu", "axes", axes.Axes)
    grid.write()
    assert axes.read() == grid.axes and yaml.safe_load(Path("params.yaml").read_text())["profiles"] == ["cmu"]
    assert Path("profiles/cmu.yaml").read_bytes() == (ROOT / "profiles/cmu.yaml").read_bytes()


def test_what_is_named_replaces_an_axis_and_restricts_what_is_repeated():
    grid = Grid.of("cmu", variants=["baseline", "mtl"], datasets=["human36m"])
    assert grid.axes.variants == ["baseline", "mtl"] and grid.axes.datasets == ["human36m"]
    assert grid.axes.repeat.variants == ["baseline"] and grid.axes.repeat.datasets == ["human36m"]
    assert Grid.of("cmu", datasets=["mpi_inf_3dhp"]).axes.few == []
    seeds = Grid.of("cmu", seeds=[3, 4]).axes
    assert seeds.seeds == [3, 4] and seeds.repeat == Repeat()


def test_overrides_are_written_into_the_profile_and_its_comments_stay():
    grid = Grid.of("demo", overrides=["pretrain.lambda_con=0.25", "base.training.epochs=2", "embed.same_text=0.9"])
    grid.write()
    values = params.load("demo")
    assert values["pretrain"]["lambda_con"] == 0.25 and values["base"]["training"]["epochs"] == 2
    before = (ROOT / "profiles/demo.yaml").read_text()
    assert Path("profiles/demo.yaml").read_text().count("#") == before.count("#")


def test_a_grid_is_the_same_to_whoever_asks_for_the_same_whatever_another_one_has_written():
    pytest.importorskip("prefect")
    from pipeline.flows import _grid_key

    def key(*overrides):
        return _grid_key(Grid.of("demo", overrides=overrides), "0" * 40)

    plain, narrow = key(), key("pretrain.gamma=1.5")
    Grid.of("demo", overrides=["pretrain.gamma=1.5"]).write()  # that grid is under way in this folder
    assert key("pretrain.gamma=1.5") == narrow and plain != key() != narrow
    grids = Grid.of("demo", overrides=["pretrain.gamma=1.5"]), Grid.of("demo", overrides=["pretrain.gamma=1.25"])
    assert [grid.found_here() == grid.id for grid in grids] == [True, False]


def test_its_name_is_a_hash_of_profile_axes_and_parameters():
    same = Grid.of("demo").id
    assert Grid.of("demo").id == same
    others = [Grid.of("cmu"), Grid.of("demo", seeds=[1]), Grid.of("demo", overrides=["pretrain.gamma=1.5"])]
    assert len({same, *(other.id for other in others)}) == 4
    there = Grid.from_json(others[2].to_json())
    assert there == others[2] and there.id == others[2].id


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"variants": ["nope"]}, "variants: profile 'demo' has no \\['nope'\\]; it has baseline"),
        ({"variants": []}, "variants is empty"),
        ({"datasets": ["coco"]}, "datasets: profile 'demo' has no"),
        ({"seeds": []}, "seeds is \\[\\]"),
        ({"seeds": [1, 1]}, "expected different numbers"),
        ({"overrides": ["gamma=1"]}, "expected section.name=value"),
        ({"overrides": ["pretrain.gamma"]}, "expected section.name=value"),
        ({"overrides": ["nope.gamma=1"]}, "no section 'nope'"),
        ({"overrides": ["axes.seeds=[1]"]}, "axes are parameters of their own"),
        ({"overrides": ["pretrain.gamma.more=1"]}, "pretrain.gamma is a value, no section"),
        ({"overrides": ["pretrain.gamma=[1"]}, "the value is not YAML"),
        ({"overrides": ["pretrain.gama=1"]}, "unknown parameter 'gama'; did you mean 'gamma'"),
        ({"overrides": ["pretrain.training.learning_rate=1e-3x"]}, "learning_rate: expected"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused(wishes, message):
    with pytest.raises(ValueError, match=message):
        Grid.of("demo", **wishes)
