"""What a campaign will take before any of it runs: order, time, disk, and what the gate will ask for.

Times are measured where a results folder of the same cells exists, or taken from a cell's shakedown, otherwise
estimated from bytes and operations. An estimate says so: it is for choosing repetitions and for going home, not for a
paper.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from actors.engines.registry import engine as engine_of
from actors.environments.registry import kind
from actors.types import Model, Workload
from campaign.plan.design import Planned
from campaign.record import untrusted

if TYPE_CHECKING:
    from campaign.config.schema import Campaign

Cell = tuple[str, str, str]
"""Model, environment, workload."""
Basis = Literal["runs", "shakedown", "estimate"]
"""Where a cell's time comes from: the median of earlier runs, its shakedown, bytes and operations."""


@dataclass(frozen=True)
class CellSpeed:
    """What a cell showed when it ran with a handful of requests."""

    start_s: float
    """From the order to start until it answers: container, entry point, weights, kernels."""
    tok_s: float
    """Output tokens per second at the workload's concurrency, over the requests that were answered."""


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


SPARK = Machine("a DGX Spark", 273e9, 90e12, 1e-3, 1e9, 90.0, shares=True)
"""GB10: 273 GB/s, about 90 TFLOP/s in BF16. From start to ready an engine that builds nothing takes one to three
minutes, with 3 to 63 GB of weights."""
BUILD_S = 240.0
"""Building a TensorRT engine, once for a model and before any run: six minutes from start to ready with it, as the
first study on this machine showed, less two without."""
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
EXPERTS_ALONE = ("mxfp4",)
"""Formats in which only the experts are small: what every token passes stays in 16 bits."""
ALIKE = 0.8
"""Sequences decoded together share experts more often than by chance: n of them touch as many as n ** 0.8 drawn at
random. From published decoding of gpt-oss-120b at batches of 1 to 32."""


def attained(model: Model) -> float:
    """Share of the memory's peak that decoding reaches on GB10, from published runs: with weights of 4 bits 0.81 (6 GB)
    to 0.61 (40 GB); else 0.65 for 3 GB of weights (the smaller the model, the more of a step is not reading)
    to 0.83 from 12 GB on."""
    gb = weight_bytes(model) / 1e9
    if any(name in (model.precision or "") for name in FOUR_BITS):
        return 0.81 - 0.20 * min(1.0, max(0.0, (gb - 6) / 34))
    return min(0.83, 0.60 + 0.02 * gb)


def machine(campaign: Campaign) -> Machine:
    """An engine that needs no GPU is taken to run on the CPU, the others on a Spark."""
    return SPARK if engine_of(campaign.engine).needs_gpu else CPU


def estimate_s(
    campaign: Campaign,
    run: Planned,
    measured: Mapping[Cell, float] | None = None,
    known: Mapping[Cell, CellSpeed] | None = None,
) -> float:
    """Seconds that one run occupies its unit, gate included: the median of earlier runs of its cell where there are
    any, otherwise from its shakedown, otherwise from the model's bytes and operations.
    Retries and a gate that has to wait are not in it."""
    median_s = (measured or {}).get((run.model, run.environment, run.workload))
    return median_s if median_s is not None else sum(parts_s(campaign, run, known))


def parts_s(campaign: Campaign, run: Planned, known: Mapping[Cell, CellSpeed] | None = None) -> tuple[float, float]:
    """Seconds of one run's gate and start, and of its requests, warm-up included;
    estimated where its cell is not ``known``."""
    model, workload, where = campaign.model(run.model), campaign.asked(run.model, run.workload), machine(campaign)
    gate_s = campaign.gate.cooldown_s + campaign.gate.dwell_s
    if (speed := (known or {}).get((run.model, run.environment, run.workload))) is not None:
        tokens = (workload.requests + workload.warmup_requests) * workload.output_tokens
        return gate_s + speed.start_s, tokens / speed.tok_s
    model = described(model)
    container_s = CONTAINER_S if kind(campaign.environment(run.environment).kind).is_container else 0.0
    load_s = weight_bytes(model) / where.load_bytes_per_s
    return gate_s + where.start_s + container_s + load_s, answering_s(model, workload, where)


def build_s(campaign: Campaign) -> dict[str, float]:
    """Seconds that `campaign prepare` takes to build engines, by model; the PyTorch backend builds none,
    nor do other engines."""
    program, nowhere = engine_of(campaign.engine), Path()
    return {model.name: BUILD_S for model in campaign.models if program.built(model, nowhere) is not None}


