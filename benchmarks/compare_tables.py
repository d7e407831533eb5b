"""Do two versions of the code compute the same figures from the same results? Compares the tables that each wrote,
to the digit.

    python -m benchmarks compare_tables keep OUT [FOLDER …]       what this code computes, kept below OUT
    python -m benchmarks compare_tables compare BEFORE AFTER      the tables of two such folders,
    or of any two folders with tables

``keep`` takes the examples (``examples/phase1`` imported, ``examples/h100-vllm`` unpacked) and every results folder
given, analyses a copy of each from nothing, and keeps ``analysis/*.parquet`` and the answers of the views in ``VIEWS``
as Parquet. Run it in a checkout of each version.

``compare`` names every file that only one of them has; of a table both have, the columns that only one has, and in the
others each value that differs. Rows are paired by their words and whole numbers, because DuckDB writes those of a view
as its threads come by. Figures are the same to the bit, or to one part in 10^10 where threads add up in another order;
how many those are is told. Columns of words are told apart from columns of figures, since a sentence may change where
no figure does. Exit status 1 where a figure differs, or a row, a column or a table of the first is missing.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from rich.table import Table

from benchmarks.campaigns import PROJECT, BenchmarkFailed, console

VIEWS = (
    "campaign",
    "metric_facts",
    "contrasts",
    "descriptives",
    "sampling",
    "telemetry_summary",
    "metrics",
    "observations",
    "run_metrics",
)
"""Views whose answers are kept beside the analysis: what the statistics start from, and what a report reads besides."""

SETTINGS = {"campaign": "SELECT reference, simulated, seed FROM campaign"}
"""Of a view that holds when and with which code a folder was made, what is no such thing."""


@dataclass(frozen=True)
class Difference:
    """What is not the same in one column of one table. ``figures`` is whether the column holds numbers."""

    table: str
    column: str
    what: str
    figures: bool = True
    fatal: bool = True
    """Whether something of the first version is gone or is another figure: a new column is not, nor are other words."""


# --- what one version computes -------------------------------------------------------------------------------


def keep(out: Path, folders: list[Path]) -> None:
    """The tables of the examples and of ``folders`` as this code computes them, each below ``out`` by its name."""
    if out.exists() and any(out.iterdir()):
        raise BenchmarkFailed(f"{out} is not empty. Give a new folder.")
    with tempfile.TemporaryDirectory() as scratch:
        for folder in [*_examples(Path(scratch)), *(_copied(folder, Path(scratch)) for folder in folders)]:
            analyse(folder, out / folder.name)
            console().print(f"{folder.name}: {sum(1 for _ in (out / folder.name).rglob('*.parquet'))} tables")


def _examples(scratch: Path) -> Iterator[Path]:
    from campaign.exchange.imports import import_runs

    yield import_runs(
        PROJECT / "examples/phase1/phase1_results.json", scratch / "phase1", gpu="NVIDIA GB10", batch_size=8
    )
    archive = PROJECT / "examples/h100-vllm/results.tar.zst"
    unpacked = scratch / "h100-vllm"
    unpacked.mkdir()
    subprocess.run(f"zstd -dc '{archive}' | tar x -C '{unpacked}'", shell=True, check=True)
    yield from sorted(place.parent for place in unpacked.glob("*/campaign.json"))


def _copied(folder: Path, scratch: Path) -> Path:
    return Path(shutil.copytree(folder, scratch / "given" / folder.name))


def analyse(folder: Path, out: Path) -> None:
    """The analysis of a results folder from nothing, and the answers of :data:`VIEWS`, below ``out``."""
    from campaign.analysis import cache

    shutil.rmtree(folder / "analysis", ignore_errors=True)
    con = cache.connect(folder)
    shutil.copytree(folder / "analysis", out / "analysis", ignore=shutil.ignore_patterns("*.json"))
    (out / "views").mkdir()
    for name in VIEWS:
        found = con.sql(f"SELECT * FROM ({SETTINGS.get(name, f'FROM {name}')}) ORDER BY ALL").to_arrow_table()
        parquet.write_table(found, out / "views" / f"{name}.parquet")
    con.close()


# --- two of them ---------------------------------------------------------------------------------------------


LAST_BITS, NOTHING = 1e-10, 1e-12
"""Relative difference of what comes of two sums of the same numbers in another order,
and what such a sum leaves of zero."""


@dataclass
class Counts:
    """What was compared, and how many figures are the same but for the last bits."""

    tables: int = 0
    values: int = 0
    last_bits: int = 0


def compare(before: Path, after: Path) -> tuple[list[Difference], Counts]:
    """Everything that differs."""
    counts = Counts()
    names = [{str(path.relative_to(side)) for path in side.rglob("*.parquet")} for side in (before, after)]
    found = [Difference(name, "", "table is gone") for name in sorted(names[0] - names[1])]
    found += [Difference(name, "", "table is new", fatal=False) for name in sorted(names[1] - names[0])]
    for name in sorted(names[0] & names[1]):
        a, b = (parquet.read_table(side / name) for side in (before, after))
        counts.tables += 1
        found += of_tables(name, a, b, counts)
    return found, counts


def of_tables(name: str, a: pa.Table, b: pa.Table, counts: Counts) -> Iterator[Difference]:
    """What differs between two tables of one name."""
    for column in a.column_names:
        if column not in b.column_names:
            yield Difference(name, column, "column is gone")
    for column in b.column_names:
        if column not in a.column_names:
            yield Difference(name, column, "column is new", fatal=False)
    if a.num_rows != b.num_rows:
        yield Difference(name, "", f"{a.num_rows} rows, then {b.num_rows}")
        return
    both = [column for column in a.column_names if column in b.column_names]
    one, other = in_order(a.select(both)), in_order(b.select(both))
    counts.values += len(one) * len(both)
    for at, column in enumerate(both):
        kind = a[column].type
        figures = not (pa.types.is_string(kind) or pa.types.is_list(kind))
        pairs = [(row[at], its[at]) for row, its in zip(one, other, strict=True)]
        unlike = [pair for pair in pairs if not same(*pair)]
        near = [
            pair
            for pair in unlike
            if all(isinstance(x, float) for x in pair) and math.isclose(*pair, rel_tol=LAST_BITS, abs_tol=NOTHING)
        ]
        counts.last_bits += len(near)
        if len(unlike) > len(near):
            x, y = next(pair for pair in unlike if pair not in near)
            what = f"{len(unlike) - len(near)} of {len(pairs)} differ, first {x!r}, then {y!r}"
            yield Difference(name, column, what, figures, fatal=figures)


def in_order(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows, by their words and whole numbers, then by their figures to nine digits."""
    floats = [pa.types.is_floating(kind) for kind in table.schema.types]
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def key(row: tuple[Any, ...]) -> tuple[list[str], list[str]]:
        exact = [
            repr(value)
            for value, is_float in zip(row, floats, strict=True)
            if not is_float and not isinstance(value, bool)
        ]
        return exact, [
            f"{value:.9e}" for value, is_float in zip(row, floats, strict=True) if is_float and value is not None
        ]

    return sorted(rows, key=key)


