"""MLflow shows what DVC's cache holds: an experiment a profile, a parent run a grid, its cells as children.

    python -m pipeline.tracking sync          what params.yaml lists and lies here, and MLflow lacks

A child is a model and what was measured on it: ``base 0``, ``mmm_map 0`` (pretraining, retrieval, completion),
``human36m mmm_map 0`` (fine-tuning, scores). A stage is logged once: the child's tag ``dvc.<stage>`` is the hash of its
lock entry, so a result that is restored, or logged by several at once, stays one. Workers show curves while they
train; what they could not log, because MLflow was away or they died, `sync` adds.

Names of environment variables are MLflow's own (MLFLOW_TRACKING_URI); where none is set, workers log nothing, and
`sync` writes to mlflow.db, where ``mlflow ui`` looks.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

# Models are weights and json, never pickles; MLflow must not take others either.
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Training does not wait for a server that is away: one try more, of a few seconds.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline import axes, dvc_commands, graph, layout, params, registry, selection, workspace
from pipeline.dvc_commands import Log
from pipeline.graph import Graph, Stage
from pipeline.grid import Grid
from pipeline.worker import Job, Result
from pipeline.workspace import without_password

URI = "MLFLOW_TRACKING_URI"
LOCAL = "sqlite:///mlflow.db"
GRID, CELL, SUPERSEDED = "langpose.grid", "langpose.cell", "langpose.superseded"
KIND = "mlflow.experimentKind"
TRAINS = ("base", "pretrain", "finetune", "finetune_few")
LOOK_EVERY_S = 10.0
"""How often a training's checkpoints are looked at for its curve."""


def child_name(stage: Stage) -> str:
    """Which child a stage's results belong to."""
    dataset = stage.axes.get("dataset")
    few = " few" if stage.kind.endswith("_few") else ""
    parts = [dataset + few if dataset else "", stage.axes.get("variant", "base"), stage.axes["seed"]]
    return " ".join(part for part in parts if part)


def configured() -> bool:
    return bool(os.environ.get(URI))


