-- Hours: where the time of a campaign went.

-- hours: one row per unit and cause, hours from the first driver's start to the last event. `measuring` is the measured part of accepted
-- attempts, `starting` all that comes before it from the gate on, `rest` the least rest of the gate and `gate: …` what it waited for beyond, `rejected: …`
-- attempts by the check or outcome that ended them, `shakedown` the unmeasured attempts, `nothing under way` all the rest: pauses, and
-- waiting for other units.
CREATE VIEW hours AS
WITH span AS (
    SELECT epoch(max(at_utc)) - epoch(min(at_utc) FILTER (event = 'opened')) AS all_s FROM journal
),
least_rest AS (
    SELECT coalesce((config->'gate'->>'cooldown_s')::DOUBLE, 0) AS cooldown_s FROM campaign
),
gated AS (
    SELECT
        a.*,
        coalesce(a.gate_wait_s, 0) AS waited_s,
        least(coalesce(a.gate_wait_s, 0), greatest(0, cooldown_s - (coalesce(a.rest_s, 0) - coalesce(a.gate_wait_s, 0)))) AS resting_s,
        coalesce(a.create_s, 0) + coalesce(a.start_s, 0) + coalesce(a.load_s, 0) + coalesce(a.warmup_s, 0) AS starting_s,
        array_to_string(list_filter(g.blocked_by, lambda it: it <> 'cooldown'), ', ') AS held_by
    FROM attempts AS a
    LEFT JOIN gates AS g USING (run_id, attempt)
    CROSS JOIN least_rest
    WHERE a.journalled
),
parts AS (
    SELECT unit, 'rest' AS cause, resting_s AS s FROM gated
    UNION ALL
    SELECT unit, 'gate: ' || coalesce(nullif(held_by, ''), 'cooldown'), waited_s - resting_s FROM gated
    UNION ALL
    SELECT unit, 'starting', starting_s FROM gated WHERE accepted
    UNION ALL
    SELECT unit, 'measuring', coalesce(steady_s, 0) FROM gated WHERE accepted
    UNION ALL
    SELECT unit, 'ending', greatest(0, duration_s - waited_s - starting_s - coalesce(steady_s, 0)) FROM gated WHERE accepted
    UNION ALL
    SELECT
        unit,
        CASE WHEN superseded THEN 'measured again' ELSE 'rejected: ' || coalesce(
            CASE WHEN outcome <> 'completed' THEN outcome END, rejected_by[1], 'unknown'
        ) END,
        greatest(0, duration_s - waited_s)
    FROM gated
    WHERE NOT accepted
    UNION ALL
    SELECT unit, 'shakedown', (details->>'run_s')::DOUBLE FROM journal WHERE event = 'shakedown'
),
known AS (
    SELECT unit, cause, sum(s) AS s FROM parts WHERE unit IS NOT NULL GROUP BY ALL
)
SELECT unit, cause, s / 3600 AS hours FROM known WHERE s > 0
UNION ALL
SELECT unit, 'nothing under way', greatest(0, any_value(all_s) - sum(s)) / 3600
FROM known
CROSS JOIN span
GROUP BY unit;
