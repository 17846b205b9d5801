"""What a clip costs at inference: parameters, multiply-adds (MACs), time; beside the diffusion methods of Tables 1, 2.

    ours, baseline:  total = passes · M(T)                                   passes: 2 with the mirrored clip, else 1
    diffusion:       total = before + mirrored · H · W · denoiser            H hypotheses, W iterations

M(T) is a forward pass over a clip of T frames, counted by torch over the matrix products of the very model (tensors
have shapes and no content): MotionBERT's base model takes 185.40 GMAC at 243 frames. Norms, softmax, GELU and sums are
in no figure. The `<POSE>` token makes T + 1 steps of T in the layers; embedding and head work on the T frames.

The paper says that LangPose is "more efficient during inference" than diffusion methods and gives no figure (4.2). The
settings of those methods are read from their authors' repositories (`DIFFUSION`); what is not found there is "not
stated", and nothing is guessed. Their networks' MACs are stated in none: `mixste_macs` and `gcn_macs` count them from
the code in these repositories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from langpose.model.langpose import LangPoseConfig
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig
from langpose.plan import model_without_weights
from langpose.tables import Block, Table

NOT_STATED, NOT_MEASURED = "not stated", "not measured"
JOINTS = 17
PAPER_FRAMES = 243


@dataclass(frozen=True)
class Cost:
    """A network that gives a clip's joints in one pass."""

    frames: int
    """T, frames of a clip."""
    parameters: int
    macs: int
    """Multiply-adds of one pass over one clip."""
    passes: int
    """Passes of an evaluated clip: 2 where the mirrored clip is averaged in (MotionBERT's protocol), else 1."""

    @property
    def macs_per_frame(self) -> float:
        """Of one pass, by output frame."""
        return self.macs / self.frames

    @property
    def total(self) -> int:
        """MACs of an evaluated clip."""
        return self.macs * self.passes


