"""The figures, one function each: a connection in, an Altair chart out.

Axes say quantity (unit). Arms differ by colour and by shape or dash, in the palette of Okabe and Ito (2008), which
holds for colour-blind readers and in grey. Every figure shows the individual runs. Colours and fonts come from a
theme (:data:`LIGHT`, :data:`DARK`) when a chart is saved or embedded, never from the chart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.analysis import metrics
from campaign.record import untrusted
from campaign.report.guard import guard_of

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


THROUGHPUT = """
SELECT phase, model, workload, environment, repetition, value AS throughput, run_id
FROM observations
WHERE metric = 'token_throughput_tok_s'
ORDER BY run_index
""".strip()


def throughput(con: duckdb.DuckDBPyConnection) -> alt.TopLevelMixin | None:
    """Output token throughput of every accepted run by environment, with mean and 95 % t interval. None without runs."""
    runs = con.execute(THROUGHPUT).df()
    if runs.empty:
        return None
    means = _with_interval(
        con.execute(
            "SELECT phase, model, workload, environment, n, mean, se FROM descriptives "
            "WHERE metric = 'token_throughput_tok_s'"
        ).df(),
        guard_of(con).fixed,
    )
    arms = _arms(con)
    quantity = metrics.titled(metrics.headline())
    crowded = len(arms) > 3
    width = max(300, 62 * len(arms))
    axis = alt.Axis(labelAngle=-35 if crowded else 0, labelLimit=170, ticks=False)
    x = alt.X("environment:N", sort=arms, title=None, axis=axis)
    y = alt.Y("throughput:Q", title=quantity, scale=alt.Scale(zero=False, nice=True, padding=12))
    color = alt.Color("environment:N", sort=arms, scale=alt.Scale(domain=arms), legend=None)
    panels = []
    for (phase, model, workload), mine in runs.groupby(["phase", "model", "workload"], sort=False):
        its = means[(means.phase == phase) & (means.model == model) & (means.workload == workload)]
        dots = (
            alt.Chart(mine[["environment", "repetition", "throughput", "run_id"]])
            .mark_point(filled=True, size=46, opacity=0.75)
            .encode(
                x=x,
                xOffset=alt.XOffset("repetition:Q", scale=alt.Scale(paddingOuter=0)),
                y=y,
                color=color,
                shape=alt.Shape("environment:N", sort=arms, scale=alt.Scale(domain=arms), legend=None),
                tooltip=["run_id:N", "repetition:Q", alt.Tooltip("throughput:Q", format=".4~r")],
            )
        )
        mean = alt.Chart(its[["environment", "mean", "low", "high", "n"]])
        tooltip = [
            "environment:N",
            "n:Q",
            *(alt.Tooltip(f"{name}:Q", format=".5~r") for name in ("mean", "low", "high")),
        ]
        bars = mean.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2.2)
        ticks = mean.mark_tick(thickness=2.6, width=30 if crowded else 44, opacity=1)
        layers = [
            *_watermark(con, width, 240),
            dots,
            bars.encode(x=x, y=alt.Y("low:Q", title=quantity), y2="high:Q"),
            ticks.encode(x=x, y=alt.Y("mean:Q", title=quantity), color=color, tooltip=tooltip),
        ]
        panels.append(alt.layer(*layers).properties(width=width, height=240, title=f"{model} · {workload} · {phase}"))
    return alt.concat(*panels, columns=max(1, 1000 // (width + 90)), spacing=36)


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
    SELECT phase, model, workload, environment, fraction, min(latency) AS fastest_run, max(latency) AS slowest_run, count(*) AS runs
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


def latency(con: duckdb.DuckDBPyConnection) -> alt.TopLevelMixin | None:
    """Distribution of request latency by arm: pooled requests, and the range of the individual runs. None without requests."""
    data = con.execute(ECDF).df()
    if data.empty:
        return None
    arms = _arms(con)
    legend = alt.Legend(
        title=None, orient="top", symbolType="stroke", symbolSize=500, symbolStrokeWidth=2.5, symbolOpacity=1, labelLimit=0,
        columns=max(1, int(720 // (LETTER * max(map(len, arms)) + 50))),
    )  # fmt: skip
    color = alt.Color("environment:N", sort=arms, scale=alt.Scale(domain=arms), legend=legend)
    quantity = "request latency (ms)"
    y = alt.Y("fraction:Q", title="fraction of requests", axis=alt.Axis(format="%"))
    panels = []
    for (phase, model, workload), mine in data.groupby(["phase", "model", "workload"], sort=False):
        base = alt.Chart(mine.drop(columns=["phase", "model", "workload"]))
        scale = alt.Scale(zero=False, nice=True)
        band = base.mark_area(opacity=0.16, orient="horizontal").encode(
            y=y, x=alt.X("fastest_run:Q", title=quantity, scale=scale), x2="slowest_run:Q", color=color
        )
        line = base.mark_line(strokeWidth=2).encode(
            y=y,
            x=alt.X("latency:Q", title=quantity, scale=scale),
            order="fraction:Q",
            color=color,
            strokeDash=alt.StrokeDash("environment:N", sort=arms, scale=alt.Scale(domain=arms), legend=legend),
            tooltip=[
                "environment:N",
                alt.Tooltip("fraction:Q", format=".0%"),
                alt.Tooltip("latency:Q", format=".4~r"),
                "runs:Q",
                "requests:Q",
            ],
        )
        layers = [*_watermark(con, 300, 220), band, line]
        panels.append(alt.layer(*layers).properties(width=300, height=220, title=f"{model} · {workload} · {phase}"))
    return alt.concat(*panels, columns=2, spacing=36)


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

WIDTH, HEIGHT = 780, 110
"""Of one panel of the timeline, pixels."""
LETTER = 6.8
"""Width of a letter of a bold label, pixels, on the average and a little more."""


def timeline(con: duckdb.DuckDBPyConnection) -> alt.TopLevelMixin | None:
    """Telemetry of one block with its gates, runs and cooldowns shaded. None without samples."""
    samples = con.execute(TIMELINE).df()
    stages = con.execute(STAGES).df()
    shown = {
        title: has
        for title, columns in PANELS.items()
        if (has := {column: name for column, name in columns.items() if samples[column].notna().any()})
    }
    if stages.empty or not shown:
        return None
    end = float(max(samples.seconds.max(), stages.stop.max()))
    ceiling = [row[0] for row in con.execute(CEILING).fetchall() if row[0] is not None]
    panels = []
    for title, columns in shown.items():
        first, last = title == next(iter(shown)), title == next(reversed(shown))
        layers = [_shades(stages), *_watermark(con, WIDTH, HEIGHT), _lines(samples, title, columns, end, last)]
        if ceiling and title.startswith("temperature"):
            rule = alt.Chart(pd.DataFrame({"ceiling": ceiling})).mark_rule(strokeDash=[2, 3], opacity=0.7)
            layers.append(rule.encode(y="ceiling:Q", tooltip=[alt.Tooltip("ceiling:Q", title="gate ceiling (°C)")]))
        if first:
            layers.append(_arm_names(stages, end))
        panels.append(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))
    chart: alt.VConcatChart = alt.vconcat(*panels, spacing=10, title=f"block {stages.block.iloc[0]}")
    resolved: alt.VConcatChart = chart.resolve_scale(color="shared", strokeDash="independent")
    return resolved


def _lines(samples: pd.DataFrame, title: str, columns: dict[str, str], end: float, last: bool) -> alt.Chart:
    """The series of one panel over time; a single one is named by the axis, several by a legend."""
    names = list(columns.values())
    seconds = alt.X(
        "seconds:Q",
        title="time since the block began (s)" if last else None,
        scale=alt.Scale(nice=False, domain=[0, end]),
        axis=alt.Axis(labels=last, ticks=last, tickCount=12),
    )
    value = alt.Y(
        "value:Q",
        title=title if len(names) > 1 else f"{names[0]} {title}",
        scale=alt.Scale(zero=False, padding=8),
        axis=alt.Axis(tickCount=4, minExtent=34),
    )
    legend = alt.Legend(title=None, orient="right", symbolSize=500) if len(names) > 1 else None
    chart: alt.Chart = (
        alt.Chart(samples.rename(columns=columns).melt("seconds", names, "series"))
        .mark_line(strokeWidth=1.6)
        .encode(
            x=seconds,
            y=value,
            strokeDash=alt.StrokeDash("series:N", legend=legend, sort=None),
            tooltip=["series:N", "seconds:Q", "value:Q"],
        )
    )
    return chart


def _shades(stages: pd.DataFrame) -> alt.Chart:
    colors = alt.Scale(domain=["gate", "run", "cooldown", "idle"], range=["#E69F00", "#0072B2", "#009E73", "#999999"])
    chart: alt.Chart = (
        alt.Chart(stages)
        .mark_rect(opacity=0.15)
        .encode(
            x="start:Q",
            x2="stop:Q",
            color=alt.Color("stage:N", title=None, scale=colors, legend=alt.Legend(orient="top", symbolType="square")),
            tooltip=["environment:N", "attempt:Q", "stage:N", "start:Q", "stop:Q"],
        )
    )
    return chart


def _arm_names(stages: pd.DataFrame, end: float) -> alt.Chart:
    """Above each run the arm it belongs to; turned where the names are longer than the runs lie apart."""
    runs = stages[stages.stage == "run"].sort_values("start")
    again = runs.attempt.map(lambda attempt: "" if attempt == 1 else f" (attempt {attempt})")
    names = pd.DataFrame({"middle": (runs.start + runs.stop) / 2, "text": runs.environment + again})
    room = float(names.middle.diff().min()) * WIDTH / end if len(runs) > 1 else WIDTH
    turned = LETTER * max(map(len, names.text), default=0) > room
    look = {"angle": 325, "align": "left", "baseline": "middle", "dx": 4} if turned else {"baseline": "bottom"}
    chart: alt.Chart = (
        alt.Chart(names)
        .mark_text(fontSize=11, fontWeight=600, **look)
        .encode(x="middle:Q", y=alt.value(-4), text="text:N")
    )
    return chart


LOOKS = """
SELECT model, workload, treatment, reference, blocks, n, pct, rci95_low AS low, rci95_high AS high, -different_beyond_pct AS lower,
    different_beyond_pct AS upper, equivalent_from_pct AS zone_from, equivalent_to_pct AS zone_to, claimed
