"""What a person says about a table that the table does not say itself:
the options of ``campaign analyze`` and ``campaign import``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from campaign.reading.columns import FACTORS, HELD, SETTINGS, WEIGHTS
from campaign.reading.errors import TableError, nearest
from campaign.reading.numbers import Mark
from campaign.reading.times import DayOrder
from campaign.reading.units import of_metric

CONDITION, IGNORE = "condition", "ignore"
CONSTANTS = ("model", "environment", "workload", "engine", "unit", "phase", "model_identity")


@dataclass(frozen=True)
class Asked:
    """``columns`` maps a column to what it is, ``units`` to its unit; ``constants`` are (files, name, value),
    ``files`` a pattern."""

    columns: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    constants: tuple[tuple[str, str, str], ...] = ()
    statuses: Mapping[str, Literal["ok", "failed"]] = field(default_factory=dict)
    better: Mapping[str, Literal["higher", "lower"] | None] = field(default_factory=dict)
    """Metric, or column, to the way that is better (None: neither),
    which goes before the project's own table of metrics."""
    decimal: Mark | None = None
    dates: DayOrder | None = None

    def constants_of(self, path: Path) -> dict[str, str]:
        """What is set for a file; a pattern with a name of its own wins over ``*``."""
        out: dict[str, str] = {}
        for pattern, name, value in sorted(self.constants, key=lambda constant: constant[0] != "*"):
            if pattern == "*" or fnmatch(path.name, pattern) or fnmatch(str(path), pattern):
                out[name] = value
        return out


def asked(
    *,
    columns: Iterable[str] = (),
    units: Iterable[str] = (),
    constants: Iterable[str] = (),
    statuses: Iterable[str] = (),
    better: Iterable[str] = (),
    decimal: str | None = None,
    dates: str | None = None,
) -> Asked:
    """From the words of the command line, checked as far as they can be without the table.
    Raises :class:`TableError`."""
    meant = dict(
        _pair("--column", text, "NAME=MEANING, as in --column Throughput=token_throughput_tok_s") for text in columns
    )
    for name, meaning in meant.items():
        check_meaning(name, meaning)
    words: dict[str, Literal["ok", "failed"]] = {}
    for text in statuses:
        word, outcome = _pair("--status", text, "WORD=ok or WORD=failed", empty=True)
        if outcome not in ("ok", "failed"):
            raise TableError(f"--status {text}: say WORD=ok or WORD=failed")
        words[word.strip().casefold()] = outcome  # type: ignore[assignment]
    ways: dict[str, Literal["higher", "lower"] | None] = {}
    for text in better:
        name, way = _pair("--better", text, "NAME=higher, NAME=lower or NAME=neither")
        if way not in ("higher", "lower", "neither"):
            raise TableError(f"--better {text}: say NAME=higher, NAME=lower or NAME=neither")
        ways[name] = None if way == "neither" else way  # type: ignore[assignment]
    if decimal not in (None, "point", "comma"):
        raise TableError(f"--decimal {decimal}: say point or comma")
    if dates not in (None, "day-first", "month-first"):
        raise TableError(f"--dates {dates}: say day-first or month-first")
    return Asked(
        meant,
        dict(_pair("--unit", text, "NAME=UNIT, as in --unit latency=s") for text in units),
        tuple(_constant(text) for text in constants),
        words,
        ways,
        decimal,  # type: ignore[arg-type]
        dates,  # type: ignore[arg-type]
    )


def check_meaning(name: str, meaning: str) -> None:
    """Raises where a column is to be something that there is not."""
    known = [*FACTORS, CONDITION, IGNORE, *HELD, *WEIGHTS]
    if meaning not in known and of_metric(meaning) is None:
        raise TableError(
            f"--column {name}={meaning}: {meaning!r} is neither something that a run has ({', '.join(known[:6])}, "
            f"…), nor {CONDITION}, nor {IGNORE}, nor a metric that ends with its unit (token_throughput_tok_s). "
            f"{nearest(meaning, known)}"
        )


def _pair(option: str, text: str, form: str, *, empty: bool = False) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals or not value.strip() or (not name.strip() and not empty):
        raise TableError(f"{option} {text}: write {form}")
    return name.strip(), value.strip()


def _constant(text: str) -> tuple[str, str, str]:
    """``NAME=VALUE``, or ``PATTERN:NAME=VALUE`` for the files that match."""
    before, equals, value = text.partition("=")
    pattern, colon, name = before.rpartition(":")
    name = name.strip()
    if not equals or not value.strip() or not name or (colon and not pattern):
        raise TableError(
            f"--set {text}: write NAME=VALUE, as in --set environment=native, or FILES:NAME=VALUE, as in --set "
            "'native*.json:environment=native'"
        )
    if name not in CONSTANTS and name not in SETTINGS:
        raise TableError(f"--set {text}: {name!r} cannot be set. {nearest(name, CONSTANTS)}")
    return pattern if colon else "*", name, value.strip()
