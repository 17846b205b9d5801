import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from langpose.sources.pickle_depth import DEEPEST, refuse_deep_tuples
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
    "content", [b"", b"\x80\x04", b"\x80\x040.", b"\x80\x04h\x05.", b"\x80\x04\x85.", b"\x80\x04t."]
)
def test_what_is_no_pickle_is_an_error_of_the_reader_by_name(content):
    with pytest.raises(ValueError, match="some file"):
        restricted_load(io.BytesIO(content), name="some file")


def test_a_million_levels_as_a_key_do_not_end_the_interpreter(tmp_path):
    path = tmp_path / "deep.pkl"
    path.write_bytes(b"\x80\x04})" + b"\x85" * 1_000_000 + b"Ns.")
    code = f"from langpose.sources.unpickling import restricted_load\nrestricted_load({str(path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=60
    )
    assert done.returncode == 1 and "deep.pkl" in done.stderr.splitlines()[-1], done.stderr[-500:]
