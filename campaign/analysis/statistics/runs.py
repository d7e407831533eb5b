"""A run table in, the whole analysis out: one JSON-ready dictionary with the keys that the reference cases
(tests/fixtures/stats) have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from campaign.analysis.margin import Margin, margin_of
from campaign.analysis.parallel import Job, Work, together
from campaign.analysis.result import as_json
from campaign.analysis.statistics import compare as comparing
from campaign.analysis.statistics import factorial
from campaign.analysis.statistics.block_contrasts import Dunnett, dunnett_screen, pool_screens
from campaign.analysis.statistics.bootstrap import Resampled
from campaign.analysis.statistics.contrasts import Contrast, Roles, by_name, optimized_arm, phase_kind, plan_contrasts
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.equivalence import MARGINS_PCT
from campaign.analysis.statistics.factorial import Rows, Trait
from campaign.analysis.statistics.identity import identical_models, redundant_metrics
from campaign.analysis.statistics.interblock import interblock
from campaign.analysis.statistics.judgement import judge, plain_families
from campaign.analysis.statistics.metrics import Better, Fact, facts_of
from campaign.analysis.statistics.order import OrderBalance, Ran, complete_blocks, interleaved, time_series, was_blocked
from campaign.analysis.statistics.output import json_ready, versions
from campaign.analysis.statistics.power import power_table
from campaign.analysis.statistics.randomisation import Randomisation, randomisation, seed_of
from campaign.analysis.statistics.screening import screen_model
from campaign.analysis.statistics.seeds import derived_seed
from campaign.analysis.statistics.sets import (
    ALL_VALID,
    ANALYSIS_SETS,
    PROTOCOL,
    Attempts,
    Sample,
    accounting,
    exclusions,
    select,
    valid,
    within_protocol,
    worst_case,
)
from campaign.analysis.statistics.table import Cell, RunTable, TableError, alike, check_runs, reference_arm
from campaign.analysis.statistics.units import analyze_units, over_units
from campaign.analysis.statistics.validation import validate_model

SampleKey = tuple[Any, ...]
PUBLISHED = {ALL_VALID: "all_valid"}
"""Name under which a comparison states its analysis set, where it is not the set's own."""


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
) -> dict[str, Any]:
    """Analyse a run table, one row per attempt (columns: ``check_runs``).

    ``reference`` is the base arm (default: the one called ``native`` or beginning with it). ``m_planned`` is behind the
    ``*_bonferroni`` fields; ``planned`` fixes family sizes by id (``F_doc``, …). ``refused`` maps a model to an
    ``error_*`` status found elsewhere (identity, plausibility): its comparisons get no statistics. ``better`` declares
    which way a metric is better that ``metric_facts`` does not know (or knows otherwise). ``margin_pct``, one number or
    one by metric, is the equivalence margin that was declared; without one the default is taken and said to be none.
    Raises ``TableError`` where the table cannot be analysed.
    """
    runs = alike(check_runs(table))
    settings = settings_of(runs, reference, seed, m_planned, margin_pct, planned, planned_repetitions, refused, better)
    (out,) = together([_comparing(runs, settings)])
    headline = [c for c in out["comparisons"] if c["analysis_set"] == PROTOCOL]
    out["computed_with"] = versions()
    out["models"] = _models(runs.cells, runs.environments, runs.metrics, headline, settings, out["over_units"])
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
) -> Settings:
    everywhere = list(dict.fromkeys(e for arms in runs.environments.values() for e in arms))
    told = margin_pct if isinstance(margin_pct, Mapping) else dict.fromkeys(runs.metrics, margin_pct)
    margins = {metric: margin_of(told.get(metric)) for metric in runs.metrics}
    base = reference_arm(everywhere, reference)
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
        base, seed, m_planned, {metric: margin.pct for metric, margin in margins.items()}, planned or {},
            planned_repetitions,
        refused or {}, facts, undeclared=frozenset(metric for metric, margin in margins.items() if not margin.declared),
        declared_roles=roles,
    )  # fmt: skip


