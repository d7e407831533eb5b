"""The report: one self-contained page that opens offline, for any state of a campaign from its first minute on.

What is claimed comes from ``wording``, what is drawn from ``figures``, every table from a query that the page shows.
Its sections are the files of ``sections/``; what all of them share (contents list, links, sorting, filtering, print) is
in ``templates/``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.files.publish import publish
from campaign.analysis import cache as evidence
from campaign.analysis import seal
from campaign.analysis import views as sql
from campaign.plan import registration
from campaign.record.store import Store
from campaign.report.page import frame
from campaign.report.page.frame import TEMPLATES, Head, Shown, framed
from campaign.report.page.links import Links
from campaign.report.page.section import Material
from campaign.report.page.sections import SECTIONS

if TYPE_CHECKING:
    import duckdb

COUNTS = (
    "SELECT count(*) AS planned, count(*) FILTER (attempts > 0) AS started, count(*) FILTER (accepted) AS valid, "
    "count(*) FILTER (status = 'exhausted') AS exhausted, count(*) FILTER (status = 'left_out') AS left_out, "
    "count(*) FILTER (status = 'spared') AS spared, count(DISTINCT model) AS models, "
    "count(DISTINCT environment) AS environments, max(repetition) AS repetitions, count(DISTINCT unit) "
    "AS units FROM runs"
)


FOOTER = (
    "Every figure on this page comes from the folder beside it: <code>campaign sql {}</code> opens the "
    '<a href="#views">views</a>, and every query on this page gives its rows there.'
)


def write(results: Path, tell: Callable[[str], None] = lambda section: None) -> Path:
    """Write ``<results>/report/index.html`` and the figures beside it as PNG and SVG; returns the page's path.
    ``tell`` hears of each section.

    Raises :class:`campaign.analysis.views.ResultsError` where there is no campaign.
    """
    results = results.resolve()
    with ThreadPoolExecutor(1) as pool:
        bundle = pool.submit(frame.javascript)
        con = evidence.connect(results)
        con.execute("CREATE TEMP TABLE plausibility AS FROM plausibility")  # several sections ask for it
        of = _material(con, results)
        page = _rendered(of, bundle.result(), tell)
    path = sql.output_folder(results, "report") / "index.html"
    with publish(path) as partial:
        partial.write_text(page, encoding="utf-8")
    seal.seal(results, of.heads, "report")
    return path


def _material(con: duckdb.DuckDBPyConnection, results: Path) -> Material:
    return Material(
        con=con,
        results=results,
        rows=evidence.rows(con),
        campaign=next(iter(sql.records(con, "FROM campaign")), {}),
        counts=sql.records(con, COUNTS)[0],
        heads={kind: Store(results).head(kind) for kind in ("journal", "manifest")},
        registered=registration.state(results),
        links=Links(results),
    )


def _rendered(of: Material, script: str, tell: Callable[[str], None]) -> str:
    from markupsafe import Markup

    templates = frame.templates(TEMPLATES)
    shown: list[Shown] = []
    specifications: dict[str, Any] = {}
    for section in SECTIONS:
        tell(section.title)
        built = section.build(of)
        if built is None:
            continue
        specifications |= built.pop("specifications", {})
        html = templates.get_template(section.template).render(built, id=section.id, title=section.title)
        shown.append(Shown(section.id, section.title, Markup(html), built.get("places", []), section.wide))
    counts, name = of.counts, of.campaign.get("campaign") or "Campaign"
    state = "finished" if of.finished else "unfinished" if counts["started"] else "not begun"
    head = Head(
        name=name,
        title=f"{name} · campaign report",
        subtitle=f"{_several(counts['models'], 'model')} × {_several(counts['environments'], 'environment')}",
        simulated=bool(of.campaign.get("simulated")),
        state=f"{state} · {counts['valid']} of {counts['planned']} runs",
        heads=of.heads,
        footer=Markup(FOOTER).format(of.results),
    )
    return framed(head, shown, specifications, script)


def _several(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
