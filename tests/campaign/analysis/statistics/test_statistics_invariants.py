"""On any table: sentence, verdict, interval, N and direction agree, and what must not matter does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from campaign.analysis.statistics import analyze_runs, bootstrap
from campaign.analysis.statistics.claims import DIFFERENT

TABLES = 210
METRIC = "token_throughput_tok_s"
Out = dict[str, Any]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "resampled_means", partial(bootstrap.resampled_means, resamples=200))


@dataclass(frozen=True)
class Drawn:
    """A run's value before it takes the shape of its table."""

    rng: np.random.Generator
    value: float
    noise: float
    treated: bool
    shift: float
    order: int


SHAPES: dict[str, Callable[[Drawn], float]] = {
    "normal": lambda it: it.value,
    "skewed": lambda it: 100 * np.exp(0.02 * it.noise) * (1 + 0.1 * it.rng.exponential() * it.treated),
    "ties": lambda it: round(it.value),
    "outliers": lambda it: it.value * (1.5 if it.rng.random() < 0.1 else 1.0),
    "constant": lambda it: 100.0 + it.treated * it.shift,
    "near zero": lambda it: it.noise,
    "drift": lambda it: it.value + 0.2 * it.order,
}


def table(seed: int) -> pd.DataFrame:
    """A run table of any kind that people have: few or many runs, ties, skew, outliers, holes, constants,
    one to three arms, two units."""
    rng = np.random.default_rng([7, seed])
    n = int(rng.choice([2, 3, *rng.integers(4, 16, 3), *rng.integers(10, 41, 3)]))
    arms = ["native", "docker_baseline", "docker_optimized"][: rng.choice([1, 2, 2, 2, 3])]
    units = ["u0", "u1"][: rng.choice([1, 1, 1, 2])]
    shape = rng.choice(list(SHAPES))
    shift = float(rng.choice([0.0, 0.0, 0.3, 1.0, 1.5, 5.0]))
    spread = float(rng.choice([0.2, 1.0]))
    random_order = bool(rng.integers(2))
    rows, order = [], 0
    for unit in units:
        for block in range(1, n + 1):
            level = rng.normal(0, 1)
            within = rng.permutation(arms) if random_order else arms[:: 1 if block % 2 else -1]
            for arm in map(str, within):
                order += 1
                if rng.random() < 0.06:
                    continue
                noise = spread * (rng.normal(0, 1) + 0.5 * level)
                value = 100 + noise - shift * arms.index(arm)
                value = SHAPES[shape](Drawn(rng, value, noise, arm != "native", shift, order))
                rows.append(
                    {
                        "run_id": f"{unit}-{arm}-{block}",
                        "unit": unit,
                        "model": "m",
                        "environment": arm,
                        "repetition": block,
                        "sequence_index": order,
                        "status": rng.choice(["ok", "completed", "failed"], p=[0.8, 0.15, 0.05]),
                        "throttled": int(rng.random() < 0.03),
                        "start_temp_c": 40.0 if rng.random() < 0.97 else 46.0,
                        METRIC: float(value) if rng.random() < 0.97 else np.nan,
                        "ttft_mean_ms": 50 + 5 * rng.exponential(),
                    }
                )
    frame = pd.DataFrame(rows)
    if rng.random() < 0.08:  # one arm after the other
        frame["sequence_index"] = frame["sequence_index"] + 1000 * frame["environment"].map(arms.index)
    return frame if len(frame) and "native" in set(frame["environment"]) else table(seed + 10_000)


def comparisons(out: Out) -> Iterator[Out]:
    for found in out["comparisons"]:
        if found["analysis_set"] == "protocol":
            yield found


def holds(limits: Out | None, value: float, slack: float = 1e-9) -> bool:
    if limits is None:
        return True
    room = slack * max(1.0, abs(value))
    low, high = limits["low"], limits["high"]
    return (low is None or low <= value + room) and (high is None or value - room <= high)


def check(out: Out) -> None:
    for found in comparisons(out):
        check_intervals(found)
        check_randomisation(found["randomisation"])
        check_tests(found)
        check_sentence(found)
        check_sets(found)
    for name, family in out["families"].items():
        if isinstance(family, dict) and "m_tested" in family:
            assert family["m_tested"] <= family["m_planned"], name


def check_intervals(found: Out) -> None:
    """Every interval holds its estimate."""
    claim = found["claim_detail"]
    for name in ("interval", "difference_interval", "equivalence_interval", "alone"):
        assert claim["effect"] is None or holds(claim[name], claim["effect"]), name
    for block, at in (("welch", found["diff"]), ("paired", (found["paired"] or {}).get("mean_diff"))):
        if (found[block] or {}).get("ci_low") is not None:
            assert found[block]["ci_low"] <= at <= found[block]["ci_high"]


