"""What a rehearsal comes to, for the terminal: when it is finished, where the hours go, what it takes on disk, and what
each comparison will be able to say."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import words
from campaign.analysis.margin import margin_of
from campaign.plan.design import plan
from campaign.plan.forecast import duration, forecast, size
from campaign.rehearsal.rehearse import Asked, Rehearsed

if TYPE_CHECKING:
    import duckdb
    from rich.console import RenderableType

    from campaign.config import Campaign

SMALL = 0.005
"""Share of the time below which a cause is summed up with the others."""


def describe(campaign: Campaign, asked: Asked, done: Rehearsed, con: duckdb.DuckDBPyConnection) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    return Group(took(campaign, done, con), Text(), comparisons(campaign, asked, con))


def took(campaign: Campaign, done: Rehearsed, con: duckdb.DuckDBPyConnection) -> RenderableType:
    """Time, runs, hours by cause, disk, pauses."""
    from rich.console import Group
    from rich.text import Text

    span_s = (done.ended_utc_ns - done.began_utc_ns) / 1e9
    ends = datetime.now().astimezone() + timedelta(seconds=span_s)
    word = f"takes {duration(span_s)}: started now, it is finished on {ends:%A %-d %B %Y}"
    if not done.completed:
        word = f"stopped after {duration(span_s)}: {done.snapshot.message.splitlines()[0]}"
    lines = [
        Text("Simulated: nothing here was measured.", "bold yellow"),
        Text.assemble(("time      ", "dim"), word),
        Text.assemble(("runs      ", "dim"), runs(con, done)),
        Text.assemble(("hours     ", "dim"), hours(con)),
        Text.assemble(("disk      ", "dim"), disk(campaign, done)),
    ]
    for why, waited_s in done.pauses:
        lines.append(
            Text.assemble(("paused    ", "dim"), f"{why.splitlines()[0]}; a person came after {duration(waited_s)}")
        )
    return Group(*lines)


def runs(con: duckdb.DuckDBPyConnection, done: Rehearsed) -> str:
    """Accepted, given up, left out; rejected attempts by what ended them."""
    snapshot = done.snapshot
    said = [f"{snapshot.accepted} of {snapshot.total} accepted"]
    if snapshot.exhausted:
        said.append(f"{snapshot.exhausted} given up")
    if snapshot.left_out:
        said.append(f"{snapshot.left_out} left out")
    ended = con.execute(
        """SELECT CASE WHEN outcome <> 'completed' THEN outcome ELSE rejected_by[1] END AS why, count(*) AS n
        FROM attempts WHERE NOT accepted GROUP BY why ORDER BY n DESC, why"""
    ).fetchall()
    if ended:
        said.append("not accepted: " + ", ".join(f"{n} {str(why).replace('_', ' ')}" for why, n in ended))
    return "; ".join(said)


def hours(con: duckdb.DuckDBPyConnection) -> str:
    found = con.execute("SELECT cause, sum(hours) FROM hours GROUP BY cause ORDER BY 2 DESC").fetchall()
    total = sum(figure for _, figure in found) or 1.0
    shown = [(cause, figure) for cause, figure in found if figure >= SMALL * total]
    rest = total - sum(figure for _, figure in shown)
    said = [f"{cause} {duration(3600 * figure)} ({100 * figure / total:.0f} %)" for cause, figure in shown]
    if rest > 0.0005 * total:
        said.append(f"others {duration(3600 * rest)}")
    return ", ".join(said)


def disk(campaign: Campaign, done: Rehearsed) -> str:
    """Of the campaign as its forecast has it at its own rate of sampling, and of what lies here."""
    asked = forecast(campaign, plan(campaign)).disk_bytes
    here = sum(path.stat().st_size for path in Path(done.store.root).rglob("*") if path.is_file())
    said = f"{size(asked)} for the campaign; {size(here)} for this rehearsal"
    if done.telemetry_hz != campaign.telemetry.rate_hz:
        said += f", sampled at {done.telemetry_hz:.3g} instead of {campaign.telemetry.rate_hz:g} Hz"
    return said


def comparisons(campaign: Campaign, asked: Asked, con: duckdb.DuckDBPyConnection) -> RenderableType:
    """What was injected, what came out, and the chance of each verdict, by the rule that decides,
    at the spread that was seen."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from campaign.analysis import cache, metrics
    from campaign.report import wording

    rows = [
        row
        for row in cache.rows(con)
        if row["metric"] == metrics.headline() and row["verdict"] != "no_data" and row["analysis_set"] == "protocol"
    ]
    if not rows:
        return Text("No comparison: no model has accepted runs of two arms.", "dim")
    parts: list[RenderableType] = []
    for treatment, reference in dict.fromkeys((row["treatment"], row["reference"]) for row in rows):
        title = Text(f"Throughput of {treatment} against {reference}")
        table = Table(
            title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False
        )
        table.add_column("", overflow="fold")
        for heading in ("truth %", "found %", "verdict", "chances"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            if (row["treatment"], row["reference"]) != (treatment, reference):
                continue
            truth = truth_pct(campaign, asked, row)
            table.add_row(
                row["model"],
                f"{truth:+.2f}".replace("-", "−") if truth else "0",
                f"{wording.change(row).removesuffix(' %')} {wording.brackets(row)}",
                words.verdict_word(row),
                " · ".join(f"{100 * chance:.0f}" for chance in chances_of(campaign, row, truth)),
            )
        parts += [table, Text()]
    margin = margin_of(campaign.margin_pct)
    return Group(
        *parts,
        Text(
            "Truth: what was injected. Found: this rehearsal's, with the interval that decided. Chances: of "
            f"equivalence within {margin}, of a difference, of neither, in percent; at the planned number of runs, "
            f"at the level of the first of {rows[0]['m_planned']} comparisons, "
            "with the spread of the model's two arms here.",
            style="dim",
        ),
    )


def truth_pct(campaign: Campaign, asked: Asked, row: dict[str, Any]) -> float:
    """By how much this arm was made to differ from its reference, percent."""
    from campaign.rehearsal.engine import true_rate

    name = row["model"].partition(" @ ")[0]  # with several units the unit stands beside it
    model, workload = campaign.model(name), campaign.asked(name, row["workload"])
    rates = [
        true_rate(model, workload, asked.kind.rates, asked.effects, row[role]) for role in ("treatment", "reference")
    ]
    return 100 * (rates[0] / rates[1] - 1)


def chances_of(campaign: Campaign, row: dict[str, Any], true_pct: float) -> tuple[float, float, float]:
    """Of equivalence, of a difference, of neither, for one comparison of independent arms."""
    from campaign.analysis.statistics.planning import power_difference, power_equivalence

    n = max(3, campaign.repetitions[row["model"].partition(" @ ")[0]])
    means, spreads = (row["mean_reference"], row["mean_treatment"]), (row["sd_reference"], row["sd_treatment"])
    shares = [
        sd / mean for mean, sd in zip(means, spreads, strict=True) if mean and sd is not None and not math.isnan(sd)
    ]
    if len(shares) < 2 or not any(shares):
        return 0.0, 0.0, 1.0
    spread_pct = 100 * math.sqrt(sum(share**2 for share in shares))
    alpha = 0.05 / max(1, row["m_planned"] or 1)
    margin_pct = margin_of(campaign.margin_pct).pct
    margin = margin_pct / (1 + margin_pct / 100) / spread_pct
    equivalent = power_equivalence(n, False, true_pct / spread_pct, margin, alpha)
    different = power_difference(n, False, true_pct / spread_pct, alpha)
    return equivalent, different, max(0.0, 1 - max(equivalent, different))
