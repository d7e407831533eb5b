"""The command line: verbs only, no logic. Heavy modules are imported where they are needed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent

EXIT_INCOMPLETE, EXIT_CONFIG, EXIT_REFUSED, EXIT_ENGINE, EXIT_PAUSED, EXIT_INTERRUPTED = 1, 2, 3, 4, 5, 130

EPILOG = """
Exit codes: 0 done · 1 runs are missing or something is wrong · 2 bad config or argument · 3 this host or these
results do not allow it · 4 no Docker engine · 5 paused by the gate or a fault of the unit · 130 interrupted (the same command goes on).
"""

app = typer.Typer(
    name="campaign",
    help="Does Docker cost LLM inference anything? Runs native and Docker benchmarks alternately, thermally gated, "
    "and keeps the evidence.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Output(Console):
    """What is printed may come out of a stranger's results: nothing in it is markup, or a command to the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        from campaign import foreign

        return super().render_str(foreign.plain(text), **options)

    def on_broken_pipe(self) -> None:
        """Rich would exit with code 1 when the reader (head, less) has seen enough."""
        raise BrokenPipeError


out = Output(highlight=False, markup=False)
err = Output(stderr=True, highlight=False, markup=False)


def _folders(incomplete: str) -> list[str]:
    """For completion: results folders, below ``results/`` or below what has been typed."""
    base = (
        Path(incomplete)
        if incomplete.endswith("/")
        else Path(incomplete).parent
        if "/" in incomplete
        else Path("results")
    )
    return [
        text for place in sorted(base.glob("*/campaign.json")) if (text := str(place.parent)).startswith(incomplete)
    ]