def same(x: Any, y: Any) -> bool:
    """The same value of the same type; two NaN are the same."""
    if isinstance(x, float) and isinstance(y, float):
        return x.hex() == y.hex()
    if isinstance(x, list) and isinstance(y, list):
        return len(x) == len(y) and all(map(same, x, y))
    if isinstance(x, dict) and isinstance(y, dict):
        return x.keys() == y.keys() and all(same(value, y[key]) for key, value in x.items())
    return type(x) is type(y) and bool(x == y)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("keep")
    one.add_argument("out", type=Path)
    one.add_argument("folders", type=Path, nargs="*")
    two = verbs.add_parser("compare")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    asked = parser.parse_args()
    if asked.verb == "keep":
        keep(asked.out, asked.folders)
        return 0
    for side in (asked.before, asked.after):
        if not any(side.rglob("*.parquet")):
            raise BenchmarkFailed(f"{side} holds no table. Make one with `compare_tables keep`.")
    found, counts = compare(asked.before, asked.after)
    shown = Table("table", "column", "", "what")
    for it in found:
        kind = "" if not it.fatal and it.figures else "figures" if it.figures else "words"
        shown.add_row(it.table, it.column, kind, it.what[:300])
    if found:
        console().print(shown)
    wrong = sum(it.fatal for it in found)
    console().print(
        f"{counts.tables} tables, {counts.values} values: {wrong} columns of figures differ or are gone; "
        f"{counts.last_bits} figures differ in their last bits alone"
    )
    return 1 if wrong else 0
