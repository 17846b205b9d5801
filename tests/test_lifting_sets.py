"""The conversion of Human3.6M against an obvious one, whole arrays at a time; what it does on a full disk."""

import io
import json
import resource

import numpy as np
import pandas as pd
import pytest

from langpose.lifting_sets import NOMINAL_MM_PER_PX, SEQUENCE_COLUMNS, convert_human36m
from langpose.sources import human36m, lifting_checks, unpickling
from langpose.storage import sha256
from tests.lifting_files import human36m_content, write_human36m

JOINTS = ("joint_2d", "joint3d_image", "joints_2.5d_image")


def slow_split(part, first, last, actions):
    """{file name: bytes} for the frames first ... last of a half, a loop for every frame."""
    arrays = {"joints_2d": [], "target": []}
    if "action" in part or first:  # test and val
        arrays |= {"joints_mm": [], "factor_mm_px": []}
    rows = []
    for i in range(first, last):
        width, height = (np.float32(size) for size in human36m.CAMERA_SIZES[part["camera_name"][i]])
        pixels, image = (np.asarray(part[key][i]).astype(np.float32) for key in JOINTS[:2])
        confidence = np.asarray(part.get("confidence", np.ones((last, 17)))[i]).astype(np.float32).reshape(17)
        x, y = pixels[:, 0] / width * 2 - 1, pixels[:, 1] / width * 2 - height / width
        arrays["joints_2d"].append(np.stack([x, y, confidence], 1))
        x, y = image[:, 0] / width * 2 - 1, image[:, 1] / width * 2 - height / width
        arrays["target"].append(np.stack([x, y, image[:, 2] / width * 2], 1))
        if "action" in part:
            joints, factor = np.asarray(part[JOINTS[2]][i]).astype(np.float32), part["2.5d_factor"][i]
        else:
            joints, factor = image * np.float32(NOMINAL_MM_PER_PX), NOMINAL_MM_PER_PX
        if "joints_mm" in arrays:
            arrays["joints_mm"].append(joints - joints[0])
            arrays["factor_mm_px"].append(np.float64(factor))
        if i == first or part["source"][i] != part["source"][i - 1]:
            subject, act, _, _ = human36m.parse_source(part["source"][i])
            action = part["action"][i] if "action" in part else actions.get(act, f"act_{act:02d}")
            rows.append([part["source"][i], subject, part["camera_name"][i], action, i - first, 0, int(width),
                         int(height), 50.0])  # fmt: skip
        rows[-1][5] += 1
    files = {"sequences.parquet": pd.DataFrame(rows, columns=SEQUENCE_COLUMNS).to_parquet()}
    for name, frames in arrays.items():
        np.save(file := io.BytesIO(), np.ascontiguousarray(np.stack(frames)), allow_pickle=False)
        files[f"{name}.npy"] = file.getvalue()
    return files


def slow(content, held):
    """What the conversion must write; ``held`` is no subject, or the file's last training subject."""
    train, test = content["train"], content["test"]
    actions = {human36m.parse_source(s)[1]: a for s, a in zip(test["source"], test["action"], strict=True)}
    subjects = [human36m.parse_source(source)[0] for source in train["source"]]
    border = subjects.index(held) if held else len(subjects)
    assert all(subject == held for subject in subjects[border:])
    splits = {"train": slow_split(train, 0, border, actions), "test": slow_split(test, 0, len(test["source"]), {})}
    if held:
        splits["val"] = slow_split(train, border, len(subjects), actions)
    return {f"{split}/{name}": data for split, files in splits.items() for name, data in files.items()}


def changed(dtype="float32", order="C", confidence="(N, 17)", columns=2):
    content = human36m_content()
    for part in content.values():
        if columns == 3:
            part["joint_2d"] = np.concatenate([part["joint_2d"], part["confidence"][..., None]], -1)
        if confidence == "(N, 17, 1)":
            part["confidence"] = part["confidence"][..., None]
        elif confidence == "none":
            del part["confidence"]
        for key, value in part.items():
            if isinstance(value, np.ndarray):
                random = np.random.default_rng(len(key)).uniform(0, 1e-5, value.shape)  # beyond float32's digits
                part[key] = np.array(value + random, dtype=dtype, order=order)
    return content


CASES = {
    "as published": {},
    "float64": {"dtype": "float64"},
    "float16": {"dtype": "float16"},
    "big-endian": {"dtype": ">f4"},
    "big-endian float64": {"dtype": ">f8"},
    "Fortran order": {"order": "F"},
    "Fortran order, float64": {"order": "F", "dtype": "float64"},
    "no confidence": {"confidence": "none", "dtype": "float64"},
    "confidence in a column": {"confidence": "(N, 17, 1)", "order": "F"},
    "a third column": {"columns": 3, "dtype": "float64"},
}


HOW = [(4, 2**14, 2**20), (5, 37, 100), (3, 1, 0), (2, 230, 0)]  # protocol, frames of a block, mapped above


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("protocol", "frames", "mapped_above"), HOW)
def test_human36m_is_converted_byte_by_byte_as_slowly(tmp_path, monkeypatch, case, protocol, frames, mapped_above):
    monkeypatch.setattr(lifting_checks, "BLOCK_FRAMES", frames)
    monkeypatch.setattr(unpickling, "_MAPPED_ABOVE", mapped_above)
    content = changed(**CASES[case])
    held = human36m.parse_source(content["train"]["source"][-1])[0]
    path = write_human36m(content, tmp_path / "h36m.pkl", protocol)
    for subject in (None, held):
        convert_human36m(path, tmp_path / "new", [subject] if subject else [])
        found = {p.relative_to(tmp_path / "new").as_posix(): p.read_bytes()
                 for p in (tmp_path / "new").rglob("*") if p.is_file()}  # fmt: skip
        meta = json.loads(found.pop("meta.json"))
        assert meta["source"] == {"h36m.pkl": sha256(path)}
        expected = slow(content, subject)
        assert found.keys() == expected.keys()
        for name, data in expected.items():
            assert found[name] == data, name


def test_a_write_that_fails_is_an_error_and_leaves_nothing(tmp_path):
    path = write_human36m(human36m_content(), tmp_path / "h36m.pkl")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            convert_human36m(path, tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.iterdir()] == ["h36m.pkl"]
