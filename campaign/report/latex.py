"""Tables of the article as LaTeX (booktabs, siunitx), Markdown and CSV, and a paragraph of methods written from what ran.

A value is printed to the digit of its standard error's second significant digit. A table is data first; its three forms
follow from it, so they cannot disagree. ``report/paper.tex`` takes all of them and the figures for print into an IEEE article
that compiles as it stands.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import evidence
from campaign.report.wording import HEADLINE, Row, by_contrast, present, verdict_word

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Column:
    """``kind``: ``text``, ``number`` (an S column), ``interval`` ([low, high]), ``key`` or ``long`` (wrapped, narrow and wide)."""

    title: str
    kind: str = "text"
    short: str = ""
    """What LaTeX puts above it, where the title is wider than the column."""


@dataclass(frozen=True)
class Table:
    """Cells are plain text, numbers with a point and an ASCII minus; None where there is no value."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | None, ...], ...]
    notes: str = ""
    breaks: bool = False
    """Whether it may run over several pages."""
    heads: int = 0
    """How many leading columns LaTeX prints as a line above the rows that share them."""


PREAMBLE = r"% Needs: \usepackage[T1]{fontenc}, \usepackage{textcomp,booktabs,longtable,siunitx}"


def write(results: Path) -> list[Path]:
    """Every table in three forms and ``methods.tex`` into ``<results>/report/tables/``, ``paper.tex`` above it; returns the files.

    Raises :class:`campaign.analysis.sql.ResultsError` where there is no campaign.
    """
    con = evidence.connect(results)
    report = results.resolve() / "report"
    (report / "tables").mkdir(parents=True, exist_ok=True)
    made = tables(con)
    texts = {f"tables/{table.name}.{ending}": form(table) for table in made for ending, form in FORMS.items()}
    texts |= {"tables/methods.tex": methods(con), "paper.tex": document(con, made, report / "print")}
    for name, text in texts.items():
        (report / name).write_text(text, encoding="utf-8")
    return [report / name for name in texts]


def tables(con: duckdb.DuckDBPyConnection) -> list[Table]:
    """Results in brief, all comparisons with their tests and effect sizes, configuration, provenance."""
    simulated = con.execute("SELECT coalesce(bool_or(simulated), false) FROM campaign").fetchall() == [(True,)]
    rows = evidence.rows(con)
    made = [
        brief(rows, _reference(con)),
        comparisons(rows),
        tests(rows),
        effects(rows),
        configuration(con),
        provenance(con),
    ]
    if not simulated:
        return made
    return [replace(t, caption=f"{t.caption} Simulated data: nothing in this table was measured.") for t in made]


# --- the tables ---------------------------------------------------------------------------------------------


def brief(rows: list[Row], reference: str) -> Table:
    """Throughput of both arms, and the headline change with its interval: one row per contrast."""
    rows = [row for group in by_contrast(rows) for row in group if row["metric"] == HEADLINE]
    several = len({row["reference"] for row in rows}) > 1
    columns = (
        *_cell_columns(rows),
        *([Column("Reference")] if several else []),
        Column("Treatment"),
        Column("n ref.", "number"),
        Column("Ref. (tok/s)", "number"),
        Column("n treat.", "number"),
        Column("Treat. (tok/s)", "number"),
        Column("Change (%)", "number"),
        Column("95 % CI (%)", "interval"),
        Column("Verdict"),
    )
    cells = tuple(
        (
            *_cell(row, rows),
            *([row["reference"]] if several else []),
            row["treatment"],
            str(row["n_reference"]),
            _mean(row, "reference"),
            str(row["n_treatment"]),
            _mean(row, "treatment"),
            _change(row),
            _interval(row["pct_low"], row["pct_high"], _pct_places(row)),
            verdict_word(row),
        )
        for row in rows
    )
    against = "" if several else f"; reference: {rows[0]['reference'] if rows else reference}"
    return Table("results", f"Mean output token throughput by model and arm{against}.", columns, cells, _notes(rows))


