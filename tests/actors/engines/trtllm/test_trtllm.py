"""The TensorRT-LLM engine: what it asks to run, and what it makes of the result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from actors.engines import OUTPUT, EngineError
from actors.engines.trtllm.engine import PROBES, TrtLlm, build_command
from actors.engines.trtllm.options import COMMON, llm_options
from actors.types import Model, Prepared, Report, Workload

FIXTURES = Path(__file__).parents[3] / "fixtures" / "trtllm"
HELP_0_20 = (
    "--dataset --backend --engine_dir --num_requests --warmup --concurrency "
    "--streaming --tp --report_json --iteration_log"
)
OPTIONS: dict[str, Any] = json.loads((FIXTURES.parent / "engines" / "trtllm_options.json").read_text())["throughput"]

QWEN_7B = Model(
    name="deepseek-r1-7b",
    engines=("trtllm",),
    huggingface_id="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    weight_bytes=15_231_233_024,
    kv_bytes_per_token=57_344,
    layers=28,
    batch_size=8,
)
THROUGHPUT = Workload(name="throughput", requests=1000, input_tokens=128, output_tokens=128, warmup_requests=10)
LATENCY = Workload(name="latency", kind="latency", requests=50, input_tokens=128, output_tokens=128)


def prepared(**facts: str) -> Prepared:
    return Prepared(files={"weights": "/models/x", "dataset": "/data/f.jsonl"}, facts={**facts})


def argv(model: Model = QWEN_7B, workload: Workload = THROUGHPUT, given: Prepared | None = None) -> list[str]:
    return list(TrtLlm().command(model, workload, given or prepared()).argv)


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


# --- command ---------------------------------------------------------------------------------------------------


def test_the_whole_throughput_command() -> None:
    launch = TrtLlm().command(QWEN_7B, THROUGHPUT, prepared())
    assert " ".join(launch.argv) == (
        "trtllm-bench --model deepseek-ai/DeepSeek-R1-Distill-Qwen-7B --model_path /campaign/input/weights "
        "--workspace /campaign/output/workspace --log_level info throughput --backend pytorch "
        "--dataset /campaign/input/dataset.jsonl --num_requests 1000 --warmup 10 --concurrency 8 --max_batch_size 8 "
        "--max_num_tokens 4096 --kv_cache_free_gpu_mem_fraction 0.9 --tp 1 --report_json /campaign/output/report.json "
        "--request_json /campaign/output/requests.json"
    )
    assert {(mount.source, mount.target, mount.read_only) for mount in launch.mounts} == {
        ("/models/x", "/campaign/input/weights", True),
        ("/data/f.jsonl", "/campaign/input/dataset.jsonl", True),
    }
    assert launch.variables["HF_HUB_OFFLINE"] == "1"


def test_global_options_stand_before_the_subcommand() -> None:
    arguments = argv()
    for name in ("--model", "--model_path", "--workspace", "--log_level"):
        assert arguments.index(name) < arguments.index("throughput")


def test_concurrency_is_always_stated_and_is_the_batch_unless_the_workload_says_otherwise() -> None:
    assert option(argv(), "--concurrency") == "8"
    assert option(argv(workload=THROUGHPUT.model_copy(update={"concurrency": 3})), "--concurrency") == "3"
    assert option(argv(workload=LATENCY), "--concurrency") == "1"


def test_latency_streams_the_throughput_benchmark_one_request_at_a_time_with_both_limits() -> None:
    """`trtllm-bench latency` asks NVML for the device's memory, which a GB10 does not tell."""
    arguments = argv(workload=LATENCY)
    assert "latency" not in arguments
    assert arguments[arguments.index("--log_level") + 2] == "throughput"
    assert "--streaming" in arguments
    assert option(arguments, "--concurrency") == option(arguments, "--max_batch_size") == "1"
    assert option(arguments, "--max_num_tokens") == "4096"


