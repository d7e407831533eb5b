"""The shakedown: every cell once with a handful of requests before anything is measured.

It answers what nobody should find out on day nine: which cells cannot run and why, how fast each starts and answers,
whether what it answers makes sense. It fills the compile caches, sets the hang limits and replaces the forecast. It is
journalled, kept apart from the results, and repeated only for what changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.types import Attempt, Evidence, Gate, Workload
from campaign.plan.forecast import CellSpeed, duration, estimate_s
from campaign.run.acceptance import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.config.schema import Campaign
    from campaign.plan.design import Planned
    from campaign.record.journal import State

SUFFIX = ".shakedown"
"""Of a workload's name: what it became for the shakedown."""

ESSENTIAL = frozenset(
    {
        "outcome",
        "exit_code",
        "report",
        "requests_answered",
        "tokens_generated",
        "model_identity",
        "primary_metrics",
        "coherence",
    }
)
"""Checks of the verdict that a cell must pass to be able to run. Temperature, telemetry and throttling judge a
measurement, and this is none."""

REQUESTS = 4
"""At least so many, and two batches: the second shows the rate without the first one's compilation."""


class Cell(NamedTuple):
    model: str
    environment: str
    workload: str

    def __str__(self) -> str:
        return f"{self.model}__{self.environment}__{self.workload}"


@dataclass(frozen=True)
class Finding:
    """What the shakedown found of one cell on one unit."""

    cell: Cell
    unit: str
    fingerprint: str
    """Of everything that decides how the cell runs; with the same one it need not be tried again."""
    passed: bool
    attempt: int
    cause: str = ""
    """Why it cannot run, in one line."""
    remedy: str = ""
    start_s: float | None = None
    run_s: float | None = None
    tok_s: float | None = None
    power_w: float | None = None

    @property
    def speed(self) -> CellSpeed | None:
        return CellSpeed(self.start_s, self.tok_s) if self.passed and self.start_s is not None and self.tok_s else None

    def to_json(self) -> dict[str, Any]:
        rest = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "cell"}
        return {**self.cell._asdict(), **rest}

    @classmethod
    def from_json(cls, event: Mapping[str, Any]) -> Finding:
        own = {name: event[name] for name in cls.__dataclass_fields__ if name in event}
        return cls(cell=Cell(event["model"], event["environment"], event["workload"]), **own)


def cells(runs: Iterable[Planned]) -> list[Cell]:
    """Each once, in the order of the plan."""
    return list(dict.fromkeys(Cell(run.model, run.environment, run.workload) for run in runs))


def small(campaign: Campaign, model: str, workload: str) -> Workload:
    """The workload with a handful of requests, under a name of its own."""
    asked = campaign.asked(model, workload)
    together = asked.concurrency or (1 if asked.kind == "latency" else campaign.model(model).batch_size)
    requests = min(asked.requests, max(REQUESTS, 2 * together))
    return asked.model_copy(
        update={
            "name": f"{asked.name[: 64 - len(SUFFIX)]}{SUFFIX}",
            "requests": requests,
            "concurrency": None if asked.concurrency is None else min(asked.concurrency, requests),
            "warmup_requests": min(asked.warmup_requests, 1),
        }
    )


def gate_of(gate: Gate) -> Gate:
    """What a shakedown waits for: memory given back and no foreign process, for a minute; it needs no cold start."""
    return gate.model_copy(
        update={
            "cooldown_s": 0.0,
            "ceiling_c": None,
            "floor_c": None,
            "dwell_s": 0.0,
            "idle_power_w": None,
            "timeout_s": 60.0,
            "on_timeout": "flag",
        }
    )


