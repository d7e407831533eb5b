"""``--report_json`` and ``--request_json`` of ``trtllm-bench``,
computed from the times of the requests as the program does.

Percentiles are ``sorted(x)[int(n * q)]``. Keys by version as recorded in ``tests/fixtures/trtllm``.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from statistics import fmean
from typing import Any

from .machine import DEVICE_TOTAL_GIB
from .serving import Served
from .trtllm_options import line


def percentiles(values: Iterable[float]) -> dict[str, float]:
    ranked = sorted(values)
    ranks = {f"p{q}": ranked[int(len(ranked) * q / 100)] for q in (50, 90, 95, 99)}
    return {**ranks, "minimum": ranked[0], "maximum": ranked[-1], "average": fmean(ranked)}


def latency_ms(request: Served) -> float:
    return (request.end_ns - request.start_ns) / 1e6


def ttft_ms(request: Served) -> float:
    return (request.first_ns - request.start_ns) / 1e6


def tpot_ms(request: Served) -> float:
    return (request.end_ns - request.first_ns) / 1e6 / max(1, request.generated - 1)


def report(
    engine: dict[str, Any], world: dict[str, Any], served: list[Served], dataset: str, streamed: bool
) -> dict[str, Any]:
    """The whole report. ``engine`` and ``world`` are what was asked for; they are completed here."""
    of = line(engine["version"])
    total_s = (max(r.end_ns for r in served) - min(r.start_ns for r in served)) / 1e9
    generated, prompts = sum(r.generated for r in served), sum(r.input_tokens for r in served)
    latencies = [latency_ms(r) for r in served]
    starts = sorted(r.start_ns for r in served)
    gaps = [after - before for before, after in pairwise(starts)] or [0]
    whole: dict[str, Any] = {"engine": engine}
    if of >= (1, 2):
        whole["machine"] = {"name": "NVIDIA GB10", "memory.total": DEVICE_TOTAL_GIB, "clocks.mem": None}
    whole["world_info"] = {
        "tp_size": 1,
        "pp_size": 1,
        "ep_size": None,
        "world_size": 1,
        "max_batch_size": world["max_batch_size"],
        "max_num_tokens": world["max_num_tokens"],
        "scheduling_policy": world["scheduling_policy"],
        "kv_cache_percentage": world["kv_cache_percentage"],
        "issue_rate": fmean(gaps) * 1e9,
    }
    whole["request_info"] = {
        "num_requests": len(served),
        "avg_num_concurrent_requests": sum(latencies) / 1e3 / total_s,
        "avg_input_length": prompts / len(served),
        "avg_output_length": generated / len(served),
    }
    whole["performance"] = {
        "total_latency_ms": total_s * 1e3,
        "avg_request_latency_ms": fmean(latencies),
        "request_throughput_req_s": len(served) / total_s,
        "system_output_throughput_tok_s": generated / total_s,
        "system_total_throughput_tok_s": (generated + prompts) / total_s,
        "output_throughput_per_user_tok_s": fmean(r.generated / latency_ms(r) * 1e3 for r in served),
        "output_throughput_per_gpu_tok_s": generated / total_s,
        "request_latency_percentiles_ms": percentiles(latencies),
    }
    if streamed:
        speeds = [(r.generated - 1) / (r.end_ns - r.first_ns) * 1e9 for r in served if r.generated > 1]
        whole["streaming_metrics"] = {
            "token_output_speed_tok_s": fmean(speeds),
            "avg_ttft_ms": fmean(map(ttft_ms, served)),
            "avg_tpot_ms": fmean(map(tpot_ms, served)),
            "tpot_percentiles": percentiles(map(tpot_ms, served)),
            "ttft_percentiles": percentiles(map(ttft_ms, served)),
            "gen_tps_percentiles": percentiles(speeds),
        }
    inputs, outputs = [r.input_tokens for r in served], [r.output_tokens for r in served]
    both = [a + b for a, b in zip(inputs, outputs, strict=True)]
    whole["dataset"] = {
        **{
            f"{name}_stats": {key: float(value) for key, value in percentiles(values).items()}
            for name, values in (("isl", inputs), ("osl", outputs), ("seq_len", both))
        },
        "num_requests": len(served),
        "dataset_path": dataset,
        "max_isl": max(inputs),
        "max_osl": max(outputs),
        "max_sequence_length": max(both),
        "avg_isl": int(fmean(inputs)),
        "avg_osl": int(fmean(outputs)),
        "avg_sequence_length": int(fmean(both)),
    }
    return whole


def records(served: list[Served], streamed: bool) -> list[dict[str, Any]]:
    """Of single requests, in order of completion. Without streaming the time of the first token is -1, and what follows
    from it has no meaning."""
    return [
        {
            "id": r.id,
            "num_input_tokens": r.input_tokens,
            "error_tokens": 0,
            "start_timestamp": r.start_ns,
            "first_token_timestamp": r.first_ns if streamed else -1,
            "end_timestamp": r.end_ns,
            "decode_iteration": r.generated,
            "num_total_output_tokens": r.generated,
            "num_generated_tokens": r.generated - 1,
            "generation_time": r.end_ns - r.first_ns if streamed else r.end_ns + 1,
            "time_to_first_token": r.first_ns - r.start_ns if streamed else 0,
            "intertoken_latency": (r.end_ns - (r.first_ns if streamed else -1)) / max(1, r.generated - 1),
            "end_to_end_latency": r.end_ns - r.start_ns,
            "output_token_throughput": r.generated / (r.end_ns - r.start_ns),
            "generation_token_throughput": (r.generated - 1) / max(1, r.end_ns - (r.first_ns if streamed else -1)),
            "output": "",
            "output_tokens": r.generated,
        }
        for r in served
    ]
