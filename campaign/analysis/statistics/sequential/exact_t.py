"""Nominal levels from the joint law of t statistics at looks (Jennison and Turnbull 1991), for normal data exact.

At the boundary of its null, r = t/√(t² + df) = √n·mean/√(sum of squares) is a Markov chain over the looks. With d new
values, s² the share of the old sum of squares in the new one (Beta(n/2, d/2), independent of r), the new r has given
the old one a density that is an integral over s. The chain is followed on fixed Gauss-Legendre points of φ = arcsin r,
so that for every level only sums are made anew.

A look with a single new value has no such density. It is judged at the level spent on it alone, and later looks count
as if it had not been taken: both err on the safe side.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from campaign.analysis.statistics.distributions import FloatArray, t_upper

ORDER, PANELS, INNER = 10, 36, 32
"""Points on a panel, panels of φ, and points of the integral over s."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
EDGES = np.linspace(-math.pi / 2, math.pi / 2, PANELS + 1)
HALF = float(EDGES[1] - EDGES[0]) / 2
POINTS = (EDGES[:-1, None] + HALF + HALF * NODES).ravel()
MASSES = np.tile(HALF * WEIGHTS, PANELS)
BARYCENTRIC = np.array([1 / np.prod(x - np.delete(NODES, i)) for i, x in enumerate(NODES)])


