"""Options of a screen against its baseline with blocks swept out, in one model and over all of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from campaign.analysis.margin import DEFAULT_PCT
from campaign.analysis.result import Result
from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.dunnett import adjusted_p, simultaneous
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.two_arms.welch import test as welch

FEWEST = 3
MOST_CHOSEN = 3
Group = Mapping[str, Sample]


@dataclass(frozen=True)
class BlockContrast:
    """An option less the baseline, with Dunnett's p and limits at 95 % for all options together."""

    estimate: float
    se: float
    t: float
    df: int
    dunnett_p: float
    low: float
    high: float


@dataclass(frozen=True)
class Dunnett(Result):
    """An option against the baseline in percent, with Dunnett's p and limits at 95 % for all options together."""

    t: float
    df: int
    dunnett_p: float
    pct: float
    low_pct: float
    high_pct: float
    n_treatment: int
    n_reference: int


@dataclass(frozen=True)
class OverModels(Result):
    """An option against the baseline over all models."""

    log_ratio: float
    pct: float
    se: float
    t: float
    df: int
    dunnett_p: float
    low_pct: float
    high_pct: float


@dataclass(frozen=True)
class PooledScreen(Result):
    """Options over all models, their ranking, what the selection rule takes of it, and the models that each harms."""

    pooled: dict[str, OverModels]
    ranking: list[str]
    selection: list[str]
    harmed: dict[str, list[str]]


def block_contrasts(
    arms: Mapping[str, Sample], baseline: str, logs: bool, blocks: Mapping[str, Any] | None = None
) -> dict[str, BlockContrast]:
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
        c: BlockContrast(
            float(beta[i]),
            float(se[i]),
            float(t[i]),
            df,
            dunnett_p=float(p[i]),
            low=float(beta[i] - reach * se[i]),
            high=float(beta[i] + reach * se[i]),
        )
        for i, c in enumerate(configs)
    }


def dunnett_screen(arms: Group, baseline: str) -> dict[str, Dunnett]:
    """Every option against the baseline in percent (log scale, blocks swept out),
    with Dunnett's p and simultaneous 95 % limits.

    Empty where a value is not positive, or where there is too little to estimate from.
    """
    usable = {name: sample for name, sample in arms.items() if len(sample) >= FEWEST}
    if baseline not in usable or len(usable) < 2 or any((sample.value <= 0).any() for sample in usable.values()):
        return {}
    return {
        option: Dunnett(
            found.t,
            found.df,
            found.dunnett_p,
            pct=100 * math.expm1(found.estimate),
            low_pct=100 * math.expm1(found.low),
            high_pct=100 * math.expm1(found.high),
            n_treatment=len(usable[option]),
            n_reference=len(usable[baseline]),
        )
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
) -> PooledScreen:
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
        return PooledScreen({}, [], [], {})
    pooled = {
        c: OverModels(
            log_ratio=x.estimate,
            pct=100 * math.expm1(x.estimate),
            se=x.se,
            t=x.t,
            df=x.df,
            dunnett_p=x.dunnett_p,
            low_pct=100 * math.expm1(x.low),
            high_pct=100 * math.expm1(x.high),
        )
        for c, x in block_contrasts(arms, baseline, logs=True, blocks=blocks).items()
    }
    side = better or 1
    ranking = sorted(pooled, key=lambda c: -side * pooled[c].log_ratio)
    harmed = {
        c: [model for model, g in usable.items() if better and _harms(g, baseline, c, better, margin_pct)]
        for c in ranking
    }
    chosen = [
        c
        for c in ranking
        if better
        and c not in never
        and pooled[c].dunnett_p < ALPHA
        and better * pooled[c].log_ratio > 0
        and not harmed[c]
    ]
    return PooledScreen(pooled, ranking, chosen[:MOST_CHOSEN], harmed)


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
