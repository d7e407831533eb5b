"""Reference case of the group-sequential design: a replayed campaign through the shipped command,
and single functions on given numbers."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from campaign.analysis.statistics import anytime
from campaign.analysis.statistics.analyze import analyze_file
from campaign.analysis.statistics.distributions import t_quantile
from campaign.analysis.statistics.output import json_ready
from campaign.analysis.statistics.sequential import exact_t
from campaign.analysis.statistics.sequential.ahead import ahead, first_look_equivalent
from campaign.analysis.statistics.sequential.boundaries import Looks, repeated_p
from campaign.analysis.statistics.sequential.conduct import conditional_power
from campaign.analysis.statistics.sequential.design import Design
from campaign.analysis.statistics.sequential.look import Shown
from campaign.analysis.statistics.sequential.multiplicity import Graph
from campaign.analysis.statistics.sequential.spending import Spending
from campaign.analysis.statistics.sequential.stopped_mean import Stops, median_unbiased
from campaign.analysis.statistics.sequential.table import sequential

Row = dict[str, Any]
Pair = tuple[str, Any, Any]
"""Path, what is expected and what is obtained."""


def pairs(folder: Path, expected: Row) -> Iterator[Pair]:
    """Everything that the case expects of us; its operating characteristics are simulated again by
    ``benchmarks/calibration.py``."""
    for name, want in expected["campaigns"].items():
        got = analysed(folder / want["settings"]["input"], want["settings"])
        for part in ("events", "families", "blocks_used", "blocks_planned"):
            yield f"{name}.{part}", want[part], got[part]
        for one in want["comparisons"]:
            yield f"{name}.{one['model']}.{one['metric']}", one["sequential"], _of(got, one)
    vectors = expected["vectors"]
    for name, function in VECTORS.items():
        for i, want in enumerate(vectors[name]):
            yield f"vectors.{name}[{i}]", _results(want, name), function(want)
    yield "vectors.ratio_scale", vectors["ratio_scale"], ratio_scale(folder, vectors["ratio_scale"], expected)
    for i, want in enumerate(expected["plan"]):
        yield f"plan[{i}]", want, planned(want)


def analysed(runs: Path, settings: Mapping[str, Any]) -> Row:
    """The output of ``campaign analyze --sequential``."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.json"
        analyze_file(runs, out, design=settings)
        found: Row = json.loads(out.read_text())
    return found


def _of(got: Row, one: Mapping[str, Any]) -> Any:
    return next(
        c["sequential"]
        for c in got["comparisons"]
        if "sequential" in c and (c["model"], c["metric"]) == (one["model"], one["metric"])
    )


RESULTS = {
    "boundaries": ("cum", "c", "nominal", "t_crit"),
    "repeated_p": ("repeated", "sequential"),
    "graph": ("order", "final_levels", "adjusted"),
    "confidence_sequence": ("radius_se",),
    "median_unbiased": ("regions", "estimate"),
    "conditional_power": ("equivalent", "different"),
    "exact_t": ("nominal_normal", "size_of_normal_levels", "nominal_exact_t"),
    "look_due": ("expect",),
}


def _results(want: Row, name: str) -> Row:
    return {key: want[key] for key in RESULTS[name]}


def looks(told: Mapping[str, Any], n: list[int] | None = None, levels: Any = "normal") -> Looks:
    numbers = tuple(told["n"] if n is None else n)
    final = told.get("final", True) and len(numbers) == len(told["n"])
    return Looks(numbers, told["n_max"], final, Spending(**told["spending"]), levels)


def boundaries(told: Row) -> Row:
    its = looks(told)
    nominal = its.nominal(told["alpha"])
    t = [-t_quantile(level, n - 1) if level else None for level, n in zip(nominal, told["n"], strict=True)]
    c = [None if math.isinf(x) else x for x in its.critical(told["alpha"])]
    return {"cum": list(its.cumulative(told["alpha"])), "c": c, "nominal": list(nominal), "t_crit": t}


def repeated(told: Row) -> Row:
    found = [repeated_p(looks(told, told["n"][: k + 1]), p) for k, p in enumerate(told["p"])]
    return {"repeated": found, "sequential": [min(found[: k + 1]) for k in range(len(found))]}


def graph(told: Row) -> Row:
    its = Graph(tuple(told["weights"]), tuple(map(tuple, told["transitions"])))
    order, levels = its.rejected(told["p"], told["alpha"])
    return {"order": order, "final_levels": levels, "adjusted": its.adjusted(told["p"])}


def estimate(told: Row) -> Row:
    its = looks(told)
    low, high = math.log1p(-told["margin_pct"] / 100), math.log1p(told["margin_pct"] / 100)
    stops = []
    levels = (its.nominal(told[f"level_{name}"]) for name in ("diff_one_sided", "equiv"))
    for n, different, equivalent in zip(told["n"], *levels, strict=True):
        beyond, within = (-t_quantile(a, n - 1) * told["sd"] / math.sqrt(n) for a in (different, equivalent))
        stops.append(Stops(n, beyond, low + within, high - within))
    regions = [[at.different, at.low, at.high] for at in stops]
    return {"regions": regions, "estimate": median_unbiased(told["mean"], told["sd"], stops)}


def power(told: Row) -> Row:
    design = Design((told["n"][0], told["n_max"]), 1, told["margin_pct"], spending=Spending(**told["spending"]))
    shown = [Shown("ok", n, mean=told["mean"], sd=told["sd"]) for n in told["n"]]
    blocks = told["n_max"] - (told["n_final"] - told["n"][-1])
    levels = told["level_diff_one_sided"], told["level_equiv"]
    return dict(zip(("equivalent", "different"), conditional_power(shown, blocks, design, *levels), strict=True))


def exact(told: Row) -> Row:
    normal = looks(told).nominal(told["alpha"])
    return {
        "nominal_normal": list(normal),
        "size_of_normal_levels": exact_t.size(tuple(told["n"]), normal),
        "nominal_exact_t": list(looks(told, levels="exact_t").nominal(told["alpha"])),
    }


def due(told: Row) -> Row:
    design = Design(tuple(told["looks"]), 1, 1.0)
    return {"expect": design.due(told["done_or_lost"], told.get("already_taken", 0))}


VECTORS = {
    "boundaries": boundaries,
    "repeated_p": repeated,
    "graph": graph,
    "confidence_sequence": lambda told: {"radius_se": anytime.radius(told["n"], told["alpha"], told["g"])},
    "median_unbiased": estimate,
    "conditional_power": power,
    "exact_t": exact,
    "look_due": due,
}


def ratio_scale(folder: Path, told: Row, expected: Row) -> Row:
    """The same looks with the tests of the ratio of means."""
    settings = expected["campaigns"]["main"]["settings"] | {"scale": "ratio", "looks_blocks": told["looks_blocks"]}
    got = _of(json_ready(sequential(pd.read_csv(folder / told["input"]), settings)), told)
    found = []
    for one in got["looks"]:
        limits = {f"rci95_{side}_pct": one["rci"]["ci95"][f"{side}_pct"] for side in ("low", "high")}
        found.append(one | limits | {"ratio": math.exp(one["mean"])})
    return told | {"looks": found}


def planned(told: Row) -> Row:
    design = Design(tuple(told["looks"]), told["m"], told["margin_pct"])
    theta, sigma = math.log1p(told["theta_pct"] / 100), told["sd_diff_pct"] / 100
    found = ahead(design, [theta], [sigma], told["seed"], draws=told["reps"])[1].to_json()
    return told | found | {"first_look_equivalent_exact": first_look_equivalent(design, theta, sigma)}
