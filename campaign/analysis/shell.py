"""``campaign sql``: the views of a results folder, one query or a prompt."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from rich.cells import cell_len

from actors import host
from campaign.analysis import study_views, text_table, views
from campaign.errors import EXIT_CONFIG, CampaignError
from campaign.record import untrusted

if TYPE_CHECKING:
    import duckdb

Format = Literal["table", "csv", "json", "parquet"]

MOST_ROWS = 10_000
"""A table shows no more."""

HELP = {
    ".tables [WORD]": "the views, and what a row of each is",
    ".schema VIEW": "columns of a view and the SQL that makes it",
    ".mode FORMAT": "table, csv or json",
    ".wide, .fit": "show every column of a table whole, or those that fit the terminal",
    ".quit": "leave (also Ctrl-D)",
}


@dataclass(frozen=True)
class Mode:
    """How answers are written."""

    format: Format = "table"
    wide: bool = False


class QueryRefused(CampaignError):
    """A query that cannot be answered. The message is DuckDB's own, or says what is missing."""

    exit_code = EXIT_CONFIG


def shell(
    results: Path, query: str | None = None, format: Format = "table", output: Path | None = None, wide: bool = False
) -> None:
    """Answer ``query`` over the campaign in ``results``, or prompt where there is none.

    ``output`` is a file for the result instead of standard output. ``wide`` shows every column of a table whole. Raises
    :class:`campaign.analysis.views.ResultsError` where there is no campaign, :class:`QueryRefused`, and OSError.
    """
    import duckdb

    asks = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    if query is None and not asks:
        query = "" if sys.stdin is None or sys.stdin.closed else sys.stdin.read()
        if not query.strip():
            raise QueryRefused("no query: standard input is empty. Give one: campaign sql 'from runs'")
    con = study_views.connect(results) if study_views.is_study(results) else views.connect(results)
    _warn(con)
    if query is None:
        _prompt(con, results, Mode(format, wide))
        return
    try:
        answer(con, _only(con, query), format, output, wide)
    except duckdb.Error as error:
        raise QueryRefused(str(error)) from None


def _only(con: duckdb.DuckDBPyConnection, query: str) -> str:
    """The one statement in ``query``. Raises QueryRefused."""
    found = con.extract_statements(query)
    if not found:
        raise QueryRefused(f"no query in {query[:60]!r}. Give one: campaign sql 'from runs'")
    if len(found) > 1:
        raise QueryRefused(
            f"{len(found)} statements, and one answer is written: give them one after another, "
            "or at the prompt (`campaign sql`)."
        )
    return str(found[0].query)


def answer(
    con: duckdb.DuckDBPyConnection, query: str, format: Format, output: Path | None = None, wide: bool = False
) -> None:
    """Execute ``query`` and write its rows."""
    if format == "parquet":
        _parquet(con, query, output)
        return
    result = con.execute(query)
    if result.description is None:
        return
    if output is None:
        _write(result, format, sys.stdout, wide)
        sys.stdout.flush()
    else:
        with output.open("w", encoding="utf-8", newline="") as file:
            _write(result, format, file, wide)


def _write(result: duckdb.DuckDBPyConnection, format: Format, file: IO[str], wide: bool = False) -> None:
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
        rows = result.fetchmany(MOST_ROWS)
        _table(names, rows, file, wide, more=len(rows) == MOST_ROWS and bool(result.fetchmany(1)))


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


