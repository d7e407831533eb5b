"""What N a campaign needs, before any run: from the spread of a pilot, or from an assumed one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import metrics
from campaign.analysis.margin import margin_of
from campaign.errors import EXIT_CONFIG, CampaignError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.analysis.statistics.planning import Outlook

ASSUMED_CV_PCT = 0.5
"""Run-to-run coefficient of variation where nothing is known:
the order of what is published for LLM throughput on GB10."""


class PowerRefused(CampaignError):
    """The question cannot be answered as asked. The message is for the person."""

    exit_code = EXIT_CONFIG


@dataclass(frozen=True)
class Spread:
    """Run-to-run spread of one model: coefficient of variation in percent, and correlation of the runs of a block."""

    model: str
    cv_pct: float
    rho: float
    n: int | None
    """Runs per arm that it rests on; None where it is assumed."""


def describe_power(
    pilot: Path | None = None,
    *,
    cv_pct: float | None = None,
    rho: float | None = None,
    effect_pct: float = 1.0,
    margin_pct: float | None = None,
    n: int = 30,
    m: int = 30,
    metric: str | None = None,
    looks_at: Sequence[int] = (),
) -> RenderableType:
    """What ``n`` runs per arm see, and the N that a difference of ``effect_pct`` and
    equivalence within ``margin_pct`` need.

    ``pilot`` is a results folder, whose arms give the spread of every model; else ``cv_pct`` (and ``rho``) is taken for
    all. ``m`` is the number of comparisons in the family, ``looks_at`` are blocks after which a sequential design
    looks. Raises :class:`PowerRefused`.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from campaign.analysis.statistics import plan_runs

    metric = metric or metrics.headline()
    spreads, declared = _spreads(pilot, cv_pct, rho, metric)
    margin = margin_of(declared if margin_pct is None else margin_pct).pct
    if not (0 < effect_pct < math.inf and 0 < margin < math.inf) or n < 2 or m < 1:
        raise PowerRefused("effect and margin must be above 0 %, n at least 2 and m at least 1")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    names = (
        "CV %",
        "r",
        "design",
        f"power, {effect_pct:g} %",
        "sees %",
        f"N for {effect_pct:g} %",
        f"N for ±{margin:g} %",
    )
    table.add_column("model", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    statement = ""
    for spread in spreads:
        found = plan_runs(effect_pct, margin, spread.cv_pct, rho=spread.rho, n=n, m=m)
        statement = statement or found["statement"]
        for design in ("arms", "blocks"):
            its: Outlook = found[design]
            first = design == "arms"
            table.add_row(
                spread.model if first else "",
                f"{spread.cv_pct:.2g}" if first else "",
                f"{spread.rho:.2f}" if first else "",
                design,
                f"{100 * its.difference_each:.0f} / {100 * its.difference_all:.0f} %",
                f"{its.detectable_pct:.2g}",
                f"{_runs(its.n_difference_each)} / {_runs(its.n_difference_all)}",
                f"{_runs(its.n_equivalence_each)} / {_runs(its.n_equivalence_all)}",
            )
    source = f"spread measured in {pilot}" if pilot else "spread assumed, not measured"
    return Group(
        Text(f"{n} runs per arm, {m} comparisons (Holm), {metric}; {source}.", style="bold"),
        table,
        Text(
            f"Two figures: for each comparison / for all {m} together, by the rule that decides (guarded, Holm; "
            "simulated, docs/statistics.md). Design: independent arms, or blocks whose arms correlate by r. Sees: "
            f"difference that each comparison shows with 80 % power. N for {effect_pct:g} %: runs that show such "
            f"differences with 80 % power. N for ±{margin:g} %: "
            "runs that show equivalence with 80 % power if there is no difference.",
            style="dim",
        ),
        Text(statement),
        *([_looked(spreads, looks_at, m, margin, effect_pct)] if looks_at else []),
    )


def _looked(
    spreads: Sequence[Spread], looks_at: Sequence[int], m: int, margin_pct: float, effect_pct: float
) -> RenderableType:
    """What becomes of one comparison with looks."""
    from rich.table import Table

    from campaign.plan.looks import of_spread

    at = ", ".join(map(str, looks_at))
    table = Table(
        title=f"With looks after {at} blocks (Pocock-type spending, exact levels, 0.05 by {m}, "
            f"margin ±{margin_pct:g} %)",
        title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), header_style="dim",
    )  # fmt: skip
    table.add_column("model", overflow="fold")
    for name in ("truth", "decided by look", "equivalent", "different", "blocks", "p90"):
        table.add_column(name, justify="right", no_wrap=True)
    truths = {"no difference": 0.0, f"{effect_pct:g} %": effect_pct}
    try:
        every = [of_spread(looks_at, m, margin_pct, s.cv_pct, s.rho, truths) for s in spreads]
    except ValueError as problem:
        raise PowerRefused(f"--looks: {problem}") from None
    for spread, found in zip(spreads, every, strict=True):
        for i, (truth, its) in enumerate(found.items()):
            by = " / ".join(f"{100 * share:.0f}" for share in its.decided_by_look) + " %"
            blocks = f"{its.expected_blocks:.1f}" + ("" if its.saves else " (no saving)")
            claims = (f"{100 * share:.0f} %" for share in (its.claims_equivalent, its.claims_different))
            table.add_row("" if i else spread.model, truth, by, *claims, blocks, f"{its.p90_blocks:.0f}")
    return table


