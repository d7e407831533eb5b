"""Reports of known tools are known by what they hold: their figures are read as the tool defines them,
or it is said what to give instead.

The reports are in the tools' published formats, with figures that were made up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from campaign.reading import Reading, TableError, asked, read

VLLM_SERVE = {
    "date": "20251109-042404", "endpoint_type": "vllm", "backend": "vllm", "label": None, "model_id": "org/m-7b",
    "tokenizer_id": "org/m-7b",
    "num_prompts": 128, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 32, "duration": 1.8,
    "completed": 128, "failed": 0,
    "total_input_tokens": 16384, "total_output_tokens": 16384, "request_throughput": 70.5, "request_goodput": None,
    "output_throughput": 9026.5,
    "total_token_throughput": 18053.0, "mean_ttft_ms": 31.0, "median_ttft_ms": 30.0, "std_ttft_ms": 1.0,
    "p99_ttft_ms": 40.0, "mean_tpot_ms": 3.0,
    "median_tpot_ms": 3.0, "std_tpot_ms": 0.1, "p99_tpot_ms": 3.5, "mean_itl_ms": 3.1, "median_itl_ms": 3.0,
    "std_itl_ms": 0.2, "p99_itl_ms": 9.0,
    "mean_e2el_ms": 420.0, "ttfts": [0.03, 0.03], "itls": [[0.003], [0.003]],
}  # fmt: skip
VLLM_THROUGHPUT = {
    "elapsed_time": 10.0,
    "num_requests": 100,
    "total_num_tokens": 25600,
    "requests_per_second": 10.0,
    "tokens_per_second": 2560.0,
}
VLLM_LATENCY = {"avg_latency": 1.25, "latencies": [1.2, 1.3], "percentiles": {"50": 1.25, "99": 1.3}}
SGLANG = {
    "tag": None, "backend": "sglang", "dataset_name": "random", "request_rate": 4.0, "max_concurrency": 64,
    "sharegpt_output_len": None,
    "random_input_len": 1024, "random_output_len": 128, "random_range_ratio": 1.0, "duration": 50.0, "completed": 200,
    "total_input_tokens": 204800,
    "total_output_tokens": 25600, "request_throughput": 4.0, "input_throughput": 4096.0, "output_throughput": 512.0,
    "total_throughput": 4608.0,
    "mean_e2e_latency_ms": 900.0, "median_e2e_latency_ms": 880.0, "mean_ttft_ms": 90.0, "median_ttft_ms": 85.0,
    "p99_ttft_ms": 200.0, "mean_tpot_ms": 6.0,
    "mean_itl_ms": 6.1, "median_itl_ms": 6.0, "p99_itl_ms": 12.0, "concurrency": 3.6, "accept_length": None,
}  # fmt: skip
LLAMA = {
    "build_commit": "8cf427ff", "build_number": 5163, "cpu_info": "Grace", "gpu_info": "NVIDIA GB10",
    "backends": "CUDA", "model_filename": "models/m.gguf",
    "model_type": "qwen2 7B Q4_K - Medium", "model_size": 4677120000, "model_n_params": 7615616512, "n_batch": 2048,
    "n_ubatch": 512, "n_threads": 8,
    "cpu_mask": "0x0", "cpu_strict": False, "poll": 50, "type_k": "f16", "type_v": "f16", "n_gpu_layers": 99,
    "split_mode": "layer", "main_gpu": 0,
    "no_kv_offload": False, "flash_attn": False, "tensor_split": "0.00", "use_mmap": True, "embeddings": False,
    "n_prompt": 512, "n_gen": 0,
    "n_depth": 0, "test_time": "2025-04-24T11:58:50Z", "avg_ns": 72135640, "stddev_ns": 1453752, "avg_ts": 7100.0,
    "stddev_ts": 140.0,
}  # fmt: skip
LLAMA_TG = LLAMA | {"n_prompt": 0, "n_gen": 128, "test_time": "2025-04-24T11:58:51Z", "avg_ts": 120.5, "stddev_ts": 0.2}
AIPERF = {
    "request_throughput": {"unit": "requests/sec", "avg": 13.0},
    "request_latency": {"unit": "ms", "avg": 6550.0, "p50": 5800.0, "p99": 9380.0, "std": 1.0},
    "time_to_first_token": {"unit": "ms", "avg": 1588.0, "p50": 787.0, "p95": 4051.0},
    "inter_token_latency": {"unit": "ms", "avg": 51.0},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 1274.0},
    "output_sequence_length": {"unit": "tokens", "avg": 96.0},
    "benchmark_duration": {"unit": "sec", "avg": 15.0}, "was_cancelled": False,
    "start_time": "2025-10-17T20:22:08.939332", "end_time": "2025-10-17T20:22:24",
    "error_summary": [], "input_config": {"endpoint": {"model_names": ["openai/gpt-oss-20b"], "type": "chat"},
    "loadgen": {"concurrency": 100}},
}  # fmt: skip
GENAI_PERF = {
    "request_throughput": {"unit": "requests/sec", "avg": 13.0},
    "request_latency": {"unit": "ns", "avg": 6.55e9, "p99": 9.38e9},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 1274.0},
    "input_config": {"model_names": ["m"], "perf_analyzer": {"stimulus": {"concurrency": 8}}},
}  # fmt: skip
GUIDELLM = {
    "metadata": {"version": 1}, "args": {"model": "org/m-7b", "backend": "openai_http"},
    "benchmarks": [
        {
            "config": {"strategy": {"type_": "concurrent", "streams": streams}}, "start_time": 1760000000.5 + streams,
            "metrics": {
                "output_tokens_per_second": {"successful": {"mean": 100.0 * streams, "median": 90.0,
                "percentiles": {"p95": 120.0}}},
                "requests_per_second": {"successful": {"mean": 1.0 * streams}},
                "request_latency": {"successful": {"mean": 1.5, "median": 1.4,
                "percentiles": {"p95": 2.0, "p99": 2.5}}},
                "time_to_first_token_ms": {"successful": {"mean": 50.0, "percentiles": {"p99": 90.0}}},
            },
        }
        for streams in (1, 4)
    ],
}  # fmt: skip
BENCHY = {
    "version": "0.3.1", "timestamp": "2026-01-05 10:00:00", "latency_mode": "api", "latency_ms": 1.2,
    "model": "org/m-7b", "prefix_caching_enabled": False,
    "max_concurrency": 2,
    "benchmarks": [
        {
            "concurrency": c, "context_size": 0, "prompt_size": 2048, "response_size": 128,
            "is_context_prefill_phase": False,
            "pp_throughput": {"mean": 2000.0, "std": 3.0, "values": [1999.0, 2001.0]},
            "tg_throughput": {"mean": 40.0 * c, "std": 0.1, "values": [40.0 * c]},
            "ttfr": {"mean": 900.0, "std": 1.0, "values": [900.0]},
            "e2e_ttft": {"mean": 950.0, "std": 1.0, "values": [950.0]}, "throughput_over_time": [[[0, 1]]],
        }
        for c in (1, 2)
    ],
}  # fmt: skip
MLPERF = """\
================================================
MLPerf Results Summary
================================================
SUT name : PySUT
Scenario : Offline
Mode     : PerformanceOnly
Samples per second: 4.5
Tokens per second: 1337.5
Result is : VALID
  Min duration satisfied : Yes

