"""Figures of request latency: its distribution and its percentiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.report import figures
from campaign.report.figures import _arms
from campaign.report.paper import theme
from campaign.report.paper.shared import (
    COLUMN_PT,
    KEYS,
    Chart,
    arm_colors,
    arm_look,
    cycled,
    grid,
    interval_marks,
    left_to_right,
    legend_of,
    means_of,
    panel_height,
    panel_label,
    panel_of,
    runs_of,
    time_unit,
    value_axis,
    watermark,
)

if TYPE_CHECKING:
    import duckdb


def latency_ecdf(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Distribution of request latency by arm, requests pooled; the band spans the single runs."""
    data = con.execute(figures.ECDF).df()
    if data.empty:
        return None
    arms = _arms(con)
    times = ["latency", "fastest_run", "slowest_run"]
    unit, per = time_unit(data.latency)
    data[times] = data[times] / per
    groups = list(data.groupby(KEYS, sort=False))
    columns, inner = grid(len(groups), width, 40)
    scale = alt.Scale(zero=False, nice=True)
    height = panel_height(len(groups), columns, 90, 52)
    panels = []
    for i, (key, mine) in enumerate(groups):
        base = alt.Chart(mine.drop(columns=KEYS))
        y = alt.Y("fraction:Q", title="fraction of requests" if i % columns == 0 else None, axis=value_axis())
        look = {
            "color": alt.Color(
                "environment:N", sort=arms, scale=arm_colors(con), legend=legend_of(arms, width, line=True)
            )
        }
        dash = alt.StrokeDash(
            "environment:N",
            sort=arms,
            scale=alt.Scale(domain=arms, range=[list(cycled(theme.DASHES, k)) for k in range(len(arms))]),
            legend=legend_of(arms, width, line=True),
        )
        title = f"request latency ({unit})"
        x_axis = alt.Axis(tickCount=4, labelFlush=False)
        band = base.mark_area(opacity=0.18, orient="horizontal").encode(
            y=y,
            x=alt.X("fastest_run:Q", title=title, scale=scale, axis=x_axis),
            x2="slowest_run:Q",
            color=look["color"],
        )
        line = base.mark_line(strokeWidth=1.1).encode(
            y=y,
            x=alt.X("latency:Q", title=title, scale=scale, axis=x_axis),
            order="fraction:Q",
            strokeDash=dash,
            **look,
        )
        layers = [*watermark(con, inner, height), band, line]
        panels.append(
            alt.layer(*layers).properties(
                width=inner, height=height, title=panel_label(data, key, i, len(groups), inner)
            )
        )
    return alt.concat(*panels, columns=columns, spacing=8)


PERCENTILES = {"latency_p50_ms": "p50", "latency_p95_ms": "p95", "latency_p99_ms": "p99"}


def latency_percentiles(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Latency percentiles within each run, every run a dot, compared across runs: mean and interval by arm."""
    runs = runs_of(con, list(PERCENTILES))
    if runs.empty:
        return None
    means = means_of(con, list(PERCENTILES))
    unit, per = time_unit(runs.value)
    runs = runs.assign(value=runs.value / per)
    means[["mean", "low", "high"]] /= per
    arms = _arms(con)
    names = [name for metric, name in PERCENTILES.items() if metric in set(runs.metric)]
    groups = list(runs.groupby(KEYS, sort=False))
    columns, inner = grid(len(groups), width, 42)
    slot = 1 / (len(arms) + 0.5)
    height = panel_height(len(groups), columns, 90, 52)
    panels = []
    for i, (key, mine) in enumerate(groups):
        at = _percentile_place(arms, names, slot)
        mine = mine.assign(x=at(mine) - 0.25 * slot + 0.4 * slot * left_to_right(mine.repetition))
        its = panel_of(means, key)
        its = its.assign(x=at(its) + 0.3 * slot)
        marks = f"[{', '.join(repr(name) for name in names)}][round(datum.value)]"
        x = alt.X(
            "x:Q",
            title="percentile",
            scale=alt.Scale(domain=[-0.5, len(names) - 0.5], nice=False),
            axis=alt.Axis(values=list(range(len(names))), labelExpr=marks, grid=False, ticks=False),
        )
        y = alt.Y(
            "value:Q",
            title=f"latency ({unit})" if i % columns == 0 else None,
            scale=alt.Scale(zero=False, padding=5),
            axis=value_axis(),
        )
        layers = [
            *watermark(con, inner, height),
            alt.Chart(mine[["x", "environment", "value"]])
            .mark_point(size=9, strokeWidth=0.6)
            .encode(x=x, y=y, **arm_look(arms, width)),
            *interval_marks(its[["x", "environment", "mean", "low", "high"]], x, arms),
        ]
        panels.append(
            alt.layer(*layers).properties(
                width=inner, height=height, title=panel_label(runs, key, i, len(groups), inner)
            )
        )
    return alt.concat(*panels, columns=columns, spacing=8)


def _percentile_place(arms: list[str], names: list[str], slot: float) -> Callable[[pd.DataFrame], Any]:
    offset = {arm: (i - (len(arms) - 1) / 2) * slot for i, arm in enumerate(arms)}
    place = {metric: names.index(name) for metric, name in PERCENTILES.items() if name in names}
    return lambda table: table.metric.map(place) + table.environment.map(offset)
