"""Every table compiles as LaTeX, whatever its words are, and what it says arrives on the page."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from langpose import tables
from langpose.cost import cost_table
from langpose.model.langpose import LangPoseConfig
from langpose.model.pose_encoder import PoseEncoderConfig
from langpose.tables import Block, Table
from tests import score_tables

ROOT = Path(__file__).parents[1]
# Uncompressed, so that the words can be read from the file. graphicx is the only package that the tables need.
HEAD = r"""\documentclass{article}
\usepackage{graphicx}
\pdfcompresslevel=0
\pdfobjcompresslevel=0
\begin{document}
"""
HOSTILE = r"& % # _ ± — λ ↓ ↑ × † ◊ Δ τ γ [ ] ~ ^ { } < > \ $ − – * | → ≤ ≥ … √ ° é"
"""Characters that LaTeX reads as commands, or that its standard fonts lack; all of them stand in our tables and notes,
or may stand in a label, a file's name or a user's own title."""

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


def compiled(parts, folder):
    """The PDF's bytes of a document of these tables, a page each."""
    body = "\n\\clearpage\n".join(parts)
    (folder / "tables.tex").write_text(f"{HEAD}{body}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "tables.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
    log = (folder / "tables.log").read_text(encoding="utf-8", errors="replace")
    wrong = [line for line in log.splitlines() if line.startswith(("!", "Missing character"))]
    assert wrong == [] and done.returncode == 0, "\n".join([*wrong, log[-2000:]])
    return (folder / "tables.pdf").read_bytes()


def words(pdf):
    """The characters that the pages show, without spaces: the strings of PDF's text operators, in their order.

    Letters and figures have their own codes in TeX's fonts; other signs have the font's.
    """
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    shown = [array for stream in streams for array in re.findall(rb"\[((?:\((?:\\.|[^\\)])*\)|[^\]()])*)\]TJ", stream)]
    strings = [text for array in shown for text in re.findall(rb"\(((?:\\.|[^\\)])*)\)", array)]
    return b"".join(strings).decode("latin-1")


def scores(actions):
    return score_tables.scores(actions, ("baseline", "mmm", "mmm_map", "mmm_infonce"))


def differences():
    rows = [
        (dataset, variant, "baseline", measure, -0.8, -1.4, 0.1)
        for dataset in ("human36m", "mpi_inf_3dhp")
        for variant in ("mmm", "mmm_map", "mmm_infonce")
        for measure in ("P1_mm", "P3_mm")
    ]
    return pd.DataFrame(rows, columns=["dataset", "variant", "against", "measure", "value", "low", "high"])


def all_tables(actions, notes):
    variants = ["baseline", "mmm", "mmm_map", "mmm_infonce"]
    return tables.build(scores(actions), "demo", variants, notes, ["Photo"], differences())


def hostile(text):
    """A table with the text in every place a word can have, and first in a cell, a row and a caption."""
    return Table("hostile", f"{text} in a title.", [text, f"{text} right"], [
        Block("", [[text, "1.5"], [f"{text} name", text]]),
        Block(f"{text} heading", [[text, text]]),
    ], [f"{text} in a note.", text])  # fmt: skip


PLACES = 11
"""How often `hostile` has its text: 1 title, 2 columns, 3 + 2 cells, 1 heading, 2 notes."""


def written(pdf_words, text):
    return "".join(text.split()) in pdf_words


@needs_latex
@pytest.mark.parametrize("actions", [tables.HUMAN36M_COLUMNS, ["Bend & reach", "Wash_50%"]], ids=["human36m", "own"])
def test_all_tables_compile_and_show_every_figure(actions, tmp_path):
    built = all_tables(actions, ["2 seeds; λ of 50 % [CMU]"])
    pdf = compiled([table.to_latex() for table in built], tmp_path)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= len(built)
    shown = words(pdf)
    figures = {
        figure
        for table in built
        for block in table.blocks
        for row in block.rows
        for cell in row
        for figure in re.findall(r"\d+\.\d", cell)
    }
    assert len(figures) > 50
    assert [figure for figure in figures if figure not in shown] == []
    assert written(shown, "Baseline") and written(shown, "2 seeds") and written(shown, "P-MPJPE")


@needs_latex
@pytest.mark.parametrize("character", HOSTILE.split())
def test_a_hostile_character_compiles_in_every_place(character, tmp_path):
    pdf = compiled(
        [hostile(character).to_latex(), hostile(f"{character}{character} a{character}b").to_latex()], tmp_path
    )
    shown = words(pdf)
    assert shown.count("inatitle.") == shown.count("inanote.") == shown.count("heading") == 2
    assert shown.count("right") == shown.count("name") == 2 and shown.count("1.5") == 2


@needs_latex
def test_all_hostile_characters_together_keep_the_words_between_them(tmp_path):
    between = [f"word{chr(ord('a') + i // 26)}{chr(ord('a') + i % 26)}" for i in range(len(HOSTILE.split()))]
    marked = " ".join(f"{sign} {word}" for sign, word in zip(HOSTILE.split(), between, strict=True))
    shown = words(compiled([hostile(marked).to_latex()], tmp_path))
    assert [word for word in between if shown.count(word) != PLACES] == []


@needs_latex
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (r"\input{x} \begin{y} $1^2$ a_b^c C:\temp", ["input", "begin", "temp"]),
        (r"{unclosed %rest # \\[2pt] <POSE> ~here", ["unclosed", "rest", "2pt", "POSE", "here"]),
        (r"} \end{document} after", ["end", "document", "after"]),
        ("one\n\ntwo\tthree", ["one", "two", "three"]),
    ],
    ids=["commands", "signs", "end", "lines"],
)
def test_text_that_looks_like_commands_is_printed_as_text(text, kept, tmp_path):
    shown = words(compiled([hostile(text).to_latex()], tmp_path))
    assert [word for word in kept if shown.count(word) != PLACES] == []


