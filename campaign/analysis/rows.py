"""What the statistics found, as rows of the tables of ``analysis/``: one function a table. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from campaign.analysis.inputs import Cellname
from campaign.analysis.result import Result, as_json, columns, get

if TYPE_CHECKING:
    import duckdb

    from campaign.analysis.statistics.claims import Claim, Limits
    from campaign.analysis.statistics.latency.models import OfMetric, OfModel


HEADLINE_SET = "protocol"
Percentiled = list[tuple[str, "list[OfModel]"]]
"""Workload and what was found in its requests."""


def _key(found: Mapping[str, Any], cells: Mapping[str, Cellname]) -> dict[str, Any]:
    model, workload = cells[found["model"]]
    same = {name: found[name] for name in ("phase", "unit", "reference", "treatment", "metric")}
    return same | {"model": model, "workload": workload}


def _needs(found: Mapping[str, Any]) -> dict[str, Any]:
    needs = get(found, "claim_detail", "its", "needs")
    return {f"needs_{name}": get(needs, key) for name, key in (("n", "n"), ("what", "what"), ("for", "question"))}


def comparisons(
    con: duckdb.DuckDBPyConnection, result: Mapping[str, Any], cells: Mapping[str, Cellname]
) -> Iterator[dict[str, Any]]:
    from campaign.analysis.words import verdict_word

    facts = {
        metric: {"label": label, "group": family}
        for metric, label, family in con.execute("SELECT metric, label, family FROM metric_facts").fetchall()
    }
    units = dict(con.execute("SELECT metric, any_value(unit_of_measure) FROM metrics GROUP BY metric").fetchall())
    places = {
        (phase, model, workload): place
        for phase, model, workload, place in con.execute(
            "SELECT phase, model, workload, min(run_index) FROM runs GROUP BY ALL"
        ).fetchall()
    }
    for found in result["comparisons"]:
        key = _key(found, cells)
        row = (
            key
            | facts.get(found["metric"], {})
            | {
                "unit_of_measure": units.get(found["metric"]),
                "place": places.get((key["phase"], key["model"], key["workload"])),
            }
            | _one(found)
            | (_described(con, found, key) if str(found["status"]).startswith("error") else {})
            | {f"verdict_{name}": verdict for name, verdict in (found.get("verdict_by_set") or {}).items()}
            | _needs(found)
        )
        yield row | {"verdict_word": verdict_word(row)}


METHODS = {
    "paired_t": "blocks, guarded Fieller with covariance",
    "welch": "independent arms, guarded Fieller",
    "dunnett": "screen, Dunnett over the options",
    "sequential": "blocks, guarded Fieller repeated at looks",
    "any_time": "blocks, confidence sequence that holds at any time",
}
"""Test that decides to the interval that goes with it (``docs/statistics.md``)."""


def result_columns(found: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that results declare themselves, filled from a comparison."""
    from campaign.analysis.statistics import paired
    from campaign.analysis.statistics.bootstrap import DifferenceBca, OverheadBca
    from campaign.analysis.statistics.effects import Effect
    from campaign.analysis.statistics.independent import Decision
    from campaign.analysis.statistics.interblock import Interblock, Percent, Recovered
    from campaign.analysis.statistics.order import OrderBalance
    from campaign.analysis.statistics.randomisation import Randomisation
    from campaign.analysis.statistics.ratio import Ratio
    from campaign.analysis.statistics.sets import WorstCase
    from campaign.analysis.statistics.two_arms import tests

    kept: list[tuple[type[Result], Any]] = [(test.Found, found.get(key)) for key, test in tests().items()]
    kept += [
        (Decision, found.get("decision")),
        (Effect, found.get("effect")),
        (Ratio, found.get("ratio")),
        (paired.Paired, found.get("paired")),
        (paired.Blocks, found.get("paired")),
        (paired.Wilcoxon, get(found, "paired", "wilcoxon")),
        (DifferenceBca, get(found, "bootstrap", "mean_diff_bca")),
        (OverheadBca, get(found, "bootstrap", "overhead_pct_bca")),
        (Randomisation, found.get("randomisation")),
        (OrderBalance, found.get("order")),
        (Recovered, found.get("interblock")),
        (Interblock, found.get("interblock")),
        (Percent, get(found, "interblock", "percent")),
        (WorstCase, found.get("worst_case")),
    ]
    return {name: value for cls, one in kept for name, value in columns(cls, one).items()}


