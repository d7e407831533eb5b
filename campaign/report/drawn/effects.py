"""Figures of effects: overheads against the reference, Docker options against their baseline,
and what this N can see."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.analysis import inputs, metrics
from campaign.report import wording
from campaign.report.drawn import look
from campaign.report.drawn.shared import (
    COLUMN_PT,
    KEYS,
    Chart,
    arm_colors,
    arm_look,
    arms_of,
    grid,
    runs_of,
    subjects,
    watermark,
)

if TYPE_CHECKING:
    import duckdb


def overhead(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Forest plot: throughput lost against the reference by model and arm, the interval that decided,
    and the equivalence band.

    Ticks: the bootstrap's interval. Filled: the verdict is that it differs, on a p adjusted over the planned
    comparisons.
    """
    rows = overheads(con)
    if rows.empty:
        return None
    margin = inputs.settings(con)["margin_pct"]
    arms = [arm for arm in arms_of(con) if arm in set(rows.environment)]
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
        "datum.significant",
        alt.Color("environment:N", sort=arms, scale=arm_colors(con), legend=None),
        alt.value("white"),
    )
    look = arm_look(arms, width, everyone=arms_of(con), legend=several)
    layers = [
        band.encode(x=alt.X("low:Q", title=quantity), x2="high:Q"),
        zero.encode(x="zero:Q"),
        *watermark(con, inner, height),
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
    """Throughput lost in percent of the reference by contrast: ``overhead`` with the headline's ``low`` and ``high``,
    the bootstrap's ``bca_low`` and ``bca_high``, and whether the verdict is that it differs. From ``comparisons``,
    see ``evidence.ensure``."""
    from campaign.analysis import cache as evidence

    (reference,) = con.execute("SELECT any_value(reference) FROM campaign").fetchall()[0]
    found = []
    for row in evidence.rows(con):
        shown = row["metric"] == metrics.headline() and row["reference"] == reference and row["pct"] is not None
        if not shown or row["verdict"] == "not_interpretable":
            continue
        bounded = wording.bounded(row)
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
    return table.assign(subject=subjects(table))


def screening(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Docker options against the Docker baseline: change of throughput in percent by option and model,
    Fieller interval.

    Each run a dot, in percent of the baseline's mean. None where no phase holds a baseline and at least two options.
    """
    found = screened(con)
    if found is None:
        return None
    rows, runs, arms = found
    models = list(dict.fromkeys(rows.subject))
    columns, _ = grid(len(models), width, 40)
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
            *watermark(con, inner, height),
            alt.Chart(mine[["environment", "change"]])
            .mark_point(size=7, strokeWidth=0.5, color="#808080")
            .encode(x=x, y=y),
            alt.Chart(its)
            .transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.3)
            .encode(x=alt.X("low:Q", title=quantity), x2="high:Q", y=y),
            alt.Chart(its)
            .mark_point(size=24, filled=True, opacity=1, shape="diamond", color=look.OKABE_ITO[1])
            .encode(x=x, y=y),
        ]
        label = f"({chr(97 + i)}) {model}" if len(models) > 1 else ""
        panels.append(alt.layer(*layers).properties(width=inner, height=height, title=label))
    return alt.concat(*panels, columns=columns, spacing=8)


def screened(con: duckdb.DuckDBPyConnection) -> tuple[pd.DataFrame, pd.DataFrame, list[str]] | None:
    """Options of screening phases against their baseline: intervals (``comparisons``), single runs in percent,
    and arms in order."""
    from campaign.analysis import cache as evidence

    runs = runs_of(con, [metrics.headline()], by_unit=True)
    intervals, dots = [], []
    for row in evidence.rows(con):
        if row["metric"] != metrics.headline() or row["kind"] != "screen" or row["pct"] is None:
            continue
        cell = runs[(runs[KEYS] == [row[key] for key in KEYS]).all(axis=1)]
        for arm in (row["reference"], row["treatment"]):
            its = cell[cell.environment == arm]
            dots.append(its.assign(change=100 * (its.value / row["mean_reference"] - 1)))
        its = {key: row[key] for key in KEYS} | {"environment": row["treatment"], "baseline": row["reference"]}
        low, high = (row["pct_low"], row["pct_high"]) if wording.bounded(row) else (None, None)
        intervals.append(its | {"change": row["pct"], "low": low, "high": high})
    if not intervals:
        return None
    rows, points = pd.DataFrame(intervals), pd.concat(dots).drop_duplicates()
    order = [arm for arm in arms_of(con) if arm in {*rows.environment, *rows.baseline}]
    return rows.assign(subject=subjects(rows)), points.assign(subject=subjects(points)), order


SPREAD = """
SELECT median(sd_reference / mean_reference) AS cv, median(sd_log_ratio) AS sd_log_ratio, max(least(n_reference,
    n_treatment)) AS n, count(*) AS m
FROM contrast_moments
WHERE metric = 'token_throughput_tok_s' AND n_reference >= 3 AND n_treatment >= 3 AND mean_reference > 0
""".strip()


def power_curves(con: duckdb.DuckDBPyConnection, width: float = COLUMN_PT) -> Chart:
    """Smallest throughput difference that N runs detect with 80 % power, at this campaign's own run-to-run spread.

    Median over the contrasts of the reference's coefficient of variation (independent t) and of the standard deviation
    of the blocks' log ratios (paired t); unadjusted and with Bonferroni over the contrasts.
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
                scale=alt.Scale(domain=names, range=list(look.OKABE_ITO[: len(names)])),
                legend=legend,
            ),
            strokeDash=alt.StrokeDash(
                "test:N",
                sort=names,
                scale=alt.Scale(domain=names, range=list(look.DASHES[: len(names)])),
                legend=legend,
            ),
        )
    )
    ran = alt.Chart(pd.DataFrame({"n": [n], "text": [f"N = {n} ran"]}))
    layers = [
        *watermark(con, inner, height),
        ran.mark_rule(strokeWidth=0.7, strokeDash=[1, 2]).encode(x="n:Q"),
        ran.mark_text(align="left", dx=3, baseline="top").encode(x="n:Q", y=alt.value(3), text="text:N"),
        lines,
    ]
    return alt.layer(*layers).properties(width=inner, height=height)
