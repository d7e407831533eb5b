"""Comparisons to families to verdicts to claims: every claim pays for the number of claims that were planned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from campaign.analysis.numbers import number
from campaign.analysis.result import UNTOLD, Result, get
from campaign.analysis.statistics import compare as comparing
from campaign.analysis.statistics import deciding, planning
from campaign.analysis.statistics.block_contrasts import Dunnett
from campaign.analysis.statistics.claims import DIFFERENT, Claim, Limits, Needs
from campaign.analysis.statistics.comparison import Comparison, Measured, Names
from campaign.analysis.statistics.families import EquivalenceFamily, Family, adjust, holm, local_level
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.metrics import Fact
from campaign.analysis.statistics.verdict import (
    confounded,
    four_way,
    headline_test,
    test_p,
    tost_p,
    verdict_of,
)

TESTS = ("document", "welch", "mwu", "paired_t")
ALONE_TAIL = 0.025
Facts = Mapping[str, Fact]


def family_of(names: Names, facts: Facts, confirmatory_exists: bool) -> str:
    """The family that pays for a comparison's verdict.

    ``kind`` of a comparison is ``main`` (two arms), ``three_arm``, ``screen`` or ``screen_base`` (the overhead beside a
    screen). Where a table holds none of the confirmatory metrics, its metrics are taken as confirmatory: they are what
    it was made for.
    """
    if names.kind == "screen_base":
        return "F_2B_overhead"
    if names.kind == "screen":
        return f"F_2B|{names.model}|{names.metric}"
    part = facts[names.metric].role if confirmatory_exists else "confirmatory"
    if part == "confirmatory":
        return "F_three_arm" if names.kind == "three_arm" else "F_doc"
    return "F_primary5" if part == "derived" else "F_secondary"


@dataclass(frozen=True)
class Detail(Result):
    """What the verdict rests on: p of the deciding layer, of difference and of equivalence, plain and adjusted for the
    ``m_planned`` comparisons of the family."""

    test: str | None
    p: float | None
    p_adjusted: float | None
    p_bonferroni: float | None
    p_bh: float | None
    p_by: float | None
    tost_p: float | None
    tost_p_adjusted: float | None
    noninferiority_p: float | None
    noninferiority_p_adjusted: float | None
    randomisation_p_adjusted: float | None
    adjustment: str
    margin_pct: float
    margin_declared: bool
    family: str
    m_planned: int


@dataclass(frozen=True)
class Judgement(Result):
    """The verdict on a comparison. ``flags`` are those that judging raises; ``claim`` is None unless asked for."""

    headline_test: str | None
    family: str
    verdict: str
    verdict_detail: Detail
    flags: Annotated[list[str], UNTOLD]
    claim: Annotated[Claim | None, UNTOLD]


@dataclass(frozen=True)
class _Member:
    """A comparison in its place, with its family, its headline test and the layer that decides it."""

    at: int
    comparison: Comparison
    family: str
    test: str | None
    layer: deciding.Layer | None


def judge(
    comparisons: Sequence[Comparison],
    margin_of: Mapping[str, float],
    planned: Mapping[str, int],
    facts: Facts,
    *,
    claims: bool,
    undeclared: Collection[str] = (),
) -> tuple[list[Judgement], dict[str, Family | EquivalenceFamily]]:
    """The judgement of every comparison (with ``claims``: what may be said of it), and the families.

    ``comparisons`` are all of one analysis set, of every unit: units pay for each other. ``margin_of`` gives each
    metric's equivalence margin in percent, ``undeclared`` the metrics for which nobody declared one; ``planned``
    overrides the size of a family, which is otherwise the number of its comparisons, testable or not.
    """
    confirmatory_exists = any(facts[c.names.metric].role == "confirmatory" for c in comparisons)
    members: dict[tuple[str, str | None], list[_Member]] = {}
    for at, c in enumerate(comparisons):
        family, test = family_of(c.names, facts, confirmatory_exists), headline_test(c)
        layer = c.layers.get(test) if isinstance(c, Measured) and test is not None else None
        for name in ("F_doc", "F_primary5") if family == "F_doc" else (family,):
            members.setdefault((name, c.names.phase), []).append(_Member(at, c, family, test, layer))
    out: dict[str, Family | EquivalenceFamily] = {}
    judged: dict[int, Judgement] = {}
    for (name, phase), group in members.items():
        several = sum(key[0] == name for key in members) > 1
        label = f"{name}@{phase}" if several and phase is not None else name
        found, out[label] = _family(name, group, margin_of, planned, facts, claims, undeclared)
        judged |= found
    doc = out.get("F_doc")
    if isinstance(doc, Family) and doc.equivalence is not None:
        tested = sum(p is not None for p in doc.equivalence.p)
        out["F_equiv"] = EquivalenceFamily(doc.labels, doc.m_planned, doc.equivalence, tested)
    return [judged[at] for at in range(len(comparisons))], out


def _family(
    name: str,
    group: Sequence[_Member],
    margin_of: Mapping[str, float],
    planned: Mapping[str, int],
    facts: Facts,
    claims: bool,
    undeclared: Collection[str],
) -> tuple[dict[int, Judgement], Family]:
    """Judgements of the members whose family this is, by their place, and the family."""
    metrics = [its.comparison.names.metric for its in group]
    p = [None if its.layer is None else its.layer.p_difference() for its in group]
    sides = [
        None if its.layer is None else its.layer.p_equivalence(margin_of[metric])
        for its, metric in zip(group, metrics, strict=True)
    ]
    equivalence = [None if pair is None else max(pair) for pair in sides]
    no_worse = [
        None if pair is None else {1: pair[0], -1: pair[1]}.get(facts[metric].direction)
        for metric, pair in zip(metrics, sides, strict=True)
    ]
    m = max(planned.get(name.split("|", maxsplit=1)[0], len(group)), len(group))
    difference, equal = adjust(p, m), adjust(equivalence, m)
    inferior, random = holm(no_worse, m), holm([_random_p(its.comparison) for its in group], m)
    # Secondary metrics control the false discovery rate, everything else the family-wise error.
    method = "bh" if name == "F_secondary" else "holm"
    decided = difference.bh if method == "bh" else difference.holm
    tails = local_level(p, m, method) / 2, local_level(equivalence, m, "holm")
    judged: dict[int, Judgement] = {}
    for i, (its, metric) in enumerate(zip(group, metrics, strict=True)):
        if its.family != name:
            continue
        verdict = verdict_of(its.comparison, decided[i], equal.holm[i])
        detail = Detail(
            test=its.test,
            p=p[i],
            p_adjusted=decided[i],
            p_bonferroni=difference.bonferroni[i],
            p_bh=difference.bh[i],
            p_by=difference.by[i],
            tost_p=equivalence[i],
            tost_p_adjusted=equal.holm[i],
            noninferiority_p=no_worse[i],
            noninferiority_p_adjusted=inferior[i],
            randomisation_p_adjusted=random[i],
            adjustment=method,
            margin_pct=margin_of[metric],
            margin_declared=metric not in undeclared,
            family=name,
            m_planned=m,
        )
        flags = []
        if its.comparison.names.kind == "screen":
            verdict, detail = _of_screen(its.comparison, verdict, detail)
        elif _contradicted(its.comparison, verdict, detail):
            flags = ["randomisation_disagrees"]
        claim = _claim(its, verdict, detail, tails, facts[metric]) if claims else None
        judged[its.at] = Judgement(its.test, name, verdict, detail, flags, claim)
    tests = {test: adjust([test_p(its.comparison, test) for its in group], m) for test in TESTS}
    labels = [label(its.comparison.names, name) for its in group]
    return judged, Family(labels, m, sum(x is not None for x in p), difference, tests, equal)


def _random_p(c: Comparison) -> float | None:
    p: float | None = get(c, "rearranged", "randomisation", "p")
    return p


def _contradicted(c: Comparison, verdict: str, detail: Detail) -> bool:
    """Whether the rearrangements of the schedule do not show the difference that the verdict is."""
    p, least = detail.randomisation_p_adjusted, get(c, "rearranged", "randomisation", "p_minimum_attainable")
    if verdict not in DIFFERENT or p is None or least is None:
        return False
    return bool(p >= ALPHA and detail.m_planned * least < ALPHA)


def _of_screen(c: Comparison, verdict: str, detail: Detail) -> tuple[str, Detail]:
    """An option of a screen is judged by Dunnett's test over all options, in blocks; it is never called equivalent."""
    if verdict not in (*DIFFERENT, "equivalent", "inconclusive"):
        return verdict, detail
    p: float | None = get(c, "of_screen", "dunnett", "dunnett_p")
    verdict = "different" if p is not None and p < ALPHA else "inconclusive"
    return verdict, replace(detail, test="dunnett", p_adjusted=p, adjustment="dunnett")


