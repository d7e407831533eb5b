"""Which test decides a comparison, and its verdict in one word."""

from __future__ import annotations

from typing import Any

from campaign.analysis.result import get
from campaign.analysis.statistics.compare import BLOCKS_FOR_HEADLINE
from campaign.analysis.statistics.comparison import Comparison, Measured, Names, Refused
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.order import OrderBalance


def headline_test(comparison: Comparison) -> str | None:
    """``paired_t`` where arms alternate in time in at least ten complete blocks, or in fewer where runs drift or
    resemble their neighbours (docs/methodology.md, 9.4: then the independent layer may not lead); else ``welch``. None
    unless the status is ``ok``."""
    if not isinstance(comparison, Measured) or comparison.status != "ok":
        return None
    usable = "paired_t" in comparison.layers and bool(comparison.interleaved)
    enough = usable and comparison.compared.paired.n_pairs >= BLOCKS_FOR_HEADLINE
    return "paired_t" if enough or (usable and bool(comparison.compared.time_matters)) else "welch"


def test_p(comparison: Comparison, test: str) -> float | None:
    """The plain p-value of a named test of difference; None where it was not computed."""
    if isinstance(comparison, Refused):
        return None
    if test == "paired_t":
        return _number(comparison.compared.paired, "p")
    if test == "document":
        return _number(comparison.compared.inference.decision, "document_p")
    return _number(comparison.compared.inference.tests[test], "p")


def tost_p(comparison: Comparison, test: str, margin: float) -> float | None:
    """The plain equivalence p that goes with a test of difference."""
    if isinstance(comparison, Refused):
        return None
    layer = comparison.compared.paired if test == "paired_t" else comparison.compared.inference
    return _number(layer, "tost_ratio", f"{margin:g}", "p")


def _number(block: Any, *path: str) -> float | None:
    found = get(block, *path)
    return None if found is None else float(found)


def four_way(p: float | None, p_equivalent: float | None) -> str:
    """Difference and equivalence are two questions; their answers make four verdicts."""
    different = p is not None and p < ALPHA
    equivalent = p_equivalent is not None and p_equivalent < ALPHA
    if different:
        return "different_but_negligible" if equivalent else "different"
    return "equivalent" if equivalent else "inconclusive"


def not_interpretable(names: Names, interleaved: bool | None, order: OrderBalance, runs: int) -> str | None:
    """Why a difference between the arms could be something else's than the treatment's, in words;
    None where nothing says so. ``runs`` are those of both arms."""
    if interleaved is False:
        return "the arms were not interleaved in time"
    if order.balanced is False:
        return (
            f"the arms alternate too seldom in time (longest stretch of one arm {order.longest_stretch} of {runs} "
            f"runs, correlation of arm with time {order.arm_time_correlation:+.2f})"
        )
    if names.settings_differ:
        said = "; ".join(
            f"{name} ({', '.join(values[names.treatment])} against {', '.join(values[names.reference])})"
            for name, values in names.settings_differ.items()
        )
        return f"the arms also differ in {said}"
    return None


def confounded(comparison: Measured) -> str | None:
    """:func:`not_interpretable` of a comparison."""
    compared = comparison.compared
    runs = sum(compared.desc[arm].n for arm in ("treatment", "reference"))
    return not_interpretable(comparison.names, comparison.interleaved, compared.order, runs)


def verdict_of(comparison: Comparison, p: float | None, p_equivalent: float | None) -> str:
    """The verdict on adjusted p-values, or the status that forbids one."""
    if isinstance(comparison, Refused) or comparison.status != "ok":
        return comparison.status
    if confounded(comparison):
        return "not_interpretable"
    return four_way(p, p_equivalent)
