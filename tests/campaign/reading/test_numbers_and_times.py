"""Numbers, units and times mean what their writer meant, or are asked about."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.reading.columns import metric_of
from campaign.reading.errors import TableError
from campaign.reading.numbers import AmbiguousNumber, NotNumbers, numbers
from campaign.reading.times import nanoseconds
from campaign.reading.units import UNITS, factor, parse_unit, unit_at_end

fast = settings(max_examples=200)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["100.64", "99"], [100.64, 99]),
        (["100,64", "99,0"], [100.64, 99.0]),
        (["1,287.25", "2,001"], [1287.25, 2001]),
        (["1.287,25", "2.001"], [1287.25, 2001]),
        (["1 287,25", "2 001"], [1287.25, 2001]),
        (["1\u202f287.25"], [1287.25]),
        (["1'287.25", "1’288"], [1287.25, 1288]),
        (["1,234,567"], [1234567]),
        (["1.234.567"], [1234567]),
        (["0,123"], [0.123]),
        (["1.234"], [1.234]),
        (["\u22121.5", "+2", "1e3", ".5", "5."], [-1.5, 2, 1000, 0.5, 5]),
        (["96 %", "1.82%"], [96, 1.82]),
        (["70123 MiB", ""], [70123, math.nan]),
        ([1, 2.5, None], [1, 2.5, math.nan]),
        (["n/a", "-", "NaN", "1"], [math.nan, math.nan, math.nan, 1]),
        (["inf", "1"], [math.inf, 1]),
    ],
)
def test_numbers_are_read_as_they_were_meant(cells: list[Any], values: list[float]) -> None:
    assert numbers(cells).values == pytest.approx(values, nan_ok=True)


def test_a_thousand_or_a_one_is_asked_about_and_the_answer_is_taken() -> None:
    with pytest.raises(AmbiguousNumber, match="--decimal comma or --decimal point"):
        numbers(["1,234", "5,678"])
    assert numbers(["1,234"], "point").values == [1234]
    assert numbers(["1,234"], "comma").values == [1.234]


@pytest.mark.parametrize(
    "cells",
    [
        ["fast", "1"],
        ["1_000"],
        ["0x10"],
        ["1,5", "1.5"],
        ["12,34,5"],
        ["1 2"],
        ["1e400"],
        [10**400],
        [True],
        ["5 bananas"],
        ["١٢x"],
    ],
)
def test_what_is_no_number_is_refused_with_its_cell(cells: list[Any]) -> None:
    with pytest.raises(NotNumbers):
        numbers(cells)


def test_a_run_that_ran_out_of_memory_has_no_figure_and_is_told() -> None:
    found = numbers(["100.5", "OOM", "timed out"])
    assert found.failed == {1: "OOM", 2: "timed out"}
    assert math.isnan(found.values[1])


@fast
@given(
    st.lists(st.floats(0.001, 1e9), min_size=1, max_size=5),
    st.sampled_from([(",", "."), (".", ","), (" ", ","), ("'", "."), ("\u00a0", ",")]),
)
def test_a_column_printed_in_any_style_with_decimals_is_read_back(values: list[float], style: tuple[str, str]) -> None:
    grouping, decimal = style
    cells = [f"{value:,.4f}".replace(",", "_").replace(".", decimal).replace("_", grouping) for value in values]
    assert numbers(cells).values == pytest.approx([round(value, 4) for value in values])


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("tok/s", "tok/s"), ("tokens/sec", "tok/s"), ("t/s", "tok/s"), ("TPS", "tok/s"), ("req/s", "req/s"),
        ("requests / second", "req/s"), ("ms", "ms"),
        ("Milliseconds", "ms"), ("µs", "µs"), ("μs", "µs"), ("s", "s"), ("MiB", "MiB"), ("GB", "GB"), ("W", "W"),
        ("mW", "mW"), ("MW", None), ("mJ", "mJ"),
        ("%", "%"), ("°C", "°C"), ("GB/s", "GB/s"), ("bananas", None), ("", None), ("mw", None),
    ],
)  # fmt: skip
def test_units_as_people_write_them(text: str, unit: str | None) -> None:
    found = parse_unit(text)
    assert (found.name if found else None) == unit


@pytest.mark.parametrize(
    ("given_", "wanted", "by"),
    [
        ("s", "ms", 1000),
        ("µs", "ms", 1e-3),
        ("MiB", "GiB", 1 / 1024),
        ("GB", "GiB", 1e9 / 2**30),
        ("kB", "GiB", 1000 / 2**30),
        ("Wh", "J", 3600),
        ("tok/s", "req/s", None),
        ("s", "GiB", None),
    ],
)
def test_conversion_is_exact_and_stays_within_a_dimension(given_: str, wanted: str, by: float | None) -> None:
    assert factor(UNITS[given_], UNITS[wanted]) == by


def test_an_ending_is_a_unit_only_where_it_can_be_one() -> None:
    assert unit_at_end("tokens_per_s")[1] == UNITS["tok/s"]
    assert unit_at_end("latency_mean_ms") == ("latency_mean", UNITS["ms"])
    assert unit_at_end("latency_min")[1] is None
    assert unit_at_end("samples_per_second") == ("samples_per_second", None)
    assert unit_at_end("docker_c")[1] is None
    assert unit_at_end("gpu_temp_c")[1] == UNITS["°C"]


@pytest.mark.parametrize(
    ("header", "meaning", "unit"),
    [
        ("latency [ms]", "latency_mean_ms", "ms"), ("Latency (s)", "latency_mean_ms", "s"),
        ("avgLatencyMs", "latency_mean_ms", "ms"),
        ("TTFT p99 (s)", "ttft_p99_ms", "s"), ("mean_ttft_ms", "ttft_mean_ms", "ms"),
        ("median_itl_ms", "itl_p50_ms", "ms"),
        ("output_throughput", "token_throughput_tok_s", "tok/s"),
        ("Output tokens per second", "token_throughput_tok_s", "tok/s"),
        ("requests_per_second", "request_throughput_req_s", "req/s"),
        ("throughput (req/s)", "request_throughput_req_s", "req/s"),
        ("peak_vram_mib", "peak_memory_gib", "MiB"), ("Peak GPU Memory (GB)", "peak_memory_gib", "GB"),
        ("Power Draw (W)", "power_mean_w", "W"),
        ("Latency", "latency_mean_ms", None), ("peak_memory", "peak_memory_gib", None),
        ("Throughput", None, None), ("throughput (tok/s)", None, "tok/s"), ("tokens_per_second", None, "tok/s"),
        ("latency_p90_ms", None, "ms"),
        ("mem_MiB", None, "MiB"), ("output_tokens", None, None), ("total_s", None, "s"), ("latency_min_ms", None, "ms"),
        ("score", None, None),
    ],
)  # fmt: skip
def test_a_header_says_what_it_says_and_no_more(header: str, meaning: str | None, unit: str | None) -> None:
    found = metric_of(header)
    assert (found.meaning, found.unit.name if found.unit else None) == (meaning, unit)


def day(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2025-11-03T10:00:00Z", "2025-11-03T10:00:00"), ("2025-11-03 10:00", "2025-11-03T10:00:00"),
        ("2025-11-03", "2025-11-03"),
        ("2025-11-03T12:00:00+02:00", "2025-11-03T10:00:00"), ("03.11.2025 10:00", "2025-11-03T10:00:00"),
        ("3.11.25", "2025-11-03"),
        ("13/11/2025 10:00:05", "2025-11-13T10:00:05"), ("11/13/2025 1:05 PM", "2025-11-13T13:05:00"),
        ("20251103_100000", "2025-11-03T10:00:00"),
        ("20251103-100000", "2025-11-03T10:00:00"), ("3 Nov 2025 10:00", "2025-11-03T10:00:00"),
        ("Nov 3, 2025", "2025-11-03"),
        ("Mon Nov  3 10:00:00 2025", "2025-11-03T10:00:00"), ("Mon, 03 Nov 2025 10:00:00 GMT", "2025-11-03T10:00:00"),
        (1762164000, "2025-11-03T10:00:00"), ("1762164000.0", "2025-11-03T10:00:00"),
        (1762164000000, "2025-11-03T10:00:00"),
        ("1762164000000000000", "2025-11-03T10:00:00"), (20251103100000, "2025-11-03T10:00:00"),
    ],
)  # fmt: skip
def test_times_as_people_write_them(cell: Any, moment: str) -> None:
    assert nanoseconds([cell])[0] == [day(moment)]


def test_nanoseconds_survive() -> None:
    assert nanoseconds(["2025-11-03T10:00:00.123456789Z"])[0] == [day("2025-11-03T10:00:00") + 123456789]
    assert nanoseconds([1762164000123456789])[0] == [1762164000123456789]


def test_a_date_that_another_row_decides_is_decided_and_one_that_none_does_is_asked_about() -> None:
    assert nanoseconds(["03/11/2025", "13/11/2025"])[0][0] == day("2025-11-03")
    with pytest.raises(TableError, match="--dates day-first or --dates month-first"):
        nanoseconds(["03/11/2025", "04/11/2025"])
    assert nanoseconds(["03/11/2025"], "month-first")[0] == [day("2025-03-11")]
    with pytest.raises(TableError, match="the day first and"):
        nanoseconds(["13/11/2025", "11/13/2025"])


@pytest.mark.parametrize(
    "cell",
    [
        "yesterday",
        "9999-12-31",
        "1969-01-01",
        12.5,
        "2025-13-45",
        "32.01.2025",
        True,
        10**19,
        "0001-01-01",
        "2025-11-03T25:00",
    ],
)
def test_what_is_no_time_of_a_benchmark_is_refused(cell: Any) -> None:
    with pytest.raises(TableError):
        nanoseconds([cell])


def test_a_zone_in_some_rows_only_is_refused() -> None:
    with pytest.raises(TableError, match="some times have a zone"):
        nanoseconds(["2025-11-03T10:00:00Z", "2025-11-03T11:00:00"])


@fast
@given(st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)))
def test_any_iso_time_is_read_back(moment: datetime) -> None:
    assert nanoseconds([moment.isoformat()])[0] == [
        int(moment.replace(tzinfo=UTC, microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000
    ]
