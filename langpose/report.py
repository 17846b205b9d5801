"""One self-contained page a run: tables, figures, and what made them. Opens from disk, needs no server."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from langpose.storage import replacing
from langpose.tables import Table


@dataclass(frozen=True)
class Figure:
    """A picture of the report: its file beside the page, and its caption."""

    file: str
    title: str
    caption: str


def write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """Each table as csv, markdown and LaTeX (``<name>.csv``, ``.md``, ``.tex``) in ``folder``."""
    for table in tables:
        for suffix, text in (("csv", table.to_csv()), ("md", table.to_markdown()), ("tex", table.to_latex())):
            with replacing(folder / f"{table.name}.{suffix}") as temporary:
                temporary.write_text(text, encoding="utf-8")


def write_page(
    folder: Path,
    title: str,
    lead: str,
    warning: str,
    facts: Mapping[str, str],
    parameters: str,
    tables: Sequence[Table],
    figures: Sequence[Figure],
    listings: Sequence[Table] = (),
) -> None:
    """Write ``index.html`` in ``folder``, with the figures' pictures (already there) inside it.

    ``facts`` say what made the page (profile, inputs' hash), ``parameters`` is the profile as it stood (YAML),
    ``warning`` how far the page's numbers carry;
    ``listings`` are further tables, set after the paper's.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("langpose") / "report.html.j2").read_text(encoding="utf-8"))
    pictures = [
        {
            "title": figure.title,
            "caption": figure.caption,
            "data": base64.b64encode((folder / figure.file).read_bytes()).decode("ascii"),
        }
        for figure in figures
    ]
    page = template.render(
        title=title,
        lead=lead,
        warning=warning,
        facts=facts,
        parameters=parameters,
        tables=tables,
        listings=listings,
        figures=pictures,
    )
    with replacing(folder / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
