"""The tables of the article say what the views say."""

import io
import json

import pytest
from rich.console import Console

from campaign.analysis import cache as evidence
from campaign.report import methods, page, tables, terminal
from campaign.report.tables import behind
from tests import synthetic


def test_simulated_tables_say_so(con):
    assert all("Simulated data" in table.caption for table in tables.tables(con))
    assert "simulated" in methods.methods(con)


def named(con, name):
    """Rows of a table as dictionaries by the titles of its columns."""
    (table,) = (it for it in tables.tables(con) if it.name == name)
    return [dict(zip((column.title for column in table.columns), row, strict=True)) for row in table.rows]


def test_each_arm_is_described_by_itself(con):
    rows = [row for row in named(con, "descriptives") if row["Quantity"] == "output token throughput (tok/s)"]
    assert [(row["Model"], row["Arm"]) for row in rows] == [
        ("tiny", "native-chroot"),
        ("tiny", "docker-baseline"),
        ("small", "native-chroot"),
        ("small", "docker-baseline"),
    ]
    (mean,) = con.execute(
        "SELECT mean FROM descriptives WHERE model = 'tiny' AND environment = 'native-chroot' "
        "AND metric = 'token_throughput_tok_s'"
    ).fetchall()[0]
    assert float(rows[0]["Mean"]) == pytest.approx(mean, rel=1e-3)
    assert float(rows[0]["Harm. mean"]) <= float(rows[0]["Mean"])
    assert all(float(row["Min"]) <= float(row["Median"]) <= float(row["Max"]) for row in rows)
    assert {row["Harm. mean"] for row in named(con, "descriptives") if row["Quantity"] == "mean latency (ms)"} == {None}


def test_families_tell_how_many_were_planned_and_pass(con):
    (family,) = (row for row in named(con, "families") if row["Family"] == "confirmatory")
    assert (family["m planned"], family["Tested"], family["0.05/m"]) == ("6", "6", "0.00833")
    assert int(family["Bonferroni < 0.05"]) <= int(family["adjusted < 0.05"]) <= int(family["BH < 0.05"])


def test_what_was_lost_is_counted_by_arm_and_named_by_attempt(con):
    rows = named(con, "losses")
    assert sum(int(row["throttled reference"]) + int(row["throttled treatment"]) for row in rows) == 1
    (lost,) = named(con, "exclusions")
    assert lost["Run and attempt"].endswith("/1") and lost["Why it does not count"].startswith("throttling")


def test_power_and_diagnostics_stand_for_every_primary_comparison(con):
    (count,) = con.execute(
        "SELECT count(*) FROM comparisons WHERE analysis_set = 'protocol' AND \"group\" = 'primary' AND status = 'ok'"
    ).fetchall()[0]
    assert {row["By"] for row in named(con, "power")} == {"arms", "blocks"}
    assert len(named(con, "power")) == 2 * count
    assert sum(row["Shapiro R"] is not None for row in named(con, "diagnostics")) == count
    flags = {letter for row in named(con, "diagnostics") for letter in row["Flags"] or ""}
    assert flags <= set(behind.FLAGS.values())


def test_several_units_have_rows_of_their_own(tmp_path):
    folder = synthetic.write(tmp_path, models=("tiny",), repetitions=8, rejections=False)
    for path in folder.glob("attempts/*/*/metadata.json"):
        metadata = json.loads(path.read_text())
        metadata["unit"] = f"unit-{'ab'[metadata['repetition'] % 2]}"
        path.write_text(json.dumps(metadata))
    con = evidence.connect(folder)
    assert {row["Model"] for row in named(con, "power")} == {"tiny @ unit-a", "tiny @ unit-b"}
    assert {row["Unit"] for row in named(con, "losses")} == {"unit-a", "unit-b"}
    beyond = named(con, "over_units")
    (row,) = (row for row in beyond if row["Quantity"] == "output token throughput")
    assert row["Units"] == "2" and row["Interval (%)"] and row["Verdict"] == "too few units"
    asked = "SELECT verdict, df, m_planned, words FROM over_units WHERE metric = 'token_throughput_tok_s'"
    (kept,) = con.execute(asked).fetchall()
    assert kept[:3] == ("not_beyond_these_units", 1, 3) and "2 units are too few" in kept[3]
    written = io.StringIO()
    Console(file=written, width=200).print(terminal.summary(con))
    assert "Over units, tiny, docker-baseline against native-chroot: " in written.getvalue()
    assert "Beyond the tested units" in page.write(folder).read_text()


def test_one_unit_says_nothing_of_others(con):
    assert con.execute("SELECT count(*) FROM over_units").fetchall() == [(0,)]
    assert "over_units" not in {table.name for table in tables.tables(con)}
