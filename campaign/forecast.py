"""What a campaign will take before any of it runs: order, time, disk, and what the gate will ask for.

Times are measured where a results folder of the same cells exists, otherwise estimated from bytes and operations.
An estimate says so: it is for choosing repetitions and for going home, not for a paper.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from actors.types import Model, Workload
from campaign import foreign
from campaign.plan import Planned

if TYPE_CHECKING:
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
    for file in foreign.find(results, "attempts/*/*/metadata.json")[0]:
        try:
            found = json.loads(foreign.read_bytes(file))
            cell = (found["model"], found["environment"], found["workload"])
            ends.setdefault(found["unit"], []).append((int(found["ended_utc_ns"]), cell))
        except (OSError, ValueError, KeyError, TypeError, foreign.Unreadable):
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
