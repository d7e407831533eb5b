"""What the statistics found of a study's phases and screens, as rows of the tables of ``analysis/``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from campaign.analysis.result import columns, get

if TYPE_CHECKING:
    from campaign.analysis.statistics.factorial import Screened
    from campaign.config.schema import Screen


def phase_decisions(result: Mapping[str, Any], screen: Screen | None = None) -> Iterator[dict[str, Any]]:
    options = {factor.name: factor.option for factor in screen.factors} if screen else {}
    for metric, found in (result.get("factorial") or {}).items():
        yield from _factors(metric, found, options)
    for metric, found in (result.get("screen_by_metric") or {}).items():
        told = found.pooled
        for rank, arm in enumerate(told.ranking, start=1):
            pooled = told.pooled[arm]
            yield {
                "kind": "screening",
                "metric": metric,
                "arm": arm,
                "estimate": pooled.pct,
                "p": pooled.dunnett_p,
                "rank": rank,
                "decision": "candidate" if arm in told.selection else _why_not(found.never_chosen.get(arm)),
            }
    for metric, found in (result.get("validation_by_metric") or {}).items():
        for model, trio in found.validation.items():
            won = trio.reduction
            low, high = (None, None) if won is None else won.limits
            yield {
                "kind": "validation",
                "metric": metric,
                "model": model,
                "estimate": get(won, "point"),
                "low": low,
                "high": high,
                "decision": get(won, "status") or trio.status,
            }


def _factors(metric: str, found: Screened, options: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Factors of a two-level screen: candidates by rank, then the others with their reasons."""
    effects = found.pooled.effects if found.pooled else {}
    ranking = found.selection.ranking if found.selection else []
    reasons = found.selection.reasons if found.selection else {}
    for factor in [*ranking, *(name for name in effects if name not in ranking)]:
        effect, why = effects[factor], reasons.get(factor, ["not judged"])
        chosen = factor in ranking
        yield {
            "kind": "screening",
            "metric": metric,
            "arm": options.get(factor, factor),
            "estimate": effect.pct,
            "low": get(effect, "sim_low_pct"),
            "high": get(effect, "sim_high_pct"),
            "p": get(effect, "p_maxt"),
            "rank": ranking.index(factor) + 1 if chosen else None,
            "decision": "candidate" if chosen else f"not carried on: {', '.join(why)}",
        }


def screen_effects(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from campaign.analysis.statistics.factorial.fit import Effect, Error, Fit, Heterogeneity, Judged, LackOfFit
    from campaign.analysis.statistics.factorial.screened import Layout

    found: Screened
    for metric, found in (result.get("factorial") or {}).items():
        fits = {**found.models, **({} if found.pooled is None else {"": found.pooled})}
        for model, fit in fits.items():
            for factor, effect in fit.effects.items():
                pooled = model == ""
                yield {
                    "metric": metric,
                    "model": None if pooled else model,
                    "factor": factor,
                    **columns(Layout, found.design),
                    **columns(Fit, fit),
                    **columns(Error, fit.error),
                    "inference": fit.inference or "ok",
                    **columns(Judged, effect),
                    **columns(Effect, effect),
                    "shrunken_pct": _shrunken(found, factor) if pooled else None,
                    **columns(Heterogeneity, get(found, "heterogeneity", factor) if pooled else None),
                    **columns(LackOfFit, fit.lack_of_fit),
                    "reasons": get(found, "selection", "reasons", factor) if pooled else None,
                }


def _shrunken(found: Screened, factor: str) -> float | None:
    percent = get(found, "shrinkage", "effects", factor, "shrunken")
    return None if percent is None else 100 * math.expm1(percent / 100)


def screen_contrasts(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from campaign.analysis.statistics.factorial.contrasts import OneHalf
    from campaign.analysis.statistics.factorial.half_normal import Lenth, Point

    found: Screened
    for metric, found in (result.get("factorial") or {}).items():
        for model, of_model in found.contrasts.items():
            if not isinstance(of_model, OneHalf):
                continue
            for place, point in enumerate(of_model.half_normal, 1):
                yield {
                    "metric": metric,
                    "model": model,
                    "place": place,
                    **columns(Point, point),
                    "factor": point.label in found.design.factors,
                    "contrast_pct_log": of_model.contrasts[point.label],
                    **columns(Lenth, of_model.lenth),
                }


def _why_not(why: str | None) -> str:
    return "not carried on" if why is None else f"not carried on: {NEVER.get(why, why.replace('_', ' '))}"


NEVER = {"ablation": "ablation of the baseline"}
