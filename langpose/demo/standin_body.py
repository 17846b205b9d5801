"""A stand-in for SMPL-H and for the Human3.6M joint regressor, made by us, in the true file formats.

The body is a set of rings of ten vertices round the bones of `anatomy`: 689 rings, 6890 vertices. One ring lies round
each of the 52 joints, so its mean IS the joint, for every shape: ``J_regressor`` gives exactly
`anatomy.rest_joints`. The other rings fill the bones in proportion to their length, and short tips close the head,
fingers and toes. Same arrays and names as the licensed files, none of their numbers; smplx loads it unchanged.

Body frame as SMPL's: metres, y up, facing +z, left on +x.
"""

from pathlib import Path

import numpy as np

from langpose.demo import anatomy
from langpose.storage import replacing

NOTE = "stand-in body made by the LangPose project; not SMPL-H"
PER_RING = 10
NUM_RINGS = 689
_BLEND = 0.3  # skin weights blend over this share of a bone at each of its ends
_POSE_M = 0.004  # size of the pose-dependent bulges: small, but a program that forgets them is off by millimetres

# Half widths of the flesh at each joint, metres: (sideways, front to back) of a ring across the bone. Ours.
_RADII_M: dict[str, tuple[float, float]] = {
    "pelvis": (0.150, 0.105), "hip": (0.085, 0.085), "spine1": (0.135, 0.105), "spine2": (0.135, 0.110),
    "spine3": (0.150, 0.115), "knee": (0.058, 0.058), "ankle": (0.038, 0.042), "foot": (0.040, 0.024),
    "neck": (0.058, 0.058), "collar": (0.060, 0.060), "head": (0.075, 0.090), "shoulder": (0.058, 0.058),
    "elbow": (0.040, 0.040), "wrist": (0.030, 0.024), "finger": (0.010, 0.010), "tip": (0.006, 0.006),
    "crown": (0.035, 0.045), "toe": (0.030, 0.014),
}  # fmt: skip

_TOES_M = (0.0, -0.008, 0.07)  # from the ball of the foot


def write_standin_body(folder: Path) -> None:
    """Write ``smplh/{female,male,neutral}/model.npz`` and ``J_regressor_h36m_correct.npy`` under ``folder``.

    Bytes are the same on every run. Takes about two seconds.
    """
    for gender in anatomy.GENDERS:
        with replacing(folder / "smplh" / gender / "model.npz") as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, **standin_model(gender))  # type: ignore[arg-type]
    with replacing(folder / "J_regressor_h36m_correct.npy") as temporary, open(temporary, "wb") as handle:
        np.save(handle, standin_regressor())


def standin_model(gender: str) -> dict[str, np.ndarray]:
    """Every array of one ``model.npz``, as smplx 0.1.28 wants them; arrays that are mostly zero are float32."""
    joints = anatomy.rest_joints(np.zeros(anatomy.NUM_BETAS), gender)
    directions = anatomy.shape_directions(gender)
    rings = _rings()
    place = rings["mix"] @ joints + rings["shift"]
    radial = _radial(rings, joints)
    girth = np.zeros((NUM_RINGS, anatomy.NUM_BETAS))
    girth[:, 1] = 0.03  # a ring that grows about its centre leaves its mean, and so the joint, where it is
    girth[:, 3] = -0.02

    vertices = place[:, None] + radial
    shape = np.einsum("rk,kcb->rcb", rings["mix"], directions)[:, None] + radial[..., None] * girth[:, None, None]
    weights = np.repeat(_weights(rings), PER_RING, axis=0)
    regressor = np.zeros((52, NUM_RINGS, PER_RING))
    regressor[np.arange(52), rings["of_joint"]] = 1 / PER_RING
    parents = np.array(anatomy.PARENTS, dtype=np.int64)
    parents[0] = 2**32 - 1  # as in the licensed files
    return {
        "v_template": vertices.reshape(-1, 3),
        "f": _faces(rings["segment"]),
        "shapedirs": shape.reshape(-1, 3, anatomy.NUM_BETAS).astype(np.float32),
        "posedirs": _pose_directions(rings, radial),
        "J_regressor": regressor.reshape(52, -1),
        "kintree_table": np.stack([parents, np.arange(52)]).astype(np.uint32),
        "weights": weights.astype(np.float32),
        "hands_componentsl": np.eye(45, dtype=np.float32),
        "hands_componentsr": np.eye(45, dtype=np.float32),
        "hands_meanl": np.zeros(45, np.float32),
        "hands_meanr": np.zeros(45, np.float32),
        "note": np.array(NOTE),
    }


