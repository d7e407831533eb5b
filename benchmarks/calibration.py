"""Do the tests err as often as they say? Simulated campaigns through the shipped tests, with a figure.

    python benchmarks/calibration.py [--campaigns 1000] [--seed 1] [--figure calibration.svg] [--json calibration.json]
    python benchmarks/calibration.py --rule [--tables 2000]

Without ``--rule`` the plain tests first, then the rule. ``--rule`` is about the rule that decides
(``campaign.analysis.statistics.deciding``): coverage of its 95 % interval and chance of calling equivalent what lies
exactly at the margin (the worse side), over kinds of data that people have, beside those of the plain paired t, of the
sign-flip randomisation test, and of both together; of the two-stage interval over units;
and of the interval of a pooled percentile.

A campaign is a family of 30 comparisons (ten models, three metrics) of 30 runs per arm, in blocks for the paired tests
and spread at random for the independent ones. Its run data are normal, skewed (lognormal), heteroscedastic (the Docker
arm twice as variable) or autocorrelated (AR(1) over the 60 runs), at 1 % coefficient of variation. Three worlds: no
effect (error of the tests of difference, one by one and of the family after Holm), a true difference exactly at the 2 %
margin (error of the equivalence tests), and d = 0.5 (power, against the prediction). Bars are 95 % Monte-Carlo limits.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.descriptive import quantiles
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.equivalence import tost_paired, tost_ratio
from campaign.analysis.statistics.families import holm
from campaign.analysis.statistics.latency.against import widened
from campaign.analysis.statistics.latency.pool import Pool, cluster_quantiles
from campaign.analysis.statistics.paired import paired_t
from campaign.analysis.statistics.power import independent_power, paired_power
from campaign.analysis.statistics.randomisation import randomisation
from campaign.analysis.statistics.two_arms.mann_whitney import test as mann_whitney
from campaign.analysis.statistics.two_arms.welch import test as welch
from campaign.analysis.statistics.units import unit_layer

KINDS = ("normal", "skewed", "heteroscedastic", "autocorrelated")
BLOCKS, FAMILY, CV, MARGIN, MEDIUM = 30, 30, 0.01, 2.0, 0.5
SHARE = {"independent": 0.0, "blocks": 0.5}
"""Share of a run's variance that both runs of a block have in common
(autocorrelated data share through time instead)."""
SIGMA = 0.75
"""Of the logarithm, in skewed data."""
TESTS = {
    ("independent", "null"): ("welch", "mannwhitney"),
    ("independent", "margin"): ("tost_ratio",),
    ("independent", "power"): ("welch", "mannwhitney"),
    ("blocks", "null"): ("paired_t",),
    ("blocks", "margin"): ("tost_paired",),
    ("blocks", "power"): ("paired_t",),
}
AR = 0.6
ALPHA = 0.05
COLOURS = {
    "welch": "#0072B2",
    "mannwhitney": "#E69F00",
    "paired_t": "#009E73",
    "tost_ratio": "#56B4E9",
    "tost_paired": "#D55E00",
}


def arms(kind: str, design: str, rng: np.random.Generator, ratio: float) -> tuple[FloatArray, FloatArray]:
    """Treatment and reference, ``BLOCKS`` runs each; means ``ratio`` and 1, standard deviation ``CV`` of the reference.

    In ``blocks`` the two runs of a repetition are neighbours in time, in random order, and share part of their
    variance; an ``independent`` design spreads the arms at random over all runs.
    """
    share = SHARE[design]
    z = math.sqrt(1 - share) * rng.standard_normal((2, BLOCKS)) + math.sqrt(share) * rng.standard_normal(BLOCKS)
    if kind == "autocorrelated":
        noise = rng.standard_normal(2 * BLOCKS)
        series = np.empty(2 * BLOCKS)
        series[0] = noise[0]
        for i in range(1, 2 * BLOCKS):
            series[i] = AR * series[i - 1] + math.sqrt(1 - AR * AR) * noise[i]
        if design == "independent":
            z = rng.permutation(series).reshape(2, BLOCKS)
        else:
            z = rng.permuted(series.reshape(BLOCKS, 2), axis=1).T
    if kind == "skewed":
        mean = math.exp(SIGMA**2 / 2)
        z = (np.exp(SIGMA * z) - mean) / (mean * math.sqrt(math.expm1(SIGMA**2)))
    if kind == "heteroscedastic":
        z = z * np.array([[2.0], [1.0]])
    return ratio + CV * z[0], 1 + CV * z[1]


def simulate(
    kind: str, design: str, world: str, ratio: float, *, campaigns: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Rejection rates of one kind of data in one design and world, single and family-wise."""
    tests = TESTS[design, world]
    p = np.empty((campaigns, FAMILY, len(tests)))
    for c in range(campaigns):
        for f in range(FAMILY):
            t, r = arms(kind, design, rng, ratio)
            p[c, f] = [p_value(test, t, r) for test in tests]
    out = []
    for i, test in enumerate(tests):
        single = p[:, :, i] < ALPHA
        family = [any(q is not None and q < ALPHA for q in holm(list(row), FAMILY)) for row in p[:, :, i]]
        common = {"data": kind, "design": design, "world": world, "test": test}
        if world == "power":
            truth = predicted_power(kind, test)
            out.append(common | _rate(int(single.sum()), single.size) | {"scope": "one comparison", "expected": truth})
            continue
        out.append(common | _rate(int(single.sum()), single.size) | {"scope": "one comparison", "expected": ALPHA})
        out.append(common | _rate(sum(family), campaigns) | {"scope": f"family of {FAMILY}", "expected": ALPHA})
    return out


