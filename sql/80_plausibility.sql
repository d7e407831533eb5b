-- Plausibility: do the figures agree with each other and with arithmetic?

-- request_totals: one row per accepted run with per-request data: the run's figures worked out again from its requests.
CREATE VIEW request_totals AS
SELECT
    run_id,
    attempt,
    count(*) AS requests,
    count(*) FILTER (ok) AS answered,
    sum(output_tokens) FILTER (ok) AS output_tokens,
    (max(submitted_ms + latency_ms) - min(submitted_ms)) / 1000 AS makespan_s,
    sum(output_tokens) FILTER (ok) / nullif((max(submitted_ms + latency_ms) - min(submitted_ms)) / 1000, 0) AS token_throughput_tok_s,
    avg(latency_ms) FILTER (ok) AS latency_mean_ms,
    sum(latency_ms) FILTER (ok) / nullif(max(submitted_ms + latency_ms) - min(submitted_ms), 0) AS in_flight_mean
FROM requests
WHERE accepted
GROUP BY run_id, attempt;

-- bandwidths: one row per GPU whose memory bandwidth is known from its maker's data sheet, in GB/s (10^9 bytes).
CREATE TABLE bandwidths AS
SELECT * FROM (VALUES
    ('GB10', 273.0, 'DGX Spark hardware overview: LPDDR5X, 273 GB/s'),
    ('H100', 3350.0, 'H100 SXM data sheet'),
    ('H200', 4800.0, 'H200 data sheet')
) AS known (gpu, bandwidth_gb_s, source);

-- model_sizes: one row per model of the config: parameters, those that a token reads (`active`), and weights in bytes. Where the
-- config does not tell the bytes, four bits per weight are taken, which no check can hold against anyone.
CREATE VIEW model_sizes AS
SELECT
    entry->>'name' AS model,
    (entry->>'parameters')::DOUBLE AS parameters,
    coalesce((entry->>'active_parameters')::DOUBLE, (entry->>'parameters')::DOUBLE) AS active_parameters,
    coalesce((entry->>'weight_bytes')::DOUBLE, 0.5 * (entry->>'parameters')::DOUBLE) AS weight_bytes,
    (entry->>'weight_bytes') IS NULL AS bytes_assumed,
    (entry->>'batch_size')::DOUBLE AS batch_size
FROM (SELECT unnest(from_json(config->'models', '["JSON"]')) AS entry FROM campaign)
WHERE json_type(entry) = 'OBJECT';

-- rooflines: one row per phase, model, workload and environment on units of known bandwidth: the output rate that memory allows
-- (batch x bandwidth / bytes read for a step; an expert model is counted at the experts of one token, which favours it).
CREATE VIEW rooflines AS
WITH machines AS (
    SELECT u.unit, b.bandwidth_gb_s
    FROM (
        SELECT unit, gpu FROM units
        UNION ALL
        SELECT DISTINCT i.unit, c.imported->>'gpu' FROM imported AS i CROSS JOIN campaign AS c
    ) AS u
    JOIN bandwidths AS b ON contains(u.gpu, b.gpu)
)
SELECT
    o.phase, o.model, o.workload, o.environment,
    max(o.value) AS measured_tok_s,
    any_value(s.batch_size) AS batch_size,
    any_value(m.bandwidth_gb_s) AS bandwidth_gb_s,
    any_value(s.weight_bytes * s.active_parameters / s.parameters / 1e9) AS active_gb,
    any_value(s.batch_size * m.bandwidth_gb_s * 1e9 / (s.weight_bytes * s.active_parameters / s.parameters)) AS bound_tok_s
FROM observations AS o
JOIN machines AS m USING (unit)
JOIN model_sizes AS s ON s.model = o.model AND s.parameters > 0
WHERE o.metric = 'token_throughput_tok_s'
GROUP BY o.phase, o.model, o.workload, o.environment;

-- start_clocks: one row per accepted run with telemetry of a GPU: its SM clock at the last sample before the gate opened.
CREATE VIEW start_clocks AS
SELECT t.run_id, arg_max(t.gpu_sm_clock_mhz, t.t_utc_ns) AS start_sm_clock_mhz
FROM telemetry AS t
JOIN runs AS r ON r.run_id = t.run_id AND r.accepted_attempt = t.attempt
WHERE t.stage = 'gate' AND t.gpu_sm_clock_mhz IS NOT NULL
GROUP BY t.run_id;

