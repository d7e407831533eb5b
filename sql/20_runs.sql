-- Runs: what was planned, what was tried, and what became of it. The journal is the authority on acceptance.

-- reimports: one row per image ID that a unit got for the same files when it imported them again, with the ID before: the journal
-- tells that ID and root filesystem changed and the digest of the content did not. For attempts that recorded the ID alone.
CREATE VIEW reimports AS
WITH overrides AS (
    SELECT
        (details->'difference')::VARCHAR AS changes,
        regexp_extract(
            changes, 'images\.image\.digest was [\\"]+(sha256:[0-9a-f]+)[\\"]+, is [\\"]+(sha256:[0-9a-f]+)', ['before', 'after']
        ) AS id
    FROM journal
    WHERE event = 'override'
)
SELECT id.before, id.after
FROM overrides
WHERE id.after <> '' AND NOT contains(changes, 'images.image.content_digest');

-- attempts: one row per attempt that left evidence; a run has one or more, at most one accepted. `superseded` marks one that
-- was accepted before its run was reopened.
CREATE VIEW attempts AS
WITH finishes AS (
    SELECT run_id, attempt, accepted, rejected_by, seq
    FROM journal
    WHERE event = 'finished'
    QUALIFY row_number() OVER (PARTITION BY run_id, attempt ORDER BY seq DESC) = 1
),
reopenings AS (
    SELECT run_id, max(seq) AS seq FROM journal WHERE event = 'reopened' GROUP BY run_id
)
SELECT
    m.run_id,
    m.attempt,
    m.unit,
    m.phase,
    m.model,
    m.environment,
    m.workload,
    m.engine,
    m.repetition,
    m.block,
    m.position,
    coalesce(m.session, 1) AS session,
    coalesce(m.simulated, false) AS simulated,
    m.outcome,
    coalesce(m.failure, m.report.failure) AS failure,
    coalesce(f.accepted AND f.seq > coalesce(o.seq, -1), false) AS accepted,
    coalesce(f.accepted AND f.seq < o.seq, false) AS superseded,
    f.run_id IS NOT NULL AS journalled,
    coalesce(
        f.rejected_by, list_transform(list_filter(m.verdict, lambda c: c.passed = false), lambda c: c."check"), []
    ) AS rejected_by,
    utc(m.started_utc_ns) AS started_utc,
    utc(m.ended_utc_ns) AS ended_utc,
    (m.ended_utc_ns - m.started_utc_ns) / 1e9 AS duration_s,
    m.exit.code AS exit_code,
    m.exit.oom_killed AS oom_killed,
    m.report.requests_expected AS requests_expected,
    m.report.requests_answered AS requests_answered,
    m.report.requests_failed AS requests_failed,
    m.report.tokens_expected AS tokens_expected,
    m.report.tokens_generated AS tokens_generated,
    m.report.model_identity AS model_identity,
    m.report.engine_version AS engine_version,
    m.gate.opened AS gate_opened,
    m.gate.waited_s AS gate_wait_s,
    m.gate.rest_s AS rest_s,
    m.gate.temperature_c AS start_temperature_c,
    m.gate.mem_available_gib AS start_mem_available_gib,
    m.gate.flagged AS gate_flagged,
    m.telemetry.coverage_pct AS telemetry_coverage_pct,
    m.telemetry.jitter_p99_ms AS telemetry_jitter_p99_ms,
    m.telemetry.longest_gap_ms AS telemetry_longest_gap_ms,
    m.telemetry.sampler_cpu_pct AS telemetry_cpu_pct,
    m.telemetry.throttle_reasons AS throttle_reasons,
    m.stages.create_s AS create_s,
    m.stages.start_s AS start_s,
    m.stages.gate_to_exec_ms AS gate_to_exec_ms,
    m.stages.load_s AS load_s,
    m.stages.warmup_s AS warmup_s,
    m.stages.first_token_s AS first_token_s,
    m.stages.steady_s AS steady_s,
    m.stages.teardown_s AS teardown_s,
    m.stages.harness_s AS harness_s,
    m.image_digest,
    coalesce(m.userland_digest, (SELECT before FROM reimports WHERE after = m.image_digest LIMIT 1), m.image_digest) AS userland_digest,
    m.file
FROM metadata AS m
LEFT JOIN finishes AS f ON f.run_id = m.run_id AND f.attempt = m.attempt
LEFT JOIN reopenings AS o ON o.run_id = m.run_id
-- which reason throttled an imported attempt is not told: its mask has all that would have
UNION ALL BY NAME
SELECT
    run_id, attempt, unit, phase, model, environment, workload, engine, repetition, false AS simulated, outcome, failure,
    counts AS accepted, outcome = 'completed' AND NOT counts AS superseded, false AS journalled,
    CASE WHEN outcome <> 'completed' THEN ['outcome'] WHEN NOT counts THEN ['repeated'] ELSE [] END AS rejected_by,
    utc(started_utc_ns) AS started_utc, sequence_index AS recorded_index, order_in_block AS position, start_temperature_c, model_identity,
    CASE WHEN throttled THEN getvariable('throttling') END AS throttle_reasons, source_row AS file