def test_latency_under_load_streams_as_many_as_the_workload_says() -> None:
    arguments = argv(workload=LATENCY.model_copy(update={"concurrency": 8}))
    assert "--streaming" in arguments
    assert option(arguments, "--concurrency") == option(arguments, "--max_batch_size") == "8"


def test_the_primary_measurement_does_not_stream() -> None:
    assert "--streaming" not in argv()


def test_options_are_chosen_by_what_the_help_lists() -> None:
    old = argv(given=prepared(help_throughput=HELP_0_20))
    assert "--request_json" not in old
    assert option(old, "--tp") == "1"
    assert "--request_json" in argv(given=prepared(help_throughput=COMMON["help_throughput"]))
    assert set(PROBES) == set(COMMON)


def test_the_help_of_a_subcommand_is_asked_for_with_a_model() -> None:
    for ways in PROBES.values():
        for command in ways:
            assert command[1] == "--model"
            assert command[-1] == "--help"


def help_of(version: str) -> str:
    """A help in click's form with the options of a version: choices in brackets, flags with no value."""
    rows = [
        f"  {name} {'[' + '|'.join(value) + ']' if isinstance(value, list) else value}  What it is for."
        for name, value in OPTIONS[version].items()
    ]
    return (
        "Usage: trtllm-bench throughput [OPTIONS]\n\nOptions:\n"
        + "\n".join(rows)
        + "\n  --help  Show this message and exit.\n"
    )


@pytest.mark.parametrize("version", sorted(OPTIONS))
@pytest.mark.parametrize("workload", [THROUGHPUT, LATENCY], ids=lambda workload: str(workload.name))
def test_every_version_takes_the_options_that_it_is_given(version: str, workload: Workload) -> None:
    given = Prepared(
        files={**prepared().files, "llm_options": "/c/llm.yml"}, facts={"help_throughput": help_of(version)}
    )
    arguments = argv(workload=workload, given=given)
    subcommand = arguments.index("throughput")
    assert {name for name in arguments[:subcommand] if name.startswith("--")} <= {
        "--model",
        "--model_path",
        "--workspace",
        "--log_level",
    }
    rest, known = arguments[subcommand + 1 :], OPTIONS[version]
    while rest:
        name = rest.pop(0)
        assert name in known, name
        if known[name] == "FLAG":
            continue
        value = rest.pop(0)
        assert not value.startswith("--")
        if isinstance(known[name], list):
            assert value in known[name]
    assert len(set(arguments)) == len([text for text in arguments if text.startswith("--")]) + len(
        {text for text in arguments if not text.startswith("--")}
    )


def test_a_model_for_the_tensorrt_backend_is_refused_where_the_backends_to_choose_from_lack_it() -> None:
    """Late 1.3 still lists --engine_dir."""
    model = QWEN_7B.model_copy(update={"name": "gemma-2b", "backend": "tensorrt"})
    files = {**prepared().files, "engine": "/c/engine"}
    for version in ("1.0", "1.1", "1.2"):
        given = Prepared(files=files, facts={"help_throughput": help_of(version)})
        assert option(argv(model, given=given), "--backend") == "tensorrt"
    with pytest.raises(
        EngineError, match=r"takes pytorch, _autodeploy\)\n.*up to 1\.2\.1, the last release that has it"
    ) as refused:
        argv(model, given=Prepared(files=files, facts={"help_throughput": help_of("1.3")}))
    assert refused.value.remedy
    old = argv(model, given=Prepared(files=files, facts={"help_throughput": help_of("0.20")}))
    assert "--engine_dir" in old
    assert "--backend" not in old, "before 1.0 none is given and TensorRT runs"


def test_a_choice_that_wraps_in_the_help_is_read_whole() -> None:
    wrapped = "  --backend [pytorch|\n             _autodeploy|tensorrt]\n  --engine_dir PATH\n  --request_json PATH\n"
    model = QWEN_7B.model_copy(update={"backend": "tensorrt"})
    given = Prepared(files={**prepared().files, "engine": "/c/engine"}, facts={"help_throughput": wrapped})
    assert option(argv(model, given=given), "--backend") == "tensorrt"