def _table(names: list[str], rows: list[tuple[Any, ...]], file: IO[str], wide: bool, more: bool) -> None:
    """A terminal shows the columns that fit it, in its pager where they are long or wide;
    a file or a pipe has no width."""
    columns = [
        text_table.Column(
            untrusted.plain(name),
            [_shown(row[i]) for row in rows],
            any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows),
        )
        for i, name in enumerate(names)
    ]
    terminal = file.isatty()
    width = shutil.get_terminal_size().columns
    fitted = text_table.fit(columns, None if wide or not terminal else width)
    said = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
    if more:
        said = f"the first {len(rows)} rows; --format csv or parquet writes all"
    if fitted.left_out:
        count = len(fitted.left_out)
        said += f"; {count} column{'' if count == 1 else 's'} left out: {', '.join(fitted.left_out)}"
    if fitted.left_out or fitted.cut:
        said += f"{'' if fitted.left_out else '; texts cut'} (--wide or `.wide` shows all, or SELECT what you want)"
    lines = [*fitted.lines(), *textwrap.wrap(said, width if terminal else 10_000, break_long_words=False)]
    text = "\n".join(lines) + "\n"
    if not (terminal and _paged(text, lines, width)):
        file.write(text)


def _paged(text: str, lines: list[str], width: int) -> bool:
    """Whether a pager showed ``text``: one is asked where the terminal cannot show it whole,
    and lines go beyond its edge unfolded."""
    if len(lines) < shutil.get_terminal_size().lines and max(map(cell_len, lines)) <= width:
        return False
    pager = shlex.split(os.environ.get("PAGER") or "less -FRSX")
    if not sys.stdin.isatty() or not pager or not shutil.which(pager[0]):
        return False
    sys.stdout.flush()
    with suppress(OSError):
        subprocess.run(pager, input=text, text=True, check=False, env={"LESSCHARSET": "utf-8", **os.environ})
        return True
    return False


def _prompt(con: duckdb.DuckDBPyConnection, results: Path, mode: Mode) -> None:
    history = _readline([view.name for view in views.tables()])
    print(
        f"{untrusted.plain(str(results))}: {len(views.tables())} views. .tables lists them, .help helps, .quit leaves."
    )
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
                mode = _dot(con, line.split(), mode)
                continue
            if line.strip() or lines:
                lines.append(line)
            if not line.rstrip().endswith(";"):
                continue
            query, lines = "\n".join(lines), []
            _answer_all(con, query, mode)
    finally:
        if history:
            import readline

            readline.write_history_file(history)


def _answer_all(con: duckdb.DuckDBPyConnection, query: str, mode: Mode) -> None:
    """Each statement of ``query``; what goes wrong, and Ctrl-C, end it alone."""
    import duckdb

    try:
        views.refresh(con)
        for statement in con.extract_statements(query):
            answer(con, str(statement.query), mode.format, wide=mode.wide)
    except duckdb.Error as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        con.interrupt()
        print("interrupted", file=sys.stderr)


def _dot(con: duckdb.DuckDBPyConnection, words: list[str], mode: Mode) -> Mode:
    """Carry out one dot command; returns how answers are written from now on."""
    match words:
        case [".tables", *rest]:
            _list({view.name: view.about for view in views.tables() if not rest or rest[0] in view.name})
        case [".schema", name]:
            known = {view.name for view in views.tables()}
            if name in known:
                _write(con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})"), "table", sys.stdout)
                print(views.definition(name))
            else:
                print(f"No view {name}. .tables lists them.", file=sys.stderr)
        case [".mode", ("table" | "csv" | "json") as chosen]:
            return replace(mode, format=chosen)
        case [".wide"]:
            return replace(mode, wide=True)
        case [".fit"]:
            return replace(mode, wide=False)
        case [".help"]:
            _help()
        case _:
            print(f"Unknown command {' '.join(words)}.", file=sys.stderr)
            _help()
    return mode


def _help() -> None:
    _fold("Type SQL, ending with a semicolon; it may run over several lines.")
    _list({f"  {command}": about for command, about in HELP.items()})
    _fold("The views follow the campaign while it runs: files are looked up again before every query.")


def _fold(text: str, indent: int = 0) -> None:
    """Print a text that breaks between words, its further lines indented."""
    width = max(shutil.get_terminal_size().columns, indent + 20)
    print(textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False))


def _list(about: dict[str, str]) -> None:
    """Print names and what they are, in two columns."""
    names = max(map(len, about), default=0)
    for name, text in about.items():
        _fold(f"{name:{names}}  {text}", names + 2)


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
