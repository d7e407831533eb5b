"""A report of ``trtllm-bench`` read apart from any campaign.

``project`` keys are the metric names of this project. ``reference`` keys are the flat names under which reports of
TensorRT-LLM are published beside their parsed figures; log figures carry the suffix ``_log`` there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.engines import EngineError, Keys
from actors.engines.common.failures import Failure, report_missing
from actors.engines.common.figures import finite
from actors.engines.common.report_files import by_name, text_of
from actors.engines.trtllm.checks import check_complete, notes
from actors.engines.trtllm.figures import metrics
from actors.engines.trtllm.iterations import figures, read_iterations
from actors.engines.trtllm.log import Log, read_log
from actors.engines.trtllm.report import (
    BenchReport,
    ReportError,
    RequestRecord,
    is_newer_than_read,
    read_report,
    read_requests,
)


def parse_file(path: Path, log_path: Path | None, requests: Path | None, keys: Keys) -> dict[str, Any]:
    """The figures of one report, ready for JSON (no NaN: missing is null).

    Without a report the log is searched for the reason, and ``failure`` names it. Raises EngineError, naming the
    missing key, for a report that cannot be used.
    """
    if _first_line(path).startswith("{'"):
        return {
            "engine": "trtllm",
            "failure": None,
            "metrics": figures(read_iterations(path)),
            "notes": ["an iteration log"],
        }
    if _are_request_records(path):
        raise EngineError(f"{path}: these are request records; give the report, and this file as --requests")
    log = read_log(text_of(log_path)) if log_path is not None else Log()
    if not path.exists():
        if log_path is None:
            raise ReportError(f"{path}: there is no such file")
        failure = log.failure or report_missing(log.lines, "--report_json")
        return _failure(failure, log, keys)
    try:
        report = read_report(path)
        records = read_requests(requests) if requests is not None else ()
        check_complete(report, records, log, streaming=False)
    except ReportError as error:
        cause = f"; the log says {log.failure}" if log.failure is not None else ""
        raise ReportError(f"{error}{cause}", error.key) from None
    if keys == "reference":
        return reference(report, log if log_path is not None else None)
    return {
        "engine": "trtllm",
        "engine_version": report.engine.version,
        "model_identity": report.engine.model,
        "requests_answered": report.request_info.num_requests,
        "failure": None,
        **by_name(metrics(report, records, log)),
        "notes": _notes(report, records, log),
    }


def reference(report: BenchReport, log: Log | None) -> dict[str, Any]:
    """Flat figures under the published names. Averages and percentiles stand as reported, in ms, tok/s, J and W."""
    performance, info, streaming = report.performance, report.request_info, report.streaming_metrics
    latency = performance.request_latency_percentiles_ms
    figures: dict[str, Any] = {
        "version": report.engine.version,
        "backend": report.engine.backend,
        "num_requests": info.num_requests,
        "request_throughput_req_s": performance.request_throughput_req_s,
        "output_token_throughput_tok_s": performance.system_output_throughput_tok_s,
        "total_token_throughput_tok_s": performance.system_total_throughput_tok_s,
        "total_latency_ms": performance.total_latency_ms,
        "request_latency_avg_ms": performance.avg_request_latency_ms,
    }
    for name in ("p50", "p90", "p95", "p99", "minimum", "maximum"):
        figures[f"request_latency_{name}_ms"] = getattr(latency, name)
    figures |= {
        "kv_fraction_normalised": report.world_info.kv_cache_fraction,
        "avg_input_tokens": info.avg_input_length,
        "avg_output_tokens": info.avg_output_length,
        "avg_concurrency": info.avg_num_concurrent_requests,
        "has_machine": report.has("machine"),
        "has_streaming": report.has("streaming_metrics"),
        "has_energy": report.has("energy"),
    }
    if streaming is not None:
        figures |= {"ttft_avg_ms": streaming.avg_ttft_ms, "tpot_avg_ms": streaming.avg_tpot_ms}
        for kind, percentiles in (("ttft", streaming.ttft_percentiles), ("tpot", streaming.tpot_percentiles)):
            figures |= {f"{kind}_{name}_ms": getattr(percentiles, name) for name in ("p50", "p90", "p95", "p99")}
    if report.energy is not None:
        figures |= {name: getattr(report.energy, name) for name in type(report.energy).model_fields}
    if log is not None:
        figures |= {
            "kv_cache_gib_log": log.kv_cache_gib,
            "kv_cache_tokens_log": log.kv_cache_tokens,
            "kv_estimation_pass_gib": log.kv_estimation_gib,
            "peak_profiling_gib_log": log.peak_gib,
            "available_kv_gib_log": log.available_gib,
            "weights_gb_log": log.weights_gb,
            "device_total_gib_log": log.device_total_gib,
            "free_fraction_log": log.free_fraction,
        }
    return {name: finite(value) if isinstance(value, float) else value for name, value in figures.items()}


def _failure(failure: Failure, log: Log, keys: Keys) -> dict[str, Any]:
    if keys == "project":
        return {
            "engine": "trtllm",
            "engine_version": log.version,
            "model_identity": None,
            "requests_answered": 0,
            "failure": str(failure),
            **by_name(metrics(None, (), log, reason=failure.name)),
            "notes": list(log.notes),
        }
    said: dict[str, Any] = {"failure": failure.reference}
    if failure.reference == "oom":
        said["stage"] = failure.stage
    elif failure.detail:
        said["detail"] = failure.detail
    if failure.failed_requests is not None:
        said["failed_requests"] = failure.failed_requests
    return said | {"report_written": False}


def _notes(report: BenchReport, records: tuple[RequestRecord, ...], log: Log) -> list[str]:
    said = list(notes(report, records, log))
    if is_newer_than_read(report.engine.version):
        said.append(f"TensorRT-LLM {report.engine.version} is newer than any version whose reports were read")
    return said


def _first_line(path: Path) -> str:
    return text_of(path).lstrip()[:200].partition("\n")[0].strip() if path.is_file() else ""


def _are_request_records(path: Path) -> bool:
    """A list of what ``--request_json`` writes, whole or cut short; not every list is one."""
    if not path.is_file():
        return False
    head = text_of(path).lstrip()[:20000]
    return head.startswith("[") and '"num_total_output_tokens"' in head
