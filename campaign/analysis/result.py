"""What a test found, as a value: frozen, its fields the keys of the JSON and, where they name one,
columns of a table."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

SQL = {float: "DOUBLE", int: "INTEGER", bool: "BOOLEAN", str: "VARCHAR"}
"""Type of a field to that of its column."""


@dataclass(frozen=True)
class Result:
    """Base of what a test returns. A subclass is a frozen dataclass of numbers, words and further results."""


@dataclass(frozen=True)
class Column:
    """In ``Annotated``: the field is this column of a table of ``analysis/`` (of ``comparisons``,
    unless the class says another)."""

    name: str
    percent: bool = False
    """The field is a ratio r, the column 100 (r - 1)."""


LEFT_OUT = object()
"""In ``Annotated``: the JSON has the field only where it is not None."""
INLINE = object()
"""In ``Annotated``: the field is a result, or a mapping, whose own parts stand in the JSON where the field would;
None stands for no part."""
UNTOLD = object()
"""In ``Annotated``: the JSON never has the field."""


@dataclass(frozen=True)
class _Field:
    name: str
    column: Column | None
    left_out: bool
    inline: bool
    untold: bool
    sql: str | None
    """Type of the column; None where there is none."""


def _fields(cls: type[Result]) -> tuple[_Field, ...]:
    its: Any = cls  # a class can be hashed, which is more than its type says of it
    return _known(its)


@cache
def _known(cls: Any) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for its in fields(cls):
        hint, notes = hints[its.name], tuple[object, ...]()
        if hasattr(hint, "__metadata__"):
            hint, notes = hint.__origin__, hint.__metadata__
        column = next((note for note in notes if isinstance(note, Column)), None)
        sql = _sql(hint) if column else None
        found.append(_Field(its.name, column, LEFT_OUT in notes, INLINE in notes, UNTOLD in notes, sql))
    return tuple(found)


def _sql(hint: Any) -> str:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (one,) = (part for part in parts if part is not types.NoneType)
    return SQL[one]


def as_json(found: Result) -> dict[str, Any]:
    """Field to value, without what is left out or untold, the parts of what is inline in its place; further results
    stay as they are."""
    out: dict[str, Any] = {}
    for its in _fields(type(found)):
        value = getattr(found, its.name)
        if its.untold:
            continue
        if its.inline:
            out |= as_json(value) if isinstance(value, Result) else value or {}
        elif value is not None or not its.left_out:
            out[its.name] = value
    return out


def columns(cls: type[Result], found: Result | None) -> dict[str, Any]:
    """The columns that ``cls`` declares, filled from ``found``; None where there is nothing,
    or nothing of this class."""
    out: dict[str, Any] = {}
    for its in _fields(cls):
        if its.column is not None:
            value = getattr(found, its.name) if isinstance(found, cls) else None
            out[its.column.name] = 100 * (value - 1) if its.column.percent and value is not None else value
    return out


def declared(cls: type[Result]) -> dict[str, str]:
    """Column to SQL type, as ``cls`` declares them."""
    return {its.column.name: its.sql for its in _fields(cls) if its.column is not None and its.sql is not None}


def get(block: Any, *path: str) -> Any:
    """Down through mappings and results; None where one of them has no such part."""
    for key in path:
        block = block.get(key) if isinstance(block, Mapping) else getattr(block, key, None)
    return block
