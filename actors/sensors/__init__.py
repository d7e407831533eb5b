"""Sensors: what a unit can be asked. One protocol: probe once, read often; each says what it cannot read."""

from __future__ import annotations

from typing import Any, Protocol

Value = float | int | str | list[float | None] | None


class Sensor(Protocol):
    name: str
    fields: tuple[str, ...]
    """Columns of the sample schema that it fills."""

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
