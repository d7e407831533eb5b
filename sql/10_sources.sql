-- Sources: the files of a results folder as tables, one view per kind of file.
--
-- The folder is the variable `results`; Parquet files come as the lists `plan_files`, `requests_files`
-- and `telemetry_files`, text files as the table `text_files`. They hold regular, readable files only (see `broken_files`): a results
-- folder may be a stranger's. A kind without any file is an empty view with the same columns, so that every query holds for a
-- campaign that has not begun.

-- no rows: the columns of text_files, which holds the content of every JSON file and of the journal
CREATE TABLE schema_text_files (kind VARCHAR, file VARCHAR, content VARCHAR);

-- A name as it may stand in a figure, on a terminal and in a table: without control characters and not endless, and where that
-- changed it, with a digest, so that two names stay two.
CREATE MACRO tidy(text) AS CASE
    WHEN text IS NULL OR (length(text) <= 255 AND NOT regexp_matches(text, '[\x00-\x1f\x7f-\x{9f}\x{2028}-\x{202e}\x{2066}-\x{2069}]')) THEN text
    ELSE left(regexp_replace(text, '[\x00-\x1f\x7f-\x{9f}\x{2028}-\x{202e}\x{2066}-\x{2069}]+', ' ', 'g'), 60) || '… ' || left(md5(text), 8)
END;

-- no rows: the columns of plan.parquet
CREATE TABLE schema_plan (
    "index" INTEGER, run_id VARCHAR, phase VARCHAR, model VARCHAR, environment VARCHAR, workload VARCHAR, engine VARCHAR,
    repetition INTEGER, block VARCHAR, block_index INTEGER, position INTEGER, lane INTEGER, simulated BOOLEAN
);

-- no rows: the columns of an attempt's requests.parquet
CREATE TABLE schema_requests (
    request_index INTEGER, submitted_ms DOUBLE, ttft_ms DOUBLE, latency_ms DOUBLE, input_tokens INTEGER,
    output_tokens INTEGER, ok BOOLEAN, error VARCHAR, itl_ms DOUBLE[], answer_sha256 VARCHAR, simulated BOOLEAN, filename VARCHAR
);

-- no rows: the columns of a telemetry file
CREATE TABLE schema_telemetry (
    t_utc_ns BIGINT, t_mono_ns BIGINT, unit VARCHAR, run_id VARCHAR, attempt INTEGER, stage VARCHAR, simulated BOOLEAN,
    late_ms DOUBLE, gpu_temperature_c DOUBLE, gpu_power_w DOUBLE, gpu_utilization_pct DOUBLE,
    gpu_memory_utilization_pct DOUBLE, gpu_sm_clock_mhz DOUBLE, gpu_mem_clock_mhz DOUBLE, gpu_memory_used_gib DOUBLE,
    gpu_process_memory_gib DOUBLE, gpu_throttle_reasons BIGINT, gpu_pstate INTEGER, gpu_energy_j DOUBLE,
    gpu_memory_bandwidth_gb_s DOUBLE, host_temperature_c DOUBLE, zone_temperatures_c DOUBLE[],
    cpu_utilization_pct DOUBLE, mem_total_gib DOUBLE, mem_available_gib DOUBLE, mem_free_gib DOUBLE,
    mem_cached_gib DOUBLE, swap_used_gib DOUBLE, psi_cpu_some_us BIGINT, psi_memory_some_us BIGINT,
    psi_memory_full_us BIGINT, psi_io_some_us BIGINT, attempt_memory_gib DOUBLE, attempt_cpu_s DOUBLE,
    cgroup_memory_gib DOUBLE, cgroup_cpu_s DOUBLE
);

