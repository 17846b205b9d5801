"""Getting CMU's archive: where it is looked for, what is refused, and that nothing is left half done."""

import csv
import hashlib
import http.server
import re
import shutil
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from langpose.sources import cmu_archive
from langpose.sources.cmu_archive import DownloadConfig, fetch
from langpose.sources.resuming import DownloadError, download
from tests.cmu_files import amc_text, asf_text, moving

FILES = {
    "02/02.asf": b"skeleton of 02\r\n",
    "02/02_01.amc": b"walk\n" * 5000,
    "02/02_10.amc": b"wash self\r\n",
    "135/135.asf": b"skeleton of 135\n",
    "135/135_02.amc": b"empi\n",
}
INDEX = "subject,trial,description,fps\n2,1,walk,120\n2,10,wash self,120\n135,2,Empi,60\n"


def make_zip(path: Path, files: dict[str, bytes] = FILES, prefix: str = "all_asfamc/subjects/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as handle:
        handle.writestr("all_asfamc/README.txt", "not a motion")
        for name, data in files.items():
            handle.writestr(prefix + name, data)
    return path


@pytest.fixture
def supplied(tmp_path: Path) -> Path:
    """A folder as a user would supply it: zip and index."""
    folder = tmp_path / "supplied"
    folder.mkdir()
    make_zip(folder / "allasfamc.zip")
    (folder / "cmu-mocap-index.csv").write_text(INDEX)
    return folder


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.csv"
    entries = {(int(r["subject"]), int(r["trial"])): r for r in csv.DictReader(INDEX.splitlines())}
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(cmu_archive.MANIFEST_COLUMNS)
        for name, data in FILES.items():
            digest = hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()
            stem = Path(name).stem
            entry = entries[tuple(map(int, stem.split("_")))] if "_" in stem else None
            writer.writerow([stem, digest, *([1, entry["fps"], entry["description"]] if entry else ["", "", ""])])
    return path


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("LANGPOSE_CMU", raising=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ---------------------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("by", ["parameter", "variable"])
def test_a_zip_its_folder_and_an_extracted_tree_give_the_same_bytes(tmp_path, supplied, manifest, monkeypatch, by):
    tree = tmp_path / "tree"
    for name, data in FILES.items():
        (tree / "all_asfamc/subjects" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "all_asfamc/subjects" / name).write_bytes(data)
    shutil.copytree(cmu_archive.FRAME_LABELS, supplied / "frame_labels")
    (supplied / "frame_labels" / "README.txt").write_text("another edition's words")
    results = []
    for i, source in enumerate((supplied / "allasfamc.zip", supplied, tree, tree / "all_asfamc/subjects")):
        if by == "variable":
            monkeypatch.setenv("LANGPOSE_CMU", str(source))
        config = DownloadConfig(archive=str(source) if by == "parameter" else None, url="http://127.0.0.1:9/x")
        results.append(contents(fetch(tmp_path / f"out{i}", config, manifest)))
    assert results[0] == results[1] == results[2] == results[3]
    assert set(results[0]) >= {
        "index.csv", "LICENSE-CMU.txt", "subjects/02/02.asf", "subjects/02/02_01.amc", "subjects/135/135_02.amc",
        "frame_labels/14_06.txt", "frame_labels/LICENSE-mocap6.txt",
    }  # fmt: skip
    assert results[0]["subjects/02/02_10.amc"] == b"wash self\n"  # one kind of line end, whatever the copy had
    assert results[0]["index.csv"].decode() == INDEX
    assert b"NSF EIA-0196217" in results[0]["LICENSE-CMU.txt"]
    assert not any("README" in name for name in results[0] if not name.startswith("frame_labels"))


def test_the_variable_goes_before_the_config(tmp_path, supplied, manifest, monkeypatch):
    monkeypatch.setenv("LANGPOSE_CMU", str(supplied))
    fetch(tmp_path / "out", DownloadConfig(archive=str(tmp_path / "nowhere"), url="http://127.0.0.1:9/x"), manifest)
    assert (tmp_path / "out/subjects/02/02_01.amc").exists()


def test_a_variable_that_names_nothing_is_said(tmp_path, manifest, monkeypatch):
    monkeypatch.setenv("LANGPOSE_CMU", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"LANGPOSE_CMU is '.*nowhere', which does not exist"):
        fetch(tmp_path / "out", DownloadConfig(), manifest)


def test_an_archive_that_is_nowhere_is_one_message_with_three_ways(tmp_path, manifest):
    config = DownloadConfig(url="http://127.0.0.1:9/allasfamc.zip", cache=str(tmp_path / "cache"), attempts=1)
    with pytest.raises(FileNotFoundError) as caught:
        fetch(tmp_path / "out", config, manifest)
    for part in ("LANGPOSE_CMU", "download.archive", "http://127.0.0.1:9/allasfamc.zip", "(1)", "(2)", "(3)"):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_motion_and_a_file_that_is_no_zip_are_refused(tmp_path, manifest):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected allasfamc\.zip or files like"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(tmp_path / "empty")), manifest)
    (tmp_path / "page.zip").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.zip: expected a zip"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(tmp_path / "page.zip")), manifest)


def test_a_skeleton_outside_the_pinned_ones_is_not_extracted(tmp_path, supplied, manifest):
    make_zip(supplied / "allasfamc.zip", FILES | {"03/03.asf": b"x", "03/03_01.amc": b"y"})
    out = fetch(tmp_path / "out", DownloadConfig(archive=str(supplied)), manifest)
    assert not (out / "subjects/03").exists()


def test_all_takes_what_the_index_lists_and_says_what_it_left_out(tmp_path, supplied, capsys):
    make_zip(supplied / "allasfamc.zip", FILES | {"03/03_01.amc": b"no skeleton", "02/02_11.amc": b"not in the index"})
    out = fetch(tmp_path / "out", DownloadConfig(archive=str(supplied), trials="all"))
    assert {p.stem for p in out.glob("subjects/*/*")} == {"02", "02_01", "02_10", "135", "135_02"}
    assert "left out 2 trials" in capsys.readouterr().err


def test_all_of_nothing_is_refused(tmp_path, supplied):
    make_zip(supplied / "allasfamc.zip", {"03/03.asf": b"x", "03/03_01.amc": b"not in the index"})
    with pytest.raises(ValueError, match=r"none of its 2 files is a trial that the index lists"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(supplied), trials="all"))
    assert not (tmp_path / "out").exists()


def test_an_index_with_another_rate_is_refused(tmp_path, supplied, manifest):
    (supplied / "cmu-mocap-index.csv").write_text(INDEX.replace("walk,120", "walk,60"))
    with pytest.raises(ValueError, match=r"02_01 has 60\.0 Hz, the manifest pins 120\.0"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(supplied)), manifest)