def p_value(test: str, t: FloatArray, r: FloatArray) -> float:
    """The shipped test's p."""
    if test == "welch":
        return welch(t, r).p
    if test == "paired_t":
        return paired_t(t - r).p
    if test == "mannwhitney":
        return mann_whitney(t, r).p
    found = tost_ratio(t, r, 1, (MARGIN,)) if test == "tost_ratio" else tost_paired(t, r, 1, (MARGIN,))
    assert found is not None
    return found[f"{MARGIN:g}"].p


def _rate(hits: int, trials: int) -> dict[str, Any]:
    """A proportion with Wilson limits."""
    rate, z = hits / trials, 1.96
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return {"trials": trials, "rate": rate, "low": max(0.0, centre - reach), "high": min(1.0, centre + reach)}


def predicted_power(kind: str, test: str) -> float | None:
    """Power by the t tests' formula at the effect's true size; none for a rank test, whose effect is another."""
    spread = {"heteroscedastic": (2.0, 1.0)}.get(kind, (1.0, 1.0))
    if test == "welch":
        pooled = math.sqrt((spread[0] ** 2 + spread[1] ** 2) / 2)
        return independent_power(MEDIUM / pooled, BLOCKS, BLOCKS, ALPHA)
    if test != "paired_t":
        return None
    rho = SHARE["blocks"]
    if kind == "autocorrelated":
        rho = AR
    if kind == "skewed":
        rho = math.expm1(SIGMA**2 * rho) / math.expm1(SIGMA**2)
    variance = spread[0] ** 2 + spread[1] ** 2 - 2 * rho * spread[0] * spread[1]
    return paired_power(MEDIUM / math.sqrt(variance), BLOCKS, ALPHA)


