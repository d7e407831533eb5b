"""The same pair of arms on several units: what each says alone, and every figure over them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from campaign.analysis.result import INLINE, LEFT_OUT, Result, as_json
from campaign.analysis.statistics import meta, mixed
from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import FloatArray, f_upper, t_quantile, t_two_sided
from campaign.analysis.statistics.order import complete_blocks, was_blocked
from campaign.analysis.statistics.paired import paired_t
from campaign.analysis.statistics.ratio import mean_covariance
from campaign.analysis.statistics.sets import Sample

Arms = tuple[Sample, Sample, FloatArray]
"""Treatment, reference and the (order, repetition) of all runs of the model on the unit; shape (k, 2)."""
Pairs = Mapping[str, tuple[FloatArray, FloatArray]]
"""Unit to the values of its complete blocks, treatment and reference."""


@dataclass(frozen=True)
class UnitWithoutBlocks(Result):
    """A unit whose ``n`` repetitions that both arms hold are no blocks, so that pairing them means nothing."""

    n: int
    reason: str = "no_blocks"


@dataclass(frozen=True, kw_only=True)
class UnitEstimate(Result):
    """Treatment against reference on one unit, over its ``n`` complete blocks: the mean difference in the metric's
    unit, and the logarithm of the ratio of means with its variance (None where a mean is not positive). All None below
    three blocks; the error and p of the difference also where it does not vary. The ``reason`` says which."""

    n: int
    mean_diff: float | None = None
    se_diff: float | None = None
    p_paired: float | None = None
    log_ratio: float | None = None
    var_log_ratio: float | None = None
    reason: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True)
class OneSample(Result):
    """The t test of a mean; limits at 95 %. t and p are None where the values do not vary."""

    estimate: float
    se: float
    t: float | None
    df: float
    p: float | None
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class LogRatio(OneSample):
    """Of the units' log ratios, in 100 ln ratio, with the ratio itself."""

    units: str = meta.UNITS
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class LogRatios(Result):
    """Every synthesis of the units' log ratios; all None where a unit has none."""

    two_stage_log_ratio: LogRatio | None = None
    meta_PM_hksj: meta.RandomEffects | None = None
    meta_DL_hksj: meta.RandomEffects | None = None
    meta_REML_hksj: meta.RandomEffects | None = None
    meta_fixed: meta.FixedEffect | None = None


@dataclass(frozen=True)
class Interaction(Result):
    """Does the effect differ between units?"""

    F: float
    df1: int
    df2: int
    p: float


@dataclass(frozen=True)
class Models(Result):
    """Mixed models over all runs; None where they were not asked for, or where no value varies."""

    lmm_random_intercepts: mixed.RandomIntercepts | None = None
    lmm_random_slope: mixed.RandomSlope | None = None


@dataclass(frozen=True)
class OverUnits(Result):
    """Every figure over the units; all None below two units with blocks that differ."""

    two_stage_diff: OneSample | None = None
    log_ratios: Annotated[LogRatios, INLINE] = LogRatios()
    unit_by_treatment_F: Interaction | None = None
    fixed_blocks: OneSample | None = None
    models: Annotated[Models, INLINE] = Models()


@dataclass(frozen=True)
class Units(Result):
    """A pair of arms and a metric on ``k_units`` units. ``reason`` says why there is nothing over them, ``headline``
    names what is to be read where there is."""

    k_units: int
    per_unit: dict[str, UnitEstimate | UnitWithoutBlocks]
    over: Annotated[OverUnits, INLINE] = OverUnits()
    reason: Annotated[str | None, LEFT_OUT] = None
    headline: Annotated[str | None, LEFT_OUT] = None
    caution: Annotated[str | None, LEFT_OUT] = None


def analyze_units(samples: Mapping[str, Arms], models: bool = True) -> Units:
    """Per-unit paired estimates, and inference over the k units.

    Population inference is two-stage: one value per unit, t with k - 1. Everything over units is None with reason
    ``single_unit`` at k = 1. The mixed models take most of the time; they are left out without ``models``.
    """
    pairs: dict[str, tuple[FloatArray, FloatArray]] = {}
    per_unit: dict[str, UnitEstimate | UnitWithoutBlocks] = {}
    usable: list[UnitEstimate] = []
    for unit, (treatment, reference, schedule) in samples.items():
        t, r = complete_blocks(treatment, reference)
        blocked = was_blocked(treatment, reference, schedule)
        a, b = treatment.value[t], reference.value[r]
        if not blocked:
            per_unit[unit] = UnitWithoutBlocks(len(t))
            continue
        per_unit[unit] = its = unit_estimate(a, b)
        if its.se_diff is not None:
            pairs[unit] = (a, b)
            usable.append(its)
    found = Units(len(samples), per_unit)
    if len(pairs) < 2:
        return replace(found, reason="single_unit" if len(samples) < 2 else "fewer_than_two_usable_units")
    over = OverUnits(
        _one_sample(np.array([unit.mean_diff for unit in usable])),
        _log_ratios(usable),
        _interaction(pairs),
        _fixed_blocks(pairs),
        _models({unit: samples[unit] for unit in pairs}) if models else Models(),
    )
    few = "two units: t quantile 12.7, the interval is uninformative" if len(pairs) == 2 else None
    return replace(found, over=over, headline="two_stage_log_ratio", caution=few)


