"""A paragraph of methods written from the config and the journal, so that the text never disagrees with what ran."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from campaign.analysis import cache as evidence
from campaign.analysis import views
from campaign.analysis.margin import DEFAULT_PCT
from campaign.analysis.numbers import present
from campaign.config.rest import Rest
from campaign.plan import rest
from campaign.report.guard import INTERVAL, guard_of
from campaign.report.table_formats import escape

if TYPE_CHECKING:
    import duckdb

    from campaign.plan.registration import Stated

_ORDERS = {
    "alternate": "The order of arms alternated from block to block",
    "alternating": "The order of arms alternated from block to block",
    "random": "The order of arms within a block was drawn at random",
    "fixed": "The arms ran in the same order in every block",
    "williams": "The order of arms within blocks followed a Williams design",
}


def methods(con: duckdb.DuckDBPyConnection, registered: Stated | None = None) -> str:
    """A paragraph on what ran, from the journal, the attempts and the resolved config;
    nothing that is not known is said."""
    config = facts_of(con, "config") or {}
    counts = _one(
        con,
        "SELECT count(*) AS planned, count(*) FILTER (accepted) AS accepted, sum(attempts) AS attempts, "
        "list_sort(list(DISTINCT model)) AS models, list_sort(list(DISTINCT environment)) AS arms, "
        "list_sort(list(DISTINCT engine)) AS engines, count(DISTINCT unit) AS units, count(DISTINCT block) "
        "AS blocks FROM runs",
    )
    if not counts.get("planned"):
        return escape("No run is planned.") + "\n"
    said = [
        *_what_ran(con, counts),
        *_how_many(con, counts, config),
        *_how_it_ran(con, counts, config),
        *_how_it_is_judged(con, config),
    ]
    if registered is not None:
        said += registered.sentences()
    facts = facts_of(con, "facts") or {}
    if facts.get("config_hash"):
        said.append(
            f"The configuration has the SHA-256 {str(facts['config_hash'])[:16]}…, the seed is {facts.get('seed')}."
        )
    return f"% Written from what ran; change the campaign, not this text.\n{escape(' '.join(said))}\n"


def _what_ran(con: duckdb.DuckDBPyConnection, counts: dict[str, Any]) -> Iterator[str]:
    """Models, engines, arms and units, and in what the arms differ."""
    gpus = _column(con, "SELECT DISTINCT gpu FROM units WHERE gpu IS NOT NULL AND gpu <> 'none' ORDER BY gpu")
    versions = _column(con, "SELECT DISTINCT engine_version FROM attempts WHERE engine_version IS NOT NULL ORDER BY 1")
    if _one(con, "SELECT coalesce(bool_or(simulated), false) AS it FROM campaign").get("it"):
        yield "The data are simulated; nothing was measured."
    imported = facts_of(con, "imported")
    if imported:
        yield f"The data are taken in from {imported['file']}; how they were measured is not recorded there."
    known = [engine for engine in counts["engines"] if engine not in (None, "unknown")]
    engines = (f" with {_listed(known)}" if known else "") + (f" ({', '.join(map(str, versions))})" if versions else "")
    yield (
        f"{'They are of' if imported else 'We ran'} {_count(len(counts['models']), 'model')} "
        f"({_listed(counts['models'])}){engines} in {_count(len(counts['arms']), 'environment')} "
        f"({_listed(counts['arms'])}), the reference being {reference_of(con)}, on "
        f"{_count(max(counts['units'], 1), 'unit')}{' with ' + _listed(gpus) if gpus else ''}."
    )
    for arm, differs, image, its_versions, options in con.execute(
        "SELECT environment, differs, image, engine_versions, engine_options FROM arm_software WHERE len(differs) > 0"
    ).fetchall():
        yield (
            f"{arm} ran another {' and '.join(differs)} than the reference ({image}"
            + (f", {', '.join(its_versions)}" if its_versions else "")
            + (f", {options}" if options else "")
            + "), which is part of what is compared."
        )


def _how_many(con: duckdb.DuckDBPyConnection, counts: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Runs, attempts and requests."""
    n = _one(con, "SELECT min(valid) AS low, max(valid) AS high FROM flow")
    answered = _one(con, "SELECT sum(requests_answered) AS requests FROM attempts WHERE accepted").get("requests")
    (rejected,) = _column(con, "SELECT count(*) FROM rejected_attempts")
    each = f"{n['low']}" if n["low"] == n["high"] else f"{n['low']} to {n['high']}"
    yield (
        f"Of {counts['planned']} planned runs {counts['accepted']} were accepted, {each} for each combination of "
        f"model and environment, in {counts['attempts']} attempts"
        + (f", of which {rejected} {'was' if rejected == 1 else 'were'} rejected and kept" if rejected else "")
        + (f"; the accepted runs answered {answered} requests" if answered else "")
        + "."
    )
    for load in config.get("workloads") or []:
        if isinstance(load, dict) and {"name", "requests", "input_tokens", "output_tokens"} <= load.keys():
            yield (
                f"A run of {load['name']} was {load['requests']} requests of {load['input_tokens']} input and "
                f"{load['output_tokens']} output tokens."
            )


