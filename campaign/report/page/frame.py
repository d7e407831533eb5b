"""The frame of a page: contents list, themes, sorting and filtering, figures that answer, print. Whoever has sections
puts them in; what a page needs is within it, so that it opens offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import host
from actors.files.publish import publish
from campaign.analysis import views
from campaign.report.page.links import prose

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Shown:
    """A section of the page as HTML, with its places for the contents list."""

    id: str
    title: str
    html: Markup
    places: Sequence[tuple[str, str]] = ()
    wide: bool = False


@dataclass(frozen=True)
class Head:
    """What stands above and below the sections."""

    name: str
    title: str
    subtitle: str
    state: str
    simulated: bool
    footer: Markup
    heads: Mapping[str, str] = field(default_factory=dict)
    """Of the records that the page was made from, by kind."""


def framed(head: Head, sections: Sequence[Shown], specifications: Mapping[str, Any], script: str) -> str:
    """The page. ``specifications`` are the Vega-Lite ones of its figures by name, ``script`` is :func:`javascript`."""
    from markupsafe import Markup

    from campaign.report.figures import DARK, LIGHT

    return (
        templates(TEMPLATES)
        .get_template("page.html.j2")
        .render(
            **vars(head),
            sections=sections,
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
            own_script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
            javascript=Markup(script),
            specifications=_json(specifications),
            themes=_json({"light": LIGHT, "dark": DARK}),
        )
    )


def templates(*folders: Path) -> jinja2.Environment:
    """Templates of these folders, with the filter ``prose``."""
    import jinja2

    known = frozenset(view.name for view in views.tables())
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    found.filters["prose"] = lambda text: prose(text, known)
    return found


def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; bundled once for a version and kept in the project's home."""
    import vl_convert

    kept = host.home() / "report" / f"vega-{version('vl-convert-python')}.js"
    if kept.exists():
        return kept.read_text(encoding="utf-8")
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub says: not optional
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