def _claim(its: _Member, verdict: str, detail: Detail, tails: tuple[float, float], fact: Fact) -> Claim:
    c, layer = its.comparison, its.layer
    names, compared = c.names, c.compared if isinstance(c, Measured) else None
    screened = names.kind == "screen"
    n: dict[str, int] = {arm: get(compared, "desc", arm, "n") or 0 for arm in ("reference", "treatment")}
    decided_on: Any = None if verdict in ("no_data", "missing_arm") or verdict.startswith("error") else "all runs"
    described = {
        f"{name}_{arm}": get(compared, "desc", arm, name)
        for arm in ("reference", "treatment")
        for name in ("mean", "sd")
    }
    difference = equivalence = alone = worth = None
    told = comparing.Difference() if compared is None else compared.difference
    effect, scale = told.pct_change, "ratio"
    if effect is None:
        effect, scale = told.diff, "difference"
    if layer is not None:
        if layer.test == "paired_t":
            decided_on = "complete blocks"
            n = dict.fromkeys(n, layer.n)
            described = {
                "mean_reference": layer.mean_reference,
                "mean_treatment": layer.mean_treatment,
                "sd_reference": (layer.v_rr * layer.n) ** 0.5,
                "sd_treatment": (layer.v_tt * layer.n) ** 0.5,
            }
        scale, worth = layer.scale, layer.worth
        effect = _shown(layer, layer.estimate)
        difference = _limits(layer, tails[0], deciding.UNSEEN_DIFFERENCE)
        equivalence = _limits(layer, tails[1], deciding.UNSEEN_EQUIVALENCE) if scale == "ratio" else None
        alone = _limits(layer, ALONE_TAIL, deciding.UNSEEN_DIFFERENCE)
    found: Dunnett | None = get(c, "of_screen", "dunnett")
    if found is not None:
        effect, scale, decided_on, worth = found.pct, "ratio", "all runs", None
        difference, equivalence, alone = Limits(95.0, found.low_pct, found.high_pct), None, None
        n = {"reference": found.n_reference, "treatment": found.n_treatment}
    interpretable = verdict in (*DIFFERENT, "equivalent", "inconclusive")
    return Claim(
        metric=names.metric,
        label=fact.label,
        unit_of_measure=fact.unit_of_measure,
        treatment=names.treatment,
        reference=names.reference,
        verdict=verdict,
        reason=confounded(c) if isinstance(c, Measured) and verdict == "not_interpretable" else None,
        analysis_set=c.analysis_set,
        decided_on=decided_on,
        test=detail.test,
        n_reference=n["reference"],
        n_treatment=n["treatment"],
        **described,
        scale=scale,  # type: ignore[arg-type]
        effect=None if effect is None else effect + 0.0,
        interval=(equivalence if verdict == "equivalent" else difference) if interpretable else None,
        difference_interval=difference,
        equivalence_interval=equivalence,
        alone=alone,
        family=detail.family,
        m_planned=detail.m_planned,
        adjustment=detail.adjustment,
        margin_pct=detail.margin_pct,
        margin_declared=detail.margin_declared,
        better=fact.better,
        better_source=fact.source,
        noninferior=None if detail.noninferiority_p_adjusted is None else detail.noninferiority_p_adjusted < ALPHA,
        needs=needs(layer, detail) if verdict == "inconclusive" and not screened else None,
        screening=screened,
        worth=worth,
    )


