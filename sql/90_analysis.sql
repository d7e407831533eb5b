-- Analysis: what the statistics start from, and what they found (`analysis/*.parquet`, written by `campaign report`; the
-- tables `descriptives`, `outliers` and `plausibility` there are the views of those names, kept with the results).

-- analysis_attempts: one row per attempt, accepted or not, as the statistics take it. `status` is ok where an analysis set may
-- keep the attempt: it was accepted (or would have been but for its heat); `sequence_index` is its place in time on its unit.
CREATE VIEW analysis_attempts AS
WITH judged AS (
    SELECT *, len(list_filter(rejected_by, lambda c: c NOT IN ('throttling', 'start_temperature'))) = 0 AS only_heat
    FROM attempts
)
SELECT
    a.run_id, a.attempt, a.phase, a.unit, a.model, a.environment, a.workload, a.repetition, a.position AS order_in_block,
    coalesce(a.recorded_index, row_number() OVER (PARTITION BY a.unit ORDER BY a.started_utc, a.run_id, a.attempt)) AS sequence_index,
    coalesce(a.recorded_index IS NOT NULL OR a.started_utc IS NOT NULL, false) AS timed,
    CASE WHEN a.outcome = 'completed' AND (a.accepted OR a.superseded OR (a.journalled AND only_heat)) THEN 'ok' ELSE 'failed' END AS status,
    coalesce(list_contains(a.rejected_by, 'throttling') OR (NOT a.journalled AND throttles(a.throttle_reasons)), false) AS throttled,
    a.start_temperature_c, a.start_mem_available_gib, a.userland_digest AS image_digest, s.parameters
FROM judged AS a
LEFT JOIN model_sizes AS s USING (model);

-- analysis_values: one row per attempt and metric with a finite value of what is compared: primary, engine, telemetry, stages.
CREATE VIEW analysis_values AS
SELECT m.run_id, m.attempt, m.metric, m.value
FROM metrics AS m
JOIN metric_facts AS f ON f.metric = m.metric
WHERE f.family IN ('primary', 'engine', 'telemetry', 'stages') AND m.value IS NOT NULL AND isfinite(m.value);

-- no rows: the columns of analysis/comparisons.parquet
CREATE TABLE schema_comparisons (
    place INTEGER, phase VARCHAR, unit VARCHAR, model VARCHAR, workload VARCHAR, reference VARCHAR, treatment VARCHAR, kind VARCHAR,
    metric VARCHAR, label VARCHAR, unit_of_measure VARCHAR, better VARCHAR, "group" VARCHAR, analysis_set VARCHAR,
    status VARCHAR, flags VARCHAR[], interleaved BOOLEAN,
    n_reference INTEGER, mean_reference DOUBLE, sd_reference DOUBLE, median_reference DOUBLE, hmean_reference DOUBLE,
    n_treatment INTEGER, mean_treatment DOUBLE, sd_treatment DOUBLE, median_treatment DOUBLE, hmean_treatment DOUBLE,
    diff DOUBLE, pct_change DOUBLE, overhead_pct DOUBLE,
    shapiro_p_reference DOUBLE, shapiro_p_treatment DOUBLE, brown_forsythe_p DOUBLE,
    student_t DOUBLE, student_df DOUBLE, student_p DOUBLE,
    welch_t DOUBLE, welch_df DOUBLE, welch_p DOUBLE, welch_low DOUBLE, welch_high DOUBLE,
    mwu_u DOUBLE, mwu_p DOUBLE, a12 DOUBLE, cliffs_delta DOUBLE, hl_shift DOUBLE, hl_low DOUBLE, hl_high DOUBLE,
    document_test VARCHAR, document_p DOUBLE,
    cohens_d DOUBLE, d_low DOUBLE, d_high DOUBLE, hedges_g DOUBLE, g_low DOUBLE, g_high DOUBLE, d_label VARCHAR,
    fieller_low DOUBLE, fieller_high DOUBLE,
    bca_diff_low DOUBLE, bca_diff_high DOUBLE, bca_overhead_low DOUBLE, bca_overhead_high DOUBLE,
    n_pairs INTEGER, paired_diff DOUBLE, paired_low DOUBLE, paired_high DOUBLE, paired_t DOUBLE, paired_p DOUBLE, paired_dz DOUBLE,
    wilcoxon_p DOUBLE, r_blocks DOUBLE,
    headline_test VARCHAR, method VARCHAR, decided_on VARCHAR, decided_n_reference INTEGER, decided_n_treatment INTEGER,
    decided_mean_reference DOUBLE, decided_sd_reference DOUBLE, decided_mean_treatment DOUBLE, decided_sd_treatment DOUBLE,
    decided_worth DOUBLE, scale VARCHAR, better_source VARCHAR, side VARCHAR, effect DOUBLE, pct DOUBLE, pct_level DOUBLE, pct_low DOUBLE, pct_high DOUBLE,
    difference_level DOUBLE, difference_low DOUBLE, difference_high DOUBLE,
    equivalence_level DOUBLE, equivalence_low DOUBLE, equivalence_high DOUBLE, alone_level DOUBLE, alone_low DOUBLE, alone_high DOUBLE,
    noninferior BOOLEAN, noninferiority_p_adjusted DOUBLE,
    randomisation_design VARCHAR, randomisation_exact BOOLEAN, rearrangements BIGINT, randomisation_p DOUBLE,
    randomisation_p_adjusted DOUBLE, randomisation_low DOUBLE, randomisation_high DOUBLE, randomisation_tost_p DOUBLE,
    interblock_status VARCHAR, interblock_n_lone INTEGER, interblock_diff DOUBLE, interblock_pct DOUBLE, interblock_pct_low DOUBLE,
    interblock_pct_high DOUBLE, interblock_df DOUBLE, interblock_p DOUBLE, interblock_correlation_in_block DOUBLE,
    longest_stretch INTEGER, arm_time_correlation DOUBLE, worst_case_low DOUBLE, worst_case_high DOUBLE,
    p DOUBLE, p_adjusted DOUBLE, p_bonferroni DOUBLE, p_bh DOUBLE, p_by DOUBLE, adjustment VARCHAR, family VARCHAR, m_planned INTEGER,
    tost_p DOUBLE, tost_p_adjusted DOUBLE, margin_pct DOUBLE, margin_declared BOOLEAN,
    verdict VARCHAR, verdict_word VARCHAR, verdict_all_valid_first_attempt VARCHAR, verdict_document_rerun_outliers VARCHAR,
    verdict_protocol_minus_outliers VARCHAR, needs_n INTEGER, needs_what VARCHAR, needs_for VARCHAR,
    reason VARCHAR, claim VARCHAR
);

