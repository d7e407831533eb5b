"""The tables of the article, as data: results, what stands behind each, and what ran."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from campaign.analysis import cache as evidence
from campaign.report import guard
from campaign.report.methods import reference_of
from campaign.report.table_formats import Table
from campaign.report.tables.behind import diagnostics, effects, power, tests
from campaign.report.tables.ran import configuration, exclusions, losses, provenance
from campaign.report.tables.results import brief, comparisons, descriptives, families, looks, over_units

if TYPE_CHECKING:
    import duckdb


def tables(con: duckdb.DuckDBPyConnection) -> list[Table]:
    """Results in brief; each arm by itself, all comparisons, what stands behind them and what was lost;
    configuration, provenance."""
    simulated = con.execute("SELECT coalesce(bool_or(simulated), false) FROM campaign").fetchall() == [(True,)]
    rows = evidence.rows(con)
    held = guard.guard_of(con)
    made = [
        brief(rows, reference_of(con)),
        *([families(con)] if held.fixed or held.sequential else []),
        *(over_units(con) if held.fixed else []),
        losses(con),
        descriptives(con, rows),
        comparisons(rows),
        *([looks(con)] if held.sequential else []),
        *([tests(rows), effects(rows), power(con, rows)] if held.fixed else []),
        *([diagnostics(con, rows)] if held.finished else []),
        exclusions(con),
        configuration(con),
        provenance(con),
    ]
    if held.why is not None:
        first = made[0]
        made[0] = replace(first, notes=f"{first.notes} {held.why}")
    if not simulated:
        return made
    return [replace(t, caption=f"{t.caption} Simulated data: nothing in this table was measured.") for t in made]
