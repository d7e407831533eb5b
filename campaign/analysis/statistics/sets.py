"""Which attempts count: four analysis sets, chosen by technical criteria and all reported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import scipy

from actors.heat import CEILING_C
from campaign.analysis.result import LEFT_OUT, Column, Result
from campaign.analysis.statistics.descriptive import three_sigma
from campaign.analysis.statistics.distributions import BoolArray, FloatArray, IntArray

ALL_VALID, PROTOCOL, RERUN, MINUS_OUTLIERS = (
    "all_valid_first_attempt",
    "protocol",
    "document_rerun_outliers",
    "protocol_minus_outliers",
)
TOO_WARM = f"start_temp_not_below_{CEILING_C:g}"
ANALYSIS_SETS = (ALL_VALID, PROTOCOL, RERUN, MINUS_OUTLIERS)


@dataclass(frozen=True)
class Attempts:
    """All attempts of one arm on one unit, in the table's order; arrays of one length.

    ``temperature`` is NaN where unknown; ``order`` is the chronological position on the unit, NaN where not recorded.
    """

    run_ids: list[str]
    repetition: IntArray
    attempt: IntArray
    ok: BoolArray
    throttled: BoolArray
    temperature: FloatArray
    order: FloatArray
    values: dict[str, FloatArray]
    covariates: dict[str, FloatArray] = field(default_factory=dict)
    """Other states recorded before the run (columns ``start_…``)."""
    held_to_ceiling: bool = True
    """Whether a start above the ceiling keeps an attempt out of the protocol (see :func:`alike_ceiling`)."""
    selected: dict[tuple[str, str], Sample] = field(default_factory=dict, repr=False, compare=False)
    """What :func:`select` made so far, by metric and analysis set: every contrast of the arm asks again."""
    chosen: dict[bytes, IntArray] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.run_ids)

    def cool(self) -> BoolArray:
        """Started below the ceiling, as far as it was read; everything where the cell is not held to it."""
        if not self.held_to_ceiling:
            return np.ones(len(self), dtype=bool)
        return np.asarray(~(self.temperature >= CEILING_C))

    def lowest(self, usable: BoolArray) -> IntArray:
        """Rows of the usable attempt with the lowest number of every repetition, ascending.

        Most metrics have the same usable attempts, so what was found is kept.
        """
        key = usable.tobytes()
        if key not in self.chosen:
            rows = np.flatnonzero(usable)
            rows = rows[np.lexsort((self.attempt[rows], self.repetition[rows]))]
            self.chosen[key] = np.sort(rows[np.unique(self.repetition[rows], return_index=True)[1]])
        return self.chosen[key]


READ_SHARE = 0.9
"""Share of an arm's attempts whose start temperature must have been read for the ceiling to apply."""


def alike_ceiling(arms: dict[str, Attempts]) -> dict[str, Attempts]:
    """The arms of a cell, all held to the ceiling or none: a criterion that can be
    read in one arm only would itself make a difference."""
    held = all(np.isfinite(arm.temperature).mean() >= READ_SHARE for arm in arms.values() if len(arm))
    return {name: replace(arm, held_to_ceiling=held, selected={}, chosen={}) for name, arm in arms.items()}


@dataclass(frozen=True)
class Sample:
    """The attempts of one arm that an analysis set keeps for one metric: one value per repetition, in time order."""

    run_ids: list[str]
    repetition: IntArray
    value: FloatArray
    order: FloatArray
    temperature: FloatArray
    covariates: dict[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.run_ids)


def valid(attempts: Attempts, metric: str) -> BoolArray:
    """Succeeded with a finite value."""
    return np.asarray(attempts.ok & np.isfinite(attempts.values[metric]))


def within_protocol(attempts: Attempts, metric: str) -> BoolArray:
    """Valid, not throttled, started cool."""
    return np.asarray(valid(attempts, metric) & ~attempts.throttled & attempts.cool())


def select(attempts: Attempts, metric: str, analysis_set: str) -> Sample:
    """The sample that ``analysis_set`` makes of an arm's attempts."""
    key = (metric, analysis_set)
    if key not in attempts.selected:
        attempts.selected[key] = _select(attempts, metric, analysis_set)
    return attempts.selected[key]


def _select(attempts: Attempts, metric: str, analysis_set: str) -> Sample:
    if analysis_set == ALL_VALID:
        return _sample(attempts, metric, attempts.lowest(valid(attempts, metric)))
    usable = within_protocol(attempts, metric)
    chosen = attempts.lowest(usable)
    if analysis_set == PROTOCOL:
        return _sample(attempts, metric, chosen)
    far = three_sigma(attempts.values[metric][chosen])
    kept = list(chosen[~far])
    if analysis_set == RERUN:
        for i in chosen[far]:
            later = usable & (attempts.repetition == attempts.repetition[i]) & (attempts.attempt > attempts.attempt[i])
            kept += list(attempts.lowest(later))
    return _sample(attempts, metric, np.array(kept, dtype=np.int64))


