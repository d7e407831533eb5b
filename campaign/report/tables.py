"""The tables of the article, as data: results, what stands behind each, and what ran."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from campaign.analysis import cache as evidence
from campaign.analysis import inputs, metrics, views
from campaign.analysis.margin import in_words
from campaign.analysis.numbers import fixed, interval, level_text, p_value, places_of, plain, present
from campaign.analysis.statistics.units import FEWEST_UNITS
from campaign.analysis.words import beyond_units_word, verdict_word
from campaign.report import guard
from campaign.report.methods import facts_of, parsed, reference_of
from campaign.report.numbers import change_text, mean_text, pct_places, sd_text, varies, width_places
from campaign.report.table_formats import Column, Table
from campaign.report.wording import FAMILIES, Row, by_contrast, level

if TYPE_CHECKING:
    import duckdb


def tables(con: duckdb.DuckDBPyConnection) -> list[Table]:
    """Results in brief; each arm by itself, all comparisons, what stands behind them and what was lost;
    configuration, provenance."""
    simulated = con.execute("SELECT coalesce(bool_or(simulated), false) FROM campaign").fetchall() == [(True,)]
    rows = evidence.rows(con)
    held = guard.guard_of(con)
    made = [
        brief(rows, reference_of(con)),
        *([families(con)] if held.fixed or held.sequential else []),
        *(over_units(con) if held.fixed else []),
        losses(con),
        descriptives(con, rows),
        comparisons(rows),
        *([looks(con)] if held.sequential else []),
        *([tests(rows), effects(rows), power(con, rows)] if held.fixed else []),
        *([diagnostics(con, rows)] if held.finished else []),
        exclusions(con),
        configuration(con),
        provenance(con),
    ]
    if held.why is not None:
        first = made[0]
        made[0] = replace(first, notes=f"{first.notes} {held.why}")
    if not simulated:
        return made
    return [replace(t, caption=f"{t.caption} Simulated data: nothing in this table was measured.") for t in made]


def brief(rows: list[Row], reference: str) -> Table:
    """Throughput of both arms, and the headline change with its interval: one row per contrast."""
    rows = [row for group in by_contrast(rows) for row in group if row["metric"] == metrics.headline()]
    several = len({row["reference"] for row in rows}) > 1
    about = metrics.known()[metrics.headline()]
    columns = (
        *_cell_columns(rows),
        *([Column("Reference")] if several else []),
        Column("Treatment"),
        Column("n ref.", "number"),
        Column(f"Ref. ({about.unit_of_measure})", "number"),
        Column("n treat.", "number"),
        Column(f"Treat. ({about.unit_of_measure})", "number"),
        Column("Change (%)", "number"),
        Column("CI (%)", "interval"),
        Column("Level (%)"),
        Column("Verdict"),
    )
    cells = tuple(
        (
            *_cell(row, rows),
            *([row["reference"]] if several else []),
            row["treatment"],
            str(row["n_reference"]),
            mean_text(row, "reference"),
            str(row["n_treatment"]),
            mean_text(row, "treatment"),
            change_text(row),
            interval(row["pct_low"], row["pct_high"], pct_places(row)),
            None if (shown := level(row)) == "–" else shown,
            verdict_word(row),
        )
        for row in rows
    )
    against = "" if several else f"; reference: {rows[0]['reference'] if rows else reference}"
    return Table("results", f"Mean {about.label} by model and arm{against}.", columns, cells, _notes(rows))


def families(con: duckdb.DuckDBPyConnection) -> Table:
    """Each family of comparisons: how many were planned and tested, and how many pass each adjustment at 0.05."""
    found = con.execute(
        """SELECT family, phase, unit, any_value(m_planned), count(p), any_value(adjustment),
            count(*) FILTER (p < 0.05), count(*) FILTER (p_bonferroni < 0.05), count(*) FILTER (p_adjusted < 0.05),
            count(*) FILTER (p_bh < 0.05), count(*) FILTER (p_by < 0.05), count(*) FILTER (tost_p_adjusted < 0.05)
        FROM comparisons WHERE analysis_set = 'protocol' AND family IS NOT NULL
        GROUP BY family, phase, unit ORDER BY min(place), family, phase, unit"""
    ).fetchall()
    shown = [i for i in (1, 2) if len({row[i] for row in found}) > 1]
    counts = ("p", "Bonferroni", "adjusted", "BH", "BY", "TOST adj.")
    columns = (
        Column("Family"),
        *(Column(("", "Phase", "Unit")[i]) for i in shown),
        Column("m planned", "number"),
        Column("Tested", "number"),
        Column("0.05/m", "number"),
        Column("Adjustment"),
        *(Column(f"{name} < 0.05", "number") for name in counts),
    )
    cells = tuple(
        (
            FAMILIES.get(row[0], row[0]),
            *(row[i] for i in shown),
            str(row[3]),
            str(row[4]),
            f"{0.05 / row[3]:.5f}",
            {"holm": "Holm", "bh": "BH"}.get(row[5], row[5]),
            *(str(count) for count in row[6:]),
        )
        for row in found
    )
    notes = (
        "How many headline tests fall below 0.05, plain and adjusted over the comparisons that were planned (m), "
        f"tested or not. BH: Benjamini-Hochberg, BY: Benjamini-Yekutieli; TOST: equivalence within {_margin(con)}, "
        "Holm."
    )
    if {"F_doc", "F_primary5"} <= {row[0] for row in found}:
        notes += (
            " Confirmatory: throughput, mean latency and peak memory. Primary: request throughput and KV cache "
            "alone, which are adjusted together with the confirmatory ones."
        )
    return Table("families", "Families of comparisons.", columns, cells, notes)


def _margin(con: duckdb.DuckDBPyConnection) -> str:
    chosen = inputs.settings(con)
    return in_words(chosen["margin_pct"], chosen["margin_declared"])


def over_units(con: duckdb.DuckDBPyConnection) -> list[Table]:
    """What may be said beyond the tested units, of the primary metrics; no table where one unit ran."""
    found = con.execute(
        """SELECT o.phase, o.model, o.workload, o.treatment, o.reference, f.label, o.units, o.pct, o.level, o.pct_low,
            o.pct_high, o.p_adjusted,
            o.tost_p_adjusted, o.verdict, o.k_units, o.m_planned
        FROM over_units AS o JOIN metric_facts AS f ON f.metric = o.metric AND f.family = 'primary'
        ORDER BY (SELECT min(run_index) FROM runs AS r WHERE r.model = o.model), o.workload, o.treatment, o.reference,
            f.print_order"""
    ).fetchall()
    if not found:
        return []
    shown = [i for i in (1, 2, 0) if i == 1 or len({row[i] for row in found}) > 1]
    columns = (
        *(Column(("Phase", "Model", "Workload")[i]) for i in shown),
        Column("Treatment"),
        Column("Reference"),
        Column("Quantity"),
        Column("Units", "number"),
        Column("Change (%)", "number"),
        Column("Level (%)", "number"),
        Column("Interval (%)", "interval"),
        Column("p adjusted", "number", "p adj."),
        Column("p TOST", "number"),
        Column("Verdict"),
    )

    def cells(row: tuple[Any, ...]) -> tuple[str | None, ...]:
        places = width_places(row[9], row[10])
        verdict = beyond_units_word(row[13])
        level_ = None if row[8] is None else level_text(row[8])
        tested = (p_value(row[11]), p_value(row[12]))
        return (
            row[3],
            row[4],
            row[5],
            plain(row[6]),
            fixed(row[7], places),
            level_,
            interval(row[9], row[10], places),
            *tested,
            verdict,
        )

    planned = ", ".join(sorted({str(row[15]) for row in found if row[15]})) or "none"
    notes = (
        f"Over units: one log ratio for each of up to {max(row[14] for row in found)} units, t with units minus one "
        f"degrees of freedom, guarded; adjusted after Holm (m = {planned}). Below {FEWEST_UNITS} units there is no "
        "verdict: what is claimed of each unit holds for it alone."
    )
    rows = tuple((*(row[i] for i in shown), *cells(row)) for row in found)
    return [Table("over_units", "Beyond the tested units.", columns, rows, notes, breaks=True)]


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


def descriptives(con: duckdb.DuckDBPyConnection, rows: list[Row]) -> Table:
    """Each arm by itself, for the primary metrics."""
    found = views.records(
        con,
        """WITH places AS (
            SELECT phase, model, workload, environment, min(run_index) AS place,
                min(min(run_index)) OVER (PARTITION BY phase, model, workload) AS cell
            FROM runs GROUP BY phase, model, workload, environment
        )
        SELECT d.*, f.label
        FROM descriptives AS d
        JOIN metric_facts AS f ON f.metric = d.metric AND f.family = 'primary'
        JOIN places USING (phase, model, workload, environment)
        ORDER BY cell, f.print_order, place""",
    )
    heads = (*_cell_columns(found), Column("Quantity"))
    names = ("mean", "se", "hmean", "median", "sd", "mad_scaled", "cv_pct", "min", "q1", "q3", "max")
    titles = ("Mean", "SE", "Harm. mean", "Median", "SD", "MAD", "CV (%)", "Min", "Q1", "Q3", "Max")
    columns = (Column("Arm"), Column("n", "number"), *(Column(title, "mixed") for title in titles))

    def cells(row: Row) -> tuple[str | None, ...]:
        spread = varies(row["mean"], row["sd"])
        places = places_of(row["se"]) if spread else None
        rate = str(row["unit_of_measure"]).endswith("/s")

        def text(name: str) -> str | None:
            if name == "hmean" and not rate:
                return None
            if name in ("se", "sd", "mad_scaled", "cv_pct"):
                return fixed(row[name], places_of(row[name])) if spread else None
            return plain(row[name]) if places is None else fixed(row[name], places)

        return (row["environment"], str(row["n"]), *(text(name) for name in names))

    body = tuple((*_cell(row, found), _quantity(row), *cells(row)) for row in found)
    notes = (
        "Over accepted runs. SE: standard error of the mean. Harmonic mean of rates: total work by total time. MAD: "
        "median absolute deviation, scaled by 1.4826. Quartiles of type 7. Other metrics: "
        "analysis/descriptives.parquet."
    )
    return Table(
        "descriptives",
        "Each arm by itself.",
        (*heads, *columns),
        body,
        notes,
        breaks=True,
        heads=len(heads),
        joined=", ",
    )


def comparisons(rows: list[Row]) -> Table:
    """Every contrast and metric: both arms, change, verdict."""
    columns = (
        *(
            Column(f"{what} {arm}", "number", f"{what} {arm[0].upper()}")
            for arm in ("reference", "treatment")
            for what in ("n", "mean", "SD")
        ),
        Column("Change (%)", "number"),
        Column("CI (%)", "interval"),
        Column("Level (%)"),
        Column("Verdict"),
    )

    def cells(row: Row) -> tuple[str | None, ...]:
        return (
            str(row["n_reference"]),
            mean_text(row, "reference"),
            sd_text(row, "reference"),
            str(row["n_treatment"]),
            mean_text(row, "treatment"),
            sd_text(row, "treatment"),
            change_text(row),
            interval(row["pct_low"], row["pct_high"], pct_places(row)),
            None if (shown := level(row)) == "–" else shown,
            verdict_word(row),
        )

    return _by_contrast(
        "comparisons", "All comparisons.", columns, cells, rows, f"R: reference, T: treatment. {_notes(rows)}"
    )


def looks(con: duckdb.DuckDBPyConnection) -> Table:
    """Every look of every comparison that looks decide."""
    found = views.records(
        con,
        """SELECT l.*, f.label, f.print_order FROM comparison_looks AS l LEFT JOIN metric_facts AS f USING (metric)
        ORDER BY l.event, l.treatment, f.print_order""",
    )
    columns = (
        Column("Model"), Column("Arm"), Column("Quantity"), Column("Look", "number"), Column("n", "number"),
            Column("Change (%)", "number"),
        Column("RCI (%)", "interval"), Column("p seq.", "number"), Column("adj.", "number"),
            Column("p seq. TOST", "number"), Column("adj. TOST", "number"),
        Column("Claim"), Column("95 % CI, not corrected", "interval"),
    )  # fmt: skip

    def cells(row: Row) -> tuple[str | None, ...]:
        places = width_places(row["rci95_low"], row["rci95_high"])
        p = [f"{kind}_p_{claim}" for claim in ("difference", "equivalence") for kind in ("sequential", "adjusted")]
        return (
            row["model"], row["treatment"], row["label"] or row["metric"], str(row["look"]), str(row["n"]),
            fixed(row["pct"], places),
            interval(row["rci95_low"], row["rci95_high"], places), *(p_value(row[name]) for name in p),
            ", ".join(row["claimed"]) or (None if row["status"] == "ok" else str(row["status"]).replace("_", " ")),
            interval(row["uncorrected_low"], row["uncorrected_high"], places),
        )  # fmt: skip

    notes = (
        "RCI: 95 % interval that holds at all looks together. p seq.: the smallest level at which a look so far "
        "rejects, and after the adjustment of its family at that look. Claim: made with the figures of that look. "
        "The last column is what would be printed had nobody looked before; "
        "it does not allow for the looks and is for comparison alone."
    )
    return Table("looks", "Looks.", columns, tuple(cells(row) for row in found), notes, breaks=True)


def tests(rows: list[Row]) -> Table:
    """Every contrast and metric: the difference, each test's p, and the adjustments."""
    columns = (
        Column("Difference", "number"),
        Column("95 % CI", "interval"),
        Column("Rule"),
        Column("p rule", "number"),
        Column("p Welch", "number"),
        Column("p blocks", "number"),
        Column("p adj.", "number"),
        Column("p Bonf.", "number"),
        Column("p BH", "number"),
        Column("p TOST", "number"),
        Column("p rand.", "number"),
    )

    def cells(row: Row) -> tuple[str | None, ...]:
        places = width_places(row["welch_low"], row["welch_high"])
        named = {"mannwhitney": "U", "student": "t", "welch": "Welch"}.get(str(row["document_test"]))
        tested = (
            "document_p",
            "welch_p",
            "paired_p",
            "p_adjusted",
            "p_bonferroni",
            "p_bh",
            "tost_p_adjusted",
            "randomisation_p_adjusted",
        )
        return (
            fixed(row["diff"], places) if present(row["welch_low"]) else plain(row["diff"]),
            interval(row["welch_low"], row["welch_high"], places),
            named,
            *(p_value(row[name]) for name in tested),
        )

    families = ", ".join(
        sorted(
            {f"{FAMILIES.get(row['family'], row['family'])} (m = {row['m_planned']})" for row in rows if row["family"]}
        )
    )
    margins = dict.fromkeys(
        in_words(row["margin_pct"], row["margin_declared"]) for row in rows if present(row["margin_pct"])
    )
    told = ", ".join(margins) or "a margin"
    notes = (
        "Difference: treatment minus reference, Welch's interval. Rule: the pre-registered choice among Student's t, "
        "Welch and Mann-Whitney's U. Blocks: paired t. Adjusted: Holm, for secondary metrics Benjamini-Hochberg "
        "(BH), of the guarded test that decides. Rand.: randomisation over the schedule, Holm. "
        f"TOST: equivalence within {told}, Holm. Families: {families or 'none'}."
    )
    return _by_contrast("tests", "Tests behind the comparisons.", columns, cells, rows, notes)


