"""A reading in words, for the terminal: every column's fate, rows in and out,
and the first runs as they were understood."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from campaign.reading.roles import Fate
from campaign.reading.table import Reading, Run

FIRST = 3


def describe(reading: Reading) -> Iterator[str]:
    """What ``--dry-run`` prints, line by line."""
    succeeded = sum(run.ok for run in reading.runs)
    yield f"{reading.kind}: {reading.rows_in} rows in, {len(reading.runs)} runs out, {succeeded} of them succeeded"
    for place, why in reading.left_out:
        yield f"  {place}: left out: {_shown(why)}"
    for fate in reading.fates:
        yield f"  {_shown(fate.column)}: {_shown(_fate(fate))}"
    for note in reading.notes:
        if not note.startswith("read "):
            yield f"note: {_shown(note)}"
    for run in reading.runs[:FIRST]:
        yield _shown(_run(run, reading))


def _fate(fate: Fate) -> str:
    """What became of a column."""
    if fate.role == "left out":
        return f"left out: {fate.said}"
    taken = {"factor": fate.name, "set": fate.name, "metric": fate.name}.get(fate.role) or fate.role
    unit = f", in {fate.unit}" if fate.unit else ""
    return f"taken as {taken}{unit}{f' ({fate.said})' if fate.said else ''}"


def _run(run: Run, reading: Reading) -> str:
    names = [
        f"{name} {run.factors[name]}"
        for name in ("model", "environment", "workload", "unit", "phase")
        if reading.told(name)
    ]
    when = (
        f"started {datetime.fromtimestamp(run.started_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"
        if run.started_ns is not None
        else ""
    )
    order = f"place in time {run.sequence_index:g}" if run.sequence_index is not None else "order not known"
    ended = "succeeded" if run.ok else f"failed ({run.failure})"
    figures = [
        f"{metric} {run.reasons[metric] if metric in run.reasons else f'{run.values[metric]:.6g} {unit}'.strip()}"
        for metric, unit in reading.metrics.items()
    ]
    said = [*names, f"repetition {run.repetition}", f"attempt {run.attempt}", ended, when, order, *figures]
    return f"{run.place}: {', '.join(part for part in said if part)}"


def _shown(text: str) -> str:
    """Without what a terminal would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
