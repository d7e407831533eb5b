-- Descriptives: each arm by itself. Quantiles are type 7 (linear), standard deviations have n - 1.

-- descriptives: one row per phase, model, workload, environment and metric, over its accepted runs. `hmean` (total work
-- over total time, for rates) and `gmean` are NULL unless all values are positive; sd, se, cv_pct are NULL for n = 1.
CREATE VIEW descriptives AS
WITH medians AS (
    SELECT *, median(value) OVER (PARTITION BY phase, model, workload, environment, metric) AS arm_median FROM observations
)
SELECT
    phase,
    model,
    workload,
    environment,
    metric,
    any_value(unit_of_measure) AS unit_of_measure,
    count(*) AS n,
    avg(value) AS mean,
    median(value) AS median,
    stddev_samp(value) AS sd,
    stddev_samp(value) / sqrt(count(*)) AS se,
    min(value) AS min,
    max(value) AS max,
    quantile_cont(value, 0.25) AS q1,
    quantile_cont(value, 0.75) AS q3,
    quantile_cont(value, 0.75) - quantile_cont(value, 0.25) AS iqr,
    1.4826 * median(abs(value - arm_median)) AS mad_scaled,
    100 * stddev_samp(value) / nullif(abs(avg(value)), 0) AS cv_pct,
    CASE WHEN min(value) > 0 THEN count(*) / sum(1 / nullif(value, 0)) END AS hmean,
    CASE WHEN min(value) > 0 THEN exp(avg(ln(CASE WHEN value > 0 THEN value END))) END AS gmean,
    bool_or(simulated) AS simulated
FROM medians
GROUP BY phase, model, workload, environment, metric;
