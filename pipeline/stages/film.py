"""Stage `film` (cmu): held-out subjects through virtual cameras, as Human3.6M and MPI-INF-3DHP files; the manifest."""

from dataclasses import dataclass, field

from langpose.filming import FilmConfig
from langpose.sources.cmu_filming import LiftingConfig, film_cmu
from pipeline import layout, manifest, params

PROFILE = "cmu"


@dataclass(frozen=True)
class Film:
    """Section `film`."""

    seed: int = 0
    """Of cameras and detector noise."""
    motion: LiftingConfig = field(default_factory=LiftingConfig)
    cameras: FilmConfig = field(default_factory=FilmConfig)


def main() -> None:
    config = params.section(PROFILE, "film", Film)
    raw = layout.data(PROFILE) / "raw"
    film_cmu(raw / "cmu", raw, config.motion, config.cameras, config.seed)
    manifest.write(raw, layout.data(PROFILE) / layout.MANIFEST)


if __name__ == "__main__":
    main()
