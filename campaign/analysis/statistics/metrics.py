"""What a metric's name says about it: which way is better, and which family of tests it belongs to."""

from __future__ import annotations

from typing import Literal

Role = Literal["confirmatory", "derived", "secondary"]

_NEUTRAL = ("utilisation", "utilization", "temperature", "temp_c", "clock", "coverage", "tokens_in", "tokens_out")
_HIGHER = ("throughput", "kv_cache", "tok_s", "tokens_s", "_tps", "req_s", "per_joule", "bandwidth", "speed")
_LOWER = (
    "latency", "memory", "ttft", "itl", "tpot", "power", "energy", "startup", "start_up", "duration", "psi_",
    "_ms", "_s", "_gib", "_gb", "_mib", "_bytes", "_w", "_j", "cost", "jitter",
)  # fmt: skip


def direction(metric: str) -> int:
    """1 where higher is better, -1 where lower is better, 0 where the metric has no better side or is unknown."""
    name = metric.lower()
    if any(word in name for word in _NEUTRAL):
        return 0
    if any(word in name for word in _HIGHER):
        return 1
    if any(word in name if not word.startswith("_") else name.endswith(word) for word in _LOWER):
        return -1
    return 0


def role(metric: str) -> Role:
    """Confirmatory: token throughput, mean latency, peak memory. Derived: request throughput, KV cache. Else secondary."""
    name = metric.lower()
    if name.startswith(("token_throughput", "avg_latency", "latency_mean", "mean_latency", "peak_memory")):
        return "confirmatory"
    if name.startswith(("request_throughput", "kv_cache")):
        return "derived"
    return "secondary"
