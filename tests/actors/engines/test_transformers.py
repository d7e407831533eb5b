"""PyTorch under load: what it reports is complete, is the model asked for, and names what went wrong.

The program needs PyTorch and transformers, which are no dependencies of the project. Where this interpreter has them the real program is
run too; everything else stands on reports that it wrote on a CPU and on an NVIDIA H200 (``fixtures/transformers``).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.engines import OUTPUT, EngineError
from actors.engines.known import engine
from actors.engines.transformers import PROGRAM
from actors.types import Model, Prepared, Report, Workload
from campaign.config import load

PROJECT = Path(__file__).parents[3]
RECORDED = PROJECT / "tests" / "fixtures" / "transformers"
ENGINE = engine("transformers")
SHAPE = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
TINY = Model(
    name="tiny",
    engines=("transformers",),
    huggingface_id="nobody/tiny",
    parameters=107072,
    layers=2,
    batch_size=3,
    engine_options={"transformers": {"architecture": SHAPE, "seed": 7, "dtype": "float32"}},
)
FEW = Workload(name="few", requests=7, input_tokens=12, output_tokens=9, warmup_requests=3)


def here(model: Model, ready: Prepared, output: Path, workload: Workload = FEW) -> list[str]:
    """The engine's argv with the paths of this machine in place of those inside an arm."""
    launch = ENGINE.command(model, workload, ready)
    argv = [sys.executable, *launch.argv[1:]]
    for target, source in [*((mount.target, mount.source) for mount in launch.mounts), (OUTPUT, str(output))]:
        argv = [text.replace(target, source) for text in argv]
    return argv


def recorded(name: str, tmp_path: Path) -> Path:
    """A copy of a recorded output folder."""
    return Path(shutil.copytree(RECORDED / name, tmp_path / "attempt" / "output"))


def as_recorded(tmp_path: Path) -> tuple[Path, Model, Workload, Prepared]:
    """The H200's run of the Qwen2-1.5B shape, with what was asked of it."""
    campaign = load(PROJECT / "configs" / "campaigns" / "gpu-smoke.yaml")
    model, workload = campaign.model("random-qwen2-1.5b"), campaign.workload("short-128")
    return recorded("h200", tmp_path), model, workload, ENGINE.prepare(model, workload, tmp_path / "cache")


def value(report: Report, name: str) -> float:
    found = next(metric.value for metric in report.metrics if metric.name == name)
    assert found is not None
    return found


def test_a_report_of_an_h200_gives_every_figure_and_the_model_asked_for(tmp_path: Path) -> None:
    output, model, workload, ready = as_recorded(tmp_path)
    report = ENGINE.parse(output, model, workload, ready)
    raw = json.loads((output / "report.json").read_bytes())
    assert report.failure is None
    assert report.model_identity == "random-qwen2-1.5b"
    assert (report.requests_answered, report.tokens_generated) == (128, 128 * 128)
    assert value(report, "token_throughput_tok_s") == 128 * 128 / raw["performance"]["steady_s"]
    # 32 slots of 256 tokens in a 16-bit cache, at the 28672 bytes per token that models.yaml says
    assert value(report, "kv_cache_gib") == 32 * 256 * 28672 / 2**30
    assert value(report, "peak_memory_gib") > (model.weight_bytes or 0) / 2**30
    assert report.engine_version is not None
    assert report.engine_version.endswith("on NVIDIA H200")
    sources = {metric.name: metric.source for metric in report.metrics}
    assert sources["peak_memory_gib"].endswith("torch.cuda.max_memory_allocated")
    assert all(metric.value is not None for metric in report.metrics)
    assert (output.parent / "requests.parquet").exists()