-- comparisons: one row per unit, model, workload, pair of arms, metric and analysis set (`protocol` is the headline): every test,
-- interval and effect size, the verdict and the one sentence that may be claimed. Signs are treatment minus reference. `pct` is the
-- change in percent of the reference over the runs that decided (`decided_on`, `decided_n_…`) and its limits are dual to the verdict: of
-- the difference, or of equivalence where that is the verdict, at `pct_level` percent, the level of the family; `alone_…` is the 95 %
-- interval of the comparison by itself. `p` and `tost_p` are of the deciding rule; `welch_…`, `paired_…` are the plain tests over all runs
-- and complete blocks; `randomisation_…` rearranges the schedule; `interblock_…` is the mixed model with random blocks where some are
-- incomplete (it uses the runs without a partner, and never decides); `worst_case_…` bounds the change had all missing runs been extreme.
-- `decided_worth` is how many independent blocks those that decided are worth, where they resemble their neighbours in time (else NULL).
-- `margin_declared` is false where nobody declared the margin and the default was taken.
-- `verdict_word` is the verdict in the word that the report has for it (undecided, equivalent, constant, …). Headline rows also have the
-- verdict of the other sets of attempts.
CREATE VIEW comparisons AS
FROM parquet_files('comparisons');

-- no rows: the columns of analysis/equivalence.parquet
CREATE TABLE schema_equivalence (
    phase VARCHAR, unit VARCHAR, model VARCHAR, workload VARCHAR, reference VARCHAR, treatment VARCHAR, metric VARCHAR, layer VARCHAR,
    margin_pct DOUBLE, declared BOOLEAN, p_low DOUBLE, p_high DOUBLE, p DOUBLE, p_noninferiority DOUBLE, equivalent BOOLEAN
);

-- equivalence: one row per comparison, layer (independent, blocks) and margin: two one-sided tests of the ratio, not adjusted
-- (the adjusted p of the declared margin is in `comparisons`).
CREATE VIEW equivalence AS
FROM parquet_files('equivalence');

-- no rows: the columns of analysis/tests.parquet
CREATE TABLE schema_tests (
    phase VARCHAR, unit VARCHAR, model VARCHAR, workload VARCHAR, reference VARCHAR, treatment VARCHAR, metric VARCHAR, test VARCHAR,
    field VARCHAR, value DOUBLE
);

-- tests: one row per comparison, test of two independent arms and number that it found (`welch`, `p`). Every test is here by being a file
-- in `campaign/analysis/statistics/two_arms/`; what most readers want of them are columns of `comparisons` too.
CREATE VIEW tests AS
FROM parquet_files('tests');

