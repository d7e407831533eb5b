"""A fixed probe of less than a second before and after each attempt, for slow states that no flag shows.

A matrix-vector product reads its matrix once, as decoding does: the figure is bytes per second. On an NVIDIA GPU
:mod:`actors.canary.gemv` does it in a process of its own; without one this process does it on the CPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from actors.types import Metric

ROWS, COLUMNS = 4096, 4096
"""64 MiB of float32: more than a cache holds."""
ROUNDS = 7
TIMEOUT_S = 30.0
"""A GPU that takes longer for a probe of half a second is not slow but stuck."""


def bandwidth_gb_s() -> float:
    """Median over the rounds of the matrix's bytes per second; the first round, which brings the pages in,
    does not count."""
    import numpy as np

    matrix = np.ones((ROWS, COLUMNS), dtype=np.float32)
    vector = np.ones(COLUMNS, dtype=np.float32)
    rates = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        matrix @ vector
        rates.append(matrix.nbytes / (time.perf_counter() - began) / 1e9)
    return median(rates[1:])


def command(seconds: float = 0.0, uuid: str | None = None) -> list[str]:
    """The probe of the GPU as a program, to be run in the project's folder; for at least ``seconds``."""
    return [sys.executable, "-m", "actors.canary.gemv", f"{seconds:g}", *([uuid] if uuid else [])]


def answer(stdout: str, stderr: str, code: int) -> tuple[float | None, str | None]:
    """GB/s from what the program said, or why there are none."""
    try:
        return float(json.loads(stdout)["gb_s"]), None
    except (ValueError, KeyError, TypeError):
        lines = stderr.strip().splitlines() or [f"exit code {code}"]
        return None, f"the probe failed: {lines[-1]}"


def gpu_bandwidth_gb_s(uuid: str | None = None) -> tuple[float | None, str | None]:
    """The figure, or why there is none."""
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            command(uuid=uuid), cwd=root, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"the probe did not end within {TIMEOUT_S:g} s"
    return answer(done.stdout, done.stderr, done.returncode)


def sing(when: str, gpu: str | None, uuid: str | None = None) -> Metric:
    """``canary_before_gb_s`` or ``canary_after_gb_s``. ``gpu`` is the name of the unit's GPU,
    None where it has none."""
    value, reason = gpu_bandwidth_gb_s(uuid) if gpu is not None else (bandwidth_gb_s(), None)
    return Metric(
        name=f"canary_{when}_gb_s",
        value=value,
        unit_of_measure="GB/s",
        source="canary: matrix times vector" + (" on the GPU" if gpu is not None else " on the CPU"),
        reason=reason,
    )
