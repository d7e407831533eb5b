"""A table of runs as one reader understands it, for ``campaign analyze`` and ``campaign import`` alike.

What each column was taken for, in which unit, and which rows do not count and why are part of the answer. What is not
certain is asked for (:class:`TableError` names the option that answers) or left out with words; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from campaign.reading.asked import Asked
from campaign.reading.cells import label
from campaign.reading.columns import SETTINGS, snake
from campaign.reading.conditions import ask_conditions, differing, workloads
from campaign.reading.errors import TableError, listed, nearest
from campaign.reading.factors import names, numbers_of, outcomes, times, truths, whole
from campaign.reading.known import Known
from campaign.reading.repeats import attempts, in_time, numbered, untied
from campaign.reading.roles import Fate, Figure, Roles
from campaign.reading.source import Source
from campaign.reading.sources import load
from campaign.reading.units import of_metric

NAMES = {
    "model": "",
    "environment": "",
    "workload": "unknown",
    "unit": "unknown",
    "phase": "baseline",
    "engine": "unknown",
}
"""Factors that are names, and what stands where the table says none."""


@dataclass(frozen=True)
class Run:
    """A row as it was understood. ``order`` is its place in time on its unit, where the table tells it."""

    place: str
    factors: dict[str, str]
    repetition: int
    attempt: int
    ok: bool
    failure: str | None
    started_ns: int | None
    sequence_index: float | None
    order_in_block: float | None
    throttled: bool | None
    values: dict[str, float]
    reasons: dict[str, str]
    """Metric to why it has no value."""
    states: dict[str, float]
    """Numeric columns ``start_…``: what the unit was like before the run."""
    labels: dict[str, str]
    """Settings and what must not differ, as text."""
    campaign_index: float | None = None
    """Place in time among all rows of the table, where it tells it."""


@dataclass(frozen=True)
class Reading:
    """``runs`` in the order of the files. ``metrics`` is metric to unit (empty: not known)."""

    runs: list[Run]
    metrics: dict[str, str]
    fates: list[Fate]
    notes: list[str]
    rows_in: int
    left_out: list[tuple[str, str]]
    kind: str
    held: tuple[str, ...] = ()
    better: dict[str, str | None] = field(default_factory=dict)
    """Metric to the way that a person said is better, None for neither."""
    differs: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Setting to arm to its values, where arms were run under different ones."""

    @property
    def arms(self) -> list[str]:
        """In order of first appearance."""
        return list(dict.fromkeys(run.factors["environment"] for run in self.runs))

    def told(self, factor: str) -> bool:
        """Whether the table, or a person, says it; what is not told has a word in its place."""
        return any(fate.name == factor and fate.role in ("factor", "set") for fate in self.fates) or (
            factor == "workload" and any(fate.role == "condition" for fate in self.fates)
        )

    def settings(self, run: Run) -> dict[str, str]:
        """What a run was made under, as far as it is no condition of its own:
        the analysis asks whether the arms differ in it."""
        conditions = {fate.column for fate in self.fates if fate.role == "condition"}
        told = {snake(column)[0]: text for column, text in run.labels.items() if column not in conditions and text}
        engine = {"engine": run.factors["engine"]} if self.told("engine") else {}
        return {name: text for name, text in told.items() if name in SETTINGS} | engine

    def report(self) -> dict[str, Any]:
        """What became of columns and rows, ready for JSON."""
        return {
            "kind": self.kind,
            "columns": [asdict(fate) for fate in self.fates],
            "rows_in": self.rows_in,
            "rows": len(self.runs),
            "rows_left_out": [{"row": place, "why": why} for place, why in self.left_out],
            "differs_between_arms": self.differs,
            "notes": self.notes,
        }


def read(files: Sequence[Path], asked: Asked, *, everything: bool) -> Reading:
    """Understand files as one table of runs. ``everything``: figures without a known unit are compared too,
    under their own name.

    Raises :class:`TableError`.
    """
    return understand(*gather(files, asked), asked, everything=everything)


def gather(files: Sequence[Path], asked: Asked) -> tuple[Source, str, dict[str, list[str]]]:
    """The files as one source, their names for messages, and what was set for each row."""
    if not files:
        raise TableError("no file was given")
    sources = [load(path) for path in files]
    where = str(files[0]) if len(files) == 1 else f"{len(files)} files"
    for pattern, name, value in asked.constants:
        if pattern != "*" and not any(
            name in asked.constants_of(path) and asked.constants_of(path)[name] == value for path in files
        ):
            raise TableError(
                f"--set {pattern}:{name}={value}: no file is called so ({listed(path.name for path in files)})"
            )
    given = [asked.constants_of(path) for path in files]
    names = list(dict.fromkeys(name for constants in given for name in constants))
    constants = {
        name: [
            value
            for constants, source in zip(given, sources, strict=True)
            for value in [constants.get(name, "")] * len(source)
        ]
        for name in names
    }
    if len(sources) == 1:
        return sources[0], where, constants
    titles = {source.known.title if source.known else source.kind for source in sources}
    if len(titles) > 1:
        raise TableError(f"{where} are of different kinds ({listed(sorted(titles))}): take each kind in alone")
    columns = list(dict.fromkeys(name for source in sources for name in source.columns))
    cells = {
        name: [cell for source in sources for cell in source.columns.get(name, [None] * len(source))]
        for name in columns
    }
    cells["file"] = [path.stem for path, source in zip(files, sources, strict=True) for _ in range(len(source))]
    places = [f"{path.name}, {place}" for path, source in zip(files, sources, strict=True) for place in source.places]
    untold = {name: what for source in sources for name, what in source.untold.items()}
    left_out = tuple(
        (f"{path.name}, {place}", why)
        for path, source in zip(files, sources, strict=True)
        for place, why in source.left_out
    )
    notes = tuple(dict.fromkeys(note for source in sources for note in source.notes))
    return (
        Source(cells, places, sources[0].kind, notes, left_out, _joined([source.known for source in sources]), untold),
        where,
        constants,
    )


