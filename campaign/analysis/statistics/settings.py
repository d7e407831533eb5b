"""What an analysis of runs was told, checked against the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from campaign.analysis.margin import margin_of
from campaign.analysis.statistics.contrasts import Roles, by_name, of_baseline
from campaign.analysis.statistics.factorial import Rows, Trait
from campaign.analysis.statistics.metrics import Better, Fact, facts_of
from campaign.analysis.statistics.table import RunTable, TableError, reference_arm


@dataclass(frozen=True)
class Settings:
    """What the analysis was told. ``margin_pct`` is by metric, ``planned`` by family."""

    reference: str
    seed: int
    m: int
    margin_pct: Mapping[str, float]
    planned: Mapping[str, int]
    planned_repetitions: int | None
    refused: Mapping[str, str]
    facts: Mapping[str, Fact]
    """Direction and role of each metric."""
    screen: tuple[Rows, Mapping[str, Trait]] | None = None
    """Rows of a two-level screen, and what is known of its factors."""
    undeclared: frozenset[str] = frozenset()
    """Metrics for which nobody declared a margin: theirs is the default, and what is said with it says so."""
    declared_roles: Roles | None = None

    def roles(self, environments: list[str]) -> Roles:
        """Of the arms of a phase: as declared, else by their names."""
        return self.declared_roles.among(environments) if self.declared_roles else by_name(environments, self.reference)


def settings_of(
    runs: RunTable,
    reference: str | None,
    seed: int,
    m_planned: int,
    margin_pct: float | Mapping[str, float] | None,
    planned: Mapping[str, int] | None,
    planned_repetitions: int | None,
    refused: Mapping[str, str] | None,
    better: Mapping[str, Better | None] | None,
    units: Mapping[str, str] | None = None,
    roles: Roles | None = None,
    baseline: str | None = None,
) -> Settings:
    everywhere = list(dict.fromkeys(e for arms in runs.environments.values() for e in arms))
    told = margin_pct if isinstance(margin_pct, Mapping) else dict.fromkeys(runs.metrics, margin_pct)
    margins = {metric: margin_of(told.get(metric)) for metric in runs.metrics}
    base = reference_arm(everywhere, reference)
    if baseline is not None:
        roles = of_baseline(everywhere, base, baseline)
    unknown = sorted(set(better or {}) - set(runs.metrics))
    if unknown:
        raise TableError(
            f"a direction is declared for {', '.join(unknown)}, which the table does not have; "
            f"its metrics are {', '.join(runs.metrics)}"
        )
    try:
        facts = facts_of(runs.metrics, better, units)
    except ValueError as error:
        raise TableError(str(error)) from error
    return Settings(
        base,
        seed,
        m_planned,
        {metric: margin.pct for metric, margin in margins.items()},
        planned or {},
        planned_repetitions,
        refused or {},
        facts,
        undeclared=frozenset(metric for metric, margin in margins.items() if not margin.declared),
        declared_roles=roles,
    )