# --------------------------------------------------------------------------------------------------------- manifest


def test_a_trial_that_differs_is_named_and_nothing_is_written(tmp_path, supplied, manifest):
    make_zip(supplied / "allasfamc.zip", FILES | {"02/02_10.amc": b"wash sel\n"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("kept")
    with pytest.raises(ValueError, match=r"1 file\(s\) are not those pinned.*: 02_10 \(sha256"):
        fetch(out, DownloadConfig(archive=str(supplied)), manifest)
    assert contents(out) == {"old": b"kept"}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".out")] == []


def test_a_missing_trial_is_named(tmp_path, supplied, manifest):
    make_zip(supplied / "allasfamc.zip", {n: d for n, d in FILES.items() if "135_02" not in n})
    with pytest.raises(ValueError, match=r"1 of 5 pinned files are missing \(135_02\)"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(supplied)), manifest)


def test_pinning_writes_what_fetch_checks(tmp_path, supplied):
    files = {"02/02.asf": asf_text().encode(), "02/02_01.amc": amc_text(moving(4)).replace("\n", "\r\n").encode()}
    make_zip(supplied / "allasfamc.zip", files)
    assert cmu_archive.pin(supplied, tmp_path / "pinned.csv") == 1
    pinned = cmu_archive.read_manifest(tmp_path / "pinned.csv")
    assert (pinned["02_01"].frames, pinned["02_01"].rate_hz, pinned["02_01"].description) == (4, 120.0, "walk")
    out = fetch(tmp_path / "out", DownloadConfig(archive=str(supplied)), tmp_path / "pinned.csv")
    digest = hashlib.sha256((out / "subjects/02/02_01.amc").read_bytes()).hexdigest()
    assert digest == pinned["02_01"].sha256  # so `sha256sum` of the folder equals the manifest


