"""The looks of a campaign with a sequential design: planned from its config, taken from its folder,
frozen in its journal.

A look is one event ``look`` of the journal: the attempts that it saw, what they showed, and what followed. Everything
said later comes from there, so that a run measured again afterwards changes nothing that was decided; ``campaign
verify`` makes each anew from the attempts that there were.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from campaign.analysis.statistics.sequential.conduct import Conduct, Key
    from campaign.analysis.statistics.sequential.design import Design
    from campaign.analysis.statistics.sequential.look import Shown
    from campaign.record.journal import State

Event = dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """What a key of the design compares."""

    model: str
    workload: str
    treatment: str
    reference: str
    metric: str


@dataclass(frozen=True)
class Planned:
    """The design of a campaign, and its comparisons."""

    design: Design
    of: Mapping[Key, Compared]

    @property
    def digest(self) -> str:
        """sha256 of the design, as every look records it."""
        text = json.dumps(self.design.settings() | {"comparisons": [key.label for key in self.of]}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def cells(self) -> dict[str, tuple[str, str]]:
        """The design's name of a model to model and workload."""
        return {key.model: (its.model, its.workload) for key, its in self.of.items()}


def planned(config: Mapping[str, Any] | None) -> Planned | None:
    """The looks of a campaign with this resolved config (as ``campaign.json`` has it); None where it has none."""
    if not config or not config.get("sequential"):
        return None
    from campaign.analysis.statistics.contrasts import plan_contrasts, roles_of
    from campaign.analysis.statistics.metrics import known
    from campaign.analysis.statistics.sequential.conduct import Key
    from campaign.analysis.statistics.sequential.design import Design
    from campaign.analysis.statistics.sequential.spending import Spending

    told, reference = config["sequential"], config["reference"]
    arms = [arm["name"] for arm in config["environments"]]
    arms = [reference, *(arm for arm in arms if arm != reference)]
    contrasts = plan_contrasts(config["phase"], arms, roles_of(config) or reference)
    metrics = [name for name, fact in known().items() if fact.role == "confirmatory" and fact.label is not None]
    workloads = [workload["name"] for workload in config["workloads"]]
    of: dict[Key, Compared] = {}
    for model in (model["name"] for model in config["models"]):
        for workload in workloads:
            cell = f"{model}/{workload}" if len(workloads) > 1 else model
            for contrast in contrasts:
                pair = f"{contrast.treatment}_vs_{contrast.reference}" if len(contrasts) > 1 else ""
                for metric in metrics:
                    its = Compared(model, workload, contrast.treatment, contrast.reference, metric)
                    of[Key(cell, metric, pair)] = its
    same = ("scale", "t_levels", "multiplicity", "futility")
    design = Design(
        looks=tuple(told["looks"]),
        m=len(of),
        margin_pct=config["margin_pct"],
        spending=Spending(told["spending"], told["gamma"]),
        **{name: told[name] for name in same},
    )
    return Planned(design, of)


def conducted(plan: Planned, events: Iterable[Event]) -> Conduct:
    """How far the campaign is, from the looks in its journal."""
    from campaign.analysis.statistics.sequential.conduct import Conduct

    conduct = Conduct(plan.design, list(plan.of))
    for event in events:
        if event["event"] == "look":
            conduct.take(_name(plan, event), dict(_shown(plan, event)))
    return conduct


def _name(plan: Planned, event: Event) -> str:
    return next(name for name, cell in plan.cells().items() if cell == (event["model"], event["workload"]))


def _shown(plan: Planned, event: Event) -> Iterator[tuple[Key, Shown]]:
    """What a look recorded of each comparison."""
    from campaign.analysis.statistics.sequential.look import Shown

    by_name = {its: key for key, its in plan.of.items()}
    for told in event["comparisons"]:
        its = Compared(event["model"], event["workload"], told["treatment"], told["reference"], told["metric"])
        yield by_name[its], Shown.from_json(told["shown"])


class Schedule:
    """Which runs must be done before a look is due."""

    def __init__(self, plan: Planned, rows: Iterable[Mapping[str, Any]]) -> None:
        self.plan = plan
        self.runs: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for row in rows:
            self.runs.setdefault((row["model"], row["workload"]), []).append((row["repetition"], row["run_id"]))
        for its in self.runs.values():
            its.sort(reverse=True)  # what is not done yet is found at once

    def due(self, conduct: Conduct, state: State) -> str | None:
        """The design's name of the first model, in the order of the config, whose next look is due: every run of its
        blocks is complete or given up."""
        for name, cell in self.plan.cells().items():
            if name in conduct.stops:
                continue
            last = conduct.design.looks[conduct.taken(name)]
            if all(number > last or state.done(run_id) for number, run_id in self.runs[cell]):
                return name
        return None


