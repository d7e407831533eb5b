"""``report/paper.tex``: methods, every table and every figure for print in an IEEE article that compiles as it stands."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.analysis import cache as evidence
from campaign.analysis import views
from campaign.plan import registration
from campaign.report.methods import methods
from campaign.report.table_formats import FORMS, Table, escape
from campaign.report.tables import tables

if TYPE_CHECKING:
    import duckdb


def write(results: Path) -> list[Path]:
    """Every table in three forms and ``methods.tex`` into ``<results>/report/tables/``, ``paper.tex`` above it; returns the files.

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
    """An IEEE article of everything that was written: methods, results in brief, each figure in ``figures`` at its true width
    (narrow ones, then wide ones), and the tables that break over pages in one column. ``pdflatex paper`` in its folder, twice for references."""
    from campaign.report.drawn.look import COLUMN_IN
    from campaign.report.paper import FIGURES

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
