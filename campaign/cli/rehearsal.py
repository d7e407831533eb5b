"""The campaign in virtual time: rehearsed before any hardware is spent, and how well that fits what was measured."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from campaign.cli.app import Config, Phase, app, chosen, out
from campaign.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED

PANEL = "Before"
PLAIN_EVERY_S = 10.0

Effects = Annotated[
    list[str] | None,
    typer.Option("--effect", help="ARM:METRIC:PERCENT, as docker-baseline:token_throughput_tok_s:-3; repeatable."),
]
FaultsAsked = Annotated[
    str,
    typer.Option(
        "--faults",
        help="crash, hang, throttle (chance of an attempt), disk, lost, slow (times a day), as crash=0.02,lost; all; "
        "none.",
    ),
]
MachineFile = Annotated[
    Path | None,
    typer.Option(
        "--machine", help="Constants of the unit, as `campaign calibrate` writes them; default: as published."
    ),
]


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign rehearse configs/campaigns/spark.yaml\n\n"
    "  campaign rehearse configs/campaigns/spark.yaml --effect "
    "docker-baseline:token_throughput_tok_s:-3 --faults all --seed 2",
)
def rehearse(
    config: Config = None,
    effect: Effects = None,
    cv: Annotated[float | None, typer.Option(min=0, max=50, help="Run-to-run spread of throughput, percent.")] = None,
    faults: FaultsAsked = "none",
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
    units: Annotated[int, typer.Option(min=1, max=1024, help="Simulated units that share the campaign.")] = 1,
    machine: MachineFile = None,
    telemetry_hz: Annotated[
        float | None, typer.Option(min=0, help="Samples a second; 0 keeps none. Default: 30 in the shortest run.")
    ] = None,
    person: Annotated[
        float, typer.Option(min=0, help="Hours until somebody looks where it pauses; 0: nobody does.")
    ] = 8.0,
    repeat: Annotated[
        int,
        typer.Option(min=1, help="So many rehearsals with other seeds: power and false claims of the whole pipeline."),
    ] = 1,
    pilot: Annotated[
        int | None, typer.Option(help="Rehearse its pilot instead (`campaign pilot`): so many runs of each cell.")
    ] = None,
    phase: Phase = None,
    results: Annotated[Path, typer.Option("--results", help="Folder that holds rehearsals.")] = Path("rehearsals"),
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave the HTML report out.")] = False,
) -> None:
    """Carry a campaign out on simulated units in virtual time: how long it takes, and what it will be able to claim."""
    from campaign.cli import study
    from campaign.record.store import Store
    from campaign.rehearsal import conclusion
    from campaign.rehearsal.rehearse import rehearse as carry_out

    if phase is None and pilot is None and config is not None and study.meant(config, None):

        def asked_of(campaign: Any, effects: list[str]) -> Any:
            return _asked(campaign, effects, cv, faults, seed, units, machine, telemetry_hz, person)

        with Progress(config.stem) as progress:
            code = study.rehearse(config, results, effect or [], asked_of, progress, _hear_interrupts, no_report)
        raise typer.Exit(code)
    if pilot is not None and repeat > 1:
        raise typer.BadParameter("not together with --repeat", param_hint="--pilot")
    _, loaded = chosen(config, phase)
    whole = loaded
    if pilot is not None:
        from campaign.plan import pilot as pilots

        loaded = pilots.of(whole, pilot)
    asked = _asked(loaded, effect, cv, faults, seed, units, machine, telemetry_hz, person)
    if repeat > 1:
        from campaign.rehearsal import repeat as repeats

        went = repeats.repeat(loaded, asked, repeat, out.print)
        out.print(repeats.describe(went))
        raise typer.Exit(0 if all(one.completed for one in went) else EXIT_INCOMPLETE)
    store = Store(results / loaded.name, durable=False)
    _make_room(store)
    store.lock()
    out.print(
        f"rehearsing {loaded.name} on {units} simulated {asked.kind.name}{'s' if units > 1 else ''}, seed {seed}: "
        f"{', '.join(asked.effects.asked) or 'no effect'} injected, spread {100 * asked.noise.cv:g} %, faults: "
        f"{faults}",
        soft_wrap=True,
    )
    try:
        with Progress(loaded.name) as progress:
            done = carry_out(loaded, store, asked, tell=progress.tell, show=progress.show, at_work=_hear_interrupts)
    finally:
        store.unlock()
    from campaign.analysis import cache

    con = cache.connect(store.root)
    if pilot is None:
        out.print(conclusion.describe(loaded, asked, done, con))
    else:
        from campaign.plan import piloted

        out.print(conclusion.took(loaded, done, con))
        for line in piloted.told(whole, store.root):
            out.print(line, soft_wrap=isinstance(line, str))
    if not no_report and pilot is None:
        from campaign.report import page

        out.print(f"report {page.write(store.root)}", soft_wrap=True)
    if done.snapshot.message == "interrupt":
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(0 if done.completed and not done.snapshot.exhausted else EXIT_INCOMPLETE)


def _asked(
    loaded: Any,
    effect: list[str] | None,
    cv: float | None,
    faults: str,
    seed: int,
    units: int,
    machine: Path | None,
    telemetry_hz: float | None,
    person: float,
) -> Any:
    from dataclasses import replace

    from campaign.rehearsal import injected
    from campaign.rehearsal import machine as machines
    from campaign.rehearsal.rehearse import HOUR_S, Asked

    noise = injected.Noise()
    return Asked(
        kind=machines.unit_for(loaded) if machine is None else machines.read(machine),
        effects=injected.effects(effect or (), loaded),
        noise=noise if cv is None else replace(noise, cv=cv / 100),
        faults=injected.faults(faults),
        seed=seed,
        units=units,
        rate_hz=telemetry_hz,
        person_s=person * HOUR_S or None,
    )


def _make_room(store: Any) -> None:
    """A rehearsal takes the place of the last one of its name, and of nothing else."""
    from campaign.record.durable import StoreError

    store.require_kind(simulated=True)
    if store.root.exists() and not store.exists() and any(store.root.iterdir()):
        raise StoreError(f"{store.root}: not empty and no rehearsal. Move it away, or choose another --results folder.")
    if store.exists():
        store.lock()  # not from under another that is at work
        store.unlock()
        shutil.rmtree(store.root)


def _hear_interrupts(driver: Any) -> None:
    signal.signal(signal.SIGINT, lambda *_: driver.interrupt())


class Progress:
    """How far it has come: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, name: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[day]}", markup=False),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )
        self._task = self._bar.add_task(name, total=None, day="")
        self._name = name
        self._began_ns: int | None = None
        self._told_s = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, line: str) -> None:
        if not line.startswith("shakedown "):
            self._bar.console.print(line, style="dim", markup=False, soft_wrap=True)

    def show(self, snapshot: Any, now_ns: int) -> None:
        self._began_ns = self._began_ns or now_ns
        day = f"day {1 + (now_ns - self._began_ns) / 86_400e9:.1f}"
        self._bar.update(self._task, total=max(1, snapshot.total), completed=snapshot.done, day=day)
        if not out.is_terminal and time.monotonic() - self._told_s >= PLAIN_EVERY_S:
            self._told_s = time.monotonic()
            out.print(f"{self._name}: {snapshot.done} of {snapshot.total} runs, {day}")


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign calibrate results/spark --out spark-1.json\n\n"
    "  campaign rehearse configs/campaigns/spark.yaml --machine spark-1.json",
)
def calibrate(
    folder: Annotated[Path, typer.Argument(help="Results folder of a campaign that measured on a GPU.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="File for the constants (JSON).")] = None,
    figure: Annotated[Path | None, typer.Option(help="File for the figure (PNG, SVG or PDF).")] = None,
) -> None:
    """Fit the simulated unit's heat, rates and start-up to a real campaign, and show how well it predicts it."""
    import json

    from campaign.rehearsal import calibrate as calibrates
    from campaign.rehearsal.machine import to_json

    found = calibrates.calibrate(folder)
    heat = found.unit.heat
    out.print(
        f"{found.unit.name}: {heat.above_ambient_c:.1f} °C without power; {heat.fast_c_per_w:.4g} °C/W within "
        f"{heat.fast_s:.3g} s, {heat.slow_c_per_w:.4g} °C/W within {heat.slow_s:.3g} s; start "
        f"{found.unit.rates.start_s:.3g} s",
        soft_wrap=True,
    )
    ahead = "" if found.ahead_rmse_c is None else f"; second half from the first: {found.ahead_rmse_c:.2f} °C"
    out.print(f"temperature: error {found.rmse_c:.2f} °C (root mean square), at most {found.worst_c:.1f} °C{ahead}")
    for one in found.gates:
        out.print(
            f"gate {one.run_id} {one.attempt}: {one.observed_s:.2f} s observed, {one.predicted_s:.2f} s predicted; "
            f"opened at {one.observed_c} °C, predicted {one.predicted_c} °C",
            soft_wrap=True,
        )
    for note in found.notes:
        out.print(note, style="dim", soft_wrap=True)
    if out_file is not None:
        out_file.write_text(json.dumps(to_json(found.unit), indent=1) + "\n")
        out.print(f"wrote {out_file}: campaign rehearse --machine {out_file}", soft_wrap=True)
    if figure is not None:
        calibrates.figure(found, figure)
        out.print(f"wrote {figure}", soft_wrap=True)