def _shown(layer: deciding.Layer, theta: float) -> float:
    """θ as it is printed: percent, or units."""
    return 100 * (theta - 1) if layer.scale == "ratio" else theta


def _limits(layer: deciding.Layer, tail: float, unseen: float) -> Limits:
    low, high = (None if theta is None else _shown(layer, theta) for theta in layer.interval(tail, unseen))
    return Limits(100 * (1 - 2 * tail), low, high)


def needs(layer: deciding.Layer | None, detail: Detail) -> Needs | None:
    """The N at which this comparison would be settled with 80 % power at its
    family's first step (0.05 by the m planned).

    Equivalence if nothing differed; where the runs at hand were enough for that and are undecided all the same, because
    the estimate is off zero, whatever the estimate says if it is the truth. Always above the N at hand; further blocks
    that resemble their neighbours as these do are worth as little.
    """
    if layer is None:
        return None
    blocks, at_hand = layer.test == "paired_t", layer.n
    what = "blocks" if blocks else "runs per arm"
    if layer.scale != "ratio":
        return Needs(None, what, "a mean is not clear of zero, so that no N can be told for a margin in percent")
    variance = layer.v_tt - 2 * layer.v_tr + layer.v_rr
    spread = 100 * (variance * at_hand) ** 0.5 / abs(layer.mean_reference) * layer.resemblance
    if spread <= 0:
        return None
    margin, alpha = detail.margin_pct, ALPHA / detail.m_planned
    estimate = _shown(layer, layer.estimate)
    within = f"within ±{number(margin)} %"
    tries = (
        ("equivalence", 0.0, f"to settle equivalence {within}"),
        ("equivalence", abs(estimate), f"to settle equivalence {within} if the estimate is the truth"),
        ("difference", abs(estimate), "to show the difference if the estimate is the truth"),
    )
    for question, true, words in tries:
        if question == "equivalence" and true >= margin:
            continue
        # Three digits are more than a spread is known to, and let comparisons share what was found.
        true, room = (float(f"{x / spread:.3g}") for x in (true, margin))
        n = planning.needed(blocks, question, true, room, alpha)
        if n is not None and n > at_hand:
            return Needs(n, what, words)
    return Needs(None, what, f"no N up to {planning.MOST} settles it at this spread")