================================================
Additional Stats
================================================
Min latency (ns)                : 5463226219538
Mean latency (ns)               : 5463316299885
99.00 percentile latency (ns)   : 5463400000000
"""
TRTLLM = {
    "engine": {"model": "org/m-7b", "backend": "PyTorch", "version": "1.2.0"}, "world_info": {},
    "request_info": {"num_requests": 100, "avg_input_length": 128.0},
    "performance": {
        "request_throughput_req_s": 0.75, "system_output_throughput_tok_s": 150.8,
        "system_total_throughput_tok_s": 541.9, "avg_request_latency_ms": 5311.5,
        "request_latency_percentiles_ms": {"p50": 5298.0, "p99": 5400.0},
    },
    "streaming_metrics": {"avg_ttft_ms": 40.0},
}  # fmt: skip


def of(tmp_path: Path, value: Any, *, text: str | None = None, name: str = "report.json", **words: Any) -> Reading:
    file = tmp_path / name
    file.write_text(json.dumps(value) if text is None else text, encoding="utf-8")
    return read([file], asked(**{"constants": ["environment=native"], **words}), everything=False)


def figures(reading: Reading, row: int = 0) -> dict[str, float]:
    run = reading.runs[row]
    return {name: value for name, value in run.values.items() if name not in run.reasons}


@pytest.mark.parametrize(
    "write",
    [
        json.dumps,
        lambda x: json.dumps([x]),
        lambda x: json.dumps(x) + "\n" + json.dumps(x | {"date": "20251109-043000"}),
    ],
)
def test_vllm_bench_serve_in_its_three_spellings(tmp_path: Path, write: Any) -> None:
    reading = of(tmp_path, None, text=write(VLLM_SERVE))
    assert reading.kind == "vLLM bench serve"
    assert reading.runs[0].factors["model"] == "org/m-7b"
    expected = {
        "request_throughput_req_s": 70.5, "token_throughput_tok_s": 9026.5, "total_token_throughput_tok_s": 18053,
        "ttft_mean_ms": 31, "ttft_p50_ms": 30,
        "ttft_p99_ms": 40, "itl_mean_ms": 3.1, "itl_p50_ms": 3, "itl_p99_ms": 9, "latency_mean_ms": 420,
    }  # fmt: skip
    assert expected.items() <= figures(reading).items()
    assert reading.runs[0].started_ns is not None


def test_a_sweep_of_vllm_has_a_cell_for_each_parameter_and_its_runs_as_repetitions(tmp_path: Path) -> None:
    rows = [VLLM_SERVE | {"max_num_seqs": seqs, "run_number": run} for seqs in (32, 64) for run in (0, 1, 2)]
    rows = [{name: cell for name, cell in row.items() if not isinstance(cell, list)} for row in rows]
    text = (
        ",".join(rows[0])
        + "\n"
        + "\n".join(",".join(str(cell) if cell is not None else "" for cell in row.values()) for row in rows)
    )
    reading = of(tmp_path, None, text=text, name="summary.csv")
    assert {run.factors["workload"] for run in reading.runs} == {"max_num_seqs=32", "max_num_seqs=64"}
    assert [run.repetition for run in reading.runs[:3]] == [0, 1, 2]


def test_vllm_bench_throughput_counts_prompts_too(tmp_path: Path) -> None:
    assert figures(of(tmp_path, VLLM_THROUGHPUT, constants=["environment=native", "model=m"])) == {
        "request_throughput_req_s": 10,
        "total_token_throughput_tok_s": 2560,
    }
    with pytest.raises(TableError, match="--set model="):
        of(tmp_path, VLLM_THROUGHPUT)


def test_vllm_bench_latency_is_in_seconds(tmp_path: Path) -> None:
    assert figures(of(tmp_path, VLLM_LATENCY, constants=["environment=native", "model=m"])) == {"latency_mean_ms": 1250}


def test_sglang(tmp_path: Path) -> None:
    reading = of(
        tmp_path,
        None,
        text=json.dumps(SGLANG) + "\n" + json.dumps(SGLANG | {"max_concurrency": 128}),
        constants=["environment=native", "model=m"],
    )
    assert reading.kind == "SGLang bench_serving"
    assert {
        "token_throughput_tok_s": 512.0,
        "total_token_throughput_tok_s": 4608.0,
        "latency_mean_ms": 900.0,
        "itl_p99_ms": 12.0,
    }.items() <= figures(reading).items()
    assert {run.factors["workload"] for run in reading.runs} == {"max_concurrency=64", "max_concurrency=128"}


def llama_csv(rows: list[dict[str, Any]]) -> str:
    return ",".join(rows[0]) + "\n" + "".join(",".join(f'"{cell}"' for cell in row.values()) + "\n" for row in rows)


def llama_sql(rows: list[dict[str, Any]]) -> str:
    text = "CREATE TABLE IF NOT EXISTS llama_bench (\n  build_commit TEXT\n);\n\n"
    return text + "".join(
        f"INSERT INTO llama_bench ({', '.join(row)}) VALUES ({', '.join(repr(str(cell)) for cell in row.values())});\n"
        for row in rows
    )


LLAMA_MD = """\
ggml_cuda_init: found 1 CUDA devices:
| model                          |       size |     params | backend    | ngl |          test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | --: | ------------: | -------------------: |
| qwen2 7B Q4_K - Medium         |   4.36 GiB |     7.62 B | CUDA       |  99 |         pp512 |      7100.00 ± 20.55 |
| qwen2 7B Q4_K - Medium         |   4.36 GiB |     7.62 B | CUDA       |  99 |         tg128 |        120.50 ± 0.81 |

