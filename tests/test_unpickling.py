import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from langpose.sources.unpickling import RefusedPickleError, load_object_npz, restricted_load


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def load(value, protocol=4, **options):
    return restricted_load(io.BytesIO(pickle.dumps(value, protocol)), name="file.pkl", **options)


def plain_data():
    return {
        "float32": np.arange(12, dtype=np.float32).reshape(3, 4),
        "float64": np.linspace(0, 1, 5),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1),
        "big_endian": np.arange(4, dtype=">f4"),
        "bool": np.array([True, False]),
        "texts": np.array(["s_09", "s_11_act"]),
        "bytes": np.array([b"ab", b"c"]),
        "empty": np.empty((0, 17, 2), np.float32),
        "scalar_array": np.array(3.5),
        "scalar": np.float64(2.5),
        "list": ["a", 1, 2.5, None, True, b"x", (1, [2, {"k": np.int16(3)}])],
        "set": {1, 2},
        7: -(2**70),
    }


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_survives_every_protocol(protocol):
    data = plain_data()
    back = load(data, protocol)
    assert list(back) == list(data)
    for key, value in data.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(back[key], value)
            assert back[key].dtype == value.dtype.newbyteorder("=")
        else:
            assert back[key] == value
            assert type(back[key]) is type(value)


def test_arrays_pickled_by_numpy_1_are_read():
    content = pickle.dumps(np.arange(3.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    np.testing.assert_array_equal(restricted_load(io.BytesIO(content)), [0, 1, 2])


def test_object_arrays_are_read_only_where_expected():
    texts = np.array(["a", "bc", np.ones(2)], dtype=object)
    back = load(texts, object_arrays=True)
    assert back.dtype == object
    assert back[1] == "bc"
    np.testing.assert_array_equal(back[2], [1, 1])
    with pytest.raises(ValueError, match="array of objects"):
        load(texts)


def test_shared_and_cyclic_values_stay_shared():
    inner = [np.ones(2)]
    cycle = [inner, inner]
    cycle.append(cycle)
    back = load(cycle)
    assert back[0] is back[1]
    assert back[2] is back
    nested = ["x"]
    for _ in range(100):  # 2 ** 100 paths, 100 lists
        nested = [nested, nested]
    with pytest.raises(ValueError, match="nested deeper"):
        load(nested)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "posix.system|nt.system"),
        (eval, "(__builtin__|builtins).eval"),
        (getattr, "(__builtin__|builtins).getattr"),
        (np.load, "numpy.load"),
        (np.lib.format.open_memmap, "open_memmap"),
        (pickle.loads, "pickle.loads"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_pickles_are_refused_by_name_and_do_nothing(tmp_path, function, name, protocol):
    victim = tmp_path / "written"
    value = Call(function, f"touch {victim}") if function is os.system else Call(function, str(victim))
    for nested in (value, {"train": [value]}, np.array([value], dtype=object)):
        with pytest.raises(RefusedPickleError, match=f"file.pkl: refuses to load `.*({name})`"):
            load(nested, protocol, object_arrays=True)
    assert not victim.exists()


def dtype_state(value, state):
    """A pickle that builds numpy.dtype(value) and sets its state."""
    body = pickle.dumps((value, False, True), 2)[2:-1] + b"R" + pickle.dumps(state, 2)[2:-1] + b"b"
    return b"\x80\x02cnumpy\ndtype\n" + body


def test_forged_dtypes_are_refused():
    # A structured dtype whose flags hide its object field would turn bytes into pointers.
    fields = {"f": ("O", 0)}
    with pytest.raises(RefusedPickleError, match="structured"):
        restricted_load(io.BytesIO(dtype_state("f8", (3, "|", None, ("f",), fields, 8, 1, 0)) + b"."))
    with pytest.raises(RefusedPickleError, match="dtype"):
        restricted_load(io.BytesIO(dtype_state("V8", (3, "|", None, ("f",), fields, 8, 1, 0)) + b"."))
    with pytest.raises(RefusedPickleError, match="dtype 'M8'"):
        load(np.array(["2020-01-01"], "M8[s]"))
    with pytest.raises(RefusedPickleError, match="dtype"):
        load(np.zeros(2, [("a", "f4")]))


def test_array_contents_must_match_their_shape():
    content = pickle.dumps(np.arange(4, dtype=np.float32).reshape(2, 2), 4)
    with pytest.raises(ValueError, match="bytes"):
        restricted_load(io.BytesIO(content.replace(b"K\x02K\x02", b"K\x02K\x7f")))


def test_admitted_names_cannot_be_changed_or_misused():
    reconstruct = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
    with pytest.raises(RefusedPickleError, match="refuses to change"):
        restricted_load(io.BytesIO(reconstruct + pickle.dumps({"a": 1}, 2)[2:-1] + b"b."))
    with pytest.raises(RefusedPickleError, match="refuses to change"):
        restricted_load(io.BytesIO(reconstruct + pickle.dumps((None, {"_name": 1}), 2)[2:-1] + b"b."))
    with pytest.raises(RefusedPickleError, match=r"call `numpy.ndarray`"):
        restricted_load(io.BytesIO(b"\x80\x02cnumpy\nndarray\n(K\x05tR."))
    with pytest.raises(RefusedPickleError):
        restricted_load(io.BytesIO(reconstruct + b"."))
    with pytest.raises(RefusedPickleError):
        load(Call(np.ndarray, 5))


def test_matrix_subclasses_are_refused():
    with pytest.raises(RefusedPickleError, match=r"numpy\.ma"):
        load(np.ma.masked_array([1.0]))


def test_every_truncation_is_a_clear_error(tmp_path):
    content = pickle.dumps(plain_data(), 4)
    path = tmp_path / "cut.pkl"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.pkl: .*again"):
            restricted_load(path)


def test_other_files_are_no_pickles(tmp_path):
    path = tmp_path / "page.pkl"
    path.write_text("<!DOCTYPE html><html>Sign in to download</html>")
    with pytest.raises(ValueError, match=r"page\.pkl: not a readable pickle"):
        restricted_load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        restricted_load(tmp_path / "absent.pkl")


def test_object_npz_round_trip(tmp_path):
    data = {"S1 Seq1": [{"0": {"data_2d": np.ones((2, 17, 2))}}, 25]}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", data=np.array(data, dtype=object))
        back = load_object_npz(tmp_path / "a.npz")
        assert back["S1 Seq1"][1] == 25
        np.testing.assert_array_equal(back["S1 Seq1"][0]["0"]["data_2d"], 1)


def test_hostile_and_broken_npz_are_refused(tmp_path):
    victim, path = tmp_path / "written", tmp_path / "a.npz"
    np.savez(path, data=np.array({"x": Call(os.system, f"touch {victim}")}, dtype=object))
    with pytest.raises(RefusedPickleError, match=r"a\.npz.*(posix|nt)\.system"):
        load_object_npz(path)
    assert not victim.exists()

    np.savez(path, data=np.array({"x": np.arange(1000.0)}, dtype=object))
    whole = path.read_bytes()
    for length in range(0, len(whole), 500):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.npz"):
            load_object_npz(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1  # inside the array's bytes: only the checksum can tell
    path.write_bytes(bytes(flipped))
    with pytest.raises(ValueError, match="damaged"):
        load_object_npz(path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="no array 'other'; it holds 'data'"):
        load_object_npz(path, "other")
    np.savez(path, data=np.ones(3))
    with pytest.raises(ValueError, match="array of float64; expected one object"):
        load_object_npz(path)
    with pytest.raises(FileNotFoundError):
        load_object_npz(tmp_path / "absent.npz")


def test_zip_bombs_and_huge_headers_are_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", bytes(2**27))
    with pytest.raises(ValueError, match="would unpack to 134,217,728 bytes"):
        load_object_npz(path)
    np.savez(path, data=np.array([1], dtype=object))
    with pytest.raises(ValueError, match="limit 10 bytes"):
        load_object_npz(path, limit_bytes=10)
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (" + b"1," * 20_000 + b")}\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match="header"):
        load_object_npz(path)
