"""What ran and what was lost: attempts, configuration and provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from campaign.analysis.numbers import p_value
from campaign.report.methods import facts_of, parsed
from campaign.report.table_formats import Column, Table

if TYPE_CHECKING:
    import duckdb


def losses(con: duckdb.DuckDBPyConnection) -> Table:
    """Attempts of both arms of every contrast, and whether one fails or throttles more often."""
    what = ("attempted", "failed", "throttled", "repeated", "analysed")
    names = [f"{name}_{arm}" for arm in ("reference", "treatment") for name in what]
    found = con.execute(
        f"""SELECT phase, unit, model, workload, treatment, reference, planned_treatment, {", ".join(names)},
            failed_fisher_p, throttled_fisher_p
        FROM losses ORDER BY (SELECT min(run_index) FROM runs AS r
        WHERE r.model = losses.model), treatment, reference, unit"""
    ).fetchall()
    shown = [i for i in (2, 3, 0, 1) if i == 2 or len({row[i] for row in found}) > 1]
    short = {"attempted": "att.", "failed": "fail.", "throttled": "thr.", "repeated": "rep.", "analysed": "used"}
    columns = (
        *(Column(("Phase", "Unit", "Model", "Workload")[i]) for i in shown),
        Column("Treatment"),
        Column("Reference"),
        Column("Planned", "number"),
        *(
            Column(f"{name} {arm}", "number", f"{short[name]} {arm[0].upper()}")
            for arm in ("reference", "treatment")
            for name in what
        ),
        Column("p failed", "number"),
        Column("p throttled", "number", "p thr."),
    )
    cells = tuple(
        (
            *(row[i] for i in shown),
            row[4],
            row[5],
            *(str(count) for count in row[6:17]),
            p_value(row[17]),
            p_value(row[18]),
        )
        for row in found
    )
    notes = (
        "Attempts of each arm (R: reference, T: treatment): made (att.), failed, throttled, repeated, and runs used "
        "in the headline set. p: Fisher's exact test that an arm fails or throttles more often; "
        "none where nothing was lost."
    )
    return Table("losses", "Attempts made and lost.", columns, cells, notes, breaks=True)


def exclusions(con: duckdb.DuckDBPyConnection) -> Table:
    """Every attempt that does not count, with its reason."""
    found = con.execute(
        """SELECT run_id || '/' || attempt, coalesce(nullif(failed_checks, ''), failure, outcome)
        FROM rejected_attempts ORDER BY started_utc NULLS LAST, run_id, attempt"""
    ).fetchall()
    columns = (Column("Run and attempt", "key"), Column("Why it does not count", "long"))
    return Table("exclusions", "Attempts that do not count.", columns, tuple(found), breaks=True)


def configuration(con: duckdb.DuckDBPyConnection) -> Table:
    """The resolved config, one row per key."""
    config = facts_of(con, "config") or {}
    cells = tuple((key, text) for key, value in config.items() for key, text in _flat(key, value))
    return Table(
        "configuration",
        "Configuration, as resolved before the first run.",
        (Column("Key", "key"), Column("Value", "long")),
        cells,
        breaks=True,
    )


def provenance(con: duckdb.DuckDBPyConnection) -> Table:
    """Code, host, units and images."""
    facts = facts_of(con, "facts") or {}
    rows: list[tuple[str, str]] = []
    for key in ("campaign", "campaign_id", "seed", "config_hash", "plan_hash", "chosen_because", "simulated"):
        if key in facts:
            rows += _flat(key, facts[key])
    for key in ("code", "host"):
        rows += _flat(key, facts.get(key) or {})
    for unit, gpu, machine, cpus, memory, images, details in con.execute(
        "SELECT unit, gpu, machine, cpus, mem_total_gib, images, details FROM units ORDER BY unit"
    ).fetchall():
        known = {"gpu": gpu, "machine": machine, "cpus": cpus, "mem_total_gib": memory}
        for part in (known, {"images": parsed(images)}, {"details": parsed(details)}):
            rows += _flat(f"unit {unit}", part)
    digests = con.execute(
        "SELECT DISTINCT image_digest FROM attempts WHERE image_digest IS NOT NULL ORDER BY 1"
    ).fetchall()
    rows += [("image of the attempts", str(row[0])) for row in digests]
    versions = con.execute(
        "SELECT DISTINCT engine, engine_version FROM attempts WHERE engine_version IS NOT NULL ORDER BY ALL"
    ).fetchall()
    rows += [(f"engine {engine}", str(version)) for engine, version in versions]
    return Table(
        "provenance",
        "Provenance: code, host, units and images.",
        (Column("What", "key"), Column("Value", "long")),
        tuple(rows),
        breaks=True,
    )


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    """Nested values as dotted keys; named entries of a list under their name, empty values left out."""
    if value is None or value in ({}, [], ""):
        return []
    if isinstance(value, dict):
        return [pair for name, item in value.items() for pair in _flat(f"{key}.{name}" if key else name, item)]
    if isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        return [
            pair
            for item in value
            for pair in _flat(f"{key}[{item['name']}]", {name: inner for name, inner in item.items() if name != "name"})
        ]
    if isinstance(value, list):
        return [(key, ", ".join(str(item) for item in value))]
    return [(key, "yes" if value is True else "no" if value is False else str(value))]
