"""What the cells of the factors say: names, whole numbers, truths, times, and whether a run succeeded."""

from __future__ import annotations

import math
from collections.abc import Iterator

from campaign.reading.cells import LONGEST_NAME, as_whole, checked_name, label, name_of, shown_name
from campaign.reading.errors import TableError, listed, shown
from campaign.reading.numbers import NotNumbers
from campaign.reading.roles import Roles
from campaign.reading.times import nanoseconds
from campaign.reading.words import NO_ERROR, folded, missing, outcome

MOST_WHOLE = 2**31 - 1


def names(t: Roles, factor: str, default: str) -> list[str]:
    """A factor that is a name, by row. Two spellings of one name are asked about: they may be one arm or two."""
    if factor in t.constants:
        out = [name_of(cell) for cell in t.constants[factor]]
    elif factor in t.factors:
        out = [
            name_of(cell) if not missing(cell) or (isinstance(cell, str) and cell.strip()) else ""
            for cell in t.cells[t.factors[factor]]
        ]
    else:
        return [default] * len(t.source)
    column = t.factors.get(factor, f"--set {factor}")
    for place, name in zip(t.source.places, out, strict=True):
        if not name and factor in ("model", "environment"):
            raise TableError(
                f"column {column!r} is empty in {place}: every run needs a {factor}; fill it or drop the row"
            )
        checked_name(factor, name, column, place)
    out = [name or default for name in out]
    spelt: dict[str, set[str]] = {}
    for name in out:
        spelt.setdefault(" ".join(name.casefold().split()), set()).add(name)
    several = next((sorted(names) for names in spelt.values() if len(names) > 1), None)
    if several:
        raise TableError(
            f"column {column!r} spells one {factor} in several ways ({listed(map(repr, several))}): upper and lower "
            "case or spaces differ; write one of them"
        )
    return out


def whole(t: Roles, factor: str, low: int) -> list[int]:
    """A factor that numbers something, by row; every row has one."""
    column = t.factors[factor]
    out = []
    for place, cell in zip(t.source.places, t.cells[column], strict=True):
        number = as_whole(cell)
        if number is None or not low <= number <= MOST_WHOLE:
            what = "is empty" if missing(cell) else f"holds {shown(cell)}"
            raise TableError(
                f"column {column!r} ({factor}) {what} in {place}: write a whole number from {low} on, or take the "
                f"column out (--column {column}=ignore)"
            )
        out.append(number)
    return out


def numbers_of(t: Roles, factor: str) -> list[float | None]:
    """A factor that is a figure, by row, None where it is not told."""
    if factor not in t.factors:
        return [None] * len(t.source)
    column = t.factors[factor]
    try:
        found = t.read(column)
    except NotNumbers as error:
        raise TableError(t.bad_cell(column, error)) from None
    except TableError as error:
        raise TableError(f"column {column!r}: {error}") from None
    return [None if math.isnan(x) else x for x in found.values]


def truths(t: Roles, factor: str) -> list[bool | None]:
    """A factor that is true or false, by row, None where it is not told."""
    if factor not in t.factors:
        return [None] * len(t.source)
    column = t.factors[factor]
    words = {
        "0": False,
        "1": True,
        "0.0": False,
        "1.0": True,
        "false": False,
        "true": True,
        "no": False,
        "yes": True,
    }
    out: list[bool | None] = []
    for place, cell in zip(t.source.places, t.cells[column], strict=True):
        word = folded(cell)
        if not missing(cell) and word not in words:
            raise TableError(f"column {column!r} holds {shown(cell)} in {place}: write 0 or 1")
        out.append(None if missing(cell) else words[word])
    return out


def outcomes(t: Roles) -> tuple[list[bool], list[str | None]]:
    """Whether each run succeeded, and what is said of those that did not."""
    failures = _said_of_failures(t)
    ok = [failure is None or "status" in t.factors for failure in failures]
    if "status" in t.factors:
        cells = t.cells[t.factors["status"]]
        for i, (said, cell) in enumerate(zip(_statuses(t), cells, strict=True)):
            if said == "failed":
                ok[i] = False
                failures[i] = failures[i] or label(cell) or "no status"
    if "exit_code" in t.factors:
        for i, code in enumerate(numbers_of(t, "exit_code")):
            if code:
                ok[i] = False
                failures[i] = failures[i] or f"exit code {code:g}"
    for figure in t.figures.values():
        for i, word in figure.numbers.failed.items():
            if ok[i]:
                t.notes.append(
                    f"{t.source.places[i]}: {figure.column} holds {shown(word)} instead of a figure: "
                    "the run counts as failed"
                )
            ok[i] = False
            failures[i] = failures[i] or word
    return ok, failures


def _said_of_failures(t: Roles) -> list[str | None]:
    """What the column of failures says, by row; None where it says that there was none."""
    if "failure" not in t.factors:
        return [None] * len(t.source)
    return [
        None if missing(cell) or folded(cell) in NO_ERROR else name_of(cell)[:LONGEST_NAME]
        for cell in t.cells[t.factors["failure"]]
    ]


def _statuses(t: Roles) -> Iterator[str]:
    """``ok`` or ``failed``, by row. Raises TableError at a word that is neither."""
    column = t.factors["status"]
    cells = t.cells[column]
    numeric = {folded(cell).removesuffix(".0") for cell in cells if not missing(cell)} <= {"0", "1"} and any(
        folded(cell).startswith("0") for cell in cells
    )
    for place, cell in zip(t.source.places, cells, strict=True):
        word = "" if missing(cell) else folded(cell).removesuffix(".0")
        said = (
            t.asked.statuses.get(word)
            or t.asked.statuses.get(str(cell).strip().casefold())
            or (outcome(word) if word and not numeric else None)
        )
        if isinstance(cell, bool):
            said = "ok" if cell else "failed"
        if said is None:
            what = f"holds {shown(cell)}" if word else "is empty"
            raise TableError(
                f"column {column!r} {what} in {place}: did that run succeed? Say "
                f"--status '{word}=ok' or --status '{word}=failed'"
            )
        yield said


def times(t: Roles) -> list[int | None]:
    """Start times in nanoseconds of UTC, by row."""
    if "started" not in t.factors:
        return [None] * len(t.source)
    column = t.factors["started"]
    try:
        times, notes = nanoseconds(t.cells[column], t.asked.dates)
    except TableError as error:
        head, _, rest = str(error).partition("}")
        text = f"in {t.source.places[int(head[5:])]}:{rest}" if head.startswith("{row:") else str(error)
        raise TableError(f"column {column!r} {text.replace('NAME', shown_name(column))}") from None
    t.notes += notes
    return times