def _comparing(runs: RunTable, settings: Settings) -> Work:
    suspect = {
        "redundant_metrics": redundant_metrics(runs.cells, runs.metrics),
        "suspicious_identical_models": identical_models(runs.cells, runs.metrics),
    }
    of_cells = [
        partial(_compare_cell, cell, runs.environments[cell.phase], runs.metrics, settings, suspect)
        for cell in runs.cells
    ]
    of_phases = _phases(runs.cells, runs.environments, runs.metrics, settings)
    screened = _screens(runs, settings)
    jobs: list[Job] = [*of_cells, *screened.values(), *(job for _, decided in of_phases for job in decided)]

    def conclude(found: list[Any]) -> dict[str, Any]:
        decisions = _decisions(of_phases, runs.metrics, found[len(of_cells) + len(screened) :])
        if screened:
            decisions["factorial"] = dict(zip(screened, found[len(of_cells) :], strict=False))
        units = {"over_units": _beyond_units(runs, settings)}
        return _compared(found[: len(of_cells)], settings) | decisions | units

    return Work(jobs, conclude)


def _compared(
    cells: list[tuple[list[dict[str, dict[str, Any]]], list[dict[str, Any]]]], settings: Settings
) -> dict[str, Any]:
    """Families, verdicts and claims over what :func:`_compare_cell` found in each cell."""
    by_set: dict[str, list[dict[str, Any]]] = {name: [] for name in ANALYSIS_SETS}
    series: list[dict[str, Any]] = []
    for compared, checks in cells:
        for one in compared:
            for name in ANALYSIS_SETS:
                by_set[name].append(one[name])
        series += checks
    margins = settings.margin_pct
    families = {
        name: judge(
            found,
            margins,
            settings.planned,
            settings.facts,
            claims=name in (PROTOCOL, ALL_VALID),
            undeclared=settings.undeclared,
        )
        for name, found in by_set.items()
    }
    plain = plain_families(by_set[PROTOCOL], settings.planned, settings.facts)
    plain_families(by_set[ALL_VALID], settings.planned, settings.facts)
    _conclude(by_set)

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
        "comparisons": [c for name in (PROTOCOL, ALL_VALID) for c in by_set[name]],
        "families": plain | families[PROTOCOL],
        "series": series,
    }


def _compare_cell(
    cell: Cell,
    environments: list[str],
    metrics: list[str],
    settings: Settings,
    suspect: Mapping[str, set[tuple[str, str]]],
) -> tuple[list[dict[str, dict[str, Any]]], list[dict[str, Any]]]:
    """Every contrast and metric of a cell: the comparison in all analysis sets, and the series."""
    pairs = [
        (contrast, metric)
        for contrast in plan_contrasts(cell.phase, environments, settings.roles(environments))
        for metric in metrics
    ]
    screened = _dunnett(cell, environments, metrics, settings)
    compared = [_all_sets(cell, contrast, metric, settings, suspect, screened) for contrast, metric in pairs]
    return compared, [entry for pair in pairs for entry in series_of(cell, *pair, settings)]


# --- one comparison in all analysis sets ---------------------------------------------------------------------