def test_the_model_is_named_and_never_a_path() -> None:
    launch = TrtLlm().command(QWEN_7B, THROUGHPUT, prepared())
    assert launch.workdir == OUTPUT  # fresh for every attempt, so no folder there can have the model's name
    local = QWEN_7B.model_copy(update={"huggingface_id": None})
    assert option(argv(local), "--model") == "local/deepseek-r1-7b"


def test_settings_in_yaml_repeat_the_whole_kv_cache_config() -> None:
    model = QWEN_7B.model_copy(
        update={"kv_cache_fraction": 0.8, "engine_options": {"trtllm": {"moe_config": {"backend": "CUTLASS"}}}}
    )
    assert llm_options(model) == {
        "moe_config": {"backend": "CUTLASS"},
        "kv_cache_config": {"free_gpu_memory_fraction": 0.8, "enable_block_reuse": False, "dtype": "auto"},
    }
    fixed = QWEN_7B.model_copy(update={"kv_cache_tokens": 65536})
    assert llm_options(fixed)["kv_cache_config"]["max_tokens"] == 65536
    assert llm_options(fixed)["kv_cache_config"]["enable_block_reuse"] is False
    partly = QWEN_7B.model_copy(update={"engine_options": {"trtllm": {"kv_cache_config": {"dtype": "fp8"}}}})
    assert llm_options(partly)["kv_cache_config"] == {
        "free_gpu_memory_fraction": 0.9,
        "enable_block_reuse": False,
        "dtype": "fp8",
    }
    assert llm_options(QWEN_7B) == {}


def test_settings_go_by_the_option_the_image_has() -> None:
    given = Prepared(files={**prepared().files, "llm_options": "/c/llm.yml"})
    assert option(argv(given=given), "--extra_llm_api_options") == "/campaign/input/llm.yml"
    newer = given.model_copy(update={"facts": {"help_throughput": "--config --request_json"}})
    assert option(argv(given=newer), "--config") == "/campaign/input/llm.yml"
    neither = given.model_copy(update={"facts": {"help_throughput": "--tp"}})
    with pytest.raises(EngineError, match="neither"):
        argv(given=neither)


def test_the_tensorrt_backend_runs_a_built_engine() -> None:
    model = QWEN_7B.model_copy(update={"backend": "tensorrt"})
    given = Prepared(files={**prepared().files, "engine": "/c/engine"})
    arguments = argv(model, given=given)
    assert option(arguments, "--engine_dir") == "/campaign/input/engine"
    assert option(arguments, "--backend") == "tensorrt"
    assert "--max_seq_len" not in arguments
    with pytest.raises(EngineError, match="has no more"):
        argv(model, given=given.model_copy(update={"facts": {"help_throughput": "--backend --config"}}))
    build = build_command(model, THROUGHPUT, given).argv
    assert build.index("build") < build.index("--max_batch_size")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(EngineError, match="onnx"):
        argv(QWEN_7B.model_copy(update={"backend": "onnx"}))


# --- prepare ---------------------------------------------------------------------------------------------------


def checkpoint(folder: Path, **config: Any) -> Path:
    """A checkpoint with a true configuration and weights of a few bytes."""
    shape = {
        "architectures": ["Qwen2ForCausalLM"],
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "hidden_size": 3584,
        "vocab_size": 152064,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shape | config))
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    return folder


def small(**update: Any) -> Model:
    return QWEN_7B.model_copy(update={"weight_bytes": 1000, **update})


