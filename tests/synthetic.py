"""Writes the results folder of a campaign that never ran, in the layout of the store, every row marked as simulated.

For tests and benchmarks of what reads a results folder. Deterministic: the same arguments write the same figures.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from campaign.analysis import looks as analysis_looks
from campaign.record.journal import GENESIS, State, digest, fold, read
from campaign.run.looks import Looks

FIRST_UTC_NS = 1_790_000_000 * 10**9
UNIT = "unit-a"
WORKLOAD = "short"


@dataclass(frozen=True)
class Shape:
    """How long the parts of an attempt last, and how much its engine and its unit tell."""

    gate_s: float = 2.0
    run_s: float = 4.0
    rest_s: float = 1.0
    requests: int = 24
    output_tokens: int = 32
    gaps: bool = True
    """Whether the engine times every token of a request."""
    everything: bool = False
    """Every metric and sensor of a GPU unit with a streaming engine, each with a spread of its own."""
    attempts_per_file: int = 16
    """Of telemetry. The store's own number is one."""

    @property
    def attempt_s(self) -> float:
        return self.gate_s + self.run_s + self.rest_s


SMALL = Shape()


def write(
    folder: Path,
    *,
    models: Sequence[str] = ("tiny", "small"),
    environments: Sequence[str] = ("native-chroot", "docker-baseline"),
    repetitions: int = 10,
    effects_pct: Mapping[str, float] | None = None,
    noise_pct: float = 0.4,
    rejections: bool = True,
    done: int | None = None,
    dispatched: bool = False,
    telemetry_hz: float = 10.0,
    gpu: bool = True,
    seed: int = 1,
    shape: Shape = SMALL,
    looks: Sequence[int] = (),
    margin_pct: float = 2.0,
) -> Path:
    """A campaign of ``models`` × ``environments`` × ``repetitions``, alternating order, one unit.

    ``effects_pct``: environment to the true change of throughput in percent. ``done``: finish only that many runs,
    and leave the next one ``dispatched`` if asked. ``rejections``: let one attempt of the second model overheat
    before it is accepted, in repetition 2. ``looks``: a sequential design with looks after so many blocks, as a driver
    takes them. ``telemetry_hz=0``: no telemetry files. ``gpu=False``: no GPU columns.
    """
    rng = np.random.default_rng(seed)
    effects = dict(effects_pct or {"docker-baseline": -1.5})
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan(models, environments, repetitions)
    info = _campaign(models, environments)
    if looks:
        info["config"] |= _sequential(models, environments, looks, margin_pct)
    _write_json(folder / "campaign.json", info)
    _write_json(folder / "units" / f"{UNIT}.json", _unit(gpu))
    pq.write_table(pa.Table.from_pandas(plan, schema=PLAN, preserve_index=False), folder / "plan.parquet")
    journal = _Journal(folder / "journal.jsonl")
    journal.add("created", campaign_id="c-synthetic", config_hash="c" * 64, plan_hash="p" * 64, code_digest="d" * 64)
    journal.add("opened", pid=4242, host="synthetic", units=[UNIT])

    clock_ns = FIRST_UTC_NS
    limit = len(plan) if done is None else done
    samples = _Samples(folder / "telemetry" / f"unit={UNIT}", shape.attempts_per_file)
    second = plan[(plan.model == models[-1]) & (plan.repetition == 2)].run_id
    hot = second.iloc[0] if rejections and len(second) else None
    looking = _Looks(folder, journal, info["config"], plan) if looks else None
    for run in _records(plan)[:limit]:
        if looking is not None and looking.decided(run):
            continue
        for attempt, accepted in ((1, False), (2, True)) if run["run_id"] == hot else ((1, True),):
            journal.add("dispatched", run_id=run["run_id"], attempt=attempt, unit=UNIT, block=run["block"])
            evidence = _attempt(
                folder,
                run,
                attempt,
                accepted,
                clock_ns,
                100.0 / (1 + 2 * list(models).index(run["model"])),
                1 + (effects.get(run["environment"], 0.0) + rng.normal(0, noise_pct)) / 100,
                rng,
                gpu,
                shape,
            )
            if telemetry_hz:
                samples.add(_samples(run, attempt, clock_ns, telemetry_hz, accepted, rng, gpu, shape))
            clock_ns += int(shape.attempt_s * 1e9)
            journal.add(
                "finished",
                run_id=run["run_id"],
                attempt=attempt,
                unit=UNIT,
                outcome="completed",
                accepted=accepted,
                rejected_by=[] if accepted else ["throttling"],
                evidence=evidence,
            )
    if looking is not None:
        looking.take()
    if dispatched and limit < len(plan):
        run = _records(plan)[limit]
        journal.add("dispatched", run_id=run["run_id"], attempt=1, unit=UNIT, block=run["block"])
    if limit == len(plan):
        journal.add("completed", accepted=limit, exhausted=0)
    samples.spill()
    return folder


