"""A machine that is too noisy for an answer is told so first, with what CPU time says; a quiet one is told nothing."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from campaign.report import noise


def row(metric: str, low: float | None, high: float | None, verdict: str = "inconclusive") -> dict[str, Any]:
    pct = None if low is None or high is None else (low + high) / 2
    return {
        "metric": metric, "model": "m", "treatment": "docker", "verdict": verdict, "kind": "primary",
        "scale": "percent",
        "pct": pct, "pct_low": low, "pct_high": high, "effect": 1.0, "side": None,
    }  # fmt: skip


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE run_noise AS SELECT 30.0::DOUBLE AS throughput_cv_pct, 1.5::DOUBLE AS per_cpu_s_cv_pct, "
        "60.0 AS cpu_wait_pct, 6 AS n, 'native' AS environment, 'm' AS model"
    )
    return con


@pytest.mark.parametrize(("low", "high"), [(-20.0, 9.0), (None, None)])
def test_a_noisy_machine_is_told_so_with_what_cpu_time_says(
    con: duckdb.DuckDBPyConnection, low: float | None, high: float | None
) -> None:
    said = noise.told(con, [row("token_throughput_tok_s", low, high), row("output_tokens_per_cpu_s", -1.0, 2.0)])
    assert said == [
        "By the clock this machine tells nothing narrower than ±5 % in 6 runs: runs of one and the same arm differ "
        "by up to 30 % (coefficient of variation of throughput, native, m). "
        "Some task waited for a CPU during 60 % of these runs.",
        "Counted in output tokens per CPU-second these runs differ by 1.5 % only: docker, m: +0.5 % [−1.0, +2.0].",
    ]


def test_where_cpu_time_varies_as_much_the_processor_is_named(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("UPDATE run_noise SET per_cpu_s_cv_pct = 25.0")
    said = noise.told(con, [row("token_throughput_tok_s", -20, 9), row("output_tokens_per_cpu_s", -19.0, 9.0)])
    assert said[1] == (
        "In output tokens per CPU-second they differ by 25.0 %, hardly less: the processor itself is now faster, now "
        "slower, and only more runs narrow that: docker, m: −5 % [−19, +9]."
    )


def test_without_cpu_time_or_pressure_it_says_what_it_knows(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("UPDATE run_noise SET cpu_wait_pct = NULL")
    (said,) = noise.told(con, [row("token_throughput_tok_s", -20, 9)])
    assert said.endswith("(coefficient of variation of throughput, native, m).")


def test_a_narrow_interval_a_verdict_and_a_quiet_machine_are_told_nothing(con: duckdb.DuckDBPyConnection) -> None:
    assert noise.told(con, [row("token_throughput_tok_s", -2, 3)]) == []
    assert noise.told(con, [row("token_throughput_tok_s", -40, -20, "different")]) == []
    con.execute("UPDATE run_noise SET throughput_cv_pct = 3.0")
    assert noise.told(con, [row("token_throughput_tok_s", -20, 9)]) == []
