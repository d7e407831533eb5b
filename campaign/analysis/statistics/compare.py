"""One comparison: two arms, one metric, one analysis set, every test of the specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated

import numpy as np

from campaign.analysis.result import INLINE, Result, get
from campaign.analysis.statistics import deciding, two_arms
from campaign.analysis.statistics.bootstrap import (
    Intervals,
    Resampled,
    resampled_blocks,
    resampled_difference,
    resampled_overhead,
)
from campaign.analysis.statistics.descriptive import Arm, Outliers, describe, is_constant, moments, outliers
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.effects import Effect, independent_effect, labels
from campaign.analysis.statistics.equivalence import MARGINS_PCT, Margins, Tost, TostAbsolute, tost_absolute, tost_ratio
from campaign.analysis.statistics.independent import Decision, ShapiroWilk, decide, shapiro
from campaign.analysis.statistics.order import OrderBalance, complete_blocks, order_balance, resembles_time
from campaign.analysis.statistics.paired import Blocks, paired
from campaign.analysis.statistics.power import Posthoc, posthoc
from campaign.analysis.statistics.ratio import NOT_DISTINGUISHABLE, Ratio, independent_ratio
from campaign.analysis.statistics.seeds import derived_seed
from campaign.analysis.statistics.sets import Sample

FEWEST = 3
SMALL = 10
BLOCKS_FOR_HEADLINE = 10
"""Complete blocks from which they lead in any case."""


def status_of(treatment: FloatArray, reference: FloatArray) -> str:
    """What the data permit, before anything is tested."""
    n_t, n_r = len(treatment), len(reference)
    if n_t == 0 and n_r == 0:
        return "no_data"
    if n_t == 0 or n_r == 0:
        return "missing_arm"
    if min(n_t, n_r) < FEWEST:
        return "insufficient_n"
    return "deterministic" if is_constant(treatment) and is_constant(reference) else "ok"


@dataclass(frozen=True)
class Difference(Result):
    """Of the means, in the metric's unit and in percent of the reference; ``overhead_pct`` is positive where the
    treatment is worse. None where it cannot be told."""

    diff: float | None = None
    pct_change: float | None = None
    overhead_pct: float | None = None


@dataclass(frozen=True, kw_only=True)
class Inference(Result):
    """What values permit to infer: None where they do not, with the reason by field where it is the field's own."""

    reasons: dict[str, str] = field(default_factory=dict)
    normality: dict[str, ShapiroWilk | None] | None = None
    effect: Effect | None = None
    ratio: Ratio | None = None
    tost_ratio: dict[str, Tost] | None = None
    tost_abs: dict[str, TostAbsolute] | None = None
    power: Posthoc | None = None
    decision: Decision | None = None
    tests: Annotated[Mapping[str, Result | None], INLINE] = field(
        default_factory=lambda: dict.fromkeys(two_arms.tests())
    )


@dataclass(frozen=True, kw_only=True)
class Compared(Result):
    """Two arms, one metric. What the data do not permit is None; the reason is in ``status``."""

    status: str
    cautions: list[str]
    desc: dict[str, Arm]
    difference: Annotated[Difference, INLINE]
    inference: Annotated[Inference, INLINE]
    outliers: Outliers
    paired: Blocks
    bootstrap: Resampled
    order: OrderBalance
    time_matters: list[str] | None
    """How runs depend on time; None where that cannot change which layer leads."""


def compare(
    treatment: Sample,
    reference: Sample,
    better: int,
    *,
    blocked: bool,
    m: int = 30,
    margins: Margins = MARGINS_PCT,
) -> Compared:
    """Everything about ``treatment`` against ``reference`` but the bootstrap, the randomisation test and the verdict.

    ``better`` is 1 where higher is better, -1 where lower is, 0 for neither. ``m`` is the number of planned comparisons
    behind the ``*_bonferroni`` fields.
    """
    t, r = treatment.value, reference.value
    status = status_of(t, r)
    pairs = _pairs(treatment, reference, better, blocked=blocked, m=m, margins=margins)
    few = status == "ok" and pairs.n_pairs < BLOCKS_FOR_HEADLINE
    return Compared(
        status=status,
        cautions=["small_n", "bootstrap_small_n"] if status == "ok" and min(len(t), len(r)) < SMALL else [],
        desc={"treatment": describe(t), "reference": describe(r)},
        difference=_difference(moments(t).mean, moments(r).mean, better) if len(t) and len(r) else Difference(),
        inference=_inference(t, r, better, m, margins) if status == "ok" else Inference(),
        outliers=outliers(t, r, (treatment.run_ids, reference.run_ids)),
        paired=pairs,
        bootstrap=Resampled(),
        order=order_balance(treatment, reference),
        time_matters=resembles_time(treatment, reference) if few else None,
    )


