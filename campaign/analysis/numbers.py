"""How a figure is printed, on the page and the terminal, in tables and in the paper:
one rule for the digits of each kind.

An interval, and the effect that it is of, to two significant digits of its width; a mean and its deviation to the
second significant digit of the deviation; a figure without an error to four or six significant digits; a p value to
three places. What differs between the media is typography alone: a page has a minus sign, a table for LaTeX a hyphen.
"""

from __future__ import annotations

import math
from typing import Any


def level_text(level: float) -> str:
    """A confidence level in percent, with as many digits as tell it from 100."""
    short = 100 - level
    places = min(6, max(1, 1 - math.floor(math.log10(short)))) if short > 0 else 0
    text = f"{level:.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def range_text(low: float | None, high: float | None, unit: str) -> str:
    """``−2.1 to −0.9 %``: two significant digits of the width, and the sign of each limit."""
    tail = f" {unit}" if unit else ""
    if low is None or high is None:
        if low is None and high is None:
            return "without limits"
        known = high if low is None else low
        return f"{'below' if low is None else 'above'} {number(known, 3)}{tail}"
    places = decimals(low, high)
    return f"{low:+.{places}f} to {high:+.{places}f}{tail}".replace("-", "−")


def number(value: float | None, digits: int = 4) -> str:
    """At most ``digits`` significant digits without exponent; a dash where there is no value."""
    if value is None or math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    if places > 9:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(",", "\u202f").replace("-", "−")


def decimals(low: float, high: float) -> int:
    """Decimal places for an interval: two significant digits of its width but no more than three of its larger limit,
    and no limit that rounds to zero; at most 4 (12 for an interval narrower than that)."""
    width = high - low
    if not math.isfinite(width) or width <= 0:
        return 2
    largest = max(abs(low), abs(high))
    most = 4 if width > 1e-3 else 12
    places = min(most, max(0, min(1 - math.floor(math.log10(width)), 2 - math.floor(math.log10(largest)))))
    while places < most and any(limit != 0 and round(limit, places) == 0 for limit in (low, high)):
        places += 1
    return places


def effect_places(value: float | None, low: float | None, high: float | None) -> int:
    """Decimal places of an effect in percent: those of its interval; without one two, or none from 100 on."""
    if present(low) and present(high) and low is not None and high is not None:
        return decimals(low, high)
    return 0 if value is not None and abs(value) >= 100 else 2


def present(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


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


def plain(value: float | None) -> str | None:
    """A value that has no error to round it by: six significant digits."""
    if not present(value) or value is None or not math.isfinite(value):
        return None
    return f"{value or 0.0:.6g}" if abs(value) < 1e6 else f"{value:.0f}"


def interval(low: float | None, high: float | None, places: int) -> str | None:
    """``[low, high]``, a dash for one limit that does not exist; None without both."""
    a, b = fixed(low, places), fixed(high, places)
    return None if a is None and b is None else f"[{a or '–'}, {b or '–'}]"


def p_value(value: float | None) -> str | None:
    if not present(value) or value is None:
        return None
    return f"{value:.3f}" if value >= 0.001 else "<0.001"
