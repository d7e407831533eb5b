"""A fixed probe of less than a second before and after each attempt, for slow states that no flag shows.

On a machine without a GPU it streams a matrix through a matrix-vector product, which is what decoding does: bytes read per
second. On a GPU it would take a kernel and the libraries to launch one, which the harness has not: the figure stays missing, with
that reason.
"""

from __future__ import annotations

import time
from statistics import median

from actors.types import Metric

ROWS, COLUMNS = 4096, 4096
"""64 MiB of float32: more than a cache holds."""
ROUNDS = 7

NO_GPU_PROBE = "no canary on a GPU: it takes a CUDA kernel, and the harness has no CUDA libraries of its own"


def bandwidth_gb_s() -> float:
    """Median over the rounds of the matrix's bytes per second; the first round, which brings the pages in, does not count."""
    import numpy as np

    matrix = np.ones((ROWS, COLUMNS), dtype=np.float32)
    vector = np.ones(COLUMNS, dtype=np.float32)
    rates = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        matrix @ vector
        rates.append(matrix.nbytes / (time.perf_counter() - began) / 1e9)
    return median(rates[1:])


def sing(when: str, gpu: str | None) -> Metric:
    """``canary_before_gb_s`` or ``canary_after_gb_s``."""
    name, unit = f"canary_{when}_gb_s", "GB/s"
    if gpu is not None:
        return Metric(name=name, value=None, unit_of_measure=unit, source="canary", reason=NO_GPU_PROBE)
    return Metric(name=name, value=bandwidth_gb_s(), unit_of_measure=unit, source="canary: matrix times vector")
