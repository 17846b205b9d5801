"""The command ``langpose``: lift keypoints, search and label motion, look at models and data.

Exit codes: 0 done; 1 not done, the message says why (of checks: something is not well); 2 the command was misspelt;
130 interrupted. Results go to standard output, progress and notes to standard error; ``--json`` makes results json.
Nothing is left half written.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence

import shtab

from langpose import __version__
from langpose.commands import complete, convert, data, doctor, info, label, lift, search

EXAMPLES = """\
examples:
  langpose lift poses.json -o out/ --render out/poses.mp4
  langpose lift detections/ -o out/ --skeleton body25 --person largest --scale 1.78
  langpose label out/ --top 3
  langpose search "kick a ball" --in data/cmu --model models/cmu/pretrain/mmm_map-0
  langpose info
  langpose doctor
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    found = argparse.ArgumentParser(
        prog="langpose",
        description="3D human poses from 2D keypoints, and what people are doing in them. "
        "`langpose COMMAND --help` says more of each command.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--version", action="version", version=f"langpose {__version__}")
    shtab.add_argument_to(found, "--print-completion", help="print the completion for a shell, to be sourced")
    commands = found.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (lift, label, search, complete, info, convert, data, doctor):
        command.add(commands)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the shell's) and return its exit code."""
    arguments = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        return int(arguments.run(arguments) or 0)
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # `langpose ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            print(f"langpose: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
