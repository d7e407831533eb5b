"""The figures of a comparison as a table prints them: means, deviations and changes of a row, by the rules of
``campaign.analysis.numbers``."""

from __future__ import annotations

from campaign.analysis.numbers import effect_places, fixed, places_of, plain, present
from campaign.report.wording import Row


def mean_text(row: Row, arm: str) -> str | None:
    mean, sd = row[f"mean_{arm}"], row[f"sd_{arm}"]
    return fixed(mean, places_of(sd)) if varies(mean, sd) else plain(mean)


def sd_text(row: Row, arm: str) -> str | None:
    mean, sd = row[f"mean_{arm}"], row[f"sd_{arm}"]
    return fixed(sd, places_of(sd)) if varies(mean, sd) else None if not present(sd) else "0"


def varies(mean: float | None, sd: float | None) -> bool:
    """Whether a standard deviation is more than rounding."""
    return present(mean) and present(sd) and float(sd or 0) > 1e-12 * max(1.0, abs(mean or 0))


def pct_places(row: Row) -> int:
    return effect_places(row["pct"], row["pct_low"], row["pct_high"])


def change_text(row: Row) -> str | None:
    return fixed(row["pct"], pct_places(row))


def width_places(low: float | None, high: float | None) -> int:
    """Of an interval, and of what it is of, in whatever unit; 3 where it has not both limits."""
    return effect_places(None, low, high) if present(low) and present(high) else 3
