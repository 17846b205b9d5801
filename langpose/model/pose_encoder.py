"""The pose stream (section 3.1): MotionBERT's DSTformer with a ``<POSE>`` token one time step before the first frame.

    p_t = W x_t + b + P_joint + P_time[t]                                    t = 1..T
    p_0 = <POSE> + P_joint + P_pose                                          J x C, as wide as a frame
    x   = a_0 * ST_i(x) + a_1 * TS_i(x),   a = softmax(W_i [ST_i(x), TS_i(x)])   layers i = 1..depth
    representation = tanh(W_r LayerNorm(x)),   joints = W_h representation   over t = 1..T

ST attends over the joints of a frame and then over the frames of a joint, TS the other way round. Tensor names are
MotionBERT's (https://github.com/Walter0807/MotionBERT, lib/model/DSTformer.py), so its weights load unchanged, and
without the token the numbers are its numbers.

Not in the paper: the token has a position embedding of its own, because MotionBERT's has exactly 243 slots, all taken
by frames; the token shares the joints' embedding. MotionBERT's dropout and drop-path are left out: all of its
published settings have them at 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

NORM_EPS = 1e-6
_SDPA_MIN_LENGTH = 64
"""Shortest sequence for which a CPU gains by torch's fused attention in float32 (1 core: 13.8 against 7.9 ms forward
and backward at 82 frames, no gain at 17 or 28). In bfloat16 the fused kernel was 2-10 times slower at every size."""
_WIDE_SOFTMAX_MAX_LENGTH = 63
"""Longest row of bfloat16 whose softmax a CPU computes faster in float32. Forward and backward of 2 million numbers, 1
core: 24.4 against 8.4 ms at 17 keys, 22.3 against 5.9 ms at 28. At 82 (4.7 and 5.0 ms) and 244 keys torch's own is as
fast by itself, and in a small model over 82 frames the detour made a step 1.4 times as long. Float32 rows gain nothing
by any of this."""


@dataclass(frozen=True)
class PoseEncoderConfig:
    """Sizes under MotionBERT's own names; the defaults are its released base model, with the ``<POSE>`` token."""

    dim_in: int = 3
    dim_out: int = 3
    dim_feat: int = 512
    dim_rep: int = 512
    depth: int = 5
    num_heads: int = 8
    mlp_ratio: float = 2.0
    num_joints: int = 17
    maxlen: int = 243
    """Most frames of a clip."""
    qkv_bias: bool = True
    att_fuse: bool = True
    """Learned weights between the two orders of attention; false: their plain mean."""
    pose_token: bool = True
    token_layer: int | None = None
    """l1, the layer (1..depth) whose ``<POSE>`` token is the global pose. Not in the paper, which says "the middle
    layer": None is that, ceil(depth / 2), i.e. 3 of 5."""

    init_std: float = 0.02
    """Spread of the initial weights. MotionBERT's at 512 features; keeping the size of what a layer adds, a narrower
    model needs √(512 / dim_feat) times as much (reports/LOG.md: with 0.02, 32 features start on a plateau)."""

    def __post_init__(self) -> None:
        if self.dim_feat % self.num_heads:
            raise ValueError(f"dim_feat {self.dim_feat} must be a multiple of num_heads {self.num_heads}")
        for name in ("dim_in", "dim_out", "dim_feat", "dim_rep", "depth", "num_heads", "num_joints", "maxlen"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not self.init_std > 0:
            raise ValueError(f"init_std must be above 0, found {self.init_std}")
        if self.token_layer is not None and not 1 <= self.token_layer <= self.depth:
            raise ValueError(f"token_layer must be between 1 and depth {self.depth}, found {self.token_layer}")

    @property
    def l1(self) -> int:
        """The layer of the global pose, 1..depth."""
        return (self.depth + 1) // 2 if self.token_layer is None else self.token_layer


_LEAN_MIN_WIDTH = 256
"""Fewest features for which `linear_of` keeps less. On a CPU in bfloat16 that takes a quarter of what a forward pass
keeps, and 0-2 % of a step's time with 512 features, 3 % with 256, 3-5 % with 64 or 128, whose memory nobody misses."""


class _WideSoftmax(torch.autograd.Function):
    """Softmax over the last axis, computed in float32, of which only the rounded result is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        weights = x.softmax(-1, dtype=torch.float32).to(x.dtype)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        wide = torch._softmax_backward_data(gradient.float(), weights.float(), -1, torch.float32)
        return wide.to(weights.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v for (N, heads, L, d), by the kernel that is quicker on this device at this size."""
    if q.device.type != "cpu" or (q.shape[-2] >= _SDPA_MIN_LENGTH and q.dtype == torch.float32):
        return F.scaled_dot_product_attention(q, k, v)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if weights.dtype == torch.bfloat16 and weights.shape[-1] <= _WIDE_SOFTMAX_MAX_LENGTH:
        return _WideSoftmax.apply(weights) @ v
    return weights.softmax(-1) @ v


def linear_of(linear: Callable[[Tensor], Tensor], cheap: Callable[..., Tensor], *inputs: Tensor, lean: bool) -> Tensor:
    """``linear(cheap(*inputs))``; ``lean`` computes ``cheap`` again for the gradient, which so keeps the inputs alone.

    For functions that cost little beside a product and keep their inputs anyway: norms, GELU, concatenation. Numbers
    are the same, bit for bit. torch.compile has a rule of its own for what to keep, and gets the plain form.
    """
    x = cheap(*inputs)
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))  # what `linear` would do, and then keep
    if not lean or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return linear(x)
    place, numel, dtype = x.untyped_storage()._cdata, x.numel(), x.dtype
    sources = [tensor.detach() for tensor in inputs]

    def pack(tensor: Tensor) -> Tensor | torch.Size:
        own = tensor.untyped_storage()._cdata == place and tensor.is_contiguous() and tensor.numel() == numel
        return tensor.shape if own else tensor

    def unpack(packed: Tensor | torch.Size) -> Tensor:
        return packed if isinstance(packed, Tensor) else cheap(*sources).to(dtype).view(packed)

    with saved_tensors_hooks(pack, unpack):
        return linear(x)


