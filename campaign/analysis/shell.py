"""``campaign sql``: the views of a results folder, one query or a prompt."""

from __future__ import annotations

import json
import math
import re
import sys
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from actors import host
from campaign.analysis import views as sql
from campaign.record import untrusted

if TYPE_CHECKING:
    import duckdb

Format = Literal["table", "csv", "json", "parquet"]

HELP = """Type SQL, ending with a semicolon; it may run over several lines.
  .tables [WORD]   the views, and what a row of each is
  .schema VIEW     columns of a view and the SQL that makes it
  .mode FORMAT     table, csv or json
  .quit            leave (also Ctrl-D)
The views follow the campaign while it runs: files are looked up again before every query."""


def shell(results: Path, query: str | None = None, format: Format = "table", output: Path | None = None) -> int:
    """Run ``query`` over the campaign in ``results``, or prompt where there is none; returns the exit code.

    ``output`` is a file for the result instead of standard output. Errors in SQL are DuckDB's own message on standard
    error and code 1. Raises :class:`campaign.analysis.views.ResultsError` where there is no campaign.
    """
    import duckdb

    con = sql.connect(results)
    _warn(con)
    if query is None and sys.stdin.isatty():
        _prompt(con, results, format)
        return 0
    try:
        answer(con, query if query is not None else sys.stdin.read(), format, output)
    except duckdb.Error as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()
    except OSError as error:
        print(f"{error.filename or output}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def answer(con: duckdb.DuckDBPyConnection, query: str, format: Format, output: Path | None = None) -> None:
    """Execute ``query`` (one or several statements; the last one answers) and write its rows."""
    if format == "parquet":
        _parquet(con, query, output)
        return
    result = con.execute(query)
    if result.description is None:
        return
    if output is None:
        _write(result, format, sys.stdout)
        sys.stdout.flush()
    else:
        with output.open("w", encoding="utf-8", newline="") as file:
            _write(result, format, file)


def _write(result: duckdb.DuckDBPyConnection, format: Format, file: IO[str]) -> None:
    names = [str(column[0]) for column in result.description or ()]
    if format == "csv":
        import csv

        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        while rows := result.fetchmany(10_000):
            writer.writerows([_csv_cell(value) for value in row] for row in rows)
    elif format == "json":
        file.write("[")
        separator = "\n"
        while rows := result.fetchmany(10_000):
            for row in rows:
                record = dict(zip(names, map(_plain, row), strict=True))
                file.write(separator + json.dumps(record, ensure_ascii=False))
                separator = ",\n"
        file.write("\n]\n")
    else:
        _table(names, result.fetchall(), file)


def _parquet(con: duckdb.DuckDBPyConnection, query: str, output: Path | None) -> None:
    from pyarrow import parquet

    relation = con.sql(query)
    if relation is None:
        return
    batches = relation.to_arrow_reader(100_000)
    file = nullcontext(sys.stdout.buffer) if output is None else output.open("wb")
    with file as sink, parquet.ParquetWriter(sink, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _table(names: list[str], rows: list[tuple[Any, ...]], file: IO[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        numeric = any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows)
        table.add_column(Text(untrusted.plain(name)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    # Away from a terminal nothing is folded: a file or a pipe has no width.
    console = Console(file=file) if file.isatty() else Console(file=file, width=10_000)
    console.print(table)
    console.print(Text(f"{len(rows)} row{'' if len(rows) == 1 else 's'}", style="dim"))


def _prompt(con: duckdb.DuckDBPyConnection, results: Path, format: Format) -> None:
    import duckdb

    history = _readline([view.name for view in sql.tables()])
    print(f"{untrusted.plain(str(results))}: {len(sql.tables())} views. .tables lists them, .help helps, .quit leaves.")
    lines: list[str] = []
    try:
        while True:
            try:
                line = input("campaign> " if not lines else "     ...> ")
            except KeyboardInterrupt:
                print()
                lines = []
                continue
            except EOFError:
                print()
                return
            if not lines and line.strip().startswith("."):
                if line.strip() in (".quit", ".exit"):
                    return
                format = _dot(con, line.split(), format)
                continue
            if line.strip() or lines:
                lines.append(line)
            if not line.rstrip().endswith(";"):
                continue
            query, lines = "\n".join(lines), []
            try:
                sql.refresh(con)
                answer(con, query, format)
            except duckdb.Error as error:
                print(error, file=sys.stderr)
            except KeyboardInterrupt:
                con.interrupt()
                print("interrupted", file=sys.stderr)
    finally:
        if history:
            import readline

            readline.write_history_file(history)


def _dot(con: duckdb.DuckDBPyConnection, words: list[str], format: Format) -> Format:
    """Carry out one dot command; returns the output format from now on."""
    match words:
        case [".tables", *rest]:
            views = [view for view in sql.tables() if not rest or rest[0] in view.name]
            width = max((len(view.name) for view in views), default=0)
            for view in views:
                print(f"{view.name:{width}}  {view.about}")
        case [".schema", name]:
            known = {view.name for view in sql.tables()}
            if name in known:
                _write(con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})"), "table", sys.stdout)
                print(sql.definition(name))
            else:
                print(f"No view {name}. .tables lists them.", file=sys.stderr)
        case [".mode", ("table" | "csv" | "json") as chosen]:
            return chosen
        case [".help"]:
            print(HELP)
        case _:
            print(f"Unknown command {' '.join(words)}.\n{HELP}", file=sys.stderr)
    return format


def _readline(names: list[str]) -> Path | None:
    """History and completion of view names where this Python has readline; returns the history file."""
    try:
        import readline
    except ImportError:
        return None
    path = host.home() / "sql_history"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        readline.read_history_file(path)
    words = [*names, ".tables", ".schema", ".mode", ".help", ".quit"]

    def complete(text: str, state: int) -> str | None:
        return next(iter([word for word in words if word.startswith(text)][state:]), None)

    readline.set_completer_delims(" \t\n,();")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
    return path


def _warn(con: duckdb.DuckDBPyConnection) -> None:
    broken = con.execute("SELECT file, reason FROM broken_files ORDER BY file").fetchall()
    for file, reason in broken[:5]:
        print(f"left out: {untrusted.plain(file)}: {untrusted.plain(reason)}", file=sys.stderr)
    if len(broken) > 5:
        print(f"left out: {len(broken) - 5} more; see the view broken_files", file=sys.stderr)


def _csv_cell(value: Any) -> Any:
    text = _text(value)
    return untrusted.cell(text) if isinstance(text, str) else text


def _text(value: Any) -> Any:
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, list | dict) else value


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor infinity: a float that is not finite becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(it) for it in value]
    if isinstance(value, dict):
        return {str(key): _plain(it) for key, it in value.items()}
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 or abs(value) >= 1e15 else f"{value:.0f}"
    return untrusted.plain(re.sub(r"\s*\n\s*", " ", str(_text(value))))
