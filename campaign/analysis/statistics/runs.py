"""A run table in, the whole analysis out: one JSON-ready dictionary with the keys that the reference cases
(tests/fixtures/stats) have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from campaign.analysis.parallel import Job, Work, together
from campaign.analysis.result import as_json
from campaign.analysis.statistics.beyond_units import beyond_units, models_of
from campaign.analysis.statistics.cells import compare_cell
from campaign.analysis.statistics.comparison import InSets
from campaign.analysis.statistics.conclusions import conclude
from campaign.analysis.statistics.contrasts import Roles
from campaign.analysis.statistics.equivalence import MARGINS_PCT
from campaign.analysis.statistics.factorial import Rows, Trait
from campaign.analysis.statistics.identity import identical_models, redundant_metrics
from campaign.analysis.statistics.metrics import Better
from campaign.analysis.statistics.output import json_ready, versions
from campaign.analysis.statistics.phases import decisions, phase_jobs, screen_jobs
from campaign.analysis.statistics.power import power_table
from campaign.analysis.statistics.sets import PROTOCOL
from campaign.analysis.statistics.settings import Settings, settings_of
from campaign.analysis.statistics.table import RunTable, alike, check_runs
from campaign.analysis.statistics.time_series import Series


def analyze_runs(
    table: pd.DataFrame,
    *,
    reference: str | None = None,
    seed: int = 0,
    m_planned: int = 30,
    margin_pct: float | Mapping[str, float] | None = None,
    planned: Mapping[str, int] | None = None,
    planned_repetitions: int | None = None,
    refused: Mapping[str, str] | None = None,
    better: Mapping[str, Better | None] | None = None,
    baseline: str | None = None,
) -> dict[str, Any]:
    """Analyse a run table, one row per attempt (columns: ``check_runs``).

    ``reference`` is the base arm (default: the one called ``native`` or beginning with it). ``m_planned`` is behind the
    ``*_bonferroni`` fields; ``planned`` fixes family sizes by id (``F_doc``, …). ``refused`` maps a model to an
    ``error_*`` status found elsewhere (identity, plausibility): its comparisons get no statistics. ``better`` declares
    which way a metric is better that ``metric_facts`` does not know (or knows otherwise). ``margin_pct``, one number or
    one by metric, is the equivalence margin that was declared; without one the default is taken and said to be none.
    ``baseline`` is the arm as it is shipped; all others but the reference are options then, judged against it.
    Raises ``TableError`` where the table cannot be analysed.
    """
    runs = alike(check_runs(table))
    settings = settings_of(
        runs, reference, seed, m_planned, margin_pct, planned, planned_repetitions, refused, better, baseline=baseline
    )
    (out,) = together([_comparing(runs, settings)])
    headline = [c for c in out["comparisons"] if c["analysis_set"] == PROTOCOL]
    out["computed_with"] = versions()
    out["models"] = models_of(runs.cells, runs.environments, runs.metrics, headline, settings, out["over_units"])
    out["checklist"] = None
    out["manifest"] = {"input": None, "rows": len(table), "versions": versions(), "campaign_seed": seed}
    out["reasons"] = {"checklist": "filled in by the report, which alone knows provenance and figures"}
    out |= power_table()
    if len(headline) == 1:
        out |= {"analysis_sets": headline[0]["analysis_sets"], "exclusions": headline[0]["exclusions"]}
    return json_ready(out)  # type: ignore[no-any-return]


def compare_runs(
    table: pd.DataFrame,
    *,
    reference: str | None,
    seed: int,
    m_planned: int,
    margin_pct: float | Mapping[str, float] | None,
    planned: Mapping[str, int],
    planned_repetitions: int | None,
    refused: Mapping[str, str],
    better: Mapping[str, Better | None] | None = None,
    units: Mapping[str, str] | None = None,
    screen: tuple[Rows, Mapping[str, Trait]] | None = None,
    roles: Roles | None = None,
) -> Work:
    """Of :func:`analyze_runs`, whose arguments these are, what a results folder keeps: comparisons, series,
    decisions between phases.

    The conclusion has plain Python and NumPy values, not yet made ready for JSON.
    """
    runs = alike(check_runs(table))
    settings = settings_of(
        runs, reference, seed, m_planned, margin_pct, planned, planned_repetitions, refused, better, units, roles
    )
    return _comparing(runs, replace(settings, screen=screen))


def _comparing(runs: RunTable, settings: Settings) -> Work:
    suspect = {
        "redundant_metrics": redundant_metrics(runs.cells, runs.metrics),
        "suspicious_identical_models": identical_models(runs.cells, runs.metrics),
    }
    of_cells = [
        partial(compare_cell, cell, runs.environments[cell.phase], runs.metrics, settings, suspect)
        for cell in runs.cells
    ]
    of_phases = phase_jobs(runs.cells, runs.environments, runs.metrics, settings)
    screened = screen_jobs(runs, settings)
    jobs: list[Job] = [*of_cells, *screened.values(), *(job for _, decided in of_phases for job in decided)]

    def conclude(found: list[Any]) -> dict[str, Any]:
        decided = decisions(of_phases, runs.metrics, found[len(of_cells) + len(screened) :])
        if screened:
            decided["factorial"] = dict(zip(screened, found[len(of_cells) :], strict=False))
        units = {"over_units": [as_json(row) for row in beyond_units(runs, settings)]}
        return _compared(found[: len(of_cells)], settings) | decided | units

    return Work(jobs, conclude)


def _compared(cells: list[tuple[list[InSets], list[Series]]], settings: Settings) -> dict[str, Any]:
    """Families, verdicts and claims over what ``compare_cell`` found in each cell."""
    found = [one for compared, _ in cells for one in compared]
    margins = settings.margin_pct
    concluded, families = conclude(found, settings)
    return {
        "settings": {
            "alpha": 0.05,
            "reference": settings.reference,
            "sign": "treatment - reference",
            "m_planned_for_bonferroni_fields": settings.m,
            "tost_margins_pct": sorted({*MARGINS_PCT, *margins.values()}),
            "margin_pct": margins,
            "margin_not_declared": sorted(settings.undeclared),
            "directions": {
                metric: {"better": fact.better, "source": fact.source} for metric, fact in settings.facts.items()
            },
            "quantile_type": 7,
            "campaign_seed": settings.seed,
            "headline_analysis_set": PROTOCOL,
        },
        "comparisons": [as_json(one) for one in concluded],
        "families": as_json(families),
        "series": [as_json(entry) for _, series in cells for entry in series],
    }
