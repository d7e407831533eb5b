"""Figures of request latency: its distribution and its percentiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.report.drawn.look import PRINT, Look
from campaign.report.drawn.shared import (
    COLUMN_PT,
    KEYS,
    Chart,
    arm_look,
    arms_of,
    color_scale,
    dashes,
    grid,
    interval_marks,
    left_to_right,
    legend_of,
    means_of,
    named,
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


ECDF = """
WITH answered AS (
    SELECT phase, model, workload, environment, run_id, latency_ms FROM requests WHERE accepted AND ok
),
run_quantiles AS (
    SELECT
        phase, model, workload, environment, run_id,
        unnest([i / 100.0 FOR i IN range(101)]) AS fraction,
        unnest(quantile_cont(latency_ms, [i / 100.0 FOR i IN range(101)])) AS latency
    FROM answered
    GROUP BY phase, model, workload, environment, run_id
),
spreads AS (
    SELECT phase, model, workload, environment, fraction, min(latency) AS fastest_run, max(latency) AS slowest_run,
        count(*) AS runs
    FROM run_quantiles
    GROUP BY ALL
),
pooled AS (
    SELECT
        phase, model, workload, environment,
        unnest([i / 100.0 FOR i IN range(101)]) AS fraction,
        unnest(quantile_cont(latency_ms, [i / 100.0 FOR i IN range(101)])) AS latency,
        count(*) AS requests
    FROM answered
    GROUP BY phase, model, workload, environment
)
SELECT p.*, s.fastest_run, s.slowest_run, s.runs
FROM pooled AS p
JOIN spreads AS s USING (phase, model, workload, environment, fraction)
JOIN (SELECT phase, model, workload, min("index") AS place FROM plan GROUP BY phase, model, workload) AS planned
    USING (phase, model, workload)
ORDER BY planned.place, environment, fraction
""".strip()


def latency_ecdf(con: duckdb.DuckDBPyConnection, width: float | None = None, look: Look = PRINT) -> Chart:
    """Distribution of request latency by arm, requests pooled; the band spans the single runs."""
    data = con.execute(ECDF).df()
    if data.empty:
        return None
    width, arms = width or look.width, arms_of(con)
    times = ["latency", "fastest_run", "slowest_run"]
    unit, per = time_unit(data.latency)
    data[times] = data[times] / per
    groups = list(data.groupby(KEYS, sort=False))
    columns, inner = look.grid(len(groups), width, 40, 300)
    columns = columns if look.printed else min(columns, 2)
    height = look.height(len(groups), columns, 90, 52, 220)
    scale = alt.Scale(zero=False, nice=True)
    legend = legend_of(arms, width, line=True, look=look)
    color = alt.Color("environment:N", sort=arms, scale=color_scale(arms, look), legend=legend)
    title = f"request latency ({unit})"
    axis = alt.Axis(tickCount=4, labelFlush=False) if look.printed else alt.Axis()
    panels = []
    for i, (key, mine) in enumerate(groups):
        base = alt.Chart(mine.drop(columns=KEYS))
        y = alt.Y(
            "fraction:Q",
            title="fraction of requests" if i % columns == 0 or not look.printed else None,
            axis=value_axis() if look.printed else alt.Axis(format="%"),
        )
        band = base.mark_area(opacity=look.band, orient="horizontal").encode(
            y=y,
            x=alt.X("fastest_run:Q", title=title, scale=scale, axis=axis),
            x2="slowest_run:Q",
            color=color,
        )
        said = (
            alt.Tooltip("fraction:Q", format=".0%"),
            alt.Tooltip("latency:Q", format=".4~r"),
            "runs:Q",
            "requests:Q",
        )
        line = base.mark_line(strokeWidth=look.line).encode(
            y=y,
            x=alt.X("latency:Q", title=title, scale=scale, axis=axis),
            order="fraction:Q",
            strokeDash=dashes(arms, legend),
            color=color,
            **look.tooltip("environment:N", *said),
        )
        layers = [*watermark(con, inner, height, look), band, line]
        label = panel_label(data, key, i, len(groups), inner) if look.printed else named(key)
        panels.append(alt.layer(*layers).properties(width=inner, height=height, title=label))
    return alt.concat(*panels, columns=columns, spacing=look.spacing)


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
    arms = arms_of(con)
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