def fingerprint(order: Attempt) -> str:
    """Of model, environment, workload, prepared files and userland."""
    parts = {
        "engine": order.engine,
        "model": order.model.model_dump(mode="json"),
        "environment": order.environment.model_dump(mode="json"),
        "workload": order.workload.model_dump(mode="json"),
        "prepared": order.prepared.digests,
        "userland": order.image.userland if order.image else None,
        "gpu": order.gpu_uuid,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def finding(cell: Cell, order: Attempt, evidence: Evidence, verdict: Verdict) -> Finding:
    """What an unmeasured attempt says of its cell."""
    wrong = [check for check in verdict.checks if check.passed is False and check.check in ESSENTIAL]
    cause, _, remedy = (evidence.failure or "").partition("\n")
    if wrong and not cause:
        cause = "; ".join(f"{check.check}: {check.figure}, asked {check.limit}" for check in wrong)
    values = {metric.name: metric.value for metric in evidence.metrics}
    ran_s = evidence.telemetry.duration_s if evidence.telemetry else None
    steady_s = values.get("steady_s")
    return Finding(
        cell=cell,
        unit=evidence.unit,
        fingerprint=fingerprint(order),
        passed=not wrong,
        attempt=evidence.attempt,
        cause=cause if wrong else "",
        remedy=remedy if wrong else "",
        start_s=max(0.0, ran_s - steady_s) if ran_s is not None and steady_s is not None else None,
        run_s=ran_s,
        tok_s=values.get("token_throughput_tok_s"),
        power_w=values.get("power_mean_w"),
    )


@dataclass(frozen=True)
class LeftOut:
    """Cells that the campaign goes on without: those that cannot run,
    and those that would be measured for no comparison."""

    reasons: dict[Cell, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.reasons)


def left_out(every: Iterable[Cell], failing: Mapping[Cell, str], reference: str) -> LeftOut:
    """``failing`` with their causes, and what they leave without anything to compare with: a model and workload whose
    reference is gone, or which has nothing left beside the reference."""
    every = list(every)
    reasons = dict(failing)
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in every:
        groups.setdefault((cell.model, cell.workload), []).append(cell)
    for group in groups.values():
        gone = [cell for cell in group if cell in failing]
        kept = [cell for cell in group if cell not in failing]
        if not gone or not kept or len(group) < 2:
            continue
        if all(cell.environment != reference for cell in kept) or len(kept) == 1:
            names = ", ".join(cell.environment for cell in gone)
            reasons |= dict.fromkeys(kept, f"nothing to compare with: {names} cannot run")
    return LeftOut(reasons)


def speeds(state: State, units: Iterable[str] = ()) -> dict[tuple[str, str, str], CellSpeed]:
    """What the journal's shakedowns measured, by cell; of several units the slowest start and rate count.
    All units unless named."""
    found: dict[tuple[str, str, str], CellSpeed] = {}
    chosen = set(units)
    for (unit, _), event in state.shakedowns.items():
        one = Finding.from_json(event)
        if one.speed is None or (chosen and unit not in chosen):
            continue
        other = found.get(one.cell, one.speed)
        found[one.cell] = CellSpeed(max(other.start_s, one.speed.start_s), min(other.tok_s, one.speed.tok_s))
    return found


def total_s(
    campaign: Campaign,
    runs: Iterable[Planned],
    known: Mapping[tuple[str, str, str], CellSpeed],
    without: Iterable[Cell],
) -> float:
    """Seconds of the longest lane without those cells, at the speeds that are known; the others count as forecast."""
    gone = set(without)
    lanes: dict[int, float] = {}
    for run in runs:
        if Cell(run.model, run.environment, run.workload) not in gone:
            lanes[run.lane] = lanes.get(run.lane, 0.0) + estimate_s(campaign, run, known=known)
    return max(lanes.values(), default=0.0)


def describe(
    campaign: Campaign,
    findings: Iterable[Finding],
    without: LeftOut,
    *,
    total_s: float,
    without_s: float,
) -> RenderableType:
    """The table: what will run, how fast, what will not and why, and how long it all takes."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    findings = list(findings)
    several = len({found.unit for found in findings}) > 1
    table = Table(title="Shakedown", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in (*(["unit"] if several else []), "model", "environment", "workload"):
        table.add_column(heading, overflow="fold")
    for heading in ("start", "tok/s", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in findings:
        idle = without.reasons.get(found.cell)
        word = (
            Text("cannot run", "bold red")
            if not found.passed
            else Text("left out", "yellow")
            if idle
            else Text("runs", "green")
        )
        table.add_row(
            *([found.unit] if several else []),
            found.cell.model,
            found.cell.environment,
            found.cell.workload,
            "–" if found.start_s is None else duration(found.start_s),
            "–" if found.tok_s is None else f"{found.tok_s:.4g}",
            word,
        )
    lines: list[Text] = []
    for found in findings:
        if not found.passed:
            lines.append(Text(f"{found.cell.model} · {found.cell.environment} · {found.cell.workload}: {found.cause}"))
            lines += [Text(f"  -> {line}", "dim") for line in found.remedy.splitlines()]
    lines += [
        Text(f"{cell.model} · {cell.environment} · {cell.workload}: {why}", "yellow")
        for cell, why in without.reasons.items()
        if why.startswith("nothing to compare with")
    ]
    lines.append(
        Text(
            f"The campaign takes about {duration(total_s)} with every cell"
            if without
            else f"The campaign takes about {duration(total_s)}"
        )
    )
    if without:
        lines.append(
            Text(f"and about {duration(without_s)} without the {len(without.reasons)} that cannot run or be compared.")
        )
    return Group(table, Text(), *lines)
