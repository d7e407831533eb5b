"""Report and log of ``trtllm-bench`` under the project's names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from actors.engines.common.figures import figure
from actors.engines.common.requests import answer_digest
from actors.engines.trtllm.log import Log
from actors.engines.trtllm.report import BenchReport, RequestRecord
from actors.types import Metric


def metrics(
    report: BenchReport | None, records: tuple[RequestRecord, ...], log: Log, reason: str = "no report"
) -> tuple[Metric, ...]:
    """Every figure under the project's name. Missing ones say why;
    a NaN or Infinity that the program wrote is missing."""
    return tuple(
        figure(name, value, unit, source, why)
        for name, value, unit, source, why in (*_served(report, records, reason), *_from_log(report, log, reason))
    )


def request_rows(records: tuple[RequestRecord, ...]) -> Iterator[dict[str, Any]]:
    """Rows of ``requests.parquet`` in order of submission."""
    begin = records[0].start_timestamp
    for index, record in enumerate(records):
        yield {
            "request_index": index,
            "submitted_ms": (record.start_timestamp - begin) / 1e6,
            "ttft_ms": record.ttft_ms,
            "latency_ms": record.latency_ms,
            "input_tokens": record.num_input_tokens,
            "output_tokens": record.num_total_output_tokens,
            "ok": record.error_tokens == 0,
            "error": f"{record.error_tokens} error tokens" if record.error_tokens else None,
            "itl_ms": None,
            "answer_sha256": answer_digest(record.output) if isinstance(record.output, str) else None,
        }


Figure = tuple[str, float | None, str, str, str]
"""Name, value, unit, source, reason where it is missing."""

PER_REQUEST = (
    "trtllm-bench keeps no time per token: a request's mean is its TPOT (tpot_*), whose percentiles run over requests"
)
NOT_STREAMED = "the engine did not stream"


def _served(report: BenchReport | None, records: tuple[RequestRecord, ...], reason: str) -> Iterator[Figure]:
    """Figures of the report."""

    def figure(name: str, path: str, unit: str, missing: str = reason) -> Figure:
        value: Any = report
        for key in path.split("."):
            value = getattr(value, key) if value is not None else None
        nearest = " (nearest rank)" if re.fullmatch(r"p\d+", path.rpartition(".")[2]) else ""
        return name, value, unit, f"report.json: {path}{nearest}", missing

    silent = NOT_STREAMED if report else reason
    yield figure("token_throughput_tok_s", "performance.system_output_throughput_tok_s", "tok/s")
    yield figure("total_token_throughput_tok_s", "performance.system_total_throughput_tok_s", "tok/s")
    yield figure("request_throughput_req_s", "performance.request_throughput_req_s", "req/s")
    yield figure("latency_mean_ms", "performance.avg_request_latency_ms", "ms")
    for name, key in (
        ("min", "minimum"),
        ("p50", "p50"),
        ("p90", "p90"),
        ("p95", "p95"),
        ("p99", "p99"),
        ("max", "maximum"),
    ):
        missing = "this version reports no P90" if report and key == "p90" else reason
        yield figure(f"latency_{name}_ms", f"performance.request_latency_percentiles_ms.{key}", "ms", missing)
    for kind in ("ttft", "tpot"):
        yield figure(f"{kind}_mean_ms", f"streaming_metrics.avg_{kind}_ms", "ms", silent)
        for name in ("p50", "p90", "p95", "p99"):
            yield figure(f"{kind}_{name}_ms", f"streaming_metrics.{kind}_percentiles.{name}", "ms", silent)
    yield _itl_mean(report, silent)
    streamed = report is not None and report.streaming_metrics is not None
    for name in ("p50", "p95", "p99"):
        yield f"itl_{name}_ms", None, "ms", "report.json", PER_REQUEST if streamed else silent
    yield figure("concurrency_mean", "request_info.avg_num_concurrent_requests", "1")
    no_counter = "this version or device reports no energy" if report else reason
    yield figure("engine_energy_j", "energy.total_energy_j", "J", no_counter)
    yield figure("engine_power_mean_w", "energy.average_gpu_power", "W", no_counter)
    steady = report.performance.total_latency_ms / 1e3 if report else None
    yield "steady_s", steady, "s", "report.json: performance.total_latency_ms", reason
    arrivals = [record.ttft_ms + record.start_timestamp / 1e6 for record in records if record.ttft_ms is not None]
    begin = min((record.start_timestamp for record in records), default=0) / 1e6
    first = (min(arrivals) - begin) / 1e3 if arrivals else None
    yield "first_token_s", first, "s", "requests.json", silent if not streamed else "no request records"


def _itl_mean(report: BenchReport | None, silent: str) -> Figure:
    """The mean over requests of their mean gaps is the mean gap only where all outputs are equally long."""
    name, unit, source = "itl_mean_ms", "ms", "report.json: streaming_metrics.avg_tpot_ms"
    if report is None or report.streaming_metrics is None:
        return name, None, unit, source, silent
    if report.decoding_stats is not None:
        return name, None, unit, source, "with speculative decoding a message brings several tokens; see tpot_*"
    lengths = report.dataset.osl_stats
    if lengths.minimum != lengths.maximum:
        return name, None, unit, source, PER_REQUEST
    return name, report.streaming_metrics.avg_tpot_ms, unit, source, silent


def _from_log(report: BenchReport | None, log: Log, reason: str) -> Iterator[Figure]:
    """Figures that only the log has, and the terms of the identity that ties peak memory to KV cache."""
    silent = "the log has no such line"
    profiled = silent
    if report is not None and report.engine.backend == "TRT":
        profiled = "the TensorRT backend does not profile its peak"
    yield (
        "peak_memory_gib",
        log.peak_gib,
        "GiB",
        "log: peak during memory usage profiling, torch and non-torch",
        profiled,
    )
    yield ("kv_cache_gib", log.kv_cache_gib, "GiB", log.kv_cache_source, log.kv_cache_source)
    yield ("kv_cache_tokens", log.kv_cache_tokens, "tokens", log.kv_cache_source, log.kv_cache_source)
    yield ("kv_bytes_per_token", log.kv_bytes_per_token, "B", "log: kv size", silent)
    yield ("kv_estimation_gib", log.kv_estimation_gib, "GiB", "log: first of the KV cache allocations", silent)
    yield ("kv_available_gib", log.available_gib, "GiB", "log: available KV cache memory", silent)
    fraction = log.free_fraction
    if fraction is None and report is not None:
        fraction = report.world_info.kv_cache_fraction
    yield ("kv_free_fraction", fraction, "1", "log: fraction is set, else world_info.kv_cache_percentage", silent)
    yield ("device_total_gib", log.device_total_gib, "GiB", "log: device total memory", silent)
    yield ("memory_identity_gib", log.memory_identity_gib, "GiB", "peak + KV / fraction − trial − device total", silent)
    yield (
        "outside_torch_gib",
        log.outside_torch_gib,
        "GiB",
        "log: memory outside torch after loading the weights",
        silent,
    )
    rates = report.decoding_stats.draft_acceptance_rate_percentiles if report and report.decoding_stats else None
    yield (
        "draft_acceptance_pct",
        100 * rates.average if rates is not None else None,
        "%",
        "report.json: decoding_stats.draft_acceptance_rate_percentiles.average",
        "nothing was drafted: no speculative decoding" if report is not None else reason,
    )
    yield ("prefix_cache_hit_pct", None, "%", "log", "trtllm-bench switches the reuse of KV blocks off")
    yield ("weights_gib", log.weights_gb, "GiB", "log: for model weights (it says GB and counts GiB)", silent)
    yield ("model_init_s", log.model_init_s, "s", "log: Model init total", silent)
    yield ("load_s", log.load_s, "s", "log: first line until requests are taken", silent)
    yield ("warmup_s", log.warmup_s, "s", "log: until the measured requests start", silent)


def tokens_generated(report: BenchReport) -> int | None:
    generated = report.request_info.avg_output_length * report.request_info.num_requests
    return round(generated) if math.isfinite(generated) else None