def check_randomisation(random: Out | None) -> None:
    """The interval excludes no effect where the test rejects it, and the reverse."""
    if not random or random["low"] is None or random["high"] is None:
        return
    assert random["low"] <= random["high"]
    excluded = not random["low"] - 1e-9 <= (1.0 if random["scale"] == "ratio" else 0.0) <= random["high"] + 1e-9
    assert not excluded or random["p"] <= 0.05 + 1e-12
    if random["p"] < 0.05 - 1e-12:
        assert excluded or 0.0 in (random["low"], random["high"])


def check_tests(found: Out) -> None:
    """Test and interval of one method and family are one thing."""
    claim, detail = found["claim_detail"], found["verdict_detail"]
    difference, equivalence = claim["difference_interval"], claim["equivalence_interval"]
    if difference and claim["adjustment"] != "dunnett":
        excludes = (difference["low"] or -np.inf) > 0 or (difference["high"] or np.inf) < 0
        assert excludes == (detail["p_adjusted"] < 0.05)
    margin = claim["margin_pct"]
    if equivalence and None not in (equivalence["low"], equivalence["high"]):
        inside = 100 * (1 / (1 + margin / 100) - 1) < equivalence["low"] and equivalence["high"] < margin
        assert inside == (detail["tost_p_adjusted"] < 0.05)
    assert (detail["p_adjusted"] is None) == (detail["p"] is None)
    for raw, adjusted in (("p", "p_adjusted"), ("tost_p", "tost_p_adjusted")):
        assert detail[raw] is None or detail[adjusted] >= detail[raw] - 1e-12


def check_sentence(found: Out) -> None:
    """The sentence is the verdict's, with the verdict's own interval."""
    claim, said = found["claim_detail"], found["claim"]
    verdict = claim["verdict"] if claim["verdict"] == found["verdict"] else pytest.fail("two verdicts")
    if verdict == "equivalent":
        equivalence, margin = claim["equivalence_interval"], claim["margin_pct"]
        assert claim["interval"] == equivalence and "equivalent" in said
        assert -margin <= equivalence["low"] and equivalence["high"] <= margin
    else:
        assert "equivalent" not in said
    if verdict == "inconclusive":
        check_undecided(claim, said)
    if verdict in DIFFERENT:
        assert not holds(claim["interval"], 0.0, slack=0.0)
        way = " lower " if claim["effect"] < 0 else " higher "
        assert way in said or claim["scale"] == "difference"
    if verdict == "not_interpretable":
        assert claim["interval"] is None and claim["reason"] in said
    if claim["better"] is None:
        assert not re.search("better|worse", said)
    if verdict in (*DIFFERENT, "equivalent", "inconclusive", "not_interpretable"):
        assert claim["treatment"] in said and claim["reference"] in said


def check_undecided(claim: Out, said: str) -> None:
    assert "undecided" in said and holds(claim["interval"], 0.0)
    needs = claim["needs"]
    assert needs is None or needs["question"] in said
    present = (
        claim["n_reference"]
        if claim["decided_on"] == "complete blocks"
        else min(claim["n_reference"], claim["n_treatment"])
    )
    assert needs is None or needs["n"] is None or needs["n"] > present


def check_sets(found: Out) -> None:
    """What is excluded takes part in nothing."""
    claim, described = found["claim_detail"], found["desc"]
    assert claim["n_reference"] <= described["reference"]["n"] and claim["n_treatment"] <= described["treatment"]["n"]


def close(a: Any, b: Any, rel: float = 1e-6) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.isclose(a, b, rtol=rel, atol=1e-9 * max(1.0, abs(a))))


def same(plain: Out, other: Out, effect: Callable[[float, Out], float] = lambda x, _: x) -> None:
    for a, b in zip(comparisons(plain), comparisons(other), strict=True):
        assert a["verdict"] == b["verdict"], (a["claim"], b["claim"])
        x, y = a["claim_detail"], b["claim_detail"]
        assert (x["n_reference"], x["n_treatment"], x["test"]) == (y["n_reference"], y["n_treatment"], y["test"])
        assert (x["needs"] or {}).get("n") == (y["needs"] or {}).get("n")
        for name in ("p", "tost_p", "p_adjusted"):
            assert close(a["verdict_detail"][name], b["verdict_detail"][name], 1e-5)
        if x["effect"] is not None:
            assert close(effect(x["effect"], x), y["effect"])


def shuffled(frame: pd.DataFrame, out: Out, rng: np.random.Generator) -> None:
    other = analyze_runs(frame.sample(frac=1, random_state=int(rng.integers(2**31))), reference="native")
    by = {(c["unit"], c["treatment"], c["metric"]): c for c in comparisons(other)}
    for found in comparisons(out):
        twin = by.get((found["unit"], found["treatment"], found["metric"]))
        if twin is not None and twin["reference"] == found["reference"]:
            assert json.dumps(twin["claim_detail"]) == json.dumps(found["claim_detail"])


