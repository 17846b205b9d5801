"""``langpose label INPUT``: what is happening when."""

import argparse
import json
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    action = commands.add_parser(
        "label",
        help="what is happening when: labels of a motion over time",
        description="Say what a person does, over time: windows of the motion beside the texts of labels. INPUT is a "
        "keypoint file, or a folder that `langpose lift` wrote. The model that is here knows the labels of CMU's "
        "motions that it was trained on; how often it is right stands in its card (`langpose info`).",
    )
    action.add_argument("input", type=Path, metavar="INPUT")
    action.add_argument("--model", metavar="MODEL", help="a pretrained model; default: the one that is here")
    action.add_argument("--labels", metavar="TEXT", action="append", help="a label to choose from; may be repeated")
    action.add_argument("--top", type=int, default=1, metavar="N", help="labels a window (default 1: merged over time)")
    action.add_argument("--skeleton", metavar="NAME", help="as for `lift`")
    action.add_argument("--image-size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="as for `lift`")
    action.add_argument("--fps", type=float, help="frames a second; default: the file's")
    action.add_argument("--json", action="store_true", help="print all as json")
    action.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from langpose import spotting
    from langpose.commands.info import open_pretrained
    from langpose.lifting import Lifter

    if arguments.top < 1:
        raise ValueError(f"--top {arguments.top}; expected 1 or more")
    model, folder = open_pretrained(arguments.model)
    names, texts = spotting.labels_of(model, folder, arguments.labels)
    size = tuple(arguments.image_size) if arguments.image_size else None
    options = {"skeleton": arguments.skeleton, "image_size": size}
    spots = spotting.embed(model, spotting.of_keypoints(arguments.input, Lifter(model), arguments.fps, **options))
    found = spotting.label(spots, names, texts, arguments.top)
    shown = spotting.merged(found) if arguments.top == 1 else found
    if arguments.json:
        print(json.dumps(json.loads(shown.drop(columns="motion").to_json(orient="records")), indent=1))
        return 0
    for row in shown.itertuples():
        rank = f"{row.rank}. " if arguments.top > 1 else ""
        print(f"person {row.person}  frames {row.first:5} to {row.last:5}  {row.score:+.2f}  {rank}{row.label}")
    return 0
