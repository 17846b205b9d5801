"""LangPose (section 3.1, Fig. 1): pose stream, text stream, and pooling layers into one space.

    h_P = f_P(Σ_j a_j h^{l1}_{<POSE>, j}) / ‖·‖,   a = softmax over joints of learned weights
    h_W = f_W(h^{l3}_{[CLS]}) / ‖·‖
    X   = head(h^{l1+l2}_{p_1..p_T})

f_P and f_W are MLPs. Not in the paper: their sizes, the form of the joints' weights (a softmax, so that they stay a
weighting), and unit length, without which Eq. 1's temperature has no scale.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from langpose.config import from_mapping
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig
from langpose.model.text_encoder import TextConfig, TextEncoder
from langpose.storage import replacing

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer"

_PRETRAINING_ONLY = ("text_encoder.", "text_pool.", "action_head.")


@dataclass(frozen=True)
class LangPoseConfig:
    """All that is needed to build the model."""

    pose: PoseEncoderConfig = field(default_factory=PoseEncoderConfig)
    text: TextConfig | None = field(default_factory=TextConfig)
    """None: no text stream (after fine-tuning, at inference)."""
    embed_dim: int = 256
    """D, size of the shared space. Not in the paper: between the widths of common contrastive models (128 to 512)."""
    pool_layers: int = 2
    """Linear layers of each pooling MLP ("multiple MLPs"). Not in the paper: the fewest that are an MLP."""
    action_classes: list[str] = field(default_factory=list)
    """Classes of the one-hot action head (variant `mtl` alone)."""
    bert: dict[str, Any] | None = None
    """Sizes of the text stream's BERT, written by `save_pretrained` so that loading needs no pretrained weights."""

    def __post_init__(self) -> None:
        for name in ("embed_dim", "pool_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not self.pose.pose_token:
            raise ValueError("pose.pose_token is False; LangPose's global pose is the <POSE> token's")


def _locate(source: str | Path, hub: dict[str, Any]) -> Path:
    """The folder of a model, downloaded first if ``source`` is a name on the hub."""
    name = str(source)
    if Path(source).is_dir() or isinstance(source, Path) or name.count("/") != 1 or name.startswith(("/", ".", "~")):
        return Path(source)
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, f"{TOKENIZER}/*"], **hub))
    except (OSError, ValueError) as error:  # the hub's own errors are both
        raise FileNotFoundError(
            f"'{name}' is no folder here, and was not to be had from the model hub: {error}. Expected a folder with "
            f"{CONFIG} and {WEIGHTS}, or a name on the hub, owner/name"
        ) from error


def _mlp(width: int, out: int, layers: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(width, width), nn.GELU()]
    return nn.Sequential(*parts, nn.Linear(width, out))


