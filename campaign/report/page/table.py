"""A table of the page: the rows of a query, and the query with them, so that whoever pastes it gets these rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from campaign.analysis.numbers import number

if TYPE_CHECKING:
    import duckdb

    from campaign.report.page.links import Links


@dataclass(frozen=True)
class Column:
    name: str
    numeric: bool


@dataclass(frozen=True)
class Cell:
    text: str
    href: str | None = None
    """Where its raw files are, relative to the page."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """A table as it is declared, without columns and rows; :func:`filled` gives it these.

    A column called ``run`` is a run's id and leads to its raw files, those of ``attempt`` where there is such a column;
    one called ``file`` leads to that file.
    """

    title: str
    note: str
    empty: str
    sql: str
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()

    @property
    def id(self) -> str:
        return slug(self.title)


def slug(title: str) -> str:
    """A name for a place on the page, of a title: ``Where runs were lost`` is at ``#where-runs-were-lost``."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def filled(con: duckdb.DuckDBPyConnection, table: Table, links: Links) -> Table:
    """``table`` with what its query gives; where a file cannot be read, without rows and with the reason."""
    import duckdb

    try:
        result = con.execute(table.sql)
        names = [str(column[0]) for column in result.description or ()]
        rows = result.fetchall()
    except duckdb.Error as error:
        return replace(table, empty=f"A file could not be read: {str(error).splitlines()[0]}")
    numeric = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(names))]
    return replace(
        table,
        columns=tuple(Column(name, right) for name, right in zip(names, numeric, strict=True)),
        rows=tuple(tuple(_cells(names, row, links)) for row in rows),
    )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cells(names: list[str], row: tuple[Any, ...], links: Links) -> list[Cell]:
    attempt = row[names.index("attempt")] if "attempt" in names else None
    leads = {"run": lambda value: links.run(value, attempt), "file": links.file}
    return [
        Cell(
            _p(name, value) or cell_text(value),
            leads[name](value) if name in leads and isinstance(value, str) else None,
        )
        for name, value in zip(names, row, strict=True)
    ]


P_COLUMN = re.compile(r"\bp\b|^(Bonferroni|BH|BY)$|^adjusted ?$")


def _p(name: str, value: Any) -> str | None:
    """A p value that is smaller than the arithmetic can tell from 0, which none is; None for anything else."""
    return "< 1e-16" if isinstance(value, float) and 0 <= value < 1e-16 and P_COLUMN.search(name) else None


def cell_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f").replace("-", "−")
    if isinstance(value, float):
        return number(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)
