"""A file's columns as cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from campaign.reading.errors import TableError, listed
from campaign.reading.known import Known

MOST_BYTES = 512 * 2**20
"""Of a file, packed or not."""


@dataclass(frozen=True)
class Source:
    """A file's columns, all of one length, as cells of text or of the file's own types.
    ``places`` says where each row stands."""

    columns: dict[str, list[Any]]
    places: list[str]
    kind: str
    """What was read, for the person."""
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """Rows that are no runs: place and why."""
    known: Known | None = None
    untold: dict[str, str] = field(default_factory=dict)
    """Columns that hold no cells (lists, objects), and what they hold."""

    def __len__(self) -> int:
        return len(self.places)


def distinct(names: list[str]) -> list[str]:
    """Column names, the empty ones named by their place. Raises for two of one name."""
    out = [name or f"unnamed {i}" for i, name in enumerate(names, 1)]
    twice = sorted({name for name in out if out.count(name) > 1})
    if twice:
        raise TableError(f"several columns are called {listed(map(repr, twice))}: give each its own name")
    return out
