"""A two-level screen in two tables: the runs, and the design (arm, then a column of 1 and -1 for each factor)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from campaign.analysis.margin import margin_of
from campaign.analysis.result import as_json
from campaign.analysis.statistics import factorial, two_level
from campaign.analysis.statistics.analyze import read_files, run_table
from campaign.analysis.statistics.factorial import Rows, Trait
from campaign.analysis.statistics.metrics import facts_of
from campaign.analysis.statistics.output import json_ready, versions, write_json
from campaign.analysis.statistics.pooled import pooled_units
from campaign.analysis.statistics.table import TableError, alike, check_runs
from campaign.reading import Asked

TRAITS = {
    "net_host": Trait(1),
    "seccomp_unconfined": Trait(2),
    "privileged": Trait(3, "diagnostic_only"),
    "ipc_private": Trait(0, "ablation"),
    "shm_large": Trait(0, "needs_ipc_private"),
}
"""Of the factors that such a table can name without a config beside it;
any other gives nothing away and may be chosen."""
NESTED = (("shm_large", "ipc_private"),)


def analyze_screen_file(
    csv: Path,
    design: Path,
    out: Path,
    asked: Asked | None = None,
    nested: Sequence[tuple[str, str]] | None = None,
    margin_pct: float | None = None,
) -> dict[str, Any]:
    """Analyse a screen's run table by the design in ``design`` (CSV) and write the JSON (``screens``); returns it.
    ``nested`` are pairs of child and parent, where the names do not tell. Raises TableError."""
    reading, _ = read_files(csv, None, asked or Asked())
    if reading is None:
        raise TableError(f"{csv}: a request table; a screen needs one row for each run")
    rows = read_design(design, nested)
    found = analyze_screen(run_table(reading), rows, reading.better, margin_pct)
    inputs = {
        kind: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for kind, path in (("runs", csv), ("design", design))
    }
    result: dict[str, Any] = {
        "screens": {design.stem: found},
        "computed_with": versions(),
        "reading": reading.report(),
        "manifest": {"input": inputs},
    }
    write_json(result, out)
    return result


def analyze_screen(
    table: pd.DataFrame, rows: Rows, better: Any = None, margin_pct: float | None = None
) -> dict[str, Any]:
    """The screen of a run table's first metric."""
    runs = alike(check_runs(table))
    metric = runs.metrics[0]
    direction = facts_of([metric], better)[metric].direction
    if direction == 0:
        raise TableError(f"{metric}: which way is better is not known; say --better {metric}=higher or =lower")
    known = {arm for arms in runs.environments.values() for arm in arms}
    if not known & {*rows.arms, *rows.second}:
        raise TableError(
            f"no run has an arm of the design ({', '.join(rows.arms[:3])}, …); arms are {', '.join(sorted(known))}"
        )
    margin = margin_of(margin_pct)
    found = factorial.screen(pooled_units(runs.cells, metric), rows, direction, margin.pct, TRAITS)
    settings = {
        "metric": metric,
        "design_name": rows.design.name,
        "nested": [list(pair) for pair in rows.design.nested],
        "fold": bool(rows.second),
        "margin_pct": margin.pct,
        "margin_declared": margin.declared,
    }
    return json_ready(as_json(found) | {"settings": settings})  # type: ignore[no-any-return]


def read_design(path: Path, nested: Sequence[tuple[str, str]] | None = None) -> Rows:
    """The design of a CSV file, recognised by its rows; with twice as many rows the
    second half is its fold-over. Raises TableError."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as problem:
        raise TableError(f"{path}: unreadable as CSV ({problem})") from None
    if table.columns[0] != "environment" or len(table.columns) < 3:
        raise TableError(f"{path}: its columns must be environment, then one for each of two factors or more")
    factors = [str(name) for name in table.columns[1:]]
    levels = table[factors].to_numpy()
    if not np.isin(levels, (1, -1)).all():
        raise TableError(f"{path}: a level that is neither 1 nor -1")
    pairs = [pair for pair in (NESTED if nested is None else nested) if nested is not None or set(pair) <= set(factors)]
    for name in two_level.NAMES:
        if not 2 <= len(factors) <= two_level.MOST[name]:
            continue
        try:
            made = two_level.design(name, factors, pairs)
        except ValueError as problem:
            raise TableError(f"{path}: {problem}") from None
        n, expected = made.rows, made.matrix[:, : len(factors)]
        arms = [str(arm) for arm in table["environment"]]
        if len(levels) == n and np.array_equal(levels, expected):
            return Rows(made, tuple(arms))
        if len(levels) == 2 * n and np.array_equal(levels, np.vstack([expected, -expected])):
            return Rows(made, tuple(arms[:n]), tuple(arms[n:]))
    raise TableError(
        f"{path}: its rows are none of {', '.join(two_level.NAMES)}, in the order of docs/study.md, nor one folded over"
    )


def nesting(texts: Sequence[str] | None) -> list[tuple[str, str]] | None:
    """``CHILD:PARENT`` as a person writes them; None where nothing is said. Raises TableError."""
    found = [tuple(text.split(":")) for text in texts or ()]
    if bad := [text for text, pair in zip(texts or (), found, strict=True) if len(pair) != 2 or not all(pair)]:
        raise TableError(f"--nested {bad[0]!r}: write CHILD:PARENT")
    return [(pair[0], pair[1]) for pair in found] or None
