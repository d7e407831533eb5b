"""What an engine does in one simulated run: how long each stage takes, what it draws, what memory it takes,
and every request's times.

Rates come from the forecast (``campaign/forecast.py``): weights and bandwidth bound decoding, operations bound prefill.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from actors.engines.trtllm import options as trtllm
from actors.environments.registry import kind
from actors.types import Attempt, Model, Workload
from campaign.plan.forecast import Machine, answering_s, described, weight_bytes
from campaign.rehearsal.injected import Effects, Noise
from campaign.rehearsal.machine import Unit
from campaign.rehearsal.served import GIB, TRIAL_TOKENS, Served

VLLM_SHARE = 0.9
"""Of the memory, what vLLM takes in all unless told otherwise."""
LEAST_PREFILL = 0.4
"""The first of a batch has its first token after this share of the batch's prefill."""


@dataclass(frozen=True)
class Held:
    """Memory of an engine, GiB, as it reckons itself."""

    peak_gib: float
    kv_gib: float
    trial_gib: float
    outside_gib: float
    weights_gib: float
    kv_bytes_per_token: int

    @property
    def engine_gib(self) -> float:
        """Everything it holds while it serves."""
        return self.peak_gib + self.kv_gib


@dataclass(frozen=True)
class Course:
    """One run at its own rate, before heat slows it down. Seconds."""

    load_s: float
    warmup_s: float
    prefill_s: float
    """Of one batch."""
    steady_s: float
    teardown_s: float
    run_w: float
    memory: Held
    cpu_share: float
    """CPU seconds of the engine in a second."""


def nominal(model: Model, workload: Workload, rates: Machine) -> tuple[float, float, float]:
    """Seconds of warm-up, of all prefill and of all decoding, at rates without noise."""
    model = described(model)
    measured = workload.model_copy(update={"warmup_requests": 0})
    whole_s = answering_s(model, measured, rates)
    flop_per_token = 2.0 * (model.active_parameters or model.parameters or weight_bytes(model) / 2)
    prefill_s = workload.requests * workload.input_tokens * flop_per_token / rates.flop_per_s
    warm = measured.model_copy(update={"requests": workload.warmup_requests})
    return (answering_s(model, warm, rates) if workload.warmup_requests else 0.0), prefill_s, whole_s - prefill_s


def true_rate(model: Model, workload: Workload, rates: Machine, effects: Effects, arm: str) -> float:
    """Output tokens per second of the arm without noise and heat, up to a factor that all arms share."""
    _, prefill_s, decode_s = nominal(model, workload, rates)
    return effects.factor(arm, "rate") / (prefill_s * effects.factor(arm, "prefill") + decode_s)


def together(order: Attempt) -> int:
    """Requests in flight."""
    alone = 1 if order.workload.kind == "latency" else order.model.batch_size
    return min(order.workload.requests, order.workload.concurrency or alone)


def course(
    order: Attempt,
    unit: Unit,
    effects: Effects,
    noise: Noise,
    *,
    drift: float,
    memory_gib: float,
    speed: float,
    rng: np.random.Generator,
) -> Course:
    """``drift`` is the unit's slow part of the noise (a standard normal), ``memory_gib`` what is in use besides,
    ``speed`` a factor of the unit's state."""
    model, arm = described(order.model), order.environment.name
    warmup_s, prefill_s, decode_s = nominal(order.model, order.workload, unit.rates)
    cv = noise.cv * effects.factor(arm, "noise")
    wobble = math.sqrt(noise.slow_share) * drift + math.sqrt(1 - noise.slow_share) * rng.standard_normal()
    rate = math.exp(cv * wobble) * effects.factor(arm, "rate") * speed
    if rng.random() < noise.outliers:
        rate /= 1 + cv * noise.outlier_cv * rng.exponential()
    prefill_s *= effects.factor(arm, "prefill")
    spread = unit.start.spread
    load_s = (unit.rates.start_s + weight_bytes(model) / unit.rates.load_bytes_per_s) * effects.factor(arm, "load")
    load_s *= math.exp(spread * rng.standard_normal())
    batches = math.ceil(order.workload.requests / together(order))
    power = unit.power
    share = min(1.0, math.log2(max(1, together(order))) / 4)
    run_w = power.single_w + share * (power.batched_w - power.single_w)
    run_w *= effects.factor(arm, "power") * math.exp(0.015 * rng.standard_normal())
    if speed < 1:
        run_w *= 0.45 + 0.55 * (speed - 0.5) if speed > 0.5 else 0.45
    teardown_s = (
        unit.start.teardown_s + (unit.start.docker_teardown_s if kind(order.environment.kind).is_container else 0.0)
    ) * effects.factor(arm, "teardown")
    return Course(
        load_s=load_s,
        warmup_s=warmup_s / rate,
        prefill_s=prefill_s / rate / batches,
        steady_s=(prefill_s + decode_s) / rate,
        teardown_s=teardown_s * math.exp(spread * rng.standard_normal()),
        run_w=run_w,
        cpu_share=1.1 * effects.factor(arm, "cpu") * math.exp(0.02 * rng.standard_normal()),
        memory=_memory(order, model, unit, effects, memory_gib),
    )


