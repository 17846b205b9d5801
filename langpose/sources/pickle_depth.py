"""How deeply a pickle nests tuples, found without building anything.

A tuple as a dictionary's key is hashed, a level of C stack for each level of tuples: a million levels, which one
megabyte holds, overflow it and end the interpreter. No hook of the unpickler comes before that.
"""

import pickletools
from typing import IO

DEEPEST = 100
"""Levels of tuples that are read; data has about three."""

_MARK = -1


def _shape(opcode: pickletools.OpcodeInfo) -> tuple[int, bool, int]:
    """What an opcode takes from the stack, whether down to a mark, and how many objects it leaves."""
    before = opcode.stack_before
    marked = pickletools.markobject in before
    return before.index(pickletools.markobject) if marked else len(before), marked, len(opcode.stack_after)


_SHAPES = {opcode.name: _shape(opcode) for opcode in pickletools.opcodes}
_TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}


def refuse_deep_tuples(file: IO[bytes]) -> None:
    """Raise ``ValueError`` where the pickle at the place of ``file`` nests tuples deeper than `DEEPEST`, or is none.

    The file is left after the pickle. Its stack is kept as the depth of each object: 0, or of a tuple 1 more than its
    deepest part's.
    """
    stack: list[int] = []
    memo: dict[object, int] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in _PUTS:
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in _GETS:
            stack.append(memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "MARK":
            stack.append(_MARK)
        else:
            takes, marked, leaves = _SHAPES[name]
            deepest = 0
            if marked:
                while (depth := stack.pop()) != _MARK:
                    deepest = max(deepest, depth)
            for _ in range(takes):
                deepest = max(deepest, stack.pop())
            if name in _TUPLES:
                if deepest >= DEEPEST:
                    raise ValueError(f"it nests tuples more than {DEEPEST} levels deep, which no data does")
                stack.append(deepest + 1)
            else:
                stack.extend([0] * leaves)
