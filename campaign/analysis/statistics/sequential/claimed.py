"""What may be said of a comparison that looks decide, as the one object that
everything printed is taken from (``claims.Claim``)."""

from __future__ import annotations

from dataclasses import replace

from campaign.analysis.statistics.claims import Claim, Limits
from campaign.analysis.statistics.interim import ByLooks, ComparedSoFar, stated
from campaign.analysis.statistics.sequential.concluded import estimate, looks_of
from campaign.analysis.statistics.sequential.conduct import Conduct, Course
from campaign.analysis.statistics.sequential.look import Shown


def overlaid(found: ComparedSoFar, conduct: Conduct, course: Course, *, over: bool) -> ComparedSoFar:
    """A comparison with what the looks say of it. ``over`` is whether the campaign is finished: until then what is
    undecided goes on, with the interval that holds at any time."""
    claim, verdict = found.claim, course.verdict
    if claim.verdict.startswith("error") or claim.verdict == "not_interpretable":
        return found
    if not course.looks or (verdict in ("inconclusive", "insufficient_n") and not over):
        claim = replace(claim, verdict="continuing", look=_look(conduct, course))
    elif course.status != "ok":
        look = _look(conduct, course)
        claim = replace(claim, verdict=verdict, look=look, interval=None, difference_interval=None, alone=None)
    else:
        claim = _decided(claim, conduct, course, verdict)
    return replace(found, stated=stated(claim, _detail(conduct, course, claim)))


def _look(conduct: Conduct, course: Course) -> str:
    taken, planned = conduct.taken(course.key.model), len(conduct.design.looks)
    return f"look {taken} of {planned}" if taken else f"no look of {planned} yet"


def _detail(conduct: Conduct, course: Course, claim: Claim) -> ByLooks:
    at = list(conduct.courses).index(course.key)
    different, equivalent = (conduct.adjusted(name)[at] for name in ("different", "equivalent"))
    return ByLooks(
        test="sequential",
        p=course.p_seq[0],
        p_adjusted=different,
        tost_p=course.p_seq[1],
        tost_p_adjusted=equivalent,
        adjustment=conduct.design.multiplicity,
        family="F_seq",
        m_planned=conduct.design.m,
        margin_pct=claim.margin_pct,
        margin_declared=claim.margin_declared,
    )


def _decided(claim: Claim, conduct: Conduct, course: Course, verdict: str) -> Claim:
    counted = course.counted
    shown = counted[-1].shown
    found = estimate(conduct, course)
    assert found is not None
    different, equivalent = (conduct.levels(name)[course.key] for name in ("different", "equivalent"))
    difference = _dual(conduct, course, different / 2, 0, found.pct)
    equivalence = _dual(conduct, course, equivalent, 1, found.pct)
    alone = _at(conduct, course, 0.025, 0, len(counted))
    return replace(
        _with_means(claim, shown),
        verdict=verdict,
        reason=None,
        test="sequential",
        decided_on="complete blocks",
        n_reference=shown.n,
        n_treatment=shown.n,
        scale="ratio",
        effect=found.pct,
        interval=equivalence if verdict == "equivalent" else difference,
        difference_interval=difference,
        equivalence_interval=equivalence,
        alone=alone,
        family="F_seq",
        m_planned=conduct.design.m,
        adjustment=conduct.design.multiplicity,
        look=_look(conduct, course),
    )


def _with_means(claim: Claim, shown: Shown) -> Claim:
    """Means and deviations of the arms over the blocks of the look, where the look kept them."""
    layer = shown.layer
    if layer is None:
        return claim
    return replace(
        claim,
        mean_reference=layer.mean_reference,
        mean_treatment=layer.mean_treatment,
        sd_reference=(layer.v_rr * layer.n) ** 0.5,
        sd_treatment=(layer.v_tt * layer.n) ** 0.5,
        worth=layer.worth,
    )


def _at(conduct: Conduct, course: Course, tail: float, question: int, looks: int) -> Limits:
    """The repeated interval of one of the looks, in percent."""
    counted = course.counted[:looks]
    nominal = looks_of(conduct.design, counted).nominal(tail)[-1]
    _, low, high = counted[-1].shown.limits(nominal, conduct.design.unseen[question])
    return Limits(100 * (1 - 2 * tail), low, high)


def _dual(conduct: Conduct, course: Course, tail: float, question: int, effect: float) -> Limits:
    """The repeated interval at this level: of the last look, or where that no longer shows what was claimed, of the
    look that showed it most clearly (a claim is not withdrawn), as long as it holds the estimate."""
    counted = course.counted
    last = _at(conduct, course, tail, question, len(counted))
    p = [taken.rep_p[question] for taken in counted if taken.rep_p is not None]
    level = tail if question else 2 * tail
    if not min(p) < level <= p[-1]:
        return last
    best = _at(conduct, course, tail, question, p.index(min(p)) + 1)
    holds = (best.low is None or best.low <= effect) and (best.high is None or effect <= best.high)
    return best if holds else last
