"""``campaign.open``: a results folder as SQL, pandas and Altair."""

import subprocess
import sys

import altair as alt
import pandas as pd
import pytest

import campaign
from campaign.analysis.views import ResultsError
from tests import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return campaign.open(synthetic.write(tmp_path_factory.mktemp("results") / "synthetic", repetitions=3, gpu=False))


def test_importing_the_package_imports_nothing_heavy():
    code = "import campaign, sys; print([n for n in ('pandas', 'duckdb', 'altair', 'ray') if n in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_views_are_tables_of_pandas(results):
    assert len(results.runs) == 12 and isinstance(results.metrics, pd.DataFrame)
    assert {"runs", "metrics", "observations"} <= set(results.views["view"]) <= set(dir(results))
    counted = results.sql("SELECT count(*) AS n FROM runs WHERE environment = $1", ["native-chroot"])
    assert counted.n.item() == 6
    assert repr(results).startswith("<campaign synthetic: 12 of 12 runs accepted")


def test_an_unknown_name_is_answered_with_the_known_ones(results):
    with pytest.raises(AttributeError, match=r"no view 'run'; there are: .*runs"):
        results.run  # noqa: B018
    with pytest.raises(KeyError, match=r"there are: .*throughput"):
        results.figure("nothing")


def test_figures_by_name_and_a_reason_for_one_without_data(results):
    assert isinstance(results.figure("throughput"), alt.TopLevelMixin)
    assert isinstance(results.figure("run-order"), alt.TopLevelMixin)
    with pytest.raises(LookupError, match="no power sensor"):
        results.figure("power-energy")


def test_a_folder_without_a_campaign_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="holds no campaign"):
        campaign.open(tmp_path)


def test_the_statistics_are_a_call_away(tmp_path):
    found = campaign.open(synthetic.write(tmp_path, repetitions=3)).analyse().comparisons
    assert {"metric", "pct", "pct_low", "verdict", "claim"} <= set(found.columns)
    assert set(found.analysis_set) == {"protocol", "all_valid"}