-- no rows: the columns of imported.parquet, the attempts of a campaign that others carried out (campaign/exchange/imports.py)
CREATE TABLE schema_imported (
    run_id VARCHAR, attempt INTEGER, "index" INTEGER, phase VARCHAR, unit VARCHAR, model VARCHAR, environment VARCHAR,
    workload VARCHAR, engine VARCHAR, repetition INTEGER, started_utc_ns BIGINT, sequence_index DOUBLE, order_in_block INTEGER,
    outcome VARCHAR, failure VARCHAR,
    throttled BOOLEAN, start_temperature_c DOUBLE, model_identity VARCHAR, source_row VARCHAR, settings JSON,
    metrics STRUCT(name VARCHAR, "value" DOUBLE, unit_of_measure VARCHAR, source VARCHAR, reason VARCHAR)[]
);

-- A text cell of a CSV file that no spreadsheet takes for a formula.
CREATE MACRO no_formula(text) AS CASE WHEN regexp_matches(text, '^[=+@\t\r-]') THEN '''' || text ELSE text END;

-- The rows of all Parquet files of one kind (`plan`, `requests`, `telemetry`, `imported`, or a table of `analysis/`), in the
-- columns of its schema.
-- hive_partitioning is off because the unit is a column already.
CREATE MACRO parquet_files(kind) AS TABLE
FROM query(
    'FROM schema_' || kind
    || CASE WHEN len(getvariable(kind || '_files')) = 0 THEN '' ELSE
        ' UNION ALL BY NAME FROM read_parquet(getvariable(''' || kind || '_files''), union_by_name = true, '
        || 'hive_partitioning = false, filename = ' || (kind = 'requests')::VARCHAR || ')'
    END
);

-- Whether a mask of NVML's clocks-event reasons has one that spoils a run (actors/heat.py); NULL where the device does not tell.
CREATE MACRO throttles(reasons) AS reasons & getvariable('throttling') <> 0;

-- Where a file lies below the results folder.
CREATE MACRO inside(path) AS substr(path, length(getvariable('results')) + 2);

