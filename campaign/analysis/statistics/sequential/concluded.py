"""What is reported of a comparison after it stopped, or so far: intervals that hold at all looks,
estimates that allow for the stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from campaign.analysis.result import INLINE, LEFT_OUT, Result
from campaign.analysis.statistics import anytime
from campaign.analysis.statistics.distributions import t_quantile
from campaign.analysis.statistics.sequential.boundaries import Looks
from campaign.analysis.statistics.sequential.conduct import CLAIMS, Conduct, Course, Made, Stop, Taken
from campaign.analysis.statistics.sequential.design import Design
from campaign.analysis.statistics.sequential.look import Shown, percent
from campaign.analysis.statistics.sequential.stopped_mean import Stops, median_unbiased


@dataclass(frozen=True)
class Estimate(Result):
    """``method`` is ``median_unbiased``, or ``mean`` where the data went on after the decision or others ended it. Each
    on the log scale and in percent."""

    method: str
    log_ratio: float
    pct: float
    mean_log_ratio: float
    mean_pct: float
    level_diff_one_sided: float
    level_equiv: float
    """One-sided as well."""


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
    return Estimate(method, found, percent(found), last.mean, percent(last.mean), different / 2, equivalent)


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


@dataclass(frozen=True)
class Repeated(Result):
    """An interval at a one-sided ``nominal`` level of its look; a limit is None where there is none."""

    nominal: float
    t_crit: float
    low_pct: float | None
    high_pct: float | None


@dataclass(frozen=True)
class RepeatedIntervals(Result):
    """Of difference and of equivalence: alone, and simultaneous over the planned comparisons."""

    ci95: Repeated
    ci90: Repeated
    sim95: Repeated
    sim90: Repeated


def intervals(design: Design, counted: list[Taken]) -> RepeatedIntervals:
    """Repeated confidence intervals at the last of these looks, in percent."""
    shown, looks = counted[-1].shown, looks_of(design, counted)
    difference, equivalence = design.unseen

    def at(level: float, unseen: float) -> Repeated:
        nominal = looks.nominal(level)[-1]
        return Repeated(nominal, *shown.limits(nominal, unseen))

    return RepeatedIntervals(
        ci95=at(0.025, difference),
        ci90=at(0.05, equivalence),
        sim95=at(0.025 / design.m, difference),
        sim90=at(0.05 / design.m, equivalence),
    )


def looks_of(design: Design, counted: list[Taken]) -> Looks:
    """The boundaries of looks that were taken."""
    return design.of(tuple(taken.shown.n for taken in counted), counted[-1].look == len(design.looks))


@dataclass(frozen=True)
class ConfidenceSequence(Result):
    """Limits in percent that hold at every moment, ``radius_se`` standard errors away; None with the reason."""

    radius_se: float | None = None
    low_pct: float | None = None
    high_pct: float | None = None
    reason: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True)
class ConfidenceSequences(Result):
    """Alone, and simultaneous over the planned comparisons."""

    cs95: ConfidenceSequence
    sim95: ConfidenceSequence


def any_time(shown: Shown, design: Design) -> ConfidenceSequences:
    """The interval that holds at every moment."""
    alone, all_planned = (confidence_sequence(shown, 0.05 / m, design.cs_precision) for m in (1, design.m))
    return ConfidenceSequences(alone, all_planned)


def confidence_sequence(shown: Shown, alpha: float, precision: float) -> ConfidenceSequence:
    if shown.log_mean is None or shown.log_sd is None:
        return ConfidenceSequence(reason="nonpositive_value")
    reach = anytime.radius(shown.n, alpha, precision)
    if reach is None:
        return ConfidenceSequence(reason=anytime.TOO_FEW)
    away = reach * shown.log_sd / math.sqrt(shown.n)
    return ConfidenceSequence(reach, percent(shown.log_mean - away), percent(shown.log_mean + away))


@dataclass(frozen=True)
class FixedN(Result):
    """The t interval of a mean that nobody looked at before."""

    ci95_low_pct: float
    ci95_high_pct: float


@dataclass(frozen=True)
class Uncorrected(Result):
    """What would be said had nobody looked before, of the log ratios, for an appendix."""

    mean_pct: float
    fixed: Annotated[FixedN, INLINE]
    p_diff: float | None
    p_tost: float | None


def uncorrected(shown: Shown) -> Uncorrected:
    """Of a look that could be tested."""
    reach = -t_quantile(0.025, shown.df) * shown.se  # type: ignore[arg-type, operator]
    assert shown.mean is not None
    fixed = FixedN(percent(shown.mean - reach), percent(shown.mean + reach))
    return Uncorrected(percent(shown.mean), fixed, shown.p_diff, shown.p_tost)


# --- the whole course ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family(Result):
    """One of the two families, over all planned comparisons."""

    labels: list[str]
    m_planned: int
    m_tested: int
    p_seq: list[float | None]
    adjusted: list[float | None]
    claimed: list[bool]


@dataclass(frozen=True)
class Claims(Result):
    """When each claim was made; None where it was not."""

    different: Made | None
    equivalent: Made | None


@dataclass(frozen=True)
class Constant(Result):
    """A look at differences that are all alike; ``equal`` is whether they are zero."""

    mean: float | None
    sd: float | None
    equal: bool | None


@dataclass(frozen=True, kw_only=True)
class Tested(Result):
    """A look that could be tested: the statistics of its blocks (:class:`Shown`), and at the share ``t`` of all planned
    ones what they decide. ``cp`` is the chance of each claim at the last look, where the design asks for it."""

    mean: float
    sd: float
    se: float
    df: float
    skewness: float | None
    t_diff: float | None
    p_diff: float | None
    t_low: float | None
    p_low: float | None
    t_high: float | None
    p_high: float | None
    p_tost: float | None
    t: float
    rep_p_diff: float | None
    rep_p_equiv: float | None
    p_seq_diff: float | None
    p_seq_equiv: float | None
    p_adj_diff: float | None
    p_adj_equiv: float | None
    cp_equivalent: Annotated[float | None, LEFT_OUT]
    cp_different: Annotated[float | None, LEFT_OUT]
    rci: RepeatedIntervals
    cs: ConfidenceSequences
    fixed: FixedN


@dataclass(frozen=True)
class Look(Result):
    """One look of one comparison."""

    look: int
    event: int
    blocks_planned: int
    n: int
    status: str
    seen: Annotated[Constant | Tested | None, INLINE]


@dataclass(frozen=True)
class Followed(Result):
    """One comparison with all its looks. ``estimate`` and ``naive`` are of one that was tested."""

    status: str
    verdict: str
    claims: Claims
    stop: Stop | None
    looks: list[Look]
    estimate: Annotated[Estimate | None, LEFT_OUT]
    naive: Annotated[Uncorrected | None, LEFT_OUT]


def whole(conduct: Conduct) -> dict[str, Any]:
    """Settings, events, families and the blocks used; the comparisons themselves by :func:`comparison`."""
    used = {model: conduct.design.looks[stop.look - 1] for model, stop in conduct.stops.items()}
    taken = {model: conduct.taken(model) for model in conduct.models}
    return {
        "settings": conduct.design.settings(),
        "events": list(conduct.events),
        "families": {"F_seq_diff": family(conduct, "different"), "F_seq_equiv": family(conduct, "equivalent")},
        "blocks_used": {model: used.get(model, conduct.design.looks[n - 1] if n else 0) for model, n in taken.items()},
        "blocks_planned": conduct.design.n_max * len(conduct.models),
    }


def family(conduct: Conduct, claim: str) -> Family:
    p = conduct.p_seq(claim)
    return Family(
        labels=[key.label for key in conduct.courses],
        m_planned=conduct.design.m,
        m_tested=sum(x is not None for x in p),
        p_seq=p,
        adjusted=conduct.adjusted(claim),
        claimed=[claim in course.claims for course in conduct.courses.values()],
    )


def comparison(conduct: Conduct, course: Course) -> Followed:
    found = estimate(conduct, course)
    return Followed(
        status=course.status,
        verdict=course.verdict,
        claims=Claims(*(course.claims.get(claim) for claim in CLAIMS)),
        stop=conduct.stops.get(course.key.model),
        looks=[_look(conduct.design, course, taken) for taken in course.looks],
        estimate=found,
        naive=None if found is None else uncorrected(course.counted[-1].shown),
    )


def _look(design: Design, course: Course, taken: Taken) -> Look:
    shown = taken.shown
    seen: Constant | Tested | None = None
    if taken.status == "deterministic":
        seen = Constant(shown.mean, shown.sd, shown.equal)
    elif taken.status == "ok":
        seen = _tested(design, course, taken)
    return Look(taken.look, taken.event, taken.blocks, shown.n, taken.status, seen)


def _tested(design: Design, course: Course, taken: Taken) -> Tested:
    names = ("mean", "sd", "se", "df", "skewness", "t_diff", "p_diff", "t_low", "p_low", "t_high", "p_high", "p_tost")
    shown, counted = taken.shown, [one for one in course.counted if one.look <= taken.look]
    repeated, chance = taken.rep_p or (None, None), taken.conditional_power or (None, None)
    return Tested(
        **{name: getattr(shown, name) for name in names},
        t=min(1.0, shown.n / design.n_max),
        rep_p_diff=repeated[0],
        rep_p_equiv=repeated[1],
        p_seq_diff=taken.p_seq[0],
        p_seq_equiv=taken.p_seq[1],
        p_adj_diff=taken.p_adjusted[0],
        p_adj_equiv=taken.p_adjusted[1],
        cp_equivalent=chance[0],
        cp_different=chance[1],
        rci=intervals(design, counted),
        cs=any_time(shown, design),
        fixed=uncorrected(shown).fixed,
    )
