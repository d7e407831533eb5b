"""A table of runs as one reader understands it, for ``campaign analyze`` and ``campaign import`` alike.

What each column was taken for, in which unit, and which rows do not count and why are part of the answer. What is not certain is asked for
(:class:`TableError` names the option that answers) or left out with words; nothing is guessed.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from campaign.reading.asked import CONDITION, IGNORE, Asked, check_meaning
from campaign.reading.columns import (
    DESCRIPTIONS,
    DISAGREES,
    FACTORS,
    HELD,
    PER_RUN,
    SETTINGS,
    WEIGHTS,
    factor_of,
    metric_of,
    snake,
)
from campaign.reading.errors import TableError, listed, nearest, shown
from campaign.reading.formats import Known
from campaign.reading.numbers import AmbiguousNumber, NotNumbers, Numbers, decimal_mark, is_figure, numbers
from campaign.reading.sources import Source, load
from campaign.reading.times import nanoseconds
from campaign.reading.units import Unit, asked_unit, factor, of_metric
from campaign.reading.words import NO_ERROR, folded, missing, outcome

Role = Literal["factor", "metric", "setting", "condition", "left out", "set"]

NAMES = ("model", "environment", "workload", "unit", "phase", "engine")
"""Factors that are names: trimmed, printable, spelt in one way."""
LONGEST_NAME = 200
MOST_WHOLE = 2**31 - 1
_STATES = "start_"
_LOOSE_STATUS = frozenset({"result", "success", "succeeded", "passed", "ok"})
_SUFFIX = {
    "tok/s": "tok_s", "req/s": "req_s", "%": "pct", "°C": "c", "µs": "us", "GB/s": "gb_s", "MB/s": "mb_s", "TB/s": "tb_s", "GiB/s": "gib_s", "MiB/s": "mib_s",
}  # fmt: skip


@dataclass(frozen=True)
class Fate:
    """What became of a column."""

    column: str
    role: Role
    name: str | None
    """What it is here, None where it was left out."""
    unit: str | None
    """Of its figures, as they stand in the file."""
    said: str
    """Conversion, assumption, or why it was left out."""


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
    better: dict[str, str] = field(default_factory=dict)
    """Metric to the way that a person said is better."""
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
    """Understand files as one table of runs. ``everything``: figures without a known unit are compared too, under their own name.

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
        return _Table(source, where, constants, asked, everything).reading()
    except TableError as error:
        text = str(error)
        raise (error if text.startswith((where, "--")) else TableError(f"{where}: {text}")) from None


@dataclass
class _Figure:
    column: str
    name: str
    unit: Unit | None
    numbers: Numbers
    scale: float