def test_preparing_finds_the_weights_and_writes_dataset_and_settings(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "models" / "deepseek-r1-7b")
    model, few = small(kv_cache_tokens=65536), THROUGHPUT.model_copy(update={"requests": 5})
    first = TrtLlm().prepare(model, few, tmp_path)
    assert first.files["weights"] == str(folder)
    lines = [json.loads(line) for line in Path(first.files["dataset"]).read_text().splitlines()]
    assert [line["task_id"] for line in lines] == [0, 1, 2, 3, 4]
    assert {len(line["input_ids"]) for line in lines} == {line["output_tokens"] for line in lines} == {128}
    assert all(1000 <= token < 32000 for line in lines for token in line["input_ids"])
    assert yaml.safe_load(Path(first.files["llm_options"]).read_text())["kv_cache_config"]["max_tokens"] == 65536
    assert first.facts["kv_bytes_per_token"] == 57_344
    assert TrtLlm().prepare(model, few, tmp_path) == first


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    gated = small(revision="abc123", gated=True, licence="llama3")
    with pytest.raises(EngineError, match=r"(?s)hf download deepseek-ai/.* --revision abc123 .*HF_TOKEN"):
        TrtLlm().prepare(gated, THROUGHPUT, tmp_path)


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path / "models" / "deepseek-r1-7b", num_hidden_layers=80, num_key_value_heads=8)
    with pytest.raises(EngineError, match=r"another model.*80 layers, not 28"):
        TrtLlm().prepare(small(), THROUGHPUT, tmp_path)


def test_what_the_pytorch_backend_cannot_load_is_refused_before_anything_runs(tmp_path: Path) -> None:
    checkpoint(tmp_path / "models" / "deepseek-r1-7b", architectures=["GemmaForCausalLM"])
    with pytest.raises(EngineError, match="Gemma 3"):
        TrtLlm().prepare(small(), THROUGHPUT, tmp_path)
    checkpoint(tmp_path / "models" / "deepseek-r1-7b", quantization_config={"quant_method": "awq"})
    with pytest.raises(EngineError, match="ModelOpt"):
        TrtLlm().prepare(small(), THROUGHPUT, tmp_path)


def test_changed_weights_change_the_digest(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "models" / "deepseek-r1-7b")
    few = THROUGHPUT.model_copy(update={"requests": 1})
    before = TrtLlm().prepare(small(), few, tmp_path).digests["weights"]
    (folder / "model.safetensors").write_bytes(b"y" * 1000)
    assert TrtLlm().prepare(small(), few, tmp_path).digests["weights"] != before


# --- parse -----------------------------------------------------------------------------------------------------


def attempt(tmp_path: Path, name: str, *, records: bool = True, **change: Any) -> Path:
    """An attempt's folder with a fixture's report and log, as a run of :data:`QWEN_7B` would leave it."""
    output = tmp_path / "output"
    output.mkdir(exist_ok=True)
    report = json.loads((FIXTURES / f"{name}.json").read_text())
    report["engine"] |= {"model": QWEN_7B.huggingface_id, "model_path": "/campaign/input/weights"}
    for path, value in change.items():
        section, key = path.split("__")
        report[section][key] = value
    (output / "report.json").write_text(json.dumps(report))
    if (log := FIXTURES / f"{name}.log").exists():
        shutil.copy(log, tmp_path / "stdout.log")
    if records and (requests := FIXTURES / f"{name}.requests.json").exists():
        shutil.copy(requests, output / "requests.json")
    return output


def parse(output: Path, model: Model = QWEN_7B, workload: Workload = THROUGHPUT) -> Report:
    return TrtLlm().parse(output, model, workload, prepared())


def values(report: Report) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in report.metrics}


def reasons(report: Report) -> dict[str, str | None]:
    return {metric.name: metric.reason for metric in report.metrics}


def test_a_good_attempt(tmp_path: Path) -> None:
    report = parse(attempt(tmp_path, "throughput_v1.1.0rc3"))
    assert report.failure is None
    assert report.model_identity == QWEN_7B.huggingface_id
    assert (report.requests_expected, report.requests_answered) == (1000, 1000)
    assert report.tokens_generated == report.tokens_expected == 128_000
    assert report.engine_version == "1.1.0rc3"
    found = values(report)
    assert found["token_throughput_tok_s"] == 120.36258988990181
    assert found["kv_cache_gib"] == 87.23
    assert found["peak_memory_gib"] == 23.0
    assert found["steady_s"] == pytest.approx(1063.45335471)


