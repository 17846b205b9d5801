"""Stage `download` (cmu): CMU's motion capture archive, from its public address or from where the user has it."""

from langpose.sources.cmu_archive import DownloadConfig, fetch
from pipeline import layout, params

PROFILE = "cmu"


def main() -> None:
    config = params.section(PROFILE, "download", DownloadConfig)
    fetch(layout.data(PROFILE) / "raw" / "cmu", config)


if __name__ == "__main__":
    main()
