"""What each model's units say together, and what may be said of units beyond them."""

from __future__ import annotations

from typing import Any

from campaign.analysis.margin import Margin
from campaign.analysis.statistics.cells import fatal, samples_of
from campaign.analysis.statistics.contrasts import Contrast, plan_contrasts
from campaign.analysis.statistics.sets import PROTOCOL
from campaign.analysis.statistics.settings import Settings
from campaign.analysis.statistics.table import Cell, RunTable
from campaign.analysis.statistics.units import Arms, BeyondUnits, NotBeyond, analyze_units, over_units


def models_of(
    cells: list[Cell],
    environments: dict[str | None, list[str]],
    metrics: list[str],
    headline: list[dict[str, Any]],
    settings: Settings,
    beyond: list[dict[str, Any]],
) -> list[dict[str, Any]]:
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
        found: dict[str, dict[str, Any]] = {}
        for metric in metrics:
            sets = [
                c
                for c in headline
                if (c["phase"], c["model"], c["metric"], c["contrast"]) == (phase, model, metric, pair)
            ]
            found[metric] = analyze_units(_samples(mine, contrast, metric))
            if len(sets) == 1:
                found[metric] |= {key: sets[0][key] for key in ("analysis_sets", "exclusions", "accounting")}
        beyond_of = {metric: verdicts.get((phase, model, pair, metric)) for metric in metrics}
        out.append(
            {"model": model, "phase": phase, "metric": metrics[0], "contrast": pair}
            | found[metrics[0]]
            | {"by_metric": {metric: entry | {"over_units": beyond_of[metric]} for metric, entry in found.items()}}
            | {"over_units": beyond_of[metrics[0]]}
        )
    return out


def _samples(cells: list[Cell], contrast: Contrast, metric: str) -> dict[str, Arms]:
    """Unit to treatment, reference and the schedule of all runs."""
    return {cell.unit or "unit": (*samples_of(cell, contrast, metric, PROTOCOL), cell.schedule) for cell in cells}


def beyond_units(runs: RunTable, settings: Settings) -> list[dict[str, Any]]:
    """What may be said beyond the tested units: one row per phase, model, pair of arms (but options of a screen) and
    metric. The confirmatory metrics are a family over all models and pairs, the others another."""
    rows: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for phase, model in dict.fromkeys((cell.phase, cell.model) for cell in runs.cells):
        cells = [cell for cell in runs.cells if (cell.phase, cell.model) == (phase, model)]
        arms = runs.environments[phase]
        for contrast in plan_contrasts(phase, arms, settings.roles(arms)):
            mine = [cell for cell in cells if not fatal(cell, contrast, settings)[0]]
            if contrast.kind == "screen" or not mine:
                continue
            for metric in runs.metrics:
                entry = analyze_units(_samples(mine, contrast, metric), models=False)
                entries.append(entry)
                rows.append(
                    {
                        "phase": phase,
                        "model": model,
                        "treatment": contrast.treatment,
                        "reference": contrast.reference,
                        "contrast": f"{contrast.treatment}_vs_{contrast.reference}",
                        "metric": metric,
                        "k_units": entry["k_units"],
                    }
                )
    confirmatory = [metric for metric in runs.metrics if settings.facts[metric].role == "confirmatory"] or runs.metrics
    said: dict[int, BeyondUnits | NotBeyond] = {}
    for family in (True, False):
        chosen = [i for i, row in enumerate(rows) if (row["metric"] in confirmatory) is family]
        of = [rows[i]["metric"] for i in chosen]
        margins = [Margin(settings.margin_pct[x], x not in settings.undeclared) for x in of]
        said |= zip(chosen, over_units([entries[i] for i in chosen], margins), strict=True)
    return [row | {"over_units": said[i]} for i, row in enumerate(rows)]
