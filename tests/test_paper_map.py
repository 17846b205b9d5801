"""docs/paper-map.md names only what exists, all that it should, and the defaults that are in force."""

import ast
import inspect
import re
from dataclasses import MISSING, fields
from functools import cache
from importlib import import_module
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import yaml

from langpose.config import from_mapping
from pipeline.params import SECTIONS
from pipeline.profiles import sections

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "paper-map.md").read_text(encoding="utf-8")
PROFILE = yaml.safe_load((ROOT / "profiles" / "paper.yaml").read_text(encoding="utf-8"))
FILES = [path.relative_to(ROOT).as_posix() for path in (ROOT / "langpose").rglob("*.py")]
CODE = [file for file in FILES if not re.search("/demo/|/cmu", file)]  # these two are not the paper's

TICKED = set(re.findall(r"`([^`]+)`", TEXT))
PATHS = {t for t in TICKED if re.fullmatch(r"[\w.-]+(/[\w.-]*)+|[\w-]+\.(py|yaml|md|csv|png)", t)}
KNOBS = {t for t in TICKED - PATHS if re.fullmatch(rf"({'|'.join(SECTIONS)})(\.\w+)+", t)}


def named(text):
    """(file, name) of every `file.py`: `name` (remark), `name` in a text."""
    groups = re.findall(r"`([\w./-]+\.py)`:((?:,?\s+`[\w.]+`(?: \([^`)]*\))?)+)", text)
    return {(file, name) for file, names in groups for name in re.findall(r"`([\w.]+)`", names)}


def part(heading):
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@cache
def tree(file):
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def classes(file):
    return [node for node in tree(file).body if isinstance(node, ast.ClassDef)]


def defined(node):
    """Names that a statement gives: a function and its arguments, a class, a constant or field."""
    if isinstance(node, ast.FunctionDef):
        return {node.name} | {f"{node.name}.{a.arg}" for a in node.args.args + node.args.kwonlyargs}
    if isinstance(node, ast.ClassDef):
        return {node.name}
    targets = getattr(node, "targets", []) + ([node.target] if isinstance(node, ast.AnnAssign) else [])
    return {t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)}


@cache
def names_in(file):
    found = set().union(*map(defined, tree(file).body))
    for node in classes(file):
        stored = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        found |= {f"{node.name}.{name}" for name in stored.union(*map(defined, node.body))}
    return found


def open_values(file):
    """Constants and fields that their own docstring calls not in the paper."""
    for owner in [tree(file), *classes(file)]:
        prefix = f"{owner.name}." if isinstance(owner, ast.ClassDef) else ""
        for node, after in pairwise(owner.body):
            if isinstance(after, ast.Expr) and "ot in the paper" in ast.unparse(after):
                yield from (prefix + name for name in defined(node))


def knob(name):
    """A parameter as profiles/paper.yaml runs with it, and its dataclass's own default."""
    section, *path = name.split(".")
    kind, values = sections()[section], PROFILE[section]
    if isinstance(kind, dict):
        entry = path.pop(0)
        kind, values = kind.get(entry) or kind["*"], values[entry]
    required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    filled = [from_mapping(kind, v, section) for v in (values, {n: values[n] for n in required})]
    return tuple(attrgetter(".".join(path))(config) if path else config for config in filled)


def constant(file, name):
    """A constant, or the default of a function's argument; twice, as `knob` gives two."""
    owner = import_module(file.removesuffix(".py").replace("/", "."))
    *outer, last = name.split(".")
    owner = attrgetter(".".join(outer))(owner) if outer else owner
    value = inspect.signature(owner).parameters[last].default if inspect.isfunction(owner) else getattr(owner, last)
    return value, value


def rows_with_defaults():
    """(parameter, default) of every table row that has both; a row without a parameter says "—"."""
    for block in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        for row in rows if "default" in head else []:
            cells = dict(zip(head, row, strict=True))
            if cells["parameter"] != "—":
                yield cells["parameter"], cells["default"]


def test_every_path_exists():
    links = {f"docs/{link}" for link in re.findall(r"\]\(([^)#]+)\)", TEXT)}
    assert len(PATHS) > 30 and links
    assert not [path for path in PATHS | links if not (ROOT / path).exists()]


def test_every_name_stands_with_a_file_and_is_in_it():
    assert len(named(TEXT)) > 150
    absent = [pair for pair in sorted(named(TEXT)) if pair[1] not in names_in(pair[0])]
    words = {t for t in TICKED - PATHS - KNOBS if re.fullmatch(r"[A-Za-z_][\w.]*", t)}
    without_file = words - {name for _, name in named(TEXT)}
    assert not absent and not without_file


def test_every_parameter_exists_and_defaults_are_those_in_force():
    values, checked = {name: knob(name) for name in KNOBS}, []
    for parameters, default in rows_with_defaults():
        stated, own = re.fullmatch(r"(.+?)(?: \((.+)\))?", default).groups()
        expected = yaml.safe_load(stated), yaml.safe_load(own or stated)
        found = [(t, values[t], expected) for t in re.findall(r"`([^`]+)`", parameters) if t in KNOBS]
        found += [(pair, constant(*pair), expected) for pair in named(parameters)]
        assert found, f"{parameters} names no parameter"
        checked += found
    wrong = [row for row in checked if row[1] != row[2]]
    assert len(checked) > 100 and not wrong


def test_all_that_the_code_calls_open_or_a_deviation_is_listed():
    unlisted = {(file, name) for file in CODE for name in open_values(file)} - named(TEXT)
    marked = {file for file in CODE if "Deviation" in (ROOT / file).read_text(encoding="utf-8")}
    unlisted |= marked - {file for file, _ in named(part("Deviations"))}
    assert marked and not unlisted


def test_every_equation_table_and_figure_is_listed():
    rows = set(re.findall(r"^\| (Eq\. \d|Table \d|Fig\. \d)", part("Equations, figures, tables"), re.MULTILINE))
    assert rows == {f"{kind} {n}" for kind, last in (("Eq.", 5), ("Table", 4), ("Fig.", 5)) for n in range(1, last + 1)}
