"""The report: one self-contained page that opens offline, for any state of a campaign from its first minute on.

What is claimed comes from ``wording``, what is drawn from ``figures``, every table from a query that the page shows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import host
from actors.files.publish import publish
from campaign.analysis import cache as evidence
from campaign.analysis import inputs, seal
from campaign.analysis import views as sql
from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.claims import MINIMUM_N, number
from campaign.plan import registration
from campaign.record.store import Store
from campaign.report import checklist, guard, methods, wording

if TYPE_CHECKING:
    import duckdb
    from markupsafe import Markup

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Column:
    name: str
    numeric: bool


@dataclass(frozen=True)
class Table:
    """A table of the page, with the query it shows the rows of."""

    title: str
    note: str
    empty: str
    sql: str
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


QUALITY = (
    Table(
        "From plan to analysis",
        "Runs planned, started, valid (one accepted attempt) and analysed (with a throughput), by model and arm.",
        "No run is planned.",
        "SELECT model, environment, planned, started, valid, analysed, attempts, rejected_attempts AS rejected, exhausted, "
        "left_out, spared, outstanding\nFROM flow\nORDER BY phase, model, workload, environment",
    ),
    Table(
        "Sessions",
        "Stretches under the same conditions. Each later one began with a difference that was accepted; no block holds runs of two.",
        "No session.",
        "SELECT session, began_utc AS began, accepted_runs AS runs, coalesce(difference, 'as the campaign began') AS difference\nFROM sessions\n"
        "ORDER BY session",
    ),
    Table(
        "Shakedown",
        "Every cell once with a handful of requests, before anything was measured: kept apart from the results.",
        "No shakedown was made.",
        'SELECT unit, model, environment, workload, passed AS runs, round(start_s, 1) AS "start (s)", round(tok_s, 1) AS "tok/s", '
        "cause, remedy\nFROM shakedowns\nORDER BY model, workload, environment, unit",
    ),
    Table(
        "Left out",
        "Cells that the campaign went on without, by decision after the shakedown.",
        "No cell was left out.",
        "SELECT cell, reason, decided_by\nFROM cells_left_out\nORDER BY cell",
    ),
    Table(
        "What the arms run",
        "Image, engine and options by arm. What differs from the reference is part of what is compared with it.",
        "The config names no arm.",
        'SELECT environment, image, list_transform(userlands, lambda it: left(it, 19)) AS userland, engine_versions AS "engine version",\n'
        "    coalesce(engine_options, 'the model''s') AS \"engine options\", differs AS \"differs from the reference in\"\nFROM arm_software",
    ),
    Table(
        "Do both arms answer the same?",
        "Share of requests that got the very same text as in the reference, over the blocks; for engines that keep their answers.",
        "No engine of this campaign kept its answers.",
        'SELECT model, workload, treatment, sum(compared)::BIGINT AS requests, round(100.0 * sum(agreed) / sum(compared), 2) AS "same answer (%)", '
        'round(min(agreement_pct), 2) AS "least in a block (%)"\nFROM answer_agreement\nGROUP BY ALL\nORDER BY ALL',
    ),
    Table(
        "Rejected attempts",
        "Kept, never counted. A rejected attempt sends its run back to the end of its block.",
        "No attempt was rejected.",
        "SELECT run_id AS run, attempt, outcome, coalesce(failed_checks, nullif(rejected_by, ''), failure) AS reason\n"
        "FROM rejected_attempts\nORDER BY started_utc\nLIMIT 50",
    ),
    Table(
        "Start state by arm",
        "What the accepted attempts started from. A start state that differs between arms is a rival explanation.",
        "No accepted attempt has a gate record.",
        'SELECT environment, attempts, gate_wait_mean_s AS "wait mean (s)", gate_wait_max_s AS "wait max (s)", '
        'rest_mean_s AS "rest mean (s)",\n    temperature_mean_c AS "start (°C)", mem_available_mean_gib AS "MemAvailable (GiB)", '
        'mem_cached_mean_gib AS "page cache (GiB)", flagged\nFROM start_states\nORDER BY environment',
    ),
    Table(
        "Longest waits at the gate",
        "The ten longest, and which condition held the gate first.",
        "No gate record.",
        'SELECT run_id AS run, attempt, waited_s AS "waited (s)", temperature_c AS "opened at (°C)", blocked_by AS "blocked by", '
        "opened, flagged\nFROM gates\nORDER BY waited_s DESC\nLIMIT 10",
    ),
    Table(
        "The sampler on itself",
        "Coverage, jitter and cost of the telemetry over the accepted attempts of each arm.",
        "No accepted attempt has telemetry.",
        'SELECT environment, attempts, coverage_min_pct AS "least coverage (%)", jitter_p99_max_ms AS "worst p99 jitter (ms)", '
        'longest_gap_ms AS "longest gap (ms)",\n    sampler_cpu_mean_pct AS "sampler CPU (% of a core)", throttled, '
        'throttling_unknown AS "throttling unknown"\nFROM sampling\nORDER BY environment',
    ),
    Table(
        "Balance of order",
        "How often each arm came first, second, … within its block.",
        "No accepted run.",
        "SELECT model, environment, sum(n)::BIGINT AS runs,\n"
        "    string_agg(n || ' × position ' || position, ', ' ORDER BY position) AS \"places in the block\"\n"
        "FROM order_balance\nGROUP BY phase, model, workload, environment\nORDER BY phase, model, workload, environment",
    ),
    Table(
        "Plausibility",
        "Do the figures agree with each other and with arithmetic? The worst figure of a check should not exceed its limit.",
        "Nothing to check yet.",
        'SELECT check_name AS "check", count(*) AS subjects, count(*) FILTER (NOT passed) AS failed, max(figure) AS worst, '
        'any_value(limit_value) AS "limit",\n    any_value(explanation) AS explanation\nFROM plausibility\nGROUP BY check_name\n'
        "ORDER BY failed DESC, check_name",
    ),
    Table(
        "Outliers",
        "Primary figures beyond three standard deviations of their arm (with ten runs or fewer that rule cannot fire), or beyond 3.5 scaled "
        "median absolute deviations of its median. Flagged, never removed.",
        "No run is flagged.",
        'SELECT run_id AS run, metric, value, mean AS "arm mean", z, rule\nFROM outliers\nORDER BY abs(z) DESC, run_id, rule\nLIMIT 40',
    ),
    Table(
        "Unreadable files",
        "Left out of every figure on this page.",
        "Every file could be read.",
        "SELECT file, reason\nFROM broken_files\nORDER BY file",
    ),
)

READING = (
    Table(
        "What each column was taken for",
        "Of the files that were taken in: each column with what it is here, its unit in the file, and what was converted or assumed. What was not "
        "certain was left out, with the reason.",
        "The files' columns are not recorded.",
        "SELECT c->>'column' AS \"column\", c->>'role' AS role, c->>'name' AS \"taken as\", c->>'unit' AS unit, c->>'said' AS note\n"
        "FROM (SELECT unnest(from_json(imported->'columns', '[\"JSON\"]')) AS c FROM campaign)",
    ),
    Table(
        "Rows that are no runs",
        "Rows of the files that were not taken for runs. Runs that failed are among the rejected attempts, below.",
        "Every row is a run.",
        "SELECT r->>'row' AS \"row\", r->>'why' AS reason\n"
        "FROM (SELECT unnest(from_json(imported->'rows_left_out', '[\"JSON\"]')) AS r FROM campaign)",
    ),
)
"""Of imported runs: how the files were read."""

OPEN = Table(
    "Every comparison, with intervals that hold at any time",
    "Change of geometric means over complete blocks; its interval holds at every moment at once, for the primary metrics together with all planned ones. "
    "Of comparisons that looks decide: their estimate and the interval dual to the verdict.",
    "No comparison yet.",
    'SELECT model, treatment AS arm, reference AS against, coalesce(label, metric) AS metric, decided_n_treatment AS blocks, effect AS "change", '
    "CASE WHEN scale = 'ratio' THEN '%' ELSE unit_of_measure END AS \"in\",\n"
    '    coalesce(pct_low, difference_low) AS low, coalesce(pct_high, difference_high) AS high, coalesce(pct_level, difference_level) AS "level (%)",\n'
    '    alone_low AS "alone low", alone_high AS "alone high", alone_level AS "alone level (%)", verdict\n'
    "FROM comparisons\nWHERE analysis_set = 'protocol'\nORDER BY place, treatment, family NULLS LAST, metric",
)

LOOKS = (
    Table(
        "Looks, in the order in which they were due",
        "What each look newly claimed, and which models it gave no further blocks. Claims may concern other models: a level that one claim frees is passed on.",
        "No look was taken yet.",
        'SELECT l.event, l.model, l.workload, l.look, l.blocks, l.new_claims AS "new claims", '
        "list_transform(l.stopped, lambda cell: replace(cell, '__', ' · ')) AS stopped, l.at_utc AS at\nFROM looks AS l\nORDER BY l.event",
    ),
    Table(
        "Models that stopped",
        "Why, after how many blocks, and how many runs of the plan were not needed.",
        "No model has stopped.",
        'SELECT c.model, c.workload, c.reason, max(l.blocks) AS blocks, count(r.run_id) AS "runs not needed"\nFROM cells_closed AS c\n'
        "JOIN looks AS l USING (model, workload)\nLEFT JOIN runs AS r ON (r.model, r.workload, r.status) = (c.model, c.workload, 'spared')\n"
        "GROUP BY ALL\nORDER BY c.model, c.workload",
    ),
    Table(
        "The path of every comparison that looks decide",
        "RCI: 95 % interval that holds at all looks together. Boundaries in percent at the level that the comparison has now: a difference is claimed beyond ±, "
        "equivalence between from and to. p: the smallest level at which a look so far rejects, then after the family's adjustment at that look.",
        "No look was taken yet.",
        'SELECT l.model, l.treatment AS arm, f.label AS metric, l.look, l.n, l.status, l.pct AS "change (%)", l.rci95_low AS "RCI low", l.rci95_high AS "RCI high",\n'
        '    l.different_beyond_pct AS "different beyond ±", l.equivalent_from_pct AS "equivalent from", l.equivalent_to_pct AS "to", l.sequential_p_difference AS "p difference",\n'
        '    l.adjusted_p_difference AS "adjusted", l.sequential_p_equivalence AS "p equivalence", l.adjusted_p_equivalence AS "adjusted ", l.claimed, l.skewness\n'
        "FROM comparison_looks AS l\nJOIN metric_facts AS f USING (metric)\nORDER BY l.model, l.treatment, f.print_order, l.look",
    ),
    Table(
        "Not corrected for stopping",
        "What would be printed had nobody looked before the end: for comparison alone. A stop selects samples whose mean lies far out or near zero; at a stop these "
        "intervals cover the truth less often than they say (docs/statistics.md).",
        "No look was taken yet.",
        'SELECT l.model, l.treatment AS arm, f.label AS metric, l.n, l.pct AS "change (%)", l.uncorrected_low AS "95 % low", l.uncorrected_high AS "95 % high"\n'
        "FROM comparison_looks AS l\nJOIN metric_facts AS f USING (metric)\nWHERE l.status = 'ok'\n"
        "QUALIFY row_number() OVER (PARTITION BY l.model, l.workload, l.treatment, l.metric ORDER BY l.look DESC) = 1\nORDER BY l.model, l.treatment, f.print_order",
    ),
)

ORDER = Table(
    "Order, drift and carry-over",
    "Does place, time, the run before, the start temperature or the memory free at the start explain what the treatment is credited with? "
    "Where blocks resemble their neighbours, p after Newey and West and limits of a moving-block bootstrap stand beside. With several tests for each "
    "comparison, false alarms are to be expected; a flag changes which analysis leads, never which runs are kept.",
    "Too few runs, or their order is not known.",
    'SELECT o.model, o.treatment AS arm, f.label AS metric, o.interleaved, o.flags, o.period_p AS "period p", o.drift_p AS "drift p",\n'
    '    o.ljung_box_runs_p AS "autocorrelation p", o.carry_over_p AS "carry-over p", o.temperature_p AS "temperature p", o.memory_p AS "memory p",\n'
    '    o.newey_west_p AS "Newey-West p", o.moving_block_low AS "moving blocks low", o.moving_block_high AS "moving blocks high", o.reason\n'
    "FROM order_effects AS o\nJOIN metric_facts AS f ON f.metric = o.metric AND f.family = 'primary'\nORDER BY o.model, o.treatment, f.print_order",
)

STATISTICS = (
    Table(
        "Every comparison",
        "All metrics, tests and adjustments; the headline set of attempts. p after Holm (secondary metrics: Benjamini-Hochberg) "
        "over the comparisons that were planned.",
        "No comparison yet.",
        'SELECT model, treatment AS arm, reference AS against, label AS metric, pct AS "change (%)", pct_low AS "low", pct_high AS "high", pct_level AS "level (%)",\n'
        '    headline_test AS test, p, p_adjusted AS "p adjusted", p_bonferroni AS "Bonferroni", p_bh AS "BH", p_by AS "BY", tost_p_adjusted AS "TOST p adjusted",\n'
        '    document_test AS "rule of the document", document_p AS "its p", welch_p AS "Welch p", mwu_p AS "MWU p", paired_p AS "paired p",\n'
        '    cohens_d AS d, hedges_g AS g, hl_shift AS "HL shift", verdict\n'
        "FROM comparisons\nWHERE analysis_set = 'protocol'\nORDER BY place, treatment, family, metric",
    ),
    Table(
        "Intervals of the same difference, three ways",
        "Difference of means (treatment minus reference) by Welch, by blocks and by BCa bootstrap of runs (10 000 resamples, seeded). "
        "They should agree; where they do not, look at the runs.",
        "No interval yet.",
        'SELECT model, treatment AS arm, label AS metric, unit_of_measure AS unit, diff, welch_low AS "Welch low", welch_high AS "Welch high",\n'
        '    n_pairs AS blocks, paired_low AS "blocks low", paired_high AS "blocks high", bca_diff_low AS "BCa low", bca_diff_high AS "BCa high",\n'
        '    shapiro_p_reference AS "Shapiro p, reference", shapiro_p_treatment AS "Shapiro p, arm", brown_forsythe_p AS "Brown-Forsythe p"\n'
        "FROM comparisons\nJOIN metric_facts USING (metric, label, better)\n"
        "WHERE analysis_set = 'protocol' AND status = 'ok' AND \"group\" = 'primary'\nORDER BY place, treatment, print_order",
    ),
    Table(
        "Randomisation test",
        "What the difference would have been had the schedule fallen otherwise: arms swapped within blocks, or labels permuted. Exact under any noise "
        "where the order was drawn at random; its 95 % interval (percent) is by inversion. Beside it the change if every missing run had been as "
        "extreme as the worst and best seen.",
        "No comparison yet.",
        "SELECT model, treatment AS arm, reference AS against, label AS metric, randomisation_design AS design, rearrangements, randomisation_exact AS exact, randomisation_p AS p,\n"
        '    randomisation_p_adjusted AS "p adjusted", randomisation_low AS low, randomisation_high AS high, randomisation_tost_p AS "TOST p", verdict,\n'
        '    worst_case_low AS "worst case low (%)", worst_case_high AS "worst case high (%)", arm_time_correlation AS "arm with time", longest_stretch AS "longest stretch"\n'
        "FROM comparisons\nWHERE analysis_set = 'protocol' AND status = 'ok' AND \"group\" = 'primary'\nORDER BY place, treatment, family, metric",
    ),
    Table(
        "Incomplete blocks",
        "Where a block lost one of its two runs: the paired analysis of the complete blocks beside a mixed model with random blocks (REML), which also "
        "uses the runs without a partner. Limits and p at 95 % and unadjusted. The mixed model never decides; where the two differ, look at the losses.",
        "No block is incomplete.",
        'SELECT model, treatment AS arm, reference AS against, label AS metric, n_pairs AS "complete blocks", interblock_n_lone AS "runs without partner",\n'
        '    paired_diff AS "difference, complete blocks", paired_p AS "p, complete blocks", interblock_diff AS "difference, mixed model", interblock_p AS "p, mixed model",\n'
        '    interblock_df AS df, interblock_pct AS "change (%)", interblock_pct_low AS low, interblock_pct_high AS high, interblock_correlation_in_block AS "correlation in block", interblock_status AS status\n'
        "FROM comparisons\nWHERE analysis_set = 'protocol' AND interblock_n_lone > 0 AND \"group\" = 'primary'\nORDER BY place, treatment, family, metric",
    ),
    Table(
        "Beyond the tested units",
        "One log ratio for each unit, t with units − 1, guarded and adjusted after Holm as every decision is; limits dual to the verdict. With few units "
        "there is an interval and no verdict: what is claimed of each unit holds for it alone.",
        "One unit: nothing is said of others.",
        'SELECT o.model, o.treatment AS arm, o.reference AS against, f.label AS metric, o.k_units AS ran, o.units, o.df, o.pct AS "change (%)", o.pct_low AS low, o.pct_high AS high,\n'
        '    o.level AS "level (%)", o.p, o.p_adjusted AS "p adjusted", o.tost_p_adjusted AS "TOST p adjusted", o.m_planned AS m, o.verdict, coalesce(o.words, o.reason) AS words\n'
        "FROM over_units AS o\nJOIN metric_facts AS f ON f.metric = o.metric AND f.family = 'primary'\nORDER BY o.model, o.workload, o.treatment, o.reference, f.print_order",
    ),
    Table(
        "Equivalence",
        "Two one-sided tests of the ratio at the margins 1, 2, 3, 5 % and the declared one, before adjustment. Only an equivalence test may "
        "say that two arms are alike.",
        "Nothing to test yet.",
        'SELECT e.model, e.treatment AS arm, f.label AS metric, e.layer, e.margin_pct AS "margin (%)", e.declared, e.p_low AS "p above −margin", e.p_high AS "p below +margin", e.p, e.equivalent\n'
        "FROM equivalence AS e\nJOIN metric_facts AS f ON f.metric = e.metric AND f.family = 'primary'\nORDER BY e.model, e.treatment, f.print_order, e.layer, e.margin_pct",
    ),
    Table(
        "What this N can see",
        "Smallest effect seen with 80 % power (MDE), and the N that would settle equivalence. The observed power restates p: p = 0.05 is a "
        "power of about one half, whatever N; it says nothing about whether N sufficed.",
        "No comparison yet.",
        'SELECT p.model, p.treatment AS arm, f.label AS metric, p.layer, p.n_reference AS "n reference", p.n_treatment AS "n arm", p.effect AS "d or dz",\n'
        '    p.mde AS "MDE", p.mde_bonferroni AS "MDE, Bonferroni", p.mde_pct AS "MDE (%)", p.posthoc AS "observed power", p.needs_n AS "needs N", p.needs_what AS "of", p.needs_for AS "for"\n'
        "FROM power AS p\nJOIN metric_facts AS f ON f.metric = p.metric AND f.family = 'primary'\nORDER BY p.model, p.treatment, f.print_order, p.layer",
    ),
    Table(
        "Does the verdict depend on what was kept?",
        "The verdict of the headline set beside those of all valid first attempts (throttled and hot ones included), of the document's rule "
        "(values beyond 3 SD replaced by the next attempt) and of the headline set without such values.",
        "No comparison yet.",
        'SELECT p.model, p.treatment AS arm, p.label AS metric, p.n_reference + p.n_treatment AS "runs kept", a.n_reference + a.n_treatment AS "all valid",\n'
        '    p.pct_change AS "change (%)", a.pct_change AS "change, all (%)", p.verdict, a.verdict AS "all valid verdict",\n'
        '    p.verdict_document_rerun_outliers AS "outliers re-run", p.verdict_protocol_minus_outliers AS "without outliers", list_contains(p.flags, \'sensitive_to_exclusions\') AS sensitive\n'
        "FROM comparisons AS p\nJOIN comparisons AS a USING (phase, unit, model, workload, reference, treatment, metric)\n"
        "JOIN metric_facts AS f ON f.metric = p.metric\n"
        "WHERE p.analysis_set = 'protocol' AND a.analysis_set = 'all_valid' AND p.\"group\" = 'primary'\nORDER BY p.place, p.treatment, f.print_order",
    ),
    Table(
        "Latency percentiles over requests",
        "Pooled over the requests of an arm, with a bootstrap of runs; the mean of the runs' own percentiles is another quantity and is shown "
        "beside it. Quantiles are type 7.",
        "No request was recorded.",
        'SELECT model, environment AS arm, metric, percentile, runs, requests, pooled, low, high, mean_of_runs AS "mean of runs",\n'
        '    median_of_runs AS "median of runs", diff, diff_low AS "diff low", diff_high AS "diff high", run_level_p AS "p of runs", reason\n'
        "FROM request_percentiles\nORDER BY model, metric DESC, percentile, environment",
    ),
    ORDER,
    Table(
        "Measured against the roofline",
        "Output rate over what bandwidth, batch and the active weights permit: above 1 something else was measured than is said.",
        "No unit with a known memory bandwidth, or the sizes or batch of the models are not known.",
        'SELECT model, environment AS arm, measured_tok_s AS "measured (tok/s)", bound_tok_s AS "bound (tok/s)", measured_tok_s / bound_tok_s AS ratio,\n'
        '    batch_size AS batch, bandwidth_gb_s AS "bandwidth (GB/s)", active_gb AS "read per step (GB)"\nFROM rooflines\nORDER BY ratio DESC NULLS LAST',
    ),
    Table(
        "Decisions between phases",
        "Screened options by rank (their estimates are biased upwards by the choice and are never the result), and how much of the overhead the "
        "optimised arm wins back.",
        "This campaign has no screening or validation phase.",
        "SELECT kind, metric, model, arm, rank, estimate, low, high, p, decision\nFROM phase_decisions\nORDER BY kind, metric, rank, model",
    ),
)
"""What the statistics found, beyond the sentence of each model."""

COMPARISON_SQL = """SELECT model, treatment, reference, decided_on, decided_n_reference, decided_mean_reference, decided_sd_reference,
    decided_n_treatment, decided_mean_treatment, decided_sd_treatment, pct, pct_low, pct_high, pct_level,
    method, p_adjusted, tost_p_adjusted, margin_pct, verdict, needs_n, claim
