"""Comparisons to families to verdicts to claims: every claim pays for the number of claims that were planned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from campaign.analysis.numbers import number
from campaign.analysis.result import get
from campaign.analysis.statistics import deciding, planning
from campaign.analysis.statistics.claims import DIFFERENT, Claim, Limits, Needs
from campaign.analysis.statistics.families import adjust, holm, local_level
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.metrics import Fact
from campaign.analysis.statistics.verdict import (
    four_way,
    headline_test,
    not_interpretable,
    test_p,
    tost_p,
    verdict_of,
)

TESTS = ("document", "welch", "mwu", "paired_t")
ALONE_TAIL = 0.025
Comparison = dict[str, Any]
Facts = Mapping[str, Fact]


def family_of(comparison: Comparison, facts: Facts, confirmatory_exists: bool) -> str:
    """The family that pays for a comparison's verdict.

    ``kind`` of a comparison is ``main`` (two arms), ``three_arm``, ``screen`` or ``screen_base`` (the overhead beside a
    screen). Where a table holds none of the confirmatory metrics, its metrics are taken as confirmatory: they are what
    it was made for.
    """
    if comparison["kind"] == "screen_base":
        return "F_2B_overhead"
    if comparison["kind"] == "screen":
        return f"F_2B|{comparison['model']}|{comparison['metric']}"
    part = facts[comparison["metric"]].role if confirmatory_exists else "confirmatory"
    if part == "confirmatory":
        return "F_three_arm" if comparison["kind"] == "three_arm" else "F_doc"
    return "F_primary5" if part == "derived" else "F_secondary"


def judge(
    comparisons: list[Comparison],
    margin_of: Mapping[str, float],
    planned: Mapping[str, int],
    facts: Facts,
    *,
    claims: bool,
    undeclared: Collection[str] = (),
) -> dict[str, Any]:
    """Set ``headline_test``, ``verdict``, ``verdict_detail`` and (with ``claims``) ``claimed``, a :class:`Claim`, of
    every comparison in place; return the families.

    ``comparisons`` are all of one analysis set, of every unit: units pay for each other. ``margin_of`` gives each
    metric's equivalence margin in percent, ``undeclared`` the metrics for which nobody declared one; ``planned``
    overrides the size of a family, which is otherwise the number of its comparisons, testable or not.
    """
    confirmatory_exists = any(facts[c["metric"]].role == "confirmatory" for c in comparisons)
    members: dict[tuple[Any, ...], list[Comparison]] = {}
    for c in comparisons:
        c["headline_test"] = headline_test(c) if c["status"] == "ok" else None
        family = family_of(c, facts, confirmatory_exists)
        keys = [family]
        if family == "F_doc" or (family == "F_primary5" and c["kind"] == "main"):
            keys = ["F_doc", "F_primary5"] if family == "F_doc" else ["F_primary5"]
        for key in keys:
            members.setdefault((key, c["phase"]), []).append(c)
        c["family"] = family
    out: dict[str, Any] = {}
    for (name, phase), group in members.items():
        several = sum(key[0] == name for key in members) > 1
        label = f"{name}@{phase}" if several and phase is not None else name
        out[label] = _family(name, group, margin_of, planned, facts, claims, undeclared)
    if "F_doc" in out:
        known = ("labels", "m_planned")
        out["F_equiv"] = {key: out["F_doc"][key] for key in known} | out["F_doc"]["equivalence"]
        out["F_equiv"]["m_tested"] = sum(p is not None for p in out["F_equiv"]["p"])
    return out


def layer_of(c: Comparison) -> deciding.Layer | None:
    """The layer that decides a comparison."""
    return c["layers"].get(c["headline_test"]) if c["status"] == "ok" else None


def _family(
    name: str,
    group: list[Comparison],
    margin_of: Mapping[str, float],
    planned: Mapping[str, int],
    facts: Facts,
    claims: bool,
    undeclared: Collection[str],
) -> dict[str, Any]:
    layers = [layer_of(c) for c in group]
    p = [None if layer is None else layer.p_difference() for layer in layers]
    sides = [
        None if layer is None else layer.p_equivalence(margin_of[c["metric"]])
        for c, layer in zip(group, layers, strict=True)
    ]
    equivalence = [None if pair is None else max(pair) for pair in sides]
    no_worse = [
        None if pair is None else {1: pair[0], -1: pair[1]}.get(facts[c["metric"]].direction)
        for c, pair in zip(group, sides, strict=True)
    ]
    m = max(planned.get(name.split("|", maxsplit=1)[0], len(group)), len(group))
    difference, equal = adjust(p, m), adjust(equivalence, m)
    inferior, random = holm(no_worse, m), holm([_random_p(c) for c in group], m)
    # Secondary metrics control the false discovery rate, everything else the family-wise error.
    method = "bh" if name == "F_secondary" else "holm"
    tails = local_level(p, m, method) / 2, local_level(equivalence, m, "holm")
    for i, c in enumerate(group):
        if c["family"] != name:
            continue
        c["verdict"] = verdict_of(c, difference[method][i], equal["holm"][i])
        c["verdict_detail"] = {
            "test": c["headline_test"],
            "p": p[i],
            "p_adjusted": difference[method][i],
            **{f"p_{name}": difference[name][i] for name in ("bonferroni", "bh", "by")},
            "tost_p": equivalence[i],
            "tost_p_adjusted": equal["holm"][i],
            "noninferiority_p": no_worse[i],
            "noninferiority_p_adjusted": inferior[i],
            "randomisation_p_adjusted": random[i],
            "adjustment": method,
            "margin_pct": margin_of[c["metric"]],
            "margin_declared": c["metric"] not in undeclared,
            "family": name,
            "m_planned": m,
        }
        if c["kind"] == "screen":
            _screen(c)
        elif _contradicted(c, random[i]):
            c["flags"] = [*c["flags"], "randomisation_disagrees"]
        if claims:
            c["claimed"] = _claim(c, layers[i], tails, facts[c["metric"]])
    tests = {test: adjust([test_p(c, test) for c in group], m) for test in TESTS}
    return (
        {"labels": [label(c, name) for c in group], "m_planned": m, "m_tested": sum(x is not None for x in p)}
        | difference
        | tests
        | {"equivalence": equal}
    )


def _random_p(c: Comparison) -> float | None:
    p: float | None = get(c, "randomisation", "p")
    return p


def _contradicted(c: Comparison, p_adjusted: float | None) -> bool:
    """Whether the rearrangements of the schedule do not show the difference that the verdict is."""
    if c["verdict"] not in DIFFERENT or p_adjusted is None:
        return False
    return p_adjusted >= ALPHA and c["verdict_detail"]["m_planned"] * c["randomisation"].p_minimum_attainable < ALPHA


def _screen(c: Comparison) -> None:
    """An option of a screen is judged by Dunnett's test over all options, in blocks; it is never called equivalent."""
    found = c.get("dunnett")
    if c["verdict"] not in (*DIFFERENT, "equivalent", "inconclusive"):
        return
    p = None if found is None else found.dunnett_p
    c["verdict"] = "different" if p is not None and p < ALPHA else "inconclusive"
    c["verdict_detail"] |= {"test": "dunnett", "p_adjusted": p, "adjustment": "dunnett"}


