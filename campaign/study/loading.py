"""A study's file, read: a campaign file with ``phases:``, each of which changes some keys of it."""

from __future__ import annotations

from pathlib import Path

from campaign.config import loading as configs
from campaign.config.schema import Campaign
from campaign.config.words import validated
from campaign.config.yaml_nodes import ConfigError, Node, Problem, instead, read, said
from campaign.study.asked import KINDS, PhaseAsked, options_of
from campaign.study.config import Study, inert


def is_study(path: Path) -> bool:
    """Whether a campaign file has phases. Raises ConfigError where it cannot be read."""
    return read(path).child("phases") is not None


def campaign_in(path: Path, phase: str | None = None) -> Campaign:
    """The campaign in ``path``; of a study's file that of ``phase``, else of its first. Raises ConfigError with
    everything that is wrong."""
    if is_study(path):
        study = load(path)
        return study.campaign(phase or study.phases[0].name)
    if phase is not None:
        raise ConfigError([Problem(str(path), 0, "phases", "is missing: this is one campaign", "Leave --phase out.")])
    return configs.load(path)


def load(path: Path) -> Study:
    """The study in ``path``. Raises ConfigError with everything that is wrong in it, each phase's campaign included."""
    root = read(path)
    phases = root.child("phases")
    if not isinstance(root.value, dict) or phases is None:
        raise ConfigError([Problem(root.file, root.line, "phases", "is missing", "This command needs a study's file.")])
    if not isinstance(phases.value, list) or not phases.value:
        what = f"must be a list of phases, got {said(phases.plain())}"
        raise ConfigError([phases.problem(what, "Write `phases: [{name: 2A, phase: baseline}, …]`.")])
    problems: list[Problem] = []
    asked = [_phase(node, problems) for node in phases.value]
    on_decision = root.child("on_decision")
    if on_decision is not None and on_decision.value not in ("pause", "go"):
        what = f"must be pause or go, got {said(on_decision.plain())}"
        problems.append(on_decision.problem(what, "Write pause or go, or leave the key out."))
    name = root.child("name")
    if name is None or not isinstance(name.value, str):
        problems.append(root.problem("has no name", "Add `name: my-study`."))
    if problems:
        raise ConfigError(problems)
    found = [phase for phase in asked if phase is not None]
    _order(found, phases, problems)
    if problems:
        raise ConfigError(problems)
    assert name is not None
    description = root.child("description")
    study = Study(
        name=str(name.value),
        description=str(description.value) if description is not None else "",
        path=path,
        root=root,
        phases=tuple(found),
        on_decision=None if on_decision is None else on_decision.value,  # type: ignore[arg-type]
    )
    for phase, node in zip(found, phases.value, strict=True):
        _campaign_problems(study, phase, node, problems)
    if problems:
        raise ConfigError(problems)
    return study


def _campaign_problems(study: Study, phase: PhaseAsked, node: Node, problems: list[Problem]) -> None:
    """Of the campaign that the phase becomes."""
    try:
        _screen_problems(study, phase, node, problems)
        if not problems and study.campaign(phase.name).margin_pct is None and phase.phase != "baseline":
            what = f"{phase.phase} is decided by a margin, and none is declared"
            problems.append(node.problem(what, "Add `margin_pct: 1` to the study: what counts as equal, in percent."))
    except ConfigError as error:
        problems.extend(error.problems)


def _phase(node: Node, problems: list[Problem]) -> PhaseAsked | None:
    if not isinstance(node.value, dict):
        problems.append(node.problem(f"must be a mapping, got {said(node.plain())}", "Write its keys below it."))
        return None
    own = {key: value for key, value in node.value.items() if key in PhaseAsked.model_fields}
    for key, value in node.value.items():
        if key not in PhaseAsked.model_fields and key not in Campaign.model_fields:
            keys = sorted({*PhaseAsked.model_fields, *Campaign.model_fields} - {"description"})
            problems.append(value.problem("unknown key", instead(key, keys, "See docs/study.md.")))
    screen = own.get("screen")
    if screen is not None and (factors := screen.child("factors")) is not None and isinstance(factors.value, dict):
        named = {
            key: each.with_value({"option": each}) if isinstance(each.value, str) else each
            for key, each in factors.value.items()
        }
        assert isinstance(screen.value, dict)
        own["screen"] = screen.with_value({**screen.value, "factors": factors.with_value(named)})
    return validated(node.with_value(own), PhaseAsked, problems)


