"""What the analysis asks of the results."""

from __future__ import annotations

import duckdb
import pytest

from campaign.analysis.inputs import latencies


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    """Two runs of an engine that did not stream, so that no request has a time to its first token."""
    con = duckdb.connect()
    con.execute(
        """CREATE TABLE runs AS SELECT * FROM (VALUES
            ('a', 0, 'small', 'native', 'main', 'spark', 1), ('b', 1, 'small', 'docker', 'main', 'spark', 1)
        ) AS t (run_id, run_index, model, environment, phase, unit, repetition)"""
    )
    con.execute(
        """CREATE TABLE requests AS SELECT run_id, 'batch' AS workload, true AS accepted, true AS ok,
            latency AS latency_ms, NULL::DOUBLE AS ttft_ms
        FROM (VALUES ('a', 10.0), ('a', 12.0), ('b', 11.0)) AS t (run_id, latency)"""
    )
    return con


def test_requests_that_did_not_stream_have_latencies_and_no_time_to_a_first_token(con):
    found = latencies(con, "native")["batch"]["small"]
    assert found.keys() == {"latency_ms"}
    assert sorted(found["latency_ms"]["native"]["main|spark|1"]) == [10.0, 12.0]
    assert list(found["latency_ms"]["docker"]["main|spark|1"]) == [11.0]


def test_without_the_reference_arm_there_is_nothing_to_compare(con):
    assert latencies(con, "bare") == {}
