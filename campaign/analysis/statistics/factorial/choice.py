"""What a screen decides: whether to fold it over, and which options are carried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from campaign.analysis.result import Result
from campaign.analysis.statistics.factorial.contrasts import Unassigned
from campaign.analysis.statistics.factorial.fit import Fit, Judged, NotEstimable
from campaign.analysis.statistics.shrinkage import Shrunken
from campaign.analysis.statistics.two_level import Design

ALPHA = 0.05
MOST_CHOSEN = 3


@dataclass(frozen=True)
class Trait:
    """What is known of a factor before the data: what it gives away, and why it may not be chosen (None: it may)."""

    privilege: int = 0
    never: str | None = None


@dataclass(frozen=True)
class Foldover(Result):
    """Whether a second half with all signs reversed is worth its runs: ``active`` factors, ``reasons`` for it."""

    active: list[str]
    reasons: list[str]
    recommended: bool
    not_applicable_resolution_4: bool


@dataclass(frozen=True)
class Selection(Result):
    """Why each factor is not carried on (no reason: a candidate), the candidates by shrunken gain, the first three."""

    reasons: dict[str, list[str]]
    ranking: list[str]
    selected: list[str]
    expected_gain_pct_log: float
    flags: list[str]


def foldover_of(pooled: Fit, unassigned: Mapping[str, Unassigned], design: Design) -> Foldover:
    """Whether a second half with all signs reversed is worth its runs."""
    tested = {factor: found for factor, found in pooled.effects.items() if isinstance(found, Judged)}
    active = [factor for factor, found in tested.items() if found.p_maxt < ALPHA]
    grounds = {
        "two_or_more_active": len(active) >= 2,
        "lack_of_fit": pooled.lack_of_fit is not None and pooled.lack_of_fit.p < ALPHA,
        "unassigned_column_active": any(found.p_maxt < ALPHA for found in unassigned.values()),
    }
    reasons = [name for name, true in grounds.items() if true]
    clear = design.name == "res4_16"
    return Foldover(active, reasons, bool(reasons) and not clear, clear)


def selection_of(
    pooled: Fit,
    models: Mapping[str, Fit],
    shrunken: Mapping[str, Shrunken],
    foldover: Foldover | None,
    better: int,
    margin_pct: float,
    traits: Mapping[str, Trait],
) -> Selection:
    """Which factors are carried on, by what all models say together and what each alone cannot rule out."""
    reasons: dict[str, list[str]] = {}
    for factor, found in pooled.effects.items():
        never = traits.get(factor, Trait()).never
        why = [never] if never else []
        if isinstance(found, NotEstimable):
            reasons[factor] = [*why, "not_estimable"]
            continue
        if not (isinstance(found, Judged) and found.p_maxt < ALPHA):
            why.append("not_significant")
        if better * found.effect <= 0:
            why.append("harmful_direction")
        for model, fit in models.items():
            own = fit.effects[factor]
            if not isinstance(own, Judged):
                continue
            beyond = own.ci_low_pct < -margin_pct if better > 0 else own.ci_high_pct > margin_pct
            if beyond:
                why.append(f"harm_possible:{model}")
        reasons[factor] = why
    candidates = [factor for factor, why in reasons.items() if not why and factor in shrunken]
    se_pct = {f: 100 * found.se for f, found in pooled.effects.items() if isinstance(found, Judged) and found.se}
    ranking = by_gain(candidates, shrunken, se_pct, better, traits)
    chosen = ranking[:MOST_CHOSEN]
    return Selection(
        reasons,
        ranking,
        chosen,
        sum(better * shrunken[factor].shrunken for factor in chosen),
        ["interactions_unresolved"] if foldover is not None and foldover.recommended else [],
    )


def by_gain(
    candidates: Sequence[str],
    shrunken: Mapping[str, Shrunken],
    se_pct: Mapping[str, float],
    better: int,
    traits: Mapping[str, Trait],
) -> list[str]:
    """By shrunken gain, largest first; of two neighbours within a standard error of the better one,
    that with less privilege first."""
    gain = {factor: better * shrunken[factor].shrunken for factor in candidates}
    ranking = sorted(candidates, key=lambda factor: -gain[factor])
    for _ in ranking:
        for i in range(len(ranking) - 1):
            first, second = ranking[i], ranking[i + 1]
            near = gain[first] - gain[second] < se_pct[first] and gain[first] >= gain[second]
            if near and traits.get(first, Trait()).privilege > traits.get(second, Trait()).privilege:
                ranking[i], ranking[i + 1] = second, first
    return ranking
