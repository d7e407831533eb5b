"""How figures and claims are put into words. A report may say only what this module says.

The words "identical", "no overhead", "same performance" are not here. That two arms are alike may be said only as *equivalent
within* a margin that was declared, and only where the equivalence test says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
"""One row of ``evidence.rows``."""
MINIMUM_N = 3
"""Runs per arm below which nothing is inferred."""

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


def by_contrast(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each cell and pair of arms together, cells in the order given; of a cell those against its first arm first."""
    first: dict[tuple[Any, ...], dict[Any, list[Row]]] = {}
    for row in rows:
        cell = first.setdefault(tuple(row.get(name) for name in ("phase", "model", "workload")), {})
        cell.setdefault((row["reference"], row["treatment"]), []).append(row)
    found = []
    for cell in first.values():
        references = list(dict.fromkeys(reference for reference, _ in cell))
        treatments = {treatment for _, treatment in cell}
        references.sort(key=lambda reference: reference in treatments)
        found += [group for name in references for (reference, _), group in cell.items() if reference == name]
    return found


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


def readable(row: Row) -> Row:
    """The row in MiB, where its arms hold less than a tenth of a GiB."""
    means = [row[f"mean_{arm}"] for arm in ("reference", "treatment") if present(row[f"mean_{arm}"])]
    if row["unit_of_measure"] != "GiB" or not means or max(means) >= 0.1:
        return row
    names = [f"{what}_{arm}" for what in ("mean", "sd") for arm in ("reference", "treatment")]
    return row | {name: row[name] * 1024 for name in names if present(row[name])} | {"unit_of_measure": "MiB"}


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
    different = row["verdict"] in ("different", "different_but_negligible") or (
        row["verdict"] == "deterministic" and row["diff"] != 0
    )
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
    margin = f"±{number(row.get('margin_pct'))} %"
    if verdict in ("different", "different_but_negligible") and bounded:
        direction = "higher" if row["pct"] > 0 else "lower"
        inside = f", inside the {margin} margin" if verdict == "different_but_negligible" else ""
        return f"{what} is {change(row)[1:]} {direction} than under {against} (95 % interval {interval(row)}; {n}){inside}."
    if verdict == "equivalent":
        within = f" (95 % interval {interval(row)}; {n})" if bounded else f" ({n})"
        return f"{what} is equivalent to {against} within {margin}{within}."
    if verdict in ("different", "different_but_negligible"):
        return f"{what} differs from {against} by {number(row['diff'])} {row['unit_of_measure']} ({n})."
    if verdict == "inconclusive" and bounded:
        return (
            f"{what}: undecided. A difference from {against} cannot be told at this N; "
            f"anything within {interval(row)} is compatible with the data ({n}){_needs(row)}."
        )
    if verdict == "inconclusive":
        return f"{what}: undecided. A difference from {against} cannot be told at this N ({n}){_needs(row)}."
    if verdict == "deterministic":
        same = "the same value in every run"
        return f"{what} did not vary within either arm: {same if row['diff'] == 0 else change(row) + ' against ' + against} ({n})."
    if verdict == "insufficient_n":
        return f"{what}: nothing can be claimed from {n}; at least {MINIMUM_N} runs in each arm are needed."
    if verdict == "not_interpretable":
        return f"{what}: the arms were not interleaved in time, so a difference from {against} may be time's."
    if str(verdict).startswith("error"):
        return f"{what}: nothing is claimed, {ERRORS.get(verdict, str(verdict).replace('_', ' '))}."
    if verdict == "no_data":
        return f"{what}: not measured in any accepted run of either arm."
    missing = row["treatment"] if not row["n_treatment"] else against
    return f"{what}: no accepted run of {missing} yet."


ERRORS = {
    "error_implausible": "the output rate is above what the memory's bandwidth permits",
    "error_duplicate_cell": "a run is recorded twice",
    "error_model_identity": "the weights that were loaded differ",
    "error_environment_changed": "image, driver or data changed between the arms",
}
"""Statuses that forbid statistics, in words."""


def _needs(row: Row) -> str:
    """What it would take to decide: ``; needs N = 42 blocks …``."""
    if not present(row.get("needs_n")):
        return ""
    return (
        f"; needs N = {row['needs_n']} {row['needs_what']} to settle equivalence within ±{number(row['margin_pct'])} %"
    )


