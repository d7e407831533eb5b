"""Opens a results folder as DuckDB views. The views are the numbered files of ``sql/``; nothing in the folder is
written or locked, so a campaign may be queried while it runs.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from actors import heat, host
from actors.files.publish import publish
from campaign.analysis import seal
from campaign.errors import CampaignError
from campaign.record import untrusted

if TYPE_CHECKING:
    import pandas as pd

ANALYSIS = {
    name: f"analysis/{name}.parquet"
    for name in (
        "comparisons",
        "equivalence",
        "tests",
        "power",
        "over_units",
        "losses",
        "order_effects",
        "phase_decisions",
        "screen_effects",
        "screen_contrasts",
        "request_percentiles",
        "comparison_looks",
    )
}
KINDS = {
    "plan": "plan.parquet",
    "requests": "attempts/*/[0-9]*/requests.parquet",
    "telemetry": "telemetry/*/*.parquet",
    "imported": "imported.parquet",
    **ANALYSIS,
}
"""Kind of Parquet file to where such files lie; each kind has a ``schema_<kind>`` in ``sql/10_sources.sql``."""

TEXTS = {
    "campaign": "campaign.json",
    "journal": "journal.jsonl",
    "units": "units/*.json",
    "metadata": "attempts/*/[0-9]*/metadata.json",
}
"""Kind of text file to where such files lie; the rows of the table ``text_files``."""

KEPT = frozenset(
    {
        "campaign",
        "plan",
        "imported",
        "journal_lines",
        "journal",
        "metadata",
        "attempts",
        "runs",
        "metrics",
        "observations",
    }
)
"""Views held as tables until the next :func:`refresh`: many small files read once instead of once for every view that
builds on them, and one instant for all of a report. Samples and requests stay in their files."""

_FOOTER = struct.Struct("<I4s")
_STATEMENT = re.compile(r"((?:-- ?[^\n]*\n)+)CREATE (VIEW|TABLE|MACRO) (\w+).*", re.DOTALL)


class ResultsError(CampaignError):
    """A folder that is not a campaign's. The message is for the person."""


@dataclass(frozen=True)
class Statement:
    """One object of ``sql/``: its name, what a row of it is, and the SQL that makes it."""

    name: str
    kind: str
    """``VIEW``, ``TABLE`` or ``MACRO``."""
    about: str
    text: str
    """With its comment."""
    file: str


