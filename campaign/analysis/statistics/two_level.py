"""Two-level designs for screening options: their rows, what each effect is mixed with, and what each design can see.

A row is a combination of options, a column is a factor at +1 (the option) or -1 (the baseline's level). The row of all
-1, the baseline itself, is in every design. Plackett and Burman 1946; Box and Hunter 1961; folding over as in Miller
and Sitter 2001.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from campaign.analysis.statistics.distributions import FloatArray, noncentrality
from campaign.analysis.statistics.dunnett import critical, modulus_quantile, one_way_loadings

DesignName = Literal["pb12", "res3_8", "res4_16"]
NAMES: tuple[DesignName, ...] = ("pb12", "res3_8", "res4_16")
MOST = {"pb12": 11, "res3_8": 6, "res4_16": 6}
"""Factors that a design takes. In pb12 from nine on fewer than three columns stay unassigned."""
CYCLE = (1, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1)
POWER = 0.8


@dataclass(frozen=True)
class Design:
    """``matrix`` is rows by ``columns``, of +1 and -1: the factors first, then the columns that no factor has."""

    name: DesignName
    factors: tuple[str, ...]
    columns: tuple[str, ...]
    matrix: FloatArray
    nested: tuple[tuple[str, str], ...] = ()
    """Child and parent: the child has a meaning only where the parent is high."""

    @property
    def rows(self) -> int:
        return len(self.matrix)

    @property
    def baseline_row(self) -> int:
        """The row (from 0) of which every letter is low. With few factors other rows have the same options."""
        return self.rows - 1 if self.name == "pb12" else 0

    @property
    def unassigned(self) -> tuple[str, ...]:
        return self.columns[len(self.factors) :]

    def row(self, number: int) -> tuple[str, ...]:
        """Factors that are high in a row (from 0) and have a meaning there."""
        high = [f for f, x in zip(self.factors, self.matrix[number], strict=False) if x > 0]
        parents = dict(self.nested)
        return tuple(f for f in high if f not in parents or parents[f] in high)


def design(name: DesignName, factors: Sequence[str], nested: Sequence[tuple[str, str]] = ()) -> Design:
    """The design for these factors, in this order. ValueError where it cannot hold them."""
    factors = tuple(factors)
    if not 2 <= len(factors) <= MOST[name] or len(set(factors)) < len(factors):
        raise ValueError(f"{name} takes 2 to {MOST[name]} different factors, got {len(factors)}")
    for child, parent in nested:
        if child not in factors or parent not in factors or child == parent:
            raise ValueError(f"{child} is nested in {parent}: both must be factors of the design")
    if name == "pb12":
        rows = [np.roll(CYCLE, shift) for shift in range(11)]
        matrix = np.array([*rows, -np.ones(11)], dtype=float)
        labels = [*factors, *(f"c{j}" for j in range(len(factors) + 1, 12))]
    else:
        letters, rest = (_res3() if name == "res3_8" else _res4())[:2]
        named = dict(zip(letters, factors, strict=False))
        labels = [*(named.get(letter, letter) for letter in letters), *rest]
        matrix = np.column_stack([*letters.values(), *rest.values()])
    return Design(name, factors, tuple(labels), matrix, tuple(nested))


def _base(letters: str) -> dict[str, FloatArray]:
    """Full factorial in standard order, the first letter changing fastest."""
    n = 2 ** len(letters)
    return {letter: np.array([1.0 if row >> i & 1 else -1.0 for row in range(n)]) for i, letter in enumerate(letters)}


def _res3() -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    x = _base("ABC")
    letters = x | {"D": -x["A"] * x["B"], "E": -x["A"] * x["C"], "F": -x["B"] * x["C"]}
    return letters, {"ABC": x["A"] * x["B"] * x["C"]}


def _res4() -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    x = _base("ABCD")
    letters = x | {"E": x["A"] * x["B"] * x["C"], "F": x["A"] * x["B"] * x["D"]}
    rest = ("AB", "AC", "AD", "BC", "BD", "CD", "ACD", "BCD", "ABCD")
    return letters, {name: np.prod([x[letter] for letter in name], axis=0) for name in rest}


def folded(given: Design) -> Design:
    """The rows with all signs of the factors reversed, to be run as later blocks: main effects come clear of pairs."""
    if given.name == "res4_16":
        raise ValueError("res4_16 is not folded over: its main effects are clear of pairs as it is")
    return replace(given, matrix=-given.matrix)


def coded(given: Design, matrix: FloatArray | None = None) -> FloatArray:
    """The columns of the factors as they are fitted: a nested one is 0 where its parent is low."""
    levels = np.array(given.matrix[:, : len(given.factors)] if matrix is None else matrix, dtype=float)
    place = {factor: i for i, factor in enumerate(given.factors)}
    for child, parent in given.nested:
        levels[levels[:, place[parent]] < 0, place[child]] = 0.0
    return levels


def aliases(given: Design, fold: bool = False) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """What else each column's contrast holds: pair of factors to its coefficient,
    for factors and for unassigned columns.

    A main effect estimates E_j + sum of a * E_kl, with E_kl half the difference of simple effects. After a full
    fold-over main effects hold no pair; the unassigned columns are then told as of the first half, which is what the
    even part of their contrasts holds.
    """
    place = {label: i for i, label in enumerate(given.columns)}

    def pairs_in(column: str) -> dict[str, float]:
        x = given.matrix
        found = {
            f"{k}:{other}": float((x[:, place[column]] * x[:, place[k]] * x[:, place[other]]).mean())
            for k, other in combinations(given.factors, 2)
            if column not in (k, other)
        }
        return {pair: value for pair, value in found.items() if abs(value) > 1e-12}

    main = {factor: {} if fold else pairs_in(factor) for factor in given.factors}
    return main, {column: pairs_in(column) for column in given.unassigned}


@dataclass(frozen=True)
class Precision:
    """What a layout can see, with the run-to-run deviation sigma inside a block as unit.
    ``runs`` are of one model, without native."""

    design: str
    models: int
    factors: int
    blocks: int
    runs: int
    variance: float
    """Of an effect, over sigma squared, pooled over the models."""
    df: int
    critical: float
    """Two-sided quantile by which all factors are judged together at 0.05."""
    mde80: float
    """Effect found with 80 % power, in sigma."""


def precision(name: str, factors: int, blocks: int, models: int = 1, fold: bool = False) -> Precision:
    """Of a two-level design with complete blocks, or of ``one_at_a_time``,
    where a block is one run of every option and the baseline."""
    if name == "one_at_a_time":
        runs, variance = (factors + 1) * blocks, 2 / blocks
        df = models * (runs - blocks - factors)
        reach = critical(one_way_loadings([1] * factors, 1), df)
    else:
        rows, halves = {"pb12": 12, "res3_8": 8, "res4_16": 16}[name], 2 if fold else 1
        runs = rows * blocks * halves
        variance = 4 / runs
        df = models * halves * (blocks - 1) * (rows - 1)
        if df < 1:
            return Precision(name, models, factors, blocks, runs, variance / models, df, math.nan, math.nan)
        reach = modulus_quantile(factors, df)
    seen = noncentrality(reach, df, 1 - POWER) * math.sqrt(variance / models)
    return Precision(
        f"{name}_foldover" if fold else name, models, factors, blocks, runs, variance / models, df, reach, seen
    )
