"""Where a machine itself forbids a narrow answer: runs of one arm differ more among
themselves than arms could from each other.

On a machine that others use as well, the clock measures them too. CPU time does so only where they change the
processor's speed: what a token costs in CPU-seconds is told beside it, where the engine tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from campaign.analysis import metrics, words
from campaign.analysis.numbers import present
from campaign.report import wording

if TYPE_CHECKING:
    import duckdb

LIMIT_PCT = 5.0
"""Half the width of an interval, and the coefficient of variation,
from which a machine is called too noisy for an answer."""
QUIETER = 0.5
"""Share of the clock's variation below which CPU time is called quieter."""
PER_CPU = "output_tokens_per_cpu_s"


def told(con: duckdb.DuckDBPyConnection, rows: Sequence[wording.Row]) -> list[str]:
    """Sentences for the first lines of a report, the first of them alone a summary;
    empty where the machine is quiet enough."""
    throughput = [row for row in rows if row["metric"] == metrics.headline() and words.verdict_word(row) == "undecided"]
    if not any(_wide(row) for row in throughput):
        return []
    noisiest = con.execute(
        """SELECT throughput_cv_pct, per_cpu_s_cv_pct, cpu_wait_pct, n, environment, model FROM run_noise
        WHERE throughput_cv_pct > $1 ORDER BY throughput_cv_pct DESC LIMIT 1""",
        [LIMIT_PCT],
    ).fetchall()
    if not noisiest:
        return []
    cv, cpu_cv, waited, n, arm, model = noisiest[0]
    waits = "" if waited is None or waited < 1 else f" Some task waited for a CPU during {waited:.0f} % of these runs."
    said = [
        f"By the clock this machine tells nothing narrower than ±{LIMIT_PCT:g} % in {n} runs: runs of one and the "
        f"same arm differ by up to {cv:.0f} % (coefficient of variation of throughput, {arm}, {model}).{waits}"
    ]
    counted = [row for row in rows if row["metric"] == PER_CPU and wording.bounded(row)]
    if counted:
        each = "; ".join(
            f"{row['treatment']}, {row['model']}: {wording.change(row)} {wording.brackets(row)}" for row in counted
        )
        said.append(f"{_counted(cv, cpu_cv)}: {each}.")
    return said


def _counted(cv_pct: float, cpu_cv_pct: float | None) -> str:
    """Whether CPU time is quieter than the clock, which it is where runs wait for each other's CPUs, and is not where
    the processor itself is now faster and now slower."""
    if cpu_cv_pct is None:
        return "Counted in output tokens per CPU-second"
    if cpu_cv_pct < QUIETER * cv_pct:
        return f"Counted in output tokens per CPU-second these runs differ by {cpu_cv_pct:.1f} % only"
    return (
        f"In output tokens per CPU-second they differ by {cpu_cv_pct:.1f} %, hardly less: the processor itself is now "
        "faster, now slower, and only more runs narrow that"
    )


def _wide(row: wording.Row) -> bool:
    if not wording.bounded(row):
        return True
    low, high = row["pct_low"], row["pct_high"]
    return not (present(low) and present(high)) or (high - low) / 2 > LIMIT_PCT
