"""The effects of a screen's factors in one model, or in all pooled, with the error of repeated rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from campaign.analysis.result import LEFT_OUT, Column, Result
from campaign.analysis.statistics.distributions import FloatArray, IntArray, f_upper, t_quantile, t_two_sided
from campaign.analysis.statistics.dunnett import largest_p
from campaign.analysis.statistics.families import holm
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.two_level import Design, coded

FEWEST_DF = 3
"""Degrees of freedom of the error below which nothing is inferred."""
Groups = Mapping[str, Mapping[str, Sample]]
"""Model to arm to its runs."""


@dataclass(frozen=True)
class Rows:
    """Which arm is which row. ``second`` are the rows of a full fold-over, in the same order."""

    design: Design
    arms: tuple[str, ...]
    second: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """Runs of one model or of all. ``cell`` numbers model and row, ``half`` is 1 in the fold-over."""

    y: FloatArray
    x: FloatArray
    block: IntArray
    cell: IntArray
    model: IntArray


@dataclass(frozen=True)
class Effect(Result):
    """Of a factor on ln y, from low to high, of which nothing is inferred."""

    effect: float
    pct: Annotated[float, Column("raw_pct")]


@dataclass(frozen=True)
class Judged(Effect):
    """An effect with its error. Limits and ``p`` are of the factor alone at 95 %, ``sim`` and ``p_maxt`` of all factors
    together."""

    se: Annotated[float, Column("se")]
    df: int
    t: Annotated[float, Column("t")]
    p: Annotated[float, Column("p")]
    p_holm: Annotated[float | None, Column("p_holm")]
    p_maxt: Annotated[float, Column("p_maxt")]
    ci_low_pct: Annotated[float, Column("alone_low_pct")]
    ci_high_pct: Annotated[float, Column("alone_high_pct")]
    sim_low_pct: Annotated[float, Column("low_pct")]
    sim_high_pct: Annotated[float, Column("high_pct")]


@dataclass(frozen=True)
class NotEstimable(Result):
    """A factor whose column the runs do not tell from others."""

    effect: None = None
    pct: None = None
    status: str = "not_estimable"


Effects = dict[str, Effect | NotEstimable]
"""By factor."""


@dataclass(frozen=True)
class Error(Result):
    """What effects are judged by: ``source`` is ``replication`` or, of one block, ``unassigned_columns``; ``ms`` the
    mean square."""

    source: Annotated[str, Column("error_source")]
    df: Annotated[int, Column("error_df")]
    ms: float | None


@dataclass(frozen=True)
class LackOfFit(Result):
    """F of what the rows differ in beyond the factors, by the error."""

    df1: int
    df2: int
    F: float
    p: Annotated[float, Column("lack_of_fit_p")]


@dataclass(frozen=True)
class Heterogeneity(Result):
    """F of a factor's effects differing between models."""

    F: float
    df1: int
    df2: int
    p: Annotated[float, Column("heterogeneity_p")]


@dataclass(frozen=True)
class Fit(Result):
    """``inference`` says why nothing is inferred: ``insufficient_error_df`` or ``deterministic``."""

    n: Annotated[int, Column("n")]
    blocks: int
    error: Error
    flags: Annotated[list[str] | None, LEFT_OUT]
    effects: Effects
    inference: Annotated[str | None, LEFT_OUT] = None
    status: Annotated[str | None, LEFT_OUT] = None
    lack_of_fit: Annotated[LackOfFit | None, LEFT_OUT] = None
    orthogonal: Annotated[bool | None, LEFT_OUT] = None
    c_sim: Annotated[float | None, LEFT_OUT] = None
    """Quantile by which all factors are judged together."""


def data_of(rows: Rows, groups: Groups) -> Data:
    y: list[float] = []
    x: list[FloatArray] = []
    labels: list[tuple[int, int]] = []
    cells: list[tuple[int, int]] = []
    halves = [(rows.arms, rows.design.matrix), (rows.second, -rows.design.matrix)]
    for m, arms in enumerate(groups.values()):
        number = 0
        for names, matrix in halves:
            levels = coded(rows.design, matrix[:, : len(rows.design.factors)])
            for arm, level in zip(names, levels, strict=False):
                number += 1
                sample = arms.get(arm)
                for value, repetition in zip(sample.value, sample.repetition, strict=True) if sample else ():
                    if value > 0:
                        y.append(math.log(value))
                        x.append(level)
                        labels.append((m, int(repetition)))
                        cells.append((m, number))
    model = np.array([m for m, _ in labels], dtype=np.int64)
    levels = np.array(x).reshape(len(y), len(rows.design.factors))
    return Data(np.array(y), levels, _numbered(labels), _numbered(cells), model)


def _numbered(labels: Sequence[tuple[int, int]]) -> IntArray:
    known = {label: i for i, label in enumerate(sorted(set(labels)))}
    return np.array([known[label] for label in labels], dtype=np.int64)


def _dummies(of: IntArray) -> FloatArray:
    return np.asarray(of[:, None] == np.arange(int(of.max()) + 1)[None, :], dtype=float)


def _residual(x: FloatArray, y: FloatArray) -> tuple[float, int]:
    """Residual sum of squares and degrees of freedom of y on x, whatever its rank."""
    about = y - y.mean()  # every design here spans the constant
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    u = u[:, s > s.max() * 1e-10]
    rest = about - u @ (u.T @ about)
    return float(rest @ rest), len(y) - u.shape[1]