FROM comparison_looks
WHERE metric = 'token_throughput_tok_s' AND status = 'ok'
ORDER BY ALL
""".strip()


def looks(con: duckdb.DuckDBPyConnection) -> alt.TopLevelMixin | None:
    """Change of throughput at every look with its boundaries, a panel a comparison. None without looks."""
    found = con.execute(LOOKS).df()
    if found.empty:
        return None
    found = found.assign(claim=[", ".join(claims) if len(claims) else "none" for claims in found.claimed])
    x = alt.X(
        "blocks:Q",
        title="blocks",
        axis=alt.Axis(values=sorted(set(found.blocks)), format="d"),
        scale=alt.Scale(padding=24),
    )
    title = "change of throughput (%)"
    panels = []
    for (model, workload, treatment, reference), mine in found.drop(columns="claimed").groupby(
        ["model", "workload", "treatment", "reference"], sort=False
    ):
        base = alt.Chart(mine)
        zone = base.transform_filter("isValid(datum.zone_from)").mark_rule(
            strokeWidth=16, opacity=0.22, color="#009E73"
        )
        limit = base.mark_tick(orient="horizontal", thickness=2.4, size=34, color="#D55E00", opacity=1)
        layers = [
            *_watermark(con, 260, 200),
            base.mark_rule(strokeDash=[2, 3], opacity=0.6).encode(y=alt.datum(0)),
            zone.encode(x=x, y=alt.Y("zone_from:Q", title=title), y2="zone_to:Q"),
            *(limit.encode(x=x, y=alt.Y(f"{side}:Q", title=title)) for side in ("lower", "upper")),
            base.mark_line(strokeWidth=1.2).encode(x=x, y=alt.Y("pct:Q", title=title)),
            base.mark_rule(strokeWidth=2).encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q"),
            base.mark_point(filled=True, size=60, opacity=1).encode(
                x=x,
                y=alt.Y("pct:Q", title=title),
                tooltip=["blocks:Q", "n:Q", *(alt.Tooltip(f"{name}:Q", format=".3~r") for name in ("pct", "low", "high")), "claim:N"],
            ),
        ]  # fmt: skip
        named = f"{model} · {workload}"
        panels.append(
            alt.layer(*layers).properties(width=260, height=200, title=alt.TitleParams(named, subtitle=f"{treatment} against {reference}"))
        )  # fmt: skip
    return alt.concat(*panels, columns=3, spacing=30)


LOOKS_FIGURE = Figure(
    "looks",
    "Looks: estimate and boundaries",
    "Change of throughput over the blocks up to each look, with the 95 % interval that holds at all looks together. A difference is claimed where the point "
    "lies beyond the orange marks, equivalence where it lies in the green stretch (none where the runs scatter too much for it); both at the level that the "
    "comparison has in its family now. Boundaries are only known once the spread at a look is.",
    LOOKS,
    looks,
    "the campaign has no looks, or none was taken yet",
)
"""Of a campaign with a sequential design, before the others."""

REST = """
WITH points AS (
    SELECT unnest(from_json(config->'rest'->'curve',
        '[{"environment": "VARCHAR", "t_s": "DOUBLE", "temperature_c": "DOUBLE", "power_w": "DOUBLE", "sm_clock_mhz": "DOUBLE"}]'), recursive := true)
    FROM campaign
)
SELECT environment, t_s, temperature_c, power_w, sm_clock_mhz,
    (SELECT (config->'rest'->>'cooldown_s')::DOUBLE FROM campaign) AS cooldown_s,
    (SELECT (config->'rest'->>'was_s')::DOUBLE FROM campaign) AS was_s
