"""A campaign with looks: what is decided gets no further blocks,
and everything said of it comes from what a look froze."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from synthetic import write

from campaign.analysis import cache, inputs, looks, metrics, views
from campaign.audit.legality import illegal
from campaign.config.loading import load
from campaign.record import journal
from campaign.report import guard, terminal, wording
from campaign.report.tables import tables
from campaign.run.looks import Looks

PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models of which some stop before the last look."""
    folder = tmp_path_factory.mktemp("looks") / "results"
    return write(folder, models=("tiny", "small", "large"), repetitions=18, looks=(6, 12, 18), telemetry_hz=0)


def events(folder: Path) -> list[dict[str, object]]:
    return journal.read(folder / "journal.jsonl")[0]


def test_a_model_whose_comparisons_are_decided_gets_no_further_blocks(stopped: Path) -> None:
    con = views.connect(stopped)
    closed = dict(con.execute("SELECT model, reason FROM cells_closed").fetchall())
    assert set(closed) == {"tiny", "small", "large"}
    early = con.execute("SELECT model, count(*) FROM runs WHERE status = 'spared' GROUP BY model").fetchall()
    assert early
    for model, count in early:
        blocks = con.execute("SELECT max(blocks) FROM looks WHERE model = $1", [model]).fetchall()[0][0]
        assert count == 2 * (18 - blocks)
    assert con.execute("SELECT count(*) FROM runs WHERE status IN ('planned', 'rejected')").fetchall() == [(0,)]


def test_a_driver_that_begins_again_knows_what_was_decided(stopped: Path) -> None:
    config = json.loads((stopped / "campaign.json").read_text())["config"]
    planned = looks.planned(config)
    assert planned is not None
    rows = views.connect(stopped).execute("FROM plan").df().to_dict("records")
    again = Looks(stopped, planned, rows, events(stopped))
    assert set(again.conduct.stops) == {"tiny", "small", "large"}
    assert list(again.take(journal.fold(events(stopped)))) == []


def test_looks_are_made_again_from_the_attempts_of_their_time(stopped: Path, tmp_path: Path) -> None:
    config = json.loads((stopped / "campaign.json").read_text())["config"]
    planned = looks.planned(config)
    assert planned is not None
    table_at = partial(inputs.run_table_at, views.connect(stopped))
    assert list(looks.problems(table_at, planned, events(stopped))) == []
    forged = json.loads(json.dumps(events(stopped)))
    first = next(event for event in forged if event["event"] == "look")
    first["comparisons"][0]["shown"]["p_diff"] /= 2
    ((line, what),) = list(looks.problems(table_at, planned, forged))
    assert (line, what) == (first["seq"] + 1, "the attempts give other comparisons")


def test_a_look_before_its_blocks_are_done_is_none_that_a_driver_takes(stopped: Path) -> None:
    plan = views.connect(stopped).execute("FROM plan").df().to_dict("records")
    config = json.loads((stopped / "campaign.json").read_text())["config"]
    every = events(stopped)
    assert list(illegal(every, plan, config)) == []
    early = next(i for i, event in enumerate(every) if event["event"] == "look")
    moved = [every[0], every[1], every[early], *every[2:early], *every[early + 1 :]]
    assert any("before" in what and "was done" in what for _, what in illegal(moved, plan, config))


def test_a_run_of_a_model_that_stopped_is_none_that_a_driver_starts(stopped: Path) -> None:
    plan = views.connect(stopped).execute("FROM plan").df().to_dict("records")
    config = json.loads((stopped / "campaign.json").read_text())["config"]
    every = [event for event in events(stopped) if event["event"] != "completed"]
    state = journal.fold(every)
    spared = next(row for row in plan if state.spared(row["run_id"]))
    extra = {
        "event": "dispatched",
        "run_id": spared["run_id"],
        "attempt": 1,
        "unit": "unit-a",
        "block": spared["block"],
    }
    assert any("a look had decided its model" in what for _, what in illegal([*every, extra], plan, config))


def test_a_design_cannot_change_after_its_first_look(stopped: Path) -> None:
    config = json.loads((stopped / "campaign.json").read_text())["config"]
    planned = looks.planned(config | {"margin_pct": 3.0})
    assert planned is not None
    with pytest.raises(Exception, match="a design cannot change after its first look"):
        Looks(stopped, planned, [], events(stopped))