def scaled(frame: pd.DataFrame, out: Out, rng: np.random.Generator) -> None:
    unit = float(rng.choice([1e-6, 1e-3, 1e3, 1e6]))
    same(out, analyze_runs(frame.assign(**{METRIC: frame[METRIC] * unit})),
         lambda x, c: x * unit if c["scale"] == "difference" and c["metric"] == METRIC else x)  # fmt: skip


def renamed(frame: pd.DataFrame, out: Out, _: np.random.Generator) -> None:
    one = frame.drop(columns="ttft_mean_ms").rename(columns={METRIC: "a"})
    plain, other = (
        analyze_runs(x, better={x.columns[-1]: "higher"}) for x in (one, one.rename(columns={"a": "zeta_latency"}))
    )
    same(plain, other)
    for a, b in zip(comparisons(plain), comparisons(other), strict=True):
        assert a["claim_detail"]["side"] == b["claim_detail"]["side"]
        assert a["randomisation"] == b["randomisation"]


def declared_otherwise(frame: pd.DataFrame, out: Out, _: np.random.Generator) -> None:
    other = analyze_runs(frame, better={METRIC: "lower"})
    same(out, other)
    turned = {None: None, "better": "worse", "worse": "better"}
    for a, b in zip(comparisons(out), comparisons(other), strict=True):
        if a["metric"] == METRIC:
            assert b["claim_detail"]["side"] == turned[a["claim_detail"]["side"]]
            assert a["overhead_pct"] is None or a["overhead_pct"] == pytest.approx(-b["overhead_pct"])


def swapped(frame: pd.DataFrame, out: Out, _: np.random.Generator) -> None:
    two = frame[frame["environment"].isin(["native", "docker_baseline"])]
    if set(two["environment"]) != {"native", "docker_baseline"}:
        return
    there, back = analyze_runs(two, reference="native"), analyze_runs(two, reference="docker_baseline")
    for a, b in zip(comparisons(there), comparisons(back), strict=True):
        assert a["verdict"] == b["verdict"], (a["claim"], b["claim"])
        x, y = a["claim_detail"], b["claim_detail"]
        for name in ("p", "tost_p"):
            assert close(a["verdict_detail"][name], b["verdict_detail"][name], 1e-5)
        if x["effect"] is None or x["scale"] != y["scale"]:
            continue
        mirror = (lambda v: 100 * (1 / (1 + v / 100) - 1)) if x["scale"] == "ratio" else (lambda v: -v)
        assert close(mirror(x["effect"]), y["effect"])
        for name in ("difference_interval", "equivalence_interval"):
            if x[name] and None not in (*x[name].values(), *y[name].values()):
                assert close(mirror(x[name]["low"]), y[name]["high"], 1e-5)
        assert {x["side"], y["side"]} in ({None}, {"better", "worse"})


def inverted(frame: pd.DataFrame, out: Out, _: np.random.Generator) -> None:
    """x and 1/x: the geometric ratios of the blocks are reciprocals, with one p."""
    if not (frame[METRIC].dropna() > 0).all():
        return
    other = analyze_runs(frame.assign(**{METRIC: 1 / frame[METRIC]}), better={METRIC: "lower"})
    for a, b in zip(comparisons(out), comparisons(other), strict=True):
        ratios = [(c["paired"] or {}).get("ratio") for c in (a, b)]
        if a["metric"] == METRIC and all(ratios) and ratios[0]["gm_p"] is not None:
            assert close(ratios[0]["gm_ratio"] * ratios[1]["gm_ratio"], 1.0)
            assert close(ratios[0]["gm_p"], ratios[1]["gm_p"], 1e-5)
        if {a["verdict"], b["verdict"]} <= {*DIFFERENT} and None not in (
            a["claim_detail"]["side"],
            b["claim_detail"]["side"],
        ):
            assert a["claim_detail"]["side"] == b["claim_detail"]["side"]


def without_the_excluded(frame: pd.DataFrame, out: Out, _: np.random.Generator) -> None:
    """Taking other values of what the protocol excludes changes nothing of the
    headline set but the account of exclusions."""
    gone = (frame["status"] == "failed") | (frame["throttled"] == 1)
    same(out, analyze_runs(frame.assign(**{METRIC: frame[METRIC].where(~gone, 1e6)})))


VARIANTS = (shuffled, scaled, renamed, declared_otherwise, swapped, inverted, without_the_excluded)


@pytest.mark.parametrize("seed", range(TABLES))
def test_every_claim_follows_from_its_numbers(seed: int) -> None:
    frame = table(seed)
    out = analyze_runs(frame)
    check(out)
    VARIANTS[seed % len(VARIANTS)](frame, out, np.random.default_rng(seed))


def test_the_tables_reach_every_verdict() -> None:
    """Otherwise the test above would say little."""
    found = [c["verdict"] for seed in range(0, TABLES, 3) for c in comparisons(analyze_runs(table(seed)))]
    wanted = {"different", "different_but_negligible", "equivalent", "inconclusive", "deterministic", "insufficient_n",
        "missing_arm",
              "not_interpretable"}  # fmt: skip
    assert wanted <= set(found)
