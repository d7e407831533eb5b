"""Numbers as a table prints them: a value to the digit of its standard error's second significant digit."""

from __future__ import annotations

import math

from campaign.report.wording import Row, bounded, present


def places_of(error: float | None) -> int:
    """Decimal places that show the second significant digit of ``error``; 3 without one."""
    if not present(error) or error is None or not math.isfinite(error) or error <= 0:
        return 3
    # Rounding may carry into another digit: 0.0996 has its second digit at 0.10.
    exponent = math.floor(math.log10(float(f"{error:.1e}")))
    return min(9, max(0, 1 - exponent))


def fixed(value: float | None, places: int) -> str | None:
    if not present(value) or value is None or not math.isfinite(value):
        return None
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def mean_text(row: Row, arm: str) -> str | None:
    mean, sd, n = (row[f"{what}_{arm}"] for what in ("mean", "sd", "n"))
    if varies(mean, sd):
        return fixed(mean, places_of(sd / math.sqrt(n)))
    return plain(mean)


def sd_text(row: Row, arm: str) -> str | None:
    mean, sd = row[f"mean_{arm}"], row[f"sd_{arm}"]
    return fixed(sd, places_of(sd)) if varies(mean, sd) else None if not present(sd) else "0"


def varies(mean: float | None, sd: float | None) -> bool:
    """Whether a standard deviation is more than rounding."""
    return present(mean) and present(sd) and float(sd or 0) > 1e-12 * max(1.0, abs(mean or 0))


def plain(value: float | None) -> str | None:
    """A value that has no error to round it by: six significant digits."""
    if not present(value) or value is None or not math.isfinite(value):
        return None
    return f"{value or 0.0:.6g}" if abs(value) < 1e6 else f"{value:.0f}"


def pct_places(row: Row) -> int:
    return width_places(row["pct_low"], row["pct_high"]) if bounded(row) else 2


def width_places(low: float | None, high: float | None) -> int:
    """From the standard error that a 95 % interval is about four of."""
    return places_of((high - low) / 4) if present(low) and present(high) and low is not None and high is not None else 3


def change_text(row: Row) -> str | None:
    return fixed(row["pct"], pct_places(row))


def interval(low: float | None, high: float | None, places: int) -> str | None:
    """``[low, high]``, a dash for one limit that does not exist; None without both."""
    a, b = fixed(low, places), fixed(high, places)
    return None if a is None and b is None else f"[{a or '–'}, {b or '–'}]"


def p_value(value: float | None) -> str | None:
    if not present(value) or value is None:
        return None
    return f"{value:.3f}" if value >= 0.001 else "<0.001"
