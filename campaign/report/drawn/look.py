"""What differs between a figure on the page and the same figure in print: sizes, ink, where names stand,
whether marks answer a pointer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

COLUMN_IN, PAGE_IN = 3.5, 7.16
"""Widths of one and of two columns, inches."""
TALLEST_IN = 8.8
TEXT_PT = 8

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SHAPES = ("circle", "triangle-up", "square", "diamond", "cross", "triangle-down", "stroke")
DASHES = ([1, 0], [5, 2], [1.5, 1.5], [6, 2, 1.5, 2], [9, 3], [3, 1], [2, 4])
"""Arms differ by colour and by shape or dash, so that grey print tells them apart."""


class FitError(ValueError):
    """A figure that does not fit the page; the message says by how much."""


@dataclass(frozen=True)
class Look:
    """Of a theme. Lengths are points in print and pixels on the page; ``ink`` None is the ink of the theme,
    which follows the reader's."""

    printed: bool
    width: float
    """Of a figure, where none is asked for."""
    ink: str | None
    dot: dict[str, Any]
    """A run's mark."""
    line: float
    rule: float
    """Strokes of series and of intervals."""
    band: float
    """Opacity of a range."""
    spacing: float
    watermark: tuple[float, float]
    """Largest size and opacity of the word across simulated data."""

    def grid(self, panels: int, width: float, labels: float, on_page: float) -> tuple[int, float]:
        """Columns of panels, and the width of one without its axis labels (``labels``);
        on the page that is ``on_page``."""
        if not self.printed:
            return max(1, min(panels, int(width // (on_page + 90)))), on_page
        columns = min(panels, 2 if width < 1.5 * COLUMN_IN * 72 else 4)
        return columns, (width - columns * labels - self.spacing * (columns - 1)) / columns

    def height(self, panels: int, columns: int, usual: float, chrome: float, on_page: float) -> float:
        """Of a panel; in print so that all rows of panels, each with ``chrome`` below and above it, fit a page."""
        if not self.printed:
            return on_page
        room = (TALLEST_IN * 72 - 70) / math.ceil(panels / columns) - chrome
        return max(24.0, min(usual, room))

    def inked(self) -> dict[str, Any]:
        """Colour of what belongs to no arm."""
        return {} if self.ink is None else {"color": self.ink}

    def tooltip(self, *channels: Any) -> dict[str, Any]:
        """What a mark says under a pointer; paper has none."""
        return {} if self.printed else {"tooltip": list(channels)}


PRINT = Look(
    printed=True,
    width=COLUMN_IN * 72,
    ink="black",
    dot={"size": 11, "strokeWidth": 0.7},
    line=1.1,
    rule=1.2,
    band=0.18,
    spacing=8,
    watermark=(26.0, 0.22),
)
PAGE = Look(
    printed=False,
    width=1000,
    ink=None,
    dot={"filled": True, "size": 46, "opacity": 0.75},
    line=2.0,
    rule=2.2,
    band=0.16,
    spacing=36,
    watermark=(40.0, 0.16),
)
