"""What the page shows: its figures, and the themes that a chart gets when it is
saved or embedded (:data:`LIGHT`, :data:`DARK`).

They are drawn by ``report/drawn``, which an article's are drawn by too; colours and fonts come from the theme, never
from the chart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt

from campaign.record import untrusted
from campaign.report.drawn import cooling, latency, looks, runs, telemetry
from campaign.report.drawn.look import PAGE

if TYPE_CHECKING:
    import duckdb

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def _theme(ink: str, soft: str, grid: str, arms: list[str]) -> dict[str, Any]:
    return {
        "background": None,
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": soft,
            "titleColor": ink,
            "titleFontWeight": 500,
            "titleFontSize": 12,
            "labelFontSize": 11,
            "gridColor": grid,
            "domainColor": soft,
            "tickColor": soft,
            "titlePadding": 8,
        },
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "symbolSize": 90},
        "title": {"color": ink, "fontSize": 13, "fontWeight": 600, "anchor": "start", "offset": 8},
        "range": {"category": arms},
        "text": {"color": ink},
        "rule": {"color": ink},
        "line": {"color": ink},
    }


LIGHT = _theme("#1b1f24", "#5b6470", "#e7eaee", ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"])
DARK = _theme("#e8ebef", "#9aa4b0", "#2b3138", ["#56B4E9", "#E69F00", "#2bc79a", "#e39cc3", "#5f9fe0", "#F0E442"])


@dataclass(frozen=True)
class Figure:
    """A figure of the report: how to draw it and the query its data come from."""

    name: str
    title: str
    caption: str
    sql: str
    draw: Callable[[duckdb.DuckDBPyConnection], alt.TopLevelMixin | None]
    absent: str
    """What is missing where ``draw`` gives None."""


LOOKS_FIGURE = Figure(
    "looks",
    "Looks: estimate and boundaries",
    "Change of throughput over the blocks up to each look, with the 95 % interval that holds at all looks together. "
    "A difference is claimed where the point lies beyond the orange marks, equivalence where it lies in the green "
    "stretch (none where the runs scatter too much for it); both at the level that the comparison has in its family "
    "now. Boundaries are only known once the spread at a look is.",
    looks.LOOKS,
    looks.looks,
    "the campaign has no looks, or none was taken yet",
)
"""Of a campaign with a sequential design, before the others."""

REST_FIGURE = Figure(
    "rest",
    "Calibrated rest: how the unit cools",
    "Mean over the rests of the pilot after the runs of each arm: temperature, power and clock of the GPU (of the "
    "host where there is none). The line is the rest that every attempt waits for at least: the time after which, in "
    "every single rest after every model and arm, all of them were back where that rest ended.",
    cooling.REST,
    cooling.rest,
    "the rest was not calibrated",
)
"""Of a campaign with a calibrated rest, before the others."""

FIGURES = (
    Figure(
        "throughput",
        "Throughput of every run",
        "One mark per accepted run, in order of repetition from left to right within its arm; the bar is the mean "
        "with its 95 % t interval (from three runs on). The axis does not begin at zero.",
        runs.THROUGHPUT,
        partial(runs.throughput, look=PAGE),
        "no accepted run has a throughput",
    ),
    Figure(
        "latency",
        "Distribution of request latency",
        "Line: quantiles of all accepted requests of an arm, pooled. Band: from the fastest to the slowest single "
        "run. Requests of a run are not independent; comparisons are made between runs, never between requests.",
        latency.ECDF,
        partial(latency.latency_ecdf, look=PAGE),
        "no accepted run has figures of single requests",
    ),
    Figure(
        "timeline",
        "One block as the sampler saw it",
        "Telemetry of one block with the stages of each attempt shaded. Samples are averaged into at most 400 steps "
        "for drawing; the view telemetry has all of them. The dotted line is the gate's temperature ceiling, where "
        "there is one. A quantity that this unit cannot give is not drawn.",
        telemetry.TIMELINE,
        partial(telemetry.timeline, look=PAGE),
        "no telemetry file holds a sample of a planned run",
    ),
)


def themed(chart: alt.TopLevelMixin, theme: dict[str, Any] = LIGHT) -> dict[str, Any]:
    """The Vega-Lite specification with a theme applied. Not checked against the schema,
    which takes longer than to draw it."""
    specification: dict[str, Any] = untrusted.plain_all(chart.to_dict(validate=False))
    specification["config"] = theme
    return specification


def save(chart: alt.TopLevelMixin, path: Path, *, theme: dict[str, Any] = LIGHT, scale: float = 2.0) -> Path:
    """Write ``chart`` as PNG, SVG or PDF by the ending of ``path``, on white in the light theme.
    ValueError for another ending."""
    import vl_convert

    path.parent.mkdir(parents=True, exist_ok=True)
    drawing = svg(themed(chart, theme))
    match path.suffix:
        case ".svg":
            path.write_text(drawing, encoding="utf-8")
        case ".png":
            path.write_bytes(vl_convert.svg_to_png(drawing, scale=scale))
        case ".pdf":
            path.write_bytes(vl_convert.svg_to_pdf(drawing))
        case other:
            raise ValueError(f"{path}: a figure is saved as .png, .svg or .pdf, not as {other or 'nothing'}")
    return path


def svg(specification: dict[str, Any]) -> str:
    """A themed specification drawn, on white or, in the dark theme, on black."""
    import vl_convert

    dark = specification["config"]["axis"]["titleColor"] == DARK["axis"]["titleColor"]
    config = specification["config"] | {"background": "#111418" if dark else "white"}
    drawing: str = vl_convert.vegalite_to_svg(specification | {"config": config})
    return drawing
