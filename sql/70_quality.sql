-- Quality: was the campaign carried out as designed?

-- flow: one row per phase, model, workload and environment: how many runs were planned, started, valid and analysed,
-- and what happened to the others.
CREATE VIEW flow AS
WITH analysed AS (
    SELECT DISTINCT run_id FROM observations WHERE metric = 'token_throughput_tok_s'
),
tries AS (
    SELECT
        run_id,
        count(*) AS attempts,
        count(*) FILTER (NOT accepted) AS rejected,
        count(*) FILTER (outcome <> 'completed') AS failed
    FROM attempts
    GROUP BY run_id
)
SELECT
    r.phase,
    r.model,
    r.workload,
    r.environment,
    count(*) AS planned,
    count(*) FILTER (r.attempts > 0) AS started,
    count(*) FILTER (r.accepted) AS valid,
    count(*) FILTER (a.run_id IS NOT NULL) AS analysed,
    coalesce(sum(t.attempts), 0)::BIGINT AS attempts,
    coalesce(sum(t.rejected), 0)::BIGINT AS rejected_attempts,
    coalesce(sum(t.failed), 0)::BIGINT AS failed_attempts,
    count(*) FILTER (r.status = 'exhausted') AS exhausted,
    count(*) FILTER (r.status = 'left_out') AS left_out,
    count(*) FILTER (r.status = 'spared') AS spared,
    count(*) FILTER (r.status IN ('planned', 'dispatched', 'rejected')) AS outstanding
FROM runs AS r
LEFT JOIN analysed AS a USING (run_id)
LEFT JOIN tries AS t USING (run_id)
GROUP BY r.phase, r.model, r.workload, r.environment;

-- run_noise: one row per cell: how much its accepted runs differ from each other (coefficient of variation, percent), by the clock and
-- by CPU time, and for how much of a run some task of the machine waited for a CPU (pressure stall information).
CREATE VIEW run_noise AS
WITH figures AS (
    SELECT
        o.run_id, o.phase, o.unit, o.model, o.workload, o.environment,
        any_value(o.value) FILTER (o.metric = 'token_throughput_tok_s') AS throughput,
        any_value(o.value) FILTER (o.metric = 'output_tokens_per_cpu_s') AS per_cpu_s,
        any_value(o.value) FILTER (o.metric = 'psi_cpu_some_ms') AS waited_ms,
        any_value(m.telemetry.duration_s) AS duration_s
    FROM observations AS o
    LEFT JOIN metadata AS m ON m.run_id = o.run_id AND m.attempt = o.attempt
    GROUP BY ALL
)
SELECT
    phase, unit, model, workload, environment,
    count(throughput) AS n,
    100 * stddev_samp(throughput) / avg(throughput) AS throughput_cv_pct,
    100 * stddev_samp(per_cpu_s) / avg(per_cpu_s) AS per_cpu_s_cv_pct,
    least(100.0, 100 * sum(waited_ms) / 1000 / sum(duration_s)) AS cpu_wait_pct
FROM figures
GROUP BY ALL;

-- rejected_attempts: one row per attempt that does not count, with the checks it failed and why.
CREATE VIEW rejected_attempts AS
WITH failed_checks AS (
    SELECT
        run_id,
        attempt,
        string_agg(
            check_name || coalesce(': ' || reason, coalesce(': ' || figure || coalesce(' against ' || limit_value, ''), '')), '; '
            ORDER BY check_name
        ) AS failed_checks
    FROM verdicts
    WHERE passed = false
    GROUP BY run_id, attempt
)
SELECT a.run_id, a.attempt, a.unit, a.model, a.environment, a.repetition, a.outcome, a.failure, f.failed_checks,
    array_to_string(a.rejected_by, ', ') AS rejected_by, a.started_utc, a.file
FROM attempts AS a
LEFT JOIN failed_checks AS f USING (run_id, attempt)
WHERE NOT a.accepted;