FROM comparisons
WHERE metric = 'token_throughput_tok_s' AND analysis_set = 'protocol'
ORDER BY place, treatment"""


def write(results: Path) -> Path:
    """Write ``<results>/report/index.html`` and the figures beside it as PNG and SVG; returns the page's path.

    Raises :class:`campaign.analysis.views.ResultsError` where there is no campaign.
    """
    import jinja2
    from markupsafe import Markup

    results = results.resolve()
    with ThreadPoolExecutor(1) as pool:
        bundle = pool.submit(javascript)
        con = evidence.connect(results)
        con.execute("CREATE TEMP TABLE plausibility AS FROM plausibility")  # several parts of the page ask for it
        rows = evidence.rows(con)
        figures, specifications = _figures(con, sql.output_folder(results, "report", "figures"))
        heads = {kind: Store(results).head(kind) for kind in ("journal", "manifest")}
        context = _context(con, rows, heads, registration.state(results)) | {
            "figures": figures,
            "folder": results,
            "heads": heads,
        }
        script = bundle.result()
    from campaign.report.figures import DARK, LIGHT

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        TEMPLATE
    )
    page = template.render(
        context,
        javascript=Markup(script),
        specifications=_json(specifications),
        themes=_json({"light": LIGHT, "dark": DARK}),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    path = sql.output_folder(results, "report") / "index.html"
    with publish(path) as partial:
        partial.write_text(page, encoding="utf-8")
    seal.seal(results, heads, "report")
    return path


def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; bundled once for a version and kept in the project's home."""
    import vl_convert

    kept = host.home() / "report" / f"vega-{version('vl-convert-python')}.js"
    if kept.exists():
        return kept.read_text(encoding="utf-8")
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub says that the snippet is not optional
    script = bundle.replace("</script", "<\\/script")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with publish(kept) as partial:
        partial.write_text(script, encoding="utf-8")
    return script


