import io
import pickle
import pickletools
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from langpose.sources.pickle_depth import DEEPEST, MEMO_GAP, RefusedPickleError, guarded, refuse_deep_tuples
from langpose.sources.unpickling import restricted_load


def nested(levels):
    value = ()
    for _ in range(levels - 1):
        value = (value,)
    return value


@pytest.mark.parametrize("protocol", range(6))
def test_data_passes_and_is_read_to_its_end(protocol):
    shared = ("a", (1, 2.0))
    value = {"x": [np.arange(3), np.float32(2)], ("s", 1): shared, "again": [shared, {"n": None}], "t": nested(DEEPEST)}
    file = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
    refuse_deep_tuples(file)
    assert file.read() == b"rest"


@pytest.mark.parametrize("protocol", range(6))
def test_one_level_more_is_refused(protocol):
    with pytest.raises(ValueError, match="nests tuples more than 100 levels"):
        refuse_deep_tuples(io.BytesIO(pickle.dumps([nested(DEEPEST + 1)], protocol)))


WAYS = {
    "one after the other": b")" + b"\x85" * 300,
    "in pairs with others": b")" + b"N\x86" * 300,
    "under a mark": b"(" * 300 + b")" + b"t" * 300,
    "through the memo": b")\x94" + b"".join(b"0h" + bytes([i]) + b"\x85\x94" for i in range(250)),
    "twice": b")" + b"2\x86" * 300,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_nest_is_seen(way):
    with pytest.raises(ValueError, match="nests tuples"):
        refuse_deep_tuples(io.BytesIO(b"\x80\x04" + WAYS[way] + b"."))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04", b"\x80\x040.", b"\x80\x04h\x05.", b"\x80\x04\x85.", b"\x80\x04t.", b"\x80\x04(q\x00.",
     b"Nq\x02h\x01.", b"T\xff\xff\xff\xffab.", b"I5", b"cos\nsystem", b"g-1\n.", b"gx\n."],
)  # fmt: skip
def test_what_is_no_pickle_is_an_error_of_the_reader_by_name(content):
    with pytest.raises(ValueError, match="some file"):
        restricted_load(io.BytesIO(content), name="some file")


@pytest.mark.parametrize("protocol", range(6))
def test_the_pieces_are_the_pickle_without_its_frames(protocol):
    content = pickle.dumps(["text" * 100_000, {"b": b"\x00" * 700_000, 3: [(1, 2.5)] * 40}], protocol)
    pieces = list(guarded(io.BytesIO(content)))
    assert len(pieces) > 1
    given = b"".join(pieces)
    assert pickle.loads(given) == pickle.loads(content)
    expected = [(op.name, argument) for op, argument, _ in pickletools.genops(content) if op.name != "FRAME"]
    assert [(op.name, argument) for op, argument, _ in pickletools.genops(given)] == expected


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_contents_are_left_in_the_file_and_named_by_their_place(kind):
    value = [kind(b"0123456789"), kind(b"01234567890"), "a text of more than ten bytes"]
    content = pickle.dumps(value, 5)

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid):
            offset, size = pid
            return kind(content[offset : offset + size])

    given = b"".join(guarded(io.BytesIO(content), spans_above=10))
    assert value[0] in given and value[1] not in given
    assert Unpickler(io.BytesIO(given)).load() == value


@pytest.mark.parametrize("size", [12, 2**40, 2**63 - 1, 2**64 - 1])
def test_a_content_that_ends_after_the_file_is_cut_off(size):
    for spans_above in (None, 3):
        with pytest.raises(EOFError):
            list(guarded(io.BytesIO(b"\x80\x04\x8e" + struct.pack("<Q", size) + b"\x00" * 10 + b"."), spans_above))


def test_references_of_the_files_own_pass_only_where_another_unpickler_reads_it():
    for content in (b"\x80\x04K\x00K\x05\x86Q.", b"Pname\n."):
        refuse_deep_tuples(io.BytesIO(content))
        with pytest.raises(RefusedPickleError, match="persistent reference"):
            list(guarded(io.BytesIO(content), spans_above=2**20))


def test_a_far_off_place_in_the_memo_is_refused():
    refuse_deep_tuples(io.BytesIO(b"\x80\x02Nr" + struct.pack("<I", MEMO_GAP) + b"."))
    for put in (b"r" + struct.pack("<I", MEMO_GAP + 1), b"p%d\n" % 2**29, b"p-1\n"):
        with pytest.raises(RefusedPickleError, match="memo"):
            refuse_deep_tuples(io.BytesIO(b"\x80\x02N" + put + b"."))


def test_a_million_levels_as_a_key_do_not_end_the_interpreter(tmp_path):
    path = tmp_path / "deep.pkl"
    path.write_bytes(b"\x80\x04})" + b"\x85" * 1_000_000 + b"Ns.")
    code = f"from langpose.sources.unpickling import restricted_load\nrestricted_load({str(path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=60
    )
    assert done.returncode == 1 and "deep.pkl" in done.stderr.splitlines()[-1], done.stderr[-500:]