def standin_regressor() -> np.ndarray:
    """(17, 6890) float64: each Human3.6M joint from 4 to 9 vertices of the rings at its anatomical place."""
    rings = _rings()
    at = {name: PER_RING * int(ring) for name, ring in zip(anatomy.NAMES, rings["of_joint"], strict=True)}
    crown = PER_RING * int(np.flatnonzero(rings["segment"] == rings["crown"])[-1])
    pentagon, quad = (0, 2, 4, 6, 8), (0, 2, 5, 7)  # both are centred: every other vertex, two opposite pairs

    rows = np.zeros((17, NUM_RINGS * PER_RING))
    for joint, name in {
        1: "right_hip", 2: "right_knee", 3: "right_ankle", 4: "left_hip", 5: "left_knee", 6: "left_ankle",
        11: "left_shoulder", 12: "left_elbow", 13: "left_wrist", 14: "right_shoulder", 15: "right_elbow",
        16: "right_wrist",
    }.items():  # fmt: skip
        rows[joint, [at[name] + i for i in pentagon]] = 1 / 5
    for joint, ends in {0: ("left_hip", "right_hip"), 7: ("spine1", "spine2")}.items():
        rows[joint, [at[end] + i for end in ends for i in quad]] = 1 / 8
    # The thorax lies a little below the neck joint, at the height of the shoulders.
    rows[8, [at["neck"] + i for i in quad]] = 0.8 / 4
    rows[8, [at["spine3"] + i for i in pentagon]] = 0.2 / 5
    # Neck / nose: only the front half of the ring round the head joint, so the joint lies towards the face.
    rows[9, [at["head"] + i for i in range(6)]] = (0.15, 0.15, 0.2, 0.2, 0.15, 0.15)
    rows[10, [crown + i for i in pentagon]] = 1 / 5
    return rows


def _radius(name: str) -> tuple[float, float]:
    part = name.split("_")[-1]
    return _RADII_M.get(part, _RADII_M["finger"])


def _rings() -> dict[str, np.ndarray]:
    """Where every ring lies, for all genders alike.

    ``mix`` (689, 52) and ``shift`` (689, 3): centre = mix @ joints + shift. ``bone`` the bone whose flesh it is,
    ``child`` the next bone (or -1), ``along`` its place from 0 to 1, ``radius`` (689, 2), ``segment`` which tube it
    belongs to, ``of_joint`` (52,) the ring round each joint, ``crown`` the number of the tube on top of the head.
    """
    joints = anatomy.rest_joints(np.zeros(anatomy.NUM_BETAS), "neutral")
    # (bone, child or -1, end point's shift from the bone's joint, end radius)
    tubes: list[tuple[int, int, np.ndarray, tuple[float, float]]] = []
    for child, parent in enumerate(anatomy.PARENTS):
        if parent >= 0:
            tubes.append((parent, child, joints[child] - joints[parent], _radius(anatomy.NAMES[child])))
    for leaf in sorted(set(range(52)) - set(anatomy.PARENTS)):
        name = anatomy.NAMES[leaf]
        if name == "head":
            crown = len(tubes)
            above_m = anatomy.sole_height(joints) + anatomy.stature_m(joints) - joints[leaf, 1]
            tubes.append((leaf, -1, np.array([0, above_m, 0]), _RADII_M["crown"]))
        elif name.endswith("foot"):
            tubes.append((leaf, -1, np.array(_TOES_M), _RADII_M["toe"]))
        else:
            last = joints[leaf] - joints[anatomy.PARENTS[leaf]]
            tubes.append((leaf, -1, 0.8 * last, _RADII_M["tip"]))

    counts = _share(np.array([np.linalg.norm(tube[2]) for tube in tubes]), NUM_RINGS - 1, at_least=3)
    mix, shift, bones, children, along, radius, segment = [], [], [], [], [], [], []
    of_joint = np.zeros(52, dtype=np.int64)

    def add(bone: int, child: int, t: float, moved: np.ndarray, tube: int, size: np.ndarray) -> None:
        row = np.zeros(52)
        row[bone] = 1 - t if child >= 0 else 1
        if child >= 0:
            row[child] += t
        mix.append(row)
        shift.append(t * moved if child < 0 else np.zeros(3))
        bones.append(bone)
        children.append(child)
        along.append(t)
        radius.append(size)
        segment.append(tube)

    add(0, -1, 0.0, np.zeros(3), 0, np.array(_radius("pelvis")))  # counted to tube 0, so that it has faces
    for tube, ((bone, child, vector, end), count) in enumerate(zip(tubes, counts, strict=True)):
        start = np.array(_radius(anatomy.NAMES[bone]))
        for step in range(1, count + 1):
            t = step / count
            if child >= 0 and step == count:
                of_joint[child] = len(mix)
            add(bone, child, t, vector, tube, (1 - t) * start + t * np.array(end))
    return {
        "mix": np.array(mix),
        "shift": np.array(shift),
        "bone": np.array(bones),
        "child": np.array(children),
        "along": np.array(along),
        "radius": np.array(radius),
        "segment": np.array(segment),
        "direction": np.array([[0, 1, 0], *(tubes[tube][2] for tube in segment[1:])]),
        "of_joint": of_joint,
        "crown": np.array(crown),
    }


