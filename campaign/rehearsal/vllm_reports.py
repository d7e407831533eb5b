"""What vLLM's simulated benchmarks leave behind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from actors.engines.vllm import options as vllm
from actors.types import Attempt
from campaign.rehearsal.served import GIB, SAID, Served, stamped

VLLM_VERSION = "0.22.1"


def write_vllm(order: Attempt, served: Served, output: Path) -> None:
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
