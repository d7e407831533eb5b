"""What is known of a metric by its name: unit, words, direction, role, place in print.

The one home of these facts is ``metric_facts`` (and ``metric_aliases``) in ``sql/30_metrics.sql``; this module reads
it, and nothing else says what a name means. A name that is not there has no better side unless somebody declares one;
nothing is read from how a name sounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Role = Literal["confirmatory", "derived", "secondary"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Fact:
    """Direction and role of a metric, and where the direction was taken from: ``metric_facts``, ``declared``,
    or None for none."""

    better: Better | None = None
    role: Role = "secondary"
    source: Literal["metric_facts", "declared"] | None = None
    label: str | None = None
    """Its words; None for an alias and for a name that is not known."""
    unit_of_measure: str | None = None
    family: str | None = None
    """``primary``, ``engine``, ``telemetry``, ``stages``, …: its group in print."""
    short: str | None = None
    """Its words where there is little room; None where it is not in the tables that sum a campaign up."""

    @property
    def direction(self) -> int:
        """1 where higher is better, -1 where lower is better, 0 where neither is known to be."""
        return {"higher": 1, "lower": -1, None: 0}[self.better]


@cache
def known() -> Mapping[str, Fact]:
    """Every metric of the table in the order of print, and after them every alias,
    which has direction and role of its metric alone."""
    metrics = {
        metric: Fact(better, role, "metric_facts", label, unit, family, short)
        for metric, better, role, label, unit, family, short in _read(
            "SELECT metric, better, role, label, measured_in, family, short FROM metric_facts ORDER BY print_order"
        )
    }
    aliases = {
        alias: Fact(metrics[metric].better, metrics[metric].role, "metric_facts")
        for alias, metric in _read("SELECT alias, metric FROM metric_aliases")
    }
    return metrics | aliases


@cache
def summary() -> Mapping[str, str]:
    """Metrics of the tables that sum a campaign up, in order, and what they are called there."""
    return dict(_read("SELECT metric, short FROM metric_facts WHERE summary_order IS NOT NULL ORDER BY summary_order"))


@cache
def headline() -> str:
    """The metric that a campaign is about: what its verdict, its outliers,
    its screens and its N are taken from unless said otherwise."""
    return next(iter(summary()))


def titled(metric: str) -> str:
    """Words and unit of a known metric, as above a column or along an axis: ``mean power (W)``.
    Raises KeyError for another."""
    fact = known()[metric]
    label = fact.label or metric
    return f"{label[:-1]}, {fact.unit_of_measure})" if label.endswith(")") else f"{label} ({fact.unit_of_measure})"


@cache
def primary() -> tuple[str, ...]:
    """The methodology's primary metrics, confirmatory and derived, in the order of print."""
    return tuple(name for name, fact in known().items() if fact.family == "primary")


def confirmatory() -> tuple[str, ...]:
    """Those of :func:`primary` that the confirmatory family counts."""
    return tuple(name for name in primary() if known()[name].role == "confirmatory")


def _read(query: str) -> list[tuple[Any, ...]]:
    import duckdb

    from campaign.analysis import views

    with duckdb.connect() as con:
        for table in ("metric_facts", "metric_aliases"):
            con.execute(views.definition(table))
        found: list[tuple[Any, ...]] = con.execute(query).fetchall()
        return found
