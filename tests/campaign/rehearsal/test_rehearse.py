"""A rehearsal is the campaign's own driver, gate, parsers, verdicts and store;
what it holds says that it is simulated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from pyarrow import parquet
from small_study import BEGAN_NS, rehearsed

from campaign.analysis import views
from campaign.audit.verification import verify
from campaign.record import journal
from campaign.rehearsal.machine import DGX_SPARK
from campaign.rehearsal.rehearse import Rehearsed

EFFECTS = ("docker-baseline:token_throughput_tok_s:-3", "docker-baseline:load_s:20", "docker-baseline:power_mean_w:5")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    return rehearsed(tmp_path_factory.mktemp("done"), effects=EFFECTS)


@pytest.fixture(scope="module")
def con(done: Rehearsed) -> duckdb.DuckDBPyConnection:
    return views.connect(done.store.root)


def test_it_is_carried_out_to_its_end_and_verifies(done: Rehearsed) -> None:
    assert done.completed
    assert done.snapshot.accepted == done.snapshot.total == 16
    assert verify(done.store) == []


def test_hours_pass_in_seconds(done: Rehearsed, con: duckdb.DuckDBPyConnection) -> None:
    """Each run rests a minute and loads for longer; in virtual time that is what the journal and every attempt say."""
    span_s = (done.ended_utc_ns - done.began_utc_ns) / 1e9
    assert span_s > 16 * (60 + 60)
    first, last, runs = con.execute("SELECT min(started_utc), max(ended_utc), count(*) FROM attempts").fetchall()[0]
    assert runs == 16
    assert 0 < (last - first).total_seconds() <= span_s
    assert con.execute("SELECT round(sum(hours) * 3600) FROM hours").fetchall()[0][0] == pytest.approx(span_s, abs=2)
    assert con.execute("SELECT min(waited_s) >= 60 AND max(temperature_c) < 45 FROM gates").fetchall() == [(True,)]


def test_every_row_and_file_says_that_it_is_simulated(done: Rehearsed, con: duckdb.DuckDBPyConnection) -> None:
    root = done.store.root
    for view in ("plan", "runs", "attempts", "requests", "telemetry", "run_metrics"):
        assert con.execute(f"SELECT count(*) > 0 AND bool_and(simulated) FROM {view}").fetchall() == [(True,)], view
    assert json.loads((root / "campaign.json").read_bytes())["simulated"] is True
    assert all(event["simulated"] is True for event in journal.read(done.store.journal_path)[0])
    for path in root.rglob("*.json"):
        if path.name != "status.json":
            assert b'"simulated": true' in path.read_bytes() or b'"simulated":true' in path.read_bytes(), path
    for path in root.rglob("stdout.log"):
        assert "SIMULATED" in path.read_text(), path
    for path in root.rglob("command.sh"):
        assert "# simulated: this command was never run" in path.read_text(), path
    for path in root.rglob("*.parquet"):
        assert parquet.read_table(path).column("simulated").to_pylist().count(True) > 0, path


def test_figures_come_through_the_engines_own_parser(con: duckdb.DuckDBPyConnection) -> None:
    """TensorRT-LLM's report gives throughput and latency, its log the memory;
    peak and KV cache add up as in every real run of it."""
    found = dict(
        con.execute(
            """SELECT metric, avg(value) FROM metrics JOIN runs USING (run_id)
            WHERE environment = 'native-chroot' AND model = 'deepseek-r1-7b' GROUP BY metric"""
        ).fetchall()
    )
    assert 85 < found["token_throughput_tok_s"] < 125
    assert found["ttft_p50_ms"] < found["latency_p50_ms"] < found["latency_p99_ms"]
    assert abs(found["memory_identity_gib"]) < 0.05
    assert found["concurrency_mean"] == pytest.approx(8, abs=0.3)
    decoding_w = con.execute("SELECT max(gpu_power_w) FROM telemetry WHERE gpu_utilization_pct > 90").fetchall()[0][0]
    assert 38 < decoding_w < 55
    sources = dict(con.execute("SELECT DISTINCT metric, source FROM metrics").fetchall())
    assert sources["token_throughput_tok_s"] == "report.json: performance.system_output_throughput_tok_s"
    assert sources["kv_cache_gib"] == "log: last KV cache allocation"


def test_what_is_injected_is_what_differs(con: duckdb.DuckDBPyConnection) -> None:
    def change_pct(metric: str) -> float:
        rows = con.execute(
            "SELECT 100 * (exp(avg(ln(ratio))) - 1) FROM pairs WHERE metric = $1 AND treatment = 'docker-baseline'",
            [metric],
        )
        return float(rows.fetchall()[0][0])

    assert change_pct("token_throughput_tok_s") == pytest.approx(-3, abs=0.8)
    assert change_pct("latency_mean_ms") == pytest.approx(100 / 0.97 - 100, abs=0.8)
    assert change_pct("load_s") == pytest.approx(20, abs=8)
    assert abs(change_pct("kv_cache_gib")) < 1


def test_the_same_seed_gives_the_same_journal_and_another_does_not(tmp_path: Path) -> None:
    """Of two units with faults: who measured what, when, and how it ended."""

    def told(name: str, seed: int) -> list[tuple[object, ...]]:
        went = rehearsed(
            tmp_path / name,
            faults="crash=0.2",
            asked={"units": 2, "seed": seed},
            repetitions="2",
            shakedown="false",
            models="[qwen2-1.5b]",
        )
        keys = ("t_utc_ns", "event", "run_id", "attempt", "unit", "outcome", "rejected_by")
        return [tuple(map(str, map(event.get, keys))) for event in journal.read(went.store.journal_path)[0]]

    first = told("first", 1)
    assert first == told("again", 1)
    assert first != told("other", 2)
    assert {"spark-1", "spark-2"} <= {event[4] for event in first}


def test_a_hot_room_holds_the_gate_and_its_runs_throttle(tmp_path: Path) -> None:
    hot = replace(DGX_SPARK, heat=replace(DGX_SPARK.heat, ambient_c=27.5, daily_c=0.0, drift_c=0.0, throttle_c=46.0))
    went = rehearsed(tmp_path, asked={"kind": hot}, repetitions="1", attempts_max="1", models="[deepseek-r1-7b]")
    con = views.connect(went.store.root)
    assert went.snapshot.accepted == 0 and went.snapshot.exhausted == 2
    held = con.execute("SELECT max(list_contains(blocked_by, 'temperature')), max(waited_s) FROM gates").fetchall()[0]
    assert held[0] and held[1] > 90
    verdicts = con.execute("SELECT figure FROM verdicts WHERE check_name = 'throttling'").fetchall()
    assert all("sw_therm_slowdown" in figure for (figure,) in verdicts)
    assert verify(went.store) == []


def test_it_begins_when_it_is_told_to(done: Rehearsed) -> None:
    first = journal.read(done.store.journal_path)[0][0]
    assert first["t_utc_ns"] == BEGAN_NS


def test_samples_follow_the_unit(con: duckdb.DuckDBPyConnection) -> None:
    """Between runs it cools, while it decodes it warms, and the counters only grow."""
    rows = con.execute("SELECT gpu_energy_j, t_utc_ns FROM telemetry ORDER BY t_utc_ns").fetchall()
    assert np.all(np.diff([energy for energy, _ in rows]) > 0)
    assert np.all(np.diff([t for _, t in rows]) > 0)
    warmest = dict(con.execute("SELECT stage, max(gpu_temperature_c) FROM telemetry GROUP BY stage").fetchall())
    assert warmest["run"] > warmest["gate"]
