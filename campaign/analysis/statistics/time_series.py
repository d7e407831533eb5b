"""Order, carry-over and start temperature: what the schedule may have done to the difference (interleaved arms)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from campaign.analysis.result import INLINE, LEFT_OUT, Result, get
from campaign.analysis.statistics import ols
from campaign.analysis.statistics.bootstrap import MovingBlocks, moving_blocks
from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import BoolArray, FloatArray, IntArray, f_upper
from campaign.analysis.statistics.drift import SeriesChecks, series_checks
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.ols import Coefficient
from campaign.analysis.statistics.order import complete_blocks, interleaved, scale
from campaign.analysis.statistics.paired import NeweyWest, newey_west, paired_t
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.two_arms.welch import test as welch

Ran = tuple[FloatArray, BoolArray]
"""Places in time of all attempts on a unit that really ran, ascending, and which of them were of the treatment arm."""


@dataclass(frozen=True)
class Difference(Result):
    """Of the means, treatment minus reference in the metric's unit, with the p of a plain test."""

    p: float
    diff: float


@dataclass(frozen=True)
class StartTemperature(Result):
    """Mean of each arm, °C; the p of Welch's test is None below three runs or where no temperature varies."""

    treatment: float
    reference: float
    welch_p: float | None


@dataclass(frozen=True)
class Covariate(Result):
    """y ~ treatment + a state from *before* the run. The interaction asks whether the slope differs between the arms;
    None where a model fits exactly or cannot be estimated."""

    trt: Coefficient | None
    slope: Coefficient | None
    interaction_p: float | None
    hc3_se_trt: float | None
    """Standard error of the treatment, whatever the variances."""


@dataclass(frozen=True)
class Ancova(Result):
    """A :class:`Covariate` where the state is the start temperature, °C."""

    trt: Coefficient | None
    start_temp_slope: Coefficient | None
    interaction_p: float | None
    hc3_se_trt: float | None


@dataclass(frozen=True)
class OrderEffect(Result):
    """The effect free of the period, and the period: what being second in a block does, in the metric's unit. None
    where the fit is exact."""

    treatment_adjusted: Coefficient | None
    period_effect: Coefficient | None
    n_reference_first: int
    n_treatment_first: int


@dataclass(frozen=True)
class SequenceSums(Result):
    """Welch's test of block sums, treatment-first minus reference-first."""

    diff: float
    t: float
    df: float
    p: float


@dataclass(frozen=True)
class WithinBlocks(Result):
    """y ~ treatment + block."""

    trt: Coefficient


@dataclass(frozen=True)
class BlockChecks(Result):
    """Complete blocks in time; all None where there are none. What fewer than three blocks or differences without
    variation forbid is None too; the last two are of blocks that resemble their neighbours alone."""

    paired: Difference | None = None
    paired_differences: SeriesChecks | None = None
    order_effect: OrderEffect | None = None
    sequence_sum_test: SequenceSums | None = None
    ols_block: WithinBlocks | None = None
    newey_west: Annotated[NeweyWest | None, LEFT_OUT] = None
    moving_block_bootstrap: Annotated[MovingBlocks | None, LEFT_OUT] = None


@dataclass(frozen=True)
class OrderCoefficients(Result):
    """y ~ treatment + second in the block + treatment ran before + place in time; None where the fit is exact."""

    trt: Coefficient | None
    position2: Coefficient | None
    prev_treatment: Coefficient | None
    sequence_index: Coefficient | None


@dataclass(frozen=True)
class OrderModels(Result):
    """Models with the arm that ran before; all None where there are no blocks. That arm cannot be told from the blocks
    where it is aliased with them."""

    ols_order: OrderCoefficients | None = None
    prev_aliased_with_blocks: bool | None = None
    ols_prev_block: Coefficient | None = None


@dataclass(frozen=True, kw_only=True)
class TimeSeries(Result):
    """What order and time explain of a comparison. ``reason`` says why there are no blocks; ``flags`` are at 0.05 each:
    with seven of them per comparison, false alarms are to be expected."""

    interleaved: bool | None
    run_residuals: SeriesChecks
    welch: Difference | None
    ancova: Ancova | None
    start_temperature: StartTemperature | None
    covariates: dict[str, Covariate | None]
    """By the name of the state."""
    blocks: Annotated[BlockChecks, INLINE]
    models: Annotated[OrderModels, INLINE]
    reason: Annotated[str | None, LEFT_OUT] = None
    flags: list[str]


