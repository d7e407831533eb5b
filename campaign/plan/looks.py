"""How long a sequential campaign takes: expected days, and the worst case, by the rule that will decide,
for spreads as they are met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from campaign.analysis import looks

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.analysis.statistics.sequential.ahead import Ahead
    from campaign.analysis.statistics.sequential.design import Design
    from campaign.config.schema import Campaign
    from campaign.plan.forecast import Forecast

CVS_PCT = (0.2, 0.3, 0.5, 1.0)
"""Run-to-run coefficients of variation that are shown where none was measured;
0.14 to 0.48 % are published for this machine."""
CORRELATION = 0.8
"""Of the metrics of a model: latency is nearly the inverse of throughput."""
DRAWS = 4_000
SEED = 20_250


@dataclass(frozen=True)
class Expected:
    """Of all models at one spread, without a difference between the arms."""

    cv_pct: float
    of: Ahead
    expected_s: float
    p90_s: float
    worst_s: float


def expected(campaign: Campaign, ahead: Forecast, cvs_pct: Sequence[float] = CVS_PCT) -> list[Expected]:
    """One for each spread; empty without looks."""
    planned = looks.planned(campaign.model_dump(mode="json"))
    if planned is None:
        return []
    block_s: dict[str, float] = {}
    for (model, _, _), seconds in ahead.cell_s.items():
        block_s[model] = block_s.get(model, 0.0) + seconds
    one = sum(block_s.values())
    comparisons = len(planned.of) // len(planned.cells())
    found = []
    for cv in cvs_pct:
        its = model_ahead(planned.design, cv, comparisons)
        blocks = (its.expected_blocks, its.p90_blocks, planned.design.n_max)
        found.append(Expected(cv, its, *(one * count for count in blocks)))
    return found


@lru_cache(maxsize=64)
def model_ahead(design: Design, cv_pct: float, comparisons: int) -> Ahead:
    """A model whose comparisons all have this spread and no difference."""
    import numpy as np

    from campaign.analysis.statistics.sequential.ahead import ahead

    sigma = math.sqrt(2) * cv_pct / 100
    correlation = np.full((comparisons, comparisons), CORRELATION) + (1 - CORRELATION) * np.eye(comparisons)
    return ahead(design, [0.0] * comparisons, [sigma] * comparisons, SEED, correlation=correlation, draws=DRAWS)[1]


def describe(campaign: Campaign, ahead: Forecast) -> RenderableType | None:
    """Looks, size of the levels, and days for each spread; None without looks."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from campaign.plan.forecast import duration

    planned = looks.planned(campaign.model_dump(mode="json"))
    if planned is None:
        return None
    design = planned.design
    table = Table(
        title="Looks: how long it takes without a difference, by run-to-run variation",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    at = " / ".join(map(str, design.looks))
    for heading in ("CV %", f"decided by block {at}", "equivalent", "blocks", "p90", "expected", "worst case"):
        table.add_column(heading, justify="right", no_wrap=heading != f"decided by block {at}")
    for its in expected(campaign, ahead):
        by = " / ".join(f"{100 * share:.0f}" for share in its.of.decided_by_look) + " %"
        saving = "" if its.of.saves else " (no saving)"
        table.add_row(
            f"{its.cv_pct:g}", by, f"{100 * its.of.claims_equivalent:.0f} %", f"{its.of.expected_blocks:.1f}{saving}",
            f"{its.of.p90_blocks:.0f}", duration(its.expected_s), duration(its.worst_s),
        )  # fmt: skip
    return Group(table, Text(words(design), style="dim"))


def words(design: Design) -> str:
    """What the table assumes, and what the levels spend."""
    from campaign.analysis.statistics.sequential import exact_t

    level = design.alpha / design.m
    size = exact_t.size(design.looks, design.of(design.looks, True).nominal(level))
    normal = exact_t.size(design.looks, replace(design, t_levels="normal").of(design.looks, True).nominal(level))
    spent = f"spends {level:.3g} for each of {design.m} comparisons, exact {size:.3g} for Gaussian blocks"
    if design.t_levels == "exact_t":
        spent += f" (normal levels would spend {normal:.3g})"
    return (
        f"{design.spending.type} spending, {design.multiplicity}; {spent}. Simulated by the rule that decides "
        f"({DRAWS} campaigns, metrics of a model correlated {CORRELATION:g}, arms uncorrelated within blocks); a "
        "model stops when all its comparisons are decided. Levels passed on by other models shorten it further."
    )


def of_spread(
    looks_at: Sequence[int], m: int, margin_pct: float, cv_pct: float, rho: float, effects_pct: Mapping[str, float]
) -> dict[str, Ahead]:
    """One comparison with these looks, for several true differences (percent): name to what becomes of it."""
    from campaign.analysis.statistics.sequential.ahead import ahead
    from campaign.analysis.statistics.sequential.design import Design

    design = Design(tuple(looks_at), m, margin_pct, scale="guarded", t_levels="exact_t")
    sigma = math.sqrt(2 * (1 - rho)) * cv_pct / 100
    return {
        name: ahead(design, [math.log1p(effect / 100)], [sigma], SEED, draws=DRAWS)[1] for name,
            effect in effects_pct.items()
    }  # fmt: skip
