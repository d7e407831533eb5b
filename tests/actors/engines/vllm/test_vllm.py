"""The vLLM engine, on reports and logs in the form that vllm bench 0.11 to 0.33 writes."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines import EngineError
from actors.engines.parse import parse_file
from actors.engines.trtllm.report import ReportError
from actors.engines.vllm.engine import PROBES, Vllm
from actors.engines.vllm.options import SERVE
from actors.engines.vllm.report import TIME, parse_report, read_log
from actors.types import Model, Prepared, Report, Workload

FIXTURES = Path(__file__).parents[3] / "fixtures" / "vllm" / "h100_0.22.1"

QWEN = Model(
    name="qwen2-1.5b", engines=("vllm",), huggingface_id="Qwen/Qwen2-1.5B", weight_bytes=3_087_467_144, batch_size=16
)
THROUGHPUT = Workload(name="throughput", requests=100, input_tokens=128, output_tokens=128)
LATENCY = Workload(name="latency", kind="latency", requests=3, input_tokens=128, output_tokens=4)
PREPARED = Prepared(files={"weights": "/models/qwen"})

LOG = """\
INFO 11-23 12:00:01 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: model='/campaign/input/Qwen/Qwen2-1.5B', speculative_config=None
(EngineCore_DP0 pid=12) INFO 11-23 12:00:20 [gpu_model_runner.py:2653] Model loading took 2.8876 GiB and 12.345678 seconds
(EngineCore_DP0 pid=12) INFO 11-23 12:00:31 [gpu_worker.py:298] Available KV cache memory: 87.31 GiB
(EngineCore_DP0 pid=12) INFO 11-23 12:00:31 [kv_cache_utils.py:1087] GPU KV cache size: 3,269,680 tokens
Throughput: 7.00 requests/s, 1792.00 total tokens/s, 896.00 output tokens/s
Total num prompt tokens:  12800
Total num output tokens:  12800
"""  # noqa: E501 - lines of a log are as the engine writes them
OFFLINE = {
    "elapsed_time": 14.285714285714286,
    "num_requests": 100,
    "total_num_tokens": 25600,
    "requests_per_second": 7.0,
    "tokens_per_second": 1792.0,
}
SERVED: dict[str, Any] = {
    "date": "20261123-120000",
    "endpoint_type": "openai",
    "backend": "openai",
    "label": None,
    "model_id": "Qwen/Qwen2-1.5B",
    "tokenizer_id": "/campaign/input/Qwen/Qwen2-1.5B",
    "num_prompts": 3,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 1,
    "duration": 0.3,
    "completed": 3,
    "failed": 0,
    "total_input_tokens": 384,
    "total_output_tokens": 12,
    "request_throughput": 10.0,
    "request_goodput": None,
    "output_throughput": 40.0,
    "total_token_throughput": 1320.0,
    **{
        f"{statistic}_{kind}_ms": value
        for kind, value in (("ttft", 40.0), ("tpot", 20.0), ("itl", 20.5), ("e2el", 100.0))
        for statistic in ("mean", "median", "std", "p50", "p95", "p99")
    },
    "input_lens": [128, 128, 128],
    "output_lens": [4, 4, 4],
    "ttfts": [0.04, 0.04, 0.04],
    "itls": [[0.02, 0.02, 0.02]] * 3,
    "start_times": [100.0, 100.1, 100.2],
    "generated_texts": ["a", "b", "c"],
    "errors": ["", "", ""],
}


def attempt(tmp_path: Path, report: dict[str, Any] | None, log: str = LOG) -> Path:
    output = tmp_path / "output"
    output.mkdir(exist_ok=True)
    if report is not None:
        (output / "report.json").write_text(json.dumps(report))
    (tmp_path / "stdout.log").write_text(log)
    return output


def parse(output: Path, workload: Workload = THROUGHPUT, model: Model = QWEN) -> Report:
    return Vllm().parse(output, model, workload, PREPARED)


def values(report: Report) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in report.metrics}


def test_the_whole_throughput_command() -> None:
    launch = Vllm().command(QWEN, THROUGHPUT, PREPARED)
    assert " ".join(launch.argv) == (
        "vllm bench throughput --model /campaign/input/Qwen/Qwen2-1.5B --backend vllm --dataset-name random "
        "--random-input-len 128 --random-output-len 128 --num-prompts 100 --seed 420 --output-json "
        "/campaign/output/report.json --max-num-seqs 16 --max-model-len 320 --gpu-memory-utilization 0.8 "
        "--no-enable-prefix-caching"
    )
    assert [(mount.source, mount.target) for mount in launch.mounts] == [
        ("/models/qwen", "/campaign/input/Qwen/Qwen2-1.5B")
    ]


REAL: dict[str, dict[str, list[str]]] = json.loads((FIXTURES / "options.json").read_text())
"""Names of the options that vLLM 0.22.1 lists."""
GROUPS_ONLY = "Config Groups:\n  ModelConfig  Model configuration\nFor full list: vllm bench throughput --help=all\n"


def test_both_ways_to_ask_for_help_are_there_the_full_list_first() -> None:
    assert {fact: [way[-1] for way in ways] for fact, ways in PROBES.items()} == {
        "help_throughput": ["--help=all", "--help"],
        "help_serve": ["--help=all", "--help"],
    }


@pytest.mark.parametrize(
    "facts",
    [{}, {"help_throughput": GROUPS_ONLY}, {"help_throughput": " ".join(REAL["bench_throughput"]["--help=all"])}],
)
def test_lengths_go_by_the_random_datasets_own_options(facts: dict[str, str]) -> None:
    """The plain ones are listed as well, and the random dataset does not read them: prompts would have 1024 tokens."""
    argv = Vllm().command(QWEN, THROUGHPUT, Prepared(files=PREPARED.files, facts=dict(facts))).argv
    assert "--random-input-len" in argv
    assert "--input-len" not in argv


def test_a_version_without_the_random_options_gets_the_plain_ones() -> None:
    older = Prepared(files=PREPARED.files, facts={"help_throughput": "--input-len --output-len"})
    assert "--input-len" in Vllm().command(QWEN, THROUGHPUT, older).argv


def test_warm_up_is_asked_for_where_it_is_listed() -> None:
    listed = Prepared(files=PREPARED.files, facts={"help_throughput": " ".join(REAL["bench_throughput"]["--help=all"])})
    argv = Vllm().command(QWEN, THROUGHPUT, listed).argv
    assert argv[argv.index("--num-warmups") + 1] == "2"
    assert "--num-warmups" not in Vllm().command(QWEN, THROUGHPUT, PREPARED).argv


def test_every_option_is_one_that_a_real_vllm_lists() -> None:
    facts = {
        "help_throughput": " ".join(REAL["bench_throughput"]["--help=all"]),
        "help_serve": " ".join(REAL["bench_serve"]["--help=all"]),
    }
    full = Prepared(files=PREPARED.files, facts=dict(facts))
    argv = Vllm().command(QWEN, THROUGHPUT, full).argv
    assert {text for text in argv if text.startswith("--")} <= {*REAL["bench_throughput"]["--help=all"]}
    server, bench = (
        shlex.split(line.rpartition(" & ")[0]) for line in Vllm().command(QWEN, LATENCY, full).argv[2].splitlines()[:2]
    )
    assert {text for text in server if text.startswith("--")} <= {*REAL["serve"]["--help=all"]}
    assert {text for text in bench if text.startswith("--")} <= {*REAL["bench_serve"]["--help=all"]}
    assert "--ready-check-timeout-sec" in bench


def with_options(**options: Any) -> Model:
    return QWEN.model_copy(
        update={"engine_options": {"vllm": {name.replace("_", "-"): value for name, value in options.items()}}}
    )


def test_the_models_entry_takes_the_place_of_our_options_and_gives_none_twice() -> None:
    for workload in (THROUGHPUT, LATENCY):
        argv = " ".join(
            Vllm()
            .command(
                with_options(gpu_memory_utilization=0.85, max_model_len=4096, enforce_eager=True), workload, PREPARED
            )
            .argv
        )
        for text in ("--gpu-memory-utilization 0.85", "--max-model-len 4096", "--enforce-eager"):
            assert argv.count(text) == argv.count(text.split()[0]) == 1
    underscored = QWEN.model_copy(update={"engine_options": {"vllm": {"gpu_memory_utilization": 0.7}}})
    given = Vllm().command(underscored, THROUGHPUT, PREPARED).argv
    assert given[given.index("--gpu-memory-utilization") + 1] == "0.7"
    assert "--gpu_memory_utilization" not in argv


@pytest.mark.parametrize(
    ("options", "given", "absent"),
    [
        ({}, "--no-enable-prefix-caching", "--enable-prefix-caching"),
        ({"enable_prefix_caching": False}, "--no-enable-prefix-caching", "--enable-prefix-caching"),
        ({"enable_prefix_caching": True}, "--enable-prefix-caching", "--no-enable-prefix-caching"),
        ({"no_enable_prefix_caching": True}, "--no-enable-prefix-caching", "--enable-prefix-caching"),
    ],
)
def test_prefix_caching_is_off_unless_the_models_entry_wants_it(
    options: dict[str, Any], given: str, absent: str
) -> None:
    argv = Vllm().command(with_options(**options), THROUGHPUT, PREPARED).argv
    assert argv.count(given) == 1
    assert absent not in argv
    script = shlex.split(Vllm().command(with_options(**options), LATENCY, PREPARED).argv[2])
    assert script.count(given) == 1


def test_what_model_and_workload_say_cannot_be_said_otherwise() -> None:
    with pytest.raises(EngineError, match=r"engine_options: vllm sets max-num-seqs, seed"):
        Vllm().command(with_options(seed=3, max_num_seqs=999), THROUGHPUT, PREPARED)


def test_tables_and_lists_are_handed_over_in_vllms_form() -> None:
    argv = (
        Vllm().command(with_options(compilation_config={"level": 3}, middleware=["a", "b"]), THROUGHPUT, PREPARED).argv
    )
    assert argv[argv.index("--compilation-config") + 1] == '{"level": 3}'
    assert argv[argv.index("--middleware") + 1 : argv.index("--middleware") + 3] == ("a", "b")


def test_answers_are_greedy() -> None:
    bench = shlex.split(Vllm().command(QWEN, LATENCY, PREPARED).argv[2].splitlines()[1].rpartition(" & ")[0])
    assert bench[bench.index("--temperature") + 1] == "0"


def test_a_fixed_kv_cache_is_given_in_bytes() -> None:
    fixed = QWEN.model_copy(update={"kv_cache_tokens": 1000, "kv_bytes_per_token": 28672})
    argv = Vllm().command(fixed, THROUGHPUT, PREPARED).argv
    assert argv[argv.index("--kv-cache-memory-bytes") + 1] == "28672000"
    with pytest.raises(EngineError, match="kv_bytes_per_token"):
        Vllm().command(QWEN.model_copy(update={"kv_cache_tokens": 1000}), THROUGHPUT, PREPARED)


def test_latency_serves_and_asks_with_the_concurrency_stated() -> None:
    shell, flag, script = Vllm().command(QWEN, LATENCY, PREPARED).argv
    assert (shell, flag) == ("bash", "-c")
    server, bench = (shlex.split(line.rpartition(" & ")[0]) for line in script.splitlines()[:2])
    assert server[:3] == ["vllm", "serve", "/campaign/input/Qwen/Qwen2-1.5B"]
    assert bench[bench.index("--max-concurrency") + 1] == server[server.index("--max-num-seqs") + 1] == "1"
    assert bench[bench.index("--model") + 1] == server[server.index("--served-model-name") + 1] == "Qwen/Qwen2-1.5B"
    assert "--ignore-eos" in bench
    assert "--output-json" not in bench


@pytest.mark.parametrize(
    ("server", "bench", "code"),
    [("sleep 60", "true", 0), ("sleep 60", "sh -c 'exit 3'", 3), ("sh -c 'exit 1'", "sleep 60", 70)],
)
def test_server_and_client_live_and_die_together(tmp_path: Path, server: str, bench: str, code: int) -> None:
    marked = f"env MARK={tmp_path.name} "
    script = SERVE.format(server=marked + server, bench=marked + bench)
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=30, check=False)
    assert done.returncode == code
    mark = f"MARK={tmp_path.name}".encode()
    left = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and mark in _environ(entry)]
    assert left == []


def _environ(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def test_output_tokens_per_second_come_from_the_count_in_the_log(tmp_path: Path) -> None:
    report = parse(attempt(tmp_path, OFFLINE))
    assert report.failure is None
    found = values(report)
    assert found["token_throughput_tok_s"] == pytest.approx(896)
    assert found["total_token_throughput_tok_s"] == 1792
    assert found["kv_cache_gib"] == 87.31
    assert found["kv_cache_tokens"] == 3_269_680
    assert found["weights_gib"] == 2.8876
    assert found["latency_mean_ms"] is None
    assert report.tokens_generated == report.tokens_expected == 12_800
    assert report.engine_version == "0.11.0"
    assert report.model_identity == "Qwen/Qwen2-1.5B"


def test_without_that_count_output_tokens_per_second_are_missing(tmp_path: Path) -> None:
    log = LOG.replace("Total num output tokens", "nothing")
    report = parse(attempt(tmp_path, OFFLINE, log))
    assert values(report)["token_throughput_tok_s"] is None
    assert report.tokens_expected is None


def test_a_served_run(tmp_path: Path) -> None:
    report = parse(attempt(tmp_path, SERVED), LATENCY)
    assert report.failure is None
    found = values(report)
    assert (found["latency_mean_ms"], found["ttft_p99_ms"], found["itl_p95_ms"]) == (100.0, 40.0, 20.5)
    table = pq.read_table(tmp_path / "requests.parquet").to_pydict()
    assert table["latency_ms"] == pytest.approx([100.0] * 3)
    assert table["submitted_ms"] == pytest.approx([0, 100, 200])
    assert table["itl_ms"][0] == pytest.approx([20, 20, 20])


def test_another_model_is_rejected(tmp_path: Path) -> None:
    assert "model_identity" in str(parse(attempt(tmp_path, SERVED | {"model_id": "other/model"}), LATENCY).failure)
    silent = LOG.replace("with config: model=", "")
    assert "neither report nor log" in str(parse(attempt(tmp_path, OFFLINE, silent)).failure)
    heavy = QWEN.model_copy(update={"weight_bytes": 145_000_000_000})
    assert "GiB of weights" in str(parse(attempt(tmp_path, OFFLINE), model=heavy).failure)


def test_prompts_of_another_length_are_rejected(tmp_path: Path) -> None:
    assert "workload_mismatch" in str(parse(attempt(tmp_path, SERVED | {"total_input_tokens": 192}), LATENCY).failure)


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        (("ValueError: Free memory on device (30.1/119.7 GiB) "
            "on startup is less than desired GPU memory utilization (0.9)"), "out_of_memory"),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
         "kv_cache_too_small"),
        (("ValueError: To serve at least one request, 9.0 GiB KV cache is needed, "
            "which is larger than the available KV cache memory"), "kv_cache_too_small"),
        ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.", "unsupported_architecture"),
    ],
)  # fmt: skip
def test_failures_are_named(tmp_path: Path, line: str, failure: str) -> None:
    log = f"INFO 11-23 12:00:01 [x.py:1] fine\n(EngineCore_DP0 pid=1) ERROR 11-23 12:00:02 [core.py:700] {line}\n"
    assert str(parse(attempt(tmp_path, None, log)).failure).startswith(failure)


def test_no_report_is_a_failure(tmp_path: Path) -> None:
    assert str(parse(attempt(tmp_path, None)).failure).startswith("report_missing")


@given(st.sampled_from([OFFLINE, SERVED]), st.data())
def test_a_missing_figure_is_named(report: dict[str, Any], data: st.DataObject) -> None:
    optional = {"failed", "burstiness", "max_concurrency", *(key for key in report if TIME.fullmatch(key))}
    figures = [key for key, value in report.items() if isinstance(value, int | float) and key not in optional]
    key = data.draw(st.sampled_from(figures))
    with pytest.raises(ReportError) as error:
        parse_report(json.dumps({name: value for name, value in report.items() if name != key}))
    assert error.value.key == key


@pytest.mark.parametrize("key", ["p50_ttft_ms", "p95_tpot_ms", "mean_itl_ms", "p99_e2el_ms"])
def test_a_time_that_a_campaign_asked_for_must_be_there(tmp_path: Path, key: str) -> None:
    report = {name: value for name, value in SERVED.items() if name != key}
    assert (
        str(parse(attempt(tmp_path, report), LATENCY).failure) == f"report_invalid: report.json: key '{key}' is missing"
    )


# --- reports as people have them -------------------------------------------------------------------------------


def apart(tmp_path: Path, report: dict[str, Any] | str) -> dict[str, Any]:
    path = tmp_path / "report.json"
    path.write_text(report if isinstance(report, str) else json.dumps(report))
    return parse_file("vllm", path)


def test_the_default_percentiles_are_read_and_the_others_say_which_option_gives_them() -> None:
    found = parse_file("vllm", FIXTURES / "bench_serve.json")
    assert found["metrics"]["ttft_p50_ms"] == 76.45802249999178
    assert found["metrics"]["ttft_p99_ms"] == 240.94562700999404
    assert found["metrics"]["ttft_p95_ms"] is None
    assert "--metric-percentiles 50,95,99" in found["missing"]["ttft_p95_ms"]
    assert found["metrics"]["latency_mean_ms"] is None
    assert "--percentile-metrics ttft,tpot,itl,e2el" in found["missing"]["latency_mean_ms"]


def test_a_real_throughput_run_of_an_h100() -> None:
    found = parse_file("vllm", FIXTURES / "throughput.json", FIXTURES / "throughput.log")
    figures = found["metrics"]
    assert figures["token_throughput_tok_s"] == pytest.approx(9845.0, abs=0.01)
    assert (figures["kv_cache_gib"], figures["kv_cache_tokens"], figures["weights_gib"]) == (59.4, 2_224_432, 2.98)
    assert found["engine_version"] == "0.22.1"
    assert found["failure"] is None


def test_a_report_of_2024_is_read_by_its_own_keys(tmp_path: Path) -> None:
    report = {
        key: value
        for key, value in SERVED.items()
        if "e2el" not in key and key not in ("total_token_throughput", "failed")
    }
    found = apart(
        tmp_path,
        report
        | {"input_throughput": 1280.0, "mean_latency_ms": 100.0, "median_latency_ms": 99.0, "p99_latency_ms": 120.0},
    )
    assert found["metrics"]["total_token_throughput_tok_s"] == 1320.0
    assert (found["metrics"]["latency_mean_ms"], found["metrics"]["latency_p50_ms"]) == (100.0, 99.0)
    assert any("before 0.11" in note for note in found["notes"])


@pytest.mark.parametrize("join", ["\n", "", "\n\n"])
def test_several_reports_in_one_file_are_not_one_run(tmp_path: Path, join: str) -> None:
    with pytest.raises(EngineError, match=r"2 reports in one file, as --append-result.*\n.*campaign import"):
        apart(tmp_path, json.dumps(SERVED) + join + json.dumps(SERVED))
    with pytest.raises(EngineError, match="2 reports"):
        apart(tmp_path, json.dumps([SERVED, SERVED]))


def test_bench_latency_is_read_in_seconds_and_said_to_be_of_batches(tmp_path: Path) -> None:
    found = apart(tmp_path, {"avg_latency": 1.25, "latencies": [1.2, 1.3], "percentiles": {"50": 1.24, "99": 1.3}})
    assert (
        found["metrics"]["latency_mean_ms"],
        found["metrics"]["latency_p50_ms"],
        found["metrics"]["latency_p99_ms"],
    ) == (1250, 1240, 1300)
    assert found["metrics"]["latency_p95_ms"] is None
    assert found["metrics"]["token_throughput_tok_s"] is None
    assert "whole batch" in found["notes"][0]


NOTHING = {key: 0.0 for key in SERVED if TIME.fullmatch(key)} | {
    "completed": 0, "failed": 3, "total_input_tokens": 0, "total_output_tokens": 0, "request_throughput": 0.0,
    "output_throughput": 0.0, "total_token_throughput": 0.0, "ttfts": [0.0] * 3, "itls": [[]] * 3,
    "errors": ["Traceback (most recent call last):\n  File x\naiohttp.ClientError: server disconnected"] * 3,
}  # fmt: skip


def test_where_no_request_was_answered_there_are_no_times(tmp_path: Path) -> None:
    found = apart(tmp_path, SERVED | NOTHING)
    assert (
        found["failure"] == "requests_failed: none of 3 requests was answered; aiohttp.ClientError: server disconnected"
    )
    assert found["metrics"]["ttft_mean_ms"] is None
    assert found["metrics"]["latency_p99_ms"] is None
    report = parse(attempt(tmp_path, SERVED | NOTHING), LATENCY)
    assert str(report.failure).startswith("requests_failed: none of 3")
    assert (report.requests_answered, report.requests_failed) == (0, 3)


def test_where_some_failed_the_times_are_of_the_others_and_say_so(tmp_path: Path) -> None:
    found = apart(tmp_path, SERVED | {"completed": 2, "failed": 1})
    assert found["failure"] is None
    assert "1 of 3 requests failed" in found["notes"][0]
    older = {key: value for key, value in SERVED.items() if key != "failed"} | {"completed": 2}
    assert parse(attempt(tmp_path, older), LATENCY).requests_failed == 1


@pytest.mark.parametrize(
    "change",
    [
        {"spec_decode_acceptance_length": 3.16, "spec_decode_acceptance_rate": 72.0},
        {"mean_itl_ms": 63.0},  # three tokens a message, and a version that says nothing of drafts
        {"itls": [[0.06]] * 3},
    ],
)
def test_a_gap_between_messages_of_several_tokens_is_no_time_per_token(tmp_path: Path, change: dict[str, Any]) -> None:
    found = apart(tmp_path, SERVED | change)
    for name in ("itl_mean_ms", "itl_p50_ms", "itl_p95_ms", "itl_p99_ms"):
        assert found["metrics"][name] is None
        assert "per message" in found["missing"][name]
    assert found["metrics"]["tpot_mean_ms"] == 20.0
    parse(attempt(tmp_path, SERVED | change), LATENCY)
    assert pq.read_table(tmp_path / "requests.parquet").to_pydict()["itl_ms"] == [None] * 3


def test_drafts_and_prefix_hits_are_recorded_where_vllm_tells_them(tmp_path: Path) -> None:
    log = (
        "INFO 01-11 18:10:10 [loggers.py:248] Engine 000: Avg prompt throughput: 1.0 tokens/s, "
        "Prefix cache hit rate: 12.5%\n"
        "INFO 01-11 18:10:20 [loggers.py:248] Engine 000: Prefix cache hit rate: 90.1%, "
        "External prefix cache hit rate: 3.0%\n"
        "INFO 05-18 11:19:54 [metrics.py:101] SpecDecoding metrics: Mean acceptance length: 3.42, Accepted "
        "throughput: 67.60 tokens/s, Accepted: 60 tokens, Drafted: 100 tokens, Avg Draft acceptance rate: 60.0%\n"
        "INFO 05-18 11:20:04 [metrics.py:101] SpecDecoding metrics: Accepted: 20 tokens, Drafted: 100 tokens, Avg\n"
    )
    found = read_log(log)
    assert found.prefix_cache_hit_pct == 90.1
    assert found.draft_acceptance_pct == pytest.approx(40)
    told = values(
        parse(
            attempt(tmp_path, SERVED | {"spec_decode_acceptance_rate": 72.0, "spec_decode_draft_tokens": 100}), LATENCY
        )
    )
    assert told["draft_acceptance_pct"] == 72.0
    off = "INFO 11-23 12:00:01 [core.py:77] x with config: model='m', enable_prefix_caching=False, y\n"
    report = parse(attempt(tmp_path, SERVED, LOG + off), LATENCY)
    reasons = {metric.name: metric.reason for metric in report.metrics}
    assert reasons["prefix_cache_hit_pct"] == "prefix caching is off"
    assert reasons["draft_acceptance_pct"] == "nothing was drafted: no speculative decoding"


def test_a_start_is_split_into_what_the_log_times() -> None:
    log = read_log((FIXTURES / "throughput.log").read_text())
    assert (log.load_weights_s, log.compile_s, log.graph_capture_s, log.engine_init_s) == (0.41975, 3.07, 1.0, 13.16)
    served = read_log((FIXTURES / "serve.log").read_text())
    assert (served.compile_s, served.graph_capture_s, served.engine_init_s) == (15.06, 2.0, 26.3)
    older = read_log(
        "INFO 06-01 12:00:01 [monitor.py:34] torch.compile takes 21.50 s in total\n"
        "INFO 06-01 12:00:09 [core.py:171] init engine (profile, create kv cache, warmup model) took 40.25 seconds\n"
    )
    assert (older.compile_s, older.engine_init_s, older.graph_capture_s) == (21.5, 40.25, None)


def test_a_log_without_the_harness_stamps_gives_the_parts_of_the_load_and_says_so() -> None:
    log = FIXTURES / "throughput.log"
    assert read_log(log.read_text()).ready_utc_ns is None
    found = parse_file("vllm", FIXTURES / "throughput.json", log)
    assert found["metrics"]["load_s"] == pytest.approx(0.41975 + 13.16)
    assert found["sources"]["load_s"] == "log: Model loading and init engine together, without what goes before"
    without = parse_file("vllm", FIXTURES / "throughput.json", None)
    for name in ("load_s", "compile_s", "graph_capture_s", "engine_init_s", "first_token_s"):
        assert without["metrics"][name] is None and without["missing"][name]


SERVING = """\
2026-11-26T14:00:00.000000000Z Starting initial single prompt test run...
2026-11-26T14:00:10.500000000Z INFO init engine (profile, create kv cache, warmup model) took 7.78 s (compilation: 3.77 s)
2026-11-26T14:00:12.000000000Z (APIServer pid=1) INFO 11-26 14:00:12 [api_server.py:596] Starting vLLM server on http://127.0.0.1:18917
2026-11-26T14:00:14.250000000Z Starting main benchmark run...
2026-11-26T14:00:20.000000000Z ============ Serving Benchmark Result ============
"""  # noqa: E501 - the same


def test_a_server_is_ready_when_it_serves_and_warm_when_the_client_measures() -> None:
    log = read_log(SERVING)
    assert log.ready_utc_ns == 1_795_701_612 * 10**9
    assert log.warmup_s == 2.25
    throughput = "".join(SERVING.splitlines(keepends=True)[1:2])
    assert read_log(throughput).ready_utc_ns == 1_795_701_610_500_000_000
    assert read_log(throughput).warmup_s is None


def test_streams_with_progress_bars_are_still_merged_in_time(tmp_path: Path) -> None:
    output = attempt(tmp_path, OFFLINE, SERVING)
    bars = (
        "2026-11-26T14:00:11.000000000Z 0%|  |\r50%|# |\r100%|##|\n2026-11-26T14:00:13.000000000Z INFO: "
        "Application startup complete.\n"
    )
    (tmp_path / "stderr.log").write_bytes(bars.encode())
    assert parse(output).ready_utc_ns == 1_795_701_613 * 10**9


def test_a_client_that_says_everything_at_its_end_tells_no_warm_up() -> None:
    assert read_log(SERVING.replace("14:00:14.250000000Z", "14:00:20.000000000Z")).warmup_s is None


def test_of_several_ranks_the_first_counts() -> None:
    log = (
        "(Worker_TP0 pid=1) INFO 11-23 12:00:20 [x.py:1] Model loading took 2.0 GiB and 1.0 seconds\n"
        "(Worker_TP1 pid=2) INFO 11-23 12:00:21 [x.py:1] Model loading took 9.0 GiB and 5.0 seconds\n"
        "(EngineCore_DP1 pid=3) INFO 11-23 12:00:31 [x.py:1] Available KV cache memory: 99.0 GiB\n"
    )
    found = read_log(log)
    assert (found.weights_gib, found.load_weights_s, found.kv_cache_gib) == (2.0, 1.0, None)


def test_answers_are_told_apart_by_their_digest_and_kept_where_vllm_writes_them(tmp_path: Path) -> None:
    output = attempt(tmp_path, SERVED | {"generated_texts": ["a", "a", ""]})
    parse(output, LATENCY)
    first, second, third = pq.read_table(tmp_path / "requests.parquet").to_pydict()["answer_sha256"]
    assert first == second == hashlib.sha256(b"a").hexdigest()
    assert third is None
    assert Vllm().texts(output) == ("a", "a", "")
    assert Vllm().texts(attempt(tmp_path, OFFLINE)) is None


def test_a_log_alone_says_why_there_is_no_report(tmp_path: Path) -> None:
    found = parse_file("vllm", FIXTURES / "fail_empty_prompt.log")
    assert found["failure"].startswith("empty_prompt: ")
    found = parse_file("vllm", tmp_path / "none.json", FIXTURES / "throughput.log")
    assert found["failure"].startswith("report_missing: the program printed its figures")


@given(st.sampled_from([OFFLINE, SERVED]), st.data())
def test_a_report_cut_anywhere_is_refused(report: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(report)
    with pytest.raises(ReportError):
        parse_report(text[: data.draw(st.integers(0, len(text) - 1))])


@given(st.text())
def test_any_log_is_read_without_error(text: str) -> None:
    read_log(text)


def test_a_report_apart_from_a_campaign(tmp_path: Path) -> None:
    output = attempt(tmp_path, OFFLINE | {"model_id": "Qwen/Qwen2-1.5B", "added": 1})
    found = parse_file("vllm", output / "report.json", tmp_path / "stdout.log")
    assert found["metrics"]["token_throughput_tok_s"] == pytest.approx(896)
    assert found["model_identity"] == "Qwen/Qwen2-1.5B"
    assert "added" in found["notes"][0]
