"""The grid as dvc.yaml says it: which stages there are, what each needs, and which of them are cells to hand out.

A cell is a stage of one seed (base, pretrain, finetune, evaluate, …): work for a GPU. What cells need and is no cell
itself (data, visibility) is shared: made once, before them. What needs cells (the report) is final: made after them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

AXES = ("profile", "dataset", "variant", "seed")


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml, of one combination of its axes."""

    name: str
    """As DVC names it: ``pretrain@cmu-mmm-0``."""
    command: str
    needs: tuple[str, ...]
    """The stages whose outputs it reads."""
    reads: tuple[str, ...]
    """The paths of its dependencies, code included, from the repository's root."""
    axes: Mapping[str, str]
    """Its combination: axis → value; empty where the stage has no axes."""

    @property
    def kind(self) -> str:
        """The stage's name without its axes; further seeds are of the same kind (``pretrain_repeat``: pretrain)."""
        return self.name.split("@")[0].removesuffix("_repeat")

    @property
    def is_cell(self) -> bool:
        return "seed" in self.axes


Graph = Mapping[str, Stage]
"""Stages by their name, each after those that it needs."""


def read(root: Path = Path()) -> Graph:
    """All stages that ``root``'s dvc.yaml has for its params.yaml. Raises what DVC raises where it cannot be read."""
    axes_of = {
        name: list(entry.get("matrix", {}))
        for name, entry in yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
    }
    with Repo(str(root)) as repo:
        found = repo.index.graph
        stages = {}
        for stage in found.nodes:
            name = _name(stage)
            names = axes_of.get(name.split("@")[0], [])
            values = (stage.cmd or "").split()[3:]  # python -m pipeline.stages.NAME, then the axes in their order
            axes = dict(zip(sorted(names, key=AXES.index), values, strict=True)) if names else {}
            needs = tuple(sorted(map(_name, found.successors(stage))))
            reads = tuple(Path(dep.fs_path).relative_to(repo.root_dir).as_posix() for dep in stage.deps)
            stages[name] = Stage(name, stage.cmd or "", needs, reads, axes)
    return in_order(stages)


def _name(stage: Any) -> str:
    """DVC's address of a stage, as in the repository's root, wherever the program runs."""
    return stage.name if stage.path_in_repo == "dvc.yaml" else f"{stage.path_in_repo}:{stage.name}"


def in_order(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """``stages``, each after those that it needs, else in the order that they came in."""
    ordered: dict[str, Stage] = {}
    waiting = list(reversed(list(stages)))
    while waiting:
        name = waiting[-1]
        if name in ordered:
            waiting.pop()
        elif missing := [other for other in stages[name].needs if other not in ordered]:
            waiting += reversed(missing)
        else:
            ordered[waiting.pop()] = stages[name]
    return ordered


def cells(graph: Graph, profile: str) -> dict[str, Stage]:
    """The cells of ``profile``."""
    return {name: stage for name, stage in graph.items() if stage.is_cell and stage.axes["profile"] == profile}


def shared(graph: Graph, profile: str) -> dict[str, Stage]:
    """What must be there before any cell: all stages of ``profile`` that need none, its raw data included."""
    chosen = before(graph, cells(graph, profile))
    for name, stage in graph.items():
        if not stage.is_cell and stage.axes.get("profile") == profile and not _needs_cells(graph, stage):
            chosen |= {name, *before(graph, [name])}
    return {name: stage for name, stage in graph.items() if name in chosen and not stage.is_cell}


def before(graph: Graph, names: Iterable[str]) -> set[str]:
    """All that ``names`` need, directly or not."""
    found: set[str] = set()
    waiting = [other for name in names for other in graph[name].needs]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name].needs
    return found


def _needs_cells(graph: Graph, stage: Stage) -> bool:
    return any(graph[name].is_cell for name in before(graph, [stage.name]))
