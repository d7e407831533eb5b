"""Reports of known tools, recognised by what they hold, and what each of their figures is.
Nothing is asked that the tool defines.

A report that holds no figures of runs (single requests, text for people) is named and refused, with what to export
instead. One report is one run: what a tool repeats within one process or against one server is no set of independent
runs.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from campaign.reading.errors import TableError

Rows = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Known:
    """What a tool's columns mean here. Columns that it does not name are settings,
    or left out because of ``otherwise``."""

    title: str
    meanings: dict[str, str] = field(default_factory=dict)
    """Column to factor or metric."""
    units: dict[str, str] = field(default_factory=dict)
    settings: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    attempts_by_time: bool = False
    """The tool's authors ran a repetition again, and its rows in order of time are attempts."""


def _latencies(statistics: Iterable[str], nouns: dict[str, str]) -> dict[str, str]:
    """vLLM's and SGLang's names (``mean_ttft_ms``) to ours; ``std`` describes requests and is no figure to compare."""
    ours = {"mean": "mean", "median": "p50"}
    return {
        f"{statistic}_{theirs}_ms": f"{noun}_{ours.get(statistic, statistic)}_ms"
        for theirs, noun in nouns.items()
        for statistic in statistics
    }


_STATISTICS = ("mean", "median", "p50", "p75", "p90", "p95", "p99")
_VLLM_SERVE = Known(
    "vLLM bench serve",
    {
        "model_id": "model", "date": "started", "backend": "engine", "run_number": "repetition", "label": "ignore",
        "tokenizer_id": "ignore",
        "request_throughput": "request_throughput_req_s", "output_throughput": "token_throughput_tok_s",
        "total_token_throughput": "total_token_throughput_tok_s",
        **_latencies(_STATISTICS, {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "latency"}),
    },
    settings=frozenset(
        ["num_prompts", "request_rate", "burstiness", "max_concurrency", "endpoint_type", "dataset_name",
         "random_input_len", "random_output_len", "max_num_seqs", "max_num_batched_tokens", "ramp_up_strategy"]
    ),
)  # fmt: skip
_VLLM_THROUGHPUT = Known(
    "vLLM bench throughput",
    {
        "model_id": "model",
        "requests_per_second": "request_throughput_req_s",
        "tokens_per_second": "total_token_throughput_tok_s",
    },
    settings=frozenset({"num_requests"}),
    notes=("tokens_per_second of vLLM bench throughput counts prompt and output tokens together",),
)
_VLLM_LATENCY = Known(
    "vLLM bench latency",
    {"model_id": "model", "avg_latency": "latency_mean_ms"},
    {"avg_latency": "s"},
    notes=("avg_latency of vLLM bench latency is that of a whole batch",),
)
_SGLANG = Known(
    "SGLang bench_serving",
    {
        "model_id": "model", "backend": "engine", "tag": "ignore",
        "request_throughput": "request_throughput_req_s", "output_throughput": "token_throughput_tok_s",
        "total_throughput": "total_token_throughput_tok_s",
        **_latencies(_STATISTICS, {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e_latency": "latency"}),
    },
    settings=frozenset(
        ["dataset_name", "request_rate", "max_concurrency", "sharegpt_output_len", "random_input_len",
         "random_output_len", "random_range_ratio", "num_prompts"]
    ),
)  # fmt: skip
_PHASE1 = Known(
    "results of the DGX Spark Benchmarking Project",
    {
        "model_name": "model", "model_id": "model_identity", "iteration": "repetition", "timestamp": "started",
        "environment": "environment",
        "throughput": "request_throughput_req_s", "output_throughput": "token_throughput_tok_s",
        "latency": "latency_mean_ms",
        "peak_memory": "peak_memory_gib", "kv_cache": "kv_cache_gib",
        "start_temp_celsius": "start_temperature_c", "exit_code": "exit_code", "model_path": "ignore",
        "end_temp_celsius": "ignore",
    },
    {"latency": "ms", "peak_memory": "GiB", "kv_cache": "GiB"},
    attempts_by_time=True,
)  # fmt: skip
LLAMA_BENCH = frozenset({"avg_ts", "n_prompt", "n_gen"})
"""Columns by which llama-bench is known."""
_LLAMA_SETTINGS = frozenset(
    [
        "n_batch",
        "n_ubatch",
        "n_threads",
        "cpu_mask",
        "cpu_strict",
        "poll",
        "type_k",
        "type_v",
        "n_gpu_layers",
        "n_cpu_moe",
        "split_mode",
        "main_gpu",
        "no_kv_offload",
        "flash_attn",
        "tensor_split",
        "use_mmap",
        "embeddings",
        "no_op_offload",
        "n_prompt",
        "n_gen",
        "n_depth",
        "backends",
        "build_commit",
        "devices",
        "tensor_buft_overrides",
        "backend",
        "ngl",
        "threads",
        "fa",
        "test",
        "size",
        "params",
        "mmap",
        "sm",
    ]
)
_LLAMA_BENCH = Known(
    "llama-bench",
    {
        "model_type": "model", "model": "model", "model_filename": "ignore", "test_time": "started",
        "build_number": "ignore", "cpu_info": "ignore",
        "gpu_info": "ignore", "model_size": "ignore", "model_n_params": "ignore", "avg_ns": "ignore",
        "stddev_ns": "ignore", "stddev_ts": "ignore",
        "avg_ts": "ignore", "t/s": "ignore", "prompt tok/s": "prompt_throughput_tok_s",
        "generation tok/s": "token_throughput_tok_s",
        "prompt and generation tok/s": "total_token_throughput_tok_s",
    },
    settings=_LLAMA_SETTINGS,
    notes=(
        ("llama-bench repeats a test within one process: its average is one run, "
        "and more runs are more calls of llama-bench"),
        "a test of generation (tg) gives the output rate without any prompt",
    ),
)  # fmt: skip


def recognise_columns(names: Iterable[str]) -> Known | None:
    """Of a table by its header."""
    have = set(names)
    if {"elapsed_time", "num_requests", "total_num_tokens", "requests_per_second", "tokens_per_second"} <= have:
        return _VLLM_THROUGHPUT
    if {"output_throughput", "mean_ttft_ms", "request_throughput"} <= have:
        if {"total_throughput", "input_throughput", "mean_e2e_latency_ms", "sharegpt_output_len"} & have:
            return _SGLANG
        if {"total_token_throughput", "total_input_tokens", "tokenizer_id", "model_id"} & have:
            return _VLLM_SERVE
    if {"model_id", "start_temp_celsius", "output_throughput", "peak_memory", "kv_cache", "iteration"} <= have:
        return _PHASE1
    if {"Metric", "avg", "min", "max", "p99"} <= have:
        raise TableError(
            "this is a CSV of genai-perf or AIPerf, one line a metric: give its JSON (profile_export_aiperf.json, "
            "profile_export_genai_perf.json)"
        )
    if {"metric", "value"} <= {name.lower() for name in have} and "model" in {name.lower() for name in have}:
        raise TableError(
            "this table has a line for each figure (columns metric and value): turn it, "
            "so that each run is a line and each metric a column"
        )
    return None


def recognise_rows(rows: Sequence[dict[str, Any]]) -> Known | None:
    """Of objects of a JSON list or JSON Lines. llama-bench's get their rate under
    the name of the test that it is of."""
    if not rows:
        return None
    have = set(rows[0])
    if have >= LLAMA_BENCH:
        for row in rows:
            _llama_rates(row)
        return _LLAMA_BENCH
    if {"avg_latency", "latencies", "percentiles"} <= have:
        return _VLLM_LATENCY
    if (
        {"metadata", "metrics"} <= have
        and isinstance(rows[0]["metadata"], dict)
        and "request_start_ns" in rows[0]["metadata"]
    ):
        raise TableError("these are single requests of AIPerf: give profile_export_aiperf.json, which sums up the run")
    if {"first_token_timestamp", "end_timestamp"} <= have:
        raise TableError(
            "these are single requests of trtllm-bench: give the report (--report_json), which sums up the run"
        )
    if "request_index" not in have and {"ttft", "itl", "prompt_len", "latency"} <= have:
        raise TableError("these are single requests: give the report that sums up each run")
    if isinstance(rows[0].get("time_to_first_token"), dict) and isinstance(rows[0].get("request_throughput"), dict):
        return _genai(rows)
    return recognise_columns(have)


def recognise(value: Any) -> tuple[Rows, Known] | None:
    """Of a whole JSON document that holds more than a list of runs, with its runs as rows."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("records"), dict) and isinstance(value["records"].get("output_token_throughput"), dict):
        value = {key: inner for key, inner in value.items() if key != "records"} | value["records"]
    if any(
        isinstance(value.get(key), dict) and "avg" in value[key]
        for key in ("request_throughput", "request_latency", "output_token_throughput")
    ):
        return [("the file", value)], _genai([value])
    benchmarks = value.get("benchmarks")
    if isinstance(benchmarks, list) and benchmarks and all(isinstance(entry, dict) for entry in benchmarks):
        if "tg_throughput" in benchmarks[0] or "pp_throughput" in benchmarks[0]:
            return _benchy(value, benchmarks)
        if isinstance(benchmarks[0].get("metrics"), dict):
            return _guidellm(value, benchmarks)
    if {"engine", "performance", "request_info"} <= set(value) and isinstance(value["performance"], dict):
        return _trtllm(value)
    if (
        "output_throughput" in value
        or {"avg_latency", "latencies"} <= set(value)
        or "tokens_per_second" in value
        or "avg_ts" in value
    ):
        known = recognise_rows([value])
        return ([("the file", value)], known) if known else None
    return None


def _llama_rates(row: dict[str, Any]) -> None:
    prompt, generated = (str(row.get(key, "0")).strip() not in ("0", "0.0", "") for key in ("n_prompt", "n_gen"))
    name = "prompt and generation tok/s" if prompt and generated else "prompt tok/s" if prompt else "generation tok/s"
    row[name] = row["avg_ts"]


def _benchy(value: dict[str, Any], benchmarks: list[dict[str, Any]]) -> tuple[Rows, Known]:
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


def _guidellm(value: dict[str, Any], benchmarks: list[dict[str, Any]]) -> tuple[Rows, Known]:
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


def _genai(rows: Sequence[dict[str, Any]]) -> Known:
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


def _trtllm(value: dict[str, Any]) -> tuple[Rows, Known]:
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


# --- text for people --------------------------------------------------------------------------------------------


def printed(text: str) -> tuple[Rows, Known] | None:
    """Of text that is no table: MLPerf's summary and llama-bench's SQL are read,
    printed tables for people are refused."""
    head = text[:20_000]
    if "MLPerf Results Summary" in head:
        return _mlperf(text)
    if re.search(r"INSERT\s+INTO\s+\"?llama_bench\b", head, re.IGNORECASE) or re.search(
        r"CREATE TABLE IF NOT EXISTS llama_bench", head
    ):
        return _llama_sql(text)
    if "Serving Benchmark Result" in head:
        raise TableError(
            "this is what vLLM or SGLang print for people: give the file that --save-result (vLLM) "
            "or --output-file (SGLang) writes"
        )
    if re.search(
        r"^={3,} PERFORMANCE OVERVIEW|PyTorch backend.*trtllm|^=+\s*$\n= .*(ENGINE|PERFORMANCE)", head, re.MULTILINE
    ):
        raise TableError("this is what trtllm-bench prints for people: give the file that --report_json writes")
    if "NVIDIA GenAI-Perf | LLM Metrics" in head or "NVIDIA AIPerf |" in head:
        raise TableError(
            "this is what genai-perf or AIPerf print for people: "
            "give the JSON file of the same run (profile_export_…json)"
        )
    return None


def _mlperf(text: str) -> tuple[Rows, Known]:
    pairs = [line.partition(":")[::2] for line in text.splitlines() if ":" in line]
    row: dict[str, Any] = {name.strip().rstrip(":").strip(): cell.strip().lstrip(":").strip() for name, cell in pairs}
    meanings = {"Scenario": "workload", "Result is": "status", "SUT name": "ignore", "Mode": "ignore"}
    units: dict[str, str] = {}
    names = (
        (r"(Completed )?[Ss]amples per second", "request_throughput_req_s", "req/s"),
        (r"(Completed )?[Tt]okens per second( \(inferred\))?", "token_throughput_tok_s", "tok/s"),
        (r"Mean latency \(ns\)", "latency_mean_ms", "ns"),
        (r"50\.00 percentile latency \(ns\)", "latency_p50_ms", "ns"),
        (r"95\.00 percentile latency \(ns\)", "latency_p95_ms", "ns"),
        (r"99\.00 percentile latency \(ns\)", "latency_p99_ms", "ns"),
        (r"Mean First Token latency \(ns\)", "ttft_mean_ms", "ns"),
        (r"99\.00 percentile first token latency \(ns\)", "ttft_p99_ms", "ns"),
    )
    kept: dict[str, Any] = {key: row[key] for key in ("Scenario", "Result is", "SUT name", "Mode") if key in row}
    for pattern, ours, unit in names:
        column = next((name for name in row if re.fullmatch(pattern, name) and ours not in meanings.values()), None)
        if column:
            kept[column], meanings[column] = row[column], ours
            if unit:
                units[column] = unit
    return [("the file", kept)], Known(
        "an MLPerf summary",
        meanings,
        units,
        notes=("MLPerf's samples are requests; a result that is INVALID counts as failed",),
    )


def _llama_sql(text: str) -> tuple[Rows, Known]:
    rows: Rows = []
    pattern = re.compile(
        r"INSERT\s+INTO\s+\"?llama_bench\"?\s*\(([^)]*)\)\s*VALUES\s*\((.*?)\)\s*;", re.IGNORECASE | re.DOTALL
    )
    for i, match in enumerate(pattern.finditer(text), 1):
        names = [name.strip().strip('"') for name in match[1].split(",")]
        cells = next(csv.reader([match[2].replace("\n", " ")], quotechar="'", skipinitialspace=True), [])
        if len(cells) != len(names):
            raise TableError(f"its INSERT number {i} has {len(cells)} values for {len(names)} columns")
        rows.append((f"INSERT {i}", dict(zip(names, cells, strict=True))))
    if not rows:
        raise TableError("SQL of llama-bench without any INSERT INTO llama_bench: the run did not finish")
    recognise_rows([row for _, row in rows])
    return rows, _LLAMA_BENCH


def markdown(names: list[str], rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Known] | None:
    """llama-bench's default output: ``| model | size | params | backend | … | test | t/s |``."""
    if not {"model", "test", "t/s"} <= set(names):
        return None
    for row in rows:
        test = str(row["test"]).strip()
        both, prompt = test.startswith("pp") and "+" in test, test.startswith("pp")
        name = "prompt and generation tok/s" if both else "prompt tok/s" if prompt else "generation tok/s"
        row[name] = str(row["t/s"]).partition("±")[0].strip()
    return rows, _LLAMA_BENCH
