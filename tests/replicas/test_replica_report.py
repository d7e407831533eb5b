"""The replica's report and records are those of the recorded runs: the same keys,
and the same figures from the same times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replicas.programs import trtllm_report
from replicas.programs.serving import Served

RECORDED = Path(__file__).parents[1] / "fixtures" / "trtllm"


def read(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())


def served(records: list[dict[str, Any]]) -> list[Served]:
    return [
        Served(
            r["id"],
            r["num_input_tokens"],
            r["num_total_output_tokens"],
            r["start_timestamp"],
            r["first_token_timestamp"],
            r["end_timestamp"],
            r["num_total_output_tokens"],
        )
        for r in records
    ]


def paths(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {path}
    return {inner for key in value for inner in paths(value[key], f"{path}/{key}")}


@pytest.mark.parametrize("name", ["throughput_streaming_v1.2.0", "latency_v1.2.0"])
def test_a_recorded_report_follows_from_its_recorded_requests(name):
    recorded = read(f"{name}.json")
    requests = served(read(f"{name}.requests.json"))
    made = trtllm_report.report(
        recorded["engine"], recorded["world_info"], requests, recorded["dataset"]["dataset_path"], streamed=True
    )
    for section in ("request_info", "performance", "streaming_metrics", "dataset"):
        flat = {**flattened(recorded[section])}
        assert flattened(made[section]) == pytest.approx(flat, rel=1e-9), section
    assert list(made) == list(recorded)


def flattened(value: Any, path: str = "") -> dict[str, float]:
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flattened(inner, f"{path}/{key}").items()}
    return {path: value} if isinstance(value, (int, float)) else {}


@pytest.mark.parametrize(
    ("name", "streamed"),
    [
        ("throughput_v1.1.0rc3", False),
        ("throughput_streaming_v1.2.0", True),
        ("latency_v1.2.0", True),
        ("throughput_trt_v1.0.0", False),
    ],
)
def test_each_version_has_the_keys_that_were_recorded(name, streamed):
    recorded = read(f"{name}.json")
    request = Served(0, 16, 8, 0, 10_000, 90_000, 8)
    made = trtllm_report.report(recorded["engine"], recorded["world_info"], [request] * 3, "d.jsonl", streamed)
    assert paths(made) == paths(recorded) - {path for path in paths(recorded) if path.startswith("/machine/")} | {
        path for path in paths(made) if path.startswith("/machine/")
    }


def test_records_have_the_recorded_keys():
    (made,) = trtllm_report.records([Served(0, 16, 8, 0, 10_000, 90_000, 8)], streamed=True)
    assert list(made) == list(read("throughput_streaming_v1.2.0.requests.json")[0])


def test_without_streaming_a_record_has_no_first_token():
    (made,) = trtllm_report.records([Served(0, 16, 8, 0, 10_000, 90_000, 8)], streamed=False)
    assert (made["first_token_timestamp"], made["time_to_first_token"]) == (-1, 0)