-- sampling: one row per environment: what the sampler says of itself over the accepted attempts. `throttled` counts NVML's
-- HW slowdown, SW thermal, HW thermal and HW power brake (the macro `throttles`).
CREATE VIEW sampling AS
SELECT
    environment,
    count(*) AS attempts,
    min(telemetry_coverage_pct) AS coverage_min_pct,
    avg(telemetry_coverage_pct) AS coverage_mean_pct,
    max(telemetry_jitter_p99_ms) AS jitter_p99_max_ms,
    max(telemetry_longest_gap_ms) AS longest_gap_ms,
    avg(telemetry_cpu_pct) AS sampler_cpu_mean_pct,
    count(*) FILTER (throttle_reasons IS NULL) AS throttling_unknown,
    count(*) FILTER (throttles(throttle_reasons)) AS throttled
FROM attempts
WHERE accepted
GROUP BY environment;

-- start_states: one row per environment: what its accepted attempts started from. A start state that differs by arm is a
-- rival explanation for any difference between them.
CREATE VIEW start_states AS
SELECT
    environment,
    count(*) AS attempts,
    avg(waited_s) AS gate_wait_mean_s,
    max(waited_s) AS gate_wait_max_s,
    avg(rest_s) AS rest_mean_s,
    avg(temperature_c) AS temperature_mean_c,
    max(temperature_c) AS temperature_max_c,
    avg(mem_available_gib) AS mem_available_mean_gib,
    min(mem_available_gib) AS mem_available_min_gib,
    avg(mem_cached_gib) AS mem_cached_mean_gib,
    max(swap_used_gib) AS swap_used_max_gib,
    count(*) FILTER (flagged) AS flagged
FROM gates
WHERE accepted
GROUP BY environment;

-- order_balance: one row per phase, model, workload and environment: how often it came first, second, … among accepted runs.
CREATE VIEW order_balance AS
SELECT phase, model, workload, environment, position, count(*) AS n
FROM runs
WHERE accepted
GROUP BY phase, model, workload, environment, position;

-- outliers: one row per accepted run, primary metric and rule that it breaks: beyond 3 sd of its arm (`3 sd`), or beyond 3.5
-- scaled median absolute deviations of its median (`3.5 MAD`). Flagged, never removed.
CREATE VIEW outliers AS
SELECT '3 sd' AS rule, o.phase, o.model, o.workload, o.environment, o.run_id, o.metric, o.value, d.mean, d.sd, (o.value - d.mean) / d.sd AS z
FROM observations AS o
JOIN descriptives AS d USING (phase, model, workload, environment, metric)
JOIN metric_facts AS f ON f.metric = o.metric AND f.family = 'primary'
WHERE d.sd > 1e-12 * greatest(1, abs(d.mean)) AND abs(o.value - d.mean) > 3 * d.sd
UNION ALL
SELECT '3.5 MAD', o.phase, o.model, o.workload, o.environment, o.run_id, o.metric, o.value, d.mean, d.sd, (o.value - d.mean) / d.sd
FROM observations AS o
JOIN descriptives AS d USING (phase, model, workload, environment, metric)
JOIN metric_facts AS f ON f.metric = o.metric AND f.family = 'primary'
WHERE d.mad_scaled > 1e-12 * greatest(1, abs(d.median)) AND abs(o.value - d.median) > 3.5 * d.mad_scaled;

-- answer_agreement: one row per block and treatment whose engine keeps its answers: how many of the requests that both arms answered got
-- the very same text as in the reference. Greedy decoding of the same prompts by the same weights should agree; where it does not, the arms do
-- not compute the same.
CREATE VIEW answer_agreement AS
WITH answers AS (
    SELECT phase, model, workload, unit, repetition, block, environment, request_index, answer_sha256
    FROM requests
    WHERE accepted AND ok AND answer_sha256 IS NOT NULL
)
SELECT
    t.phase, t.model, t.workload, t.unit, t.repetition, t.block, t.environment AS treatment, r.environment AS reference,
    count(*) AS compared,
    count(*) FILTER (t.answer_sha256 = r.answer_sha256) AS agreed,
    100.0 * agreed / compared AS agreement_pct
FROM answers AS t
JOIN answers AS r ON r.block = t.block AND r.phase = t.phase AND r.request_index = t.request_index
CROSS JOIN campaign AS c
WHERE r.environment = c.reference AND t.environment <> c.reference
GROUP BY ALL;
