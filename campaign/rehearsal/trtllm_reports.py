"""What a simulated ``trtllm-bench`` leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from actors.engines.trtllm import options as trtllm
from actors.types import Attempt
from campaign.rehearsal.served import GIB, SAID, TRIAL_TOKENS, Served, percentiles, stamped

TRTLLM_VERSION = "1.1.0rc3"


def write_trtllm(order: Attempt, served: Served, output: Path) -> None:
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
            "request_latency_percentiles_ms": percentiles(latency_ms),
        },
    }
    if streamed:
        ttft_ms = (served.first_s - served.started_s) * 1e3
        tpot_ms = (served.ended_s - served.first_s) * 1e3 / max(1, out - 1)
        report["streaming_metrics"] = {
            "token_output_speed_tok_s": float((1e3 / tpot_ms).mean()),
            "avg_ttft_ms": float(ttft_ms.mean()),
            "avg_tpot_ms": float(tpot_ms.mean()),
            "tpot_percentiles": percentiles(tpot_ms),
            "ttft_percentiles": percentiles(ttft_ms),
            "gen_tps_percentiles": percentiles(1e3 / tpot_ms),
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
