"""A campaign of damaged, foreign and hostile files: every reader of other people's files refuses them by name.

A reader may raise `ValueError` or `FileNotFoundError` whose text names the file, or return well-formed data: for
archives with checksums the undamaged data, unless the reader tells (artefacts) what is odd. What changes a file's
meaning must be refused, save where `ACCEPTED` says why not. A case is drawn from (reader, number).
"""

import io
import json
import math
import pickle
import re
import shutil
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langpose.demo.standin_body import standin_model, standin_regressor, write_standin_body
from langpose.model.motionbert import load_checkpoint
from langpose.skeleton import FLIP, MPI_FLIP
from langpose.sources import amass, babel, cmu, human36m, mpi_inf_3dhp
from tests import mutated_files as mutated
from tests import test_babel
from tests.cmu_files import amc_text, asf_text, moving
from tests.lifting_files import human36m_content, mpi_inf_3dhp_content, numbers, write_human36m, write_mpi_inf_3dhp
from tests.test_amass import crouch
from tests.test_human36m import bend_knees
from tests.test_pose_encoder import as_released

ACCEPTED = [  # reader, part of the kind, regular expression of the place, why no error is due
    ("amass", "", "dmpls", "optional, and not used without the soft-tissue model: any width, scale or absence"),
    ("amass", "missing", "gender", "the neutral body is used, and the artefacts say so"),
    ("amass", "by 1000", "poses", "nearly the rest pose, which a person may hold"),
    ("amass", "by 1000", "trans", "a body that hardly moves; the file does not say how far it went"),
    ("amass", "by 1000", "betas", "an average body"),
    ("body", "1000", "posedirs", "small bulges that depend on the pose; they have no scale of their own"),
    ("body", "by 1000", "shapedirs", "bodies all alike"),
    ("human36m", "missing", "confidence", "documented: ones where the file has none"),
    ("human36m", "by 1000", "confidence", "a detector may be that unsure"),
    ("mpi_inf_3dhp", "one axis more", "valid", "flags (F,), (F, 1) and (1, F) are all one flag a frame"),
    ("mpi_inf_3dhp", "transposed", "valid", "as above"),
    ("mpi_inf_3dhp", "missing", r"(Seq\d(/0/\d)?|/TS\d)$", "a set of fewer recordings or cameras"),
    ("babel", "seconds", "", "the true duration is in AMASS's file, not here"),
    ("babel", "missing", "optional", "documented: no label of this kind, no text, no categories"),
    ("babel", "null", "optional", "as above"),
    ("babel", "", "frame_anns/2/labels/1", "this label ends as it starts: counted and left out"),
    ("babel", "half a character", "/test/", "labels without text are counted and left out"),
    ("babel", "30 digits", "/test/", "as above"),
    ("amass", "texts", "mocap_framerate", "a number written as a text is that number"),
    ("cmu", "cut off", "", "texts without a length: cut at a line's end it is a shorter recording"),
    ("cmu", "root by 1000", "", "a body that hardly moves; the files do not say where the floor is"),
    ("checkpoint", "1000", "", "weights have no unit"),
    ("checkpoint", "transposed", "proj.weight", "a square matrix looks the same"),
    *(("checkpoint", "", f"/{key}", "not about the network") for key in ("epoch", "lr", "optimizer", "min_loss")),
]
Changes = dict[str, Callable[[Any, mutated.Rng], str]]  # kind -> change of the content, which returns the place


@dataclass
class Reader:
    """How small valid files of a format are made and read, and what their data must be."""

    files: tuple[str, ...]
    content: Callable[[], Any]
    write: Callable[[Path, Any], None]
    read: Callable[[Path], Any]
    data: Callable[[Any], dict[str, np.ndarray]]  # of what was read; asserts that it is well-formed
    changes: Changes
    member: str = ""  # of its zip files that is replaced by a bomb, a wrong header or a hostile pickle
    binary: bool = True
    told: Callable[[Any], Any] = field(default=lambda result: None)

    @property
    def zipped(self) -> tuple[str, ...]:
        return tuple(name for name in self.files if name.endswith((".npz", ".bin")))

    @property
    def kinds(self) -> list[str]:
        archive = ["bit of a member", "wrong header", "bomb"] if self.zipped else []
        pickled = ["hostile", "hostile file", "odd pickle"] if self.binary else []
        return [*mutated.BYTES, *self.changes, *archive, *pickled]


