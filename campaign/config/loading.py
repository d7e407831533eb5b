"""A campaign file, with the models, environments and workloads that it names, read into one resolved ``Campaign``.

Names are looked up in ``models.yaml``, ``environments.yaml`` and ``workloads.yaml``: in the folder that the key
``library`` gives, else beside the campaign file, else in the folder above it, else in the project's ``configs/``. Each file is
a list of entries with a ``name``, or a mapping of names to entries. An entry can also be written out in the campaign.

An environment may ``extends`` another or several: every ancestor's own keys are applied once, bases first; mappings
merge by key, ``null`` takes a key away. Two ancestors that disagree are an error unless the environment itself decides.

Everything wrong is reported at once (:class:`campaign.config.yaml_nodes.ConfigError`), each with file, line, key and remedy.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from actors import host
from actors.engines.registry import engines
from actors.environments import EVERY_KIND, ContainerEngine, registry, software
from actors.types import Environment, Frozen, Gate, Image, Model, Name, Telemetry, Watchdog, Workload
from campaign.config import redaction, sequential
from campaign.config.sequential import Sequential
from campaign.config.yaml_nodes import ConfigError, Node, Problem, read, said
from campaign.errors import nearest

Order = Literal["alternate", "williams", "random"]
LIBRARY = ("models", "environments", "workloads")
MAX_RUNS = 100_000
MAX_SECONDS = 30 * 86400.0
INT32 = 2**31 - 1


class Acceptance(Frozen):
    """What an attempt must show besides what the gate already asked for."""

    coverage_min_pct: Annotated[float, Field(ge=0, le=100)] = 95.0
    """Telemetry samples taken, of those due."""
    error_rate_max: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Failed requests over all requests."""
    outlier_sigma: Annotated[float, Field(gt=0)] = 3.0
    sw_thermal_max_pct: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Share of a run that the driver may spend in its mild slowdown (SW thermal), by the device's own counter."""
    canary_min_pct: Annotated[float, Field(ge=0, le=100)] = 75.0
    """Of the best that the unit's canary ever reached, where the campaign has a canary."""


