"""Takes in the runs of others: a table or JSON of measured runs becomes a results folder that SQL and the report can read.

The folder holds what the file says and nothing that it does not: ``campaign.json`` (marked ``imported``, with the file's digest,
how its columns were read and what was assumed), ``imported.parquet`` (one row per attempt, with its place in the file) and the file
itself. There is no plan, journal, log, gate record or telemetry, and none is made up.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.host import ROOT

if TYPE_CHECKING:
    import pandas as pd

FACTORS = {
    "run_id": "run_id",
    "phase": "phase",
    "unit": "unit",
    "host": "unit",
    "model": "model",
    "model_name": "model",
    "model_id": "model_identity",
    "huggingface_id": "model_identity",
    "environment": "environment",
    "arm": "environment",
    "treatment": "environment",
    "workload": "workload",
    "engine": "engine",
    "repetition": "repetition",
    "iteration": "repetition",
    "rep": "repetition",
    "attempt": "attempt",
    "timestamp": "started",
    "started": "started",
    "start_time": "started",
    "started_utc_ns": "started",
    "start_temp_c": "start_temperature_c",
    "start_temp_celsius": "start_temperature_c",
    "start_temperature_c": "start_temperature_c",
    "throttled": "throttled",
    "status": "status",
    "outcome": "status",
    "exit_code": "exit_code",
    "error": "failure",
    "failure": "failure",
}
"""Column of a file (in lower case) to what it is here."""
METRICS = {
    "output_throughput": "token_throughput_tok_s",
    "token_throughput": "token_throughput_tok_s",
    "tokens_per_second": "token_throughput_tok_s",
    "request_throughput": "request_throughput_req_s",
    "throughput": "request_throughput_req_s",
    "latency": "latency_mean_ms",
    "avg_latency": "latency_mean_ms",
    "peak_memory": "peak_memory_gib",
    "kv_cache": "kv_cache_gib",
    "ttft": "ttft_mean_ms",
    "itl": "itl_mean_ms",
    "power": "power_mean_w",
    "energy": "energy_j",
}
"""Column of a file (in lower case) to the metric, in this project's unit. Names of this project need no entry."""
UNITS = {
    "_tok_s": "tok/s",
    "_req_s": "req/s",
    "_ms": "ms",
    "_gib": "GiB",
    "_gb_s": "GB/s",
    "_w": "W",
    "_j": "J",
    "_pct": "%",
    "_c": "°C",
    "_s": "s",
}
SUCCEEDED = frozenset({"ok", "completed", "success", "passed", "0", ""})
SIZE_IN_NAME = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)


class ImportRefused(Exception):
    """The file cannot be read as runs. The message is for the person."""


def import_runs(
    file: Path,
    results: Path,
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    reference: str | None = None,
    gpu: str | None = None,
    batch_size: int | None = None,
    margin_pct: float | None = None,
    source: str | None = None,
) -> Path:
    """Read a JSON, CSV or Parquet file of runs into ``results/<name>``; returns the folder.

    ``columns`` maps the file's columns to this project's names, over :data:`FACTORS` and :data:`METRICS`. ``reference`` is the base
    arm (default: the one that begins with native). ``gpu`` and ``batch_size`` tell what the file does not: they feed the
    roofline. ``source`` says whose data they are. JSON may nest runs in objects to any depth: the keys on the way are not read.
    Raises :class:`ImportRefused`; an existing folder is never written into.
    """
    from campaign.store import write_durably

    folder = results / (name or re.sub(r"[^a-z0-9-]+", "-", file.stem.lower()).strip("-"))
    if folder.exists():
        raise ImportRefused(f"{folder} exists already; give another name, or remove it to import again")
    raw = _records(file)
    frame, read, notes = _named(raw, dict(columns or {}), file)
    table = _attempts(frame, [str(name) for name in frame if name in read["metrics"]], notes)
    arms = list(dict.fromkeys(table["environment"]))
    base = reference or next((arm for arm in arms if arm.startswith("native")), arms[0])
    if base not in arms:
        raise ImportRefused(f"{file} has no arm {base!r}; choose the reference among {', '.join(arms)}")
    models = [_model(str(m), rows, batch_size, notes) for m, rows in table.groupby("model", sort=False)]
    data = file.read_bytes()
    config: dict[str, Any] = {"name": folder.name, "models": models, "environments": arms, "reference": base}
    if margin_pct is not None:
        config["margin_pct"] = margin_pct
    facts = {
        "campaign": folder.name,
        "campaign_id": f"imported-{hashlib.sha256(data).hexdigest()[:12]}",
        "config": config,
        "seed": 0,
        "simulated": False,
        "created_utc_ns": int(datetime.now(UTC).timestamp() * 1e9),
        "chosen_because": f"imported from {file.name}",
        "imported": {
            "file": file.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": len(table),
            "source": source,
            "gpu": gpu,
            "batch_size": batch_size,
            "columns": read,
            "notes": notes,
        },
    }
    folder.mkdir(parents=True)
    shutil.copyfile(file, folder / f"source{file.suffix}")
    _write(table, folder / "imported.parquet")
    write_durably(folder / "campaign.json", json.dumps(facts, indent=1).encode())
    return folder