class LangPose(
    nn.Module,
    ModelHubMixin,
    library_name="langpose",
    tags=["human-pose-estimation", "3d-pose-lifting", "motion"],
    model_card_template=(files("langpose.model") / "card.md.j2").read_text(encoding="utf-8"),
):
    """Pose encoder with pooling, text encoder with pooling, and the action head where the config names classes.

    ``save_pretrained`` and ``push_to_hub`` are huggingface_hub's (`ModelHubMixin`); their ``model_card_kwargs`` may
    hold ``title``, ``facts`` and ``metrics`` (a table each) for the model card, README.md.

    ``seed`` draws the weights that are not pretrained; the text stream's come from its BERT unless ``pretrained_text``
    is False (weights are loaded next, and ``tokenizer`` is the folder of the tokeniser saved with them).
    """

    def __init__(
        self, config: LangPoseConfig, seed: int = 0, pretrained_text: bool = True, tokenizer: Path | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.pose_encoder = PoseEncoder(config.pose, seed)
        width = config.pose.dim_feat
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.joint_weight = nn.Parameter(torch.zeros(config.pose.num_joints))
            self.pose_pool = _mlp(width, config.embed_dim, config.pool_layers)
            self.action_head = (
                nn.Linear(config.embed_dim, len(config.action_classes)) if config.action_classes else None
            )
            self.text_encoder: TextEncoder | None = None
            self.text_pool: nn.Sequential | None = None
            if config.text is not None:
                self.text_encoder = TextEncoder(config.text, pretrained_text, config.bert, tokenizer)
                torch.manual_seed(seed + 1)
                self.text_pool = _mlp(self.text_encoder.width, config.embed_dim, config.pool_layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 17, 3) input → root-relative joints (B, T, 17, 3) and global pose (B, D), in one pass."""
        encoded, token = self.pose_encoder.encode(x)
        return self.pose_encoder.regress(self.pose_encoder.represent(encoded)), self._pool(token)

    def _pool(self, token: Tensor | None) -> Tensor:
        assert token is not None  # the config demands the token
        weighted = (token * self.joint_weight.softmax(0)[:, None].to(token.dtype)).sum(1)  # (B, J, C) -> (B, C)
        return F.normalize(self.pose_pool(weighted).float(), dim=-1)

    def encode_pose(self, x: Tensor) -> Tensor:
        """h_P: global pose of clips (B, T, 17, 3) → (B, D), unit length."""
        return self._pool(self.pose_encoder.encode(x)[1])

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """h_W: texts → (N, D), unit length. Raises ``ValueError`` for a model without text stream."""
        if self.text_encoder is None or self.text_pool is None:
            raise ValueError("this model has no text stream (fine-tuned models have none); load a pretrained one")
        return F.normalize(self.text_pool(self.text_encoder(texts)).float(), dim=-1)

    def action_logits(self, h_pose: Tensor) -> Tensor:
        """(B, D) → (B, K) logits of ``config.action_classes``; ``ValueError`` for a model without action head."""
        if self.action_head is None:
            raise ValueError("this model has no action head; set action_classes in its config")
        return self.action_head(h_pose)

    def average_pool(self, x: Tensor) -> Tensor:
        """The baseline's global representation (Fig. 4a): mean of all pose features over T and J. (B, dim_rep)."""
        return self.pose_encoder.represent(self.pose_encoder.encode(x)[0]).mean((1, 2))

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write ``model.safetensors``, ``config.json`` and the text stream's ``tokenizer/``: all that `from_pretrained`
        needs, so that it loads without network and without the package its BERT came in."""
        config = self.config
        if self.text_encoder is not None:
            bert = self.text_encoder.bert.config.to_dict()
            config = replace(config, bert={k: v for k, v in sorted(bert.items()) if isinstance(v, int | float | str)})
            self.text_encoder.tokenizer.save_pretrained(save_directory / TOKENIZER)
        with replacing(save_directory / WEIGHTS) as temporary:
            save_file({name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}, temporary)
        with replacing(save_directory / CONFIG) as temporary:
            temporary.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")

    def generate_model_card(self, **facts: Any) -> ModelCard:
        """README.md of a saved model: what made it (``title``, ``facts``), ``metrics``, intended use, licence."""
        texts = "Its text stream places clips and descriptions in one space."
        return super().generate_model_card(
            **{"title": "", "facts": {}, "metrics": {}, **facts},
            streams=texts if self.text_encoder is not None else "It has no text stream: for fine-tuning and inference.",
            frames=self.config.pose.maxlen,
            parameters=sum(p.numel() for p in self.parameters()),
            pose_parameters=sum(p.numel() for p in self.pose_encoder.parameters()),
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path, text: bool = True, **hub: Any) -> "LangPose":  # type: ignore[override]
        """Load what `save_pretrained` wrote, in evaluation mode. Runs nothing that stands in the files.

        ``folder`` may also be a model's name on the hub ("owner/name"); ``hub`` goes to its download (``revision``,
        ``token``, ``cache_dir``, ``local_files_only``, ...). ``text`` False leaves out the text stream and the action
        head, for fine-tuning and inference (section 3.3). Raises ``FileNotFoundError`` for a missing file and
        ``ValueError`` for one that is damaged or does not fit.
        """
        folder = _locate(folder, hub)
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is missing; a model folder holds {CONFIG} and {WEIGHTS}")
        try:
            values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{folder / CONFIG} is not json: {error}") from error
        tokenizer = folder / TOKENIZER if (folder / TOKENIZER).is_dir() else None
        config = from_mapping(LangPoseConfig, values, str(folder / CONFIG))
        if not text:
            config = replace(config, text=None, bert=None, action_classes=[])
        model = cls(config, pretrained_text=False, tokenizer=tokenizer)
        try:
            state = load_file(folder / WEIGHTS)
            if not text:
                state = {name: value for name, value in state.items() if not name.startswith(_PRETRAINING_ONLY)}
            model.load_state_dict(state)
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder / WEIGHTS} is damaged or does not fit {CONFIG}: {error}") from error
        return model.eval()
