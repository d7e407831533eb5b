"""What ``campaign plan`` says of a study: every phase with its runs and time,
and the screen's design beside the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from campaign.analysis.statistics import two_level
from campaign.analysis.statistics.screen_config import design_of
from campaign.plan.budget import SPREAD_PCT
from campaign.plan.design import plan
from campaign.plan.forecast import Forecast, duration, forecast, size
from campaign.study.asked import Choice, PhaseAsked, options_of
from campaign.study.config import Study

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.config.schema import Campaign, Screen

Chosen = Mapping[str, Choice]
"""Phase to what was decided for it; a phase that is not there is assumed."""


def describe(study: Study, units: int = 1, chosen: Chosen | None = None) -> RenderableType:
    """The whole study as far as it can be told now."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    chosen = chosen or {}
    ahead = {phase.name: _ahead(study, phase, units, chosen) for phase in study.phases}
    table = Table(title="Phases, in order", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("phase", "", "models", "arms", "repetitions", "runs", "time"):
        table.add_column(heading, justify="right" if heading in ("models", "arms", "runs") else "left")
    for phase in study.phases:
        campaign, cast = ahead[phase.name]
        counts = sorted(set(campaign.repetitions.values()))
        repetitions = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        table.add_row(
            phase.name,
            phase.phase,
            str(len(campaign.models)),
            str(len(campaign.environments)),
            repetitions,
            str(cast.runs),
            duration(cast.total_s),
        )
    runs = sum(cast.runs for _, cast in ahead.values())
    total_s = sum(cast.total_s for _, cast in ahead.values())
    disk = sum(cast.disk_bytes for _, cast in ahead.values())
    facts = [
        f"study        {study.name}{': ' + study.description if study.description else ''}",
        f"config       {study.hash[:12]}",
        f"runs         {runs} in {len(study.phases)} phases{f', on each of {units} units' if units > 1 else ''}",
        f"time         {duration(total_s)} (no retries, no wait at the gate beyond its cooldown)",
        f"disk         about {size(disk)}",
        f"decisions    {_stops(study)}",
    ]
    notes = list(_assumptions(study, chosen, ahead))
    parts: list[RenderableType] = [Text("\n".join(facts)), Text(), table, Text("\n".join(["", *notes]))]
    screening = study.of_kind("screening")
    if screening is not None:
        campaign, cast = ahead[screening.name]
        parts += [
            Text(),
            _designs(study, screening, campaign, cast, chosen),
            Text("\n".join(["", *_structure(study, screening, campaign)])),
        ]
    parts.append(Text(f"\nOne phase in detail: campaign plan {study.path} --phase {study.phases[-1].name}"))
    return Group(*parts)


def _ahead(study: Study, phase: PhaseAsked, units: int, chosen: Chosen) -> tuple[Campaign, Forecast]:
    campaign = study.campaign(phase.name, chosen.get(phase.name, Choice()))
    return campaign, forecast(campaign, plan(campaign, units))


def _stops(study: Study) -> str:
    after = "; `campaign decide` changes one before its phase starts"
    if study.on_decision == "pause":
        return f"the study stops at each, and the same command goes on{after}"
    if study.on_decision == "go":
        return f"the study goes on by itself{after}"
    return f"at a terminal the study stops at each and the same command goes on; unattended it goes on by itself{after}"


def _assumptions(study: Study, chosen: Chosen, ahead: Mapping[str, tuple[Campaign, Forecast]]) -> Iterator[str]:
    few = [phase.name for phase in study.phases if phase.models == "representative"]
    open_ = [name for name in few if chosen.get(name, Choice()).models is None]
    if open_:
        names = ", ".join(model.name for model in ahead[open_[0]][0].models)
        yield (
            f"- {' and '.join(open_)}: representative are the smallest of the models that ran, the largest, and the "
            f"one nearest to the middle of the logarithm of bytes of weights; {names} if all run"
        )
    for phase in study.phases:
        known = chosen.get(phase.name, Choice())
        if known.models is not None and phase.name in few:
            yield f"- {phase.name}: {', '.join(known.models)}, as decided"
        if phase.phase in ("combination", "validation") and known.options is not None:
            yield (
                f"- {phase.name}: {', '.join(known.options) or 'no option: the baseline runs once more (A/A)'}, "
                "as decided"
            )
    undecided = [
        phase.name
        for phase in study.phases
        if phase.phase in ("combination", "validation") and chosen.get(phase.name, Choice()).options is None
    ]
    if undecided:
        options = ", ".join(study.assumed_options()) or "none"
        yield (
            f"- {' and '.join(undecided)}: as if {options} were chosen, the first that may be; where none is, the "
            "baseline runs once more (A/A)"
        )


ALTERNATIVES: tuple[tuple[two_level.DesignName, int, bool], ...] = (
    ("res3_8", 2, False),
    ("pb12", 2, False),
    ("pb12", 3, False),
    ("res4_16", 2, False),
    ("pb12", 2, True),
)
"""Design, blocks, folded over."""


def _designs(study: Study, phase: PhaseAsked, campaign: Campaign, cast: Forecast, chosen: Chosen) -> RenderableType:
    """The configured design beside the others and one at a time, for the same models and native beside each block."""
    from rich.table import Table

    screen = phase.screen
    assert screen is not None
    models = [model.name for model in campaign.models]
    each_s = {model: _run_s(campaign, cast, model) for model in models}
    factors = len(screen.factors) or len(options_of(screen))
    alone = options_of(screen.model_copy(update={"design": "one_at_a_time"}))
    table = Table(
        title=f"{phase.name}: designs for {len(models)} model{'s' if len(models) > 1 else ''}, "
            "native beside each block",
        title_justify="left", title_style="bold", box=None, pad_edge=False,
    )  # fmt: skip
    for heading in ("design", "blocks", "runs", "time", "var/σ²", "df", "seen, σ", "seen, %"):
        table.add_column(heading, justify="left" if heading == "design" else "right", no_wrap=True)
    rows = [two_level.precision("one_at_a_time", len(alone), screen.runs, len(models))]
    given = list(ALTERNATIVES)
    own = (screen.design, screen.blocks, False)
    if screen.design != "one_at_a_time" and own not in given:
        given.append((screen.design, screen.blocks, False))
    rows += [
        two_level.precision(name, factors, blocks, len(models), fold)
        for name, blocks, fold in given
        if 2 <= factors <= two_level.MOST[name]
    ]
    for row in rows:
        configured = row.design == screen.design and row.blocks == (
            screen.runs if row.design == "one_at_a_time" else screen.blocks
        )
        blocks = row.blocks * (2 if row.design.endswith("foldover") else 1)
        seen = "-" if math.isnan(row.mde80) else f"{row.mde80:.2f}"
        percent = "-" if math.isnan(row.mde80) else f"{row.mde80 * SPREAD_PCT:.2f}"
        runs = row.runs + blocks
        name = (
            f"one at a time ({row.factors})"
            if row.design == "one_at_a_time"
            else row.design.replace("_foldover", " + fold-over")
        )
        table.add_row(
            f"{name} *" if configured else name,
            str(blocks),
            str(runs * len(models)),
            duration(sum(runs * s for s in each_s.values())),
            f"{row.variance:.3f}",
            str(row.df),
            seen,
            percent,
        )
    return table


def _run_s(campaign: Campaign, cast: Forecast, model: str) -> float:
    """Seconds of a run of the model, over the arms."""
    known = [seconds for (name, _, _), seconds in cast.cell_s.items() if name == model]
    return sum(known) / len(known)


def _structure(study: Study, phase: PhaseAsked, campaign: Campaign) -> Iterator[str]:
    """What each effect is mixed with, and which options may be chosen."""
    screen = campaign.screen
    assert screen is not None
    yield (
        "*: as configured. var/σ²: variance of an effect in that of a run, pooled over models; df: of its error; "
        f"seen: the effect found with 80 % power, in σ and in percent at σ = {SPREAD_PCT:g} %."
    )
    yield (
        "One at a time estimates each option at the baseline and sees no pair; "
        "a two-level design estimates it averaged over the others."
    )
    if screen.design != "one_at_a_time":
        yield from alias_lines(screen)
    barred = [factor for factor in screen.factors if factor.never]
    for factor in barred:
        yield f"- {factor.name} ({factor.option}) is never chosen: {why_never(factor.never or '')}"
    for factor in screen.factors:
        if factor.privilege and not factor.never:
            yield (
                f"- {factor.name} ({factor.option}) matters for security: "
                f"{GIVES_AWAY.get(factor.privilege, f'privilege {factor.privilege}')}"
            )


WHY_NEVER = {
    "ablation": "it takes something away that the baseline has, to see whether that is needed",
    "diagnostic_only": "it removes protections that serving does not need removed",
    "negative_control": "it cannot differ from the baseline: a control",
}


def why_never(reason: str) -> str:
    """Why an option may not be chosen, in words."""
    if reason.startswith("needs_"):
        return (
            f"it does something only together with {reason.removeprefix('needs_').replace('_', '-')}, "
            "which is never chosen"
        )
    return WHY_NEVER.get(reason, reason)


GIVES_AWAY = {1: "the host's network", 2: "the filter of system calls", 3: "all separation"}


def alias_lines(screen: Screen) -> Iterator[str]:
    """The alias structure in words: a line for what all main effects share, one for each column that holds pairs."""
    design = design_of(screen)
    main, rest = two_level.aliases(design)
    sizes = {round(abs(value), 6) for pairs in main.values() for value in pairs.values()}
    if not sizes:
        yield "Main effects are clear of all pairs. Columns that no factor has hold sums of pairs:"
        for column, pairs in rest.items():
            if pairs:
                yield f"  {column}: {_sum(pairs)}"
    elif sizes == {round(1 / 3, 6)}:
        yield (
            f"Each main effect holds ±1/3 of every pair of other factors ({len(next(iter(main.values())))} pairs); "
            f"so do the {len(rest)} columns that no factor has."
        )
    else:
        yield "Main effects hold whole pairs:"
        for factor, pairs in main.items():
            yield f"  {factor}: {_sum(pairs)}"
    for child, parent in design.nested:
        yield f"{child} is estimated within {parent} alone, from half the rows: twice the variance of the others."


def _sum(pairs: Mapping[str, float]) -> str:
    return " ".join(
        f"{'+' if value > 0 else '−'} "
        f"{'' if abs(abs(value) - 1) < 1e-9 else f'{abs(value):.2g} '}{pair.replace(':', ' × ')}"
        for pair, value in pairs.items()
    )
