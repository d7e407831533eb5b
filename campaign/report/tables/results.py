"""What was found: in brief, by comparison, by arm, by family, by look, and beyond the tested units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from campaign.analysis import inputs, metrics, views
from campaign.analysis.margin import in_words
from campaign.analysis.numbers import fixed, interval, level_text, p_value, places_of, plain, present
from campaign.analysis.statistics.units import FEWEST_UNITS
from campaign.analysis.words import beyond_units_word, verdict_word
from campaign.report.numbers import change_text, mean_text, pct_places, sd_text, varies, width_places
from campaign.report.table_formats import Column, Table
from campaign.report.tables.rows import cell, cell_columns, quantity, under_contrasts
from campaign.report.wording import FAMILIES, Row, by_contrast, level

if TYPE_CHECKING:
    import duckdb


def brief(rows: list[Row], reference: str) -> Table:
    """Throughput of both arms, and the headline change with its interval: one row per contrast."""
    rows = [row for group in by_contrast(rows) for row in group if row["metric"] == metrics.headline()]
    several = len({row["reference"] for row in rows}) > 1
    about = metrics.known()[metrics.headline()]
    columns = (
        *cell_columns(rows),
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
            *cell(row, rows),
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
    heads = (*cell_columns(found), Column("Quantity"))
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

    body = tuple((*cell(row, found), quantity(row), *cells(row)) for row in found)
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

    return under_contrasts(
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
