"""What a campaign will take before any of it runs: order, time, disk, and what the gate will ask for.

Times are measured where a results folder of the same cells exists, otherwise estimated from bytes and operations.
An estimate says so: it is for choosing repetitions and for going home, not for a paper.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from actors.types import Model, Workload
from campaign.plan import Planned

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.config import Campaign

Cell = tuple[str, str, str]
"""Model, environment, workload."""


@dataclass(frozen=True)
class Machine:
    """What an estimate assumes of the hardware."""

    name: str
    bytes_per_s: float
    """Of the memory: at its peak where ``shares``, else attainable."""
    flop_per_s: float
    """Attainable in prefill and in large batches."""
    step_s: float
    """Launch and sampling, per decoding step."""
    load_bytes_per_s: float
    start_s: float
    """Process start to ready, weights aside."""
    shares: bool = False
    """Whether :func:`attained` says what share of the peak a model reaches."""


SPARK = Machine("a DGX Spark", 273e9, 90e12, 1e-3, 1e9, 360.0, shares=True)
"""GB10: 273 GB/s, about 90 TFLOP/s in BF16; six minutes from start to ready with the engine's build, as a first study on
this machine showed."""
CPU = Machine("a CPU of two cores", 8e9, 20e9, 1e-3, 0.5e9, 0.7)
"""A laptop or a small virtual machine, one or two threads."""

CONTAINER_S = 0.5
"""Creating, starting and removing a container, beyond a plain process."""
RUN_BYTES = 60_000
"""metadata, command, logs and report of one attempt."""
REQUEST_BYTES = 40
"""One row of requests.parquet, without its inter-token latencies."""
SAMPLE_BYTES = 60
"""One telemetry row in Parquet, compressed."""

BYTES_PER_WEIGHT = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 1.07,
    "fp8": 1.0,
    "awq": 0.55,
    "int4": 0.55,
    "nvfp4": 0.57,
}


FOUR_BITS = ("awq", "int4", "nvfp4")


def attained(model: Model) -> float:
    """Share of the memory's peak that decoding reaches on GB10: 0.60 to 0.75 with weights of 4 bits; else 0.65 for 3 GB of
    weights (the smaller the model, the more of a step is not reading) to 0.82 from 11 GB on. From published runs."""
    if any(name in (model.precision or "") for name in FOUR_BITS):
        return 0.65
    return min(0.82, 0.60 + 0.02 * weight_bytes(model) / 1e9)


def machine(campaign: Campaign) -> Machine:
    """llama.cpp is taken to run on the CPU, the other engines on a Spark."""
    return CPU if campaign.engine == "llamacpp" else SPARK


def estimate_s(campaign: Campaign, run: Planned, measured: dict[Cell, float] | None = None) -> float:
    """Seconds that one run occupies its unit, gate included: the median of earlier runs of its cell where there are any,
    otherwise a figure from the model's bytes and operations. Retries and a gate that has to wait are not in it."""
    known = (measured or {}).get((run.model, run.environment, run.workload))
    if known is not None:
        return known
    return sum(parts_s(campaign, run))


def parts_s(campaign: Campaign, run: Planned) -> tuple[float, float]:
    """Seconds of one run's gate and start, and of its requests, estimated."""
    model, workload, where = campaign.model(run.model), campaign.asked(run.model, run.workload), machine(campaign)
    container_s = CONTAINER_S if campaign.environment(run.environment).kind == "docker" else 0.0
    load_s = weight_bytes(model) / where.load_bytes_per_s
    gate_s = campaign.gate.cooldown_s + campaign.gate.dwell_s
    return gate_s + where.start_s + container_s + load_s, _answering_s(model, workload, where)


def _answering_s(model: Model, workload: Workload, where: Machine) -> float:
    """Warm-up and measured requests: prefill bound by operations, each decoding step by the larger of both."""
    together = workload.concurrency or (1 if workload.kind == "latency" else model.batch_size)
    requests = workload.requests + workload.warmup_requests
    flop_per_token = 2.0 * (model.active_parameters or model.parameters or weight_bytes(model) / 2)
    bytes_per_s = where.bytes_per_s * (attained(model) if where.shares else 1.0)
    step_s = max(step_bytes(model, workload, together) / bytes_per_s, together * flop_per_token / where.flop_per_s)
    steps = math.ceil(requests / together) * workload.output_tokens
    return requests * workload.input_tokens * flop_per_token / where.flop_per_s + steps * (step_s + where.step_s)


def step_bytes(model: Model, workload: Workload, together: int) -> float:
    """Read from memory in one decoding step: weights, and the KV cache of all sequences at half of their output. Of a
    mixture of experts each sequence touches its own share; experts are taken as drawn at random."""
    share = 1.0
    if model.parameters and model.active_parameters:
        share = 1 - (1 - model.active_parameters / model.parameters) ** together
    context = workload.input_tokens + workload.output_tokens / 2
    return weight_bytes(model) * share + together * context * (model.kv_bytes_per_token or 0)


def weight_bytes(model: Model) -> float:
    """As the model says, or from its parameters, or from its random shape; 2 GB where nothing is known."""
    if model.weight_bytes:
        return float(model.weight_bytes)
    if model.parameters:
        return model.parameters * BYTES_PER_WEIGHT.get((model.precision or "f16").lower(), 2.0)
    shape = model.random_weights
    if shape is None:
        return 2e9
    per_layer = (
        shape.hidden_size**2 * (2 + 2 * shape.kv_heads / shape.heads) + 3 * shape.hidden_size * shape.feed_forward_size
    )
    weights = shape.layers * per_layer + 2 * shape.vocabulary * shape.hidden_size
    return weights * BYTES_PER_WEIGHT[shape.precision]


