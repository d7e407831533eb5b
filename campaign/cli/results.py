"""What came out: the report, SQL, single runs, the check of everything, the audit trail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from campaign.cli import completion
from campaign.cli.app import Folder, ResultsRoot, app, finite, latest, out
from campaign.cli.doing import doing

PANEL = "Results"


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign report results/local\n\n  campaign report --print --width 3.5",
)
def report(
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    print_: Annotated[
        bool, typer.Option("--print", help="Also figures for print (PDF, SVG, PNG) and LaTeX tables.")
    ] = False,
    width: Annotated[
        list[float] | None,
        typer.Option(
            min=1.0,
            max=20.0,
            callback=finite,
            help="Width of a print figure, inches; repeatable; default 3.5 and 7.16.",
        ),
    ] = None,
) -> None:
    """Write the HTML report and its figures, of a finished or a running campaign or study."""
    from campaign.analysis import cache as evidence
    from campaign.cli import study
    from campaign.record import interim_views
    from campaign.record.store import Store
    from campaign.report import guard, page, terminal

    place = latest(folder, results, studies=True)
    if study.is_study(place):
        study.report(place)
        return
    Store(place).info(imported=True)
    with doing("statistics"):
        con = evidence.connect(place)
        said = terminal.summary(con)
    out.print(said)
    if (views := guard.noted(con, place)) is not None:
        out.print(
            f"opened before the end, {views} time{'' if views == 1 else 's'} by now: noted in {interim_views.NAME}",
            style="dim",
        )
    with doing("page") as reached:
        written = page.write(place, reached)
    out.print(f"report {written}", soft_wrap=True)
    if print_:
        from campaign.report import paper
        from campaign.report.paper import article

        with doing(f"{len(paper.FIGURES)} figures for print"):
            figures = paper.write(place, width or paper.WIDTHS)
        for figure, why in figures.absent.items():
            out.print(f"no figure {figure}: {why}", soft_wrap=True)
        with doing("tables and article"):
            tables = article.write(place)
        out.print(f"{len(figures.paths)} figure files in {place / 'report' / 'print'}, {len(tables)} tables beside it")


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign sql\n\n  campaign sql 'from runs limit 5' --format csv\n\n"
    "  campaign sql results/local 'from gates' -f parquet -o gates.parquet\n\n  campaign "
    "sql 'from runs' --wide | less -S",
)
def sql(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER] [QUERY]",
            help="Results folder, one query; default: a prompt.",
            autocompletion=completion.folders,
        ),
    ] = None,
    format: Annotated[
        Literal["table", "csv", "json", "parquet"], typer.Option("--format", "-f", help="How the answer is written.")
    ] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the answer.")] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="Every column of a table, whole, however wide the terminal is.")
    ] = False,
    results: ResultsRoot = Path("results"),
) -> None:
    """Query a campaign by SQL, also while it runs."""
    from campaign.analysis.shell import shell

    rest = list(words or [])
    folder = Path(rest.pop(0)) if rest and os.path.isdir(rest[0]) else None  # noqa: PTH112 - a query may be too long for a name
    if len(rest) > 1:
        raise typer.BadParameter(f"{rest[0]!r} is no results folder; a query is one word: put it in quotes")
    shell(latest(folder, results, studies=True), rest[0] if rest else None, format, output, wide)


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign show random-llama-8m__docker-baseline__chat-short__r01 --command\n\n"
    "  campaign show qwen2-1.5b__docker-baseline__throughput-1000__r01 --config configs/campaigns/spark.yaml",
)
def show(
    run_id: Annotated[
        str, typer.Argument(help="A run, as `model__environment__workload__r01`.", autocompletion=completion.run_ids)
    ],
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    command: Annotated[bool, typer.Option("--command", help="Only the exact command of the accepted attempt.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Show the run that this campaign file plans, before it runs.", autocompletion=completion.configs
        ),
    ] = None,
) -> None:
    """Show a run: its attempts, verdicts and exact command."""
    if config is not None:
        from campaign.plan.command import planned_command, text
        from campaign.study.loading import campaign_in

        described = text(planned_command(campaign_in(config), run_id))
    else:
        from campaign.plan.command import planned_in
        from campaign.record.status import NotCarriedOut, describe_run

        place = latest(folder, results, imported=False)
        try:
            described = describe_run(place, run_id, command_only=command)
        except NotCarriedOut:
            described = planned_in(place, run_id)
    out.print(described, soft_wrap=True, markup=False)


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign verify results/local\n\n  campaign verify results/local --head 131:5f0c…",
)
def verify(
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    head: Annotated[
        str | None,
        typer.Option(help="Head of the journal (LINES:SHA256) that was kept elsewhere, as this command prints it."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A study's file, where it was moved.")] = None,
) -> None:
    """Compute again whatever can be: digests, journal, plan, verdicts, decisions;
    and hold it against what is written."""
    from campaign.audit import verification
    from campaign.cli import study
    from campaign.record.store import Store

    place = latest(folder, results, studies=True)
    if study.is_study(place):
        raise typer.Exit(study.verify(place, config))
    with doing("digests, journal, plan and verdicts of every attempt"):
        problems = verification.verify(Store(place), head)
    for problem in problems:
        out.print(str(problem), style="red", markup=False, soft_wrap=True)
    out.print(f"{place}: {f'{len(problems)} problems' if problems else 'clean'}", soft_wrap=True)
    if not problems:
        out.print(f"head of the journal, to be kept elsewhere: {Store(place).head('journal')}", soft_wrap=True)
    raise typer.Exit(1 if problems else 0)


@app.command(rich_help_panel=PANEL, epilog="Example:\n\n  campaign export results/local local.zip")
def export(
    folder: Annotated[Path, typer.Argument(help="A campaign's results folder.", autocompletion=completion.folders)],
    target: Annotated[Path, typer.Argument(help="New folder, or file ending in .zip, .tar.gz or .tgz.")],
) -> None:
    """Export the audit trail as a data package (Frictionless, RO-Crate) for archiving."""
    from campaign.exchange.export import export as write
    from campaign.study.package import export as write_study

    with doing(f"{folder} into {target}"):
        written = write_study(folder, target) if (folder / "study.json").exists() else write(latest(folder), target)
    out.print(f"wrote {written}", soft_wrap=True)