FROM imported;

-- arm_software: one row per arm of the config: the image declared for it and what that was when its attempts ran, the engine's own version, and
-- the options that the arm gives the engine. `differs` says what of this is not the reference's: a comparison with it is of that as well.
CREATE VIEW arm_software AS
WITH arms AS (
    SELECT unnest(from_json(config->'environments', '["JSON"]')) AS arm, config->'image' AS campaigns, config->>'engine' AS engine, reference
    FROM campaign
),
ran AS (
    SELECT
        environment, count(*) AS attempts,
        coalesce(list_sort(list(DISTINCT userland_digest) FILTER (userland_digest IS NOT NULL)), []) AS userlands,
        coalesce(list_sort(list(DISTINCT engine_version) FILTER (engine_version IS NOT NULL)), []) AS engine_versions
    FROM attempts
    GROUP BY environment
),
declared AS (
    SELECT
        arm->>'name' AS environment,
        CASE WHEN arm->>'image' IS NULL THEN campaigns ELSE arm->'image' END AS declared_image,
        nullif((arm->'engine_options'->engine)::VARCHAR, '{}') AS engine_options,
        reference
    FROM arms
),
named AS (
    SELECT
        d.environment, d.reference, d.declared_image::VARCHAR AS declared_image, d.engine_options,
        CASE
            WHEN r.attempts > 0 AND len(r.userlands) = 0 THEN 'none: what is installed on the host'
            ELSE coalesce(d.declared_image->>'reference', 'made of this machine')
        END AS image,
        coalesce(r.userlands, []) AS userlands,
        coalesce(r.engine_versions, []) AS engine_versions
    FROM declared AS d
    LEFT JOIN ran AS r USING (environment)
)
SELECT
    a.environment, a.image, a.declared_image, a.userlands, a.engine_versions, a.engine_options,
    list_filter(
        [
            CASE WHEN a.image <> b.image OR a.declared_image <> b.declared_image THEN 'image' END,
            CASE WHEN a.engine_versions <> b.engine_versions AND len(a.engine_versions) > 0 AND len(b.engine_versions) > 0 THEN 'engine version' END,
            CASE WHEN a.engine_options IS DISTINCT FROM b.engine_options THEN 'engine options' END
        ],
        lambda it: it IS NOT NULL
    ) AS differs
FROM named AS a
LEFT JOIN named AS b ON b.environment = a.reference;

-- shakedowns: one row per cell and unit, as its last unmeasured try found it. `start_s` is from exec to the first request.
CREATE VIEW shakedowns AS
SELECT
    unit,
    details->>'model' AS model,
    details->>'environment' AS environment,
    details->>'workload' AS workload,
    (details->>'passed') = 'true' AS passed,
    attempt,
    outcome,
    nullif(details->>'cause', '') AS cause,
    nullif(details->>'remedy', '') AS remedy,
    (details->>'start_s')::DOUBLE AS start_s,
    (details->>'run_s')::DOUBLE AS run_s,
    (details->>'tok_s')::DOUBLE AS tok_s,
    (details->>'power_w')::DOUBLE AS power_w,
    at_utc
FROM journal
WHERE event = 'shakedown'
QUALIFY row_number() OVER (PARTITION BY unit, model, environment, workload ORDER BY seq DESC) = 1;

-- sessions: one row per stretch of a campaign under the same conditions; the second and later ones began with a difference that was
-- accepted, which `difference` tells. No block holds runs of two sessions.
CREATE VIEW sessions AS
WITH accepted_changes AS (
    SELECT row_number() OVER (ORDER BY seq) + 1 AS session, at_utc AS began_utc, details->>'what' AS changed,
        array_to_string(from_json(details->'difference', '["VARCHAR"]'), '; ') AS difference
    FROM journal
    WHERE event = 'override'
),
every AS (
    SELECT 1 AS session, min(at_utc) AS began_utc, NULL AS changed, NULL AS difference FROM journal
    UNION ALL
    SELECT * FROM accepted_changes
)
SELECT e.*, coalesce(a.accepted_runs, 0) AS accepted_runs
FROM every AS e
LEFT JOIN (SELECT session, count(*) FILTER (accepted) AS accepted_runs FROM attempts GROUP BY session) AS a USING (session);

-- cells_left_out: one row per cell that the campaign goes on without, with the reason and who decided it.
CREATE VIEW cells_left_out AS
WITH settled AS (
    SELECT details FROM journal WHERE event = 'left_out' ORDER BY seq DESC LIMIT 1
)
SELECT cell, details->'cells'->>cell AS reason, details->>'by' AS decided_by
FROM (SELECT details, unnest(json_keys(details->'cells')) AS cell FROM settled);