def _share(lengths: np.ndarray, total: int, at_least: int) -> np.ndarray:
    """Split ``total`` rings over tubes in proportion to ``lengths``, each at least ``at_least`` (largest remainder)."""
    spare = total - at_least * len(lengths)
    exact = spare * lengths / lengths.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: spare - counts.sum()]] += 1
    return counts + at_least


def _radial(rings: dict[str, np.ndarray], joints: np.ndarray) -> np.ndarray:
    """(689, 10, 3) vertices from their ring's centre; they sum to zero. Vertex 0 is sideways, 2 or 3 towards +z."""
    axis = rings["direction"] / np.linalg.norm(rings["direction"], axis=1, keepdims=True)
    # Across the bone: the second half width is the one nearest front to back (for the feet nearest up).
    forward = np.where(np.abs(axis[:, 2:]) > 0.8, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    front = forward - (forward * axis).sum(1, keepdims=True) * axis
    front /= np.linalg.norm(front, axis=1, keepdims=True)
    side = np.cross(axis, front)
    angle = 2 * np.pi * np.arange(PER_RING) / PER_RING
    wide = np.cos(angle)[None, :, None] * (rings["radius"][:, :1] * side)[:, None]
    deep = np.sin(angle)[None, :, None] * (rings["radius"][:, 1:] * front)[:, None]
    return wide + deep


def _weights(rings: dict[str, np.ndarray]) -> np.ndarray:
    """(689, 52) skin weights: half to either bone at a joint, falling smoothly to one bone along the shaft."""

    def half(distance: np.ndarray) -> np.ndarray:
        x = np.clip(1 - distance / _BLEND, 0, 1)
        return 0.5 * x * x * (3 - 2 * x)

    weights = np.zeros((NUM_RINGS, 52))
    rows = np.arange(NUM_RINGS)
    bone, child, along = rings["bone"], rings["child"], rings["along"]
    parent = np.array(anatomy.PARENTS)[bone]
    to_child = np.where(child >= 0, half(1 - along), 0)
    to_parent = np.where(parent >= 0, half(along), 0)
    weights[rows, bone] = 1 - to_child - to_parent
    weights[rows, np.maximum(child, 0)] += to_child
    weights[rows, np.maximum(parent, 0)] += to_parent
    return weights


def _pose_directions(rings: dict[str, np.ndarray], radial: np.ndarray) -> np.ndarray:
    """(6890, 3, 459) float32: turning a bone bulges the rings near its joint; zero everywhere else."""
    rng = np.random.default_rng(20_000)  # a fixed pattern: the body is one and the same in every run
    directions = np.zeros((NUM_RINGS, PER_RING, 3, 51, 9), np.float32)
    unit = radial / np.linalg.norm(radial, axis=2, keepdims=True)
    for bone in range(1, 52):
        # Out of the joint along its own bone, and back from it along its parent's.
        ends = np.where(rings["child"] == bone, 1 - rings["along"], np.where(rings["bone"] == bone, rings["along"], 9))
        near = np.flatnonzero(ends < _BLEND)
        size = _POSE_M * (1 - ends[near] / _BLEND)
        bulge = rng.uniform(-1, 1, (PER_RING, 9))
        directions[near, :, :, bone - 1] = size[:, None, None, None] * unit[near][..., None] * bulge[:, None]
    return directions.reshape(-1, 3, 459)


def _faces(segment: np.ndarray) -> np.ndarray:
    """(N, 3) triangles between neighbouring rings of one tube."""
    lower = np.flatnonzero(segment[1:] == segment[:-1])
    i, j = np.arange(PER_RING), (np.arange(PER_RING) + 1) % PER_RING
    base = PER_RING * lower[:, None]
    triangles = [np.stack([base + i, base + j, base + PER_RING + i], -1),
                 np.stack([base + j, base + PER_RING + j, base + PER_RING + i], -1)]  # fmt: skip
    return np.concatenate(triangles).reshape(-1, 3).astype(np.uint32)