def effects(rows: list[Row]) -> Table:
    """Every contrast and metric: standardised differences and the Hodges-Lehmann shift, each with its 95 % interval."""
    sizes = {"Cohen's d": "cohens_d d_low d_high", "Hedges' g": "hedges_g g_low g_high"}
    names = [*(fields.split() for fields in sizes.values()), ["hl_shift", "hl_low", "hl_high"]]
    columns = tuple(
        Column(title, kind)
        for size in (*sizes, "HL shift")
        for title, kind in ((size, "number"), (f"95 % CI {size.split()[-1]}", "interval"))
    )

    def cells(row: Row) -> tuple[str | None, ...]:
        found: list[str | None] = []
        for value, low, high in names:
            places = width_places(row[low], row[high])
            found += [fixed(row[value], places), interval(row[low], row[high], places)]
        return tuple(found)

    notes = "Intervals of d and g from the noncentral t, of Hodges and Lehmann's (HL) shift from order statistics."
    return _by_contrast("effects", "Effect sizes.", columns, cells, rows, notes)


def power(con: duckdb.DuckDBPyConnection, rows: list[Row]) -> Table:
    """Every contrast and primary metric: what this N could see, and what equivalence would take."""
    layers = {"independent": "arms", "blocks": "blocks"}
    found = _beside(con, "power", rows)
    columns = (
        Column("By"),
        Column("n reference", "number", "n R"),
        Column("n treatment", "number", "n T"),
        Column("d or dz", "number"),
        Column("Observed power", "number", "Obs. power"),
        Column("MDE", "number"),
        Column("MDE, 0.05/m", "number"),
        Column("MDE (%)", "number"),
        Column("Needs N", "number"),
        Column("of"),
    )

    def cells(row: Row) -> tuple[str | None, ...]:
        return (
            layers.get(row["layer"], row["layer"]),
            str(row["n_reference"]),
            str(row["n_treatment"]),
            fixed(row["effect"], 3),
            fixed(row["posthoc"], 3),
            fixed(row["mde"], 3),
            fixed(row["mde_bonferroni"], 3),
            fixed(row["mde_pct"], 3),
            None if row["needs_n"] is None else str(row["needs_n"]),
            row["needs_what"],
        )

    notes = (
        "MDE: smallest effect seen with 80 % power (d of independent arms, dz of blocks). Observed power restates p: "
        "p = 0.05 is a power of about one half, whatever N; it says nothing about whether N sufficed. Needs N: to "
        "settle the comparison with 80 % power in its family; none where it is settled."
    )
    return _by_contrast("power", "What this N could see, primary metrics.", columns, cells, found, notes)


