"""A study's file: a campaign file with ``phases:``, each of which changes some keys and becomes a campaign of its own.

What a phase cannot know before the phases ahead of it have run (representative models, options to combine, the
configuration to validate) is a :class:`Choice`; without one it is assumed, as ``campaign plan`` needs, from the file
alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from actors.environments import registry
from actors.types import Environment, Frozen, Name
from campaign.config import loading as configs
from campaign.config.schema import Campaign, Factor, Screen
from campaign.config.words import validated
from campaign.config.yaml_nodes import ConfigError, Node, Problem, instead, read, said
from campaign.plan.forecast import described, weight_bytes

PhaseName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,15}$")]
Kind = Literal["baseline", "screening", "combination", "validation"]
KINDS: tuple[Kind, ...] = ("baseline", "screening", "combination", "validation")
OPTIMIZED = "docker-optimized"
AGAIN = "docker-baseline-again"
"""The baseline under another name: what 2D runs where no option helps, an A/A check."""
PREFIX = {"pb12": "pb12", "res3_8": "res3", "res4_16": "res4"}
OWN_KEYS = ("phases", "on_decision")
PHASE_KEYS = ("name", "screen", "models", "at_most")


class FactorAsked(Frozen):
    """A factor of a screen as the file has it: its high level is an arm of the library that adds to the baseline."""

    option: Name
    nested_in: str | None = None
    """Factor without which this option does nothing; it is then left out of the rows where that is low."""
    privilege: Annotated[int, Field(ge=0, le=9)] | None = None
    """What it gives away, from 0; by its options unless said (host network 1, no seccomp 2, privileged 3)."""


class ScreenAsked(Frozen):
    """``screen:`` of a phase."""

    design: Literal["one_at_a_time", "pb12", "res3_8", "res4_16"] = "res4_16"
    factors: dict[Name, FactorAsked] = Field(default={})
    """Of a two-level design, in the order of its columns."""
    blocks: Annotated[int, Field(ge=1, le=100)] = 2
    """Repetitions of a two-level design, each with native beside its rows."""
    options: tuple[Name, ...] = ()
    """Arms of a one-at-a-time screen."""
    runs: Annotated[int, Field(ge=2, le=1000)] = 10
    """Of each arm of a one-at-a-time screen."""
    control: Name | None = None
    """An arm that cannot differ from the baseline, run beside the rows of a two-level design:
    the noise of the harness."""


class PhaseAsked(Frozen):
    """One entry of ``phases:`` without the keys that it changes in the campaign."""

    name: PhaseName
    phase: Kind
    models: Literal["all", "representative"] | tuple[str, ...] = "all"
    """``representative``: the smallest, the largest and the one nearest to the middle
    (of the logarithm of bytes of weights) that ran."""
    at_most: Annotated[int, Field(ge=1, le=5)] = 3
    """Options that are combined."""
    screen: ScreenAsked | None = None


@dataclass(frozen=True)
class Choice:
    """What a phase takes from the evidence before it. None is undecided: assumed from the file."""

    models: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None
    """Arms of the library that are combined (combination), or make up the configuration (validation);
    empty where none helps."""
    removed: tuple[str, ...] = ()
    """Factors or options of a screen that this host refuses."""

    def to_json(self) -> dict[str, Any]:
        return {
            "models": None if self.models is None else list(self.models),
            "options": None if self.options is None else list(self.options),
            "removed": list(self.removed),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Choice:
        models, options = value.get("models"), value.get("options")
        return cls(
            None if models is None else tuple(models),
            None if options is None else tuple(options),
            tuple(value.get("removed", ())),
        )


@dataclass(frozen=True)
class Study:
    """A study's file, whole and valid: every phase makes a campaign under what it assumes."""

    name: str
    description: str
    path: Path
    root: Node
    phases: tuple[PhaseAsked, ...]
    on_decision: Literal["pause", "go"] | None
    """None is ``pause`` at a terminal and ``go`` without one."""
    known: dict[str, Environment] = field(default_factory=dict, compare=False, repr=False)
    """Arms that were looked up."""
    made: dict[tuple[str, Choice], Campaign] = field(default_factory=dict, compare=False, repr=False)

    def phase(self, name: str) -> PhaseAsked:
        """By name, in any case. ConfigError where there is none."""
        found = next((phase for phase in self.phases if phase.name.lower() == name.lower()), None)
        if found is None:
            known = ", ".join(phase.name for phase in self.phases)
            raise ConfigError(
                [Problem(self.root.file, 0, "phases", f"no phase is called '{name}'", f"Name one of {known}.")]
            )
        return found

    def of_kind(self, kind: Kind) -> PhaseAsked | None:
        return next((phase for phase in self.phases if phase.phase == kind), None)

    def campaign(self, name: str, choice: Choice = Choice()) -> Campaign:
        """The campaign of a phase. What ``choice`` leaves open is assumed."""
        phase = self.phase(name)
        if (phase.name, choice) not in self.made:
            self.made[phase.name, choice] = _campaign(self, phase, choice)
        return self.made[phase.name, choice]

    def arm(self, name: str) -> Environment:
        """An arm of the library with what it extends. ConfigError where there is none."""
        if name not in self.known:
            self.known[name] = configs.arm(name, self.root, self.path)
        return self.known[name]

    def baseline(self) -> str:
        """The container arm that options add to: the ``baseline`` of the study,
        else the only container among its environments."""
        arms = _names(_keys(self, self.phases[0]).get("environments"))
        declared = self.root.child("baseline")
        if declared is not None and isinstance(declared.value, str):
            if declared.value in arms:
                return declared.value
            what = f"'{declared.value}' is not among the environments of {self.phases[0].name}"
            raise ConfigError(
                [declared.problem(what, instead(declared.value, arms, f"Name one of {', '.join(arms)}."))]
            )
        containers = [name for name in arms if registry.kind(self.arm(name).kind).is_container]
        if len(containers) > 1:
            what = f"has several container arms ({', '.join(containers)}), and options add to one of them"
            raise ConfigError(
                [self.root.problem(what, f"Add `baseline: {containers[0]}`, or the one as it is shipped.")]
            )
        if not containers:
            raise ConfigError(
                [
                    self.root.problem(
                        "has no container arm that options could add to", "Add docker-baseline to `environments`."
                    )
                ]
            )
        return containers[0]

    def sizes(self) -> dict[str, float]:
        """Bytes of weights of every model of the study."""
        tree = _keys(self, self.phases[0])
        if (models := self.root.child("models")) is not None:
            tree["models"] = models
        return {
            model.name: weight_bytes(described(model))
            for model in configs.resolve(self.root.with_value(tree), self.path).models
        }

    @property
    def hash(self) -> str:
        """sha256 over what the file says and the campaigns that follow from it alone,
        comments and order of keys aside."""
        says = {"on_decision": self.on_decision} | {
            phase.name: {"asked": phase.model_dump(mode="json"), "assumed": self.campaign(phase.name).published()}
            for phase in self.phases
        }
        return hashlib.sha256(json.dumps(says, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def assumed_options(self) -> tuple[str, ...]:
        """The first options that may be chosen, as many as are combined at most."""
        screening, combining = self.of_kind("screening"), self.of_kind("combination")
        most = combining.at_most if combining else 3
        if screening is None or screening.screen is None:
            return ()
        return tuple(name for name in options_of(screening.screen) if never(self, screening, name) is None)[:most]


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


# --- from a phase to a campaign -----------------------------------------------------------------------------------


def _campaign(study: Study, phase: PhaseAsked, choice: Choice) -> Campaign:
    keys = _keys(study, phase)
    every = _names(study.root.child("models"))
    models = _models(study, phase, choice, every)
    keys["models"] = _list(models, study.root.child("models") or study.root, "models")
    for key in ("overrides", "repetitions"):
        if (node := keys.get(key)) is not None and isinstance(node.value, dict):
            kept = {name: value for name, value in node.value.items() if name in models or name not in every}
            keys[key] = node.with_value(kept)
    screen: Screen | None = None
    if phase.phase != "baseline":
        keys["baseline"] = Node(study.baseline(), study.root.file, study.root.line, "baseline")
    if phase.screen is not None:
        screen = _add_screen(study, phase, phase.screen, choice, keys)
    elif phase.phase in ("combination", "validation"):
        options = study.assumed_options() if choice.options is None else choice.options
        _add_arms(study, phase, options, keys)
    found = configs.resolve(study.root.with_value(keys), study.path)
    return found if screen is None else found.model_copy(update={"screen": screen})


def _keys(study: Study, phase: PhaseAsked) -> dict[str, Node]:
    """The study's keys with those of the phase over them."""
    assert isinstance(study.root.value, dict)
    nodes = study.root.value["phases"].value
    assert isinstance(nodes, list)
    own = next(node.value for node, asked in zip(nodes, study.phases or (phase,), strict=False) if asked == phase)
    assert isinstance(own, dict)
    keys = {key: node for key, node in study.root.value.items() if key not in OWN_KEYS}
    keys |= {key: node for key, node in own.items() if key not in PHASE_KEYS}
    keys["name"] = Node(f"{study.name}-{phase.name.lower()}", study.root.file, study.root.line, "name")
    return keys


def _list(names: Iterable[str | Node], near: Node, key: str) -> Node:
    items = [
        name if isinstance(name, Node) else Node(name, near.file, near.line, f"{key}[{i}]")
        for i, name in enumerate(names)
    ]
    return Node(items, near.file, near.line, key)


def _names(node: Node | None) -> list[str]:
    """Of the entries of ``models`` or ``environments``, written out or not."""
    if node is None or not isinstance(node.value, list):
        return []
    found = [item.value if isinstance(item.value, str) else item.child("name") for item in node.value]
    return [str(name.value if isinstance(name, Node) else name) for name in found if name is not None]


def _models(study: Study, phase: PhaseAsked, choice: Choice, every: list[str]) -> list[str | Node]:
    """Of the phase, as the study's file mentions them."""
    nodes = study.root.child("models")
    items: list[Node] = nodes.value if nodes is not None and isinstance(nodes.value, list) else []
    mentions = dict(zip(every, items, strict=True))
    if choice.models is not None:
        wanted: Sequence[str] = choice.models
    elif phase.models == "representative":
        wanted = representative(study.sizes())
    else:
        wanted = every if phase.models == "all" else phase.models
    return [mentions.get(name, name) for name in wanted]


def representative(sizes: dict[str, float], count: int = 3) -> tuple[str, ...]:
    """The smallest model, the largest, and between them the one nearest to the middle of the logarithms of their sizes;
    in order of size. All of them where there are no more. Ties go to the earlier one."""
    ordered = sorted(sizes, key=lambda name: sizes[name])
    if len(ordered) <= count:
        return tuple(ordered)
    low, high = math.log(sizes[ordered[0]]), math.log(sizes[ordered[-1]])
    middle = min(ordered[1:-1], key=lambda name: abs(math.log(sizes[name]) - (low + high) / 2))
    return ordered[0], middle, ordered[-1]


# --- screens ------------------------------------------------------------------------------------------------------


def options_of(screen: ScreenAsked) -> tuple[str, ...]:
    """Arms of the library that a screen is about."""
    if screen.design == "one_at_a_time":
        return screen.options or tuple(factor.option for factor in screen.factors.values())
    return tuple(factor.option for factor in screen.factors.values())


def factors_of(study: Study, phase: PhaseAsked, removed: Sequence[str] = ()) -> tuple[Factor, ...]:
    """The factors of a screen, or its options taken one at a time,
    with what they give away and whether one may be chosen."""
    screen = phase.screen
    assert screen is not None
    if screen.design == "one_at_a_time":
        asked = {name: FactorAsked(option=name) for name in options_of(screen)}
    else:
        asked = dict(screen.factors)
    gone = {name for name in asked if name in removed or asked[name].nested_in in removed}
    return tuple(
        Factor(
            name=name,
            option=factor.option,
            nested_in=factor.nested_in,
            privilege=privilege(study.arm(factor.option)) if factor.privilege is None else factor.privilege,
            never=never(study, phase, factor.option),
        )
        for name, factor in asked.items()
        if name not in gone
    )


def privilege(arm: Environment) -> int:
    """What an arm gives away of a container's separation: 0 nothing, 1 the host's network, 2 no seccomp filter,
    3 privileged."""
    return 3 if arm.privileged else 2 if arm.seccomp == "unconfined" else 1 if arm.network == "host" else 0


def never(study: Study, phase: PhaseAsked, option: str) -> str | None:
    """Why an option may not be chosen whatever it gains, by what it sets; None where it may."""
    arm, base = study.arm(option), study.arm(study.baseline())
    asked = phase.screen.factors if phase.screen is not None else {}
    parent = next((factor.nested_in for factor in asked.values() if factor.option == option and factor.nested_in), None)
    if parent is not None and parent in asked and never(study, phase, asked[parent].option) is not None:
        return f"needs_{parent.replace('-', '_')}"
    if arm.privileged:
        return "diagnostic_only"
    if base.ipc == "host" and arm.ipc != "host":
        return "ablation"
    return "negative_control" if inert(arm, base) else None


def inert(arm: Environment, base: Environment) -> bool:
    """Whether an arm cannot differ from the baseline: the same options,
    or an shm_size that host IPC makes Docker ignore."""

    def plain(it: Environment) -> str:
        ignored = {"name", "description"} | ({"shm_size"} if it.ipc == "host" else set())
        return it.model_dump_json(exclude=ignored)

    return plain(arm) == plain(base)


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


def _add_screen(study: Study, phase: PhaseAsked, asked: ScreenAsked, choice: Choice, keys: dict[str, Node]) -> Screen:
    """Puts a screen's arms and repetitions into ``keys``."""
    factors = factors_of(study, phase, choice.removed)
    baseline = study.baseline()
    native = [name for name in _names(keys.get("environments")) if name != baseline]
    near = keys.get("environments") or study.root
    if asked.design == "one_at_a_time" or len(factors) < 2:
        arms: list[str | Node] = [*native, baseline, *(factor.option for factor in factors)]
        rows: dict[str, tuple[int, ...]] = {}
        design: Any = "one_at_a_time"
        repetitions = asked.runs
    else:
        screen = Screen(design=asked.design, baseline=baseline, factors=factors)
        # SciPy and pandas, which a campaign without a screen need not wait for.
        from campaign.analysis.statistics.screen_config import design_of

        plan = design_of(screen)
        rows, arms = {}, [*native]
        for number in range(plan.rows):
            high = plan.row(number)
            raw = tuple(int(x) for x in plan.matrix[number, : len(factors)])
            name = baseline if number == plan.baseline_row else f"{PREFIX[asked.design]}-r{number + 1:02d}"
            rows[name] = raw
            arms.append(name if name == baseline else _combined(name, high, factors, baseline, near))
        if asked.control is not None:
            arms.append(asked.control)
        design, repetitions = asked.design, asked.blocks
    keys["environments"] = _list(arms, near, "environments")
    keys["repetitions"] = Node(repetitions, near.file, near.line, "repetitions")
    keys.setdefault("order", Node("random", near.file, near.line, "order"))
    return Screen(design=design, baseline=baseline, factors=factors, rows=rows)


def _combined(name: str, high: Iterable[str], factors: Sequence[Factor], baseline: str, near: Node) -> Node:
    """An arm of several options of the library."""
    options = {factor.name: factor.option for factor in factors}
    names = [options[factor] for factor in high]
    text = " + ".join(high) if names else f"the options of {baseline} again, as this row of the design has them"
    return _mapping(near, name=name, description=text, extends=names or [baseline])


def _mapping(near: Node, **values: str | list[str]) -> Node:
    """A mapping as if it stood in the file near ``near``."""
    return Node(
        {
            key: _list(value, near, key) if isinstance(value, list) else Node(value, near.file, near.line, key)
            for key, value in values.items()
        },
        near.file,
        near.line,
        near.key,
    )


def _add_arms(study: Study, phase: PhaseAsked, options: Sequence[str], keys: dict[str, Node]) -> None:
    """Puts the arms of a combination or validation into ``keys``: the combination with each of its options alone, or
    the configuration; where no option helps, the baseline once more."""
    near = keys.get("environments") or study.root
    baseline = study.baseline()
    arms: list[str | Node] = [*_names(near)]
    if not options:
        arms.append(
            _mapping(
                near,
                name=AGAIN,
                description=f"{baseline} once more: an A/A check, for no option was shown to help",
                extends=[baseline],
            )
        )
    elif len(options) == 1 and phase.phase == "combination":
        arms.append(options[0])
    else:
        if phase.phase == "combination":
            arms += options
        arms.append(_mapping(near, name=OPTIMIZED, description=" + ".join(options), extends=list(options)))
    keys["environments"] = _list(arms, near, "environments")