@dataclass
class Tracker:
    """Writes one grid's runs."""

    client: MlflowClient
    experiment: str
    parent: str
    grid: Grid
    grid_id: str
    commit: str

    @classmethod
    def open(cls, grid: Grid, commit: str, uri: str | None = None) -> "Tracker":
        """The grid's parent run, created if MLflow has none. Raises what MLflow raises where it does not answer."""
        client = MlflowClient(tracking_uri=uri or os.environ.get(URI) or LOCAL)
        found = client.get_experiment_by_name(grid.profile)
        if found is None:
            try:
                # or its pages are those of chat programs
                experiment = client.create_experiment(grid.profile, tags={KIND: "custom_model_development"})
            except MlflowException:  # somebody else has just done so
                again = client.get_experiment_by_name(grid.profile)
                if again is None:
                    raise
                experiment = again.experiment_id
        else:
            experiment = found.experiment_id
        tracker = cls(client, experiment, "", grid, grid.id, commit)
        tracker.parent = tracker._one(
            f"{grid.profile} {tracker.grid_id[:8]}", {GRID: tracker.grid_id, CELL: "grid"}, None
        ).info.run_id
        return tracker

    def child(self, name: str, stage: str, made: str | None) -> Run:
        """The child ``name`` that has, or may take, ``stage``'s result ``made`` (None: one that is not known yet).

        One that has another result of the stage is an older one: it is kept, marked, and a new child begun.
        """
        for run in self._runs({GRID: self.grid_id, CELL: name}):
            held = run.data.tags.get(f"dvc.{stage}")
            if held is None or held == made:
                return run
            self.client.set_tag(run.info.run_id, SUPERSEDED, "true")
        return self._one(name, {GRID: self.grid_id, CELL: name}, self.parent)

    def _one(self, name: str, tags: dict[str, str], parent: str | None) -> Run:
        """The one run with ``tags``: where several create it at once, the earliest stays, whoever looks."""
        if not (found := self._runs(tags)):
            own = {**tags, "mlflow.source.git.commit": self.commit}
            if parent is not None:
                own[MLFLOW_PARENT_RUN_ID] = parent
            self.client.create_run(self.experiment, run_name=name, tags=own)
            found = self._runs(tags)
        first, *others = found
        for run in others:
            if len(run.data.tags) <= len(first.data.tags) and not run.data.metrics:
                self.client.delete_run(run.info.run_id)
        return first

    def _runs(self, tags: Mapping[str, str]) -> list[Run]:
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs = self.client.search_runs([self.experiment], wanted, ViewType.ACTIVE_ONLY)
        live = [run for run in runs if SUPERSEDED not in run.data.tags]
        return sorted(live, key=lambda run: (run.info.start_time, run.info.run_id))

    def log(self, stage: Stage, entry: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]], stages: Graph,
            machine: str = "") -> bool:  # fmt: skip
        """Log a stage's result from its files here and its lock entry; False where MLflow has it already."""
        made = result_of(entry)
        run = self.child(child_name(stage), stage.kind, made)
        run_id = run.info.run_id
        if run.data.tags.get(f"dvc.{stage.kind}") == made:
            return False
        self._parameters(run, stage, entries, stages)
        self._data(run, stage, entry)
        outputs = [Path(path) for path in dvc_commands.outputs(entry)]
        folder = outputs[0] if outputs[0].is_dir() else outputs[0].parent
        if (folder / "history.csv").exists():
            history = pd.read_csv(folder / "history.csv")
            self.curve(run_id, history.to_dict("records"), self.logged(run_id))
        if (folder / "metrics.json").exists():
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            now = int(time.time() * 1000)
            values = [Metric(key(name), float(v), now, 0) for name, v in metrics.items() if isinstance(v, int | float)]
            self.client.log_batch(run_id, metrics=values, synchronous=True)
        if stage.kind.startswith("evaluate"):
            self._scores(run_id, stage, folder)
        if stage.kind.startswith("finetune"):
            facts = {registry.MADE: made, GRID: self.grid_id, CELL: child_name(stage)}
            name = registry.name_of(self.grid.profile, stage)
            registry.register(self.client, self.experiment, run_id, name, folder, facts)
        tags = {f"dvc.{stage.kind}": made, f"dvc.{stage.kind}.stage": stage.name,
                f"dvc.{stage.kind}.lock": hash_of(entry)}  # fmt: skip
        if machine:
            tags[f"machine.{stage.kind}"] = machine
        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()], synchronous=True)
        self.client.set_terminated(run_id)
        return True

    def curve(self, run_id: str, rows: Sequence[Mapping[str, Any]], known: int) -> int:
        """Log a training's epochs after step ``known``; returns the last step."""
        now, values = int(time.time() * 1000), []
        for row in rows:
            step = int(row["step"])
            if step > known:
                numbers = {name: v for name, v in row.items() if name not in ("epoch", "step") and pd.notna(v)}
                values += [Metric(f"curve/{name}", float(v), now, step) for name, v in numbers.items()]
        for start in range(0, len(values), 1000):
            self.client.log_batch(run_id, metrics=values[start : start + 1000], synchronous=True)
        return max([known, *(int(row["step"]) for row in rows)])

    def logged(self, run_id: str) -> int:
        """The last step of a curve that MLflow has."""
        return max((m.step for m in self.client.get_metric_history(run_id, "curve/loss")), default=0)

    def _parameters(self, run: Run, stage: Stage, entries: Mapping[str, Mapping[str, Any]], stages: Graph) -> None:
        """The stage's parameters and those of the cells before it, flat, as the lock has them."""
        values: dict[str, Any] = {"profile": self.grid.profile, **stage.axes}
        names = [*graph.before(stages, [stage.name]), stage.name]
        for name in sorted(name for name in names if stages[name].is_cell or stages[name].kind in ("project", "pair")):
            for sections in entries.get(name, {}).get("params", {}).values():
                for section, content in sections.items():
                    parts = section.split(".")
                    values |= registry.flat({"variant" if parts[0] == "variants" else parts[0]: content})
        new = {name[:250]: str(value)[:6000] for name, value in values.items() if name not in run.data.params}
        items = [Param(name, value) for name, value in new.items()]
        for start in range(0, len(items), 100):
            self.client.log_batch(run.info.run_id, params=items[start : start + 100], synchronous=True)

    def _data(self, run: Run, stage: Stage, entry: Mapping[str, Any]) -> None:
        """The data that the stage read, by DVC's hashes."""
        held = {dataset.dataset.name for dataset in run.inputs.dataset_inputs} if run.inputs else set()
        inputs = [
            DatasetInput(Dataset(name=path, digest=digest[:36], source_type="dvc", source=path))
            for path, digest in dvc_commands.inputs(entry).items()
            if path.startswith("data/") and path not in held
        ]
        if inputs:
            self.client.log_inputs(run.info.run_id, datasets=inputs)

    def _scores(self, run_id: str, stage: Stage, folder: Path) -> None:
        """Per-action and per-joint tables, a picture of each, and frames of one clip."""
        from pipeline.run_pictures import actions_picture, filmstrip  # torch: other cells start without it

        for name in ("actions", "joints", "sequences"):
            self.client.log_artifact(run_id, str(folder / f"{name}.csv"))
        for picture in (
            actions_picture(folder),
            filmstrip(layout.lifting(self.grid.profile, stage.axes["dataset"]), folder),
        ):
            if picture is not None:
                self.client.log_figure(run_id, *picture)

    def finish(self) -> None:
        """The grid's own parameters, tables and page, on the parent."""
        run = self.client.get_run(self.parent)
        new = {k: v for k, v in registry.flat({"axes": vars_of(self.grid)}).items() if k not in run.data.params}
        self.client.log_batch(self.parent, params=[Param(k, str(v)[:6000]) for k, v in new.items()], synchronous=True)
        folder = layout.report(self.grid.profile)
        lock = Path("dvc.lock")
        made = sha256(lock.read_bytes()).hexdigest() if lock.exists() else ""
        if run.data.tags.get("dvc.lock") != made:
            for path in [*sorted(folder.glob("table*")), folder / "index.html"]:
                if path.exists():
                    self.client.log_artifact(self.parent, str(path), "report")
        tags = [RunTag("dvc.lock", made), RunTag("mlflow.source.git.commit", self.commit)]
        self.client.log_batch(self.parent, tags=tags, synchronous=True)
        self.client.set_terminated(self.parent)