build: 8cf427ff (5163)
"""


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(
            [
                LLAMA | {"samples_ns": [1, 2], "samples_ts": [7000.0, 7200.0]},
                LLAMA_TG | {"samples_ns": [1], "samples_ts": [120.5]},
            ]
        ),
        json.dumps(LLAMA) + "\n" + json.dumps(LLAMA_TG) + "\n",
        llama_csv([LLAMA, LLAMA_TG]),
        llama_sql([LLAMA, LLAMA_TG]),
        LLAMA_MD,
    ],
    ids=["json", "jsonl", "csv", "sql", "md"],
)
def test_llama_bench_in_its_five_formats(tmp_path: Path, text: str) -> None:
    reading = of(tmp_path, None, text=text)
    assert reading.kind == "llama-bench"
    assert [figures(reading, row) for row in (0, 1)] == [
        {"prompt_throughput_tok_s": 7100},
        {"token_throughput_tok_s": 120.5},
    ]
    assert {run.factors["model"] for run in reading.runs} == {"qwen2 7B Q4_K - Medium"}
    assert len({run.factors["workload"] for run in reading.runs}) == 2
    assert any("one run" in note for note in reading.notes)


def test_aiperf_and_genai_perf_say_their_units(tmp_path: Path) -> None:
    reading = of(tmp_path, AIPERF)
    assert figures(reading) == {
        "request_throughput_req_s": 13, "latency_mean_ms": 6550, "latency_p50_ms": 5800, "latency_p99_ms": 9380,
        "ttft_mean_ms": 1588, "ttft_p50_ms": 787,
        "ttft_p95_ms": 4051, "itl_mean_ms": 51, "token_throughput_tok_s": 1274,
    }  # fmt: skip
    assert reading.runs[0].factors["model"] == "openai/gpt-oss-20b"
    assert reading.runs[0].labels["concurrency"] == "100"
    assert figures(of(tmp_path, GENAI_PERF)) == {
        "request_throughput_req_s": 13,
        "latency_mean_ms": 6550,
        "latency_p99_ms": 9380,
        "token_throughput_tok_s": 1274,
    }


def test_guidellm_has_a_run_for_each_rate_and_latency_in_seconds(tmp_path: Path) -> None:
    reading = of(tmp_path, GUIDELLM)
    assert [run.factors["workload"] for run in reading.runs] == ["strategy_streams=1", "strategy_streams=4"]
    assert figures(reading) == {
        "token_throughput_tok_s": 100, "request_throughput_req_s": 1, "latency_mean_ms": 1500, "latency_p50_ms": 1400,
        "latency_p95_ms": 2000,
        "latency_p99_ms": 2500, "ttft_mean_ms": 50, "ttft_p99_ms": 90,
    }  # fmt: skip
    assert reading.runs[0].started_ns == 1760000001500000000


def test_llama_benchy(tmp_path: Path) -> None:
    reading = of(tmp_path, BENCHY)
    assert [run.factors["workload"] for run in reading.runs] == ["concurrency=1", "concurrency=2"]
    assert {
        "token_throughput_tok_s": 40.0,
        "ttft_mean_ms": 950.0,
        "prompt_throughput_tok_s": 2000.0,
    }.items() <= figures(reading).items()


def test_an_mlperf_summary(tmp_path: Path) -> None:
    words: dict[str, Any] = {"name": "mlperf_log_summary.txt", "constants": ["environment=native", "model=m"]}
    reading = of(tmp_path, None, text=MLPERF, **words)
    assert figures(reading) == pytest.approx(
        {
            "request_throughput_req_s": 4.5,
            "token_throughput_tok_s": 1337.5,
            "latency_mean_ms": 5463316.299885,
            "latency_p99_ms": 5463400,
        }
    )
    assert reading.runs[0].ok
    assert not of(tmp_path, None, text=MLPERF.replace(": VALID", ": INVALID"), **words).runs[0].ok


def test_a_trtllm_report(tmp_path: Path) -> None:
    reading = of(tmp_path, TRTLLM)
    assert figures(reading) == {
        "request_throughput_req_s": 0.75, "token_throughput_tok_s": 150.8, "total_token_throughput_tok_s": 541.9,
        "latency_mean_ms": 5311.5, "latency_p50_ms": 5298,
        "latency_p99_ms": 5400, "ttft_mean_ms": 40,
    }  # fmt: skip


def test_reports_of_several_runs_are_one_table(tmp_path: Path) -> None:
    paths = []
    for arm in ("native", "docker"):
        for i in range(3):
            paths.append(tmp_path / f"{arm}-{i}.json")
            paths[-1].write_text(
                json.dumps(
                    VLLM_SERVE
                    | {"date": f"20251109-04{i}{'0' if arm == 'native' else '5'}00", "output_throughput": 9000.0 + i}
                )
            )
    reading = read(
        paths, asked(constants=["native*:environment=native", "docker*:environment=docker"]), everything=False
    )
    assert [(run.factors["environment"], run.repetition) for run in reading.runs] == [
        (arm, i) for arm in ("native", "docker") for i in (1, 2, 3)
    ]
    assert [run.sequence_index for run in reading.runs] == [1, 3, 5, 2, 4, 6]
    paths[0].write_text(json.dumps(BENCHY))
    with pytest.raises(TableError, match="different kinds"):
        read(paths, asked(), everything=False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "============ Serving Benchmark Result ============\nSuccessful requests:   32\nMean TTFT (ms):   7.0\n",
            "--save-result",
        ),
        (
            "Metric,avg,min,max,p99,p95,p90,p75,p50,p25,std\nRequest Latency (ms),1,2,3,4,5,6,7,8,9,1\n",
            r"profile_export_aiperf\.json",
        ),
        (
            json.dumps({"metadata": {"session_num": 1, "request_start_ns": 1}, "metrics": {}, "error": None}) + "\n",
            "single requests",
        ),
        (
            json.dumps([{"id": 1, "start_timestamp": 1, "first_token_timestamp": 2, "end_timestamp": 3}]),
            "--report_json",
        ),
        ("CREATE TABLE IF NOT EXISTS llama_bench (\n  build_commit TEXT\n);\n", "did not finish"),
        ("model,metric,value,unit\nm,latency,5,ms\n", "each metric a column"),
    ],
)
def test_what_holds_no_runs_is_named_with_what_to_give_instead(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TableError, match=says):
        of(tmp_path, None, text=text)


@pytest.mark.parametrize(
    "tool",
    [
        "VLLM_SERVE",
        "VLLM_THROUGHPUT",
        "VLLM_LATENCY",
        "SGLANG",
        "LLAMA",
        "AIPERF",
        "GENAI_PERF",
        "GUIDELLM",
        "BENCHY",
        "TRTLLM",
    ],
)
@pytest.mark.parametrize(
    "instead", [None, "words", 10**400, [], {}, True], ids=["null", "words", "huge", "list", "object", "true"]
)
def test_a_damaged_report_is_refused_or_lacks_a_figure(tmp_path: Path, tool: str, instead: Any) -> None:
    """Every key in turn holds something else; nothing but words for the person may come of it."""

    def damaged(node: Any) -> Any:
        if isinstance(node, dict):
            for key in node:
                yield node | {key: instead}
                for inner in damaged(node[key]):
                    yield node | {key: inner}
        elif isinstance(node, list) and node:
            yield [instead, *node[1:]]
            for inner in damaged(node[0]):
                yield [inner, *node[1:]]

    for variant in damaged(globals()[tool]):
        try:
            of(tmp_path, variant, constants=["environment=native", "workload=w"])
        except TableError as error:
            assert str(error).strip()
