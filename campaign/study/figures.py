"""Figures of a study's report: the screen, its half-normal plot, and what the phases found,
each as an Altair chart from plain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from campaign.analysis import metrics

Row = Mapping[str, Any]
WIDTH = 560


def _change() -> str:
    return f"change of {metrics.known()[metrics.headline()].label} (%)"


def _watermark(simulated: bool, width: int, height: int) -> list[alt.Chart]:
    if not simulated:
        return []
    text = alt.Chart(pd.DataFrame({"text": ["SIMULATED"]})).mark_text(
        fontSize=36, fontWeight=700, opacity=0.16, color="#888888"
    )
    return [text.encode(text="text:N", x=alt.value(width / 2), y=alt.value(height / 2))]


def _names(names: Sequence[str]) -> alt.Axis:
    """An axis of names with room for the longest: what draws it on the page may have a
    wider font than what laid it out."""
    return alt.Axis(labelLimit=260, ticks=False, minExtent=min(260, 14 + round(7.2 * max(map(len, names)))))


def effects(
    candidates: Sequence[Row], chosen: Sequence[str], margin_pct: float, simulated: bool
) -> alt.TopLevelMixin | None:
    """Each candidate's change against the baseline: raw with its simultaneous interval, shrunken beside it,
    the margin as a band."""
    rows = [
        {
            "name": it["name"],
            "raw": it["raw_pct"],
            "low": it["low_pct"],
            "high": it["high_pct"],
            "shrunken": it["shrunken_pct"],
            "state": "carried on" if it["option"] in chosen else "never chosen" if it["never"] else "not carried on",
        }
        for it in candidates
        if it["raw_pct"] is not None
    ]
    if not rows:
        return None
    table = pd.DataFrame(rows)
    height = 30 * len(rows) + 10
    order = [row["name"] for row in rows]
    y = alt.Y("name:N", sort=order, title=None, axis=_names(order))
    states = ["carried on", "not carried on", "never chosen"]
    color = alt.Color(
        "state:N", scale=alt.Scale(domain=states), sort=states, legend=alt.Legend(title=None, orient="top")
    )
    band = alt.Chart(pd.DataFrame({"low": [-margin_pct], "high": [margin_pct]})).mark_rect(opacity=0.1, color="#888888")
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(strokeDash=[3, 3], opacity=0.6)
    base = alt.Chart(table)
    limits = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2)
    estimates = pd.concat(
        [table.assign(estimate="raw", value=table.raw), table.assign(estimate="shrunken", value=table.shrunken)]
    )
    kinds = ["raw", "shrunken"]
    points = alt.Chart(estimates[estimates.value.notna()]).mark_point(strokeWidth=2, opacity=1)
    layers = [
        *_watermark(simulated, WIDTH, height),
        band.encode(x=alt.X("low:Q", title=_change()), x2="high:Q"),
        zero.encode(x="at:Q"),
        limits.encode(y=y, x=alt.X("low:Q", title=_change()), x2="high:Q", color=color),
        points.encode(
            y=y,
            x=alt.X("value:Q", title=_change()),
            color=color,
            size=alt.Size("estimate:N", sort=kinds, scale=alt.Scale(domain=kinds, range=[150, 45]), legend=None),
            shape=alt.Shape(
                "estimate:N",
                sort=kinds,
                scale=alt.Scale(domain=kinds, range=["circle", "diamond"]),
                legend=alt.Legend(title=None, orient="top"),
            ),
        ),
    ]
    return alt.layer(*layers).properties(width=WIDTH, height=height)


def half_normal(contrasts: pd.DataFrame, simulated: bool) -> alt.TopLevelMixin | None:
    """Size of every column's contrast against its half-normal score, a panel for each model; columns that no factor has
    are hollow. Lenth's margins for one contrast (dashed) and for all (solid)."""
    if contrasts.empty:
        return None
    panels = []
    for model, mine in contrasts.groupby("model", sort=False):
        table = mine.assign(
            size=mine.contrast_pct_log.abs(), what=["factor" if it else "unassigned column" for it in mine.factor]
        )
        kinds = ["factor", "unassigned column"]
        x = alt.X("score:Q", title="half-normal score")
        y = alt.Y("size:Q", title="|contrast| (% of log)")
        color = alt.Color(
            "what:N", sort=kinds, scale=alt.Scale(domain=kinds), legend=alt.Legend(title=None, orient="top")
        )
        dots = alt.Chart(table).mark_point(size=70, strokeWidth=2)
        fill = alt.condition("datum.factor", color, alt.value("transparent"))
        named = alt.Chart(table[table.factor | (table["size"] > table.me)])
        labels = named.mark_text(align="right", dx=-9, fontSize=11).encode(x=x, y=y, text="label:N")
        margins = [
            alt.Chart(pd.DataFrame({"at": [float(table[name].iloc[0])]}))
            .mark_rule(strokeDash=dash, opacity=0.7)
            .encode(y=alt.Y("at:Q", title="|contrast| (% of log)"))
            for name, dash in (("me", [4, 4]), ("sme", [1, 0]))
        ]
        layers = [*_watermark(simulated, 300, 240), *margins, dots.encode(x=x, y=y, color=color, fill=fill), labels]
        panels.append(alt.layer(*layers).properties(width=300, height=240, title=str(model)))
    return alt.concat(*panels, columns=3, spacing=30)


