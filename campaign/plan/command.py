"""The exact command of a run that has not been carried out yet, on a machine that need not have its hardware.

Built by the same functions that start the attempt: the engine's argv, the environment's parameters. Only what the unit
alone can tell is missing, and ``notes`` says what that is.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from actors import host
from actors.engines import EngineError
from actors.engines.registry import engine as engine_of
from actors.environments import software
from actors.environments.registry import kind
from actors.gpu.attempt import launch_of
from actors.gpu.evidence import working_folder
from actors.types import Attempt, ImageIdentity, Prepared, UnitFacts
from campaign.config.schema import Campaign
from campaign.errors import nearest
from campaign.plan.design import plan
from campaign.record.store import Store

METHODOLOGY = (
    "docker run",
    "--rm",
    "--gpus all",
    "--ipc=host",
    "--ulimit memlock=-1",
    "--ulimit stack=67108864",
    "<image>",
    "<command>",
)
"""The methodology's baseline, option by option."""

BESIDES = {
    "--workdir": "the output folder, in both arms",
    "--mount": "weights, prompts and output folder, in both arms",
    "--env": "the engine's variables and the attempt's mark, in both arms",
    "--label": "by which what a crash leaves is found and removed",
}
"""What a run needs besides, and why."""


def planned_command(
    campaign: Campaign,
    run_id: str,
    home: Path | None = None,
    *,
    campaign_id: str = "CAMPAIGN",
    unit: str = "UNIT",
    prepared: Prepared | None = None,
    image: ImageIdentity | None = None,
    gpu_uuid: str | None = None,
) -> dict[str, Any]:
    """What the first attempt of ``run_id`` will record as its ``command.json``. ``prepared`` and ``image`` where a unit
    has told them. Raises EngineError for a run that is not planned or an engine that must prepare first."""
    home = home or host.home()
    known = {run.run_id: run for run in plan(campaign)}
    if run_id not in known:
        raise EngineError(f"{run_id}: no such run in {campaign.name}. {nearest(run_id, known, most=3)}")
    row = known[run_id]
    model, workload = campaign.model_in(row.environment, row.model), campaign.asked(row.model, row.workload)
    environment = campaign.environment(row.environment)
    program = engine_of(row.engine)
    notes = []
    if prepared is None:
        prepared = program.expect(model, workload, home)
        if prepared is None:
            raise EngineError(
                f"{run_id}: what {row.engine} runs is settled when it is prepared: `campaign prepare` first"
            )
        notes.append("paths are where `campaign prepare` puts things; options are those that all versions have")
    if image is None:
        reference = campaign.image_of(row.environment).reference or "campaign-local"
        image = ImageIdentity(reference=reference, digest=reference, rootfs=str(home / "rootfs" / "DIGEST"))
        notes.append("the image's own variables, user, entry point and digest come on top: known once it is there")
    order = Attempt(
        campaign=campaign.name,
        campaign_id=campaign_id,
        run_id=run_id,
        attempt=1,
        unit=unit,
        engine=row.engine,
        model=model,
        workload=workload,
        environment=environment,
        gate=campaign.gate_of(environment.name),
        prepared=prepared,
        image=image,
    )
    spool = home / "spool" / campaign_id / unit
    launch = launch_of(order, program, working_folder(spool, run_id, 1) / "output")
    labels = {"campaign": campaign_id, "run": run_id, "attempt": "1"}
    command = kind(environment.kind).planned(environment, launch, labels, image, home, gpu_uuid)
    return command | {"run_id": run_id, "notes": [*notes, *command["notes"]]}


def planned_in(folder: Path, run_id: str) -> str:
    """The planned command of a campaign that has begun: with what its units told of images and prepared files."""
    store = Store(folder)
    info = store.info()
    campaign = Campaign.model_validate_json(json.dumps(info["config"]))
    row = next(row for row in store.plan() if row["run_id"] == run_id)
    unit = info["lanes"][row["lane"]]
    prepared = image = None
    if (told := folder / "units" / f"{unit}.json").exists():
        facts = UnitFacts.model_validate_json(told.read_bytes())
        place = software.prepared_key(row["model"], row["workload"], campaign.variant(row["environment"]))
        prepared, image = facts.prepared.get(place), facts.images.get(campaign.image_key(row["environment"]))
    given = {"campaign_id": info["campaign_id"], "unit": unit, "prepared": prepared, "image": image}
    return text(planned_command(campaign, run_id, **given))


