"""Tables of the article as LaTeX (booktabs, siunitx), Markdown and CSV, and a paragraph of methods written from what ran.

A value is printed to the digit of its standard error's second significant digit. A table is data first; its three forms
follow from it, so they cannot disagree.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import compare, sql
from campaign.report.wording import HEADLINE, present, verdict_word

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Column:
    """``kind``: ``text``, ``number`` (an S column), ``interval`` ([low, high]) or ``long`` (a wrapped paragraph)."""

    title: str
    kind: str = "text"


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


PREAMBLE = r"""% Needs: \usepackage{booktabs,longtable,siunitx}"""


def write(results: Path) -> list[Path]:
    """Every table in three forms and ``methods.tex`` into ``<results>/report/tables/``; returns the files.

    Raises :class:`campaign.analysis.sql.ResultsError` where there is no campaign.
    """
    con = sql.connect(results)
    folder = results.resolve() / "report" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for table in tables(con):
        for ending, form in FORMS.items():
            path = folder / f"{table.name}.{ending}"
            path.write_text(form(table), encoding="utf-8")
            paths.append(path)
    path = folder / "methods.tex"
    path.write_text(methods(con), encoding="utf-8")
    return [*paths, path]


def tables(con: duckdb.DuckDBPyConnection) -> list[Table]:
    """Results in brief, all comparisons, configuration, provenance."""
    simulated = con.execute("SELECT coalesce(bool_or(simulated), false) FROM campaign").fetchall() == [(True,)]
    made = [brief(con), comparisons(con), configuration(con), provenance(con)]
    if not simulated:
        return made
    warning = "Simulated data: nothing in this table was measured."
    return [Table(t.name, f"{t.caption} {warning}", t.columns, t.rows, t.notes, t.breaks) for t in made]


# --- the tables ---------------------------------------------------------------------------------------------


def brief(con: duckdb.DuckDBPyConnection) -> Table:
    """Throughput of both arms, and the headline change with its interval: one row per contrast."""
    rows = [row for row in compare.rows(con) if row["metric"] == HEADLINE]
    columns = (
        *_cell_columns(rows),
        Column("Treatment"),
        Column("n ref.", "number"),
        Column("Mean ref. (tok/s)", "number"),
        Column("n treat.", "number"),
        Column("Mean treat. (tok/s)", "number"),
        Column("Change (%)", "number"),
        Column("95 % CI (%)", "interval"),
        Column("Verdict"),
    )
    cells = tuple(
        (
            *_cell(row, rows),
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
    return Table(
        "results",
        f"Output token throughput by model and arm; reference: {_reference(con)}.",
        columns,
        cells,
        _notes(rows),
    )


def comparisons(con: duckdb.DuckDBPyConnection) -> Table:
    """Every contrast and metric: both arms, difference, change, test, verdict."""
    rows = compare.rows(con)
    columns = (
        *_cell_columns(rows),
        Column("Treatment"),
        Column("Quantity"),
        Column("Unit"),
        Column("n ref.", "number"),
        Column("Mean ref.", "number"),
        Column("SD ref.", "number"),
        Column("n treat.", "number"),
        Column("Mean treat.", "number"),
        Column("SD treat.", "number"),
        Column("Difference", "number"),
        Column("95 % CI", "interval"),
        Column("Change (%)", "number"),
        Column("95 % CI (%)", "interval"),
        Column("p (Welch)", "number"),
        Column("Verdict"),
    )
    cells = tuple(
        (
            *_cell(row, rows),
            row["treatment"],
            row["label"] or row["metric"],
            row["unit_of_measure"],
            str(row["n_reference"]),
            _mean(row, "reference"),
            _fixed(row["sd_reference"], _places(row["sd_reference"])),
            str(row["n_treatment"]),
            _mean(row, "treatment"),
            _fixed(row["sd_treatment"], _places(row["sd_treatment"])),
            _fixed(row["diff"], _diff_places(row)),
            _interval(row["diff_low"], row["diff_high"], _diff_places(row)),
            _change(row),
            _interval(row["pct_low"], row["pct_high"], _pct_places(row)),
            _p(row["welch_p"]),
            verdict_word(row),
        )
        for row in rows
    )
    caption = f"All comparisons with {_reference(con)}; the difference is treatment minus reference."
    return Table("comparisons", caption, columns, cells, _notes(rows), breaks=True)


def configuration(con: duckdb.DuckDBPyConnection) -> Table:
    """The resolved config, one row per key."""
    config = _json(con, "config") or {}
    cells = tuple((key, text) for key, value in config.items() for key, text in _flat(key, value))
    return Table(
        "configuration",
        "Configuration, as resolved before the first run.",
        (Column("Key"), Column("Value", "long")),
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
        (Column("What"), Column("Value", "long")),
        tuple(rows),
        breaks=True,
    )


def _cell_columns(rows: list[dict[str, Any]]) -> tuple[Column, ...]:
    shown = ["model", *(name for name in ("workload", "phase") if len({row[name] for row in rows}) > 1)]
    return tuple(Column(name.capitalize()) for name in shown)


def _cell(row: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(str(row[column.title.lower()]) for column in _cell_columns(rows))


def _notes(rows: list[dict[str, Any]]) -> str:
    methods = list(dict.fromkeys(row["method"] for row in rows if present(row["pct_low"])))
    if not methods:
        return "No interval: too few runs."
    return f"Intervals: {'; '.join(methods)}. Not adjusted for the number of comparisons. Values to the second significant digit of their standard error."


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


def _mean(row: dict[str, Any], arm: str) -> str | None:
    mean, sd, n = (row[f"{what}_{arm}"] for what in ("mean", "sd", "n"))
    if present(sd) and present(mean) and sd > 1e-12 * max(1.0, abs(mean)):
        return _fixed(mean, _places(sd / math.sqrt(n)))
    return None if not present(mean) else f"{mean:.6g}" if abs(mean) < 1e6 else f"{mean:.0f}"


def _diff_places(row: dict[str, Any]) -> int:
    return _width_places(row["diff_low"], row["diff_high"])


def _pct_places(row: dict[str, Any]) -> int:
    return _width_places(row["pct_low"], row["pct_high"]) if present(row["pct_low"]) else 2


def _width_places(low: float | None, high: float | None) -> int:
    """From the standard error that a 95 % interval is about four of."""
    return _places((high - low) / 4) if present(low) and present(high) and low is not None and high is not None else 3


def _change(row: dict[str, Any]) -> str | None:
    return _fixed(row["pct"], _pct_places(row))


def _interval(low: float | None, high: float | None, places: int) -> str | None:
    a, b = _fixed(low, places), _fixed(high, places)
    return None if a is None or b is None else f"[{a}, {b}]"


def _p(value: float | None) -> str | None:
    if not present(value) or value is None:
        return None
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


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
    "·": r"$\cdot$",
    "°": r"\textdegree{}",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
    "\u202f": r"\,",
    "\u00a0": "~",
    "\n": " ",
}


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands. A control character becomes a space."""
    return "".join(_ESCAPES.get(char, char if char.isprintable() else " ") for char in text)


