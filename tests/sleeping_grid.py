"""The pipeline with stages that sleep: the true dvc.yaml, axes and graph, with seconds in place of hours.

A stage of it reads its dependencies, sleeps in steps that a checkpoint keeps, and writes all its outputs as a function
of what it read. Every beginning and every end is a line in a file, so that work done twice can be counted.
"""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
ME = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}

STAGE = '''"""A stage that sleeps (tests/sleeping_grid.py)."""

import hashlib, json, os, re, signal, sys, time, zipfile
from pathlib import Path

import yaml

AXES = ("profile", "dataset", "variant", "seed")


def digest(path):
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(p.relative_to(path).as_posix().encode() + p.read_bytes() for p in files)).hexdigest()


def say(word):
    with open(os.environ["LANGPOSE_RUNS"], "a") as file:
        file.write(f"{word} {name} {' '.join(sys.argv[1:])} {os.getpid()} {time.time():.3f}\\n")


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    number = int(made[:8], 16) / 2**32
    if path.suffix == ".csv":
        text = "action,joint,p1\\n" + "".join(f"a{i},j{i},{100 * number + i}\\n" for i in range(3))
        if path.name == "history.csv":
            rows = (f"{i},{i + 1},{number + i},{50 * number + 9 - i}\\n" for i in range(9))
            text = "epoch,step,loss,val_mpjpe\\n" + "".join(rows)
    else:
        text = json.dumps({"P1_mm": 100 * number, "val_mpjpe_mm": 50 * number, "made": made})
    temporary = path.with_name(f".{path.name}.tmp")
    if path.suffix == ".npz":
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr(zipfile.ZipInfo("made.txt"), made)  # which has no time of its own
    else:
        temporary.write_text(text)
    temporary.rename(path)


name = Path(__file__).stem
entry = yaml.safe_load(Path("dvc.yaml").read_text())["stages"].get(name)
if entry is None:  # raw data
    entry = {**yaml.safe_load(Path("data/demo/dvc.yaml").read_text())["stages"][name], "deps": [], "matrix": {}}
item = dict(zip(sorted(entry["matrix"], key=AXES.index), sys.argv[1:], strict=True))


def filled(text):
    text = text if isinstance(text, str) else next(iter(text))
    return Path(re.sub(r"\\$\\{item\\.(\\w+)\\}", lambda found: item[found[1]], text))


say("begin")
deps = [filled(dep) for dep in entry.get("deps", []) if filled(dep).parts[0] in ("data", "models", "results")]
made = hashlib.sha256(json.dumps([[str(dep), digest(dep)] for dep in deps] + sys.argv[1:]).encode()).hexdigest()
steps = round(10 * float(os.environ.get("LANGPOSE_SLEEP", "0"))) if "seed" in item else 0
kept = Path(os.environ.get("LANGPOSE_WORK", "work")) / "-".join([name, *sys.argv[1:]]) / made[:16] / "step"
kept.parent.mkdir(parents=True, exist_ok=True)
step = int(kept.read_text()) if kept.exists() else 0
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
while step < steps:
    time.sleep(0.1)
    step += 1
    temporary = kept.with_name(f"step.{os.getpid()}")
    temporary.write_text(str(step))
    temporary.rename(kept)
    if told:
        say("preempted")
        sys.exit(75)
for out in [*entry.get("outs", []), *entry.get("metrics", [])]:
    path = filled(out)
    if path.parts[0] == "reports":
        seeds = [str(seed) for seed in yaml.safe_load(Path("params.yaml").read_text())["seeds"]]
        scores = sorted(f for f in Path("results").rglob("metrics.json") if f.parent.name.rsplit("-", 1)[-1] in seeds)
        path.mkdir(parents=True, exist_ok=True)
        lines = [f"| {file.parent} | {json.loads(file.read_text())['P1_mm']:.6f} |" for file in scores]
        (path / "table1.md").write_text("\\n".join(lines) + "\\n")
        (path / "index.html").write_text("<p>" + "</p><p>".join(lines))
        for plot in ("actions.csv", "pretraining.csv"):
            (path / plot).write_text("action,variant\\n")
    elif path.suffix:
        write(path)
    else:
        for file in ("history.csv", "metrics.json", "config.json", "sequences.parquet", "labels.csv"):
            write(path / file)
say("end")
'''


def git(folder, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=os.environ | ME, check=True, capture_output=True, text=True
    ).stdout.strip()


def origin(folder: Path, changes=None) -> Path:
    """A git repository of this checkout's files with sleeping stages, and ``changes`` (profile demo's axes)."""
    folder.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        kept = not name.startswith(("reports/", "tests/", "docs/", ".ci/")) and not name.endswith("dvc.lock")
        if (kept or name == "reports/cost.json") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    for path in (folder / "pipeline" / "stages").glob("*.py"):
        if path.name != "__init__.py":
            path.write_text(STAGE)
    profile = folder / "profiles" / "demo.yaml"
    values = yaml.safe_load(profile.read_text())
    values["axes"] |= changes or {}
    profile.write_text(yaml.safe_dump(values, sort_keys=False))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "sleeping")
    return folder


def clone(source: Path, folder: Path, remote: Path | str | None) -> Path:
    """A clone, with a DVC remote where one is named."""
    git(source.parent, "clone", "-q", str(source), str(folder))
    if remote is not None:
        (folder / ".dvc" / "config.local").write_text(
            f"[core]\n    remote = share\n['remote \"share\"']\n    url = {remote}\n    verify = true\n"
        )
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """For programs that work in ``folder``: its own packages, this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": str(folder), "PATH": path, "DVC_NO_ANALYTICS": "true", **more}
