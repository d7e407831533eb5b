"""The whole analysis of a results folder: what is claimed, what is refused,
and that it stands in the folder as tables."""

import io
import json

import duckdb
import pytest
from rich.console import Console

from campaign.analysis import cache as evidence
from campaign.analysis import views
from campaign.report import terminal
from tests import synthetic


def analysed(folder):
    con = views.connect(folder)
    evidence.ensure(folder, con)
    return con


def throughput(con, treatment="docker-baseline"):
    return next(
        row for row in evidence.rows(con) if row["metric"] == "token_throughput_tok_s" and row["treatment"] == treatment
    )


def rewrite(folder, pattern, change):
    """Let ``change`` alter every attempt's metadata that ``pattern`` finds."""
    for i, path in enumerate(sorted(folder.glob(f"attempts/{pattern}/*/metadata.json"))):
        metadata = json.loads(path.read_text())
        change(metadata, i)
        path.write_text(json.dumps(metadata))
    return folder


def set_throughput(value):
    def change(metadata, i):
        for metric in metadata["metrics"]:
            if metric["name"] == "token_throughput_tok_s":
                metric["value"] = value(i) if callable(value) else value

    return change


def test_an_injected_effect_is_found_and_an_absent_one_is_shown_to_lie_within_the_margin(tmp_path):
    effects = {"docker-baseline": -4.0, "docker-tuned": 0.0}
    con = analysed(
        synthetic.write(
            tmp_path,
            models=("tiny",),
            environments=("native-chroot", *effects),
            repetitions=20,
            effects_pct=effects,
            telemetry_hz=0,
        )
    )
    baseline, tuned = throughput(con), throughput(con, "docker-tuned")
    assert baseline["verdict"] == "different"
    assert baseline["pct_low"] < -4.0 < baseline["pct_high"] < 0
    assert baseline["headline_test"] == "paired_t"
    assert baseline["p_adjusted"] <= baseline["p_bonferroni"]
    assert tuned["verdict"] == "equivalent"
    assert tuned["tost_p_adjusted"] < 0.05
    assert "is equivalent to native-chroot within ±2 % (" in tuned["claim"]


def test_what_cannot_be_decided_says_what_n_would_decide_it(tmp_path):
    row = throughput(
        analysed(synthetic.write(tmp_path, repetitions=5, noise_pct=8.0, effects_pct={"docker-baseline": 0.0}))
    )
    assert row["verdict"] == "inconclusive"
    assert row["needs_n"] > 5
    assert f"needs N = {row['needs_n']} runs per arm" in row["claim"]


def test_the_margin_and_the_seed_come_from_the_config(tmp_path):
    synthetic.write(tmp_path, repetitions=16, effects_pct={"docker-baseline": -4.0})
    path = tmp_path / "campaign.json"
    facts = json.loads(path.read_text())
    facts["config"]["margin_pct"] = 7.5
    path.write_text(json.dumps(facts))
    con = analysed(tmp_path)
    assert throughput(con)["verdict"] == "different_but_negligible"
    assert (7.5,) in con.execute("SELECT DISTINCT margin_pct FROM equivalence WHERE declared").fetchall()


def test_families_count_what_was_planned_and_not_what_was_run(tmp_path):
    con = analysed(synthetic.write(tmp_path, models=("tiny", "small", "big"), repetitions=4, done=3))
    assert throughput(con)["m_planned"] == 9


def test_the_tables_lie_in_the_folder_and_hold_what_the_views_show(tmp_path):
    con = analysed(synthetic.write(tmp_path, repetitions=4))
    for name in (*evidence.OWN_TABLES, *evidence.COPIED_VIEWS):
        path = tmp_path / "analysis" / f"{name}.parquet"
        assert (
            duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall()
            == con.execute(f"SELECT count(*) FROM {name}").fetchall()
        )
    assert con.execute("SELECT count(*) FROM comparisons WHERE analysis_set = 'protocol'").fetchall()[0][0] > 10
    assert con.execute("SELECT count(DISTINCT percentile) FROM request_percentiles").fetchall()[0][0] == 3


