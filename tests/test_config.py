"""Parameters: typed, and a wrong one is refused with the nearest valid name."""

from dataclasses import dataclass, field
from typing import Literal

import pytest
import yaml

from langpose.config import from_mapping


@dataclass
class Inner:
    gamma: float = 2.0
    loss: Literal["focal_kl", "infonce"] = "focal_kl"


@dataclass
class Outer:
    steps: int
    inner: Inner = field(default_factory=Inner)
    window: tuple[float, float] = (0.1, 0.4)
    names: list[str] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)
    clip: float | None = None

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"steps is {self.steps}; it must not be negative")


def test_nested_values_are_converted():
    made = from_mapping(
        Outer, {"steps": 3, "inner": {"gamma": 1}, "window": [0, 1], "shares": {"a": 1}, "clip": 5}, "x"
    )
    assert made == Outer(3, Inner(1.0), (0.0, 1.0), [], {"a": 1.0}, 5.0)
    assert isinstance(made.inner.gamma, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 1, "inner": {"gama": 2.0}}, r"p\.inner: unknown parameter 'gama'; did you mean 'gamma'\?"),
        ({"steps": 1, "zzz": 2.0}, r"unknown parameter 'zzz'; valid names: clip, inner"),
        ({}, r"parameter 'steps' is missing"),
        ({"steps": "many"}, r"p\.steps: expected int, found 'many' \(str\)"),
        ({"steps": True}, r"expected int, found True"),
        ({"steps": 1.5}, r"expected int, found 1.5"),
        (
            {"steps": 1, "inner": {"loss": "infonc"}},
            r"expected one of 'focal_kl', 'infonce', found 'infonc'; did you mean",
        ),
        ({"steps": 1, "window": [1]}, r"p\.window: expected tuple\[float, float\], found \[1\]"),
        ({"steps": 1, "names": "walk"}, r"p\.names: expected list\[str\], found 'walk'"),
        ({"steps": 1, "shares": {"a": "b"}}, r"p\.shares\.a: expected float, found 'b'"),
        ({"steps": -1}, r"p: steps is -1; it must not be negative"),
        (["steps"], r"expected a mapping of parameters"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_place_and_the_fix(values, message):
    with pytest.raises(ValueError, match=message):
        from_mapping(Outer, values, "p")


def test_yamls_reading_of_2e_4_as_a_text_is_a_number_where_one_is_expected():
    @dataclass(frozen=True)
    class Rate:
        rate: float = 0.1

    assert from_mapping(Rate, yaml.safe_load("rate: 2e-4"), "p") == Rate(0.0002)
    for wrong in ("fast", "nan", "1_000"):
        with pytest.raises(ValueError, match=rf"p\.rate: expected float, found '{wrong}'"):
            from_mapping(Rate, {"rate": wrong}, "p")
