"""One comparison: two arms, one metric, one analysis set, every test of the specification."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from campaign.analysis.result import get
from campaign.analysis.statistics import deciding, two_arms
from campaign.analysis.statistics.bootstrap import (
    Intervals,
    Resampled,
    resampled_blocks,
    resampled_difference,
    resampled_overhead,
)
from campaign.analysis.statistics.descriptive import describe, is_constant, moments, outliers
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.effects import independent_effect, labels
from campaign.analysis.statistics.equivalence import MARGINS_PCT, Margins, tost_absolute, tost_ratio
from campaign.analysis.statistics.independent import decide, shapiro
from campaign.analysis.statistics.order import complete_blocks, order_balance, resembles_time
from campaign.analysis.statistics.paired import Blocks, paired
from campaign.analysis.statistics.power import posthoc
from campaign.analysis.statistics.ratio import NOT_DISTINGUISHABLE, independent_ratio
from campaign.analysis.statistics.seeds import derived_seed
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.verdict import BLOCKS_FOR_HEADLINE

FEWEST = 3
SMALL = 10
INFERENTIAL = ("normality", "effect", "ratio", "tost_ratio", "tost_abs", "power", "decision")


def inferential() -> tuple[str, ...]:
    """Keys of a comparison that only values permit."""
    return (*INFERENTIAL, *two_arms.tests())


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


def compare(
    treatment: Sample,
    reference: Sample,
    better: int,
    *,
    blocked: bool,
    m: int = 30,
    margins: Margins = MARGINS_PCT,
) -> dict[str, Any]:
    """Everything about ``treatment`` against ``reference`` but the bootstrap, the randomisation test and the verdict.

    ``better`` is 1 where higher is better, -1 where lower is, 0 for neither. ``layers`` holds what may decide
    (``deciding.Layer``) by the name of its test, and is for the judgement only. ``m`` is the number of planned
    comparisons behind the ``*_bonferroni`` fields. Fields that the data do not permit are None; the reason is in
    ``status``, or in ``reasons`` by field.
    """
    t, r = treatment.value, reference.value
    status = status_of(t, r)
    out: dict[str, Any] = {
        "status": status,
        "cautions": [],
        "desc": {"treatment": describe(t), "reference": describe(r)},
        "diff": None,
        "pct_change": None,
        "overhead_pct": None,
        "reasons": {},
    }
    if status not in ("no_data", "missing_arm"):
        out |= _difference(moments(t).mean, moments(r).mean, better)
    out |= dict.fromkeys(inferential())
    out["outliers"] = outliers(t, r, (treatment.run_ids, reference.run_ids))
    if status == "ok":
        out |= _inference(t, r, better, m, margins)
        if min(len(t), len(r)) < SMALL:
            out["cautions"] = ["small_n", "bootstrap_small_n"]
    out["paired"] = _pairs(treatment, reference, better, blocked=blocked, m=m, margins=margins)
    out["bootstrap"] = Resampled()
    out["order"] = order_balance(treatment, reference)
    out["layers"] = _layers(treatment, reference, blocked) if status == "ok" else {}
    # Asked only where it can change which layer leads.
    few = status == "ok" and out["paired"].n_pairs < BLOCKS_FOR_HEADLINE
    out["time_matters"] = resembles_time(treatment, reference) if few else None
    return out


def _layers(treatment: Sample, reference: Sample, blocked: bool) -> dict[str, deciding.Layer]:
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


def _difference(m_t: float, m_r: float, better: int) -> dict[str, float | None]:
    percent = 100 * (m_t / m_r - 1) if m_r else None
    overhead = None if percent is None or better == 0 else -better * percent
    return {"diff": m_t - m_r, "pct_change": percent, "overhead_pct": None if overhead is None else overhead + 0.0}


def _inference(t: FloatArray, r: FloatArray, better: int, m: int, margins: Margins) -> dict[str, Any]:
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
    return found | {
        "normality": normality,
        "effect": effect,
        "ratio": ratio,
        "tost_ratio": tost_ratio(t, r, better, margins),
        "tost_abs": tost_absolute(t, r),
        "power": posthoc(effect.cohens_d, len(t), len(r), m, sd=effect.sd_pooled, mean_reference=moments(r).mean),
        "decision": decide(normality, get(brown_forsythe, "p"), p, labels(effect.cohens_d)),
        "reasons": reasons,
    }


def _pairs(treatment: Sample, reference: Sample, better: int, *, blocked: bool, m: int, margins: Margins) -> Blocks:
    t, r = complete_blocks(treatment, reference)
    if not blocked:
        return Blocks(n_pairs=0, status="no_blocks")
    found = paired(treatment.value[t], reference.value[r], better, m, margins)
    return replace(found, n_incomplete=len(treatment) + len(reference) - 2 * len(t))


def bootstrap(
    comparison: dict[str, Any],
    treatment: Sample,
    reference: Sample,
    campaign_seed: int,
    names: tuple[str, str, str, str],
    better: int,
) -> Resampled:
    """The three BCa intervals of a comparison; nothing unless its status is ``ok``.

    ``names`` are model, metric, contrast and analysis set: they and the statistic name the random stream.
    """
    if comparison["status"] != "ok":
        return Resampled()
    model, metric, contrast, analysis_set = names

    def seed_of(statistic: str) -> int:
        return derived_seed(campaign_seed, model, metric, contrast, statistic, analysis_set)

    of_blocks = None
    if comparison["paired"].status == "ok":
        t, r = complete_blocks(treatment, reference)
        of_blocks = resampled_blocks(treatment.value[t] - reference.value[r], seed_of)
    return Intervals(
        resampled_difference(treatment.value, reference.value, seed_of),
        resampled_overhead(treatment.value, reference.value, better, seed_of),
        of_blocks,
    )


empty_sample = partial(Sample, [], np.array([], dtype=np.int64), np.array([]), np.array([]), np.array([]))
"""A sample without a run, for an arm that never ran."""
