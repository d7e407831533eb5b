"""Carry a campaign out: ``run`` and ``shakedown``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from campaign.cli.app import ROOT, Config, Phase, ResultsRoot, app, chosen, out
from campaign.cli.doing import doing
from campaign.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_PAUSED, EXIT_REFUSED

PANEL = "Carry out"
Address = Annotated[str | None, typer.Option(help="Ray cluster whose units share the campaign (`auto`, or HOST:PORT).")]
AcceptDrift = Annotated[
    bool, typer.Option("--accept-drift", help="Go on although config, code or image changed; journalled.")
]


@app.command(
    rich_help_panel=PANEL, epilog="Examples:\n\n  campaign run\n\n  campaign run configs/campaigns/local.yaml --new"
)
def run(
    config: Config = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start another campaign instead of going on with the last.")
    ] = False,
    results: ResultsRoot = Path("results"),
    address: Address = None,
    accept_drift: AcceptDrift = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave the HTML report out.")] = False,
    without: Annotated[
        bool, typer.Option("--without", help="Go on without the cells that the shakedown finds unable to run.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop where the shakedown finds such cells.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: go on with the cells that can run.")] = False,
    phase: Phase = None,
) -> None:
    """Carry out a campaign, or go on with it where it stopped; of a study every phase, or one with --phase."""
    from campaign.cli import study

    failing: Failing = "stop" if stop else "without" if without or yes or not _asks() else "ask"
    if study.meant(config, phase):
        attended = _asks() and not yes
        raise typer.Exit(
            study.run_study(config, phase, new, results, address, accept_drift, no_report, failing, attended)
        )
    raise typer.Exit(run_campaign(config, new, results, address, accept_drift, no_report, failing))


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign shakedown\n\n  campaign shakedown configs/campaigns/spark.yaml",
)
def shakedown(
    config: Config = None,
    results: ResultsRoot = Path("results"),
    address: Address = None,
    accept_drift: AcceptDrift = False,
) -> None:
    """Try every cell once with a handful of requests: what runs, what does not and why, how long the campaign takes."""
    raise typer.Exit(run_campaign(config, False, results, address, accept_drift, True, "stop", only_shakedown=True))


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign pilot configs/campaigns/spark.yaml\n\n"
    "  campaign pilot my.yaml --repetitions 8 && campaign plan my.yaml --pilot results/my-pilot --apply overrides.yaml",
)
def pilot(
    config: Config = None,
    repetitions: Annotated[
        int, typer.Option("--repetitions", "-n", help="Runs of each cell; five tell a variance between starts.")
    ] = 6,
    phase: Phase = None,
    new: Annotated[bool, typer.Option("--new", help="Another pilot instead of going on with the last.")] = False,
    results: ResultsRoot = Path("results"),
    address: Address = None,
    accept_drift: AcceptDrift = False,
) -> None:
    """Measure a few runs of every cell, in NAME-pilot: where they vary, what plan costs least,
    how short the rest can be."""
    from campaign.plan import pilot as pilots
    from campaign.preflight import rights
    from campaign.record.folders import folder_for

    choice, loaded = chosen(config, phase)
    asked = pilots.of(loaded, repetitions)
    store = folder_for(results, asked.name, new)
    store.require_kind(simulated=False)

    def close(store: Any, no_report: bool) -> None:
        own = [str(choice.config.absolute()), *(["--phase", phase] if phase else [])]
        words = [*own, "--pilot", str(store.root.absolute())]
        _apart(["-m", "campaign", "plan", *words], "what it tells", f"campaign plan {' '.join(words)}")

    if (code := finished_already(asked, store)) is not None:
        close(store, True)
        raise typer.Exit(code)
    if address is None:
        rights.require(asked, rights.with_sudo("pilot", config))
    because = f"a pilot of {loaded.name}"
    raise typer.Exit(carry_out(asked, store, because, address, accept_drift, True, "without", close=close))


Failing = Literal["ask", "without", "stop"]
"""What is done about cells that cannot run."""


def _asks() -> bool:
    return sys.stdin.isatty() and out.is_terminal


def run_campaign(
    config: Path | None,
    new: bool,
    results: Path,
    address: str | None,
    accept_drift: bool,
    no_report: bool,
    failing: Failing,
    only_shakedown: bool = False,
) -> int:
    from campaign.preflight import rights
    from campaign.record.folders import folder_for

    choice, loaded = chosen(config)
    store = folder_for(results, loaded.name, new)
    store.require_kind(simulated=False)
    if (code := finished_already(loaded, store)) is not None:
        return code
    if address is None:
        rights.require(loaded, rights.with_sudo("shakedown" if only_shakedown else "run", config))
    return carry_out(loaded, store, choice.because, address, accept_drift, no_report, failing, only_shakedown)


def finished_already(loaded: Any, store: Any) -> int | None:
    """The exit code of a campaign that is finished, which this says; None where there is something to do."""
    from campaign.record import journal
    from campaign.record.durable import StoreError

    if not store.exists() or store.info()["config_hash"] != loaded.config_hash:
        return None
    events, _, _ = journal.read(store.journal_path)
    state = journal.fold(events)
    if not state.completed:
        return None
    with contextlib.suppress(OSError, StoreError):  # it may be read-only by now
        store.lock()
        for line in store.repair():
            out.print(f"  {line}", style="dim")
        store.unlock()
    out.print(f"{loaded.name} is finished: {_report_line(store)}. NEW=1 (or --new) starts another.")
    short = any(run.exhausted and run.accepted is None for run in state.runs.values())
    return EXIT_INCOMPLETE if short or state.left_out else 0


def carry_out(
    loaded: Any,
    store: Any,
    because: str,
    address: str | None,
    accept_drift: bool,
    no_report: bool,
    failing: Failing,
    only_shakedown: bool = False,
    close: Callable[[Any, bool], None] | None = None,
) -> int:
    """Carry the campaign out in its results folder as far as it goes; the exit code. ``close`` tells what a finished
    one came to, in the place of its summary and page."""
    from campaign.record.durable import StoreError

    store.require_kind(simulated=False)
    store.lock()
    try:
        for line in store.repair():
            out.print(f"  {line}", style="dim")
        if store.exists():
            store.began()  # refuses a folder whose journal is lost before anything is started
        if address is None:
            from actors import host

            with doing("container engine"):
                for engine in loaded.container_engines().values():
                    engine.ensure(host.home(), out.print)
        try:
            snapshot = _drive(loaded, store, because, address, accept_drift, failing, only_shakedown)
        except KeyboardInterrupt:
            out.print("stopped before anything was begun. The same command goes on.")
            return EXIT_INTERRUPTED
        if not store.exists():
            raise StoreError(f"{store.root}: nothing was recorded")
        return _finish(store, snapshot, no_report, close or _report_apart)
    finally:
        store.unlock()


def _drive(
    loaded: Any,
    store: Any,
    because: str,
    address: str | None,
    accept_drift: bool,
    failing: Failing,
    only_shakedown: bool,
) -> Any:
    """Run the driver under the live display, with Ctrl-C once for a clean end and twice for an end at once."""
    from campaign import cluster
    from campaign.run.display import Display
    from campaign.run.driver import Driver
    from campaign.run.fleet import RayFleet
    from campaign.run.stay_awake import stay_awake

    with stay_awake(lambda line: out.print(line, style="dim"), loaded.name), Display(out, loaded.gate) as display:
        driver = Driver(
            loaded,
            store,
            chosen_because=because,
            fleet=RayFleet(address),
            accept_drift=accept_drift,
            tell=display.tell,
            show=display.show,
            present=display.present,
            choose=lambda cells: _choose(failing, display, driver, len(cells.reasons)),
            only_shakedown=only_shakedown,
        )
        presses = 0

        def pressed(signum: int, frame: object) -> None:
            nonlocal presses
            presses += 1
            if signum == signal.SIGHUP and out.is_terminal:  # it is gone: what is written there now would fail
                for stream in (sys.stdout, sys.stderr):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if presses > 1:
                if out.is_terminal:  # the live display hides the cursor; sys.stdout may be in the middle of a write
                    os.write(sys.stdout.fileno(), b"\x1b[?25h\r\n")
                cluster.abandon()
                os._exit(EXIT_INTERRUPTED)
            driver.interrupt()
            # In a thread, as this one may have been interrupted while it printed.
            threading.Thread(target=display.tell, args=("ending the current attempt; once more ends at once",)).start()

        previous = {
            number: signal.signal(number, pressed)
            for number in cluster.ENDING
            if signal.getsignal(number) is not signal.SIG_IGN  # under nohup, say
        }
        try:
            with _never_stuck(driver):
                return driver.run()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


STUCK_S = 3.0
"""How long an interrupted start may go on."""


@contextlib.contextmanager
def _never_stuck(driver: Any) -> Iterator[None]:
    """A signal while Ray starts ends the process though Ray holds the main thread, which on a busy machine it does for
    a minute: no handler of Python's would run before. There is nothing to journal then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, tells = os.pipe()
    os.set_blocking(tells, False)

    def listen() -> None:
        while os.read(told, 1):
            time.sleep(STUCK_S)
            if driver.connecting:
                if out.is_terminal:
                    os.write(sys.stdout.fileno(), b"\x1b[?25h\r\n")
                os.write(sys.stdout.fileno(), b"stopped before anything was begun. The same command goes on.\n")
                cluster.abandon()
                os._exit(EXIT_INTERRUPTED)

    from campaign import cluster

    threading.Thread(target=listen, daemon=True).start()
    before = signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(tells)


