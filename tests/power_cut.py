"""A power cut at the n-th rename, the last thing that writing a file does."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def power_cut(at: int) -> Iterator[None]:
    """What runs inside must fail at its rename number ``at``, counted from 1; renames work again afterwards."""
    real, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == at:
            raise OSError(5, "power cut")
        real(source, target)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="power cut"):
        patch.setattr(os, "replace", failing)
        yield