def _run_ids(incomplete: str) -> list[str]:
    """For completion: runs of the results folder changed last."""
    journals = sorted(Path("results").glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
    found = journals[-1].parent.glob("attempts/*") if journals else ()
    return sorted(place.name for place in found if place.name.startswith(incomplete))


def _environments(incomplete: str) -> list[str]:
    """For completion: environments of the library."""
    names = re.findall(r"^  - name: (\S+)", (ROOT / "configs" / "environments.yaml").read_text(), re.MULTILINE)
    return [name for name in names if name.startswith(incomplete)]


ResultsRoot = Annotated[Path, typer.Option("--results", help="Folder that holds the results of all campaigns.")]
Folder = Annotated[
    Path | None,
    typer.Argument(
        help="A campaign's results folder; default: the one changed last.",
        show_default=False,
        autocompletion=_folders,
    ),
]


ERRORS = (
    ("campaign.marked", "ConfigError", EXIT_CONFIG),
    ("campaign.analysis.statistics.table", "TableError", EXIT_CONFIG),
    ("campaign.importing", "ImportRefused", EXIT_CONFIG),
    ("campaign.power", "PowerRefused", EXIT_CONFIG),
    ("actors.environments.daemon", "EngineMissing", EXIT_ENGINE),
    ("actors.environments", "EnvironmentError_", EXIT_REFUSED),
    ("actors.engines", "EngineError", EXIT_REFUSED),
    ("campaign.errors", "DriverError", EXIT_REFUSED),
    ("campaign.cluster", "ClusterError", EXIT_REFUSED),
    ("campaign.journal", "JournalError", EXIT_REFUSED),
    ("campaign.store", "StoreError", EXIT_REFUSED),
    ("campaign.registration", "NotRegistered", EXIT_REFUSED),
    ("campaign.analysis.sql", "ResultsError", EXIT_REFUSED),
    ("duckdb", "Error", EXIT_REFUSED),
    ("builtins", "OSError", EXIT_REFUSED),
)
"""Errors that are for the person, by module and name: one can only come from a module that is imported, and many never are."""


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Errors that are for the person become one message and an exit code; a traceback needs CAMPAIGN_TRACEBACK=1."""
    try:
        yield
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except Exception as problem:
        kinds = ((getattr(sys.modules[module], name), code) for module, name, code in ERRORS if module in sys.modules)
        code = next((code for kind, code in kinds if isinstance(problem, kind)), -1)
        if code < 0 or os.environ.get("CAMPAIGN_TRACEBACK"):
            raise
        message = str(problem)
        if isinstance(problem, OSError) and problem.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = (
                f"the disk is full ({problem}). Nothing that finished is lost: make space, and give the same command."
            )
        err.print(f"campaign: {message}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(code) from None


def latest(folder: Path | None, root: Path = Path("results")) -> Path:
    """``folder``, or the results folder whose journal changed last."""
    from campaign.store import StoreError

    if folder is not None:
        if not (folder / "campaign.json").exists():
            raise StoreError(f"{folder}: no campaign here (no campaign.json). Name a folder below {root}/.")
        return folder
    found = sorted(root.glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise StoreError(f"{root}: no results yet. Start a campaign with `campaign run` or `make campaign`.")
    return found[-1].parent


def chosen(config: Path | None) -> tuple[Any, Any]:
    """The ``Choice`` of campaign file, which it prints, and the campaign in it. Raises ConfigError."""
    from campaign import config as configs
    from campaign.choose import choose

    choice = choose(ROOT, str(config) if config else None)
    out.print(str(choice), soft_wrap=True, markup=False)
    return choice, configs.load(choice.config)


@app.command(epilog="Examples:\n\n  campaign run\n\n  campaign run configs/campaigns/local.yaml --new")
def run(
    config: Annotated[Path | None, typer.Argument(help="Campaign file; default: the one for this machine.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start another campaign instead of going on with the last.")
    ] = False,
    results: ResultsRoot = Path("results"),
    address: Annotated[
        str | None, typer.Option(help="Ray cluster whose units share the campaign (`auto`, or HOST:PORT).")
    ] = None,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Go on although config, code or image changed; journalled.")
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave the HTML report out.")] = False,
    without: Annotated[
        bool, typer.Option("--without", help="Go on without the cells that the shakedown finds unable to run.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop where the shakedown finds such cells.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: go on with the cells that can run.")] = False,
) -> None:
    """Carry out a campaign, or go on with it where it stopped."""
    with told():
        failing: Failing = "stop" if stop else "without" if without or yes or not _asks() else "ask"
        raise typer.Exit(_run(config, new, results, address, accept_drift, no_report, failing))


@app.command(epilog="Examples:\n\n  campaign shakedown\n\n  campaign shakedown configs/campaigns/spark.yaml")
def shakedown(
    config: Annotated[Path | None, typer.Argument(help="Campaign file; default: the one for this machine.")] = None,
    results: ResultsRoot = Path("results"),
    address: Annotated[
        str | None, typer.Option(help="Ray cluster whose units share the campaign (`auto`, or HOST:PORT).")
    ] = None,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Go on although config, code or image changed; journalled.")
    ] = False,
) -> None:
    """Try every cell once with a handful of requests: what runs, what does not and why, how long the campaign takes."""
    with told():
        raise typer.Exit(_run(config, False, results, address, accept_drift, True, "stop", only_shakedown=True))


Failing = Literal["ask", "without", "stop"]
"""What is done about cells that cannot run."""


def _asks() -> bool:
    return sys.stdin.isatty() and out.is_terminal


def _run(
    config: Path | None,
    new: bool,
    results: Path,
    address: str | None,
    accept_drift: bool,
    no_report: bool,
    failing: Failing,
    only_shakedown: bool = False,
) -> int:
    from campaign import journal, rights
    from campaign.store import Store, StoreError, folder_for

    choice, loaded = chosen(config)
    store = folder_for(results, loaded.name, new)
    if store.exists() and store.info()["config_hash"] == loaded.config_hash:
        events, _, _ = journal.read(store.journal_path)
        state = journal.fold(events)
        if state.completed:
            with contextlib.suppress(OSError, StoreError):  # it may be read-only by now
                store.lock()
                for line in store.repair():
                    out.print(f"  {line}", style="dim")
                store.unlock()
            out.print(f"{loaded.name} is finished: {_report_line(store)}. NEW=1 (or --new) starts another.")
            short = any(run.exhausted and run.accepted is None for run in state.runs.values())
            return EXIT_INCOMPLETE if short or state.left_out else 0
    if address is None:
        rights.require(loaded, rights.with_sudo("shakedown" if only_shakedown else "run", config))
    store.lock()
    try:
        for line in store.repair():
            out.print(f"  {line}", style="dim")
        if store.exists():
            store.began()  # refuses a folder whose journal is lost before anything is started
        if any(environment.kind != "native-host" for environment in loaded.environments) and address is None:
            from actors import host
            from actors.environments import daemon

            daemon.ensure(host.home(), say=out.print)
        snapshot = _drive(loaded, store, choice.because, address, accept_drift, failing, only_shakedown)
        if not (store.exists() and isinstance(store, Store)):
            raise StoreError(f"{store.root}: nothing was recorded")
        return _finish(store, snapshot, no_report)
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
    from campaign.driver import Driver
    from campaign.live import Display
    from campaign.stay_awake import stay_awake

    with stay_awake(lambda line: out.print(line, style="dim"), loaded.name), Display(out, loaded.gate) as display:
        driver = Driver(
            loaded,
            store,
            chosen_because=because,
            address=address,
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
                if out.is_terminal:
                    sys.stdout.write("\x1b[?25h\n")  # the live display hides the cursor
                    sys.stdout.flush()
                os._exit(EXIT_INTERRUPTED)
            driver.interrupt()
            display.tell("ending the current attempt; once more ends at once")

        previous = {
            number: signal.signal(number, pressed)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
            if signal.getsignal(number) is not signal.SIG_IGN  # under nohup, say
        }
        try:
            return driver.run()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _choose(failing: Failing, display: Any, driver: Any, cells: int) -> tuple[Literal["without", "stop"], str]:
    """Whether to go on without the cells that cannot run, and who said so. A question waits for an answer or for Ctrl-C."""
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


def _finish(store: Any, snapshot: Any, no_report: bool) -> int:
    if snapshot.stage != "completed":
        left = snapshot.total - snapshot.done
        if snapshot.message == "shakedown":
            from campaign import journal

            tried = journal.fold(journal.read(store.journal_path)[0]).shakedowns.values()
            failed = sum(not event["passed"] for event in tried)
            out.print(
                f"shakedown of {len(tried)} cells: {f'{failed} cannot run' if failed else 'all run'}. Nothing was measured."
            )
            return EXIT_INCOMPLETE if failed else 0
        out.print(f"stopped with {left} of {snapshot.total} runs to go: {snapshot.message}. The same command goes on.")
        if snapshot.message.startswith(("gate", "infrastructure")):
            return EXIT_PAUSED
        if snapshot.message.startswith("shakedown"):
            return EXIT_REFUSED
        return EXIT_INTERRUPTED if snapshot.message == "interrupt" else EXIT_INCOMPLETE
    _report_apart(store, no_report)
    out.print(f"{snapshot.campaign} is finished: {_report_line(store)}")
    return EXIT_INCOMPLETE if snapshot.exhausted or snapshot.left_out else 0


def _report_apart(store: Any, no_report: bool) -> None:
    """The summary and the page in a process of their own: Ray and the libraries that draw need not get on in one, and a crash there harms
    nothing that was measured. One that dies by a signal is tried once more."""
    import subprocess

    words = [sys.executable, "-m", "campaign.report.apart", str(store.root), *(["--no-page"] if no_report else [])]
    for last in (False, True):
        ended = subprocess.run(words, cwd=ROOT, env={**os.environ, "COLUMNS": str(out.width)}, check=False).returncode
        if ended == 0:
            return
        if ended > 0 or last:
            out.print(
                f"the report could not be made (code {ended}); the results are whole: campaign report {store.root}",
                style="red",
            )
            return
        out.print(f"the report's process died by signal {-ended}; once more")


def _report_line(store: Any) -> str:
    page = store.root / "report" / "index.html"
    return f"report {page}" if page.exists() else f"results {store.root} (report: campaign report {store.root})"


@app.command(epilog="Example:\n\n  campaign plan configs/campaigns/local.yaml")
def plan(
    config: Annotated[Path | None, typer.Argument(help="Campaign file; default: the one for this machine.")] = None,
    units: Annotated[int, typer.Option(min=1, help="Units that share the campaign.")] = 1,
    results: ResultsRoot = Path("results"),
) -> None:
    """Print what would run: blocks in order, counts, ETA, disk, and what the gate will ask for."""
    with told():
        from campaign.outlook import describe
        from campaign.plan import plan
        from campaign.store import folder_for

        _, loaded = chosen(config)
        store = folder_for(results, loaded.name, new=False)
        known = {}
        if store.exists():
            from campaign import journal, shakedown

            known = shakedown.speeds(journal.fold(journal.read(store.journal_path)[0]))
        out.print(describe(loaded, plan(loaded, units), store.root if store.exists() else None, known=known))


@app.command(epilog="Examples:\n\n  campaign retry\n\n  campaign retry results/local --run RUN")
def retry(
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    run: Annotated[
        list[str] | None, typer.Option("--run", help="A run that was given up; repeatable. Without it all of them.")
    ] = None,
) -> None:
    """Open runs that were given up again; `campaign run` then goes on with them."""
    with told():
        from campaign.retry import reopen

        place = latest(folder, results)
        opened = reopen(place, tuple(run or ()))
        for run_id in opened:
            out.print(f"opened again: {run_id}", markup=False, soft_wrap=True)
        out.print(
            f"{len(opened)} runs opened again; `campaign run` goes on with them" if opened else "no run was given up"
        )


@app.command(epilog="Example:\n\n  campaign register configs/campaigns/spark.yaml -o registrations/spark.json")
def register(
    config: Annotated[Path | None, typer.Argument(help="Campaign file; default: the one for this machine.")] = None,
    copy: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write it here, to commit or to stamp.")
    ] = None,
    units: Annotated[int, typer.Option(min=1, help="Units that will share the campaign.")] = 1,
    new: Annotated[bool, typer.Option("--new", help="For another campaign beside the last.")] = False,
    results: ResultsRoot = Path("results"),
) -> None:
    """Write down before the first run what is asked and how it will be decided, with one hash that others can date."""
    with told():
        from campaign import registration
        from campaign.store import StoreError, folder_for, write_durably

        _, loaded = chosen(config)
        store = folder_for(results, loaded.name, new)
        if store.exists() and store.began():
            raise StoreError(
                f"{store.root}: its first run has begun, and a registration after that shows nothing. Register another campaign with --new."
            )
        data = registration.canonical(registration.document(loaded, units))
        beside = registration.place_beside(store.root)
        for place in (beside, copy):
            if place is None:
                continue
            if place.exists() and place.read_bytes() != data:
                raise StoreError(
                    f"{place}: another registration is there, and it may have been dated already. Move it away to replace it."
                )
            write_durably(place, data)
            out.print(f"wrote {place}", soft_wrap=True)
        out.print(f"sha256 {registration.sha256(data)}", soft_wrap=True)
        named = copy or beside
        out.print(
            "Nothing here shows when it was written. Have the hash dated by others before the first run, by one of:\n"
            f"  git tag -s registered-{loaded.name} -m 'sha256 {registration.sha256(data)}' && git push origin registered-{loaded.name}\n"
            f"  ots stamp {named}\n"
            f"  openssl ts -query -data {named} -sha256 -cert -out {named}.tsq   (and send it to a time-stamping authority, RFC 3161)\n"
            f"`campaign run` keeps {beside.name} in the results before the first run; the report states the hash and every deviation.",
            soft_wrap=True,
        )


@app.command(epilog="Examples:\n\n  campaign status --watch\n\n  campaign status results/local --json")
def status(
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="The snapshot as JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing until the driver ends.")] = False,
) -> None:
    """Show from any terminal how a campaign stands."""
    with told():
        from campaign.live import panel
        from campaign.standing import standing

        place = latest(folder, results)
        snapshot, running = standing(place)
        if as_json:
            print(json.dumps(snapshot.to_json(), indent=1))
            return
        if watch and running:
            from rich.live import Live

            with Live(console=out, refresh_per_second=2) as live, contextlib.suppress(KeyboardInterrupt):
                while running:
                    live.update(panel(snapshot))
                    time.sleep(1)
                    snapshot, running = standing(place)
        out.print(panel(snapshot))
        out.print(f"{place}: {'running, driver PID ' + str(snapshot.pid) if running else snapshot.stage}", style="dim")


@app.command(epilog="Examples:\n\n  campaign doctor\n\n  campaign doctor configs/campaigns/local.yaml")
def doctor(
    config: Annotated[Path | None, typer.Argument(help="Also check what this campaign needs.")] = None,
) -> None:
    """Check by trying everything that a campaign needs; each finding has a remedy."""
    with told():
        from actors import host
        from campaign import config as configs
        from campaign import doctor as doctors

        loaded = configs.load(config) if config else None
        uuid = None
        if loaded is not None and loaded.gpus:
            from actors.gpu import choose_gpu

            uuid = choose_gpu(loaded.gpus).uuid
        failed = doctors.show(out, doctors.checks(host.home(), loaded, gpu_uuid=uuid))
        raise typer.Exit(1 if failed else 0)


@app.command(epilog="Examples:\n\n  campaign verify results/local\n\n  campaign verify results/local --head 131:5f0c…")
def verify(
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    head: Annotated[
        str | None,
        typer.Option(help="Head of the journal (LINES:SHA256) that was kept elsewhere, as this command prints it."),
    ] = None,
) -> None:
    """Compute again whatever can be: digests, journal, plan, verdicts; and hold it against what is written."""
    with told():
        from campaign.store import Store

        place = latest(folder, results)
        problems = Store(place).verify(head)
        for problem in problems:
            out.print(str(problem), style="red", markup=False, soft_wrap=True)
        out.print(f"{place}: {f'{len(problems)} problems' if problems else 'clean'}", soft_wrap=True)
        if not problems:
            out.print(f"head of the journal, to be kept elsewhere: {Store(place).head('journal')}", soft_wrap=True)
        raise typer.Exit(1 if problems else 0)


@app.command(epilog="Examples:\n\n  campaign reap\n\n  campaign reap --spools")
def reap(
    spools: Annotated[
        bool, typer.Option("--spools", help="Also remove what unfinished campaigns keep on this machine to go on with.")
    ] = False,
) -> None:
    """Remove containers, processes and mounts that crashed campaigns left; nothing else."""
    with told():
        from actors import host, leftover
        from actors.environments import reap as reaper
        from campaign import cluster
        from campaign.forecast import duration, size

        done = [*cluster.reap(), *reaper.reap(host.home())]
        kept = leftover.spools(host.home())
        gone = leftover.clear(kept) if spools else []
        done += [f"removed the spool of campaign {spool.campaign_id} ({size(spool.size_bytes)})" for spool in gone]
        done += [
            f"kept: the spool of campaign {spool.campaign_id}, {size(spool.size_bytes)}, {duration(spool.age_s)} old: its own command goes on "
            "with it, `campaign reap --spools` removes it"
            for spool in kept
            if spool not in gone
        ]
        for line in done or ["nothing to clean up"]:
            out.print(line)


@app.command(epilog="Example:\n\n  campaign diff native-chroot docker-baseline")
def diff(
    first: Annotated[str, typer.Argument(help="Environment.", autocompletion=_environments)],
    second: Annotated[str, typer.Argument(help="Environment.", autocompletion=_environments)],
    config: Annotated[Path | None, typer.Option(help="Campaign file that defines them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same.")] = False,
) -> None:
    """Show what differs between two environments."""
    with told():
        from rich.markup import escape
        from rich.table import Table

        from actors.environments.resolve import difference
        from campaign import config as configs
        from campaign.choose import choose
        from campaign.diff import seen

        loaded = configs.load(choose(ROOT, str(config) if config else None).config)
        a, b = (loaded.environment(name) for name in (first, second))
        table = Table("aspect", first, second)
        for aspect, left, right in difference(a, b):
            if everything or left != right:
                table.add_row(aspect, left, right)
        rows, reason = seen(loaded, a, b)
        for aspect, left, right in rows:
            table.add_row(aspect, escape(left), escape(right))
        out.print(table)
        out.print(reason, markup=False)


@app.command(
    epilog="Examples:\n\n  campaign sql\n\n  campaign sql 'from runs limit 5' --format csv\n\n"
    "  campaign sql results/local 'from gates' -f parquet -o gates.parquet"
)
def sql(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FOLDER] [QUERY]", help="Results folder, one query; default: a prompt."),
    ] = None,
    format: Annotated[
        Literal["table", "csv", "json", "parquet"], typer.Option("--format", "-f", help="How the answer is written.")
    ] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the answer.")] = None,
    results: ResultsRoot = Path("results"),
) -> None:
    """Query a campaign by SQL, also while it runs."""
    with told():
        from campaign.analysis.shell import shell

        rest = list(words or [])
        folder = Path(rest.pop(0)) if rest and (len(rest) > 1 or Path(rest[0]).is_dir()) else None
        raise typer.Exit(shell(latest(folder, results), rest[0] if rest else None, format, output))


@app.command(epilog="Examples:\n\n  campaign report results/local\n\n  campaign report --print --width 3.5")
def report(
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    print_: Annotated[
        bool, typer.Option("--print", help="Also figures for print (PDF, SVG, PNG) and LaTeX tables.")
    ] = False,
    width: Annotated[
        list[float] | None, typer.Option(help="Width of a print figure, inches; default 3.5 and 7.16.")
    ] = None,
) -> None:
    """Write the HTML report and its figures, of a finished or a running campaign."""
    with told():
        from campaign.report import page, summary
        from campaign.store import Store

        place = latest(folder, results)
        Store(place).info(imported=True)
        summary.show(place, out)
        out.print(f"report {page.write(place)}", soft_wrap=True)
        if print_:
            from campaign.report import article
            from campaign.report import print as paper

            written = paper.write(place, width or paper.WIDTHS)
            for figure, why in written.absent.items():
                out.print(f"no figure {figure}: {why}", soft_wrap=True)
            tables = article.write(place)
            out.print(
                f"{len(written.paths)} figure files in {place / 'report' / 'print'}, {len(tables)} tables beside it"
            )


@app.command(epilog="Example:\n\n  campaign export results/local local.zip")
def export(
    folder: Annotated[Path, typer.Argument(help="A campaign's results folder.")],
    target: Annotated[Path, typer.Argument(help="New folder, or file ending in .zip, .tar.gz or .tgz.")],
) -> None:
    """Export the audit trail as a data package (Frictionless, RO-Crate) for archiving."""
    with told():
        from campaign.export import export as write

        out.print(f"wrote {write(latest(folder), target)}", soft_wrap=True)


@app.command(
    epilog="Examples:\n\n  campaign show random-llama-8m__docker-baseline__chat-short__r01 --command\n\n"
    "  campaign show qwen2-1.5b__docker-baseline__throughput-1000__r01 --config configs/campaigns/spark.yaml"
)
def show(
    run_id: Annotated[
        str, typer.Argument(help="A run, as `model__environment__workload__r01`.", autocompletion=_run_ids)
    ],
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    command: Annotated[bool, typer.Option("--command", help="Only the exact command of the accepted attempt.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="Show the run that this campaign file plans, before it runs.")
    ] = None,
) -> None:
    """Show a run: its attempts, verdicts and exact command."""
    with told():
        if config is not None:
            from campaign import config as configs
            from campaign.planned import planned_command, text

            described = text(planned_command(configs.load(config), run_id))
        else:
            from campaign.standing import describe_run

            described = describe_run(latest(folder, results), run_id, command_only=command)
        out.print(described, soft_wrap=True, markup=False)


@app.command(epilog="Example:\n\n  campaign parse trtllm report.json --log stdout.log --keys reference")
def parse(
    engine: Annotated[str, typer.Argument(help="trtllm, vllm or llamacpp.")],
    report: Annotated[Path, typer.Argument(help="The engine's report (or its log, where there is none).")],
    log: Annotated[Path | None, typer.Option(help="The engine's log: KV cache, peak memory, failures.")] = None,
    requests: Annotated[Path | None, typer.Option(help="The engine's records of single requests.")] = None,
    keys: Annotated[Literal["project", "reference"], typer.Option(help="Whose names the figures get.")] = "project",
) -> None:
    """Print an engine's report as JSON under this project's metric names."""
    with told():
        from actors.engines.parse import parse_file

        print(json.dumps(parse_file(engine, report, log, requests, keys), indent=1))


Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="NAME=MEANING: what a column is (a factor, a metric, condition, ignore); repeatable."
    ),
]
Units = Annotated[
    list[str] | None, typer.Option("--unit", help="NAME=UNIT: the unit of a column's figures; repeatable.")
]
Constants = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="NAME=VALUE for what no column says, as environment=native; FILES:NAME=VALUE for some files."
    ),
]
Statuses = Annotated[
    list[str] | None, typer.Option("--status", help="WORD=ok or WORD=failed: what a status word means.")
]
Better = Annotated[
    list[str] | None, typer.Option("--better", help="NAME=higher, lower or neither: which way a metric is better.")
]
Decimal = Annotated[str | None, typer.Option("--decimal", help="point or comma, where the numbers do not show it.")]
Dates = Annotated[str | None, typer.Option("--dates", help="day-first or month-first, where the dates do not show it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how the table is understood, and write nothing.")]


@app.command(epilog="Example:\n\n  campaign analyze runs.csv --json out.json --reference native")
def analyze(
    table: Annotated[Path, typer.Argument(help="Run table, a row for each attempt: CSV, JSON, Excel, Parquet, …")],
    json_: Annotated[Path | None, typer.Option("--json", help="File for the results.")] = None,
    reference: Annotated[str | None, typer.Option(help="Reference arm; default: `native…`.")] = None,
    requests: Annotated[Path | None, typer.Option(help="Request table for latency percentiles.")] = None,
    sequential: Annotated[
        Path | None, typer.Option(help="Group-sequential design of the runs (YAML or JSON; docs/statistics.md).")
    ] = None,
    column: Columns = None,
    unit: Units = None,
    set_: Constants = None,
    status_: Statuses = None,
    better: Better = None,
    decimal: Decimal = None,
    dates: Dates = None,
    dry_run: DryRun = False,
) -> None:
    """Run the statistics on any run table, without a campaign."""
    with told():
        from campaign.analysis.statistics.analyze import analyze_file, read_design, read_files
        from campaign.reading import asked
        from campaign.reading.describe import describe

        words = asked(
            columns=column or (), units=unit or (), constants=set_ or (), statuses=status_ or (), better=better or (),
            decimal=decimal, dates=dates,
        )  # fmt: skip
        reading, _ = read_files(table, requests, words)
        for line in describe(reading) if reading else ():
            out.print(line, soft_wrap=True, markup=False)
        if dry_run:
            return
        if json_ is None:
            raise typer.BadParameter("name the file for the results, or say --dry-run", param_hint="--json")
        design = None if sequential is None else read_design(sequential)
        analyze_file(table, json_, reference, requests, asked=words, design=design)
        out.print(f"wrote {json_}", markup=False)


@app.command(
    "import",
    epilog="Examples:\n\n  campaign import phase1_results.json --gpu 'NVIDIA GB10' --batch-size 8\n\n"
    "  campaign import native*.json docker*.json --set 'native*:environment=native' --set 'docker*:environment=docker'",
)
def import_(
    file: Annotated[list[Path], typer.Argument(help="Runs of others: tables, or reports of benchmark tools.")],
    results: ResultsRoot = Path("results"),
    name: Annotated[str | None, typer.Option(help="Name of the results folder; default: the file's.")] = None,
    column: Columns = None,
    unit: Units = None,
    set_: Constants = None,
    status_: Statuses = None,
    better: Better = None,
    decimal: Decimal = None,
    dates: Dates = None,
    reference: Annotated[str | None, typer.Option(help="Reference environment; default: `native…`.")] = None,
    gpu: Annotated[str | None, typer.Option(help="GPU they ran on, for the roofline.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sequences decoded together, for the roofline.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Take in runs of others, for the same SQL, statistics and report."""
    with told():
        from campaign.importing import base_arm, import_runs, understand
        from campaign.reading import asked
        from campaign.reading.describe import describe
        from campaign.report import page

        words = asked(
            columns=column or (), units=unit or (), constants=set_ or (), statuses=status_ or (), better=better or (),
            decimal=decimal, dates=dates,
        )  # fmt: skip
        reading = understand(file, words)
        for line in describe(reading):
            out.print(line, soft_wrap=True, markup=False)
        out.print(f"reference: {base_arm(reading, reference, file)}", markup=False)
        if dry_run:
            return
        place = import_runs(file, results, name=name, reference=reference, gpu=gpu, batch_size=batch_size, asked=words)
        out.print(f"report {page.write(place)}", soft_wrap=True, markup=False)


@app.command(
    epilog="Examples:\n\n  campaign power --cv-pct 0.5 --margin-pct 1\n\n  campaign power results/local --n 30"
)
def power(
    pilot: Annotated[Path | None, typer.Argument(help="Results folder of a pilot; else --cv-pct.")] = None,
    cv_pct: Annotated[float | None, typer.Option(help="Assumed run-to-run coefficient of variation, percent.")] = None,
    rho: Annotated[float | None, typer.Option(help="Assumed correlation of the arms within blocks.")] = None,
    effect_pct: Annotated[float, typer.Option(help="Difference to be found, percent.")] = 1.0,
    margin_pct: Annotated[float | None, typer.Option(help="Equivalence margin, percent.")] = None,
    n: Annotated[int, typer.Option(min=2, help="Runs in each arm.")] = 30,
    m: Annotated[int, typer.Option(min=1, help="Comparisons in the family.")] = 30,
) -> None:
    """Tell before any run what N this effect and margin need."""
    with told():
        from campaign.power import describe_power

        out.print(describe_power(pilot, cv_pct=cv_pct, rho=rho, effect_pct=effect_pct, margin_pct=margin_pct, n=n, m=m))


@app.command(epilog="Example:\n\n  campaign prepare configs/campaigns/spark.yaml")
def prepare(
    config: Annotated[Path | None, typer.Argument(help="Campaign file; default: the one for this machine.")] = None,
    no_fetch: Annotated[bool, typer.Option("--no-fetch", help="Download nothing; say what is missing.")] = False,
) -> None:
    """Put image, root filesystem, weights, datasets and engines in place and record their digests."""
    with told():
        from actors import host
        from campaign import prepare as prepares
        from campaign import rights

        _, loaded = chosen(config)
        if not no_fetch:
            rights.require(loaded, rights.with_sudo("prepare", config))
        if any(environment.kind != "native-host" for environment in loaded.environments):
            from actors.environments import daemon

            daemon.ensure(host.home(), say=out.print)
        failed = prepares.show(out, prepares.prepare(loaded, host.home(), not no_fetch, out.print, not no_fetch))
        raise typer.Exit(EXIT_REFUSED if failed else 0)


@app.command(
    epilog="Examples:\n\n  sudo .venv/bin/campaign service install configs/campaigns/spark.yaml\n\n  campaign service status"
)
def service(
    action: Annotated[Literal["install", "remove", "status"], typer.Argument(help="What to do with the systemd unit.")],
    config: Annotated[Path | None, typer.Argument(help="Campaign file; default: the one for this machine.")] = None,
) -> None:
    """Carry a campaign through reboots: a systemd unit that runs it until it is finished."""
    with told():
        from campaign import service as services

        def say(line: str) -> None:
            out.print(line, soft_wrap=True, markup=False)

        if action == "install":
            choice, loaded = chosen(config)
            services.install(loaded.name, choice.config, say)
        elif action == "remove":
            services.remove(say)
        else:
            say(services.status())


def main() -> None:
    began_ns = time.time_ns()
    try:
        app()
    finally:
        from actors import account

        account.leave(ROOT, sys.argv[1:], began_ns)
