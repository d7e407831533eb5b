"""The report: one self-contained page that opens offline, for any state of a campaign from its first minute on.

What is claimed comes from ``wording``, what is drawn from ``figures``, every table from a query that the page shows.
Its sections are the files of ``sections/``; what all of them share (contents list, links, sorting, filtering, print) is
in ``templates/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import host
from actors.files.publish import publish
from campaign.analysis import cache as evidence
from campaign.analysis import seal
from campaign.analysis import views as sql
from campaign.plan import registration
from campaign.record.store import Store
from campaign.report.page.links import Links, prose
from campaign.report.page.section import Material
from campaign.report.page.sections import SECTIONS

if TYPE_CHECKING:
    import duckdb
    import jinja2
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
COUNTS = (
    "SELECT count(*) AS planned, count(*) FILTER (attempts > 0) AS started, count(*) FILTER (accepted) AS valid, "
    "count(*) FILTER (status = 'exhausted') AS exhausted, count(*) FILTER (status = 'left_out') AS left_out, "
    "count(*) FILTER (status = 'spared') AS spared, count(DISTINCT model) AS models, "
    "count(DISTINCT environment) AS environments, max(repetition) AS repetitions, count(DISTINCT unit) "
    "AS units FROM runs"
)


@dataclass(frozen=True)
class Shown:
    """A section of the page as HTML, with its places for the contents list."""

    id: str
    title: str
    html: Markup
    places: list[tuple[str, str]]
    wide: bool


def write(results: Path, tell: Callable[[str], None] = lambda section: None) -> Path:
    """Write ``<results>/report/index.html`` and the figures beside it as PNG and SVG; returns the page's path.
    ``tell`` hears of each section.

    Raises :class:`campaign.analysis.views.ResultsError` where there is no campaign.
    """
    results = results.resolve()
    with ThreadPoolExecutor(1) as pool:
        bundle = pool.submit(javascript)
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

    from campaign.report.figures import DARK, LIGHT

    templates = _templates()
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
    return templates.get_template("page.html.j2").render(
        name=name,
        subtitle=f"{_several(counts['models'], 'model')} × {_several(counts['environments'], 'environment')}",
        simulated=bool(of.campaign.get("simulated")),
        state=f"{state} · {counts['valid']} of {counts['planned']} runs",
        sections=shown,
        heads=of.heads,
        folder=of.results,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        own_script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        javascript=Markup(script),
        specifications=_json(specifications),
        themes=_json({"light": LIGHT, "dark": DARK}),
    )


def _templates() -> jinja2.Environment:
    import jinja2

    views = frozenset(view.name for view in sql.tables())
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    found.filters["prose"] = lambda text: prose(text, views)
    return found


def _several(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; bundled once for a version and kept in the project's home."""
    import vl_convert

    kept = host.home() / "report" / f"vega-{version('vl-convert-python')}.js"
    if kept.exists():
        return kept.read_text(encoding="utf-8")
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub says that the snippet is not optional
    script = bundle.replace("</script", "<\\/script")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with publish(kept) as partial:
        partial.write_text(script, encoding="utf-8")
    return script


def _json(value: Any) -> Markup:
    """JSON for a script element: without any character that could end the element
    or begin another state of the parser."""
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
