"""What a reader may be shown: everything, or only what holds although somebody could
stop the campaign for what is seen.

Tests and intervals for a fixed number of runs hold for a finished campaign that carried out its whole plan. While it
goes on, and where looks could end it early, a report has estimates with intervals that hold at every moment, and of
comparisons that looks decide what they decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

from campaign.analysis import inputs
from campaign.record import interim_views

WHY_UNFINISHED = (
    "The campaign is not finished: estimates stand here with intervals that hold at every moment, without p values "
    "and without verdicts. Whoever looks may stop for what is seen, and then neither holds: watched after every "
    "block from 5 to 30, a 5 % test of two equal arms finds a difference in 23 % of campaigns (docs/statistics.md)."
)
WHY_PILOT = (
    "A pilot: its runs were made to plan the campaign, and nothing is claimed of them. Estimates stand here with "
    "intervals that hold at every moment, without p values and without verdicts; `campaign plan --pilot` says what it "
    "tells."
)
WHY_CONTINUING = (
    "The campaign is not finished: what its planned looks decided stands; everything else has an interval that holds "
    "at every moment, no p value and no verdict (docs/statistics.md)."
)
WHY_LOOKS = (
    "Looks could end this campaign early: what they decide carries intervals and p values that allow for every look. "
    "Other figures have an interval that holds at every moment and no verdict, because tests for a fixed number of "
    "runs do not allow for the stop (docs/statistics.md)."
)
INTERVAL = (
    "The interval that holds at every moment is the confidence sequence of the t mixture (Lai 1976; Wang and Ramdas "
    "2023) over the log ratios of complete blocks, its standard error widened as that of every question of "
    "difference is; for throughput, mean latency and peak memory at 0.05 by the planned comparisons, so that all of "
    "them hold together, else at 0.05."
)


@dataclass(frozen=True)
class Guard:
    """``finished`` is whether no planned run is outstanding, which a ``pilot`` never counts as,
    ``sequential`` whether looks could end the campaign early."""

    finished: bool
    sequential: bool
    pilot: bool = False

    @property
    def fixed(self) -> bool:
        """Whether tests for a fixed number of runs may be shown."""
        return self.finished and not self.sequential

    @property
    def why(self) -> str | None:
        """Why something is not shown; None where everything is."""
        if self.pilot:
            return WHY_PILOT
        if self.sequential:
            return WHY_LOOKS if self.finished else WHY_CONTINUING
        return None if self.finished else WHY_UNFINISHED


def noted(con: duckdb.DuckDBPyConnection, results: Path) -> int | None:
    """Note that somebody reads the report of an unfinished campaign; how often that was by now. None for a finished
    one, for a pilot, for imported runs, and where the folder cannot be written to."""
    held = guard_of(con)
    if held.finished or held.pilot or not (results / "journal.jsonl").exists():
        return None
    blocks = con.execute(
        """SELECT model || '__' || workload, count(*) FILTER (complete) FROM (
            SELECT model, workload, block, bool_and(status IN ('accepted', 'exhausted', 'left_out')) AS complete
            FROM runs GROUP BY ALL
        ) GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
    (simulated,) = con.execute("SELECT coalesce(any_value(simulated), false) FROM campaign").fetchall()[0]
    try:
        return interim_views.note(results, dict(blocks), simulated=bool(simulated))
    except OSError:
        return None


def guard_of(con: duckdb.DuckDBPyConnection) -> Guard:
    """Of the campaign behind a connection. A folder without a run shows nothing to be guarded."""
    planned = con.execute("SELECT count(*) FROM runs").fetchall()[0][0]
    (looks,) = con.execute("SELECT any_value(config->>'sequential') FROM campaign").fetchall()[0]
    pilot = inputs.pilot(con)
    return Guard(planned == 0 or (inputs.finished(con) and not pilot), looks is not None, pilot)
