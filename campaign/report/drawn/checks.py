"""Figures of checks: are the runs normally distributed, and is the rate within what memory permits?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.analysis.numbers import p_value
from campaign.report.drawn import look
from campaign.report.drawn.shared import (
    COLUMN_PT,
    KEYS,
    Chart,
    arm_look,
    arms_of,
    panel_height,
    panel_label,
    runs_of,
    subjects,
    watermark,
)

if TYPE_CHECKING:
    import duckdb


def normal_quantiles(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT, *, metric: str) -> Chart:
    """Run-level values of ``metric`` against normal quantiles, standardised within their arm,
    arms side by side for each model.

    On the line: normal. Above the points Shapiro-Wilk's p. :class:`paper.FitError` where an arm would be narrower than
    its p.
    """
    runs = runs_of(con, [metric], by_unit=True)
    if runs.empty:
        return None
    arms = arms_of(con)
    groups = list(runs.groupby(KEYS, sort=False))
    most = max(int(mine.environment.nunique()) for _, mine in groups)
    columns = min(len(groups), 4, max(1, int((width - 30) / (48 * most + 10))))
    inner = (width - 30 - 10 * (columns - 1)) / columns
    if inner / most < 42:
        raise look.FitError(f"{most} arms side by side leave no room for their p: ask for a wider figure")
    height = panel_height(len(groups), columns, 78, 18)
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
            *watermark(con, inner, height),
            alt.Chart(walls).mark_rule(strokeWidth=0.5, color="#808080").encode(x=x),
            alt.Chart(ideal.assign(z=-reach, z2=reach))
            .mark_rule(strokeWidth=0.6, color="#606060")
            .encode(x=x, x2="x2:Q", y=y, y2="z2:Q"),
            alt.Chart(mine[["x", "z", "environment"]])
            .mark_point(size=9, strokeWidth=0.7)
            .encode(x=x, y=y, **arm_look(arms, width)),
            alt.Chart(texts).mark_text(align="left", baseline="top").encode(x=x, y=alt.value(2), text="text:N"),
        ]
        panels.append(
            alt.layer(*layers).properties(
                width=inner, height=height, title=panel_label(runs, key, i, len(groups), inner)
            )
        )
    return alt.concat(*panels, columns=columns, spacing=4)


def _against_normal(runs: pd.DataFrame, arms: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Normal quantiles (Blom's positions) with the standardised values of each arm,
    and by arm what Shapiro-Wilk says."""
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
            p = p_value(test.p) or "–"
            said[arm] = f"p < {p[1:]}" if p.startswith("<") else f"p = {p}"
    return pd.concat(parts), said


ROOFLINE = """
SELECT o.phase, o.model, o.workload, o.environment, o.value / r.bound_tok_s AS fraction
FROM observations AS o
JOIN rooflines AS r USING (phase, model, workload, environment)
WHERE o.metric = 'token_throughput_tok_s' AND r.bound_tok_s IS NOT NULL
ORDER BY o.run_index
""".strip()
IDLE = 0.3
"""Fraction of the roofline below which a measurement is looked into (docs/methodology.md, 9.5)."""


def roofline(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Output tokens per second over what memory bandwidth permits: a bar to the mean of each model and arm,
    every run a mark.

    Solid line: the bound, which nothing can exceed. Dashed: 0.3, below which a figure is looked into.
    """
    runs = con.execute(ROOFLINE).df()
    if runs.empty:
        return None
    runs = runs.assign(subject=subjects(runs))
    arms, names = [arm for arm in arms_of(con) if arm in set(runs.environment)], list(dict.fromkeys(runs.subject))
    means = runs.groupby(["subject", "environment"], sort=False).fraction.agg(mean="mean", most="max").reset_index()
    means = means.assign(text=[f"{mean:.2f}" if mean >= 0.01 else "< 0.01" for mean in means["mean"]])
    inner = width - 8 - 4.6 * max(map(len, names))
    height = panel_height(1, 1, len(names) * (9.5 * len(arms) + 4), 40)
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
    look = arm_look(arms, width, everyone=arms_of(con), above=14)
    layers = [
        *watermark(con, inner, height),
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
