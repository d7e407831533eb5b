"""JSON documents of benchmark programs whose runs lie deeper than in rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from campaign.reading.known import Known, Rows


def of_benchy(value: dict[str, Any], benchmarks: list[dict[str, Any]]) -> tuple[Rows, Known]:
    shared = {key: value.get(key) for key in ("model", "timestamp", "latency_mode", "prefix_caching_enabled")}
    rows = []
    for i, entry in enumerate(benchmarks):
        if entry.get("is_context_prefill_phase"):
            continue
        figures = {
            key: part.get("mean") if isinstance(part, dict) else part
            for key, part in entry.items()
            if not isinstance(part, list) and key != "is_context_prefill_phase"
        }
        rows.append((f"benchmarks[{i}]", shared | figures))
    return rows, Known(
        "llama-benchy",
        {
            "model": "model", "timestamp": "started", "tg_throughput": "token_throughput_tok_s",
            "pp_throughput": "prompt_throughput_tok_s",
            "e2e_ttft": "ttft_mean_ms", "peak_throughput": "peak_throughput_tok_s", "ttfr": "ttfr_mean_ms",
            "est_ppt": "est_ppt_mean_ms",
            "tg_req_throughput": "ignore", "pp_req_throughput": "ignore", "peak_req_throughput": "ignore",
            "latency_ms": "ignore",
        },
        settings=frozenset({"concurrency", "context_size", "prompt_size", "response_size", "latency_mode",
            "prefix_caching_enabled", "prompt_id"}),
        notes=(
            ("llama-benchy's values within a report share one server: their mean is one run, "
            "and more runs are more reports"),
            "tg_throughput is the output rate of the generation phase alone",
        ),
    )  # fmt: skip


def of_guidellm(value: dict[str, Any], benchmarks: list[dict[str, Any]]) -> tuple[Rows, Known]:
    names = {
        "output_tokens_per_second": ("token_throughput_tok_s", None),
        "requests_per_second": ("request_throughput_req_s", None),
        "tokens_per_second": ("total_token_throughput_tok_s", None), "request_latency": ("latency_{}_ms", "s"),
        "time_to_first_token_ms": ("ttft_{}_ms", "ms"), "inter_token_latency_ms": ("itl_{}_ms", "ms"),
        "time_per_output_token_ms": ("tpot_{}_ms", "ms"),
    }  # fmt: skip
    meanings = {"model": "model", "start_time": "started"}
    units: dict[str, str] = {}
    rows = []
    for i, entry in enumerate(benchmarks):
        config = _object(entry.get("config")) or _object(entry.get("args"))
        strategy = _object(config.get("strategy")) or _object(config.get("profile"))
        row: dict[str, Any] = {"model": _first(value, entry, "model"), "start_time": entry.get("start_time")}
        for key in ("type_", "streams", "rate", "max_concurrency"):
            if not isinstance(strategy.get(key), dict | list | type(None)):
                row[f"strategy.{key}"] = strategy[key]
        for theirs, (ours, unit) in names.items():
            found = _object(_object(entry["metrics"].get(theirs)).get("successful"))
            percentiles = _object(found.get("percentiles"))
            for statistic, part in (
                ("mean", found.get("mean")),
                ("p50", found.get("median")),
                *((p, percentiles.get(p)) for p in ("p95", "p99")),
            ):
                if part is None or ("{}" not in ours and statistic != "mean"):
                    continue
                column = f"{theirs}.successful.{statistic}"
                row[column] = part
                meanings[column] = ours.format(statistic)
                if unit:
                    units[column] = unit
        rows.append((f"benchmarks[{i}]", row))
    if all(row["model"] is None for _, row in rows):
        for _, row in rows:
            del row["model"]
    settings = frozenset({"strategy.type_", "strategy.streams", "strategy.rate", "strategy.max_concurrency"})
    return rows, Known("GuideLLM", meanings, units, settings, ("GuideLLM's figures are of the successful requests",))


def _first(value: dict[str, Any], entry: dict[str, Any], key: str) -> Any:
    """A text under ``key`` in the places where GuideLLM's versions keep it."""
    places: list[Any] = [
        value.get("args"),
        entry.get("args"),
        entry.get("config"),
        entry.get("worker"),
        entry.get("benchmarker"),
    ]
    for outer in list(places):
        if isinstance(outer, dict):
            places += [outer.get("backend"), outer.get("backend_kwargs"), outer.get("requests")]
    return next((p[key] for p in places if isinstance(p, dict) and isinstance(p.get(key), str)), None)


