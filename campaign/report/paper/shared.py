"""What the figures for print share: run-level values, grids of panels, the look of an arm, intervals, the watermark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.report.figures import _arms, _with_interval
from campaign.report.guard import guard_of
from campaign.report.paper import theme

if TYPE_CHECKING:
    import duckdb

COLUMN_PT = theme.COLUMN_IN * 72
Chart = alt.TopLevelMixin | None
KEYS = ["phase", "model", "workload"]


def runs_of(con: duckdb.DuckDBPyConnection, metrics: list[str], by_unit: bool = False) -> pd.DataFrame:
    """Run-level values; ``by_unit`` names the unit beside the model where there are several, as ``evidence.rows`` does."""
    model = "CASE WHEN count(DISTINCT unit) OVER () > 1 THEN model || ' @ ' || unit ELSE model END AS model"
    runs: pd.DataFrame = con.execute(
        f"SELECT phase, {model if by_unit else 'model'}, workload, environment, repetition, metric, value FROM observations "
        "WHERE list_contains($1, metric) ORDER BY run_index",
        [metrics],
    ).df()
    return runs


def means_of(con: duckdb.DuckDBPyConnection, metrics: list[str]) -> pd.DataFrame:
    found: pd.DataFrame = _with_interval(
        con.execute(
            "SELECT phase, model, workload, environment, metric, count(*) AS n, avg(value) AS mean, "
            "stddev_samp(value) / sqrt(count(*)) AS se FROM observations WHERE list_contains($1, metric) "
            "GROUP BY ALL ORDER BY min(run_index)",
            [metrics],
        ).df(),
        guard_of(con).fixed,
    )
    return found


def panel_of(means: pd.DataFrame, key: Any) -> pd.DataFrame:
    found: pd.DataFrame = means[(means[KEYS] == list(key)).all(axis=1)]
    return found


def left_to_right(repetition: pd.Series[int]) -> pd.Series[float]:
    """Repetitions from 0 to 1, so that time runs from left to right within an arm."""
    most = max(int(repetition.max()) - 1, 1)
    return (repetition - 1) / most


def grid(panels: int, width: float, labels: float) -> tuple[int, float]:
    """Columns of panels and the width of one without its axis labels."""
    columns = min(panels, 2 if width < 1.5 * COLUMN_PT else 4)
    return columns, (width - columns * labels - 8 * (columns - 1)) / columns


def panel_height(panels: int, columns: int, usual: float, chrome: float) -> float:
    """Height of a panel so that all rows of panels, each with ``chrome`` below and above it, fit a page."""
    room = (theme.TALLEST_IN * 72 - 70) / math.ceil(panels / columns) - chrome
    return max(24.0, min(usual, room))


def panel_label(table: pd.DataFrame, key: Any, i: int, panels: int, room: float) -> str | list[str]:
    """``(a) model``, with workload and phase only where they differ between panels; in two lines where one is too long."""
    parts = [str(key[1])] + [
        str(part) for part, name in ((key[2], "workload"), (key[0], "phase")) if table[name].nunique() > 1
    ]
    text = f"({chr(97 + i)}) " * (panels > 1) + ", ".join(parts)
    if 4.3 * len(text) <= room + 30 or len(parts) == 1:
        return text
    return [f"({chr(97 + i)}) {parts[0]},", ", ".join(parts[1:])]


def subjects(table: pd.DataFrame) -> list[str]:
    shown = ["model", *(name for name in ("workload", "phase") if table[name].nunique() > 1)]
    return [", ".join(str(part) for part in row) for row in table[shown].itertuples(index=False)]


def value_axis() -> alt.Axis:
    return alt.Axis(tickCount=4, minExtent=18)


def arm_colors(con: duckdb.DuckDBPyConnection) -> alt.Scale:
    arms = _arms(con)
    return alt.Scale(domain=arms, range=[theme.OKABE_ITO[i % len(theme.OKABE_ITO)] for i in range(len(arms))])


def cycled(looks: Sequence[Any], i: int) -> Any:
    """The shape or dash of arm ``i``; from the eighth arm on, where colours come again, another one goes with each colour."""
    return looks[(i + i // len(theme.OKABE_ITO)) % len(looks)]


def time_unit(milliseconds: pd.Series[float]) -> tuple[str, float]:
    """Seconds where milliseconds would need five digits, and the divisor."""
    return ("s", 1000.0) if milliseconds.max() >= 10_000 else ("ms", 1.0)


def legend_of(names: list[str], width: float, line: bool = False, above: float = 4) -> alt.Legend:
    more = (
        {"symbolType": "stroke", "symbolSize": 150, "symbolStrokeWidth": 1.2, "symbolOpacity": 1}
        if line
        else {"symbolOpacity": 1}
    )
    columns = max(1, int((width - 30) // (4.2 * max(map(len, names)) + (34 if line else 22))))
    return alt.Legend(title=None, orient="top", columns=columns, offset=above, **more)


def arm_look(
    arms: list[str], width: float, everyone: list[str] | None = None, legend: bool = True, above: float = 4
) -> dict[str, Any]:
    """Colour and shape of an arm; ``everyone`` keeps an arm's look where some arms are not drawn, ``above`` lifts the legend."""
    known = everyone or arms
    its = legend_of(arms, width, above=above) if legend else None
    colors = [theme.OKABE_ITO[known.index(arm) % len(theme.OKABE_ITO)] for arm in arms]
    shapes = [cycled(theme.SHAPES, known.index(arm)) for arm in arms]
    return {
        "color": alt.Color("environment:N", sort=arms, scale=alt.Scale(domain=arms, range=colors), legend=its),
        "shape": alt.Shape("environment:N", sort=arms, scale=alt.Scale(domain=arms, range=shapes), legend=its),
    }


def interval_marks(means: pd.DataFrame, x: alt.X, arms: list[str]) -> list[alt.Chart]:
    base = alt.Chart(means)
    rule = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.2, color="black")
    dot = base.mark_point(filled=True, size=16, color="black", opacity=1)
    shape = arm_look(arms, COLUMN_PT)["shape"]
    return [rule.encode(x=x, y=alt.Y("low:Q"), y2="high:Q"), dot.encode(x=x, y=alt.Y("mean:Q"), shape=shape)]


def watermark(con: duckdb.DuckDBPyConnection, width: float, height: float) -> list[alt.Chart]:
    if con.execute("SELECT coalesce(bool_or(simulated), false) FROM campaign").fetchall() != [(True,)]:
        return []
    size = max(theme.TEXT_PT, min(26.0, width / 7, height / 2))
    text = alt.Chart(pd.DataFrame({"text": ["SIMULATED"]})).mark_text(
        fontSize=size, fontWeight=700, opacity=0.22, color="#808080"
    )
    return [text.encode(text=alt.Text("text:N"), x=alt.value(width / 2), y=alt.value(height / 2))]
