"""Files of others as cells: what kind of file it is, by its content, and its columns as they stand.
Nothing is interpreted here.

CSV with any of ``, ; tab |``, JSON, JSON Lines, Markdown tables, Excel (.xlsx), Parquet and Arrow; each also packed
with gzip, bzip2 or xz.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import math
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from campaign.reading import formats
from campaign.reading.errors import TableError, listed, shown
from campaign.reading.formats import Known

MOST_BYTES = 512 * 2**20
MOST_COLUMNS = 5_000
DEEPEST = 64
"""Levels of JSON."""
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
PACKED: dict[bytes, Callable[[io.BytesIO], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
REFUSED = {
    b"\xd0\xcf\x11\xe0": "an old Excel or Office file (.xls): save it as .xlsx or CSV",
    b"(\xb5/\xfd": "packed with Zstandard: unpack it first (zstd -d)",
    b"SQLite format 3\x00": "an SQLite database: export the table as CSV (sqlite3 -header -csv FILE 'select …')",
    b"%PDF": "a PDF: give the table behind it as CSV",
    b"\x89PNG": "a picture: give the table behind it as CSV",
    b"\x7fELF": "a program",
    b"GGUF": "a model, not a table of runs",
}


@dataclass(frozen=True)
class Source:
    """A file's columns, all of one length, as cells of text or of the file's own types.
    ``places`` says where each row stands."""

    columns: dict[str, list[Any]]
    places: list[str]
    kind: str
    """What was read, for the person."""
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """Rows that are no runs: place and why."""
    known: Known | None = None
    untold: dict[str, str] = field(default_factory=dict)
    """Columns that hold no cells (lists, objects), and what they hold."""

    def __len__(self) -> int:
        return len(self.places)


def load(path: Path) -> Source:
    """Read a file, whatever its name. Raises :class:`TableError`."""
    try:
        found = _load(path, content(path))
    except TableError as error:
        text = str(error)
        raise (error if text.startswith(str(path)) else TableError(f"{path}: {text}")) from None
    except RecursionError:
        raise TableError(f"{path}: nested deeper than any table of runs") from None
    except MemoryError:
        raise TableError(f"{path}: too large for this machine's memory; give a part of it") from None
    if not found.columns or not found.places:
        raise TableError(
            f"{path} holds no runs: give a table with a header and a row for each run, or JSON with lists of runs"
        )
    if len(found.columns) > MOST_COLUMNS:
        raise TableError(
            f"{path}: {len(found.columns)} columns; a table of runs has a few dozen. Is it turned on its side?"
        )
    return found


def content(path: Path) -> bytes:
    """A file's bytes, out of their packing. Raises :class:`TableError`."""
    try:
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            raise TableError(f"{path}: a folder; name the file, or several (FOLDER/*.json)")
        if not stat.S_ISREG(kind.st_mode):
            raise TableError(f"{path}: not a regular file; save what it gives in one")
        if kind.st_size > MOST_BYTES:
            raise TableError(
                f"{path}: {kind.st_size / 2**20:.0f} MiB; at most {MOST_BYTES // 2**20} MiB are read. "
                "Give one row for each run"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: not readable: {getattr(error, 'strerror', None) or error}") from None
    return _unpacked(data)


def _unpacked(data: bytes) -> bytes:
    for magic, opened in PACKED.items():
        if data.startswith(magic):
            try:
                with opened(io.BytesIO(data)) as file:
                    data = file.read(MOST_BYTES + 1)
            except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
                raise TableError(f"a packed file that cannot be unpacked: {error}") from None
            if len(data) > MOST_BYTES:
                raise TableError(f"unpacked it is larger than {MOST_BYTES // 2**20} MiB")
    return data


def _load(path: Path, data: bytes) -> Source:
    for magic, what in REFUSED.items():
        if data.startswith(magic):
            raise TableError(f"this is {what}")
    if data.startswith(b"PK\x03\x04"):
        return _excel(data)
    if data.startswith((b"PAR1", b"ARROW1")):
        return _arrow(data)
    text, note = _text(data)
    notes = (note,) if note else ()
    if not text.strip():
        raise TableError(f"{path} is empty: not readable as a table")
    found = _of_text(text)
    return replace(found, notes=notes + found.notes)


# --- text -------------------------------------------------------------------------------------------------------


def _text(data: bytes) -> tuple[str, str | None]:
    """The text and a note on its encoding, where it is not UTF-8."""
    for mark, name in (
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            try:
                return data.decode(name), None
            except UnicodeDecodeError:
                raise TableError(f"begins as {name.upper()} text and is damaged; save it as UTF-8") from None
    head = data[:4096]
    if b"\x00" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        wide = "utf-16-le" if odd > 2 * even else "utf-16-be" if even > 2 * odd else None
        if wide is not None:
            try:
                text = data.decode(wide)
                if sum(c.isprintable() or c in "\r\n\t" for c in text) >= 0.95 * len(text):
                    return text, f"read as {wide.upper()}, without a byte order mark"
            except UnicodeDecodeError:
                pass
        raise TableError(
            "this is a binary file of no kind that is read here: give CSV, JSON, JSON Lines, .xlsx or Parquet"
        )
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252"), "not UTF-8: read as Windows-1252"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "not UTF-8: read as Latin-1"


def _of_text(text: str) -> Source:
    start = text.lstrip()[:1]
    if start in ("{", "["):
        found = _json(text)
        if found is not None:
            return found
    printed = formats.printed(text)
    if printed is not None:
        return _records(printed[0], printed[1])
    lines = text.splitlines()
    if sum(line.lstrip().startswith("|") for line in lines[:200]) >= 2 and any(_is_rule(line) for line in lines[:200]):
        return _markdown(lines)
    return _delimited(text)


def _json(text: str) -> Source | None:
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
    return _records(rows, known, "JSON Lines")


def _document(value: Any) -> Source:
    _depth(value)
    found = formats.recognise(value)
    if found is not None:
        return _records(*found)
    table = _columnar(value)
    if table is not None:
        return _records(table, None, "JSON")
    rows = list(_leaves(value, "", ()))
    if not rows and isinstance(value, dict) and any(not isinstance(x, dict | list) for x in value.values()):
        rows = [("the file", value)]
    return _records(rows, formats.recognise_rows([row for _, row in rows]), "JSON")


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


def _records(rows: Sequence[tuple[str, dict[str, Any]]], known: Known | None, kind: str = "") -> Source:
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


def _delimited(text: str) -> Source:
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
    if set(names) >= formats.LLAMA_BENCH:
        records = [(f"row {number}", dict[str, Any](zip(names, row, strict=True))) for number, row in kept]
        return _records(records, formats.recognise_rows([row for _, row in records]))
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
    csv.field_size_limit(MOST_BYTES)
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
    return _distinct(names or []), rows


def _distinct(names: list[str]) -> list[str]:
    """Column names, the empty ones named by their place. Raises for two of one name."""
    out = [name or f"unnamed {i}" for i, name in enumerate(names, 1)]
    twice = sorted({name for name in out if out.count(name) > 1})
    if twice:
        raise TableError(f"several columns are called {listed(map(repr, twice))}: give each its own name")
    return out


def _is_rule(line: str) -> bool:
    cells = line.strip().strip("|").split("|")
    return len(cells) > 1 and all(set(cell.strip()) <= set("-:") and "-" in cell for cell in cells)


def _markdown(lines: list[str]) -> Source:
    tables = [(number, line) for number, line in enumerate(lines, 1) if line.lstrip().startswith("|")]
    cut = [
        (number, [cell.strip() for cell in line.strip().strip("|").split("|")])
        for number, line in tables
        if not _is_rule(line)
    ]
    names = _distinct(cut[0][1])
    rows = []
    for number, cells in cut[1:]:
        if cells == cut[0][1]:
            continue
        if len(cells) != len(names):
            raise TableError(f"line {number} has {len(cells)} cells, the header of the table {len(names)}")
        rows.append((f"line {number}", dict(zip(names, cells, strict=True))))
    found = formats.markdown(names, [row for _, row in rows])
    if found is not None:
        return _records([(place, row) for (place, _), row in zip(rows, found[0], strict=True)], found[1])
    return _records(rows, None, "a Markdown table")


# --- Excel and Arrow --------------------------------------------------------------------------------------------


def _excel(data: bytes) -> Source:
    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            names = set(packed.namelist())
            size = sum(entry.file_size for entry in packed.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise TableError(f"a zip file that cannot be read ({error})") from None
    if "xl/workbook.xml" not in names:
        raise TableError("a zip archive, and no Excel file (.xlsx): unpack it and give the table in it")
    if size > MOST_BYTES:
        raise TableError(
            f"this Excel file is larger than {MOST_BYTES // 2**20} MiB when unpacked; export the sheet as CSV"
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
    names = _distinct(
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


def _arrow(data: bytes) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        buffer = pa.BufferReader(data)
        table = pq.read_table(buffer) if data.startswith(b"PAR1") else pa.ipc.open_file(buffer).read_all()
        names = _distinct([str(name) for name in table.column_names])
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
        return _records(rows, None, "Parquet")
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
