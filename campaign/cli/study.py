"""What the verbs do where a study is meant, and the one verb that only a study has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from campaign.cli.app import app, out
from campaign.cli.doing import doing

if TYPE_CHECKING:
    from campaign.record.snapshot import Snapshot
    from campaign.study.record import StudyState

PANEL = "Carry out"


def meant(config: Path | None, phase: str | None) -> bool:
    """Whether a study's file is given. A phase of anything else is an error that ``chosen`` tells."""
    from campaign.study import loading as studies

    return config is not None and studies.is_study(config)


def planned(config: Path | None, units: int, results: Path) -> bool:
    """Print the plan of a whole study. False where the file is one campaign's."""
    if not meant(config, None):
        return False
    from campaign.study import loading as studies
    from campaign.study import outlook, record

    assert config is not None
    study = studies.load(config)
    folder = record.study_folder(results, study.name, new=False)
    chosen = {}
    if record.is_study(folder):
        state = record.fold(record.read(folder))
        chosen = {name: phase.choice for name, phase in state.phases.items() if phase.choice is not None}
    out.print(outlook.describe(study, units, chosen))
    return True


def is_study(folder: Path) -> bool:
    """Whether a results folder is a study's."""
    from campaign.study import record

    return record.is_study(folder)


def _standing(
    folder: Path, phases: list[dict[str, Any]], state: StudyState
) -> tuple[list[dict[str, Any]], tuple[Snapshot, Path] | None]:
    """A row for each phase, and the campaign of the one that runs now with its folder."""
    from campaign.record.status import standing
    from campaign.study import record

    rows, current = [], None
    for phase in phases:
        its, store = state.phase(phase["name"]), record.phase_store(folder, phase["name"])
        row = {
            "phase": phase["name"],
            "kind": phase["phase"],
            "state": "not begun",
            "accepted": 0,
            "total": 0,
            "choice": None,
        }
        row["choice"] = None if its.choice is None else its.choice.to_json()
        if its.skipped:
            row["state"] = f"skipped: {its.skipped}"
        elif its.paused:
            row["state"] = "waits for its decision to be looked at"
        elif store.exists():
            snapshot, running = standing(store.root)
            row |= {"accepted": snapshot.accepted, "total": snapshot.total, "state": snapshot.stage}
            current = (snapshot, store.root) if running else current
        rows.append(row)
    return rows, current