@pytest.mark.parametrize(
    ("section", "key", "other"),
    [
        ("model", "parameters", 494032768),
        ("model", "name", "LlamaForCausalLM"),
        ("model", "dtype", "float32"),
        ("model", "seed", 2),
        ("model", "file_sha256", "0" * 64),
    ],
)
def test_another_model_than_the_one_asked_for_is_named(tmp_path: Path, section: str, key: str, other: Any) -> None:
    output, model, workload, ready = as_recorded(tmp_path)
    raw = json.loads((output / "report.json").read_bytes())
    raw[section][key] = other
    (output / "report.json").write_text(json.dumps(raw))
    report = ENGINE.parse(output, model, workload, ready)
    assert report.model_identity != model.name
    assert report.failure is not None
    assert report.failure.startswith("model_identity: ")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_report_without_one_of_its_keys_is_refused_by_that_keys_name(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    output, model, workload, ready = as_recorded(tmp_path_factory.mktemp("run"))
    raw = json.loads((output / "report.json").read_bytes())
    keys = {
        "engine": ["name", "version", "torch", "device", "device_name"],
        "model": ["name", "parameters", "weight_bytes", "dtype", "layers", "random", "seed", "file_sha256"],
        "requests": ["expected", "answered", "failed"],
        "tokens": ["input", "output", "messages", "output_expected"],
        "performance": ["steady_s", "token_throughput_tok_s", "request_throughput_req_s"],
        "memory": ["peak_bytes", "kv_cache", "source"],
        "clocks_ns": ["process_start", "load_end", "warmup_end", "steady_start", "first_token", "steady_end"],
    }
    section = data.draw(st.sampled_from(sorted(keys)))
    key = data.draw(st.sampled_from(keys[section]))
    del raw[section][key]
    (output / "report.json").write_text(json.dumps(raw))
    failure = ENGINE.parse(output, model, workload, ready).failure
    assert failure == f"report_invalid: {section}.{key} is missing"


def test_running_out_of_memory_and_a_missing_report_are_failures_of_their_own(tmp_path: Path) -> None:
    ready = ENGINE.prepare(TINY, FEW, tmp_path / "cache")
    output = tmp_path / "attempt" / "output"
    output.mkdir(parents=True)
    log = output.parent / "stderr.log"
    log.write_text(
        "2026-01-01T00:00:00Z transformers_bench: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
    )
    assert (ENGINE.parse(output, TINY, FEW, ready).failure or "").startswith("out_of_memory: OutOfMemoryError")
    log.write_text("2026-01-01T00:00:00Z transformers_bench: PyTorch finds no CUDA device\n")
    assert ENGINE.parse(output, TINY, FEW, ready).failure == "report_missing: PyTorch finds no CUDA device"
    log.unlink()
    assert ENGINE.parse(output, TINY, FEW, ready).failure == "report_missing"


def test_a_truncated_report_is_refused(tmp_path: Path) -> None:
    output, model, workload, ready = as_recorded(tmp_path)
    whole = (output / "report.json").read_bytes()
    (output / "report.json").write_bytes(whole[: len(whole) // 2])
    assert (ENGINE.parse(output, model, workload, ready).failure or "").startswith("report_invalid: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": {**SHAPE, "model_type": 3}}, "architecture needs model_type"),
        ({"architecture": SHAPE, "precision": "bf16"}, "precision"),
        ({"architecture": {**SHAPE, "max_position_embeddings": 16}}, "more than the context"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_starts(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = TINY.model_copy(update={"engine_options": {"transformers": options}})
    with pytest.raises(EngineError, match=said):
        ENGINE.prepare(model, FEW, tmp_path)


def test_random_weights_need_a_parameter_count_to_be_held_against(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="parameters"):
        ENGINE.prepare(TINY.model_copy(update={"parameters": None}), FEW, tmp_path)


def test_preparing_twice_gives_the_same_files(tmp_path: Path) -> None:
    assert ENGINE.prepare(TINY, FEW, tmp_path) == ENGINE.prepare(TINY, FEW, tmp_path)


def test_one_request_at_a_time_is_what_latency_means(tmp_path: Path) -> None:
    latency = FEW.model_copy(update={"kind": "latency"})
    argv = ENGINE.command(TINY, latency, ENGINE.prepare(TINY, latency, tmp_path)).argv
    assert "--concurrency=1" in argv


def test_the_program_says_why_it_cannot_start(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), "--description=/nowhere", "--dataset=/nowhere", f"--output={tmp_path}",
         "--requests=1", "--concurrency=1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "transformers_bench: FileNotFoundError" in ended.stderr


if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):

    def test_the_real_program_answers_every_request_to_the_exact_length(tmp_path: Path) -> None:
        ready = ENGINE.prepare(TINY, FEW, tmp_path / "cache")
        output = tmp_path / "attempt" / "output"
        output.mkdir(parents=True)
        subprocess.run(here(TINY, ready, output), check=True)
        report = ENGINE.parse(output, TINY, FEW, ready)
        assert report.failure is None
        assert report.model_identity == "tiny"
        assert report.tokens_generated == 7 * 9
        progress = json.loads((output / "progress.json").read_bytes())
        assert (progress["stage"], progress["answered"]) == ("steady", 7)
