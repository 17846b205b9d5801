"""MLflow's registered models: fine-tuned weights and their config, under the profile and the data set.

    python -m pipeline.registry fetch models:/langpose-cmu-human36m@best -o FOLDER

``fetch`` brings a registered model into a folder that `LangPose.from_pretrained` and ``langpose lift --model`` take.
The alias ``best`` is the version of least validation error. Models are safetensors and json, never pickles.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException

from langpose.storage import replacing_folder
from pipeline.graph import Stage

MADE, SCORE = "langpose.made", "val_mpjpe_mm"
"""Tags of a version: the hash of what its stage made, and its validation error."""
FILES = ("model.safetensors", "config.json", "README.md")
"""What is taken of a registered model, and nothing else."""


def name_of(profile: str, stage: Stage) -> str:
    few = "-few" if stage.kind.endswith("_few") else ""
    return f"langpose-{profile}-{stage.axes['dataset']}{few}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def register(
    client: MlflowClient, experiment: str, run_id: str, name: str, folder: Path, facts: Mapping[str, str]
) -> None:
    """Register the model in ``folder`` as a version of ``name``, once; ``facts`` (`MADE` among them) are its tags."""
    if not client.search_registered_models(f"name = '{name}'"):
        try:
            client.create_registered_model(name, description="Fine-tuned pose encoders; alias best: by validation.")
        except MlflowException:  # somebody else may have just done so
            if not client.search_registered_models(f"name = '{name}'"):
                raise
    if any(v.tags.get(MADE) == facts[MADE] for v in client.search_model_versions(f"name = '{name}'")):
        return
    called = facts.get("langpose.cell", name).replace(" ", "-")
    model = client.create_logged_model(
        experiment, name=called, source_run_id=run_id, tags=dict(facts), model_type="langpose"
    )
    client.log_model_artifacts(model.model_id, str(folder))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    client.log_model_params(model.model_id, {k: str(v) for k, v in list(flat(config).items())[:100]})
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    score = {SCORE: str(metrics[SCORE])} if SCORE in metrics else {}
    client.create_model_version(
        name, model.artifact_location, run_id=run_id, tags={**facts, **score}, model_id=model.model_id
    )


def choose_best(client: MlflowClient, profile: str) -> dict[str, str]:
    """Give the alias ``best`` of each registered model to the version of least validation error; name → version."""
    chosen = {}
    for model in client.search_registered_models(f"name LIKE 'langpose-{profile}-%'"):
        versions = client.search_model_versions(f"name = '{model.name}'")
        scored = [(float(v.tags[SCORE]), int(v.version)) for v in versions if SCORE in v.tags]
        if scored:
            chosen[model.name] = str(min(scored)[1])
            client.set_registered_model_alias(model.name, "best", chosen[model.name])
    return chosen


def fetch(uri: str, folder: Path, tracking_uri: str | None = None) -> Path:
    """Bring a registered model, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``, to ``folder``.

    Raises ``ValueError``.
    """
    if not uri.startswith("models:/"):
        raise ValueError(f"{uri!r}: expected models:/NAME@ALIAS or models:/NAME/VERSION")
    with replacing_folder(folder) as temporary:
        for name in FILES:
            try:
                got = Path(
                    download_artifacts(artifact_uri=f"{uri}/{name}", dst_path=str(temporary), tracking_uri=tracking_uri)
                )
            except (MlflowException, OSError) as error:
                raise ValueError(f"{uri}: {name} was not to be had from MLflow: {str(error)[:300]}") from error
            if got != temporary / name:
                got.replace(temporary / name)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("command", choices=["fetch"])
    parser.add_argument("uri", help="models:/NAME@best")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args(arguments)
    print(fetch(options.uri, options.out, os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"))


if __name__ == "__main__":
    main()
