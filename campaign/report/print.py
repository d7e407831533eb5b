"""The figures of the article, one function each: a connection and a width in points in, an Altair chart out.

No title in the image; an axis says quantity (unit). Panels carry (a), (b), … below them. Every figure of runs shows each
run; no line joins arms or models. A function returns None where there is nothing to draw, and ``FIGURES`` says why.
Shown throughout: mean and its 95 % t interval, from three runs on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.report import figures, paper, wording
from campaign.report.figures import _arms, _with_interval

if TYPE_CHECKING:
    import duckdb

COLUMN_PT = paper.COLUMN_IN * 72
Chart = alt.TopLevelMixin | None
KEYS = ["phase", "model", "workload"]


@dataclass(frozen=True)
class Figure:
    """A figure of the article: its file name, what a caption must say, how to draw it, and why it may be missing."""

    name: str
    caption: str
    draw: Callable[..., Chart]
    absent: str


@dataclass(frozen=True)
class Written:
    """What :func:`write_figures` made: files, and figure to the reason why there is none."""

    paths: list[Path]
    absent: dict[str, str]


def throughput(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Output token throughput of every accepted run, a panel for each model: dots by arm, mean and interval beside them."""
    return _run_panels(con, "token_throughput_tok_s", "output tokens (tok/s)", width)


def _run_panels(con: duckdb.DuckDBPyConnection, metric: str, quantity: str, width: float) -> Chart:
    runs = _runs(con, [metric])
    if runs.empty:
        return None
    means = _means(con, [metric])
    arms = _arms(con)
    place = {arm: i for i, arm in enumerate(arms)}
    groups = list(runs.groupby(KEYS, sort=False))
    columns, inner = _grid(len(groups), width, 42)
    height = _height(len(groups), columns, 84, 34)
    panels = []
    for i, (key, mine) in enumerate(groups):
        mine = mine.assign(x=mine.environment.map(place) - 0.3 + 0.4 * _spread(mine.repetition))
        its = _of(means, key)
        its = its.assign(x=its.environment.map(place) + 0.3)
        x = alt.X(
            "x:Q",
            title=_label(runs, key, i, len(groups), inner),
            scale=alt.Scale(domain=[-0.5, len(arms) - 0.5], nice=False),
            axis=alt.Axis(labels=False, ticks=False, grid=False),
        )
        y = alt.Y(
            "value:Q",
            title=quantity if i % columns == 0 else None,
            scale=alt.Scale(zero=False, padding=5),
            axis=_value_axis(),
        )
        layers = [
            *_watermark(con, inner, height),
            alt.Chart(mine[["x", "environment", "value"]])
            .mark_point(size=11, strokeWidth=0.7)
            .encode(x=x, y=y, **_arm(arms, width)),
            *_interval(its[["x", "environment", "mean", "low", "high"]], x, arms),
        ]
        panels.append(alt.layer(*layers).properties(width=inner, height=height))
    return alt.concat(*panels, columns=columns, spacing=8)