@needs_latex
def test_the_cost_table_compiles(tmp_path):
    tiny = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=1, num_heads=2, maxlen=9)
    shown = words(compiled([cost_table(LangPoseConfig(tiny, None), 9).to_latex()], tmp_path))
    assert written(shown, "Cost of a clip of 9 frames") and "KTPFormer" in shown and "notstated" in shown


@needs_latex
def test_the_committed_tables_compile(tmp_path):
    found = sorted(ROOT.glob("reports/*/*.tex"))
    assert found
    pdf = compiled([path.read_text(encoding="utf-8") for path in found], tmp_path)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= len(found)


@needs_latex
def test_what_does_not_compile_fails_here(tmp_path):
    with pytest.raises(AssertionError, match=r"! Undefined control sequence"):
        compiled([r"\nosuchcommand"], tmp_path)


@pytest.mark.parametrize("text", [HOSTILE, "[1] first", "* starred", "a & b"])
def test_each_row_keeps_its_columns_whatever_its_words(text):
    """Without a compiler: separators are ours alone, and no row's end is followed by what LaTeX takes for an option."""
    table = hostile(text)
    body = [line for line in table.to_latex().splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(body) == 1 + sum(len(block.rows) for block in table.blocks)
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == len(table.columns) - 1
        assert not line.startswith(("[", "*"))


@pytest.mark.parametrize(
    ("sign", "printed"),
    [("<", ["$<$", r"\textless{}"]), (">", ["$>$", r"\textgreater{}"]), ("|", ["$|$", r"\textbar{}"]),
     ("~", [r"\textasciitilde{}", r"$\sim$"]), ("^", [r"\textasciicircum{}"])],
)  # fmt: skip
def test_a_sign_that_compiles_as_another_sign_is_written_as_itself(sign, printed):
    """TeX's text fonts have other signs in the places of < > |, and ~ is a space: that compiles, and is wrong."""
    line = next(line for line in hostile(f"a{sign}b").to_latex().splitlines() if line.endswith(r"& 1.5 \\"))
    assert any(line.startswith(f"a{way}b ") for way in printed)
