"""The audit trail of a campaign as an archive: what the methodology names for every run, as a data package.

For each attempt a folder ``runs/<run>/<attempt>/`` with its log (both streams, timestamped where the environment
stamped them), its metadata as JSON, and what the GPU and the memory of its unit did from gate to cooldown as CSV.
Beside them the tables of the campaign, the raw files that are not tables (plan, journal, commands, engine reports), a
Frictionless Data Package (``datapackage.json``) and RO-Crate 1.1 metadata (``ro-crate-metadata.json``). The same
results give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import host
from actors.sensors.nvml import NvmlSensor
from campaign.analysis import views
from campaign.exchange.archive import ARCHIVES, pack, stem
from campaign.exchange.descriptions import about_file, created, data_package, readme, ro_crate, schema_of
from campaign.record import untrusted
from campaign.record.durable import StoreError

if TYPE_CHECKING:
    import duckdb


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
        pack(folder, Path(scratch) / "archive", target.name, created(con)).rename(target)
    return target


def _fill(con: duckdb.DuckDBPyConnection, results: Path, folder: Path) -> None:
    described: dict[str, dict[str, Any]] = {}
    for name, query in TABLES.items():
        path = f"tables/{name}.csv"
        _csv(con, query, folder / path)
        described[path] = {"name": name, "description": about_file(name), "schema": schema_of(con, query)}
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
        name: schema_of(con, f"SELECT at_utc, t_mono_ns, stage, {columns} FROM samples")
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
    (folder / "README.md").write_text(readme(con), encoding="utf-8")
    package = data_package(con, folder, described)
    _write_json(folder / "datapackage.json", package)
    _write_json(folder / "ro-crate-metadata.json", ro_crate(con, folder, described))


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


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
