"""The whole analysis of a two-level screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

from campaign.analysis.margin import DEFAULT_PCT
from campaign.analysis.result import LEFT_OUT, Column, Result
from campaign.analysis.statistics.factorial.choice import Foldover, Selection, Trait, foldover_of, selection_of
from campaign.analysis.statistics.factorial.contrasts import Contrasts, Unassigned, contrasts_of, unassigned_of
from campaign.analysis.statistics.factorial.fit import (
    Fit,
    Groups,
    Heterogeneity,
    Judged,
    Rows,
    data_of,
    fit,
    heterogeneity,
)
from campaign.analysis.statistics.shrinkage import Shrinkage, shrink
from campaign.analysis.statistics.two_level import aliases

NOTE = "screening: chosen on these data, confirmed by none of them"


@dataclass(frozen=True)
class Layout(Result):
    """The design, with what each column holds besides its own effect: pair of factors to its coefficient."""

    name: Annotated[str, Column("design")]
    runs: int
    factors: list[str]
    alias_main: dict[str, dict[str, float]]
    alias_unassigned: dict[str, dict[str, float]]
    effect_variance_over_sigma2_one_block: float


@dataclass(frozen=True, kw_only=True)
class Screened(Result):
    """What a screen found, by model and pooled. What is None was not looked for: without a run (``status`` is
    ``no_data``) there is no fit, without inference from the pooled one there is no decision, and a design that was
    folded over is not to be folded over again."""

    note: str = field(default=NOTE, init=False)
    confirmatory: bool = field(default=False, init=False)
    selected_on_these_data: bool = field(default=True, init=False)
    design: Layout
    missing_rows: list[str]
    nonpositive_rows: list[str]
    models: dict[str, Fit]
    contrasts: dict[str, Contrasts]
    status: Annotated[str | None, LEFT_OUT] = None
    pooled: Annotated[Fit | None, LEFT_OUT] = None
    heterogeneity: Annotated[dict[str, Heterogeneity] | None, LEFT_OUT] = None
    unassigned: Annotated[dict[str, Unassigned] | None, LEFT_OUT] = None
    foldover: Annotated[Foldover | None, LEFT_OUT] = None
    shrinkage: Annotated[Shrinkage | None, LEFT_OUT] = None
    selection: Annotated[Selection | None, LEFT_OUT] = None


def screen(
    groups: Groups, rows: Rows, better: int, margin_pct: float = DEFAULT_PCT, traits: Mapping[str, Trait] | None = None
) -> Screened:
    """The analysis of a screen. ``better`` is 1 where more of the metric is better, -1 where less is."""
    fold, factors = bool(rows.second), rows.design.factors
    main, rest = aliases(rows.design, fold)
    runs = rows.design.rows * (2 if fold else 1)
    names = [*rows.arms, *rows.second]
    data = {model: data_of(rows, {model: arms}) for model, arms in groups.items()}
    data = {model: found for model, found in data.items() if len(found.y)}
    out = Screened(
        design=Layout(rows.design.name, runs, list(factors), main, rest, 4 / runs),
        missing_rows=[arm for arm in names if not any(len(arms.get(arm, ())) for arms in groups.values())],
        nonpositive_rows=sorted(
            {arm for arms in groups.values() for arm in names if arm in arms and (arms[arm].value <= 0).any()}
        ),
        models={model: fit(found, factors) for model, found in data.items()},
        contrasts={model: contrasts_of(rows, groups[model]) for model in data},
    )
    if not data:
        return replace(out, status="no_data")
    everything = data_of(rows, {model: groups[model] for model in data})
    pooled = fit(everything, factors)
    out = replace(out, pooled=pooled)
    if pooled.inference is not None or pooled.error.ms is None:
        return out
    unassigned = foldover = None
    if not fold:
        unassigned = unassigned_of(out.contrasts, rows.design, pooled)
        foldover = foldover_of(pooled, unassigned, rows.design)
    estimates = {
        factor: (100 * found.effect, 100 * found.se)
        for factor, found in pooled.effects.items()
        if isinstance(found, Judged)
    }
    shrunken = shrink(estimates, pooled.error.df)
    return replace(
        out,
        heterogeneity=heterogeneity(everything, factors, pooled.error),
        unassigned=unassigned,
        foldover=foldover,
        shrinkage=shrunken,
        selection=selection_of(pooled, out.models, shrunken.effects, foldover, better, margin_pct, traits or {}),
    )
