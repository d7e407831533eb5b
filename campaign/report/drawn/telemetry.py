"""The figure of what the sampler saw of a unit: temperature, clocks, power and memory over gates and runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.report.drawn.look import PRINT, Look
from campaign.report.drawn.shared import LETTER, Chart, watermark

if TYPE_CHECKING:
    import duckdb


TIMELINE = """
WITH shown AS (
    SELECT block, any_value(unit) AS unit
    FROM runs
    WHERE run_id IN (SELECT DISTINCT run_id FROM telemetry)
    GROUP BY block
    ORDER BY count(*) FILTER (accepted) DESC, min(run_index)
    LIMIT 1
),
block_samples AS (
    SELECT t.unit, min(t.t_utc_ns) AS first_ns, max(t.t_utc_ns) AS last_ns
    FROM telemetry AS t
    JOIN runs AS r USING (run_id)
    JOIN shown ON shown.block = r.block
    GROUP BY t.unit
)
SELECT
    (t.t_utc_ns - b.first_ns) // greatest((b.last_ns - b.first_ns) // 400, 1) AS bucket,
    (min(t.t_utc_ns) - any_value(b.first_ns)) / 1e9 AS seconds,
    avg(t.gpu_temperature_c) AS gpu_temperature_c,
    avg(t.host_temperature_c) AS host_temperature_c,
    avg(t.gpu_power_w) AS gpu_power_w,
    avg(t.gpu_utilization_pct) AS gpu_utilization_pct,
    avg(t.cpu_utilization_pct) AS cpu_utilization_pct,
    avg(t.unified_memory_gib) AS unified_memory_gib,
    max(t.attempt_memory_gib) AS attempt_memory_gib
FROM telemetry AS t
JOIN block_samples AS b ON t.unit = b.unit AND t.t_utc_ns BETWEEN b.first_ns AND b.last_ns
GROUP BY bucket
ORDER BY bucket
""".strip()

STAGES = """
WITH shown AS (
    SELECT block
    FROM runs
    WHERE run_id IN (SELECT DISTINCT run_id FROM telemetry)
    GROUP BY block
    ORDER BY count(*) FILTER (accepted) DESC, min(run_index)
    LIMIT 1
),
spans AS (
    SELECT
        r.block, t.run_id, t.attempt, t.stage, any_value(r.environment) AS environment,
        min(t.t_utc_ns) AS from_ns, max(t.t_utc_ns) AS to_ns, count(*) AS samples
    FROM telemetry AS t
    JOIN runs AS r USING (run_id)
    JOIN shown ON shown.block = r.block
    GROUP BY r.block, t.run_id, t.attempt, t.stage
)
SELECT
    block, environment, attempt, stage,
    (from_ns - min(from_ns) OVER ()) / 1e9 AS start,
    (to_ns + (to_ns - from_ns) / greatest(samples - 1, 1) - min(from_ns) OVER ()) / 1e9 AS stop
FROM spans
ORDER BY start
""".strip()

PANELS = {
    "temperature (°C)": {"gpu_temperature_c": "GPU", "host_temperature_c": "host, hottest zone"},
    "power (W)": {"gpu_power_w": "GPU"},
    "utilisation (%)": {"gpu_utilization_pct": "GPU", "cpu_utilization_pct": "CPU"},
    "memory (GiB)": {"unified_memory_gib": "unit, in use", "attempt_memory_gib": "attempt"},
}
"""Panels of the timeline: axis title, and the columns of telemetry with their names in the legend."""


CEILING = "SELECT (config->'gate'->>'ceiling_c')::DOUBLE FROM campaign WHERE json_type(config->'gate') = 'OBJECT'"

TONES = {
    True: (["gate", "run", "cooldown"], ["#fbf0d4", "#b3cce3", "#fafafa"]),
    False: (["gate", "run", "cooldown", "idle"], ["#E69F00", "#0072B2", "#009E73", "#999999"]),
}
"""Printed or not, to the stages that are shaded and their colours."""
LABELS = 44
"""Width of a panel's axis labels in print."""


def timeline(con: duckdb.DuckDBPyConnection, width: float | None = None, look: Look = PRINT) -> Chart:
    """One block as the sampler saw it: temperature, power, memory, with gates and runs shaded,
    and the ceiling dotted."""
    samples, stages = con.execute(TIMELINE).df(), con.execute(STAGES).df()
    shown = {
        title: has
        for title, columns in PANELS.items()
        if (has := {column: name for column, name in columns.items() if samples[column].notna().any()})
    }
    if stages.empty or not shown:
        return None
    inner, height = ((width or look.width) - LABELS, 52) if look.printed else (780, 110)
    end = float(max(samples.seconds.max(), stages.stop.max()))
    ceiling = [row[0] for row in con.execute(CEILING).fetchall() if row[0] is not None]
    shades = _shades(stages, look)
    panels = []
    for title, columns in shown.items():
        first, last = title == next(iter(shown)), title == next(reversed(shown))
        series = samples.rename(columns=columns).melt("seconds", list(columns.values()), "series").dropna()
        lines = _lines(series, title, list(columns.values()), end, last, look)
        layers = [shades, *watermark(con, inner, height, look), lines]
        if len(columns) > 1 and look.printed:
            layers.append(_ends(series, list(columns.values()), end / inner))
        if ceiling and title.startswith("temperature"):
            layers.append(_ceiling(ceiling, look))
        if first:
            layers.append(_over_runs(stages, end, inner, look))
        panels.append(alt.layer(*layers).properties(width=inner, height=height))
    block: dict[str, Any] = {} if look.printed else {"title": f"block {stages.block.iloc[0]}"}
    chart: alt.VConcatChart = alt.vconcat(*panels, spacing=5 if look.printed else 10, **block)
    resolved: alt.VConcatChart = chart.resolve_scale(color="shared", strokeDash="independent")
    return resolved