def _json(value: Any) -> Markup:
    """JSON for a script element: without any character that could end the element or begin another state of the parser."""
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _figures(con: duckdb.DuckDBPyConnection, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    import duckdb
    import vl_convert
    from altair.utils import schemapi
    from markupsafe import Markup

    from campaign.report import figures

    shown, specifications = [], {}
    for figure in (*((figures.LOOKS_FIGURE,) if guard.guard_of(con).sequential else ()), *figures.FIGURES):
        entry: dict[str, Any] = {
            "name": figure.name,
            "title": figure.title,
            "caption": figure.caption,
            "sql": figure.sql,
            "svg": None,
            "absent": figure.absent,
        }
        try:
            with schemapi.debug_mode(False):
                chart = figure.draw(con)
        except duckdb.Error as error:
            entry["absent"] = f"a file could not be read ({str(error).splitlines()[0]})"
            chart = None
        if chart is not None:
            specification = figures.themed(chart)
            drawing = figures.svg(specification)
            (folder / f"{figure.name}.svg").write_text(drawing, encoding="utf-8")
            (folder / f"{figure.name}.png").write_bytes(vl_convert.svg_to_png(drawing, scale=2))
            entry["svg"] = Markup(drawing)
            specifications[figure.name] = specification
        shown.append(entry)
    return shown, specifications


def _context(
    con: duckdb.DuckDBPyConnection,
    rows: list[wording.Row],
    heads: dict[str, str],
    registered: registration.Stated | None,
) -> dict[str, Any]:
    campaign = _one(con, "FROM campaign")
    counts = _one(
        con,
        "SELECT count(*) AS planned, count(*) FILTER (attempts > 0) AS started, count(*) FILTER (accepted) AS valid, "
        "count(*) FILTER (status = 'exhausted') AS exhausted, count(*) FILTER (status = 'left_out') AS left_out, count(*) FILTER (status = 'spared') AS spared, count(DISTINCT model) AS models, "
        "count(DISTINCT environment) AS environments, max(repetition) AS repetitions, count(DISTINCT unit) AS units FROM runs",
    )
    analysed = con.execute("SELECT coalesce(sum(analysed), 0) FROM flow").fetchall()[0][0]
    reference = campaign.get("reference") or "the reference"
    finished = (
        counts["valid"] + counts["exhausted"] + counts["left_out"] + counts["spared"] == counts["planned"]
        and counts["planned"] > 0
    )
    state = "finished" if finished else "not begun" if not counts["started"] else "unfinished"
    quality = [_filled(con, table) for table in QUALITY]
    throughput = [row for row in rows if row["metric"] == wording.HEADLINE and wording.present(row["pct"])]
    low, high = _span(throughput)
    used = list(dict.fromkeys(row["method"] for row in rows if wording.present(row["pct_low"])))
    checks = checklist.checklist(con)
    return {
        "campaign": {
            "name": campaign.get("campaign") or "Campaign",
            "subtitle": f"{counts['models']} models × {counts['environments']} environments",
            "simulated": campaign.get("simulated", False),
            "state": f"{state} · {counts['valid']} of {counts['planned']} runs",
        },
        "headline": wording.headline(rows),
        "sentences": sentences if len(sentences := wording.sentences(rows)) > 1 else [],
        "lead": _lead(counts, reference, con),
        "warnings": _warnings(con, campaign, rows, finished, counts),
        "reference": reference,
        "forest": [_cells(row) | {"whisker": _whisker(row, low, high)} for row in throughput],
        "comparison_sql": COMPARISON_SQL,
        "descriptives_sql": sql.definition("descriptives"),
        "method_line": (
            "Mean ± standard deviation over accepted runs; change and interval in percent of the reference. "
            + (
                f"Intervals: {' / '.join(used)}, each dual to its verdict at the level of its family (of equivalence where that is the "
                "verdict, else of the difference)."
                if used
                else ""
            )
        ),
        "cells": _evidence(rows),
        "problems": _problems(con),
        "statistics": [_filled(con, table) for table in _statistics(guard.guard_of(con))],
        "checklist": checks,
        "flow_steps": [
            {"name": name, "count": count}
            for name, count in (
                ("planned", counts["planned"]),
                ("started", counts["started"]),
                ("valid", counts["valid"]),
                ("analysed", analysed),
            )
        ],
        "quality": quality,
        "reading": [_filled(con, table) for table in READING] if campaign.get("imported") else [],
        "losses": [_filled(con, table) for table in LOSSES],
        "method": [*(registered.sentences() if registered else []), *_method(con, reference)],
        "provenance": _provenance(campaign, heads),
        "units": _units(con),
        "config": _pretty(campaign.get("config")),
        "views": sql.tables(),
    }


LOSSES = (
    Table(
        "Where runs were lost",
        "Every attempt that does not count, by arm and reason. If an arm loses more, the loss may itself be an effect of the arm.",
        "No attempt was lost.",
        "SELECT model, environment, coalesce(nullif(array_to_string(rejected_by, ', '), ''), failure, outcome) AS reason, count(*) AS attempts\n"
        "FROM attempts\nWHERE NOT accepted\nGROUP BY ALL\nORDER BY model, environment, attempts DESC",
    ),
    Table(
        "Do the arms differ in losses?",
        "Attempts by arm, and Fisher's exact p that one fails or throttles more often. A loss comes after the treatment began, so it may be its effect.",
        "No comparison yet.",
        "SELECT model, treatment AS arm, reference AS against, attempted_treatment || ' / ' || attempted_reference AS \"attempts (arm / reference)\",\n"
        "    failed_treatment || ' / ' || failed_reference AS failed, failed_fisher_p AS \"p failed\",\n"
        "    throttled_treatment || ' / ' || throttled_reference AS throttled, throttled_fisher_p AS \"p throttled\"\n"
        "FROM losses\nORDER BY model, treatment, reference, unit",
    ),
)
"""Under the flow."""


def _statistics(held: guard.Guard) -> tuple[Table, ...]:
    """What may be shown in detail (``guard``)."""
    if held.fixed:
        return STATISTICS
    return (*(LOOKS if held.sequential else ()), OPEN, *((ORDER,) if held.finished else ()))


def _problems(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Failed plausibility checks, gravest first, each with its subjects and figures."""
    return sql.records(
        con,
        """SELECT check_name AS name, bool_or(grave) AS grave, any_value(explanation) AS explanation,
            list(subject || CASE WHEN limit_value > 0 THEN ' (' || printf('%.4g', figure) || ' against ' || printf('%.4g', limit_value) || ')'
                ELSE '' END ORDER BY figure DESC, subject)[:6] AS subjects, count(*) AS n
        FROM plausibility WHERE NOT passed GROUP BY check_name ORDER BY grave DESC, name""",
    )


def _lead(counts: dict[str, Any], reference: str, con: duckdb.DuckDBPyConnection) -> str:
    gpus = [
        row[0] for row in con.execute("SELECT DISTINCT gpu FROM units WHERE gpu IS NOT NULL ORDER BY gpu").fetchall()
    ]
    where = f"{max(counts['units'], 1)} unit{'s' if counts['units'] > 1 else ''}"
    where += f" ({', '.join('no GPU' if gpu == 'none' else gpu for gpu in gpus)})" if gpus else ""
    return (
        f"Every arm is compared with {reference}. {counts['valid']} of {counts['planned']} runs are accepted, on {where}. "
        "The run is the experimental unit; what is said holds for the tested units, these models and this software, and for nothing wider."
    )


def _warnings(
    con: duckdb.DuckDBPyConnection,
    campaign: dict[str, Any],
    rows: Sequence[wording.Row],
    finished: bool,
    counts: dict[str, Any],
) -> list[str]:
    found = []
    if campaign.get("simulated"):
        found.append("The data are simulated: no figure on this page was measured.")
    if not campaign:
        found.append("campaign.json is missing or cannot be read; names and provenance are left out.")
    if not finished and counts["started"]:
        left = counts["planned"] - counts["valid"] - counts["exhausted"] - counts["left_out"] - counts["spared"]
        found.append(f"The campaign is not finished: {left} runs are outstanding, and every figure may still change.")
    if rows and (why := guard.guard_of(con).why) is not None:
        found.append(why)
    if counts["exhausted"]:
        found.append(
            f"{counts['exhausted']} runs were given up after their attempts were used; their cells are short of repetitions."
        )
    if counts["left_out"]:
        cells = con.execute("SELECT count(*) FROM cells_left_out").fetchall()[0][0]
        found.append(
            f"{counts['left_out']} runs of {cells} cells were left out after the shakedown: they cannot run here, or nothing was left to compare "
            "them with. They are named under Quality with the cause."
        )
    for arm, differs in con.execute("SELECT environment, differs FROM arm_software WHERE len(differs) > 0").fetchall():
        found.append(
            f"{arm} does not run the reference's {' and '.join(differs)}: what is found between them is of that together with the environment "
            "(what each runs stands under Quality)."
        )
    broken = con.execute("SELECT count(*) FROM broken_files WHERE file <> 'journal.jsonl'").fetchall()[0][0]
    if broken:
        found.append(f"{broken} files cannot be read and are left out; they are named under Quality.")
    if campaign.get("imported"):
        imported = json.loads(campaign["imported"])
        whose = f", by {imported['source']}" if imported.get("source") else ""
        found.append(
            f"Imported from {imported['file']} ({imported['rows']} attempts{whose}): there is no plan, journal, log, gate record or telemetry "
            "behind these figures, and planned means present in the file."
        )
    failed = con.execute("SELECT count(DISTINCT check_name) FROM plausibility WHERE NOT passed AND grave").fetchall()[
        0
    ][0]
    if failed:
        found.append(
            f"{failed} plausibility check{'s' if failed > 1 else ''} that put{'' if failed > 1 else 's'} these figures in doubt "
            f"fail{'' if failed > 1 else 's'}: read what is wrong with the data, below, before any figure."
        )
    if any(row["separated"] for row in rows):
        found.append("In some cells the arms were not interleaved in time; nothing is claimed from them.")
    return found


def _evidence(rows: list[wording.Row]) -> list[dict[str, Any]]:
    cells = []
    order = list(wording.SUMMARY)
    several = len({row["treatment"] for row in rows}) > 1
    for (phase, model, workload, reference, treatment), group in groupby(
        rows, key=lambda row: (row["phase"], row["model"], row["workload"], row["reference"], row["treatment"])
    ):
        mine = list(group)
        summary = sorted((row for row in mine if row["metric"] in order), key=lambda row: order.index(row["metric"]))
        claims = [wording.claim(row) for row in summary if row["metric"] == wording.HEADLINE]
        cells.append(
            {
                "title": f"{model} · {workload} · {phase}" + (f" · {treatment}" if several else ""),
                "reference": reference,
                "treatment": treatment,
                "claim": claims[0] if claims else "",
                "rows": [_cells(row) for row in summary],
                "others": [_cells(row) for row in mine if row["metric"] not in order],
            }
        )
    return cells


def _cells(row: wording.Row) -> dict[str, Any]:
    return {
        "model": row["model"],
        "treatment": row["treatment"],
        "label": row["label"] if wording.present(row["label"]) else row["metric"],
        "unit": row["unit_of_measure"],
        "reference_value": wording.mean_sd(row["mean_reference"], row["sd_reference"]),
        "treatment_value": wording.mean_sd(row["mean_treatment"], row["sd_treatment"]),
        "n_reference": row["n_reference"],
        "n_treatment": row["n_treatment"],
        "change": wording.change(row),
        "interval": wording.interval(row),
        "level": wording.level(row),
        "verdict": wording.verdict_word(row),
        "tone": {True: "worse", False: "better", None: "unclear"}[wording.worse(row)],
    }


def _span(rows: Sequence[wording.Row]) -> tuple[float, float]:
    """Common axis of the intervals, in percent, with zero inside."""
    values = [
        0.0,
        *(sign * row["margin_pct"] for row in rows if wording.present(row["margin_pct"]) for sign in (-1, 1)),
    ] + [float(row[key]) for row in rows for key in ("pct", "pct_low", "pct_high") if wording.present(row[key])]
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin


def _whisker(row: wording.Row, low: float, high: float) -> Markup:
    from markupsafe import Markup

    def x(value: float) -> float:
        return 100 * (value - low) / (high - low)

    color = "var(--ink)"
    bar, band = "", ""
    if wording.present(row["margin_pct"]):
        left, right = x(-row["margin_pct"]), x(row["margin_pct"])
        band = f'<rect x="{left:.2f}%" width="{right - left:.2f}%" y="2" height="31" style="fill:var(--accent);opacity:.10"/>'
    limits = row["pct_low"], row["pct_high"]
    if any(map(wording.present, limits)):  # an open side goes to the edge
        left, right = (x(at) if wording.present(at) else edge for at, edge in zip(limits, (0, 100), strict=True))
        bar = f'<line x1="{left:.2f}%" x2="{right:.2f}%" y1="17" y2="17" style="stroke:{color};stroke-width:2"/>'
    return Markup(
        '<svg class="forest" role="img" aria-label="interval">'
        f'{band}<line x1="0" x2="100%" y1="33" y2="33" style="stroke:var(--line)"/>'
        f'<line x1="{x(0):.2f}%" x2="{x(0):.2f}%" y1="2" y2="33" style="stroke:var(--soft);stroke-dasharray:2 3"/>'
        f'<text x="{x(0):.2f}%" dx="4" y="10" style="fill:var(--soft);font-size:10px">0</text>{bar}'
        f'<circle cx="{x(row["pct"]):.2f}%" cy="17" r="5" style="fill:var(--accent)"/></svg>'
    )


def _method(con: duckdb.DuckDBPyConnection, reference: str) -> list[str]:
    chosen, held = inputs.settings(con), guard.guard_of(con)
    lines = [
        f"The reference arm is {reference}; change = 100 × (treatment / reference − 1), so a negative throughput change is a cost.",
        "A block holds the runs of one model, workload and repetition in every arm, one after the other on one unit.",
        *([held.why, guard.INTERVAL] if held.why is not None else []),
        *([methods.looks_in_words(con)] if held.sequential else []),
        "From 10 complete blocks of interleaved arms on (or fewer, where runs drift in time), the headline test is the paired t test and its "
        "interval Fieller's with covariance; below that Welch's test and Fieller's interval for independent arms. Both are guarded, by a rule "
        "chosen by simulation (docs/statistics.md): each side must also pass with the t corrected for skewness; the standard error is larger by "
        f"√(1 + k/n), k = {deciding.UNSEEN_DIFFERENCE:g} for difference and {deciding.UNSEEN_EQUIVALENCE:g} for equivalence, for what n runs did not show; and blocks that "
        "resemble their neighbours count as the fewer independent ones that they are worth. The interval of a claim is the set of effects that its "
        "test does not reject at the level at which its family was decided (Holm: 0.05 by the comparisons not rejected). Below "
        f"{MINIMUM_N} runs in an arm nothing is inferred.",
        "Whether a metric is better higher or lower is taken from metric_facts, or declared; without either no side is called better.",
        "A randomisation test (arms swapped within blocks, else labels permuted; exact up to 2^20 rearrangements, else 9 999 seeded draws; its interval by "
        "inversion) stands beside every verdict; where it does not show a difference that is claimed, the comparison is flagged randomisation_disagrees.",
        f"Two arms are called equivalent only where two one-sided tests put their ratio within ±{number(chosen['margin_pct'])} % "
        f"({'declared in the config' if chosen['margin_declared'] else 'the default: the config declares none'}), the lower bound being the inverse of the upper, so that it does not matter which arm is the reference. An interval that covers zero shows nothing.",
        f"p values are adjusted after Holm over the {chosen['planned']['F_doc']} planned comparisons of throughput, mean latency and peak memory (family "
        f"F_doc; {chosen['planned']['F_primary5']} with request throughput and KV cache, F_primary5); secondary metrics by Benjamini-Hochberg. Bonferroni, "
        "Benjamini-Hochberg and the rule as first written down stand beside them.",
        f"Bootstrap intervals are BCa with 10 000 resamples of runs; seeds derive from the campaign's seed {chosen['seed']} by SHA-256.",
        "Quantiles are type 7 (linear); standard deviations have n − 1. Throughput counts output tokens only.",
    ]
    unavailable = [
        row[0] for row in con.execute("SELECT DISTINCT unnest(unavailable) AS it FROM gates ORDER BY it").fetchall()
    ]
    for (note,) in con.execute("SELECT unnest(from_json(imported->'notes', '[\"VARCHAR\"]')) FROM campaign").fetchall():
        lines.append(f"On import: {note}.")
    if unavailable:
        lines.append(f"The gate could not check on this host: {', '.join(map(str, unavailable))}.")
    return lines


def _provenance(campaign: dict[str, Any], heads: dict[str, str]) -> list[tuple[str, str]]:
    facts = json.loads(campaign["facts"]) if campaign.get("facts") else {}
    lines = [
        ("campaign", campaign.get("campaign_id")),
        ("created", f"{campaign['created_utc']:%Y-%m-%d %H:%M} UTC" if campaign.get("created_utc") else None),
        ("chosen because", campaign.get("chosen_because")),
        ("seed", campaign.get("seed")),
        ("git commit", _commit(campaign)),
        ("code digest", campaign.get("code_digest")),
        ("config hash", campaign.get("config_hash")),
        ("plan hash", campaign.get("plan_hash")),
        ("journal, lines and head", heads["journal"]),
        ("manifest, lines and digest", heads["manifest"]),
        *((key.replace("_", " "), _pretty(value)) for key, value in facts.items() if "digest" in key or "image" in key),
    ]
    return [(key, str(value)) for key, value in lines if value not in (None, "")]


def _commit(campaign: dict[str, Any]) -> str | None:
    commit = campaign.get("git_commit")
    return f"{commit}, with uncommitted changes" if commit and campaign.get("git_dirty") else commit


def _units(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    units = []
    for unit in sql.records(con, "FROM units ORDER BY unit"):
        warnings = "; ".join(json.loads(unit["warnings"] or "[]"))
        refused = "; ".join(f"{name}: {why}" for name, why in json.loads(unit["refused_options"] or "{}").items())
        memory = number(unit["mem_total_gib"])
        facts = [
            ("host", unit["hostname"]),
            ("machine", f"{unit['machine']}, {unit['cpus']} CPUs, {memory} GiB"),
            ("GPU", unit["gpu"]),
            ("image", _images(unit["images"])),
            ("refused here", refused),
            ("warnings", warnings),
        ]
        units.append(
            {
                "name": unit["unit"],
                "facts": [(key, value) for key, value in facts if value],
                "details": _pretty(
                    {key: json.loads(unit[key]) for key in ("details", "images", "prepared") if unit[key]}
                ),
            }
        )
    return units


def _images(text: str | None) -> str:
    """Every userland of the unit with its digest."""
    images = json.loads(text or "{}").values()
    return "; ".join(dict.fromkeys(f"{image['reference']} @ {image['digest']}" for image in images))


def _pretty(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


def _one(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    return next(iter(sql.records(con, query)), {})


def _filled(con: duckdb.DuckDBPyConnection, table: Table) -> Table:
    import duckdb

    try:
        result = con.execute(table.sql)
    except duckdb.Error as error:
        return Table(table.title, table.note, f"A file could not be read: {str(error).splitlines()[0]}", table.sql)
    names = [str(column[0]) for column in result.description or ()]
    rows = result.fetchall()
    numeric = [
        bool(rows)
        and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        and not isinstance(rows[0][i], bool)
        for i in range(len(names))
    ]
    return Table(
        table.title,
        table.note,
        table.empty,
        table.sql,
        tuple(Column(name, right) for name, right in zip(names, numeric, strict=True)),
        tuple(tuple(_cell(value) for value in row) for row in rows),
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)
