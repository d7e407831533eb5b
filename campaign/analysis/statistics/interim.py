"""What may be shown of a campaign that goes on, and of figures that could have been looked at before the end:
no p and no verdict.

A p value or an interval for a fixed number of runs is wrong where somebody may look, and stop, at any moment: watched
after every block from 5 to 30, a 5 % test of no difference rejects in 23 % of campaigns. Estimates are shown with an
interval that holds at every moment at once (:mod:`campaign.analysis.statistics.anytime`); verdicts wait for
the end, or for looks that were planned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from campaign.analysis.margin import Margin
from campaign.analysis.parallel import Work
from campaign.analysis.result import INLINE, Result, as_json, get
from campaign.analysis.statistics import compare as comparing
from campaign.analysis.statistics.anytime import AnyTime, any_time
from campaign.analysis.statistics.cells import fatal, flags_of, samples_of, series_of
from campaign.analysis.statistics.claims import OPEN, Claim, Limits, Said
from campaign.analysis.statistics.comparison import Names, names_of
from campaign.analysis.statistics.contrasts import Contrast, plan_contrasts
from campaign.analysis.statistics.descriptive import Arm, describe, moments
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.judgement import family_of
from campaign.analysis.statistics.metrics import Fact
from campaign.analysis.statistics.order import OrderBalance, complete_blocks, interleaved, order_balance
from campaign.analysis.statistics.sets import PROTOCOL, Accounting, Sample, accounting, exclusions
from campaign.analysis.statistics.settings import Settings, settings_of
from campaign.analysis.statistics.table import Cell, RunTable, alike, check_runs
from campaign.analysis.statistics.time_series import Series
from campaign.analysis.statistics.verdict import not_interpretable

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
BLOCKS_TO_JUDGE_ORDER = 3
WHY_NO_INTERVAL = {
    "no_blocks": "no block is complete in both arms",
    "too_few_blocks": "too few for an interval that holds at any time",
    "no_variation": "the same in every block, so that no interval can be told",
}


@dataclass(frozen=True)
class Undecided(Result):
    """The margin that a verdict would rest on, and the family that the interval is shared with; None for neither."""

    margin_pct: float
    margin_declared: bool
    family: str | None
    m_planned: int | None


@dataclass(frozen=True)
class ByLooks(Result):
    """What the verdict of looks rests on: p of difference and of equivalence, plain and adjusted for the ``m_planned``
    comparisons; None where no look was tested."""

    test: str
    p: float | None
    p_adjusted: float | None
    tost_p: float | None
    tost_p_adjusted: float | None
    adjustment: str
    family: str
    m_planned: int
    margin_pct: float
    margin_declared: bool


@dataclass(frozen=True)
class Stated(Result):
    """The verdict, or that there is none, and its claim; ``overhead_pct`` is positive where the treatment is worse."""

    pct_change: float | None
    overhead_pct: float | None
    verdict: str
    verdict_detail: Undecided | ByLooks
    said: Annotated[Said, INLINE]


@dataclass(frozen=True)
class Pairs(Result):
    """Complete blocks, of which nothing is inferred."""

    n_pairs: int


@dataclass(frozen=True)
class ComparedSoFar(Result):
    """A comparison of the headline set as it stands."""

    names: Annotated[Names, INLINE]
    analysis_set: str
    status: str
    flags: list[str]
    desc: dict[str, Arm]
    interleaved: bool | None
    order: OrderBalance
    paired: Pairs
    exclusions: dict[str, list[str]]
    accounting: Accounting
    diff: float | None
    stated: Annotated[Stated, INLINE]
    cautions: list[str] = field(default_factory=list)

    @property
    def claim(self) -> Claim:
        return self.stated.said.claim_detail.its


@dataclass(frozen=True)
class SoFar(Result):
    """Every comparison as it stands, and what order and time explain of them where that is asked."""

    comparisons: list[ComparedSoFar]
    series: list[Series]


Decided = Callable[[ComparedSoFar], ComparedSoFar]
"""A comparison to the same with what was decided of it meanwhile."""


def so_far(table: RunTable, settings: Settings, verdict: str, *, diagnostics: bool) -> SoFar:
    """Every comparison of the headline set of attempts, with the verdict ``unfinished``, ``continuing`` or
    ``not_tested`` (``claims.OPEN``).

    The comparisons of the confirmatory and derived metrics hold together, each at 0.05 by the number that was planned;
    every other at 0.05 alone. ``diagnostics`` adds what order and time explain, which has p values.
    """
    assert verdict in OPEN
    runs = alike(table)
    confirmatory = any(fact.role == "confirmatory" for fact in settings.facts.values())
    found, series = list[ComparedSoFar](), list[Series]()
    for cell in runs.cells:
        arms = runs.environments[cell.phase]
        for contrast in plan_contrasts(cell.phase, arms, settings.roles(arms)):
            for metric in runs.metrics:
                found.append(_one(cell, contrast, metric, settings, verdict, confirmatory))
                series += series_of(cell, contrast, metric, settings) if diagnostics else []
    return SoFar(found, series)


def compare_so_far(
    table: pd.DataFrame, verdict: str, *, diagnostics: bool, decided: Decided = lambda its: its, **told: Any
) -> Work:
    """:func:`so_far` as a work of one job, its conclusion as that of ``runs.compare_runs``,
    whose arguments ``told`` are."""
    runs = check_runs(table)
    settings = settings_of(
        runs, told["reference"], told["seed"], told["m_planned"], told["margin_pct"], told["planned"],
        told["planned_repetitions"], told["refused"], None, told["units"], told["roles"],
    )  # fmt: skip

    def conclude(found: list[SoFar]) -> dict[str, Any]:
        (its,) = found
        return {
            "settings": {"margin_pct": settings.margin_pct, "margin_not_declared": sorted(settings.undeclared)},
            "comparisons": [as_json(decided(one)) for one in its.comparisons],
            "families": {},
            "series": [as_json(entry) for entry in its.series],
            "over_units": [],
            "screen_by_metric": {},
            "validation_by_metric": {},
        }

    return Work([partial(so_far, runs, settings, verdict, diagnostics=diagnostics)], conclude)


def _one(
    cell: Cell, contrast: Contrast, metric: str, settings: Settings, verdict: str, confirmatory: bool
) -> ComparedSoFar:
    arms = [cell.arms[name] for name in (contrast.treatment, contrast.reference) if name in cell.arms]
    t, r = samples_of(cell, contrast, metric, PROTOCOL)
    status, _ = fatal(cell, contrast, settings)
    fact = settings.facts[metric]
    names = names_of(cell, contrast, metric)
    level, family, m = _level(names, settings, confirmatory)
    seen = any_time(*_blocks(t, r), level)
    alone = any_time(*_blocks(t, r), ALPHA)
    margin = Margin(settings.margin_pct[metric], metric not in settings.undeclared)
    claim = open_claim(names, (t, r), seen, alone, (level, family, m), fact, margin, status or verdict)
    return ComparedSoFar(
        names=names,
        analysis_set=PROTOCOL,
        status=status or comparing.status_of(t.value, r.value),
        flags=[*flags_of(arms, metric), *(["settings_differ"] if names.settings_differ else [])],
        desc={"treatment": describe(t.value), "reference": describe(r.value)},
        interleaved=interleaved(t, r),
        order=order_balance(t, r),
        paired=Pairs(len(complete_blocks(t, r)[0])),
        exclusions=exclusions(arms, metric),
        accounting=_without_p(cell, contrast, metric, settings),
        diff=moments(t.value).mean - moments(r.value).mean if len(t) and len(r) else None,
        stated=stated(claim, Undecided(margin.pct, margin.declared, family, m)),
    )


def stated(claim: Claim, detail: Undecided | ByLooks) -> Stated:
    """What ``claim`` says of a comparison, and what its verdict rests on."""
    percent = claim.effect if claim.scale == "ratio" else None
    worse = {"higher": -1, "lower": 1}.get(claim.better or "")
    overhead = None if percent is None or worse is None else worse * percent
    return Stated(percent, overhead, claim.verdict, detail, claim.said)


def _level(names: Names, settings: Settings, confirmatory: bool) -> tuple[float, str | None, int | None]:
    """Error level of the interval, the family that shares it, and how many were planned in it."""
    family = family_of(names, settings.facts, confirmatory)
    m = settings.planned.get(family)
    return (ALPHA, None, None) if m is None or m < 1 else (ALPHA / m, family, m)


def _blocks(t: Sample, r: Sample) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    at_t, at_r = complete_blocks(t, r)
    times = np.minimum(t.order[at_t], r.order[at_r])
    return t.value[at_t], r.value[at_r], None if np.isnan(times).any() or not len(times) else times


def _without_p(cell: Cell, contrast: Contrast, metric: str, settings: Settings) -> Accounting:
    planned = settings.planned_repetitions or cell.planned
    found = accounting(cell.arms.get(contrast.treatment), cell.arms.get(contrast.reference), metric, planned)
    return replace(found, failed_fisher_p=None, throttled_fisher_p=None)


def open_claim(
    names: Names,
    samples: tuple[Sample, Sample],
    seen: AnyTime,
    alone: AnyTime,
    level: tuple[float, str | None, int | None],
    fact: Fact,
    margin: Margin,
    verdict: str,
) -> Claim:
    """A claim that decides nothing. ``level`` is that of ``seen``, with its family and how many that counts."""
    reason = None if seen.reason is None else WHY_NO_INTERVAL[seen.reason]
    if verdict in OPEN:
        runs, enough = len(samples[0]) + len(samples[1]), seen.n >= BLOCKS_TO_JUDGE_ORDER
        mixed, order = (interleaved(*samples), order_balance(*samples)) if enough else (None, OrderBalance())
        why = not_interpretable(names, mixed, order, runs)
        verdict, reason = (verdict, reason) if why is None else ("not_interpretable", why)
    at_t, at_r = complete_blocks(*samples)
    values = {"treatment": samples[0].value[at_t], "reference": samples[1].value[at_r]}
    described = {f"{name}_{arm}": get(describe(x), name) for arm, x in values.items() for name in ("mean", "sd")}
    interval = _limits(level[0], seen)
    return Claim(
        metric=names.metric,
        label=fact.label,
        unit_of_measure=fact.unit_of_measure,
        treatment=names.treatment,
        reference=names.reference,
        verdict=verdict,
        reason=reason,
        analysis_set=PROTOCOL,
        decided_on="complete blocks" if seen.n else None,
        test="any_time" if interval else None,
        n_reference=seen.n,
        n_treatment=seen.n,
        **described,
        scale="ratio" if seen.percent else "difference",
        effect=seen.estimate,
        interval=interval if verdict in OPEN else None,
        difference_interval=interval,
        equivalence_interval=None,
        alone=_limits(ALPHA, alone),
        family=level[1],
        m_planned=level[2],
        adjustment=None,
        margin_pct=margin.pct,
        margin_declared=margin.declared,
        better=fact.better,
        better_source=fact.source,
        noninferior=None,
        needs=None,
        screening=names.kind == "screen",
        worth=seen.worth,
    )


def _limits(alpha: float, seen: AnyTime) -> Limits | None:
    return None if seen.low is None else Limits(100 * (1 - alpha), seen.low, seen.high)
