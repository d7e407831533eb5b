"""Run tables for the tests of the statistics, drawn from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

METRIC = "token_throughput_tok_s"


def run_table(
    native: list[float],
    docker: list[float],
    *,
    metric: str = METRIC,
    model: str = "m",
    alternate: bool = True,
    **columns: Any,
) -> pd.DataFrame:
    """Two arms in blocks; the first runs alternate (ABBA) unless ``alternate`` is False,
    when one arm runs before the other."""
    rows = []
    for arm, values in (("native", native), ("docker_baseline", docker)):
        for i, value in enumerate(values):
            first = (i % 2 == 0) == (arm == "native")
            order = 2 * i + (1 if first else 2)
            if not alternate:
                order = i + 1 + (0 if arm == "native" else len(native))
            rows.append(
                {
                    "run_id": f"{model}-{arm}-{i + 1}",
                    "model": model,
                    "environment": arm,
                    "repetition": i + 1,
                    "sequence_index": order,
                    "attempt": 1,
                    "status": "ok",
                    "throttled": 0,
                    "start_temp_c": 40.0,
                    metric: value,
                }
                | columns
            )
    return pd.DataFrame(rows)


def drawn(n: int = 12, shift: float = 0.0, seed: int = 1, **columns: Any) -> pd.DataFrame:
    """Normal runs, mean 100 and SD 1, the Docker arm moved by ``shift``."""
    rng = np.random.default_rng(seed)
    return run_table(list(rng.normal(100, 1, n)), list(rng.normal(100 + shift, 1, n)), **columns)
