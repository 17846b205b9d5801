"""Getting CMU's archive: from where the user says or from its public address, checked, into one tidy folder.

`fetch` fills a folder with ``subjects/NN/NN.asf``, ``subjects/NN/NN_MM.amc``, ``index.csv`` (subject, trial,
description, fps), ``frame_labels/`` and ``LICENSE-CMU.txt``. Which trials, and what must be in them, is pinned in
``cmu_manifest.csv`` beside this file; `pin` writes it (only needed to change the choice of trials).

Copies in circulation differ in their line ends, so files are written, and their sha256 taken, with ``\\n`` line ends.
"""

import csv
import hashlib
import lzma
import os
import re
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from rich.console import Console
from rich.progress import track

from langpose.sources import cmu_index
from langpose.sources.cmu_index import Entry
from langpose.sources.resuming import DownloadError, download
from langpose.storage import replacing, replacing_folder

VARIABLE = "LANGPOSE_CMU"
ZIP_NAME = "allasfamc.zip"
MANIFEST = Path(__file__).with_name("cmu_manifest.csv")
FRAME_LABELS = Path(__file__).with_name("cmu_frame_labels")
MANIFEST_COLUMNS = ("trial", "sha256", "frames", "rate_hz", "description")

MAX_FILE_BYTES = 64 << 20
"""CMU's longest trials have about 10 MB."""
MAX_RATIO = 200
"""ASF and AMC text shrinks 3- to 5-fold; deflate's limit is about 1030."""
MAX_TOTAL_BYTES = 16 << 30

_FILE = re.compile(r"(?:^|/)0*(\d{1,3})/0*(\d{1,3})(?:_0*(\d{1,3}))?\.(asf|amc)$", re.IGNORECASE)

LICENSE = """\
CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu). Terms as quoted in B. Hahne's READMEFIRST.txt, v1.1 (2010):

  Use this data!  This data is free for use in research and commercial projects worldwide.  If you publish results
  obtained using this data, we would appreciate it if you would send the citation to your published paper to
  jkh+mocap@cs.cmu.edu, and also would add this text to your acknowledgments section: "The data used in this project
  was obtained from mocap.cs.cmu.edu.  The database was created with funding from NSF EIA-0196217."

The ASF and AMC files here are unchanged but for their line ends. frame_labels/ has a licence of its own.
"""


@dataclass(frozen=True)
class DownloadConfig:
    """Where CMU's archive comes from. The environment variable LANGPOSE_CMU goes before ``archive``, both before
    ``url``."""

    url: str = "http://mocap.cs.cmu.edu/allasfamc.zip"
    """CMU's own archive of all trials, for who has none."""
    index_url: str = (
        "https://raw.githubusercontent.com/una-dinosauria/cmu-mocap/"
        "34e1472e5b8c234d40a62bb9cd969b5910fa1803/cmu-mocap-index-text.txt"
    )
    """The list of descriptions, fetched only for trials outside the manifest and with no list beside the archive."""
    archive: str | None = None
    """A zip, or a folder with allasfamc.zip or the extracted files (and the index and frame_labels/, if any)."""
    index: str | None = None
    """A file with the descriptions and rates, if it does not lie beside the archive."""
    trials: Literal["pinned", "all"] = "pinned"
    """Those of the manifest, each checked, or whatever the archive has that the index lists, unchecked."""
    cache: str = "work/download"
    """Where downloads are kept, outside of any stage's output, so that an interrupted one continues."""
    timeout_s: float = 60.0
    """Silence after which a connection counts as broken, s."""
    attempts: int = 5
    """Tries in a row that bring nothing before the download is given up."""


@dataclass(frozen=True)
class Pinned:
    """One row of the manifest. ``trial`` is a trial ("02_01") or a subject's skeleton ("02"), which has no frames."""

    trial: str
    sha256: str
    frames: int | None
    rate_hz: float | None
    description: str


@dataclass(frozen=True)
class Archive:
    """An open source: name ("02_01" or, for a skeleton, "02") -> a function that reads the file's bytes."""

    where: Path
    files: dict[str, Callable[[], bytes]]
    beside: Path


