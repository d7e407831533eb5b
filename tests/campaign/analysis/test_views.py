"""The views over a results folder: any state of a campaign, and any file a crash can leave."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from campaign.analysis import shell, views
from tests import synthetic

QUERIES = Path(__file__).parents[3] / "README.md"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("campaign"))


@pytest.fixture
def con(results: Path) -> duckdb.DuckDBPyConnection:
    return views.connect(results)


def one(con: duckdb.DuckDBPyConnection, query: str) -> tuple:
    (row,) = con.execute(query).fetchall()
    return row


def test_a_row_of_runs_says_what_was_planned_and_what_became_of_it(con):
    row = con.execute("FROM runs WHERE run_id = 'small__docker-baseline__short__r02'").df().iloc[0].to_dict()
    assert (row["phase"], row["unit"], row["model"], row["environment"]) == (
        "baseline",
        "unit-a",
        "small",
        "docker-baseline",
    )
    assert (row["workload"], row["repetition"], row["block"], row["position"]) == ("short", 2, "small__short__r02", 1)
    assert (row["status"], row["accepted"], row["accepted_attempt"], row["attempts"]) == ("accepted", True, 2, 2)
    assert row["simulated"]


def test_only_the_accepted_attempt_is_observed(con):
    values = con.execute(
        "SELECT attempt, accepted FROM metrics WHERE run_id = 'small__docker-baseline__short__r02' "
        "AND metric = 'token_throughput_tok_s' ORDER BY attempt"
    ).fetchall()
    assert values == [(1, False), (2, True)]
    assert one(con, "SELECT count(*), count(DISTINCT run_id) FROM observations WHERE metric = 'latency_mean_ms'") == (
        40,
        40,
    )


def test_times_are_utc_timestamps(con):
    assert one(con, "SELECT min(started_utc) FROM runs")[0] == datetime(2026, 9, 21, 14, 13, 22)


def test_a_figure_that_could_not_be_measured_is_null_with_its_reason_and_not_observed(tmp_path):
    con = views.connect(synthetic.write(tmp_path, repetitions=1, gpu=False))
    assert one(con, "SELECT DISTINCT value, reason FROM metrics WHERE metric = 'power_mean_w'") == (
        None,
        "this unit has no power sensor",
    )
    assert one(con, "SELECT count(*) FROM observations WHERE metric = 'power_mean_w'") == (0,)


def test_descriptives_agree_with_numpy(con):
    import numpy as np

    values = np.array(
        [
            value
            for (value,) in con.execute(
                "SELECT value FROM observations WHERE model = 'tiny' AND environment = 'docker-baseline' "
                "AND metric = 'latency_mean_ms'"
            ).fetchall()
        ]
    )
    row = (
        con.execute(
            "FROM descriptives WHERE model = 'tiny' AND environment = 'docker-baseline' AND metric = 'latency_mean_ms'"
        )
        .df()
        .iloc[0]
    )
    median = np.median(values)
    expected = {
        "n": 10,
        "mean": values.mean(),
        "sd": values.std(ddof=1),
        "se": values.std(ddof=1) / np.sqrt(10),
        "median": median,
        "q1": np.quantile(values, 0.25),
        "q3": np.quantile(values, 0.75),
        "mad_scaled": 1.4826 * np.median(abs(values - median)),
        "cv_pct": 100 * values.std(ddof=1) / values.mean(),
        "hmean": 10 / (1 / values).sum(),
        "gmean": np.exp(np.log(values).mean()),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_pairs_join_the_runs_of_one_block(con):
    assert one(con, "SELECT count(*), count(DISTINCT block) FROM pairs WHERE metric = 'token_throughput_tok_s'") == (
        20,
        20,
    )
    assert one(
        con,
        "SELECT count(*) FROM pairs WHERE diff <> treatment_value - reference_value "
        "OR reference_position = treatment_position",
    ) == (0,)


def test_telemetry_is_summarised_by_attempt_and_stage(con):
    stages = con.execute(
        "SELECT stage, samples, round(attempt_cpu_s, 6) FROM telemetry_summary "
        "WHERE run_id = 'tiny__native-chroot__short__r01' ORDER BY stage"
    ).fetchall()
    assert stages == [("cooldown", 10, None), ("gate", 20, None), ("run", 40, 7.8)]


def test_synthetic_figures_are_plausible_and_the_checks_can_fail(results, con, tmp_path):
    assert con.execute("SELECT check_name, subject FROM plausibility WHERE grave AND NOT passed").fetchall() == []
    copy = synthetic.write(tmp_path / "same", models=("tiny", "twin"), repetitions=3)
    for path in (copy / "attempts").glob("twin__*/*/metadata.json"):
        of_tiny = Path(str(path).replace("/twin__", "/tiny__").replace("/2/metadata", "/1/metadata"))
        twin, tiny = json.loads(path.read_text()), json.loads(of_tiny.read_text())
        twin["metrics"] = tiny["metrics"]
        twin["report"]["tokens_generated"] -= 1
        path.write_text(json.dumps(twin))
    failed = {
        name
        for (name,) in views.connect(copy)
        .execute("SELECT DISTINCT check_name FROM plausibility WHERE grave AND NOT passed")
        .fetchall()
    }
    assert failed == {"tokens_as_ordered", "models_told_apart", "throughput_from_requests", "littles_law"} & failed
    assert {"tokens_as_ordered", "models_told_apart"} <= failed


@pytest.mark.parametrize("what", ["only campaign.json", "only a plan", "planned, nothing run"])
def test_a_campaign_that_has_not_begun_has_every_view_and_no_rows_of_results(tmp_path, what):
    synthetic.write(tmp_path, done=0)
    if what != "planned, nothing run":
        (tmp_path / "journal.jsonl").unlink()
    if what == "only campaign.json":
        (tmp_path / "plan.parquet").unlink()
    if what == "only a plan":
        (tmp_path / "campaign.json").unlink()
    con = views.connect(tmp_path)
    for view in views.tables():
        con.execute(f"SELECT * FROM {view.name}").fetchall()
    assert one(con, "SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM telemetry)") == (0, 0)
    expected = {} if what == "only campaign.json" else {"planned": 40}
    assert dict(con.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall()) == expected


def test_an_empty_kind_of_file_has_the_columns_of_a_full_one(results, tmp_path):
    def columns(con):
        return {
            view.name: con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {view.name})").fetchall()
            for view in views.tables()
        }

    assert columns(views.connect(synthetic.write(tmp_path, done=0))) == columns(views.connect(results))


def test_a_running_campaign_shows_each_state_and_a_refresh_follows_it(tmp_path):
    con = views.connect(synthetic.write(tmp_path, repetitions=2, done=3, dispatched=True))
    states = "SELECT status, count(*) FROM runs GROUP BY status ORDER BY status"
    assert con.execute(states).fetchall() == [("accepted", 3), ("dispatched", 1), ("planned", 4)]
    synthetic.write(tmp_path / "later", repetitions=2)
    for name in ("journal.jsonl", "attempts", "telemetry"):
        (tmp_path / "later" / name).rename(tmp_path / f"{name}.new")
        (tmp_path / name).rename(tmp_path / f"{name}.old")
        (tmp_path / f"{name}.new").rename(tmp_path / name)
    views.refresh(con)
    assert con.execute(states).fetchall() == [("accepted", 8)]
    assert one(con, "SELECT count(DISTINCT run_id) FROM telemetry WHERE run_id IS NOT NULL") == (8,)


def append(folder: Path, *events: dict) -> None:
    path = folder / "journal.jsonl"
    seq = len(path.read_text().splitlines())
    with path.open("a") as file:
        for number, event in enumerate(events):
            file.write(json.dumps({"seq": seq + number, "t_utc_ns": 0, **event}) + "\n")


def test_the_journal_decides_the_state_of_a_run(tmp_path):
    synthetic.write(tmp_path, models=("tiny",), repetitions=2, done=1, dispatched=True, rejections=False)
    first, second, third = (
        "tiny__native-chroot__short__r01",
        "tiny__docker-baseline__short__r01",
        "tiny__docker-baseline__short__r02",
    )
    state = "SELECT status FROM runs WHERE run_id = '{}'"
    # A new driver opened: what the one before had under way never ended.
    append(tmp_path, {"event": "opened", "pid": 1})
    append(
        tmp_path,
        {"event": "finished", "run_id": third, "attempt": 1, "unit": "unit-a", "outcome": "failed", "accepted": False},
    )
    con = views.connect(tmp_path)
    assert one(con, state.format(second)) == ("planned",)
    assert one(con, state.format(third)) == ("rejected",)
    append(tmp_path, {"event": "exhausted", "run_id": third, "attempts": 1, "reason": "failed"})
    append(tmp_path, {"event": "reopened", "run_id": first})
    views.refresh(con)
    assert one(con, state.format(third)) == ("exhausted",)
    assert one(con, "SELECT accepted, superseded FROM attempts") == (False, True)
    assert one(con, "SELECT count(*) FROM observations") == (0,)


def test_evidence_without_its_journal_line_is_not_accepted(tmp_path):
    synthetic.write(tmp_path, repetitions=1)
    lines = (tmp_path / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(lines[:3]))  # created, opened, dispatched
    con = views.connect(tmp_path)
    assert one(con, "SELECT bool_or(accepted), bool_or(journalled) FROM attempts") == (False, False)
    assert one(con, "SELECT count(*) FROM observations") == (0,)


@pytest.mark.parametrize("keep", [0, 3, 11, 100, -1])
def test_a_truncated_parquet_file_is_named_and_the_others_are_read(tmp_path, keep):
    synthetic.write(tmp_path, repetitions=1)
    path = tmp_path / "attempts" / "tiny__native-chroot__short__r01" / "1" / "requests.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    con = views.connect(tmp_path)
    ((file, reason),) = con.execute("SELECT file, reason FROM broken_files").fetchall()
    assert file == "attempts/tiny__native-chroot__short__r01/1/requests.parquet"
    assert "truncated" in reason
    assert one(con, "SELECT count(DISTINCT run_id) FROM requests WHERE accepted") == (3,)


def test_a_parquet_file_with_a_damaged_footer_is_named_and_the_others_are_read(tmp_path):
    synthetic.write(tmp_path, repetitions=1)
    path = tmp_path / "attempts" / "tiny__native-chroot__short__r01" / "1" / "requests.parquet"
    data = bytearray(path.read_bytes())
    data[-60:-8] = b"\xff" * 52
    path.write_bytes(data)
    con = views.connect(tmp_path)
    assert con.execute("SELECT file FROM broken_files").fetchall() == [(str(path.relative_to(tmp_path)),)]
    assert one(con, "SELECT count(DISTINCT run_id) FROM requests") == (3,)


def test_a_damaged_metadata_file_is_named_and_the_others_are_read(tmp_path):
    synthetic.write(tmp_path, repetitions=1)
    path = tmp_path / "attempts" / "tiny__native-chroot__short__r01" / "1" / "metadata.json"
    path.write_bytes(path.read_bytes()[:500])
    con = views.connect(tmp_path)
    assert con.execute("SELECT file FROM broken_files").fetchall() == [(str(path.relative_to(tmp_path)),)]
    assert one(con, "SELECT count(DISTINCT run_id) FROM observations") == (3,)


def test_a_torn_journal_line_is_named_and_what_stands_before_it_holds(tmp_path):
    synthetic.write(tmp_path, repetitions=1)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    con = views.connect(tmp_path)
    ((file, reason),) = con.execute("SELECT file, reason FROM broken_files").fetchall()
    assert (file, "torn" in reason) == ("journal.jsonl", True)
    assert one(con, "SELECT count(*) FROM runs WHERE accepted") == (4,)


def test_an_unfinished_attempt_folder_is_not_read(tmp_path):
    synthetic.write(tmp_path, repetitions=1)
    folder = tmp_path / "attempts" / "tiny__native-chroot__short__r01"
    (folder / "1").rename(folder / ".1.partial")
    con = views.connect(tmp_path)
    assert one(con, "SELECT count(*) FROM attempts") == (3,)
    assert one(con, "SELECT count(DISTINCT run_id) FROM requests") == (3,)


def test_the_reference_arm_comes_from_the_config_or_is_the_native_one(tmp_path):
    synthetic.write(tmp_path, repetitions=1)
    assert one(views.connect(tmp_path), "SELECT reference FROM campaign") == ("native-chroot",)
    facts = json.loads((tmp_path / "campaign.json").read_text())
    facts["config"]["reference"] = "docker-baseline"
    (tmp_path / "campaign.json").write_text(json.dumps(facts))
    con = views.connect(tmp_path)
    assert one(con, "SELECT DISTINCT reference, treatment FROM contrasts") == ("docker-baseline", "native-chroot")


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_a_folder_that_is_no_campaign_is_refused_with_a_remedy(tmp_path, what):
    folder = tmp_path if what == "empty" else tmp_path / "nowhere"
    with pytest.raises(views.ResultsError, match=r"Give a results folder"):
        views.connect(folder)


def test_a_folder_with_a_quote_in_its_name_is_read(tmp_path):
    con = views.connect(synthetic.write(tmp_path / "it's here", repetitions=1))
    assert one(con, "SELECT count(*) FROM runs WHERE accepted") == (4,)


def test_every_view_says_what_a_row_is():
    for view in views.tables():
        assert re.search(r"\brow\b", view.about), f"{view.name} in sql/{view.file}: {view.about!r}"
        assert view.name in views.definition(view.name)


def test_every_question_of_the_documentation_has_an_answer(con):
    blocks = re.findall(r"```sql\n(.*?)```", QUERIES.read_text(), re.DOTALL)
    assert len(blocks) == 10
    for query in blocks:
        assert con.execute(query).fetchall(), query


# --- campaign sql ------------------------------------------------------------------------------------------

THROUGHPUTS = "SELECT environment, count(*) AS n FROM run_metrics GROUP BY environment ORDER BY environment"


def test_one_query_answers_as_csv_json_and_table(results, capsys):
    shell.shell(results, THROUGHPUTS, "csv")
    assert capsys.readouterr().out == "environment,n\ndocker-baseline,20\nnative-chroot,20\n"
    shell.shell(results, THROUGHPUTS, "json")
    assert json.loads(capsys.readouterr().out) == [
        {"environment": "docker-baseline", "n": 20},
        {"environment": "native-chroot", "n": 20},
    ]
    shell.shell(results, THROUGHPUTS)
    assert re.search(r"docker-baseline +20\b", capsys.readouterr().out)


def test_one_query_answers_as_a_parquet_file(results, tmp_path):
    path = tmp_path / "answer's.parquet"
    shell.shell(results, THROUGHPUTS + "; -- all of them", "parquet", path)
    assert duckdb.sql(f"FROM read_parquet('{str(path).replace(chr(39), chr(39) * 2)}')").fetchall() == [
        ("docker-baseline", 20),
        ("native-chroot", 20),
    ]


def test_json_has_no_nan_and_keeps_lists_and_times(results, capsys):
    query = (
        "SELECT 'nan'::DOUBLE AS nan, NULL AS nothing, [1.5, 'inf'::DOUBLE] AS list, "
        "TIMESTAMP '2026-01-02 03:04:05' AS at"
    )
    shell.shell(results, query, "json")
    assert json.loads(capsys.readouterr().out) == [
        {"nan": None, "nothing": None, "list": [1.5, None], "at": "2026-01-02T03:04:05"}
    ]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT nothing FROM runs", 'column "nothing" not found'),
        ("", "no query"),
        (" ; -- nothing", "no query"),
        ("SELECT 1; SELECT 2", "2 statements"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_in_words(results, capsys, query, says):
    with pytest.raises(shell.QueryRefused, match=says):
        shell.shell(results, query)
    assert capsys.readouterr().out == ""


def test_no_input_is_no_query(results, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(shell.QueryRefused, match="standard input is empty"):
        shell.shell(results)


def test_a_long_table_says_where_it_ends(results, capsys, monkeypatch):
    monkeypatch.setattr(shell, "MOST_ROWS", 3)
    shell.shell(results, "FROM range(4)")
    assert "the first 3 rows; --format csv or parquet writes all" in capsys.readouterr().out
    shell.shell(results, "FROM range(3)")
    assert capsys.readouterr().out.endswith("\n3 rows\n")


def test_broken_files_are_mentioned_before_the_answer(tmp_path, capsys):
    synthetic.write(tmp_path, repetitions=1)
    (tmp_path / "units" / "unit-a.json").write_text("{")
    shell.shell(tmp_path, "SELECT 1 AS one", "csv")
    out = capsys.readouterr()
    assert out.out == "one\n1\n"
    assert "units/unit-a.json: not valid JSON" in out.err


def test_the_prompt_takes_several_lines_and_dot_commands(results, tmp_path):
    import os
    import pty
    import subprocess
    import sys

    typed = (
        ".schema gates\nSELECT 6\n  * 7 AS answer;\nSELECT wrong;\n.mode csv\nSELECT count(*) "
        "AS runs FROM runs;\n.quit\n"
    )
    ours, theirs = pty.openpty()
    program = (
        "import sys; from pathlib import Path; from campaign.analysis.shell import shell; shell(Path(sys.argv[1]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(results)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"CAMPAIGN_HOME": str(tmp_path)},
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    out, err = (stream.decode() for stream in child.communicate(timeout=60))
    os.close(ours)
    assert child.returncode == 0
    assert "blocked_by" in out
    assert "42" in out
    assert "runs\n40\n" in out
    assert "wrong" in err
    assert "Traceback" not in err
    assert (tmp_path / "sql_history").exists()


def test_an_image_imported_again_is_the_same_userland(tmp_path):
    folder = synthetic.write(tmp_path / "campaign")
    first, second = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
    override: dict[str, Any] = {
        "seq": 10_000,
        "event": "override",
        "difference": [
            f'vm: images.image.digest was "{first}", is "{second}"',
            'vm: images.image.rootfs was "x", is "y"',
        ],
    }
    with (folder / "journal.jsonl").open("a") as file:
        file.write(json.dumps(override) + "\n")
        override["difference"].append('vm: images.image.content_digest was "c", is "d"')
        override["difference"][0] = override["difference"][0].replace("b" * 64, "e" * 64)
        file.write(json.dumps(override) + "\n")  # other files: another userland
    assert views.connect(folder).execute("FROM reimports").fetchall() == [(first, second)]
