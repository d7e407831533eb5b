"""The same numbers as ``campaign report`` works out, by pandas and pingouin alone,
as an analyst would write it for this one study.

    python pandas_pingouin.py RESULTS OUT.parquet [--resamples 10000]

Nothing of this project is imported. Read: every attempt's metadata.json, every request and every sample. Worked out for
each model, contrast and metric: Shapiro-Wilk, Brown-Forsythe, Student, Welch, Mann-Whitney, Cohen's d and Hedges' g,
the ratio's two one-sided tests, the paired t test and Wilcoxon, BCa intervals of the mean difference and of the percent
change (``scipy.stats.bootstrap``, because ``pingouin.compute_bootci`` takes one arm), Holm and Benjamini-Hochberg.
Beside them latency percentiles with a bootstrap of runs, and every attempt's telemetry by stage.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pingouin as pg
from scipy import stats

MARGIN = 0.02
QUANTILES = [0.5, 0.95, 0.99]
NOT_METRICS = ("gate", "sampler")
"""Sources of figures that say how a run started or was watched."""


def runs_of(results: Path) -> pd.DataFrame:
    """One row per accepted attempt, its metrics side by side."""
    rows = []
    for path in sorted(results.glob("attempts/*/*/metadata.json")):
        metadata = json.loads(path.read_text())
        if not metadata["accepted"]:
            continue
        factors = {name: metadata[name] for name in ("run_id", "attempt", "model", "environment", "repetition")}
        stages = metadata["stages"]
        energy = {m["name"]: m["value"] for m in metadata["metrics"]}.get("energy_j")
        tokens = metadata["report"]["tokens_generated"]
        rows.append(
            factors
            | {m["name"]: m["value"] for m in metadata["metrics"] if m["source"] not in NOT_METRICS}
            | {"startup_s": stages["create_s"] + stages["start_s"] + stages["load_s"]}
            | (
                {"energy_per_output_token_j": energy / tokens, "output_tokens_per_joule": tokens / energy}
                if energy
                else {}
            )
        )
    return pd.DataFrame(rows)


def contrasts(environments: list[str]) -> list[tuple[str, str]]:
    """Every pair of arms, treatment and reference, in the order of the arms."""
    return [(b, a) for i, a in enumerate(environments) for b in environments[i + 1 :]]


def compare(t: pd.Series, r: pd.Series, resamples: int) -> dict[str, float]:
    """All tests of one treatment against one reference; both indexed by repetition."""
    both = pd.concat({"t": t, "r": r}, axis=1).dropna()
    long = pd.DataFrame({"value": [*t, *r], "arm": ["t"] * len(t) + ["r"] * len(r)})
    normal = pg.normality(long, dv="value", group="arm")
    spread = pg.homoscedasticity(long, dv="value", group="arm", method="levene", center="median")
    student, welch = pg.ttest(t, r, correction=False), pg.ttest(t, r, correction=True)
    ranks = pg.mwu(t, r, method="exact")
    paired, signed = pg.ttest(both["t"], both["r"], paired=True), pg.wilcoxon(both["t"], both["r"])
    low = pg.ttest(t, (1 - MARGIN) * r, alternative="greater", correction=True)
    high = pg.ttest(t, (1 + MARGIN) * r, alternative="less", correction=True)

    def interval(statistic: Callable[..., Any]) -> tuple[float, float]:
        found = stats.bootstrap(
            (t.to_numpy(), r.to_numpy()), statistic, n_resamples=resamples, method="BCa", vectorized=True, rng=1
        ).confidence_interval
        return float(found.low), float(found.high)

    def difference(a: Any, b: Any, axis: int = -1) -> Any:
        return a.mean(axis=axis) - b.mean(axis=axis)

    def percent(a: Any, b: Any, axis: int = -1) -> Any:
        return 100 * (a.mean(axis=axis) / b.mean(axis=axis) - 1)

    diff_low, diff_high = interval(difference)
    pct_low, pct_high = interval(percent)
    return {
        "mean_reference": r.mean(),
        "mean_treatment": t.mean(),
        "shapiro_p_reference": column(normal.loc[["r"]], "pval", "p_val"),
        "shapiro_p_treatment": column(normal.loc[["t"]], "pval", "p_val"),
        "brown_forsythe_p": column(spread, "pval", "p_val"),
        "student_p": column(student, "p-val", "p_val"),
        "welch_p": column(welch, "p-val", "p_val"),
        "mwu_p": column(ranks, "p-val", "p_val"),
        "paired_p": column(paired, "p-val", "p_val"),
        "wilcoxon_p": column(signed, "p-val", "p_val"),
        "cohens_d": pg.compute_effsize(t, r, eftype="cohen"),
        "hedges_g": pg.compute_effsize(t, r, eftype="hedges"),
        "tost_ratio_p": max(column(low, "p-val", "p_val"), column(high, "p-val", "p_val")),
        "bca_diff_low": diff_low,
        "bca_diff_high": diff_high,
        "bca_pct_low": pct_low,
        "bca_pct_high": pct_high,
    }


def column(table: pd.DataFrame, *names: str) -> float:
    """The one value of a column, whose name changed between versions of pingouin."""
    return float(next(table[name].iloc[0] for name in names if name in table))


def requests_of(results: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """Answered requests of all accepted attempts."""
    parts = []
    run: Any
    for run in runs.itertuples():
        part = pd.read_parquet(
            results / "attempts" / run.run_id / str(run.attempt) / "requests.parquet",
            columns=["latency_ms", "ttft_ms", "ok"],
        )
        parts.append(part[part["ok"]].assign(model=run.model, environment=run.environment, run=run.repetition))
    return pd.concat(parts)


def latencies(requests: pd.DataFrame, resamples: int) -> pd.DataFrame:
    """Pooled percentiles of each model's arms with a bootstrap of runs."""
    rng, rows = np.random.default_rng(1), []
    for (model, environment), mine in requests.groupby(["model", "environment"], sort=False):
        for metric in ("latency_ms", "ttft_ms"):
            by_run = [x.to_numpy() for _, x in mine.groupby("run")[metric]]
            drawn = [
                np.quantile(np.concatenate([by_run[i] for i in rng.integers(0, len(by_run), len(by_run))]), QUANTILES)
                for _ in range(resamples)
            ]
            low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
            for i, q in enumerate(QUANTILES):
                pooled = mine[metric].quantile(q)
                rows.append((model, environment, metric, q, pooled, low[i], high[i]))
    return pd.DataFrame(rows, columns=["model", "environment", "metric", "quantile", "pooled", "low", "high"])


