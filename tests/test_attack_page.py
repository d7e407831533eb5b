"""The page of what was tried names tests that exist, and its sums are those of its tables."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PAGE = (PROJECT / "docs" / "attack.md").read_text()


def rows(part: str) -> list[list[str]]:
    """Of the table below a heading: its cells, without the heading row."""
    text = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_test_that_it_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 60
    missing = [
        f"{file}::{function}"
        for file, function in named
        if not (PROJECT / file).is_file() or (function and f"def {function}(" not in (PROJECT / file).read_text())
    ]
    assert missing == []


def test_its_sums_are_those_of_its_tables() -> None:
    for part in ("Faults", "Engines", "Hostile input", "Exposure", "Units"):
        found = rows(part)
        then = sum(row[1].startswith("held") for row in found)
        tested = sum(row[3] != "`hand`" for row in found)
        assert all(len(row) == 4 for row in found)
        lies = sum("out of reach" in row[2] for row in found)
        line = (
            f"({part.lower().replace(' ', '-').join(['#', ')'])} | {len(found)} | {then} | "
            f"{len(found) - lies} | {tested} |"
        )
        assert line in PAGE, line
