"""The schedule of two arms: whether they alternate in time, which of their runs are blocks, and whether runs depend on
their place in time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np

from campaign.analysis.result import Column, Result, get
from campaign.analysis.statistics.distributions import FloatArray, IntArray
from campaign.analysis.statistics.drift import series_checks
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.sets import Sample


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
    checks = series_checks(residuals[np.argsort(order, kind="stable")], scale(treatment, reference))
    found = {"drift": get(checks, "mann_kendall", "p"), "autocorrelation_runs": checks.ljung_box_p}
    return [name for name, p in found.items() if p is not None and p < ALPHA]


def scale(treatment: Sample, reference: Sample) -> float:
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
