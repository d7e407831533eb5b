"""The evidence of a campaign: the whole statistical analysis of a results folder, kept beside it as tidy tables.

From SQL to the run table that ``statistics`` analyses, and from its findings to ``analysis/*.parquet``, whose columns are
declared in ``sql/90_analysis.sql`` and which the views of that file read back. Nothing is computed here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import sql, workers

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from campaign.analysis.statistics.latency import Latencies

HEADLINE_SET = "protocol"
MARGIN_PCT = 2.0
"""Equivalence margin where the config declares none."""
OWN_TABLES = (
    "comparisons",
    "equivalence",
    "power",
    "losses",
    "order_effects",
    "phase_decisions",
    "request_percentiles",
)
"""Tables of ``analysis/`` that the statistics fill."""
COPIED_VIEWS = ("descriptives", "outliers", "plausibility")
"""Views of SQL kept in ``analysis/`` as they stood."""
MANY = 250
"""Runs from which the work is worth the start of other processes."""
STATE = "state.json"
"""File of ``analysis/`` that says of what it is the analysis."""
CEILING_C = 45.0
"""Start temperature that the statistics hold every attempt to (the method's)."""

Cellname = tuple[str, str]
"""Model and workload."""


def connect(results: Path) -> duckdb.DuckDBPyConnection:
    """As :func:`campaign.analysis.sql.connect`, with the analysis up to date."""
    state = _state(results)
    if _known(results, state):
        return sql.connect(results)
    with _spread(results) as spread:
        con = sql.connect(results)
        _bring_up(results, con, state, spread)
    return con


def ensure(results: Path, con: duckdb.DuckDBPyConnection) -> None:
    """Bring ``<results>/analysis`` up to what the folder now holds, and let the views of ``con`` see it."""
    state = _state(results)
    if _known(results, state):
        sql.find_analysis(con)
        return
    with _spread(results) as spread:
        _bring_up(results, con, state, spread)


def _spread(results: Path) -> contextlib.AbstractContextManager[workers.Spread]:
    """Helper processes, where there is enough to do for them."""
    if sum(1 for _ in (results / "attempts").glob("*")) < MANY:
        return contextlib.nullcontext(workers.in_turn)
    return workers.helpers("campaign.analysis.statistics")


def _bring_up(results: Path, con: duckdb.DuckDBPyConnection, state: str, spread: workers.Spread) -> None:
    folder = results / "analysis"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE).unlink(missing_ok=True)
    asked = _ask(con)
    with ThreadPoolExecutor(1) as beside:
        # DuckDB works while Python reads the libraries of the statistics; nothing else uses the connection meanwhile.
        latencies = beside.submit(_latencies, con, asked.settings["reference"])
        copied = beside.submit(_copy_views, con, folder)
        found = _analyse(asked, latencies, spread)
        copied.result()
    for name, table in _tables(con, asked, *found).items():
        _write_parquet(con, table, folder / f"{name}.parquet")
    (folder / STATE).write_text(state, encoding="utf-8")
    sql.find_analysis(con)