def _all_sets(
    cell: Cell,
    contrast: Contrast,
    metric: str,
    settings: Settings,
    suspect: Mapping[str, set[tuple[str, str]]],
    screened: Mapping[tuple[str, str, str], Dunnett],
) -> dict[str, dict[str, Any]]:
    arms = [cell.arms[name] for name in (contrast.treatment, contrast.reference) if name in cell.arms]
    status, details = fatal(cell, contrast, settings)
    flags = flags_of(arms, metric) + [name for name, found in suspect.items() if (cell.model, metric) in found]
    pair = f"{contrast.treatment}_vs_{contrast.reference}"
    shared = {
        "model": cell.model,
        "metric": metric,
        "reference": contrast.reference,
        "treatment": contrast.treatment,
        "contrast": pair,
        "unit": cell.unit,
        "phase": cell.phase,
        "kind": contrast.kind,
        "settings_differ": {
            name: {arm: list(seen[arm]) for arm in (contrast.treatment, contrast.reference)}
            for name, seen in cell.settings.items()
            if seen.get(contrast.treatment)
            and seen.get(contrast.reference)
            and not set(seen[contrast.treatment]) & set(seen[contrast.reference])
        },
    }
    flags += ["settings_differ"] if shared["settings_differ"] else []
    if status:
        return {name: shared | refused(name, status, flags, details) for name in ANALYSIS_SETS}
    planned = settings.planned_repetitions or cell.planned
    margins = tuple(sorted({*MARGINS_PCT, settings.margin_pct[metric]}))
    done: dict[SampleKey, dict[str, Any]] = {}
    resampled: dict[SampleKey, dict[str, Any]] = {}
    headline = _sample_key(*samples_of(cell, contrast, metric, PROTOCOL))
    out: dict[str, dict[str, Any]] = {}
    for name in ANALYSIS_SETS:
        t, r = samples_of(cell, contrast, metric, name)
        key = _sample_key(t, r)
        blocked = was_blocked(t, r, cell.schedule)
        if key not in done:
            better = settings.facts[metric].direction
            done[key] = comparing.compare(t, r, better, blocked=blocked, m=settings.m, margins=margins)
        raised = list(flags)
        if settings.planned_repetitions and min(len(t), len(r)) < planned:
            raised.append("incomplete")
        mixed = interleaved(t, r)
        if mixed is False:
            raised.append("confounded_with_time")
        elif done[key]["order"].balanced is False:
            raised.append("order_imbalanced")
        found = done[key] | shared | {"analysis_set": PUBLISHED.get(name, name), "flags": raised, "interleaved": mixed}
        found["cautions"] = list(found["cautions"])
        if name in (PROTOCOL, ALL_VALID):
            # Where both sets hold the same runs they are one sample, with one interval: the headline's.
            if key not in resampled:
                names = (cell.model, metric, pair, PROTOCOL if key == headline else name)
                resampled[key] = {
                    "bootstrap": comparing.bootstrap(
                        found, t, r, settings.seed, names, settings.facts[metric].direction
                    ),
                    "randomisation": _rearranged(found, t, r, blocked, settings, metric),
                    "interblock": _recovered(found, t, r, blocked, arms),
                }
            found |= resampled[key]
        if contrast.kind == "screen":
            found["dunnett"] = screened.get((contrast.treatment, metric, name))
        out[name] = found
    extra = {
        "analysis_sets": {name: _set_summary(found) for name, found in out.items()},
        "exclusions": exclusions(arms, metric),
        "accounting": accounting(cell.arms.get(contrast.treatment), cell.arms.get(contrast.reference), metric, planned),
        "worst_case": worst_case(*samples_of(cell, contrast, metric, PROTOCOL), planned),
    }
    out[PROTOCOL] |= extra
    out[PROTOCOL]["excluded_run_ids"] = _not_used(arms, metric, PROTOCOL)
    out[ALL_VALID]["excluded_run_ids"] = _not_used(arms, metric, ALL_VALID)
    return out


def _rearranged(
    found: Mapping[str, Any], t: Sample, r: Sample, blocked: bool, settings: Settings, metric: str
) -> Randomisation | None:
    """The randomisation test over what the design allows: swaps within complete blocks where there are three,
    else all labels."""
    if found["status"] != "ok":
        return None
    rows = complete_blocks(t, r)
    swapped = blocked and len(rows[0]) >= comparing.FEWEST
    a, b = (t.value[rows[0]], r.value[rows[1]]) if swapped else (t.value, r.value)
    seed = seed_of(settings.seed, swapped, (len(a), len(b)))
    return randomisation(a, b, swapped, seed, settings.margin_pct[metric])


def _recovered(
    found: Mapping[str, Any], t: Sample, r: Sample, blocked: bool, arms: list[Attempts]
) -> dict[str, Any] | None:
    """The mixed model over blocks of which some are incomplete; None where nothing is inferred.
    ``arms`` are treatment and reference."""
    if found["status"] != "ok":
        return None
    if not blocked:
        return {"status": "no_blocks"}
    return interblock(t, r, (_places(t, r, arms[1]), _places(r, t, arms[0])))


def _places(mine: Sample, other: Sample, partners: Attempts) -> FloatArray:
    """-0.5 for each run that came before its partner, 0.5 after, NaN where not known;
    a lost partner's place is that of its first attempt."""
    order = dict(zip(partners.repetition[::-1].tolist(), partners.order[::-1].tolist(), strict=True))
    order |= dict(zip(other.repetition.tolist(), other.order.tolist(), strict=True))
    theirs = np.array([order.get(repetition, np.nan) for repetition in mine.repetition.tolist()], dtype=float)
    return np.where(np.isnan(mine.order) | np.isnan(theirs), np.nan, np.where(mine.order < theirs, -0.5, 0.5))


