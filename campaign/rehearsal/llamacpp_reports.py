"""What the simulated llama.cpp benchmark leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

from actors.types import Attempt
from campaign.plan.forecast import weight_bytes
from campaign.rehearsal.served import GIB, SAID, Served, stamped


def write_llamacpp(order: Attempt, served: Served, output: Path) -> None:
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