_FLAGS = {
    "drift": "D", "autocorrelation_runs": "A", "autocorrelation_pairs": "B", "period_effect": "P", "carry_over": "C",
    "thermal_covariate": "T", "confounded_with_time": "X",
}  # fmt: skip


def diagnostics(con: duckdb.DuckDBPyConnection, rows: list[Row]) -> Table:
    """Every contrast and primary metric: the checks that choose which analysis leads, and what they flag."""
    asked = {
        "Shapiro R": "shapiro_p_reference",
        "Shapiro T": "shapiro_p_treatment",
        "Brown-F.": "brown_forsythe_p",
        "Drift": "drift_p",
        "LB runs": "ljung_box_runs_p",
        "LB blocks": "ljung_box_pairs_p",
        "Period": "period_p",
        "Carry": "carry_over_p",
        "Temp.": "temperature_p",
        "Memory": "memory_p",
    }
    found = _beside(con, "order_effects", rows)
    columns = (*(Column(title, "number") for title in asked), Column("Flags"))

    def cells(row: Row) -> tuple[str | None, ...]:
        flags = "".join(_FLAGS.get(flag, "") for flag in row["order_flags"] or ())
        return (*(p_value(row[name]) for name in asked.values()), flags or None)

    notes = (
        "p of Shapiro-Wilk in each arm (R, T), Brown-Forsythe, Mann-Kendall drift, Ljung-Box of runs and of block "
        "differences, period, carry-over, start temperature and memory free at start. Flags at 0.05: "
        + ", ".join(f"{letter} {name.replace('_', ' ')}" for name, letter in _FLAGS.items())
        + ". With several tests for each comparison false alarms are to be expected; a flag changes which analysis "
        "leads, never which runs are kept."
    )
    return _by_contrast("diagnostics", "Diagnostics, primary metrics.", columns, cells, found, notes)


