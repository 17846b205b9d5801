"""Tables 1-4 of the paper from measured scores, with the paper's quoted rows in a block of their own.

Scores come as one long table: dataset, variant, seed, metric, value. Metrics are ``P1_mm``, ``P2_mm``, ``P3_mm``
(MPJPE, P-MPJPE, H-MPJPE), ``PCK``, ``AUC`` and, for Table 1's columns, ``action:<name>``. A cell of a table is the mean
over seeds, with the standard deviation where there are at least two.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd

CONFIGURATIONS = {
    "baseline": "Baseline",
    "mmm": "Baseline + MMM",
    "map": "Baseline + MAP",
    "mmm_map": "MMM + MAP (LangPose)",
    "mmm_infonce": "Baseline + original InfoNCE + MMM",
    "mtl": "MMM + one-hot action head (not in the paper)",
    "base_more": "Baseline, trained on for as many steps (not in the paper)",
}
"""Variant of the grid -> its row's name in Tables 3 and 4."""

HUMAN36M_COLUMNS = {
    "Direction": "Dir.", "Discuss": "Disc.", "Eating": "Eat", "Greet": "Greet", "Phone": "Phone", "Photo": "Photo",
    "Pose": "Pose", "Purchase": "Pur.", "Sitting": "Sit", "SittingDown": "SitD.", "Smoke": "Smoke", "Wait": "Wait",
    "WalkDog": "WalkD.", "Walk": "Walk", "WalkTwo": "WalkT.",
}  # fmt: skip
"""Human3.6M's action names -> the columns of Table 1, in the paper's order."""


@dataclass(frozen=True)
class Block:
    """Rows of a table under one heading ("" for the run's own rows); every row starts with its name."""

    heading: str
    rows: list[list[str]]


@dataclass(frozen=True)
class Table:
    """A table with its notes, ready to be written in three formats."""

    name: str
    title: str
    columns: list[str]
    blocks: list[Block]
    notes: list[str]

    def to_csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["block", *self.columns])
        for block in self.blocks:
            writer.writerows([block.heading or "this run", *row] for row in block.rows)
        return out.getvalue()

    def to_markdown(self) -> str:
        lines = [f"**{self.title}**", ""]
        for block in self.blocks:
            if block.heading:
                lines += ["", f"*{block.heading}*", ""]
            lines.append("| " + " | ".join(self.columns) + " |")
            lines.append("|---" + "|---:" * (len(self.columns) - 1) + "|")
            lines += ["| " + " | ".join(row) + " |" for row in block.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes), ""])

    def to_latex(self) -> str:
        escape = _latex
        lines = [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{escape(self.title)} {escape(' '.join(self.notes))}}}",
            rf"\label{{tab:{self.name}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}",
            r"\hline",
            " & ".join(map(escape, self.columns)) + r" \\",
        ]
        for block in self.blocks:
            lines.append(r"\hline")
            if block.heading:
                lines.append(rf"\multicolumn{{{len(self.columns)}}}{{l}}{{\emph{{{escape(block.heading)}}}}} \\")
            lines += [" & ".join(map(escape, row)) + r" \\" for row in block.rows]
        return "\n".join([*lines, r"\hline", r"\end{tabular}}", r"\end{table}", ""])


_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after \\, LaTeX takes [ and * for options
    "—": "---", "–": "--", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "≤": r"$\le$", "≥": r"$\ge$",
    "↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\rightarrow$", "†": r"\dag{}", "◊": r"$\diamond$",
    "Δ": r"$\Delta$", "λ": r"$\lambda$", "τ": r"$\tau$", "γ": r"$\gamma$", "σ": r"$\sigma$", "°": r"$^\circ$",
    "²": "$^2$", "√": r"$\surd$", "…": r"\dots{}",
})  # fmt: skip


def _latex(text: str) -> str:
    """``text`` on one line, with every character that LaTeX would read as a command, or lacks, spelt out."""
    return " ".join(text.split()).translate(_LATEX)


def published() -> pd.DataFrame:
    """The rows the paper prints (table, method, reference, kind, column, value): quoted, not measured here."""
    with (files("langpose") / "published.csv").open(encoding="utf-8") as handle:
        return pd.read_csv(handle, dtype={"reference": "string", "kind": "string"}, keep_default_na=False)


