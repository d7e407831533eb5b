"""What the statistics found, beyond the sentence of each model."""

from __future__ import annotations

from campaign.report.guard import guard_of
from campaign.report.page.section import Built, Material, Section, tabled
from campaign.report.page.table import Table

ORDER = Table(
    "Order, drift and carry-over",
    "Does place, time, the run before, the start temperature or the memory free at the start explain what the "
    "treatment is credited with? Where blocks resemble their neighbours, p after Newey and West and limits of a "
    "moving-block bootstrap stand beside. With several tests for each comparison, false alarms are to be expected; a "
    "flag changes which analysis leads, never which runs are kept.",
    "Too few runs, or their order is not known.",
    'SELECT o.model, o.treatment AS arm, f.label AS metric, o.interleaved, o.flags, o.period_p AS "period p", '
    'o.drift_p AS "drift p",\n'
    '    o.ljung_box_runs_p AS "autocorrelation p", o.carry_over_p AS "carry-over p", '
    'o.temperature_p AS "temperature p", o.memory_p AS "memory p",\n'
    '    o.newey_west_p AS "Newey-West p", o.moving_block_low AS "moving blocks low", '
    'o.moving_block_high AS "moving blocks high", o.reason\n'
    "FROM order_effects AS o\nJOIN metric_facts AS f ON f.metric = o.metric AND f.family = 'primary'\n"
    "ORDER BY o.model, o.treatment, f.print_order",
)

OPEN = Table(
    "Every comparison",
    "Change of geometric means over complete blocks; its interval holds at every moment at once, for the primary "
    "metrics together with all planned ones. Of comparisons that looks decide: "
    "their estimate and the interval dual to the verdict.",
    "No comparison yet.",
    "SELECT model, treatment AS arm, reference AS against, coalesce(label, metric) AS metric, "
    'decided_n_treatment AS blocks, effect AS "change", '
    "CASE WHEN scale = 'ratio' THEN '%' ELSE unit_of_measure END AS \"in\",\n"
    "    coalesce(pct_low, difference_low) AS low, coalesce(pct_high, difference_high) AS high, coalesce(pct_level, "
    'difference_level) AS "level (%)",\n'
    '    alone_low AS "alone low", alone_high AS "alone high", alone_level AS "alone level (%)", verdict\n'
    "FROM comparisons\nWHERE analysis_set = 'protocol'\nORDER BY place, treatment, family NULLS LAST, metric",
)

LOOKS = (
    Table(
        "Looks, in the order in which they were due",
        "What each look newly claimed, and which models it gave no further blocks. Claims may concern other models: "
        "a level that one claim frees is passed on.",
        "No look was taken yet.",
        'SELECT l.event, l.model, l.workload, l.look, l.blocks, l.new_claims AS "new claims", '
        "list_transform(l.stopped, lambda cell: replace(cell, '__', ' · ')) AS stopped, l.at_utc AS at\n"
        "FROM looks AS l\nORDER BY l.event",
    ),
    Table(
        "Models that stopped",
        "Why, after how many blocks, and how many runs of the plan were not needed.",
        "No model has stopped.",
        "SELECT c.model, c.workload, c.reason, max(l.blocks) AS blocks, count(r.run_id) "
        'AS "runs not needed"\nFROM cells_closed AS c\n'
        "JOIN looks AS l USING (model, workload)\nLEFT JOIN runs AS r ON (r.model, r.workload, r.status) = (c.model, "
        "c.workload, 'spared')\n"
        "GROUP BY ALL\nORDER BY c.model, c.workload",
    ),
    Table(
        "The path of every comparison that looks decide",
        "RCI: 95 % interval that holds at all looks together. Boundaries in percent at the level that the comparison "
        "has now: a difference is claimed beyond ±, equivalence between from and to. p: the smallest level at which "
        "a look so far rejects, then after the family's adjustment at that look.",
        "No look was taken yet.",
        'SELECT l.model, l.treatment AS arm, f.label AS metric, l.look, l.n, l.status, l.pct AS "change (%)", '
        'l.rci95_low AS "RCI low", l.rci95_high AS "RCI high",\n'
        '    l.different_beyond_pct AS "different beyond ±", l.equivalent_from_pct AS "equivalent from", '
        'l.equivalent_to_pct AS "to", l.sequential_p_difference AS "p difference",\n'
        '    l.adjusted_p_difference AS "adjusted", l.sequential_p_equivalence AS "p equivalence", '
        'l.adjusted_p_equivalence AS "adjusted ", l.claimed, l.skewness\n'
        "FROM comparison_looks AS l\nJOIN metric_facts AS f USING (metric)\nORDER BY l.model, l.treatment, "
        "f.print_order, l.look",
    ),
    Table(
        "Not corrected for stopping",
        "What would be printed had nobody looked before the end: for comparison alone. A stop selects samples whose "
        "mean lies far out or near zero; at a stop these intervals cover the truth less "
        "often than they say (docs/statistics.md).",
        "No look was taken yet.",
        'SELECT l.model, l.treatment AS arm, f.label AS metric, l.n, l.pct AS "change (%)", '
        'l.uncorrected_low AS "95 % low", l.uncorrected_high AS "95 % high"\n'
        "FROM comparison_looks AS l\nJOIN metric_facts AS f USING (metric)\nWHERE l.status = 'ok'\n"
        "QUALIFY row_number() OVER (PARTITION BY l.model, l.workload, l.treatment, l.metric "
        "ORDER BY l.look DESC) = 1\nORDER BY l.model, l.treatment, f.print_order",
    ),
)

