"""Contrasts of a two-level design, sorted for a half-normal plot,
and Lenth's judgement of them (Lenth 1989, Technometrics 31:469)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy import special

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics.distributions import t_quantile


@dataclass(frozen=True)
class Lenth(Result):
    """``pse`` is the pseudo standard error of ``m`` contrasts, ``me`` and ``sme`` the margins of error of one and of
    all together, in the contrasts' unit."""

    m: int
    s0: float
    pse: Annotated[float, Column("pse")]
    df: float
    me: Annotated[float, Column("me")]
    sme: Annotated[float, Column("sme")]


@dataclass(frozen=True)
class Point(Result):
    """A contrast in a half-normal plot."""

    label: Annotated[str, Column("label")]
    abs: float
    score: Annotated[float, Column("score")]


def lenth(contrasts: Mapping[str, float]) -> Lenth:
    """Pseudo standard error and margins of error from the contrasts alone.
    The only judge where a design was run once; else a cross-check."""
    size = np.abs(np.array(list(contrasts.values())))
    m = len(size)
    s0 = 1.5 * float(np.median(size))
    small = size[size < 2.5 * s0]
    pse = 1.5 * float(np.median(small)) if len(small) else 0.0
    df = m / 3
    gamma = (1 + 0.95 ** (1 / m)) / 2
    return Lenth(m, s0, pse, df, t_quantile(0.975, df) * pse, t_quantile(gamma, df) * pse)


def half_normal(contrasts: Mapping[str, float]) -> list[Point]:
    """Every contrast with its half-normal score, smallest first."""
    ordered = sorted(contrasts, key=lambda label: abs(contrasts[label]))
    m = len(ordered)
    return [
        Point(label, abs(contrasts[label]), float(special.ndtri(0.5 + 0.5 * (i + 0.5) / m)))
        for i, label in enumerate(ordered)
    ]