def _dunnett(
    cell: Cell, environments: list[str], metrics: list[str], settings: Settings
) -> dict[tuple[str, str, str], Dunnett]:
    """Option, metric and analysis set to Dunnett's comparison with the baseline, in a phase that screens."""
    roles = settings.roles(environments)
    baseline = roles.baseline
    if phase_kind(cell.phase, roles) != "screen" or baseline is None:
        return {}
    options = [e for e in roles.options if e in cell.arms]
    out = {}
    for metric in metrics:
        for name in ANALYSIS_SETS:
            arms = {e: select(cell.arms[e], metric, name) for e in (baseline, *options) if e in cell.arms}
            for option, found in dunnett_screen(arms, baseline).items():
                out[option, metric, name] = found
    return out


def samples_of(cell: Cell, contrast: Contrast, metric: str, name: str) -> tuple[Sample, Sample]:
    t, r = (
        select(cell.arms[arm], metric, name) if arm in cell.arms else comparing.empty_sample()
        for arm in (contrast.treatment, contrast.reference)
    )
    return t, r


def _sample_key(t: Sample, r: Sample) -> SampleKey:
    """What tells two samples apart. A repeated run keeps its id, so its value and its place in time belong to it."""
    return tuple(part for s in (t, r) for part in (tuple(s.run_ids), s.value.tobytes(), s.order.tobytes()))


def fatal(cell: Cell, contrast: Contrast, settings: Settings) -> tuple[str | None, dict[str, Any]]:
    """The status that forbids statistics, with its evidence."""
    pair = (contrast.treatment, contrast.reference)
    twice = [run_id for arm in pair for run_id in cell.duplicates.get(arm, [])]
    if twice:
        return "error_duplicate_cell", {"duplicate_run_ids": sorted(twice)}
    if cell.weights_differ:
        return "error_model_identity", {}
    changed = {
        name: {arm: list(seen.get(arm, ())) for arm in pair}
        for name, seen in cell.changed.items()
        if len({value for arm in pair for value in seen.get(arm, ())}) > 1
    }
    if changed:
        return "error_environment_changed", {"changed": changed}
    if cell.model in settings.refused:
        return settings.refused[cell.model], {}
    return None, {}


def refused(name: str, status: str, flags: list[str], details: dict[str, Any]) -> dict[str, Any]:
    first = ["duplicate_cell"] if status == "error_duplicate_cell" else []
    empty = dict.fromkeys((*comparing.inferential(), "desc", "diff", "pct_change", "overhead_pct", "outliers"))
    nothing: dict[str, Any] = {"status": None, "n_pairs": None}
    return (
        {"analysis_set": PUBLISHED.get(name, name), "status": status, "flags": first + flags, "cautions": []}
        | empty
        | {
            "paired": nothing,
            "bootstrap": Resampled(),
            "randomisation": None,
            "interblock": None,
            "interleaved": None,
            "reasons": {},
        }
        | {"layers": {}, "time_matters": None, "order": OrderBalance(), "worst_case": None}
        | {"analysis_sets": None, "exclusions": None, "accounting": None, "excluded_run_ids": []}
        | details
    )


def flags_of(arms: list[Attempts], metric: str) -> list[str]:
    values = [arm.values[metric] for arm in arms]
    checks = {
        "missing_values": any(np.isnan(x).any() for x in values),
        "nonfinite_dropped": any(np.isinf(x).any() for x in values),
        "failed_runs": any((~arm.ok).any() for arm in arms),
        "throttled_runs": any(arm.throttled.any() for arm in arms),
    }
    return [name for name, raised in checks.items() if raised]


def _not_used(arms: list[Attempts], metric: str, name: str) -> list[str]:
    keep = valid if name == ALL_VALID else within_protocol
    return sorted(arm.run_ids[i] for arm in arms for i in np.flatnonzero(~keep(arm, metric)))


def _set_summary(found: dict[str, Any]) -> dict[str, Any]:
    arms = {found["treatment"]: found["desc"]["treatment"], found["reference"]: found["desc"]["reference"]}
    return {
        "n": {arm: desc["n"] for arm, desc in arms.items()},
        "mean": {arm: desc.get("mean") for arm, desc in arms.items()},
        "sd": {arm: desc.get("sd") for arm, desc in arms.items()},
        **{key: found[key] for key in ("diff", "pct_change", "welch", "paired", "status")},
    }


