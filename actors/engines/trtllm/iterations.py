"""``trtllm-bench --iteration_log``: one Python literal per line, not JSON. Not written in measured runs, where it would
cost a process; read where somebody has one, because it counts KV cache blocks exactly.

Source: the C++ serialisation of iteration statistics (``docs``: trtllm-serve metrics).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from actors.engines.trtllm.report import ReportError, Section, read_text

GIB = 2**30


class KvCacheStats(Section):
    maxNumBlocks: int
    freeNumBlocks: int
    usedNumBlocks: int
    tokensPerBlock: int


class Iteration(Section):
    """``gpuMemUsage``: bytes, total − free as CUDA sees it,
    so on unified memory it includes page cache and other processes."""

    iter: int
    iterLatencyMS: float
    gpuMemUsage: int
    numActiveRequests: int
    numQueuedRequests: int
    numCompletedRequests: int
    maxNumActiveRequests: int
    kvCacheStats: KvCacheStats | None


def read_iterations(path: Path) -> tuple[Iteration, ...]:
    """Every iteration; :class:`ReportError` names line and key. A torn last line, as a kill leaves it, is left out."""
    return tuple(_iterations(read_text(path), path.name))


def figures(iterations: tuple[Iteration, ...]) -> dict[str, float | int | None]:
    """What a whole log says: capacity and use of the KV cache, memory as CUDA sees it, requests in flight."""
    caches = [iteration.kvCacheStats for iteration in iterations if iteration.kvCacheStats is not None]
    last = caches[-1] if caches else None
    return {
        "iterations": len(iterations),
        "iteration_mean_ms": sum(iteration.iterLatencyMS for iteration in iterations) / len(iterations),
        "kv_cache_tokens": last.maxNumBlocks * last.tokensPerBlock if last else None,
        "kv_cache_used_tokens_max": max((c.usedNumBlocks * c.tokensPerBlock for c in caches), default=None),
        "device_memory_max_gib": max(iteration.gpuMemUsage for iteration in iterations) / GIB,
        "requests_active_max": max(iteration.numActiveRequests for iteration in iterations),
    }


def _iterations(text: str, origin: str) -> Iterator[Iteration]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise ReportError(f"{origin}: the file is empty")
    for number, line in lines:
        try:
            yield Iteration.model_validate(_literal(line))
        except ValidationError as error:
            first = min(error.errors(), key=lambda problem: problem["type"] != "missing")
            key = ".".join(str(part) for part in first["loc"])
            what = "is missing" if first["type"] == "missing" else first["msg"].lower()
            raise ReportError(f"{origin}, line {number}: key '{key}' {what}", key) from None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            if (number, line) == lines[-1] and not text.endswith("\n") and len(lines) > 1:
                return
            raise ReportError(f"{origin}, line {number}: not a Python literal, as iteration logs are") from None


def _literal(line: str) -> Any:
    return ast.literal_eval(line.strip())
