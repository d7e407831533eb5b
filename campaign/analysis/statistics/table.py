"""The run table: checking it, and cutting it into arms. Errors name the column and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.sets import Attempts, alike_ceiling
from campaign.reading.columns import HELD, WEIGHTS
from campaign.reading.columns import IDENTITY as NAMED
from campaign.reading.errors import TableError
from campaign.reading.reference import reference_arm

__all__ = ["Cell", "RunTable", "TableError", "alike", "check_runs", "metric_columns", "reference_arm", "start_states"]

REQUIRED = ("model", "environment", "repetition")
IDENTITY = frozenset({*NAMED, "start_temp_c", "start_temperature_c"})
"""Columns that say what a row is; every other numeric column is a metric."""
FACTORS_HELD = HELD
"""Must not differ inside one comparison."""
SETTINGS_HELD = (
    "engine", "engine_version", "batch_size", "concurrency", "max_concurrency", "request_rate", "precision", "dtype",
    "quantization",
    "quantisation", "input_tokens", "output_tokens", "prompt_tokens", "max_tokens", "num_prompts", "num_requests",
    "dataset", "gpu", "num_gpus",
    "tensor_parallel", "tensor_parallel_size", "kv_cache_dtype", "max_model_len", "power_limit_w", "clock_mhz",
)  # fmt: skip
"""Set by whoever measured and no part of what an arm is: where arms share no value of one,
their difference may be its."""
WEIGHTS_IDENTITY = WEIGHTS
SUCCESS = frozenset({"ok", "completed"})
FAILURE = frozenset(
    {"failed", "timeout", "aborted", "gate_timeout", "environment_error", "interrupted", "error", "rejected"}
)


@dataclass(frozen=True)
class Cell:
    """All attempts of one model on one unit in one phase, by environment."""

    phase: str | None
    unit: str | None
    model: str
    arms: dict[str, Attempts]
    planned: int
    duplicates: dict[str, list[str]]
    """Environment to the run ids of attempts recorded twice."""
    weights_differ: bool
    changed: dict[str, dict[str, tuple[str, ...]]]
    """Held column to the values seen in each environment."""
    parameters: float | None = None
    """Size of the model, where the table tells it."""
    settings: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Column of :data:`SETTINGS_HELD` to the values seen in each environment."""

    @cached_property
    def schedule(self) -> FloatArray:
        """(order, repetition) of all attempts; shape (attempts, 2)."""
        return np.concatenate([np.column_stack([arm.order, arm.repetition]) for arm in self.arms.values()])


@dataclass(frozen=True)
class RunTable:
    """A checked run table. ``environments`` are in order of appearance, per phase."""

    cells: list[Cell]
    metrics: list[str]
    environments: dict[str | None, list[str]]


def alike(runs: RunTable) -> RunTable:
    """The start temperature held to the ceiling in both arms of a cell, or in neither."""
    return replace(runs, cells=[replace(cell, arms=alike_ceiling(cell.arms)) for cell in runs.cells])


def check_runs(table: pd.DataFrame) -> RunTable:
    """Check columns and types and cut the table into cells."""
    frame = _named(table)
    if frame.empty:
        raise TableError("the run table has no rows: record at least one attempt before analysing")
    metrics = metric_columns(frame)
    if not metrics:
        raise TableError(
            "the run table has no metric: every numeric column is one of the known descriptive columns; "
            "add a numeric column such as token_throughput_tok_s"
        )
    columns = _columns(frame)
    cells: list[Cell] = []
    environments: dict[str | None, list[str]] = {}
    keys = [columns[name] for name in ("phase", "unit", "model")]
    for key, rows in _groups(keys):
        cells.append(_cell(frame, columns, metrics, key, rows))
    for phase, environment in zip(columns["phase"], columns["environment"], strict=True):
        seen = environments.setdefault(phase, [])
        if environment not in seen:
            seen.append(environment)
    return RunTable(cells, metrics, environments)