-- no rows: the columns of analysis/power.parquet
CREATE TABLE schema_power (
    phase VARCHAR, unit VARCHAR, model VARCHAR, workload VARCHAR, reference VARCHAR, treatment VARCHAR, metric VARCHAR, layer VARCHAR,
    n_reference INTEGER, n_treatment INTEGER, effect DOUBLE, posthoc DOUBLE, posthoc_bonferroni DOUBLE, mde DOUBLE, mde_bonferroni DOUBLE,
    mde_pct DOUBLE, needs_n INTEGER, needs_what VARCHAR, needs_for VARCHAR
);

-- power: one row per comparison and layer: what this N could see. `posthoc` restates p and says nothing of N; `mde` is the
-- smallest effect (d, or dz in blocks) seen with 80 % power, `mde_pct` the same in percent, `needs_n` what settles it (`needs_for`).
CREATE VIEW power AS
FROM parquet_files('power');

-- no rows: the columns of analysis/over_units.parquet
CREATE TABLE schema_over_units (
    phase VARCHAR, model VARCHAR, workload VARCHAR, reference VARCHAR, treatment VARCHAR, metric VARCHAR, k_units INTEGER, method VARCHAR,
    units INTEGER, df DOUBLE, pct DOUBLE, level DOUBLE, pct_low DOUBLE, pct_high DOUBLE, p DOUBLE, p_adjusted DOUBLE,
    tost_p DOUBLE, tost_p_adjusted DOUBLE, adjustment VARCHAR, m_planned INTEGER, margin_pct DOUBLE, margin_declared BOOLEAN,
    verdict VARCHAR, reason VARCHAR, words VARCHAR
);

-- over_units: one row per model, workload, pair of arms and metric of a campaign on several units: what may be said of units beyond the
-- tested ones. The unit is the experimental unit (one log ratio each, t with units - 1); `verdict` is `not_beyond_these_units` where they are
-- too few, and NULL with a `reason` where there is no interval. `k_units` ran, `units` have complete blocks.
CREATE VIEW over_units AS
FROM parquet_files('over_units');

-- no rows: the columns of analysis/losses.parquet
CREATE TABLE schema_losses (
    phase VARCHAR, unit VARCHAR, model VARCHAR, workload VARCHAR, reference VARCHAR, treatment VARCHAR,
    planned_reference INTEGER, attempted_reference INTEGER, failed_reference INTEGER, throttled_reference INTEGER,
    repeated_reference INTEGER, analysed_reference INTEGER,
    planned_treatment INTEGER, attempted_treatment INTEGER, failed_treatment INTEGER, throttled_treatment INTEGER,
    repeated_treatment INTEGER, analysed_treatment INTEGER,
    failed_fisher_p DOUBLE, throttled_fisher_p DOUBLE
);

-- losses: one row per unit, model, workload and pair of arms: attempts made, failed, throttled and repeated in each arm, and Fisher's
-- exact p of a rate that differs (NULL where nothing was lost): a loss comes after the treatment began, so it may be its effect.
CREATE VIEW losses AS
FROM parquet_files('losses');

-- no rows: the columns of analysis/order_effects.parquet
CREATE TABLE schema_order_effects (
    phase VARCHAR, unit VARCHAR, model VARCHAR, workload VARCHAR, reference VARCHAR, treatment VARCHAR, metric VARCHAR,
    interleaved BOOLEAN, flags VARCHAR[], period_effect DOUBLE, period_p DOUBLE, drift_slope DOUBLE, drift_p DOUBLE,
    ljung_box_runs_p DOUBLE, ljung_box_pairs_p DOUBLE, carry_over_p DOUBLE, temperature_slope DOUBLE, temperature_p DOUBLE,
    effect_at_equal_temperature DOUBLE, memory_slope DOUBLE, memory_p DOUBLE, effect_at_equal_memory DOUBLE,
    newey_west_p DOUBLE, moving_block_low DOUBLE, moving_block_high DOUBLE, reason VARCHAR
);

-- order_effects: one row per comparison: does place in the block, time, the run before, the start temperature or the memory free
-- at the start explain what the treatment is credited with? Diagnostics: with several tests for each comparison, expect false
-- alarms. Where the blocks resemble their neighbours, p after Newey and West and limits of a moving-block bootstrap stand beside.
CREATE VIEW order_effects AS
FROM parquet_files('order_effects');

-- no rows: the columns of analysis/phase_decisions.parquet
CREATE TABLE schema_phase_decisions (
    kind VARCHAR, phase VARCHAR, metric VARCHAR, model VARCHAR, arm VARCHAR, estimate DOUBLE, low DOUBLE, high DOUBLE, p DOUBLE, rank INTEGER,
    decision VARCHAR
);

-- phase_decisions: one row per screened option (its pooled log ratio to the baseline, rank 1 first; biased upwards, never the
-- result) and per validated model (share of the overhead that the optimised arm wins back). Empty for a two-arm campaign.
CREATE VIEW phase_decisions AS
FROM parquet_files('phase_decisions');

