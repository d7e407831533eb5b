"""Which arm is set against which: the question follows from the phase and from the roles of its arms.

A campaign declares the roles (``reference``, ``baseline``, ``options`` of its file). Only where nobody could, in a
table of runs and in a folder of before there were such keys, they are taken from the arms' names, by the rule of
:func:`by_name`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from campaign.reading.errors import TableError

SCREENING_PHASES = frozenset({"2b", "screening", "2c", "combination"})
VALIDATION_PHASES = frozenset({"2d", "validation"})


@dataclass(frozen=True)
class Contrast:
    """Treatment against reference, and whether it is the main question, one of three arms, or a screening config."""

    treatment: str
    reference: str
    kind: str


@dataclass(frozen=True)
class Roles:
    """What each arm is there for. Without a baseline every arm is set against the reference."""

    reference: str
    baseline: str | None = None
    """The arm as it is shipped, against which options are judged."""
    options: tuple[str, ...] = ()
    declared: bool = True
    """Else by :func:`by_name`."""
    never: Mapping[str, str] = field(default_factory=dict)
    """Options that may not be chosen whatever they gain, with the reason."""

    def among(self, environments: Sequence[str]) -> Roles:
        """Those that a phase has; no baseline where it has no option to judge against it."""
        options = tuple(e for e in environments if e in self.options)
        baseline = self.baseline if self.baseline in environments and options else None
        return Roles(self.reference, baseline, options if baseline is not None else (), self.declared, self.never)


def roles_of(config: Mapping[str, Any] | None) -> Roles | None:
    """Of a resolved config (as ``campaign.json`` has it); None for one of before it declared any."""
    if not config or "baseline" not in config or not config.get("reference"):
        return None
    options = tuple(config.get("options") or ())
    return Roles(str(config["reference"]), config["baseline"], options, never=_never(config, options))


def _never(config: Mapping[str, Any], options: Sequence[str]) -> dict[str, str]:
    """By what an option sets: more privilege than serving needs, or less than the baseline has (an ablation).
    A study's screen says so itself."""
    told = {it["option"]: it["never"] for it in (config.get("screen") or {}).get("factors", ()) if it.get("never")}
    arms = {arm["name"]: arm for arm in config.get("environments") or () if isinstance(arm, dict) and "name" in arm}
    base = arms.get(config["baseline"], {})
    for option in options:
        arm = arms.get(option, {})
        if arm.get("privileged"):
            told.setdefault(option, "diagnostic_only")
        elif base.get("ipc") == "host" and arm.get("ipc") != "host":
            told.setdefault(option, "ablation")
    return told


def by_name(environments: Sequence[str], reference: str) -> Roles:
    """Where nobody declared roles: the baseline is the arm whose name says so, else the only other;
    the options are the rest."""
    others = [e for e in environments if e != reference]
    named = [e for e in others if "baseline" in e.lower()]
    baseline = named[0] if named else others[0] if len(others) == 1 else None
    options = tuple(e for e in others if e != baseline) if baseline is not None else ()
    never = {option: why for option in options if (why := _never_by_name(option)) is not None}
    return Roles(reference, baseline, options, declared=False, never=never)


def _never_by_name(option: str) -> str | None:
    words = option.lower().replace("_", "-")
    if "privileged" in words:
        return "diagnostic_only"
    return "ablation" if "ipc-default" in words or "ipc-private" in words else None


def of_baseline(environments: Sequence[str], reference: str, baseline: str) -> Roles:
    """Of a table whose baseline was told: every other arm but the reference is an option. Raises TableError."""
    others = [e for e in environments if e != reference]
    if baseline not in others:
        raise TableError(
            f"the baseline {baseline!r} is "
            + ("the reference" if baseline == reference else "no arm of the table")
            + f"; its other arms are {', '.join(others) or 'none'}"
        )
    options = tuple(e for e in others if e != baseline)
    return Roles(
        reference, baseline, options, never={e: why for e in options if (why := _never_by_name(e)) is not None}
    )


def phase_kind(phase: str | None, roles: Roles) -> str:
    """``main`` (every arm against the reference), ``screen`` or ``three_arm``, of the roles that a phase has.

    By the phase. A table without phases whose baseline was told is a screen with several options, a validation with
    one; without declared roles one of more than two options is taken for a screen, and one whose only option is
    called optimised for a validation.
    """
    if roles.baseline is None or not roles.options:
        return "main"
    name, several = (phase or "").lower(), len(roles.options) > 1
    if name in SCREENING_PHASES:
        return "screen"
    if name in VALIDATION_PHASES:
        return "screen" if several else "three_arm"
    if roles.declared:
        return "main" if phase is not None else "screen" if several else "three_arm"
    return "screen" if several else "three_arm" if "optimi" in roles.options[0].lower() else "main"


def optimized_arm(roles: Roles) -> str | None:
    """The option of a validation; of several (without declared roles) the one whose name says optimised."""
    named = [e for e in roles.options if not roles.declared and "optimi" in e.lower()]
    return named[0] if named else roles.options[0] if len(roles.options) == 1 else None


def plan_contrasts(phase: str | None, environments: Sequence[str], roles: Roles | str) -> list[Contrast]:
    """Baseline against reference; in a screen every config against the baseline; with three arms all three pairs.
    ``roles`` may be the reference alone, where nobody declared more."""
    its = (by_name(environments, roles) if isinstance(roles, str) else roles).among(environments)
    kind, base, baseline = phase_kind(phase, its), its.reference, its.baseline
    others = [e for e in environments if e != base]
    if kind == "main":
        # A table of one arm still says which comparison is missing.
        return [Contrast(e, base, "main") for e in others or ["treatment"]]
    assert baseline is not None
    if kind == "screen":
        first = [Contrast(baseline, base, "screen_base")] if base in environments else []
        rest = [e for e in others if e != baseline and e not in its.options]
        return [
            *first,
            *(Contrast(e, base, "main") for e in rest),
            *(Contrast(e, baseline, "screen") for e in its.options),
        ]
    optimized = optimized_arm(its)
    assert optimized is not None
    pairs = ((baseline, base), (optimized, base), (optimized, baseline))
    rest = [e for e in others if e not in (baseline, optimized)]
    return [*(Contrast(t, r, "three_arm") for t, r in pairs), *(Contrast(e, base, "main") for e in rest)]