def answering_s(model: Model, workload: Workload, where: Machine) -> float:
    """Warm-up and measured requests: prefill bound by operations, each decoding step by the larger of both."""
    together = workload.concurrency or (1 if workload.kind == "latency" else model.batch_size)
    requests = workload.requests + workload.warmup_requests
    flop_per_token = 2.0 * (model.active_parameters or model.parameters or weight_bytes(model) / 2)
    bytes_per_s = where.bytes_per_s * (attained(model) if where.shares else 1.0)
    step_s = max(step_bytes(model, workload, together) / bytes_per_s, together * flop_per_token / where.flop_per_s)
    steps = math.ceil(requests / together) * workload.output_tokens
    return requests * workload.input_tokens * flop_per_token / where.flop_per_s + steps * (step_s + where.step_s)


def step_bytes(model: Model, workload: Workload, together: int) -> float:
    """Read from memory in one decoding step: weights, and the KV cache of all sequences at half of their output."""
    context = workload.input_tokens + workload.output_tokens / 2
    return touched_bytes(model, together) + together * context * (model.kv_bytes_per_token or 0)


def touched_bytes(model: Model, together: int) -> float:
    """Weights that a step reads: all, or of a mixture of experts what every token passes and the experts that
    ``together`` sequences touch."""
    everything = weight_bytes(model)
    if not (model.parameters and model.active_parameters):
        return everything
    dense = model.dense_parameters or 0
    one = (model.active_parameters - dense) / (model.parameters - dense)
    small = any(name in (model.precision or "") for name in EXPERTS_ALONE)
    always = dense * BYTES_PER_WEIGHT["bf16"] if small else everything * dense / model.parameters
    return always + (everything - always) * (1 - math.pow(1 - one, math.pow(together, ALIKE)))


def described(model: Model) -> Model:
    """With what the user's own file or folder says of itself, where the entry does not."""
    if model.path is None or (model.weight_bytes and model.parameters):
        return model
    try:
        facts = _facts(Path(model.path), Path(model.path).stat().st_mtime_ns)
    except OSError:
        return model  # the run itself says so
    return model.model_copy(update={key: value for key, value in facts.items() if getattr(model, key) is None})


@lru_cache(maxsize=64)
def _facts(path: Path, mtime_ns: int) -> dict[str, int]:
    """``weight_bytes`` of a checkpoint's folder; of a GGUF file also ``parameters`` and ``kv_bytes_per_token``."""
    from actors.engines import EngineError
    from actors.engines.llamacpp import gguf_file

    if path.is_dir():
        total = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        return {"weight_bytes": total} if total else {}
    try:
        known = gguf_file.read(path)
    except EngineError:
        return {"weight_bytes": path.stat().st_size}
    return {key: int(known[key]) for key in ("weight_bytes", "parameters", "kv_bytes_per_token")}


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
    """Median seconds per cell in a results folder: from the end of one attempt to the end of the next on its unit, so
    that gate, start and evidence are counted. The first attempt of a unit tells nothing;
    the median bears a pause or two."""
    ends: dict[str, list[tuple[int, Cell]]] = {}
    for file in untrusted.find(results, "attempts/*/*/metadata.json")[0]:
        try:
            found = json.loads(untrusted.read_bytes(file))
            if found.get("simulated") is True:
                continue  # a rehearsal measured nothing
            cell = (found["model"], found["environment"], found["workload"])
            ends.setdefault(found["unit"], []).append((int(found["ended_utc_ns"]), cell))
        except (OSError, ValueError, KeyError, TypeError, untrusted.Unreadable):
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
    basis: dict[Cell, Basis]
    disk_bytes: int
    telemetry_bytes_per_hour: int
    build_s: dict[str, float] = field(default_factory=dict)
    """By model, before the first run (:func:`build_s`); not in ``lane_s``."""
    known: Mapping[Cell, CellSpeed] = field(default_factory=dict)

    @property
    def measured_cells(self) -> int:
        """Cells with earlier runs."""
        return sum(basis == "runs" for basis in self.basis.values())

    @property
    def total_s(self) -> float:
        return max(self.lane_s)


def forecast(
    campaign: Campaign,
    runs: tuple[Planned, ...],
    results: Path | None = None,
    known: Mapping[Cell, CellSpeed] | None = None,
) -> Forecast:
    """``results`` is a folder of the same or a similar campaign, finished or not;
    ``known`` what the shakedown measured."""
    measured = measured_s(results) if results is not None else {}
    known = known or {}
    cell_s: dict[Cell, float] = {}
    basis: dict[Cell, Basis] = {}
    lanes = [0.0] * (1 + max(run.lane for run in runs))
    answered = 0
    for run in runs:
        cell = (run.model, run.environment, run.workload)
        if cell not in cell_s:
            cell_s[cell] = estimate_s(campaign, run, measured, known)
            basis[cell] = "runs" if cell in measured else "shakedown" if cell in known else "estimate"
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
        basis=basis,
        disk_bytes=int(len(runs) * RUN_BYTES + answered + telemetry),
        telemetry_bytes_per_hour=int(rows_per_hour * SAMPLE_BYTES),
        build_s=build_s(campaign),
        known=known,
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
