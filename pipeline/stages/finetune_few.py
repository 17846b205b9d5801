"""Stage `finetune_few`: as `finetune`, on a small share of the training sequences (not in the paper)."""

import sys
from dataclasses import replace

from langpose.tasks import FinetuneConfig
from pipeline import layout, params
from pipeline.few import FewConfig
from pipeline.stages.finetune import finetune


def main(profile: str, dataset: str, variant: str, seed_text: str) -> None:
    config = params.section(profile, "finetune", FinetuneConfig, dataset)
    few = params.section(profile, "few", FewConfig)
    out = layout.finetuned(profile, dataset, variant, int(seed_text), few=True)
    share = replace(config, fraction=few.fraction)
    facts = {"share of the training sequences": few.fraction}
    finetune(profile, dataset, variant, int(seed_text), share, out, facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
