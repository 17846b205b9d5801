"""A page that plays lifted poses beside their 2D input: the report's player, without a truth to compare with."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from langpose import player, report
from langpose.lifting import Poses, stature
from langpose.report import PAPERS
from langpose.storage import replacing

BODY_MM = 1700.0
"""The player's unit is a millimetre: bodies of unknown size are shown as high as this."""


def save_html(
    path: str | os.PathLike[str], people: Sequence[Poses], rate_hz: float, title: str = "Lifted poses"
) -> None:
    """Write a self-contained page (opens from disk, asks for nothing outside itself) that plays each stretch.

    Raises ``ValueError`` for poses that cannot be played.
    """
    from jinja2 import Environment, StrictUndefined

    clips = [clip for poses in people for clip in clips_of(poses, rate_hz)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(report._source("viewer.html.j2")).render(
        title=title, clips=clips, people=sorted({clip.action for clip in clips}), 
        frames=sum(len(clip.ours_mm) for clip in clips),
        colours={mode: report._colours(mode) for mode in PAPERS}, style=report.Markup(report._source("report.css")),
        scripts=[report.Markup(report._source(name)) for name in ("report.js", "player.js")],
        player_data=report._in_script(player.to_json(clips)),
    )  # fmt: skip
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def clips_of(poses: Poses, rate_hz: float) -> list[player.Clip]:
    """A player's clip of each stretch; the pose stands in for the truth that there is none of."""
    size = stature(poses.joints)
    shown = replace(poses, joints=poses.joints * (BODY_MM / size if size > 0 else 1.0))
    seen = poses.keypoints[..., 2] > 0
    largest = float(np.abs(poses.keypoints[seen][:, :2]).max()) if seen.any() else 1.0
    two_d = poses.keypoints.astype(np.float64) / (largest, largest, 1)
    ends = [*poses.starts[1:], len(poses.frames)]
    clips = []
    for start, end in zip(poses.starts, ends, strict=True):
        name = f"frames {poses.frames[start]} to {poses.frames[end - 1]}"
        part = shown.joints[start:end]
        clips.append(player.Clip(name, f"person {poses.person}", "", rate_hz, 0.0, two_d[start:end], part, part, part))
    return clips
