"""A pickle's opcodes read ahead of the unpickler, which gets each of them once it is known to do no harm.

No hook of an unpickler comes before two kinds of harm. A tuple as a dictionary's key is hashed, a level of C stack for
each level of tuples: a million levels, which one megabyte holds, overflow it and end the interpreter. And for one
far-off place in the memo it makes all the places before: gigabytes, for a file of ten bytes.

What is read ahead can be left out as well: the large contents of a file on disk are passed over, and the unpickler gets
the place where each lies, so that arrays can be views of the mapped file.
"""

import os
import pickletools
import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

DEEPEST = 100
"""Levels of tuples that are read; data has about three."""
MEMO_GAP = 2**20
"""How far beyond the places in use a place of the memo may lie; writers number them one after the other."""

_MARK = -1
_UNUSED = 255
_PIECE_BYTES = 2**18
_COUNTS = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}  # size of the number of bytes that stands before a content, and whether it has a sign


class RefusedPickleError(ValueError):
    """The file holds something that is not plain data."""


class _Opcode(NamedTuple):
    name: str
    size: int  # bytes of its argument, or of the number before its content
    counted: bool  # whether a content follows
    signed: bool
    lines: int  # of text that are its argument
    takes: int  # objects it takes from the stack
    marked: bool  # whether all down to a mark before those
    leaves: int


def _opcode(opcode: pickletools.OpcodeInfo) -> _Opcode:
    before, kind = opcode.stack_before, 0 if opcode.arg is None else opcode.arg.n
    lines = 0 if kind != pickletools.UP_TO_NEWLINE or opcode.arg is None else 1 + opcode.arg.name.endswith("_pair")
    size, signed = _COUNTS.get(kind, (max(kind, 0), False))
    marked = pickletools.markobject in before
    takes = before.index(pickletools.markobject) if marked else len(before)
    return _Opcode(opcode.name, size, kind in _COUNTS, signed, lines, takes, marked, len(opcode.stack_after))


_OPCODES = {opcode.code.encode("latin1"): _opcode(opcode) for opcode in pickletools.opcodes}
_TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_CONTENTS = {  # how each protocol stores what an array holds
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_PERSISTENT = {"PERSID", "BINPERSID"}


def guarded(file: IO[bytes], spans_above: int | None = None) -> Iterator[bytes | bytearray]:
    """The pickle at the place of ``file``, in pieces, each given once all its opcodes are passed.

    Frames are left out: they only say how much to read at once. With ``spans_above``, so is every content of more bytes
    in a ``file`` that can be sought in, and a persistent reference (offset in the file, bytes) stands in its place.

    Raises `RefusedPickleError` where tuples are nested deeper than `DEEPEST`, where the memo has a place that no writer
    makes, and with ``spans_above`` for the pickle's own persistent references; ``EOFError`` where it is cut off, and
    ``ValueError`` or ``IndexError`` where it is no pickle. The file is left after the pickle.

    The stack is kept as the depth of each object: 0, or of a tuple 1 more than its deepest part's; the memo likewise.
    """
    read, readline = file.read, file.readline
    out, left = bytearray(), 0  # what is passed and not yet given; bytes to come of the last content
    stack: list[int] = []
    memo, memoized = bytearray(), 0
    while True:
        if len(out) >= _PIECE_BYTES:
            yield out
            out = bytearray()
        if left:
            part = read(min(left, _PIECE_BYTES))
            if not part:
                raise EOFError("it ends within a content")
            out += part
            left -= len(part)
            continue
        code = read(1)
        if code not in _OPCODES:
            raise ValueError(f"{code!r} is no opcode of a pickle") if code else EOFError("it has no end")
        name, size, counted, signed, lines, takes, marked, leaves = _OPCODES[code]
        argument = read(size) if size else b""
        for _ in range(lines):
            argument += readline()
        if len(argument) < size or (lines and not argument.endswith(b"\n")):
            raise EOFError("it ends within an opcode")
        if counted:
            left = int.from_bytes(argument, "little", signed=signed)
            if left < 0:
                raise ValueError(f"{name} of {left} bytes")
        if name == "FRAME":
            continue
        if spans_above is not None and name in _CONTENTS and left > spans_above:
            out += _reference(file, left)
            left = 0
        else:
            out += code
            out += argument

        if name in _PUTS or name in _GETS:
            place = memoized if name == "MEMOIZE" else int(argument) if lines else int.from_bytes(argument, "little")
            if name in _PUTS:
                if not 0 <= place <= len(memo) + MEMO_GAP:
                    raise RefusedPickleError(f"it puts an object in place {place} of a memo of {len(memo)}")
                memo.extend(bytes([_UNUSED]) * (place + 1 - len(memo)))
                memoized += memo[place] == _UNUSED
                memo[place] = stack[-1]
            elif not 0 <= place < len(memo) or memo[place] == _UNUSED:
                raise ValueError(f"it takes an object from place {place} of the memo, where none is")
            else:
                stack.append(memo[place])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in _PERSISTENT and spans_above is not None:
            raise RefusedPickleError("refuses to load a persistent reference")
        else:
            deepest = 0
            if marked:
                while (depth := stack.pop()) != _MARK:
                    deepest = max(deepest, depth)
            for _ in range(takes):
                deepest = max(deepest, stack.pop())
            if name in _TUPLES:
                if deepest >= DEEPEST:
                    raise RefusedPickleError(f"it nests tuples more than {DEEPEST} levels deep, which no data does")
                stack.append(deepest + 1)
            else:
                stack.extend([0] * leaves)
        if name == "STOP":
            yield out
            return


def _reference(file: IO[bytes], size: int) -> bytes:
    """Pass over ``size`` bytes; opcodes that make the unpickler ask for them: (offset, size), BINPERSID."""
    offset = file.tell()
    if file.seek(0, os.SEEK_END) < offset + size:
        raise EOFError("it ends within a content")
    file.seek(offset + size)
    return struct.pack("<2sq2sq2s", b"\x8a\x08", offset, b"\x8a\x08", size, b"\x86Q")


def refuse_deep_tuples(file: IO[bytes]) -> None:
    """Errors as `guarded`, for a pickle that another unpickler is to read, whose persistent references are its own."""
    for _ in guarded(file):
        pass
