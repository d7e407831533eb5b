"""Comparisons to families to verdicts: every claim pays for the number of claims that were planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaign.analysis.statistics.families import adjust, holm
from campaign.analysis.statistics.metrics import role
from campaign.analysis.statistics.verdict import four_way, headline_test, test_p, tost_p, verdict_of

TESTS = ("document", "welch", "mwu", "paired_t")
Comparison = dict[str, Any]


def family_of(comparison: Comparison, confirmatory_exists: bool) -> str:
    """The family that pays for a comparison's verdict.

    ``kind`` of a comparison is ``main`` (two arms), ``three_arm``, ``screen`` or ``screen_base`` (the overhead beside a screen). Where a table holds none of the confirmatory metrics,
    its metrics are taken as confirmatory: they are what it was made for.
    """
    if comparison["kind"] == "screen_base":
        return "F_2B_overhead"
    if comparison["kind"] == "screen":
        return f"F_2B|{comparison['model']}|{comparison['metric']}"
    part = role(comparison["metric"]) if confirmatory_exists else "confirmatory"
    if part == "confirmatory":
        return "F_three_arm" if comparison["kind"] == "three_arm" else "F_doc"
    return "F_primary5" if part == "derived" else "F_secondary"


def judge(comparisons: list[Comparison], margin_of: Mapping[str, float], planned: Mapping[str, int]) -> dict[str, Any]:
    """Set ``headline_test``, ``verdict`` and ``verdict_detail`` of every comparison in place; return the families.

    ``comparisons`` are all of one analysis set. ``margin_of`` gives each metric's equivalence margin in percent;
    ``planned`` overrides the size of a family, which is otherwise the number of its comparisons, testable or not.
    """
    confirmatory_exists = any(role(c["metric"]) == "confirmatory" for c in comparisons)
    members: dict[tuple[Any, ...], list[Comparison]] = {}
    for c in comparisons:
        c["headline_test"] = headline_test(c) if c["status"] == "ok" else None
        family = family_of(c, confirmatory_exists)
        keys = [family]
        if family == "F_doc" or (family == "F_primary5" and c["kind"] == "main"):
            keys = ["F_doc", "F_primary5"] if family == "F_doc" else ["F_primary5"]
        for key in keys:
            members.setdefault((key, c["phase"], c["unit"]), []).append(c)
        c["family"] = family
    out: dict[str, Any] = {}
    for (name, phase, unit), group in members.items():
        label = name
        if sum(key[0] == name for key in members) > 1:
            label = "@".join(str(part) for part in (name, phase, unit) if part is not None)
        out[label] = _family(name, group, margin_of, planned)
    if "F_doc" in out:
        known = ("labels", "m_planned")
        out["F_equiv"] = {key: out["F_doc"][key] for key in known} | out["F_doc"]["equivalence"]
        out["F_equiv"]["m_tested"] = sum(p is not None for p in out["F_equiv"]["p"])
    return out


def _family(
    name: str, group: list[Comparison], margin_of: Mapping[str, float], planned: Mapping[str, int]
) -> dict[str, Any]:
    p = [test_p(c, c["headline_test"]) if c["headline_test"] else None for c in group]
    equivalence = [tost_p(c, c["headline_test"], margin_of[c["metric"]]) if c["headline_test"] else None for c in group]
    m = max(planned.get(name.split("|", maxsplit=1)[0], len(group)), len(group))
    difference, equal = adjust(p, m), adjust(equivalence, m)
    # Secondary metrics control the false discovery rate, everything else the family-wise error.
    method = "bh" if name == "F_secondary" else "holm"
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
            "adjustment": method,
            "margin_pct": margin_of[c["metric"]],
            "family": name,
            "m_planned": m,
        }
    tests = {test: adjust([test_p(c, test) for c in group], m) for test in TESTS}
    return (
        {"labels": [label(c, name) for c in group], "m_planned": m, "m_tested": sum(x is not None for x in p)}
        | difference
        | tests
        | {"equivalence": equal}
    )


def label(c: Comparison, family: str = "") -> str:
    """``model|metric``, and the contrast where a family holds more than one."""
    several = family == "F_three_arm" or family.startswith("F_2B") or c["kind"] != "main"
    return f"{c['model']}|{c['metric']}" + (f"|{c['treatment']}_vs_{c['reference']}" if several else "")


def plain_families(comparisons: list[Comparison], planned: Mapping[str, int]) -> dict[str, Any]:
    """The families of a single two-arm study: each test over all its primary comparisons, and the paired verdict at 2 %."""
    group = [c for c in comparisons if c["kind"] == "main"]
    primary = [c for c in group if role(c["metric"]) != "secondary"] or group
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
        usable = c["status"] == "ok" and c["paired"]["status"] == "ok"
        c["verdict_headline_paired_holm_margin2pct"] = four_way(p, q) if usable else None
    return out
