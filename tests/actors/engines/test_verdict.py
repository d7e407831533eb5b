"""From an engine's own files to the verdict: every recorded good report is accepted, every bad one is not.

What the unit itself watches (gate, telemetry, exit) is good in all of these, so the engine's part decides.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from actors.engines import Engine
from actors.engines.llamacpp.engine import LlamaCpp
from actors.engines.trtllm.engine import TrtLlm
from actors.engines.vllm.engine import Vllm
from actors.types import (
    Evidence,
    Exit,
    Gate,
    GateRecord,
    Model,
    Prepared,
    RandomWeights,
    Report,
    TelemetrySummary,
    Workload,
)
from campaign.config.schema import Acceptance
from campaign.run.acceptance import judge
from tests.actors.engines.llamacpp import given_llamacpp

FIXTURES = Path(__file__).parents[2] / "fixtures"
TRT, VLLM = FIXTURES / "trtllm", FIXTURES / "vllm" / "h100_0.22.1"
CAMPAIGN = FIXTURES / "vllm" / "h100_campaign"


@dataclass(frozen=True)
class Recorded:
    """What one run left: report, log and request records, and the model and workload that it was a run of."""

    name: str
    engine: Engine
    model: Model
    workload: Workload
    report: Path | None
    log: Path | None
    requests: Path | None = None
    change: dict[str, Any] = field(default_factory=dict)
    """``section__key`` or ``key`` to the value as this run would have written it."""

    @property
    def prepared(self) -> Prepared:
        """As the engine prepares it: the identity comes from the model's entry."""
        facts = {"vllm": "local/qwen2-1.5b", "trtllm": str(self.model.huggingface_id)}
        return Prepared(
            files={"weights": "/models/x", "dataset": "/d"}, facts={"model_identity": facts[self.engine.name]}
        )

    def leave(self, folder: Path) -> Path:
        output = folder / "output"
        output.mkdir(parents=True)
        if self.report is not None:
            report = json.loads(self.report.read_text())
            for path, value in self.change.items():
                section, _, key = path.partition("__")
                if key:
                    report[section][key] = value
                else:
                    report[section] = value
            (output / "report.json").write_text(json.dumps(report))
        if self.log is not None:
            shutil.copy(self.log, folder / "stdout.log")
        if self.requests is not None:
            shutil.copy(self.requests, output / "requests.json")
        return output


def trt(
    name: str,
    huggingface_id: str,
    workload: Workload,
    *,
    requests: bool = False,
    model: dict[str, Any] | None = None,
    **change: Any,
) -> Recorded:
    entry = Model(name="m", engines=("trtllm",), huggingface_id=huggingface_id, **(model or {}))
    log, records = TRT / f"{name}.log", TRT / f"{name}.requests.json"
    change = {"engine__model_path": "/campaign/input/weights"} | change
    return Recorded(
        name,
        TrtLlm(),
        entry,
        workload,
        TRT / f"{name}.json",
        log if log.exists() else None,
        records if requests else None,
        change,
    )


def asked(requests: int, input_tokens: int, output_tokens: int, **more: Any) -> Workload:
    return Workload(name="w", requests=requests, input_tokens=input_tokens, output_tokens=output_tokens, **more)


QWEN = Model(
    name="qwen2-1.5b", engines=("vllm",), batch_size=32,
    random_weights=RandomWeights(
        architecture="qwen2", layers=28, hidden_size=1536, feed_forward_size=8960, heads=12, kv_heads=2,
            vocabulary=32001, precision="bf16"
    ),
)  # fmt: skip
R1 = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
EIGHT = {"batch_size": 8, "kv_bytes_per_token": 57_344}
SERVED = asked(128, 128, 128, kind="latency", concurrency=32)
E2EL = {f"{statistic}_e2el_ms": 450.0 for statistic in ("mean", "median", "p50", "p95", "p99")}
PERCENTILES = {f"{p}_{kind}_ms": 3.0 for p in ("p50", "p95") for kind in ("ttft", "tpot", "itl")}
"""A campaign asks for these; the recorded client ran with the defaults."""

