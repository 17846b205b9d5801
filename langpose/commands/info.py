"""``langpose info [MODEL]``: what a model was trained on, its scores, its sizes."""

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

SHIPPED = "langpose/models/cmu"
"""How the model that comes with the package is called."""


def add(commands: Any) -> None:
    action = commands.add_parser(
        "info",
        help="what a model is: training data, scores, sizes",
        description="What a model was trained on, its scores and its sizes, as its card and config say.",
    )
    action.add_argument("model", nargs="?", metavar="MODEL", help="folder or hub name; default: the one that is here")
    action.add_argument("--json", action="store_true", help="print it as json")
    action.set_defaults(run=run)


def shipped() -> Path:
    """The folder of the small model that comes with the package."""
    return Path(str(files("langpose") / "models" / "cmu"))


def open_model(name: str | None, text: bool = False) -> tuple[Any, str]:
    """The model ``name`` (None: the shipped one) and what it is called. Raises as `LangPose.from_pretrained`."""
    from langpose import LangPose

    model = LangPose.from_pretrained(shipped() if name is None else name, text=text)
    return model, SHIPPED if name is None else str(name)


def open_pretrained(name: str | None) -> tuple[Any, Path]:
    """A model with a space of motion and words, and its folder; None: the shipped one, which knows its labels alone.

    Raises ``ValueError`` for a fine-tuned model, whose space fine-tuning has left behind.
    """
    from langpose import LangPose

    folder = shipped().with_name("cmu-pretrained") if name is None else Path(name)
    model = LangPose.from_pretrained(folder if name is None else name)
    if "fine-tuned on" in model.provenance.get("facts", {}):
        raise ValueError(
            f"{name}: was fine-tuned to lift, and has no space of motion and words any more; name a pretrained model "
            "(models/<profile>/pretrain/…)"
        )
    return model, folder


def told(name: str | None) -> dict[str, Any]:
    """All that is known of a model."""
    model, called = open_model(name, text=True)
    pose, provenance = model.config.pose, model.provenance
    return {
        "model": called,
        "title": provenance.get("title", ""),
        "frames": pose.maxlen,
        "width": pose.dim_feat,
        "layers": pose.depth,
        "parameters": sum(p.numel() for p in model.parameters()),
        "pose encoder's": sum(p.numel() for p in model.pose_encoder.parameters()),
        "text stream": model.text_encoder is not None,
        "embedding": model.config.embed_dim,
        "facts": provenance.get("facts", {}),
        "metrics": provenance.get("metrics", {}),
    }


def run(arguments: argparse.Namespace) -> int:
    values = told(arguments.model)
    if arguments.json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return 0
    for name, value in values.items():
        if isinstance(value, dict):
            print(f"{name}:" if value else f"{name}: none recorded")
            for key, entry in value.items():
                print(f"  {key:20} {entry}")
        else:
            print(f"{name:16} {f'{value:,}' if type(value) is int else value}")
    return 0
