"""While something takes its time: what is being done, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from campaign.cli.app import err, out

SILENT_S = 0.3
"""What is done sooner is not worth a word."""


class _Line:
    """The part that has been reached and the seconds since the beginning; drawn again, they have moved on."""

    def __init__(self, part: str) -> None:
        self.part = part
        self._began = time.monotonic()
        self._spinner = Spinner("dots")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        passed = time.monotonic() - self._began
        if passed > SILENT_S:
            self._spinner.update(
                text=Text(f"{self.part} · {passed:.0f} s", style="dim", no_wrap=True, overflow="ellipsis")
            )
            yield self._spinner


@contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """Says on a terminal ``what`` is being done until it is, in a line that moves and then is gone. Yields what says
    which part of it has been reached."""
    console = out if out.is_terminal else err
    shown = _Line(what)

    def reached(part: str) -> None:
        shown.part = f"{what}: {part}"

    if not console.is_terminal:
        yield reached
        return
    with Live(shown, console=console, refresh_per_second=5, transient=True):
        yield reached