def _one(found: Mapping[str, Any]) -> dict[str, Any]:
    claim: Claim = found["claim_detail"].its
    detail, random = found.get("verdict_detail"), found.get("randomisation")
    percent = claim.scale == "ratio"
    out: dict[str, Any] = {
        name: found.get(name)
        for name in (
            "kind",
            "analysis_set",
            "status",
            "flags",
            "interleaved",
            "diff",
            "pct_change",
            "overhead_pct",
            "verdict",
            "claim",
            "reason",
        )
    }
    for arm in ("reference", "treatment"):
        out |= {f"{name}_{arm}": get(found, "desc", arm, name) for name in ("n", "mean", "sd", "median", "hmean")}
        out[f"n_{arm}"] = out[f"n_{arm}"] or 0
        out[f"shapiro_p_{arm}"] = get(found, "normality", arm, "p")
    swapped = {side: get(random, side) for side in ("low", "high")}
    if get(random, "scale") == "ratio":
        swapped = {side: _percent(limit) for side, limit in swapped.items()}
    return (
        out
        | result_columns(found)
        | {
            "brown_forsythe_p": get(found, "variance", "brown_forsythe", "p"),
            "n_pairs": get(found, "paired", "n_pairs") or 0,
            "headline_test": claim.test,
            "method": METHODS.get(claim.test or ""),
            "decided_on": claim.decided_on,
            "decided_n_reference": claim.n_reference,
            "decided_n_treatment": claim.n_treatment,
            **{
                f"decided_{name}_{arm}": getattr(claim, f"{name}_{arm}")
                for arm in ("reference", "treatment")
                for name in ("mean", "sd")
            },
            "decided_worth": claim.worth,
            "scale": claim.scale,
            "better": claim.better,
            "better_source": claim.better_source,
            "side": claim.side,
            "effect": claim.effect,
            "pct": claim.effect if percent else None,
            **_limits("pct", claim.interval if percent else None),
            **_limits("difference", claim.difference_interval),
            **_limits("equivalence", claim.equivalence_interval),
            **_limits("alone", claim.alone),
            "noninferior": claim.noninferior,
            "noninferiority_p_adjusted": get(detail, "noninferiority_p_adjusted"),
            "randomisation_p_adjusted": get(detail, "randomisation_p_adjusted"),
            **{f"randomisation_{side}": limit for side, limit in swapped.items()},
            **{
                name: get(detail, name)
                for name in (
                    "p",
                    "p_adjusted",
                    "p_bonferroni",
                    "p_bh",
                    "p_by",
                    "adjustment",
                    "family",
                    "m_planned",
                    "tost_p",
                    "tost_p_adjusted",
                    "margin_pct",
                    "margin_declared",
                )
            },
        }
    )


def _limits(name: str, found: Limits | None) -> dict[str, Any]:
    return {f"{name}_{part}": get(found, part) for part in ("level", "low", "high")}


def _described(con: duckdb.DuckDBPyConnection, found: Mapping[str, Any], key: Mapping[str, Any]) -> dict[str, Any]:
    """Both arms as they are, where a comparison was refused: the reader shall see what is being doubted."""
    out: dict[str, Any] = {}
    for arm in ("reference", "treatment"):
        row = con.execute(
            """SELECT count(*), avg(value), stddev_samp(value), median(value) FROM observations
            WHERE unit = $1 AND phase = $2 AND model = $3 AND workload = $4 AND environment = $5 AND metric = $6""",
            [key["unit"], key["phase"], key["model"], key["workload"], found[arm], found["metric"]],
        ).fetchall()[0]
        out |= dict(zip((f"{name}_{arm}" for name in ("n", "mean", "sd", "median")), row, strict=True))
    return out


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else 100 * (ratio - 1)


