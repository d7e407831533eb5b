"""The figure of a calibrated rest: how the unit cooled after each arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from campaign.report.drawn.look import PAGE
from campaign.report.drawn.shared import Chart, arms_of, watermark

if TYPE_CHECKING:
    import duckdb

REST = """
WITH points AS (
    SELECT unnest(from_json(config->'rest'->'curve',
        '[{"environment": "VARCHAR", "t_s": "DOUBLE", "temperature_c": "DOUBLE", "power_w": "DOUBLE",
           "sm_clock_mhz": "DOUBLE"}]'), recursive := true)
    FROM campaign
)
SELECT environment, t_s, temperature_c, power_w, sm_clock_mhz,
    (SELECT (config->'rest'->>'cooldown_s')::DOUBLE FROM campaign) AS cooldown_s,
    (SELECT (config->'rest'->>'was_s')::DOUBLE FROM campaign) AS was_s
FROM points
ORDER BY environment, t_s
""".strip()
COOLING = {"temperature_c": "temperature (°C)", "power_w": "power (W)", "sm_clock_mhz": "clock (MHz)"}


def rest(con: duckdb.DuckDBPyConnection) -> Chart:
    """How the pilot's unit cooled after each arm, and the rest that was taken from it.
    None without a calibrated rest."""
    found = con.execute(REST).df()
    if found.empty:
        return None
    arms = [arm for arm in arms_of(con) if arm in set(found.environment)] or sorted(set(found.environment))
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
            *watermark(con, 620, 150, PAGE),
            base.mark_line(strokeWidth=1.8).encode(x=x, y=y, color=color, strokeDash=dash),
            rule,
        ]
        panels.append(alt.layer(*layers).properties(width=620, height=150))
    return alt.vconcat(*panels, spacing=14)
