"""One self-contained page a run: tables, charts, a player, figures, and what made them. Opens from disk, no server."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from langpose import player
from langpose.figures import LEFT_COLOUR, MIDDLE_COLOUR, PALETTE, RIGHT_COLOUR
from langpose.storage import replacing
from langpose.tables import Table

PAPERS = {"light": "#ffffff", "dark": "#15181e"}
"""The page's background in either mode; report.css takes it from here."""
CONTRAST = {"light": 3.0, "dark": 5.5}
"""Least contrast of a drawn line against its background: 3 is WCAG's (2.1, 1.4.11); thin lines on black need more."""
OURS_COLOUR, BASELINE_COLOUR = PALETTE[4], PALETTE[6]
"""The player's two models: neither is a colour of left or right limbs."""


@dataclass(frozen=True)
class Figure:
    """A picture of the report: its file beside the page, and its caption."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Line:
    """A line of a chart: ``y`` over rising ``x``; ``low`` and ``high`` bound a band around it, where given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Chart:
    """A line chart that can be read with the pointer and the keyboard. The axes' labels state their units."""

    title: str
    caption: str
    xlabel: str
    ylabel: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Page:
    """Everything a report's page shows, in the order of the page. An empty part is left out, with its link."""

    title: str
    lead: str
    """One sentence under the title: what was measured on what."""
    warning: str
    """How far the page's numbers carry."""
    answer: Sequence[str]
    """The findings in a few sentences; the first one stands out."""
    facts: Mapping[str, str]
    """What made the page: profile, inputs' hash, ..."""
    parameters: str
    """The profile as it stood (YAML)."""
    tables: Sequence[Table]
    """The paper's tables."""
    figures: Sequence[Figure] = ()
    charts: Sequence[Chart] = ()
    listings: Sequence[Table] = ()
    """Further tables, set after the figures."""
    clips: Sequence[player.Clip] = ()


def write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """Each table as csv, markdown and LaTeX (``<name>.csv``, ``.md``, ``.tex``) in ``folder``."""
    for table in tables:
        for suffix, text in (("csv", table.to_csv()), ("md", table.to_markdown()), ("tex", table.to_latex())):
            with replacing(folder / f"{table.name}.{suffix}") as temporary:
                temporary.write_text(text, encoding="utf-8")


def write_page(folder: Path, page: Page) -> None:
    """Write ``index.html`` in ``folder``, with the figures' pictures (already there) inside it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_source("report.html.j2"))
    pictures = [
        {
            "title": figure.title,
            "caption": figure.caption,
            "data": base64.b64encode((folder / figure.file).read_bytes()).decode("ascii"),
        }
        for figure in page.figures
    ]
    actions = sorted({clip.action for clip in page.clips})
    text = template.render(
        page=page,
        pictures=pictures,
        actions=actions,
        colours={mode: _colours(mode) for mode in PAPERS},
        style=Markup(_source("report.css")),
        scripts=[Markup(_source(name)) for name in ("report.js", "player.js")],
        chart_data=_in_script(_charts_json(page.charts)),
        player_data=_in_script(player.to_json(page.clips)),
    )
    with replacing(folder / "index.html") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _source(name: str) -> str:
    return (files("langpose") / name).read_text(encoding="utf-8")


def _in_script(text: str) -> Markup:
    """JSON that may stand inside a <script>: no name in it can end the element, and it still reads the same."""
    for character in "<>&\u2028\u2029":  # only strings hold these, and there the escape means the same
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _charts_json(charts: Sequence[Chart]) -> str:
    """Charts as JSON. A line keeps its look through all charts of the page: ``style`` is its name's number."""
    names = list(dict.fromkeys(line.name for chart in charts for line in chart.lines))
    content = [
        {
            "title": chart.title,
            "xlabel": chart.xlabel,
            "ylabel": chart.ylabel,
            "lines": [_line(line, names.index(line.name), f"chart {chart.title!r}") for line in chart.lines],
        }
        for chart in charts
    ]
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _line(line: Line, style: int, where: str) -> dict[str, Any]:
    what = f"{where}, line {line.name!r}"
    series = {"x": line.x, "y": line.y, "low": line.low, "high": line.high}
    numbers = {name: [float(v) for v in values] for name, values in series.items() if values is not None}
    if not numbers["x"]:
        raise ValueError(f"{what} has no points; leave it out")
    for name, values in numbers.items():
        if len(values) != len(numbers["x"]):
            raise ValueError(f"{what}: {name} has {len(values)} values, x has {len(numbers['x'])}")
        if not all(map(math.isfinite, values)):
            raise ValueError(f"{what}: {name} has values that are not finite; leave out what was not measured")
    if any(b <= a for a, b in zip(numbers["x"], numbers["x"][1:], strict=False)):
        raise ValueError(f"{what}: x does not rise from point to point")
    if ("low" in numbers) != ("high" in numbers):
        raise ValueError(f"{what}: a band needs low and high")
    return {"name": line.name, "colour": style % len(PALETTE), "style": style, **numbers}


def _colours(mode: str) -> dict[str, str]:
    """The figures' colours as CSS variables, each fit to be seen on the paper of ``mode`` (light or dark)."""
    named = {
        "left": LEFT_COLOUR,
        "right": RIGHT_COLOUR,
        "middle": MIDDLE_COLOUR,
        "ours": OURS_COLOUR,
        "baseline": BASELINE_COLOUR,
        **{f"line-{index}": colour for index, colour in enumerate(PALETTE)},
    }
    paper = PAPERS[mode]
    return {"paper": paper, **{name: _legible(colour, paper, CONTRAST[mode]) for name, colour in named.items()}}


def _legible(colour: str, paper: str, contrast: float) -> str:
    """``colour``, mixed with as little white or black as gives it ``contrast`` on ``paper``; both #rrggbb."""
    towards = 0 if _luminance(_rgb(paper)) > 0.5 else 255
    for percent in range(101):
        mixed = [round(c + (towards - c) * percent / 100) for c in _rgb(colour)]
        light, dark = sorted((_luminance(mixed), _luminance(_rgb(paper))), reverse=True)
        if (light + 0.05) / (dark + 0.05) >= contrast:
            break
    return "#" + "".join(f"{c:02x}" for c in mixed)


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _luminance(rgb: Sequence[int]) -> float:
    """Relative luminance of sRGB 0-255, 0 to 1 (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
