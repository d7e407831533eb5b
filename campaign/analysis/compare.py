"""Comparisons of arms: what the moments in ``sql/60_pairs.sql`` allow to say, and nothing beyond.

The run is the experimental unit. Signs follow treatment minus reference. Intervals are two-sided 95 %, use t quantiles
and are not adjusted for the number of comparisons. No interval that covers zero is read as equality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

CONFIDENCE = 0.95
MINIMUM_N = 3
"""Runs per arm below which nothing is inferred."""
MINIMUM_BLOCKS = 10
"""Complete blocks from which the paired interval is the headline."""

Verdict = Literal["different", "inconclusive", "deterministic", "insufficient_n", "missing_arm", "not_interpretable"]


@dataclass(frozen=True)
class Arm:
    """One arm of a contrast: number of runs, mean and standard deviation (n - 1) in the metric's unit."""

    n: int
    mean: float | None
    sd: float | None

    @property
    def constant(self) -> bool:
        return self.sd is not None and self.mean is not None and self.sd <= 1e-12 * max(1.0, abs(self.mean))

    @property
    def variance_of_mean(self) -> float:
        return (self.sd or 0.0) ** 2 / self.n


@dataclass(frozen=True)
class Interval:
    """An estimate with its limits; all three None with a ``reason`` where there is none."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Welch:
    """Difference of means with unequal variances."""

    diff: Interval
    t: float | None = None
    df: float | None = None
    p: float | None = None


def welch(reference: Arm, treatment: Arm) -> Welch:
    """mean(treatment) - mean(reference); Satterthwaite degrees of freedom."""
    from scipy import special

    if reference.mean is None or treatment.mean is None:
        return Welch(Interval(reason="missing_arm"))
    diff = treatment.mean - reference.mean
    if min(reference.n, treatment.n) < MINIMUM_N:
        return Welch(Interval(diff, reason="insufficient_n"))
    if reference.constant and treatment.constant:
        return Welch(Interval(diff, reason="deterministic"))
    v_r, v_t = reference.variance_of_mean, treatment.variance_of_mean
    se = math.sqrt(v_r + v_t)
    df = (v_r + v_t) ** 2 / (v_t**2 / (treatment.n - 1) + v_r**2 / (reference.n - 1))
    half = float(special.stdtrit(df, (1 + CONFIDENCE) / 2)) * se
    t = diff / se
    return Welch(Interval(diff, diff - half, diff + half), t, df, float(2 * special.stdtr(df, -abs(t))))


def fieller(reference: Arm, treatment: Arm, confidence: float = CONFIDENCE) -> Interval:
    """100 * (mean(treatment) / mean(reference) - 1) with Fieller's limits for independent arms.

    Degrees of freedom after Satterthwaite at the estimated ratio. No limits where the reference's mean cannot be
    told from zero (g >= 1).
    """
    from scipy import special

    if reference.mean is None or treatment.mean is None:
        return Interval(reason="missing_arm")
    if reference.mean == 0:
        return Interval(reason="nonpositive_mean")
    ratio = treatment.mean / reference.mean
    change = 100 * (ratio - 1)
    if min(reference.n, treatment.n) < MINIMUM_N:
        return Interval(change, reason="insufficient_n")
    if reference.constant and treatment.constant:
        return Interval(change, reason="deterministic")
    if reference.mean <= 0 or treatment.mean <= 0:
        return Interval(change, reason="nonpositive_mean")
    v_r, v_t = reference.variance_of_mean, treatment.variance_of_mean
    weighted = ratio**2 * v_r
    df = (v_t + weighted) ** 2 / (v_t**2 / (treatment.n - 1) + weighted**2 / (reference.n - 1))
    q2 = float(special.stdtrit(df, (1 + confidence) / 2)) ** 2
    g = q2 * v_r / reference.mean**2
    if g >= 1:
        return Interval(change, reason="denominator_not_distinguishable_from_zero")
    # Divided by mean(reference)^2, and the root taken of the expanded discriminant: no difference of large squares.
    spread = math.sqrt(q2 * (v_t + weighted - g * v_t)) / reference.mean
    return Interval(change, 100 * ((ratio - spread) / (1 - g) - 1), 100 * ((ratio + spread) / (1 - g) - 1))


def paired_change(n_pairs: int, n_log: int, mean_log_ratio: float | None, sd_log_ratio: float | None) -> Interval:
    """100 * (geometric mean of the blocks' ratios - 1), t interval on the logarithms."""
    from scipy import special

    if n_pairs == 0:
        return Interval(reason="no_blocks")
    if n_log < n_pairs or mean_log_ratio is None:
        return Interval(reason="nonpositive_value")
    change = 100 * math.expm1(mean_log_ratio)
    if n_log < MINIMUM_N or sd_log_ratio is None:
        return Interval(change, reason="insufficient_n")
    if sd_log_ratio <= 1e-12:
        return Interval(change, reason="deterministic")
    half = float(special.stdtrit(n_log - 1, (1 + CONFIDENCE) / 2)) * sd_log_ratio / math.sqrt(n_log)
    return Interval(change, 100 * math.expm1(mean_log_ratio - half), 100 * math.expm1(mean_log_ratio + half))


def comparisons(con: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """One row per contrast and metric of the view ``contrast_moments``, in the order of the plan and of printing.

    Adds to its columns: ``status`` and ``reason``; ``diff`` with ``diff_low``, ``diff_high``, ``welch_t``, ``welch_df``,
    ``welch_p``; ``pct_change`` with ``fieller_low``, ``fieller_high``; ``paired_pct`` with ``paired_low``,
    ``paired_high``; the headline ``pct``, ``pct_low``, ``pct_high`` and its ``method``; ``overhead_pct`` (positive:
    the treatment is worse); ``verdict``.
    """
    import pandas as pd

    return pd.DataFrame(rows(con), columns=[*_moments(con)[0], *_ADDED])


def rows(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """:func:`comparisons` as plain records, without pandas."""
    names, moments = _moments(con)
    records = [dict(zip(names, row, strict=True)) for row in moments]
    return [record | _compare(record) for record in records]


def _moments(con: duckdb.DuckDBPyConnection) -> tuple[list[str], list[tuple[Any, ...]]]:
    result = con.execute("FROM contrast_moments ORDER BY place, print_order NULLS LAST, metric")
    return [str(column[0]) for column in result.description or ()], result.fetchall()


def _compare(row: dict[str, Any]) -> dict[str, Any]:
    reference = Arm(row["n_reference"], row["mean_reference"], row["sd_reference"])
    treatment = Arm(row["n_treatment"], row["mean_treatment"], row["sd_treatment"])
    test = welch(reference, treatment)
    independent = fieller(reference, treatment)
    paired = paired_change(row["n_pairs"], row["n_log"], row["mean_log_ratio"], row["sd_log_ratio"])
    by_blocks = row["n_pairs"] >= MINIMUM_BLOCKS and paired.low is not None
    headline = paired if by_blocks else independent
    status = test.diff.reason or "ok"
    return {
        "status": status,
        "reason": headline.reason,
        "diff": test.diff.estimate,
        "diff_low": test.diff.low,
        "diff_high": test.diff.high,
        "welch_t": test.t,
        "welch_df": test.df,
        "welch_p": test.p,
        "pct_change": independent.estimate,
        "fieller_low": independent.low,
        "fieller_high": independent.high,
        "paired_pct": paired.estimate,
        "paired_low": paired.low,
        "paired_high": paired.high,
        "pct": headline.estimate,
        "pct_low": headline.low,
        "pct_high": headline.high,
        "method": "blocks, t on log ratios" if by_blocks else "independent arms, Fieller",
        "overhead_pct": _overhead(headline.estimate, row["better"]),
        "verdict": _verdict(status, row["separated"], headline, test),
    }


_ADDED = [
    "status",
    "reason",
    "diff",
    "diff_low",
    "diff_high",
    "welch_t",
    "welch_df",
    "welch_p",
    "pct_change",
    "fieller_low",
    "fieller_high",
    "paired_pct",
    "paired_low",
    "paired_high",
    "pct",
    "pct_low",
    "pct_high",
    "method",
    "overhead_pct",
    "verdict",
]


def _overhead(change: float | None, better: str | None) -> float | None:
    if change is None or better is None:
        return None
    return -change if better == "higher" else change


def _verdict(status: str, separated: bool, headline: Interval, test: Welch) -> Verdict:
    if status in ("missing_arm", "insufficient_n", "deterministic"):
        return status  # type: ignore[return-value]
    if separated:
        return "not_interpretable"
    if headline.low is not None and headline.high is not None:
        return "different" if headline.low > 0 or headline.high < 0 else "inconclusive"
    return "different" if test.p is not None and test.p < 1 - CONFIDENCE else "inconclusive"
