"""While a campaign runs, and after a crash."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from campaign.cli.app import Config, Folder, ResultsRoot, app, chosen, latest, out

PANEL = "Meanwhile"


@app.command(
    rich_help_panel=PANEL, epilog="Examples:\n\n  campaign status --watch\n\n  campaign status results/local --json"
)
def status(
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="The snapshot as JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing until the driver ends.")] = False,
) -> None:
    """Show from any terminal how a campaign stands."""
    from campaign.cli import study
    from campaign.record.status import standing
    from campaign.run.display import panel

    place = latest(folder, results, imported=False, studies=True)
    if study.is_study(place):
        study.show_status(place, as_json)
        return
    snapshot, running = standing(place)
    if as_json:
        print(json.dumps(snapshot.to_json() | _looks_as_json(place), indent=1))
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
    from actors.gpu.hold import held
    from campaign.plan import progress

    progress.show(place, out.print)

    for name, holder in held().items():
        out.print(f"measured here now: {name}, by {holder}", style="dim", soft_wrap=True)


def _looks_as_json(place: Path) -> dict[str, Any]:
    """``looks`` and ``interim_views`` of a campaign that has any."""
    from campaign.plan import progress
    from campaign.record import interim_views

    stand = progress.standing(place)
    return {"looks": [its.to_json() for its in stand], "interim_views": len(interim_views.read(place))} if stand else {}


@app.command(rich_help_panel=PANEL, epilog="Examples:\n\n  campaign retry\n\n  campaign retry results/local --run RUN")
def retry(
    folder: Folder = None,
    results: ResultsRoot = Path("results"),
    run: Annotated[
        list[str] | None, typer.Option("--run", help="A run that was given up; repeatable. Without it all of them.")
    ] = None,
) -> None:
    """Open runs that were given up again; `campaign run` then goes on with them."""
    from campaign.run.retry import reopen

    place = latest(folder, results, imported=False)
    opened = reopen(place, tuple(run or ()))
    for run_id in opened:
        out.print(f"opened again: {run_id}", markup=False, soft_wrap=True)
    out.print(f"{len(opened)} runs opened again; `campaign run` goes on with them" if opened else "no run was given up")


@app.command(rich_help_panel=PANEL, epilog="Examples:\n\n  campaign reap\n\n  campaign reap --spools")
def reap(
    spools: Annotated[
        bool, typer.Option("--spools", help="Also remove what unfinished campaigns keep on this machine to go on with.")
    ] = False,
) -> None:
    """Remove containers, processes and mounts that crashed campaigns left; nothing else."""
    from actors import host
    from actors.environments import reap as reaper
    from actors.telemetry import leftover
    from campaign import cluster
    from campaign.plan.forecast import duration, size

    done = [*cluster.reap(), *reaper.reap(host.home())]
    kept = leftover.spools(host.home())
    gone = leftover.clear(kept) if spools else []
    done += [f"removed the spool of campaign {spool.campaign_id} ({size(spool.size_bytes)})" for spool in gone]
    done += [
        f"kept: the spool of campaign {spool.campaign_id}, {size(spool.size_bytes)}, {duration(spool.age_s)} old: "
        "its own command goes on with it, `campaign reap --spools` removes it"
        for spool in kept
        if spool not in gone
    ]
    for line in done or ["nothing to clean up"]:
        out.print(line)


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  sudo .venv/bin/campaign service install "
    "configs/campaigns/spark.yaml\n\n  campaign service status",
)
def service(
    action: Annotated[Literal["install", "remove", "status"], typer.Argument(help="What to do with the systemd unit.")],
    config: Config = None,
) -> None:
    """Carry a campaign through reboots: a systemd unit that runs it until it is finished."""
    from campaign.run import service as services

    def say(line: str) -> None:
        out.print(line, soft_wrap=True, markup=False)

    if action == "install":
        choice, loaded = chosen(config)
        services.install(loaded.name, choice.config, say)
    elif action == "remove":
        services.remove(say)
    else:
        say(services.status())
