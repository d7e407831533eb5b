"""What a run table's metrics are: what ``metric_facts`` knows of their names, or what somebody declares of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from campaign.analysis.metrics import Better, Fact, Role, known

__all__ = ["Better", "Fact", "Role", "declared", "facts_of", "known"]


def facts_of(
    metrics: Iterable[str],
    declared: Mapping[str, Better | None] | None = None,
    units: Mapping[str, str] | None = None,
) -> dict[str, Fact]:
    """The facts of each metric. A declaration goes before the table; ``None`` declares that neither way is better.
    ``units`` are the figures' own of measure, and go before the table's.

    Raises ValueError for a direction that is neither ``higher`` nor ``lower``.
    """
    found = {}
    for metric in metrics:
        fact = known().get(metric, Fact())
        if declared is not None and metric in declared:
            way = declared[metric]
            if way not in ("higher", "lower", None):
                raise ValueError(f"which way {metric} is better is {way!r}: write higher or lower")
            fact = replace(fact, better=way, source="declared")
        found[metric] = replace(fact, unit_of_measure=(units or {}).get(metric, fact.unit_of_measure))
    return found


def declared(texts: Iterable[str]) -> dict[str, Better | None]:
    """``NAME=higher``, ``NAME=lower`` or ``NAME=neither`` as a person writes them.
    Raises ``TableError`` for anything else."""
    from campaign.analysis.statistics.table import TableError

    ways: dict[str, Better | None] = {"higher": "higher", "lower": "lower", "neither": None}
    found = {}
    for text in texts:
        name, _, way = text.rpartition("=")
        if not name or way.strip() not in ways:
            raise TableError(f"--better {text!r}: write NAME=higher, NAME=lower or NAME=neither")
        found[name.strip()] = ways[way.strip()]
    return found
