"""Tables in files to the analysis in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from campaign.analysis.statistics.latency.requests import analyze_requests
from campaign.analysis.statistics.output import json_ready, write_json
from campaign.analysis.statistics.runs import analyze_runs
from campaign.analysis.statistics.sequential.table import sequential, up_to_the_stop
from campaign.analysis.statistics.sets import PROTOCOL
from campaign.reading import Asked, Reading, TableError
from campaign.reading.requests import request_table
from campaign.reading.table import gather, understand


def analyze_file(
    csv: Path | None,
    out: Path,
    reference: str | None = None,
    requests: Path | None = None,
    seed: int = 0,
    asked: Asked | None = None,
    design: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Analyse a run table, a request table, or both, of any form that ``campaign.reading`` takes,
    and write the JSON; returns it.

    A table with a column ``request_index`` is a request table wherever it is given. ``asked`` says what the table does
    not; what became of every column and row stands under ``reading``. ``design`` is a group-sequential one
    (``sequential.design.design_of``, with ``metrics``): its looks are carried out on the table, and runs after a
    model's stop are left out of everything else. ``settings`` go to ``analyze_runs``.
    """
    reading, found = read_files(csv, requests, asked or Asked())
    result: dict[str, Any] = {}
    table = None
    if reading is not None:
        if reading.better:
            settings["better"] = reading.better
        table = run_table(reading)
        looked = None if design is None else sequential(table, design, reference)
        if looked is not None:
            table = up_to_the_stop(table, looked)
        result = analyze_runs(table, reference=reference, seed=seed, **settings)
        if looked is not None:
            result = _with_looks(result, looked)
        result["reading"] = reading.report()
    elif told := [name for name, value in settings.items() if value is not None]:
        raise TableError(f"{csv or requests}: a request table alone is compared without {' and '.join(told)}")
    if found is not None:
        latencies = analyze_requests(found, reference=reference, seed=seed, runs=table)
        result = latencies if not result else result | {"models": _merged(result["models"], latencies["models"])}
    files = {"runs": csv if reading is not None else None, "requests": requests or (csv if reading is None else None)}
    inputs = {
        kind: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for kind, path in files.items()
        if path is not None
    }
    result["manifest"] = result.get("manifest", {}) | {"input": inputs}
    write_json(result, out)
    return result


def read_design(path: Path) -> dict[str, Any]:
    """The settings of a group-sequential design in YAML or JSON. Raises ``ConfigError`` and ``TableError``."""
    from campaign.config.yaml_nodes import read

    def plain(value: Any) -> Any:
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    found = read(path).plain()
    if not isinstance(found, dict):
        raise TableError(f"{path}: write a mapping: looks_blocks, m_planned, margin_pct and so on")
    return {name: plain(value) for name, value in found.items()}


def read_files(csv: Path | None, requests: Path | None, asked: Asked) -> tuple[Reading | None, pd.DataFrame | None]:
    """The run table and the request table, whichever of them the files are."""
    found = None if requests is None else request_table(gather([requests], asked), str(requests), asked)
    if csv is None:
        if found is None:
            raise TableError("nothing to analyse: give a run table, a request table, or both")
        return None, found
    source, where, constants = gather([csv], asked)
    if "request_index" in source.columns:
        return None, request_table((source, where, constants), where, asked) if found is None else found
    return understand(source, where, constants, asked, everything=True), found


def run_table(reading: Reading) -> pd.DataFrame:
    """What ``analyze_runs`` takes: one row per attempt. Settings go along where they may differ between arms; those
    that are conditions are in the workload."""
    named = {
        "model",
        "environment",
        *(name for name in ("unit", "phase", "workload", "run_id") if reading.told(name)),
    }
    held = {fate.column: str(fate.name) for fate in reading.fates if fate.column in reading.held}
    rows: list[dict[str, Any]] = []
    for run in reading.runs:
        row: dict[str, Any] = {name: run.factors[name] for name in named}
        row |= {"repetition": run.repetition, "attempt": run.attempt, "status": "ok" if run.ok else "failed"}
        row |= {"sequence_index": run.sequence_index, "order_in_block": run.order_in_block, "throttled": run.throttled}
        row |= {"campaign_index": run.campaign_index}
        row |= run.states
        row |= {held[column]: text or None for column, text in run.labels.items() if column in held}
        row |= reading.settings(run)
        rows.append({"run_id": run.place} | row | run.values)
    table = pd.DataFrame(rows)
    empty = [
        name for name in ("sequence_index", "order_in_block", "throttled", "campaign_index") if table[name].isna().all()
    ]
    return table.drop(columns=empty)


def _with_looks(result: dict[str, Any], looked: dict[str, Any]) -> dict[str, Any]:
    """The analysis of the runs that were used, with what the looks decided;
    figures for a fixed number of runs are flagged."""
    of = {
        tuple(c[name] for name in ("model", "metric", "reference", "treatment")): c["sequential"]
        for c in looked["comparisons"]
    }
    for one in result["comparisons"]:
        one["flags"] = [*one["flags"], "fixed_n_after_sequential_stop"]
        mine = of.get(tuple(one[name] for name in ("model", "metric", "reference", "treatment")))
        if mine is not None and one["analysis_set"] == PROTOCOL:
            one["sequential"] = mine
    found: dict[str, Any] = json_ready(
        result
        | {
            **{name: looked[name] for name in ("events", "blocks_used", "blocks_planned")},
            "families": result["families"] | looked["families"],
            "settings": result["settings"] | {"sequential": looked["settings"]},
        }
    )
    return found


def _merged(runs: list[dict[str, Any]], requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_model = {entry["model"]: entry for entry in requests}
    known = [entry | by_model.pop(entry["model"], {}) | {"metric": entry["metric"]} for entry in runs]
    return known + list(by_model.values())
