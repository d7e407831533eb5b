"""A table of single requests: model, arm and repetition as names and whole numbers,
every other column of numbers as a latency."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from campaign.reading.asked import IGNORE, Asked
from campaign.reading.cells import checked_name, label
from campaign.reading.errors import TableError, nearest, shown
from campaign.reading.numbers import NotNumbers, numbers
from campaign.reading.source import Source

if TYPE_CHECKING:
    import pandas as pd

NAMES = frozenset({"model", "environment", "workload", "unit", "phase", "run_id"})


def request_table(found: tuple[Source, str, dict[str, list[str]]], where: str, asked: Asked) -> pd.DataFrame:
    """One row a request, as ``analyze_requests`` takes it. Raises :class:`TableError`."""
    import pandas as pd

    source, _, constants = found
    for name in asked.columns:
        if name not in source.columns:
            raise TableError(
                f"{where}: --column {name}=…: there is no column {name!r}. {nearest(name, source.columns)}"
            )
    columns: dict[str, Any] = {}
    for column, cells in source.columns.items():
        name = asked.columns.get(column, column.strip())
        if name == IGNORE:
            continue
        if name in NAMES:
            known = {cell: label(cell) or None for cell in dict.fromkeys(cells)}
            for text in known.values():
                if text is not None:
                    checked_name(name, text, column)
            columns[name] = [known[cell] for cell in cells]
            continue
        columns[name] = _numbers(column, cells, source, where, asked)
    return pd.DataFrame(columns | {name: values for name, values in constants.items() if name not in columns})


def _numbers(column: str, cells: list[Any], source: Source, where: str, asked: Asked) -> list[Any]:
    """As floats; a column of words stays as it is, a word among numbers is an error."""
    try:
        found = numbers(cells, asked.decimal)
    except NotNumbers as error:
        if error.share < 0.5:
            return cells
        raise TableError(
            f"{where}: column {column!r} holds {shown(error.value)} in {source.places[error.row]} among numbers, "
            f"which {error.why}"
        ) from None
    except TableError as error:
        raise TableError(f"{where}: column {column!r}: {error}") from None
    if found.unit is not None:
        raise TableError(
            f"{where}: column {column!r} has its unit in its cells ({found.unit.name}): write plain numbers, "
            "latencies in ms"
        )
    if column == "repetition" and any(math.isnan(x) for x in found.values):
        row = next(i for i, x in enumerate(found.values) if math.isnan(x))
        raise TableError(f"{where}: column 'repetition' is empty in {source.places[row]}: every request needs one")
    whole = not any(math.isnan(x) or x % 1 for x in found.values)
    return [int(x) for x in found.values] if whole and column == "repetition" else found.values
