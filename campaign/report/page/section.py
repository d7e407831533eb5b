"""A section of the page: a file of its own in ``sections/``, with a template of its own where tables alone do not do.

A new one is a module that holds a :class:`Section`, and its line in ``sections/__init__.py``. Contents list, links,
sorting, filtering, "SQL behind this" and print come with the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.report.page.links import Links
from campaign.report.page.table import Table, filled

if TYPE_CHECKING:
    import duckdb

    from campaign.plan.registration import Stated
    from campaign.report import wording


@dataclass(frozen=True)
class Material:
    """What sections are made of."""

    con: duckdb.DuckDBPyConnection
    """With the analysis up to date; ``plausibility`` is a table, because several sections ask for it."""
    results: Path
    rows: Sequence[wording.Row]
    """The headline comparisons, in the order of printing."""
    campaign: dict[str, Any]
    """The row of the view ``campaign``; empty where campaign.json cannot be read."""
    counts: dict[str, Any]
    heads: dict[str, str]
    """Head of the journal, digest of the manifest."""
    registered: Stated | None
    links: Links

    @property
    def reference(self) -> str:
        return str(self.campaign.get("reference") or "the reference")

    @property
    def finished(self) -> bool:
        done = sum(self.counts[name] for name in ("valid", "exhausted", "left_out", "spared"))
        return bool(self.counts["planned"]) and done == self.counts["planned"]

    def filled(self, tables: Sequence[Table]) -> list[Table]:
        return [filled(self.con, table, self.links) for table in tables]


Built = dict[str, Any]
"""What a template is given. ``places``: pairs of id and title for the contents list, below the section itself."""


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    build: Callable[[Material], Built | None]
    """None where the section has nothing to say of this campaign."""
    template: str = "tables.html.j2"
    wide: bool = False
    """Printed on pages in landscape, because its tables have many columns."""


def of_tables(id: str, title: str, tables: Sequence[Table], *, note: str = "", wide: bool = False) -> Section:
    """A section that is a sequence of tables."""

    def build(of: Material) -> Built:
        return tabled(of, tables) | {"note": note}

    return Section(id, title, build, wide=wide)


def tabled(of: Material, tables: Sequence[Table]) -> Built:
    """``tables`` with their rows, and their places for the contents list."""
    return {"note": "", "tables": of.filled(tables), "places": [(table.id, table.title) for table in tables]}
