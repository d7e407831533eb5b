"""What each model's units say together, and what may be said of units beyond them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from campaign.analysis.margin import Margin
from campaign.analysis.result import INLINE, Result
from campaign.analysis.statistics.cells import fatal, samples_of
from campaign.analysis.statistics.comparison import SetSummary
from campaign.analysis.statistics.contrasts import Contrast, plan_contrasts
from campaign.analysis.statistics.sets import PROTOCOL, Accounting
from campaign.analysis.statistics.settings import Settings
from campaign.analysis.statistics.table import Cell, RunTable
from campaign.analysis.statistics.unit_effects import Arms, Units, analyze_units
from campaign.analysis.statistics.units import BeyondUnits, NotBeyond, over_units


@dataclass(frozen=True)
class Pair(Result):
    """A pair of arms of a model, in one metric."""

    phase: str | None
    model: str
    treatment: str
    reference: str
    contrast: str
    metric: str


@dataclass(frozen=True)
class Row(Result):
    """What may be said of a pair beyond the ``k_units`` that ran it."""

    pair: Annotated[Pair, INLINE]
    k_units: int
    over_units: BeyondUnits | NotBeyond


@dataclass(frozen=True)
class SetsOfUnit(Result):
    """What the comparison of a single unit says of its analysis sets; None each where it was refused."""

    analysis_sets: dict[str, SetSummary] | None
    exclusions: dict[str, list[str]] | None
    accounting: Accounting | None


@dataclass(frozen=True)
class OfMetric(Result):
    """A model's units in one metric. ``sets`` is None where several units have a comparison each."""

    units: Annotated[Units, INLINE]
    sets: Annotated[SetsOfUnit | None, INLINE]


@dataclass(frozen=True)
class ToldOfMetric(Result):
    """The same with what may be said beyond; None where nothing was asked."""

    found: Annotated[OfMetric, INLINE]
    over_units: BeyondUnits | NotBeyond | None


@dataclass(frozen=True)
class OfModel(Result):
    """A model's units in all metrics, the first of them in front."""

    model: str
    phase: str | None
    metric: str
    contrast: str
    first: Annotated[OfMetric, INLINE]
    by_metric: dict[str, ToldOfMetric]
    over_units: BeyondUnits | NotBeyond | None


def models_of(
    cells: list[Cell],
    environments: dict[str | None, list[str]],
    metrics: list[str],
    headline: list[dict[str, Any]],
    settings: Settings,
    beyond: list[dict[str, Any]],
) -> list[OfModel]:
    """Per model and phase: the inference over units and the analysis sets of the first metric,
    all metrics under ``by_metric``."""
    verdicts = {
        tuple(row[name] for name in ("phase", "model", "contrast", "metric")): row["over_units"] for row in beyond
    }
    out = []
    for phase, model in dict.fromkeys((cell.phase, cell.model) for cell in cells):
        contrast = plan_contrasts(phase, environments[phase], settings.roles(environments[phase]))[0]
        pair = f"{contrast.treatment}_vs_{contrast.reference}"
        mine = [c for c in cells if (c.phase, c.model) == (phase, model) and not fatal(c, contrast, settings)[0]]
        found: dict[str, OfMetric] = {}
        for metric in metrics:
            sets = [
                c
                for c in headline
                if (c["phase"], c["model"], c["metric"], c["contrast"]) == (phase, model, metric, pair)
            ]
            of_sets = None
            if len(sets) == 1:
                of_sets = SetsOfUnit(sets[0]["analysis_sets"], sets[0]["exclusions"], sets[0]["accounting"])
            found[metric] = OfMetric(analyze_units(_samples(mine, contrast, metric)), of_sets)
        told = {
            metric: ToldOfMetric(entry, verdicts.get((phase, model, pair, metric))) for metric, entry in found.items()
        }
        first = told[metrics[0]]
        out.append(OfModel(model, phase, metrics[0], pair, first.found, told, first.over_units))
    return out


def _samples(cells: list[Cell], contrast: Contrast, metric: str) -> dict[str, Arms]:
    """Unit to treatment, reference and the schedule of all runs."""
    return {cell.unit or "unit": (*samples_of(cell, contrast, metric, PROTOCOL), cell.schedule) for cell in cells}


def beyond_units(runs: RunTable, settings: Settings) -> list[Row]:
    """What may be said beyond the tested units: one row per phase, model, pair of arms (but options of a screen) and
    metric. The confirmatory metrics are a family over all models and pairs, the others another."""
    pairs: list[Pair] = []
    entries: list[Units] = []
    for phase, model in dict.fromkeys((cell.phase, cell.model) for cell in runs.cells):
        cells = [cell for cell in runs.cells if (cell.phase, cell.model) == (phase, model)]
        arms = runs.environments[phase]
        for contrast in plan_contrasts(phase, arms, settings.roles(arms)):
            mine = [cell for cell in cells if not fatal(cell, contrast, settings)[0]]
            if contrast.kind == "screen" or not mine:
                continue
            for metric in runs.metrics:
                name = f"{contrast.treatment}_vs_{contrast.reference}"
                pairs.append(Pair(phase, model, contrast.treatment, contrast.reference, name, metric))
                entries.append(analyze_units(_samples(mine, contrast, metric), models=False))
    confirmatory = [metric for metric in runs.metrics if settings.facts[metric].role == "confirmatory"] or runs.metrics
    said: dict[int, BeyondUnits | NotBeyond] = {}
    for family in (True, False):
        chosen = [i for i, pair in enumerate(pairs) if (pair.metric in confirmatory) is family]
        of = [pairs[i].metric for i in chosen]
        margins = [Margin(settings.margin_pct[x], x not in settings.undeclared) for x in of]
        said |= zip(chosen, over_units([entries[i] for i in chosen], margins), strict=True)
    return [Row(pair, entry.k_units, said[i]) for i, (pair, entry) in enumerate(zip(pairs, entries, strict=True))]