GOOD = [
    trt("throughput_v1.1.0rc3", R1, asked(1000, 128, 128), model=EIGHT),
    trt("throughput_v1.1.0rc3_cachefull", R1, asked(1000, 128, 128), model=EIGHT),
    trt("throughput_trt_v1.0.0", "meta-llama/Llama-3.1-8B", asked(300, 128, 128),
        model={"batch_size": 16, "backend": "tensorrt"}),
    trt("throughput_streaming_v0.20_legacy", "meta-llama/Llama-3.1-8B", asked(64, 128, 32), model={"batch_size": 16}),
    trt("throughput_streaming_v1.3.0rc13_energy", "Qwen/Qwen3-8B", asked(120, 256, 64, kind="latency", concurrency=8),
        model={"batch_size": 8, "kv_cache_fraction": 0.8}),
    trt("real_l40s_throughput_streaming", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", asked(16, 100, 20, kind="latency"),
        requests=True),
    trt("latency_v1.2.0", "nvidia/Llama-3.1-8B-Instruct-FP4", asked(50, 1028, 128, kind="latency"),
        request_info__avg_input_length=1028.0, requests=True),
    Recorded("vllm_throughput", Vllm(), QWEN, asked(256, 128, 128), VLLM / "throughput.json", VLLM / "throughput.log",
        change={"model_id": "local/qwen2-1.5b"}),
    Recorded("vllm_serve", Vllm(), QWEN, SERVED, VLLM / "bench_serve.json", VLLM / "serve.log",
        change={"model_id": "local/qwen2-1.5b", **E2EL, **PERCENTILES}),
]  # fmt: skip

BAD = [
    (trt("throughput_v1.1.0rc3", "Qwen/Qwen2.5-72B-Instruct", asked(1000, 128, 128), model=EIGHT), "model_identity"),
    (trt("throughput_v1.1.0rc3", R1, asked(1000, 128, 128), model=EIGHT | {"kv_bytes_per_token": 327_680}),
     "model_identity"),
    (trt("throughput_v1.1.0rc3", R1, asked(1001, 128, 128), model=EIGHT), "requests_answered"),
    (trt("throughput_v1.1.0rc3", R1, asked(1000, 256, 128), model=EIGHT), "report"),
    (trt("throughput_v1.1.0rc3", R1, asked(1000, 128, 64), model=EIGHT), "tokens_generated"),
    (trt("throughput_v1.1.0rc3", R1, asked(1000, 128, 128), model=EIGHT | {"batch_size": 16}), "report"),
    (trt("throughput_v1.1.0rc3", R1, asked(1000, 128, 128), model=EIGHT, performance__request_throughput_req_s="fast"),
     "report"),
    (Recorded("no_report", TrtLlm(), GOOD[0].model, GOOD[0].workload, None, GOOD[0].log), "report"),
    (Recorded("oom", TrtLlm(), GOOD[0].model, GOOD[0].workload, None, TRT / "fail_oom_executor.log"), "report"),
    (Recorded("architecture", TrtLlm(), GOOD[0].model, GOOD[0].workload, None, TRT / "fail_unknown_architecture.log"),
     "report"),
    (Recorded("requests", TrtLlm(), GOOD[0].model, GOOD[0].workload, None, TRT / "fail_requests_oom.log"), "report"),
    (Recorded("vllm_other", Vllm(), QWEN, asked(256, 128, 128), VLLM / "throughput.json", VLLM / "throughput.log",
     change={"model_id": "x/y"}), "model_identity"),
    (Recorded("vllm_longer", Vllm(), QWEN, asked(256, 1024, 128), VLLM / "throughput.json", VLLM / "throughput.log",
     change={"model_id": "local/qwen2-1.5b"}), "report"),
    (Recorded("vllm_empty", Vllm(), QWEN, asked(256, 128, 128), None, VLLM / "fail_empty_prompt.log"), "report"),
    (Recorded("vllm_some_failed", Vllm(), QWEN, SERVED, VLLM / "bench_serve.json", VLLM / "serve.log",
     change={"model_id": "local/qwen2-1.5b", "completed": 127, "failed": 1, **E2EL, **PERCENTILES}),
         "requests_answered"),
    (Recorded("vllm_defaults", Vllm(), QWEN, SERVED, VLLM / "bench_serve.json", VLLM / "serve.log",
     change={"model_id": "local/qwen2-1.5b"}), "report"),
]  # fmt: skip


