"""Whose file this is, where it is no report of ours: told by keys and headings that only that program writes.

Somebody who gives a report of another program is told its name and what to do, not that a key is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Table = dict[str, Any]


def _has(*keys: str) -> Callable[[Table], bool]:
    return lambda table: all(key in table for key in keys)


def _any(*keys: str) -> Callable[[Table], bool]:
    return lambda table: any(key in table for key in keys)


def _is_figure(value: Any) -> bool:
    return isinstance(value, dict) and "avg" in value and "unit" in value


OURS = {"vllm": "vLLM", "trtllm": "TensorRT-LLM", "llamacpp": "llama.cpp (Campaign)"}

OBJECTS: tuple[tuple[str, Callable[[Table], bool]], ...] = (
    ("SGLang's bench_serving", lambda t: str(t.get("backend", "")).startswith("sglang") and "model_id" not in t),
    ("SGLang's bench_serving", _any("total_output_tokens_retokenized", "mean_e2e_latency_ms", "sglang_server_info")),
    (
        "SGLang's bench_one_batch",
        _any("prefill_throughput", "median_decode_throughput", "overall_throughput", "last_gen_throughput"),
    ),
    ("llama.cpp's llama-batched-bench", _has("pp", "tg", "pl")),
    ("llama.cpp's llama-bench", _any("build_commit", "avg_ts", "model_n_params", "stddev_ts")),
    ("llama.cpp's server", _has("timings", "content")),
    ("llama-benchy", _any("prefix_caching_enabled", "latency_mode", "llama_benchy_version", "pp_throughput")),
    ("AIPerf", _any("aiperf_version", "benchmark_id", "was_cancelled", "aiperf")),
    ("GuideLLM", lambda t: isinstance(t.get("benchmarks"), list)),
    ("GuideLLM", _any("guidellm_version", "guidellm")),
    ("GenAI-Perf (or Perf Analyzer)", _any("service_kind", "experiments", "genai_perf_version", "telemetry_stats")),
    ("GenAI-Perf or AIPerf", lambda t: "input_config" in t or any(map(_is_figure, t.values()))),
    ("LLMPerf", lambda t: any(key.startswith("results_") for key in t)),
    ("MLPerf LoadGen", _any("mlperf_version", "loadgen_version", "qsl_rng_seed", "result_validity")),
    ("lm-evaluation-harness", _any("n-shot", "lm_eval_version", "higher_is_better")),
    ("Ollama", _any("eval_duration", "prompt_eval_duration")),
    ("Hugging Face's inference-benchmarker", lambda t: isinstance(t.get("results"), list) and "config" in t),
    ("Hugging Face's optimum-benchmark", _has("config", "report")),
    ("locust", _has("num_requests", "num_failures", "response_times")),
    ("vLLM's export for PyTorch's benchmark database", _has("benchmark", "metric")),
)
"""Program and what tells its JSON object, the most telling first."""

OWN: tuple[tuple[str, Callable[[Table], bool]], ...] = (
    ("trtllm", _has("world_info", "request_info")),
    ("trtllm", lambda t: isinstance(t.get("engine"), dict) and "backend" in t["engine"] and "performance" in t),
    ("llamacpp", lambda t: isinstance(t.get("engine"), dict) and t["engine"].get("name") == "llamacpp"),
    ("vllm", _has("request_throughput", "total_output_tokens", "model_id")),
    ("vllm", _has("elapsed_time", "tokens_per_second", "total_num_tokens")),
    ("vllm", _has("avg_latency", "latencies", "percentiles")),
)
"""Reports of the engines that are read here."""

TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("MLPerf LoadGen", (":::MLL", ":::MLPERF", ":::MLPv", "MLPerf Results Summary")),
    ("llama.cpp's llama-bench",
    ("build_commit,", '"build_commit"', "INSERT INTO llama_bench", "INSERT INTO test",
     "| model                          |", "| t/s |", "|           t/s |")),
    ("llama.cpp's llama-batched-bench", ("S_PP t/s",)),
    ("llama-benchy", ("llama-benchy",)),
    ("GenAI-Perf or AIPerf", ("GenAI-Perf", "genai-perf", "NVIDIA AIPerf", "Metric,avg,min,max", "Metric,Avg,Min,Max")),
    ("GuideLLM", ("GuideLLM", "guidellm")),
    ("SGLang's bench_serving", ("#Input tokens:", "bench_serving.py: sglang")),
    ("trtexec", ("=== Performance summary ===", "&&&& RUNNING TensorRT.trtexec")),
    ("Ollama", ("prompt eval rate:",)),
)  # fmt: skip
"""Program and words that its text files carry near their beginning."""

LOOKED_AT = 20_000


def program_of(text: str) -> str | None:
    """The program whose file ``text`` is: one of :data:`OURS`' keys, a foreign program's name, or None."""
    for table in _tables(text):
        for engine, tells in OWN:
            if tells(table):
                return engine
        for program, tells in OBJECTS:
            if tells(table):
                return program
    head = text[:LOOKED_AT]
    return next((program for program, words in TEXTS if any(word in head for word in words)), None)


def refusal(origin: str, program: str, engine: str) -> str:
    """What to tell somebody who gave ``program``'s file as a report of ``engine``."""
    if program in OURS:
        return (
            f"{origin}: a report of {OURS[program]}, not of {OURS.get(engine, engine)}\n"
            f"Give it as `campaign parse {program} FILE`."
        )
    return (
        f"{origin}: a file of {program}, which is no report of {OURS.get(engine, engine)} and is not read\n"
        f"Reports are read of {', '.join(OURS.values())}. Figures of other programs come in as a table, one row a "
        "run: `campaign import FILE`."
    )


def _tables(text: str) -> list[Table]:
    """JSON objects of the file: itself, the first of a list, or the first of its lines."""
    stripped = text.strip().removeprefix("\ufeff")
    candidates = [stripped, stripped.partition("\n")[0]]
    for candidate in candidates:
        if not candidate.startswith(("{", "[")):
            continue
        try:
            data = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        first = data[0] if isinstance(data, list) and data else data
        return [first] if isinstance(first, dict) else []
    return []
