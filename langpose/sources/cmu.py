"""CMU motion capture: a skeleton (ASF) and its motion (AMC) become Human3.6M-17 joints in the world, in metres.

Format (Acclaim, as CMU's exporter writes it): the ASF gives every bone's rest direction and length, its own axes and
its degrees of freedom; the AMC gives, frame by frame, one line of angles for every bone that can move. With C the
rotation of a bone's axes, its local rotation is ``C Rz Ry Rx C^-1`` (angles the bone lacks are 0) and its END lies at
``start + R_world direction length``. A joint of ours is the end of a bone (`JOINT_BONES`).

Units: angles in degrees; lengths in 1/0.45 inch, so ``metres = value / 0.45 * 0.0254``. CMU's world is y-up,
right-handed; ours is z-up: (x, y, z) -> (x, -z, y). The frame rate is in neither file: CMU's index has it.
"""

import functools
import math
import re
from pathlib import Path

import numpy as np

from langpose.sources import cmu_index
from langpose.sources.acclaim import LENGTH_UNIT, Skeleton, read_amc, read_asf
from langpose.sources.motion import Motion, check_motion

METRES_PER_UNIT = 0.0254 / LENGTH_UNIT

JOINT_BONES = (
    "root", "rhipjoint", "rfemur", "rtibia", "lhipjoint", "lfemur", "ltibia", "upperback", "lowerneck",
    "upperneck", "head", "lclavicle", "lhumerus", "lwrist", "rclavicle", "rhumerus", "rwrist",
)  # fmt: skip
"""The bone whose end is each Human3.6M-17 joint. CMU names bones after the part they move: the femur ends at the knee;
the end of `lwrist` is where the hand starts."""


def read(amc: str | Path, asf: str | Path | None = None, rate_hz: float | None = None) -> Motion:
    """Read one trial: joints (F, 17, 3) float32, world frame, metres, z up, Human3.6M-17 order.

    ``asf`` is ``<subject>.asf`` beside the AMC unless given. ``rate_hz`` is looked up in CMU's index (``index.csv`` in
    the archive's root) unless given. Nothing is repaired: what looks wrong (frames without data, jumps, implausible
    limbs) is listed in ``artefacts``, and `motion.bad_frames` says which frames to leave out.

    Raises ``FileNotFoundError`` for a missing file and ``ValueError`` (file and line, what was found and expected) for
    a truncated or malformed one, for numbers that are not finite, for a skeleton that is not CMU's, and where no rate
    is known.
    """
    amc = Path(amc)
    subject = amc.stem.split("_")[0]
    asf = amc.with_name(f"{subject}.asf") if asf is None else Path(asf)
    if not amc.is_file():
        raise FileNotFoundError(f"{amc}: no such motion file")
    if not asf.is_file():
        raise FileNotFoundError(f"{asf}: no skeleton for {amc.name}; place {subject}.asf beside it or pass asf=...")
    if rate_hz is None:
        rate_hz = rate_from_index(amc)
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"{amc}: rate_hz is {rate_hz!r}; expected a positive number of frames per second")
    skeleton = read_asf(asf)
    missing = [bone for bone in JOINT_BONES[1:] if bone not in skeleton.bones]
    if missing:
        raise ValueError(f"{asf}: no bone {', '.join(missing)}; is this a skeleton of CMU's archive?")
    values, artefacts = read_amc(amc, skeleton)
    joints = forward_kinematics(skeleton, values)
    artefacts += check_motion(joints, rate_hz, str(amc))
    source = f"subjects/{amc.parent.name}/{amc.name}" if amc.parent.parent.name == "subjects" else amc.name
    return Motion(joints=joints, rate_hz=float(rate_hz), subject=subject, source=source, artefacts=artefacts)


def rate_from_index(amc: Path) -> float:
    """Frame rate of a trial from CMU's index (``index.csv``, see `cmu_index`) in one of the four folders above it."""
    match = re.fullmatch(r"(\d+)_(\d+)", amc.stem)
    for folder in amc.absolute().parents[:4]:
        for index in (folder / name for name in cmu_index.INDEX_NAMES):
            if match and index.is_file():
                entry = _index(index, index.stat().st_mtime_ns).get(cmu_index.trial_name(int(match[1]), int(match[2])))
                if entry is None or entry.rate_hz is None:
                    raise ValueError(f"{amc}: {index} gives no frame rate for this trial; {_RATES}")
                return entry.rate_hz
    raise ValueError(f"{amc}: the frame rate is not in AMC files and no index.csv was found above it; {_RATES}")


_RATES = (
    "pass rate_hz=... (CMU recorded most trials at 120 Hz and some at 60), or place CMU's index "
    "(columns subject, trial, description, fps) as index.csv in the archive's root"
)


@functools.lru_cache(maxsize=4)
def _index(path: Path, changed: int) -> dict[str, cmu_index.Entry]:
    """The index, read once for as long as it does not change."""
    return cmu_index.read(path)


def forward_kinematics(skeleton: Skeleton, values: dict[str, np.ndarray]) -> np.ndarray:
    """Joints (F, 17, 3) float32, world frame, metres, z up, from channel values in the ASF's units (see `read_amc`)."""
    root = {channel: values["root"][:, column] for column, channel in enumerate(skeleton.root_channels)}
    position = np.stack([root["tx"], root["ty"], root["tz"]], axis=-1)
    rotation = _rotations(skeleton.root_order, np.stack([root["rx"], root["ry"], root["rz"]], axis=-1))
    placed = {"root": (position, rotation)}

    def place(name: str) -> tuple[np.ndarray, np.ndarray]:
        if name not in placed:
            bone = skeleton.bones[name]
            start, world = place(skeleton.parents[name])
            if bone.dofs:
                angles = np.zeros((len(start), 3))
                for column, dof in enumerate(bone.dofs):
                    angles[:, "xyz".index(dof[1])] = values[name][:, column]
                axes = _rotations(bone.axis_order, np.array([bone.axis_degrees]))[0]
                world = world @ (axes @ _rotations(bone.axis_order, angles) @ axes.T)
            placed[name] = (start + world @ (np.array(bone.direction) * bone.length), world)
        return placed[name]

    y_up = np.stack([place(name)[0] for name in JOINT_BONES], axis=1) * METRES_PER_UNIT
    return np.stack([y_up[..., 0], -y_up[..., 2], y_up[..., 1]], axis=-1).astype(np.float32)


def _rotations(order: str, degrees: np.ndarray) -> np.ndarray:
    """Rotation matrices (F, 3, 3) from angles (F, 3) about x, y, z, turned about fixed axes in ``order``.

    Order XYZ is ``Rz Ry Rx``: about x first.
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    result: np.ndarray | None = None
    for letter in order:
        axis = "XYZ".index(letter)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.zeros((len(degrees), 3, 3))
        turn[:, axis, axis] = 1
        turn[:, i, i] = turn[:, j, j] = cos[:, axis]
        turn[:, j, i] = sin[:, axis]
        turn[:, i, j] = -sin[:, axis]
        result = turn if result is None else turn @ result
    assert result is not None
    return result