def layers(treatment: Sample, reference: Sample, blocked: bool) -> dict[str, deciding.Layer]:
    """What may decide a comparison whose status is ``ok``, by the name of its test."""
    found = {"welch": deciding.arms(treatment.value, reference.value)}
    t, r = complete_blocks(treatment, reference)
    if not blocked or len(t) < FEWEST:
        return found
    a, b = treatment.value[t], reference.value[r]
    if not is_constant(a - b, max(abs(moments(arm).mean) for arm in (a, b))):
        found["paired_t"] = deciding.blocks(a, b, _block_times(treatment, reference))
    return found


def _block_times(treatment: Sample, reference: Sample) -> FloatArray | None:
    t, r = complete_blocks(treatment, reference)
    first = np.minimum(treatment.order[t], reference.order[r])
    return None if np.isnan(first).any() else first


def decided_on(treatment: Sample, reference: Sample, test: str) -> tuple[FloatArray, FloatArray]:
    """The values that a verdict by this test rests on: complete blocks, or all runs."""
    if test != "paired_t":
        return treatment.value, reference.value
    t, r = complete_blocks(treatment, reference)
    return treatment.value[t], reference.value[r]


def _difference(m_t: float, m_r: float, better: int) -> Difference:
    percent = 100 * (m_t / m_r - 1) if m_r else None
    overhead = None if percent is None or better == 0 else -better * percent
    return Difference(m_t - m_r, percent, None if overhead is None else overhead + 0.0)


def _inference(t: FloatArray, r: FloatArray, better: int, m: int, margins: Margins) -> Inference:
    normality = {"treatment": shapiro(t), "reference": shapiro(r)}
    found = {key: one.test(t, r, m) for key, one in two_arms.tests().items()}
    brown_forsythe = get(found, "variance", "brown_forsythe")
    effect = independent_effect(t, r)
    ratio = independent_ratio(t, r, better)
    reasons: dict[str, str] = {}
    if ratio is None:
        reasons = dict.fromkeys(("ratio", "tost_ratio", "tost_abs"), "nonpositive_mean")
    elif ratio.fieller_low is None:
        reasons = {"ratio.fieller_low": NOT_DISTINGUISHABLE}
    if brown_forsythe is None:
        reasons["variance.brown_forsythe"] = "no_variation_of_deviations"
    p = {
        "student": get(found, "student", "p"),
        "welch": get(found, "welch", "p"),
        "mannwhitney": get(found, "mwu", "p"),
    }
    return Inference(
        reasons=reasons,
        normality=normality,
        effect=effect,
        ratio=ratio,
        tost_ratio=tost_ratio(t, r, better, margins),
        tost_abs=tost_absolute(t, r),
        power=posthoc(effect.cohens_d, len(t), len(r), m, sd=effect.sd_pooled, mean_reference=moments(r).mean),
        decision=decide(normality, get(brown_forsythe, "p"), p, labels(effect.cohens_d)),
        tests=found,
    )


def _pairs(treatment: Sample, reference: Sample, better: int, *, blocked: bool, m: int, margins: Margins) -> Blocks:
    t, r = complete_blocks(treatment, reference)
    if not blocked:
        return Blocks(n_pairs=0, status="no_blocks")
    found = paired(treatment.value[t], reference.value[r], better, m, margins)
    return replace(found, n_incomplete=len(treatment) + len(reference) - 2 * len(t))


def bootstrap(
    compared: Compared,
    treatment: Sample,
    reference: Sample,
    campaign_seed: int,
    names: tuple[str, str, str, str],
    better: int,
) -> Resampled:
    """The three BCa intervals of a comparison; nothing unless its status is ``ok``.

    ``names`` are model, metric, contrast and analysis set: they and the statistic name the random stream.
    """
    if compared.status != "ok":
        return Resampled()
    model, metric, contrast, analysis_set = names

    def seed_of(statistic: str) -> int:
        return derived_seed(campaign_seed, model, metric, contrast, statistic, analysis_set)

    of_blocks = None
    if compared.paired.status == "ok":
        t, r = complete_blocks(treatment, reference)
        of_blocks = resampled_blocks(treatment.value[t] - reference.value[r], seed_of)
    return Intervals(
        resampled_difference(treatment.value, reference.value, seed_of),
        resampled_overhead(treatment.value, reference.value, better, seed_of),
        of_blocks,
    )


empty_sample = partial(Sample, [], np.array([], dtype=np.int64), np.array([]), np.array([]), np.array([]))
"""A sample without a run, for an arm that never ran."""
