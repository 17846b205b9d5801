"""Reading other people's pickles without running what is in them.

A pickle is a program: loading it freely runs any function it names. This reader admits arrays and numbers of numpy and
the plain containers, and refuses everything else by name. Even numpy's own types are not handed to the file: a forged
``dtype`` state can turn bytes into object pointers. The file gets stand-ins, which check what they are given and build
the array themselves. Large arrays of a file on disk are views of the mapped file: no memory holds them.
"""

import io
import math
import mmap
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from langpose.sources.pickle_depth import RefusedPickleError, guarded
from langpose.sources.plain_arrays import LIMIT_BYTES, npy_header, refuse_bomb

_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,6}|O8?)")
_SCALARS = (type(None), bool, int, float, complex, str, bytes, bytearray, np.generic)
_MAX_DEPTH = 24
_MAPPED_ABOVE = 2**20
"""Contents of arrays of more bytes stay in the file; smaller ones are not worth a mapped page."""


class _Name:
    """A global of the file: callable if it may be, never a real function whose attributes a pickle could set."""

    __slots__ = ("_build", "_name")
    _build: Any
    _name: str

    def __init__(self, name: str, build: Any) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_build", build)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RefusedPickleError(f"refuses to change `{self._name}`")

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickleError(f"refuses to change `{self._name}`")

    def __call__(self, *arguments: Any) -> Any:
        if self._build is None:
            raise RefusedPickleError(f"refuses to call `{self._name}`")
        return self._build(*arguments)


class _Dtype:
    """Stand-in for ``numpy.dtype``: plain numbers, strings and objects only."""

    __slots__ = ("value",)

    def __init__(self, code: Any, *_: Any) -> None:
        if not (isinstance(code, str) and _PLAIN_DTYPE.fullmatch(code)):
            raise RefusedPickleError(f"refuses to load an array of dtype {str(code)[:80]!r}; expected plain numbers")
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 8 and state[1] in ("<", ">", "|", "=")):
            raise RefusedPickleError("refuses to load a dtype with an unusual state")
        if any(part is not None for part in state[2:5]):
            raise RefusedPickleError("refuses to load a structured array; expected plain numbers")
        self.value = self.value.newbyteorder(state[1])


class _ArrayBuilder:
    """Stand-in for an array: takes shape, dtype and content, builds ``value``, or ``items`` for objects."""

    __slots__ = ("array", "items", "shape")

    def __init__(self) -> None:
        self.array: np.ndarray | None = None
        self.items: list[Any] | None = None
        self.shape: tuple[int, ...] = ()

    def fill(self, shape: Any, dtype: Any, content: Any, order: str) -> "_ArrayBuilder":
        if not isinstance(dtype, _Dtype):
            raise RefusedPickleError("refuses to load an array without a dtype")
        if not (
            isinstance(shape, tuple) and len(shape) <= 32 and all(type(size) is int and size >= 0 for size in shape)
        ):
            raise ValueError(f"an array has the shape {str(shape)[:80]}")
        count = math.prod(shape)
        if dtype.value.hasobject:
            if not (isinstance(content, list) and len(content) == count):
                raise ValueError(f"an object array of shape {shape} does not hold {count} objects")
            if order == "F" and len(shape) > 1:
                raise RefusedPickleError("refuses to load an object array in Fortran order")
            self.items, self.shape = content, shape
            return self
        if isinstance(content, str):  # bytes as Python 2 wrote them
            content = content.encode("latin1")
        if not isinstance(content, bytes | bytearray | memoryview) or len(content) != count * dtype.value.itemsize:
            raise ValueError(f"an array of shape {shape}, {dtype.value} needs {count * dtype.value.itemsize} bytes")
        flat = np.frombuffer(content, dtype=dtype.value, count=count) if count else np.empty(0, dtype.value)
        array = flat.reshape(shape, order="F" if order == "F" else "C")
        self.array = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
        return self

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise RefusedPickleError("refuses to load an array with an unusual state")
        self.fill(state[1], state[2], state[4], "F" if state[3] else "C")


def _reconstruct(kind: Any, *_: Any) -> _ArrayBuilder:
    if kind is not _NDARRAY:
        raise RefusedPickleError("refuses to load a subclass of numpy.ndarray")
    return _ArrayBuilder()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _ArrayBuilder:
    """As ``numpy._core.numeric._frombuffer``; order K: stored in C order, its axes then exchanged."""
    if order == "K" and axes is not None:
        built = _ArrayBuilder().fill(shape, dtype, content, "C")
        if built.array is None or type(axes) is not tuple or sorted(axes) != list(range(built.array.ndim)):
            raise ValueError(f"an array has the axis order {str(axes)[:80]}")
        built.array = built.array.transpose(axes)
        return built
    return _ArrayBuilder().fill(shape, dtype, content, "F" if order == "F" else "C")