FROM points
ORDER BY environment, t_s
""".strip()
COOLING = {"temperature_c": "temperature (°C)", "power_w": "power (W)", "sm_clock_mhz": "clock (MHz)"}


def rest(con: duckdb.DuckDBPyConnection) -> alt.TopLevelMixin | None:
    """How the pilot's unit cooled after each arm, and the rest that was taken from it. None without a calibrated rest."""
    found = con.execute(REST).df()
    if found.empty:
        return None
    arms = [arm for arm in _arms(con) if arm in set(found.environment)] or sorted(set(found.environment))
    x = alt.X("t_s:Q", title="seconds since the run ended", scale=alt.Scale(nice=False))
    color = alt.Color("environment:N", sort=arms, scale=alt.Scale(domain=arms), title=None)
    dash = alt.StrokeDash("environment:N", sort=arms, scale=alt.Scale(domain=arms), title=None)
    panels = []
    for column, title in COOLING.items():
        if found[column].isna().all():
            continue
        y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=column != "temperature_c", nice=True))
        base = alt.Chart(found[["environment", "t_s", column, "cooldown_s"]])
        rule = (
            alt.Chart(found[["cooldown_s"]].head(1))
            .mark_rule(strokeWidth=1.6)
            .encode(x=alt.X("cooldown_s:Q", title=""))
        )
        layers = [
            *_watermark(con, 620, 150),
            base.mark_line(strokeWidth=1.8).encode(x=x, y=y, color=color, strokeDash=dash),
            rule,
        ]
        panels.append(alt.layer(*layers).properties(width=620, height=150))
    return alt.vconcat(*panels, spacing=14)


