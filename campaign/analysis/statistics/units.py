"""Several machines: what each says alone, and what may be said beyond them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from campaign.analysis.margin import Margin
from campaign.analysis.result import Result
from campaign.analysis.statistics import deciding, meta, mixed
from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import FloatArray, f_upper, t_quantile, t_two_sided
from campaign.analysis.statistics.families import holm, local_level
from campaign.analysis.statistics.order import complete_blocks, was_blocked
from campaign.analysis.statistics.paired import paired_t
from campaign.analysis.statistics.ratio import mean_covariance
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.verdict import four_way

OVER_UNITS = (
    "two_stage_diff",
    "two_stage_log_ratio",
    "meta_PM_hksj",
    "meta_DL_hksj",
    "meta_REML_hksj",
    "meta_fixed",
    "unit_by_treatment_F",
    "fixed_blocks",
    "lmm_random_intercepts",
    "lmm_random_slope",
)
FEWEST_UNITS = 10
"""Units below which nothing is claimed beyond them: where one unit in four differs, fewer miss it too often
(``docs/statistics.md``)."""

Arms = tuple[Sample, Sample, FloatArray]


@dataclass(frozen=True)
class NotBeyond(Result):
    """Nothing may be said beyond the tested units; ``words`` for a reader. The fields are columns of the view
    ``over_units``."""

    verdict: None
    reason: str
    words: str


@dataclass(frozen=True, kw_only=True)
class BeyondUnits(Result):
    """What may be said beyond the tested units, in percent of the reference. The fields are columns of the view
    ``over_units``."""

    verdict: str
    method: str
    units: int
    df: float
    pct: float
    pct_low: float | None
    pct_high: float | None
    level: float
    """Confidence of the limits, in percent."""
    p: float | None
    p_adjusted: float | None
    tost_p: float | None
    tost_p_adjusted: float | None
    margin_pct: float
    margin_declared: bool
    m_planned: int
    adjustment: str
    words: str


def analyze_units(samples: Mapping[str, Arms], models: bool = True) -> dict[str, Any]:
    """Per-unit paired estimates, and inference over the k units.

    ``samples`` maps a unit to treatment, reference and the (order, repetition) of all runs of the model on it.
    Population inference is two-stage: one value per unit, t with k - 1. Everything over units is None with reason
    ``single_unit`` at k = 1. The mixed models take most of the time; they are left out without ``models``.
    """
    pairs: dict[str, tuple[FloatArray, FloatArray]] = {}
    per_unit: dict[str, Any] = {}
    for unit, (treatment, reference, schedule) in samples.items():
        t, r = complete_blocks(treatment, reference)
        blocked = was_blocked(treatment, reference, schedule)
        a, b = treatment.value[t], reference.value[r]
        per_unit[unit] = unit_estimate(a, b) if blocked else {"n": len(t), "reason": "no_blocks"}
        if blocked and len(t) >= 3 and not is_constant(a - b, float(np.abs(a).max())):
            pairs[unit] = (a, b)
    out: dict[str, Any] = {"k_units": len(samples), "per_unit": per_unit}
    if len(pairs) < 2:
        reason = "single_unit" if len(samples) < 2 else "fewer_than_two_usable_units"
        return out | dict.fromkeys(OVER_UNITS) | {"reason": reason}
    usable = {unit: samples[unit] for unit in pairs}
    return out | _over_units(pairs, per_unit, usable, models)


def unit_estimate(treatment: FloatArray, reference: FloatArray) -> dict[str, Any]:
    """Paired difference and log ratio of means with its delta variance, on one unit."""
    n = len(treatment)
    out: dict[str, Any] = {"n": n} | dict.fromkeys(("mean_diff", "se_diff", "p_paired", "log_ratio", "var_log_ratio"))
    if n < 3:
        return out | {"reason": "insufficient_n"}
    differences = treatment - reference
    out["mean_diff"] = float(differences.mean())
    if is_constant(differences, float(np.abs(treatment).max())):
        out["reason"] = "deterministic"
    else:
        result = paired_t(differences)
        out |= {"se_diff": result.sd_diff / math.sqrt(n), "p_paired": result.p}
    m_t, m_r = float(treatment.mean()), float(reference.mean())
    if m_t > 0 and m_r > 0:
        v_tt, v_rr, v_tr = mean_covariance(treatment, reference)
        out["log_ratio"] = math.log(m_t / m_r)
        out["var_log_ratio"] = v_tt / m_t**2 + v_rr / m_r**2 - 2 * v_tr / (m_t * m_r)
    return out


def _over_units(
    pairs: dict[str, tuple[FloatArray, FloatArray]], per_unit: dict[str, Any], samples: Mapping[str, Arms], models: bool
) -> dict[str, Any]:
    found = [per_unit[unit] for unit in pairs]
    out: dict[str, Any] = dict.fromkeys(OVER_UNITS)
    out["two_stage_diff"] = _one_sample(np.array([unit["mean_diff"] for unit in found]))
    if all(unit["var_log_ratio"] is not None and unit["var_log_ratio"] > 0 for unit in found):
        y = 100 * np.array([unit["log_ratio"] for unit in found])
        v = 1e4 * np.array([unit["var_log_ratio"] for unit in found])
        stage = _one_sample(y)
        out["two_stage_log_ratio"] = {
            **stage,
            "units": "100*ln(ratio)",
            "ratio": math.exp(stage["estimate"] / 100),
            "ratio_low": math.exp(stage["ci_low"] / 100),
            "ratio_high": math.exp(stage["ci_high"] / 100),
        }
        for method in meta.TAU2:
            out[f"meta_{method}_hksj"] = meta.random_effects(y, v, method)
        out["meta_fixed"] = meta.fixed_effect(y, v)
    out["unit_by_treatment_F"] = _interaction(pairs)
    out["fixed_blocks"] = _fixed_blocks(pairs)
    y, trt, unit, block = _long(samples)
    if models and not is_constant(y):
        out["lmm_random_intercepts"] = mixed.random_intercepts(y, trt, unit, block)
        out["lmm_random_slope"] = mixed.random_slope(y, trt, unit, block)
    out["headline"] = "two_stage_log_ratio"
    if len(pairs) == 2:
        out["caution"] = "two units: t quantile 12.7, the interval is uninformative"
    return out


def over_units(entries: Sequence[Mapping[str, Any]], margins: Sequence[Margin]) -> list[BeyondUnits | NotBeyond]:
    """Of each entry of :func:`analyze_units` what may be said of units beyond the tested ones. All are one family.

    The unit is the experimental unit: one log ratio each, t with k - 1, guarded as every decision is. Below
    :data:`FEWEST_UNITS` there is the interval and no verdict.
    """
    layers = [unit_layer(_log_ratios(entry)) for entry in entries]
    p = [None if layer is None else layer.p_difference() for layer in layers]
    sides = [
        None if layer is None else _equivalence(layer, margin.pct)
        for layer, margin in zip(layers, margins, strict=True)
    ]
    m = len(entries)
    adjusted, alike = holm(p, m), holm(sides, m)
    tails = local_level(p, m, "holm") / 2, local_level(sides, m, "holm")
    out: list[BeyondUnits | NotBeyond] = []
    for i, (entry, layer) in enumerate(zip(entries, layers, strict=True)):
        if layer is None:
            few = "one unit" if entry["k_units"] < 2 else "too few units with blocks"
            reason = entry.get("reason") or "no_log_ratio"
            out.append(NotBeyond(None, reason, f"{few}: nothing is said of others"))
            continue
        verdict = four_way(adjusted[i], alike[i])
        equivalent, enough = verdict == "equivalent", layer.n >= FEWEST_UNITS
        unseen = deciding.UNSEEN_EQUIVALENCE if equivalent else deciding.UNSEEN_DIFFERENCE
        low, high = _percent_limits(layer, tails[equivalent], unseen)
        out.append(
            BeyondUnits(
                verdict=verdict if enough else "not_beyond_these_units",
                method="two_stage_log_ratio",
                units=layer.n,
                df=layer.df,
                pct=100 * math.expm1(layer.estimate),
                pct_low=low,
                pct_high=high,
                level=100 * (1 - 2 * tails[equivalent]),
                p=p[i],
                p_adjusted=adjusted[i],
                tost_p=sides[i],
                tost_p_adjusted=alike[i],
                margin_pct=margins[i].pct,
                margin_declared=margins[i].declared,
                m_planned=m,
                adjustment="holm",
                words=f"{layer.n} units"
                if enough
                else f"{layer.n} units are too few to speak of others (from {FEWEST_UNITS} on): "
                "the claims of each unit hold for it alone",
            )
        )
    return out


def _log_ratios(entry: Mapping[str, Any]) -> FloatArray:
    if not entry.get("two_stage_log_ratio"):
        return np.empty(0)
    return np.array([unit["log_ratio"] for unit in entry["per_unit"].values() if unit.get("var_log_ratio")])


def unit_layer(y: FloatArray) -> deciding.Layer | None:
    """Log ratios of the units, shape (units,), as a layer on the scale of differences; None for fewer than two,
    or all alike."""
    if len(y) < 2:
        return None
    errors = y - y.mean()
    spread = float(errors.std())
    if spread <= 0:
        return None
    skewness = float((errors**3).mean()) / spread**3 / math.sqrt(len(y))
    variance = float(y.var(ddof=1)) / len(y)
    return deciding.Layer(
        "two_stage", "difference", float(y.mean()), 0.0, variance, 0.0, 0.0, len(y) - 1, skewness, len(y), None, 1.0
    )


def _equivalence(layer: deciding.Layer, margin_pct: float) -> float:
    low, high = (math.log(bound) for bound in deciding.margins(margin_pct))
    return max(layer.p_above(low, deciding.UNSEEN_EQUIVALENCE), layer.p_below(high, deciding.UNSEEN_EQUIVALENCE))


def _percent_limits(layer: deciding.Layer, tail: float, unseen: float) -> list[float | None]:
    # A limit beyond any number is none.
    return [None if limit is None or limit > 700 else 100 * math.expm1(limit) for limit in layer.interval(tail, unseen)]


def _one_sample(x: FloatArray) -> dict[str, Any]:
    k = len(x)
    estimate, se = float(x.mean()), float(x.std(ddof=1)) / math.sqrt(k)
    reach = t_quantile(0.975, k - 1) * se
    t = estimate / se if se > 0 else None
    return {
        "estimate": estimate,
        "se": se,
        "t": t,
        "df": k - 1,
        "p": None if t is None else t_two_sided(t, k - 1),
        "ci_low": estimate - reach,
        "ci_high": estimate + reach,
    }


def _interaction(pairs: dict[str, tuple[FloatArray, FloatArray]]) -> dict[str, Any] | None:
    """Does the effect differ between units? One-way analysis of variance of the block differences by unit."""
    differences = [a - b for a, b in pairs.values()]
    pooled = np.concatenate(differences)
    df1, df2 = len(differences) - 1, len(pooled) - len(differences)
    within = sum(float(((d - d.mean()) ** 2).sum()) for d in differences)
    between = sum(len(d) * float(d.mean() - pooled.mean()) ** 2 for d in differences)
    if within <= 0 or df2 < 1:
        return None
    f = between / df1 / (within / df2)
    return {"F": f, "df1": df1, "df2": df2, "p": f_upper(f, df1, df2)}


def _fixed_blocks(pairs: dict[str, tuple[FloatArray, FloatArray]]) -> dict[str, Any]:
    """y ~ treatment + unit:block: the paired t test over all blocks of all units."""
    result = paired_t(np.concatenate([a - b for a, b in pairs.values()]))
    n = sum(len(a) for a, _ in pairs.values())
    return {
        "estimate": result.mean_diff,
        "se": result.sd_diff / math.sqrt(n),
        **{key: getattr(result, key) for key in ("t", "df", "p", "ci_low", "ci_high")},
    }


def _long(samples: Mapping[str, Arms]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """All runs, complete blocks or not, as value, treatment, unit label and block label."""
    y, trt, unit, block = [], [], [], []
    offset = 0
    for number, (treatment, reference, _) in enumerate(samples.values()):
        for flag, sample in ((1.0, treatment), (0.0, reference)):
            y.append(sample.value)
            trt.append(np.full(len(sample), flag))
            unit.append(np.full(len(sample), float(number)))
            block.append(sample.repetition.astype(float) + offset)
        offset += 1 + int(max(treatment.repetition.max(), reference.repetition.max()))
    return tuple(np.concatenate(part) for part in (y, trt, unit, block))  # type: ignore[return-value]
