"""The margin within which two arms count as equivalent, and whether anybody declared it before the runs were made.

The one home of the default. A margin that nobody declared is used all the same, because a table of others' runs has
none, but whatever is printed with it says that it was not declared: an equivalence within a margin that was not fixed
before is only a description.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PCT = 2.0
"""Percent of the reference: above the noise between two arms of one definition,
below what a practitioner would act on."""

NOT_DECLARED = "the default, no margin was declared"


@dataclass(frozen=True)
class Margin:
    """Percent of the reference."""

    pct: float
    declared: bool

    def __str__(self) -> str:
        """``±1 %``, or ``±2 % (the default, no margin was declared)``."""
        return in_words(self.pct, self.declared)


def margin_of(declared_pct: float | None) -> Margin:
    """The margin of a config that declares one, or none."""
    return Margin(DEFAULT_PCT, False) if declared_pct is None else Margin(float(declared_pct), True)


def in_words(pct: float, declared: bool | None) -> str:
    """``±1 %``, and where it was not declared, that."""
    return f"±{pct:g} %" if declared or declared is None else f"±{pct:g} % ({NOT_DECLARED})"
