"""The audit trail of a campaign as an archive: what the methodology names for every run, as a data package.

For each attempt a folder ``runs/<run>/<attempt>/`` with its log (both streams, timestamped where the environment
stamped them), its metadata as JSON, and what the GPU and the memory of its unit did from gate to cooldown as CSV.
Beside them the tables of the campaign, the raw files that are not tables (plan, journal, commands, engine reports), a
Frictionless Data Package (``datapackage.json``) and RO-Crate 1.1 metadata (``ro-crate-metadata.json``). The same
results give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import mimetypes
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from actors import host
from actors.sensors.nvml import NvmlSensor
from campaign.analysis import views
from campaign.record import untrusted
from campaign.record.durable import StoreError

if TYPE_CHECKING:
    import duckdb

DATA_LICENCE = {
    "name": "CC-BY-4.0",
    "path": "https://creativecommons.org/licenses/by/4.0/",
    "title": "Creative Commons Attribution 4.0",
}
CODE_LICENCE = {"name": "MIT", "path": "https://opensource.org/license/mit", "title": "MIT License"}

ARCHIVES = (".zip", ".tar.gz", ".tgz")

TABLES = {
    "runs": "FROM runs ORDER BY run_index",
    "attempts": "FROM attempts ORDER BY run_id, attempt",
    "metrics": "FROM metrics ORDER BY run_id, attempt, metric",
    "verdicts": "FROM verdicts ORDER BY run_id, attempt, check_name",
    "requests": "SELECT * EXCLUDE (itl_ms) FROM requests ORDER BY run_id, attempt, request_index",
    "gates": "FROM gates ORDER BY run_id, attempt",
    "journal": (
        "SELECT seq, at_utc, event, run_id, attempt, unit, block, outcome, accepted, rejected_by, "
        "reason FROM journal ORDER BY seq"
    ),
    "descriptives": "FROM descriptives ORDER BY phase, model, workload, environment, metric",
}
"""Tables of the package: name to query. Lists inside a cell are written as JSON."""

GPU = ", ".join(NvmlSensor.fields)
MEMORY = (
    "mem_total_gib, mem_available_gib, mem_free_gib, mem_cached_gib, swap_used_gib, unified_memory_gib, "
    "attempt_memory_gib, cgroup_memory_gib, psi_memory_some_us, psi_memory_full_us, cpu_utilization_pct, "
    "attempt_cpu_s, host_temperature_c"
)
MONITORS = {"gpu_monitoring.csv": GPU, "memory_monitoring.csv": MEMORY}
"""Per attempt: file to the columns of ``telemetry`` that it holds, behind ``at_utc``, ``t_mono_ns`` and ``stage``."""

_RAW = ("campaign.json", "registration.json", "plan.parquet", "journal.jsonl", "MANIFEST.sha256")
_TYPES = {
    "BOOLEAN": "boolean",
    "TIMESTAMP": "datetime",
    "DOUBLE": "number",
    "FLOAT": "number",
    "VARCHAR": "string",
    "JSON": "object",
}
_INTEGERS = ("INT", "HUGEINT")


def export(results: Path, target: Path) -> Path:
    """Write the audit trail of ``results`` to ``target``: a folder, or an archive by its ending (.zip, .tar.gz, .tgz).

    The archive appears at once or not at all, and holds regular files of ``results`` alone: links, devices and names
    that lead elsewhere are left out, and ``left-out.txt`` says so. Refuses (``StoreError``) a target that exists or
    lies inside the results; raises :class:`campaign.analysis.views.ResultsError` where there is no campaign.
    """
    results, target = results.resolve(), target.resolve()
    if target.exists():
        raise StoreError(f"{target}: already there. Remove it, or name another target.")
    if re.fullmatch(r"\.(7z|[A-Za-z]\w{0,4})", target.suffix) and not target.name.endswith(ARCHIVES):
        raise StoreError(
            f"{target}: no kind of archive that is written. Name one that ends in {', '.join(ARCHIVES)}, "
            "or a new folder without an ending."
        )
    if target.is_relative_to(results):
        raise StoreError(f"{target}: inside the results. Name a target outside {results}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        con = views.connect(results, also=Path(scratch))
        folder = Path(scratch) / stem(target)
        folder.mkdir()
        _fill(con, results, folder)
        pack(folder, Path(scratch) / "archive", target.name, _created(con)).rename(target)
    return target


def pack(folder: Path, made: Path, name: str, when: datetime) -> Path:
    """``folder`` as the kind of archive that ``name`` ends in, at ``made``; the folder itself where it is none."""
    if name.endswith(".zip"):
        _zip(folder, made, when)
    elif name.endswith((".tar.gz", ".tgz")):
        _tar(folder, made, when)
    else:
        made = folder
    made.chmod(0o755 if made.is_dir() else 0o644)
    return made


def stem(target: Path) -> str:
    for ending in ARCHIVES:
        if target.name.endswith(ending):
            return target.name.removesuffix(ending) or "campaign"
    return target.name


def _fill(con: duckdb.DuckDBPyConnection, results: Path, folder: Path) -> None:
    described: dict[str, dict[str, Any]] = {}
    for name, query in TABLES.items():
        path = f"tables/{name}.csv"
        _csv(con, query, folder / path)
        described[path] = {"name": name, "description": _about(name), "schema": _schema(con, query)}
    left_out: list[str] = []
    for name in (*_RAW, "units/*.json", "telemetry/*/*.parquet"):
        good, bad = untrusted.find(results, name)
        for source in good:
            _copy(source, folder / "raw" / _portable(source.relative_to(results)))
        left_out += [f"{untrusted.plain(str(path.relative_to(results)))}: {why}" for path, why in bad]
    # Sorted once, so that each attempt's samples lie together and are found without reading the others.
    con.execute(
        "CREATE OR REPLACE TEMP TABLE samples AS SELECT unit, run_id, attempt, t_utc_ns, at_utc, t_mono_ns, stage, "
        f"{GPU}, {MEMORY} FROM telemetry WHERE run_id IS NOT NULL ORDER BY run_id, attempt, unit, t_utc_ns"
    )
    schemas = {
        name: _schema(con, f"SELECT at_utc, t_mono_ns, stage, {columns} FROM samples")
        for name, columns in MONITORS.items()
    }
    for run_id, attempt, unit in con.execute(
        "SELECT run_id, attempt, unit FROM attempts ORDER BY run_id, attempt"
    ).fetchall():
        described |= _attempt(con, results, folder, schemas, str(run_id), int(attempt), str(unit), left_out)
    if left_out:
        (folder / "left-out.txt").write_text("".join(f"{line}\n" for line in left_out), encoding="utf-8")
    for name in ("LICENSE", "LICENSE-DATA"):
        _copy(host.shipped(name), folder / name)
    (folder / "README.md").write_text(_readme(con), encoding="utf-8")
    package = _package(con, folder, described)
    _write_json(folder / "datapackage.json", package)
    _write_json(folder / "ro-crate-metadata.json", _crate(con, folder, described))


def _attempt(
    con: duckdb.DuckDBPyConnection,
    results: Path,
    folder: Path,
    schemas: dict[str, Any],
    run_id: str,
    attempt: int,
    unit: str,
    left_out: list[str],
) -> dict[str, dict[str, Any]]:
    """The four files of an attempt, and the rest of its folder; returns the descriptions of the tables among them."""
    safe = untrusted.file_name(run_id)  # of imported runs a name may be anything
    source, place = results / "attempts" / safe / str(attempt), folder / "runs" / _portable(Path(safe)) / str(attempt)
    place.mkdir(parents=True)
    there = source.is_dir() and not any(path.is_symlink() for path in (source, source.parent, source.parent.parent))
    for name, why in untrusted.walk(source) if there else ():
        if why is not None:
            left_out.append(f"{untrusted.plain(str(source.relative_to(results) / name))}: {why}")
        elif name not in ("stdout.log", "stderr.log"):
            _copy(source / name, place / _portable(Path(name)))
    _log(con, source, place / "run.log", run_id, attempt)
    described = {}
    for name, columns in MONITORS.items():
        query = (
            f"SELECT at_utc, t_mono_ns, stage, {columns} FROM samples "
            f"WHERE unit = {views.quoted(unit)} AND run_id = {views.quoted(run_id)} AND "
            f"attempt = {attempt} ORDER BY t_utc_ns"
        )
        _csv(con, query, place / name)
        described[str((place / name).relative_to(folder))] = {
            "name": f"{run_id}-{attempt}-{name.removesuffix('.csv')}",
            "description": (
                f"What {unit} did during attempt {attempt} of {run_id}; a field is empty where the unit cannot tell."
            ),
            "schema": schemas[name],
        }
    return described


def _log(con: duckdb.DuckDBPyConnection, source: Path, target: Path, run_id: str, attempt: int) -> None:
    """Transitions of the run from the journal with their UTC times,
    then both streams of the attempt as they were written."""
    rows = con.execute(
        "SELECT strftime(at_utc, '%Y-%m-%dT%H:%M:%S.%fZ'), event, unit, outcome, accepted, rejected_by FROM journal "
        "WHERE run_id = $1 AND coalesce(attempt, $2) = $2 ORDER BY seq",
        [run_id, attempt],
    ).fetchall()
    with target.open("wb") as log:
        for at, event, unit, outcome, accepted, rejected_by in rows:
            words = [at, "journal", event, unit, outcome]
            if event == "finished":
                words.append("accepted" if accepted else f"rejected by {', '.join(rejected_by or [])}")
            log.write((" ".join(str(word) for word in words if word) + "\n").encode())
        for stream in ("stdout", "stderr"):
            path = source / f"{stream}.log"
            log.write(f"--- {stream}\n".encode())
            if path.exists() and untrusted.why_not(path) is None:
                with path.open("rb") as stream_file:
                    shutil.copyfileobj(stream_file, log)
                log.write(b"\n")


# --- descriptions -------------------------------------------------------------------------------------------


def _package(con: duckdb.DuckDBPyConnection, folder: Path, described: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Frictionless Data Package 1: every file a resource, tables with their schema. The rest is said to be files
    (``type``), which Frictionless would else open by their endings: an engine's report is no JSON that describes data,
    and Parquet describes itself."""
    facts = _facts(con)
    resources: list[dict[str, Any]] = []
    taken: set[str] = set()
    for path in _files(folder):
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
        "created": _created(con).isoformat().replace("+00:00", "Z"),
        "licenses": [DATA_LICENCE, CODE_LICENCE],
        "keywords": ["benchmark", "large language models", "containers", "reproducibility"],
        "simulated": facts["simulated"],
        "resources": resources,
    }


