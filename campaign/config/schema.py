"""A resolved campaign, as a value: what is asked, and what follows from it for an arm or a model.

Definitions of models, arms and workloads are :mod:`actors.types`, which a unit reads too.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from actors.environments import ContainerEngine, software
from actors.types import Environment, Frozen, Gate, Image, Model, Name, Telemetry, Watchdog, Workload
from campaign.config import redaction
from campaign.config.rest import Rest
from campaign.config.sequential import Sequential
from campaign.config.yaml_nodes import ConfigError, Problem
from campaign.errors import nearest

Order = Literal["alternate", "williams", "random"]


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
    """What a screen is about: the arm that adds it to the baseline, what it gives away,
    why it may not be chosen (None: it may)."""

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
    baseline: str | None = None
    """Environment as it is shipped, which ``options`` are judged against; a screening,
    combination or validation needs it."""
    options: tuple[str, ...] = ()
    """Environments that are the baseline with something more: where there is a baseline all the others,
    unless said otherwise."""
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
    """Equivalence margin, percent of the reference. Without one nobody has declared any,
    and whatever is called equivalent says so."""
    sequential: Sequential | None = None
    """Looks at which decided models stop; None carries every planned block out."""
    units: tuple[Name, ...] = ()
    """Units to use; empty is every unit that is alive."""
    screen: Screen | None = None
    """Made from a study's file, for its screening phase."""
    rest: Rest | None = None
    """By what `gate.cooldown_s` was calibrated, where it was."""
    pilot_of: Name | None = None
    """The campaign that these runs were made to plan, as `campaign pilot` sets it: nothing is claimed of them."""

    @property
    def config_hash(self) -> str:
        """sha256 over the canonical JSON of the resolved config as it is published:
        comments and the order of keys do not count."""
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

    @property
    def arms(self) -> software.Arms:
        """What the arms run."""
        return software.Arms(tuple(self.environments), self.image, self.engine)

    def image_key(self, environment: str) -> str:
        """Of the arm's image among a unit's."""
        return self.arms.image_key(self.environment(environment))

    def container_engine(self, environment: str) -> ContainerEngine | None:
        """What holds the arm's image; None where it has none."""
        return self.arms.container_engine(self.environment(environment))

    def container_engines(self) -> dict[str, ContainerEngine]:
        """Every one that holds an arm's image, by name."""
        found = (self.container_engine(arm.name) for arm in self.environments)
        return {engine.name: engine for engine in found if engine is not None}

    def model_in(self, environment: str, model: str) -> Model:
        """The model with the engine options that the arm gives it."""
        return software.model_in(self.environment(environment), self.model(model), self.engine)

    def variant(self, environment: str) -> str:
        """Of the arm's software; empty for the campaign's own."""
        return self.arms.variant(self.environment(environment))

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
