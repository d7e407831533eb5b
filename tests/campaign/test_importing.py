"""Runs of others become a results folder that says no more than their file does."""

import json
from pathlib import Path

import pandas as pd
import pytest

from campaign.analysis import evidence, sql
from campaign.importing import ImportRefused, import_runs
from campaign.report import page
from tests.campaign.report.test_page import visible

PHASE1 = Path(__file__).resolve().parents[2] / "examples" / "phase1" / "phase1_results.json"


def runs(**columns):
    n = 12
    return pd.DataFrame(
        {
            "model": "m-7B",
            "environment": ["native", "docker"] * (n // 2),
            "repetition": [i // 2 + 1 for i in range(n)],
            "timestamp": [f"2026-01-01T00:{i:02d}:00" for i in range(n)],
            "token_throughput_tok_s": [100 + (i * 7 % 5) / 10 for i in range(n)],
            **columns,
        }
    )


def test_a_table_becomes_a_folder_that_is_analysed_like_any_other(tmp_path):
    file = tmp_path / "runs.csv"
    runs().to_csv(file, index=False)
    folder = import_runs(file, tmp_path / "results")
    con = sql.connect(folder)
    evidence.ensure(folder, con)
    row = next(row for row in evidence.rows(con) if row["metric"] == "token_throughput_tok_s")
    assert (row["n_reference"], row["n_treatment"], row["interleaved"], row["reference"]) == (6, 6, True, "native")
    assert row["verdict"] == "equivalent"
    assert not (folder / "attempts").exists()
    assert not (folder / "journal.jsonl").exists()
    assert json.loads((folder / "campaign.json").read_text())["imported"]["file"] == "runs.csv"


def test_failed_runs_and_repeated_repetitions_are_kept_and_do_not_count(tmp_path):
    file = tmp_path / "runs.csv"
    table = runs(exit_code=[0, 1] + [0] * 10)
    table.loc[3, "repetition"] = 1
    table.to_csv(file, index=False)
    con = sql.connect(import_runs(file, tmp_path / "results"))
    docker = con.execute(
        "SELECT repetition, attempt, accepted FROM attempts WHERE environment = 'docker' ORDER BY ALL LIMIT 2"
    )
    assert docker.fetchall() == [(1, 1, False), (1, 2, True)]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pd.DataFrame({"x": [1]}), "no column for 'model'"),
        (pd.DataFrame({"model": ["a"], "arm": ["native"], "colour": ["red"]}), "no column that is known as a metric"),
    ],
)
def test_a_file_that_is_not_understood_is_refused_with_a_remedy(tmp_path, table, says):
    file = tmp_path / "runs.csv"
    table.to_csv(file, index=False)
    with pytest.raises(ImportRefused, match=says):
        import_runs(file, tmp_path / "results")
    assert not (tmp_path / "results" / "runs").exists()


def test_nothing_is_written_into_an_existing_folder(tmp_path):
    file = tmp_path / "runs.csv"
    runs().to_csv(file, index=False)
    import_runs(file, tmp_path / "results")
    with pytest.raises(ImportRefused, match="exists already"):
        import_runs(file, tmp_path / "results")


def test_the_report_on_phase_1_shows_what_is_wrong_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMPAIGN_HOME", str(tmp_path / "home"))
    folder = import_runs(PHASE1, tmp_path, name="phase1", gpu="NVIDIA GB10", batch_size=8)
    text = visible(page.write(folder).read_text())
    con = sql.connect(folder)
    failed = set(con.execute("SELECT DISTINCT check_name FROM plausibility WHERE NOT passed").fetchall())
    assert {
        ("models_told_apart",),
        ("memory_apart_from_cache",),
        ("arms_interleaved",),
        ("below_roofline",),
        ("primary_metrics_measured",),
        ("repetitions_once",),
    } <= failed
    assert con.execute("SELECT count(*) FROM attempts").fetchall() == [(63,)]
    assert text.index("Nothing is claimed about container against native") < text.index("What is wrong with these data")
    assert "KV cache = 119.71 GiB in every run" in text
    assert "deepseek / qwen72b" in text
    assert "Imported from phase1_results.json" in text


def test_without_batch_or_machine_the_roofline_is_left_out_and_the_rest_is_found(tmp_path):
    con = sql.connect(import_runs(PHASE1, tmp_path))
    failed = set(con.execute("SELECT DISTINCT check_name FROM plausibility WHERE NOT passed AND grave").fetchall())
    assert failed == {("models_told_apart",), ("arms_interleaved",)}