def against_methodology(shell: str) -> list[tuple[str, str, str]]:
    """The methodology's line and a ``docker run`` side by side: (as written there, here, remark), in the order of the
    methodology, then what is added. An empty cell is what the other has not."""
    options, image, command = _options(shell)
    rows = [("docker run", "docker run", "the same")]
    for option in METHODOLOGY[1:-2]:
        mine = next((given for given in options if _same(option, given)), "")
        remark = "the same" if mine == option else "the same, with the hard limit said too" if mine else "MISSING"
        if option == "--rm" and mine:
            remark = "the same; removed by name once its logs and state are read"
        rows.append((option, mine, remark))
    rows += [("<image>", image, "the campaign's"), ("<command>", shlex.join(command), "the engine's")]
    taken = {mine for _, mine, _ in rows}
    return [*rows, *(("", given, BESIDES.get(given.split("=")[0], "ADDED")) for given in options if given not in taken)]


def _same(written: str, given: str) -> bool:
    """``--ulimit memlock=-1`` and ``--ulimit=memlock=-1:-1`` are one option."""
    name, _, value = written.partition(" ")
    return given in (written, f"{name}={value}", f"{name}={value}:{value.partition('=')[2]}")


def _options(shell: str) -> tuple[list[str], str, list[str]]:
    """Options of a ``docker run`` line, each with its value, its image, and the command."""
    words = shlex.split(shell)[2:]
    options: list[str] = []
    while words and words[0].startswith("--"):
        word = words.pop(0)
        options.append(f"{word} {words.pop(0)}" if word == "--gpus" else word)
    return options, words[0], words[1:]


def text(command: dict[str, Any]) -> str:
    """A planned command as ``campaign show RUN --command`` prints it."""
    lines = [f"{command['run_id']}, planned", "", "argv"]
    lines += [f"  {line}" for line in _folded(command["argv"])]
    if command["entrypoint"]:
        lines += ["", "handed over to it by the image's entry point", f"  {shlex.join(command['entrypoint'])}"]
    lines += ["", "mounts"]
    for mount in command["mounts"]:
        lines.append(
            f"  {mount['target']}  {'read-only' if mount['read_only'] else 'read-write'}  from {mount['source']}"
        )
    lines += ["", "environment"]
    lines += [f"  {key}={value}" for key, value in command["variables"].items()]
    for key, heading in (("workdir", "working folder"), ("user", "user"), ("root", "root"), ("image", "image")):
        if command.get(key):
            lines += ["", heading, f"  {command[key]}"]
    if "rlimits" in command:
        limits = (f"  {name}={soft}:{hard}" for name, (soft, hard) in command["rlimits"].items())
        lines += ["", "limits (soft:hard)", *limits]
    if "container" in command:
        lines += ["", "against the methodology's line"]
        rows = [(a, b if len(b) < 60 else b[:56] + " ...", c) for a, b, c in against_methodology(command["shell"])]
        wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
        lines += [f"  {a:<{wide[0]}}  {b:<{wide[1]}}  {c}" for a, b, c in rows]
    lines += ["", "shell", f"  {command['shell']}"]
    if command["notes"]:
        lines += ["", "notes", *(f"  {note}" for note in command["notes"])]
    return "\n".join(lines)


def _folded(argv: list[str]) -> list[str]:
    """An option and its value on a line."""
    lines: list[str] = []
    for word in argv:
        value = lines and lines[-1].startswith("-") and " " not in lines[-1] and not word.startswith("-")
        if value:
            lines[-1] += f" {shlex.quote(word)}"
        else:
            lines.append(shlex.quote(word))
    return lines
