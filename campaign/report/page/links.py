"""Where the page leads: to its own sections, and to the raw files in the results folder that it lies in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from campaign.record import untrusted

if TYPE_CHECKING:
    from markupsafe import Markup

_CROSS = re.compile(r"\[([^\[\]]+)\]\(#([a-z0-9-]+)\)|`([^`]+)`")


@dataclass(frozen=True)
class Links:
    """Relative addresses from ``<results>/report/``. None for what is not there: the page leads nowhere in vain."""

    results: Path

    def run(self, run_id: str, attempt: int | None = None) -> str | None:
        """The folder of a run's attempts, or of one of them. The exported package has these folders, too."""
        name = untrusted.file_name(run_id)
        return self.folder("attempts", name) if attempt is None else self.folder("attempts", name, str(attempt))

    def folder(self, *parts: str) -> str | None:
        place = self.results.joinpath(*parts)
        return f"../{quote('/'.join(parts))}/" if place.is_dir() and not place.is_symlink() else None

    def file(self, name: str) -> str | None:
        place = self.results / name
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        return f"../{quote(name)}" if inside and place.is_file() and not place.is_symlink() else None


def prose(text: str, views: frozenset[str] = frozenset()) -> Markup:
    """Text as HTML: ``[words](#place)`` leads to a place on the page, and a view's name in backticks to what it is."""
    from markupsafe import Markup, escape

    def mark(found: re.Match[str]) -> str:
        words, place, code = found.groups()
        if code is None:
            return f'<a href="#{place}">{words}</a>'
        inner = f"<code>{code}</code>"
        return f'<a href="#view-{code}">{inner}</a>' if code in views else inner

    return Markup(_CROSS.sub(mark, str(escape(text))))
