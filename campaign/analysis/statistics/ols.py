"""Ordinary least squares for the handful of small designs of the order and covariate checks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from campaign.analysis.result import Result
from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_two_sided


@dataclass(frozen=True)
class Fit:
    """Coefficients of y ~ X (no intercept added), their covariance, residual sum of squares and degrees of freedom."""

    beta: FloatArray
    covariance: FloatArray
    inverse: FloatArray
    residuals: FloatArray
    df: int

    @property
    def rss(self) -> float:
        """Residual sum of squares."""
        return float(self.residuals @ self.residuals)


def fit(x: FloatArray, y: FloatArray) -> Fit | None:
    """Least squares; None where X has not full column rank or no degree of freedom is left."""
    n, k = x.shape
    if n <= k or rank(x) < k:
        return None
    q, r, inverse, constant = _factors(x.tobytes(), k)
    # y is centred for accuracy; whatever columns span the constant take its mean back.
    mean = y.mean()
    about = y - mean
    beta = np.linalg.solve(r, q.T @ about)
    residuals = about - x @ beta
    beta = beta + mean * constant
    df = n - k
    sigma2 = float(residuals @ residuals) / df
    return Fit(beta, sigma2 * inverse, inverse, residuals, df)


def rank(x: FloatArray) -> int:
    """Rank of a design."""
    return _rank(x.tobytes(), x.shape[1])


# All metrics of a cell share the design that its schedule made, so each is taken apart once.


@lru_cache(maxsize=1024)
def _rank(design: bytes, columns: int) -> int:
    return int(np.linalg.matrix_rank(np.frombuffer(design).reshape(-1, columns)))


@lru_cache(maxsize=1024)
def _factors(design: bytes, columns: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Q and R of a design of full rank, the inverse of X'X, and the coefficients of a constant 1."""
    q, r = np.linalg.qr(np.frombuffer(design).reshape(-1, columns))
    inner = np.linalg.inv(r)
    return q, r, inner @ inner.T, np.linalg.solve(r, q.sum(axis=0))


@dataclass(frozen=True)
class Coefficient(Result):
    """One coefficient of a fit; limits at 95 %."""

    estimate: float
    se: float
    t: float
    p: float
    df: float
    ci_low: float
    ci_high: float


def coefficient(result: Fit, i: int) -> Coefficient | None:
    """One coefficient by its place; None where the fit is exact."""
    estimate, se = float(result.beta[i]), float(np.sqrt(result.covariance[i, i]))
    if se <= 0:
        return None
    reach = t_quantile(0.975, result.df) * se
    t = estimate / se
    return Coefficient(estimate, se, t, t_two_sided(t, result.df), result.df, estimate - reach, estimate + reach)


def hc3_se(x: FloatArray, result: Fit, i: int) -> float | None:
    """Heteroscedasticity-consistent standard error (MacKinnon and White 1985); None at a leverage of one."""
    leverage = np.einsum("ij,jk,ik->i", x, result.inverse, x)
    if (leverage > 1 - 1e-10).any():
        return None
    meat = (x * (result.residuals / (1 - leverage))[:, None] ** 2).T @ x
    return float(np.sqrt((result.inverse @ meat @ result.inverse)[i, i]))


def dummies(labels: FloatArray) -> FloatArray:
    """One 0/1 column for every distinct label; shape (n, levels)."""
    return np.asarray(labels[:, None] == np.unique(labels)[None, :], dtype=float)
