"""Do looks err as often as they say, and what do they save? Simulated campaigns through the shipped sequential design.

    python benchmarks/looks.py [--draws 20000] [--campaigns 400] [--seed 1] [--json looks.json]

Looks after 10, 20 and 30 blocks, Pocock-type spending. Five tables,
each figure with its 95 % Monte-Carlo limits in the JSON:

levels     errors of one comparison over all looks, for kinds of data that people have: the t test with normal and exact
           levels, the rule that decides (``deciding``) with exact levels, and that rule once at 30 blocks. Difference:
           two-sided, truth 0. Equivalence: truth at either margin, the worse side. The margin is 2 %, standard
           deviation of a block's log ratio 0.5 %.
stopped    coverage of intervals at the stop, of one comparison of nine at a margin of 1 %: the uncorrected t interval,
the repeated one. any time   share of campaigns in which the interval for whoever looks in between is ever wrong, up to
block 30. family     whole campaigns: three models of three metrics (correlated 0.8) through ``Conduct``, as a driver
           has it, once with looks and once fixed at 30 blocks: family-wise errors, power, coverage of the simultaneous
           intervals, blocks used.
reference  the first three with the t test beside the figures of the reference case ``s04_sequential``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from campaign.analysis.statistics import anytime, deciding
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.sequential.ahead import claimed
from campaign.analysis.statistics.sequential.boundaries import Levels
from campaign.analysis.statistics.sequential.concluded import intervals
from campaign.analysis.statistics.sequential.conduct import Conduct, Key, Taken
from campaign.analysis.statistics.sequential.design import Design, Scale
from campaign.analysis.statistics.sequential.look import show

LOOKS = (10, 20, 30)
SD = 0.005
RULES: dict[str, tuple[Scale, Levels, tuple[int, ...]]] = {
    "t, normal levels": ("log_ratio", "normal", LOOKS),
    "t, exact levels": ("log_ratio", "exact_t", LOOKS),
    "rule, exact levels": ("guarded", "exact_t", LOOKS),
    "rule, fixed at 30": ("guarded", "exact_t", (30,)),
}
Rng = np.random.Generator
Kind = Callable[[Rng, int], FloatArray]
"""Standardised differences of campaigns, shape (campaigns, 30)."""


def lognormal(rng: Rng, shape: tuple[int, int], sigma: float) -> FloatArray:
    mean = math.exp(sigma**2 / 2)
    x = np.exp(sigma * rng.standard_normal(shape))
    return np.asarray((x - mean) / (mean * math.sqrt(math.expm1(sigma**2))))


def autoregression(rng: Rng, draws: int, rho: float) -> FloatArray:
    e = rng.standard_normal((draws, 30))
    x = np.empty_like(e)
    x[:, 0] = e[:, 0]
    for i in range(1, 30):
        x[:, i] = rho * x[:, i - 1] + math.sqrt(1 - rho * rho) * e[:, i]
    return x


def stalls(rng: Rng, draws: int, size: float, share: float) -> FloatArray:
    return np.asarray(size * ((rng.random((draws, 30)) < share) - share))


KINDS: dict[str, Kind] = {
    "normal": lambda rng, n: rng.standard_normal((n, 30)),
    "t with 5 df": lambda rng, n: rng.standard_t(5, (n, 30)),
    "lognormal, both arms": lambda rng, n: lognormal(rng, (n, 30), 0.75) - lognormal(rng, (n, 30), 0.75),
    "lognormal, one arm": lambda rng, n: lognormal(rng, (n, 30), 0.75) - 0.3 * rng.standard_normal((n, 30)),
    "lognormal differences, s = 0.5": lambda rng, n: lognormal(rng, (n, 30), 0.5),
    "stalls 7 %, one arm": lambda rng, n: stalls(rng, n, 7.5, 0.07) + math.sqrt(2) * rng.standard_normal((n, 30)),
    "stalls 5 %, differences": lambda rng, n: stalls(rng, n, -5.0, 0.05) + rng.standard_normal((n, 30)),
    "AR(1) .3 in the differences": lambda rng, n: autoregression(rng, n, 0.3),
    "AR(1) .5 in the differences": lambda rng, n: autoregression(rng, n, 0.5),
}


def share(hits: Any) -> dict[str, float]:
    """A rate with its Wilson limits, from a truth value a trial."""
    found = np.asarray(hits, dtype=bool)
    n, rate, z = found.size, float(found.mean()), 1.96
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"rate": rate, "low": max(0.0, centre - reach), "high": min(1.0, centre + reach), "trials": n}


def design(rule: str, m: int, margin: float) -> Design:
    scale, levels, looks = RULES[rule]
    return Design(looks, m, margin, scale=scale, t_levels=levels)


def bounds(its: Design) -> tuple[float, float]:
    low, high = its.margins
    return (low, high) if its.scale == "log_ratio" else (math.log(low), math.log(high))


def levels(draws: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    for i, (name, kind) in enumerate(KINDS.items()):
        x = SD * kind(np.random.default_rng([seed, i]), draws)
        for m in (1, 9):
            row: dict[str, Any] = {"data": name, "m": m}
            for rule in RULES:
                its = design(rule, m, 2.0)
                row[f"difference, {rule}"] = share(claimed(its, x)[1].any(axis=1))
                sides = [share(claimed(its, x + at)[0].any(axis=1)) for at in bounds(its)]
                row[f"equivalence, {rule}"] = max(sides, key=lambda side: side["rate"])
            rows.append(row)
    return rows


def resembling(x: FloatArray) -> FloatArray:
    """Factor of the standard error of each row for neighbours that resemble each other (``deciding.resemblance``)."""
    n = x.shape[1]
    if n < deciding.RESEMBLES_FROM:
        return np.ones(len(x))
    e = x - x.mean(axis=1, keepdims=True)
    r1 = (e[:, 1:] * e[:, :-1]).sum(axis=1) / (e**2).sum(axis=1)
    rho = np.clip((n * r1 + 1) / (n - 4), 0, deciding.MOST_RESEMBLANCE)
    return np.asarray(np.where((r1 + 1 / n) * math.sqrt(n) > 1, np.sqrt((1 + rho) / (1 - rho)), 1.0))


def any_time(draws: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    for i, (name, kind) in enumerate(KINDS.items()):
        x = kind(np.random.default_rng([seed, 50 + i]), draws)
        n = np.arange(1, 31)
        mean = x.cumsum(axis=1) / n
        with np.errstate(divide="ignore", invalid="ignore"):
            sd = np.sqrt(np.maximum((x**2).cumsum(axis=1) - n * mean**2, 0) / (n - 1))
        guard = np.sqrt(1 + deciding.UNSEEN_DIFFERENCE / n) * np.stack([resembling(x[:, :k]) for k in n], axis=1)
        row: dict[str, Any] = {"data": name}
        for label, alpha in (("0.05", 0.05), ("0.05/9", 0.05 / 9)):
            reach = np.array([anytime.radius(int(k), alpha) or np.inf for k in n])
            with np.errstate(invalid="ignore"):
                for how, factor in (("plain", 1.0), ("guarded", guard)):
                    outside = np.abs(mean) > factor * reach * sd / np.sqrt(n)
                    row[f"{how}, {label}"] = share(outside[:, 1:].any(axis=1))
        rows.append(row)
    return rows


def stopped(campaigns: int, seed: int, rule: str, theta: float) -> dict[str, Any]:
    """Coverage at the stop of one comparison of nine, margin 1 %, standard deviation of a block 0.71 %."""
    its = design(rule, 9, 1.0)
    rng = np.random.default_rng([seed, 99])
    right: dict[str, list[bool]] = {"uncorrected": [], "repeated": []}
    blocks = []
    x = theta + 0.0071 * rng.standard_normal((campaigns, 30))
    first = np.logical_or(*claimed(its, x))
    for i in range(campaigns):
        stop = int(first[i].argmax()) if first[i].any() else len(its.looks) - 1
        counted = [
            Taken(k + 1, k + 1, n, show(np.exp(x[i, :n]), np.ones(n), its, np.arange(n, dtype=float)), "ok")
            for k, n in enumerate(its.looks[: stop + 1])
        ]
        last = counted[-1].shown
        assert last.mean is not None and last.se is not None
        reach = 2.0452 if last.n == 30 else {10: 2.2622, 20: 2.0930}[last.n]
        right["uncorrected"].append(abs(last.mean - theta) <= reach * last.se)
        found = intervals(its, counted).ci95
        assert found.low_pct is not None and found.high_pct is not None
        right["repeated"].append(found.low_pct <= 100 * math.expm1(theta) <= found.high_pct)
        blocks.append(last.n)
    told = {name: share(hits) for name, hits in right.items()}
    return {"rule": rule, "theta_pct": 100 * math.expm1(theta), "blocks": float(np.mean(blocks))} | told


WORLDS = {
    "all equal": "000000000",
    "all at the margin": "mmmmmmmmm",
    "3 equal, 3 at the margin, 3 at -4 %": "000mmm---",
}
"""The truth of nine comparisons, the three of a model together."""


def family(rule: str, world: str, campaigns: int, seed: int) -> dict[str, Any]:
    """Whole campaigns of three models of three metrics."""
    its = design(rule, 9, 1.0)
    keys = [Key(f"m{i // 3}", f"x{i % 3}") for i in range(9)]
    of = {"0": 0.0, "m": bounds(its)[1], "-": math.log(0.96)}
    truth = {key: of[letter] for key, letter in zip(keys, WORLDS[world], strict=True)}
    correlation = np.linalg.cholesky(np.full((3, 3), 0.8) + 0.2 * np.eye(3))
    rng = np.random.default_rng([seed, list(WORLDS).index(world)])
    false: dict[str, list[bool]] = {"different": [], "equivalent": [], "either": []}
    power: dict[str, list[bool]] = {"different": [], "equivalent": []}
    simultaneous, used = [], []
    for _ in range(campaigns):
        z = 0.0071 * rng.standard_normal((3, 30, 3)) @ correlation.T
        conduct = carried_out(its, keys, {key: truth[key] + z[i // 3, :, i % 3] for i, key in enumerate(keys)})
        wrong = {"different": False, "equivalent": False}
        covered = True
        for key, course in conduct.courses.items():
            null = {"different": truth[key] == 0, "equivalent": truth[key] != 0}
            for claim in wrong:
                wrong[claim] |= null[claim] and claim in course.claims
                if not null[claim]:
                    power[claim].append(claim in course.claims)
            found = intervals(its, course.counted).sim95
            assert found.low_pct is not None and found.high_pct is not None
            covered &= found.low_pct <= 100 * math.expm1(truth[key]) <= found.high_pct
        simultaneous.append(covered)
        for name, hit in wrong.items():
            false[name].append(hit)
        false["either"].append(any(wrong.values()))
        used.append(sum(its.looks[stop.look - 1] for stop in conduct.stops.values()) / 3)
    return {
        "rule": rule,
        "world": world,
        "blocks per model": {"mean": float(np.mean(used)), "se": float(np.std(used) / math.sqrt(campaigns))},
        "simultaneous 95 % coverage": share(simultaneous),
        **{f"false {name}": share(hits) for name, hits in false.items()},
        **{f"power {name}": share(hits) if hits else None for name, hits in power.items()},
    }


def carried_out(its: Design, keys: list[Key], data: dict[Key, FloatArray]) -> Conduct:
    conduct = Conduct(its, keys)
    for blocks in its.looks:
        for model in conduct.models:
            if model not in conduct.stops:
                shown = {
                    key: show(np.exp(d[:blocks]), np.ones(blocks), its, np.arange(blocks, dtype=float))
                    for key, d in data.items()
                    if key.model == model
                }
                conduct.take(model, shown)
    return conduct


def text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict) and "rate" in value:
        return f"{value['rate']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    return f"{value['mean']:.2f} ± {value['se']:.2f}" if isinstance(value, dict) else str(value)


def show_rows(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{title}")
    for row in rows:
        print("  " + "; ".join(f"{name} {text(value)}" for name, value in row.items()), flush=True)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000, help="campaigns of one comparison for each kind of data")
    parser.add_argument("--campaigns", type=int, default=400, help="whole campaigns of nine comparisons")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    began = time.monotonic()
    found: dict[str, Any] = {}
    found["levels"] = levels(chosen.draws, chosen.seed)
    show_rows("levels", found["levels"])
    found["any time"] = any_time(chosen.draws, chosen.seed)
    show_rows("any time", found["any time"])
    looks = [rule for rule in RULES if rule != "t, exact levels"]
    found["stopped"] = [
        stopped(chosen.draws // 4, chosen.seed, rule, theta) for rule in looks[:2] for theta in (0.0, 0.004, 0.008)
    ]
    show_rows("stopped", found["stopped"])
    found["family"] = []
    for rule in looks:
        for world in WORLDS:
            found["family"].append(family(rule, world, chosen.campaigns, chosen.seed))
            show_rows("family", found["family"][-1:])
    print(f"{chosen.draws} draws, {chosen.campaigns} campaigns, seed {chosen.seed}, {time.monotonic() - began:.0f} s")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
