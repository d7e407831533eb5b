"""A table of text and numbers, and its three forms: LaTeX (booktabs, siunitx), Markdown and CSV.
They cannot disagree."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """``kind``: ``text``, ``number`` (an S column), ``mixed`` (numbers too unlike to stand point under point),
    ``interval`` ([low, high]), ``key`` or ``long`` (wrapped, narrow and wide)."""

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
    joined: str = " against "
    """What that line has before the last of them."""


PREAMBLE = r"% Needs: \usepackage[T1]{fontenc}, \usepackage{textcomp,booktabs,longtable,siunitx}"
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
    """Text that LaTeX prints as it stands. A control character becomes a space,
    and one that T1 fonts lack its nearest in ASCII."""
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
        lines = [PREAMBLE, r"\begin{table*}", r"\centering", r"\footnotesize\setlength{\tabcolsep}{2pt}", title, label]
        lines += [rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}", top, header, middle, *body, bottom]
        lines += [r"\end{tabular}", notes, r"\end{table*}"]
    return "\n".join([line for line in lines if line] + [""])


def _latex_rows(table: Table) -> list[str]:
    """The rows, and above those that share their leading cells a line that names these."""
    width, found, before = len(table.columns) - table.heads, [], None
    for row in table.rows:
        head = row[: table.heads]
        if head and head != before:
            named = escape(f"{', '.join(str(part) for part in head[:-1])}{table.joined}{head[-1]}")
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
    return {"key": r"p{0.33\linewidth}", "long": r"p{0.64\linewidth}", "interval": "r", "mixed": "r"}.get(kind, "l")


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
    if kind == "mixed":
        return rf"\num{{{cell}}}"
    if kind == "interval":
        low, high = (rf"\num{{{limit}}}" if limit else "--" for limit in _limits(cell))
        return rf"{{[{low}, {high}]}}"
    if kind in ("key", "long"):  # digests and paths have no space to break at
        return _breakable(cell)
    return escape(cell)


def _limits(interval: str) -> list[str | None]:
    """Of ``[low, high]``; None for the dash of one that does not exist."""
    return [None if limit == "–" else limit for limit in interval.strip("[]").split(", ")]


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
                cells += [None, None] if cell is None else _limits(cell)
            else:
                cells.append(cell)
        writer.writerow(cells)
    return out.getvalue()


FORMS: dict[str, Callable[[Table], str]] = {"tex": latex, "md": markdown, "csv": as_csv}
"""Ending of a file to the form of a table."""
