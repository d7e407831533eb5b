"""What became of the planned runs, what they started from, and how well they were watched."""

from __future__ import annotations

from campaign.analysis import views as sql
from campaign.report.page.section import Built, Material, Section, tabled
from campaign.report.page.table import Table

TABLES = (
    Table(
        "Where runs were lost",
        "Every attempt that does not count, by arm and reason. If an arm loses more, "
        "the loss may itself be an effect of the arm.",
        "No attempt was lost.",
        "SELECT model, environment, coalesce(nullif(array_to_string(rejected_by, ', '), ''), failure, "
        "outcome) AS reason, count(*) AS attempts\n"
        "FROM attempts\nWHERE NOT accepted\nGROUP BY ALL\nORDER BY model, environment, attempts DESC",
    ),
    Table(
        "Do the arms differ in losses?",
        "Attempts by arm, and Fisher's exact p that one fails or throttles more often. A loss comes after the "
        "treatment began, so it may be its effect.",
        "No comparison yet.",
        "SELECT model, treatment AS arm, reference AS against, "
        "attempted_treatment || ' / ' || attempted_reference AS \"attempts (arm / reference)\",\n"
        "    failed_treatment || ' / ' || failed_reference AS failed, failed_fisher_p AS \"p failed\",\n"
        "    throttled_treatment || ' / ' || throttled_reference AS throttled, throttled_fisher_p AS \"p throttled\"\n"
        "FROM losses\nORDER BY model, treatment, reference, unit",
    ),
    Table(
        "From plan to analysis",
        "Runs planned, started, valid (one accepted attempt) and analysed (with a throughput), by model and arm.",
        "No run is planned.",
        "SELECT model, environment, planned, started, valid, analysed, attempts, rejected_attempts AS rejected, "
        "exhausted, left_out, spared, outstanding\nFROM flow\nORDER BY phase, model, workload, environment",
    ),
    Table(
        "Sessions",
        "Stretches under the same conditions. Each later one began with a difference that was accepted; "
        "no block holds runs of two.",
        "No session.",
        "SELECT session, began_utc AS began, accepted_runs AS runs, coalesce(difference, "
        "'as the campaign began') AS difference\nFROM sessions\n"
        "ORDER BY session",
    ),
    Table(
        "Shakedown",
        "Every cell once with a handful of requests, before anything was measured: kept apart from the results.",
        "No shakedown was made.",
        'SELECT unit, model, environment, workload, passed AS runs, round(start_s, 1) AS "start (s)", round(tok_s, '
        '1) AS "tok/s", '
        "cause, remedy\nFROM shakedowns\nORDER BY model, workload, environment, unit",
    ),
    Table(
        "Left out",
        "Cells that the campaign went on without, by decision after the shakedown.",
        "No cell was left out.",
        "SELECT cell, reason, decided_by\nFROM cells_left_out\nORDER BY cell",
    ),
    Table(
        "What the arms run",
        "Image, engine and options by arm. What differs from the reference is part of what is compared with it.",
        "The config names no arm.",
        "SELECT environment, image, list_transform(userlands, lambda it: left(it, 19)) AS userland, "
        'engine_versions AS "engine version",\n'
        "    coalesce(engine_options, 'the model''s') AS \"engine options\", "
        'differs AS "differs from the reference in"\nFROM arm_software',
    ),
    Table(
        "Do both arms answer the same?",
        "Share of requests that got the very same text as in the reference, over the blocks; "
        "for engines that keep their answers.",
        "No engine of this campaign kept its answers.",
        "SELECT model, workload, treatment, sum(compared)::BIGINT AS requests, "
        'round(100.0 * sum(agreed) / sum(compared), 2) AS "same answer (%)", round(min(agreement_pct), '
        '2) AS "least in a block (%)"\nFROM answer_agreement\nGROUP BY ALL\nORDER BY ALL',
    ),
    Table(
        "Rejected attempts",
        "Kept, never counted. A rejected attempt sends its run back to the end of its block.",
        "No attempt was rejected.",
        "SELECT run_id AS run, attempt, outcome, coalesce(failed_checks, nullif(rejected_by, ''), failure) AS reason\n"
        "FROM rejected_attempts\nORDER BY started_utc\nLIMIT 50",
    ),
    Table(
        "Start state by arm",
        "What the accepted attempts started from. A start state that differs between arms is a rival explanation.",
        "No accepted attempt has a gate record.",
        'SELECT environment, attempts, gate_wait_mean_s AS "wait mean (s)", gate_wait_max_s AS "wait max (s)", '
        'rest_mean_s AS "rest mean (s)",\n    temperature_mean_c AS "start (°C)", '
        'mem_available_mean_gib AS "MemAvailable (GiB)", mem_cached_mean_gib AS "page cache (GiB)", flagged\n'
        "FROM start_states\nORDER BY environment",
    ),
    Table(
        "Longest waits at the gate",
        "The ten longest, and which condition held the gate first.",
        "No gate record.",
        'SELECT run_id AS run, attempt, waited_s AS "waited (s)", temperature_c AS "opened at (°C)", '
        'blocked_by AS "blocked by", '
        "opened, flagged\nFROM gates\nORDER BY waited_s DESC\nLIMIT 10",
    ),
    Table(
        "The sampler on itself",
        "Coverage, jitter and cost of the telemetry over the accepted attempts of each arm.",
        "No accepted attempt has telemetry.",
        'SELECT environment, attempts, coverage_min_pct AS "least coverage (%)", '
        'jitter_p99_max_ms AS "worst p99 jitter (ms)", longest_gap_ms AS "longest gap (ms)",\n'
        '    sampler_cpu_mean_pct AS "sampler CPU (% of a core)", throttled, '
        'throttling_unknown AS "throttling unknown"\nFROM sampling\nORDER BY environment',
    ),
    Table(
        "Balance of order",
        "How often each arm came first, second, … within its block.",
        "No accepted run.",
        "SELECT model, environment, sum(n)::BIGINT AS runs,\n"
        "    string_agg(n || ' × position ' || position, ', ' ORDER BY position) AS \"places in the block\"\n"
        "FROM order_balance\nGROUP BY phase, model, workload, environment\nORDER BY phase, model, workload, "
        "environment",
    ),
    Table(
        "Plausibility",
        "Do the figures agree with each other and with arithmetic? The worst figure of a check "
        "should not exceed its limit.",
        "Nothing to check yet.",
        'SELECT check_name AS "check", count(*) AS subjects, count(*) FILTER (NOT passed) AS failed, '
        'max(figure) AS worst, any_value(limit_value) AS "limit",\n    any_value(explanation) AS explanation\n'
        "FROM plausibility\nGROUP BY check_name\n"
        "ORDER BY failed DESC, check_name",
    ),
    Table(
        "Outliers",
        "Primary figures beyond three standard deviations of their arm (with ten runs or fewer that rule cannot "
        "fire), or beyond 3.5 scaled median absolute deviations of its median. Flagged, never removed.",
        "No run is flagged.",
        'SELECT run_id AS run, metric, value, mean AS "arm mean", z, rule\nFROM outliers\nORDER BY abs(z) DESC, '
        "run_id, rule\nLIMIT 40",
    ),
    Table(
        "Unreadable files",
        "Left out of every figure on this page.",
        "Every file could be read.",
        "SELECT file, reason\nFROM broken_files\nORDER BY file",
    ),
    Table(
        "Every attempt",
        "Each with the folder of its raw files (log, metadata, command, engine report), and with its record there.",
        "No attempt was made.",
        'SELECT run_id AS run, attempt, outcome, accepted, started_utc AS started, duration_s AS "took (s)", file\n'
        "FROM attempts\nORDER BY started_utc NULLS LAST, run_id, attempt",
    ),
)
FLOW = """SELECT count(*) AS planned, count(*) FILTER (attempts > 0) AS started, count(*) FILTER (accepted) AS valid,
    (SELECT coalesce(sum(analysed), 0)::BIGINT FROM flow) AS analysed
FROM runs"""


def build(of: Material) -> Built:
    return tabled(of, TABLES) | {"flow": sql.records(of.con, FLOW)[0], "flow_sql": FLOW}


SECTION = Section("quality", "Quality of the campaign", build, "quality.html.j2")