PLAN = pa.schema(
    [("index", pa.int32())]
    + [(name, pa.string()) for name in ("run_id", "phase", "model", "environment", "workload", "engine")]
    + [("repetition", pa.int32()), ("block", pa.string())]
    + [(name, pa.int32()) for name in ("block_index", "position", "lane")]
    + [("simulated", pa.bool_())]
)

REQUEST = pa.schema(
    [
        ("request_index", pa.int32()),
        ("submitted_ms", pa.float64()),
        ("ttft_ms", pa.float64()),
        ("latency_ms", pa.float64()),
        ("input_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("ok", pa.bool_()),
        ("error", pa.string()),
        ("itl_ms", pa.list_(pa.float64())),
    ]
)

_DOUBLES_GPU = [
    "gpu_temperature_c",
    "gpu_power_w",
    "gpu_utilization_pct",
    "gpu_memory_utilization_pct",
    "gpu_sm_clock_mhz",
    "gpu_mem_clock_mhz",
    "gpu_memory_used_gib",
    "gpu_process_memory_gib",
]
_DOUBLES_HOST = [
    "cpu_utilization_pct",
    "mem_total_gib",
    "mem_available_gib",
    "mem_free_gib",
    "mem_cached_gib",
    "swap_used_gib",
]
TELEMETRY = pa.schema(
    [("t_utc_ns", pa.int64()), ("t_mono_ns", pa.int64()), ("unit", pa.string()), ("run_id", pa.string())]
    + [("attempt", pa.int32()), ("stage", pa.string()), ("simulated", pa.bool_()), ("late_ms", pa.float64())]
    + [(name, pa.float64()) for name in _DOUBLES_GPU]
    + [("gpu_throttle_reasons", pa.int64()), ("gpu_pstate", pa.int32())]
    + [("gpu_energy_j", pa.float64()), ("gpu_memory_bandwidth_gb_s", pa.float64())]
    + [("host_temperature_c", pa.float64()), ("zone_temperatures_c", pa.list_(pa.float64()))]
    + [(name, pa.float64()) for name in _DOUBLES_HOST]
    + [(f"psi_{name}_us", pa.int64()) for name in ("cpu_some", "memory_some", "memory_full", "io_some")]
    + [(name, pa.float64()) for name in ("attempt_memory_gib", "attempt_cpu_s", "cgroup_memory_gib", "cgroup_cpu_s")]
)


class _Journal:
    def __init__(self, path: Path) -> None:
        self.path, self.seq, self.previous = path, 0, GENESIS
        path.write_text("")

    def add(self, event: str, **fields: Any) -> None:
        record = {"seq": self.seq, "t_utc_ns": FIRST_UTC_NS + self.seq, "event": event, **fields, "prev": self.previous}
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
        self.seq, self.previous = self.seq + 1, digest(line)


class _Looks:
    """Takes looks where a driver would: before the next block."""

    def __init__(self, folder: Path, journal: _Journal, config: Mapping[str, Any], plan: pd.DataFrame) -> None:
        planned = analysis_looks.planned(config)
        assert planned is not None
        self.folder, self.journal = folder, journal
        self.looks = Looks(folder, planned, _records(plan), [])

    def take(self) -> State:
        events, _, _ = read(self.journal.path)
        state = fold(events)
        for fields in self.looks.take(state):
            self.journal.add("look", **fields)
            state.closed |= fields["stopped"]
        return state

    def decided(self, run: Mapping[str, Any]) -> bool:
        """Whether the run is not needed; looks are due at the first run of a block."""
        return self.take().spared(run["run_id"])


class _Samples:
    """Telemetry files of so many attempts each."""

    def __init__(self, place: Path, attempts_per_file: int) -> None:
        self.place, self.most = place, attempts_per_file
        self.waiting: list[pd.DataFrame] = []

    def add(self, samples: pd.DataFrame) -> None:
        self.waiting.append(samples)
        if len(self.waiting) == self.most:
            self.spill()

    def spill(self) -> None:
        if not self.waiting:
            return
        self.place.mkdir(parents=True, exist_ok=True)
        part = pd.concat(self.waiting)
        table = pa.Table.from_pandas(part, schema=TELEMETRY, preserve_index=False)
        pq.write_table(table, self.place / f"{part.t_utc_ns.iloc[0]}.parquet", compression="zstd")
        self.waiting = []


def _plan(models: Sequence[str], environments: Sequence[str], repetitions: int) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for block_index, (repetition, model) in enumerate((r, m) for r in range(1, repetitions + 1) for m in models):
        order = list(environments) if repetition % 2 else list(environments)[::-1]
        for position, environment in enumerate(order, 1):
            rows.append(
                {
                    "index": len(rows),
                    "run_id": f"{model}__{environment}__{WORKLOAD}__r{repetition:02d}",
                    "phase": "baseline",
                    "model": model,
                    "environment": environment,
                    "workload": WORKLOAD,
                    "engine": "llamacpp",
                    "repetition": repetition,
                    "block": f"{model}__{WORKLOAD}__r{repetition:02d}",
                    "block_index": block_index,
                    "position": position,
                    "lane": 0,
                    "simulated": True,
                }
            )
    return pd.DataFrame(rows)


def _campaign(models: Sequence[str], environments: Sequence[str]) -> dict[str, Any]:
    return {
        "campaign": "synthetic",
        "campaign_id": "c-synthetic",
        "config": {
            "name": "synthetic",
            "description": "two arms, one unit, invented figures",
            "models": list(models),
            "environments": list(environments),
            "order": "alternate",
            "gate": {"ceiling_c": 45.0},
        },
        "config_hash": "c" * 64,
        "plan_hash": "p" * 64,
        "seed": 1,
        "code": {"git_commit": "0123456789abcdef", "dirty": False, "digest": "d" * 64},
        "created_utc_ns": FIRST_UTC_NS,
        "simulated": True,
        "chosen_because": "named by a test",
    }


def _sequential(
    models: Sequence[str], environments: Sequence[str], looks: Sequence[int], margin_pct: float
) -> dict[str, Any]:
    return {
        "phase": "baseline",
        "reference": environments[0],
        "margin_pct": margin_pct,
        "models": [{"name": name} for name in models],
        "environments": [{"name": name, "kind": name.partition("-")[0]} for name in environments],
        "workloads": [{"name": WORKLOAD}],
        "sequential": {
            "looks": list(looks),
            "spending": "pocock",
            "gamma": None,
            "t_levels": "exact_t",
            "scale": "guarded",
            "multiplicity": "holm",
            "futility": None,
        },
    }


def _unit(gpu: bool) -> dict[str, Any]:
    return {
        "unit": UNIT,
        "hostname": "synthetic",
        "machine": "aarch64",
        "gpu": "NVIDIA GB10" if gpu else "none",
        "cpus": 20,
        "mem_total_gib": 119.7,
        "code_digest": "d" * 64,
        "details": {"kernel": "6.11.0-1016-nvidia", "driver": "580.95.05"},
        "images": {"local": {"reference": "campaign-local", "digest": "sha256:" + "a" * 64}},
        "warnings": [],
        "refused_options": {},
    }


def _attempt(
    folder: Path,
    run: dict[str, Any],
    attempt: int,
    accepted: bool,
    clock_ns: int,
    throughput: float,
    factor: float,
    rng: np.random.Generator,
    gpu: bool,
    shape: Shape,
) -> str:
    """Write one attempt's folder; returns the digest of its metadata."""
    place = folder / "attempts" / run["run_id"] / str(attempt)
    place.mkdir(parents=True)
    throughput *= factor
    requests = _requests(throughput, rng, shape)
    table = pa.Table.from_pandas(requests, schema=REQUEST, preserve_index=False)
    pq.write_table(table, place / "requests.parquet", compression="zstd")
    makespan_s = (requests.submitted_ms + requests.latency_ms).max() / 1000
    docker = run["environment"].startswith("docker")
    stages = {
        "gate_s": shape.gate_s,
        "create_s": 0.12 if docker else 0.004,
        "start_s": 0.25 if docker else 0.02,
        "gate_to_exec_ms": 380.0 if docker else 25.0,
        "load_s": 1.1 + abs(rng.normal(0, 0.02)),
        "warmup_s": 0.3,
        "first_token_s": float(requests.ttft_ms.iloc[0] / 1000),
        "steady_s": makespan_s,
        "teardown_s": 0.2,
        "harness_s": 0.03,
    }
    gate: dict[str, Any] = {
        "opened": True,
        "waited_s": shape.gate_s,
        "rest_s": shape.rest_s,
        "blocked_by": ["temperature"] if attempt > 1 else [],
        "unavailable": [],
        "opened_at_ns": 0,
        "temperature_c": 41.0 + float(rng.normal(0, 0.5)) if gpu else None,
        "mem_available_gib": 117.0 + float(rng.normal(0, 0.05)),
        "mem_free_gib": 116.0,
        "mem_cached_gib": 0.8,
        "swap_used_gib": 0.0,
        "power_w": 9.0 if gpu else None,
        "cache_action": "dropped",
        "flagged": False,
    }
    quantile = requests.latency_ms.quantile
    engine = {
        "token_throughput_tok_s": (throughput, "tok/s"),
        "request_throughput_req_s": (shape.requests / makespan_s, "req/s"),
        "latency_mean_ms": (requests.latency_ms.mean(), "ms"),
        "latency_p50_ms": (quantile(0.5), "ms"),
        "latency_p95_ms": (quantile(0.95), "ms"),
        "latency_p99_ms": (quantile(0.99), "ms"),
        "ttft_p50_ms": (requests.ttft_ms.quantile(0.5), "ms"),
        "ttft_p99_ms": (requests.ttft_ms.quantile(0.99), "ms"),
        "peak_memory_gib": (1.9 + 0.2 * docker + abs(rng.normal(0, 0.01)), "GiB"),
        "kv_cache_gib": (0.25, "GiB"),
    }
    metrics = [_metric(name, value, unit, "engine") for name, (value, unit) in engine.items()]
    metrics.append(_metric("power_mean_w", 38.0 + rng.normal(0, 0.3) if gpu else None, "W", "telemetry"))
    metrics.append(_metric("peak_unified_memory_gib", 6.0 + 0.3 * docker, "GiB", "telemetry"))
    metrics += [
        _metric(name, value, "ms" if name.endswith("_ms") else "s", "stages")
        for name, value in stages.items()
        if name not in ("gate_s",)
    ]
    metrics.append(_metric("gate_wait_s", gate["waited_s"], "s", "gate"))
    metrics.append(_metric("start_temperature_c", gate["temperature_c"], "°C", "gate"))
    metrics.append(_metric("start_mem_available_gib", gate["mem_available_gib"], "GiB", "gate"))
    if shape.everything:
        more = _everything(docker, rng)
        metrics = [known for known in metrics if known["name"] not in {it["name"] for it in more}] + more
    verdict = [
        _check("exit_code", True, "0", "0"),
        _check("requests_answered", True, f"{shape.requests} of {shape.requests}", "error rate at most 0"),
        _check("throttling", accepted, "mask 0x0" if accepted else "mask 0x20", "no thermal or power-brake reason"),
        _check("telemetry_coverage", True, "99.8 %", "at least 95 %"),
    ]
    started_ns = clock_ns + int(shape.gate_s * 1e9)
    metadata = {
        **{name: run[name] for name in run if name not in ("index", "block_index", "lane")},
        "attempt": attempt,
        "unit": UNIT,
        "campaign_id": "c-synthetic",
        "outcome": "completed",
        "failure": None,
        "accepted": accepted,
        "verdict": verdict,
        "exit": {"code": 0, "oom_killed": False, "detail": ""},
        "gate": gate,
        "telemetry": {
            "samples_expected": 40,
            "samples": 40,
            "coverage_pct": 99.8,
            "jitter_p50_ms": 0.05,
            "jitter_p99_ms": 0.6 + float(rng.random()) * 0.2,
            "longest_gap_ms": 104.0,
            "sampler_cpu_pct": 0.31,
            "throttle_reasons": (0 if accepted else 0x20) if gpu else None,
            "throttled_us": {},
            "foreign_gpu_pids": [],
            "unsupported": {},
        },
        "stages": stages,
        "report": {
            "model_identity": run["model"],
            "requests_expected": shape.requests,
            "requests_answered": shape.requests,
            "requests_failed": 0,
            "tokens_expected": shape.requests * shape.output_tokens,
            "tokens_generated": shape.requests * shape.output_tokens,
            "failure": None,
            "engine_version": "synthetic 1",
        },
        "metrics": metrics,
        "started_utc_ns": started_ns,
        "ended_utc_ns": started_ns + int(shape.run_s * 1e9),
        "image_digest": "sha256:" + "a" * 64,
        "files": {},
    }
    return _write_json(place / "metadata.json", metadata)


def _requests(throughput: float, rng: np.random.Generator, shape: Shape, concurrency: int = 4) -> pd.DataFrame:
    """A closed loop of ``concurrency`` users whose total output rate is ``throughput`` tokens a second."""
    work = np.exp(rng.normal(0, 0.08, shape.requests))
    free, begun = [0.0] * concurrency, []
    for took in work.tolist():
        begun.append(heapq.heappop(free))
        heapq.heappush(free, begun[-1] + took)
    submitted = np.array(begun)
    scale = shape.requests * shape.output_tokens / throughput * 1000 / (submitted + work).max()
    latency = work * scale
    return pd.DataFrame(
        {
            "request_index": np.arange(shape.requests),
            "submitted_ms": submitted * scale,
            "ttft_ms": latency * (0.10 + 0.02 * rng.random(shape.requests)),
            "latency_ms": latency,
            "input_tokens": 64,
            "output_tokens": shape.output_tokens,
            "ok": True,
            "error": None,
            "itl_ms": [[float(x) / shape.output_tokens] * 3 for x in latency] if shape.gaps else None,
        }
    )


def _everything(docker: bool, rng: np.random.Generator) -> list[dict[str, Any]]:
    """What :data:`EVERYTHING` lists, a little more of it in Docker."""
    return [
        _metric(name, value * (1 + 0.01 * docker) * (1 + rng.normal(0, 0.01)), unit, source)
        for source, known in EVERYTHING.items()
        for name, (value, unit) in known.items()
    ]


EVERYTHING: dict[str, dict[str, tuple[float, str]]] = {
    "engine": {
        "kv_cache_gib": (80.0, "GiB"),
        "total_token_throughput_tok_s": (900.0, "tok/s"),
        "ttft_mean_ms": (120.0, "ms"),
        "ttft_p95_ms": (180.0, "ms"),
        "itl_mean_ms": (11.0, "ms"),
        "itl_p50_ms": (10.5, "ms"),
        "itl_p95_ms": (13.0, "ms"),
        "itl_p99_ms": (16.0, "ms"),
    },
    "telemetry": {
        "energy_j": (9000.0, "J"),
        "gpu_utilization_mean_pct": (95.0, "%"),
        "memory_bandwidth_mean_gb_s": (210.0, "GB/s"),
        "gpu_temperature_max_c": (67.0, "°C"),
        "peak_unified_memory_gib": (100.0, "GiB"),
        "attempt_memory_peak_gib": (20.0, "GiB"),
        "attempt_cpu_s": (300.0, "s"),
        "host_temperature_max_c": (62.0, "°C"),
        "psi_cpu_some_ms": (40.0, "ms"),
        "psi_memory_some_ms": (5.0, "ms"),
    },
    "stages": {
        "create_s": (0.1, "s"),
        "start_s": (0.2, "s"),
        "warmup_s": (3.0, "s"),
        "gate_to_exec_ms": (200.0, "ms"),
        "teardown_s": (0.2, "s"),
        "harness_s": (0.03, "s"),
    },
}
"""Source, metric, and about what a run measures. Instead of the metric of that name that is the same in every run,
or beside the others."""


def _samples(
    run: dict[str, Any],
    attempt: int,
    clock_ns: int,
    rate_hz: float,
    accepted: bool,
    rng: np.random.Generator,
    gpu: bool,
    shape: Shape,
) -> pd.DataFrame:
    """Samples of the gate, the run and the cooldown of one attempt, on an absolute schedule."""
    t = np.arange(0, shape.attempt_s, 1 / rate_hz)
    ended_s = shape.gate_s + shape.run_s
    stage = np.where(t < shape.gate_s, "gate", np.where(t < ended_s, "run", "cooldown"))
    busy = stage == "run"
    since = np.clip(t - shape.gate_s, 0, shape.run_s)
    temperature = 41 + 14 * (1 - np.exp(-since)) - np.where(stage == "cooldown", np.minimum((t - ended_s) * 8, 14), 0)
    power = np.where(busy, 38, 9) + rng.normal(0, 0.8, len(t))
    elapsed = (clock_ns - FIRST_UTC_NS) / 1e9 + t
    nothing = np.full(len(t), np.nan)
    used = np.where(busy, 5.8, 2.7) + rng.normal(0, 0.02, len(t))
    frame = pd.DataFrame(
        {
            "t_utc_ns": clock_ns + (t * 1e9).astype("int64"),
            "t_mono_ns": clock_ns - FIRST_UTC_NS + (t * 1e9).astype("int64"),
            "unit": UNIT,
            "run_id": run["run_id"],
            "attempt": attempt,
            "stage": stage,
            "simulated": True,
            "late_ms": np.abs(rng.normal(0, 0.1, len(t))),
            "gpu_temperature_c": temperature if gpu else nothing,
            "gpu_power_w": power if gpu else nothing,
            "gpu_utilization_pct": np.where(busy, 96.0, 0.0) if gpu else nothing,
            "gpu_throttle_reasons": np.where(busy & (not accepted), 0x20, 0),
            "gpu_energy_j": elapsed * 20 if gpu else nothing,
            "host_temperature_c": temperature - 2,
            "zone_temperatures_c": [[value - 2, value - 4] for value in temperature],
            "cpu_utilization_pct": np.where(busy, 22.0, 2.0),
            "mem_total_gib": 119.7,
            "mem_available_gib": 119.7 - used,
            "mem_free_gib": 118.0 - used,
            "mem_cached_gib": 0.8,
            "swap_used_gib": 0.0,
            "psi_cpu_some_us": (elapsed * 500).astype("int64"),
            "attempt_memory_gib": np.where(busy, 1.9, np.nan),
            "attempt_cpu_s": np.where(busy, since * 2, np.nan),
        }
    )
    if shape.everything:
        for name in (*_DOUBLES_GPU, "gpu_memory_bandwidth_gb_s", "cgroup_memory_gib"):
            if name not in frame:
                frame[name] = np.where(busy, 60.0, 20.0) + rng.normal(0, 0.5, len(t))
    return frame.reindex(columns=TELEMETRY.names)


def _records(plan: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in plan.to_dict("records")]


def _metric(name: str, value: float | None, unit: str, source: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": None if value is None else float(value),
        "unit_of_measure": unit,
        "source": source,
        "reason": "this unit has no power sensor" if value is None else None,
    }


def _check(name: str, passed: bool, figure: str, limit: str) -> dict[str, Any]:
    return {"check": name, "passed": passed, "figure": figure, "limit": limit, "reason": None}


def _write_json(path: Path, value: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(value, indent=1).encode()
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
