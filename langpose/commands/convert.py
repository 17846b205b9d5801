"""``langpose convert CHECKPOINT -o MODEL``: MotionBERT's weights as a model of ours."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    action = commands.add_parser(
        "convert",
        help="a MotionBERT checkpoint as a model folder",
        description="Write a MotionBERT checkpoint (.bin) as a model folder that `lift` and the pipeline load. "
        "Nothing in the file is run. Its sizes are read from the weights; heads and most frames are not in them.",
    )
    action.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    action.add_argument("-o", "--out", type=Path, required=True, metavar="MODEL", help="folder to write")
    action.add_argument("--heads", type=int, default=8, help="attention heads (default 8: all released ones)")
    action.add_argument("--tuned-on", choices=("human36m", "pretrained"), default="human36m",
                        help="what the weights were trained for last (default human36m: FT_… checkpoints)")  # fmt: skip
    action.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from langpose.conversion import convert

    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        raise ValueError(f"{arguments.out}: is there already; name a folder that is not")
    print(convert(arguments.checkpoint, arguments.out, arguments.heads, arguments.tuned_on))
    return 0
