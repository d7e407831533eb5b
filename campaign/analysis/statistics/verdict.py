"""What may be claimed about a comparison, in one word and in one sentence, and never more."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.metrics import direction
from campaign.analysis.statistics.power import equivalence_power

BLOCKS_FOR_HEADLINE = 10


def headline_test(comparison: dict[str, Any]) -> str:
    """``paired_t`` where arms alternate in time in at least ten complete blocks, else ``welch``."""
    pairs = comparison["paired"]
    blocked = pairs["status"] == "ok" and pairs["n_pairs"] >= BLOCKS_FOR_HEADLINE
    return "paired_t" if blocked and comparison["interleaved"] else "welch"


def test_p(comparison: dict[str, Any], test: str) -> float | None:
    """The p-value of a named test of difference; None where it was not computed."""
    if test == "paired_t":
        return _get(comparison, "paired", "p")
    if test == "document":
        return _get(comparison, "decision", "document_p")
    return _get(comparison, test, "p")


def tost_p(comparison: dict[str, Any], test: str, margin: float) -> float | None:
    """The equivalence p that goes with a test of difference."""
    layer = comparison["paired"] if test == "paired_t" else comparison
    return _get(layer, "tost_ratio", f"{margin:g}", "p")


def _get(block: dict[str, Any] | None, *path: str) -> float | None:
    here: Any = block
    for key in path:
        here = None if here is None else here.get(key)
    return None if here is None else float(here)


def four_way(p: float | None, p_equivalent: float | None) -> str:
    """Difference and equivalence are two questions; their answers make four verdicts."""
    different = p is not None and p < ALPHA
    equivalent = p_equivalent is not None and p_equivalent < ALPHA
    if different:
        return "different_but_negligible" if equivalent else "different"
    return "equivalent" if equivalent else "inconclusive"


def verdict_of(comparison: dict[str, Any], p: float | None, p_equivalent: float | None) -> str:
    """The verdict on adjusted p-values, or the status that forbids one."""
    if comparison["status"] != "ok":
        return str(comparison["status"])
    if comparison["interleaved"] is False:
        return "not_interpretable"
    return four_way(p, p_equivalent)


def interval_pct(comparison: dict[str, Any]) -> tuple[float, float, float] | None:
    """Percent change with its 95 % Fieller limits from the headline layer (raw sign)."""
    layer = comparison["paired"] if comparison.get("headline_test") == "paired_t" else comparison
    ratio = layer.get("ratio")
    if not ratio or ratio["fieller_low"] is None:
        return None
    return tuple(100 * (ratio[key] - 1) for key in ("ratio", "fieller_low", "fieller_high"))


def runs_to_settle(comparison: dict[str, Any], margin: float, target: float = 0.8) -> int | None:
    """Blocks (paired headline) or runs per arm that would show equivalence with 80 % power if nothing differed."""
    mean = comparison["desc"]["reference"].get("mean")
    if not mean or comparison["status"] != "ok":
        return None
    pairs = comparison.get("headline_test") == "paired_t"
    spread = comparison["paired"]["sd_diff"] if pairs else comparison["effect"]["sd_pooled"] * math.sqrt(2)
    return _runs_to_settle(100 * spread / abs(mean), pairs, margin, target)


@lru_cache(maxsize=8192)
def _runs_to_settle(relative: float, pairs: bool, margin: float, target: float) -> int | None:
    low, high = 2, 4

    def enough(n: int) -> bool:
        df = n - 1 if pairs else 2 * n - 2
        return equivalence_power(0.0, margin, relative / math.sqrt(n), df) >= target

    while not enough(high):
        low, high = high, high * 2
        if high > 1_000_000:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def claim(comparison: dict[str, Any], margin: float) -> str:
    """One sentence that says what may be claimed. Percent change is treatment against reference, raw sign."""
    metric, treatment, reference = comparison["metric"], comparison["treatment"], comparison["reference"]
    verdict, subject = (
        comparison["verdict"],
        f"{comparison['metric']}, {comparison['treatment']} against {comparison['reference']}",
    )
    limits = interval_pct(comparison)
    if verdict in ("different", "different_but_negligible"):
        size = (
            f"{comparison['diff']:+.4g}"
            if limits is None
            else f"{limits[0]:+.2f} % [{limits[1]:+.2f}, {limits[2]:+.2f}]"
        )
        side = _side(metric, comparison["diff"], treatment, reference)
        inside = f", inside the ±{margin:g} % margin" if verdict == "different_but_negligible" else ""
        return f"{subject}: differs by {size}{side}{inside}."
    if verdict == "equivalent":
        return f"{subject}: equivalent within ±{margin:g} %."
    if verdict == "inconclusive":
        needs = runs_to_settle(comparison, margin)
        unit = "blocks" if comparison.get("headline_test") == "paired_t" else "runs per arm"
        cost = (
            ""
            if needs is None
            else f"; needs N = {needs} {unit} to settle equivalence within ±{margin:g} % with 80 % power"
        )
        seen = "" if limits is None else f"; effects from {limits[1]:+.2f} % to {limits[2]:+.2f} % are compatible"
        return f"{subject}: undecided, no difference demonstrated{seen}{cost}."
    if verdict == "deterministic":
        diff = comparison["diff"]
        return f"{subject}: deterministic, " + ("equal." if abs(diff) <= 1e-12 else f"differ by {diff:.6g}.")
    return f"{subject}: no claim, {_WHY_NOT.get(verdict, verdict.replace('_', ' '))}."


_WHY_NOT = {
    "not_interpretable": "one arm ran wholly before the other, so that time and treatment cannot be told apart",
    "insufficient_n": "an arm has fewer than three valid runs",
    "missing_arm": "one arm has no valid run",
    "no_data": "neither arm has a valid run",
    "error_duplicate_cell": "a run is recorded twice",
    "error_model_identity": "the weights that were loaded differ",
    "error_environment_changed": "the software or data changed between the arms",
}


def _side(metric: str, diff: float, treatment: str, reference: str) -> str:
    better = direction(metric)
    if better == 0 or diff == 0:
        return ""
    return f", {treatment if diff * better > 0 else reference} better"