def _memory(order: Attempt, model: Model, unit: Unit, effects: Effects, besides_gib: float) -> Held:
    """Peak, KV cache and what leads to it, as each engine reckons.
    Page cache that was not dropped counts as memory in use."""
    arm, memory = order.environment.name, unit.memory
    weights_gib = weight_bytes(model) / GIB
    per_token = int(model.kv_bytes_per_token or 131_072)
    cached_gib = 0.0 if order.gate.cache == "drop" else weights_gib
    outside_gib = memory.outside_torch_gib + besides_gib + cached_gib
    peak_gib = (weights_gib + memory.dynamic_gib + outside_gib) * effects.factor(arm, "memory")
    trial_gib = 0.0
    if order.engine == "llamacpp":
        tokens = together(order) * (order.workload.input_tokens + order.workload.output_tokens)
        kv_gib = tokens * per_token / GIB
        peak_gib = (weights_gib + kv_gib + memory.dynamic_gib + memory.outside_torch_gib + besides_gib) * (
            effects.factor(arm, "memory")
        )
    elif model.kv_cache_tokens is not None:
        kv_gib = model.kv_cache_tokens * per_token / GIB
    elif order.engine == "vllm":
        kv_gib = memory.total_gib * VLLM_SHARE - peak_gib
    else:
        trial_gib = TRIAL_TOKENS * per_token / GIB
        kv_gib = (memory.total_gib - peak_gib + trial_gib) * trtllm.fraction_asked(order.model)
    kv_gib = max(0.01, kv_gib * effects.factor(arm, "kv"))
    return Held(peak_gib, kv_gib, trial_gib, outside_gib, weights_gib, per_token)


def served(
    order: Attempt, its: Course, steady_s: float, exec_utc_ns: int, unit: Unit, noise: Noise, rng: np.random.Generator
) -> Served:
    """Every request's times within ``steady_s``, which is the course's own or longer where heat slowed it down: batches
    one after the other, the last request of each ending with it."""
    n, at_once = order.workload.requests, together(order)
    batches = math.ceil(n / at_once)
    shares = np.exp(noise.requests_cv * rng.standard_normal(batches))
    ends = np.cumsum(shares) / shares.sum() * steady_s
    begins = np.concatenate(([0.0], ends[:-1]))
    of = np.minimum(np.arange(n) // at_once, batches - 1)
    ended = ends[of] - 0.5 * noise.requests_cv * (ends - begins)[of] * np.abs(rng.standard_normal(n))
    last = np.flatnonzero(np.diff(np.append(of, batches)))
    ended[last] = ends
    started = begins[of] + 1e-5 * (np.arange(n) % at_once)
    prefill_s = min(its.prefill_s, 0.9 * steady_s / batches)
    first = started + prefill_s * (LEAST_PREFILL + (1 - LEAST_PREFILL) * rng.random(n))
    first += steady_s / batches / max(1, order.workload.output_tokens) * 0.5
    first = np.minimum(first, started + 0.95 * (ended - started))
    return Served(
        exec_utc_ns=exec_utc_ns,
        load_s=its.load_s,
        warmup_s=its.warmup_s,
        steady_s=steady_s,
        started_s=started,
        first_s=first,
        ended_s=ended,
        peak_gib=its.memory.peak_gib,
        kv_gib=its.memory.kv_gib,
        kv_trial_gib=its.memory.trial_gib,
        total_gib=unit.memory.total_gib,
        outside_torch_gib=its.memory.outside_gib,
        weights_gib=its.memory.weights_gib,
        kv_bytes_per_token=its.memory.kv_bytes_per_token,
    )