def _crate(con: duckdb.DuckDBPyConnection, folder: Path, described: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """RO-Crate 1.1: the folder as a dataset, every file a part of it."""
    facts, files = _facts(con), _files(folder)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Campaign {facts['campaign']}: audit trail",
        "identifier": facts["campaign_id"],
        "description": _description(facts),
        "datePublished": _created(con).date().isoformat(),
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


def _schema(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
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


def _about(name: str) -> str:
    return next((it.about for it in views.tables() if it.name == name), name)


def _facts(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
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


def _created(con: duckdb.DuckDBPyConnection) -> datetime:
    """When the campaign began: the time of everything in the package, so that the same results give the same bytes."""
    rows = con.execute("SELECT created_utc FROM campaign").fetchall()
    at = rows[0][0] if rows and rows[0][0] else datetime(1980, 1, 1)
    known: datetime = at.replace(tzinfo=UTC, microsecond=0)
    return max(known, datetime(1980, 1, 1, tzinfo=UTC))


def _readme(con: duckdb.DuckDBPyConnection) -> str:
    facts = _facts(con)
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


# --- files --------------------------------------------------------------------------------------------------


def _csv(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """RFC 4180, UTC times in ISO 8601, nested values as JSON,
    and no cell that a spreadsheet would take for a formula."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = con.execute(f"DESCRIBE ({query})").fetchall()
    nested = [
        str(name) for name, kind, *_ in columns if str(kind).endswith("[]") or str(kind).startswith(("STRUCT", "MAP"))
    ]
    words = [str(name) for name, kind, *_ in columns if str(kind) in ("VARCHAR", "JSON")]
    replaced = ", ".join(
        [f'to_json("{name}")::VARCHAR AS "{name}"' for name in nested]
        + [f'no_formula("{name}"::VARCHAR) AS "{name}"' for name in words]
    )
    chosen = f"* REPLACE ({replaced})" if replaced else "*"
    con.execute(
        f"COPY (SELECT {chosen} FROM ({query})) TO {views.quoted(str(path))} "
        "(FORMAT csv, HEADER true, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ')"
    )


def _portable(path: Path) -> Path:
    """The path in the package: a part with characters that readers of packages take for those of a URL gets others,
    and a digest."""
    return Path(*map(_portable_part, path.parts))


def _portable_part(part: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._=+-]", "-", part)
    if plain == part:
        return part
    stem, dot, ending = plain.rpartition(".")
    digest = hashlib.sha256(part.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{stem}-{digest}.{ending}" if dot and stem else f"{plain}-{digest}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target, follow_symlinks=False)


def _files(folder: Path) -> list[str]:
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


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _members(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield path, path.relative_to(folder).as_posix()


def _zip(folder: Path, target: Path, when: datetime) -> None:
    """With both descriptions at the archive's root, where readers of crates and packages look for them."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path, name in _members(folder):
            entry = zipfile.ZipInfo(name, when.timetuple()[:6])
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as out:
                shutil.copyfileobj(source, out)


def _tar(folder: Path, target: Path, when: datetime) -> None:
    """Everything in one folder, as whoever unpacks a tar expects."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, name in _members(folder):
            entry = tarfile.TarInfo(f"{folder.name}/{name}")
            entry.size, entry.mtime, entry.mode = path.stat().st_size, int(when.timestamp()), 0o644
            with path.open("rb") as source:
                archive.addfile(entry, source)