# ---- changes of the content -----------------------------------------------------------------------------------------


def change_array(content: Any, rng: mutated.Rng, change: Callable[[np.ndarray, mutated.Rng], Any], axes: int) -> str:
    places = [
        (owner, key, path) for owner, key, path in mutated.entries(content)
        if isinstance(owner[key], np.ndarray) and owner[key].dtype.kind in "fiu" and owner[key].ndim >= axes
        and owner[key].size < 2**22
    ]  # fmt: skip
    owner, key, path = places[int(rng.integers(len(places)))]
    owner[key] = change(owner[key], rng)
    return path


def drop(content: Any, rng: mutated.Rng, optional: tuple[str, ...] = (), value: Any = "nothing") -> str:
    """Take a field away, or put ``value`` there."""
    places = mutated.entries(content)
    owner, key, path = places[int(rng.integers(len(places)))]
    if value == "nothing":
        del owner[key]
    else:
        owner[key] = value
    may = optional and (key in optional or key.isdigit() or owner is content)
    return path + (" (optional)" if may else "")


def add_key(content: Any, rng: mutated.Rng) -> str:
    places = mutated.entries(content)
    owner, _, path = places[int(rng.integers(len(places)))]
    owner["unheard_of"] = np.zeros(3)
    return path


ARRAYS: Changes = {
    **{kind: partial(change_array, change=change, axes=2) for kind, change in mutated.SHAPES.items()},
    **{kind: partial(change_array, change=change, axes=0) for kind, change in mutated.VALUES.items()},
    "missing": drop,
    "null": partial(drop, value=None),
    "key more": add_key,
}


def mirror(
    content: dict[str, Any], rng: mutated.Rng, how: Callable[[np.ndarray], np.ndarray], keys: tuple[str, str]
) -> str:
    """One of the two views of a body, in all of a part's recordings: swapped sides, or another x axis."""
    key, part = keys[int(rng.integers(2))], ("train", "test")[int(rng.integers(2))]
    for owner, found, _ in mutated.entries(content[part]):
        if found == key:
            owner[key] = how(owner[key])
    return f"{part} {key}"


def in_text(content: dict[str, str], rng: mutated.Rng, name: str, change: Callable[[str, mutated.Rng], str]) -> str:
    """Change a line of numbers in CMU's ``asf`` or ``amc``."""
    lines = content[name].split("\n")
    places = [i for i, line in enumerate(lines) if line.lstrip().startswith(("direction", "l", "r")) and i > 12
              and line.split()[-1][-1].isdigit()]  # fmt: skip
    at = places[int(rng.integers(len(places)))]
    lines[at] = change(lines[at], rng)
    content[name] = "\n".join(lines)
    return f"{name} line {at + 1}"


def number_of(text: str) -> Callable[[str, mutated.Rng], str]:
    return lambda line, rng: " ".join([*line.split()[:-1], text])


def frame_number(content: dict[str, str], rng: mutated.Rng, text: str) -> str:
    content["amc"] = content["amc"].replace("\n2\n", f"\n{text}\n")
    return "amc"


def scale_words(content: dict[str, str], rng: mutated.Rng, name: str, key: str, columns: slice, factor: float) -> str:
    lines = [line.split() if line.split()[:1] == [key] else line for line in content[name].split("\n")]
    for words in lines:
        if isinstance(words, list) and words[1:] != ["0.45"]:
            words[columns] = [repr(float(word) * factor) for word in words[columns]]
    content[name] = "\n".join(line if isinstance(line, str) else " ".join(line) for line in lines)
    return name


def mirrored_bones(content: dict[str, str], rng: mutated.Rng) -> str:
    lines = []
    for line in content["asf"].split("\n"):
        words = line.split()
        if words[:1] == ["direction"]:
            words[1] = repr(-float(words[1]))
        lines.append(" ".join(words))
    content["asf"] = "\n".join(lines)
    return "asf"