def vars_of(grid: Grid) -> dict[str, Any]:
    """A grid's axes, for parameters."""
    values = grid.to_json()
    return {"profile": grid.profile, "overrides": ", ".join(grid.overrides), **values["axes"]}


def hash_of(values: Any) -> str:
    return sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]


def result_of(entry: Mapping[str, Any]) -> str:
    """The hash of what a lock entry made: the same outputs are the same result, whatever they were made from."""
    return hash_of([entry["cmd"], dvc_commands.outputs(entry)])


def key(name: str) -> str:
    """A metric's name as MLflow takes it."""
    return "".join(c if c.isalnum() or c in "_-. /:" else "_" for c in name)


def begin(grid: Grid, log: Log) -> None:
    """Create the parent before cells are handed out."""
    with _forgiving(log, "cells that finish meanwhile are added by the next sync"):
        if configured():
            Tracker.open(grid, workspace.described())


@contextmanager
def _forgiving(log: Log, then: str) -> Iterator[None]:
    """MLflow shows results; that it is away is no reason to lose one."""
    try:
        yield
    except Exception as error:  # MLflow's clients raise many kinds: requests', urllib3's, its own
        log(without_password(f"MLflow at {os.environ.get(URI) or LOCAL} took nothing ({str(error)[:300]}); {then}"))


@contextmanager
def watch(job: Job, log: Log) -> Iterator[None]:
    """Show a cell's curve, and the machine's load, in MLflow while the cell trains."""
    kind = job.cell.split("@")[0].removesuffix("_repeat")
    if not configured() or kind not in TRAINS:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(job, kind, over, log), name="mlflow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=30)


def _follow(job: Job, kind: str, over: threading.Event, log: Log) -> None:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    arguments = job.command.split()[3:]
    work = layout.work(arguments[0], kind, "-".join(arguments[1:]))
    tracker: Tracker | None = None
    run_id, known, began, said = "", 0, time.time(), False
    monitor: Any = None
    while True:
        last = over.wait(LOOK_EVERY_S)
        try:
            rows = curve_so_far(work, began)
            if rows:
                if tracker is None:
                    tracker = Tracker.open(job.grid, job.commit)
                    stage = Stage(job.cell, job.command, (), (), job.axes)
                    run_id = tracker.child(child_name(stage), stage.kind, None).info.run_id
                    known = tracker.logged(run_id)
                    if monitor is None:
                        monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=os.environ[URI])
                        monitor.start()
                known = tracker.curve(run_id, rows, known)
        except Exception as error:
            if not said:
                told = without_password(str(error)[:300])
                log(f"MLflow does not take the curve ({told}); training goes on, it is added afterwards")
            said, tracker = True, None
        if last:
            if monitor is not None:
                monitor.finish()
            return


