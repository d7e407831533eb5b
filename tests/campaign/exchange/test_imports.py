"""Runs of others become a results folder that says no more than their file does."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from campaign.analysis import cache as evidence
from campaign.analysis import inputs, views
from campaign.analysis.statistics import analyze_file
from campaign.exchange.imports import ImportRefused, import_runs
from campaign.reading import asked
from campaign.report import page
from tests.campaign.report.test_page import visible

PHASE1 = Path(__file__).resolve().parents[3] / "examples" / "phase1" / "phase1_results.json"


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
    con = views.connect(folder)
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
    con = views.connect(import_runs(file, tmp_path / "results"))
    docker = con.execute(
        "SELECT repetition, attempt, accepted FROM attempts WHERE environment = 'docker' ORDER BY ALL LIMIT 2"
    )
    assert docker.fetchall() == [(1, 1, False), (1, 2, True)]


ORDERS: dict[str, dict[str, Any]] = {
    "in time": {},
    "sequential": {"timestamp": None, "sequence_index": [i // 2 + 1 + (i % 2) * 6 for i in range(12)]},
    "recorded": {"timestamp": None, "sequence_index": [4 * i + 7 for i in range(12)]},
    "in blocks": {"timestamp": None, "order_in_block": [1, 2, 2, 1] * 3},
    "unknown": {"timestamp": None},
    "hot": {"start_temp_c": [40.0, 47.0, *[41.0] * 10]},
    "throttled": {"throttled": [0, 0, 1, *[0] * 9]},
    "failed": {"status": ["ok", "ok", "failed", *["ok"] * 9]},
    "missing": {"latency_mean_ms": ["", *[5.0 + i / 10 for i in range(11)]]},
    "a setting for each arm": {"batch_size": [16, 8] * 6, "framework": ["vllm", "trtllm"] * 6},
    "several units": {"unit": ["a"] * 6 + ["b"] * 6},
    "a sweep": {"concurrency": [1] * 6 + [4] * 6, "repetition": [1, 1, 2, 2, 3, 3] * 2},
}


@pytest.mark.parametrize("order", ORDERS)
def test_import_and_analysis_of_one_table_agree_figure_for_figure(tmp_path, order):
    columns = ORDERS[order]
    table = runs(**{name: cells for name, cells in columns.items() if cells is not None})
    table = table.drop(columns=[name for name, cells in columns.items() if cells is None])
    file = tmp_path / "runs.csv"
    table.to_csv(file, index=False)
    analysed = analyze_file(file, tmp_path / "out.json")
    con = views.connect(folder := import_runs(file, tmp_path / "results"))
    evidence.ensure(folder, con)
    shown = (
        "unit, model, workload, metric, n_reference, n_treatment, mean_reference, mean_treatment, diff, welch_p, "
        "paired_p, n_pairs, interleaved, verdict, claim"
    )
    imported = con.execute(
        f"SELECT {shown} FROM comparisons WHERE analysis_set = 'protocol' AND n_reference > 0"
    ).fetchall()
    mine = [found for found in analysed["comparisons"] if found["analysis_set"] == "protocol"]
    assert len(mine) == len(imported) > 0
    for (
        unit,
        model,
        workload,
        metric,
        n_r,
        n_t,
        mean_r,
        mean_t,
        diff,
        welch_p,
        paired_p,
        n_pairs,
        interleaved,
        verdict,
        claim,
    ) in imported:
        names = {model, f"{model}/{workload}"}
        found = next(
            c for c in mine if c["metric"] == metric and c["model"] in names and (c["unit"] or "unknown") == unit
        )
        assert (found["desc"]["reference"]["n"], found["desc"]["treatment"]["n"]) == (n_r, n_t)
        assert (found["desc"]["reference"]["mean"], found["desc"]["treatment"]["mean"], found["diff"]) == pytest.approx(
            (mean_r, mean_t, diff)
        )
        assert (found["interleaved"], found["verdict"], found["claim"]) == (interleaved, verdict, claim)
        assert (found["welch"] or {}).get("p") == pytest.approx(welch_p)
        assert (found["paired"].get("p"), found["paired"].get("n_pairs")) == (pytest.approx(paired_p), n_pairs)


def test_a_table_of_one_arm_after_the_other_says_nothing_in_both_entrances(tmp_path):
    """Recorded order alone shows it: no column of times is needed."""
    file = tmp_path / "runs.csv"
    runs(sequence_index=[i // 2 + 1 + (i % 2) * 6 for i in range(12)]).drop(columns="timestamp").to_csv(
        file, index=False
    )
    con = views.connect(folder := import_runs(file, tmp_path / "results"))
    evidence.ensure(folder, con)
    row = next(row for row in evidence.rows(con) if row["metric"] == "token_throughput_tok_s")
    assert (row["interleaved"], row["verdict"]) == (False, "not_interpretable")


def test_what_became_of_columns_and_rows_is_kept_and_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMPAIGN_HOME", str(tmp_path / "home"))
    file = tmp_path / "runs.csv"
    runs(latency=1.25, concurrency=4).to_csv(file, index=False)
    folder = import_runs(file, tmp_path / "results")
    kept = json.loads((folder / "campaign.json").read_text())["imported"]
    assert {fate["column"]: fate["role"] for fate in kept["columns"]}["latency"] == "left out"
    assert (kept["rows_in"], kept["rows"], kept["rows_left_out"]) == (12, 12, [])
    text = visible(page.write(folder).read_text())
    assert text.index("How the files were read") < text.index("is it seconds or milliseconds?")


def test_a_folder_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "runs.csv"
    runs().to_csv(file, index=False)

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("campaign.exchange.imports._write", fails)
    with pytest.raises(OSError, match="No space"):
        import_runs(file, tmp_path / "results")
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "x" * 65, "a\nb", "-x"])
def test_a_name_that_is_no_folders_name_is_refused(tmp_path, name):
    file = tmp_path / "runs.csv"
    runs().to_csv(file, index=False)
    with pytest.raises(ImportRefused, match="--name"):
        import_runs(file, tmp_path / "results", name=name)
    assert not (tmp_path / "results").exists()


def test_runs_of_several_units_keep_apart(tmp_path):
    file = tmp_path / "runs.csv"
    table = runs()
    pd.concat([table.assign(host="a"), table.assign(host="b")]).to_csv(file, index=False)
    con = views.connect(import_runs(file, tmp_path / "results"))
    assert con.execute("SELECT count(DISTINCT run_id), count(*) FILTER (accepted) FROM attempts").fetchall() == [
        (24, 24)
    ]


def test_what_must_not_differ_between_arms_is_asked_about(tmp_path):
    file = tmp_path / "runs.csv"
    runs(driver=["570", "580"] * 6).to_csv(file, index=False)
    with pytest.raises(ImportRefused, match=r"driver differs between the arms.*--column driver=ignore"):
        import_runs(file, tmp_path / "results")
    import_runs(file, tmp_path / "results", columns={"driver": "ignore"})


def test_what_the_arms_were_run_under_reaches_the_analysis(tmp_path):
    file = tmp_path / "runs.csv"
    runs(batch_size=[16, 8] * 6, framework="vllm").to_csv(file, index=False)
    con = views.connect(import_runs(file, tmp_path / "results"))
    table = inputs.run_table(con)[0]
    assert set(zip(table["environment"], table["batch_size"], table["engine"], strict=True)) == {
        ("native", "16", "vllm"),
        ("docker", "8", "vllm"),
    }


def test_a_direction_that_a_person_declares_is_kept(tmp_path):
    file = tmp_path / "runs.csv"
    runs(queue_depth_pct=3.0).to_csv(file, index=False)
    folder = import_runs(file, tmp_path / "results", asked=asked(better=["queue_depth_pct=lower"]))
    assert json.loads((folder / "campaign.json").read_text())["config"]["better"] == {"queue_depth_pct": "lower"}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pd.DataFrame({"x": [1]}), "no column for 'model'"),
        (pd.DataFrame({"model": ["a"], "arm": ["native"], "colour": ["red"]}), "no column that is known as a metric"),
        (runs(environment=["podman", "docker"] * 6), "reference"),
        (
            runs(environment=["native-host", "docker"] * 3 + ["native-chroot", "docker"] * 3),
            "several arms begin with native",
        ),
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
    con = views.connect(folder)
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
    assert text.index("Nothing is claimed about container against native") < text.rindex(
        "What is wrong with these data"
    )
    assert "KV cache = 119.71 GiB in every run" in text
    assert "deepseek / qwen72b" in text
    assert "Imported from phase1_results.json" in text


def test_without_batch_or_machine_the_roofline_is_left_out_and_the_rest_is_found(tmp_path):
    con = views.connect(import_runs(PHASE1, tmp_path))
    failed = set(con.execute("SELECT DISTINCT check_name FROM plausibility WHERE NOT passed AND grave").fetchall())
    assert failed == {("models_told_apart",), ("arms_interleaved",)}
