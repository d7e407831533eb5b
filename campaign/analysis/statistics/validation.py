"""Three arms in the same blocks: reference, Docker baseline, Docker optimised."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import scipy

from campaign.analysis.result import INLINE, LEFT_OUT, Result
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
PAIRS = (("baseline_vs_native", 1, 0), ("optimized_vs_native", 2, 0), ("optimized_vs_baseline", 2, 1))


@dataclass(frozen=True, kw_only=True)
class BlockTests(Result):
    """Two-way analysis of variance without replication, and Friedman's test; None where blocks leave no residual."""

    rcbd_F: float | None = None
    rcbd_p: float | None = None
    friedman_chi2: float | None = None
    friedman_p: float | None = None


@dataclass(frozen=True, kw_only=True)
class ArmTests(Result):
    """The arms compared without blocks."""

    oneway_F: float | None = None
    oneway_p: float | None = None
    kruskal_H: float | None = None
    kruskal_p: float | None = None


@dataclass(frozen=True, kw_only=True)
class InBlocks(Result):
    """The share that is won back, from complete blocks."""

    paired_fieller_g: float
    paired_low: float | None
    paired_high: float | None
    block_bootstrap_percentile: Percentiles
    prediction_60_80_pct: str


@dataclass(frozen=True, kw_only=True)
class WonBack(Result):
    """The share of the overhead that is won back: from complete blocks where there are three, else from all runs."""

    point: float | None
    status: str
    indep_fieller_g: float
    indep_low: float | None
    indep_high: float | None
    in_blocks: Annotated[InBlocks | None, INLINE]

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Of the point, at 95 %."""
        blocks = self.in_blocks
        return (self.indep_low, self.indep_high) if blocks is None else (blocks.paired_low, blocks.paired_high)


@dataclass(frozen=True, kw_only=True)
class Contrast(Result):
    """Two of the arms in their blocks; nothing, with the reason, where it cannot be tested."""

    diff: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    t: float | None = None
    p: float | None = None
    reason: Annotated[str | None, LEFT_OUT] = None
    n_pairs: Annotated[int | None, LEFT_OUT] = None
    p_holm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Validated(Result):
    """One model: omnibus tests, what is won back, and the three contrasts. ``status`` says why there is nothing but the
    means; ``n_blocks`` are complete in all arms."""

    means: dict[str, float | None]
    blocks: Annotated[BlockTests, INLINE] = field(default_factory=BlockTests)
    arms: Annotated[ArmTests, INLINE] = field(default_factory=ArmTests)
    reduction: WonBack | None = None
    pairwise_paired: dict[str, Contrast] = field(default_factory=dict)
    status: str
    n_blocks: Annotated[int | None, LEFT_OUT] = None


def validate_model(arms: Mapping[str, Sample], trio: tuple[str, str, str], seed: int) -> Validated:
    """Omnibus tests, the three paired contrasts with Holm, and the overhead reduction.

    ``trio`` names reference, baseline and optimised arm. Block tests use the blocks complete in all three arms.
    """
    means = {name: float(arms[name].value.mean()) if name in arms and len(arms[name]) else None for name in trio}
    if any(name not in arms or len(arms[name]) < FEWEST for name in trio):
        return Validated(means=means, status="missing_arm" if None in means.values() else "insufficient_n")
    samples = [arms[name] for name in trio]
    if all(is_constant(s.value) for s in samples):
        return Validated(means=means, status="deterministic")
    shared = np.intersect1d(np.intersect1d(samples[0].repetition, samples[1].repetition), samples[2].repetition)
    blocks = np.column_stack([at_repetitions(s, shared) for s in samples]) if len(shared) >= FEWEST else None
    return Validated(
        means=means,
        blocks=BlockTests() if blocks is None else _block_tests(blocks),
        arms=_arm_tests(samples),
        reduction=_won_back(samples, blocks, seed),
        pairwise_paired=_contrasts(samples),
        status="ok",
        n_blocks=len(shared),
    )


def _arm_tests(samples: list[Sample]) -> ArmTests:
    # Without what SciPy puts around its tests for axes and missing values, which takes thrice as long.
    one_way = inspect.unwrap(scipy.stats.f_oneway)(*(s.value for s in samples))
    ranks = inspect.unwrap(scipy.stats.kruskal)(*(s.value for s in samples))
    return ArmTests(
        oneway_F=float(one_way.statistic),
        oneway_p=float(one_way.pvalue),
        kruskal_H=float(ranks.statistic),
        kruskal_p=float(ranks.pvalue),
    )


def _won_back(samples: list[Sample], blocks: FloatArray | None, seed: int) -> WonBack:
    """``blocks`` has shape (b, 3)."""
    alone = independent_reduction(*(s.value for s in samples))
    found, in_blocks = alone, None
    if blocks is not None:
        native, baseline, optimised = blocks.T
        found = paired_reduction(native, baseline, optimised)
        in_blocks = InBlocks(
            paired_fieller_g=found.fieller_g,
            paired_low=found.low,
            paired_high=found.high,
            block_bootstrap_percentile=bootstrap_reduction(native, baseline, optimised, seed)
            if found.status == "ok"
            else Percentiles(None, None, found.status),
            prediction_60_80_pct=against_prediction(found.low, found.high),
        )
    return WonBack(
        point=found.point,
        status=found.status,
        indep_fieller_g=alone.fieller_g,
        indep_low=alone.low,
        indep_high=alone.high,
        in_blocks=in_blocks,
    )


def _contrasts(samples: list[Sample]) -> dict[str, Contrast]:
    out = {}
    for name, t, r in PAIRS:
        shared = np.intersect1d(samples[t].repetition, samples[r].repetition)
        differences = at_repetitions(samples[t], shared) - at_repetitions(samples[r], shared)
        if len(shared) < FEWEST:
            out[name] = Contrast(reason="insufficient_n")
        elif is_constant(differences, abs(float(samples[r].value.mean()))):
            out[name] = Contrast(reason="deterministic")
        else:
            found = paired_t(differences)
            out[name] = Contrast(
                diff=found.mean_diff,
                ci_low=found.ci_low,
                ci_high=found.ci_high,
                t=found.t,
                p=found.p,
                n_pairs=len(shared),
            )
    adjusted = holm([one.p for one in out.values()], len(PAIRS))
    return {name: replace(one, p_holm=p) for (name, one), p in zip(out.items(), adjusted, strict=True)}


def _block_tests(blocks: FloatArray) -> BlockTests:
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
    return BlockTests(
        rcbd_F=f,
        rcbd_p=None if f is None else f_upper(f, df1, df2),
        friedman_chi2=chi2 if np.isfinite(chi2) else None,
        friedman_p=float(friedman.pvalue) if np.isfinite(chi2) else None,
    )
