"""A cell of the run table: every contrast and metric compared in all analysis sets, and what order and time explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from campaign.analysis.statistics import compare as comparing
from campaign.analysis.statistics.block_contrasts import Dunnett, dunnett_screen
from campaign.analysis.statistics.bootstrap import Resampled
from campaign.analysis.statistics.comparison import (
    PUBLISHED,
    InSets,
    Measured,
    Names,
    OfScreen,
    OfSets,
    Rearranged,
    Refused,
    names_of,
    summary_of,
)
from campaign.analysis.statistics.contrasts import Contrast, phase_kind, plan_contrasts
from campaign.analysis.statistics.deciding import Layer
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.equivalence import MARGINS_PCT
from campaign.analysis.statistics.interblock import Interblock, interblock
from campaign.analysis.statistics.order import complete_blocks, interleaved, was_blocked
from campaign.analysis.statistics.randomisation import Randomisation, randomisation, seed_of
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
from campaign.analysis.statistics.settings import Settings
from campaign.analysis.statistics.table import Cell
from campaign.analysis.statistics.time_series import OrderNotRecorded, Ran, Series, time_series

SampleKey = tuple[Any, ...]


def compare_cell(
    cell: Cell,
    environments: list[str],
    metrics: list[str],
    settings: Settings,
    suspect: Mapping[str, set[tuple[str, str]]],
) -> tuple[list[InSets], list[Series]]:
    """Every contrast and metric of a cell: the comparison in all analysis sets, and the series."""
    pairs = [
        (contrast, metric)
        for contrast in plan_contrasts(cell.phase, environments, settings.roles(environments))
        for metric in metrics
    ]
    screened = _dunnett(cell, environments, metrics, settings)
    compared = [_all_sets(cell, contrast, metric, settings, suspect, screened) for contrast, metric in pairs]
    return compared, [entry for pair in pairs for entry in series_of(cell, *pair, settings)]


def _all_sets(
    cell: Cell,
    contrast: Contrast,
    metric: str,
    settings: Settings,
    suspect: Mapping[str, set[tuple[str, str]]],
    screened: Mapping[tuple[str, str, str], Dunnett],
) -> InSets:
    arms = [cell.arms[name] for name in (contrast.treatment, contrast.reference) if name in cell.arms]
    status, evidence = fatal(cell, contrast, settings)
    names = names_of(cell, contrast, metric)
    flags = flags_of(arms, metric) + [name for name, found in suspect.items() if (cell.model, metric) in found]
    flags += ["settings_differ"] if names.settings_differ else []
    if status:
        flags = [*(["duplicate_cell"] if status == "error_duplicate_cell" else []), *flags]
        return {
            name: Refused(names, PUBLISHED.get(name, name), status, flags, evidence=evidence) for name in ANALYSIS_SETS
        }
    planned = settings.planned_repetitions or cell.planned
    question = _Question(cell, names, settings)
    headline = _sample_key(*samples_of(cell, contrast, metric, PROTOCOL))
    out = {}
    for name in ANALYSIS_SETS:
        t, r = samples_of(cell, contrast, metric, name)
        answer = question.of(t, r)
        raised = list(flags)
        if settings.planned_repetitions and min(len(t), len(r)) < planned:
            raised.append("incomplete")
        mixed = interleaved(t, r)
        if mixed is False:
            raised.append("confounded_with_time")
        elif answer.compared.order.balanced is False:
            raised.append("order_imbalanced")
        found = Measured(
            compared=answer.compared,
            names=names,
            analysis_set=PUBLISHED.get(name, name),
            flags=raised,
            interleaved=mixed,
            layers=answer.layers,
            of_screen=OfScreen(screened.get((contrast.treatment, metric, name))) if contrast.kind == "screen" else None,
        )
        if name in (PROTOCOL, ALL_VALID):
            # Where both sets hold the same runs they are one sample, with one interval: the headline's.
            drawn_as = PROTOCOL if _sample_key(t, r) == headline else name
            intervals, rearranged = question.resampled(t, r, drawn_as, arms)
            found = replace(
                found,
                compared=replace(answer.compared, bootstrap=intervals),
                rearranged=rearranged,
                excluded_run_ids=_not_used(arms, metric, name),
            )
        out[name] = found
    of_sets = OfSets(
        {name: summary_of(found) for name, found in out.items()},
        exclusions(arms, metric),
        accounting(cell.arms.get(contrast.treatment), cell.arms.get(contrast.reference), metric, planned),
        worst_case(*samples_of(cell, contrast, metric, PROTOCOL), planned),
    )
    return {**out, PROTOCOL: replace(out[PROTOCOL], of_sets=of_sets)}


@dataclass(frozen=True)
class _Answer:
    """What two samples show, and what may decide between them."""

    compared: comparing.Compared
    layers: Mapping[str, Layer]


@dataclass(frozen=True)
class _Question:
    """One contrast and metric of a cell. Analysis sets that hold the same runs are asked once."""

    cell: Cell
    names: Names
    settings: Settings
    known: dict[SampleKey, _Answer] = field(default_factory=dict)
    drawn: dict[SampleKey, tuple[Resampled, Rearranged]] = field(default_factory=dict)

    def of(self, t: Sample, r: Sample) -> _Answer:
        """Treatment and reference compared."""
        key = _sample_key(t, r)
        if key not in self.known:
            settings, metric = self.settings, self.names.metric
            blocked = was_blocked(t, r, self.cell.schedule)
            margins = tuple(sorted({*MARGINS_PCT, settings.margin_pct[metric]}))
            better = settings.facts[metric].direction
            found = comparing.compare(t, r, better, blocked=blocked, m=settings.m, margins=margins)
            self.known[key] = _Answer(found, comparing.layers(t, r, blocked) if found.status == "ok" else {})
        return self.known[key]

    def resampled(self, t: Sample, r: Sample, analysis_set: str, arms: list[Attempts]) -> tuple[Resampled, Rearranged]:
        """What chance and other schedules would have made of two samples; the set names the random stream. ``arms`` are
        treatment and reference."""
        key = _sample_key(t, r)
        if key not in self.drawn:
            settings, names = self.settings, self.names
            found, blocked = self.of(t, r).compared, was_blocked(t, r, self.cell.schedule)
            stream = (names.model, names.metric, names.contrast, analysis_set)
            better = settings.facts[names.metric].direction
            self.drawn[key] = (
                comparing.bootstrap(found, t, r, settings.seed, stream, better),
                Rearranged(
                    _rearranged(found, t, r, blocked, settings, names.metric), _recovered(found, t, r, blocked, arms)
                ),
            )
        return self.drawn[key]


def _rearranged(
    found: comparing.Compared, t: Sample, r: Sample, blocked: bool, settings: Settings, metric: str
) -> Randomisation | None:
    """The randomisation test over what the design allows: swaps within complete blocks where there are three,
    else all labels."""
    if found.status != "ok":
        return None
    rows = complete_blocks(t, r)
    swapped = blocked and len(rows[0]) >= comparing.FEWEST
    a, b = (t.value[rows[0]], r.value[rows[1]]) if swapped else (t.value, r.value)
    seed = seed_of(settings.seed, swapped, (len(a), len(b)))
    return randomisation(a, b, swapped, seed, settings.margin_pct[metric])


def _recovered(
    found: comparing.Compared, t: Sample, r: Sample, blocked: bool, arms: list[Attempts]
) -> Interblock | None:
    """The mixed model over blocks of which some are incomplete; None where nothing is inferred.
    ``arms`` are treatment and reference."""
    if found.status != "ok":
        return None
    if not blocked:
        return Interblock(status="no_blocks")
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


def _sample_key(t: Sample, r: Sample) -> SampleKey:
    """What tells two samples apart. A repeated run keeps its id, so its value and its place in time belong to it."""
    return tuple(part for s in (t, r) for part in (tuple(s.run_ids), s.value.tobytes(), s.order.tobytes()))


def _not_used(arms: list[Attempts], metric: str, name: str) -> list[str]:
    keep = valid if name == ALL_VALID else within_protocol
    return sorted(arm.run_ids[i] for arm in arms for i in np.flatnonzero(~keep(arm, metric)))


def samples_of(cell: Cell, contrast: Contrast, metric: str, name: str) -> tuple[Sample, Sample]:
    t, r = (
        select(cell.arms[arm], metric, name) if arm in cell.arms else comparing.empty_sample()
        for arm in (contrast.treatment, contrast.reference)
    )
    return t, r


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


def flags_of(arms: list[Attempts], metric: str) -> list[str]:
    values = [arm.values[metric] for arm in arms]
    checks = {
        "missing_values": any(np.isnan(x).any() for x in values),
        "nonfinite_dropped": any(np.isinf(x).any() for x in values),
        "failed_runs": any((~arm.ok).any() for arm in arms),
        "throttled_runs": any(arm.throttled.any() for arm in arms),
    }
    return [name for name, raised in checks.items() if raised]


def series_of(cell: Cell, contrast: Contrast, metric: str, settings: Settings) -> list[Series]:
    """What order and time explain of a contrast; nothing where it was refused or an arm has fewer than three runs."""
    if fatal(cell, contrast, settings)[0]:
        return []
    t, r = samples_of(cell, contrast, metric, PROTOCOL)
    if len(t) < 3 or len(r) < 3:
        return []
    named = partial(Series, cell.model, metric, contrast.reference, contrast.treatment, cell.unit, cell.phase)
    if np.isnan(t.order).any() or np.isnan(r.order).any():
        return [named(OrderNotRecorded())]
    name = f"{contrast.treatment}_vs_{contrast.reference}"
    seed = derived_seed(settings.seed, cell.model, metric, name, "moving_block_mean_diff", PROTOCOL)
    return [named(time_series(t, r, was_blocked(t, r, cell.schedule), seed, _ran(cell, contrast.treatment)))]


def _ran(cell: Cell, treatment: str) -> Ran:
    """All attempts of the cell in time, kept or not, and which were of the treatment."""
    order = np.concatenate([arm.order for arm in cell.arms.values()])
    mine = np.concatenate([np.full(len(arm), name == treatment) for name, arm in cell.arms.items()])
    known = np.isfinite(order)
    sort = np.argsort(order[known], kind="stable")
    return order[known][sort], mine[known][sort]
