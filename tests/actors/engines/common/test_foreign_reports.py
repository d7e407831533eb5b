"""Somebody who gives another program's file is told whose it is and what to give instead, not that a key is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.engines import EngineError
from actors.engines.common.foreign_reports import program_of
from actors.engines.parse import parse_file

FIXTURES = Path(__file__).parents[3] / "fixtures"
FIGURE = {"unit": "requests/sec", "avg": 8.0, "p50": 8.0, "p99": 8.0}
SGLANG = {
    "backend": "sglang", "dataset_name": "random", "request_rate": "inf", "max_concurrency": 16, "duration": 12.5,
    "completed": 100,
    "total_input_tokens": 1, "total_output_tokens": 1, "request_throughput": 8.0, "output_throughput": 1024.0,
    "mean_ttft_ms": 2.0,
}  # fmt: skip
LLAMA_BENCH = [
    {"build_commit": "0", "model_filename": "m.gguf", "n_prompt": 512, "n_gen": 0, "avg_ns": 1, "avg_ts": 3021.76}
]

FILES: list[tuple[str, str, str]] = [
    ("SGLang", "json", json.dumps(SGLANG)),
    ("SGLang", "jsonl", "\n".join([json.dumps(SGLANG | {"backend": "x", "total_output_tokens_retokenized": 1})] * 2)),
    ("llama-bench", "json", json.dumps(LLAMA_BENCH)),
    ("llama-bench", "jsonl", "\n".join(json.dumps(LLAMA_BENCH[0]) for _ in range(2))),
    ("llama-bench", "json", json.dumps(LLAMA_BENCH, indent=2)[:-2]),  # an array that a crash left open
    ("llama-bench", "csv", "build_commit,build_number,cpu_info,model_filename\n0,1,x,m.gguf\n"),
    (
        "llama-bench",
        "md",
        (
            "| model                          |       size |     params | backend    | ngl |       "
            "     test |                  t/s |\n"
        ),
    ),
    ("llama-batched-bench", "jsonl", json.dumps({"n_kv_max": 1, "pp": 128, "tg": 128, "pl": 4, "speed": 1.0})),
    ("GenAI-Perf", "json", json.dumps({"request_throughput": FIGURE, "input_config": {"model": ["m"]}})),
    ("GenAI-Perf", "json", json.dumps({"service_kind": "openai", "endpoint": "v1", "experiments": []})),
    ("AIPerf", "json", json.dumps({"aiperf_version": "0.4.0", "request_throughput": FIGURE, "input_config": {}})),
    ("GuideLLM", "json", json.dumps({"metadata": {"version": 1}, "benchmarks": [{"metrics": {}}]})),
    ("llama-benchy", "json", json.dumps({"version": "0.3", "latency_mode": "api", "model": "m", "benchmarks": []})),
    ("MLPerf", "txt", "================================================\nMLPerf Results Summary\nSUT name : x\n"),
    ("MLPerf", "txt", ':::MLLOG {"key": "loadgen_version", "value": "5.1"}\n'),
    ("LLMPerf", "json", json.dumps({"results_ttft_s_mean": 0.1, "num_concurrent_requests": 1, "model": "m"})),
    ("Ollama", "json", json.dumps({"model": "m", "eval_count": 3, "eval_duration": 9, "total_duration": 10})),
    (
        "PyTorch's benchmark database",
        "json",
        json.dumps([{"benchmark": {"name": "vLLM benchmark"}, "model": {}, "metric": {}}]),
    ),
]


@pytest.mark.parametrize("engine", ["vllm", "trtllm", "llamacpp"])
@pytest.mark.parametrize(
    ("program", "kind", "text"), FILES, ids=[f"{index}-{name}" for index, (name, _, _) in enumerate(FILES)]
)
def test_a_foreign_file_is_named_and_the_way_in_is_told(
    engine: str, program: str, kind: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_text(text)
    with pytest.raises(EngineError) as error:
        parse_file(engine, path)
    said = str(error.value).replace(str(path), "")
    assert program in said
    assert "campaign import" in said
    assert "is missing" not in said
    assert "these are request records" not in said


OWN: dict[str, Path] = {
    "trtllm": FIXTURES / "trtllm" / "throughput_v1.1.0rc3.json",
    "vllm": FIXTURES / "vllm" / "h100_0.22.1" / "bench_serve.json",
}


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("engine", ["vllm", "trtllm", "llamacpp"])
def test_a_report_of_another_engine_of_ours_is_sent_to_it(own: str, engine: str) -> None:
    assert program_of(OWN[own].read_text()) == own
    if engine == own:
        assert parse_file(engine, OWN[own])["failure"] is None
        return
    with pytest.raises(EngineError, match=f"campaign parse {own} FILE"):
        parse_file(engine, OWN[own])


@pytest.mark.parametrize("path", sorted((FIXTURES / "trtllm").glob("*.json")), ids=lambda path: str(path.name))
def test_nothing_of_ours_is_taken_for_a_foreign_file(path: Path) -> None:
    assert program_of(path.read_text()) in ("trtllm", None)


@pytest.mark.parametrize("data", [[], {}, [1], "x", None, {"model_id": 1}, [[{}]]])
def test_a_file_of_nobody_is_nobodys(data: Any) -> None:
    assert program_of(json.dumps(data)) is None
