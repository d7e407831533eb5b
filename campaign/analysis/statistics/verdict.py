"""Which test decides a comparison, and its verdict in one word."""

from __future__ import annotations

from typing import Any

from campaign.analysis.result import get
from campaign.analysis.statistics.independent import ALPHA

BLOCKS_FOR_HEADLINE = 10


def headline_test(comparison: dict[str, Any]) -> str:
    """``paired_t`` where arms alternate in time in at least ten complete blocks, or in fewer where runs drift or
    resemble their neighbours (docs/methodology.md, 9.4: then the independent layer may not lead); else ``welch``."""
    usable = "paired_t" in comparison["layers"] and bool(comparison["interleaved"])
    enough = usable and comparison["paired"].n_pairs >= BLOCKS_FOR_HEADLINE
    return "paired_t" if enough or (usable and bool(comparison["time_matters"])) else "welch"


def test_p(comparison: dict[str, Any], test: str) -> float | None:
    """The plain p-value of a named test of difference; None where it was not computed."""
    if test == "paired_t":
        return _number(comparison, "paired", "p")
    if test == "document":
        return _number(comparison, "decision", "document_p")
    return _number(comparison, test, "p")


def tost_p(comparison: dict[str, Any], test: str, margin: float) -> float | None:
    """The plain equivalence p that goes with a test of difference."""
    layer = comparison["paired"] if test == "paired_t" else comparison
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


def not_interpretable(comparison: dict[str, Any]) -> str | None:
    """Why a difference between the arms could be something else's than the treatment's, in words;
    None where nothing says so."""
    if comparison["interleaved"] is False:
        return "the arms were not interleaved in time"
    order = comparison["order"]
    if order.balanced is False:
        n = sum(comparison["desc"][arm]["n"] for arm in ("treatment", "reference"))
        return (
            f"the arms alternate too seldom in time (longest stretch of one arm {order.longest_stretch} of {n} runs, "
            f"correlation of arm with time {order.arm_time_correlation:+.2f})"
        )
    if comparison.get("settings_differ"):
        said = "; ".join(
            f"{name} ({', '.join(values[comparison['treatment']])} against "
            f"{', '.join(values[comparison['reference']])})"
            for name, values in comparison["settings_differ"].items()
        )
        return f"the arms also differ in {said}"
    return None


def verdict_of(comparison: dict[str, Any], p: float | None, p_equivalent: float | None) -> str:
    """The verdict on adjusted p-values, or the status that forbids one."""
    if comparison["status"] != "ok":
        return str(comparison["status"])
    if not_interpretable(comparison):
        return "not_interpretable"
    return four_way(p, p_equivalent)
