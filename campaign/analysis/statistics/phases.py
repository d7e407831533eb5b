"""What phases decide: a screen which options are carried on, a validation how much was won back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from campaign.analysis.parallel import Job
from campaign.analysis.result import INLINE, Result, as_json
from campaign.analysis.statistics import factorial
from campaign.analysis.statistics.block_contrasts import PooledScreen, pool_screens
from campaign.analysis.statistics.contrasts import Roles, optimized_arm, phase_kind
from campaign.analysis.statistics.pooled import pooled_units
from campaign.analysis.statistics.screening import ScreenedModel, screen_model
from campaign.analysis.statistics.seeds import derived_seed
from campaign.analysis.statistics.sets import PROTOCOL, Sample
from campaign.analysis.statistics.settings import Settings
from campaign.analysis.statistics.table import Cell, RunTable
from campaign.analysis.statistics.validation import Validated, validate_model

PhaseJobs = list[tuple[str, list[Job]]]
"""For each phase that decides something its kind, and a job for each metric."""


@dataclass(frozen=True)
class ScreenPhase(Result):
    """A screening phase by one metric: every model, and what all of them decide together. ``never_chosen`` holds the
    options that may not be carried on, with the reason."""

    screen: dict[str, ScreenedModel]
    never_chosen: dict[str, str]
    pooled: Annotated[PooledScreen, INLINE]


@dataclass(frozen=True)
class ValidationPhase(Result):
    """A three-arm phase by one metric: every model."""

    validation: dict[str, Validated]


def phase_jobs(
    cells: list[Cell], environments: dict[str | None, list[str]], metrics: list[str], settings: Settings
) -> PhaseJobs:
    out: PhaseJobs = []
    for phase, arms in environments.items():
        roles = settings.roles(arms)
        kind = phase_kind(phase, roles)
        if kind == "main" or (kind == "screen" and settings.screen is not None):
            continue
        mine = [c for c in cells if c.phase == phase and not c.duplicates]
        decide = partial(_screened if kind == "screen" else _validated, roles, settings)
        out.append((kind, [partial(decide, metric, pooled_units(mine, metric)) for metric in metrics]))
    return out


def screen_jobs(runs: RunTable, settings: Settings) -> dict[str, Job]:
    """A two-level screen's analysis of each primary metric that has a direction; empty for any other campaign."""
    if settings.screen is None:
        return {}
    rows, traits = settings.screen
    cells = [cell for cell in runs.cells if not cell.duplicates]
    return {
        metric: partial(
            factorial.screen, pooled_units(cells, metric), rows, fact.direction, settings.margin_pct[metric], traits
        )
        for metric, fact in settings.facts.items()
        if fact.role != "secondary" and fact.direction
    }


def decisions(phases: PhaseJobs, metrics: list[str], found: Sequence[ScreenPhase | ValidationPhase]) -> dict[str, Any]:
    """``screen``, ``pooled``, ``ranking`` of a screening phase and ``validation`` of a three-arm one;
    first metric, others beside."""
    out: dict[str, Any] = {"screen": {}, "pooled": {}, "ranking": [], "validation": {}}
    for i, (kind, _) in enumerate(phases):
        per_metric = dict(zip(metrics, found[i * len(metrics) : (i + 1) * len(metrics)], strict=True))
        out |= as_json(per_metric[metrics[0]])
        out["screen_by_metric" if kind == "screen" else "validation_by_metric"] = per_metric
    return out


def _screened(roles: Roles, settings: Settings, metric: str, groups: dict[str, dict[str, Sample]]) -> ScreenPhase:
    baseline, configs = roles.baseline, list(roles.options)
    assert baseline is not None
    better = settings.facts[metric].direction
    screens = {
        model: screen_model(found, settings.reference, baseline, configs, better) for model, found in groups.items()
    }
    found = pool_screens(groups, baseline, configs, better, settings.margin_pct[metric], roles.never)
    return ScreenPhase(screens, dict(roles.never), found)


def _validated(roles: Roles, settings: Settings, metric: str, groups: dict[str, dict[str, Sample]]) -> ValidationPhase:
    optimized = optimized_arm(roles)
    assert roles.baseline is not None and optimized is not None
    trio = (settings.reference, roles.baseline, optimized)
    return ValidationPhase(
        {
            model: validate_model(
                found, trio, derived_seed(settings.seed, model, metric, "reduction", "block_bootstrap", PROTOCOL)
            )
            for model, found in groups.items()
        }
    )
