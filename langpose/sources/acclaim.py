"""Acclaim's two text files: a skeleton at rest (ASF) and its motion (AMC), as CMU's exporter writes them.

The ASF gives every bone's rest direction and length, its own axes and its degrees of freedom; the AMC gives, frame by
frame, a line of angles for every bone that can move. `langpose.sources.cmu` turns both into joints.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from langpose.sources.motion import spans

_FRAME_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")

LENGTH_UNIT = 0.45
"""The only ``units length`` understood: lengths are in 1/0.45 inch. What another number means is not documented."""


@dataclass(frozen=True)
class Bone:
    """One bone at rest: unit ``direction`` and ``axis_degrees`` in the world, ``length`` in the file's unit."""

    name: str
    direction: tuple[float, float, float]
    length: float
    axis_degrees: tuple[float, float, float]
    axis_order: str
    dofs: tuple[str, ...]


@dataclass(frozen=True)
class Skeleton:
    """What an ASF file says. ``parents`` maps every bone to its parent ("root" for the first ones)."""

    path: Path
    root_channels: tuple[str, ...]
    root_order: str
    bones: dict[str, Bone]
    parents: dict[str, str]

    @property
    def channels(self) -> dict[str, tuple[str, ...]]:
        """Channels of every line that an AMC frame must have, root first, then bones in the ASF's order."""
        moving = {name: bone.dofs for name, bone in self.bones.items() if bone.dofs}
        return {"root": self.root_channels, **moving}


