"""Figures of the runs themselves: throughput, memory, power and energy, and all in the order they were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.analysis import metrics
from campaign.report.figures import _arms
from campaign.report.paper.shared import (
    COLUMN_PT,
    KEYS,
    Chart,
    arm_look,
    grid,
    interval_marks,
    left_to_right,
    means_of,
    panel_height,
    panel_label,
    panel_of,
    runs_of,
    subjects,
    value_axis,
    watermark,
)

if TYPE_CHECKING:
    import duckdb


def throughput(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Output token throughput of every accepted run, a panel for each model: dots by arm, mean and interval beside them."""
    return _run_panels(con, metrics.headline(), metrics.titled(metrics.headline()), width)


def _run_panels(con: duckdb.DuckDBPyConnection, metric: str, quantity: str, width: float) -> Chart:
    runs = runs_of(con, [metric])
    if runs.empty:
        return None
    means = means_of(con, [metric])
    arms = _arms(con)
    place = {arm: i for i, arm in enumerate(arms)}
    groups = list(runs.groupby(KEYS, sort=False))
    columns, inner = grid(len(groups), width, 42)
    height = panel_height(len(groups), columns, 84, 34)
    panels = []
    for i, (key, mine) in enumerate(groups):
        mine = mine.assign(x=mine.environment.map(place) - 0.3 + 0.4 * left_to_right(mine.repetition))
        its = panel_of(means, key)
        its = its.assign(x=its.environment.map(place) + 0.3)
        x = alt.X(
            "x:Q",
            title=panel_label(runs, key, i, len(groups), inner),
            scale=alt.Scale(domain=[-0.5, len(arms) - 0.5], nice=False),
            axis=alt.Axis(labels=False, ticks=False, grid=False),
        )
        y = alt.Y(
            "value:Q",
            title=quantity if i % columns == 0 else None,
            scale=alt.Scale(zero=False, padding=5),
            axis=value_axis(),
        )
        layers = [
            *watermark(con, inner, height),
            alt.Chart(mine[["x", "environment", "value"]])
            .mark_point(size=11, strokeWidth=0.7)
            .encode(x=x, y=y, **arm_look(arms, width)),
            *interval_marks(its[["x", "environment", "mean", "low", "high"]], x, arms),
        ]
        panels.append(alt.layer(*layers).properties(width=inner, height=height))
    return alt.concat(*panels, columns=columns, spacing=8)