-- Nanoseconds of UTC as a TIMESTAMP (microseconds, without time zone).
CREATE MACRO utc(ns) AS make_timestamp((ns // 1000)::BIGINT);

-- campaign: one row, the campaign. `reference` is the arm that the others are compared with: the config's (the first of the plan where that cannot be read).
CREATE VIEW campaign AS
WITH files AS (
    SELECT TRY_CAST(content AS JSON) AS facts FROM text_files WHERE kind = 'campaign'
),
plan_says AS (
    SELECT
        arg_min(environment, "index") AS first_environment,
        bool_or(simulated) AS simulated
    FROM parquet_files('plan')
)
SELECT
    tidy(facts->>'campaign') AS campaign,
    tidy(facts->>'campaign_id') AS campaign_id,
    tidy(coalesce(facts->'config'->>'reference', first_environment)) AS reference,
    coalesce(TRY_CAST(facts->>'simulated' AS BOOLEAN), false) OR coalesce(plan_says.simulated, false) AS simulated,
    utc(TRY_CAST(facts->>'created_utc_ns' AS BIGINT)) AS created_utc,
    facts->>'seed' AS seed,
    facts->>'config_hash' AS config_hash,
    facts->>'plan_hash' AS plan_hash,
    facts->'code'->>'git_commit' AS git_commit,
    TRY_CAST(facts->'code'->>'dirty' AS BOOLEAN) AS git_dirty,
    facts->'code'->>'digest' AS code_digest,
    facts->>'chosen_because' AS chosen_because,
    facts->'config' AS config,
    facts->'imported' AS imported,
    facts
FROM files, plan_says
WHERE facts IS NOT NULL;

-- units: one row per unit, as it described itself before the first run.
CREATE VIEW units AS
WITH files AS (
    SELECT TRY_CAST(content AS JSON) AS facts FROM text_files WHERE kind = 'units'
)
SELECT
    tidy(facts->>'unit') AS unit,
    tidy(facts->>'hostname') AS hostname,
    tidy(facts->>'machine') AS machine,
    tidy(facts->>'gpu') AS gpu,
    TRY_CAST(facts->>'cpus' AS INTEGER) AS cpus,
    TRY_CAST(facts->>'mem_total_gib' AS DOUBLE) AS mem_total_gib,
    facts->>'code_digest' AS code_digest,
    facts->'warnings' AS warnings,
    facts->'refused_options' AS refused_options,
    facts->'images' AS images,
    facts->'prepared' AS prepared,
    facts->'details' AS details
FROM files
WHERE facts IS NOT NULL;

-- imported: one row per attempt of others that was read from a file; empty for a campaign of our own. The figures are theirs:
-- there is no log, no gate record, no telemetry and no plan behind them.
CREATE VIEW imported AS
SELECT * REPLACE (
        tidy(run_id) AS run_id, tidy(phase) AS phase, tidy(unit) AS unit, tidy(model) AS model, tidy(environment) AS environment,
        tidy(workload) AS workload, tidy(engine) AS engine
    ),
    coalesce(outcome = 'completed', false)
    AND attempt = min(attempt) FILTER (outcome = 'completed') OVER (PARTITION BY run_id) AS counts
FROM parquet_files('imported')
WHERE (SELECT imported IS NOT NULL FROM campaign);

-- plan: one row per planned run, in order of `index`.
CREATE VIEW plan AS
SELECT * REPLACE (
    tidy(run_id) AS run_id, tidy(phase) AS phase, tidy(model) AS model, tidy(environment) AS environment, tidy(workload) AS workload,
    tidy(engine) AS engine, tidy(block) AS block
)
FROM parquet_files('plan');

-- journal_lines: one row per line of journal.jsonl; `event` is NULL where the line is not JSON (a torn last line).
CREATE VIEW journal_lines AS
WITH lines AS (
    SELECT unnest(string_split(content, chr(10))) AS line, generate_subscripts(string_split(content, chr(10)), 1) AS line_number
    FROM text_files
    WHERE kind = 'journal'
)
SELECT line_number, TRY_CAST(line AS JSON) AS event, line
FROM lines
WHERE trim(line) <> '';

-- journal: one row per transition, in order of `seq`.
CREATE VIEW journal AS
SELECT
    TRY_CAST(event->>'seq' AS BIGINT) AS seq,
    utc(TRY_CAST(event->>'t_utc_ns' AS BIGINT)) AS at_utc,
    event->>'event' AS event,
    tidy(event->>'run_id') AS run_id,
    TRY_CAST(event->>'attempt' AS INTEGER) AS attempt,
    tidy(event->>'unit') AS unit,
    tidy(event->>'block') AS block,
    tidy(event->>'outcome') AS outcome,
    (event->>'accepted') = 'true' AS accepted,
    from_json(event->'rejected_by', '["VARCHAR"]') AS rejected_by,
    event->>'reason' AS reason,
    event AS details
FROM journal_lines
WHERE json_type(event) = 'OBJECT';

-- Whether metadata.json names the run and attempt of the folder it lies in.
CREATE MACRO speaks_of_its_folder(facts, file) AS
coalesce(file = 'attempts/' || (facts->>'run_id') || '/' || (facts->>'attempt') || '/metadata.json', false);

-- metadata: one row per attempt's metadata.json that can be read, as a nested record.
CREATE VIEW metadata AS
WITH files AS (
    SELECT file, TRY_CAST(content AS JSON) AS facts FROM text_files WHERE kind = 'metadata'
)
SELECT
    file,
    unnest(from_json(facts, '{
        "run_id": "VARCHAR", "attempt": "BIGINT", "unit": "VARCHAR", "campaign_id": "VARCHAR", "phase": "VARCHAR",
        "model": "VARCHAR", "environment": "VARCHAR", "workload": "VARCHAR", "engine": "VARCHAR",
        "repetition": "BIGINT", "block": "VARCHAR", "position": "BIGINT", "simulated": "BOOLEAN", "outcome": "VARCHAR",
        "failure": "VARCHAR", "accepted": "BOOLEAN",
        "verdict": [{"check": "VARCHAR", "passed": "BOOLEAN", "figure": "VARCHAR", "limit": "VARCHAR",
            "reason": "VARCHAR"}],
        "exit": {"code": "BIGINT", "oom_killed": "BOOLEAN", "detail": "VARCHAR", "engine_gone": "BOOLEAN"},
        "gate": {"opened": "BOOLEAN", "waited_s": "DOUBLE", "rest_s": "DOUBLE", "blocked_by": ["VARCHAR"],
            "unavailable": ["VARCHAR"], "opened_at_ns": "BIGINT", "temperature_c": "DOUBLE",
            "mem_available_gib": "DOUBLE", "mem_free_gib": "DOUBLE", "mem_cached_gib": "DOUBLE",
            "swap_used_gib": "DOUBLE", "power_w": "DOUBLE", "cache_action": "VARCHAR", "flagged": "BOOLEAN"},
        "stages": {"gate_s": "DOUBLE", "create_s": "DOUBLE", "start_s": "DOUBLE", "gate_to_exec_ms": "DOUBLE",
            "entrypoint_s": "DOUBLE", "load_s": "DOUBLE", "warmup_s": "DOUBLE", "first_token_s": "DOUBLE",
            "steady_s": "DOUBLE", "teardown_s": "DOUBLE", "harness_s": "DOUBLE"},
        "metrics": [{"name": "VARCHAR", "value": "DOUBLE", "unit_of_measure": "VARCHAR", "source": "VARCHAR",
            "reason": "VARCHAR"}],
        "kernel": [{"kind": "VARCHAR", "text": "VARCHAR", "what": "VARCHAR", "process": "VARCHAR", "pid": "BIGINT"}],
        "kernel_unavailable": "VARCHAR", "paused_s": "DOUBLE",
        "coherence": {"checked": "BOOLEAN", "why": "VARCHAR"},
        "started_utc_ns": "BIGINT", "ended_utc_ns": "BIGINT",
        "telemetry": {"samples_expected": "BIGINT", "samples": "BIGINT", "coverage_pct": "DOUBLE",
            "duration_s": "DOUBLE", "jitter_p50_ms": "DOUBLE", "jitter_p99_ms": "DOUBLE", "longest_gap_ms": "DOUBLE",
            "sampler_cpu_pct": "DOUBLE", "throttle_reasons": "BIGINT", "throttled_us": "JSON",
            "foreign_gpu_pids": ["BIGINT"], "unsupported": "JSON"},
        "report": {"model_identity": "VARCHAR", "requests_expected": "BIGINT", "requests_answered": "BIGINT",
            "requests_failed": "BIGINT", "tokens_expected": "BIGINT", "tokens_generated": "BIGINT",
            "failure": "VARCHAR", "engine_version": "VARCHAR", "ready_utc_ns": "BIGINT"},
        "identity": "VARCHAR", "model_identity": "VARCHAR", "gpu_uuid": "VARCHAR", "session": "BIGINT",
        "caches_digest": "VARCHAR", "image_digest": "VARCHAR", "userland_digest": "VARCHAR", "files": "JSON"
    }'))
FROM files
WHERE json_type(facts) = 'OBJECT' AND speaks_of_its_folder(facts, file)
ORDER BY file;

-- broken_files: one row per file that could not be read and is therefore missing from every other view.
CREATE VIEW broken_files AS
SELECT file, 'not valid JSON: truncated or damaged' AS reason
FROM text_files
WHERE kind <> 'journal' AND TRY_CAST(content AS JSON) IS NULL
UNION ALL
SELECT file, 'it speaks of another run or attempt than its folder'
FROM text_files
WHERE kind = 'metadata' AND TRY_CAST(content AS JSON) IS NOT NULL AND NOT speaks_of_its_folder(TRY_CAST(content AS JSON), file)
UNION ALL
SELECT 'imported.parquet', 'imported runs in a campaign that ran here: not taken in'
FROM campaign
WHERE imported IS NULL AND len(getvariable('imported_files')) > 0
UNION ALL
SELECT 'journal.jsonl', 'line ' || line_number || ' is not valid JSON: torn by a crash, ignored'
FROM journal_lines
WHERE event IS NULL
UNION ALL
SELECT left_out.file, left_out.reason
FROM (SELECT unnest(getvariable('left_out')) AS left_out);