def _order(phases: list[PhaseAsked], node: Node, problems: list[Problem]) -> None:
    names = [phase.name.lower() for phase in phases]
    kinds = [phase.phase for phase in phases]
    assert isinstance(node.value, list)
    for i, (phase, at) in enumerate(zip(phases, node.value, strict=True)):
        if names[i] in names[:i]:
            problems.append(at.problem(f"'{phase.name}' stands twice", "Give each phase a name of its own."))
        if kinds[i] in kinds[:i]:
            problems.append(at.problem(f"a second {phase.phase} phase", "Keep one of each."))
        if kinds[:i] and KINDS.index(kinds[i]) < KINDS.index(kinds[i - 1]):
            problems.append(at.problem(f"{phase.phase} after {kinds[i - 1]}", f"The order is {', '.join(KINDS)}."))
        if phase.phase == "screening" and phase.screen is None:
            problems.append(at.problem("screening without a screen", "Add `screen: {design: …, factors: …}`."))
        if phase.phase != "screening" and phase.screen is not None:
            problems.append(at.problem(f"a screen in a {phase.phase} phase", "Take it out."))
        if phase.phase in ("combination", "validation") and "screening" not in kinds[:i]:
            what = f"{phase.phase} without a screening phase before it: nothing to choose from"
            problems.append(at.problem(what, "Add one with `phase: screening`."))


def _screen_problems(study: Study, phase: PhaseAsked, node: Node, problems: list[Problem]) -> None:
    """What is wrong with a screen beyond the shape of its keys; names both keys where two contradict."""
    screen = phase.screen
    if screen is None:
        return
    at = node.child("screen") or node
    if screen.design == "one_at_a_time":
        if not options_of(screen):
            problems.append(at.problem("names no option", "Add `options: [docker-net-host, …]`."))
        return
    given, where = screen.factors, at.child("factors") or at
    from campaign.analysis.statistics import two_level

    most = two_level.MOST[screen.design]
    if not 2 <= len(given) <= most:
        remedy = (
            "Use `design: pb12`."
            if 2 < len(given) <= 11
            else "Name 2 to 6 factors; fewer than 2 are screened `one_at_a_time`."
        )
        problems.append(where.problem(f"{len(given)} factors, but {screen.design} takes 2 to {most}", remedy))
        return
    base = study.arm(study.baseline())
    arms = {name: study.arm(factor.option) for name, factor in given.items()}
    for name, factor in given.items():
        own = where.child(name) or where
        if factor.nested_in is not None and factor.nested_in not in given:
            problems.append(
                own.problem(
                    f"{name} is nested in '{factor.nested_in}', which is no factor here",
                    instead(factor.nested_in, list(given), f"Factors are {', '.join(given)}."),
                )
            )
        if factor.nested_in is None and inert(arms[name], base):
            shm = arms[name].shm_size is not None
            parent = next((other for other, arm in arms.items() if arm.ipc not in ("host", base.ipc)), None)
            remedy = "Make it `nested_in:` a factor with a private IPC namespace" if shm else "Use it as `control:`"
            problems.append(
                own.problem(
                    f"{factor.option} cannot differ from {base.name}: no factor",
                    f"{remedy}{f' ({parent})' if shm and parent else ''}.",
                )
            )
        for other in list(given)[list(given).index(name) + 1 :]:
            pair = sorted((arms[name], arms[other]), key=lambda arm: arm.privileged)
            if pair[1].privileged and pair[0].seccomp == "unconfined":
                problems.append(
                    own.problem(
                        f"{name} and {other}: privileged contains seccomp: unconfined",
                        "Keep one of the two in a design.",
                    )
                )