def _choose(failing: Failing, display: Any, driver: Any, cells: int) -> tuple[Literal["without", "stop"], str]:
    """Whether to go on without the cells that cannot run, and who said so.
    A question waits for an answer or for Ctrl-C."""
    if failing != "ask":
        return failing, "as asked on the command line" if failing == "stop" or _asks() else "unattended"
    import select

    with display.paused():
        out.print(f"Go on without these {cells} cells, or stop to mend them? [without/stop] ", end="", markup=False)
        while not driver.stopping.is_set():
            if select.select([sys.stdin], [], [], 0.2)[0]:
                answer = sys.stdin.readline()
                word = answer.strip().lower()
                if word and "without".startswith(word):
                    return "without", "decided at the terminal"
                if not answer or (word and "stop".startswith(word)):
                    return "stop", "decided at the terminal"
                out.print("Write without or stop: ", end="")
    return "stop", "interrupted"


def _finish(store: Any, snapshot: Any, no_report: bool, close: Callable[[Any, bool], None]) -> int:
    if snapshot.stage != "completed":
        left = snapshot.total - snapshot.done
        if snapshot.message == "shakedown":
            from campaign.record import journal

            tried = journal.fold(journal.read(store.journal_path)[0]).shakedowns.values()
            failed = sum(not event["passed"] for event in tried)
            out.print(
                f"shakedown of {len(tried)} cells: {f'{failed} cannot run' if failed else 'all run'}. "
                "Nothing was measured."
            )
            return EXIT_INCOMPLETE if failed else 0
        out.print(f"stopped with {left} of {snapshot.total} runs to go: {snapshot.message}. The same command goes on.")
        if snapshot.message.startswith(("gate", "infrastructure")):
            return EXIT_PAUSED
        if snapshot.message.startswith("shakedown"):
            return EXIT_REFUSED
        return EXIT_INTERRUPTED if snapshot.message == "interrupt" else EXIT_INCOMPLETE
    close(store, no_report)
    out.print(f"{snapshot.campaign} is finished: {_report_line(store)}")
    return EXIT_INCOMPLETE if snapshot.exhausted or snapshot.left_out else 0


