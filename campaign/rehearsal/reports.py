"""What a simulated engine leaves behind: the report, requests and log of the real program,
so that the real parser reads them.

Only what the parser takes, and in every file the word that it is simulated. Formats: ``actors/engines/*_report.py``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.engines.trtllm import options as trtllm
from actors.engines.vllm import options as vllm
from actors.types import Attempt
from campaign.plan.forecast import weight_bytes
from campaign.rehearsal.heat import Floats

GIB = 2**30
BLOCK_TOKENS = 32
TRIAL_TOKENS = 4128
"""Of the cache that TensorRT-LLM tries before it knows how large the real one may be."""
SAID = "SIMULATED: nothing in this log was measured"


@dataclass(frozen=True)
class Served:
    """What the program did. Times in seconds since the measured part began,
    one of each for every request in order of submission."""

    exec_utc_ns: int
    load_s: float
    warmup_s: float
    steady_s: float
    started_s: Floats
    first_s: Floats
    ended_s: Floats
    peak_gib: float
    kv_gib: float
    kv_trial_gib: float
    total_gib: float
    outside_torch_gib: float
    weights_gib: float
    kv_bytes_per_token: int

    def utc_ns(self, part: str) -> int:
        """When loading, warming up or the measured part ended."""
        passed = {
            "load": self.load_s,
            "warmup": self.load_s + self.warmup_s,
            "steady": self.load_s + self.warmup_s + self.steady_s,
        }
        return self.exec_utc_ns + int(passed[part] * 1e9)


def write(order: Attempt, served: Served, output: Path) -> None:
    """Report, requests and log into the attempt's folder."""
    WRITERS[order.engine](order, served, output)


def stamped(lines: Iterable[tuple[int, str]]) -> str:
    """As the harness writes what a process said: each line with the UTC time at which it was seen."""
    return "".join(f"{stamp(at_ns)} {text}\n" for at_ns, text in lines)


