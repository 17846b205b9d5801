"""Small ASF and AMC files for the tests of CMU's readers: a body of round numbers, and motions for it."""

from pathlib import Path

import numpy as np

from langpose.sources import cmu_index

LEFT_BONES = {  # name: (direction, length, axis in degrees, dofs, parent); the right side is its mirror image
    "lhipjoint": ((0.6, -0.8, 0.0), 2.0, (0, 0, 0), "", "root"),
    "lfemur": ((0.0, -1.0, 0.0), 7.0, (0, 0, 20), "rx ry rz", "lhipjoint"),
    "ltibia": ((0.0, -1.0, 0.0), 7.5, (0, 0, 20), "rx", "lfemur"),
    "lclavicle": ((0.8, 0.6, 0.0), 3.0, (0, 0, 0), "ry rz", "thorax"),
    "lhumerus": ((1.0, 0.0, 0.0), 5.0, (180, 30, 90), "rx ry rz", "lclavicle"),
    "lradius": ((1.0, 0.0, 0.0), 3.0, (180, 30, 90), "rx", "lhumerus"),
    "lwrist": ((1.0, 0.0, 0.0), 1.5, (180, 30, 90), "ry", "lradius"),
}
MIDDLE_BONES = {
    "lowerback": ((0.0, 1.0, 0.0), 2.0, (0, 0, 0), "rx ry rz", "root"),
    "upperback": ((0.0, 1.0, 0.0), 2.0, (0, 0, 0), "rx ry rz", "lowerback"),
    "thorax": ((0.0, 1.0, 0.0), 2.0, (0, 0, 0), "rx ry rz", "upperback"),
    "lowerneck": ((0.0, 1.0, 0.0), 1.5, (0, 0, 0), "rx ry rz", "thorax"),
    "upperneck": ((0.0, 1.0, 0.0), 1.5, (0, 0, 0), "rx ry rz", "lowerneck"),
    "head": ((0.0, 1.0, 0.0), 1.5, (0, 0, 0), "rx ry rz", "upperneck"),
}


def _mirrored(bone: tuple) -> tuple:
    (x, y, z), length, (ax, ay, az), dofs, parent = bone
    return (-x, y, z), length, (ax, -ay, -az), dofs, "r" + parent[1:] if parent.startswith("l") else parent


BONES = MIDDLE_BONES | LEFT_BONES | {"r" + name[1:]: _mirrored(bone) for name, bone in LEFT_BONES.items()}
DOFS = {"root": ["tx", "ty", "tz", "rx", "ry", "rz"]} | {n: b[3].split() for n, b in BONES.items() if b[3]}


def asf_text(bones: dict[str, tuple] = BONES, length: str = "0.45", angle: str = "deg", order: str = "XYZ") -> str:
    lines = [":version 1.10", ":name VICON", ":units", "  mass 1.0", f"  length {length}", f"  angle {angle}"]
    lines += [
        ":root",
        "   order TX TY TZ RX RY RZ",
        "   axis XYZ",
        "   position 0 0 0",
        "   orientation 0 0 0",
        ":bonedata",
    ]
    for i, (name, (direction, size, axis, dofs, _)) in enumerate(bones.items(), 1):
        lines += ["  begin", f"     id {i}", f"     name {name}", "     direction " + " ".join(map(str, direction))]
        lines += [f"     length {size}", "     axis " + " ".join(map(str, axis)) + f"   {order}"]
        lines += [f"    dof {dofs}", "    limits (-160.0 20.0)", "           (-70.0 70.0)"] if dofs else []
        lines += ["  end"]
    lines += [":hierarchy", "  begin"] + [f"    {bone[4]} {name}" for name, bone in bones.items()] + ["  end"]
    return "\n".join(lines) + "\n"


def amc_text(frames: list[dict[str, list[float]]], first: int = 1) -> str:
    """Frames of values by bone; what is not given is 0."""
    lines = ["#!OML:ASF F:\\VICON\\test.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, frame in enumerate(frames, first):
        lines.append(str(number))
        lines += [
            f"{name} " + " ".join(f"{v:.12g}" for v in frame.get(name, [0.0] * len(d))) for name, d in DOFS.items()
        ]
    return "\n".join(lines) + "\n"


def moving(frames: int, seed: int = 0) -> list[dict[str, list[float]]]:
    """A smooth random motion, upright, knees bent forward."""
    rng = np.random.default_rng([seed, frames])
    phase = {name: rng.uniform(0, 6, len(dofs)) for name, dofs in DOFS.items()}
    motion = []
    for t in range(frames):
        frame = {name: list(15 * np.sin(0.1 * t + p)) for name, p in phase.items()}
        frame["root"] = [0.1 * t, 16 + 0.1 * np.sin(t / 9), 0.2 * t, 5 * np.sin(t / 7), 40 + t, 3.0]
        for side in "lr":
            frame[f"{side}femur"][0], frame[f"{side}tibia"][0] = -25.0, 40.0 + 5 * np.sin(t / 5)
        motion.append(frame)
    return motion


def write_archive(folder: Path, trials: dict[str, tuple[str, float, list[dict[str, list[float]]]]]) -> Path:
    """A folder as `cmu_archive.fetch` leaves it: ``trials`` maps "02_01" to description, rate in Hz and frames."""
    for name, (_, _, frames) in trials.items():
        place = folder / "subjects" / name.split("_")[0]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{place.name}.asf").write_text(asf_text())
        (place / f"{name}.amc").write_text(amc_text(frames))
    entries = {name: cmu_index.Entry(text, rate_hz) for name, (text, rate_hz, _) in trials.items()}
    cmu_index.write(folder / "index.csv", entries)
    (folder / "frame_labels").mkdir()
    return folder