def figure(rates: pd.DataFrame) -> alt.VConcatChart:
    """Rates with their Monte-Carlo limits; a tick where the nominal level or the predicted power lies."""
    titles = {
        ("null", "one comparison"): "(a) No effect: rejections of one comparison",
        ("null", f"family of {FAMILY}"): f"(b) No effect: families of {FAMILY} with a rejection, Holm",
        ("margin", "one comparison"): "(c) Effect at the margin: equivalence claimed, one comparison",
        ("margin", f"family of {FAMILY}"): f"(d) Effect at the margin: families of {FAMILY} with a claim, Holm",
        ("power", "one comparison"): "(e) d = 0.5: power",
    }
    panels = []
    for (world, scope), title in titles.items():
        shown = rates[(rates["world"] == world) & (rates["scope"] == scope)]
        tests = list(dict.fromkeys(shown["test"]))
        base = alt.Chart(shown).encode(
            y=alt.Y("data:N", title=None, sort=list(KINDS), scale=alt.Scale(type="band", paddingInner=0.35)),
            yOffset=alt.YOffset("test:N", sort=tests, scale=alt.Scale(type="band", domain=tests)),
            color=alt.Color(
                "test:N", title="test", scale=alt.Scale(range=list(COLOURS.values()), domain=list(COLOURS))
            ),
        )
        axis = alt.X("low:Q", title="rate", axis=alt.Axis(tickCount=6), scale=alt.Scale(zero=world != "power"))
        limits = base.mark_rule(strokeWidth=1.5).encode(x=axis, x2="high:Q")
        dots = base.mark_point(filled=True, size=30, opacity=1).encode(
            x="rate:Q", shape=alt.Shape("test:N", title="test", scale=alt.Scale(domain=list(COLOURS)))
        )
        aim = base.mark_tick(color="black", thickness=1.5, size=9).encode(x="expected:Q", color=alt.value("black"))
        panels.append(
            alt.layer(limits, dots, aim).resolve_scale(yOffset="shared").properties(title=title, width=420, height=130)
        )
    drawn: alt.VConcatChart = (
        alt.vconcat(*panels)
        .resolve_scale(yOffset="independent")
        .configure_title(anchor="start", fontSize=11, fontWeight="normal")
    )
    return drawn


STALL, STALLS = 7.5, 0.07
"""Size of a stall in standard deviations, and how often a run has one."""
SIZES = (10, 20, 30)
EVERY = 8
"""Of so many tables one is also rearranged."""
SPREAD = 0.005
"""Standard deviation of a run, of its mean."""
ROWS = (
    "normal",
    "lognormal, both arms",
    "lognormal, one arm",
    "stalls 7 %, one arm",
    "AR(1) .5 over runs, random order",
    "AR(1) .5 over runs, alternating",
    "AR(1) .5 in the differences",
)


def series(n: int, rho: float, rng: np.random.Generator) -> FloatArray:
    """A stationary first-order autoregression of variance 1."""
    noise = rng.standard_normal(n)
    out = np.empty(n)
    out[0] = noise[0]
    for i in range(1, n):
        out[i] = rho * out[i - 1] + math.sqrt(1 - rho * rho) * noise[i]
    return out