def _scalar(dtype: Any, content: Any = b"") -> Any:
    array = _ArrayBuilder().fill((), dtype, content, "C").array
    if array is None:
        raise RefusedPickleError("refuses to load an object as a numpy number")
    return array[()]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickleError("refuses to load bytes in an unusual encoding")
    return text.encode("latin1")


def _container(kind: type, items: Any = ()) -> Any:
    """A set of what a list holds, or empty bytes; never ``bytes(n)``, which would allocate."""
    if type(items) not in (list, tuple) or (kind is bytes and items):
        raise RefusedPickleError(f"refuses to make {kind.__name__} of a {type(items).__name__}")
    return kind(items)


_NDARRAY = _Name("numpy.ndarray", None)
_ADMITTED = {("numpy", "ndarray"): _NDARRAY, ("numpy", "dtype"): _Name("numpy.dtype", _Dtype)}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and 2 name their inside differently
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _Name(f"{_core}.multiarray._reconstruct", _reconstruct)
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _Name(f"{_core}.multiarray.scalar", _scalar)
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _Name(f"{_core}.numeric._frombuffer", _from_buffer)
_ADMITTED["_codecs", "encode"] = _Name("_codecs.encode", _encode)  # how protocols 0-2 write bytes
for _builtins in ("builtins", "__builtin__"):  # how protocols 0-3 write sets and empty bytes
    for _kind in (set, frozenset, bytes):
        _name = f"{_builtins}.{_kind.__name__}"
        _ADMITTED[_builtins, _kind.__name__] = _Name(_name, partial(_container, _kind))


class _Pieces(io.RawIOBase):
    """A file whose bytes come in pieces."""

    def __init__(self, pieces: Iterator[bytes | bytearray]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], mapping: mmap.mmap | None) -> None:
        pieces = guarded(file, None if mapping is None else _MAPPED_ABOVE)
        super().__init__(io.BufferedReader(_Pieces(pieces), 2**18), encoding="latin1")
        self._mapping = mapping

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise RefusedPickleError(
                f"refuses to load `{module}.{name}`: data files hold arrays, numbers, texts and containers only. "
                "Do not open this file with pickle; get it again from its publisher"
            ) from None

    def persistent_load(self, pid: Any) -> memoryview:
        """The content that `guarded` left in the file; it has refused the file's own references."""
        if self._mapping is None:
            raise RefusedPickleError("refuses to load a persistent reference")
        offset, size = pid
        return memoryview(self._mapping)[offset : offset + size]


class _Finisher:
    """Puts the arrays where the stand-ins are and refuses what is neither data nor container."""

    def __init__(self, object_arrays: bool) -> None:
        self.object_arrays = object_arrays
        self.done: dict[int, Any] = {}
        self.kept: list[Any] = []  # keeps every visited object alive, so that an id stays unique

    def __call__(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, _SCALARS):
            return value
        if id(value) in self.done:
            return self.done[id(value)]
        if depth > _MAX_DEPTH:
            raise RefusedPickleError(f"refuses to load containers nested deeper than {_MAX_DEPTH}")
        self.kept.append(value)
        if isinstance(value, _ArrayBuilder):
            return self._array(value, depth)
        if type(value) is list:
            self.done[id(value)] = value
            for i, item in enumerate(value):
                if not isinstance(item, _SCALARS):
                    value[i] = self(item, depth + 1)
            return value
        if type(value) is dict:
            self.done[id(value)] = value
            for key in value:
                self._key(key)
                value[key] = self(value[key], depth + 1)
            return value
        if type(value) is tuple:
            result = tuple(self(item, depth + 1) for item in value)
        elif type(value) in (set, frozenset):
            for item in value:
                self._key(item)
            result = value
        elif type(value) is memoryview:
            raise RefusedPickleError(f"refuses to load {len(value):,} bytes that are no array's")
        else:
            raise RefusedPickleError(f"refuses to load a {type(value).__name__.strip('_')} where data was expected")
        self.done[id(value)] = result
        return result

    def _key(self, key: Any) -> None:
        if not isinstance(key, _SCALARS) and not (
            type(key) is tuple and all(isinstance(part, _SCALARS) for part in key)
        ):
            raise RefusedPickleError(f"refuses to load a container keyed by a {type(key).__name__.strip('_')}")

    def _array(self, builder: _ArrayBuilder, depth: int) -> np.ndarray:
        if builder.items is None:
            if builder.array is None:
                raise ValueError("an array was announced but has no content")
            self.done[id(builder)] = builder.array
            return builder.array
        if not self.object_arrays:
            raise RefusedPickleError("refuses to load an array of objects here; expected arrays of numbers")
        array = np.empty(len(builder.items), dtype=object)
        self.done[id(builder)] = result = array.reshape(builder.shape)
        for i, item in enumerate(builder.items):
            array[i] = self(item, depth + 1)
        return result


