"""JSON and JSON Lines as cells: the records of a document, whatever it is built like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from campaign.reading import formats
from campaign.reading.errors import TableError, listed, shown
from campaign.reading.known import Known
from campaign.reading.source import Source

DEEPEST = 64
"""Levels of JSON."""


def of_json(text: str) -> Source | None:
    """None where it is no JSON at all but begins like it."""
    try:
        return _document(json.loads(text))
    except json.JSONDecodeError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) > 1 and lines[0][1].lstrip().startswith("{") and lines[0][1].rstrip().endswith("}"):
            return _json_lines(lines)
        if text.lstrip().startswith("{") or '"' in text[:200] or text.lstrip()[1:2] in ("{", "["):
            raise TableError(f"not readable as JSON: {error.msg} in line {error.lineno}") from None
        return None
    except ValueError as error:  # digits beyond Python's limit
        raise TableError(f"not readable as JSON: {error}") from None


def _json_lines(lines: list[tuple[int, str]]) -> Source:
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, line in lines:
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise TableError(f"JSON Lines (one JSON object a line), but line {number} is none: {error.msg}") from None
        except ValueError as error:
            raise TableError(f"JSON Lines, line {number}: {error}") from None
        if not isinstance(value, dict):
            raise TableError(f"JSON Lines, line {number}: {shown(value)} is no object")
        rows.append((f"line {number}", value))
    known = formats.recognise_rows([row for _, row in rows])
    return of_records(rows, known, "JSON Lines")


def _document(value: Any) -> Source:
    _depth(value)
    found = formats.recognise(value)
    if found is not None:
        return of_records(*found)
    table = _columnar(value)
    if table is not None:
        return of_records(table, None, "JSON")
    rows = list(_leaves(value, "", ()))
    if not rows and isinstance(value, dict) and any(not isinstance(x, dict | list) for x in value.values()):
        rows = [("the file", value)]
    return of_records(rows, formats.recognise_rows([row for _, row in rows]), "JSON")


def _depth(value: Any) -> None:
    level, here = 0, [value] if isinstance(value, dict | list) else []
    while here:
        level += 1
        if level > DEEPEST:
            raise TableError(f"nested more than {DEEPEST} levels deep; give a list of runs")
        inside = (x for outer in here for x in (outer.values() if isinstance(outer, dict) else outer))
        here = [x for x in inside if isinstance(x, dict | list)]


def _leaves(value: Any, where: str, keys: tuple[str, ...]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Objects in lists, at any depth of objects, with their place as a path; the keys on the way become columns."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{where}.{key}" if where else str(key), (*keys, str(key)))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if isinstance(inner, dict):
                yield f"{where}[{i}]", {f"key {n}": key for n, key in enumerate(keys, 1)} | inner


def _columnar(value: Any) -> list[tuple[str, dict[str, Any]]] | None:
    """What pandas writes: a list for each column, or an object of row to cell for each, or columns beside data."""
    if not isinstance(value, dict) or not value:
        return None
    if set(value) >= {"columns", "data"} and isinstance(value["columns"], list) and isinstance(value["data"], list):
        names = [str(name) for name in value["columns"]]
        if any(not isinstance(row, list) or len(row) != len(names) for row in value["data"]):
            raise TableError("its rows are not all as long as its list of columns")
        return [(f"row {i}", dict(zip(names, row, strict=True))) for i, row in enumerate(value["data"])]
    if isinstance(value.get("schema"), dict) and isinstance(value.get("data"), list):
        return [(f"data[{i}]", row) for i, row in enumerate(value["data"]) if isinstance(row, dict)]
    parts = list(value.values())
    if all(isinstance(part, dict) and part for part in parts) and all(key.isdigit() for key in value):
        return [(f"row {key}", part) for key, part in value.items()]
    if all(
        isinstance(part, dict) and part and not any(isinstance(x, dict | list) for x in part.values()) for part in parts
    ):
        labels = list(parts[0])
        if len(parts) > 1 and all(list(part) == labels for part in parts) and all(label.isdigit() for label in labels):
            return [(f"row {label}", {str(name): part[label] for name, part in value.items()}) for label in labels]
    if all(isinstance(part, list) and not any(isinstance(x, dict | list) for x in part) for part in parts):
        if len({len(part) for part in parts}) > 1:
            lengths = listed(f"{name} {len(part)}" for name, part in value.items())
            raise TableError(f"its columns are not of one length ({lengths})")
        return [(f"row {i}", {str(name): part[i] for name, part in value.items()}) for i in range(len(parts[0]))]
    return None


def of_records(rows: Sequence[tuple[str, dict[str, Any]]], known: Known | None, kind: str = "") -> Source:
    """Objects as columns; what is nested in them gets a name with points."""
    flat = [_flat(row) for _, row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    untold: dict[str, str] = {}
    columns: dict[str, list[Any]] = {}
    for name in names:
        cells = [row.get(name) for row in flat]
        nested = next((cell for cell in cells if isinstance(cell, list | dict)), None)
        if nested is not None:
            untold[name] = (
                f"{'a list' if isinstance(nested, list) else 'an object'} of {len(nested)} in each row, "
                "not a figure of the run"
            )
        else:
            columns[name] = cells
    what = f"{known.title}" if known else kind
    return Source(columns, [place for place, _ in rows], what, known.notes if known else (), known=known, untold=untold)


def _flat(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in row.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and value:
            out |= _flat(value, f"{name}.")
        else:
            out[name] = value
    return out
