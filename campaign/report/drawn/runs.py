"""Figures of the runs themselves: throughput, memory, power and energy, and all in the order they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.analysis import metrics
from campaign.report.drawn.look import PRINT, Look
from campaign.report.drawn.shared import (
    COLUMN_PT,
    KEYS,
    Chart,
    arm_look,
    arms_of,
    grid,
    interval_marks,
    left_to_right,
    means_of,
    named,
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


THROUGHPUT = """
SELECT phase, model, workload, environment, repetition, value, run_id
FROM observations
WHERE metric = 'token_throughput_tok_s'
ORDER BY run_index
""".strip()


def throughput(con: duckdb.DuckDBPyConnection, width: float | None = None, look: Look = PRINT) -> Chart:
    """Output token throughput of every accepted run, a panel for each model: dots by arm,
    mean and interval with them."""
    runs = con.execute(THROUGHPUT).df()
    if runs.empty:
        return None
    width, means, arms = width or look.width, means_of(con, ["token_throughput_tok_s"]), arms_of(con)
    quantity = metrics.titled(metrics.headline())
    groups = list(runs.groupby(KEYS, sort=False))
    columns, inner = look.grid(len(groups), width, 42, max(300, 62 * len(arms)))
    height = look.height(len(groups), columns, 84, 34, 240)
    place = {arm: i for i, arm in enumerate(arms)}
    # In print the interval stands beside its runs, on the page across them.
    begin, beside = (-0.3, 0.3) if look.printed else (-0.2, 0.0)
    panels = []
    for i, (key, mine) in enumerate(groups):
        mine = mine.assign(x=mine.environment.map(place) + begin + 0.4 * left_to_right(mine.repetition))
        its = panel_of(means, key)
        its = its.assign(x=its.environment.map(place) + beside)
        x = alt.X(
            "x:Q",
            title=panel_label(runs, key, i, len(groups), inner) if look.printed else None,
            scale=alt.Scale(domain=[-0.5, len(arms) - 0.5], nice=False),
            axis=_arm_axis(arms, look),
        )
        y = alt.Y(
            "value:Q",
            title=quantity if i % columns == 0 or not look.printed else None,
            scale=alt.Scale(zero=False, padding=5 if look.printed else 12),
            axis=value_axis() if look.printed else alt.Axis(),
        )
        said = ("run_id:N", "repetition:Q", alt.Tooltip("value:Q", title="throughput (tok/s)", format=".4~r"))
        layers = [
            *watermark(con, inner, height, look),
            alt.Chart(mine[["x", "environment", "repetition", "value", "run_id"]])
            .mark_point(**look.dot)
            .encode(x=x, y=y, **arm_look(arms, width, look=look, legend=look.printed), **look.tooltip(*said)),
            *interval_marks(its[["x", "environment", "n", "mean", "low", "high"]], x, arms, look),
        ]
        title: dict[str, Any] = {} if look.printed else {"title": named(key)}
        panels.append(alt.layer(*layers).properties(width=inner, height=height, **title))
    return alt.concat(*panels, columns=columns, spacing=look.spacing)


def _arm_axis(arms: list[str], look: Look) -> alt.Axis:
    """In print the legend names the arms, on the page the axis does."""
    if look.printed:
        return alt.Axis(labels=False, ticks=False, grid=False)
    names = f"[{', '.join(repr(arm) for arm in arms)}][round(datum.value)]"
    return alt.Axis(
        values=list(range(len(arms))),
        labelExpr=names,
        labelAngle=-35 if len(arms) > 3 else 0,
        labelLimit=170,
        ticks=False,
        grid=False,
    )


def memory(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """The engine's peak memory, its KV cache, and the unit's unified memory in use at peak, by model and arm."""
    quantities = {name: metrics.titled(name) for name in ("peak_memory_gib", "kv_cache_gib", "peak_unified_memory_gib")}
    return _model_rows(con, quantities, width)


def power_energy(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Mean power, energy, and energy per output token, by model and arm."""
    quantities = {name: metrics.titled(name) for name in ("power_mean_w", "energy_j", "energy_per_output_token_j")}
    return _model_rows(con, quantities, width)


def _model_rows(con: duckdb.DuckDBPyConnection, quantities: dict[str, str], width: float) -> Chart:
    """A panel for each quantity that was measured; models are rows, arms lie within them."""
    runs = runs_of(con, list(quantities))
    if runs.empty:
        return None
    means = means_of(con, list(quantities))
    runs, means = (table.assign(subject=subjects(table)) for table in (runs, means))
    arms, names = arms_of(con), list(dict.fromkeys(runs.subject))
    shown = {metric: title for metric, title in quantities.items() if metric in set(runs.metric)}
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
WHERE o.metric IN ('token_throughput_tok_s', 'start_temperature_c')
ORDER BY o.run_index
""".strip()


def run_order(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Every accepted run in the order in which runs were made: throughput by model, then the temperature at start."""
    runs = con.execute(RUN_ORDER).df()
    speed = runs[runs.metric == "token_throughput_tok_s"]
    if speed.empty:
        return None
    arms = arms_of(con)
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