REST_FIGURE = Figure(
    "rest",
    "Calibrated rest: how the unit cools",
    "Mean over the rests of the pilot after the runs of each arm: temperature, power and clock of the GPU (of the host where there is none). The line is the "
    "rest that every attempt waits for at least: the time after which, in every single rest after every model and arm, all of them were back where that "
    "rest ended.",
    REST,
    rest,
    "the rest was not calibrated",
)
"""Of a campaign with a calibrated rest, before the others."""

FIGURES = (
    Figure(
        "throughput",
        "Throughput of every run",
        "One mark per accepted run, in order of repetition from left to right within its arm; the bar is the mean with its "
        "95 % t interval (from three runs on). The axis does not begin at zero.",
        THROUGHPUT,
        throughput,
        "no accepted run has a throughput",
    ),
    Figure(
        "latency",
        "Distribution of request latency",
        "Line: quantiles of all accepted requests of an arm, pooled. Band: from the fastest to the slowest single run. Requests of a "
        "run are not independent; comparisons are made between runs, never between requests.",
        ECDF,
        latency,
        "no accepted run has figures of single requests",
    ),
    Figure(
        "timeline",
        "One block as the sampler saw it",
        "Telemetry of one block with the stages of each attempt shaded. Samples are averaged into at most 400 steps for drawing; "
        "the view telemetry has all of them. The dotted line is the gate's temperature ceiling, where there is one. A quantity that "
        "this unit cannot give is not drawn.",
        TIMELINE,
        timeline,
        "no telemetry file holds a sample of a planned run",
    ),
)


