"""Reports of known tools, recognised by what they hold, and what each of their figures is.
Nothing is asked that the tool defines.

A report that holds no figures of runs (single requests, text for people) is named and refused, with what to export
instead. One report is one run: what a tool repeats within one process or against one server is no set of independent
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from campaign.reading.documents import of_benchy, of_genai, of_guidellm, of_trtllm
from campaign.reading.errors import TableError
from campaign.reading.known import (
    LLAMA_BENCH,
    LLAMA_BENCH_ROWS,
    PHASE1,
    SGLANG,
    VLLM_LATENCY,
    VLLM_SERVE,
    VLLM_THROUGHPUT,
    Known,
    Rows,
    add_llama_rates,
)


def recognise_columns(names: Iterable[str]) -> Known | None:
    """Of a table by its header."""
    have = set(names)
    if {"elapsed_time", "num_requests", "total_num_tokens", "requests_per_second", "tokens_per_second"} <= have:
        return VLLM_THROUGHPUT
    if {"output_throughput", "mean_ttft_ms", "request_throughput"} <= have:
        if {"total_throughput", "input_throughput", "mean_e2e_latency_ms", "sharegpt_output_len"} & have:
            return SGLANG
        if {"total_token_throughput", "total_input_tokens", "tokenizer_id", "model_id"} & have:
            return VLLM_SERVE
    if {"model_id", "start_temp_celsius", "output_throughput", "peak_memory", "kv_cache", "iteration"} <= have:
        return PHASE1
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
            add_llama_rates(row)
        return LLAMA_BENCH_ROWS
    if {"avg_latency", "latencies", "percentiles"} <= have:
        return VLLM_LATENCY
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
        return of_genai(rows)
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
        return [("the file", value)], of_genai([value])
    benchmarks = value.get("benchmarks")
    if isinstance(benchmarks, list) and benchmarks and all(isinstance(entry, dict) for entry in benchmarks):
        if "tg_throughput" in benchmarks[0] or "pp_throughput" in benchmarks[0]:
            return of_benchy(value, benchmarks)
        if isinstance(benchmarks[0].get("metrics"), dict):
            return of_guidellm(value, benchmarks)
    if {"engine", "performance", "request_info"} <= set(value) and isinstance(value["performance"], dict):
        return of_trtllm(value)
    if (
        "output_throughput" in value
        or {"avg_latency", "latencies"} <= set(value)
        or "tokens_per_second" in value
        or "avg_ts" in value
    ):
        known = recognise_rows([value])
        return ([("the file", value)], known) if known else None
    return None