class _Table:
    """The work of :func:`understand`: roles of columns first, then what their cells say, then the runs."""

    def __init__(
        self, source: Source, where: str, constants: dict[str, list[str]], asked: Asked, everything: bool
    ) -> None:
        self.source, self.where, self.asked, self.everything = source, where, asked, everything
        self.known = source.known
        self.cells = source.columns
        self.constants = constants
        self.fates: dict[str, Fate] = {}
        self.notes = list(source.notes)
        self.factors: dict[str, str] = {}
        """Factor to column."""
        self.settings: list[str] = []
        self.conditions: list[str] = []
        self.figures: dict[str, _Figure] = {}
        self.held: list[str] = []
        self.states: dict[str, list[float]] = {}
        self.doubts: list[str] = []
        """Questions about columns that might be figures."""
        self.commas = next(
            (
                seen["comma"]
                for cells in self.cells.values()
                if "comma" in (seen := decimal_mark(cells)[1]) and _figures(cells)
            ),
            None,
        )
        """A cell that shows decimal commas in the files."""

    # --- roles ---------------------------------------------------------------------------------------------------

    def reading(self) -> Reading:
        self.columns = {self._column("--column", name): meaning for name, meaning in self.asked.columns.items()}
        self.units = {self._column("--unit", name): asked_unit(name, text) for name, text in self.asked.units.items()}
        for name, meaning in self.columns.items():
            check_meaning(name, meaning)
        self._assign_factors()
        for column in self.cells:
            if column not in self.fates:
                self._assign(column)
        for column, what in self.source.untold.items():
            self._leave(column, what)
        self._needed()
        return self._runs()

    def _column(self, option: str, name: str) -> str:
        """The table's own spelling of a column that was named."""
        have = {column.strip().casefold(): column for column in self.cells}
        if name in self.cells:
            return name
        found = have.get(name.strip().casefold())
        if found is None:
            raise TableError(f"{option} {name}=…: there is no column {name!r}. {nearest(name, [*self.cells])}")
        return found

    def _fate(self, column: str, role: Role, name: str | None, unit: Unit | None = None, said: str = "") -> None:
        self.fates[column] = Fate(column, role, name, unit.name if unit else None, said.replace("NAME", column))

    def _leave(self, column: str, why: str) -> None:
        self._fate(column, "left out", None, None, why)

    def _assign_factors(self) -> None:
        meanings = {
            column: meaning
            for column, meaning in (self.known.meanings if self.known else {}).items()
            if column in self.cells
        }
        for column, meaning in (meanings | self.columns).items():
            if meaning in FACTORS:
                if meaning in self.factors and column in self.columns and self.factors[meaning] in self.columns:
                    raise TableError(
                        f"--column: both {self.factors[meaning]!r} and {column!r} are to be {meaning}; choose one"
                    )
                if meaning not in self.factors or column in self.columns:
                    self.factors[meaning] = column
        taken = set(self.factors.values()) | set(meanings) | set(self.columns)
        spelt = {column: snake(column)[0] for column in self.cells if column not in taken}
        for meaning, aliases in FACTORS.items():
            if meaning in self.factors:
                continue
            found = self._named(meaning, aliases, spelt)
            if found is not None:
                self.factors[meaning] = found
        for meaning, column in self.factors.items():
            if meaning in self.constants:
                raise TableError(
                    f"--set {meaning}=…: the table says it itself, in its column {column!r}; leave one of the two out (--column {column}=ignore)"
                )
            self._fate(column, "factor", meaning)
        for name, values in self.constants.items():
            self._fate(
                f"--set {name}", "set", name, None, f"the same for every row of a file: {listed(dict.fromkeys(values))}"
            )

    def _named(self, meaning: str, aliases: Sequence[str], spelt: Mapping[str, str]) -> str | None:
        """The column that bears the first of a factor's names, of those that are no other factor yet."""
        for alias in aliases:
            for column, text in spelt.items():
                if text == alias and column not in self.factors.values() and self._fits(meaning, column, text):
                    return column
        return None

    def _fits(self, meaning: str, column: str, text: str) -> bool:
        """Whether the cells allow what the name suggests; names such as ``result`` and ``error`` may be anything."""
        told = [cell for cell in self.cells[column] if not missing(cell)]
        if meaning == "status" and text in _LOOSE_STATUS:
            return all(
                isinstance(cell, bool) or outcome(cell) is not None or folded(cell) in self.asked.statuses
                for cell in told
            )
        if meaning == "failure":
            return not any(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in told) and not (
                told and _plain_numbers(told)
            )
        if meaning == "unit":
            return not (told and all(isinstance(cell, str) and _is_unit(cell) for cell in told))
        if meaning in ("parameters", "order_in_block", "sequence_index"):
            return _plain_numbers(told)
        return bool(told) or meaning in ("model", "environment", "repetition")

    def _assign(self, column: str) -> None:
        asked = self.columns.get(column)
        meaning = asked or (self.known.meanings.get(column) if self.known else None)
        text = snake(column)[0]
        if meaning == IGNORE:
            self._leave(
                column, "as asked" if asked else f"of {self.known.title}, no figure of a run" if self.known else ""
            )
        elif meaning == CONDITION:
            self.conditions.append(column)
            self._fate(column, "condition", column, None, "runs under different values are kept apart")
        elif meaning in HELD or meaning in WEIGHTS or (meaning is None and column in (*HELD, *WEIGHTS)):
            self.held.append(column)
            self._fate(column, "setting", meaning or column, None, "must not differ inside a comparison")
        elif meaning is not None and meaning not in FACTORS:
            self._figure(column, meaning)
        elif meaning in FACTORS:
            self._leave(column, f"{meaning} is taken from {self.factors[meaning]!r}")
        elif self.known and column in self.known.settings:
            self._setting(column)
        elif all(missing(cell) for cell in self.cells[column]):
            self._leave(column, "empty in every row")
        elif (
            column not in self.units
            and (second := factor_of(column)) is not None
            and second in self.factors
            and text not in SETTINGS
        ):
            self._leave(column, f"{second} is taken from {self.factors[second]!r}")
        elif column not in self.units and text in SETTINGS:
            self._setting(column)
        elif column not in self.units and (text in DESCRIPTIONS or text.startswith(("unnamed", "key_", "index_level"))):
            what = (
                "a key on the way to the runs"
                if text.startswith("key_")
                else "describes the row: neither a condition nor a figure to compare"
            )
            self._leave(column, f"{what}; otherwise --column {shown_name(column)}=MEANING")
        elif text.startswith(_STATES) and _plain_numbers([c for c in self.cells[column] if not missing(c)]):
            self.states[column] = self._read(column).values
            self._fate(
                column,
                "setting",
                column,
                None,
                "the state before the run: a covariate of campaign analyze; not kept by campaign import",
            )
        elif text.endswith(("_utc_ns", "_mono_ns", "_utc")):
            self._leave(column, "a time, not a figure")
        else:
            self._unknown(column)

    def _setting(self, column: str) -> None:
        self.settings.append(column)
        values = list(dict.fromkeys(label(cell) for cell in self.cells[column]))
        self._fate(column, "setting", column, None, f"never compared: {listed(values, 5)}")

    def _unknown(self, column: str) -> None:
        """A column whose name is no factor's and no setting's: a figure, if its cells and its name say so."""
        cells = self.cells[column]
        told = [cell for cell in cells if not missing(cell)]
        if all(isinstance(cell, bool) for cell in told):
            self._leave(
                column, f"yes or no, not a figure; --column {shown_name(column)}=condition keeps runs apart by it"
            )
            return
        metric = metric_of(column, self.units.get(column))
        if column in self.units and metric.said.startswith(DISAGREES):
            raise TableError(f"column {column!r}: {metric.said.replace('NAME', column)}")
        if metric.meaning is not None and metric.unit is not None and not self.everything:
            self._figure(column, metric.meaning, said=metric.said)
            return
        try:
            found = self._read(column)
        except AmbiguousNumber as error:
            if self.everything or metric.said:
                raise TableError(f"column {column!r}: {error}; or --column {shown_name(column)}=ignore") from None
            self._leave(column, f"no metric that is known here, and its numbers can be read in two ways: {error}")
            return
        except NotNumbers as error:
            if error.share >= 0.5 or (error.share and metric.said) or (metric.meaning and metric.unit):
                raise TableError(self._bad_cell(column, error)) from None
            self._leave(
                column,
                f"text, and nothing that is known here; --column {shown_name(column)}=condition keeps runs apart by it",
            )
            return
        except TableError as error:
            raise TableError(f"column {column!r}: {error}") from None
        unit = self._told_unit(column, found) or metric.unit
        if self.everything:
            self._own(column, unit, found)
        elif metric.meaning is not None and unit is not None:
            self._figure(column, metric.meaning, said=metric.said)
        elif metric.said or unit is None:
            what = (
                metric.said
                or (f"no figure of {self.known.title} that is compared here" if self.known else "")
                or "no metric that is known here and no unit in its name; --column NAME=METRIC or --unit NAME=UNIT"
            )
            self.doubts.append(f"{column}: {what.replace('NAME', column)}")
            self._leave(column, what)
        else:
            self._own(column, unit, found)

    def _own(self, column: str, unit: Unit | None, found: Numbers) -> None:
        """A figure under its own name, not converted: of ``analyze`` the table's, of ``import`` one that SQL can spell."""
        name = column.strip()
        words = "" if unit else "unit not known"
        if not self.everything:
            assert unit is not None
            base, bracketed, _ = snake(column)
            ending = _SUFFIX.get(unit.name, unit.name.lower())
            name = base if not bracketed and of_metric(base) is not None else f"{base}_{ending}"
            words = "no metric of the report: kept under its own name, for SQL"
        checked_name("name", name, column)
        if name in self.figures or name in FACTORS:
            self._leave(column, f"another column is {name} already")
            return
        self.figures[name] = _Figure(column, name, unit, found, 1.0)
        self._fate(column, "metric", name, unit, words)

    def _figure(self, column: str, meaning: str, *, said: str = "") -> None:
        """A column that is a metric of this project, converted to its unit."""
        try:
            found = self._read(column)
        except NotNumbers as error:
            raise TableError(self._bad_cell(column, error)) from None
        except AmbiguousNumber as error:
            raise TableError(f"column {column!r}: {error}") from None
        except TableError as error:
            raise TableError(f"column {column!r}: {error}") from None
        wanted = of_metric(meaning)
        told = self._told_unit(column, found)
        if wanted is None:
            raise TableError(
                f"--column {column}={meaning}: a metric's name ends with its unit, as in token_throughput_tok_s"
            )
        scale = factor(told or wanted, wanted)
        if scale is None:
            assert told is not None
            raise TableError(
                f"column {column!r} is in {told.name} ({told.dimension}), and {meaning} is in {wanted.name} ({wanted.dimension}): say another with --column or --unit"
            )
        if meaning in self.figures:
            other = self.figures[meaning]
            same = all(
                _alike(a * scale, b * other.scale) for a, b in zip(found.values, other.numbers.values, strict=True)
            )
            if not same:
                raise TableError(
                    f"columns {other.column!r} and {column!r} are both {meaning} and differ: say --column {other.column}=ignore or --column {column}=ignore"
                )
            self._leave(column, f"{meaning} is taken from {other.column!r}, which says the same")
            return
        self.figures[meaning] = _Figure(column, meaning, told or wanted, found, scale)
        converted = f"times {scale:g} to {wanted.name}" if scale != 1 else ""
        self._fate(column, "metric", meaning, told or wanted, "; ".join(part for part in (converted, said) if part))

    def _told_unit(self, column: str, found: Numbers) -> Unit | None:
        """The unit that the format, the name, the cells or the person give; where several do they must agree."""
        name = metric_of(column).unit
        told = {
            "its name": name if column not in self.columns or name is None or name.dimension != "temperature" else None,
            "its format": asked_unit(column, self.known.units[column])
            if self.known and column in self.known.units
            else None,
            "its cells": found.unit,
            "--unit": self.units.get(column),
        }
        if self.known and column in self.known.units:
            told.pop("its name")
        units = {who: unit for who, unit in told.items() if unit is not None}
        if len({unit.name for unit in units.values()}) > 1:
            said = " and ".join(f"{who} says {unit.name}" for who, unit in units.items())
            raise TableError(
                f"column {column!r}: {said} (req/s and tok/s, ms and s are different things): leave one out or correct it"
            )
        return next(iter(units.values()), None)

    def _read(self, column: str) -> Numbers:
        """A column's numbers. Where the files write decimal commas, a column of nothing but ``1.234`` is asked for."""
        cells = self.cells[column]
        if self.commas is not None and self.asked.decimal is None and decimal_mark(cells)[0] is None:
            odd = next(
                (
                    cell
                    for cell in cells
                    if isinstance(cell, str) and cell.count(".") == 1 and "," not in cell and _figures([cell])
                ),
                None,
            )
            if odd is not None:
                raise AmbiguousNumber(
                    f"{shown(odd)} can be read as {odd.strip()} and as {odd.strip().replace('.', '')}: elsewhere the comma stands before decimals "
                    f"({shown(self.commas)}); say --decimal comma or --decimal point"
                )
        return numbers(cells, self.asked.decimal)

    def _bad_cell(self, column: str, error: NotNumbers) -> str:
        if error.value is None:
            return f"column {column!r}: {error.why}: write all its numbers alike"
        return (
            f"column {column!r} holds {shown(error.value)} in {self.source.places[error.row]} among numbers, which {error.why}: leave a missing "
            f"value empty, correct it, or --column {shown_name(column)}=ignore"
        )

    def _needed(self) -> None:
        for name in ("model", "environment"):
            if name not in self.factors and name not in self.constants:
                few = [
                    column
                    for column, cells in self.cells.items()
                    if column not in self.factors.values()
                    and 2 <= len({label(cell) for cell in cells if not missing(cell)}) <= 8
                    and not _plain_numbers([c for c in cells if not missing(c)])
                ]
                which = f" If a column says it, --column {shown_name(few[0])}={name}" if few else ""
                raise TableError(
                    f"no column for {name!r} (found: {listed(self.cells)}). Where all runs have one, give it as a constant: --set {name}="
                    f"{'native' if name == 'environment' else 'MODEL'}.{which}"
                )
        if not self.figures:
            doubts = (
                f" {' '.join(f'{doubt}.' for doubt in self.doubts)}"
                if self.doubts
                else " Say which is which, as in --column COLUMN=token_throughput_tok_s"
            )
            raise TableError(
                f"no column that is known as a metric with its unit (found: {listed(self.cells)}).{doubts}"
            )

    # --- cells ---------------------------------------------------------------------------------------------------

    def _names(self, factor: str, default: str) -> list[str]:
        if factor in self.constants:
            out = [_name(cell) for cell in self.constants[factor]]
        elif factor in self.factors:
            out = [
                _name(cell) if not missing(cell) or (isinstance(cell, str) and cell.strip()) else ""
                for cell in self.cells[self.factors[factor]]
            ]
        else:
            return [default] * len(self.source)
        column = self.factors.get(factor, f"--set {factor}")
        for place, name in zip(self.source.places, out, strict=True):
            if not name and factor in ("model", "environment"):
                raise TableError(
                    f"column {column!r} is empty in {place}: every run needs a {factor}; fill it or drop the row"
                )
            checked_name(factor, name, column, place)
        out = [name or default for name in out]
        spelt: dict[str, set[str]] = {}
        for name in out:
            spelt.setdefault(" ".join(name.casefold().split()), set()).add(name)
        several = next((sorted(names) for names in spelt.values() if len(names) > 1), None)
        if several:
            raise TableError(
                f"column {column!r} spells one {factor} in several ways ({listed(map(repr, several))}): upper and lower case or spaces differ; write one of them"
            )
        return out

    def _whole(self, factor: str, low: int) -> list[int]:
        column = self.factors[factor]
        out = []
        for place, cell in zip(self.source.places, self.cells[column], strict=True):
            number = _as_whole(cell)
            if number is None or not low <= number <= MOST_WHOLE:
                what = "is empty" if missing(cell) else f"holds {shown(cell)}"
                raise TableError(
                    f"column {column!r} ({factor}) {what} in {place}: write a whole number from {low} on, or take the column out (--column {column}=ignore)"
                )
            out.append(number)
        return out

    def _numbers(self, factor: str) -> list[float | None]:
        if factor not in self.factors:
            return [None] * len(self.source)
        column = self.factors[factor]
        try:
            found = self._read(column)
        except NotNumbers as error:
            raise TableError(self._bad_cell(column, error)) from None
        except TableError as error:
            raise TableError(f"column {column!r}: {error}") from None
        return [None if math.isnan(x) else x for x in found.values]

    def _truths(self, factor: str) -> list[bool | None]:
        if factor not in self.factors:
            return [None] * len(self.source)
        column = self.factors[factor]
        words = {
            "0": False,
            "1": True,
            "0.0": False,
            "1.0": True,
            "false": False,
            "true": True,
            "no": False,
            "yes": True,
        }
        out: list[bool | None] = []
        for place, cell in zip(self.source.places, self.cells[column], strict=True):
            word = folded(cell)
            if not missing(cell) and word not in words:
                raise TableError(f"column {column!r} holds {shown(cell)} in {place}: write 0 or 1")
            out.append(None if missing(cell) else words[word])
        return out

    def _outcomes(self) -> tuple[list[bool], list[str | None]]:
        """Whether each run succeeded, and what is said of those that did not."""
        ok = [True] * len(self.source)
        failures: list[str | None] = [None] * len(self.source)
        if "failure" in self.factors:
            for i, cell in enumerate(self.cells[self.factors["failure"]]):
                if not missing(cell) and folded(cell) not in NO_ERROR:
                    failures[i] = _name(cell)[:LONGEST_NAME]
                    ok[i] = ok[i] and "status" in self.factors
        if "status" in self.factors:
            column = self.factors["status"]
            cells = self.cells[column]
            numeric = {folded(cell).removesuffix(".0") for cell in cells if not missing(cell)} <= {"0", "1"} and any(
                folded(cell).startswith("0") for cell in cells
            )
            for i, (place, cell) in enumerate(zip(self.source.places, cells, strict=True)):
                word = "" if missing(cell) else folded(cell).removesuffix(".0")
                said = (
                    self.asked.statuses.get(word)
                    or self.asked.statuses.get(str(cell).strip().casefold())
                    or (outcome(word) if word and not numeric else None)
                )
                if isinstance(cell, bool):
                    said = "ok" if cell else "failed"
                if said is None:
                    what = f"holds {shown(cell)}" if word else "is empty"
                    raise TableError(
                        f"column {column!r} {what} in {place}: did that run succeed? Say --status '{word}=ok' or --status '{word}=failed'"
                    )
                if said == "failed":
                    ok[i] = False
                    failures[i] = failures[i] or label(cell) or "no status"
        if "exit_code" in self.factors:
            for i, code in enumerate(self._numbers("exit_code")):
                if code:
                    ok[i] = False
                    failures[i] = failures[i] or f"exit code {code:g}"
        for figure in self.figures.values():
            for i, word in figure.numbers.failed.items():
                if ok[i]:
                    self.notes.append(
                        f"{self.source.places[i]}: {figure.column} holds {shown(word)} instead of a figure: the run counts as failed"
                    )
                ok[i] = False
                failures[i] = failures[i] or word
        return ok, failures

    def _times(self) -> list[int | None]:
        if "started" not in self.factors:
            return [None] * len(self.source)
        column = self.factors["started"]
        try:
            times, notes = nanoseconds(self.cells[column], self.asked.dates)
        except TableError as error:
            head, _, rest = str(error).partition("}")
            text = f"in {self.source.places[int(head[5:])]}:{rest}" if head.startswith("{row:") else str(error)
            raise TableError(f"column {column!r} {text.replace('NAME', column)}") from None
        self.notes += notes
        return times

    # --- runs ----------------------------------------------------------------------------------------------------

    def _runs(self) -> Reading:
        n = len(self.source)
        factors = {
            name: self._names(name, default)
            for name, default in zip(NAMES, ("", "", "unknown", "unknown", "baseline", "unknown"), strict=True)
        }
        for name in ("run_id", "model_identity"):
            if name in self.factors or name in self.constants:
                factors[name] = self._names(name, "")
        self._ask_conditions(factors)
        factors["workload"] = self._workloads(factors)
        ok, failures = self._outcomes()
        started, sequence, in_block = self._times(), self._numbers("sequence_index"), self._numbers("order_in_block")
        started = self._untied(started, factors)
        order = sorted(
            range(n),
            key=lambda i: (
                sequence[i] if sequence[i] is not None else math.inf,
                started[i] if started[i] is not None else math.inf,
            ),
        )
        cell = [
            tuple(factors[name][i] for name in ("unit", "phase", "model", "environment", "workload")) for i in range(n)
        ]
        repetition = self._whole("repetition", 0) if "repetition" in self.factors else self._numbered(cell, order)
        attempt = self._attempts(cell, repetition, order, ok, started, sequence)
        if all(x is None for x in started) and all(x is None for x in sequence) and all(x is None for x in in_block):
            self.notes.append("no times or order in the table: the order of runs is unknown")
        place = _in_time(sequence, started, in_block, repetition, factors["unit"], order)
        temperature, throttled = self._numbers("start_temperature_c"), self._truths("throttled")
        parameters = self._numbers("parameters")
        runs = []
        for i in range(n):
            values, reasons = self._values(i)
            states = {name: found[i] for name, found in self.states.items()}
            if temperature[i] is not None:
                states["start_temperature_c"] = temperature[i]  # type: ignore[assignment]
            if parameters[i] is not None:
                states["parameters"] = parameters[i]  # type: ignore[assignment]
            labels = {column: label(self.cells[column][i]) for column in (*self.settings, *self.held, *self.conditions)}
            labels |= {name: found[i] for name, found in self.constants.items() if name in SETTINGS}
            runs.append(
                Run(
                    self.source.places[i], {name: found[i] for name, found in factors.items()}, repetition[i], attempt[i], ok[i], failures[i],
                    started[i], place[i], in_block[i], throttled[i], values, reasons, states, labels,
                )
            )  # fmt: skip
        metrics = {figure.name: self._unit_here(figure) for figure in self.figures.values()}
        notes = [
            f"read {figure.column} as {figure.name}" for figure in self.figures.values() if figure.column != figure.name
        ]
        left_out = list(self.source.left_out)
        return Reading(
            runs, metrics, list(self.fates.values()), list(dict.fromkeys(notes + self.notes)), n + len(left_out), left_out, self.source.kind,
            tuple(self.held), self._better(), self._differing(factors),
        )  # fmt: skip

    def _unit_here(self, figure: _Figure) -> str:
        if figure.scale != 1:
            wanted = of_metric(figure.name)
            return wanted.name if wanted else ""
        return figure.unit.name if figure.unit else ""

    def _values(self, i: int) -> tuple[dict[str, float], dict[str, str]]:
        values, reasons = {}, {}
        for figure in self.figures.values():
            value = figure.numbers.values[i] * figure.scale
            if i in figure.numbers.failed:
                reasons[figure.name] = f"{figure.numbers.failed[i]} in the file"
            elif math.isnan(value):
                reasons[figure.name] = "not in the file"
            elif math.isinf(value):
                reasons[figure.name] = "infinite in the file"
            values[figure.name] = value
        return values, reasons

    def _ask_conditions(self, factors: Mapping[str, list[str]]) -> None:
        """A column that was not understood, and of whose values every arm has the same number of runs, looks like a condition."""
        arms = factors["environment"]
        if len(set(arms)) < 2:
            return
        repetitions = (
            [label(cell) for cell in self.cells[self.factors["repetition"]]] if "repetition" in self.factors else None
        )
        for column, fate in self.fates.items():
            own = fate.role == "metric" and self.figures[str(fate.name)].unit is None
            if not (fate.role == "left out" or own) or column in self.columns or column not in self.cells:
                continue
            if snake(column)[0] in DESCRIPTIONS or "taken from" in fate.said:
                continue
            if self.known and column in self.known.meanings:
                continue
            values = [label(cell) for cell in self.cells[column]]
            counts = {arm: Counter(v for v, a in zip(values, arms, strict=True) if a == arm) for arm in set(arms)}
            first = next(iter(counts.values()))
            if not 2 <= len(first) <= 20 or any(found != first for found in counts.values()) or min(first.values()) < 2:
                continue
            if any("." in value for value in first) and _plain_numbers(first):
                continue
            if repetitions is not None and len(set(zip(values, repetitions, strict=True))) == len(set(values)) == len(
                set(repetitions)
            ):
                continue  # numbers the repetitions once more
            if len(set(zip(values, factors["model"], strict=True))) == len(set(factors["model"])):
                continue  # says the model once more
            raise TableError(
                f"column {column!r} takes {len(first)} values within each arm ({listed(first, 5)}): runs of different conditions are not "
                f"repetitions of each other. Say --column {shown_name(column)}=condition to keep them apart, or --column {shown_name(column)}=ignore"
            )

    def _workloads(self, factors: Mapping[str, list[str]]) -> list[str]:
        """The workload, with every setting that differs within an arm: other conditions are other cells."""
        n = len(self.source)
        key = [
            tuple(factors[name][i] for name in ("unit", "phase", "model", "environment", "workload")) for i in range(n)
        ]
        vary = list(self.conditions)
        for column in self.settings:
            if snake(column)[0] in PER_RUN:
                continue
            seen: dict[tuple[str, ...], set[str]] = {}
            for k, cell in zip(key, self.cells[column], strict=True):
                seen.setdefault(k, set()).add(label(cell))
            if any(len(values) > 1 for values in seen.values()):
                vary.append(column)
                values = listed(dict.fromkeys(label(cell) for cell in self.cells[column]), 8)
                self._fate(
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
            parts = [f"{snake(column)[0] or column}={label(self.cells[column][i]) or 'none'}" for column in vary]
            named = factors["workload"][i]
            out.append(" ".join([*([named] if named != "unknown" else []), *parts]))
            checked_name("workload", out[-1], " ".join(vary), self.source.places[i])
        return out

    def _untied(self, started: list[int | None], factors: Mapping[str, list[str]]) -> list[int | None]:
        """Times, unless runs of different arms have the same one on one unit: then their order is not known."""
        arms: dict[tuple[str, int], set[str]] = {}
        for i, moment in enumerate(started):
            if moment is not None:
                arms.setdefault((factors["unit"][i], moment), set()).add(factors["environment"][i])
        if any(len(found) > 1 for found in arms.values()):
            self.notes.append(
                "runs of different arms have one and the same time: their order is not known, and the times are not used"
            )
            return [None] * len(started)
        if any(moment is None for moment in started) and any(moment is not None for moment in started):
            self.notes.append("some runs have no time: the order of runs is not known, and the times are not used")
            return [None] * len(started)
        return started

    def _numbered(self, cell: list[tuple[str, ...]], order: list[int]) -> list[int]:
        self.notes.append("no repetitions in the file: runs of a cell are numbered in order")
        count: Counter[tuple[str, ...]] = Counter()
        out = [0] * len(cell)
        for i in order:
            count[cell[i]] += 1
            out[i] = count[cell[i]]
        return out

    def _attempts(
        self,
        cell: list[tuple[str, ...]],
        repetition: list[int],
        order: list[int],
        ok: list[bool],
        started: list[int | None],
        sequence: list[float | None],
    ) -> list[int]:
        """The number of each attempt at a run. Without a column that tells, only a run that failed before may have been tried again."""
        n = len(cell)
        out = [1] * n
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i in order:
            groups.setdefault((*cell[i], repetition[i]), []).append(i)
        told = self._whole("attempt", 0) if "attempt" in self.factors else None
        for key, rows in groups.items():
            model, arm, number = key[2], key[3], key[-1]
            if told is not None:
                given = [told[i] for i in rows]
                if len(set(given)) < len(given):
                    raise TableError(
                        f"{self._same(rows)} have the same model, arm, repetition and attempt {max(given, key=given.count)}: {self._difference(rows)}"
                    )
                for i in rows:
                    out[i] = told[i] + (1 if min(told) == 0 else 0)
                continue
            if len(rows) == 1:
                continue
            timed = self.known is not None and self.known.attempts_by_time and all(started[i] is not None for i in rows)
            if sum(ok[i] for i in rows) > 1 and not timed:
                raise TableError(
                    f"{self._same(rows)} have the same repetition {number} of {model} under {arm}, and several succeeded: {self._difference(rows)}"
                )
            for place, i in enumerate(rows, 1):
                out[i] = place
            self.notes.append(
                f"{model} under {arm} has repetition {number} {len(rows)} times: taken as attempts 1 to {len(rows)}, of which the first that succeeded counts"
            )
        return out

    def _same(self, rows: list[int]) -> str:
        return listed((self.source.places[i] for i in rows), 4)

    def _difference(self, rows: list[int]) -> str:
        """What to do about rows that say to be one run: name the column that tells them apart, where there is one."""
        used = {figure.column for figure in self.figures.values()} | set(self.factors.values())
        apart = [
            column
            for column, cells in self.cells.items()
            if column not in used and len({label(cells[i]) for i in rows}) == len(rows)
        ]
        if apart:
            return f"they differ in {listed(map(repr, apart), 5)}. If that is a condition, say --column {shown_name(apart[0])}=condition; if it numbers attempts, --column {shown_name(apart[0])}=attempt"
        return "number the repetitions, add a column 'attempt' that tells retries apart, or take all but one of the rows out"

    def _better(self) -> dict[str, str]:
        by_column = {figure.column: figure.name for figure in self.figures.values()}
        out: dict[str, str] = {}
        for name, way in self.asked.better.items():
            metric = name if name in self.figures else by_column.get(name)
            if metric is None:
                raise TableError(f"--better {name}={way}: no metric is called {name!r}. {nearest(name, self.figures)}")
            out[metric] = way
        return out

    def _differing(self, factors: Mapping[str, list[str]]) -> dict[str, dict[str, list[str]]]:
        """Settings whose values differ between the arms of a model and workload."""
        out: dict[str, dict[str, list[str]]] = {}
        for column in (*self.settings, *self.held, *(["engine"] if "engine" in self.factors else [])):
            cells = self.cells[self.factors["engine"]] if column == "engine" else self.cells[column]
            if (
                snake(column)[0] in PER_RUN
                or self.fates.get(column, Fate("", "factor", "", None, "")).role == "condition"
            ):
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
                self.notes.append(
                    f"{column} differs between the arms ({words}): a difference between them may be that of {column}"
                )
        return out


def _in_time(
    sequence: list[float | None],
    started: list[int | None],
    in_block: list[float | None],
    repetition: list[int],
    unit: list[str],
    order: list[int],
) -> list[float | None]:
    """The place of each run in time on its unit: as recorded, or by start times, or by the order within blocks; None where not told."""
    n = len(order)
    if any(x is not None for x in sequence):
        return sequence
    if any(moment is not None for moment in started):
        count: Counter[str] = Counter()
        out: list[float | None] = [None] * n
        for i in order:
            count[unit[i]] += 1
            out[i] = float(count[unit[i]])
        return out
    told = [x for x in in_block if x is not None]
    if not told:
        return [None] * n
    most = max(told)
    return [None if x is None else repetition[i] * (most + 1) + x for i, x in enumerate(in_block)]


# --- single cells -----------------------------------------------------------------------------------------------


def label(cell: Any) -> str:
    """A cell as a name: 1.0 is 1."""
    if missing(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return _name(cell)


def _name(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        cell = int(cell)
    return unicodedata.normalize("NFC", str(cell)).strip().strip("\ufeff\u200b\u00a0").strip()


def shown_name(column: str) -> str:
    """For a command line."""
    return f"'{column}'" if any(not (c.isalnum() or c in "_-.") for c in column) else column


def checked_name(what: str, name: str, column: str, place: str = "") -> None:
    """Raises for a name that a terminal, a path or a chart would trip over."""
    at = f" in {place}" if place else ""
    if not name.isprintable():
        raise TableError(
            f"column {column!r}{at}: the {what} {shown(name)} has control characters or others that cannot be shown; take them out"
        )
    if len(name) > LONGEST_NAME:
        raise TableError(
            f"column {column!r}{at}: the {what} {shown(name, 40)} is longer than {LONGEST_NAME} characters; give it a shorter name"
        )
    if ".." in name.replace("\\", "/").split("/"):
        raise TableError(
            f"column {column!r}{at}: the {what} {shown(name)} leads out of its folder (..); give it another name"
        )


def _as_whole(cell: Any) -> int | None:
    if isinstance(cell, bool) or missing(cell):
        return None
    try:
        number = float(cell) if not isinstance(cell, int) else cell
        return int(number) if number == math.floor(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _plain_numbers(cells: Iterable[Any]) -> bool:
    for cell in cells:
        if isinstance(cell, bool):
            return False
        try:
            float(cell)
        except (TypeError, ValueError, OverflowError):
            return False
    return True


def _figures(cells: Iterable[Any]) -> bool:
    """Whether nearly all cells are numbers, however they are written."""
    told = [cell for cell in cells if not missing(cell)]
    good = sum(not isinstance(cell, str) or is_figure(cell) for cell in told)
    return bool(told) and good >= 0.8 * len(told)


def _is_unit(cell: str) -> bool:
    from campaign.reading.units import parse_unit

    return parse_unit(cell) is not None


def _alike(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6)
