"""What a long campaign spends on each model, and what it would cost less: fewer requests, larger batches, fewer
repetitions, more units, each with what it does to precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.types import Model
from campaign.plan.design import Planned, plan
from campaign.plan.forecast import Cell, CellSpeed, Forecast, duration, parts_s

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.config.schema import Campaign

LONG_S = 2 * 86400.0
"""From here on the budget is shown in place of the cells."""
LONG_RUN_S = 3600.0
"""Answering for longer than this is what scaling aims at."""
FEW_REQUESTS = 104
"""Thirteen batches of eight: what the first study on this machine had, whose runs varied by 0.14 to 0.48 %."""
LARGER_BATCH = 8
SPREAD_PCT = 0.5
"""Coefficient of variation of throughput from run to run that precision is told for: the largest of the first study."""
COMPARISONS = 30
"""Ten models by three metrics, corrected by Bonferroni."""


@dataclass(frozen=True)
class Share:
    """One model's part. Seconds are of one run, averaged over its environments and workloads, and of all."""

    model: str
    runs: int
    requests: int
    start_s: float
    answering_s: float
    total_s: float


@dataclass(frozen=True)
class Way:
    """One way to spend less."""

    change: str
    total_s: float
    precision: str


def matters(ahead: Forecast) -> bool:
    return ahead.total_s >= LONG_S


def shares(
    campaign: Campaign,
    runs: tuple[Planned, ...],
    cell_s: dict[Cell, float],
    known: Mapping[Cell, CellSpeed] | None = None,
) -> list[Share]:
    """By model, in the config's order. Totals take cells with earlier runs as these were, the parts are of the
    shakedown or estimates."""
    found = []
    for model in campaign.models:
        own = [run for run in runs if run.model == model.name]
        parts = [parts_s(campaign, run, known) for run in own]
        found.append(
            Share(
                model=model.name,
                runs=len(own),
                requests=max(campaign.asked(model.name, workload.name).requests for workload in campaign.workloads),
                start_s=sum(start for start, _ in parts) / len(parts),
                answering_s=sum(answering for _, answering in parts) / len(parts),
                total_s=sum(cell_s[run.model, run.environment, run.workload] for run in own),
            )
        )
    return found


def ways(campaign: Campaign, runs: tuple[Planned, ...], known: Mapping[Cell, CellSpeed] | None = None) -> list[Way]:
    """What would make it shorter, and all of it together last. A speed that is known holds for its batch alone."""
    from campaign.analysis.statistics.power import detectable_d

    lanes = 1 + max(run.lane for run in runs)
    long = [model for model in campaign.models if _answering_s(campaign, runs, model, known) > LONG_RUN_S]
    names = ", ".join(model.name for model in long)
    found: list[Way] = []
    everything, remain = campaign, dict(known or {})
    if long:
        fewer = _with_requests(campaign, long)
        everything = _with_requests(everything, long)
        precision = (
            f"runs of {FEW_REQUESTS} requests varied by 0.14 to 0.48 % in throughput: more requests lower at most "
            "that. P99 latency rests on one request of a run; pool the runs for it"
        )
        found.append(Way(f"{FEW_REQUESTS} requests for {names}", _total_s(fewer, lanes, known), precision))
    if small := [model for model in long if model.batch_size < LARGER_BATCH]:
        larger = _with_batch(campaign, small)
        everything = _with_batch(everything, small)
        remain = {cell: speed for cell, speed in remain.items() if cell[0] not in {model.name for model in small}}
        precision = "the same; but another point of operation than the methodology's, to be said in the paper"
        which = ", ".join(model.name for model in small)
        found.append(Way(f"batch of {LARGER_BATCH} for {which}", _total_s(larger, lanes, remain), precision))
    now = min(campaign.repetitions.values())
    if campaign.sequential is not None:  # looks are over the blocks of one unit, and end it early by themselves
        return found
    if now > 10:
        few = campaign.model_copy(update={"repetitions": dict.fromkeys(campaign.repetitions, 10)})
        alpha = 0.05 / COMPARISONS
        before, after = (SPREAD_PCT * detectable_d(n, n, alpha) for n in (now, 10))
        precision = (
            f"smallest difference found with power 0.8 goes from {before:.2f} to {after:.2f} % (spread "
            f"{SPREAD_PCT:g} %, {COMPARISONS} comparisons)"
        )
        found.append(Way("10 repetitions", _total_s(few, lanes, known), precision))
    precision = "the same number of runs; the unit becomes a factor, and the answer no longer rests on one machine"
    found.append(Way(f"{2 * lanes} units", _total_s(campaign, 2 * lanes, known), precision))
    if everything is not campaign:
        precision = f"as above, with all {now} repetitions"
        found.append(Way(f"requests, batch and {2 * lanes} units", _total_s(everything, 2 * lanes, remain), precision))
    return found


