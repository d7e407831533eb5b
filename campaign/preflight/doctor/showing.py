"""The list as a person reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from campaign.preflight.doctor.finding import Check

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def show(out: Console, found: Iterable[Check]) -> int:
    """Prints each check as it is made, and how many there were. Returns how many failed.
    Reads the same without colour."""
    from rich.table import Table
    from rich.text import Text

    count = {"ok": 0, "warn": 0, "fail": 0}
    for check in found:
        count[check.status] += 1
        row = Table.grid(padding=(0, 2))
        row.add_column(width=4)
        row.add_column(width=22, overflow="fold")
        row.add_column(overflow="fold")
        row.add_row(Text(check.status, STYLES[check.status]), Text(check.name), Text(check.found))
        for line in check.remedy.splitlines():
            row.add_row("", "", Text(f"-> {line}", "dim"))
        out.print(row)
    out.print(
        f"\n{sum(count.values())} checks: {count['ok']} ok, {count['warn']} to think about, {count['fail']} failed"
    )
    return count["fail"]