def test_the_claims_of_looks_are_those_of_the_report(stopped: Path) -> None:
    con = cache.connect(stopped)
    rows = {(row["model"], row["metric"]): row for row in cache.rows(con)}
    for model, metric, claimed in con.execute(
        "SELECT model, metric, flatten(list(claimed)) FROM comparison_looks GROUP BY ALL"
    ).fetchall():
        row = rows[model, metric]
        assert (row["verdict"] in ("different", "different_but_negligible")) == ("different" in claimed)
        assert (row["verdict"] in ("equivalent", "different_but_negligible")) == ("equivalent" in claimed)
        if "different" in claimed:
            assert not row["difference_low"] <= 0 <= row["difference_high"]
        assert row["pct_low"] <= row["pct"] <= row["pct_high"]
        assert (
            f"look {con.execute('SELECT max(look) FROM looks WHERE model = $1', [model]).fetchall()[0][0]} of 3"
            in row["claim"]
        )


def test_figures_that_looks_do_not_decide_get_no_verdict(stopped: Path) -> None:
    con = cache.connect(stopped)
    others = [row for row in cache.rows(con) if row["metric"] == "ttft_p50_ms"]
    assert {row["verdict"] for row in others} == {"not_tested"}
    assert {row["p_adjusted"] for row in others} == {None}
    assert "looks" in {table.name for table in tables(con)}
    assert not {"tests", "effects", "power"} & {table.name for table in tables(con)}


P_VALUES = """SELECT table_name, column_name FROM information_schema.columns
WHERE table_name IN ('comparisons', 'equivalence', 'power', 'over_units', 'losses', 'order_effects', 'phase_decisions',
    'request_percentiles')
    AND (regexp_matches(column_name, '(^|_)p(_|$)') OR column_name LIKE '%posthoc%')"""


def test_an_unfinished_campaign_shows_no_p_and_no_verdict_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "results", models=("tiny", "small"), repetitions=12, done=30, telemetry_hz=0)
    con = cache.connect(folder)
    rows = cache.rows(con)
    assert {row["verdict"] for row in rows} == {"unfinished"}
    for table, column in con.execute(P_VALUES).fetchall():
        assert con.execute(f'SELECT count("{column}") FROM {table}').fetchall() == [(0,)], (table, column)
    throughput = next(row for row in rows if row["metric"] == metrics.headline())
    assert throughput["pct_level"] == pytest.approx(100 * (1 - 0.05 / 6))
    assert "the campaign is not finished, so nothing is claimed" in throughput["claim"]
    assert "is not decided, because the campaign is not finished" in wording.headline(rows)
    terminal.show(folder)
    said = " ".join(capsys.readouterr().out.split())
    assert "without p values and without verdicts" in said
    assert "undecided" not in said
    assert guard.guard_of(con).why == guard.WHY_UNFINISHED


def test_the_same_campaign_finished_shows_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "results", models=("tiny",), repetitions=6, telemetry_hz=0)
    con = cache.connect(folder)
    assert guard.guard_of(con).fixed
    assert not {row["verdict"] for row in cache.rows(con)} & {"unfinished", "continuing", "not_tested"}


def test_a_campaign_between_looks_says_what_they_decided_and_leaves_the_rest_open(
    stopped: Path, tmp_path: Path
) -> None:
    folder = write(
        tmp_path / "results",
        models=("tiny", "small", "large"),
        repetitions=18,
        looks=(6, 12, 18),
        done=45,
        telemetry_hz=0,
    )
    con = cache.connect(folder)
    verdicts = {(row["model"], row["metric"]): row["verdict"] for row in cache.rows(con)}
    assert "different" in verdicts.values()
    assert "continuing" in verdicts.values()
    assert {verdict for (_, metric), verdict in verdicts.items() if metric == "ttft_p50_ms"} == {"unfinished"}
    assert con.execute("SELECT count(p_adjusted) FROM comparisons WHERE verdict = 'unfinished'").fetchall() == [(0,)]


def test_the_amended_study_looks_and_the_study_as_written_does_not() -> None:
    campaigns = PROJECT / "configs" / "campaigns"
    assert load(campaigns / "spark.yaml").sequential is None
    amended = load(campaigns / "spark-amended.yaml")
    planned = looks.planned(amended.model_dump(mode="json"))
    assert planned is not None
    assert planned.design.looks == (10, 20, 30)
    assert planned.design.m == len(amended.models) * 2 * 3
    assert planned.design.t_levels == "exact_t"
