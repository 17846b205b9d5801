"""A grid on Prefect's page while it is computed: a table of its cells, and how far all of it is."""

import time
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import acreate_progress_artifact, acreate_table_artifact, aupdate_progress_artifact

from pipeline.graph import Graph
from pipeline.grid import Grid
from pipeline.scheduler import Progress

TABLE_EVERY_S = 10.0
"""How often the table is written at most."""


def artifact_key(*parts: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes."""
    return "".join(c if c.isalnum() else "-" for c in "-".join(parts).lower())


class LiveTable:
    """The grid as artifacts: a table of cell, state, machine, minutes, P1, and how far all of it is."""

    def __init__(self, grid: Grid, cells: Graph, missing: Graph) -> None:
        self.key = artifact_key("ablations", grid.profile, grid.id)
        self.title = f"Grid {grid.id} of profile {grid.profile}"
        self.rows: dict[str, dict[str, Any]] = {
            name: {"cell": name, "state": "waiting" if name in missing else "restored", "machine": "", "minutes": "",
                   "P1 (mm)": "", "run": "", "message": ""}
            for name in cells
        }  # fmt: skip
        self.written, self.stale = 0.0, True
        self.progress: Any = None

    def changed(self, progress: Progress) -> None:
        facts = progress.facts
        score = facts.get("scores", {}).get("P1_mm")
        self.rows[progress.cell.name] |= {
            "state": str(progress.state), "machine": facts.get("machine", ""),
            "minutes": round(facts["seconds"] / 60, 1) if "seconds" in facts else "",
            "P1 (mm)": "" if score is None else f"{score:.1f}", "run": facts.get("run", ""),
            "message": progress.message[:200],
        }  # fmt: skip
        self.stale = True

    async def write(self, now: bool = False) -> None:
        if not self.stale or not (now or time.monotonic() - self.written > TABLE_EVERY_S):
            return
        counts: dict[str, int] = {}
        for row in self.rows.values():
            counts[row["state"]] = counts.get(row["state"], 0) + 1
        told = ", ".join(f"{number} {state}" for state, number in counts.items())
        share = 100 * (counts.get("done", 0) + counts.get("restored", 0)) / len(self.rows)
        try:
            await acreate_table_artifact(list(self.rows.values()), self.key, f"{self.title}: {told}")
            if self.progress is None:
                self.progress = await acreate_progress_artifact(share, f"{self.key}-progress", self.title)
            else:
                await aupdate_progress_artifact(self.progress, share)
            self.stale = False
        except Exception as error:  # whatever ails the table, cells go on
            get_run_logger().warning("the live table was not written: %r", error)
        self.written = time.monotonic()