def rows(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The headline comparisons, as records for ``report.wording``, in the order of the plan and of printing.

    Read from ``analysis/`` (see :func:`ensure`). With several units the unit stands beside the model's name.
    """
    result = con.execute(
        f"""SELECT c.* REPLACE (CASE WHEN count(DISTINCT unit) OVER () > 1 THEN model || ' @ ' || unit ELSE model END AS model),
            coalesce(NOT interleaved, false) AS separated
        FROM comparisons AS c
        LEFT JOIN metric_facts AS f ON f.metric = c.metric
        WHERE analysis_set = '{HEADLINE_SET}'
        ORDER BY place, treatment, unit, f.print_order NULLS LAST, c.metric"""
    )
    names = [str(column[0]) for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@dataclass(frozen=True)
class Asked:
    """What the statistics are asked: the run table, the cell behind each model's name in it, and how to judge."""

    table: pd.DataFrame
    cells: dict[str, Cellname]
    settings: dict[str, Any]
    refused: dict[str, str]
    """Model to the status that forbids statistics on it."""


def _ask(con: duckdb.DuckDBPyConnection) -> Asked:
    table, cells = run_table(con)
    implausible = con.execute("SELECT DISTINCT model FROM rooflines WHERE measured_tok_s > bound_tok_s").fetchall()
    return Asked(table, cells, settings(con), {model: "error_implausible" for (model,) in implausible})


Percentiled = list[tuple[str, list[dict[str, Any]]]]
"""Workload and what was found in its requests."""


def _analyse(
    asked: Asked, latencies: Future[dict[str, Latencies]], spread: workers.Spread
) -> tuple[dict[str, Any] | None, Percentiled]:
    """What the statistics find in the runs (None where there is none) and in the requests."""
    from campaign.analysis.statistics import compare_runs
    from campaign.analysis.statistics.latency import compare_latencies

    if asked.table.empty:
        return None, []
    chosen, arms = asked.settings, set(asked.table["environment"])
    runs = compare_runs(
        asked.table,
        reference=chosen["reference"] if chosen["reference"] in arms else None,
        seed=chosen["seed"],
        margin_pct=chosen["margin_pct"],
        m_planned=chosen["m_planned"],
        planned=chosen["planned"],
        planned_repetitions=chosen["planned_repetitions"],
        refused=asked.refused,
    )
    requests = latencies.result()
    works = [
        compare_latencies(found, chosen["reference"], chosen["seed"], two_level=False) for found in requests.values()
    ]
    result, *percentiled = workers.together([runs, *works], spread)
    # A campaign of one arm has nothing to compare; the statistics name the missing arm "treatment".
    result["comparisons"] = [
        found for found in result["comparisons"] if {found["treatment"], found["reference"]} <= arms
    ]
    return result, list(zip(requests, percentiled, strict=True))


def _tables(
    con: duckdb.DuckDBPyConnection, asked: Asked, result: dict[str, Any] | None, percentiled: Percentiled
) -> dict[str, pd.DataFrame]:
    """All tables of :data:`OWN_TABLES`, in the columns of their schemas; empty ones where there is nothing to analyse."""
    import pandas as pd

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in OWN_TABLES}
    if result is not None:
        found |= {
            "comparisons": list(_comparisons(con, result, asked.cells)),
            "equivalence": list(_equivalence(result, asked.cells)),
            "power": list(_power(result, asked.cells)),
            "losses": list(_losses(result, asked.cells)),
            "order_effects": list(_order_effects(result, asked.cells)),
            "phase_decisions": list(_phase_decisions(result)),
            "request_percentiles": list(_request_percentiles(percentiled, asked.settings["reference"])),
        }
    return {
        name: pd.DataFrame(records, columns=_columns(con, name)).replace([math.inf, -math.inf], math.nan)
        for name, records in found.items()
    }


def run_table(con: duckdb.DuckDBPyConnection) -> tuple[pd.DataFrame, dict[str, Cellname]]:
    """What ``analyze_runs`` wants, one row per attempt, and the (model, workload) behind each model name in its findings.

    An arm that was planned beside others but has no attempt yet gets one row without values, so that the comparison is missing by
    name. Where the gate's ceiling is not the method's 45 °C, the start temperature goes in as a covariate only.
    """
    import pandas as pd

    table = con.execute("FROM analysis_attempts ORDER BY unit, sequence_index").df()
    if table.empty:
        return pd.DataFrame(), {}
    values = con.execute("PIVOT analysis_values ON metric USING first(value) GROUP BY run_id, attempt").df()
    # A name that begins with start_ would be read as a state before the run.
    values = values[[name for name in values.columns if not name.startswith("start_")]]
    table = table.merge(values, on=["run_id", "attempt"], how="left")
    for (metric,) in con.execute("SELECT metric FROM metric_facts WHERE family = 'primary'").fetchall():
        if metric not in table:
            table[metric] = float("nan")
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
    """What the config and the plan say to the analysis: reference, margin, seed, repetitions, and the sizes of the families.

    A family counts every comparison that was planned, also those that cannot be tested (yet).
    """
    reference, seed, config = con.execute(
        "SELECT any_value(reference), any_value(seed), any_value(config) FROM campaign"
    ).fetchall()[0]
    declared = (json.loads(config) if config else {}).get("margin_pct")
    contrasts, cells, repetitions = con.execute(
        """SELECT coalesce(max(n), 0), coalesce(max(cells), 0), (SELECT max(repetition) FROM runs)
        FROM (SELECT phase, count(*) AS n, count(DISTINCT (model, workload)) AS cells FROM contrasts GROUP BY phase)"""
    ).fetchall()[0]
    return {
        "reference": reference,
        "seed": int(seed or 0),
        "margin_pct": float(declared or MARGIN_PCT),
        "margin_declared": declared is not None,
        "planned_repetitions": repetitions,
        "m_planned": max(3 * contrasts, 1),
        "planned": {"F_doc": 3 * contrasts, "F_primary5": 5 * contrasts, "F_three_arm": 9 * cells},
    }


