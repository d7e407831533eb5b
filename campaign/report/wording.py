"""How figures and claims are put into words. A report may say only what this module says.

The words "identical", "no overhead", "same performance" are not here: no interval that covers zero shows them, only an
equivalence test could.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from campaign.analysis.compare import MINIMUM_N

Row = dict[str, Any]
"""One row of ``compare.comparisons``."""

HEADLINE = "token_throughput_tok_s"
SUMMARY = {
    HEADLINE: "throughput",
    "latency_mean_ms": "latency",
    "ttft_p50_ms": "TTFT p50",
    "ttft_p99_ms": "TTFT p99",
    "peak_memory_gib": "peak memory",
    "kv_cache_gib": "KV cache",
    "startup_s": "start-up",
}
"""Metrics of the summary tables in order, and what they are called there."""


def present(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def number(value: Any, digits: int = 4) -> str:
    """At most ``digits`` significant digits without exponent; a dash where there is no value."""
    if not present(value):
        return "–"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(places, 6)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(",", "\u202f").replace("-", "−")


def mean_sd(mean: Any, sd: Any) -> str:
    """``33.30 ± 0.13``: to the second significant digit of the standard deviation."""
    if not present(mean):
        return "–"
    if not present(sd) or sd <= 1e-12 * max(1.0, abs(mean)):
        return number(mean)
    places = min(6, max(0, 1 - math.floor(math.log10(sd))))
    return f"{mean:,.{places}f} ± {sd:,.{places}f}".replace(",", "\u202f")


def interval(row: Row) -> str:
    """The headline interval in percent: two significant digits of its width, and the sign of each limit."""
    low, high = row["pct_low"], row["pct_high"]
    if not (present(low) and present(high)):
        return "–"
    places = _decimals(low, high)
    return f"{low:+.{places}f} to {high:+.{places}f} %".replace("-", "−")


def brackets(row: Row) -> str:
    """The headline interval as ``[−2.2, −0.9]``, percent."""
    return "–" if interval(row) == "–" else f"[{interval(row).removesuffix(' %').replace(' to ', ', ')}]"


def change(row: Row) -> str:
    """The headline change in percent, to the precision of its interval (two digits without one)."""
    value = row["pct"]
    if not present(value):
        return "–"
    bounded = present(row["pct_low"]) and present(row["pct_high"])
    places = _decimals(row["pct_low"], row["pct_high"]) if bounded else (0 if abs(value) >= 100 else 2)
    sign = "+" if round(value, places) else ""
    return f"{round(value, places) or 0.0:{sign}.{places}f} %".replace("-", "−") if value else "0 %"


def worse(row: Row) -> bool | None:
    """Whether a demonstrated difference is for the worse; None where nothing is demonstrated or no way is better."""
    different = row["verdict"] == "different" or (row["verdict"] == "deterministic" and row["diff"] != 0)
    if not different or not present(row["better"]):
        return None
    return bool((row["diff"] < 0) == (row["better"] == "higher"))


def claim(row: Row) -> str:
    """What may be said of one comparison, as a sentence."""
    what = f"{row['label'] if present(row['label']) else row['metric']} under {row['treatment']}"
    what = what[0].upper() + what[1:]
    against = row["reference"]
    n = f"n = {row['n_reference']} and {row['n_treatment']}"
    verdict, bounded = row["verdict"], present(row["pct_low"])
    if verdict == "different" and bounded:
        direction = "higher" if row["pct"] > 0 else "lower"
        return f"{what} is {change(row)[1:]} {direction} than under {against} (95 % interval {interval(row)}; {n})."
    if verdict == "different":
        return f"{what} differs from {against} by {number(row['diff'])} {row['unit_of_measure']} ({n})."
    if verdict == "inconclusive" and bounded:
        return (
            f"{what}: a difference from {against} cannot be told at this N; "
            f"anything within {interval(row)} is compatible with the data ({n})."
        )
    if verdict == "inconclusive":
        return f"{what}: a difference from {against} cannot be told at this N ({n})."
    if verdict == "deterministic":
        same = "the same value in every run"
        return f"{what} did not vary within either arm: {same if row['diff'] == 0 else change(row) + ' against ' + against} ({n})."
    if verdict == "insufficient_n":
        return f"{what}: nothing can be claimed from {n}; at least {MINIMUM_N} runs in each arm are needed."
    if verdict == "not_interpretable":
        return f"{what}: the arms were not interleaved in time, so a difference from {against} may be time's."
    missing = row["treatment"] if not row["n_treatment"] else against
    return f"{what}: no accepted run of {missing} yet."


def verdict_word(row: Row) -> str:
    """The verdict in a table cell."""
    if row["verdict"] == "different" or (row["verdict"] == "deterministic" and row["diff"] != 0):
        return {True: "worse", False: "better", None: "differs"}[worse(row)]
    return {
        "inconclusive": "unclear",
        "deterministic": "constant",
        "insufficient_n": "too few",
        "missing_arm": "no runs",
        "not_interpretable": "confounded",
    }[row["verdict"]]


def headline(rows: Sequence[Row]) -> str:
    """The verdict on the whole campaign, in one sentence about throughput."""
    said = sentences(rows)
    if not said:
        return "Nothing can be claimed yet: no accepted run has a throughput in two arms."
    if len(said) == 1:
        return said[0]
    throughput = [row for row in rows if row["metric"] == HEADLINE]
    kinds: dict[str, list[str]] = {}
    for treatment in dict.fromkeys(row["treatment"] for row in throughput):
        mine = [row for row in throughput if row["treatment"] == treatment]
        found = {way for row in mine if (way := worse(row)) is not None}
        scope = "on every model" if all(worse(row) is not None for row in mine) else "on some models"
        kind = "cannot be told at this N" if not found else {True: "lower ", False: "higher "}[found.pop()] + scope
        kinds.setdefault("lower on some models, higher on others" if found else kind, []).append(treatment)
    order = sorted(kinds, key=lambda kind: (kind == "cannot be told at this N", kind.startswith("higher")))
    parts = "; ".join(f"{kind} under {_listed(kinds[kind])}" for kind in order)
    return f"Throughput against {throughput[0]['reference']}: {parts}."


def sentences(rows: Sequence[Row]) -> list[str]:
    """One sentence for each treatment arm about its throughput."""
    throughput = [row for row in rows if row["metric"] == HEADLINE]
    found = []
    for treatment in dict.fromkeys(row["treatment"] for row in throughput):
        mine = [row for row in throughput if row["treatment"] == treatment]
        lower = [row for row in mine if worse(row) is True]
        higher = [row for row in mine if worse(row) is False]
        rest = len(mine) - len(lower) - len(higher)
        against = mine[0]["reference"]
        parts = []
        if lower:
            parts.append(f"lowers throughput {_on(lower, mine)}, by {_range(lower)}")
        if higher:
            parts.append(f"raises throughput {_on(higher, mine)}, by {_range(higher)}")
        if parts:
            tail = f"; {rest} of {len(mine)} cannot be told" if rest else ""
            found.append(f"{treatment} {' and '.join(parts)} against {against}{tail}.")
        elif all(row["verdict"] in ("insufficient_n", "missing_arm") for row in mine):
            found.append(f"Too few runs to compare {treatment} with {against}: nothing is claimed.")
        elif all(row["verdict"] == "not_interpretable" for row in mine):
            found.append(f"{treatment} and {against} were not interleaved in time: nothing is claimed.")
        else:
            found.append(f"A throughput difference of {treatment} from {against} cannot be told at this N.")
    return found


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _on(some: Sequence[Row], all_: Sequence[Row]) -> str:
    what = "models" if len({row["workload"] for row in all_}) == 1 else "cells"
    if len(all_) == 1:
        return f"on {some[0]['model']}"
    return f"on {'all' if len(some) == len(all_) else len(some)}{'' if len(some) == len(all_) else ' of'} {len(all_)} {what}"


def _range(rows: Sequence[Row]) -> str:
    """``1.5 to 2.3 %``, to the precision of the least precise."""
    shown = [change(row)[1:].removesuffix(" %") for row in rows]
    places = min(len(text.partition(".")[2]) for text in shown)
    sizes = sorted(abs(row["pct"]) for row in rows)
    low, high = f"{sizes[0]:.{places}f}", f"{sizes[-1]:.{places}f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _decimals(low: float, high: float) -> int:
    """Decimal places for an interval in percent: two significant digits of its width but no more than three of its larger
    limit, and no limit that rounds to zero; at most 4."""
    width = high - low
    if not math.isfinite(width) or width <= 0:
        return 2
    largest = max(abs(low), abs(high))
    places = min(4, max(0, min(1 - math.floor(math.log10(width)), 2 - math.floor(math.log10(largest)))))
    while places < 4 and any(limit != 0 and round(limit, places) == 0 for limit in (low, high)):
        places += 1
    return places