class Attention(nn.Module):
    """Multi-head self-attention over the joints of each frame, or over the frames of each joint."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, over_time: bool) -> None:
        super().__init__()
        self.num_heads, self.over_time = num_heads, over_time
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, norm: nn.Module, lean: bool) -> Tensor:
        """Of ``norm(x)``: (B, T, J, C) -> (B, T, J, C)."""
        B, T, J, C = x.shape
        qkv = linear_of(self.qkv, norm, x, lean=lean).view(B, T, J, 3, self.num_heads, C // self.num_heads)
        if self.over_time:
            q, k, v = qkv.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)  # (3, B J, heads, T, C/heads)
            out = attend(q, k, v).view(B, J, self.num_heads, T, -1).permute(0, 3, 1, 2, 4)
        else:
            q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).flatten(1, 2)  # (3, B T, heads, J, C/heads)
            out = attend(q, k, v).view(B, T, self.num_heads, J, -1).transpose(2, 3)
        return self.proj(out.reshape(B, T, J, C))


class MLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, norm: nn.Module, lean: bool) -> Tensor:
        return linear_of(self.fc2, F.gelu, linear_of(self.fc1, norm, x, lean=lean), lean=lean)


class Block(nn.Module):
    """Spatial then temporal (``st``), or temporal then spatial: attention and MLP each, pre-norm, residual."""

    def __init__(self, config: PoseEncoderConfig, spatial_first: bool) -> None:
        super().__init__()
        dim, hidden = config.dim_feat, int(config.dim_feat * config.mlp_ratio)
        self.spatial_first = spatial_first
        self.norm1_s = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm1_t = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn_s = Attention(dim, config.num_heads, config.qkv_bias, over_time=False)
        self.attn_t = Attention(dim, config.num_heads, config.qkv_bias, over_time=True)
        self.norm2_s = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm2_t = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp_s = MLP(dim, hidden)
        self.mlp_t = MLP(dim, hidden)

    def _spatial(self, x: Tensor, lean: bool) -> Tensor:
        x = x + self.attn_s(x, self.norm1_s, lean)
        return x + self.mlp_s(x, self.norm2_s, lean)

    def _temporal(self, x: Tensor, lean: bool) -> Tensor:
        x = x + self.attn_t(x, self.norm1_t, lean)
        return x + self.mlp_t(x, self.norm2_t, lean)

    def forward(self, x: Tensor, lean: bool) -> Tensor:
        first, second = (self._spatial, self._temporal) if self.spatial_first else (self._temporal, self._spatial)
        return second(first(x, lean), lean)


class Representation(nn.Module):
    """tanh(W x + b): the motion representation before the regression head (``pre_logits`` in MotionBERT)."""

    def __init__(self, dim: int, dim_rep: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, dim_rep)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).tanh()


class PoseEncoder(nn.Module):
    """DSTformer with a ``<POSE>`` token: 2D clips to root-relative 3D joints.

    ``seed`` draws the initial weights (a pure function of config and seed); None leaves them as torch makes them, for
    a model whose weights are loaded next. ``new_tensors`` names those that loading did not find in the file.
    """

    checkpoint_layers: bool = False
    """Keep the layers' inputs alone for the gradient and compute the rest again, a layer at a time: the same numbers,
    bit for bit, in 1.3 times the time (7 bytes a feature and layer instead of 117, 512 features, bfloat16). Neither
    configuration nor weight: set it on the model that trains."""

    def __init__(self, config: PoseEncoderConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.new_tensors: tuple[str, ...] = ()
        dim = config.dim_feat
        with torch.random.fork_rng(devices=[]):  # torch's own draws, overwritten below, must not move a caller's state
            self.joints_embed = nn.Linear(config.dim_in, dim)
            self.pos_embed = nn.Parameter(torch.zeros(1, config.num_joints, dim))
            self.temp_embed = nn.Parameter(torch.zeros(1, config.maxlen, 1, dim))
            self.blocks_st = nn.ModuleList(Block(config, spatial_first=True) for _ in range(config.depth))
            self.blocks_ts = nn.ModuleList(Block(config, spatial_first=False) for _ in range(config.depth))
            self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
            self.pre_logits = Representation(dim, config.dim_rep)
            self.head = nn.Linear(config.dim_rep, config.dim_out)
            if config.att_fuse:
                self.ts_attn = nn.ModuleList(nn.Linear(2 * dim, 2) for _ in range(config.depth))
            if config.pose_token:
                self.pose_token = nn.Parameter(torch.zeros(1, 1, config.num_joints, dim))
                self.pose_token_embed = nn.Parameter(torch.zeros(1, 1, 1, dim))
        if seed is not None:
            self.initialise(torch.Generator().manual_seed(seed))

    def initialise(self, generator: torch.Generator) -> None:
        """MotionBERT's initial weights: normal (``init_std``, cut at ±2), zero biases, fusion starting as a plain mean.

        Deviation: MotionBERT inverts the normal's distribution in float32, which turns one draw in 2^24 into the cut
        itself. Its base model so starts with a few weights of magnitude 2, 100 standard deviations out; ours with none.
        """

        def normal(tensor: Tensor) -> None:
            nn.init.trunc_normal_(tensor, std=self.config.init_std, generator=generator)

        for module in self.modules():
            if isinstance(module, nn.Linear):
                normal(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        normal(self.pos_embed)
        normal(self.temp_embed)
        if self.config.att_fuse:
            for fusion in self.ts_attn:
                assert isinstance(fusion, nn.Linear)
                nn.init.zeros_(fusion.weight)
                nn.init.constant_(fusion.bias, 0.5)
        if self.config.pose_token:
            normal(self.pose_token)
            normal(self.pose_token_embed)

    def start_token_as_hidden_frame(self) -> None:
        """Set ``<POSE>`` to what the embedding makes of a frame without any joint, at the mean of all times.

        For weights that were trained without the token: they have learnt to pass over hidden frames, so that at first
        it hardly moves what they give. Not in the paper. On a small model trained here, joints moved by 1.3 mm, by 2.7
        to 4.0 mm with a token drawn at random, the error of 100 mm by less than 0.1 (reports/LOG.md).
        """
        with torch.no_grad():
            self.pose_token.copy_(self.joints_embed.bias.expand_as(self.pose_token))
            self.pose_token_embed.copy_(self.temp_embed.mean(1, keepdim=True))

    @property
    def token_names(self) -> tuple[str, ...]:
        """The tensors that MotionBERT does not have."""
        return ("pose_token", "pose_token_embed") if self.config.pose_token else ()

    def _check(self, x: Tensor) -> None:
        config = self.config
        expected = (config.num_joints, config.dim_in)
        if x.ndim != 4 or tuple(x.shape[2:]) != expected:
            raise ValueError(
                f"x must be (B, T, {expected[0]}, {expected[1]}): x and y in [-1, 1] and confidence of each joint; "
                f"found shape {tuple(x.shape)}"
            )
        if not 1 <= x.shape[1] <= config.maxlen:
            raise ValueError(
                f"a clip has {x.shape[1]} frames; this model takes 1 to {config.maxlen} (maxlen): cut longer sequences"
            )

    def _embed(self, x: Tensor, named: dict[str, Tensor] | None) -> Tensor:
        """(B, T, J, 3) -> (B, 1 + T, J, C), or (B, T, J, C) without token."""
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round the 2D input to about a pixel
            embedded = self.joints_embed(x.to(self.joints_embed.weight.dtype))
        if named is not None:
            named["joints_embed"] = embedded
        p = embedded + self.pos_embed + self.temp_embed[:, : x.shape[1]]
        if not self.config.pose_token:
            return p
        token = self.pose_token + self.pos_embed + self.pose_token_embed
        return torch.cat([token.to(p.dtype).expand(len(x), -1, -1, -1), p], dim=1)

    def _layer(self, i: int, x: Tensor, named: dict[str, Tensor] | None) -> Tensor:
        if self.checkpoint_layers and torch.is_grad_enabled():
            # Not lean: hooks of its own would hide from the checkpoint what it must not keep. Nothing is random here.
            st, ts, x = checkpoint(self._streams, i, x, False, use_reentrant=False, preserve_rng_state=False)
        else:
            st, ts, x = self._streams(i, x, self.config.dim_feat >= _LEAN_MIN_WIDTH)
        if named is not None:
            named[f"blocks_st.{i}"], named[f"blocks_ts.{i}"] = st, ts
        return x

    def _streams(self, i: int, x: Tensor, lean: bool) -> tuple[Tensor, Tensor, Tensor]:
        """ST_i(x), TS_i(x) and their weighted mean, the layer's output."""
        st, ts = self.blocks_st[i](x, lean), self.blocks_ts[i](x, lean)
        if not self.config.att_fuse:
            return st, ts, (st + ts) * 0.5
        a = linear_of(self.ts_attn[i], lambda *both: torch.cat(both, dim=-1), st, ts, lean=lean).softmax(-1)
        return st, ts, st * a[..., :1] + ts * a[..., 1:]

    def encode(self, x: Tensor, named: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor | None]:
        """Pose features of all frames before the last norm (B, T, J, C), and the token of layer l1 (B, J, C) or None.

        ``named`` is filled with intermediates (see `features`).
        """
        self._check(x)
        x = self._embed(x, named)
        global_token = None
        for layer in range(self.config.depth + 1):
            if layer:
                x = self._layer(layer - 1, x, named)
            if self.config.pose_token:
                token = x[:, 0]
                if named is not None:
                    named[f"token.{layer}"] = token
                if layer == self.config.l1:
                    global_token = token
        return x[:, 1:] if self.config.pose_token else x, global_token

    def represent(self, features: Tensor) -> Tensor:
        """Features (B, T, J, C) of `encode` -> representation (B, T, J, dim_rep), which `regress` turns into joints."""
        return self.pre_logits(self.norm(features))

    def regress(self, representation: Tensor) -> Tensor:
        """Representation (B, T, J, dim_rep) -> joints (B, T, J, 3), in float32 under autocast too: bfloat16 would round
        them to a millimetre, which velocities notice."""
        with torch.autocast(representation.device.type, enabled=False):
            return self.head(representation.to(self.head.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 17, 3) x, y in [-1, 1] and confidence -> (B, T, 17, 3) root-relative joints in the input's units."""
        return self.regress(self.represent(self.encode(x)[0]))

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """(joints (B, T, J, 3), named intermediates, representation (B, T, J, dim_rep)).

        Names are MotionBERT's modules: ``joints_embed``, ``blocks_st.i``, ``blocks_ts.i`` (i from 0), ``norm``; and
        ``token.0`` … ``token.depth`` (B, J, C), the ``<POSE>`` token before the first and after each layer. The
        blocks' outputs are (B, 1 + T, J, C), the token's step first.
        """
        named: dict[str, Tensor] = {}
        encoded, _ = self.encode(x, named)
        named["norm"] = self.norm(encoded)
        representation = self.pre_logits(named["norm"])
        return self.regress(representation), named, representation

    def load_weights(self, state: Mapping[str, Tensor], where: str) -> tuple[str, ...]:
        """Copy ``state`` (MotionBERT's names) into this encoder; the names of the tensors that it lacks.

        Only the token's tensors may be absent from ``state``, both: a MotionBERT checkpoint has none, and the token
        then starts as a hidden frame. Raises ``ValueError`` that names ``where`` and every tensor that is missing,
        unknown or of another shape.
        """
        own = self.state_dict()
        optional = () if any(name in state for name in self.token_names) else self.token_names
        missing = [name for name in own if name not in state and name not in optional]
        unknown = [name for name in state if name not in own]
        shapes = [
            f"{name} is {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in state and state[name].shape != tensor.shape
        ]
        problems = [f"{what}: {_some(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
        if problems or shapes:
            raise ValueError(
                f"{where}: the weights do not fit this configuration. {'; '.join([*problems, *shapes[:5]])}. "
                "Give the sizes the file was made with (dim_feat, dim_rep, depth, mlp_ratio, maxlen, att_fuse, ...)"
            )
        self.load_state_dict({**own, **state})
        self.new_tensors = tuple(name for name in own if name not in state)
        if self.new_tensors:
            self.start_token_as_hidden_frame()
        return self.new_tensors


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
