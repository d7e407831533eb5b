"""The vLLM engine, on reports and logs in the form that vllm bench 0.11 to 0.33 writes."""

from __future__ import annotations

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
from actors.engines.trtllm_report import ReportError
from actors.engines.vllm import PROBES, SERVE, Vllm
from actors.engines.vllm_report import parse_report, read_log
from actors.types import Model, Prepared, Report, Workload

FIXTURES = Path(__file__).parents[2] / "fixtures" / "vllm" / "h100_0.22.1"

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
"""
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
    argv = Vllm().command(underscored, THROUGHPUT, PREPARED).argv
    assert argv.count("--gpu-memory-utilization") == 1
    assert "0.7" in argv


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
        ("ValueError: Free memory on device (30.1/119.7 GiB) on startup is less than desired GPU memory utilization (0.9)", "out_of_memory"),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "kv_cache_too_small"),
        ("ValueError: To serve at least one request, 9.0 GiB KV cache is needed, which is larger than the available KV cache memory", "kv_cache_too_small"),
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
    optional = {"failed", "model_id"} if report is OFFLINE else {"failed"}
    figures = [key for key, value in report.items() if isinstance(value, int | float) and key not in optional]
    unused = {"burstiness", "max_concurrency", *(key for key in report if key.startswith(("median", "std")))}
    key = data.draw(st.sampled_from([key for key in figures if key not in unused]))
    with pytest.raises(ReportError) as error:
        parse_report(json.dumps({name: value for name, value in report.items() if name != key}))
    assert error.value.key == key


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