def _runs(n: int | None) -> str:
    from campaign.analysis.statistics.planning import MOST

    return f"> {MOST}" if n is None else str(n)


def _spreads(
    pilot: Path | None, cv_pct: float | None, rho: float | None, metric: str
) -> tuple[list[Spread], float | None]:
    if pilot is None:
        spread = Spread("any model", ASSUMED_CV_PCT if cv_pct is None else cv_pct, rho or 0.0, None)
        _check(spread)
        return [spread], None
    from campaign.analysis import inputs, views

    con = views.connect(pilot)
    if con.execute("SELECT coalesce(any_value(simulated), false) FROM campaign").fetchall() == [(True,)]:
        raise PowerRefused(
            f"{pilot}: a rehearsal, whose spread was asked for and not measured. Give a pilot's folder, or --cv-pct"
        )
    rows = con.execute(
        """WITH arms AS (
            SELECT model, sqrt(avg(cv_pct ** 2)) AS cv_pct, min(n) AS n FROM descriptives WHERE metric = $1 AND n >= 3
            GROUP BY model
        ),
        blocks AS (
            SELECT model, corr(reference_value, treatment_value) AS rho, count(*) AS pairs FROM pairs WHERE metric = $1
            GROUP BY model
        )
        SELECT arms.model, cv_pct, CASE WHEN pairs >= 5 THEN rho END, n FROM arms LEFT JOIN blocks USING (model)
        ORDER BY model""",
        [metric],
    ).fetchall()
    found = [
        Spread(model, float(cv or cv_pct or 0), _bounded(rho if rho is not None else r), runs)
        for model, cv, r, runs in rows
        if cv or cv_pct
    ]
    if not found:
        raise PowerRefused(
            f"{pilot} has no arm with three runs of {metric} that vary; run a longer pilot, "
            "or assume a spread with --cv-pct"
        )
    for spread in found:
        _check(spread)
    margin: Any = inputs.settings(con)
    return found, margin["margin_pct"] if margin["margin_declared"] else None


def _bounded(rho: float | None) -> float:
    """A pilot's correlation is a guess: none below zero is planned on,
    and none so near one that blocks need no runs."""
    return 0.0 if rho is None or math.isnan(rho) else min(max(rho, 0.0), 0.95)


def _check(spread: Spread) -> None:
    if not 0 < spread.cv_pct < math.inf or not -1 < spread.rho < 1:
        raise PowerRefused(
            f"{spread.model}: the coefficient of variation must be above 0 % and the correlation between -1 and 1, "
            f"not {spread.cv_pct:g} % and {spread.rho:g}"
        )
