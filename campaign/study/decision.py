"""What the next phase is, from the evidence so far: the candidates, their estimates raw and shrunken,
and the rule applied to them.

A decision is data: it goes into the study's journal as it stands here, the report prints it, and ``campaign verify``
makes it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.analysis import inputs, metrics, views
from campaign.analysis.margin import margin_of
from campaign.analysis.statistics import factorial
from campaign.analysis.statistics.block_contrasts import pool_screens
from campaign.analysis.statistics.factorial import Groups, Screened, by_gain
from campaign.analysis.statistics.factorial.fit import Effect, Judged, NotEstimable
from campaign.analysis.statistics.output import json_ready
from campaign.analysis.statistics.pooled import pooled_units
from campaign.analysis.statistics.screen_config import rows_of, traits
from campaign.analysis.statistics.shrinkage import Shrunken, shrink
from campaign.analysis.statistics.table import alike, check_runs
from campaign.config.schema import Campaign, Factor, Screen
from campaign.record import journal
from campaign.study.asked import Choice, PhaseAsked
from campaign.study.config import OPTIMIZED, Study, privilege, representative
from campaign.study.record import StudyState, phase_store

ALPHA = 0.05
Event = dict[str, Any]


def decide(study: Study, phase: PhaseAsked, folder: Path, state: StudyState) -> tuple[Choice, dict[str, Any]]:
    """The choice for a phase, and its evidence. Nothing to decide is an open choice with empty evidence."""
    models, about_models = _models(study, phase, folder)
    options: tuple[str, ...] | None = None
    about: dict[str, Any] = {}
    if phase.phase == "combination":
        options, about = _from_screen(study, phase, folder, state)
    elif phase.phase == "validation":
        options, about = _for_validation(study, phase, folder, state)
    return Choice(models, options), json_ready(about_models | about)


# --- models -------------------------------------------------------------------------------------------------------


def _models(study: Study, phase: PhaseAsked, folder: Path) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
    """Representative models of those that ran; for all models those that ran, where that is known."""
    if not isinstance(phase.models, str) or phase.phase == "baseline":
        return None, {}
    ran, source = _ran(study, folder)
    sizes = study.sizes()
    if phase.models == "all":
        missing = [name for name in sizes if name not in ran]
        return (
            (tuple(name for name in sizes if name in ran), {"models_that_did_not_run": missing})
            if missing
            else (None, {})
        )
    chosen = representative({name: sizes[name] for name in sizes if name in ran})
    return chosen, {
        "models": {
            "rule": (
                "the smallest, the largest, and the one nearest to the middle of the "
                "logarithm of bytes of weights, of those that ran"
            ),
            "ran": ran,
            "of": source,
            "weight_bytes": {name: sizes[name] for name in sizes},
            "chosen": list(chosen),
        }
    }


def _ran(study: Study, folder: Path) -> tuple[list[str], str]:
    """Models with an accepted run in every arm of the baseline phase, and where that was seen."""
    phase = study.of_kind("baseline")
    every = list(study.sizes())
    if phase is None or not (store := phase_store(folder, phase.name)).exists():
        return every, "the config: no baseline phase has run"
    state = journal.fold(journal.read(store.journal_path)[0])
    arms: dict[str, set[str]] = {}
    accepted: dict[str, set[str]] = {}
    for row in store.plan():
        arms.setdefault(row["model"], set()).add(row["environment"])
        if state.run(row["run_id"]).accepted is not None:
            accepted.setdefault(row["model"], set()).add(row["environment"])
    ran = [name for name in every if arms.get(name) and arms[name] == accepted.get(name)]
    return ran, f"an accepted run in every arm of {phase.name}"


# --- options ------------------------------------------------------------------------------------------------------


def samples(folder: Path) -> Groups:
    """Model to arm to the runs of a results folder that the protocol keeps,
    by the metric that phases are decided by."""
    metric = metrics.headline()
    con = views.connect(folder)
    table = inputs.ask(con).table
    if table.empty or metric not in table:
        return {}
    runs = alike(check_runs(table))
    return pooled_units(runs.cells, metric)


def screened(campaign: Campaign, folder: Path) -> Screened:
    """The analysis of a two-level screen in its results folder."""
    screen = campaign.screen
    assert screen is not None
    direction = metrics.known()[metrics.headline()].direction
    return factorial.screen(
        samples(folder), rows_of(screen), direction, margin_of(campaign.margin_pct).pct, traits(screen.factors)
    )


def _campaign_of(study: Study, phase: PhaseAsked, state: StudyState) -> Campaign:
    return study.campaign(phase.name, state.phase(phase.name).choice or Choice())


def _from_screen(
    study: Study, phase: PhaseAsked, folder: Path, state: StudyState
) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
    """Options for the combination, from the screen."""
    screening = study.of_kind("screening")
    assert screening is not None
    place = phase_store(folder, screening.name)
    if not _finished(place):
        return None, {}
    campaign = _campaign_of(study, screening, state)
    assert campaign.screen is not None
    refused = _refused(state.phase(screening.name))
    if campaign.screen.design == "one_at_a_time":
        ranking, about = _one_at_a_time(study, campaign, place.root, campaign.screen.factors)
        option_of = {factor.name: factor.option for factor in campaign.screen.factors}
    else:
        found = screened(campaign, place.root)
        ranking, about = _two_level(found, campaign.screen)
        option_of = {factor.name: factor.option for factor in campaign.screen.factors}
    chosen = tuple(option_of[name] for name in ranking[: phase.at_most])
    clash = _incompatible(study, chosen)
    about |= {
        "from": screening.name,
        "metric": metrics.headline(),
        "margin_pct": margin_of(campaign.margin_pct).pct,
        "refused_on_this_unit": refused,
        "incompatible": clash,
        "chosen": list(chosen),
        "confirmatory": False,
        "note": "chosen on these data, which confirm nothing: the phases to come measure anew",
    }
    if clash:
        chosen = chosen[:1]
        about["chosen"] = list(chosen)
    return chosen, about


def _two_level(found: Screened, screen: Screen) -> tuple[list[str], dict[str, Any]]:
    """Candidates in order, and all factors with what was found of them."""
    selection, pooled = found.selection, found.pooled
    effects: Mapping[str, Effect | NotEstimable] = pooled.effects if pooled else {}
    shrunken = found.shrinkage.effects if found.shrinkage else {}
    reasons = selection.reasons if selection else {}
    rows = [
        _row(
            factor,
            Estimated.of(effects.get(factor.name)),
            shrunken.get(factor.name),
            reasons.get(factor.name),
        )
        for factor in screen.factors
    ]
    about = {
        "design": screen.design,
        "candidates": rows,
        "judged_by": "max-t over all factors on the error of repeated rows, pooled over the models",
        "foldover": found.foldover,
        "flags": selection.flags if selection else [],
        "missing_rows": found.missing_rows,
        "error": pooled.error if pooled else None,
    }
    if selection is None:
        about["flags"] = ["not_judged: " + str((pooled.inference if pooled else None) or found.status)]
        return [], about
    return list(selection.ranking), about


@dataclass(frozen=True)
class Estimated:
    """Of an option, over all models: percent, its limits together with all options, and the p that goes with them."""

    pct: float | None = None
    low_pct: float | None = None
    high_pct: float | None = None
    p: float | None = None

    @classmethod
    def of(cls, effect: Effect | NotEstimable | None) -> Estimated:
        """From a factor of a two-level screen."""
        if isinstance(effect, Judged):
            return cls(effect.pct, effect.sim_low_pct, effect.sim_high_pct, effect.p_maxt)
        return cls() if effect is None else cls(effect.pct)


def _row(factor: Factor, effect: Estimated, shrunken: Shrunken | None, reasons: list[str] | None) -> dict[str, Any]:
    return {
        "name": factor.name,
        "option": factor.option,
        "privilege": factor.privilege,
        "security_only": factor.privilege > 0 and not (effect.p is not None and effect.p < ALPHA),
        "never": factor.never,
        "raw_pct": effect.pct,
        "low_pct": effect.low_pct,
        "high_pct": effect.high_pct,
        "p": effect.p,
        "shrunken_pct": None if shrunken is None else 100 * math.expm1(shrunken.shrunken / 100),
        "shrink_factor": None if shrunken is None else shrunken.factor,
        "reasons": ["not_judged"] if reasons is None else reasons,
    }


def _one_at_a_time(
    study: Study, campaign: Campaign, folder: Path, factors: Sequence[Factor]
) -> tuple[list[str], dict[str, Any]]:
    """The same for arms that were each run beside the baseline: Dunnett's test in blocks, pooled over the models."""
    assert campaign.screen is not None or factors
    baseline = study.baseline()
    direction = metrics.known()[metrics.headline()].direction
    groups = samples(folder)
    pooled = pool_screens(
        groups, baseline, [factor.option for factor in factors], direction, margin_of(campaign.margin_pct).pct
    )
    found = pooled.pooled
    df = next((x.df for x in found.values()), None)
    shrunken = shrink({arm: (100 * x.log_ratio, 100 * x.se) for arm, x in found.items()}, df).effects
    rows, candidates = [], []
    for factor in factors:
        x = found.get(factor.option)
        why = [factor.never] if factor.never else []
        if x is None:
            why.append("not_estimable")
        else:
            why += [] if x.dunnett_p < ALPHA else ["not_significant"]
            why += ["harmful_direction"] if direction * x.log_ratio <= 0 else []
            why += [f"harm_possible:{model}" for model in pooled.harmed.get(factor.option, ())]
        effect = Estimated() if x is None else Estimated(x.pct, x.low_pct, x.high_pct, x.dunnett_p)
        rows.append(_row(factor, effect, shrunken.get(factor.option), why))
        if not why:
            candidates.append(factor)
    se = {factor.name: 100 * found[factor.option].se for factor in candidates}
    gains = {factor.name: shrunken[factor.option] for factor in candidates}
    ranking = by_gain([factor.name for factor in candidates], gains, se, direction, traits(factors))
    return ranking, {
        "design": "one_at_a_time",
        "candidates": rows,
        "judged_by": "Dunnett's test in blocks, pooled over the models",
        "flags": [],
    }


