"""What is known of a metric: which way is better, and which family of tests pays for it.

The one home of these facts is ``metric_facts`` (and ``metric_aliases``) in ``sql/30_metrics.sql``. A name that is not there has no better
side unless somebody declares one; nothing is read from how a name sounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

Role = Literal["confirmatory", "derived", "secondary"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Fact:
    """Direction and role of a metric, and where the direction was taken from: ``metric_facts``, ``declared``, or None for none."""

    better: Better | None = None
    role: Role = "secondary"
    source: Literal["metric_facts", "declared"] | None = None
    label: str | None = None
    unit_of_measure: str | None = None

    @property
    def direction(self) -> int:
        """1 where higher is better, -1 where lower is better, 0 where neither is known to be."""
        return {"higher": 1, "lower": -1, None: 0}[self.better]


@cache
def known() -> Mapping[str, Fact]:
    """Every metric of the table and every alias."""
    import duckdb

    from campaign.analysis import views

    with duckdb.connect() as con:
        for table in ("metric_facts", "metric_aliases"):
            con.execute(views.definition(table))
        rows = con.execute(
            """SELECT name, better, role, CASE WHEN name = metric THEN label END FROM metric_facts AS f
            JOIN (SELECT metric AS name, metric FROM metric_facts UNION ALL SELECT alias, metric FROM metric_aliases) USING (metric)"""
        ).fetchall()
    return {name: Fact(better, role, "metric_facts", label) for name, better, role, label in rows}


def facts_of(
    metrics: Iterable[str],
    declared: Mapping[str, Better | None] | None = None,
    units: Mapping[str, str] | None = None,
) -> dict[str, Fact]:
    """The facts of each metric. A declaration goes before the table; ``None`` declares that neither way is better. ``units`` are of measure.

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
        found[metric] = replace(fact, unit_of_measure=(units or {}).get(metric))
    return found


def declared(texts: Iterable[str]) -> dict[str, Better | None]:
    """``NAME=higher``, ``NAME=lower`` or ``NAME=neither`` as a person writes them. Raises ``TableError`` for anything else."""
    from campaign.analysis.statistics.table import TableError

    ways: dict[str, Better | None] = {"higher": "higher", "lower": "lower", "neither": None}
    found = {}
    for text in texts:
        name, _, way = text.rpartition("=")
        if not name or way.strip() not in ways:
            raise TableError(f"--better {text!r}: write NAME=higher, NAME=lower or NAME=neither")
        found[name.strip()] = ways[way.strip()]
    return found
