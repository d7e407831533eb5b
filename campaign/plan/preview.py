"""What ``campaign plan`` says of a config: its blocks in order, time, disk, what the gate will ask for, and notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.environments import software
from campaign.analysis.margin import margin_of
from campaign.plan import budget, looks
from campaign.plan.design import Planned
from campaign.plan.forecast import Cell, CellSpeed, Forecast, duration, forecast, machine, size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.config.schema import Campaign


def describe(
    campaign: Campaign,
    runs: tuple[Planned, ...],
    results: Path | None = None,
    root: Path = Path("/"),
    known: Mapping[Cell, CellSpeed] | None = None,
) -> RenderableType:
    """What ``campaign plan CONFIG`` prints; a Rich console without a terminal prints the same as plain text. ``root``
    stands for the machine whose cores a pinned arm would get, ``known`` is what the shakedown measured."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    ahead = forecast(campaign, runs, results, known)
    blocks = Table(title="Blocks, in order", title_justify="left", title_style="bold", box=None, pad_edge=False)
    several = len(ahead.lane_s) > 1
    for heading in ("block", *(["unit"] if several else []), "model", "workload", "rep", "order of environments"):
        blocks.add_column(heading, justify="right" if heading in ("block", "unit", "rep") else "left")
    for row in _folded(_block_rows(runs)):
        first = row[0] if row else None
        if first is None:
            blocks.add_row("…")
            continue
        arms = " → ".join(run.environment for run in row)
        lane = [str(first.lane + 1)] if several else []
        blocks.add_row(str(first.block_index + 1), *lane, first.model, first.workload, str(first.repetition), arms)

    cells = Table(title="Cells", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("model", "environment", "workload", "runs", "s per run", "from"):
        cells.add_column(heading, justify="right" if heading in ("runs", "s per run") else "left")
    for (model, arm, workload), seconds in ahead.cell_s.items():
        cells.add_row(
            model, arm, workload, str(campaign.repetitions[model]), f"{seconds:.1f}", ahead.basis[model, arm, workload]
        )

    lines = [f"{name:<12} {text}" for name, text in _facts(campaign, ahead)]
    notes = [f"- {note}" for note in notes_on(campaign, root)]
    return Group(
        Text("\n".join(lines)),
        Text(),
        blocks,
        Text(),
        budget.describe(campaign, runs, ahead) if budget.matters(ahead) else cells,
        *([] if (looked := looks.describe(campaign, ahead)) is None else [Text(), looked]),
        Text("\n".join(["", "Gate, before every attempt:", *(f"- {line}" for line in gate_asks(campaign))])),
        Text("\n".join(["", "Notes:", *notes]) if notes else ""),
    )


def _facts(campaign: Campaign, ahead: Forecast) -> Iterator[tuple[str, str]]:
    cells = len(ahead.cell_s)
    yield "campaign", f"{campaign.name}{': ' + campaign.description if campaign.description else ''}"
    yield (
        "config",
        f"{campaign.config_hash[:12]}, seed {campaign.seed}, phase {campaign.phase}, engine {campaign.engine}",
    )
    yield (
        "runs",
        f"{ahead.runs} in {ahead.blocks} blocks, {cells} cells, order {campaign.order}, reference {campaign.reference}",
    )
    yield "margin", f"equivalent within {margin_of(campaign.margin_pct)}"
    counts = {what: sum(basis == what for basis in ahead.basis.values()) for what in ("runs", "shakedown", "estimate")}
    words = {"runs": "measured in earlier runs", "shakedown": "measured in the shakedown"}
    words["estimate"] = f"estimated for {machine(campaign).name}"
    parts = [
        f"{f'{count} of {cells} cells ' if count < cells else ''}{words[what]}"
        for what, count in counts.items()
        if count
    ]
    basis = ", ".join(parts)
    if counts["runs"] < cells:
        basis += "; no retries, no wait at the gate beyond its cooldown"
    units = f" on each of {len(ahead.lane_s)} units" if len(ahead.lane_s) > 1 else ""
    yield "time", f"{duration(ahead.total_s)}{units} ({basis})"
    if ahead.build_s:
        yield (
            "before it",
            (
                f"{', '.join(ahead.build_s)}: `campaign prepare` builds the engine, about "
                f"{duration(sum(ahead.build_s.values()))}"
            ),
        )
    hourly = size(ahead.telemetry_bytes_per_hour)
    yield (
        "disk",
        (
            f"about {size(ahead.disk_bytes)} ({hourly} of it per hour and unit for telemetry at "
            f"{campaign.telemetry.rate_hz:g} Hz)"
        ),
    )


def _block_rows(runs: tuple[Planned, ...]) -> list[tuple[Planned, ...]]:
    rows: dict[int, list[Planned]] = {}
    for run in runs:
        rows.setdefault(run.block_index, []).append(run)
    return [tuple(sorted(row, key=lambda run: run.position)) for row in rows.values()]


def _folded(rows: list[tuple[Planned, ...]], first: int = 8) -> list[tuple[Planned, ...]]:
    """All, or the first few, a gap (an empty row) and the last."""
    return rows if len(rows) <= first + 2 else [*rows[:first], (), rows[-1]]


CACHE = {
    "drop": "page cache dropped (as root; otherwise the engine's files are evicted)",
    "keep": "page cache left as it is",
    "warm": "the engine's files read into the page cache",
}


def gate_asks(campaign: Campaign) -> list[str]:
    """What must hold on the unit before an attempt starts, in words."""
    gate = campaign.gate
    asks = [f"at least {gate.cooldown_s:g} s of rest since the last attempt"]
    if (rest := campaign.rest) is not None:
        asks = [f"{asks[0]}, calibrated by {rest.pilot}: {rest.saved_s:g} s a run less than with {rest.was_s:g} s"]
    if gate.ceiling_c is not None:
        floor = f"between {gate.floor_c:g} and" if gate.floor_c is not None else "below"
        asks.append(f"temperature {floor} {gate.ceiling_c:g} °C for {gate.dwell_s:g} s (where there is a sensor)")
    else:
        asks.append("any temperature (it is recorded)")
    if gate.memory_tolerance_gib is not None:
        asks.append(f"available memory within {gate.memory_tolerance_gib:g} GiB of the unit's first reading")
    if gate.idle_power_w is not None:
        asks.append(f"GPU power below {gate.idle_power_w:g} W")
    if gate.foreign_gpu_processes == "forbid":
        asks.append("no other process on the GPU")
    states = {environment.name: environment.cache for environment in campaign.environments if environment.cache}
    for state in dict.fromkeys(states.values()):
        arms = ", ".join(name for name, own in states.items() if own == state)
        asks.append(f"for {arms}: {CACHE[state]}")
    if len(states) < len(campaign.environments):
        asks.append(f"for the others: {CACHE[gate.cache]}" if states else CACHE[gate.cache])
    late = {"pause": "pause the campaign", "skip": "skip the attempt", "flag": "go on and flag the attempt"}
    return [*asks, f"if it does not open within {gate.timeout_s:g} s: {late[gate.on_timeout]}"]


def notes_on(campaign: Campaign, root: Path = Path("/")) -> list[str]:
    """What cannot run, and valid settings that do nothing, or something else than they seem to."""
    from actors.environments.preflight import notes

    found = [f"{name} is left out: {why}" for name, why in campaign.left_out.items()]
    found += [
        f"{environment.name}: {note}" for environment in campaign.environments for note in notes(environment, root)
    ]
    return [*found, *_notes_on_options(campaign), *_notes_on_numbers(campaign)]


def _notes_on_options(campaign: Campaign) -> list[str]:
    """Of the arms: what they do not share, and what makes no difference."""
    found: list[str] = []
    reference = campaign.environment(campaign.reference)
    for environment in campaign.environments:
        found += software.unlike(environment, reference, campaign.image, campaign.engine)
        if strange := sorted(set(environment.engine_options) - {campaign.engine}):
            found.append(
                f"{environment.name}: its options for {', '.join(strange)} have no effect: "
                f"the engine is {campaign.engine}"
            )
    seen: dict[str, str] = {}
    for environment in campaign.environments:
        same = environment.model_dump_json(exclude={"name", "description"})
        if same in seen:
            found.append(
                f"{environment.name} has the same options as {seen[same]}: their difference is the harness's own noise"
            )
        seen.setdefault(same, environment.name)
    return found


def _notes_on_numbers(campaign: Campaign) -> list[str]:
    """Of order, repetitions and requests."""
    found: list[str] = []
    if campaign.order == "alternate" and len(campaign.environments) > 2:
        found.append(
            f"order: alternate leaves some of {len(campaign.environments)} environments always in the middle of a "
            "block; williams balances position and carry-over"
        )
    if campaign.order == "alternate" and (odd := [name for name, count in campaign.repetitions.items() if count % 2]):
        found.append(f"an odd number of repetitions leaves one order once more than the other ({', '.join(odd)})")
    if len(campaign.environments) == 1:
        found.append("one environment: nothing can be compared")
    if few := [f"{name} ({count})" for name, count in campaign.repetitions.items() if count < 3]:
        found.append(f"too few repetitions for an interval: {', '.join(few)}")
    for model in campaign.models:
        for workload in (campaign.asked(model.name, item.name) for item in campaign.workloads):
            if workload.kind == "throughput" and workload.concurrency is None and workload.requests < model.batch_size:
                found.append(
                    f"{workload.name} has fewer requests ({workload.requests}) than {model.name} takes at once"
                )
    return found


def plain(renderable: Any, width: int = 120) -> str:
    """A renderable as text without colour."""
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False)
    console.print(renderable)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
