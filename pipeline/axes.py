"""The axes of the grid: which cells there are. A profile's section `axes`, copied into params.yaml for dvc.yaml."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from langpose.config import from_mapping

PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class Repeat:
    """What is measured with further seeds: a grid of its own, beside the whole one."""

    seeds: list[int] = field(default_factory=list)
    """None of the grid's own."""
    variants: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    few: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Axes:
    """Section `axes` of a profile: the cells that its tables need."""

    datasets: list[str]
    """human36m, mpi_inf_3dhp, or both."""
    variants: list[str]
    """Entries of the profile's section `variants`."""
    seeds: list[int]
    """Every cell is trained once a seed."""
    few: list[str] = field(default_factory=list)
    """Data sets to fine-tune on a small share of besides (section `few`)."""
    repeat: Repeat = field(default_factory=Repeat)
    """Cells with further seeds."""

    def __post_init__(self) -> None:
        for name in ("variants", "datasets", "few"):
            if unknown := set(getattr(self.repeat, name)) - set(getattr(self, name)):
                raise ValueError(f"repeat.{name} has {sorted(unknown)}, which the grid's {name} lack")
        if both := set(self.seeds) & set(self.repeat.seeds):
            raise ValueError(f"repeat.seeds has {sorted(both)}, which are the grid's own; expected further ones")

    @property
    def all_seeds(self) -> list[int]:
        return [*self.seeds, *self.repeat.seeds]

    def pretrained(self, variant: str) -> list[int]:
        """The seeds that ``variant`` is pretrained with."""
        return self.all_seeds if variant in self.repeat.variants else self.seeds

    def finetuned(self, dataset: str, variant: str, few: bool = False) -> list[int]:
        """The seeds that ``variant`` is fine-tuned with on ``dataset``, or on little of it."""
        repeated = dataset in (self.repeat.few if few else self.repeat.datasets)
        return self.pretrained(variant) if repeated else self.seeds


def read() -> Axes:
    """The axes in params.yaml. Raises ``ValueError`` where something in it is unknown or of the wrong type."""
    values = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    return from_mapping(Axes, {name: value for name, value in values.items() if name != "profiles"}, str(PARAMS))
