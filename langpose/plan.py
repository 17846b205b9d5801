"""What a training takes, before it is run: parameters, FLOPs, memory, time. Nothing is trained, written or downloaded.

    FLOPs of a step = B (3 F_pose + 3 F_text), + B F_pose where layers are computed again (``checkpoint_layers``)
    peak memory     = weights + gradients + AdamW's two moments + K_0 + n K,   n clips at a time
    seconds         = steps · FLOPs of a step / sustained FLOP/s

B is the batch, F a clip's forward pass: torch's own counter over matrix products, a multiply-add being two; a backward
pass is two forward passes. n is B over ``accumulate`` and ``processes``. K is what autograd keeps of a clip for the
backward pass: the storages that it saves, each once, parameters left out, of passes over two and three clips
(of one, torch copies less) whose tensors have shapes but no content. Attention is the CPU's as `pose_encoder.attend`
chooses it, or one fused kernel, as on a GPU.

Left out of memory: weights cast to bfloat16 that are kept within the pose encoder's own hooks (71 MB at full size),
what the allocator takes in excess (`ALLOCATED`), the program itself (`PROGRAM_BYTES`), clips that are loaded ahead.
Left out of time: validation, checkpoints, waiting for clips.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from langpose import losses
from langpose.model import pose_encoder
from langpose.model.langpose import LangPose, LangPoseConfig
from langpose.model.pose_encoder import PoseEncoder
from langpose.model.text_encoder import MINILM, TextConfig, bert_sizes, locate

UTILISATION = 0.4
"""Share of the speed of large matrix products that a training step is assumed to reach, whatever its size. On one CPU
core (processor time, float32 / bfloat16) it was 0.3 / 0.2 with 32 features, 0.4 / 0.3 with 64, 0.7 / 0.6 with 256 and
0.8 / 0.8 with 512; on a GPU, where the aim at full size is 0.45 (docs/performance.md), it is not measured.
`benchmarks/train_step.py` prints a machine's own ("of ceiling")."""

TEXT_TOKENS = 12
"""Tokens of a text, [CLS] and [SEP] included. A batch is padded to its longest; "transit from a to b" of two labels of
two words each has 9. Assumed."""

ALLOCATED = {"cpu": 1.5, "cuda": 1.0}
"""Memory that is taken over `Plan.peak_bytes`, at most, by device. On a CPU 1.2 to 1.5 times as much was resident in
the second step of four models (256 or 512 features, 81 or 243 frames): what the allocator cannot use again, and work
space of kernels. On a GPU it is not measured."""

PROGRAM_BYTES = 500_000_000
"""What a process that trains holds besides, on a CPU: 0.47 GB resident after a step of a model of 8 features, 0.15 GB
of it mapped libraries. Beside a GPU it is more: not measured. It is in no figure."""

FLOAT32 = 4
_BERT_BASE = ("bert-base-uncased", "google-bert/bert-base-uncased")


@dataclass(frozen=True)
class Measured:
    """What a model takes, a clip at a time; bytes and FLOPs."""

    parameters: dict[str, int]
    """By part: pose encoder, text encoder, heads."""
    trained: int
    """Parameters that the loss reaches: those with a gradient and moments."""
    pose_flops: float
    text_flops: float
    """Forward pass of a clip, and of its text."""
    kept_fixed: int
    kept_per_clip: int
    """What is kept for the backward pass, whatever the number of clips (weights in bfloat16), and of each clip."""
    checkpoint_layers: bool
    """Whether layers keep their input alone; one of them at a time is then computed again."""

    @property
    def flops(self) -> float:
        """A clip's forward pass, and its text's."""
        return self.pose_flops + self.text_flops


