"""Runs and reports of others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from campaign.cli.app import ResultsRoot, app, finite, new_file, out
from campaign.cli.doing import doing

PANEL = "Results of others"
LARGEST_REPORT_BYTES = 512 * 2**20


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


@app.command(
    "import",
    rich_help_panel=PANEL,
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
    from campaign.exchange.imports import base_arm, import_runs, understand
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
    with doing("runs") as reached:
        place = import_runs(file, results, name=name, reference=reference, gpu=gpu, batch_size=batch_size, asked=words)
        written = page.write(place, lambda section: reached(f"page, {section}"))
    out.print(f"report {written}", soft_wrap=True, markup=False)


@app.command(rich_help_panel=PANEL, epilog="Example:\n\n  campaign analyze runs.csv --json out.json --reference native")
def analyze(
    table: Annotated[Path, typer.Argument(help="Run table, a row for each attempt: CSV, JSON, Excel, Parquet, …")],
    json_: Annotated[Path | None, typer.Option("--json", help="File for the results.", callback=new_file)] = None,
    reference: Annotated[str | None, typer.Option(help="Reference arm; default: `native…`.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The arm as it is shipped: all others are options, judged against it.")
    ] = None,
    margin_pct: Annotated[
        float | None,
        typer.Option(help="Margin of equivalence that was declared beforehand, in percent.", min=0.01, callback=finite),
    ] = None,
    requests: Annotated[Path | None, typer.Option(help="Request table for latency percentiles.")] = None,
    screen: Annotated[
        Path | None,
        typer.Option(
            help="Design of a two-level screen: CSV of environment, then a column of 1 and -1 for each factor."
        ),
    ] = None,
    nested: Annotated[
        list[str] | None, typer.Option(help="CHILD:PARENT, a factor that does something only with another; repeatable.")
    ] = None,
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
    if screen is not None:
        for option, given in (("--baseline", baseline), ("--margin-pct", margin_pct)):
            if given is not None:
                raise typer.BadParameter("not together with --screen", param_hint=option)
        from campaign.analysis.statistics.screen_table import analyze_screen_file, nesting

        with doing("statistics"):
            analyze_screen_file(table, screen, json_, words, nesting(nested))
        out.print(f"wrote {json_}", markup=False)
        return
    design = None if sequential is None else read_design(sequential)
    with doing("statistics"):
        analyze_file(
            table, json_, reference, requests, asked=words, design=design, margin_pct=margin_pct, baseline=baseline
        )
    out.print(f"wrote {json_}", markup=False)


@app.command(
    rich_help_panel=PANEL, epilog="Example:\n\n  campaign parse trtllm report.json --log stdout.log --keys reference"
)
def parse(
    engine: Annotated[str, typer.Argument(help="One of the engines (trtllm, vllm, llamacpp, …).")],
    report: Annotated[Path, typer.Argument(help="The engine's report (or its log, where there is none).")],
    log: Annotated[Path | None, typer.Option(help="The engine's log: KV cache, peak memory, failures.")] = None,
    requests: Annotated[Path | None, typer.Option(help="The engine's records of single requests.")] = None,
    keys: Annotated[Literal["project", "reference"], typer.Option(help="Whose names the figures get.")] = "project",
) -> None:
    """Print an engine's report as JSON under this project's metric names."""
    from actors.engines import EngineError
    from actors.engines.parse import parse_file
    from campaign.reading.errors import TableError

    for given in (report, log, requests):
        if given is not None and os.path.exists(given) and not os.path.isfile(given):  # noqa: PTH110, PTH113 - a name may be too long
            raise TableError(f"{given}: is no regular file")
        if given is not None and os.path.isfile(given) and given.stat().st_size > LARGEST_REPORT_BYTES:  # noqa: PTH113 - a name may be too long
            raise TableError(f"{given}: larger than {LARGEST_REPORT_BYTES >> 20} MiB, which no report of an engine is")
    try:
        parsed = parse_file(engine, report, log, requests, keys)
    except (EngineError, OSError) as problem:  # here it is an argument that is wrong, as a table is
        raise TableError(str(problem)) from None
    print(json.dumps(parsed, indent=1))
