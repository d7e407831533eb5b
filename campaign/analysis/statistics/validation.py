"""Three arms in the same blocks: reference, Docker baseline, Docker optimised."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import FloatArray, f_upper
from campaign.analysis.statistics.families import holm
from campaign.analysis.statistics.paired import paired_t
from campaign.analysis.statistics.reduction import (
    Percentiles,
    against_prediction,
    bootstrap_reduction,
    independent_reduction,
    paired_reduction,
)
from campaign.analysis.statistics.screening import at_repetitions
from campaign.analysis.statistics.sets import Sample

FEWEST = 3
TESTS = ("rcbd_F", "rcbd_p", "friedman_chi2", "friedman_p", "oneway_F", "oneway_p", "kruskal_H", "kruskal_p")
PAIRS = (("baseline_vs_native", 1, 0), ("optimized_vs_native", 2, 0), ("optimized_vs_baseline", 2, 1))


def validate_model(arms: Mapping[str, Sample], trio: tuple[str, str, str], seed: int) -> dict[str, Any]:
    """Omnibus tests, the three paired contrasts with Holm, and the overhead reduction.

    ``trio`` names reference, baseline and optimised arm. Block tests use the blocks complete in all three arms.
    """
    means = {name: float(arms[name].value.mean()) if name in arms and len(arms[name]) else None for name in trio}
    out: dict[str, Any] = {"means": means} | dict.fromkeys((*TESTS, "reduction")) | {"pairwise_paired": {}}
    if any(name not in arms or len(arms[name]) < FEWEST for name in trio):
        return out | {"status": "missing_arm" if None in means.values() else "insufficient_n"}
    samples = [arms[name] for name in trio]
    if all(is_constant(s.value) for s in samples):
        return out | {"status": "deterministic"}
    out["status"] = "ok"
    # Without what SciPy puts around its tests for axes and missing values, which takes thrice as long.
    one_way = inspect.unwrap(scipy.stats.f_oneway)(*(s.value for s in samples))
    ranks = inspect.unwrap(scipy.stats.kruskal)(*(s.value for s in samples))
    out |= {"oneway_F": float(one_way.statistic), "oneway_p": float(one_way.pvalue)}
    out |= {"kruskal_H": float(ranks.statistic), "kruskal_p": float(ranks.pvalue)}
    out["pairwise_paired"] = _contrasts(samples)
    shared = np.intersect1d(np.intersect1d(samples[0].repetition, samples[1].repetition), samples[2].repetition)
    independent = independent_reduction(*(s.value for s in samples))
    reduction: dict[str, Any] = {
        "point": independent.point,
        "status": independent.status,
        "indep_fieller_g": independent.fieller_g,
        "indep_low": independent.low,
        "indep_high": independent.high,
    }
    out["n_blocks"] = len(shared)
    if len(shared) >= FEWEST:
        blocks = np.column_stack([at_repetitions(s, shared) for s in samples])
        out |= _block_tests(blocks)
        native, baseline, optimised = blocks.T
        pairs = paired_reduction(native, baseline, optimised)
        reduction |= {
            "point": pairs.point,
            "status": pairs.status,
            "paired_fieller_g": pairs.fieller_g,
            "paired_low": pairs.low,
            "paired_high": pairs.high,
            "block_bootstrap_percentile": bootstrap_reduction(native, baseline, optimised, seed)
            if pairs.status == "ok"
            else Percentiles(None, None, pairs.status),
            "prediction_60_80_pct": against_prediction(pairs.low, pairs.high),
        }
    out["reduction"] = reduction
    return out


def _contrasts(samples: list[Sample]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, t, r in PAIRS:
        shared = np.intersect1d(samples[t].repetition, samples[r].repetition)
        differences = at_repetitions(samples[t], shared) - at_repetitions(samples[r], shared)
        keys = ("diff", "ci_low", "ci_high", "t", "p")
        if len(shared) < FEWEST or is_constant(differences, abs(float(samples[r].value.mean()))):
            out[name] = dict.fromkeys(keys) | {"reason": "deterministic" if len(shared) >= FEWEST else "insufficient_n"}
            continue
        result = paired_t(differences)
        out[name] = (
            {"diff": result.mean_diff} | {key: getattr(result, key) for key in keys[1:]} | {"n_pairs": len(shared)}
        )
    for name, adjusted in zip(out, holm([entry["p"] for entry in out.values()], len(PAIRS)), strict=True):
        out[name]["p_holm"] = adjusted
    return out


def _block_tests(blocks: FloatArray) -> dict[str, float | None]:
    """Two-way analysis of variance without replication, and Friedman; ``blocks`` has shape (b, 3)."""
    b, k = blocks.shape
    centred = blocks - blocks.mean()
    arm = b * float((centred.mean(axis=0) ** 2).sum())
    residual = centred - centred.mean(axis=0) - centred.mean(axis=1, keepdims=True)
    rest = float((residual**2).sum())
    df1, df2 = k - 1, (b - 1) * (k - 1)
    f = arm / df1 / (rest / df2) if rest > 0 else None
    friedman = inspect.unwrap(scipy.stats.friedmanchisquare)(*blocks.T)
    chi2 = float(friedman.statistic)
    return {
        "rcbd_F": f,
        "rcbd_p": None if f is None else f_upper(f, df1, df2),
        "friedman_chi2": chi2 if np.isfinite(chi2) else None,
        "friedman_p": float(friedman.pvalue) if np.isfinite(chi2) else None,
    }