def take(table: pd.DataFrame, plan: Planned, conduct: Conduct, name: str) -> Event:
    """Take the next look of a model in ``conduct``, on the campaign's run table (``inputs.run_table``);
    returns the fields of its event."""
    model, workload = plan.cells()[name]
    blocks = plan.design.looks[conduct.taken(name)]
    found, attempts = shown(table, plan, (model, workload), blocks)
    event = conduct.take(name, found)
    cells = plan.cells()
    return {
        "model": model,
        "workload": workload,
        "look": event.look,
        "blocks": blocks,
        "design": plan.digest,
        "comparisons": [
            {"treatment": its.treatment, "reference": its.reference, "metric": its.metric, "shown": told(found[key])}
            for key, its in plan.of.items()
            if key in found
        ],
        "attempts": attempts,
        "new_claims": list(event.new_claims),
        "stopped": {"__".join(cells[stopped]): conduct.stops[stopped].reason for stopped in event.stopped},
    }


def told(its: Shown) -> dict[str, Any]:
    """As the journal keeps it."""
    from campaign.analysis.statistics.output import json_ready

    found: dict[str, Any] = json_ready(its.to_json())
    return found


def shown(
    table: pd.DataFrame, plan: Planned, cell: tuple[str, str], blocks: int
) -> tuple[dict[Key, Shown], dict[str, list[list[Any]]]]:
    """The statistics of the first ``blocks`` blocks of a cell, and the attempts (run and number)
    of each arm that they rest on."""
    from campaign.analysis.statistics.sequential.look import Shown
    from campaign.analysis.statistics.sequential.table import of_blocks
    from campaign.analysis.statistics.sets import alike_ceiling, within_protocol
    from campaign.analysis.statistics.table import check_runs

    keys = {key: its for key, its in plan.of.items() if (its.model, its.workload) == cell}
    if not table.empty:
        table = table[(table["model"] == cell[0]) & (table["workload"] == cell[1]) & (table["repetition"] <= blocks)]
    if table.empty:
        return {key: Shown("no_data", 0) for key in keys}, {}
    for its in keys.values():
        if its.metric not in table:
            table = table.assign(**{its.metric: float("nan")})
    (one,) = check_runs(table.drop(columns="unit")).cells
    arms = alike_ceiling(one.arms)
    found = {
        key: of_blocks(arms.get(its.treatment), arms.get(its.reference), its.metric, blocks, plan.design)
        for key, its in keys.items()
    }
    first = next(iter(keys.values())).metric
    attempts = {
        name: [[arm.run_ids[i], int(arm.attempt[i])] for i in arm.lowest(within_protocol(arm, first))]
        for name, arm in arms.items()
    }
    return found, attempts


def problems(
    table_at: Callable[[int], pd.DataFrame], plan: Planned, events: Iterable[Event]
) -> Iterator[tuple[int, str]]:
    """Line of the journal and what is wrong with it, for the first look that the attempts of its time do not give.
    ``table_at`` gives the run table of the attempts that had finished before an event (its ``seq``)."""
    from campaign.analysis.statistics.sequential.conduct import Conduct

    conduct = Conduct(plan.design, list(plan.of))
    for event in events:
        if event["event"] != "look":
            continue
        line = int(event["seq"]) + 1
        if event["design"] != plan.digest:
            yield line, "its design is not that of the config"
            return
        again = take(table_at(event["seq"]), plan, conduct, _name(plan, event))
        wrong = next((name for name, value in again.items() if not _alike(event.get(name), value)), None)
        if wrong is not None:
            yield line, f"the attempts give other {wrong.replace('_', ' ')}"
            return


def _alike(written: Any, found: Any) -> bool:
    """Equal, numbers but for what another machine's rounding may change."""
    if isinstance(found, Mapping):
        same = isinstance(written, Mapping) and set(written) == set(found)
        return same and all(_alike(written[key], value) for key, value in found.items())
    if isinstance(found, list):
        same = isinstance(written, list) and len(written) == len(found)
        return same and all(map(_alike, written, found))
    if isinstance(found, float) and isinstance(written, int | float):
        return math.isclose(written, found, rel_tol=1e-6, abs_tol=1e-12)
    return bool(written == found)
