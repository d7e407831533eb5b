"""One whole real campaign, from the config to the report: what its user sees and what is left in the folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from pyarrow import parquet
from small_campaign import PROJECT, Finished, campaign, start, write_config

from campaign.audit.verification import verify
from campaign.errors import EXIT_INTERRUPTED, EXIT_REFUSED
from campaign.record import journal
from campaign.record.store import Store

METRICS = [
    "token_throughput_tok_s",
    "request_throughput_req_s",
    "latency_mean_ms",
    "peak_memory_gib",
    "kv_cache_gib",
    "ttft_mean_ms",
    "ttft_p50_ms",
    "ttft_p95_ms",
    "ttft_p99_ms",
    "itl_mean_ms",
    "itl_p50_ms",
    "itl_p95_ms",
    "itl_p99_ms",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "total_token_throughput_tok_s",
    "power_mean_w",
    "energy_j",
    "gpu_utilization_mean_pct",
    "memory_bandwidth_mean_gb_s",
    "gpu_temperature_max_c",
    "peak_unified_memory_gib",
    "attempt_memory_peak_gib",
    "attempt_cpu_s",
    "host_temperature_max_c",
    "psi_cpu_some_ms",
    "psi_memory_some_ms",
    "gate_wait_s",
    "create_s",
    "start_s",
    "load_s",
    "warmup_s",
    "first_token_s",
    "steady_s",
    "teardown_s",
    "harness_s",
    "gate_to_exec_ms",
    "start_temperature_c",
    "start_mem_available_gib",
    "start_mem_free_gib",
    "start_mem_cached_gib",
    "start_swap_used_gib",
    "telemetry_coverage_pct",
    "telemetry_jitter_p99_ms",
    "telemetry_cpu_pct",
]


def attempts(folder: Path) -> list[Path]:
    return sorted(folder.glob("attempts/*/1"))


def metadata(attempt: Path) -> dict:
    return json.loads((attempt / "metadata.json").read_bytes())


def events(folder: Path) -> list[dict]:
    return journal.read(folder / "journal.jsonl")[0]


def query(folder: Path, question: str, home: Path) -> list[dict]:
    answer = subprocess.run(
        [sys.executable, "-m", "campaign", "sql", str(folder), question, "--format", "json"],
        cwd=PROJECT,
        env={**os.environ, "CAMPAIGN_HOME": str(home)},
        capture_output=True,
        check=True,
    )
    return json.loads(answer.stdout)


# --- the finished campaign ----------------------------------------------------------------------------------


def test_it_ends_with_the_table_and_says_where_the_report_is(finished: Finished):
    assert finished.done.returncode == 0, finished.done.stdout
    assert f"report {finished.folder}/report/index.html" in finished.done.stdout.replace("\n", "")
    assert "docker-baseline (n = 2) against native-chroot (n = 2)" in finished.done.stdout
    assert "ray" not in finished.done.stdout.lower().replace("array", "")
    assert "\x1b" not in finished.done.stdout


def test_every_run_has_exactly_one_accepted_attempt(finished: Finished):
    planned = [row["run_id"] for row in Store(finished.folder).plan()]
    accepted = [event["run_id"] for event in journal.finished(events(finished.folder)) if event["accepted"]]
    assert len(planned) == 4
    assert sorted(accepted) == sorted(planned)


def test_the_order_alternates_with_the_repetition(finished: Finished):
    order = [event["run_id"].split("__")[1] for event in events(finished.folder) if event["event"] == "dispatched"]
    assert order == ["native-chroot", "docker-baseline", "docker-baseline", "native-chroot"]


def test_each_line_of_the_journal_carries_the_hash_of_the_one_before(finished: Finished):
    previous = "0" * 64
    for line in (finished.folder / "journal.jsonl").read_bytes().splitlines():
        assert json.loads(line)["prev"] == previous
        previous = hashlib.sha256(line).hexdigest()
    assert json.loads(line)["event"] == "completed"


def test_verify_finds_it_clean(finished: Finished):
    done = campaign("verify", finished.folder, home=finished.home)
    verdict, head = done.stdout.splitlines()
    assert (done.returncode, verdict) == (0, f"{finished.folder}: clean")
    assert head == f"head of the journal, to be kept elsewhere: {Store(finished.folder).head('journal')}"


def test_what_was_registered_before_it_is_in_its_chain_and_was_kept_to(finished: Finished):
    (event,) = [event for event in events(finished.folder) if event["event"] == "registered"]
    assert event["sha256"] == hashlib.sha256((finished.folder / "registration.json").read_bytes()).hexdigest()
    page = (finished.folder / "report" / "index.html").read_text()
    assert event["sha256"] in page and "No deviation from the registration." in page


def test_every_metric_has_a_value_or_a_reason(finished: Finished):
    for attempt in attempts(finished.folder):
        metrics = {metric["name"]: metric for metric in metadata(attempt)["metrics"]}
        assert set(METRICS) <= set(metrics), set(METRICS) - set(metrics)
        assert [name for name, it in metrics.items() if it["value"] is None and not it["reason"]] == []
        assert metrics["token_throughput_tok_s"]["value"] > 0


def test_the_requests_of_a_run_are_kept_one_by_one(finished: Finished):
    for attempt in attempts(finished.folder):
        rows = parquet.read_table(attempt / "requests.parquet").to_pylist()
        assert [row["request_index"] for row in rows] == list(range(6))
        assert all(row["ok"] and row["output_tokens"] == 24 and len(row["itl_ms"]) == 23 for row in rows)
        assert all(0 < row["ttft_ms"] < row["latency_ms"] for row in rows)
        mean = sum(row["latency_ms"] for row in rows) / 6
        value = {metric["name"]: metric["value"] for metric in metadata(attempt)["metrics"]}["latency_mean_ms"]
        assert value == pytest.approx(mean)


def test_telemetry_covers_the_whole_campaign_not_only_the_runs(finished: Finished):
    samples = duckdb.sql(f"FROM '{finished.folder}/telemetry/*/*.parquet' ORDER BY t_mono_ns").df()
    assert {"gate", "run", "cooldown", "idle"} <= set(samples.stage)
    assert set(samples[samples.stage == "run"].run_id) == {row["run_id"] for row in Store(finished.folder).plan()}
    assert (samples.unit == "local").all()
    assert samples.attempt_memory_gib[samples.stage == "run"].max() > 0
    assert (samples.t_mono_ns.diff().dropna() > 0).all(), "a sample was kept twice"


def test_both_arms_are_given_the_same(finished: Finished):
    """Arguments, mounts, user, folder and variables of the engine. Docker sets HOME and HOSTNAME by itself."""
    for repetition in ("r01", "r02"):
        arms = []
        for attempt in finished.folder.glob(f"attempts/*{repetition}/1"):
            command = json.loads((attempt / "command.json").read_bytes())
            for name in ("HOME", "HOSTNAME"):
                command["variables"].pop(name, None)
            text = json.dumps([command[key] for key in ("argv", "mounts", "user", "workdir", "variables")])
            arms.append(text.replace(attempt.parent.name, "RUN"))
        assert len(arms) == 2
        assert arms[0] == arms[1]


def test_the_figures_in_sql_are_those_of_the_files(finished: Finished):
    values: dict[str, list[float]] = {}
    for attempt in attempts(finished.folder):
        facts = metadata(attempt)
        values.setdefault(facts["environment"], []).extend(
            metric["value"] for metric in facts["metrics"] if metric["name"] == "token_throughput_tok_s"
        )
    rows = query(
        finished.folder,
        "SELECT runs.environment, avg(value) AS mean FROM metrics JOIN runs USING (run_id) "
        "WHERE metric = 'token_throughput_tok_s' AND runs.accepted GROUP BY ALL",
        finished.home,
    )
    assert {row["environment"]: row["mean"] for row in rows} == {
        name: pytest.approx(sum(numbers) / len(numbers)) for name, numbers in values.items()
    }
    for view in ("requests", "telemetry", "gates", "attempts", "pairs", "verdicts"):
        assert query(finished.folder, f"SELECT count(*) AS n FROM {view}", finished.home)[0]["n"] > 0, view


def test_the_report_needs_no_network(finished: Finished):
    page = (finished.folder / "report" / "index.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"']?(https?:)?//", page)
    assert "@import" not in page
    assert all(name in page for name in ("native-chroot", "docker-baseline", "random-llama-8m"))


def test_status_tells_a_program_how_it_stands(finished: Finished):
    done = campaign("status", finished.folder, "--json", home=finished.home)
    said = json.loads(done.stdout)
    assert (said["stage"], said["accepted"], said["total"], said["lanes"]) == ("completed", 4, 4, {})


def test_a_second_call_says_finished_cheaply_and_without_ray(finished: Finished):
    program = (
        "import sys; from campaign.cli import app\n"
        "try: app()\nexcept SystemExit as end: print('code', end.code, 'ray' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program, "run", str(finished.config), "--results", str(finished.folder.parent)],
        cwd=PROJECT,
        env={**os.environ, "CAMPAIGN_HOME": str(finished.home), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = done.stdout.replace("\n", "")
    assert f"small is finished: report {finished.folder}/report/index.html" in said
    assert "code 0 False" in said
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


# --- interrupted, changed, gone on ---------------------------------------------------------------------------


def test_an_interrupted_campaign_goes_on_only_as_it_began(finished: Finished, tmp_path: Path):
    """Another campaign beside the finished one: Ctrl-C, changed config and code refused, accepted when insisted on."""
    results = tmp_path / "results"
    shutil.copytree(finished.folder, results / "small")
    driver = start("run", finished.config, "--new", "--results", results, "--no-report", home=finished.home)
    folder = results / "small-2"
    patience = time.monotonic() + 120
    while not any(folder.glob("attempts/*/1")) and driver.poll() is None and time.monotonic() < patience:
        time.sleep(0.05)
    assert query(folder, "SELECT count(*) AS n FROM runs", finished.home) == [{"n": 4}], "SQL while it runs"
    driver.send_signal(signal.SIGINT)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == EXIT_INTERRUPTED, said
    assert "The same command goes on" in said.replace("\n", " ")
    assert "Traceback" not in said
    stopped = events(folder)[-1]
    assert (stopped["event"], stopped["reason"]) == ("stopped", "interrupt")
    assert not journal.fold(events(folder)).completed
    assert verify(Store(folder)) == []
    before = (folder / "journal.jsonl").read_bytes()

    changed = write_config(tmp_path, seed=8)
    code = tmp_path / "code"
    for part in ("actors", "campaign", "configs", "sql"):
        shutil.copytree(PROJECT / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
    with (code / "actors" / "host.py").open("a") as file:
        file.write("# changed\n")
    words = ("run", changed, "--results", results, "--no-report")
    refused = campaign(*words, home=finished.home, code=code)
    assert refused.returncode == EXIT_REFUSED, refused.stdout
    assert "config: seed was 7, is 8" in refused.stdout
    assert "code: digest was" in refused.stdout
    assert "--accept-drift" in refused.stdout
    assert (folder / "journal.jsonl").read_bytes() == before

    insisted = campaign(*words, "--accept-drift", home=finished.home, code=code)
    assert insisted.returncode == 0, insisted.stdout
    kinds = Counter(event["event"] for event in events(folder))
    assert kinds["completed"] == 1
    overridden = [line for event in events(folder) if event["event"] == "override" for line in event["difference"]]
    assert "config: seed was 7, is 8" in overridden
    accepted = Counter(event["run_id"] for event in journal.finished(events(folder)) if event["accepted"])
    again = Counter(event["run_id"] for event in events(folder) if event["event"] == "reopened")
    assert len(accepted) == 4
    assert {run_id: count - again[run_id] for run_id, count in accepted.items()} == dict.fromkeys(accepted, 1)
    sessions = query(
        folder, "SELECT block, count(DISTINCT session) AS n FROM attempts WHERE accepted GROUP BY block", finished.home
    )
    assert [row["n"] for row in sessions] == [1, 1], "a block holds runs from before and after the change"
    assert verify(Store(folder)) == []
