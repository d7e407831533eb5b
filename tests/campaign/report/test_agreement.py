"""The end table, the page, the figures for print and the LaTeX tables state one and the same comparison."""

import csv
import html
import io
import re

import pytest
from rich.console import Console

from campaign.analysis import cache as evidence
from campaign.analysis import metrics, words
from campaign.report import page, table_formats, tables, terminal, wording
from campaign.report.drawn import effects
from tests import synthetic


@pytest.fixture(scope="module", params=["two arms, blocks", "three arms, few runs"])
def results(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign") / "agreed"
    if request.param == "two arms, blocks":
        return synthetic.write(folder, repetitions=12, telemetry_hz=0)
    arms = ("native-chroot", "docker-baseline", "docker-optimized")
    effects = {"docker-baseline": -3.0, "docker-optimized": -0.2}
    return synthetic.write(folder, environments=arms, effects_pct=effects, repetitions=5, telemetry_hz=0)


@pytest.fixture(scope="module")
def con(results):
    return evidence.connect(results)


@pytest.fixture(scope="module")
def rows(con):
    return [row for row in evidence.rows(con) if row["metric"] == metrics.headline()]


def text(con) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal.summary(con))
    return console.export_text()


def test_the_end_table_says_what_the_comparisons_hold(con, rows):
    said = text(con)
    for row in rows:
        assert wording.claim(row) in said.replace("\n", " ")
        assert f"{wording.change(row).removesuffix(' %')} {wording.brackets(row)}" in said


def test_the_end_table_has_one_part_for_each_pair_of_arms(con, rows):
    titles = [line for line in text(con).splitlines() if " against " in line and "(n = " in line and "95 %" not in line]
    assert len(titles) == len(rows)


def test_the_page_says_what_the_comparisons_hold(results, rows):
    said = html.unescape(re.sub(r"<[^>]+>", "", page.write(results).read_text(encoding="utf-8")))
    for row in rows:
        assert wording.claim(row) in said
        assert wording.interval(row) in said


def test_the_forest_draws_what_the_comparisons_hold(con, rows):
    drawn = effects.overheads(con).set_index(["model", "environment"])
    of_the_reference = [row for row in rows if row["reference"] == "native-chroot"]
    assert len(drawn) == len(of_the_reference)
    for row in of_the_reference:
        its = drawn.loc[(row["model"], row["treatment"])]
        assert (its.overhead, its.low, its.high) == (-row["pct"], -row["pct_high"], -row["pct_low"])
        assert its.significant == row["verdict"].startswith("different")


def test_the_tables_print_what_the_comparisons_hold(con, rows):
    made = {it.name: list(csv.DictReader(io.StringIO(table_formats.as_csv(it)))) for it in tables.tables(con)}
    everything = [row for row in made["comparisons"] if row["Quantity"].startswith("output token throughput")]
    assert len(made["results"]) == len(everything) == len(rows)
    for row in rows:
        arms = (row["model"], row["treatment"], row["reference"])
        (one,) = [it for it in everything if (it["Model"], it["Treatment"], it["Reference"]) == arms]
        (brief,) = [
            it
            for it in made["results"]
            if (it["Model"], it["Treatment"], it.get("Reference", row["reference"])) == arms
        ]
        for printed in (one, brief):
            limits = [float(printed[f"CI (%) {limit}"]) for limit in ("low", "high")]
            said = wording.brackets(row).strip("[]").replace("−", "-").split(", ")
            assert limits == [float(limit) for limit in said], "page and paper print other digits of one interval"
            assert printed["Change (%)"] == wording.change(row).removesuffix(" %").replace("−", "-").lstrip("+")
            assert printed["Verdict"] == words.verdict_word(row)
        (tested,) = [
            it
            for it in made["tests"]
            if (it["Model"], it["Treatment"], it["Reference"]) == arms
            and it["Quantity"].startswith("output token throughput")
        ]
        p = tested["p adj."]
        assert (row["p_adjusted"] < 0.001) if p == "<0.001" else float(p) == pytest.approx(row["p_adjusted"], abs=5e-4)