def _named(table: pd.DataFrame) -> pd.DataFrame:
    frame = table.rename(columns=lambda name: str(name).strip())
    for alias, name in (
        ("block", "repetition"),
        ("position", "order_in_block"),
        ("start_temperature_c", "start_temp_c"),
    ):
        if name not in frame and alias in frame:
            frame = frame.rename(columns={alias: name})
    for name in REQUIRED:
        if name not in frame:
            raise TableError(
                f"column {name!r} is missing; a run table needs {', '.join(REQUIRED)} and one numeric column per "
                f"metric (found: {', '.join(map(str, frame.columns)) or 'no column'})"
            )
        if frame[name].isna().any():
            row = int(np.flatnonzero(frame[name].isna().to_numpy())[0])
            raise TableError(
                f"column {name!r} is empty in row {row + 2}: every attempt needs one; fill it or drop the row"
            )
    return frame.reset_index(drop=True)


def metric_columns(frame: pd.DataFrame) -> list[str]:
    """Numeric columns that are not descriptive. A column of numbers with a stray word in it is an error,
    not a label."""
    out = []
    for name in map(str, frame.columns):
        if name in IDENTITY or name in FACTORS_HELD or name in SETTINGS_HELD or name in WEIGHTS_IDENTITY:
            continue
        if name.startswith("start_") or name.endswith(("_utc_ns", "_mono_ns", "_utc")):
            continue
        column = frame[name]
        if pd.api.types.is_bool_dtype(column):
            continue
        if pd.api.types.is_numeric_dtype(column):
            out.append(name)
            continue
        numbers = pd.to_numeric(column, errors="coerce")
        present = column.notna()
        if present.any() and numbers[present].notna().all():
            out.append(name)
        elif present.any() and numbers[present].notna().mean() >= 0.5:
            row = int(np.flatnonzero((present & numbers.isna()).to_numpy())[0])
            raise TableError(
                f"column {name!r} holds {column.iloc[row]!r} in row {row + 2} among numbers: "
                "leave a missing value empty, or remove the text"
            )
    return out


def start_states(frame: pd.DataFrame) -> list[str]:
    """Numeric columns that tell the unit's state before a run, other than its temperature."""
    return [
        name
        for name in map(str, frame.columns)
        if name.startswith("start_") and name not in IDENTITY and pd.api.types.is_numeric_dtype(frame[name])
    ]


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Descriptive columns as arrays, with what is absent filled in as the documentation says."""
    n = len(frame)
    text: dict[str, list[Any]] = {
        name: [None if pd.isna(x) else str(x) for x in frame[name]] if name in frame else [None] * n
        for name in ("phase", "unit", "model", "environment", "workload", "run_id", "status")
    }
    if len({w for w in text["workload"] if w}) > 1:
        text["model"] = [f"{m}/{w}" for m, w in zip(text["model"], text["workload"], strict=True)]
    text["run_id"] = [name or f"row-{i + 2}" for i, name in enumerate(text["run_id"])]
    ok = np.ones(n, dtype=bool)
    for i, word in enumerate(text["status"]):
        if word is None or word in SUCCESS:
            continue
        if word not in FAILURE:
            raise TableError(f"column 'status' holds {word!r} in row {i + 2}: write ok or failed")
        ok[i] = False
    return text | {
        "ok": ok,
        "repetition": _whole(frame, "repetition"),
        "attempt": _whole(frame, "attempt") if "attempt" in frame else np.ones(n, dtype=np.int64),
        "throttled": _flag(frame, "throttled"),
        "temperature": _real(frame, "start_temp_c"),
        "order": _chronology(frame),
    }


def _whole(frame: pd.DataFrame, name: str) -> Any:
    numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(numbers) | (numbers != np.floor(numbers))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise TableError(f"column {name!r} holds {frame[name].iloc[row]!r} in row {row + 2}: write a whole number")
    return numbers.astype(np.int64)


def _real(frame: pd.DataFrame, name: str) -> Any:
    if name not in frame:
        return np.full(len(frame), np.nan)
    numbers = pd.to_numeric(frame[name], errors="coerce")
    bad = numbers.isna() & frame[name].notna()
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        raise TableError(
            f"column {name!r} holds {frame[name].iloc[row]!r} in row {row + 2}: write a number or leave it empty"
        )
    return numbers.to_numpy(dtype=float, na_value=np.nan)


def _flag(frame: pd.DataFrame, name: str) -> Any:
    if name not in frame:
        return np.zeros(len(frame), dtype=bool)
    words = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True, "": False}
    out = np.zeros(len(frame), dtype=bool)
    for i, value in enumerate(frame[name]):
        word = "" if pd.isna(value) else str(value).strip().lower()
        if word not in words:
            raise TableError(f"column {name!r} holds {value!r} in row {i + 2}: write 0 or 1")
        out[i] = words[word]
    return out


def _chronology(frame: pd.DataFrame) -> Any:
    """Position in time on the unit: recorded, or from start times, or from the order within blocks; else NaN."""
    if "sequence_index" in frame:
        return _real(frame, "sequence_index")
    if "started_utc_ns" in frame:
        started = pd.to_numeric(frame["started_utc_ns"], errors="coerce")
        return started.rank(method="first").to_numpy(dtype=float)
    if "order_in_block" in frame:
        position = _real(frame, "order_in_block")
        return _whole(frame, "repetition") * (np.nanmax(position, initial=1) + 1) + position
    return np.full(len(frame), np.nan)


def _groups(keys: list[list[Any]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Rows by key, in order of first appearance."""
    rows: dict[tuple[Any, ...], list[int]] = {}
    for i, key in enumerate(zip(*keys, strict=True)):
        rows.setdefault(key, []).append(i)
    for key, found in rows.items():
        yield key, np.array(found, dtype=np.int64)