def exclusions(con: duckdb.DuckDBPyConnection) -> Table:
    """Every attempt that does not count, with its reason."""
    found = con.execute(
        """SELECT run_id || '/' || attempt, coalesce(nullif(failed_checks, ''), failure, outcome)
        FROM rejected_attempts ORDER BY started_utc NULLS LAST, run_id, attempt"""
    ).fetchall()
    columns = (Column("Run and attempt", "key"), Column("Why it does not count", "long"))
    return Table("exclusions", "Attempts that do not count.", columns, tuple(found), breaks=True)


def _beside(con: duckdb.DuckDBPyConnection, view: str, rows: list[Row]) -> list[Row]:
    """The rows of a view of the analysis with what their comparison says, in the order of the comparisons;
    primary metrics."""
    keys = ("phase", "unit", "model", "workload", "reference", "treatment", "metric")
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in views.records(con, f"FROM {view}"):
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    out: list[Row] = []
    for row in rows:
        if row["group"] != "primary":
            continue
        # With several units the model's name holds the unit, too.
        model = row["model"].removesuffix(f" @ {row['unit']}")
        for of in found.get(tuple(model if key == "model" else row[key] for key in keys), ()):
            out.append(row | of | {"model": row["model"], "order_flags": of.get("flags")})
    return out