def memory(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """The engine's peak memory, its KV cache, and the unit's unified memory in use at peak, by model and arm."""
    return _model_rows(con, ("peak_memory_gib", "kv_cache_gib", "peak_unified_memory_gib"), width)


def power_energy(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Mean power, energy, and energy per output token, by model and arm."""
    return _model_rows(con, ("power_mean_w", "energy_j", "energy_per_output_token_j"), width)


def _model_rows(con: duckdb.DuckDBPyConnection, quantities: Sequence[str], width: float) -> Chart:
    """A panel for each quantity that was measured; models are rows, arms lie within them."""
    runs = runs_of(con, list(quantities))
    if runs.empty:
        return None
    means = means_of(con, list(quantities))
    runs, means = (table.assign(subject=subjects(table)) for table in (runs, means))
    arms, names = _arms(con), list(dict.fromkeys(runs.subject))
    shown = {metric: metrics.titled(metric) for metric in quantities if metric in set(runs.metric)}
    side_by_side = width > 1.5 * COLUMN_PT
    columns = len(shown) if side_by_side else 1
    room = 4.6 * max(map(len, names)) + 4
    inner = (width - room - 12 * (columns - 1)) / columns - 8
    lines = len(names) * (len(arms) + 0.5)
    height = panel_height(len(shown), columns, 9 * lines, 46)
    panels = []
    for i, (metric, title) in enumerate(shown.items()):
        labelled = i % columns == 0
        axis = alt.Axis(labels=labelled, ticks=False, labelLimit=170, grid=False)
        place: dict[str, Any] = {
            "y": alt.Y("subject:N", sort=names, title=None, axis=axis, scale=alt.Scale(paddingInner=0.15)),
            "yOffset": alt.YOffset("environment:N", sort=arms),
        }
        mine, its = runs[runs.metric == metric], means[means.metric == metric]
        scale = alt.Scale(zero=False, nice=True, padding=6)
        if mine.value.min() == mine.value.max():  # no spread, no scale: show it with a tenth around it
            around = abs(float(mine.value.iloc[0])) / 10 or 1.0
            scale = alt.Scale(domain=[mine.value.iloc[0] - around, mine.value.iloc[0] + around], nice=True)
        base = alt.Chart(its[["subject", "environment", "mean", "low", "high"]])
        layers = [
            *watermark(con, inner, height),
            alt.Chart(mine[["subject", "environment", "value"]])
            .mark_point(size=9, strokeWidth=0.6)
            .encode(
                x=alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4, labelFlush=False)),
                **place,
                **arm_look(arms, width),
            ),
            base.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.4, color="black")
            .encode(x=alt.X("low:Q", title=title, scale=scale), x2="high:Q", **place),
            base.mark_tick(thickness=1.2, color="black", height=6).encode(
                x=alt.X("mean:Q", title=title, scale=scale), **place
            ),
        ]
        label = f"({chr(97 + i)})" if len(shown) > 1 else ""
        panels.append(alt.layer(*layers).properties(width=inner, height=height, title=label))
    return alt.concat(*panels, columns=columns, spacing=8)


RUN_ORDER = """
SELECT o.phase, o.model, o.workload, o.environment, o.repetition, o.metric, o.value,
    dense_rank() OVER (ORDER BY coalesce(o.started_utc, utc(o.run_index)), o.run_index) AS place
FROM observations AS o
WHERE o.metric IN ($1, 'start_temperature_c')
ORDER BY o.run_index
""".strip()


def run_order(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Every accepted run in the order in which runs were made: throughput by model, then the temperature at start."""
    runs = con.execute(RUN_ORDER, [metrics.headline()]).df()
    speed = runs[runs.metric == metrics.headline()]
    if speed.empty:
        return None
    arms = _arms(con)
    start = runs[runs.metric == "start_temperature_c"]
    groups = list(speed.groupby(KEYS, sort=False))
    columns = grid(len(groups), width, 44)[0] if width > 1.5 * COLUMN_PT or len(groups) > 6 else 1
    inner = (width - columns * 44 - 8 * (columns - 1)) / columns
    height = panel_height(len(groups) + columns * (not start.empty), columns, 62, 50)
    whole = alt.Scale(domain=[0, int(runs.place.max()) + 1], nice=False)

    def panel(mine: pd.DataFrame, quantity: str, wide: float, title: str | list[str]) -> Any:
        ticks = alt.Axis(tickCount=5 if wide > 130 else 3, grid=False, format="d", labelFlush=False)
        x = alt.X("place:Q", title="run, in order of start", scale=whole, axis=ticks)
        y = alt.Y("value:Q", title=quantity, scale=alt.Scale(zero=False, padding=4), axis=value_axis())
        crowded = len(mine) > 2 * wide
        dots = (
            alt.Chart(mine[["place", "environment", "value"]])
            .mark_point(size=5 if crowded else 11, strokeWidth=0.5 if crowded else 0.7)
            .encode(x=x, y=y, **arm_look(arms, width))
        )
        return alt.layer(*watermark(con, wide, height), dots).properties(width=wide, height=height, title=title)

    panels = [
        panel(mine, "output (tok/s)", inner, panel_label(speed, key, i, len(groups) + (not start.empty), inner))
        for i, (key, mine) in enumerate(groups)
    ]
    chart: alt.ConcatChart = alt.concat(*panels, columns=columns, spacing=8)
    if start.empty:
        return chart
    title = f"({chr(97 + len(groups))})" + " all models" * (len(groups) > 1)
    return alt.vconcat(chart, panel(start, "at start (°C)", width - 44, title), spacing=8)