def show_status(folder: Path, as_json: bool) -> None:
    """How each phase stands, and what it was decided to be."""
    from rich.table import Table

    from campaign.plan import progress
    from campaign.run.display import panel
    from campaign.study import record, wording

    about = record.facts(folder)
    state = record.fold(record.read(folder))
    rows, current = _standing(folder, about["phases"], state)
    if as_json:
        print(json.dumps({"study": about["study"], "completed": state.completed, "phases": rows}, indent=1))
        return
    table = Table(title=about["study"], title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("phase", "", "runs", "state", "decided"):
        table.add_column(heading, justify="right" if heading == "runs" else "left")
    for row in rows:
        runs = f"{row['accepted']} of {row['total']}" if row["total"] else ""
        choice = row["choice"] or {}
        decided = wording.chosen_words(choice) if choice.get("models") or choice.get("options") is not None else ""
        table.add_row(str(row["phase"]), str(row["kind"]), runs, str(row["state"]), decided)
    out.print(table)
    if current is not None:
        out.print(panel(current[0]))
        progress.show(current[1], out.print)
    for phase in about["phases"]:
        for line in wording.decision_lines(phase["name"], state.phase(phase["name"])):
            out.print(line, style="dim", markup=False, soft_wrap=True)


def report(folder: Path) -> None:
    """Write the study's page, and those of its phases."""
    from campaign.report import page as pages
    from campaign.study import page, record

    for phase in record.facts(folder)["phases"]:
        if record.phase_store(folder, phase["name"]).exists():
            with doing(f"page of {phase['name']}") as reached:
                written = pages.write(folder / phase["name"], reached)
            out.print(f"report of {phase['name']} {written}", soft_wrap=True)
    with doing("page of the study"):
        written = page.write(folder)
    out.print(f"report of the study {written}", soft_wrap=True)


def verify(folder: Path, config: Path | None) -> int:
    """Verify a study with all its phases; the exit code."""
    from campaign.record import journal
    from campaign.study import record, verification

    with doing("every phase, and its decision again"):
        problems = list(verification.verify(folder, config))
    for problem in problems:
        out.print(str(problem), style="red", markup=False, soft_wrap=True)
    out.print(
        f"{folder}: {f'{len(problems)} problems' if problems else 'clean, with all its phases; decisions made again'}",
        soft_wrap=True,
    )
    if not problems:
        events, _, digest = journal.read(folder / record.JOURNAL)
        out.print(f"head of the study's journal, to be kept elsewhere: {len(events)}:{digest}", soft_wrap=True)
    return 1 if problems else 0


def rehearse(
    config: Path, results: Path, effects: list[str], asked: Any, progress: Any, at_work: Any, no_report: bool
) -> int:
    """A whole study in virtual time, in the place of the last rehearsal of its name; the exit code."""
    import shutil

    from campaign.plan.forecast import duration
    from campaign.record.durable import StoreError
    from campaign.study import loading as studies
    from campaign.study import page, record
    from campaign.study.rehearsing import rehearse_study

    study = studies.load(config)
    folder = results / study.name
    if folder.exists():
        if not record.is_study(folder) or not record.facts(folder).get("simulated"):
            raise StoreError(f"{folder}: no rehearsal of a study. Move it away, or choose another --results folder.")
        shutil.rmtree(folder)
    out.print(f"rehearsing the study {study.name}: {', '.join(effects) or 'no effect'} injected", soft_wrap=True)
    done = rehearse_study(study, folder, effects, asked, tell=progress.tell, show=progress.show, at_work=at_work)
    for name, phase in done.phases.items():
        days = (phase.ended_utc_ns - phase.began_utc_ns) / 1e9
        out.print(
            f"{name}: {duration(days)}, {phase.snapshot.accepted} of {phase.snapshot.total} runs accepted, "
            f"{len(phase.pauses)} pauses"
        )
    out.print(f"the whole study: {done.days:.1f} days in virtual time")
    if not no_report:
        with doing("page of the study"):
            written = page.write(folder)
        out.print(f"report of the rehearsed study {written}", soft_wrap=True)
    return done.code


def run_study(
    config: Path | None,
    phase: str | None,
    new: bool,
    results: Path,
    address: str | None,
    accept_drift: bool,
    no_report: bool,
    failing: Any,
    attended: bool,
) -> int:
    """Carry a study out, or go on with it; the exit code."""
    from campaign.cli import carry_out
    from campaign.preflight import rights
    from campaign.study import conduct, record
    from campaign.study import loading as studies

    assert config is not None
    study = studies.load(config)
    out.print(f"study: {config}, {len(study.phases)} phases", markup=False, soft_wrap=True)
    folder = record.study_folder(results, study.name, new)
    if address is None:
        rights.require(study.campaign(study.phases[0].name), rights.with_sudo("run", config))

    def one(campaign: Any, store: Any, *, only_shakedown: bool) -> int:
        because = f"a phase of the study {study.name}"
        return carry_out.carry_out(campaign, store, because, address, accept_drift, no_report, failing, only_shakedown)

    conductor = conduct.Conductor(
        study,
        folder,
        one,
        on_decision=study.on_decision or ("pause" if attended else "go"),
        tell=lambda line: out.print(line, markup=False, soft_wrap=True),
        accept_drift=accept_drift,
    )
    code = conductor.run(phase)
    if not no_report and record.is_study(folder):
        import subprocess
        import sys

        # Ray and the libraries that draw need not get on in one process.
        command = [sys.executable, "-m", "campaign.closing_study", str(folder.resolve())]
        subprocess.run(command, check=False, start_new_session=True)
    return code


@app.command(
    rich_help_panel=PANEL,
    epilog="Examples:\n\n  campaign decide results/spark-study 2C --option docker-net-host "
    "--reason 'seccomp stays on here'\n\n"
    "  campaign decide results/spark-study 2D --none --reason 'no gain is worth the host network'",
)
def decide(
    folder: Annotated[Path, typer.Argument(help="A study's results folder.")],
    phase: Annotated[str, typer.Argument(help="Phase that has not begun, such as 2C.")],
    option: Annotated[list[str] | None, typer.Option(help="Arm to combine or to validate; repeatable.")] = None,
    none: Annotated[bool, typer.Option("--none", help="No option at all: the baseline runs once more.")] = False,
    model: Annotated[list[str] | None, typer.Option(help="Model of the phase; repeatable.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is journalled and stands in the report.")] = "",
    config: Annotated[Path | None, typer.Option(help="The study's file, where it was moved.")] = None,
) -> None:
    """Decide a phase of a study otherwise than its rule, before the phase begins."""
    from campaign.study import conduct, record, wording
    from campaign.study import loading as studies
    from campaign.study.asked import UNDECIDED, Choice

    about = record.facts(folder)
    study = studies.load(config or Path(about["config"]))
    asked = study.phase(phase)
    known = record.fold(record.read(folder)).phase(asked.name).choice or UNDECIDED
    if not (option or none or model):
        raise typer.BadParameter("say what: --option NAME, --none or --model NAME", param_hint="--option")
    if option and none:
        raise typer.BadParameter("not together with --option", param_hint="--none")
    if (option or none) and asked.phase not in ("combination", "validation"):
        raise typer.BadParameter(f"{asked.name} is a {asked.phase} phase and takes no options", param_hint="--option")
    choice = Choice(
        models=tuple(model) if model else known.models,
        options=() if none else tuple(option) if option else known.options,
        removed=known.removed,
    )
    event = conduct.decide_by_person(study, folder, asked, choice, reason)
    out.print(
        f"{asked.name}: {wording.chosen_words(event['choice'])}, journalled with your reason.",
        markup=False,
        soft_wrap=True,
    )