def restricted_load(source: str | os.PathLike[str] | IO[bytes], *, object_arrays: bool = False, name: str = "") -> Any:
    """The data in a pickle: arrays (read-only views of the file's bytes), numpy and Python numbers, texts, containers.

    ``source`` is a path or a binary file; ``name`` stands for it in messages. Of a path, an array of more than a MiB is
    a view of the mapped file where it can be mapped (the file must then stay as it is while the array is in use; its
    bytes may lie unaligned). ``object_arrays`` admits arrays of dtype object, whose items follow the same rules.
    Raises ``FileNotFoundError``, and ``ValueError`` that names the file and
    - the global, for anything that is not plain data (`RefusedPickleError`; nothing of it has run), or
    - the reason, for a file that is cut off or no pickle.
    """
    if not isinstance(source, str | os.PathLike):
        return _load(source, None, object_arrays, name or str(getattr(source, "name", "pickle")))
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    with path.open("rb", buffering=2**20) as file:
        try:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # an empty file, or none that can be mapped
            mapping = None
        return _load(file, mapping, object_arrays, name or str(path))


def _load(file: IO[bytes], mapping: mmap.mmap | None, object_arrays: bool, name: str) -> Any:
    try:
        return _Finisher(object_arrays)(_Unpickler(file, mapping).load())
    except RefusedPickleError as error:
        raise RefusedPickleError(f"{name}: {error}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{name}: the archive is damaged ({error}). Copy or download it again") from error
    except (EOFError, MemoryError, OverflowError, struct.error) as error:
        raise ValueError(f"{name}: the file ends too early; was it cut off? Copy or download it again") from error
    except Exception as error:  # a malformed pickle can raise nearly anything; none of it ran code of its own
        cut = any(word in str(error).lower() for word in ("truncated", "ran out", "remain", "exhausted"))
        reason = "the file ends too early; was it cut off?" if cut else f"not a readable pickle ({error})."
        raise ValueError(f"{name}: {reason} Copy or download it again") from error


def load_object_npz(path: str | os.PathLike[str], key: str = "data", limit_bytes: int = LIMIT_BYTES) -> Any:
    """The object array ``key`` of an .npz, read with `restricted_load`'s rules; a 0-d array gives its one object.

    This is how P-STMO stores MPI-INF-3DHP: ``np.savez(path, data=dictionary)``. Raises ``ValueError`` for an archive
    that is cut off, unpacks to more than ``limit_bytes`` or suspiciously more than its size, lacks ``key``, or holds
    anything but plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a complete .npz archive ({error}). Copy or download it again") from error
    with archive:
        keys = [member.removesuffix(".npy") for member in archive.namelist()]
        if key not in keys:
            raise ValueError(f"{path}: has no array '{key}'; it holds {', '.join(map(repr, keys[:10])) or 'nothing'}")
        member = archive.infolist()[keys.index(key)]
        where = f"{path} ['{key}']"
        try:
            refuse_bomb(member, limit_bytes)
            file = archive.open(member)
            shape, _, dtype = npy_header(file)
        except Exception as error:
            raise ValueError(f"{where}: {error}. Copy or download it again") from error
        with file:
            if dtype != np.dtype(object):
                raise ValueError(
                    f"{where}: is an array of {dtype}; expected one object (a dictionary), as P-STMO writes it"
                )
            value = restricted_load(file, object_arrays=True, name=where)
            try:
                while file.read(2**20):  # to the end, where the archive's checksum is verified
                    pass
            except Exception as error:  # a damaged archive raises nearly anything
                raise ValueError(f"{where}: the archive is damaged ({error}). Copy or download it again") from error
    if not isinstance(value, np.ndarray) or value.shape != shape:
        raise ValueError(f"{where}: the header says shape {shape}, the content says otherwise; the file is damaged")
    return value.item() if shape == () else value
