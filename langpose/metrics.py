"""Errors of 3D poses: MPJPE and its relatives, PCK and AUC. Needs numpy only; torch tensors are accepted too.

Every function takes the prediction first, then the ground truth, both (..., 17, 3) in mm, and gives numpy for numpy and
torch for torch. Nothing is aligned or root-centred for you, except by the forms whose name says so: P- (similarity) and
N- (scale). Subtract the root first where a protocol asks for it.

Sources: VideoPose3D and MotionBERT (P1, P2, N-MPJPE, velocity), MotionAGFormer (acceleration), P-STMO's Matlab scripts
(PCK, AUC of MPI-INF-3DHP). There is no loop over frames.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from langpose.skeleton import H36M_FROM_MPI, MPI_FROM_H36M, MPI_SCORED

Array = TypeVar("Array", bound=Any)  # numpy array or torch tensor

SCORED_JOINTS = {
    "mpi_inf_3dhp": MPI_SCORED,
    "human36m": tuple(MPI_FROM_H36M[joint] for joint in MPI_SCORED),
}
"""The same 14 joints in either order: PCK and AUC leave out pelvis, spine and head (P-STMO's evaluation)."""

AUC_THRESHOLDS_MM = tuple(range(0, 151, 5))
"""0, 5, ..., 150 mm: 31 thresholds, of which the first never counts (the comparison is strict)."""

HARD_ACTIONS = ("Photo", "Sitting", "SittingDown")
"""H-MPJPE (P3) of Table 1: (45.4 + 46.2 + 49.3) / 3 = 47.0, confirmed by arithmetic on the paper's rows."""


def _pair(pred: Array, gt: Array) -> tuple[Array, Array]:
    torch = sys.modules.get("torch")  # torch is looked up, never imported: whoever passes a tensor has imported it
    if torch is not None and (isinstance(pred, torch.Tensor) or isinstance(gt, torch.Tensor)):
        like = pred if isinstance(pred, torch.Tensor) else gt
        pred, gt = (torch.as_tensor(value, device=like.device) for value in (pred, gt))
        if not (pred.is_floating_point() and gt.is_floating_point()):
            pred, gt = pred.to(torch.get_default_dtype()), gt.to(torch.get_default_dtype())
    else:
        pred, gt = np.asarray(pred), np.asarray(gt)  # type: ignore[assignment]
        if pred.dtype.kind not in "f" or gt.dtype.kind not in "f":
            pred, gt = pred.astype(np.float64), gt.astype(np.float64)
    if tuple(pred.shape) != tuple(gt.shape):
        raise ValueError(
            f"prediction {tuple(pred.shape)} and ground truth {tuple(gt.shape)} have different shapes; pass equal ones"
        )
    if pred.ndim < 2 or pred.shape[-1] != 3:
        raise ValueError(f"poses have shape {tuple(pred.shape)}; expected (..., joints, 3)")
    return pred, gt


def _lengths(vectors: Array) -> Array:
    """(..., 3) -> (...): Euclidean length. Written out: numpy's sum over a short axis is 5 times slower."""
    return (vectors[..., 0] ** 2 + vectors[..., 1] ** 2 + vectors[..., 2] ** 2) ** 0.5


def mpjpe(pred: Array, gt: Array) -> Array:
    """Mean per-joint position error per frame: (..., J, 3) mm twice -> (...,) mm. P1 when both are root-relative."""
    pred, gt = _pair(pred, gt)
    return _lengths(pred - gt).mean(-1)


def similarity_aligned(pred: Array, gt: Array) -> Array:
    """``pred`` moved, turned and scaled (never mirrored) onto ``gt``, each frame for itself, least squares.

    (..., J, 3) twice -> (..., J, 3). A pose whose joints all coincide is placed at the other's centre. Source: Umeyama
    1991, who has the rotation from an SVD; see `_rotation`.
    """
    pred, gt = _pair(pred, gt)
    xp = np if isinstance(pred, np.ndarray) else sys.modules["torch"]
    finite = xp.isfinite(pred) & xp.isfinite(gt)
    if not finite.all():
        raise ValueError(f"{int((~finite).any(-1).any(-1).sum())} poses hold NaN or infinity; leave those frames out")
    # einsum, because numpy's sums over short axes are slow.
    centre = xp.einsum("...jc->...c", gt)[..., None, :] / gt.shape[-2]
    moved = pred - xp.einsum("...jc->...c", pred)[..., None, :] / pred.shape[-2]
    covariance = moved.swapaxes(-1, -2) @ (gt - centre)
    rotation, total = _rotation(covariance.reshape(-1, 3, 3), xp)
    size = xp.einsum("...jc,...jc->...", moved, moved)
    scale = total.reshape(size.shape) / (size + (size == 0))
    return scale[..., None, None] * (moved @ rotation.reshape(covariance.shape)) + centre


def _rotation(covariance: Array, xp: Any) -> tuple[Array, Array]:
    """The rotation R that makes tr(Rᵀ C) largest, and that trace λ: (N, 3, 3) -> (N, 3, 3), (N,).

    λ is the largest root of κ² = 2 λ det C + |cof C|², 2κ = λ² - |C|², which is the largest eigenvalue of Horn's matrix
    of quaternions, and R = ((κ + |C|²) C + λ cof C - C Cᵀ C) / ζ, ζ = κ λ - det C. Source: Markley 1993 (FOAM), J. of
    the Astronautical Sciences 41. With singular values s, the third one's sign that of det C, ζ is the product of
    their sums in pairs: 0 where the best rotation is not unique. Frames near that are left to the SVD. Both agree to
    1e-9 mm in float64 and 1e-3 mm in float32.
    """
    size = xp.einsum("nij,nij->n", covariance, covariance) ** 0.5
    c = covariance / (size + (size == 0))[:, None, None]  # so that |C| = 1
    cofactors = xp.linalg.cross(c[:, [1, 2, 0]], c[:, [2, 0, 1]])
    det = xp.einsum("ni,ni->n", c[:, 0], cofactors[:, 0])
    square = xp.einsum("nij,nij->n", cofactors, cofactors)
    eps = xp.finfo(c.dtype).eps
    trace = 0 * size + 3**0.5  # above every root, from where Newton's steps go down to the largest
    for _ in range(25):
        k = (trace * trace - 1) / 2
        step = (k * k - 2 * trace * det - square) / (2 * (k * trace - det)).clip(min=eps)
        trace = trace - step
        if (abs(step) < 4 * eps).all():
            break
    k = (trace * trace - 1) / 2
    unique = (k * trace - det).clip(min=eps)
    rotation = (k + 1)[:, None, None] * c + trace[:, None, None] * cofactors - c @ c.swapaxes(-1, -2) @ c
    rotation, trace = rotation / unique[:, None, None], size * trace
    doubtful = ~(unique > eps**0.2)
    if doubtful.any():
        rotation[doubtful], trace[doubtful] = _rotation_by_svd(covariance[doubtful], xp)
    return rotation, trace


def _rotation_by_svd(covariance: Array, xp: Any) -> tuple[Array, Array]:
    """As `_rotation`, of any matrix: Umeyama 1991, with the sign where the best orthogonal map is a reflection."""
    left, scales, right = xp.linalg.svd(covariance, full_matrices=False)
    mirrored = xp.linalg.det(left) * xp.linalg.det(right) < 0
    sign = 1 - 2 * (mirrored * (scales[..., 0] * 0 + 1))  # +-1 in the input's own type
    # U diag(1, 1, sign) V^T = U V^T + (sign - 1) u3 v3^T: turns the weakest axis back instead of mirroring.
    rotation = left @ right + (sign - 1)[..., None, None] * (left[..., :, 2:] @ right[..., 2:, :])
    return rotation, scales[..., 0] + scales[..., 1] + sign * scales[..., 2]


def p_mpjpe(pred: Array, gt: Array) -> Array:
    """MPJPE after the best similarity transform per frame (P2): (..., J, 3) mm twice -> (...,) mm."""
    pred, gt = _pair(pred, gt)
    return mpjpe(similarity_aligned(pred, gt), gt)


def n_mpjpe(pred: Array, gt: Array) -> Array:
    """MPJPE after the best scale per frame, nothing else: (..., J, 3) mm twice -> (...,) mm."""
    pred, gt = _pair(pred, gt)
    size = (pred**2).sum(-1).sum(-1)
    scale = (pred * gt).sum(-1).sum(-1) / (size + (size == 0))
    return mpjpe(scale[..., None, None] * pred, gt)


def _differences(pred: Array, gt: Array, order: int) -> Array:
    pred, gt = _pair(pred, gt)
    if pred.ndim < 3:
        raise ValueError(f"poses have shape {tuple(pred.shape)}; expected (..., frames, joints, 3)")
    if pred.shape[-3] <= order:
        raise ValueError(f"{pred.shape[-3]} frames are too few; this error needs at least {order + 1}")
    error = pred - gt
    for _ in range(order):
        error = error[..., 1:, :, :] - error[..., :-1, :, :]
    return _lengths(error).mean(-1)


def velocity_error(pred: Array, gt: Array) -> Array:
    """Mean per-joint velocity error (MPJVE): (..., F, J, 3) mm twice -> (..., F - 1), mm per frame step."""
    return _differences(pred, gt, 1)


def acceleration_error(pred: Array, gt: Array) -> Array:
    """Mean per-joint acceleration error: (..., F, J, 3) mm twice -> (..., F - 2), mm per squared frame step."""
    return _differences(pred, gt, 2)


def _scored_errors(pred: Array, gt: Array, skeleton: str) -> np.ndarray:
    pred, gt = _pair(pred, gt)
    if skeleton not in SCORED_JOINTS:
        raise ValueError(f"unknown skeleton {skeleton!r}; expected one of {', '.join(SCORED_JOINTS)}")
    if pred.shape[-2] != 17:
        raise ValueError(f"poses have {pred.shape[-2]} joints; PCK and AUC are defined on 17")
    errors = _lengths(pred - gt)[..., list(SCORED_JOINTS[skeleton])]
    errors = errors if isinstance(errors, np.ndarray) else errors.detach().cpu().numpy()
    if errors.size == 0:
        raise ValueError("there is no pose to score")
    if np.isnan(errors).any():
        raise ValueError("there are NaN poses; a NaN would silently count as a miss. Leave those frames out")
    return errors


def pck(pred: Array, gt: Array, threshold_mm: float = 150.0, skeleton: str = "mpi_inf_3dhp") -> float:
    """Percentage of joints nearer than ``threshold_mm`` (strictly), over all frames and the 14 scored joints.

    ``pred``, ``gt`` (..., 17, 3) mm, root-relative in the published protocol, in the joint order that ``skeleton``
    names: "mpi_inf_3dhp" (that data set's own) or "human36m". Source: P-STMO's Matlab evaluation.
    """
    return float((_scored_errors(pred, gt, skeleton) < threshold_mm).mean() * 100)


def auc(
    pred: Array, gt: Array, skeleton: str = "mpi_inf_3dhp", thresholds_mm: Sequence[float] = AUC_THRESHOLDS_MM
) -> float:
    """Mean of PCK over ``thresholds_mm`` (0, 5, ..., 150), a percentage. Arguments as in `pck`."""
    thresholds = np.sort(np.asarray(thresholds_mm, dtype=np.float64))
    errors = _scored_errors(pred, gt, skeleton)
    passed = len(thresholds) - np.searchsorted(thresholds, errors, side="right")  # thresholds strictly above the error
    return float(passed.mean() / len(thresholds) * 100)


def mpi_inf_3dhp_table(
    pred: Mapping[str, Array], gt: Mapping[str, Array], skeleton: str = "mpi_inf_3dhp"
) -> dict[str, dict[str, float]]:
    """PCK, AUC and MPJPE a test sequence and over all, as the Matlab evaluation of MPI-INF-3DHP prints them.

    ``pred``, ``gt``: sequence name ("TS1" ... "TS6") → (F, 17, 3) mm, the valid frames only, in any place: the root is
    subtracted here. Returns name → ``PCK``, ``AUC`` (%), ``MPJPE`` (mm, 17 joints), ``frames``;
    the last name is "All", in which a frame counts alike whichever sequence it is from. docs/metrics.md applies it
    to the files of P-STMO and MotionAGFormer. Raises ``ValueError`` where sequences or frames do not belong together.
    """
    if pred.keys() != gt.keys() or not gt:
        raise ValueError(f"predictions of {sorted(pred)} and ground truth of {sorted(gt)}; expected the same sequences")
    if "All" in gt:
        raise ValueError("a sequence is named 'All', which is the name of the whole; name it otherwise")
    root = H36M_FROM_MPI[0] if skeleton == "mpi_inf_3dhp" else 0
    both = {}
    for name in gt:
        try:
            p, g = (np.asarray(value, dtype=np.float64) for value in _pair(pred[name], gt[name]))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        both[name] = p - p[..., root : root + 1, :], g - g[..., root : root + 1, :]
    both["All"] = (np.concatenate([p for p, _ in both.values()]), np.concatenate([g for _, g in both.values()]))
    return {
        name: {
            "PCK": pck(p, g, skeleton=skeleton),
            "AUC": auc(p, g, skeleton=skeleton),
            "MPJPE": float(mpjpe(p, g).mean()),
            "frames": len(g),
        }
        for name, (p, g) in both.items()
    }


def h_mpjpe(action_mpjpe: Mapping[str, float], hard_actions: Sequence[str] = HARD_ACTIONS) -> float:
    """P3: unweighted mean of the MPJPEs (mm) of the hard actions. ``action_mpjpe`` maps action to its MPJPE.

    Raises ``ValueError`` when a hard action is missing: a mean over fewer would not be the same measure.
    """
    missing = [action for action in hard_actions if action not in action_mpjpe]
    if missing or not hard_actions:
        raise ValueError(
            f"no MPJPE for the hard actions {missing}; the actions at hand are {sorted(action_mpjpe)}. "
            "Name the hard actions of this data set"
        )
    return float(np.mean([action_mpjpe[action] for action in hard_actions]))