def nominal(n: tuple[int, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """Level of the one-sided t test at each look; 0 where nothing is spent. ``spent`` is cumulative."""
    levels, carried, before = [], None, 0
    for k, now in enumerate(n):
        rest = spent[k] - (spent[k - 1] if k else 0.0)
        if carried is not None and now - before < 2:
            levels.append(max(rest, 0.0))
            continue
        density = first(now) if carried is None else kernel(before, now) @ carried
        cut = _boundary(density, rest, now) if carried is not None else _angle(rest, now)
        levels.append(_level(cut, now) if carried is not None else max(rest, 0.0))
        carried, before = _kept(density, cut), now
    return tuple(levels)


def size(n: tuple[int, ...], levels: tuple[float, ...]) -> float:
    """Chance that one of the looks rejects where the null is true at its boundary, judged at ``levels``."""
    total, carried, before = 0.0, None, 0
    for now, level in zip(n, levels, strict=True):
        density = first(now) if carried is None else kernel(before, now) @ carried
        cut = _angle(level, now)
        total += level if carried is None else _tail(density, cut)
        carried, before = _kept(density, cut), now
    return total


def first(n: int) -> FloatArray:
    """Density of φ at the first look, at :data:`POINTS`."""
    scale = special.betaln(0.5, (n - 1) / 2)
    return np.asarray(np.exp((n - 2) * np.log(np.cos(POINTS)) - scale))


@lru_cache(maxsize=64)
def kernel(before: int, now: int) -> FloatArray:
    """Density of the new φ (rows) given the old (columns), times the weight of the old point;
    shape (points, points)."""
    n, d = before, now - before
    x, w = np.polynomial.legendre.leggauss(INNER)
    old, new = np.sin(POINTS)[None, :], np.sin(POINTS)[:, None]
    # Q(s) = d(1 - s²) - (r⁺√n⁺ - √n r s)² = -(a s² - 2 b s + c), positive between its roots.
    a = d + n * old**2
    b = new * old * math.sqrt(now * n)
    c = now * new**2 - d
    under = np.maximum(b**2 - a * c, 0.0)
    middle, half = b / a, np.sqrt(under) / a
    with np.errstate(divide="ignore", invalid="ignore"):
        start = np.where(middle - half < 0, np.arcsin(np.clip(-middle / half, -1, 1)), -math.pi / 2)
    start = np.where(half > 0, start, math.pi / 2)
    reach = (math.pi / 2 - start) / 2
    total = np.zeros(np.broadcast_shapes(old.shape, new.shape))
    for node, weight in zip(x, w, strict=True):
        u = start + reach * (1 + node)
        s = np.maximum(middle + half * np.sin(u), 1e-300)
        # Q^{(d-3)/2} ds = (a half² cos² u)^{(d-3)/2} half cos u du
        total += weight * np.exp((n - 1) * np.log(s) + (d - 2) * np.log(np.maximum(np.cos(u), 1e-300)))
    with np.errstate(divide="ignore"):
        outer = (d - 3) / 2 * np.log(a) + (d - 2) * np.log(half)
    scale = math.log(2) + 0.5 * math.log(now) - (d - 2) / 2 * math.log(d)
    scale -= float(special.betaln(n / 2, d / 2) + special.betaln(0.5, (d - 1) / 2))
    density = np.where((half > 0) & (reach > 0), total * reach * np.exp(outer + scale), 0.0)
    return np.asarray(density * np.cos(POINTS)[:, None])


def _angle(level: float, n: int) -> float:
    """φ beyond which the one-sided t test rejects at ``level``."""
    if level <= 0:
        return math.pi / 2
    return math.atan(-float(special.stdtrit(n - 1, level)) / math.sqrt(n - 1))


def _level(cut: float, n: int) -> float:
    """P(T > t) at the t of φ."""
    return t_upper(math.tan(cut) * math.sqrt(n - 1), n - 1) if cut < math.pi / 2 else 0.0


def _tail(density: FloatArray, cut: float) -> float:
    """Mass above ``cut``."""
    panel = min(PANELS - 1, max(0, int(np.searchsorted(EDGES, cut, side="right")) - 1))
    whole = float((density * MASSES).reshape(PANELS, ORDER)[panel + 1 :].sum())
    return whole + _rest_of_panel(density, panel, cut)


def _rest_of_panel(density: FloatArray, panel: int, cut: float) -> float:
    """Mass above ``cut`` within its panel: the logarithm is interpolated,
    because the tail falls by orders of magnitude."""
    high = float(EDGES[panel + 1])
    if cut >= high:
        return 0.0
    reach = (high - cut) / 2
    at = ((cut + reach + reach * NODES) - EDGES[panel] - HALF) / HALF
    logs = np.log(np.maximum(density[panel * ORDER : (panel + 1) * ORDER], 1e-320))
    return float(np.exp(_interpolation(at) @ logs) @ WEIGHTS) * reach


def _interpolation(at: FloatArray) -> FloatArray:
    """Values of the Lagrange polynomials of :data:`NODES`; shape (len(at), ORDER)."""
    apart = at[:, None] - NODES[None, :]
    hit = np.abs(apart) < 1e-14
    terms = BARYCENTRIC / np.where(hit, 1.0, apart)
    found = terms / terms.sum(axis=1, keepdims=True)
    return np.where(hit.any(axis=1, keepdims=True), hit.astype(float), found)


def _boundary(density: FloatArray, rest: float, n: int) -> float:
    """φ above which the mass is ``rest``."""
    if rest <= 0:
        return math.pi / 2
    masses = (density * MASSES).reshape(PANELS, ORDER).sum(axis=1)
    above = np.append(np.cumsum(masses[::-1])[::-1], 0.0)
    if rest >= above[0]:
        return -math.pi / 2
    panel = int(np.flatnonzero(above > rest)[-1])

    def excess(cut: float) -> float:
        return math.log(above[panel + 1] + _rest_of_panel(density, panel, cut) + 1e-320) - math.log(rest)

    low, high = float(EDGES[panel]), float(EDGES[panel + 1]) - 1e-12
    if excess(low) <= 0:
        return low
    if excess(high) >= 0:
        return high
    return float(optimize.brentq(excess, low, high, xtol=1e-14, rtol=1e-14))


def _kept(density: FloatArray, cut: float) -> FloatArray:
    """Mass at each point that goes on: below ``cut``."""
    panel = min(PANELS - 1, max(0, int(np.searchsorted(EDGES, cut, side="right")) - 1))
    weights = MASSES.copy()
    weights[(panel + 1) * ORDER :] = 0.0
    low = float(EDGES[panel])
    reach = max(0.0, cut - low) / 2
    at = ((low + reach + reach * NODES) - low - HALF) / HALF
    weights[panel * ORDER : (panel + 1) * ORDER] = reach * WEIGHTS @ _interpolation(at)
    return np.asarray(density * weights)