def overheads(rows: Sequence[Row], simulated: bool) -> alt.TopLevelMixin | None:
    """Change against native of the baseline and of the third arm, model by model, with the intervals that decided."""
    table = pd.DataFrame([row for row in rows if row["pct"] is not None])
    if table.empty:
        return None
    models, arms = list(dict.fromkeys(table.model)), list(dict.fromkeys(table.arm))
    height = 26 * len(arms) * len(models)
    y = alt.Y("model:N", sort=models, title=None, axis=_names(models))
    offset = alt.YOffset("arm:N", sort=arms)
    color = alt.Color("arm:N", sort=arms, scale=alt.Scale(domain=arms), legend=alt.Legend(title=None, orient="top"))
    title = f"change of {metrics.known()[metrics.headline()].label} against native (%)"
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(strokeDash=[3, 3], opacity=0.6)
    base = alt.Chart(table)
    layers = [
        *_watermark(simulated, WIDTH, height),
        zero.encode(x=alt.X("at:Q", title=title)),
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(strokeWidth=2)
        .encode(y=y, yOffset=offset, x=alt.X("low:Q", title=title), x2="high:Q", color=color),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            y=y,
            yOffset=offset,
            x=alt.X("pct:Q", title=title),
            color=color,
            shape=alt.Shape("arm:N", sort=arms, legend=None),
        ),
    ]
    return alt.layer(*layers).properties(width=WIDTH, height=height)


def won_back(rows: Sequence[Row], simulated: bool) -> alt.TopLevelMixin | None:
    """Share of the overhead won back, model by model and over all, with Fieller limits; the prediction as a band. A
    share of an overhead that cannot be told from zero has no interval, and is not drawn."""
    table = pd.DataFrame([row for row in rows if row["low"] is not None])
    if table.empty:
        return None
    models = list(table.model)
    height = 30 * len(models) + 10
    y = alt.Y("model:N", sort=models, title=None, axis=_names(models))
    title = "share of the baseline's overhead won back (%)"
    band = alt.Chart(pd.DataFrame({"low": [60.0], "high": [80.0]})).mark_rect(opacity=0.14, color="#888888")
    marks = alt.Chart(pd.DataFrame({"at": [0.0, 100.0]})).mark_rule(strokeDash=[3, 3], opacity=0.6)
    base = alt.Chart(table)
    layers = [
        *_watermark(simulated, WIDTH, height),
        band.encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        marks.encode(x="at:Q"),
        base.mark_rule(strokeWidth=2).encode(y=y, x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(y=y, x=alt.X("point:Q", title=title)),
    ]
    return alt.layer(*layers).properties(width=WIDTH, height=height)
