"""The evidence of a campaign: the whole statistical analysis of a results folder, kept beside it as tidy tables.

``inputs`` asks, ``statistics`` answers, ``rows`` makes rows of the answers; here they become ``analysis/*.parquet``,
whose columns are declared in ``sql/90_analysis.sql`` and which the views of that file read back.
"""

from __future__ import annotations

import contextlib
import math
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import inputs, looks, parallel, phase_rows, seal, views
from campaign.analysis import rows as findings

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from campaign.analysis.statistics.latency.models import Latencies

OWN_TABLES = tuple(views.ANALYSIS)
"""Tables of ``analysis/`` that the statistics fill."""
COPIED_VIEWS = ("descriptives", "outliers", "plausibility")
"""Views of SQL kept in ``analysis/`` as they stood."""
MANY = 250
"""Runs from which the work is worth the start of other processes."""


def connect(results: Path) -> duckdb.DuckDBPyConnection:
    """As :func:`campaign.analysis.views.connect`, with the analysis up to date."""
    results = results.resolve()
    state = seal.state(results)
    if state == seal.made_of(results):
        return views.connect(results)
    with _spread(results) as spread:
        con = views.connect(results)
        _bring_up(results, con, state, spread)
    return con


def ensure(results: Path, con: duckdb.DuckDBPyConnection) -> None:
    """Bring ``<results>/analysis`` up to what the folder now holds, and let the views of ``con`` see it."""
    results = results.resolve()
    state = seal.state(results)
    if state == seal.made_of(results):
        views.find_analysis(con)
        return
    with _spread(results) as spread:
        _bring_up(results, con, state, spread)


def _spread(results: Path) -> contextlib.AbstractContextManager[parallel.Spread]:
    """Helper processes, where there is enough to do for them."""
    if sum(1 for _ in (results / "attempts").glob("*")) < MANY:
        return contextlib.nullcontext(parallel.in_turn)
    return parallel.helpers("campaign.analysis.statistics")


def _bring_up(results: Path, con: duckdb.DuckDBPyConnection, state: dict[str, Any], spread: parallel.Spread) -> None:
    if seal.made_of(results) is None and any((results / path).exists() for path in views.ANALYSIS.values()):
        print(f"{results / 'analysis'}: not as it was computed here; computing it again", file=sys.stderr)
    folder = views.output_folder(results, "analysis")
    (folder / seal.STATE).unlink(missing_ok=True)
    asked = inputs.ask(con)
    with ThreadPoolExecutor(1) as beside:
        # DuckDB works while Python reads the libraries of the statistics; nothing else uses the connection meanwhile.
        latencies = beside.submit(inputs.latencies, con, asked.settings["reference"])
        copied = beside.submit(_copy_views, con, folder)
        found = _analyse(asked, latencies, spread)
        copied.result()
    for name, table in _tables(con, asked, *found).items():
        views.write_parquet(con, table, folder / f"{name}.parquet")
    seal.seal(results, state)
    views.find_analysis(con)


