"""MotionBERT's released weights (https://github.com/Walter0807/MotionBERT), read without running what is in the file.

A checkpoint of MotionBERT is a pickle: ``{epoch, lr, optimizer, model_pos, min_loss}``, tensors named
``module.<name>`` because it was trained under ``DataParallel``, and ``min_loss`` a numpy number, which torch's safe
loading refuses by itself. Here that number alone is admitted, through stand-ins: no numpy type is handed to the file.
"""

import io
import logging
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langpose.config import from_mapping
from langpose.model.langpose import LangPose
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig
from langpose.sources.pickle_depth import RefusedPickleError, refuse_deep_tuples

_LOG = logging.getLogger(__name__)
_PREFIX = "module."


class _NumberType:
    """Stand-in for ``numpy.dtype`` while a file is read: plain numbers only."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in ("f8", "f4", "f2", "i8", "i4", "u8", "u4", "b1"):
            raise pickle.UnpicklingError(f"a numpy number of type {code!r:.40}")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise pickle.UnpicklingError("a numpy number in an unusual byte order")


def _number(kind: _NumberType, content: bytes) -> float:
    """Stand-in for ``numpy.core.multiarray.scalar``."""
    return float(np.frombuffer(content, dtype="<" + kind.code, count=1)[0])


_ADMITTED: list[Any] = [
    (_NumberType, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
]


def _refuse_deep_tuples(path: Path) -> None:
    """Raise `RefusedPickleError` where a pickle that ``torch.load`` will read could end the interpreter."""
    with path.open("rb") as file:
        try:
            if file.read(4) == b"PK\x03\x04":  # torch's own reader: zipfile can find another member of that name
                refuse_deep_tuples(io.BytesIO(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")))
            else:
                file.seek(0)
                for _ in ("magic number", "protocol", "system", "content", "keys of the storages"):
                    refuse_deep_tuples(file)
        except RefusedPickleError:
            raise
        except (EOFError, IndexError, RuntimeError, ValueError):
            pass  # no such member or pickle: torch stops at the same place, and its message says more


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such file. MotionBERT's weights are linked in its README, table 'Pretrained models'"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        if zipped:  # torch looks at no checksum, and takes a member that is marked as a folder for nothing
            with zipfile.ZipFile(path) as archive:
                folders = [info.filename for info in archive.infolist() if info.external_attr & 0x10]
                if damaged := archive.testzip() or next(iter(folders), None):
                    raise ValueError(f"'{damaged}' in it is not what was written")
        _refuse_deep_tuples(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ADMITTED):
            warnings.simplefilter("ignore")  # on pickle protocols: what matters is whether it loads
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RefusedPickleError) as error:
        text = str(error)  # torch's message is long, and advises to load the file without protection
        named = re.search(r"GLOBAL (\S+)", text)
        reason = f"`{named[1]}`" if named else " ".join(text.removesuffix("\n").split("\n\n")[-2:][0].split())[:200]
        raise ValueError(
            f"{path}: refused, nothing of it was run. A checkpoint holds tensors and numbers only, this file holds "
            f"something else: {reason}. If it should be MotionBERT's, download it again from its README"
        ) from None
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(
            f"{path}: not a readable checkpoint ({type(error).__name__}: {str(error)[:200]}). Was the download cut off?"
        ) from error


def _tensors(content: Any, where: str) -> dict[str, Tensor]:
    """The pose network's tensors in a checkpoint or state dict, without ``module.``."""
    if isinstance(content, Mapping) and "model_pos" in content:
        content = content["model_pos"]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{where}: holds a {type(content).__name__}; expected MotionBERT's dict with 'model_pos'")
    wrong = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise ValueError(
            f"{where}: expected a checkpoint with 'model_pos', or a dict of tensors; '{wrong[0]}' is neither. "
            "MotionBERT's mesh and action checkpoints hold other networks"
        )
    for name, value in content.items():
        plain = value.layout == torch.strided and value.device.type != "meta" and value.is_floating_point()
        plain = plain and value.numel() * value.element_size() <= value.untyped_storage().nbytes()  # no view of a few
        if not plain or not bool(value.isfinite().all()):
            fault = "holds NaN or infinity" if plain else f"is {value.layout}, {value.dtype}, {tuple(value.shape)}"
            raise ValueError(f"{where}: '{name}' {fault}; expected dense, finite floating-point weights")
    return {str(name).removeprefix(_PREFIX): value for name, value in content.items()}


def read_config(config: PoseEncoderConfig | Mapping[str, Any] | Any) -> PoseEncoderConfig:
    """A pose encoder's config from MotionBERT's own names: a mapping, or an object with these attributes.

    The token is off unless ``pose_token`` asks for it. A whole configuration file of MotionBERT (known by its
    ``backbone``) may be given: what is not about the network is passed over. Otherwise an unknown name is an error.
    """
    if isinstance(config, PoseEncoderConfig):
        return config
    values = dict(config if isinstance(config, Mapping) else vars(config))
    if "backbone" in values:
        if values["backbone"] != "DSTformer":
            raise ValueError(f"backbone '{values['backbone']}' is not supported; expected 'DSTformer'")
        known = {field.name for field in fields(PoseEncoderConfig)}
        values = {name: value for name, value in values.items() if name in known}
    return from_mapping(PoseEncoderConfig, {"pose_token": False, **values}, "pose encoder")


def load_checkpoint(
    source: str | os.PathLike[str] | Mapping[str, Any], config: PoseEncoderConfig | Mapping[str, Any] | Any
) -> PoseEncoder:
    """A pose encoder with MotionBERT's weights; with ``<POSE>`` off its numbers are MotionBERT's.

    ``source`` is one of its files (``.bin``, ``.pth``, or tensors converted to ``.safetensors``), a loaded checkpoint,
    or a state dict. ``config`` holds the sizes the weights were made with (see `read_config`). Where the config asks
    for the ``<POSE>`` token, its tensors are new (`PoseEncoder.start_token_as_hidden_frame`); ``encoder.new_tensors``
    names them and the log says so. Raises ``FileNotFoundError``, and ``ValueError`` for a file that holds anything but
    tensors and numbers (none of it is run), is damaged, or does not fit the config.
    """
    if isinstance(source, Mapping):
        where, content = "state dict", source
    else:
        where, content = str(source), _read(Path(source))
    encoder = PoseEncoder(read_config(config), seed=None)
    if encoder.load_weights(_tensors(content, where), where):
        _LOG.info("%s: not in the checkpoint, newly initialised: %s", where, ", ".join(encoder.new_tensors))
    return encoder


def start_from(model: LangPose, source: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """Put MotionBERT's weights into ``model``'s pose encoder (section 4.1); the names of the tensors that stay new.

    New are ``<POSE>`` and its position, the weights over joints, the pooling layers and an action head; the text
    stream's BERT is pretrained, and not among them. Errors as in `load_checkpoint`.
    """
    encoder = load_checkpoint(source, model.config.pose)
    model.pose_encoder.load_state_dict(encoder.state_dict())
    rest = [name for name in model.state_dict() if not name.startswith(("pose_encoder.", "text_encoder."))]
    return (*(f"pose_encoder.{name}" for name in encoder.new_tensors), *rest)
