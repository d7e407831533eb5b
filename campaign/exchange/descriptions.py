"""What an export says of itself: Data Package, RO-Crate and README."""

from __future__ import annotations

import hashlib
import mimetypes
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from campaign.analysis import views

if TYPE_CHECKING:
    import duckdb


DATA_LICENCE = {
    "name": "CC-BY-4.0",
    "path": "https://creativecommons.org/licenses/by/4.0/",
    "title": "Creative Commons Attribution 4.0",
}
CODE_LICENCE = {"name": "MIT", "path": "https://opensource.org/license/mit", "title": "MIT License"}
_TYPES = {
    "BOOLEAN": "boolean",
    "TIMESTAMP": "datetime",
    "DOUBLE": "number",
    "FLOAT": "number",
    "VARCHAR": "string",
    "JSON": "object",
}
_INTEGERS = ("INT", "HUGEINT")


def data_package(con: duckdb.DuckDBPyConnection, folder: Path, described: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Frictionless Data Package 1: every file a resource, tables with their schema. The rest is said to be files
    (``type``), which Frictionless would else open by their endings: an engine's report is no JSON that describes data,
    and Parquet describes itself."""
    facts = facts_of(con)
    resources: list[dict[str, Any]] = []
    taken: set[str] = set()
    for path in files_below(folder):
        entry = described.get(path, {})
        about: dict[str, Any] = {"name": _unique(_slug(entry.get("name", path)), taken), "path": path}
        if entry:
            about |= {
                "type": "table",
                "profile": "tabular-data-resource",
                "description": entry["description"],
                "schema": entry["schema"],
            }
        else:
            about |= {"type": "file", "profile": "data-resource"}
        resources.append(about | _file_facts(folder / path) | ({"encoding": "utf-8"} if entry else {}))
    return {
        "profile": "data-package",
        "name": _slug(str(facts["campaign"] or "campaign")),
        "id": facts["campaign_id"],
        "title": f"Campaign {facts['campaign']}: audit trail",
        "description": _description(facts),
        "created": created(con).isoformat().replace("+00:00", "Z"),
        "licenses": [DATA_LICENCE, CODE_LICENCE],
        "keywords": ["benchmark", "large language models", "containers", "reproducibility"],
        "simulated": facts["simulated"],
        "resources": resources,
    }


def ro_crate(con: duckdb.DuckDBPyConnection, folder: Path, described: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """RO-Crate 1.1: the folder as a dataset, every file a part of it."""
    facts, files = facts_of(con), files_below(folder)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Campaign {facts['campaign']}: audit trail",
        "identifier": facts["campaign_id"],
        "description": _description(facts),
        "datePublished": created(con).date().isoformat(),
        "license": {"@id": DATA_LICENCE["path"]},
        "hasPart": [{"@id": quote(path)} for path in files],
    }
    parts = []
    for path in files:
        about = _file_facts(folder / path)
        part = {
            "@id": quote(path),
            "@type": "File",
            "name": path,
            "contentSize": str(about["bytes"]),
            "encodingFormat": about["mediatype"],
            "sha256": about["hash"].removeprefix("sha256:"),
        }
        if path in described:
            part["description"] = described[path]["description"]
        if path == "LICENSE":
            part["license"] = {"@id": CODE_LICENCE["path"]}
        parts.append(part)
    licences = [
        {"@id": it["path"], "@type": "CreativeWork", "name": it["title"], "identifier": it["name"]}
        for it in (DATA_LICENCE, CODE_LICENCE)
    ]
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    context = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
    return {"@context": context, "@graph": [descriptor, root, *licences, *parts]}


def schema_of(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """Table Schema of a query; the unit of a quantity is the end of its name."""
    fields = []
    for name, kind in ((str(row[0]), str(row[1])) for row in con.execute(f"DESCRIBE ({query})").fetchall()):
        known = (
            "array"
            if kind.endswith("[]")
            else "integer"
            if any(word in kind for word in _INTEGERS)
            else _TYPES.get(kind, "string")
        )
        field = {"name": name, "type": known}
        if known == "datetime":
            field["format"] = "%Y-%m-%dT%H:%M:%S.%fZ"
        fields.append(field)
    return {"fields": fields, "missingValues": [""]}


def about_file(name: str) -> str:
    return next((it.about for it in views.tables() if it.name == name), name)


def facts_of(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    names = ("campaign", "campaign_id", "reference", "simulated", "seed", "config_hash", "git_commit")
    rows = con.execute(f"SELECT {', '.join(names)} FROM campaign").fetchall()
    return dict(zip(names, rows[0] if rows else [None] * len(names), strict=True))


def _description(facts: dict[str, Any]) -> str:
    simulated = "SIMULATED DATA, nothing here was measured. " if facts["simulated"] else ""
    return (
        f"{simulated}Plan, journal, attempts, telemetry and derived tables of a benchmark campaign. Every arm is "
        f"compared with {facts['reference']}. Code version {facts['git_commit']}, config {facts['config_hash']}, "
        f"seed {facts['seed']}."
    )


def created(con: duckdb.DuckDBPyConnection) -> datetime:
    """When the campaign began: the time of everything in the package, so that the same results give the same bytes."""
    rows = con.execute("SELECT created_utc FROM campaign").fetchall()
    at = rows[0][0] if rows and rows[0][0] else datetime(1980, 1, 1)
    known: datetime = at.replace(tzinfo=UTC, microsecond=0)
    return max(known, datetime(1980, 1, 1, tzinfo=UTC))


def readme(con: duckdb.DuckDBPyConnection) -> str:
    facts = facts_of(con)
    return f"""# Audit trail of the campaign {facts["campaign"]}

{_description(facts)}

| where | what |
|---|---|
| `runs/<run>/<attempt>/run.log` | timestamped log: journal lines, then stdout and stderr |
| `runs/<run>/<attempt>/metadata.json` | outcome, verdict, gate, stages, metrics |
| `runs/<run>/<attempt>/gpu_monitoring.csv` | every GPU sample from gate to cooldown |
| `runs/<run>/<attempt>/memory_monitoring.csv` | every sample of the system's memory |
| `tables/*.csv` | the campaign's views; columns and types in `datapackage.json` |
| `raw/` | plan, journal, units, telemetry and manifest as they were recorded |

A character of a name other than a letter, a digit or one of `._=+-` is written as `-`, with a digest of the name
behind it. Rejected attempts are here as well. An empty field is a quantity that the unit cannot tell.
Data: CC BY 4.0 (`LICENSE-DATA`). Code that made them: MIT (`LICENSE`).
"""


def files_below(folder: Path) -> list[str]:
    """Every file of the package but its two descriptions, in a fixed order."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name not in ("datapackage.json", "ro-crate-metadata.json"))


def _file_facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known = {
        ".parquet": "application/vnd.apache.parquet",
        ".jsonl": "application/jsonl",
        ".log": "text/plain",
        ".md": "text/markdown",
        ".csv": "text/csv",
    }
    kind = known.get(path.suffix) or mimetypes.guess_type(path.name, strict=True)[0] or "text/plain"
    return {"mediatype": kind, "bytes": path.stat().st_size, "hash": f"sha256:{digest}"}


def _slug(path: str) -> str:
    """The letters that Frictionless allows in a resource's name."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "-._") else "-" for char in path.lower())


def _unique(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it where it is taken; takes it."""
    chosen = next(it for it in chain([name], (f"{name}-{number}" for number in count(2))) if it not in taken)
    taken.add(chosen)
    return chosen