-- no rows: the columns of analysis/screen_effects.parquet
CREATE TABLE schema_screen_effects (
    metric VARCHAR, model VARCHAR, factor VARCHAR, design VARCHAR, n INTEGER, error_source VARCHAR, error_df INTEGER, inference VARCHAR,
    raw_pct DOUBLE, se DOUBLE, t DOUBLE, p DOUBLE, p_holm DOUBLE, p_maxt DOUBLE, alone_low_pct DOUBLE, alone_high_pct DOUBLE,
    low_pct DOUBLE, high_pct DOUBLE, shrunken_pct DOUBLE, heterogeneity_p DOUBLE, lack_of_fit_p DOUBLE, reasons VARCHAR[]
);

-- screen_effects: one row per metric, model (NULL: all pooled) and factor of a two-level screen: the option against the baseline in percent,
-- averaged over the other options. `low_pct`, `high_pct` and `p_maxt` hold for all factors together, `alone_…` and `p` for one; `se` is of the
-- log ratio; `shrunken_pct` beside `raw_pct` is what is left of it against the winner's curse. `reasons` say why a factor is not carried on.
-- What a screen estimates chooses, and is never the result. Empty for any other campaign.
CREATE VIEW screen_effects AS
FROM parquet_files('screen_effects');

-- no rows: the columns of analysis/screen_contrasts.parquet
CREATE TABLE schema_screen_contrasts (
    metric VARCHAR, model VARCHAR, place INTEGER, label VARCHAR, factor BOOLEAN, contrast_pct_log DOUBLE, score DOUBLE, pse DOUBLE, me DOUBLE,
    sme DOUBLE
);

-- screen_contrasts: one row per metric, model and column of a two-level screen's design, by size, as in a half-normal plot: `score` is its
-- quantile, `factor` false where no option has the column; Lenth's pseudo standard error and margins (one, all) stand beside.
CREATE VIEW screen_contrasts AS
FROM parquet_files('screen_contrasts');

-- no rows: the columns of analysis/request_percentiles.parquet
CREATE TABLE schema_request_percentiles (
    model VARCHAR, workload VARCHAR, metric VARCHAR, environment VARCHAR, reference VARCHAR, percentile VARCHAR, runs INTEGER, requests INTEGER,
    pooled DOUBLE, low DOUBLE, high DOUBLE, mean_of_runs DOUBLE, median_of_runs DOUBLE, sd_between_runs DOUBLE,
    diff DOUBLE, diff_low DOUBLE, diff_high DOUBLE, run_level_diff DOUBLE, run_level_p DOUBLE, reason VARCHAR
);

-- request_percentiles: one row per model, workload, arm, latency and percentile: pooled over all requests of the arm (what a user
-- sees) with a cluster bootstrap over runs, widened for what few runs do not show and NULL below 30 of them, beside the mean and median of the runs' own percentiles, which are other quantities,
-- and the difference from the reference arm.
CREATE VIEW request_percentiles AS
FROM parquet_files('request_percentiles');

-- no rows: the columns of analysis/comparison_looks.parquet
CREATE TABLE schema_comparison_looks (
    model VARCHAR, workload VARCHAR, reference VARCHAR, treatment VARCHAR, metric VARCHAR, look INTEGER, event INTEGER, blocks INTEGER,
    n INTEGER, status VARCHAR, claimed VARCHAR[], pct DOUBLE, sd_log DOUBLE, skewness DOUBLE, rci95_low DOUBLE, rci95_high DOUBLE,
    sim95_low DOUBLE, sim95_high DOUBLE, any_time_low DOUBLE, any_time_high DOUBLE, different_beyond_pct DOUBLE,
    equivalent_from_pct DOUBLE, equivalent_to_pct DOUBLE, p_difference DOUBLE, p_equivalence DOUBLE,
    repeated_p_difference DOUBLE, repeated_p_equivalence DOUBLE, sequential_p_difference DOUBLE, sequential_p_equivalence DOUBLE,
    adjusted_p_difference DOUBLE, adjusted_p_equivalence DOUBLE, uncorrected_low DOUBLE, uncorrected_high DOUBLE
);

-- comparison_looks: one row per comparison that looks decide and look: what its blocks showed (`pct`, percent of the reference), the
-- intervals that hold at all looks together (`rci95_…` alone, `sim95_…` with all planned comparisons) and at every moment (`any_time_…`), the
-- boundaries as changes in percent (a difference is claimed beyond ±`different_beyond_pct`, equivalence between the other two), the p of the
-- look by itself, the smallest level at which it rejects (`repeated_…`), the least so far (`sequential_…`) and after the family's adjustment
-- at that event. `uncorrected_…` is the 95 % interval that would hold had nobody looked before.
CREATE VIEW comparison_looks AS
FROM parquet_files('comparison_looks');
