"""Opens a results folder as DuckDB views. The views are the numbered files of ``sql/``; nothing in the folder is written
or locked, so a campaign may be queried while it runs.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

SQL = Path(__file__).resolve().parents[2] / "sql"
ANALYSIS = {
    name: f"analysis/{name}.parquet"
    for name in (
        "comparisons",
        "equivalence",
        "power",
        "losses",
        "order_effects",
        "phase_decisions",
        "request_percentiles",
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


class ResultsError(Exception):
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


def connect(results: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory database with every view over ``results``. Raises :class:`ResultsError` where there is no campaign."""
    results = results.resolve()
    if not results.is_dir():
        raise ResultsError(f"{results} is not a folder. Give a results folder, such as results/<campaign>.")
    if not any((results / name).exists() for name in ("campaign.json", "plan.parquet", "journal.jsonl")):
        raise ResultsError(
            f"{results} holds no campaign (no campaign.json, plan.parquet or journal.jsonl). "
            "Give a results folder, such as results/<campaign>."
        )
    con = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "parquet_metadata_cache": "true", "timezone": "UTC"}
    )
    # A progress bar would be drawn into what a command prints. In Jupyter without ipywidgets there is none to switch off.
    with contextlib.suppress(duckdb.InvalidInputException):
        con.execute("SET enable_progress_bar = false")
    con.execute("SET VARIABLE results = $1", [str(results)])
    _find_parquet(con, results)
    for statement in statements():
        con.execute(_kept(statement) if statement.name in KEPT else statement.text)
    return con


def records(con: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query, each by the names of its columns, in DuckDB's own values."""
    result = con.execute(query)
    names = [str(column[0]) for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def refresh(con: duckdb.DuckDBPyConnection) -> None:
    """Read the folder again, so that the views follow a running campaign."""
    _find_parquet(con, Path(str(con.execute("SELECT getvariable('results')").fetchall()[0][0])))
    for statement in statements():
        if statement.name in KEPT:
            con.execute(_kept(statement))


def find_analysis(con: duckdb.DuckDBPyConnection) -> None:
    """Let the views see the tables of ``analysis/`` that were written since; everything else stays as it was read."""
    (results,) = con.execute("SELECT getvariable('results')").fetchall()[0]
    for kind, pattern in ANALYSIS.items():
        _set_files(con, kind, sorted(Path(results).glob(pattern)))


@cache
def statements() -> tuple[Statement, ...]:
    """Everything in ``sql/``, in order."""
    found = []
    for file in sorted(SQL.glob("[0-9][0-9]_*.sql")):
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
    broken: list[dict[str, str]] = []
    for kind, pattern in KINDS.items():
        good, bad = _readable(con, sorted(results.glob(pattern)))
        _set_files(con, kind, good)
        broken += [{"file": str(path.relative_to(results)), "reason": reason} for path, reason in bad]
    con.execute(
        """SET VARIABLE broken_parquet = from_json($1::JSON, '[{"file": "VARCHAR", "reason": "VARCHAR"}]')""",
        [json.dumps(broken)],
    )


def _set_files(con: duckdb.DuckDBPyConnection, kind: str, paths: list[Path]) -> None:
    con.execute(f"SET VARIABLE {kind}_files = $1::VARCHAR[]", [[str(path) for path in paths]])


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
        con.execute("SELECT count(num_rows) FROM parquet_file_metadata($1)", [[str(path) for path in paths]])
    except duckdb.Error:
        return False
    return True