def label(names: Names, family: str = "") -> str:
    """``model|metric``, and the contrast where a family holds more than one."""
    several = family == "F_three_arm" or family.startswith("F_2B") or names.kind != "main"
    return f"{names.model}|{names.metric}" + (f"|{names.contrast}" if several else "")


@dataclass(frozen=True)
class PlainVerdict(Result):
    """By the paired test and the paired equivalence at 2 %, each over the primary comparisons; None without blocks."""

    verdict_headline_paired_holm_margin2pct: str | None


def plain_families(
    comparisons: Sequence[Comparison], planned: Mapping[str, int], facts: Facts
) -> tuple[dict[int, PlainVerdict], Family | None]:
    """The families of a single two-arm study: each test over all its primary comparisons. The verdicts are by the place
    of the comparison; of any other study there are none, and no family."""
    group = [at for at, c in enumerate(comparisons) if c.names.kind == "main"]
    chosen = [at for at in group if facts[comparisons[at].names.metric].role != "secondary"] or group
    primary = [comparisons[at] for at in chosen]
    if not primary or len({(c.names.phase, c.names.unit) for c in primary}) > 1:
        return {}, None
    m = max(planned.get("F_primary", len(primary)), len(primary))
    tests = {test: adjust([test_p(c, test) for c in primary], m) for test in TESTS}
    for name, test in (("tost_paired_2pct", "paired_t"), ("tost_ratio_2pct", "welch")):
        tests[name] = adjust([tost_p(c, test, 2) for c in primary], m)
    verdicts = {}
    different, equivalent = tests["paired_t"].holm, tests["tost_paired_2pct"].holm
    for at, c, p, q in zip(chosen, primary, different, equivalent, strict=True):
        usable = isinstance(c, Measured) and c.status == "ok" and c.compared.paired.status == "ok"
        verdicts[at] = PlainVerdict(four_way(p, q) if usable else None)
    labels, tested = [label(c.names) for c in primary], sum(c.status == "ok" for c in primary)
    return verdicts, Family(labels, m, tested, None, tests)
