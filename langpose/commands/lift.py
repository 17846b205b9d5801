"""``langpose lift INPUT -o out/``: 2D keypoints of a detector → 3D poses."""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from langpose.joint_maps import SKELETONS

RATE_HZ = 30.0
"""Frames a second where neither the file nor the user says."""


def add(commands: Any) -> None:
    action = commands.add_parser(
        "lift",
        help="3D poses from a detector's 2D keypoints",
        description="Lift 2D keypoints to 3D. INPUT is what AlphaPose, OpenPose, MMPose, COCO tools or Ultralytics "
        "write, or npz or csv (docs/keypoints.md). OUT gets poses.npz, and poses.json, which says what its numbers "
        "mean. Joints are relative to the root, x right, y down, z away from the camera; in pixels of the image at "
        "the root, unless --scale makes them metres.",
    )
    action.add_argument(
        "input", metavar="INPUT", help="keypoint file, or folder with a file a frame; '-' with --stream"
    )
    action.add_argument("-o", "--out", type=Path, metavar="OUT", help="folder for the results")
    action.add_argument(
        "--model", metavar="MODEL", help="model folder or hub name; default: the small one that is here"
    )
    what = action.add_argument_group("what the input is")
    what.add_argument("--skeleton", metavar="NAME", help=f"where joints' number leaves it open: {', '.join(SKELETONS)}")
    what.add_argument("--image-size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="pixels")
    what.add_argument("--fps", type=float, help=f"frames a second; default: the file's, else {RATE_HZ:g}")
    what.add_argument("--person", default="all", help="all (default), largest, longest, or a track's number")
    what.add_argument("--max-gap", type=int, default=10, metavar="N", help="missing frames to fill (default 10)")
    how = action.add_argument_group("how it is lifted")
    how.add_argument("--scale", type=float, metavar="METRES", help="height of the body: joints in metres")
    how.add_argument(
        "--framing", choices=("person", "image"), default="person",
        help="person (default): any camera; image: as the data sets' cameras, by the image's width",
    )  # fmt: skip
    how.add_argument("--no-flip", action="store_true", help="do not average with the mirror image: twice as fast")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    how.add_argument(
        "--stream", action="store_true",
        help="causal: each frame from those before it. With INPUT '-', json lines {\"frame\", \"keypoints\"} are read "
        "from standard input, and poses written as they come",
    )  # fmt: skip
    more = action.add_argument_group("what else is written")
    more.add_argument("--render", type=Path, action="append", default=[], metavar="FILE", help=".mp4, .gif or .html")
    more.add_argument("--video", type=Path, help="drawn behind the 2D input (mp4, gif)")
    more.add_argument("--turn", type=float, default=0.0, metavar="DEGREES", help="turn the rendered 3D view")
    more.add_argument("--export", action="append", default=[], choices=("csv", "bvh", "rerun"), help="into OUT, too")
    action.add_argument("--json", action="store_true", help="print poses.json")
    action.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from langpose import lifting, people, pose_files
    from langpose.commands.info import open_model
    from langpose.keypoint_files import read

    _check_options(arguments)
    size = tuple(arguments.image_size) if arguments.image_size else None
    if arguments.input == "-":
        return _live(arguments, size)
    found = read(arguments.input, arguments.skeleton, size)
    rate_hz, known = arguments.fps or found.rate_hz or RATE_HZ, bool(arguments.fps or found.rate_hz)
    found = replace(found, rate_hz=rate_hz)
    who = people.chosen(people.tracks(found, arguments.max_gap), arguments.person)
    model, name = open_model(arguments.model)
    lifter = lifting.Lifter(
        model, arguments.device, not arguments.no_flip, arguments.framing, max_gap=arguments.max_gap
    )
    began = time.perf_counter()
    notes = [*found.notes]
    if arguments.stream:
        lifted, latency = lifter.causal(who, found)
        notes.append(f"causal; {1000 * float(np.median(latency)):.1f} ms a frame, the slowest "
                     f"{1000 * float(np.max(latency)):.1f} ms")  # fmt: skip
    else:
        lifted = lifter.people(who, found, progress=True)
    seconds = time.perf_counter() - began
    if arguments.scale is not None:
        lifted = [poses.in_metres(arguments.scale) for poses in lifted]
    if not known:
        notes.append(f"frames a second are not in the file: {RATE_HZ:g} is assumed (--fps)")
    if lifter.rows_a_frame(rate_hz, lifted[0].step) != 1:
        notes.append(f"{rate_hz / lifted[0].step:g} frames a second are brought to the model's {lifter.rate_hz:g}, and "
                     "poses back, by straight lines")  # fmt: skip
    if any(2 * len(poses.starts) > len(poses.frames) > 2 for poses in lifted):
        notes.append("most frames stand alone: their numbers have no even step. Are they time stamps?")
    facts: dict[str, Any] = {
        "model": name, "input": str(arguments.input), "format": found.format, "input_skeleton": found.skeleton.name,
        "framing": arguments.framing, "flip": lifter.flip, "notes": notes,
    }  # fmt: skip
    pose_files.save(arguments.out, lifted, rate_hz, facts)
    _write_more(arguments, lifted, rate_hz)
    told = json.loads((arguments.out / pose_files.FACTS).read_text(encoding="utf-8"))
    if arguments.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    print(arguments.out / pose_files.ARRAYS)
    frames = sum(len(poses.frames) for poses in lifted)
    say = [f"{frames:,} frames of {len(lifted)} {'person' if len(lifted) == 1 else 'people'} ({found.format}, "
           f"{found.skeleton.name}) in {told['unit']}, {frames / seconds:,.0f} frames a second"]  # fmt: skip
    for person in told["people"]:
        parts = f", in {len(person['stretches'])} stretches" if len(person["stretches"]) > 1 else ""
        filled = f", {person['filled']} filled in" if person["filled"] else ""
        say.append(f"person {person['person']}: {person['frames']:,} frames{filled}{parts}")
    if sys.stderr.isatty():
        print("\n".join([*say, *notes]), file=sys.stderr)
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise before anything is read or written, for what would fail at the end."""
    if arguments.input == "-" and not arguments.stream:
        raise ValueError("INPUT '-' is a live stream: say --stream")
    if arguments.input == "-":
        without = {
            "-o": arguments.out, "--scale": arguments.scale, "--render": arguments.render,
            "--video": arguments.video, "--export": arguments.export,
        }  # fmt: skip
        if given := [name for name, value in without.items() if value]:
            raise ValueError(f"{', '.join(given)}: not for a live stream ('-'), which writes lines to standard output")
    if arguments.video and not any(path.suffix in (".mp4", ".gif") for path in arguments.render):
        raise ValueError("--video is drawn behind the 2D input of an mp4 or gif: say which, --render FILE")
    if arguments.input != "-" and arguments.out is None:
        raise ValueError("no folder for the results: -o OUT")
    if arguments.out is not None and arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"{arguments.out}: is a file; expected a folder for the results")
    if arguments.fps is not None and not 0 < arguments.fps <= 1000:
        raise ValueError(f"--fps {arguments.fps:g}; expected frames a second, up to 1000")
    if arguments.max_gap < 0:
        raise ValueError(f"--max-gap {arguments.max_gap}; expected 0 frames or more")
    if arguments.scale is not None and not 0.3 <= arguments.scale <= 2.8:
        raise ValueError(f"--scale {arguments.scale:g}; expected the body's height in metres, 0.3 to 2.8")
    if arguments.render or arguments.video:
        from langpose import rendering

        rendering.check([Path(name) for name in arguments.render], arguments.video)
    if "rerun" in arguments.export:
        from langpose import rerun_recording

        rerun_recording.check()


def _write_more(arguments: argparse.Namespace, lifted: list[Any], rate_hz: float) -> None:
    from langpose import bvh, pose_files, rendering

    if "csv" in arguments.export:
        pose_files.save_csv(arguments.out / pose_files.TABLE, lifted)
    if "bvh" in arguments.export:
        for poses in lifted:
            for number, part in enumerate(poses.stretches()):
                name = f"person{poses.person}" + (f"-{number + 1}" if len(poses.starts) > 1 else "")
                bvh.save(arguments.out / f"{name}.bvh", part, rate_hz / poses.step)
    if "rerun" in arguments.export:
        from langpose import rerun_recording

        rerun_recording.save(arguments.out / "poses.rrd", lifted, rate_hz)
    for path in arguments.render:
        rendering.save(path, lifted, rate_hz, arguments.video, arguments.turn, progress=True)


def _live(arguments: argparse.Namespace, size: tuple[int, ...] | None) -> int:
    """Json lines in, json lines out; ends with the input."""
    import numpy as np

    from langpose.commands.info import open_model
    from langpose.joint_maps import of_count
    from langpose.lifting import Lifter

    lifter = Lifter(open_model(arguments.model)[0], arguments.device, not arguments.no_flip, arguments.framing)
    stream, before = None, 0
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        try:
            message = json.loads(line)
            points = np.asarray(message["keypoints"], np.float64)
            if points.ndim != 2 or points.shape[1] != 3:
                raise ValueError(f"keypoints of shape {points.shape}; expected (joints, 3): x, y, confidence")
            frame = int(message.get("frame", number - 1))
            if stream is None or not 0 < frame - before <= arguments.max_gap + 1:  # begun anew after a gap
                name = arguments.skeleton or ("coco17" if len(points) == 17 else of_count(len(points)).name)
                stream = lifter.stream(name, (size[0], size[1]) if size else None, arguments.fps or RATE_HZ)
            joints = stream.push(points)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"standard input, line {number}: {error}") from error
        before = frame
        print(json.dumps({"frame": frame, "unit": lifter.unit,
                          "joints": np.round(joints, 3).tolist()}), flush=True)  # fmt: skip
    return 0