def test_the_analysis_is_made_again_only_where_the_campaign_moved_on(tmp_path):
    synthetic.write(tmp_path, repetitions=3)
    con = analysed(tmp_path)
    path = tmp_path / "analysis" / "comparisons.parquet"
    before = path.stat().st_ino
    evidence.ensure(tmp_path, con)
    assert path.stat().st_ino == before
    with (tmp_path / "journal.jsonl").open("a") as journal:
        journal.write("\n")
    evidence.ensure(tmp_path, con)
    assert path.stat().st_ino != before
    (tmp_path / "analysis" / "state.json").unlink()  # as in a folder that another machine computed
    assert evidence.connect(tmp_path).execute("FROM broken_files").fetchall() == [], (
        "they are computed again, not left out"
    )


def test_an_overheated_attempt_counts_among_all_valid_ones_and_not_in_the_headline(tmp_path):
    con = analysed(synthetic.write(tmp_path, repetitions=4))
    attempts = dict(
        con.execute("SELECT (status, throttled)::VARCHAR, count(*) FROM analysis_attempts GROUP BY ALL").fetchall()
    )
    assert attempts == {"(ok, false)": 16, "(ok, true)": 1}
    flags = con.execute(
        "SELECT flags FROM comparisons WHERE model = 'small' AND metric = 'token_throughput_tok_s'"
    ).fetchall()
    assert all("throttled_runs" in found for (found,) in flags)


def test_arms_measured_one_after_the_other_are_not_interpreted(tmp_path):
    def later(metadata, _):
        metadata["started_utc_ns"] += 10**13

    synthetic.write(tmp_path, models=("tiny",), repetitions=5, rejections=False, telemetry_hz=0)
    con = analysed(rewrite(tmp_path, "*docker*", later))
    assert throughput(con)["verdict"] == "not_interpretable"
    assert ("arms_interleaved",) in con.execute(
        "SELECT check_name FROM plausibility WHERE NOT passed AND grave"
    ).fetchall()


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (50.0, "deterministic"),
        (None, "no_data"),
        (lambda i: float("nan"), "no_data"),
        (lambda i: -1.0 - i, "inconclusive"),
    ],
    ids=["constant", "missing", "nan", "negative"],
)
def test_strange_values_are_named_and_never_claimed_upon(tmp_path, value, verdict):
    synthetic.write(tmp_path, models=("tiny",), repetitions=4, telemetry_hz=0)
    assert throughput(analysed(rewrite(tmp_path, "*", set_throughput(value))))["verdict"] in {verdict, "different"} - (
        {"different"} if verdict != "inconclusive" else set()
    )


def test_an_empty_campaign_has_no_comparison_and_all_tables(tmp_path):
    con = analysed(synthetic.write(tmp_path, done=0))
    assert evidence.rows(con) == []
    assert con.execute("SELECT count(*) FROM power").fetchall() == [(0,)]


def sized(folder, **sizes):
    """The same campaign with the sizes of its models in the config, on a unit with a GB10."""
    path = folder / "campaign.json"
    facts = json.loads(path.read_text())
    facts["config"]["models"] = [{"name": name, **size} for name, size in sizes.items()]
    path.write_text(json.dumps(facts))
    return folder


def failed(con):
    return {name for (name,) in con.execute("SELECT check_name FROM plausibility WHERE NOT passed").fetchall()}


def test_an_output_rate_above_the_roofline_is_refused(tmp_path):
    synthetic.write(tmp_path, models=("tiny",), repetitions=4)
    large = {"parameters": 72_000_000_000, "weight_bytes": 36_000_000_000, "batch_size": 2}
    con = analysed(sized(tmp_path, tiny=large))
    assert {"below_roofline", "memory_holds_weights"} <= failed(con)
    row = throughput(con)
    assert row["verdict"] == "error_implausible"
    assert row["mean_reference"] > 0
    assert row["p"] is None