@dataclass(frozen=True)
class OrderNotRecorded(Result):
    """Runs whose place in time nobody recorded."""

    interleaved: None = None
    flags: list[str] = field(default_factory=list)
    reason: str = "order_not_recorded"


@dataclass(frozen=True)
class Series(Result):
    """The runs of a comparison in time, with the names of what is compared."""

    model: str
    metric: str
    reference: str
    treatment: str
    unit: str | None
    phase: str | None
    found: Annotated[TimeSeries | OrderNotRecorded, INLINE]


def time_series(treatment: Sample, reference: Sample, blocked: bool, seed: int, ran: Ran) -> TimeSeries:
    """Section 9.3 of docs/methodology.md for one comparison: residuals in time, block differences, order,
    carry-over, temperature and flags."""
    order = np.concatenate([treatment.order, reference.order])
    sort = np.argsort(order, kind="stable")
    y = np.concatenate([treatment.value, reference.value])[sort]
    trt = np.concatenate([np.ones(len(treatment)), np.zeros(len(reference))])[sort]
    repetition = np.concatenate([treatment.repetition, reference.repetition])[sort]
    temperature = np.concatenate([treatment.temperature, reference.temperature])[sort]
    residuals = y - np.where(trt == 1, treatment.value.mean(), reference.value.mean())
    mixed = interleaved(treatment, reference)
    checks = series_checks(residuals, scale(treatment, reference))
    warmth = ancova(y, trt, temperature)
    blocks, models, reason = BlockChecks(), OrderModels(), None
    if mixed and blocked:
        blocks = _block_checks(treatment, reference, seed)
        models = order_models(y, trt, repetition, order[sort], ran)
    else:
        reason = "not_interleaved" if mixed is False else "no_blocks"
    return TimeSeries(
        interleaved=mixed,
        run_residuals=checks,
        welch=_welch(treatment.value, reference.value),
        ancova=warmth,
        start_temperature=_start_temperature(treatment, reference),
        covariates={
            name: covariate(y, trt, np.concatenate([treatment.covariates[name], reference.covariates[name]])[sort])
            for name in treatment.covariates
            if name in reference.covariates
        },
        blocks=blocks,
        models=models,
        reason=reason,
        flags=_flags(mixed, checks, warmth, blocks, models),
    )


def _welch(treatment: FloatArray, reference: FloatArray) -> Difference | None:
    if min(len(treatment), len(reference)) < 3 or (is_constant(treatment) and is_constant(reference)):
        return None
    result = welch(treatment, reference)
    return Difference(result.p, float(treatment.mean() - reference.mean()))


def _start_temperature(treatment: Sample, reference: Sample) -> StartTemperature | None:
    t, r = treatment.temperature, reference.temperature
    if np.isnan(t).any() or np.isnan(r).any():
        return None
    p = None
    if min(len(t), len(r)) >= 3 and not (is_constant(t) and is_constant(r)):
        p = welch(t, r).p
    return StartTemperature(float(t.mean()), float(r.mean()), p)


def _block_checks(treatment: Sample, reference: Sample, seed: int) -> BlockChecks:
    t, r = complete_blocks(treatment, reference)
    differences = treatment.value[t] - reference.value[r]
    sums = treatment.value[t] + reference.value[r]
    reference_first = reference.order[r] < treatment.order[t]
    usable = len(t) >= 3 and not is_constant(differences, scale(treatment, reference))
    result = paired_t(differences) if usable else None
    checks = series_checks(differences, scale(treatment, reference))
    alike = checks.ljung_box_p is not None and checks.ljung_box_p < ALPHA
    return BlockChecks(
        paired=Difference(result.p, result.mean_diff) if result else None,
        paired_differences=checks,
        order_effect=order_effect(differences, reference_first) if usable else None,
        sequence_sum_test=_sequence_sums(sums, reference_first),
        ols_block=_within_blocks(differences) if usable else None,
        newey_west=newey_west(differences) if alike else None,
        moving_block_bootstrap=moving_blocks(differences, seed) if alike else None,
    )


def order_effect(differences: FloatArray, reference_first: BoolArray) -> OrderEffect | None:
    """Block differences on +1 (reference first) or -1: the intercept is the effect free of period,
    the slope the period."""
    first, second = int(reference_first.sum()), int((~reference_first).sum())
    x = np.column_stack([np.ones(len(differences)), np.where(reference_first, 1.0, -1.0)])
    result = ols.fit(x, differences)
    if result is None:
        return None
    return OrderEffect(ols.coefficient(result, 0), ols.coefficient(result, 1), first, second)


