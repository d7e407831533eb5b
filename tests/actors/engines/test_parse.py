"""Reports read apart from a campaign, under the project's names and under the reference's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.engines import EngineError
from actors.engines.parse import parse_file
from actors.engines.trtllm.report import ReportError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "trtllm"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FIXTURES / "expected.json").read_text())


def files(name: str) -> tuple[Path, Path | None, Path | None]:
    log, requests = FIXTURES / f"{name}.log", FIXTURES / f"{name}.requests.json"
    return FIXTURES / f"{name}.json", log if log.exists() else None, requests if requests.exists() else None


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_reference_keys_and_values(name: str) -> None:
    found = parse_file("trtllm", *files(name), keys="reference")
    if "version" not in EXPECTED[name]:
        found.pop("version", None)  # a filler in that report
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(name for name in EXPECTED if not name.startswith("fail_")))
def test_project_keys_agree_with_the_reference(name: str) -> None:
    found, expected = parse_file("trtllm", *files(name)), EXPECTED[name]
    figures = found["metrics"]
    assert figures["token_throughput_tok_s"] == expected["output_token_throughput_tok_s"]
    assert figures["latency_p95_ms"] == expected["request_latency_p95_ms"]
    assert figures["ttft_p99_ms"] == expected.get("ttft_p99_ms")
    assert figures["kv_cache_gib"] == expected.get("kv_cache_gib_log")
    assert found["missing"].keys() == {key for key, value in figures.items() if value is None}
    assert all(found["missing"].values())
    json.dumps(found, allow_nan=False)


def test_a_log_alone_tells_why_there_is_no_report() -> None:
    for name in ("fail_oom_executor", "fail_unknown_architecture", "fail_requests_oom"):
        assert parse_file("trtllm", FIXTURES / f"{name}.log", keys="reference") == EXPECTED[name]
    found = parse_file("trtllm", FIXTURES / "none.json", FIXTURES / "fail_oom_executor.log")
    assert found["failure"].startswith("out_of_memory")
    assert found["metrics"]["token_throughput_tok_s"] is None


def test_a_good_log_without_a_report_is_a_failure_too() -> None:
    found = parse_file("trtllm", FIXTURES / "none.json", FIXTURES / "latency_v1.2.0.log")
    assert found["failure"].startswith("report_missing")
    assert found["metrics"]["kv_cache_gib"] == 96.3


def test_queue_time_is_told_from_latency() -> None:
    found = parse_file("trtllm", *files("throughput_v1.1.0rc3"))
    assert any("queue time" in note and "504 requests in flight" in note for note in found["notes"])
    assert not any("queue time" in note for note in parse_file("trtllm", *files("latency_v1.2.0"))["notes"])


def test_one_observation_is_not_two() -> None:
    for name in ("throughput_v1.1.0rc3", "throughput_v1.1.0rc3_cachefull"):
        assert any("one observation" in note for note in parse_file("trtllm", *files(name))["notes"])


def test_a_newer_engine_is_read_and_noted(tmp_path: Path) -> None:
    report = json.loads(files("throughput_streaming_v1.3.0rc13_energy")[0].read_text())
    report["engine"] |= {"version": "1.9.0", "compiler": "x"}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    notes = parse_file("trtllm", path)["notes"]
    assert any("engine.compiler" in note for note in notes)
    assert any("1.9.0 is newer" in note for note in notes)


def test_a_broken_report_names_its_key_and_what_the_log_says(tmp_path: Path) -> None:
    report = json.loads(files("throughput_v1.1.0rc3")[0].read_text())
    del report["performance"]["request_throughput_req_s"]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    with pytest.raises(ReportError, match=r"performance\.request_throughput_req_s' is missing.*out_of_memory"):
        parse_file("trtllm", path, FIXTURES / "fail_oom_executor.log")


def test_what_cannot_be_parsed_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such file"):
        parse_file("trtllm", tmp_path / "none.json")
    with pytest.raises(EngineError, match="there are: llamacpp, openai, trtllm, vllm"):
        parse_file("nonesuch", tmp_path / "none.json")
    with pytest.raises(EngineError, match="trtllm alone"):
        parse_file("vllm", tmp_path / "none.json", keys="reference")


def test_an_iteration_log_is_told_from_a_report() -> None:
    found = parse_file("trtllm", FIXTURES / "iteration_log_v1.1.txt")
    assert found["metrics"]["kv_cache_tokens"] == 56170 * 32


def test_request_records_are_told_from_a_report() -> None:
    with pytest.raises(EngineError, match="--requests"):
        parse_file("trtllm", FIXTURES / "latency_v1.2.0.requests.json")
