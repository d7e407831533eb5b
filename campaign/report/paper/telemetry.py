"""The figure of what the sampler saw of a unit: temperature, clocks, power and memory over gates and runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import altair as alt
import pandas as pd

from campaign.report import figures
from campaign.report.paper.shared import COLUMN_PT, Chart, watermark

if TYPE_CHECKING:
    import duckdb


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
            *watermark(con, inner, height),
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
