"""What a simulated engine did, and how its log and its percentiles are written."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from campaign.rehearsal.heat import Floats

GIB = 2**30
BLOCK_TOKENS = 32
TRIAL_TOKENS = 4128
"""Of the cache that TensorRT-LLM tries before it knows how large the real one may be."""
SAID = "SIMULATED: nothing in this log was measured"


@dataclass(frozen=True)
class Served:
    """What the program did. Times in seconds since the measured part began,
    one of each for every request in order of submission."""

    exec_utc_ns: int
    load_s: float
    warmup_s: float
    steady_s: float
    started_s: Floats
    first_s: Floats
    ended_s: Floats
    peak_gib: float
    kv_gib: float
    kv_trial_gib: float
    total_gib: float
    outside_torch_gib: float
    weights_gib: float
    kv_bytes_per_token: int

    def utc_ns(self, part: str) -> int:
        """When loading, warming up or the measured part ended."""
        passed = {
            "load": self.load_s,
            "warmup": self.load_s + self.warmup_s,
            "steady": self.load_s + self.warmup_s + self.steady_s,
        }
        return self.exec_utc_ns + int(passed[part] * 1e9)


def stamped(lines: Iterable[tuple[int, str]]) -> str:
    """As the harness writes what a process said: each line with the UTC time at which it was seen."""
    return "".join(f"{stamp(at_ns)} {text}\n" for at_ns, text in lines)


def stamp(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


def percentiles(values: Floats) -> dict[str, float]:
    """Nearest rank, as trtllm-bench takes it."""
    ranked = np.sort(values)
    found = {f"p{q}": float(ranked[int(len(ranked) * q / 100)]) for q in (50, 90, 95, 99)}
    return {
        **found,
        "minimum": float(ranked[0]),
        "maximum": float(ranked[-1]),
        "average": float(values.mean()),
    }