def curve_so_far(work: Path, since: float) -> list[dict[str, Any]]:
    """The history in the newest checkpoint of a training that wrote one ``since`` then."""
    from safetensors import safe_open

    pointers = [path for path in work.glob("*/latest.json") if path.stat().st_mtime >= since]
    if not pointers:
        return []
    newest = max(pointers, key=lambda path: path.stat().st_mtime)
    file = newest.parent / json.loads(newest.read_text(encoding="utf-8"))[0]["file"]
    with safe_open(file, framework="np") as handle:
        return json.loads(handle.metadata()["record"])["history"]


def log_cell(job: Job, result: Result, log: Log) -> str:
    """Log a cell that a worker has just done; the address of its run, "" where there is none."""
    if not configured():
        return ""
    with _forgiving(log, "the next sync adds it"):
        stages, entries = graph.read(), dvc_commands.lock()
        stage = stages[job.cell]
        tracker = Tracker.open(job.grid, job.commit)
        tracker.log(stage, result.entry, entries, stages, result.machine if result.ran else "")
        run_id = tracker.child(child_name(stage), stage.kind, result_of(result.entry)).info.run_id
        return address(tracker.experiment, run_id)
    return ""


def address(experiment: str, run_id: str = "") -> str:
    """Where a run, or an experiment, is seen in MLflow's UI; "" where MLflow is no server."""
    return _page(f"experiments/{experiment}/runs/{run_id}" if run_id else f"experiments/{experiment}")


def comparison(tracker: Tracker) -> str:
    """Where MLflow's UI compares the grid's scored models side by side; "" where MLflow is no server."""
    runs = tracker._runs({GRID: tracker.grid_id})
    runs = [run for run in runs if "P1_mm" in run.data.metrics and "dataset" in run.data.params]
    place = tracker.grid.axes.variants.index  # in the order of Table 3
    runs.sort(key=lambda run: (run.data.params["dataset"], place(run.data.params["variant"])))
    query = {"runs": json.dumps([run.info.run_id for run in runs]), "experiments": json.dumps([tracker.experiment])}
    return _page(f"compare-runs?{urlencode(query)}") if runs else ""


def _page(place: str) -> str:
    uri = os.environ.get(URI, "")
    return f"{without_password(uri).rstrip('/')}/#/{place}" if uri.startswith(("http://", "https://")) else ""


def sync_grid(grid: Grid, log: Log, machines: Mapping[str, str] | None = None) -> str:
    """Log every cell of ``grid`` that lies here and MLflow lacks; where MLflow compares its models, or "".

    ``machines``: cell → where it ran, of those that have just run.
    """
    if not configured():
        return ""
    with _forgiving(log, "`python -m pipeline.tracking sync` adds it later"):
        commit = workspace.described()
        log(f"MLflow: {sync(grid, commit, machines=machines or {})} results added")
        return comparison(Tracker.open(grid, commit))
    return ""


def sync(grid: Grid, commit: str, uri: str | None = None, machines: Mapping[str, str] | None = None) -> int:
    """Log what the cache holds of a grid and MLflow lacks; how many results that were. ``machines``: cell → where."""
    ran_on = machines or {}
    stages, entries = graph.read(), dvc_commands.lock()
    tracker, added = Tracker.open(grid, commit, uri), 0
    here = {
        name: stage
        for name, stage in graph.cells(stages, grid.profile).items()
        if name in entries and all(Path(path).exists() for path in dvc_commands.outputs(entries[name]))
    }
    # where a later stage of a child was made anew, the new child lacks the earlier ones until the next round
    while new := sum(
        tracker.log(stage, entries[name], entries, stages, ran_on.get(name, "")) for name, stage in here.items()
    ):
        added += new
    registry.choose_best(tracker.client, grid.profile)
    tracker.finish()
    return added


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("command", choices=["sync"])
    parser.add_argument("--uri", help="MLflow's database or server; else MLFLOW_TRACKING_URI, else mlflow.db here")
    options = parser.parse_args(arguments)
    for profile in selection.listed():
        params.load(profile)  # ends with a message where there is none
        grid = Grid(profile, axes.read())
        added = sync(grid, workspace.described(), options.uri)
        where = without_password(options.uri or os.environ.get(URI) or LOCAL)
        print(f"{profile}: grid {grid.id}, {added} results added to {where}; look at them with `mlflow ui`")


if __name__ == "__main__":
    main()
