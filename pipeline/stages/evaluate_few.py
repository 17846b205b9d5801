"""Stage `evaluate_few`: as `evaluate`, of what `finetune_few` trained."""

import sys

from pipeline import params
from pipeline.few import FewConfig
from pipeline.stages.evaluate import evaluate_cell


def main(profile: str, dataset: str, variant: str, seed: str) -> None:
    evaluate_cell(profile, dataset, variant, int(seed), params.section(profile, "few", FewConfig))


if __name__ == "__main__":
    main(*sys.argv[1:])