def comparisons(rows: list[Row]) -> Table:
    """Every contrast and metric: both arms, change, verdict."""
    columns = (
        *(
            Column(f"{what} {arm}", "number", f"{what} {arm[0].upper()}")
            for arm in ("reference", "treatment")
            for what in ("n", "mean", "SD")
        ),
        Column("Change (%)", "number"),
        Column("95 % CI (%)", "interval"),
        Column("Verdict"),
    )

    def cells(row: Row) -> tuple[str | None, ...]:
        return (
            str(row["n_reference"]),
            _mean(row, "reference"),
            _sd(row, "reference"),
            str(row["n_treatment"]),
            _mean(row, "treatment"),
            _sd(row, "treatment"),
            _change(row),
            _interval(row["pct_low"], row["pct_high"], _pct_places(row)),
            verdict_word(row),
        )

    return _by_contrast(
        "comparisons", "All comparisons.", columns, cells, rows, f"R: reference, T: treatment. {_notes(rows)}"
    )


def tests(rows: list[Row]) -> Table:
    """Every contrast and metric: the difference, each test's p, and the adjustments."""
    columns = (
        Column("Difference", "number"),
        Column("95 % CI", "interval"),
        Column("Rule"),
        Column("p rule", "number"),
        Column("p Welch", "number"),
        Column("p blocks", "number"),
        Column("p adj.", "number"),
        Column("p Bonf.", "number"),
        Column("p BH", "number"),
        Column("p TOST", "number"),
    )

    def cells(row: Row) -> tuple[str | None, ...]:
        places = _width_places(row["welch_low"], row["welch_high"])
        named = {"mannwhitney": "U", "student": "t", "welch": "Welch"}.get(str(row["document_test"]))
        tested = ("document_p", "welch_p", "paired_p", "p_adjusted", "p_bonferroni", "p_bh", "tost_p_adjusted")
        return (
            _fixed(row["diff"], places) if present(row["welch_low"]) else _plain(row["diff"]),
            _interval(row["welch_low"], row["welch_high"], places),
            named,
            *(_p(row[name]) for name in tested),
        )

    families = ", ".join(sorted({f"{row['family']} (m = {row['m_planned']})" for row in rows if row["family"]}))
    notes = (
        "Difference: treatment minus reference, Welch's interval. Rule: the pre-registered choice among Student's t, Welch and "
        "Mann-Whitney's U. Blocks: paired t. Adjusted: Holm, for secondary metrics Benjamini-Hochberg (BH), of the headline test. "
        f"TOST: equivalence within the declared margin, Holm. Families: {families or 'none'}."
    )
    return _by_contrast("tests", "Tests behind the comparisons.", columns, cells, rows, notes)


def effects(rows: list[Row]) -> Table:
    """Every contrast and metric: standardised differences and the Hodges-Lehmann shift, each with its 95 % interval."""
    sizes = {"Cohen's d": "cohens_d d_low d_high", "Hedges' g": "hedges_g g_low g_high"}
    names = [*(fields.split() for fields in sizes.values()), ["hl_shift", "hl_low", "hl_high"]]
    columns = tuple(
        Column(title, kind)
        for size in (*sizes, "HL shift")
        for title, kind in ((size, "number"), (f"95 % CI {size.split()[-1]}", "interval"))
    )

    def cells(row: Row) -> tuple[str | None, ...]:
        found: list[str | None] = []
        for value, low, high in names:
            places = _width_places(row[low], row[high])
            found += [_fixed(row[value], places), _interval(row[low], row[high], places)]
        return tuple(found)

    notes = "Intervals of d and g from the noncentral t, of Hodges and Lehmann's (HL) shift from order statistics."
    return _by_contrast("effects", "Effect sizes.", columns, cells, rows, notes)


def _by_contrast(
    name: str,
    caption: str,
    columns: tuple[Column, ...],
    cells: Callable[[Row], tuple[str | None, ...]],
    rows: list[Row],
    notes: str,
) -> Table:
    """A table over pages whose rows are metrics under a line that names the cell and its two arms."""
    rows = [row for group in by_contrast(rows) for row in group]
    heads = (*_cell_columns(rows), Column("Treatment"), Column("Reference"))
    body = tuple(
        (
            *_cell(row, rows),
            row["treatment"],
            row["reference"],
            _quantity(row),
            *cells(row),
        )
        for row in rows
    )
    return Table(name, caption, (*heads, Column("Quantity"), *columns), body, notes, breaks=True, heads=len(heads))


