"""A grid: a profile, the axes that are wanted of it, and parameters that replace the profile's own."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from langpose.config import from_mapping
from langpose.storage import replacing
from pipeline import params, profiles, selection
from pipeline.axes import Axes, Repeat


@dataclass(frozen=True)
class Grid:
    """What one run of the flow `ablations` computes."""

    profile: str
    axes: Axes
    overrides: tuple[str, ...] = ()
    """``section.name=value``, as YAML has values; they replace the profile's."""

    @classmethod
    def of(
        cls,
        profile: str,
        variants: Sequence[str] | None = None,
        datasets: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        overrides: Sequence[str] = (),
    ) -> "Grid":
        """The grid of the profile in this folder; what is named takes the place of the profile's axes.

        With ``seeds``, all cells have these seeds, and the profile's `repeat` does not count. Raises ``ValueError``
        for what the profile lacks.
        """
        parsed = [_parse(text) for text in overrides]
        values = _merged(params.load(profile), parsed)
        if overrides:
            profiles.check(profile, values)
        axes = from_mapping(Axes, values.get("axes"), f"profiles/{profile}.yaml: axes")
        if variants is not None:
            wanted = _known("variants", variants, values.get("variants", {}), profile)
            kept = [one for one in axes.repeat.variants if one in wanted]
            axes = replace(axes, variants=wanted, repeat=replace(axes.repeat, variants=kept))
        if datasets is not None:
            wanted = _known("datasets", datasets, values.get("finetune", {}), profile)
            again = {name: [one for one in getattr(axes.repeat, name) if one in wanted] for name in ("datasets", "few")}
            few = [one for one in axes.few if one in wanted]
            repeat = replace(axes.repeat, datasets=again["datasets"], few=again["few"])
            axes = replace(axes, datasets=wanted, few=few, repeat=repeat)
        if seeds is not None:
            if not seeds or any(seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
                raise ValueError(f"seeds is {list(seeds)}; expected different numbers of at least 0")
            axes = replace(axes, seeds=list(seeds), repeat=Repeat())
        return cls(profile, axes, tuple(overrides))

    @property
    def id(self) -> str:
        """The hash of profile, axes and all parameters: the same grid is the same experiment, whoever runs it."""
        return self._hash(self.overrides)

    def found_here(self) -> str:
        """The `id` that this folder's profile makes of the grid as it stands: another where the overrides do not."""
        return self._hash(())

    def _hash(self, overrides: Sequence[str]) -> str:
        values = _merged(params.load(self.profile), [_parse(text) for text in overrides])
        said = {"profile": self.profile, **values, "axes": asdict(self.axes)}
        return sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def profile_text(self) -> str:
        """The profile's file with the overrides in their places; comments stay."""
        text, written = YAML(), StringIO()
        values = text.load(self._file.read_text(encoding="utf-8"))
        _set(values, [_parse(one) for one in self.overrides])
        text.dump(values, written)
        return written.getvalue()

    def write(self) -> None:
        """Make this folder's params.yaml and profile those of the grid. Raises ``ValueError`` for an unknown name."""
        if self.overrides:
            written = self.profile_text()
            with replacing(self._file) as temporary:
                temporary.write_text(written, encoding="utf-8")
        selection.list_alone(self.profile, self.axes)

    @property
    def _file(self) -> Path:
        return Path("profiles") / f"{self.profile}.yaml"

    def to_json(self) -> dict[str, Any]:
        return {"profile": self.profile, "axes": asdict(self.axes), "overrides": list(self.overrides)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Grid":
        return cls(values["profile"], from_mapping(Axes, values["axes"], "axes"), tuple(values["overrides"]))


def _known(what: str, wanted: Sequence[str], known: Iterable[str], profile: str) -> list[str]:
    if not wanted:
        raise ValueError(f"{what} is empty; name at least one of {', '.join(known)}")
    if unknown := [one for one in wanted if one not in known]:
        raise ValueError(f"{what}: profile '{profile}' has no {unknown}; it has {', '.join(known)}")
    return list(wanted)


Override = tuple[list[str], Any]


def _parse(text: str) -> Override:
    name, equals, value = text.partition("=")
    path = name.strip().split(".")
    if not equals or len(path) < 2 or not all(path):
        raise ValueError(f"override '{text}': expected section.name=value, as pretrain.training.epochs=10")
    if path[0] == "axes":
        raise ValueError(f"override '{text}': axes are parameters of their own (variants, datasets, seeds)")
    if path[0] not in params.SECTIONS:
        raise ValueError(f"override '{text}': no section '{path[0]}'; sections: {', '.join(params.SECTIONS)}")
    try:
        return path, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"override '{text}': the value is not YAML: {error}") from error


def _merged(values: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(values, default=str))
    _set(copied, overrides)
    return copied


def _set(values: Any, overrides: Sequence[Override]) -> None:
    for path, value in overrides:
        place = values
        for number, name in enumerate(path[:-1], 1):
            if not isinstance(place.setdefault(name, {}), dict):
                raise ValueError(f"override '{'.'.join(path)}': {'.'.join(path[:number])} is a value, no section")
            place = place[name]
        place[path[-1]] = value