# --- findings as rows ------------------------------------------------------------------------------------------


def _get(block: Any, *path: str) -> Any:
    for key in path:
        block = block.get(key) if isinstance(block, Mapping) else None
    return block


def _key(found: Mapping[str, Any], cells: Mapping[str, Cellname]) -> dict[str, Any]:
    model, workload = cells[found["model"]]
    same = {name: found[name] for name in ("phase", "unit", "reference", "treatment", "metric")}
    return same | {"model": model, "workload": workload}


def _needs(found: Mapping[str, Any], margin: float) -> dict[str, Any]:
    from campaign.analysis.statistics.verdict import runs_to_settle

    if found["verdict"] != "inconclusive":
        return {"needs_n": None, "needs_what": None}
    what = "blocks" if found.get("headline_test") == "paired_t" else "runs per arm"
    return {"needs_n": runs_to_settle(dict(found), margin), "needs_what": what}


def _comparisons(
    con: duckdb.DuckDBPyConnection, result: Mapping[str, Any], cells: Mapping[str, Cellname]
) -> Iterator[dict[str, Any]]:
    facts = {
        metric: {"label": label, "better": better, "group": family}
        for metric, label, better, family in con.execute(
            "SELECT metric, label, better, family FROM metric_facts"
        ).fetchall()
    }
    units = dict(con.execute("SELECT metric, any_value(unit_of_measure) FROM metrics GROUP BY metric").fetchall())
    places = {
        (phase, model, workload): place
        for phase, model, workload, place in con.execute(
            "SELECT phase, model, workload, min(run_index) FROM runs GROUP BY ALL"
        ).fetchall()
    }
    for found in result["comparisons"]:
        key = _key(found, cells)
        yield (
            key
            | facts.get(found["metric"], {})
            | {
                "unit_of_measure": units.get(found["metric"]),
                "place": places.get((key["phase"], key["model"], key["workload"])),
            }
            | _one(found)
            | (_described(con, found, key) if str(found["status"]).startswith("error") else {})
            | {f"verdict_{name}": verdict for name, verdict in (found.get("verdict_by_set") or {}).items()}
            | _needs(found, result["settings"]["margin_pct"][found["metric"]])
        )


