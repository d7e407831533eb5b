"""Whether what ran is what was asked for, and what a reader of the figures should know."""

from __future__ import annotations

import math
from collections.abc import Iterator

from actors.engines.trtllm.log import Log
from actors.engines.trtllm.options import INPUT, batch_of, fraction_asked, identity
from actors.engines.trtllm.report import BenchReport, ReportError, RequestRecord, nearest_rank, unknown_keys
from actors.types import Model, Prepared, Workload

GIB = 2**30


def mismatches(
    report: BenchReport, log: Log, model: Model, workload: Workload, prepared: Prepared
) -> Iterator[tuple[str, str]]:
    """Named differences between what was asked and what ran."""
    yield from _other_model(report, log, model, prepared)
    if log.version is not None and log.version != report.engine.version:
        yield "report_stale", f"the report is of version {report.engine.version}, the log of {log.version}"
    info, world = report.request_info, report.world_info
    if not math.isclose(info.avg_input_length, workload.input_tokens, rel_tol=1e-6):
        yield "workload_mismatch", f"{info.avg_input_length:g} input tokens per request, not {workload.input_tokens}"
    if world.max_batch_size != batch_of(model, workload):
        yield "configuration_mismatch", f"ran with a batch of {world.max_batch_size}, not {batch_of(model, workload)}"
    fraction = world.kv_cache_fraction
    if fraction is not None and not math.isclose(fraction, fraction_asked(model), rel_tol=1e-5):
        yield "configuration_mismatch", f"ran with a KV fraction of {fraction:g}, not {fraction_asked(model):g}"


def _other_model(report: BenchReport, log: Log, model: Model, prepared: Prepared) -> Iterator[tuple[str, str]]:
    """``engine.model`` only echoes the command line, so the model is also recognised by what it weighs: bytes of KV
    cache per token and bytes of weights, as the engine measured them."""
    if report.engine.model != identity(model):
        yield "model_identity", f"asked for {identity(model)}, the engine ran {report.engine.model}"
    # On the bare host the mounts' targets are their sources.
    if report.engine.model_path not in ("None", f"{INPUT}/weights", prepared.files.get("weights")):
        yield "model_identity", f"the engine read {report.engine.model_path}, not {INPUT}/weights"
    kv_bytes = model.kv_bytes_per_token or prepared.facts.get("kv_bytes_per_token")
    if log.kv_bytes_per_token and isinstance(kv_bytes, int):
        ratio = log.kv_bytes_per_token / kv_bytes
        if not any(math.isclose(ratio, known, rel_tol=1e-3) for known in (0.5, 1.0, 2.0)):  # 8- or 16-bit cache
            yield "model_identity", f"{log.kv_bytes_per_token:g} bytes of KV cache per token, the model has {kv_bytes}"
    if log.weights_gb and model.weight_bytes:
        ratio = log.weights_gb / (model.weight_bytes / GIB)  # the log says GB and counts GiB
        if not 0.67 <= ratio <= 1.5:
            yield "model_identity", f"{log.weights_gb:g} GiB of weights, the model has {model.weight_bytes / GIB:.2f}"


def notes(report: BenchReport, records: tuple[RequestRecord, ...], log: Log) -> tuple[str, ...]:
    """What a reader of the figures should know and no failure says."""
    said = list(log.notes)
    if unknown := unknown_keys(report):
        said.append(f"keys that no version read has, ignored: {', '.join(unknown)}")
    in_flight, batch = report.request_info.avg_num_concurrent_requests, report.world_info.max_batch_size
    if in_flight > 1.5 * batch:
        said.append(
            f"latency is mostly queue time: {in_flight:.0f} requests in flight on average for a batch of {batch}"
        )
    if report.request_info.num_requests <= 20:
        said.append("with so few requests the nearest-rank P95 and P99 are the maximum")
    elif report.request_info.num_requests <= 100:
        said.append("with so few requests the nearest-rank P99 is the maximum")
    if records:
        if len(records) != report.request_info.num_requests:
            said.append(f"{len(records)} request records, the report counts {report.request_info.num_requests}")
        else:
            own = nearest_rank([record.latency_ms for record in records], 0.95)
            theirs = report.performance.request_latency_percentiles_ms.p95
            if not math.isclose(own, theirs, rel_tol=1e-6):
                said.append(f"P95 latency is {own:g} ms by the request records and {theirs:g} ms by the report")
    if log.version is not None and log.version != report.engine.version:
        said.append(f"the log is of version {log.version}, the report of {report.engine.version}")
    residual = log.memory_identity_gib
    if residual is not None and abs(residual) < 0.1:
        said.append("peak memory and KV cache are one observation: peak + KV / fraction − trial is the device total")
    return tuple(said)


def check_complete(report: BenchReport, records: tuple[RequestRecord, ...], log: Log, *, streaming: bool) -> None:
    """What the report alone cannot tell to be missing."""
    if report.streaming_metrics is None and (streaming or log.streamed):
        raise ReportError("report.json: key 'streaming_metrics' is missing; the run streamed", "streaming_metrics")
    if records and len(records) != report.request_info.num_requests:
        raise ReportError(
            f"requests.json: {len(records)} records, request_info.num_requests is {report.request_info.num_requests}",
            "request_info.num_requests",
        )