def test_without_streaming_first_token_and_gaps_are_missing_with_a_reason(tmp_path: Path) -> None:
    report = parse(attempt(tmp_path, "throughput_v1.1.0rc3"))
    for name in ("ttft_mean_ms", "ttft_p99_ms", "tpot_p50_ms", "itl_mean_ms", "itl_p50_ms", "itl_p99_ms"):
        assert values(report)[name] is None
        assert reasons(report)[name] == "the engine did not stream"


def test_even_with_streaming_there_is_no_gap_per_token(tmp_path: Path) -> None:
    report = parse(
        attempt(tmp_path, "latency_v1.2.0", request_info__avg_input_length=128.0),
        QWEN_7B.model_copy(update={"weight_bytes": None, "kv_bytes_per_token": None}),
        LATENCY,
    )
    assert report.failure is None
    assert values(report)["ttft_p99_ms"] == 184.364789
    assert values(report)["tpot_p99_ms"] == 24.582787960629922
    assert values(report)["itl_p99_ms"] is None
    assert "no time per token" in str(reasons(report)["itl_p99_ms"])
    # Outputs are all equally long here, so the mean of the means is the mean.
    assert values(report)["itl_mean_ms"] == 24.047961759842526


def test_request_records_become_a_table(tmp_path: Path) -> None:
    output = attempt(tmp_path, "latency_v1.2.0")
    parse(output, QWEN_7B, LATENCY)
    table = pq.read_table(tmp_path / "requests.parquet").to_pydict()
    assert table["request_index"] == list(range(50))
    assert table["submitted_ms"][0] == 0
    assert table["ttft_ms"][0] == 178.44414
    assert all(table["ok"])


def test_no_report_is_a_failure_whatever_else_happened(tmp_path: Path) -> None:
    output = attempt(tmp_path, "throughput_v1.1.0rc3")
    (output / "report.json").unlink()
    report = parse(output)
    assert report.failure is not None
    assert report.failure.startswith("report_missing: ")
    assert report.requests_answered == 0
    assert values(report)["token_throughput_tok_s"] is None
    assert reasons(report)["token_throughput_tok_s"] == "report_missing"


@pytest.mark.parametrize(
    ("log", "failure"),
    [
        ("fail_oom_executor", "out_of_memory"),
        ("fail_requests_oom", "out_of_memory"),
        ("fail_unknown_architecture", "unsupported_architecture"),
    ],
)
def test_a_failure_is_named_by_its_cause(tmp_path: Path, log: str, failure: str) -> None:
    output = tmp_path / "output"
    output.mkdir()
    shutil.copy(FIXTURES / f"{log}.log", tmp_path / "stderr.log")
    assert str(parse(output).failure).startswith(f"{failure}: ")