def of_genai(rows: Sequence[dict[str, Any]]) -> Known:
    """genai-perf and AIPerf: an object of statistics with its unit for each metric.
    The rows get the figures as plain cells."""
    nouns = {
        "request_latency": "latency", "time_to_first_token": "ttft", "ttft": "ttft", "inter_token_latency": "itl",
        "request_throughput": "request_throughput_req_s", "output_token_throughput": "token_throughput_tok_s",
        "total_token_throughput": "total_token_throughput_tok_s",
    }  # fmt: skip
    statistics = {"avg": "mean", "p50": "p50", "p95": "p95", "p99": "p99"}
    meanings = {"model": "model", "start_time": "started", "end_time": "ignore"}
    units: dict[str, str] = {}
    for row in rows:
        config = _object(row.pop("input_config", None))
        endpoint, loadgen, analyzer = (_object(config.get(key)) for key in ("endpoint", "loadgen", "perf_analyzer"))
        stimulus = _object(analyzer.get("stimulus"))
        models = endpoint.get("model_names") or config.get("model_names") or config.get("model")
        row["model"] = (models[0] if models else None) if isinstance(models, list) else models
        if row["model"] is None:
            del row["model"]
        for name, settings in (("concurrency", loadgen), ("request_rate", loadgen), ("concurrency", stimulus)):
            if not isinstance(settings.get(name), dict | list | type(None)):
                row[name] = settings[name]
        for key in [key for key, part in row.items() if isinstance(part, dict | list)]:
            part = row.pop(key)
            unit = part.get("unit") if isinstance(part, dict) else None
            noun = nouns.get(key)
            if noun is None or unit is None:
                continue
            for statistic, ours in statistics.items():
                if statistic in part and ("throughput" not in noun or statistic == "avg"):
                    column = f"{key}.{statistic}"
                    row[column] = part[statistic]
                    meanings[column] = noun if "throughput" in noun else f"{noun}_{ours}_ms"
                    if "throughput" not in noun:
                        units[column] = str(unit)
    return Known("genai-perf or AIPerf", meanings, units, frozenset({"concurrency", "request_rate"}))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def of_trtllm(value: dict[str, Any]) -> tuple[Rows, Known]:
    """trtllm-bench ``--report_json``. Its token rates are output tokens; latencies are in ms."""
    engine, performance, info = (
        part if isinstance(part, dict) else {}
        for part in (value["engine"], value["performance"], value["request_info"])
    )
    told = value.get("streaming_metrics")
    streaming: dict[str, Any] = told if isinstance(told, dict) else {}
    row = {
        "engine.model": engine.get("model"),
        "engine.backend": engine.get("backend"),
        "engine.version": engine.get("version"),
    }
    row |= {
        f"request_info.{key}": info.get(key)
        for key in ("num_requests", "avg_num_concurrent_requests", "avg_input_length", "avg_output_length")
    }
    names = {
        "request_throughput_req_s": "request_throughput_req_s",
        "system_output_throughput_tok_s": "token_throughput_tok_s",
        "system_total_throughput_tok_s": "total_token_throughput_tok_s", "avg_request_latency_ms": "latency_mean_ms",
    }  # fmt: skip
    meanings = {"engine.model": "model"}
    for key, ours in names.items():
        row[f"performance.{key}"] = performance.get(key)
        meanings[f"performance.{key}"] = ours
    tails = performance.get("request_latency_percentiles_ms")
    for p in ("p50", "p95", "p99"):
        if isinstance(tails, dict) and p in tails:
            row[f"performance.request_latency_percentiles_ms.{p}"] = tails[p]
            meanings[f"performance.request_latency_percentiles_ms.{p}"] = f"latency_{p}_ms"
    for key, ours in (("avg_ttft_ms", "ttft_mean_ms"), ("avg_tpot_ms", "tpot_mean_ms")):
        if key in streaming:
            row[f"streaming_metrics.{key}"] = streaming[key]
            meanings[f"streaming_metrics.{key}"] = ours
    settings = frozenset({"engine.backend", "engine.version", "request_info.num_requests"})
    return [("the file", row)], Known("trtllm-bench report", meanings, settings=settings)
