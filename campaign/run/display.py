"""What one sees while a campaign runs: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from actors.types import Gate, Status
from campaign.plan.forecast import duration
from campaign.record.snapshot import Snapshot

PLAIN_EVERY_S = 10.0


WIDTHS = {"stage": 18, "": 8, "temperature": 11, "throughput": 12}
"""Of the columns beside a unit's name and its run, which takes the rest: the same from frame to frame,
whatever they hold."""
RUN_WIDTH = 40
"""Below this, the throughput goes before the run's name is cut."""
LONG_RUN_WIDTH = 60
"""Below this, a temperature that no unit has goes before."""


class panel:
    """The display: progress, ETA, and for each unit its run, stage, temperature against the ceiling, throughput. Drawn
    again, its times have moved on."""

    def __init__(self, snapshot: Snapshot, gate: Gate | None = None) -> None:
        self.snapshot = snapshot
        self.gate = gate
        self.made = time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _panel(self.snapshot, self.gate, options.max_width, time.monotonic() - self.made)


def _panel(snapshot: Snapshot, gate: Gate | None, width: int, since_s: float) -> RenderableType:
    done = snapshot.done
    bar = Progress(
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[eta]}", markup=False),
        expand=True,
    )
    eta = f"ETA {_time(snapshot.eta_s)}" if snapshot.stage == "running" else snapshot.stage
    bar.add_task(snapshot.campaign, total=snapshot.total or None, completed=done, eta=eta)
    units = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    lanes = sorted(snapshot.lanes.items())
    names = max((len(name) for name, _ in lanes), default=len("unit"))
    shown = _columns(snapshot, width - names - 1)
    units.add_column("unit", no_wrap=True, overflow="ellipsis", width=max(names, len("unit")))
    for heading in ("run", *WIDTHS):
        if heading == "run":
            units.add_column(heading, no_wrap=True, overflow="ellipsis", ratio=1)
        elif heading in shown:
            justify: Literal["left", "right"] = "left" if heading == "stage" else "right"
            units.add_column(
                heading, no_wrap=True, overflow="ellipsis", justify=justify, width=WIDTHS[heading], header_style="dim"
            )
    for name, status in lanes:
        run, *rest = _cells(status, gate)
        units.add_row(name, run, *(cell for heading, cell in zip(WIDTHS, rest, strict=True) if heading in shown))
    facts = f"{duration(snapshot.elapsed_s + since_s)} so far"
    if snapshot.rejected_attempts:
        facts += f" · {snapshot.rejected_attempts} attempts rejected"
    if snapshot.exhausted:
        facts += f" · {snapshot.exhausted} runs given up"
    if snapshot.left_out:
        facts += f" · {snapshot.left_out} runs left out"
    if snapshot.spared:
        facts += f" · {snapshot.spared} runs not needed: decided at a look"
    return Group(bar, units, Text(facts, style="dim"))


def _columns(snapshot: Snapshot, width: int) -> list[str]:
    """Which of :data:`WIDTHS` are shown: without room, not a temperature that no unit has, then not the throughput."""
    shown = list(WIDTHS)
    sensor = any(status.temperature_c is not None for status in snapshot.lanes.values())
    for heading, least in (("temperature", 0 if sensor else LONG_RUN_WIDTH), ("throughput", RUN_WIDTH)):
        if width - sum(WIDTHS[it] + 1 for it in shown) < least:
            shown.remove(heading)
    return shown


def _cells(status: Status, gate: Gate | None) -> list[str]:
    run = status.run_id.replace("__", " · ") if status.run_id else "–"
    if status.attempt and status.attempt > 1:
        run += f" (attempt {status.attempt})"
    stage = status.stage if status.detail in ("", status.stage) else f"{status.stage}: {status.detail}"
    seconds = (time.time_ns() - status.since_utc_ns) / 1e9 if status.since_utc_ns else None
    progress = f"{status.progress:.0%}" if status.progress is not None else _time(seconds)
    temperature = "no sensor" if status.temperature_c is None else f"{status.temperature_c:.0f} °C"
    if status.temperature_c is not None and gate and gate.ceiling_c:
        temperature += f" / {gate.ceiling_c:.0f}"
    throughput = "–" if status.throughput_tok_s is None else f"{status.throughput_tok_s:.0f} tok/s"
    return [run, stage, progress, temperature, throughput]


def line(snapshot: Snapshot) -> str:
    """The same in one plain line."""
    done = snapshot.done
    runs = ", ".join(
        f"{name}: {status.run_id or 'idle'} {status.stage}" for name, status in sorted(snapshot.lanes.items())
    )
    return f"{done}/{snapshot.total} runs, ETA {_time(snapshot.eta_s)}, {runs or snapshot.stage}"


class Display(AbstractContextManager["Display"]):
    """Shows snapshots and messages; live on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, gate: Gate | None) -> None:
        self.console = console
        self.gate = gate
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._told_at = 0.0
        self._told = ""

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        if self._live:
            self._live.update(panel(snapshot, self.gate))
            return
        now = time.monotonic()
        text = line(snapshot)
        if snapshot.stage != self._told or now - self._told_at >= PLAIN_EVERY_S:
            self._told, self._told_at = snapshot.stage, now
            print(text if snapshot.stage == "running" else f"{snapshot.campaign}: {snapshot.stage}", flush=True)

    def tell(self, message: str) -> None:
        self.console.print(message, highlight=False, markup=False)

    def present(self, table: RenderableType) -> None:
        """A table that stays where it is printed."""
        self.console.print(table)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Without the live display, for a question."""
        if self._live:
            self._live.stop()
        try:
            yield
        finally:
            if self._live:
                self._live.start()


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)