def evidence(report: Report) -> Evidence:
    return Evidence(
        run_id="r",
        attempt=1,
        unit="u",
        outcome="failed" if report.failure else "completed",
        failure=report.failure,
        exit=Exit(code=0),
        report=report,
        gate=GateRecord(opened=True, waited_s=1, rest_s=300, temperature_c=38),
        telemetry=TelemetrySummary(
            samples_expected=100, samples=100, coverage_pct=100, jitter_p50_ms=1, jitter_p99_ms=2, longest_gap_ms=110,
            sampler_cpu_pct=0.5, throttle_reasons=0,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("run", GOOD, ids=lambda run: str(run.name))
def test_every_recorded_good_report_is_accepted(run: Recorded, tmp_path: Path) -> None:
    report = run.engine.parse(run.leave(tmp_path), run.model, run.workload, run.prepared)
    identity = str(run.prepared.facts["model_identity"])
    assert report.model_identity == identity
    verdict = judge(evidence(report), Gate(), Acceptance(), model_identity=identity)
    assert verdict.accepted, [check for check in verdict.checks if check.passed is False]


@pytest.mark.parametrize(("run", "check"), BAD, ids=[f"{index}-{run.name}" for index, (run, _) in enumerate(BAD)])
def test_every_recorded_bad_one_is_rejected_for_its_reason(run: Recorded, check: str, tmp_path: Path) -> None:
    report = run.engine.parse(run.leave(tmp_path), run.model, run.workload, run.prepared)
    verdict = judge(evidence(report), Gate(), Acceptance(), model_identity=str(run.prepared.facts["model_identity"]))
    assert not verdict.accepted
    assert check in verdict.rejected_by


LATENCY_4 = asked(4, 128, 128, kind="latency")
KEPT = [
    # folder, workload, output tok/s, engine initialisation in s, and when the last line before requests were taken was
    # seen
    ("native_throughput", asked(256, 128, 128, warmup_requests=8), 10_128.7, 8.91, 1_795_702_111_820_858_358),
    ("docker_throughput", asked(256, 128, 128, warmup_requests=8), 10_511.8, 8.38, 1_795_702_148_022_284_694),
    ("native_latency", asked(16, 128, 128, kind="latency", warmup_requests=2), 400.6, 7.78, 1_795_702_185_739_357_312),
    ("docker_latency_shakedown", LATENCY_4, 374.44, 8.67, 1_795_702_072_285_251_812),
]


def kept(folder: str, workload: Workload, tmp_path: Path) -> Report:
    """An attempt that a campaign kept, parsed as on the unit."""
    shutil.copytree(CAMPAIGN / folder, tmp_path / folder)
    model = QWEN.model_copy(update={"name": "random-qwen2-1.5b"})
    facts: dict[str, float | int | str] = {"model_identity": "local/random-qwen2-1.5b", "weight_bytes": 3_087_428_608}
    return Vllm().parse(
        tmp_path / folder / "output", model, workload, Prepared(files={"weights": "/models/x"}, facts=facts)
    )


@pytest.mark.parametrize(
    ("folder", "workload", "tok_s", "init_s", "ready_ns"), KEPT, ids=[str(case[0]) for case in KEPT]
)
def test_attempts_of_a_real_campaign_are_accepted_again(
    folder: str, workload: Workload, tok_s: float, init_s: float, ready_ns: int, tmp_path: Path
) -> None:
    report = kept(folder, workload, tmp_path)
    verdict = judge(evidence(report), Gate(), Acceptance(), model_identity="local/random-qwen2-1.5b")
    assert verdict.accepted, [check for check in verdict.checks if check.passed is False]
    values = {metric.name: metric.value for metric in report.metrics}
    assert values["token_throughput_tok_s"] == pytest.approx(tok_s, rel=2e-4)
    assert values["engine_init_s"] == init_s
    assert values["graph_capture_s"] in (1.0, 2.0) and 3 < (values["compile_s"] or 0) < 5
    assert report.ready_utc_ns == ready_ns
    assert report.engine_version == "0.22.1"
    if workload.kind == "latency":
        assert values["warmup_s"] is not None and 0.5 < values["warmup_s"] < 10
    else:
        assert values["warmup_s"] is None


def test_an_attempt_of_another_workload_is_not(tmp_path: Path) -> None:
    report = kept("native_latency", LATENCY_4, tmp_path)
    assert not judge(evidence(report), Gate(), Acceptance(), model_identity="local/random-qwen2-1.5b").accepted


def test_a_real_run_of_llamacpp_is_accepted_and_another_models_is_not(tmp_path: Path) -> None:
    output, prepared, ended = given_llamacpp.serve(tmp_path / "cache", tmp_path / "attempt")
    assert ended.returncode == 0
    report = LlamaCpp().parse(output, given_llamacpp.MODEL, given_llamacpp.WORKLOAD, prepared)
    identity = str(prepared.facts["model_identity"])
    assert judge(evidence(report), Gate(), Acceptance(), model_identity=identity).accepted
    assert not judge(evidence(report), Gate(), Acceptance(), model_identity="another").accepted


def test_what_is_prepared_names_what_the_verdict_asks_for(tmp_path: Path) -> None:
    prepared = Vllm().prepare(QWEN.model_copy(update={"name": "m"}), asked(1, 1, 1), tmp_path)
    assert prepared.facts["model_identity"] == "local/m"
