"""Stage `convert`: Human3.6M's pickle or MPI-INF-3DHP's npz files -> checked, memory-mapped arrays."""

import sys
from dataclasses import dataclass, field

from langpose.lifting_sets import convert_human36m, convert_mpi_inf_3dhp
from pipeline import layout, params


@dataclass(frozen=True)
class ConvertConfig:
    """Parameters of the stage, one entry a data set."""

    validation_subjects: list[int] = field(default_factory=list)
    """Subjects of the training half held out for every choice; empty: none, and the last checkpoint is used."""


def main(profile: str, dataset: str) -> None:
    config = params.section(profile, "convert", ConvertConfig, dataset)
    convert = {"human36m": convert_human36m, "mpi_inf_3dhp": convert_mpi_inf_3dhp}[dataset]
    raw = layout.data(profile) / "raw" / dataset
    convert(raw, layout.lifting(profile, dataset), config.validation_subjects)


if __name__ == "__main__":
    main(*sys.argv[1:])
