"""What a study's file asks of each phase, and what a phase takes from those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from actors.types import Frozen, Name

PhaseName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,15}$")]
Kind = Literal["baseline", "screening", "combination", "validation"]
KINDS: tuple[Kind, ...] = ("baseline", "screening", "combination", "validation")
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


def options_of(screen: ScreenAsked) -> tuple[str, ...]:
    """Arms of the library that a screen is about."""
    if screen.design == "one_at_a_time":
        return screen.options or tuple(factor.option for factor in screen.factors.values())
    return tuple(factor.option for factor in screen.factors.values())


UNDECIDED = Choice()
"""Everything is assumed from the file."""
