"""Before a campaign runs: what would run, what it needs, what it will decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from campaign.cli import completion
from campaign.cli.app import Config, Phase, ResultsRoot, app, chosen, finite, latest, new_file, out
from campaign.cli.doing import doing
from campaign.errors import EXIT_REFUSED

PANEL = "Before"
Units = Annotated[
    str | None,
    typer.Option("--address", help="Every unit of this Ray cluster (`auto`, or HOST:PORT), not this machine."),
]


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign plan configs/campaigns/local.yaml\n\n"
    "  campaign plan my.yaml --pilot results/my-pilot --apply overrides.yaml --rest rest.json",
)
def plan(
    config: Config = None,
    units: Annotated[int, typer.Option(min=1, help="Units that share the campaign.")] = 1,
    phase: Phase = None,
    results: ResultsRoot = Path("results"),
    pilot: Annotated[
        Path | None, typer.Option(help="Results of a pilot: requests and repetitions at least cost from its variances.")
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(help="With --pilot: file for the optimum as `overrides:`, to put into the campaign file."),
    ] = None,
    rest: Annotated[
        Path | None,
        typer.Option(
            help="With --pilot: file for the least rest that its cooling curves show, for `gate.calibration`."
        ),
    ] = None,
) -> None:
    """Print what would run: blocks in order, counts, ETA, disk, and what the gate will ask for;
    of a study every phase."""
    from campaign.cli import study
    from campaign.plan.design import plan
    from campaign.plan.preview import describe
    from campaign.record.folders import folder_for

    for option, file in (("--apply", apply), ("--rest", rest)):
        if file is not None and pilot is None:
            raise typer.BadParameter("comes from a pilot: give --pilot RESULTS", param_hint=option)
    if phase is None and pilot is None and study.planned(config, units, results):
        return
    _, loaded = chosen(config, phase)
    if pilot is not None:
        from campaign.plan import piloted

        for line in piloted.told(loaded, latest(pilot), apply, rest):
            out.print(line, markup=False, soft_wrap=isinstance(line, str))
        return
    store = folder_for(results, loaded.name, new=False)
    store.require_kind(simulated=False)
    known = {}
    if store.exists():
        from campaign.record import journal
        from campaign.run import shakedown

        known = shakedown.speeds(journal.fold(journal.read(store.journal_path)[0]))
    out.print(describe(loaded, plan(loaded, units), store.root if store.exists() else None, known=known))


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign doctor\n\n  campaign doctor configs/campaigns/local.yaml\n\n  campaign doctor "
    "configs/campaigns/spark.yaml --address auto",
)
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="Also check what this campaign needs.", autocompletion=completion.configs)
    ] = None,
    address: Units = None,
) -> None:
    """Check by trying everything that a campaign needs; each finding has a remedy."""
    from campaign.preflight import doctor as doctors
    from campaign.preflight import units
    from campaign.study.loading import campaign_in

    loaded = campaign_in(config) if config else None
    if address is None:
        with doing("asking") as reached:
            failed = doctors.show(out, doctors.here(loaded, tell=reached))
        raise typer.Exit(1 if failed else 0)
    failed = 0
    for unit in units.joined(address):
        out.rule(unit.name, align="left")
        with doing("asking"):
            failed += doctors.show(out, units.answers(unit, doctors.here, loaded, doctors.DRIVERS))
    raise typer.Exit(1 if failed else 0)


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign prepare configs/campaigns/spark.yaml\n\n  campaign prepare "
    "configs/campaigns/spark.yaml --address auto",
)
def prepare(
    config: Config = None,
    no_fetch: Annotated[bool, typer.Option("--no-fetch", help="Download nothing; say what is missing.")] = False,
    address: Units = None,
) -> None:
    """Put image, root filesystem, weights, datasets and engines in place and record their digests."""
    from campaign.preflight import prepare as prepares
    from campaign.preflight import rights, units

    _, loaded = chosen(config)
    if not no_fetch:
        rights.require(loaded, rights.with_sudo("prepare", config))
    if address is None:
        with doing("preparing"):
            missing = prepares.show(out, prepares.here(loaded, not no_fetch, out.print))
        raise typer.Exit(EXIT_REFUSED if missing else 0)
    missing = 0
    for unit in units.joined(address):
        out.rule(unit.name, align="left")
        with doing("preparing"):
            missing += prepares.show(out, units.answers(unit, prepares.here_and_said, loaded, not no_fetch))
    raise typer.Exit(EXIT_REFUSED if missing else 0)


@app.command(
    rich_help_panel=PANEL,
    epilog="Example:\n\n  campaign register configs/campaigns/spark.yaml -o registrations/spark.json",
)
def register(
    config: Config = None,
    copy: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write it here, to commit or to stamp.", callback=new_file),
    ] = None,
    units: Annotated[int, typer.Option(min=1, help="Units that will share the campaign.")] = 1,
    new: Annotated[bool, typer.Option("--new", help="For another campaign beside the last.")] = False,
    results: ResultsRoot = Path("results"),
) -> None:
    """Write down before the first run what is asked and how it will be decided, with one hash that others can date."""
    from campaign.plan import registration
    from campaign.record.durable import StoreError, write_durably
    from campaign.record.folders import folder_for

    _, loaded = chosen(config)
    store = folder_for(results, loaded.name, new)
    if store.exists() and store.began():
        raise StoreError(
            f"{store.root}: its first run has begun, and a registration after that shows nothing. "
            "Register another campaign with --new."
        )
    data = registration.canonical(registration.document(loaded, units))
    beside = registration.place_beside(store.root)
    for place in (beside, copy):
        if place is None:
            continue
        if place.exists() and place.read_bytes() != data:
            raise StoreError(
                f"{place}: another registration is there, and it may have been dated already. "
                "Move it away to replace it."
            )
        write_durably(place, data)
        out.print(f"wrote {place}", soft_wrap=True)
    out.print(f"sha256 {registration.sha256(data)}", soft_wrap=True)
    named = copy or beside
    out.print(
        "Nothing here shows when it was written. Have the hash dated by others before the first run, by one of:\n"
        f"  git tag -s registered-{loaded.name} -m 'sha256 "
        f"{registration.sha256(data)}' && git push origin registered-{loaded.name}\n"
        f"  ots stamp {named}\n"
        f"  openssl ts -query -data {named} -sha256 -cert -out {named}.tsq   (and send "
        "it to a time-stamping authority, RFC 3161)\n"
        f"`campaign run` keeps {beside.name} in the results before the first run; "
        "the report states the hash and every deviation.",
        soft_wrap=True,
    )


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign power --cv-pct 0.5 --margin-pct 1\n\n  campaign power results/local --n 30",
)
def power(
    pilot: Annotated[
        Path | None, typer.Argument(help="Results folder of a pilot; else --cv-pct.", autocompletion=completion.folders)
    ] = None,
    cv_pct: Annotated[
        float | None, typer.Option(callback=finite, help="Assumed run-to-run coefficient of variation, percent.")
    ] = None,
    rho: Annotated[
        float | None, typer.Option(callback=finite, help="Assumed correlation of the arms within blocks.")
    ] = None,
    effect_pct: Annotated[float, typer.Option(callback=finite, help="Difference to be found, percent.")] = 1.0,
    margin_pct: Annotated[float | None, typer.Option(callback=finite, help="Equivalence margin, percent.")] = None,
    n: Annotated[int, typer.Option(min=2, help="Runs in each arm.")] = 30,
    m: Annotated[int, typer.Option(min=1, help="Comparisons in the family.")] = 30,
    looks: Annotated[
        str | None, typer.Option(help="Blocks after which a sequential design looks, as in 10,20,30.")
    ] = None,
) -> None:
    """Tell before any run what N this effect and margin need."""
    from campaign.plan.power import PowerRefused, describe_power

    if pilot is not None:
        latest(pilot)
    try:
        looks_at = tuple(int(part) for part in looks.split(",")) if looks else ()
    except ValueError:
        raise PowerRefused(f"--looks {looks!r}: write block numbers with commas, as in 10,20,30") from None
    with doing("power"):
        said = describe_power(
            pilot, cv_pct=cv_pct, rho=rho, effect_pct=effect_pct, margin_pct=margin_pct, n=n, m=m, looks_at=looks_at
        )
    out.print(said)


@app.command(rich_help_panel=PANEL, epilog="Example:\n\n  campaign diff native-chroot docker-baseline")
def diff(
    first: Annotated[str, typer.Argument(help="Environment.", autocompletion=completion.environments)],
    second: Annotated[str, typer.Argument(help="Environment.", autocompletion=completion.environments)],
    config: Annotated[
        Path | None, typer.Option(help="Campaign file that defines them.", autocompletion=completion.configs)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same.")] = False,
) -> None:
    """Show what differs between two environments."""
    from rich.markup import escape
    from rich.table import Table

    from actors.environments.describe import difference
    from campaign.config.default import choose
    from campaign.preflight.diff import seen
    from campaign.study.loading import campaign_in

    loaded = campaign_in(choose(str(config) if config else None).config)
    a, b = (loaded.environment(name) for name in (first, second))
    table = Table("aspect", first, second)
    for aspect, left, right in difference(a, b):
        if everything or left != right:
            table.add_row(aspect, left, right)
    with doing("starting both arms, to ask them"):
        rows, reason = seen(loaded, a, b)
    for aspect, left, right in rows:
        table.add_row(aspect, escape(left), escape(right))
    out.print(table)
    out.print(reason, markup=False)
