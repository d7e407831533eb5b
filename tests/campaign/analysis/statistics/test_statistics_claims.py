"""A claim follows from its numbers: one set, one test, its dual interval, its family, its direction, its N."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from run_tables import METRIC, drawn, run_table

from campaign.analysis.numbers import decimals, level_text, number, range_text
from campaign.analysis.statistics import TableError, analyze_requests, analyze_runs, deciding
from campaign.analysis.statistics.claims import Claim, Limits
from campaign.analysis.statistics.families import holm, local_level
from campaign.analysis.statistics.interim import so_far
from campaign.analysis.statistics.metrics import declared, facts_of, known
from campaign.analysis.statistics.output import json_ready
from campaign.analysis.statistics.settings import settings_of
from campaign.analysis.statistics.table import check_runs


def headline(table: pd.DataFrame, **settings: Any) -> dict[str, Any]:
    return next(c for c in analyze_runs(table, **settings)["comparisons"] if c["analysis_set"] == "protocol")


def screen(n: int = 10, seed: int = 3, **shifts: float) -> pd.DataFrame:
    """Native, baseline and options in blocks of random order, run SD 0.5, block SD 1."""
    rng = np.random.default_rng(seed)
    rows, order = [], 0
    for block in range(1, n + 1):
        level = rng.normal(100, 1)
        for arm in rng.permutation(["native", "docker_baseline", *shifts]):
            order += 1
            value = level + shifts.get(str(arm), 0.0) + rng.normal(0, 0.5)
            row = {"phase": "2B", "model": "m", "environment": str(arm), "repetition": block, "sequence_index": order}
            rows.append(row | {METRIC: value})
    return pd.DataFrame(rows)


# --- direction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tokens_per_s", "my_latency_ms", "goodput_tok_s", "total_cost", "x"])
def test_how_a_name_sounds_gives_no_direction(name: str) -> None:
    found = headline(drawn(12, shift=-10.0).rename(columns={METRIC: name}))
    assert found["verdict"] == "different"
    assert "better" not in found["claim"] and "worse" not in found["claim"]
    assert (found["claim_detail"]["better"], found["claim_detail"]["better_source"]) == (None, None)
    assert found["overhead_pct"] is None


def test_a_declared_direction_is_taken_and_its_source_is_told() -> None:
    table = drawn(12, shift=-10.0).rename(columns={METRIC: "tokens_per_s"})
    out = analyze_runs(table, better=declared(["tokens_per_s=higher"]))
    found = out["comparisons"][0]
    assert "which is worse" in found["claim"]
    assert out["settings"]["directions"]["tokens_per_s"] == {"better": "higher", "source": "declared"}
    assert "which is better" in headline(table, better={"tokens_per_s": "lower"})["claim"]


def test_a_known_metric_takes_its_direction_from_the_one_table() -> None:
    out = analyze_runs(drawn(12, shift=-10.0))
    assert out["settings"]["directions"][METRIC] == {"better": "higher", "source": "metric_facts"}
    assert known()["avg_latency_ms"].better == "lower"
    assert known()["gpu_utilization_mean_pct"].better is None
    assert facts_of(["latency_mean_ms_of_mine"])["latency_mean_ms_of_mine"].role == "secondary"


@pytest.mark.parametrize("text", ["tokens", "tokens=up", "=higher"])
def test_a_direction_that_cannot_be_read_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(TableError, match="NAME=higher"):
        declared([text])


def test_a_direction_for_a_metric_that_is_not_there_is_refused() -> None:
    with pytest.raises(TableError, match=r"tok_per_s.*its metrics are token_throughput_tok_s"):
        analyze_runs(drawn(12), better={"tok_per_s": "higher"})


# --- one set ---------------------------------------------------------------------------------------------------------


def test_size_side_means_and_n_are_of_the_runs_that_decided() -> None:
    """Ten incomplete blocks on one side would turn the difference of all runs round."""
    table = drawn(30, shift=1.0)
    lost = (table["environment"] == "native") & (table["repetition"] <= 10)
    table.loc[(table["environment"] == "docker_baseline") & (table["repetition"] <= 10), METRIC] -= 8.0
    found = headline(table[~lost])
    claim = found["claim_detail"]
    assert found["pct_change"] < 0 < claim["effect"]
    assert claim["decided_on"] == "complete blocks" and claim["n_reference"] == claim["n_treatment"] == 20
    assert claim["effect"] == pytest.approx(100 * (claim["mean_treatment"] / claim["mean_reference"] - 1))
    assert "higher than under native, which is better" in found["claim"]
    assert "20 complete blocks" in found["claim"]


# --- the interval of a claim -----------------------------------------------------------------------------------------


def test_the_interval_is_at_the_level_at_which_the_family_was_decided() -> None:
    table = pd.concat([drawn(20, shift=-0.9 if i == 0 else 0.0, seed=i, model=f"m{i}") for i in range(10)])
    for found in analyze_runs(table)["comparisons"]:
        claim = found["claim_detail"]
        difference, alone = claim["difference_interval"], claim["alone"]
        assert difference["level"] > alone["level"] == 95.0
        excludes = difference["low"] > 0 or difference["high"] < 0
        assert excludes == (found["verdict_detail"]["p_adjusted"] < 0.05)
        within = claim["equivalence_interval"]
        inside = within["low"] > 100 * (1 / 1.02 - 1) and within["high"] < 2.0
        assert inside == (found["verdict_detail"]["tost_p_adjusted"] < 0.05)


def test_a_single_comparison_is_printed_at_95_and_equivalence_at_90() -> None:
    assert "(95 % interval" in headline(drawn(30, shift=-5.0))["claim"]
    assert "(90 % interval" in headline(drawn(30))["claim"]


@pytest.mark.parametrize("method", ["holm", "bh"])
def test_the_local_level_of_a_family_decides_as_its_adjusted_p(method: str) -> None:
    from campaign.analysis.statistics.families import benjamini_hochberg

    rng = np.random.default_rng(4)
    adjust = {"holm": holm, "bh": benjamini_hochberg}[method]
    for _ in range(300):
        p: list[float | None] = list(rng.beta(0.3, 2, rng.integers(1, 12)))
        m = len(p) + int(rng.integers(0, 4))
        level = local_level(p, m, method)
        assert [x < level for x in p if x is not None] == [q < 0.05 for q in adjust(p, m) if q is not None]


# --- the N that is needed --------------------------------------------------------------------------------------------


def test_a_needed_n_is_above_what_is_there_or_says_under_which_truth() -> None:
    truths = set()
    for seed in range(12):
        found = headline(drawn(12, shift=1.2, seed=seed), planned={"F_doc": 3})
        needs = found["claim_detail"]["needs"]
        if found["verdict"] != "inconclusive":
            assert needs is None
            continue
        assert needs["n"] is None or needs["n"] > 12
        assert needs["question"] in found["claim"]
        truths.add(needs["question"])
    assert len(truths) >= 1


def test_a_larger_family_needs_more_runs() -> None:
    table = run_table(*np.random.default_rng(8).normal(100, 2, (2, 12)).tolist())
    alone, many = (headline(table, planned={"F_doc": m})["claim_detail"]["needs"] for m in (1, 90))
    assert alone["n"] < many["n"]


# --- screening -------------------------------------------------------------------------------------------------------


def test_a_screen_is_judged_by_dunnett_and_never_the_result() -> None:
    out = analyze_runs(screen(good=3.0, idle=0.0))
    options = {
        c["treatment"]: c for c in out["comparisons"] if c["kind"] == "screen" and c["analysis_set"] == "protocol"
    }
    for found in options.values():
        assert found["verdict_detail"]["adjustment"] == "dunnett"
        assert found["verdict_detail"]["p_adjusted"] == found["dunnett"]["dunnett_p"]
        assert "biased upwards by the choice among options, never the result" in found["claim"]
        assert found["verdict"] in ("different", "inconclusive")
        low, high = (found["claim_detail"]["interval"][limit] for limit in ("low", "high"))
        assert (low > 0 or high < 0) == (found["verdict"] == "different")
    assert options["good"]["verdict"] == "different"


def test_privilege_and_ablations_are_never_chosen() -> None:
    found = analyze_runs(screen(privileged=3.0, ipc_default=3.0, good=2.0))
    assert found["selection"] == ["good"]
    assert set(found["ranking"][:2]) == {"privileged", "ipc_default"}


# --- what else could have made the difference ------------------------------------------------------------------------


def test_arms_that_hardly_alternate_are_not_interleaved() -> None:
    """29 native, 30 docker, 1 native while everything drifts."""
    rows = [("native", i) for i in range(29)] + [("docker_baseline", i) for i in range(30)] + [("native", 29)]
    table = pd.DataFrame(
        {"model": "m", "environment": arm, "repetition": i + 1, "sequence_index": k, METRIC: 100 + 0.05 * k}
        for k, (arm, i) in enumerate(rows)
    )
    found = headline(table)
    assert found["verdict"] == "not_interpretable" and "order_imbalanced" in found["flags"]
    assert "longest stretch of one arm 30 of 60 runs" in found["claim"]


@pytest.mark.parametrize(("column", "values"), [("batch_size", (16, 8)), ("engine", ("vllm", "trtllm"))])
def test_a_setting_that_differs_between_the_arms_forbids_a_claim(column: str, values: tuple[Any, Any]) -> None:
    table = drawn(12, shift=-5.0)
    table[column] = [values[0] if arm == "native" else values[1] for arm in table["environment"]]
    found = headline(table)
    assert found["verdict"] == "not_interpretable" and "settings_differ" in found["flags"]
    assert f"the arms also differ in {column} ({values[1]} against {values[0]})" in found["claim"]
    table[column] = [values[0]] * len(table)
    assert headline(table)["verdict"] == "different"


def walking(share: float) -> pd.DataFrame:
    """Twelve blocks whose differences drift to and fro by ``share`` of a standard deviation of one of them."""
    table = drawn(12, shift=-1.0)
    wave = share * np.sin(np.arange(12) * np.pi / 6)
    table[METRIC] += np.where(table["environment"] == "native", 0.0, wave[table["repetition"] - 1])
    return table


def test_a_claim_says_what_blocks_that_resemble_their_neighbours_are_worth() -> None:
    """Or nobody could tell why so small a spread has so wide an interval."""
    alone = headline(walking(0.0))
    assert alone["claim_detail"]["worth"] is None and "; 12 complete blocks)" in alone["claim"]
    for found in (headline(walking(5.0)), _so_far(walking(5.0))[0]):
        worth = found["claim_detail"]["worth"]
        assert 1 < worth < 12
        assert f"12 complete blocks that resemble their neighbours, worth {worth:.2g}" in found["claim"]
        low, high = (found["claim_detail"]["interval"][side] for side in ("low", "high"))
        assert high - low > 2 * (alone["claim_detail"]["interval"]["high"] - alone["claim_detail"]["interval"]["low"])


def test_the_blocks_that_it_needs_are_worth_as_little() -> None:
    """As many times more as the same blocks need in an order in which they do not resemble their neighbours."""
    alike = walking(5.0)
    mixed = dict(enumerate(np.random.default_rng(1).permutation(12), start=1))
    shuffled = alike.assign(sequence_index=2 * alike["repetition"].map(mixed) + alike["sequence_index"] % 2)
    found, apart = (headline(table)["claim_detail"] for table in (alike, shuffled))
    assert apart["worth"] is None and apart["effect"] == pytest.approx(found["effect"])
    assert found["needs"]["n"] / apart["needs"]["n"] == pytest.approx(12 / found["worth"], rel=0.3)


@pytest.mark.parametrize("blocks", [1, 2, 12])
def test_a_setting_that_differs_is_told_before_the_end_as_well(blocks: int) -> None:
    """Also before there are blocks enough to judge their order."""
    table = drawn(12, shift=-5.0)
    table = table[table["repetition"] <= blocks]
    table["engine"] = ["vllm" if arm == "native" else "trtllm" for arm in table["environment"]]
    assert [one["verdict"] for one in _so_far(table.drop(columns="engine"))] == ["unfinished"]
    (found,) = _so_far(table)
    assert found["verdict"] == "not_interpretable" and "settings_differ" in found["flags"]
    assert "the arms also differ in engine (trtllm against vllm)" in found["claim"]


def _so_far(table: pd.DataFrame) -> list[dict[str, Any]]:
    runs = check_runs(table)
    settings = settings_of(runs, None, 1, 1, None, None, None, None, None)
    found: list[dict[str, Any]] = json_ready(so_far(runs, settings, "unfinished", diagnostics=False).comparisons)
    return found


def test_a_start_temperature_read_in_one_arm_only_excludes_nobody() -> None:
    table = drawn(12)
    table["start_temp_c"] = np.where(
        table["environment"] == "native", np.nan, np.where(table["repetition"] == 1, 60.0, np.nan)
    )
    assert headline(table)["excluded_run_ids"] == []
    table["start_temp_c"] = np.where(table["repetition"] == 1, 60.0, 40.0)
    assert len(headline(table)["excluded_run_ids"]) == 2


def test_the_requests_of_an_excluded_run_are_in_no_percentile() -> None:
    runs = drawn(8)
    runs.loc[0, "throttled"] = 1
    requests = pd.DataFrame(
        {
            "run_id": run,
            "model": "m",
            "environment": arm,
            "repetition": rep,
            "request_index": i,
            "latency_ms": 100.0 + i + 1000 * slow,
        }
        for run, arm, rep, slow in zip(
            runs["run_id"], runs["environment"], runs["repetition"], runs["throttled"], strict=True
        )
        for i in range(20)
    )
    assert analyze_requests(requests)["models"][0]["native"]["n_runs"] == 8
    for table in (requests, requests.drop(columns="run_id")):
        found = analyze_requests(table, runs=runs)
        assert found["models"][0]["native"]["n_runs"] == 7
        assert found["models"][0]["native"]["summary"]["p99"]["pooled"] < 200
        assert found["manifest"]["requests_of_excluded_runs"] == 20


def test_drift_takes_the_lead_from_the_independent_layer() -> None:
    """Nine blocks are too few for the paired headline by rule, but runs that drift are not independent."""
    rng = np.random.default_rng(11)
    noise = rng.normal(0, 0.2, (2, 9))
    for level, test in ((0.8, "paired_t"), (0.0, "welch")):
        native, docker = (list(100 + level * np.arange(9) + e) for e in noise)
        assert headline(run_table(native, docker))["headline_test"] == test


def test_carry_over_is_of_the_run_that_really_came_before() -> None:
    """A run that was thrown out still stood before the run that followed it."""
    from campaign.analysis.statistics.time_series import order_models

    rng = np.random.default_rng(3)
    arms = np.concatenate([rng.permutation([True, False]) for _ in range(15)])
    y, blocks, order = rng.normal(100, 1, 30), np.repeat(np.arange(15), 2), np.arange(30.0)
    out = 7
    kept = np.arange(30) != out
    rest = y[kept], arms[kept].astype(float), blocks[kept], order[kept]
    truth = order_models(*rest, (order, arms)).ols_prev_block
    pretended = order_models(*rest, (order[kept], arms[kept])).ols_prev_block
    assert truth is not None and pretended is not None
    assert truth.estimate != pytest.approx(pretended.estimate)

    table = screen(n=12)
    table = table[table["environment"].isin(["native", "docker_baseline"])].assign(phase="2A", throttled=0)
    table.loc[table.index[0], "throttled"] = 1
    # Of the 24 runs the first is out: 23 are left, all with a predecessor, against 11 blocks and the rest of a twelfth.
    assert analyze_runs(table)["series"][0]["ols_prev_block"]["df"] == 23 - 12 - 3


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e6])
def test_diagnostics_do_not_depend_on_the_unit_of_measure(unit: float) -> None:
    table = drawn(15, seed=9)
    scaled = table.assign(**{METRIC: table[METRIC] * unit})
    plain, other = (analyze_runs(x)["series"][0] for x in (table, scaled))
    for series in ("run_residuals", "paired_differences"):
        assert other[series]["mann_kendall"]["p"] == pytest.approx(plain[series]["mann_kendall"]["p"], rel=1e-6)
        assert other[series]["ljung_box_p"] == pytest.approx(plain[series]["ljung_box_p"], rel=1e-6)
        assert other[series]["runs_p"] == pytest.approx(plain[series]["runs_p"], rel=1e-6)
    assert plain["flags"] == other["flags"]


# --- families, margins, units, reduction -----------------------------------------------------------------------------


def test_the_size_of_a_family_does_not_hang_on_how_columns_are_called() -> None:
    table = drawn(12)
    for i, name in enumerate(("token_throughput_mine", "peak_memory_of_x", "kv_cache_whatever", "avg_latency_2")):
        table[name] = drawn(12, seed=20 + i)[METRIC].to_numpy()
    plain = analyze_runs(table)["families"]
    renamed = analyze_runs(table.rename(columns=lambda c: f"q{c}" if c.endswith(("mine", "_x", "ever", "_2")) else c))[
        "families"
    ]
    for families in (plain, renamed):
        assert families["F_doc"]["m_planned"] == 1
        assert families["F_secondary"]["m_planned"] == 4


def test_margins_are_the_same_whichever_arm_is_the_reference() -> None:
    for seed in range(8):
        table = drawn(20, shift=1.3, seed=seed)
        verdicts = [headline(table, reference=arm)["verdict"] for arm in ("native", "docker_baseline")]
        assert verdicts[0] == verdicts[1]
    low, high = deciding.margins(25.0)
    assert low * high == pytest.approx(1.0)


def units(k: int, spread: float, seed: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    tables = []
    for u in range(k):
        shift = -1.0 + spread * float(rng.normal())
        tables.append(drawn(10, shift=shift, seed=seed + u, unit=f"u{u}"))
    return pd.concat(tables)


def test_beyond_the_tested_units_there_is_a_verdict_or_words_why_not() -> None:
    few = analyze_runs(units(4, 0.3))["models"][0]["over_units"]
    assert few["verdict"] == "not_beyond_these_units" and "4 units are too few" in few["words"]
    assert few["df"] == 3 and few["pct_low"] < few["pct"] < few["pct_high"]
    many = analyze_runs(units(12, 0.1))["models"][0]["over_units"]
    assert many["verdict"].startswith("different") and many["pct_high"] < 0
    one = analyze_runs(drawn(10))["models"][0]["over_units"]
    assert one["verdict"] is None and "one unit" in one["words"]


def test_units_pay_for_each_other() -> None:
    assert analyze_runs(units(5, 0.1))["families"]["F_doc"]["m_planned"] == 5


def test_a_reduction_of_an_overhead_that_cannot_be_told_from_zero_has_no_interval() -> None:
    from campaign.analysis.statistics.reduction import Percentiles
    from campaign.analysis.statistics.sets import Sample
    from campaign.analysis.statistics.validation import validate_model

    rng = np.random.default_rng(1)
    arms = {
        name: Sample([""] * 10, np.arange(10), rng.normal(100, 1, 10), np.arange(10.0), np.full(10, 40.0))
        for name in ("native", "docker_baseline", "optimized")
    }
    found = validate_model(arms, ("native", "docker_baseline", "optimized"), 1).reduction
    assert found is not None and found.in_blocks is not None
    assert found.status == "denominator_not_distinguishable_from_zero"
    assert found.in_blocks.block_bootstrap_percentile == Percentiles(None, None, found.status)


def test_missing_runs_are_bounded_by_the_worst_and_best_that_was_seen() -> None:
    table = drawn(12)
    table.loc[(table["environment"] == "docker_baseline") & (table["repetition"] <= 3), "status"] = "failed"
    found = headline(table)
    bounds = found["worst_case"]
    assert bounds["lost"] == {"treatment": 3, "reference": 0}
    assert bounds["pct_low"] < found["pct_change"] < bounds["pct_high"]
    assert headline(drawn(12))["worst_case"] is None


def test_no_worse_than_the_margin_is_a_verdict_of_its_own() -> None:
    found = headline(run_table(*(np.array([[0.0], [1.3]]) + np.random.default_rng(2).normal(100, 1, (2, 14))).tolist()))
    assert found["verdict"] in ("inconclusive", "different", "different_but_negligible")
    assert found["claim_detail"]["noninferior"] is True
    if found["verdict"] == "inconclusive":
        assert "no worse than native by more than 2 %" in found["claim"]


# --- words -----------------------------------------------------------------------------------------------------------


def claim(**changes: Any) -> Claim:
    limits = Limits(95.0, -2.1, -0.9)
    plain: dict[str, Any] = {
        "metric": METRIC, "label": "output token throughput", "unit_of_measure": "tok/s",
        "treatment": "docker-baseline",
        "reference": "native-chroot", "verdict": "different", "reason": None, "analysis_set": "protocol",
        "decided_on": "all runs",
        "test": "welch", "n_reference": 10, "n_treatment": 10, "mean_reference": 100.0, "mean_treatment": 98.5,
        "sd_reference": 1.0,
        "sd_treatment": 1.0, "scale": "ratio", "effect": -1.5, "interval": limits, "difference_interval": limits,
        "equivalence_interval": limits, "alone": limits, "family": "F_doc", "m_planned": 1, "adjustment": "holm",
        "margin_pct": 2.0, "margin_declared": True,
        "better": "higher", "better_source": "metric_facts", "noninferior": None, "needs": None, "screening": False,
    }  # fmt: skip
    return Claim(**(plain | changes))


FORBIDDEN = ("identical", "no overhead", "within measurement error", "same performance", "equivalent", "no difference")


def test_a_demonstrated_difference_is_stated_with_its_interval_and_side() -> None:
    assert claim().sentence == (
        "Output token throughput under docker-baseline is 1.5 % lower than under native-chroot, which is worse "
        "(95 % interval −2.1 to −0.9 %; n = 10 and 10)."
    )
    assert "which" not in claim(better=None).sentence


@pytest.mark.parametrize(
    "verdict",
    [
        "different",
        "inconclusive",
        "insufficient_n",
        "missing_arm",
        "not_interpretable",
        "no_data",
        "error_x",
        "deterministic",
    ],
)
def test_sameness_is_never_claimed(verdict: str) -> None:
    said = claim(verdict=verdict, effect=0.0 if verdict == "deterministic" else -1.5).sentence.lower()
    assert not [word for word in FORBIDDEN if word in said], said


def test_lower_latency_is_better() -> None:
    latency = claim(better="lower", metric="latency_mean_ms")
    assert latency.side == "better"
    assert claim(better="lower", effect=1.5).side == "worse"
    assert claim(verdict="inconclusive").side is None


@pytest.mark.parametrize(
    ("level", "text"), [(95.0, "95"), (90.0, "90"), (99.8333333, "99.83"), (97.5, "97.5"), (99.99444, "99.9944")]
)
def test_a_level_is_printed_with_the_digits_that_tell_it_from_certainty(level: float, text: str) -> None:
    assert level_text(level) == text


def test_an_open_interval_is_put_into_words() -> None:
    assert range_text(None, 4.2, "%") == "below 4.2 %"
    assert range_text(None, None, "%") == "without limits"
    assert "set no limit" in claim(verdict="inconclusive", interval=Limits(95.0, None, None)).sentence


def test_tiny_differences_keep_their_digits() -> None:
    assert decimals(-2e-6, 1e-6) >= 6
    assert number(3.2e-12) == "3.200e−12"