def _one(found: Mapping[str, Any]) -> dict[str, Any]:
    from campaign.analysis.statistics.verdict import interval_pct

    paired, detail = found["paired"] or {}, found.get("verdict_detail") or {}
    limits = interval_pct(dict(found)) if found["status"] == "ok" else None
    by_blocks = found.get("headline_test") == "paired_t"
    ratio, bootstrap = found.get("ratio"), found.get("bootstrap") or {}
    out: dict[str, Any] = {
        name: found.get(name)
        for name in (
            "kind",
            "analysis_set",
            "status",
            "flags",
            "interleaved",
            "diff",
            "pct_change",
            "overhead_pct",
            "verdict",
            "claim",
        )
    }
    for arm in ("reference", "treatment"):
        desc = _get(found, "desc", arm) or {"n": 0}
        out |= {f"{name}_{arm}": desc.get(name) for name in ("n", "mean", "sd", "median", "hmean")}
        out[f"shapiro_p_{arm}"] = _get(found, "normality", arm, "p")
    for test in ("student", "welch"):
        out |= {f"{test}_{name}": _get(found, test, name) for name in ("t", "df", "p")}
    return out | {
        "brown_forsythe_p": _get(found, "variance", "brown_forsythe", "p"),
        "welch_low": _get(found, "welch", "ci_low"),
        "welch_high": _get(found, "welch", "ci_high"),
        "mwu_u": _get(found, "mwu", "U"),
        "mwu_p": _get(found, "mwu", "p"),
        "a12": _get(found, "mwu", "a12"),
        "cliffs_delta": _get(found, "mwu", "cliffs_delta"),
        "hl_shift": _get(found, "hodges_lehmann", "shift"),
        "hl_low": _get(found, "hodges_lehmann", "ci_low"),
        "hl_high": _get(found, "hodges_lehmann", "ci_high"),
        "document_test": _get(found, "decision", "document_test"),
        "document_p": _get(found, "decision", "document_p"),
        "cohens_d": _get(found, "effect", "cohens_d"),
        "d_low": _get(found, "effect", "d_ci_low"),
        "d_high": _get(found, "effect", "d_ci_high"),
        "hedges_g": _get(found, "effect", "hedges_g"),
        "g_low": _get(found, "effect", "g_ci_low"),
        "g_high": _get(found, "effect", "g_ci_high"),
        "d_label": _get(found, "decision", "d_label_cohen"),
        "fieller_low": _percent(_get(ratio, "fieller_low")),
        "fieller_high": _percent(_get(ratio, "fieller_high")),
        "bca_diff_low": _get(bootstrap, "mean_diff_bca", "low"),
        "bca_diff_high": _get(bootstrap, "mean_diff_bca", "high"),
        "bca_overhead_low": _get(bootstrap, "overhead_pct_bca", "low"),
        "bca_overhead_high": _get(bootstrap, "overhead_pct_bca", "high"),
        "n_pairs": paired.get("n_pairs") or 0,
        "paired_diff": paired.get("mean_diff"),
        "paired_low": paired.get("ci_low"),
        "paired_high": paired.get("ci_high"),
        "paired_t": paired.get("t"),
        "paired_p": paired.get("p"),
        "paired_dz": paired.get("dz"),
        "wilcoxon_p": _get(paired, "wilcoxon", "p"),
        "r_blocks": paired.get("r_xy"),
        "headline_test": found.get("headline_test"),
        "method": "blocks, Fieller with covariance" if by_blocks else "independent arms, Fieller",
        "pct": limits[0] if limits else found.get("pct_change"),
        "pct_low": limits[1] if limits else None,
        "pct_high": limits[2] if limits else None,
        "p": detail.get("p"),
        "p_adjusted": detail.get("p_adjusted"),
        "p_bonferroni": detail.get("p_bonferroni"),
        "p_bh": detail.get("p_bh"),
        "p_by": detail.get("p_by"),
        "adjustment": detail.get("adjustment"),
        "family": detail.get("family"),
        "m_planned": detail.get("m_planned"),
        "tost_p": detail.get("tost_p"),
        "tost_p_adjusted": detail.get("tost_p_adjusted"),
        "margin_pct": detail.get("margin_pct"),
    }


def _described(con: duckdb.DuckDBPyConnection, found: Mapping[str, Any], key: Mapping[str, Any]) -> dict[str, Any]:
    """Both arms as they are, where a comparison was refused: the reader shall see what is being doubted."""
    out: dict[str, Any] = {}
    for arm in ("reference", "treatment"):
        row = con.execute(
            """SELECT count(*), avg(value), stddev_samp(value), median(value) FROM observations
            WHERE unit = $1 AND phase = $2 AND model = $3 AND workload = $4 AND environment = $5 AND metric = $6""",
            [key["unit"], key["phase"], key["model"], key["workload"], found[arm], found["metric"]],
        ).fetchall()[0]
        out |= dict(zip((f"{name}_{arm}" for name in ("n", "mean", "sd", "median")), row, strict=True))
    return out


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else 100 * (ratio - 1)