def latex(table: Table) -> str:
    """``table*`` of one page, or ``longtable`` for one that breaks; no vertical rule, caption above."""
    spec = " ".join(_column_spec(table, i) for i in range(len(table.columns)))
    header = " & ".join(f"{{{escape(column.title)}}}" for column in table.columns) + r" \\"
    body = [
        " & ".join(_latex_cell(cell, column.kind) for cell, column in zip(row, table.columns, strict=True)) + r" \\"
        for row in table.rows
    ]
    if not body:
        body = [rf"\multicolumn{{{len(table.columns)}}}{{l}}{{no data}} \\"]
    title = rf"\caption{{{escape(table.caption)}}}"
    label = rf"\label{{tab:{table.name}}}"
    notes = rf"\par\smallskip\footnotesize {escape(table.notes)}" if table.notes else ""
    if table.breaks:
        lines = [
            PREAMBLE,
            r"{\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{@{{}}{spec}@{{}}}}",
            title + label + r" \\",
        ]
        lines += [r"\toprule", header, r"\midrule", r"\endhead", *body, r"\bottomrule", r"\end{longtable}", notes, "}"]
    else:
        lines = [
            PREAMBLE,
            r"\begin{table*}",
            r"\centering",
            r"\footnotesize",
            title,
            label,
            rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
        ]
        lines += [r"\toprule", header, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", notes, r"\end{table*}"]
    return "\n".join([line for line in lines if line] + [""])


def _column_spec(table: Table, i: int) -> str:
    kind = table.columns[i].kind
    if kind == "number":
        return f"S[table-format={_format(row[i] for row in table.rows)}]"
    return {"long": r"p{0.62\linewidth}", "interval": "r"}.get(kind, "l")


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
        return cell
    if kind == "interval":
        low, high = cell.strip("[]").split(", ")
        return rf"{{[\num{{{low}}}, \num{{{high}}}]}}"
    if kind == "long":  # digests and paths have no space to break at
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
    lines.append("|" + "|".join("---" if column.kind in ("text", "long") else "---:" for column in table.columns) + "|")
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
    engines = _listed(counts["engines"]) + (f" ({', '.join(versions)})" if versions else "")
    said.append(
        f"We ran {_count(len(counts['models']), 'model')} ({_listed(counts['models'])}) with {engines} "
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
    said.append(
        f"The runs of a model that belong to one repetition formed a block and were made back to back on one unit ({counts['blocks']} blocks)."
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
    used = list(dict.fromkeys(row["method"] for row in compare.rows(con) if present(row["pct_low"])))
    if used:
        said.append(
            f"The run is the experimental unit. Arms are compared by 95 % confidence intervals ({'; '.join(used)}) and Welch's t test, unadjusted."
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