def fetch(folder: str | Path, config: DownloadConfig | None = None, manifest: str | Path = MANIFEST) -> Path:
    """Fill ``folder`` with CMU's trials (see the module) and return it. All of it or nothing is written.

    Raises ``FileNotFoundError`` if the archive is nowhere to be had (and says the three ways to supply it), and
    ``ValueError`` for an unsafe zip, a trial that is missing, and one whose content is not what the manifest pins.
    """
    folder, config = Path(folder), config or DownloadConfig()
    pinned = read_manifest(manifest) if config.trials == "pinned" else None
    with open_archive(_locate(config)) as archive:
        _fill(folder, archive, config, pinned)
    return folder


def _fill(folder: Path, archive: Archive, config: DownloadConfig, pinned: dict[str, Pinned] | None) -> None:
    index = _read_index(config, archive, pinned)
    wanted = list(pinned) if pinned is not None else _listed(archive, index)
    missing = [name for name in wanted if name not in archive.files]
    if missing:
        raise ValueError(
            f"{archive.where}: {len(missing)} of {len(wanted)} pinned files are missing ({_some(missing)}); "
            "is the archive whole?"
        )
    if not wanted:
        raise ValueError(f"{archive.where}: none of its {len(archive.files)} files is a trial that the index lists")
    with replacing_folder(folder) as new:
        wrong = []
        for name in track(wanted, "CMU", console=Console(file=sys.stderr), transient=True):
            data = _text(archive.files[name]())
            if pinned is not None and hashlib.sha256(data).hexdigest() != pinned[name].sha256:
                wrong.append(name)
                continue
            path = new / "subjects" / name.split("_")[0] / (f"{name}.amc" if "_" in name else f"{name}.asf")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if wrong:
            raise ValueError(
                f"{archive.where}: {len(wrong)} file(s) are not those pinned in the manifest: {_some(wrong)} "
                f"(sha256 with line ends as \\n differs). The archive is damaged or another edition: {_AGAIN}; or, if "
                "the change is meant, pin it with langpose.sources.cmu_archive.pin"
            )
        cmu_index.write(new / "index.csv", {name: index[name] for name in wanted if "_" in name})
        (new / "frame_labels").mkdir()
        labels = archive.beside / "frame_labels"
        for path in sorted((labels if labels.is_dir() else FRAME_LABELS).glob("*.txt")):
            if path.name == "README.txt":  # ours, so that where the same trials came from does not change the data
                path = FRAME_LABELS / path.name
            (new / "frame_labels" / path.name).write_bytes(_text(path.read_bytes()))
        (new / "LICENSE-CMU.txt").write_text(LICENSE, encoding="utf-8")