def verdict_word(row: Row) -> str:
    """The verdict in a table cell."""
    if row["verdict"] == "different_but_negligible":
        return "minor"
    if row["verdict"] == "different" or (row["verdict"] == "deterministic" and row["diff"] != 0):
        return {True: "worse", False: "better", None: "differs"}[worse(row)]
    return {
        "equivalent": "in margin",
        "inconclusive": "undecided",
        "deterministic": "constant",
        "insufficient_n": "too few",
        "missing_arm": "no runs",
        "not_interpretable": "confounded",
        "no_data": "no data",
    }.get(row["verdict"], "refused")


def headline(rows: Sequence[Row]) -> str:
    """The verdict on the whole campaign: a sentence about throughput for each arm that others are compared with."""
    contrasts = _throughput(rows)
    if not contrasts:
        return "Nothing can be claimed yet: no accepted run has a throughput in two arms."
    said = []
    for reference in dict.fromkeys(reference for reference, _ in contrasts):
        mine = {treatment: its for (against, treatment), its in contrasts.items() if against == reference}
        said.append(_summed_up(reference, mine) if len(mine) > 1 else _sentence(*mine.values()))
    return " ".join(said)


def _summed_up(reference: str, by_treatment: dict[str, list[Row]]) -> str:
    kinds: dict[str, list[str]] = {}
    for treatment, mine in by_treatment.items():
        found = {way for row in mine if (way := _way(row)) is not None}
        scope = "on every model" if all(_way(row) is not None for row in mine) else "on some models"
        kind = _alike_kind(mine) if not found else {True: "lower ", False: "higher "}[found.pop()] + scope
        kinds.setdefault("lower on some models, higher on others" if found else kind, []).append(treatment)
    order = sorted(kinds, key=lambda kind: (kind == "cannot be told at this N", kind.startswith("higher")))
    parts = "; ".join(f"{kind} under {_listed(kinds[kind])}" for kind in order)
    return f"Throughput against {reference}: {parts}."


def _throughput(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Reference and treatment to their comparisons of throughput, over all models."""
    found: dict[tuple[str, str], list[Row]] = {}
    for group in by_contrast([row for row in rows if row["metric"] == HEADLINE]):
        found.setdefault((group[0]["reference"], group[0]["treatment"]), []).extend(group)
    return found


def _way(row: Row) -> bool | None:
    """:func:`worse`, without the differences that lie inside the margin."""
    return None if row["verdict"] == "different_but_negligible" else worse(row)


def _alike(row: Row) -> bool:
    return row["verdict"] in ("equivalent", "different_but_negligible")


def _alike_kind(rows: Sequence[Row]) -> str:
    if all(_alike(row) for row in rows):
        return f"equivalent within ±{number(rows[0]['margin_pct'])} % on every model"
    return "cannot be told at this N"


def sentences(rows: Sequence[Row]) -> list[str]:
    """One sentence for each pair of arms about its throughput."""
    return [_sentence(mine) for mine in _throughput(rows).values()]


def _sentence(mine: Sequence[Row]) -> str:
    treatment, against = mine[0]["treatment"], mine[0]["reference"]
    lower = [row for row in mine if _way(row) is True]
    higher = [row for row in mine if _way(row) is False]
    alike = [row for row in mine if _alike(row)]
    rest = len(mine) - len(lower) - len(higher) - len(alike)
    parts = []
    if lower:
        parts.append(f"lowers throughput {_on(lower, mine)}, by {_range(lower)}")
    if higher:
        parts.append(f"raises throughput {_on(higher, mine)}, by {_range(higher)}")
    tail = f"; {rest} of {len(mine)} cannot be told" if rest else ""
    within = f"equivalent within ±{number(mine[0].get('margin_pct'))} % {_on(alike, mine)}" if alike else ""
    if parts:
        return f"{treatment} {' and '.join(parts)} against {against}{f'; {within}' if within else ''}{tail}."
    if within:
        return f"Throughput under {treatment} and {against} is {within}{tail}."
    if all(row["verdict"] in ("insufficient_n", "missing_arm", "no_data") for row in mine):
        return f"Too few runs to compare {treatment} with {against}: nothing is claimed."
    if all(row["verdict"] == "not_interpretable" or str(row["verdict"]).startswith("error") for row in mine):
        why = dict.fromkeys(
            "the arms were not interleaved in time"
            if row["verdict"] == "not_interpretable"
            else f"{ERRORS.get(row['verdict'], row['verdict'])} on {row['model']}"
            for row in mine
        )
        return f"Nothing is claimed about {treatment} against {against}: {'; '.join(why)}."
    return f"A throughput difference of {treatment} from {against} cannot be told at this N."


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