def _conclude(by_set: dict[str, list[dict[str, Any]]]) -> None:
    """Flag verdicts that depend on which runs are kept, and state the claims."""
    for i, headline in enumerate(by_set[PROTOCOL]):
        verdicts = {name: by_set[name][i]["verdict"] for name in ANALYSIS_SETS}
        headline["verdict_by_set"] = verdicts
        if len(set(verdicts.values())) > 1:
            headline["flags"] = [*headline["flags"], "sensitive_to_exclusions"]
        for name in (PROTOCOL, ALL_VALID):
            found = by_set[name][i]
            stated = found.pop("claimed")
            found["claim"] = stated.sentence
            found["claim_detail"] = stated.as_dict()
            found["reason"] = stated.reason
            del found["layers"]


# --- the layers around the comparisons -----------------------------------------------------------------------


def series_of(cell: Cell, contrast: Contrast, metric: str, settings: Settings) -> list[dict[str, Any]]:
    if fatal(cell, contrast, settings)[0]:
        return []
    t, r = samples_of(cell, contrast, metric, PROTOCOL)
    if len(t) < 3 or len(r) < 3:
        return []
    name = f"{contrast.treatment}_vs_{contrast.reference}"
    entry = {
        "model": cell.model,
        "metric": metric,
        "reference": contrast.reference,
        "treatment": contrast.treatment,
        "unit": cell.unit,
        "phase": cell.phase,
    }
    if np.isnan(t.order).any() or np.isnan(r.order).any():
        return [entry | {"interleaved": None, "flags": [], "reason": "order_not_recorded"}]
    seed = derived_seed(settings.seed, cell.model, metric, name, "moving_block_mean_diff", PROTOCOL)
    return [entry | time_series(t, r, was_blocked(t, r, cell.schedule), seed, _ran(cell, contrast.treatment))]


def _ran(cell: Cell, treatment: str) -> Ran:
    """All attempts of the cell in time, kept or not, and which were of the treatment."""
    order = np.concatenate([arm.order for arm in cell.arms.values()])
    mine = np.concatenate([np.full(len(arm), name == treatment) for name, arm in cell.arms.items()])
    known = np.isfinite(order)
    sort = np.argsort(order[known], kind="stable")
    return order[known][sort], mine[known][sort]