-- looks: one row per look of a sequential design: a model after so many blocks, with the claims that were new. What it saw is in the
-- journal; the table `comparison_looks` has it comparison by comparison.
CREATE VIEW looks AS
SELECT
    row_number() OVER (ORDER BY seq) AS event,
    details->>'model' AS model,
    details->>'workload' AS workload,
    (details->>'look')::INTEGER AS look,
    (details->>'blocks')::INTEGER AS blocks,
    from_json(details->'new_claims', '["VARCHAR"]') AS new_claims,
    json_keys(details->'stopped') AS stopped,
    at_utc,
    seq
FROM journal
WHERE event = 'look';

-- cells_closed: one row per model and workload that a look gave no further blocks, and why: all_decided, futility, max_blocks (it has had
-- them all) or not_testable.
CREATE VIEW cells_closed AS
SELECT split_part(cell, '__', 1) AS model, split_part(cell, '__', 2) AS workload, cell, details->'stopped'->>cell AS reason, at_utc
FROM (SELECT at_utc, details, unnest(json_keys(details->'stopped')) AS cell FROM journal WHERE event = 'look');

-- runs: one row per planned run, with the state that the journal gives it: planned, dispatched (under way now), rejected (tried, to be tried
-- again), accepted, exhausted (given up), left_out (its cell cannot run, or has nothing to be compared with), or spared (a look had decided its model).
CREATE VIEW runs AS
WITH transitions AS (
    SELECT *, max(seq) FILTER (event = 'reopened') OVER (PARTITION BY run_id) AS reopened
    FROM journal
    WHERE run_id IS NOT NULL
),
events AS (
    SELECT
        run_id,
        max(attempt) AS attempts,
        arg_max(attempt, seq) FILTER (event = 'finished' AND accepted AND seq > coalesce(reopened, -1)) AS accepted_attempt,
        arg_max(unit, seq) FILTER (unit IS NOT NULL) AS unit,
        max(seq) FILTER (event = 'dispatched') AS last_dispatched,
        max(seq) FILTER (event = 'finished') AS last_finished,
        bool_or(event = 'exhausted' AND seq > coalesce(reopened, -1)) AS exhausted
    FROM transitions
    GROUP BY run_id
),
driver AS (
    SELECT coalesce(max(seq), -1) AS last_opened FROM journal WHERE event = 'opened'
),
times AS (
    SELECT
        run_id,
        min(started_utc) AS first_started_utc,
        max_by(started_utc, (accepted, attempt)) AS started_utc,
        max_by(ended_utc, (accepted, attempt)) AS ended_utc
    FROM attempts
    GROUP BY run_id
)
SELECT
    p.run_id,
    p."index" AS run_index,
    p.phase,
    e.unit,
    p.lane,
    p.model,
    p.environment,
    p.workload,
    p.engine,
    p.repetition,
    p.block,
    p.block_index,
    p.position,
    CASE
        WHEN e.accepted_attempt IS NOT NULL THEN 'accepted'
        WHEN e.exhausted THEN 'exhausted'
        WHEN p.model || '__' || p.environment || '__' || p.workload IN (SELECT cell FROM cells_left_out) THEN 'left_out'
        WHEN p.model || '__' || p.workload IN (SELECT cell FROM cells_closed) THEN 'spared'
        WHEN e.last_dispatched > coalesce(e.last_finished, -1) AND e.last_dispatched > d.last_opened THEN 'dispatched'
        WHEN e.last_finished IS NOT NULL THEN 'rejected'
        ELSE 'planned'
    END AS status,
    e.accepted_attempt IS NOT NULL AS accepted,
    e.accepted_attempt,
    coalesce(e.attempts, 0) AS attempts,
    t.first_started_utc,
    t.started_utc,
    t.ended_utc,
    coalesce(p.simulated, false) AS simulated
FROM plan AS p
CROSS JOIN driver AS d
LEFT JOIN events AS e USING (run_id)
LEFT JOIN times AS t USING (run_id)
UNION ALL BY NAME
SELECT
    run_id, min("index") AS run_index, any_value(phase) AS phase, any_value(unit) AS unit, 0 AS lane, any_value(model) AS model,
    any_value(environment) AS environment, any_value(workload) AS workload, any_value(engine) AS engine,
    any_value(repetition) AS repetition, CASE WHEN bool_or(counts) THEN 'accepted' ELSE 'exhausted' END AS status,
    bool_or(counts) AS accepted, min(attempt) FILTER (counts) AS accepted_attempt, max(attempt) AS attempts,
    utc(min(started_utc_ns)) AS first_started_utc, utc(min(started_utc_ns) FILTER (counts)) AS started_utc, false AS simulated
FROM imported
GROUP BY run_id;

-- verdicts: one row per check of an attempt. `passed` is NULL where the unit cannot tell; `figure` and `limit_value` as text.
CREATE VIEW verdicts AS
WITH checks AS (
    SELECT run_id, attempt, environment, model, unnest(verdict) AS v FROM metadata
)
SELECT
    run_id,
    attempt,
    model,
    environment,
    v."check" AS check_name,
    v.passed AS passed,
    v.figure AS figure,
    v."limit" AS limit_value,
    v.reason AS reason
FROM checks;
