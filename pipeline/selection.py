"""What params.yaml lists: the profiles and axes that dvc.yaml makes cells of."""

from dataclasses import asdict

import yaml

from langpose.storage import replacing
from pipeline.axes import PARAMS, Axes


def listed() -> list[str]:
    """The profiles that params.yaml lists."""
    return list(yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["profiles"])


def list_alone(profile: str, axes: Axes) -> None:
    """Make ``profile`` with ``axes`` what params.yaml lists, under the comment that stands at its top."""
    head = [line for line in PARAMS.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    body = yaml.safe_dump({"profiles": [profile], **asdict(axes)}, sort_keys=False)
    text = "\n".join([*head, body])
    if text != PARAMS.read_text(encoding="utf-8"):
        with replacing(PARAMS) as temporary:
            temporary.write_text(text, encoding="utf-8")
