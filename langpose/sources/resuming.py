"""Downloading one file over HTTP so that an interruption costs nothing: what has arrived stays in ``<name>.part``."""

import errno
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from langpose.storage import DiskFullError

CHUNK_BYTES = 1 << 20


class DownloadError(OSError):
    """The address could not be reached, or broke off more often than allowed. What arrived is kept for next time."""


def download(url: str, target: str | Path, timeout_s: float = 60.0, attempts: int = 5, pause_s: float = 2.0) -> Path:
    """Fetch ``url`` to ``target`` and return it; an existing target is kept as it is.

    Continues a ``.part`` file with a Range request where the server's file is still the same one (ETag or
    Last-Modified), starts again where not. Tries ``attempts`` times without progress, a busy server included, before
    it raises `DownloadError`; one that refuses is not asked again.
    """
    target = Path(target)
    if target.exists():
        return target
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"expected an http or https address, found '{url}'")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures, reason = 0, ""
    bar = Progress(
        TextColumn(target.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=Console(file=sys.stderr), transient=True,
    )  # fmt: skip
    with bar:
        while failures < attempts:
            before = part.stat().st_size if part.exists() else 0
            try:
                if _continue(url, part, timeout_s, bar):
                    os.replace(part, target)
                    _validator(part).unlink(missing_ok=True)
                    return target
                reason = "the connection broke off"
            except urllib.error.HTTPError as error:
                reason = f"the server answered {error.code} {error.reason}"
                if error.code == 416:
                    if part.exists() and error.headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
                        os.replace(part, target)  # it was whole already: interrupted just before the renaming
                        _validator(part).unlink(missing_ok=True)
                        return target
                    part.unlink(missing_ok=True)  # longer than the server's file: part of another one
                    before, reason = 0, "the server's file changed"
                elif error.code < 500 and error.code not in (408, 429):  # refused: asking again will not help
                    raise DownloadError(f"{url}: {reason}") from error
            except DiskFullError:
                raise
            except (OSError, http.client.HTTPException) as error:
                reason = str(error)
            progressed = part.exists() and part.stat().st_size > before
            failures = 0 if progressed else failures + 1
            if failures < attempts:
                time.sleep(pause_s)
    size = part.stat().st_size if part.exists() else 0
    kept = f"; {size / 2**20:.1f} MiB are kept in {part} and the next run continues there" if size else ""
    raise DownloadError(f"{url} could not be fetched ({reason}){kept}")


def _validator(part: Path) -> Path:
    """Where the server's mark of this very file (ETag or Last-Modified) is kept while it is incomplete."""
    return part.with_name(part.name + ".of")


def _continue(url: str, part: Path, timeout_s: float, bar: Progress) -> bool:
    """One request for what is missing, appended to ``part``. True once the file is whole."""
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "langpose", "Accept-Encoding": "identity"})
    mark = _validator(part)
    if offset and mark.exists():
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", mark.read_text())
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        length = answer.headers.get("Content-Length")
        span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if answer.status != 206 or span is None or int(span[1]) != offset:
            if answer.status == 206:
                part.unlink(missing_ok=True)
                return False
            offset = 0
            part.unlink(missing_ok=True)  # before the new mark is written, or an interruption glues two files together
        total = offset + int(length) if length is not None else None
        etag = answer.headers.get("ETag") or ""
        validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
        if validator:
            mark.write_text(validator)
        else:
            mark.unlink(missing_ok=True)
        for task in bar.task_ids:
            bar.remove_task(task)
        task = bar.add_task("", total=total, completed=offset)
        done = offset
        with open(part, "ab" if offset else "wb") as handle:
            while chunk := answer.read(CHUNK_BYTES):
                try:
                    handle.write(chunk)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise DiskFullError(
                            errno.ENOSPC, "the disk is full; what arrived is kept", str(part)
                        ) from error
                    raise
                done += len(chunk)
                bar.advance(task, len(chunk))
            handle.flush()
            os.fsync(handle.fileno())
    return total is None or done == total
