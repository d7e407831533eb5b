"""Files of others as cells: what kind of file it is, by its content, and its columns as they stand.
Nothing is interpreted here.

CSV with any of ``, ; tab |``, JSON, JSON Lines, Markdown tables, Excel (.xlsx), Parquet and Arrow; each also packed
with gzip, bzip2 or xz.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from campaign.reading import source
from campaign.reading.errors import TableError
from campaign.reading.json_cells import of_json, of_records
from campaign.reading.printed import printed
from campaign.reading.source import Source
from campaign.reading.text_cells import is_rule, of_delimited, of_markdown
from campaign.reading.typed_cells import of_arrow, of_excel

MOST_COLUMNS = 5_000
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
        if kind.st_size > source.MOST_BYTES:
            raise TableError(
                f"{path}: {kind.st_size / 2**20:.0f} MiB; at most {source.MOST_BYTES // 2**20} MiB are read. "
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
                    data = file.read(source.MOST_BYTES + 1)
            except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
                raise TableError(f"a packed file that cannot be unpacked: {error}") from None
            if len(data) > source.MOST_BYTES:
                raise TableError(f"unpacked it is larger than {source.MOST_BYTES // 2**20} MiB")
    return data


def _load(path: Path, data: bytes) -> Source:
    for magic, what in REFUSED.items():
        if data.startswith(magic):
            raise TableError(f"this is {what}")
    if data.startswith(b"PK\x03\x04"):
        return of_excel(data)
    if data.startswith((b"PAR1", b"ARROW1")):
        return of_arrow(data)
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
        found = of_json(text)
        if found is not None:
            return found
    told = printed(text)
    if told is not None:
        return of_records(told[0], told[1])
    lines = text.splitlines()
    if sum(line.lstrip().startswith("|") for line in lines[:200]) >= 2 and any(is_rule(line) for line in lines[:200]):
        return of_markdown(lines)
    return of_delimited(text)