-- plausibility: one row per check and subject (a run, or a pair of models or metrics); `figure` should not exceed
-- `limit_value`. `grave` checks put the figures in doubt; the others are notes for the analysis.
CREATE VIEW plausibility AS
WITH totals AS MATERIALIZED (
    FROM request_totals
),
counts AS (
    SELECT 'tokens_as_ordered' AS check_name, run_id AS subject,
        abs(tokens_generated - tokens_expected)::DOUBLE AS figure, 0.0 AS limit_value,
        'tokens generated against requests × output tokens' AS explanation
    FROM attempts
    WHERE accepted AND tokens_expected IS NOT NULL AND tokens_generated IS NOT NULL
    UNION ALL
    SELECT 'requests_recorded', t.run_id, abs(t.answered - a.requests_answered), 0,
        'answered requests in requests.parquet against the engine''s report'
    FROM totals AS t
    JOIN attempts AS a ON a.run_id = t.run_id AND a.attempt = t.attempt
),
recomputed AS (
    SELECT 'throughput_from_requests' AS check_name, t.run_id AS subject,
        100 * abs(t.token_throughput_tok_s / nullif(m.token_throughput_tok_s, 0) - 1) AS figure, 5.0 AS limit_value,
        'output tokens over makespan of the requests against the reported throughput, percent apart' AS explanation
    FROM totals AS t
    JOIN run_metrics AS m ON m.run_id = t.run_id
    WHERE m.token_throughput_tok_s IS NOT NULL
    UNION ALL
    SELECT 'littles_law', t.run_id,
        100 * abs(m.request_throughput_req_s * m.latency_mean_ms / 1000 / nullif(t.in_flight_mean, 0) - 1), 5,
        'request throughput × mean latency against the mean number in flight from the requests, percent apart'
    FROM totals AS t
    JOIN run_metrics AS m ON m.run_id = t.run_id
    WHERE m.request_throughput_req_s IS NOT NULL AND m.latency_mean_ms IS NOT NULL
),
model_pairs AS (
    SELECT x.phase, x.workload, x.environment, x.model AS model, y.model AS other,
        abs(x.mean - y.mean) / nullif(sqrt(x.se ** 2 + y.se ** 2), 0) AS t, x.mean = y.mean AS same_mean,
        x_size.active_parameters IS NOT NULL AND y_size.active_parameters IS NOT NULL
            AND least(x.mean, y.mean) > 0.95 * greatest(x.mean, y.mean) AS alike
    FROM descriptives AS x
    JOIN descriptives AS y USING (phase, workload, environment, metric)
    LEFT JOIN model_sizes AS x_size ON x_size.model = x.model
    LEFT JOIN model_sizes AS y_size ON y_size.model = y.model
    WHERE x.metric = 'token_throughput_tok_s' AND x.model < y.model AND x.n >= 3 AND y.n >= 3
        AND coalesce(
            greatest(x_size.active_parameters, y_size.active_parameters)
                > 3 * least(x_size.active_parameters, y_size.active_parameters),
            true
        )
),
models AS (
    SELECT 'models_told_apart' AS check_name, model || ' / ' || other AS subject,
        bool_and(coalesce(t < 2, same_mean) OR alike)::INTEGER::DOUBLE AS figure, 0.0 AS limit_value,
        'two models, one reading over three times the weights of the other for a token, whose throughput no arm tells apart or '
            || 'puts 5 % apart: perhaps one model ran as both' AS explanation
    FROM model_pairs
    GROUP BY model, other
),
primary_observations AS (
    SELECT o.* FROM observations AS o JOIN metric_facts AS f ON f.metric = o.metric AND f.family = 'primary'
),
correlations AS (
    SELECT x.environment, x.model, x.metric AS metric, y.metric AS other, abs(corr(x.value, y.value)) AS r
    FROM primary_observations AS x
    JOIN primary_observations AS y ON x.run_id = y.run_id AND x.metric < y.metric
    GROUP BY x.environment, x.model, x.metric, y.metric
    HAVING count(*) >= 5 AND stddev_samp(x.value) > 0 AND stddev_samp(y.value) > 0
),
redundant AS (
    SELECT 'metrics_independent' AS check_name, metric || ' / ' || other AS subject, min(r) AS figure, 0.999 AS limit_value,
        'correlated beyond 0.999 in every arm: one figure counted twice' AS explanation
    FROM correlations
    GROUP BY metric, other
),
physics AS (
    SELECT 'below_roofline' AS check_name, model || ' / ' || environment AS subject, measured_tok_s / bound_tok_s AS figure,
        1.0 AS limit_value, 'output rate over what memory bandwidth, batch and active weights permit' AS explanation
    FROM rooflines
    WHERE bound_tok_s IS NOT NULL
    UNION ALL
    SELECT 'memory_holds_weights', d.model || ' / ' || d.environment, s.weight_bytes / 1024 ** 3 / d.max, 1,
        'weights over the highest peak memory: below the weights, something else was loaded or measured'
    FROM descriptives AS d
    JOIN model_sizes AS s USING (model)
    WHERE d.metric = 'peak_memory_gib' AND d.max > 0
),
memory_and_cache AS (
    SELECT m.run_id, m.value AS peak_gib, k.value AS cache_gib
    FROM observations AS m
    JOIN observations AS k ON k.run_id = m.run_id AND k.metric = 'kv_cache_gib'
    WHERE m.metric = 'peak_memory_gib'
),
trades AS (
    SELECT 'memory_apart_from_cache' AS check_name,
        'peak memory ' || printf('%+.2f', -regr_slope(peak_gib, cache_gib)) || ' x KV cache = '
            || printf('%.2f', regr_intercept(peak_gib, cache_gib)) || ' GiB in every run' AS subject,
        regr_r2(peak_gib, cache_gib) AS figure, 0.999 AS limit_value,
        'peak memory and KV cache only trade places: their weighted sum is a constant, so they are one outcome, and it follows the '
            || 'memory that was free at the start' AS explanation
    FROM memory_and_cache
    HAVING count(*) >= 5 AND stddev_samp(cache_gib) > 0 AND stddev_samp(peak_gib) > 0 AND regr_slope(peak_gib, cache_gib) < 0
),
time_order AS (
    SELECT 'arms_interleaved' AS check_name, model || ' / ' || treatment AS subject, separated::INTEGER::DOUBLE AS figure,
        0.0 AS limit_value, 'all runs of one arm before all of the other: any drift of the machine looks like the treatment' AS explanation
    FROM interleaving
),
states AS (
    SELECT r.phase, r.model, r.workload, r.environment, 'start_temperature_alike' AS check_name, a.start_temperature_c AS state
    FROM runs AS r
    JOIN attempts AS a ON a.run_id = r.run_id AND a.attempt = r.accepted_attempt
    UNION ALL
    SELECT r.phase, r.model, r.workload, r.environment, 'start_clock_alike', c.start_sm_clock_mhz
    FROM start_clocks AS c
    JOIN runs AS r USING (run_id)
    UNION ALL
    SELECT phase, model, workload, environment, 'start_memory_alike', value
    FROM observations
    WHERE metric = 'start_mem_available_gib'
),
state_moments AS MATERIALIZED (
    SELECT phase, model, workload, environment, check_name, count(state) AS n, avg(state) AS mean,
        coalesce(stddev_samp(state), 0) / sqrt(count(state)) AS se
    FROM states
    WHERE state IS NOT NULL
    GROUP BY phase, model, workload, environment, check_name
),
starts AS (
    SELECT t.check_name, t.model || ' / ' || t.environment AS subject,
        CASE WHEN abs(t.mean - r.mean) <= 1e-9 THEN 0
            ELSE least(abs(t.mean - r.mean) / nullif(sqrt(t.se ** 2 + r.se ** 2), 0), 1000) END AS figure,
        4.0 AS limit_value,
        'what the arms started from, in standard errors between them: a start state that differs is a rival explanation' AS explanation
    FROM contrasts AS c
    JOIN state_moments AS t ON (t.phase, t.model, t.workload, t.environment) = (c.phase, c.model, c.workload, c.treatment)
    JOIN state_moments AS r
        ON (r.phase, r.model, r.workload, r.environment, r.check_name) = (c.phase, c.model, c.workload, c.reference, t.check_name)
    WHERE t.n >= 3 AND r.n >= 3
),
unmeasured AS (
    SELECT 'primary_metrics_measured' AS check_name, m.metric AS subject,
        100.0 * count(*) FILTER (m.value IS NULL) / count(*) AS figure, 0.0 AS limit_value,
        'accepted runs without a value of a primary metric, percent' AS explanation
    FROM metrics AS m
    JOIN metric_facts AS f ON f.metric = m.metric AND f.family = 'primary'
    WHERE m.accepted
    GROUP BY m.metric
),
repeats AS (
    SELECT 'repetitions_once' AS check_name, model || ' / ' || environment AS subject,
        count(*) FILTER (superseded)::DOUBLE AS figure, 0.0 AS limit_value,
        'repetitions that succeeded more than once: a choice among them was made or is to be made' AS explanation
    FROM attempts
    GROUP BY model, environment
),
checks AS (
    FROM counts UNION ALL FROM recomputed UNION ALL FROM models UNION ALL FROM redundant UNION ALL FROM physics
    UNION ALL FROM trades UNION ALL FROM time_order UNION ALL FROM starts UNION ALL FROM unmeasured UNION ALL FROM repeats
)
SELECT check_name, subject, figure::DOUBLE AS figure, limit_value::DOUBLE AS limit_value, figure <= limit_value AS passed,
    check_name NOT IN (
        'metrics_independent', 'memory_apart_from_cache', 'start_temperature_alike', 'start_clock_alike', 'start_memory_alike',
        'primary_metrics_measured', 'repetitions_once'
    ) AS grave,
    explanation
FROM checks
WHERE figure IS NOT NULL;
