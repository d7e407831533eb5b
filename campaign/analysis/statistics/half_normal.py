"""Contrasts of a two-level design, sorted for a half-normal plot,
and Lenth's judgement of them (Lenth 1989, Technometrics 31:469)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from campaign.analysis.statistics.distributions import t_quantile


def lenth(contrasts: Mapping[str, float]) -> dict[str, Any]:
    """Pseudo standard error and margins of error from the contrasts alone.
    The only judge where a design was run once; else a cross-check."""
    size = np.abs(np.array(list(contrasts.values())))
    m = len(size)
    s0 = 1.5 * float(np.median(size))
    small = size[size < 2.5 * s0]
    pse = 1.5 * float(np.median(small)) if len(small) else 0.0
    df = m / 3
    gamma = (1 + 0.95 ** (1 / m)) / 2
    return {
        "m": m,
        "s0": s0,
        "pse": pse,
        "df": df,
        "me": t_quantile(0.975, df) * pse,
        "sme": t_quantile(gamma, df) * pse,
    }


def half_normal(contrasts: Mapping[str, float]) -> list[dict[str, Any]]:
    """Label, size and half-normal score of every contrast, smallest first."""
    ordered = sorted(contrasts, key=lambda label: abs(contrasts[label]))
    m = len(ordered)
    return [
        {"label": label, "abs": abs(contrasts[label]), "score": float(special.ndtri(0.5 + 0.5 * (i + 0.5) / m))}
        for i, label in enumerate(ordered)
    ]
