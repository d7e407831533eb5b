"""What the rows of several tables share: the cell, the quantity, the line that names the contrast."""

from __future__ import annotations

from collections.abc import Callable

from campaign.report.table_formats import Column, Table
from campaign.report.wording import Row, by_contrast


def under_contrasts(
    name: str,
    caption: str,
    columns: tuple[Column, ...],
    cells: Callable[[Row], tuple[str | None, ...]],
    rows: list[Row],
    notes: str,
) -> Table:
    """A table over pages whose rows are metrics under a line that names the cell and its two arms."""
    rows = [row for group in by_contrast(rows) for row in group]
    heads = (*cell_columns(rows), Column("Treatment"), Column("Reference"))
    body = tuple(
        (
            *cell(row, rows),
            row["treatment"],
            row["reference"],
            quantity(row),
            *cells(row),
        )
        for row in rows
    )
    return Table(name, caption, (*heads, Column("Quantity"), *columns), body, notes, breaks=True, heads=len(heads))


def cell_columns(rows: list[Row]) -> tuple[Column, ...]:
    shown = ["model", *(name for name in ("workload", "phase") if len({row[name] for row in rows}) > 1)]
    return tuple(Column(name.capitalize()) for name in shown)


def cell(row: Row, rows: list[Row]) -> tuple[str, ...]:
    return tuple(str(row[column.title.lower()]) for column in cell_columns(rows))


def quantity(row: Row) -> str:
    unit = row["unit_of_measure"]
    return f"{row['label'] or row['metric']}{f' ({unit})' if unit else ''}"
