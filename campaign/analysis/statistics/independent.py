"""Parts of the tests of two independent arms, and the pre-registered choice among those (``two_arms`` has them)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics.descriptive import is_constant, moments
from campaign.analysis.statistics.distributions import FloatArray, IntArray, by_content

EXACT_BELOW = 50
ALPHA = 0.05


@dataclass(frozen=True)
class ShapiroWilk(Result):
    W: float
    p: float


@by_content
def shapiro(x: FloatArray) -> ShapiroWilk | None:
    """Shapiro-Wilk on raw values; None where it is undefined (n outside 3 … 5000, no spread)."""
    if not 3 <= len(x) <= 5000 or is_constant(x):
        return None
    # Centred and scaled first: W does not change, and near-constant large numbers keep their digits.
    # Without what SciPy puts around the test for axes and missing values, which takes ten times as long.
    w, p = inspect.unwrap(scipy.stats.shapiro)((x - x.mean()) / x.std())
    return ShapiroWilk(float(w), float(p))


def pooled_sd(treatment: FloatArray, reference: FloatArray) -> float:
    """Square root of the pooled variance."""
    (n1, _, s1), (n2, _, s2) = moments(treatment), moments(reference)
    return math.sqrt(((n1 - 1) * s1 + (n2 - 1) * s2) / (n1 + n2 - 2))


def satterthwaite(v1: float, n1: int, v2: float, n2: int) -> float:
    """Degrees of freedom of v1 + v2, each the squared standard error of a mean of n values."""
    return (v1 + v2) ** 2 / (v1 * v1 / (n1 - 1) + v2 * v2 / (n2 - 1))


def midranks(x: FloatArray) -> tuple[FloatArray, IntArray]:
    """Ranks from 1, equal values sharing the mean of theirs, and how often each distinct value occurs."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place], counts


@dataclass(frozen=True)
class Decision(Result):
    """What the pre-registered rule chose, and the size of d in words."""

    normal: bool
    equal_variance: bool
    document_test: Annotated[str, Column("document_test")]
    document_p: Annotated[float, Column("document_p")]
    d_label_document: str | None
    d_label_cohen: Annotated[str | None, Column("d_label")]


def decide(
    normality: Mapping[str, ShapiroWilk | None],
    brown_forsythe_p: float | None,
    p: Mapping[str, float],
    labels: tuple[str | None, str | None] = (None, None),
) -> Decision:
    """The pre-registered rule, read in the one way that uses every test it names.

    ``p`` holds the p-values of ``student``, ``welch`` and ``mannwhitney``. A Shapiro-Wilk that cannot be computed
    counts as not normal. ``labels`` are those of d: in the document's words, and in Cohen's.
    """
    normal = all(arm is not None and arm.p > ALPHA for arm in normality.values())
    equal_variance = brown_forsythe_p is not None and brown_forsythe_p > ALPHA
    test = ("student" if equal_variance else "welch") if normal else "mannwhitney"
    return Decision(normal, equal_variance, test, p[test], *labels)
