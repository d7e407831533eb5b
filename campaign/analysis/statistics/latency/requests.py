"""A request table in, the percentiles of its latencies out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from campaign.analysis.parallel import together
from campaign.analysis.statistics.latency.arm import Runs
from campaign.analysis.statistics.latency.models import Latencies, OfModel, compare_latencies
from campaign.analysis.statistics.output import json_ready, versions
from campaign.analysis.statistics.table import IDENTITY, TableError, alike, check_runs, reference_arm


def analyze_requests(
    table: pd.DataFrame, *, reference: str | None = None, seed: int = 0, runs: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Analyse a request table, one row per request: percentiles within and across runs, and their differences.

    Columns: ``model, environment, repetition`` and one numeric column per latency, ``latency_ms`` first. With the run
    table beside it only the requests of runs in the protocol set are taken.
    """
    kept = table if runs is None else table[_of_protocol(table, runs)]
    if kept.empty:
        raise TableError(
            "no request belongs to a run that the protocol keeps: check run_id, model, environment, repetition"
        )
    return json_ready(  # type: ignore[no-any-return]
        {
            "computed_with": versions(),
            "models": analyze_latency(kept, reference, seed),
            "manifest": {
                "request_rows": len(table),
                "requests_of_excluded_runs": len(table) - len(kept),
                "campaign_seed": seed,
            },
        }
    )


def _of_protocol(requests: pd.DataFrame, runs: pd.DataFrame) -> pd.Series[bool]:
    """Which requests are of an attempt that the technical criteria keep: by run id,
    else by what both tables tell of a run."""
    kept = {
        arm.run_ids[i]
        for cell in alike(check_runs(runs)).cells
        for arm in cell.arms.values()
        for i in arm.lowest(arm.ok & ~arm.throttled & arm.cool())
    }
    named = runs.rename(columns=lambda name: str(name).strip()).reset_index(drop=True)
    ids = named["run_id"].astype(str) if "run_id" in named else pd.Series([f"row-{i + 2}" for i in range(len(named))])
    chosen = named[ids.isin(kept)]
    if "run_id" in named and "run_id" in requests:
        return requests["run_id"].astype(str).isin(kept)
    keys = [
        name for name in ("phase", "unit", "model", "environment", "repetition") if name in named and name in requests
    ]
    wanted = set(chosen[keys].astype(str).itertuples(index=False, name=None))
    told = requests[keys].astype(str).itertuples(index=False, name=None)
    return pd.Series([key in wanted for key in told], index=requests.index)


def analyze_latency(table: pd.DataFrame, reference: str | None, seed: int) -> list[OfModel]:
    """What :func:`compare_latencies` finds in a request table."""
    frame = table.rename(columns=lambda name: str(name).strip())
    for name in ("model", "environment", "repetition"):
        if name not in frame:
            raise TableError(
                f"column {name!r} is missing; a request table needs model, environment, repetition and latency_ms "
                f"(found: {', '.join(map(str, frame.columns))})"
            )
    metrics = _latency_columns(frame)
    if "ok" in frame:
        frame = frame[frame["ok"].astype(bool)]
    if "status" in frame:
        frame = frame[frame["status"].astype(str).isin(("ok", "completed"))]
    base = reference_arm([str(name) for name in frame["environment"].unique()], reference)
    latencies: Latencies = {}
    for model, rows in frame.groupby("model", sort=False):
        runs = {str(arm): _runs(part, metrics) for arm, part in rows.groupby("environment", sort=False)}
        latencies[str(model)] = {x: {arm: found[x] for arm, found in runs.items()} for x in metrics}
    (found,) = together([compare_latencies(latencies, base, seed)])
    return found  # type: ignore[no-any-return]


def _latency_columns(frame: pd.DataFrame) -> list[str]:
    found = []
    for name in map(str, frame.columns):
        timing = name.endswith("_ms") or any(word in name for word in ("latency", "ttft", "itl", "tpot"))
        if name in IDENTITY or not timing or name == "submitted_ms":
            continue
        if not pd.api.types.is_numeric_dtype(frame[name]):
            if name == "itl_ms":
                continue  # a list per request: summarised per run by whoever measured it
            raise TableError(f"column {name!r} of the request table is not numeric: leave missing values empty")
        found.append(name)
    if not found:
        raise TableError("the request table has no latency column: add latency_ms (and ttft_ms), in milliseconds")
    return sorted(found, key=lambda name: name != "latency_ms")


def _runs(rows: pd.DataFrame, metrics: list[str]) -> dict[str, Runs]:
    """Of every latency the finite values by run. Several units: the unit is part of the run's name;
    several attempts: the first counts."""
    keys = ["repetition"]
    for name in ("unit", "phase"):
        if name in rows and rows[name].nunique() > 1:
            keys.insert(0, name)
    if "attempt" in rows:
        rows = rows[rows["attempt"] == rows.groupby(keys)["attempt"].transform("min")]
    out: dict[str, Runs] = {metric: {} for metric in metrics}
    for key, part in rows.groupby(keys, sort=True):
        for metric in metrics:
            x = part[metric].to_numpy(dtype=float, na_value=np.nan)
            if np.isfinite(x).any():
                out[metric]["|".join(map(str, key))] = x[np.isfinite(x)]
    return out