def themed(chart: alt.TopLevelMixin, theme: dict[str, Any] = LIGHT) -> dict[str, Any]:
    """The Vega-Lite specification with a theme applied. Not checked against the schema, which takes longer than to draw it."""
    specification: dict[str, Any] = untrusted.plain_all(chart.to_dict(validate=False))
    specification["config"] = theme
    return specification


def save(chart: alt.TopLevelMixin, path: Path, *, theme: dict[str, Any] = LIGHT, scale: float = 2.0) -> Path:
    """Write ``chart`` as PNG, SVG or PDF by the ending of ``path``, on white in the light theme. ValueError for another ending."""
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


def _arms(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Environments in a fixed order, the reference first; also those of imported runs, which no plan names."""
    query = "SELECT environment FROM runs, campaign GROUP BY environment, reference ORDER BY environment <> reference, min(run_index)"
    return [str(row[0]) for row in con.execute(query).fetchall()]


def _with_interval(means: pd.DataFrame, fixed: bool) -> pd.DataFrame:
    """Adds ``low`` and ``high``, the 95 % t interval of the mean, missing below three runs and where the number of runs was not ``fixed``."""
    from scipy import special

    half = special.stdtrit((means.n - 1).clip(lower=1), 0.975) * means.se
    half = half.where((means.n >= 3) & fixed)
    return means.assign(low=means["mean"] - half, high=means["mean"] + half)


def _watermark(con: duckdb.DuckDBPyConnection, width: int, height: int) -> list[alt.Chart]:
    """A layer that says so across a panel whose data are simulated; nothing for measured data."""
    if con.execute("SELECT coalesce(bool_or(simulated), false) FROM campaign").fetchall() != [(True,)]:
        return []
    text = alt.Chart(pd.DataFrame({"text": ["SIMULATED"]})).mark_text(
        fontSize=40, fontWeight=700, opacity=0.16, color="#888888", baseline="middle", align="center"
    )
    # Each channel by its class: from a string or a value the library looks it up, which takes as long as to draw the panel.
    middle = alt.XValue(width / 2), alt.YValue(height / 2)  # type: ignore[no-untyped-call]
    return [text.encode(alt.Text("text:N"), *middle)]
