"""Sensors: what a unit can be asked. One protocol: probe once, read often; each says what it cannot read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

Value = float | int | str | list[float | None] | None

Kind = Literal["number", "integer", "counter", "numbers"]
"""What a field of a sample is: a floating-point figure, a small whole number, a large one (counters, masks),
a list of figures."""


class Sensor(Protocol):
    name: str
    fields: Mapping[str, Kind]
    """Columns of a sample that it fills, in order. Parquet and SQL schema are made from it
    (:mod:`actors.telemetry.schema`)."""

    def probe(self) -> dict[str, str]:
        """Ask for each field once. Returns the fields that this unit cannot give, with the reason; they are
        never asked for again and stay NULL."""
        ...

    def read(self) -> dict[str, Value]:
        """One reading of the supported fields. Never raises; a field that fails once is None."""
        ...

    def describe(self) -> dict[str, Any]:
        """What is behind it (device names, driver versions, zones), for provenance."""
        ...

    def close(self) -> None: ...