def configuration(con: duckdb.DuckDBPyConnection) -> Table:
    """The resolved config, one row per key."""
    config = _json(con, "config") or {}
    cells = tuple((key, text) for key, value in config.items() for key, text in _flat(key, value))
    return Table(
        "configuration",
        "Configuration, as resolved before the first run.",
        (Column("Key", "key"), Column("Value", "long")),
        cells,
        breaks=True,
    )


def provenance(con: duckdb.DuckDBPyConnection) -> Table:
    """Code, host, units and images."""
    facts = _json(con, "facts") or {}
    rows: list[tuple[str, str]] = []
    for key in ("campaign", "campaign_id", "seed", "config_hash", "plan_hash", "chosen_because", "simulated"):
        if key in facts:
            rows += _flat(key, facts[key])
    for key in ("code", "host"):
        rows += _flat(key, facts.get(key) or {})
    for unit, gpu, machine, cpus, memory, images, details in con.execute(
        "SELECT unit, gpu, machine, cpus, mem_total_gib, images, details FROM units ORDER BY unit"
    ).fetchall():
        known = {"gpu": gpu, "machine": machine, "cpus": cpus, "mem_total_gib": memory}
        for part in (known, {"images": _parsed(images)}, {"details": _parsed(details)}):
            rows += _flat(f"unit {unit}", part)
    digests = con.execute(
        "SELECT DISTINCT image_digest FROM attempts WHERE image_digest IS NOT NULL ORDER BY 1"
    ).fetchall()
    rows += [("image of the attempts", str(row[0])) for row in digests]
    versions = con.execute(
        "SELECT DISTINCT engine, engine_version FROM attempts WHERE engine_version IS NOT NULL ORDER BY ALL"
    ).fetchall()
    rows += [(f"engine {engine}", str(version)) for engine, version in versions]
    return Table(
        "provenance",
        "Provenance: code, host, units and images.",
        (Column("What", "key"), Column("Value", "long")),
        tuple(rows),
        breaks=True,
    )


def _cell_columns(rows: list[Row]) -> tuple[Column, ...]:
    shown = ["model", *(name for name in ("workload", "phase") if len({row[name] for row in rows}) > 1)]
    return tuple(Column(name.capitalize()) for name in shown)


def _cell(row: Row, rows: list[Row]) -> tuple[str, ...]:
    return tuple(str(row[column.title.lower()]) for column in _cell_columns(rows))


def _quantity(row: Row) -> str:
    unit = row["unit_of_measure"]
    return f"{row['label'] or row['metric']}{f' ({unit})' if unit else ''}"


def _notes(rows: list[Row]) -> str:
    methods = list(dict.fromkeys(row["method"] for row in rows if present(row["pct_low"])))
    if not methods:
        return "No interval: too few runs."
    return (
        f"Intervals: {'; '.join(methods)}, each at 95 %. Verdicts: p adjusted over the planned comparisons. "
        "Values to the second significant digit of their standard error."
    )


def _reference(con: duckdb.DuckDBPyConnection) -> str:
    rows = con.execute("SELECT reference FROM campaign").fetchall()
    return str(rows[0][0]) if rows else "the reference"


# --- numbers ------------------------------------------------------------------------------------------------


def _places(error: float | None) -> int:
    """Decimal places that show the second significant digit of ``error``; 3 without one."""
    if not present(error) or error is None or not math.isfinite(error) or error <= 0:
        return 3
    # Rounding may carry into another digit: 0.0996 has its second digit at 0.10.
    exponent = math.floor(math.log10(float(f"{error:.1e}")))
    return min(9, max(0, 1 - exponent))


def _fixed(value: float | None, places: int) -> str | None:
    if not present(value) or value is None or not math.isfinite(value):
        return None
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _mean(row: Row, arm: str) -> str | None:
    mean, sd, n = (row[f"{what}_{arm}"] for what in ("mean", "sd", "n"))
    if _varies(mean, sd):
        return _fixed(mean, _places(sd / math.sqrt(n)))
    return _plain(mean)


def _sd(row: Row, arm: str) -> str | None:
    mean, sd = row[f"mean_{arm}"], row[f"sd_{arm}"]
    return _fixed(sd, _places(sd)) if _varies(mean, sd) else None if not present(sd) else "0"


def _varies(mean: float | None, sd: float | None) -> bool:
    """Whether a standard deviation is more than rounding."""
    return present(mean) and present(sd) and float(sd or 0) > 1e-12 * max(1.0, abs(mean or 0))


