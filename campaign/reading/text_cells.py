"""Delimited text and Markdown tables as cells."""

from __future__ import annotations

import csv
import io
from typing import Any

from campaign.reading import formats, source
from campaign.reading.errors import TableError
from campaign.reading.json_cells import of_records
from campaign.reading.known import LLAMA_BENCH
from campaign.reading.printed import markdown
from campaign.reading.source import Source, distinct

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def of_delimited(text: str) -> Source:
    lines = text.split("\n")
    begin, notes = 0, []
    stated = None
    while begin < len(lines) and (not lines[begin].strip() or lines[begin].startswith("#")):
        begin += 1
    if begin < len(lines) and lines[begin].strip().lower().startswith("sep=") and len(lines[begin].strip()) == 5:
        stated = lines[begin].strip()[4]
        begin += 1
    elif begin < len(lines) and lines[begin].lower() in ("sep=\t", "sep=\t\r"):
        stated, begin = "\t", begin + 1
    if begin and any(line.startswith("#") for line in lines[:begin]):
        notes.append(
            f"{sum(line.startswith('#') for line in lines[:begin])} lines of comment before the header are not read"
        )
    body = "\n".join(lines[begin:])
    separator = stated or _separator(body)
    names, rows = _cells(body, separator, begin)
    left_out = []
    kept: list[tuple[int, list[str]]] = []
    for number, row in rows:
        if row[0].strip() == names[0] and [cell.strip() for cell in row] == names:
            left_out.append((f"row {number}", "the header once more"))
        elif len(row) != len(names):
            hint = (
                " A decimal comma between commas needs quotes, or another separator"
                if separator == "," and len(row) > len(names)
                else ""
            )
            raise TableError(
                f"row {number} has {len(row)} cells, the header {len(names)} (separator: "
                f"{SEPARATORS.get(separator, separator)}): correct the row, or take it out.{hint}"
            )
        else:
            kept.append((number, row))
    if set(names) >= LLAMA_BENCH:
        records = [(f"row {number}", dict[str, Any](zip(names, row, strict=True))) for number, row in kept]
        return of_records(records, formats.recognise_rows([row for _, row in records]))
    columns = {name: [row[i] for _, row in kept] for i, name in enumerate(names)}
    kind = (
        f"text with {SEPARATORS.get(separator, repr(separator))}s between the cells"
        if len(names) > 1
        else "text of one column"
    )
    return Source(
        columns,
        [f"row {number}" for number, _ in kept],
        kind,
        tuple(notes),
        tuple(left_out),
        formats.recognise_columns(names),
    )


def _separator(body: str) -> str:
    """The mark that cuts the header into most cells; of equals the one that cuts all rows alike."""
    head = body[:200_000]

    def score(mark: str) -> tuple[int, int]:
        try:
            rows = [row for row in csv.reader(io.StringIO(head, newline=""), delimiter=mark) if any(row)][:200]
        except csv.Error:
            return 0, 0
        if not rows:
            return 0, 0
        return len(rows[0]), sum(len(row) == len(rows[0]) for row in rows)

    return max(SEPARATORS, key=score)


def _cells(body: str, separator: str, begin: int) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row that is not blank with its number in the file."""
    csv.field_size_limit(source.MOST_BYTES)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator)
    names: list[str] | None = None
    rows: list[tuple[int, list[str]]] = []
    last = begin
    try:
        for row in reader:
            number, last = last + 1, begin + reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if names is None:
                names = [cell.strip() for cell in row]
            else:
                rows.append((number, row))
    except csv.Error as error:
        raise TableError(f"not readable as a table near line {begin + reader.line_num}: {error}") from None
    return distinct(names or []), rows


def is_rule(line: str) -> bool:
    cells = line.strip().strip("|").split("|")
    return len(cells) > 1 and all(set(cell.strip()) <= set("-:") and "-" in cell for cell in cells)


def of_markdown(lines: list[str]) -> Source:
    tables = [(number, line) for number, line in enumerate(lines, 1) if line.lstrip().startswith("|")]
    cut = [
        (number, [cell.strip() for cell in line.strip().strip("|").split("|")])
        for number, line in tables
        if not is_rule(line)
    ]
    names = distinct(cut[0][1])
    rows = []
    for number, cells in cut[1:]:
        if cells == cut[0][1]:
            continue
        if len(cells) != len(names):
            raise TableError(f"line {number} has {len(cells)} cells, the header of the table {len(names)}")
        rows.append((f"line {number}", dict(zip(names, cells, strict=True))))
    found = markdown(names, [row for _, row in rows])
    if found is not None:
        return of_records([(place, row) for (place, _), row in zip(rows, found[0], strict=True)], found[1])
    return of_records(rows, None, "a Markdown table")