def _report_apart(store: Any, no_report: bool) -> None:
    """The summary and the page in a process of their own: Ray and the libraries that draw need not get on in one, and a
    crash there harms nothing that was measured."""
    words = ["-m", "campaign.closing", str(store.root.absolute()), *(["--no-page"] if no_report else [])]
    _apart(words, "the report", f"campaign report {store.root}")


def _apart(words: list[str], what: str, again: str) -> None:
    """Run Python with these words, in a session of its own; one that dies by a signal once more. ``what`` it makes, and
    what makes it ``again``."""
    import subprocess

    for last in (False, True):
        environment = {**os.environ, "COLUMNS": str(out.width)}
        command = [sys.executable, *words]
        with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as process:
            try:
                ended = process.wait()
            except KeyboardInterrupt:
                process.terminate()
                process.wait()
                out.print(f"without {what}; the results are whole: {again}")
                raise
        if ended == 0:
            return
        if ended > 0 or last:
            out.print(f"{what} could not be made (code {ended}); the results are whole: {again}", style="red")
            return
        out.print(f"{what}'s process died by signal {-ended}; once more")


def _report_line(store: Any) -> str:
    page = store.root / "report" / "index.html"
    return f"report {page}" if page.exists() else f"results {store.root} (report: campaign report {store.root})"