def _cell(
    frame: pd.DataFrame, columns: dict[str, Any], metrics: list[str], key: tuple[Any, Any, str], rows: Any
) -> Cell:
    arms: dict[str, Attempts] = {}
    duplicates: dict[str, list[str]] = {}
    changed: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in FACTORS_HELD if name in frame}
    for (environment,), within in _groups([[columns["environment"][i] for i in rows]]):
        mine = rows[within]
        arms[environment] = Attempts(
            [columns["run_id"][i] for i in mine],
            columns["repetition"][mine],
            columns["attempt"][mine],
            columns["ok"][mine],
            columns["throttled"][mine],
            columns["temperature"][mine],
            columns["order"][mine],
            {m: pd.to_numeric(frame[m]).to_numpy(dtype=float, na_value=np.nan)[mine] for m in metrics},
            {name: _real(frame, name)[mine] for name in start_states(frame)},
        )
        twice = _recorded_twice(arms[environment])
        if twice:
            duplicates[environment] = twice
        for name, seen in changed.items():
            seen[environment] = tuple(sorted({str(x) for x in frame[name].iloc[mine].dropna()}))
    weights_differ = any(frame[name].iloc[rows].dropna().nunique() > 1 for name in WEIGHTS_IDENTITY if name in frame)
    planned = max(len(np.unique(arm.repetition)) for arm in arms.values())
    phase, unit, model = key
    settings = {
        name: {
            environment: tuple(sorted({str(x) for x in frame[name].iloc[rows[within]].dropna()}))
            for (environment,), within in _groups([[columns["environment"][i] for i in rows]])
        }
        for name in SETTINGS_HELD
        if name in frame
    }
    parameters = _parameters(frame, rows)
    return Cell(phase, unit, model, arms, planned, duplicates, weights_differ, changed, parameters, settings)


def _parameters(frame: pd.DataFrame, rows: Any) -> float | None:
    sizes = _real(frame, "parameters")[rows]
    sizes = sizes[np.isfinite(sizes)]
    return float(sizes[0]) if len(sizes) else None


def _recorded_twice(arm: Attempts) -> list[str]:
    keys = list(zip(arm.repetition.tolist(), arm.attempt.tolist(), strict=True))
    return [run_id for run_id, key in zip(arm.run_ids, keys, strict=True) if keys.count(key) > 1]
