"""Order, carry-over and start temperature: what the schedule may have done to the difference (interleaved arms)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import numpy as np

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics import ols
from campaign.analysis.statistics.bootstrap import moving_blocks
from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import BoolArray, FloatArray, IntArray, f_upper
from campaign.analysis.statistics.drift import series_checks
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.paired import newey_west, paired_t
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.two_arms.welch import test as welch


def interleaved(treatment: Sample, reference: Sample) -> bool | None:
    """False where one arm ran wholly before the other; None where the order is
    unknown or there is only one run each."""
    if len(treatment) == 0 or len(reference) == 0 or max(len(treatment), len(reference)) < 2:
        return None
    if np.isnan(treatment.order).any() or np.isnan(reference.order).any():
        return None
    return not (treatment.order.max() < reference.order.min() or reference.order.max() < treatment.order.min())


IMBALANCED_FROM = 0.5
"""Correlation of the arm with its place in time from which time may be what is compared."""
RUNS_PER_STRETCH = 8
"""Runs for each stretch of one arm beyond which the arms alternate too seldom."""


@dataclass(frozen=True)
class OrderBalance(Result):
    """How evenly two arms are spread over time; all None where their order is not known."""

    stretches: int | None = None
    longest_stretch: Annotated[int | None, Column("longest_stretch")] = None
    arm_time_correlation: Annotated[float | None, Column("arm_time_correlation")] = None
    balanced: bool | None = None


def order_balance(treatment: Sample, reference: Sample) -> OrderBalance:
    """How evenly two arms are spread over time: stretches of one arm, the longest,
    and the correlation of arm with place.

    ``balanced`` is None where the order is not known. It is False where one arm ran wholly before the other, where the
    correlation reaches :data:`IMBALANCED_FROM`, or where the arms change places less than once in
    :data:`RUNS_PER_STRETCH` runs.
    """
    if interleaved(treatment, reference) is None:
        return OrderBalance()
    return _order_balance(treatment.order.tobytes(), reference.order.tobytes())


@lru_cache(maxsize=1024)
def _order_balance(treatment: bytes, reference: bytes) -> OrderBalance:
    t, r = np.frombuffer(treatment), np.frombuffer(reference)
    arm = np.concatenate([np.ones(len(t)), np.zeros(len(r))])[np.argsort(np.concatenate([t, r]), kind="stable")]
    ends = np.flatnonzero(np.diff(arm)) + 1
    lengths = np.diff(np.concatenate([[0], ends, [len(arm)]]))
    correlation = float(np.corrcoef(arm, np.arange(len(arm)))[0, 1])
    few = len(lengths) <= max(2, len(arm) / RUNS_PER_STRETCH)
    balanced = not few and abs(correlation) < IMBALANCED_FROM
    return OrderBalance(len(lengths), int(lengths.max()), correlation, balanced)


def resembles_time(treatment: Sample, reference: Sample) -> list[str]:
    """``drift`` and ``autocorrelation_runs`` where the runs' residuals show them: then runs are not independent
    (docs/methodology.md, 9.4)."""
    order = np.concatenate([treatment.order, reference.order])
    if np.isnan(order).any():
        return []
    residuals = np.concatenate([arm.value - arm.value.mean() for arm in (treatment, reference)])
    checks = series_checks(residuals[np.argsort(order, kind="stable")], _scale(treatment, reference))
    trend = checks["mann_kendall"]
    found = []
    if trend is not None and trend["p"] < ALPHA:
        found.append("drift")
    if checks["ljung_box_p"] is not None and checks["ljung_box_p"] < ALPHA:
        found.append("autocorrelation_runs")
    return found


def _scale(treatment: Sample, reference: Sample) -> float:
    """Size of the values, to which rounding is relative."""
    return float(max(np.abs(arm.value).max() for arm in (treatment, reference)))


def complete_blocks(treatment: Sample, reference: Sample) -> tuple[IntArray, IntArray]:
    """Row indices into both samples of the repetitions that both hold, in the order of the repetitions."""
    return _complete_blocks(treatment.repetition.tobytes(), reference.repetition.tobytes())


# All metrics of a cell were measured on the same schedule, so what only that decides is found out once.


@lru_cache(maxsize=1024)
def _complete_blocks(treatment: bytes, reference: bytes) -> tuple[IntArray, IntArray]:
    left, right = np.frombuffer(treatment, np.int64), np.frombuffer(reference, np.int64)
    _, t, r = np.intersect1d(left, right, return_indices=True)
    return t, r


def was_blocked(treatment: Sample, reference: Sample, others: FloatArray) -> bool:
    """Were the two runs of a repetition neighbours in time, so that pairing them means something?

    ``others`` holds (order, repetition) of every run of this model on this unit, all arms; shape (k, 2). A repetition
    is a block when no run of another repetition lies between its two runs. A design is blocked when at least half of
    them are: repeated attempts may stray, a full randomisation scatters nearly all.
    """
    t, r = complete_blocks(treatment, reference)
    return _was_blocked(
        treatment.order[t].tobytes(), reference.order[r].tobytes(), treatment.repetition[t].tobytes(), others.tobytes()
    )


@lru_cache(maxsize=1024)
def _was_blocked(treatment: bytes, reference: bytes, repetition: bytes, others: bytes) -> bool:
    a, b = np.frombuffer(treatment), np.frombuffer(reference)
    if len(a) == 0:
        return True
    if np.isnan(a).any() or np.isnan(b).any():
        return False
    order, block = np.frombuffer(others).reshape(-1, 2).T
    low, high = np.minimum(a, b)[:, None], np.maximum(a, b)[:, None]
    foreign = (order > low) & (order < high) & (block != np.frombuffer(repetition, np.int64)[:, None])
    return bool((~foreign.any(axis=1)).mean() >= 0.5)


Ran = tuple[FloatArray, BoolArray]
"""Places in time of all attempts on a unit that really ran, ascending, and which of them were of the treatment arm."""


def time_series(treatment: Sample, reference: Sample, blocked: bool, seed: int, ran: Ran) -> dict[str, Any]:
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
    out: dict[str, Any] = {
        "interleaved": mixed,
        "run_residuals": series_checks(residuals, _scale(treatment, reference)),
        "welch": _welch(treatment.value, reference.value),
        "ancova": ancova(y, trt, temperature),
        "start_temperature": _start_temperature(treatment, reference),
        "covariates": {
            name: _covariate(y, trt, np.concatenate([treatment.covariates[name], reference.covariates[name]])[sort])
            for name in treatment.covariates
            if name in reference.covariates
        },
    }
    keys = ("paired", "paired_differences", "order_effect", "sequence_sum_test", "ols_block", "ols_order")
    if mixed and blocked:
        out |= _block_checks(treatment, reference, seed)
        out |= _order_models(y, trt, repetition, order[sort], ran)
    else:
        out |= dict.fromkeys((*keys, "prev_aliased_with_blocks", "ols_prev_block"))
        out["reason"] = "not_interleaved" if mixed is False else "no_blocks"
    out["flags"] = _flags(out)
    return out


def _welch(treatment: FloatArray, reference: FloatArray) -> dict[str, float] | None:
    if min(len(treatment), len(reference)) < 3 or (is_constant(treatment) and is_constant(reference)):
        return None
    result = welch(treatment, reference)
    return {"p": result.p, "diff": float(treatment.mean() - reference.mean())}


def _start_temperature(treatment: Sample, reference: Sample) -> dict[str, float] | None:
    """Mean start temperature of each arm, °C."""
    t, r = treatment.temperature, reference.temperature
    if np.isnan(t).any() or np.isnan(r).any():
        return None
    p = None
    if min(len(t), len(r)) >= 3 and not (is_constant(t) and is_constant(r)):
        p = welch(t, r).p
    return {"treatment": float(t.mean()), "reference": float(r.mean()), "welch_p": p}  # type: ignore[dict-item]


def _block_checks(treatment: Sample, reference: Sample, seed: int) -> dict[str, Any]:
    t, r = complete_blocks(treatment, reference)
    differences = treatment.value[t] - reference.value[r]
    sums = treatment.value[t] + reference.value[r]
    reference_first = reference.order[r] < treatment.order[t]
    usable = len(t) >= 3 and not is_constant(differences, _scale(treatment, reference))
    result = paired_t(differences) if usable else None
    checks = series_checks(differences, _scale(treatment, reference))
    out: dict[str, Any] = {
        "paired": {"p": result.p, "diff": result.mean_diff} if result else None,
        "paired_differences": checks,
        "order_effect": order_effect(differences, reference_first) if usable else None,
        "sequence_sum_test": _sequence_sums(sums, reference_first),
        "ols_block": _within_blocks(differences) if usable else None,
    }
    if checks["ljung_box_p"] is not None and checks["ljung_box_p"] < ALPHA:
        out["newey_west"] = newey_west(differences)
        out["moving_block_bootstrap"] = moving_blocks(differences, seed)
    return out


def order_effect(differences: FloatArray, reference_first: BoolArray) -> dict[str, Any] | None:
    """Block differences on +1 (reference first) or -1: the intercept is the effect free of period,
    the slope the period."""
    first, second = int(reference_first.sum()), int((~reference_first).sum())
    x = np.column_stack([np.ones(len(differences)), np.where(reference_first, 1.0, -1.0)])
    result = ols.fit(x, differences)
    if result is None:
        return None
    return {
        "treatment_adjusted": ols.coefficient(result, 0),
        "period_effect": ols.coefficient(result, 1),
        "n_reference_first": first,
        "n_treatment_first": second,
    }


def _sequence_sums(sums: FloatArray, reference_first: BoolArray) -> dict[str, float] | None:
    """Welch on block sums, treatment-first minus reference-first: carry-over, aliased with the sequence."""
    a, b = sums[~reference_first], sums[reference_first]
    if min(len(a), len(b)) < 2 or (is_constant(a) and is_constant(b)):
        return None
    result = welch(a, b)
    return {"diff": float(a.mean() - b.mean()), "t": result.t, "df": result.df, "p": result.p}


def _within_blocks(differences: FloatArray) -> dict[str, Any]:
    """y ~ treatment + block over complete blocks: algebraically the paired t test."""
    result = paired_t(differences)
    return {
        "trt": {
            "estimate": result.mean_diff,
            "se": result.sd_diff / len(differences) ** 0.5,
            **{key: getattr(result, key) for key in ("t", "p", "df", "ci_low", "ci_high")},
        }
    }


def _order_models(y: FloatArray, trt: FloatArray, repetition: IntArray, order: FloatArray, ran: Ran) -> dict[str, Any]:
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
    names = ("trt", "position2", "prev_treatment", "sequence_index")
    out: dict[str, Any] = {
        "ols_order": None if result is None else {n: ols.coefficient(result, i) for i, n in enumerate(names, start=1)}
    }
    blocks = ols.dummies(repetition[kept].astype(float))
    without = np.column_stack([trt[kept], position2[kept], blocks])
    within = np.column_stack([previous, without])
    aliased = ols.rank(within) == ols.rank(without)
    out["prev_aliased_with_blocks"] = aliased
    fitted = None if aliased else ols.fit(within, y[kept])
    out["ols_prev_block"] = None if fitted is None else ols.coefficient(fitted, 0)
    return out


def ancova(y: FloatArray, trt: FloatArray, temperature: FloatArray) -> dict[str, Any] | None:
    """y ~ treatment + start temperature; only a state from *before* the run may be a covariate.

    None where a temperature is missing or all are equal.
    """
    known = np.isfinite(temperature)
    y, trt, temperature = y[known], trt[known], temperature[known]
    if len(y) < 5 or is_constant(temperature):
        return None
    centred = temperature - temperature.mean()
    x = np.column_stack([np.ones(len(y)), trt, centred])
    result = ols.fit(x, y)
    if result is None or result.rss <= 0:
        return None
    wider = ols.fit(np.column_stack([x, trt * centred]), y)
    interaction = None
    if wider is not None and wider.rss > 0:
        interaction = f_upper((result.rss - wider.rss) / (wider.rss / wider.df), 1, wider.df)
    return {
        "trt": ols.coefficient(result, 1),
        "start_temp_slope": ols.coefficient(result, 2),
        "interaction_p": interaction,
        "hc3_se_trt": ols.hc3_se(x, result, 1),
    }


def _covariate(y: FloatArray, trt: FloatArray, state: FloatArray) -> dict[str, Any] | None:
    """The same adjustment for any other state recorded before the run, such as free memory."""
    result = ancova(y, trt, state)
    return None if result is None else {"slope" if k == "start_temp_slope" else k: v for k, v in result.items()}


def _flags(out: dict[str, Any]) -> list[str]:
    """Diagnostics at 0.05. With seven of them per comparison, false alarms are to be expected."""

    def low(*path: str) -> bool:
        here: Any = out
        for key in path:
            here = here.get(key) if here else None
        return here is not None and here < ALPHA

    checks = {
        "drift": low("run_residuals", "mann_kendall", "p"),
        "autocorrelation_runs": low("run_residuals", "ljung_box_p"),
        "autocorrelation_pairs": low("paired_differences", "ljung_box_p"),
        "period_effect": low("order_effect", "period_effect", "p"),
        "carry_over": low("ols_prev_block", "p"),
        "thermal_covariate": low("ancova", "start_temp_slope", "p"),
        "confounded_with_time": out["interleaved"] is False,
    }
    return [name for name, raised in checks.items() if raised]
