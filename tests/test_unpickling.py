import io
import mmap
import os
import pickle
import zipfile

import numpy as np
import pytest

from langpose.sources import unpickling
from langpose.sources.plain_arrays import MAX_EXPANSION, read_npz
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
@pytest.mark.parametrize("mapped_above", [None, 2**20, 3])
def test_plain_data_survives_every_protocol(protocol, mapped_above, tmp_path, monkeypatch):
    data = plain_data()
    if mapped_above is None:
        back = load(data, protocol)
    else:
        monkeypatch.setattr(unpickling, "_MAPPED_ABOVE", mapped_above)
        (tmp_path / "file.pkl").write_bytes(pickle.dumps(data, protocol))
        back = restricted_load(tmp_path / "file.pkl")
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


def mapped(array):
    """Whether the array's memory is a mapped file's."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap)


def test_large_arrays_are_views_of_the_mapped_file(tmp_path):
    large, path = np.arange(2**18 + 1, dtype=np.float32), tmp_path / "file.pkl"
    arrays = {
        "large": large, "small": large[:-1], "fortran": np.asfortranarray(large[:-1].reshape(-1, 8).astype(float)),
        "transposed": large[:-1].reshape(4, -1, 8).transpose(0, 2, 1).astype(float), "swapped": large.astype(">f4"),
    }  # fmt: skip
    for protocol in (3, 4, 5):
        path.write_bytes(pickle.dumps(arrays, protocol))
        back = restricted_load(path)
        for key, array in arrays.items():
            np.testing.assert_array_equal(back[key], array)
        assert {key for key in back if mapped(back[key])} == {"large", "fortran", "transposed"}
        assert not back["large"].flags.writeable
        assert not any(map(mapped, load(arrays, protocol).values()))
    back = back["large"]  # the mapping lives as long as a view of it
    path.unlink()
    np.testing.assert_array_equal(back, large)


def test_an_array_pickled_by_python_2_is_mapped(tmp_path):
    content = np.arange(2.0**17 + 1).tobytes()  # protocol 2, where Python 2 writes a str of bytes (BINSTRING)
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01J"
    dtype = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    sizes = [size.to_bytes(4, "little") for size in (2**17 + 1, len(content))]
    (tmp_path / "old.pkl").write_bytes(head + sizes[0] + b"\x85" + dtype + sizes[1] + content + b"tb.")
    back = restricted_load(tmp_path / "old.pkl")
    np.testing.assert_array_equal(back, np.arange(2.0**17 + 1))
    assert mapped(back)


def test_large_bytes_are_refused_where_no_array_has_them(tmp_path):
    path = tmp_path / "file.pkl"
    for value in ([bytes(2**20 + 1)], {bytes(2**20 + 1): 1}, {1: (bytearray(2**20 + 1), 2)}):
        path.write_bytes(pickle.dumps(value, 5))
        with pytest.raises(RefusedPickleError, match=r"file\.pkl: refuses to load"):
            restricted_load(path)
    assert load([bytes(2**20 + 1)]) == [bytes(2**20 + 1)]  # from a file that is not mapped


@pytest.mark.parametrize("content", [b"\x80\x04K\x00K\x05\x86Q.", b"Pname\n."])
def test_references_to_outside_are_refused_whether_mapped_or_not(tmp_path, content):
    (tmp_path / "file.pkl").write_bytes(content)
    with pytest.raises(RefusedPickleError, match=r"file\.pkl: refuses to load a persistent reference"):
        restricted_load(tmp_path / "file.pkl")
    with pytest.raises(RefusedPickleError, match="x: refuses to load a persistent reference"):
        restricted_load(io.BytesIO(content), name="x")


def outcome(source):
    """What is read, in a form that compares, or None for an error."""
    try:
        value = restricted_load(source, object_arrays=True)
    except ValueError as error:
        return "large bytes" if "bytes that are no array's" in str(error) or "memoryview" in str(error) else None

    def plain(value):
        if isinstance(value, np.ndarray):
            items = [plain(item) for item in value.reshape(-1).tolist()] if value.dtype.hasobject else value.tobytes()
            return value.dtype.str, value.shape, value.flags.f_contiguous, items
        if isinstance(value, dict):
            return [(plain(key), plain(item)) for key, item in value.items()]
        if isinstance(value, list | tuple):
            return type(value).__name__, [plain(item) for item in value]
        return repr(value)

    return plain(value)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_damaged_files_are_read_alike_whether_mapped_or_not(protocol, tmp_path, monkeypatch):
    monkeypatch.setattr(unpickling, "_MAPPED_ABOVE", 4)
    rng, path, counts = np.random.default_rng(protocol), tmp_path / "file.pkl", {"same": 0, "error": 0, "refused": 0}
    data = plain_data()
    whole = pickle.dumps({**data, "objects": np.array([data["float32"], "x"], dtype=object)}, protocol)
    for _ in range(600):
        content = np.frombuffer(whole, np.uint8).copy()
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.integers(256) if rng.random() < 0.5 else content[place] ^ (1 << rng.integers(8))
        path.write_bytes(content.tobytes()[: None if rng.random() < 0.8 else int(rng.integers(len(whole)))])
        view, copy = outcome(path), outcome(io.BytesIO(path.read_bytes()))
        if view == "large bytes":
            counts["refused"] += 1
        else:
            assert view == copy
            counts["error" if view is None else "same"] += 1
    assert min(counts["same"], counts["error"]) > 50, counts


@pytest.mark.parametrize("mapped_above", [2**20, 3])
def test_every_truncation_is_a_clear_error(tmp_path, monkeypatch, mapped_above):
    monkeypatch.setattr(unpickling, "_MAPPED_ABOVE", mapped_above)
    content = pickle.dumps(plain_data(), 4)
    path = tmp_path / "cut.pkl"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.pkl: .*again"):
            restricted_load(path)


def test_a_content_longer_than_the_file_is_cut_off(tmp_path):
    whole, path = pickle.dumps(np.arange(2.0**18), 4), tmp_path / "long.pkl"
    size = (2**21).to_bytes(4, "little")
    assert whole.count(b"B" + size) == 1
    for claimed in (2**21 + 100, 2**32 - 1):
        path.write_bytes(whole.replace(b"B" + size, b"B" + claimed.to_bytes(4, "little")))
        with pytest.raises(ValueError, match=r"long\.pkl: the file ends too early"):
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
    with pytest.raises(ValueError, match=r"bomb\.npz.*limit 10 bytes"):
        load_object_npz(path, limit_bytes=10)
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (" + b"1," * 20_000 + b")}\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    for read in (load_object_npz, lambda path: read_npz(path, ["data"], "get it again")):
        with pytest.raises(ValueError, match=r"bomb\.npz \['data'\].*not a readable npy header"):
            read(path)


def test_both_readers_of_npz_have_one_limit_of_expansion(tmp_path):
    path, content = tmp_path / "bomb.npz", bytes(2**27)
    for level in (1, 6):  # 229:1 and 1029:1
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
            archive.writestr("data.npy", content)
        for read in (load_object_npz, lambda path: read_npz(path, ["data"], "get it again")):
            with pytest.raises(ValueError, match=rf"bomb\.npz.*134,217,728 bytes .* {MAX_EXPANSION}:1.*again"):
                read(path)
