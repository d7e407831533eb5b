"""Times as people write them, as nanoseconds of UTC. ``03/11/2025`` is asked for
where nothing in the column decides it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from campaign.reading.errors import TableError, shown
from campaign.reading.words import missing

DayOrder = Literal["day-first", "month-first"]

_EARLIEST, _LATEST = 1970, 2200
_LATEST_NS = 7_258_118_400 * 10**9
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)[_T -]?(\d\d)(\d\d)(\d\d)")
_NUMERIC = re.compile(r"\d{9,19}(?:\.\d+)?")
_NAMED = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d\d)(?:[ ,T]+(.+))?")
_FRACTION = re.compile(r"(:\d\d)[.,](\d+)")
_CLOCK = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M:%S%p", "%I:%M%p")
_WORDED = ("%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%d-%b-%Y")
_PER_SECOND = {10: 1, 13: 10**3, 16: 10**6, 19: 10**9}
"""Digits of a whole epoch time of these decades to its steps in a second."""


def nanoseconds(cells: Sequence[Any], order: DayOrder | None = None) -> tuple[list[int | None], list[str]]:
    """UTC nanoseconds by row (None where empty), and what a reader must know of how they were read.

    Raises :class:`TableError` that names the row's place in the column by ``{row:N}`` for the caller to fill in.
    """
    order = order or _order_shown(cells)
    out: list[int | None] = []
    zoned: set[bool] = set()
    for row, cell in enumerate(cells):
        if missing(cell):
            out.append(None)
            continue
        value, zone = _time(cell, order, row)
        zoned.add(zone)
        out.append(value)
    if len(zoned) > 1:
        raise TableError("some times have a zone and some have none: write all with one, as in 2025-11-03T10:00:00Z")
    notes = (
        ["times without a zone are taken as UTC: only their order and distance are used"] if zoned == {False} else []
    )
    return out, notes


def _time(cell: Any, order: DayOrder | None, row: int) -> tuple[int, bool]:
    """Nanoseconds, and whether the zone was told."""
    if isinstance(cell, datetime):
        return _nanoseconds(cell, 0, cell, row)
    if isinstance(cell, bool):
        raise TableError(_no_time(cell, row))
    text = str(cell).strip()
    if match := _COMPACT.fullmatch(text):
        return _built(cell, row, *(int(part) for part in match.groups()))
    if isinstance(cell, int | float):
        return _epoch(cell, cell, row), True
    if _NUMERIC.fullmatch(text):
        return _epoch(float(text) if "." in text else int(text), cell, row), True
    digits = _FRACTION.search(text)
    nanos = int(digits[2][:9].ljust(9, "0")) if digits else 0
    text = _FRACTION.sub(r"\1", text)
    if match := _NAMED.fullmatch(text):
        first, mark, second, year, clock = match.groups()
        if mark == "." and order is None:
            order = "day-first"  # dotted dates are
        if order is None:
            raise TableError(
                f"{{row:{row}}} {shown(cell)}: day or month first? Nothing in this column decides it; say --dates "
                "day-first or --dates month-first, or write ISO 8601 dates (2025-11-03T10:00:00)"
            )
        day, month = (int(first), int(second)) if order == "day-first" else (int(second), int(first))
        time = _clock(clock, cell, row)
        return _built(cell, row, int(year) + (2000 if len(year) == 2 else 0), month, day, *time, nanos=nanos)
    return _spelt(text, nanos, cell, row)


def _spelt(text: str, nanos: int, cell: Any, row: int) -> tuple[int, bool]:
    try:
        return _nanoseconds(datetime.fromisoformat(text.replace("/", "-")), nanos, cell, row)
    except ValueError:
        pass
    for date in _WORDED:
        for clock in ("", *(f" {form}" for form in _CLOCK)):
            try:
                return _nanoseconds(datetime.strptime(text.replace(",", ""), date + clock), nanos, cell, row)
            except ValueError:
                continue
    try:
        return _nanoseconds(datetime.strptime(text, "%a %b %d %H:%M:%S %Y"), nanos, cell, row)
    except ValueError:
        pass
    try:
        return _nanoseconds(parsedate_to_datetime(text), nanos, cell, row)
    except (ValueError, TypeError, IndexError, OverflowError):
        raise TableError(_no_time(cell, row)) from None


def _no_time(cell: Any, row: int) -> str:
    return (
        f"{{row:{row}}} {shown(cell)} is no time that can be read: write ISO 8601 (2025-11-03T10:00:00) or seconds "
        "since 1970. If the column is an order of runs, say so with --column NAME=sequence_index; if it is neither, "
        "--column NAME=ignore"
    )


def _epoch(value: float, cell: Any, row: int) -> int:
    if value == value and abs(value) < 10**19:  # noqa: PLR0124  # NaN
        for digits, steps in _PER_SECOND.items():
            if 10 ** (digits - 2) <= value < 10**digits and (digits == 10 or value >= 10 ** (digits - 1)):
                exact = value * (10**9 // steps) if isinstance(value, int) else round(value * (10**9 / steps))
                if exact < _LATEST_NS:
                    return int(exact)
    raise TableError(_no_time(cell, row))


def _clock(text: str | None, cell: Any, row: int) -> tuple[int, int, int]:
    if text is None:
        return 0, 0, 0
    for form in _CLOCK:
        try:
            found = datetime.strptime(text.strip(), form)
            return found.hour, found.minute, found.second
        except ValueError:
            continue
    raise TableError(_no_time(cell, row))


def _built(cell: Any, row: int, *parts: int, nanos: int = 0) -> tuple[int, bool]:
    try:
        return _nanoseconds(datetime(*parts), nanos, cell, row)  # type: ignore[arg-type]
    except ValueError:
        raise TableError(_no_time(cell, row)) from None


def _nanoseconds(moment: datetime, nanos: int, cell: Any, row: int) -> tuple[int, bool]:
    if not _EARLIEST <= moment.year < _LATEST:
        raise TableError(
            f"{{row:{row}}} {shown(cell)}: the year {moment.year} is not one of a benchmark; "
            "correct it or leave the cell empty"
        )
    zone = moment.tzinfo is not None
    aware = moment if zone else moment.replace(tzinfo=UTC)
    whole = aware.replace(microsecond=0)
    return int(whole.timestamp()) * 10**9 + aware.microsecond * 1000 + nanos, zone


def _order_shown(cells: Sequence[Any]) -> DayOrder | None:
    """Whether a column shows which of the first two numbers of its dates is the day: one of them is above 12."""
    seen: dict[DayOrder, str] = {}
    for cell in cells:
        match = _NAMED.fullmatch(_FRACTION.sub(r"\1", str(cell).strip())) if isinstance(cell, str) else None
        if match is None:
            continue
        if int(match[1]) > 12:
            seen.setdefault("day-first", cell)
        if int(match[3]) > 12:
            seen.setdefault("month-first", cell)
    if len(seen) > 1:
        raise TableError(
            f"{shown(seen['day-first'])} has the day first and {shown(seen['month-first'])} the month; "
            "write ISO 8601 dates"
        )
    return next(iter(seen), None)
