"""Conditions: what keeps runs apart although model and arm are the same. Runs of different conditions are no
repetitions of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from campaign.reading.cells import checked_name, label, plain_numbers, shown_name
from campaign.reading.columns import DESCRIPTIONS, PER_RUN, snake
from campaign.reading.errors import TableError, listed
from campaign.reading.roles import Roles


def ask_conditions(t: Roles, factors: Mapping[str, list[str]]) -> None:
    """A column that was not understood, and of whose values every arm has the same number of runs,
    looks like a condition."""
    arms = factors["environment"]
    if len(set(arms)) < 2:
        return
    repetitions = [label(cell) for cell in t.cells[t.factors["repetition"]]] if "repetition" in t.factors else None
    for column, fate in t.fates.items():
        own = fate.role == "metric" and t.figures[str(fate.name)].unit is None
        if not (fate.role == "left out" or own) or column in t.columns or column not in t.cells:
            continue
        if snake(column)[0] in DESCRIPTIONS or "taken from" in fate.said:
            continue
        if t.known and column in t.known.meanings:
            continue
        values = [label(cell) for cell in t.cells[column]]
        counts = {arm: Counter(v for v, a in zip(values, arms, strict=True) if a == arm) for arm in set(arms)}
        first = next(iter(counts.values()))
        if not 2 <= len(first) <= 20 or any(found != first for found in counts.values()) or min(first.values()) < 2:
            continue
        if any("." in value for value in first) and plain_numbers(first):
            continue
        if repetitions is not None and len(set(zip(values, repetitions, strict=True))) == len(set(values)) == len(
            set(repetitions)
        ):
            continue  # numbers the repetitions once more
        if len(set(zip(values, factors["model"], strict=True))) == len(set(factors["model"])):
            continue  # says the model once more
        raise TableError(
            f"column {column!r} takes {len(first)} values within each arm ({listed(first, 5)}): runs of different "
            f"conditions are not repetitions of each other. Say --column {shown_name(column)}=condition to keep them "
            f"apart, or --column {shown_name(column)}=ignore"
        )


def workloads(t: Roles, factors: Mapping[str, list[str]]) -> list[str]:
    """The workload, with every setting that differs within an arm: other conditions are other cells."""
    n = len(t.source)
    key = [tuple(factors[name][i] for name in ("unit", "phase", "model", "environment", "workload")) for i in range(n)]
    vary = list(t.conditions)
    for column in t.settings:
        if snake(column)[0] in PER_RUN:
            continue
        seen: dict[tuple[str, ...], set[str]] = {}
        for k, cell in zip(key, t.cells[column], strict=True):
            seen.setdefault(k, set()).add(label(cell))
        if any(len(values) > 1 for values in seen.values()):
            _ask_measured(t, column, seen)
            vary.append(column)
            values = listed(dict.fromkeys(label(cell) for cell in t.cells[column]), 8)
            t.fate(
                column,
                "condition",
                column,
                None,
                f"differs within an arm ({values}): a cell of its own for each value",
            )
    if not vary:
        return factors["workload"]
    out = []
    for i in range(n):
        parts = [f"{snake(column)[0] or column}={label(t.cells[column][i]) or 'none'}" for column in vary]
        named = factors["workload"][i]
        out.append(" ".join([*([named] if named != "unknown" else []), *parts]))
        checked_name("workload", out[-1], " ".join(vary), t.source.places[i])
    return out


def _ask_measured(t: Roles, column: str, seen: Mapping[tuple[str, ...], set[str]]) -> None:
    """A setting with another fraction in every run was perhaps measured, not set:
    a cell for each run would be no comparison at all."""
    values = [label(cell) for cell in t.cells[column]]
    told = t.known is not None and column in t.known.settings
    if (
        not told
        and sum(map(len, seen.values())) == len(values) > 4
        and any("." in value for value in values)
        and plain_numbers(values)
    ):
        raise TableError(
            f"column {column!r} has another value in every run ({listed(values, 3)}): was it set or measured? Say "
            f"--column {shown_name(column)}=condition or --column {shown_name(column)}=ignore"
        )


def differing(t: Roles, factors: Mapping[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Settings whose values differ between the arms of a model and workload."""
    out: dict[str, dict[str, list[str]]] = {}
    for column in (*t.settings, *t.held, *(["engine"] if "engine" in t.factors else [])):
        cells = t.cells[t.factors["engine"]] if column == "engine" else t.cells[column]
        if snake(column)[0] in PER_RUN or (column in t.fates and t.fates[column].role == "condition"):
            continue
        seen: dict[tuple[str, str], dict[str, set[str]]] = {}
        for i, cell in enumerate(cells):
            seen.setdefault((factors["model"][i], factors["workload"][i]), {}).setdefault(
                factors["environment"][i], set()
            ).add(label(cell))
        if any(len({frozenset(values) for values in arms.values()}) > 1 for arms in seen.values()):
            arms: dict[str, set[str]] = {}
            for found in seen.values():
                for arm, values in found.items():
                    arms.setdefault(arm, set()).update(values)
            out[column] = {arm: sorted(values) for arm, values in arms.items()}
            words = "; ".join(f"{arm} {listed(values, 4)}" for arm, values in out[column].items())
            t.notes.append(
                f"{column} differs between the arms ({words}): a difference between them may be that of {column}"
            )
    return out
