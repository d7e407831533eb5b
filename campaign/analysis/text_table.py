"""A table as text that fits its terminal: whole columns, never a letter a line, and a word for what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

GAP = "  "
LEAST = 20
"""A text is not cut below so many characters."""
SOFT = 36
"""Longer texts are cut first, to this, so that one of them does not cost the columns beside it."""


@dataclass(frozen=True)
class Column:
    name: str
    cells: Sequence[str]
    """The same number in each column; an empty one is a NULL."""
    numeric: bool

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.name, *self.cells)))

    @property
    def least(self) -> int:
        """Numbers, and a column's name, are never cut."""
        return self.width if self.numeric else min(self.width, max(LEAST, cell_len(self.name)))

    def telling(self, most: int) -> int:
        """From :attr:`least` on, the width at which a cut text is still told from the others; at most ``most``,
        or :attr:`least`."""
        apart = len(set(self.cells))
        for width in range(self.least, min(self.width, most) + 1):
            if len({cut(cell, width) for cell in self.cells}) == apart:
                return width
        return max(self.least, min(self.width, most))


@dataclass(frozen=True)
class Fitted:
    """What of a table is shown, and how wide; ``left_out`` are the names of the other columns, in order."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    left_out: tuple[str, ...]

    @property
    def cut(self) -> bool:
        return any(column.width > width for column, width in zip(self.columns, self.widths, strict=True))

    def lines(self) -> list[str]:
        """Head, rule, and a line for each row; none is wider than what was asked for."""
        rule = GAP.join("─" * width for width in self.widths)
        rows = zip(*(column.cells for column in self.columns), strict=True)
        return [self._line([column.name for column in self.columns]), rule, *map(self._line, rows)]

    def _line(self, cells: Sequence[str]) -> str:
        padded = (
            pad(cut(cell, width), width, column.numeric)
            for cell, width, column in zip(cells, self.widths, self.columns, strict=True)
        )
        return GAP.join(padded).rstrip()


def fit(columns: Sequence[Column], width: int | None) -> Fitted:
    """The columns that fit into ``width`` cells, in their order: empty ones go first, then those on the right.
    None is all of them, uncut."""
    if width is None:
        return Fitted(tuple(columns), tuple(column.width for column in columns), ())
    told = [i for i, column in enumerate(columns) if any(column.cells)] or list(range(len(columns)))
    whole = sum(column.width for column in columns) + len(GAP) * (len(columns) - 1) <= width
    chosen: list[int] = []
    room = width
    key = told[0]
    least = [
        column.telling(width) if i == key else column.least for i, column in enumerate(columns)
    ]  # it says which row this is
    for i in range(len(columns)) if whole else told:
        needed = least[i] + (len(GAP) if chosen else 0)
        if needed <= room:
            chosen.append(i)
            room -= needed
    if not chosen:
        chosen, room = told[:1], 0
    shown = tuple(columns[i] for i in chosen)
    widths = [min(least[i], width) for i in chosen]
    for most in (SOFT, width):  # what is left goes to texts that are cut, the short ones first
        for at in sorted(range(len(shown)), key=lambda at: shown[at].width):
            more = min(shown[at].width, most) - widths[at]
            if more > 0:
                given = min(more, max(0, room))
                widths[at] += given
                room -= given
    left_out = tuple(column.name for i, column in enumerate(columns) if i not in chosen)
    return Fitted(shown, tuple(widths), left_out)


def cut(text: str, width: int) -> str:
    """A text that is too wide loses its middle: names of runs differ at both ends."""
    if cell_len(text) <= width:
        return text
    if width < 2:
        return "…"[:width]
    head = (width - 1 + 1) // 2
    return f"{chop_cells(text, head)[0]}…{_tail(text, width - 1 - head)}"


def _tail(text: str, width: int) -> str:
    kept = ""
    for letter in reversed(text):
        if cell_len(letter + kept) > width:
            break
        kept = letter + kept
    return kept


def pad(text: str, width: int, right: bool) -> str:
    space = " " * max(0, width - cell_len(text))
    return space + text if right else text + space