def _answering_s(
    campaign: Campaign, runs: tuple[Planned, ...], model: Model, known: Mapping[Cell, CellSpeed] | None
) -> float:
    return max(parts_s(campaign, run, known)[1] for run in runs if run.model == model.name)


def _with_requests(campaign: Campaign, models: list[Model]) -> Campaign:
    from campaign.config.schema import Override

    changes = dict(campaign.overrides)
    for model in models:
        changes[model.name] = changes.get(model.name, Override()).model_copy(update={"requests": FEW_REQUESTS})
    return campaign.model_copy(update={"overrides": changes})


def _with_batch(campaign: Campaign, models: list[Model]) -> Campaign:
    names = {model.name for model in models}
    changed = tuple(
        model.model_copy(update={"batch_size": LARGER_BATCH}) if model.name in names else model
        for model in campaign.models
    )
    return campaign.model_copy(update={"models": changed})


def _total_s(campaign: Campaign, lanes: int, known: Mapping[Cell, CellSpeed] | None) -> float:
    spent = [0.0] * lanes
    for run in plan(campaign, lanes):
        spent[run.lane] += sum(parts_s(campaign, run, known))
    return max(spent)


def brief(seconds: float) -> str:
    """``11.2 min``, ``4.2 h``, ``10.9 d``."""
    for length, unit in ((86400, "d"), (3600, "h")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.1f} min"


def _named(campaign: Campaign, names: set[str], without: bool = False) -> str:
    return ", ".join(model.name for model in campaign.models if (model.name in names) is not without)


# --- in words --------------------------------------------------------------------------------------------------


def describe(campaign: Campaign, runs: tuple[Planned, ...], ahead: Forecast) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = shares(campaign, runs, ahead.cell_s, ahead.known)
    everything = sum(share.total_s for share in found)
    table = Table(title="Budget by model", title_justify="left", title_style="bold", box=None, pad_edge=False)
    headings = ("model", "batch", "requests", "start", "answering", "runs", "all runs", "share")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for share in found:
        table.add_row(
            share.model,
            str(campaign.model(share.model).batch_size),
            str(share.requests),
            brief(share.start_s),
            brief(share.answering_s),
            str(share.runs),
            brief(share.total_s),
            f"{100 * share.total_s / everything:.0f} %",
        )
    lines = ["start: the gate's cooldown and dwell, then from start to ready; answering: warm-up and requests"]
    guessed = {cell[0] for cell, basis in ahead.basis.items() if basis == "estimate"}
    if len(guessed) < len(found):
        lines.append(
            f"Measured: {_named(campaign, guessed, without=True)}. Estimated: {_named(campaign, guessed) or 'none'}."
        )
    largest = ""
    most = max(found, key=lambda share: share.total_s)
    if most.total_s > everything / 4:
        lines.append(f"{most.model} alone takes {duration(most.total_s)}.")
        largest = f", {duration(1.5 * most.total_s)} of it for {most.model}"
    if campaign.phase == "baseline" and len(campaign.environments) == 2:
        runs_each = 3 * most.runs // 2
        lines.append(
            f"With the optimised container of phase 2D as a third arm ({runs_each} runs of each model) it is "
            f"{duration(1.5 * ahead.total_s)}{largest}."
        )
    cheaper = Table(title="Ways to spend less", title_justify="left", title_style="bold", box=None, pad_edge=False)
    cheaper.add_column("change")
    cheaper.add_column("the campaign", justify="right", no_wrap=True)
    cheaper.add_column("precision")
    for way in ways(campaign, runs, ahead.known):
        cheaper.add_row(way.change, brief(way.total_s), way.precision)
    how = (
        "Requests, repetitions and batch size of one model stand under `overrides` in the campaign; "
        "units are Ray nodes."
    )
    return Group(table, Text("\n".join(lines)), Text(), cheaper, Text(how, style="dim"))
