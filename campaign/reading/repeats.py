"""Repetitions, attempts and their order in time. A run that succeeded is tried again only where the table says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from campaign.reading.cells import label, shown_name
from campaign.reading.errors import TableError, listed
from campaign.reading.factors import whole
from campaign.reading.roles import Roles


def untied(t: Roles, started: list[int | None], factors: Mapping[str, list[str]]) -> list[int | None]:
    """Times, unless runs of different arms have the same one on one unit: then their order is not known."""
    arms: dict[tuple[str, int], set[str]] = {}
    for i, moment in enumerate(started):
        if moment is not None:
            arms.setdefault((factors["unit"][i], moment), set()).add(factors["environment"][i])
    if any(len(found) > 1 for found in arms.values()):
        t.notes.append(
            "runs of different arms have one and the same time: their order is not known, and the times are not used"
        )
        return [None] * len(started)
    if any(moment is None for moment in started) and any(moment is not None for moment in started):
        t.notes.append("some runs have no time: the order of runs is not known, and the times are not used")
        return [None] * len(started)
    return started


def numbered(t: Roles, cell: list[tuple[str, ...]], order: list[int]) -> list[int]:
    """Repetitions of a table that numbers none: the runs of a cell in order."""
    t.notes.append("no repetitions in the file: runs of a cell are numbered in order")
    count: Counter[tuple[str, ...]] = Counter()
    out = [0] * len(cell)
    for i in order:
        count[cell[i]] += 1
        out[i] = count[cell[i]]
    return out


def attempts(
    t: Roles,
    cell: list[tuple[str, ...]],
    repetition: list[int],
    order: list[int],
    ok: list[bool],
    started: list[int | None],
    sequence: list[float | None],
) -> list[int]:
    """The number of each attempt at a run. Without a column that tells,
    only a run that failed before may have been tried again."""
    n = len(cell)
    out = [1] * n
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i in order:
        groups.setdefault((*cell[i], repetition[i]), []).append(i)
    told = whole(t, "attempt", 0) if "attempt" in t.factors else None
    for key, rows in groups.items():
        if told is not None:
            _told_once(t, key, rows, [told[i] for i in rows])
            for i in rows:
                out[i] = told[i] + (1 if min(told) == 0 else 0)
        elif len(rows) > 1 and _tried_again(t, key, rows, ok, started):
            for place, i in enumerate(rows, 1):
                out[i] = place
    return out


def _told_once(t: Roles, key: tuple[Any, ...], rows: list[int], given: list[int]) -> None:
    """Each attempt of a run stands once; where it does not, that is noted, or raised as TableError."""
    if len(set(given)) == len(given):
        return
    model, arm = key[2], key[3]
    if not t.everything:
        raise TableError(
            f"{_same(t, rows)} have the same model, arm, repetition and attempt "
            f"{max(given, key=given.count)}: {_difference(t, rows)}"
        )
    t.notes.append(f"{_same(t, rows)}: one attempt of {model} under {arm} more than once: nothing is said of that cell")


def _tried_again(t: Roles, key: tuple[Any, ...], rows: list[int], ok: list[bool], started: list[int | None]) -> bool:
    """Whether rows of one repetition are attempts at it, as noted. Raises TableError where they cannot be, unless the
    analysis refuses the cell by name."""
    model, arm, number = key[2], key[3], key[-1]
    timed = t.known is not None and t.known.attempts_by_time and all(started[i] is not None for i in rows)
    if sum(ok[i] for i in rows) > 1 and not timed:
        if not t.everything:
            raise TableError(
                f"{_same(t, rows)} have the same repetition {number} of {model} under {arm}, and several succeeded: "
                f"{_difference(t, rows)}"
            )
        t.notes.append(
            f"{_same(t, rows)}: one repetition of {model} under {arm} that succeeded more than once: "
            "nothing is said of that cell"
        )
        return False
    t.notes.append(
        f"{model} under {arm} has repetition {number} {len(rows)} times: taken as attempts 1 to {len(rows)}, of "
        "which the first that succeeded counts"
    )
    return True


def _same(t: Roles, rows: list[int]) -> str:
    return listed((t.source.places[i] for i in rows), 4)


def _difference(t: Roles, rows: list[int]) -> str:
    """What to do about rows that say to be one run: name the column that tells them apart, where there is one."""
    used = {figure.column for figure in t.figures.values()} | set(t.factors.values())
    apart = [
        column
        for column, cells in t.cells.items()
        if column not in used and len({label(cells[i]) for i in rows}) == len(rows)
    ]
    if apart:
        return (
            f"they differ in {listed(map(repr, apart), 5)}. If that is a condition, say --column "
            f"{shown_name(apart[0])}=condition; if it numbers attempts, --column {shown_name(apart[0])}=attempt"
        )
    return (
        "number the repetitions, add a column 'attempt' that tells retries apart, or take all but one of the rows out"
    )


def in_time(
    sequence: list[float | None],
    started: list[int | None],
    in_block: list[float | None],
    repetition: list[int],
    unit: list[str],
    order: list[int],
) -> list[float | None]:
    """The place of each run in time on its unit: as recorded, or by start times, or by the order within blocks;
    None where not told."""
    n = len(order)
    if any(x is not None for x in sequence):
        return sequence
    if any(moment is not None for moment in started):
        count: Counter[str] = Counter()
        out: list[float | None] = [None] * n
        for i in order:
            count[unit[i]] += 1
            out[i] = float(count[unit[i]])
        return out
    told = [x for x in in_block if x is not None]
    if not told:
        return [None] * n
    most = max(told)
    return [None if x is None else repetition[i] * (most + 1) + x for i, x in enumerate(in_block)]
