"""The screen of Docker options: every option against the Docker baseline. Its estimates choose;
they are never quoted."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import scipy

from campaign.analysis.margin import DEFAULT_PCT
from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.dunnett import adjusted_p, critical, one_factor_p, one_way_loadings, simultaneous
from campaign.analysis.statistics.families import holm
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.reduction import independent_reduction, paired_reduction
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.two_arms.variance import levene
from campaign.analysis.statistics.two_arms.welch import test as welch

FEWEST = 3
MOST_CHOSEN = 3
NOTE = "screening, biased upwards"
Group = Mapping[str, Sample]


def screen_model(arms: Group, reference: str, baseline: str, configs: list[str], better: int) -> dict[str, Any]:
    """One model: overhead of the baseline, one-way and block tests, and every config against the baseline.

    The native arm is the base of ``overhead_baseline`` and of ``reduction``; variance tests and Dunnett compare Docker
    arms only.
    """
    out: dict[str, Any] = {"note": NOTE, "overhead_baseline": None, "anova_F": None, "anova_p": None, "kruskal_p": None}
    out |= {"configs": {}, "rcbd_dunnett": {}}
    control = arms.get(baseline)
    if control is None or len(control) < FEWEST:
        return out | {"status": "missing_arm" if control is None else "insufficient_n"}
    native = arms.get(reference)
    usable = [c for c in configs if c in arms and len(arms[c]) >= FEWEST]
    out["overhead_baseline"] = _overhead(native, control, better)
    groups = [control.value, *(arms[c].value for c in usable)]
    if not usable or all(is_constant(g) for g in groups):
        return out | {"status": "deterministic" if usable else "missing_arm"}
    anova = scipy.stats.f_oneway(*groups)
    out |= {"anova_F": float(anova.statistic), "anova_p": float(anova.pvalue)}
    out["kruskal_p"] = float(scipy.stats.kruskal(*groups).pvalue)
    out["status"] = "ok"
    out["configs"] = {c: _described(arms.get(c)) for c in configs}
    for config, found in _one_way_dunnett(control.value, {c: arms[c].value for c in usable}).items():
        out["configs"][config] |= found
    for config in usable:
        out["configs"][config] |= _against_baseline(arms[config], control, native)
    p = [out["configs"][c].get("welch_p") for c in configs]
    for config, adjusted in zip(configs, holm(p, len(configs)), strict=True):
        out["configs"][config]["welch_p_holm"] = adjusted
    blocks = block_contrasts({c: arms[c] for c in (baseline, *usable)}, baseline, logs=False)
    out["rcbd_dunnett"] = {c: {"t": x["t"], "p": x["dunnett_p"]} for c, x in blocks.items()}
    return out


def _overhead(native: Sample | None, control: Sample, better: int) -> dict[str, Any] | None:
    if native is None or len(native) == 0:
        return None
    m_n, m_b = float(native.value.mean()), float(control.value.mean())
    testable = len(native) >= FEWEST and not (is_constant(native.value) and is_constant(control.value))
    percent = 100 * (m_b / m_n - 1) if m_n else None
    return {
        "native_mean": m_n,
        "baseline_mean": m_b,
        "diff": m_b - m_n,
        "welch_p": welch(control.value, native.value).p if testable else None,
        "pct_overhead": None if percent is None or better == 0 else -better * percent,
    }


def _described(sample: Sample | None) -> dict[str, Any]:
    if sample is None or len(sample) == 0:
        return {"n": 0, "mean": None, "sd": None, "status": "missing_arm"}
    sd = float(sample.value.std(ddof=1)) if len(sample) > 1 else None
    status = "ok" if len(sample) >= FEWEST else "insufficient_n"
    return {"n": len(sample), "mean": float(sample.value.mean()), "sd": sd, "status": status}


def _one_way_dunnett(control: FloatArray, treatments: Mapping[str, FloatArray]) -> dict[str, dict[str, float]]:
    groups = [control, *treatments.values()]
    df = sum(len(g) for g in groups) - len(groups)
    pooled = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / df
    loadings = one_way_loadings([len(g) for g in treatments.values()], len(control))
    reach = critical(loadings, df)
    out = {}
    for config, x in treatments.items():
        diff = float(x.mean() - control.mean())
        se = math.sqrt(pooled * (1 / len(x) + 1 / len(control)))
        out[config] = {
            "diff": diff,
            "dunnett_t": diff / se,
            "dunnett_p": one_factor_p(diff / se, loadings, df),
            "dunnett_ci_low": diff - reach * se,
            "dunnett_ci_high": diff + reach * se,
        }
    return out


def _against_baseline(sample: Sample, control: Sample, native: Sample | None) -> dict[str, Any]:
    x, base = sample.value, control.value
    constant = is_constant(x) and is_constant(base)
    spread = levene(x, base, "median")
    sd_base = float(base.std(ddof=1))
    out: dict[str, Any] = {
        "welch_p": None if constant else welch(x, base).p,
        "pct_vs_baseline": 100 * (float(x.mean()) / float(base.mean()) - 1) if base.mean() else None,
        "sd_ratio": float(x.std(ddof=1)) / sd_base if not is_constant(base) else None,
        "brown_forsythe_p": spread.p if spread else None,
    }
    keys = ("reduction", "reduction_status", "fieller_g", "reduction_low", "reduction_high")
    if native is None or len(native) < FEWEST:
        return out | dict.fromkeys(keys) | {"reduction_status": "missing_arm"}
    out |= _named(independent_reduction(native.value, base, x), "")
    shared = np.intersect1d(np.intersect1d(sample.repetition, control.repetition), native.repetition)
    if len(shared) >= FEWEST:
        n, b, o = (at_repetitions(s, shared) for s in (native, control, sample))
        out |= _named(paired_reduction(n, b, o), "paired_")
    return out


def _named(found: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}reduction": found["point"],
        f"{prefix}reduction_status": found["status"],
        f"{prefix}fieller_g": found["fieller_g"],
        f"{prefix}reduction_low": found["low"],
        f"{prefix}reduction_high": found["high"],
    }


def at_repetitions(sample: Sample, wanted: Any) -> FloatArray:
    """Values at the wanted repetitions, in their order."""
    at = {int(r): i for i, r in enumerate(sample.repetition)}
    return sample.value[[at[int(r)] for r in wanted]]


def block_contrasts(
    arms: Mapping[str, Sample], baseline: str, logs: bool, blocks: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """y ~ config + block by least squares, blocks swept out; every config against the baseline with Dunnett's p.

    ``blocks`` gives a block label per value where the repetition alone is not one; ``logs`` analyses ln y.
    """
    ordered = [baseline, *(c for c in arms if c != baseline)]
    configs = ordered[1:]
    y = np.concatenate([arms[c].value for c in ordered])
    label = np.concatenate([np.asarray(blocks[c] if blocks else arms[c].repetition) for c in ordered])
    x = np.repeat(np.eye(len(ordered))[:, 1:], [len(arms[c]) for c in ordered], axis=0)
    y = np.log(y) if logs else y
    _, of = np.unique(label, return_inverse=True)
    y, x = _swept(y[:, None], of)[:, 0], _swept(x, of)
    df = len(y) - int(of.max()) - 1 - len(configs)
    if df < 1 or np.linalg.matrix_rank(x) < len(configs):
        return {}
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ (x.T @ y)
    residual = y - x @ beta
    sigma2 = float(residual @ residual) / df
    if sigma2 <= 1e-24:
        return {}
    se = np.sqrt(sigma2 * np.diag(inverse))
    root = np.sqrt(np.diag(inverse))
    t = beta / se
    correlation = inverse / np.outer(root, root)
    p = adjusted_p(t, correlation, df)
    reach = simultaneous(correlation, df)
    return {
        c: {
            "estimate": float(beta[i]),
            "se": float(se[i]),
            "t": float(t[i]),
            "df": df,
            "dunnett_p": float(p[i]),
            "low": float(beta[i] - reach * se[i]),
            "high": float(beta[i] + reach * se[i]),
        }
        for i, c in enumerate(configs)
    }


def dunnett_screen(arms: Group, baseline: str) -> dict[str, dict[str, Any]]:
    """Every option against the baseline in percent (log scale, blocks swept out),
    with Dunnett's p and simultaneous 95 % limits.

    Empty where a value is not positive, or where there is too little to estimate from.
    """
    usable = {name: sample for name, sample in arms.items() if len(sample) >= FEWEST}
    if baseline not in usable or len(usable) < 2 or any((sample.value <= 0).any() for sample in usable.values()):
        return {}
    return {
        option: {
            **{name: found[name] for name in ("t", "df", "dunnett_p")},
            "pct": 100 * math.expm1(found["estimate"]),
            "low_pct": 100 * math.expm1(found["low"]),
            "high_pct": 100 * math.expm1(found["high"]),
            "blocks": False,
            "n_treatment": len(usable[option]),
            "n_reference": len(usable[baseline]),
        }
        for option, found in block_contrasts(usable, baseline, logs=True).items()
    }


def _swept(columns: FloatArray, of: Any) -> FloatArray:
    """Columns less their block means."""
    counts = np.bincount(of)[:, None]
    sums = np.zeros((len(counts), columns.shape[1]))
    np.add.at(sums, of, columns)
    return np.asarray(columns - (sums / counts)[of])


def pool_screens(
    groups: Mapping[str, Group],
    baseline: str,
    configs: list[str],
    better: int,
    margin_pct: float = DEFAULT_PCT,
    never: Collection[str] = (),
) -> dict[str, Any]:
    """ln y ~ model:repetition + config over all models: the ranking, best first, and what the selection rule takes;
    ``never`` may not be taken."""
    usable = {m: g for m, g in groups.items() if baseline in g and all((s.value > 0).all() for s in g.values())}
    arms: dict[str, Sample] = {}
    blocks: dict[str, Any] = {}
    for config in (baseline, *configs):
        found = [(m, g[config]) for m, g in usable.items() if config in g]
        if not found:
            continue
        value = np.concatenate([s.value for _, s in found])
        empty = np.full(len(value), np.nan)
        blocks[config] = np.array([f"{m}|{r}" for m, s in found for r in s.repetition])
        arms[config] = Sample([""] * len(value), np.zeros(len(value), dtype=np.int64), value, empty, empty)
    if baseline not in arms or len(arms) < 2:
        return {"pooled": {}, "ranking": [], "selection": [], "harmed": {}}
    pooled = {
        c: {
            "log_ratio": x["estimate"],
            "pct": 100 * math.expm1(x["estimate"]),
            "se": x["se"],
            "t": x["t"],
            "df": x["df"],
            "dunnett_p": x["dunnett_p"],
            "low_pct": 100 * math.expm1(x["low"]),
            "high_pct": 100 * math.expm1(x["high"]),
        }
        for c, x in block_contrasts(arms, baseline, logs=True, blocks=blocks).items()
    }
    side = better or 1
    ranking = sorted(pooled, key=lambda c: -side * pooled[c]["log_ratio"])
    harmed = {
        c: [model for model, g in usable.items() if better and _harms(g, baseline, c, better, margin_pct)]
        for c in ranking
    }
    chosen = [
        c
        for c in ranking
        if better
        and c not in never
        and pooled[c]["dunnett_p"] < ALPHA
        and better * pooled[c]["log_ratio"] > 0
        and not harmed[c]
    ]
    return {"pooled": pooled, "ranking": ranking, "selection": chosen[:MOST_CHOSEN], "harmed": harmed}


def _harms(group: Group, baseline: str, config: str, better: int, margin_pct: float) -> bool:
    """Is this config, on this model, worse than the baseline by more than the margin
    even at the lower 95 % limit of harm?"""
    if config not in group or min(len(group[config]), len(group[baseline])) < FEWEST:
        return False
    x, base = group[config].value, group[baseline].value
    if is_constant(x) and is_constant(base):
        harm = -better * float(x.mean() - base.mean())
    else:
        result = welch(x, base)
        harm = -result.ci_high if better > 0 else result.ci_low
    return harm > margin_pct / 100 * abs(float(base.mean()))