def _plain(value: float | None) -> str | None:
    """A value that has no error to round it by: six significant digits."""
    if not present(value) or value is None or not math.isfinite(value):
        return None
    return f"{value or 0.0:.6g}" if abs(value) < 1e6 else f"{value:.0f}"


def _pct_places(row: Row) -> int:
    return _width_places(row["pct_low"], row["pct_high"]) if present(row["pct_low"]) else 2


def _width_places(low: float | None, high: float | None) -> int:
    """From the standard error that a 95 % interval is about four of."""
    return _places((high - low) / 4) if present(low) and present(high) and low is not None and high is not None else 3


def _change(row: Row) -> str | None:
    return _fixed(row["pct"], _pct_places(row))


def _interval(low: float | None, high: float | None, places: int) -> str | None:
    a, b = _fixed(low, places), _fixed(high, places)
    return None if a is None or b is None else f"[{a}, {b}]"


def _p(value: float | None) -> str | None:
    if not present(value) or value is None:
        return None
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _json(con: duckdb.DuckDBPyConnection, column: str) -> dict[str, Any] | None:
    rows = con.execute(f"SELECT {column} FROM campaign").fetchall()
    value = _parsed(rows[0][0]) if rows else None
    return value if isinstance(value, dict) else None


def _parsed(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    """Nested values as dotted keys; named entries of a list under their name, empty values left out."""
    if value is None or value in ({}, [], ""):
        return []
    if isinstance(value, dict):
        return [pair for name, item in value.items() for pair in _flat(f"{key}.{name}" if key else name, item)]
    if isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        return [
            pair
            for item in value
            for pair in _flat(f"{key}[{item['name']}]", {name: inner for name, inner in item.items() if name != "name"})
        ]
    if isinstance(value, list):
        return [(key, ", ".join(str(item) for item in value))]
    return [(key, "yes" if value is True else "no" if value is False else str(value))]


# --- the three forms ----------------------------------------------------------------------------------------

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "σ": r"$\sigma$",
    "µ": r"\textmu{}",
    "μ": r"\textmu{}",
    "·": r"$\cdot$",
    "°": r"\textdegree{}",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
    "→": r"$\rightarrow$",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "\u202f": r"\,",
    "\u00a0": "~",
    "\n": " ",
}


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands. A control character becomes a space, and one that T1 fonts lack its nearest in ASCII."""
    return "".join(_ESCAPES.get(char) or _typeset(char) for char in text)


def _typeset(char: str) -> str:
    if not char.isprintable():
        return " "
    if char.isascii() or ("\u00c0" <= char <= "\u017e" and char.isalpha()):
        return char
    plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return "".join(_ESCAPES.get(part, part) for part in plain) or f"[U+{ord(char):04X}]"


def latex(table: Table) -> str:
    """``table*`` of one page, or ``longtable`` for one that breaks; no vertical rule, caption above."""
    shown = table.columns[table.heads :]
    spec = " ".join(_column_spec(table, table.heads + i) for i in range(len(shown)))
    header = " & ".join(f"{{{escape(column.short or column.title)}}}" for column in shown) + r" \\"
    body = _latex_rows(table)
    title = rf"\caption{{{escape(table.caption)}}}"
    label = rf"\label{{tab:{table.name}}}"
    notes = rf"\par\smallskip\footnotesize {escape(table.notes)}\par" if table.notes else ""
    top, middle, bottom = r"\toprule", r"\midrule", r"\bottomrule"
    if table.breaks:
        lines = [PREAMBLE, r"{\scriptsize\setlength{\tabcolsep}{2.5pt}\setlength{\LTcapwidth}{\linewidth}"]
        lines += [rf"\begin{{longtable}}{{@{{}}{spec}@{{}}}}", title + label + r" \\"]
        lines += [top, header, middle, r"\endfirsthead", top, header, middle, r"\endhead", bottom, r"\endfoot"]
        lines += [*body, r"\end{longtable}", notes, "}"]
    else:
        lines = [PREAMBLE, r"\begin{table*}", r"\centering", r"\footnotesize\setlength{\tabcolsep}{4pt}", title, label]
        lines += [rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}", top, header, middle, *body, bottom]
        lines += [r"\end{tabular}", notes, r"\end{table*}"]
    return "\n".join([line for line in lines if line] + [""])


def _latex_rows(table: Table) -> list[str]:
    """The rows, and above those that share their leading cells a line that names these."""
    width, found, before = len(table.columns) - table.heads, [], None
    for row in table.rows:
        head = row[: table.heads]
        if head and head != before:
            named = escape(f"{', '.join(str(part) for part in head[:-1])} against {head[-1]}")
            gap = r"\addlinespace" if before else ""
            found.append(rf"{gap}\multicolumn{{{width}}}{{@{{}}l}}{{\itshape {named}}} \\*")
        before = head
        cells = zip(row[table.heads :], table.columns[table.heads :], strict=True)
        found.append(" & ".join(_latex_cell(cell, column.kind) for cell, column in cells) + r" \\")
    return found or [rf"\multicolumn{{{width}}}{{l}}{{no data}} \\"]


def _column_spec(table: Table, i: int) -> str:
    kind = table.columns[i].kind
    if kind == "number":
        return f"S[table-format={_format(row[i] for row in table.rows)}]"
    return {"key": r"p{0.33\linewidth}", "long": r"p{0.64\linewidth}", "interval": "r"}.get(kind, "l")


def _format(cells: Iterable[str | None]) -> str:
    """siunitx's table-format for these numbers: sign, digits before and after the point, exponent."""
    sign, whole, part, exponent = "", 1, 0, ""
    for cell in cells:
        if found := re.fullmatch(r"(-?)(\d+)(?:\.(\d+))?(?:e([+-]?)(\d+))?", cell or ""):
            sign = sign or found[1]
            whole, part = max(whole, len(found[2])), max(part, len(found[3] or ""))
            if found[5]:
                exponent = "e-2" if len(exponent) < 4 and len(found[5].lstrip("0")) < 3 else "e-3"
    return f"{sign}{whole}.{part}{exponent}" if part else f"{sign}{whole}{exponent}"


