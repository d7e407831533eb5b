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

-- plausibility: one row per check and subject (a run, or a pair of models or metrics); `figure` should not exceed
-- `limit_value`. `grave` checks put the figures in doubt; the others are notes for the analysis.
CREATE VIEW plausibility AS
WITH counts AS (
    SELECT 'tokens_as_ordered' AS check_name, run_id AS subject,
        abs(tokens_generated - tokens_expected)::DOUBLE AS figure, 0.0 AS limit_value,
        'tokens generated against requests × output tokens' AS explanation
    FROM attempts
    WHERE accepted AND tokens_expected IS NOT NULL AND tokens_generated IS NOT NULL
    UNION ALL
    SELECT 'requests_recorded', t.run_id, abs(t.answered - a.requests_answered), 0,
        'answered requests in requests.parquet against the engine''s report'
    FROM request_totals AS t
    JOIN attempts AS a ON a.run_id = t.run_id AND a.attempt = t.attempt
),
recomputed AS (
    SELECT 'throughput_from_requests' AS check_name, t.run_id AS subject,
        100 * abs(t.token_throughput_tok_s / nullif(m.token_throughput_tok_s, 0) - 1) AS figure, 5.0 AS limit_value,
        'output tokens over makespan of the requests against the reported throughput, percent apart' AS explanation
    FROM request_totals AS t
    JOIN run_metrics AS m ON m.run_id = t.run_id
    WHERE m.token_throughput_tok_s IS NOT NULL
    UNION ALL
    SELECT 'littles_law', t.run_id,
        100 * abs(m.request_throughput_req_s * m.latency_mean_ms / 1000 / nullif(t.in_flight_mean, 0) - 1), 5,
        'request throughput × mean latency against the mean number in flight from the requests, percent apart'
    FROM request_totals AS t
    JOIN run_metrics AS m ON m.run_id = t.run_id
    WHERE m.request_throughput_req_s IS NOT NULL AND m.latency_mean_ms IS NOT NULL
),
model_sizes AS (
    SELECT entry->>'name' AS model, (entry->>'parameters')::DOUBLE AS parameters
    FROM (SELECT unnest(from_json(config->'models', '["JSON"]')) AS entry FROM campaign)
    WHERE json_type(entry) = 'OBJECT'
),
model_pairs AS (
    SELECT x.phase, x.workload, x.environment, x.model AS model, y.model AS other,
        abs(x.mean - y.mean) / nullif(sqrt(x.se ** 2 + y.se ** 2), 0) AS t, x.mean = y.mean AS same_mean
    FROM descriptives AS x
    JOIN descriptives AS y USING (phase, workload, environment, metric)
    LEFT JOIN model_sizes AS x_size ON x_size.model = x.model
    LEFT JOIN model_sizes AS y_size ON y_size.model = y.model
    WHERE x.metric = 'token_throughput_tok_s' AND x.model < y.model AND x.n >= 3 AND y.n >= 3
        AND coalesce(
            greatest(x_size.parameters, y_size.parameters) > 3 * least(x_size.parameters, y_size.parameters), true
        )
),
models AS (
    SELECT 'models_told_apart' AS check_name, model || ' / ' || other AS subject,
        bool_and(coalesce(t < 2, same_mean))::INTEGER::DOUBLE AS figure, 0.0 AS limit_value,
        'two models, one over three times the size of the other, whose throughput no arm tells apart: perhaps one model ran as both' AS explanation
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
checks AS (
    FROM counts UNION ALL FROM recomputed UNION ALL FROM models UNION ALL FROM redundant
)
SELECT check_name, subject, figure::DOUBLE AS figure, limit_value::DOUBLE AS limit_value, figure <= limit_value AS passed, check_name <> 'metrics_independent' AS grave,
    explanation
FROM checks
WHERE figure IS NOT NULL;
