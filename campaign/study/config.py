"""A study and the campaigns that its phases become.

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
from typing import Any, Literal

from actors.environments import registry
from actors.types import Environment
from campaign.config import loading as configs
from campaign.config.schema import Campaign, Factor, Screen
from campaign.config.yaml_nodes import ConfigError, Node, Problem, instead
from campaign.plan.forecast import described, weight_bytes
from campaign.study.asked import (
    OWN_KEYS,
    PHASE_KEYS,
    UNDECIDED,
    Choice,
    FactorAsked,
    Kind,
    PhaseAsked,
    ScreenAsked,
    options_of,
)

OPTIMIZED = "docker-optimized"
AGAIN = "docker-baseline-again"
"""The baseline under another name: what 2D runs where no option helps, an A/A check."""
PREFIX = {"pb12": "pb12", "res3_8": "res3", "res4_16": "res4"}


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

    def campaign(self, name: str, choice: Choice = UNDECIDED) -> Campaign:
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