def _records(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if file.suffix == ".json":
            found = list(_leaves(json.loads(file.read_text(encoding="utf-8")), ""))
            frame = pd.DataFrame([record | {"_row": where} for where, record in found])
        elif file.suffix in (".parquet", ".pq"):
            frame = pd.read_parquet(file)
        else:
            frame = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise ImportRefused(f"{file}: not readable as JSON, CSV or Parquet: {error}") from error
    if frame.empty:
        raise ImportRefused(f"{file} holds no runs: give a table with a row for each run, or JSON with lists of runs")
    if "_row" not in frame:
        frame["_row"] = [f"row {i + 2}" for i in range(len(frame))]
    return frame


def _leaves(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects in lists, at any depth, with their place as a path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if isinstance(inner, dict):
                yield f"{where}[{i}]", {k: v for k, v in inner.items() if not isinstance(v, dict | list)}


def _named(raw: pd.DataFrame, given: dict[str, str], file: Path) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """Columns under this project's names; how each was read; and what a reader must know."""
    import pandas as pd

    out = pd.DataFrame({"_row": raw["_row"]})
    factors: dict[str, str] = {}
    metrics: dict[str, str] = {}
    unread: list[str] = []
    for column in (str(c) for c in raw.columns if c != "_row"):
        lower = column.strip().lower()
        meant = given.get(column) or FACTORS.get(lower) or METRICS.get(lower)
        meant = meant or (lower if any(lower.endswith(ending) for ending in UNITS) and _numeric(raw[column]) else None)
        if meant is None or meant in out:
            unread.append(column)
            continue
        out[meant] = raw[column]
        (factors if meant in FACTORS.values() else metrics)[meant] = column
    for needed in ("model", "environment"):
        if needed not in out:
            raise ImportRefused(
                f"{file} has no column for {needed!r} (found: {', '.join(map(str, raw.columns))}); "
                f"say which it is, as in --column NAME={needed}"
            )
    if not metrics:
        raise ImportRefused(
            f"{file} has no column that is known as a metric (found: {', '.join(map(str, raw.columns))}); "
            "say which is which, as in --column NAME=token_throughput_tok_s"
        )
    notes = [f"read {column} as {meant}" for meant, column in metrics.items() if column != meant]
    return out, {"factors": factors, "metrics": metrics, "unread": unread}, notes


def _numeric(column: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column))


def _attempts(frame: pd.DataFrame, metrics: list[str], notes: list[str]) -> pd.DataFrame:
    """One row per attempt, in order of time, in the columns of ``schema_imported``."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "source_row": frame["_row"],
            "model": frame["model"].astype(str),
            "environment": frame["environment"].astype(str),
        }
    )
    for name, default in (("phase", "baseline"), ("unit", "unknown"), ("workload", "unknown"), ("engine", "unknown")):
        table[name] = frame[name].astype(str) if name in frame else default
    table["started_utc_ns"] = _times(frame["started"], notes) if "started" in frame else None
    if "started" not in frame:
        notes.append("no times in the file: the order of runs is unknown")
    for name in ("start_temperature_c", "throttled", "model_identity", "failure"):
        table[name] = frame.get(name)
    status = frame["status"].astype(str).str.lower() if "status" in frame else pd.Series("ok", frame.index)
    succeeded = status.isin(SUCCEEDED)
    if "exit_code" in frame:
        succeeded &= pd.to_numeric(frame["exit_code"], errors="coerce").fillna(0) == 0
    table["outcome"] = succeeded.map({True: "completed", False: "failed"})
    cell = ["unit", "phase", "model", "environment", "workload"]
    table = table.assign(**{metric: pd.to_numeric(frame[metric], errors="coerce") for metric in metrics})
    table["repetition"] = pd.to_numeric(frame["repetition"]).astype(int) if "repetition" in frame else None
    table = table.sort_values("started_utc_ns", kind="stable") if "started" in frame else table
    if "repetition" not in frame:
        table["repetition"] = table.groupby(cell).cumcount() + 1
        notes.append("no repetitions in the file: runs of a cell are numbered in order")
    table["attempt"] = table.groupby([*cell, "repetition"]).cumcount() + 1
    for key, n in table.groupby([*cell, "repetition"]).size().items():
        if n > 1:
            assert isinstance(key, tuple)
            notes.append(
                f"{key[2]} under {key[3]} has repetition {key[-1]} {n} times: taken as attempts 1 to {n} in order of time, of which the "
                "first that succeeded counts"
            )
    table["run_id"] = [f"{r.model}__{r.environment}__{r.workload}__r{r.repetition:02d}" for r in table.itertuples()]
    table["index"] = range(len(table))
    figures = [
        [
            {
                "name": metric,
                "value": None if pd.isna(row[metric]) else float(row[metric]),
                "unit_of_measure": next((unit for ending, unit in UNITS.items() if metric.endswith(ending)), ""),
                "source": "imported",
                "reason": "not in the file" if pd.isna(row[metric]) else None,
            }
            for metric in metrics
        ]
        for _, row in table.iterrows()
    ]
    table["metrics"] = pd.Series(figures, index=table.index, dtype=object)
    return table.drop(columns=metrics)


def _times(column: pd.Series, notes: list[str]) -> pd.Series:
    """UTC nanoseconds. Times without a zone are taken as UTC: only their order and distance are used."""
    import pandas as pd

    text = column.astype(str)
    compact = text.str.fullmatch(r"\d{8}[_T]\d{6}").all()
    if text.str.fullmatch(r"\d{18,19}").all():
        return text.astype("int64")
    try:
        times = pd.to_datetime(
            text.str.replace("_", "T") if compact else text, format="%Y%m%dT%H%M%S" if compact else None, utc=True
        )
    except (ValueError, TypeError) as error:
        raise ImportRefused(f"the times cannot be read ({error}); give them as ISO 8601") from error
    notes.append("times are taken as UTC: only their order and distance are used")
    return times.astype("datetime64[ns, UTC]").astype("int64")


def _model(name: str, rows: pd.DataFrame, batch_size: int | None, notes: list[str]) -> dict[str, Any]:
    """What is known of a model: from ``configs/models.yaml`` by its identity, else its size from its name."""
    identity = next((str(x) for x in rows["model_identity"].dropna().unique()), None)
    known = next((entry for entry in _library() if identity and entry.get("huggingface_id") == identity), None)
    out: dict[str, Any] = {"name": name, "huggingface_id": identity, "batch_size": batch_size}
    if known:
        notes.append(f"{name}: size of {identity} from configs/models.yaml")
        return out | {key: known.get(key) for key in ("parameters", "active_parameters", "weight_bytes", "precision")}
    size = _size(identity or "") or _size(name)
    if size:
        notes.append(f"{name}: {size / 1e9:g} billion parameters, from its name {identity or name}")
    return out | {"parameters": size, "active_parameters": None, "weight_bytes": None, "precision": None}


def _size(text: str) -> int | None:
    found = [float(times or 1) * float(billions) for times, billions in SIZE_IN_NAME.findall(text)]
    return int(max(found) * 1e9) if found else None


def _library() -> list[dict[str, Any]]:
    import yaml

    path = ROOT / "configs" / "models.yaml"
    entries = yaml.safe_load(path.read_text(encoding="utf-8")).get("models", []) if path.exists() else []
    return [entry for entry in entries if isinstance(entry, dict)]


def _write(table: pd.DataFrame, path: Path) -> None:
    """In the types of ``schema_imported``."""
    import duckdb

    from campaign.analysis import sql

    con = duckdb.connect()
    con.execute(sql.definition("schema_imported"))
    con.register("_table", table)
    columns = con.execute("DESCRIBE schema_imported").fetchall()
    casts = ", ".join(f'"{name}"::{kind} AS "{name}"' for name, kind, *_ in columns)
    con.execute(f"COPY (SELECT {casts} FROM _table) TO '{str(path).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")
