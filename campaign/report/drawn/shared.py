"""What the figures share: run-level values, grids of panels, the look of an arm, intervals, the watermark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from campaign.report.drawn.look import COLUMN_IN, DASHES, OKABE_ITO, PRINT, SHAPES, Look
from campaign.report.guard import guard_of

if TYPE_CHECKING:
    import duckdb

COLUMN_PT = COLUMN_IN * 72
Chart = alt.TopLevelMixin | None
KEYS = ["phase", "model", "workload"]
LETTER = 6.8
"""Width of a letter of a bold label of the page, pixels, on the average and a little more."""


def arms_of(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Environments in a fixed order, the reference first; also those of imported runs, which no plan names."""
    query = (
        "SELECT environment FROM runs, campaign GROUP BY environment, reference "
        "ORDER BY environment <> reference, min(run_index)"
    )
    return [str(row[0]) for row in con.execute(query).fetchall()]


def with_interval(means: pd.DataFrame, fixed: bool) -> pd.DataFrame:
    """Adds ``low`` and ``high``, the 95 % t interval of the mean,
    missing below three runs and where the number of runs was not ``fixed``."""
    from scipy import special

    half = special.stdtrit((means.n - 1).clip(lower=1), 0.975) * means.se
    half = half.where((means.n >= 3) & fixed)
    return means.assign(low=means["mean"] - half, high=means["mean"] + half)


def runs_of(con: duckdb.DuckDBPyConnection, metrics: list[str], by_unit: bool = False) -> pd.DataFrame:
    """Run-level values; ``by_unit`` names the unit beside the model where there are several,
    as ``evidence.rows`` does."""
    model = "CASE WHEN count(DISTINCT unit) OVER () > 1 THEN model || ' @ ' || unit ELSE model END AS model"
    runs: pd.DataFrame = con.execute(
        f"SELECT phase, {model if by_unit else 'model'}, workload, environment, repetition, metric, value "
        "FROM observations WHERE list_contains($1, metric) ORDER BY run_index",
        [metrics],
    ).df()
    return runs


def means_of(con: duckdb.DuckDBPyConnection, metrics: list[str]) -> pd.DataFrame:
    found: pd.DataFrame = with_interval(
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
    """Of a figure that only print has."""
    return PRINT.grid(panels, width, labels, 0)


def panel_height(panels: int, columns: int, usual: float, chrome: float) -> float:
    """Of a figure that only print has."""
    return PRINT.height(panels, columns, usual, chrome, 0)


def named(key: Any) -> str:
    """A panel of the page, in full."""
    return " · ".join(str(part) for part in (key[1], key[2], key[0]))


def panel_label(table: pd.DataFrame, key: Any, i: int, panels: int, room: float) -> str | list[str]:
    """``(a) model``, with workload and phase only where they differ between panels;
    in two lines where one is too long."""
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
    return color_scale(arms_of(con), PRINT)


def color_scale(arms: list[str], look: Look, everyone: list[str] | None = None) -> alt.Scale:
    """In print the colours themselves; on the page those of the reader's theme, in the same order."""
    if not look.printed:
        return alt.Scale(domain=arms)
    known = everyone or arms
    return alt.Scale(domain=arms, range=[OKABE_ITO[known.index(arm) % len(OKABE_ITO)] for arm in arms])


def cycled(looks: Sequence[Any], i: int) -> Any:
    """The shape or dash of arm ``i``; from the eighth arm on, where colours come again,
    another one goes with each colour."""
    return looks[(i + i // len(OKABE_ITO)) % len(looks)]


def dashes(arms: list[str], legend: alt.Legend | None) -> alt.StrokeDash:
    every = [list(cycled(DASHES, k)) for k in range(len(arms))]
    return alt.StrokeDash("environment:N", sort=arms, scale=alt.Scale(domain=arms, range=every), legend=legend)


def time_unit(milliseconds: pd.Series[float]) -> tuple[str, float]:
    """Seconds where milliseconds would need five digits, and the divisor."""
    return ("s", 1000.0) if milliseconds.max() >= 10_000 else ("ms", 1.0)


def legend_of(names: list[str], width: float, line: bool = False, above: float = 4, look: Look = PRINT) -> alt.Legend:
    large = {"symbolSize": 500, "symbolStrokeWidth": 2.5}
    small = {"symbolSize": 150, "symbolStrokeWidth": 1.2}
    more: dict[str, Any] = {"symbolType": "stroke", **(small if look.printed else large)} if line else {}
    letters, symbol = max(map(len, names)), 34 if line else 22
    columns = int((width - 30) // (4.2 * letters + symbol))
    if not look.printed:
        columns, more = int(720 // (LETTER * letters + 50)), more | {"labelLimit": 0}
    return alt.Legend(title=None, orient="top", columns=max(1, columns), offset=above, symbolOpacity=1, **more)


def arm_look(
    arms: list[str],
    width: float,
    everyone: list[str] | None = None,
    legend: bool = True,
    above: float = 4,
    look: Look = PRINT,
) -> dict[str, Any]:
    """Colour and shape of an arm; ``everyone`` keeps an arm's look where some arms are not drawn,
    ``above`` lifts the legend."""
    known = everyone or arms
    its = legend_of(arms, width, above=above, look=look) if legend else None
    shapes = [cycled(SHAPES, known.index(arm)) for arm in arms]
    return {
        "color": alt.Color("environment:N", sort=arms, scale=color_scale(arms, look, known), legend=its),
        "shape": alt.Shape("environment:N", sort=arms, scale=alt.Scale(domain=arms, range=shapes), legend=its),
    }


def interval_marks(means: pd.DataFrame, x: alt.X, arms: list[str], look: Look = PRINT) -> list[alt.Chart]:
    """Mean and interval of each arm at ``x``: in print in black beside its runs,
    on the page across them in its colour."""
    base = alt.Chart(means)
    of_arm = arm_look(arms, COLUMN_PT, look=look, legend=look.printed)
    rule = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=look.rule, **look.inked())
    if look.printed:
        dot = base.mark_point(filled=True, size=16, opacity=1, **look.inked()).encode(shape=of_arm["shape"])
    else:
        said = [alt.Tooltip(f"{name}:Q", format=".5~r") for name in ("mean", "low", "high")]
        tick = base.mark_tick(orient="horizontal", thickness=2.6, width=44 if len(arms) <= 3 else 30, opacity=1)
        dot = tick.encode(color=of_arm["color"], **look.tooltip("environment:N", "n:Q", *said))
    return [rule.encode(x=x, y=alt.Y("low:Q"), y2="high:Q"), dot.encode(x=x, y=alt.Y("mean:Q"))]


def watermark(con: duckdb.DuckDBPyConnection, width: float, height: float, look: Look = PRINT) -> list[alt.Chart]:
    """A layer that says so across a panel whose data are simulated; nothing for measured data."""
    if con.execute("SELECT coalesce(bool_or(simulated), false) FROM campaign").fetchall() != [(True,)]:
        return []
    most, opacity = look.watermark
    size = max(8, min(most, width / 7, height / 2))
    text = alt.Chart(pd.DataFrame({"text": ["SIMULATED"]})).mark_text(
        fontSize=size, fontWeight=700, opacity=opacity, color="#808080", baseline="middle", align="center"
    )
    # Each channel by its class: from a string or a value the library looks it up, which takes as long as to draw the
    # panel.
    middle = alt.XValue(width / 2), alt.YValue(height / 2)  # type: ignore[no-untyped-call]
    return [text.encode(alt.Text("text:N"), *middle)]
