"""What one comparison shows at one look: numbers alone, so that they can be frozen in a journal and judged again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.descriptive import RELATIVE_ZERO
from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_two_sided, t_upper
from campaign.analysis.statistics.sequential.design import Design

NOT_TESTABLE = ("missing_arm", "no_data", "nonpositive_value", "mean_not_clear_of_zero")
"""Statuses of comparisons about which nothing can be decided."""
SKEWED_FROM = 1.0
"""Skewness of the differences, in size, from which on a look is flagged."""


@dataclass(frozen=True)
class Shown:
    """Statistics of the blocks up to a look. ``mean``, ``sd`` and ``se`` are of the log ratio; t and p as the design's
    scale makes them, each p one-sided but ``p_diff``."""

    status: str
    n: int
    mean: float | None = None
    sd: float | None = None
    se: float | None = None
    df: float | None = None
    skewness: float | None = None
    t_diff: float | None = None
    p_diff: float | None = None
    t_low: float | None = None
    p_low: float | None = None
    t_high: float | None = None
    p_high: float | None = None
    log_mean: float | None = None
    """Mean and deviation of the log ratios of the blocks, for the interval that holds at any time."""
    log_sd: float | None = None
    equal: bool | None = None
    """Of differences that are all alike: whether they are zero."""
    layer: deciding.Layer | None = None

    @property
    def p_tost(self) -> float | None:
        return None if self.p_low is None or self.p_high is None else max(self.p_low, self.p_high)

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Shown:
        layer = told.get("layer")
        return Shown(**{**told, "layer": None if layer is None else deciding.Layer(**layer)})

    def limits(self, nominal: float, unseen: float) -> tuple[float, float | None, float | None]:
        """The t at this one-sided level, and the percent that are not rejected at it on
        either side (None where there is no limit)."""
        assert self.mean is not None and self.se is not None and self.df is not None
        t = -t_quantile(nominal, self.df) if nominal > 0 else math.inf
        if self.layer is None:
            return t, percent(self.mean - t * self.se), percent(self.mean + t * self.se)
        low, high = (None if x is None else 100 * (x - 1) for x in self.layer.interval(nominal, unseen))
        return t, low, high

    def reach(self, nominal: float, unseen: float, n: int) -> float:
        """How far a mean of ``n`` log ratios must lie from a bound to be told from it at this level,
        the spread being as it is here."""
        assert self.sd is not None
        if self.layer is None:
            return -t_quantile(nominal, n - 1) * self.sd / math.sqrt(n)
        share = self.layer.resemblance**-2
        df = max(2.0, (n - 1) * share) if share < 1 else n - 1
        widening = math.sqrt(1 + unseen / n) * self.layer.resemblance
        return -t_quantile(nominal, df) * widening * self.sd / math.sqrt(n)


def percent(log_ratio: float) -> float:
    """A log ratio as a change in percent."""
    return 100 * math.expm1(log_ratio)


def show(
    treatment: FloatArray, reference: FloatArray, design: Design, in_time: FloatArray | None, absent: str | None = None
) -> Shown:
    """The statistics of a comparison's complete blocks; ``treatment[k]`` and ``reference[k]`` are of one block.

    ``in_time`` orders the blocks. ``absent`` is ``missing_arm`` or ``no_data`` where an arm has no valid run at all.
    """
    n = len(treatment)
    if absent is not None:
        return Shown(absent, n)
    if n < design.min_pairs:
        return Shown("skipped_insufficient_n", n)
    positive = bool((treatment > 0).all() and (reference > 0).all())
    if not positive and design.scale == "log_ratio":
        return Shown("nonpositive_value", n)
    logs = np.log(treatment) - np.log(reference) if positive else None
    d = treatment - reference if logs is None else logs
    mean, sd = float(d.mean()), float(d.std(ddof=1))
    if sd <= RELATIVE_ZERO * max(1.0, abs(mean)):
        return Shown("deterministic", n, mean, sd, equal=abs(mean) <= RELATIVE_ZERO)
    skewness = float(((d - mean) ** 3).mean()) / float(d.std()) ** 3
    told = {"skewness": skewness, "log_mean": None if logs is None else mean, "log_sd": None if logs is None else sd}
    if design.scale == "log_ratio":
        return _of_logs(n, mean, sd, design, told)
    layer = deciding.blocks(treatment, reference, in_time)
    if layer.scale != "ratio":
        return Shown("mean_not_clear_of_zero", n)
    if design.scale == "ratio":
        layer = deciding.Layer(**{**vars(layer), "df": n - 1, "skewness": 0.0, "resemblance": 1.0})
    return _of_means(n, layer, design, told)


def _of_logs(n: int, mean: float, sd: float, design: Design, told: dict[str, Any]) -> Shown:
    se, df = sd / math.sqrt(n), n - 1
    low, high = design.margins
    t_diff, t_low, t_high = mean / se, (mean - low) / se, (mean - high) / se
    p = (t_two_sided(t_diff, df), t_upper(t_low, df), t_upper(-t_high, df))
    return Shown(
        "ok",
        n,
        mean,
        sd,
        se,
        df,
        t_diff=t_diff,
        p_diff=p[0],
        t_low=t_low,
        p_low=p[1],
        t_high=t_high,
        p_high=p[2],
        **told,
    )


def _of_means(n: int, layer: deciding.Layer, design: Design, told: dict[str, Any]) -> Shown:
    low, high = design.margins
    difference, equivalence = design.unseen
    ratio = layer.estimate
    se = math.sqrt(layer.v_tt - 2 * ratio * layer.v_tr + ratio * ratio * layer.v_rr) / layer.mean_treatment
    p_diff = min(1.0, 2 * min(layer.p_above(1.0, difference), layer.p_below(1.0, difference)))
    return Shown(
        "ok",
        n,
        mean=math.log(ratio),
        sd=se * math.sqrt(n),
        se=se,
        df=layer.df,
        t_diff=layer.statistic(1.0),
        p_diff=p_diff,
        t_low=layer.statistic(low),
        p_low=layer.p_above(low, equivalence),
        t_high=layer.statistic(high),
        p_high=layer.p_below(high, equivalence),
        layer=layer,
        **told,
    )
