"""``report/paper.tex``: methods, every table and every figure for print in an
IEEE article that compiles as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.analysis import cache as evidence
from campaign.analysis import metrics, views
from campaign.plan import registration
from campaign.report.methods import methods
from campaign.report.table_formats import FORMS, Table, escape
from campaign.report.tables import tables
from campaign.report.wording import by_contrast, claim, headline

if TYPE_CHECKING:
    import duckdb

TALL_IN = 3.6
"""Of a figure in a column: what is taller reads better over both."""


def write(results: Path) -> list[Path]:
    """Every table in three forms and ``methods.tex`` into ``<results>/report/tables/``, ``paper.tex`` above it;
    returns the files.

    Raises :class:`campaign.analysis.views.ResultsError` where there is no campaign.
    """
    con = evidence.connect(results)
    report = views.output_folder(results.resolve(), "report")
    views.output_folder(results.resolve(), "report", "tables")
    made = tables(con)
    texts = {f"tables/{table.name}.{ending}": form(table) for table in made for ending, form in FORMS.items()}
    texts |= {
        "tables/methods.tex": methods(con, registration.state(results.resolve())),
        "paper.tex": document(con, made, report / "print"),
    }
    for name, text in texts.items():
        (report / name).write_text(text, encoding="utf-8")
    return [report / name for name in texts]


def document(con: duckdb.DuckDBPyConnection, made: Iterable[Table], figures: Path) -> str:
    """An IEEE article of everything that was written: methods, results in brief, each figure in ``figures`` once, at
    its true width, and the tables that break over pages in one column. A figure stands in a column, and over both where
    it is too tall for one; the first of a column come before the text, which otherwise would leave the first page half
    empty. ``pdflatex paper`` in its folder, twice for references."""

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
    ]
    placed = _placed(figures)
    narrow = [line for lines, wide in placed for line in lines if not wide]
    lines += [
        *narrow,
        r"\section{Methods}",
        r"\input{tables/methods}",
        r"\section{Results}",
        *(f"{escape(sentence)}\n" for sentence in _in_words(con)),
        *(rf"\input{{tables/{table.name}}}" for table in made if not table.breaks),
        *(line for lines, wide in placed for line in lines if wide),
    ]
    lines += [
        r"\clearpage\onecolumn",
        r"\section*{Tables}",
        *(rf"\input{{tables/{table.name}}}" for table in made if table.breaks),
        r"\end{document}",
        "",
    ]
    return "\n".join(lines)


def _in_words(con: duckdb.DuckDBPyConnection) -> list[str]:
    """What the page and the terminal say: of the whole campaign, then of the throughput of each cell,
    which is named by what differs."""
    rows = [row for group in by_contrast(evidence.rows(con)) for row in group]
    told = [row for row in rows if row["metric"] == metrics.headline() and row["verdict"] != "no_data"]
    parts = [name for name in ("phase", "model", "workload") if name == "model" or len({row[name] for row in told}) > 1]
    return [headline(rows), *(f"{', '.join(str(row[part]) for part in parts)}: {claim(row)}" for row in told)]


def _placed(folder: Path) -> list[tuple[list[str], bool]]:
    """For each figure the lines that set it, and whether it goes over both columns."""
    from campaign.report.drawn.look import COLUMN_IN
    from campaign.report.paper import FIGURES

    placed = []
    for figure in FIGURES:
        drawn = sorted(folder.glob(f"{figure.name}-[0-9]*in.pdf"), key=_inches)
        fits = [path for path in drawn if _inches(path) <= COLUMN_IN and _tall_in(path) <= TALL_IN]
        for path in (fits or drawn)[-1:]:
            wide = _inches(path) > COLUMN_IN
            kind, room = ("figure*", "textwidth") if wide else ("figure", "columnwidth")
            # In a box, because 3.5 in are 0.9 pt more than IEEEtran's column and 7.16 in 1.5 pt more than its page.
            lines = [
                rf"\begin{{{kind}}}[!t]",
                rf"\centering\makebox[\{room}]{{\includegraphics{{{{{path.stem}}}.pdf}}}}",
                rf"\caption{{{escape(figure.caption)}}}\label{{fig:{figure.name}}}",
                rf"\end{{{kind}}}",
            ]
            placed.append((lines, wide))
    return placed


def _tall_in(path: Path) -> float:
    """Height of a figure, which its SVG states; 0 where there is none beside it."""
    drawing = path.with_suffix(".svg")
    found = re.search(r'height="([\d.]+)in"', drawing.read_text(encoding="utf-8")[:500]) if drawing.exists() else None
    return float(found[1]) if found else 0.0


def _inches(path: Path) -> float:
    return float(path.stem.rpartition("-")[2].removesuffix("in"))
