"""Looks: what is spent, what a look decides, who stops, and what is said afterwards."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from campaign.analysis.result import as_json
from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.analyze import analyze_file, read_design
from campaign.analysis.statistics.distributions import t_quantile
from campaign.analysis.statistics.sequential import exact_t
from campaign.analysis.statistics.sequential.ahead import ahead, claimed
from campaign.analysis.statistics.sequential.boundaries import Looks, repeated_p
from campaign.analysis.statistics.sequential.concluded import confidence_sequence, estimate, intervals
from campaign.analysis.statistics.sequential.conduct import Conduct, Key
from campaign.analysis.statistics.sequential.design import Design, design_of
from campaign.analysis.statistics.sequential.look import Shown, show
from campaign.analysis.statistics.sequential.spending import Spending
from campaign.analysis.statistics.table import TableError

RNG = np.random.default_rng(7)
GUARDED = {"scale": "guarded", "t_levels": "exact_t"}


def shown(d: np.ndarray, design: Design) -> Shown:
    """A look at blocks of log ratio d."""
    reference = 100 * np.exp(0.003 * np.random.default_rng(1).standard_normal(len(d)))
    return show(reference * np.exp(d), reference, design, np.arange(len(d), dtype=float))


def one(design: Design, d: np.ndarray) -> Conduct:
    """A campaign of one comparison, look by look until it stops."""
    key = Key("m", "x")
    conduct = Conduct(design, [key])
    for blocks in design.looks:
        if "m" not in conduct.stops:
            conduct.take("m", {key: shown(d[:blocks], design)})
    return conduct


@pytest.mark.parametrize("spending", [Spending(), Spending("obrien_fleming"), Spending("hsd", -4.0)])
@pytest.mark.parametrize("levels", ["normal", "exact_t"])
def test_what_is_spent_at_the_last_look_is_the_level_whatever_n_is(spending: Spending, levels: str) -> None:
    looks = Looks((9, 17, 26), 30, True, spending, levels)  # type: ignore[arg-type]
    assert looks.cumulative(0.05)[-1] == 0.05
    assert Looks((9, 17, 26), 30, False, spending).cumulative(0.05)[-1] < 0.05


def test_exact_levels_spend_exactly_their_level_and_normal_ones_more() -> None:
    n = (6, 12, 18, 24, 30)
    assert exact_t.size(n, Looks(n, 30, True, levels="exact_t").nominal(0.05)) == pytest.approx(0.05, rel=1e-8)
    assert exact_t.size(n, Looks(n, 30, True).nominal(0.05)) == pytest.approx(0.0526468, rel=1e-5)


def test_the_exact_levels_hold_in_simulation() -> None:
    design = Design((10, 20, 30), 1, 1.0, t_levels="exact_t")
    x = np.random.default_rng(3).standard_normal((20_000, 30))
    _, different = claimed(design, x)
    rate = different.any(axis=1).mean()
    assert abs(rate - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 20_000)


def test_a_look_with_one_new_pair_is_judged_on_the_safe_side() -> None:
    spent = Looks((10, 11, 30), 30, True, levels="exact_t")
    cumulative, nominal = spent.cumulative(0.05), spent.nominal(0.05)
    assert nominal[1] == pytest.approx(cumulative[1] - cumulative[0])
    x = np.random.default_rng(4).standard_normal((40_000, 30))
    t = [x[:, :n].mean(axis=1) / x[:, :n].std(axis=1, ddof=1) * math.sqrt(n) for n in (10, 11, 30)]
    crossed = [t[k] > -t_quantile(nominal[k], n - 1) for k, n in enumerate((10, 11, 30))]
    assert np.logical_or.reduce(crossed).mean() < 0.05 + 3 * math.sqrt(0.05 / 40_000)


@pytest.mark.parametrize("levels", ["normal", "exact_t"])
def test_a_repeated_p_is_the_level_at_which_the_look_just_rejects(levels: str) -> None:
    looks = Looks((10, 20, 30), 30, True, levels=levels)  # type: ignore[arg-type]
    for p in (0.3, 0.01, 1e-4, 1e-9):
        assert looks.nominal(repeated_p(looks, p))[-1] == pytest.approx(p, rel=1e-8)
    assert repeated_p(looks, 0.9) == 1.0
    assert repeated_p(looks, 1e-15) == 1e-12


@pytest.mark.parametrize("scale", ["log_ratio", "guarded"])
def test_one_look_is_the_fixed_design(scale: str) -> None:
    d = 0.004 + 0.01 * RNG.standard_normal(30)
    design = Design((30,), 1, 2.0, scale=scale, t_levels="exact_t")  # type: ignore[arg-type]
    course = next(iter(one(design, d).courses.values()))
    last = course.looks[-1]
    assert last.p_seq == pytest.approx((last.shown.p_diff, last.shown.p_tost))
    rci = intervals(design, course.counted).ci95
    if scale == "guarded":
        layer = last.shown.layer
        assert layer is not None
        assert last.shown.p_diff == layer.p_difference()
        low, high = layer.interval(0.025, deciding.UNSEEN_DIFFERENCE)
        assert low is not None
        assert high is not None
        assert (rci.low_pct, rci.high_pct) == pytest.approx((100 * (low - 1), 100 * (high - 1)))


def test_the_guard_never_makes_a_look_more_eager() -> None:
    plain, guarded = Design((10, 20, 30), 3, 2.0, scale="ratio"), Design((10, 20, 30), 3, 2.0, scale="guarded")
    for _ in range(20):
        d = 0.01 * RNG.standard_gamma(0.5, 20)
        a, b = shown(d, plain), shown(d, guarded)
        assert a.p_diff is not None
        assert b.p_diff is not None
        assert a.p_diff <= b.p_diff


def test_sequential_p_never_rises_and_a_claim_is_never_withdrawn() -> None:
    design = Design((10, 20, 30), 4, 2.0, **GUARDED)  # type: ignore[arg-type]
    keys = [Key("a", "x"), Key("a", "y"), Key("b", "x"), Key("b", "y")]
    for seed in range(10):
        rng = np.random.default_rng(seed)
        data = {key: rng.normal(rng.choice([0, 0.01, 0.03]), 0.008, 30) for key in keys}
        conduct, claims = Conduct(design, keys), set[Any]()
        for blocks in design.looks:
            for model in ("a", "b"):
                if model in conduct.stops:
                    continue
                before = {key: course.p_seq for key, course in conduct.courses.items()}
                conduct.take(model, {k: shown(d[:blocks], design) for k, d in data.items() if k.model == model})
                for key, course in conduct.courses.items():
                    for then, now in zip(before[key], course.p_seq, strict=True):
                        assert then is None or (now is not None and now <= then)
                held = {(k, claim) for k, course in conduct.courses.items() for claim in course.claims}
                assert claims <= held
                claims = held
        assert set(conduct.stops) == {"a", "b"}


def test_a_model_stops_where_all_its_comparisons_are_decided_and_not_before() -> None:
    design = Design((10, 20, 30), 2, 2.0, **GUARDED)  # type: ignore[arg-type]
    keys = [Key("m", "clear"), Key("m", "noisy")]
    conduct = Conduct(design, keys)
    rng = np.random.default_rng(2)
    clear, noisy = 0.05 + 0.002 * rng.standard_normal(30), 0.2 * rng.standard_normal(30)
    for blocks in design.looks:
        event = conduct.take("m", {keys[0]: shown(clear[:blocks], design), keys[1]: shown(noisy[:blocks], design)})
        assert event.stopped == (("m",) if blocks == 30 else ())
    assert conduct.stops["m"].reason == "max_blocks"
    assert conduct.courses[keys[0]].verdict == "different"
    assert conduct.courses[keys[1]].verdict == "inconclusive"
    with pytest.raises(ValueError, match="last look"):
        conduct.take("m", {})


def test_the_interval_that_holds_at_all_looks_is_dual_to_the_claim() -> None:
    design = Design((10, 20, 30), 6, 2.0, **GUARDED)  # type: ignore[arg-type]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        d = rng.choice([0.0, 0.01, 0.02]) + 0.01 * rng.standard_normal(30)
        course = next(iter(one(design, d).courses.values()))
        last = course.looks[-1]
        inside = intervals(design, course.counted).sim90
        low, high = (100 * (x - 1) for x in deciding.margins(2.0))
        assert last.rep_p is not None
        assert (last.rep_p[1] < 0.05 / 6) == (inside.low_pct > low and inside.high_pct < high)


def test_the_estimate_after_an_early_stop_is_drawn_back() -> None:
    """Above the truth in the middle of campaigns that stopped because their mean was large;
    the corrected one is not."""
    design = Design((10, 20, 30), 1, 0.5)
    above = {"mean": 0, "median_unbiased": 0}
    for seed in range(60):
        conduct = one(design, 0.008 + 0.012 * np.random.default_rng(seed).standard_normal(30))
        found = estimate(conduct, next(iter(conduct.courses.values())))
        assert found is not None
        above["mean"] += found.mean_log_ratio > 0.008
        above["median_unbiased"] += found.log_ratio > 0.008
    assert above["median_unbiased"] < above["mean"]
    assert abs(above["median_unbiased"] - 30) < 3 * math.sqrt(15)


def test_the_interval_between_looks_holds_at_every_moment() -> None:
    rng, missed = np.random.default_rng(11), 0
    for _ in range(400):
        d = 0.01 * rng.standard_normal(30)
        sequences = [
            confidence_sequence(Shown("ok", n, log_mean=d[:n].mean(), log_sd=d[:n].std(ddof=1)), 0.05, 1.0)
            for n in range(2, 31)
        ]
        missed += any(not cs.low_pct <= 0 <= cs.high_pct for cs in sequences if cs.radius_se is not None)
    assert missed <= 20


def test_between_looks_nothing_is_said_of_too_few_blocks() -> None:
    found = confidence_sequence(Shown("ok", 3, log_mean=0.0, log_sd=0.01), 0.05 / 9, 1.0)
    assert as_json(found) == {"radius_se": None, "low_pct": None, "high_pct": None, "reason": "too_few_blocks"}


def test_the_plan_of_a_quiet_machine_saves_blocks_and_that_of_a_noisy_one_does_not() -> None:
    design = Design((10, 20, 30), 9, 1.0, **GUARDED)  # type: ignore[arg-type]
    each, model = ahead(design, [0.0, 0.0], [0.003, 0.003], 1, draws=1000)
    assert model.saves
    assert model.expected_blocks >= max(its.expected_blocks for its in each)
    assert not ahead(design, [0.0], [0.02], 1, draws=1000)[1].saves


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"looks_blocks": [20, 10]}, "increase"),
        ({"looks_blocks": [3, 30]}, "5 blocks or more"),
        ({"spending": "all"}, "no spending function"),
        ({"spending": {"type": "hsd"}}, "gamma"),
        ({"m_planned": None}, "'m_planned' is missing"),
        ({"look": [10]}, "unknown key 'look'"),
        ({"multiplicity": "graph"}, "weights"),
    ],
)
def test_a_wrong_design_is_refused_in_words(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        design_of({"looks_blocks": [10, 20], "m_planned": 3, "margin_pct": 2.0} | wrong)


def test_rows_after_a_stop_are_not_used(tmp_path: Path) -> None:
    rows = [
        {"model": "m", "environment": arm, "repetition": b, "order_in_block": k + 1, "sequence_index": 2 * b + k,
         "throughput_tok_s": 100.0 + 0.1 * (b % 3) + (5 if arm == "docker" else 0) + (50 if b > 10 else 0) * k}
        for b in range(1, 31)
        for k, arm in enumerate(("native", "docker"))
    ]  # fmt: skip
    table = tmp_path / "runs.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    design = tmp_path / "design.yaml"
    design.write_text("looks_blocks: [10, 20, 30]\nm_planned: 1\nmargin_pct: 2\nspending: pocock\nscale: guarded\n")
    found = analyze_file(table, tmp_path / "out.json", design=read_design(design))
    assert found["blocks_used"] == {"m": 10}
    assert found["comparisons"][0]["desc"]["treatment"]["n"] == 10
    assert found["comparisons"][0]["sequential"]["stop"] == {"look": 1, "event": 1, "reason": "all_decided"}
    assert json.loads((tmp_path / "out.json").read_text())["families"]["F_seq_diff"]["claimed"] == [True]


def test_a_family_larger_than_was_planned_is_refused(tmp_path: Path) -> None:
    rows = [
        {"model": m, "environment": e, "repetition": b, "x": 1.0 + b}
        for m in "ab"
        for b in range(9)
        for e in ("native", "d")
    ]
    table = tmp_path / "runs.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    with pytest.raises(TableError, match="state the planned number"):
        analyze_file(table, tmp_path / "o.json", design={"looks_blocks": [6, 9], "m_planned": 1, "margin_pct": 2})