def test_the_committed_manifest_is_196_trials_of_nine_subjects():
    pinned = cmu_archive.read_manifest()
    trials = [p for p in pinned.values() if p.frames is not None]
    assert len(trials) == 196 and len(pinned) == 205
    assert {p.trial.split("_")[0] for p in trials} == {"02", "03", "05", "14", "16", "17", "29", "127", "135"}
    assert sum(p.frames for p in trials) == 263_986
    assert all(p.rate_hz == 120 and p.description for p in trials)
    assert all(re.fullmatch("[0-9a-f]{64}", p.sha256) for p in pinned.values())


# -------------------------------------------------------------------------------------------------------- unsafe zips


@pytest.mark.parametrize(
    "name",
    [
        "../02/02_01.amc",
        "a/../../02/02_01.amc",
        "/02/02_01.amc",
        "C:/02/02_01.amc",
        "..\\02\\02_01.amc",
        "../readme.txt",
    ],
)
def test_an_entry_that_points_outside_is_refused(tmp_path, manifest, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as handle:
        handle.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(ValueError, match="points outside the archive"):
        fetch(tmp_path / "out/deep", DownloadConfig(archive=str(tmp_path / "a.zip")), manifest)
    assert not (tmp_path / "out").exists() and not (tmp_path / "02").exists()


def test_a_link_is_refused(tmp_path, manifest):
    link = zipfile.ZipInfo("subjects/02/02_01.amc")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as handle:
        handle.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match=r"02_01\.amc' is a link"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(tmp_path / "a.zip")), manifest)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, manifest):
    make_zip(tmp_path / "ratio.zip", {"02/02_01.amc": bytes(8 << 20)})
    with pytest.raises(ValueError, match="times its size"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(tmp_path / "ratio.zip")), manifest)
    make_zip(tmp_path / "size.zip", {"02/02_01.amc": bytes((64 << 20) + 1)})
    with pytest.raises(ValueError, match="would unpack to 67108865 bytes"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(tmp_path / "size.zip")), manifest)
    assert not (tmp_path / "out").exists()


def test_two_entries_for_one_trial_are_refused(tmp_path, manifest):
    make_zip(tmp_path / "a.zip", FILES | {"2/2_1.amc": b"another 02_01"})
    with pytest.raises(ValueError, match="second file for 02_01"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(tmp_path / "a.zip")), manifest)


def test_a_damaged_entry_is_named(tmp_path, supplied, manifest):
    data = bytearray((supplied / "allasfamc.zip").read_bytes())
    at = data.index(b"02_01.amc") + len("02_01.amc") + 10
    data[at] ^= 0xFF
    (supplied / "allasfamc.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"02_01\.amc' is damaged.*get another copy"):
        fetch(tmp_path / "out", DownloadConfig(archive=str(supplied)), manifest)


CENTRAL = b"PK\x01\x02"
"""How an entry of the list at a zip's end starts; its fields lie at fixed distances (PKWARE's APPNOTE 4.3.12)."""


def set_in_list(data: bytes, name: bytes, field: int, value: int) -> bytes:
    """The zip with one byte of ``name``'s entry in the list changed."""
    at = data.rindex(CENTRAL, 0, data.rindex(name)) + field
    return data[:at] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda zip_: zip_[90:], r"02\.asf' lies \d+ bytes before the file's start, which is cut; get another copy"),
        (lambda zip_: zip_[:-60], r"expected a zip archive.*reads as neither; get another copy"),
        (lambda zip_: zip_.replace(CENTRAL, b"PK\x00\x00"), r"list of entries is damaged \(Bad magic.*get another"),
        (lambda zip_: set_in_list(zip_, b"02_01.amc", 9, 0x08).replace(b"02_01.amc", b"02_01\xffamc"),
         r"list of entries is damaged \('utf-8' codec.*get another copy"),
        (lambda zip_: set_in_list(zip_, b"02_01.amc", 6, 99), r"Python cannot unpack \(.*version 9\.9\).*extracted"),
        (lambda zip_: set_in_list(zip_, b"02_01.amc", 10, 9),
         r"02_01\.amc': packed in a way Python cannot unpack \(.*method.*\); expected deflate: supply the extracted"),
        (lambda zip_: set_in_list(zip_, b"02_01.amc", 8, 0x20), r"02_01\.amc': packed in a way .*patched.*extracted"),
    ],
    ids=["head cut", "end cut", "list damaged", "name damaged", "newer zip", "other method", "patched"],
)  # fmt: skip
def test_a_damaged_or_unreadable_zip_is_named_with_what_to_do(tmp_path, supplied, manifest, damage, message):
    zip_ = supplied / "allasfamc.zip"
    zip_.write_bytes(damage(zip_.read_bytes()))
    with pytest.raises(ValueError, match=rf"allasfamc\.zip: .*{message}") as caught:
        fetch(tmp_path / "out", DownloadConfig(archive=str(supplied)), manifest)
    assert type(caught.value) is ValueError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.csv", "supplied"]