def _how_it_ran(con: duckdb.DuckDBPyConnection, counts: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Blocks, order, what was waited for, what was sampled and what was accepted."""
    gate, telemetry, acceptance = (config.get(part) or {} for part in ("gate", "telemetry", "acceptance"))
    if counts["blocks"]:
        yield (
            "The runs of a model that belong to one repetition formed a block and were made back to back on one unit "
            f"({counts['blocks']} blocks)."
        )
    order = config.get("order")
    if order:
        yield _ORDERS.get(str(order), f"The order of arms was {order}") + "."
    conditions = _gate(gate)
    if conditions:
        yield f"A run began after {_listed(conditions)}."
    if (calibrated := rest_of(con)) is not None:
        yield f"The cooldown was calibrated by a pilot ({calibrated.pilot}). {rest.sentence(calibrated)}"
    if present(telemetry.get("rate_hz")):
        yield f"Telemetry was sampled at {telemetry['rate_hz']:g} Hz."
    if present(acceptance.get("coverage_min_pct")):
        yield (
            "An attempt was accepted only with every request answered within an error rate of "
            f"{acceptance.get('error_rate_max', 0):g}, telemetry coverage of at least "
            f"{acceptance['coverage_min_pct']:g} %, and no thermal throttling where the unit reports it."
        )


def _how_it_is_judged(con: duckdb.DuckDBPyConnection, config: dict[str, Any]) -> Iterator[str]:
    """Intervals, tests and the margin."""
    used = list(dict.fromkeys(row["method"] for row in evidence.rows(con) if present(row["pct_low"])))
    held = guard_of(con)
    if held.why is not None and used:
        yield from [held.why, *([looks_in_words(con)] if held.sequential else []), INTERVAL]
    elif used:
        yield (
            f"The run is the experimental unit. Arms are compared by confidence intervals ({'; '.join(used)}) that "
            "are dual to the verdicts: those rest on a paired t test over blocks, or Welch's t test, guarded against "
            "skewness, unseen runs and resembling neighbours, adjusted after Holm over the planned comparisons "
            "(secondary metrics: after Benjamini and Hochberg), and each interval has the level at which its family "
            "was decided. A randomisation test over the schedule stands beside."
        )
    margin = config.get("margin_pct")
    if isinstance(margin, int | float):
        yield f"The equivalence margin, declared before the first run, is ±{margin:g} %."
    else:
        yield (
            "No equivalence margin was declared before the first run: what is called equivalent is so within "
            f"{DEFAULT_PCT:g} %, a default."
        )


def looks_in_words(con: duckdb.DuckDBPyConnection) -> str:
    """The sequential design of the campaign, as a sentence or two; empty where it cannot be read."""
    from campaign.analysis import looks
    from campaign.analysis.statistics.sequential import exact_t

    try:
        planned = looks.planned(facts_of(con, "config"))
    except (KeyError, TypeError, ValueError):
        return ""
    if planned is None:
        return ""
    design = planned.design
    spending = {"pocock": "Pocock type", "obrien_fleming": "O'Brien-Fleming type", "hsd": "Hwang-Shih-De Cani"}
    rule = {
        "guarded": "the guarded test of the ratio of means that decides a fixed number of runs",
        "log_ratio": "the t test of log ratios",
        "ratio": "the t test of the ratio of means",
    }
    level = design.alpha / design.m
    looked = design.of(design.looks, True)
    size = exact_t.size(design.looks, looked.nominal(level))
    exact = (
        "exact levels for the t statistics"
        if design.t_levels == "exact_t"
        else f"normal levels, which spend {size:.3g} for {level:.3g}"
    )
    return (
        f"Looks were planned after {_listed(str(b) for b in design.looks)} blocks of a model, whose {design.m} "
        "comparisons of throughput, mean latency and peak memory over all models are one family of difference and "
        f"one of equivalence, each at 0.05 after {'Holm' if design.multiplicity == 'holm' else 'Bonferroni'} on "
        f"sequential p values; spending {spending[design.spending.type]} (Lan and DeMets), {exact} (Jennison and "
        f"Turnbull), by {rule[design.scale]}. A model whose comparisons were all decided got no further blocks. "
        "Intervals are repeated confidence intervals, and estimates of comparisons that stopped their "
        "model are median-unbiased (Emerson and Fleming)."
    )


def rest_of(con: duckdb.DuckDBPyConnection) -> Rest | None:
    """By what the rest of the campaign was calibrated; None where it was not, or where that cannot be read."""
    told = (facts_of(con, "config") or {}).get("rest")
    try:
        return None if told is None else Rest.model_validate_json(json.dumps(told))
    except ValueError:
        return None


def _gate(gate: dict[str, Any]) -> list[str]:
    found = []
    if gate.get("cooldown_s"):
        found.append(f"a cooldown of at least {gate['cooldown_s']:g} s")
    if present(gate.get("ceiling_c")):
        dwell = f" for {gate['dwell_s']:g} s" if gate.get("dwell_s") else ""
        found.append(f"a temperature below {gate['ceiling_c']:g} °C{dwell}")
    if present(gate.get("memory_tolerance_gib")):
        found.append(
            f"a return of available memory to within {gate['memory_tolerance_gib']:g} GiB of the campaign's reference"
        )
    if gate.get("cache") == "drop":
        found.append("the dropping of the page cache")
    return found


def _column(con: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    return [row[0] for row in con.execute(query).fetchall()]


def _one(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    return next(iter(views.records(con, query)), {})


def _listed(names: Iterable[str]) -> str:
    known = [str(name) for name in names]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}" if known else "none"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def facts_of(con: duckdb.DuckDBPyConnection, column: str) -> dict[str, Any] | None:
    rows = con.execute(f"SELECT {column} FROM campaign").fetchall()
    value = parsed(rows[0][0]) if rows else None
    return value if isinstance(value, dict) else None


def parsed(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text


def reference_of(con: duckdb.DuckDBPyConnection) -> str:
    rows = con.execute("SELECT reference FROM campaign").fetchall()
    return str(rows[0][0]) if rows else "the reference"