def _latex_cell(cell: str | None, kind: str) -> str:
    if cell is None:
        return "{--}"
    if kind == "number":
        return cell if not cell.startswith("<") else rf"{{$<$\,{cell[1:]}}}"
    if kind == "interval":
        low, high = cell.strip("[]").split(", ")
        return rf"{{[\num{{{low}}}, \num{{{high}}}]}}"
    if kind in ("key", "long"):  # digests and paths have no space to break at
        return _breakable(cell)
    return escape(cell)


def _breakable(text: str) -> str:
    words = [r"\allowbreak{}".join(escape(word[i : i + 24]) for i in range(0, len(word), 24)) for word in text.split()]
    return " ".join(words)


def markdown(table: Table) -> str:
    """A pipe table, numbers to the right, its caption above and notes below."""

    def safe(text: str | None) -> str:
        return "–" if text is None else " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())

    lines = [table.caption, "", "| " + " | ".join(safe(column.title) for column in table.columns) + " |"]
    lines.append(
        "|" + "|".join("---" if column.kind in ("text", "key", "long") else "---:" for column in table.columns) + "|"
    )
    lines += ["| " + " | ".join(safe(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join([*lines, *(["", table.notes] if table.notes else []), ""])


def as_csv(table: Table) -> str:
    """RFC 4180 with line feeds; an interval as two columns; an empty field where there is no value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    titles: list[str] = []
    for column in table.columns:
        titles += [f"{column.title} low", f"{column.title} high"] if column.kind == "interval" else [column.title]
    writer.writerow(titles)
    for row in table.rows:
        cells: list[str | None] = []
        for cell, column in zip(row, table.columns, strict=True):
            if column.kind == "interval":
                cells += [None, None] if cell is None else cell.strip("[]").split(", ")
            else:
                cells.append(cell)
        writer.writerow(cells)
    return out.getvalue()


# --- methods ------------------------------------------------------------------------------------------------

_ORDERS = {
    "alternate": "The order of arms alternated from block to block",
    "alternating": "The order of arms alternated from block to block",
    "random": "The order of arms within a block was drawn at random",
    "fixed": "The arms ran in the same order in every block",
    "williams": "The order of arms within blocks followed a Williams design",
}


def methods(con: duckdb.DuckDBPyConnection) -> str:
    """A paragraph on what ran, from the journal, the attempts and the resolved config; nothing that is not known is said."""
    config = _json(con, "config") or {}
    gate, telemetry, acceptance = (config.get(part) or {} for part in ("gate", "telemetry", "acceptance"))
    counts = _one(
        con,
        "SELECT count(*) AS planned, count(*) FILTER (accepted) AS accepted, sum(attempts) AS attempts, "
        "list_sort(list(DISTINCT model)) AS models, list_sort(list(DISTINCT environment)) AS arms, "
        "list_sort(list(DISTINCT engine)) AS engines, count(DISTINCT unit) AS units, count(DISTINCT block) AS blocks FROM runs",
    )
    if not counts.get("planned"):
        return escape("No run is planned.") + "\n"
    n = _one(con, "SELECT min(valid) AS low, max(valid) AS high FROM flow")
    gpus = [
        row[0]
        for row in con.execute(
            "SELECT DISTINCT gpu FROM units WHERE gpu IS NOT NULL AND gpu <> 'none' ORDER BY gpu"
        ).fetchall()
    ]
    versions = [
        str(row[0])
        for row in con.execute(
            "SELECT DISTINCT engine_version FROM attempts WHERE engine_version IS NOT NULL ORDER BY 1"
        ).fetchall()
    ]
    answered = _one(con, "SELECT sum(requests_answered) AS requests FROM attempts WHERE accepted").get("requests")
    reference = _reference(con)
    rejected = con.execute("SELECT count(*) FROM rejected_attempts").fetchall()[0][0]
    said = []
    if _one(con, "SELECT coalesce(bool_or(simulated), false) AS it FROM campaign").get("it"):
        said.append("The data are simulated; nothing was measured.")
    imported = _json(con, "imported")
    if imported:
        said.append(f"The data are taken in from {imported['file']}; how they were measured is not recorded there.")
    known = [engine for engine in counts["engines"] if engine not in (None, "unknown")]
    engines = (f" with {_listed(known)}" if known else "") + (f" ({', '.join(versions)})" if versions else "")
    said.append(
        f"{'They are of' if imported else 'We ran'} {_count(len(counts['models']), 'model')} ({_listed(counts['models'])}){engines} "
        f"in {_count(len(counts['arms']), 'environment')} ({_listed(counts['arms'])}), the reference being {reference}, "
        f"on {_count(max(counts['units'], 1), 'unit')}{' with ' + _listed(gpus) if gpus else ''}."
    )
    each = f"{n['low']}" if n["low"] == n["high"] else f"{n['low']} to {n['high']}"
    said.append(
        f"Of {counts['planned']} planned runs {counts['accepted']} were accepted, {each} for each combination of model and environment, "
        f"in {counts['attempts']} attempts"
        + (f", of which {rejected} {'was' if rejected == 1 else 'were'} rejected and kept" if rejected else "")
        + (f"; the accepted runs answered {answered} requests" if answered else "")
        + "."
    )
    said += [
        f"A run of {load['name']} was {load['requests']} requests of {load['input_tokens']} input and {load['output_tokens']} output tokens."
        for load in config.get("workloads") or []
        if isinstance(load, dict) and {"name", "requests", "input_tokens", "output_tokens"} <= load.keys()
    ]
    if counts["blocks"]:
        said.append(
            "The runs of a model that belong to one repetition formed a block and were made back to back on one unit "
            f"({counts['blocks']} blocks)."
        )
    order = config.get("order")
    if order:
        said.append(_ORDERS.get(str(order), f"The order of arms was {order}") + ".")
    conditions = _gate(gate)
    if conditions:
        said.append(f"A run began after {_listed(conditions)}.")
    if present(telemetry.get("rate_hz")):
        said.append(f"Telemetry was sampled at {telemetry['rate_hz']:g} Hz.")
    if present(acceptance.get("coverage_min_pct")):
        said.append(
            f"An attempt was accepted only with every request answered within an error rate of {acceptance.get('error_rate_max', 0):g}, "
            f"telemetry coverage of at least {acceptance['coverage_min_pct']:g} %, and no thermal throttling where the unit reports it."
        )
    used = list(dict.fromkeys(row["method"] for row in evidence.rows(con) if present(row["pct_low"])))
    if used:
        said.append(
            f"The run is the experimental unit. Arms are compared by 95 % confidence intervals ({'; '.join(used)}); verdicts rest on the "
            "p of a paired t test over blocks, or of Welch's t test, adjusted after Holm over the planned comparisons "
            "(secondary metrics: after Benjamini and Hochberg)."
        )
    margin = config.get("margin_pct")
    if isinstance(margin, int | float):
        said.append(f"The equivalence margin, declared before the first run, is ±{margin:g} %.")
    facts = _json(con, "facts") or {}
    if facts.get("config_hash"):
        said.append(
            f"The configuration has the SHA-256 {str(facts['config_hash'])[:16]}…, the seed is {facts.get('seed')}."
        )
    return f"% Written from what ran; change the campaign, not this text.\n{escape(' '.join(said))}\n"


def document(con: duckdb.DuckDBPyConnection, made: Iterable[Table], figures: Path) -> str:
    """An IEEE article of everything that was written: methods, results in brief, each figure in ``figures`` at its true width
    (narrow ones, then wide ones), and the tables that break over pages in one column. ``pdflatex paper`` in its folder, twice for references."""
    from campaign.report.paper import COLUMN_IN
    from campaign.report.print import FIGURES

    (name,) = con.execute("SELECT any_value(campaign) FROM campaign").fetchall()[0]
    lines = [
        "% Compile here: pdflatex paper (twice, for the references).",
        r"\documentclass[journal]{IEEEtran}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage{textcomp,graphicx,booktabs,longtable,siunitx}",
        r"\graphicspath{{print/}}",
        r"\renewcommand{\topfraction}{1}\renewcommand{\dbltopfraction}{1}",
        r"\renewcommand{\floatpagefraction}{0.8}\renewcommand{\dblfloatpagefraction}{0.8}",
        r"\begin{document}",
        rf"\title{{{escape(str(name or 'Campaign'))}: Evidence}}",
        r"\author{}",
        r"\maketitle",
        r"\section{Methods}",
        r"\input{tables/methods}",
        r"\section{Results}",
        *(rf"\input{{tables/{table.name}}}" for table in made if not table.breaks),
    ]
    drawn = [
        (figure, path)
        for figure in FIGURES
        for path in sorted(figures.glob(f"{figure.name}-[0-9]*in.pdf"), key=_inches)
    ]
    for kind, room in (("figure", "columnwidth"), ("figure*", "textwidth")):
        lines.append(r"\clearpage")
        for figure, path in drawn:
            if (_inches(path) <= COLUMN_IN) == (kind == "figure"):
                # In a box, because 3.5 in are 0.9 pt more than IEEEtran's column and 7.16 in 1.5 pt more than its page.
                lines += [
                    rf"\begin{{{kind}}}[!t]",
                    rf"\centering\makebox[\{room}]{{\includegraphics{{{{{path.stem}}}.pdf}}}}",
                    rf"\caption{{{escape(figure.caption)}}}\label{{fig:{path.stem}}}",
                    rf"\end{{{kind}}}",
                ]
    lines += [
        r"\clearpage\onecolumn",
        r"\section*{Tables}",
        *(rf"\input{{tables/{table.name}}}" for table in made if table.breaks),
        r"\end{document}",
        "",
    ]
    return "\n".join(lines)


def _inches(path: Path) -> float:
    return float(path.stem.rpartition("-")[2].removesuffix("in"))


def _gate(gate: dict[str, Any]) -> list[str]:
    found = []
    if gate.get("cooldown_s"):
        found.append(f"a cooldown of at least {gate['cooldown_s']:g} s")
    if present(gate.get("ceiling_c")):
        dwell = f" for {gate['dwell_s']:g} s" if gate.get("dwell_s") else ""
        found.append(f"a temperature below {gate['ceiling_c']:g} °C{dwell}")
    if present(gate.get("memory_tolerance_gib")):
        found.append(
            f"a return of available memory to within {gate['memory_tolerance_gib']:g} GiB of the campaign's reference"
        )
    if gate.get("cache") == "drop":
        found.append("the dropping of the page cache")
    return found


def _one(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    result = con.execute(query)
    names = [str(column[0]) for column in result.description or ()]
    row = result.fetchone()
    return dict(zip(names, row, strict=True)) if row else {}


def _listed(names: Iterable[str]) -> str:
    known = [str(name) for name in names]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}" if known else "none"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


FORMS: dict[str, Callable[[Table], str]] = {"tex": latex, "md": markdown, "csv": as_csv}
"""Ending of a file to the form of a table."""
