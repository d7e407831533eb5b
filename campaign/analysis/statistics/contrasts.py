"""Which arm is set against which: the question follows from the phase and from the arms that it has."""

from __future__ import annotations

from dataclasses import dataclass

SCREENING_PHASES = frozenset({"2b", "screening", "2c", "combination"})
VALIDATION_PHASES = frozenset({"2d", "validation"})


@dataclass(frozen=True)
class Contrast:
    """Treatment against reference, and whether it is the main question, one of three arms, or a screening config."""

    treatment: str
    reference: str
    kind: str


def baseline_arm(environments: list[str], base: str) -> str | None:
    """The Docker arm as shipped, against which options are judged: the one whose name says baseline, else the only other."""
    others = [e for e in environments if e != base]
    named = [e for e in others if "baseline" in e.lower()]
    return named[0] if named else others[0] if len(others) == 1 else None


def optimized_arm(environments: list[str], base: str) -> str | None:
    """The arm whose name says optimised, else the third of three."""
    others = [e for e in environments if e not in (base, baseline_arm(environments, base))]
    named = [e for e in others if "optimi" in e.lower()]
    return named[0] if named else others[0] if len(others) == 1 else None


def phase_kind(phase: str | None, environments: list[str], base: str) -> str:
    """``main``, ``screen`` or ``three_arm``: by the phase's name, else by its arms."""
    others = [e for e in environments if e != base]
    baseline = baseline_arm(environments, base)
    if baseline is None or len(others) < 2:
        return "main"
    if (phase or "").lower() in SCREENING_PHASES:
        return "screen"
    validating = (phase or "").lower() in VALIDATION_PHASES or any("optimi" in e.lower() for e in others)
    if validating and len(others) == 2:
        return "three_arm"
    return "screen" if len(others) > 2 else "main"


def plan_contrasts(phase: str | None, environments: list[str], base: str) -> list[Contrast]:
    """Baseline against reference; in a screen every config against the baseline; with three arms all three pairs."""
    kind, baseline = phase_kind(phase, environments, base), baseline_arm(environments, base)
    others = [e for e in environments if e != base]
    if kind == "main":
        # A table of one arm still says which comparison is missing.
        return [Contrast(e, base, "main") for e in others or ["treatment"]]
    assert baseline is not None
    if kind == "screen":
        first = [Contrast(baseline, base, "screen_base")] if base in environments else []
        return first + [Contrast(e, baseline, "screen") for e in others if e != baseline]
    optimized = optimized_arm(environments, base)
    assert optimized is not None
    pairs = ((baseline, base), (optimized, base), (optimized, baseline))
    return [Contrast(t, r, "three_arm") for t, r in pairs]