def _claim(c: Comparison, layer: deciding.Layer | None, tails: tuple[float, float], fact: Fact) -> Claim:
    verdict, detail = c["verdict"], c["verdict_detail"]
    screened = c["kind"] == "screen"
    n = {arm: ((c["desc"] or {}).get(arm) or {"n": 0})["n"] for arm in ("reference", "treatment")}
    decided_on: Any = None if verdict in ("no_data", "missing_arm") or verdict.startswith("error") else "all runs"
    described = {
        f"{name}_{arm}": ((c["desc"] or {}).get(arm) or {}).get(name)
        for arm in ("reference", "treatment")
        for name in ("mean", "sd")
    }
    difference = equivalence = alone = None
    effect, scale = c["pct_change"], "ratio"
    if effect is None:
        effect, scale = c["diff"], "difference"
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
        scale = layer.scale
        effect = _shown(layer, layer.estimate)
        difference = _limits(layer, tails[0], deciding.UNSEEN_DIFFERENCE)
        equivalence = _limits(layer, tails[1], deciding.UNSEEN_EQUIVALENCE) if scale == "ratio" else None
        alone = _limits(layer, ALONE_TAIL, deciding.UNSEEN_DIFFERENCE)
    if screened and c.get("dunnett"):
        found = c["dunnett"]
        effect, scale, decided_on = found.pct, "ratio", "complete blocks" if found.blocks else "all runs"
        difference, equivalence, alone = Limits(95.0, found.low_pct, found.high_pct), None, None
        n = {"reference": found.n_reference, "treatment": found.n_treatment}
    interpretable = verdict in (*DIFFERENT, "equivalent", "inconclusive")
    return Claim(
        metric=c["metric"],
        label=fact.label,
        unit_of_measure=fact.unit_of_measure,
        treatment=c["treatment"],
        reference=c["reference"],
        verdict=verdict,
        reason=not_interpretable(c) if verdict == "not_interpretable" else None,
        analysis_set=c["analysis_set"],
        decided_on=decided_on,
        test=detail["test"],
        n_reference=n["reference"],
        n_treatment=n["treatment"],
        **described,
        scale=scale,  # type: ignore[arg-type]
        effect=None if effect is None else effect + 0.0,
        interval=(equivalence if verdict == "equivalent" else difference) if interpretable else None,
        difference_interval=difference,
        equivalence_interval=equivalence,
        alone=alone,
        family=detail["family"],
        m_planned=detail["m_planned"],
        adjustment=detail["adjustment"],
        margin_pct=detail["margin_pct"],
        margin_declared=detail["margin_declared"],
        better=fact.better,
        better_source=fact.source,
        noninferior=None
        if detail["noninferiority_p_adjusted"] is None
        else detail["noninferiority_p_adjusted"] < ALPHA,
        needs=needs(layer, detail) if verdict == "inconclusive" and not screened else None,
        screening=screened,
    )