def fit(data: Data, factors: Sequence[str]) -> Fit:
    """Effects of one model, or of all pooled, with the error of repeated rows (of one block:
    of what the fit leaves)."""
    blocks = _dummies(data.block)
    rss_fit, df_fit = _residual(np.column_stack([blocks, data.x]), data.y)
    rss_row, df_row = _residual(np.column_stack([blocks, _dummies(data.cell)]), data.y)
    replicated = df_row > 0
    rss, df = (rss_row, df_row) if replicated else (rss_fit, df_fit)
    ms = rss / df if df > 0 else None
    estimable, beta, inverse = _estimate(blocks, data.x, data.y)
    size = [2 * float(b) for b in beta]
    out = Fit(
        n=len(data.y),
        blocks=int(data.block.max()) + 1,
        error=Error("replication" if replicated else "unassigned_columns", df, ms),
        flags=None if replicated else ["assumes_no_interactions"],
        effects={
            factor: Effect(size[j], 100 * math.expm1(size[j])) if estimable[j] else NotEstimable()
            for j, factor in enumerate(factors)
        },
    )
    if ms is None or df < FEWEST_DF:
        return replace(out, inference="insufficient_error_df")
    if ms <= 1e-24 * max(1.0, float(data.y.mean()) ** 2):
        return replace(out, inference="deterministic", status="deterministic")
    lack = None
    if replicated and df_fit > df_row:
        f = (rss_fit - rss_row) / (df_fit - df_row) / ms
        lack = LackOfFit(df_fit - df_row, df, f, f_upper(f, df_fit - df_row, df))
    use = [j for j in range(len(factors)) if estimable[j]]
    tested, orthogonal, reach = _tested([size[j] for j in use], inverse[np.ix_(use, use)], (ms, df), len(factors))
    named = dict(zip((factors[j] for j in use), tested, strict=True))
    return replace(out, effects=out.effects | named, lack_of_fit=lack, orthogonal=orthogonal, c_sim=reach)


def _tested(
    size: Sequence[float], inverse: FloatArray, error: tuple[float, int], factors: int
) -> tuple[list[Judged], bool, float]:
    """Estimable effects with their errors, whether their estimates are independent, and the quantile for all.

    ``inverse`` is of X'X, ``error`` the mean square and its degrees of freedom, ``factors`` how many there are.
    """
    ms, df = error
    se = 2 * np.sqrt(ms * np.diag(inverse))
    root = np.sqrt(np.diag(inverse))
    t = np.array(size) / se
    p_largest, reach, orthogonal = largest_p(t, inverse / np.outer(root, root), df)
    p = [t_two_sided(float(x), df) for x in t]
    alone = t_quantile(0.975, df)
    adjusted = holm(p, factors)
    return (
        [
            Judged(
                effect=e,
                pct=100 * math.expm1(e),
                se=s,
                df=df,
                t=float(t[i]),
                p=p[i],
                p_holm=adjusted[i],
                p_maxt=float(p_largest[i]),
                ci_low_pct=100 * math.expm1(e - alone * s),
                ci_high_pct=100 * math.expm1(e + alone * s),
                sim_low_pct=100 * math.expm1(e - reach * s),
                sim_high_pct=100 * math.expm1(e + reach * s),
            )
            for i, (e, s) in enumerate(zip(size, (float(x) for x in se), strict=True))
        ],
        orthogonal,
        reach,
    )


def _estimate(blocks: FloatArray, x: FloatArray, y: FloatArray) -> tuple[list[bool], FloatArray, FloatArray]:
    """Which coefficients of x can be estimated beside the blocks, all of them, and the inverse of X'X for them."""
    sums, counts = blocks.T @ np.column_stack([x, y]), blocks.sum(axis=0)[:, None]
    swept = np.column_stack([x, y]) - blocks @ (sums / counts)
    inner, about = swept[:, :-1], swept[:, -1]
    k = inner.shape[1]
    whole = np.linalg.matrix_rank(inner) if len(inner) else 0
    estimable = [
        bool(np.linalg.matrix_rank(np.delete(inner, j, axis=1)) < whole) if k > 1 else whole == 1 for j in range(k)
    ]
    gram = inner.T @ inner
    inverse = np.linalg.inv(gram) if whole == k else np.linalg.pinv(gram)
    return estimable, inverse @ (inner.T @ about), inverse


def heterogeneity(data: Data, factors: Sequence[str], error: Error) -> dict[str, Heterogeneity]:
    """F of each factor by model, given model-specific slopes of the others. Empty for one model."""
    models = int(data.model.max()) + 1
    if models < 2 or error.ms is None:
        return {}
    blocks, own = _dummies(data.block), _dummies(data.model)
    slopes = [data.x[:, [j]] * own for j in range(len(factors))]
    rss_full, df_full = _residual(np.column_stack([blocks, *slopes]), data.y)
    out = {}
    for j, factor in enumerate(factors):
        columns = [data.x[:, [j]] if i == j else slope for i, slope in enumerate(slopes)]
        rss, df = _residual(np.column_stack([blocks, *columns]), data.y)
        if df > df_full:
            f = (rss - rss_full) / (df - df_full) / error.ms
            out[factor] = Heterogeneity(f, df - df_full, error.df, f_upper(f, df - df_full, error.df))
    return out
