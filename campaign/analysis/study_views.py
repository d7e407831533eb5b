"""A study's folder as DuckDB views: every view of a campaign once for each phase, in a schema named after it,
and once over all phases.

``"2B".runs`` are the runs of phase 2B; ``runs`` those of all, with the column ``study_phase`` in front.
``study_decisions`` is the study's own.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import duckdb

from campaign.analysis import views

FACTS, JOURNAL = "study.json", "study.jsonl"
VARIABLES = ("results", "left_out", *(f"{kind}_files" for kind in views.KINDS))

ABOUT = {
    "study_decisions": "one row per decision of a study and candidate that it was made between (one without "
    "candidates is one row): raw and shrunken change in percent, simultaneous 95 % limits, p, "
    "and why it was not carried on",
    "study_phases": "one row per phase of a study that has begun, and its results folder",
}


def is_study(results: Path) -> bool:
    """Whether a folder is a study's."""
    return (results / FACTS).exists() and not (results / "campaign.json").exists()


def phases(results: Path) -> list[str]:
    """Phases of a study's folder that have begun, in order. Raises ResultsError where the folder is damaged."""
    try:
        names = [str(phase["name"]) for phase in json.loads((results / FACTS).read_text())["phases"]]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise views.ResultsError(f"{results / FACTS}: damaged ({problem}). Restore it from a backup.") from None
    return [name for name in names if "/" not in name and (results / name / "campaign.json").exists()]


def connect(results: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory database over all phases of a study, as confined as one over a campaign."""
    results = results.resolve()
    found = phases(results)
    con = duckdb.connect()
    with contextlib.suppress(duckdb.InvalidInputException):
        con.execute("SET enable_progress_bar = false")
    con.execute("SET parquet_metadata_cache = true; SET timezone = 'UTC'")
    views._confine(con, [results])
    for name in found:
        _phase(con, results / name, name)
    con.execute("USE memory.main")
    for table in views.tables() if found else ():
        parts = (f"SELECT {views.quoted(name)} AS study_phase, * FROM {_quoted(name)}.{table.name}" for name in found)
        con.execute(f"CREATE VIEW {table.name} AS {' UNION ALL BY NAME '.join(parts)}")
    con.execute(
        "CREATE TABLE study_phases AS SELECT unnest($1::STRUCT(study_phase VARCHAR, folder VARCHAR)[], max_depth := 2)",
        [[{"study_phase": name, "folder": name} for name in found]],
    )
    _decisions(con, results)
    return con


def _phase(con: duckdb.DuckDBPyConnection, folder: Path, name: str) -> None:
    """The views of one phase, in a schema of its own. Variables belong to the whole database:
    each phase has its own."""
    schema, tag = _quoted(name), "_" + "".join(char if char.isalnum() else "_" for char in name)
    con.execute(f"CREATE SCHEMA {schema}; USE memory.{schema}")
    con.execute("SET VARIABLE results = $1", [str(folder)])
    views._find_parquet(con, folder)
    for statement in views.statements():
        text = views._kept(statement) if statement.name in views.KEPT else statement.text
        con.execute(_tagged(text, tag))
        if statement.name == "schema_text_files":
            con.execute("CREATE TABLE text_files AS FROM schema_text_files")
            views._read_texts(con, folder)
            for variable in VARIABLES:
                con.execute(f"SET VARIABLE {variable}{tag} = getvariable('{variable}')")


def _tagged(text: str, tag: str) -> str:
    return (
        text.replace("_files'", f"_files{tag}'")
        .replace("('results')", f"('results{tag}')")
        .replace("getvariable('left_out')", f"getvariable('left_out{tag}')")
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


DECISIONS = (
    "study_phase VARCHAR, at_utc TIMESTAMP, decided VARCHAR, decided_by VARCHAR, reason VARCHAR, evidence_from "
    "VARCHAR, candidate VARCHAR, option VARCHAR, privilege INTEGER, raw_pct DOUBLE, low_pct DOUBLE, high_pct DOUBLE, "
    "p DOUBLE, shrunken_pct DOUBLE, chosen BOOLEAN, why_not VARCHAR"
)


def _decisions(con: duckdb.DuckDBPyConnection, results: Path) -> None:
    from campaign.record import journal

    rows: list[dict[str, Any]] = []
    for event in journal.read(results / JOURNAL)[0]:
        if event["event"] not in ("decided", "overridden"):
            continue
        choice, evidence = event["choice"], event.get("evidence", {})
        told = {
            "study_phase": event["phase"],
            "at_utc": event["t_utc_ns"] // 1000,
            "decided": json.dumps(choice),
            "decided_by": event["by"],
            "reason": event.get("reason"),
            "evidence_from": evidence.get("from"),
        }
        candidates = evidence.get("candidates") or [{}]
        for it in candidates:
            same = {
                key: it.get(key)
                for key in ("option", "privilege", "raw_pct", "low_pct", "high_pct", "p", "shrunken_pct")
            }
            chosen = it.get("option") in evidence.get("chosen", ()) if it else None
            rows.append(
                told
                | same
                | {"candidate": it.get("name"), "chosen": chosen, "why_not": "; ".join(it.get("reasons", ())) or None}
            )
    con.execute(f"CREATE TABLE study_decisions ({DECISIONS})")
    columns = [part.split()[0] for part in DECISIONS.split(", ")]
    marks = ", ".join(
        "make_timestamp($2::BIGINT)" if column == "at_utc" else f"${i}" for i, column in enumerate(columns, 1)
    )
    for row in rows:
        con.execute(f"INSERT INTO study_decisions VALUES ({marks})", [row.get(column) for column in columns])
