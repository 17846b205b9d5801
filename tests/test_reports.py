"""What differs from the paper is listed, and what is listed exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LISTED = set(re.findall(r"`([\w/.]+\.(?:py|yaml))`", (ROOT / "reports" / "deviations.md").read_text(encoding="utf-8")))


def test_every_file_that_marks_a_deviation_or_an_open_value_is_in_the_list():
    marked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "langpose").rglob("*.py")
        if "demo" not in path.parts and re.search(r"[Nn]ot in the paper|Deviation", path.read_text())
    }
    assert len(marked) > 10
    assert not marked - LISTED


def test_the_numbers_in_the_readme_are_those_of_the_committed_report():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = {line for line in readme if line.startswith("| ") and " ± " in line}
    assert len(rows) >= 4
    assert rows <= set((ROOT / "reports" / "cmu" / "table3.md").read_text(encoding="utf-8").splitlines())


def test_every_file_in_the_list_exists():
    assert not [name for name in LISTED if not (ROOT / name).is_file()]
