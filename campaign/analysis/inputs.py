"""What a results folder asks of the statistics: its run table, the latencies of its requests,
and how they are to be judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.heat import CEILING_C
from campaign.analysis import looks
from campaign.analysis.margin import margin_of

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from campaign.analysis.statistics.contrasts import Roles
    from campaign.analysis.statistics.latency.models import Latencies
    from campaign.config.schema import Screen

OUTSTANDING = ("planned", "dispatched", "rejected")
"""Statuses of runs that are still to be carried out."""

Cellname = tuple[str, str]
"""Model and workload."""


@dataclass(frozen=True)
class Asked:
    """What the statistics are asked: the run table, the cell behind each model's name in it, and how to judge."""

    table: pd.DataFrame
    cells: dict[str, Cellname]
    settings: dict[str, Any]
    refused: dict[str, str]
    """Model to the status that forbids statistics on it."""
    units: dict[str, str]
    """Metric to its unit of measure."""
    finished: bool
    """Whether every planned run is done, given up, left out or not needed; imported runs always are."""
    looks: looks.Planned | None
    events: list[dict[str, Any]]
    """The looks that were taken, as the journal has them."""

    screen: Screen | None = None
    roles: Roles | None = None
    """As the config declares them; None where it does not."""

    @property
    def fixed(self) -> bool:
        """Whether nobody could stop the campaign for what was seen:
        only then do tests for a fixed number of runs hold."""
        return self.finished and self.looks is None


def ask(con: duckdb.DuckDBPyConnection) -> Asked:
    """Everything but the latencies."""
    table, cells = run_table(con)
    implausible = con.execute("SELECT DISTINCT model FROM rooflines WHERE measured_tok_s > bound_tok_s").fetchall()
    units = con.execute(
        "SELECT metric, any_value(unit_of_measure) FROM metrics WHERE unit_of_measure IS NOT NULL GROUP BY metric"
    ).fetchall()
    (config,) = con.execute("SELECT any_value(config) FROM campaign").fetchall()[0]
    try:
        planned = looks.planned(json.loads(config) if config else None)
    except (
        KeyError,
        TypeError,
        ValueError,
    ):  # a stranger's folder: nothing can be judged by a design that cannot be read
        planned = None
    taken = con.execute(
        "SELECT event FROM journal_lines WHERE event->>'event' = 'look' ORDER BY line_number"
    ).fetchall()
    declared = None if config is None else json.loads(config)
    refused = {model: "error_implausible" for (model,) in implausible}
    events = [json.loads(line) for (line,) in taken] if planned else []
    return Asked(
        table,
        cells,
        settings(con),
        refused,
        dict(units),
        finished(con) and not pilot(con),
        planned,
        events,
        screen(con),
        _roles(declared),
    )


def _roles(config: dict[str, Any] | None) -> Roles | None:
    from campaign.analysis.statistics.contrasts import roles_of

    return roles_of(config)


