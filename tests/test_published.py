"""The quoted rows are the paper's: method for method and number for number, read from the paper's own text."""

import os
import re
from pathlib import Path

import pytest

from langpose import tables

BESIDE = Path(__file__).parents[2] / "shared" / "paper.txt"
KINDS = {"†": "temporal", "*": "diffusion", "◊": "pretraining"}
ABSENT = "—"

SAMPLE = """Text before. Table 1. is named in the running text.

Table 1. Two methods. † indicates the use of temporal information.

Method\tDir.\tP1 ↓
One [7] †\t10.0\t20.5
Two (Ours) †◊\t<u>9.5</u>\t—

Text after.
"""


def paper():
    """The paper's text, or the test is skipped by name. A path that is given and leads nowhere is an error."""
    given = os.environ.get("LANGPOSE_PAPER")
    path = Path(given) if given else BESIDE
    if not given and not path.is_file():
        pytest.skip("the paper's text is not here: set LANGPOSE_PAPER to the file")
    return path.read_text(encoding="utf-8")


def rows_of(text, number):
    """(header, rows) of table ``number``: the lines with tabs below its caption, up to the next empty line."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"Table {number}. "))
    while "\t" not in lines[start]:
        start += 1
    stop = next(i for i in range(start, len(lines)) if "\t" not in lines[i])
    cut = [line.split("\t") for line in lines[start:stop]]
    return cut[0], cut[1:]


def columns_of(header):
    """Names of the columns, without the arrows that say what is better."""
    return [re.sub(r" [↓↑]$", "", name) for name in header[1:]]


def printed(text, number):
    """(method, reference, kind, column, value) of every cell of a table, in the paper's order.

    Table 3's text is ambiguous: "Modules enabled" stands over two columns, so that its first header line has an empty
    cell, and a second header line names them (MMM, MAP). These two columns hold ✓ and ✗, not numbers; what they
    say is in the row's name too (tested below), and published.csv leaves them out.
    """
    header, rows = rows_of(text, number)
    columns = columns_of(header)
    if number == 3:
        assert columns[:2] == ["Modules enabled", ""] and rows[0] == ["", "MMM", "MAP", "", "", ""]
        columns, rows = columns[2:], [[row[0], *row[3:]] for row in rows[1:]]
    found = []
    for row in rows:
        name, reference, signs = re.fullmatch(r"(.*?)(?: \[(\d+)\])?(?: ([†*◊]+))?", row[0]).groups(default="")
        kind = " ".join(KINDS[sign] for sign in signs)
        assert len(row) == len(columns) + 1, row
        for column, cell in zip(columns, row[1:], strict=True):
            value = re.sub(r"</?u>", "", cell)
            found.append((name, reference, kind, column, "" if value == ABSENT else value))
    return found


def quoted(number):
    """The same of published.csv."""
    rows = tables.published()
    rows = rows[rows.table == number]
    return [tuple(map(str, row)) for row in rows[["method", "reference", "kind", "column", "value"]].to_numpy()]


def differences(expected, found):
    """What is missing, and what is too much, in words."""
    return [f"missing: {cell}" for cell in expected if cell not in found] + [
        f"not in the paper: {cell}" for cell in found if cell not in expected
    ]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_row_and_every_number_of_the_paper_is_quoted_as_printed(number):
    expected, found = printed(paper(), number), quoted(number)
    assert differences(expected, found) == []
    assert found == expected  # in its order, and none of them twice


def test_the_paper_has_no_other_tables():
    numbers = re.findall(r"^Table (\d+)\.", paper(), re.MULTILINE)
    assert numbers == ["1", "2", "3", "4"] and set(tables.published().table) == {1, 2, 3, 4}


def test_the_modules_that_table_3_ticks_are_those_in_its_rows_names():
    _, rows = rows_of(paper(), 3)
    for name, mmm, map_, *_ in rows[1:]:
        assert ("MMM" in name, "MAP" in name) == (mmm == "✓", map_ == "✓"), name


def test_the_abstracts_numbers_are_the_tables():
    text = paper()
    assert "MPJPE of 36.7mm on Human3.6M" in text and "15.5mm on MPI-INF-3DHP" in text
    rows = tables.published().set_index(["table", "method", "column"]).value
    assert rows[1, "LangPose", "P1"] == "36.7" and rows[2, "LangPose (Ours)", "P1"] == "15.5"


def test_a_changed_number_and_a_missing_row_are_told():
    cells = printed(SAMPLE, 1)
    assert cells == [
        ("One", "7", "temporal", "Dir.", "10.0"), ("One", "7", "temporal", "P1", "20.5"),
        ("Two (Ours)", "", "temporal pretraining", "Dir.", "9.5"), ("Two (Ours)", "", "temporal pretraining", "P1", ""),
    ]  # fmt: skip
    assert differences(cells, cells) == []
    changed = [(*cells[0][:4], "10.1"), *cells[1:2]]
    told = differences(cells, changed)
    assert len(told) == 4 and told[0] == f"missing: {cells[0]}" and told[-1] == f"not in the paper: {changed[0]}"


def test_a_path_to_the_paper_that_leads_nowhere_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("LANGPOSE_PAPER", str(tmp_path / "none.txt"))
    with pytest.raises(FileNotFoundError):
        paper()


def test_each_quoted_method_has_all_columns_of_its_table_once():
    rows = tables.published()
    assert not rows.duplicated(["table", "method", "column"]).any()
    for _, table in rows.groupby("table"):
        columns = [list(group["column"]) for _, group in table.groupby("method", sort=False)]
        assert all(own == columns[0] for own in columns)
    values = rows.value[rows.value != ""]
    assert all(re.fullmatch(r"\d\d\.\d", value) for value in values)
    assert list(rows.column[rows.table == 1].unique()[:15]) == list(tables.HUMAN36M_COLUMNS.values())


def test_what_the_paper_prints_twice_is_quoted_alike():
    """LangPose's and MotionBERT's numbers of Tables 1 and 2 come again in the ablations, Tables 3 and 4."""
    value = tables.published().set_index(["table", "method", "column"]).value

    def row(table, method, *columns):
        return [value[table, method, column] for column in columns]

    ablations = ("MPI (P1)", "H36M (P1)", "H36M (P3)")
    ours = row(2, "LangPose (Ours)", "P1") + row(1, "LangPose", "P1", "P3")
    assert row(3, "MMM + MAP (ours)", *ablations) == ours
    assert row(4, "Baseline + MMM + Modified InfoNCE (ours)", *ablations) == ours
    assert row(3, "Baseline", *ablations) == row(4, "Baseline (w/o InfoNCE)", *ablations)
    assert row(3, "Baseline", *ablations)[1:] == row(1, "MotionBERT", "P1", "P3")


def test_diffusion_methods_are_marked_as_in_the_paper():
    rows = tables.published()
    marked = rows[rows.kind.str.contains("diffusion")]
    assert set(zip(marked.table, marked.method, strict=True)) == {
        (1, "DiffPose"), (1, "D3DP"), (2, "DiffPose"), (2, "D3DP"), (2, "KTPFormer"),
    }  # fmt: skip
