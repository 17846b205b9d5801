"""SMPL-H parameters to the 17 Human3.6M joints, exactly, without ever making the mesh.

A regressed joint is linear in the vertices, and a skinned vertex is linear in its unposed position, so

    J_j = sum_v R_jv sum_k W_vk G_k [x_v; 1],     x_v = template_v + shape_v . betas + soft_v . dmpls + pose_v . phi

    = sum_k  G_k [a_jk; w_jk],    a_jk = sum_v R_jv W_vk x_v,   w_jk = sum_v R_jv W_vk

with R (17, V) the joint regressor, W (V, 52) the skin weights, G_k the rigid transform of bone k, and phi (459,) the
pose feature: the 51 rotation matrices below the root, minus identity. The sums over v are done once, in float64,
when the model is loaded; a frame then costs a few small products instead of 6890 vertices.

Source of the model: SMPL (Loper et al. 2015) and SMPL+H (Romero et al. 2017); result equal to the `smplx` library's
(`smplx_joints`, the slow route) followed by the regressor. World frame and units are those of the parameters: for
AMASS metres, z up. No deviation from the model: only exact zeros are skipped.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langpose.sources.plain_arrays import read_npy, read_npz

NUM_VERTICES = 6890
NUM_BONES = 52
POSE_SIZE = 3 * NUM_BONES
_MODEL_SHAPES: dict[str, tuple[int | None, ...]] = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, None),
    "posedirs": (NUM_VERTICES, 3, 9 * (NUM_BONES - 1)),
    "J_regressor": (NUM_BONES, NUM_VERTICES),
    "kintree_table": (2, NUM_BONES),
    "weights": (NUM_VERTICES, NUM_BONES),
}
_CHUNK = 512  # frames at a time: the working set (about 3 MB) stays in a core's cache
_DEVICE_CHUNK = 32768  # on a GPU: enough to fill it, about 200 MB
_PAIRS = (("hip", 1, 4), ("knee", 2, 5), ("ankle", 3, 6), ("shoulder", 14, 11), ("elbow", 15, 12), ("wrist", 16, 13))

PathLike = str | os.PathLike[str]


def read_model(path: PathLike) -> dict[str, np.ndarray]:
    """Arrays of an SMPL-H ``model.npz``, checked: shapes, finite values, a tree whose parents come first.

    Returns the keys of smplx (``v_template``, ``shapedirs``, ``posedirs``, ``J_regressor``, ``weights`` in the
    stored precision) and ``parents`` (52,) with -1 for the root. Raises FileNotFoundError or ValueError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no SMPL-H body model at {path}; download the extended SMPL+H model (AMASS page of mano.is.tue.mpg.de) "
            "and place it as smplh/{male,female,neutral}/model.npz"
        )
    arrays = _read_npz(path, list(_MODEL_SHAPES), "an SMPL-H model")
    for key, shape in _MODEL_SHAPES.items():
        found = arrays[key].shape
        if len(found) != len(shape) or any(s not in (None, a) for a, s in zip(found, shape, strict=True)):
            wanted = ", ".join("any" if s is None else str(s) for s in shape)
            raise ValueError(f"{path}: '{key}' is {found}, an SMPL-H model has ({wanted})")
        if not np.isfinite(arrays[key]).all():
            raise ValueError(f"{path}: '{key}' holds NaN or infinite values; download the model again")
    for key in ("J_regressor", "weights"):
        sums = arrays[key].sum(1, dtype=np.float64)
        if not np.abs(sums - 1).max() < 1e-3:
            raise ValueError(
                f"{path}: rows of '{key}' sum to 1 in an SMPL-H model, these to {sums.min():.4g}..{sums.max():.4g}"
            )
    parents = arrays["kintree_table"][0].astype(np.int64)
    if (parents != arrays["kintree_table"][0]).any():
        raise ValueError(f"{path}: 'kintree_table' holds fractions; expected the numbers of bones")
    parents[0] = -1  # files hold 2**32 - 1
    if any(not 0 <= parent < bone for bone, parent in enumerate(parents) if bone):
        raise ValueError(f"{path}: 'kintree_table' is not a tree whose parents come first: {parents.tolist()}")
    arrays["parents"] = parents
    return arrays