def stamp(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


def _percentiles(values: Floats) -> dict[str, float]:
    """Nearest rank, as trtllm-bench takes it."""
    ranked = np.sort(values)
    found = {f"p{q}": float(ranked[int(len(ranked) * q / 100)]) for q in (50, 90, 95, 99)}
    return {
        **found,
        "minimum": float(ranked[0]),
        "maximum": float(ranked[-1]),
        "average": float(values.mean()),
    }


# --- trtllm ---------------------------------------------------------------------------------------------------

TRTLLM_VERSION = "1.1.0rc3"


def _trtllm(order: Attempt, served: Served, output: Path) -> None:
    model, workload = order.model, order.workload
    n, out, prompt = workload.requests, workload.output_tokens, workload.input_tokens
    built = trtllm.needs_build(model)
    streamed = workload.kind == "latency"
    latency_ms = (served.ended_s - served.started_s) * 1e3
    total_s = served.steady_s
    one = dict.fromkeys(("p50", "p90", "p95", "p99", "minimum", "maximum", "average"))
    report: dict[str, Any] = {
        "simulated": True,
        "engine": {
            "model": trtllm.identity(model),
            "model_path": f"{trtllm.INPUT}/weights",
            "engine_dir": f"{trtllm.INPUT}/engine" if built else "None",
            "version": TRTLLM_VERSION,
            "backend": "TRT" if built else "Pytorch",
            "dtype": "bfloat16",
            "kv_cache_dtype": None,
            "quantization": None,
            **({"max_input_length": prompt, "max_sequence_length": prompt + out} if built else {}),
        },
        "world_info": {
            "tp_size": 1,
            "pp_size": 1,
            "ep_size": None,
            "world_size": 1,
            "max_batch_size": trtllm.batch_of(model, workload),
            "max_num_tokens": model.max_num_tokens or 4096,
            "scheduling_policy": "GUARANTEED_NO_EVICT",
            "kv_cache_percentage": trtllm.fraction_asked(model),
            "issue_rate": 0.0,
        },
        "request_info": {
            "num_requests": n,
            "avg_num_concurrent_requests": float(latency_ms.sum() / 1e3 / total_s),
            "avg_input_length": float(prompt),
            "avg_output_length": float(out),
        },
        "performance": {
            "total_latency_ms": total_s * 1e3,
            "avg_request_latency_ms": float(latency_ms.mean()),
            "request_throughput_req_s": n / total_s,
            "system_output_throughput_tok_s": n * out / total_s,
            "system_total_throughput_tok_s": n * (out + prompt) / total_s,
            "output_throughput_per_user_tok_s": float((out / latency_ms).mean() * 1e3),
            "output_throughput_per_gpu_tok_s": n * out / total_s,
            "request_latency_percentiles_ms": _percentiles(latency_ms),
        },
    }
    if streamed:
        ttft_ms = (served.first_s - served.started_s) * 1e3
        tpot_ms = (served.ended_s - served.first_s) * 1e3 / max(1, out - 1)
        report["streaming_metrics"] = {
            "token_output_speed_tok_s": float((1e3 / tpot_ms).mean()),
            "avg_ttft_ms": float(ttft_ms.mean()),
            "avg_tpot_ms": float(tpot_ms.mean()),
            "tpot_percentiles": _percentiles(tpot_ms),
            "ttft_percentiles": _percentiles(ttft_ms),
            "gen_tps_percentiles": _percentiles(1e3 / tpot_ms),
        }
    report["dataset"] = {
        **{
            f"{name}_stats": {key: float(value) for key in one}
            for name, value in (("isl", prompt), ("osl", out), ("seq_len", prompt + out))
        },
        "num_requests": n,
        "dataset_path": f"{trtllm.INPUT}/dataset.jsonl",
        "max_isl": prompt,
        "max_osl": out,
        "max_sequence_length": prompt + out,
        "avg_isl": prompt,
        "avg_osl": out,
        "avg_sequence_length": prompt + out,
    }
    (output / "report.json").write_text(json.dumps(report, indent=1))
    began_ns = served.exec_utc_ns
    starts, firsts, ends = (
        (began_ns + (column * 1e9).astype(np.int64)).tolist()
        for column in (served.started_s, served.first_s, served.ended_s)
    )
    if not streamed:
        firsts = [-1] * n
    rows = ",\n".join(
        f'{{"id":{i},"num_input_tokens":{prompt},"error_tokens":0,"start_timestamp":{start},'
        f'"first_token_timestamp":{first},"end_timestamp":{end},"num_total_output_tokens":{out},"simulated":true}}'
        for i, (start, first, end) in enumerate(zip(starts, firsts, ends, strict=True))
    )
    (output / "requests.json").write_text(f"[{rows}]\n")
    (output.parent / "stdout.log").write_text(stamped(_trtllm_log(order, served, built)))
    (output.parent / "stderr.log").write_text("")


def _trtllm_log(order: Attempt, served: Served, built: bool) -> Iterable[tuple[int, str]]:
    first, ready = served.exec_utc_ns, served.utc_ns("load")
    fraction, tokens = (
        trtllm.fraction_asked(order.model),
        int(served.kv_gib * GIB / served.kv_bytes_per_token),
    )
    loaded = first + int(0.6 * served.load_s * 1e9)
    yield first, SAID
    yield first, f"[TensorRT-LLM] TensorRT-LLM version: {TRTLLM_VERSION}"
    if built:
        yield (
            loaded,
            "[TensorRT-LLM][INFO] Memory usage when calculating max tokens in paged kv cache: "
            f"total: {served.total_gib:.2f} GiB, available: {served.kv_gib / fraction:.2f} GiB",
        )
        yield (
            ready,
            (
                f"[TensorRT-LLM][INFO] [MemUsageChange] Allocated {served.kv_gib:.2f} GiB for "
                f"max tokens in paged KV cache ({tokens})."
            ),
        )
    else:
        yield loaded, f"[TRT-LLM] [I] Use {served.weights_gib:.2f} GB for model weights."
        yield loaded, f"[TRT-LLM] [I] Model init total -- {0.6 * served.load_s:.2f}s"
        yield (
            loaded,
            f"[TRT-LLM] [W] Both free_gpu_memory_fraction and max_tokens are set (to {fraction}, and {TRIAL_TOKENS}, "
            "respectively). The smaller value will be used.",
        )
        yield (
            loaded,
            (
                f"[TensorRT-LLM][INFO] [MemUsageChange] Allocated {served.kv_trial_gib:.2f} GiB "
                f"for max tokens in paged KV cache ({TRIAL_TOKENS})."
            ),
        )
        yield (
            loaded,
            "[TRT-LLM] [I] Memory used after loading model weights (outside torch) in memory usage profiling: "
            f"{served.outside_torch_gib:.2f} GiB",
        )
        yield (
            ready,
            f"[TRT-LLM] [I] Peak memory during memory usage profiling (torch + non-torch): {served.peak_gib:.2f} "
            f"GiB, available KV cache memory when calculating max tokens: {served.kv_gib:.2f} GiB, fraction is set "
            f"{fraction}, kv size is {served.kv_bytes_per_token}. device total memory {served.total_gib:.2f} GiB, , "
            f"tmp kv_mem {served.kv_trial_gib:.2f} GiB",
        )
        yield (
            ready,
            (
                f"[TensorRT-LLM][INFO] [MemUsageChange] Allocated {served.kv_gib:.2f} GiB for "
                f"max tokens in paged KV cache ({tokens})."
            ),
        )
    yield ready, "[TRT-LLM] [I] Setting up for warmup..."
    if order.workload.warmup_requests:
        yield ready, "[TRT-LLM] [I] Starting benchmark..."
        yield served.utc_ns("warmup"), "[TRT-LLM] [I] Warmup done."
    yield served.utc_ns("warmup"), "[TRT-LLM] [I] Starting benchmark..."
    yield (
        served.utc_ns("warmup"),
        (
            f"[TRT-LLM] [I] Request submission complete. [count={order.workload.requests}, time=0.0010s, "
            "rate=1000.00 req/s]"
        ),
    )
    yield served.utc_ns("steady"), "[TRT-LLM] [I] Benchmark complete."


# --- vllm -----------------------------------------------------------------------------------------------------

VLLM_VERSION = "0.22.1"


def _vllm(order: Attempt, served: Served, output: Path) -> None:
    model, workload = order.model, order.workload
    n, out, prompt = workload.requests, workload.output_tokens, workload.input_tokens
    report: dict[str, Any] = {"simulated": True, "model_id": vllm.identity(model)}
    if workload.kind == "throughput":
        report |= {
            "elapsed_time": served.steady_s,
            "num_requests": n,
            "total_num_tokens": n * (out + prompt),
            "requests_per_second": n / served.steady_s,
            "tokens_per_second": n * (out + prompt) / served.steady_s,
        }
    else:
        ttft, latency = served.first_s - served.started_s, served.ended_s - served.started_s
        gaps = np.repeat(((latency - ttft) / max(1, out - 1))[:, None], max(0, out - 1), axis=1)
        report |= {
            "duration": served.steady_s,
            "completed": n,
            "failed": 0,
            "num_prompts": n,
            "total_input_tokens": n * prompt,
            "total_output_tokens": n * out,
            "request_throughput": n / served.steady_s,
            "output_throughput": n * out / served.steady_s,
            "total_token_throughput": n * (out + prompt) / served.steady_s,
            "input_lens": [prompt] * n,
            "output_lens": [out] * n,
            "ttfts": ttft.tolist(),
            "itls": gaps.tolist(),
            "start_times": served.started_s.tolist(),
            "errors": [""] * n,
        }
        tpot = (latency - ttft) / max(1, out - 1)
        for name, values in (("ttft", ttft), ("tpot", tpot), ("itl", gaps.ravel()), ("e2el", latency)):
            ms = values * 1e3 if len(values) else np.zeros(1)
            report |= {
                f"mean_{name}_ms": float(ms.mean()),
                f"median_{name}_ms": float(np.median(ms)),
                f"std_{name}_ms": float(ms.std()),
            }
            report |= {f"p{q}_{name}_ms": float(np.percentile(ms, q)) for q in (50, 95, 99)}
    (output / "report.json").write_text(json.dumps(report))
    (output.parent / "stdout.log").write_text(stamped(_vllm_log(order, served)))
    (output.parent / "stderr.log").write_text("")


def _vllm_log(order: Attempt, served: Served) -> Iterable[tuple[int, str]]:
    workload, first, ready = order.workload, served.exec_utc_ns, served.utc_ns("load")
    loaded = first + int(0.6 * served.load_s * 1e9)
    yield first, SAID
    yield (
        first,
        (
            f"INFO Initializing a V1 LLM engine (v{VLLM_VERSION}) with config: model='{vllm.inside(order.model)}', "
            "speculative_config=None"
        ),
    )
    yield (
        loaded,
        f"INFO Model loading took {served.weights_gib:.2f} GiB memory and {0.1 * served.load_s:.6f} seconds",
    )
    yield ready, f"INFO Available KV cache memory: {served.kv_gib:.2f} GiB"
    yield ready, f"INFO GPU KV cache size: {int(served.kv_gib * GIB / served.kv_bytes_per_token):,} tokens"
    yield ready, f"INFO init engine (profile, create kv cache, warmup model) took {0.4 * served.load_s:.2f} seconds"
    if workload.kind == "latency":
        yield served.utc_ns("warmup"), "Starting main benchmark run..."
        yield served.utc_ns("steady"), f"{' Serving Benchmark Result ':=^50}"
        return
    end = served.utc_ns("steady")
    yield end, f"Throughput: {workload.requests / served.steady_s:.2f} requests/s"
    yield end, f"Total num prompt tokens:  {workload.requests * workload.input_tokens}"
    yield end, f"Total num output tokens:  {workload.requests * workload.output_tokens}"


# --- llamacpp -------------------------------------------------------------------------------------------------


def _llamacpp(order: Attempt, served: Served, output: Path) -> None:
    model, workload = order.model, order.workload
    n, out, prompt = workload.requests, workload.output_tokens, workload.input_tokens
    facts = order.prepared.facts
    exec_ns, load_ns, warmup_ns = (
        served.exec_utc_ns,
        served.utc_ns("load"),
        served.utc_ns("warmup"),
    )
    end_ns = served.utc_ns("steady")
    steady_s = (end_ns - warmup_ns) / 1e9
    concurrency = workload.concurrency or (1 if workload.kind == "latency" else model.batch_size)
    tokens = concurrency * (prompt + out)
    kv_bytes = tokens * served.kv_bytes_per_token
    report = {
        "simulated": True,
        "schema": 1,
        "engine": {"name": "llamacpp", "version": "simulated"},
        "model": {
            "name": facts["general_name"],
            "parameters": facts["parameters"],
            "weight_bytes": int(weight_bytes(model)),
            "file_sha256": order.prepared.digests["weights"],
        },
        "settings": {"threads": facts["threads"], "concurrency": concurrency},
        "requests": {"expected": n, "answered": n, "failed": 0},
        "tokens": {"input": n * prompt, "output": n * out, "messages": n * out, "output_expected": n * out},
        "performance": {
            "steady_s": steady_s,
            "token_throughput_tok_s": n * out / steady_s,
            "request_throughput_req_s": n / steady_s,
        },
        "memory": {
            "peak_bytes": int(served.peak_gib * GIB),
            "kv_cache": {"logged_bytes": kv_bytes, "computed_bytes": kv_bytes, "context_tokens": tokens},
        },
        "clocks_ns": {
            "process_start": exec_ns,
            "load_end": load_ns,
            "warmup_end": warmup_ns,
            "steady_start": warmup_ns,
            "first_token": warmup_ns + int(served.first_s.min() * 1e9),
            "steady_end": end_ns,
        },
    }
    (output / "report.json").write_text(json.dumps(report, indent=1))
    ttft_ms, latency_ms = (
        (served.first_s - served.started_s) * 1e3,
        (served.ended_s - served.started_s) * 1e3,
    )
    lines = []
    for i in range(n):
        gap_ms = round(float((latency_ms[i] - ttft_ms[i]) / max(1, out - 1)), 6)
        line = {
            "request_index": i,
            "submitted_ms": float(served.started_s[i] * 1e3),
            "ttft_ms": float(ttft_ms[i]),
            "latency_ms": float(latency_ms[i]),
            "input_tokens": prompt,
            "output_tokens": out,
            "ok": True,
            "error": None,
            "itl_ms": [gap_ms] * max(0, out - 1),
            "simulated": True,
        }
        lines.append(json.dumps(line, separators=(",", ":")))
    (output / "requests.jsonl").write_text("\n".join(lines) + "\n")
    (output.parent / "stdout.log").write_text(stamped([(exec_ns, SAID)]))
    (output.parent / "stderr.log").write_text("")


WRITERS: dict[str, Callable[[Attempt, Served, Path], None]] = {
    "trtllm": _trtllm,
    "vllm": _vllm,
    "llamacpp": _llamacpp,
}


def digest(*parts: object) -> str:
    """In the place of a file's sha256: of what it stands for."""
    return hashlib.sha256("|".join(("simulated", *map(str, parts))).encode()).hexdigest()