def _models(
    cells: list[Cell],
    environments: dict[str | None, list[str]],
    metrics: list[str],
    headline: list[dict[str, Any]],
    settings: Settings,
    beyond: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Per model and phase: the inference over units and the analysis sets of the first metric,
    all metrics under ``by_metric``."""
    out = []
    for phase, model in dict.fromkeys((cell.phase, cell.model) for cell in cells):
        contrast = plan_contrasts(phase, environments[phase], settings.roles(environments[phase]))[0]
        mine = [c for c in cells if (c.phase, c.model) == (phase, model) and not fatal(c, contrast, settings)[0]]
        by_metric = {}
        for metric in metrics:
            samples = {
                cell.unit or "unit": (*samples_of(cell, contrast, metric, PROTOCOL), cell.schedule) for cell in mine
            }
            sets = [
                c
                for c in headline
                if (c["phase"], c["model"], c["metric"]) == (phase, model, metric)
                and (c["treatment"], c["reference"]) == (contrast.treatment, contrast.reference)
            ]
            entry = analyze_units(samples)
            if len(sets) == 1:
                entry |= {key: sets[0][key] for key in ("analysis_sets", "exclusions", "accounting")}
            by_metric[metric] = entry
        first = {
            "model": model,
            "phase": phase,
            "metric": metrics[0],
            "contrast": f"{contrast.treatment}_vs_{contrast.reference}",
        }
        out.append(first | by_metric[metrics[0]] | {"by_metric": by_metric})
    verdicts = {
        tuple(row[name] for name in ("phase", "model", "contrast", "metric")): row["over_units"] for row in beyond
    }
    for entry in out:
        for metric, found in entry["by_metric"].items():
            found["over_units"] = verdicts.get((entry["phase"], entry["model"], entry["contrast"], metric))
        entry["over_units"] = entry["by_metric"][entry["metric"]]["over_units"]
    return out


def _beyond_units(runs: RunTable, settings: Settings) -> list[dict[str, Any]]:
    """What may be said beyond the tested units: one row per phase, model, pair of arms (but options of a screen) and
    metric. The confirmatory metrics are a family over all models and pairs, the others another."""
    rows, entries = [], []
    for phase, model in dict.fromkeys((cell.phase, cell.model) for cell in runs.cells):
        cells = [cell for cell in runs.cells if (cell.phase, cell.model) == (phase, model)]
        arms = runs.environments[phase]
        for contrast in plan_contrasts(phase, arms, settings.roles(arms)):
            mine = [cell for cell in cells if not fatal(cell, contrast, settings)[0]]
            if contrast.kind == "screen" or not mine:
                continue
            for metric in runs.metrics:
                entry = analyze_units(
                    {
                        cell.unit or "unit": (*samples_of(cell, contrast, metric, PROTOCOL), cell.schedule)
                        for cell in mine
                    },
                    models=False,
                )
                entries.append(entry)
                names = {
                    "phase": phase,
                    "model": model,
                    "treatment": contrast.treatment,
                    "reference": contrast.reference,
                }
                pair = f"{contrast.treatment}_vs_{contrast.reference}"
                rows.append(names | {"contrast": pair, "metric": metric, "k_units": entry["k_units"]})
    confirmatory = [metric for metric in runs.metrics if settings.facts[metric].role == "confirmatory"] or runs.metrics
    for family in (True, False):
        chosen = [i for i, row in enumerate(rows) if (row["metric"] in confirmatory) is family]
        of = [rows[i]["metric"] for i in chosen]
        over_units(
            [entries[i] for i in chosen], [Margin(settings.margin_pct[x], x not in settings.undeclared) for x in of]
        )
    return [row | {"over_units": entry["over_units"]} for row, entry in zip(rows, entries, strict=True)]


PhaseJobs = list[tuple[str, list[Job]]]
"""For each phase that decides something its kind, and a job for each metric."""


def _phases(
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


def _screens(runs: RunTable, settings: Settings) -> dict[str, Job]:
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


def _decisions(phases: PhaseJobs, metrics: list[str], found: list[dict[str, Any]]) -> dict[str, Any]:
    """``screen``, ``pooled``, ``ranking`` of a screening phase and ``validation`` of a three-arm one;
    first metric, others beside."""
    out: dict[str, Any] = {"screen": {}, "pooled": {}, "ranking": [], "validation": {}}
    for i, (kind, _) in enumerate(phases):
        per_metric = dict(zip(metrics, found[i * len(metrics) : (i + 1) * len(metrics)], strict=True))
        out |= per_metric[metrics[0]]
        out["screen_by_metric" if kind == "screen" else "validation_by_metric"] = per_metric
    return out


def _screened(roles: Roles, settings: Settings, metric: str, groups: dict[str, dict[str, Sample]]) -> dict[str, Any]:
    baseline, configs = roles.baseline, list(roles.options)
    assert baseline is not None
    better = settings.facts[metric].direction
    screens = {
        model: screen_model(found, settings.reference, baseline, configs, better) for model, found in groups.items()
    }
    found = pool_screens(groups, baseline, configs, better, settings.margin_pct[metric], roles.never)
    return {"screen": screens, "never_chosen": dict(roles.never)} | as_json(found)


def _validated(roles: Roles, settings: Settings, metric: str, groups: dict[str, dict[str, Sample]]) -> dict[str, Any]:
    optimized = optimized_arm(roles)
    assert roles.baseline is not None and optimized is not None
    trio = (settings.reference, roles.baseline, optimized)
    return {
        "validation": {
            model: validate_model(
                found, trio, derived_seed(settings.seed, model, metric, "reduction", "block_bootstrap", PROTOCOL)
            )
            for model, found in groups.items()
        }
    }


def pooled_units(cells: list[Cell], metric: str) -> dict[str, dict[str, Sample]]:
    """Model to environment to protocol sample; blocks of different units are told apart by numbering on."""
    out: dict[str, dict[str, Sample]] = {}
    offset: dict[str, int] = {}
    for cell in cells:
        arms = out.setdefault(cell.model, {})
        start = offset.get(cell.model, 0)
        last = start
        for name, attempts in cell.arms.items():
            sample = select(attempts, metric, PROTOCOL)
            if len(sample) == 0:
                continue
            last = max(last, start + int(sample.repetition.max()))
            moved = Sample(sample.run_ids, sample.repetition + start, sample.value, sample.order, sample.temperature)
            arms[name] = _joined(arms[name], moved) if name in arms else moved
        offset[cell.model] = last
    return out


def _joined(a: Sample, b: Sample) -> Sample:
    return Sample(
        a.run_ids + b.run_ids,
        np.concatenate([a.repetition, b.repetition]),
        np.concatenate([a.value, b.value]),
        np.concatenate([a.order, b.order]),
        np.concatenate([a.temperature, b.temperature]),
    )