TABLES = (
    Table(
        "Every comparison",
        "All metrics, tests and adjustments; the headline set of attempts. p after Holm (secondary metrics: "
        "Benjamini-Hochberg) over the comparisons that were planned.",
        "No comparison yet.",
        'SELECT model, treatment AS arm, reference AS against, label AS metric, pct AS "change (%)", '
        'pct_low AS "low", pct_high AS "high", pct_level AS "level (%)",\n'
        '    headline_test AS test, p, p_adjusted AS "p adjusted", p_bonferroni AS "Bonferroni", p_bh AS "BH", '
        'p_by AS "BY", tost_p_adjusted AS "TOST p adjusted",\n'
        '    document_test AS "test that the methodology chooses", document_p AS "its p", welch_p AS "Welch p", '
        'mwu_p AS "MWU p", paired_p AS "paired p",\n'
        '    cohens_d AS d, hedges_g AS g, hl_shift AS "HL shift", verdict\n'
        "FROM comparisons\nWHERE analysis_set = 'protocol'\nORDER BY place, treatment, family, metric",
    ),
    Table(
        "Intervals of the same difference, three ways",
        "Difference of means (treatment minus reference) by Welch, by blocks and by BCa bootstrap of runs (10 000 "
        "resamples, seeded). They should agree; where they do not, look at the runs.",
        "No interval yet.",
        'SELECT model, treatment AS arm, label AS metric, unit_of_measure AS unit, diff, welch_low AS "Welch low", '
        'welch_high AS "Welch high",\n'
        '    n_pairs AS blocks, paired_low AS "blocks low", paired_high AS "blocks high", bca_diff_low AS "BCa low", '
        'bca_diff_high AS "BCa high",\n'
        '    shapiro_p_reference AS "Shapiro p, reference", shapiro_p_treatment AS "Shapiro p, arm", '
        'brown_forsythe_p AS "Brown-Forsythe p"\n'
        "FROM comparisons\nJOIN metric_facts USING (metric, label, better)\n"
        "WHERE analysis_set = 'protocol' AND status = 'ok' AND \"group\" = 'primary'\nORDER BY place, treatment, "
        "print_order",
    ),
    Table(
        "Randomisation test",
        "What the difference would have been had the schedule fallen otherwise: arms swapped within blocks, or "
        "labels permuted. Exact under any noise where the order was drawn at random; its 95 % interval (percent) is "
        "by inversion. Beside it the change if every missing run had been as extreme as the worst and best seen.",
        "No comparison yet.",
        "SELECT model, treatment AS arm, reference AS against, label AS metric, randomisation_design AS design, "
        "rearrangements, randomisation_exact AS exact, randomisation_p AS p,\n"
        '    randomisation_p_adjusted AS "p adjusted", randomisation_low AS low, randomisation_high AS high, '
        'randomisation_tost_p AS "TOST p", verdict,\n'
        '    worst_case_low AS "worst case low (%)", worst_case_high AS "worst case high (%)", '
        'arm_time_correlation AS "arm with time", longest_stretch AS "longest stretch"\n'
        "FROM comparisons\nWHERE analysis_set = 'protocol' AND status = 'ok' AND \"group\" = 'primary'\n"
        "ORDER BY place, treatment, family, metric",
    ),
    Table(
        "Incomplete blocks",
        "Where a block lost one of its two runs: the paired analysis of the complete blocks beside a mixed model "
        "with random blocks (REML), which also uses the runs without a partner. Limits and p at 95 % and unadjusted. "
        "The mixed model never decides; where the two differ, look at the losses.",
        "No block is incomplete.",
        'SELECT model, treatment AS arm, reference AS against, label AS metric, n_pairs AS "complete blocks", '
        'interblock_n_lone AS "runs without partner",\n'
        '    paired_diff AS "difference, complete blocks", paired_p AS "p, complete blocks", '
        'interblock_diff AS "difference, mixed model", interblock_p AS "p, mixed model",\n'
        '    interblock_df AS df, interblock_pct AS "change (%)", interblock_pct_low AS low, '
        'interblock_pct_high AS high, interblock_correlation_in_block AS "correlation in block", '
        "interblock_status AS status\n"
        "FROM comparisons\nWHERE analysis_set = 'protocol' AND interblock_n_lone > 0 AND \"group\" = 'primary'\n"
        "ORDER BY place, treatment, family, metric",
    ),
    Table(
        "Beyond the tested units",
        "One log ratio for each unit, t with units − 1, guarded and adjusted after Holm as every decision is; limits "
        "dual to the verdict. With few units there is an interval and no verdict: "
        "what is claimed of each unit holds for it alone.",
        "One unit: nothing is said of others.",
        "SELECT o.model, o.treatment AS arm, o.reference AS against, f.label AS metric, o.k_units AS ran, o.units, "
        'o.df, o.pct AS "change (%)", o.pct_low AS low, o.pct_high AS high,\n'
        '    o.level AS "level (%)", o.p, o.p_adjusted AS "p adjusted", o.tost_p_adjusted AS "TOST p adjusted", '
        "o.m_planned AS m, o.verdict, coalesce(o.words, o.reason) AS words\n"
        "FROM over_units AS o\nJOIN metric_facts AS f ON f.metric = o.metric AND f.family = 'primary'\n"
        "ORDER BY o.model, o.workload, o.treatment, o.reference, f.print_order",
    ),
    Table(
        "Equivalence",
        "Two one-sided tests of the ratio at the margins 1, 2, 3, 5 % and the declared one, before adjustment. Only "
        "an equivalence test may say that two arms are alike.",
        "Nothing to test yet.",
        'SELECT e.model, e.treatment AS arm, f.label AS metric, e.layer, e.margin_pct AS "margin (%)", e.declared, '
        'e.p_low AS "p above −margin", e.p_high AS "p below +margin", e.p, e.equivalent\n'
        "FROM equivalence AS e\nJOIN metric_facts AS f ON f.metric = e.metric AND f.family = 'primary'\n"
        "ORDER BY e.model, e.treatment, f.print_order, e.layer, e.margin_pct",
    ),
    Table(
        "What this N can see",
        "Smallest effect seen with 80 % power (MDE), and the N that would settle equivalence. The observed power "
        "restates p: p = 0.05 is a power of about one half, whatever N; it says nothing about whether N sufficed.",
        "No comparison yet.",
        'SELECT p.model, p.treatment AS arm, f.label AS metric, p.layer, p.n_reference AS "n reference", '
        'p.n_treatment AS "n arm", p.effect AS "d or dz",\n'
        '    p.mde AS "MDE", p.mde_bonferroni AS "MDE, Bonferroni", p.mde_pct AS "MDE (%)", '
        'p.posthoc AS "observed power", p.needs_n AS "needs N", p.needs_what AS "of", p.needs_for AS "for"\n'
        "FROM power AS p\nJOIN metric_facts AS f ON f.metric = p.metric AND f.family = 'primary'\nORDER BY p.model, "
        "p.treatment, f.print_order, p.layer",
    ),
    Table(
        "Does the verdict depend on what was kept?",
        "The verdict of the headline set beside those of all valid first attempts (throttled and hot ones included), "
        "of the document's rule (values beyond 3 SD replaced by the next attempt) "
        "and of the headline set without such values.",
        "No comparison yet.",
        'SELECT p.model, p.treatment AS arm, p.label AS metric, p.n_reference + p.n_treatment AS "runs kept", '
        'a.n_reference + a.n_treatment AS "all valid",\n'
        '    p.pct_change AS "change (%)", a.pct_change AS "change, all (%)", p.verdict, '
        'a.verdict AS "all valid verdict",\n'
        '    p.verdict_document_rerun_outliers AS "outliers re-run", '
        'p.verdict_protocol_minus_outliers AS "without outliers", list_contains(p.flags, '
        "'sensitive_to_exclusions') AS sensitive\n"
        "FROM comparisons AS p\nJOIN comparisons AS a USING (phase, unit, model, workload, reference, treatment, "
        "metric)\n"
        "JOIN metric_facts AS f ON f.metric = p.metric\n"
        "WHERE p.analysis_set = 'protocol' AND a.analysis_set = 'all_valid' AND p.\"group\" = 'primary'\n"
        "ORDER BY p.place, p.treatment, f.print_order",
    ),
    Table(
        "Latency percentiles over requests",
        "Pooled over the requests of an arm, with a bootstrap of runs; the mean of the runs' own percentiles is "
        "another quantity and is shown beside it. Quantiles are type 7.",
        "No request was recorded.",
        "SELECT model, environment AS arm, metric, percentile, runs, requests, pooled, low, high, "
        'mean_of_runs AS "mean of runs",\n'
        '    median_of_runs AS "median of runs", diff, diff_low AS "diff low", diff_high AS "diff high", '
        'run_level_p AS "p of runs", reason\n'
        "FROM request_percentiles\nORDER BY model, metric DESC, percentile, environment",
    ),
    ORDER,
    Table(
        "Measured against the roofline",
        "Output rate over what bandwidth, batch and the active weights permit: "
        "above 1 something else was measured than is said.",
        "No unit with a known memory bandwidth, or the sizes or batch of the models are not known.",
        'SELECT model, environment AS arm, measured_tok_s AS "measured (tok/s)", bound_tok_s AS "bound (tok/s)", '
        "measured_tok_s / bound_tok_s AS ratio,\n"
        '    batch_size AS batch, bandwidth_gb_s AS "bandwidth (GB/s)", active_gb AS "read per step (GB)"\n'
        "FROM rooflines\nORDER BY ratio DESC NULLS LAST",
    ),
    Table(
        "Decisions between phases",
        "Screened options by rank (their estimates are biased upwards by the choice and are never the result), and "
        "how much of the overhead the optimised arm wins back.",
        "This campaign has no screening or validation phase.",
        "SELECT kind, metric, model, arm, rank, estimate, low, high, p, decision\nFROM phase_decisions\n"
        "ORDER BY kind, metric, rank, model",
    ),
)


def _shown(of: Material) -> tuple[Table, ...]:
    """What may be shown in detail (``guard``)."""
    held = guard_of(of.con)
    if held.fixed:
        return TABLES
    return (*(LOOKS if held.sequential else ()), OPEN, *((ORDER,) if held.finished else ()))


def build(of: Material) -> Built:
    return tabled(of, _shown(of))


SECTION = Section("statistics", "All statistics", build, wide=True)