def _incompatible(study: Study, options: Sequence[str]) -> str | None:
    """Why these options cannot be one arm; None where they can."""
    from campaign.config.yaml_nodes import ConfigError

    combining = study.of_kind("combination") or study.of_kind("validation")
    if len(options) < 2 or combining is None:
        return None
    try:
        study.campaign(combining.name, Choice(options=tuple(options)))
    except ConfigError as error:
        return str(error)
    return None


def _refused(state: Any) -> dict[str, str]:
    """Factor to why this host refuses it, as the journal has it."""
    return dict((state.decision or {}).get("evidence", {}).get("refused", {}))


def _finished(store: Any) -> bool:
    return bool(store.exists() and journal.fold(journal.read(store.journal_path)[0]).completed)


def _for_validation(
    study: Study, phase: PhaseAsked, folder: Path, state: StudyState
) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
    """The configuration to validate: of the arms of the combination phase the one with the largest shrunken gain that
    holds up; none where nothing does. Without that phase what the screen chose."""
    combining = study.of_kind("combination")
    if combining is None:
        return _from_screen(study, phase.model_copy(update={"at_most": 3}), folder, state)
    known = state.phase(combining.name)
    if known.skipped is not None:
        return (), {
            "from": combining.name,
            "metric": metrics.headline(),
            "chosen": [],
            "candidates": [],
            "flags": [],
            "note": f"{combining.name} was skipped: {known.skipped}",
        }
    place = phase_store(folder, combining.name)
    if known.choice is None or known.choice.options is None or not _finished(place):
        return None, {}
    options = known.choice.options
    campaign = _campaign_of(study, combining, state)
    arms: dict[str, tuple[str, ...]] = {name: (name,) for name in options}
    factors = [Factor(name=name, option=name, privilege=privilege(study.arm(name))) for name in options]
    if len(options) > 1:
        arms[OPTIMIZED] = options
        most = max(factor.privilege for factor in factors)
        factors.append(Factor(name=OPTIMIZED, option=OPTIMIZED, privilege=most + 1))
    ranking, about = _one_at_a_time(study, campaign, place.root, factors)
    chosen = arms[ranking[0]] if ranking else ()
    return chosen, about | {
        "from": combining.name,
        "metric": metrics.headline(),
        "margin_pct": margin_of(campaign.margin_pct).pct,
        "arms": {name: list(parts) for name, parts in arms.items()},
        "chosen": list(chosen),
        "confirmatory": False,
        "note": "chosen on these data; the validation measures anew",
    }