def read_regressor(path: PathLike) -> np.ndarray:
    """``J_regressor_h36m_correct.npy`` (Pose2Mesh) as (17, 6890) float64; rows must be finite and sum to 1."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no Human3.6M joint regressor at {path}; it is Pose2Mesh's J_regressor_h36m_correct.npy (17, 6890)"
        )
    regressor = read_npy(path, "get the file again")
    if regressor.dtype.kind not in "fiu":
        raise ValueError(f"{path}: holds {regressor.dtype}, expected numbers")
    regressor = regressor.astype(np.float64)
    if regressor.shape != (17, NUM_VERTICES):
        raise ValueError(f"{path}: is {regressor.shape}, expected (17, {NUM_VERTICES}): joints x SMPL vertices")
    sums = regressor.sum(1)
    if not np.abs(sums - 1).max() < 1e-3:
        raise ValueError(
            f"{path}: rows of a joint regressor sum to 1, these to {sums.min():.4f}..{sums.max():.4f}; "
            "it is not J_regressor_h36m_correct.npy"
        )
    return regressor


def check_left_right(joints: np.ndarray, where: str) -> None:
    """Raise ValueError unless a rest pose (17, 3) (y up, facing +z) has its left joints on +x and stands upright.

    A regressor whose leg rows are exchanged is in circulation, as are others in another joint order.
    """
    swapped = [name for name, right, left in _PAIRS if not joints[left, 0] > joints[right, 0]]
    if swapped:
        raise ValueError(
            f"{where}: left and right are swapped for {', '.join(swapped)}: on the body's rest pose the left joints "
            "must lie on +x (Human3.6M order: right leg 1-3, left leg 4-6, left arm 11-13, right arm 14-16). "
            "A J_regressor_h36m_correct.npy with exchanged rows is in circulation; use the one MotionBERT used"
        )
    upwards = (3, 2, 1, 8, 10)  # right ankle, knee, hip, thorax, head top
    if not (np.diff(joints[list(upwards), 1]) > 0).all():
        raise ValueError(
            f"{where}: ankle, knee, hip, thorax and head lie at heights {np.round(joints[list(upwards), 1], 3)} m on "
            "the rest pose, not one above the other: the rows are not in Human3.6M-17 order"
        )


@dataclass(frozen=True)
class ReducedBody:
    """A body model folded onto 17 joints. Build with `load`; call with parameters.

    Units are metres. Only the N (bone, joint) pairs that carry weight are kept, only the K bones that they (or the
    pose features, or their descendants) need, and only the pose features that are not zero for every pair.
    """

    bones: np.ndarray  # (K,) SMPL-H bone numbers that are computed, parents first
    parents: np.ndarray  # (K,) position in `bones` of each one's parent, -1 for the root
    features: np.ndarray  # (E,) kept pose features: position in the (K, 9) rotations, flattened
    pair_bone: np.ndarray  # (N,) position in `bones`, ascending
    pair_joint: np.ndarray  # (N,) Human3.6M joint
    pair_weight: np.ndarray  # (N,) w_jk
    pair_template: np.ndarray  # (N, 3) a_jk of the template
    pair_shape: np.ndarray  # (N, 3, num_betas) a_jk of each shape direction
    pair_pose: np.ndarray  # (N, 3, E) a_jk of each kept pose feature, float32
    pair_soft: np.ndarray  # (N, 3, S) a_jk of each soft-tissue direction; S = 0 without a DMPL file
    rest_template: np.ndarray  # (K, 3) rest place of each kept bone's joint
    rest_shape: np.ndarray  # (K, 3, num_betas)
    rest_soft: np.ndarray  # (K, 3, S)
    row_sums: np.ndarray  # (17,) of the regressor: 1, but for rounding

    @classmethod
    def load(
        cls, model_npz: PathLike, regressor_npy: PathLike, num_betas: int = 16, dmpl_npz: PathLike | None = None
    ) -> "ReducedBody":
        """Fold the model at ``model_npz`` with the regressor at ``regressor_npy``.

        ``num_betas`` shape coefficients are used (AMASS gives 16). ``dmpl_npz`` is the optional soft-tissue model
        (key ``eigvec`` (6890, 3, >= 8), as human_body_prior reads it; MotionBERT used it): without it, ``dmpls``
        are ignored. Raises FileNotFoundError, or ValueError for a file that is not what it should be, among them a
        regressor whose left and right are exchanged.
        """
        model = read_model(model_npz)
        if model["shapedirs"].shape[2] < num_betas:
            raise ValueError(
                f"{model_npz}: has {model['shapedirs'].shape[2]} shape directions, {num_betas} are needed; AMASS's "
                "betas belong to the extended SMPL+H model (16 directions)"
            )
        model["shapedirs"] = model["shapedirs"][:, :, :num_betas]
        soft = _read_soft(dmpl_npz) if dmpl_npz is not None else np.zeros((NUM_VERTICES, 3, 0))
        regressor = read_regressor(regressor_npy)
        check_left_right(regressor @ model["v_template"], str(regressor_npy))
        return cls.fold(model, regressor, soft)

    @classmethod
    def fold(cls, model: dict[str, np.ndarray], regressor: np.ndarray, soft: np.ndarray) -> "ReducedBody":
        """Fold arrays as `read_model` returns them, ``regressor`` (17, V), ``soft`` (V, 3, S); all exact in float64."""
        vertices = np.flatnonzero((regressor != 0).any(0))
        rows = regressor[:, vertices]
        weights = model["weights"][vertices].astype(np.float64)
        joint, bone = np.nonzero((np.abs(rows) @ np.abs(weights)) > 0)
        order = np.lexsort((joint, bone))
        joint, bone = joint[order], bone[order]
        mass = rows[joint] * weights[:, bone].T  # (N, vertices): R_jv W_vk

        pose = np.tensordot(mass, model["posedirs"][vertices].astype(np.float64), 1)
        features = np.flatnonzero((pose != 0).any((0, 1)))
        parents = model["parents"]
        bones = _with_ancestors({*bone.tolist(), *(features // 9 + 1).tolist()}, parents)
        place = np.full(NUM_BONES, -1)
        place[bones] = np.arange(len(bones))

        joint_rows = model["J_regressor"][bones].astype(np.float64)
        return cls(
            bones=bones,
            parents=np.where(bones == 0, -1, place[parents[bones]]),
            features=9 * place[features // 9 + 1] + features % 9,
            pair_bone=place[bone],
            pair_joint=joint,
            pair_weight=mass.sum(1),
            pair_template=mass @ model["v_template"][vertices].astype(np.float64),
            pair_shape=np.tensordot(mass, model["shapedirs"][vertices].astype(np.float64), 1),
            pair_pose=pose[:, :, features].astype(np.float32),
            pair_soft=np.tensordot(mass, soft[vertices].astype(np.float64), 1),
            rest_template=joint_rows @ model["v_template"].astype(np.float64),
            rest_shape=np.tensordot(joint_rows, model["shapedirs"].astype(np.float64), 1),
            rest_soft=np.tensordot(joint_rows, soft.astype(np.float64), 1),
            row_sums=regressor.sum(1),
        )

    @property
    def num_betas(self) -> int:
        """How many shape coefficients are used."""
        return self.pair_shape.shape[2]

    def __call__(
        self,
        poses: np.ndarray,
        trans: np.ndarray,
        betas: np.ndarray,
        dmpls: np.ndarray | None = None,
        device: str | None = None,
    ) -> np.ndarray:
        """Joints (F, 17, 3) float32, metres, in the frame of ``trans``, Human3.6M-17 order.

        ``poses`` (F, 156) axis-angle radians, ``trans`` (F, 3) metres, ``betas`` (B,) one body for all frames (fewer
        than `num_betas` are padded with zeros, further ones dropped), ``dmpls`` (F, 8) used only where a soft-tissue
        model was loaded. Any float type, memory-mapped or not; frames are streamed, so memory beyond the result does
        not grow with F. ``device`` ("cuda", "cuda:1", ...) computes with torch there, otherwise numpy does. Raises
        ValueError for wrong shapes or values that are not finite.
        """
        frames = len(poses)
        if poses.ndim != 2 or poses.shape[1] != POSE_SIZE:
            raise ValueError(f"poses is {poses.shape}, SMPL-H needs (frames, {POSE_SIZE}): 52 rotations, axis-angle")
        if trans.shape != (frames, 3):
            raise ValueError(f"trans is {trans.shape}, expected ({frames}, 3) for these poses")
        if np.ndim(betas) != 1 or not np.isfinite(betas).all():
            raise ValueError(f"betas is {np.shape(betas)}, expected one finite vector for the whole sequence")
        soft = dmpls if self.pair_soft.shape[2] else None
        if soft is not None and (soft.ndim != 2 or len(soft) != frames):
            raise ValueError(f"dmpls is {soft.shape}, expected ({frames}, 8) for these poses")

        coefficients = np.zeros(self.num_betas)
        coefficients[: len(betas)] = betas[: self.num_betas]
        rest = self.rest_template + self.rest_shape @ coefficients  # (K, 3)
        points = self.pair_template + self.pair_shape @ coefficients  # (N, 3)
        joints = np.empty((frames, 17, 3), np.float32)
        model = _Folded(self, device)
        chunk = _CHUNK if device is None else _DEVICE_CHUNK
        for start in range(0, frames, chunk):
            window = slice(start, min(start + chunk, frames))
            scores = None if soft is None else soft[window]
            joints[window] = model.joints(poses[window], trans[window], rest, points, scores)
        bad = ~np.isfinite(joints).all((1, 2))
        if bad.any():
            raise ValueError(f"poses, trans or dmpls hold NaN or infinite values, first at frame {int(bad.argmax())}")
        return joints


class _Folded:
    """A `ReducedBody`'s arrays where they are computed on, and ``xp``, the library that does it: numpy, or torch."""

    def __init__(self, body: ReducedBody, device: str | None) -> None:
        self.xp: Any = np
        self.device = device
        if device is not None:
            import torch

            self.xp = torch
        self.parents, self.pairs = body.parents, list(zip(body.pair_bone, body.pair_joint, strict=True))
        self.bones, self.features, self.pair_bone = (
            self._array(index, self.xp.int64) for index in (body.bones, body.features, body.pair_bone)
        )
        self.identity = self._array(body.features % 9 % 4 == 0)[:, None]  # entries 0, 4, 8 of each matrix
        self.pose = self._array(body.pair_pose.reshape(-1, len(body.features)))
        self.weights = self._array(body.pair_weight)
        doubles = (body.pair_weight, body.pair_soft, body.rest_soft, body.row_sums)
        self.weight, self.soft, self.rest_soft, self.row_sums = (self._array(x, self.xp.float64) for x in doubles)

    def _array(self, values: Any, dtype: Any = None) -> Any:
        if self.device is not None and isinstance(values, np.ndarray) and not values.flags.writeable:
            values = values.copy()  # torch warns of what it cannot write to
        return self.xp.asarray(values, dtype=dtype or self.xp.float32, device=self.device)

    def joints(
        self, poses: np.ndarray, trans: np.ndarray, rest: np.ndarray, points: np.ndarray, soft: np.ndarray | None
    ) -> np.ndarray:
        """Joints of a few frames. Frames are the LAST axis of everything here: each step is one long vector loop."""
        xp, count, bones = self.xp, len(poses), len(self.bones)
        # (K, 3, 1 or F), (N, 3, 1 or F)
        places, arms = (self._array(x, xp.float64)[..., None] for x in (rest, points))
        if soft is not None:
            scores = self._array(soft[:, : self.soft.shape[2]], xp.float64).T
            places = places + self.rest_soft[:, :, : len(scores)] @ scores
            arms = arms + self.soft[:, :, : len(scores)] @ scores
        # A point turns about its bone's joint: R (a - w rest) + w place_of_the_joint.
        arms = self._array(arms - self.weight[:, None, None] * places[self.pair_bone])
        rest32 = self._array(places)

        vectors = self._array(poses).reshape(count, NUM_BONES, 3)[:, self.bones]
        turns = rotations(xp.moveaxis(vectors, 0, -1), xp)  # (K, 3, 3, F)
        if len(self.features):
            pose = turns.reshape(-1, count)[self.features]
            pose -= self.identity
            arms = arms + (self.pose @ pose).reshape(-1, 3, count)

        places = xp.zeros((bones, 3, count), dtype=xp.float32, device=self.device)
        for bone, parent in enumerate(self.parents):
            if parent < 0:
                places[bone] = rest32[bone]
            else:
                places[bone] = places[parent] + _apply(turns[parent], rest32[bone] - rest32[parent])
                turns[bone] = _apply(turns[parent][:, :, None], turns[bone])

        joints = xp.zeros((17, 3, count), dtype=xp.float64, device=self.device)
        for pair, (bone, joint) in enumerate(self.pairs):
            joints[joint] += _apply(turns[bone], arms[pair]) + self.weights[pair] * places[bone]
        joints += self.row_sums[:, None, None] * self._array(trans, xp.float64).T
        found = xp.moveaxis(joints, -1, 0)
        return found if self.device is None else found.cpu().numpy()


