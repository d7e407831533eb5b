"""What reads a study's folder: one report, SQL over all phases, a check that makes decisions again, and a package."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from given_study import CONFIGS, TEXT, Invented, conductor, study

from campaign.analysis import study_views
from campaign.analysis.statistics.reduction import pooled_reduction
from campaign.analysis.statistics.sets import Sample
from campaign.cli.app import latest
from campaign.record.durable import StoreError
from campaign.study import hypotheses, package, page, record, verification
from campaign.study.loading import load

Folder = Path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("done")
    assert (
        conductor(
            study(folder, TEXT.replace("repetitions: 4", "repetitions: 8")), folder, Invented({"network": 2.0})
        ).run()
        == 0
    )
    return folder / "results"


def own(problems: Iterable[object]) -> list[str]:
    """Without those of the phases, whose invented folders have no manifest and whose runs are dated."""
    told = [str(it) for it in problems]
    return [it for it in told if it[:3] not in ("2A/", "2B/", "2C/", "2D/") and "after its first run" not in it]


def test_one_page_answers_over_all_phases(done: Path) -> None:
    context = page.context(done)
    text = page.render(context)
    for said in (
        "2C: do the best of them help together?",
        "Hypothesis 3: combined optimisations approach native performance",
        "Half-normal plot",
        "Share of the overhead won back",
        "gives away the host",
        "docker-net-host",
        "matters for security only",
    ):
        assert said in text
    never_measured = "The data are simulated: no figure on this page was measured."
    assert never_measured not in text
    rehearsed = {**context, "study": {**context["study"], "simulated": True}}
    assert never_measured in page.render(rehearsed)
    found = {answer.name: answer for answer in context["answers"]}
    assert found["1"].verdict == "not tested"
    assert "Docker never applies --shm-size" in found["1"].why
    assert found["3"].verdict in ("supported", "compatible")
    assert context["validation"]["won"][0]["prediction"] in ("supported", "compatible")


def test_sql_spans_the_phases(done: Path) -> None:
    con = study_views.connect(done)
    counts = dict(con.execute("SELECT study_phase, count(*) FROM runs GROUP BY ALL").fetchall())
    assert counts.keys() == {"2A", "2B", "2C", "2D"}
    assert con.execute('SELECT count(*) FROM "2B".runs').fetchall() == [(counts["2B"],)]
    chosen = con.execute("SELECT candidate FROM study_decisions WHERE study_phase = '2C' AND chosen").fetchall()
    assert chosen == [("net",)]


def test_verify_makes_decisions_again_and_notices_another_one(done: Path, tmp_path: Path) -> None:
    assert own(verification.verify(done)) == []
    folder = tmp_path / "results"
    shutil.copytree(done, folder)
    path = folder / record.JOURNAL
    path.write_text(path.read_text().replace('"docker-net-host"', '"docker-init"'))
    assert any("hash chain is broken" in line for line in own(verification.verify(folder)))


def test_verify_notices_runs_of_the_screen_in_what_confirms_it(done: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(done, folder)
    shutil.rmtree(folder / "2C")
    shutil.copytree(folder / "2B", folder / "2C")
    assert any("error_screen_data_reused" in str(it) for it in verification.verify(folder))


def test_a_study_that_was_moved_says_that_decisions_were_not_made_again(done: Path, tmp_path: Path) -> None:
    gone = tmp_path / "nowhere.yaml"
    assert any("decisions were not made again" in str(it) for it in verification.verify(done, gone))


def test_the_package_holds_each_phase_and_the_record(done: Path, tmp_path: Path) -> None:
    made = package.export(done, tmp_path / "study.zip")
    names = set(zipfile.ZipFile(made).namelist())
    assert {"study.json", "study.jsonl", "2B/datapackage.json", "2D/datapackage.json"} <= names
    with pytest.raises(StoreError, match="already there"):
        package.export(done, made)


def test_a_verb_for_one_campaign_names_the_phases(done: Path) -> None:
    with pytest.raises(StoreError, match="Name the results folder of one of its phases"):
        latest(done)
    assert latest(done, studies=True) == done


def test_where_nothing_helped_hypothesis_3_says_so(tmp_path: Path) -> None:
    assert conductor(study(tmp_path), tmp_path, Invented({})).run() == 0
    known = hypotheses.parts(tmp_path / "results", ["2A", "2B", "2C", "2D"])
    third = hypotheses.answers(known, {})[2]
    assert third.verdict == "not supported"
    assert "the baseline again" in third.why


def test_a_study_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    conductor(study(tmp_path), tmp_path, Invented({}, stop_at="little-2a")).run()
    assert "running or stopped" in page.write(tmp_path / "results").read_text()
    facts = json.loads((tmp_path / "results" / "study.json").read_text())
    assert hypotheses.parts(tmp_path / "results", [it["name"] for it in facts["phases"]]).keys() == {"baseline"}


def test_the_share_over_models_is_that_of_the_mean_overhead() -> None:
    import numpy as np

    rng = np.random.default_rng(5)
    models = []
    for _ in range(3):
        native = rng.normal(0, 0.001, 20)
        models.append((native, native - 0.04 + rng.normal(0, 0.001, 20), native - 0.01 + rng.normal(0, 0.001, 20)))
    found = pooled_reduction(models)
    assert found.status == "ok" and found.low is not None and found.high is not None
    assert found.low < 0.75 < found.high
    assert found.high - found.low < 0.05


def test_hypothesis_1_is_about_the_factor_that_gives_a_container_its_own_shared_memory() -> None:
    campaign = load(CONFIGS / "campaigns" / "spark-study.yaml").campaign("2B")
    assert campaign.screen is not None
    about = [it.name for it in campaign.screen.factors if hypotheses.gives_shm(campaign, it.option, it.name)]
    assert about == ["shm-large"]


def test_hypothesis_2_compares_spreads_and_not_means() -> None:
    import numpy as np

    rng = np.random.default_rng(4)
    groups = {}
    for model in ("a", "b", "c"):
        empty = np.full(30, np.nan)
        made = {"pinned": rng.normal(0.05, 0.004, 30), "plain": rng.normal(0, 0.01, 30)}
        groups[model] = {
            arm: Sample([""] * 30, np.arange(1, 31), np.exp(3 + x), empty, empty) for arm, x in made.items()
        }
    ratio, low, high, p = hypotheses.spread_ratio(groups, {"pinned"}, {"plain"})
    assert ratio is not None and low is not None and high is not None and p is not None
    assert low < 0.4 < high < 1
    assert p < 0.001