TEXT: Changes = {
    **{f"{kind} in the {name}": partial(in_text, name=name, change=number_of(word)) for name in ("asf", "amc")
       for kind, word in (("NaN", "nan"), ("infinite", "-inf"), ("overflow", "1e999"), ("letters", "1O"))},
    **{f"{kind} in the {name}": partial(in_text, name=name, change=change) for name in ("asf", "amc")
       for kind, change in (("word missing", lambda line, rng: line.rsplit(maxsplit=1)[0]),
                            ("word more", lambda line, rng: line + " 1"))},
    **{f"frame number {word[:9]}": partial(frame_number, text=word)
       for word in ("\xb2", "9" * 30, "9" * 5000, "+-2", "", "-2", "2.0", "3")},
    "only blanks of Latin-1": lambda c, rng: c.update(amc=":FULLY-SPECIFIED\n:DEGREES\n\xa0\n") or "amc",
    **{f"lengths {word} 1000": partial(scale_words, name="asf", key="length", columns=slice(1, 2), factor=factor)
       for word, factor in (("times", 1e3), ("by", 1e-3))},
    **{f"root {word} 1000": partial(scale_words, name="amc", key="root", columns=slice(1, 4), factor=factor)
       for word, factor in (("times", 1e3), ("by", 1e-3))},
    "mirrored": mirrored_bones,
}  # fmt: skip

OPTIONAL = ("url", "seg_id", "raw_label", "proc_label", "act_cat", "seq_ann", "frame_ann", "seq_anns", "frame_anns")


def label_number(
    content: Any, rng: mutated.Rng, value: Any, keys: tuple[str, ...] = ("dur", "start_t", "end_t")
) -> str:
    places = [place for place in mutated.entries(content) if place[1] in keys]
    owner, key, path = places[int(rng.integers(len(places)))]
    owner[key] = value
    return path


def seconds(content: Any, rng: mutated.Rng, factor: float) -> str:
    for owner, key, _ in mutated.entries(content):
        if key in ("dur", "start_t", "end_t"):
            owner[key] *= factor
    return "all"


def nested(content: Any, rng: mutated.Rng, opening: str, closing: str) -> str:
    deep = int(rng.choice([200, 900, 990, 5000, 100_000]))
    content["train"] = '{"1": ' + opening * deep + "0" + closing * deep + "}"
    return f"{deep} levels"


JSON: Changes = {
    "missing": partial(drop, optional=OPTIONAL),
    "null": partial(drop, optional=OPTIONAL, value=None),
    "text for a number": partial(label_number, value="1"),
    "truth for a number": partial(label_number, value=True),
    "NaN": partial(label_number, value=math.nan),
    "infinite": partial(label_number, value=-math.inf),
    "list for a number": partial(label_number, value=[1]),
    "number of 400 digits": partial(label_number, value=10**400),
    "number of 30 digits for a sequence": partial(label_number, value=10**30, keys=("babel_sid",)),
    "number for a text": partial(label_number, value=7, keys=("raw_label", "proc_label", "feat_p")),
    "half a character": partial(label_number, value="\ud800", keys=("raw_label", "proc_label", "feat_p")),
    "number of 5000 digits": lambda c, rng: c.update(train='{"1": ' + "1" * 5000 + "}") or "train",
    "deep lists": partial(nested, opening="[", closing="]"),
    "deep objects": partial(nested, opening='{"a":', closing="}"),
    "not UTF-8": lambda c, rng: c.update(train=b'{"1": "\xff"}') or "train",
    "seconds times 1000": partial(seconds, factor=1000),
    "seconds by 1000": partial(seconds, factor=0.001),
}


def odd_tensor(content: Any, rng: mutated.Rng, change: Callable[[torch.Tensor], torch.Tensor]) -> str:
    state = content["model_pos"]
    name = [*state][int(rng.integers(len(state)))]
    state[name] = change(torch.from_numpy(state[name]))
    return name


TENSORS: Changes = {
    "sparse": partial(odd_tensor, change=lambda x: x.to_sparse()),
    "meta": partial(odd_tensor, change=lambda x: x.to("meta")),
    "expanded": partial(odd_tensor, change=lambda x: torch.zeros(1).expand(2**40)),
}

# ---- the readers ----------------------------------------------------------------------------------------------------


