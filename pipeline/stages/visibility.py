"""Stage `visibility`: how visible each action's joints are in the test set, before any training (4.2, footnote 1)."""

import sys

from langpose.lifting_sets import open_split
from langpose.storage import replacing
from langpose.visibility import by_action, seen
from pipeline import layout


def main(profile: str, dataset: str) -> None:
    data = open_split(layout.lifting(profile, dataset), "test")
    with replacing(layout.visible(profile, dataset)) as temporary:
        by_action(data, seen(data)).to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
