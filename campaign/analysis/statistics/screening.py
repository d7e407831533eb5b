"""The screen of Docker options in one model: every option against the Docker baseline. Its estimates choose;
they are never quoted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import scipy

from campaign.analysis.result import INLINE, Result
from campaign.analysis.statistics.block_contrasts import Group, block_contrasts
from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import FloatArray, IntArray
from campaign.analysis.statistics.dunnett import critical, one_factor_p, one_way_loadings
from campaign.analysis.statistics.families import holm
from campaign.analysis.statistics.reduction import Reduction, independent_reduction, paired_reduction
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.two_arms.variance import levene
from campaign.analysis.statistics.two_arms.welch import test as welch

FEWEST = 3
NOTE = "screening, biased upwards"


@dataclass(frozen=True)
class Overhead(Result):
    """Of the baseline against native; p is None where it cannot be tested."""

    native_mean: float
    baseline_mean: float
    diff: float
    welch_p: float | None
    pct_overhead: float | None


@dataclass(frozen=True)
class OneWay(Result):
    """Difference from the baseline by Dunnett's test over all options, without blocks."""

    diff: float
    dunnett_t: float
    dunnett_p: float
    dunnett_ci_low: float
    dunnett_ci_high: float


@dataclass(frozen=True)
class WonBack(Result):
    """Share of the overhead, from all runs; nothing and ``missing_arm`` where native did not run."""

    reduction: float | None = None
    reduction_status: str = "missing_arm"
    fieller_g: float | None = None
    reduction_low: float | None = None
    reduction_high: float | None = None

    @classmethod
    def of(cls, found: Reduction) -> WonBack:
        return cls(found.point, found.status, found.fieller_g, found.low, found.high)


@dataclass(frozen=True)
class WonBackInBlocks(Result):
    """Share of the overhead, from the blocks complete in all three arms."""

    paired_reduction: float | None
    paired_reduction_status: str
    paired_fieller_g: float | None
    paired_reduction_low: float | None
    paired_reduction_high: float | None

    @classmethod
    def of(cls, found: Reduction) -> WonBackInBlocks:
        return cls(found.point, found.status, found.fieller_g, found.low, found.high)


@dataclass(frozen=True)
class AgainstBaseline(Result):
    """An option by itself against the baseline."""

    welch_p: float | None
    pct_vs_baseline: float | None
    sd_ratio: float | None
    brown_forsythe_p: float | None
    won_back: Annotated[WonBack, INLINE]
    won_back_in_blocks: Annotated[WonBackInBlocks | None, INLINE]


@dataclass(frozen=True)
class Option(Result):
    """An option described; only of at least three runs (``status`` is ``ok``) is more said."""

    n: int
    mean: float | None
    sd: float | None
    status: str
    one_way: Annotated[OneWay | None, INLINE] = None
    against: Annotated[AgainstBaseline | None, INLINE] = None
    welch_p_holm: float | None = None


@dataclass(frozen=True)
class InBlocks(Result):
    """Dunnett's test with the blocks swept out."""

    t: float
    p: float


@dataclass(frozen=True, kw_only=True)
class ScreenedModel(Result):
    """One model: overhead of the baseline, one-way and block tests, and every option against the baseline."""

    note: str = field(default=NOTE, init=False)
    overhead_baseline: Overhead | None = None
    anova_F: float | None = None
    anova_p: float | None = None
    kruskal_p: float | None = None
    configs: dict[str, Option] = field(default_factory=dict)
    rcbd_dunnett: dict[str, InBlocks] = field(default_factory=dict)
    status: str


