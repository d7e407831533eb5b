"""What is reported of a comparison after it stopped, or so far: intervals that hold at all looks,
estimates that allow for the stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from campaign.analysis.statistics.distributions import t_quantile
from campaign.analysis.statistics.sequential import anytime
from campaign.analysis.statistics.sequential.conduct import CLAIMS, Conduct, Course, Stop, Taken
from campaign.analysis.statistics.sequential.design import Design
from campaign.analysis.statistics.sequential.look import Shown, percent
from campaign.analysis.statistics.sequential.stopped_mean import Stops, median_unbiased

Row = dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """``method`` is ``median_unbiased``, or ``mean`` where the data went on after the decision or others ended it.
    On the log scale."""

    method: str
    log_ratio: float
    mean: float
    level_different: float
    """One-sided, as ``level_equivalent``."""
    level_equivalent: float


def estimate(conduct: Conduct, course: Course) -> Estimate | None:
    """Of a comparison that was tested; as if it stopped now where its model goes on. None where nothing was tested."""
    counted = course.counted
    if not counted or course.status != "ok":
        return None
    stop = conduct.stops.get(course.key.model)
    different, equivalent = _levels(conduct, course, stop)
    last = counted[-1].shown
    assert last.mean is not None
    method = "median_unbiased" if stop is not None and _stopped_by_itself(conduct, course, stop) else "mean"
    found = last.mean
    if method == "median_unbiased":
        assert last.sd is not None
        found = median_unbiased(last.mean, last.sd, stops(conduct.design, counted, different / 2, equivalent))
    return Estimate(method, found, last.mean, different / 2, equivalent)


def _levels(conduct: Conduct, course: Course, stop: Stop | None) -> tuple[float, float]:
    if stop is not None:
        return stop.levels[course.key]
    return conduct.levels("different")[course.key], conduct.levels("equivalent")[course.key]


def _stopped_by_itself(conduct: Conduct, course: Course, stop: Stop) -> bool:
    """Whether its mean was selected by its own boundary, or ran to the last look."""
    if course.claims:
        return min(made.look for made in course.claims.values()) == stop.look
    return stop.look == len(conduct.design.looks)


def stops(design: Design, counted: list[Taken], level_different: float, level_equivalent: float) -> list[Stops]:
    """Means at which one would have stopped at each look taken, and would at those to come; levels are one-sided."""
    last = counted[-1]
    ahead = [last.shown.n + blocks - last.blocks for blocks in design.looks if blocks > last.blocks]
    n = (*(taken.shown.n for taken in counted), *ahead)
    looks = design.of(n, True)
    nominal = zip(n, looks.nominal(level_different), looks.nominal(level_equivalent), strict=True)
    low, high = design.margins if design.scale == "log_ratio" else tuple(math.log(x) for x in design.margins)
    found = []
    for at, different, equivalent in nominal:
        within = last.shown.reach(equivalent, design.unseen[1], at) if equivalent > 0 else math.inf
        beyond = last.shown.reach(different, design.unseen[0], at) if different > 0 else math.inf
        found.append(Stops(at, beyond, low + within, high - within))
    return found


def reaches(conduct: Conduct, course: Course, counted: list[Taken]) -> tuple[float | None, float | None, float | None]:
    """Boundaries of the last of these looks as changes in percent, at the levels that the comparison has now: a mean
    further from zero than the first claims a difference, one between the other two
    equivalence (None where no mean can)."""
    design, shown, looks = conduct.design, counted[-1].shown, looks_of(conduct.design, counted)
    different = looks.nominal(conduct.levels("different")[course.key] / 2)[-1]
    equivalent = looks.nominal(conduct.levels("equivalent")[course.key])[-1]
    beyond = shown.reach(different, design.unseen[0], shown.n) if different > 0 else None
    if equivalent <= 0:
        return None if beyond is None else percent(beyond), None, None
    within = shown.reach(equivalent, design.unseen[1], shown.n)
    low, high = design.margins if design.scale == "log_ratio" else tuple(math.log(x) for x in design.margins)
    zone = (percent(low + within), percent(high - within)) if low + within < high - within else (None, None)
    return None if beyond is None else percent(beyond), *zone


def intervals(design: Design, counted: list[Taken]) -> Row:
    """Repeated confidence intervals at the last of these looks, in percent:
    alone and simultaneous over the planned comparisons."""
    shown, looks = counted[-1].shown, looks_of(design, counted)
    levels = {"ci95": 0.025, "ci90": 0.05, "sim95": 0.025 / design.m, "sim90": 0.05 / design.m}
    return {name: _limits(shown, looks.nominal(a)[-1], design.unseen["90" in name]) for name, a in levels.items()}


def looks_of(design: Design, counted: list[Taken]) -> Any:
    """The boundaries of looks that were taken."""
    return design.of(tuple(taken.shown.n for taken in counted), counted[-1].look == len(design.looks))


def _limits(shown: Shown, nominal: float, unseen: float) -> Row:
    t, low, high = shown.limits(nominal, unseen)
    return {"nominal": nominal, "t_crit": t, "low_pct": low, "high_pct": high}


def any_time(shown: Shown, design: Design) -> Row:
    """The interval that holds at every moment: alone, and simultaneously over the planned comparisons."""
    return {
        "cs95": confidence_sequence(shown, 0.05, design.cs_precision),
        "sim95": confidence_sequence(shown, 0.05 / design.m, design.cs_precision),
    }


def confidence_sequence(shown: Shown, alpha: float, precision: float) -> Row:
    """Limits in percent, or None with the reason."""
    if shown.log_mean is None or shown.log_sd is None:
        return {"radius_se": None, "low_pct": None, "high_pct": None, "reason": "nonpositive_value"}
    reach = anytime.radius(shown.n, alpha, precision)
    if reach is None:
        return {"radius_se": None, "low_pct": None, "high_pct": None, "reason": anytime.TOO_FEW}
    away = reach * shown.log_sd / math.sqrt(shown.n)
    return {"radius_se": reach, "low_pct": percent(shown.log_mean - away), "high_pct": percent(shown.log_mean + away)}


def uncorrected(shown: Shown) -> Row:
    """What would be said had nobody looked before: mean, 95 % t interval and p of the log ratios, for an appendix."""
    reach = -t_quantile(0.025, shown.df) * shown.se  # type: ignore[arg-type, operator]
    assert shown.mean is not None
    return {
        "mean_pct": percent(shown.mean),
        "ci95_low_pct": percent(shown.mean - reach),
        "ci95_high_pct": percent(shown.mean + reach),
        "p_diff": shown.p_diff,
        "p_tost": shown.p_tost,
    }


# --- as JSON ---------------------------------------------------------------------------------------------------


def as_json(conduct: Conduct) -> Row:
    """Events, families and the blocks used; the comparisons themselves by :func:`comparison`."""
    used = {model: conduct.design.looks[stop.look - 1] for model, stop in conduct.stops.items()}
    taken = {model: conduct.taken(model) for model in conduct.models}
    return {
        "settings": conduct.design.settings(),
        "events": [
            {
                "event": e.event,
                "model": e.model,
                "look": e.look,
                "new_claims": list(e.new_claims),
                "stopped": list(e.stopped),
            }
            for e in conduct.events
        ],
        "families": {"F_seq_diff": family(conduct, "different"), "F_seq_equiv": family(conduct, "equivalent")},
        "blocks_used": {model: used.get(model, conduct.design.looks[n - 1] if n else 0) for model, n in taken.items()},
        "blocks_planned": conduct.design.n_max * len(conduct.models),
    }


def family(conduct: Conduct, claim: str) -> Row:
    """One of the two families, over all planned comparisons."""
    p = conduct.p_seq(claim)
    return {
        "labels": [key.label for key in conduct.courses],
        "m_planned": conduct.design.m,
        "m_tested": sum(x is not None for x in p),
        "p_seq": p,
        "adjusted": conduct.adjusted(claim),
        "claimed": [claim in course.claims for course in conduct.courses.values()],
    }


def comparison(conduct: Conduct, course: Course) -> Row:
    """One comparison with all its looks."""
    stop = conduct.stops.get(course.key.model)
    out: Row = {
        "status": course.status,
        "verdict": course.verdict,
        "claims": {
            claim: {"look": made.look, "event": made.event} if (made := course.claims.get(claim)) else None
            for claim in CLAIMS
        },
        "stop": None if stop is None else {"look": stop.look, "event": stop.event, "reason": stop.reason},
        "looks": [look_as_json(conduct.design, course, taken) for taken in course.looks],
    }
    if (found := estimate(conduct, course)) is not None:
        out["estimate"] = {
            "method": found.method,
            "log_ratio": found.log_ratio,
            "pct": percent(found.log_ratio),
            "mean_log_ratio": found.mean,
            "mean_pct": percent(found.mean),
            "level_diff_one_sided": found.level_different,
            "level_equiv": found.level_equivalent,
        }
        out["naive"] = uncorrected(course.counted[-1].shown)
    return out


def look_as_json(design: Design, course: Course, taken: Taken) -> Row:
    """One look of one comparison."""
    shown = taken.shown
    out: Row = {
        "look": taken.look,
        "event": taken.event,
        "blocks_planned": taken.blocks,
        "n": shown.n,
        "status": taken.status,
    }
    if taken.status == "deterministic":
        out |= {"mean": shown.mean, "sd": shown.sd, "equal": shown.equal}
    if taken.status != "ok":
        return out
    names = ("mean", "sd", "se", "df", "skewness", "t_diff", "p_diff", "t_low", "p_low", "t_high", "p_high", "p_tost")
    out |= {name: getattr(shown, name) for name in names}
    counted = [one for one in course.counted if one.look <= taken.look]
    rep_p: Mapping[str, Any] = dict(zip(("rep_p_diff", "rep_p_equiv"), taken.rep_p or (None, None), strict=True))
    out |= {"t": min(1.0, shown.n / design.n_max), **rep_p}
    for name, pair in (("p_seq", taken.p_seq), ("p_adj", taken.p_adjusted)):
        out |= dict(zip((f"{name}_diff", f"{name}_equiv"), pair, strict=True))
    if taken.conditional_power is not None:
        out |= dict(zip(("cp_equivalent", "cp_different"), taken.conditional_power, strict=True))
    fixed = uncorrected(shown)
    return out | {
        "rci": intervals(design, counted),
        "cs": any_time(shown, design),
        "fixed": {name: fixed[name] for name in ("ci95_low_pct", "ci95_high_pct")},
    }
