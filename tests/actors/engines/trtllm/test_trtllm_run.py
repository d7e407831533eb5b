"""From a model's entry to its figures, through a real process: prepare, command, run, parse."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from actors.engines import OUTPUT
from actors.engines.trtllm.engine import TrtLlm
from actors.environments.registry import arm
from actors.types import Environment, Model, Mount, Report, Workload

PROGRAM = Path(__file__).with_name("replayed_trtllm_bench.py")
MODEL = Model(
    name="deepseek-r1-7b",
    engines=("trtllm",),
    huggingface_id="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    kv_bytes_per_token=57_344,
    layers=28,
    batch_size=8,
)


def run(tmp_path: Path, model: Model, workload: Workload) -> Report:
    """One attempt on the bare host."""
    weights = tmp_path / "models" / model.name
    weights.mkdir(parents=True)
    shape = {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}
    (weights / "config.json").write_text(
        json.dumps({"architectures": ["Qwen2ForCausalLM"], "vocab_size": 152064, **shape})
    )
    (weights / "model.safetensors").write_bytes(b"")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "trtllm-bench").write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
    (programs / "trtllm-bench").chmod(0o755)
    output = tmp_path / "attempt" / "output"
    output.mkdir(parents=True)

    engine = TrtLlm()
    prepared = engine.prepare(model, workload, tmp_path)
    launch = engine.command(model, workload, prepared)
    mounts = (*launch.mounts, Mount(source=str(output), target=OUTPUT, read_only=False))
    environment = Environment(
        name="native-host", kind="native-host", variables={"PATH": f"{programs}:{os.environ['PATH']}"}
    )
    labels = {"campaign": f"test-{os.getpid()}", "run": tmp_path.name, "attempt": "1"}
    process = arm(environment, tmp_path / "home").create(
        launch.model_copy(update={"mounts": mounts}), labels, output.parent, None
    )
    try:
        process.start()
        ended = process.wait(60)
    finally:
        process.close()
    assert ended is not None
    assert ended.code == 0, (output.parent / "stderr.log").read_text()
    return engine.parse(output, model, workload, prepared)


def test_a_throughput_run(tmp_path: Path) -> None:
    report = run(tmp_path, MODEL, Workload(name="w", requests=20, input_tokens=16, output_tokens=8))
    assert report.failure is None
    assert report.model_identity == MODEL.huggingface_id
    assert (report.requests_answered, report.tokens_generated, report.tokens_expected) == (20, 160, 160)
    figures = {metric.name: metric.value for metric in report.metrics}
    # Allocations are on one stream and the profiling between them on the other.
    assert (figures["kv_cache_gib"], figures["kv_estimation_gib"], figures["peak_memory_gib"]) == (87.23, 0.22, 23.0)


def test_a_latency_run_streams(tmp_path: Path) -> None:
    report = run(tmp_path, MODEL, Workload(name="w", kind="latency", requests=20, input_tokens=16, output_tokens=8))
    assert next(metric.value for metric in report.metrics if metric.name == "ttft_mean_ms") == 168.07249136000001
    # The recorded log is of another model, and its cache gives it away.
    assert report.failure == "model_identity: 65536 bytes of KV cache per token, the model has 57344"
