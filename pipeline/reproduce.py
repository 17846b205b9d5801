"""``python -m pipeline.reproduce [PROFILE]``: run the pipeline for a profile, then say where its report is.

With a profile named, its own axes (profiles/<profile>.yaml, section ``axes``) are written into params.yaml first;
without, params.yaml is used as it is.
"""

import os
import subprocess
import sys
from pathlib import Path

from pipeline import dvc_commands, layout, params, selection
from pipeline.axes import Axes


def select(profile: str) -> None:
    """Write the axes of ``profile`` into params.yaml."""
    selection.list_alone(profile, params.section(profile, "axes", Axes))


def main(arguments: list[str]) -> int:
    if len(arguments) > 1:
        raise SystemExit(__doc__)
    if arguments:
        select(arguments[0])
    for line in dvc_commands.mend():
        print(line)
    # stages say `python`: this one, also where its environment is not on the path
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    code = subprocess.run([sys.executable, "-m", "dvc", "repro"], env=os.environ | {"PATH": path}).returncode
    if code:
        return code
    for profile in selection.listed():
        folder = layout.report(profile)
        print(f"\nreport of profile '{profile}': {(folder / 'index.html').resolve()}")
        table = (folder / "table1.md").read_text().splitlines()
        print("\n".join(table[:12]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
