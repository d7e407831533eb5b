"""What is known of the columns that benchmark programs write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

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


def latencies(statistics: Iterable[str], nouns: dict[str, str]) -> dict[str, str]:
    """vLLM's and SGLang's names (``mean_ttft_ms``) to ours; ``std`` describes requests and is no figure to compare."""
    ours = {"mean": "mean", "median": "p50"}
    return {
        f"{statistic}_{theirs}_ms": f"{noun}_{ours.get(statistic, statistic)}_ms"
        for theirs, noun in nouns.items()
        for statistic in statistics
    }


STATISTICS = ("mean", "median", "p50", "p75", "p90", "p95", "p99")
VLLM_SERVE = Known(
    "vLLM bench serve",
    {
        "model_id": "model", "date": "started", "backend": "engine", "run_number": "repetition", "label": "ignore",
        "tokenizer_id": "ignore",
        "request_throughput": "request_throughput_req_s", "output_throughput": "token_throughput_tok_s",
        "total_token_throughput": "total_token_throughput_tok_s",
        **latencies(STATISTICS, {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "latency"}),
    },
    settings=frozenset(
        ["num_prompts", "request_rate", "burstiness", "max_concurrency", "endpoint_type", "dataset_name",
         "random_input_len", "random_output_len", "max_num_seqs", "max_num_batched_tokens", "ramp_up_strategy"]
    ),
)  # fmt: skip
VLLM_THROUGHPUT = Known(
    "vLLM bench throughput",
    {
        "model_id": "model",
        "requests_per_second": "request_throughput_req_s",
        "tokens_per_second": "total_token_throughput_tok_s",
    },
    settings=frozenset({"num_requests"}),
    notes=("tokens_per_second of vLLM bench throughput counts prompt and output tokens together",),
)
VLLM_LATENCY = Known(
    "vLLM bench latency",
    {"model_id": "model", "avg_latency": "latency_mean_ms"},
    {"avg_latency": "s"},
    notes=("avg_latency of vLLM bench latency is that of a whole batch",),
)
SGLANG = Known(
    "SGLang bench_serving",
    {
        "model_id": "model", "backend": "engine", "tag": "ignore",
        "request_throughput": "request_throughput_req_s", "output_throughput": "token_throughput_tok_s",
        "total_throughput": "total_token_throughput_tok_s",
        **latencies(STATISTICS, {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e_latency": "latency"}),
    },
    settings=frozenset(
        ["dataset_name", "request_rate", "max_concurrency", "sharegpt_output_len", "random_input_len",
         "random_output_len", "random_range_ratio", "num_prompts"]
    ),
)  # fmt: skip
PHASE1 = Known(
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
LLAMA_SETTINGS = frozenset(
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
LLAMA_BENCH_ROWS = Known(
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
    settings=LLAMA_SETTINGS,
    notes=(
        ("llama-bench repeats a test within one process: its average is one run, "
        "and more runs are more calls of llama-bench"),
        "a test of generation (tg) gives the output rate without any prompt",
    ),
)  # fmt: skip


def add_llama_rates(row: dict[str, Any]) -> None:
    prompt, generated = (str(row.get(key, "0")).strip() not in ("0", "0.0", "") for key in ("n_prompt", "n_gen"))
    name = "prompt and generation tok/s" if prompt and generated else "prompt tok/s" if prompt else "generation tok/s"
    row[name] = row["avg_ts"]