def _sample(attempts: Attempts, metric: str, rows: IntArray) -> Sample:
    order = attempts.order[rows]
    rows = rows[np.lexsort((attempts.repetition[rows], np.nan_to_num(order)))]
    return Sample(
        [attempts.run_ids[i] for i in rows],
        attempts.repetition[rows],
        attempts.values[metric][rows],
        attempts.order[rows],
        attempts.temperature[rows],
        {name: column[rows] for name, column in attempts.covariates.items()},
    )


def exclusions(arms: list[Attempts], metric: str) -> dict[str, list[str]]:
    """Run ids that each technical reason keeps out of the protocol set, and the outliers inside it."""
    out: dict[str, list[str]] = {}
    for name in (
        "failed",
        "throttled",
        TOO_WARM,
        "missing_value",
        "outlier_3sigma_within_protocol_set",
    ):
        out[name] = sorted(run_id for arm in arms for run_id in _excluded(arm, metric, name))
    return out


def _excluded(arm: Attempts, metric: str, reason: str) -> list[str]:
    if reason == "outlier_3sigma_within_protocol_set":
        sample = select(arm, metric, PROTOCOL)
        return [name for name, far in zip(sample.run_ids, three_sigma(sample.value), strict=True) if far]
    mask = {
        "failed": ~arm.ok,
        "throttled": arm.throttled,
        TOO_WARM: ~arm.cool(),
        "missing_value": arm.ok & ~np.isfinite(arm.values[metric]),
    }[reason]
    return [arm.run_ids[i] for i in np.flatnonzero(mask)]


@dataclass(frozen=True)
class Counts(Result):
    """Attempts of one arm, by what became of them."""

    planned: int
    attempted: int
    failed: int
    throttled: int
    repeated: int
    analysed: int


@dataclass(frozen=True)
class Accounting(Result):
    """Attempts of both arms. The p, of the arms losing alike, are None where an arm did not run or nothing was lost."""

    treatment: Counts
    reference: Counts
    failed_fisher_p: Annotated[float | None, Column("failed_fisher_p")]
    throttled_fisher_p: Annotated[float | None, Column("throttled_fisher_p")]


@dataclass(frozen=True)
class WorstCase(Result):
    """Bounds of the percent change, and how many runs each arm lost; no bounds where a mean may not be positive."""

    lost: dict[str, int]
    pct_low: Annotated[float | None, Column("worst_case_low")] = None
    pct_high: Annotated[float | None, Column("worst_case_high")] = None
    reason: Annotated[str | None, LEFT_OUT] = None


def accounting(treatment: Attempts | None, reference: Attempts | None, metric: str, planned: int) -> Accounting:
    """Planned, attempted, failed, throttled, repeated and analysed per arm, and whether the arms differ in losses.

    Fisher's exact test asks whether an arm fails or throttles more often: throttling happens after the treatment
    starts, so a rate that differs can itself be the effect.
    """
    t, r = _counts(treatment, metric, planned), _counts(reference, metric, planned)
    return Accounting(
        t,
        r,
        failed_fisher_p=_fisher((t.failed, t.attempted), (r.failed, r.attempted)),
        throttled_fisher_p=_fisher((t.throttled, t.attempted), (r.throttled, r.attempted)),
    )


def _counts(arm: Attempts | None, metric: str, planned: int) -> Counts:
    if not arm:
        return Counts(planned, 0, 0, 0, 0, 0)
    return Counts(
        planned,
        len(arm),
        failed=int((~arm.ok).sum()),
        throttled=int(arm.throttled.sum()),
        repeated=int((arm.attempt > 1).sum()),
        analysed=len(select(arm, metric, PROTOCOL)),
    )


def _fisher(treatment: tuple[int, int], reference: tuple[int, int]) -> float | None:
    """Of two arms, each with how many were lost of how many."""
    if not treatment[1] or not reference[1] or not treatment[0] + reference[0]:
        return None
    table = [[lost, attempted - lost] for lost, attempted in (treatment, reference)]
    return float(scipy.stats.fisher_exact(table).pvalue)


def worst_case(treatment: Sample, reference: Sample, planned: int) -> WorstCase | None:
    """Percent change if every planned run that is missing had been as bad for one arm, or the other,
    as the worst and best seen anywhere.

    None where nothing is missing, or an arm has no run at all.
    """
    lost = {"treatment": max(0, planned - len(treatment)), "reference": max(0, planned - len(reference))}
    if not any(lost.values()) or not len(treatment) or not len(reference):
        return None
    values = np.concatenate([treatment.value, reference.value])
    least, most = float(values.min()), float(values.max())

    def mean(sample: Sample, missing: int, value: float) -> float:
        return (float(sample.value.sum()) + missing * value) / (len(sample) + missing)

    low = mean(treatment, lost["treatment"], least), mean(reference, lost["reference"], most)
    high = mean(treatment, lost["treatment"], most), mean(reference, lost["reference"], least)
    if min(low[1], high[1]) <= 0:
        return WorstCase(lost, reason="nonpositive_mean")
    return WorstCase(lost, 100 * (low[0] / low[1] - 1), 100 * (high[0] / high[1] - 1))
