"""Parameters of a profile: profiles/<profile>.yaml, a section a stage, each filled into its typed dataclass.

Anything unknown or of the wrong type is refused, with its place and the nearest valid name.
"""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml

from langpose.config import from_mapping

C = TypeVar("C")

SECTIONS = (
    "axes", "synthesize", "download", "film", "check", "project", "pair", "convert", "clips", "model", "base",
    "pretrain", "variants", "finetune", "few", "evaluate", "embed", "complete", "report",
)  # fmt: skip


def load(profile: str) -> dict[str, Any]:
    """The profile's sections as plain values; unknown section names are refused."""
    path = Path("profiles") / f"{profile}.yaml"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise SystemExit(f"no profile '{profile}': {path} is absent; profiles: {', '.join(known) or 'none'}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SystemExit(f"{path} is not valid YAML: {error}") from error
    for name in values:
        if name not in SECTIONS:
            near = difflib.get_close_matches(str(name), SECTIONS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"sections: {', '.join(SECTIONS)}"
            raise SystemExit(f"{path}: unknown section '{name}'; {hint}")
    return values


def section(profile: str, name: str, cls: type[C], key: str | None = None) -> C:
    """Section ``name`` (entry ``key`` of it, if named) as a ``cls``; a mistake ends the program with its message."""
    try:
        return fill(load(profile).get(name), f"profiles/{profile}.yaml: {name}", cls, key)
    except ValueError as error:
        raise SystemExit(str(error)) from error


def fill(values: Any, where: str, cls: type[C], key: str | None = None) -> C:
    """A section's ``values`` (entry ``key`` of them, if named) as a ``cls``. Raises ``ValueError`` for a mistake."""
    if key is not None:
        if not isinstance(values, dict) or key not in values:
            known = ", ".join(values) if isinstance(values, dict) else "none"
            raise ValueError(f"{where}: no entry '{key}'; entries: {known}")
        values, where = values[key], f"{where}.{key}"
    return from_mapping(cls, values, where)