def overhead(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Forest plot: throughput lost against the reference by model and arm, 95 % interval, and the equivalence band.

    Ticks: the bootstrap's interval. Filled: the verdict is that it differs, on a p adjusted over the planned comparisons.
    """
    rows = overheads(con)
    if rows.empty:
        return None
    margin = _margin(con)
    arms = [arm for arm in _arms(con) if arm in set(rows.environment)]
    several = len(arms) > 1
    names = list(dict.fromkeys(rows.subject))
    inner = width - 12 - 4.6 * max(map(len, names))
    height = max(34, len(names) * (12 if not several else 8 * len(arms) + 4))
    reference = con.execute("SELECT reference FROM campaign").fetchall()[0][0]
    quantity = f"throughput lost against {reference} (%)"
    axis = alt.Axis(tickCount=6, labelFlush=False)
    x = alt.X("overhead:Q", title=quantity, scale=alt.Scale(nice=True, padding=6), axis=axis)
    y = alt.Y("subject:N", sort=names, title=None, axis=alt.Axis(ticks=False, labelLimit=170, grid=False))
    place: dict[str, Any] = {"y": y} | ({"yOffset": alt.YOffset("environment:N", sort=arms)} if several else {})
    base = alt.Chart(rows)
    band = alt.Chart(pd.DataFrame({"low": [-margin], "high": [margin]})).mark_rect(color="#d9d9d9", opacity=0.75)
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(strokeWidth=0.6)
    fill = alt.condition(
        "datum.significant", alt.Color("environment:N", sort=arms, scale=_colors(con), legend=None), alt.value("white")
    )
    look = _arm(arms, width, everyone=_arms(con), legend=several)
    layers = [
        band.encode(x=alt.X("low:Q", title=quantity), x2="high:Q"),
        zero.encode(x="zero:Q"),
        *_watermark(con, inner, height),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1)
        .encode(x=alt.X("low:Q", title=quantity), x2="high:Q", **place),
        *(
            base.transform_filter(f"isValid(datum.{limit})")
            .mark_tick(thickness=0.8, height=6, color="black")
            .encode(x=alt.X(f"{limit}:Q", title=quantity), **place)
            for limit in ("bca_low", "bca_high")
        ),
        base.mark_point(size=28, strokeWidth=1, opacity=1).encode(x=x, fill=fill, **place, **look),
    ]
    return alt.layer(*layers).properties(width=inner, height=height)


def overheads(con: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Throughput lost in percent of the reference by contrast: ``overhead`` with the headline's ``low`` and ``high``, the bootstrap's
    ``bca_low`` and ``bca_high``, and whether the verdict is that it differs. From ``comparisons``, see ``evidence.ensure``."""
    from campaign.analysis import evidence

    (reference,) = con.execute("SELECT any_value(reference) FROM campaign").fetchall()[0]
    found = []
    for row in evidence.rows(con):
        shown = row["metric"] == wording.HEADLINE and row["reference"] == reference and row["pct"] is not None
        if not shown or row["verdict"] == "not_interpretable":
            continue
        bounded = row["pct_low"] is not None
        found.append(
            {
                **{key: row[key] for key in KEYS},
                "environment": row["treatment"],
                "overhead": -row["pct"],
                "low": -row["pct_high"] if bounded else None,
                "high": -row["pct_low"] if bounded else None,
                "bca_low": row["bca_overhead_low"],
                "bca_high": row["bca_overhead_high"],
                "significant": row["verdict"] in ("different", "different_but_negligible"),
            }
        )
    if not found:
        return pd.DataFrame()
    table = pd.DataFrame(found)
    return table.assign(subject=_subjects(table))


def latency_ecdf(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Distribution of request latency by arm, requests pooled; the band spans the single runs."""
    data = con.execute(figures.ECDF).df()
    if data.empty:
        return None
    arms = _arms(con)
    times = ["latency", "fastest_run", "slowest_run"]
    unit, per = _time_unit(data.latency)
    data[times] = data[times] / per
    groups = list(data.groupby(KEYS, sort=False))
    columns, inner = _grid(len(groups), width, 40)
    scale = alt.Scale(zero=False, nice=True)
    height = _height(len(groups), columns, 90, 52)
    panels = []
    for i, (key, mine) in enumerate(groups):
        base = alt.Chart(mine.drop(columns=KEYS))
        y = alt.Y("fraction:Q", title="fraction of requests" if i % columns == 0 else None, axis=_value_axis())
        look = {
            "color": alt.Color("environment:N", sort=arms, scale=_colors(con), legend=_legend(arms, width, line=True))
        }
        dash = alt.StrokeDash(
            "environment:N",
            sort=arms,
            scale=alt.Scale(domain=arms, range=[list(_cycled(paper.DASHES, k)) for k in range(len(arms))]),
            legend=_legend(arms, width, line=True),
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
        layers = [*_watermark(con, inner, height), band, line]
        panels.append(
            alt.layer(*layers).properties(width=inner, height=height, title=_label(data, key, i, len(groups), inner))
        )
    return alt.concat(*panels, columns=columns, spacing=8)


PERCENTILES = {"latency_p50_ms": "p50", "latency_p95_ms": "p95", "latency_p99_ms": "p99"}


def latency_percentiles(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Latency percentiles within each run, every run a dot, compared across runs: mean and interval by arm."""
    runs = _runs(con, list(PERCENTILES))
    if runs.empty:
        return None
    means = _means(con, list(PERCENTILES))
    unit, per = _time_unit(runs.value)
    runs = runs.assign(value=runs.value / per)
    means[["mean", "low", "high"]] /= per
    arms = _arms(con)
    names = [name for metric, name in PERCENTILES.items() if metric in set(runs.metric)]
    groups = list(runs.groupby(KEYS, sort=False))
    columns, inner = _grid(len(groups), width, 42)
    slot = 1 / (len(arms) + 0.5)
    height = _height(len(groups), columns, 90, 52)
    panels = []
    for i, (key, mine) in enumerate(groups):
        at = _percentile_place(arms, names, slot)
        mine = mine.assign(x=at(mine) - 0.25 * slot + 0.4 * slot * _spread(mine.repetition))
        its = _of(means, key)
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
            axis=_value_axis(),
        )
        layers = [
            *_watermark(con, inner, height),
            alt.Chart(mine[["x", "environment", "value"]])
            .mark_point(size=9, strokeWidth=0.6)
            .encode(x=x, y=y, **_arm(arms, width)),
            *_interval(its[["x", "environment", "mean", "low", "high"]], x, arms),
        ]
        panels.append(
            alt.layer(*layers).properties(width=inner, height=height, title=_label(runs, key, i, len(groups), inner))
        )
    return alt.concat(*panels, columns=columns, spacing=8)


def _percentile_place(arms: list[str], names: list[str], slot: float) -> Callable[[pd.DataFrame], Any]:
    offset = {arm: (i - (len(arms) - 1) / 2) * slot for i, arm in enumerate(arms)}
    place = {metric: names.index(name) for metric, name in PERCENTILES.items() if name in names}
    return lambda table: table.metric.map(place) + table.environment.map(offset)


def memory(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """The engine's peak memory, its KV cache, and the unit's unified memory in use at peak, by model and arm."""
    quantities = {
        "peak_memory_gib": "peak memory of the engine (GiB)",
        "kv_cache_gib": "KV cache (GiB)",
        "peak_unified_memory_gib": "unified memory in use, peak (GiB)",
    }
    return _model_rows(con, quantities, width)


def power_energy(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Mean power, energy, and energy per output token, by model and arm."""
    quantities = {
        "power_mean_w": "mean power (W)",
        "energy_j": "energy of a run (J)",
        "energy_per_output_token_j": "energy per output token (J)",
    }
    return _model_rows(con, quantities, width)


def _model_rows(con: duckdb.DuckDBPyConnection, quantities: dict[str, str], width: float) -> Chart:
    """A panel for each quantity that was measured; models are rows, arms lie within them."""
    runs = _runs(con, list(quantities))
    if runs.empty:
        return None
    means = _means(con, list(quantities))
    runs, means = (table.assign(subject=_subjects(table)) for table in (runs, means))
    arms, names = _arms(con), list(dict.fromkeys(runs.subject))
    shown = {metric: title for metric, title in quantities.items() if metric in set(runs.metric)}
    side_by_side = width > 1.5 * COLUMN_PT
    columns = len(shown) if side_by_side else 1
    room = 4.6 * max(map(len, names)) + 4
    inner = (width - room - 12 * (columns - 1)) / columns - 8
    lines = len(names) * (len(arms) + 0.5)
    height = _height(len(shown), columns, 9 * lines, 46)
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
            *_watermark(con, inner, height),
            alt.Chart(mine[["subject", "environment", "value"]])
            .mark_point(size=9, strokeWidth=0.6)
            .encode(
                x=alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4, labelFlush=False)),
                **place,
                **_arm(arms, width),
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


def timeline(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """One block as the sampler saw it: temperature, power, memory, with gates light, runs dark, and the ceiling dotted."""
    samples, stages = con.execute(figures.TIMELINE).df(), con.execute(figures.STAGES).df()
    shown = {
        title: has
        for title, columns in figures.PANELS.items()
        if (has := {column: name for column, name in columns.items() if samples[column].notna().any()})
    }
    if stages.empty or not shown:
        return None
    inner, height = width - 44, 52
    end = float(max(samples.seconds.max(), stages.stop.max()))
    ceiling = [row[0] for row in con.execute(figures.CEILING).fetchall() if row[0] is not None]
    tones = alt.Scale(domain=["gate", "run", "cooldown"], range=["#fbf0d4", "#b3cce3", "#fafafa"])
    shades = (
        alt.Chart(stages[stages.stage.isin(["gate", "run", "cooldown"])])
        .mark_rect(stroke="#b0b0b0", strokeWidth=0.4)
        .encode(
            x="start:Q",
            x2="stop:Q",
            color=alt.Color(
                "stage:N",
                scale=tones,
                sort=tones.domain,
                legend=alt.Legend(title=None, orient="top", symbolType="square", symbolOpacity=1),
            ),
        )
    )
    panels = []
    for i, (title, columns) in enumerate(shown.items()):
        last = i == len(shown) - 1
        names = list(columns.values())
        x = alt.X(
            "seconds:Q",
            title="time since the block began (s)" if last else None,
            scale=alt.Scale(nice=False, domain=[0, end]),
            axis=alt.Axis(labels=last, ticks=last, tickCount=6, grid=False),
        )
        long = samples.rename(columns=columns).melt("seconds", names, "series").dropna()
        y = alt.Y(
            "value:Q",
            title=title if len(names) > 1 else [names[0], title],
            scale=alt.Scale(zero=False, padding=11),
            axis=alt.Axis(tickCount=3, grid=False, minExtent=22),
        )
        dash = (
            {}
            if len(names) == 1
            else {
                "strokeDash": alt.StrokeDash(
                    "series:N", sort=names, scale=alt.Scale(domain=names, range=[[1, 0], [3, 1.5]]), legend=None
                )
            }
        )
        layers = [
            shades,
            *_watermark(con, inner, height),
            alt.Chart(long).mark_line(strokeWidth=0.9, color="black").encode(x=x, y=y, **dash),
        ]
        if len(names) > 1:
            layers += [_ends(long, names, end / inner)]
        if ceiling and title.startswith("temperature"):
            rule = alt.Chart(pd.DataFrame({"value": ceiling})).mark_rule(
                strokeDash=[1, 2], strokeWidth=0.9, color="#D55E00"
            )
            layers.append(rule.encode(y="value:Q"))
        if i == 0:
            layers.append(_over_runs(stages, end, inner))
        panels.append(alt.layer(*layers).properties(width=inner, height=height))
    chart: alt.VConcatChart = alt.vconcat(*panels, spacing=5)
    resolved: alt.VConcatChart = chart.resolve_scale(color="shared", strokeDash="independent")
    return resolved


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


def _over_runs(stages: pd.DataFrame, end: float, inner: float) -> alt.Chart:
    runs = stages[stages.stage == "run"]
    again = runs.attempt.map(lambda attempt: "" if attempt == 1 else f" ({attempt})")
    names = pd.DataFrame({"middle": (runs.start + runs.stop) / 2, "text": runs.environment + again})
    chart: alt.Chart = (
        alt.Chart(names)
        .mark_text(baseline="bottom", limit=inner / max(1, len(runs)) - 2)
        .encode(x="middle:Q", y=alt.value(-2), text="text:N")
    )
    return chart


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
    arms = _arms(con)
    start = runs[runs.metric == "start_temperature_c"]
    groups = list(speed.groupby(KEYS, sort=False))
    columns = _grid(len(groups), width, 44)[0] if width > 1.5 * COLUMN_PT or len(groups) > 6 else 1
    inner = (width - columns * 44 - 8 * (columns - 1)) / columns
    height = _height(len(groups) + columns * (not start.empty), columns, 62, 50)
    whole = alt.Scale(domain=[0, int(runs.place.max()) + 1], nice=False)

    def panel(mine: pd.DataFrame, quantity: str, wide: float, title: str | list[str]) -> Any:
        ticks = alt.Axis(tickCount=5 if wide > 130 else 3, grid=False, format="d", labelFlush=False)
        x = alt.X("place:Q", title="run, in order of start", scale=whole, axis=ticks)
        y = alt.Y("value:Q", title=quantity, scale=alt.Scale(zero=False, padding=4), axis=_value_axis())
        crowded = len(mine) > 2 * wide
        dots = (
            alt.Chart(mine[["place", "environment", "value"]])
            .mark_point(size=5 if crowded else 11, strokeWidth=0.5 if crowded else 0.7)
            .encode(x=x, y=y, **_arm(arms, width))
        )
        return alt.layer(*_watermark(con, wide, height), dots).properties(width=wide, height=height, title=title)

    panels = [
        panel(mine, "output (tok/s)", inner, _label(speed, key, i, len(groups) + (not start.empty), inner))
        for i, (key, mine) in enumerate(groups)
    ]
    chart: alt.ConcatChart = alt.concat(*panels, columns=columns, spacing=8)
    if start.empty:
        return chart
    title = f"({chr(97 + len(groups))})" + " all models" * (len(groups) > 1)
    return alt.vconcat(chart, panel(start, "at start (°C)", width - 44, title), spacing=8)


def normal_quantiles(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT, *, metric: str) -> Chart:
    """Run-level values of ``metric`` against normal quantiles, standardised within their arm, arms side by side for each model.

    On the line: normal. Above the points Shapiro-Wilk's p. :class:`paper.FitError` where an arm would be narrower than its p.
    """
    runs = _runs(con, [metric], by_unit=True)
    if runs.empty:
        return None
    arms = _arms(con)
    groups = list(runs.groupby(KEYS, sort=False))
    most = max(int(mine.environment.nunique()) for _, mine in groups)
    columns = min(len(groups), 4, max(1, int((width - 30) / (48 * most + 10))))
    inner = (width - 30 - 10 * (columns - 1)) / columns
    if inner / most < 42:
        raise paper.FitError(f"{most} arms side by side leave no room for their p: ask for a wider figure")
    height = _height(len(groups), columns, 78, 18)
    drawn = [(key, *_against_normal(mine, arms)) for key, mine in groups]
    dots = pd.concat([table for _, table, _ in drawn])
    reach, top = max(3.0, 1.1 * dots.normal.max()), max(3.0, 1.1 * dots.z.abs().max())
    panels = []
    for i, (key, mine, said) in enumerate(drawn):
        slots = {arm: (2 * k + 1) * reach for k, arm in enumerate(said)}
        mine = mine.assign(x=mine.normal + mine.environment.map(slots))
        texts = pd.DataFrame({"x": [at - 0.92 * reach for at in slots.values()], "text": list(said.values())})
        ideal = pd.DataFrame({"x": [at - reach for at in slots.values()], "x2": [at + reach for at in slots.values()]})
        walls = pd.DataFrame({"x": [at + reach for at in slots.values()][:-1]})
        last, first = i >= len(groups) - columns, i % columns == 0
        ticks = [at + z for at in slots.values() for z in (-2, 0, 2)]
        x = alt.X(
            "x:Q",
            title="normal quantile" if last else None,
            scale=alt.Scale(domain=[0, 2 * reach * len(said)], nice=False, zero=False),
            axis=alt.Axis(
                values=ticks,
                labels=last,
                labelExpr=f"format(round(datum.value % {2 * reach} - {reach}), 'd')",
                grid=False,
            ),
        )
        y = alt.Y(
            "z:Q",
            title=None if not first else "value (SD)" if height > 48 else ["value", "(SD)"],
            scale=alt.Scale(domain=[-top, 1.5 * top], nice=False),
            axis=alt.Axis(values=[-2, 0, 2], labels=first, grid=False, minExtent=12 if first else 0),
        )
        layers = [
            *_watermark(con, inner, height),
            alt.Chart(walls).mark_rule(strokeWidth=0.5, color="#808080").encode(x=x),
            alt.Chart(ideal.assign(z=-reach, z2=reach))
            .mark_rule(strokeWidth=0.6, color="#606060")
            .encode(x=x, x2="x2:Q", y=y, y2="z2:Q"),
            alt.Chart(mine[["x", "z", "environment"]])
            .mark_point(size=9, strokeWidth=0.7)
            .encode(x=x, y=y, **_arm(arms, width)),
            alt.Chart(texts).mark_text(align="left", baseline="top").encode(x=x, y=alt.value(2), text="text:N"),
        ]
        panels.append(
            alt.layer(*layers).properties(width=inner, height=height, title=_label(runs, key, i, len(groups), inner))
        )
    return alt.concat(*panels, columns=columns, spacing=4)


def _against_normal(runs: pd.DataFrame, arms: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Normal quantiles (Blom's positions) with the standardised values of each arm, and by arm what Shapiro-Wilk says."""
    from scipy import special

    from campaign.analysis.statistics.independent import shapiro

    parts, said = [], {}
    for arm in (arm for arm in arms if arm in set(runs.environment)):
        values = runs[runs.environment == arm].value.sort_values().to_numpy(float)
        n, test = len(values), shapiro(values)
        positions = (pd.RangeIndex(1, n + 1).to_numpy() - 0.375) / (n + 0.25)
        z = (values - values.mean()) / values.std(ddof=1) if test else 0 * values
        parts.append(pd.DataFrame({"normal": special.ndtri(positions), "z": z, "environment": arm}))
        said[arm] = f"n = {n}" if n < 3 else "constant"
        if test:
            said[arm] = f"p = {test['p']:.3f}" if test["p"] >= 0.001 else "p < 0.001"
    return pd.concat(parts), said


ROOFLINE = """
SELECT o.phase, o.model, o.workload, o.environment, o.value / r.bound_tok_s AS fraction
FROM observations AS o
JOIN rooflines AS r USING (phase, model, workload, environment)
WHERE o.metric = 'token_throughput_tok_s' AND r.bound_tok_s IS NOT NULL
ORDER BY o.run_index
""".strip()
IDLE = 0.3
"""Fraction of the roofline below which a measurement is looked into (specification, section 12.2)."""


def roofline(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Output tokens per second over what memory bandwidth permits: a bar to the mean of each model and arm, every run a mark.

    Solid line: the bound, which nothing can exceed. Dashed: 0.3, below which a figure is looked into.
    """
    runs = con.execute(ROOFLINE).df()
    if runs.empty:
        return None
    runs = runs.assign(subject=_subjects(runs))
    arms, names = [arm for arm in _arms(con) if arm in set(runs.environment)], list(dict.fromkeys(runs.subject))
    means = runs.groupby(["subject", "environment"], sort=False).fraction.agg(mean="mean", most="max").reset_index()
    means = means.assign(text=[f"{mean:.2f}" if mean >= 0.01 else "< 0.01" for mean in means["mean"]])
    inner = width - 8 - 4.6 * max(map(len, names))
    height = _height(1, 1, len(names) * (9.5 * len(arms) + 4), 40)
    readable = height / len(names) / len(arms) >= 9
    widest = max(1.0, float(runs.fraction.max()))
    scale = alt.Scale(domain=[0, widest * inner / (inner - 28)], nice=False)
    quantity = "output rate over the bandwidth bound"
    x = alt.X("fraction:Q", title=quantity, scale=scale, axis=alt.Axis(tickCount=6, format=".1f", labelFlush=False))
    axis = alt.Axis(ticks=False, labelLimit=170, grid=False)
    place: dict[str, Any] = {
        "y": alt.Y("subject:N", sort=names, title=None, axis=axis, scale=alt.Scale(paddingInner=0.12)),
        "yOffset": alt.YOffset("environment:N", sort=arms, scale=alt.Scale(paddingInner=0.1)),
    }
    limits = alt.Chart(pd.DataFrame({"limit": [IDLE, 1.0], "name": ["flag", "bound"]}))
    dash = alt.condition("datum.limit < 1", alt.value([3, 2]), alt.value([1, 0]))
    base = alt.Chart(means)
    look = _arm(arms, width, everyone=_arms(con), above=14)
    layers = [
        *_watermark(con, inner, height),
        base.mark_bar(opacity=0.35).encode(
            x=alt.X("mean:Q", title=quantity, scale=scale), color=look["color"], **place
        ),
        limits.mark_rule(strokeWidth=0.8).encode(x=alt.X("limit:Q", title=quantity, scale=scale), strokeDash=dash),
        alt.Chart(runs[["subject", "environment", "fraction"]])
        .mark_point(size=9, strokeWidth=0.6)
        .encode(x=x, **place, **look),
        limits.mark_text(baseline="bottom").encode(x=alt.X("limit:Q", scale=scale), y=alt.value(-2), text="name:N"),
    ]
    if readable:
        figure = {"x": alt.X("most:Q", title=quantity, scale=scale), "text": alt.Text("text:N"), **place}
        halo = base.mark_text(align="left", dx=5, stroke="white", strokeWidth=2.5)
        layers += [halo.encode(**figure), base.mark_text(align="left", dx=5).encode(**figure)]
    return alt.layer(*layers).properties(width=inner, height=height)


def screening(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Docker options against the Docker baseline: change of throughput in percent by option and model, Fieller interval.

    Each run a dot, in percent of the baseline's mean. None where no phase holds a baseline and at least two options.
    """
    found = screened(con)
    if found is None:
        return None
    rows, runs, arms = found
    models = list(dict.fromkeys(rows.subject))
    columns, _ = _grid(len(models), width, 40)
    columns = min(columns, 2 if width < 1.5 * COLUMN_PT else 4)
    room = 4.5 * max(map(len, arms)) + 6
    inner = (width - room - 14 * (columns - 1)) / columns
    height = 11 * len(arms)
    panels = []
    for i, model in enumerate(models):
        y = alt.Y(
            "environment:N",
            sort=arms,
            title=None,
            axis=alt.Axis(labels=i % columns == 0, ticks=False, grid=False, labelLimit=150),
        )
        quantity = "change of throughput (%)"
        x = alt.X("change:Q", title=quantity, scale=alt.Scale(nice=True), axis=alt.Axis(tickCount=4, labelFlush=False))
        its, mine = rows[rows.subject == model], runs[runs.subject == model]
        layers = [
            alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(strokeWidth=0.6).encode(x="zero:Q"),
            *_watermark(con, inner, height),
            alt.Chart(mine[["environment", "change"]])
            .mark_point(size=7, strokeWidth=0.5, color="#808080")
            .encode(x=x, y=y),
            alt.Chart(its)
            .transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.3)
            .encode(x=alt.X("low:Q", title=quantity), x2="high:Q", y=y),
            alt.Chart(its)
            .mark_point(size=24, filled=True, opacity=1, shape="diamond", color=paper.OKABE_ITO[1])
            .encode(x=x, y=y),
        ]
        label = f"({chr(97 + i)}) {model}" if len(models) > 1 else ""
        panels.append(alt.layer(*layers).properties(width=inner, height=height, title=label))
    return alt.concat(*panels, columns=columns, spacing=8)


def screened(con: duckdb.DuckDBPyConnection) -> tuple[pd.DataFrame, pd.DataFrame, list[str]] | None:
    """Options of screening phases against their baseline: intervals (``comparisons``), single runs in percent, and arms in order."""
    from campaign.analysis import evidence

    runs = _runs(con, [wording.HEADLINE], by_unit=True)
    intervals, dots = [], []
    for row in evidence.rows(con):
        if row["metric"] != wording.HEADLINE or row["kind"] != "screen" or row["pct"] is None:
            continue
        cell = runs[(runs[KEYS] == [row[key] for key in KEYS]).all(axis=1)]
        for arm in (row["reference"], row["treatment"]):
            its = cell[cell.environment == arm]
            dots.append(its.assign(change=100 * (its.value / row["mean_reference"] - 1)))
        its = {key: row[key] for key in KEYS} | {"environment": row["treatment"], "baseline": row["reference"]}
        intervals.append(its | {"change": row["pct"], "low": row["pct_low"], "high": row["pct_high"]})
    if not intervals:
        return None
    rows, points = pd.DataFrame(intervals), pd.concat(dots).drop_duplicates()
    order = [arm for arm in _arms(con) if arm in {*rows.environment, *rows.baseline}]
    return rows.assign(subject=_subjects(rows)), points.assign(subject=_subjects(points)), order


SPREAD = """
SELECT median(sd_reference / mean_reference) AS cv, median(sd_log_ratio) AS sd_log_ratio, max(least(n_reference, n_treatment)) AS n, count(*) AS m
FROM contrast_moments
WHERE metric = 'token_throughput_tok_s' AND n_reference >= 3 AND n_treatment >= 3 AND mean_reference > 0
""".strip()


def power_curves(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Smallest throughput difference that N runs detect with 80 % power, at this campaign's own run-to-run spread.

    Median over the contrasts of the reference's coefficient of variation (independent t) and of the standard deviation of
    the blocks' log ratios (paired t); unadjusted and with Bonferroni over the contrasts.
    """
    from campaign.analysis.statistics.power import detectable_d, detectable_dz

    (row,) = con.execute(SPREAD).fetchall()
    cv, sd_log, n, m = row
    if not m or not cv or not math.isfinite(cv):
        return None
    sizes = [*range(3, 20), *range(20, 61, 2)]
    tests: dict[str, Callable[[int, float], float]] = {"independent": lambda k, a: 100 * cv * detectable_d(k, k, a)}
    if sd_log:
        tests["paired by block"] = lambda k, a: 100 * sd_log * detectable_dz(k, a)
    levels = {"": 0.05} | ({f", Bonferroni {m}": 0.05 / m} if m > 1 else {})
    curves = pd.DataFrame(
        {"n": k, "mde": size(k, alpha), "test": f"{test}{level}"}
        for test, size in tests.items()
        for level, alpha in levels.items()
        for k in sizes
    )
    names = list(dict.fromkeys(curves.test))
    inner, height = width - 34, 120
    high = float(curves[curves.n >= 6].mde.max())
    x = alt.X(
        "n:Q",
        title="runs per arm, or blocks",
        scale=alt.Scale(domain=[0, 60]),
        axis=alt.Axis(tickCount=6, labelFlush=False),
    )
    y = alt.Y(
        "mde:Q",
        title="detectable difference (%)",
        scale=alt.Scale(domain=[0, high], clamp=False),
        axis=alt.Axis(tickCount=5),
    )
    legend = alt.Legend(
        title=None,
        orient="top",
        columns=1 if width < 1.5 * COLUMN_PT else 4,
        symbolType="stroke",
        symbolSize=150,
        labelLimit=240,
    )
    lines = (
        alt.Chart(curves)
        .mark_line(strokeWidth=1.2, clip=True)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "test:N",
                sort=names,
                scale=alt.Scale(domain=names, range=list(paper.OKABE_ITO[: len(names)])),
                legend=legend,
            ),
            strokeDash=alt.StrokeDash(
                "test:N",
                sort=names,
                scale=alt.Scale(domain=names, range=list(paper.DASHES[: len(names)])),
                legend=legend,
            ),
        )
    )
    ran = alt.Chart(pd.DataFrame({"n": [n], "text": [f"N = {n} ran"]}))
    layers = [
        *_watermark(con, inner, height),
        ran.mark_rule(strokeWidth=0.7, strokeDash=[1, 2]).encode(x="n:Q"),
        ran.mark_text(align="left", dx=3, baseline="top").encode(x="n:Q", y=alt.value(3), text="text:N"),
        lines,
    ]
    return alt.layer(*layers).properties(width=inner, height=height)


QQ = (
    "Quantiles of {}, standardised within each arm, against those of a normal distribution (line); p: Shapiro and Wilk's test. "
    "Every accepted run a mark."
)
FIGURES = (
    Figure(
        "throughput",
        "Output token throughput of every accepted run; black: mean and 95 % t interval. Truncated y axes.",
        throughput,
        "no accepted run has a throughput",
    ),
    Figure(
        "overhead",
        "Throughput lost against the reference, 95 % interval after Fieller; ticks: BCa bootstrap of independent arms; grey: "
        "equivalence margin; filled: differs, after adjustment over the planned comparisons. Without what may not be interpreted.",
        overhead,
        "no contrast of two arms with a throughput whose runs interleave in time",
    ),
    Figure(
        "latency-ecdf",
        "Distribution of request latency, requests pooled; band: from the fastest to the slowest single run.",
        latency_ecdf,
        "no accepted run has figures of single requests",
    ),
    Figure(
        "latency-percentiles",
        "Percentiles of request latency within each run; black: mean over runs and 95 % t interval.",
        latency_percentiles,
        "no accepted run has latency percentiles",
    ),
    Figure(
        "memory",
        "Peak memory, KV cache and unified memory of every accepted run; black: mean and 95 % t interval. Truncated axes.",
        memory,
        "no accepted run has a memory figure",
    ),
    Figure(
        "timeline",
        "Telemetry of one block with its gates, runs and cooldowns; dotted: the gate's ceiling.",
        timeline,
        "no telemetry file holds a sample of a planned run",
    ),
    Figure(
        "run-order",
        "Throughput in the order in which runs were made, and the temperature each started from.",
        run_order,
        "no accepted run has a throughput",
    ),
    Figure(
        "power-energy",
        "Mean power and energy of every accepted run; black: mean and 95 % t interval. Truncated axes.",
        power_energy,
        "this campaign has no power figure: its units have no power sensor, or no run is accepted",
    ),
    Figure(
        "qq-throughput",
        QQ.format("output token throughput"),
        partial(normal_quantiles, metric="token_throughput_tok_s"),
        "no accepted run has a throughput",
    ),
    Figure(
        "qq-latency",
        QQ.format("mean request latency"),
        partial(normal_quantiles, metric="latency_mean_ms"),
        "no accepted run has a mean latency",
    ),
    Figure(
        "qq-memory",
        QQ.format("the engine's peak memory"),
        partial(normal_quantiles, metric="peak_memory_gib"),
        "no accepted run has a figure of the engine's peak memory",
    ),
    Figure(
        "roofline",
        "Measured output rate over the rate that memory bandwidth permits; bar: mean, every run a mark. Solid: the bound; "
        "dashed: 0.3, below which a figure is looked into.",
        roofline,
        "no model of known size and batch ran on a unit of known memory bandwidth",
    ),
    Figure(
        "screening",
        "Docker options against the Docker baseline: change of throughput, 95 % interval after Fieller, every run a grey circle.",
        screening,
        "no phase compares Docker options with a Docker baseline",
    ),
    Figure(
        "power-curves",
        "Smallest throughput difference detected with 80 % power at the run-to-run spread of this campaign.",
        power_curves,
        "no contrast has three runs in both arms with a spread",
    ),
)
WIDTHS = (paper.COLUMN_IN, paper.PAGE_IN)


def write_figures(results: Path, widths_in: Sequence[float] = WIDTHS) -> list[Path]:
    """Every figure at every width as PDF, SVG and PNG into ``<results>/report/print/``; returns the files.

    ``captions.md`` there has what each caption must say, and for a figure that is missing the reason.
    """
    return write(results, widths_in).paths


def write(results: Path, widths_in: Sequence[float] = WIDTHS) -> Written:
    """:func:`write_figures`, and why a figure is missing."""
    from campaign.analysis import evidence, workers

    evidence.connect(results)
    folder = results.resolve() / "report" / "print"
    folder.mkdir(parents=True, exist_ok=True)
    for figure in FIGURES:
        for stale in folder.glob(f"{figure.name}-[0-9]*in.*"):
            stale.unlink()
    as_of_ns = time.time_ns()
    jobs = [partial(paper.make, results, as_of_ns, figure.draw, widths_in, folder / figure.name) for figure in FIGURES]
    with workers.helpers("campaign.report.print") as spread:
        made = spread(jobs)
    paths: list[Path] = []
    absent: dict[str, str] = {}
    lines = ["# Captions", ""]
    for figure, sizes in zip(FIGURES, made, strict=True):
        paths += [path for size in sizes for path in size.paths]
        unfit = {f"{figure.name}-{size.width_in:g}in": size.problem for size in sizes if size.problem}
        drawn = bool(unfit) or any(size.paths for size in sizes)
        absent |= unfit if drawn else {figure.name: figure.absent}
        lines.append(f"- `{figure.name}`: {figure.caption if drawn else f'not drawn, {figure.absent}.'}")
        lines += [f"  - {name}: not drawn, {why}." for name, why in unfit.items()]
    captions = folder / "captions.md"
    captions.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return Written([*paths, captions], absent)


# --- what the figures share ---------------------------------------------------------------------------------


def _runs(con: duckdb.DuckDBPyConnection, metrics: list[str], by_unit: bool = False) -> pd.DataFrame:
    """Run-level values; ``by_unit`` names the unit beside the model where there are several, as ``evidence.rows`` does."""
    model = "CASE WHEN count(DISTINCT unit) OVER () > 1 THEN model || ' @ ' || unit ELSE model END AS model"
    runs: pd.DataFrame = con.execute(
        f"WITH {OBSERVED} SELECT phase, {model if by_unit else 'model'}, workload, environment, repetition, metric, value FROM observed "
        "WHERE list_contains($1, metric) ORDER BY run_index",
        [metrics],
    ).df()
    return runs


def _means(con: duckdb.DuckDBPyConnection, metrics: list[str]) -> pd.DataFrame:
    found: pd.DataFrame = _with_interval(
        con.execute(
            f"WITH {OBSERVED} SELECT phase, model, workload, environment, metric, count(*) AS n, avg(value) AS mean, "
            "stddev_samp(value) / sqrt(count(*)) AS se FROM observed WHERE list_contains($1, metric) "
            "GROUP BY ALL ORDER BY min(run_index)",
            [metrics],
        ).df()
    )
    return found


OBSERVED = """observed AS (
    SELECT phase, unit, model, workload, environment, repetition, run_index, metric, value FROM observations
    UNION ALL
    SELECT o.phase, o.unit, o.model, o.workload, o.environment, o.repetition, o.run_index, 'energy_per_output_token_j', o.value / nullif(a.tokens_generated, 0)
    FROM observations AS o
    JOIN attempts AS a USING (run_id, attempt)
    WHERE o.metric = 'energy_j' AND a.tokens_generated > 0
        AND NOT EXISTS (SELECT 1 FROM observations WHERE metric = 'energy_per_output_token_j')
)"""


def _of(means: pd.DataFrame, key: Any) -> pd.DataFrame:
    found: pd.DataFrame = means[(means[KEYS] == list(key)).all(axis=1)]
    return found


def _spread(repetition: pd.Series[int]) -> pd.Series[float]:
    """Repetitions from 0 to 1, so that time runs from left to right within an arm."""
    most = max(int(repetition.max()) - 1, 1)
    return (repetition - 1) / most


def _grid(panels: int, width: float, labels: float) -> tuple[int, float]:
    """Columns of panels and the width of one without its axis labels."""
    columns = min(panels, 2 if width < 1.5 * COLUMN_PT else 4)
    return columns, (width - columns * labels - 8 * (columns - 1)) / columns


def _height(panels: int, columns: int, usual: float, chrome: float) -> float:
    """Height of a panel so that all rows of panels, each with ``chrome`` below and above it, fit a page."""
    room = (paper.TALLEST_IN * 72 - 70) / math.ceil(panels / columns) - chrome
    return max(24.0, min(usual, room))


def _label(table: pd.DataFrame, key: Any, i: int, panels: int, room: float) -> str | list[str]:
    """``(a) model``, with workload and phase only where they differ between panels; in two lines where one is too long."""
    parts = [str(key[1])] + [
        str(part) for part, name in ((key[2], "workload"), (key[0], "phase")) if table[name].nunique() > 1
    ]
    text = f"({chr(97 + i)}) " * (panels > 1) + ", ".join(parts)
    if 4.3 * len(text) <= room + 30 or len(parts) == 1:
        return text
    return [f"({chr(97 + i)}) {parts[0]},", ", ".join(parts[1:])]


def _subjects(table: pd.DataFrame) -> list[str]:
    shown = ["model", *(name for name in ("workload", "phase") if table[name].nunique() > 1)]
    return [", ".join(str(part) for part in row) for row in table[shown].itertuples(index=False)]


def _value_axis() -> alt.Axis:
    return alt.Axis(tickCount=4, minExtent=18)


def _colors(con: duckdb.DuckDBPyConnection) -> alt.Scale:
    arms = _arms(con)
    return alt.Scale(domain=arms, range=[paper.OKABE_ITO[i % len(paper.OKABE_ITO)] for i in range(len(arms))])


def _cycled(looks: Sequence[Any], i: int) -> Any:
    """The shape or dash of arm ``i``; from the eighth arm on, where colours come again, another one goes with each colour."""
    return looks[(i + i // len(paper.OKABE_ITO)) % len(looks)]


def _time_unit(milliseconds: pd.Series[float]) -> tuple[str, float]:
    """Seconds where milliseconds would need five digits, and the divisor."""
    return ("s", 1000.0) if milliseconds.max() >= 10_000 else ("ms", 1.0)


def _legend(names: list[str], width: float, line: bool = False, above: float = 4) -> alt.Legend:
    more = (
        {"symbolType": "stroke", "symbolSize": 150, "symbolStrokeWidth": 1.2, "symbolOpacity": 1}
        if line
        else {"symbolOpacity": 1}
    )
    columns = max(1, int((width - 30) // (4.2 * max(map(len, names)) + (34 if line else 22))))
    return alt.Legend(title=None, orient="top", columns=columns, offset=above, **more)


def _arm(
    arms: list[str], width: float, everyone: list[str] | None = None, legend: bool = True, above: float = 4
) -> dict[str, Any]:
    """Colour and shape of an arm; ``everyone`` keeps an arm's look where some arms are not drawn, ``above`` lifts the legend."""
    known = everyone or arms
    its = _legend(arms, width, above=above) if legend else None
    colors = [paper.OKABE_ITO[known.index(arm) % len(paper.OKABE_ITO)] for arm in arms]
    shapes = [_cycled(paper.SHAPES, known.index(arm)) for arm in arms]
    return {
        "color": alt.Color("environment:N", sort=arms, scale=alt.Scale(domain=arms, range=colors), legend=its),
        "shape": alt.Shape("environment:N", sort=arms, scale=alt.Scale(domain=arms, range=shapes), legend=its),
    }


def _interval(means: pd.DataFrame, x: alt.X, arms: list[str]) -> list[alt.Chart]:
    base = alt.Chart(means)
    rule = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.2, color="black")
    dot = base.mark_point(filled=True, size=16, color="black", opacity=1)
    shape = _arm(arms, COLUMN_PT)["shape"]
    return [rule.encode(x=x, y=alt.Y("low:Q"), y2="high:Q"), dot.encode(x=x, y=alt.Y("mean:Q"), shape=shape)]


def _margin(con: duckdb.DuckDBPyConnection) -> float:
    """The declared equivalence margin of throughput in percent; 2 where none is declared."""
    (row,) = con.execute("SELECT any_value(config->'margin_pct') FROM campaign").fetchall()
    import json

    value = json.loads(row[0]) if row[0] else None
    if isinstance(value, dict):
        value = value.get("token_throughput_tok_s")
    return float(value) if isinstance(value, int | float) else 2.0


def _watermark(con: duckdb.DuckDBPyConnection, width: float, height: float) -> list[alt.Chart]:
    if con.execute("SELECT coalesce(bool_or(simulated), false) FROM campaign").fetchall() != [(True,)]:
        return []
    size = max(paper.TEXT_PT, min(26.0, width / 7, height / 2))
    text = alt.Chart(pd.DataFrame({"text": ["SIMULATED"]})).mark_text(
        fontSize=size, fontWeight=700, opacity=0.22, color="#808080"
    )
    return [text.encode(text=alt.Text("text:N"), x=alt.value(width / 2), y=alt.value(height / 2))]
