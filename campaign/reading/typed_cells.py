"""Excel, Parquet and Arrow as cells, of the file's own types."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from datetime import date, datetime
from typing import Any

from campaign.reading import formats, source
from campaign.reading.errors import TableError, listed
from campaign.reading.json_cells import of_records
from campaign.reading.source import Source, distinct


def of_excel(data: bytes) -> Source:
    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            names = set(packed.namelist())
            size = sum(entry.file_size for entry in packed.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise TableError(f"a zip file that cannot be read ({error})") from None
    if "xl/workbook.xml" not in names:
        raise TableError("a zip archive, and no Excel file (.xlsx): unpack it and give the table in it")
    if size > source.MOST_BYTES:
        raise TableError(
            f"this Excel file is larger than {source.MOST_BYTES // 2**20} MiB when unpacked; export the sheet as CSV"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            sheets = {
                sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets
            }
    except Exception as error:  # it raises KeyError, ValueError, XML errors and more for damaged files
        raise TableError(
            f"this Excel file (.xlsx) cannot be read ({type(error).__name__}): export the sheet as CSV and give that"
        ) from None
    filled = {
        title: rows
        for title, rows in sheets.items()
        if any(any(cell not in (None, "") for cell in row) for row in rows)
    }
    if not filled:
        raise TableError("this Excel file has no filled sheet")
    if len(filled) > 1:
        raise TableError(
            f"this Excel file has several filled sheets ({listed(filled)}): export the one with the runs as CSV"
        )
    return _sheet(*next(iter(filled.items())))


def _sheet(title: str, rows: list[list[Any]]) -> Source:
    filled = [(number, row) for number, row in enumerate(rows, 1) if any(cell not in (None, "") for cell in row)]
    width = max(max(i for i, cell in enumerate(row) if cell not in (None, "")) for _, row in filled) + 1
    names = distinct(
        [str(cell).strip() if cell is not None else "" for cell in (filled[0][1] + [None] * width)[:width]]
    )
    body = [(number, (row + [None] * width)[:width]) for number, row in filled[1:]]
    errors = [
        (number, cell)
        for number, row in body
        for cell in row
        if isinstance(cell, str) and cell in ("#REF!", "#DIV/0!", "#VALUE!", "#NAME?")
    ]
    if errors:
        raise TableError(f"row {errors[0][0]} of the Excel sheet holds {errors[0][1]}: correct the formula")
    columns = {name: [_plain(row[i]) for _, row in body] for i, name in enumerate(names)}
    if any(name.startswith("unnamed ") and all(cell is None for cell in cells) for name, cells in columns.items()):
        columns = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    return Source(
        columns,
        [f"row {number}" for number, _ in body],
        f"the Excel sheet {title!r}",
        known=formats.recognise_columns(names),
    )


def of_arrow(data: bytes) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        buffer = pa.BufferReader(data)
        table = pq.read_table(buffer) if data.startswith(b"PAR1") else pa.ipc.open_file(buffer).read_all()
        names = distinct([str(name) for name in table.column_names])
        columns = {name: [_plain(cell) for cell in table.column(i).to_pylist()] for i, name in enumerate(names)}
    except TableError:
        raise
    except Exception as error:  # pyarrow raises many kinds for damaged files
        raise TableError(
            f"not readable as Parquet: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None
    rows = [(f"row {i}", {name: columns[name][i] for name in names}) for i in range(table.num_rows)]
    nested = any(isinstance(cell, dict | list) for cells in columns.values() for cell in cells[:5])
    if nested:
        return of_records(rows, None, "Parquet")
    return Source(columns, [place for place, _ in rows], "Parquet", known=formats.recognise_columns(names))


def _plain(cell: Any) -> Any:
    """A cell of a typed file as text, number, truth or moment; NaN and not-a-time as None."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, date) and not isinstance(cell, datetime):
        return cell.isoformat()
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if isinstance(cell, str | bool | int | float | datetime | dict | list):
        return cell
    return float(cell) if hasattr(cell, "__float__") else str(cell)
