"""Results are values, their fields are the columns of the tables, and a further test is one file."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from campaign.analysis import cache, statistics, views
from campaign.analysis.result import Result, columns, declared
from campaign.analysis.statistics import analyze_runs, two_arms
from campaign.analysis.statistics.beyond_units import beyond_units, models_of
from campaign.analysis.statistics.bootstrap import DifferenceBca, MovingBlocks, OverheadBca
from campaign.analysis.statistics.effects import Effect
from campaign.analysis.statistics.factorial.fit import Effect as FactorEffect
from campaign.analysis.statistics.factorial.fit import Error, Fit, Heterogeneity, Judged, LackOfFit
from campaign.analysis.statistics.factorial.half_normal import Lenth, Point
from campaign.analysis.statistics.factorial.screened import Layout
from campaign.analysis.statistics.independent import Decision
from campaign.analysis.statistics.interblock import Percent, Recovered
from campaign.analysis.statistics.interim import ComparedSoFar, compare_so_far, so_far
from campaign.analysis.statistics.latency.against import Resampled, RunLevel
from campaign.analysis.statistics.latency.arm import Described, Summary
from campaign.analysis.statistics.order import OrderBalance
from campaign.analysis.statistics.paired import Paired, Wilcoxon, paired
from campaign.analysis.statistics.power import PairedPosthoc, Posthoc
from campaign.analysis.statistics.randomisation import Randomisation
from campaign.analysis.statistics.ratio import Ratio
from campaign.analysis.statistics.runs import compare_runs
from campaign.analysis.statistics.sequential.claimed import overlaid
from campaign.analysis.statistics.sequential.conduct import Conduct, Key
from campaign.analysis.statistics.sequential.design import Design
from campaign.analysis.statistics.sequential.table import of_blocks, sequential
from campaign.analysis.statistics.sets import Accounting, WorstCase
from campaign.analysis.statistics.settings import settings_of
from campaign.analysis.statistics.table import alike, check_runs
from tests import synthetic
from tests.campaign.analysis.statistics.run_tables import METRIC, drawn

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


# --- no dictionary where a result belongs -----------------------------------------------------------------------------

BY_NAME = {
    *("desc", "normality", "n", "mean", "sd", "sigma_rule_can_trigger"),  # arm
    *("analysis_sets", "verdict_by_set", "exclusions"),  # analysis set
    *("tost_ratio", "tost_abs"),  # margin
    "levels",  # comparison
    *("reasons", "tests", "settings_differ", "covariates", "per_unit", "by_metric"),
}
"""Fields, and keys of a record, that map names to values of one kind."""
OF_ANY_KIND = {"Refused.evidence"}
TOLD: dict[str, Any] = {
    "reference": "native",
    "seed": 3,
    "m_planned": 30,
    "margin_pct": None,
    "planned": {},
    "planned_repetitions": None,
    "refused": {},
}


@pytest.fixture(scope="module")
def several() -> pd.DataFrame:
    """Two units in two metrics, with two states before each run; neighbours resemble each other."""
    tables = []
    for unit in range(2):
        rng = np.random.default_rng(unit)
        table = drawn(24, shift=-1.0, seed=unit, unit=f"u{unit}")
        walk = np.cumsum(rng.normal(0, 2, 24))[table["repetition"] - 1] * table["environment"].eq("native")
        table["start_temp_c"] = rng.normal(40, 2, 48)
        table["start_mem_available_gib"] = rng.normal(50, 2, 48)
        table["ttft_mean_ms"] = rng.normal(9, 1, 48)
        table[METRIC] += walk
        tables.append(table)
    return pd.concat(tables)


def dictionaries(name: str, value: Any) -> Iterator[str]:
    """Names of the dictionaries within, whichever they are of what may be one."""
    if isinstance(value, Result):
        for field, part in vars(value).items():
            yield from dictionaries(field, part)
    elif isinstance(value, dict):
        kinds = {isinstance(part, Result) for part in value.values() if part is not None}
        if name not in BY_NAME or len(kinds) > 1:
            yield name
        for key, part in value.items():
            yield from dictionaries(name if isinstance(part, dict) else key, part)
    elif isinstance(value, list):
        for part in value:
            yield from dictionaries(name, part)


def strays(records: list[dict[str, Any]]) -> set[str]:
    return {name for record in records for key, value in record.items() for name in dictionaries(key, value)}


def test_what_is_found_is_a_result_all_the_way_down(several: pd.DataFrame) -> None:
    work = compare_runs(several, **TOLD)
    found = work.conclude([job() for job in work.jobs])
    records = [*found["comparisons"], *found["series"], *found["over_units"]]
    assert {"newey_west", "ols_prev_block", "covariates"} <= set().union(*found["series"])
    assert strays(records) == set()
    assert all(isinstance(family, Result) for name, family in found["families"].items() if name.startswith("F_"))


def test_what_is_found_so_far_is_a_result_all_the_way_down(several: pd.DataFrame) -> None:
    work = compare_so_far(several, "unfinished", diagnostics=True, **TOLD, units=None, roles=None)
    found = work.conclude([job() for job in work.jobs])
    assert {one["verdict"] for one in found["comparisons"]} == {"unfinished"}
    assert strays([*found["comparisons"], *found["series"]]) == set()


def looked(table: pd.DataFrame) -> tuple[ComparedSoFar, Conduct]:
    """The one comparison of a table as it stands, and what looks after 6 and 12 blocks decided of it."""
    runs = alike(check_runs(table))
    (found,) = so_far(runs, settings_of(runs, **TOLD, better=None), "not_tested", diagnostics=False).comparisons
    key, (cell,) = Key(found.names.model, METRIC), runs.cells
    conduct = Conduct(Design((6, 12), 1, 1.0, scale="guarded", t_levels="exact_t"), [key])
    for blocks in conduct.design.looks:
        if not conduct.stops:
            shown = of_blocks(cell.arms["docker_baseline"], cell.arms["native"], METRIC, blocks, conduct.design)
            conduct.take(key.model, {key: shown})
    return found, conduct


@pytest.mark.parametrize("shift", [-5.0, 0.0])
def test_what_looks_say_of_a_comparison_is_another_of_its_kind(shift: float) -> None:
    found, conduct = looked(drawn(12, shift=shift))
    (course,) = conduct.courses.values()
    said = overlaid(found, conduct, course, over=True)
    assert (found.claim.verdict, found.claim.look) == ("not_tested", None)
    assert said.claim.verdict == course.verdict and said.claim.look == f"look {len(course.looks)} of 2"
    assert said.claim.sentence == said.stated.said.claim
    assert (said.names, said.desc, said.accounting) == (found.names, found.desc, found.accounting)
    assert list(dictionaries("", [found, said])) == []


def test_what_a_sequential_design_concludes_is_a_result_all_the_way_down() -> None:
    tables = [drawn(12, shift=shift, model=model) for model, shift in (("clear", -5.0), ("noisy", 0.3))]
    design = {"looks_blocks": [6, 12], "m_planned": 2, "margin_pct": 0.1, "scale": "guarded", "futility": 0.01}
    found = sequential(pd.concat(tables), design)
    records = [*found["comparisons"], {"events": found["events"]}]
    assert {len(one["sequential"].looks) for one in found["comparisons"]} == {1, 2}
    assert strays(records) == set()
    assert all(isinstance(event, Result) for event in found["events"])
    assert all(isinstance(family, Result) for family in found["families"].values())


def test_what_units_say_is_a_result_all_the_way_down(several: pd.DataFrame) -> None:
    runs = alike(check_runs(several))
    settings = settings_of(runs, **TOLD, better=None)
    assert all(isinstance(row, Result) for row in beyond_units(runs, settings))
    (model,) = models_of(runs.cells, runs.environments, runs.metrics, [], settings, [])
    assert model.first.units.over.models.lmm_random_slope is not None
    assert list(dictionaries("", model)) == []


def every(cls: type[Result]) -> Iterator[type[Result]]:
    for its in cls.__subclasses__():
        yield its
        yield from every(its)


def parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in typing.get_args(hint):
        yield from parts(part)


def test_a_field_says_what_it_holds() -> None:
    for module in pkgutil.walk_packages(statistics.__path__, f"{statistics.__name__}."):
        importlib.import_module(module.name)
    vague = {
        f"{cls.__name__}.{name}"
        for cls in every(Result)
        if cls.__module__.startswith("campaign.")
        for name, hint in typing.get_type_hints(cls).items()
        if Any in parts(hint)
    }
    assert vague <= OF_ANY_KIND