def rotations(vectors: Any, xp: Any = np) -> Any:
    """Rodrigues' formula with frames last: axis-angle (K, 3, F) to matrices (K, 3, 3, F), stable at angle 0.

    ``xp`` is the library of ``vectors``, numpy or torch.
    """
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    half = xp.clip(xp.sqrt(x * x + y * y + z * z) / 2, 1e-12, None)
    sinc = xp.sin(half) / half
    c = sinc * sinc / 2  # (1 - cos angle) / angle^2
    s = sinc * xp.cos(half)  # sin angle / angle
    cx, cy, cz = c * x, c * y, c * z
    sx, sy, sz = s * x, s * y, s * z
    xx, yy, zz = cx * x, cy * y, cz * z
    xy, xz, yz = cx * y, cx * z, cy * z
    rows = ((1 - yy - zz, xy - sz, xz + sy), (xy + sz, 1 - xx - zz, yz - sx), (xz - sy, yz + sx, 1 - xx - yy))
    return xp.stack([xp.stack(row, 1) for row in rows], 1)


def _apply(turn: Any, vector: Any) -> Any:
    """(3, 3, F) times (3, F or 1) -> (3, F); with ``turn[:, :, None]``, times (3, 3, F) -> (3, 3, F)."""
    return turn[:, 0] * vector[0] + turn[:, 1] * vector[1] + turn[:, 2] * vector[2]