def _shades(stages: pd.DataFrame, look: Look) -> alt.Chart:
    domain, tones = TONES[look.printed]
    mark: dict[str, Any] = {"stroke": "#b0b0b0", "strokeWidth": 0.4} if look.printed else {"opacity": 0.15}
    opaque: dict[str, Any] = {"symbolOpacity": 1} if look.printed else {}
    legend = alt.Legend(title=None, orient="top", symbolType="square", **opaque)
    color = alt.Color("stage:N", scale=alt.Scale(domain=domain, range=tones), sort=domain, legend=legend)
    said = look.tooltip("environment:N", "attempt:Q", "stage:N", "start:Q", "stop:Q")
    base = alt.Chart(stages[stages.stage.isin(domain)]).mark_rect(**mark)
    chart: alt.Chart = base.encode(x="start:Q", x2="stop:Q", color=color, **said)
    return chart


def _lines(series: pd.DataFrame, title: str, names: list[str], end: float, last: bool, look: Look) -> alt.Chart:
    """The series of one panel over time; a single one is named by the axis,
    several by their ends in print and by a legend on the page."""
    alone = f"{names[0]} {title}" if not look.printed else [names[0], title]
    x = alt.X(
        "seconds:Q",
        title="time since the block began (s)" if last else None,
        scale=alt.Scale(nice=False, domain=[0, end]),
        axis=alt.Axis(labels=last, ticks=last, tickCount=6 if look.printed else 12, grid=not look.printed),
    )
    y = alt.Y(
        "value:Q",
        title=title if len(names) > 1 else alone,
        scale=alt.Scale(zero=False, padding=11 if look.printed else 8),
        axis=alt.Axis(tickCount=3, grid=False, minExtent=22) if look.printed else alt.Axis(tickCount=4, minExtent=34),
    )
    legend = None if look.printed or len(names) == 1 else alt.Legend(title=None, orient="right", symbolSize=500)
    dash = alt.StrokeDash(
        "series:N",
        sort=names,
        scale=alt.Scale(domain=names, range=[[1, 0], [3, 1.5] if look.printed else [6, 3]][: len(names)]),
        legend=legend,
    )
    mark = alt.Chart(series).mark_line(strokeWidth=0.9 if look.printed else 1.6, **look.inked())
    chart: alt.Chart = mark.encode(x=x, y=y, strokeDash=dash, **look.tooltip("series:N", "seconds:Q", "value:Q"))
    return chart


def _ceiling(ceiling: list[float], look: Look) -> alt.Chart:
    mark: dict[str, Any] = (
        {"strokeDash": [1, 2], "strokeWidth": 0.9, "color": "#D55E00"}
        if look.printed
        else {"strokeDash": [2, 3], "opacity": 0.7}
    )
    said = look.tooltip(alt.Tooltip("value:Q", title="gate ceiling (°C)"))
    chart: alt.Chart = alt.Chart(pd.DataFrame({"value": ceiling})).mark_rule(**mark).encode(y="value:Q", **said)
    return chart


def _ends(long: pd.DataFrame, names: list[str], second: float) -> alt.Chart:
    """Name each of two series where its line is flat for as long as its name: above the upper one, below the lower one.

    ``second``: seconds in a point.
    """
    wide = long.pivot_table(index="seconds", columns="series", values="value").dropna()
    span = float(long.value.max() - long.value.min()) or 1.0
    order = wide[names].mean().sort_values().index
    rows = []
    for name, sign in zip(order, (-1, 1), strict=True):
        series, needed = sign * wide[name], 4.4 * len(name) * second
        best = (math.inf, 0.0, 0.0)
        for start in series.index[series.index + needed <= series.index.max()]:
            its = series.loc[start : start + needed]
            bend = float(its.max() - its.min()) / span - 0.6 * float(its.max()) / span
            best = min(best, (bend, float(start), float(its.max())))
        if math.isfinite(best[0]):
            rows.append({"seconds": best[1], "value": sign * best[2], "text": name, "above": sign > 0})
    table = pd.DataFrame(rows, columns=["seconds", "value", "text", "above"])
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_text(align="left", dx=2, dy=alt.ExprRef("datum.above ? -6 : 7"), fontStyle="italic")
        .encode(x="seconds:Q", y="value:Q", text="text:N")
    )
    return chart


def _over_runs(stages: pd.DataFrame, end: float, inner: float, look: Look) -> alt.Chart:
    """Above each run the arm it belongs to; on the page turned where the names are longer than the runs lie apart."""
    runs = stages[stages.stage == "run"].sort_values("start")
    words = " ({})" if look.printed else " (attempt {})"
    again = runs.attempt.map(lambda attempt: "" if attempt == 1 else words.format(attempt))
    names = pd.DataFrame({"middle": (runs.start + runs.stop) / 2, "text": runs.environment + again})
    mark: dict[str, Any] = {"baseline": "bottom"}
    if look.printed:
        mark["limit"] = inner / max(1, len(runs)) - 2
    else:
        mark |= {"fontSize": 11, "fontWeight": 600}
        room = float(names.middle.diff().min()) * inner / end if len(runs) > 1 else inner
        if LETTER * max(map(len, names.text), default=0) > room:
            mark |= {"angle": 325, "align": "left", "baseline": "middle", "dx": 4}
    chart: alt.Chart = (
        alt.Chart(names).mark_text(**mark).encode(x="middle:Q", y=alt.value(-2 if look.printed else -4), text="text:N")
    )
    return chart
