"""Numbers as people write them: decimal comma or point, thousands, a unit behind the figure.
What can be read in two ways is asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from campaign.reading.errors import TableError, listed, shown
from campaign.reading.units import Unit, parse_unit
from campaign.reading.words import FAILED_IN_A_CELL, folded, missing

Mark = Literal["point", "comma"]

_SPACES = str.maketrans({"\u00a0": "", "\u202f": "", "\u2009": "", " ": "", "'": "", "’": "", "\u2212": "-"})
_CELL = re.compile(
    r"(?P<number>[+\-\u2212]?[\d.,][\d.,\s\u00a0\u202f\u2009'’]*(?:[eE][+-]?\d+)?)\s*(?P<unit>[^\d\s.,].*)?", re.DOTALL
)
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:[ \u00a0\u202f\u2009'’]\d{3})+(?:[.,]\d*)?")
_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
MOST = 1e30
"""No figure of a run is larger."""
_PLAIN_SIGNS = frozenset("0123456789.+-eE")
_SPELT = {"inf": math.inf, "+inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}


@dataclass(frozen=True)
class Numbers:
    """A column as floats (NaN where the cell is empty), the unit that its cells name,
    and the cells that say that the run failed."""

    values: list[float]
    unit: Unit | None
    failed: dict[int, str]
    """Row to the word that stands there instead of a figure."""


@dataclass(frozen=True)
class NotNumbers(Exception):
    """Not a column of numbers. ``row`` is the first cell that is none, ``share`` how many of the others are."""

    row: int
    value: Any
    share: float
    why: str


def decimal_mark(cells: Sequence[Any]) -> tuple[Mark | None, dict[Mark, str]]:
    """Which mark a column's cells show to be the decimal one, with a cell that shows it;
    None where none does or two disagree."""
    seen: dict[Mark, str] = {}
    for cell in cells:
        if isinstance(cell, str) and ("," in cell or "." in cell):
            mark = _shows(cell)
            if mark is not None:
                seen.setdefault(mark, cell)
    return (next(iter(seen)) if len(seen) == 1 else None), seen


def _shows(text: str) -> Mark | None:
    split = _split(text)
    if split is None:
        return None
    number = split[0].lstrip("+-").partition("e")[0].partition("E")[0]
    commas, points = number.count(","), number.count(".")
    if commas and points:
        return "comma" if number.rfind(",") > number.rfind(".") else "point"
    if not commas and not points:
        return None
    mark, other = (",", "point") if commas else (".", "comma")
    before, _, after = number.rpartition(mark)
    if number.count(mark) > 1:
        return other  # type: ignore[return-value]  # thousands: the other mark is the decimal one
    if len(after) == 3 and 1 <= len(before) <= 3 and not before.startswith("0"):
        return None
    return "comma" if commas else "point"


def is_plain(text: str) -> bool:
    """Whether a cell is a finite number with a decimal point, without thousands or unit."""
    return _PLAIN.fullmatch(text.strip()) is not None and math.isfinite(float(text))


def is_figure(text: str) -> bool:
    """Whether a cell is a number in some spelling, perhaps with a unit."""
    return _split(text) is not None


def numbers(cells: Sequence[Any], mark: Mark | None = None) -> Numbers:
    """Read a column. ``mark`` is the decimal mark where the column itself does not show it (None: not known,
    or a point).

    Raises :class:`NotNumbers` for the first cell that is no number, :class:`TableError` for one that can be read in two
    ways.
    """
    quick = _all_plain(cells) if mark != "comma" else None
    if quick is not None:
        return Numbers(quick, None, {})
    own, seen = decimal_mark(cells)
    if len(seen) == 2:
        raise NotNumbers(
            0, None, 0.0, f"{shown(seen['point'])} has a decimal point and {shown(seen['comma'])} a decimal comma"
        )
    decided = own or mark
    values: list[float] = []
    failed: dict[int, str] = {}
    units: dict[str, Unit] = {}
    bad: tuple[int, Any, str] | None = None
    good = 0
    for row, cell in enumerate(cells):
        if missing(cell):
            values.append(math.nan)
            continue
        if isinstance(cell, str) and folded(cell) in FAILED_IN_A_CELL:
            failed[row] = cell.strip()
            values.append(math.nan)
            continue
        try:
            value, unit = _number(cell, decided)
        except _NoNumberError as error:
            bad = bad or (row, cell, str(error))
            values.append(math.nan)
            continue
        good += 1
        values.append(value)
        if unit is not None:
            units[unit.name] = unit
    if bad is not None or (failed and not good):
        row, cell, why = bad or (next(iter(failed)), next(iter(failed.values())), "is no number")
        told = len(cells) - sum(missing(cell) for cell in cells)
        raise NotNumbers(row, cell, good / max(told, 1), why)
    if len(units) > 1:
        raise TableError(f"its cells have several units ({listed(units)}); write one")
    return Numbers(values, next(iter(units.values()), None), failed)


def _all_plain(cells: Sequence[Any]) -> list[float] | None:
    """The floats of a column in which nothing is to be decided (a million requests are read in this way);
    None for any other."""
    if set(map(type, cells)) != {str} or not set("".join(cells)) <= _PLAIN_SIGNS:
        return None
    try:
        values = list(map(float, cells))
    except ValueError:
        return None
    return None if any(abs(value) > MOST for value in values) else values


class _NoNumberError(ValueError):
    pass


class AmbiguousNumber(TableError):
    """``1,234``: a thousand or a one."""


def _number(cell: Any, mark: Mark | None) -> tuple[float, Unit | None]:
    if isinstance(cell, bool):
        raise _NoNumberError("is a truth value, not a number")
    if isinstance(cell, int | float):
        if abs(cell) > MOST and not (isinstance(cell, float) and math.isinf(cell)):
            raise _NoNumberError("is beyond any measurement")
        return float(cell), None
    if isinstance(cell, str):
        return _written(cell, mark)
    try:
        return float(cell), None
    except (TypeError, ValueError, OverflowError):
        raise _NoNumberError("is no number") from None


def _written(cell: str, mark: Mark | None) -> tuple[float, Unit | None]:
    if mark != "comma" and _PLAIN.fullmatch(cell) and cell.count(".") < 2:
        value = float(cell)
        if abs(value) <= MOST:
            return value, None
    text = cell.strip()
    if text.casefold() in _SPELT:
        return _SPELT[text.casefold()], None
    split = _split(text)
    if split is None:
        raise _NoNumberError("is no number")
    number, unit_text = split
    unit = parse_unit(unit_text) if unit_text else None
    if unit_text and unit is None:
        raise _NoNumberError(f"ends with {shown(unit_text)}, which is no unit that is known here")
    plain = _decimal(number, mark, cell)
    if not _PLAIN.fullmatch(plain):
        raise _NoNumberError("is no number")
    value = float(plain)
    if abs(value) > MOST:
        raise _NoNumberError("is beyond any measurement")
    return value, unit


def _split(text: str) -> tuple[str, str] | None:
    """The figure without grouping spaces, and what stands behind it."""
    match = _CELL.fullmatch(text.strip())
    if match is None:
        return None
    number = match["number"].strip()
    if re.search(r"[\s'’\u00a0\u202f\u2009]", number) and not _GROUPED.fullmatch(number):
        return None
    return number.translate(_SPACES), (match["unit"] or "").strip()


def _decimal(number: str, mark: Mark | None, cell: str) -> str:
    """With a point for the decimal mark and without thousands."""
    body, _, exponent = re.sub("E", "e", number).partition("e")
    tail = f"e{exponent}" if exponent else ""
    commas, points = body.count(","), body.count(".")
    if not commas:
        if points and mark == "comma":
            if points == 1 and _shows(number) is None:
                return _grouped(body, ".") + tail
            return (_grouped(body, ".") if points > 1 else body) + tail
        return (_grouped(body, ".") if points > 1 else body) + tail
    decided = mark or _shows(number)
    if decided is None:
        raise AmbiguousNumber(
            f"{shown(cell)} can be read as {body.replace(',', '')} and as {body.replace(',', '.')}: nothing here "
            "shows whether the comma stands before decimals or between thousands; "
            "say --decimal comma or --decimal point"
        )
    if decided == "comma":
        whole, _, part = body.partition(",")
        if "," in part or "." in part:
            raise _NoNumberError("is no number with a decimal comma")
        return f"{_grouped(whole, '.')}.{part}{tail}"
    whole, point, part = body.partition(".")
    return f"{_grouped(whole, ',')}{point}{part}{tail}"


def _grouped(whole: str, mark: str) -> str:
    groups = whole.lstrip("+-").split(mark)
    if len(groups) > 1 and (not 1 <= len(groups[0]) <= 3 or any(len(group) != 3 for group in groups[1:])):
        raise _NoNumberError("is no number: its thousands are not in groups of three")
    return whole.replace(mark, "")
