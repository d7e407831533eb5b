"""The figures, drawn twice: as SVG that needs no script, and from their specifications in the reader's theme."""

from __future__ import annotations

from typing import Any

from campaign.report.page.section import Built, Material, Section


def build(of: Material) -> Built:
    shown, specifications = _drawn(of)
    return {
        "figures": shown,
        "specifications": specifications,
        "places": [(figure["name"], figure["title"]) for figure in shown if figure["svg"]],
    }


def _drawn(of: Material) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the page shows of each figure, with files of it beside the page;
    and the specification of those that are drawn."""
    import duckdb
    import vl_convert
    from altair.utils import schemapi
    from markupsafe import Markup

    from campaign.analysis import views as sql
    from campaign.report import figures, methods
    from campaign.report.guard import guard_of

    folder = sql.output_folder(of.results, "report", "figures")
    shown, specifications = [], {}
    own = [figures.LOOKS_FIGURE] if guard_of(of.con).sequential else []
    own += [figures.REST_FIGURE] if methods.rest_of(of.con) is not None else []
    for figure in (*own, *figures.FIGURES):
        entry: dict[str, Any] = {
            "name": figure.name,
            "title": figure.title,
            "caption": figure.caption,
            "sql": figure.sql,
            "svg": None,
            "absent": figure.absent,
        }
        try:
            with schemapi.debug_mode(False):
                chart = figure.draw(of.con)
        except duckdb.Error as error:
            entry["absent"] = f"a file could not be read ({str(error).splitlines()[0]})"
            chart = None
        if chart is not None:
            specification = figures.themed(chart)
            drawing = figures.svg(specification)
            (folder / f"{figure.name}.svg").write_text(drawing, encoding="utf-8")
            (folder / f"{figure.name}.png").write_bytes(vl_convert.svg_to_png(drawing, scale=2))
            # Named by its heading and caption; a mark by itself says nothing.
            entry["svg"] = Markup(drawing.replace("<svg ", '<svg aria-hidden="true" ', 1))
            specifications[figure.name] = specification
        shown.append(entry)
    return shown, specifications


SECTION = Section("figures", "Figures", build, "figures.html.j2")