def cell(scores: pd.DataFrame, dataset: str, variant: str, metric: str, digits: int = 1) -> str:
    """Mean ± standard deviation over seeds of one metric, or an em dash where it was not measured."""
    chosen = scores[(scores.dataset == dataset) & (scores.variant == variant) & (scores.metric == metric)]
    values = chosen["value"].to_numpy(dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        return "—"
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


def difference_cell(differences: pd.DataFrame, dataset: str, variant: str, measure: str, against: str) -> str:
    """Ours − ``against`` with its 95 % interval over test recordings, or an em dash where there is none.

    ``differences`` has a row a dataset, variant, against and measure, as `langpose.intervals.Difference` has fields.
    """
    rows = differences
    rows = rows[(rows.dataset == dataset) & (rows.variant == variant) & (rows.measure == measure)]
    rows = rows[rows.against == against]
    if not len(rows):
        return "—"
    row = rows.iloc[0]
    return f"{row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"


def _quoted(table: int, columns: Sequence[str], profile: str, more: int = 0) -> Block:
    """The paper's rows, with ``more`` empty columns on the right."""
    rows = published()
    rows = rows[rows.table == table]
    marks = {"temporal": "†", "diffusion": "*", "pretraining": "◊"}
    heading = "quoted from the paper" if profile == "paper" else _NOT_COMPARABLE[table]
    out = []
    for method, group in rows.groupby("method", sort=False):
        values = dict(zip(group["column"], group["value"], strict=True))
        name = str(method) + (f" [{group.reference.iloc[0]}]" if group.reference.iloc[0] else "")
        signs = "".join(marks[kind] for kind in group.kind.iloc[0].split())
        own = [str(values.get(column, "")) or "—" for column in columns]
        out.append([f"{name} {signs}".strip(), *own, *["—"] * more])
    return Block(heading, out)


_NOT_COMPARABLE = {
    1: "paper, Human3.6M: not comparable with this run's data",
    2: "paper, MPI-INF-3DHP: not comparable with this run's data",
    3: "paper, MPI-INF-3DHP and Human3.6M: not comparable with this run's data",
    4: "paper, MPI-INF-3DHP and Human3.6M: not comparable with this run's data",
}


def _rows(variants: Sequence[str], present: Sequence[str], make: Callable[[str], list[str]]) -> list[list[str]]:
    return [[CONFIGURATIONS.get(variant, variant), *make(variant)] for variant in variants if variant in present]


DIFFERENCES = (
    "Δ is the row less the baseline, mean over seeds, in brackets its 95 % interval by a paired bootstrap over test "
    "recordings (all cameras of one together); it says nothing of other seeds or people: differences.csv has both."
)


def build(
    scores: pd.DataFrame,
    profile: str,
    variants: Sequence[str],
    notes: Sequence[str],
    hard_actions: Sequence[str],
    differences: pd.DataFrame,
) -> list[Table]:
    """The paper's four tables for one profile.

    ``scores`` as in the module's docstring; ``variants`` of the grid; ``notes`` stand under every table (data, seeds,
    steps, spread); ``hard_actions`` are P3's three; ``differences`` as in `difference_cell`.
    """
    measured = scores.metric[scores.metric.str.startswith("action:")].str.removeprefix("action:").unique()
    if set(measured) <= set(HUMAN36M_COLUMNS):
        actions = {a: c for a, c in HUMAN36M_COLUMNS.items() if a in measured}
    else:
        actions = {a: a for a in sorted(measured)}
    p3 = f"P3 is the mean of {', '.join(hard_actions)}."
    h36m, mpi = "human36m", "mpi_inf_3dhp"

    def less_baseline(v: str, *measures: tuple[str, str]) -> list[str]:
        return [difference_cell(differences, dataset, v, measure, "baseline") for dataset, measure in measures]

    columns = ["Method", *actions.values(), "P1 ↓", "P2 ↓", "P3 ↓", "Δ P1", "Δ P3"]
    table1 = Table(
        "table1",
        "Table 1. Error per action in mm (P1), and P1 (MPJPE), P2 (P-MPJPE), P3 (H-MPJPE); detected 2D input.",
        columns,
        [
            Block("", _rows(("baseline", "mmm_map"), variants, lambda v: [
                *(cell(scores, h36m, v, f"action:{a}") for a in actions),
                *(cell(scores, h36m, v, m) for m in ("P1_mm", "P2_mm", "P3_mm")),
                *less_baseline(v, (h36m, "P1_mm"), (h36m, "P3_mm"))])),
        ],
        [p3, DIFFERENCES, *notes],
    )  # fmt: skip
    table2 = Table(
        "table2",
        "Table 2. MPI-INF-3DHP protocol, ground-truth 2D input: PCK@150 mm and AUC in %, P1 in mm.",
        ["Method", "PCK ↑", "AUC ↑", "P1 ↓", "Δ P1"],
        [
            Block("", _rows(("baseline", "mmm_map"), variants, lambda v: [
                *(cell(scores, mpi, v, m) for m in ("PCK", "AUC", "P1_mm")), *less_baseline(v, (mpi, "P1_mm"))])),
            _quoted(2, ["PCK", "AUC", "P1"], profile, 1),
        ],
        [DIFFERENCES, *notes],
    )  # fmt: skip

    three = ((mpi, "P1_mm"), (h36m, "P1_mm"), (h36m, "P3_mm"))

    def ablation(v: str) -> list[str]:
        return [*(cell(scores, dataset, v, measure) for dataset, measure in three), *less_baseline(v, *three)]

    ablations = ["MPI (P1)", "H36M (P1)", "H36M (P3)"]
    measured_columns = [*ablations, *(f"Δ {name}" for name in ablations)]
    table3 = Table(
        "table3",
        "Table 3. Ablation of masked motion modelling (MMM) and alignment (MAP), in mm.",
        ["Configuration", *measured_columns],
        [
            Block("", _rows(("baseline", "mmm", "map", "mmm_map", "mtl", "base_more"), variants, ablation)),
            _quoted(3, ablations, profile, 3),
        ],
        [p3, DIFFERENCES, *notes],
    )
    table4 = Table(
        "table4",
        "Table 4. The modified InfoNCE loss against the original, in mm.",
        ["Method (loss)", *measured_columns],
        [
            Block("", _rows(("baseline", "mmm_infonce", "mmm_map"), variants, ablation)),
            _quoted(4, ablations, profile, 3),
        ],
        [p3, DIFFERENCES, *notes],
    )
    paper_columns = [*HUMAN36M_COLUMNS.values(), "P1", "P2", "P3"]
    if [*actions.values()] == list(HUMAN36M_COLUMNS.values()):
        table1.blocks.append(_quoted(1, paper_columns, profile, 2))
        return [table1, table2, table3, table4]
    # other action groups than Human3.6M's: the quoted rows have columns of their own
    rows = [_quoted(1, paper_columns, profile)]
    quoted = Table("table1_paper", "Table 1 as the paper prints it.", ["Method", *paper_columns], rows, [])
    return [table1, quoted, table2, table3, table4]
