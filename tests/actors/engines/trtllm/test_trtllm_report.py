"""A report of trtllm-bench parses completely, or fails with the name of the key that is missing."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines.common.figures import finite
from actors.engines.trtllm.report import (
    ReportError,
    nearest_rank,
    parse_report,
    parse_version,
    read_report,
    read_requests,
    unknown_keys,
)

FIXTURES = Path(__file__).parents[3] / "fixtures" / "trtllm"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
REPORTS = {name: (FIXTURES / f"{name}.json").read_text() for name in EXPECTED if (FIXTURES / f"{name}.json").exists()}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all keys, sections included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from leaves(inner, (*path, key))


def without(report: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    report = copy.deepcopy(report)
    inner = report
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return report


def shuffled(value: Any, source: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        source.shuffle(keys)
        return {key: shuffled(value[key], source) for key in keys}
    return value


reports = st.sampled_from(sorted(REPORTS))


@pytest.mark.parametrize("name", sorted(REPORTS))
def test_every_report_we_have_parses_and_has_no_unknown_key(name: str) -> None:
    assert unknown_keys(parse_report(REPORTS[name])) == ()


OPTIONAL = {("energy",), ("streaming_metrics",), ("decoding_stats",), ("machine",)}
"""Sections that a run may lack; within them every key is required."""


@pytest.mark.parametrize("name", sorted(REPORTS))
def test_any_missing_key_is_named(name: str) -> None:
    whole = json.loads(REPORTS[name])
    for path in leaves(whole):
        text = json.dumps(without(whole, path))
        required_machine = path == ("machine",) and parse_version(whole["engine"]["version"]) >= (1, 2, 0, 1)
        if path in OPTIONAL and not required_machine:
            assert path[0] not in parse_report(text).model_fields_set
            continue
        with pytest.raises(ReportError) as error:
            parse_report(text)
        assert ".".join(path) in str(error.value)
        assert error.value.key == ".".join(path)


@given(reports, st.data())
def test_a_report_cut_anywhere_is_refused(name: str, data: st.DataObject) -> None:
    text = REPORTS[name].rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ReportError, match=r"cut short|empty|not JSON"):
        parse_report(text[:cut])


@given(reports, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(name: str, source: random.Random) -> None:
    assert parse_report(json.dumps(shuffled(json.loads(REPORTS[name]), source))) == parse_report(REPORTS[name])


@given(reports, st.data())
def test_keys_of_a_newer_version_are_tolerated_and_listed(name: str, data: st.DataObject) -> None:
    report = json.loads(REPORTS[name])
    sections = [()] + [path for path in leaves(report) if isinstance(_at(report, path), dict)]
    path = data.draw(st.sampled_from(sections))
    value = data.draw(st.sampled_from([None, 1, "x", {"y": 2}, [1, 2]]))
    _at(report, path)["added_later"] = value
    parsed = parse_report(json.dumps(report))
    assert unknown_keys(parsed) == (".".join((*path, "added_later")),)


@given(reports, st.data())
def test_a_figure_of_the_wrong_type_is_named(name: str, data: st.DataObject) -> None:
    report = json.loads(REPORTS[name])
    numbers = [path for path in leaves(report) if isinstance(_at(report, path), int | float)]
    path = data.draw(st.sampled_from(numbers))
    _at(report, path[:-1])[path[-1]] = data.draw(st.sampled_from(["12.5", True, [1.0], {}]))
    with pytest.raises(ReportError) as error:
        parse_report(json.dumps(report))
    assert ".".join(path) in str(error.value)


def _at(report: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        report = report[key]
    return report


UNUSED = [
    ("engine", "engine_dir"), ("engine", "dtype"), ("engine", "kv_cache_dtype"), ("world_info", "issue_rate"),
    ("world_info", "scheduling_policy"),
    ("world_info", "ep_size"), ("performance", "output_throughput_per_gpu_tok_s"), ("dataset", "dataset_path"),
    ("dataset", "seq_len_stats"),
]  # fmt: skip


@pytest.mark.parametrize("path", UNUSED, ids=".".join)
def test_a_version_after_those_read_may_drop_what_no_figure_comes_from(path: tuple[str, str]) -> None:
    """TensorRT-LLM dropped engine_dir with its TensorRT backend."""
    report = without(json.loads(REPORTS["throughput_v1.1.0rc3"]), path)
    with pytest.raises(ReportError, match=path[1]):
        parse_report(json.dumps(report))
    newer = json.loads(REPORTS["throughput_streaming_v1.2.0"])
    newer["engine"]["version"] = "2.0.0"
    assert parse_report(json.dumps(without(newer, path))).performance.request_throughput_req_s
    with pytest.raises(ReportError, match="system_output_throughput_tok_s"):
        parse_report(json.dumps(without(newer, ("performance", "system_output_throughput_tok_s"))))


def test_a_number_beyond_all_floats_is_missing() -> None:
    assert finite(10**400) is None
    assert finite(float("nan")) is None
    assert finite(1.5) == 1.5


def test_nan_is_read_and_counts_as_missing_later() -> None:
    report = json.loads(REPORTS["throughput_v1.1.0rc3"])
    report["performance"]["avg_request_latency_ms"] = float("nan")
    assert parse_report(json.dumps(report)).performance.avg_request_latency_ms != 0


def test_the_kv_share_is_a_fraction_whatever_the_version_wrote() -> None:
    assert parse_report(REPORTS["throughput_streaming_v0.20_legacy"]).world_info.kv_cache_fraction == 0.9
    assert parse_report(REPORTS["throughput_streaming_v1.2.0"]).world_info.kv_cache_fraction == 0.85


def test_release_candidates_may_lack_what_their_release_has() -> None:
    report = json.loads(REPORTS["throughput_streaming_v1.2.0"])
    del report["machine"], report["engine"]["revision"]
    report["engine"]["version"] = "1.2.0rc2"
    assert parse_report(json.dumps(report)).machine is None
    report["engine"]["version"] = "1.2.1"
    with pytest.raises(ReportError, match=r"machine|engine\.revision"):
        parse_report(json.dumps(report))


def test_the_oldest_reports_have_no_p90() -> None:
    report = json.loads(REPORTS["throughput_streaming_v0.20_legacy"])
    for path in list(leaves(report)):
        if path[-1] == "p90":
            del _at(report, path[:-1])["p90"]
    with pytest.raises(ReportError, match="p90"):
        parse_report(json.dumps(report))
    report["engine"]["version"] = "0.17.0"
    assert parse_report(json.dumps(report)).performance.request_latency_percentiles_ms.p90 is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("[]", "object"),
        ("{}", "engine"),
        ("not json", "not JSON"),
        ("[" * 100_000, "cut short|deeply"),
        ('{"engine": {}, "engine": {}}', "given twice"),
    ],
)
def test_what_is_no_report_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(ReportError, match=said):
        parse_report(text)


def test_a_version_that_is_no_version_is_refused() -> None:
    report = json.loads(REPORTS["throughput_v1.1.0rc3"])
    report["engine"]["version"] = "unknown"
    with pytest.raises(ReportError, match=r"engine\.version"):
        parse_report(json.dumps(report))


def test_a_missing_file_means_a_failed_attempt(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no such file"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize("name", ["throughput_streaming_v1.2.0", "real_l40s_throughput_streaming", "latency_v1.2.0"])
def test_percentiles_are_nearest_rank_over_requests(name: str) -> None:
    report = read_report(FIXTURES / f"{name}.json")
    records = read_requests(FIXTURES / f"{name}.requests.json")
    streaming = report.streaming_metrics
    assert streaming is not None
    for q, key in ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99")):
        for values, percentiles in (
            ([record.latency_ms for record in records], report.performance.request_latency_percentiles_ms),
            ([record.ttft_ms or 0.0 for record in records], streaming.ttft_percentiles),
        ):
            assert nearest_rank(values, q) == pytest.approx(getattr(percentiles, key), rel=1e-12)


def test_with_few_requests_the_high_percentiles_are_the_maximum() -> None:
    assert nearest_rank(range(20), 0.95) == nearest_rank(range(20), 0.99) == 19
    assert nearest_rank(range(50), 0.99) == 49


def test_records_of_a_run_without_streaming_have_no_first_token(tmp_path: Path) -> None:
    records = json.loads((FIXTURES / "latency_v1.2.0.requests.json").read_text())
    for record in records:
        record |= {"first_token_timestamp": -1, "time_to_first_token": 0, "intertoken_latency": 1.4e11}
    path = tmp_path / "requests.json"
    path.write_text(json.dumps(records))
    parsed = read_requests(path)
    assert {record.ttft_ms for record in parsed} == {None}
    assert all(record.latency_ms > 3000 for record in parsed)


def test_records_stand_in_order_of_submission(tmp_path: Path) -> None:
    records = json.loads((FIXTURES / "throughput_streaming_v1.2.0.requests.json").read_text())
    path = tmp_path / "requests.json"
    path.write_text(json.dumps(records[::-1]))
    starts = [record.start_timestamp for record in read_requests(path)]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.2.0", (1, 2, 0, 1)),
        ("1.1.0rc3", (1, 1, 0, 0)),
        ("0.20.0", (0, 20, 0, 1)),
        ("1.3.0rc13.post1", (1, 3, 0, 0)),
        ("0.21.0.dev2025061700", (0, 21, 0, 0)),
        ("v1.4", (1, 4, 0, 1)),
        ("nightly", None),
    ],
)
def test_versions(text: str, version: tuple[int, int, int, int] | None) -> None:
    assert parse_version(text) == version
