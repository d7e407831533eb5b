-- Telemetry: samples and what they come to by attempt and stage.

-- telemetry: one row per sample of a unit, also those between attempts (run_id is NULL there).
CREATE VIEW telemetry AS
SELECT utc(t_utc_ns) AS at_utc, *, mem_total_gib - mem_available_gib AS unified_memory_gib
FROM parquet_files('telemetry');

-- telemetry_summary: one row per unit, attempt and stage (`cooldown`, `gate`, `run`, `idle`). Cumulative counters are
-- differences over the stage. Samples outside any attempt are one row per unit and stage. `gpu_energy_j` is told as the metric `energy_j` is: by the
-- device's counter where it was read at every sample, else power integrated from sample to sample by the trapezium rule, which is also
-- what samples outside any attempt have, because these are no one stretch.
CREATE VIEW telemetry_summary AS
WITH powered AS (
    SELECT unit, run_id, attempt, stage, t_mono_ns, gpu_power_w,
        lag(struct_pack(run_id, attempt, stage, t_mono_ns, gpu_power_w)) OVER (PARTITION BY unit ORDER BY t_utc_ns, t_mono_ns) AS before
    FROM telemetry
    WHERE gpu_power_w IS NOT NULL
),
integrals AS (
    SELECT unit, run_id, attempt, stage, sum((gpu_power_w + before.gpu_power_w) / 2 * (t_mono_ns - before.t_mono_ns) / 1e9) AS integrated_j
    FROM powered
    WHERE before.run_id IS NOT DISTINCT FROM run_id AND before.attempt IS NOT DISTINCT FROM attempt AND before.stage = stage
    GROUP BY unit, run_id, attempt, stage
)
SELECT
    t.unit,
    t.run_id,
    t.attempt,
    t.stage,
    count(*) AS samples,
    utc(min(t_utc_ns)) AS from_utc,
    utc(max(t_utc_ns)) AS to_utc,
    (max(t_mono_ns) - min(t_mono_ns)) / 1e9 AS duration_s,
    max(late_ms) AS late_max_ms,
    avg(gpu_power_w) AS gpu_power_mean_w,
    max(gpu_power_w) AS gpu_power_max_w,
    CASE
        WHEN t.run_id IS NOT NULL AND count(gpu_energy_j) > 1 AND (count(gpu_energy_j) >= count(gpu_power_w) OR count(gpu_power_w) < 2)
            THEN max(gpu_energy_j) - min(gpu_energy_j)
        ELSE any_value(i.integrated_j)
    END AS gpu_energy_j,
    avg(gpu_utilization_pct) AS gpu_utilization_mean_pct,
    min(gpu_temperature_c) AS gpu_temperature_min_c,
    max(gpu_temperature_c) AS gpu_temperature_max_c,
    min(gpu_sm_clock_mhz) AS gpu_sm_clock_min_mhz,
    avg(gpu_sm_clock_mhz) AS gpu_sm_clock_mean_mhz,
    bit_or(gpu_throttle_reasons) AS gpu_throttle_reasons,
    max(gpu_process_memory_gib) AS gpu_process_memory_max_gib,
    avg(gpu_memory_bandwidth_gb_s) AS gpu_memory_bandwidth_mean_gb_s,
    max(host_temperature_c) AS host_temperature_max_c,
    avg(cpu_utilization_pct) AS cpu_utilization_mean_pct,
    max(unified_memory_gib) AS unified_memory_max_gib,
    max(attempt_memory_gib) AS attempt_memory_max_gib,
    max(cgroup_memory_gib) AS cgroup_memory_max_gib,
    max(attempt_cpu_s) - min(attempt_cpu_s) AS attempt_cpu_s,
    max(swap_used_gib) AS swap_used_max_gib,
    (max(psi_cpu_some_us) - min(psi_cpu_some_us)) / 1000 AS psi_cpu_some_ms,
    (max(psi_memory_some_us) - min(psi_memory_some_us)) / 1000 AS psi_memory_some_ms,
    (max(psi_io_some_us) - min(psi_io_some_us)) / 1000 AS psi_io_some_ms
FROM telemetry AS t
LEFT JOIN integrals AS i
    ON (i.unit, i.stage) = (t.unit, t.stage) AND i.run_id IS NOT DISTINCT FROM t.run_id AND i.attempt IS NOT DISTINCT FROM t.attempt
GROUP BY t.unit, t.run_id, t.attempt, t.stage;

-- gates: one row per attempt, how its gate opened or did not. `blocked_by` in order of first blocking.
CREATE VIEW gates AS
SELECT
    m.run_id, m.attempt, m.unit, m.phase, m.model, m.environment, m.repetition, m.block, m.position, a.accepted, a.started_utc,
    m.gate.opened AS opened,
    m.gate.waited_s AS waited_s,
    m.gate.rest_s AS rest_s,
    m.gate.blocked_by AS blocked_by,
    m.gate.unavailable AS unavailable,
    m.gate.temperature_c AS temperature_c,
    m.gate.mem_available_gib AS mem_available_gib,
    m.gate.mem_free_gib AS mem_free_gib,
    m.gate.mem_cached_gib AS mem_cached_gib,
    m.gate.swap_used_gib AS swap_used_gib,
    m.gate.power_w AS power_w,
    m.gate.cache_action AS cache_action,
    m.gate.flagged AS flagged
FROM metadata AS m
JOIN attempts AS a ON a.run_id = m.run_id AND a.attempt = m.attempt
WHERE m.gate IS NOT NULL AND m.gate.opened IS NOT NULL;

-- cooling: one row per sample of a rest between two attempts of a unit, up to where the gate began to look: the cell of the attempt before it
-- (`model`, `environment`), the attempt that it led to (`next_run_id`, `next_attempt`), its whole length `rest_s`, and seconds since it began, `t_s`.
CREATE VIEW cooling AS
WITH attempted AS (
    SELECT
        unit, run_id, attempt, gate, ended_utc_ns,
        CAST(started_utc_ns + 1e9 * (coalesce(stages.create_s, 0) + gate.waited_s - gate.rest_s) AS BIGINT) AS began_ns,
        lag(model) OVER by_time AS model_before,
        lag(environment) OVER by_time AS environment_before,
        lag(ended_utc_ns) OVER by_time AS ended_before_ns
    FROM metadata
    WINDOW by_time AS (PARTITION BY unit ORDER BY started_utc_ns)
),
rests AS (
    SELECT unit, run_id, attempt, model_before, environment_before, began_ns, gate.rest_s AS rest_s, gate.temperature_c AS opened_c
    FROM attempted
    WHERE gate.opened AND gate.rest_s IS NOT NULL AND model_before IS NOT NULL AND began_ns > ended_before_ns - 60_000_000_000
)
SELECT
    r.model_before AS model,
    r.environment_before AS environment,
    r.unit,
    r.run_id AS next_run_id,
    r.attempt AS next_attempt,
    r.rest_s,
    r.opened_c,
    (t.t_utc_ns - r.began_ns) / 1e9 AS t_s,
    coalesce(t.gpu_temperature_c, t.host_temperature_c) AS temperature_c,
    t.gpu_power_w AS power_w,
    t.gpu_sm_clock_mhz AS sm_clock_mhz
FROM telemetry AS t ASOF JOIN rests AS r ON t.unit = r.unit AND t.t_utc_ns >= r.began_ns
WHERE t.t_utc_ns <= r.began_ns + 1e9 * r.rest_s AND t.stage IN ('cooldown', 'idle');