# ---------------------------------------------------------------------------------------------------------- download


class Server(http.server.ThreadingHTTPServer):
    """Serves one file with ranges; breaks off after ``budget`` bytes of an answer, counts what it sends."""

    daemon_threads = True

    def __init__(self, data: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.etag, self.ranges, self.status = data, '"v1"', True, 200
        self.budgets: list[int] = []
        self.asked: list[str | None] = []
        self.busy = 0
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/allasfamc.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, start = self.server, 0
        server.asked.append(self.headers.get("Range"))
        if server.busy:
            server.busy -= 1
            self.send_error(503)
            return
        if server.status != 200:
            self.send_error(server.status)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        partial = wanted and server.ranges and self.headers.get("If-Range") == server.etag
        if partial:
            start = int(wanted[1])
            if start >= len(server.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        body = server.data[start:]
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: server.budgets.pop(0)] if server.budgets else body
        self.wfile.write(body)
        server.sent += len(body)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    running = Server(bytes(range(256)) * 4000)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_connection_that_breaks_off_is_resumed_where_it_stopped(server, tmp_path):
    server.budgets = [100_000, 300_000]
    target = download(server.url, tmp_path / "a.zip", pause_s=0)
    assert target.read_bytes() == server.data
    assert server.asked == [None, "bytes=100000-", "bytes=400000-"]
    assert server.sent == len(server.data)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_an_interrupted_download_continues_in_the_next_run(server, tmp_path):
    server.budgets = [100_000, 0]
    with pytest.raises(DownloadError, match=r"kept in .*a\.zip\.part and the next run continues"):
        download(server.url, tmp_path / "a.zip", attempts=1, pause_s=0)
    assert not (tmp_path / "a.zip").exists() and (tmp_path / "a.zip.part").stat().st_size == 100_000
    assert download(server.url, tmp_path / "a.zip", pause_s=0).read_bytes() == server.data
    assert server.asked[-1] == "bytes=100000-"


def test_a_file_that_changed_on_the_server_is_not_glued_together(server, tmp_path):
    server.budgets = [100_000, 0]
    with pytest.raises(DownloadError):
        download(server.url, tmp_path / "a.zip", attempts=1, pause_s=0)
    server.data, server.etag = b"new" * 100_000, '"v2"'
    assert download(server.url, tmp_path / "a.zip", pause_s=0).read_bytes() == server.data


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.ranges, server.budgets = False, [100_000]
    assert download(server.url, tmp_path / "a.zip", pause_s=0).read_bytes() == server.data


def test_a_whole_part_is_kept_and_a_too_long_one_is_not(server, tmp_path):
    for extra in (b"", b"more"):
        (tmp_path / "a.zip.part").write_bytes(server.data + extra)
        (tmp_path / "a.zip.part.of").write_text(server.etag)
        assert download(server.url, tmp_path / "a.zip", pause_s=0).read_bytes() == server.data
        (tmp_path / "a.zip").unlink()


def test_a_refusal_is_passed_on_and_not_repeated(server, tmp_path):
    server.status = 404
    with pytest.raises(DownloadError, match="404"):
        download(server.url, tmp_path / "a.zip", pause_s=0)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_but_not_for_ever(server, tmp_path):
    server.busy = 2
    assert download(server.url, tmp_path / "a.zip", attempts=3, pause_s=0).read_bytes() == server.data
    server.busy = 9
    with pytest.raises(DownloadError, match="the server answered 503"):
        download(server.url, tmp_path / "b.zip", attempts=3, pause_s=0)
    assert len(server.asked) == 3 + 3 and not (tmp_path / "b.zip").exists()


def test_downloading_shows_how_far_it_is(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    download(server.url, tmp_path / "a.zip", pause_s=0)
    captured = capsys.readouterr()
    assert "a.zip" in captured.err and re.search(r"1\.0/1\.0 MB", captured.err) and not captured.out


def test_only_web_addresses_are_downloaded(tmp_path):
    with pytest.raises(ValueError, match="expected an http or https address"):
        download("file:///etc/passwd", tmp_path / "a.zip")


def test_fetch_downloads_once_and_keeps_the_archive(server, tmp_path, supplied, manifest):
    server.data = (supplied / "allasfamc.zip").read_bytes()
    config = DownloadConfig(url=server.url, cache=str(tmp_path / "cache"))
    for out in ("a", "b"):
        fetch(tmp_path / out, config, manifest)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(server.asked) == 1 and (tmp_path / "cache/allasfamc.zip").exists()
    assert (tmp_path / "a/index.csv").read_text() == INDEX  # descriptions and rates of the manifest: no index at hand


def test_a_broken_off_download_leaves_no_folder_and_is_continued(server, tmp_path, supplied, manifest):
    server.data, server.budgets = (supplied / "allasfamc.zip").read_bytes(), [200, 0]
    config = DownloadConfig(url=server.url, cache=str(tmp_path / "cache"), attempts=1)
    with pytest.raises(FileNotFoundError, match=r"kept in .*allasfamc\.zip\.part") as caught:
        fetch(tmp_path / "out", config, manifest)
    assert "LANGPOSE_CMU" in str(caught.value) and "the next run continues there" in str(caught.value)
    assert not (tmp_path / "out").exists()
    out = fetch(tmp_path / "out", config, manifest)
    assert server.asked[-1] == "bytes=200-" and server.sent == len(server.data)
    assert contents(out) == contents(fetch(tmp_path / "own", DownloadConfig(archive=str(supplied)), manifest))
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["allasfamc.zip"]


def test_a_page_in_the_place_of_the_archive_is_not_kept(server, tmp_path, supplied, manifest):
    server.data = b"<html>log in first</html>"
    config = DownloadConfig(url=server.url, cache=str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=r"did not answer with a zip archive\n.*LANGPOSE_CMU"):
        fetch(tmp_path / "out", config, manifest)
    assert not (tmp_path / "out").exists() and not list((tmp_path / "cache").iterdir())
    server.data, server.etag = (supplied / "allasfamc.zip").read_bytes(), '"v2"'
    assert (fetch(tmp_path / "out", config, manifest) / "subjects/02/02_01.amc").exists()


def test_all_without_an_index_fetches_one_and_keeps_no_page_in_its_place(server, tmp_path, supplied):
    (supplied / "cmu-mocap-index.csv").unlink()
    config = DownloadConfig(
        archive=str(supplied), trials="all", index_url=server.url, cache=str(tmp_path / "cache"), attempts=1
    )
    server.data = b"<html>log in first</html>"
    with pytest.raises(
        FileNotFoundError, match=r"list of trials could not be downloaded: .*no trials found.*\n.*index"
    ):
        fetch(tmp_path / "out", config)
    assert not (tmp_path / "out").exists() and not list((tmp_path / "cache").iterdir())
    server.data, server.etag = b"02_01\twalk\n02_10\twash self\n", '"v2"'
    out = fetch(tmp_path / "out", config)
    assert (out / "index.csv").read_text() == INDEX[: INDEX.index("135")]


def test_an_index_that_cannot_be_reached_says_how_to_supply_one(tmp_path, supplied):
    (supplied / "cmu-mocap-index.csv").unlink()
    config = DownloadConfig(
        archive=str(supplied), trials="all", index_url="http://127.0.0.1:9/x", cache=str(tmp_path / "cache"), attempts=1
    )
    with pytest.raises(
        FileNotFoundError, match=r"127\.0\.0\.1:9/x could not be fetched.*\n.*beside the archive, or set"
    ):
        fetch(tmp_path / "out", config)
    assert not (tmp_path / "out").exists()
