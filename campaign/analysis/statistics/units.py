"""Several machines: what may be said of units beyond the tested ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from campaign.analysis.margin import Margin
from campaign.analysis.result import Result, get
from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.families import holm, local_level
from campaign.analysis.statistics.unit_effects import Units
from campaign.analysis.statistics.verdict import four_way

FEWEST_UNITS = 10
"""Units below which nothing is claimed beyond them: where one unit in four differs, fewer miss it too often
(``docs/statistics.md``)."""


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


def over_units(entries: Sequence[Units], margins: Sequence[Margin]) -> list[BeyondUnits | NotBeyond]:
    """Of each entry what may be said of units beyond the tested ones. All are one family.

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
            few = "one unit" if entry.k_units < 2 else "too few units with blocks"
            reason = entry.reason or "no_log_ratio"
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


def _log_ratios(entry: Units) -> FloatArray:
    if entry.over.log_ratios.two_stage_log_ratio is None:
        return np.empty(0)
    return np.array([get(unit, "log_ratio") for unit in entry.per_unit.values() if get(unit, "var_log_ratio")])


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