def test_an_honest_small_model_passes_the_same_checks(tmp_path):
    synthetic.write(tmp_path, models=("tiny",), repetitions=4)
    con = analysed(sized(tmp_path, tiny={"parameters": 10**9, "weight_bytes": 10**9, "batch_size": 1}))
    assert not failed(con) & {
        "below_roofline",
        "memory_holds_weights",
        "memory_apart_from_cache",
        "start_temperature_alike",
    }


def test_memory_and_cache_that_only_trade_places_are_one_figure(tmp_path):
    def trade(metadata, i):
        for metric in metadata["metrics"]:
            if metric["name"] == "kv_cache_gib":
                metric["value"] = 40.0 + i
            if metric["name"] == "peak_memory_gib":
                metric["value"] = 119.7 - (40.0 + i) / 0.9

    con = analysed(rewrite(synthetic.write(tmp_path, models=("tiny",), repetitions=4), "*", trade))
    assert "memory_apart_from_cache" in failed(con)


def test_arms_that_start_at_other_temperatures_are_found(tmp_path):
    def warm(metadata, _):
        metadata["gate"]["temperature_c"] += 3

    con = analysed(rewrite(synthetic.write(tmp_path, models=("tiny",), repetitions=6), "*docker*", warm))
    assert "start_temperature_alike" in failed(con)


def test_the_losses_of_both_arms_are_counted_and_compared(tmp_path):
    con = analysed(synthetic.write(tmp_path, models=("small",), repetitions=4))
    (row,) = con.execute(
        """SELECT attempted_reference, attempted_treatment, throttled_reference + throttled_treatment,
            planned_treatment,
            throttled_fisher_p, failed_fisher_p FROM losses"""
    ).fetchall()
    # One attempt was throttled and made again; nothing failed, so there is nothing to test.
    assert row[:4] == (4, 5, 1, 4) or row[:4] == (5, 4, 1, 4)
    assert row[4] == pytest.approx(1.0)
    assert row[5] is None


def test_the_verdict_of_every_set_of_attempts_stands_beside_the_headline(tmp_path):
    con = analysed(synthetic.write(tmp_path, repetitions=12, effects_pct={"docker-baseline": -4.0}))
    row = throughput(con)
    for name in ("all_valid_first_attempt", "document_rerun_outliers", "protocol_minus_outliers"):
        assert row[f"verdict_{name}"] == "different"


def test_memory_free_at_the_start_is_a_covariate(tmp_path):
    con = analysed(synthetic.write(tmp_path, models=("tiny",), repetitions=12))
    (row,) = con.execute(
        "SELECT memory_slope, memory_p, effect_at_equal_memory FROM order_effects "
        "WHERE metric = 'token_throughput_tok_s'"
    ).fetchall()
    assert all(value is not None for value in row)


def test_arms_of_one_definition_are_known_as_twins(tmp_path):
    synthetic.write(tmp_path, repetitions=3)
    path = tmp_path / "campaign.json"
    facts = json.loads(path.read_text())
    same = {"kind": "docker", "ipc": "host"}
    facts["config"]["environments"] = [
        {"name": name, "description": name} | same for name in ("native-chroot", "docker-baseline")
    ]
    path.write_text(json.dumps(facts))
    con = analysed(tmp_path)
    assert all(row["twins"] for row in evidence.rows(con))
    written = io.StringIO()
    Console(file=written, width=400).print(terminal.summary(con))
    said = [line for line in written.getvalue().splitlines() if line.strip()]
    # At the terminal, too, the verdict on arms that are alike comes before any table.
    first = next(i for i, line in enumerate(said) if line.startswith("A/A on "))
    assert first < next(i for i, line in enumerate(said) if "against native-chroot (n = " in line)
    facts["config"]["environments"][0]["ipc"] = "private"
    path.write_text(json.dumps(facts))
    assert not any(row["twins"] for row in evidence.rows(analysed(tmp_path)))
