"""A screen as a campaign's config has it, in the statistics' terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from campaign.analysis.statistics import two_level
from campaign.analysis.statistics.factorial import Rows, Trait

if TYPE_CHECKING:
    from campaign.config.schema import Factor, Screen


def design_of(screen: Screen) -> two_level.Design:
    """The two-level design of a screen's factors."""
    assert screen.design != "one_at_a_time"
    nested = [(factor.name, factor.nested_in) for factor in screen.factors if factor.nested_in is not None]
    return two_level.design(screen.design, [factor.name for factor in screen.factors], nested)


def rows_of(screen: Screen) -> Rows:
    """Which arm is which row."""
    return Rows(design_of(screen), tuple(screen.rows))


def traits(factors: Sequence[Factor]) -> dict[str, Trait]:
    """What is known of each factor before the data."""
    return {factor.name: Trait(factor.privilege, factor.never) for factor in factors}
