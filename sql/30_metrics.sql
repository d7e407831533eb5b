-- Metrics: the figures of attempts, long and wide.

-- metric_facts: one row per metric that is known by name: the unit it is measured in, its words (`label`, and `short` in tables of a few), which
-- way is better (higher, lower, or NULL for a figure without a direction), its group, its role in the families of comparisons, and its place in
-- print (`print_order`; `summary_order` in the tables that sum a campaign up, the first being what the campaign is about). No other place says
-- what a name means: a metric that is neither here nor declared has no better side.
CREATE TABLE metric_facts AS
SELECT * FROM (VALUES
    (1, 'token_throughput_tok_s', 'tok/s', 'output token throughput', 'higher', 'primary', 'confirmatory', 1, 'throughput'),
    (2, 'request_throughput_req_s', 'req/s', 'request throughput', 'higher', 'primary', 'derived', NULL, NULL),
    (3, 'latency_mean_ms', 'ms', 'mean latency', 'lower', 'primary', 'confirmatory', 2, 'latency'),
    (4, 'peak_memory_gib', 'GiB', 'peak memory (engine)', 'lower', 'primary', 'confirmatory', 5, 'peak memory'),
    (5, 'kv_cache_gib', 'GiB', 'KV cache', 'higher', 'primary', 'derived', 6, 'KV cache'),
    (10, 'ttft_mean_ms', 'ms', 'time to first token, mean', 'lower', 'engine', 'secondary', NULL, NULL),
    (11, 'ttft_p50_ms', 'ms', 'time to first token, p50', 'lower', 'engine', 'secondary', 3, 'TTFT p50'),
    (12, 'ttft_p95_ms', 'ms', 'time to first token, p95', 'lower', 'engine', 'secondary', NULL, NULL),
    (13, 'ttft_p99_ms', 'ms', 'time to first token, p99', 'lower', 'engine', 'secondary', 4, 'TTFT p99'),
    (14, 'itl_mean_ms', 'ms', 'inter-token latency, mean', 'lower', 'engine', 'secondary', NULL, NULL),
    (15, 'itl_p50_ms', 'ms', 'inter-token latency, p50', 'lower', 'engine', 'secondary', NULL, NULL),
    (16, 'itl_p95_ms', 'ms', 'inter-token latency, p95', 'lower', 'engine', 'secondary', NULL, NULL),
    (17, 'itl_p99_ms', 'ms', 'inter-token latency, p99', 'lower', 'engine', 'secondary', NULL, NULL),
    (18, 'latency_p50_ms', 'ms', 'latency, p50', 'lower', 'engine', 'secondary', NULL, NULL),
    (19, 'latency_p95_ms', 'ms', 'latency, p95', 'lower', 'engine', 'secondary', NULL, NULL),
    (20, 'latency_p99_ms', 'ms', 'latency, p99', 'lower', 'engine', 'secondary', NULL, NULL),
    (21, 'total_token_throughput_tok_s', 'tok/s', 'total token throughput', 'higher', 'engine', 'secondary', NULL, NULL),
    (22, 'output_tokens_per_cpu_s', 'tok/CPU-s', 'output tokens per CPU-second', 'higher', 'engine', 'secondary', 7, 'per CPU-second'),
    (30, 'power_mean_w', 'W', 'mean power', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (31, 'energy_j', 'J', 'energy', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (41, 'energy_per_output_token_j', 'J/token', 'energy per output token', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (42, 'output_tokens_per_joule', 'token/J', 'output tokens per joule', 'higher', 'telemetry', 'secondary', NULL, NULL),
    (32, 'gpu_utilization_mean_pct', '%', 'GPU utilisation, mean', NULL, 'telemetry', 'secondary', NULL, NULL),
    (33, 'memory_bandwidth_mean_gb_s', 'GB/s', 'memory bandwidth, mean', NULL, 'telemetry', 'secondary', NULL, NULL),
    (34, 'gpu_temperature_max_c', '°C', 'GPU temperature, maximum', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (35, 'peak_unified_memory_gib', 'GiB', 'peak unified memory (unit)', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (36, 'attempt_memory_peak_gib', 'GiB', 'peak memory (process tree)', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (37, 'attempt_cpu_s', 's', 'CPU time (process tree)', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (38, 'host_temperature_max_c', '°C', 'host temperature, maximum', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (39, 'psi_cpu_some_ms', 'ms', 'CPU pressure', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (40, 'psi_memory_some_ms', 'ms', 'memory pressure', 'lower', 'telemetry', 'secondary', NULL, NULL),
    (50, 'create_s', 's', 'create', 'lower', 'stages', 'secondary', NULL, NULL),
    (51, 'start_s', 's', 'start', 'lower', 'stages', 'secondary', NULL, NULL),
    (52, 'load_s', 's', 'engine load', 'lower', 'stages', 'secondary', NULL, NULL),
    (53, 'warmup_s', 's', 'warm-up', 'lower', 'stages', 'secondary', NULL, NULL),
    (54, 'first_token_s', 's', 'first token', 'lower', 'stages', 'secondary', NULL, NULL),
    (55, 'steady_s', 's', 'steady state', 'lower', 'stages', 'secondary', NULL, NULL),
    (56, 'teardown_s', 's', 'teardown', 'lower', 'stages', 'secondary', NULL, NULL),
    (57, 'startup_s', 's', 'start-up (create, start, load)', 'lower', 'stages', 'secondary', 8, 'start-up'),
    (58, 'gate_to_exec_ms', 'ms', 'gate open to engine exec', 'lower', 'stages', 'secondary', NULL, NULL),
    (59, 'harness_s', 's', 'harness', 'lower', 'stages', 'secondary', NULL, NULL),
    (80, 'entrypoint_s', 's', 'entry point', 'lower', 'start-up', 'secondary', NULL, NULL),
    (81, 'load_weights_s', 's', 'weights', 'lower', 'start-up', 'secondary', NULL, NULL),
    (82, 'compile_s', 's', 'compilation', 'lower', 'start-up', 'secondary', NULL, NULL),
    (83, 'graph_capture_s', 's', 'CUDA graph capture', 'lower', 'start-up', 'secondary', NULL, NULL),
    (84, 'engine_init_s', 's', 'engine initialisation (profiling, KV cache, compilation, graphs)', 'lower', 'start-up', 'secondary', NULL, NULL),
    (60, 'gate_wait_s', 's', 'wait at the gate', NULL, 'start state', 'secondary', NULL, NULL),
    (61, 'rest_s', 's', 'rest since the attempt before', NULL, 'start state', 'secondary', NULL, NULL),
    (62, 'start_temperature_c', '°C', 'temperature at start', NULL, 'start state', 'secondary', NULL, NULL),
    (63, 'start_mem_available_gib', 'GiB', 'MemAvailable at start', NULL, 'start state', 'secondary', NULL, NULL),
    (64, 'start_mem_free_gib', 'GiB', 'MemFree at start', NULL, 'start state', 'secondary', NULL, NULL),
    (65, 'start_mem_cached_gib', 'GiB', 'page cache at start', NULL, 'start state', 'secondary', NULL, NULL),
    (66, 'start_swap_used_gib', 'GiB', 'swap in use at start', NULL, 'start state', 'secondary', NULL, NULL),
    (67, 'canary_before_gb_s', 'GB/s', 'canary before the attempt', NULL, 'start state', 'secondary', NULL, NULL),
    (68, 'canary_after_gb_s', 'GB/s', 'canary after the attempt', NULL, 'start state', 'secondary', NULL, NULL),
    (70, 'telemetry_coverage_pct', '%', 'telemetry coverage', NULL, 'sampler', 'secondary', NULL, NULL),
    (71, 'telemetry_jitter_p99_ms', 'ms', 'telemetry jitter, p99', NULL, 'sampler', 'secondary', NULL, NULL),
    (72, 'telemetry_cpu_pct', '%', 'sampler CPU, of one core', NULL, 'sampler', 'secondary', NULL, NULL)
) AS known (print_order, metric, measured_in, label, better, family, role, summary_order, short);

-- metric_aliases: one row per other name of a known metric, whole names only (run tables of the method call them so); an alias has the
-- direction and the role of its metric, whatever its unit.
CREATE TABLE metric_aliases AS
SELECT * FROM (VALUES
    ('token_throughput', 'token_throughput_tok_s'),
    ('token_throughput_tps', 'token_throughput_tok_s'),
    ('request_throughput', 'request_throughput_req_s'),
    ('avg_latency', 'latency_mean_ms'),
    ('avg_latency_ms', 'latency_mean_ms'),
    ('mean_latency_ms', 'latency_mean_ms'),
    ('latency_ms', 'latency_mean_ms'),
    ('ttft_ms', 'ttft_mean_ms'),
    ('itl_ms', 'itl_mean_ms'),
    ('peak_memory', 'peak_memory_gib'),
    ('peak_memory_gb', 'peak_memory_gib'),
    ('kv_cache', 'kv_cache_gib'),
    ('kv_cache_gb', 'kv_cache_gib')
) AS known (alias, metric);

-- metrics: one row per attempt and metric, accepted or not. `value` is NULL with a `reason` where it could not be
-- measured. Derived here: `startup_s` = create + start + load, so that start-up never leaks into throughput, and the energy of
-- an output token.
CREATE VIEW metrics AS
WITH recorded AS (
    SELECT run_id, attempt, unnest(metrics) AS m FROM metadata
    UNION ALL
    SELECT run_id, attempt, unnest(metrics) AS m FROM imported
),
named AS (
    SELECT run_id, attempt, m.name AS metric, m.value AS value, m.unit_of_measure AS unit_of_measure, m.source AS source, m.reason AS reason
    FROM recorded
),
startups AS (
    SELECT
        run_id,
        attempt,
        'startup_s' AS metric,
        coalesce(stages.create_s, 0) + stages.start_s + stages.load_s AS value,
        's' AS unit_of_measure,
        'derived' AS source,
        CASE WHEN stages.start_s + stages.load_s IS NULL THEN 'start or load time not recorded' END AS reason
    FROM metadata
),
energies AS (
    SELECT
        n.run_id,
        n.attempt,
        unnest(['energy_per_output_token_j', 'output_tokens_per_joule']) AS metric,
        unnest([n.value / nullif(d.report.tokens_generated, 0), d.report.tokens_generated / nullif(n.value, 0)]) AS value,
        unnest(['J/token', 'token/J']) AS unit_of_measure,
        'derived' AS source,
        CASE
            WHEN n.value IS NULL THEN coalesce(n.reason, 'energy not measured')
            WHEN d.report.tokens_generated IS NULL THEN 'the engine does not report token counts'
        END AS reason
    FROM named AS n
    JOIN metadata AS d ON d.run_id = n.run_id AND d.attempt = n.attempt
    WHERE n.metric = 'energy_j'
)
SELECT f.run_id, f.attempt, f.metric, f.value, f.unit_of_measure, f.source, f.reason, a.accepted
FROM (FROM named UNION ALL FROM startups UNION ALL FROM energies) AS f
JOIN attempts AS a ON a.run_id = f.run_id AND a.attempt = f.attempt;

-- observations: one row per accepted run and metric with a finite value, with the factors of the run. What every
-- statistic starts from.
CREATE VIEW observations AS
SELECT
    r.phase, r.unit, r.model, r.environment, r.workload, r.engine, r.repetition, r.block, r.block_index, r.position, r.run_index,
    r.run_id, m.attempt, m.metric, m.value, m.unit_of_measure, r.started_utc, r.simulated
FROM metrics AS m
JOIN runs AS r ON r.run_id = m.run_id AND r.accepted_attempt = m.attempt
WHERE m.value IS NOT NULL AND isfinite(m.value);

-- run_metrics: one row per accepted run, its figures side by side.
CREATE VIEW run_metrics AS
SELECT
    run_id, any_value(attempt) AS attempt, any_value(phase) AS phase, any_value(unit) AS unit, any_value(model) AS model,
    any_value(environment) AS environment, any_value(workload) AS workload, any_value(repetition) AS repetition,
    any_value(block) AS block, any_value(position) AS position, any_value(started_utc) AS started_utc,
    any_value(simulated) AS simulated,
    any_value(value) FILTER (metric = 'token_throughput_tok_s') AS token_throughput_tok_s,
    any_value(value) FILTER (metric = 'request_throughput_req_s') AS request_throughput_req_s,
    any_value(value) FILTER (metric = 'latency_mean_ms') AS latency_mean_ms,
    any_value(value) FILTER (metric = 'latency_p50_ms') AS latency_p50_ms,
    any_value(value) FILTER (metric = 'latency_p99_ms') AS latency_p99_ms,
    any_value(value) FILTER (metric = 'ttft_p50_ms') AS ttft_p50_ms,
    any_value(value) FILTER (metric = 'ttft_p95_ms') AS ttft_p95_ms,
    any_value(value) FILTER (metric = 'ttft_p99_ms') AS ttft_p99_ms,
    any_value(value) FILTER (metric = 'itl_p50_ms') AS itl_p50_ms,
    any_value(value) FILTER (metric = 'itl_p99_ms') AS itl_p99_ms,
    any_value(value) FILTER (metric = 'peak_memory_gib') AS peak_memory_gib,
    any_value(value) FILTER (metric = 'kv_cache_gib') AS kv_cache_gib,
    any_value(value) FILTER (metric = 'peak_unified_memory_gib') AS peak_unified_memory_gib,
    any_value(value) FILTER (metric = 'power_mean_w') AS power_mean_w,
    any_value(value) FILTER (metric = 'energy_j') AS energy_j,
    any_value(value) FILTER (metric = 'gpu_temperature_max_c') AS gpu_temperature_max_c,
    any_value(value) FILTER (metric = 'startup_s') AS startup_s,
    any_value(value) FILTER (metric = 'gate_to_exec_ms') AS gate_to_exec_ms,
    any_value(value) FILTER (metric = 'gate_wait_s') AS gate_wait_s,
    any_value(value) FILTER (metric = 'start_temperature_c') AS start_temperature_c,
    any_value(value) FILTER (metric = 'start_mem_available_gib') AS start_mem_available_gib
FROM observations
GROUP BY run_id;

-- requests: one row per request of an attempt, with the factors of its run. Times in ms since the start of steady state.
CREATE VIEW requests AS
WITH files AS (
    SELECT
        regexp_extract(filename, '/attempts/([^/]+)/([0-9]+)/requests\.parquet$', 1) AS run_id,
        TRY_CAST(regexp_extract(filename, '/attempts/([^/]+)/([0-9]+)/requests\.parquet$', 2) AS INTEGER) AS attempt,
        * EXCLUDE (filename)
    FROM parquet_files('requests')
)
SELECT
    f.run_id, f.attempt, r.phase, r.unit, r.model, r.environment, r.workload, r.repetition, r.block,
    coalesce(r.accepted_attempt = f.attempt, false) AS accepted,
    f.* EXCLUDE (run_id, attempt) REPLACE (coalesce(f.simulated, false) AS simulated)
FROM files AS f
LEFT JOIN runs AS r ON r.run_id = f.run_id
WHERE f.attempt IS NOT NULL;