@cache
def cost_of(config: PoseEncoderConfig, frames: int, flip: bool = True) -> Cost:
    """Parameters and MACs of a pose encoder, at inference. ``ValueError`` for more frames than it takes (maxlen)."""
    counter = FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops},
    )
    with FakeTensorMode(), torch.device("cpu"), torch.no_grad():
        model = PoseEncoder(config, None)
        clip = torch.zeros(1, frames, config.num_joints, config.dim_in)
        with counter:
            model(clip)
    return Cost(frames, _count(model), counter.get_total_flops() // 2, 2 if flip else 1)


def baseline(config: PoseEncoderConfig) -> PoseEncoderConfig:
    """The same network without the ``<POSE>`` token: MotionBERT's."""
    return replace(config, pose_token=False, token_layer=None)


def training_parameters(config: LangPoseConfig) -> tuple[dict[str, int], list[str]]:
    """Parameters by part of the whole model, and remarks on what could not be counted on this machine.

    "text stream" (BERT and its pooling) and "pose pooling" serve the alignment alone: no clip passes through them at
    inference (section 3.3).
    """
    model, remarks = model_without_weights(config)
    text = [part for part in (model.text_encoder, model.text_pool) if part is not None]
    pose = _count(model.pose_encoder)
    counted = sum(map(_count, text))
    return {"pose encoder": pose, "text stream": counted, "pose pooling": _count(model) - pose - counted}, remarks


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """torch's counter knows every fused attention but the CPU's."""
    return int(sdpa_flop_count(q, k, v))


def mixste_macs(
    inputs: int, frames: int = PAPER_FRAMES, width: int = 512, depth: int = 8, mlp_ratio: int = 2, joints: int = JOINTS
) -> int:
    """MACs of a pass of MixSTE over a clip: ``depth`` times a spatial and a temporal block, ``inputs`` numbers a joint.

    Defaults are those of D3DP's denoiser and of DiffPose's first network. The embedding of the noise level (2 MLP
    layers, 1 MMAC a pass) is left out: 147.43 GMAC with and without it.
    """
    tokens = frames * joints
    linear = (3 + 1 + 2 * mlp_ratio) * width**2  # queries, keys, values; output; MLP
    attention = 2 * joints * width, 2 * frames * width  # scores and weighted sum, over joints and over frames
    return tokens * (inputs * width + depth * (2 * linear + sum(attention)) + width * 3)


def gcn_macs(
    frames: int = PAPER_FRAMES, width: int = 96, layers: int = 5, coordinates: int = 5, joints: int = JOINTS
) -> int:
    """MACs of a pass of DiffPose's denoiser (GCNdiff) over a clip, each frame by itself.

    A layer: attention over joints, two graph layers with a learned graph, two Chebyshev convolutions of order 2, and
    the noise level's projection. The graph's Laplacian (once a pass, 0.2 MMAC) is left out.
    """

    def chebyshev(a: int, b: int) -> int:
        return 3 * (joints**2 * a + joints * a * b)

    def graph(a: int, b: int) -> int:
        return joints**2 * a + joints * a * b

    level = 4 * width
    attention = 4 * joints * width**2 + 2 * joints**2 * width
    graphs = graph(width, 2 * width) + graph(2 * width, width)
    layer = attention + graphs + 2 * chebyshev(width, width) + level * width
    ends = chebyshev(coordinates, width) + chebyshev(width, coordinates) + width * level + level**2
    return frames * (layers * layer + ends)


@dataclass(frozen=True)
class Diffusion:
    """A diffusion method in one published setting. None: not stated."""

    method: str
    """As in published.csv."""
    setting: str
    sources: tuple[str, ...]
    """Where each of the following is stated."""
    hypotheses: int | None = None
    """H, denoised side by side."""
    iterations: int | None = None
    """W, calls of the denoiser one after the other."""
    mirrored: int | None = None
    """Passes of a call: 2 where the mirrored clip is averaged in."""
    denoiser: int | None = None
    """MACs of a pass over a clip of 243 frames: stated nowhere, counted from the code."""
    before: int = 0
    """MACs before the first call, of what the denoiser starts from."""

    @property
    def passes(self) -> int | None:
        """Passes of the denoiser for an evaluated clip."""
        if self.hypotheses is None or self.iterations is None or self.mirrored is None:
            return None
        return self.mirrored * self.hypotheses * self.iterations

    @property
    def total(self) -> int | None:
        """MACs of an evaluated clip."""
        return None if self.passes is None or self.denoiser is None else self.before + self.passes * self.denoiser


_DIFFPOSE = "github.com/GONGJIA0208/Diffpose_video at bf8484a"
_D3DP = "github.com/paTRICK-swk/D3DP at afcdd05"
_D3DP_CODE = f"{_D3DP}, common/diffusionpose.py, arguments.py: MixSTE, 512 wide, 8 deep, 243 frames, clips mirrored"

DIFFUSION = (
    Diffusion(
        "DiffPose", "Human3.6M, detected 2D",
        (f"{_DIFFPOSE}, configs/human36m_diffpose_uvxyz_cpn.yml: test_times 1 (H), test_timesteps 1 (W)",
         f"{_DIFFPOSE}, runners/diffpose_video.py: it starts from what MixSTE gives for the clip and its mirror image; "
         "models/gcndiff.py: the denoiser"),
        1, 1, 1, gcn_macs(), 2 * mixste_macs(2),
    ),
    Diffusion("DiffPose", "MPI-INF-3DHP", (f"{_DIFFPOSE}: no setting for this data set",)),
    Diffusion(
        "D3DP", "its repository's command",
        (f"{_D3DP}, README.md: -num_proposals 5 (H) -sampling_timesteps 5 (W), on both data sets", _D3DP_CODE),
        5, 5, 2, mixste_macs(5),
    ),
    Diffusion(
        "D3DP", "MPI-INF-3DHP, its kept results",
        (f"{_D3DP}, 3dhp_test/test_util/H20_K10 (H 20, W 10): J-Agg after iteration 10 has PCK 97.72, AUC 78.11, "
         "29.77 mm, within 0.1 of Table 2's row", _D3DP_CODE),
        20, 10, 2, mixste_macs(5),
    ),
    Diffusion(
        "KTPFormer", "Human3.6M, as D3DP's denoiser",
        ("github.com/JihuaPeng/KTPFormer, issue 10: its authors confirm 20 hypotheses and 10 iterations for their "
         "33.0 mm; issue 14: this code is not published, so its MACs and whether clips are mirrored are not stated",),
        20, 10,
    ),
)  # fmt: skip
"""The methods that the paper marks as diffusion-based. Their papers' own text was not at hand: what is not in the
repositories counts as not stated: which H and W gave D3DP's 39.5 mm on Human3.6M (Table 1), or KTPFormer's 16.7 mm on
MPI-INF-3DHP (Table 2), among them."""


def sizes(config: PoseEncoderConfig, frames: int) -> dict[str, Any]:
    """All that a pass's time depends on, save the token: what a measurement is filed under."""
    left_out = ("maxlen", "pose_token", "token_layer", "init_std")
    return {**{name: value for name, value in asdict(config).items() if name not in left_out}, "frames": frames}


def measured(figures: Mapping[str, Any] | None, config: PoseEncoderConfig, frames: int) -> Mapping[str, Any] | None:
    """The row of benchmarks/cost.py's ``figures`` for a model of these sizes, or None."""
    rows = figures["rows"] if figures else []
    return next((row for row in rows if row["sizes"] == sizes(config, frames)), None)


COLUMNS = [
    "Method", "Parameters (M)", "MACs a pass (G)", "MACs a frame (M)", "Passes a clip", "MACs a clip (G)", "Over ours",
    "ms a pass, 1 clip", "Clips/s a pass",
]  # fmt: skip


def cost_table(
    config: LangPoseConfig,
    frames: int,
    flip: bool = True,
    figures: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """Cost of a clip of ``frames`` frames: ours, the baseline without ``<POSE>``, and diffusion methods.

    ``figures`` is what benchmarks/cost.py saved; without a row of these sizes, times are "not measured". ``flip``:
    evaluated clips are averaged with their mirror image. ``notes`` stand below.
    """
    ours, theirs = cost_of(config.pose, frames, flip), cost_of(baseline(config.pose), frames, flip)
    row = measured(figures, config.pose, frames)
    own = [
        _row("LangPose (with the POSE token)", ours, ours, row, "ours"),
        _row("Baseline (MotionBERT, without it)", theirs, ours, row, "baseline"),
    ]
    papers = sizes(config.pose, frames) == sizes(PoseEncoderConfig(), PAPER_FRAMES)
    others = [_quoted(method, ours.total if papers else None) for method in DIFFUSION]
    heading = f"diffusion methods at {PAPER_FRAMES} frames: arithmetic from published settings (H × W × mirrored)"
    if not papers:
        heading += "; full-size networks, not comparable with this one"
    return Table(
        "cost",
        f"Cost of a clip of {frames} frames at inference.",
        COLUMNS,
        [Block("", own), Block(heading, others)],
        [*_notes(config, row, figures), *notes],
    )


def _row(name: str, cost: Cost, ours: Cost, row: Mapping[str, Any] | None, side: str) -> list[str]:
    times = [NOT_MEASURED] * 2
    if row is not None:
        times = [_spread(row["latency_ms"][side]), f"{_spread(row['clips_per_second'][side])}, batch {row['batch']}"]
    return [
        name, f"{cost.parameters / 1e6:.3f}", _giga(cost.macs), _short(cost.macs_per_frame / 1e6), str(cost.passes),
        _giga(cost.total), _ratio(cost.total / ours.total), *times,
    ]  # fmt: skip


def _quoted(method: Diffusion, ours: int | None) -> list[str]:
    steps = (method.hypotheses, method.iterations, method.mirrored)
    passes = " × ".join(NOT_STATED if n is None else str(n) for n in steps)
    per_frame = NOT_STATED if method.denoiser is None else _short(method.denoiser / PAPER_FRAMES / 1e6)
    return [
        f"{method.method}: {method.setting}", "—", _giga(method.denoiser), per_frame,
        NOT_STATED if set(steps) == {None} else passes, _giga(method.total),
        "—" if ours is None or method.total is None else _ratio(method.total / ours), NOT_MEASURED, NOT_MEASURED,
    ]  # fmt: skip


def _notes(config: LangPoseConfig, row: Mapping[str, Any] | None, figures: Mapping[str, Any] | None) -> list[str]:
    parts, remarks = training_parameters(config)
    text = f"{_short(parts['text stream'] / 1e6)} M parameters of the text stream"
    if config.text is not None and not parts["text stream"]:
        text = f"the text stream ({'; '.join(remarks)})"
    lines = [
        "MACs are multiply-adds of matrix products; ours and the baseline's are counted by torch. A pass is one clip "
        "through the network once.",
        f"In training {text} and {_short(parts['pose pooling'] / 1e6)} M of pose pooling come on top; no clip passes "
        "through them at inference.",
        "The diffusion methods' repositories state no MACs: their denoisers are counted from their code, settings and "
        "sources stand in langpose/cost.py. DiffPose's total has the two passes of MixSTE, "
        f"{_giga(mixste_macs(2))} GMAC each, that it starts from.",
    ]
    if row is not None and figures is not None:
        lines.append(
            f"Times are medians (least to most) of {row['repeats']} turns, both sides in one process; "
            f"{figures['machine']}."
        )
    return lines


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _giga(macs: int | None) -> str:
    return NOT_STATED if macs is None else _short(macs / 1e9)


def _short(value: float) -> str:
    """Four figures or more."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" if value < 100 else f"{value:.1f}"


def _spread(times: Mapping[str, float]) -> str:
    return f"{_short(times['median'])} ({_short(times['least'])} to {_short(times['most'])})"