def finished(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether no planned run is outstanding. Until then whoever looks may stop for what is seen."""
    left = con.execute(f"SELECT count(*) FROM runs WHERE status IN {OUTSTANDING}").fetchall()[0][0]
    return bool(left == 0)


def pilot(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether these runs were made to plan others (``campaign pilot``): nothing is claimed of them."""
    (told,) = con.execute("SELECT any_value(config->>'pilot_of') FROM campaign").fetchall()[0]
    return told is not None


def run_table(con: duckdb.DuckDBPyConnection) -> tuple[pd.DataFrame, dict[str, Cellname]]:
    """What ``analyze_runs`` wants, one row per attempt, and the (model, workload)
    behind each model name in its findings.

    An arm that was planned beside others but has no attempt yet gets one row without values, so that the comparison is
    missing by name. Where the gate's ceiling is not the method's 45 °C, the start temperature goes in as a covariate
    only; imported runs had no gate of ours and are judged as ``campaign analyze`` judges their table.
    """
    import pandas as pd

    table = con.execute("FROM analysis_attempts ORDER BY unit, sequence_index").df()
    if table.empty:
        return pd.DataFrame(), {}
    values = con.execute("PIVOT analysis_values ON metric USING first(value) GROUP BY run_id, attempt").df()
    # A name that begins with start_ would be read as a state before the run.
    values = values[[name for name in values.columns if not name.startswith("start_")]]
    table = table.merge(values, on=["run_id", "attempt"], how="left")
    # Whoever measured imported runs set out to measure what they hold.
    planned = "(SELECT any_value(imported) FROM campaign) IS NULL"
    for (metric,) in con.execute(f"SELECT metric FROM metric_facts WHERE family = 'primary' AND {planned}").fetchall():
        if metric not in table:
            table[metric] = float("nan")
    table = _with_settings(con, table)
    table = _with_declared_images(con, table)
    table["sequence_index"] = table["sequence_index"].where(table.pop("timed"))
    if _ceiling(con) != CEILING_C:
        table = table.rename(columns={"start_temperature_c": "start_gpu_c"})
    for name in ("start_temperature_c", "start_gpu_c", "start_mem_available_gib", "parameters", "order_in_block"):
        if name in table:
            table[name] = pd.to_numeric(table[name]).astype(float)
            if table[name].isna().all():
                table = table.drop(columns=name)
    table = pd.concat([table, _absent_arms(con, table)], ignore_index=True)
    several = table["workload"].nunique() > 1
    pairs = table[["model", "workload"]].drop_duplicates().itertuples(index=False)
    return table, {f"{m}/{w}" if several else m: (m, w) for m, w in pairs}


def _with_declared_images(con: duckdb.DuckDBPyConnection, table: pd.DataFrame) -> pd.DataFrame:
    """Where arms have images of their own, what must not change is the image behind each: ``image_digest`` then tells
    only whether an attempt's userland is the first one that its unit had under the image's name."""
    declared = dict(con.execute("SELECT environment, declared_image FROM arm_software").fetchall())
    if len(set(declared.values())) < 2:
        return table
    digests = table["image_digest"]
    keys = [table["unit"], table["environment"].map(declared)]
    first = digests.groupby(keys, dropna=False).transform("first")  # the table is in order of time
    return table.assign(image_digest=digests.where(digests != first, "as declared").where(digests.notna()))


def run_table_at(con: duckdb.DuckDBPyConnection, seq: int) -> pd.DataFrame:
    """The run table of the attempts that had finished before an event of the journal."""
    table, _ = run_table(con)
    if table.empty:
        return table
    known = set(
        con.execute("SELECT run_id, attempt FROM journal WHERE event = 'finished' AND seq < $1", [seq]).fetchall()
    )
    return table[[pair in known for pair in zip(table["run_id"], table["attempt"], strict=True)]]


def _with_settings(con: duckdb.DuckDBPyConnection, table: pd.DataFrame) -> pd.DataFrame:
    """With what imported runs were made under, so that a difference between arms that
    may be that of a setting is not claimed."""
    import pandas as pd

    told = con.execute("SELECT run_id, attempt, settings FROM imported WHERE settings::VARCHAR <> '{}'").fetchall()
    if not told:
        return table
    settings = pd.DataFrame(
        [{"run_id": run_id, "attempt": attempt} | json.loads(text) for run_id, attempt, text in told]
    )
    return table.merge(settings, on=["run_id", "attempt"], how="left")


def _absent_arms(con: duckdb.DuckDBPyConnection, table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    planned = con.execute("SELECT DISTINCT phase, model, workload, environment FROM runs ORDER BY ALL").fetchall()
    have = set(table[["phase", "model", "workload", "environment"]].itertuples(index=False, name=None))
    units: dict[tuple[Any, ...], list[Any]] = {}
    for key in table[["phase", "model", "workload", "unit"]].drop_duplicates().itertuples(index=False, name=None):
        units.setdefault(key[:3], []).append(key[3])
    missing = [
        {
            "run_id": f"{model}__{environment}__{workload}__none",
            "attempt": 1,
            "phase": phase,
            "unit": unit,
            "model": model,
            "environment": environment,
            "workload": workload,
            "repetition": 0,
            "status": "failed",
            "throttled": False,
        }
        for phase, model, workload, environment in planned
        if (phase, model, workload, environment) not in have
        for unit in units.get((phase, model, workload), [])
    ]
    return pd.DataFrame(missing)


def settings(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What the config and the plan say to the analysis: reference, margin, seed, repetitions,
    and the sizes of the families.

    A family counts every comparison that was planned, also those that cannot be tested (yet). Imported runs planned
    nothing: theirs counts the metrics that their files have, as ``campaign analyze`` counts a table's.
    """
    reference, seed, config = con.execute(
        "SELECT any_value(reference), any_value(seed), any_value(config) FROM campaign"
    ).fetchall()[0]
    margin = margin_of((json.loads(config) if config else {}).get("margin_pct"))
    contrasts, cells, repetitions = con.execute(
        """SELECT coalesce(max(n), 0), coalesce(max(cells), 0), (SELECT max(repetition) FROM runs)
        FROM (SELECT phase, count(*) AS n, count(DISTINCT (model, workload)) AS cells FROM contrasts GROUP BY phase)"""
    ).fetchall()[0]
    confirmatory, primary = con.execute(
        """SELECT count(*) FILTER (role = 'confirmatory'), count(*)
        FROM metric_facts
        WHERE family = 'primary'
            AND ((SELECT any_value(imported) FROM campaign) IS NULL OR metric IN (SELECT metric FROM metrics
            WHERE value IS NOT NULL))"""
    ).fetchall()[0]
    return {
        "reference": reference,
        "seed": int(seed or 0),
        "margin_pct": margin.pct,
        "margin_declared": margin.declared,
        "planned_repetitions": repetitions,
        "m_planned": max(confirmatory * contrasts, 1),
        "planned": {"F_doc": confirmatory * contrasts, "F_primary5": primary * contrasts, "F_three_arm": 9 * cells},
    }


def screen(con: duckdb.DuckDBPyConnection) -> Screen | None:
    """The two-level screen of the config; None for any other campaign."""
    from campaign.config.schema import Screen

    (config,) = con.execute("SELECT any_value(config) FROM campaign").fetchall()[0]
    told = (json.loads(config) if config else {}).get("screen")
    if not isinstance(told, dict):
        return None
    found = Screen.model_validate_json(json.dumps(told))
    return None if found.design == "one_at_a_time" else found


def twins(con: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    """Pairs of arms (both ways round) that the resolved config defines alike but for name and description:
    what they differ by is noise."""
    (config,) = con.execute("SELECT any_value(config) FROM campaign").fetchall()[0]
    arms = [arm for arm in (json.loads(config) if config else {}).get("environments") or [] if isinstance(arm, dict)]
    told = [
        (
            str(arm.get("name")),
            {key: value for key, value in arm.items() if key not in ("name", "description", "extends")},
        )
        for arm in arms
    ]
    return {(a, b) for a, x in told for b, y in told if a != b and x == y and x}


def _ceiling(con: duckdb.DuckDBPyConnection) -> float | None:
    found = con.execute(
        "SELECT CASE WHEN imported IS NULL THEN (config->'gate'->>'ceiling_c')::DOUBLE "
        f"ELSE {CEILING_C} END FROM campaign"
    ).fetchall()
    return None if not found else found[0][0]


def latencies(con: duckdb.DuckDBPyConnection, reference: str) -> dict[str, Latencies]:
    """Workload to the latencies of the answered requests of accepted runs, where the reference arm has any.

    There may be a million requests, so DuckDB makes one array of each run.
    """
    runs = con.execute(
        """SELECT q.workload, r.model, r.environment, concat_ws('|', r.phase, r.unit, r.repetition) AS run,
            coalesce(list(latency_ms) FILTER (isfinite(latency_ms)), []) AS latency_ms,
            coalesce(list(ttft_ms) FILTER (isfinite(ttft_ms)), []) AS ttft_ms
        FROM requests AS q
        JOIN runs AS r USING (run_id)
        WHERE q.accepted AND q.ok
        GROUP BY r.run_index, q.workload, r.model, r.environment, run
        ORDER BY q.workload, r.run_index"""
    ).df()
    found: dict[str, Latencies] = {}
    for workload, model, arm, run, *both in runs.itertuples(index=False, name=None):
        for metric, x in zip(("latency_ms", "ttft_ms"), both, strict=True):
            if len(x):
                of_model = found.setdefault(workload, {}).setdefault(model, {})
                of_model.setdefault(metric, {}).setdefault(arm, {})[run] = x
    return {
        workload: models
        for workload, models in found.items()
        if any(reference in arms for metrics in models.values() for arms in metrics.values())
    }