def _headline(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (found for found in result["comparisons"] if found["analysis_set"] == HEADLINE_SET)


def _equivalence(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    names = ("margin_pct", "p_low", "p_high", "p", "p_noninferiority", "equivalent")
    for found in _headline(result):
        declared = result["settings"]["margin_pct"][found["metric"]]
        for layer, block in (("independent", found), ("blocks", found["paired"])):
            for test in (_get(block, "tost_ratio") or {}).values():
                picked = {name: test.get(name) for name in names}
                yield _key(found, cells) | picked | {"layer": layer, "declared": test["margin_pct"] == declared}


def _power(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    for found in _headline(result):
        n = {f"n_{arm}": _get(found, "desc", arm, "n") for arm in ("reference", "treatment")}
        shared = _key(found, cells) | n | _needs(found, result["settings"]["margin_pct"][found["metric"]])
        if alone := found.get("power"):
            yield shared | {
                "layer": "independent",
                "effect": _get(found, "effect", "cohens_d"),
                "posthoc": alone["posthoc"],
                "posthoc_bonferroni": alone["posthoc_bonferroni"],
                "mde": alone["mde_d"],
                "mde_bonferroni": alone["mde_d_bonferroni"],
                "mde_pct": alone["mde_pct"],
            }
        if blocks := _get(found, "paired", "power"):
            mean, spread = _get(found, "desc", "reference", "mean"), found["paired"]["sd_diff"]
            yield shared | {
                "layer": "blocks",
                "effect": found["paired"].get("dz"),
                "posthoc": blocks["posthoc"],
                "posthoc_bonferroni": blocks["posthoc_bonferroni"],
                "mde": blocks["mde_dz"],
                "mde_bonferroni": blocks["mde_dz_bonferroni"],
                "mde_pct": 100 * blocks["mde_dz"] * spread / abs(mean) if mean else None,
            }


def _losses(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    """The accounting is of attempts, so any metric tells it; how many are analysed is told of the first."""
    told: set[tuple[Any, ...]] = set()
    for found in _headline(result):
        of = tuple(found[name] for name in ("phase", "unit", "model", "reference", "treatment"))
        if found.get("accounting") is None or of in told:
            continue
        told.add(of)
        arms = {
            f"{what}_{arm}": count
            for arm in ("reference", "treatment")
            for what, count in found["accounting"][arm].items()
        }
        chances = {name: found["accounting"][name] for name in ("failed_fisher_p", "throttled_fisher_p")}
        yield _key(found, cells) | arms | chances


def _order_effects(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    for found in result["series"]:
        yield _key(found, cells) | {
            "interleaved": found.get("interleaved"),
            "flags": found.get("flags"),
            "reason": found.get("reason"),
            "period_effect": _get(found, "order_effect", "period_effect", "estimate"),
            "period_p": _get(found, "order_effect", "period_effect", "p"),
            "drift_slope": _get(found, "run_residuals", "mann_kendall", "sen_slope"),
            "drift_p": _get(found, "run_residuals", "mann_kendall", "p"),
            "ljung_box_runs_p": _get(found, "run_residuals", "ljung_box_p"),
            "ljung_box_pairs_p": _get(found, "paired_differences", "ljung_box_p"),
            "carry_over_p": _get(found, "ols_prev_block", "p"),
            "temperature_slope": _get(found, "ancova", "start_temp_slope", "estimate"),
            "temperature_p": _get(found, "ancova", "start_temp_slope", "p"),
            "effect_at_equal_temperature": _get(found, "ancova", "trt", "estimate"),
            "memory_slope": _get(found, "covariates", "start_mem_available_gib", "slope", "estimate"),
            "memory_p": _get(found, "covariates", "start_mem_available_gib", "slope", "p"),
            "effect_at_equal_memory": _get(found, "covariates", "start_mem_available_gib", "trt", "estimate"),
            "newey_west_p": _get(found, "newey_west", "p"),
            "moving_block_low": _get(found, "moving_block_bootstrap", "low"),
            "moving_block_high": _get(found, "moving_block_bootstrap", "high"),
        }


def _phase_decisions(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for metric, found in (result.get("screen_by_metric") or {}).items():
        for rank, arm in enumerate(found["ranking"], start=1):
            pooled = found["pooled"][arm]
            yield {
                "kind": "screening",
                "metric": metric,
                "arm": arm,
                "estimate": pooled["pct"],
                "p": pooled["dunnett_p"],
                "rank": rank,
                "decision": "candidate" if arm in found["selection"] else "not carried on",
            }
    for metric, found in (result.get("validation_by_metric") or {}).items():
        for model, trio in found["validation"].items():
            won = trio.get("reduction") or {}
            yield {
                "kind": "validation",
                "metric": metric,
                "model": model,
                "estimate": won.get("point"),
                "low": won.get("paired_low", won.get("indep_low")),
                "high": won.get("paired_high", won.get("indep_high")),
                "decision": won.get("status") or trio.get("status"),
            }


def _request_percentiles(percentiled: Percentiled, reference: str) -> Iterator[dict[str, Any]]:
    for workload, entries in percentiled:
        for entry in entries:
            for metric, block in entry["by_metric"].items():
                yield from _percentiles(entry["model"], workload, metric, block, reference)


def _latencies(con: duckdb.DuckDBPyConnection, reference: str) -> dict[str, Latencies]:
    """Workload to the latencies of the answered requests of accepted runs, where the reference arm has any.

    There may be a million requests, so DuckDB makes one array of each run.
    """
    runs = con.execute(
        """SELECT q.workload, r.model, r.environment, concat_ws('|', r.phase, r.unit, r.repetition) AS run,
            list(latency_ms) FILTER (isfinite(latency_ms)) AS latency_ms, list(ttft_ms) FILTER (isfinite(ttft_ms)) AS ttft_ms
        FROM requests AS q
        JOIN runs AS r USING (run_id)
        WHERE q.accepted AND q.ok
        GROUP BY r.run_index, q.workload, r.model, r.environment, run
        ORDER BY q.workload, r.run_index"""
    ).df()
    found: dict[str, Latencies] = {}
    for workload, model, arm, run, *latencies in runs.itertuples(index=False, name=None):
        for metric, x in zip(("latency_ms", "ttft_ms"), latencies, strict=True):
            if x is not None and len(x):
                of_model = found.setdefault(workload, {}).setdefault(model, {})
                of_model.setdefault(metric, {}).setdefault(arm, {})[run] = x
    return {
        workload: models
        for workload, models in found.items()
        if any(reference in arms for metrics in models.values() for arms in metrics.values())
    }


def _percentiles(
    model: str, workload: str, metric: str, block: Mapping[str, Any], reference: str
) -> Iterator[dict[str, Any]]:
    arms = {name: part for name, part in block.items() if isinstance(part, Mapping) and "n_requests" in part}
    contrasts = block.get("contrasts") or {}
    for arm, part in arms.items():
        other = arm if arm != reference else next((name for name in arms if name != reference), None)
        contrast = contrasts.get(f"{other}_vs_{reference}", block)
        for percentile, summary in part["summary"].items():
            found = _get(contrast, "hierarchical_bootstrap", percentile) or {}
            against = {} if arm == reference else found
            limits = found.get(f"{arm}_cluster") or {}
            diff = against.get("diff_cluster_blocks") or against.get("diff_cluster_independent") or {}
            run_level = {} if arm == reference else _get(contrast, "run_level_welch", percentile) or {}
            yield {
                "model": model,
                "workload": workload,
                "metric": metric,
                "environment": arm,
                "reference": reference,
                "percentile": percentile,
                "runs": part["n_runs"],
                "requests": part["n_requests"],
                **{name: summary.get(name) for name in ("pooled", "mean_of_runs", "median_of_runs", "sd_between_runs")},
                "low": limits.get("low"),
                "high": limits.get("high"),
                "diff": against.get("pooled_diff"),
                "diff_low": diff.get("low"),
                "diff_high": diff.get("high"),
                "run_level_diff": run_level.get("diff"),
                "run_level_p": run_level.get("p"),
                "reason": found.get("reason"),
            }


# --- files ------------------------------------------------------------------------------------------------------


def _ceiling(con: duckdb.DuckDBPyConnection) -> float | None:
    found = con.execute("SELECT (config->'gate'->>'ceiling_c')::DOUBLE FROM campaign").fetchall()
    return None if not found else found[0][0]


def _columns(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    return [row[0] for row in con.execute(f"DESCRIBE schema_{name}").fetchall()]


def _write_parquet(con: duckdb.DuckDBPyConnection, table: pd.DataFrame, path: Path) -> None:
    """In the types of the schema, put in place in one step. DuckDB takes NaN as NULL."""
    columns = con.execute(f"DESCRIBE schema_{path.stem}").fetchall()
    casts = ", ".join(f'"{column}"::{kind} AS "{column}"' for column, kind, *_ in columns)
    con.register("_found", table)
    try:
        _copy(con, f"SELECT {casts} FROM _found", path)
    finally:
        con.unregister("_found")


def _copy_views(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    for name in COPIED_VIEWS:
        _copy(con, f"FROM {name}", folder / f"{name}.parquet")


def _copy(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    con.execute(f"COPY ({query}) TO '{str(partial).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")
    partial.rename(path)


def _known(results: Path, state: str) -> bool:
    file = results / "analysis" / STATE
    return file.exists() and file.read_text(encoding="utf-8") == state


def _state(results: Path) -> str:
    """What the analysis depends on: the campaign, its journal (which holds the digests of all evidence) and the code."""
    from actors.host import code_digest

    digests = {
        name: hashlib.sha256((results / name).read_bytes()).hexdigest() if (results / name).exists() else None
        for name in ("campaign.json", "journal.jsonl", "plan.parquet", "imported.parquet")
    }
    return json.dumps(digests | {"code": code_digest()}, indent=1)