def finite(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name, array in data.items():
        assert np.isfinite(array).all(), f"{name} is not finite"
    return data


def motion_data(motion: Any) -> dict[str, np.ndarray]:
    assert motion.joints.dtype == np.float32 and motion.joints.shape[1:] == (17, 3) and len(motion.joints)
    return finite({"joints": motion.joints, "rate": np.array(motion.rate_hz)})


def write_npz(path: Path, arrays: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # savez_compressed is slow
        for key, value in arrays.items():
            np.save(file := io.BytesIO(), value)
            archive.writestr(f"{key}.npy", file.getvalue())


RECORDING, MODEL, REGRESSOR = "CMU/07/07_01_poses.npz", "smplh/female/model.npz", amass.REGRESSOR


def amass_content() -> dict[str, Any]:
    made = crouch()
    return {"poses": made.poses, "trans": made.trans, "betas": made.betas, "dmpls": np.ones((len(made.poses), 8)),
            "mocap_framerate": np.array(made.rate_hz), "gender": np.array(made.gender)}  # fmt: skip


@cache
def standin() -> dict[str, np.ndarray]:
    return {key: value for key, value in standin_model("female").items() if not key.startswith(("f", "hands", "note"))}


def write_body(folder: Path, content: dict[str, Any]) -> None:
    write_npz(folder / MODEL, content.get("model") or {"none": 0})
    if "regressor" in content:
        np.save(folder / REGRESSOR, content["regressor"])
    write_npz(folder / RECORDING, amass_content())


def human36m_data(both: human36m.Human36M) -> dict[str, np.ndarray]:
    data = {}
    for part in (both.train, both.test):
        frames = len(part.source)
        assert part.joint_2d.shape == (frames, 17, 2) and part.joint3d_image.shape == (frames, 17, 3)
        assert part.joint_2d.dtype == part.joint3d_image.dtype == part.confidence.dtype == np.float32
        assert part.confidence.shape == (frames, 17) and set(part.camera) <= set(human36m.CAMERA_SIZES)
        data |= {f"{part.split} {name}": getattr(part, name) for name in ("joint_2d", "joint3d_image", "confidence")}
    return finite(data)


def human36m_valid() -> dict[str, Any]:
    content = human36m_content()
    bend_knees(content["train"], +1)
    return content


def mpi_data(both: mpi_inf_3dhp.MpiInf3dhp) -> dict[str, np.ndarray]:
    data = {}
    for take in (*both.train, *both.test):
        assert take.joints_px.shape == (len(take.valid), 17, 2) and take.joints_mm.shape == (len(take.valid), 17, 3)
        assert take.joints_px.dtype == take.joints_mm.dtype == np.float32 and take.valid.dtype == bool
        where = f"{take.sequence} {take.camera}"
        data |= {f"{where} px": take.joints_px, f"{where} mm": take.joints_mm, f"{where} valid": take.valid}
    return finite(data)


def babel_data(labels: Any) -> dict[str, np.ndarray]:
    assert tuple(labels.columns) == babel.COLUMNS and (labels["stop_s"] > labels["start_s"]).all()
    assert labels.empty or labels["babel_sid"].dtype == np.int64, "sequence numbers are no int64"
    for key in ("feat_p", "raw_label", "proc_label"):
        assert all(text.encode() for text in labels[key]), f"an empty {key}"
    return finite({key: labels[key].to_numpy(float) for key in ("start_s", "stop_s")})


def write_checkpoint(folder: Path, content: Any) -> None:
    def tensors(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tensors(item) for key, item in value.items()}
        return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) and value.dtype.kind in "fiuc" else value

    torch.save(tensors(content), folder / "latest_epoch.bin")


def checkpoint_content() -> dict[str, Any]:
    content = as_released("dstformer_fused")
    return content | {"model_pos": {key: value.numpy().copy() for key, value in content["model_pos"].items()}}


def checkpoint_data(encoder: Any) -> dict[str, np.ndarray]:
    assert all(tensor.dtype == torch.float32 for tensor in encoder.state_dict().values())
    return finite({key: tensor.numpy() for key, tensor in encoder.state_dict().items()})


@cache
def models(folder: Path) -> Path:
    write_standin_body(folder)
    return folder


def swap_rows(content: Any, rng: mutated.Rng) -> str:
    rows = (
        [(1, 2, 3, 4, 5, 6), (4, 5, 6, 1, 2, 3)]
        if rng.integers(2)
        else [(11, 12, 13, 14, 15, 16), (14, 15, 16, 11, 12, 13)]
    )
    content["regressor"][list(rows[0])] = content["regressor"][list(rows[1])]
    return "regressor"


def mirror_body(content: Any, rng: mutated.Rng) -> str:
    content["model"]["v_template"] = content["model"]["v_template"] * [-1, 1, 1]
    return "v_template"


FLIPPED, MIRRORED = lambda x: x[:, list(FLIP)], lambda x: x * np.float32([-1, 1, 1][: x.shape[-1]])
CONFIG = numbers("dstformer_fused")["cfg"]
READERS = {
    "amass": Reader(
        (RECORDING,), amass_content, lambda folder, content: write_npz(folder / RECORDING, content),
        lambda folder: amass.read(folder / RECORDING, models(folder.parent / "models")), motion_data,
        ARRAYS, "poses.npy", told=lambda motion: motion.artefacts,
    ),
    "body": Reader(
        (MODEL, REGRESSOR), lambda: {"model": dict(standin()), "regressor": standin_regressor()}, write_body,
        lambda folder: amass.read(folder / RECORDING, folder), motion_data,
        ARRAYS | {"sides swapped": swap_rows, "mirrored": mirror_body}, "weights.npy",
        told=lambda motion: motion.artefacts,
    ),
    "babel": Reader(
        ("train.json", "extra_val.json", "test.json"), lambda: json.loads(json.dumps(test_babel.FILES)),
        lambda folder, content: [
            (folder / f"{name}.json").write_bytes(value if isinstance(value, bytes) else
                                                  (value if isinstance(value, str) else json.dumps(value)).encode())
            for name, value in content.items()], babel.read, babel_data, JSON, binary=False,
    ),
    "human36m": Reader(
        (human36m.FILE_NAME,), human36m_valid,
        lambda folder, content: write_human36m(content, folder / human36m.FILE_NAME),
        human36m.read, human36m_data,
        ARRAYS | {"sides swapped": partial(mirror, how=FLIPPED, keys=("joint_2d", "joint3d_image")),
                  "mirrored": partial(mirror, how=MIRRORED, keys=("joint_2d", "joint3d_image"))},
    ),
    "mpi_inf_3dhp": Reader(
        (mpi_inf_3dhp.TRAIN_FILE, mpi_inf_3dhp.TEST_FILE),
        lambda: dict(zip(("train", "test"), mpi_inf_3dhp_content(), strict=True)),
        lambda folder, content: write_mpi_inf_3dhp(content.get("train", {}), content.get("test", {}), folder),
        mpi_inf_3dhp.read, mpi_data,
        ARRAYS | {"sides swapped": partial(mirror, how=lambda x: x[:, list(MPI_FLIP)], keys=("data_2d", "data_3d")),
                  "mirrored": partial(mirror, how=MIRRORED, keys=("data_2d", "data_3d"))}, "data.npy",
    ),
    "cmu": Reader(
        ("07.asf", "07_01.amc"), lambda: {"asf": asf_text(), "amc": amc_text(moving(12))},
        lambda folder, content: [(folder / name).write_text(content[name[-3:]], encoding="latin-1")
                                 for name in ("07.asf", "07_01.amc")],
        lambda folder: cmu.read(folder / "07_01.amc", rate_hz=120), motion_data, TEXT, binary=False,
        told=lambda motion: motion.artefacts,
    ),
    "checkpoint": Reader(
        ("latest_epoch.bin",), checkpoint_content, write_checkpoint,
        lambda folder: load_checkpoint(folder / "latest_epoch.bin", CONFIG), checkpoint_data,
        ARRAYS | TENSORS, "latest_epoch/data/0",
    ),
}  # fmt: skip


# ---- a case, and what must hold -------------------------------------------------------------------------------------


@cache
def valid(name: str, folder: Path) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """The undamaged files, and what their reader makes of them."""
    reader, place = READERS[name], folder / "valid"
    place.mkdir()
    reader.write(place, reader.content())
    data = reader.data(reader.read(place))
    return {file.relative_to(place).as_posix(): file.read_bytes() for file in place.rglob("*") if file.is_file()}, data


def make(name: str, number: int, folder: Path) -> tuple[str, str]:
    """Write the case's files; its kind and the place of the damage."""
    reader, rng = READERS[name], np.random.default_rng([zlib.crc32(name.encode()), number])
    kind = reader.kinds[number % len(reader.kinds)]
    if kind in reader.changes:
        content = reader.content()
        place = reader.changes[kind](content, rng)
        reader.write(folder, content)
        return kind, place
    for file, data in valid(name, folder.parent)[0].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    among = reader.files if kind in mutated.BYTES or not reader.zipped else reader.zipped
    file = among[int(rng.integers(len(among)))]
    path, place = folder / file, file
    data = path.read_bytes()
    traps, odd = mutated.hostile(folder.parent / "marker"), mutated.pickles(rng)
    trap = traps[int(rng.integers(len(traps)))]
    if kind in mutated.BYTES:
        data = mutated.BYTES[kind](data, rng)
    elif kind == "bit of a member":
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
        place = str(rng.choice([member for member in sizes if sizes[member]]))
        data = mutated.flipped_member(data, rng, place)
    elif kind == "wrong header":
        header = mutated.HEADERS[number // len(reader.kinds) % len(mutated.HEADERS)]  # each in turn
        data = mutated.with_member(data, reader.member, header)
    elif kind == "bomb":
        data = mutated.with_bomb(data, reader.member)
    elif kind == "hostile file":
        place, data = str(trap.function), pickle.dumps({"train": [trap]}, int(rng.integers(5)))
    elif kind == "hostile":
        place, data = str(trap.function), in_place(data, name, reader, pickle.dumps(trap, 2))
    else:
        place = str(rng.choice([*odd]))
        data = in_place(data, name, reader, odd[place])
    path.write_bytes(data)
    return kind, place


def in_place(data: bytes, name: str, reader: Reader, pickled: bytes) -> bytes:
    """The file with a pickle where the format has one."""
    if not reader.zipped:
        return pickled
    if name == "checkpoint":
        return mutated.with_member(data, "latest_epoch/data.pkl", pickled)
    return mutated.with_member(data, reader.member, mutated.npy("()", "|O", pickled))


def problem_of(name: str, kind: str, place: str, folder: Path) -> str | None:
    """What is wrong with how the reader takes the files in ``folder``."""
    reader, started = READERS[name], time.monotonic()
    _, expected = valid(name, folder.parent)
    try:
        with mutated.bounded():
            result = reader.read(folder)
    except (ValueError, FileNotFoundError) as error:
        names = [file.split("/")[-1] for file in (*reader.files, RECORDING if name == "body" else reader.files[0])]
        return None if any(part in str(error) for part in names) else escaped(error, "names no file")
    except (Exception, mutated.TooLong) as error:
        return escaped(error, "escaped")
    finally:
        if marker := list(folder.parent.glob("marker*")):
            raise AssertionError(f"{name}: {kind} {place} was RUN: {marker}")
    if time.monotonic() - started > 10:
        return "took more than 10 s"
    try:
        data = reader.data(result)
    except (AssertionError, ValueError) as error:
        return f"not well-formed: {str(error).splitlines()[0]}"
    if kind in ("whole numbers", "key more") or reader.told(result):
        return None
    damaged = kind in mutated.BYTES and not kind.startswith(("cut off", "empty"))
    if damaged and not place.endswith((".npz", ".bin")):
        return None  # no checksum: another value is another value
    same = data.keys() == expected.keys() and all(np.array_equal(data[key], expected[key]) for key in data)
    if damaged or kind == "bit of a member":
        return None if same else "read as other data"
    reasons = [why for who, what, where, why in ACCEPTED if who == name and what in kind and re.search(where, place)]
    return None if reasons else f"accepted in silence, {'same' if same else 'other'} data"


def escaped(error: BaseException, what: str) -> str:
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/langpose/" in frame.filename]
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    text = f"{type(error).__name__} {what} at {where} ({Path(last.filename).name}:{last.lineno}): {str(error)[:160]}"
    return " ".join(text.split())


def campaign(name: str, numbers_of: range, folder: Path) -> None:
    found = []
    for number in numbers_of:
        case = folder / str(number)
        case.mkdir()
        kind, place = make(name, number, case)
        if problem := problem_of(name, kind, place, case):
            found.append(f"{name} #{number} ({kind}: {place}): {problem}")
        shutil.rmtree(case)
    assert not found, f"{len(found)} of {len(numbers_of)} cases:\n" + "\n".join(found)


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_refused_by_name_or_read_as_sound_data(name, tmp_path):
    campaign(name, range(40), tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("name", READERS)
def test_mutated_files_in_full(name, tmp_path):
    campaign(name, range(340), tmp_path)


def test_the_traps_are_real(tmp_path):
    for number, trap in enumerate(mutated.hostile(tmp_path / "marker")):
        try:
            kept = pickle.loads(pickle.dumps(trap))
            getattr(kept, "close", lambda: None)()
        finally:
            made = list(tmp_path.glob("marker*"))
        assert made, f"trap {number}, {trap.function}, does nothing"
        for path in made:
            path.rmdir() if path.is_dir() else path.unlink()
