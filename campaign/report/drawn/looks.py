"""The figure of a sequential design: the estimate at every look, and the boundaries that it had to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from campaign.report.drawn.look import PAGE
from campaign.report.drawn.shared import Chart, watermark

if TYPE_CHECKING:
    import duckdb

LOOKS = """
SELECT model, workload, treatment, reference, blocks, n, pct, rci95_low AS low, rci95_high AS high,
    -different_beyond_pct AS lower,
    different_beyond_pct AS upper, equivalent_from_pct AS zone_from, equivalent_to_pct AS zone_to, claimed
FROM comparison_looks
WHERE metric = 'token_throughput_tok_s' AND status = 'ok'
ORDER BY ALL
""".strip()


def looks(con: duckdb.DuckDBPyConnection) -> Chart:
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
            *watermark(con, 260, 200, PAGE),
            base.mark_rule(strokeDash=[2, 3], opacity=0.6).encode(y=alt.datum(0)),
            zone.encode(x=x, y=alt.Y("zone_from:Q", title=title), y2="zone_to:Q"),
            *(limit.encode(x=x, y=alt.Y(f"{side}:Q", title=title)) for side in ("lower", "upper")),
            base.mark_line(strokeWidth=1.2).encode(x=x, y=alt.Y("pct:Q", title=title)),
            base.mark_rule(strokeWidth=2).encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q"),
            base.mark_point(filled=True, size=60, opacity=1).encode(
                x=x,
                y=alt.Y("pct:Q", title=title),
                tooltip=["blocks:Q", "n:Q",
                    *(alt.Tooltip(f"{name}:Q", format=".3~r") for name in ("pct", "low", "high")), "claim:N"],
            ),
        ]  # fmt: skip
        named = f"{model} · {workload}"
        panels.append(
            alt.layer(*layers).properties(width=260, height=200,
                title=alt.TitleParams(named, subtitle=f"{treatment} against {reference}"))
        )  # fmt: skip
    return alt.concat(*panels, columns=3, spacing=30)
