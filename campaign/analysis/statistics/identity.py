"""Data that contradict their labels: metrics that are one metric, models that are one model."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from campaign.analysis.statistics.descriptive import RELATIVE_ZERO, is_constant
from campaign.analysis.statistics.distributions import BoolArray, FloatArray
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.sets import PROTOCOL, select
from campaign.analysis.statistics.table import Cell
from campaign.analysis.statistics.two_arms.welch import test as welch

ALIKE = 0.999
TIMES_LARGER = 3.0
FEWEST = 3


def redundant_metrics(cells: list[Cell], metrics: list[str]) -> set[tuple[str, str]]:
    """(model, metric) where another metric says the same thing: |r| above 0.999 within every arm."""
    out: set[tuple[str, str]] = set()
    for cell in cells:
        alike = np.logical_and.reduce(
            [_alike(np.array([arm.values[x] for x in metrics])) for arm in cell.arms.values()]
        )
        out |= {(cell.model, x) for x, others in zip(metrics, alike, strict=True) if others.any()}
    return out


def _alike(values: FloatArray) -> BoolArray:
    """Which of the metrics, one a row, go together over the attempts that have both; shape (metrics, metrics)."""
    known = np.isfinite(values)
    many = known.astype(float)
    means = np.where(known, values, 0.0).sum(axis=1) / np.maximum(many.sum(axis=1), 1)
    x = np.where(known, values - means[:, None], 0.0)
    both = np.maximum(many @ many.T, 1)
    sums, squares = x @ many.T, x**2 @ many.T
    noise = both * (RELATIVE_ZERO * means[:, None]) ** 2
    variation = squares - sums**2 / both
    size = np.sqrt(np.where(variation > noise, variation, 0.0))
    together = np.abs(x @ x.T - sums * sums.T / both)
    found = (both >= FEWEST) & (together > ALIKE * size * size.T) & (size * size.T > 0)
    return np.asarray(found & ~np.eye(len(x), dtype=bool))


def identical_models(cells: list[Cell], metrics: list[str]) -> set[tuple[str, str]]:
    """(model, metric) that cannot be told, in any shared arm, from a model more than three times its size.

    Sizes come from a column ``parameters``; without it nothing is said. Arms of one phase and unit are compared.
    """
    out: set[tuple[str, str]] = set()
    for a, b in combinations(cells, 2):
        if (a.phase, a.unit) != (b.phase, b.unit) or not a.parameters or not b.parameters:
            continue
        if max(a.parameters, b.parameters) <= TIMES_LARGER * min(a.parameters, b.parameters):
            continue
        shared = [arm for arm in a.arms if arm in b.arms]
        for metric in metrics:
            if shared and all(_indistinguishable(a, b, arm, metric) for arm in shared):
                out |= {(a.model, metric), (b.model, metric)}
    return out


def _indistinguishable(a: Cell, b: Cell, arm: str, metric: str) -> bool:
    x, y = (select(cell.arms[arm], metric, PROTOCOL).value for cell in (a, b))
    if min(len(x), len(y)) < FEWEST:
        return False
    if is_constant(x) and is_constant(y):
        return math.isclose(float(x[0]), float(y[0]), rel_tol=1e-9)
    return welch(x, y).p >= ALPHA
