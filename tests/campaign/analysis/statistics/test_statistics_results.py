"""Results are values, their fields are the columns of the tables, and a further test is one file."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import duckdb
import numpy as np
import pytest

from campaign.analysis import cache, views
from campaign.analysis.result import Result, columns, declared
from campaign.analysis.statistics import analyze_runs, two_arms
from campaign.analysis.statistics.bootstrap import DifferenceBca, MovingBlocks, OverheadBca
from campaign.analysis.statistics.effects import Effect
from campaign.analysis.statistics.factorial.fit import Effect as FactorEffect
from campaign.analysis.statistics.factorial.fit import Error, Fit, Heterogeneity, Judged, LackOfFit
from campaign.analysis.statistics.factorial.half_normal import Lenth, Point
from campaign.analysis.statistics.factorial.screened import Layout
from campaign.analysis.statistics.independent import Decision
from campaign.analysis.statistics.interblock import Percent, Recovered
from campaign.analysis.statistics.latency.against import Resampled, RunLevel
from campaign.analysis.statistics.latency.arm import Described, Summary
from campaign.analysis.statistics.order import OrderBalance
from campaign.analysis.statistics.paired import Paired, Wilcoxon, paired
from campaign.analysis.statistics.power import PairedPosthoc, Posthoc
from campaign.analysis.statistics.randomisation import Randomisation
from campaign.analysis.statistics.ratio import Ratio
from campaign.analysis.statistics.sets import Accounting, WorstCase
from tests import synthetic
from tests.campaign.analysis.statistics.run_tables import drawn

OF_COMPARISONS = [
    *(test.Found for test in two_arms.tests().values()),
    *(Decision, Effect, Ratio, Paired, Wilcoxon),
    *(DifferenceBca, OverheadBca, Randomisation, OrderBalance, Recovered, Percent, WorstCase),
]
LONGEST_TOLD = '''"""How many runs of the treatment lie above every run of the reference."""

from dataclasses import dataclass

from campaign.analysis.result import Result

KEY = "all_above"


@dataclass(frozen=True)
class Found(Result):
    runs: int
    share: float


def test(treatment, reference, m=1):
    runs = int((treatment > reference.max()).sum())
    return Found(runs, runs / len(treatment))
'''


@pytest.mark.parametrize(
    ("table", "cls"),
    [
        *(
            ("comparisons", cls)
            for cls in (*OF_COMPARISONS, DifferenceBca, OverheadBca, Randomisation, OrderBalance, Recovered, Percent)
        ),
        ("order_effects", MovingBlocks),
        ("losses", Accounting),
        *(("screen_effects", cls) for cls in (FactorEffect, Judged, Error, Fit, Heterogeneity, LackOfFit, Layout)),
        *(("screen_contrasts", cls) for cls in (Lenth, Point)),
        *(("request_percentiles", cls) for cls in (Described, Summary, Resampled, RunLevel)),
        ("power", Posthoc),
        ("power", PairedPosthoc),
    ],
)
def test_every_column_that_a_result_declares_is_in_its_table_and_of_its_type(table: str, cls: type[Result]) -> None:
    con = duckdb.connect()
    con.execute(views.definition(f"schema_{table}"))
    types = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE schema_{table}").fetchall()}
    wider = {"INTEGER": {"INTEGER", "BIGINT"}}
    for name, kind in declared(cls).items():
        assert types[name] in wider.get(kind, {kind}), name


def test_a_result_cannot_be_changed() -> None:
    found = paired(np.array([3.0, 4.0, 6.0]), np.array([1.0, 3.0, 2.0]), 1, 1)
    with pytest.raises(FrozenInstanceError):
        found.n_pairs = 4  # type: ignore[misc]


def test_columns_of_what_was_not_found_are_empty() -> None:
    few = paired(np.array([3.0, 4.0]), np.array([1.0, 3.0]), 1, 1)
    assert few.status == "insufficient_n"
    assert set(columns(Paired, few).values()) == {None}


def test_a_test_that_is_one_more_file_is_in_the_analysis_of_a_table_and_of_a_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "all_above.py").write_text(LONGEST_TOLD)
    monkeypatch.setattr(two_arms, "__path__", [*two_arms.__path__, str(more)])
    (found,) = [c for c in analyze_runs(drawn(14, shift=50.0))["comparisons"] if c["analysis_set"] == "protocol"]
    assert found["all_above"] == {"runs": 14, "share": 1.0}

    folder = synthetic.write(tmp_path / "results", models=("tiny",), repetitions=5, telemetry_hz=0)
    con = cache.connect(folder)
    told = con.execute("SELECT DISTINCT test, field FROM tests WHERE test IN ('all_above', 'welch')").fetchall()
    assert {("all_above", "runs"), ("all_above", "share"), ("welch", "p")} <= set(told)
    differ = con.execute(
        "SELECT count(*), count(*) FILTER (t.value <> c.welch_p) FROM tests AS t "
        "JOIN comparisons AS c USING (phase, unit, model, workload, reference, treatment, metric) "
        "WHERE t.test = 'welch' AND t.field = 'p' AND c.analysis_set = 'protocol'"
    ).fetchall()
    ((compared, unlike),) = differ
    assert compared > 0 and unlike == 0