def _by_contrast(
    name: str,
    caption: str,
    columns: tuple[Column, ...],
    cells: Callable[[Row], tuple[str | None, ...]],
    rows: list[Row],
    notes: str,
) -> Table:
    """A table over pages whose rows are metrics under a line that names the cell and its two arms."""
    rows = [row for group in by_contrast(rows) for row in group]
    heads = (*_cell_columns(rows), Column("Treatment"), Column("Reference"))
    body = tuple(
        (
            *_cell(row, rows),
            row["treatment"],
            row["reference"],
            _quantity(row),
            *cells(row),
        )
        for row in rows
    )
    return Table(name, caption, (*heads, Column("Quantity"), *columns), body, notes, breaks=True, heads=len(heads))


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


def _cell_columns(rows: list[Row]) -> tuple[Column, ...]:
    shown = ["model", *(name for name in ("workload", "phase") if len({row[name] for row in rows}) > 1)]
    return tuple(Column(name.capitalize()) for name in shown)


def _cell(row: Row, rows: list[Row]) -> tuple[str, ...]:
    return tuple(str(row[column.title.lower()]) for column in _cell_columns(rows))


def _quantity(row: Row) -> str:
    unit = row["unit_of_measure"]
    return f"{row['label'] or row['metric']}{f' ({unit})' if unit else ''}"


def _notes(rows: list[Row]) -> str:
    methods = list(dict.fromkeys(row["method"] for row in rows if present(row["pct_low"])))
    if not methods:
        return "No interval: too few runs."
    minor = " Minor: differs, inside the margin." if any(verdict_word(row) == "minor" for row in rows) else ""
    return (
        f"Intervals (CI): {'; '.join(methods)}; each is dual to its verdict, at the level at which its family of "
        f"planned comparisons was decided: of equivalence where that is the verdict, else of the difference.{minor} "
        "n, mean and SD of the runs that decided. Values to the second significant digit of their standard error."
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
