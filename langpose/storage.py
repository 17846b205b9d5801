"""Writing files so that nothing is ever half there, and naming their content.

A file is written under a temporary name beside its place, synced, then renamed: a reader sees the old file or the
new one. A stage's folder is built the same way.
"""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DiskFullError(OSError):
    """The disk is full; says which file was being written. Nothing half-written is left behind."""


def _explain(error: OSError, path: Path) -> OSError:
    short = error.errno is None and "requested and" in str(error)  # how numpy's tofile tells that a write fell short
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) and not short:
        return error
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        free = 0
    return DiskFullError(
        errno.ENOSPC,
        f"the disk is full ({free / 2**20:.0f} MiB free) while writing; nothing half-written was left. "
        "Free some space and run the same command again",
        str(path),
    )


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; on success it is synced and renamed to ``path``.

    On any error the temporary file is removed and ``path`` is as it was. A full disk raises `DiskFullError`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise _explain(error, target) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` to fill; on success it takes the place of ``path``, whole.

    On any error the temporary folder is removed and ``path`` is as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    except OSError as error:
        raise _explain(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def below(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Every file below ``folder``, in linked folders too, which pathlib does not follow: data often lies elsewhere."""
    for place, _, names in os.walk(folder, followlinks=True):
        yield from (Path(place, name) for name in names)


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
