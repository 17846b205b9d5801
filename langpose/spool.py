"""Arrays that grow with a recording's length lie on disk: lifting an hour takes the memory of lifting a minute.

Small ones are plain arrays. Beyond `FROM_BYTES` an array is mapped from a file without a name in the system's folder
for temporary files (``TMPDIR`` sets another), which is gone with the array. One is filled and read in `pieces`.
"""

import math
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import numpy as np

from langpose.sources.plain_arrays import npy_header, refuse_bomb

FROM_BYTES = 4 << 20
"""Smaller arrays stay in memory."""
ROWS = 4096
"""Rows that are looked at together."""


def zeros(shape: tuple[int, ...], dtype: np.typing.DTypeLike = np.float32) -> np.ndarray:
    """An array of zeros, on disk if large. Raises ``OSError`` where the disk has no room for it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= FROM_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="langpose_") as file:
        if hasattr(os, "posix_fallocate"):  # a page that finds no room when it is written would end the program
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"no room for {size / 2**20:.0f} MiB of intermediate results ({os.strerror(error.errno or 0)}); "
                    "set TMPDIR to a folder that has",
                    tempfile.gettempdir(),
                ) from error
        return np.memmap(file, dtype, "w+", shape=shape).view(np.ndarray)


def pieces(length: int, start: int = 0) -> Iterator[slice]:
    """Slices that follow each other over ``length`` rows from ``start``."""
    for first in range(start, start + length, ROWS):
        yield slice(first, min(first + ROWS, start + length))


def take(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``array[rows]``."""
    result = zeros((len(rows), *array.shape[1:]), array.dtype)
    for part in pieces(len(rows)):
        result[part] = array[rows[part]]
    return result


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays, one behind the other; a single one is given back as it is."""
    if len(arrays) == 1:
        return arrays[0]
    result = zeros((sum(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
    np.concatenate(arrays, out=result)
    return result


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """The array in a member of an npz. Raises ``ValueError`` for pickled objects and for one that is damaged."""
    refuse_bomb(info)
    with archive.open(info) as member:
        shape, fortran, dtype = npy_header(member)
        if dtype.hasobject:
            raise ValueError("it holds pickled objects")
        announced, held = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
        if min(shape, default=0) < 0 or announced != held:
            raise ValueError(f"a header announces {dtype} of shape {shape}, {announced:,} bytes; {held:,} follow")
        array = zeros(shape[::-1] if fortran else shape, dtype)
        flat = array.reshape(-1).view(np.uint8)
        for first in range(0, held, FROM_BYTES):
            last = min(first + FROM_BYTES, held)
            flat[first:last] = np.frombuffer(member.read(last - first), np.uint8)
        member.read(1)  # at the end the archive's checksum is verified
    return array.T if fortran else array


def write_npz(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """What ``np.savez_compressed`` writes, piece by piece: numpy copies as much as 16 MiB at a time."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {
                    "descr": np.lib.format.dtype_to_descr(array.dtype),
                    "fortran_order": False,
                    "shape": array.shape,
                }
                np.lib.format.write_array_header_1_0(member, header)
                for part in pieces(len(array)):
                    member.write(array[part].tobytes())
