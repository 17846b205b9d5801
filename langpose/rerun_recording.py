"""Poses as a rerun recording (.rrd), to be looked at with ``rerun poses.rrd``: an optional extra."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langpose.lifting import Poses
from langpose.rendering import COLOURS, side
from langpose.skeleton import LIMBS


def check() -> Any:
    """The library. Raises ``ValueError`` where it is not installed."""
    try:
        import rerun
    except ImportError as error:
        raise ValueError('rerun recordings need rerun: pip install "langpose[rerun]"') from error
    return rerun


def save(path: str | os.PathLike[str], people: Sequence[Poses], rate_hz: float) -> None:
    """Write the 3D limbs and the 2D keypoints of every frame."""
    rerun = check()
    recording = rerun.RecordingStream("langpose")
    recording.save(str(Path(path)))
    recording.log("poses", rerun.ViewCoordinates.RDF, static=True)
    colours = [COLOURS[side(joint)] for _, joint in LIMBS]
    for poses in people:
        name = f"person{poses.person}"
        for row, frame in enumerate(poses.frames.tolist()):
            recording.set_time("frame", sequence=frame)
            recording.set_time("time", duration=frame / rate_hz)
            limbs = [poses.joints[row, [parent, joint]] for parent, joint in LIMBS]
            recording.log(f"poses/{name}", rerun.LineStrips3D(limbs, colors=colours))
            seen = poses.keypoints[row, :, 2] > 0
            recording.log(f"image/{name}", rerun.Points2D(poses.keypoints[row, seen, :2]))
    recording.flush()
