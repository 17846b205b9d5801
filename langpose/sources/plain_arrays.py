"""npy and npz files of plain arrays, read with nothing taken on trust: no pickles, no sizes that the file cannot have.

numpy's own reader allocates what a header announces, parses damaged headers as Python, and raises whatever comes of it.
"""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

MAX_EXPANSION = 200
"""Most that a member of more than 64 MiB may unpack to, times its packed size. One value repeated packs 229:1 at
deflate's fastest level and 1029:1 at its usual one; real coordinates stay under 10:1."""
LIMIT_BYTES = 16 * 2**30
"""Most that any member may unpack to; the largest known, of MPI-INF-3DHP, is under 1 GiB."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path, wanted: Collection[str], advice: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """(the arrays among ``wanted`` that the archive ``path`` has, names of all that it has).

    Raises ``ValueError`` that names file and array for a damaged archive or array, for pickled objects, and for what
    would unpack to far more than a file of this size holds; it ends with ``advice``.
    """
    where = str(path)
    try:
        with open(path, "rb") as file:
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                raise ValueError("it holds a single array, an npz several by their names")
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            arrays = {}
            for name, info in zip(names, archive.infolist(), strict=True):
                if name not in wanted:
                    continue
                where = f"{path} ['{name}']"
                refuse_bomb(info)
                with archive.open(info) as member:
                    arrays[name] = _array(member, info.file_size)
                    member.read(1)  # at the end the archive's checksum is verified
            return arrays, names
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(f"{where}: not a readable npz file ({_reason(error)}); {advice}") from error


def read_npy(path: Path, advice: str) -> np.ndarray:
    """The array in the file ``path``. Errors as `read_npz`."""
    try:
        with open(path, "rb") as file:
            return _array(file, path.stat().st_size)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as a plain npy array ({_reason(error)}); {advice}") from error


def refuse_bomb(member: zipfile.ZipInfo, limit_bytes: int = LIMIT_BYTES) -> None:
    """Raise ``ValueError`` for a member that would unpack to more than ``limit_bytes``, or to far more than it is."""
    expands = member.file_size > 2**26 and member.file_size > MAX_EXPANSION * max(1, member.compress_size)
    if expands or member.file_size > limit_bytes:
        raise ValueError(
            f"it would unpack to {member.file_size:,} bytes from {member.compress_size:,} (limit {limit_bytes:,} "
            f"bytes, and {MAX_EXPANSION}:1), which no data of poses does"
        )


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, Fortran order, dtype) of the npy file that starts at ``file``'s place; ``ValueError`` where none does."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"format version {version}")
        return _HEADERS[version](file, max_header_size=10_000)
    except Exception as error:  # numpy parses it as Python, and raises whatever comes of a damaged one
        raise ValueError(f"not a readable npy header ({_reason(error)})") from error


def _array(file: IO[bytes], size: int) -> np.ndarray:
    """The array in ``size`` bytes; a header that announces other content than follows is an error, no allocation."""
    shape, fortran, dtype = npy_header(file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are not read")
    announced, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or announced != held:
        raise ValueError(f"its header announces {dtype} of shape {shape}, {announced:,} bytes; {held:,} follow")
    array = np.frombuffer(bytearray(file.read(held)), dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}" if not isinstance(error, ValueError) else str(error)[:300]