def rows(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The headline comparisons, as records for ``report.wording``, in the order of the plan and of printing.

    Read from ``analysis/`` (see :func:`ensure`). With several units the unit stands beside the model's name. Number,
    mean and deviation of the arms are of the runs that the claim rests on, so that all figures of a row are of one set.
    ``twins`` is true where the config defines both arms alike (A/A).
    """
    alike = inputs.twins(con)
    decided = ", ".join(
        f"CASE WHEN status LIKE 'error%' THEN {name}_{arm} ELSE decided_{name}_{arm} END AS {name}_{arm}"
        for name in ("n", "mean", "sd")
        for arm in ("reference", "treatment")
    )
    found = views.records(
        con,
        f"""SELECT c.* REPLACE (
                CASE WHEN count(DISTINCT unit) OVER () > 1 THEN model || ' @ ' || unit ELSE model END AS model,
                {decided}
            ),
            coalesce(NOT interleaved, false) AS separated
        FROM comparisons AS c
        LEFT JOIN metric_facts AS f ON f.metric = c.metric
        WHERE analysis_set = '{findings.HEADLINE_SET}'
        ORDER BY place, treatment, unit, f.print_order NULLS LAST, c.metric""",
    )
    return [row | {"twins": (row["reference"], row["treatment"]) in alike} for row in found]


def _analyse(
    asked: inputs.Asked, latencies: Future[dict[str, Latencies]], spread: parallel.Spread
) -> tuple[dict[str, Any] | None, findings.Percentiled]:
    """What the statistics find in the runs (None where there is none) and in the requests."""
    from campaign.analysis.statistics import compare_runs
    from campaign.analysis.statistics.latency.models import compare_latencies
    from campaign.analysis.statistics.screen_config import rows_of, traits

    if asked.table.empty:
        return None, []
    chosen, arms = asked.settings, set(asked.table["environment"])
    told = {
        "reference": chosen["reference"] if chosen["reference"] in arms else None,
        "seed": chosen["seed"],
        "margin_pct": chosen["margin_pct"] if chosen["margin_declared"] else None,
        "m_planned": chosen["m_planned"],
        "planned": chosen["planned"],
        "planned_repetitions": chosen["planned_repetitions"],
        "refused": asked.refused,
        "units": asked.units,
        "roles": asked.roles,
    }
    screen = None if asked.screen is None else (rows_of(asked.screen), traits(asked.screen.factors))
    runs = compare_runs(asked.table, **told, screen=screen) if asked.fixed else _without_verdicts(asked, told)
    requests = latencies.result()
    works = [
        compare_latencies(found, chosen["reference"], chosen["seed"], two_level=False) for found in requests.values()
    ]
    result, *percentiled = parallel.together([runs, *works], spread)
    # A campaign of one arm has nothing to compare; the statistics name the missing arm "treatment".
    result["comparisons"] = [
        found for found in result["comparisons"] if {found["treatment"], found["reference"]} <= arms
    ]
    return result, list(zip(requests, percentiled, strict=True))


def _without_verdicts(asked: inputs.Asked, told: dict[str, Any]) -> parallel.Work:
    """Where somebody may stop for what is seen: estimates with intervals that hold at any time,
    and what looks decided."""
    from campaign.analysis.statistics.interim import ComparedSoFar, compare_so_far
    from campaign.analysis.statistics.sequential.claimed import overlaid

    if asked.looks is None:
        return compare_so_far(asked.table, "unfinished", diagnostics=False, **told)
    plan, conduct = asked.looks, looks.conducted(asked.looks, asked.events)
    verdict = "not_tested" if asked.finished else "unfinished"
    courses = {its: conduct.courses[key] for key, its in plan.of.items()}

    def decided(found: ComparedSoFar) -> ComparedSoFar:
        names = found.names
        its = looks.Compared(*asked.cells[names.model], names.treatment, names.reference, names.metric)
        return found if its not in courses else overlaid(found, conduct, courses[its], over=asked.finished)

    work = compare_so_far(asked.table, verdict, diagnostics=asked.finished, decided=decided, **told)
    return parallel.Work(work.jobs, lambda found: work.conclude(found) | {"looks": (plan, conduct)})


def _tables(
    con: duckdb.DuckDBPyConnection,
    asked: inputs.Asked,
    result: dict[str, Any] | None,
    percentiled: findings.Percentiled,
) -> dict[str, pd.DataFrame]:
    """All tables of :data:`OWN_TABLES`, in the columns of their schemas;
    empty ones where there is nothing to analyse."""
    import pandas as pd

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in OWN_TABLES}
    if result is not None:
        found |= {
            "comparisons": list(findings.comparisons(con, result, asked.cells)),
            "equivalence": list(findings.equivalence(result, asked.cells)),
            "tests": list(findings.tests(result, asked.cells)),
            "power": list(findings.power(result, asked.cells)),
            "over_units": list(findings.over_units(result, asked.cells)),
            "losses": list(findings.losses(result, asked.cells)),
            "order_effects": list(findings.order_effects(result, asked.cells)),
            "phase_decisions": list(phase_rows.phase_decisions(result, asked.screen)),
            "screen_effects": list(phase_rows.screen_effects(result)),
            "screen_contrasts": list(phase_rows.screen_contrasts(result)),
            "request_percentiles": list(
                findings.request_percentiles(percentiled, asked.settings["reference"], fixed=asked.fixed)
            ),
            "comparison_looks": list(findings.comparison_looks(result)),
        }
    return {
        name: pd.DataFrame(records, columns=_columns(con, name)).replace([math.inf, -math.inf], math.nan)
        for name, records in found.items()
    }


# --- files ------------------------------------------------------------------------------------------------------


def _columns(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    return [row[0] for row in con.execute(f"DESCRIBE schema_{name}").fetchall()]


def _copy_views(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    for name in COPIED_VIEWS:
        views.copy_parquet(con, f"FROM {name}", folder / f"{name}.parquet")
