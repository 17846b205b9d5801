"""``langpose complete INPUT -o OUT --hide A B``: what a pretrained model makes of frames that are not shown to it."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    action = commands.add_parser(
        "complete",
        help="fill frames that are hidden or missing",
        description="Lift a motion whose frames A to B are hidden from the model, which fills them by what goes "
        "before and after: it was pretrained to (masked motion modelling). Missing frames of up to --max-gap are "
        "filled the same way. OUT is as of `langpose lift`.",
    )
    action.add_argument("input", type=Path, metavar="INPUT", help="keypoint file")
    action.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the results")
    action.add_argument("--hide", type=int, nargs=2, metavar=("A", "B"), help="first and last frame to hide")
    action.add_argument("--model", metavar="MODEL", help="a pretrained model; default: the one that is here")
    action.add_argument("--skeleton", metavar="NAME", help="as for `lift`")
    action.add_argument("--image-size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="as for `lift`")
    action.add_argument("--person", default="all", help="as for `lift`")
    action.add_argument("--max-gap", type=int, default=10, metavar="N", help="as for `lift`")
    action.add_argument("--fps", type=float, help="as for `lift`")
    action.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from langpose import people, pose_files
    from langpose.commands.info import open_pretrained
    from langpose.commands.lift import RATE_HZ
    from langpose.keypoint_files import read
    from langpose.lifting import Lifter

    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"{arguments.out}: is a file; expected a folder for the results")
    found = read(arguments.input, arguments.skeleton, tuple(arguments.image_size) if arguments.image_size else None)
    who = people.chosen(people.tracks(found, arguments.max_gap), arguments.person)
    model, folder = open_pretrained(arguments.model)
    lifter = Lifter(model, max_gap=arguments.max_gap)
    rate_hz = arguments.fps or found.rate_hz or RATE_HZ
    hidden = [lifter.hidden(track, arguments.hide, rate_hz) for track in who]
    lifted = lifter.people(hidden, replace(found, rate_hz=rate_hz))
    facts = {"model": str(folder), "input": str(arguments.input), "hidden": arguments.hide,
             "note": "frames marked 'filled' were not shown to the model"}  # fmt: skip
    pose_files.save(arguments.out, lifted, rate_hz, facts)
    print(arguments.out / pose_files.ARRAYS)
    return 0
