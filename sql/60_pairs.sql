-- Pairs: a treatment arm beside the reference, block by block.

-- contrasts: one row per phase, model, workload and treatment arm that the plan compares with the reference; `place` is
-- the order of the plan.
CREATE VIEW contrasts AS
SELECT p.phase, p.model, p.workload, c.reference, p.environment AS treatment, min(p.run_index) AS place
FROM runs AS p
CROSS JOIN campaign AS c
WHERE p.environment <> c.reference
GROUP BY p.phase, p.model, p.workload, c.reference, p.environment;

-- interleaving: one row per phase, model, workload and treatment. `separated` is true where all accepted runs of one arm
-- came before all of the other: then any difference may be time's.
CREATE VIEW interleaving AS
WITH spans AS (
    SELECT phase, model, workload, environment, min(started_utc) AS first_utc, max(started_utc) AS last_utc, count(*) AS n
    FROM runs
    WHERE accepted
    GROUP BY phase, model, workload, environment
)
SELECT c.phase, c.model, c.workload, c.reference, c.treatment,
    (t.first_utc > r.last_utc OR r.first_utc > t.last_utc) AND t.n > 1 AND r.n > 1 AS separated
FROM contrasts AS c
JOIN spans AS r ON (r.phase, r.model, r.workload, r.environment) = (c.phase, c.model, c.workload, c.reference)
JOIN spans AS t ON (t.phase, t.model, t.workload, t.environment) = (c.phase, c.model, c.workload, c.treatment);

-- pairs: one row per complete block, treatment and metric. diff = treatment - reference; ratio = treatment / reference,
-- NULL unless both are positive. Both runs were made on the same unit, one after the other.
CREATE VIEW pairs AS
SELECT
    t.phase,
    t.unit,
    t.model,
    t.workload,
    t.repetition,
    t.block,
    t.block_index,
    t.metric,
    t.unit_of_measure,
    r.environment AS reference,
    t.environment AS treatment,
    r.value AS reference_value,
    t.value AS treatment_value,
    t.value - r.value AS diff,
    CASE WHEN t.value > 0 AND r.value > 0 THEN t.value / r.value END AS ratio,
    r.position AS reference_position,
    t.position AS treatment_position,
    r.run_id AS reference_run,
    t.run_id AS treatment_run,
    t.simulated
FROM observations AS t
JOIN campaign AS c ON t.environment <> c.reference
JOIN observations AS r
    ON r.block = t.block AND r.phase = t.phase AND r.metric = t.metric AND r.unit = t.unit AND r.environment = c.reference;

-- contrast_moments: one row per contrast and metric: the moments of both arms and of their complete blocks, which is all
-- that an interval needs. `n_log` counts the blocks with a ratio; sd is NULL below two values.
CREATE VIEW contrast_moments AS
WITH blocks AS (
    SELECT
        phase, model, workload, reference, treatment, metric,
        count(*) AS n_pairs,
        count(ratio) AS n_log,
        avg(diff) AS mean_diff,
        stddev_samp(diff) AS sd_diff,
        avg(ln(ratio)) AS mean_log_ratio,
        stddev_samp(ln(ratio)) AS sd_log_ratio
    FROM pairs
    GROUP BY phase, model, workload, reference, treatment, metric
),
measured AS (
    SELECT DISTINCT phase, model, workload, metric FROM descriptives
)
SELECT
    c.phase, c.model, c.workload, c.reference, c.treatment, c.place, m.metric,
    coalesce(t.unit_of_measure, r.unit_of_measure) AS unit_of_measure,
    f.label, f.better, f.family, f.print_order,
    coalesce(r.n, 0) AS n_reference, r.mean AS mean_reference, r.sd AS sd_reference, r.median AS median_reference,
    coalesce(t.n, 0) AS n_treatment, t.mean AS mean_treatment, t.sd AS sd_treatment, t.median AS median_treatment,
    coalesce(b.n_pairs, 0) AS n_pairs, coalesce(b.n_log, 0) AS n_log,
    b.mean_diff, b.sd_diff, b.mean_log_ratio, b.sd_log_ratio,
    coalesce(i.separated, false) AS separated
FROM contrasts AS c
JOIN measured AS m USING (phase, model, workload)
LEFT JOIN descriptives AS r
    ON (r.phase, r.model, r.workload, r.metric, r.environment) = (c.phase, c.model, c.workload, m.metric, c.reference)
LEFT JOIN descriptives AS t
    ON (t.phase, t.model, t.workload, t.metric, t.environment) = (c.phase, c.model, c.workload, m.metric, c.treatment)
LEFT JOIN blocks AS b
    ON (b.phase, b.model, b.workload, b.metric, b.reference, b.treatment)
        = (c.phase, c.model, c.workload, m.metric, c.reference, c.treatment)
LEFT JOIN interleaving AS i
    ON (i.phase, i.model, i.workload, i.reference, i.treatment) = (c.phase, c.model, c.workload, c.reference, c.treatment)
LEFT JOIN metric_facts AS f ON f.metric = m.metric;
