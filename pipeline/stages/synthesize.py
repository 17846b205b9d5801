"""Stage `synthesize` (demo): procedural motion, written in the licensed sets' true formats."""

from langpose.demo.synthesize import SynthesizeConfig, synthesize
from pipeline import layout, manifest, params

PROFILE = "demo"


def main() -> None:
    config = params.section(PROFILE, "synthesize", SynthesizeConfig)
    raw = layout.data(PROFILE) / "raw"
    synthesize(raw, config)
    manifest.write(raw, layout.data(PROFILE) / layout.MANIFEST)


if __name__ == "__main__":
    main()
