"""Every column of a screen's design as a contrast, those included that no factor has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from campaign.analysis.result import Result
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.dunnett import modulus_p
from campaign.analysis.statistics.factorial.fit import Fit, Rows
from campaign.analysis.statistics.factorial.half_normal import Lenth, Point, half_normal, lenth
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.two_level import Design

ByColumn = dict[str, float]
"""Column to its contrast, in percent of log."""


@dataclass(frozen=True)
class Contrasts(Result):
    """Of one model; as such only why there are none: ``incomplete_blocks``."""

    status: str


@dataclass(frozen=True)
class OneHalf(Contrasts):
    """Of a design as it is, largest ones judged by Lenth's margins of error."""

    contrasts: ByColumn
    lenth: Lenth
    half_normal: list[Point]
    active_me: list[str]
    active_sme: list[str]


@dataclass(frozen=True)
class Folded(Contrasts):
    """Of both halves of a fold-over: ``main`` holds no pair of factors, ``even`` holds nothing else."""

    original: ByColumn
    foldover: ByColumn
    main: ByColumn
    even: ByColumn


@dataclass(frozen=True)
class Unassigned(Result):
    """Of a column that no factor has, mean over models in percent of log; ``p_maxt`` of all such columns together."""

    contrast: float
    se: float
    t: float
    p_maxt: float


INCOMPLETE = Contrasts("incomplete_blocks")


def contrasts_of(rows: Rows, arms: Mapping[str, Sample]) -> Contrasts:
    """Every column's contrast in percent of log over complete blocks, for the half-normal plot."""
    first = _cell_means(rows.arms, arms)
    if first is None:
        return INCOMPLETE
    columns = rows.design.columns
    original = _of_columns(rows.design.matrix, first, columns)
    if rows.second:
        other = _cell_means(rows.second, arms)
        if other is None:
            return INCOMPLETE
        folded = _of_columns(-rows.design.matrix, other, columns)
        return Folded(
            "ok",
            original,
            folded,
            main={label: (original[label] + folded[label]) / 2 for label in columns},
            even={label: (original[label] - folded[label]) / 2 for label in columns},
        )
    judged = lenth(original)
    size = {label: abs(value) for label, value in original.items()}
    largest_first = sorted(columns, key=lambda label: -size[label])
    return OneHalf(
        "ok",
        original,
        judged,
        half_normal(original),
        active_me=[label for label in largest_first if size[label] > judged.me],
        active_sme=[label for label in largest_first if size[label] > judged.sme],
    )


def _of_columns(matrix: FloatArray, means: FloatArray, columns: Sequence[str]) -> ByColumn:
    return {label: float(200 * (matrix[:, j] * means).mean()) for j, label in enumerate(columns)}


def _cell_means(names: Sequence[str], arms: Mapping[str, Sample]) -> FloatArray | None:
    """Mean of ln y less its block's mean, for each row; None where a block lacks one."""
    values = [arms.get(name) for name in names]
    if any(sample is None or (sample.value <= 0).any() for sample in values):
        return None
    blocks = [set(map(int, sample.repetition)) for sample in values if sample is not None]
    if any(block != blocks[0] for block in blocks) or not blocks[0]:
        return None
    table = np.array([_by_block(sample) for sample in values if sample is not None])
    return np.asarray((table - table.mean(axis=0)).mean(axis=1))


def _by_block(sample: Sample) -> FloatArray:
    return np.asarray(np.log(sample.value[np.argsort(sample.repetition, kind="stable")]))


def unassigned_of(contrasts: Mapping[str, Contrasts], design: Design, pooled: Fit) -> dict[str, Unassigned]:
    """Mean contrast of each column that no factor has: where they are not nothing, pairs are at work."""
    of_models = [found for found in contrasts.values() if isinstance(found, OneHalf)]
    error = pooled.error
    if len(of_models) < len(contrasts) or error.ms is None:
        return {}
    se = 200 * math.sqrt(error.ms / pooled.n)
    out = {}
    for column in design.unassigned:
        mean = float(np.mean([found.contrasts[column] for found in of_models]))
        p = modulus_p(mean / se, len(design.unassigned), error.df)
        out[column] = Unassigned(mean, se, mean / se, p)
    return out
