"""MotionBERT's checkpoint → a model folder of ours, its sizes read off the weights."""

import os
from pathlib import Path
from typing import Any

from langpose.model.langpose import LangPose, LangPoseConfig
from langpose.model.motionbert import _read, _tensors, start_from
from langpose.model.pose_encoder import PoseEncoderConfig
from langpose.storage import replacing_folder

MOTIONBERT = "https://github.com/Walter0807/MotionBERT"


def sizes(state: Any, heads: int, where: str) -> PoseEncoderConfig:
    """A pose encoder's config from its tensors. Heads leave no trace in weights. Raises ``ValueError``."""
    try:
        dim_feat = state["joints_embed.weight"].shape[0]
        return PoseEncoderConfig(
            dim_in=state["joints_embed.weight"].shape[1],
            dim_out=state["head.weight"].shape[0],
            dim_feat=dim_feat,
            dim_rep=state["head.weight"].shape[1],
            depth=len({name.split(".")[1] for name in state if name.startswith("blocks_st.")}),
            num_heads=heads,
            mlp_ratio=state["blocks_st.0.mlp_s.fc1.weight"].shape[0] / dim_feat,
            num_joints=state["pos_embed"].shape[1],
            maxlen=state["temp_embed"].shape[1],
            att_fuse="ts_attn.0.weight" in state,
        )
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{where}: no {error} among its {len(state)} tensors; expected a pose network of MotionBERT (DSTformer)"
        ) from None


def convert(source: str | os.PathLike[str], folder: str | os.PathLike[str], heads: int, tuned_on: str) -> Path:
    """Write the checkpoint ``source`` as a model folder, which `LangPose.from_pretrained` loads; returns its path.

    Our ``<POSE>`` token starts as a hidden frame before the first one: predictions are MotionBERT's but for that frame.
    ``tuned_on`` "human36m" (``FT_…`` checkpoints) says in which unit it predicts; "pretrained" are the others.
    """
    path = Path(source)
    config = sizes(_tensors(_read(path), str(path)), heads, str(path))
    model = LangPose(LangPoseConfig(pose=config, text=None))
    new = start_from(model, path)
    facts = {"starting weights": f"MotionBERT, {path.name} ({MOTIONBERT})", "newly initialised": ", ".join(new)}
    if tuned_on != "pretrained":
        facts["fine-tuned on"] = tuned_on
    with replacing_folder(folder) as temporary:
        model.save_pretrained(temporary, model_card_kwargs={"title": path.stem, "facts": facts, "metrics": {}})
    return Path(folder)
