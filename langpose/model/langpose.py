"""LangPose (section 3.1, Fig. 1): pose stream, text stream, and pooling layers into one space.

    h_P = f_P(Σ_j a_j h^{l1}_{<POSE>, j}) / ‖·‖,   a = softmax over joints of learned weights
    h_W = f_W(h^{l3}_{[CLS]}) / ‖·‖
    X   = head(h^{l1+l2}_{p_1..p_T})

f_P and f_W are MLPs. Not in the paper: their sizes, the form of the joints' weights (a softmax, so that they stay a
weighting), and unit length, without which Eq. 1's temperature has no scale.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download
from jinja2 import Environment, StrictUndefined
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from yaml import YAMLError

from langpose.config import from_mapping
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig
from langpose.model.text_encoder import TextConfig, TextEncoder, bert_sizes
from langpose.storage import replacing

WEIGHTS, CONFIG, TOKENIZER, CARD = "model.safetensors", "config.json", "tokenizer", "README.md"

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


def _locate(source: str | Path, **hub: Any) -> Path:
    """The folder of a model, downloaded first if ``source`` is a name on the hub and nothing here."""
    path, name = Path(source), str(source)
    if path.exists() or path.parent.is_dir() or name.count("/") != 1 or isinstance(source, Path):
        return path
    wanted = [CONFIG, WEIGHTS, CARD, f"{TOKENIZER}/*.json", f"{TOKENIZER}/*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, **hub))
    except Exception as error:  # a connection that breaks off raises nearly anything
        raise FileNotFoundError(
            f"'{name}' is no folder here, and was not to be had from the model hub: {error}. Expected a folder with "
            f"{CONFIG} and {WEIGHTS}, or a name on the hub, owner/name"
        ) from error


def _line(value: Any) -> str:
    """A value as a line of text."""
    return " ".join(str(value).split())


def _provenance(card: Path) -> dict[str, Any]:
    """What a model's card records, or nothing where there is no card, or one written by someone else."""
    try:
        told = ModelCard.load(card).data.to_dict()["langpose"]
        return {"title": str(told["title"]), "facts": dict(told["facts"]), "metrics": dict(told["metrics"])}
    except (OSError, ValueError, KeyError, TypeError, YAMLError):
        return {}


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
):
    """Pose encoder with pooling, text encoder with pooling, and the action head where the config names classes.

    ``provenance`` (``title``, and the tables ``facts`` and ``metrics``) is what the model card says of where the
    weights are from; it is loaded and saved with them. ``push_to_hub`` is huggingface_hub's (`ModelHubMixin`).

    ``seed`` draws the weights that are not pretrained; the text stream's come from its BERT unless ``pretrained_text``
    is False (weights are loaded next, and ``tokenizer`` is the folder of the tokeniser saved with them).
    """

    def __init__(
        self, config: LangPoseConfig, seed: int = 0, pretrained_text: bool = True, tokenizer: Path | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.provenance: dict[str, Any] = {}
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

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        config: Any = None,
        model_card_kwargs: dict[str, Any] | None = None,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **push: Any,
    ) -> str | None:
        """Write ``model.safetensors``, ``config.json``, the text stream's ``tokenizer/`` and the model card, README.md:
        all that `from_pretrained` needs, so that it loads without network and without the package its BERT came in.

        ``model_card_kwargs`` replaces `provenance`. ``push_to_hub`` uploads the folder too, as ``repo_id`` (default:
        the folder's name); ``push`` goes to `ModelHubMixin.push_to_hub`, for which ``config`` is here: the
        model's own is written.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        if model_card_kwargs is not None:
            self.provenance = model_card_kwargs
        own = self.config
        if self.text_encoder is None:
            shutil.rmtree(folder / TOKENIZER, ignore_errors=True)
        else:
            own = replace(own, bert=bert_sizes(self.text_encoder.bert.config.to_dict()))
            self.text_encoder.tokenizer.save_pretrained(folder / TOKENIZER)
        with replacing(folder / WEIGHTS) as temporary:
            save_file({name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}, temporary)
        with replacing(folder / CONFIG) as temporary:
            temporary.write_text(json.dumps(asdict(own), indent=2) + "\n", encoding="utf-8")
        with replacing(folder / CARD) as temporary:
            temporary.write_text(str(self.generate_model_card()), encoding="utf-8")
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or folder.name, **push)

    def generate_model_card(self, **provenance: Any) -> ModelCard:
        """README.md of a saved model: `provenance` (or what is given in its place), intended use, licence."""
        told = {"title": "", "facts": {}, "metrics": {}, **(provenance or self.provenance)}
        tables = {part: {_line(k): _line(v) for k, v in told[part].items()} for part in ("facts", "metrics")}
        data = ModelCardData(
            **self._hub_mixin_info.model_card_data.to_dict(), langpose={"title": told["title"], **tables}
        )
        environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        text = environment.from_string((files("langpose.model") / "card.md.j2").read_text(encoding="utf-8")).render(
            card_data=data.to_yaml(),
            title=_line(told["title"]),
            text_stream=self.text_encoder is not None,
            frames=self.config.pose.maxlen,
            parameters=sum(p.numel() for p in self.parameters()),
            pose_parameters=sum(p.numel() for p in self.pose_encoder.parameters()),
            **tables,
        )
        return ModelCard(text)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        folder: str | Path,
        text: bool = True,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> "LangPose":
        """Load what `save_pretrained` wrote, in evaluation mode. Runs nothing that stands in the files.

        ``folder`` may also be a model's name on the hub, "owner/name", where no such folder is; the last five are
        for its download. ``text`` False leaves out the text stream and the action head, for fine-tuning and inference
        (section 3.3). Raises ``FileNotFoundError`` for a missing file and ``ValueError`` for one that is damaged or
        does not fit.
        """
        hub = {"revision": revision, "token": token, "cache_dir": cache_dir}
        folder = _locate(folder, **hub, local_files_only=local_files_only, force_download=force_download)
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
        model.provenance = _provenance(folder / CARD)
        return model.eval()
