"""The table at the end of a campaign, for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.analysis import cache as evidence
from campaign.analysis import metrics, words
from campaign.analysis.numbers import level_text, range_text
from campaign.report import guard, noise, wording

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult


_ARM_WIDTH = 15
"""Longest name of an arm that fits above its column in 80 characters."""


def show(results: Path, console: Console | None = None) -> None:
    """Print both arms of every model of the campaign in ``results``."""
    from rich.console import Console

    con = evidence.connect(results)
    (console or Console()).print(summary(con))


def summary(con: duckdb.DuckDBPyConnection) -> RenderableType:
    """One table for each phase, model and workload, and below each the one sentence that may be claimed. What arms of
    one definition show (A/A) comes first."""
    from rich.console import Group
    from rich.text import Text

    rows = [row for group in wording.by_contrast(evidence.rows(con)) for row in group]
    parts: list[RenderableType] = []
    if con.execute("SELECT coalesce(any_value(simulated), false) FROM campaign").fetchall() == [(True,)]:
        parts.append(Text("Simulated data: no figure here was measured.", style="bold yellow"))
    held = guard.guard_of(con)
    if rows and held.why is not None:
        parts.append(Text(held.why, style="bold"))
    parts.extend(Text(sentence, style="bold") for sentence in wording.between_twins(rows))
    parts.extend(_in_doubt(con))
    parts.extend(Text(sentence, style="yellow") for sentence in noise.told(con, rows))
    cells = groupby(rows, key=lambda row: (row["phase"], row["model"], row["workload"], row["reference"]))
    for (phase, model, workload, reference), group in cells:
        cell = [row for row in group if row["metric"] in metrics.summary() and row["verdict"] != "no_data"]
        if not cell:
            continue
        cell.sort(key=lambda row: list(metrics.summary()).index(row["metric"]))
        for treatment in dict.fromkeys(row["treatment"] for row in cell):
            mine = [row for row in cell if row["treatment"] == treatment]
            parts.append(_Compared(f"{model} · {workload} · {phase}", reference, treatment, mine))
        parts.extend(Text(wording.claim(row)) for row in cell if row["metric"] == metrics.headline())
        parts.append(Text())
    parts.extend(Text(sentence) for sentence in _beyond_units(con))
    if not rows:
        parts.append(Text(wording.headline([])))
    else:
        methods = " / ".join(dict.fromkeys(row["method"] for row in rows if row["method"]))
        dual = "Intervals, dual to the verdicts at the levels of their families" if held.fixed else "Intervals"
        how = f" {dual}: {methods}." if methods else ""
        verdicts = " Verdicts: p adjusted over the planned comparisons." if held.fixed or held.sequential else ""
        parts.append(
            Text(
                f"Mean ± standard deviation over accepted runs.{how}{verdicts}",
                style="dim",
            )
        )
    return Group(*parts)


def _in_doubt(con: duckdb.DuckDBPyConnection) -> list[RenderableType]:
    """What speaks against the figures themselves: failed plausibility checks that are grave, before any figure."""
    from rich.text import Text

    found = con.execute(
        """SELECT check_name, count(*), arg_max(subject, figure), max(figure), arg_max(limit_value, figure),
            any_value(explanation)
        FROM plausibility WHERE grave AND NOT passed GROUP BY check_name ORDER BY check_name"""
    ).fetchall()
    if not found:
        return []
    several = len(found) > 1
    parts: list[RenderableType] = [
        Text(
            f"{len(found)} plausibility check{'s put' if several else ' puts'} these figures in doubt:",
            style="bold red",
        )
    ]
    for name, count, subject, figure, limit, explanation in found:
        others = f", and {count - 1} more" if count > 1 else ""
        parts.append(
            Text(
                f"· {name.replace('_', ' ')}: {subject}: {figure:.4g}, at most {limit:.4g} ({explanation}){others}",
                style="red",
            )
        )
    return [*parts, Text()]


def _beyond_units(con: duckdb.DuckDBPyConnection) -> list[str]:
    """What may be said of throughput beyond the tested units, a line for each pair of arms; none where one unit ran."""
    found = con.execute(
        """SELECT model, treatment, reference, pct, level, pct_low, pct_high, coalesce(verdict, 'no verdict'),
            coalesce(words, reason)
        FROM over_units WHERE metric = $1 ORDER BY model, workload, treatment, reference""",
        [metrics.headline()],
    ).fetchall()
    said = []
    for model, treatment, reference, pct, level, low, high, verdict, told in found:
        size = (
            ""
            if pct is None
            else f" {pct:+.2f} % ({level_text(level)} % interval {range_text(low, high, '%')})".replace("-", "−")
        )
        said.append(
            f"Over units, {model}, {treatment} against {reference}:{size} {words.beyond_units_word(verdict)}; {told}."
        )
    return said


@dataclass(frozen=True)
class _Compared:
    """One comparison: as a table, or where that is wider than the terminal a metric a paragraph.
    No figure is ever cut."""

    title: str
    reference: str
    treatment: str
    rows: list[wording.Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement

        table = _table(self.title, self.reference, self.treatment, self.rows)
        asked = Measurement.get(console, options.update(width=1000, max_width=1000), table).maximum
        yield table if asked <= options.max_width else self._stacked()

    def _stacked(self) -> RenderableType:
        from rich.console import Group
        from rich.padding import Padding
        from rich.text import Text

        n = self.rows[0]["n_reference"], self.rows[0]["n_treatment"]
        title = f"{self.title}\n{self.treatment} (n = {n[1]}) against {self.reference} (n = {n[0]})"
        parts: list[RenderableType] = [Text(title, style="bold")]
        for row in map(wording.readable, self.rows):
            style = _STYLES[words.worse(row)]
            parts += [
                Text(_metric(row, n)),
                Padding(Text(f"reference {wording.mean_sd(row['mean_reference'], row['sd_reference'])}"), (0, 0, 0, 2)),
                Padding(Text(f"treatment {wording.mean_sd(row['mean_treatment'], row['sd_treatment'])}"), (0, 0, 0, 2)),
                Padding(Text(f"change    {_change(row)}, {words.verdict_word(row)}", style=style), (0, 0, 0, 2)),
            ]
        return Group(*parts)


_STYLES = {True: "red", False: "green", None: ""}


def _metric(row: wording.Row, n: tuple[int, int]) -> str:
    own = row["n_reference"], row["n_treatment"]
    return f"{metrics.summary()[row['metric']]} {row['unit_of_measure']}" + (
        "" if own == n else f" (n {own[0]}, {own[1]})"
    )


def _change(row: wording.Row) -> str:
    return f"{wording.change(row)} {wording.brackets(row)}"


def _table(title: str, reference: str, treatment: str, rows: list[wording.Row]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    n = rows[0]["n_reference"], rows[0]["n_treatment"]
    table = Table(
        title=Text(f"{title}\n{treatment} (n = {n[1]}) against {reference} (n = {n[0]})"),
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for name, role in ((reference, "reference"), (treatment, "treatment")):
        table.add_column(Text(name if len(name) <= _ARM_WIDTH else role), justify="right", no_wrap=True)
    table.add_column("change % [interval]", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in map(wording.readable, rows):
        style = _STYLES[words.worse(row)]
        table.add_row(
            Text(_metric(row, n)),
            wording.mean_sd(row["mean_reference"], row["sd_reference"]),
            wording.mean_sd(row["mean_treatment"], row["sd_treatment"]),
            Text(f"{wording.change(row).removesuffix(' %')} {wording.brackets(row)}", style=style),
            Text(words.verdict_word(row), style=style or "dim"),
        )
    return table
