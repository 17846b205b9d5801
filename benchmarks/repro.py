"""What a profile takes: wall time and peak memory of `make repro`, with all its processes. There is no other side.

    python3 benchmarks/repro.py demo [--json FILE]      in a fresh clone for a run from nothing; any Python with torch

What is cached is not run again and costs nothing: figures are those of what had to be done. Memory is looked at ten
times a second; Linux only.
"""

import argparse
from pathlib import Path

from machine import machine, run_measured, save


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("profile", choices=("demo", "cmu", "paper"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    where = machine(None, "as the profile says")
    used = run_measured(["make", "repro", f"PROFILE={options.profile}"], cwd=Path(__file__).parent.parent)
    print(
        f"\n{where}\nmake repro PROFILE={options.profile}: {used.seconds / 60:.1f} minutes; peak memory of all "
        f"processes {used.peak_together / 1e9:.2f} GB, without mapped files {used.anonymous_together / 1e9:.2f} GB, "
        f"of the largest {used.peak_one / 1e9:.2f} GB"
    )
    save(options.json, {"machine": where, "profile": options.profile, **vars(used)})


if __name__ == "__main__":
    main()
