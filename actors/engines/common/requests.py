"""``requests.parquet``: one row per request of an attempt, the same columns for every engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.engines import EngineError
from actors.files.publish import publish

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
        ("answer_sha256", pa.string()),
    ]
)
"""Milliseconds; ``submitted_ms`` since the steady state began, ``itl_ms`` empty where the engine has no time per token.
``answer_sha256`` is of the answer's text, null where the engine gives none:
greedy answers of two arms can be compared by it."""


AT_ONCE = 2**18
"""Values that are turned into columns together; a row has one, and one for each time per token."""


def write_requests(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write ``rows`` to ``path`` as they come, whole or not at all. Raises EngineError for numbers that no column can
    hold, and whatever ``rows`` raises."""
    try:
        with publish(path) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as file:
            for some in _some(rows):
                file.write_table(pa.Table.from_pylist(some, schema=SCHEMA))
    except (pa.ArrowException, OverflowError) as error:
        raise EngineError(f"requests: a number that no request can have ({error})") from None


def _some(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    values = 0
    for row in rows:
        some.append(row)
        values += 1 + len(row.get("itl_ms") or ())
        if values >= AT_ONCE:
            yield some
            some, values = [], 0
    if some:
        yield some


def answer_digest(text: str | None) -> str | None:
    """sha256 of an answer's text; None where the engine gives none."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else None
