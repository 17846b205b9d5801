"""Stage `project`: AMASS or CMU motion -> Human3.6M-17 joints -> orthographic front and side views."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from langpose.projection import Job, ProjectConfig, project
from langpose.sources import amass, babel, cmu, cmu_labels
from pipeline import layout, params


def amass_jobs(raw: Path, subsets: Sequence[str]) -> tuple[list[Job], dict[str, str]]:
    """AMASS files of ``subsets`` (none: of all), split by subject as BABEL's split has it; and why others are not."""
    amass.require_subsets(subsets)
    root = raw / "amass"
    names = {file: amass.sequence_id(file.relative_to(root)) for file in amass.find(root)}
    chosen = {file: name for file, name in names.items() if not subsets or name.partition("/")[0] in subsets}
    if not chosen:
        raise ValueError(f"{root}: holds nothing of the subsets {', '.join(subsets)} (project.subsets)")
    splits = babel.subject_splits(names.values(), babel.splits(raw / "babel"))
    read = partial(amass.read, body_models=raw / "body_models", root=root)
    bodies = tuple(sorted((raw / "body_models").rglob("*.np[yz]")))
    jobs = [Job(name, splits[amass.subject_of(name)], file, read, bodies) for file, name in chosen.items()]
    return jobs, {name: "its subset is not in project.subsets" for file, name in names.items() if file not in chosen}


def cmu_jobs(raw: Path) -> list[Job]:
    """Every CMU trial. The validation subjects validate, those of fine-tuning and test are held out, others train."""
    part = {f"{s:02d}": name for name, subjects in cmu_labels.SPLITS.items() for s in subjects}
    split = {"finetune": "test", "val": "val", "test": "test"}
    cmu_folder, jobs = raw / "cmu", []
    for file in sorted((cmu_folder / "subjects").glob("*/*.amc")):
        subject = file.parent.name
        inputs = (file.with_name(f"{subject}.asf"), cmu_folder / "index.csv")  # the skeleton, and the frame rates
        jobs.append(Job(file.stem, split.get(part.get(subject, ""), "train"), file, cmu.read, inputs))
    return jobs


def main(profile: str) -> None:
    config = params.section(profile, "project", ProjectConfig)
    folder = layout.data(profile)
    raw = folder / "raw"
    left_out: dict[str, str] = {}
    if (raw / "cmu").is_dir():
        jobs = cmu_jobs(raw)
    else:
        jobs, left_out = amass_jobs(raw, config.subsets)
    project(jobs, folder / "motions", folder / "views", config, layout.work("project", profile), left_out)


if __name__ == "__main__":
    main(*sys.argv[1:])
