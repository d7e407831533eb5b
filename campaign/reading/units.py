"""Units of measure: how people write them, what they measure, and exact conversion within a dimension.

``MB`` is 10^6 bytes and ``MiB`` 2^20, as written. Forms that mean two things (``mw``: milliwatt or megawatt) are in no
table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from campaign.reading.errors import TableError, nearest


@dataclass(frozen=True)
class Unit:
    """``factor`` takes a figure to the first unit of its dimension in :data:`_MEASURES`."""

    name: str
    dimension: str
    factor: Fraction


_MEASURES: dict[str, dict[str, Fraction]] = {
    "time": {
        "ms": Fraction(1), "ns": Fraction(1, 10**6), "µs": Fraction(1, 10**3), "s": Fraction(10**3),
        "min": Fraction(60_000), "h": Fraction(3_600_000),
    },
    "memory": {
        "GiB": Fraction(1), "B": Fraction(1, 2**30), "KiB": Fraction(1, 2**20), "MiB": Fraction(1, 2**10),
        "TiB": Fraction(2**10),
        "kB": Fraction(10**3, 2**30), "MB": Fraction(10**6, 2**30), "GB": Fraction(10**9, 2**30),
        "TB": Fraction(10**12, 2**30),
    },
    "token rate": {"tok/s": Fraction(1)},
    "request rate": {"req/s": Fraction(1)},
    "power": {"W": Fraction(1), "mW": Fraction(1, 1000), "kW": Fraction(1000)},
    "energy": {"J": Fraction(1), "mJ": Fraction(1, 1000), "kJ": Fraction(1000), "MJ": Fraction(10**6),
    "Wh": Fraction(3600)},
    "percentage": {"%": Fraction(1)},
    "temperature": {"°C": Fraction(1)},
    "bandwidth": {"GB/s": Fraction(1), "MB/s": Fraction(1, 1000), "TB/s": Fraction(1000),
    "GiB/s": Fraction(2**30, 10**9), "MiB/s": Fraction(2**20, 10**9)},
    "frequency": {"MHz": Fraction(1), "GHz": Fraction(1000), "Hz": Fraction(1, 10**6)},
}  # fmt: skip
UNITS = {
    name: Unit(name, dimension, factor) for dimension, found in _MEASURES.items() for name, factor in found.items()
}

_SECONDS = ("s", "sec", "second")
_TOKENS = ("tok", "toks", "token", "tokens", "t")
_REQUESTS = ("req", "reqs", "request", "requests", "query", "queries")
_FORMS: dict[str, str] = {
    **{f"{a}{per}{s}": "tok/s" for a, per,
    s in product(_TOKENS, ("_per_", "_", "p"), _SECONDS) if a != "t" or per == "_per_"},
    **{f"{a}{per}{s}": "req/s" for a, per, s in product(_REQUESTS, ("_per_", "_"), _SECONDS)},
    "tps": "tok/s", "rps": "req/s", "qps": "req/s",
    "ns": "ns", "nanoseconds": "ns", "us": "µs", "usec": "µs", "microseconds": "µs", "ms": "ms", "msec": "ms",
    "msecs": "ms",
    "millisecond": "ms", "milliseconds": "ms", "millis": "ms", "s": "s", "sec": "s", "secs": "s", "second": "s",
    "seconds": "s",
    "bytes": "B", "kib": "KiB", "mib": "MiB", "gib": "GiB", "tib": "TiB", "kb": "kB", "mb": "MB", "gb": "GB",
    "tb": "TB",
    "w": "W", "watt": "W", "watts": "W", "milliwatts": "mW", "kw": "kW", "kilowatts": "kW",
    "j": "J", "joule": "J", "joules": "J", "kj": "kJ", "wh": "Wh", "millijoules": "mJ", "megajoules": "MJ",
    "pct": "%", "percent": "%", "percentage": "%", "c": "°C", "celsius": "°C", "degc": "°C",
    "gb_s": "GB/s", "gb_per_s": "GB/s", "gbps": "GB/s", "mb_s": "MB/s", "mb_per_s": "MB/s", "tb_s": "TB/s",
    "tb_per_s": "TB/s",
    "gib_s": "GiB/s", "gib_per_s": "GiB/s", "mib_s": "MiB/s", "mib_per_s": "MiB/s",
    "hz": "Hz", "mhz": "MHz", "ghz": "GHz",
}  # fmt: skip
del _FORMS["gbps"]  # bits or bytes
_ONLY_WRITTEN_OUT = {
    "min": "min",
    "minutes": "min",
    "h": "h",
    "hours": "h",
    "%": "%",
    "b": "B",
    "byte": "B",
    "°c": "°C",
    "deg_c": "°C",
    "t_s": "tok/s",
}
"""Where it stands alone as a unit; at the end of a name ``_min`` is a minimum and ``_b`` a size."""
_EXACT = {"mW": "mW", "mJ": "mJ", "MJ": "MJ", "kW": "kW", "kJ": "kJ", "Wh": "Wh"}
"""Where case decides."""


def parse_unit(text: str) -> Unit | None:
    """A unit as people write it (``tok/s``, ``tokens/sec``, ``MiB``, ``ms``),
    or None for what is no unit that we know."""
    text = text.strip().replace("μ", "µ")
    if text in _EXACT:
        return UNITS[_EXACT[text]]
    if text in UNITS:
        return UNITS[text]
    form = re.sub(r"\s*/\s*", "_per_", text.lower().replace("µ", "u"))
    form = re.sub(r"[\s._-]+", "_", form).strip("_")
    name = _FORMS.get(form) or _ONLY_WRITTEN_OUT.get(form)
    return UNITS[name] if name else None


def unit_at_end(name: str) -> tuple[str, Unit | None]:
    """A name in snake case without the unit at its end, and that unit: the longest ending that is one."""
    parts = name.split("_")
    for length in range(min(len(parts), 4), 0, -1):
        rest, ending = "_".join(parts[:-length]), "_".join(parts[-length:])
        found = _FORMS.get(ending)
        if rest.endswith("_per") or rest == "per":
            return name, None  # a rate of something that is not known
        if found is None or (found == "°C" and "temp" not in rest) or (ending in ("s", "c", "w", "j") and not rest):
            continue
        return rest, UNITS[found]
    return name, None


def asked_unit(column: str, text: str) -> Unit:
    """The unit that a person gave for a column. Raises TableError with what there is."""
    found = parse_unit(text)
    if found is None:
        raise TableError(f"--unit {column}={text}: {text!r} is not a unit that is known here. {nearest(text, UNITS)}")
    return found


def factor(given: Unit, wanted: Unit) -> float | None:
    """What takes a figure from one unit to another, correctly rounded; None between dimensions."""
    if given.dimension != wanted.dimension:
        return None
    return float(given.factor / wanted.factor)


def of_metric(name: str) -> Unit | None:
    """The unit that a metric of this project states at the end of its name (``latency_mean_ms``)."""
    return unit_at_end(name)[1]
