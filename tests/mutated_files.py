"""Damaged and hostile files, drawn by a seeded generator: of bytes, zip members, arrays, and pickles that run code."""

import io
import os
import pickle
import resource
import signal
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator


class TooLong(BaseException):
    """Not an `Exception`: a reader that turns any of those into its own must not hide that it was too slow."""


@contextmanager
def bounded(seconds: int = 10, more_bytes: int = 768 * 2**20) -> Iterator[None]:
    """What runs within gets so much time and so much more address space (`MemoryError` beyond); warnings are muted."""

    def stop(*_: Any) -> None:
        raise TooLong(f"more than {seconds} s")

    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, hard))
        signal.alarm(seconds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that numbers overflow may be told beside the error, not instead of it
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# ---- bytes ----------------------------------------------------------------------------------------------------------


def flipped(data: bytes, rng: Rng, low: int, high: int, start: int = 0, stop: int | None = None) -> bytes:
    """``low`` to ``high`` bits of data[start:stop] turned over."""
    content = np.frombuffer(data, np.uint8).copy()
    for place in rng.integers(start, len(data) if stop is None else stop, rng.integers(low, high + 1)):
        content[place] ^= 1 << int(rng.integers(8))
    return content.tobytes()


def _block(data: bytes, rng: Rng, change: Callable[[bytes], bytes]) -> bytes:
    start = int(rng.integers(len(data)))
    stop = start + int(rng.integers(1, min(4096, len(data) - start) + 1))
    return data[:start] + change(data[start:stop]) + data[stop:]


BYTES: dict[str, Callable[[bytes, Rng], bytes]] = {
    "one bit": lambda data, rng: flipped(data, rng, 1, 1),
    "one bit near the end": lambda data, rng: flipped(data, rng, 1, 1, max(0, len(data) - 600)),  # a zip's directory
    "one bit near the start": lambda data, rng: flipped(data, rng, 1, 1, 0, min(300, len(data))),
    "few bits": lambda data, rng: flipped(data, rng, 2, 8),
    "many bits": lambda data, rng: flipped(data, rng, 100, 1000),
    "block of zeros": lambda data, rng: _block(data, rng, lambda part: bytes(len(part))),
    "block twice": lambda data, rng: _block(data, rng, lambda part: part + part),
    "garbage appended": lambda data, rng: data + rng.bytes(int(rng.integers(1, 3000))),
    "cut off": lambda data, rng: data[: int(rng.integers(1, len(data)))],
    "cut off near the end": lambda data, rng: data[: -int(rng.integers(1, 40))],
    "empty": lambda data, rng: b"",
}


# ---- zip archives and npy members -----------------------------------------------------------------------------------


def flipped_member(data: bytes, rng: Rng, name: str) -> bytes:
    """One bit of a member's stored bytes turned over: its checksum tells."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        member = archive.getinfo(name)
    names, extra = struct.unpack_from("<HH", data, member.header_offset + 26)
    start = member.header_offset + 30 + names + extra
    return flipped(data, rng, 1, 1, start, start + member.compress_size)


def with_member(data: bytes, name: str, content: bytes) -> bytes:
    """The archive with another content of one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return buffer.getvalue()


def npy(shape: Any, descr: str = "<f8", content: bytes = bytes(64)) -> bytes:
    """An npy file whose header says anything."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


HEADERS = [npy(f"({2**40},)"), npy("(1,", content=b""), b"no array at all", npy(f"({10**30},)"), npy("(-1,)"),
           npy("(" + "9" * 5000 + ",)"), npy("(" + "(" * 3000 + "1,)"), npy("(8,)", "<q8x"),
           b"\x93NUMPY\x07\x00"]  # fmt: skip


@lru_cache(maxsize=1)
def bomb(size: int = 2**30) -> tuple[bytes, int]:
    """A deflated GiB, header of an array included, and its checksum."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("x", "w") as file:
        file.write(npy(f"({size // 8 // 156}, 156)", content=b""))
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    info = archive.getinfo("x")
    return buffer.getvalue()[31 : 31 + info.compress_size], info.CRC


def with_bomb(data: bytes, name: str) -> bytes:
    """The archive with one member that unpacks to more than a GiB; the entry is true in all but its contents."""
    packed, crc = bomb()
    size = 2**30 + len(npy(f"({2**30 // 8 // 156}, 156)", content=b""))
    archive = bytearray(with_member(data, name, packed))
    with zipfile.ZipFile(io.BytesIO(archive)) as written:
        at = written.getinfo(name).header_offset
        central = archive.index(b"PK\x01\x02", written.infolist()[-1].header_offset)
        for member in written.namelist():
            if member == name:
                break
            central += 46 + sum(struct.unpack_from("<HHH", archive, central + 28))
    for start, method in ((at + 14, at + 8), (central + 16, central + 10)):
        struct.pack_into("<III", archive, start, crc, len(packed), size)
        struct.pack_into("<H", archive, method, zipfile.ZIP_DEFLATED)
    return bytes(archive)


# ---- arrays ---------------------------------------------------------------------------------------------------------


def _with(array: np.ndarray, rng: Rng, value: float) -> np.ndarray:
    array = np.array(array, np.result_type(array.dtype, np.float32))
    array.reshape(-1)[int(rng.integers(array.size))] = value
    return array


SHAPES: dict[str, Callable[[np.ndarray, Rng], Any]] = {  # of arrays with two axes and more
    "one joint less": lambda array, rng: array[:, :-1],
    "one joint more": lambda array, rng: np.concatenate([array, array[:, :1]], 1),
    "one row less": lambda array, rng: array[:-1],
    "transposed": lambda array, rng: array.T,
    "one axis more": lambda array, rng: array[None],
    "one number": lambda array, rng: array.reshape(-1)[0],
}
VALUES: dict[str, Callable[[np.ndarray, Rng], Any]] = {
    "texts": lambda array, rng: array.astype(str),
    "objects": lambda array, rng: array.astype(object),
    "complex": lambda array, rng: array + 1j,
    "NaN": lambda array, rng: _with(array, rng, np.nan),
    "infinite": lambda array, rng: _with(array, rng, np.inf),
    "times 1000": lambda array, rng: array * array.dtype.type(1000),
    "by 1000": lambda array, rng: (array / 1000).astype(np.result_type(array.dtype, np.float32)),
    "whole numbers": lambda array, rng: array.astype(np.int64),
}


def entries(content: Any, path: str = "") -> list[tuple[dict, Any, str]]:
    """Every (dictionary, key, path) in nested dictionaries and lists."""
    found = []
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        here = f"{path}/{key}"
        found += [(content, key, here)] if isinstance(content, dict) else []
        found += entries(value, here) if isinstance(value, dict | list) else []
    return found


# ---- pickles --------------------------------------------------------------------------------------------------------


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def hostile(marker: Path) -> list[Call]:
    """Objects that make the file ``marker`` when unpickled; through the system, builtins, numpy and torch."""
    import torch

    program, inner = f"open({str(marker)!r}, 'w').close()", Call(os.system, f"touch '{marker}'")
    stored = io.BytesIO()
    torch.save(inner, stored)
    return [
        inner, Call(open, str(marker), "w"), Call(eval, program), Call(exec, program), Call(os.mkdir, str(marker)),
        Call(Path.touch, marker), Call(pickle.loads, pickle.dumps(inner)),
        Call(np.lib.format.open_memmap, str(marker), "w+", "f8", (1,)), Call(np.save, str(marker) + ".npy", [1]),
        Call(np.memmap, str(marker), "u1", "w+", 0, (1,)), Call(torch.save, {}, str(marker)),
        Call(torch.storage._load_from_bytes, stored.getvalue()),
    ]  # fmt: skip


def pickles(rng: Rng) -> dict[str, bytes]:
    """Pickles that no writer made: deep, of huge counts, or misusing what readers admit."""
    deep = int(rng.integers(50, 200_000))
    dtype = b"cnumpy\ndtype\nU\x02f8\x85R"
    build = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(K\x00tU\x01b\x87R"
    return {
        f"lists {deep} deep": b"\x80\x04" + b"]" * deep + b"a" * (deep - 1) + b".",
        f"tuples {deep} deep": b"\x80\x04)" + b"\x85" * deep + b".",
        "2**40 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
        "2**40 characters": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc.",
        "frame of 2**40": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
        "memo of 2**31": b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".",
        "number of 2**31 bytes": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
        "array without content": build + b".",
        "array of 2**40": build + b"(K\x01" + pickle.dumps((2**40,), 2)[2:-1] + dtype + b"\x89U\x00tb.",
        "not an array": b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
        "state of a function": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x01\x00\x00\x00aK\x01sb.",
        "a number alone": pickle.dumps(5),
        "stack too short": b"\x80\x02\x85R.",
        "memo unknown": b"\x80\x02h\x07.",
    }  # fmt: skip
