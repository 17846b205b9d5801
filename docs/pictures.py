"""Draws docs/masks.png: the corruptions of section 3.2 on a clip of real motion. Any trial of CMU's will do:

python docs/pictures.py subjects/135/135_04.amc      with 135.asf beside it, from mocap.cs.cmu.edu
"""

import sys
from pathlib import Path

import numpy as np

from langpose.cameras import front_view
from langpose.clips import ClipsConfig
from langpose.corruption import CorruptionConfig, corrupt
from langpose.figures import masks_figure
from langpose.sources import cmu

CLEAN = "as it is"
ROWS = {
    CLEAN: {},
    "detection noise": {"noise": True},
    "joints and frames\n(50 % of clips)": {"masks": {"joint_frame": 1.0}},
    "body part\n(25 %)": {"masks": {"body_part": 1.0}},
    "time window\n(25 %)": {"masks": {"time_window": 1.0}},
}
SEED = 4


def main(amc: str) -> None:
    motion, clips = cmu.read(amc), ClipsConfig()
    view = front_view(motion.joints[:: round(motion.rate_hz / 60)])[..., :2]
    start = (len(view) - clips.clip_len) // 2
    view = view[start : start + clips.clip_len]
    xy = (view - view[:, 0].mean(0)) * clips.scale
    rows = []
    for name, changes in ROWS.items():
        config = CorruptionConfig(**{"masks": {}, "noise": False, **changes})
        rows.append((name, corrupt(xy, config, np.random.default_rng(SEED))))
    masks_figure(Path(__file__).parent / "masks.png", rows, rate_hz=60)


if __name__ == "__main__":
    main(*sys.argv[1:])