def _joined(known: Sequence[Known | None]) -> Known | None:
    """What a tool's reports mean together: each may name figures that others lack."""
    first = known[0]
    if first is None:
        return None
    meanings = {column: meaning for one in known if one for column, meaning in one.meanings.items()}
    units = {column: unit for one in known if one for column, unit in one.units.items()}
    settings = frozenset(name for one in known if one for name in one.settings)
    return Known(first.title, meanings, units, settings, first.notes, first.attempts_by_time)


def understand(
    source: Source, where: str, constants: dict[str, list[str]], asked: Asked, *, everything: bool
) -> Reading:
    """See :func:`read`."""
    try:
        return _runs(Roles(source, where, constants, asked, everything))
    except TableError as error:
        text = str(error)
        raise (error if text.startswith((where, "--")) else TableError(f"{where}: {text}")) from None


def _runs(t: Roles) -> Reading:
    n = len(t.source)
    factors = {name: names(t, name, default) for name, default in NAMES.items()}
    for name in ("run_id", "model_identity"):
        if name in t.factors or name in t.constants:
            factors[name] = names(t, name, "")
    ask_conditions(t, factors)
    factors["workload"] = workloads(t, factors)
    ok, failures = outcomes(t)
    started, sequence, in_block = times(t), numbers_of(t, "sequence_index"), numbers_of(t, "order_in_block")
    in_campaign = numbers_of(t, "campaign_index")
    started = untied(t, started, factors)
    order = sorted(
        range(n),
        key=lambda i: (
            sequence[i] if sequence[i] is not None else math.inf,
            started[i] if started[i] is not None else math.inf,
        ),
    )
    cell = [tuple(factors[name][i] for name in ("unit", "phase", "model", "environment", "workload")) for i in range(n)]
    repetition = whole(t, "repetition", 0) if "repetition" in t.factors else numbered(t, cell, order)
    attempt = attempts(t, cell, repetition, order, ok, started, sequence)
    if all(x is None for x in started) and all(x is None for x in sequence) and all(x is None for x in in_block):
        t.notes.append("no times or order in the table: the order of runs is unknown")
    place = in_time(sequence, started, in_block, repetition, factors["unit"], order)
    temperature, throttled = numbers_of(t, "start_temperature_c"), truths(t, "throttled")
    parameters = numbers_of(t, "parameters")
    runs = []
    for i in range(n):
        values, reasons = _values(t, i)
        states = {name: found[i] for name, found in t.states.items()}
        if temperature[i] is not None:
            states["start_temperature_c"] = temperature[i]  # type: ignore[assignment]
        if parameters[i] is not None:
            states["parameters"] = parameters[i]  # type: ignore[assignment]
        labels = {column: label(t.cells[column][i]) for column in (*t.settings, *t.held, *t.conditions)}
        labels |= {name: found[i] for name, found in t.constants.items() if name in SETTINGS}
        runs.append(
            Run(
                t.source.places[i], {name: found[i] for name, found in factors.items()}, repetition[i], attempt[i],
                    ok[i], failures[i],
                started[i], place[i], in_block[i], throttled[i], values, reasons, states, labels,
                in_campaign[i],
            )
        )  # fmt: skip
    metrics = {figure.name: _unit_here(figure) for figure in t.figures.values()}
    better, differs = _better(t), differing(t, factors)
    notes = [f"read {figure.column} as {figure.name}" for figure in t.figures.values() if figure.column != figure.name]
    left_out = list(t.source.left_out)
    return Reading(
        runs, metrics, list(t.fates.values()), list(dict.fromkeys(notes + t.notes)), n + len(left_out), left_out,
        t.source.kind,
        tuple(t.held), better, differs,
    )  # fmt: skip


def _unit_here(figure: Figure) -> str:
    if figure.scale != 1:
        wanted = of_metric(figure.name)
        return wanted.name if wanted else ""
    return figure.unit.name if figure.unit else ""


def _values(t: Roles, i: int) -> tuple[dict[str, float], dict[str, str]]:
    values, reasons = {}, {}
    for figure in t.figures.values():
        value = figure.numbers.values[i] * figure.scale
        if i in figure.numbers.failed:
            reasons[figure.name] = f"{figure.numbers.failed[i]} in the file"
        elif math.isnan(value):
            reasons[figure.name] = "not in the file"
        elif math.isinf(value):
            reasons[figure.name] = "infinite in the file"
        values[figure.name] = value
    return values, reasons


def _better(t: Roles) -> dict[str, str | None]:
    by_column = {figure.column: figure.name for figure in t.figures.values()}
    out: dict[str, str | None] = {}
    for name, way in t.asked.better.items():
        metric = name if name in t.figures else by_column.get(name)
        if metric is None:
            raise TableError(
                f"--better {name}={way or 'neither'}: no metric is called {name!r}. {nearest(name, t.figures)}"
            )
        out[metric] = way
    return out
