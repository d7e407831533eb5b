"""How far the looks of a campaign are: which comes next, what is decided,
and how many blocks and days are still to be expected."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import looks
from campaign.plan.looks import model_ahead

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.analysis.statistics.sequential.conduct import Conduct

ASSUMED_CV_PCT = 0.5
"""From run to run, of a model without a look."""
STEP_PCT = 0.05
"""Spreads are rounded up to such steps, so that models that scatter alike share a simulation."""
BETWEEN = (
    "Between looks the report holds intervals that hold at every moment, no p values and no verdicts, and who "
    "opens it is noted; claims come from looks alone."
)


@dataclass(frozen=True)
class Standing:
    """The looks of one model and workload."""

    model: str
    workload: str
    blocks: int
    """Complete or given up, without a gap."""
    taken: int
    next_blocks: int | None
    """When the next look is due; None where there is none."""
    decided: int
    comparisons: int
    claims: tuple[str, ...]
    """``treatment metric: word``."""
    stopped: str | None
    expected_blocks: float
    """Still to come, by the spread at the last look, as if nothing differed; no level that others pass on."""
    worst_blocks: int
    expected_s: float | None
    worst_s: float | None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "claims": list(self.claims)}


def standing(results: Path) -> list[Standing]:
    """Of every model with looks, in the order of the config; empty for a campaign without looks."""
    from campaign.record import journal
    from campaign.record.store import Store

    store = Store(results)
    info = store.info()
    plan = looks.planned(info["config"])
    if plan is None:
        return []
    events, _, _ = journal.read(store.journal_path)
    conduct, state = looks.conducted(plan, events), journal.fold(events)
    rows = store.plan()
    seconds = _block_s(info["config"], results)
    found = []
    for name, cell in plan.cells().items():
        runs = [row for row in rows if (row["model"], row["workload"]) == cell]
        open_ = [row["repetition"] for row in runs if not state.done(row["run_id"])]
        blocks = min(open_, default=plan.design.n_max + 1) - 1
        found.append(_one(plan, conduct, name, cell, blocks, seconds.get(cell[0])))
    return found


def _one(
    plan: looks.Planned, conduct: Conduct, name: str, cell: tuple[str, str], blocks: int, block_s: float | None
) -> Standing:
    taken, courses = conduct.taken(name), conduct.of(name)
    stop = conduct.stops.get(name)
    claims = [
        f"{plan.of[course.key].treatment} {plan.of[course.key].metric}: {word}"
        for course in courses
        for word in course.claims
    ]
    at = plan.design.looks
    expected, worst = 0.0, 0
    if stop is None:
        worst = at[-1] - blocks
        expected = min(float(worst), expected_blocks(plan, conduct, name) - (blocks - (at[taken - 1] if taken else 0)))
    return Standing(
        *cell,
        blocks=at[stop.look - 1] if stop is not None else blocks,
        taken=taken,
        next_blocks=None if stop is not None else at[taken],
        decided=sum(course.decided for course in courses),
        comparisons=len(courses),
        claims=tuple(claims),
        stopped=None if stop is None else stop.reason,
        expected_blocks=max(0.0, expected),
        worst_blocks=worst,
        expected_s=None if block_s is None else max(0.0, expected) * block_s,
        worst_s=None if block_s is None else worst * block_s,
    )


def expected_blocks(plan: looks.Planned, conduct: Conduct, name: str) -> float:
    """Of a model that goes on: blocks after its last look, until it is decided."""
    design, taken, courses = plan.design, conduct.taken(name), conduct.of(name)
    sds = [
        course.looks[-1].shown.log_sd or course.looks[-1].shown.sd or 0.0
        for course in courses
        if course.looks and not course.decided
    ]
    cv_pct = 100 * max(sds, default=0.0) / math.sqrt(2) or ASSUMED_CV_PCT
    its = model_ahead(design, math.ceil(cv_pct / STEP_PCT - 1e-9) * STEP_PCT, len(courses))
    undecided = [1.0, *(1 - share for share in its.decided_by_look)]
    left = max(undecided[taken], 1e-3)
    bounds = [0, *design.looks]
    return sum(
        (bounds[look + 1] - bounds[look]) * min(1.0, undecided[look] / left) for look in range(taken, len(design.looks))
    )


def _block_s(config: Mapping[str, Any], results: Path) -> dict[str, float]:
    """Seconds of one block of each model: of its runs so far, else as the forecast has it. Empty where the config
    cannot be read any more."""
    from campaign.config.schema import Campaign
    from campaign.plan.design import plan
    from campaign.plan.forecast import forecast

    try:
        campaign = Campaign.model_validate_json(json.dumps(config))
    except ValueError:
        return {}
    found: dict[str, float] = {}
    for (model, _, _), seconds in forecast(campaign, plan(campaign), results).cell_s.items():
        found[model] = found.get(model, 0.0) + seconds
    return found


REASONS = {
    "all_decided": "decided",
    "futility": "given up",
    "max_blocks": "all blocks",
    "not_testable": "not comparable",
    "manual": "by hand",
}


def describe(every: Iterable[Standing], views: int) -> RenderableType:
    """For the terminal; ``views`` is how often the report was opened before the end."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from campaign.plan.forecast import duration

    rows = list(every)
    table = Table(title="Looks", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    for heading in ("blocks", "next look", "decided", "expected", "worst case"):
        table.add_column(heading, justify="right", no_wrap=True)
    several = len({its.workload for its in rows}) > 1
    for its in rows:
        after = REASONS.get(its.stopped or "", "none") if its.next_blocks is None else f"after {its.next_blocks}"
        times = [f"{blocks:.0f} blocks" for blocks in (its.expected_blocks, its.worst_blocks)]
        if its.expected_s is not None and its.worst_s is not None:
            times = [duration(its.expected_s), duration(its.worst_s)]
        if its.stopped:
            times = ["–", "–"]
        named = f"{its.model} · {its.workload}" if several else its.model
        table.add_row(named, str(its.blocks), after, f"{its.decided} of {its.comparisons}", *times)
    lines = [Text(f"claimed: {its.model} {claim}", "dim") for its in rows for claim in its.claims]
    going = [its for its in rows if not its.stopped]
    words = [BETWEEN] if going else []
    if going and all(its.expected_s is not None for its in going):
        expected, worst = (sum(getattr(its, name) or 0.0 for its in going) for name in ("expected_s", "worst_s"))
        words.insert(
            0,
            f"Still to come: {duration(expected)} expected, {duration(worst)} at most, by the spread at the last "
            "look and as if nothing differed.",
        )
    if views:
        words.append(f"The report was opened {views} time{'' if views == 1 else 's'} before the end.")
    return Group(table, *lines, Text(" ".join(words), "dim"))


def show(results: Path, put: Callable[[RenderableType], None]) -> None:
    """Which look is next, what is decided, how long it may still take; nothing for a campaign without looks."""
    from campaign.record import interim_views

    if stand := standing(results):
        put(describe(stand, len(interim_views.read(results))))