def screen_model(arms: Group, reference: str, baseline: str, configs: list[str], better: int) -> ScreenedModel:
    """The native arm is the base of ``overhead_baseline`` and of what is won back; variance tests and Dunnett compare
    Docker arms only."""
    control = arms.get(baseline)
    if control is None or len(control) < FEWEST:
        return ScreenedModel(status="missing_arm" if control is None else "insufficient_n")
    native = arms.get(reference)
    usable = [c for c in configs if c in arms and len(arms[c]) >= FEWEST]
    overhead = _overhead(native, control, better)
    groups = [control.value, *(arms[c].value for c in usable)]
    if not usable or all(is_constant(g) for g in groups):
        return ScreenedModel(overhead_baseline=overhead, status="deterministic" if usable else "missing_arm")
    anova = scipy.stats.f_oneway(*groups)
    kruskal = scipy.stats.kruskal(*groups)
    one_way = _one_way_dunnett(control.value, {c: arms[c].value for c in usable})
    against = {c: _against_baseline(arms[c], control, native) for c in usable}
    p = [against[c].welch_p if c in against else None for c in configs]
    blocks = block_contrasts({c: arms[c] for c in (baseline, *usable)}, baseline, logs=False)
    return ScreenedModel(
        overhead_baseline=overhead,
        anova_F=float(anova.statistic),
        anova_p=float(anova.pvalue),
        kruskal_p=float(kruskal.pvalue),
        configs={
            c: replace(_described(arms.get(c)), one_way=one_way.get(c), against=against.get(c), welch_p_holm=adjusted)
            for c, adjusted in zip(configs, holm(p, len(configs)), strict=True)
        },
        rcbd_dunnett={c: InBlocks(x.t, x.dunnett_p) for c, x in blocks.items()},
        status="ok",
    )


def _overhead(native: Sample | None, control: Sample, better: int) -> Overhead | None:
    if native is None or len(native) == 0:
        return None
    m_n, m_b = float(native.value.mean()), float(control.value.mean())
    testable = len(native) >= FEWEST and not (is_constant(native.value) and is_constant(control.value))
    percent = 100 * (m_b / m_n - 1) if m_n else None
    return Overhead(
        m_n,
        m_b,
        m_b - m_n,
        welch_p=welch(control.value, native.value).p if testable else None,
        pct_overhead=None if percent is None or better == 0 else -better * percent,
    )


def _described(sample: Sample | None) -> Option:
    if sample is None or len(sample) == 0:
        return Option(0, None, None, "missing_arm")
    sd = float(sample.value.std(ddof=1)) if len(sample) > 1 else None
    status = "ok" if len(sample) >= FEWEST else "insufficient_n"
    return Option(len(sample), float(sample.value.mean()), sd, status)


def _one_way_dunnett(control: FloatArray, treatments: Mapping[str, FloatArray]) -> dict[str, OneWay]:
    groups = [control, *treatments.values()]
    df = sum(len(g) for g in groups) - len(groups)
    pooled = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / df
    loadings = one_way_loadings([len(g) for g in treatments.values()], len(control))
    reach = critical(loadings, df)
    out = {}
    for config, x in treatments.items():
        diff = float(x.mean() - control.mean())
        se = math.sqrt(pooled * (1 / len(x) + 1 / len(control)))
        p = one_factor_p(diff / se, loadings, df)
        out[config] = OneWay(diff, diff / se, p, diff - reach * se, diff + reach * se)
    return out


def _against_baseline(sample: Sample, control: Sample, native: Sample | None) -> AgainstBaseline:
    x, base = sample.value, control.value
    spread = levene(x, base, "median")
    sd_base = float(base.std(ddof=1))
    won, won_in_blocks = WonBack(), None
    if native is not None and len(native) >= FEWEST:
        won = WonBack.of(independent_reduction(native.value, base, x))
        shared = np.intersect1d(np.intersect1d(sample.repetition, control.repetition), native.repetition)
        if len(shared) >= FEWEST:
            n, b, o = (at_repetitions(s, shared) for s in (native, control, sample))
            won_in_blocks = WonBackInBlocks.of(paired_reduction(n, b, o))
    return AgainstBaseline(
        welch_p=None if is_constant(x) and is_constant(base) else welch(x, base).p,
        pct_vs_baseline=100 * (float(x.mean()) / float(base.mean()) - 1) if base.mean() else None,
        sd_ratio=float(x.std(ddof=1)) / sd_base if not is_constant(base) else None,
        brown_forsythe_p=spread.p if spread else None,
        won_back=won,
        won_back_in_blocks=won_in_blocks,
    )


def at_repetitions(sample: Sample, wanted: IntArray | Sequence[int]) -> FloatArray:
    """Values at the wanted repetitions, in their order."""
    at = {int(r): i for i, r in enumerate(sample.repetition)}
    return sample.value[[at[int(r)] for r in wanted]]
