"""The benchmarks' arithmetic and the folder they make; their figures are taken by ``make bench``."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import yaml
from pyarrow import parquet
from scipy import stats

from benchmarks import analysis, campaigns, compare_tables, gpu_perturbation, harness, perturbation
from campaign.analysis import views
from campaign.record.journal import fold, read
from campaign.record.store import Store

PROJECT = Path(__file__).parents[1]


def test_the_interval_of_a_ratio_is_students_on_logarithms():
    pairs = [(101.0, 100.0), (99.0, 100.0), (100.5, 100.0), (100.0, 100.0)]
    value, low, high, sd = perturbation.ratio(pairs)
    logs = [math.log(a / b) for a, b in pairs]
    reference = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert math.isclose(value, math.exp(sum(logs) / 4))
    assert math.isclose(low, math.exp(reference.low))
    assert math.isclose(high, math.exp(reference.high))
    assert sd > 0


def test_a_bare_run_gets_another_output_and_a_copy_of_the_caches_that_went_with_the_attempt():
    command = {
        "shell": (
            "docker run --mount=source=/s/vm/caches,target=/campaign/cache "
            "--mount=source=/s/vm/a/1/output,target=/campaign/output x"
        ),
        "mounts": [
            {"source": "/s/vm/caches", "target": "/campaign/cache"},
            {"source": "/s/vm/a/1/output", "target": "/campaign/output"},
        ],
    }
    assert campaigns.elsewhere(command, Path("/new"), Path("/copy")) == (
        "docker run --mount=source=/copy,target=/campaign/cache --mount=source=/new,target=/campaign/output x"
    )
    assert "/s/vm/caches" in campaigns.elsewhere(command, Path("/new"))


def test_vllms_own_report_gives_a_throughput():
    kept = PROJECT / "tests/fixtures/vllm/h100_campaign/native_throughput/output"
    assert math.isclose(perturbation.throughput(kept), 20_257.42, rel_tol=1e-6)


def test_the_gpu_pairs_are_of_one_throughput_workload():
    given = gpu_perturbation.given(PROJECT / "configs/campaigns/gpu-vllm.yaml", "native-chroot-nodes", 3)
    assert [one["name"] for one in given["workloads"]] == ["throughput-256"]
    assert len(given["models"]) == len(given["environments"]) == 1


def test_docker_times_keep_their_nanoseconds():
    assert harness.epoch_ns("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert harness.epoch_ns("2026-01-31T12:00:00.123456789Z") % 10**9 == 123_456_789


def test_the_folder_of_the_no_op_resume_is_a_finished_campaign(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_text(yaml.safe_dump(harness.large(60)))
    assert harness.finished_folder(path, tmp_path / "results") == 60
    store = Store(tmp_path / "results" / "large")
    assert fold(read(store.journal_path)[0]).completed
    command = [sys.executable, "-m", "campaign", "run", str(path), "--results", str(tmp_path / "results")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    assert "is finished" in told.stdout


def test_tables_are_compared_row_by_row_to_the_digit(tmp_path):
    a = pa.table({"model": ["x", "y"], "pct": [1.0, None], "claim": ["so", "so"], "gone": [1, 2]})
    b = pa.table({"model": ["y", "x"], "pct": [None, 1.0 + 1e-9], "claim": ["thus", "so"], "new": [1, 2]})
    for side, table in (("before", a), ("after", b)):
        (tmp_path / side).mkdir()
        parquet.write_table(table, tmp_path / side / "t.parquet")
    parquet.write_table(a, tmp_path / "before" / "lost.parquet")
    found, counts = compare_tables.compare(tmp_path / "before", tmp_path / "after")
    told = {(it.table, it.column): it for it in found}
    assert {key for key, it in told.items() if it.fatal} == {
        ("lost.parquet", ""),
        ("t.parquet", "gone"),
        ("t.parquet", "pct"),
    }
    assert told["t.parquet", "pct"].what.startswith("1 of 2 differ")
    assert not told["t.parquet", "claim"].fatal and not told["t.parquet", "new"].fatal
    assert (counts.tables, counts.last_bits) == (1, 0)
    same, counts = compare_tables.compare(tmp_path / "before", tmp_path / "before")
    assert same == [] and counts.tables == 2


def test_the_last_bits_of_a_sum_are_no_difference(tmp_path):
    for side, value in (("before", 0.1 + 0.2), ("after", 0.3)):
        (tmp_path / side).mkdir()
        parquet.write_table(pa.table({"mean": [value]}), tmp_path / side / "t.parquet")
    found, counts = compare_tables.compare(tmp_path / "before", tmp_path / "after")
    assert (found, counts.last_bits) == ([], 1)


def test_an_unknown_benchmark_is_named():
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nothing"], capture_output=True, text=True, check=False, cwd=PROJECT
    )
    assert told.returncode == 2
    assert "no benchmark is called nothing" in told.stderr


def test_the_campaign_of_the_analysis_benchmark_has_the_shape_of_the_study(tmp_path):
    con = views.connect(analysis.campaign(tmp_path, models=1, repetitions=1))
    runs, samples, requests, simulated, files = con.execute(
        """SELECT (SELECT count(*) FROM runs WHERE accepted), (SELECT count(*) FROM telemetry),
            (SELECT count(*) FROM requests WHERE itl_ms IS NULL), (SELECT simulated
            FROM campaign), len(getvariable('telemetry_files'))"""
    ).fetchall()[0]
    assert (runs, samples, requests, simulated, files) == (3, 3 * 5550, 3 * 1000, True, 3)
    assert con.execute("SELECT count(*) FROM broken_files").fetchall() == [(0,)]
