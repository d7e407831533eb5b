"""``requests.parquet``: one row per request of an attempt, the same columns for every engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("request_index", pa.int32()),
        ("submitted_ms", pa.float64()),
        ("ttft_ms", pa.float64()),
        ("latency_ms", pa.float64()),
        ("input_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("ok", pa.bool_()),
        ("error", pa.string()),
        ("itl_ms", pa.list_(pa.float32())),
    ]
)
"""Milliseconds; ``submitted_ms`` since the steady state began, ``itl_ms`` empty where the engine has no time per token."""


def write_requests(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write ``rows`` to ``path``, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), partial, compression="zstd")
    partial.replace(path)
