"""Typed parameters: a mapping (from YAML or JSON) becomes a dataclass, or an error that names the nearest parameter.

Each part of the library keeps its own config dataclass beside the code that uses it; this file only fills them.
"""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

C = TypeVar("C")


def from_mapping(cls: type[C], values: Mapping[str, Any] | None, where: str) -> C:
    """Build dataclass ``cls`` from ``values``; ``where`` is the dotted place it stands at, for messages.

    Nested dataclasses are filled from nested mappings. Integers are accepted where floats are expected. Raises
    ``ValueError`` for an unknown name (with the nearest valid one), a missing one, or a value of the wrong type.
    """
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected a mapping of parameters, found {values!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"valid names: {', '.join(sorted(fields))}"
            raise ValueError(f"{where}: unknown parameter '{name}'; {hint}")
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(values[name], hints[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: parameter '{name}' is missing; it needs a value of type {_name(hints[name])}")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind).replace("typing.", "")  # type: ignore[return-value]


def _convert(value: Any, kind: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    wrong = ValueError(f"{where}: expected {_name(kind)}, found {value!r} ({type(value).__name__})")
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return from_mapping(typing.cast(type, kind), value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        for option in arguments:
            if option is type(None):
                continue
            try:
                return _convert(value, option, where)
            except ValueError:
                if dataclasses.is_dataclass(option):
                    raise
        raise wrong
    if origin is typing.Literal:
        if value not in arguments:
            near = difflib.get_close_matches(str(value), [str(a) for a in arguments], n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"{where}: expected one of {', '.join(map(repr, arguments))}, found {value!r}{hint}")
        return value
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise wrong
        if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
            if len(value) != len(arguments):
                raise wrong
            return tuple(_convert(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, arguments, strict=True)))
        return origin(_convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise wrong
        return {_convert(k, arguments[0], where): _convert(v, arguments[1], f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)  # YAML reads 2e-4 as a text: it wants 2.0e-4
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise wrong
