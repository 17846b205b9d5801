"""A page that plays lifted poses beside their 2D input: the report's player, without a truth to compare with."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from langpose import player, report
from langpose.lifting import Poses, stature
from langpose.people import stretches
from langpose.report import PAPERS
from langpose.skeleton import PARENTS
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
    try:
        scale = BODY_MM / stature(poses.joints)
    except ValueError:
        scale = 1.0
    shown = replace(poses, joints=poses.joints * scale)
    seen = poses.keypoints[..., 2] > 0
    largest = float(np.abs(poses.keypoints[seen][:, :2]).max()) if seen.any() else 1.0
    two_d = _together(poses.keypoints) / (largest, largest, 1)
    clips = []
    for rows in stretches(poses.starts, len(poses.frames)):
        name = f"frames {poses.frames[rows][0]} to {poses.frames[rows][-1]}"
        part = shown.joints[rows]
        clips.append(
            player.Clip(name, f"person {poses.person}", "", rate_hz / poses.step, 0.0, two_d[rows], part, part, part)
        )
    return clips


def _together(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints (F, 17, 3) whose unseen joints lie at the nearest seen one towards the root, or where any is seen.

    The player draws every joint, and unsure limbs dotted: so those of joints that nobody saw have no length.
    """
    points = keypoints.astype(np.float64)
    seen = points[..., 2] > 0
    middle = (points[..., :2] * seen[..., None]).sum(1) / np.maximum(seen.sum(1), 1)[:, None]
    for joint, parent in enumerate(PARENTS):
        stand_in = middle if parent < 0 else points[:, parent, :2]
        points[:, joint, :2] = np.where(seen[:, joint, None], points[:, joint, :2], stand_in)
    return points
