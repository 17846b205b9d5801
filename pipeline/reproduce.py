"""``python -m pipeline.reproduce [PROFILE]``: run the pipeline for a profile, then say where its report is.

With a profile named, its own axes (profiles/<profile>.yaml, section ``axes``) are written into params.yaml first;
without, params.yaml is used as it is.
"""

import subprocess
import sys
from pathlib import Path

import yaml

from langpose.storage import replacing
from pipeline import layout

PARAMS = Path("params.yaml")
AXES = ("profiles", "datasets", "variants", "seeds")


def select(profile: str) -> None:
    """Write the axes of ``profile`` into params.yaml, under the comment that stands at its top."""
    path = Path("profiles") / f"{profile}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise SystemExit(f"no profile '{profile}': there is no {path}; profiles: {known}")
    axes = {"profiles": [profile], **yaml.safe_load(path.read_text())["axes"]}
    head = [line for line in PARAMS.read_text().splitlines() if line.startswith("#")]
    body = yaml.safe_dump({name: axes[name] for name in AXES}, sort_keys=False)
    text = "\n".join([*head, body])
    if text != PARAMS.read_text():
        with replacing(PARAMS) as temporary:
            temporary.write_text(text)


def main(arguments: list[str]) -> int:
    if len(arguments) > 1:
        raise SystemExit(__doc__)
    if arguments:
        select(arguments[0])
    code = subprocess.run([sys.executable, "-m", "dvc", "repro"], check=False).returncode
    if code:
        return code
    for profile in yaml.safe_load(PARAMS.read_text())["profiles"]:
        folder = layout.report(profile)
        print(f"\nreport of profile '{profile}': {(folder / 'index.html').resolve()}")
        table = (folder / "table1.md").read_text().splitlines()
        print("\n".join(table[:12]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
