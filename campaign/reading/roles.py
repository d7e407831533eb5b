"""What each column of a table is: a factor, a setting, a condition, a figure, or left out, with the words why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from campaign.reading.asked import CONDITION, IGNORE, Asked, check_meaning
from campaign.reading.cells import checked_name, figures, label, plain_numbers, shown_name
from campaign.reading.columns import (
    DESCRIPTIONS,
    DISAGREES,
    FACTORS,
    HELD,
    SETTINGS,
    WEIGHTS,
    Metric,
    factor_of,
    metric_of,
    snake,
)
from campaign.reading.errors import TableError, listed, nearest, shown
from campaign.reading.numbers import AmbiguousNumber, NotNumbers, Numbers, decimal_mark, numbers
from campaign.reading.source import Source
from campaign.reading.units import Unit, asked_unit, factor, of_metric, parse_unit
from campaign.reading.words import folded, missing, outcome

Role = Literal["factor", "metric", "setting", "condition", "left out", "set"]

NAMES = ("model", "environment", "workload", "unit", "phase", "engine")
"""Factors that are names: trimmed, printable, spelt in one way."""
LONGEST_NAME = 200
MOST_WHOLE = 2**31 - 1
_STATES = "start_"
_LOOSE_STATUS = frozenset({"result", "success", "succeeded", "passed", "ok"})
_SUFFIX = {
    "tok/s": "tok_s", "req/s": "req_s", "%": "pct", "°C": "c", "µs": "us", "GB/s": "gb_s", "MB/s": "mb_s",
    "TB/s": "tb_s", "GiB/s": "gib_s", "MiB/s": "mib_s",
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


@dataclass
class Figure:
    column: str
    name: str
    unit: Unit | None
    numbers: Numbers
    scale: float


class Roles:
    """Every column's role, found when it is made. Raises :class:`TableError` where something is to be asked."""

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
        self.figures: dict[str, Figure] = {}
        self.held: list[str] = []
        self.states: dict[str, list[float]] = {}
        self.doubts: list[str] = []
        """Questions about columns that might be figures."""
        self.commas = next(
            (
                seen["comma"]
                for cells in self.cells.values()
                if "comma" in (seen := decimal_mark(cells)[1]) and figures(cells)
            ),
            None,
        )
        """A cell that shows decimal commas in the files."""

        # --- roles ---------------------------------------------------------------------------------------------------

        self.columns = {self._column("--column", name): meaning for name, meaning in asked.columns.items()}
        self.units = {self._column("--unit", name): asked_unit(name, text) for name, text in asked.units.items()}
        for name, meaning in self.columns.items():
            check_meaning(name, meaning)
        self._assign_factors()
        for column in self.cells:
            if column not in self.fates:
                self._assign(column)
        for column, what in source.untold.items():
            self.leave(column, what)
        self._needed()

    def _column(self, option: str, name: str) -> str:
        """The table's own spelling of a column that was named."""
        have = {column.strip().casefold(): column for column in self.cells}
        if name in self.cells:
            return name
        found = have.get(name.strip().casefold())
        if found is None:
            raise TableError(f"{option} {name}=…: there is no column {name!r}. {nearest(name, [*self.cells])}")
        return found

    def fate(self, column: str, role: Role, name: str | None, unit: Unit | None = None, said: str = "") -> None:
        self.fates[column] = Fate(
            column, role, name, unit.name if unit else None, said.replace("NAME", shown_name(column))
        )

    def leave(self, column: str, why: str) -> None:
        self.fate(column, "left out", None, None, why)

    def _assign_factors(self) -> None:
        taken = self._take_meant_factors()
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
                    f"--set {meaning}=…: the table says it itself, in its column {column!r}; leave one of the two "
                    f"out (--column {column}=ignore)"
                )
            self.fate(column, "factor", meaning)
        for name, values in self.constants.items():
            self.fate(
                f"--set {name}", "set", name, None, f"the same for every row of a file: {listed(dict.fromkeys(values))}"
            )

    def _take_meant_factors(self) -> set[str]:
        """The factors that were asked for, or that a program's table is known to have; returns the columns of which it
        is settled what they are."""
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
        return set(self.factors.values()) | set(meanings) | set(self.columns)

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
                told and plain_numbers(told)
            )
        if meaning == "unit":
            return not (told and all(isinstance(cell, str) and parse_unit(cell) is not None for cell in told))
        if meaning in ("parameters", "order_in_block", "sequence_index", "campaign_index"):
            return plain_numbers(told)
        return bool(told) or meaning in ("model", "environment", "repetition")

    def _assign(self, column: str) -> None:
        meaning = self.columns.get(column) or (self.known.meanings.get(column) if self.known else None)
        if meaning is not None:
            self._assign_meant(column, meaning)
        elif column in (*HELD, *WEIGHTS):
            self._hold(column, column)
        else:
            self._assign_by_name(column)

    def _assign_meant(self, column: str, meaning: str) -> None:
        """A column of which somebody said what it is: the user, or who knows the program that wrote the table."""
        if meaning == IGNORE:
            of_known = f"of {self.known.title}, no figure of a run" if self.known else ""
            self.leave(column, "as asked" if self.columns.get(column) else of_known)
        elif meaning == CONDITION:
            self.conditions.append(column)
            self.fate(column, "condition", column, None, "runs under different values are kept apart")
        elif meaning in HELD or meaning in WEIGHTS:
            self._hold(column, meaning)
        elif meaning in FACTORS:
            self.leave(column, f"{meaning} is taken from {self.factors[meaning]!r}")
        else:
            self._figure(column, meaning)

    def _hold(self, column: str, name: str) -> None:
        self.held.append(column)
        self.fate(column, "setting", name, None, "must not differ inside a comparison")

    def _assign_by_name(self, column: str) -> None:
        text = snake(column)[0]
        if self.known and column in self.known.settings:
            self._setting(column)
        elif all(missing(cell) for cell in self.cells[column]):
            self.leave(column, "empty in every row")
        elif (
            column not in self.units
            and (second := factor_of(column)) is not None
            and second in self.factors
            and text not in SETTINGS
        ):
            self.leave(column, f"{second} is taken from {self.factors[second]!r}")
        elif column not in self.units and text in SETTINGS:
            self._setting(column)
        elif column not in self.units and (text in DESCRIPTIONS or text.startswith(("unnamed", "key_", "index_level"))):
            what = (
                "a key on the way to the runs"
                if text.startswith("key_")
                else "describes the row: neither a condition nor a figure to compare"
            )
            self.leave(column, f"{what}; otherwise --column {shown_name(column)}=MEANING")
        elif text.startswith(_STATES) and plain_numbers([c for c in self.cells[column] if not missing(c)]):
            self.states[column] = self.read(column).values
            self.fate(
                column,
                "setting",
                column,
                None,
                "the state before the run: a covariate of campaign analyze; not kept by campaign import",
            )
        elif text.endswith(("_utc_ns", "_mono_ns", "_utc")):
            self.leave(column, "a time, not a figure")
        else:
            self._unknown(column)

    def _setting(self, column: str) -> None:
        self.settings.append(column)
        values = list(dict.fromkeys(label(cell) for cell in self.cells[column]))
        self.fate(column, "setting", column, None, f"never compared: {listed(values, 5)}")

    def _unknown(self, column: str) -> None:
        """A column whose name is no factor's and no setting's: a figure, if its cells and its name say so."""
        cells = self.cells[column]
        told = [cell for cell in cells if not missing(cell)]
        if all(isinstance(cell, bool) for cell in told):
            self.leave(
                column, f"yes or no, not a figure; --column {shown_name(column)}=condition keeps runs apart by it"
            )
            return
        metric = metric_of(column, self.units.get(column))
        if column in self.units and metric.said.startswith(DISAGREES):
            raise TableError(f"column {column!r}: {metric.said.replace('NAME', shown_name(column))}")
        if metric.meaning is not None and metric.unit is not None and not self.everything:
            self._figure(column, metric.meaning, said=metric.said)
            return
        found = self._read_unknown(column, metric)
        if found is None:
            return
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
            self.doubts.append(f"{column}: {what.replace('NAME', shown_name(column))}")
            self.leave(column, what)
        else:
            self._own(column, unit, found)

    def _read_unknown(self, column: str, metric: Metric) -> Numbers | None:
        """Its numbers; None where it has none and is left out. Raises TableError where what its name says is at odds
        with its cells."""
        try:
            return self.read(column)
        except AmbiguousNumber as error:
            if self.everything or metric.said:
                raise TableError(f"column {column!r}: {error}; or --column {shown_name(column)}=ignore") from None
            self.leave(column, f"no metric that is known here, and its numbers can be read in two ways: {error}")
            return None
        except NotNumbers as error:
            if error.share >= 0.5 or (error.share and metric.said) or (metric.meaning and metric.unit):
                raise TableError(self.bad_cell(column, error)) from None
            self.leave(
                column,
                f"text, and nothing that is known here; --column {shown_name(column)}=condition keeps runs apart by it",
            )
            return None
        except TableError as error:
            raise TableError(f"column {column!r}: {error}") from None

    def _own(self, column: str, unit: Unit | None, found: Numbers) -> None:
        """A figure under its own name, not converted: of ``analyze`` the table's,
        of ``import`` one that SQL can spell."""
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
            self.leave(column, f"another column is {name} already")
            return
        self.figures[name] = Figure(column, name, unit, found, 1.0)
        self.fate(column, "metric", name, unit, words)

    def _figure(self, column: str, meaning: str, *, said: str = "") -> None:
        """A column that is a metric of this project, converted to its unit."""
        try:
            found = self.read(column)
        except NotNumbers as error:
            raise TableError(self.bad_cell(column, error)) from None
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
                f"column {column!r} is in {told.name} ({told.dimension}), and {meaning} is in {wanted.name} "
                f"({wanted.dimension}): say another with --column or --unit"
            )
        if meaning in self.figures:
            other = self.figures[meaning]
            same = all(
                _alike(a * scale, b * other.scale) for a, b in zip(found.values, other.numbers.values, strict=True)
            )
            if not same:
                raise TableError(
                    f"columns {other.column!r} and {column!r} are both {meaning} and differ: say --column "
                    f"{other.column}=ignore or --column {column}=ignore"
                )
            self.leave(column, f"{meaning} is taken from {other.column!r}, which says the same")
            return
        self.figures[meaning] = Figure(column, meaning, told or wanted, found, scale)
        converted = f"times {scale:g} to {wanted.name}" if scale != 1 else ""
        self.fate(column, "metric", meaning, told or wanted, "; ".join(part for part in (converted, said) if part))

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
                f"column {column!r}: {said} (req/s and tok/s, ms and s are different things): "
                "leave one out or correct it"
            )
        return next(iter(units.values()), None)

    def read(self, column: str) -> Numbers:
        """A column's numbers. Where the files write decimal commas, a column of nothing but ``1.234`` is asked for."""
        cells = self.cells[column]
        if self.commas is not None and self.asked.decimal is None and not decimal_mark(cells)[1]:
            odd = next(
                (
                    cell
                    for cell in cells
                    if isinstance(cell, str) and cell.count(".") == 1 and "," not in cell and figures([cell])
                ),
                None,
            )
            if odd is not None:
                raise AmbiguousNumber(
                    f"{shown(odd)} can be read as {odd.strip()} and as {odd.strip().replace('.', '')}: elsewhere the "
                    f"comma stands before decimals ({shown(self.commas)}); say --decimal comma or --decimal point"
                )
        return numbers(cells, self.asked.decimal)

    def bad_cell(self, column: str, error: NotNumbers) -> str:
        if error.value is None:
            return f"column {column!r}: {error.why}: write all its numbers alike"
        return (
            f"column {column!r} holds {shown(error.value)} in {self.source.places[error.row]} among numbers, which "
            f"{error.why}: leave a missing value empty, correct it, or --column {shown_name(column)}=ignore"
        )

    def _needed(self) -> None:
        for name in ("model", "environment"):
            if name not in self.factors and name not in self.constants:
                few = [
                    column
                    for column, cells in self.cells.items()
                    if column not in self.factors.values()
                    and 2 <= len({label(cell) for cell in cells if not missing(cell)}) <= 8
                    and not plain_numbers([c for c in cells if not missing(c)])
                ]
                which = f" If a column says it, --column {shown_name(few[0])}={name}" if few else ""
                raise TableError(
                    f"no column for {name!r} (found: {listed(self.cells)}). Where all runs have one, give it as a "
                    f"constant: --set {name}={'native' if name == 'environment' else 'MODEL'}.{which}"
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


def _alike(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6)
