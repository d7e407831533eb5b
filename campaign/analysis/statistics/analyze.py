"""Tables in files to the analysis in a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from campaign.analysis.statistics.output import write_json
from campaign.analysis.statistics.runs import analyze_requests, analyze_runs
from campaign.analysis.statistics.table import TableError, read_table


def analyze_file(
    csv: Path | None,
    out: Path,
    reference: str | None = None,
    requests: Path | None = None,
    seed: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """Analyse a run table (CSV or Parquet), a request table, or both, and write the JSON; returns what was written.

    A table with a column ``request_index`` is a request table wherever it is given. ``settings`` go to ``analyze_runs``.
    """
    table = None if csv is None else read_table(csv)
    request_table = None if requests is None else read_table(requests)
    if table is not None and "request_index" in table:
        request_table = table if request_table is None else request_table
        table = None
    if table is None and request_table is None:
        raise TableError("nothing to analyse: give a run table, a request table, or both")
    result: dict[str, Any] = {}
    if table is not None:
        result = analyze_runs(table, reference=reference, seed=seed, **settings)
    if request_table is not None:
        found = analyze_requests(request_table, reference=reference, seed=seed, runs=table)
        result = found if not result else result | {"models": _merged(result["models"], found["models"])}
    files = {"runs": csv if table is not None else None, "requests": requests or (csv if table is None else None)}
    inputs = {
        kind: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for kind, path in files.items()
        if path is not None
    }
    result["manifest"] = result.get("manifest", {}) | {"input": inputs}
    write_json(result, out)
    return result


def _merged(runs: list[dict[str, Any]], requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_model = {entry["model"]: entry for entry in requests}
    known = [entry | by_model.pop(entry["model"], {}) | {"metric": entry["metric"]} for entry in runs]
    return known + list(by_model.values())
