"""``python -m pipeline.profiles [PROFILE ...]``: is every parameter of a profile known and of the right type?"""

import sys
from pathlib import Path
from typing import Any

from pipeline import params


def sections() -> dict[str, Any]:
    """Section → its dataclass; where it has one entry a data set or variant, entry → dataclass or one for all."""
    from langpose.clips import ClipsConfig
    from langpose.demo.synthesize import SynthesizeConfig
    from langpose.model.langpose import LangPoseConfig
    from langpose.pairs import PairConfig
    from langpose.projection import ProjectConfig
    from langpose.sources.cmu_archive import DownloadConfig
    from langpose.tasks import BaseConfig, FinetuneConfig, PretrainConfig, Variant
    from pipeline.axes import Axes
    from pipeline.few import FewConfig
    from pipeline.scoring import CONFIGS
    from pipeline.stages import check, complete, convert, embed, film, report

    return {
        "axes": Axes, "synthesize": SynthesizeConfig, "download": DownloadConfig, "film": film.Film,
        "check": check.CheckConfig, "project": ProjectConfig, "pair": PairConfig, "clips": ClipsConfig,
        "model": LangPoseConfig, "base": BaseConfig, "pretrain": PretrainConfig, "embed": embed.EmbedConfig,
        "few": FewConfig, "complete": complete.CompleteConfig, "report": report.ReportConfig,
        "variants": {"*": Variant}, "convert": {"*": convert.ConvertConfig}, "finetune": {"*": FinetuneConfig},
        "evaluate": CONFIGS,
    }  # fmt: skip


def check(profile: str, values: dict[str, Any] | None = None) -> None:
    """Fill every section of ``profile``, or of ``values`` in its place, into its dataclass.

    Raises ``ValueError`` at the first mistake.
    """
    known = sections()
    for name, content in (values or params.load(profile)).items():
        where = f"profiles/{profile}.yaml: {name}"
        kinds = known[name]
        if isinstance(kinds, dict):
            for key in content:
                if key not in kinds and "*" not in kinds:
                    raise ValueError(f"{where}: no entry '{key}'; entries: {', '.join(kinds)}")
                params.fill(content, where, kinds[key] if key in kinds else kinds["*"], key)
        else:
            params.fill(content, where, kinds)


def main(chosen: list[str]) -> None:
    for profile in chosen or sorted(path.stem for path in Path("profiles").glob("*.yaml")):
        try:
            check(profile)
        except ValueError as error:
            sys.exit(str(error))
        print(f"profiles/{profile}.yaml: every parameter is known and typed")


if __name__ == "__main__":
    main(sys.argv[1:])