def _shown(layer: deciding.Layer, theta: float) -> float:
    """θ as it is printed: percent, or units."""
    return 100 * (theta - 1) if layer.scale == "ratio" else theta


def _limits(layer: deciding.Layer, tail: float, unseen: float) -> Limits:
    low, high = (None if theta is None else _shown(layer, theta) for theta in layer.interval(tail, unseen))
    return Limits(100 * (1 - 2 * tail), low, high)


def needs(layer: deciding.Layer | None, detail: Mapping[str, Any]) -> Needs | None:
    """The N at which this comparison would be settled with 80 % power at its
    family's first step (0.05 by the m planned).

    Equivalence if nothing differed; where the runs at hand were enough for that and are undecided all the same, because
    the estimate is off zero, whatever the estimate says if it is the truth. Always above the N at hand.
    """
    if layer is None:
        return None
    blocks, at_hand = layer.test == "paired_t", layer.n
    what = "blocks" if blocks else "runs per arm"
    if layer.scale != "ratio":
        return Needs(None, what, "a mean is not clear of zero, so that no N can be told for a margin in percent")
    variance = layer.v_tt - 2 * layer.v_tr + layer.v_rr
    spread = 100 * (variance * at_hand) ** 0.5 / abs(layer.mean_reference)
    if spread <= 0:
        return None
    margin, alpha = detail["margin_pct"], ALPHA / detail["m_planned"]
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


def label(c: Comparison, family: str = "") -> str:
    """``model|metric``, and the contrast where a family holds more than one."""
    several = family == "F_three_arm" or family.startswith("F_2B") or c["kind"] != "main"
    return f"{c['model']}|{c['metric']}" + (f"|{c['treatment']}_vs_{c['reference']}" if several else "")


def plain_families(comparisons: list[Comparison], planned: Mapping[str, int], facts: Facts) -> dict[str, Any]:
    """The families of a single two-arm study: each test over all its primary comparisons,
    and the paired verdict at 2 %."""
    group = [c for c in comparisons if c["kind"] == "main"]
    primary = [c for c in group if facts[c["metric"]].role != "secondary"] or group
    if not primary or len({(c["phase"], c["unit"]) for c in primary}) > 1:
        return {}
    m = max(planned.get("F_primary", len(primary)), len(primary))
    out: dict[str, Any] = {
        "labels": [label(c) for c in primary],
        "m_planned": m,
        "m_tested": sum(c["status"] == "ok" for c in primary),
    }
    for test in TESTS:
        out[test] = adjust([test_p(c, test) for c in primary], m)
    for name, test in (("tost_paired_2pct", "paired_t"), ("tost_ratio_2pct", "welch")):
        out[name] = adjust([tost_p(c, test, 2) for c in primary], m)
    significant = out["paired_t"]["holm"]
    equivalent = holm(out["tost_paired_2pct"]["p"], m)
    for c, p, q in zip(primary, significant, equivalent, strict=True):
        usable = c["status"] == "ok" and c["paired"].status == "ok"
        c["verdict_headline_paired_holm_margin2pct"] = four_way(p, q) if usable else None
    return out