class Override(Frozen):
    """What one model does otherwise than the campaign: a large model can have fewer requests, or more at once."""

    repetitions: Annotated[int, Field(ge=1, le=10_000)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    requests: Annotated[int, Field(ge=1)] | None = None
    """In each workload of the model, as the two below."""
    warmup_requests: Annotated[int, Field(ge=0)] | None = None
    timeout_s: Annotated[float, Field(gt=0)] | None = None


class Factor(Frozen):
    """What a screen is about: the arm that adds it to the baseline, what it gives away, why it may not be chosen (None: it may)."""

    name: Name
    option: Name
    nested_in: str | None = None
    privilege: int = 0
    never: str | None = None


class Screen(Frozen):
    """A screen of Docker options: which arm is which row of the design."""

    design: Literal["one_at_a_time", "pb12", "res3_8", "res4_16"]
    baseline: Name
    factors: tuple[Factor, ...]
    rows: dict[str, tuple[int, ...]] = Field(default={})
    """Arm to the level (1, -1) of each factor, in a two-level design."""


class Campaign(Frozen):
    """A resolved campaign: nothing in it refers to another file."""

    name: Name
    """Names the results folder too."""
    description: str = ""
    """One line for `status` and the report."""
    phase: Literal["baseline", "screening", "combination", "validation"] = "baseline"
    """Which part of a study this is; the families of comparisons follow from it."""
    engine: str
    """One of :mod:`actors.engines.registry`."""
    """The inference engine, one of all arms."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1
    """Of orders, prompts, random weights and resampling."""
    models: tuple[Model, ...] = Field(min_length=1)
    """Names from models.yaml, or entries of their own."""
    environments: tuple[Environment, ...] = Field(min_length=1)
    """The arms: names from environments.yaml, or entries of their own, which may extend others."""
    workloads: tuple[Workload, ...] = Field(min_length=1)
    """Names from workloads.yaml, or entries of their own."""
    repetitions: dict[str, Annotated[int, Field(ge=1, le=10_000)]] = Field(min_length=1)
    """By model. In the file one number may stand for all."""
    overrides: dict[str, Override] = Field(default={})
    """By model. Repetitions and batch size stand also where they take effect: in ``repetitions`` and the model."""
    left_out: dict[str, str] = Field(default={})
    """Models of the study that this campaign cannot run, with the reason: ``campaign plan`` says so."""
    reference: str
    """Environment that the others are compared with; the first native one unless said otherwise."""
    without: tuple[str, ...] = ()
    """Environment options (``gpu``, ``ulimits.memlock``) taken out of every arm alike, where a host refuses them."""
    image: Image = Image()
    """Of every arm that names none of its own."""
    gate: Gate = Gate()
    """The start state that every attempt waits for."""
    telemetry: Telemetry = Telemetry()
    """How often sensors are read while an attempt runs."""
    order: Order
    """``alternate`` for two environments, ``williams`` for more, unless said otherwise."""
    nesting: Literal["model", "repetition"] = "model"
    """Which loop is outside."""
    attempts_max: Annotated[int, Field(ge=1, le=100)] = 3
    """After so many rejected attempts a run is given up."""
    acceptance: Acceptance = Acceptance()
    """What an attempt must show to be accepted."""
    canary: bool = False
    """A fixed probe of less than a second before and after each attempt, for slow states that no flag shows."""
    breaker: Annotated[int, Field(ge=1, le=1000)] = 3
    """Failures in a row after which a model in an environment is given up until the next start."""
    shakedown: bool = True
    """Every cell once with a handful of requests before the first measured run."""
    watchdog: Watchdog = Watchdog()
    """When an attempt that makes no progress is ended."""
    gpus: tuple[str, ...] = ()
    """GPUs to use, each by UUID, PCI bus id, index or name; empty is the first that nobody uses."""
    allow_privileged: bool = False
    """Whether an arm may ask Docker for `--privileged`."""
    outliers: Literal["flag", "rerun"] = "flag"
    """Whether runs beyond `acceptance.outlier_sigma` are marked, or measured once more."""
    margin_pct: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Equivalence margin, percent of the reference. Without one nobody has declared any, and whatever is called equivalent says so."""
    sequential: Sequential | None = None
    """Looks at which decided models stop; None carries every planned block out."""
    units: tuple[Name, ...] = ()
    """Units to use; empty is every unit that is alive."""
    screen: Screen | None = None
    """Made from a study's file, for its screening phase."""

    @property
    def config_hash(self) -> str:
        """sha256 over the canonical JSON of the resolved config as it is published: comments and the order of keys do not count."""
        canonical = json.dumps(self.published(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def published(self) -> dict[str, Any]:
        """The resolved config as JSON, without secrets."""
        found: dict[str, Any] = redaction.published(self.model_dump(mode="json"))
        return found

    @property
    def runs(self) -> int:
        return sum(self.repetitions.values()) * len(self.environments) * len(self.workloads)

    def model(self, name: str) -> Model:
        return next(model for model in self.models if model.name == name)

    def environment(self, name: str) -> Environment:
        """Raises ConfigError in words where there is none of that name."""
        known = {environment.name: environment for environment in self.environments}
        if name not in known:
            what = f"campaign {self.name} has no environment {name!r}"
            raise ConfigError([Problem("", 0, "", what, nearest(name, known))])
        return known[name]

    def workload(self, name: str) -> Workload:
        return next(workload for workload in self.workloads if workload.name == name)

    def image_of(self, environment: str) -> Image:
        """The userland of the arm, where its kind has an image at all."""
        return software.image_of(self.environment(environment), self.image)

    def image_key(self, environment: str) -> str:
        """Of the arm's image among a unit's."""
        engine = self.container_engine(environment)
        return software.image_key(self.environment(environment), self.image, engine.name if engine else None)

    def container_engine(self, environment: str) -> ContainerEngine | None:
        """What holds the arm's image; None where it has none."""
        return registry.container_engine(self.environment(environment), self.environments)

    def container_engines(self) -> dict[str, ContainerEngine]:
        """Every one that holds an arm's image, by name."""
        found = (self.container_engine(arm.name) for arm in self.environments)
        return {engine.name: engine for engine in found if engine is not None}

    def model_in(self, environment: str, model: str) -> Model:
        """The model with the engine options that the arm gives it."""
        return software.model_in(self.environment(environment), self.model(model), self.engine)

    def variant(self, environment: str) -> str:
        """Of the arm's software; empty for the campaign's own."""
        return software.variant(self.environment(environment), self.image, self.engine)

    def variants(self) -> dict[str, str]:
        """Every software that arms run, to the first arm that does."""
        return {self.variant(arm.name): arm.name for arm in reversed(self.environments)}

    def images(self) -> dict[str, Image]:
        """Every image that an arm runs, by its key."""
        arms = [arm.name for arm in self.environments if registry.kind(arm.kind).needs_image]
        return {self.image_key(arm): self.image_of(arm) for arm in arms}

    def engine_of_image(self, key: str) -> ContainerEngine:
        """The container engine that holds the image of that key."""
        arm = next(arm.name for arm in self.environments if self.image_key(arm.name) == key)
        engine = self.container_engine(arm)
        assert engine is not None
        return engine

    def exported(self) -> set[str]:
        """Keys of the images whose root filesystem a chroot runs."""
        return {self.image_key(arm.name) for arm in self.environments if registry.kind(arm.kind).needs_rootfs}

    def asked(self, model: str, workload: str) -> Workload:
        """The workload as this model gets it."""
        found, change = self.workload(workload), self.overrides.get(model, Override())
        own = change.model_dump(include={"requests", "warmup_requests", "timeout_s"}, exclude_none=True)
        if (given := own.get("requests")) is not None and found.concurrency is not None:
            own["concurrency"] = min(found.concurrency, given)
        return found.model_copy(update=own)

    def gate_of(self, environment: str) -> Gate:
        """The start state that this environment waits for."""
        cache = self.environment(environment).cache
        return self.gate if cache is None else self.gate.model_copy(update={"cache": cache})


def load(path: Path) -> Campaign:
    """The campaign in ``path``, resolved. Raises ConfigError with everything that is wrong. Of a study's file:
    :func:`campaign.study.config.campaign_in`."""
    root = read(path)
    if not isinstance(root.value, dict):
        keys = "Write `name: …`, `engine: …` and so on."
        raise ConfigError([Problem(root.file, root.line, "", f"must be a mapping, got {said(root.value)}", keys)])
    if (phases := root.child("phases")) is not None:
        raise ConfigError([phases.problem("makes this a study of several campaigns", "Name a file of one campaign.")])
    return resolve(root, path)


def resolve(root: Node, path: Path) -> Campaign:
    """The campaign that a tree of ``path`` stands for. Raises ConfigError with everything that is wrong."""
    problems: list[Problem] = []
    tree, unresolved = _resolved(root, path, problems)
    campaign = validated(tree, Campaign, problems, unresolved)
    if campaign is None or problems:
        raise ConfigError(problems)
    for rule in (_unknown, _contradictions):
        problems.extend(rule(campaign, tree, root))
        if problems:
            raise ConfigError(problems)
    return campaign


def folders(path: Path, library: Path | None = None) -> tuple[Path, ...]:
    """Where models.yaml, environments.yaml and workloads.yaml are looked for, in order."""
    if library is not None:
        return (library,)
    here = path.absolute().parent
    return tuple(dict.fromkeys((here, here.parent, host.shipped("configs"))))


def library_problems(folder: Path) -> list[Problem]:
    """What is wrong in the three files of a library folder, entries no campaign uses included."""
    problems: list[Problem] = []
    schemas: tuple[type[BaseModel], ...] = (Model, Environment, Workload)
    for kind, cls in zip(LIBRARY, schemas, strict=True):
        try:
            entries = _library(kind, (folder,), problems)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        for entry in entries.values():
            flat = _flattened(entry, entries, problems) if kind == "environments" else entry
            validated(flat, cls, problems)
    return problems


# --- from names to definitions --------------------------------------------------------------------------------


def _resolved(root: Node, path: Path, problems: list[Problem]) -> tuple[Node, set[str]]:
    """The campaign's tree with definitions in place of names, and defaults that depend on other keys. Also the keys that
    could not be made out: what is wrong there has been said, and what follows from it need not be."""
    assert isinstance(root.value, dict)
    keys = dict(root.value)
    library: Path | None = None
    if (given := keys.pop("library", None)) is not None:
        if not isinstance(given.value, str):
            raise ConfigError([given.problem(f"must be a folder, got {said(given.value)}", "Give a path as text.")])
        library = path.absolute().parent / given.value
        if not library.is_dir():
            raise ConfigError([given.problem(f"no folder {library}", "Give a folder, relative to this file.")])
    unresolved: set[str] = set()
    for kind in LIBRARY:
        before = len(problems)
        if kind in keys:
            keys[kind] = _definitions(kind, keys[kind], folders(path, library), problems)
        if kind not in keys or len(problems) > before:
            unresolved |= {kind, *FOLLOWS[kind]}
    _without(keys, problems)
    _repetitions(keys)
    _overrides(keys, problems)
    _defaults(keys)
    return root.with_value(keys), unresolved


def arm(name: str, near: Node, path: Path) -> Environment:
    """An environment of the library that ``path`` uses, alone. ConfigError where there is none; ``near`` is where it is asked for."""
    problems: list[Problem] = []
    library = near.child("library")
    folder = path.absolute().parent / str(library.value) if library is not None else None
    mention = Node(name, near.file, near.line, "environments")
    defined = [item for item in _inline(near) if (own := item.child("name")) is not None and own.value == name]
    listed = near.with_value(defined or [mention])
    found = _definitions("environments", listed, folders(path, folder), problems)
    environment = (
        validated(found.value[0], Environment, problems) if isinstance(found.value, list) and found.value else None
    )
    if environment is None or problems:
        raise ConfigError(problems)
    return environment


def _inline(root: Node) -> list[Node]:
    """Environments that a file writes out itself."""
    listed = root.child("environments")
    items = listed.value if listed is not None and isinstance(listed.value, list) else []
    return [item for item in items if isinstance(item.value, dict)]


FOLLOWS = {"models": (), "environments": ("reference", "order", "without"), "workloads": ()}
"""Keys whose default comes from another key."""


def _definitions(kind: str, mentions: Node, where: tuple[Path, ...], problems: list[Problem]) -> Node:
    """The list ``mentions`` with every name replaced by what the library says, and ``extends`` carried out."""
    if not isinstance(mentions.value, list):
        if mentions.value is not None:
            what = f"must be a list, got {said(mentions.value)}"
            problems.append(mentions.problem(what, f"Write `{kind}: [NAME, …]`."))
        return mentions.with_value([])
    entries: dict[str, Node] = {}
    before = len(problems)
    if any(isinstance(item.value, str) or item.child("extends") for item in mentions.value):
        entries = _library(kind, where, problems)
    whole = len(problems) == before
    inline = [item for item in mentions.value if isinstance(item.value, dict)]
    for item in inline:
        name = item.child("name")
        if name is None or not isinstance(name.value, str):
            continue  # the schema says so
        if name.value in entries:
            other = entries[name.value]
            what = f"'{name.value}' is already defined in {other.file}:{other.line}"
            problems.append(name.problem(what, "Give this one another name."))
        else:
            entries[name.value] = item
    found: list[Node] = []
    for item in mentions.value:
        entry: Node | None = item
        if isinstance(item.value, str):
            entry = entries.get(item.value)
            if entry is None:
                if whole:
                    what = f"no {kind[:-1]} is called '{item.value}'"
                    problems.append(item.problem(what, instead(item.value, entries, f"Define it in {kind}.yaml.")))
                continue
        elif not isinstance(item.value, dict):
            what = f"must be the name of one or a definition, got {said(item.value)}"
            problems.append(item.problem(what, f"Name an entry of {kind}.yaml."))
            continue
        assert entry is not None
        found.append(_flattened(entry, entries, problems) if kind == "environments" else entry)
    if not mentions.value:
        problems.append(mentions.problem("must not be empty", f"Name at least one of {kind}.yaml."))
    return mentions.with_value(found)


def _library(kind: str, where: tuple[Path, ...], problems: list[Problem]) -> dict[str, Node]:
    """Entries of ``<kind>.yaml`` by name, each a mapping node that carries its name."""
    file = next((folder / f"{kind}.yaml" for folder in where if (folder / f"{kind}.yaml").exists()), None)
    if file is None:
        return {}
    root = _read(_shown(file), file.stat().st_mtime_ns)
    if isinstance(root.value, dict) and set(root.value) == {kind}:
        root = root.value[kind]
    entries: dict[str, Node] = {}
    for name, entry in _named(root, kind, problems):
        if name in entries:
            what = f"'{name}' is defined twice, first in line {entries[name].line}"
            problems.append(entry.problem(what, "Rename or remove one."))
        else:
            entries[name] = entry
    return entries


@lru_cache(maxsize=16)
def _read(path: Path, mtime_ns: int) -> Node:
    """A library file. A study resolves many campaigns from the same ones."""
    return read(path)


def _named(root: Node, kind: str, problems: list[Problem]) -> Iterator[tuple[str, Node]]:
    if isinstance(root.value, list):
        pairs: Iterable[tuple[Node | None, Node]] = ((item.child("name"), item) for item in root.value)
    elif isinstance(root.value, dict):
        pairs = ((Node(name, item.file, item.line, item.key), item) for name, item in root.value.items())
    else:
        problems.append(root.problem(f"must hold {kind}, got {said(root.value)}", "Write a list of entries."))
        return
    for name, item in pairs:
        if not isinstance(item.value, dict):
            problems.append(item.problem(f"must be a mapping, got {said(item.value)}", "Write its keys below it."))
        elif name is None or not isinstance(name.value, str):
            problems.append(item.problem("has no name", "Add `name: …`."))
        else:
            yield name.value, item.with_value({"name": name, **item.value})


def _shown(path: Path) -> Path:
    """Relative to the working directory where it lies below it: what a person would type."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def _flattened(entry: Node, entries: dict[str, Node], problems: list[Problem]) -> Node:
    """``entry`` with what it extends merged in."""
    if entry.child("extends") is None:
        return entry
    assert isinstance(entry.value, dict)
    lineage: list[Node] = []
    if not _ancestors(entry, entries, (), lineage, problems):
        return entry.with_value({key: node for key, node in entry.value.items() if key != "extends"})
    merged: dict[str, Node] = {}
    origin: dict[str, Node] = {}
    disputes: dict[str, tuple[Node, Node]] = {}
    for node in lineage:
        assert isinstance(node.value, dict)
        above = _above(node, entries)
        for key, value in node.value.items():
            if key in ("extends", "name", "description"):
                continue
            before = merged.get(key)
            for part in _parts(key, value):
                earlier = origin.get(part)
                disputes.pop(part, None)
                if earlier is not None and before is not None and id(earlier) not in above:
                    mine, theirs = _at(value, key, part), _at(before, key, part)
                    if mine is not None and theirs is not None and mine.plain() != theirs.plain():
                        disputes[part] = (earlier, node)
                origin[part] = node
            if before is not None and isinstance(before.value, dict) and isinstance(value.value, dict):
                value = value.with_value({**before.value, **value.value})
            merged[key] = value
    for part, (one, other) in disputes.items():
        names = f"{_name(one)} and {_name(other)}"
        problems.append(entry.problem(f"{names} disagree on {part}", f"Set {part} here to decide."))
    kept = {key: _without_nulls(node) for key, node in merged.items() if node.value is not None}
    own: dict[str, Node] = {key: entry.value[key] for key in ("name", "description") if key in entry.value}
    return entry.with_value({**own, **kept})


def _name(node: Node) -> str:
    name = node.child("name")
    return str(name.value) if name else node.key


def _parts(key: str, value: Node) -> list[str]:
    return [f"{key}.{inner}" for inner in value.value] if isinstance(value.value, dict) else [key]


def _at(value: Node, key: str, part: str) -> Node | None:
    return value if part == key else value.child(part[len(key) + 1 :])


def _without_nulls(node: Node) -> Node:
    if not isinstance(node.value, dict):
        return node
    return node.with_value({key: inner for key, inner in node.value.items() if inner.value is not None})


def _bases(entry: Node) -> list[Node]:
    extends = entry.child("extends")
    if extends is None:
        return []
    return extends.value if isinstance(extends.value, list) else [extends]


def _above(entry: Node, entries: dict[str, Node]) -> set[int]:
    """Identities of everything that ``entry`` extends, at any distance."""
    known: set[int] = set()
    for base in _bases(entry):
        parent = entries.get(base.value) if isinstance(base.value, str) else None
        if parent is not None:
            known |= {id(parent)} | _above(parent, entries)
    return known


def _ancestors(
    entry: Node, entries: dict[str, Node], path: tuple[str, ...], lineage: list[Node], problems: list[Problem]
) -> bool:
    """Appends to ``lineage`` everything that ``entry`` extends, bases first, each once, then ``entry``."""
    path = (*path, _name(entry))
    for base in _bases(entry):
        if not isinstance(base.value, str):
            problems.append(base.problem(f"must be a name or a list of names, got {said(base.value)}", "Name it."))
            return False
        if base.value in path:
            circle = " -> ".join((*path, base.value))
            problems.append(base.problem(f"goes in a circle: {circle}", "Take one of them out."))
            return False
        parent = entries.get(base.value)
        if parent is None:
            what = f"no environment is called '{base.value}'"
            problems.append(base.problem(what, instead(base.value, entries, "Define it in environments.yaml.")))
            return False
        if not any(parent is node for node in lineage) and not _ancestors(parent, entries, path, lineage, problems):
            return False
    lineage.append(entry)
    return True


ARM = ("name", "description", "kind", "image", "engine_options")
"""What makes an arm the arm it is: no option that a host could refuse."""


def _without(keys: dict[str, Node], problems: list[Problem]) -> None:
    """Takes the options named in ``without`` out of every environment, and says so in its description."""
    dropped, arms = keys.get("without"), keys.get("environments")
    if dropped is None or arms is None or not isinstance(dropped.value, list) or not isinstance(arms.value, list):
        return
    options = [name for name in Environment.model_fields if name not in ARM]
    found: list[Node] = arms.value
    for item in dropped.value:
        if not isinstance(item.value, str):
            continue  # the schema says so
        option, _, inner = item.value.partition(".")
        if option not in options:
            what = f"'{option}' is not an option of an environment"
            problems.append(item.problem(what, instead(option, options, f"Options are {', '.join(options)}.")))
        elif not any(_has(arm, option, inner) for arm in found):
            problems.append(item.problem(f"no environment here sets {item.value}", "Take it off the list."))
        else:
            found = [_drop(arm, option, inner) if _has(arm, option, inner) else arm for arm in found]
    keys["environments"] = arms.with_value(found)


def _has(arm: Node, option: str, inner: str) -> bool:
    node = arm.child(option)
    return node is not None and (not inner or node.child(inner) is not None)


def _drop(arm: Node, option: str, inner: str) -> Node:
    assert isinstance(arm.value, dict)
    keys = dict(arm.value)
    if inner:
        node = keys[option]
        assert isinstance(node.value, dict)
        keys[option] = node.with_value({key: value for key, value in node.value.items() if key != inner})
    else:
        del keys[option]
    what = f"{option}.{inner}" if inner else option
    description = keys.get("description", Node("", arm.file, arm.line, f"{arm.key}.description"))
    said_before = "here without" in str(description.value)
    text = f"{description.value}, {what}" if said_before else f"{description.value}; here without {what}"
    keys["description"] = description.with_value(text.lstrip("; "))
    return arm.with_value(keys)


def _repetitions(keys: dict[str, Node]) -> None:
    """One number for all models becomes one number each."""
    given, models = keys.get("repetitions"), keys.get("models")
    if given is None or isinstance(given.value, dict):
        return
    entries = models.value if models is not None and isinstance(models.value, list) else []
    names = [node.value for model in entries if (node := model.child("name")) and isinstance(node.value, str)]
    # Without a model to name it after, the number is still looked at.
    keys["repetitions"] = given.with_value(dict.fromkeys(names or ["every model"], given))


def _overrides(keys: dict[str, Node], problems: list[Problem]) -> None:
    """Puts the repetitions and batch sizes of ``overrides`` where they take effect."""
    changes, models, counts = keys.get("overrides"), keys.get("models"), keys.get("repetitions")
    if changes is None or not isinstance(changes.value, dict) or models is None or not isinstance(models.value, list):
        return
    names = [str(node.value) for model in models.value if (node := model.child("name"))]
    for name, change in changes.value.items():
        if name not in names:
            what = f"'{name}' is not among the models"
            problems.append(change.problem(what, instead(name, names, f"Models are {', '.join(names)}.")))
    keys["models"] = models.with_value([_with_batch(model, changes) for model in models.value])
    if counts is not None and isinstance(counts.value, dict):
        own = {name: node for name, change in changes.value.items() if (node := change.child("repetitions"))}
        keys["repetitions"] = counts.with_value({**counts.value, **own})


def _with_batch(model: Node, changes: Node) -> Node:
    name = model.child("name")
    change = changes.child(name.value) if name is not None and isinstance(name.value, str) else None
    batch = change.child("batch_size") if change is not None else None
    if batch is None or not isinstance(model.value, dict):
        return model
    # What is plausible was said of the entry's own batch size.
    kept = {key: node for key, node in model.value.items() if key != "expected_tok_s"}
    return model.with_value({**kept, "batch_size": batch})


def _is_no_container(kind: object) -> bool:
    known = registry.kinds().get(kind) if isinstance(kind, str) else None
    return known is not None and not known.is_container


def _defaults(keys: dict[str, Node]) -> None:
    """Reference and order, which follow from the environments."""
    arms = keys.get("environments")
    if arms is None or not isinstance(arms.value, list) or not arms.value:
        return
    plain = [arm for arm in arms.value if (node := arm.child("kind")) and _is_no_container(node.value)]
    first = (plain or arms.value)[0].child("name")
    if "reference" not in keys and first is not None:
        keys["reference"] = Node(first.value, arms.file, arms.line, "reference")
    if "order" not in keys:
        keys["order"] = Node("alternate" if len(arms.value) <= 2 else "williams", arms.file, arms.line, "order")


def instead(wrong: str, known: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else otherwise


# --- from schema errors to words --------------------------------------------------------------------------------

Schema = TypeVar("Schema", bound=BaseModel)
Location = tuple[str | int, ...]


def validated(
    tree: Node, cls: type[Schema], problems: list[Problem], unresolved: Collection[str] = ()
) -> Schema | None:
    before = len(problems)
    try:
        found = cls.model_validate(tree.plain())
        # Once through JSON, so that a campaign read from YAML equals the same one read back from campaign.json.
        return cls.model_validate_json(found.model_dump_json()) if len(problems) == before else found
    except ValidationError as error:
        details = error.errors()
        for detail in details:
            loc = detail["loc"]
            absent = detail["type"] in ("missing", "too_short")
            own = len(loc) == 1 and loc[0] in LIBRARY and tree.child(loc[0]) is None
            if absent and loc and loc[0] in unresolved and not own:
                continue
            # pydantic counts only the valid items of a list.
            if detail["type"] == "too_short" and any(
                other["loc"][: len(loc)] == loc != other["loc"] for other in details
            ):
                continue
            problems.append(_in_words(detail, tree, cls))
        return None


def _in_words(detail: ErrorDetails, tree: Node, cls: type[BaseModel]) -> Problem:
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    node, depth = _locate(tree, loc)
    key = node.key
    for part in loc[depth:]:
        key = f"{key}[{part}]" if isinstance(part, int) else f"{key}.{part}".lstrip(".")
    what, remedy = _message(detail, node, loc, cls)
    return Problem(node.file, node.line, key, what, remedy)


def _locate(tree: Node, loc: Location) -> tuple[Node, int]:
    """The deepest node on the way to ``loc``, and how many parts of ``loc`` lead to it."""
    node, depth = tree, 0
    for part in loc:
        child = node.child(part)
        if child is None:
            break
        node, depth = child, depth + 1
    return node, depth


def _keys_at(cls: type[BaseModel], loc: Location) -> list[str]:
    """The keys that the schema allows beside the last part of ``loc``."""
    current: Any = cls
    by_name = False
    for part in loc[:-1]:
        if isinstance(part, int) or by_name:
            by_name = False
            continue
        fields = getattr(current, "model_fields", {})
        current = _schema_in(fields[part].annotation) if part in fields else None
        by_name = part in fields and typing.get_origin(fields[part].annotation) is dict
    keys = list(getattr(current, "model_fields", {}))
    extra = {Campaign: ["library"], Environment: ["extends"]}.get(current, [])
    return keys + extra


def _schema_in(annotation: Any) -> Any:
    """The pydantic class inside ``tuple[X, ...]``, ``X | None`` and the like."""
    if inspect.isclass(annotation) and typing.get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := _schema_in(part))), None)


EXAMPLES = {
    "name": "name: my-campaign",
    "engine": "engine: llamacpp",
    "models": "models: [random-llama-8m]",
    "environments": "environments: [native-chroot, docker-baseline]",
    "workloads": "workloads: [chat-short]",
    "repetitions": "repetitions: 30",
    "kind": "kind: docker",
    "engines": "engines: [llamacpp]",
}


def _message(detail: ErrorDetails, node: Node, loc: Location, cls: type[BaseModel]) -> tuple[str, str]:
    """What is wrong and what to do about it."""
    got, context, last = detail["input"], detail.get("ctx", {}), str(loc[-1]) if loc else ""
    unit = " seconds" if last.endswith("_s") else " percent" if last.endswith("_pct") else ""
    match detail["type"]:
        case "extra_forbidden":
            keys = _keys_at(cls, loc)
            return "unknown key", instead(last, keys, f"Keys here are {', '.join(keys)}.")
        case "missing":
            return "is missing", f"Add `{EXAMPLES.get(last, f'{last}: …')}`."
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            what = f"must be {_or(allowed)}, got {said(got)}"
            return what, instead(str(got), allowed, f"Write {_or(allowed)}.")
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}, got {said(got)}", f"Use {context['ge']:g} or more{unit}."
        case "greater_than":
            return f"must be above {context['gt']:g}, got {said(got)}", f"Use more than {context['gt']:g}{unit}."
        case "less_than_equal":
            return f"must be at most {context['le']:g}, got {said(got)}", f"Use {context['le']:g}{unit} or less."
        case "less_than":
            return f"must be below {context['lt']:g}, got {said(got)}", f"Use less than {context['lt']:g}{unit}."
        case "int_type" | "int_from_float" | "float_type":
            kind = "a number" if detail["type"] == "float_type" else "a whole number"
            return f"must be {kind}, got {said(got)}", _number_remedy(got, kind)
        case "bool_type":
            return f"must be true or false, got {said(got)}", "Write true or false, without quotes."
        case "string_type":
            return f"must be text, got {said(got)}", _text_remedy(got)
        case "tuple_type":
            item = f"`[{got}]`" if isinstance(got, str | int | float) else "`[…]`"
            return f"must be a list, got {said(got)}", f"Write {item}."
        case "model_type" | "dict_type" | "mapping_type":
            return f"must be a mapping, got {said(got)}", _mapping_remedy(cls, loc)
        case "too_short":
            return "must not be empty", "Name at least one."
        case "string_pattern_mismatch":
            return (
                f"'{got}' is not a name",
                "Use lower-case letters, digits, dots and hyphens, a letter or digit first.",
            )
        case "string_too_long":
            return f"is {len(str(got))} characters long", f"Use at most {context['max_length']}."
        case _:
            return (
                f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {said(got)}",
                "See the schema in actors/types.py.",
            )


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _number_remedy(got: object, kind: str) -> str:
    if isinstance(got, str):
        try:
            float(got)
        except ValueError:
            return f"Write {kind}."
        return f"Write {got} without quotes."
    return f"Write {kind}." if got is not None else f"Write {kind}, or leave the key out."


def _text_remedy(got: object) -> str:
    if isinstance(got, bool | int | float):
        return f'Put it in quotes: "{str(got).lower()}".'
    return "Write text, or leave the key out." if got is None else "Write text."


def _mapping_remedy(cls: type[BaseModel], loc: Location) -> str:
    keys = _keys_at(cls, (*loc, ""))
    return f"Indent its keys below it: {', '.join(keys)}." if keys else "Write `{key: value}`."


# --- what no single key is wrong about --------------------------------------------------------------------------

SIZE = re.compile(r"^[0-9]+(\.[0-9]+)?[bkmgBKMG]?$")
CPUS = re.compile(r"^(performance|efficiency|[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)$")


def _unknown(campaign: Campaign, tree: Node, root: Node) -> Iterator[Problem]:
    """Engines and kinds of environment that nobody registered."""
    if campaign.engine not in engines():
        known = list(engines())
        what = f"must be {_or(known)}, got {said(campaign.engine)}"
        yield _locate(tree, ("engine",))[0].problem(what, instead(campaign.engine, known, f"Write {_or(known)}."))
    kinds = list(registry.kinds())
    for i, environment in enumerate(campaign.environments):
        if environment.kind not in kinds:
            what = f"must be {_or(kinds)}, got {said(environment.kind)}"
            yield _locate(tree, ("environments", i, "kind"))[0].problem(
                what, instead(environment.kind, kinds, f"Write {_or(kinds)}.")
            )


def _contradictions(campaign: Campaign, tree: Node, root: Node) -> Iterator[Problem]:
    def at(*loc: str | int) -> Node:
        return _locate(tree, loc)[0]

    for kind in LIBRARY:
        yield from _twice(kind, [item.name for item in getattr(campaign, kind)], root, tree)
    names = [environment.name for environment in campaign.environments]
    if campaign.reference not in names:
        what = f"'{campaign.reference}' is not among the environments"
        yield at("reference").problem(what, instead(campaign.reference, names, f"Name one of {', '.join(names)}."))
    yield from _counts(campaign, at)
    for i, model in enumerate(campaign.models):
        yield from _model(campaign, model, at("models", i), _mention(root, "models", i))
    for i, environment in enumerate(campaign.environments):
        yield from _environment(campaign, environment, at("environments", i), _mention(root, "environments", i))
    for i, workload in enumerate(campaign.workloads):
        yield from _workload(workload, at("workloads", i))
    yield from _gate(campaign, at)
    yield from sequential.contradictions(
        campaign.sequential, at, repetitions=campaign.repetitions, outliers=campaign.outliers, phase=campaign.phase,
        arms=len(campaign.environments), units=len(campaign.units), margin_pct=campaign.margin_pct,
    )  # fmt: skip
    yield from _image(campaign.image, at("image"))
    if len(set(campaign.units)) != len(campaign.units):
        yield at("units").problem("names a unit twice", "Name each once.")
    if campaign.screen is not None:
        yield at("screen").problem("is a key of a phase", "Write a study with `phases:` (docs/study.md).")


def _image(image: Image, node: Node) -> Iterator[Problem]:
    if image.source != "local" and image.reference is None:
        remedy = "Add `reference: name:tag`." if image.source == "registry" else "Add `reference: PATH`."
        yield node.problem(f"source {image.source} needs a reference", remedy)
    if image.source == "local" and image.reference is not None:
        what = "a local image is built here and has no reference to fetch"
        yield (node.child("reference") or node).problem(what, "Leave it out, or set source: registry.")


def _mention(root: Node, kind: str, index: int) -> Node:
    """Where the campaign file itself names it."""
    return _locate(root, (kind, index))[0]


def _twice(kind: str, names: list[str], root: Node, tree: Node) -> Iterator[Problem]:
    for i, name in enumerate(names):
        if name in names[:i]:
            first = _mention(root, kind, names.index(name))
            what = f"'{name}' stands twice, first in line {first.line}: two cells would have one name"
            yield _mention(root, kind, i).problem(what, "Take one out, or define a copy under another name.")


def _counts(campaign: Campaign, at: Callable[..., Node]) -> Iterator[Problem]:
    models = [model.name for model in campaign.models]
    for name in campaign.repetitions:
        if name not in models:
            what = f"'{name}' is not among the models"
            yield at("repetitions", name).problem(what, instead(name, models, f"Models are {', '.join(models)}."))
    for name in campaign.left_out:
        if name in models:
            yield at("left_out", name).problem(f"'{name}' is among the models", "Take it out of one of the two.")
    if missing := [name for name in models if name not in campaign.repetitions]:
        what = f"says nothing of {', '.join(missing)}"
        yield at("repetitions").problem(what, f"Add `{missing[0]}: 30`, or write one number for all.")
    if campaign.runs > MAX_RUNS:
        what = f"makes {campaign.runs} runs, more than {MAX_RUNS}"
        yield at("repetitions").problem(what, "Use fewer repetitions, models, environments or workloads.")


def _model(campaign: Campaign, model: Model, node: Node, mention: Node) -> Iterator[Problem]:
    if campaign.engine not in model.engines:
        what = f"{model.name} cannot run on {campaign.engine}, only on {_or(list(model.engines))}"
        yield mention.problem(what, "Choose another model or engine.")
    weights = [model.random_weights is not None, model.path is not None, model.huggingface_id is not None]
    if not any(weights):
        yield node.problem(f"{model.name} has no weights", "Add random_weights, path or huggingface_id.")
    if model.random_weights is not None and model.path is not None:
        yield node.problem(f"{model.name} has both random_weights and a path", "Keep one of them.")
    shape = model.random_weights
    if shape is not None and (shape.hidden_size % shape.heads or shape.heads % shape.kv_heads):
        what = "hidden_size must be a multiple of heads, and heads of kv_heads"
        got = f"got {shape.hidden_size}, {shape.heads}, {shape.kv_heads}"
        yield (node.child("random_weights") or node).problem(f"{what}, {got}", "Change the numbers to divide.")
    if model.batch_size > INT32:
        yield (node.child("batch_size") or node).problem(f"must be at most {INT32}", "Use a smaller number.")


def _environment(campaign: Campaign, environment: Environment, node: Node, mention: Node) -> Iterator[Problem]:
    def key(name: str) -> Node:
        return node.child(name) or node

    means = EVERY_KIND | registry.kind(environment.kind).takes
    for name, field in Environment.model_fields.items():
        if name not in means and getattr(environment, name) != field.get_default():
            takers = [each.name for each in registry.kinds().values() if name in each.takes]
            what = f"{environment.kind} has no such namespace or cgroup, {name} is for kind: {_or(takers)}"
            yield key(name).problem(what, "Take it out, or change the kind.")
    if environment.privileged and not campaign.allow_privileged:
        what = f"{environment.name} is privileged: it can change this machine"
        yield mention.problem(what, "If that is meant, set allow_privileged: true in the campaign.")
    for name in ("shm_size", "memory"):
        size = getattr(environment, name)
        if size is not None and not SIZE.match(size):
            remedy = "Write it like 32g."
            if name == "memory":
                remedy = "Write it like 32g; leave it out for no limit, which is Docker's default."
            yield key(name).problem(f"'{size}' is not a size", remedy)
    if environment.cpuset is not None and not _is_cpu_list(environment.cpuset):
        remedy = "Write it like 0-4,10-14, or performance, or efficiency."
        yield key("cpuset").problem(f"'{environment.cpuset}' is not a list of CPUs", remedy)
    for name, value in environment.ulimits.items():
        if value < -1:
            yield _locate(node, ("ulimits", name))[0].problem(f"must be -1 or more, got {value}", "-1 is unlimited.")
    for i, mount in enumerate(environment.mounts):
        if not mount.target.startswith("/") or ".." in mount.target.split("/"):
            where = _locate(node, ("mounts", i))[0]
            yield where.problem(f"target '{mount.target}' must be an absolute path", "Begin it with /.")
    for name in environment.variables:
        if not name or "=" in name or "\0" in name:
            where = _locate(node, ("variables", name))[0]
            yield where.problem(f"'{name}' cannot be a variable's name", "Use letters, digits and underscores.")
    if environment.image is not None and not registry.kind(environment.kind).needs_image:
        what = f"{environment.kind} runs what is installed on this machine, not an image"
        yield key("image").problem(what, "Take it out, or use kind: native-chroot.")
    elif environment.image is not None:
        yield from _image(environment.image, key("image"))
    for name in environment.engine_options:
        if name not in engines():
            where = _locate(node, ("engine_options", name))[0]
            yield where.problem(
                f"no engine is called '{name}'", instead(name, engines(), f"Engines are {_or(list(engines()))}.")
            )
    if environment.gpu.by == "devices" and not environment.gpu.devices:
        yield key("gpu").problem("by: devices names no device", "Add `devices: [/dev/nvidia0, …]`.")


def _is_cpu_list(text: str) -> bool:
    if not CPUS.match(text):
        return False
    ranges = [part.split("-") for part in text.split(",") if "-" in part]
    return all(int(low) <= int(high) for low, high in ranges)


def _workload(workload: Workload, node: Node) -> Iterator[Problem]:
    for name in ("requests", "input_tokens", "output_tokens", "concurrency", "warmup_requests"):
        if (getattr(workload, name) or 0) > INT32:
            yield (node.child(name) or node).problem(f"must be at most {INT32}", "Use a smaller number.")
    if workload.concurrency is not None and workload.concurrency > workload.requests:
        what = f"{workload.concurrency} requests in flight, but only {workload.requests} in all"
        yield (node.child("concurrency") or node).problem(what, f"Use at most {workload.requests}.")
    if workload.timeout_s > MAX_SECONDS:
        yield (node.child("timeout_s") or node).problem("is more than 30 days", "Use fewer seconds.")


def _gate(campaign: Campaign, at: Callable[..., Node]) -> Iterator[Problem]:
    gate = campaign.gate
    for name in ("cooldown_s", "dwell_s", "poll_s", "timeout_s"):
        if getattr(gate, name) > MAX_SECONDS:
            yield at("gate", name).problem("is more than 30 days", "Use fewer seconds.")
    if gate.floor_c is not None and gate.ceiling_c is not None and gate.floor_c >= gate.ceiling_c:
        what = f"must lie below ceiling_c, got {gate.floor_c:g} and {gate.ceiling_c:g}"
        yield at("gate", "floor_c").problem(what, "Lower the floor, or raise the ceiling.")
    for name in ("dwell_s", "poll_s"):
        if getattr(gate, name) >= gate.timeout_s:
            what = f"{name} of {getattr(gate, name):g} s is not below timeout_s of {gate.timeout_s:g} s"
            yield at("gate", name).problem(what, "The gate could never open: lower it, or raise timeout_s.")