def test_a_report_cut_short_is_named(tmp_path: Path) -> None:
    output = attempt(tmp_path, "throughput_v1.1.0rc3")
    text = (output / "report.json").read_text()
    (output / "report.json").write_text(text[: len(text) // 2])
    assert str(parse(output).failure).startswith("report_invalid: report.json: cut short")


def test_another_model_is_rejected_by_name_and_by_weight(tmp_path: Path) -> None:
    """One 7B checkpoint ran under three names in an earlier study: the name alone proves nothing."""
    named = parse(attempt(tmp_path, "throughput_v1.1.0rc3", engine__model="Qwen/Qwen2.5-72B-Instruct"))
    assert str(named.failure).startswith("model_identity: asked for deepseek-ai/")
    assert named.model_identity != QWEN_7B.huggingface_id

    asked = QWEN_7B.model_copy(
        update={"name": "qwen2.5-72b", "weight_bytes": 145_412_000_000, "kv_bytes_per_token": 327_680}
    )
    weighed = parse(attempt(tmp_path, "throughput_v1.1.0rc3"), asked)
    assert "57344 bytes of KV cache per token" in str(weighed.failure)
    assert "14.19 GiB of weights" in str(weighed.failure)
    assert weighed.model_identity != asked.huggingface_id


def test_on_the_bare_host_the_engine_reads_the_weights_where_they_are(tmp_path: Path) -> None:
    assert parse(attempt(tmp_path, "throughput_v1.1.0rc3", engine__model_path="/models/x")).failure is None


def test_an_8_bit_kv_cache_is_not_another_model(tmp_path: Path) -> None:
    assert (
        parse(
            attempt(tmp_path, "throughput_v1.1.0rc3"), QWEN_7B.model_copy(update={"kv_bytes_per_token": 114_688})
        ).failure
        is None
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"world_info__max_batch_size": 2048}, "configuration_mismatch: ran with a batch of 2048, not 8"),
        ({"world_info__kv_cache_percentage": 0.7}, "configuration_mismatch: ran with a KV fraction of 0.7, not 0.9"),
        ({"request_info__avg_input_length": 127.0}, "workload_mismatch: 127 input tokens"),
        ({"engine__version": "1.1.0rc4"}, "report_stale"),
        ({"engine__model_path": "/models/other"}, "model_identity: the engine read /models/other"),
    ],
)
def test_what_ran_must_be_what_was_asked(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert said in str(parse(attempt(tmp_path, "throughput_v1.1.0rc3", **change)).failure)


def test_a_streamed_run_whose_report_has_no_streaming_section_is_incomplete(tmp_path: Path) -> None:
    output = attempt(tmp_path, "latency_v1.2.0")
    report = json.loads((output / "report.json").read_text())
    del report["streaming_metrics"]
    (output / "report.json").write_text(json.dumps(report))
    assert "'streaming_metrics' is missing" in str(parse(output, QWEN_7B, LATENCY).failure)


def test_fewer_records_than_requests_make_the_report_unusable(tmp_path: Path) -> None:
    output = attempt(tmp_path, "latency_v1.2.0")
    records = json.loads((output / "requests.json").read_text())
    (output / "requests.json").write_text(json.dumps(records[:-1]))
    assert "49 records" in str(parse(output, QWEN_7B, LATENCY).failure)


def test_requests_that_failed_do_not_count_as_answered(tmp_path: Path) -> None:
    output = attempt(tmp_path, "latency_v1.2.0")
    records = json.loads((output / "requests.json").read_text())
    records[3]["error_tokens"] = 2
    (output / "requests.json").write_text(json.dumps(records))
    report = parse(output, QWEN_7B, LATENCY)
    assert (report.requests_answered, report.requests_failed) == (49, 1)


def test_a_number_that_is_none_is_missing_and_says_so(tmp_path: Path) -> None:
    report = parse(attempt(tmp_path, "throughput_v1.1.0rc3", performance__avg_request_latency_ms=float("nan")))
    assert values(report)["latency_mean_ms"] is None
    assert reasons(report)["latency_mean_ms"] == "the program wrote no finite number"


def test_peak_memory_and_kv_cache_carry_the_terms_that_tie_them(tmp_path: Path) -> None:
    found = values(parse(attempt(tmp_path, "throughput_v1.1.0rc3_cachefull")))
    terms = ("peak_memory_gib", "kv_cache_gib", "kv_free_fraction", "kv_estimation_gib", "device_total_gib")
    peak, kv, fraction, trial, total = (found[name] or 0.0 for name in terms)
    assert peak + kv / fraction - trial == pytest.approx(total, abs=0.02)
    assert found["memory_identity_gib"] == pytest.approx(0, abs=0.02)


def test_metrics_are_the_same_names_whether_it_worked_or_not(tmp_path: Path) -> None:
    good = parse(attempt(tmp_path, "throughput_v1.1.0rc3"))
    (tmp_path / "output" / "report.json").unlink()
    assert [metric.name for metric in good.metrics] == [metric.name for metric in parse(tmp_path / "output").metrics]