def measured_s(results: Path) -> dict[Cell, float]:
    """Median seconds per cell in a results folder: from the end of one attempt to the end of the next on its unit, so that
    gate, start and evidence are counted. The first attempt of a unit tells nothing; the median bears a pause or two."""
    ends: dict[str, list[tuple[int, Cell]]] = {}
    for file in results.glob("attempts/*/*/metadata.json"):
        try:
            found = json.loads(file.read_text())
            cell = (found["model"], found["environment"], found["workload"])
            ends.setdefault(found["unit"], []).append((int(found["ended_utc_ns"]), cell))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a campaign may be writing it now
    durations: dict[Cell, list[float]] = {}
    for attempts in ends.values():
        attempts.sort()
        for (before, _), (ended, cell) in pairwise(attempts):
            durations.setdefault(cell, []).append((ended - before) / 1e9)
    return {cell: median(values) for cell, values in durations.items()}


@dataclass(frozen=True)
class Forecast:
    """``lane_s`` are the seconds of each unit; the longest is the campaign's."""

    runs: int
    blocks: int
    lane_s: tuple[float, ...]
    cell_s: dict[Cell, float]
    measured_cells: int
    disk_bytes: int
    telemetry_bytes_per_hour: int

    @property
    def total_s(self) -> float:
        return max(self.lane_s)


def forecast(campaign: Campaign, runs: tuple[Planned, ...], results: Path | None = None) -> Forecast:
    """``results`` is a folder of the same or a similar campaign, finished or not."""
    measured = measured_s(results) if results is not None else {}
    cell_s: dict[Cell, float] = {}
    lanes = [0.0] * (1 + max(run.lane for run in runs))
    answered = 0
    for run in runs:
        cell = (run.model, run.environment, run.workload)
        if cell not in cell_s:
            cell_s[cell] = estimate_s(campaign, run, measured)
        lanes[run.lane] += cell_s[cell]
        workload = campaign.asked(run.model, run.workload)
        answered += workload.requests * (REQUEST_BYTES + 4 * workload.output_tokens)
    rows_per_hour = campaign.telemetry.rate_hz * 3600
    telemetry = sum(lanes) / 3600 * rows_per_hour * SAMPLE_BYTES
    return Forecast(
        runs=len(runs),
        blocks=1 + max(run.block_index for run in runs),
        lane_s=tuple(lanes),
        cell_s=cell_s,
        measured_cells=sum(cell in measured for cell in cell_s),
        disk_bytes=int(len(runs) * RUN_BYTES + answered + telemetry),
        telemetry_bytes_per_hour=int(rows_per_hour * SAMPLE_BYTES),
    )


# --- in words --------------------------------------------------------------------------------------------------


def describe(
    campaign: Campaign, runs: tuple[Planned, ...], results: Path | None = None, root: Path = Path("/")
) -> RenderableType:
    """What ``campaign plan CONFIG`` prints; a Rich console without a terminal prints the same as plain text. ``root`` stands for
    the machine whose cores a pinned arm would get."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from campaign import budget

    ahead = forecast(campaign, runs, results)
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
    for heading in ("model", "environment", "workload", "runs", "s per run"):
        cells.add_column(heading, justify="right" if heading in ("runs", "s per run") else "left")
    for (model, arm, workload), seconds in ahead.cell_s.items():
        cells.add_row(model, arm, workload, str(campaign.repetitions[model]), f"{seconds:.1f}")

    lines = [f"{name:<12} {text}" for name, text in _facts(campaign, ahead)]
    notes = [f"- {note}" for note in notes_on(campaign, root)]
    return Group(
        Text("\n".join(lines)),
        Text(),
        blocks,
        Text(),
        budget.describe(campaign, runs, ahead) if budget.matters(ahead) else cells,
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
    if ahead.measured_cells == cells:
        basis = "measured in earlier runs"
    else:
        rest = f", {ahead.measured_cells} of {cells} cells measured" if ahead.measured_cells else ""
        basis = f"estimated for {machine(campaign).name}{rest}; no retries, no wait at the gate beyond its cooldown"
    units = f" on each of {len(ahead.lane_s)} units" if len(ahead.lane_s) > 1 else ""
    yield "time", f"{duration(ahead.total_s)}{units} ({basis})"
    hourly = size(ahead.telemetry_bytes_per_hour)
    yield (
        "disk",
        f"about {size(ahead.disk_bytes)} ({hourly} of it per hour and unit for telemetry at {campaign.telemetry.rate_hz:g} Hz)",
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
    from actors.environments.trial import notes

    found = [f"{name} is left out: {why}" for name, why in campaign.left_out.items()]
    found += [
        f"{environment.name}: {note}" for environment in campaign.environments for note in notes(environment, root)
    ]
    seen: dict[str, str] = {}
    for environment in campaign.environments:
        same = environment.model_dump_json(exclude={"name", "description"})
        if same in seen:
            found.append(
                f"{environment.name} has the same options as {seen[same]}: their difference is the harness's own noise"
            )
        seen.setdefault(same, environment.name)
    if campaign.order == "alternate" and len(campaign.environments) > 2:
        found.append(
            f"order: alternate leaves some of {len(campaign.environments)} environments always in the middle of a block; "
            "williams balances position and carry-over"
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


def duration(seconds: float) -> str:
    """``2 min 10 s``, ``5 d 3 h``: the two largest units."""
    parts: list[tuple[int, str]] = []
    rest = max(1, round(seconds))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def size(count: float) -> str:
    """Bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def plain(renderable: Any, width: int = 120) -> str:
    """A renderable as text without colour."""
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False)
    console.print(renderable)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
