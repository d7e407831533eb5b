"""Paper: how a chart becomes a figure of a printed article.

One Vega pixel is one point (1/72 in). Widths after IEEE's author centre: one column 3.5 in, two columns 7.16 in, height
at most 8.8 in. Text is 8 pt Liberation Sans (the metrics of Arial), which the drawing library brings along and embeds
in a PDF.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
from altair.utils import schemapi

from campaign.record import untrusted
from campaign.report.drawn.look import OKABE_ITO, SHAPES, TALLEST_IN, TEXT_PT, FitError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

FONT = "Liberation Sans"
PNG_DPI = 600
"""IEEE asks for more than 300 dpi in grey and colour, 600 in line art."""

_TEXT = {"labelFontSize": TEXT_PT, "titleFontSize": TEXT_PT, "titleFontWeight": "normal"}
THEME: dict[str, Any] = {
    "font": FONT,
    "background": "white",
    "padding": 1,
    "view": {"stroke": "#808080", "strokeWidth": 0.5},
    "axis": {
        **_TEXT,
        "labelColor": "black",
        "titleColor": "black",
        "gridColor": "#e4e4e4",
        "gridWidth": 0.5,
        "domainColor": "#404040",
        "domainWidth": 0.5,
        "tickColor": "#404040",
        "tickWidth": 0.5,
        "tickSize": 3,
        "labelPadding": 2,
        "titlePadding": 3,
    },
    "legend": {
        **_TEXT,
        "title": None,
        "orient": "top",
        "labelLimit": 220,
        "symbolSize": 24,
        "symbolStrokeWidth": 0.9,
        "padding": 0,
        "offset": 4,
        "rowPadding": 1,
    },
    "header": {**_TEXT},
    "title": {"fontSize": TEXT_PT, "fontWeight": "normal", "orient": "bottom", "anchor": "middle", "offset": 2},
    "text": {"fontSize": TEXT_PT},
    "range": {"category": list(OKABE_ITO), "symbol": list(SHAPES)},
}


Draw = Callable[[float], alt.TopLevelMixin | None]
"""Width in points to a chart that is about as wide; None without data."""


def drawn(draw: Draw, width_in: float) -> str | None:
    """The SVG of a figure that is exactly ``width_in`` wide, None where there is nothing to draw.

    Axis labels make a chart wider than its panels by an amount known only after drawing, so a figure that misses its
    width is drawn again with room for them; the last fraction of a point is margin. :class:`FitError` beyond the page's
    height.
    """
    import vl_convert

    target = width_in * 72
    asked, svg, width, height = target, "", math.inf, 0.0
    for attempt in range(8):
        specification = _specified(draw, asked)
        if specification is None:
            return None
        svg = vl_convert.vegalite_to_svg(specification | {"config": THEME})
        width, height = _size(svg)
        if target - 4 <= width <= target or (attempt > 3 and width <= target):
            break
        asked += target - 1.5 - width
    if width > target or height > TALLEST_IN * 72:
        raise FitError(
            f"{width / 72:.2f} × {height / 72:.2f} in, which does not fit {width_in:g} × {TALLEST_IN} in: "
            "too many panels; ask for a wider figure"
        )
    margin = (target - width) / 2
    box = f'width="{width_in}in" height="{height / 72:.4f}in" viewBox="{-margin:.3f} 0 {target:.3f} {height:g}"'
    svg = re.sub(r'width="[\d.]+" height="[\d.]+" viewBox="[^"]*"', box, svg, count=1)
    return svg.replace(f'font-family="{FONT}"', f'font-family="{FONT}, Arial, Helvetica, sans-serif"')


def _specified(draw: Draw, width: float) -> dict[str, Any] | None:
    # Checking every part of a chart against the schema takes longer than all of the drawing; the tests do that.
    with schemapi.debug_mode(False):
        chart = draw(width)
        return None if chart is None else untrusted.plain_all(chart.to_dict(validate=False))


@dataclass(frozen=True)
class Made:
    """A figure's files at one width; none where there was nothing to draw, or where it does not fit, for which
    ``problem`` is the reason."""

    width_in: float
    paths: tuple[Path, ...] = ()
    problem: str | None = None


def make(
    results: Path,
    as_of_ns: int,
    draw: Callable[..., alt.TopLevelMixin | None],
    widths_in: Sequence[float],
    stem: Path,
) -> list[Made]:
    """Draw a figure of a results folder at every width and write it to ``<stem>-<width>in``;
    ``draw`` takes a connection and points.

    A job for ``campaign.analysis.parallel``. All jobs with the same ``as_of_ns`` that one process does share a reading
    of the folder.
    """
    con = _opened(results, as_of_ns)
    made = []
    for width_in in widths_in:
        try:
            svg = drawn(partial(draw, con), width_in)
        except FitError as problem:
            made.append(Made(width_in, problem=str(problem)))
            continue
        paths = write(svg, stem.with_name(f"{stem.name}-{width_in:g}in")) if svg is not None else []
        made.append(Made(width_in, tuple(paths)))
    return made


@lru_cache(maxsize=1)
def _opened(results: Path, as_of_ns: int) -> Remembering:
    from campaign.analysis import views

    return Remembering(views.connect(results))


class Remembering:
    """A connection that asks each question once: a figure is drawn again and again until it fits,
    from the same answers."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.answers: dict[tuple[str, str], Answer] = {}

    def execute(self, query: str, parameters: Any = None) -> Answer:
        return self.answers.setdefault((query, repr(parameters)), Answer(self.con, query, parameters))


@dataclass(frozen=True)
class Answer:
    """What a connection gives for a query, in the forms that are asked of one."""

    con: duckdb.DuckDBPyConnection
    query: str
    parameters: Any

    def df(self) -> pd.DataFrame:
        return self._table.copy()

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._rows[1])

    @property
    def description(self) -> list[tuple[Any, ...]]:
        return self._rows[0]

    @cached_property
    def _table(self) -> pd.DataFrame:
        table: pd.DataFrame = self.con.execute(self.query, self.parameters).df()
        return table

    @cached_property
    def _rows(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        result = self.con.execute(self.query, self.parameters)
        return list(result.description or ()), result.fetchall()


def write(svg: str, stem: Path) -> list[Path]:
    """``stem`` as .pdf (fonts embedded), .svg and .png (600 dpi)."""
    import vl_convert

    stem.parent.mkdir(parents=True, exist_ok=True)
    points = re.sub(r'width="([\d.]+)in" height="([\d.]+)in"', lambda m: _in_points(*m.groups()), svg, count=1)
    paths = [stem.with_name(f"{stem.name}{ending}") for ending in (".pdf", ".svg", ".png")]
    paths[0].write_bytes(vl_convert.svg_to_pdf(points))
    paths[1].write_text(svg, encoding="utf-8")
    paths[2].write_bytes(vl_convert.svg_to_png(points, scale=PNG_DPI / 72, ppi=72))
    return paths


def _in_points(width: str, height: str) -> str:
    return f'width="{float(width) * 72:.3f}" height="{float(height) * 72:.3f}"'


def _size(svg: str) -> tuple[float, float]:
    found = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    assert found is not None
    return float(found[1]), float(found[2])
