"""The verdict of a comparison in the one word that terminal, page, paper and the column ``verdict_word`` have for it.

``verdict`` is the method's own name of it, as the reference cases have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaign.analysis.statistics.claims import DIFFERENT


def worse(row: Mapping[str, Any]) -> bool | None:
    """Whether a demonstrated difference is for the worse; None where nothing is demonstrated or no way is better."""
    return {"worse": True, "better": False}.get(row["side"])


def verdict_word(row: Mapping[str, Any]) -> str:
    """The verdict in a table cell."""
    if row["verdict"] == "different_but_negligible":
        return "minor"
    if row["kind"] == "screen" and row["verdict"] in (*DIFFERENT, "inconclusive"):
        return "passes screen" if row["verdict"] in DIFFERENT else "screened out"
    if row["verdict"] == "different" or (row["verdict"] == "deterministic" and row["effect"]):
        return {True: "worse", False: "better", None: "differs"}[worse(row)]
    return {
        "equivalent": "equivalent",
        "inconclusive": "undecided",
        "deterministic": "constant",
        "insufficient_n": "too few",
        "missing_arm": "no runs",
        "not_interpretable": "confounded",
        "no_data": "no data",
        "unfinished": "open",
        "continuing": "open",
        "not_tested": "not tested",
    }.get(row["verdict"], "refused")


def beyond_units_word(verdict: str | None) -> str:
    """The verdict of what may be said of units beyond the tested ones."""
    known = {"not_beyond_these_units": "too few units", "inconclusive": "undecided", None: "none"}
    return known.get(verdict) or str(verdict).replace("_", " ")