def _sequence_sums(sums: FloatArray, reference_first: BoolArray) -> SequenceSums | None:
    """Welch on block sums, treatment-first minus reference-first: carry-over, aliased with the sequence."""
    a, b = sums[~reference_first], sums[reference_first]
    if min(len(a), len(b)) < 2 or (is_constant(a) and is_constant(b)):
        return None
    result = welch(a, b)
    return SequenceSums(float(a.mean() - b.mean()), result.t, result.df, result.p)


def _within_blocks(differences: FloatArray) -> WithinBlocks:
    """y ~ treatment + block over complete blocks: algebraically the paired t test."""
    its = paired_t(differences)
    se = its.sd_diff / len(differences) ** 0.5
    return WithinBlocks(Coefficient(its.mean_diff, se, its.t, its.p, its.df, its.ci_low, its.ci_high))


def order_models(y: FloatArray, trt: FloatArray, repetition: IntArray, order: FloatArray, ran: Ran) -> OrderModels:
    """Models with the arm that really ran before, kept in the analysis or not; a run with none before it is dropped.

    The arm before is the treatment or it is not: with three arms the third counts with the reference.
    """
    position2 = np.zeros(len(y))
    seen: set[int] = set()
    for i, r in enumerate(repetition):
        position2[i] = float(int(r) in seen)
        seen.add(int(r))
    before = np.searchsorted(ran[0], order, side="left") - 1
    kept = before >= 0
    previous = ran[1][before[kept]].astype(float)
    ones = np.ones(len(previous))
    simple = np.column_stack([ones, trt[kept], position2[kept], previous, order[kept]])
    result = ols.fit(simple, y[kept])
    told = None if result is None else OrderCoefficients(*(ols.coefficient(result, i) for i in range(1, 5)))
    blocks = ols.dummies(repetition[kept].astype(float))
    without = np.column_stack([trt[kept], position2[kept], blocks])
    within = np.column_stack([previous, without])
    aliased = ols.rank(within) == ols.rank(without)
    fitted = None if aliased else ols.fit(within, y[kept])
    return OrderModels(told, aliased, None if fitted is None else ols.coefficient(fitted, 0))


def ancova(y: FloatArray, trt: FloatArray, temperature: FloatArray) -> Ancova | None:
    """y ~ treatment + start temperature, as :func:`covariate`."""
    found = covariate(y, trt, temperature)
    return None if found is None else Ancova(found.trt, found.slope, found.interaction_p, found.hc3_se_trt)


def covariate(y: FloatArray, trt: FloatArray, state: FloatArray) -> Covariate | None:
    """y ~ treatment + state over the runs of which it is known, such as free memory; only a state from *before* the run
    may be a covariate.

    None where it is known of fewer than five, where all are equal, and where the fit is exact.
    """
    known = np.isfinite(state)
    y, trt, state = y[known], trt[known], state[known]
    if len(y) < 5 or is_constant(state):
        return None
    centred = state - state.mean()
    x = np.column_stack([np.ones(len(y)), trt, centred])
    result = ols.fit(x, y)
    if result is None or result.rss <= 0:
        return None
    wider = ols.fit(np.column_stack([x, trt * centred]), y)
    interaction = None
    if wider is not None and wider.rss > 0:
        interaction = f_upper((result.rss - wider.rss) / (wider.rss / wider.df), 1, wider.df)
    return Covariate(ols.coefficient(result, 1), ols.coefficient(result, 2), interaction, ols.hc3_se(x, result, 1))


def _flags(
    mixed: bool | None, residuals: SeriesChecks, warmth: Ancova | None, blocks: BlockChecks, models: OrderModels
) -> list[str]:
    """Which diagnostics are below 0.05, and whether one arm ran wholly before the other."""
    shown = {
        "drift": get(residuals, "mann_kendall", "p"),
        "autocorrelation_runs": residuals.ljung_box_p,
        "autocorrelation_pairs": get(blocks, "paired_differences", "ljung_box_p"),
        "period_effect": get(blocks, "order_effect", "period_effect", "p"),
        "carry_over": get(models, "ols_prev_block", "p"),
        "thermal_covariate": get(warmth, "start_temp_slope", "p"),
    }
    flags = [name for name, p in shown.items() if p is not None and p < ALPHA]
    return [*flags, "confounded_with_time"] if mixed is False else flags
