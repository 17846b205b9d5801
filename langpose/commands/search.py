"""``langpose search TEXT --in MOTIONS``: where in many motions something happens."""

import argparse
import json
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    action = commands.add_parser(
        "search",
        help="find motion by words",
        description="Find the stretches of motion that a text describes best. MOTIONS is a profile's data (data/cmu), "
        "or a folder of keypoint files or of what `langpose lift` wrote. Any text takes a model with its text stream "
        "(models/<profile>/pretrain/…, of your own run); the model that is here knows its labels alone.",
    )
    action.add_argument("text", metavar="TEXT")
    action.add_argument("--in", dest="motions", type=Path, required=True, metavar="MOTIONS")
    action.add_argument("--model", metavar="MODEL", help="a pretrained model; default: the one that is here")
    action.add_argument("--top", type=int, default=10, metavar="N", help="how many to show (default 10)")
    action.add_argument("--json", action="store_true", help="print them as json")
    action.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from langpose import spotting
    from langpose.commands.info import open_pretrained
    from langpose.lifting import Lifter

    if arguments.top < 1:
        raise ValueError(f"--top {arguments.top}; expected 1 or more")
    if not arguments.text.strip():
        raise ValueError("the text is empty; expected words, as in 'kick a ball'")
    model, folder = open_pretrained(arguments.model)
    _, texts = spotting.labels_of(model, folder, [arguments.text])
    spots = spotting.embed(model, spotting.motions(arguments.motions, Lifter(model)))
    found = spotting.search(spots, texts[0], arguments.top)
    if arguments.json:
        print(json.dumps(json.loads(found.to_json(orient="records")), indent=1))
        return 0
    for row in found.itertuples():
        print(f"{row.score:+.2f}  {row.motion}  person {row.person}  frames {row.first} to {row.last}")
    return 0