def unit_estimate(treatment: FloatArray, reference: FloatArray) -> UnitEstimate:
    """Paired difference and log ratio of means with its delta variance, on one unit."""
    n = len(treatment)
    if n < 3:
        return UnitEstimate(n=n, reason="insufficient_n")
    differences = treatment - reference
    out = UnitEstimate(n=n, mean_diff=float(differences.mean()))
    if is_constant(differences, float(np.abs(treatment).max())):
        out = replace(out, reason="deterministic")
    else:
        result = paired_t(differences)
        out = replace(out, se_diff=result.sd_diff / math.sqrt(n), p_paired=result.p)
    m_t, m_r = float(treatment.mean()), float(reference.mean())
    if m_t > 0 and m_r > 0:
        v_tt, v_rr, v_tr = mean_covariance(treatment, reference)
        variance = v_tt / m_t**2 + v_rr / m_r**2 - 2 * v_tr / (m_t * m_r)
        out = replace(out, log_ratio=math.log(m_t / m_r), var_log_ratio=variance)
    return out


def _log_ratios(units: list[UnitEstimate]) -> LogRatios:
    if not all(unit.var_log_ratio is not None and unit.var_log_ratio > 0 for unit in units):
        return LogRatios()
    y = 100 * np.array([unit.log_ratio for unit in units])
    v = 1e4 * np.array([unit.var_log_ratio for unit in units])
    stage = _one_sample(y)
    ratio, low, high = (math.exp(limit / 100) for limit in (stage.estimate, stage.ci_low, stage.ci_high))
    return LogRatios(
        LogRatio(**as_json(stage), ratio=ratio, ratio_low=low, ratio_high=high),
        meta.random_effects(y, v, "PM"),
        meta.random_effects(y, v, "DL"),
        meta.random_effects(y, v, "REML"),
        meta.fixed_effect(y, v),
    )


def _models(samples: Mapping[str, Arms]) -> Models:
    runs = _long(samples)
    if is_constant(runs[0]):
        return Models()
    return Models(mixed.random_intercepts(*runs), mixed.random_slope(*runs))


def _one_sample(x: FloatArray) -> OneSample:
    k = len(x)
    estimate, se = float(x.mean()), float(x.std(ddof=1)) / math.sqrt(k)
    reach = t_quantile(0.975, k - 1) * se
    t = estimate / se if se > 0 else None
    p = None if t is None else t_two_sided(t, k - 1)
    return OneSample(estimate, se, t, k - 1, p, estimate - reach, estimate + reach)


def _interaction(pairs: Pairs) -> Interaction | None:
    """One-way analysis of variance of the block differences by unit."""
    differences = [a - b for a, b in pairs.values()]
    pooled = np.concatenate(differences)
    df1, df2 = len(differences) - 1, len(pooled) - len(differences)
    within = sum(float(((d - d.mean()) ** 2).sum()) for d in differences)
    between = sum(len(d) * float(d.mean() - pooled.mean()) ** 2 for d in differences)
    if within <= 0 or df2 < 1:
        return None
    f = between / df1 / (within / df2)
    return Interaction(f, df1, df2, f_upper(f, df1, df2))


def _fixed_blocks(pairs: Pairs) -> OneSample:
    """y ~ treatment + unit:block: the paired t test over all blocks of all units."""
    its = paired_t(np.concatenate([a - b for a, b in pairs.values()]))
    n = sum(len(a) for a, _ in pairs.values())
    return OneSample(its.mean_diff, its.sd_diff / math.sqrt(n), its.t, its.df, its.p, its.ci_low, its.ci_high)


def _long(samples: Mapping[str, Arms]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """All runs, complete blocks or not, as value, treatment, unit label and block label."""
    y, trt, unit, block = [], [], [], []
    offset = 0
    for number, (treatment, reference, _) in enumerate(samples.values()):
        for flag, sample in ((1.0, treatment), (0.0, reference)):
            y.append(sample.value)
            trt.append(np.full(len(sample), flag))
            unit.append(np.full(len(sample), float(number)))
            block.append(sample.repetition.astype(float) + offset)
        offset += 1 + int(max(treatment.repetition.max(), reference.repetition.max()))
    return tuple(np.concatenate(part) for part in (y, trt, unit, block))  # type: ignore[return-value]
