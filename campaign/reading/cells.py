"""Single cells: as names, as whole numbers, and whether a column of them is one of figures."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from campaign.reading.errors import TableError, shown
from campaign.reading.numbers import is_figure, is_plain
from campaign.reading.words import missing

LONGEST_NAME = 200


def label(cell: Any) -> str:
    """A cell as a name: 1.0 is 1."""
    if missing(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return name_of(cell)


def name_of(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        cell = int(cell)
    return unicodedata.normalize("NFC", str(cell)).strip().strip("\ufeff\u200b\u00a0").strip()


def shown_name(column: str) -> str:
    """For a command line."""
    return f"'{column}'" if any(not (c.isalnum() or c in "_-.") for c in column) else column


def checked_name(what: str, name: str, column: str, place: str = "") -> None:
    """Raises for a name that a terminal, a path or a chart would trip over."""
    at = f" in {place}" if place else ""
    if not name.isprintable():
        raise TableError(
            f"column {column!r}{at}: the {what} {shown(name)} has control characters or others that cannot be shown; "
            "take them out"
        )
    if len(name) > LONGEST_NAME:
        raise TableError(
            f"column {column!r}{at}: the {what} {shown(name, 40)} is longer than {LONGEST_NAME} characters; "
            "give it a shorter name"
        )
    if ".." in name.replace("\\", "/").split("/"):
        raise TableError(
            f"column {column!r}{at}: the {what} {shown(name)} leads out of its folder (..); give it another name"
        )


def as_whole(cell: Any) -> int | None:
    """1, 1.0 and "1" are one; anything else is none."""
    if isinstance(cell, bool) or missing(cell):
        return None
    if isinstance(cell, str):
        found = re.fullmatch(r"([+-]?[0-9]{1,18})(?:\.0*)?", cell.strip())
        return int(found[1]) if found else None
    try:
        return int(cell) if cell == math.floor(cell) else None
    except (TypeError, ValueError, OverflowError):
        return None


def plain_numbers(cells: Iterable[Any]) -> bool:
    """Whether every cell is a finite number, written plainly."""
    for cell in cells:
        if isinstance(cell, bool) or not (is_plain(cell) if isinstance(cell, str) else isinstance(cell, int | float)):
            return False
    return True


def figures(cells: Iterable[Any]) -> bool:
    """Whether nearly all cells are numbers, however they are written."""
    told = [cell for cell in cells if not missing(cell)]
    good = sum(not isinstance(cell, str) or is_figure(cell) for cell in told)
    return bool(told) and good >= 0.8 * len(told)
