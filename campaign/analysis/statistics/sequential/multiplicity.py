"""Several comparisons that stop at different looks: Holm, Bonferroni or a graph over their sequential p values.

The sequential p of a comparison never rises and never falls below what it would end at, so that a claim once made
stands whatever stops afterwards (Liu and Anderson 2008; Maurer and Bretz 2013; Bretz, Maurer, Brannath and Posch 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from campaign.analysis.statistics.families import Pvalues, bonferroni, holm

Adjusted = list[float | None]


@dataclass(frozen=True)
class Graph:
    """Initial ``weights`` (their sum at most 1) of the comparisons,
    and ``transitions`` of the level of one that is claimed."""

    weights: tuple[float, ...]
    transitions: tuple[tuple[float, ...], ...]

    def adjusted(self, p: Pvalues) -> Adjusted:
        """Each is below alpha exactly where the graph rejects at alpha; None stays None."""
        out: Adjusted = [None] * len(p)
        largest = 0.0
        for i, value, _ in self._walk(p, lambda ratio: True):
            largest = max(largest, min(1.0, value))
            out[i] = largest
        return out

    def rejected(self, p: Pvalues, alpha: float) -> tuple[list[int], list[float]]:
        """Comparisons in the order of their rejection, and the local levels that are left (0 of the rejected)."""
        order: list[int] = []
        levels = [alpha * w for w in self.weights]
        for i, _, weights in self._walk(p, lambda ratio: ratio < alpha):
            order.append(i)
            levels = [alpha * w for w in weights]
        return order, levels

    def levels_used(self, p: Pvalues, alpha: float) -> list[float]:
        """The level at which each comparison was rejected, or that is left of it."""
        weights, used = list(self.weights), {}
        for i, _, after in self._walk(p, lambda ratio: ratio < alpha):
            used[i], weights = alpha * weights[i], after
        return [used.get(i, alpha * w) for i, w in enumerate(weights)]

    def _walk(self, p: Pvalues, goes_on: Callable[[float], bool]) -> list[tuple[int, float, list[float]]]:
        """Comparison, p by weight, and the weights afterwards, step by step."""
        weights = list(self.weights)
        g = [list(row) for row in self.transitions]
        left = [i for i, x in enumerate(p) if x is not None]
        steps: list[tuple[int, float, list[float]]] = []
        while left:
            j = min(left, key=lambda i: (_by(p[i], weights[i]), i))
            ratio = _by(p[j], weights[j])
            if not goes_on(ratio):
                break
            left.remove(j)
            weights, g = _passed_on(j, weights, g)
            steps.append((j, ratio, list(weights)))
        return steps


def _by(p: float | None, weight: float) -> float:
    assert p is not None
    return p / weight if weight > 0 else float("inf")


def _passed_on(j: int, weights: list[float], g: list[list[float]]) -> tuple[list[float], list[list[float]]]:
    size = len(weights)
    moved = [w + weights[j] * g[j][i] for i, w in enumerate(weights)]
    moved[j] = 0.0
    after = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for k in range(size):
            under = 1 - g[i][j] * g[j][i]
            if i != k and j not in (i, k) and under > 0:
                after[i][k] = (g[i][k] + g[i][j] * g[j][k]) / under
    return moved, after


def adjusted(p: Pvalues, m: int, rule: str, graph: Graph | None = None) -> Adjusted:
    """The sequential p values after ``holm``, ``bonferroni`` or ``graph`` over the ``m`` planned comparisons."""
    if rule == "graph":
        assert graph is not None
        return graph.adjusted(p)
    return holm(p, m) if rule == "holm" else bonferroni(p, m)


def local_levels(p: Pvalues, m: int, rule: str, alpha: float, graph: Graph | None = None) -> list[float]:
    """The level at which each comparison is judged alone: that at which it was claimed,
    or what is left for the others."""
    if rule == "graph":
        assert graph is not None
        return graph.levels_used(p, alpha)
    if rule == "bonferroni":
        return [alpha / m] * len(p)
    ranked = _ranks(p)
    claimed = sum(x is not None and x < alpha for x in holm(p, m))
    rest = alpha / max(1, m - claimed)
    return [alpha / (m - rank) if rank is not None and rank < claimed else rest for rank in ranked]


def _ranks(p: Sequence[float | None]) -> list[int | None]:
    order = sorted((x, i) for i, x in enumerate(p) if x is not None)
    ranks: list[int | None] = [None] * len(p)
    for rank, (_, i) in enumerate(order):
        ranks[i] = rank
    return ranks