def _text(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _locate(config: DownloadConfig) -> Path:
    """The zip or folder to read: what LANGPOSE_CMU names, what the config names, or a download."""
    for value, name in ((os.environ.get(VARIABLE), VARIABLE), (config.archive, "download.archive")):
        if value:
            path = Path(value).expanduser()
            if not path.exists():
                raise FileNotFoundError(f"{name} is '{value}', which does not exist; {_WAYS.format(url=config.url)}")
            return path
    try:
        path = download(config.url, Path(config.cache) / ZIP_NAME, config.timeout_s, config.attempts)
        if not zipfile.is_zipfile(path):  # a proxy's page, or cut where the server gave no length: never keep that
            path.unlink()
            raise DownloadError(f"{config.url} did not answer with a zip archive")
        return path
    except DownloadError as error:
        ways = _WAYS.format(url=config.url)
        raise FileNotFoundError(f"CMU's archive is not here and could not be downloaded: {error}\n{ways}") from error


_WAYS = (
    "supply it in one of three ways: (1) set the environment variable LANGPOSE_CMU to allasfamc.zip, or to a folder "
    "that holds it or its extracted files; (2) set download.archive in profiles/cmu.yaml to the same; (3) with neither "
    "set, make {url} reachable, and it is downloaded"
)
_AGAIN = "get another copy (delete this one first if it was downloaded)"
_DAMAGE = (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError, OSError)
"""What zipfile raises for bytes that are not as they were written."""


@contextmanager
def open_archive(path: str | Path) -> Iterator[Archive]:
    """Open a zip, or a folder with ``allasfamc.zip`` or extracted files.

    Raises ``ValueError`` for what is neither, and for a zip that is damaged, unsafe or packed in an unknown way.
    """
    path = Path(path)
    if path.is_dir() and (path / ZIP_NAME).is_file():
        path = path / ZIP_NAME
    if path.is_dir():
        files: dict[str, Callable[[], bytes]] = {}
        for file in sorted(path.rglob("*.[aA][sSmM][fFcC]")):
            name = _name(file.relative_to(path.parent).as_posix())
            if name and name not in files:
                files[name] = file.read_bytes
        if not files:
            raise ValueError(f"{path}: expected {ZIP_NAME} or files like subjects/02/02_01.amc in it, found neither")
        yield Archive(path, files, path)
        return
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a zip archive ({ZIP_NAME}) or a folder, and it reads as neither; {_AGAIN}")
    try:
        handle = zipfile.ZipFile(path)
    except NotImplementedError as error:
        raise ValueError(f"{path}: {_unreadable(error)}") from error
    except _DAMAGE as error:
        raise ValueError(f"{path}: its list of entries is damaged ({error}); {_AGAIN}") from error
    with handle:
        entries = _checked_entries(path, handle.infolist())
        yield Archive(
            path, {name: partial(_read_entry, path, handle, info) for name, info in entries.items()}, path.parent
        )


def _checked_entries(path: Path, entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The ASF and AMC entries of a zip, after checking every entry for what an honest archive does not have."""
    files: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for info in entries:
        where = f"{path}: entry '{info.orig_filename[:100]}'"
        # orig_filename: zipfile cleans some of this away (backslashes on Windows, NUL), and we want to know of it
        raw = info.orig_filename.replace("\\", "/")
        if raw.startswith("/") or re.match(r"^[A-Za-z]:", raw) or ".." in PurePosixPath(raw).parts or "\0" in raw:
            raise ValueError(f"{where} points outside the archive; it is not safe to extract, nothing was written")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{where} is a link or a device; expected plain files, nothing was written")
        name = None if info.is_dir() else _name(raw)
        if name is None:
            continue
        if info.header_offset < 0:
            raise ValueError(
                f"{where} lies {-info.header_offset} bytes before the file's start, which is cut; {_AGAIN}"
            )
        if info.flag_bits & 1:
            raise ValueError(f"{where} is encrypted; expected CMU's open archive")
        total += info.file_size
        ratio = info.file_size / max(info.compress_size, 1)
        if info.file_size > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
            raise ValueError(f"{where} would unpack to {info.file_size} bytes; CMU's files stay below {MAX_FILE_BYTES}")
        if info.file_size > 1 << 20 and ratio > MAX_RATIO:
            raise ValueError(f"{where} would unpack to {ratio:.0f} times its size; this is no motion file")
        if name in files:
            raise ValueError(f"{where} is the second file for {name}; expected one")
        files[name] = info
    return files


def _read_entry(path: Path, handle: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read one entry. zipfile reads no further than the declared size, and checks the CRC."""
    try:
        data = handle.read(info)
    except NotImplementedError as error:
        raise ValueError(f"{path}: entry '{info.filename}': {_unreadable(error)}") from error
    except _DAMAGE as error:
        raise ValueError(f"{path}: entry '{info.filename}' is damaged ({error}); {_AGAIN}") from error
    if len(data) != info.file_size:
        raise ValueError(f"{path}: entry '{info.filename}' is cut short; {_AGAIN}")
    return data


def _unreadable(error: NotImplementedError) -> str:
    return f"packed in a way Python cannot unpack ({error}); expected deflate: supply the extracted folder, or {_AGAIN}"


def _name(path: str) -> str | None:
    """ "all_asfamc/subjects/02/02_01.amc" -> "02_01", ".../02/02.asf" -> "02", anything else -> None."""
    match = _FILE.search(path)
    if match is None or match[1] != match[2] or (match[3] is None) != (match[4].lower() == "asf"):
        return None
    return f"{int(match[2]):02d}" if match[3] is None else cmu_index.trial_name(int(match[2]), int(match[3]))


def _read_index(config: DownloadConfig, archive: Archive, pinned: dict[str, Pinned] | None) -> dict[str, Entry]:
    """Descriptions and rates: the user's index, else the one beside the archive, else the manifest's, else a download.

    Where trials are pinned, an index must agree with the pinned rates, or it is another edition's.
    """
    paths = [Path(config.index)] if config.index else [archive.beside / name for name in cmu_index.INDEX_NAMES]
    path = next((path for path in paths if path.is_file()), None)
    if config.index and path is None:
        raise FileNotFoundError(f"download.index is '{config.index}', which does not exist")
    own = {p.trial: Entry(p.description, p.rate_hz) for p in (pinned or {}).values() if p.rate_hz is not None}
    if path is None and pinned is not None:
        return own
    if path is None:
        path = Path(config.cache) / cmu_index.INDEX_NAMES[-1]
        try:
            return cmu_index.read(download(config.index_url, path, config.timeout_s, config.attempts))
        except (DownloadError, ValueError) as error:
            if not isinstance(error, DownloadError):  # a proxy's page: never keep that
                path.unlink(missing_ok=True)
            raise FileNotFoundError(
                f"the list of trials could not be downloaded: {error}\nplace cmu-mocap-index.csv (subject, trial, "
                "description, fps) beside the archive, or set download.index to it"
            ) from error
    index = cmu_index.read(path)
    for name, entry in own.items():
        if name not in index:
            index[name] = entry
        elif index[name].rate_hz != entry.rate_hz:
            raise ValueError(f"{path}: {name} has {index[name].rate_hz} Hz, the manifest pins {entry.rate_hz} Hz")
    return index


def _listed(archive: Archive, index: dict[str, Entry]) -> list[str]:
    """Every trial of the archive that the index gives a rate for and that has a skeleton, and those skeletons."""
    trials = [
        n for n in archive.files if "_" in n and n in index and index[n].rate_hz and n[: n.index("_")] in archive.files
    ]
    left_out = sum("_" in name for name in archive.files) - len(trials)
    if left_out:
        print(
            f"{archive.where}: left out {left_out} trials without an entry in the index or a skeleton", file=sys.stderr
        )
    return sorted({name.split("_")[0] for name in trials} | set(trials))


def read_manifest(path: str | Path = MANIFEST) -> dict[str, Pinned]:
    """The pinned files by name. Raises ``ValueError`` for a malformed manifest."""
    with open(path, encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        if tuple(reader.fieldnames or ()) != MANIFEST_COLUMNS:
            raise ValueError(f"{path}: expected columns {', '.join(MANIFEST_COLUMNS)}, found {reader.fieldnames}")
        return {
            row["trial"]: Pinned(
                row["trial"], row["sha256"], int(row["frames"]) if row["frames"] else None,
                float(row["rate_hz"]) if row["rate_hz"] else None, row["description"],
            )
            for row in reader
        }  # fmt: skip


def pin(source: str | Path, manifest: str | Path = MANIFEST, index: str | Path | None = None) -> int:
    """Write the manifest of every trial in ``source`` (zip or folder) that its index lists; returns the trials.

    How the committed one was made: ``pin("folder with allasfamc.zip of 9 subjects and cmu-mocap-index.csv")``. Every
    trial is read once, so that nothing unreadable is pinned.
    """
    from langpose.sources import cmu

    config = DownloadConfig(trials="all", archive=str(source), index=None if index is None else str(index))
    with (
        open_archive(source) as archive,
        tempfile.TemporaryDirectory() as folder,
        replacing(manifest) as new,
        open(new, "w", encoding="utf-8", newline="") as handle,
    ):
        entries = _read_index(config, archive, None)
        names = _listed(archive, entries)
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        for name in names:
            data = _text(archive.files[name]())
            digest = hashlib.sha256(data).hexdigest()
            path = Path(folder) / (f"{name}.amc" if "_" in name else f"{name}.asf")
            path.write_bytes(data)
            if "_" not in name:
                writer.writerow([name, digest, "", "", ""])
                continue
            entry = entries[name]
            frames = len(cmu.read(path, rate_hz=entry.rate_hz).joints)
            writer.writerow([name, digest, frames, f"{entry.rate_hz:g}", entry.description])
            path.unlink()
    return sum("_" in name for name in names)