@dataclass(frozen=True)
class Plan:
    """A training of what was `Measured`."""

    model: Measured
    batch_size: int
    accumulate: int = 1
    processes: int = 1
    average: bool = False
    """A moving average of the weights is kept beside them."""
    keeps_best: bool = False
    """Checkpoints hold the weights of the best validation too."""

    @property
    def clips_at_a_time(self) -> int:
        """Clips that one process computes in one pass."""
        return self.batch_size // self.accumulate // self.processes

    @property
    def step_flops(self) -> float:
        """Forward, backward and what is computed again, of all processes."""
        again = self.model.pose_flops if self.model.checkpoint_layers else 0.0
        return self.batch_size * (3 * self.model.flops + again)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes at the peak of a step, by what they are for; of one process. Gradients are full when one is due."""
        weights, trained = FLOAT32 * sum(self.model.parameters.values()), FLOAT32 * self.model.trained
        return {
            "weights": weights * (2 if self.average else 1),
            "gradients": trained * (1 if self.processes == 1 else 2),  # DDP sends copies
            "moments": 2 * trained,
            "kept": self.model.kept_fixed + self.clips_at_a_time * self.model.kept_per_clip,
        }

    @property
    def peak_bytes(self) -> int:
        """Sum of `memory`."""
        return sum(self.memory.values())

    @property
    def checkpoint_bytes(self) -> int:
        """A checkpoint on disk, of which the last two are kept."""
        weights = sum(self.model.parameters.values()) * (1 + self.average + self.keeps_best)
        return FLOAT32 * (weights + 2 * self.model.trained)

    def seconds(self, steps: int, flops_per_second: float) -> float:
        """Time of ``steps`` steps at a sustained speed of one device, every process having its own."""
        return steps * self.step_flops / flops_per_second / self.processes

    def fitting(self, memory_bytes: float) -> int | None:
        """The fewest parts (``accumulate``) in which a step needs no more memory than this; None: not even one clip."""
        possible = (n for n in range(1, self.batch_size + 1) if self.batch_size % (n * self.processes) == 0)
        return next((n for n in possible if replace(self, accumulate=n).peak_bytes <= memory_bytes), None)


def measure(
    model: LangPose | PoseEncoder,
    clip_len: int,
    precision: str = "fp32",
    gpu: bool = False,
    alignment: str = "none",
    checkpoint_layers: bool = False,
) -> Measured:
    """What a step takes of a clip of ``clip_len`` frames. The model may be on torch's meta device: shapes suffice.

    ``alignment`` is a variant's (`tasks.Variant`): to texts, the text stream counts, a text of `TEXT_TOKENS` a clip.
    ``model.checkpoint_layers`` is not looked at. Raises ``ValueError`` for an alignment that the model cannot have.
    """
    if alignment != "none" and not isinstance(model, LangPose):
        raise ValueError(f"alignment {alignment} needs a LangPose; a pose encoder alone has alignment none")
    if clip_len > model_frames(model):
        raise ValueError(f"clip_len is {clip_len}; the model takes at most {model_frames(model)} frames (maxlen)")
    trained, pose_flops, text_flops, two = _pass(model, 2, clip_len, precision, gpu, alignment)
    _, _, _, three = _pass(model, 3, clip_len, precision, gpu, alignment)
    per_clip = three - two
    fixed = max(0, two - 2 * per_clip)
    if checkpoint_layers:
        per_clip -= _saved_by_checkpoints(model, clip_len, precision, gpu)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    total = sum(p.numel() for p in model.parameters())
    if isinstance(model, PoseEncoder):
        parameters = {"pose encoder": total}
    else:
        pose, text = counts["pose_encoder"], counts.get("text_encoder", 0)
        parameters = {"pose encoder": pose, "text encoder": text, "heads": total - pose - text}
    return Measured(parameters, trained, pose_flops, text_flops, fixed, per_clip, checkpoint_layers)


def model_frames(model: LangPose | PoseEncoder) -> int:
    """Most frames of a clip."""
    return _encoder(model).config.maxlen


def _encoder(model: LangPose | PoseEncoder) -> PoseEncoder:
    return model.pose_encoder if isinstance(model, LangPose) else model


def _pass(
    model: LangPose | PoseEncoder, clips: int, frames: int, precision: str, gpu: bool, alignment: str
) -> tuple[int, float, float, int]:
    """(trained parameters, FLOPs of a clip, of its text, bytes kept for the backward pass) of a pass over ``clips``.

    Tensors are fake: they have a shape and a place, and no content.
    """
    sizes = _encoder(model).config
    kept: dict[int, Any] = {}  # storages by identity; holding them keeps identities apart
    own: set[int] = set()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    to_texts = alignment in losses.TO_TEXTS and isinstance(model, LangPose) and model.text_encoder is not None
    counter = FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops},
    )
    with (
        torch.device("cpu"), FakeTensorMode(), counter, _attention(gpu),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"),
    ):  # fmt: skip
        tensors = _without_content(model)
        own |= {tensor.untyped_storage()._cdata for tensor in tensors.values()}
        x, y = (torch.zeros(clips, frames, sizes.num_joints, width) for width in (sizes.dim_in, sizes.dim_out))
        found = functional_call(model, tensors, (x,))
        joints, h_pose = found if isinstance(model, LangPose) else (found, torch.zeros(clips, 1))
        pose_flops = counter.get_total_flops() / clips
        total = losses.mpjpe_loss(joints, y) + losses.velocity_loss(joints, y)
        if to_texts:
            assert isinstance(model, LangPose) and model.text_encoder is not None and model.text_pool is not None
            words = torch.zeros(clips, TEXT_TOKENS, dtype=torch.long)
            states = functional_call(model.text_encoder.bert, _part(tensors, "text_encoder.bert."), (words,))
            pooled = functional_call(model.text_pool, _part(tensors, "text_pool."), (states.last_hidden_state[:, 0],))
            total = total + (h_pose @ F.normalize(pooled.float(), dim=-1).T).sum()
        elif alignment != "none":
            total = total + h_pose.sum()
        text_flops = counter.get_total_flops() / clips - pose_flops
        reached = _reached(total)
        trained = sum(tensor.numel() for tensor in tensors.values() if id(tensor) in reached)
        return trained, pose_flops, text_flops, sum(storage.nbytes() for storage in kept.values())


def _without_content(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a model as fake tensors."""
    tensors: dict[str, Tensor] = {
        name: torch.empty(p.shape, dtype=p.dtype, requires_grad=p.requires_grad) for name, p in model.named_parameters()
    }
    return tensors | {name: torch.zeros(b.shape, dtype=b.dtype) for name, b in model.named_buffers()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """torch's counter knows every fused attention but the CPU's."""
    return int(sdpa_flop_count(q, k, v))


@contextmanager
def _attention(gpu: bool) -> Iterator[None]:
    """Inside, the pose encoder attends as it does on a GPU, by one fused kernel; or, without ``gpu``, as on a CPU."""
    module: Any = pose_encoder
    before = module.attend
    if gpu:
        module.attend = F.scaled_dot_product_attention
    try:
        yield
    finally:
        module.attend = before


def _reached(loss: Tensor) -> set[int]:
    """Identities of the tensors that get a gradient."""
    found: set[int] = set()
    seen: set[Any] = set()
    waiting: list[Any] = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found


def _saved_by_checkpoints(model: LangPose | PoseEncoder, frames: int, precision: str, gpu: bool) -> int:
    """Bytes a clip that layers do not keep when they keep their input alone and one at a time is computed again."""
    config = _encoder(model).config

    def kept_per_clip(depth: int) -> int:
        with torch.device("meta"):
            shallow = PoseEncoder(replace(config, depth=depth, token_layer=None), None)
        return (
            _pass(shallow, 3, frames, precision, gpu, "none")[3] - _pass(shallow, 2, frames, precision, gpu, "none")[3]
        )

    layer = kept_per_clip(2) - kept_per_clip(1)
    entry = FLOAT32 * (frames + config.pose_token) * config.num_joints * config.dim_feat
    return (config.depth - 1) * layer - config.depth * entry


def text_sizes(config: TextConfig) -> tuple[dict[str, Any] | None, str]:
    """Sizes of a text stream's BERT from what is on this machine, or None; and a remark, if there is one to make."""
    from transformers import BertConfig

    try:
        if config.name == MINILM or Path(config.name).is_dir():
            return bert_sizes(BertConfig.from_pretrained(locate(config.name), local_files_only=True).to_dict()), ""
        return bert_sizes(BertConfig.from_pretrained(config.name, local_files_only=True).to_dict()), ""
    except (OSError, ModuleNotFoundError):
        if config.name in _BERT_BASE:
            known = bert_sizes(BertConfig().to_dict())
            return known, f"{config.name} is not on this machine: counted by its known sizes"
        return None, f"text encoder {config.name} is not on this machine: the text stream is not counted"


def model_without_weights(config: LangPoseConfig) -> tuple[LangPose, list[str]]:
    """The model on torch's meta device, shapes alone; and remarks on what of it is not as it will be trained."""
    remarks: list[str] = []
    tokenizer = None
    if config.text is not None:
        sizes, remark = text_sizes(config.text)
        remarks += [remark] if remark else []
        config = replace(config, bert=sizes) if sizes else replace(config, text=None)
    if config.text is not None:
        try:
            tokenizer = Path(locate(MINILM))  # any will do: no text is read
        except ModuleNotFoundError as error:
            config, remarks = replace(config, text=None), [f"the text stream is not counted: {error}"]
    with torch.device("meta"):
        return LangPose(config, pretrained_text=False, tokenizer=tokenizer), remarks


def matmul_speed(precision: str, device: str = "cpu") -> float:
    """FLOP/s of a large matrix product at ``precision`` on this machine: the best of a few, in about a second."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    best, begun = 0.0, time.perf_counter()
    for turn in range(20):
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        if turn:  # the first warms up
            best = max(best, 2 * size**3 / (now - start))
        if now - begun > 1 and turn:
            break
    return best


def machine_memory(device: str = "cpu") -> int | None:
    """Bytes of the GPU's memory, or of the machine's (or its container's); None where the system does not tell."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    found: list[int] = []
    with suppress(AttributeError, OSError, ValueError):  # not on every system
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)