def telemetry(results: Path) -> pd.DataFrame:
    """Every sample by attempt and stage."""
    samples = pd.concat([pd.read_parquet(path) for path in sorted(results.glob("telemetry/*/*.parquet"))])
    samples["unified_memory_gib"] = samples["mem_total_gib"] - samples["mem_available_gib"]
    return samples.groupby(["unit", "run_id", "attempt", "stage"], dropna=False).agg(
        samples=("t_utc_ns", "size"),
        from_ns=("t_utc_ns", "min"),
        to_ns=("t_utc_ns", "max"),
        power_mean_w=("gpu_power_w", "mean"),
        power_max_w=("gpu_power_w", "max"),
        temperature_min_c=("gpu_temperature_c", "min"),
        temperature_max_c=("gpu_temperature_c", "max"),
        utilization_mean_pct=("gpu_utilization_pct", "mean"),
        clock_min_mhz=("gpu_sm_clock_mhz", "min"),
        clock_mean_mhz=("gpu_sm_clock_mhz", "mean"),
        bandwidth_mean_gb_s=("gpu_memory_bandwidth_gb_s", "mean"),
        host_temperature_max_c=("host_temperature_c", "max"),
        cpu_mean_pct=("cpu_utilization_pct", "mean"),
        memory_max_gib=("unified_memory_gib", "max"),
        attempt_memory_max_gib=("attempt_memory_gib", "max"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--latency-resamples", type=int, default=10_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    began = time.monotonic()

    def done(what: str) -> None:
        nonlocal began
        print(json.dumps({"part": what, "seconds": time.monotonic() - began}), flush=True)
        began = time.monotonic()

    runs = runs_of(options.results)
    factors = ["run_id", "attempt", "model", "environment", "repetition"]
    metrics = [name for name in runs.columns if name not in factors]
    environments = list(
        dict.fromkeys(json.loads((options.results / "campaign.json").read_text())["config"]["environments"])
    )
    rows = []
    for model, mine in runs.groupby("model", sort=False):
        arms = {name: part.set_index("repetition") for name, part in mine.groupby("environment")}
        for treatment, reference in contrasts(environments):
            for metric in metrics:
                t, r = arms[treatment][metric].dropna(), arms[reference][metric].dropna()
                if min(len(t), len(r)) < 3 or (t.std() == 0 and r.std() == 0):
                    continue
                key = {"model": model, "treatment": treatment, "reference": reference, "metric": metric}
                rows.append(key | compare(t, r, options.resamples))
    found = pd.DataFrame(rows)
    found["p_holm"] = pg.multicomp(found["welch_p"].to_list(), method="holm")[1]
    found["p_bh"] = pg.multicomp(found["welch_p"].to_list(), method="fdr_bh")[1]
    found.to_parquet(options.out)
    done("comparisons")
    requests = requests_of(options.results, runs)
    done("requests")
    latencies(requests, options.latency_resamples).to_parquet(options.out.with_suffix(".latency.parquet"))
    done("latency resamples")
    telemetry(options.results).to_parquet(options.out.with_suffix(".telemetry.parquet"))
    done("telemetry")


if __name__ == "__main__":
    main()
