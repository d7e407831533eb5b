"""What stands behind the comparisons: tests, effects, power and diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from campaign.analysis import views
from campaign.analysis.margin import in_words
from campaign.analysis.numbers import fixed, interval, p_value, plain, present
from campaign.report.numbers import width_places
from campaign.report.table_formats import Column, Table
from campaign.report.tables.rows import under_contrasts
from campaign.report.wording import FAMILIES, Row

if TYPE_CHECKING:
    import duckdb


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
    return under_contrasts("tests", "Tests behind the comparisons.", columns, cells, rows, notes)


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
    return under_contrasts("effects", "Effect sizes.", columns, cells, rows, notes)


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
    return under_contrasts("power", "What this N could see, primary metrics.", columns, cells, found, notes)


FLAGS = {
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
        flags = "".join(FLAGS.get(flag, "") for flag in row["order_flags"] or ())
        return (*(p_value(row[name]) for name in asked.values()), flags or None)

    notes = (
        "p of Shapiro-Wilk in each arm (R, T), Brown-Forsythe, Mann-Kendall drift, Ljung-Box of runs and of block "
        "differences, period, carry-over, start temperature and memory free at start. Flags at 0.05: "
        + ", ".join(f"{letter} {name.replace('_', ' ')}" for name, letter in FLAGS.items())
        + ". With several tests for each comparison false alarms are to be expected; a flag changes which analysis "
        "leads, never which runs are kept."
    )
    return under_contrasts("diagnostics", "Diagnostics, primary metrics.", columns, cells, found, notes)


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
