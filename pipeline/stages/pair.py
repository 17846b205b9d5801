"""Stage `pair`: BABEL's or CMU's labels <-> motion segments, transitions as "transit from A to B"."""

import json
import sys

import pandas as pd

from langpose.pairs import PairConfig, label_counts, make_pairs
from langpose.sources import babel, cmu_labels
from langpose.storage import replacing, replacing_folder
from pipeline import layout, params


def main(profile: str) -> None:
    config = params.section(profile, "pair", PairConfig)
    folder = layout.data(profile)
    raw = folder / "raw"
    labels = cmu_labels.labels(raw / "cmu") if (raw / "cmu").is_dir() else babel.read(raw / "babel")
    sequences = pd.read_parquet(folder / "motions" / "sequences.parquet")
    pairs, report = make_pairs(labels, sequences, config)
    if absent := report["recordings without motion"]:
        print(
            f"{absent} of {report['recordings']} labelled recordings have no motion (a subset that is not there, or "
            f"files that could not be used); {folder}/pairs/report.json names them",
            file=sys.stderr,
        )
    with replacing(folder / "pairs.parquet") as temporary:
        pairs.to_parquet(temporary)
    with replacing_folder(folder / "pairs") as temporary:
        label_counts(pairs).to_csv(temporary / "labels.csv", index=False, lineterminator="\n")
        (temporary / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
