"""How many blocks a sequential design will take, before any run: the design itself on simulated normal blocks, seeded.

No level is passed on from one comparison to another here, so that the expected blocks are an upper figure. Normal
theory is not used: with nine degrees of freedom it overstates the first look badly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.distributions import FloatArray, t_quantile
from campaign.analysis.statistics.sequential.design import Design

DRAWS = 20_000
NO_SAVING = 0.9
"""Expected share of the planned blocks above which a sequential design is said to save nothing."""


@dataclass(frozen=True)
class Ahead:
    """Of one comparison, or of a model whose comparisons must all be decided: shares of simulated campaigns."""

    first_look_equivalent: float
    first_look_different: float
    decided_by_look: tuple[float, ...]
    claims_equivalent: float
    claims_different: float
    expected_blocks: float
    p90_blocks: float
    draws: int
    se_expected_blocks: float

    @property
    def se_probability_max(self) -> float:
        """Monte-Carlo standard error of a share of one half."""
        return math.sqrt(0.25 / self.draws)

    @property
    def saves(self) -> bool:
        return self.expected_blocks <= NO_SAVING * self.n_max

    n_max: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "decided_by_look": list(self.decided_by_look),
            "se_probability_max": self.se_probability_max,
        }


def ahead(
    design: Design,
    theta: Sequence[float],
    sigma: Sequence[float],
    seed: int,
    *,
    correlation: FloatArray | None = None,
    draws: int = DRAWS,
) -> tuple[list[Ahead], Ahead]:
    """Each comparison of a model, and the model. ``theta`` and ``sigma`` are mean and standard deviation of the log
    ratio of a block, one for each comparison; ``correlation`` is that of the
    comparisons (none where it is not given)."""
    q, n_max = len(theta), design.n_max
    rng = np.random.Generator(np.random.PCG64(seed))
    if q == 1:
        z = rng.standard_normal((draws, n_max))[:, :, None]
    else:
        z = (
            rng.standard_normal((draws, n_max, q))
            @ np.linalg.cholesky(np.eye(q) if correlation is None else correlation).T
        )
    claims = [claimed(design, theta[i] + sigma[i] * z[:, :, i]) for i in range(q)]
    each = [_told(design, equivalent, different) for equivalent, different in claims]
    # Claims are kept: each comparison is decided from its first claim on.
    known = [np.maximum.accumulate(equivalent | different, axis=1) for equivalent, different in claims]
    decided = np.logical_and.reduce(known)
    every = np.logical_and.reduce([np.maximum.accumulate(equivalent, axis=1) for equivalent, _ in claims])
    none = np.logical_and.reduce([np.maximum.accumulate(different, axis=1) for _, different in claims])
    return each, _told(design, every, none, decided)


def claimed(design: Design, x: FloatArray) -> tuple[Any, Any]:
    """Whether each campaign's look claims equivalence, and difference; shape (campaigns, looks). ``x`` are log ratios,
    shape (campaigns, blocks)."""
    looks = design.of(design.looks, True)
    different = looks.nominal(design.alpha / design.m / 2)
    equivalent = looks.nominal(design.alpha / design.m)
    found = [_at(design, x[:, :n], d, e) for n, d, e in zip(design.looks, different, equivalent, strict=True)]
    return np.stack([one[0] for one in found], axis=1), np.stack([one[1] for one in found], axis=1)


def _at(design: Design, x: FloatArray, nominal_different: float, nominal_equivalent: float) -> tuple[Any, Any]:
    low, high = design.margins if design.scale == "log_ratio" else tuple(math.log(m) for m in design.margins)
    if design.scale == "guarded":
        return _guarded(x, low, high, nominal_different, nominal_equivalent)
    n = x.shape[1]
    mean, se = x.mean(axis=1), x.std(axis=1, ddof=1) / math.sqrt(n)
    c_d, c_e = -t_quantile(nominal_different, n - 1), -t_quantile(nominal_equivalent, n - 1)
    return ((mean - low) / se > c_e) & ((mean - high) / se < -c_e), np.abs(mean / se) > c_d


def _guarded(
    x: FloatArray, low: float, high: float, nominal_different: float, nominal_equivalent: float
) -> tuple[Any, Any]:
    """By the rule that decides (``deciding``), for many campaigns at once."""
    n = x.shape[1]
    mean = x.mean(axis=1)
    e = x - mean[:, None]
    squares = (e**2).sum(axis=1)
    skewness = (e**3).mean(axis=1) / (squares / n) ** 1.5 / math.sqrt(n)
    worth = np.ones(len(x))
    if n >= deciding.RESEMBLES_FROM:
        r1 = (e[:, 1:] * e[:, :-1]).sum(axis=1) / squares
        rho = np.clip((n * r1 + 1) / (n - 4), 0, deciding.MOST_RESEMBLANCE)
        worth = np.where((r1 + 1 / n) * math.sqrt(n) > 1, (1 - rho) / (1 + rho), 1.0)
    df = np.where(worth < 1, np.maximum(2.0, (n - 1) * worth), n - 1.0)
    se = np.sqrt(squares / (n - 1) / n / worth)
    flat = np.abs(skewness) < 1e-9
    g = np.where(flat, 1.0, skewness)

    def side(bound: float, unseen: float, sign: int) -> FloatArray:
        """The smaller of t and its corrected version, of the mean being above (1) or below (-1) the bound."""
        t = (mean - bound) / (se * math.sqrt(1 + unseen / n))
        h = np.where(flat, t, ((1 + g * t / 3) ** 3 - 1) / g + g / 6)
        return np.asarray(np.minimum(t, h) if sign > 0 else -np.maximum(t, h))

    def beyond(statistic: FloatArray, nominal: float) -> Any:
        return special.stdtr(df, -statistic) < nominal

    k_d, k_e = deciding.UNSEEN_DIFFERENCE, deciding.UNSEEN_EQUIVALENCE
    inside = beyond(side(low, k_e, 1), nominal_equivalent) & beyond(side(high, k_e, -1), nominal_equivalent)
    return inside, beyond(side(0.0, k_d, 1), nominal_different) | beyond(side(0.0, k_d, -1), nominal_different)


def _told(design: Design, equivalent: Any, different: Any, decided: Any = None) -> Ahead:
    decided = equivalent | different if decided is None else decided
    draws, k = decided.shape
    first = np.where(decided.any(axis=1), decided.argmax(axis=1), k - 1)
    blocks = np.array(design.looks)[first].astype(float)
    stop = np.arange(draws), first
    return Ahead(
        first_look_equivalent=float(equivalent[:, 0].mean()),
        first_look_different=float(different[:, 0].mean()),
        decided_by_look=tuple(float(decided[:, : i + 1].any(axis=1).mean()) for i in range(k)),
        claims_equivalent=float(equivalent[stop].mean()),
        claims_different=float(different[stop].mean()),
        expected_blocks=float(blocks.mean()),
        p90_blocks=float(np.quantile(blocks, 0.9)),
        draws=draws,
        se_expected_blocks=float(blocks.std()) / math.sqrt(draws),
        n_max=design.n_max,
    )


def first_look_equivalent(design: Design, theta: float, sigma: float) -> float:
    """Exact chance of the claim ``equivalent`` at the first look, t tests of normal blocks:
    Owen's Q by quadrature over the standard deviation."""
    n = design.looks[0]
    c = -t_quantile(design.of(design.looks, True).nominal(design.alpha / design.m)[0], n - 1)
    low, high = design.margins if design.scale == "log_ratio" else tuple(math.log(m) for m in design.margins)
    widest = (high - low) * math.sqrt(n) / (2 * c * sigma)
    x, w = np.polynomial.legendre.leggauss(200)
    s = widest / 2 * (1 + x)
    se = sigma / math.sqrt(n)
    inside = special.ndtr((high - theta) / se - c * s) - special.ndtr((low - theta) / se + c * s)
    density = stats.chi.pdf(s * math.sqrt(n - 1), n - 1) * math.sqrt(n - 1)
    return float((np.maximum(inside, 0.0) * density) @ w * widest / 2)