def _headline(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (found for found in result["comparisons"] if found["analysis_set"] == HEADLINE_SET)


def equivalence(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    names = ("margin_pct", "p_low", "p_high", "p", "p_noninferiority", "equivalent")
    for found in _headline(result):
        told, metric = result["settings"], found["metric"]
        declared = None if metric in told["margin_not_declared"] else told["margin_pct"][metric]
        for layer, block in (("independent", found), ("blocks", found["paired"])):
            for test in (get(block, "tost_ratio") or {}).values():
                picked = {name: getattr(test, name) for name in names}
                yield _key(found, cells) | picked | {"layer": layer, "declared": test.margin_pct == declared}


def tests(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    """Every number that the tests of two independent arms found, by test and field."""
    from campaign.analysis.statistics import two_arms

    for found in _headline(result):
        for key in two_arms.tests():
            if isinstance(of := found.get(key), Result):
                for field, value in _numbers(of):
                    yield _key(found, cells) | {"test": key, "field": field, "value": value}


def _numbers(of: Result) -> Iterator[tuple[str, float]]:
    for name, value in as_json(of).items():
        if isinstance(value, Result):
            yield from ((f"{name}.{inner}", number) for inner, number in _numbers(value))
        elif isinstance(value, bool | int | float):
            yield name, float(value)


def power(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    for found in _headline(result):
        n = {f"n_{arm}": get(found, "desc", arm, "n") for arm in ("reference", "treatment")}
        shared = _key(found, cells) | n | _needs(found)
        if alone := found.get("power"):
            of = {"layer": "independent", "effect": get(found, "effect", "cohens_d")}
            yield shared | of | columns(type(alone), alone)
        if blocks := get(found, "paired", "power"):
            mean, spread = get(found, "desc", "reference", "mean"), found["paired"].sd_diff
            of = {"layer": "blocks", "effect": found["paired"].dz}
            mde_pct = 100 * blocks.mde_dz * spread / abs(mean) if mean else None
            yield shared | of | columns(type(blocks), blocks) | {"mde_pct": mde_pct}


def over_units(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    """Of campaigns with several units: a single one says nothing of others."""
    for found in result["over_units"]:
        if found["k_units"] < 2:
            continue
        model, workload = cells[found["model"]]
        same = {name: found[name] for name in ("phase", "reference", "treatment", "metric", "k_units")}
        yield same | {"model": model, "workload": workload} | as_json(found["over_units"])


def losses(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    """The accounting is of attempts, so any metric tells it; how many are analysed is told of the first."""
    from campaign.analysis.statistics.sets import Accounting

    told: set[tuple[Any, ...]] = set()
    for found in _headline(result):
        of = tuple(found[name] for name in ("phase", "unit", "model", "reference", "treatment"))
        if found.get("accounting") is None or of in told:
            continue
        told.add(of)
        arms = {
            f"{what}_{arm}": count
            for arm in ("reference", "treatment")
            for what, count in as_json(getattr(found["accounting"], arm)).items()
        }
        yield _key(found, cells) | arms | columns(Accounting, found["accounting"])


def order_effects(result: Mapping[str, Any], cells: Mapping[str, Cellname]) -> Iterator[dict[str, Any]]:
    from campaign.analysis.statistics.bootstrap import MovingBlocks

    for found in result["series"]:
        yield _key(found, cells) | {
            "interleaved": found.get("interleaved"),
            "flags": found.get("flags"),
            "reason": found.get("reason"),
            "period_effect": get(found, "order_effect", "period_effect", "estimate"),
            "period_p": get(found, "order_effect", "period_effect", "p"),
            "drift_slope": get(found, "run_residuals", "mann_kendall", "sen_slope"),
            "drift_p": get(found, "run_residuals", "mann_kendall", "p"),
            "ljung_box_runs_p": get(found, "run_residuals", "ljung_box_p"),
            "ljung_box_pairs_p": get(found, "paired_differences", "ljung_box_p"),
            "carry_over_p": get(found, "ols_prev_block", "p"),
            "temperature_slope": get(found, "ancova", "start_temp_slope", "estimate"),
            "temperature_p": get(found, "ancova", "start_temp_slope", "p"),
            "effect_at_equal_temperature": get(found, "ancova", "trt", "estimate"),
            "memory_slope": get(found, "covariates", "start_mem_available_gib", "slope", "estimate"),
            "memory_p": get(found, "covariates", "start_mem_available_gib", "slope", "p"),
            "effect_at_equal_memory": get(found, "covariates", "start_mem_available_gib", "trt", "estimate"),
            "newey_west_p": get(found, "newey_west", "p"),
            **columns(MovingBlocks, found.get("moving_block_bootstrap")),
        }


NOT_FIXED = "no interval for a fixed number of runs: the campaign could be, or was, stopped early"
_FOR_FIXED_N = ("low", "high", "diff_low", "diff_high", "run_level_p")


def request_percentiles(percentiled: Percentiled, reference: str, *, fixed: bool = True) -> Iterator[dict[str, Any]]:
    """``fixed`` is whether nobody could stop the campaign for what was seen; intervals and p hold only then."""
    for row in _all_percentiles(percentiled, reference):
        yield row if fixed else row | dict.fromkeys(_FOR_FIXED_N) | {"reason": NOT_FIXED}


def comparison_looks(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Of campaigns with a sequential design: every look of every comparison that looks decide."""
    if "looks" not in result:
        return
    from campaign.analysis.statistics.sequential.concluded import any_time, intervals, reaches, uncorrected
    from campaign.analysis.statistics.sequential.look import percent

    plan, conduct = result["looks"]
    for key, its in plan.of.items():
        course = conduct.courses[key]
        for taken in course.looks:
            shown = taken.shown
            row = vars(its) | {
                "look": taken.look, "event": taken.event, "blocks": taken.blocks, "n": shown.n, "status": taken.status,
                "claimed": [claim for claim, made in course.claims.items() if made.look == taken.look],
            }  # fmt: skip
            if taken.status != "ok":
                yield row
                continue
            counted = [one for one in course.counted if one.look <= taken.look]
            rci, fixed = intervals(conduct.design, counted), uncorrected(shown).fixed
            always = any_time(shown, conduct.design).sim95
            different, zone_low, zone_high = reaches(conduct, course, counted)
            yield row | {
                "pct": percent(shown.mean), "sd_log": shown.sd, "skewness": shown.skewness,
                "rci95_low": rci.ci95.low_pct, "rci95_high": rci.ci95.high_pct,
                "sim95_low": rci.sim95.low_pct, "sim95_high": rci.sim95.high_pct,
                "any_time_low": always.low_pct, "any_time_high": always.high_pct,
                "different_beyond_pct": different, "equivalent_from_pct": zone_low, "equivalent_to_pct": zone_high,
                "p_difference": shown.p_diff, "p_equivalence": shown.p_tost,
                **dict(zip(("repeated_p_difference", "repeated_p_equivalence"), taken.rep_p, strict=True)),
                **dict(zip(("sequential_p_difference", "sequential_p_equivalence"), taken.p_seq, strict=True)),
                **dict(zip(("adjusted_p_difference", "adjusted_p_equivalence"), taken.p_adjusted, strict=True)),
                "uncorrected_low": fixed.ci95_low_pct, "uncorrected_high": fixed.ci95_high_pct,
            }  # fmt: skip


def _all_percentiles(percentiled: Percentiled, reference: str) -> Iterator[dict[str, Any]]:
    for workload, entries in percentiled:
        for entry in entries:
            for metric, found in entry.by_metric.items():
                yield from _percentiles(entry.model, workload, metric, found, reference)


def _percentiles(model: str, workload: str, metric: str, found: OfMetric, reference: str) -> Iterator[dict[str, Any]]:
    from campaign.analysis.statistics.latency.against import Resampled, RunLevel, guarded
    from campaign.analysis.statistics.latency.arm import Described, Pooled, Summary

    contrasts = found.contrasts or {}
    few = min((its.n_runs for its in found.arms.values()), default=0)
    for arm, part in found.arms.items():
        other = arm if arm != reference else next((name for name in found.arms if name != reference), None)
        contrast = contrasts.get(f"{other}_vs_{reference}", found.against)
        for percentile, summary in part.summary.items():
            resampled: Resampled | None = get(contrast.hierarchical_bootstrap, percentile)
            limits = guarded(summary.pooled, None if resampled is None else resampled.cluster_of(arm), part.n_runs)
            against = None if arm == reference else resampled
            between = None if against is None else against.diff_cluster_blocks or against.diff_cluster_independent
            diff = guarded(None if against is None else against.pooled_diff, between, few)
            run_level = None if arm == reference else get(contrast.run_level_welch, percentile)
            yield {
                "model": model,
                "workload": workload,
                "metric": metric,
                "environment": arm,
                "reference": reference,
                "percentile": percentile,
                **columns(Described, part),
                **columns(Summary, summary),
                **columns(Pooled, summary),
                "low": limits.low,
                "high": limits.high,
                **columns(Resampled, against),
                "diff_low": diff.low,
                "diff_high": diff.high,
                **columns(RunLevel, run_level),
                "reason": get(resampled, "reason") or limits.reason,
            }