def read_asf(path: str | Path) -> Skeleton:
    """Parse an ASF skeleton. Raises ``ValueError`` naming file and line for anything but CMU's units and fields."""
    path = Path(path)
    section, units, root, bones, parents = "", {}, {}, {}, {}
    fields: dict[str, list[str]] | None = None
    for number, line in enumerate(path.read_bytes().decode("latin-1").splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        key = words[0].lower()
        if key.startswith(":"):
            section = key[1:]
        elif section == "units":
            units[key] = words[1:]
        elif section == "root":
            root[key] = words[1:]
        elif section == "bonedata":
            if key == "begin":
                fields = {}
            elif key == "end":
                bone = _bone(fields or {}, f"{path}:{number}")
                if bone.name in bones or bone.name == "root":
                    raise ValueError(f"{path}:{number}: bone '{bone.name}' is defined twice")
                bones[bone.name] = bone
                fields = None
            elif fields is not None:
                fields.setdefault(key, words[1:])
        elif section == "hierarchy" and key not in ("begin", "end"):
            for name in words:
                if name != "root" and name not in bones:
                    raise ValueError(f"{path}:{number}: unknown bone '{name}' in the hierarchy")
            for child in words[1:]:
                if child in parents or child == "root":
                    raise ValueError(f"{path}:{number}: bone '{child}' has two parents")
                parents[child] = words[0]
    if fields is not None:
        raise ValueError(f"{path}: the file ends inside a bone's definition; it is truncated")
    _check_units(path, units)
    order, axis = [c.lower() for c in root.get("order", [])], "".join(root.get("axis", [])).upper()
    if sorted(order) != ["rx", "ry", "rz", "tx", "ty", "tz"] or sorted(axis) != ["X", "Y", "Z"]:
        raise ValueError(
            f"{path}: expected a root with order TX TY TZ RX RY RZ and axis XYZ, found {order} and '{axis}'"
        )
    for key in ("position", "orientation"):
        if any(_float(word, f"{path}: root {key}") for word in root.get(key, [])):
            raise ValueError(f"{path}: root {key} is {' '.join(root[key])}; expected 0 0 0, as in CMU's archive")
    for bone_name in bones:
        name, seen = bone_name, set()
        while name != "root":
            if name not in parents or name in seen:
                raise ValueError(f"{path}: bone '{bone_name}' does not hang on the root in the hierarchy")
            seen.add(name)
            name = parents[name]
    return Skeleton(path, tuple(order), axis, bones, parents)


def _check_units(path: Path, units: dict[str, list[str]]) -> None:
    length, angle = " ".join(units.get("length", [])), " ".join(units.get("angle", [])).lower()
    if not length or _float(length, f"{path}: units length") != LENGTH_UNIT:
        raise ValueError(
            f"{path}: units length is '{length}'; expected {LENGTH_UNIT} (CMU's), without which metres are unknown"
        )
    if angle not in ("deg", "degrees"):
        raise ValueError(f"{path}: units angle is '{angle}'; expected deg")


def _bone(fields: dict[str, list[str]], where: str) -> Bone:
    for key, count in (("name", 1), ("direction", 3), ("length", 1), ("axis", 4)):
        if len(fields.get(key, [])) != count:
            raise ValueError(f"{where}: bone needs {count} value(s) for '{key}', found {fields.get(key, [])}")
    name, order, dofs = fields["name"][0], fields["axis"][3].upper(), [dof.lower() for dof in fields.get("dof", [])]
    where = f"{where}: bone '{name}'"
    if sorted(order) != ["X", "Y", "Z"]:
        raise ValueError(f"{where} has axis order '{order}'; expected some order of XYZ")
    if len(set(dofs)) != len(dofs) or not set(dofs) <= {"rx", "ry", "rz"}:
        raise ValueError(f"{where} has dof {' '.join(dofs)}; only rx, ry and rz are understood")
    direction = [_float(word, where) for word in fields["direction"]]
    axis = [_float(word, where) for word in fields["axis"][:3]]
    length, norm = _float(fields["length"][0], where), math.hypot(*direction)
    if length and abs(norm - 1) > 1e-2:
        raise ValueError(f"{where} has a direction of length {norm:.4g}; expected a unit vector")
    return Bone(
        name, (direction[0], direction[1], direction[2]), length, (axis[0], axis[1], axis[2]), order, tuple(dofs)
    )


def _float(word: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"{where}: '{word}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: '{word}' is not a finite number")
    return value


def read_amc(path: str | Path, skeleton: Skeleton) -> tuple[dict[str, np.ndarray], list[str]]:
    """Parse an AMC motion: ``{bone: (F, channels) float64}`` in the file's units, and what looked wrong.

    A file in which every frame has the layout of the first (all of CMU's) is converted in one go; any other goes
    through `_read_lines`, which understands bones in any order and whose errors name the line.
    """
    path = Path(path)
    data = path.read_bytes()
    body, first_line = _header(path, data)
    table = _read_regular(body, skeleton)
    numbers, values = _read_lines(path, body, first_line, skeleton) if table is None else table
    artefacts = []
    if not data.endswith(b"\n"):
        artefacts.append("the last line has no line end: if the file was cut there, its last number is wrong")
    if numbers[0] != 1:
        artefacts.append(f"the first frame is numbered {numbers[0]}, not 1: the start of the trial is missing")
    empty = ~np.any(values, axis=1)
    if empty.any():
        artefacts.append(f"every value is 0 in frames {spans(np.flatnonzero(empty))}: they hold no data")
    columns, start = {}, 0
    for name, channels in skeleton.channels.items():
        columns[name] = values[:, start : start + len(channels)]
        start += len(channels)
    return columns, artefacts


def _header(path: Path, data: bytes) -> tuple[bytes, int]:
    """Check the keywords; return the rest of the file and the number of its first line."""
    start, number, degrees = 0, 1, False
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end + 1
        line = data[start:end].strip()
        if line and not line.startswith((b"#", b":")):
            break
        degrees |= line.upper() == b":DEGREES"
        start, number = end, number + 1
    if not degrees:
        raise ValueError(
            f"{path}: ':DEGREES' is missing before the first frame; expected an AMC file with angles in degrees"
        )
    if start >= len(data):
        raise ValueError(f"{path}: no frames; the file ends after its header")
    return data[start:], number


def _read_regular(body: bytes, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray] | None:
    """Frame numbers (F,) and values (F, N) in the skeleton's order, or None if any frame departs from the first."""
    channels = skeleton.channels
    width = 1 + sum(1 + len(names) for names in channels.values())
    tokens = body.split()
    if len(tokens) % width or max(map(len, tokens)) > 40:
        return None
    column, names, order = 1, {}, {}
    while column < width:
        name = tokens[column].decode("latin-1")
        if name not in channels or name in order:
            return None
        names[column] = tokens[column]
        order[name] = range(column + 1, column + 1 + len(channels[name]))
        column += 1 + len(channels[name])
    table = np.array(tokens).reshape(-1, width)
    if not (table[:, list(names)] == np.array(list(names.values()))).all():
        return None
    try:
        numbers = table[:, 0].astype(np.int64)
        values = table[:, [c for name in channels for c in order[name]]].astype(np.float64)
    except ValueError:
        return None
    if (np.diff(numbers) != 1).any() or not np.isfinite(values).all():
        return None
    return numbers, values


def _read_lines(path: Path, body: bytes, line: int, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """The same as `_read_regular`, line by line: slow, for unusual files and for saying where a file is wrong."""
    channels = skeleton.channels
    numbers: list[int] = []
    frames: list[dict[str, list[float]]] = []
    lines = body.decode("latin-1").splitlines()

    def fail(at: int, message: str) -> NoReturn:
        raise ValueError(f"{path}:{at}: {message}")

    def close(at: int, last: bool) -> None:
        missing = [name for name in channels if name not in frames[-1]]
        if missing:
            cut = "; the file is truncated: fetch it again" if last else ""
            listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            fail(at, f"frame {numbers[-1]} lacks {len(missing)} of {len(channels)} bones ({listed}){cut}")

    for at, text in enumerate(lines, line):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) == 1 and _FRAME_NUMBER.fullmatch(words[0]):
            if frames:
                close(at - 1, last=False)
                if int(words[0]) != numbers[-1] + 1:
                    fail(at, f"frame {words[0]} follows frame {numbers[-1]}; expected consecutive frames")
            numbers.append(int(words[0]))
            frames.append({})
            continue
        name, last = words[0], at == line + len(lines) - 1
        if not frames:
            fail(at, f"expected a frame number, found '{text.strip()[:60]}'")
        if name not in channels:
            known = "has no degrees of freedom" if name in skeleton.bones else "is not a bone"
            fail(at, f"unknown bone '{name}' in frame {numbers[-1]}: it {known} of {skeleton.path.name}")
        if name in frames[-1]:
            fail(at, f"bone '{name}' is given twice in frame {numbers[-1]}")
        if len(words) - 1 != len(channels[name]):
            cut = "; the file is truncated: fetch it again" if last else ""
            fail(at, f"bone '{name}' has {len(words) - 1} values, expected {len(channels[name])} "
                     f"({' '.join(channels[name])}){cut}")  # fmt: skip
        frames[-1][name] = [_float(word, f"{path}:{at}: bone '{name}' in frame {numbers[-1]}") for word in words[1:]]
    if not frames:
        fail(line, "holds no frames; fetch it again")
    close(line + len(lines) - 1, last=True)
    rows = [[value for name in channels for value in frame[name]] for frame in frames]
    return np.array(numbers), np.array(rows, dtype=np.float64)