def connect(results: Path, *, also: Path | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory database with every view over ``results``. Raises :class:`ResultsError` where there is no campaign.

    The folder may be a stranger's: the database reaches no other file (but for what lies below ``also``), no network
    and no extension, and that cannot be switched back on.
    """
    results = results.resolve()
    if not results.is_dir():
        raise ResultsError(f"{results} is not a folder. Give a results folder, such as results/<campaign>.")
    if not any((results / name).exists() for name in ("campaign.json", "plan.parquet", "journal.jsonl")):
        raise ResultsError(
            f"{results} holds no campaign (no campaign.json, plan.parquet or journal.jsonl). "
            "Give a results folder, such as results/<campaign>."
        )
    con = duckdb.connect()
    # A progress bar would be drawn into what a command prints. In Jupyter without ipywidgets there is none to switch
    # off.
    with contextlib.suppress(duckdb.InvalidInputException):
        con.execute("SET enable_progress_bar = false")
    con.execute("SET parquet_metadata_cache = true; SET timezone = 'UTC'")
    con.execute("SET VARIABLE results = $1", [str(results)])
    con.execute("SET VARIABLE throttling = $1::BIGINT", [heat.THROTTLING])
    _confine(con, [results, *([also] if also else [])])
    _find_parquet(con, results)
    for statement in statements():
        con.execute(_kept(statement) if statement.name in KEPT else statement.text)
        if statement.name == "schema_text_files":
            con.execute("CREATE TABLE text_files AS FROM schema_text_files")
            _read_texts(con, results)
    return con


def _confine(con: duckdb.DuckDBPyConnection, folders: list[Path]) -> None:
    """Shut the database off from everything but ``folders``, for good."""
    allowed = [text for folder in folders for text in (str(folder), _literal(folder))]
    listed = ", ".join(quoted(text) for text in dict.fromkeys(allowed))
    con.execute(
        f"SET allowed_directories = [{listed}]; SET enable_external_access = false; SET autoinstall_known_extensions "
        "= false; SET autoload_known_extensions = false; SET allow_community_extensions = false; "
        "SET lock_configuration = true"
    )


def _literal(path: Path) -> str:
    """``path`` as a pattern that matches itself alone: DuckDB takes every path for one."""
    return re.sub(r"[*?[]", lambda found: f"[{found[0]}]", str(path))


def quoted(text: str) -> str:
    """``text`` as a string in SQL."""
    return "'" + text.replace("'", "''") + "'"


def copy_parquet(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """The rows of a query as a Parquet file, put in place in one step."""
    with publish(path) as partial:
        con.execute(f"COPY ({query}) TO {quoted(str(partial))} (FORMAT parquet)")


def write_parquet(con: duckdb.DuckDBPyConnection, table: pd.DataFrame, path: Path) -> None:
    """``table`` in the columns and types of the schema that ``path`` is named after. DuckDB takes NaN as NULL."""
    columns = con.execute(f"DESCRIBE schema_{path.stem}").fetchall()
    casts = ", ".join(f'"{column}"::{kind} AS "{column}"' for column, kind, *_ in columns)
    con.register("_found", table)
    try:
        copy_parquet(con, f"SELECT {casts} FROM _found", path)
    finally:
        con.unregister("_found")


def records(con: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query, each by the names of its columns, in DuckDB's own values."""
    result = con.execute(query)
    names = [str(column[0]) for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def refresh(con: duckdb.DuckDBPyConnection) -> None:
    """Read the folder again, so that the views follow a running campaign."""
    results = Path(str(con.execute("SELECT getvariable('results')").fetchall()[0][0]))
    _find_parquet(con, results)
    con.execute("DELETE FROM text_files")
    _read_texts(con, results)
    for statement in statements():
        if statement.name in KEPT:
            con.execute(_kept(statement))


def output_folder(results: Path, *parts: str) -> Path:
    """:func:`campaign.record.untrusted.output_folder`, in words: raises :class:`ResultsError`."""
    try:
        return untrusted.output_folder(results, *parts)
    except untrusted.Unreadable as problem:
        raise ResultsError(str(problem)) from None


def find_analysis(con: duckdb.DuckDBPyConnection) -> None:
    """Let the views see the tables of ``analysis/`` that were written since; everything else stays as it was read."""
    (results,) = con.execute("SELECT getvariable('results')").fetchall()[0]
    for kind, pattern in ANALYSIS.items():
        _set_files(con, kind, untrusted.find(Path(results), pattern)[0])
    # Those of another machine, which were left out until now, are replaced.
    con.execute(
        "SET VARIABLE left_out = list_filter(getvariable('left_out'), lambda it: NOT starts_with(it.file, 'analysis/'))"
    )


@cache
def statements() -> tuple[Statement, ...]:
    """Everything in ``sql/``, in order."""
    found = []
    for file in sorted(host.shipped("sql").glob("[0-9][0-9]_*.sql")):
        for text in re.split(r";\n", file.read_text(encoding="utf-8")):
            if parts := _STATEMENT.search(text):
                comment, kind, name = parts.groups()
                comment = comment.rsplit("\n--\n", 1)[-1]
                prose = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
                found.append(Statement(name, kind, prose.removeprefix(f"{name}: "), parts[0].strip(), file.name))
    return tuple(found)


def tables() -> list[Statement]:
    """Every view for the reader, without the macros and schemas behind them."""
    return [it for it in statements() if it.kind != "MACRO" and not it.name.startswith("schema_")]


def definition(name: str) -> str:
    """The SQL of one view, with its comment, as it stands in ``sql/``. KeyError for an unknown name."""
    return {it.name: it.text for it in statements()}[name]


def _kept(statement: Statement) -> str:
    return re.sub(r"CREATE VIEW", "CREATE OR REPLACE TABLE", statement.text, count=1)


def _find_parquet(con: duckdb.DuckDBPyConnection, results: Path) -> None:
    left_out: list[tuple[Path, str]] = []
    sealed = seal.made_of(results) is not None
    for kind, pattern in KINDS.items():
        found, bad = untrusted.find(results, pattern)
        if kind in ANALYSIS and not sealed:
            bad += [
                (path, "not computed here, or changed since: `campaign report` computes it again") for path in found
            ]
            found = []
        good, damaged = _readable(con, found)
        _set_files(con, kind, good)
        left_out += bad + damaged
    con.execute(
        """SET VARIABLE left_out = from_json($1::JSON, '[{"file": "VARCHAR", "reason": "VARCHAR"}]')""",
        [json.dumps(_told(results, left_out))],
    )


def _told(results: Path, left_out: list[tuple[Path, str]]) -> list[dict[str, str]]:
    return [
        {"file": untrusted.plain(str(path.relative_to(results)), 400).replace("\n", "\\n"), "reason": reason}
        for path, reason in left_out
    ]


AT_ONCE_BYTES = 64 * 2**20
"""How much text is handed to the database in one go."""


def _read_texts(con: duckdb.DuckDBPyConnection, results: Path) -> None:
    """Fill ``text_files``, and add what is left alone to the variable ``left_out``."""
    left_out: list[tuple[Path, str]] = []
    waiting: list[dict[str, str]] = []
    size = 0
    for kind, pattern in TEXTS.items():
        found, bad = untrusted.find(results, pattern)
        left_out += bad
        for path in found:
            try:
                data = untrusted.read_bytes(path)
                content = data.decode(errors="replace" if kind == "journal" else "strict")
            except FileNotFoundError:
                continue  # it went while we looked
            except untrusted.Unreadable as problem:
                left_out.append((path, str(problem)))
                continue
            except UnicodeDecodeError:
                left_out.append((path, "not valid JSON: not UTF-8"))
                continue
            waiting.append({"kind": kind, "file": str(path.relative_to(results)), "content": content})
            size += len(content)
            if size > AT_ONCE_BYTES:
                _insert_texts(con, waiting)
                waiting, size = [], 0
    _insert_texts(con, waiting)
    con.execute(
        """SET VARIABLE left_out = list_concat(
            getvariable('left_out'), from_json($1::JSON, '[{"file": "VARCHAR", "reason": "VARCHAR"}]'))""",
        [json.dumps(_told(results, left_out))],
    )


def _insert_texts(con: duckdb.DuckDBPyConnection, rows: list[dict[str, str]]) -> None:
    if rows:
        con.execute(
            "INSERT INTO text_files "
            "SELECT unnest($1::STRUCT(kind VARCHAR, file VARCHAR, content VARCHAR)[], max_depth := 2)",
            [rows],
        )


def _set_files(con: duckdb.DuckDBPyConnection, kind: str, paths: list[Path]) -> None:
    con.execute(f"SET VARIABLE {kind}_files = $1::VARCHAR[]", [[_literal(path) for path in paths]])


def _readable(con: duckdb.DuckDBPyConnection, paths: list[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Split Parquet files into those whose footer can be read and those that would fail a whole query."""
    if not paths or _footers_parse(con, paths):
        return paths, []
    good: list[Path] = []
    bad: list[tuple[Path, str]] = []
    for path in paths:
        reason = _damage(path)
        if reason is None and not _footers_parse(con, [path]):
            reason = "not valid Parquet: its footer is damaged"
        if reason is None:
            good.append(path)
        else:
            bad.append((path, reason))
    return good, bad


def _damage(path: Path) -> str | None:
    """What is wrong with a Parquet file at first sight, without parsing it."""
    try:
        size = path.stat().st_size
        if size < 12:
            return f"not valid Parquet: {size} bytes, truncated"
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(-8, 2)
            length, tail = _FOOTER.unpack(file.read(8))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if head != b"PAR1":
        return "not a Parquet file: it does not begin with PAR1"
    if tail != b"PAR1" or length + 12 > size:
        return "not valid Parquet: its end is missing, truncated"
    return None


def _footers_parse(con: duckdb.DuckDBPyConnection, paths: list[Path]) -> bool:
    try:
        con.execute("SELECT count(num_rows) FROM parquet_file_metadata($1)", [[_literal(path) for path in paths]])
    except duckdb.Error:
        return False
    return True