def _with_ancestors(bones: set[int], parents: np.ndarray) -> np.ndarray:
    needed = {0}
    for bone in bones:
        while bone > 0 and bone not in needed:
            needed.add(bone)
            bone = int(parents[bone])
    return np.array(sorted(needed))


def _read_npz(path: PathLike, keys: list[str], what: str) -> dict[str, np.ndarray]:
    """The named arrays of numbers of an npz file; ValueError naming the file and what is wrong with it."""
    arrays, names = read_npz(Path(path), keys, "download it again")
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise ValueError(f"{path}: is not {what}: {', '.join(missing)} missing; it holds {', '.join(names)}")
    for key, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{path}: '{key}' holds {array.dtype}, {what} has numbers")
    return arrays


def _read_soft(path: PathLike) -> np.ndarray:
    directions = _read_npz(path, ["eigvec"], "a DMPL model")["eigvec"]
    if directions.ndim != 3 or directions.shape[:2] != (NUM_VERTICES, 3) or directions.shape[2] < 8:
        raise ValueError(f"{path}: 'eigvec' is {directions.shape}, expected ({NUM_VERTICES}, 3, 8 or more)")
    return directions[:, :, :8]


def smplx_joints(
    model_path: PathLike,
    regressor: np.ndarray,
    poses: np.ndarray,
    trans: np.ndarray,
    betas: np.ndarray,
    batch: int = 64,
) -> np.ndarray:
    """The slow route that `ReducedBody` must equal: the smplx library's mesh, then ``regressor`` (17, 6890).

    Parameters and result as `ReducedBody.__call__`; ``batch`` frames are meshed at a time. Used by tests and
    benchmarks. smplx 0.1.28 cuts betas to 10 where a file has fewer than 300 shape directions, so directions of zero
    are appended; and it unpickles what it opens, so the arrays are read here and handed over.
    """
    import smplx
    import torch

    model = read_model(model_path)
    shape: Any = np.zeros((NUM_VERTICES, 3, 300), np.float32)
    shape[:, :, : model["shapedirs"].shape[2]] = model["shapedirs"]
    unused: dict[str, Any] = {"f": np.zeros((1, 3), np.int64)}  # smplx wants them, vertices do not depend on them
    unused |= dict.fromkeys(("hands_meanl", "hands_meanr"), np.zeros(45))
    unused |= dict.fromkeys(("hands_componentsl", "hands_componentsr"), np.zeros((45, 45)))
    struct = smplx.utils.Struct(**{**model, **unused, "shapedirs": shape})
    body = smplx.SMPLH(
        str(model_path), data_struct=struct, use_pca=False, flat_hand_mean=True, num_betas=len(betas), ext="npz"
    )
    rows = torch.from_numpy(regressor.astype(np.float32))
    parts = []
    with torch.no_grad():
        for start in range(0, len(poses), batch):
            pose = torch.from_numpy(np.asarray(poses[start : start + batch], np.float32))
            output = body(
                betas=torch.from_numpy(np.asarray(betas, np.float32))[None].expand(len(pose), -1),
                global_orient=pose[:, :3],
                body_pose=pose[:, 3:66],
                left_hand_pose=pose[:, 66:111],
                right_hand_pose=pose[:, 111:156],
                transl=torch.from_numpy(np.asarray(trans[start : start + batch], np.float32)),
            )
            parts.append((rows @ output.vertices).numpy())
    return np.concatenate(parts) if parts else np.empty((0, 17, 3), np.float32)
