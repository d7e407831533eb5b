"""A figure that an engine's program wrote, as a metric: a value, or why there is none."""

from __future__ import annotations

import math

from actors.types import Metric


def finite(value: float | None) -> float | None:
    """The value, or None where the program wrote NaN or Infinity, or a number beyond all floats."""
    try:
        return value if value is not None and math.isfinite(value) else None
    except OverflowError:
        return None


def figure(name: str, value: float | None, unit_of_measure: str, source: str, why_none: str) -> Metric:
    """``why_none`` is the reason where the program wrote nothing; a NaN or Infinity that it wrote is missing too."""
    known = finite(value)
    reason = None if known is not None else why_none if value is None else "the program wrote no finite number"
    return Metric(name=name, value=known, unit_of_measure=unit_of_measure, source=source, reason=reason)