def blocks_of(kind: str, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Treatment and reference of n blocks in time, both with mean 1."""

    def lognormal(size: int) -> FloatArray:
        mean = math.exp(SIGMA**2 / 2)
        return np.asarray((np.exp(SIGMA * rng.standard_normal(size)) - mean) / (mean * math.sqrt(math.expm1(SIGMA**2))))

    z = rng.standard_normal((2, n))
    if kind == "lognormal, both arms":
        z = np.stack([lognormal(n), lognormal(n)])
    elif kind == "lognormal, one arm":
        z = np.stack([lognormal(n), 0.3 * z[1]])
    elif kind == "stalls 7 %, one arm":
        z[0] += STALL * ((rng.random(n) < STALLS) - STALLS)
    elif kind == "AR(1) .5 in the differences":
        z = np.stack([series(n, 0.5, rng), np.zeros(n)])
    elif kind.startswith("AR(1)"):
        pairs = series(2 * n, 0.5, rng).reshape(n, 2)
        turned = rng.random(n) < 0.5 if "random" in kind else np.arange(n) % 2 == 1
        z = np.where(turned[:, None], pairs[:, ::-1], pairs).T
    return 1 + SPREAD * z[0], 1 + SPREAD * z[1]


def rule_rates(kind: str, n: int, tables: int, seed: int) -> dict[str, float]:
    """Coverage and type I at the margin of each way of deciding, over ``tables`` tables (randomisation:
    every eighth of them, for time)."""
    rng = np.random.default_rng([seed, ROWS.index(kind), n])
    low, high = deciding.margins(MARGIN)
    covered = dict.fromkeys(("t", "flips", "rule"), 0)
    claimed = {name: [0, 0] for name in ("t", "flips", "t and flips", "rule")}
    for i in range(tables):
        rearranged = i % EVERY == 0
        t, r = blocks_of(kind, n, rng)
        layer = deciding.blocks(t, r, np.arange(n, dtype=float))
        plain = replace(layer, df=n - 1, skewness=0.0, resemblance=1.0)
        intervals = {
            "t": plain.interval(0.025, 0.0),
            "rule": layer.interval(0.025, deciding.UNSEEN_DIFFERENCE),
        }
        if rearranged:
            flips = randomisation(t, r, True, 1, MARGIN)
            intervals["flips"] = flips.low, flips.high
        for name, (a, b) in intervals.items():
            covered[name] += a is not None and b is not None and a <= 1 <= b
        # The truth at either margin: the treatment's mean is that times the reference's.
        for side, bound in enumerate((low, high)):
            moved = t * bound
            at = deciding.blocks(moved, r, np.arange(n, dtype=float))
            pair = at.p_equivalence(MARGIN)
            assert pair is not None
            alike = replace(at, df=n - 1, skewness=0.0, resemblance=1.0)
            p = {
                "t": max(alike.p_above(low, 0.0), alike.p_below(high, 0.0)),
                "rule": max(pair),
            }
            if rearranged:
                tost_p = randomisation(moved, r, True, 1, MARGIN).tost_p
                assert tost_p is not None
                p["flips"] = tost_p
                p["t and flips"] = max(p["t"], p["flips"])
            for name, value in p.items():
                claimed[name][side] += value < ALPHA
    of = {name: len(range(0, tables, EVERY)) if "flips" in name else tables for name in (*covered, *claimed)}
    return {f"coverage {name}": hits / of[name] for name, hits in covered.items()} | {
        f"type I {name}": max(sides) / of[name] for name, sides in claimed.items()
    }


def unit_rates(k: int, tables: int, seed: int) -> dict[str, float]:
    """Coverage of the plain and the guarded two-stage interval over k units of which a quarter is 5 % slower."""
    rng = np.random.default_rng([seed, 99, k])
    hits = {"plain": 0, "guarded": 0}
    for _ in range(tables):
        y = -0.005 - 0.05 * (rng.random(k) < 0.25) + 0.003 * rng.standard_normal(k)
        layer = unit_layer(y)
        if layer is None:
            continue
        for name, its, unseen in (
            ("plain", replace(layer, skewness=0.0), 0.0),
            ("guarded", layer, deciding.UNSEEN_DIFFERENCE),
        ):
            a, b = its.interval(0.025, unseen)
            hits[name] += a is not None and b is not None and a <= -0.005 - 0.0125 <= b
    return {f"coverage {name}": found / tables for name, found in hits.items()}


def percentile_rates(n: int, slow: float, tables: int, seed: int) -> dict[str, float]:
    """Coverage of the intervals of a pooled p95 over n runs of 60 requests, of which a share is half slower."""
    rng = np.random.default_rng([seed, 98, n, round(100 * slow)])

    def runs(count: int) -> FloatArray:
        level = rng.normal(0, 0.03, count) + 0.5 * (rng.random(count) < slow)
        return np.asarray(np.exp(level[:, None] + 0.2 * rng.standard_normal((count, 60))))

    truth = float(np.quantile(runs(50_000), 0.95))
    hits = {"plain": 0, "guarded": 0}
    for _ in range(tables):
        x = runs(n)
        pool = Pool.of(list(x))
        counts = rng.multinomial(n, np.full(n, 1 / n), size=400)
        limits = quantiles(cluster_quantiles(pool, counts, 0.95), (0.025, 0.975))
        estimate = quantiles(pool.values, (0.95,))[0]
        wide = widened(estimate, limits[0], limits[1], n)
        hits["plain"] += limits[0] <= truth <= limits[1]
        hits["guarded"] += wide[0] <= truth <= wide[1]
    return {f"coverage {name}": found / tables for name, found in hits.items()}


def rule(tables: int, seed: int, out: Path | None) -> None:
    """Print, and keep as JSON, what the rule that decides does on every kind of data."""
    found: list[dict[str, Any]] = []
    names = (
        "coverage t",
        "coverage flips",
        "coverage rule",
        "type I t",
        "type I flips",
        "type I t and flips",
        "type I rule",
    )
    print(f"{'data':<34}{'n':>4}" + "".join(f"{name:>19}" for name in names))
    for kind in ROWS:
        for n in SIZES:
            rates = rule_rates(kind, n, tables, seed)
            found.append({"data": kind, "n": n} | rates)
            print(f"{kind:<34}{n:>4}" + "".join(f"{rates[name]:>19.3f}" for name in names), flush=True)
    for k in (3, 5, 8, 10, 12, 15):
        found.append({"data": "units, a quarter slow", "n": k} | unit_rates(k, tables, seed))
        print(found[-1])
    for n in (10, 20, 30, 40):
        for slow in (0.0, 0.1):
            found.append(
                {"data": f"pooled p95, {slow:.0%} slow runs", "n": n} | percentile_rates(n, slow, tables // 4, seed)
            )
            print(found[-1])
    print(f"{tables} tables each, seed {seed}; margin {MARGIN:g} %, run SD {100 * SPREAD:g} %")
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    """Simulate, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=1000, help="simulated campaigns per kind of data and world")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figure", type=Path, help="SVG, PNG or PDF")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rule", action="store_true", help="the rule that decides, without the plain tests")
    parser.add_argument("--tables", type=int, default=2000, help="simulated tables for each figure of the rule")
    chosen = parser.parse_args()
    if chosen.rule:
        rule(chosen.tables, chosen.seed, chosen.json)
        return
    started = time.monotonic()
    found: list[dict[str, Any]] = []
    for i, kind in enumerate(KINDS):
        for j, (design, world) in enumerate(TESTS):
            ratio = {"null": 1.0, "margin": 1 - MARGIN / 100, "power": 1 - MEDIUM * CV}[world]
            rng = np.random.default_rng([chosen.seed, i, j])
            found += simulate(kind, design, world, ratio, campaigns=chosen.campaigns, rng=rng)
    print(
        f"{'data':<16}{'world':<8}{'test':<13}{'scope':<15}{'rate':>8}{'95 % Monte-Carlo limits':>26}{'expected':>10}"
    )
    for row in found:
        limits = f"[{row['low']:.4f}, {row['high']:.4f}]"
        aim = "" if row["expected"] is None else f"{row['expected']:.4f}"
        print(
            f"{row['data']:<16}{row['world']:<8}{row['test']:<13}{row['scope']:<15}{row['rate']:>8.4f}{limits:>26}{aim:>10}"
        )
    print(
        f"{chosen.campaigns} campaigns of {FAMILY} comparisons each, seed {chosen.seed}, "
        f"{time.monotonic() - started:.0f} s"
    )
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    if chosen.figure:
        figure(pd.DataFrame(found)).save(chosen.figure, ppi=200)
    rule(chosen.tables, chosen.seed, None)


if __name__ == "__main__":
    main()
